/* A world of nodes, programs and connections that tells what real agents on those nodes would tell,
 * and knows the truth: what was opened, what failed, how many bytes moved.
 *
 * Nodes carry programs (one process in one container). A connection goes from a program to a
 * program, straight or through NAT on one or two nodes, and has its course fixed when it is opened:
 * bytes move evenly between established and ended. world_advance() runs whole ticks of 100 ms and
 * seals a batch a node for each: definitions, updates every second, closes with absolute counters,
 * NAT entries and their ends, key frames every 30 s, heartbeats. The same calls with the same seed
 * give the same bytes. Truth is counted from the connections' courses, not from what was told.
 *
 * Bounds: the options. world_open refuses, counted, when connections_max are live or when an
 * address has no free port. Texts are lent until world_free. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/batch/batch.h"
#include "base/address.h"
#include "base/clock.h"
#include "base/delta.h"

#define WORLD_TICK_NS (100 * NS_PER_MS)

struct world;

struct world_options {
	uint64_t seed;	   /* of boot ids, epochs and container ids */
	uint64_t start_ns; /* of the first tick, real time */
	uint32_t nodes_max, programs_max, edges_max;
	uint32_t connections_max; /* live at once, with those whose NAT entries linger */
	uint32_t batch_bytes_max; /* of a sealed batch; 0: 768 KiB, as the agent's */
	void (*batch)(void *context, const char *node, const struct batch_bytes *bytes);
	void *context;
};

struct world_node {
	const char *name, *zone, *region, *role;
	struct address address;
};

struct world_program {
	uint32_t node; /* as world_node_add returned it */
	struct address address;
	const char *workload, *namespace, *pod, *container, *image;
	const char *comm, *exe;
};

/* What stands between client and server. */
enum world_nat {
	WORLD_DIRECT,	  /* nothing: dialled is the server */
	WORLD_DNAT,	  /* the client's node turns a virtual address into the server's */
	WORLD_MASQUERADE, /* the same, and the gateway puts its own address for the client's */
	WORLD_NODEPORT,	  /* the client dials the gateway, which translates both ends */
	WORLD_NATS,
};

struct world_connection {
	uint32_t client, server; /* programs */
	uint32_t edge;		 /* 0 .. edges_max - 1: whose totals it counts in */
	enum world_nat nat;
	uint32_t gateway;	/* node; with WORLD_MASQUERADE and WORLD_NODEPORT */
	struct address dialled; /* virtual address; with WORLD_DNAT and WORLD_MASQUERADE */
	uint16_t dialled_port, server_port;
	uint64_t opened_ns;	     /* not before the time advanced to */
	uint64_t connect_ns;	     /* to established, or to the failure */
	uint64_t life_ns;	     /* from established to the end */
	uint64_t tx_bytes, rx_bytes; /* in all, the client's view */
	uint32_t srtt_us;
	uint32_t retransmits_ppm; /* of the segments sent, either way */
	enum close_reason reason; /* a failure: never established, the server has no socket */
};

/* The truth of one edge, up to the time advanced to. */
struct world_totals {
	uint64_t attempts;		  /* established and failed ones */
	uint64_t established;		  /* at the client */
	uint64_t ended;			  /* of them */
	uint64_t ended_by[CLOSE_REASONS]; /* failures too */
	uint64_t tx_bytes, rx_bytes;	  /* of ended connections, the client's view */
	uint64_t translated;		  /* attempts through NAT */
};

struct world_stats {
	uint64_t batches, events, bytes; /* sealed */
	uint64_t refused_full, refused_ports;
	uint32_t live; /* connections, with those whose NAT entries linger */
};

struct world *world_new(const struct world_options *options);
void world_free(struct world *world);
uint32_t world_node_add(struct world *world, const struct world_node *node);
uint32_t world_program_add(struct world *world, const struct world_program *program);
bool world_open(struct world *world, const struct world_connection *connection);

/* Runs every tick that ends at or before now_ns. */
void world_advance(struct world *world, uint64_t now_ns);

/* Ends what is live at the time advanced to, with the bytes that moved until then (a connection not
 * yet established ends 1 ms after it is). Advance until stats say that none is live. */
void world_end_all(struct world *world);

struct world_totals world_totals(const struct world *world, uint32_t edge);
struct world_stats world_stats(const struct world *world);
