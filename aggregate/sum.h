/* All columns of one row in one window, wide. Compact accumulators (hot.h) flow into it when they
 * are published or when a column of theirs runs over. Columns stop at the ends of their range, so
 * no sum ever turns its sign. Sums that come and go stand in a pool and are known by place; place 0
 * is none. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "aggregate/rollup.h"

/* A connection is distinct once a window, which does not add over windows: sums carry
 * COUNTER_ACTIVE for each window length, and the one that fits is published. */
enum column {
	COLUMN_ACTIVE_1S = COUNTERS,
	COLUMN_ACTIVE_10S,
	COLUMN_ACTIVE_60S,
	COLUMN_ACTIVE_1H,
	COLUMNS,
	SUM_COLUMNS = (COLUMNS + 1) & ~1, /* with room to add pairs */
};
_Static_assert(COLUMNS <= 64, "a row's columns are bits of a word");

enum window { WINDOW_PANE, WINDOW_1S, WINDOW_10S, WINDOW_60S, WINDOW_1H, WINDOWS };

struct sum {
	int64_t values[SUM_COLUMNS];
	uint64_t last_event_ns;
	uint32_t min_rtt_us; /* 0 if none */
	bool touched;	     /* anything was added, zeros too */
	bool saturated;	     /* a column stopped at the end of its range */
};

void sum_add(struct sum *sum, const struct sum *other);

static inline void column_add(struct sum *sum, unsigned column, int64_t more)
{
	sum->saturated |= value_add(&sum->values[column], more);
}

static inline void sum_add_times(struct sum *sum, uint64_t last_event_ns, uint32_t min_rtt_us)
{
	if (last_event_ns > sum->last_event_ns)
		sum->last_event_ns = last_event_ns;
	if (min_rtt_us && (!sum->min_rtt_us || min_rtt_us < sum->min_rtt_us))
		sum->min_rtt_us = min_rtt_us;
	sum->touched = true;
}

struct sums {
	struct sum *sums;
	uint32_t used, capacity, vacant;
};

void sums_init(struct sums *sums);
void sums_done(struct sums *sums);
uint32_t sums_take(struct sums *sums); /* zeroed */
void sums_give(struct sums *sums, uint32_t place);
