#include "api/notify/ticket.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

static struct ticket **bucket_of(struct tickets *tickets, const char *key)
{
	return &tickets->buckets[hash_bytes(key, strlen(key)) % TICKET_BUCKETS];
}

struct ticket *tickets_find(struct tickets *tickets, const char *key)
{
	struct ticket *ticket = *bucket_of(tickets, key);

	while (ticket && strcmp(ticket->key, key) != 0)
		ticket = ticket->chain;
	return ticket;
}

static void queue_add(struct queue *queue, struct ticket *ticket)
{
	ticket->newer = NULL;
	ticket->older = queue->newest;
	if (queue->newest)
		queue->newest->newer = ticket;
	else
		queue->oldest = ticket;
	queue->newest = ticket;
	queue->count++;
}

static void queue_remove(struct queue *queue, struct ticket *ticket)
{
	*(ticket->older ? &ticket->older->newer : &queue->oldest) = ticket->newer;
	*(ticket->newer ? &ticket->newer->older : &queue->newest) = ticket->older;
	queue->count--;
}

static void forget(struct tickets *tickets, struct ticket *ticket)
{
	struct ticket **at = bucket_of(tickets, ticket->key);

	while (*at != ticket)
		at = &(*at)->chain;
	*at = ticket->chain;
	queue_remove(&tickets->queues[ticket->home], ticket);
	free(ticket->pending);
	free(ticket->next);
	tickets->items -= ticket->item != NULL;
	free(ticket->item);
	free(ticket->handle);
	free(ticket);
}

static void hold_bound(struct tickets *tickets)
{
	struct queue *closed = &tickets->queues[HOME_CLOSED];

	struct queue *open = &tickets->queues[HOME_OPEN];

	while (closed->count > tickets->closed_max)
		forget(tickets, closed->oldest);
	for (; open->count > tickets->open_max; tickets->forgotten++)
		forget(tickets, open->oldest);
}

struct ticket *tickets_get(struct tickets *tickets, const char *key)
{
	struct ticket *ticket = tickets_find(tickets, key);
	struct ticket **bucket = bucket_of(tickets, key);

	if (ticket)
		return ticket;
	ticket = memory_zeroed(1, sizeof(*ticket));
	snprintf(ticket->key, sizeof(ticket->key), "%s", key);
	ticket->home = HOME_CLOSED;
	ticket->chain = *bucket;
	*bucket = ticket;
	queue_add(&tickets->queues[HOME_CLOSED], ticket);
	return ticket;
}

static enum ticket_home home_of(const struct ticket *ticket, bool ends_first, uint64_t now_ms)
{
	if (ticket->in_flight || ticket->announcing)
		return HOME_FLYING;
	if (ticket->pending && ticket->silenced)
		return HOME_SILENCED;
	if (ticket->pending && ticket->due_ms > now_ms)
		return HOME_RESTING;
	if (ticket->pending)
		return ends_first && ticket->pending->state == ALERT_RESOLVED ? HOME_FIRST
									      : HOME_READY;
	if (ticket->unrecorded)
		return HOME_UNRECORDED;
	return ticket->delivered || ticket->uncertain ? HOME_OPEN : HOME_CLOSED;
}

void ticket_place(struct tickets *tickets, struct ticket *ticket, bool ends_first, uint64_t now_ms)
{
	enum ticket_home home = home_of(ticket, ends_first, now_ms);

	if (home == ticket->home)
		return;
	queue_remove(&tickets->queues[ticket->home], ticket);
	ticket->home = home;
	queue_add(&tickets->queues[home], ticket);
	hold_bound(tickets);
}

static int compare(const void *one, const void *other)
{
	const struct ticket *const *a = one, *const *b = other;

	if ((*a)->settled_ns != (*b)->settled_ns)
		return (*a)->settled_ns < (*b)->settled_ns ? -1 : 1;
	return strcmp((*a)->key, (*b)->key);
}

void tickets_sort(struct tickets *tickets)
{
	struct queue *closed = &tickets->queues[HOME_CLOSED];
	size_t count = closed->count;
	struct ticket **sorted = memory_zeroed(count, sizeof(struct ticket *));

	for (size_t i = 0; i < count; i++) {
		sorted[i] = closed->oldest;
		queue_remove(closed, closed->oldest);
	}
	qsort(sorted, count, sizeof(struct ticket *), compare);
	for (size_t i = 0; i < count; i++)
		queue_add(closed, sorted[i]);
	free(sorted);
	hold_bound(tickets);
}

size_t tickets_pending(const struct tickets *tickets)
{
	size_t count = 0;

	for (int home = HOME_FIRST; home <= HOME_FLYING; home++)
		count += tickets->queues[home].count;
	return count;
}

void tickets_hold(const struct tickets *tickets, int64_t *positions, size_t partitions)
{
	for (int home = HOME_FIRST; home <= HOME_SILENCED; home++) {
		for (const struct ticket *ticket = tickets->queues[home].oldest; ticket;
		     ticket = ticket->newer) {
			if (home == HOME_SILENCED && !ticket->unrecorded)
				continue;
			if (ticket->partition >= 0 && (size_t)ticket->partition < partitions &&
			    ticket->held_from < positions[ticket->partition])
				positions[ticket->partition] = ticket->held_from;
		}
	}
}

void tickets_done(struct tickets *tickets)
{
	for (int home = 0; home < HOMES; home++) {
		while (tickets->queues[home].oldest)
			forget(tickets, tickets->queues[home].oldest);
	}
}
