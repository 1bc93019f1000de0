/* One trial: a fleet, the pipeline in memory, a stretch of log that is timed. The start (what
 * existed is told, and three seconds more) goes straight from the generator through the tasks; the
 * stretch is made first and then run, so that only the pipeline is timed; twelve silent seconds
 * close the last windows, and what came out is compared with what the fleet did. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "bench/drive/drive.h"
#include "bench/fleet/fleet.h"

struct trial_options {
	struct fleet_options fleet; /* its callback is set here; partitions are the tasks */
	uint32_t seconds;
	bool anomaly;
};

struct trial {
	uint64_t events, records, wire_bytes; /* of the stretch */
	struct cost cost, anomaly;	      /* anomaly's is in cost */
	uint64_t rows;			      /* that came out of the stretch */
	uint32_t live;			      /* flows after the start */
	double joined_share;	      /* of the ended connections with two agents: told as joined */
	uint64_t state;		      /* resident bytes of the tasks' heaps, after the stretch */
	uint64_t resident, log_bytes; /* of all with the generator, likewise */
	uint64_t bytes_truth, bytes_rows; /* both ways, to the end */
	struct drive_stats stats;	  /* at the end */
};

struct trial trial_run(const struct trial_options *options);

/* What runs the stretch and nothing else: for a profiler that counts while it runs. */
#define TRIAL_TIMED "trial_timed"
void trial_timed(struct drive *drive);

/* Flows, edges, workloads and pods of a fleet whose nodes, flows or edges are set; 0 is the
 * reference's for each node. */
void trial_scale(struct fleet_options *fleet);

/* A flag's number, or the program ends with a sentence. */
struct option_table;
uint64_t trial_number(const struct option_table *table, const char *name, const char *text,
		      uint64_t min, uint64_t max);
