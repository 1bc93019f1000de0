/* What stays for the run: who is where, who talks to whom, how often. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <librdkafka/rdkafka.h>

#include "base/memory.h"
#include "bench/fleet/state.h"

enum {
	TEAMS = 40,
	HOST_EVERY = 33,      /* one workload in so many uses its nodes' network */
	CANARY_EVERY = 4,     /* one pod in so many of a workload with two versions */
	HAIRPIN_EVERY = 20,   /* one workload in so many calls itself */
	ELASTIC_PERCENT = 10, /* of a node's pods */
	OUTSIDE_EDGES = 16,   /* edges for each external peer */
	OUTSIDE_MIN = 128,
	OUTSIDE_MAX = 131000, /* 198.18.0.0/15, RFC 2544 */
	NODE_V4 = 0x0a000100,
	POD_V4 = 0x0a800100,
	OUTSIDE_V4 = 0xc6120001,
};

/* --- texts --- */

void fleet_text_workload(const struct fleet *fleet, uint32_t workload, bool ipv6,
			 char text[TEXT_MAX])
{
	if (fleet->workloads[workload].outside) {
		uint32_t pod = fleet->workload_pods[fleet->workloads[workload].pods_first];
		struct address address = fleet_address(fleet, fleet->pods[pod].home, ipv6);

		address_format(&address, text);
	} else {
		snprintf(text, TEXT_MAX, "team-%02u/svc-%05u", workload % TEAMS, workload);
	}
}

/* The pod that is there now: each birth has a name of its own. */
void fleet_text_pod(const struct fleet *fleet, uint32_t pod, char text[TEXT_MAX])
{
	snprintf(text, TEXT_MAX, "svc-%05u-%05u-%03u", fleet->pods[pod].workload, pod,
		 fleet->pods[pod].births);
}

void fleet_text_zone(uint32_t zone, char text[TEXT_MAX])
{
	snprintf(text, TEXT_MAX, "zone-%c%c", 'a' + zone % 26, zone < 26 ? 0 : 'a' + zone / 26);
}

void fleet_text_version(uint32_t version, char text[TEXT_MAX])
{
	snprintf(text, TEXT_MAX, "v1.%u.0", version);
}

/* --- places --- */

static void plan_nodes(struct fleet *fleet)
{
	const struct fleet_options *options = &fleet->options;

	fleet->nodes = memory_zeroed(options->nodes, sizeof(*fleet->nodes));
	for (uint32_t i = 0; i < options->nodes; i++) {
		struct node *node = &fleet->nodes[i];

		snprintf(node->name, sizeof(node->name), "node-%05u", i);
		node->zone = i % options->zones;
		node->home = i;
		node->leaving[0] = node->leaving[1] = NOBODY;
		/* As the agents' producer does it (partitioner murmur2_random). */
		node->partition = (uint32_t)rd_kafka_msg_partitioner_murmur2(
			NULL, node->name, strlen(node->name), (int32_t)options->partitions, NULL,
			NULL);
		fleet->homes[i].v4 = NODE_V4 + i;
		fleet_node_begin(fleet, node);
	}
}

static uint32_t outside_count(const struct fleet_options *options)
{
	uint32_t count = options->edges / OUTSIDE_EDGES;

	if (options->external == 0)
		return 0;
	return count < OUTSIDE_MIN ? OUTSIDE_MIN : count > OUTSIDE_MAX ? OUTSIDE_MAX : count;
}

static void plan_workloads(struct fleet *fleet, uint32_t outside)
{
	const struct fleet_options *options = &fleet->options;

	fleet->workloads_count = options->workloads + outside;
	fleet->workloads = memory_zeroed(fleet->workloads_count, sizeof(*fleet->workloads));
	for (uint32_t i = 0; i < fleet->workloads_count; i++)
		fleet->workloads[i] = (struct workload){
			.port = (uint16_t)(SERVICE_PORT + i % SERVICE_PORT_COUNT),
			.canary = dice_permille(&fleet->dice, options->canaries),
			.host = i % HOST_EVERY == HOST_EVERY - 1,
			.outside = i >= options->workloads,
		};
}

