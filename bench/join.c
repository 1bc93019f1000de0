/* What one connection costs in a join task that holds many: both openings, labels, closes and the
 * flow record, in one JSON line. bench-join [--json] [live flows] [connections a pane] [late %]
 * [dialled %]. Servers' halves come a pane after the clients' for `late` of the connections;
 * `dialled` of the clients dialled another address than the key's, and HOP_PERCENT more are mapped
 * by another node (a hop each). Connections close in the order of their opening. 16 panes are timed
 * after the table is full and every pair settled. Instructions need perf_event_open (null where it
 * is not permitted). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "bench/drive/cost.h"
#include "base/name.h"
#include "join/join.h"

enum {
	SOURCES = 16,
	PODS = 30000,
	WORKLOADS = 2000,
	CALLED = 75,
	HOP_PERCENT = 5,
	TIMED_PANES = 64,
	SETTLE_PANES = 9,
	ROUNDS_MAX = 1 + HOPS_MAX,
};

struct source {
	struct half_open *opens;
	struct half_close *closes;
	size_t opens_count, closes_count;
};

struct bench {
	uint32_t live, a_pane, late_percent, dialled_percent;
	uint64_t opened, closed; /* connections so far */
	uint64_t pane, labels, flows;
	struct instance pods[PODS];
	struct source sources[SOURCES];
	struct nat_alias *aliases;
	size_t aliases_count;
	uint32_t *numbers; /* by half index */
	struct join *join;
};

static void on_labels(void *context, uint32_t source, const struct label *labels, size_t count,
		      const struct instance *instances, size_t instances_count)
{
	struct bench *bench = context;
	(void)source;
	(void)instances;
	(void)instances_count;
	for (size_t i = 0; i < count; i++)
		bench->numbers[labels[i].half.index] = labels[i].number;
	bench->labels += count;
}

static void on_hops(void *context, uint32_t task, const struct half_bucket *bucket)
{
	(void)context;
	(void)task;
	(void)bucket;
	abort(); /* there is one task */
}

static void on_flows(void *context, const struct flow *flows, size_t count)
{
	struct bench *bench = context;
	(void)flows;
	bench->flows += count;
}

static struct instance bench_pod(uint32_t number)
{
	char text[32];
	snprintf(text, sizeof(text), "workload-%u", number % WORKLOADS);
	struct instance pod = {.workload = name_id(text, strlen(text)),
			       .version = 1 + number % 2,
			       .zone = 1 + number % 3,
			       .node = 1 + number % 1000,
			       .container = 1 + number,
			       .process = 1 + number % WORKLOADS,
			       .resolution = RESOLUTION_WORKLOAD};
	pod.id = instance_id(&pod);
	return pod;
}

/* All of a connection follows from its number. */
struct connection {
	uint32_t client, server; /* pods */
	bool late, dialled, hops;
	struct half_open open[2];
	uint64_t closed_ns;
};

static struct half_ref bench_ref(const struct bench *bench, uint64_t number, unsigned side,
				 uint32_t pod)
{
	uint64_t slots = bench->live + 16ULL * bench->a_pane;
	return (struct half_ref){.index = (uint32_t)(number % slots * 2 + side),
				 .source = (uint16_t)(pod % SOURCES),
				 .generation = (uint16_t)(1 + number / slots)};
}

/* Each workload calls CALLED others, the first most often: 150,000 edges. */
static uint32_t bench_server(uint32_t workload, uint64_t draw)
{
	double share = (double)(draw & UINT16_MAX) / (UINT16_MAX + 1.0);
	uint32_t which = (uint32_t)(CALLED * share * share * share);
	uint32_t server = (uint32_t)(hash_mix(workload * CALLED + which) % WORKLOADS);
	return server + (uint32_t)(draw >> 16) % (PODS / WORKLOADS) * WORKLOADS;
}

