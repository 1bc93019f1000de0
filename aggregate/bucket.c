#include "aggregate/bucket.h"

#include <stdlib.h>
#include <string.h>

#include "aggregate/sum.h"
#include "base/memory.h"
#include "base/name.h"

_Static_assert(NAME_MAX_BYTES <= UINT8_MAX, "a name's length is a byte");
_Static_assert(sizeof(struct record) == 56, "records are compact");
_Static_assert(sizeof(struct record_wide) % 8 == 0 && sizeof(struct bucket_lane) % 8 == 0 &&
		       sizeof(struct bucket_instance) % 8 == 0,
	       "what follows is aligned");

bool bucket_is_whole(const struct partial_bucket *bucket)
{
	uint64_t size = sizeof(*bucket) + bucket->records_size +
			bucket->lane_count * sizeof(struct bucket_lane) +
			bucket->instance_count * sizeof(struct bucket_instance) +
			bucket->name_count;
	if (size > bucket->size || bucket->records_size % 8)
		return false;
	const uint8_t *lengths = bucket_name_lengths(bucket);
	for (uint32_t i = 0; i < bucket->name_count; i++)
		size += lengths[i];
	return size == bucket->size;
}

void partial_bucket_free(struct partial_bucket *bucket)
{
	memory_free(bucket);
}

const void *partial_bucket_bytes(const struct partial_bucket *bucket, size_t *length)
{
	*length = bucket->size;
	return bucket;
}

/* Before anything of it is added up, so that sizes of 64 bits cannot run over. */
static bool bucket_is_bounded(const struct partial_bucket *bucket, size_t length)
{
	return bucket->size == length && bucket->records_size <= length &&
	       bucket->lane_count <= length && bucket->instance_count <= length &&
	       bucket->name_count <= length;
}

/* What a record that begins with `left` bytes to come takes of them; 0: it goes beyond. */
static size_t record_size(const struct record *record, size_t left)
{
	size_t size = sizeof(*record);
	if (left < size)
		return 0;
	if ((record->bits & (RECORD_MORE | RECORD_WIDE | RECORD_AMEND)) == RECORD_AMEND) {
		const struct record_amendment *amendment =
			(const struct record_amendment *)(record + 1);
		if (left < size + sizeof(*amendment) ||
		    amendment->columns & ~(UINT64_MAX >> (64 - COLUMNS)))
			return 0;
	}
	size += record_tail(record);
	return size <= left ? size : 0;
}

static bool bucket_records_end(const struct partial_bucket *bucket)
{
	const char *at = (const char *)bucket_records(bucket);
	size_t left = bucket->records_size, size = 1;
	for (uint32_t i = 0; i < bucket->record_count && size; i++) {
		size = record_size((const struct record *)at, left);
		at += size;
		left -= size;
	}
	return size && left == 0;
}

struct partial_bucket *partial_bucket_from(const void *bytes, size_t length, uint64_t pane)
{
	if (length < sizeof(struct partial_bucket))
		return NULL;
	struct heap *heap = memory_use(NULL);
	struct partial_bucket *bucket = memory_resize(NULL, length, 1);
	memory_use(heap);
	memcpy(bucket, bytes, length);
	bucket->capacity = length;
	if (bucket->pane == pane && bucket_is_bounded(bucket, length) && bucket_is_whole(bucket) &&
	    bucket_records_end(bucket))
		return bucket;
	partial_bucket_free(bucket);
	return NULL;
}
