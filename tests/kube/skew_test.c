#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "kube/skew.h"

static const uint64_t start = 1700000000 * NS_PER_S;

/* An answer made half way between: what a server whose clock is ahead would date it. */
static void answer(struct kube_skew *skew, uint64_t now_ns, int64_t ahead_ns)
{
	uint64_t there = now_ns + (uint64_t)ahead_ns;
	kube_skew_tell(skew, there / NS_PER_S, now_ns - 2 * NS_PER_MS, now_ns + 2 * NS_PER_MS);
}

static void answers_narrow_it_down_and_never_leave_the_truth(void **state)
{
	struct kube_skew skew = {0};
	unsigned seed = 20251122;
	int64_t ahead = -37 * (int64_t)NS_PER_S + 123456789;
	uint64_t now = start;
	(void)state;
	printf("seed %u\n", seed);
	for (int i = 0; i < 50; i++) {
		now += rand_r(&seed) % NS_PER_S + 300 * NS_PER_MS;
		answer(&skew, now, ahead);
		assert_true(skew.least_ns <= ahead && ahead <= skew.most_ns);
	}
	assert_true(skew.most_ns - skew.least_ns < 100 * (int64_t)NS_PER_MS);
}

static void a_clock_that_is_set_is_believed_at_once(void **state)
{
	struct kube_skew skew = {0};
	(void)state;
	for (int i = 0; i < 20; i++)
		answer(&skew, start + (uint64_t)i * 1100 * NS_PER_MS, 0);
	answer(&skew, start + 40 * NS_PER_S, 300 * (int64_t)NS_PER_S);
	assert_true(skew.least_ns <= 300 * (int64_t)NS_PER_S &&
		    300 * (int64_t)NS_PER_S <= skew.most_ns);
	assert_true(skew.least_ns > 298 * (int64_t)NS_PER_S);
}

static void a_drifting_clock_is_followed(void **state)
{
	struct kube_skew skew = {0};
	(void)state;
	for (int64_t i = 0; i < 10000; i++) {
		int64_t ahead = i * 50 * (int64_t)NS_PER_US; /* 50 us in a second */
		answer(&skew, start + (uint64_t)i * 1003 * NS_PER_MS, ahead);
		assert_true(skew.least_ns <= ahead && ahead <= skew.most_ns);
	}
}

static void dates_that_are_none_say_nothing(void **state)
{
	struct kube_skew skew = {0};
	(void)state;
	kube_skew_tell(&skew, UINT64_MAX, start, start);
	kube_skew_tell(&skew, 1700000000, start + 1, start);
	assert_false(skew.known);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_narrow_it_down_and_never_leave_the_truth),
		cmocka_unit_test(a_clock_that_is_set_is_believed_at_once),
		cmocka_unit_test(a_drifting_clock_is_followed),
		cmocka_unit_test(dates_that_are_none_say_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
