/* This instance among those that share the tasks of one pipeline: what it owns (daemon/members.h),
 * what all agreed on (daemon/lineup.h), and what it hears of their tasks (daemon/exchange.h).
 *
 *	something changed ─► stop ─► (stopped) ─► CALL ──┐
 *	a call was read   ─► stop ─► (stopped) ─► ANSWER ┴─► all have answered ─► begin
 *
 * On the service loop; what waits for the broker or the disk waits on threads of libuv's pool. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "daemon/exchange.h"
#include "daemon/image.h"
#include "daemon/lineup.h"
#include "daemon/members.h"
#include "daemon/parcel.h"
#include "daemon/pipeline.h"
#include "daemon/resume.h"
#include "daemon/settings.h"

struct instances;

/* What this instance is called: the setting, else the host's name. */
void instances_name(const struct settings *settings, char name[LINEUP_NAME_BYTES]);

struct instances_options {
	uv_loop_t *loop;
	const struct settings *settings; /* lent */
	const char *brokers;
	struct security *security;
	uint32_t tasks;
	uint64_t shape;
	const char *snapshots; /* their folder; NULL: none are kept */
	void *context;
	/* End the run at hand, settled, if there is one; then instances_stopped(). */
	void (*stop)(void *context);
	/* Begin one, of these tasks, from there. Not called before the last has ended. */
	void (*begin)(void *context, const struct task_set *owned, const struct lineup_pane *from);
	/* What is owned has changed: whether it is task 0, instances_leads() says. */
	void (*owned)(void *context);
	/* Others are to have the tasks: end all that their owner does, then instances_release(). */
	void (*revoked)(void *context);
	/* A run has begun in which another process has task 0. */
	void (*yielded)(void *context);
	/* Messages for tasks of the run, a list by their letters, on another thread; taken. */
	void (*messages)(void *context, struct message *messages);
	/* What all owners said with instances_anew(). */
	void (*agreed)(void *context, const struct resume_reach *reach);
	/* From this pane a run would go on that began now; 0: from none. */
	void (*needed)(void *context, uint64_t pane);
	/* What another instance's tasks tell people; taken. */
	void (*parcel)(void *context, struct parcel *parcel);
	/* The process must end. why: a sentence. */
	void (*fatal)(void *context, const char *why);
	void (*trouble)(void *context, const char *sentence); /* for the log; any thread */
};

struct instances_stats {
	struct members_stats members;
	struct exchange_stats exchange;
	uint64_t runs, calls;
	int64_t run;	    /* the number of the one at hand; -1: none */
	uint32_t instances; /* that take part in it */
};

/* NULL when the settings are refused: the reason is logged. */
struct instances *instances_new(const struct instances_options *options);
/* Everything of the run that was begun is there but its threads: messages may come. */
void instances_running(struct instances *instances);
/* The run that was to stop has ended. */
void instances_stopped(struct instances *instances);
/* The run at hand cannot begin or go on: call again. epoch_min: 0: none; bad: not from where it was
 * to begin. */
void instances_failed(struct instances *instances, uint64_t epoch_min, bool bad);
/* How a run's tasks speak with those of other instances. */
struct pipeline_elsewhere instances_elsewhere(struct instances *instances);
/* Nothing is done any more for the tasks that were revoked. */
void instances_release(struct instances *instances);
/* The run that was begun begins anew, and so far reach the outputs of its tasks here. */
void instances_anew(struct instances *instances, const struct resume_reach *reach);
/* A snapshot counts, which was cut in this run or in one before. */
void instances_counted(struct instances *instances, const struct image_header *header);
/* For the others' people, if others listen; stays the caller's. */
void instances_tell(struct instances *instances, const struct parcel *parcel);
/* Whether task 0 is owned: who does what is to be done but once. */
bool instances_leads(const struct instances *instances);
/* Whether it is a member of the group without any task. */
bool instances_spare(const struct instances *instances);
/* What it waits for, a sentence; "" in a run. */
const char *instances_trouble(const struct instances *instances);
struct instances_stats instances_stats(struct instances *instances);
/* The process is to end: nothing is heard from now on. */
void instances_leave(struct instances *instances);
/* Stops taking part, after instances_leave. Handles are gone when the loop has run on; then free,
 * which is false when a thread of Kafka's client was left behind that still uses security. */
void instances_close(struct instances *instances);
bool instances_free(struct instances *instances);
