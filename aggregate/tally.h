/* Which columns a delta or an amendment fills, as a list of what is not zero. Deltas that are
 * narrow and in time take a shorter way (merge.c), which fills the same. Pure; any thread. */
#pragma once

#include <stdint.h>

#include "aggregate/sum.h"
#include "base/delta.h"

struct tally {
	uint32_t count;
	uint8_t columns[COLUMNS];
	int64_t values[COLUMNS];
};

/* Probes tally nothing: they touch the rows of their edge (newest event time), but are no service's
 * traffic. */
void tally_delta(struct tally *tally, const struct delta *delta);
/* The same without what the connection did: opened, closed, failed, the time to connect. */
void tally_traffic(struct tally *tally, const struct delta *delta);
void tally_into(const struct tally *tally, struct sum *sum);

/* One lookup of the half that counts, or as many as an amendment moves. */
void tally_lookups(struct tally *tally, const struct lookup_counts *lookups, int64_t sign);

/* FAILED stays the sum of its reasons: an attempt without a known reason was given up. */
enum counter failure_counter(unsigned reason);

/* Times that a delta gives to its rows' distributions; 0 if none. Of established connections only:
 * how long a failed attempt waited says nothing of the path. The client's half measures it, whoever
 * counts. */
static inline uint64_t delta_connect_us(const struct delta *delta)
{
	if (delta->place.side != SIDE_CLIENT || !(delta->flags & DELTA_OPENED) ||
	    delta->flags & DELTA_PROBE)
		return 0;
	return delta->connect_us;
}

/* Each end's is a sample, whoever counts. */
static inline uint64_t delta_srtt_us(const struct delta *delta)
{
	return delta->flags & DELTA_PROBE ? 0 : delta->srtt_us;
}

/* A count as a column's value. */
static inline int64_t tally_value(uint64_t count)
{
	return count < INT64_MAX ? (int64_t)count : INT64_MAX;
}

/* What moves, at one of the amendment's places; sign is -1 for `before`, 1 for `after`.
 * Distributions, minima and the round-trip sums stay where they were first seen: they are samples
 * of a path, and one half's share of a window cannot be taken out of them. */
void tally_amendment(struct tally *tally, const struct amendment *amendment,
		     const struct place *place, int64_t sign);
