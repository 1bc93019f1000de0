/* An index from hashes to record numbers, for records that live elsewhere and never move. A bucket
 *is one cache line: 12 tags (hash bits) and 12 numbers, so a look-up costs that line and the
 *record's.
 *
 *	tag 0..11 | passed | number 0..11
 *
 * A tag of 0 is a free place. `passed` counts the records that found this bucket full and went on:
 *a search ends at a bucket that nobody passed. Removing counts it down again, so churn leaves no
 *traces and no tombstones. A table at its bound is at most three quarters full. Record number 0 is
 *nobody. The bound is given at the start: the caller holds no more records. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { SLOTS_WAYS = 12 };

struct slots_bucket {
	uint8_t tag[SLOTS_WAYS];
	uint32_t passed;
	uint32_t record[SLOTS_WAYS];
};

_Static_assert(sizeof(struct slots_bucket) == 64, "a bucket is one cache line");

struct slots {
	struct slots_bucket *buckets;
	uint64_t mask;
};

void slots_init(struct slots *slots, uint32_t records_max);
void slots_done(struct slots *slots);

/* Hashes choose owners by their high bits, so buckets and tags come from the low ones. */
static inline struct slots_bucket *slots_home(const struct slots *slots, uint64_t hash)
{
	return &slots->buckets[hash & slots->mask];
}

static inline uint8_t slots_tag(uint64_t hash)
{
	uint8_t tag = (uint8_t)(hash >> 24);
	return tag ? tag : 1;
}

static inline void slots_prefetch(const struct slots *slots, uint64_t hash)
{
	__builtin_prefetch(slots_home(slots, hash));
}

/* The record of this hash for which matches() is true, or 0. */
static inline uint32_t slots_find(const struct slots *slots, uint64_t hash,
				  bool (*matches)(const void *context, uint32_t record,
						  const void *wanted),
				  const void *context, const void *wanted)
{
	uint8_t tag = slots_tag(hash);
	for (uint64_t at = hash & slots->mask;; at = (at + 1) & slots->mask) {
		const struct slots_bucket *bucket = &slots->buckets[at];
		for (int way = 0; way < SLOTS_WAYS; way++)
			if (bucket->tag[way] == tag &&
			    matches(context, bucket->record[way], wanted))
				return bucket->record[way];
		if (!bucket->passed)
			return 0;
	}
}

/* The caller knows that it is not there yet. */
void slots_add(struct slots *slots, uint64_t hash, uint32_t record);

/* The caller knows that it is there. */
void slots_remove(struct slots *slots, uint64_t hash, uint32_t record);