static struct connection bench_connection(const struct bench *bench, uint64_t number)
{
	uint64_t draw = hash_mix(number + 1), more = hash_mix(draw);
	uint32_t pod = (uint32_t)(draw % PODS);
	struct connection connection = {
		.client = pod,
		.server = bench_server(pod % WORKLOADS, draw >> 32),
		.late = more % 100 < bench->late_percent,
		.dialled = (more >> 8) % 100 < bench->dialled_percent,
		.hops = (more >> 16) % 100 < HOP_PERCENT,
	};
	uint64_t opened_ns = number / bench->a_pane * PANE_NS + (more >> 24) % PANE_NS;
	struct tuple key = {
		.client = address_v4(0x0a000000 + connection.client),
		.server = address_v4(0x0a000000 + connection.server),
		.client_port = (uint16_t)(1024 + number % 60000),
		.server_port = (uint16_t)(8000 + connection.server % 10),
		.protocol = PROTOCOL_TCP,
	};
	for (unsigned side = 0; side < 2; side++) {
		uint32_t end = side == SIDE_CLIENT ? connection.client : connection.server;
		connection.open[side] = (struct half_open){
			.ref = bench_ref(bench, number, side, end),
			.side = (uint8_t)side,
			.key = key,
			.seen = key,
			.opened_ns = opened_ns + side * 100000,
			.connect_us = side == SIDE_CLIENT ? 150 : 0,
			.pid = end,
			.self = bench->pods[end].id,
		};
	}
	struct half_open *client = &connection.open[SIDE_CLIENT];
	if (connection.dialled || connection.hops)
		client->seen.server = address_v4(0x0b000000 + connection.server % WORKLOADS);
	if (connection.hops)
		client->key = client->seen;
	return connection;
}

static void source_open(struct bench *bench, const struct half_open *open)
{
	struct source *source = &bench->sources[open->ref.source];
	source->opens[source->opens_count++] = *open;
}

static void source_close(struct bench *bench, const struct half_open *open)
{
	struct source *source = &bench->sources[open->ref.source];
	uint64_t draw = hash_mix(open->opened_ns);
	source->closes[source->closes_count++] = (struct half_close){
		.ref = open->ref,
		.number = bench->numbers[open->ref.index],
		.reason = CLOSE_NORMAL,
		.pid = open->pid,
		.time_ns = bench->pane * PANE_NS + draw % PANE_NS,
		.total = {.tx_bytes = 1000, .rx_bytes = 2000},
	};
}

static void bench_fill(struct bench *bench, bool closes)
{
	for (unsigned i = 0; i < SOURCES; i++)
		bench->sources[i].opens_count = bench->sources[i].closes_count = 0;
	bench->aliases_count = 0;
	uint64_t late_from = bench->opened < bench->a_pane ? 0 : bench->opened - bench->a_pane;
	for (uint64_t number = late_from; number < bench->opened; number++) {
		struct connection connection = bench_connection(bench, number);
		if (connection.late)
			source_open(bench, &connection.open[SIDE_SERVER]);
	}
	for (uint32_t i = 0; i < bench->a_pane; i++) {
		struct connection connection = bench_connection(bench, bench->opened++);
		source_open(bench, &connection.open[SIDE_CLIENT]);
		if (!connection.late)
			source_open(bench, &connection.open[SIDE_SERVER]);
		if (connection.hops)
			bench->aliases[bench->aliases_count++] = (struct nat_alias){
				.from = connection.open[SIDE_CLIENT].key,
				.to = connection.open[SIDE_SERVER].key,
				.time_ns = connection.open[SIDE_CLIENT].opened_ns,
				.node = 1,
				.op = NAT_ADD,
			};
	}
	for (uint32_t i = 0; closes && i < bench->a_pane; i++) {
		struct connection connection = bench_connection(bench, bench->closed++);
		source_close(bench, &connection.open[SIDE_CLIENT]);
		source_close(bench, &connection.open[SIDE_SERVER]);
	}
}

