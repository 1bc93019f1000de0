#include "aggregate/part.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { SLOTS_MIN = 64, LINE = 64 };

static void slots_init(struct parts *parts, uint32_t count)
{
	parts->slots = memory_zeroed(count, sizeof(*parts->slots));
	parts->slots_count = count;
	parts->shift = 32 - (uint32_t)__builtin_ctz(count);
}

void parts_init(struct parts *parts, uint32_t parts_max)
{
	*parts = (struct parts){.parts_max = parts_max, .used = 1};
	parts->memory = memory_zeroed((size_t)parts_max + 2, sizeof(*parts->rows));
	parts->rows = (struct part *)(((uintptr_t)parts->memory + LINE - 1) & ~(uintptr_t)(LINE - 1));
	slots_init(parts, SLOTS_MIN);
}

void parts_done(struct parts *parts)
{
	free(parts->memory);
	free(parts->slots);
}

static void slots_put(struct parts *parts, uint64_t slot)
{
	uint32_t at = parts_home(parts, (uint32_t)(slot >> 32));
	while (parts->slots[at])
		at = (at + 1) & (parts->slots_count - 1);
	parts->slots[at] = slot;
}

static void slots_grow(struct parts *parts)
{
	uint64_t *slots = parts->slots;
	uint32_t count = parts->slots_count;
	slots_init(parts, 2 * count);
	for (uint32_t at = 0; at < count; at++)
		if (slots[at])
			slots_put(parts, slots[at]);
	free(slots);
}

static uint32_t part_tag(const struct part *part)
{
	return part->edge * EDGE_TAG + part->hot.key;
}

static void slots_take(struct parts *parts, uint64_t slot)
{
	uint32_t mask = parts->slots_count - 1;
	uint32_t hole = parts_home(parts, (uint32_t)(slot >> 32));
	while (parts->slots[hole] != slot)
		hole = (hole + 1) & mask;
	for (uint32_t at = (hole + 1) & mask; parts->slots[at]; at = (at + 1) & mask) {
		uint32_t home = parts_home(parts, (uint32_t)(parts->slots[at] >> 32));
		if (((at - home) & mask) < ((at - hole) & mask))
			continue; /* the hole lies before its home */
		parts->slots[hole] = parts->slots[at];
		hole = at;
	}
	parts->slots[hole] = 0;
}

uint32_t parts_find(const struct parts *parts, uint32_t tag, uint32_t key)
{
	uint32_t at = parts_home(parts, tag);
	for (uint64_t slot; (slot = parts->slots[at]) != 0;
	     at = (at + 1) & (parts->slots_count - 1))
		if (slot >> 32 == tag && parts->rows[(uint32_t)slot].hot.key == key)
			return (uint32_t)slot;
	return 0;
}

uint32_t parts_add(struct parts *parts, uint32_t tag, uint32_t edge, uint32_t instance,
		   enum side side)
{
	assert(parts->count < parts->parts_max);
	if (2 * (parts->count + 1) > parts->slots_count)
		slots_grow(parts);
	uint32_t row = parts->vacant;
	if (row)
		parts->vacant = parts->rows[row].next;
	else
		row = parts->used++;
	struct part *part = &parts->rows[row];
	*part = (struct part){
		.hot = {.key = part_key(instance, side)},
		.edge = edge,
		.instance = instance & 0xfffffff,
		.side = side & 1,
	};
	assert(part->instance == instance && part_tag(part) == tag);
	slots_put(parts, (uint64_t)tag << 32 | row);
	parts->count++;
	return row;
}

void parts_remove(struct parts *parts, uint32_t row)
{
	struct part *part = &parts->rows[row];
	slots_take(parts, (uint64_t)part_tag(part) << 32 | row);
	*part = (struct part){.next = parts->vacant};
	parts->vacant = row;
	parts->count--;
}
