#include "aggregate/bucket.h"

#include <stdlib.h>

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
	free(bucket);
}
