/* The pipeline over logs in memory, for the simulation: reads logs on stdin, runs each through as
 * many tasks as it has partitions, on one thread, and writes what comes out as lines of text, names
 * resolved, task by task; so the bytes depend on the log alone.
 *
 *   in   struct log_head, then log_head.records times struct log_record with its bytes; again and
 *        again until the end of stdin
 *   out  C <counter>,...         their names, by number
 *        B <task> <window_ms>     rows of one emission follow
 *        R <order> <key> <amendment> <counters> <min_rtt_us> <connect> <srtt> <last_event_ns>
 *        F <flow ...>             see put_flow
 *        N <id> <name>           a name that rows were told without: '?' and its id in keys
 *        S <name>:<value> ...     sums over the tasks' mirrors
 *        E                        the log is over
 *
 * Fields are parted by tabs, the parts of a key by '|'. All state is made anew for each log. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "daemon/task.h"

enum { PARTITIONS_MAX = 16 };

struct log_head {
	uint32_t magic, partitions;
	uint64_t records, lateness_ns;
};

#define LOG_MAGIC 0x676f6c6d

struct log_record {
	uint32_t partition, length;
	uint64_t append_ns;
};

struct text {
	struct drive *drive;
	char *bytes;
	size_t length, max;
};

struct log {
	struct mirror_record *records;
	size_t count, max, next;
};

struct drive {
	uint32_t partitions;
	struct log logs[PARTITIONS_MAX];
	struct text texts[PARTITIONS_MAX]; /* by task */
	struct task *tasks[PARTITIONS_MAX];
	struct names *names; /* all that any task ever knew */
	uint64_t *unnamed;   /* ids of names that a row was told without */
	size_t unnamed_count, unnamed_max;
	struct message *oldest, *newest; /* under way */
};

/* --- text --- */

static char *text_room(struct text *text, size_t length)
{
	if (text->length + length > text->max) {
		text->max = memory_grown(text->max, text->length + length);
		text->bytes = memory_resize(text->bytes, text->max, 1);
	}
	return text->bytes + text->length;
}

static void put_bytes(struct text *text, const char *bytes, size_t length)
{
	memcpy(text_room(text, length), bytes, length);
	text->length += length;
}

static void put(struct text *text, const char *word)
{
	put_bytes(text, word, strlen(word));
}

static void put_char(struct text *text, char c)
{
	*text_room(text, 1) = c;
	text->length++;
}

static void put_number(struct text *text, int64_t value)
{
	char digits[24], *at = digits + sizeof(digits);
	uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

	do
		*--at = (char)('0' + rest % 10);
	while (rest /= 10);
	if (value < 0)
		*--at = '-';
	put_bytes(text, at, (size_t)(digits + sizeof(digits) - at));
}

static void put_hex(struct text *text, uint64_t value)
{
	for (int shift = 60; shift >= 0; shift -= 4)
		put_char(text, "0123456789abcdef"[value >> shift & 15]);
}

/* A number and what parts it from the next. */
static void put_field(struct text *text, int64_t value, char after)
{
	put_number(text, value);
	put_char(text, after);
}

static void put_name(struct text *text, const struct names *names, uint64_t id)
{
	const struct name *name = id ? names_get(names, id) : NULL;
	struct drive *drive = text->drive;

	if (name) {
		names_put(drive->names, name->bytes, name->length, 0);
		put_bytes(text, name->bytes, name->length);
	} else if (id) {
		if (drive->unnamed_count == drive->unnamed_max) {
			drive->unnamed_max =
				memory_grown(drive->unnamed_max, drive->unnamed_count + 1);
			drive->unnamed = memory_resize(drive->unnamed, drive->unnamed_max,
						       sizeof(*drive->unnamed));
		}
		drive->unnamed[drive->unnamed_count++] = id;
		put_char(text, '?');
		put_hex(text, id);
	}
	put_char(text, '|');
}

/* An end without an agent goes by its address, whose text a flow's reader makes (daemon/encode.c).
 */
