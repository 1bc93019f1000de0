#include "bench/drive/drive.h"

#include <assert.h>
#include <stdlib.h>

#include "agent/batch/wire.h"
#include "base/clock.h"
#include "base/heap.h"
#include "base/memory.h"
#include "bench/drive/anomaly.h"
#include "daemon/task.h"

/* What a broker may hand over at a time. */
#define STEP_NS (100 * NS_PER_MS)

enum { TICK_BYTES = 32 };

struct input {
	struct mirror_record *records;
	size_t count, max, next;
	bool idle; /* the loaded log has nothing for it */
};

struct drive {
	struct drive_options options;
	struct heap **heaps; /* of the tasks, as millraced has them */
	struct task **tasks;
	struct input *inputs;
	uint8_t *ticks; /* TICK_BYTES each, of the loaded log's time */
	struct drive_stats stats;
};

/* --- sinks --- */

static void on_flows(void *context, uint32_t task, const struct flow *flows, size_t count,
		     const struct names *names)
{
	struct drive *drive = context;

	(void)task, (void)names;
	drive->stats.flows += count;
	for (size_t i = 0; i < count; i++)
		drive->stats.flows_joined += flows[i].joined;
}

static void on_rollups(void *context, uint32_t task, const struct rollup *rollups, size_t count,
		       const struct names *names)
{
	enum { LONGEST_MS = 10000 };
	struct drive *drive = context;

	(void)task, (void)names;
	drive->stats.rows += count;
	for (size_t i = 0; i < count; i++) {
		if (rollups[i].window_ms != LONGEST_MS || rollups[i].scope != SCOPE_EDGE)
			continue;
		drive->stats.tx_bytes += (uint64_t)rollups[i].counters[COUNTER_TX_BYTES];
		drive->stats.rx_bytes += (uint64_t)rollups[i].counters[COUNTER_RX_BYTES];
	}
}

static void on_alerts(void *context, uint32_t task, const struct alert *alerts, size_t count)
{
	struct drive *drive = context;

	(void)task, (void)alerts;
	drive->stats.alerts += count;
}

static void on_baselines(void *context, uint32_t task, const struct baseline_record *records,
			 size_t count, const struct names *names)
{
	(void)context, (void)task, (void)records, (void)count, (void)names;
}

static void on_deadletter(void *context, uint32_t task, const struct mirror_record *record,
			  enum mirror_reason reason, const char *detail, const char *node)
{
	struct drive *drive = context;

	(void)task, (void)record, (void)reason, (void)detail, (void)node;
	drive->stats.deadletters++;
}

static void on_send(void *context, struct message *message)
{
	struct drive *drive = context;

	task_receive(drive->tasks[message->task], message);
}

/* --- tasks --- */

static uint32_t at_least(uint32_t fallback, uint64_t needed)
{
	return needed > fallback ? (uint32_t)needed : fallback;
}

/* The defaults of millraced's configuration, with room for the fleet: partitions are not equal. */
static struct task_options task_template(const struct drive_options *options)
{
	uint64_t halves = 4ULL * options->flows / options->tasks;

	return (struct task_options){
		.tasks = options->tasks,
		.mirror = {.lateness_ns = 500 * NS_PER_MS,
			   .keep_ns = 120 * NS_PER_S,
			   .nodes_max = at_least(4096, options->nodes),
			   .halves_max = at_least(524288, halves),
			   .nats_max = at_least(131072, halves / 2),
			   .processes_max = 524288,
			   .containers_max = 65536,
			   .amendments_max = at_least(65536, halves),
			   .names_max = 262144,
			   .instances_max = 262144,
			   .events_max = at_least(4194304, 4 * halves),
			   .record_bytes_max = 1 << 20},
		.join = {.halves_max = at_least(524288, halves),
			 .aliases_max = at_least(131072, halves / 2),
			 .instances_max = 262144,
			 .one_sided_ns = 2 * NS_PER_S,
			 .keep_ns = 120 * NS_PER_S},
		.lanes_max = 262144,
		.aggregate = {.rows_max = 524288, .names_max = 262144},
		.anomaly = {.baselines = true,
			    .sensitivity = 9,
			    .warmup_samples = 60,
			    .objective = 0.99,
			    .update_ns = 10 * NS_PER_S,
			    .baseline_save_ns = 60 * NS_PER_S,
			    .edges_max = 65536,
			    .episodes_max = 4096},
	};
}

struct drive *drive_new(const struct drive_options *options)
{
	struct drive *drive = memory_zeroed(1, sizeof(*drive));
	struct task_options task = task_template(options);

	drive->options = *options;
	drive->tasks = memory_zeroed(options->tasks, sizeof(struct task *));
	drive->inputs = memory_zeroed(options->tasks, sizeof(*drive->inputs));
	anomaly_meter(options->anomaly);
	task.send = on_send;
	task.send_context = drive;
	task.sinks = (struct task_sinks){.context = drive,
					 .flows = on_flows,
					 .rollups = on_rollups,
					 .alerts = on_alerts,
					 .baselines = on_baselines,
					 .deadletter = on_deadletter};
	drive->heaps = memory_zeroed(options->tasks, sizeof(*drive->heaps));
	for (uint32_t i = 0; i < options->tasks; i++) {
		task.task = i;
		task.heap = drive->heaps[i] = heap_new(i);
		assert(task.heap);
		drive->tasks[i] = task_new(&task);
	}
	return drive;
}

