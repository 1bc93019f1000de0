/* What edge, lane and instance ids stand for, as the buckets told: kept NAMES_KEEP_PANES after the
 * last telling (senders repeat what they use every NAMES_REFRESH_PANES). At most descriptors_max;
 * when full the one that was told longest ago leaves. One thread. */
#pragma once

#include <stdint.h>

#include "base/identity.h"

struct descriptors;

struct descriptors *descriptors_new(uint32_t descriptors_max);
void descriptors_free(struct descriptors *descriptors);
void descriptors_put_edge(struct descriptors *descriptors, const struct edge *edge, uint64_t pane);
void descriptors_put_lane(struct descriptors *descriptors, const struct lane *lane, uint64_t pane);
void descriptors_put_instance(struct descriptors *descriptors, const struct instance *instance,
			      uint64_t pane);
/* NULL if it is not here; lent until the next put or advance. */
const struct edge *descriptors_edge(const struct descriptors *descriptors, uint64_t id);
const struct lane *descriptors_lane(const struct descriptors *descriptors, uint64_t id);
const struct instance *descriptors_instance(const struct descriptors *descriptors, uint64_t id);
void descriptors_advance(struct descriptors *descriptors, uint64_t pane);
uint32_t descriptors_count(const struct descriptors *descriptors);
