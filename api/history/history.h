/* The history: time series of rollups in SQLite, 1 s windows for minutes, 10 s windows for hours, 1
 * min windows for days and 1 h windows for months, one table a window length, old rows deleted in
 * slices. The map and the series are read from here, so what people see is what is stored. Names
 * come with the rows and are stored once.
 *
 * Several tasks may tell parts of one row (`_other`): rows of the same key add up. Only of a window
 * that the file had when it was opened, a row that is told again is passed over: the log is read
 * again after a restart.
 *
 * Rows of one append become visible together. Amendments (signed rows) are added to the windows
 * they name. Writes are one transaction an append. A full or broken disk is counted and told once;
 * reading goes on. Bounded by retention and by rows_max rows a window length (past it the oldest
 * windows leave early, counted). A row costs about 2.7 us to store and delete again and 60 to 110
 * bytes. One thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "aggregate/rollup.h"
#include "base/name.h"

struct history;

struct history_options {
	const char *path;					   /* NULL or "": in memory */
	uint64_t keep_1s_ns, keep_10s_ns, keep_60s_ns, keep_1h_ns; /* 0: not kept */
	uint64_t rows_max;
	void *context;
	void (*trouble)(void *context, const char *sentence);
};

struct history_stats {
	uint64_t rows_1s, rows_10s, rows_60s, rows_1h, appended, amended, deleted, failed, bytes;
	uint64_t repeated;   /* told again after a restart, and passed over */
	uint64_t left_early; /* of deleted: for rows_max, before their time */
	uint64_t refused;    /* of failed: about an edge or instance more than can be known */
	uint64_t newest_ns;  /* end of the newest window */
};

/* NULL with *error set to a sentence when the file cannot be used. */
struct history *history_new(const struct history_options *options, const char **error);
void history_free(struct history *history);

/* Rows of the windows that are kept: of scope EDGE, and to 10 s also LANE, CLIENT and SERVER;
 * others are passed over. */
void history_append(struct history *history, const struct rollup *rollups, size_t count,
		    const struct names *names);

/* What was stored before now_ns less the retention goes, a slice a call: once a second. */
void history_advance(struct history *history, uint64_t now_ns);
struct history_stats history_stats(const struct history *history);
