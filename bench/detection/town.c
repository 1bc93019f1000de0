#include "bench/detection/town.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"

static const double spread_deviations[SPREADS] = {0.2, 0.5, 1.0, 1.5};
enum { SPREAD_MEDIAN = 1000 };

/* How many of each role, and of pods; a client calls so many of the roles behind it. */
static const struct {
	const char *name;
	uint32_t workloads, pods_least, pods_most;
} roles[ROLES] = {
	[ROLE_GATEWAY] = {"gateway", 2, 4, 8},	[ROLE_FRONT] = {"web", 8, 3, 8},
	[ROLE_SERVICE] = {"service", 32, 3, 9}, [ROLE_STORE] = {"store", 12, 3, 6},
	[ROLE_DNS] = {"dns", 1, 3, 3},		[ROLE_BATCH] = {"batch", 5, 1, 3},
};

uint32_t node_zone(uint32_t node)
{
	return node % ZONES;
}

static uint64_t town_name(struct town *town, const char *text)
{
	return names_put(town->names, text, strlen(text), 1);
}

/* --- pods --- */

static void pod_start(struct town *town, struct workload *workload, uint32_t number, uint32_t node)
{
	struct pod *pod = &workload->pods[number];
	char text[96];
	snprintf(text, sizeof(text), "%s-%u", workload->name, workload->serial++);
	*pod = (struct pod){.node = node, .zone = node_zone(node), .since_pane = town->pane};
	pod->instance.container = town_name(town, text);
	snprintf(text, sizeof(text), "%s:%u", workload->name, workload->version);
	pod->instance.version = town_name(town, text);
	pod->instance.workload = workload->id;
	pod->instance.process = town_name(town, workload->name);
	pod->instance.zone = town->zones[pod->zone];
	pod->instance.node = town->nodes[node];
	pod->instance.resolution = RESOLUTION_WORKLOAD;
	pod->instance.id = instance_id(&pod->instance);
}

/* Spread over zones, as schedulers do. */
static uint32_t draw_node(struct town *town, uint32_t number)
{
	uint32_t zone = number % ZONES;
	return zone + ZONES * dice_below(&town->dice, TOWN_NODES / ZONES);
}

void town_replace(struct town *town, struct workload *workload, uint32_t pod)
{
	pod_start(town, workload, pod, draw_node(town, workload->pods[pod].zone));
}

void town_deploy(struct workload *workload, uint64_t pane)
{
	workload->version++;
	workload->deployed = 0;
	workload->next_pane = pane;
}

/* --- making --- */

static struct workload *add_workload(struct town *town, enum role role, uint32_t number)
{
	struct workload *workload = &town->workloads[town->workloads_count++];
	workload->role = role;
	workload->version = 1 + dice_below(&town->dice, 40);
	snprintf(workload->name, sizeof(workload->name), "shop/%s-%u", roles[role].name, number);
	workload->id = town_name(town, workload->name);
	uint32_t more = roles[role].pods_most - roles[role].pods_least + 1;
	workload->pods_count = roles[role].pods_least + dice_below(&town->dice, more);
	for (uint32_t i = 0; i < workload->pods_count; i++)
		pod_start(town, workload, i, draw_node(town, i));
	return workload;
}