static void put_workload(struct text *text, const struct names *names, uint64_t id,
			 uint32_t resolution, const struct address *address)
{
	char formatted[ADDRESS_TEXT_MAX];

	if (!address || !resolution_is_address(resolution)) {
		put_name(text, names, id);
		return;
	}
	put_bytes(text, formatted, address_format(address, formatted));
	put_char(text, '|');
}

static void put_edge(struct text *text, const struct names *names, const struct edge *edge,
		     const struct tuple *tuple)
{
	put_workload(text, names, edge->client, edge->client_resolution,
		     tuple ? &tuple->client : NULL);
	put_workload(text, names, edge->server, edge->server_resolution,
		     tuple ? &tuple->server : NULL);
	put_field(text, edge->port, '|');
	put_field(text, edge->protocol, '|');
	if (!tuple)
		return; /* of two ways to the same name a row tells either */
	put(text, resolution_name(edge->client_resolution));
	put_char(text, '|');
	put(text, resolution_name(edge->server_resolution));
	put_char(text, '|');
}

static void put_instance(struct text *text, const struct names *names,
			 const struct instance *instance, const struct address *address)
{
	put_workload(text, names, instance->workload, instance->resolution, address);
	put_name(text, names, instance->version);
	put_name(text, names, instance->zone);
	put_name(text, names, instance->node);
	put_name(text, names, instance->container);
	put_name(text, names, instance->process);
	/* The resolutions that make another instance. */
	if (address || instance->resolution == RESOLUTION_NODE_DNS ||
	    instance->resolution == RESOLUTION_SNI)
		put(text, resolution_name(instance->resolution));
}

static void put_lane(struct text *text, const struct names *names, const struct lane *lane)
{
	put_name(text, names, lane->client_zone);
	put_name(text, names, lane->server_zone);
	put_name(text, names, lane->client_version);
	put_name(text, names, lane->server_version);
}

static void put_cells(struct text *text, const struct sketch_cell *cells, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		put_field(text, cells[i].index, ':');
		put_field(text, (int64_t)cells[i].count, ',');
	}
	put_char(text, '\t');
}

/* --- what comes out --- */

static void put_row(struct text *text, const struct names *names, const struct rollup *row)
{
	put(text, "R\t");
	put_hex(text, row->window_start_ns);
	put_hex(text, row->edge.id);
	put_char(text, (char)('0' + row->scope));
	put_hex(text, row->scope == SCOPE_LANE ? row->lane.id : row->instance.id);
	put_char(text, '\t');
	put_field(text, row->window_ms, '|');
	put_field(text, (int64_t)row->window_start_ns, '|');
	put_field(text, row->scope, '|');
	put_edge(text, names, &row->edge, NULL);
	if (row->scope == SCOPE_LANE)
		put_lane(text, names, &row->lane);
	else if (row->scope != SCOPE_EDGE)
		put_instance(text, names, &row->instance, NULL);
	put(text, row->amendment ? "\t1\t" : "\t0\t");
	for (int i = 0; i < COUNTERS; i++) {
		if (!row->counters[i])
			continue;
		put_field(text, i, ':');
		put_field(text, row->counters[i], ',');
	}
	put_char(text, '\t');
	put_field(text, row->min_rtt_us, '\t');
	put_cells(text, row->connect, row->connect_cells);
	put_cells(text, row->srtt, row->srtt_cells);
	put_field(text, (int64_t)row->last_event_ns, '\n');
}

static void on_rollups(void *context, uint32_t task, const struct rollup *rollups, size_t count,
		       const struct names *names)
{
	struct drive *drive = context;
	struct text *text = &drive->texts[task];

	put(text, "B\t");
	put_field(text, task, '\t');
	put_field(text, count ? rollups[0].window_ms : 0, '\n');
	for (size_t i = 0; i < count; i++)
		put_row(text, names, &rollups[i]);
}

