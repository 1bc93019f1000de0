/* An index from hashes to record numbers, for records that live elsewhere and never move. A bucket
 * is one cache line: 12 tags (hash bits) and 12 numbers, so a look-up costs that line and the
 * record's.
 *
 *	tag 0..11 | passed | number 0..11
 *
 * A tag of 0 is a free place. `passed` counts the records that found this bucket full and went on:
 * a search ends at a bucket that nobody passed. Removing counts it down again, so churn leaves no
 * traces and no tombstones. Record number 0 is nobody. Grows by half when it is four fifths full,
 * asking for each record's hash: 6.7 to 10 bytes a record; it does not shrink. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { SLOTS_WAYS = 12 };

struct slots_bucket {
	uint8_t tag[SLOTS_WAYS];
	uint32_t passed;
	uint32_t record[SLOTS_WAYS];
};

_Static_assert(sizeof(struct slots_bucket) == 64, "a bucket is one cache line");

struct slots {
	struct slots_bucket *buckets;
	uint32_t buckets_count, records;
	uint64_t (*hash_of)(const void *context, uint32_t record);
	const void *context; /* of hash_of */
};

void slots_init(struct slots *slots, uint64_t (*hash_of)(const void *context, uint32_t record),
		const void *context);
void slots_done(struct slots *slots);

/* The low half of a hash chooses the bucket, the next byte is the tag. */
static inline uint32_t slots_home(const struct slots *slots, uint64_t hash)
{
	return (uint32_t)(((hash & UINT32_MAX) * slots->buckets_count) >> 32);
}

static inline uint8_t slots_tag(uint64_t hash)
{
	uint8_t tag = (uint8_t)(hash >> 32);
	return tag ? tag : 1;
}

static inline uint32_t slots_after(const struct slots *slots, uint32_t at)
{
	return at + 1 == slots->buckets_count ? 0 : at + 1;
}

static inline void slots_prefetch(const struct slots *slots, uint64_t hash)
{
	__builtin_prefetch(&slots->buckets[slots_home(slots, hash)]);
}

/* One bit a way, at the byte's place, where the tag is (or, in a byte above such a one, may be: who
 * looks compares records anyhow). word is 8 tags. */
static inline uint64_t slots_tags_equal(uint64_t word, uint8_t tag)
{
	const uint64_t ones = 0x0101010101010101ULL;
	uint64_t different = word ^ (ones * tag);
	return (different - ones) & ~different & (ones << 7);
}

/* The ways of the bucket that may hold the tag: byte i of low is way i, of high way 8 + i. */
struct slots_ways {
	uint64_t low, high;
};

static inline struct slots_ways slots_ways(const struct slots_bucket *bucket, uint8_t tag)
{
	uint64_t low;
	uint32_t high;
	memcpy(&low, bucket->tag, sizeof(low));
	memcpy(&high, bucket->tag + sizeof(low), sizeof(high));
	return (struct slots_ways){slots_tags_equal(low, tag),
				   slots_tags_equal(high, tag) & UINT32_MAX};
}

/* The next way of those, which is taken out; -1: none is left. */
static inline int slots_way_next(struct slots_ways *ways)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#error "tags are read as little-endian words"
#endif
	if (ways->low) {
		int way = __builtin_ctzll(ways->low) / 8;
		ways->low &= ways->low - 1;
		return way;
	}
	if (ways->high) {
		int way = 8 + __builtin_ctzll(ways->high) / 8;
		ways->high &= ways->high - 1;
		return way;
	}
	return -1;
}

/* The first record of the hash's bucket that may be the wanted one, or 0: for prefetching. */
static inline uint32_t slots_guess(const struct slots *slots, uint64_t hash)
{
	const struct slots_bucket *bucket = &slots->buckets[slots_home(slots, hash)];
	struct slots_ways ways = slots_ways(bucket, slots_tag(hash));
	int way = slots_way_next(&ways);
	return way < 0 ? 0 : bucket->record[way];
}

/* The record of this hash for which matches() is true, or 0. */
static inline uint32_t slots_find(const struct slots *slots, uint64_t hash,
				  bool (*matches)(const void *context, uint32_t record,
						  const void *wanted),
				  const void *context, const void *wanted)
{
	uint8_t tag = slots_tag(hash);
	for (uint32_t at = slots_home(slots, hash);; at = slots_after(slots, at)) {
		const struct slots_bucket *bucket = &slots->buckets[at];
		struct slots_ways ways = slots_ways(bucket, tag);
		for (int way; (way = slots_way_next(&ways)) >= 0;)
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

/* Another record of the same hash takes its place. */
void slots_replace(struct slots *slots, uint64_t hash, uint32_t record, uint32_t other);

size_t slots_bytes(const struct slots *slots);
