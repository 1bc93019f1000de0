#include "ingest/pane.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { CHUNKS_SPARE = 4 }; /* kept though fewer are used */

_Static_assert(sizeof(struct chunk) % _Alignof(struct run) == 0, "runs follow the header");

void panes_init(struct panes *panes, uint64_t events_max)
{
	memset(panes, 0, sizeof(*panes));
	panes->events_max = events_max;
}

static void chunks_free(struct chunk *chunk)
{
	while (chunk) {
		struct chunk *next = chunk->next;
		memory_free(chunk);
		chunk = next;
	}
}

static void pane_done(struct pane *pane)
{
	chunks_free(pane->chunks);
	memory_free(pane->runs);
}

void panes_done(struct panes *panes)
{
	for (int i = 0; i < PANES_OPEN; i++)
		pane_done(&panes->ring[i]);
	for (int i = 0; i < panes->spares_count; i++)
		pane_done(&panes->spares[i]);
	chunks_free(panes->chunks);
}

/* ---- chunks ---- */

static struct chunk *chunk_take(struct panes *panes, size_t size)
{
	struct chunk *chunk = panes->chunks;
	size_t capacity = CHUNK_BYTES - sizeof(*chunk);
	if (size > capacity) {
		chunk = memory_resize(NULL, sizeof(*chunk) + size, 1);
		chunk->capacity = size;
		return chunk;
	}
	panes->chunks_used++;
	if (chunk) {
		panes->chunks = chunk->next;
		panes->chunks_spare--;
	} else {
		chunk = memory_resize(NULL, CHUNK_BYTES, 1);
		chunk->capacity = capacity;
	}
	return chunk;
}

/* After a burst they go back to the system: no more are spare than are used. */
static void chunk_give(struct panes *panes, struct chunk *chunk)
{
	if (chunk->capacity != CHUNK_BYTES - sizeof(*chunk)) {
		memory_free(chunk);
		return;
	}
	panes->chunks_used--;
	if (panes->chunks_spare >= panes->chunks_used + CHUNKS_SPARE) {
		memory_free(chunk);
		return;
	}
	chunk->next = panes->chunks;
	panes->chunks = chunk;
	panes->chunks_spare++;
}

/* ---- runs ---- */

static void pane_open(struct panes *panes, struct pane *pane, uint64_t number)
{
	if (!pane->chunks && panes->spares_count)
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
	struct chunk *chunk = pane->chunks;
	if (!chunk || size > chunk->capacity - chunk->length) {
		chunk = chunk_take(panes, size);
		chunk->length = 0;
		chunk->next = pane->chunks;
		pane->chunks = chunk;
	}
	return (struct run *)((uint8_t *)(chunk + 1) + chunk->length);
}

void panes_keep(struct panes *panes, uint64_t number, size_t length, uint64_t events)
{
	struct pane *pane = &panes->ring[number % PANES_OPEN];
	struct chunk *chunk = pane->chunks;
	struct run *run = (struct run *)((uint8_t *)(chunk + 1) + chunk->length);
	if (pane->runs_count == pane->runs_capacity) {
		pane->runs_capacity =
			(uint32_t)memory_grown(pane->runs_capacity, pane->runs_count + 1);
		pane->runs = memory_resize(pane->runs, pane->runs_capacity, sizeof(*pane->runs));
	}
	pane->runs[pane->runs_count++] = (struct run_place){
		.sequence = run->sequence,
		.run = run,
		.node = run->node,
		.incarnation = run->incarnation,
		.order = run->flags & RUN_SILENT ? 0
			 : run->flags & RUN_LATE ? 1
						 : 2,
	};
	chunk->length += length;
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
	for (struct chunk *chunk = pane->chunks, *next; chunk; chunk = next) {
		next = chunk->next;
		chunk_give(panes, chunk);
	}
	if (panes->spares_count < PANES_SPARE)
		panes->spares[panes->spares_count++] =
			(struct pane){.runs = pane->runs, .runs_capacity = pane->runs_capacity};
	else
		memory_free(pane->runs);
	*pane = (struct pane){0};
}
