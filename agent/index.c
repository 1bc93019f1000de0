#include "agent/index.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

void index_init(struct index *index, uint32_t rows_max)
{
	uint32_t size = 16;
	while (size < rows_max * 2ULL)
		size *= 2;
	*index = (struct index){.cells = memory_zeroed(size, sizeof(*index->cells)),
				.mask = size - 1,
				.max = rows_max};
}

void index_done(struct index *index)
{
	free(index->cells);
}

void index_clear(struct index *index)
{
	if (index->count)
		memset(index->cells, 0, (index->mask + 1ULL) * sizeof(*index->cells));
	index->count = 0;
}

/* Eight keys in a row are neighbours: cookies and ids count up, the two ends of a connection within
 * a node have two in a row, and a scan then finds the most of what it asks for in lines that are
 * there. More in a row would make long ways around what is old and full. */
static uint32_t home(const struct index *index, uint64_t key)
{
	return (uint32_t)(hash_mix(key >> 3) << 3 | (key & 7)) & index->mask;
}

/* The key's cell, or the empty one where it would go. */
static uint32_t find(const struct index *index, uint64_t key)
{
	uint32_t at = home(index, key);
	while (index->cells[at].row_after && index->cells[at].key != key)
		at = (at + 1) & index->mask;
	return at;
}

uint32_t index_get(const struct index *index, uint64_t key)
{
	return index->cells[find(index, key)].row_after - 1;
}

void index_put(struct index *index, uint64_t key, uint32_t row)
{
	uint32_t at = find(index, key);
	assert(!index->cells[at].row_after && index->count < index->max);
	index->cells[at] = (struct index_cell){.key = key, .row_after = row + 1};
	index->count++;
}

/* Closes the gap by moving back what would no longer be found behind it (Knuth, algorithm R). */
void index_remove(struct index *index, uint64_t key)
{
	uint32_t gap = find(index, key);
	assert(index->cells[gap].row_after);
	index->count--;
	for (uint32_t at = (gap + 1) & index->mask; index->cells[at].row_after;
	     at = (at + 1) & index->mask) {
		uint32_t from_home = (at - home(index, index->cells[at].key)) & index->mask;
		if (from_home < ((at - gap) & index->mask))
			continue;
		index->cells[gap] = index->cells[at];
		gap = at;
	}
	index->cells[gap] = (struct index_cell){0};
}
