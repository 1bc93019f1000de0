#include "aggregate/frozen.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum {
	VARINT_MAX = 10,
	CELL_MAX = 3 + 5, /* index in 3 bytes, count in 5 */
};

static uint8_t *put_varint(uint8_t *at, uint64_t value)
{
	for (; value > 0x7f; value >>= 7)
		*at++ = (uint8_t)(value | 0x80);
	*at++ = (uint8_t)value;
	return at;
}

static uint64_t take_varint(const uint8_t **at)
{
	uint64_t value = 0;
	unsigned shift = 0;
	for (; **at & 0x80; shift += 7)
		value |= (uint64_t)(*(*at)++ & 0x7f) << shift;
	return value | (uint64_t) * (*at)++ << shift;
}

static uint64_t zigzag(int64_t value)
{
	return (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
}

static int64_t zagzig(uint64_t value)
{
	return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

static uint8_t *put_sum(uint8_t *at, const struct sum *sum)
{
	uint64_t columns = 0;
	for (unsigned column = 0; column < COLUMNS; column++)
		columns |= (uint64_t)(sum->values[column] != 0) << column;
	at = put_varint(at, columns);
	for (; columns; columns &= columns - 1)
		at = put_varint(at, zigzag(sum->values[__builtin_ctzll(columns)]));
	at = put_varint(at, sum->last_event_ns);
	return put_varint(at, sum->min_rtt_us);
}

static const uint8_t *take_sum(const uint8_t *at, struct sum *sum)
{
	memset(sum, 0, sizeof(*sum));
	for (uint64_t columns = take_varint(&at); columns; columns &= columns - 1)
		sum->values[__builtin_ctzll(columns)] = zagzig(take_varint(&at));
	sum->last_event_ns = take_varint(&at);
	sum->min_rtt_us = (uint32_t)take_varint(&at);
	sum->touched = true;
	return at;
}

static uint8_t *put_sketch(uint8_t *at, const struct sketch *sketch)
{
	uint32_t last = 0;
	at = put_varint(at, sketch->count);
	for (uint32_t i = 0; i < sketch->count; i++) {
		at = put_varint(at, sketch->cells[i].index - last);
		at = put_varint(at, sketch->cells[i].count);
		last = sketch->cells[i].index;
	}
	return at;
}

static const uint8_t *take_sketch(const uint8_t *at, struct sketch *sketch)
{
	uint32_t count = (uint32_t)take_varint(&at), index = 0;
	if (count > sketch->capacity) {
		sketch->capacity = (uint32_t)memory_grown(sketch->capacity, count);
		sketch->cells =
			memory_resize(sketch->cells, sketch->capacity, sizeof(*sketch->cells));
	}
	for (sketch->count = 0; sketch->count < count; sketch->count++) {
		index += (uint32_t)take_varint(&at);
		sketch->cells[sketch->count] = (struct sketch_cell){
			.index = (uint16_t)index, .count = (uint32_t)take_varint(&at)};
	}
	return at;
}

void frozen_thaw(const struct frozen *frozen, struct thawed *thawed)
{
	thawed_clear(thawed);
	if (!frozen->bytes)
		return;
	const uint8_t *at = take_sum(frozen->bytes, &thawed->sum);
	take_sketch(take_sketch(at, &thawed->connect), &thawed->srtt);
}

void frozen_freeze(struct frozen *frozen, const struct thawed *thawed)
{
	size_t most = (COLUMNS + 5) * VARINT_MAX +
		      ((size_t)thawed->connect.count + thawed->srtt.count) * CELL_MAX;
	uint8_t *bytes = memory_resize(NULL, most, 1);
	uint8_t *at = put_sum(bytes, &thawed->sum);
	at = put_sketch(put_sketch(at, &thawed->connect), &thawed->srtt);
	frozen_clear(frozen);
	frozen->size = (uint32_t)(at - bytes);
	frozen->bytes = memory_resize(NULL, frozen->size, 1);
	memcpy(frozen->bytes, bytes, frozen->size);
	memory_free(bytes);
}

void frozen_clear(struct frozen *frozen)
{
	memory_free(frozen->bytes);
	*frozen = (struct frozen){0};
}

uint64_t thawed_add(struct thawed *thawed, const struct thawed *other)
{
	sum_add(&thawed->sum, &other->sum);
	return sketch_merge(&thawed->connect, other->connect.cells, other->connect.count) +
	       sketch_merge(&thawed->srtt, other->srtt.cells, other->srtt.count);
}

void thawed_clear(struct thawed *thawed)
{
	memset(&thawed->sum, 0, sizeof(thawed->sum));
	sketch_clear(&thawed->connect);
	sketch_clear(&thawed->srtt);
}

void thawed_done(struct thawed *thawed)
{
	sketch_done(&thawed->connect);
	sketch_done(&thawed->srtt);
}
