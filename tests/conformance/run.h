/* The whole pipeline over a log, on one thread, its tasks stepped by hand; what came out is kept as
 * plain values with names as text, and as lines of text that two runs are compared by. */
#pragma once

#include <inttypes.h>

#include "base/hash.h"
#include "daemon/task.h"
#include "tests/conformance/log.h"
#include "tests/support/ledger.h"

enum { RUN_TASKS_MAX = 16, RUN_NAME_MAX = 64, RUN_LINE_MAX = 2048 };

struct run_options {
	uint32_t halves_max, nats_max, rows_max; /* a task's; 0: 4096, 4096, 8192 */
	uint32_t join_halves_max;		 /* a join task's; 0: halves_max */
	uint32_t answers_max, events_max;	 /* 0: the stage's own */
	const struct networks *networks;
	const struct monitor *monitors;
	size_t monitors_count;
	/* Seed of the order in which tasks are stepped; 0: by number. And of their tables. */
	uint64_t order;
	bool unprinted; /* no lines */
	bool summed;	/* no lines, flows or rows are kept but the sums: for large runs */
};

/* Who stands at an end of a flow. */
struct run_end {
	char workload[RUN_NAME_MAX], version[RUN_NAME_MAX], zone[RUN_NAME_MAX], node[RUN_NAME_MAX],
		container[RUN_NAME_MAX], process[RUN_NAME_MAX];
};

struct run_flow {
	struct flow flow;
	struct run_end client, server;
	char edge_client[RUN_NAME_MAX], edge_server[RUN_NAME_MAX];
	bool replaced; /* by an amended record of the same id */
};

struct run_row {
	struct rollup row; /* without its sketches */
	char client[RUN_NAME_MAX], server[RUN_NAME_MAX];
	struct run_end instance;
};

/* Each has lines of its own: which of a task's stages runs first is nobody's business. */
enum run_kind { RUN_FLOWS, RUN_ROWS, RUN_ALERTS, RUN_BASELINES, RUN_DEADLETTERS, RUN_KINDS };

/* Of the 10 s rows, and of all rows. */
struct run_sums {
	int64_t counters[SCOPES][COUNTERS];
	uint64_t rows, flows, hash;
};

struct run_text {
	char *bytes;
	size_t length, max;
};

struct run {
	struct run_options options;
	uint32_t tasks_count;
	struct task *tasks[RUN_TASKS_MAX];
	struct message **messages;
	size_t messages_count, messages_max;
	struct run_flow *flows;
	size_t flows_count, flows_max;
	struct run_row *rows;
	size_t rows_count, rows_max;
	struct alert *alerts;
	size_t alerts_count, alerts_max;
	uint64_t deadletters[MIRROR_REASONS], deadletters_count;
	struct task_stats stats[RUN_TASKS_MAX]; /* at the end */
	struct mirror_stats ingest;		/* of all tasks */
	struct run_text lines[RUN_TASKS_MAX][RUN_KINDS];
	struct run_sums sums;
};

/* --- what comes out --- */

static inline void run_name(const struct names *names, uint64_t id, char text[RUN_NAME_MAX])
{
	const struct name *name = id ? names_get(names, id) : NULL;

	if (name)
		snprintf(text, RUN_NAME_MAX, "%s", name->bytes);
	else
		snprintf(text, RUN_NAME_MAX, id ? "#%016" PRIx64 : "", id);
}

/* An end without an agent has no name but its address. */
static inline void run_edge_name(const struct names *names, uint64_t id, uint8_t resolution,
				 const struct address *address, char text[RUN_NAME_MAX])
{
	if (resolution_is_address(resolution))
		address_format(address, text);
	else
		run_name(names, id, text);
}

static inline struct run_end run_end(const struct names *names, const struct instance *instance)
{
	struct run_end end;

	run_name(names, instance->workload, end.workload);
	run_name(names, instance->version, end.version);
	run_name(names, instance->zone, end.zone);
	run_name(names, instance->node, end.node);
	run_name(names, instance->container, end.container);
	run_name(names, instance->process, end.process);
	return end;
}

static inline void run_line(struct run *run, uint32_t task, enum run_kind kind, const char *format,
			    ...) __attribute__((format(printf, 4, 5)));
