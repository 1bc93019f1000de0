/*
 * A growing run of bytes with a consumed front, for text being built and bytes waiting to be sent.
 *
 * It doubles as it grows and slides its content down when the front has been consumed; whoever
 * fills it holds it to a bound. Running out of memory ends the process. One thread at a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct buffer {
	uint8_t *bytes;
	size_t head; /* consumed so far */
	size_t size; /* end of the content */
	size_t room;
};

void buffer_done(struct buffer *buffer);
void buffer_clear(struct buffer *buffer);

/* Room for `size` more bytes; fill them, then say how many with buffer_grow. */
uint8_t *buffer_reserve(struct buffer *buffer, size_t size);
void buffer_grow(struct buffer *buffer, size_t size);

void buffer_append(struct buffer *buffer, const void *bytes, size_t size);
void buffer_text(struct buffer *buffer, const char *text);
void buffer_format(struct buffer *buffer, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Drops the first `size` bytes of the content. */
void buffer_consume(struct buffer *buffer, size_t size);

static inline size_t buffer_size(const struct buffer *buffer)
{
	return buffer->size - buffer->head;
}

/* The content; never NULL, even when empty. */
static inline const uint8_t *buffer_bytes(const struct buffer *buffer)
{
	return buffer->bytes ? buffer->bytes + buffer->head : (const uint8_t *)"";
}
