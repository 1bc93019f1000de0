/* A fleet of nodes as their agents tell of it, at the size of a data centre, and the truth of it: a
 * seeded function from options to a log. The small world (bench/world/) tells stories connection by
 * connection; this one has millions of them and rates.
 *
 * Nodes carry pods of workloads; edges join workloads. Most connections live as long as the run
 * (they existed before the agents came) and make the live set; the others are opened and closed at
 * the rate of the mix. Activity is Zipf(0.9) over a node's sockets, at most one update a socket and
 * tick; bytes and lives are log-normal. fleet_run() tells ticks of 100 ms: each node's events go
 * through agent/batch into one batch (more if it is full), handed to the callback with its
 * partition (the publisher's key hash) and its append time. The same options give the same bytes.
 *
 * The mix is of the events that come by rate: updates, opens, closes, new NAT entries, starts and
 * ends of processes. Told beside it: key frames (everything again every 45 s, spread), ends of NAT
 * entries, heartbeats, and the definition of what existed in the first settle_ns.
 *
 * Truth is counted lane by lane from what was told, where a socket's last absolute counters and the
 * differences since are one and the same number: truth.h.
 *
 * Bounds: the options; flows_max = flows and a quarter, past it openings are refused and counted.
 * About 90 bytes a flow. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/clock.h"
#include "bench/fleet/log.h"
#include "bench/fleet/truth.h"

#define FLEET_TICK_NS (100 * NS_PER_MS)

enum { FLEET_FAULTS_MAX = 8, FLEET_ANY = -1 };

enum fleet_fault_kind { FLEET_REFUSE, FLEET_SLOW, FLEET_DROP };

/* What is wrong between two ticks. FLEET_ANY leaves a dimension open. DROP is what a policy does:
 * attempts are never answered. SLOW multiplies round trips. */
struct fleet_fault {
	enum fleet_fault_kind kind;
	uint64_t from_ns, to_ns; /* after start_ns */
	int32_t client, server;	 /* workloads */
	int32_t server_pod;	 /* an instance */
	int32_t version;	 /* of the server: 0, or 1, the canary */
	int32_t client_zone, server_zone;
};

/* Shares are in thousandths. */
struct fleet_options {
	uint64_t seed, start_ns;
	uint32_t nodes, zones, pods_per_node, workloads, edges, flows;
	uint32_t events_per_node; /* a second, of the mix */
	uint32_t opens, nats,
		processes;	      /* shares of the events; closes as opens; the rest updates */
	uint32_t udp, external, ipv6; /* shares of the edges */
	uint32_t canaries;	      /* share of the workloads that have a second version */
	uint32_t replaced_per_minute; /* pairs of pods a node that end and swap their addresses */
	uint64_t settle_ns;	      /* in which what existed is told */
	uint32_t partitions;
	const char *secret; /* deployment's key for HMACs, 16 bytes at least; NULL: none */

	struct fleet_fault faults[FLEET_FAULTS_MAX];
	uint32_t faults_count;

	/* Hazards that only the teller can make; those of the way are in hazard.h. */
	uint32_t restarts_per_hour; /* of each agent: new epoch, everything told again */
	uint32_t late_metadata;	    /* share of pods whose container is told late */
	uint64_t late_metadata_ns;
	uint32_t
		reused_tuples; /* share of openings that take the ends and ports of one just over */
	bool reused_pids;
	uint32_t wrapped; /* share of the existing sockets whose counters pass their limit */

	void (*batch)(void *context, const struct fleet_batch *batch);
	void *context;
};

/* 1,000 nodes and 2.02 M flows under the heaviest mix, 5.67 M events a second: the reference. */
struct fleet_options fleet_reference(void);
/* 20 nodes and 2,000 flows at 280 events a node and second: for tests. */
struct fleet_options fleet_profile(void);

struct fleet_stats {
	uint64_t batches, heartbeats, bytes;
	uint64_t events;				   /* all that were sealed, and by kind: */
	uint64_t updates, opens, closes, nats, processes;  /* of the mix */
	uint64_t existing, key_frames, nat_ends, metadata; /* beside it */
	uint64_t refused;				   /* openings that found no room */
	uint64_t ports_again; /* kept connections whose address had no port left that was not taken
			       */
	uint64_t restarts, replaced, reused;
	uint64_t pairs;		   /* established so far with an agent at both ends */
	uint32_t live, live_pairs; /* established connections; of them with an agent at both ends */
};

struct fleet;

struct fleet *fleet_new(const struct fleet_options *options);
void fleet_free(struct fleet *fleet);
void fleet_run(struct fleet *fleet, uint32_t ticks);
/* Nothing happens any more but heartbeats: a pipeline can close its panes. */
void fleet_idle(struct fleet *fleet, uint32_t ticks);
uint64_t fleet_now(const struct fleet *fleet);
struct fleet_stats fleet_stats(const struct fleet *fleet);
struct truth_counts fleet_totals(const struct fleet *fleet);
/* A row an edge and lane, and the faults; as truth.h reads it. */
void fleet_truth(const struct fleet *fleet, FILE *file);