static inline void run_line(struct run *run, uint32_t task, enum run_kind kind, const char *format,
			    ...)
{
	struct run_text *text = &run->lines[task][kind];
	va_list arguments;
	int length;

	if (run->options.unprinted || run->options.summed)
		return;
	if (text->length + RUN_LINE_MAX > text->max) {
		text->max = memory_grown(text->max, text->length + RUN_LINE_MAX);
		text->bytes = memory_resize(text->bytes, text->max, 1);
	}
	va_start(arguments, format);
	length = vsnprintf(text->bytes + text->length, RUN_LINE_MAX, format, arguments);
	va_end(arguments);
	assert_true(length >= 0 && length < RUN_LINE_MAX);
	text->length += (size_t)length;
}

static inline void run_line_end(struct run *run, uint32_t task, const char *side,
				const struct flow_end *end, const struct run_end *names)
{
	run_line(run, task, RUN_FLOWS,
		 "  %s %d %d %u %u %s %s %s %s %s %s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
		 " %" PRIu64 " %u %u\n",
		 side, end->seen, end->closed, end->reason, end->pid, names->workload,
		 names->version, names->zone, names->node, names->container, names->process,
		 end->total.tx_bytes, end->total.rx_bytes, end->total.tx_segments,
		 end->total.rx_segments, end->total.retransmits, end->min_rtt_us, end->lost);
}

static inline void run_line_flow(struct run *run, uint32_t task, const struct run_flow *seen)
{
	const struct flow *flow = &seen->flow;

	run_line(run, task, RUN_FLOWS,
		 "flow %016" PRIx64 " %s->%s wire %s->%s dialled %s %d %d %d %u %" PRIu64
		 " %" PRIu64 " %" PRIu64 " %s -> %s : %u\n",
		 flow->id, place_text(&flow->canonical.client, flow->canonical.client_port),
		 place_text(&flow->canonical.server, flow->canonical.server_port),
		 place_text(&flow->wire.client, flow->wire.client_port),
		 place_text(&flow->wire.server, flow->wire.server_port),
		 place_text(&flow->dialled, flow->dialled_port), flow->joined, flow->established,
		 flow->amended, flow->hops, flow->opened_ns, flow->closed_ns, flow->connect_us,
		 seen->edge_client, seen->edge_server, flow->edge.port);
	run_line_end(run, task, "client", &flow->client, &seen->client);
	run_line_end(run, task, "server", &flow->server, &seen->server);
}

static inline void run_on_flows(void *context, uint32_t task, const struct flow *flows,
				size_t count, const struct names *names)
{
	struct run *run = context;

	run->sums.flows += count;
	for (size_t i = 0; i < count && !run->options.summed; i++) {
		LOG_GROW(run, flows);
		struct run_flow *seen = &run->flows[run->flows_count];

		*seen = (struct run_flow){.flow = flows[i],
					  .client = run_end(names, &flows[i].client.instance),
					  .server = run_end(names, &flows[i].server.instance)};
		run_edge_name(names, flows[i].edge.client, flows[i].edge.client_resolution,
			      &flows[i].canonical.client, seen->edge_client);
		run_edge_name(names, flows[i].edge.server, flows[i].edge.server_resolution,
			      &flows[i].canonical.server, seen->edge_server);
		for (size_t n = 0; flows[i].amended && n < run->flows_count; n++)
			run->flows[n].replaced |= run->flows[n].flow.id == flows[i].id;
		run->flows_count++;
		run_line_flow(run, task, seen);
	}
}

static inline void run_line_row(struct run *run, uint32_t task, const struct run_row *seen,
				const struct rollup *row)
{
	run_line(run, task, RUN_ROWS,
		 "row %" PRIu64 " %u %u %d %s -> %s : %u/%u %s %s %s %u %" PRIu64 " :",
		 row->window_start_ns, row->window_ms, row->scope, row->amendment, seen->client,
		 seen->server, row->edge.port, row->edge.protocol, seen->instance.workload,
		 seen->instance.node, seen->instance.container, row->min_rtt_us,
		 row->last_event_ns);
	for (int i = 0; i < COUNTERS; i++)
		run_line(run, task, RUN_ROWS, " %" PRId64, row->counters[i]);
	for (uint32_t i = 0; i < row->connect_cells; i++)
		run_line(run, task, RUN_ROWS, " c%u=%" PRId64, (unsigned)row->connect[i].index,
			 (int64_t)row->connect[i].count);
	for (uint32_t i = 0; i < row->srtt_cells; i++)
		run_line(run, task, RUN_ROWS, " r%u=%" PRId64, (unsigned)row->srtt[i].index,
			 (int64_t)row->srtt[i].count);
	run_line(run, task, RUN_ROWS, "\n");
}

