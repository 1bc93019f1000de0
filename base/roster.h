/* The instances that one task knows, by number: halves, flows and rows hold small numbers, messages
 * carry ids, and descriptors travel apart, once to each reader and again every NAMES_REFRESH_PANES.
 * An instance stays while somebody holds it, and else NAMES_KEEP_PANES after it was last put. Its
 * number is good until then and is given to another later, so it must never order output; a reader
 * that maps numbers is told of the new one before it is used. Number 0 is nobody: its descriptor is
 * all zeros. Bounded: at instances_max the newcomer is nobody, counted. One thread. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/identity.h"
#include "base/name.h"
#include "base/tellings.h"

struct roster_stats {
	uint64_t live, refused, expired;
};

struct roster_entry {
	struct instance instance; /* of a free number: id is 0 */
	uint64_t put_pane;
	uint32_t users;
	uint32_t next_free;
};

struct roster {
	struct roster_entry *entries; /* by number; grows as needed */
	struct tellings told;	      /* by number, to destinations */
	uint32_t capacity, used, free;
	uint32_t *places; /* open addressing by id: numbers; at most half full */
	uint32_t mask;
	uint64_t secret;
	uint32_t instances_max;
	uint32_t sweep; /* number at which the sweep goes on */
	struct roster_stats stats;
};

/* destinations: how many readers roster_due keeps apart (0 if it is never called). */
struct roster *roster_new(uint32_t instances_max, uint32_t destinations);
/* Before the first instance: without the seed nobody makes ids that stand in each other's way. */
void roster_seed(struct roster *roster, uint64_t seed);
void roster_free(struct roster *roster);

/* The number of the instance with this id, made known if it is not, and its descriptor as given
 * here (a better resolution replaces the one before). */
uint32_t roster_put(struct roster *roster, const struct instance *instance, uint64_t pane);

static inline uint32_t roster_home(const struct roster *roster, uint64_t id)
{
	return (uint32_t)hash_fold(id, roster->secret) & roster->mask;
}

/* 0 if it is not here. */
static inline uint32_t roster_number(const struct roster *roster, uint64_t id)
{
	uint32_t place = roster_home(roster, id), number;
	while ((number = roster->places[place]) && roster->entries[number].instance.id != id)
		place = (place + 1) & roster->mask;
	return id ? number : 0;
}

/* For a look-up that is to come: where its number is, and then what it numbers. Always in line: the
 * compiler leaves out the call of a function that only asks for memory. */
static inline __attribute__((always_inline)) void roster_prefetch(const struct roster *roster,
								  uint64_t id)
{
	__builtin_prefetch(&roster->places[roster_home(roster, id)]);
}

static inline __attribute__((always_inline)) void
roster_prefetch_number(const struct roster *roster, uint32_t number)
{
	__builtin_prefetch(&roster->entries[number].instance);
	__builtin_prefetch(&roster->entries[number].users, 1);
}

static inline __attribute__((always_inline)) void roster_prefetch_entry(const struct roster *roster,
									uint64_t id)
{
	const struct roster_entry *entry =
		&roster->entries[roster->places[roster_home(roster, id)]];
	__builtin_prefetch(&entry->instance.id);
	__builtin_prefetch(&entry->users, 1);
}

/* One user more, one less; number 0 has no users. */
static inline void roster_hold(struct roster *roster, uint32_t number)
{
	roster->entries[number].users += number != 0;
}

static inline void roster_drop(struct roster *roster, uint32_t number)
{
	if (!number)
		return;
	assert(roster->entries[number].users);
	roster->entries[number].users--;
}

/* Lent until the next put. */
static inline const struct instance *roster_at(const struct roster *roster, uint32_t number)
{
	return &roster->entries[number].instance;
}

/* Whether `destination` must be told of it now: it was not in this period of NAMES_REFRESH_PANES,
 * or its descriptor changed since. Marks it told. Never of number 0. */
static inline bool roster_due(struct roster *roster, uint32_t number, uint32_t destination,
			      uint64_t pane)
{
	if (!number)
		return false;
	return tellings_mark(&roster->told, number, destination, pane);
}

/* Forgets what nobody holds and was last put NAMES_KEEP_PANES before pane. The names of what is
 * held stay in names as long (NULL: there are none). */
void roster_advance(struct roster *roster, struct names *names, uint64_t pane);
struct roster_stats roster_stats(const struct roster *roster);