static struct habit draw_habit(struct town *town, enum role client, enum role server)
{
	static const double opens[] = {0.02, 0.1, 0.3, 1};
	static const uint32_t timeouts[] = {4, 12, 20};
	struct dice *dice = &town->dice;
	struct habit habit = {
		.rate = chance_scale(dice, 0.5, 60),
		.opens = opens[dice_below(dice, 4)],
		.tx = chance_scale(dice, 200, 4000),
		.rx = chance_scale(dice, 300, 40000),
		.spread = dice_below(dice, SPREADS),
		.connect_us = chance_scale(dice, 200, 1500),
		.srtt_us = chance_scale(dice, 150, 1200),
		.fails = chance(dice, 0.3) ? chance_scale(dice, 1e-5, 2e-3) : 0,
		.timeout_panes = timeouts[dice_below(dice, 3)],
		.day = chance_between(dice, 0.1, 0.8),
		.peak_hour = chance_between(dice, 12, 17),
		.weekend = chance_between(dice, 0.4, 1.1),
	};
	/* Somebody always asks for what is not there. */
	if (chance(dice, 0.02)) {
		habit.fails = chance_between(dice, 0.05, 0.4);
		habit.refuses = true;
	}
	if (client == ROLE_GATEWAY)
		habit.rate = chance_scale(dice, 20, 120);
	if (server == ROLE_DNS) {
		habit.rate = chance_scale(dice, 0.2, 10);
		habit.opens = 1;
		habit.fails = 0;
		habit.tx = 60;
		habit.rx = 160;
		habit.spread = 0;
	}
	/* Seldom used: most edges of a real map are. */
	if (server != ROLE_DNS && client != ROLE_GATEWAY && chance(dice, 0.35)) {
		habit.rate = chance_scale(dice, 0.002, 0.3);
		habit.opens = 1;
	}
	if (client == ROLE_BATCH) {
		habit.period_s = 600 * (1 + dice_below(dice, 12));
		habit.run_s = 20 + dice_below(dice, 280);
		habit.offset_s = dice_below(dice, habit.period_s);
		habit.rx *= 20;
		habit.day = 0;
		habit.weekend = 1;
	}
	return habit;
}

static void add_link(struct town *town, uint32_t client, uint32_t server)
{
	struct workload *workloads = town->workloads;
	for (uint32_t i = 0; i < town->links_count; i++)
		if (town->links[i].client == client && town->links[i].server == server)
			return;
	if (town->links_count == town->links_capacity) {
		town->links_capacity =
			(uint32_t)memory_grown(town->links_capacity, town->links_count + 1);
		town->links =
			memory_resize(town->links, town->links_capacity, sizeof(*town->links));
	}
	struct link *link = &town->links[town->links_count++];
	bool dns = workloads[server].role == ROLE_DNS;
	*link = (struct link){.client = client, .server = server};
	link->edge = (struct edge){
		.client = workloads[client].id,
		.server = workloads[server].id,
		.port = (uint16_t)(dns ? DNS_PORT : 8000 + server % 100),
		.protocol = dns ? 17 : 6,
		.client_resolution = RESOLUTION_WORKLOAD,
		.server_resolution = RESOLUTION_WORKLOAD,
	};
	link->edge.id = edge_id(&link->edge);
	link->habit = draw_habit(town, workloads[client].role, workloads[server].role);
}

static uint32_t draw_workload(struct town *town, enum role role)
{
	uint32_t number, tries = 0;
	do
		number = dice_below(&town->dice, town->workloads_count);
	while (town->workloads[number].role != role && tries++ < 10000);
	return number;
}

static void call_some(struct town *town, uint32_t client, enum role role, uint32_t most)
{
	uint32_t count = 1 + dice_below(&town->dice, most);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t server = draw_workload(town, role);
		/* Nobody calls itself, nor anyone in a ring. */
		if (server != client && (town->workloads[client].role != role || server > client))
			add_link(town, client, server);
	}
}

static void make_links(struct town *town)
{
	for (uint32_t i = 0; i < town->workloads_count; i++) {
		switch (town->workloads[i].role) {
		case ROLE_GATEWAY:
			call_some(town, i, ROLE_FRONT, 8);
			break;
		case ROLE_FRONT:
			call_some(town, i, ROLE_SERVICE, 8);
			break;
		case ROLE_SERVICE:
			call_some(town, i, ROLE_SERVICE, 3);
			call_some(town, i, ROLE_STORE, 3);
			break;
		case ROLE_BATCH:
			call_some(town, i, ROLE_STORE, 3);
			call_some(town, i, ROLE_SERVICE, 2);
			break;
		default:
			continue;
		}
		call_some(town, i, ROLE_DNS, 1);
	}
}

