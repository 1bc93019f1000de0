/* What the mirror's parts share: the halves, the nodes and the queues of the pane that is being
 * closed. Private to ingest/. intake.c stores records, apply.c closes a pane, owner.c tells who
 * owns a half, outcome.c keeps labels and hands out deltas and amendments.
 *
 * A half's life:
 *
 *   pushed        definition stored      half_take: slot -> half; updates and closes find it by
 * slot APPLIED       its pane is closed     goes to the join, collects deltas LABELLED      the
 * join has decided   deltas go out under the label CLOSED        ended                  lingers
 * until its label is FINAL, at most keep_ns (free)        generation raised
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ingest/decode.h"
#include "ingest/mirror.h"
#include "ingest/node.h"
#include "ingest/pane.h"

/* A mapping may be told of this long before its connection, by the clocks' error. */
#define NAT_SLACK_NS (250 * NS_PER_MS)

enum {
	NONE = 0, /* links are index + 1 */
	NODE_SILENT_S = 120,
	CLOCK_STEP_S = 10, /* the clock's longest step, and how far ahead an event may lie */
	OBJECT_KEEP_S =
		120, /* a NAT entry, process or container not announced again is forgotten */
	NAT_AFTERLIFE_S =
		2, /* a mapping holds for connections opened this long after its end (H-22) */
	SWEEP_PANES = 40, /* each node's tables are swept once in so many panes */
};

enum half_state {
	HALF_APPLIED = 1,
	HALF_CLOSED = 2,
	HALF_ANNOUNCED = 4,
	HALF_LABELLED = 8,
	HALF_OPENING = 16, /* in the pane's queue of openings */
	HALF_INDEXED = 32, /* in its node's clients, under its key, until it is announced */
	HALF_LINGERING = 64,
	HALF_FINAL = 128, /* its label is */
};

enum part_kind { PART_NORMAL, PART_RECOVERED, PART_LATE, PART_KINDS };

struct half {
	/* What an update touches, in the first two cache lines. */
	uint32_t generation; /* of the place: half_ref's */
	uint32_t node;
	uint8_t state; /* enum half_state */
	uint8_t side;
	uint16_t flags;		    /* enum half_flag, without AGAIN and FAILED */
	uint32_t parts[PART_KINDS]; /* in mirror.parts, + 1 */
	struct traffic accounted;
	uint32_t pane, window_1s, window_10s; /* last touched; low 32 bits + 1 */
	uint32_t contributions;		      /* newest, + 1 */
	uint32_t change;		      /* in mirror.changes, + 1 */
	uint32_t min_rtt_us;
	uint64_t closed_ns;

	uint32_t incarnation;
	uint32_t slot, slot_generation;
	uint32_t older, newer;	 /* in its node's list */
	uint32_t earlier, later; /* lingering, or later in the free list */
	uint32_t pid, gaps;
	uint32_t self_resolution;
	uint64_t self_id, cgroup;
	struct tuple seen, key;
	uint64_t opened_ns, time_ns, connect_us;
	uint64_t lost; /* of its node when it was opened */
};

/* A delta in the making. */
struct part {
	uint32_t half;
	uint8_t kind;
	struct delta delta;
};

struct closing {
	uint32_t half;
	struct half_close close;
};

/* What a half under a provisional label gave to one 10 s window. */
struct contribution {
	uint32_t half;
	uint32_t next;		 /* of the half: the one before it, + 1; or the next free one */
	uint32_t earlier, later; /* of all, by age */
	struct amendment amendment;
};

struct change {
	uint32_t half;
	struct label before;
};

/* A growing array that is emptied each pane. */
/* A server's place as it was last told to the join tasks. */
struct told_server {
	struct server_key key;
	uint64_t instance; /* id */
	uint64_t pane;
};

struct queue {
	void *items;
	size_t count, capacity;
};

struct mirror {
	struct mirror_options options;
	struct mirror_stats stats;
	struct decoder *decoder;
	struct decoded decoded;
	struct names *names;
	uint64_t clock_ns, first_pane, silence_checked_s;
	struct panes panes;

	struct node **nodes;   /* nodes_max places */
	uint32_t nodes_count;  /* places ever used */
	struct table node_ids; /* name id -> index */
	uint64_t slots_count;  /* of all nodes' slot arrays */

	struct half *halves;
	struct label *labels;
	uint32_t halves_used, halves_free; /* places ever used; list */
	uint32_t linger_first, linger_last;

	uint64_t pane;	       /* being closed */
	struct queue openings; /* uint32_t half */
	struct queue closings; /* struct closing */
	struct queue aliases;  /* struct nat_alias */
	struct queue parts;    /* struct part */
	struct queue leaving;  /* uint32_t half: got its final label after its end */
	struct queue changes;  /* struct change */
	struct queue sorted_opens, sorted_closes, owners, deltas, amendments;
	struct queue task_opens, task_closes, task_aliases; /* of one join task */
	struct queue servers;				    /* struct server_place, of this pane */
	struct table servers_told;			    /* struct told_server */

	struct contribution *contributions;
	uint32_t contributions_used, contributions_free; /* places ever used; list */
	uint32_t contribution_first, contribution_last;	 /* by age */
};

enum { PREFETCH_AHEAD = 12 }; /* events: a DRAM miss is about 100 ns, an event about 10 */

static inline void half_prefetch(const struct mirror *mirror, uint32_t half)
{
	__builtin_prefetch(&mirror->halves[half], 1);
	__builtin_prefetch((const char *)&mirror->halves[half] + 64, 1);
}

static inline struct half *half_at(const struct mirror *mirror, uint32_t half)
{
	return &mirror->halves[half];
}

void *queue_add(struct queue *queue, size_t size);
void *queue_room(struct queue *queue, size_t count, size_t size);

/* mirror.c */
uint64_t mirror_open_pane(const struct mirror *mirror);	      /* the oldest that is not ready */
uint32_t half_take(struct mirror *mirror, struct node *node); /* index + 1, or NONE */
void half_give(struct mirror *mirror, uint32_t half);
void half_linger(struct mirror *mirror, uint32_t half);
void node_leave(struct mirror *mirror, struct node *node);

/* intake.c */
void intake_batch(struct mirror *mirror, const struct mirror_record *record);
void intake_silence(struct mirror *mirror);

/* owner.c */
struct container_event;
void owner_container(struct mirror *mirror, const Millrace__V1__Batch *batch, size_t i,
		     struct container_event *event);
void owner_process(struct mirror *mirror, const struct node *node, const Millrace__V1__Batch *batch,
		   size_t i, struct process_event *event);
struct instance owner_of(struct node *node, const struct half *half);

/* apply.c: all of mirror_halves. outcome.c: labels and deltas. */
void outcome_forget(struct mirror *mirror, struct half *half);
