/* The table against the plainest one there is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/table.h"

enum { KEYS = 512, STEPS = 20000 };

/* Three words: the last half of one is hashed by itself. */
struct key {
	uint32_t words[3];
};

struct entry {
	struct key key;
	uint32_t value;
};

enum { SEED = 1 };
static uint64_t state_of_random = SEED;

static uint32_t random_below(uint32_t bound)
{
	state_of_random += 0x9e3779b97f4a7c15ULL;
	return (uint32_t)(hash_mix(state_of_random) % bound);
}

static struct key key_of(uint32_t number)
{
	return (struct key){{number % 7, number / 7, number}};
}

static void check_all(const struct table *table, const uint32_t values[KEYS])
{
	uint32_t live = 0;
	for (uint32_t number = 0; number < KEYS; number++) {
		struct key key = key_of(number);
		const struct entry *entry = table_find(table, &key);
		live += values[number] != 0;
		assert_int_equal(entry != NULL, values[number] != 0);
		if (entry)
			assert_int_equal(entry->value, values[number]);
	}
	assert_int_equal(table->count, live);
}

/* Every entry is visited once, also while others are removed. */
static void sweep(struct table *table, uint32_t values[KEYS])
{
	uint32_t odd = random_below(2), visited = 0, before = table->count;
	for (uint32_t i = 0; i < table->count; visited++) {
		struct entry *entry = table_at(table, i);
		if (entry->value % 2 != odd) {
			i++;
			continue;
		}
		values[entry->key.words[2]] = 0;
		table_remove(table, entry);
	}
	assert_int_equal(visited, before);
}

static void what_is_put_is_found_until_it_is_removed(void **state)
{
	struct table table;
	uint32_t values[KEYS] = {0};
	(void)state;
	table_init(&table, sizeof(struct key), sizeof(struct entry));
	for (uint32_t step = 1; step <= STEPS; step++) {
		uint32_t number = random_below(KEYS), bias = step / 2000 % 2;
		struct key key = key_of(number);
		if (random_below(8) < 3 + 2 * bias) {
			struct entry *entry = table_put(&table, &key);
			assert_int_equal(entry->value, values[number]);
			entry->value = values[number] = step;
		} else if (values[number]) {
			table_remove(&table, table_find(&table, &key));
			values[number] = 0;
		}
		if (step % 500 == 0)
			check_all(&table, values);
		if (step % 3000 == 0)
			sweep(&table, values);
	}
	check_all(&table, values);
	table_clear(&table);
	assert_int_equal(table.count, 0);
	table_done(&table);
}

static void a_group_of_keys_is_found_by_the_hashes_that_asking_for_it_gave(void **state)
{
	struct table table;
	struct key keys[TABLE_GROUP];
	const void *asked[TABLE_GROUP];
	uint32_t hashes[TABLE_GROUP] = {0};
	(void)state;
	table_init(&table, sizeof(struct key), sizeof(struct entry));
	for (uint32_t i = 0; i < TABLE_GROUP; i++) {
		keys[i] = key_of(i);
		asked[i] = &keys[i];
	}
	table_prefetch(&table, asked, hashes, TABLE_GROUP);
	assert_null(table_find_hashed(&table, &keys[0], hashes[0]));
	for (uint32_t i = 0; i < TABLE_GROUP; i += 2)
		((struct entry *)table_put(&table, &keys[i]))->value = i;
	table_prefetch(&table, asked, hashes, TABLE_GROUP);
	for (uint32_t i = 0; i < TABLE_GROUP; i++) {
		const struct entry *entry = table_find_hashed(&table, &keys[i], hashes[i]);
		assert_int_equal(entry != NULL, i % 2 == 0);
		assert_ptr_equal(entry, table_find(&table, &keys[i]));
	}
	table_done(&table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_put_is_found_until_it_is_removed),
		cmocka_unit_test(a_group_of_keys_is_found_by_the_hashes_that_asking_for_it_gave),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
