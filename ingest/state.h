/* What the mirror's parts share: nodes, halves and the queues of the pane that is being closed.
 * Private to ingest/.
 *
 *   mirror_push    intake.c   the node: duplicates, clock, epoch, loss
 *                  about.c    what it tells of itself
 *                  mute.c     who is not heard any more
 *                  metadata.c what is told of pods, nodes, services and ranges
 *                  rule.c     rules, unread
 *                  gather.c   its batch, as one run a pane
 *                  departed.c what was known of it when it was forgotten
 *   mirror_halves  apply.c    node by node: runs in the order of their sequence
 *                  socket.c   definitions, updates, closes: halves, deltas, openings, closings
 *                  lookup.c   DNS lookups: deltas
 *                  answer.c   what they were answered: names of ends without an agent
 *                  handshake.c what TLS handshakes asked for: such names, too
 *                  owner.c    processes and containers: who owns a half
 *                  happening.c what befell containers, for those who show it
 *                  nat.c      NAT mappings, keys
 *                  listener.c who listens
 *                  adopt.c    halves whose agent began anew
 *                  send.c     openings, closings and aliases to their join tasks
 *   mirror_labels, mirror_deltas
 *                  outcome.c  labels, deltas, who leaves
 *                  amend.c    contributions, amendments
 *                  turn.h     which end's half counted when
 *
 * A half is open in its node's pages (page.h) from its definition to its close; if its label is not
 * final then, it lingers (linger.h) until that comes, at most keep_ns. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/hash.h"
#include "ingest/decode.h"
#include "ingest/linger.h"
#include "ingest/mirror.h"
#include "ingest/node.h"
#include "ingest/page.h"
#include "ingest/pane.h"
#include "ingest/part.h"
#include "ingest/queue.h"
#include "ingest/turn.h"

/* A mapping is told of when its connection's first packet passed, by the same clock: what is older
 * belonged to an earlier connection with the same ports. */
#define NAT_SLACK_NS (10 * NS_PER_MS)

enum {
	NODE_SILENT_S = 120,
	BEGINNING_BATCHES = 64, /* as many as an agent has on their way */
	BATCH_GAP_S = 6,	/* its longest interval between batches is 5 s */
	CLOCK_STEP_S = 10,	/* the clock's longest step, and how far ahead an event may lie */
	ORPHAN_KEEP_S = 50,	/* a key frame's period of 45 s, and slack */
	OBJECT_KEEP_S =
		120,	 /* a NAT entry, process or container not announced again is forgotten */
	EXIT_KEEP_S = 5, /* a process that ended and owned nothing: its sockets may be told late */
	AHEAD_MAX = 100, /* events ahead of the log in AHEAD_S: their node is quarantined */
	AHEAD_S = 60,
	QUARANTINE_S = 60,
	LETTERS_MAX = 100, /* a second, of one node */
	SWEEP_PANES = 40,  /* each node's tables are swept once in so many panes */
	ORPHAN_PANES_KEPT = ORPHAN_KEEP_S * PANES_PER_S,
};

/* A half that the join hears of in this pane. */
struct opening {
	struct half_open open;
	uint64_t closed_ns; /* in this pane; UINT64_MAX: lives */
	uint64_t hash;	    /* of what it was seen as */
	uint32_t task;
	uint32_t asked; /* the roster's number of the name that its handshake asked for; 0: none */
	uint16_t owner; /* of its node's; held until the opening is told */
	bool keyed;	/* or known by its label's number */
	bool mapped;	/* its key is another than what it was seen as */
};

/* Of a half that is opening: goes to the same task. */
struct closing {
	struct half_close close;
	uint32_t opening; /* place, + 1 */
};

/* The name that a handshake asked for, of a half without a label. */
struct held_name {
	uint32_t half;
	uint32_t instance; /* the roster's number; held */
	uint16_t node, generation;
	uint32_t pad;
	uint64_t until_pane;
};

