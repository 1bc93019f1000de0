/* Deltas in the making. A half has at most one of each kind in a pane, lookups aside; which one is
 * kept by slot for the node that is being applied, not in the half. Of a half whose label is final
 * the delta is placed when it is made and goes out when its node is done, while it is in the cache;
 * any other has a part and waits for the pane's labels. Plain data. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/delta.h"

enum part_kind {
	PART_NORMAL,
	PART_RECOVERED,
	PART_LATE,
	PART_TURNED, /* late or recovered: counts as the half did then, not as it does now (turn.h)
		      */
	PART_KINDS,
};

enum {
	LINGERING = 1U << 31, /* with a place in mirror.lingers instead of a half's index */
	WAITING = 1U << 31,   /* with a place in mirror.waiting instead of one in mirror.deltas */
};

/* Of the delta with the same place in mirror.waiting. */
struct part {
	uint32_t half;
	uint32_t slot;
	uint32_t next; /* of the node's that were held in the last pane; + 1 */
	uint16_t node; /* place in mirror.nodes */
	uint8_t kind;  /* enum part_kind */
	bool lookup;
	uint32_t before; /* a lookup's: of the same slot; + 1 */
};

/* A half's newest touch is a number that grows with the panes: 2 * pane + 1, in 24 bits (24 days
 * until it comes again). What came late or was recovered counts from ten seconds on: it is the even
 * number of the first pane of its ten seconds, which lies below all touches of that pane. A window
 * was touched if the newest touch lies at most so far behind the pane's. */
struct touch_marks {
	uint32_t pane;
	uint32_t late;			    /* behind the pane */
	uint32_t second, ten, minute, hour; /* how far the windows reach behind it */
};

enum {
	PANES_PER_60S = 60 * PANES_PER_S,
	PANES_PER_1H = 3600 * PANES_PER_S,
	TOUCH_MASK = (1 << 24) - 1,
};

static inline struct touch_marks touch_marks(uint64_t pane)
{
	return (struct touch_marks){
		.pane = (2 * (uint32_t)pane + 1) & TOUCH_MASK,
		.late = 2 * (uint32_t)(pane % PANES_PER_10S) + 1,
		.second = 2 * (uint32_t)(pane % PANES_PER_S),
		.ten = 2 * (uint32_t)(pane % PANES_PER_10S) + 1,
		.minute = 2 * (uint32_t)(pane % PANES_PER_60S) + 1,
		.hour = 2 * (uint32_t)(pane % PANES_PER_1H) + 1,
	};
}

/* As of a half that was never touched. */
static inline uint32_t touch_never(const struct touch_marks *marks)
{
	return (marks->pane ^ 1U << 23) & TOUCH_MASK;
}

/* The DELTA_FIRST_ flags of a touch; *touched is what is to be remembered. */
static inline uint16_t touch_flags(uint32_t *touched, const struct touch_marks *marks, bool late)
{
	uint32_t behind = (marks->pane - *touched) & TOUCH_MASK;
	uint16_t flags = 0;
	if (behind <= (late ? marks->late : 0))
		return 0;
	*touched = (marks->pane - (late ? marks->late : 0)) & TOUCH_MASK;
	if (!late)
		flags = DELTA_FIRST_IN_PANE | (behind > marks->second ? DELTA_FIRST_IN_1S : 0);
	if (behind <= marks->ten)
		return flags;
	flags |= DELTA_FIRST_IN_10S;
	flags |= behind > marks->minute ? DELTA_FIRST_IN_60S : 0;
	flags |= behind > marks->hour ? DELTA_FIRST_IN_1H : 0;
	return flags;
}
