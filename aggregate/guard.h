/* The owner's live rows, found by key and kept in the order of output; and the cardinality guard
 * that decides which row a contribution counts in when there are too many. A contribution to a row
 * that is not live goes to
 *
 *   1. its own new row, while rows_max less a reserve of an eighth is not reached, and its edge has
 * less than an eighth of rows_max (one edge with a million clients must not push the others out);
 *   2. else, if its edge is live, the edge's own part named `_other` (lane `_other`, or instance
 * `_other`);
 *   3. else the edge `_other` -> its server, which takes all ports and protocols;
 *   4. else the edge `_other` -> `_other`, whose four rows always have room.
 *
 * 2 and 3 may make rows up to rows_max - 4. Each scope's contributions are placed alone, so totals
 * stay exact in every scope. The decision depends on the rows live and on the order of
 * contributions, both functions of the log. guard_demote() makes the rows kept those that matter:
 * it forgets the smallest edges, which then compete again with what was folded. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "aggregate/row_index.h"
#include "aggregate/rows.h"
#include "aggregate/sum.h"

enum window { WINDOW_PANE, WINDOW_1S, WINDOW_10S, WINDOWS };

enum { GUARD_ROWS_MIN = 16 }; /* below this the reserve would not hold a fold */

struct live {
	/* What a walk over all rows reads, in one cache line. */
	uint8_t scope;
	uint8_t touched;   /* bit w: has something in window w */
	uint8_t published; /* bit w: the last window w went out and was not the zero row */
	bool kept;	   /* touched in the last 10 s window */
	bool folded;	   /* stands for others */
	bool shown;	   /* went out before */
	bool leaving;
	uint32_t parent; /* its SCOPE_EDGE row; itself if it is one */
	uint32_t parts;	 /* of SCOPE_EDGE: other rows of the edge */
	uint64_t weight; /* of SCOPE_EDGE: connections of the last 10 s window */
	struct edge edge;
	union {
		struct lane lane;
		struct instance instance;
	};
	struct sum sums[WINDOWS];
};

struct guard {
	struct live *rows; /* rows_max places */
	uint32_t rows_max, count, edges, used;
	uint32_t *vacant; /* places that were left */
	uint32_t vacant_count;
	uint32_t *order; /* live rows by (edge id, scope, sub id), then those made since
			    guard_sort() */
	uint32_t sorted;
	uint64_t folded_since; /* contributions folded since the last guard_demote() */
	struct row_index index;
	struct edge other; /* `_other` -> `_other` */
};

void guard_init(struct guard *guard, uint32_t rows_max);
void guard_done(struct guard *guard);

/* The row in which a contribution counts: identity->edge, and the lane or instance of scope. */
struct live *guard_place(struct guard *guard, uint8_t scope, const struct row_identity *identity);
/* The same where the row is live: NULL if it is not. */
struct live *guard_find(const struct guard *guard, uint8_t scope, uint64_t edge_id,
			uint64_t sub_id);

void guard_sort(struct guard *guard); /* to be called before order is read */
/* Rows that are not `kept` leave (an edge's row stays as long as one of its parts), and kept begins
 * anew. Returns how many left. */
uint32_t guard_expire(struct guard *guard);
/* If anything was folded since the last call and the guard is nearly full, forgets the edges of
 * least weight (ties by id) until an eighth of rows_max is free. Only right after all windows were
 * published: nothing that is not yet out is lost. Returns how many rows left. */
uint32_t guard_demote(struct guard *guard);

/* Brings a row and its sum of a window near: rows are larger than caches, and walks know what comes
 * next. */
static inline void live_prefetch(const struct live *live, enum window window)
{
	const char *sum = (const char *)&live->sums[window];
	__builtin_prefetch(live);
	__builtin_prefetch((const char *)live + 64);
	for (size_t at = 0; at < sizeof(struct sum); at += 64)
		__builtin_prefetch(sum + at, 1);
}

static inline uint64_t live_sub_id(const struct live *live)
{
	if (live->scope == SCOPE_EDGE)
		return 0;
	return live->scope == SCOPE_LANE ? live->lane.id : live->instance.id;
}