static void put_place(struct text *text, const struct address *address, uint16_t port)
{
	char formatted[ADDRESS_TEXT_MAX];

	put_bytes(text, formatted, address_format(address, formatted));
	put_char(text, '|');
	put_field(text, port, '|');
}

static void put_end(struct text *text, const struct names *names, const struct flow_end *end,
		    const struct address *address)
{
	put_field(text, end->seen, '|');
	put_field(text, end->closed, '|');
	put_field(text, end->reason, '|');
	put_field(text, end->pid, '|');
	put_instance(text, names, &end->instance, address);
	put_char(text, '|');
	put_field(text, (int64_t)end->total.tx_bytes, '|');
	put_field(text, (int64_t)end->total.rx_bytes, '|');
	put_field(text, (int64_t)end->total.tx_segments, '|');
	put_field(text, (int64_t)end->total.rx_segments, '|');
	put_field(text, (int64_t)end->total.retransmits, '|');
	put_field(text, end->min_rtt_us, '|');
	put_field(text, end->lost, '\t');
}

static void put_flow(struct text *text, const struct names *names, const struct flow *flow)
{
	put(text, "F\t");
	put_hex(text, flow->id);
	put_char(text, '\t');
	put_field(text, flow->amended, '\t');
	put_field(text, flow->hops, '\t');
	put_place(text, &flow->canonical.client, flow->canonical.client_port);
	put_place(text, &flow->canonical.server, flow->canonical.server_port);
	put_place(text, &flow->dialled, flow->dialled_port);
	put_place(text, &flow->wire.client, flow->wire.client_port);
	put_field(text, flow->canonical.protocol, '|');
	put_field(text, flow->joined, '|');
	put_field(text, flow->established, '|');
	put_field(text, (int64_t)flow->opened_ns, '|');
	put_field(text, (int64_t)flow->closed_ns, '|');
	put_field(text, (int64_t)flow->connect_us, '|');
	put_edge(text, names, &flow->edge, &flow->canonical);
	put_char(text, '\t');
	put_end(text, names, &flow->client, &flow->canonical.client);
	put_end(text, names, &flow->server, &flow->canonical.server);
	put_char(text, '\n');
}

static void on_flows(void *context, uint32_t task, const struct flow *flows, size_t count,
		     const struct names *names)
{
	struct drive *drive = context;

	for (size_t i = 0; i < count; i++)
		put_flow(&drive->texts[task], names, &flows[i]);
}

static void on_alerts(void *context, uint32_t task, const struct alert *alerts, size_t count)
{
	(void)context;
	(void)task;
	(void)alerts;
	(void)count;
}

static void on_baselines(void *context, uint32_t task, const struct baseline_record *records,
			 size_t count, const struct names *names)
{
	(void)context;
	(void)task;
	(void)records;
	(void)count;
	(void)names;
}

static void on_deadletter(void *context, uint32_t task, const struct mirror_record *record,
			  enum mirror_reason reason, const char *detail, const char *node)
{
	(void)context;
	(void)record;
	fprintf(stderr, "drive: task %u, node %s: %s: %s\n", task, node, mirror_reason_name(reason),
		detail);
	exit(EXIT_FAILURE);
}

/* --- a run --- */

static void on_send(void *context, struct message *message)
{
	struct drive *drive = context;

	message->letter.next = NULL;
	if (drive->newest)
		drive->newest->letter.next = &message->letter;
	else
		drive->oldest = message;
	drive->newest = message;
}

static bool deliver(struct drive *drive)
{
	bool any = drive->oldest != NULL;

	while (drive->oldest) {
		struct message *message = drive->oldest;

		drive->oldest = (struct message *)message->letter.next;
		if (!drive->oldest)
			drive->newest = NULL;
		task_receive(drive->tasks[message->task], message);
	}
	return any;
}

