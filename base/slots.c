#include "base/slots.h"

#include <assert.h>
#include <stdlib.h>

#include "base/memory.h"

enum { BUCKETS_MIN = 4, FULL_OF_FIVE = 4, BUCKETS_AHEAD = 3 };

static uint32_t records_full(uint32_t buckets)
{
	return (uint32_t)((uint64_t)buckets * SLOTS_WAYS * FULL_OF_FIVE / 5);
}

void slots_init(struct slots *slots, uint64_t (*hash_of)(const void *context, uint32_t record),
		void (*fetch)(const void *context, uint32_t record), const void *context)
{
	*slots = (struct slots){
		.buckets = memory_zeroed(BUCKETS_MIN, sizeof(*slots->buckets)),
		.buckets_count = BUCKETS_MIN,
		.records_full = records_full(BUCKETS_MIN),
	};
	slots_bind(slots, hash_of, fetch, context);
}

void slots_bind(struct slots *slots, uint64_t (*hash_of)(const void *context, uint32_t record),
		void (*fetch)(const void *context, uint32_t record), const void *context)
{
	slots->hash_of = hash_of;
	slots->fetch = fetch;
	slots->context = context;
}

void slots_done(struct slots *slots)
{
	memory_free(slots->buckets);
	*slots = (struct slots){0};
}

/* The home bucket is full. */
void slots_put_on(struct slots *slots, uint64_t hash, uint32_t record)
{
	uint32_t at = slots_home(slots, hash);
	for (unsigned free_ways = 0; !free_ways;) {
		slots->buckets[at].passed++;
		at = slots_after(slots, at);
		free_ways = slots_ways(&slots->buckets[at], 0);
	}
	int way = __builtin_ctz(slots_ways(&slots->buckets[at], 0));
	slots->buckets[at].tag[way] = slots_tag(hash);
	slots->buckets[at].record[way] = record;
}

static void slots_put(struct slots *slots, uint64_t hash, uint32_t record)
{
	if (!slots_put_home(slots, hash, record))
		slots_put_on(slots, hash, record);
}

static void bucket_fetch(const struct slots *slots, const struct slots_bucket *bucket)
{
	for (int way = 0; slots->fetch && way < SLOTS_WAYS; way++)
		if (bucket->tag[way])
			slots->fetch(slots->context, bucket->record[way]);
}

static void bucket_move(struct slots *slots, const struct slots_bucket *bucket)
{
	for (int way = 0; way < SLOTS_WAYS; way++)
		if (bucket->tag[way])
			slots_put(slots, slots->hash_of(slots->context, bucket->record[way]),
				  bucket->record[way]);
}

void slots_grow(struct slots *slots)
{
	struct slots_bucket *before = slots->buckets;
	uint32_t before_count = slots->buckets_count;
	slots->buckets_count += before_count / 4;
	slots->records_full = records_full(slots->buckets_count);
	slots->buckets = memory_zeroed(slots->buckets_count, sizeof(*slots->buckets));
	for (uint32_t at = 0; at < before_count; at++) {
		if (at + BUCKETS_AHEAD < before_count)
			bucket_fetch(slots, &before[at + BUCKETS_AHEAD]);
		bucket_move(slots, &before[at]);
	}
	memory_free(before);
}

/* It is not in its home bucket. */
void slots_remove_on(struct slots *slots, uint64_t hash, uint32_t record)
{
	uint8_t tag = slots_tag(hash);
	for (uint32_t at = slots_home(slots, hash);;) {
		assert(slots->buckets[at].passed > 0);
		slots->buckets[at].passed--;
		at = slots_after(slots, at);
		struct slots_bucket *bucket = &slots->buckets[at];
		for (unsigned ways = slots_ways(bucket, tag); ways; ways &= ways - 1) {
			int way = __builtin_ctz(ways);
			if (bucket->record[way] != record)
				continue;
			bucket->tag[way] = 0;
			return;
		}
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
