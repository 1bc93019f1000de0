#include "base/table.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

enum { CAPACITY_MIN = 16, ROOM_MIN = 8 };

void table_init(struct table *table, uint32_t key_size, uint32_t entry_size)
{
	*table = (struct table){.key_size = key_size, .entry_size = entry_size};
	table_seed(table, 0);
}

void table_seed(struct table *table, uint64_t seed)
{
	table->secret = hash_secret(seed, 0);
}

void table_done(struct table *table)
{
	memory_free(table->places);
	memory_free(table->entries);
}

void table_clear(struct table *table)
{
	table_done(table);
	*table = (struct table){
		.key_size = table->key_size,
		.entry_size = table->entry_size,
		.secret = table->secret,
	};
}

/* It chooses places only: keys are compared. Sizes are multiples of four. Nobody knows the secret,
 * and so which keys meet. */
static inline uint32_t key_hash(const struct table *table, const void *key)
{
	const uint8_t *at = key;
	uint64_t hash = 0;
	uint32_t left = table->key_size;
	for (; left >= 8; left -= 8, at += 8) {
		uint64_t word;
		memcpy(&word, at, sizeof(word));
		hash = hash_fold(hash ^ word ^ 0x243f6a8885a308d3ULL, table->secret);
	}
	if (left) {
		uint32_t word;
		memcpy(&word, at, sizeof(word));
		hash = hash_fold(hash ^ word ^ 0x13198a2e03707345ULL, table->secret);
	}
	return (uint32_t)hash;
}

static inline bool key_equal(const struct table *table, const void *a, const void *b)
{
	if (table->key_size == sizeof(uint64_t))
		return memcmp(a, b, sizeof(uint64_t)) == 0; /* most keys: in line */
	return memcmp(a, b, table->key_size) == 0;
}

/* Where the key is, or the empty place where it belongs. */
static inline struct table_place *find_place(const struct table *table, const void *key,
					     uint32_t hash)
{
	uint32_t mask = table->capacity - 1, at = hash & mask;
	const struct table_place *place = &table->places[at];
	while (place->entry &&
	       (place->hash != hash || !key_equal(table, table_at(table, place->entry - 1), key))) {
		at = (at + 1) & mask;
		place = &table->places[at];
	}
	return &table->places[at];
}

/* The place of an entry that is here. */
static struct table_place *place_of(const struct table *table, uint32_t number)
{
	uint32_t mask = table->capacity - 1;
	uint32_t at = key_hash(table, table_at(table, number)) & mask;
	while (table->places[at].entry != number + 1)
		at = (at + 1) & mask;
	return &table->places[at];
}

static void places_grow(struct table *table)
{
	uint32_t before = table->capacity;
	struct table_place *places = table->places;
	table->capacity = before ? 2 * before : CAPACITY_MIN;
	table->places = memory_zeroed(table->capacity, sizeof(*table->places));
	for (uint32_t i = 0; i < before; i++) {
		uint32_t mask = table->capacity - 1, at = places[i].hash & mask;
		if (!places[i].entry)
			continue;
		while (table->places[at].entry)
			at = (at + 1) & mask;
		table->places[at] = places[i];
	}
	memory_free(places);
}

/* By half: what is not used of it is memory, too. */
static void entries_grow(struct table *table)
{
	table->room = table->room ? table->room + table->room / 2 : ROOM_MIN;
	table->entries = memory_resize(table->entries, table->room, table->entry_size);
}

void *table_find_hashed(const struct table *table, const void *key, uint32_t hash)
{
	if (table->count == 0)
		return NULL;
	const struct table_place *place = find_place(table, key, hash);
	return place->entry ? table_at(table, place->entry - 1) : NULL;
}

void *table_find(const struct table *table, const void *key)
{
	return table->count ? table_find_hashed(table, key, key_hash(table, key)) : NULL;
}

void *table_put(struct table *table, const void *key)
{
	if (4 * ((uint64_t)table->count + 1) > 3 * (uint64_t)table->capacity)
		places_grow(table);
	uint32_t hash = key_hash(table, key);
	struct table_place *place = find_place(table, key, hash);
	if (place->entry)
		return table_at(table, place->entry - 1);
	if (table->count == table->room)
		entries_grow(table);
	uint8_t *entry = table_at(table, table->count++);
	*place = (struct table_place){hash, table->count};
	memcpy(entry, key, table->key_size);
	memset(entry + table->key_size, 0, table->entry_size - table->key_size);
	return entry;
}

static void place_clear(struct table *table, struct table_place *place)
{
	uint32_t mask = table->capacity - 1, hole = (uint32_t)(place - table->places);
	for (uint32_t at = (hole + 1) & mask; table->places[at].entry; at = (at + 1) & mask) {
		if (((at - table->places[at].hash) & mask) < ((at - hole) & mask))
			continue; /* the hole lies before its home */
		table->places[hole] = table->places[at];
		hole = at;
	}
	table->places[hole].entry = 0;
}

void table_remove(struct table *table, void *entry)
{
	uint32_t last = table->count - 1;
	uint32_t number = (uint32_t)(((uint8_t *)entry - table->entries) / table->entry_size);
	place_clear(table, place_of(table, number));
	if (number != last) {
		place_of(table, last)->entry = number + 1;
		memcpy(entry, table_at(table, last), table->entry_size);
	}
	table->count--;
}

void table_prefetch(const struct table *table, const void *const *keys, uint32_t *hashes,
		    size_t count)
{
	uint32_t mask = table->capacity - 1;
	if (table->count == 0)
		return;
	for (size_t i = 0; i < count; i++) {
		hashes[i] = key_hash(table, keys[i]);
		__builtin_prefetch(&table->places[hashes[i] & mask]);
	}
	for (size_t i = 0; i < count; i++) {
		const struct table_place *place = &table->places[hashes[i] & mask];
		if (!place->entry)
			continue;
		const char *entry = table_at(table, place->entry - 1);
		__builtin_prefetch(entry, 1);
		__builtin_prefetch(entry + table->entry_size - 1, 1);
	}
}
