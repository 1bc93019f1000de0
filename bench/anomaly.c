/* What the anomaly stage costs an edge and pane when nothing is wrong: one JSON line. bench-anomaly
 * [--json] [edges] [panes]. Every edge has traffic in every pane, every eighth a new connection on
 * one pair of instances besides; baselines are on and warm, no monitor is set. Rows of 10 s come at
 * their ends and are in the figures. The panes are timed after 1,400 of warm-up (the baselines
 * are warm then) and a multiple of 40 of them, so that each kind of row has its share. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "anomaly/anomaly.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "bench/drive/anomaly.h"
#include "bench/drive/cost.h"
#include "bench/drive/heap.h"

enum { WARM_PANES = 1400, INSTANCES = 64, PANE_FIRST = 4000000 };

struct bench {
	uint32_t edges, panes;
	struct names *names;
	struct anomaly *anomaly;
	struct rollup *rows; /* an edge's row, then its two instances' if any; sorted by edge */
	struct rollup *tens;
	uint32_t rows_count;
	struct sketch_cell cells[2], ten_cells[2];
	struct edge *order;
	uint64_t alerts, rss_before;
};

static void on_alerts(void *context, const struct alert *alerts, size_t count)
{
	struct bench *bench = context;
	(void)alerts;
	bench->alerts += count;
}

static uint64_t bench_name(struct bench *bench, const char *kind, uint32_t number)
{
	char text[32];
	int length = snprintf(text, sizeof(text), "%s-%u", kind, number);
	return names_put(bench->names, text, (size_t)length, 1);
}

static int compare_edges(const void *a, const void *b)
{
	uint64_t left = ((const struct edge *)a)->id, right = ((const struct edge *)b)->id;
	return (left > right) - (left < right);
}

static void make_edges(struct bench *bench)
{
	bench->order = memory_zeroed(bench->edges, sizeof(*bench->order));
	for (uint32_t i = 0; i < bench->edges; i++) {
		struct edge *edge = &bench->order[i];
		edge->client = bench_name(bench, "client", i / 8);
		edge->server = bench_name(bench, "server", i % 997);
		edge->port = (uint16_t)(1 + i % 60000);
		edge->protocol = 6;
		edge->id = edge_id(edge);
	}
	qsort(bench->order, bench->edges, sizeof(*bench->order), compare_edges);
}

static bool opens(const struct rollup *rollup, uint64_t pane)
{
	return (rollup->edge.id + pane) % 8 == 0;
}

static void add_instance(struct bench *bench, const struct rollup *row, uint8_t scope)
{
	struct rollup *instance = &bench->rows[bench->rows_count++];
	uint32_t number = (uint32_t)(row->edge.id >> 20) % INSTANCES + scope;
	*instance = (struct rollup){.window_start_ns = row->window_start_ns,
				    .window_ms = 250,
				    .scope = scope,
				    .edge = row->edge};
	instance->instance = (struct instance){.node = bench_name(bench, "node", number),
					       .container = bench_name(bench, "pod", number)};
	instance->instance.id = instance_id(&instance->instance);
	instance->counters[COUNTER_OPENED] = 1;
	instance->counters[COUNTER_CONNECT_US] = 2000;
	instance->counters[COUNTER_CONNECT_COUNT] = 1;
}

static void fill_row(struct bench *bench, struct rollup *row, uint64_t pane, int64_t times)
{
	int64_t *counters = row->counters;
	uint64_t noise = hash_mix(row->edge.id + pane) % 1000;
	counters[COUNTER_TX_BYTES] = (50000 + (int64_t)noise) * times;
	counters[COUNTER_RX_BYTES] = 150000 * times;
	counters[COUNTER_TX_SEGMENTS] = 100 * times;
	counters[COUNTER_RX_SEGMENTS] = 120 * times;
	counters[COUNTER_ACTIVE] = 10;
	counters[COUNTER_SRTT_US] = 20000 * times;
	counters[COUNTER_SRTT_COUNT] = 10 * times;
	counters[COUNTER_AGENT_RECEIVED] = 40 * times;
	counters[COUNTER_AGENT_ISSUED] = 40 * times;
	row->last_event_ns = pane_end(pane) - 1000;
	if (times == 1 && !opens(row, pane))
		return;
	counters[COUNTER_OPENED] = times == 1 ? 1 : times / 8;
	row->connect = times == 1 ? bench->cells : bench->ten_cells;
	row->connect_cells = times == 1 ? 1 : 2;
}

static void make_rows(struct bench *bench, uint64_t pane)
{
	bench->rows_count = 0;
	for (uint32_t i = 0; i < bench->edges; i++) {
		struct rollup *row = &bench->rows[bench->rows_count++];
		*row = (struct rollup){.window_start_ns = pane * PANE_NS,
				       .window_ms = 250,
				       .edge = bench->order[i]};
		fill_row(bench, row, pane, 1);
		if (!opens(row, pane))
			continue;
		add_instance(bench, row, SCOPE_CLIENT);
		add_instance(bench, row, SCOPE_SERVER);
	}
}

