/* Protocol buffers written from their end to their beginning: when a message's length is wanted its
 * bytes are there already, so nothing is measured first and nothing is moved. Fields go in by
 * falling number, and what proto3 leaves out (zeros, empty texts) is left out, so the bytes are
 * those that any encoder makes of the same message.
 *
 *     buffer |            free            | last fields of a row | ... | end of the record
 *                                         ^ at
 *
 * Writers take the place where the bytes before begin and return the place where theirs do: a
 * register. wire_reserve makes room for a whole row, and for the eight bytes that a writer may
 * touch below its own; they trust it. All our machines are little-endian. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct wire {
	uint8_t *bytes, *at;
	size_t size;
};

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2 };

static inline size_t wire_length(const struct wire *wire)
{
	return (size_t)(wire->bytes + wire->size - wire->at);
}

static inline void wire_clear(struct wire *wire)
{
	wire->at = wire->bytes + wire->size;
}

static inline void wire_reserve(struct wire *wire, size_t room)
{
	size_t used = wire_length(wire);
	room += sizeof(uint64_t);
	if ((size_t)(wire->at - wire->bytes) >= room)
		return;
	size_t size = memory_grown(wire->size, used + room);
	uint8_t *bytes = memory_resize(NULL, size, 1);
	if (used)
		memcpy(bytes + size - used, wire->at, used);
	free(wire->bytes);
	*wire = (struct wire){bytes, bytes + size - used, size};
}

/* Up to eight bytes are stored at once, ending where they must: what is below is free. */
uint8_t *wire_put_long(uint8_t *at, uint64_t value);

/* Bits of four bytes that a number of two to four leaves free, by its leading zeros. */
static const uint8_t wire_shifts[32] = {[11 ... 17] = 8, [18 ... 24] = 16};

static inline uint8_t *put_varint(uint8_t *at, uint64_t value)
{
	if (value < 0x80) {
		*--at = (uint8_t)value;
		return at;
	}
	if (value >= 1 << 28)
		return wire_put_long(at, value);
	/* Seven bits in each byte, and the mark that more follow in all but the last. */
	uint32_t word = (uint32_t)value, shift = wire_shifts[__builtin_clz(word)];
	word = (word & 0x3fff) | (word & 0xfffc000) << 2;
	word = (word & 0x7f007f) | (word & 0x3f803f80) << 1;
	word = (word | 0x80808080 >> (shift + 8)) << shift;
	memcpy(at - sizeof(word), &word, sizeof(word));
	return at - sizeof(word) + shift / 8;
}

static inline uint8_t *put_tag(uint8_t *at, unsigned field, unsigned type)
{
	unsigned tag = field << 3 | type;
	if (tag >= 0x80)
		*--at = (uint8_t)(tag >> 7);
	*--at = (uint8_t)(tag >= 0x80 ? tag | 0x80 : tag);
	return at;
}

static inline uint8_t *put_number(uint8_t *at, unsigned field, uint64_t value)
{
	return value ? put_tag(put_varint(at, value), field, WIRE_VARINT) : at;
}

static inline uint8_t *put_fixed64(uint8_t *at, unsigned field, uint64_t value)
{
	if (!value)
		return at;
	at -= sizeof(value);
	memcpy(at, &value, sizeof(value));
	return put_tag(at, field, WIRE_FIXED64);
}

static inline uint8_t *put_double(uint8_t *at, unsigned field, double value)
{
	uint64_t bits;
	memcpy(&bits, &value, sizeof(bits));
	return put_fixed64(at, field, value != 0 ? bits : 0);
}

static inline uint8_t *put_raw(uint8_t *at, const void *bytes, size_t length)
{
	return memcpy(at - length, bytes, length);
}

/* What lies between at and end becomes the field's message, text or packed numbers. */
static inline uint8_t *put_message(uint8_t *at, unsigned field, const uint8_t *end)
{
	return put_tag(put_varint(at, (uint64_t)(end - at)), field, WIRE_BYTES);
}

static inline uint8_t *put_text(uint8_t *at, unsigned field, const char *text, size_t length)
{
	return length ? put_message(put_raw(at, text, length), field, at) : at;
}
