#include "bench/drive/trial.h"

#include <inttypes.h>
#include <stdlib.h>

#include "bench/drive/heap.h"
#include "config/options.h"

enum { TICKS_A_SECOND = 10, JOINING_TICKS = 30, SILENT_TICKS = 130 };

static void add_to_log(void *context, const struct fleet_batch *batch)
{
	fleet_log_add(context, batch);
}

static void play(struct drive *drive, struct fleet_log *log)
{
	drive_load(drive, log);
	drive_run(drive);
	fleet_log_clear(log);
}

/* One tick's log at a time: the start would not fit. */
static void start(struct fleet *fleet, struct drive *drive, struct fleet_log *log, uint32_t ticks)
{
	for (uint32_t i = 0; i < ticks; i++) {
		fleet_run(fleet, 1);
		play(drive, log);
	}
}

__attribute__((noinline)) void trial_timed(struct drive *drive)
{
	drive_run(drive);
}

static void stretch(struct trial *trial, struct drive *drive, const struct fleet_log *log)
{
	struct drive_stats before = drive_stats(drive), after;
	struct cost cost;

	drive_load(drive, log);
	cost = cost_now();
	trial_timed(drive);
	trial->cost = cost_since(cost);
	after = drive_stats(drive);
	trial->events = fleet_log_events(log);
	trial->records = fleet_log_records(log);
	trial->wire_bytes = fleet_log_bytes(log);
	trial->log_bytes = fleet_log_size(log);
	trial->rows = after.rows - before.rows;
	trial->anomaly = (struct cost){after.anomaly.ns - before.anomaly.ns,
				       after.anomaly.instructions - before.anomaly.instructions};
	heap_purge();
	trial->resident = heap_resident();
	trial->state = heap_of_tasks();
}

static void compare(struct trial *trial, struct fleet *fleet, struct drive *drive,
		    struct fleet_log *log)
{
	struct truth_counts truth = fleet_totals(fleet);
	uint64_t over = fleet_stats(fleet).pairs - fleet_stats(fleet).live_pairs;

	fleet_log_clear(log);
	for (uint32_t i = 0; i < SILENT_TICKS; i++) {
		fleet_idle(fleet, 1);
		play(drive, log);
	}
	trial->stats = drive_stats(drive);
	trial->bytes_truth = truth.tx_bytes + truth.rx_bytes;
	trial->bytes_rows = trial->stats.tx_bytes + trial->stats.rx_bytes;
	trial->joined_share = over ? (double)trial->stats.flows_joined / (double)over : 0;
}

struct trial trial_run(const struct trial_options *options)
{
	struct trial trial = {0};
	struct fleet_options fleet_options = options->fleet;
	struct fleet_log *log = fleet_log_new(fleet_options.partitions);
	struct drive *drive = drive_new(&(struct drive_options){.tasks = fleet_options.partitions,
								.nodes = fleet_options.nodes,
								.flows = fleet_options.flows,
								.anomaly = options->anomaly});
	struct fleet *fleet;

	fleet_options.batch = add_to_log;
	fleet_options.context = log;
	fleet = fleet_new(&fleet_options);
	start(fleet, drive, log,
	      (uint32_t)(fleet_options.settle_ns / FLEET_TICK_NS) + JOINING_TICKS);
	trial.live = fleet_stats(fleet).live;
	fleet_run(fleet, options->seconds * TICKS_A_SECOND);
	stretch(&trial, drive, log);
	compare(&trial, fleet, drive, log);
	drive_free(drive);
	fleet_log_free(log);
	fleet_free(fleet);
	return trial;
}

void trial_scale(struct fleet_options *fleet)
{
	const struct fleet_options reference = fleet_reference();
	uint64_t nodes = fleet->nodes;

	if (fleet->flows == 0)
		fleet->flows = (uint32_t)(nodes * reference.flows / reference.nodes);
	if (fleet->edges == 0)
		fleet->edges = (uint32_t)(nodes * reference.edges / reference.nodes);
	fleet->workloads = (uint32_t)(nodes * reference.workloads / reference.nodes);
	/* A workload calls each other one once. */
	while ((uint64_t)fleet->workloads * fleet->workloads < 2ULL * fleet->edges)
		fleet->workloads++;
	if (fleet->workloads > fleet->nodes * fleet->pods_per_node)
		fleet->pods_per_node = fleet->workloads / fleet->nodes + 1;
}

uint64_t trial_number(const struct option_table *table, const char *name, const char *text,
		      uint64_t min, uint64_t max)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || value < min || value > max)
		options_refuse(table, "--%s: %s is no number from %" PRIu64 " to %" PRIu64, name,
			       text, min, max);
	return value;
}
