#include "ingest/decode_arena.h"

#include <stdlib.h>

#include "base/memory.h"

enum { ARENA_ALIGNMENT = 16 };

static void *decode_arena_take(void *context, size_t size)
{
	struct decode_arena *arena = context;
	size_t left = arena->size - arena->used;
	if (size > left || left - size < ARENA_ALIGNMENT) {
		arena->exhausted = true;
		return NULL;
	}
	void *piece = arena->block + arena->used;
	arena->used += (size + ARENA_ALIGNMENT - 1) & ~(size_t)(ARENA_ALIGNMENT - 1);
	return piece;
}

static void decode_arena_give(void *context, void *piece)
{
	(void)context;
	(void)piece;
}

void decode_arena_init(struct decode_arena *arena, size_t size)
{
	*arena = (struct decode_arena){
		.block = memory_zeroed(size, 1),
		.size = size,
		.allocator = {.alloc = decode_arena_take,
			      .free = decode_arena_give,
			      .allocator_data = arena},
	};
}

void decode_arena_done(struct decode_arena *arena)
{
	free(arena->block);
}

void decode_arena_clear(struct decode_arena *arena)
{
	arena->used = 0;
	arena->exhausted = false;
}
