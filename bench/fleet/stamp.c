#include "bench/fleet/stamp.h"

#include <assert.h>

#include "agent/batch/seal.h"
#include "agent/batch/wire.h"
#include "base/clock.h"

enum {
	FIELD_EPOCH = 5,
	FIELD_BASE_TIME_US = 9,
	FIELD_SENT_BOOTTIME = 10,
	FIELD_SENT_REALTIME = 11,
};

static uint64_t read_varint(const uint8_t **at, const uint8_t *end)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64 && *at < end; shift += 7) {
		uint8_t byte = *(*at)++;

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return value;
	}
	assert(!"a sealed batch has whole varints");
	return 0;
}

static uint64_t read_fixed64(const uint8_t *at)
{
	uint64_t value = 0;

	for (int i = 0; i < 8; i++)
		value |= (uint64_t)at[i] << (8 * i);
	return value;
}

static void write_fixed64(uint8_t *at, uint64_t value)
{
	for (int i = 0; i < 8; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t stamped(uint64_t field, uint64_t value, const struct stamp *stamp)
{
	switch (field) {
	case FIELD_EPOCH:
		return value ^ stamp->epoch;
	case FIELD_BASE_TIME_US:
		return value + (uint64_t)(stamp->realtime_ns / (int64_t)NS_PER_US);
	case FIELD_SENT_BOOTTIME:
		return value + (uint64_t)stamp->boottime_ns;
	case FIELD_SENT_REALTIME:
		return value + (uint64_t)stamp->realtime_ns;
	default:
		return value;
	}
}

/* Fields come in the order of their numbers: behind the last clock is nothing to change. */
void stamp_batch(uint8_t *bytes, size_t length, const struct stamp *stamp)
{
	const uint8_t *at = bytes, *end = bytes + length;
	uint64_t field = 0;

	while (field < FIELD_SENT_REALTIME && at < end) {
		uint64_t tag = read_varint(&at, end);

		field = tag >> 3;
		if ((tag & 7) == WIRE_VARINT) {
			read_varint(&at, end);
		} else if ((tag & 7) == WIRE_LENGTH) {
			at += read_varint(&at, end);
		} else {
			uint8_t *value = bytes + (at - bytes);

			assert((tag & 7) == WIRE_FIXED64);
			write_fixed64(value, stamped(field, read_fixed64(value), stamp));
			at += 8;
		}
	}
	if (stamp->key)
		seal_sign(stamp->key, bytes, length - SEAL_TRAILER_BYTES);
}
