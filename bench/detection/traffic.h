/* What passes over the edges of a town, as rows that the anomaly stage is given: panes of 250 ms
 * and, at their ends, of 10 s; of edges always, of lanes and instances as aggregate/aggregate.h has
 * it, while `parts` is set: nobody reads them in a long time without faults.
 *
 * Requests come by chance at a rate that goes with the hour and the weekday, drifts, bursts and, of
 * batch jobs, stops; their sizes scatter by half an octave up to heavy tails. Of a fault's pairs of
 * pods attempts fail, balancers turn from them after some seconds, and whoever waits for an answer
 * asks less of others: so callers' callers feel half of it. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aggregate/rollup.h"
#include "bench/detection/fault.h"
#include "bench/detection/town.h"

enum { OWNERS = 4 };

struct traffic_rows {
	struct rollup *rows; /* of one owner, as aggregate emits them */
	uint32_t count, capacity;
};

struct traffic {
	struct town *town;
	const struct fault *fault; /* NULL: none */
	bool parts;
	struct traffic_rows rows[OWNERS]; /* of the pane */
	uint64_t edge_rows;		  /* so far */
	bool *rippled;			  /* of a link: it felt the fault at second hand */
	struct stream *streams;
	double *asked, *answered;  /* of a workload's requests in these ten seconds */
	double *ripples;	   /* and how many it makes its callers spare */
	struct sketch_cell *cells; /* of the pane's connect times */
	uint32_t cells_used;
};

struct traffic *traffic_new(struct town *town);
void traffic_free(struct traffic *traffic);
void traffic_pane(struct traffic *traffic, uint64_t pane);
/* A line on how it goes on an edge in that pane, for people: its habit, and what of bursts, batch
 * jobs, new pods and silent agents there is. Returns its length. */
size_t traffic_describe(const struct traffic *traffic, uint32_t link, uint64_t pane, char *text,
			size_t size);
/* Before a fault. */
void traffic_forget_ripples(struct traffic *traffic);
