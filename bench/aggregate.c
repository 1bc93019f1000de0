/* What one delta costs from partial_push to published rows, in one aggregate task's share of the
 * hard case (1,000 nodes, 16 tasks): bench-aggregate [--json] [--deltas N] [--edges N] [--panes N]
 * [--part push|merge|publish]. A pane holds N deltas, 13 % of them openings and as many closings,
 * spread over edges as Zipf(0.9); an edge has 9 client and 9 server instances. Each window of 10 s
 * is timed whole after one of warm-up. Instructions need perf_event_open (null where it is not
 * permitted); with --part, callgrind's are of that part: --toggle-collect=bench_part. */
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregate/aggregate.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "bench/drive/cost.h"

enum { REPLICAS = 9, FLOWS = 24, NODES = 500, FIRST_PANE = 4000 };

struct bench {
	uint32_t deltas_a_pane, edges, panes;
	const char *part;
	struct names *names;
	struct roster *roster;
	struct partial *partial;
	struct aggregate *aggregate;
	struct place *places; /* FLOWS an edge */
	struct delta *deltas;
	double *shares; /* cumulated, of edges */
	uint64_t random, rollups;
};

static uint64_t bench_random(struct bench *bench)
{
	bench->random += 0x9e3779b97f4a7c15ULL;
	return hash_mix(bench->random);
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
		.container = bench_name(bench, "pod", workload * REPLICAS + replica),
		.process = bench_name(bench, "app", workload),
		.resolution = RESOLUTION_WORKLOAD,
	};
	instance.id = instance_id(&instance);
	return instance;
}

/* Flow f of an edge: its client and server instance. */
static struct place bench_place(struct bench *bench, uint32_t edge, uint32_t flow)
{
	uint64_t r = hash_mix((uint64_t)edge << 32 | flow);
	struct instance client = bench_instance(bench, edge / 4 * 2, r % REPLICAS);
	struct instance server = bench_instance(bench, edge * 2 + 1, (r >> 32) % REPLICAS);
	/* One lane an edge, as most have. */
	client.version = server.version = bench_name(bench, "v", 1);
	client.zone = server.zone = bench_name(bench, "zone", 1);
	client.id = instance_id(&client);
	server.id = instance_id(&server);
	struct place place = {
		.client = roster_put(bench->roster, &client, 1),
		.server = roster_put(bench->roster, &server, 1),
		.joined = true,
		.side = SIDE_CLIENT,
		.counts_from = SIDE_CLIENT,
	};
	struct lane_wanted wanted = {place.client, place.server, 443, 6, 0, 0};
	partial_lanes_hold(bench->partial, &wanted, 1);
	place.lane = wanted.lane;
	return place;
}

static void count_rollups(void *context, const struct rollup *rollups, size_t count,
			  const struct names *names)
{
	struct bench *bench = context;
	(void)rollups;
	(void)names;
	bench->rollups += count;
}

