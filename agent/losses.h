/* What never came into a batch, or whose batch was dropped, by place and kind: the one list that
 * batches' headers, the agent's state and its metrics are made of. Since the agent began. */
#pragma once

#include <stdint.h>

#include "agent/bpf/event.h"

enum {
	/* The first are the kernel's, by enum mr_kind. */
	LOSS_SOCKETS = MR_LOST_COUNTERS, /* found a table of the agent's full; so with the next */
	LOSS_PROCESSES,
	LOSS_LISTENERS,
	LOSS_LOOKUPS,
	LOSS_DROPS,   /* rows of dropped packets that found no room in the kernel */
	LOSS_NETLINK, /* conntrack's messages */
	LOSS_SPOOL,   /* of batches: numbered before */
	LOSSES,
};

struct losses {
	uint64_t events[LOSSES];
};

const char *loss_place(int loss); /* ring, table, kernel, netlink, spool */
const char *loss_kind(int loss);
/* Those before netlink: what a batch's header calls dropped_ring. */
uint64_t losses_ring(const struct losses *losses);
