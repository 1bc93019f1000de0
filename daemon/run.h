/* One run of the pipeline in this process: finds where to begin, reads back what outlives
 *processes, connects, and runs until it is stopped. A process alone has one run in its life; one
 *that shares the tasks with others has one after another (daemon/lineup.h), and the rest of it
 *lives on.
 *
 *	run_new ─► RESUMING ─► READING ─► CONNECTING ─► RUNNING
 *	run_stop ─► STOPPING ─► (ended) ─► run_free
 *
 * On the service loop; what waits for the broker waits on threads of libuv's pool. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "api/notify/notify.h"
#include "daemon/culprit.h"
#include "daemon/exit.h"
#include "daemon/keyring.h"
#include "daemon/lineup.h"
#include "daemon/message.h"
#include "daemon/outputs.h"
#include "daemon/pipeline.h"
#include "daemon/resume.h"
#include "daemon/settings.h"
#include "daemon/snapshot.h"
#include "daemon/task_set.h"
#include "daemon/watchdog.h"
#include "ingest/kafka.h"

enum run_state {
	RUN_RESUMING,
	RUN_READING,
	RUN_CONNECTING,
	RUN_RUNNING,
	RUN_STOPPING,
};

struct run_options {
	uv_loop_t *loop;
	const struct settings *settings; /* all lent for the run's life */
	const char *brokers;
	struct security *security;
	struct outputs *outputs;
	struct keyring *keyring;
	struct snapshots *snapshots; /* NULL: none are kept */
	struct culprits *culprits;   /* likewise */
	struct watchdog *watchdog;
	const struct networks *networks; /* NULL: none */
	struct mailbox *service;	 /* takes parcels */
	bool accept_create_time;
	uint32_t tasks;
	uint64_t shape; /* of the settings that decide what state looks like */
	uint64_t started_ns;
	struct task_set owned;
	/* What all instances begin from; lent for the call. NULL: this one is alone, and finds it
	 * out for itself. */
	const struct lineup_pane *from;
	struct pipeline_elsewhere elsewhere; /* zeroed: alone */
	void *context;
	/* What the outbox and the record of deliveries hold, oldest first; then that this was all.
	 */
	void (*alert)(void *context, const struct alert *alert, const struct notify_place *place);
	void (*delivery)(void *context, const uint8_t *value, size_t length);
	void (*state_read)(void *context);
	/* Among others, it begins anew: from when on to read, all must agree; then run_agree(). */
	void (*anew)(void *context, const struct resume_reach *reach);
	/* All is there but the threads: from now on messages may be sent and delivered. */
	void (*starting)(void *context);
	void (*running)(void *context);
	/* It cannot go on, and why was logged. again: it could if it began elsewhere: with an epoch
	 * above epoch_min, or not from `from`. */
	void (*failed)(void *context, bool again, uint64_t epoch_min);
	/* After run_stop: nothing of it is under way any more. It may be freed. */
	void (*ended)(void *context);
	void (*kafka_trouble)(void *context, const char *sentence); /* any thread */
};

struct run;

/* What tasks are like by the settings, for whoever runs some; without sinks. All lent while they
 * are made. */
struct task_options run_task_options(const struct settings *settings, const struct keyring *keyring,
				     const struct networks *networks,
				     const struct monitor *monitors, size_t count);

/* NULL when Kafka's client refuses the settings: the reason is logged. */
struct run *run_new(const struct run_options *options);
/* How far all instances' tasks reach together. */
void run_agree(struct run *run, const struct resume_reach *reach);
/* settled: what it wrote stands in Kafka before it has ended. */
void run_stop(struct run *run, bool settled);
/* False when a thread of Kafka's client was left behind, which still uses what was lent. After
 * outputs_close, unless it ended settled. */
bool run_free(struct run *run);

/* Once a second. */
void run_turn(struct run *run);
/* As pipeline_deliver. Any thread, from `starting` on and before run_stop. */
void run_deliver(struct run *run, struct message *messages);
/* So many rows of the run's parcels have been taken. */
void run_taken(struct run *run, size_t rows);

enum run_state run_state(const struct run *run);
/* Why it does not read: "" when nothing is known against it. */
const char *run_trouble(const struct run *run);
struct consumer_stats run_consumer_stats(const struct run *run);
uint64_t run_differing(const struct run *run); /* see exits_differing */
uint64_t run_left_out(const struct run *run);  /* rows that the history was not handed */
uint32_t run_workers(const struct settings *settings, uint32_t tasks);
