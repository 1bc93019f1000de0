#include "anomaly/map.h"

#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/memory.h"

/* Where key is, or the free slot where it would go. */
static size_t map_find(const struct map *map, uint64_t key)
{
	size_t mask = map->capacity - 1, at = hash_mix(key) & mask;
	while (map->slots[at].key != 0 && map->slots[at].key != key)
		at = (at + 1) & mask;
	return at;
}

void *map_get(const struct map *map, uint64_t key)
{
	if (map->count == 0)
		return NULL;
	size_t at = map_find(map, key);
	return map->slots[at].key ? map->slots[at].value : NULL;
}

static void map_double(struct map *map)
{
	struct map old = *map;
	map->capacity = old.capacity ? 2 * old.capacity : 64;
	map->slots = memory_zeroed(map->capacity, sizeof(*map->slots));
	for (size_t i = 0; i < old.capacity; i++)
		if (old.slots[i].key)
			map->slots[map_find(map, old.slots[i].key)] = old.slots[i];
	memory_free(old.slots);
}

void map_put(struct map *map, uint64_t key, void *value)
{
	assert(key != 0);
	if (2 * (map->count + 1) > map->capacity)
		map_double(map);
	size_t at = map_find(map, key);
	map->count += map->slots[at].key == 0;
	map->slots[at] = (struct map_slot){.key = key, .value = value};
}

/* Those behind it that would not be found any more take its place in turn. */
void map_remove(struct map *map, uint64_t key)
{
	if (!map_get(map, key))
		return;
	size_t mask = map->capacity - 1, hole = map_find(map, key);
	for (size_t at = (hole + 1) & mask; map->slots[at].key; at = (at + 1) & mask) {
		size_t home = hash_mix(map->slots[at].key) & mask;
		if (((at - home) & mask) < ((at - hole) & mask))
			continue;
		map->slots[hole] = map->slots[at];
		hole = at;
	}
	map->slots[hole] = (struct map_slot){0};
	map->count--;
}

void map_done(struct map *map)
{
	memory_free(map->slots);
	*map = (struct map){0};
}
