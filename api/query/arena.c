#include "api/query/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { BLOCK_BYTES = 256 * 1024 };

struct arena_block {
	struct arena_block *next;
	size_t size, used;
	_Alignas(16) uint8_t bytes[];
};

static void *take_bytes(struct arena *arena, size_t size)
{
	struct arena_block *block = arena->blocks;

	size = (size + 15) & ~(size_t)15;
	if (!block || block->size - block->used < size) {
		size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;

		block = memory_zeroed(1, sizeof(*block) + room);
		block->size = room;
		block->next = arena->blocks;
		arena->blocks = block;
	}

	void *memory = block->bytes + block->used;

	block->used += size;
	return memory;
}

void *arena_take(struct arena *arena, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes))
		abort();
	return memset(take_bytes(arena, bytes), 0, bytes);
}

char *arena_text(struct arena *arena, const char *text)
{
	size_t length = strlen(text) + 1;

	return memcpy(take_bytes(arena, length), text, length);
}

char *arena_format(struct arena *arena, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(NULL, 0, format, arguments);
	va_end(arguments);

	char *text = arena_take(arena, (size_t)length + 1, 1);

	va_start(arguments, format);
	vsnprintf(text, (size_t)length + 1, format, arguments);
	va_end(arguments);
	return text;
}

static void *allocate(void *context, size_t size)
{
	return take_bytes(context, size);
}

static void release(void *context, void *memory)
{
	(void)context;
	(void)memory;
}

ProtobufCAllocator arena_allocator(struct arena *arena)
{
	return (ProtobufCAllocator){allocate, release, arena};
}

/* Keeps one block of the usual size. */
void arena_clear(struct arena *arena)
{
	struct arena_block *kept = NULL;

	for (struct arena_block *block = arena->blocks, *next; block; block = next) {
		next = block->next;
		if (!kept && block->size == BLOCK_BYTES) {
			kept = block;
			kept->used = 0;
		} else {
			free(block);
		}
	}
	if (kept)
		kept->next = NULL;
	arena->blocks = kept;
}

void arena_done(struct arena *arena)
{
	arena_clear(arena);
	free(arena->blocks);
	arena->blocks = NULL;
}
