#include "anomaly/baseline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hash.h"

#define MILLION 1000000LL

static struct baseline learned(uint32_t kind, uint64_t seed, int64_t median, int64_t spread,
			       uint32_t samples)
{
	struct baseline baseline = {0};
	for (uint32_t i = 0; i < samples; i++) {
		int64_t noise = (int64_t)(hash_mix(seed << 32 | i) % (uint64_t)(2 * spread + 1));
		baseline_learn(&baseline, kind, median + noise - spread, i, false);
	}
	return baseline;
}

/* Uniform noise of +-20: median 100, MAD 10. */
static void median_and_mad_are_found(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 50; seed++) {
		struct baseline baseline =
			learned(BASELINE_BYTES, seed, 100000000 * MILLION, 20000000 * MILLION, 500);
		if (llabs(baseline.median - 100000000 * MILLION) > 8000000 * MILLION ||
		    baseline.mad < 6000000 * MILLION || baseline.mad > 14000000 * MILLION)
			fail_msg("seed %lu: median %ld mad %ld", (unsigned long)seed,
				 (long)baseline.median, (long)baseline.mad);
	}
}

static void a_far_value_counts_by_its_side_alone(void **state)
{
	(void)state;
	struct baseline near = learned(BASELINE_BYTES, 7, 100000 * MILLION, 5000 * MILLION, 100);
	struct baseline far = near;
	baseline_learn(&near, BASELINE_BYTES, 200000 * MILLION, 1, false);
	baseline_learn(&far, BASELINE_BYTES, 900000000 * MILLION, 1, false);
	assert_int_equal(near.median, far.median);
	assert_int_equal(near.mad, far.mad);
}

static void a_first_value_far_off_is_forgotten_within_the_warm_up(void **state)
{
	(void)state;
	struct baseline baseline = {0};
	baseline_learn(&baseline, BASELINE_BYTES, 10000000 * MILLION, 0, false);
	for (uint32_t i = 1; i < 30; i++)
		baseline_learn(&baseline, BASELINE_BYTES, 1000000 * MILLION, i, false);
	assert_true(baseline.median < 1200000 * MILLION);
}

static void learning_is_slower_in_an_incident(void **state)
{
	(void)state;
	struct baseline usual = learned(BASELINE_FAILED, 3, MILLION, 0, 100), slow = usual;
	for (uint32_t i = 0; i < 30; i++) {
		baseline_learn(&usual, BASELINE_FAILED, 50 * MILLION, i, false);
		baseline_learn(&slow, BASELINE_FAILED, 50 * MILLION, i, true);
	}
	assert_true(slow.median - MILLION < (usual.median - MILLION) / 4);
}

static void seven_failures_fire_where_there_are_none(void **state)
{
	(void)state;
	struct baseline baseline = learned(BASELINE_FAILED, 1, 0, 0, 40);
	struct baseline_limits second = baseline_limits(&baseline, BASELINE_FAILED, 1, 6);
	struct baseline_limits ten = baseline_limits(&baseline, BASELINE_FAILED, 10, 6);
	assert_true(6 * MILLION <= second.high && second.high < 7 * MILLION);
	assert_true(6 * MILLION / 10 <= ten.high && ten.high < 7 * MILLION / 10);
	assert_true(second.low == INT64_MIN);
}

/* Poisson counts of mean 10 a second, by the sum of uniform chances: far below the limit of
 * about 30. */
static void chance_alone_does_not_fire(void **state)
{
	(void)state;
	struct baseline baseline = {0};
	uint64_t word = 1, worst = 0;
	for (uint32_t i = 0; i < 3000; i++) {
		int64_t count = 0;
		for (int second = 0; second < 10; second++) {
			uint64_t now = 0;
			for (int chance = 0; chance < 1000; chance++)
				now += hash_mix(word++) % 100 == 0;
			worst = now > worst && i > 30 ? now : worst;
			count += (int64_t)now;
		}
		baseline_learn(&baseline, BASELINE_FAILED, count * MILLION / 10, i, false);
	}
	struct baseline_limits limits = baseline_limits(&baseline, BASELINE_FAILED, 1, 6);
	assert_true((int64_t)worst * MILLION < limits.high);
	assert_true(limits.high < 35 * MILLION);
}

static void extremes_do_not_overflow(void **state)
{
	(void)state;
	for (uint32_t kind = 0; kind < BASELINES; kind++) {
		struct baseline baseline = {0};
		for (uint32_t i = 0; i < 200; i++)
			baseline_learn(&baseline, kind, i % 2 ? INT64_MAX : INT64_MIN, i, i % 3);
		for (uint32_t window_s = 1; window_s <= 10; window_s++) {
			struct baseline_limits limits =
				baseline_limits(&baseline, kind, window_s, 1e6);
			assert_true(limits.high >= limits.high_clear);
			assert_true(limits.low <= limits.low_clear);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(median_and_mad_are_found),
		cmocka_unit_test(a_far_value_counts_by_its_side_alone),
		cmocka_unit_test(a_first_value_far_off_is_forgotten_within_the_warm_up),
		cmocka_unit_test(learning_is_slower_in_an_incident),
		cmocka_unit_test(seven_failures_fire_where_there_are_none),
		cmocka_unit_test(chance_alone_does_not_fire),
		cmocka_unit_test(extremes_do_not_overflow),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
