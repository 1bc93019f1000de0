/* The rim of ingest: reads every partition of one topic, each through a queue of its own, so that a
 * partition's records are taken by the thread that owns it. Positions are explicit: where the group
 * left off, else where the log was `rewind_ns` ago (agents announce all live objects again within
 * that time), else the beginning.
 *
 * Finding the topic waits for the broker: consumer_connect is tried until it succeeds, on any one
 * thread; then partitions may be used, each by one thread. Fetching is never paused: what a task
 * does not take stays in its bounded queue. The broker may leave and come back at any time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ingest/mirror.h"

struct consumer;

struct consumer_setting {
	const char *name, *value; /* librdkafka's */
};

struct consumer_options {
	const char *brokers;
	const char *topic;
	const char *group;
	const struct consumer_setting *settings; /* more of librdkafka's, copied */
	size_t settings_count;
	uint32_t partitions;	 /* that the topic must have */
	bool accept_create_time; /* take producers' time for log time (embedded broker) */
	uint64_t rewind_ns;
	void *context;
	/* For the log: one sentence. Any thread. */
	void (*trouble)(void *context, const char *sentence);
};

struct consumer_stats {
	uint64_t records, bytes;
	uint64_t undecodable;  /* record batches whose compression is broken, passed over */
	uint64_t wrong_time;   /* records with create time where log time is expected */
	uint64_t lost_offsets; /* records that retention or truncation took before they were read */
	uint64_t errors;
	bool connected; /* some broker answers */
};

/* NULL with error told when librdkafka refuses the settings. */
struct consumer *consumer_new(const struct consumer_options *options, char *error, size_t size);

/* Blocks at most timeout_ms. 0; -EAGAIN: not yet, error says why; -EINVAL: the topic is not as it
 * must be (partition count, timestamp type), error says so. */
int consumer_connect(struct consumer *consumer, int timeout_ms, char *error, size_t size);

/* Readable when the partition's queue stops being empty. */
int consumer_descriptor(const struct consumer *consumer, uint32_t partition);

/* The next record, lent until the next call for this partition; false if there is none now. A
 * record that Kafka's client could not read has value NULL. */
bool consumer_next(struct consumer *consumer, uint32_t partition, struct mirror_record *record);

/* The partition is done up to, not including, this offset. Returns at once. */
void consumer_commit(struct consumer *consumer, uint32_t partition, int64_t offset);
struct consumer_stats consumer_stats(struct consumer *consumer);

/* Bounded: leaves its threads behind after timeout_ms rather than wait for a broker. */
void consumer_close(struct consumer *consumer, int timeout_ms);
