#include <stdlib.h>

#include "base/memory.h"
#include "bench/fleet/state.h"

void wheel_init(struct wheel *wheel)
{
	*wheel = (struct wheel){.free = NOBODY};
	for (int i = 0; i < WHEEL_TICKS; i++)
		wheel->buckets[i] = (struct bucket){NOBODY, NOBODY};
}

void wheel_done(struct wheel *wheel)
{
	free(wheel->chunks);
}

static uint32_t take_chunk(struct wheel *wheel)
{
	uint32_t index = wheel->free;

	if (index != NOBODY) {
		wheel->free = wheel->chunks[index].next;
	} else {
		if (wheel->count == wheel->max) {
			wheel->max = (uint32_t)memory_grown(wheel->max, wheel->count + 1);
			wheel->chunks =
				memory_resize(wheel->chunks, wheel->max, sizeof(*wheel->chunks));
		}
		index = wheel->count++;
	}
	wheel->chunks[index].next = NOBODY;
	wheel->chunks[index].count = 0;
	return index;
}

void wheel_put(struct wheel *wheel, uint32_t tick, uint32_t item)
{
	struct bucket *bucket = &wheel->buckets[tick % WHEEL_TICKS];
	struct chunk *chunk;

	if (bucket->last == NOBODY) {
		bucket->first = bucket->last = take_chunk(wheel);
	} else if (wheel->chunks[bucket->last].count == CHUNK_ITEMS) {
		uint32_t fresh = take_chunk(wheel);

		wheel->chunks[bucket->last].next = fresh;
		bucket->last = fresh;
	}
	chunk = &wheel->chunks[bucket->last];
	chunk->items[chunk->count++] = item;
}

/* Each may put items, so chunks may move. */
void wheel_take(struct wheel *wheel, uint32_t tick, struct fleet *fleet,
		void (*each)(struct fleet *fleet, uint32_t item))
{
	enum { AHEAD = 8 };
	struct bucket *bucket = &wheel->buckets[tick % WHEEL_TICKS];
	uint32_t index = bucket->first;

	*bucket = (struct bucket){NOBODY, NOBODY};
	while (index != NOBODY) {
		uint32_t count = wheel->chunks[index].count;
		uint32_t next = wheel->chunks[index].next;

		for (uint32_t i = 0; i < count; i++) {
			const struct chunk *chunk = &wheel->chunks[index];

			if (i + AHEAD < count)
				__builtin_prefetch(&fleet->flows[chunk->items[i + AHEAD]], 1);
			each(fleet, chunk->items[i]);
		}
		wheel->chunks[index].next = wheel->free;
		wheel->free = index;
		index = next;
	}
}
