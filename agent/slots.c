#include "agent/slots.h"

#include <assert.h>
#include <stdlib.h>

#include "agent/index.h"
#include "base/memory.h"

struct slots {
	struct slot *slots;
	struct index index;
	uint32_t *free;	 /* a stack; numbers not yet used come from high */
	uint32_t *ended; /* free from the next batch on */
	uint32_t free_count, ended_count;
	uint32_t high, max;
	uint64_t refused;
};

struct slots *slots_new(uint32_t slots_max)
{
	struct slots *slots = memory_zeroed(1, sizeof(*slots));
	slots->slots = memory_zeroed(slots_max, sizeof(*slots->slots));
	slots->free = memory_zeroed(slots_max, sizeof(*slots->free));
	slots->ended = memory_zeroed(slots_max, sizeof(*slots->ended));
	slots->max = slots_max;
	index_init(&slots->index, slots_max);
	return slots;
}

void slots_free(struct slots *slots)
{
	if (!slots)
		return;
	index_done(&slots->index);
	free(slots->slots);
	free(slots->free);
	free(slots->ended);
	free(slots);
}

struct slot *slots_get(struct slots *slots, uint64_t cookie)
{
	uint32_t number = index_get(&slots->index, cookie);
	return number == INDEX_NONE ? NULL : &slots->slots[number];
}

struct slot *slots_add(struct slots *slots, uint64_t cookie)
{
	assert(cookie);
	uint32_t number;
	if (slots->free_count) {
		number = slots->free[--slots->free_count];
	} else if (slots->high < slots->max) {
		number = slots->high++;
	} else {
		slots->refused++;
		return NULL;
	}
	struct slot *slot = &slots->slots[number];
	*slot = (struct slot){.cookie = cookie, .generation = slot->generation + 1};
	index_put(&slots->index, cookie, number);
	return slot;
}

void slots_end(struct slots *slots, struct slot *slot)
{
	index_remove(&slots->index, slot->cookie);
	slot->cookie = 0;
	slots->ended[slots->ended_count++] = slots_number(slots, slot);
}

void slots_release(struct slots *slots)
{
	while (slots->ended_count)
		slots->free[slots->free_count++] = slots->ended[--slots->ended_count];
}

uint32_t slots_number(const struct slots *slots, const struct slot *slot)
{
	return (uint32_t)(slot - slots->slots);
}

uint32_t slots_high(const struct slots *slots)
{
	return slots->high;
}

struct slot *slots_at(struct slots *slots, uint32_t number)
{
	return slots->slots[number].cookie ? &slots->slots[number] : NULL;
}

struct slots_stats slots_stats(const struct slots *slots)
{
	return (struct slots_stats){.live = slots->index.count, .refused = slots->refused};
}
