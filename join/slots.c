#include "join/slots.h"

#include <assert.h>
#include <stdlib.h>

#include "base/memory.h"

enum { BUCKETS_MIN = 4, FULL_OF_FIVE = 4 };

void slots_init(struct slots *slots, uint64_t (*hash_of)(const void *context, uint32_t record),
		const void *context)
{
	*slots = (struct slots){
		.buckets = memory_zeroed(BUCKETS_MIN, sizeof(*slots->buckets)),
		.buckets_count = BUCKETS_MIN,
		.hash_of = hash_of,
		.context = context,
	};
}

void slots_done(struct slots *slots)
{
	free(slots->buckets);
	*slots = (struct slots){0};
}

static void slots_put(struct slots *slots, uint64_t hash, uint32_t record)
{
	for (uint32_t at = slots_home(slots, hash);; at = slots_after(slots, at)) {
		struct slots_bucket *bucket = &slots->buckets[at];
		unsigned free_ways = slots_ways(bucket, 0);
		if (free_ways) {
			int way = __builtin_ctz(free_ways);
			bucket->tag[way] = slots_tag(hash);
			bucket->record[way] = record;
			return;
		}
		bucket->passed++;
	}
}

static void slots_grow(struct slots *slots)
{
	struct slots_bucket *before = slots->buckets;
	uint32_t before_count = slots->buckets_count;
	slots->buckets_count += before_count / 4;
	slots->buckets = memory_zeroed(slots->buckets_count, sizeof(*slots->buckets));
	for (uint32_t at = 0; at < before_count; at++)
		for (int way = 0; way < SLOTS_WAYS; way++)
			if (before[at].tag[way])
				slots_put(slots,
					  slots->hash_of(slots->context, before[at].record[way]),
					  before[at].record[way]);
	free(before);
}

void slots_add(struct slots *slots, uint64_t hash, uint32_t record)
{
	if ((uint64_t)++slots->records * 5 >
	    (uint64_t)slots->buckets_count * SLOTS_WAYS * FULL_OF_FIVE)
		slots_grow(slots);
	slots_put(slots, hash, record);
}

void slots_remove(struct slots *slots, uint64_t hash, uint32_t record)
{
	uint8_t tag = slots_tag(hash);
	slots->records--;
	for (uint32_t at = slots_home(slots, hash);; at = slots_after(slots, at)) {
		struct slots_bucket *bucket = &slots->buckets[at];
		for (unsigned ways = slots_ways(bucket, tag); ways; ways &= ways - 1) {
			int way = __builtin_ctz(ways);
			if (bucket->record[way] != record)
				continue;
			bucket->tag[way] = 0;
			return;
		}
		assert(bucket->passed > 0);
		bucket->passed--;
	}
}

void slots_replace(struct slots *slots, uint64_t hash, uint32_t record, uint32_t other)
{
	for (uint32_t at = slots_home(slots, hash);; at = slots_after(slots, at)) {
		struct slots_bucket *bucket = &slots->buckets[at];
		for (int way = 0; way < SLOTS_WAYS; way++) {
			if (!bucket->tag[way] || bucket->record[way] != record)
				continue;
			bucket->record[way] = other;
			return;
		}
		assert(bucket->passed > 0);
	}
}

size_t slots_bytes(const struct slots *slots)
{
	return (size_t)slots->buckets_count * sizeof(*slots->buckets);
}
