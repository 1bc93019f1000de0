#include "bench/world/world.h"

#include <assert.h>
#include <stdlib.h>

#include "base/memory.h"
#include "bench/world/state.h"

struct world *world_new(const struct world_options *options)
{
	struct world *world = memory_zeroed(1, sizeof(*world));

	assert(options->batch && options->connections_max < PIECE_NONE / PIECES);
	world->options = *options;
	world->nodes = memory_zeroed(options->nodes_max, sizeof(*world->nodes));
	world->programs = memory_zeroed(options->programs_max, sizeof(*world->programs));
	world->connections = memory_zeroed(options->connections_max, sizeof(*world->connections));
	world->free_connections =
		memory_zeroed(options->connections_max, sizeof(*world->free_connections));
	world->totals = memory_zeroed(options->edges_max, sizeof(*world->totals));
	for (uint32_t i = options->connections_max; i-- > 0;)
		world->free_connections[world->free_count++] = i;
	for (uint32_t i = 0; i < WHEEL_TICKS; i++)
		world->wheel[i] = PIECE_NONE;
	return world;
}

void world_free(struct world *world)
{
	if (!world)
		return;
	for (uint32_t i = 0; i < world->nodes_count; i++)
		node_done(&world->nodes[i]);
	free(world->nodes);
	free(world->programs);
	free(world->connections);
	free(world->free_connections);
	free(world->totals);
	free(world);
}

static void schedule(struct world *world, uint32_t index)
{
	struct piece *piece = &world->connections[index / PIECES].pieces[index % PIECES];
	uint64_t tick = (piece->due_ns - world->options.start_ns) / WORLD_TICK_NS;
	uint32_t *bucket;

	if (tick < world->tick)
		tick = world->tick;
	bucket = &world->wheel[tick % WHEEL_TICKS];
	piece->next = *bucket;
	*bucket = index;
}

static void add_piece(struct world *world, struct connection *connection, enum piece_kind kind,
		      uint64_t due_ns)
{
	connection->pieces[kind] = (struct piece){.state = PIECE_WAITING, .due_ns = due_ns};
	connection->pieces_live++;
	schedule(world, (uint32_t)(connection - world->connections) * PIECES + kind);
}

static bool take_ports(struct world *world, struct connection *connection)
{
	const struct world_connection *about = &connection->about;
	struct ports *client = &world->programs[about->client].ports;

	connection->client_port = ports_take(client);
	if (!connection->client_port)
		return false;
	if (about->nat != WORLD_MASQUERADE && about->nat != WORLD_NODEPORT)
		return true;
	connection->gateway_port = ports_take(&world->nodes[about->gateway].ports);
	if (!connection->gateway_port)
		ports_give(client, connection->client_port);
	return connection->gateway_port != 0;
}

static void add_pieces(struct world *world, struct connection *connection)
{
	const struct world_connection *about = &connection->about;
	uint64_t one_way_ns = about->srtt_us * NS_PER_US / 2;

	for (int kind = 0; kind < PIECES; kind++)
		connection->pieces[kind].state = PIECE_ENDED;
	if (about->nat == WORLD_DNAT || about->nat == WORLD_MASQUERADE)
		add_piece(world, connection, PIECE_NAT, about->opened_ns);
	if (connection->gateway_port)
		add_piece(world, connection, PIECE_GATEWAY, about->opened_ns);
	add_piece(world, connection, PIECE_CLIENT, connection->established_ns);
	if (!close_reason_is_failure(about->reason))
		add_piece(world, connection, PIECE_SERVER, connection->established_ns + one_way_ns);
}

