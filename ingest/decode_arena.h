/* Memory of one record: taken piece by piece from a block that is made once, given back all at
 * once. Past its end it gives NULL, which protobuf-c takes for a failed allocation. One thread. */
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
