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

/* Two instances that talk, and what a half of theirs would be labelled. */
struct link {
	struct instance client, server;
	struct edge edge;
	struct lane lane;
	uint8_t side, counts_from;
	bool joined;
};

static inline struct link world_link_of(const struct instance *client,
					const struct instance *server)
{
	struct link link = {
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
		.side = SIDE_CLIENT,
		.counts_from = SIDE_CLIENT,
		.joined = true,
	};
	link.edge.id = edge_id(&link.edge);
	link.lane.id = lane_id(&link.lane);
	return link;
}

/* Client service c, replica cr, to server service s, replica sr; seen and counted by the client. */
static inline struct link world_link(struct names *names, uint32_t c, uint32_t cr, uint32_t s,
				     uint32_t sr, uint64_t pane)
{
	struct instance client = world_instance(names, c, cr, pane);
	struct instance server = world_instance(names, s, sr, pane);
	return world_link_of(&client, &server);
}

/* A place of the link in a task's partial; the caller drops its lane. */
static inline struct place link_place(const struct link *link, struct roster *roster,
				      struct partial *partial, uint64_t pane)
{
	struct place place = {
		.client = roster_put(roster, &link->client, pane),
		.server = roster_put(roster, &link->server, pane),
		.side = link->side,
		.counts_from = link->counts_from,
		.joined = link->joined,
	};
	struct lane_wanted wanted = {
		place.client, place.server, link->edge.port, link->edge.protocol, 0, 0};
	partial_lanes_hold(partial, &wanted, 1);
	place.lane = wanted.lane;
	return place;
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

/* Sources that all feed one aggregate. Lanes are held for a pane at a time, so numbers come and
 * go. */
enum { WORLD_SOURCES_MAX = 8, WORLD_LANES_MAX = 100000 };
struct world {
	uint32_t sources;
	struct names *names[WORLD_SOURCES_MAX];
	struct roster *rosters[WORLD_SOURCES_MAX];
	struct partial *partials[WORLD_SOURCES_MAX];
	struct aggregate *aggregate;
	struct collection collection;
	uint64_t pane;
	uint32_t *held[WORLD_SOURCES_MAX]; /* lanes */
	size_t held_count[WORLD_SOURCES_MAX], held_capacity[WORLD_SOURCES_MAX];
};

static inline void world_init(struct world *world, uint32_t sources, uint32_t lanes_max,
			      uint32_t rows_max)
{
	*world = (struct world){.sources = sources, .pane = PANE_0};
	for (uint32_t source = 0; source < sources; source++) {
		world->names[source] = names_new(100000, 1);
		world->rosters[source] = roster_new(100000, 1);
		const struct partial_options options = {.owners = 1,
							.lanes_max = lanes_max,
							.names = world->names[source],
							.roster = world->rosters[source]};
		world->partials[source] = partial_new(&options);
	}
	const struct aggregate_options options = {
		.rows_max = rows_max,
		.names_max = 100000,
		.sources = sources,
		.sinks = {.context = &world->collection, .rollups = collect},
	};
	world->aggregate = aggregate_new(&options);
}

static inline void world_done(struct world *world)
{
	for (uint32_t source = 0; source < world->sources; source++) {
		partial_free(world->partials[source]);
		names_free(world->names[source]);
		roster_free(world->rosters[source]);
		free(world->held[source]);
	}
	aggregate_free(world->aggregate);
	collection_clear(&world->collection);
}

static inline struct place world_place(struct world *world, uint32_t source,
				       const struct link *link)
{
	struct place place =
		link_place(link, world->rosters[source], world->partials[source], world->pane);
	if (world->held_count[source] == world->held_capacity[source]) {
		world->held_capacity[source] =
			memory_grown(world->held_capacity[source], world->held_count[source] + 1);
		world->held[source] = memory_resize(world->held[source],
						    world->held_capacity[source], sizeof(uint32_t));
	}
	world->held[source][world->held_count[source]++] = place.lane;
	return place;
}

static inline void world_push_from(struct world *world, uint32_t source, const struct link *link,
				   struct delta delta)
{
	delta.place = world_place(world, source, link);
	if (!delta.time_ns)
		delta.time_ns = pane_start(world->pane);
	partial_push(world->partials[source], &delta, 1);
}

static inline void world_push(struct world *world, const struct link *link, struct delta delta)
{
	world_push_from(world, 0, link, delta);
}

static inline void world_amend(struct world *world, uint32_t source, const struct link *before,
			       const struct link *after, struct amendment amendment)
{
	amendment.before = world_place(world, source, before);
	amendment.after = world_place(world, source, after);
	partial_amend(world->partials[source], &amendment, 1);
}

static inline void world_close(struct world *world)
{
	for (uint32_t source = 0; source < world->sources; source++) {
		for (size_t i = 0; i < world->held_count[source]; i++)
			partial_lane_drop(world->partials[source], world->held[source][i]);
		world->held_count[source] = 0;
		struct partial_bucket *bucket =
			partial_take(world->partials[source], 0, world->pane);
		aggregate_push(world->aggregate, source, bucket);
		partial_reuse(world->partials[source], bucket);
		names_advance(world->names[source], world->pane);
		roster_advance(world->rosters[source], world->names[source], world->pane);
	}
	aggregate_advance(world->aggregate, pane_end(world->pane++));
}

static inline void world_close_until(struct world *world, uint64_t pane)
{
	while (world->pane < pane)
		world_close(world);
}
