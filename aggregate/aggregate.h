/* One owner's aggregate: merges the buckets of all ingest tasks into panes (250 ms) and sums panes
 * into windows of 1 s, 10 s, 1 min and 1 h. Emits what was touched, at the pane's or window's end,
 * sorted by (edge, scope, lane or instance):
 *
 *   scope            | 250 ms                         | 1 s | 10 s        | 1 min, 1 h
 *   edge             | all                            | all | all, srtt   | all, srtt
 *   lane, instances  | events, under suspicion        | -   | all         | -
 *
 * "All" are all counters and the sketch of connect times; the sketch of smoothed RTTs is in windows
 * of 10 s and longer, of edges only. Connection events are opened, closed, joined, failed and its
 * reasons, resets, timeouts, connect times, and the agents' received and issued of the deltas that
 * told them. Panes of lanes and instances come only of edges under suspicion: in which an attempt
 * failed, or a connection was reset or timed out, in this pane or in the 40 before it (where things
 * go well nobody reads them, and they were most of all rows). For longer series of lanes and
 * instances, readers sum 10 s rows. An edge that falls silent ends with one row of zeros a window,
 * up to 10 s. Late and recovered contributions count in the 10 s window at hand and longer ones. An
 * amendment to a closed window of 10 s or longer comes out as signed rows with amendment = true, in
 * the pane that brought it, and is added to the shortest window around it that is still open.
 *
 * Cardinality guard (guard.c): rows_max rows live at once; what has no row folds into `_other` (of
 * the edge, of the server, of all) by a rule that does not depend on the order of contributions;
 * totals stay exact. Rows untouched for a 10 s window leave, but an edge's own row only when its
 * hour is out: until then it is a row, without parts. Memory: at most half as many rows more
 * while a pane is open; 160 bytes a lane's or instance's row with its index, 0.6 KB an edge's,
 * and its minute and hour as varints (some 300 bytes each with 100 cells of sketches); 4 bytes for
 * each smoothed RTT of 10 s, 20 for each connect time. Instances and lanes that sources know are
 * known here too: their bounds hold. Pure; one thread. Push buckets in source order,
 * then advance to the pane's end. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "aggregate/partial.h"
#include "aggregate/rollup.h"

struct aggregate;

struct aggregate_sinks {
	void *context;
	/* Some of a window's rows, sorted; called as often as needed, for 250 ms, then 1 s, 10 s,
	 * 1 min, 1 h, then amendments (these sorted by window length and start, then as above).
	 * `names` resolves the ids in the rows; all is lent for the call. */
	void (*rollups)(void *context, const struct rollup *rollups, size_t count,
			const struct names *names);
};

struct aggregate_options {
	uint32_t rows_max; /* 16 at least */
	uint32_t names_max;
	uint32_t sources; /* ingest tasks */
	uint64_t seed;	  /* of its names' and instances' tables, secret; nothing shows it */
	struct aggregate_sinks sinks;
};

struct aggregate_stats {
	uint64_t rows, edges, names; /* live now; rows of all scopes */
	uint64_t bytes;		     /* that these and the window at hand take; names left out */
	uint64_t merged;	     /* deltas and halves of amendments */
	uint64_t folded; /* lanes and instances that found no row: once a pane or look-up */
	uint64_t emitted, amended, expired;
	uint64_t unnamed;     /* ids without bytes when a row was first emitted */
	uint64_t undescribed; /* contributions whose lane is not known here: in `_other` */
	uint64_t saturated;   /* samples that did not fit their sketch's cells */
	uint64_t demoted;     /* rows that made room */
};

struct aggregate *aggregate_new(const struct aggregate_options *options);
void aggregate_free(struct aggregate *aggregate);
/* The stage is as another process left it, at the same addresses (base/heap.h). */
void aggregate_bind(struct aggregate *aggregate, const struct aggregate_sinks *sinks);
void aggregate_push(struct aggregate *aggregate, uint32_t source,
		    const struct partial_bucket *bucket);
/* now_ns: end of the pane. Panes passed over are closed one by one, empty; what was pushed belongs
 * to the first. UINT64_MAX closes the hour at hand. */
void aggregate_advance(struct aggregate *aggregate, uint64_t now_ns);
struct aggregate_stats aggregate_stats(const struct aggregate *aggregate);
