#include "base/roster.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/name.h"

enum { SWEEP_PANES = 64 }; /* all entries are looked at once in so many panes */

static void roster_grow(struct roster *roster)
{
	uint32_t capacity = (uint32_t)memory_grown(roster->capacity, roster->used + 1);
	roster->entries = memory_resize(roster->entries, capacity, sizeof(*roster->entries));
	roster->capacity = capacity;
}

struct roster *roster_new(uint32_t instances_max, uint32_t destinations)
{
	struct roster *roster = memory_zeroed(1, sizeof(*roster));
	roster->instances_max = instances_max;
	roster->told = tellings_of(destinations);
	roster_seed(roster, 0);
	roster->mask = 63;
	roster->places = memory_zeroed(roster->mask + 1, sizeof(*roster->places));
	roster_grow(roster);
	roster->entries[0] = (struct roster_entry){0};
	roster->used = 1;
	return roster;
}

void roster_seed(struct roster *roster, uint64_t seed)
{
	roster->secret = hash_secret(seed, 0);
}

void roster_free(struct roster *roster)
{
	if (!roster)
		return;
	memory_free(roster->entries);
	tellings_done(&roster->told);
	memory_free(roster->places);
	memory_free(roster);
}

/* ---- by id ---- */

static uint32_t place_of(const struct roster *roster, uint64_t id)
{
	uint32_t place = roster_home(roster, id);
	while (roster->places[place] && roster->entries[roster->places[place]].instance.id != id)
		place = (place + 1) & roster->mask;
	return place;
}

static void places_grow(struct roster *roster)
{
	memory_free(roster->places);
	roster->mask = roster->mask * 2 + 1;
	roster->places = memory_zeroed((size_t)roster->mask + 1, sizeof(*roster->places));
	for (uint32_t number = 1; number < roster->used; number++)
		if (roster->entries[number].instance.id)
			roster->places[place_of(roster, roster->entries[number].instance.id)] =
				number;
}

/* What stood behind it moves up, so that no search ends too early. */
static void place_clear(struct roster *roster, uint32_t place)
{
	roster->places[place] = 0;
	for (uint32_t next = (place + 1) & roster->mask; roster->places[next];
	     next = (next + 1) & roster->mask) {
		uint32_t number = roster->places[next];
		roster->places[next] = 0;
		roster->places[place_of(roster, roster->entries[number].instance.id)] = number;
	}
}

/* ---- entries ---- */

static uint32_t roster_take(struct roster *roster)
{
	uint32_t number = roster->free;
	if (number) {
		roster->free = roster->entries[number].next_free;
		return number;
	}
	if (roster->used == roster->capacity)
		roster_grow(roster);
	return roster->used++;
}

static uint32_t roster_add(struct roster *roster, const struct instance *instance)
{
	if (roster->stats.live == roster->instances_max) {
		roster->stats.refused++;
		return 0;
	}
	if (2 * (roster->stats.live + 1) > roster->mask)
		places_grow(roster);
	uint32_t number = roster_take(roster);
	roster->places[place_of(roster, instance->id)] = number;
	roster->entries[number] = (struct roster_entry){.instance = *instance};
	tellings_clear(&roster->told, number);
	roster->stats.live++;
	return number;
}

uint32_t roster_put(struct roster *roster, const struct instance *instance, uint64_t pane)
{
	assert(instance->id);
	uint32_t number = roster_number(roster, instance->id);
	if (!number)
		number = roster_add(roster, instance);
	if (!number)
		return 0;
	struct roster_entry *entry = &roster->entries[number];
	entry->put_pane = pane;
	if (memcmp(&entry->instance, instance, sizeof(*instance)) != 0) {
		entry->instance = *instance;
		tellings_clear(&roster->told, number);
	}
	return number;
}

static void roster_forget(struct roster *roster, uint32_t number)
{
	struct roster_entry *entry = &roster->entries[number];
	place_clear(roster, place_of(roster, entry->instance.id));
	*entry = (struct roster_entry){.next_free = roster->free};
	roster->free = number;
	roster->stats.live--;
	roster->stats.expired++;
}

static void touch_names(struct names *names, const struct instance *instance, uint64_t pane)
{
	names_touch(names, instance->workload, pane);
	names_touch(names, instance->version, pane);
	names_touch(names, instance->zone, pane);
	names_touch(names, instance->node, pane);
	names_touch(names, instance->container, pane);
	names_touch(names, instance->process, pane);
}

void roster_advance(struct roster *roster, struct names *names, uint64_t pane)
{
	uint32_t steps = roster->used / SWEEP_PANES + 1;
	for (uint32_t step = 0; step < steps; step++) {
		if (++roster->sweep >= roster->used)
			roster->sweep = 1;
		if (roster->sweep >= roster->used)
			return;
		const struct roster_entry *entry = &roster->entries[roster->sweep];
		if (entry->instance.id && !entry->users &&
		    entry->put_pane + NAMES_KEEP_PANES < pane)
			roster_forget(roster, roster->sweep);
		else if (entry->instance.id && names)
			touch_names(names, &entry->instance, pane);
	}
}

struct roster_stats roster_stats(const struct roster *roster)
{
	return roster->stats;
}
