/* The halves that are open, by node and slot: pages of 64 neighbouring slots, found by a node's
 * index of pages. A half's half_ref index is its page's number * 64 + its slot in the page, so a
 * node's halves lie together and nothing but the slot finds them. Pages are given back when their
 * last half ends and keep their generations. Bounded by pages_max. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/delta.h"
#include "ingest/turn.h"

enum {
	PAGE_SHIFT = 6,
	PAGE_HALVES = 1 << PAGE_SHIFT,
	INSTANCES_MAX = (1 << 24) - 1, /* numbers that a half has room for */
};

/* What a label says beside where: in the order of struct place, see half_place(). */
enum half_rule { RULE_SERVER_SIDE = 1, RULE_COUNTS_FROM_SERVER = 2, RULE_JOINED = 4 };

/* Counters as accounted, modulo their width: 40 bits of bytes, 32 of segments, 25 of retransmits.
 * What an update needs comes first: half of all updates then touch one line of the cache. */
struct half {
	uint32_t tx_low, rx_low;
	uint32_t tx_segments, rx_segments;
	uint32_t retransmits_low : 17;
	uint32_t sequence : 15; /* of the batch that defined or ended it: see socket_former() */
	uint32_t lane;
	uint32_t touched : 24, tx_high : 8; /* newest touch: see touch_flags() */
	uint32_t self : 24;		    /* roster numbers, by the label */
	uint32_t live : 1;
	uint32_t labelled : 1, final : 1;
	uint32_t rules : 3; /* enum half_rule, by the label */
	uint32_t probe : 1;
	uint32_t side : 1; /* enum side, by its definition */
	uint32_t peer : 24;
	uint32_t guessed : 1, existed : 1;
	uint32_t changed : 1;	  /* its label did, in this pane */
	uint32_t gapped : 1;	  /* its node lost something since its last absolute counters */
	uint32_t opening : 1;	  /* in the pane's queue of openings */
	uint32_t distant : 1;	  /* its peer goes by an address, whose name must be kept */
	uint32_t contributed : 1; /* it had contributions */
	uint32_t turned : 1;	  /* it has turns */
	uint32_t number;	  /* its label's in the join task */
	uint32_t min_rtt_us : 24, rx_high : 8;
	uint32_t lost : 24, retransmits_high : 8; /* its node's losses when it began */
	uint16_t join_task;
	uint16_t generation;	  /* of the place: half_ref's */
	uint16_t slot_generation; /* the agent's, folded */
	uint16_t owner;		  /* of its node's owners */
	uint32_t print : 31;	  /* of the tuple it was seen as: see adopt.c */
	uint32_t astride : 1;	  /* gapped since before its last turn */
};

_Static_assert(sizeof(struct half) == 60, "4 M halves are 240 MB, 256 as allocated");

enum { HALF_SEQUENCE_MASK = (1 << 15) - 1 };

#define HALF_BYTES_MASK	      ((1ULL << 40) - 1)
#define HALF_SEGMENTS_MASK    ((1ULL << 32) - 1)
#define HALF_RETRANSMITS_MASK ((1ULL << 25) - 1)

struct page {
	struct half *halves;	 /* PAGE_HALVES; NULL: never used */
	uint32_t *contributions; /* newest of each half, + 1; NULL: none has any */
	struct turns *turns;	 /* NULL: none has any */
	uint64_t used;		 /* bits */
	uint32_t number;	 /* slots number * 64 .. of its node */
	uint32_t next_free;	 /* + 1 */
};

struct pages {
	struct page *pages;
	uint32_t count, capacity, free, pages_max;
};

/* A node's index by slot / 64: page + 1, and where its halves are. */
struct page_index {
	uint32_t *pages;
	struct half **halves; /* NULL: no page */
	uint32_t count;
	uint32_t first; /* number of the first page */
};

void pages_init(struct pages *pages, uint32_t pages_max);
void pages_done(struct pages *pages);

/* Makes room for a page at this place. */
void page_index_reach(struct page_index *index, uint32_t at);

/* Marks the place of a slot used and returns its half, which is the caller's to set but for the
 * generation; NULL at the bound. sequence: of the places of a new page. */
struct half *pages_take(struct pages *pages, struct page_index *index, uint32_t slot,
			uint32_t sequence, uint32_t *half);

/* The place is free and of the next generation; its sequence stays. */
void pages_give(struct pages *pages, struct page_index *index, uint32_t half);

static inline struct half *pages_at(const struct pages *pages, uint32_t half)
{
	return &pages->pages[half >> PAGE_SHIFT].halves[half & (PAGE_HALVES - 1)];
}

