/* What happens to batches between agents and a pipeline, each hazard at a rate: a filter behind a
 * fleet, or behind a log. Batches of one partition keep the order of their append times; a batch
 * that was held back is appended when it is let go. The same options give the same changes.
 *
 * Bounds: batches held back for at most HAZARD_TICKS_MAX ticks. One thread. */
#pragma once

#include <stdint.h>

#include "bench/fleet/log.h"

enum { HAZARD_TICKS_MAX = 64 };

/* Shares are in thousandths of the batches. */
struct hazard_options {
	uint64_t seed;
	uint32_t late;	     /* held back */
	uint32_t late_ticks; /* for 1 to so many: within lateness it is mere disorder */
	uint32_t duplicate;  /* sent again after 1 to late_ticks, and where it was */
	uint32_t lost;
	uint64_t skew_ns;	 /* each agent's clock is wrong by up to so much either way */
	uint32_t jumps_per_hour; /* of each agent's clock, by jump_ns forward or back */
	uint64_t jump_ns;
	const char *secret; /* as the fleet's: stamps are signed */
	void (*batch)(void *context, const struct fleet_batch *batch);
	void *context;
};

struct hazard_stats {
	uint64_t batches, late, duplicates, lost, lost_events, jumps;
};

struct hazard;

struct hazard *hazard_new(const struct hazard_options *options);
void hazard_free(struct hazard *hazard);
/* Of the tick at hand. */
void hazard_push(struct hazard *hazard, const struct fleet_batch *batch);
/* The tick is over: what was held back until now goes out. */
void hazard_tick(struct hazard *hazard);
struct hazard_stats hazard_stats(const struct hazard *hazard);
