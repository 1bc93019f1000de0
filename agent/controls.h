/* The control records that stand, and which of them this node applies: of those that select it,
 * have not expired and are not withdrawn, the one issued last (of two the one with the greater id).
 * What is refused is counted by reason.
 *
 * A record is a replay when another one of its id was issued later or at the same time, or when it
 * came to the log more than CONTROLS_SKEW_NS from when it was issued: then somebody wrote it again.
 * So one that was withdrawn cannot come back, not even to an agent that starts after the log has
 * forgotten the withdrawal.
 *
 * Bounded: CONTROLS_MAX records; when full the one that expires first goes, counted. Pure: time is
 * an argument. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/batch/control.h"

enum { CONTROLS_MAX = 256 };
#define CONTROLS_SKEW_NS (60 * (uint64_t)1000000000)

struct controls_stats {
	uint64_t taken;
	uint64_t malformed, unsigned_, forged, expired, replayed;
	uint64_t evicted; /* no room */
	uint32_t standing;
};

struct controls;
struct controls *controls_new(void);
void controls_free(struct controls *controls);

/* A record of the topic, signed by one of the keys; without keys unsigned ones are taken.
 * append_ns: its time in the log; 0 if the log has none. Whether it was taken; else why (with its
 * id, if that was readable). */
enum { CONTROLS_WHY_BYTES = 256 };
bool controls_take(struct controls *controls, const struct keys *keys, const uint8_t *bytes,
		   size_t length, uint64_t append_ns, uint64_t now_ns,
		   char why[CONTROLS_WHY_BYTES]);

/* The record to apply, or NULL: the configuration. Lent until the next take. Forgets what has
 * expired. */
const struct control *controls_find(struct controls *controls, const struct control_target *target,
				    uint64_t now_ns);

struct controls_stats controls_stats(const struct controls *controls);
