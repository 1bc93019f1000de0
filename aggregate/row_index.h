/* Where a key's element stands in an array: open addressing over (tag, position) pairs, linear
 * probing, at most half full, backward shift on removal. The tag is the upper half of the key's
 * hash; the caller compares keys. Grows by doubling, never shrinks. One thread. */
#pragma once

#include <stdint.h>

struct row_index {
	uint64_t *slots; /* tag << 32 | position + 1; 0: empty */
	uint32_t mask;
	uint32_t count;
};

enum { ROW_NONE = UINT32_MAX };

void row_index_init(struct row_index *index, uint32_t count); /* room for count before it grows */
void row_index_done(struct row_index *index);
void row_index_add(struct row_index *index, uint64_t hash,
		   uint32_t position); /* the key is not there yet */
void row_index_remove(struct row_index *index, uint64_t hash,
		      uint32_t position); /* the pair is there */

static inline uint64_t row_index_start(const struct row_index *index, uint64_t hash)
{
	return (hash >> 32) & index->mask;
}

/* The next position whose tag is hash's, ROW_NONE when there are no more; *at begins as
 * row_index_start(). */
static inline uint32_t row_index_next(const struct row_index *index, uint64_t hash, uint64_t *at)
{
	for (;;) {
		uint64_t slot = index->slots[*at];
		if (slot == 0)
			return ROW_NONE;
		*at = (*at + 1) & index->mask;
		if (slot >> 32 == hash >> 32)
			return (uint32_t)slot - 1;
	}
}
