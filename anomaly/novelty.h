/* What is new on the map: an edge that appears, one that vanishes, another version of a workload.
 * Seen in the 10 s rows of edges and lanes, so it needs no cluster to tell it. Rows in, changes
 * (metadata/change.h) out.
 *
 * What is there in the first learn_ns is usual. Then an edge is new once, and again after it
 * vanished; it has vanished when it was silent for gone_ns and had been there as long before. A
 * version is new to a workload that had another, and again after gone_ns without it; what was told
 * of it by others (novelty_learn) is no news. Edges of clients that are not ours (addresses,
 * ranges) are passed over, so are those to addresses and names of DNS, and _other.
 *
 * Bounds: edges_max edges, 48 bytes each, and as many versions of workloads; of 64 the longest
 * silent gives its place. told_max changes a minute of the rows' time; more are counted as left
 * out, for a network that is new as a whole is no list of events. Pure: time is that of the rows.
 * One thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aggregate/rollup.h"
#include "metadata/change.h"

struct novelty;

struct novelty_options {
	uint64_t learn_ns, gone_ns;
	uint64_t edges_max; /* of all tasks together: more than 32 bits hold may be allowed */
	uint32_t told_max;
	/* The bytes of a name, lent for the call; "" where they are not known (yet). */
	const char *(*name)(void *context, uint64_t id);
	void (*told)(void *context, const struct change_event *change); /* lent */
	void *context;
};

struct novelty_stats {
	uint64_t edges, versions; /* known now */
	uint64_t told, left_out, evicted;
};

/* Whether such an edge may be new: its client is ours, its server is ours or in a configured range,
 * and neither is _other. */
bool novelty_is_watched(const struct edge *edge);

struct novelty *novelty_new(const struct novelty_options *options);
void novelty_free(struct novelty *novelty);
/* Rows of any windows and scopes; those of 10 s count. */
void novelty_push(struct novelty *novelty, const struct rollup *rollups, size_t count);
/* Name ids: somebody else told of it. */
void novelty_learn(struct novelty *novelty, uint64_t workload, uint64_t version, uint64_t time_ns);
/* An edge that is known from before. */
void novelty_remember(struct novelty *novelty, const struct edge *edge, uint64_t time_ns);
/* Looks for what vanished up to the newest row; a share of the edges at each call. */
void novelty_advance(struct novelty *novelty);
struct novelty_stats novelty_stats(const struct novelty *novelty);
