/* What is known of containers, by their id, and whose description is still wanted: a container is
 * seen by its cgroup before or after its runtime tells of it. Who is wanted, or described in part,
 * is asked for again with growing waits (CONTAINERS_TRIES times in all, over two minutes), then
 * given up and counted.
 *
 * Bounded by containers_new; when full the one used longest ago goes, counted. Time is an argument;
 * one thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/container.h"
#include "agent/description.h"

enum { CONTAINERS_TRIES = 6 };

struct containers_stats {
	uint32_t live, wanted;
	uint64_t told; /* descriptions taken in, changed ones only */
	uint64_t given_up, evicted, labels_left_out;
};

struct containers;
struct containers *containers_new(uint32_t containers_max);
void containers_free(struct containers *containers);
/* NULL: not described yet. Lent until the next put. */
const struct description *containers_get(struct containers *containers, const char *id,
					 uint64_t now_ns);
/* Whether it says something new; what an event counts is added. */
bool containers_put(struct containers *containers, const struct description *description,
		    uint64_t now_ns);
/* Somebody saw a cgroup of it. */
void containers_want(struct containers *containers, const struct container_path *path,
		     uint64_t now_ns);
/* Next one to ask for; false: none is due. It is due again if containers_put does not come. */
bool containers_due(struct containers *containers, uint64_t now_ns, struct container_path *out);
/* A runtime has come: what was given up may be known now. */
void containers_again(struct containers *containers, uint64_t now_ns);
struct containers_stats containers_stats(const struct containers *containers);
