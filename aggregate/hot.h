/* What every delta adds to its edge's pane, its lane and its two instances, in one cache line:
 * 32-bit columns in vectors, added four at a time. A column that reaches its sign bit has run over:
 * the whole line then moves into a wide sum and begins anew, so nothing wraps as long as what is
 * added ends below the sign bit (bucket.h). What a connection's life adds stands beside it in the
 * same way. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "aggregate/bucket.h"
#include "aggregate/sum.h"
#include "base/vector.h"

typedef uint32_t columns4 __attribute__((vector_size(16)));
typedef uint64_t columns2 __attribute__((vector_size(16)));

struct hot {
	columns4 side;	  /* client's tx and rx bytes, server's tx and rx bytes */
	columns4 counted; /* tx and rx bytes, tx and rx segments */
	columns4 other;	  /* events received, sum of smoothed RTTs, their count, active in 10 s */
	uint64_t last_event_ns; /* 0: not touched */
	uint32_t nearest;	/* -min_rtt_us; 0: none */
	uint32_t edge;		/* of whom it is */
} __attribute__((aligned(64)));

struct life {
	columns4 ends; /* opened, closed, joined, times to connect */
	columns4 rest; /* sum of the times to connect, resets, retransmits counted, events lost */
	uint64_t retransmits; /* the client's; above 32 bits the server's */
	uint32_t wide;	      /* a sum of what does not fit, or is rare; 0: none */
};

/* A record in the shape of a hot line. */
struct addend {
	columns4 side, counted, other;
	uint64_t time_ns;
	uint32_t nearest;
};

/* Which of a record's columns count where, by bits 12 and 13: RECORD_SERVER, RECORD_COUNTS. */
extern const columns4 hot_side_masks[4], hot_counted_masks[4];

static inline struct addend addend_of(const struct record *record)
{
	typedef columns4 __attribute__((aligned(8), may_alias)) loose4;
	columns4 columns = *(const loose4 *)record->columns;
	unsigned kind = record->bits / RECORD_SERVER & 3;
	uint64_t srtt = record->srtt_us;
	uint64_t active = record->bits / DELTA_FIRST_IN_10S & 1;
	return (struct addend){
		.side = VECTOR_SHUFFLE(columns, columns, 0, 1, 0, 1) & hot_side_masks[kind],
		.counted = columns & hot_counted_masks[kind],
		.other = (columns4)(columns2){record->received | srtt << 32,
					      (srtt != 0) | active << 32},
		.time_ns = record->time_ns,
		.nearest = -record->min_rtt_us,
	};
}

/* A sign bit in what it returns: hot_spill() is due. */
static inline columns4 hot_add(struct hot *hot, const struct addend *addend)
{
	columns4 side = hot->side + addend->side;
	columns4 counted = hot->counted + addend->counted;
	columns4 other = hot->other + addend->other;
	hot->side = side;
	hot->counted = counted;
	hot->other = other;
	hot->nearest = addend->nearest > hot->nearest ? addend->nearest : hot->nearest;
	hot->last_event_ns =
		addend->time_ns > hot->last_event_ns ? addend->time_ns : hot->last_event_ns;
	return side | counted | other;
}

static inline bool columns_over(columns4 columns)
{
	columns2 halves = (columns2)columns;
	return (halves[0] | halves[1]) & 0x8000000080000000ULL;
}

/* The same. */
static inline columns4 life_add(struct life *life, const struct life *more)
{
	columns4 ends = life->ends + more->ends, rest = life->rest + more->rest;
	uint64_t retransmits = life->retransmits + more->retransmits;
	life->ends = ends;
	life->rest = rest;
	life->retransmits = retransmits;
	return ends | rest | (columns4)(columns2){retransmits, 0};
}

/* Adds the columns to sum and makes them zero; its times stay and are added too. Connections active
 * are of `active`, COLUMNS if they are counted elsewhere. */
void hot_spill(struct hot *hot, struct life *life, struct sum *sum, unsigned active);

/* The same, in place of all counters that were there; hot and life stay as they are. */
static inline void hot_store(const struct hot *hot, const struct life *life, int64_t *values,
			     unsigned active)
{
	values[COUNTER_CLIENT_TX_BYTES] = hot->side[0];
	values[COUNTER_CLIENT_RX_BYTES] = hot->side[1];
	values[COUNTER_SERVER_TX_BYTES] = hot->side[2];
	values[COUNTER_SERVER_RX_BYTES] = hot->side[3];
	values[COUNTER_TX_BYTES] = hot->counted[0];
	values[COUNTER_RX_BYTES] = hot->counted[1];
	values[COUNTER_TX_SEGMENTS] = hot->counted[2];
	values[COUNTER_RX_SEGMENTS] = hot->counted[3];
	values[COUNTER_SRTT_US] = hot->other[1];
	values[COUNTER_SRTT_COUNT] = hot->other[2];
	values[active] = hot->other[3];
	values[COUNTER_OPENED] = life->ends[0];
	values[COUNTER_CLOSED] = life->ends[1];
	values[COUNTER_JOINED] = life->ends[2];
	values[COUNTER_CONNECT_COUNT] = life->ends[3];
	values[COUNTER_CONNECT_US] = life->rest[0];
	values[COUNTER_RESETS] = life->rest[1];
	values[COUNTER_RETRANSMITS] = life->rest[2];
	values[COUNTER_CLIENT_RETRANSMITS] = (int64_t)(life->retransmits & UINT32_MAX);
	values[COUNTER_SERVER_RETRANSMITS] = (int64_t)(life->retransmits >> 32);
	values[COUNTER_AGENT_RECEIVED] = hot->other[0];
	values[COUNTER_AGENT_ISSUED] = (int64_t)hot->other[0] + life->rest[3];
	/* Rare: they are in wide sums only. */
	for (unsigned counter = COUNTER_FAILED; counter <= COUNTER_FAILED_ABORTED; counter++)
		values[counter] = 0;
	values[COUNTER_TIMEOUTS] = 0;
	values[COUNTER_LATE_BYTES] = values[COUNTER_LATE_CONNECTIONS] = 0;
	values[COUNTER_RECOVERED_BYTES] = 0;
	memset(&values[COUNTER_DNS_QUERIES], 0, (COUNTERS - COUNTER_DNS_QUERIES) * sizeof(*values));
}

static inline uint32_t hot_min_rtt_us(const struct hot *hot)
{
	return -hot->nearest;
}