/* What the pane tells one join task. */
struct outbox {
	struct queue opens, closes, aliases, instances; /* of half.h */
};

/* The close of a half that has no label yet: the join task is not known. */
struct held_close {
	struct half_close close;
	uint32_t task;
	enum { HELD_WAITS, HELD_READY, HELD_GONE } state;
	uint32_t linger;
};

/* What a half under a provisional label gave to one 10 s window. It opens once and ends once: the
 * flags and the reason count that. */
struct contribution {
	uint32_t half;
	uint32_t next;		 /* of the half: the one before it, + 1; or the next free one */
	uint32_t earlier, later; /* of all, by age */
	uint32_t window : 31;	 /* number of the 10 s */
	uint32_t turned : 1;	 /* what counts as the half did at another time (PART_TURNED) */
	uint32_t min_rtt_us;
	uint32_t lookups;	/* place in mirror.lookups, + 1; 0: none */
	uint16_t flags, reason; /* as struct delta's, of all */
	uint64_t time_ns, connect_us;
	struct traffic traffic;
	uint32_t node_received, node_lost;
};

_Static_assert(sizeof(struct contribution) == 96, "there may be as many as halves");

/* A label changed in this pane. */
struct change {
	uint32_t half; /* as in struct part, with LINGERING */
	struct place before;
	struct turns turns; /* before, too */
};

/* A server's place as it was last told to the join tasks. */
struct told_server {
	struct server_key key;
	uint64_t instance; /* id */
	uint64_t pane;
};

/* Of the node whose runs are being applied, by slot: 0 is none, else + 1; parts with WAITING. */
struct scratch {
	uint32_t *parts[PART_KINDS];
	uint32_t *openings;
	uint32_t *lookups; /* the newest part of one that waits; without WAITING */
	uint32_t *defined; /* while a batch is gathered: its definition */
};

/* Where an update goes. */
struct found {
	struct half *half;
	uint32_t *part; /* in scratch */
};

struct answer_key {
	uint64_t node; /* name id */
	struct address address;
	uint32_t pid; /* 0: of whatever process */
	uint32_t pad; /* zero: compared as bytes */
};

/* An address was given for a name. A free one has no instance and is linked by `after`. */
struct answer {
	struct answer_key key;
	uint64_t from_ns, until_ns;
	uint32_t instance;	/* of the name; held */
	uint32_t older;		/* of the key, by from_ns */
	uint32_t before, after; /* of all, as they were told */
};

_Static_assert(sizeof(struct answer) == 64, "an answer is one cache line");

struct answers {
	struct answer *items; /* by number; 0: none */
	uint32_t used, room, free, max;
	uint32_t oldest, youngest; /* as they were told */
	uint32_t hand;		   /* of the sweep */
	struct table keys;	   /* struct answer_entry */
};

/* An executable on nodes of one role, whose names were put for this pane. */
struct known_process {
	uint64_t name, workload, role; /* name ids */
	uint64_t pane;
	uint32_t length;
	char text[36];
};

enum { KNOWN_PROCESSES = 256 };

struct mirror {
	struct mirror_options options;
	struct mirror_stats stats;
	struct decoder *decoder;
	struct decoded decoded;
	struct names *names;
	struct roster *roster;
	uint64_t clock_ns, first_pane, silence_checked_s;
	uint64_t began_ns;	/* append time of the first record read */
	bool whole;		/* that was the log's first */
	struct letters letters; /* of records that tell no known node */
	struct panes panes;
	struct queue times, picks; /* of a batch, or a run: int64_t, uint32_t */
	struct known_process known_processes[KNOWN_PROCESSES]; /* by their texts */

