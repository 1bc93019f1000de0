#include "aggregate/aggregate.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "aggregate/bucket.h"
#include "aggregate/descriptor.h"
#include "aggregate/guard.h"
#include "aggregate/other.h"
#include "base/clock.h"
#include "base/memory.h"

/* Descriptors live nine times as long as a row at its shortest, but most are used again: two for
 * each row. */
enum {
	DESCRIPTORS_PER_ROW = 2,
	PREFETCH_AHEAD = 4, /* rows: about a memory latency of work */
};

static const uint64_t window_ns[WINDOWS] = {PANE_NS, NS_PER_S, 10 * NS_PER_S};

struct aggregate {
	struct aggregate_options options;
	struct guard guard;
	struct descriptors *descriptors;
	struct names *names;
	uint64_t start_ns; /* of the pane at hand; 0: none yet */

	struct rollup *rollups; /* going out */
	uint32_t *rollup_rows;	/* the live row of each */
	size_t rollups_count, rollups_capacity;

	struct rollup *amendments; /* for windows that are closed, as they came */
	size_t amendments_count, amendments_capacity;
	struct aggregate_stats stats;
};

struct aggregate *aggregate_new(const struct aggregate_options *options)
{
	struct aggregate *aggregate = memory_zeroed(1, sizeof(*aggregate));
	aggregate->options = *options;
	guard_init(&aggregate->guard, options->rows_max);
	aggregate->descriptors = descriptors_new(DESCRIPTORS_PER_ROW * options->rows_max);
	aggregate->names = names_new(options->names_max, 0);
	return aggregate;
}

void aggregate_free(struct aggregate *aggregate)
{
	if (!aggregate)
		return;
	guard_done(&aggregate->guard);
	descriptors_free(aggregate->descriptors);
	names_free(aggregate->names);
	free(aggregate->rollups);
	free(aggregate->rollup_rows);
	free(aggregate->amendments);
	free(aggregate);
}

static uint64_t window_start(uint64_t time_ns, enum window window)
{
	return time_ns - time_ns % window_ns[window];
}

/* --- merging --- */

static void aggregate_learn(struct aggregate *aggregate, const struct partial_bucket *bucket)
{
	uint64_t pane = pane_of(aggregate->start_ns);
	for (uint32_t i = 0; i < bucket->edge_count; i++)
		descriptors_put_edge(aggregate->descriptors, &bucket->edges[i], pane);
	for (uint32_t i = 0; i < bucket->lane_count; i++)
		descriptors_put_lane(aggregate->descriptors, &bucket->lanes[i], pane);
	for (uint32_t i = 0; i < bucket->instance_count; i++)
		descriptors_put_instance(aggregate->descriptors, &bucket->instances[i], pane);
	const char *bytes = bucket->name_bytes;
	for (uint32_t i = 0; i < bucket->name_count; i++) {
		names_put(aggregate->names, bytes, bucket->name_lengths[i], pane);
		bytes += bucket->name_lengths[i];
	}
}

/* Who the row is about; a row that nobody described goes where everything without a row goes. */
static struct row_identity aggregate_identify(struct aggregate *aggregate,
					      const struct bucket_row *row)
{
	const struct edge *edge = descriptors_edge(aggregate->descriptors, row->edge_id);
	const struct lane *lane = row->scope == SCOPE_LANE
					  ? descriptors_lane(aggregate->descriptors, row->sub_id)
					  : NULL;
	const struct instance *instance =
		row->scope == SCOPE_LANE
			? NULL
			: descriptors_instance(aggregate->descriptors, row->sub_id);
	struct row_identity identity = {0};
	if (!edge || (!lane && !instance)) {
		aggregate->stats.undescribed++;
		identity.edge = aggregate->guard.other;
		if (row->scope == SCOPE_LANE)
			identity.lane = other_lane();
		else
			identity.instance = other_instance(other_id());
		return identity;
	}
	identity.edge = *edge;
	if (lane)
		identity.lane = *lane;
	else
		identity.instance = *instance;
	return identity;
}