/* Room for all that a log of some thousand events holds: bounds are other tests' matter. */
static struct task_options task_options(struct drive *drive, uint32_t task,
					const struct log_head *head)
{
	return (struct task_options){
		.task = task,
		.tasks = head->partitions,
		.seed = (uint64_t)getpid(), /* which must not show */
		.mirror = {.lateness_ns = head->lateness_ns,
			   .keep_ns = 120 * NS_PER_S,
			   .nodes_max = 32,
			   .halves_max = 4096,
			   .nats_max = 4096,
			   .processes_max = 1024,
			   .containers_max = 1024,
			   .amendments_max = 16384,
			   .names_max = 4096,
			   .instances_max = 4096,
			   .record_bytes_max = 1 << 20},
		.join = {.halves_max = 4096,
			 .aliases_max = 4096,
			 .instances_max = 4096,
			 .one_sided_ns = 2 * NS_PER_S,
			 .keep_ns = 120 * NS_PER_S},
		.lanes_max = 4096,
		.facts_max = 1024,
		.aggregate = {.rows_max = 8192, .names_max = 4096},
		.anomaly = {.sensitivity = 6,
			    .warmup_samples = 30,
			    .update_ns = 10 * NS_PER_S,
			    .baseline_save_ns = 60 * NS_PER_S,
			    .edges_max = 1024,
			    .episodes_max = 64},
		.sinks = {drive, on_flows, on_rollups, on_alerts, on_baselines, on_deadletter},
		.send = on_send,
		.send_context = drive,
	};
}

static bool feed(struct drive *drive, uint32_t task)
{
	struct log *log = &drive->logs[task];

	if (log->next == log->count || !task_hungry(drive->tasks[task]))
		return false;
	task_records(drive->tasks[task], &log->records[log->next++], 1);
	return true;
}

static void run(struct drive *drive)
{
	for (bool moved = true; moved;) {
		moved = false;
		for (uint32_t i = 0; i < drive->partitions; i++) {
			moved |= feed(drive, i);
			moved |= task_run(drive->tasks[i]);
		}
		moved |= deliver(drive);
	}
	for (uint32_t i = 0; i < drive->partitions; i++)
		assert(drive->logs[i].next == drive->logs[i].count);
}

static void put_counters(void)
{
	for (int i = 0; i < COUNTERS; i++)
		printf("%s%s", i ? "," : "C\t", counter_info((enum counter)i)->name);
	printf("\n");
}

static void put_unnamed(const struct drive *drive)
{
	for (size_t i = 0; i < drive->unnamed_count; i++) {
		const struct name *name = names_get(drive->names, drive->unnamed[i]);

		printf("N\t%016" PRIx64 "\t%s\n", drive->unnamed[i], name ? name->bytes : "");
	}
}

struct balance {
	struct ledger sum;
	uint64_t unexplained;
};

static void add_node(void *context, const struct mirror_node *node)
{
	struct balance *balance = context;

	balance->unexplained += ledger_unexplained(&node->ledger);
	ledger_add(&balance->sum, &node->ledger);
}

/* By how many events the ledgers of a task's nodes, of its others and of all fail, or how far these
 * are from adding up. */
static uint64_t unexplained(struct mirror *mirror)
{
	const struct mirror_stats stats = mirror_stats(mirror);
	const struct ledger all = mirror_ledger(&stats);
	struct balance balance = {.sum = stats.others};

	mirror_nodes(mirror, add_node, &balance);
	return balance.unexplained + ledger_unexplained(&stats.others) + ledger_unexplained(&all) +
	       (memcmp(&balance.sum, &all, sizeof(all)) != 0);
}

