/* A table of small entries by key: open addressing, linear probing, at most half full, doubled when
 * it is fuller; removal shifts back, so there are no tombstones. An entry begins with its key,
 * whose bytes are compared (no hidden padding). Who owns it bounds how many entries it holds.
 * Entries move when the table grows or shrinks: a pointer is good until the next put or remove.
 * Walking it visits entries in the order of their hashes, which no output may show. One thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct table {
	uint32_t *hashes; /* 0 is an empty place */
	uint8_t *entries;
	uint32_t capacity, count;
	uint32_t key_size, entry_size;
};

void table_init(struct table *table, uint32_t key_size, uint32_t entry_size);
void table_done(struct table *table);
void table_clear(struct table *table);
void *table_find(const struct table *table, const void *key);
/* The entry of this key; a new one is zero after its key. */
void *table_put(struct table *table, const void *key);
void table_remove(struct table *table, void *entry);

/* The entry at a place, or NULL; places are 0..capacity - 1. Removing it may bring another to the
 * same place. */
static inline void *table_at(const struct table *table, uint32_t place)
{
	return table->hashes[place] ? table->entries + (size_t)place * table->entry_size : NULL;
}
