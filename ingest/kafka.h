/* The rim of ingest: reads partitions of one topic, each through a queue of its own, so that a
 * partition's records are taken by the thread that owns it. Others, which belong to other
 * instances, are not touched. Positions are explicit: those given, else where the group left off,
 * else where the log was `rewind_ns` ago (agents announce all live objects again within that time),
 * else the beginning.
 *
 * Records that the log lost before they were read (retention overtook the reader, the log was cut,
 * the topic was made anew) are counted and told with the offsets from and to; then reading goes on
 * at the next record that there is, or, as configured, ends. An offset is never applied to a topic
 * other than the one it is of: consumer_watch knows a log by the offsets that times had in it.
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
struct security;

/* By what a partition's log is known: its first record at or after a time has this offset. The same
 * log answers so for ever, until retention takes it; one made later answers with its beginning, and
 * one that was cut before it with where it was cut. -1: not known. */
struct consumer_anchor {
	int64_t time_ms, offset;
	/* Of a log that took another's place: the append time of the first record that was read of
	 * it; INT64_MAX: none was yet. -1: it is the first that is known. */
	int64_t since_ms;
};

#define CONSUMER_NO_ANCHOR ((struct consumer_anchor){-1, -1, -1})

struct consumer_options {
	const char *brokers;
	const char *topic;
	const char *group;
	struct security *security; /* NULL: plain. Lent for the consumer's life. */
	uint32_t partitions;	   /* that the topic must have */
	/* By partition: those that are read, as it says when it is connected. Lent; NULL: all. */
	const bool *owned;
	bool accept_create_time; /* take producers' time for log time (embedded broker) */
	uint64_t rewind_ns;
	/* By partition, kept over lives if the memory is; lent, NULL: they begin anew. */
	struct consumer_anchor *anchors;
	uint32_t fetched_mib; /* waiting to be read, each partition; 0: 32 */
	bool stop_on_loss;    /* no record is given once some were lost */
	void *context;
	/* For the log: one sentence. Any thread. */
	void (*trouble)(void *context, const char *sentence);
	/* Of records that are lost, likewise: at most one a partition each consumer_watch. */
	void (*loss)(void *context, const char *sentence);
};

struct consumer_stats {
	uint64_t records, bytes;
	uint64_t undecodable;  /* record batches whose compression is broken, passed over */
	uint64_t wrong_time;   /* records with create time where log time is expected */
	uint64_t losses;       /* times that records were lost before they were read */
	uint64_t lost_offsets; /* how many these were, as far as offsets tell */
	uint64_t errors;
	uint64_t retention_ns; /* of the topic; 0: not known, or without end */
	bool connected;	       /* some broker answers */
	bool stopped;	       /* by a loss */
	bool astray;	       /* some partition waits for consumer_watch */
};

/* What became of the topic. */
enum consumer_topic {
	CONSUMER_TOPIC_WELL,
	CONSUMER_TOPIC_UNKNOWN, /* no broker answers */
	CONSUMER_TOPIC_GONE,	/* deleted */
	CONSUMER_TOPIC_GROWN,	/* more partitions than are read */
};

/* NULL with error told when librdkafka refuses the settings. */
struct consumer *consumer_new(const struct consumer_options *options, char *error, size_t size);

/* Before it is connected: where to begin, whatever the group left. By partition; -1: as without.
 * Lent until consumer_connect has succeeded. They were read up to when the log's clock was at
 * time_ms: a log of which something was first read later is not theirs. Or where the log was at
 * that time. */
void consumer_begin_at(struct consumer *consumer, const int64_t *positions, int64_t time_ms);
void consumer_begin_when(struct consumer *consumer, uint64_t time_ns);

/* Blocks at most timeout_ms. 0; -EAGAIN: not yet, error says why; -EINVAL: the topic is not as it
 * must be (partition count, timestamp type), error says so. */
int consumer_connect(struct consumer *consumer, int timeout_ms, char *error, size_t size);

/* Looks whether the topic is still the one that is read, and puts partitions whose position the log
 * does not have where they can go on. Blocks for a few times timeout_ms; on any one thread, once
 * connected, every few seconds, at once when some partition is astray. what: a sentence unless it
 * is well. */
enum consumer_topic consumer_watch(struct consumer *consumer, int timeout_ms, char *what,
				   size_t size);

/* Readable when the partition's queue stops being empty; the partition is owned, here and below. */
int consumer_descriptor(const struct consumer *consumer, uint32_t partition);

/* The next record, lent until the next call for this partition; false if there is none now. A
 * record that Kafka's client could not read has value NULL. */
bool consumer_next(struct consumer *consumer, uint32_t partition, struct mirror_record *record);

/* The partition is done up to, not including, this offset. Returns at once. */
void consumer_commit(struct consumer *consumer, uint32_t partition, int64_t offset);
struct consumer_stats consumer_stats(struct consumer *consumer);

/* Bounded: leaves its threads behind after timeout_ms rather than wait for a broker, and is false
 * then: they still use what was lent. */
bool consumer_close(struct consumer *consumer, int timeout_ms);
