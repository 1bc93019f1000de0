/* The way out: a Kafka producer for all that millraced writes. Any thread may write; outputs_poll
 * and the counters of deliveries belong to the service loop, which watches outputs_descriptor.
 *
 * Flows, rollups, alerts and dead letters leave with a number (epoch, task, sequence, without gaps)
 * in the header `millrace-output`, their place (pane, then 0, 1, ... in it) in `millrace-pane`, and
 * the digest of all up to them in `millrace-digest`, so a repeat by a retry or a restart is known:
 * therefore the producer retries for ever with one request in flight and acks=all, and needs no
 * idempotence, whose fatal states would end a process for nothing. While the queue (QUEUE_KBYTES)
 * is full a task's write waits: the task stops reading, and nothing is dropped until
 * outputs_release. The service loop makes the room, so it must never wait for it: it offers.
 *
 * What Kafka refuses for good is counted, and told. But flows, rollups and alerts stand in their
 * task's partition without holes, since a start takes all up to the last for written: the process
 * ends at the first of these that is refused, before anything can be sent behind it, and the next
 * start makes it again. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/encode.h"

struct outputs;
struct security;

struct outputs_options {
	const char *brokers;
	struct security *security; /* NULL: plain. Lent for the outputs' life. */
	/* For the log: one sentence. Any thread. */
	void (*trouble)(void *context, const char *sentence);
	/* A record of those that have no holes was refused: nothing may be sent after it, so the
	 * process must end at once. Any thread, of the client's too. */
	void (*refused)(void *context, const char *sentence);
	void *context;
};

/* written = delivered + failed + waiting, when nobody writes. */
struct outputs_stats {
	uint64_t written, delivered, bytes;
	uint64_t failed;  /* refused by Kafka, or without room where nobody may wait */
	uint64_t waiting; /* in the queue now */
};

/* NULL with *error (static text, or librdkafka's) when the settings are refused. */
struct outputs *outputs_new(const struct outputs_options *options, char *error, size_t size);

/* Asks for the topics' partitions, so that the first record of each need not wait a second for
 * them. Waits for the broker: not on the loop. */
void outputs_warm(struct outputs *outputs, int timeout_ms);

/* partition: -1 chooses by key. number: NULL for records that are not numbered. Those that are, in
 * a partition that is named, have no holes. */
void outputs_write(struct outputs *outputs, const char *topic, int32_t partition, const char *key,
		   size_t key_length, struct encoded value, const struct output_number *number);

/* As outputs_write for the service loop: a record that finds the queue full is counted as failed
 * and told. */
void outputs_offer(struct outputs *outputs, const char *topic, const char *key, size_t key_length,
		   struct encoded value);

/* Part of what its owner keeps until it is told, on the service loop: rc is 0 when Kafka has the
 * record, negative when it refused it for good, or when outputs_close could not wait for it. */
struct output_report {
	void (*told)(struct output_report *report, int rc);
	bool of_tasks; /* its owner goes with the tasks: outputs_settled() waits for it */
};

/* Without waiting: false when the queue is full. partition: -1 chooses by key. */
bool outputs_try(struct outputs *outputs, const char *topic, int32_t partition, const char *key,
		 size_t key_length, struct encoded value, struct output_report *report);

/* All that was handed over so far, while nobody hands over anything; the next one only after this
 * was acknowledged. And whether Kafka has done so; what it refused for good is settled too, but for
 * what has no holes. Any thread.
 */
uint32_t outputs_mark(struct outputs *outputs);
bool outputs_acknowledged(const struct outputs *outputs, uint32_t mark);
/* Whether it has all that tasks have written, or refused it for good, and their reports were told;
 * whatever else is under way, which may never end. Any thread. */
bool outputs_settled(const struct outputs *outputs);

/* Ends all waiting for good, before the tasks are stopped: a record without room is dropped then,
 * counted as failed. */
void outputs_release(struct outputs *outputs);

int outputs_descriptor(struct outputs *outputs);
void outputs_poll(struct outputs *outputs);
struct outputs_stats outputs_stats(struct outputs *outputs);

/* Waits at most timeout_ms for what is queued, then destroys. Returns how many records were left
 * behind. */
uint64_t outputs_close(struct outputs *outputs, int timeout_ms);
