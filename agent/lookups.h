/* Name lookups that wait for their answer. A query is known by its slot, direction, id and
 * question: a forwarder asks many things over one socket and uses ids again. An answer is the
 * oldest such query's; one without a question is known by the id alone. A query that is asked again
 * before its answer is the same lookup, from the first time on.
 *
 * Without an answer within the timeout, or until the socket ends, a lookup has timed out; but who
 * closes within half a second has no need of it any more (its other server was faster): abandoned,
 * and only counted. Bounded by options; when full the oldest leaves, counted, and so does the
 * oldest of many with one id: what a message costs is bounded, too. Times are boottime ns. One
 * thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/dns.h"

struct lookup {
	uint64_t asked_ns;
	uint32_t slot;
	bool sent; /* this end asked */
	uint16_t id, type;
	struct dns_name name;
};

struct lookups_options {
	uint32_t lookups_max; /* at least 1 */
	uint32_t slots_max;   /* slots are below */
	uint64_t timeout_ns;
	/* answer: NULL is a timeout. ended_ns: the answer's time, or when waiting ended */
	void (*told)(void *context, const struct lookup *lookup, const struct dns_message *answer,
		     uint64_t ended_ns);
	void *context;
};

struct lookups_stats {
	uint32_t waiting;
	uint64_t answered, timeouts;
	uint64_t repeated;  /* queries asked again */
	uint64_t unmatched; /* answers that nobody waits for: late, repeated, of the time before us
			     */
	uint64_t abandoned; /* their socket closed soon */
	uint64_t evicted;   /* the table was full, or there were too many of one id */
};

struct lookups *lookups_new(const struct lookups_options *options);
void lookups_free(struct lookups *lookups);

/* sent: this end sent the message, be it query or answer. */
void lookups_push(struct lookups *lookups, uint32_t slot, bool sent,
		  const struct dns_message *message, uint64_t time_ns);
void lookups_end(struct lookups *lookups, uint32_t slot, uint64_t time_ns); /* it closes */
void lookups_expire(struct lookups *lookups, uint64_t now_ns);
struct lookups_stats lookups_stats(const struct lookups *lookups);
