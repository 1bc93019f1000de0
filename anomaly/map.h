/* From an id (a hash already, never 0) to a pointer that the map does not own: open addressing,
 * linear probing, at most half full, so a look-up touches one cache line or two. Grows by doubling;
 * its user bounds what is put in. Nothing is ever read in its order. One thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct map_slot {
	uint64_t key; /* 0: free */
	void *value;
};

/* {0} is an empty one. */
struct map {
	struct map_slot *slots;
	size_t count, capacity; /* capacity: a power of two, or 0 */
};

void *map_get(const struct map *map, uint64_t key); /* NULL if there is none */
void map_put(struct map *map, uint64_t key, void *value);
void map_remove(struct map *map, uint64_t key); /* it may be missing */
void map_done(struct map *map);
