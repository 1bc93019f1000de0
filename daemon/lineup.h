/* Who runs which tasks, and from where: what instances that share the tasks of one pipeline agree
 * on, decided by each for itself from the same records in the same order (the common partition of
 * millrace.exchange). Pure.
 *
 *	CALL      "something changed": whoever reads it stops, and answers
 *	ANSWER    to a call, by its offset: my tasks, and the panes before which I could begin
 *
 * A call is an answer to itself. A newer call takes the place of an older one, whose answers are
 * void. Of one process the last answer counts. The answer with which the highest group generation
 * among the answers to the call at hand covers all tasks, each once, begins a run; its offset is
 * the run's number. A call has one run at most: answers that come after it are void, too. The run
 * goes on from the newest pane that all of these answers have, else it begins anew, with an epoch
 * that is higher than all before.
 *
 * Nothing from before a call counts, so who begins to read at one agrees with who has read all. It
 * is also why an instance that is no member of its group any more can call and begin a run: who
 * owns tasks by a higher generation than the run's calls again. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/image.h"
#include "daemon/task_set.h"

enum {
	LINEUP_PANES = 8,
	LINEUP_NAME_BYTES = 64,
	LINEUP_MEMBERS_MAX =
		IMAGE_TASKS_MAX, /* processes that answer one call; more are left out */
	LINEUP_RECORD_MAX = 1024 /* bytes */
};

struct lineup_pane {
	uint64_t epoch, pane;
};

struct lineup_record {
	uint8_t build[IMAGE_BUILD_BYTES]; /* of the program, as snapshots' */
	uint32_t tasks_count;		  /* of the pipeline */
	uint64_t shape;			  /* of the settings that all must share */
	uint64_t life;			  /* of the process, by chance */
	int64_t call;			  /* that it answers: an offset; -1: it is a call */
	int32_t generation;		  /* of the group; -1: no member of it, then no tasks */
	uint32_t panes_count;
	struct task_set tasks;			/* that it owns; none: it only looks on */
	uint64_t epoch_min;			/* a run that begins anew has at least this epoch */
	struct lineup_pane panes[LINEUP_PANES]; /* it has snapshots of all its tasks */
	char name[LINEUP_NAME_BYTES];		/* of the instance, for people */
};

struct lineup_member {
	char name[LINEUP_NAME_BYTES];
	uint64_t life;
	struct task_set tasks; /* none: there was none for it, and it answered in time */
};

struct lineup_run {
	int64_t number; /* -1: none yet */
	int32_t generation;
	struct lineup_pane from; /* pane 0: anew, with that epoch */
	size_t members_count;
	struct lineup_member members[LINEUP_MEMBERS_MAX]; /* by first task, then by name */
};

/* What a record is for this process. */
enum lineup_news {
	LINEUP_NOTHING,
	LINEUP_CALLED, /* stop, and answer lineup_call(); an own call is no news */
	LINEUP_RUN,    /* lineup_run() has begun, with this process or without it. A call that
			  covers all tasks begins one at once, without LINEUP_CALLED before */
};

struct lineup;

/* self: build, tasks_count, shape and life count; the last is told from others' by it. */
struct lineup *lineup_new(const struct lineup_record *self);
void lineup_free(struct lineup *lineup);

/* The bytes of a record; at most LINEUP_RECORD_MAX. */
size_t lineup_encode(const struct lineup_record *record, uint8_t bytes[LINEUP_RECORD_MAX]);
/* 0; -EBADMSG: it is none. What it is of is in itself right: counts within bounds, tasks within
 * tasks_count, the name UTF-8 that can be printed. */
int lineup_decode(const uint8_t *bytes, size_t length, struct lineup_record *record);

/* The next record of the log, as lineup_decode made it. Records of another build or with other
 * settings never take part; why (static text, else NULL) says so then, and record->name whose. */
enum lineup_news lineup_take(struct lineup *lineup, int64_t offset, uint64_t append_ms,
			     const struct lineup_record *record, const char **why);

/* The call at hand; -1: none was read. */
int64_t lineup_call(const struct lineup *lineup);
/* The newest; number -1: none yet. */
const struct lineup_run *lineup_run(const struct lineup *lineup);
/* For people: what the call at hand waits for: tasks that no answer covers, or several do. None
 * when its run has begun. */
struct task_set lineup_missing(const struct lineup *lineup);
