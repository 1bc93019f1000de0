/* What one delta costs from partial_push to published rows: one JSON line. bench-aggregate [deltas
 * a pane] [edges]. Deltas spread over edges as Zipf(0.9); each edge has 1 to 16 pairs of instances.
 * 64 panes are timed after 16 of warm-up. Instructions need perf_event_open (null where it is not
 * permitted). */
#include <inttypes.h>
#include <linux/perf_event.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "aggregate/aggregate.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"

enum { WARM_PANES = 16, TIMED_PANES = 64, PAIRS_MAX = 16, NODES = 500 };

struct bench {
	uint32_t deltas_a_pane, edges;
	struct names *names;
	struct partial *partial;
	struct aggregate *aggregate;
	struct label *labels; /* PAIRS_MAX an edge */
	struct delta *deltas;
	double *shares; /* cumulated, of edges */
	uint64_t random;
	int instructions; /* perf_event, or -1 */
};

struct cost {
	uint64_t ns, instructions;
};

static uint64_t bench_random(struct bench *bench)
{
	bench->random += 0x9e3779b97f4a7c15ULL;
	return hash_mix(bench->random);
}

static int open_instructions(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_HW_INSTRUCTIONS,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};
	return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0UL);
}

static struct cost cost_now(const struct bench *bench)
{
	struct timespec time;
	struct cost cost = {0};
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	cost.ns = (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
	if (bench->instructions >= 0 &&
	    read(bench->instructions, &cost.instructions, sizeof(cost.instructions)) !=
		    sizeof(cost.instructions))
		cost.instructions = 0;
	return cost;
}

static void cost_add(struct cost *sum, struct cost before, struct cost after)
{
	sum->ns += after.ns - before.ns;
	sum->instructions += after.instructions - before.instructions;
}

static uint64_t bench_name(struct bench *bench, const char *kind, uint64_t number)
{
	char text[48];
	int length = snprintf(text, sizeof(text), "%s-%" PRIu64, kind, number);
	return names_put(bench->names, text, (size_t)length, 1);
}

static struct instance bench_instance(struct bench *bench, uint64_t workload, uint64_t replica)
{
	struct instance instance = {
		.workload = bench_name(bench, "service", workload),
		.version = bench_name(bench, "v", replica % 2),
		.zone = bench_name(bench, "zone", replica % 3),
		.node = bench_name(bench, "node", (workload * 31 + replica) % NODES),
		.container = bench_name(bench, "pod", workload * PAIRS_MAX + replica),
		.process = bench_name(bench, "app", workload),
		.resolution = RESOLUTION_WORKLOAD,
	};
	instance.id = instance_id(&instance);
	return instance;
}

static struct label bench_label(struct bench *bench, uint32_t edge, uint32_t pair)
{
	struct label label = {
		.side = SIDE_CLIENT,
		.counts_from = SIDE_CLIENT,
		.joined = true,
		.final = true,
		.client = bench_instance(bench, edge / 4 * 2, pair),
		.server = bench_instance(bench, edge * 2 + 1, pair / 2),
	};
	label.edge = (struct edge){.client = label.client.workload,
				   .server = label.server.workload,
				   .port = 443,
				   .protocol = 6};
	label.edge.id = edge_id(&label.edge);
	label.lane = (struct lane){.client_zone = label.client.zone,
				   .server_zone = label.server.zone,
				   .client_version = label.client.version,
				   .server_version = label.server.version};
	label.lane.id = lane_id(&label.lane);
	return label;
}

static void ignore_rollups(void *context, const struct rollup *rollups, size_t count,
			   const struct names *names)
{
	(void)context;
	(void)rollups;
	(void)count;
	(void)names;
}

static void bench_init(struct bench *bench)
{
	uint32_t rows_max = bench->edges * PAIRS_MAX * 4;
	bench->names = names_new(bench->edges * PAIRS_MAX * 2 + 10000, 1);
	bench->partial = partial_new(&(struct partial_options){
		.owners = 1, .rows_max = rows_max, .names = bench->names});
	bench->aggregate = aggregate_new(&(struct aggregate_options){
		.rows_max = rows_max,
		.names_max = bench->edges * PAIRS_MAX * 2 + 10000,
		.sinks = {.rollups = ignore_rollups},
	});
	bench->labels = memory_zeroed((size_t)bench->edges * PAIRS_MAX, sizeof(*bench->labels));
	bench->deltas = memory_zeroed(bench->deltas_a_pane, sizeof(*bench->deltas));
	bench->shares = memory_zeroed(bench->edges, sizeof(*bench->shares));
	double sum = 0;
	for (uint32_t edge = 0; edge < bench->edges; edge++) {
		for (uint32_t pair = 0; pair < PAIRS_MAX; pair++)
			bench->labels[edge * PAIRS_MAX + pair] = bench_label(bench, edge, pair);
		sum += pow(edge + 1, -0.9);
		bench->shares[edge] = sum;
	}
	for (uint32_t edge = 0; edge < bench->edges; edge++)
		bench->shares[edge] /= sum;
	bench->instructions = open_instructions();
}

static uint32_t bench_edge(struct bench *bench)
{
	double wanted = (double)(bench_random(bench) >> 11) * 0x1p-53;
	uint32_t low = 0, high = bench->edges - 1;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (bench->shares[middle] < wanted)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void bench_fill(struct bench *bench)
{
	for (uint32_t i = 0; i < bench->deltas_a_pane; i++) {
		uint32_t edge = bench_edge(bench);
		uint64_t r = bench_random(bench);
		bool opened = (r & 3) == 0;
		bench->deltas[i] = (struct delta){
			.label = &bench->labels[edge * PAIRS_MAX +
						(r >> 8) % (1 + edge % PAIRS_MAX)],
			.flags = DELTA_FIRST_IN_PANE | (opened ? DELTA_OPENED : 0),
			.traffic = {.tx_bytes = r >> 16 & 0xffff,
				    .rx_bytes = r >> 24 & 0xffff,
				    .tx_segments = 1 + (r >> 32 & 0xff),
				    .rx_segments = 1 + (r >> 36 & 0xff)},
			.srtt_us = 50 + (uint32_t)(r >> 40 & 0x3ff),
			.min_rtt_us = 50,
			.connect_us = opened ? 100 + (r >> 44 & 0xff) : 0,
			.time_ns = r,
			.node_received = 100,
		};
	}
}

static void bench_pane(struct bench *bench, uint64_t pane, struct cost costs[4])
{
	bench_fill(bench);
	struct cost at[5];
	at[0] = cost_now(bench);
	partial_push(bench->partial, bench->deltas, bench->deltas_a_pane);
	at[1] = cost_now(bench);
	struct partial_bucket *bucket = partial_take(bench->partial, 0, pane);
	at[2] = cost_now(bench);
	aggregate_push(bench->aggregate, bucket);
	partial_bucket_free(bucket);
	at[3] = cost_now(bench);
	aggregate_advance(bench->aggregate, pane_end(pane));
	at[4] = cost_now(bench);
	for (unsigned step = 0; step < 4; step++)
		cost_add(&costs[step], at[step], at[step + 1]);
}

static void bench_print(const struct bench *bench, const struct cost costs[4], uint64_t rows)
{
	static const char *const steps[4] = {"push", "take", "merge", "publish"};
	double deltas = (double)bench->deltas_a_pane * TIMED_PANES;
	printf("{\"bench\":\"aggregate\",\"deltas_per_pane\":%u,\"edges\":%u,\"rows_per_delta\":%."
	       "3f",
	       bench->deltas_a_pane, bench->edges, (double)rows / deltas);
	struct cost total = {0};
	for (unsigned step = 0; step < 4; step++) {
		cost_add(&total, (struct cost){0}, costs[step]);
		printf(",\"%s_ns_per_delta\":%.1f", steps[step], (double)costs[step].ns / deltas);
	}
	printf(",\"ns_per_delta\":%.1f,\"instructions_per_delta\":", (double)total.ns / deltas);
	if (bench->instructions >= 0)
		printf("%.0f}\n", (double)total.instructions / deltas);
	else
		printf("null}\n");
}

int main(int argc, char **argv)
{
	struct bench bench = {
		.deltas_a_pane = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 50000,
		.edges = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 5000,
	};
	if (bench.deltas_a_pane == 0 || bench.edges == 0 || bench.edges > 1000000) {
		fprintf(stderr, "usage: bench-aggregate [deltas a pane] [edges, to 1000000]\n");
		return 2;
	}
	bench_init(&bench);
	struct cost costs[4] = {0}, ignored[4];
	uint64_t rows = 0;
	for (uint64_t pane = 4000; pane < 4000 + WARM_PANES + TIMED_PANES; pane++) {
		bool timed = pane >= 4000 + WARM_PANES;
		uint64_t before = partial_stats(bench.partial).rows;
		memset(ignored, 0, sizeof(ignored));
		bench_pane(&bench, pane, timed ? costs : ignored);
		rows += timed ? partial_stats(bench.partial).rows - before : 0;
	}
	bench_print(&bench, costs, rows);
	aggregate_free(bench.aggregate);
	partial_free(bench.partial);
	names_free(bench.names);
	free(bench.labels);
	free(bench.deltas);
	free(bench.shares);
	return 0;
}
