/* What the mirror of one partition costs after decoding: one JSON line. bench-ingest [nodes]
 * [halves a node]. Batches are an agent's, 100 ms each; updates spread over a node's halves as
 * Zipf(0.9), 405 a batch, as in the heaviest mix; then batches of openings and closes, 51 of each.
 * Every half is labelled for good when it is announced. 16 panes are timed after 8 of warm-up; the
 * decoder's own cost on the same bytes is taken off. Instructions need perf_event_open (null where
 * it is not permitted). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/batch/batch.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "bench/drive/cost.h"
#include "bench/drive/heap.h"
#include "ingest/decode.h"
#include "ingest/mirror.h"

enum {
	TASKS = 16,
	WARM_PANES = 8,
	TIMED_PANES = 16,
	UPDATES = 405, /* a batch */
	CHURN = 51,
	BATCH_MS = 100,
	RECORDS_MAX = 65536,
};

struct bench {
	struct mirror *mirror;
	struct decoder *decoder;
	struct batch *batches[1024];
	uint32_t nodes, halves; /* halves of each node */
	double *shares;		/* cumulated, of slots */
	uint32_t *generations;	/* by node and slot */
	uint64_t *openings;	/* by node: opened and closed so far */
	uint64_t random, now_ns, pane;
	struct mirror_record records[RECORDS_MAX];
	size_t records_count;
	uint64_t deltas, opens;
	struct label *labels;
	size_t labels_count, labels_capacity;
};

static struct bench bench;

/* ---- costs ---- */

static uint64_t bench_random(void)
{
	bench.random += 0x9e3779b97f4a7c15ULL;
	return hash_mix(bench.random);
}

/* ---- sinks ---- */

static void take_halves(void *context, uint32_t task, const struct half_bucket *bucket)
{
	(void)context;
	bench.opens += bucket->opens_count;
	if (bench.labels_count + bucket->opens_count > bench.labels_capacity) {
		bench.labels_capacity = memory_grown(bench.labels_capacity,
						     bench.labels_count + bucket->opens_count);
		bench.labels =
			memory_resize(bench.labels, bench.labels_capacity, sizeof(*bench.labels));
	}
	for (size_t i = 0; i < bucket->opens_count; i++)
		bench.labels[bench.labels_count++] = (struct label){
			.half = bucket->opens[i].ref,
			.number = bucket->opens[i].ref.index + 1,
			.join_task = (uint16_t)task,
			.port = bucket->opens[i].key.server_port,
			.protocol = PROTOCOL_TCP,
			.side = bucket->opens[i].side,
			.counts_from = SIDE_CLIENT,
			.joined = true,
			.final = true,
			.client = bucket->opens[i].self,
			.server = bucket->opens[i].self,
		};
}

static void take_deltas(void *context, const struct delta *deltas, size_t count)
{
	(void)context;
	(void)deltas;
	bench.deltas += count;
}

static void take_amendments(void *context, const struct amendment *amendments, size_t count)
{
	(void)context;
	(void)amendments;
	(void)count;
}

static void hold_lanes(void *context, struct lane_wanted *wanted, size_t count)
{
	(void)context;
	for (size_t i = 0; i < count; i++)
		wanted[i].lane = wanted[i].port;
}

static void drop_lane(void *context, uint32_t lane)
{
	(void)context;
	(void)lane;
}

/* ---- agents ---- */

static void seal(uint32_t node)
{
	char name[32];
	snprintf(name, sizeof(name), "node-%" PRIu32, node);
	struct batch_sender sender = {
		.node = name, .boot_id = {1}, .epoch = 1, .zone = "eu-1a", .role = "worker"};
	struct batch_bytes sealed =
		batch_seal(bench.batches[node], &sender, bench.now_ns, bench.now_ns);
	uint8_t *kept = memory_zeroed(sealed.length, 1);
	memcpy(kept, sealed.bytes, sealed.length);
	if (bench.records_count == RECORDS_MAX)
		abort();
	bench.records[bench.records_count++] =
		(struct mirror_record){kept, sealed.length, bench.now_ns, 0};
}

/* Spread over the batch's interval. */
static uint64_t event_time(uint32_t i, uint32_t count)
{
	return bench.now_ns - BATCH_MS * NS_PER_MS + BATCH_MS * NS_PER_MS / count * i;
}

