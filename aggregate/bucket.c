#include "aggregate/bucket.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/name.h"

_Static_assert(NAME_MAX_BYTES <= UINT8_MAX, "a name's length is a byte");

static const void *bucket_place(char **at, const void *from, size_t count, size_t size)
{
	const void *place = *at;
	if (count)
		memcpy(*at, from, count * size);
	*at += count * size;
	return place;
}

struct partial_bucket *bucket_copy(const struct partial_bucket *bucket)
{
	const struct partial_bucket *b = bucket;
	size_t size =
		sizeof(*b) + b->row_count * sizeof(*b->rows) + b->value_count * sizeof(*b->values) +
		b->edge_count * sizeof(*b->edges) + b->lane_count * sizeof(*b->lanes) +
		b->instance_count * sizeof(*b->instances) + b->cell_count * sizeof(*b->cells) +
		b->name_count * sizeof(*b->name_lengths) + b->byte_count;
	struct partial_bucket *copy = memory_resize(NULL, size, 1);
	*copy = *bucket;

	/* Widest alignment first, so that each array is aligned where the one before ends. */
	char *at = (char *)(copy + 1);
	copy->rows = bucket_place(&at, b->rows, b->row_count, sizeof(*b->rows));
	copy->values = bucket_place(&at, b->values, b->value_count, sizeof(*b->values));
	copy->edges = bucket_place(&at, b->edges, b->edge_count, sizeof(*b->edges));
	copy->lanes = bucket_place(&at, b->lanes, b->lane_count, sizeof(*b->lanes));
	copy->instances = bucket_place(&at, b->instances, b->instance_count, sizeof(*b->instances));
	copy->cells = bucket_place(&at, b->cells, b->cell_count, sizeof(*b->cells));
	copy->name_lengths =
		bucket_place(&at, b->name_lengths, b->name_count, sizeof(*b->name_lengths));
	copy->name_bytes = bucket_place(&at, b->name_bytes, b->byte_count, 1);
	assert((size_t)(at - (char *)copy) == size);
	return copy;
}

void partial_bucket_free(struct partial_bucket *bucket)
{
	free(bucket);
}