	struct node **nodes;   /* nodes_max places */
	uint32_t nodes_count;  /* places ever used */
	struct table node_ids; /* name id -> index */
	struct table departed; /* struct departed; departed.c */
	uint64_t forgotten_ns; /* when one of those that left that for good was heard last; 0: none
				  left */
	bool ranks_stale;
	bool nodes_held;   /* some node has deltas without labels */
	uint32_t orphaned; /* nodes that have orphans */

	struct pages pages;
	struct lingers lingers;
	bool clustered; /* the census knows of a cluster */
	struct scratch scratch;

	uint64_t pane;			   /* being closed */
	struct touch_marks marks;	   /* of it */
	uint16_t node;			   /* being applied */
	uint32_t node_received, node_lost; /* of each of its deltas */
	struct half nobody;		   /* where there is no half */
	struct queue found;		   /* struct found: of a run's updates */
	struct queue deltas;		   /* struct delta: of the applied node, in the making */
	struct queue waiting;		   /* struct delta: of the pane, that wait for labels */
	struct queue parts;		   /* struct part: theirs */
	struct queue made;	   /* uint32_t *: where scratch has the applied node's deltas */
	struct queue openings;	   /* struct opening: of the applied node */
	struct queue closings;	   /* struct closing: theirs */
	struct outbox *outboxes;   /* by join task */
	struct queue held_closes;  /* struct held_close */
	struct queue names_held;   /* struct held_name */
	struct queue servers;	   /* struct server_place */
	struct table servers_told; /* struct told_server */
	struct queue changes;	   /* struct change */
	struct queue released;	   /* struct place: users that leave when the deltas are out */
	struct queue leaving;	   /* uint32_t: lingering, with a final label */
	struct queue amendments;
	struct queue news;     /* struct news: of panes that are open */
	struct queue hearings; /* struct hearing: of the pane */
	uint64_t about_bytes;  /* that nodes' facts and states take */
	struct queue shown;    /* struct mirror_listener: of the node that is shown */
	struct queue facts_waiting, addresses_waiting; /* metadata.c: of panes that are open */
	struct queue facts, fact_addresses;	       /* of the pane */
	struct queue rules_waiting, rules; /* rule.c: words; of panes that are open, of the pane */
	struct table pods;		   /* whose containers are on which node */
	struct answers answers;
	struct happening *happenings; /* a ring of the last HAPPENINGS_MAX */
	uint64_t happenings_count;    /* ever */
	uint64_t happenings_told;     /* of these: told or lost */
	struct queue counts;
	struct queue kept_deltas, kept_parts;

	struct queue lookups;	 /* struct lookup_counts: of contributions */
	uint32_t lookups_vacant; /* place + 1 */
	struct contribution *contributions;
	uint32_t contributions_used, contributions_free; /* places ever used; list */
	uint32_t contribution_first, contribution_last;	 /* by age */
};

enum { HAPPENINGS_MAX = 256 };

/* Something that befell a container, in name ids. */
struct happening {
	uint64_t time_ns;
	uint64_t workload, container, node;
	uint32_t kind; /* enum change_kind */
	uint32_t pad;
};

/* A run being applied. */
struct apply {
	struct mirror *mirror;
	struct node *node;
	const struct run *run;
	enum part_kind kind; /* of what is not recovered */
	uint64_t refused;
};

/* A term of the ledger, in all and of one node. */
static inline void count_events(uint64_t *all, uint64_t *own, uint64_t events)
{
	*all += events;
	*own += events;
}

static inline uint64_t run_time(const struct run *run, uint32_t time_us)
{
	return run->base_ns + time_us * 1000ULL;
}

static inline uint32_t place_task(const struct mirror *mirror, const struct tuple *key)
{
	return hash_owner(tuple_hash(key), mirror->options.join_tasks);
}

static inline uint32_t min_rtt(uint32_t a, uint32_t b)
{
	return a == 0 || (b && b < a) ? b : a;
}

