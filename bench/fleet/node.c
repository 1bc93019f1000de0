/* A node's agent: its batch, its pods and processes, its restarts. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "bench/fleet/state.h"

enum {
	/* A batch has room for thrice a tick's events: small, so that a thousand stay in a cache.
	 */
	EVENTS_MIN = 512,
	EVENTS_MAX = 8192,
	EVENT_BYTES = 40,
	SCAN_MS = 100,
	UPTIME_S = 86400,
	POD_AGE_S = 600,
	POD_PID = 2000,
	PROCESS_PID = 1000000,
	PROCESS_PIDS = 3000000,
	PROGRAMS = 16,
	APPEND_US = 5000, /* from sealed to the log */
	LEAVING_TRIES = 16,
};

static const char *const programs[PROGRAMS] = {
	"sh",  "cron",		"logrotate", "curl",	"runc", "pause",	 "health", "backup",
	"awk", "kubelet-probe", "sed",	     "python3", "ip",	"iptables-save", "gzip",   "tar",
};

static uint64_t node_seed(const struct fleet *fleet, const struct node *node)
{
	return hash_mix(fleet->options.seed +
			(uint64_t)(node - fleet->nodes + 1) * 0x9e3779b97f4a7c15ULL);
}

static void begin_agent(struct fleet *fleet, struct node *node)
{
	uint64_t seed = node_seed(fleet, node);
	uint32_t events = 3 * fleet->options.events_per_node / TICKS_PER_S;

	events = events < EVENTS_MIN ? EVENTS_MIN : events > EVENTS_MAX ? EVENTS_MAX : events;
	node->batch =
		batch_new(&(struct batch_options){.events_max = events,
						  .bytes_max = events * EVENT_BYTES,
						  .key = fleet->options.secret ? node->key : NULL});
	node->sender.epoch = hash_mix(seed + 3 + node->starts++);
}

/* Starts and ends take turns, half of the processes' share each. */
static uint32_t starts_owed(const struct fleet_options *options)
{
	return options->events_per_node * options->processes / 2 / TICKS_PER_S;
}

static void begin_processes(struct fleet *fleet, struct processes *processes)
{
	uint32_t live = (starts_owed(&fleet->options) / 1000 + 1) * (PROCESS_LIFE_TICKS + 1);

	processes->mask = 15;
	while (processes->mask < live)
		processes->mask = processes->mask * 2 + 1;
	processes->ring = memory_zeroed((size_t)processes->mask + 1, sizeof(*processes->ring));
}

void fleet_node_begin(struct fleet *fleet, struct node *node)
{
	static const char *const regions[] = {"region-1", "region-2"};
	static char zones[256][TEXT_MAX];
	uint64_t seed = node_seed(fleet, node),
		 halves[2] = {hash_mix(seed + 1), hash_mix(seed + 2)};
	const char *secret = fleet->options.secret;

	fleet_text_zone(node->zone, zones[node->zone]);
	node->sender = (struct batch_sender){
		.node = node->name,
		.zone = zones[node->zone],
		.region = regions[node->zone / 3 % 2],
		.role = "worker",
		.agent_version = MILLRACE_VERSION,
		.scan_period_ms = SCAN_MS,
	};
	memcpy(node->sender.boot_id, halves, sizeof(halves));
	node->booted_ns = fleet->options.start_ns - (UPTIME_S + seed % UPTIME_S) * NS_PER_S;
	if (secret) {
		int rc = seal_node_key((const uint8_t *)secret, strlen(secret), node->name,
				       node->key);

		assert(rc == 0);
	}
	begin_agent(fleet, node);
	begin_processes(fleet, &node->processes);
}

void fleet_node_end(struct node *node)
{
	batch_free(node->batch);
	world_slots_done(&node->slots);
	free(node->processes.ring);
	for (int kind = 0; kind < QUEUES; kind++)
		free(node->queues[kind].items);
}

