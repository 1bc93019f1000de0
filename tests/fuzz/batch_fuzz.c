/* Any bytes as records of one partition: decoded, and pushed through a small mirror whose panes are
 * closed. The first byte of each record's header moves the log's time. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ingest/mirror.h"
#include "millrace/v1/events.pb-c.h"

static void take_halves(void *context, uint32_t task, const struct half_bucket *bucket)
{
	(void)context;
	(void)task;
	(void)bucket;
}

static void take_deltas(void *context, const struct delta *deltas, size_t count)
{
	(void)context;
	(void)deltas;
	(void)count;
}

static void take_amendments(void *context, const struct amendment *amendments, size_t count)
{
	(void)context;
	(void)amendments;
	(void)count;
}

/* There is never room: nothing is labelled here. */
static void hold_lanes(void *context, struct lane_wanted *wanted, size_t count)
{
	(void)context, (void)wanted, (void)count;
}

static void drop_lane(void *context, uint32_t lane)
{
	(void)context, (void)lane;
}

static void close_ready(struct mirror *mirror, uint64_t *pane)
{
	for (; mirror_ready(mirror, *pane); ++*pane) {
		mirror_halves(mirror, *pane);
		mirror_deltas(mirror, *pane);
	}
}

/* What is shown of a node is read as the service reads it. */
static void take_node(void *context, const struct mirror_node *node)
{
	(void)context;
	if (!node->about)
		return;
	millrace__v1__node_facts__free_unpacked(
		millrace__v1__node_facts__unpack(NULL, node->about->facts_length,
						 node->about->facts),
		NULL);
	millrace__v1__agent_state__free_unpacked(
		millrace__v1__agent_state__unpack(NULL, node->about->state_length,
						  node->about->state),
		NULL);
	for (size_t i = 0; i < node->about->listeners_count; i++)
		if (strlen(node->about->listeners[i].program) > NAME_MAX_BYTES)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct mirror *mirror = mirror_new(&(struct mirror_options){
		.join_tasks = 2,
		.lateness_ns = 500 * NS_PER_MS,
		.keep_ns = 2 * NS_PER_S,
		.nodes_max = 4,
		.halves_max = 8,
		.nats_max = 4,
		.processes_max = 4,
		.containers_max = 4,
		.amendments_max = 4,
		.names_max = 64,
		.instances_max = 16,
		.destinations = 2,
		.record_bytes_max = 4096,
		.events_max = 64,
		.sinks = {.halves = take_halves,
			  .deltas = take_deltas,
			  .amendments = take_amendments,
			  .lanes_hold = hold_lanes,
			  .lane_drop = drop_lane},
	});
	uint64_t append_ns = 1700000000 * NS_PER_S;
	uint64_t pane = pane_of(append_ns - 500 * NS_PER_MS);
	while (length > 3) {
		size_t size = (size_t)bytes[0] << 8 | bytes[1];
		append_ns += bytes[2] * 50 * NS_PER_MS;
		bytes += 3;
		length -= 3;
		if (size > length)
			size = length;
		mirror_push(mirror,
			    &(struct mirror_record){
				    .value = bytes, .length = size, .append_ns = append_ns},
			    1);
		close_ready(mirror, &pane);
		mirror_nodes(mirror, take_node, NULL);
		bytes += size;
		length -= size;
	}
	mirror_free(mirror);
	return 0;
}
