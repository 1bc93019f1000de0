#include "aggregate/rollup.h"

#include "tests/aggregate/world.h"

static void every_counter_has_its_own_name_unit_and_help(void **state)
{
	(void)state;
	for (unsigned counter = 0; counter < COUNTERS; counter++) {
		const struct counter_info *info = counter_info(counter);
		assert_non_null(info->name);
		assert_non_null(info->unit);
		assert_non_null(info->help);
		assert_int_equal(counter_by_name(info->name), counter);
	}
	assert_int_equal(counter_by_name("no_such"), COUNTERS);
}

static void completeness_is_a_share_and_one_where_nothing_is_known(void **state)
{
	(void)state;
	struct rollup rollup = {0};
	assert_true(rollup_completeness(&rollup) == 1);
	rollup.counters[COUNTER_AGENT_ISSUED] = 4;
	assert_true(rollup_completeness(&rollup) == 0);
	rollup.counters[COUNTER_AGENT_RECEIVED] = 3;
	assert_true(rollup_completeness(&rollup) == 0.75);
	rollup.counters[COUNTER_AGENT_RECEIVED] = -3;
	assert_true(rollup_completeness(&rollup) == 0);
	rollup.counters[COUNTER_AGENT_ISSUED] = -4;
	assert_true(rollup_completeness(&rollup) == 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_counter_has_its_own_name_unit_and_help),
		cmocka_unit_test(completeness_is_a_share_and_one_where_nothing_is_known),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
