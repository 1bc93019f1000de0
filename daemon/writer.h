/* Who writes to millrace.exchange: a client of Kafka that retries for ever, in the order in which
 * records are put, and is made again when it has failed for good.
 *
 * writer_put: any thread. writer_turn and writer_free: one thread, on which it calls back. The
 * rest: any thread, before writer_free. */
#pragma once

#include <librdkafka/rdkafka.h>
#include <stddef.h>
#include <stdint.h>

struct security;
struct writer;

enum { WRITER_FOR_ALL = -1 };

struct writer_options {
	const char *brokers;
	struct security *security; /* NULL: plain; lent */
	const char *topic;
	int wake; /* an eventfd, written to when there is something for writer_turn */
	void *context;
	/* A record was refused. run: as it was put. why: a sentence. */
	void (*lost)(void *context, int64_t run, const char *why);
	/* The client was made again: whatever was on its way may be lost. */
	void (*renewed)(void *context, const char *why);
	void (*trouble)(void *context, const char *sentence); /* for the log; any thread */
};

struct writer_stats {
	uint64_t records, bytes; /* taken */
	uint64_t failed;	 /* refused by Kafka, or no room */
};

/* Strings are lent. NULL with error told when librdkafka refuses the settings. */
struct writer *writer_new(const struct writer_options *options, char *error, size_t size);
/* What was not delivered is lost, and told so as far as it is known in time. */
void writer_free(struct writer *writer);

/* Takes the bytes, for free(), and returns at once. run: of what is in it, or WRITER_FOR_ALL. An
 * error: there was no room, and it is dropped. */
rd_kafka_resp_err_t writer_put(struct writer *writer, uint32_t partition, uint8_t *bytes,
			       size_t length, int64_t run);
/* What has become of the records. */
void writer_turn(struct writer *writer);

/* So that the first record need not wait a second for the topic's partitions. One that is not there
 * is told when something is written to it. */
void writer_warm(struct writer *writer, int timeout_ms);
/* The partition's first offset and the one behind its last. Asked here, as it would wait behind a
 * fetch on a reader's connection. */
rd_kafka_resp_err_t writer_ends(struct writer *writer, uint32_t partition, int64_t *low,
				int64_t *high, int timeout_ms);
/* Records that are not delivered yet. */
int writer_queued(struct writer *writer);
struct writer_stats writer_stats(const struct writer *writer);
