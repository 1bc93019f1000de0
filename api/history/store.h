/* The inside of the history: the database and what is known of it, shared by history.c, which
 * writes, and read.c, which reads. Time in the database is whole seconds. One thread.
 *
 *     window(length, start, rows)             how many rows each window has: sizes without counting
 *     rows_1s, rows_10s, rows_60s, rows_1h(start, scope, edge, part, row)
 *                                             by time first: appended at the end, pruned at the
 *                                             front
 *     edge, part, name                        the dictionary's copy */
#pragma once

#include <sqlite3.h>

#include "api/history/dictionary.h"
#include "api/history/history.h"
#include "api/history/row.h"

enum length { LENGTH_1S, LENGTH_10S, LENGTH_60S, LENGTH_1H, LENGTHS };

struct table {
	uint32_t seconds; /* of a window */
	uint64_t keep_s;  /* 0: such windows are not kept */
	uint64_t rows;
	uint64_t newest_s; /* end of the newest window, amendments apart */
	uint64_t opened_s; /* newest_s when the file was opened */
	uint64_t told;	   /* rows since the last advance: pruning keeps pace */
	sqlite3_stmt *insert, *select, *update, *scan, *seek, *boundary, *delete_some, *delete_all;
};

struct history {
	struct history_options options;
	sqlite3 *db;
	struct table tables[LENGTHS];
	struct dictionary dictionary;
	sqlite3_stmt *begin, *commit, *rollback, *window_add, *window_remove, *window_oldest,
		*window_list, *oldest, *oldest_part, *save_name, *save_edge, *save_part,
		*remove_edge, *remove_part, *remove_name, *page_count;
	uint64_t page_bytes;
	struct row row;
	struct row_bytes bytes;
	uint32_t sweep_edge, sweep_part; /* where the dictionary's sweep goes on */
	bool troubled;			 /* told, and not well since */
	struct history_stats stats;
};

/* NULL if no such window length is kept. */
static inline struct table *history_table(struct history *history, uint32_t window_ms)
{
	for (int i = 0; i < LENGTHS; i++) {
		if (history->tables[i].seconds * 1000 == window_ms && history->tables[i].keep_s)
			return &history->tables[i];
	}
	return NULL;
}

/* Counts rows that could not be stored and tells the trouble, once until all is well again. */
void history_trouble(struct history *history, uint64_t rows);
/* False, with *error a sentence, when the file cannot be used. */
bool store_open(struct history *history, const char **error);
void store_close(struct history *history);
