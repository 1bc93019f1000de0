#include "aggregate/row_index.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void row_index_init(struct row_index *index, uint32_t count)
{
	uint64_t slots = 64;
	while (slots < 2 * (uint64_t)count)
		slots *= 2;
	index->slots = memory_zeroed(slots, sizeof(*index->slots));
	index->mask = (uint32_t)(slots - 1);
	index->count = 0;
}

void row_index_done(struct row_index *index)
{
	memory_free(index->slots);
	*index = (struct row_index){0};
}

static void row_index_put(struct row_index *index, uint64_t slot)
{
	uint64_t at = (slot >> 32) & index->mask;
	while (index->slots[at])
		at = (at + 1) & index->mask;
	index->slots[at] = slot;
}

static void row_index_grow(struct row_index *index)
{
	struct row_index larger;
	row_index_init(&larger, index->mask + 1);
	for (uint64_t at = 0; at <= index->mask; at++)
		if (index->slots[at])
			row_index_put(&larger, index->slots[at]);
	larger.count = index->count;
	row_index_done(index);
	*index = larger;
}

void row_index_add(struct row_index *index, uint64_t hash, uint32_t position)
{
	if (2 * ((uint64_t)index->count + 1) > (uint64_t)index->mask + 1)
		row_index_grow(index);
	row_index_put(index, hash >> 32 << 32 | (position + 1));
	index->count++;
}

void row_index_remove(struct row_index *index, uint64_t hash, uint32_t position)
{
	uint64_t mask = index->mask;
	uint64_t wanted = hash >> 32 << 32 | (position + 1);
	uint64_t hole = row_index_start(index, hash);
	while (index->slots[hole] != wanted)
		hole = (hole + 1) & mask;
	for (uint64_t at = (hole + 1) & mask; index->slots[at]; at = (at + 1) & mask) {
		uint64_t home = (index->slots[at] >> 32) & mask;
		if (((at - home) & mask) < ((at - hole) & mask))
			continue; /* the hole lies before its home */
		index->slots[hole] = index->slots[at];
		hole = at;
	}
	index->slots[hole] = 0;
	index->count--;
}
