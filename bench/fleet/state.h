/* What the files of bench/fleet/ that make a fleet share. Private to the folder.
 *
 *   plan.c    what stays: nodes, addresses, workloads, pods, edges, rates
 *   flow.c    a connection's life: opened, updated, told again, closed
 *   node.c    a node's batch, its processes and pods, its restarts
 *   lanes.c   truth
 *   fleet.c   ticks
 *
 * A flow lies in the wheel's bucket of the tick in which it does something next: moves bytes,
 * closes, or loses its NAT entry. */
#pragma once

#include "agent/batch/batch.h"
#include "agent/batch/seal.h"
#include "base/address.h"
#include "bench/fleet/dice.h"
#include "bench/fleet/fleet.h"
#include "bench/world/slots.h"

enum {
	TICKS_PER_S = 10,
	WHEEL_TICKS = 512, /* longer than any wait */
	GAP_TICKS_MAX = 450,
	LIFE_MS_MAX = 40000,
	KEY_TICKS = 450,
	HEARTBEAT_TICKS = 10,
	NAT_LINGER_TICKS = 20,
	PROCESS_LIFE_TICKS = 10,
	GAP_UNITS = 16, /* a gap's unit is a 16th of a tick */
	RANKS_MAX = 4096,
	SEGMENT_BYTES = 1448,
	NODE_NAME_MAX = 16,
	TEXT_MAX = 96,
	/* Ports: those of connections that stay and those of the others never meet. */
	KEPT_PORT_FIRST = 1024,
	KEPT_PORT_COUNT = 32768 - 1024,
	SHORT_PORT_FIRST = 32768,
	SHORT_PORT_COUNT = 60999 - 32768 + 1,
	DNS_PORT = 53,
	SERVICE_PORT = 8000,
	SERVICE_PORT_COUNT = 20000,
	NODE_PORT = 30000,
	NODE_PORT_COUNT = 2768,
};

#define NOBODY UINT32_MAX

/* An address that sockets are bound to: a pod's, or a node's. */
struct home {
	uint32_t v4;
	uint16_t kept_ports, short_ports; /* given so far */
	bool outside;			  /* of an external peer */
};

struct process {
	uint32_t pid;
	uint64_t started_ns; /* boottime */
};

/* Short-lived processes: a ring of those of the last PROCESS_LIFE_TICKS. */
struct processes {
	struct process *ring;
	uint32_t mask, first, next;
	uint32_t counts[PROCESS_LIFE_TICKS]; /* begun in the tick */
	uint32_t owed;			     /* thousandths */
	uint32_t pid_next;
};

/* An update on its way to its node's batch. */
struct moved {
	uint32_t slot, offset_us; /* in the tick */
	uint32_t tx_bytes, rx_bytes;
	uint16_t tx_segments, rx_segments, retransmits;
	uint32_t srtt_us;
};

/* What a node's agent is to tell of the tick: put into its batch when the tick is over, a node at a
 * time, so that one batch and its dictionaries are in use and not a thousand. */
struct queue {
	void *items;
	uint32_t count, max;
};

enum queue_kind { QUEUE_NATS, QUEUE_DEFINITIONS, QUEUE_MOVES, QUEUE_CLOSES, QUEUES };

struct node {
	char name[NODE_NAME_MAX];
	uint32_t zone, home;
	uint32_t partition;
	struct batch *batch;
	struct batch_sender sender;
	uint8_t key[SEAL_KEY_BYTES];
	uint64_t booted_ns;
	uint32_t sealed_tick, starts; /* of its agent */
	struct slots slots;
	struct queue queues[QUEUES];
	struct processes processes;
	uint32_t leaving[2]; /* pods that will swap their addresses, or NOBODY */
};

struct pod {
	uint32_t workload, node; /* NOBODY: an external peer */
	uint32_t home;
	uint32_t pid;
	uint32_t births;
	uint32_t live;	     /* flows that are not kept */
	uint64_t started_ns; /* boottime */
	uint8_t version;
	bool elastic; /* has no kept flows: may be replaced */
	bool leaving; /* takes no new connections */
	bool told;    /* its container */
};

