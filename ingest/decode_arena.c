#include "ingest/decode_arena.h"

#include <stdlib.h>

#include "base/memory.h"

static void *decode_arena_allocate(void *context, size_t size)
{
	return decode_arena_take(context, size);
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
		.allocator = {.alloc = decode_arena_allocate,
			      .free = decode_arena_give,
			      .allocator_data = arena},
	};
}

void decode_arena_done(struct decode_arena *arena)
{
	memory_free(arena->block);
}

void decode_arena_clear(struct decode_arena *arena)
{
	arena->used = 0;
	arena->exhausted = false;
}