void drive_free(struct drive *drive)
{
	if (!drive)
		return;
	for (uint32_t i = 0; i < drive->options.tasks; i++) {
		task_free(drive->tasks[i]);
		heap_free(drive->heaps[i]);
		free(drive->inputs[i].records);
	}
	free(drive->heaps);
	free(drive->tasks);
	free(drive->inputs);
	free(drive->ticks);
	free(drive);
}

/* --- running --- */

static void add_record(struct input *input, const uint8_t *bytes, size_t length, uint64_t append_ns)
{
	if (input->count == input->max) {
		input->max = memory_grown(input->max, input->count + 1);
		input->records = memory_resize(input->records, input->max, sizeof(*input->records));
	}
	input->records[input->count++] =
		(struct mirror_record){.value = bytes, .length = length, .append_ns = append_ns};
}

static size_t write_tick(uint8_t bytes[TICK_BYTES], uint64_t time_ns)
{
	enum { VERSION = 2, KIND = 3, BASE_TIME_US = 9, SENT_REALTIME_NS = 11 };
	uint8_t *at = wire_uint(bytes, VERSION, 1);

	at = wire_uint(at, KIND, 1);
	at = wire_fixed64(at, BASE_TIME_US, time_ns / NS_PER_US);
	at = wire_fixed64(at, SENT_REALTIME_NS, time_ns);
	return (size_t)(at - bytes);
}

/* As millraced keeps the time of an idle partition going. */
static void add_ticks(struct drive *drive, uint64_t first_ns, uint64_t last_ns)
{
	size_t count = (last_ns - first_ns) / STEP_NS + 1;

	drive->ticks = memory_resize(drive->ticks, count, TICK_BYTES);
	for (size_t k = 0; k < count; k++) {
		uint64_t time_ns = first_ns + k * STEP_NS;
		uint8_t *bytes = drive->ticks + k * TICK_BYTES;
		size_t length = write_tick(bytes, time_ns);

		for (uint32_t i = 0; i < drive->options.tasks; i++) {
			struct input *input = &drive->inputs[i];

			if (input->idle)
				add_record(input, bytes, length, time_ns);
		}
	}
}

void drive_load(struct drive *drive, const struct fleet_log *log)
{
	struct fleet_cursor cursor = {0};
	struct fleet_batch batch;
	uint64_t first_ns = UINT64_MAX, last_ns = 0;

	for (uint32_t i = 0; i < drive->options.tasks; i++)
		drive->inputs[i].count = drive->inputs[i].next = 0;
	while (fleet_log_next(log, &cursor, &batch)) {
		assert(batch.partition < drive->options.tasks);
		add_record(&drive->inputs[batch.partition], batch.bytes, batch.length,
			   batch.append_ns);
		if (first_ns == UINT64_MAX)
			first_ns = batch.append_ns;
		last_ns = batch.append_ns;
	}
	for (uint32_t i = 0; i < drive->options.tasks; i++)
		drive->inputs[i].idle = drive->inputs[i].count == 0;
	if (last_ns)
		add_ticks(drive, first_ns, last_ns);
}

/* Returns whether anything was read. */
static bool feed(struct drive *drive, uint32_t task, uint64_t until_ns)
{
	struct input *input = &drive->inputs[task];
	size_t before = input->next;

	while (input->next < input->count && input->records[input->next].append_ns <= until_ns &&
	       task_hungry(drive->tasks[task]))
		task_records(drive->tasks[task], &input->records[input->next++], 1);
	return input->next > before;
}

static void run_tasks(struct drive *drive)
{
	for (bool moved = true; moved;) {
		moved = false;
		for (uint32_t i = 0; i < drive->options.tasks; i++)
			moved |= task_run(drive->tasks[i]);
	}
}

static void run_until(struct drive *drive, uint64_t until_ns)
{
	for (bool fed = true; fed;) {
		fed = false;
		for (uint32_t i = 0; i < drive->options.tasks; i++)
			fed |= feed(drive, i, until_ns);
		run_tasks(drive);
	}
}

/* The append time of the oldest record that waits; UINT64_MAX: none does. */
static uint64_t oldest(const struct drive *drive)
{
	uint64_t oldest_ns = UINT64_MAX;

	for (uint32_t i = 0; i < drive->options.tasks; i++) {
		const struct input *input = &drive->inputs[i];

		if (input->next < input->count && input->records[input->next].append_ns < oldest_ns)
			oldest_ns = input->records[input->next].append_ns;
	}
	return oldest_ns;
}

void drive_run(struct drive *drive)
{
	uint64_t at_ns = oldest(drive);

	while (at_ns != UINT64_MAX) {
		uint64_t until_ns = at_ns + STEP_NS - 1;

		run_until(drive, until_ns);
		at_ns = oldest(drive);
		assert(at_ns > until_ns); /* what is due has run */
	}
}

struct drive_stats drive_stats(const struct drive *drive)
{
	struct drive_stats stats = drive->stats;

	for (uint32_t i = 0; i < drive->options.tasks; i++) {
		struct task_stats task = task_stats(drive->tasks[i]);

		stats.lost += task.mirror.lost;
		stats.late += task.mirror.late;
		stats.refused += task.mirror.refused;
		stats.folded += task.partial.folded + task.aggregate.folded;
	}
	stats.anomaly = anomaly_metered();
	return stats;
}
