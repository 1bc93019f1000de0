#include "anomaly/watchlist.h"

#include <string.h>

#include "base/memory.h"

/* An episode of one can go on as the other's. */
static bool same_measure(const struct monitor *a, const struct monitor *b)
{
	return strcmp(a->name, b->name) == 0 && a->kind == b->kind && a->metric == b->metric &&
	       a->comparison == b->comparison && a->per_server == b->per_server;
}

static struct watchlist_place *place_of(struct watchlist *list, const struct monitor *monitor)
{
	for (uint32_t i = 0; i < list->count; i++)
		if (list->places[i].taken && same_measure(&list->places[i].monitor, monitor))
			return &list->places[i];
	return NULL;
}

static struct watchlist_place *place_free(struct watchlist *list)
{
	for (uint32_t i = 0; i < list->count; i++)
		if (!list->places[i].taken)
			return &list->places[i];
	if (list->count == MONITORS_MAX)
		return NULL;
	if (list->count == list->capacity) {
		list->capacity = (uint32_t)memory_grown(list->capacity, list->count + 1);
		list->places = memory_resize(list->places, list->capacity, sizeof(*list->places));
	}
	memset(&list->places[list->count], 0, sizeof(*list->places));
	return &list->places[list->count++];
}

static void put_in_force(struct watchlist_place *place, const struct monitor *monitor)
{
	place->monitor = *monitor;
	place->in_force = place->taken = true;
}

/* What is left of the old ones are those that stay, and places that episodes hold. */
static void clear(struct watchlist *list, const struct monitor *monitors, size_t count)
{
	for (uint32_t i = 0; i < list->count; i++)
		list->places[i].in_force = false;
	for (size_t i = 0; i < count; i++) {
		struct watchlist_place *place = place_of(list, &monitors[i]);
		if (place)
			put_in_force(place, &monitors[i]);
	}
	for (uint32_t i = 0; i < list->count; i++)
		list->places[i].taken = list->places[i].in_force || list->places[i].episodes;
}

uint32_t watchlist_set(struct watchlist *list, const struct monitor *monitors, size_t count)
{
	list->per_server = list->parts = list->edges = false;
	list->ordered = 0;
	list->order = memory_resize(list->order, count, sizeof(*list->order));
	clear(list, monitors, count);
	for (size_t i = 0; i < count; i++) {
		struct watchlist_place *place = place_of(list, &monitors[i]);
		if (!place)
			place = place_free(list);
		if (!place)
			continue;
		put_in_force(place, &monitors[i]);
		bool parts = monitor_has_parts(&monitors[i]);
		list->per_server |= monitors[i].per_server && !parts;
		list->parts |= parts;
		list->edges |= monitors[i].kind == MONITOR_NEW_EDGE;
		list->order[list->ordered++] = (uint32_t)(place - list->places);
	}
	return (uint32_t)count - list->ordered;
}

bool watchlist_has_place(const struct watchlist *list)
{
	for (uint32_t i = 0; i < list->count; i++)
		if (!list->places[i].in_force && !list->places[i].episodes)
			return true;
	return list->count < MONITORS_MAX;
}

void watchlist_done(struct watchlist *list)
{
	memory_free(list->places);
	memory_free(list->order);
	*list = (struct watchlist){0};
}
