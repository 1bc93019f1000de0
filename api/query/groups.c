#include "api/query/groups.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

static size_t find_slot(const struct groups *groups, uint64_t key)
{
	size_t mask = groups->slots_count - 1;
	size_t slot = hash_mix(key) & mask;

	while (groups->slots[slot] && groups->items[groups->slots[slot] - 1]->key != key)
		slot = (slot + 1) & mask;
	return slot;
}

/* At most half full. */
static void grow(struct groups *groups)
{
	if ((groups->count + 1) * 2 <= groups->slots_count)
		return;
	free(groups->slots);
	groups->slots_count = groups->slots_count ? groups->slots_count * 2 : 64;
	groups->slots = memory_zeroed(groups->slots_count, sizeof(*groups->slots));
	for (size_t i = 0; i < groups->count; i++)
		groups->slots[find_slot(groups, groups->items[i]->key)] = (uint32_t)i + 1;
}

struct group *groups_find(const struct groups *groups, uint64_t key)
{
	uint32_t place = groups->slots_count ? groups->slots[find_slot(groups, key)] : 0;

	return place ? groups->items[place - 1] : NULL;
}

struct group *groups_get(struct groups *groups, uint64_t key, const struct rollup *rollup)
{
	struct group *group = groups_find(groups, key);

	if (group)
		return group;
	grow(groups);
	if (groups->count == groups->room) {
		groups->room = memory_grown(groups->room, groups->count + 1);
		groups->items = memory_resize(groups->items, groups->room, sizeof(struct group *));
	}
	group = memory_zeroed(1, sizeof(*group));
	group->key = key;
	group->edge = rollup->edge;
	group->lane = rollup->lane;
	group->instance = rollup->instance;
	groups->items[groups->count++] = group;
	groups->slots[find_slot(groups, key)] = (uint32_t)groups->count;
	return group;
}

void groups_done(struct groups *groups)
{
	for (size_t i = 0; i < groups->count; i++) {
		sketch_done(&groups->items[i]->connect);
		sketch_done(&groups->items[i]->srtt);
		free(groups->items[i]->points);
		free(groups->items[i]);
	}
	free(groups->items);
	free(groups->slots);
}

void group_add(struct group *group, const struct rollup *rollup)
{
	for (unsigned i = 0; i < COUNTERS; i++)
		group->counters[i] =
			(int64_t)((uint64_t)group->counters[i] + (uint64_t)rollup->counters[i]);
	sketch_merge(&group->connect, rollup->connect, rollup->connect_cells);
	sketch_merge(&group->srtt, rollup->srtt, rollup->srtt_cells);
	if (rollup->min_rtt_us && (!group->min_rtt_us || rollup->min_rtt_us < group->min_rtt_us))
		group->min_rtt_us = rollup->min_rtt_us;
	group->rows++;
}

void group_clear(struct group *group)
{
	memset(group->counters, 0, sizeof(group->counters));
	sketch_clear(&group->connect);
	sketch_clear(&group->srtt);
	group->min_rtt_us = 0;
	group->rows = 0;
}

/* Amendments may leave a share a little outside, when one of its parts moved and the other not yet.
 */
static bool share(int64_t part, int64_t whole, double *ratio)
{
	*ratio = 0;
	if (whole <= 0)
		return false;
	if (part > 0)
		*ratio = part < whole ? (double)part / (double)whole : 1;
	return true;
}

bool group_failure_ratio(const struct group *group, double *ratio)
{
	int64_t failed = group->counters[COUNTER_FAILED];

	return share(failed, counters_both(group->counters[COUNTER_OPENED], failed), ratio);
}

bool group_joined_ratio(const struct group *group, double *ratio)
{
	return share(group->counters[COUNTER_JOINED], group->counters[COUNTER_OPENED], ratio);
}

bool group_retransmit_ratio(const struct group *group, double *ratio)
{
	return share(group->counters[COUNTER_RETRANSMITS],
		     counters_both(group->counters[COUNTER_TX_SEGMENTS],
				   group->counters[COUNTER_RX_SEGMENTS]),
		     ratio);
}

/* 1 where nothing is known to be missing, as rollup_completeness has it. */
bool group_completeness(const struct group *group, double *ratio)
{
	if (!share(group->counters[COUNTER_AGENT_RECEIVED], group->counters[COUNTER_AGENT_ISSUED],
		   ratio))
		*ratio = 1;
	return group->rows > 0;
}

static bool quantile(const struct sketch *sketch, double q, double *seconds)
{
	*seconds = (double)sketch_quantile(sketch->cells, sketch->count, q) / 1e9;
	return sketch->count > 0;
}

bool group_connect_quantile(const struct group *group, double q, double *seconds)
{
	return quantile(&group->connect, q, seconds);
}

bool group_srtt_quantile(const struct group *group, double q, double *seconds)
{
	return quantile(&group->srtt, q, seconds);
}

static bool average_us(int64_t sum, int64_t count, double *seconds)
{
	*seconds = count > 0 && sum > 0 ? (double)sum / (double)count / 1e6 : 0;
	return count > 0;
}

bool group_connect_avg(const struct group *group, double *seconds)
{
	return average_us(group->counters[COUNTER_CONNECT_US],
			  group->counters[COUNTER_CONNECT_COUNT], seconds);
}

bool group_srtt_avg(const struct group *group, double *seconds)
{
	return average_us(group->counters[COUNTER_SRTT_US], group->counters[COUNTER_SRTT_COUNT],
			  seconds);
}