/* At the end of the tick at hand: nothing in the batch is younger. */
void fleet_seal(struct fleet *fleet, struct node *node)
{
	int64_t now_us = fleet_tick_us(fleet) + TICK_US;
	uint64_t now_ns = fleet_time_ns(fleet, now_us);
	struct batch_bytes bytes;

	if (batch_events(node->batch) == 0) {
		if (fleet->tick - node->sealed_tick < HEARTBEAT_TICKS)
			return;
		fleet->stats.heartbeats++;
	}
	bytes = batch_seal(node->batch, &node->sender, now_ns - node->booted_ns, now_ns);
	node->sealed_tick = fleet->tick;
	world_slots_release(&node->slots);
	fleet->stats.batches++;
	fleet->stats.events += bytes.events;
	fleet->stats.bytes += bytes.length;
	fleet->options.batch(fleet->options.context,
			     &(struct fleet_batch){
				     .node = node->name,
				     .node_length = (uint32_t)strlen(node->name),
				     .partition = node->partition,
				     .append_ns = now_ns + APPEND_US * NS_PER_US,
				     .bytes = bytes.bytes,
				     .length = bytes.length,
				     .events = bytes.events,
			     });
}

/* --- pods --- */

static uint32_t pod_index(const struct fleet *fleet, const struct pod *pod)
{
	return (uint32_t)(pod - fleet->pods);
}

/* Unique on its node, over all births. */
uint64_t fleet_cgroup(const struct fleet *fleet, const struct pod *pod)
{
	return POD_PID + pod_index(fleet, pod) / fleet->options.nodes +
	       (uint64_t)pod->births * fleet->options.pods_per_node;
}

static void name_pod(const struct fleet *fleet, struct pod *pod)
{
	uint32_t local = pod_index(fleet, pod) / fleet->options.nodes;
	uint32_t births = fleet->options.reused_pids ? 0 : pod->births;

	pod->pid = POD_PID + local + births * fleet->options.pods_per_node;
}

static void container_id(const struct fleet *fleet, const struct pod *pod, char id[65])
{
	static const char digits[] = "0123456789abcdef";
	uint64_t seed =
		hash_mix(fleet->options.seed + pod_index(fleet, pod) * 1000003ULL + pod->births);

	for (uint64_t i = 0; i < 64; i++)
		id[i] = digits[hash_mix(seed + i / 16) >> (i % 16 * 4) & 15];
	id[64] = 0;
}

static void tell_container(struct fleet *fleet, const struct pod *pod)
{
	struct node *node = &fleet->nodes[pod->node];
	char workload[TEXT_MAX], team[TEXT_MAX], name[TEXT_MAX], image[3 * TEXT_MAX],
		version[TEXT_MAX], id[65];
	const char *service;

	fleet_text_workload(fleet, pod->workload, false, workload);
	fleet_text_version(pod->version, version);
	service = strchr(workload, '/') + 1;
	snprintf(team, sizeof(team), "%.*s", (int)(service - 1 - workload), workload);
	fleet_text_pod(fleet, pod_index(fleet, pod), name);
	snprintf(image, sizeof(image), "registry.example/%s:%s", workload, version);
	container_id(fleet, pod, id);
	FLEET_PUT(fleet, node,
		  batch_container(node->batch,
				  &(struct batch_container){.cgroup = fleet_cgroup(fleet, pod),
							    .id = id,
							    .name = service,
							    .image = image,
							    .pod = name,
							    .namespace = team,
							    .workload = service}));
}

