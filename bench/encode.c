/* What one flow and one rollup row cost from struct to the bytes that the producer is handed:
 * bench-encode [--json] [records]. A record holds as many as daemon/exit.c puts into one. Flows are
 * of 2,000 edges between 4,000 instances in a random order, rows as aggregate emits them: sorted by
 * edge, each edge's own row with both sketches and the rows of four instances. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "bench/drive/cost.h"
#include "daemon/encode.h"

enum {
	FLOWS = 1000,
	ROWS = 250,
	VARIANTS = 16, /* records that differ */
	EDGES = 2000,
	INSTANCES = 4000,
	PARTS = 4, /* instance rows an edge */
	CONNECT_CELLS = 6,
	SRTT_CELLS = 16,
};

struct bench {
	struct names *names;
	struct encoder *encoder;
	struct instance *instances;
	struct edge *edges;
	struct flow *flows;  /* VARIANTS x FLOWS */
	struct rollup *rows; /* VARIANTS x ROWS */
	struct sketch_cell connect[CONNECT_CELLS], srtt[SRTT_CELLS];
	uint64_t random;
};

struct output_cost {
	double ns, bytes; /* of one */
};

static uint64_t bench_random(struct bench *bench)
{
	return hash_mix(++bench->random);
}

static uint64_t bench_name(struct bench *bench, const char *format, unsigned a, unsigned b)
{
	char text[96];
	int length = snprintf(text, sizeof(text), format, a, b);
	return names_put(bench->names, text, (size_t)length, 1);
}

static void make_instances(struct bench *bench)
{
	for (unsigned i = 0; i < INSTANCES; i++) {
		struct instance *instance = &bench->instances[i];
		unsigned workload = i / 8;
		*instance = (struct instance){
			.workload =
				bench_name(bench, "shop-%u/service-%u", workload % 20, workload),
			.version = bench_name(bench, "v1.%u.%u", workload % 30, workload % 4),
			.zone = bench_name(bench, "eu-central-1%c%u", 'a' + i % 3, 1),
			.node = bench_name(bench, "ip-10-%u-%u.internal", i % 100, i % 10),
			.container = bench_name(bench, "service-%u-7d9f8b6c5-x%u", workload, i),
			.process = bench_name(bench, "service-%u%u", workload % 100, 0),
			.resolution = RESOLUTION_WORKLOAD,
		};
		instance->id = instance_id(instance);
	}
}

static int compare_edges(const void *a, const void *b)
{
	uint64_t left = ((const struct edge *)a)->id, right = ((const struct edge *)b)->id;
	return (left > right) - (left < right);
}

static void make_edges(struct bench *bench)
{
	for (unsigned i = 0; i < EDGES; i++) {
		struct edge *edge = &bench->edges[i];
		edge->client = bench->instances[bench_random(bench) % INSTANCES].workload;
		edge->server = bench->instances[bench_random(bench) % INSTANCES].workload;
		edge->port = (uint16_t)(8000 + i % 100);
		edge->protocol = PROTOCOL_TCP;
		edge->client_resolution = edge->server_resolution = RESOLUTION_WORKLOAD;
		edge->id = edge_id(edge);
	}
	qsort(bench->edges, EDGES, sizeof(*bench->edges), compare_edges);
}

static void make_end(struct bench *bench, struct flow_end *end)
{
	*end = (struct flow_end){
		.seen = true,
		.closed = true,
		.reason = CLOSE_NORMAL,
		.pid = (uint32_t)(bench_random(bench) % 4000000),
		.instance = bench->instances[bench_random(bench) % INSTANCES],
		.min_rtt_us = 350,
	};
	end->total.tx_bytes = bench_random(bench) % 100000;
	end->total.rx_bytes = bench_random(bench) % 1000000;
	end->total.tx_segments = bench_random(bench) % 100;
	end->total.rx_segments = bench_random(bench) % 1000;
}

static void make_flow(struct bench *bench, struct flow *flow)
{
	uint64_t word = bench_random(bench);
	*flow = (struct flow){
		.id = bench_random(bench),
		.canonical = {.client = address_v4(0x0a000000 | (uint32_t)(word & 0xffffff)),
			      .server = address_v4(0x0a000000 | (uint32_t)(word >> 24 & 0xffffff)),
			      .client_port = (uint16_t)(32768 + word % 28000),
			      .server_port = 8080,
			      .protocol = PROTOCOL_TCP},
		.dialled = address_v4(0x0a600000 | (uint32_t)(word & 0xfff)),
		.dialled_port = 80,
		.joined = true,
		.established = true,
		.opened_ns = 1700000000000000000ULL + word % 1000000000,
		.closed_ns = 1700000000000000000ULL + word % 30000000000,
		.connect_us = word % 5000,
		.edge = bench->edges[bench_random(bench) % EDGES],
	};
	flow->wire = flow->canonical;
	make_end(bench, &flow->client);
	make_end(bench, &flow->server);
}

