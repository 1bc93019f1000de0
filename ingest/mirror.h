/* The mirror of one partition of millrace.events: verifies and decodes batches, keeps each node's
 * sockets, NAT, processes and containers in arrays indexed by slot, and turns them into half
 * buckets for the join and deltas for the aggregate. Pure: time is the log's. One thread.
 *
 * Panes. A record's events belong to the panes of their own corrected times. mirror_push only
 * stores them, pane by pane. A pane is closed when the log clock passes its end plus lateness_ns
 * (mirror_ready); events of closed panes are late and go, flagged, to the oldest open one. To close
 * pane k the caller calls mirror_halves(k) (deltas of halves whose labels are final go to the sink
 * node by node, then definitions, closes and aliases, one bucket a join task), later
 * mirror_labels() with what the join tasks decided of pane k, then mirror_deltas(k): the other
 * halves' deltas of the pane under their labels, then amendments; and halves that ended leave.
 * Panes are closed one by one, without gaps.
 *
 * Bounds: nodes_max, halves_max, nats_max, processes_max, containers_max, listeners_max a
 * partition; at a bound the newcomer is refused and counted (it comes again with the next key
 * frame). What nodes tell of themselves takes 4 KiB a node of nodes_max, of which one may take 128;
 * what finds no room is counted, and what was told before stays. Of answers_max DNS answers the
 * oldest makes room. amendments_max 10 s contributions are kept. Records that cannot be read go to
 * the deadletter sink and are counted; nothing they hold is used. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address.h"
#include "base/delta.h"
#include "base/label.h"
#include "base/ledger.h"
#include "base/name.h"
#include "base/roster.h"
#include "ingest/half.h"
#include "metadata/record.h"

struct census;
struct keys;
struct change_event;
struct mirror;

/* Reasons for which a record goes to millrace.deadletter; mirror_reason_name() gives the word. */
enum mirror_reason {
	MIRROR_MALFORMED,	/* not a Batch: wire format broken */
	MIRROR_TRUNCATED,	/* ends within a field */
	MIRROR_OVERSIZED,	/* record, element count or memory over the bound */
	MIRROR_VERSION,		/* schema version of the future */
	MIRROR_UNAUTHENTICATED, /* HMAC wrong or missing where a key is configured */
	MIRROR_FIELD, /* a field's value out of range: node id, boot id, dictionary index, ... */
	MIRROR_COLUMN_LENGTH, /* columns of one group differ in length */
	MIRROR_CODEC,	      /* Kafka record that could not be decompressed */
	MIRROR_QUARANTINED,   /* its node's events lay too often ahead of the log */
	MIRROR_CRASHED,	      /* reading it ended the process again and again */
	MIRROR_REASONS,
};

struct mirror_record {
	const uint8_t *value;
	size_t length;
	uint64_t append_ns; /* the log's time of the record */
	int64_t offset;
};

struct mirror_sinks {
	void *context;
	void (*halves)(void *context, uint32_t join_task, const struct half_bucket *bucket);
	void (*deltas)(void *context, const struct delta *deltas, size_t count);
	void (*amendments)(void *context, const struct amendment *amendments, size_t count);
	/* Answers each, with one more user. And one user less. */
	void (*lanes_hold)(void *context, struct lane_wanted *wanted, size_t count);
	void (*lane_drop)(void *context, uint32_t lane);
	void (*deadletter)(void *context, const struct mirror_record *record,
			   enum mirror_reason reason, const char *detail, const char *node);
};

struct mirror_options {
	uint32_t source; /* this partition */
	uint64_t seed;	 /* of its tables' hashes, secret; nothing that goes out shows it */
	uint32_t join_tasks;
	uint64_t lateness_ns;
	uint64_t keep_ns; /* a provisional half's contributions may be amended for this long: 120 s
			   */
	uint32_t nodes_max, halves_max, nats_max, processes_max, containers_max, amendments_max,
		names_max, instances_max;
	uint32_t record_bytes_max;   /* 1 MiB */
	uint32_t events_max;	     /* stored in open panes; more are refused. 0: 4,194,304 */
	uint32_t listeners_max;	     /* 0: 65,536 */
	uint32_t answers_max;	     /* DNS answers; 0: 65,536 */
	uint32_t destinations;	     /* readers of names and instances: join tasks first */
	const struct census *census; /* of what all tasks were told until now; NULL: none */
	const struct keys *keys;     /* copied; NULL or none in it: HMACs are not checked */
	struct mirror_sinks sinks;
};

struct mirror_stats {
	uint64_t records, bytes, heartbeats, ticks;
	/* The ledger of all records, events in place of received. */
	uint64_t issued, events, lost, duplicate, late, refused, aggregated, pending, quarantined;
	uint64_t dropped_ring, dropped_netlink, dropped_spool;
	struct ledger others; /* of it: of no node that mirror_nodes() shows */
	uint64_t future;      /* events clamped to the append time */
	uint64_t backwards;   /* absolute counters below what was counted: the difference is none */
	uint64_t adopted;     /* halves that went on when their agent began anew */
	uint64_t deadletters[MIRROR_REASONS];
	uint64_t deadletters_suppressed; /* of those: only counted, as their node had too many */
	uint64_t clock_steps;
	uint64_t nodes, halves, nats, processes, containers, listeners; /* live now */
	uint64_t owners_refused; /* owners of sockets beyond those that a node may have: nobody's */
	uint64_t orphans_missed; /* halves that their agent's next start cannot find again */
	uint64_t names_refused, instances_refused; /* too many at once */
	uint64_t about_refused; /* facts and states of nodes that found no room */
	uint64_t answers;	/* of DNS, live now */
	uint64_t answers_evicted;
	uint64_t names_dropped; /* of handshakes: no label came in time, or too many waited */
	uint64_t amendments_dropped;
	uint64_t deltas_dropped;	   /* of halves that never got a label */
	uint64_t unknown_fields;	   /* of newer agents: skipped */
	uint64_t metadata[RECORD_REASONS]; /* records of metadata: taken, and refused */
	uint64_t metadata_refused;	   /* of those taken: more at once than there is room */
	uint64_t rules, rules_refused;	   /* likewise; unread */
	uint64_t happenings_lost;	   /* of containers: more than wait for their reader */
};

