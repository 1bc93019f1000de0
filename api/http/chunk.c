#include "api/http/chunk.h"

#include <ctype.h>

static bool size_digit(struct chunk *chunk, uint8_t byte)
{
	int value = byte <= '9' ? byte - '0' : (byte | 0x20) - 'a' + 10;
	chunk->remaining = chunk->remaining << 4 | (uint32_t)value;
	return ++chunk->digits <= 7;
}

static bool size_line(struct chunk *chunk, uint8_t byte)
{
	if (chunk->state == CHUNK_SIZE && isxdigit(byte))
		return size_digit(chunk, byte);
	if (!chunk->digits)
		return false;
	if (byte == '\r') {
		chunk->state = CHUNK_SIZE_LF;
		return true;
	}
	if (chunk->state == CHUNK_SIZE && byte != ';')
		return false;
	chunk->state = CHUNK_EXTENSION;
	return (byte == '\t' || (byte >= 0x20 && byte != 0x7f)) && ++chunk->line <= CHUNK_LINE_MAX;
}

static bool size_end(struct chunk *chunk, uint8_t byte)
{
	chunk->state = chunk->remaining ? CHUNK_BODY : CHUNK_TRAILER;
	chunk->digits = 0;
	chunk->line = 0;
	return byte == '\n';
}

static bool trailer(struct chunk *chunk, uint8_t byte)
{
	if (byte == '\r') {
		chunk->state = CHUNK_TRAILER_LF;
		return true;
	}
	return (byte == '\t' || (byte >= 0x20 && byte != 0x7f)) && ++chunk->line <= CHUNK_LINE_MAX;
}

static bool trailer_end(struct chunk *chunk, uint8_t byte)
{
	chunk->state = chunk->line ? CHUNK_TRAILER : CHUNK_END;
	chunk->line = 0;
	return byte == '\n' && ++chunk->trailers <= CHUNK_TRAILERS_MAX;
}

static bool step(struct chunk *chunk, uint8_t byte)
{
	switch (chunk->state) {
	case CHUNK_SIZE:
	case CHUNK_EXTENSION:
		return size_line(chunk, byte);
	case CHUNK_SIZE_LF:
		return size_end(chunk, byte);
	case CHUNK_BODY_CR:
		chunk->state = CHUNK_BODY_LF;
		return byte == '\r';
	case CHUNK_BODY_LF:
		chunk->state = CHUNK_SIZE;
		return byte == '\n';
	case CHUNK_TRAILER:
		return trailer(chunk, byte);
	case CHUNK_TRAILER_LF:
		return trailer_end(chunk, byte);
	case CHUNK_BODY:
	case CHUNK_END:
		break;
	}
	return false;
}

bool chunk_next(struct chunk *chunk, const uint8_t *bytes, size_t size, size_t *used,
		const uint8_t **body, size_t *body_size)
{
	size_t at = 0;
	*body_size = 0;
	*body = bytes;
	while (at < size && chunk->state != CHUNK_END && chunk->state != CHUNK_BODY)
		if (!step(chunk, bytes[at++]))
			return false;
	if (chunk->state == CHUNK_BODY) {
		size_t left = size - at;
		*body = bytes + at;
		*body_size = left < chunk->remaining ? left : chunk->remaining;
		chunk->remaining -= (uint32_t)*body_size;
		at += *body_size;
		if (!chunk->remaining)
			chunk->state = CHUNK_BODY_CR;
	}
	*used = at;
	return true;
}
