/* The whole pipeline over a log in a file, as millraced runs it over Kafka's: workers, snapshots,
 *and outputs that are numbered and go on where an earlier life left off. Ends by itself when all is
 * out; may be killed at any moment and started again.
 *
 *	sim-replay LOG FOLDER WORKERS [FAULT [KEY]]
 *
 * LOG is a fleet's (bench/fleet/log.h), FOLDER gets out.N for each task and the snapshots. FAULT
 * seeds a bug for the checker's own test: repeat (what was written is written again), skip (a
 * record of the log is passed over after a restart), clock (an output depends on the time of day),
 * unsorted (rows come in an order that depends on addresses); none is none. KEY is the deployment's
 * key, with which the log's batches are signed.
 *
 * out.N is a sequence of: u32 length of the value, u32 kind, u64 sequence, the value. Like a topic
 *it is only appended to, by whoever has it open; readers drop what does not go on. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "agent/batch/keys.h"
#include "base/clock.h"
#include "base/memory.h"
#include "bench/fleet/log.h"
#include "daemon/encode.h"
#include "daemon/pipeline.h"
#include "daemon/snapshot.h"
#include "millrace/v1/metadata.pb-c.h"
#include "rules/record.h"

enum {
	HOLD_PANES = 4,
	FLUSH_S = 75, /* of ticks behind the last record: closes a minute's windows and all waits */
	KINDS = 3,    /* flows, rollups, alerts */
	TURN_MS = 1,
	NODES_MAX = 32,
	SMALL_MAX = 2048,
};

#define TICK_NS	  (125 * NS_PER_MS)
#define EPOCH	  1
#define PERIOD_NS (10 * NS_PER_MS) /* of snapshots */

enum fault { FAULT_NONE, FAULT_REPEAT, FAULT_SKIP, FAULT_CLOCK, FAULT_UNSORTED };

struct logged {
	uint64_t append_ns;
	const uint8_t *bytes; /* NULL: a tick, or metadata */
	size_t length;
};

struct way {
	struct logged *records;
	size_t count, max, next;
	_Atomic uint64_t pane;
	int file;
	uint64_t sequences[KINDS], written[KINDS];
	struct encoder *encoder;
	uint8_t tick[1024];
};

struct run {
	struct fleet_log *log;
	uint32_t tasks;
	struct way *ways;
	enum fault fault;
	bool resumed;
	uint64_t last_pane;
	struct keys *keys;
	struct heap *heaps[IMAGE_TASKS_MAX];
	struct snapshots *snapshots;
	struct pipeline *pipeline;
	uv_timer_t timer;
};

static _Noreturn void fail(const char *what, const char *why)
{
	fprintf(stderr, "sim-replay: %s: %s\n", what, why);
	exit(1);
}

/* --- the log --- */

static void way_add(struct way *way, struct logged record)
{
	if (way->count == way->max) {
		way->max = memory_grown(way->max, way->count + 1);
		way->records = memory_resize(way->records, way->max, sizeof(*way->records));
	}
	way->records[way->count++] = record;
}

/* Ticks of a grid where nothing else came, the same in each life. */
static void tick_until(struct way *way, uint64_t *ticked_ns, uint64_t until_ns)
{
	for (; *ticked_ns + TICK_NS < until_ns; *ticked_ns += TICK_NS)
		way_add(way, (struct logged){.append_ns = *ticked_ns + TICK_NS});
}

static void read_log(struct run *run, const char *path)
{
	struct fleet_cursor cursor = {0};
	struct fleet_batch batch;
	uint64_t *ticked, last_ns = 0;
	char why[256];

	run->log = fleet_log_open(path, why, sizeof(why));
	if (!run->log)
		fail(path, why);
	run->tasks = fleet_log_partitions(run->log);
	run->ways = memory_zeroed(run->tasks, sizeof(*run->ways));
	ticked = memory_zeroed(run->tasks, sizeof(*ticked));
	while (fleet_log_next(run->log, &cursor, &batch)) {
		struct way *way = &run->ways[batch.partition];

		if (!last_ns)
			for (uint32_t i = 0; i < run->tasks; i++)
				ticked[i] = batch.append_ns - TICK_NS;
		last_ns = batch.append_ns;
		tick_until(way, &ticked[batch.partition], last_ns);
		way_add(way, (struct logged){last_ns, batch.bytes, batch.length});
		ticked[batch.partition] = last_ns;
	}
	for (uint32_t i = 0; i < run->tasks; i++)
		tick_until(&run->ways[i], &ticked[i], last_ns + FLUSH_S * NS_PER_S);
	run->last_pane = pane_of(last_ns) + (FLUSH_S - 2) * PANES_PER_S;
	free(ticked);
}

