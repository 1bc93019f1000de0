#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/selftest.h"

#define S (uint64_t)1000000000

static void an_opening_that_comes_back_within_five_seconds_is_well(void **state)
{
	(void)state;
	struct selftest selftest;
	selftest_init(&selftest, 100 * S);
	assert_true(selftest_advance(&selftest, 100 * S, 7));
	assert_false(selftest_advance(&selftest, 101 * S, 7));
	assert_false(selftest_advance(&selftest, 104 * S, 8));
	assert_false(selftest_advance(&selftest, 129 * S, 8));
	assert_int_equal(selftest.failed, 0);
	assert_true(selftest_advance(&selftest, 130 * S, 8));
	assert_int_equal(selftest.tests, 2);
}

static void
one_that_does_not_is_counted_and_the_agent_is_blind_until_the_next_that_does(void **state)
{
	(void)state;
	struct selftest selftest;
	selftest_init(&selftest, 0);
	assert_true(selftest_advance(&selftest, 0, 7));
	assert_false(selftest_advance(&selftest, 5 * S - 1, 7));
	assert_false(selftest.blind);
	assert_false(selftest_advance(&selftest, 5 * S, 7));
	assert_true(selftest.blind);
	assert_int_equal(selftest.failed, 1);
	assert_false(selftest_advance(&selftest, 20 * S, 9)); /* too late: not this test's */
	assert_true(selftest.blind);
	assert_true(selftest_advance(&selftest, 30 * S, 9));
	assert_false(selftest_advance(&selftest, 31 * S, 10));
	assert_false(selftest.blind);
	assert_int_equal(selftest.failed, 1);
}

static void a_loop_that_slept_does_not_make_up_for_tests(void **state)
{
	(void)state;
	struct selftest selftest;
	selftest_init(&selftest, 0);
	assert_true(selftest_advance(&selftest, 0, 0));
	assert_true(selftest_advance(&selftest, 1000 * S, 1));
	assert_false(selftest_advance(&selftest, 1001 * S, 2));
	assert_false(selftest_advance(&selftest, 1029 * S, 2));
	assert_int_equal(selftest.tests, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_opening_that_comes_back_within_five_seconds_is_well),
		cmocka_unit_test(
			one_that_does_not_is_counted_and_the_agent_is_blind_until_the_next_that_does),
		cmocka_unit_test(a_loop_that_slept_does_not_make_up_for_tests),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
