/* One node of a partition: who it is, which of its batches came, how its clock runs, and its
 * objects. Bounded by the mirror, which counts entries over all its nodes. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ledger.h"
#include "base/tuple.h"
#include "ingest/decode.h"
#include "ingest/half.h"
#include "ingest/page.h"
#include "base/table.h"

enum {
	WINDOW_BATCHES = 4096, /* within which a batch that comes again is known */
	OFFSET_BUCKETS = 12,   /* of 5 s: the running minimum over 60 s */
	FORMER_EPOCHS = 4,     /* whose stragglers are told from a new agent */
	WANTED_WORDS = 64,
	OWNER_CACHE = 64,
	OWNERS_MAX = 65535, /* a half has 16 bits for its owner */
	MINUTE_TENS = 6,
	HOUR_MINUTES = 60,
};

/* Entries of the tables; the key comes first. */
struct nat_entry {
	struct tuple from;
	struct tuple to;
	uint64_t began_ns;  /* first told of, with this `to` */
	uint64_t told_ns;   /* last told that it stands */
	uint64_t turned_ns; /* when another `to` was replaced; 0: never */
	uint64_t ended_ns;  /* 0: lives */
	uint64_t seen_ns;   /* last announced */
};

struct process_entry {
	uint64_t pid;
	uint64_t started_ns;
	uint64_t cgroup;
	uint64_t name, workload; /* name ids: executable; executable@role */
	uint64_t seen_ns;
	bool used; /* by an owner */
};

struct container_entry {
	uint64_t cgroup;
	uint64_t pod, id; /* hashes of its pod's uid and of its own; 0: none */
	uint64_t workload, container, name, unit, version; /* name ids */
	uint64_t seen_ns;
	uint64_t waits_until_ns; /* for what the cluster tells of its pod */
	uint32_t oom_kills;
	bool used;
	bool whole; /* the container's own cgroup, not one inside of it */
};

struct listener_entry {
	uint64_t cookie;
	uint64_t cgroup, drops;
	uint64_t seen_ns;
	struct address address;
	uint32_t netns, pid, backlog, backlog_max;
	uint16_t port;
};

/* What was told last, packed; NULL: nothing. */
struct told {
	uint8_t *bytes;
	size_t length;
};

/* Who the sockets of one process in one cgroup belong to. */
struct owner {
	uint64_t cgroup;
	uint32_t pid;
	uint32_t users;	  /* halves and openings; 0: this place is free */
	uint64_t self_id; /* of the instance, as last announced */
	uint32_t self;	  /* its roster number, held */
	uint32_t resolution;
	bool changed; /* in this pane, */
	bool moved;   /* which was told of the server that it is */
	bool waits;   /* it is a pod's of which the cluster may still tell */
	bool known;   /* of which the cluster told */
	/* The server that it was last told to be. */
	struct server_key told;
	uint64_t told_id, told_pane;
	uint32_t next_free; /* + 1 */
};

struct owner_key {
	uint64_t cgroup, pid;
};

struct owner_entry {
	struct owner_key key;
	uint32_t owner;
};

/* Dead letters in a second of the log. */
struct letters {
	uint64_t second;
	uint32_t count;
	bool quarantined; /* one of these was */
};

/* Of which events numbered by one start of the agent is known that they exist. */
struct numbered {
	uint64_t first_event, end_event, received;
};

/* Which batches of one start of the agent came, and so which of its events. */
struct numbering {
	uint64_t epoch;
	uint64_t sequence_next; /* the highest that came, plus one */
	uint64_t window[WINDOW_BATCHES / 64];
	struct numbered numbered;
};

/* What a node's agent told last of what it dropped, in this epoch. */
struct dropped {
	uint64_t ring, netlink, spool;
};

/* How much of a node's sequence arrived in one window of panes. */
struct arrived {
	uint64_t window; /* number */
	struct arrival arrival;
};

/* What is known of a node's events; it outlives the node (departed.h). */
struct standing {
	uint64_t last_append_ns; /* 0: nothing came yet */
	uint8_t boot_id[16];
	uint32_t epochs;	    /* agent starts */
	bool whole;		    /* this one's numbers count from 0: what is missing at its
				       start is lost */
	struct numbering numbering; /* of this epoch */
	struct numbering *former;   /* FORMER_EPOCHS, the newest first; NULL: none */
	struct dropped dropped;
	struct ledger ledger;	   /* over all epochs */
	uint64_t answers_since_ns; /* DNS answers before are of processes that are gone */
};

