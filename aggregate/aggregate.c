#include "aggregate/aggregate.h"

#include <assert.h>
#include <stdlib.h>

#include "aggregate/other.h"
#include "aggregate/state.h"
#include "base/memory.h"

enum {
	GUARD_ROWS_MIN = 16, /* below this the reserve would not hold a fold */
	SPARE_PARTS = 256,   /* what one group of records may need before rows are settled */
	SWEEP_PANES = 64,    /* all lanes are looked at once in so many panes */
};

/* `_other` -> `_other` is known before anybody tells. */
static void know_other(struct aggregate *aggregate)
{
	struct lane lane = other_lane();
	aggregate->lanes_used = 1;
	uint32_t known = lane_know(aggregate, &aggregate->other, &lane);
	assert(known == LANE_OTHER);
	aggregate->lanes[known].users = 1; /* all sources' lane 0 */
	aggregate->lanes[0] = (struct lane_row){0};
	aggregate->ways[0] = (struct lane_way){0};
}

struct aggregate *aggregate_new(const struct aggregate_options *options)
{
	assert(options->rows_max >= GUARD_ROWS_MIN && options->sources > 0);
	struct aggregate *aggregate = memory_zeroed(1, sizeof(*aggregate));
	aggregate->options = *options;
	aggregate->other = other_edge();
	aggregate->names = names_new(options->names_max, 1);
	aggregate->instances = roster_new(PART_INSTANCES_MAX, 0);
	names_seed(aggregate->names, options->seed);
	roster_seed(aggregate->instances, options->seed);
	aggregate->sources = memory_zeroed(options->sources, sizeof(*aggregate->sources));
	aggregate->edges_used = aggregate->samples_count = 1;
	row_index_init(&aggregate->lanes_index, 0);
	row_index_init(&aggregate->edges_index, 0);
	sums_init(&aggregate->sums);
	parts_init(&aggregate->parts, options->rows_max + options->rows_max / 2 + SPARE_PARTS);
	know_other(aggregate);
	return aggregate;
}

static void free_lists(struct aggregate *aggregate)
{
	memory_free(aggregate->order.items);
	memory_free(aggregate->fresh_edges.items);
	memory_free(aggregate->fresh_parts.items);
	memory_free(aggregate->ways_set.items);
	memory_free(aggregate->touched.items);
	memory_free(aggregate->seconds.items);
	memory_free(aggregate->scratch.items);
	for (unsigned window = 0; window < WINDOW_10S; window++)
		memory_free(aggregate->shown[window].items);
}

void aggregate_bind(struct aggregate *aggregate, const struct aggregate_sinks *sinks)
{
	aggregate->options.sinks = *sinks;
}

void aggregate_free(struct aggregate *aggregate)
{
	if (!aggregate)
		return;
	for (uint32_t source = 0; source < aggregate->options.sources; source++) {
		memory_free(aggregate->sources[source].lanes);
		memory_free(aggregate->sources[source].instances);
	}
	for (uint32_t edge = 1; edge < aggregate->edges_used; edge++) {
		frozen_clear(&aggregate->edges[edge].minute);
		frozen_clear(&aggregate->edges[edge].hour);
	}
	free_lists(aggregate);
	names_free(aggregate->names);
	roster_free(aggregate->instances);
	row_index_done(&aggregate->lanes_index);
	row_index_done(&aggregate->edges_index);
	sums_done(&aggregate->sums);
	parts_done(&aggregate->parts);
	thawed_done(&aggregate->thawed);
	thawed_done(&aggregate->ten);
	memory_free(aggregate->sources);
	memory_free(aggregate->lanes);
	memory_free(aggregate->ways);
	memory_free(aggregate->edges);
	memory_free(aggregate->lines_memory);
	memory_free(aggregate->places);
	memory_free(aggregate->telling.items);
	memory_free(aggregate->telling.first);
	memory_free(aggregate->telling.sorted);
	memory_free(aggregate->events);
	memory_free(aggregate->samples);
	memory_free(aggregate->srtt);
	memory_free(aggregate->walk);
	memory_free(aggregate->amendments);
	memory_free(aggregate);
}

/* --- time --- */

/* Lanes for which no number stands any more are forgotten. */
static void sweep_known(struct aggregate *aggregate)
{
	for (uint32_t steps = aggregate->lanes_used / SWEEP_PANES + 1; steps > 0; steps--) {
		if (++aggregate->lanes_sweep >= aggregate->lanes_used)
			aggregate->lanes_sweep = LANE_OTHER + 1;
		if (aggregate->lanes_sweep >= aggregate->lanes_used)
			return;
		const struct lane_row *lane = &aggregate->lanes[aggregate->lanes_sweep];
		if (lane->edge.id && !lane->part && !lane->users)
			lane_forget(aggregate, aggregate->lanes_sweep);
	}
}

static void aggregate_close_pane(struct aggregate *aggregate)
{
	uint64_t pane = pane_of(aggregate->start_ns);
	/* The name of what the guard made is nobody else's to send. */
	names_put(aggregate->names, OTHER_NAME, sizeof(OTHER_NAME) - 1, pane);
	publish_pane(aggregate);
	publish_amendments(aggregate);
	roster_advance(aggregate->instances, aggregate->names, pane);
	names_advance(aggregate->names, pane);
	sweep_known(aggregate);
	guard_begin(aggregate);
	aggregate->start_ns += PANE_NS;
}

void aggregate_advance(struct aggregate *aggregate, uint64_t now_ns)
{
	if (aggregate->start_ns == 0) {
		if (now_ns == UINT64_MAX)
			return;
		aggregate->start_ns = now_ns - PANE_NS;
	}
	assert(aggregate->start_ns % PANE_NS == 0);
	if (now_ns == UINT64_MAX)
		now_ns = window_start(aggregate->start_ns, WINDOW_1H) + window_ns[WINDOW_1H];
	assert(now_ns % PANE_NS == 0);
	while (aggregate->start_ns < now_ns) {
		aggregate_close_pane(aggregate);
		/* A long gap costs no more than the windows that it closes. */
		if (aggregate->edges_count == 0 && aggregate->start_ns < now_ns)
			aggregate->start_ns = now_ns - PANE_NS;
	}
}

static uint64_t aggregate_bytes(const struct aggregate *aggregate)
{
	const struct aggregate *a = aggregate;
	uint64_t bytes = a->lanes_used * (sizeof(*a->lanes) + sizeof(*a->ways)) +
			 a->edges_used * sizeof(*a->edges) +
			 a->parts.used * sizeof(*a->parts.rows) +
			 (a->parts.slots_mask + 1ULL) * sizeof(*a->parts.slots) +
			 a->sums.used * sizeof(*a->sums.sums) +
			 a->edges_capacity * (sizeof(*a->lines) + sizeof(*a->places)) +
			 a->events_capacity * sizeof(*a->events) +
			 a->samples_capacity * sizeof(*a->samples) +
			 a->srtt_capacity * sizeof(*a->srtt) + sizeof(*a);
	for (uint32_t edge = 1; edge < a->edges_used; edge++)
		bytes += a->edges[edge].minute.size + a->edges[edge].hour.size;
	return bytes;
}

struct aggregate_stats aggregate_stats(const struct aggregate *aggregate)
{
	struct aggregate_stats stats = aggregate->stats;
	stats.rows = aggregate->regular + aggregate->folded + aggregate->global;
	stats.edges = aggregate->edges_count;
	stats.names = names_stats(aggregate->names).live;
	stats.bytes = aggregate_bytes(aggregate);
	return stats;
}
