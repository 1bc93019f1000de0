#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/index.h"
#include "agent/slots.h"
#include "base/hash.h"

static void a_slot_that_ended_is_given_away_only_after_the_batch(void **state)
{
	(void)state;
	struct slots *slots = slots_new(4);
	struct slot *first = slots_add(slots, 100);
	uint32_t number = slots_number(slots, first), generation = first->generation;
	slots_end(slots, first);
	assert_null(slots_get(slots, 100));
	assert_int_not_equal(slots_number(slots, slots_add(slots, 101)), number);
	slots_release(slots);
	struct slot *again = slots_add(slots, 102);
	assert_int_equal(slots_number(slots, again), number);
	assert_int_equal(again->generation, generation + 1);
	slots_free(slots);
}

static void a_full_table_refuses_and_counts(void **state)
{
	(void)state;
	struct slots *slots = slots_new(3);
	for (uint64_t cookie = 1; cookie <= 3; cookie++)
		assert_non_null(slots_add(slots, cookie));
	assert_null(slots_add(slots, 4));
	slots_end(slots, slots_get(slots, 2));
	assert_null(slots_add(slots, 4));
	slots_release(slots);
	assert_non_null(slots_add(slots, 4));
	assert_int_equal(slots_stats(slots).refused, 2);
	assert_int_equal(slots_stats(slots).live, 3);
	slots_free(slots);
}

/* Seeded: an index under puts and removals holds what a plain array holds. */
static void an_index_agrees_with_an_array(void **state)
{
	(void)state;
	enum { KEYS = 512, STEPS = 200000 };
	static uint32_t rows[KEYS];
	static bool present[KEYS];
	struct index index;
	uint64_t seed = 20240611;
	index_init(&index, KEYS);
	for (int step = 0; step < STEPS; step++) {
		seed = hash_mix(seed + 1);
		uint32_t key = (uint32_t)(seed % KEYS);
		if (present[key]) {
			assert_int_equal(index_get(&index, key), rows[key]);
			index_remove(&index, key);
		} else {
			assert_int_equal(index_get(&index, key), INDEX_NONE);
			rows[key] = (uint32_t)(seed >> 40);
			index_put(&index, key, rows[key]);
		}
		present[key] = !present[key];
	}
	for (uint32_t key = 0; key < KEYS; key++)
		assert_int_equal(index_get(&index, key), present[key] ? rows[key] : INDEX_NONE);
	index_done(&index);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slot_that_ended_is_given_away_only_after_the_batch),
		cmocka_unit_test(a_full_table_refuses_and_counts),
		cmocka_unit_test(an_index_agrees_with_an_array),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