static inline uint64_t run_hash(uint64_t hash, const void *bytes, size_t length)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ at[i]) * 0x100000001b3ULL; /* FNV-1a */
	return hash;
}

/* Tasks' rows may come in any order of tasks: the hashes of rows are added. */
static inline void run_sum_row(struct run *run, const struct rollup *row)
{
	uint64_t hash = run_hash(row->window_start_ns + row->window_ms + row->scope, row->counters,
				 sizeof(row->counters));

	hash = run_hash(hash, &row->edge.id, sizeof(row->edge.id));
	hash = run_hash(hash, &row->lane.id, sizeof(row->lane.id));
	hash = run_hash(hash, &row->instance.id, sizeof(row->instance.id));
	run->sums.hash += hash;
	run->sums.rows++;
	for (int n = 0; n < COUNTERS && row->window_ms == 10000; n++)
		run->sums.counters[row->scope][n] =
			(int64_t)((uint64_t)run->sums.counters[row->scope][n] +
				  (uint64_t)row->counters[n]); /* hostile rows go round */
}

static inline void run_on_rollups(void *context, uint32_t task, const struct rollup *rollups,
				  size_t count, const struct names *names)
{
	struct run *run = context;

	for (size_t i = 0; i < count; i++)
		run_sum_row(run, &rollups[i]);
	for (size_t i = 0; i < count && !run->options.summed; i++) {
		LOG_GROW(run, rows);
		struct run_row *seen = &run->rows[run->rows_count++];

		*seen = (struct run_row){.row = rollups[i],
					 .instance = run_end(names, &rollups[i].instance)};
		run_name(names, rollups[i].edge.client, seen->client);
		run_name(names, rollups[i].edge.server, seen->server);
		run_line_row(run, task, seen, &rollups[i]);
		seen->row.connect = seen->row.srtt = NULL;
	}
}

static inline void run_on_alerts(void *context, uint32_t task, const struct alert *alerts,
				 size_t count)
{
	struct run *run = context;

	for (size_t i = 0; i < count; i++) {
		LOG_GROW(run, alerts);
		run->alerts[run->alerts_count++] = alerts[i];
		run_line(run, task, RUN_ALERTS, "alert %s %" PRIu64 " %u %s %s\n", alerts[i].key,
			 alerts[i].sequence, alerts[i].state, alerts[i].monitor, alerts[i].summary);
	}
}

static inline void run_on_baselines(void *context, uint32_t task,
				    const struct baseline_record *records, size_t count,
				    const struct names *names)
{
	(void)names;
	for (size_t i = 0; i < count; i++)
		run_line(context, task, RUN_BASELINES,
			 "baseline %016" PRIx64 " %u %016" PRIx64 "\n", records[i].edge.id,
			 records[i].metric, hash_bytes(records[i].state, records[i].state_size));
}

static inline void run_on_deadletter(void *context, uint32_t task,
				     const struct mirror_record *record, enum mirror_reason reason,
				     const char *detail, const char *node)
{
	struct run *run = context;

	(void)record;
	run->deadletters[reason]++;
	run->deadletters_count++;
	run_line(run, task, RUN_DEADLETTERS, "deadletter %d %s %s\n", reason, detail, node);
}

/* --- the run --- */

static inline void run_send(void *context, struct message *message)
{
	struct run *run = context;

	LOG_GROW(run, messages);
	run->messages[run->messages_count++] = message;
}

static inline void run_deliver(struct run *run)
{
	for (size_t i = 0; i < run->messages_count; i++)
		task_receive(run->tasks[run->messages[i]->task], run->messages[i]);
	run->messages_count = 0;
}

/* Steps the tasks until none has anything to do. */
static inline void run_settle(struct run *run)
{
	bool any = true;

	while (any) {
		uint64_t first = run->options.order;

		any = false;
		run_deliver(run);
		for (uint32_t i = 0; i < run->tasks_count; i++)
			any |= task_run(run->tasks[(i + first) % run->tasks_count]);
		any |= run->messages_count > 0;
		if (run->options.order)
			run->options.order = run->options.order * 6364136223846793005ULL + 1;
	}
}