struct workload {
	uint32_t pods_first, pods_count; /* in workload_pods */
	uint16_t port;
	bool canary, host, outside;
};

enum edge_flag { EDGE_UDP = 1, EDGE_IPV6 = 2 };

struct fleet_edge {
	uint32_t client, server; /* workloads */
	uint16_t port;
	uint8_t flags; /* enum edge_flag */
};

enum nat_kind {
	NAT_NONE,
	NAT_VIP,      /* the client's node turns the service's address into the server's */
	NAT_DOUBLE,   /* and a gateway then puts its own address for the client's */
	NAT_HAIRPIN,  /* a pod comes back to itself, behind its node's address */
	NAT_NODEPORT, /* the client, maybe an external one, dials a node, which translates both ends
		       */
	NAT_EGRESS,   /* a gateway hides the client from an external server */
};

enum end { CLIENT, SERVER, ENDS };
enum flow_state { FLOW_FREE, FLOW_LIVE, FLOW_LINGERS };

/* What an update needs comes first. */
struct flow {
	uint64_t tx_bytes, rx_bytes; /* the client's view, as told */
	uint32_t tx_segments, rx_segments, retransmits;
	uint32_t due; /* of the next update: 16ths of a tick */
	uint32_t end_tick;
	uint32_t slots[2], nodes[2]; /* by end; node NOBODY: no agent there */
	uint32_t srtt_us;
	uint16_t rank;
	uint8_t nat;   /* enum nat_kind */
	uint8_t state; /* enum flow_state */
	bool kept, udp;

	uint16_t client_port, gateway_port;
	uint32_t pods[2];
	uint32_t gateway; /* node */
	uint32_t edge, lane;
	uint32_t connect_us;
	int64_t opened_us; /* after start_ns; may be before it */
};

/* Indexes of flows, in the order in which they were put; chunks are shared by all buckets. */
enum { CHUNK_ITEMS = 1022 };
struct chunk {
	uint32_t next, count;
	uint32_t items[CHUNK_ITEMS];
};

struct bucket {
	uint32_t first, last; /* chunks */
};

struct wheel {
	struct chunk *chunks;
	uint32_t count, max, free;
	struct bucket buckets[WHEEL_TICKS];
};

struct fleet_lane {
	uint32_t edge;
	uint8_t client_zone, server_zone, client_version, server_version;
	struct truth_counts counts;
};

enum { NO_ZONE = 0xff, NO_VERSION = 0xff };

struct lanes {
	struct fleet_lane *items;
	uint32_t count, max;
	uint32_t *table; /* open addressing: index + 1 */
	uint32_t mask;
};

struct fleet {
	struct fleet_options options;
	struct dice dice;
	struct spread request_bytes, answer_bytes, life_ms, rtt_us;
	uint16_t gaps[RANKS_MAX]; /* by rank, in GAP_UNITS */
	uint32_t ranks;
	uint64_t openings_a_tick; /* thousandths */
	uint32_t translated;	  /* share of the inner connections, in millionths */
	uint32_t kept_count;

	struct home *homes;
	struct node *nodes;
	struct pod *pods;
	struct workload *workloads;
	uint32_t *workload_pods;
	struct fleet_edge *edges;
	uint32_t pods_count, workloads_count, homes_count; /* external ones too */
	uint32_t inner_pods;

	struct flow *flows;
	uint32_t flows_max, *free_flows, free_count;
	struct wheel wheel;
	struct lanes lanes;

	uint32_t tick;
	uint64_t openings_owed;			   /* thousandths */
	uint64_t replacements_owed, restarts_owed; /* 600ths, 36,000ths */
	uint32_t existing_told;
	struct fleet_stats stats;
};

