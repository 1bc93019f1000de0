#include "ingest/table.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { CAPACITY_MIN = 16 };

void table_init(struct table *table, uint32_t key_size, uint32_t entry_size)
{
	*table = (struct table){.key_size = key_size, .entry_size = entry_size};
}

void table_done(struct table *table)
{
	free(table->hashes);
	free(table->entries);
}

void table_clear(struct table *table)
{
	table_done(table);
	table_init(table, table->key_size, table->entry_size);
}

static inline uint64_t fold(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* It chooses places only: keys are compared. Sizes are multiples of four. */
static inline uint32_t key_hash(const struct table *table, const void *key)
{
	const uint8_t *at = key;
	uint64_t hash = 0;
	uint32_t left = table->key_size;
	for (; left >= 8; left -= 8, at += 8) {
		uint64_t word;
		memcpy(&word, at, sizeof(word));
		hash = fold(hash ^ word ^ 0x243f6a8885a308d3ULL, 0x9e3779b97f4a7c15ULL);
	}
	if (left) {
		uint32_t word;
		memcpy(&word, at, sizeof(word));
		hash = fold(hash ^ word ^ 0x13198a2e03707345ULL, 0x9e3779b97f4a7c15ULL);
	}
	return (uint32_t)hash ? (uint32_t)hash : 1;
}

static uint8_t *entry_at(const struct table *table, uint32_t place)
{
	return table->entries + (size_t)place * table->entry_size;
}

static inline bool key_equal(const struct table *table, const void *a, const void *b)
{
	if (table->key_size == sizeof(uint64_t))
		return memcmp(a, b, sizeof(uint64_t)) == 0; /* most keys: in line */
	return memcmp(a, b, table->key_size) == 0;
}

/* Where the key is, or the empty place where it belongs. */
static inline uint32_t find_place(const struct table *table, const void *key, uint32_t hash)
{
	uint32_t mask = table->capacity - 1, place = hash & mask;
	while (table->hashes[place] &&
	       (table->hashes[place] != hash || !key_equal(table, entry_at(table, place), key)))
		place = (place + 1) & mask;
	return place;
}

static void table_resize(struct table *table, uint32_t capacity)
{
	struct table old = *table;
	table->capacity = capacity;
	table->hashes = memory_zeroed(capacity, sizeof(*table->hashes));
	table->entries = memory_zeroed(capacity, table->entry_size);
	for (uint32_t i = 0; i < old.capacity; i++) {
		if (!old.hashes[i])
			continue;
		uint32_t place = old.hashes[i] & (capacity - 1);
		while (table->hashes[place])
			place = (place + 1) & (capacity - 1);
		table->hashes[place] = old.hashes[i];
		memcpy(entry_at(table, place), entry_at(&old, i), table->entry_size);
	}
	table_done(&old);
}

void *table_find(const struct table *table, const void *key)
{
	if (table->count == 0)
		return NULL;
	uint32_t place = find_place(table, key, key_hash(table, key));
	return table->hashes[place] ? entry_at(table, place) : NULL;
}

void *table_put(struct table *table, const void *key)
{
	if (2 * (table->count + 1) > table->capacity)
		table_resize(table, table->capacity ? 2 * table->capacity : CAPACITY_MIN);
	uint32_t hash = key_hash(table, key);
	uint32_t place = find_place(table, key, hash);
	uint8_t *entry = entry_at(table, place);
	if (table->hashes[place])
		return entry;
	table->hashes[place] = hash;
	table->count++;
	memset(entry, 0, table->entry_size);
	memcpy(entry, key, table->key_size);
	return entry;
}

void table_remove(struct table *table, void *entry)
{
	uint32_t mask = table->capacity - 1;
	uint32_t hole = (uint32_t)(((uint8_t *)entry - table->entries) / table->entry_size);
	for (uint32_t place = (hole + 1) & mask; table->hashes[place]; place = (place + 1) & mask) {
		if (((place - table->hashes[place]) & mask) < ((place - hole) & mask))
			continue; /* the hole lies before its home */
		table->hashes[hole] = table->hashes[place];
		memcpy(entry_at(table, hole), entry_at(table, place), table->entry_size);
		hole = place;
	}
	table->hashes[hole] = 0;
	table->count--;
}
