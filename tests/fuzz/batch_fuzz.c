/* Any bytes as records of one partition: decoded, and pushed through a small mirror whose panes are
 * closed. The first byte of each record's header moves the log's time. */
#include <string.h>

#include "base/clock.h"
#include "ingest/mirror.h"

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

static void close_ready(struct mirror *mirror, uint64_t *pane)
{
	for (; mirror_ready(mirror, *pane); ++*pane) {
		mirror_halves(mirror, *pane);
		mirror_deltas(mirror, *pane);
	}
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
		.record_bytes_max = 4096,
		.events_max = 64,
		.sinks = {.halves = take_halves,
			  .deltas = take_deltas,
			  .amendments = take_amendments},
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
		bytes += size;
		length -= size;
	}
	mirror_free(mirror);
	return 0;
}