/* Every workload has a pod; the others are spread over them. */
static void plan_pods(struct fleet *fleet, uint32_t outside)
{
	const struct fleet_options *options = &fleet->options;
	uint32_t inner = fleet->inner_pods;

	fleet->pods_count = inner + outside;
	fleet->pods = memory_zeroed(fleet->pods_count, sizeof(*fleet->pods));
	for (uint32_t i = 0; i < inner; i++) {
		struct pod *pod = &fleet->pods[i];

		pod->node = i % options->nodes;
		pod->workload =
			i < options->workloads ? i : dice_below(&fleet->dice, options->workloads);
		pod->home = fleet->workloads[pod->workload].host ? fleet->nodes[pod->node].home
								 : options->nodes + i;
		fleet->homes[options->nodes + i].v4 = POD_V4 + i;
	}
	for (uint32_t i = 0; i < outside; i++) {
		fleet->pods[inner + i] = (struct pod){.workload = options->workloads + i,
						      .node = NOBODY,
						      .home = options->nodes + inner + i,
						      .version = NO_VERSION};
		fleet->homes[options->nodes + inner + i] =
			(struct home){.v4 = OUTSIDE_V4 + i, .outside = true};
	}
}

static void index_pods(struct fleet *fleet)
{
	uint32_t first = 0;

	fleet->workload_pods = memory_zeroed(fleet->pods_count, sizeof(*fleet->workload_pods));
	for (uint32_t i = 0; i < fleet->pods_count; i++)
		fleet->workloads[fleet->pods[i].workload].pods_count++;
	for (uint32_t i = 0; i < fleet->workloads_count; i++) {
		fleet->workloads[i].pods_first = first;
		first += fleet->workloads[i].pods_count;
		fleet->workloads[i].pods_count = 0;
	}
	for (uint32_t i = 0; i < fleet->pods_count; i++) {
		struct pod *pod = &fleet->pods[i];
		struct workload *workload = &fleet->workloads[pod->workload];

		fleet->workload_pods[workload->pods_first + workload->pods_count++] = i;
	}
}

/* A workload's first pod is never elastic, so that its connections have a place to stay. */
static void plan_versions(struct fleet *fleet)
{
	const struct fleet_options *options = &fleet->options;
	uint32_t elastic_from = options->pods_per_node * (100 - ELASTIC_PERCENT) / 100;

	for (uint32_t w = 0; w < options->workloads; w++) {
		const struct workload *workload = &fleet->workloads[w];

		for (uint32_t i = 1; i < workload->pods_count; i++) {
			uint32_t index = fleet->workload_pods[workload->pods_first + i];
			struct pod *pod = &fleet->pods[index];

			pod->version = workload->canary && i % CANARY_EVERY == 0;
			pod->elastic = !workload->host && index / options->nodes >= elastic_from;
		}
	}
}

/* --- edges --- */

/* Whether the k-th of a row is one of `share` thousandths, evenly spread. */
static bool in_share(uint32_t k, uint32_t share)
{
	return ((uint64_t)k + 1) * share / 1000 > (uint64_t)k * share / 1000;
}

/* A step that visits all of count places: a prime that does not divide it. */
static uint32_t coprime_step(uint32_t count)
{
	static const uint32_t primes[] = {7919, 7927, 7933, 7937};
	size_t i = 0;

	while (count % primes[i] == 0)
		i++;
	return primes[i];
}

/* Row by row every workload calls another one more, so no edge comes twice. */
static struct fleet_edge plan_inner(const struct fleet *fleet, uint32_t client, uint32_t row)
{
	uint32_t others = fleet->options.workloads - 1;
	uint64_t at = hash_mix(fleet->options.seed + client) % others +
		      (uint64_t)row * coprime_step(others);

	if (client % HAIRPIN_EVERY == 0 && row == 0)
		return (struct fleet_edge){.client = client, .server = client};
	return (struct fleet_edge){
		.client = client,
		.server = (uint32_t)((client + 1 + at % others) % fleet->options.workloads),
	};
}

static struct fleet_edge plan_outer(const struct fleet *fleet, uint32_t inner, uint32_t row)
{
	uint32_t outside = fleet->workloads_count - fleet->options.workloads;
	uint32_t peer = fleet->options.workloads +
			(uint32_t)((hash_mix(fleet->options.seed - inner) + row) % outside);

	/* Half of them call, half are called. */
	if ((inner + row) % 2)
		return (struct fleet_edge){.client = peer, .server = inner};
	return (struct fleet_edge){.client = inner, .server = peer};
}

static void plan_edges(struct fleet *fleet)
{
	const struct fleet_options *options = &fleet->options;

	fleet->edges = memory_zeroed(options->edges, sizeof(*fleet->edges));
	for (uint32_t k = 0; k < options->edges; k++) {
		uint32_t workload = k % options->workloads, row = k / options->workloads;
		bool outer = in_share(k, options->external);
		struct fleet_edge *edge = &fleet->edges[k];
		bool udp;

		*edge = outer ? plan_outer(fleet, workload, row) : plan_inner(fleet, workload, row);
		udp = !outer && !fleet->workloads[edge->server].host &&
		      hash_mix(options->seed ^ ~(uint64_t)k) % (1000 - options->external) <
			      options->udp;
		edge->port = udp ? DNS_PORT : fleet->workloads[edge->server].port;
		edge->flags = udp ? EDGE_UDP : 0;
		if (hash_mix(options->seed + 3 * (uint64_t)k) % 1000 < options->ipv6)
			edge->flags |= EDGE_IPV6;
	}
}