static inline struct task_options run_task_options(struct run *run)
{
	const struct run_options *options = &run->options;
	uint32_t halves_max = options->halves_max ? options->halves_max : 4096;
	uint32_t nats_max = options->nats_max ? options->nats_max : 4096;
	uint32_t rows_max = options->rows_max ? options->rows_max : 8192;

	return (struct task_options){
		.tasks = run->tasks_count,
		.seed = options->order,
		.mirror = {.lateness_ns = MS(500),
			   .keep_ns = SEC(120),
			   .nodes_max = 64,
			   .halves_max = halves_max,
			   .nats_max = nats_max,
			   .processes_max = 4096,
			   .containers_max = 256,
			   .answers_max = options->answers_max,
			   .amendments_max = 4096,
			   .events_max = options->events_max,
			   .names_max = halves_max,
			   .instances_max = halves_max,
			   .record_bytes_max = 1 << 20},
		.join = {.halves_max =
				 options->join_halves_max ? options->join_halves_max : halves_max,
			 .aliases_max = nats_max,
			 .instances_max = halves_max,
			 .one_sided_ns = SEC(2),
			 .keep_ns = SEC(120)},
		.lanes_max = rows_max,
		.facts_max = 1024,
		.networks = options->networks,
		.aggregate = {.rows_max = rows_max, .names_max = halves_max},
		.anomaly = {.monitors = options->monitors,
			    .monitors_count = options->monitors_count,
			    .baselines = true,
			    .sensitivity = 9,
			    .warmup_samples = 60,
			    .objective = 0.99,
			    .update_ns = SEC(10),
			    .baseline_save_ns = SEC(60),
			    .edges_max = 1024,
			    .episodes_max = 64},
		.sinks = {run, run_on_flows, run_on_rollups, run_on_alerts, run_on_baselines,
			  run_on_deadletter},
		.send = run_send,
		.send_context = run,
	};
}

static inline struct run *run_new(uint32_t tasks, const struct run_options *options)
{
	struct run *run = memory_zeroed(1, sizeof(*run));

	if (options)
		run->options = *options;
	run->tasks_count = tasks;
	for (uint32_t i = 0; i < tasks; i++) {
		struct task_options task = run_task_options(run);

		task.task = i;
		run->tasks[i] = task_new(&task);
	}
	return run;
}

/* One record, when its task wants more; others go on meanwhile. */
static inline void run_record(struct run *run, uint32_t partition, const uint8_t *bytes,
			      size_t length, uint64_t append_ns)
{
	static int64_t offset;
	struct mirror_record record = {bytes, length, append_ns, offset++};

	task_records(run->tasks[partition], &record, 1);
}

/* Every partition has its own place in the log, so that none waits for another's records. */
static inline void run_log(struct run *run, const struct log *log)
{
	size_t next[RUN_TASKS_MAX] = {0};
	bool any = true;

	while (any) {
		any = false;
		for (uint32_t partition = 0; partition < run->tasks_count; partition++) {
			size_t *at = &next[partition];

			while (*at < log->records_count && log->records[*at].partition != partition)
				++*at;
			if (*at == log->records_count)
				continue;
			any = true;
			if (!task_hungry(run->tasks[partition]))
				continue;
			run_record(run, partition, log->records[*at].bytes,
				   log->records[*at].length, log->records[*at].append_ns);
			++*at;
		}
		run_settle(run);
	}
}

static inline void run_add_stats(struct mirror_stats *sum, const struct mirror_stats *stats)
{
	sum->records += stats->records;
	sum->answers += stats->answers;
	sum->answers_evicted += stats->answers_evicted;
	sum->names_dropped += stats->names_dropped;
	sum->issued += stats->issued;
	sum->events += stats->events;
	sum->lost += stats->lost;
	sum->duplicate += stats->duplicate;
	sum->late += stats->late;
	sum->future += stats->future;
	sum->refused += stats->refused;
	sum->aggregated += stats->aggregated;
	sum->pending += stats->pending;
	sum->quarantined += stats->quarantined;
	sum->adopted += stats->adopted;
	sum->halves += stats->halves;
	sum->nats += stats->nats;
}

/* Nothing is lost silently: holds after every run, whatever it was about. */
static inline void run_check_accounts(struct run *run)
{
	struct mirror_stats *sum = &run->ingest;
	uint64_t rows_sent = 0, rows_merged = 0;

	*sum = (struct mirror_stats){0};
	for (uint32_t i = 0; i < run->tasks_count; i++) {
		run->stats[i] = task_stats(run->tasks[i]);
		run_add_stats(sum, &run->stats[i].mirror);
		assert_ledger(task_mirror(run->tasks[i]));
		rows_sent += run->stats[i].partial.rows;
		rows_merged += run->stats[i].aggregate.merged;
	}
	assert_int_equal(rows_sent, rows_merged);
}

static inline struct run *run_with(const struct log *log, const struct run_options *options)
{
	struct run *run = run_new(log->partitions, options);

	run_log(run, log);
	run_check_accounts(run);
	return run;
}