/* mirror.c */
uint64_t mirror_open_pane(const struct mirror *mirror); /* the oldest that is not ready */
void node_leave(struct mirror *mirror, struct node *node);
size_t nodes_by_name(const struct mirror *mirror, struct node **sorted); /* sorted: nodes_count */
void deadletter(struct mirror *mirror, const struct mirror_record *record,
		enum mirror_reason reason, const char *detail, const char *node);

/* intake.c */
void intake_batch(struct mirror *mirror, const struct mirror_record *record);
void intake_silence(struct mirror *mirror);

/* about.c */
void about_take(struct mirror *mirror, struct node *node, const Millrace__V1__Batch *batch);
void about_forget(struct mirror *mirror, struct node *node);

/* happening.c */
void happenings_add(struct mirror *mirror, const struct happening *happening);

/* departed.c */
void departed_init(struct table *departed);
void departed_done(struct table *departed);
void departed_keep(struct mirror *mirror, struct node *node);	/* takes its standing */
void departed_return(struct mirror *mirror, struct node *node); /* a new node: gives it back */

/* mute.c */
void mute_check(struct mirror *mirror, struct node *node); /* once a second of log time */
void mute_told(struct mirror *mirror, struct node *node, uint64_t sent_ns); /* by a batch */
void mute_gone(struct mirror *mirror, const struct node *node);
void mutes_take(struct mirror *mirror); /* what the pane tells the join tasks */

/* rule.c */
void rules_take(struct mirror *mirror, const Millrace__V1__Batch *batch);
void rules_tell(struct mirror *mirror); /* what the pane tells all tasks */

/* metadata.c */
void metadata_take(struct mirror *mirror, const Millrace__V1__Batch *batch);
void metadata_tell(struct mirror *mirror); /* what the pane tells all tasks */
void metadata_changes(struct mirror *mirror);
void pods_init(struct table *pods);
/* pod: of it, or of a container of which this is its own cgroup; 0: it is another inside of it. */
void pod_seen(struct mirror *mirror, const struct node *node, uint64_t pod, uint64_t cgroup);
/* The container's on this node; 0: not known. */
uint64_t pod_cgroup(const struct mirror *mirror, const struct node *node, uint64_t id);

/* gather.c: the batch in runs. header: what all of them have. */
void gather_batch(struct mirror *mirror, struct node *node, const Millrace__V1__Batch *batch,
		  uint64_t append_ns, const struct run *header);

/* What the processes of a batch are called, by the places of their strings in its dictionary: most
 * share a few. */
enum { PROCESS_NAMES = 32 };
struct process_names {
	uint64_t name, workload; /* name ids */
	uint32_t exe, comm;
	bool known;
};

/* owner.c */
void owner_container(struct mirror *mirror, const Millrace__V1__Batch *batch, size_t i,
		     struct container_row *row);
void owner_process(struct mirror *mirror, const struct node *node, const Millrace__V1__Batch *batch,
		   size_t i, struct process_names cache[PROCESS_NAMES], struct process_row *row);
void apply_containers(struct apply *apply, const struct container_row *rows, size_t count);
void apply_exits(struct apply *apply, const struct exit_row *rows, size_t count);
void apply_processes(struct apply *apply, const struct process_row *rows, size_t count);
uint16_t owner_take(struct mirror *mirror, struct node *node, uint32_t pid, uint64_t cgroup);
void owner_drop(struct mirror *mirror, struct node *node, uint16_t owner);
bool owners_due(const struct mirror *mirror, const struct node *node); /* to be looked at again */
void owners_recheck(struct mirror *mirror, struct node *node);
/* A half that ended while its owner waits: what comes for that still names it. */
void owner_awaited(struct mirror *mirror, struct node *node, uint16_t owner, uint32_t linger);
void owner_unawaited(struct mirror *mirror, struct linger *linger);
void owners_unawaited(struct mirror *mirror, const struct node *node); /* of any half */
/* Name ids of who that is, as far as known; of the workload not the node's own. */
void owner_names(const struct mirror *mirror, const struct node *node, uint32_t pid,
		 uint64_t cgroup, uint64_t *program, uint64_t *workload);
