#include "bench/world/state.h"

#include <assert.h>

#include "base/tuple.h"

enum { SEGMENT_BYTES = 1448, PPM = 1000000 };

/* The client's bytes at time_ns: moved evenly between established and ended. */
static uint64_t moved(uint64_t bytes, const struct connection *connection, uint64_t time_ns)
{
	uint64_t life_ns = connection->ended_ns - connection->established_ns;

	if (time_ns <= connection->established_ns)
		return 0;
	if (time_ns >= connection->ended_ns)
		return bytes;
	return (uint64_t)((unsigned __int128)bytes * (time_ns - connection->established_ns) /
			  life_ns);
}

static uint64_t segments(uint64_t bytes)
{
	return (bytes + SEGMENT_BYTES - 1) / SEGMENT_BYTES;
}

struct traffic connection_traffic(const struct connection *connection, bool server,
				  uint64_t time_ns)
{
	const struct world_connection *about = &connection->about;
	uint64_t tx = moved(about->tx_bytes, connection, time_ns);
	uint64_t rx = moved(about->rx_bytes, connection, time_ns);
	struct traffic traffic = {
		.tx_bytes = server ? rx : tx,
		.rx_bytes = server ? tx : rx,
	};

	traffic.tx_segments = segments(traffic.tx_bytes);
	traffic.rx_segments = segments(traffic.rx_bytes);
	traffic.retransmits = traffic.tx_segments * about->retransmits_ppm / PPM;
	return traffic;
}

/* One way takes half a round trip: the server's half is that much behind. */
static uint64_t behind(const struct connection *connection, bool server)
{
	return server ? connection->about.srtt_us * NS_PER_US / 2 : 0;
}

static struct node *node_of(struct world *world, uint32_t program)
{
	return &world->nodes[world->programs[program].about.node];
}

static void define(struct world *world, const struct connection *connection, bool server,
		   uint64_t time_ns, uint32_t flags)
{
	const struct world_connection *about = &connection->about;
	const struct piece *piece = &connection->pieces[server ? PIECE_SERVER : PIECE_CLIENT];
	const struct program *client = &world->programs[about->client];
	const struct program *owner = &world->programs[server ? about->server : about->client];
	struct node *node = &world->nodes[owner->about.node];
	bool failed = close_reason_is_failure(about->reason);
	struct batch_definition definition = {
		.slot = piece->slot,
		.generation = piece->generation,
		.protocol = PROTOCOL_TCP,
		.role = server ? BATCH_ROLE_SERVER : BATCH_ROLE_CLIENT,
		.flags = flags,
		.local = owner->about.address,
		.remote = about->dialled,
		.local_port = connection->client_port,
		.remote_port = about->dialled_port,
		.pid = owner->pid,
		.cgroup = owner->cgroup,
		.age_ns = time_ns - about->opened_ns - behind(connection, server),
		.connect_ns = server || failed ? 0 : about->connect_ns,
		.total = piece->told,
		.srtt_us = failed ? 0 : about->srtt_us,
		.min_rtt_us = failed ? 0 : about->srtt_us,
		.time_ns = time_ns,
	};

	if (server) {
		bool hidden = connection->gateway_port != 0;

		definition.local_port = about->server_port;
		definition.remote =
			hidden ? world->nodes[about->gateway].about.address : client->about.address;
		definition.remote_port =
			hidden ? connection->gateway_port : connection->client_port;
	}
	NODE_PUT(world, node, batch_define(node->batch, &definition));
}

static void begin(struct world *world, struct connection *connection, bool server)
{
	struct piece *piece = &connection->pieces[server ? PIECE_SERVER : PIECE_CLIENT];
	const struct world_connection *about = &connection->about;
	struct node *node = node_of(world, server ? about->server : about->client);
	struct world_totals *totals = &world->totals[about->edge];

	piece->slot = world_slots_take(&node->slots, &piece->generation);
	define(world, connection, server, piece->due_ns, 0);
	piece->state = PIECE_LIVE;
	piece->key_ns = piece->due_ns + KEY_FRAME_NS;
	if (server)
		return;
	totals->attempts++;
	totals->established += !close_reason_is_failure(about->reason);
	totals->translated += about->nat != WORLD_DIRECT;
}

static void end(struct world *world, struct connection *connection, bool server)
{
	struct piece *piece = &connection->pieces[server ? PIECE_SERVER : PIECE_CLIENT];
	const struct world_connection *about = &connection->about;
	const struct program *owner = &world->programs[server ? about->server : about->client];
	struct node *node = &world->nodes[owner->about.node];
	struct world_totals *totals = &world->totals[about->edge];
	bool failed = close_reason_is_failure(about->reason);
	struct batch_close close = {
		.slot = piece->slot,
		.reason = about->reason,
		.pid = owner->pid,
		.total = connection_traffic(connection, server, connection->ended_ns),
		.min_rtt_us = failed ? 0 : about->srtt_us,
		.connect_ns = failed ? about->connect_ns : 0,
		.time_ns = connection->ended_ns + behind(connection, server),
	};

	NODE_PUT(world, node, batch_close(node->batch, &close));
	world_slots_end(&node->slots, piece->slot);
	piece->state = PIECE_ENDED;
	if (server)
		return;
	totals->ended += !failed;
	totals->ended_by[about->reason]++;
	totals->tx_bytes += about->tx_bytes;
	totals->rx_bytes += about->rx_bytes;
}

