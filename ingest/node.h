/* One node of a partition: who it is, which of its batches came, how its clock runs, and its
 * objects. Bounded by the mirror, which counts entries over all its nodes. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/tuple.h"
#include "ingest/decode.h"
#include "ingest/table.h"

enum {
	WINDOW_BATCHES = 4096, /* within which a batch that comes again is known (H-03) */
	OFFSET_BUCKETS = 12,   /* of 5 s: the running minimum over 60 s (H-07) */
	FORMER_EPOCHS = 4,     /* whose stragglers are told from a new agent */
	WANTED_WORDS = 64,
};

/* Entries of the tables; the key comes first. */
struct nat_entry {
	struct tuple from;
	struct tuple to;
	uint64_t began_ns; /* first told of, with this `to` */
	uint64_t ended_ns; /* 0: lives */
	uint64_t seen_ns;  /* last announced */
};

struct process_entry {
	uint64_t pid;
	uint64_t started_ns;
	uint64_t cgroup;
	uint64_t name, workload; /* name ids: executable; executable@role */
	uint64_t seen_ns;
	bool used; /* by a half that was announced */
};

struct container_entry {
	uint64_t cgroup;
	uint64_t workload, container, name, unit, version; /* name ids */
	uint64_t seen_ns;
	bool used;
};

/* The client half of this key that the join has not heard of: whom a NAT entry of the same pane
 * concerns. */
struct client_entry {
	struct tuple key;
	uint32_t half;
};

struct node {
	char name[DECODE_NODE_MAX + 1];
	uint64_t name_id, zone, region, role, agent_version; /* name ids */
	char role_text[NAME_MAX_BYTES + 1];
	uint32_t index;
	uint8_t boot_id[16];
	uint64_t epoch, former_epochs[FORMER_EPOCHS];
	uint32_t incarnation,
		applied_incarnation; /* agent starts and silences: as pushed, as closed */
	bool silent;

	uint64_t sequence_next; /* the highest that came, plus one */
	uint64_t window[WINDOW_BATCHES / 64];
	uint64_t first_event, end_event, received; /* of this epoch; lost is what they leave */
	uint64_t dropped_ring, dropped_netlink, dropped_spool; /* of this epoch, as last told */
	uint32_t gaps; /* times that something is known to be missing */
	uint32_t scan_period_ms;

	uint64_t offset_bucket[OFFSET_BUCKETS]; /* log time / 5 s, plus one */
	int64_t offset_minimum[OFFSET_BUCKETS];
	int64_t offset_ns; /* added to its times */

	uint64_t first_ns; /* the earliest time of what it told */
	uint64_t last_append_ns;
	uint64_t events, lost; /* over all epochs */
	uint64_t pending;      /* stored in open panes, marks included */

	uint32_t *slots; /* half + 1, as pushed */
	uint32_t slots_count;
	struct table nats, processes, containers, clients;
	uint32_t halves;  /* newest in its list, + 1 */
	uint32_t sockets; /* open */

	/* As applied. */
	uint64_t lost_applied;
	uint64_t pane; /* that the next two are of */
	uint32_t pane_received, pane_lost;
	uint64_t wanted[WANTED_WORDS]; /* hashes of pids and cgroups that a half needed and were not
					  here */
	bool recheck;
};

struct node *node_new(const char *name, uint64_t name_id, uint32_t index);
void node_free(struct node *node);

/* Whether the batch is new; a gap before it raises gaps. */
bool node_sequence(struct node *node, uint64_t sequence);

/* Counts the batch's events; returns by how much the number of lost events changed. issued: by how
 * much the number of numbered ones did. */
int64_t node_account(struct node *node, uint64_t first_event, uint32_t events, uint64_t *issued);

/* A new start of the agent. known: the node was here before, so its numbers start at 0. */
void node_begin(struct node *node, uint64_t epoch, uint64_t sequence, uint64_t first_event,
		bool known);
bool node_had_epoch(const struct node *node, uint64_t epoch);
void node_clock(struct node *node, uint64_t append_ns, uint64_t sent_realtime_ns);
void node_want(struct node *node, uint64_t id);
bool node_wanted(const struct node *node, uint64_t id);
