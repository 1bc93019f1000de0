/* The pipeline: tasks spread over worker threads, each a libuv loop that owns its tasks whole. The
 * thread of a task never changes; tasks speak through mailboxes only. What comes out does not
 * depend on the number of workers.
 *
 * Records come from a source per partition. pipeline_start() starts the threads; pipeline_stop()
 * stops reading, lets the loops end and joins the threads. Sinks are called on the task's worker
 * thread. */
#pragma once

#include <stdint.h>

#include "daemon/task.h"

struct pipeline;

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

enum {
	PIPELINE_TURN_MS = 25, /* a fifth of the tick's period */
	PIPELINE_STATS_MS = 1000,
};

struct pipeline_options {
	uint32_t workers;	  /* 1..tasks */
	struct task_options task; /* template: task.tasks is the number of partitions */
	struct pipeline_source source;
	/* Each second and task, on its thread, with the nodes of its partition. NULL: none. */
	void (*stats)(void *context, uint32_t task, const struct task_stats *stats,
		      struct mirror *mirror);
	void *stats_context;
};

struct pipeline *pipeline_new(const struct pipeline_options *options);
/* Before pipeline_start: for loading baselines. */
struct task *pipeline_task(struct pipeline *pipeline, uint32_t task);
int pipeline_start(struct pipeline *pipeline);
void pipeline_stop(struct pipeline *pipeline);
void pipeline_free(struct pipeline *pipeline);