static void tell_main_process(struct fleet *fleet, const struct pod *pod)
{
	struct node *node = &fleet->nodes[pod->node];
	char comm[TEXT_MAX], exe[2 * TEXT_MAX];

	snprintf(comm, sizeof(comm), "svc-%05u", pod->workload);
	snprintf(exe, sizeof(exe), "/usr/bin/%s", comm);
	FLEET_PUT(fleet, node,
		  batch_process(node->batch,
				&(struct batch_process){
					.pid = pod->pid,
					.parent = 1,
					.started_ns = pod->started_ns,
					.cgroup = fleet_cgroup(fleet, pod),
					.comm = comm,
					.exe = exe,
					.cmdline = exe,
					.time_ns = fleet_time_ns(fleet, fleet_tick_us(fleet))}));
}

static void tell_pod(struct fleet *fleet, struct pod *pod)
{
	tell_main_process(fleet, pod);
	fleet->stats.metadata++;
	if (!pod->told)
		return;
	tell_container(fleet, pod);
	fleet->stats.metadata++;
}

static bool comes_late(const struct fleet *fleet, const struct pod *pod)
{
	return hash_mix(fleet->options.seed + pod_index(fleet, pod) + 7919 * pod->births) % 1000 <
	       fleet->options.late_metadata;
}

static void begin_pod(struct fleet *fleet, struct pod *pod)
{
	const struct node *node = &fleet->nodes[pod->node];
	uint64_t now_ns = fleet_time_ns(fleet, fleet_tick_us(fleet));

	name_pod(fleet, pod);
	pod->started_ns = now_ns - node->booted_ns - (pod->births ? 0 : POD_AGE_S * NS_PER_S);
	pod->told = !comes_late(fleet, pod);
	tell_pod(fleet, pod);
}

static void tell_late(struct fleet *fleet)
{
	uint64_t now_ns = fleet_time_ns(fleet, fleet_tick_us(fleet));

	for (uint32_t i = 0; i < fleet->inner_pods; i++) {
		struct pod *pod = &fleet->pods[i];
		uint64_t begun_ns = fleet->nodes[pod->node].booted_ns + pod->started_ns +
				    (pod->births ? 0 : POD_AGE_S * NS_PER_S);

		if (pod->told || begun_ns + fleet->options.late_metadata_ns > now_ns)
			continue;
		pod->told = true;
		tell_container(fleet, pod);
		fleet->stats.metadata++;
	}
}

/* --- pods that make room for others --- */

static uint32_t pick_elastic(struct fleet *fleet, uint32_t node)
{
	for (int i = 0; i < LEAVING_TRIES; i++) {
		uint32_t pod = node + dice_below(&fleet->dice, fleet->options.pods_per_node) *
					      fleet->options.nodes;

		if (fleet->pods[pod].elastic && !fleet->pods[pod].leaving)
			return pod;
	}
	return NOBODY;
}

static void begin_leaving(struct fleet *fleet)
{
	uint32_t index = dice_below(&fleet->dice, fleet->options.nodes);
	struct node *node = &fleet->nodes[index];

	if (node->leaving[0] != NOBODY)
		return;
	for (int i = 0; i < 2; i++) {
		uint32_t pod = pick_elastic(fleet, index);

		if (pod != NOBODY)
			fleet->pods[pod].leaving = true;
		node->leaving[i] = pod;
	}
	if (node->leaving[1] != NOBODY)
		return;
	if (node->leaving[0] != NOBODY)
		fleet->pods[node->leaving[0]].leaving = false;
	node->leaving[0] = NOBODY;
}

static void end_pod(struct fleet *fleet, struct pod *pod)
{
	struct node *node = &fleet->nodes[pod->node];

	FLEET_PUT(fleet, node,
		  batch_exit(node->batch,
			     &(struct batch_exit){
				     .pid = pod->pid,
				     .started_ns = pod->started_ns,
				     .time_ns = fleet_time_ns(fleet, fleet_tick_us(fleet))}));
	fleet->stats.metadata++;
}