void *table_admit(struct table *table, const void *key, uint64_t *live, uint32_t max);

/* listener.c */
void apply_listeners(struct apply *apply, const struct listener_row *rows, size_t count);
void listeners_show(struct mirror *mirror, const struct node *node); /* in mirror->shown */

/* server.c */
void server_seen(struct mirror *mirror, struct node *node, uint16_t owner,
		 const struct tuple *seen);
void server_moved(struct mirror *mirror, struct owner *owner); /* it is another instance */
void servers_forget(struct mirror *mirror);

/* nat.c */
void apply_nats(struct apply *apply, const struct nat_row *rows, size_t count, bool ended);
/* Sets the keys of at most TABLE_GROUP clients, which begin as what was seen; from there on the
 * join follows aliases by itself. Reorders openings. */
void nat_keys(const struct node *node, struct opening **openings, size_t count);

/* socket.c */
void apply_definitions(struct apply *apply, const struct definition_row *rows, size_t count);
void *apply_updates(struct apply *apply, void *columns);
void apply_retransmits(struct apply *apply, const struct retransmit_row *rows, size_t count);
void apply_closes(struct apply *apply, const struct close_row *rows, size_t count);
/* The open half that the run means by the slot, or NULL. */
struct half *socket_of(const struct apply *apply, uint32_t slot, uint32_t *index);
void socket_end(struct apply *apply, uint32_t index, uint32_t reason, uint64_t time_ns);
/* The join hears that it was `former` until now. */
void socket_moved(struct apply *apply, uint32_t index, struct half *half,
		  const struct half_ref *former, const struct definition_row *row,
		  uint64_t time_ns);
/* Whether these absolute counters can be the half's: none lies below what was accounted. */
bool socket_goes_on(const struct half *half, const struct traffic *total);
void socket_follow(struct mirror *mirror, struct node *node);
void socket_again(struct mirror *mirror, struct node *node, uint32_t index, struct half *half);

/* Its last bytes are the bits of rules, one a byte: side, counts_from, joined, pad. */
static inline struct place half_place(const struct half *half)
{
	uint32_t bytes = (half->rules * 0x204081U) & 0x010101U;
	bool server = half->rules & RULE_SERVER_SIDE;
	struct place place = {
		.lane = half->lane,
		.client = server ? half->peer : half->self,
		.server = server ? half->self : half->peer,
	};
	memcpy(&place.side, &bytes, sizeof(bytes));
	return place;
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && sizeof(bool) == 1 &&
		       offsetof(struct place, side) + 4 == sizeof(struct place) &&
		       offsetof(struct place, counts_from) == offsetof(struct place, side) + 1 &&
		       offsetof(struct place, joined) == offsetof(struct place, side) + 2,
	       "half_place() writes a place's last four bytes at once");

/* The half's flags of a touch in the pane. */
static inline uint16_t half_touch(const struct mirror *mirror, struct half *half, bool late)
{
	uint32_t touched = half->touched;
	uint16_t flags = touch_flags(&touched, &mirror->marks, late);
	half->touched = touched & TOUCH_MASK;
	return flags;
}

/* lookup.c */
void apply_lookups(struct apply *apply, const struct lookup_row *rows, size_t count,
		   const struct answer_row *answers);
/* Those of the slot that wait for a label are of another slot, or of a half that lingers. */
void lookups_move(struct mirror *mirror, uint32_t from, uint32_t to, uint32_t index);
void lookups_linger(struct mirror *mirror, uint32_t slot, uint32_t linger);
/* A part that was held from a pane before. */
void lookup_resume(struct mirror *mirror, uint32_t part);

