/* Protobuf's wire format, as far as a Batch needs it: varints, lengths and packed columns written
 * into memory that the caller has made large enough. A length-delimited field is written behind
 * room for the longest length and moved up when its length is known. Plain functions, any thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
	WIRE_VARINT = 0,
	WIRE_FIXED64 = 1,
	WIRE_LENGTH = 2,
	WIRE_FIXED32 = 5,
	WIRE_VARINT_MAX = 10,
	WIRE_LENGTH_MAX = 5, /* a varint of 32 bits */
};

static inline size_t wire_varint_size(uint64_t value)
{
	return (size_t)(70 - __builtin_clzll(value | 1)) / 7;
}

static inline uint8_t *wire_varint(uint8_t *at, uint64_t value)
{
	while (value >= 0x80) {
		*at++ = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	*at++ = (uint8_t)value;
	return at;
}

static inline uint64_t wire_zigzag(int64_t value)
{
	return (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
}

static inline uint8_t *wire_tag(uint8_t *at, uint32_t field, uint32_t type)
{
	return wire_varint(at, field << 3 | type);
}

/* proto3: a field that has its default value is not written. */
static inline uint8_t *wire_uint(uint8_t *at, uint32_t field, uint64_t value)
{
	return value ? wire_varint(wire_tag(at, field, WIRE_VARINT), value) : at;
}

static inline uint8_t *wire_fixed64(uint8_t *at, uint32_t field, uint64_t value)
{
	if (value == 0)
		return at;
	at = wire_tag(at, field, WIRE_FIXED64);
	for (int i = 0; i < 8; i++)
		*at++ = (uint8_t)(value >> (8 * i));
	return at;
}

static inline uint8_t *wire_element(uint8_t *at, uint32_t field, const void *bytes, size_t length)
{
	at = wire_varint(wire_tag(at, field, WIRE_LENGTH), length);
	memcpy(at, bytes, length);
	return at + length;
}

static inline uint8_t *wire_bytes(uint8_t *at, uint32_t field, const void *bytes, size_t length)
{
	return length ? wire_element(at, field, bytes, length) : at;
}

/* A field whose length is not known yet: begin, write its content from wire_content(mark) on, end.
 */
static inline uint8_t *wire_content(uint8_t *mark)
{
	return mark + WIRE_LENGTH_MAX;
}

static inline uint8_t *wire_end(uint8_t *mark, const uint8_t *end)
{
	size_t length = (size_t)(end - wire_content(mark));
	uint8_t *at = wire_varint(mark, length);
	memmove(at, wire_content(mark), length);
	return at + length;
}