/* Both have no connection left: each one's successor gets the other's address. */
static void swap_pods(struct fleet *fleet, struct node *node)
{
	struct pod *a = &fleet->pods[node->leaving[0]], *b = &fleet->pods[node->leaving[1]];
	uint32_t home = a->home;

	if (a->live + b->live > 0)
		return;
	a->home = b->home;
	b->home = home;
	for (int i = 0; i < 2; i++) {
		struct pod *pod = &fleet->pods[node->leaving[i]];

		end_pod(fleet, pod);
		pod->births++;
		pod->leaving = false;
		begin_pod(fleet, pod);
		node->leaving[i] = NOBODY;
	}
	fleet->stats.replaced += 2;
}

static void replace_pods(struct fleet *fleet)
{
	enum { TICKS_A_MINUTE = 600 };

	fleet->replacements_owed +=
		(uint64_t)fleet->options.replaced_per_minute * fleet->options.nodes;
	for (; fleet->replacements_owed >= TICKS_A_MINUTE;
	     fleet->replacements_owed -= TICKS_A_MINUTE)
		begin_leaving(fleet);
	for (uint32_t i = 0; i < fleet->options.nodes; i++)
		if (fleet->nodes[i].leaving[0] != NOBODY)
			swap_pods(fleet, &fleet->nodes[i]);
}

void fleet_pods_tick(struct fleet *fleet)
{
	if (fleet->tick == 0) {
		for (uint32_t i = 0; i < fleet->inner_pods; i++)
			begin_pod(fleet, &fleet->pods[i]);
		return;
	}
	for (uint32_t i = fleet->tick % KEY_TICKS; i < fleet->inner_pods; i += KEY_TICKS)
		tell_pod(fleet, &fleet->pods[i]);
	if (fleet->options.late_metadata)
		tell_late(fleet);
	replace_pods(fleet);
}

/* --- processes --- */

static void end_oldest(struct fleet *fleet, struct node *node)
{
	struct processes *processes = &node->processes;
	const struct process *process = &processes->ring[processes->first++ & processes->mask];

	FLEET_PUT(fleet, node,
		  batch_exit(node->batch,
			     &(struct batch_exit){
				     .pid = process->pid,
				     .started_ns = process->started_ns,
				     .time_ns = fleet_time_ns(fleet, fleet_tick_us(fleet))}));
	fleet->stats.processes++;
}

static void begin_next(struct fleet *fleet, struct node *node, uint32_t index)
{
	struct processes *processes = &node->processes;
	struct process *process = &processes->ring[processes->next & processes->mask];
	uint64_t roll = dice_roll(&fleet->dice);
	uint64_t time_ns =
		fleet_time_ns(fleet, fleet_tick_us(fleet) + (int64_t)dice_scale(roll, TICK_US));
	uint32_t range = fleet->options.reused_pids ? processes->mask + 1 : PROCESS_PIDS;
	uint32_t pod = index + (uint32_t)(roll & 0xffff) % fleet->options.pods_per_node *
				       fleet->options.nodes;
	const char *program = programs[roll >> 16 & (PROGRAMS - 1)];

	*process = (struct process){.pid = PROCESS_PID + processes->next++ % range,
				    .started_ns = time_ns - node->booted_ns};
	FLEET_PUT(fleet, node,
		  batch_process(
			  node->batch,
			  &(struct batch_process){.pid = process->pid,
						  .parent = fleet->pods[pod].pid,
						  .started_ns = process->started_ns,
						  .cgroup = fleet_cgroup(fleet, &fleet->pods[pod]),
						  .comm = program,
						  .exe = program,
						  .cmdline = program,
						  .time_ns = time_ns}));
	fleet->stats.processes++;
}

static void tell_processes(struct fleet *fleet, struct node *node)
{
	uint32_t *count = &node->processes.counts[fleet->tick % PROCESS_LIFE_TICKS];

	for (; *count > 0; --*count)
		end_oldest(fleet, node);
	for (node->processes.owed += starts_owed(&fleet->options); node->processes.owed >= 1000;
	     node->processes.owed -= 1000) {
		begin_next(fleet, node, (uint32_t)(node - fleet->nodes));
		++*count;
	}
}

