/* Publishes batches to a Kafka topic, keyed by node, as the agent does. When librdkafka's queue is
 * full, topic_send waits up to 1 s and then drops the batch, counted, as is a batch that the broker
 * refused: a truth compared with a pipeline's result must look at both. One thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "agent/batch/batch.h"

struct topic;

struct topic_stats {
	uint64_t sent, delivered, dropped, failed; /* batches */
};

/* Waits for the brokers, so that the first batch is not late: NULL with a sentence in why when they
 * do not answer within 15 s. */
struct topic *topic_open(const char *brokers, const char *name, char *why, size_t size);
void topic_send(struct topic *topic, const char *key, const struct batch_bytes *bytes);
/* Waits up to wait_ms for what is on its way. */
void topic_flush(struct topic *topic, int wait_ms);
void topic_close(struct topic *topic);
struct topic_stats topic_stats(const struct topic *topic);
