/* Memory of one record: taken piece by piece from a block that is made once, given back all at
 * once; the newest piece can be cut to what it needs. Past its end it gives NULL, which protobuf-c
 * takes for a failed allocation. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

struct decode_arena {
	uint8_t *block;
	size_t size, used;
	bool exhausted;
	ProtobufCAllocator allocator;
};

void decode_arena_init(struct decode_arena *arena, size_t size);
void decode_arena_done(struct decode_arena *arena);
void decode_arena_clear(struct decode_arena *arena);

enum { DECODE_ARENA_ALIGNMENT = 16 };

static inline void *decode_arena_take(struct decode_arena *arena, size_t size)
{
	size_t left = arena->size - arena->used;
	if (size > left || left - size < DECODE_ARENA_ALIGNMENT) {
		arena->exhausted = true;
		return NULL;
	}
	void *piece = arena->block + arena->used;
	arena->used += (size + DECODE_ARENA_ALIGNMENT - 1) & ~(size_t)(DECODE_ARENA_ALIGNMENT - 1);
	return piece;
}

/* Of the newest piece all but the first `size` bytes are free again. */
static inline void decode_arena_cut(struct decode_arena *arena, const void *piece, size_t size)
{
	size_t end = (size_t)((const uint8_t *)piece - arena->block) + size;
	arena->used = (end + DECODE_ARENA_ALIGNMENT - 1) & ~(size_t)(DECODE_ARENA_ALIGNMENT - 1);
}