static void bench_pane(struct bench *bench, bool closes, struct cost *cost)
{
	bench_fill(bench, closes);
	struct cost before = cost_now();
	for (unsigned i = 0; i < SOURCES; i++) {
		const struct source *source = &bench->sources[i];
		const struct half_bucket bucket = {
			.opens = source->opens,
			.opens_count = source->opens_count,
			.closes = source->closes,
			.closes_count = source->closes_count,
			.aliases = bench->aliases,
			.aliases_count = i ? 0 : bench->aliases_count,
		};
		join_push(bench->join, &bucket);
	}
	for (int round = 0; round == 0 || (round < ROUNDS_MAX && join_unfinished(bench->join));
	     round++)
		join_advance(bench->join, pane_end(bench->pane));
	cost_add(cost, cost_since(before));
	bench->pane++;
}

static void bench_init(struct bench *bench)
{
	const struct join_options options = {
		.tasks = 1,
		.sources = SOURCES,
		.halves_max = 2 * (bench->live + 32 * bench->a_pane),
		.aliases_max = 1 << 18,
		.instances_max = 1 << 20,
		.one_sided_ns = 2 * NS_PER_S,
		.keep_ns = 120 * NS_PER_S,
		.sinks = {bench, on_labels, on_hops, on_flows},
	};
	bench->join = join_new(&options);
	for (uint32_t i = 0; i < PODS; i++)
		bench->pods[i] = bench_pod(i);
	const struct half_bucket told = {.instances = bench->pods, .instances_count = PODS};
	join_push(bench->join, &told);
	for (unsigned i = 0; i < SOURCES; i++) {
		bench->sources[i].opens =
			memory_zeroed(4ULL * bench->a_pane, sizeof(struct half_open));
		bench->sources[i].closes =
			memory_zeroed(2ULL * bench->a_pane, sizeof(struct half_close));
	}
	bench->aliases = memory_zeroed(bench->a_pane, sizeof(*bench->aliases));
	bench->numbers =
		memory_zeroed(2 * (bench->live + 16ULL * bench->a_pane), sizeof(*bench->numbers));
}

static void bench_done(struct bench *bench)
{
	join_free(bench->join);
	for (unsigned i = 0; i < SOURCES; i++) {
		free(bench->sources[i].opens);
		free(bench->sources[i].closes);
	}
	free(bench->aliases);
	free(bench->numbers);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--json") == 0) {
		argc--;
		argv++;
	}
	static struct bench bench;
	bench.live = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
	bench.a_pane = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 4000;
	bench.late_percent = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 10;
	bench.dialled_percent = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 30;
	if (bench.live < bench.a_pane || bench.a_pane == 0) {
		fprintf(stderr, "usage: bench-join [--json] [live flows] [connections a pane] "
				"[late %%] [dialled %%]\n");
		return 2;
	}
	bench_init(&bench);
	struct cost ignored = {0}, cost = {0};
	while (bench.opened < bench.live)
		bench_pane(&bench, false, &ignored);
	for (int pane = 0; pane < SETTLE_PANES; pane++)
		bench_pane(&bench, true, &ignored);
	struct join_stats full = join_stats(bench.join);
	uint64_t labels = bench.labels, flows = bench.flows;
	for (int pane = 0; pane < TIMED_PANES; pane++)
		bench_pane(&bench, true, &cost);
	double connections = (double)bench.a_pane * TIMED_PANES;
	printf("{\"bench\":\"join\",\"live_flows\":%" PRIu64
	       ",\"connections_per_pane\":%u,\"late_percent\":%u,\"dialled_percent\":%u,"
	       "\"hop_percent\":%u,\"labels_per_connection\":%.2f,\"flows_per_connection\":%.3f,"
	       "\"bytes_per_flow\":%.1f,\"ns_per_connection\":%.0f,"
	       "\"instructions_per_connection\":",
	       full.flows, bench.a_pane, bench.late_percent, bench.dialled_percent, HOP_PERCENT,
	       (double)(bench.labels - labels) / connections,
	       (double)(bench.flows - flows) / connections, (double)full.bytes / (double)full.flows,
	       (double)cost.ns / connections);
	if (cost_counts_instructions())
		printf("%.0f}\n", (double)cost.instructions / connections);
	else
		printf("null}\n");
	bench_done(&bench);
	return 0;
}
