/* What the history is handed stays within its bounds, and is right as far as it goes: a second is
 * whole or not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/clock.h"
#include "daemon/sieve.h"

enum { TASKS = 4, ROWS = 5000 };

static struct rollup rows[ROWS], chosen[ROWS];

static void fill(uint32_t count, uint64_t start_s, uint32_t window_ms, uint8_t scope)
{
	for (uint32_t i = 0; i < count; i++) {
		rows[i] = (struct rollup){.window_start_ns = start_s * NS_PER_S,
					  .window_ms = window_ms,
					  .scope = scope};
		rows[i].edge.id = i + 1;
		rows[i].counters[COUNTER_ACTIVE] = i;
	}
}

static void edges_of_ten_seconds_and_longer_always_pass_and_panes_never(void **state)
{
	struct sieve *sieve = sieve_new(TASKS, 10);

	(void)state;
	fill(1000, 100, 10000, SCOPE_EDGE);
	assert_int_equal(sieve_choose(sieve, 0, rows, 1000, chosen), 1000);
	fill(1000, 100, 3600000, SCOPE_EDGE);
	assert_int_equal(sieve_choose(sieve, 0, rows, 1000, chosen), 1000);
	fill(1000, 100, 250, SCOPE_EDGE);
	assert_int_equal(sieve_choose(sieve, 0, rows, 1000, chosen), 0);
	fill(1000, 100, 250, SCOPE_CLIENT);
	assert_int_equal(sieve_choose(sieve, 0, rows, 1000, chosen), 0);
	assert_int_equal(sieve_left_out(sieve), 0);
	sieve_free(sieve);
}

static void too_many_seconds_are_left_out_by_all_tasks_and_come_back(void **state)
{
	struct sieve *sieve = sieve_new(TASKS, 2000);

	(void)state;
	for (uint64_t second = 100; second < 140; second++) {
		bool many = second >= 110 && second < 120;
		bool passes = second < 112 || second >= 122;

		for (uint32_t task = 0; task < TASKS; task++) {
			uint32_t count = task == 0 && many ? 500 : 200;

			fill(count, second, 1000, SCOPE_EDGE);
			assert_int_equal(sieve_choose(sieve, task, rows, count / 2, chosen),
					 passes ? count / 2 : 0);
			assert_int_equal(sieve_choose(sieve, task, rows, count / 2, chosen),
					 passes ? count / 2 : 0);
		}
	}
	assert_int_equal(sieve_left_out(sieve), 8 * 1100 + 2 * 800);
	sieve_free(sieve);
}

static void the_busiest_instances_pass(void **state)
{
	struct sieve *sieve = sieve_new(TASKS, 800); /* 1,000 a task and ten seconds */

	(void)state;
	for (uint64_t window = 10; window < 20; window++) {
		fill(4000, window * 10, 10000, SCOPE_SERVER);

		size_t taken = sieve_choose(sieve, 1, rows, 2000, chosen);

		taken += sieve_choose(sieve, 1, rows + 2000, 2000, chosen + taken);
		if (window == 10) {
			assert_int_equal(taken, 2000); /* nothing is known yet */
			continue;
		}
		assert_in_range(taken, 900, 1100); /* of the 1,952 from 2,048 on */
		assert_true(chosen[0].counters[COUNTER_ACTIVE] >= 2048);
	}
	for (uint64_t window = 20; window < 30; window++) {
		fill(1500, window * 10, 10000, SCOPE_CLIENT);

		size_t taken = sieve_choose(sieve, 1, rows, 1500, chosen);

		if (window == 20)
			continue;
		/* 476 from 1,024 on, 512 from 512 on, and a few more. */
		assert_in_range(taken, 988, 1060);
		assert_true(chosen[0].counters[COUNTER_ACTIVE] >= 256);
	}
	sieve_free(sieve);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(edges_of_ten_seconds_and_longer_always_pass_and_panes_never),
		cmocka_unit_test(too_many_seconds_are_left_out_by_all_tasks_and_come_back),
		cmocka_unit_test(the_busiest_instances_pass),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
