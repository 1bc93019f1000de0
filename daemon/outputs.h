/* The way out: a Kafka producer for all that millraced writes. Any thread may write; outputs_poll
 * and the counters of deliveries belong to the service loop, which watches outputs_descriptor.
 *
 * Flows, rollups and dead letters leave with a number (epoch, task, sequence, without gaps) in the
 * header `millrace-output`, so a repeat by a retry or a restart is known: therefore the producer
 * retries for ever with one request in flight and acks=all, and needs no idempotence, whose fatal
 * states would end a process for nothing. While the queue (QUEUE_KBYTES) is full a writer waits:
 * the task stops reading, and nothing is dropped. */
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
	/* For the log: one sentence. On the thread that polls. */
	void (*trouble)(void *context, const char *sentence);
	void *context;
};

struct outputs_stats {
	uint64_t written, delivered, failed, bytes;
	uint64_t waiting; /* in the queue now */
};

/* NULL with *error (static text, or librdkafka's) when the settings are refused. */
struct outputs *outputs_new(const struct outputs_options *options, char *error, size_t size);

/* partition: -1 chooses by key. number: NULL for records that are not numbered. */
void outputs_write(struct outputs *outputs, const char *topic, int32_t partition, const char *key,
		   size_t key_length, struct encoded value, const struct output_number *number);

/* As outputs_write, without waiting: false when the queue is full. *done is set when Kafka has it
 * or it failed. */
bool outputs_try(struct outputs *outputs, const char *topic, int32_t partition,
		 struct encoded value, _Atomic bool *done);

int outputs_descriptor(struct outputs *outputs);
void outputs_poll(struct outputs *outputs);
struct outputs_stats outputs_stats(struct outputs *outputs);

/* Waits at most timeout_ms for what is queued, then destroys. Returns how many records were left
 * behind. */
uint64_t outputs_close(struct outputs *outputs, int timeout_ms);
