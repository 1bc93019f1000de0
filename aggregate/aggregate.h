/* One owner's aggregate: merges the partial rows of all ingest tasks into panes (250 ms) and sums
 * panes into windows of 1 s and 10 s. Emits every row that changed, at the pane's or window's end,
 * sorted by (edge, scope, lane or instance). A window's end closes it; amendments to a closed 10 s
 * window come out as signed rows with amendment = true, in the pane that brought them.
 *
 * Cardinality guard: rows_max rows live at once; when full, rows of the smallest keys fold into the
 * edge
 * `_other` (of that server, then of all) by a deterministic rule; totals stay exact. Rows untouched
 * for a 10 s window leave. Pure; one thread. Push buckets in source order, then advance to the
 * pane's end. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "aggregate/partial.h"
#include "aggregate/rollup.h"

struct aggregate;

struct aggregate_sinks {
	void *context;
	/* Rows of one window length, sorted; called for 250 ms, then 1 s, then 10 s, then
	 * amendments. `names` resolves the ids in the rows; lent for the call. */
	void (*rollups)(void *context, const struct rollup *rollups, size_t count,
			const struct names *names);
};

struct aggregate_options {
	uint32_t rows_max; /* 16 at least */
	uint32_t names_max;
	struct aggregate_sinks sinks;
};

struct aggregate_stats {
	uint64_t rows, edges, names; /* live now */
	uint64_t merged, folded, emitted, amended, expired;
	uint64_t unnamed;     /* ids without bytes when a row was first emitted */
	uint64_t undescribed; /* contributions whose edge, lane or instance is not known here: in
				 `_other` */
	uint64_t saturated;   /* samples that did not fit their sketch's cells */
	uint64_t demoted;     /* rows that made room */
};

struct aggregate *aggregate_new(const struct aggregate_options *options);
void aggregate_free(struct aggregate *aggregate);
void aggregate_push(struct aggregate *aggregate, const struct partial_bucket *bucket);
/* now_ns: end of the pane. Panes passed over are closed one by one, empty; what was pushed belongs
 * to the first. UINT64_MAX closes the 10 s window at hand. */
void aggregate_advance(struct aggregate *aggregate, uint64_t now_ns);
struct aggregate_stats aggregate_stats(const struct aggregate *aggregate);
