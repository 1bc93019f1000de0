/* Reading the history, for api/query/: rows of one window length, time range and scope, oldest
 * window first, as the rollups that they were; and who is known. Reads see all appends made so far.
 * What is handed to a visitor is lent for that call, names until the next append. One thread, the
 * history's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aggregate/rollup.h"
#include "base/identity.h"

struct history;

struct history_filter {
	uint32_t window_ms;	   /* 1000, 10000, 60000 or 3600000 */
	uint64_t start_ns, end_ns; /* windows that start in [start, end) */
	uint32_t scope;		   /* enum scope */
	uint64_t client, server;   /* name ids of workloads; 0: all */
	uint16_t port;		   /* 0: all */
	bool sketches;		   /* else the rows' distributions are left empty */
};

enum { HISTORY_TOO_MANY = -1, HISTORY_BROKEN = -2 };

/* Returns how many rows were visited, HISTORY_TOO_MANY when there are more than rows_max (that many
 * were visited), or HISTORY_BROKEN when the database failed. */
int64_t history_read(struct history *history, const struct history_filter *filter,
		     uint64_t rows_max, void (*visit)(void *context, const struct rollup *rollup),
		     void *context);

/* End of the newest window of that length, amendments apart; 0 if there is none. */
uint64_t history_newest_ns(struct history *history, uint32_t window_ms);
uint64_t history_keep_ns(struct history *history, uint32_t window_ms);

/* "" for 0; the id in hex for a name whose bytes have not come. */
const char *history_name(const struct history *history, uint64_t id);

/* All that some row of windows starting in [since, until) may be about: seen before the end of that
 * time and after its start. */
struct history_visitor {
	void *context; /* of these; each may be NULL */
	void (*edge)(void *context, const struct edge *edge);
	void (*lane)(void *context, const struct lane *lane);
	void (*instance)(void *context, const struct instance *instance);
};
void history_known(const struct history *history, uint64_t since_ns, uint64_t until_ns,
		   const struct history_visitor *visitor);
