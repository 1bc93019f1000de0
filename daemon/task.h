/* A task: one partition of millrace.events with its ingest, and the join, aggregate and anomaly
 * stages of the keys that this task owns. Tasks meet only through messages, pane by pane, so that
 * what they compute does not depend on threads or on the order of arrival:
 *
 *   records -> mirror --HALVES--> join --LABELS--> mirror --ROWS--> aggregate -> anomaly
 *                                  join --HOPS--> join, next round      incidents <--EPISODES--'
 *
 * Pane k of the mirror is closed when the log clock has passed it; the join runs it when it has the
 * HALVES of every task (and the HOPS that pane k - 1 left), and again in rounds while anybody's
 * halves hop, the mirror makes its rows when it has the LABELS of every task, the aggregate runs it
 * when it has the ROWS of every task. The EPISODES of all go to task 0, which makes incidents of
 * them. Each reads its messages in the order of their sources. A
 * mirror closes pane k + 1 only after it has made the rows of pane k, so at most two panes of
 * messages are under way between any two tasks, and a task whose log is ahead stops reading
 * (task_hungry).
 *
 * The first pane of all is the smallest that any partition can hold an event of; every task learns
 * it from START. One thread at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aggregate/aggregate.h"
#include "anomaly/anomaly.h"
#include "anomaly/incident.h"
#include "daemon/histogram.h"
#include "daemon/message.h"
#include "ingest/mirror.h"
#include "join/join.h"
#include "metadata/census.h"

struct networks;
struct task;

/* Where the episodes of all owners meet. */
enum { INCIDENTS_TASK = 0 };

/* What leaves the pipeline, on the task's thread; all lent for the call. */
struct task_sinks {
	void *context;
	void (*flows)(void *context, uint32_t task, const struct flow *flows, size_t count,
		      const struct names *names);
	void (*rollups)(void *context, uint32_t task, const struct rollup *rollups, size_t count,
			const struct names *names);
	void (*alerts)(void *context, uint32_t task, const struct alert *alerts, size_t count);
	void (*baselines)(void *context, uint32_t task, const struct baseline_record *records,
			  size_t count, const struct names *names);
	void (*deadletter)(void *context, uint32_t task, const struct mirror_record *record,
			   enum mirror_reason reason, const char *detail, const char *node);
	/* Before flows, rollups and alerts: the pane that they come from. May be NULL. */
	void (*pane)(void *context, uint32_t task, uint64_t pane);
};

struct task_options {
	uint32_t task, tasks;
	uint64_t seed; /* of tables, secret; those of a task that is restored keep theirs */
	/* Templates: sinks and task numbers in them are set here. */
	struct mirror_options mirror;
	struct join_options join;
	uint32_t lanes_max;		 /* of live halves */
	uint32_t facts_max;		 /* of metadata */
	uint32_t rules_max;		 /* that stand beside the monitors of the options */
	uint64_t reopen_ns;		 /* of incidents */
	const struct networks *networks; /* lent; NULL: nothing is known of others' networks */
	struct aggregate_options aggregate;
	struct anomaly_options anomaly;
	struct task_sinks sinks;
	/* Hands a message to the task that it names. */
	void (*send)(void *context, struct message *message);
	void *send_context;
	struct heap *heap; /* where the task's state is, all of it; NULL: the C library's */
	/* Up to this pane the task only finds out what there is: an earlier pipeline has told of
	 * it, and watched it. The anomaly stage sees nothing of it. */
	uint64_t known_pane;
	/* Before each pane that is divisible by it the task stands until it is released; 0: never.
	 * When all tasks stand nothing is under way between them. */
	uint32_t hold_panes;
};

struct task_stats {
	uint64_t pane;	   /* the last that left the aggregate */
	uint64_t clock_ns; /* log clock */
	struct mirror_stats mirror;
	struct census_stats census;
	struct join_stats join;
	struct partial_stats partial;
	struct aggregate_stats aggregate;
	struct anomaly_stats anomaly;
	struct incident_stats incidents; /* of INCIDENTS_TASK */
	struct histogram event_to_pane;	 /* the worker's: tasks know no clock */
};

struct task *task_new(const struct task_options *options);
/* The task that another process left in options->heap when it stood; options as its were, but for
 * what is of the process. */
struct task *task_restore(const struct task_options *options);
void task_free(struct task *task);

/* Takes the message. */
void task_receive(struct task *task, struct message *message);

/* Whether the task may be given more records: false while its log is further ahead than it could
 * close. */
bool task_hungry(const struct task *task);
void task_records(struct task *task, const struct mirror_record *records, size_t count);
/* In its place for a record that must not be read. */
void task_pass_over(struct task *task, const struct mirror_record *record);

/* Does what can be done now. Returns whether anything was. */
bool task_run(struct task *task);

/* Whether it stands: all of the panes before are done, here. Tasks of other instances may have gone
 * on, and have sent of the next pane. Then task_settle makes its heap whole (no
 * address of anything else is needed any more), and task_release lets it go on. */
bool task_held(const struct task *task);
void task_settle(struct task *task);
void task_release(struct task *task);

/* Before the first record, as anomaly_load and anomaly_resume. */
void task_load(struct task *task, const struct baseline_record *records, size_t count);
size_t task_resume(struct task *task, const struct alert *alerts, size_t count);
/* Of INCIDENTS_TASK, as incidents_resume. */
bool task_resume_incident(struct task *task, const struct alert *alert);
struct mirror *task_mirror(struct task *task); /* to list nodes */
/* The pane that leaves the aggregate next; 0 before the first. */
uint64_t task_pane(const struct task *task);
struct task_stats task_stats(const struct task *task);
