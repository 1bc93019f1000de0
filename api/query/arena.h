/* The memory of one message, an answer or a record: taken in pieces, given back all at once. A
 * block is kept for the next one. Bounded by what the message may hold (an answer by the limits of
 * its request). One thread. */
#pragma once

#include <stddef.h>
#include <protobuf-c/protobuf-c.h>

struct arena_block;

/* {0} is an empty one. */
struct arena {
	struct arena_block *blocks;
};

void *arena_take(struct arena *arena, size_t count, size_t size); /* zeroed */
char *arena_text(struct arena *arena, const char *text);
char *arena_format(struct arena *arena, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* For unpacking: freeing does nothing. Lent, as long as arena. */
ProtobufCAllocator arena_allocator(struct arena *arena);
void arena_clear(struct arena *arena);
void arena_done(struct arena *arena);
