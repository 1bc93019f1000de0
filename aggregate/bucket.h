/* Inside of what partial hands to aggregate: rows of the pane with only the columns that are not
 * zero, then the descriptors and names that are due. One block of memory; written once by partial,
 * read only after that, so it may be handed to another thread whole. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "aggregate/partial.h"
#include "aggregate/rollup.h"

/* A connection is distinct once a window, which does not add over panes: a row carries
 * COUNTER_ACTIVE for each window length, and the owner publishes the one that fits. */
enum column {
	COLUMN_ACTIVE_1S = COUNTERS,
	COLUMN_ACTIVE_10S,
	COLUMNS,
};
_Static_assert(COLUMNS <= 64, "a row's columns are bits of a word");

enum row_kind {
	ROW_PANE,  /* counts in the pane and all windows that hold it */
	ROW_LONG,  /* late or healed: counts in windows of 10 s and longer */
	ROW_AMEND, /* signed: belongs to the 10 s window that it names */
};

struct bucket_row {
	uint64_t edge_id;
	uint64_t sub_id;	  /* of the lane or instance */
	uint64_t window_start_ns; /* ROW_AMEND */
	uint64_t columns;	  /* bit c: a value of column c follows, in ascending order */
	uint64_t last_event_ns;
	uint32_t min_rtt_us;
	uint32_t connect_cells, srtt_cells; /* follow in this order */
	uint8_t scope;			    /* SCOPE_LANE, _CLIENT or _SERVER */
	uint8_t kind;			    /* enum row_kind */
};

struct partial_bucket {
	uint64_t pane;
	uint32_t row_count, value_count, edge_count, lane_count, instance_count, name_count,
		cell_count, byte_count;
	const struct bucket_row *rows;
	const int64_t *values;
	const struct edge *edges;
	const struct lane *lanes;
	const struct instance *instances;
	const struct sketch_cell *cells;
	const uint8_t *name_lengths;
	const char *name_bytes; /* one after the other, no NULs */
};

/* A bucket with copies of all that the given one points to. */
struct partial_bucket *bucket_copy(const struct partial_bucket *bucket);
