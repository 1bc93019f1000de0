/* Where the tasks that an instance owns begin: from the newest snapshot that fits what Kafka holds,
 * or from the one that all instances begin from, so that their outputs go on under their numbers
 * without a gap or a repeat. Without one, if the group had read before,
 * it reads what came up to warm_ns before the last output, to know what there is, and tells what
 * follows on that, under numbers of its own. A snapshot fits when this very program wrote it with
 * the same settings of size, no other pipeline has written to the outputs since, they hold all that
 * it had written, and the log of events still reaches that far. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/exit.h"
#include "daemon/image.h"
#include "daemon/lineup.h"

struct security;

struct resume_options {
	const char *folder; /* of snapshots; NULL: none are kept */
	uint64_t warm_ns;   /* how long before its first output a pipeline must have read */
	uint64_t shape;
	uint32_t tasks;	       /* of the pipeline */
	struct task_set owned; /* those that begin here */
	/* NULL: from the newest that fits. Pane 0: from none, with that epoch. Else from that
	 * pane alone. */
	const struct lineup_pane *from;
	const char *brokers;
	const char *group;
	struct security *security;     /* NULL: plain */
	int timeout_ms;		       /* of each question to Kafka */
	const _Atomic bool *cancelled; /* NULL: never. Looked at every 50 ms at least */
	void *context;
	/* A sentence for each snapshot that is passed over; on the caller's thread. */
	void (*told)(void *context, const char *sentence);
};

/* How far the outputs of tasks reach. */
struct resume_reach {
	bool read_before;	 /* by the group */
	uint64_t oldest, newest; /* of their newest panes of rollups; 0: there are none */
};

struct resume {
	bool goes_on; /* from a snapshot; else the heaps are empty */
	bool follows; /* on one whose state is gone, from what that told last */
	bool has_heaps;
	uint64_t epoch, pane;  /* if it goes on; the epoch also if it was to begin anew with it */
	uint64_t newest_epoch; /* in the outputs; if it does not go on, its own is higher */
	struct resume_reach reach;	 /* of the owned tasks, if it does not go on */
	uint64_t begin_ns;		 /* if it follows: log time from which to read */
	uint64_t known[IMAGE_TASKS_MAX]; /* and by task the newest pane of which it told anything */
	struct heap *heaps[IMAGE_TASKS_MAX]; /* of the owned tasks */
	int64_t next[IMAGE_TASKS_MAX];	     /* offsets */
	struct exit_numbers numbers[IMAGE_TASKS_MAX];
};

/* Waits for the broker: not on the loop. 0; -EAGAIN with why: Kafka does not answer, ask again;
 * -ECANCELED; -ENOENT: it cannot begin from where it must, and why is told. */
int resume_find(const struct resume_options *options, struct resume *resume, char *why,
		size_t size);
/* Of both. */
void resume_join(struct resume_reach *reach, const struct resume_reach *more);
/* It does not go on, and was to begin anew: follows on what all tasks reach together, so that all
 * instances read from the same time. Alone it does so by itself. */
void resume_follow(struct resume *resume, const struct resume_reach *reach, uint64_t warm_ns);
void resume_done(struct resume *resume, uint32_t tasks);
