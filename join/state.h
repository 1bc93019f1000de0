/* What the join's files share. A half lives in a chain under its key's tuple number and in exactly
 *one of the lists below; numbers, not pointers, link everything, and 0 is nobody.
 *
 *	tuple number --> key_chains: halves --> half --> half     (same key, either side)
 *		     |			      `-peer-'
 *		     `-> aliases out of it, aliases into it
 *
 * Memory of a joined flow: 2 x 80 B halves, 44 + 4 + 16 B tuple and chains, ~7 B index; instances
 *are shared; a closing's 64 B only from the first close to the flow's end. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "join/intern.h"
#include "join/join.h"

/* Halves of one key at once: more is a tuple that is reused faster than its halves pair; bounds a
 * pairing's cost. */
enum { KEY_HALVES_MAX = 2048, KEY_ALIASES_MAX = 64 };

/* Two ends' corrected clocks and the handshake's half round trip: lives that touch within this may
 * be one connection. */
#define PAIR_SLACK_NS (250 * NS_PER_MS)

/* Where a half stands. The order is that of eviction: the first list's oldest leaves first. */
enum place {
	PLACE_FREE,
	PLACE_TOLD,	   /* closed, its one-sided flow emitted; waits keep_ns for a late peer */
	PLACE_FRESH,	   /* closed without a peer; waits one_sided_ns */
	PLACE_DONE,	   /* open, but its flow was emitted: the peer's close was all that came for
			      keep_ns */
	PLACE_OLD,	   /* open, without a peer for keep_ns; its label is final */
	PLACE_ALONE,	   /* open, without a peer */
	PLACE_FORWARD,	   /* was re-keyed: sends on what comes for it; leaves with the close */
	PLACE_HALF_CLOSED, /* closed, its peer is not; waits keep_ns for that */
	PLACE_UNSETTLED, /* paired for less than one_sided_ns: a nearer peer may still take over */
	PLACE_PAIRED,
	PLACES,
};

struct half {
	struct half_ref ref;
	uint32_t key;  /* tuple numbers */
	uint32_t seen; /* of a forward: the key it went on to */
	uint32_t self; /* instance number */
	uint32_t peer;
	uint32_t next_of_key;
	uint32_t older, newer; /* of its place's list */
	uint32_t closing;
	uint32_t pid;
	uint32_t connect_us;
	uint16_t flags; /* enum half_flag */
	uint8_t side;
	uint8_t hops;
	uint8_t place;
	uint8_t panes_alone; /* guessed roles only: panes since it came, up to its visit or its
				return */
	bool changed : 1;    /* needs a label in this pane */
	bool settled : 1;    /* keeps its peer whatever comes */
	bool exhausted : 1;  /* counted in hops_exhausted */
	uint64_t opened_ns;
	uint64_t since_ns; /* end of the pane that put it into its place */
};

_Static_assert(sizeof(struct half) <= 88,
	       "two halves, their key and its index entry fit in 256 bytes");

struct closing {
	uint64_t time_ns;
	struct traffic total;
	uint32_t reason;
	uint32_t min_rtt_us;
	uint32_t lost;
	uint32_t next_free;
};

struct alias {
	uint32_t from, to; /* tuple numbers */
	uint32_t next_out, next_in;
	uint32_t older, newer;
	uint64_t node;
	uint64_t begin_ns, end_ns; /* end: UINT64_MAX while it stands */
	uint64_t latest_ns;	   /* event time of its newest announcement */
	uint64_t since_ns;	   /* end of the pane of its last announcement or its deletion */
};

struct key_chains {
	uint32_t halves;
	uint32_t halves_count;
	uint32_t aliases_out, aliases_in;
};

struct list {
	uint32_t oldest, newest;
};

/* Grows by doubling and keeps its memory: one pane's worth of something. */
struct array {
	void *items;
	size_t count, capacity;
};

struct hop_bucket {
	struct array opens, closes;
};

struct guesser {
	uint32_t number;
	struct half_ref ref; /* the number may have another half by now */
};

