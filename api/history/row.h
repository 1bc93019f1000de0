/* What a stored row holds beside its key: counters, the smallest RTT, the newest event, and the two
 * sketches, as one run of varints (LEB128; signed ones zigzag):
 *
 *     mask of the counters that are not 0 | their values | min_rtt_us | window end - last event
 *     | cells of connect | (index step, count) ... | cells of srtt | (index step, count) ...
 *
 * An ordinary row takes 30 to 80 bytes instead of 300. A file may be damaged, so decoding checks
 * everything and says false. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aggregate/rollup.h"
#include "base/sketch.h"

/* A row taken apart: the sketches own their cells and are used again. */
struct row {
	int64_t counters[COUNTERS];
	uint32_t min_rtt_us;
	uint64_t last_event_ns;
	struct sketch connect, srtt;
};

/* {0} is an empty one. */
struct row_bytes {
	uint8_t *bytes;
	size_t size, room;
};

void row_encode(struct row_bytes *out, const struct rollup *rollup);
/* Sketches are left empty unless asked for. */
bool row_decode(const void *bytes, size_t size, uint64_t window_end_ns, bool sketches,
		struct row *row);
/* Adds a signed row. A sketch's cell stays between 0 and UINT32_MAX. */
void row_add(struct row *row, const struct rollup *rollup);
/* The row as a rollup again; its cells are lent by row. Key fields are left alone. */
void row_lend(const struct row *row, struct rollup *rollup);
void row_done(struct row *row);
