#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "api/notify/pace.h"

/* What is taken in so many milliseconds by somebody who takes whenever there is something. */
static unsigned taken(struct pace *pace, uint64_t from_ms, uint64_t until_ms)
{
	unsigned count = 0;

	for (uint64_t now = from_ms; now < until_ms;) {
		uint64_t wait = pace_take(pace, now);

		count += wait == 0;
		now += wait;
	}
	return count;
}

static void a_burst_and_then_the_rate(void **state)
{
	struct pace pace;

	(void)state;
	pace_init(&pace, 1, 3, 0);
	assert_int_equal(taken(&pace, 0, 1), 3);
	assert_in_range(taken(&pace, 1, 60001), 59, 60);
}

static void no_minute_has_more_than_the_rate_and_the_burst(void **state)
{
	struct pace pace;

	(void)state;
	pace_init(&pace, 100.0 / 60, 10, 0);
	for (uint64_t minute = 0; minute < 10; minute++)
		assert_in_range(taken(&pace, minute * 60000, minute * 60000 + 60000), 99, 110);
}

static void who_waited_long_gets_no_more_than_the_burst(void **state)
{
	struct pace pace;

	(void)state;
	pace_init(&pace, 1, 3, 0);
	assert_int_equal(taken(&pace, 86400000, 86400001), 3);
}

static void a_clock_that_goes_back_gives_nothing(void **state)
{
	struct pace pace;

	(void)state;
	pace_init(&pace, 1, 1, 5000);
	assert_int_equal(pace_take(&pace, 5000), 0);
	assert_in_range(pace_take(&pace, 1000), 1, 1001);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_burst_and_then_the_rate),
		cmocka_unit_test(no_minute_has_more_than_the_rate_and_the_burst),
		cmocka_unit_test(who_waited_long_gets_no_more_than_the_burst),
		cmocka_unit_test(a_clock_that_goes_back_gives_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
