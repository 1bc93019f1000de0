/* What one receiver knows of one alert episode, and where it stands: each ticket is in exactly one
 * of the channel's queues, and ticket_place says in which.
 *
 *             push               chosen               answer
 *    closed ───────► first/ready ───────► flying ───────────────► unrecorded ─► open or closed
 *    open               ▲                   │ try again     (its record is on the way to Kafka)
 *                       └──── resting ◄─────┘
 *
 * From first and ready a ticket also goes to silenced, when it is its turn, and back when it may be
 * heard. The outbox is not held for what is silenced: each start is given what still fires.
 *
 * Bounds: closed tickets are forgotten past closed_max, the longest settled first; open ones past
 * open_max, which is counted. The others are bounded by the channel. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "anomaly/alert.h"

enum ticket_home {
	HOME_FIRST,	 /* to be sent before the others: ends of incidents */
	HOME_READY,	 /* to be sent */
	HOME_RESTING,	 /* to be sent again, not before due_ms */
	HOME_FLYING,	 /* a request is under way, or what is written down before it */
	HOME_UNRECORDED, /* settled, the record of it is not kept yet */
	HOME_SILENCED,	 /* to be sent when it is silenced no more, if it fires then */
	HOME_OPEN,	 /* the receiver holds a firing: its end is owed */
	HOME_CLOSED,	 /* nothing is left to do */
	HOMES,
};

struct ticket {
	struct ticket *chain;	      /* of its bucket */
	struct ticket *newer, *older; /* in its queue */
	enum ticket_home home;
	char key[ALERT_KEY_TEXT];
	uint64_t settled;    /* highest sequence that is settled */
	uint64_t settled_ns; /* real time of it */
	uint32_t severity;   /* the severity that the receiver has seen */
	bool located;	     /* and that it was told where the change is */
	uint64_t told_ns;    /* log time of what it was told last; of an earlier life: no earlier */
	bool delivered;	     /* its firing was delivered: a resolve is owed */
	bool uncertain;	 /* a firing was sent and no answer is known: the receiver may have it */
	bool doubtful;	 /* the pending transition was sent before, and may be shown already */
	bool announced;	 /* the kept record says that a firing may have been sent */
	bool in_flight;	 /* a request is under way */
	bool announcing; /* that it will be is being written down */
	bool waits;	 /* an end, until what was sent before it is written down */
	bool silenced;	 /* the pending transition is held back */
	uint32_t unrecorded; /* records under way */
	uint32_t attempts;   /* of the pending transition */
	uint32_t failures;   /* in a row */
	uint64_t due_ms;     /* not before */
	uint64_t sending;    /* sequence under way */
	int32_t partition;   /* of the outbox; NOTIFY_LOCAL: of no partition */
	int64_t held_from;   /* offset of the oldest transition that is not settled and recorded */
	struct alert *pending; /* the transition to send, or under way; NULL: none */
	struct alert *next;    /* the resolve behind a pending firing that the receiver may have */
	char *handle; /* by what the receiver knows its message, if that can be changed; NULL */
	/* Of receivers that forget (repeat.h): what it has; when it was told of it, and in which
	 * batch of repeats. NULL: not known, or it does not forget. */
	struct item *item;
	uint64_t item_ms, batch;
};

struct queue {
	struct ticket *oldest, *newest;
	size_t count;
};

enum { TICKET_BUCKETS = 4096 };

struct tickets {
	struct ticket *buckets[TICKET_BUCKETS];
	struct queue queues[HOMES];
	size_t closed_max, open_max;
	uint64_t forgotten; /* of the open */
	size_t items;	    /* tickets that have one */
};

void tickets_done(struct tickets *tickets);
struct ticket *tickets_find(struct tickets *tickets, const char *key);
/* A new one is closed. */
struct ticket *tickets_get(struct tickets *tickets, const char *key);
/* Into the queue where it belongs now, at its end if it is not there. A closed one may be gone
 * after it. */
void ticket_place(struct tickets *tickets, struct ticket *ticket, bool ends_first, uint64_t now_ms);
/* Once all that is known of earlier lives was loaded: orders the closed by when they were settled.
 */
void tickets_sort(struct tickets *tickets);
/* How many have something to send. */
size_t tickets_pending(const struct tickets *tickets);
/* Lowers the partitions' positions to what any still needs. */
void tickets_hold(const struct tickets *tickets, int64_t *positions, size_t partitions);
