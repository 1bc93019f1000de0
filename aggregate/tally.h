/* Which columns a delta or an amendment fills: the one place that knows. A tally is made once and
 * added to three rows (lane, client, server), so it lists only what is not zero. Pure; any thread.
 */
#pragma once

#include <stdint.h>

#include "aggregate/bucket.h"
#include "base/delta.h"

struct tally {
	uint32_t count;
	uint8_t columns[COLUMNS];
	int64_t values[COLUMNS];
};

/* Probes tally nothing: they touch the rows of their edge (newest event time), but are no service's
 * traffic. */
void tally_delta(struct tally *tally, const struct delta *delta);

/* Times that a delta gives to its rows' distributions; 0 if none. Of established connections only:
 * how long a failed attempt waited says nothing of the path. The client's half measures it, whoever
 * counts. */
static inline uint64_t delta_connect_us(const struct delta *delta)
{
	if (delta->label->side != SIDE_CLIENT || !(delta->flags & DELTA_OPENED) ||
	    delta->flags & DELTA_PROBE)
		return 0;
	return delta->connect_us;
}

static inline uint64_t delta_srtt_us(const struct delta *delta)
{
	if (delta->label->counts_from != delta->label->side || delta->flags & DELTA_PROBE)
		return 0;
	return delta->srtt_us;
}

/* What moves, under one of the amendment's labels; sign is -1 for `before`, 1 for `after`.
 * Distributions, minima and the round-trip sums stay where they were first seen: they are samples
 * of a path, and one half's share of a window cannot be taken out of them. */
void tally_amendment(struct tally *tally, const struct amendment *amendment,
		     const struct label *label, int64_t sign);
