/* The live rows of lanes and instances: one for each (edge, member, scope), with all that it did in
 * the 10 s window at hand in two cache lines. What does not fit them, or is rare, stands in a wide
 * sum. Found by open addressing. Rows do not move. Bounded: parts_max rows. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "aggregate/hot.h"

/* Sources' rosters and lanes bound what they tell of far below this. */
#define PART_INSTANCES_MAX 0xfffffffU
#define TOLD_MAX	   0x7ffffffU

/* The cold line is touched by a connection's events alone. */
struct part {
	struct hot hot; /* its edge is the row's */
	struct life life;
	uint32_t next;	  /* of its edge and scope; or vacant */
	uint32_t samples; /* connect times of the window */
	uint32_t member;  /* lane row or instance; of instances 0 stands for others */
	uint32_t scope : 2;
	uint32_t folded : 1; /* stands for others */
	uint32_t fresh : 1;  /* made in the pane at hand */
	uint32_t shown : 1;  /* went out before */
	uint32_t told : 27;  /* while a pane goes out: its place in the telling (state.h), or 0 */
};
_Static_assert(sizeof(struct part) == 128, "a row is two cache lines");

struct part_slot {
	uint64_t key; /* 0: empty */
	uint32_t row, pad;
};

struct parts {
	struct part *rows; /* 0 is not used */
	void *memory;
	uint32_t parts_max, used, count, vacant;
	struct part_slot *slots; /* at most half full */
	uint32_t slots_mask, shift;
};

void parts_init(struct parts *parts, uint32_t parts_max);
void parts_done(struct parts *parts);
uint32_t parts_add(struct parts *parts, uint32_t edge, uint32_t member, enum scope scope);
void parts_remove(struct parts *parts, uint32_t row);

static inline uint64_t part_key(uint32_t edge, uint32_t member, enum scope scope)
{
	return (uint64_t)edge << 32 | member << 2 | (uint32_t)scope;
}

/* Where the search for a key begins. */
static inline uint32_t parts_home(const struct parts *parts, uint64_t key)
{
	return (uint32_t)(key * 0x9e3779b97f4a7c15ULL >> parts->shift);
}

/* 0 if there is no such row. */
static inline uint32_t parts_find(const struct parts *parts, uint64_t key, uint32_t home)
{
	for (uint32_t at = home;; at = (at + 1) & parts->slots_mask) {
		const struct part_slot *slot = &parts->slots[at];
		if (slot->key == key || !slot->key)
			return slot->row;
	}
}

static inline bool part_is_touched(const struct part *part)
{
	return part->hot.last_event_ns || part->life.wide;
}