static void put_stats(const struct drive *drive)
{
	struct mirror_stats sum = {0};
	uint64_t folded = 0, last_pane = UINT64_MAX, off = 0, sent = 0, merged = 0;

	for (uint32_t i = 0; i < drive->partitions; i++) {
		struct task_stats stats = task_stats(drive->tasks[i]);

		sum.issued += stats.mirror.issued;
		sum.events += stats.mirror.events;
		sum.lost += stats.mirror.lost;
		sum.duplicate += stats.mirror.duplicate;
		sum.late += stats.mirror.late;
		sum.aggregated += stats.mirror.aggregated;
		sum.pending += stats.mirror.pending;
		sum.refused += stats.mirror.refused;
		sum.quarantined += stats.mirror.quarantined;
		folded += stats.partial.folded + stats.aggregate.folded;
		off += unexplained(task_mirror(drive->tasks[i]));
		sent += stats.partial.rows;
		merged += stats.aggregate.merged;
		if (stats.pane < last_pane)
			last_pane = stats.pane;
	}
	printf("S\tissued:%" PRIu64 "\tevents:%" PRIu64 "\tlost:%" PRIu64 "\tduplicate:%" PRIu64
	       "\tlate:%" PRIu64 "\taggregated:%" PRIu64 "\tpending:%" PRIu64 "\trefused:%" PRIu64
	       "\tquarantined:%" PRIu64 "\tfolded:%" PRIu64 "\tlast_pane:%" PRIu64
	       "\tunexplained:%" PRIu64 "\tunmerged:%" PRIu64 "\nE\n",
	       sum.issued, sum.events, sum.lost, sum.duplicate, sum.late, sum.aggregated,
	       sum.pending, sum.refused, sum.quarantined, folded, last_pane, off, sent - merged);
}

static void run_log(struct drive *drive, const struct log_head *head)
{
	for (uint32_t i = 0; i < drive->partitions; i++) {
		struct task_options options = task_options(drive, i, head);

		drive->tasks[i] = task_new(&options);
	}
	run(drive);
	put_counters();
	for (uint32_t i = 0; i < drive->partitions; i++)
		fwrite(drive->texts[i].bytes, 1, drive->texts[i].length, stdout);
	put_unnamed(drive);
	put_stats(drive);
	fflush(stdout);
	for (uint32_t i = 0; i < drive->partitions; i++)
		task_free(drive->tasks[i]);
}

/* --- reading --- */

static void must_read(void *bytes, size_t length)
{
	if (length && fread(bytes, length, 1, stdin) != 1) {
		fprintf(stderr, "drive: the log ends within a record\n");
		exit(EXIT_FAILURE);
	}
}

static void read_record(struct drive *drive, int64_t offset)
{
	struct log_record head;
	struct log *log;

	must_read(&head, sizeof(head));
	assert(head.partition < drive->partitions && head.length <= 1 << 20);
	log = &drive->logs[head.partition];
	if (log->count == log->max) {
		log->max = memory_grown(log->max, log->count + 1);
		log->records = memory_resize(log->records, log->max, sizeof(*log->records));
	}
	uint8_t *bytes = memory_zeroed(1, head.length + 1);

	must_read(bytes, head.length);
	log->records[log->count++] =
		(struct mirror_record){bytes, head.length, head.append_ns, offset};
}

static void drive_free(struct drive *drive)
{
	for (uint32_t i = 0; i < drive->partitions; i++) {
		for (size_t n = 0; n < drive->logs[i].count; n++)
			free((void *)drive->logs[i].records[n].value);
		free(drive->logs[i].records);
		free(drive->texts[i].bytes);
	}
	names_free(drive->names);
	free(drive->unnamed);
	free(drive);
}

int main(void)
{
	struct log_head head;

	while (fread(&head, sizeof(head), 1, stdin) == 1) {
		struct drive *drive = memory_zeroed(1, sizeof(*drive));

		assert(head.magic == LOG_MAGIC && head.partitions > 0 &&
		       head.partitions <= PARTITIONS_MAX);
		drive->partitions = head.partitions;
		drive->names = names_new(65536, 0);
		for (uint32_t i = 0; i < head.partitions; i++)
			drive->texts[i].drive = drive;
		for (uint64_t i = 0; i < head.records; i++)
			read_record(drive, (int64_t)i);
		run_log(drive, &head);
		drive_free(drive);
	}
	return ferror(stdin) ? EXIT_FAILURE : EXIT_SUCCESS;
}
