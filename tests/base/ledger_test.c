#include "base/ledger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static const struct ledger whole = {
	.issued = 100,
	.received = 97,
	.lost = 10,
	.duplicate = 4,
	.quarantined = 3,
	.refused = 5,
	.late = 6,
	.pending = 7,
	.aggregated = 72,
	.dropped_ring = 8,
	.dropped_netlink = 9,
	.dropped_spool = 2,
};

/* The checker's own check: no term can be off without its telling so. */
static void any_term_that_is_off_is_unexplained(void **state)
{
	(void)state;
	assert_int_equal(ledger_unexplained(&whole), 0);
	for (size_t term = 0; term < offsetof(struct ledger, dropped_ring) / sizeof(uint64_t);
	     term++) {
		for (int by = -1; by <= 1; by += 2) {
			struct ledger off = whole;
			((uint64_t *)&off)[term] += (uint64_t)by;
			assert_true(ledger_unexplained(&off) >= 1);
			assert_true(ledger_unexplained(&off) <= 2);
		}
	}
}

static void two_faults_do_not_hide_each_other(void **state)
{
	(void)state;
	struct ledger off = whole;
	off.issued += 5;
	off.aggregated -= 5;
	assert_int_equal(ledger_unexplained(&off), 10);
}

static void a_sum_of_ledgers_is_taken_apart_again(void **state)
{
	(void)state;
	struct ledger sum = {0}, none = {0};
	ledger_add(&sum, &whole);
	ledger_add(&sum, &whole);
	assert_int_equal(sum.issued, 200);
	assert_int_equal(sum.dropped_spool, 4);
	assert_int_equal(ledger_unexplained(&sum), 0);
	ledger_subtract(&sum, &whole);
	assert_memory_equal(&sum, &whole, sizeof(sum));
	ledger_subtract(&sum, &whole);
	assert_memory_equal(&sum, &none, sizeof(sum));
}

static void a_share_of_nothing_is_whole(void **state)
{
	(void)state;
	assert_true(arrival_share(&(struct arrival){0, 0}) == 1);
	assert_true(arrival_share(&(struct arrival){3, 4}) == 0.75);
	assert_true(arrival_share(&(struct arrival){0, 4}) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_term_that_is_off_is_unexplained),
		cmocka_unit_test(two_faults_do_not_hide_each_other),
		cmocka_unit_test(a_sum_of_ledgers_is_taken_apart_again),
		cmocka_unit_test(a_share_of_nothing_is_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
