/* What is watched: an edge, or all edges to one port of a server workload, or what of one of these
 * a monitor is about. It has its trailing sums, the plan of the rules that match it and its
 * baseline. What a pane in which nothing is wrong reads of it comes first, in three cache lines.
 *
 * A roster is a population of them, walked in the order of ids whatever order they came in. Rows
 * come in that order too, so they are found by walking in step. Bounded by its max. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "anomaly/alert.h"
#include "anomaly/baseline.h"
#include "anomaly/burn.h"
#include "anomaly/map.h"
#include "anomaly/series.h"

enum { SUBJECT_NODES = 4 }; /* nodes remembered to tell a silent edge from a silent agent */

struct episode {
	struct alert alert;	 /* its latest transition */
	uint64_t onset_ns;	 /* when what is told of was seen first */
	uint64_t quiet_since_ns; /* 0: not quiet */
	uint64_t update_ns;	 /* no update before */
};

/* One rule over a subject. */
struct watch {
	/* Number of the monitor, of a burn rate's with the number of the rate; from MONITORS_MAX
	 * on, a signal; then a burn rate. */
	uint32_t rule;
	uint32_t panes; /* of its window; a baseline's longest */
	uint32_t metric;
	uint32_t severity;  /* of a baseline; MONITOR_SEVERITY_OWN */
	double sensitivity; /* likewise, in decades */
	bool ends;	    /* it matches no more: what is open ends, and nothing begins */
};

/* The rules that match a subject and what they need: the same for all that have the same. */
struct plan {
	struct plan *next;
	uint32_t panes_max;	/* the longest window */
	uint32_t connect_index; /* no monitor fires while no connect is beyond it */
	uint16_t metrics;	/* a bit for each that is watched */
	uint16_t always;	/* of these, what no bound spares */
	bool below;		/* some watch asks for too little, so silence must be judged */
	bool connects, transport;
	bool edges;	       /* some watch asks whether the edge is new */
	bool burns;	       /* some watch is of a burn rate */
	uint32_t keep_panes;   /* of silence, that some watch asks for */
	uint32_t signals;      /* a bit for each that a baseline is asked about */
	float scales[SIGNALS]; /* how much less surprising it is held here than elsewhere */
	uint32_t watches_count;
	struct watch watches[];
};

/* What a watch of one subject remembers. */
struct watch_state {
	struct episode *episode; /* NULL: none is open */
	uint64_t since_ns;	 /* of a baseline: what would fire if it lasts; 0: nothing */
	uint32_t history;	 /* a bit each ten seconds, set if its condition was met in them */
	bool hot;		 /* it was in these */
	bool flapping;
	bool suppressed; /* its episode was counted as suppressed */
	uint8_t brief;	 /* panes in a row in which short windows said that it would fire */
};

struct subject {
	struct series series;
	const struct plan *plan;    /* NULL: its names are not known yet */
	struct watch_state *states; /* of the plan's watches; NULL: nothing to remember */
	struct subject *server;	    /* sums this edge too; may be NULL */
	struct baseline *baseline;  /* NULL: it has none */
	/* Within these the trailing sums do not surprise. */
	uint64_t bytes_low, bytes_high;
	uint32_t opened_low, opened_high;
	uint32_t connect_index;
	uint32_t silence_panes; /* silence that is no chance */
	uint32_t gap_panes;	/* the longest silence that was followed by traffic */
	uint16_t learn_turn;	/* which pane of ten seconds is its own */
	bool per_server;
	bool nameless;	    /* a server: some client of it has no name */
	bool gone;	    /* leaves at the end of the pane */
	uint32_t save_turn; /* which pane of the save time is its own */
	uint32_t episodes;
	uint64_t id;
	struct edge edge;    /* of a server's sum: client 0 */
	uint64_t first_pane; /* plus 1: what is kept of it begins there */
	uint32_t links;	     /* edges that point here */
	uint32_t nodes_next;
	uint64_t nodes[SUBJECT_NODES];
	struct burn *burn; /* NULL: it has none */
	uint64_t seen_ns;  /* of an edge, for the first time; 0: before anything is known */
	uint64_t part_of;  /* of a part of an edge or server: hash of its monitor's name; else 0 */
	uint64_t there_pane; /* plus 1: its first row's, whatever is kept */
	char *words;	     /* its names, client and server, for a silence that outlasts them */
};

struct roster_entry {
	uint64_t id;
	struct subject *subject;
};

struct roster {
	struct roster_entry *sorted; /* the first `walked` by id, then newcomers */
	struct map fresh;	     /* newcomers by id */
	uint32_t count, capacity, walked, subjects_max;
	uint32_t cursor; /* where the latest look-up ended */
};

void roster_init(struct roster *roster, uint32_t subjects_max);
void roster_done(struct roster *roster);
/* NULL if it is not here. Cheap for ids that rise from call to call. */
struct subject *roster_get(struct roster *roster, uint64_t id);
struct subject *roster_add(struct roster *roster, uint64_t id,
			   const struct edge *edge); /* NULL: full */
void roster_sort(struct roster *roster);	     /* newcomers take their place */
void roster_sweep(struct roster *roster);	     /* frees those that are gone; sorted before */

/* Brings near what the next row or pane reads; series' marks when the subject itself is near. */
static inline void subject_prefetch(const struct subject *subject)
{
	const char *from = (const char *)subject;
	__builtin_prefetch(from);
	__builtin_prefetch(from + 64);
	__builtin_prefetch(from + 128);
}

void subject_heard(struct subject *subject, uint64_t node);
