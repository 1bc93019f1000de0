#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "agent/budget.h"
#include "agent/meter.h"

#define CPUS   4
#define BUDGET 0.01

/* A node whose agent costs `share` of all CPUs in each window. */
struct node {
	struct budget budget;
	uint64_t now_ns, cpu_ns;
};

static void begin(struct node *node, double share, uint32_t steps)
{
	node->now_ns = 5000;
	node->cpu_ns = 123456;
	budget_init(&node->budget, share, steps, CPUS, node->now_ns, node->cpu_ns);
}

static void window(struct node *node, double share)
{
	node->now_ns += BUDGET_WINDOW_NS;
	node->cpu_ns += (uint64_t)(share * (double)BUDGET_WINDOW_NS * CPUS);
	assert_true(budget_advance(&node->budget, node->now_ns, node->cpu_ns));
}

static void windows(struct node *node, double share, int count)
{
	while (count--)
		window(node, share);
}

static void a_window_is_ten_seconds_and_its_share_is_of_all_cpus(void **state)
{
	(void)state;
	struct node node;
	begin(&node, BUDGET, 5);
	assert_false(budget_advance(&node.budget, node.now_ns + BUDGET_WINDOW_NS - 1, UINT64_MAX));
	assert_true(node.budget.used == 0);
	window(&node, 0.0075);
	assert_true(node.budget.used > 0.00749 && node.budget.used < 0.00751);
}

static void at_the_budget_nothing_is_left_out_and_above_it_one_thing_in_three_windows(void **state)
{
	(void)state;
	struct node node;
	begin(&node, BUDGET, 3);
	windows(&node, BUDGET, 10);
	assert_int_equal(node.budget.level, 0);
	windows(&node, BUDGET * 1.001, BUDGET_OVER_WINDOWS);
	assert_int_equal(node.budget.level, 1);
	windows(&node, BUDGET * 50, 2 * BUDGET_OVER_WINDOWS - 1);
	assert_int_equal(node.budget.level, 2);
	window(&node, BUDGET * 50);
	assert_int_equal(node.budget.level, 3);
	windows(&node, BUDGET * 50, 5); /* there is nothing more to leave out */
	assert_int_equal(node.budget.level, 3);
	assert_int_equal(node.budget.over, 3 * BUDGET_OVER_WINDOWS + 5);
	assert_int_equal(node.budget.down, 3);
}

/* The real meter, sampled as agent.c does: 0.3 s of 6.1 s. One sample finds a storm of BPF programs
 * that was over before the next, wherever in a window it falls. */
static void one_sample_of_a_moment_leaves_nothing_out(void **state)
{
	(void)state;
	const uint64_t step_ns = 100000000, sample_ns = 3 * step_ns, every_ns = 61 * step_ns;
	for (uint64_t storm = 0; storm < 20; storm++) {
		struct budget budget;
		struct meter meter = {0};
		uint64_t raw = 0;
		budget_init(&budget, BUDGET, 5, CPUS, 0, 0);
		for (uint64_t now_ns = step_ns; now_ns < 200 * (uint64_t)1000000000;
		     now_ns += step_ns) {
			if (meter.sampling && now_ns / every_ns == storm)
				raw += step_ns * CPUS; /* all of the node */
			if (now_ns % every_ns == 0)
				meter_begin(&meter, now_ns, raw);
			else if (now_ns % every_ns == sample_ns)
				meter_end(&meter, now_ns, raw);
			budget_advance(&budget, now_ns, meter_total(&meter, now_ns, raw));
		}
		assert_int_equal(budget.down, 0);
		assert_true(storm == 0 || budget.over > 0);
	}
}

