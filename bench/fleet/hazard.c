#include "bench/fleet/hazard.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "agent/batch/seal.h"
#include "base/clock.h"
#include "base/memory.h"
#include "bench/fleet/dice.h"
#include "bench/fleet/stamp.h"

enum { TICKS_AN_HOUR = 36000 };

/* What a node's clock adds to the time. */
struct clock {
	char *node;
	int64_t offset_ns;
	uint64_t tick; /* up to which jumps were drawn */
};

struct hazard {
	struct hazard_options options;
	struct dice dice;
	struct fleet_log *held[HAZARD_TICKS_MAX + 1]; /* by the tick that lets them go */
	uint64_t tick, append_ns;
	struct clock *clocks; /* open addressing by node */
	uint32_t clocks_count, clocks_mask;
	uint8_t *bytes; /* of the batch at hand */
	size_t bytes_max;
	struct hazard_stats stats;
};

struct hazard *hazard_new(const struct hazard_options *options)
{
	struct hazard *hazard = memory_zeroed(1, sizeof(*hazard));

	assert(options->batch && options->late_ticks <= HAZARD_TICKS_MAX);
	assert(options->late_ticks > 0 || options->late + options->duplicate == 0);
	hazard->options = *options;
	hazard->dice.state = hash_mix(options->seed + 77);
	for (int i = 0; i <= HAZARD_TICKS_MAX; i++)
		hazard->held[i] = fleet_log_new(UINT16_MAX);
	hazard->clocks_mask = 15;
	hazard->clocks = memory_zeroed(hazard->clocks_mask + 1, sizeof(*hazard->clocks));
	return hazard;
}

void hazard_free(struct hazard *hazard)
{
	if (!hazard)
		return;
	for (int i = 0; i <= HAZARD_TICKS_MAX; i++)
		fleet_log_free(hazard->held[i]);
	for (uint32_t i = 0; i <= hazard->clocks_mask; i++)
		free(hazard->clocks[i].node);
	free(hazard->clocks);
	free(hazard->bytes);
	free(hazard);
}

/* --- clocks --- */

static struct clock *clock_place(const struct hazard *hazard, const char *node, size_t length)
{
	uint32_t place = (uint32_t)hash_bytes(node, length) & hazard->clocks_mask;

	for (;; place = (place + 1) & hazard->clocks_mask) {
		struct clock *clock = &hazard->clocks[place];

		if (!clock->node ||
		    (strlen(clock->node) == length && memcmp(clock->node, node, length) == 0))
			return clock;
	}
}

static void clocks_grow(struct hazard *hazard)
{
	struct clock *before = hazard->clocks;
	uint32_t count = hazard->clocks_mask + 1;

	hazard->clocks_mask = hazard->clocks_mask * 2 + 1;
	hazard->clocks = memory_zeroed((size_t)hazard->clocks_mask + 1, sizeof(*hazard->clocks));
	for (uint32_t i = 0; i < count; i++)
		if (before[i].node)
			*clock_place(hazard, before[i].node, strlen(before[i].node)) = before[i];
	free(before);
}

/* Whole microseconds, either way. */
static int64_t signed_below(struct hazard *hazard, uint64_t bound_ns)
{
	uint64_t bound_us = bound_ns / NS_PER_US;

	if (bound_us == 0)
		return 0;
	return ((int64_t)(dice_roll(&hazard->dice) % (2 * bound_us + 1)) - (int64_t)bound_us) *
	       (int64_t)NS_PER_US;
}

static struct clock *clock_of(struct hazard *hazard, const struct fleet_batch *batch)
{
	struct clock *clock = clock_place(hazard, batch->node, batch->node_length);

	if (clock->node)
		return clock;
	if (++hazard->clocks_count * 2 > hazard->clocks_mask) {
		clocks_grow(hazard);
		clock = clock_place(hazard, batch->node, batch->node_length);
	}
	*clock = (struct clock){.node = strndup(batch->node, batch->node_length),
				.offset_ns = signed_below(hazard, hazard->options.skew_ns),
				.tick = hazard->tick};
	return clock;
}

static void jump(struct hazard *hazard, struct clock *clock)
{
	int64_t by_ns = (int64_t)(hazard->options.jump_ns / NS_PER_US * NS_PER_US);

	for (; clock->tick < hazard->tick; clock->tick++) {
		if (dice_below(&hazard->dice, TICKS_AN_HOUR) >= hazard->options.jumps_per_hour)
			continue;
		clock->offset_ns += dice_below(&hazard->dice, 2) ? by_ns : -by_ns;
		hazard->stats.jumps++;
	}
}

/* The batch as the node's wrong clock stamps it. */
static struct fleet_batch told_wrong(struct hazard *hazard, const struct fleet_batch *batch)
{
	struct clock *clock = clock_of(hazard, batch);
	struct fleet_batch wrong = *batch;
	uint8_t key[SEAL_KEY_BYTES];
	const char *secret = hazard->options.secret;

	jump(hazard, clock);
	if (clock->offset_ns == 0)
		return *batch;
	if (secret) {
		int rc = seal_node_key((const uint8_t *)secret, strlen(secret), clock->node, key);

		assert(rc == 0);
	}
	if (batch->length > hazard->bytes_max) {
		hazard->bytes_max = memory_grown(hazard->bytes_max, batch->length);
		hazard->bytes = memory_resize(hazard->bytes, hazard->bytes_max, 1);
	}
	memcpy(hazard->bytes, batch->bytes, batch->length);
	stamp_batch(hazard->bytes, batch->length,
		    &(struct stamp){.realtime_ns = clock->offset_ns, .key = secret ? key : NULL});
	wrong.bytes = hazard->bytes;
	return wrong;
}

/* --- the way --- */

static void hold(struct hazard *hazard, const struct fleet_batch *batch)
{
	uint64_t until = hazard->tick + 1 + dice_below(&hazard->dice, hazard->options.late_ticks);

	fleet_log_add(hazard->held[until % (HAZARD_TICKS_MAX + 1)], batch);
}

static void hand_on(struct hazard *hazard, const struct fleet_batch *batch)
{
	hazard->stats.batches++;
	hazard->options.batch(hazard->options.context, batch);
}

void hazard_push(struct hazard *hazard, const struct fleet_batch *pushed)
{
	struct fleet_batch batch = told_wrong(hazard, pushed);

	hazard->append_ns = batch.append_ns;
	if (dice_permille(&hazard->dice, hazard->options.lost)) {
		hazard->stats.lost++;
		hazard->stats.lost_events += batch.events;
		return;
	}
	if (dice_permille(&hazard->dice, hazard->options.duplicate)) {
		hazard->stats.duplicates++;
		hold(hazard, &batch);
	}
	if (dice_permille(&hazard->dice, hazard->options.late)) {
		hazard->stats.late++;
		hold(hazard, &batch);
	} else {
		hand_on(hazard, &batch);
	}
}

void hazard_tick(struct hazard *hazard)
{
	struct fleet_log *due = hazard->held[hazard->tick % (HAZARD_TICKS_MAX + 1)];
	struct fleet_cursor cursor = {0};
	struct fleet_batch batch;

	while (fleet_log_next(due, &cursor, &batch)) {
		batch.append_ns = hazard->append_ns;
		hand_on(hazard, &batch);
	}
	fleet_log_clear(due);
	hazard->tick++;
}

struct hazard_stats hazard_stats(const struct hazard *hazard)
{
	return hazard->stats;
}
