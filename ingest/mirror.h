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
 * Bounds: nodes_max, halves_max, nats_max, processes_max, containers_max a partition; at a bound
 * the newcomer is refused and counted (it comes again with the next key frame). amendments_max 10 s
 * contributions are kept. Records that cannot be read go to the deadletter sink and are counted;
 * nothing they hold is used. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/delta.h"
#include "base/label.h"
#include "base/name.h"
#include "base/roster.h"
#include "ingest/half.h"

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
	/* The lane of two instances (roster numbers) and a server's port and protocol, with one
	 * more user; 0: no room. And one user less. */
	uint32_t (*lane_hold)(void *context, uint32_t client, uint32_t server, uint16_t port,
			      uint8_t protocol);
	void (*lane_drop)(void *context, uint32_t lane);
	void (*deadletter)(void *context, const struct mirror_record *record,
			   enum mirror_reason reason, const char *detail, const char *node);
};

struct mirror_options {
	uint32_t source; /* this partition */
	uint32_t join_tasks;
	uint64_t lateness_ns;
	uint64_t keep_ns; /* a provisional half's contributions may be amended for this long: 120 s
			   */
	uint32_t nodes_max, halves_max, nats_max, processes_max, containers_max, amendments_max,
		names_max, instances_max;
	uint32_t record_bytes_max; /* 1 MiB */
	uint32_t events_max;	   /* stored in open panes; more are refused. 0: 4,194,304 */
	uint32_t destinations;	   /* readers of names and instances: join tasks first */
	const uint8_t *secret;	   /* deployment key; NULL: HMACs are not checked */
	size_t secret_length;
	struct mirror_sinks sinks;
};

/* The accounting identity holds: issued = events - duplicate - quarantined + lost (what an agent
 * dropped after numbering it is lost; dropped_* are told beside); events = aggregated + pending +
 * late + duplicate + quarantined + refused. */
struct mirror_stats {
	uint64_t records, bytes, heartbeats, ticks;
	uint64_t issued;    /* events that agents numbered */
	uint64_t events;    /* arrived */
	uint64_t lost;	    /* gaps in the numbering */
	uint64_t duplicate; /* events of batches seen before */
	uint64_t late;	    /* events of closed panes */
	uint64_t future;    /* clamped to the append time */
	uint64_t backwards; /* absolute counters below what was counted: the difference is none */
	uint64_t adopted;   /* halves that went on when their agent began anew */
	uint64_t refused;   /* events that found their table full, or an unknown slot before its key
			       frame */
	uint64_t aggregated;  /* events that went out in deltas, definitions or metadata */
	uint64_t pending;     /* stored in open panes now */
	uint64_t quarantined; /* events of records that went to the deadletter, if they could be
				 counted */
	uint64_t dropped_ring, dropped_netlink, dropped_spool; /* told by agents */
	uint64_t deadletters[MIRROR_REASONS];
	uint64_t deadletters_suppressed; /* of those: only counted, as their node had too many */
	uint64_t clock_steps;
	uint64_t nodes, halves, nats, processes, containers; /* live now */
	uint64_t amendments_dropped;
	uint64_t deltas_dropped; /* of halves that never got a label */
	uint64_t unknown_fields; /* of newer agents: skipped */
};

/* One node as the API's /agents shows it. */
struct mirror_node {
	const char *node, *zone, *region, *role, *agent_version;
	uint8_t boot_id[16];
	uint64_t epoch;
	uint64_t last_append_ns; /* log time of its last batch */
	int64_t clock_offset_ns; /* added to its times */
	uint64_t events, lost, dropped_ring, dropped_netlink, dropped_spool;
	uint32_t sockets, scan_period_ms;
};

struct mirror *mirror_new(const struct mirror_options *options);
void mirror_free(struct mirror *mirror);

void mirror_push(struct mirror *mirror, const struct mirror_record *records, size_t count);

/* The log clock: running maximum of append times, at most 10 s forward a record. 0 before the first
 * record. */
uint64_t mirror_clock(const struct mirror *mirror);

/* Whether the log clock has passed pane's end plus lateness. */
bool mirror_ready(const struct mirror *mirror, uint64_t pane);

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
/* Calls each with every node, in the order of their names. */
void mirror_nodes(const struct mirror *mirror,
		  void (*each)(void *context, const struct mirror_node *node), void *context);
const char *mirror_reason_name(enum mirror_reason reason);