static void make_row(struct bench *bench, struct rollup *row, unsigned number)
{
	unsigned part = number % (1 + PARTS);
	*row = (struct rollup){.window_start_ns = 1700000000000000000ULL,
			       .window_ms = 10000,
			       .edge = bench->edges[number / (1 + PARTS) % EDGES],
			       .min_rtt_us = 350,
			       .last_event_ns = 1700000009000000000ULL};
	for (unsigned i = 0; i < COUNTERS; i++)
		if (i % 3)
			row->counters[i] = (int64_t)(bench_random(bench) % (1ULL << (i % 24 + 1)));
	if (part == 0) {
		row->connect = bench->connect;
		row->connect_cells = CONNECT_CELLS;
		row->srtt = bench->srtt;
		row->srtt_cells = SRTT_CELLS;
		return;
	}
	row->scope = part % 2 ? SCOPE_CLIENT : SCOPE_SERVER;
	row->instance = bench->instances[bench_random(bench) % INSTANCES];
}

static void make_cells(struct sketch_cell *cells, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		cells[i] = (struct sketch_cell){(uint16_t)(1000 + 7 * i), 1 + i * i};
}

static struct bench *bench_new(void)
{
	struct bench *bench = memory_zeroed(1, sizeof(*bench));
	bench->names = names_new(1 << 16, 0);
	bench->encoder = encoder_new();
	bench->instances = memory_zeroed(INSTANCES, sizeof(*bench->instances));
	bench->edges = memory_zeroed(EDGES, sizeof(*bench->edges));
	bench->flows = memory_zeroed((size_t)VARIANTS * FLOWS, sizeof(*bench->flows));
	bench->rows = memory_zeroed((size_t)VARIANTS * ROWS, sizeof(*bench->rows));
	make_cells(bench->connect, CONNECT_CELLS);
	make_cells(bench->srtt, SRTT_CELLS);
	make_instances(bench);
	make_edges(bench);
	for (unsigned i = 0; i < VARIANTS * FLOWS; i++)
		make_flow(bench, &bench->flows[i]);
	for (unsigned i = 0; i < VARIANTS * ROWS; i++)
		make_row(bench, &bench->rows[i], i);
	return bench;
}

static void bench_free(struct bench *bench)
{
	encoder_free(bench->encoder);
	names_free(bench->names);
	free(bench->instances);
	free(bench->edges);
	free(bench->flows);
	free(bench->rows);
	free(bench);
}

static struct encoded encode_one(struct bench *bench, bool flows, unsigned variant)
{
	struct output_number number = {.epoch = 1700000000, .task = 3, .sequence = variant};
	if (flows)
		return encode_flows(bench->encoder, &number, &bench->flows[variant * FLOWS], FLOWS,
				    bench->names);
	return encode_rollups(bench->encoder, &number, &bench->rows[variant * ROWS], ROWS,
			      bench->names);
}

static struct output_cost bench_run(struct bench *bench, bool flows, unsigned records)
{
	uint64_t bytes = 0, things = (uint64_t)records * (flows ? FLOWS : ROWS);
	for (unsigned i = 0; i < VARIANTS; i++)
		encode_one(bench, flows, i);
	struct cost before = cost_now();
	for (unsigned i = 0; i < records; i++)
		bytes += encode_one(bench, flows, i % VARIANTS).length;
	uint64_t spent_ns = cost_since(before).ns;
	return (struct output_cost){(double)spent_ns / (double)things,
				    (double)bytes / (double)things};
}

int main(int argc, char **argv)
{
	bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
	unsigned long records = argc > 1 + json ? strtoul(argv[1 + json], NULL, 10) : 400;
	if (records == 0 || records > 1000000) {
		fprintf(stderr, "usage: bench-encode [--json] [records]\n");
		return 2;
	}
	struct bench *bench = bench_new();
	struct output_cost flow = bench_run(bench, true, (unsigned)records);
	struct output_cost row = bench_run(bench, false, (unsigned)records);
	printf(json ? "{\"bench\":\"encode\",\"flow_ns\":%.0f,\"flow_bytes\":%.0f,\"row_ns\":%.0f,"
		      "\"row_bytes\":%.0f}\n"
		    : "a flow: %.0f ns, %.0f bytes; a row: %.0f ns, %.0f bytes\n",
	       flow.ns, flow.bytes, row.ns, row.bytes);
	bench_free(bench);
	return 0;
}
