/* An index from hashes to record numbers, for records that live elsewhere and never move. A bucket
 * is one cache line: 12 tags (hash bits) and 12 numbers, so a look-up costs that line and the
 * record's.
 *
 *	tag 0..11 | passed | number 0..11
 *
 * A tag of 0 is a free place. `passed` counts the records that found this bucket full and went on:
 * a search ends at a bucket that nobody passed, or has been all round: of few buckets each may have
 * been. Removing counts it down again, so churn leaves no traces and no tombstones. Record number 0
 *is nobody. Grows by a quarter when it is four fifths full, asking for each record's hash: 6.7
 *to 8.3 bytes a record; it does not shrink. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

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
	uint32_t records_full; /* with more it grows */
	uint64_t (*hash_of)(const void *context, uint32_t record);
	void (*fetch)(const void *context, uint32_t record);
	const void *context;
};

/* fetch: prefetches what hash_of reads of a record, or NULL; asked well before it. */
void slots_init(struct slots *slots, uint64_t (*hash_of)(const void *context, uint32_t record),
		void (*fetch)(const void *context, uint32_t record), const void *context);
/* Sets them anew: the table is as another process left it. */
void slots_bind(struct slots *slots, uint64_t (*hash_of)(const void *context, uint32_t record),
		void (*fetch)(const void *context, uint32_t record), const void *context);
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

/* The ways of the bucket that hold the tag, a bit each. */
static inline unsigned slots_ways(const struct slots_bucket *bucket, uint8_t tag)
{
#ifdef __SSE2__
	__m128i tags = _mm_loadu_si128((const __m128i *)(const void *)bucket->tag);
	unsigned equal =
		(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8((char)tag)));
	return equal & ((1U << SLOTS_WAYS) - 1);
#else
	unsigned equal = 0;
	for (unsigned way = 0; way < SLOTS_WAYS; way++)
		equal |= (unsigned)(bucket->tag[way] == tag) << way;
	return equal;
#endif
}

/* The first record of the hash's bucket that may be the wanted one, or 0: for prefetching. */
static inline uint32_t slots_guess(const struct slots *slots, uint64_t hash)
{
	const struct slots_bucket *bucket = &slots->buckets[slots_home(slots, hash)];
	unsigned ways = slots_ways(bucket, slots_tag(hash));
	return ways ? bucket->record[__builtin_ctz(ways)] : 0;
}

/* False: there is no record of this hash. */
static inline bool slots_may_have(const struct slots *slots, uint64_t hash)
{
	const struct slots_bucket *bucket = &slots->buckets[slots_home(slots, hash)];
	return slots_ways(bucket, slots_tag(hash)) || bucket->passed;
}

/* The record of this hash for which matches() is true, or 0. */
static inline uint32_t slots_find(const struct slots *slots, uint64_t hash,
				  bool (*matches)(const void *context, uint32_t record,
						  const void *wanted),
				  const void *context, const void *wanted)
{
	uint8_t tag = slots_tag(hash);
	uint32_t home = slots_home(slots, hash), at = home;
	do {
		const struct slots_bucket *bucket = &slots->buckets[at];
		for (unsigned ways = slots_ways(bucket, tag); ways; ways &= ways - 1) {
			uint32_t record = bucket->record[__builtin_ctz(ways)];
			if (matches(context, record, wanted))
				return record;
		}
		if (!bucket->passed)
			return 0;
		at = slots_after(slots, at);
	} while (at != home);
	return 0;
}

void slots_grow(struct slots *slots);
void slots_put_on(struct slots *slots, uint64_t hash, uint32_t record);
void slots_remove_on(struct slots *slots, uint64_t hash, uint32_t record);

static inline bool slots_put_home(struct slots *slots, uint64_t hash, uint32_t record)
{
	struct slots_bucket *bucket = &slots->buckets[slots_home(slots, hash)];
	unsigned free_ways = slots_ways(bucket, 0);
	if (!free_ways)
		return false;
	int way = __builtin_ctz(free_ways);
	bucket->tag[way] = slots_tag(hash);
	bucket->record[way] = record;
	return true;
}

/* The caller knows that it is not there yet. */
static inline void slots_add(struct slots *slots, uint64_t hash, uint32_t record)
{
	if (slots->records++ == slots->records_full)
		slots_grow(slots);
	if (!slots_put_home(slots, hash, record))
		slots_put_on(slots, hash, record);
}

/* The caller knows that it is there. */
static inline void slots_remove(struct slots *slots, uint64_t hash, uint32_t record)
{
	struct slots_bucket *bucket = &slots->buckets[slots_home(slots, hash)];
	slots->records--;
	for (unsigned ways = slots_ways(bucket, slots_tag(hash)); ways; ways &= ways - 1) {
		int way = __builtin_ctz(ways);
		if (bucket->record[way] != record)
			continue;
		bucket->tag[way] = 0;
		return;
	}
	slots_remove_on(slots, hash, record);
}

/* Another record of the same hash takes its place. */
void slots_replace(struct slots *slots, uint64_t hash, uint32_t record, uint32_t other);

size_t slots_bytes(const struct slots *slots);
