#include "ingest/pane.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

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
}

bool panes_put(struct panes *panes, uint64_t number, const struct event *event, size_t size)
{
	struct pane *pane = &panes->ring[number % PANES_OPEN];
	if (pane->length && pane->number != number)
		return false;
	if (event->numbered && panes->pending == panes->events_max)
		return false;
	if (pane->length + size > pane->capacity) {
		pane->capacity = memory_grown(pane->capacity, pane->length + size);
		pane->bytes = memory_resize(pane->bytes, pane->capacity, 1);
	}
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
	pane->events = 0;
	pane->length = 0;
}

const struct event *pane_next(const struct pane *pane, size_t *offset)
{
	if (*offset == pane->length)
		return NULL;
	const struct event *event = (const struct event *)(pane->bytes + *offset);
	*offset += event_sizes[event->kind];
	return event;
}
