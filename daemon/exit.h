/* The way out of one task: its flows, rollups, alerts, baselines and dead letters are encoded,
 * numbered and handed to Kafka's producer, and what people look at is handed to the service. Used
 * on the task's thread, but for exits_taken. Bounded: while the service is too far behind, exits
 * are full and the source gives no more records. */
#pragma once

#include <stdbool.h>

#include "daemon/image.h"
#include "daemon/mailbox.h"
#include "daemon/outputs.h"
#include "daemon/task.h"

struct exits;

struct exit_place {
	uint64_t pane;	/* 0: none */
	uint32_t count; /* outputs of it */
};

struct exit_numbers {
	uint64_t next[IMAGE_OUTPUTS], written[IMAGE_OUTPUTS];
	uint32_t digests[IMAGE_OUTPUTS];       /* of all before next */
	int64_t written_digest[IMAGE_OUTPUTS]; /* of all that is written; negative: not known */
	struct exit_place last[IMAGE_OUTPUTS]; /* that is written; of pane 0: not known */
	/* What an earlier pipeline, whose numbers do not go on, has told last: all up to here is
	 * made to know what there is, and neither numbered nor written. */
	struct exit_place told[IMAGE_OUTPUTS];
};

struct exits_options {
	/* What an earlier life told is not what is computed now: once a task and kind. What it
	 * told stands then, and what comes out of later panes is told behind it. Any thread. */
	void (*differs)(const char *sentence);
	struct outputs *outputs;
	struct mailbox *service; /* takes parcels */
	uint32_t tasks;
	uint32_t names_max;
	uint64_t epoch; /* of the pipeline: outputs are numbered from 0 in it */
	/* By task, of a pipeline that goes on: the next numbers, and up to which Kafka has them:
	 * those are made anew and not written. NULL: nothing is before it. Lent for the call. */
	const struct exit_numbers *numbers;
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
/* Tasks and kinds whose earlier lives told something else. Any thread. */
uint64_t exits_differing(const struct exits *exits);
/* Whether the service must catch up first. Any thread. */
bool exits_full(const struct exits *exits);

/* In a cut: the numbers that the task's next outputs get, and the digests of those before. */
void exits_numbers(const struct exits *exits, uint32_t task, struct image_task *image);

/* For pipeline_options.stats, with exits as context. */
void exits_stats(void *exits, uint32_t task, const struct task_stats *stats, struct mirror *mirror);