enum { NO_PLACE = UINT32_MAX };

/* The place of a slot, whose half may be open (live) or not; NO_PLACE if there is none. */
static inline uint32_t pages_find(const struct page_index *index, uint32_t slot)
{
	uint32_t at = slot >> PAGE_SHIFT;
	uint32_t page = at < index->count ? index->pages[at] : 0;
	return page ? (page - 1) << PAGE_SHIFT | (slot & (PAGE_HALVES - 1)) : NO_PLACE;
}

/* The half at a slot's place, open or not; NULL if there is none. */
static inline struct half *pages_half(const struct page_index *index, uint32_t slot)
{
	uint32_t at = slot >> PAGE_SHIFT;
	struct half *halves = at < index->count ? index->halves[at] : NULL;
	return halves ? &halves[slot & (PAGE_HALVES - 1)] : NULL;
}

/* For a half that is to come, and for an update of it. Always in line: the compiler leaves out the
 * call of a function that only asks for memory. */
static inline __attribute__((always_inline)) void half_prefetch(const struct half *half)
{
	__builtin_prefetch(half, 1);
	__builtin_prefetch((const char *)half + sizeof(*half) - 1, 1);
}

static inline __attribute__((always_inline)) void half_prefetch_update(const struct half *half)
{
	__builtin_prefetch(half, 1);
	__builtin_prefetch((const char *)half + offsetof(struct half, number) - 1, 1);
}

static inline uint32_t half_slot(const struct pages *pages, uint32_t half)
{
	return pages->pages[half >> PAGE_SHIFT].number << PAGE_SHIFT | (half & (PAGE_HALVES - 1));
}

/* One more contribution of the half heads its list. */
uint32_t *half_contributions(struct pages *pages, uint32_t half);

static inline void half_set(struct half *half, const struct traffic *total)
{
	half->tx_low = (uint32_t)total->tx_bytes;
	half->rx_low = (uint32_t)total->rx_bytes;
	half->tx_high = (uint32_t)(total->tx_bytes >> 32) & 0xff;
	half->rx_high = (uint32_t)(total->rx_bytes >> 32) & 0xff;
	half->tx_segments = (uint32_t)total->tx_segments;
	half->rx_segments = (uint32_t)total->rx_segments;
	half->retransmits_low = total->retransmits & 0x1ffff;
	half->retransmits_high = (uint32_t)(total->retransmits >> 17) & 0xff;
}

/* Whether these are its counters. */
static inline bool half_has(const struct half *half, const struct traffic *total)
{
	uint64_t differs = (half->tx_low ^ (uint32_t)total->tx_bytes) |
			   (half->rx_low ^ (uint32_t)total->rx_bytes) |
			   (half->tx_segments ^ (uint32_t)total->tx_segments) |
			   (half->rx_segments ^ (uint32_t)total->rx_segments) |
			   (half->tx_high ^ (total->tx_bytes >> 32 & 0xff)) |
			   (half->rx_high ^ (total->rx_bytes >> 32 & 0xff)) |
			   (half->retransmits_low ^ (total->retransmits & 0x1ffff)) |
			   (half->retransmits_high ^ (total->retransmits >> 17 & 0xff));
	return !differs;
}

static inline struct traffic half_counters(const struct half *half)
{
	return (struct traffic){
		.tx_bytes = (uint64_t)half->tx_high << 32 | half->tx_low,
		.rx_bytes = (uint64_t)half->rx_high << 32 | half->rx_low,
		.tx_segments = half->tx_segments,
		.rx_segments = half->rx_segments,
		.retransmits = (uint64_t)half->retransmits_high << 17 | half->retransmits_low,
	};
}

static inline void half_account(struct half *half, const struct traffic *moved)
{
	uint64_t tx = half->tx_low + moved->tx_bytes, rx = half->rx_low + moved->rx_bytes;
	half->tx_low = (uint32_t)tx;
	half->rx_low = (uint32_t)rx;
	if (tx >> 32)
		half->tx_high = (half->tx_high + (uint32_t)(tx >> 32)) & 0xff;
	if (rx >> 32)
		half->rx_high = (half->rx_high + (uint32_t)(rx >> 32)) & 0xff;
	half->tx_segments += (uint32_t)moved->tx_segments;
	half->rx_segments += (uint32_t)moved->rx_segments;
	if (moved->retransmits) {
		uint64_t sum = half_counters(half).retransmits + moved->retransmits;
		half->retransmits_low = sum & 0x1ffff;
		half->retransmits_high = (uint32_t)(sum >> 17) & 0xff;
	}
}