/* Puts, and when the batch is full seals it and puts again: an empty batch takes any event. */
#define FLEET_PUT(fleet, node, put)                                              \
	do {                                                                     \
		if (!(put)) {                                                    \
			fleet_seal(fleet, node);                                 \
			if (!(put))                                              \
				assert(!"an event does not fit an empty batch"); \
		}                                                                \
	} while (0)

enum { TICK_US = FLEET_TICK_NS / NS_PER_US };

/* The tick at hand begins, in us after start_ns. */
static inline int64_t fleet_tick_us(const struct fleet *fleet)
{
	return (int64_t)fleet->tick * TICK_US;
}

static inline uint64_t fleet_time_ns(const struct fleet *fleet, int64_t time_us)
{
	return fleet->options.start_ns + (uint64_t)(time_us * (int64_t)NS_PER_US);
}

/* plan.c */
void fleet_plan(struct fleet *fleet);
void fleet_unplan(struct fleet *fleet);
void fleet_text_workload(const struct fleet *fleet, uint32_t workload, bool ipv6,
			 char text[TEXT_MAX]);
void fleet_text_pod(const struct fleet *fleet, uint32_t pod, char text[TEXT_MAX]);
void fleet_text_zone(uint32_t zone, char text[TEXT_MAX]);
void fleet_text_version(uint32_t version, char text[TEXT_MAX]);

/* node.c */
uint64_t fleet_cgroup(const struct fleet *fleet, const struct pod *pod);
void fleet_node_begin(struct fleet *fleet, struct node *node);
void fleet_node_end(struct node *node);
void fleet_queue(struct node *node, enum queue_kind kind, const void *item);
/* What is queued and its processes' comings and goings go into the batch, and the batch out. */
void fleet_tell_tick(struct fleet *fleet, struct node *node);
void fleet_seal(struct fleet *fleet, struct node *node);
void fleet_pods_tick(struct fleet *fleet);
void fleet_restarts_tick(struct fleet *fleet);

/* flow.c */
void fleet_flow_existing(struct fleet *fleet);
void fleet_flow_open(struct fleet *fleet);
void fleet_flow_due(struct fleet *fleet, uint32_t index);
/* A key frame of both halves and of the NAT entries. */
void fleet_flow_again(struct fleet *fleet, const struct flow *flow);
/* The node's agent began anew: what is there gets new slots. */
void fleet_flow_retold(struct fleet *fleet, struct flow *flow, uint32_t node);
/* What the flow adds to its lane's bytes when it is over. */
struct truth_counts fleet_flow_moved(const struct fleet *fleet, const struct flow *flow);

/* tell.c: one end's half, the entry of the client's node or of the gateway. Times in us after
 * start_ns. */
enum entry { ENTRY_CLIENT, ENTRY_GATEWAY, ENTRIES };
struct address fleet_address(const struct fleet *fleet, uint32_t home, bool ipv6);
bool fleet_has_entry(const struct flow *flow, enum entry entry);
uint32_t fleet_entry_node(const struct flow *flow, enum entry entry);
void fleet_tell_definition(struct fleet *fleet, const struct flow *flow, enum end end,
			   uint32_t flags, int64_t time_us);
void fleet_tell_close(struct fleet *fleet, const struct flow *flow, enum end end, uint32_t reason,
		      int64_t time_us);
void fleet_tell_nat(struct fleet *fleet, const struct flow *flow, enum entry entry, bool ended,
		    int64_t time_us);

/* wheel.c */
void wheel_init(struct wheel *wheel);
void wheel_done(struct wheel *wheel);
void wheel_put(struct wheel *wheel, uint32_t tick, uint32_t item);
/* Calls each with the tick's items, in order, and forgets them. */
void wheel_take(struct wheel *wheel, uint32_t tick, struct fleet *fleet,
		void (*each)(struct fleet *fleet, uint32_t item));

/* lanes.c */
uint32_t fleet_lane(struct fleet *fleet, uint32_t edge, uint32_t client, uint32_t server);
