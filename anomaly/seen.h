/* When edges that have left, or find no room, were there for the first time, for what asks whether
 * one is new. The
 * stage's subjects know it of those that are there. Bound: max edges, 24 bytes each with its index
 * as much again; of 64 the one that left first gives its place, and is new when it comes back; that
 * is counted. Pure; one thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct seen_edges;

struct seen_edges *seen_edges_new(uint32_t max);
void seen_edges_free(struct seen_edges *seen);
/* It leaves. first_ns: when it was there for the first time; 0: before anything is known. */
void seen_edges_put(struct seen_edges *seen, uint64_t id, uint64_t first_ns, uint64_t last_ns);
/* False if it is not known. */
bool seen_edges_first(const struct seen_edges *seen, uint64_t id, uint64_t *first_ns);
uint64_t seen_edges_evicted(const struct seen_edges *seen);
