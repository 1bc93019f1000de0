#include "bench/world/slots.h"

#include <stdlib.h>

#include "base/memory.h"

uint32_t world_slots_take(struct slots *slots, uint32_t *generation)
{
	uint32_t slot;

	if (slots->free_count > 0) {
		slot = slots->freed[--slots->free_count];
		/* those ended in this batch move up behind the free ones */
		slots->freed[slots->free_count] =
			slots->freed[slots->free_count + slots->ended_count];
	} else {
		if (slots->count == slots->capacity) {
			slots->capacity = (uint32_t)memory_grown(slots->capacity, slots->count + 1);
			slots->generations = memory_resize(slots->generations, slots->capacity,
							   sizeof(*slots->generations));
			slots->freed =
				memory_resize(slots->freed, slots->capacity, sizeof(*slots->freed));
		}
		slot = slots->count++;
		slots->generations[slot] = 0;
	}
	*generation = ++slots->generations[slot];
	return slot;
}

void world_slots_end(struct slots *slots, uint32_t slot)
{
	slots->freed[slots->free_count + slots->ended_count++] = slot;
}

void world_slots_release(struct slots *slots)
{
	slots->free_count += slots->ended_count;
	slots->ended_count = 0;
}

void world_slots_done(struct slots *slots)
{
	free(slots->generations);
	free(slots->freed);
	*slots = (struct slots){0};
}