static void aggregate_merge_into(struct aggregate *aggregate, struct live *live,
				 const struct bucket_row *row, const int64_t *values,
				 const struct sketch_cell *cells)
{
	bool longer = row->kind != ROW_PANE;
	enum window window = longer ? WINDOW_10S : WINDOW_PANE;
	for (uint64_t columns = row->columns; columns; columns &= columns - 1, values++) {
		unsigned column = (unsigned)__builtin_ctzll(columns);
		if (column == COLUMN_ACTIVE_10S)
			live->sums[WINDOW_10S].counters[COUNTER_ACTIVE] += *values;
		else if (column == COLUMN_ACTIVE_1S && !longer)
			live->sums[WINDOW_1S].counters[COUNTER_ACTIVE] += *values;
		else if (column < COUNTERS && !(column == COUNTER_ACTIVE && longer))
			live->sums[window].counters[column] += *values;
	}
	aggregate->stats.saturated += sum_add_row(&live->sums[window], row, cells);
	live->touched |= (uint8_t)(1 << window);
}

static void aggregate_merge(struct aggregate *aggregate, const struct bucket_row *row,
			    const int64_t *values, const struct sketch_cell *cells)
{
	struct guard *guard = &aggregate->guard;
	struct live *live = guard_find(guard, row->scope, row->edge_id, row->sub_id);
	if (!live) {
		struct row_identity identity = aggregate_identify(aggregate, row);
		uint64_t folded = guard->folded_since;
		live = guard_place(guard, row->scope, &identity);
		aggregate->stats.folded += guard->folded_since - folded;
	}
	aggregate_merge_into(aggregate, live, row, values, cells);
	if (row->scope == SCOPE_LANE) /* an edge is the sum of its lanes */
		aggregate_merge_into(aggregate, &guard->rows[live->parent], row, values, cells);
}

static struct rollup *aggregate_stage(struct aggregate *aggregate, const struct bucket_row *row,
				      const int64_t *values)
{
	if (aggregate->amendments_count == aggregate->amendments_capacity) {
		aggregate->amendments_capacity = memory_grown(aggregate->amendments_capacity,
							      aggregate->amendments_count + 1);
		aggregate->amendments =
			memory_resize(aggregate->amendments, aggregate->amendments_capacity,
				      sizeof(*aggregate->amendments));
	}
	struct rollup *rollup = &aggregate->amendments[aggregate->amendments_count++];
	*rollup = (struct rollup){
		.window_start_ns = row->window_start_ns,
		.window_ms = (uint32_t)(window_ns[WINDOW_10S] / NS_PER_MS),
		.scope = row->scope,
		.amendment = true,
	};
	for (uint64_t columns = row->columns; columns; columns &= columns - 1, values++) {
		unsigned column = (unsigned)__builtin_ctzll(columns);
		if (column == COLUMN_ACTIVE_10S)
			rollup->counters[COUNTER_ACTIVE] = *values;
		else if (column < COUNTERS && column != COUNTER_ACTIVE)
			rollup->counters[column] = *values;
	}
	return rollup;
}

/* Not through the guard: a closed window has no rows to keep, only differences to tell. */
static void aggregate_amend(struct aggregate *aggregate, const struct bucket_row *row,
			    const int64_t *values)
{
	struct row_identity identity = aggregate_identify(aggregate, row);
	struct rollup *part = aggregate_stage(aggregate, row, values);
	part->edge = identity.edge;
	if (row->scope != SCOPE_LANE) {
		part->instance = identity.instance;
		return;
	}
	part->lane = identity.lane;
	struct rollup *whole = aggregate_stage(aggregate, row, values);
	whole->scope = SCOPE_EDGE;
	whole->edge = identity.edge;
}

void aggregate_push(struct aggregate *aggregate, const struct partial_bucket *bucket)
{
	if (aggregate->start_ns == 0)
		aggregate->start_ns = bucket->pane * PANE_NS;
	aggregate_learn(aggregate, bucket);
	uint64_t open_ns = window_start(aggregate->start_ns, WINDOW_10S);
	const int64_t *values = bucket->values;
	const struct sketch_cell *cells = bucket->cells;
	for (uint32_t i = 0; i < bucket->row_count; i++) {
		const struct bucket_row *row = &bucket->rows[i];
		if (row->kind == ROW_AMEND && row->window_start_ns < open_ns)
			aggregate_amend(aggregate, row, values);
		else
			aggregate_merge(aggregate, row, values, cells);
		values += __builtin_popcountll(row->columns);
		cells += row->connect_cells + row->srtt_cells;
	}
	aggregate->stats.merged += bucket->row_count;
}

/* --- publishing --- */

static uint64_t missing_name(const struct names *names, uint64_t id)
{
	return names_get(names, id) == NULL;
}

