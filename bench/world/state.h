/* What the files of bench/world/ share: nodes with their batch and slots, programs with their
 * ports, connections made of pieces on a wheel of ticks. Private to the folder.
 *
 * A connection has at most four pieces, each telling its part on its own node:
 *
 *     client half   NAT entry on the client's node   NAT entry on the gateway   server half
 *
 * A piece lies in the wheel's bucket of the tick in which it has something to tell next, and the
 * connection's place is free when its last piece has told its end. */
#pragma once

#include "bench/world/slots.h"
#include "bench/world/world.h"

enum {
	PORT_FIRST = 32768, /* Linux's default ip_local_port_range */
	PORT_COUNT = 60999 - 32768 + 1,
	WHEEL_TICKS = 1024, /* longer waits go round */
	KEY_FRAME_TICKS = 300,
	PIECES = 4,
};

#define KEY_FRAME_NS  (KEY_FRAME_TICKS * WORLD_TICK_NS)
#define UPDATE_NS     NS_PER_S
#define NAT_LINGER_NS (2 * NS_PER_S) /* conntrack keeps an entry for a while after the end */
#define PIECE_NONE    UINT32_MAX

/* Ephemeral ports of one address, taken in order so that a port comes again as late as it can. */
struct ports {
	uint32_t next, used;
	uint64_t taken[(PORT_COUNT + 63) / 64];
};

struct node {
	struct world_node about;
	struct batch *batch;
	struct batch_sender sender;
	uint64_t booted_ns, sealed_ns;
	struct slots slots;
	struct ports ports; /* of the node's own address, as a gateway */
};

struct program {
	struct world_program about;
	uint32_t pid;
	uint64_t cgroup;
	uint64_t started_ns; /* boottime */
	char id[65];
	struct ports ports;
};

enum piece_kind { PIECE_CLIENT, PIECE_NAT, PIECE_GATEWAY, PIECE_SERVER };
enum piece_state { PIECE_WAITING, PIECE_LIVE, PIECE_ENDED };

struct piece {
	uint32_t next; /* in its bucket */
	uint32_t slot, generation;
	uint8_t state; /* enum piece_state */
	uint64_t due_ns, key_ns;
	struct traffic told; /* of a half */
};

struct connection {
	struct world_connection about;
	uint64_t established_ns, ended_ns; /* at the client */
	uint16_t client_port, gateway_port;
	uint8_t pieces_live;
	bool used;
	struct piece pieces[PIECES];
};

struct world {
	struct world_options options;
	struct node *nodes;
	struct program *programs;
	struct connection *connections;
	uint32_t *free_connections;
	struct world_totals *totals;
	uint32_t nodes_count, programs_count, free_count;
	uint64_t tick; /* next to run */
	uint32_t wheel[WHEEL_TICKS];
	struct world_stats stats;
};

/* Puts, and when the batch is full seals it and puts again: an empty batch takes any event. */
#define NODE_PUT(world, node, put)                                               \
	do {                                                                     \
		if (!(put)) {                                                    \
			node_seal(world, node);                                  \
			if (!(put))                                              \
				assert(!"an event does not fit an empty batch"); \
		}                                                                \
	} while (0)

static inline uint64_t tick_start(const struct world *world, uint64_t tick)
{
	return world->options.start_ns + tick * WORLD_TICK_NS;
}

void node_init(struct world *world, struct node *node, const struct world_node *about);
void node_done(struct node *node);
void node_seal(struct world *world, struct node *node);
void node_tell_program(struct world *world, const struct program *program);

uint16_t ports_take(struct ports *ports); /* 0: none is free */
void ports_give(struct ports *ports, uint16_t port);

/* Tells what the piece has to tell up to until_ns; its due time is the next one afterwards, or its
 * state is PIECE_ENDED. */
void piece_run(struct world *world, struct connection *connection, enum piece_kind kind,
	       uint64_t until_ns);
struct traffic connection_traffic(const struct connection *connection, bool server,
				  uint64_t time_ns);
