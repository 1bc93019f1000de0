/* The pipeline: the tasks that this instance owns, spread over worker threads, each a libuv loop
 * that owns its tasks whole. The thread of a task never changes; tasks speak through mailboxes, and
 * with those of other instances through `elsewhere` and pipeline_deliver(). What comes out does not
 * depend on the number of workers, nor on which tasks run here.
 *
 * Records come from a source per partition. pipeline_start() starts the threads; pipeline_stop()
 * stops reading, lets the loops end and joins the threads. Sinks are called on the task's worker
 * thread. */
#pragma once

#include <stdint.h>

#include "daemon/task.h"
#include "daemon/task_set.h"

struct culprits;
struct pipeline;
struct watchdog;

/* Where a partition's records come from. Called on the worker thread that owns the partition. */
struct pipeline_source {
	void *context;
	/* The next record if there is one now; lent until the next call for this partition. */
	bool (*next)(void *context, uint32_t partition, struct mirror_record *record);
	/* A descriptor that becomes readable when records have come, -1 if there is none. Reading
	 * it empty is the pipeline's work. */
	int (*descriptor)(void *context, uint32_t partition);
	/* Every PIPELINE_TURN_MS: ticks, commits. NULL if there is nothing to do. pane: the last
	 * that the task has closed. */
	void (*turn)(void *context, uint32_t partition, uint64_t pane);
};

/* How tasks speak with those that do not run here. Called on the workers' threads. */
struct pipeline_elsewhere {
	void *context;
	/* Takes a message. All of one source come by one worker. NULL: all tasks run here. */
	void (*send)(void *context, uint32_t worker, struct message *message);
	/* The worker's tasks can do no more for now, so what it sent is to go. */
	void (*flush)(void *context, uint32_t worker);
};

enum {
	PIPELINE_TURN_MS = 25, /* a fifth of the tick's period */
	PIPELINE_STATS_MS = 1000,
};

struct pipeline_options {
	uint32_t workers;	  /* 1..owned tasks */
	struct task_options task; /* template: task.tasks is the number of partitions */
	struct task_set owned;	  /* the tasks that run here, at least one */
	struct pipeline_elsewhere elsewhere;
	struct pipeline_source source;
	/* One a task, for their states; lent, NULL: none. resume: they hold states that stood, and
	 * by task the offset of the next record, before which nothing may be given; else NULL. */
	struct heap **heaps;
	const int64_t *resume;
	const uint64_t *known; /* by task: task.known_pane; lent for the call, NULL: none */
	/* While all owned tasks stand before this pane (every task.hold_panes): on one worker's
	 * thread, when no other touches a task. next: by task the offset of the record that it
	 * reads next, -1 before its first. NULL: never. */
	void (*cut)(void *context, uint64_t pane, const int64_t *next);
	void *cut_context;
	struct culprits *culprits; /* records that are not read; lent, NULL: none is kept */
	struct watchdog *watchdog; /* one place a worker; lent, NULL: none watches */
	/* Each second and task, on its thread, with the nodes of its partition. NULL: none. */
	void (*stats)(void *context, uint32_t task, const struct task_stats *stats,
		      struct mirror *mirror);
	void *stats_context;
};

struct pipeline *pipeline_new(const struct pipeline_options *options);
/* An owned one; before pipeline_start, in a cut, or after pipeline_stop. */
struct task *pipeline_task(struct pipeline *pipeline, uint32_t task);
int pipeline_start(struct pipeline *pipeline);
/* From tasks that run elsewhere to some that run here; takes the messages, a list by their letters,
 * oldest first. Any thread, between pipeline_new and pipeline_stop. */
void pipeline_deliver(struct pipeline *pipeline, struct message *messages);
void pipeline_stop(struct pipeline *pipeline);
void pipeline_free(struct pipeline *pipeline);
