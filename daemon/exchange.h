/* What instances tell each other, through millrace.exchange: messages for tasks in the partition of
 * the lowest task that their instance has, its home, and records for all in the common partition,
 * whose number is that of the tasks. The topic must have one partition more than there are tasks.
 *
 * Messages belong to a run (daemon/lineup.h): those of an earlier one are dropped, those of a later
 * one held until it begins. From each task to each task they are numbered: a repeat is dropped, a
 * gap breaks the run (on_broken). What a worker's tasks have for one instance goes as one record
 * (daemon/bundle.h).
 *
 * Two clients of Kafka with a thread for reading, which calls on_common and on_messages. Only who
 * may write to the topic is believed: what is not of this build's layout is refused and counted,
 * but an index within a message is taken as it is. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/message.h"
#include "daemon/task_set.h"

struct exchange;
struct security;

struct exchange_options {
	const char *brokers;
	struct security *security; /* NULL: plain; lent */
	const char *topic;
	uint32_t tasks;
	void *context;
	/* These three on the exchange's own thread. Messages of a record, a list by their letters,
	 * oldest first; taken. Not called outside of exchange_begin() .. exchange_end(), so it may
	 * call nothing of the exchange. */
	void (*on_messages)(void *context, struct message *messages);
	/* In the order of the partition, own records too, from exchange_open() on. */
	void (*on_common)(void *context, uint32_t kind, int64_t offset, uint64_t append_ms,
			  const uint8_t *bytes, size_t length);
	/* The run cannot be gone on with: messages are missing; once a run. Or something that was
	 * said, or is to be read, in the common partition was lost, also where there is no run;
	 * once a second at most. why: a sentence. */
	void (*on_broken)(void *context, const char *why);
	void (*trouble)(void *context, const char *sentence); /* for the log; any thread */
};

struct exchange_stats {
	uint64_t sent, received;	   /* messages */
	uint64_t sent_records, sent_bytes; /* of messages, and for all */
	uint64_t received_bytes;
	uint64_t repeated, stale; /* dropped: had before; of an earlier run, or a broken one */
	uint64_t held;		  /* now, for a run that has not begun */
	uint64_t unheld;	  /* dropped: no room for them, so that run will be broken */
	uint64_t refused;	  /* records or messages that are none of this build */
	uint64_t failed;	  /* records that Kafka refused, or had no room for */
	uint64_t broken;	  /* runs */
	uint64_t errors;	  /* of the clients, as trouble tells them */
};

/* brokers, security and topic are lent for the exchange's life. NULL with error told when
 * librdkafka refuses the settings. */
struct exchange *exchange_new(const struct exchange_options *options, char *error, size_t size);

/* Waits for the broker, so not on the loop: 0; -EAGAIN: not yet, why says it; -EINVAL: the topic is
 * not as it must be. Then the common partition is read from its end as it was then. */
int exchange_open(struct exchange *exchange, int timeout_ms, char *why, size_t size);
/* Likewise, when it is open: messages for these tasks are read from here on, whoever may send, if
 * they are all of this instance's in the run; before an answer is said that names them. -EAGAIN:
 * not yet. Not from a callback. */
int exchange_own(struct exchange *exchange, const struct task_set *tasks, int timeout_ms, char *why,
		 size_t size);

/* To all. Any thread; returns at once. */
void exchange_say(struct exchange *exchange, uint32_t kind, const uint8_t *bytes, size_t length);

/* A run begins and ends; after exchange_end returns on_messages is not called any more. Any thread;
 * nobody sends while a run begins. homes: by task, of the instance that has it. */
void exchange_begin(struct exchange *exchange, int64_t run, const uint32_t *homes);
void exchange_end(struct exchange *exchange);
/* Takes the message, which goes with the worker's next flush at the latest. Any thread, though one
 * at a time for a worker (below the number of tasks); messages of one source all by one, in whose
 * order they stay. Never waits: without room in the queue the run is broken. */
void exchange_send(struct exchange *exchange, uint32_t worker, struct message *message);
void exchange_flush(struct exchange *exchange, uint32_t worker);

struct exchange_stats exchange_stats(struct exchange *exchange);
/* Waits at most timeout_ms for what is queued. Nobody is called after it. */
void exchange_close(struct exchange *exchange, int timeout_ms);
