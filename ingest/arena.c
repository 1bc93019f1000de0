#include "ingest/arena.h"

#include <stdlib.h>

#include "base/memory.h"

enum { ARENA_ALIGNMENT = 16 };

static void *arena_take(void *context, size_t size)
{
	struct arena *arena = context;
	size_t left = arena->size - arena->used;
	if (size > left || left - size < ARENA_ALIGNMENT) {
		arena->exhausted = true;
		return NULL;
	}
	void *piece = arena->block + arena->used;
	arena->used += (size + ARENA_ALIGNMENT - 1) & ~(size_t)(ARENA_ALIGNMENT - 1);
	return piece;
}

static void arena_give(void *context, void *piece)
{
	(void)context;
	(void)piece;
}

void arena_init(struct arena *arena, size_t size)
{
	*arena = (struct arena){
		.block = memory_zeroed(size, 1),
		.size = size,
		.allocator = {.alloc = arena_take, .free = arena_give, .allocator_data = arena},
	};
}

void arena_done(struct arena *arena)
{
	free(arena->block);
}

void arena_clear(struct arena *arena)
{
	arena->used = 0;
	arena->exhausted = false;
}
