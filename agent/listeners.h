/* The TCP listeners of this node as they were told last, so that key frames need nothing from the
 * kernel. Bounded by listeners_new; when full, listeners_put refuses and counts. 72 bytes each and
 * 32 of index, touched only as used. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"

struct listener {
	uint64_t cookie; /* 0: free */
	uint64_t cgroup;
	struct address address;
	uint64_t drops;
	uint64_t told_ns; /* boottime */
	uint32_t netns, pid, backlog, backlog_max;
	uint16_t port;
	bool present; /* answered the roll call */
};

struct listeners;
struct listeners *listeners_new(uint32_t listeners_max);
void listeners_free(struct listeners *listeners);
/* A new one has no told_ns. NULL: full. */
struct listener *listeners_put(struct listeners *listeners, uint64_t cookie);
void listeners_end(struct listeners *listeners, struct listener *listener);
uint32_t listeners_high(const struct listeners *listeners);
struct listener *listeners_at(struct listeners *listeners, uint32_t number); /* NULL: free */
uint32_t listeners_live(const struct listeners *listeners);
uint64_t listeners_refused(const struct listeners *listeners);