struct node {
	char name[DECODE_NODE_MAX + 1];
	uint64_t name_id, zone, region, role, agent_version; /* name ids */
	char role_text[NAME_MAX_BYTES + 1];
	uint32_t place;	       /* in mirror.nodes */
	uint32_t rank;	       /* place of its name among the nodes' */
	uint32_t incarnation;  /* agent starts and silences */
	bool silent, rebooted; /* the present incarnation began with a new boot */
	struct standing standing;
	uint32_t scan_period_ms;
	struct told facts, state; /* of this epoch */
	uint64_t self_tests_failed, self_test_failed_ns;
	bool news; /* of what is shown of it, since it was shown */

	uint64_t offset_bucket[OFFSET_BUCKETS]; /* log time / 5 s, plus one */
	int64_t offset_minimum[OFFSET_BUCKETS];
	int64_t offset_ns;  /* added to its times */
	uint64_t jumped_ns; /* by how much its clock was set, in all; signed, modulo 2^64 */
	/* When the offset falls, what comes next would lie before what came: no event is earlier
	 * than the end of the batch before. */
	uint64_t floor_ns;
	uint64_t sent_boottime_ns, sent_realtime_ns; /* of the last batch; 0: none of this boot */

	uint64_t ahead_since_ns, quarantined_until_ns; /* of the log */
	uint64_t ahead;				       /* events ahead of the log since then */
	struct letters letters;

	uint64_t told_ns; /* its newest batch's own time, in the log's terms; 0: none came */
	bool mute;	  /* that is too long ago (mute.c) */
	uint32_t pending; /* runs in open panes */

	/* As applied: what follows changes only when a pane closes, by the batches' sequence. */
	uint32_t applied_incarnation, applied_epoch;
	struct numbered applied;   /* of applied_epoch */
	uint64_t applied_sequence; /* the highest */
	uint64_t applied_dropped, applied_zone;
	uint64_t applied_lost;
	struct arrived minute[MINUTE_TENS], hour[HOUR_MINUTES]; /* rings of the last windows */
	uint64_t accounted_ns;					/* the newest batch's own time */
	uint64_t gap_ns;   /* since when something is missing, of what this pane shows to be lost */
	uint64_t first_ns; /* the earliest time of what it told; 0: not known */
	struct page_index index; /* its halves */
	struct orphans *orphans; /* NULL: none; see adopt.c */
	struct owner *owners;	 /* the first is nobody's: what finds no room */
	uint32_t owners_count, owners_capacity, owners_free;
	uint16_t owner_cache[OWNER_CACHE]; /* taken lately, by pid and cgroup */
	struct table owner_keys;	   /* struct owner_entry */
	struct table nats, processes, containers, listeners;
	uint32_t sockets;	       /* open */
	uint32_t held;		       /* newest delta without a label, + 1 */
	uint64_t wanted[WANTED_WORDS]; /* hashes of pids and cgroups that a half needed and were not
					  here */
	bool recheck;
	uint64_t waits_until_ns; /* when the first of its owners that wait will wait no longer; 0:
				    none does */
	uint32_t awaited;	 /* lingering halves of owners that wait */
};

/* adopt.c */
void orphans_free(struct orphans *orphans);

/* seed: of its tables. */
struct node *node_new(const char *name, uint64_t name_id, uint32_t place, uint64_t seed);
void node_free(struct node *node);

/* Whether the batch is new. */
bool numbering_take(struct numbering *numbering, uint64_t sequence);

/* Counts a batch's events; returns by how much the number of lost events changed. issued: by how
 * much the number of numbered ones did. */
int64_t numbered_count(struct numbered *numbered, uint64_t first_event, uint32_t events,
		       uint64_t *issued);

/* whole: count from 0; else from the first that came. */
void numbered_begin(struct numbered *numbered, uint64_t first_event, bool whole);

/* A new start of the agent. */
void node_begin(struct node *node, uint64_t epoch, uint64_t sequence, uint64_t first_event,
		bool whole);
/* Of a former start of the agent; NULL if it was none of the last. */
struct numbering *node_former(struct node *node, uint64_t epoch);

/* Counts what a closed pane shows; and what came in the minute or the hour that ends with the
 * ten seconds or the minute of that pane. */
void node_arrived(struct node *node, uint64_t pane, uint64_t received, uint64_t lost);
struct arrival node_minute(const struct node *node, uint64_t pane);
struct arrival node_hour(const struct node *node, uint64_t pane);
/* A batch's pair of clocks. When the one was set and the other was not, times before and after it
 * stay as far apart as the other says. */
void node_clock(struct node *node, uint64_t append_ns, uint64_t sent_boottime_ns,
		uint64_t sent_realtime_ns);
/* Another boot: another clock. But nothing of it is earlier than what the boot before told last: of
 * a spool that holds both, the clock of either is a guess. */
void node_clock_forget(struct node *node);
void node_want(struct node *node, uint64_t id);
bool node_wanted(const struct node *node, uint64_t id);