/* Seals what was told and runs it. */
static inline struct run *run_of(struct log *log)
{
	log_seal(log);
	return run_with(log, NULL);
}

static inline void run_free(struct run *run)
{
	run_deliver(run);
	for (uint32_t i = 0; i < run->tasks_count; i++) {
		task_free(run->tasks[i]);
		for (int kind = 0; kind < RUN_KINDS; kind++)
			free(run->lines[i][kind].bytes);
	}
	free(run->messages);
	free(run->flows);
	free(run->rows);
	free(run->alerts);
	free(run);
}

/* --- questions --- */

/* Flows that stand, from one workload to another; NULL: any. */
static inline size_t run_count_flows(const struct run *run, const char *client, const char *server)
{
	size_t count = 0;

	for (size_t i = 0; i < run->flows_count; i++) {
		const struct run_flow *flow = &run->flows[i];

		count += !flow->replaced && (!client || !strcmp(flow->edge_client, client)) &&
			 (!server || !strcmp(flow->edge_server, server));
	}
	return count;
}

static inline void run_print_flows(const struct run *run)
{
	for (uint32_t i = 0; i < run->tasks_count; i++)
		if (run->lines[i][RUN_FLOWS].length)
			print_error("task %u:\n%.*s", i, (int)run->lines[i][RUN_FLOWS].length,
				    run->lines[i][RUN_FLOWS].bytes);
}

/* The one flow that stands. */
static inline const struct run_flow *run_only_flow(const struct run *run)
{
	const struct run_flow *only = NULL;

	if (run_count_flows(run, NULL, NULL) != 1)
		run_print_flows(run);
	assert_int_equal(run_count_flows(run, NULL, NULL), 1);
	for (size_t i = 0; i < run->flows_count; i++)
		if (!run->flows[i].replaced)
			only = &run->flows[i];
	return only;
}

/* A counter over all windows of one length with their amendments; client, server: NULL is any. */
static inline int64_t run_sum(const struct run *run, enum scope scope, uint32_t window_ms,
			      const char *client, const char *server, enum counter counter)
{
	int64_t sum = 0;

	for (size_t i = 0; i < run->rows_count; i++) {
		const struct run_row *row = &run->rows[i];

		if (row->row.scope != scope || row->row.window_ms != window_ms ||
		    (client && strcmp(row->client, client)) ||
		    (server && strcmp(row->server, server)))
			continue;
		sum += row->row.counters[counter];
	}
	return sum;
}

/* Of the edges' 10 s windows, which are complete. */
static inline int64_t run_edge(const struct run *run, const char *client, const char *server,
			       enum counter counter)
{
	return run_sum(run, SCOPE_EDGE, 10000, client, server, counter);
}

/* The same of the one window that begins start_s after LOG_START_NS. */
static inline int64_t run_edge_at(const struct run *run, uint64_t start_s, const char *client,
				  const char *server, enum counter counter)
{
	int64_t sum = 0;

	for (size_t i = 0; i < run->rows_count; i++) {
		const struct run_row *row = &run->rows[i];

		if (row->row.scope == SCOPE_EDGE && row->row.window_ms == 10000 &&
		    row->row.window_start_ns == LOG_START_NS + SEC(start_s) &&
		    (!client || !strcmp(row->client, client)) &&
		    (!server || !strcmp(row->server, server)))
			sum += row->row.counters[counter];
	}
	return sum;
}

/* Fails at the first line in which they differ. */
static inline void run_expect_same_text(const struct run_text *a, const struct run_text *b,
					uint32_t task)
{
	size_t common = a->length < b->length ? a->length : b->length, at = 0, line = 0;

	for (; at < common && a->bytes[at] == b->bytes[at]; at++)
		line = a->bytes[at] == '\n' ? at + 1 : line;
	if (a->length == b->length && at == common)
		return;
	fail_msg("task %u differs:\n%.600s\n---\n%.600s", task,
		 a->length > line ? a->bytes + line : "(end)",
		 b->length > line ? b->bytes + line : "(end)");
}

/* All that two runs gave, byte for byte. */
static inline void run_expect_same(const struct run *one, const struct run *other)
{
	assert_int_equal(one->tasks_count, other->tasks_count);
	for (uint32_t i = 0; i < one->tasks_count; i++)
		for (int kind = 0; kind < RUN_KINDS; kind++)
			run_expect_same_text(&one->lines[i][kind], &other->lines[i][kind], i);
}