static uint64_t missing_names(const struct names *names, const struct rollup *rollup)
{
	const struct lane *lane = &rollup->lane;
	const struct instance *instance = &rollup->instance;
	switch (rollup->scope) {
	case SCOPE_EDGE:
		return missing_name(names, rollup->edge.client) +
		       missing_name(names, rollup->edge.server);
	case SCOPE_LANE:
		return missing_name(names, lane->client_zone) +
		       missing_name(names, lane->server_zone) +
		       missing_name(names, lane->client_version) +
		       missing_name(names, lane->server_version);
	default:
		return missing_name(names, instance->workload) +
		       missing_name(names, instance->version) +
		       missing_name(names, instance->zone) + missing_name(names, instance->node) +
		       missing_name(names, instance->container) +
		       missing_name(names, instance->process);
	}
}

static struct rollup *aggregate_rollup(struct aggregate *aggregate)
{
	if (aggregate->rollups_count == aggregate->rollups_capacity) {
		aggregate->rollups_capacity =
			memory_grown(aggregate->rollups_capacity, aggregate->rollups_count + 1);
		aggregate->rollups = memory_resize(aggregate->rollups, aggregate->rollups_capacity,
						   sizeof(*aggregate->rollups));
		aggregate->rollup_rows =
			memory_resize(aggregate->rollup_rows, aggregate->rollups_capacity,
				      sizeof(*aggregate->rollup_rows));
	}
	return &aggregate->rollups[aggregate->rollups_count++];
}

static void rollup_fill(struct rollup *rollup, const struct live *live, const struct sum *sum)
{
	rollup->scope = live->scope;
	rollup->edge = live->edge;
	if (live->scope == SCOPE_LANE)
		rollup->lane = live->lane;
	else if (live->scope != SCOPE_EDGE)
		rollup->instance = live->instance;
	memcpy(rollup->counters, sum->counters, sizeof(rollup->counters));
	rollup->min_rtt_us = sum->min_rtt_us;
	rollup->last_event_ns = sum->last_event_ns;
	rollup->connect = sum->connect.cells;
	rollup->connect_cells = sum->connect.count;
	rollup->srtt = sum->srtt.cells;
	rollup->srtt_cells = sum->srtt.count;
}

static void aggregate_collect(struct aggregate *aggregate, enum window window, uint64_t start_ns)
{
	struct guard *guard = &aggregate->guard;
	uint8_t bit = (uint8_t)(1 << window);
	aggregate->rollups_count = 0;
	for (uint32_t i = 0; i < guard->count; i++) {
		if (i + PREFETCH_AHEAD < guard->count)
			live_prefetch(&guard->rows[guard->order[i + PREFETCH_AHEAD]], window);
		struct live *live = &guard->rows[guard->order[i]];
		bool silent = live->scope == SCOPE_EDGE && live->published & bit;
		if (!(live->touched & bit) && !silent)
			continue;
		struct rollup *rollup = aggregate_rollup(aggregate);
		*rollup = (struct rollup){
			.window_start_ns = start_ns,
			.window_ms = (uint32_t)(window_ns[window] / NS_PER_MS),
		};
		rollup_fill(rollup, live, &live->sums[window]);
		aggregate->rollup_rows[aggregate->rollups_count - 1] = guard->order[i];
		if (!live->shown)
			aggregate->stats.unnamed += missing_names(aggregate->names, rollup);
		live->shown = true;
	}
}

static void aggregate_prefetch_roll(const struct aggregate *aggregate, size_t i, enum window window)
{
	const struct live *live = &aggregate->guard.rows[aggregate->rollup_rows[i]];
	live_prefetch(live, window);
	if (window != WINDOW_10S)
		live_prefetch(live, window + 1);
}

/* What went out flows into the next longer window. */
static void aggregate_roll(struct aggregate *aggregate, enum window window)
{
	uint8_t bit = (uint8_t)(1 << window);
	for (size_t i = 0; i < aggregate->rollups_count; i++) {
		if (i + PREFETCH_AHEAD < aggregate->rollups_count)
			aggregate_prefetch_roll(aggregate, i + PREFETCH_AHEAD, window);
		struct live *live = &aggregate->guard.rows[aggregate->rollup_rows[i]];
		bool touched = live->touched & bit;
		struct sum *sum = &live->sums[window];
		live->touched &= (uint8_t)~bit;
		live->published &= (uint8_t)~bit;
		if (!touched)
			continue;
		live->published |= bit;
		if (window == WINDOW_10S) {
			live->kept = true;
			int64_t weight =
				sum->counters[COUNTER_ACTIVE] + sum->counters[COUNTER_FAILED];
			live->weight = weight > 0 ? (uint64_t)weight : 0; /* amended below 0 */
		} else {
			live->touched |= (uint8_t)(bit << 1);
			aggregate->stats.saturated += sum_add(sum + 1, sum);
		}
		sum_clear(sum);
	}
}

