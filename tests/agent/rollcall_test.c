#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/rollcall.h"
#include "base/clock.h"

#define START_NS (100 * NS_PER_S)

static void a_call_follows_a_loss_and_is_rare_in_a_storm(void **state)
{
	(void)state;
	struct rollcall call = {0};
	assert_false(rollcall_due(&call, START_NS, 0, false));
	assert_true(rollcall_due(&call, START_NS, 1, false));
	rollcall_begin(&call, START_NS, 1, 0);
	assert_false(rollcall_due(&call, START_NS + 2 * ROLLCALL_EVERY_NS, 2, true)); /* it runs */
	assert_true(rollcall_end(&call, 0));
	assert_false(rollcall_due(&call, START_NS + ROLLCALL_EVERY_NS, 1, false)); /* mended */
	assert_false(rollcall_due(&call, START_NS + ROLLCALL_EVERY_NS - 1, 2, true));
	assert_true(rollcall_due(&call, START_NS + ROLLCALL_EVERY_NS, 2, false));
	assert_true(rollcall_due(&call, START_NS + ROLLCALL_EVERY_NS, 1, true));
}

static void a_loss_while_it_runs_is_mended_by_the_next(void **state)
{
	(void)state;
	struct rollcall call = {0};
	rollcall_begin(&call, START_NS, 1, 0);
	assert_true(rollcall_end(&call, 0));
	assert_true(rollcall_due(&call, START_NS + ROLLCALL_EVERY_NS, 3, false));
}

static void with_answers_lost_nobody_is_judged_and_it_is_done_again(void **state)
{
	(void)state;
	struct rollcall call = {0};
	rollcall_begin(&call, START_NS, 1, 5);
	assert_false(rollcall_end(&call, 6));
	assert_true(rollcall_due(&call, START_NS + ROLLCALL_EVERY_NS, 1, false));
	rollcall_begin(&call, START_NS + ROLLCALL_EVERY_NS, 1, 6);
	assert_true(rollcall_end(&call, 6));
}

static void one_without_a_loss_is_at_once_and_from_then_on_now_and_then(void **state)
{
	(void)state;
	struct rollcall call = {.anyway_ns = 600 * NS_PER_S};
	assert_true(rollcall_due(&call, NS_PER_S, 0, false));
	rollcall_begin(&call, NS_PER_S, 0, 0);
	assert_true(rollcall_end(&call, 0));
	assert_false(rollcall_due(&call, 600 * NS_PER_S, 0, false));
	assert_true(rollcall_due(&call, 601 * NS_PER_S, 0, false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_call_follows_a_loss_and_is_rare_in_a_storm),
		cmocka_unit_test(a_loss_while_it_runs_is_mended_by_the_next),
		cmocka_unit_test(with_answers_lost_nobody_is_judged_and_it_is_done_again),
		cmocka_unit_test(one_without_a_loss_is_at_once_and_from_then_on_now_and_then),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
