#include "anomaly/seen.h"

#include <stddef.h>

#include "base/memory.h"
#include "base/table.h"

enum { EVICT_LOOKS = 64 };

struct entry {
	uint64_t id, first_ns, last_ns;
};

struct seen_edges {
	struct table edges;
	uint32_t max, hand;
	uint64_t evicted;
};

struct seen_edges *seen_edges_new(uint32_t max)
{
	struct seen_edges *seen = memory_zeroed(1, sizeof(*seen));
	seen->max = max;
	table_init(&seen->edges, sizeof(uint64_t), sizeof(struct entry));
	return seen;
}

void seen_edges_free(struct seen_edges *seen)
{
	table_done(&seen->edges);
	memory_free(seen);
}

static void evict(struct seen_edges *seen)
{
	struct entry *oldest = NULL;
	for (uint32_t i = 0; i < EVICT_LOOKS && i < seen->edges.count; i++) {
		seen->hand = (seen->hand + 1) % seen->edges.count;
		struct entry *entry = table_at(&seen->edges, seen->hand);
		if (!oldest || entry->last_ns < oldest->last_ns)
			oldest = entry;
	}
	table_remove(&seen->edges, oldest);
	seen->evicted++;
}

void seen_edges_put(struct seen_edges *seen, uint64_t id, uint64_t first_ns, uint64_t last_ns)
{
	struct entry *entry = table_find(&seen->edges, &id);
	if (!entry && seen->edges.count == seen->max)
		evict(seen);
	if (!entry)
		entry = table_put(&seen->edges, &id);
	entry->first_ns = first_ns;
	entry->last_ns = last_ns;
}

bool seen_edges_first(const struct seen_edges *seen, uint64_t id, uint64_t *first_ns)
{
	const struct entry *entry = table_find(&seen->edges, &id);
	if (entry)
		*first_ns = entry->first_ns;
	return entry != NULL;
}

uint64_t seen_edges_evicted(const struct seen_edges *seen)
{
	return seen->evicted;
}