static void update(struct world *world, struct connection *connection, bool server)
{
	struct piece *piece = &connection->pieces[server ? PIECE_SERVER : PIECE_CLIENT];
	const struct world_connection *about = &connection->about;
	struct node *node = node_of(world, server ? about->server : about->client);
	struct traffic now = connection_traffic(connection, server, piece->due_ns);
	struct batch_update update = {
		.slot = piece->slot,
		.moved = {.tx_bytes = now.tx_bytes - piece->told.tx_bytes,
			  .rx_bytes = now.rx_bytes - piece->told.rx_bytes,
			  .tx_segments = now.tx_segments - piece->told.tx_segments,
			  .rx_segments = now.rx_segments - piece->told.rx_segments,
			  .retransmits = now.retransmits - piece->told.retransmits},
		.srtt_us = about->srtt_us,
		.time_ns = piece->due_ns,
	};

	piece->told = now;
	if (piece->due_ns >=
	    piece->key_ns) { /* a key frame is absolute: it stands for the update */
		define(world, connection, server, piece->due_ns, BATCH_AGAIN);
		piece->key_ns = piece->due_ns + KEY_FRAME_NS;
	} else if (update.moved.tx_bytes || update.moved.rx_bytes) {
		NODE_PUT(world, node, batch_update(node->batch, &update));
	}
}

static void half_run(struct world *world, struct connection *connection, bool server,
		     uint64_t until_ns)
{
	struct piece *piece = &connection->pieces[server ? PIECE_SERVER : PIECE_CLIENT];
	uint64_t end_ns = connection->ended_ns + behind(connection, server);

	while (piece->state != PIECE_ENDED && piece->due_ns < until_ns) {
		if (piece->state == PIECE_WAITING)
			begin(world, connection, server);
		else if (piece->due_ns >= end_ns)
			end(world, connection, server);
		else
			update(world, connection, server);
		piece->due_ns += UPDATE_NS;
		if (piece->due_ns > end_ns)
			piece->due_ns = end_ns;
	}
}

static struct batch_nat entry(const struct world *world, const struct connection *connection,
			      enum piece_kind kind)
{
	const struct world_connection *about = &connection->about;
	const struct world_program *client = &world->programs[about->client].about;
	const struct world_program *server = &world->programs[about->server].about;
	struct batch_nat nat = {
		.protocol = PROTOCOL_TCP,
		.original_source = client->address,
		.original_source_port = connection->client_port,
		.original_destination = about->dialled,
		.original_destination_port = about->dialled_port,
		.reply_source = server->address,
		.reply_source_port = about->server_port,
		.reply_destination = client->address,
		.reply_destination_port = connection->client_port,
	};

	if (kind != PIECE_GATEWAY)
		return nat;
	if (about->nat == WORLD_MASQUERADE) { /* the client's node has replaced the address */
		nat.original_destination = server->address;
		nat.original_destination_port = about->server_port;
	}
	nat.reply_destination = world->nodes[about->gateway].about.address;
	nat.reply_destination_port = connection->gateway_port;
	return nat;
}

static void nat_run(struct world *world, struct connection *connection, enum piece_kind kind,
		    uint64_t until_ns)
{
	struct piece *piece = &connection->pieces[kind];
	struct node *node = kind == PIECE_GATEWAY ? &world->nodes[connection->about.gateway]
						  : node_of(world, connection->about.client);
	uint64_t end_ns = connection->ended_ns + NAT_LINGER_NS;

	while (piece->state != PIECE_ENDED && piece->due_ns < until_ns) {
		struct batch_nat nat = entry(world, connection, kind);

		nat.time_ns = piece->due_ns;
		nat.ended = piece->state == PIECE_LIVE && piece->due_ns >= end_ns;
		NODE_PUT(world, node, batch_nat(node->batch, &nat));
		piece->state = nat.ended ? PIECE_ENDED : PIECE_LIVE;
		piece->due_ns += KEY_FRAME_NS;
		if (piece->due_ns > end_ns)
			piece->due_ns = end_ns;
	}
}

void piece_run(struct world *world, struct connection *connection, enum piece_kind kind,
	       uint64_t until_ns)
{
	if (kind == PIECE_CLIENT || kind == PIECE_SERVER)
		half_run(world, connection, kind == PIECE_SERVER, until_ns);
	else
		nat_run(world, connection, kind, until_ns);
}
