#include "api/history/row.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"

enum { VARINT_BYTES = 10, HEAD_BYTES = (COUNTERS + 6) * VARINT_BYTES };

_Static_assert(COUNTERS <= 64, "the mask of counters is one 64-bit word");

static uint8_t *put(uint8_t *at, uint64_t value)
{
	while (value >= 0x80) {
		*at++ = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	*at++ = (uint8_t)value;
	return at;
}

static uint64_t zigzag(int64_t value)
{
	return ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
}

static int64_t unzigzag(uint64_t value)
{
	return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

static uint8_t *put_cells(uint8_t *at, const struct sketch_cell *cells, uint32_t count)
{
	uint32_t before = 0;

	at = put(at, count);
	for (uint32_t i = 0; i < count; i++) {
		at = put(at, cells[i].index - before);
		at = put(at, cells[i].count);
		before = cells[i].index;
	}
	return at;
}

void row_encode(struct row_bytes *out, const struct rollup *rollup)
{
	size_t most = HEAD_BYTES + ((size_t)rollup->connect_cells + rollup->srtt_cells) * 8;
	uint64_t end_ns = rollup->window_start_ns + rollup->window_ms * NS_PER_MS;
	uint64_t mask = 0;

	if (out->room < most) {
		out->room = memory_grown(out->room, most);
		out->bytes = memory_resize(out->bytes, out->room, 1);
	}
	for (unsigned i = 0; i < COUNTERS; i++)
		mask |= (uint64_t)(rollup->counters[i] != 0) << i;

	uint8_t *at = put(out->bytes, mask);

	for (unsigned i = 0; i < COUNTERS; i++) {
		if (rollup->counters[i])
			at = put(at, zigzag(rollup->counters[i]));
	}
	at = put(at, rollup->min_rtt_us);
	at = put(at, zigzag((int64_t)(end_ns - rollup->last_event_ns)));
	at = put_cells(at, rollup->connect, rollup->connect_cells);
	at = put_cells(at, rollup->srtt, rollup->srtt_cells);
	out->size = (size_t)(at - out->bytes);
}

struct cursor {
	const uint8_t *at, *end;
	bool bad;
};

static uint64_t take(struct cursor *cursor)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64 && cursor->at < cursor->end; shift += 7) {
		uint8_t byte = *cursor->at++;

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return value;
	}
	cursor->bad = true;
	return 0;
}

static void reserve(struct sketch *sketch, uint32_t count)
{
	if (count <= sketch->capacity)
		return;
	sketch->cells = memory_resize(sketch->cells, count, sizeof(*sketch->cells));
	sketch->capacity = count;
}

static void take_cells(struct cursor *cursor, struct sketch *sketch)
{
	uint64_t count = take(cursor);
	uint64_t index = 0;

	/* A cell takes two bytes at least: no allocation that the bytes do not pay for. */
	if (count > (uint64_t)(cursor->end - cursor->at) / 2 || count > SKETCH_INDEXES)
		cursor->bad = true;
	if (cursor->bad)
		return;
	reserve(sketch, (uint32_t)count);
	for (uint64_t i = 0; i < count && !cursor->bad; i++) {
		uint64_t step = take(cursor);
		uint64_t cell = take(cursor);

		if (step >= SKETCH_INDEXES || (i && !step) || !cell || cell > UINT32_MAX ||
		    index + step >= SKETCH_INDEXES) {
			cursor->bad = true;
			return;
		}
		index += step;
		sketch->cells[sketch->count++] =
			(struct sketch_cell){(uint16_t)index, (uint32_t)cell};
	}
}

bool row_decode(const void *bytes, size_t size, uint64_t window_end_ns, bool sketches,
		struct row *row)
{
	struct cursor cursor = {bytes, (const uint8_t *)bytes + size, false};
	uint64_t mask = take(&cursor);

	memset(row->counters, 0, sizeof(row->counters));
	sketch_clear(&row->connect);
	sketch_clear(&row->srtt);
	if (mask >> COUNTERS)
		return false;
	for (; mask; mask &= mask - 1)
		row->counters[__builtin_ctzll(mask)] = unzigzag(take(&cursor));
	row->min_rtt_us = (uint32_t)take(&cursor);
	row->last_event_ns = window_end_ns - (uint64_t)unzigzag(take(&cursor));
	if (!sketches)
		return !cursor.bad;
	take_cells(&cursor, &row->connect);
	if (!cursor.bad)
		take_cells(&cursor, &row->srtt);
	return !cursor.bad && cursor.at == cursor.end;
}

void row_add(struct row *row, const struct rollup *rollup)
{
	for (unsigned i = 0; i < COUNTERS; i++)
		row->counters[i] =
			(int64_t)((uint64_t)row->counters[i] + (uint64_t)rollup->counters[i]);
	if (rollup->min_rtt_us && (!row->min_rtt_us || rollup->min_rtt_us < row->min_rtt_us))
		row->min_rtt_us = rollup->min_rtt_us;
	if (rollup->last_event_ns > row->last_event_ns)
		row->last_event_ns = rollup->last_event_ns;
	sketch_merge(&row->connect, rollup->connect, rollup->connect_cells);
	sketch_merge(&row->srtt, rollup->srtt, rollup->srtt_cells);
}

void row_lend(const struct row *row, struct rollup *rollup)
{
	memcpy(rollup->counters, row->counters, sizeof(row->counters));
	rollup->min_rtt_us = row->min_rtt_us;
	rollup->last_event_ns = row->last_event_ns;
	rollup->connect = row->connect.cells;
	rollup->connect_cells = row->connect.count;
	rollup->srtt = row->srtt.cells;
	rollup->srtt_cells = row->srtt.count;
}

void row_done(struct row *row)
{
	sketch_done(&row->connect);
	sketch_done(&row->srtt);
}
