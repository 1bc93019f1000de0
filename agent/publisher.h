/* Sealed batches to Kafka, in order and once each as far as the broker allows (idempotent
 * producer), resent from the spool with the same sequence while the broker is away; what was
 * refused comes behind what went after it, and the pipeline puts it back in its place. The client
 * is made again after a fatal error, with backoff, and when the files of TLS change.
 *
 * Bounds: the spool's bytes; SENT_MAX batches on their way, so that what is dropped when the spool
 * is full can still be chosen. The caller's thread only: librdkafka's own threads are inside it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/spool.h"

struct security;

/* All lent for the publisher's life: the client is made from them again. */
struct publisher_options {
	const char *brokers, *topic, *key;
	uint64_t spool_bytes_max;
	struct security *security;
};

struct publisher_stats {
	struct spool_stats spool;
	uint64_t delivered_batches, delivered_bytes, failed, clients;
	bool connected; /* the last thing heard of the broker was good */
};

enum { PUBLISHER_WHY_BYTES = 512 };

struct publisher;
int publisher_new(struct publisher **out, const struct publisher_options *options,
		  char why[PUBLISHER_WHY_BYTES]);
void publisher_free(struct publisher *publisher);
void publisher_put(struct publisher *publisher, const uint8_t *bytes, size_t length,
		   uint32_t events);
/* Delivery reports and errors; sends what waits. Called at each tick: a wake-up for each report
 * would cost more than the report. */
void publisher_poll(struct publisher *publisher, uint64_t now_ns);
/* Waits until all is delivered, at most this long. Whether it is; publisher_stats().spool has what
 * is not. */
bool publisher_flush(struct publisher *publisher, uint64_t wait_ms);
struct publisher_stats publisher_stats(const struct publisher *publisher);
