/* The NAT entries of this node, by network namespace, zone and original tuple: fed by events and
 * dumps, so that each is told once, again in key frames, and ended when its DESTROY came or a dump
 * no longer has it (an entry made while nobody listened ends in silence).
 *
 * Bounded by nat_new; when full a new entry is refused and counted. Time is an argument; one
 * thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/conntrack.h"

struct nat_options {
	uint32_t entries_max;
	void (*told)(void *context,
		     const struct conntrack_entry *entry); /* begun, again, or ended */
	void *context;
};

struct nat;
struct nat_stats {
	uint32_t live;
	uint64_t refused, swept;
	uint64_t found; /* by a dump: their NEW never came */
};

struct nat *nat_new(const struct nat_options *options);
void nat_free(struct nat *nat);
void nat_put(struct nat *nat, const struct conntrack_entry *entry, uint64_t now_ns); /* an event */

/* A dump, and what events say while it runs: what ended since its beginning does not come back with
 * it, and what an event told since then is newer than it. nat_dumped for each of its entries, then
 * nat_sweep until it is through, so many rows a call: entries of the namespaces that `dumped` holds
 * true for and that neither the dump nor an event since began_ns named are ended. Then
 * nat_dump_ends; false: more ended meanwhile than could be remembered, so another dump is wanted.
 * Events may come between all of these calls. */
void nat_dump_begins(struct nat *nat);
void nat_dumped(struct nat *nat, const struct conntrack_entry *entry, uint64_t began_ns,
		uint64_t now_ns);
/* Whether rows are left. */
bool nat_sweep(struct nat *nat, uint32_t rows, uint64_t began_ns,
	       bool (*dumped)(void *context, uint32_t netns), void *context);
bool nat_dump_ends(struct nat *nat);
void nat_dump_fails(struct nat *nat); /* instead of nat_sweep and nat_dump_ends */

/* Entries of namespaces that are no more. */
void nat_forget(struct nat *nat, bool (*is_gone)(void *context, uint32_t netns), void *context);

/* Tells the next share of entries again: 1 / calls of all. */
void nat_again(struct nat *nat, uint32_t calls);
struct nat_stats nat_stats(const struct nat *nat);
