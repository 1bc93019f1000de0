/* A table of small entries by key: the entries stand one behind the other, and open addressing
 * with linear probing finds their numbers, at most three quarters full; removal shifts back, so
 * there are no tombstones, and the last entry fills the gap. An entry begins with its key, whose
 * bytes are compared (no hidden padding). Who owns it bounds how many entries it holds. Entries
 * move: a pointer is good until the next put or remove. Walking it visits entries in an order that
 * no output may show; it is that of puts and removes, whatever the seed. One thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct table_place {
	uint32_t hash;
	uint32_t entry; /* number, + 1; 0: empty */
};

struct table {
	struct table_place *places;
	uint8_t *entries;
	uint32_t capacity; /* places: a power of two, or 0 */
	uint32_t room;	   /* entries */
	uint32_t count;
	uint32_t key_size, entry_size;
	uint64_t secret; /* of the keys' hash */
};

void table_init(struct table *table, uint32_t key_size, uint32_t entry_size);
/* For keys of strangers, before the first entry: without the seed they cannot be made to meet. */
void table_seed(struct table *table, uint64_t seed);
void table_done(struct table *table);
void table_clear(struct table *table);
void *table_find(const struct table *table, const void *key);
/* The entry of this key; a new one is zero after its key. */
void *table_put(struct table *table, const void *key);
void table_remove(struct table *table, void *entry);

enum { TABLE_GROUP = 16 };

/* Asks the memory for what finding these keys will need, all at once instead of one after the
 * other: at most TABLE_GROUP. hashes: theirs. */
void table_prefetch(const struct table *table, const void *const *keys, uint32_t *hashes,
		    size_t count);
void *table_find_hashed(const struct table *table, const void *key, uint32_t hash);

/* The same of keys that rows begin with, of the first TABLE_GROUP. */
static inline void table_prefetch_rows(const struct table *table, const void *rows, size_t stride,
				       size_t count)
{
	const void *keys[TABLE_GROUP];
	uint32_t hashes[TABLE_GROUP];
	size_t group = count < TABLE_GROUP ? count : TABLE_GROUP;
	for (size_t i = 0; i < group; i++)
		keys[i] = (const uint8_t *)rows + i * stride;
	table_prefetch(table, keys, hashes, group);
}

/* An entry by number, below count. Removing it brings another to the same number, if it was not the
 * last. */
static inline void *table_at(const struct table *table, uint32_t number)
{
	return table->entries + (size_t)number * table->entry_size;
}