bool world_open(struct world *world, const struct world_connection *about)
{
	struct connection *connection;
	bool failed = close_reason_is_failure(about->reason);

	assert(about->opened_ns >= tick_start(world, world->tick));
	assert(about->edge < world->options.edges_max && about->client < world->programs_count &&
	       about->server < world->programs_count);
	if (world->free_count == 0) {
		world->stats.refused_full++;
		return false;
	}
	connection = &world->connections[world->free_connections[world->free_count - 1]];
	*connection = (struct connection){.about = *about, .used = true};
	if (!take_ports(world, connection)) {
		connection->used = false;
		world->stats.refused_ports++;
		return false;
	}
	world->free_count--;
	if (about->nat == WORLD_DIRECT) {
		connection->about.dialled = world->programs[about->server].about.address;
		connection->about.dialled_port = about->server_port;
	} else if (about->nat == WORLD_NODEPORT) {
		connection->about.dialled = world->nodes[about->gateway].about.address;
	}
	if (failed)
		connection->about.tx_bytes = connection->about.rx_bytes = 0;
	connection->established_ns = about->opened_ns + about->connect_ns;
	connection->ended_ns = connection->established_ns + (failed ? 0 : about->life_ns);
	add_pieces(world, connection);
	return true;
}

static void forget(struct world *world, struct connection *connection)
{
	const struct world_connection *about = &connection->about;

	ports_give(&world->programs[about->client].ports, connection->client_port);
	if (connection->gateway_port)
		ports_give(&world->nodes[about->gateway].ports, connection->gateway_port);
	connection->used = false;
	world->free_connections[world->free_count++] = (uint32_t)(connection - world->connections);
}

static void run_bucket(struct world *world)
{
	uint64_t until_ns = tick_start(world, world->tick + 1);
	uint32_t *bucket = &world->wheel[world->tick % WHEEL_TICKS];
	uint32_t index = *bucket;

	*bucket = PIECE_NONE;
	while (index != PIECE_NONE) {
		struct connection *connection = &world->connections[index / PIECES];
		struct piece *piece = &connection->pieces[index % PIECES];
		uint32_t next = piece->next;

		piece_run(world, connection, index % PIECES, until_ns);
		if (piece->state != PIECE_ENDED)
			schedule(world, index);
		else if (--connection->pieces_live == 0)
			forget(world, connection);
		index = next;
	}
}

void world_advance(struct world *world, uint64_t now_ns)
{
	while (tick_start(world, world->tick + 1) <= now_ns) {
		uint64_t phase = world->tick % KEY_FRAME_TICKS;

		if (world->tick >= KEY_FRAME_TICKS)
			for (uint64_t i = phase; i < world->programs_count; i += KEY_FRAME_TICKS)
				node_tell_program(world, &world->programs[i]);
		run_bucket(world);
		for (uint32_t i = 0; i < world->nodes_count; i++)
			node_seal(world, &world->nodes[i]);
		world->tick++;
	}
}

static void cut(const struct world *world, struct connection *connection)
{
	uint64_t now_ns = tick_start(world, world->tick);
	uint64_t end_ns = connection->established_ns + NS_PER_MS;
	struct traffic moved;

	if (end_ns < now_ns)
		end_ns = now_ns;
	if (end_ns >= connection->ended_ns)
		return;
	moved = connection_traffic(connection, false, end_ns);
	connection->about.tx_bytes = moved.tx_bytes;
	connection->about.rx_bytes = moved.rx_bytes;
	connection->ended_ns = end_ns;
	for (int kind = 0; kind < PIECES; kind++)
		if (connection->pieces[kind].state == PIECE_LIVE)
			connection->pieces[kind].due_ns =
				kind == PIECE_NAT || kind == PIECE_GATEWAY ? end_ns + NAT_LINGER_NS
				: kind == PIECE_SERVER
					? end_ns + connection->about.srtt_us * NS_PER_US / 2
					: end_ns;
}

void world_end_all(struct world *world)
{
	for (uint32_t i = 0; i < WHEEL_TICKS; i++)
		world->wheel[i] = PIECE_NONE;
	for (uint32_t i = 0; i < world->options.connections_max; i++) {
		struct connection *connection = &world->connections[i];

		if (!connection->used)
			continue;
		if (!close_reason_is_failure(connection->about.reason))
			cut(world, connection);
		for (uint32_t kind = 0; kind < PIECES; kind++)
			if (connection->pieces[kind].state != PIECE_ENDED)
				schedule(world, i * PIECES + kind);
	}
}

struct world_totals world_totals(const struct world *world, uint32_t edge)
{
	assert(edge < world->options.edges_max);
	return world->totals[edge];
}

struct world_stats world_stats(const struct world *world)
{
	struct world_stats stats = world->stats;

	stats.live = world->options.connections_max - world->free_count;
	return stats;
}
