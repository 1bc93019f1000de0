/* The chunked transfer coding (RFC 9112, 7.1), decoded strictly: Debian 12's http_parser is built
 * without its strict checks and would take a bare LF here. A size has at most 7 digits, extensions
 * and trailers are read over within CHUNK_LINE_MAX bytes each. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	CHUNK_LINE_MAX = 256,	 /* nobody we know sends extensions; a signature fits */
	CHUNK_TRAILERS_MAX = 16, /* lines */
};

enum chunk_state {
	CHUNK_SIZE,
	CHUNK_EXTENSION,
	CHUNK_SIZE_LF,
	CHUNK_BODY,
	CHUNK_BODY_CR,
	CHUNK_BODY_LF,
	CHUNK_TRAILER,
	CHUNK_TRAILER_LF,
	CHUNK_END,
};

struct chunk {
	enum chunk_state state;
	uint32_t remaining;
	unsigned digits, line, trailers;
};

/* Takes some of `bytes`, setting *used; a run of body found in them is *body, *body_size. Call
 * until all is used or the state is CHUNK_END. False: malformed. */
bool chunk_next(struct chunk *chunk, const uint8_t *bytes, size_t size, size_t *used,
		const uint8_t **body, size_t *body_size);
