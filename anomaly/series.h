/* The trailing sums of an edge, or of all edges to one port of a server workload: a ring of panes
 * as long as the longest window that somebody reads, and one running sum a window, so that a pane
 * costs one addition and one subtraction a window whatever its length.
 *
 *     ring   | k-3 | k-2 | k-1 |  k  |      k: the open pane, rows are added to it
 *                   `--- window ---'        closing adds k to every window and takes out what left
 *
 * Bound: 96 bytes a pane (4 KB for 10 s, 23 KB for the 60 s that a monitor may ask for at most),
 * plus the connect sketches' cells when latency is read. Pure; one thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "aggregate/rollup.h"
#include "base/sketch.h"

enum { SERIES_PANES_MAX = 240 }; /* 60 s: monitor.h's longest window */

struct pane_sums {
	uint64_t bytes, srtt_us, last_event_ns;
	uint32_t opened, failed, resets, retransmits, segments, srtt_count;
	uint32_t received, issued; /* events of the agents: completeness */
	/* Of the sketch, so that windows need not open it: how many, and the slowest's index. */
	uint32_t connects;
	uint16_t connect_high;
	struct sketch connect;
};

struct window_sums {
	uint64_t bytes, srtt_us;
	uint64_t opened, failed, resets, retransmits, segments, srtt_count;
	uint64_t received, issued;
	uint64_t connects; /* in the sketches */
};

struct window {
	uint32_t panes;
	/* An upper bound of the slowest connect in the window, as a sketch index: that of this
	 * block of `panes` panes and of the block before. It spares merging sketches that cannot
	 * matter. */
	uint32_t block_panes;
	uint16_t connect_high, connect_high_before;
	struct window_sums sums;
};

struct series {
	uint32_t ring_panes;   /* 0: nobody reads it */
	uint32_t head;	       /* the open pane */
	uint32_t silent_panes; /* closed since the last one with a row */
	bool touched;	       /* the open pane has rows */
	bool connects;	       /* sketches are kept */
	uint32_t windows_count;
	struct window *windows;
	struct pane_sums *ring;
};

/* panes: the windows' lengths, each 1..SERIES_PANES_MAX, distinct. */
void series_init(struct series *series, const uint32_t *panes, uint32_t count, bool connects);
void series_done(struct series *series);
void series_add(struct series *series, const struct rollup *rollup); /* to the open pane */
void series_close(struct series *series); /* the open pane; a new one begins */

/* Brings near what the next close reads. */
void series_prefetch(const struct series *series);

/* All panes are empty: closing does nothing and every sum is 0. */
static inline bool series_idle(const struct series *series)
{
	return series->silent_panes >= series->ring_panes;
}

/* Of the connect times in the window, in ns; 0 if there are none. scratch is overwritten. */
uint64_t series_connect_quantile(const struct series *series, const struct window *window, double q,
				 struct sketch *scratch);
/* No connect in the window took longer than this, in ns. */
uint64_t window_connect_bound(const struct window *window);
uint64_t series_last_event(const struct series *series, const struct window *window);