static void a_step_comes_back_after_three_windows_below_half(void **state)
{
	(void)state;
	struct node node;
	begin(&node, BUDGET, 5);
	windows(&node, BUDGET * 2, 2 * BUDGET_OVER_WINDOWS);
	assert_int_equal(node.budget.level, 2);
	windows(&node, BUDGET / 2 * 1.01, 20); /* within, but with no room */
	assert_int_equal(node.budget.level, 2);
	windows(&node, BUDGET / 4, 2);
	window(&node, BUDGET * 0.9); /* breaks the row */
	windows(&node, BUDGET / 4, 2);
	assert_int_equal(node.budget.level, 2);
	window(&node, BUDGET / 4);
	assert_int_equal(node.budget.level, 1);
	windows(&node, BUDGET / 4, 3);
	assert_int_equal(node.budget.level, 0);
	assert_int_equal(node.budget.up, 2);
}

/* With the step taken there is room, without it there is none. */
static void a_load_at_the_edge_is_tried_more_and_more_rarely(void **state)
{
	(void)state;
	struct node node;
	uint64_t tries[4];
	begin(&node, BUDGET, 5);
	for (int hour = 0; hour < 4; hour++) {
		uint64_t before = node.budget.up;
		for (int i = 0; i < 360; i++)
			window(&node, node.budget.level ? BUDGET / 4 : BUDGET * 1.5);
		tries[hour] = node.budget.up - before;
	}
	assert_true(tries[0] < 15);
	assert_in_range(tries[3], 5, 6); /* every ten minutes */
	windows(&node, 0, 1000);
	assert_int_equal(node.budget.level, 0);
	windows(&node, BUDGET * 2, BUDGET_OVER_WINDOWS);
	assert_int_equal(node.budget.level, 1);
	windows(&node, 0, BUDGET_ROOM_WINDOWS); /* what was is forgiven */
	assert_int_equal(node.budget.level, 0);
}

static void without_a_budget_nothing_is_taken_back(void **state)
{
	(void)state;
	struct node node;
	begin(&node, 0, 5);
	windows(&node, 0.9, 5);
	assert_int_equal(node.budget.level, 0);
	budget_set(&node.budget, BUDGET, 5);
	windows(&node, 0.9, 4 * BUDGET_OVER_WINDOWS);
	assert_int_equal(node.budget.level, 4);
	budget_set(&node.budget, BUDGET, 2);
	assert_int_equal(node.budget.level, 2);
	budget_set(&node.budget, 0, 2);
	assert_int_equal(node.budget.level, 0);
}

static void cpu_time_that_goes_back_counts_as_none(void **state)
{
	(void)state;
	struct node node;
	begin(&node, BUDGET, 5);
	node.now_ns += BUDGET_WINDOW_NS;
	assert_true(budget_advance(&node.budget, node.now_ns, 1));
	assert_true(node.budget.used == 0);
	assert_int_equal(node.budget.level, 0);
}

/* Whatever the load does, the level moves by at most one a window and stays within its steps. */
static void any_load_moves_the_level_by_one_at_most(void **state)
{
	(void)state;
	unsigned seed = 20261121;
	struct node node;
	begin(&node, BUDGET, 6);
	for (int i = 0; i < 20000; i++) {
		uint32_t before = node.budget.level;
		window(&node, BUDGET * 3 * rand_r(&seed) / RAND_MAX);
		uint32_t after = node.budget.level;
		assert_true(after <= 6);
		assert_true(after == before || after == before + 1 || after + 1 == before);
	}
	assert_int_equal(node.budget.down - node.budget.up, node.budget.level);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_window_is_ten_seconds_and_its_share_is_of_all_cpus),
		cmocka_unit_test(
			at_the_budget_nothing_is_left_out_and_above_it_one_thing_in_three_windows),
		cmocka_unit_test(one_sample_of_a_moment_leaves_nothing_out),
		cmocka_unit_test(a_step_comes_back_after_three_windows_below_half),
		cmocka_unit_test(a_load_at_the_edge_is_tried_more_and_more_rarely),
		cmocka_unit_test(without_a_budget_nothing_is_taken_back),
		cmocka_unit_test(cpu_time_that_goes_back_counts_as_none),
		cmocka_unit_test(any_load_moves_the_level_by_one_at_most),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
