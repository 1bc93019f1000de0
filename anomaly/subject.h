/* What is watched: an edge, or all edges to one port of a server workload. It has its trailing
 * sums, one watch for each rule that matches it and, when it is an edge, its baselines.
 *
 * A roster is a population of them: found by id, walked in the order of ids whatever order they
 * came in. Bounded by its max. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "anomaly/alert.h"
#include "anomaly/baseline.h"
#include "anomaly/map.h"
#include "anomaly/series.h"

enum {
	SUBJECT_NODES = 4, /* nodes remembered to tell a silent edge from a silent agent */
	/* Windows in which baselines are judged: the first and the last of 1 s .. 10 s. */
	BASELINE_WINDOWS = 2,
};

struct episode {
	struct alert alert;	 /* its latest transition */
	uint64_t quiet_since_ns; /* 0: not quiet */
	uint64_t update_ns;	 /* no update before */
};

/* One rule over one subject. */
struct watch {
	uint32_t rule;		 /* index of the monitor; past the last one, a kind of baseline */
	uint16_t window;	 /* index in the series */
	bool suppressed;	 /* its episode was counted as suppressed */
	struct episode *episode; /* NULL: none is open */
};

struct sample {
	bool known;
	int64_t value; /* millionths */
};

struct subject {
	uint64_t id;
	struct edge edge; /* of a server's sum: client 0 */
	bool per_server;
	bool matched;  /* its names were known: watches are made */
	bool below;    /* some watch asks for too little, so silence must be judged */
	bool gone;     /* leaves at the end of the pane */
	bool sampled;  /* its 10 s row came */
	uint8_t dirty; /* baselines to be saved, a bit each */
	uint64_t first_pane;
	struct series series;
	uint32_t watches_count, episodes;
	struct watch *watches;
	struct subject *server; /* sums this edge too; may be NULL */
	uint32_t links;		/* edges that point here */
	uint32_t nodes_next;
	uint64_t nodes[SUBJECT_NODES];
	struct sample samples[BASELINES];
	struct baseline baselines[BASELINES];
	uint16_t baseline_windows[BASELINE_WINDOWS]; /* indexes in the series: 1 s, 10 s */
	struct baseline_limits limits[BASELINES][BASELINE_WINDOWS];
};

struct roster {
	struct map map;
	struct subject **sorted; /* the first `walked` by id, then newcomers */
	uint32_t count, capacity, walked, subjects_max;
};

void roster_init(struct roster *roster, uint32_t subjects_max);
void roster_done(struct roster *roster);
struct subject *roster_get(const struct roster *roster, uint64_t id); /* NULL if it is not here */
struct subject *roster_add(struct roster *roster, uint64_t id,
			   const struct edge *edge); /* NULL: full */
void roster_sort(struct roster *roster);	     /* newcomers take their place */
void roster_sweep(struct roster *roster);	     /* frees those that are gone; sorted before */

void subject_heard(struct subject *subject, uint64_t node);
