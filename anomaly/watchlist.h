/* The monitors in force, each under a number that it keeps while it is. What takes another's name
 * and measures the same takes its number too, so that its open episodes go on. One that is no
 * longer in force keeps its number as long as an episode of it is open, and says of everything that
 * it is quiet. Bound: MONITORS_MAX numbers; for one above there is none. Pure; one thread. */
#pragma once

#include <stddef.h>

#include "anomaly/monitor.h"

struct watchlist_place {
	struct monitor monitor;
	uint32_t episodes; /* open */
	bool in_force, taken;
};

struct watchlist {
	struct watchlist_place *places;
	uint32_t count, capacity; /* numbers ever used */
	/* Those in force, as they were given: their order, not that of their numbers, is seen. */
	uint32_t *order;
	uint32_t ordered;
	bool per_server; /* some monitor sums over clients */
	bool parts;	 /* some monitor is about parts of edges */
	bool edges;	 /* some monitor is of new edges */
};

/* These monitors and no others, from now on; names are distinct. Returns how many had no place. */
uint32_t watchlist_set(struct watchlist *list, const struct monitor *monitors, size_t count);
/* Whether one more would have a place if all were given again. */
bool watchlist_has_place(const struct watchlist *list);
void watchlist_done(struct watchlist *list);

/* The i-th of those in force. */
static inline const struct monitor *watchlist_at(const struct watchlist *list, uint32_t i)
{
	return &list->places[list->order[i]].monitor;
}
