/* What every delta adds to a lane and to its two instances, in one cache line: 32-bit columns in
 * vectors, added four at a time. A column that reaches its sign bit has run over: the whole line
 * then moves into a wide sum and begins anew, so nothing wraps as long as what is added ends below
 * the sign bit (bucket.h). One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "aggregate/bucket.h"
#include "aggregate/sum.h"

typedef uint32_t columns4 __attribute__((vector_size(16)));
typedef uint64_t columns2 __attribute__((vector_size(16)));

struct hot {
	columns4 side;	  /* client's tx and rx bytes, server's tx and rx bytes */
	columns4 counted; /* tx and rx bytes, tx and rx segments */
	columns4 other;	  /* active in 10 s, events received, sum of smoothed RTTs, their count */
	uint32_t nearest; /* ~min_rtt_us; 1: none seen; 0: not touched */
	uint32_t key;	  /* of whom it is */
	uint64_t last_event_ns;
} __attribute__((aligned(64)));

/* A record in the shape of a hot line. */
struct addend {
	columns4 side, counted, other;
	uint32_t nearest;
	uint64_t time_ns;
};

static inline uint32_t hot_nearest(uint32_t min_rtt_us)
{
	return min_rtt_us && min_rtt_us < UINT32_MAX - 1 ? ~min_rtt_us : 1;
}

static inline uint32_t path_srtt(uint64_t path)
{
	return (uint32_t)path & ((1U << RECORD_RTT_BITS) - 1);
}

static inline struct addend addend_of(const struct record *record, uint64_t base_ns)
{
	uint64_t bytes = (uint64_t)record->bytes[1] << 32 | record->bytes[0];
	uint64_t server = bytes & -(uint64_t)(record->bits / RECORD_SERVER & 1);
	uint64_t counted = bytes & -(uint64_t)(record->bits / RECORD_COUNTS & 1);
	uint64_t segments = (uint64_t)record->segments[1] << 32 | record->segments[0];
	uint64_t path = record->path;
	uint64_t srtt = path_srtt(path);
	uint64_t received = path >> 2 * RECORD_RTT_BITS;
	uint32_t min_rtt_us = (uint32_t)(path >> RECORD_RTT_BITS) & ((1U << RECORD_RTT_BITS) - 1);
	return (struct addend){
		.side = (columns4)(columns2){bytes ^ server, server},
		.counted = (columns4)(columns2){counted, segments},
		.other = (columns4)(columns2){(record->bits / DELTA_FIRST_IN_10S & 1) |
						      received << 32,
					      srtt | (uint64_t)(srtt != 0) << 32},
		.nearest = min_rtt_us ? ~min_rtt_us : 1,
		.time_ns = base_ns + record->time,
	};
}

/* Not zero: hot_spill() is due. */
static inline uint64_t hot_add(struct hot *hot, const struct addend *addend)
{
	columns4 side = hot->side + addend->side;
	columns4 counted = hot->counted + addend->counted;
	columns4 other = hot->other + addend->other;
	columns2 all = (columns2)(side | counted | other);
	hot->side = side;
	hot->counted = counted;
	hot->other = other;
	hot->nearest = addend->nearest > hot->nearest ? addend->nearest : hot->nearest;
	hot->last_event_ns = addend->time_ns > hot->last_event_ns ? addend->time_ns
								   : hot->last_event_ns;
	return (all[0] | all[1]) & 0x8000000080000000ULL;
}

/* Adds the columns to sum and makes them zero; its times stay and are added too. Connections active
 * are of `active`, COLUMNS if they are counted elsewhere. */
void hot_spill(struct hot *hot, struct sum *sum, unsigned active);
/* Nothing was added; key stays. */
static inline void hot_clear(struct hot *hot)
{
	uint32_t key = hot->key;
	*hot = (struct hot){.key = key};
}

static inline uint32_t hot_min_rtt_us(const struct hot *hot)
{
	return hot->nearest > 1 ? ~hot->nearest : 0;
}