static void bench_init(struct bench *bench)
{
	uint32_t rows_max = bench->edges * (2 * REPLICAS + 2) * 2;
	uint32_t names_max = bench->edges * REPLICAS * 3 + 10000;
	bench->names = names_new(names_max, 1);
	bench->roster = roster_new(rows_max, 1);
	bench->partial = partial_new(&(struct partial_options){.owners = 1,
							       .lanes_max = rows_max,
							       .names = bench->names,
							       .roster = bench->roster});
	bench->aggregate = aggregate_new(&(struct aggregate_options){
		.rows_max = rows_max,
		.names_max = names_max,
		.sources = 1,
		.sinks = {.context = bench, .rollups = count_rollups},
	});
	bench->places = memory_zeroed((size_t)bench->edges * FLOWS, sizeof(*bench->places));
	bench->deltas = memory_zeroed(bench->deltas_a_pane, sizeof(*bench->deltas));
	bench->shares = memory_zeroed(bench->edges, sizeof(*bench->shares));
	double sum = 0;
	for (uint32_t edge = 0; edge < bench->edges; edge++) {
		for (uint32_t flow = 0; flow < FLOWS; flow++)
			bench->places[edge * FLOWS + flow] = bench_place(bench, edge, flow);
		sum += pow(edge + 1, -0.9);
		bench->shares[edge] = sum;
	}
	for (uint32_t edge = 0; edge < bench->edges; edge++)
		bench->shares[edge] /= sum;
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

static void bench_fill(struct bench *bench, uint64_t pane)
{
	for (uint32_t i = 0; i < bench->deltas_a_pane; i++) {
		uint32_t edge = bench_edge(bench);
		uint64_t r = bench_random(bench);
		bool opened = (r & 127) < 17, closed = !opened && (r & 127) < 34;
		bool server = r >> 7 & 1, update = !opened && !closed;
		struct delta *delta = &bench->deltas[i];
		*delta = (struct delta){
			.place = bench->places[edge * FLOWS + (r >> 8) % FLOWS],
			.flags = DELTA_FIRST_IN_PANE,
			.traffic = {.tx_bytes = r >> 16 & 0xffff,
				    .rx_bytes = r >> 24 & 0xffff,
				    .tx_segments = 1 + (r >> 32 & 0xff),
				    .rx_segments = 1 + (r >> 36 & 0xff),
				    .retransmits = (r >> 56) == 0},
			.srtt_us = update ? 50 + (uint32_t)(r >> 40 & 0x3ff) : 0,
			.min_rtt_us = 50,
			.connect_us = opened && !server ? 100 + (r >> 44 & 0xff) : 0,
			.time_ns = pane * PANE_NS + i,
			.node_received = 1417,
		};
		delta->place.side = server ? SIDE_SERVER : SIDE_CLIENT;
		delta->flags |= opened ? DELTA_OPENED : 0;
		delta->flags |= closed ? DELTA_CLOSED : 0;
		delta->flags |= r >> 50 & 1 ? DELTA_FIRST_IN_1S : 0;
		delta->flags |= (r >> 50 & 7) == 7 ? DELTA_FIRST_IN_10S : 0;
		delta->reason = CLOSE_NORMAL;
	}
}

enum part { PART_PUSH, PART_MERGE, PART_PUBLISH, PARTS };
static const char *const part_names[PARTS] = {"push", "merge", "publish"};

/* Apart, so that a profiler can be told to look here only. */
static __attribute__((noinline)) void bench_part(struct bench *bench, enum part part,
						 struct partial_bucket *bucket, uint64_t pane)
{
	if (part == PART_PUSH)
		partial_push(bench->partial, bench->deltas, bench->deltas_a_pane);
	else if (part == PART_MERGE)
		aggregate_push(bench->aggregate, 0, bucket);
	else
		aggregate_advance(bench->aggregate, pane_end(pane));
}

static __attribute__((noinline)) void bench_other(struct bench *bench, enum part part,
						  struct partial_bucket *bucket, uint64_t pane)
{
	if (part == PART_PUSH)
		partial_push(bench->partial, bench->deltas, bench->deltas_a_pane);
	else if (part == PART_MERGE)
		aggregate_push(bench->aggregate, 0, bucket);
	else
		aggregate_advance(bench->aggregate, pane_end(pane));
}

static void bench_pane(struct bench *bench, uint64_t pane, bool timed, struct cost costs[PARTS])
{
	struct partial_bucket *bucket = NULL;
	bench_fill(bench, pane);
	for (enum part part = 0; part < PARTS; part++) {
		bool watched = timed && (!bench->part || !strcmp(bench->part, part_names[part]));
		struct cost before = cost_now();
		(watched ? bench_part : bench_other)(bench, part, bucket, pane);
		if (timed)
			cost_add(&costs[part], cost_since(before));
		if (part == PART_PUSH)
			bucket = partial_take(bench->partial, 0, pane);
	}
	partial_bucket_free(bucket);
	names_advance(bench->names, pane);
}

static void bench_print(const struct bench *bench, const struct cost costs[PARTS], uint64_t rollups,
			bool json)
{
	double deltas = (double)bench->deltas_a_pane * bench->panes;
	struct aggregate_stats stats = aggregate_stats(bench->aggregate);
	struct cost total = {0};
	printf(json ? "{\"bench\":\"aggregate\",\"deltas_per_pane\":%u,\"edges\":%" PRIu64
		      ",\"rows\":%" PRIu64 ",\"rollups_per_pane\":%.0f"
		    : "%u deltas a pane, %" PRIu64 " edges, %" PRIu64
		      " rows, %.0f rollups a pane\n",
	       bench->deltas_a_pane, stats.edges, stats.rows, (double)rollups / bench->panes);
	for (enum part part = 0; part < PARTS; part++) {
		cost_add(&total, costs[part]);
		printf(json ? ",\"%s_ns_per_delta\":%.1f" : "%8s %6.1f ns a delta",
		       part_names[part], (double)costs[part].ns / deltas);
		if (!cost_counts_instructions())
			printf(json ? ",\"%s_instructions_per_delta\":null" : "\n",
			       part_names[part]);
		else
			printf(json ? ",\"%s_instructions_per_delta\":%.1f"
				    : " (%s %.1f instructions)\n",
			       part_names[part], (double)costs[part].instructions / deltas);
	}
	printf(json ? ",\"ns_per_delta\":%.1f,\"publish_ns_per_rollup\":%.1f,\"bytes\":%" PRIu64
		      ",\"bytes_per_row\":%.0f}\n"
		    : "     all %6.1f ns a delta; %.1f ns a rollup; %" PRIu64
		      " bytes, %.0f a row\n",
	       (double)total.ns / deltas, (double)costs[PART_PUBLISH].ns / (double)rollups,
	       stats.bytes, (double)stats.bytes / (double)stats.rows);
}

static int usage(void)
{
	fprintf(stderr, "usage: bench-aggregate [--json] [--deltas N] [--edges N] [--panes N] "
			"[--part push|merge|publish]\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},	 {"deltas", required_argument, NULL, 'd'},
		{"edges", required_argument, NULL, 'e'}, {"panes", required_argument, NULL, 'p'},
		{"part", required_argument, NULL, 'a'},	 {0},
	};
	struct bench bench = {.deltas_a_pane = 60000, .edges = 9000, .panes = 40};
	bool json = false;
	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		uint32_t number = optarg ? (uint32_t)strtoul(optarg, NULL, 10) : 0;
		if (option == 'j')
			json = true;
		else if (option == 'd')
			bench.deltas_a_pane = number;
		else if (option == 'e')
			bench.edges = number;
		else if (option == 'p')
			bench.panes = number;
		else if (option == 'a')
			bench.part = optarg;
		else
			return usage();
	}
	if (!bench.deltas_a_pane || !bench.edges || bench.edges > 100000 || !bench.panes)
		return usage();
	bench_init(&bench);
	struct cost costs[PARTS] = {0};
	uint64_t rollups = 0;
	for (uint64_t pane = FIRST_PANE; pane < FIRST_PANE + 2 * bench.panes; pane++) {
		bool timed = pane >= FIRST_PANE + bench.panes;
		uint64_t before = bench.rollups;
		bench_pane(&bench, pane, timed, costs);
		rollups += timed ? bench.rollups - before : 0;
	}
	bench_print(&bench, costs, rollups, json);
	aggregate_free(bench.aggregate);
	partial_free(bench.partial);
	names_free(bench.names);
	roster_free(bench.roster);
	free(bench.places);
	free(bench.deltas);
	free(bench.shares);
	return 0;
}
