#include "bench/fleet/fleet.h"

#include <assert.h>
#include <stdlib.h>

#include "base/memory.h"
#include "bench/fleet/state.h"

struct fleet_options fleet_reference(void)
{
	return (struct fleet_options){
		.seed = 1,
		.start_ns = 1700000000 * NS_PER_S,
		.nodes = 1000,
		.zones = 3,
		.pods_per_node = 30,
		.workloads = 2000,
		.edges = 148000,
		.flows = 2020000,
		.events_per_node = 5670,
		.opens = 90,
		.nats = 15,
		.processes = 90,
		.udp = 50,
		.external = 98,
		.ipv6 = 100,
		.canaries = 125,
		.replaced_per_minute = 1,
		.settle_ns = 5 * NS_PER_S,
		.partitions = 16,
	};
}

struct fleet_options fleet_profile(void)
{
	struct fleet_options options = fleet_reference();

	options.nodes = 20;
	options.workloads = 40;
	options.edges = 300;
	options.flows = 2000;
	options.events_per_node = 280;
	options.settle_ns = NS_PER_S;
	options.partitions = 4;
	return options;
}

struct fleet *fleet_new(const struct fleet_options *options)
{
	struct fleet *fleet = memory_zeroed(1, sizeof(*fleet));

	assert(options->batch && options->faults_count <= FLEET_FAULTS_MAX);
	assert(options->nodes > 0 && options->zones > 0 && options->zones < NO_ZONE);
	fleet->options = *options;
	fleet->dice.state = hash_mix(options->seed);
	fleet_plan(fleet);
	fleet->flows_max = options->flows + options->flows / 4;
	fleet->flows = memory_zeroed(fleet->flows_max, sizeof(*fleet->flows));
	fleet->free_flows = memory_zeroed(fleet->flows_max, sizeof(*fleet->free_flows));
	for (uint32_t i = fleet->flows_max; i-- > 0;)
		fleet->free_flows[fleet->free_count++] = i;
	wheel_init(&fleet->wheel);
	return fleet;
}

void fleet_free(struct fleet *fleet)
{
	if (!fleet)
		return;
	fleet_unplan(fleet);
	free(fleet->flows);
	free(fleet->free_flows);
	wheel_done(&fleet->wheel);
	free(fleet->lanes.items);
	free(fleet->lanes.table);
	free(fleet);
}

static void key_frames(struct fleet *fleet)
{
	for (uint32_t i = fleet->tick % KEY_TICKS; i < fleet->flows_max; i += KEY_TICKS)
		fleet_flow_again(fleet, &fleet->flows[i]);
}

static void openings(struct fleet *fleet)
{
	fleet->openings_owed += fleet->openings_a_tick;
	for (; fleet->openings_owed >= 1000; fleet->openings_owed -= 1000)
		fleet_flow_open(fleet);
}

/* What is told again comes first, so that it is told as it was before the tick. */
static void run_tick(struct fleet *fleet)
{
	fleet_pods_tick(fleet);
	key_frames(fleet);
	fleet_flow_existing(fleet);
	openings(fleet);
	wheel_take(&fleet->wheel, fleet->tick, fleet, fleet_flow_due);
	for (uint32_t i = 0; i < fleet->options.nodes; i++)
		fleet_tell_tick(fleet, &fleet->nodes[i]);
	fleet->tick++;
	fleet_restarts_tick(fleet);
}

void fleet_run(struct fleet *fleet, uint32_t ticks)
{
	for (uint32_t i = 0; i < ticks; i++)
		run_tick(fleet);
}

void fleet_idle(struct fleet *fleet, uint32_t ticks)
{
	for (uint32_t i = 0; i < ticks; i++) {
		for (uint32_t node = 0; node < fleet->options.nodes; node++)
			fleet_seal(fleet, &fleet->nodes[node]);
		fleet->tick++;
	}
}

uint64_t fleet_now(const struct fleet *fleet)
{
	return fleet_time_ns(fleet, fleet_tick_us(fleet));
}

struct fleet_stats fleet_stats(const struct fleet *fleet)
{
	return fleet->stats;
}
