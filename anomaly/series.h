/* The trailing sums of an edge, or of all edges to one port of a server workload: running totals,
 * and a mark of what they were before each pane that had rows.
 *
 *     marks | k-9 | k-4 | k-3 |  k  |  totals       a window's sum is totals less its first mark
 *                   `--- window ---'
 *
 * So a pane costs one mark however many windows are read and however long they are, and a silent
 * pane nothing. Connect times lie beside in one ring of words, oldest first, and are opened only
 * when a bound says that they can matter.
 *
 * Time is the count of panes that were closed, told by the caller: `tick` of a read is the newest
 * closed pane's, of series_add the open one's. Counts wrap: a window of fewer than 2^32 is right.
 *
 * Bound: 48 bytes a pane with rows, 96 with transport columns, for the longest window's panes (1.9
 * KB for 10 s); 4 bytes for each distinct connect time of a pane when latency is read. Pure; one
 * thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "aggregate/rollup.h"
#include "base/sketch.h"

enum { SERIES_PANES_MAX = 240 }; /* 60 s: monitor.h's longest window */

struct totals {
	uint64_t bytes;
	uint32_t failed, opened;
	uint32_t connects, words; /* observed times; of the ring, ever written */
	/* Events of the agents: completeness. Each change of a connection end brings all that its
	 * node issued in the pane, so these go beyond 2^32 in a busy minute. */
	uint64_t received, issued;
};

struct transport {
	uint64_t srtt_us, dns_us;
	uint32_t srtt_count, resets, retransmits, segments;
	uint32_t dns_queries, dns_failed, dns_count, clients_new;
};

struct mark {
	struct totals before;
	uint32_t event_age_ns; /* of its newest event, from the pane's end; UINT32_MAX: none */
	uint16_t tick;	       /* of the pane, its low bits */
	uint16_t connect_high; /* the slowest connect's sketch index */
};

struct series {
	struct mark *marks; /* a ring, and as many struct transport behind it if they are kept */
	struct totals totals;
	uint32_t last; /* tick of the newest row */
	uint16_t first, count, capacity;
	uint16_t panes_max; /* of the longest window; 0: nobody reads it */
	/* An upper bound of the slowest connect in the longest window, as a sketch index: that of
	 * this block of panes_max panes and of the block before. */
	uint16_t connect_high, connect_high_before, block_tick;
	bool keeps_connects, keeps_transport;
	uint32_t words_capacity; /* a power of two, or 0 */
	uint32_t *words;	 /* index << 16 | count; with count 0 the next word is the count */
	struct transport transport;
};

/* What passed in one window. */
struct window_sums {
	uint32_t panes;
	uint64_t bytes, srtt_us, dns_us;
	uint64_t opened, failed, resets, retransmits, segments, srtt_count;
	uint64_t dns_queries, dns_failed, dns_count, clients_new;
	uint64_t received, issued;
	uint64_t connects;
};

/* Counts by sketch index, for quantiles; zeros between calls. */
struct histogram {
	uint64_t counts[SKETCH_INDEXES];
};

void series_init(struct series *series, uint32_t panes_max, bool connects, bool transport,
		 uint32_t tick);
void series_done(struct series *series);
/* More is read of it from now on: longer windows, connect times, transport columns. What it has
 * stays; of what it did not keep until now there is nothing yet. It never keeps less. */
void series_widen(struct series *series, uint32_t panes_max, bool connects, bool transport,
		  uint32_t tick);
/* To the open pane, which ends at end_ns. */
void series_add(struct series *series, uint32_t tick, uint64_t end_ns, const struct rollup *rollup);
/* A client that was not known before, after its row. */
void series_add_client(struct series *series);
/* The transport columns of a row, added to what is there. */
void transport_add(struct transport *transport, const int64_t counters[COUNTERS]);
/* As the sums of a window. */
void transport_sums(const struct transport *now, const struct transport *before,
		    struct window_sums *sums);
/* Gives back the memory of a series that is idle. */
void series_rest(struct series *series);

struct window_sums series_sums(const struct series *series, uint32_t tick, uint32_t panes);
/* The totals before the window, or the present ones if it is empty. */
const struct totals *series_before(const struct series *series, uint32_t tick, uint32_t panes);
const struct transport *series_transport_before(const struct series *series, uint32_t tick,
						uint32_t panes);

/* False if quantile q of the window's connect times is surely not beyond this sketch index. */
bool series_connects_may_exceed(const struct series *series, uint32_t tick, uint32_t panes,
				double q, uint32_t index);
/* In ns; 0 if there are none. */
uint64_t series_connect_quantile(const struct series *series, uint32_t tick, uint32_t panes,
				 double q, struct histogram *scratch);
/* now_ns: the end of the newest closed pane. */
uint64_t series_last_event(const struct series *series, uint32_t tick, uint32_t panes,
			   uint64_t now_ns);

/* Panes closed since the last one with a row. */
static inline uint32_t series_silent(const struct series *series, uint32_t tick)
{
	return tick - series->last;
}

/* All panes that anybody reads are empty, and the last look at them was taken. */
static inline bool series_idle(const struct series *series, uint32_t tick)
{
	return series->panes_max == 0 || series_silent(series, tick) > series->panes_max;
}

/* No connect of the longest window is beyond this sketch index. */
static inline uint32_t series_connect_bound(const struct series *series)
{
	return series->connect_high > series->connect_high_before ? series->connect_high
								  : series->connect_high_before;
}

/* Brings near what the next look at it reads; the first also what a row changes. */
static inline void series_prefetch(const struct series *series)
{
	uint32_t newest = (uint32_t)series->first + series->count;
	newest = newest < series->capacity ? newest : newest - series->capacity;
	__builtin_prefetch(series->marks + series->first);
	__builtin_prefetch(series->marks + newest);
}
