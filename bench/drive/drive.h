/* The whole pipeline in memory on one thread: all tasks, stepped by hand, with sinks that count. A
 * log's records are given to the tasks of their partitions tick by tick, as a broker would, and
 * what tasks tell each other is handed over at once.
 *
 * A partition that has nothing gets ticks. Bounds of the tasks are millraced's defaults, raised to
 * what the fleet needs. One thread, one drive at a time. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "bench/drive/cost.h"
#include "bench/fleet/log.h"

struct drive_options {
	uint32_t tasks;
	uint32_t nodes, flows;
	bool anomaly; /* else the stage gets nothing */
};

struct drive_stats {
	uint64_t rows;		      /* of all windows */
	uint64_t tx_bytes, rx_bytes;  /* counted, of edges, in 10 s windows and their amendments */
	uint64_t flows, flows_joined; /* told */
	uint64_t alerts, deadletters;
	uint64_t lost, late, refused, folded;
	struct cost anomaly;
};

struct drive;

struct drive *drive_new(const struct drive_options *options);
void drive_free(struct drive *drive);
/* Sorts a log's records by task; the log must live until they have run. */
void drive_load(struct drive *drive, const struct fleet_log *log);
/* Runs what is loaded. */
void drive_run(struct drive *drive);
struct drive_stats drive_stats(const struct drive *drive);