static void aggregate_emit(struct aggregate *aggregate)
{
	const struct aggregate_sinks *sinks = &aggregate->options.sinks;
	if (aggregate->rollups_count == 0)
		return;
	sinks->rollups(sinks->context, aggregate->rollups, aggregate->rollups_count,
		       aggregate->names);
	aggregate->stats.emitted += aggregate->rollups_count;
}

static void aggregate_publish(struct aggregate *aggregate, enum window window, uint64_t start_ns)
{
	aggregate_collect(aggregate, window, start_ns);
	aggregate_emit(aggregate);
	aggregate_roll(aggregate, window);
}

static uint64_t rollup_sub_id(const struct rollup *rollup)
{
	return rollup->scope == SCOPE_LANE ? rollup->lane.id : rollup->instance.id;
}

static int compare_amendments(const void *a, const void *b)
{
	const struct rollup *left = a, *right = b;
	const uint64_t ids[4][2] = {
		{left->window_start_ns, right->window_start_ns},
		{left->edge.id, right->edge.id},
		{left->scope, right->scope},
		{rollup_sub_id(left), rollup_sub_id(right)},
	};
	for (unsigned i = 0; i < 4; i++)
		if (ids[i][0] != ids[i][1])
			return ids[i][0] < ids[i][1] ? -1 : 1;
	return 0;
}

static bool rollup_is_zero(const struct rollup *rollup)
{
	for (unsigned counter = 0; counter < COUNTERS; counter++)
		if (rollup->counters[counter])
			return false;
	return true;
}

/* A label that changes within an edge cancels out in most of its columns, and often in all of them.
 */
static void aggregate_publish_amendments(struct aggregate *aggregate)
{
	struct rollup *amendments = aggregate->amendments;
	size_t count = aggregate->amendments_count;
	if (count == 0)
		return;
	qsort(amendments, count, sizeof(*amendments), compare_amendments);
	aggregate->rollups_count = 0;
	for (size_t i = 0; i < count;) {
		struct rollup *rollup = aggregate_rollup(aggregate);
		*rollup = amendments[i];
		size_t same = i + 1;
		for (; same < count && compare_amendments(&amendments[i], &amendments[same]) == 0;
		     same++)
			for (unsigned counter = 0; counter < COUNTERS; counter++)
				rollup->counters[counter] += amendments[same].counters[counter];
		aggregate->rollups_count -= rollup_is_zero(rollup);
		i = same;
	}
	aggregate->stats.amended += aggregate->rollups_count;
	aggregate_emit(aggregate);
	aggregate->amendments_count = 0;
}

/* --- time --- */

static void aggregate_close_pane(struct aggregate *aggregate)
{
	uint64_t end_ns = aggregate->start_ns + PANE_NS;
	uint64_t pane = pane_of(aggregate->start_ns);
	/* The name of what the guard made is nobody else's to send. */
	names_put(aggregate->names, OTHER_NAME, sizeof(OTHER_NAME) - 1, pane);
	guard_sort(&aggregate->guard);
	for (unsigned window = 0; window < WINDOWS; window++)
		if (end_ns % window_ns[window] == 0)
			aggregate_publish(aggregate, window, end_ns - window_ns[window]);
	if (end_ns % window_ns[WINDOW_10S] == 0) {
		aggregate->stats.expired += guard_expire(&aggregate->guard);
		aggregate->stats.demoted += guard_demote(&aggregate->guard);
	}
	aggregate_publish_amendments(aggregate);
	names_advance(aggregate->names, pane);
	descriptors_advance(aggregate->descriptors, pane);
	aggregate->start_ns = end_ns;
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
		now_ns = window_start(aggregate->start_ns, WINDOW_10S) + window_ns[WINDOW_10S];
	assert(now_ns % PANE_NS == 0);
	while (aggregate->start_ns < now_ns) {
		aggregate_close_pane(aggregate);
		/* A long gap costs no more than the windows that it closes. */
		if (aggregate->guard.count == 0 && aggregate->start_ns < now_ns)
			aggregate->start_ns = now_ns - PANE_NS;
	}
}

struct aggregate_stats aggregate_stats(const struct aggregate *aggregate)
{
	struct aggregate_stats stats = aggregate->stats;
	stats.rows = aggregate->guard.count;
	stats.edges = aggregate->guard.edges;
	stats.names = names_stats(aggregate->names).live;
	return stats;
}
