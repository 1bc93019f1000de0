#include "ingest/linger.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/memory.h"

void lingers_done(struct lingers *lingers)
{
	memory_free(lingers->items);
	memory_free(lingers->buckets);
}

static uint32_t *bucket_of(const struct lingers *lingers, uint32_t half, uint16_t generation)
{
	uint64_t hash = hash_mix((uint64_t)half << 16 | generation);
	return &lingers->buckets[hash & (lingers->buckets_count - 1)];
}

static void bucket_add(struct lingers *lingers, uint32_t place)
{
	struct linger *linger = &lingers->items[place];
	uint32_t *bucket = bucket_of(lingers, linger->half, linger->generation);
	linger->next = *bucket;
	*bucket = place + 1;
}

static void buckets_grow(struct lingers *lingers)
{
	memory_free(lingers->buckets);
	lingers->buckets_count = lingers->buckets_count ? 2 * lingers->buckets_count : 64;
	lingers->buckets = memory_zeroed(lingers->buckets_count, sizeof(*lingers->buckets));
	for (uint32_t i = 0; i < lingers->used; i++)
		if (lingers->items[i].live)
			bucket_add(lingers, i);
}

static uint32_t place_take(struct lingers *lingers)
{
	if (lingers->free) {
		uint32_t place = lingers->free - 1;
		lingers->free = lingers->items[place].next;
		return place;
	}
	if (lingers->used == lingers->capacity) {
		lingers->capacity = (uint32_t)memory_grown(lingers->capacity, lingers->used + 1);
		lingers->items =
			memory_resize(lingers->items, lingers->capacity, sizeof(*lingers->items));
	}
	return lingers->used++;
}

uint32_t lingers_add(struct lingers *lingers, uint32_t half, uint16_t generation)
{
	if (lingers->count == lingers->buckets_count)
		buckets_grow(lingers);
	uint32_t place = place_take(lingers);
	struct linger *linger = &lingers->items[place];
	*linger = (struct linger){
		.half = half, .generation = generation, .live = true, .earlier = lingers->last};
	*(linger->earlier ? &lingers->items[linger->earlier - 1].later : &lingers->first) =
		place + 1;
	lingers->last = place + 1;
	lingers->count++;
	bucket_add(lingers, place);
	return place;
}

struct linger *lingers_find(const struct lingers *lingers, uint32_t half, uint16_t generation)
{
	if (!lingers->count)
		return NULL;
	for (uint32_t next = *bucket_of(lingers, half, generation); next;) {
		struct linger *linger = &lingers->items[next - 1];
		if (linger->half == half && linger->generation == generation)
			return linger;
		next = linger->next;
	}
	return NULL;
}

void lingers_give(struct lingers *lingers, uint32_t place)
{
	struct linger *linger = &lingers->items[place];
	uint32_t *link = bucket_of(lingers, linger->half, linger->generation);
	while (*link != place + 1)
		link = &lingers->items[*link - 1].next;
	*link = linger->next;
	*(linger->earlier ? &lingers->items[linger->earlier - 1].later : &lingers->first) =
		linger->later;
	*(linger->later ? &lingers->items[linger->later - 1].earlier : &lingers->last) =
		linger->earlier;
	linger->live = false;
	linger->next = lingers->free;
	lingers->free = place + 1;
	lingers->count--;
}
