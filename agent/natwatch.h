/* Watches conntrack of every network namespace: one subscription that hears all namespaces which
 * ours has a name for, filtered in the kernel to entries with NAT, and dumps of each namespace: at
 * the start, every sweep period, and after an overrun. Listing namespaces and dumping run in the
 * loop's thread pool; the keeper enters each namespace in turn for it. What they find is handed
 * over whole and taken in steps of some milliseconds, between which the loop has its turns.
 *
 * A namespace counts from the moment its list is in use here: it is dumped after that, so what its
 * events said before, while its name was not known, is in the dump.
 *
 * Bounds: buffer_bytes of socket buffer. What the kernel drops beyond that is counted, message by
 * message, and mended by dumps (H-21): one at once, one each RESYNC_EVERY while the burst lasts,
 * and one when it is over, which leaves the table as conntrack has it. After a dump of 0.2 s of CPU
 * and less these rest so long that they take at most a tenth of a core. A dump takes at most
 * DUMP_ENTRIES_MAX entries. The loop's thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agent/nat.h"

struct natwatch_options {
	uv_loop_t *loop;
	uint64_t sweep_ns;
	uint32_t buffer_bytes; /* of the socket; the kernel doubles it */
	const uint32_t *scope; /* inodes of network namespaces, lent for its life; none: all */
	uint32_t scope_count;
	struct nat *nat; /* lent for its life */
};

struct natwatch_stats {
	uint64_t events, overruns, malformed, dumps, dumps_failed, dump_entries;
	uint64_t lost;		    /* messages that overruns cost */
	uint64_t resyncs;	    /* dumps because of overruns */
	uint64_t unknown_namespace; /* events of a namespace that was gone or never found */
	uint64_t left_out;	    /* entries and namespaces beyond a dump's bounds */
};

struct natwatch;
int natwatch_open(struct natwatch **out, const struct natwatch_options *options); /* 0 or -errno */
struct natwatch_stats natwatch_stats(const struct natwatch *natwatch);
/* The loop must run until its handles are gone. Frees itself then; nat is not used after this call.
 */
void natwatch_close(struct natwatch *natwatch);
