/* The way out: a Kafka producer for all that millraced writes. Any thread may write; outputs_poll
 * and the counters of deliveries belong to the service loop, which watches outputs_descriptor.
 *
 * Flows, rollups and dead letters leave with a number (epoch, task, sequence, without gaps) in the
 * header `millrace-output`, so a repeat by a retry or a restart is known: therefore the producer
 * retries for ever with one request in flight and acks=all, and needs no idempotence, whose fatal
 * states would end a process for nothing. While the queue (QUEUE_KBYTES) is full a task's write
 * waits: the task stops reading, and nothing is dropped until outputs_release. The service loop
 * makes the room, so it must never wait for it: it offers. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "daemon/encode.h"

struct outputs;

struct outputs_options {
	const char *brokers;
	const struct config_map *kafka_options;
	/* For the log: one sentence. Any thread. */
	void (*trouble)(void *context, const char *sentence);
	void *context;
};

struct outputs_stats {
	uint64_t written, delivered, bytes;
	uint64_t failed;  /* refused by Kafka, or without room where nobody may wait */
	uint64_t waiting; /* in the queue now */
};

/* NULL with *error (static text, or librdkafka's) when the settings are refused. */
struct outputs *outputs_new(const struct outputs_options *options, char *error, size_t size);

/* partition: -1 chooses by key. number: NULL for records that are not numbered. */
void outputs_write(struct outputs *outputs, const char *topic, int32_t partition, const char *key,
		   size_t key_length, struct encoded value, const struct output_number *number);

/* As outputs_write for the service loop: a record that finds the queue full is counted as failed
 * and told. */
void outputs_offer(struct outputs *outputs, const char *topic, const char *key, size_t key_length,
		   struct encoded value);

/* Without waiting, for what is made anew: false when the queue is full. *done is set when Kafka has
 * it or it failed. */
bool outputs_try(struct outputs *outputs, const char *topic, int32_t partition,
		 struct encoded value, _Atomic bool *done);

/* Ends all waiting for good, before the tasks are stopped: a record without room is dropped then,
 * counted as failed. */
void outputs_release(struct outputs *outputs);

int outputs_descriptor(struct outputs *outputs);
void outputs_poll(struct outputs *outputs);
struct outputs_stats outputs_stats(struct outputs *outputs);

/* Waits at most timeout_ms for what is queued, then destroys. Returns how many records were left
 * behind. */
uint64_t outputs_close(struct outputs *outputs, int timeout_ms);
