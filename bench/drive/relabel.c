#include "bench/drive/relabel.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "bench/drive/cost.h"
#include "join/join.h"
#include "metadata/census.h"

enum {
	FIRST_PANE = 4000000,
	PANES = 40,
	A_PANE = 20000, /* halves opened in one */
	PORT = 80,
};

struct bench {
	uint32_t pods, halves;
	struct census *census;
	struct join *join;
	uint64_t pane, labels;
	struct half_open *opens;
};

static void on_labels(void *context, uint32_t source, const struct label *labels, size_t count,
		      const struct instance *instances, size_t instances_count)
{
	struct bench *bench = context;
	(void)source, (void)labels, (void)instances, (void)instances_count;
	bench->labels += count;
}

static void on_hops(void *context, uint32_t task, const struct half_bucket *bucket)
{
	(void)context, (void)task, (void)bucket;
	abort(); /* there is one task */
}

static void on_flows(void *context, const struct flow *flows, size_t count)
{
	(void)context, (void)flows, (void)count;
}

static struct address pod_at(uint32_t pod)
{
	return address_v4(0x0a000000 + pod);
}

/* version: a record that says another one is a change. */
static void tell_pod(struct bench *bench, uint32_t pod, uint64_t version)
{
	const struct address address = pod_at(pod);
	const struct fact fact = {.id = pod + 1,
				  .object = pod + 1,
				  .until_ns = UINT64_MAX,
				  .observed_ns = version,
				  .workload = pod % 500 + 1,
				  .version = version,
				  .kind = FACT_POD,
				  .prefix = 128,
				  .addresses_count = 1};
	census_take(bench->census, &fact, &address, pane_end(bench->pane));
}

static void advance(struct bench *bench, const struct half_bucket *bucket)
{
	join_push(bench->join, bucket);
	join_advance(bench->join, pane_end(bench->pane));
	census_settle(bench->census);
	bench->pane++;
}

static struct half_open half(const struct bench *bench, uint32_t number, enum side side)
{
	const struct tuple key = {.client = address_v4(0xac100000 + number / 50000),
				  .server = pod_at((uint32_t)(hash_mix(number) % bench->pods)),
				  .client_port = (uint16_t)(1024 + number % 50000),
				  .server_port = PORT,
				  .protocol = PROTOCOL_TCP};
	return (struct half_open){.ref = {.index = number, .generation = 1},
				  .side = (uint8_t)side,
				  .key = key,
				  .seen = key,
				  .opened_ns = bench->pane * PANE_NS,
				  .pid = 1};
}

static void open_clients(struct bench *bench)
{
	for (uint32_t opened = 0; opened < bench->halves;) {
		uint32_t count = bench->halves - opened < A_PANE ? bench->halves - opened : A_PANE;
		for (uint32_t i = 0; i < count; i++)
			bench->opens[i] = half(bench, opened + i, SIDE_CLIENT);
		advance(bench, &(struct half_bucket){.opens = bench->opens, .opens_count = count});
		opened += count;
	}
}

/* Its client is the first pod. */
static void open_mapped(struct bench *bench)
{
	const struct half_open server = half(bench, bench->halves, SIDE_SERVER);
	struct nat_alias alias = {.from = server.key,
				  .to = server.key,
				  .time_ns = server.opened_ns,
				  .node = 1,
				  .op = NAT_ADD};
	alias.from.client = pod_at(0);
	advance(bench,
		&(struct half_bucket){
			.opens = &server, .opens_count = 1, .aliases = &alias, .aliases_count = 1});
}

static double panes(struct bench *bench, bool change)
{
	struct cost cost = {0};
	for (uint32_t i = 0; i < PANES; i++) {
		if (change)
			tell_pod(bench, (uint32_t)(hash_mix(i) % bench->pods), i + 2);
		struct cost before = cost_now();
		advance(bench, &(struct half_bucket){0});
		cost_add(&cost, cost_since(before));
	}
	return (double)cost.ns / PANES;
}

struct relabel relabel_measure(uint32_t pods, uint32_t halves, bool mapped)
{
	struct bench bench = {.pods = pods,
			      .halves = halves,
			      .pane = FIRST_PANE,
			      .census = census_new(2 * pods),
			      .opens = memory_zeroed(A_PANE, sizeof(struct half_open))};
	bench.join = join_new(&(struct join_options){
		.tasks = 1,
		.sources = 1,
		.halves_max = halves + 16,
		.aliases_max = 16,
		.instances_max = 2 * pods + 64,
		.one_sided_ns = 2 * NS_PER_S,
		.keep_ns = 120 * NS_PER_S,
		.census = bench.census,
		.sinks = {&bench, on_labels, on_hops, on_flows},
	});
	for (uint32_t pod = 0; pod < pods; pod++)
		tell_pod(&bench, pod, 1);
	census_settle(bench.census);
	open_clients(&bench);
	if (mapped)
		open_mapped(&bench);
	double idle_ns = panes(&bench, false);
	uint64_t labels = bench.labels;
	double ns = panes(&bench, true) - idle_ns;
	struct relabel relabel = {.ns = ns, .labels = (double)(bench.labels - labels) / PANES};
	join_free(bench.join);
	census_free(bench.census);
	memory_free(bench.opens);
	return relabel;
}