/* Not a threshold of whole edges. */
static void of_other_kind(struct monitor *monitor, uint32_t kind)
{
	monitor->kind = kind;
	monitor->window_ns = MONITOR_WINDOW_NS;
	monitor->per_server = kind == MONITOR_BURN_RATE;
	if (kind == MONITOR_THRESHOLD) {
		monitor->window_ns = 10 * NS_PER_S;
		strcpy(monitor->server_zone, "*");
		return;
	}
	monitor->metric = METRICS;
	monitor->threshold = monitor->clear = 0;
	if (kind == MONITOR_ABSENCE)
		monitor->absent_ns = 10 * NS_PER_S;
	if (kind == MONITOR_BURN_RATE)
		monitor->objective = 0.9;
	if (kind == MONITOR_BASELINE) {
		monitor->sensitivity = 4;
		monitor->clear_ns = MONITOR_CLEAR_NS;
	}
}

/* A monitor that is another each second, and each fourth is none. */
static struct encoded pack_rule(uint32_t partition, uint64_t append_ns)
{
	static __thread uint8_t packed[RULE_BYTES_MAX];
	const uint64_t second = append_ns / NS_PER_S;
	struct rule rule = {.issued_ns = append_ns, .withdrawn = second % 4 == 3};
	struct monitor *monitor = &rule.monitor;

	snprintf(monitor->name, sizeof(monitor->name), "told-%u", partition);
	rule_monitor_id(monitor->name, rule.id);
	monitor->metric = second % 8 < 4 ? METRIC_CONNECTIONS_OPENED : METRIC_RTT;
	monitor->threshold = monitor->clear = (double)(second % 3);
	monitor->window_ns = (1 + second % 40) * PANE_NS;
	monitor->clear_ns = NS_PER_S;
	monitor->severity = ALERT_WARNING;
	monitor->per_server = partition % 2 == 1;
	if (partition % 4 > 1)
		of_other_kind(monitor, (partition / 2 + (uint32_t)(second / 8)) % MONITOR_KINDS);
	return (struct encoded){packed, rule_write(&rule, NULL, packed)};
}

/* Of every sixteenth tick: whose all addresses without agents are, which changes by the second; and
 * a monitor. */
static struct encoded encode_both(struct way *way, uint32_t partition, uint64_t append_ns)
{
	static __thread uint8_t packed[256];
	const struct encoded rule = pack_rule(partition, append_ns);
	const uint64_t second = append_ns / NS_PER_S;
	uint8_t any[4] = {0};
	char id[32], name[32];
	Millrace__V1__Metadata metadata = MILLRACE__V1__METADATA__INIT;
	Millrace__V1__Range range = MILLRACE__V1__RANGE__INIT;

	snprintf(id, sizeof(id), "/range/%u/%llu", partition, (unsigned long long)second);
	snprintf(name, sizeof(name), "others-%llu", (unsigned long long)second % 5);
	metadata.id = id;
	metadata.version = 1;
	metadata.from_ns = append_ns - append_ns % (2 * NS_PER_S);
	metadata.until_ns = metadata.from_ns + 3 * NS_PER_S;
	metadata.observed_ns = append_ns;
	metadata.range = &range;
	range.address = (ProtobufCBinaryData){sizeof(any), any};
	range.name = name;
	assert(millrace__v1__metadata__get_packed_size(&metadata) <= sizeof(packed));
	const struct encoded record = {packed, millrace__v1__metadata__pack(&metadata, packed)};

	const struct encode_told told = {&record, &rule, 1, 1};

	return encode_told(way->encoder, append_ns, &told, NULL, NULL);
}

static struct encoded encode_own(struct way *way, uint32_t partition, uint64_t append_ns)
{
	if (append_ns / TICK_NS % 16 == partition)
		return encode_both(way, partition, append_ns);
	return encode_tick(way->encoder, append_ns, NULL, NULL);
}

