#include "ingest/pane.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { PANE_BYTES = 65536 }; /* at least */

void panes_init(struct panes *panes, uint64_t events_max)
{
	memset(panes, 0, sizeof(*panes));
	panes->events_max = events_max;
}

static void pane_done(struct pane *pane)
{
	free(pane->bytes);
	free(pane->runs);
}

void panes_done(struct panes *panes)
{
	for (int i = 0; i < PANES_OPEN; i++)
		pane_done(&panes->ring[i]);
	for (int i = 0; i < panes->spares_count; i++)
		pane_done(&panes->spares[i]);
}

static void pane_open(struct panes *panes, struct pane *pane, uint64_t number)
{
	if (!pane->bytes && panes->spares_count)
		*pane = panes->spares[--panes->spares_count];
	pane->number = number;
}

struct run *panes_room(struct panes *panes, uint64_t number, size_t size)
{
	struct pane *pane = &panes->ring[number % PANES_OPEN];
	if (pane->runs_count && pane->number != number)
		return NULL;
	if (!pane->runs_count)
		pane_open(panes, pane, number);
	size_t needed = pane->length + size;
	if (needed > pane->capacity) {
		pane->capacity =
			memory_grown(pane->capacity, needed < PANE_BYTES ? PANE_BYTES : needed);
		pane->bytes = memory_resize(pane->bytes, pane->capacity, 1);
	}
	return (struct run *)(pane->bytes + pane->length);
}

void panes_keep(struct panes *panes, uint64_t number, size_t length, uint64_t events)
{
	struct pane *pane = &panes->ring[number % PANES_OPEN];
	const struct run *run = (const struct run *)(pane->bytes + pane->length);
	if (pane->runs_count == pane->runs_capacity) {
		pane->runs_capacity =
			(uint32_t)memory_grown(pane->runs_capacity, pane->runs_count + 1);
		pane->runs = memory_resize(pane->runs, pane->runs_capacity, sizeof(*pane->runs));
	}
	pane->runs[pane->runs_count++] = (struct run_place){
		.sequence = run->sequence,
		.offset = pane->length,
		.node = run->node,
		.incarnation = run->incarnation,
		.order = run->flags & RUN_SILENT ? 0
			 : run->flags & RUN_LATE ? 1
						 : 2,
	};
	pane->length += length;
	pane->events += events;
	panes->pending += events;
}

struct pane *panes_get(struct panes *panes, uint64_t number)
{
	struct pane *pane = &panes->ring[number % PANES_OPEN];
	return pane->runs_count && pane->number == number ? pane : NULL;
}

void panes_clear(struct panes *panes, struct pane *pane)
{
	panes->pending -= pane->events;
	pane->length = pane->runs_count = 0;
	pane->events = 0;
	if (panes->spares_count < PANES_SPARE)
		panes->spares[panes->spares_count++] = *pane;
	else
		pane_done(pane);
	*pane = (struct pane){0};
}
