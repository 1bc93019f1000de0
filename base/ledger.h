/* The loss ledger: what became of the events of one agent, or of many. Each event stands once on
 * either side of
 *
 *   issued   = received - duplicate - quarantined + lost
 *   received = aggregated + pending + late + duplicate + quarantined + refused
 *
 * at any moment. All terms are numbers of events, as agents number them: one event may give several
 * deltas or none, and is aggregated when it was applied; what is folded into `_other` is aggregated
 * too. An event of a record that could not be read is quarantined, as far as the record tells how
 * many it has, and not issued: who wrote it is not known. If an agent did number it, the gap that
 * it left is lost. Plain data. */
#pragma once

#include <stdint.h>

struct ledger {
	uint64_t issued;      /* numbered by agents, as far as the numbers that came tell */
	uint64_t received;    /* that arrived, as often as they did */
	uint64_t lost;	      /* numbered, and in no batch that was read */
	uint64_t duplicate;   /* of batches that had come before */
	uint64_t quarantined; /* of records that went to the deadletter */
	uint64_t refused;     /* found a table full, an unknown slot before its key frame, no room
				 in an open pane, or are of an agent's former start */
	uint64_t late;	      /* of panes that were closed already: in windows of 10 s and longer */
	uint64_t pending;     /* stored in open panes now */
	uint64_t aggregated;  /* applied in their panes */
	/* As agents tell. Not numbered, so neither issued nor lost: no room in the kernel's ring or
	 * in a table of the agent's; netlink overruns. Of lost: dropped by a full spool. */
	uint64_t dropped_ring, dropped_netlink, dropped_spool;
};

/* Events of one agent in some window of panes: what its numbers say was issued, and what of it came
 * in time. */
struct arrival {
	uint64_t received, issued;
};

/* 0..1; 1 where nothing is known to be missing. */
static inline double arrival_share(const struct arrival *arrival)
{
	return arrival->issued ? (double)arrival->received / (double)arrival->issued : 1;
}

void ledger_add(struct ledger *sum, const struct ledger *part);
/* part is of sum. */
void ledger_subtract(struct ledger *sum, const struct ledger *part);
/* By how many events the two equations fail, together: 0, or there is a bug. */
uint64_t ledger_unexplained(const struct ledger *ledger);