static bool next(void *context, uint32_t partition, struct mirror_record *record)
{
	struct run *run = context;
	struct way *way = &run->ways[partition];
	const struct logged *logged = &way->records[way->next];
	struct encoded tick;

	if (way->next == way->count)
		return false;
	*record = (struct mirror_record){.value = logged->bytes,
					 .length = logged->length,
					 .append_ns = logged->append_ns,
					 .offset = (int64_t)way->next++};
	if (logged->bytes)
		return true;
	tick = encode_own(way, partition, logged->append_ns);
	assert(tick.length <= sizeof(way->tick));
	memcpy(way->tick, tick.bytes, tick.length);
	record->value = way->tick;
	record->length = tick.length;
	return true;
}

static void turn(void *context, uint32_t partition, uint64_t pane)
{
	struct run *run = context;

	atomic_store(&run->ways[partition].pane, pane);
}

/* --- what comes out --- */

static void write_output(struct run *run, uint32_t task, uint32_t kind, struct encoded value)
{
	struct way *way = &run->ways[task];
	uint64_t sequence = way->sequences[kind]++;
	uint32_t head[2] = {(uint32_t)value.length, kind};
	struct timespec now;
	struct iovec parts[] = {{head, sizeof(head)},
				{&sequence, sizeof(sequence)},
				{(void *)(uintptr_t)value.bytes, value.length}};

	if (sequence < way->written[kind] && run->fault != FAULT_REPEAT)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	if (run->fault == FAULT_CLOCK && kind == 0)
		sequence ^= (uint64_t)now.tv_nsec << 32;
	if (writev(way->file, parts, 3) !=
	    (ssize_t)(sizeof(head) + sizeof(sequence) + value.length))
		fail("out", strerror(errno));
}

static struct output_number number(const struct run *run, uint32_t task, uint32_t kind)
{
	return (struct output_number){
		.epoch = EPOCH, .task = task, .sequence = run->ways[task].sequences[kind]};
}

static void on_flows(void *context, uint32_t task, const struct flow *flows, size_t count,
		     const struct names *names)
{
	struct run *run = context;
	struct output_number n = number(run, task, IMAGE_FLOWS);

	if (count)
		write_output(run, task, IMAGE_FLOWS,
			     encode_flows(run->ways[task].encoder, &n, flows, count, names));
}

/* The order of a table that hashes addresses: another in each process. */
static struct rollup *unsorted(const struct rollup *rollups, size_t count)
{
	struct rollup *turned = memory_resize(NULL, count, sizeof(*turned));
	bool backwards = (uintptr_t)&errno >> 12 & 1;

	for (size_t i = 0; i < count; i++)
		turned[i] = rollups[backwards ? count - 1 - i : i];
	return turned;
}

static void on_rollups(void *context, uint32_t task, const struct rollup *rollups, size_t count,
		       const struct names *names)
{
	struct run *run = context;
	struct output_number n = number(run, task, IMAGE_ROLLUPS);
	struct rollup *turned = NULL;

	if (run->fault == FAULT_UNSORTED)
		rollups = turned = unsorted(rollups, count);
	if (count)
		write_output(run, task, IMAGE_ROLLUPS,
			     encode_rollups(run->ways[task].encoder, &n, rollups, count, names));
	free(turned);
}

static void on_alerts(void *context, uint32_t task, const struct alert *alerts, size_t count)
{
	struct run *run = context;

	for (size_t i = 0; i < count; i++) {
		struct output_number n = number(run, task, IMAGE_ALERTS);

		write_output(run, task, IMAGE_ALERTS,
			     encode_alert(run->ways[task].encoder, &n, &alerts[i]));
	}
}

static void on_baselines(void *context, uint32_t task, const struct baseline_record *records,
			 size_t count, const struct names *names)
{
	(void)context, (void)task, (void)records, (void)count, (void)names;
}

static void on_deadletter(void *context, uint32_t task, const struct mirror_record *record,
			  enum mirror_reason reason, const char *detail, const char *node)
{
	(void)context, (void)task, (void)record, (void)node;
	fprintf(stderr, "deadletter: %s: %s\n", mirror_reason_name(reason), detail);
}

