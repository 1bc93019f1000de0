/* What Kafka holds when a snapshot is to go on: how far the log of events is there, and the
 * highest number of each task in the topics that are numbered. One look, on any thread but the
 * loop's: it waits for the broker.
 *
 * The last record has the highest number unless a repeat came behind it: a killed millraced's
 * request that was long under way. So who misses numbers looks further back. Ends may have no
 * record (transactions' marks, compaction): then the last that there is is looked for. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/image.h"
#include "daemon/task_set.h"

struct security;

/* Topics in which a task's outputs stand in its own partition, in the order of their numbers. */
enum { SURVEY_OUTPUTS = IMAGE_ALERTS + 1 };

struct survey_last {
	uint64_t epoch; /* 0: the partition is empty */
	uint64_t sequence;
	uint64_t pane; /* 0: it does not say */
	uint32_t place;
	int64_t digest; /* negative: it does not say */
};

struct survey_task {
	int64_t high;	   /* of its partition of events: the next offset */
	int64_t committed; /* by the group; negative: nothing was, or nobody asked */
	struct survey_last last[SURVEY_OUTPUTS];
};

struct survey_options {
	const char *brokers;
	struct security *security; /* NULL: plain */
	const char *group;
	uint32_t tasks;		       /* of the pipeline */
	struct task_set owned;	       /* those that are looked at */
	int timeout_ms;		       /* without any answer */
	const _Atomic bool *cancelled; /* NULL: never. Looked at every 50 ms at least */
	/* Not only the last record of each partition: also what the group has committed, and if
	 * it has, as many records as late requests may have brought back. */
	bool far;
};

/* tasks: survey_options.tasks of them; those that are not looked at stay empty. 0; -EAGAIN: Kafka
 * does not answer or lacks a topic, why says it; -ECANCELED; -EACCES: it lets nobody look;
 * -EBADMSG: the last record of an output has no number. */
int survey(const struct survey_options *options, struct survey_task *tasks, char *why, size_t size);
