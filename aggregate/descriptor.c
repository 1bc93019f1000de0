#include "aggregate/descriptor.h"

#include <stdlib.h>

#include "aggregate/row_index.h"
#include "base/memory.h"
#include "base/name.h"

enum kind { KIND_EDGE, KIND_LANE, KIND_INSTANCE };

/* In a ring by the last telling: entry 0 is its head, after it comes the oldest, before it the
 * newest. */
struct descriptor {
	uint64_t id;
	uint64_t told_pane;
	uint32_t newer, older;
	enum kind kind;
	union {
		struct edge edge;
		struct lane lane;
		struct instance instance;
	};
};

struct descriptors {
	struct descriptor *entries;
	uint32_t descriptors_max, count, used;
	uint32_t vacant; /* entries that left, linked by newer; 0: none */
	struct row_index index;
};

struct descriptors *descriptors_new(uint32_t descriptors_max)
{
	struct descriptors *descriptors = memory_zeroed(1, sizeof(*descriptors));
	descriptors->entries =
		memory_zeroed((size_t)descriptors_max + 1, sizeof(*descriptors->entries));
	descriptors->descriptors_max = descriptors_max;
	descriptors->used = 1;
	row_index_init(&descriptors->index, 0);
	return descriptors;
}

void descriptors_free(struct descriptors *descriptors)
{
	if (!descriptors)
		return;
	free(descriptors->entries);
	row_index_done(&descriptors->index);
	free(descriptors);
}

static void descriptor_unlink(struct descriptors *descriptors, uint32_t entry)
{
	struct descriptor *entries = descriptors->entries;
	entries[entries[entry].older].newer = entries[entry].newer;
	entries[entries[entry].newer].older = entries[entry].older;
}

static void descriptor_link_newest(struct descriptors *descriptors, uint32_t entry)
{
	struct descriptor *entries = descriptors->entries;
	entries[entry].newer = 0;
	entries[entry].older = entries[0].older;
	entries[entries[0].older].newer = entry;
	entries[0].older = entry;
}

static uint32_t descriptor_find(const struct descriptors *descriptors, enum kind kind, uint64_t id)
{
	uint64_t at = row_index_start(&descriptors->index, id);
	uint32_t entry;
	while ((entry = row_index_next(&descriptors->index, id, &at)) != ROW_NONE)
		if (descriptors->entries[entry].id == id &&
		    descriptors->entries[entry].kind == kind)
			return entry;
	return 0;
}

static void descriptor_forget_oldest(struct descriptors *descriptors)
{
	uint32_t entry = descriptors->entries[0].newer;
	descriptor_unlink(descriptors, entry);
	row_index_remove(&descriptors->index, descriptors->entries[entry].id, entry);
	descriptors->entries[entry].newer = descriptors->vacant;
	descriptors->vacant = entry;
	descriptors->count--;
}

static struct descriptor *descriptor_make(struct descriptors *descriptors, enum kind kind,
					  uint64_t id)
{
	if (descriptors->count == descriptors->descriptors_max)
		descriptor_forget_oldest(descriptors);
	uint32_t entry = descriptors->vacant;
	if (entry)
		descriptors->vacant = descriptors->entries[entry].newer;
	else
		entry = descriptors->used++;
	descriptors->entries[entry].id = id;
	descriptors->entries[entry].kind = kind;
	descriptor_link_newest(descriptors, entry);
	row_index_add(&descriptors->index, id, entry);
	descriptors->count++;
	return &descriptors->entries[entry];
}

static struct descriptor *descriptor_put(struct descriptors *descriptors, enum kind kind,
					 uint64_t id, uint64_t pane)
{
	uint32_t entry = descriptor_find(descriptors, kind, id);
	struct descriptor *descriptor = &descriptors->entries[entry];
	if (entry) {
		descriptor_unlink(descriptors, entry);
		descriptor_link_newest(descriptors, entry);
	} else {
		descriptor = descriptor_make(descriptors, kind, id);
	}
	descriptor->told_pane = pane;
	return descriptor;
}

void descriptors_put_edge(struct descriptors *descriptors, const struct edge *edge, uint64_t pane)
{
	descriptor_put(descriptors, KIND_EDGE, edge->id, pane)->edge = *edge;
}

void descriptors_put_lane(struct descriptors *descriptors, const struct lane *lane, uint64_t pane)
{
	descriptor_put(descriptors, KIND_LANE, lane->id, pane)->lane = *lane;
}

void descriptors_put_instance(struct descriptors *descriptors, const struct instance *instance,
			      uint64_t pane)
{
	descriptor_put(descriptors, KIND_INSTANCE, instance->id, pane)->instance = *instance;
}

const struct edge *descriptors_edge(const struct descriptors *descriptors, uint64_t id)
{
	uint32_t entry = descriptor_find(descriptors, KIND_EDGE, id);
	return entry ? &descriptors->entries[entry].edge : NULL;
}

const struct lane *descriptors_lane(const struct descriptors *descriptors, uint64_t id)
{
	uint32_t entry = descriptor_find(descriptors, KIND_LANE, id);
	return entry ? &descriptors->entries[entry].lane : NULL;
}

const struct instance *descriptors_instance(const struct descriptors *descriptors, uint64_t id)
{
	uint32_t entry = descriptor_find(descriptors, KIND_INSTANCE, id);
	return entry ? &descriptors->entries[entry].instance : NULL;
}

void descriptors_advance(struct descriptors *descriptors, uint64_t pane)
{
	uint32_t oldest;
	while ((oldest = descriptors->entries[0].newer) &&
	       descriptors->entries[oldest].told_pane + NAMES_KEEP_PANES <= pane)
		descriptor_forget_oldest(descriptors);
}

uint32_t descriptors_count(const struct descriptors *descriptors)
{
	return descriptors->count;
}
