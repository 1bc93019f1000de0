/* What a task's thread hands to the service thread: copies of the rows that people look at, alerts'
 * news excepted (these go through Kafka), and each second the task's counters and agents. Handed
 * over whole. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "aggregate/rollup.h"
#include "api/query/query.h"
#include "daemon/mailbox.h"
#include "daemon/task.h"
#include "metadata/change.h"

/* Rows a parcel: the service stores them in some milliseconds, and its other work has its turn.
 * Sketches are seldom wide; were all of them, their cells would come to 120 MB. */
enum { ROWS_A_PARCEL = 2000, CELLS_A_PARCEL = 2000000 };

enum parcel_kind { PARCEL_ROLLUPS, PARCEL_STATS };

struct parcel {
	struct letter letter; /* first: a letter is a parcel */
	enum parcel_kind kind;
	uint32_t task;
	/* ROLLUPS */
	struct rollup *rollups; /* their cells too are in this allocation */
	size_t rollups_count;
	struct name *names; /* those not sent lately */
	size_t names_count;
	/* STATS */
	struct task_stats stats;
	struct agent_view *agents;
	size_t agents_count;
	struct change_event *changes; /* that agents told of */
	size_t changes_count;
};

/* One a task: remembers which names were sent. */
struct parcels;

struct parcels *parcels_new(uint32_t task, uint32_t names_max);
void parcels_free(struct parcels *parcels);

/* How many of the first of these rows one parcel takes: one at least, if there are any. */
size_t parcels_fit(const struct rollup *rollups, size_t count);
/* Copies the rows and the names that the reader does not have. */
struct parcel *parcels_rollups(struct parcels *parcels, const struct rollup *rollups, size_t count,
			       const struct names *names, uint64_t pane);
/* For one reader: what an agent is goes along when that changed. */
struct parcel *parcels_stats(struct parcels *parcels, const struct task_stats *stats,
			     struct mirror *mirror);
void parcel_free(struct parcel *parcel);