/* What an earlier life wrote; a record that its end cut is cut off. */
static void open_output(struct way *way, const char *folder, uint32_t task)
{
	char path[4096];
	off_t at = 0, end;

	snprintf(path, sizeof(path), "%s/out.%u", folder, task);
	way->file = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (way->file < 0)
		fail(path, strerror(errno));
	end = lseek(way->file, 0, SEEK_END);
	for (;;) {
		struct {
			uint32_t length, kind;
			uint64_t sequence;
		} head;

		if (pread(way->file, &head, sizeof(head), at) != sizeof(head) ||
		    at + (off_t)sizeof(head) + (off_t)head.length > end)
			break;
		assert(head.kind < KINDS);
		if (way->written[head.kind] <= head.sequence)
			way->written[head.kind] = head.sequence + 1;
		at += (off_t)sizeof(head) + (off_t)head.length;
	}
	if (at < end && ftruncate(way->file, at))
		fail(path, strerror(errno));
}

/* --- snapshots --- */

static uint32_t on_mark(void *context)
{
	(void)context;
	return 0;
}

/* A write to a file outlives the process. */
static bool is_acknowledged(void *context, uint32_t mark)
{
	(void)context, (void)mark;
	return true;
}

static void on_trouble(void *context, const char *sentence)
{
	(void)context;
	fprintf(stderr, "%s\n", sentence);
}

static void on_cut(void *context, uint64_t pane, const int64_t *offsets)
{
	static struct image image;
	struct run *run = context;

	if (!snapshots_due(run->snapshots, pane))
		return;
	image.header = (struct image_header){.tasks = run->tasks,
					     .epoch = EPOCH,
					     .pane = pane,
					     .owned = task_set_all(run->tasks)};
	image_build(image.header.build);
	for (uint32_t i = 0; i < run->tasks; i++) {
		image.tasks[i].next = offsets[i];
		memcpy(image.tasks[i].sequences, run->ways[i].sequences,
		       sizeof(run->ways[i].sequences));
	}
	snapshots_cut(run->snapshots, &image, run->heaps);
}

static void resume(struct run *run, const char *folder, int64_t *positions)
{
	static struct image image;
	struct snapshots_wanted wanted = {.folder = folder,
					  .tasks = run->tasks,
					  .owned = task_set_all(run->tasks),
					  .told = on_trouble};

	run->resumed = snapshots_load(&wanted, NULL, &image, run->heaps) == 0;
	if (run->resumed)
		fprintf(stderr, "goes on from pane %llu\n", (unsigned long long)image.header.pane);
	for (uint32_t i = 0; i < run->tasks; i++) {
		struct way *way = &run->ways[i];

		if (!run->resumed && !(run->heaps[i] = heap_new(i)))
			fail("heap", strerror(errno));
		positions[i] = run->resumed ? image.tasks[i].next : -1;
		way->next = positions[i] > 0 ? (size_t)positions[i] : 0;
		if (run->resumed)
			memcpy(way->sequences, image.tasks[i].sequences, sizeof(way->sequences));
		if (run->resumed && run->fault == FAULT_SKIP && way->next < way->count)
			way->next++;
	}
}

/* --- life --- */

static struct task_options task_options(struct run *run, const struct monitor *monitor)
{
	return (struct task_options){
		.tasks = run->tasks,
		.seed = (uint64_t)getpid(), /* which must not show */
		.mirror = {.lateness_ns = 500 * NS_PER_MS,
			   .keep_ns = 120 * NS_PER_S,
			   .nodes_max = NODES_MAX,
			   .halves_max = SMALL_MAX,
			   .nats_max = SMALL_MAX,
			   .processes_max = SMALL_MAX,
			   .containers_max = SMALL_MAX,
			   .amendments_max = SMALL_MAX,
			   .names_max = SMALL_MAX,
			   .instances_max = SMALL_MAX,
			   .record_bytes_max = 1 << 20,
			   .keys = run->keys},
		.join = {.halves_max = SMALL_MAX,
			 .aliases_max = SMALL_MAX,
			 .instances_max = SMALL_MAX,
			 .one_sided_ns = 2 * NS_PER_S,
			 .keep_ns = 120 * NS_PER_S},
		.lanes_max = SMALL_MAX,
		.facts_max = SMALL_MAX,
		.aggregate = {.rows_max = SMALL_MAX, .names_max = SMALL_MAX},
		.rules_max = SMALL_MAX,
		.anomaly = {.monitors = monitor,
			    .monitors_count = 1,
			    .baselines = true,
			    .sensitivity = 6,
			    .warmup_samples = 3,
			    .update_ns = 10 * NS_PER_S,
			    .baseline_save_ns = 60 * NS_PER_S,
			    .edges_max = SMALL_MAX,
			    .episodes_max = 1024},
		.sinks = {run, on_flows, on_rollups, on_alerts, on_baselines, on_deadletter},
		.hold_panes = HOLD_PANES,
	};
}

