/* Protobuf messages as an API server writes them, put together in memory for tests. */
#pragma once

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/batch/wire.h"

struct message {
	uint8_t *bytes;
	size_t length, capacity;
};

static inline void message_grow(struct message *message, size_t more)
{
	if (message->length + more <= message->capacity)
		return;
	message->capacity = 2 * (message->length + more);
	message->bytes = realloc(message->bytes, message->capacity);
	assert(message->bytes);
}

static inline void message_number(struct message *message, uint32_t field, uint64_t value)
{
	message_grow(message, 32);
	uint8_t *at = message->bytes + message->length;
	at = wire_varint(wire_tag(at, field, WIRE_VARINT), value);
	message->length = (size_t)(at - message->bytes);
}

static inline void message_bytes(struct message *message, uint32_t field, const void *bytes,
				 size_t length)
{
	message_grow(message, length + 32);
	uint8_t *at =
		wire_varint(wire_tag(message->bytes + message->length, field, WIRE_LENGTH), length);
	if (length)
		memcpy(at, bytes, length);
	message->length = (size_t)(at + length - message->bytes);
}

static inline void message_text(struct message *message, uint32_t field, const char *text)
{
	message_bytes(message, field, text, strlen(text));
}

/* The inner message is freed. */
static inline void message_put(struct message *message, uint32_t field, struct message inner)
{
	message_bytes(message, field, inner.bytes, inner.length);
	free(inner.bytes);
}

static inline struct message message_of_text(uint32_t field, const char *text)
{
	struct message message = {0};
	message_text(&message, field, text);
	return message;
}

static inline struct message message_pair(const char *key, const char *value)
{
	struct message message = message_of_text(1, key);
	message_text(&message, 2, value);
	return message;
}

static inline struct message message_time(uint64_t seconds)
{
	struct message message = {0};
	message_number(&message, 1, seconds);
	message_number(&message, 2, 0);
	return message;
}

/* ObjectMeta with what every object has. */
static inline struct message message_meta(const char *name, const char *uid, const char *version)
{
	struct message meta = message_of_text(1, name);
	message_text(&meta, 3, "shop");
	message_text(&meta, 5, uid);
	message_text(&meta, 6, version);
	message_put(&meta, 8, message_time(1700000000));
	return meta;
}

/* "k8s\0" Unknown: what goes over the wire. The inner message is freed. */
static inline struct message message_wrapped(struct message inner)
{
	struct message type = message_pair("v1", "List"), unknown = {0}, wrapped = {0};
	message_put(&unknown, 1, type);
	message_put(&unknown, 2, inner);
	message_text(&unknown, 3, "");
	message_text(&unknown, 4, "");
	message_grow(&wrapped, unknown.length + 4);
	memcpy(wrapped.bytes, "k8s", 4);
	memcpy(wrapped.bytes + 4, unknown.bytes, unknown.length);
	wrapped.length = unknown.length + 4;
	free(unknown.bytes);
	return wrapped;
}

/* A frame of a watch. The object is freed. */
static inline struct message message_frame(const char *type, struct message object)
{
	struct message wrapped = message_wrapped(object), raw = {0}, event, frame = {0};
	message_put(&raw, 1, wrapped);
	event = message_of_text(1, type);
	message_put(&event, 2, raw);
	message_grow(&frame, event.length + 4);
	for (int i = 0; i < 4; i++)
		frame.bytes[i] = (uint8_t)(event.length >> (24 - 8 * i));
	memcpy(frame.bytes + 4, event.bytes, event.length);
	frame.length = event.length + 4;
	free(event.bytes);
	return frame;
}
