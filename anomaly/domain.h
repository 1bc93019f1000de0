/* Failure domains: which instance, version, zone or node of either side concentrates a change, or
 * what passes between two zones or to and from one. The rows of single instances and of lanes are
 * kept in the order they came (edge, side, instance), and read only when an alert needs them:
 * nothing is looked up per row of a pane.
 *
 * Failures and resets are ranked over the trailing window from the rows of panes, which come only
 * of edges in which something failed or broke lately. What they are compared with, attempts and
 * connections that were active, is what these rows tell or the newest window of 10 s, whichever is
 * more. All else (bytes, openings, times to connect, retransmits, round trips) is told per instance
 * in windows of 10 s, so it is ranked from the newest of them once one ended after the episode
 * began; an older one, of before it began, says what was usual.
 *
 * Bounds: DOMAIN_PANES panes and rows_max rows of them in all (96 bytes each); the oldest panes
 * leave first, so that a busy owner ranks over a shorter time. DOMAIN_WINDOWS windows of 10 s of
 * rows_max rows each (104 bytes, and 48 an instance); further rows are counted as dropped. Pure;
 * one thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "aggregate/rollup.h"
#include "anomaly/alert.h"
#include "anomaly/diagnosis.h"
#include "anomaly/monitor.h"

enum {
	DOMAIN_WINDOW_PANES = 40,		/* the longest window compared */
	DOMAIN_PANES = DOMAIN_WINDOW_PANES + 1, /* and the open one */
	/* The newest lies within the episode. What is noticed within ten seconds has its usual in
	   the one before that; what has to last, in one of those that are kept for longer: each
	   DOMAIN_KEEP_EVERYth, the last two of them. */
	DOMAIN_WINDOWS = 4,
	DOMAIN_KEEP_EVERY = 9,
	/* Distinct instances of one side looked at in one ranking; more are left out, highest ids
	   first. */
	DOMAIN_LEAVES_MAX = 4096,
};

struct domain_log;

struct domain_log *domain_log_new(uint32_t rows_max);
void domain_log_free(struct domain_log *log);
/* A row of scope LANE, CLIENT or SERVER of one pane, to the open one. */
void domain_log_add(struct domain_log *log, const struct rollup *rollup);
/* The same of 10 s. */
void domain_log_add_long(struct domain_log *log, const struct rollup *rollup);
void domain_log_close(struct domain_log *log);
uint64_t domain_log_dropped(const struct domain_log *log); /* rows beyond rows_max in a window */

/* What to rank. client 0 with per_server: all edges to that server's port. */
struct domain_query {
	struct edge edge;
	bool per_server;
	uint32_t metric;     /* enum metric */
	uint32_t comparison; /* of the change: above or below the usual */
	uint32_t window_panes;
	uint64_t started_ns; /* when it was seen first: the end of that pane */
	double value;	     /* what the metric is there, in its unit */
	double expected;     /* and should be; 0: not known */
};

/* Whether the rows that tell of the metric are here: else a later pane may ask again. */
bool domain_ready(const struct domain_log *log, const struct domain_query *query);

/* Best first, at most ALERT_SUSPECTS_MAX; nothing if the change is spread like the traffic. */
uint32_t domain_rank(struct domain_log *log, const struct domain_query *query,
		     const struct names *names, struct suspect suspects[ALERT_SUSPECTS_MAX]);

/* What both ends tell, for diagnosis_of. */
struct ends domain_ends(const struct domain_log *log, const struct domain_query *query);