struct join {
	struct join_options options;
	uint64_t now_ns; /* end of the pane at hand */
	struct intern tuples, instances;
	struct key_chains *chains; /* by tuple number */
	struct half *halves;
	struct closing *closings;
	struct alias *aliases;
	uint32_t halves_fresh, halves_free;
	uint32_t closings_fresh, closings_free;
	uint32_t aliases_fresh, aliases_free;
	struct list places[PLACES];
	struct list aliases_by_age;
	struct array opens, closes, alias_events; /* of this pane, as pushed */
	struct array server_events;		  /* of this pane, as pushed */
	struct server_place *servers;		  /* sets of SERVER_WAYS: see server.c */
	uint32_t server_sets;
	struct array seekers;  /* half numbers that may find a (better) peer */
	struct array touched;  /* half numbers whose place may have changed */
	struct array guessers; /* struct guesser: roles on or before their trial */
	struct array labels, flows;
	struct hop_bucket *hops;    /* by task, this task too; sent at the pane's end */
	struct hop_bucket own_hops; /* what this task sent itself in the round before */
	bool unfinished;	    /* the last round sent hops */
	uint32_t pairs, forwards;
	struct join_stats stats;
};

void *array_add(struct array *array, size_t item_size);

static inline const struct tuple *tuple_at(const struct join *join, uint32_t number)
{
	return intern_at(&join->tuples, number);
}

static inline const struct instance *instance_at(const struct join *join, uint32_t number)
{
	return intern_at(&join->instances, number);
}

static inline uint64_t half_closed_ns(const struct join *join, const struct half *half)
{
	return half->closing ? join->closings[half->closing].time_ns : UINT64_MAX;
}

static inline bool half_is_live(const struct half *half)
{
	return half->place != PLACE_FREE && half->place != PLACE_FORWARD;
}

uint32_t tuple_find(const struct join *join, const struct tuple *tuple);
uint32_t tuple_hold(struct join *join, const struct tuple *tuple);
void tuple_drop(struct join *join, uint32_t number);

/* halves.c: the pool, the chains and the lists. */
uint32_t half_find(const struct join *join, uint32_t key, const struct half_ref *ref);
uint32_t half_add(struct join *join, const struct half_open *open); /* in PLACE_ALONE; may evict */
void half_close(struct join *join, uint32_t number, const struct half_close *close);
void half_move(struct join *join, uint32_t number, enum place place); /* to the list's new end */
void half_free(struct join *join, uint32_t number); /* its label first, if it needs one */
void half_identify(struct join *join, uint32_t number, const struct half_open *open);
void half_touch(struct join *join, uint32_t number);
void half_change(struct join *join, uint32_t number); /* asks for a label in this pane */

/* alias.c */
void aliases_take(struct join *join); /* this pane's events, in an order of their own */
void aliases_expire(struct join *join);

/* The alias that a half of this life goes (came) through, or 0. */
uint32_t alias_out(const struct join *join, uint32_t key, uint64_t opened_ns, uint64_t closed_ns);
uint32_t alias_in(const struct join *join, uint32_t key, uint64_t opened_ns, uint64_t closed_ns);

/* hop.c */
bool half_hop(struct join *join, uint32_t number); /* through its alias, if there is one */
void half_forward(struct join *join, uint32_t number, const struct half_open *open);
void half_forward_close(struct join *join, uint32_t number, const struct half_close *close);
bool half_returns(const struct join *join, uint32_t number, const struct half_open *open);
void guesser_add(struct join *join, uint32_t number);
void guessers_visit(struct join *join);
void hops_send(struct join *join);

/* pair.c */
void pairs_seek(struct join *join);
void half_part(struct join *join, uint32_t number); /* from its peer; the peer seeks again */
bool halves_certain(const struct join *join, const struct half *a, const struct half *b);

/* record.c: what goes out. */
void label_add(struct join *join, uint32_t number);
void flow_add(struct join *join, uint32_t number); /* of the half and its peer, if any */
void labels_send(struct join *join);
void flows_send(struct join *join);

/* server.c */
void servers_init(struct join *join);
void servers_done(struct join *join);
void servers_take(struct join *join);
/* Who serves there as far as anybody told lately, or NULL. */
const struct instance *server_find(const struct join *join, const struct tuple *key);
