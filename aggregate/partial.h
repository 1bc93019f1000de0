/* One ingest task's deltas of the pane at hand, on their way to the owners of their rows: a delta
 * is appended to its owner's bucket as a compact record (bucket.h), and at the pane's close each
 * owner gets one bucket. Owner of a row: the server workload's, hash_owner(edge.server, owners).
 * Numbers of a place are good once a lane was held with them. Bounded: lanes_max lanes; a delta
 * without one (lane 0) goes to owner 0, counts in `_other` there and is counted as folded; totals
 * stay exact. A bucket is as large as the deltas pushed in a pane. Pure, one thread.
 *
 * Descriptors (edge, lane, instance) and names travel before the first record that needs them and
 * again within 2 * NAMES_REFRESH_PANES; owners forget them NAMES_KEEP_PANES after the last use. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/delta.h"
#include "base/name.h"
#include "base/roster.h"

struct partial;

/* What goes to one owner for one pane. Opaque between partial and aggregate; handed over whole,
 * freed by partial_bucket_free() on any thread. */
struct partial_bucket;

struct partial_options {
	uint32_t owners;     /* aggregate tasks */
	struct names *names; /* the mirror's: asked for names_due(id, owner + names_offset, pane) */
	uint32_t names_offset;
	struct roster *roster; /* the mirror's: places number its instances; asked for
				  roster_due(number, owner + names_offset, pane) */
	uint32_t lanes_max;
};

struct partial_stats {
	uint64_t deltas, amendments, rows, folded; /* rows: records handed over */
};

struct partial *partial_new(const struct partial_options *options);
void partial_free(struct partial *partial);
/* Between two panes: gives back what is kept for later buckets, which are of the C library's memory
 * always, as they are handed over. */
void partial_settle(struct partial *partial);
/* Answers each, with one more user; 0: lanes_max are live, its deltas fold. A lane without users
 * leaves. */
void partial_lanes_hold(struct partial *partial, struct lane_wanted *wanted, size_t count);
void partial_lane_drop(struct partial *partial, uint32_t lane);
void partial_push(struct partial *partial, const struct delta *deltas, size_t count);
void partial_amend(struct partial *partial, const struct amendment *amendments, size_t count);

/* Takes the pane's bucket for an owner (never NULL; may be empty), to be called for each owner once
 * a pane, in order; the rows begin anew after the last owner. */
struct partial_bucket *partial_take(struct partial *partial, uint32_t owner, uint64_t pane);
void partial_bucket_free(struct partial_bucket *bucket);
/* A bucket as bytes, lent, for another process of the same build. */
const void *partial_bucket_bytes(const struct partial_bucket *bucket, size_t *length);
/* A bucket from such bytes, wherever they stand. NULL: they are none of this pane. Its sizes,
 * counts and records are checked; what a number stands for is not. */
struct partial_bucket *partial_bucket_from(const void *bytes, size_t length, uint64_t pane);
/* Takes a bucket that was read, whoever made it: its memory becomes a later one's. */
void partial_reuse(struct partial *partial, struct partial_bucket *bucket);
struct partial_stats partial_stats(const struct partial *partial);