/* --- a tick's events --- */

static const size_t queue_sizes[QUEUES] = {
	[QUEUE_NATS] = sizeof(struct batch_nat),
	[QUEUE_DEFINITIONS] = sizeof(struct batch_definition),
	[QUEUE_MOVES] = sizeof(struct moved),
	[QUEUE_CLOSES] = sizeof(struct batch_close),
};

void fleet_queue(struct node *node, enum queue_kind kind, const void *item)
{
	struct queue *queue = &node->queues[kind];

	if (queue->count == queue->max) {
		queue->max = (uint32_t)memory_grown(queue->max, queue->count + 1);
		queue->items = memory_resize(queue->items, queue->max, queue_sizes[kind]);
	}
	memcpy((uint8_t *)queue->items + queue->count++ * queue_sizes[kind], item,
	       queue_sizes[kind]);
}

static bool put_move(struct fleet *fleet, struct node *node, const struct moved *moved)
{
	struct batch_update update = {
		.slot = moved->slot,
		.moved = {.tx_bytes = moved->tx_bytes,
			  .rx_bytes = moved->rx_bytes,
			  .tx_segments = moved->tx_segments,
			  .rx_segments = moved->rx_segments,
			  .retransmits = moved->retransmits},
		.srtt_us = moved->srtt_us,
		.time_ns = fleet_time_ns(fleet, fleet_tick_us(fleet) + moved->offset_us),
	};

	return batch_update(node->batch, &update);
}

static bool put_item(struct fleet *fleet, struct node *node, enum queue_kind kind, const void *item)
{
	switch (kind) {
	case QUEUE_NATS:
		return batch_nat(node->batch, item);
	case QUEUE_DEFINITIONS:
		return batch_define(node->batch, item);
	case QUEUE_MOVES:
		return put_move(fleet, node, item);
	case QUEUE_CLOSES:
		return batch_close(node->batch, item);
	case QUEUES:
		break;
	}
	return true;
}

/* In the order in which a reader applies them: so they may go into two batches. */
static void tell_queues(struct fleet *fleet, struct node *node)
{
	for (enum queue_kind kind = 0; kind < QUEUES; kind++) {
		struct queue *queue = &node->queues[kind];
		const uint8_t *item = queue->items;

		for (uint32_t i = 0; i < queue->count; i++, item += queue_sizes[kind])
			FLEET_PUT(fleet, node, put_item(fleet, node, kind, item));
		queue->count = 0;
	}
}

void fleet_tell_tick(struct fleet *fleet, struct node *node)
{
	tell_queues(fleet, node);
	tell_processes(fleet, node);
	fleet_seal(fleet, node);
}

/* --- restarts --- */

/* Between two ticks, its last batch sealed: nothing is lost, and everything is told again. */
static void restart(struct fleet *fleet, uint32_t index)
{
	struct node *node = &fleet->nodes[index];

	batch_free(node->batch);
	world_slots_done(&node->slots);
	begin_agent(fleet, node);
	for (uint32_t i = index; i < fleet->inner_pods; i += fleet->options.nodes)
		tell_pod(fleet, &fleet->pods[i]);
	for (uint32_t i = 0; i < fleet->flows_max; i++)
		fleet_flow_retold(fleet, &fleet->flows[i], index);
	tell_queues(fleet, node);
	fleet_seal(fleet, node);
	fleet->stats.restarts++;
}

void fleet_restarts_tick(struct fleet *fleet)
{
	enum { TICKS_AN_HOUR = 36000 };

	fleet->restarts_owed += (uint64_t)fleet->options.restarts_per_hour * fleet->options.nodes;
	for (; fleet->restarts_owed >= TICKS_AN_HOUR; fleet->restarts_owed -= TICKS_AN_HOUR)
		restart(fleet, dice_below(&fleet->dice, fleet->options.nodes));
}
