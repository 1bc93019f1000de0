/* Protobuf's wire format read field by field, without copying or allocating: who reads a message
 * opens a cursor over its bytes, takes its fields one after another and opens a cursor over those
 * that are messages themselves. So the depth is that of the reader's code. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kube_field {
	uint32_t number, type;
	uint64_t value;	      /* of a varint */
	const uint8_t *bytes; /* of a length-delimited field; of others none: length is 0 */
	size_t length;
};

struct kube_cursor {
	const uint8_t *at, *end;
	bool broken; /* no more fields: what follows is not protobuf */
};

enum { KUBE_VARINT_MAX = 10 };

static inline struct kube_cursor kube_cursor_of(const uint8_t *bytes, size_t length)
{
	return (struct kube_cursor){.at = bytes, .end = bytes + length};
}

/* Into the message that a field holds. */
static inline struct kube_cursor kube_cursor_into(const struct kube_field *field)
{
	return kube_cursor_of(field->bytes, field->length);
}

/* An int32, which is written as an int64. */
static inline int32_t kube_field_int(const struct kube_field *field)
{
	return (int32_t)(uint32_t)field->value;
}

/* The bytes that the varint at `bytes` takes; 0: it goes on behind them; -1: it is none. */
int kube_varint(const uint8_t *bytes, size_t length, uint64_t *value);

/* False at the end, and where what follows is no field: then the cursor is broken. */
bool kube_field_next(struct kube_cursor *cursor, struct kube_field *field);

/* Bytes of a text for people and records: UTF-8 without control characters, each of which becomes
 * '?', at most `max` and a NUL, cut at a character. Returns how many there are: fewer than `length`
 * if it was cut. */
size_t kube_text(const uint8_t *bytes, size_t length, char *text, size_t max);
