/* Puts metadata and rules into the log of events: reads millrace.metadata and millrace.rules whole
 * and hands each of their records to one partition of millrace.events (by the record's id), as soon
 * as it comes and again each RELAY_PERIOD_S as long as it holds or ended lately; of changes (what
 * happened to a workload or node) as long as an incident may come of them. So tasks read it as all
 * else that they read: in one order, with a log time, again after a restart, and as it was when a
 * log is read a week later. One instance does it, the one that owns task 0; what two tell in a
 * change of hands is told twice, which changes nothing. The others read along, so that each can
 * show what changed. A withdrawn rule is told for as long as one that is told late could bring it
 * back, and by whoever begins to tell at least once. So are the configured ranges told: a log that
 * is read later says what they were, whatever the configuration says by then.
 *
 * What holds in a cluster that nobody watched for keep_ns is not told any more: nobody knows
 * whether it does. Changes are taken back out of the topic when they are keep_ns old, whoever wrote
 * them.
 *
 * Bounds: records_max records of metadata and RELAY_WATCHES_MAX of watches: a newcomer above is
 * refused; changes_max changes, and twice rules_max rules: the oldest sixteenth of the changes, or
 * of the withdrawn rules, gives its place. Each is counted. RELAY_TURN_BYTES a turn and one batch
 * under way a partition, so that a whole cluster's records leave room for events. What is no good
 * record is counted and goes no further; so is a rule that none of the keyring's keys signed. One
 * that a former key signed is written to its topic again, signed by the first. The service loop's
 * thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "metadata/record.h"

struct keyring;
struct outputs;
struct range;
struct relay;
struct rule;
struct security;

enum {
	RELAY_PERIOD_S = 45, /* as agents tell what lives */
	RELAY_TURN_MS = 250,
	RELAY_TURN_BYTES = 1 << 20,
	RELAY_BATCH_BYTES = 256 * 1024,
	RELAY_WATCHES_MAX = 1024, /* clusters that are known to be watched */
};

/* All lent for its life. */
struct relay_options {
	uv_loop_t *loop;
	const char *brokers;
	struct security *security;
	struct outputs *outputs;
	const struct keyring *keyring; /* the first of its keys signs; none: not signed */
	uint32_t tasks;
	uint32_t records_max, changes_max, rules_max;
	uint64_t keep_ns;
	const struct range *ranges; /* as configured; they count as records */
	size_t ranges_count;
	/* A change that came or was told anew, lent; without bytes: it was taken back. */
	void (*changed)(void *context, uint64_t key, const uint8_t *bytes, size_t length);
	/* A rule of the topic that may be believed, lent, also one that was issued before another
	 * of its id; and that the topic was read to the end that it had. */
	void (*ruled)(void *context, const struct rule *rule);
	void (*rules_read)(void *context);
	void (*trouble)(void *context, const char *sentence);
	void *context;
};

struct relay_stats {
	uint64_t records, changes, rules; /* known now */
	uint64_t unwatched;		  /* of records, of clusters that nobody watches */
	uint64_t read[RECORD_REASONS];	  /* of the topic, good and refused */
	uint64_t rules_refused;		  /* no good, or not signed */
	uint64_t refused;		  /* without room */
	uint64_t told, failed;		  /* to the log; batches that Kafka did not take */
};

struct relay *relay_new(const struct relay_options *options);
/* Begins to read the topic, which need not be there yet. */
void relay_start(struct relay *relay);
/* Begins to tell, or stops. */
void relay_lead(struct relay *relay, bool leads);
struct relay_stats relay_stats(const struct relay *relay);
/* The loop must run until its handles are gone; free it when the outputs are closed. */
void relay_close(struct relay *relay);
void relay_free(struct relay *relay);
