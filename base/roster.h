/* The instances that one task knows, by number: halves, flows and rows hold small numbers, messages
 * carry ids, and descriptors travel apart, once to each reader and again every NAMES_REFRESH_PANES.
 * An instance stays while somebody holds it, and else NAMES_KEEP_PANES after it was last put. Its
 * number is good until then and is given to another later, so it must never order output; a reader
 * that maps numbers is told of the new one before it is used. Number 0 is nobody: its descriptor is
 * all zeros. Bounded: at instances_max the newcomer is nobody, counted. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/identity.h"

struct names;
struct roster;

struct roster_stats {
	uint64_t live, refused, expired;
};

/* destinations: how many readers roster_due keeps apart (0 if it is never called). */
struct roster *roster_new(uint32_t instances_max, uint32_t destinations);
void roster_free(struct roster *roster);

/* The number of the instance with this id, made known if it is not, and its descriptor as given
 * here (a better resolution replaces the one before). */
uint32_t roster_put(struct roster *roster, const struct instance *instance, uint64_t pane);

/* 0 if it is not here. */
uint32_t roster_number(const struct roster *roster, uint64_t id);

/* One user more, one less; number 0 has no users. */
void roster_hold(struct roster *roster, uint32_t number);
void roster_drop(struct roster *roster, uint32_t number);

/* Lent until the next put. */
const struct instance *roster_at(const struct roster *roster, uint32_t number);

/* Whether `destination` must be told of it now: it never was, or not for NAMES_REFRESH_PANES, or
 * its descriptor changed. Marks it told. Never of number 0. */
bool roster_due(struct roster *roster, uint32_t number, uint32_t destination, uint64_t pane);

/* Forgets what nobody holds and was last put NAMES_KEEP_PANES before pane. The names of what is
 * held stay in names as long (NULL: there are none). */
void roster_advance(struct roster *roster, struct names *names, uint64_t pane);
struct roster_stats roster_stats(const struct roster *roster);