/* --- rates --- */

static double mean_life_ticks(const struct fleet *fleet)
{
	double sum = 0;

	for (int i = 0; i < QUANTILES; i++)
		sum += fleet->life_ms.values[i] * TICKS_PER_S / 1000;
	return sum / QUANTILES;
}

/* Updates a tick of a flow whose rank is drawn evenly, when gaps are scale * rank^0.9. */
static double set_gaps(struct fleet *fleet, double scale)
{
	double sum = 0;

	for (uint32_t rank = 0; rank < fleet->ranks; rank++) {
		double gap = scale * pow(rank + 1, 0.9) * GAP_UNITS;

		if (gap < GAP_UNITS)
			gap = GAP_UNITS;
		if (gap > GAP_TICKS_MAX * GAP_UNITS)
			gap = GAP_TICKS_MAX * GAP_UNITS;
		fleet->gaps[rank] = (uint16_t)(gap + 0.5);
		sum += (double)GAP_UNITS / fleet->gaps[rank];
	}
	return sum / fleet->ranks;
}

static void plan_gaps(struct fleet *fleet, double updates_a_tick)
{
	double low = 1e-9, high = 1e3;

	for (int i = 0; i < 60; i++) {
		double middle = sqrt(low * high);

		if (set_gaps(fleet, middle) > updates_a_tick)
			low = middle;
		else
			high = middle;
	}
	set_gaps(fleet, high);
}

static uint32_t translated_share(const struct fleet_options *options, double halves)
{
	/* DOUBLE makes two entries: 1 in 24. Every other connection with an external end has one.
	 */
	double inner = 1 - options->external / 1000.0;
	double wanted = (double)options->nats / options->opens * halves;
	double share = (wanted - options->external / 2000.0) / inner / (1 + 1 / 24.0);

	return share <= 0 ? 0 : share > 1 ? 1000000 : (uint32_t)(share * 1e6);
}

static void plan_rates(struct fleet *fleet)
{
	const struct fleet_options *options = &fleet->options;
	double halves = 2 - options->external / 1000.0;
	double events = (double)options->nodes * options->events_per_node / TICKS_PER_S;
	double openings = events * options->opens / 1000 / halves, moving = mean_life_ticks(fleet);
	double kept = options->flows - openings * (moving + 1);
	double updates =
		events * (1000 - 2 * options->opens - options->nats - options->processes) / 1000;

	fleet->kept_count = kept > 0 ? (uint32_t)kept : 0;
	fleet->openings_a_tick = (uint64_t)(openings * 1000 + 0.5);
	fleet->translated = options->opens ? translated_share(options, halves) : 0;
	fleet->ranks = (uint32_t)(options->flows * halves / options->nodes);
	if (fleet->ranks > RANKS_MAX)
		fleet->ranks = RANKS_MAX;
	if (fleet->ranks == 0)
		fleet->ranks = 1;
	plan_gaps(fleet, updates / halves / (fleet->kept_count + openings * moving));
}

static void plan_spreads(struct fleet *fleet)
{
	spread_init(&fleet->request_bytes, 600, 1.4, 1 << 24);
	spread_init(&fleet->answer_bytes, 2400, 1.8, 1 << 26);
	spread_init(&fleet->life_ms, 900, 1.0, LIFE_MS_MAX);
	spread_init(&fleet->rtt_us, 250, 0.6, 20000);
}

void fleet_plan(struct fleet *fleet)
{
	const struct fleet_options *options = &fleet->options;
	uint32_t outside = outside_count(options);

	fleet->inner_pods = options->nodes * options->pods_per_node;
	assert(options->workloads > 1 && options->workloads <= fleet->inner_pods);
	fleet->homes_count = options->nodes + fleet->inner_pods + outside;
	fleet->homes = memory_zeroed(fleet->homes_count, sizeof(*fleet->homes));
	plan_spreads(fleet);
	plan_rates(fleet);
	plan_nodes(fleet);
	plan_workloads(fleet, outside);
	plan_pods(fleet, outside);
	index_pods(fleet);
	plan_versions(fleet);
	plan_edges(fleet);
}

void fleet_unplan(struct fleet *fleet)
{
	for (uint32_t i = 0; i < fleet->options.nodes; i++)
		fleet_node_end(&fleet->nodes[i]);
	free(fleet->homes);
	free(fleet->nodes);
	free(fleet->pods);
	free(fleet->workloads);
	free(fleet->workload_pods);
	free(fleet->edges);
}
