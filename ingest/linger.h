/* Closed halves whose label may still change: their slots are free for the next sockets, they wait
 * here, found by half_ref, until the label is final or their time is over. In the order in which
 * they ended. Bounded by who adds: open and lingering halves together. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/label.h"
#include "ingest/turn.h"

struct linger {
	struct place place; /* if labelled */
	struct turns turns;
	uint64_t closed_ns;
	uint32_t half;	     /* half_ref's index, */
	uint16_t generation; /* and generation */
	bool live : 1;	     /* false: this place is free */
	bool labelled : 1, final : 1;
	bool changed : 1;     /* its label did, in this pane */
	bool waits : 1;	      /* its owner's record may still come: it holds the owner */
	uint16_t node, owner; /* places; only while it waits */
	uint16_t join_task;   /* of its label, as */
	uint32_t number;
	uint32_t contributions;	 /* newest, + 1 */
	uint32_t earlier, later; /* by age; + 1 */
	uint32_t next;		 /* of the same bucket, or the next free one; + 1 */
	uint32_t parts;		 /* deltas in the making */
	uint32_t touched;	 /* as struct half's */
	uint32_t close;		 /* that waits for the label: in mirror.held_closes, + 1 */
};

struct lingers {
	struct linger *items;
	uint32_t used, capacity, free;
	uint32_t *buckets; /* by half and generation: item + 1 */
	uint32_t buckets_count, count;
	uint32_t first, last; /* by age, + 1 */
};

void lingers_done(struct lingers *lingers);
/* The new one's place. */
uint32_t lingers_add(struct lingers *lingers, uint32_t half, uint16_t generation);
/* NULL if it is not here. */
struct linger *lingers_find(const struct lingers *lingers, uint32_t half, uint16_t generation);
void lingers_give(struct lingers *lingers, uint32_t place);
