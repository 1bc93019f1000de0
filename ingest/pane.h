/* The panes that are still open: each a store of runs (ingest/run.h). A ring of PANES_OPEN panes,
 * keyed by pane number; the memory of a closed pane goes to the next one that opens, while it is
 * warm. Bounded: events_max over all panes. One thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ingest/run.h"

enum {
	PANES_OPEN = 512, /* 128 s: what a caller may lag, and 20 s that records run ahead */
	PANES_SPARE = 4,  /* as many as are filled at once in an orderly log */
};

/* Where a run is and what it is sorted by; rank is the place of its node's name, set when the pane
 * closes. */
struct run_place {
	uint64_t sequence;
	size_t offset;
	uint32_t node, rank, incarnation, order;
};

struct pane {
	uint64_t number;
	uint8_t *bytes;
	size_t length, capacity;
	struct run_place *runs;
	uint32_t runs_count, runs_capacity;
	uint64_t events;
};

struct panes {
	struct pane ring[PANES_OPEN];
	struct pane spares[PANES_SPARE];
	int spares_count;
	uint64_t pending, events_max; /* events, over all */
};

void panes_init(struct panes *panes, uint64_t events_max);
void panes_done(struct panes *panes);

/* Room for a run of at most size bytes, header included, in the pane; good until the next call.
 * NULL when the pane's place is taken by one that the caller has not closed. */
struct run *panes_room(struct panes *panes, uint64_t number, size_t size);

/* Keeps the run that was written there, of this length and with so many events. */
void panes_keep(struct panes *panes, uint64_t number, size_t length, uint64_t events);

/* NULL if nothing came for it. */
struct pane *panes_get(struct panes *panes, uint64_t number);
void panes_clear(struct panes *panes, struct pane *pane);

static inline struct run *pane_run(const struct pane *pane, uint32_t run)
{
	return (struct run *)(pane->bytes + pane->runs[run].offset);
}