static int compare_links(const void *a, const void *b)
{
	uint64_t left = ((const struct link *)a)->edge.id,
		 right = ((const struct link *)b)->edge.id;
	return (left > right) - (left < right);
}

struct town *town_new(uint64_t seed, double scale)
{
	struct town *town = memory_zeroed(1, sizeof(*town));
	uint32_t workloads_max = 0;
	char text[32];
	town->dice.state = hash_mix(seed + 1);
	town->names = names_new(1 << 22, 0);
	for (uint32_t i = 0; i < ZONES; i++) {
		snprintf(text, sizeof(text), "zone-%c", 'a' + (int)i);
		town->zones[i] = town_name(town, text);
	}
	for (uint32_t i = 0; i < TOWN_NODES; i++) {
		snprintf(text, sizeof(text), "node-%u", i);
		town->nodes[i] = town_name(town, text);
	}
	for (uint32_t i = 0; i < SPREADS; i++) {
		spread_init(&town->spreads[i], SPREAD_MEDIAN, spread_deviations[i],
			    SPREAD_MEDIAN * 1000);
		town->spread_means[i] = spread_mean(&town->spreads[i]) / SPREAD_MEDIAN;
	}
	for (uint32_t role = 0; role < ROLES; role++)
		workloads_max += 1 + (uint32_t)(roles[role].workloads * scale);
	town->workloads = memory_zeroed(workloads_max, sizeof(*town->workloads));
	for (uint32_t role = 0; role < ROLES; role++) {
		uint32_t count = role == ROLE_DNS ? 1 : (uint32_t)(roles[role].workloads * scale);
		for (uint32_t i = 0; i < (count ? count : 1); i++)
			add_workload(town, role, i);
	}
	make_links(town);
	qsort(town->links, town->links_count, sizeof(*town->links), compare_links);
	return town;
}

void town_free(struct town *town)
{
	names_free(town->names);
	memory_free(town->links);
	memory_free(town->workloads);
	memory_free(town);
}

/* --- every day --- */

static void deploy_step(struct town *town, struct workload *workload)
{
	if (workload->next_pane == 0 || workload->next_pane > town->pane)
		return;
	if (workload->deployed >= workload->pods_count) {
		workload->next_pane = 0;
		return;
	}
	town_replace(town, workload, workload->deployed++);
	workload->next_pane = town->pane + PANES_PER_S * (10 + dice_below(&town->dice, 20));
}

static void scale_pods(struct town *town, struct workload *workload)
{
	bool more = chance(&town->dice, 0.5);
	if (workload->next_pane)
		return;
	if (more && workload->pods_count < PODS_MAX) {
		uint32_t number = workload->pods_count++;
		pod_start(town, workload, number, draw_node(town, number));
	} else if (!more && workload->pods_count > roles[workload->role].pods_least) {
		workload->pods_count--;
	}
}

static void agents_step(struct town *town)
{
	for (uint32_t i = 0; i < TOWN_NODES; i++)
		town->node_silent[i] = town->silent_until[i] > town->pane;
}

/* Of one workload in this second; mean times between in hours. */
static bool happens(struct town *town, double hours)
{
	return chance(&town->dice, 1 / (hours * 3600));
}

void town_live(struct town *town, uint64_t pane)
{
	town->pane = pane;
	if (pane % PANES_PER_S)
		return;
	for (uint32_t i = 0; i < town->workloads_count; i++) {
		struct workload *workload = &town->workloads[i];
		uint32_t pod;
		deploy_step(town, workload);
		if (workload->role == ROLE_DNS)
			continue;
		if (happens(town, 24) && workload->next_pane == 0)
			town_deploy(workload, pane);
		if (happens(town, 12))
			scale_pods(town, workload);
		pod = dice_below(&town->dice, workload->pods_count);
		if (happens(town, 24))
			town_replace(town, workload, pod);
	}
	for (uint32_t i = 0; i < TOWN_NODES; i++)
		if (happens(town, 24))
			town->silent_until[i] =
				pane + PANES_PER_S * (2 + dice_below(&town->dice, 8));
	agents_step(town);
}