static void make_tens(struct bench *bench, uint64_t pane)
{
	for (uint32_t i = 0; i < bench->edges; i++) {
		struct rollup *row = &bench->tens[i];
		*row = (struct rollup){.window_start_ns = pane_end(pane) - 10 * NS_PER_S,
				       .window_ms = 10000,
				       .edge = bench->order[i]};
		fill_row(bench, row, pane, 40);
	}
}

static struct bench *bench_new(uint32_t edges, uint32_t panes)
{
	struct bench *bench = memory_zeroed(1, sizeof(*bench));
	bench->edges = edges;
	bench->panes = panes;
	bench->names = names_new(1 << 20, 0);
	bench->rows = memory_zeroed((size_t)edges * 3, sizeof(*bench->rows));
	bench->tens = memory_zeroed(edges, sizeof(*bench->tens));
	bench->cells[0] = (struct sketch_cell){(uint16_t)sketch_index(2 * NS_PER_MS), 1};
	bench->ten_cells[0] = (struct sketch_cell){(uint16_t)sketch_index(2 * NS_PER_MS), 20};
	bench->ten_cells[1] = (struct sketch_cell){(uint16_t)sketch_index(3 * NS_PER_MS), 5};
	make_edges(bench);
	make_rows(bench, PANE_FIRST);
	make_tens(bench, PANE_FIRST);
	bench->rss_before = heap_resident();
	bench->anomaly = anomaly_new(&(struct anomaly_options){
		.baselines = true,
		.sensitivity = 9,
		.warmup_samples = 30,
		.objective = 0.99,
		.update_ns = 10 * NS_PER_S,
		.baseline_save_ns = 60 * NS_PER_S,
		.edges_max = edges,
		.episodes_max = 1000,
		.sinks = {bench, on_alerts, NULL},
	});
	return bench;
}

/* Of the stage alone: the rows are made before. */
static uint64_t run_pane(struct bench *bench, uint64_t pane)
{
	bool ten = (pane + 1) % 40 == 0;
	make_rows(bench, pane);
	if (ten)
		make_tens(bench, pane);
	struct cost before = cost_now();
	anomaly_push(bench->anomaly, bench->rows, bench->rows_count, bench->names);
	if (ten)
		anomaly_push(bench->anomaly, bench->tens, bench->edges, bench->names);
	anomaly_advance(bench->anomaly, pane_end(pane));
	return cost_since(before).ns;
}

static void bench_run(struct bench *bench, bool json)
{
	uint64_t spent_ns = 0, slowest_ns = 0, pane = PANE_FIRST;
	for (uint32_t i = 0; i < WARM_PANES; i++)
		run_pane(bench, pane++);
	for (uint32_t i = 0; i < bench->panes; i++) {
		uint64_t ns = run_pane(bench, pane++);
		spent_ns += ns;
		slowest_ns = ns > slowest_ns ? ns : slowest_ns;
	}
	double ns = (double)spent_ns / bench->panes / bench->edges;
	double bytes = (double)(heap_resident() - bench->rss_before) / bench->edges;
	printf(json ? "{\"bench\":\"anomaly\",\"edges\":%u,\"panes\":%u,\"ns\":%.1f,"
		      "\"slowest_pane_ms\":%.2f,\"bytes_per_edge\":%.0f,\"alerts\":%llu}\n"
		    : "%u edges, %u panes: %.1f ns an edge and pane, slowest pane %.2f ms, "
		      "%.0f bytes an edge, %llu alerts\n",
	       bench->edges, bench->panes, ns, (double)slowest_ns / 1e6, bytes,
	       (unsigned long long)bench->alerts);
}

static void bench_free(struct bench *bench)
{
	anomaly_free(bench->anomaly);
	names_free(bench->names);
	free(bench->order);
	free(bench->rows);
	free(bench->tens);
	free(bench);
}

int main(int argc, char **argv)
{
	bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
	unsigned long edges = argc > 1 + json ? strtoul(argv[1 + json], NULL, 10) : 10000;
	unsigned long panes = argc > 2 + json ? strtoul(argv[2 + json], NULL, 10) : 160;
	if (edges == 0 || edges > 1000000 || panes < 40 || panes > 1000000) {
		fprintf(stderr, "usage: bench-anomaly [--json] [edges] [panes, 40 at least]\n");
		return 2;
	}
	anomaly_meter(true); /* else the drive's library leaves the stage out */
	struct bench *bench = bench_new((uint32_t)edges, (uint32_t)(panes / 40 * 40));
	bench_run(bench, json);
	bench_free(bench);
	return 0;
}
