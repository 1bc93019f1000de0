/* Watches conntrack of every network namespace: one subscription that hears all namespaces which
 * ours has a name for, filtered in the kernel to entries with NAT, and dumps of each namespace: at
 * the start, every sweep period, and after an overrun. A dump runs in the loop's thread pool, where
 * a thread enters each namespace in turn; its result is handed over whole.
 *
 * Bounds: 8 MiB of socket buffer; what the kernel drops beyond that is counted as an overrun and
 * mended by a dump, at most one each RESYNC_EVERY (H-21). A dump takes at most DUMP_ENTRIES_MAX
 * entries. The loop's thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agent/nat.h"

struct natwatch_options {
	uv_loop_t *loop;
	uint64_t sweep_ns;
	const uint32_t *scope; /* inodes of network namespaces, lent for its life; none: all */
	uint32_t scope_count;
	struct nat *nat; /* lent for its life */
};

struct natwatch_stats {
	uint64_t events, overruns, malformed, dumps, dumps_failed, dump_entries;
	uint64_t unknown_namespace; /* events of a namespace that was gone or never found */
	uint64_t left_out;	    /* entries and namespaces beyond a dump's bounds */
};

struct natwatch;
int natwatch_open(struct natwatch **out, const struct natwatch_options *options); /* 0 or -errno */
struct natwatch_stats natwatch_stats(const struct natwatch *natwatch);
/* The loop must run until its handles are gone. Frees itself then; nat is not used after this call.
 */
void natwatch_close(struct natwatch *natwatch);
