#include "aggregate/part.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { SLOTS_MIN = 64, LINE = 64 };

static void slots_init(struct parts *parts, uint32_t count)
{
	parts->slots = memory_zeroed(count, sizeof(*parts->slots));
	parts->slots_mask = count - 1;
	parts->shift = 64 - (uint32_t)__builtin_ctz(count);
}

void parts_init(struct parts *parts, uint32_t parts_max)
{
	assert(parts_max < TOLD_MAX);
	*parts = (struct parts){.parts_max = parts_max, .used = 1};
	parts->memory = memory_zeroed((size_t)parts_max + 2, sizeof(*parts->rows));
	parts->rows =
		(struct part *)(((uintptr_t)parts->memory + LINE - 1) & ~(uintptr_t)(LINE - 1));
	slots_init(parts, SLOTS_MIN);
}

void parts_done(struct parts *parts)
{
	memory_free(parts->memory);
	memory_free(parts->slots);
}

static void slots_put(struct parts *parts, struct part_slot slot)
{
	uint32_t at = parts_home(parts, slot.key);
	while (parts->slots[at].key)
		at = (at + 1) & parts->slots_mask;
	parts->slots[at] = slot;
}

static void slots_grow(struct parts *parts)
{
	struct part_slot *slots = parts->slots;
	uint32_t count = parts->slots_mask + 1;
	slots_init(parts, 2 * count);
	for (uint32_t at = 0; at < count; at++)
		if (slots[at].key)
			slots_put(parts, slots[at]);
	memory_free(slots);
}

static void slots_take(struct parts *parts, uint64_t key)
{
	struct part_slot *slots = parts->slots;
	uint32_t mask = parts->slots_mask, hole = parts_home(parts, key);
	while (slots[hole].key != key)
		hole = (hole + 1) & mask;
	for (uint32_t at = (hole + 1) & mask; slots[at].key; at = (at + 1) & mask) {
		uint32_t home = parts_home(parts, slots[at].key);
		if (((at - home) & mask) < ((at - hole) & mask))
			continue; /* the hole lies before its home */
		slots[hole] = slots[at];
		hole = at;
	}
	slots[hole] = (struct part_slot){0};
}

uint32_t parts_add(struct parts *parts, uint32_t edge, uint32_t member, enum scope scope)
{
	assert(parts->count < parts->parts_max && member <= PART_INSTANCES_MAX);
	if (2 * (parts->count + 1) > parts->slots_mask)
		slots_grow(parts);
	uint32_t row = parts->vacant;
	if (row)
		parts->vacant = parts->rows[row].next;
	else
		row = parts->used++;
	parts->rows[row] =
		(struct part){.hot = {.edge = edge}, .member = member, .scope = scope & 3};
	slots_put(parts, (struct part_slot){part_key(edge, member, scope), row, 0});
	parts->count++;
	return row;
}

void parts_remove(struct parts *parts, uint32_t row)
{
	struct part *part = &parts->rows[row];
	slots_take(parts, part_key(part->hot.edge, part->member, part->scope));
	*part = (struct part){.next = parts->vacant};
	parts->vacant = row;
	parts->count--;
}
