/* Memory of one record: taken piece by piece from a block that is made once, given back all at
 * once. Past its end it gives NULL, which protobuf-c takes for a failed allocation. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

struct arena {
	uint8_t *block;
	size_t size, used;
	bool exhausted;
	ProtobufCAllocator allocator;
};

void arena_init(struct arena *arena, size_t size);
void arena_done(struct arena *arena);
void arena_clear(struct arena *arena);
