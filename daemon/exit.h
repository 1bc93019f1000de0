/* The way out of one task: its flows, rollups, alerts, baselines and dead letters are encoded,
 * numbered and handed to Kafka's producer, and what people look at is handed to the service. Used
 * on the task's thread, but for exits_taken. Bounded: while the service is too far behind, exits
 * are full and the source gives no more records. */
#pragma once

#include <stdbool.h>

#include "daemon/mailbox.h"
#include "daemon/outputs.h"
#include "daemon/task.h"

struct exits;

struct exits_options {
	struct outputs *outputs;
	struct mailbox *service; /* takes parcels */
	uint32_t tasks;
	uint32_t names_max;
	uint64_t epoch;	       /* of this life of the pipeline: outputs are numbered from 0 in it */
	uint64_t finest_ns;    /* the shortest windows that go to millrace.rollups */
	uint64_t history_rows; /* for the history, a second: see daemon/sieve.h */
};

struct exits *exits_new(const struct exits_options *options);
void exits_free(struct exits *exits);
struct task_sinks exits_sinks(struct exits *exits);

/* The service has done with so many rows of parcels; on its thread. */
void exits_taken(struct exits *exits, size_t rows);
/* Rows that the history was not handed. Any thread. */
uint64_t exits_left_out(const struct exits *exits);
/* Whether the service must catch up first. Any thread. */
bool exits_full(const struct exits *exits);

/* For pipeline_options.stats, with exits as context. */
void exits_stats(void *exits, uint32_t task, const struct task_stats *stats, struct mirror *mirror);
