#include "bench/world/state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

enum {
	EVENTS_MAX = 16384,
	BATCH_BYTES = 768 * 1024,
	UPTIME_S = 3600, /* of the first node when the world begins; the others differ */
	UPTIME_STEP_S = 17,
	PROGRAM_AGE_S = 600,
};

#define HEARTBEAT_NS NS_PER_S

void node_init(struct world *world, struct node *node, const struct world_node *about)
{
	uint64_t index = (uint64_t)(node - world->nodes);
	uint64_t seed = hash_mix(world->options.seed + index * 0x9e3779b97f4a7c15ULL);
	uint64_t halves[2] = {hash_mix(seed + 1), hash_mix(seed + 2)};
	uint32_t bytes_max = world->options.batch_bytes_max;

	node->about = *about;
	node->batch = batch_new(&(struct batch_options){
		.events_max = EVENTS_MAX, .bytes_max = bytes_max ? bytes_max : BATCH_BYTES});
	node->sender = (struct batch_sender){
		.node = about->name,
		.epoch = hash_mix(seed + 3),
		.zone = about->zone,
		.region = about->region,
		.role = about->role,
		.agent_version = MILLRACE_VERSION,
		.scan_period_ms = UPDATE_NS / NS_PER_MS,
	};
	memcpy(node->sender.boot_id, halves, sizeof(halves));
	node->booted_ns = world->options.start_ns - (UPTIME_S + UPTIME_STEP_S * index) * NS_PER_S;
}

void node_done(struct node *node)
{
	batch_free(node->batch);
	world_slots_done(&node->slots);
}

/* At the end of the tick that runs: nothing in the batch is younger. */
void node_seal(struct world *world, struct node *node)
{
	uint64_t now_ns = tick_start(world, world->tick + 1);
	struct batch_bytes bytes;

	if (batch_events(node->batch) == 0 && now_ns - node->sealed_ns < HEARTBEAT_NS)
		return;
	bytes = batch_seal(node->batch, &node->sender, now_ns - node->booted_ns, now_ns);
	node->sealed_ns = now_ns;
	world_slots_release(&node->slots);
	world->stats.batches++;
	world->stats.events += bytes.events;
	world->stats.bytes += bytes.length;
	world->options.batch(world->options.context, node->about.name, &bytes);
}

void node_tell_program(struct world *world, const struct program *program)
{
	struct node *node = &world->nodes[program->about.node];
	const struct world_program *about = &program->about;
	struct batch_container container = {
		.cgroup = program->cgroup,
		.id = program->id,
		.name = about->container,
		.image = about->image,
		.pod = about->pod,
		.namespace = about->namespace,
		.workload = about->workload,
	};
	struct batch_process process = {
		.pid = program->pid,
		.parent = 1,
		.started_ns = program->started_ns,
		.cgroup = program->cgroup,
		.comm = about->comm,
		.exe = about->exe,
		.cmdline = about->exe,
		.time_ns = tick_start(world, world->tick),
	};

	NODE_PUT(world, node, batch_container(node->batch, &container));
	NODE_PUT(world, node, batch_process(node->batch, &process));
}

uint32_t world_node_add(struct world *world, const struct world_node *about)
{
	assert(world->nodes_count < world->options.nodes_max);
	node_init(world, &world->nodes[world->nodes_count], about);
	return world->nodes_count++;
}

uint32_t world_program_add(struct world *world, const struct world_program *about)
{
	static const char digits[] = "0123456789abcdef";
	uint32_t index = world->programs_count;
	struct program *program = &world->programs[index];

	assert(index < world->options.programs_max && about->node < world->nodes_count);
	program->about = *about;
	program->pid = 1000 + index;
	program->cgroup = 10000 + index;
	program->started_ns = world->options.start_ns - world->nodes[about->node].booted_ns -
			      PROGRAM_AGE_S * NS_PER_S;
	for (size_t i = 0; i < sizeof(program->id) - 1; i++)
		program->id[i] = digits[hash_mix(world->options.seed + index * 64ULL + i) & 15];
	world->programs_count++;
	node_tell_program(world, program);
	return index;
}
