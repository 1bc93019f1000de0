/* A stretch of the log of events, from one time to another, as a pipeline's source. It only reads:
 * nothing is committed, written or joined, so whoever may read the topic may read a stretch of it,
 * beside a pipeline that runs and as often as one likes, and the same stretch gives the same
 * records.
 *
 * Each partition is given from begin_ns on, and is done with the first record at or behind stop_ns,
 * or with the last one that it had when the stretch was opened. No tick is made up to move a
 * partition's clock beyond what stands in its log: what the log has not closed a pipeline would not
 * have told of either, so the stretch ends where the first partition does (stretch_end_ns). Only
 * where a partition's last record is far behind the one before it, the same time is given again
 * until the log clock, which goes 10 s a record at most, has come there.
 *
 *	stretch_open ─► stretch_found ─► pipeline with stretch_source() ─► stretch_over ─► ...
 *_close
 *
 * Made, looked at and closed on one thread; the source is its workers'. Bounded: what is fetched
 * ahead, by fetched_mib a partition. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/pipeline.h"
#include "ingest/kafka.h"

struct keys;
struct security;
struct stretch;

struct stretch_options {
	const char *brokers; /* all lent for the stretch's life */
	struct security *security;
	const char *group;	 /* which a client of Kafka must name; nothing of it is used */
	const struct keys *keys; /* the first signs what is given again; NULL: none */
	uint32_t partitions;
	uint64_t lateness_ns;	 /* of the pipeline */
	bool accept_create_time; /* then times are not looked up: all that there is is given */
	uint32_t fetched_mib;
	uint64_t begin_ns, stop_ns;
	uint64_t timeout_ms; /* without any answer */
	void *context;
	void (*trouble)(void *context, const char *sentence); /* of Kafka's client; any thread */
};

/* What there is of it. */
struct stretch_found {
	/* The log begins behind begin_ns, and all partitions are there from here on; 0: it does
	 * not. */
	uint64_t first_ns;
	bool cut; /* there was more before, which retention took */
};

/* NULL with error and the reason: -EAGAIN, Kafka does not answer; -EINVAL, the topic is not as it
 * must be; -ENODATA, some partition has nothing from begin_ns on. */
struct stretch *stretch_open(const struct stretch_options *options, int *reason, char *error,
			     size_t size);
/* After the pipeline's stop. False: a thread of Kafka's client was left behind, which still uses
 * what was lent. */
bool stretch_close(struct stretch *stretch);

struct stretch_found stretch_found(const struct stretch *stretch);
struct pipeline_source stretch_source(struct stretch *stretch);

/* Whether the pipeline has told of all panes of it. */
bool stretch_over(const struct stretch *stretch);
/* Once it is over: the end of the last pane of which all was told. */
uint64_t stretch_end_ns(const struct stretch *stretch);
uint64_t stretch_read_ns(const struct stretch *stretch); /* to where panes are closed; 0: nowhere */
uint64_t stretch_records(const struct stretch *stretch); /* given so far, each once */
uint64_t stretch_steps(const struct stretch *stretch);	 /* grows while anything gets on */
struct consumer_stats stretch_stats(const struct stretch *stretch);