/* answer.c */
void answers_init(struct answers *answers, uint32_t answers_max);
void answers_done(struct answers *answers);
/* What this process was answered, or one that is not known (0). */
void answers_take(struct apply *apply, uint32_t pid, const struct lookup_row *lookup,
		  const struct answer_row *rows);
void answers_sweep(
	struct mirror *mirror); /* once a pane: what nobody can ask for any more leaves */
/* The roster number of the name under which the process knew the address at that time; 0: none. */
uint32_t answer_find(const struct mirror *mirror, const struct node *node, uint32_t pid,
		     const struct address *address, uint64_t time_ns);
/* The roster number of an end of that name, for this pane. */
uint32_t name_instance(struct mirror *mirror, uint64_t name, enum resolution resolution);

/* handshake.c */
void apply_names(struct apply *apply, const struct name_row *rows, size_t count);
void names_send_held(struct mirror *mirror); /* those whose halves have their labels by now */

/* adopt.c: orphans, by restarts of their agents. */
void orphans_make(struct apply *apply);			    /* of all of the node's halves */
void orphans_end(struct apply *apply, uint64_t until_pane); /* of restarts up to this pane */
void orphans_due(struct mirror *mirror, uint64_t pane);	    /* before it is closed */
/* The half that goes on in the definition's slot, whose counters and owner are still to be looked
 * at; NO_PLACE: the definition is a new one's. The node has orphans. */
uint32_t orphan_adopt(struct apply *apply, const struct definition_row *row, uint64_t time_ns);
/* The index that a slot's page is in. */
struct page_index *slot_pages(struct node *node, uint32_t slot);

/* What a half was seen as, in short: one agent's sockets may have the same by chance. */
static inline uint32_t hash_print(uint64_t hash)
{
	return (uint32_t)(hash ^ hash >> 32) >> 1;
}

static inline uint32_t seen_print(const struct tuple *seen)
{
	return hash_print(tuple_hash(seen));
}

/* apply.c: ends the halves of the index's page. */
void page_end(struct apply *apply, const struct page_index *index, uint32_t at, uint64_t time_ns);

/* send.c */
void send_node(struct mirror *mirror, struct node *node); /* what it told since it was last sent */
void send_held(struct mirror *mirror);
/* Of a lingering half: whose it was. self: roster number. */
void send_named(struct mirror *mirror, const struct linger *linger, uint32_t pid, uint32_t self);
void send_alias(struct mirror *mirror, const struct nat_alias *alias);
void send_all(struct mirror *mirror);
void outboxes_done(struct mirror *mirror);

/* outcome.c */
bool place_moves(const struct place *before, const struct place *after);
void outcome_release(struct mirror *mirror, const struct place *place);
void linger_leave(struct mirror *mirror, uint32_t linger);

void name_peer(struct mirror *mirror, uint32_t peer);

/* turn.c */
struct turns turns_of(const struct mirror *mirror, uint32_t index, const struct half *half);
void turns_set(struct mirror *mirror, uint32_t index, struct half *half, const struct turns *turns);
/* Something is missing since then; what passed while both sides counted in turn, and is healed in
 * one number, is counted by neither. */
void turn_gap(struct mirror *mirror, uint32_t index, struct half *half, uint64_t since_ns);
/* What a late event of that time is a part of. */
enum part_kind turn_late(const struct mirror *mirror, uint32_t index, const struct half *half,
			 uint64_t time_ns);
void turns_move(struct mirror *mirror, uint32_t from, uint32_t to); /* another place has it */
/* What the half does not count, whatever it counts now; kind: where it does not. */
enum part_kind turn_healed(const struct half *half, enum part_kind kind);

/* amend.c */
void contribute(struct mirror *mirror, uint32_t half, const struct delta *delta, bool turned);
void contributions_forget(struct mirror *mirror, uint32_t half);
void contributions_move(struct mirror *mirror, uint32_t half, uint32_t to);
void contributions_expire(struct mirror *mirror);
void collect_amendments(struct mirror *mirror);
