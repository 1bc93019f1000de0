/* All that is known of one row in one window: what buckets and shorter windows are added to. One
 * thread. */
#pragma once

#include <stdint.h>

#include "aggregate/bucket.h"
#include "aggregate/rollup.h"

struct sum {
	int64_t counters[COUNTERS];
	uint64_t last_event_ns;
	uint32_t min_rtt_us;
	struct sketch connect, srtt;
};

/* A shorter window into a longer one; connections active are told for each length, so they do not
 * add. Returns the samples that did not fit their sketch's cells. */
uint64_t sum_add(struct sum *sum, const struct sum *shorter);
/* All of a bucket row but its columns. Returns as sum_add. */
uint64_t sum_add_row(struct sum *sum, const struct bucket_row *row,
		     const struct sketch_cell *cells);
void sum_clear(struct sum *sum); /* keeps the sketches' memory */
void sum_done(struct sum *sum);