struct mirror_listener {
	struct address address; /* all zeros: any */
	uint16_t port;
	uint32_t netns, pid;
	const char *program, *workload; /* of its owner; "" if not known */
	uint32_t backlog, backlog_max;
	uint64_t drops;
};

/* The listeners of one node that are shown, those that dropped most before others. */
enum { MIRROR_LISTENERS_SHOWN = 1024 };

/* What a node is, does and listens at. */
struct mirror_about {
	/* The newest NodeFacts and AgentState (events.proto) of this start of its agent, packed;
	 * of length 0 if they were not told. */
	const uint8_t *facts, *state;
	size_t facts_length, state_length;
	const struct mirror_listener *listeners;
	size_t listeners_count;
	uint32_t listeners_all; /* with those that are not shown */
};

/* One node as the API's /agents shows it. */
struct mirror_node {
	const char *node, *zone, *region, *role, *agent_version;
	uint8_t boot_id[16];
	uint64_t epoch;
	uint64_t last_append_ns;      /* log time of its last batch */
	uint64_t told_ns;	      /* the newest time that it told of, in the log's terms */
	uint64_t self_test_failed_ns; /* log time when a failure was last told; 0: none was */
	int64_t clock_offset_ns;      /* added to its times */
	struct ledger ledger;	      /* over all starts of its agent that are remembered */
	struct arrival minute, hour;  /* the last, of panes that are closed */
	uint32_t sockets, scan_period_ms;
	const struct mirror_about *about; /* NULL: as in the last call */
};

struct mirror *mirror_new(const struct mirror_options *options);
void mirror_free(struct mirror *mirror);
/* The stage is as another process left it, at the same addresses (base/heap.h): what is of the
 * process is set anew. Keys are never part of what is left. */
void mirror_bind(struct mirror *mirror, const struct mirror_sinks *sinks, const struct keys *keys);

/* Other keys and revoked nodes, from the next record on; some if there were some. */
void mirror_keys(struct mirror *mirror, const struct keys *keys);

void mirror_push(struct mirror *mirror, const struct mirror_record *records, size_t count);
/* In its place for a record that must not be looked at: it moves the log's clock and goes to the
 * dead letters. What its events were, their node's next batch tells as lost. */
void mirror_pass_over(struct mirror *mirror, const struct mirror_record *record);

/* The log clock: running maximum of append times, at most 10 s forward a record. 0 before the first
 * record. */
uint64_t mirror_clock(const struct mirror *mirror);

/* Whether the log clock has passed pane's end plus lateness. */
bool mirror_ready(const struct mirror *mirror, uint64_t pane);

/* Whether more than half of the events wait that may. Close what is ready before the next record
 * then: what is refused for want of room is a function of the log, while a record has at most half
 * of what may wait, and not of how far reading is ahead of closing. */
bool mirror_crowded(const struct mirror *mirror);

/* Push one record at a time and close what is ready before the next: a record moves the clock by at
 * most 10 s, and an event lies at most 10 s ahead of the clock. At most PANES_OPEN panes
 * (ingest/pane.h) wait; an event for a pane beyond them is refused. */

/* The first pane that can hold an event: that of the first record's time less lateness. */
uint64_t mirror_first_pane(const struct mirror *mirror);

void mirror_halves(struct mirror *mirror, uint64_t pane);
/* The instances that the labels name and this mirror was not told of lately come with them. */
void mirror_labels(struct mirror *mirror, const struct label *labels, size_t count,
		   const struct instance *instances, size_t instances_count);
void mirror_deltas(struct mirror *mirror, uint64_t pane);

/* Names of everything this mirror's instances use; the caller sends names_due() to readers. */
struct names *mirror_names(struct mirror *mirror);
/* The instances that places number. */
struct roster *mirror_roster(struct mirror *mirror);
struct mirror_stats mirror_stats(const struct mirror *mirror);
/* Of all records. */
struct ledger mirror_ledger(const struct mirror_stats *stats);
/* Calls each with every node, in the order of their names. For one reader: what a node is comes
 * when something of it changed since the last call. */
void mirror_nodes(struct mirror *mirror,
		  void (*each)(void *context, const struct mirror_node *node), void *context);
/* What befell containers from this number on (0: all that is remembered), in its order. Returns the
 * number to go on from. Bound: the last 256; an older one that was never told is counted. For one
 * reader. */
uint64_t mirror_happenings(struct mirror *mirror, uint64_t from,
			   void (*each)(void *context, const struct change_event *change),
			   void *context);
const char *mirror_reason_name(enum mirror_reason reason);
