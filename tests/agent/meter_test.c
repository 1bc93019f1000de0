#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/meter.h"

static void within_a_sample_the_counter_counts(void **state)
{
	(void)state;
	struct meter meter = {0};
	meter_begin(&meter, 1000, 70);
	assert_int_equal(meter_total(&meter, 1500, 75), 5);
	meter_end(&meter, 2000, 80);
	assert_int_equal(meter_total(&meter, 2000, 80), 10);
}

static void between_samples_the_last_ones_rate_goes_on(void **state)
{
	(void)state;
	struct meter meter = {0};
	meter_begin(&meter, 0, 0);
	meter_end(&meter, 1000, 100);
	assert_int_equal(meter_total(&meter, 10000, 100), 1000);
	meter_begin(&meter, 10000, 130); /* what moved unseen is not counted twice */
	assert_int_equal(meter_total(&meter, 10500, 230), 1100);
	meter_end(&meter, 11000, 330);
	assert_int_equal(meter_total(&meter, 11000, 330), 1200);
	assert_int_equal(meter_total(&meter, 12000, 330), 1400);
}

static void it_never_falls(void **state)
{
	(void)state;
	struct meter meter = {0};
	meter_begin(&meter, 0, 500);
	assert_int_equal(meter_total(&meter, 10, 400), 0);
	meter_end(&meter, 1000, 400);
	assert_int_equal(meter_total(&meter, 5000, 0), 0);
	meter_begin(&meter, 5000, 0);
	meter_end(&meter, 5000, 0); /* no time: no rate */
	assert_int_equal(meter_total(&meter, 9000, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(within_a_sample_the_counter_counts),
		cmocka_unit_test(between_samples_the_last_ones_rate_goes_on),
		cmocka_unit_test(it_never_falls),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
