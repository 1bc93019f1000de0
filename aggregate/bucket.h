/* Inside of what partial hands to aggregate for one pane: one block of memory in the order below,
 * written once, read only after that, so it may be handed to another thread whole. Numbers are the
 * source's; what a number stands for is told here or was told by the same source before, so a
 * bucket needs no other. Host byte order (little-endian on every machine that Millrace runs on).
 *
 *   struct partial_bucket
 *   records: struct record, 56 bytes; behind it what its bits announce: RECORD_MORE struct
 *     record_more, RECORD_WIDE struct record_wide, RECORD_AMEND struct record_amendment. All are
 *     multiples of 8 bytes.
 *   bucket_lane x lane_count, bucket_instance x instance_count: to be read before the records
 *   a byte each of name_count names' lengths, then their bytes without NULs
 *
 * The counted share of a half that does not count (counts_from) is zero already, and all but the
 * time of a probe. */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "aggregate/partial.h"
#include "aggregate/rollup.h"

/* The low bits are those of enum delta_flag. */
enum record_bit {
	RECORD_SERVER = 1 << 12, /* the server's half */
	RECORD_COUNTS = 1 << 13, /* fills the counted columns */
	RECORD_JOINED = 1 << 14,
	RECORD_MORE = 1 << 15,
	RECORD_WIDE = 1 << 16,
	RECORD_AMEND = 1 << 17,
};
enum {
	RECORD_REASON_SHIFT = 20, /* enum close_reason, or lookup_result */
	RECORD_EVENTS = DELTA_OPENED | DELTA_CLOSED | DELTA_FAILED,
	RECORD_ACTIVE = DELTA_FIRST_IN_PANE | DELTA_FIRST_IN_1S | DELTA_FIRST_IN_10S |
			DELTA_FIRST_IN_60S | DELTA_FIRST_IN_1H,
	RECORD_LONG = DELTA_LATE | DELTA_RECOVERED, /* counts in windows of 10 s and longer only */
};

/* One delta. What is seldom follows it: in a record_more, or where a column ends above
 * RECORD_COLUMN_MAX (columns are added with the sign bit as the sign of running over) in a
 * record_wide, and then its column here is 0. */
#define RECORD_COLUMN_MAX 0x7fffffffU

struct record {
	uint32_t lane; /* the source's, among the owner's */
	uint32_t client, server;
	uint32_t bits;
	uint32_t columns[4]; /* bytes client to server, and back; segments the same, counted */
	uint64_t time_ns;
	uint32_t received, lost; /* events of its node */
	uint32_t srtt_us;	 /* 0: none */
	uint32_t min_rtt_us;	 /* 0: none */
};

struct record_more {
	uint64_t connect_us; /* 0: none; or of a lookup */
	uint32_t retransmits;
	uint32_t pad;
};

struct record_wide {
	uint64_t bytes[2], segments[2], retransmits;
	uint64_t connect_us;
	uint32_t srtt_us, received, lost, pad;
};

/* The signed share of one label. */
struct record_amendment {
	uint64_t window_start_ns;
	uint64_t columns; /* bit c: a value of column c follows, in ascending order */
	int64_t values[];
};

struct bucket_lane {
	uint32_t number, pad;
	struct edge edge;
	struct lane lane;
};

struct bucket_instance {
	uint32_t number, pad;
	struct instance instance;
};

struct partial_bucket {
	uint64_t pane;
	uint64_t records_size; /* bytes */
	uint32_t record_count, lane_count, instance_count, name_count;
	uint64_t size;	   /* of all */
	uint64_t capacity; /* of the block */
};

static inline const struct record *bucket_records(const struct partial_bucket *bucket)
{
	return (const struct record *)(bucket + 1);
}

static inline const struct bucket_lane *bucket_lanes(const struct partial_bucket *bucket)
{
	return (const struct bucket_lane *)((const char *)(bucket + 1) + bucket->records_size);
}

static inline const struct bucket_instance *bucket_instances(const struct partial_bucket *bucket)
{
	return (const struct bucket_instance *)(bucket_lanes(bucket) + bucket->lane_count);
}

static inline const uint8_t *bucket_name_lengths(const struct partial_bucket *bucket)
{
	return (const uint8_t *)(bucket_instances(bucket) + bucket->instance_count);
}

/* How much stands behind the record itself. */
static inline size_t record_tail(const struct record *record)
{
	if (!(record->bits & (RECORD_MORE | RECORD_WIDE | RECORD_AMEND)))
		return 0;
	if (record->bits & RECORD_MORE)
		return sizeof(struct record_more);
	if (record->bits & RECORD_WIDE)
		return sizeof(struct record_wide);
	const struct record_amendment *amendment = (const struct record_amendment *)(record + 1);
	return sizeof(*amendment) +
	       (size_t)__builtin_popcountll(amendment->columns) * sizeof(amendment->values[0]);
}

/* Whether the sizes in it agree with one another and with that of the block; who walks the records
 * sees that they end where they should. */
bool bucket_is_whole(const struct partial_bucket *bucket);
