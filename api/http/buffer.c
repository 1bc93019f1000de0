#include "api/http/buffer.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void buffer_done(struct buffer *buffer)
{
	free(buffer->bytes);
	*buffer = (struct buffer){0};
}

void buffer_clear(struct buffer *buffer)
{
	buffer->head = 0;
	buffer->size = 0;
}

uint8_t *buffer_reserve(struct buffer *buffer, size_t size)
{
	if (buffer->head && buffer->size + size > buffer->room) {
		memmove(buffer->bytes, buffer->bytes + buffer->head, buffer_size(buffer));
		buffer->size -= buffer->head;
		buffer->head = 0;
	}
	if (buffer->size + size > buffer->room || !buffer->bytes) {
		size_t room = buffer->room ? buffer->room : 256;
		while (room < buffer->size + size)
			room *= 2;
		buffer->bytes = memory_resize(buffer->bytes, room, 1);
		buffer->room = room;
	}
	return buffer->bytes + buffer->size;
}

void buffer_grow(struct buffer *buffer, size_t size)
{
	assert(buffer->size + size <= buffer->room);
	buffer->size += size;
}

void buffer_append(struct buffer *buffer, const void *bytes, size_t size)
{
	if (!size)
		return;
	memcpy(buffer_reserve(buffer, size), bytes, size);
	buffer->size += size;
}

void buffer_text(struct buffer *buffer, const char *text)
{
	buffer_append(buffer, text, strlen(text));
}

void buffer_format(struct buffer *buffer, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	char *room = (char *)buffer_reserve(buffer, 128);
	int length = vsnprintf(room, 128, format, arguments);
	va_end(arguments);
	assert(length >= 0);
	if (length >= 128) {
		room = (char *)buffer_reserve(buffer, (size_t)length + 1);
		va_start(arguments, format);
		vsnprintf(room, (size_t)length + 1, format, arguments);
		va_end(arguments);
	}
	buffer->size += (size_t)length;
}

void buffer_consume(struct buffer *buffer, size_t size)
{
	assert(size <= buffer_size(buffer));
	buffer->head += size;
	if (buffer->head == buffer->size)
		buffer_clear(buffer);
}