static void define(uint32_t node, uint32_t slot, uint64_t time_ns)
{
	struct batch_definition definition = {
		.slot = slot,
		.generation = ++bench.generations[(size_t)node * 65536 + slot],
		.protocol = PROTOCOL_TCP,
		.role = slot % 2 ? BATCH_ROLE_CLIENT : BATCH_ROLE_SERVER,
		.local = address_v4(0x0a000000 + node * 64 + slot % 30),
		.remote = address_v4(0x0a100000 + (uint32_t)(bench_random() % 30000)),
		.local_port = (uint16_t)(slot % 2 ? 32768 + slot : 8080),
		.remote_port = (uint16_t)(slot % 2 ? 8080 : 32768 + slot),
		.pid = 100 + slot % 30,
		.cgroup = 1000 + slot % 30,
		.connect_ns = NS_PER_MS,
		.age_ns = NS_PER_MS,
		.time_ns = time_ns,
	};
	if (!batch_define(bench.batches[node], &definition))
		abort();
}

static uint32_t active_slot(void)
{
	double at = (double)(bench_random() >> 11) * 0x1p-53 * bench.shares[bench.halves - 1];
	uint32_t low = 0, high = bench.halves - 1;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (bench.shares[middle] < at)
			low = middle + 1;
		else
			high = middle;
	}
	/* Any slot may be the busiest. */
	return (uint32_t)((uint64_t)low * 2654435761U % bench.halves);
}

static void put_updates(uint32_t node)
{
	for (uint32_t i = 0; i < UPDATES; i++)
		batch_update(
			bench.batches[node],
			&(struct batch_update){.slot = active_slot(),
					       .moved = {.tx_bytes = bench_random() % 3000,
							 .rx_bytes = bench_random() % 30000,
							 .tx_segments = 3,
							 .rx_segments = 20,
							 .retransmits = bench_random() % 50 == 0},
					       .srtt_us = 200 + (uint32_t)(bench_random() % 50),
					       .time_ns = event_time(i, UPDATES)});
}

/* Slots behind the lasting ones: each batch closes what the one before opened. */
static void put_churn(uint32_t node)
{
	bool odd = bench.openings[node] % 2;
	uint32_t base = bench.halves + (odd ? CHURN : 0), former = bench.halves + (odd ? 0 : CHURN);
	for (uint32_t i = 0; i < CHURN; i++) {
		define(node, base + i, event_time(i, CHURN));
		if (bench.openings[node])
			batch_close(bench.batches[node],
				    &(struct batch_close){.slot = former + i,
							  .reason = CLOSE_NORMAL,
							  .total = {.tx_bytes = 100},
							  .time_ns = event_time(i, CHURN)});
	}
	bench.openings[node]++;
}

/* ---- panes ---- */

static struct cost decode_cost(void)
{
	struct decoded decoded;
	struct cost before = cost_now();
	for (size_t i = 0; i < bench.records_count; i++)
		decoder_read(bench.decoder, bench.records[i].value, bench.records[i].length,
			     &decoded);
	return cost_since(before);
}

/* Returns what that cost. */
static struct cost close_ready(void)
{
	struct cost before = cost_now();
	if (!bench.pane)
		bench.pane = mirror_first_pane(bench.mirror);
	for (; mirror_ready(bench.mirror, bench.pane); bench.pane++) {
		mirror_halves(bench.mirror, bench.pane);
		mirror_labels(bench.mirror, bench.labels, bench.labels_count, NULL, 0);
		bench.labels_count = 0;
		mirror_deltas(bench.mirror, bench.pane);
	}
	return cost_since(before);
}

/* Costs of the push, less the decoder's, and of the panes that it closed. */
struct costs {
	struct cost push, close;
};

static void run_records(struct costs *costs)
{
	struct cost decoding = decode_cost(), before = cost_now();
	for (size_t i = 0; i < bench.records_count; i++)
		mirror_push(bench.mirror, &bench.records[i], 1);
	cost_add(&costs->push, cost_since(before));
	costs->push.ns -= decoding.ns;
	costs->push.instructions -= decoding.instructions;
	cost_add(&costs->close, close_ready());
	for (size_t i = 0; i < bench.records_count; i++)
		free((void *)bench.records[i].value);
	bench.records_count = 0;
}

/* So many panes of batches made by put. */
static struct costs run_panes(uint32_t panes, void (*put)(uint32_t node))
{
	struct costs costs = {0};
	for (uint32_t batch = 0; batch < panes * (uint32_t)(PANE_NS / NS_PER_MS) / BATCH_MS;
	     batch++) {
		bench.now_ns += BATCH_MS * NS_PER_MS;
		for (uint32_t node = 0; node < bench.nodes; node++) {
			put(node);
			seal(node);
		}
		run_records(&costs);
	}
	return costs;
}

static void put_nothing(uint32_t node)
{
	(void)node;
}

