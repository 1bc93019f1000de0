#include "ingest/pane.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { PANE_BYTES = 4096 }; /* at least: any event fits */

static const size_t event_sizes[EVENT_KINDS] = {
	[EVENT_NODE] = sizeof(struct node_event),
	[EVENT_RESET] = sizeof(struct reset_event),
	[EVENT_CONTAINER] = sizeof(struct container_event),
	[EVENT_PROCESS] = sizeof(struct process_event),
	[EVENT_EXIT] = sizeof(struct exit_event),
	[EVENT_NAT] = sizeof(struct nat_event),
	[EVENT_DEFINITION] = sizeof(struct definition_event),
	[EVENT_UPDATE] = sizeof(struct update_event),
	[EVENT_CLOSE] = sizeof(struct close_event),
};

void panes_init(struct panes *panes, uint64_t events_max)
{
	memset(panes, 0, sizeof(*panes));
	panes->events_max = events_max;
}

void panes_done(struct panes *panes)
{
	for (int i = 0; i < PANES_OPEN; i++)
		free(panes->ring[i].bytes);
	for (int i = 0; i < panes->spares_count; i++)
		free(panes->spares[i].bytes);
}

static void pane_room(struct panes *panes, struct pane *pane, size_t needed)
{
	if (needed <= pane->capacity)
		return;
	if (!pane->bytes && panes->spares_count) {
		/* Holds an event at least: it held one before. */
		struct spare *spare = &panes->spares[--panes->spares_count];
		pane->bytes = spare->bytes;
		pane->capacity = spare->capacity;
		return;
	}
	pane->capacity = memory_grown(pane->capacity, needed < PANE_BYTES ? PANE_BYTES : needed);
	pane->bytes = memory_resize(pane->bytes, pane->capacity, 1);
}

bool panes_put(struct panes *panes, uint64_t number, const struct event *event, size_t size)
{
	struct pane *pane = &panes->ring[number % PANES_OPEN];
	if (pane->length && pane->number != number)
		return false;
	if (event->numbered && panes->pending == panes->events_max)
		return false;
	pane_room(panes, pane, pane->length + size);
	pane->number = number;
	memcpy(pane->bytes + pane->length, event, size);
	pane->length += size;
	pane->events += event->numbered;
	panes->pending += event->numbered;
	return true;
}

struct pane *panes_get(struct panes *panes, uint64_t number)
{
	struct pane *pane = &panes->ring[number % PANES_OPEN];
	return pane->length && pane->number == number ? pane : NULL;
}

void panes_clear(struct panes *panes, struct pane *pane)
{
	panes->pending -= pane->events;
	if (panes->spares_count < PANES_SPARE)
		panes->spares[panes->spares_count++] = (struct spare){pane->bytes, pane->capacity};
	else
		free(pane->bytes);
	*pane = (struct pane){0};
}

const struct event *pane_next(const struct pane *pane, size_t *offset)
{
	if (*offset == pane->length)
		return NULL;
	const struct event *event = (const struct event *)(pane->bytes + *offset);
	*offset += event_sizes[event->kind];
	return event;
}