static void on_timer(uv_timer_t *timer)
{
	struct run *run = timer->data;

	for (uint32_t i = 0; i < run->tasks; i++) {
		if (atomic_load(&run->ways[i].pane) < run->last_pane)
			return;
	}
	pipeline_stop(run->pipeline);
	snapshots_close(run->snapshots);
	uv_close((uv_handle_t *)timer, NULL);
}

/* Tasks give back all that they took. */
static void end(struct run *run)
{
	pipeline_free(run->pipeline);
	snapshots_free(run->snapshots);
	for (uint32_t i = 0; i < run->tasks; i++) {
		if (heap_bytes(run->heaps[i]) != 0)
			fail("heap", "a task left blocks in it");
		heap_free(run->heaps[i]);
	}
	keys_free(run->keys);
}

static enum fault fault_of(const char *text)
{
	static const char *const names[] = {"none", "repeat", "skip", "clock", "unsorted"};

	for (int i = 0; i < (int)(sizeof(names) / sizeof(names[0])); i++) {
		if (strcmp(text, names[i]) == 0)
			return (enum fault)i;
	}
	fail(text, "no such fault");
}

int main(int argc, char **argv)
{
	static struct run run;
	static int64_t positions[IMAGE_TASKS_MAX];
	struct monitor monitor = {.name = "failed",
				  .metric = METRIC_CONNECTIONS_FAILED,
				  .threshold = 2,
				  .clear = 2,
				  .window_ns = NS_PER_S,
				  .clear_ns = 5 * NS_PER_S,
				  .minimum = 1};
	char why[256];
	int rc;

	if (argc < 4)
		fail("usage", "sim-replay LOG FOLDER WORKERS [FAULT [KEY [INSTANCE]]]");
	run.fault = fault_of(argc > 4 ? argv[4] : "none");
	run.keys = keys_new();
	if (argc > 5 && argv[5][0] && keys_add(run.keys, "", argv[5], strlen(argv[5])))
		fail("key", "too short");
	read_log(&run, argv[1]);
	for (uint32_t i = 0; i < run.tasks; i++) {
		run.ways[i].encoder = encoder_new();
		open_output(&run.ways[i], argv[2], i);
	}
	resume(&run, argv[2], positions);
	run.snapshots = snapshots_new(
		&(struct snapshots_options){.loop = uv_default_loop(),
					    .folder = argv[2],
					    .instance = argc > 6 ? (uint64_t)atoi(argv[6]) : 0,
					    .period_ns = PERIOD_NS,
					    .mark = on_mark,
					    .acknowledged = is_acknowledged,
					    .trouble = on_trouble},
		why, sizeof(why));
	if (!run.snapshots)
		fail(argv[2], why);
	run.pipeline = pipeline_new(
		&(struct pipeline_options){.workers = (uint32_t)atoi(argv[3]),
					   .task = task_options(&run, &monitor),
					   .owned = task_set_all(run.tasks),
					   .source = {.context = &run, .next = next, .turn = turn},
					   .heaps = run.heaps,
					   .resume = run.resumed ? positions : NULL,
					   .cut = on_cut,
					   .cut_context = &run});
	rc = pipeline_start(run.pipeline);
	if (rc)
		fail("threads", uv_strerror(rc));
	run.timer.data = &run;
	uv_timer_init(uv_default_loop(), &run.timer);
	uv_timer_start(&run.timer, on_timer, TURN_MS, TURN_MS);
	uv_run(uv_default_loop(), UV_RUN_DEFAULT);
	end(&run);
	return 0;
}
