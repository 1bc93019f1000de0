/* What the aggregate tests share: made-up services, and a sink that remembers. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <cmocka.h>

#include "aggregate/aggregate.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"

/* A 10 s window begins with this pane. */
#define PANE_0 (1000000ULL * 40)

static inline uint64_t pane_start(uint64_t pane)
{
	return pane * PANE_NS;
}

static inline uint64_t named(struct names *names, const char *kind, uint32_t number, uint64_t pane)
{
	char text[32];
	int length = snprintf(text, sizeof(text), "%s-%u", kind, number);
	return names_put(names, text, (size_t)length, pane);
}

static inline struct instance world_instance(struct names *names, uint32_t service,
					     uint32_t replica, uint64_t pane)
{
	struct instance instance = {
		.workload = named(names, "service", service, pane),
		.version = named(names, "v", replica % 2, pane),
		.zone = named(names, "zone", replica % 3, pane),
		.node = named(names, "node", replica, pane),
		.container = named(names, "pod", service * 1000 + replica, pane),
		.process = named(names, "app", service, pane),
		.resolution = RESOLUTION_WORKLOAD,
	};
	instance.id = instance_id(&instance);
	return instance;
}

static inline struct label world_label_of(const struct instance *client,
					  const struct instance *server)
{
	struct label label = {
		.side = SIDE_CLIENT,
		.counts_from = SIDE_CLIENT,
		.joined = true,
		.final = true,
		.client = *client,
		.server = *server,
		.edge = {.client = client->workload,
			 .server = server->workload,
			 .port = 443,
			 .protocol = 6,
			 .client_resolution = (uint8_t)client->resolution,
			 .server_resolution = (uint8_t)server->resolution},
		.lane = {.client_zone = client->zone,
			 .server_zone = server->zone,
			 .client_version = client->version,
			 .server_version = server->version},
	};
	label.edge.id = edge_id(&label.edge);
	label.lane.id = lane_id(&label.lane);
	return label;
}

/* Client service c, replica cr, to server service s, replica sr; seen and counted by the client. */
static inline struct label world_label(struct names *names, uint32_t c, uint32_t cr, uint32_t s,
				       uint32_t sr, uint64_t pane)
{
	struct instance client = world_instance(names, c, cr, pane);
	struct instance server = world_instance(names, s, sr, pane);
	return world_label_of(&client, &server);
}

/* Every row that came out; cells are copied. */
struct collection {
	struct rollup *rollups;
	size_t count, capacity;
	const char *name; /* of the last rows' first edge's client, if it is known */
	char name_bytes[NAME_MAX_BYTES + 1];
};

static inline struct sketch_cell *collection_cells(const struct sketch_cell *cells, uint32_t count)
{
	struct sketch_cell *copy = memory_zeroed(count, sizeof(*copy));
	if (count)
		memcpy(copy, cells, count * sizeof(*copy));
	return copy;
}

static inline void collect(void *context, const struct rollup *rollups, size_t count,
			   const struct names *names)
{
	struct collection *collection = context;
	assert_true(count > 0);
	for (size_t i = 0; i < count; i++) {
		if (collection->count == collection->capacity) {
			collection->capacity =
				memory_grown(collection->capacity, collection->count + 1);
			collection->rollups =
				memory_resize(collection->rollups, collection->capacity,
					      sizeof(*collection->rollups));
		}
		struct rollup *rollup = &collection->rollups[collection->count++];
		*rollup = rollups[i];
		rollup->connect = collection_cells(rollups[i].connect, rollups[i].connect_cells);
		rollup->srtt = collection_cells(rollups[i].srtt, rollups[i].srtt_cells);
	}
	const struct name *name = names_get(names, rollups[0].edge.client);
	collection->name = NULL;
	if (name) {
		memcpy(collection->name_bytes, name->bytes, name->length + 1);
		collection->name = collection->name_bytes;
	}
}

static inline void collection_clear(struct collection *collection)
{
	for (size_t i = 0; i < collection->count; i++) {
		free(collection->rollups[i].connect);
		free(collection->rollups[i].srtt);
	}
	free(collection->rollups);
	*collection = (struct collection){0};
}

static inline uint64_t rollup_sub(const struct rollup *rollup)
{
	if (rollup->scope == SCOPE_EDGE)
		return 0;
	return rollup->scope == SCOPE_LANE ? rollup->lane.id : rollup->instance.id;
}

/* The n-th row (from 0) of a window length and scope, amendments apart; NULL if there are fewer. */
static inline const struct rollup *collection_row(const struct collection *collection,
						  uint32_t window_ms, enum scope scope,
						  bool amendment, size_t n)
{
	for (size_t i = 0; i < collection->count; i++) {
		const struct rollup *rollup = &collection->rollups[i];
		if (rollup->window_ms == window_ms && rollup->scope == scope &&
		    rollup->amendment == amendment && n-- == 0)
			return rollup;
	}
	return NULL;
}

static inline int64_t collection_sum(const struct collection *collection, uint32_t window_ms,
				     enum scope scope, enum counter counter)
{
	int64_t sum = 0;
	for (size_t i = 0; i < collection->count; i++) {
		const struct rollup *rollup = &collection->rollups[i];
		if (rollup->window_ms == window_ms && rollup->scope == scope)
			sum += rollup->counters[counter];
	}
	return sum;
}

/* Sources that all feed one aggregate. */
enum { WORLD_SOURCES_MAX = 8 };
struct world {
	uint32_t sources;
	struct names *names[WORLD_SOURCES_MAX];
	struct partial *partials[WORLD_SOURCES_MAX];
	struct aggregate *aggregate;
	struct collection collection;
	uint64_t pane;
};

static inline void world_init(struct world *world, uint32_t sources, uint32_t partial_rows_max,
			      uint32_t rows_max)
{
	*world = (struct world){.sources = sources, .pane = PANE_0};
	for (uint32_t source = 0; source < sources; source++) {
		world->names[source] = names_new(100000, 1);
		const struct partial_options options = {
			.owners = 1, .rows_max = partial_rows_max, .names = world->names[source]};
		world->partials[source] = partial_new(&options);
	}
	const struct aggregate_options options = {
		.rows_max = rows_max,
		.names_max = 100000,
		.sinks = {.context = &world->collection, .rollups = collect},
	};
	world->aggregate = aggregate_new(&options);
}

static inline void world_done(struct world *world)
{
	for (uint32_t source = 0; source < world->sources; source++) {
		partial_free(world->partials[source]);
		names_free(world->names[source]);
	}
	aggregate_free(world->aggregate);
	collection_clear(&world->collection);
}

static inline void world_push(struct world *world, const struct delta *delta)
{
	partial_push(world->partials[0], delta, 1);
}

static inline void world_close(struct world *world)
{
	for (uint32_t source = 0; source < world->sources; source++) {
		struct partial_bucket *bucket =
			partial_take(world->partials[source], 0, world->pane);
		aggregate_push(world->aggregate, bucket);
		partial_bucket_free(bucket);
		names_advance(world->names[source], world->pane);
	}
	aggregate_advance(world->aggregate, pane_end(world->pane++));
}

static inline void world_close_until(struct world *world, uint64_t pane)
{
	while (world->pane < pane)
		world_close(world);
}
