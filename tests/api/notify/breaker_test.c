#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "api/notify/breaker.h"

static const struct retry_limits limits = {1000, 300000};

static void fails(struct breaker *breaker, uint64_t now_ms)
{
	breaker_failure(breaker, now_ms, &limits, UINT64_MAX);
}

static void it_opens_at_its_number_of_failures_in_a_row_and_not_before(void **state)
{
	struct breaker breaker = {.failures_max = 3};

	(void)state;
	fails(&breaker, 1);
	fails(&breaker, 2);
	breaker_success(&breaker);
	fails(&breaker, 3);
	fails(&breaker, 4);
	assert_int_equal(breaker_state(&breaker, 4), BREAKER_CLOSED);
	fails(&breaker, 5);
	assert_int_equal(breaker_state(&breaker, 5), BREAKER_OPEN);
}

static void after_its_wait_a_probe_decides(void **state)
{
	struct breaker breaker = {.failures_max = 1};

	(void)state;
	fails(&breaker, 0);
	assert_in_range(breaker.until_ms, 100, 1000);
	assert_int_equal(breaker_state(&breaker, breaker.until_ms - 1), BREAKER_OPEN);
	assert_int_equal(breaker_state(&breaker, breaker.until_ms), BREAKER_HALF_OPEN);
	fails(&breaker, 1000);
	assert_in_range(breaker.until_ms, 1200, 3000);
	breaker_success(&breaker);
	assert_int_equal(breaker_state(&breaker, 1001), BREAKER_CLOSED);
}

static void what_was_under_way_when_it_opened_changes_nothing(void **state)
{
	struct breaker breaker = {.failures_max = 1}, before;

	(void)state;
	fails(&breaker, 0);
	before = breaker;
	fails(&breaker, 1);
	assert_int_equal(breaker.failures, before.failures);
	assert_int_equal(breaker.until_ms, before.until_ms);
}

static void its_wait_has_an_end_however_often_it_fails(void **state)
{
	struct breaker breaker = {.failures_max = 5};
	uint64_t now = 0;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		fails(&breaker, now);
		assert_true(breaker.until_ms <= now + 300000);
		now = breaker.until_ms > now ? breaker.until_ms : now + 1;
	}
	assert_true(now > 100 * 30000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_opens_at_its_number_of_failures_in_a_row_and_not_before),
		cmocka_unit_test(after_its_wait_a_probe_decides),
		cmocka_unit_test(what_was_under_way_when_it_opened_changes_nothing),
		cmocka_unit_test(its_wait_has_an_end_however_often_it_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
