/* The NAT entries of this node, by network namespace and original tuple: fed by events and dumps,
 * so that each is told once, again in key frames, and ended when its DESTROY came or a dump no
 * longer has it (an entry made while nobody listened ends in silence).
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
};

struct nat *nat_new(const struct nat_options *options);
void nat_free(struct nat *nat);
void nat_put(struct nat *nat, const struct conntrack_entry *entry,
	     uint64_t now_ns); /* an event or a dump's entry */

/* After a whole dump that began at began_ns was put: entries of the namespaces that `dumped` holds
 * true for and that neither the dump nor a later event named are ended. */
void nat_sweep(struct nat *nat, uint64_t began_ns, bool (*dumped)(void *context, uint32_t netns),
	       void *context);

/* Tells the next share of entries again: 1 / calls of all. */
void nat_again(struct nat *nat, uint32_t calls);
struct nat_stats nat_stats(const struct nat *nat);
