/* The panes that are still open: each a store of runs (ingest/run.h), in chunks of CHUNK_BYTES. A
 * ring of PANES_OPEN panes, keyed by pane number; the chunks of a closed pane go to the next runs
 * that come, while they are warm. Bounded: events_max over all panes. One thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ingest/run.h"

enum {
	PANES_OPEN = 512, /* 128 s: what a caller may lag, and 20 s that records run ahead */
	PANES_SPARE = 4,  /* as many as are filled at once in an orderly log */
	CHUNK_BYTES = 262144,
};

/* Where a run is and what it is sorted by; rank is the place of its node's name, set when the pane
 * closes. */
struct run_place {
	uint64_t sequence;
	struct run *run;
	uint32_t node, rank, incarnation, order;
};

/* Of CHUNK_BYTES, but for one of a larger run. */
struct chunk {
	struct chunk *next;
	size_t length, capacity; /* bytes behind this header */
};

struct pane {
	uint64_t number;
	struct chunk *chunks; /* the one being filled first */
	struct run_place *runs;
	uint32_t runs_count, runs_capacity;
	uint64_t events;
};

struct panes {
	struct pane ring[PANES_OPEN];
	struct pane spares[PANES_SPARE]; /* their arrays of runs */
	int spares_count;
	struct chunk *chunks;		  /* spare */
	size_t chunks_spare, chunks_used; /* of CHUNK_BYTES */
	uint64_t pending, events_max;	  /* events, over all */
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
