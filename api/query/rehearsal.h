/* What a monitor would say now, by the anomaly stage's own code where that has some:
 *
 *   threshold   measured over the newest window of the history, which has seconds and not quarters
 *               of one; where it has no seconds, and of zones and versions, over ten
 *   burn_rate   over hours and minutes of the history, as far back as it goes
 *   baseline    which edges it is about, and what is measured of them; nothing fires, as the
 *               history knows no baselines
 *   new_edge    edges of the newest ten seconds that the history does not know from before
 *   absence     edges whose last row is so old; whether an agent reports is not asked
 *
 * Bounds: rows_max rows of the history, REHEARSAL_LINES_MAX edges or servers told, those that
 * it would fire for first. The thread of the history. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aggregate/rollup.h"
#include "anomaly/monitor.h"

struct history;

enum { REHEARSAL_LINES_MAX = 20 };

/* An edge, or all to one port of a server: then its client is 0. */
struct rehearsal_line {
	struct edge edge;
	bool known, fires;    /* known: there was something to measure, and enough of it */
	double value;	      /* of a burn rate the share that failed, of an absence seconds */
	uint64_t connections; /* attempted in the window */
};

struct rehearsal {
	uint64_t start_ns, end_ns;
	size_t matched, firing, count;
	struct rehearsal_line lines[REHEARSAL_LINES_MAX];
};

/* 0, or as history_read: HISTORY_TOO_MANY, HISTORY_BROKEN. */
int rehearsal_run(struct history *history, const struct monitor *monitor, uint64_t rows_max,
		  struct rehearsal *rehearsal);