/* Defines the slots [first, end) of all nodes, some a batch. */
static void define_all(uint32_t first, uint32_t end)
{
	enum { DEFINITIONS = 64 };
	for (uint32_t slot = first; slot < end; slot += DEFINITIONS) {
		bench.now_ns += BATCH_MS * NS_PER_MS;
		for (uint32_t node = 0; node < bench.nodes; node++) {
			for (uint32_t i = 0; i < DEFINITIONS && slot + i < end; i++)
				define(node, slot + i, event_time(i, DEFINITIONS));
			seal(node);
		}
		run_records(&(struct costs){0});
	}
	run_panes(WARM_PANES, put_nothing);
}

/* ---- all ---- */

static void bench_new(void)
{
	bench.mirror = mirror_new(&(struct mirror_options){
		.join_tasks = TASKS,
		.lateness_ns = 500 * NS_PER_MS,
		.keep_ns = 120 * NS_PER_S,
		.nodes_max = bench.nodes,
		.halves_max = bench.nodes * bench.halves * 2,
		.nats_max = 65536,
		.processes_max = 65536,
		.containers_max = 65536,
		.amendments_max = 65536,
		.names_max = 65536,
		.instances_max = 65536,
		.destinations = TASKS,
		.record_bytes_max = 1048576,
		.sinks = {.halves = take_halves,
			  .deltas = take_deltas,
			  .amendments = take_amendments,
			  .lanes_hold = hold_lanes,
			  .lane_drop = drop_lane},
	});
	bench.decoder = decoder_new(&(struct decode_options){.record_bytes_max = 1048576});
	bench.shares = memory_zeroed(bench.halves, sizeof(double));
	bench.generations = memory_zeroed((size_t)bench.nodes * 65536, sizeof(uint32_t));
	bench.openings = memory_zeroed(bench.nodes, sizeof(uint64_t));
	bench.now_ns = 1700000000 * NS_PER_S;
	for (uint32_t i = 0; i < bench.halves; i++)
		bench.shares[i] = (i ? bench.shares[i - 1] : 0) + pow(i + 1, -0.9);
	for (uint32_t node = 0; node < bench.nodes; node++)
		bench.batches[node] = batch_new(
			&(struct batch_options){.events_max = 16384, .bytes_max = 786432});
}

static void print_each(const char *name, const char *part, struct cost cost, uint64_t count)
{
	printf("\"%s%s_ns\":%.1f,", name, part, (double)cost.ns / (double)count);
	if (!cost_counts_instructions())
		printf("\"%s%s_instructions\":null,", name, part);
	else
		printf("\"%s%s_instructions\":%.1f,", name, part,
		       (double)cost.instructions / (double)count);
}

static void print_costs(const char *name, struct costs costs, uint64_t count)
{
	struct cost sum = costs.push;
	cost_add(&sum, costs.close);
	print_each(name, "", sum, count);
	print_each(name, "_push", costs.push, count);
	print_each(name, "_close", costs.close, count);
}

int main(int argc, char **argv)
{
	uint32_t values[2] = {60, 3842}, given = 0;
	for (int i = 1; i < argc && given < 2; i++)
		if (argv[i][0] != '-')
			values[given++] = (uint32_t)strtoul(argv[i], NULL, 10);
	bench.nodes = values[0];
	bench.halves = values[1];
	if (!bench.nodes || bench.nodes > 1024 || !bench.halves || bench.halves > 32768) {
		fprintf(stderr, "bench-ingest [nodes, at most 1024] [halves a node, at most "
				"32768]\n");
		return 2;
	}
	bench_new();
	define_all(0, bench.halves / 2);
	uint64_t before = heap_resident();
	define_all(bench.halves / 2, bench.halves);
	double bytes = (double)(heap_resident() - before) /
		       (double)(bench.nodes * (bench.halves - bench.halves / 2));
	run_panes(WARM_PANES, put_updates);
	uint64_t deltas = bench.deltas;
	struct mirror_stats stats = mirror_stats(bench.mirror);
	uint64_t events = stats.events;
	struct costs updates = run_panes(TIMED_PANES, put_updates);
	uint64_t updates_count = mirror_stats(bench.mirror).events - events;
	deltas = bench.deltas - deltas;
	run_panes(WARM_PANES, put_churn);
	events = mirror_stats(bench.mirror).events;
	struct costs churn = run_panes(TIMED_PANES, put_churn);
	uint64_t pairs = (mirror_stats(bench.mirror).events - events) / 2;
	printf("{\"bench\":\"ingest\",\"nodes\":%" PRIu32 ",\"halves\":%" PRIu32 ",", bench.nodes,
	       bench.nodes * bench.halves);
	print_costs("update", updates, updates_count);
	printf("\"deltas_an_update\":%.2f,", (double)deltas / (double)updates_count);
	print_costs("open_close", churn, pairs);
	printf("\"bytes_a_half\":%.1f}\n", bytes);
	return mirror_stats(bench.mirror).refused != 0;
}
