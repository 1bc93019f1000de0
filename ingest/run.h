/* A run: what one batch says of one pane. mirror_push stores runs, the close of the pane sorts them
 * by (node, incarnation, sequence) and applies them, so that what comes out does not depend on the
 * order in which batches came. No half is looked up before that.
 *
 *   struct run | containers | processes | NAT | definitions | updates | retransmits | lookups |
 *   answers | names | closes | NAT ends | exits | listeners    each section on 8 bytes
 *
 * Updates, nearly all there is, stay columns: slot (difference, as on the wire), time, srtt,
 * segments both ways, bytes both ways. 28 bytes an update; bytes are 64-bit columns in a run that
 * has a value which needs it (RUN_WIDE). Plain data; one thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/delta.h"
#include "base/tuple.h"

enum run_flag {
	RUN_LATE = 1,	  /* its own pane was closed already */
	RUN_FIRST = 2,	  /* of its batch: accounts for it */
	RUN_REBOOTED = 4, /* its incarnation began with a new boot, */
	RUN_SILENT = 8,	  /* or when nothing was heard for long */
	RUN_WIDE = 16,
	RUN_GAP = 32,	  /* something is missing before it: found when the pane closes */
	RUN_ORPHANS = 64, /* no batch's: ends halves that no new agent told of, see adopt.c */
	RUN_WHOLE = 128,  /* its epoch's numbers count from 0, whatever came first */
};

enum run_group {
	RUN_CONTAINERS,
	RUN_PROCESSES,
	RUN_NATS,
	RUN_DEFINITIONS,
	RUN_UPDATES,
	RUN_RETRANSMITS, /* sparse part of the updates: no events of their own */
	RUN_LOOKUPS,
	RUN_ANSWERS, /* the lookups', one's behind the other's: no events of their own */
	RUN_NAMES,   /* in TLS handshakes */
	RUN_DROPS,   /* counted only */
	RUN_CLOSES,
	RUN_NAT_ENDS,
	RUN_EXITS,
	RUN_LISTENERS,
	RUN_GROUPS,
};

struct run {
	uint64_t sequence;
	uint64_t base_ns;  /* what rows' time_us add to */
	uint64_t batch_ns; /* the batch's own time */
	uint32_t node;	   /* place in mirror.nodes */
	uint32_t incarnation;
	uint32_t epoch; /* starts of the agent seen so far */
	uint32_t flags; /* enum run_flag */
	/* RUN_FIRST: of the batch. */
	uint64_t first_event, dropped, zone;
	uint32_t batch_events;
	uint32_t counts[RUN_GROUPS];
};

static inline uint64_t run_events(const struct run *run)
{
	uint64_t events = 0;
	for (int group = 0; group < RUN_GROUPS; group++)
		events += group == RUN_RETRANSMITS || group == RUN_ANSWERS ? 0 : run->counts[group];
	return events;
}

struct container_row {
	uint64_t cgroup;
	uint64_t pod, id; /* hashes of its pod's uid and of its own; 0: none */
	uint64_t workload, container, name, unit, version; /* name ids */
	uint32_t oom_kills;
	bool whole; /* the container's own cgroup, not one inside of it */
};

struct process_row {
	uint64_t pid, started_ns, cgroup;
	uint64_t name, workload; /* name ids: executable; executable@role */
	uint32_t time_us, pad;
};

struct nat_row {
	struct tuple from, to;
	uint32_t time_us, pad;
};

struct definition_row {
	struct tuple seen;
	uint32_t slot, generation;
	uint32_t time_us;
	uint32_t pid, srtt_us, min_rtt_us;
	uint16_t flags; /* enum half_flag */
	uint8_t side, pad[5];
	uint64_t cgroup, age_ns, connect_us;
	struct traffic total;
};

/* An agent's generation of a slot, as a half keeps it. */
static inline uint16_t generation_folded(uint32_t generation)
{
	return (uint16_t)(generation ^ generation >> 16);
}

struct retransmit_row {
	uint32_t slot, retransmits;
	uint32_t time_us, pad;
};

struct close_row {
	uint32_t slot, time_us, reason, pid, min_rtt_us, pad;
	uint64_t connect_us;
	struct traffic total;
};

/* The generation is of the slot's definition in the batch, folded, if there is one: the definition
 * may be of a later time than the lookup, and the slot still another socket's. */
struct lookup_row {
	uint32_t slot, time_us;
	uint16_t result; /* enum lookup_result */
	uint16_t generation;
	bool defined;
	uint8_t answers; /* that are told of it */
	uint8_t pad[2];
	uint64_t latency_us;
	uint64_t name; /* that was asked for: name id, if there are answers */
};

/* What a client asked for as TLS began; the generation as of a lookup. */
struct name_row {
	uint32_t slot, time_us;
	uint64_t name; /* id; 0: no host has it */
	uint16_t generation;
	bool defined;
	uint8_t pad[5];
};

struct answer_row {
	struct address address;
	uint32_t ttl_s, pad;
};

struct listener_row {
	uint64_t cookie, cgroup, drops;
	struct address address;
	uint32_t netns, pid, backlog, backlog_max;
	uint32_t time_us;
	uint16_t port;
	bool ended;
	uint8_t pad;
};

struct exit_row {
	uint64_t pid, started_ns;
	uint32_t time_us, pad;
};

struct update_columns {
	int32_t *slot;
	uint32_t *time_us, *srtt_us, *tx_segments, *rx_segments;
	void *tx_bytes, *rx_bytes; /* uint32_t, or uint64_t if wide */
	void *end;
};

static inline struct update_columns update_columns(void *at, size_t count, bool wide)
{
	size_t stride = (count + 1) & ~(size_t)1; /* every column on 8 bytes */
	uint32_t *words = at;
	struct update_columns columns = {
		.slot = (int32_t *)words,
		.time_us = words + stride,
		.srtt_us = words + 2 * stride,
		.tx_segments = words + 3 * stride,
		.rx_segments = words + 4 * stride,
		.tx_bytes = words + 5 * stride,
		.rx_bytes = words + (wide ? 7 : 6) * stride,
		.end = words + (wide ? 9 : 7) * stride,
	};
	return columns;
}
