#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "aggregate/state.h"

static uint32_t *row_counter(struct aggregate *aggregate, uint32_t edge, bool folded)
{
	if (aggregate->edges[edge].is_other)
		return &aggregate->global;
	return folded ? &aggregate->folded : &aggregate->regular;
}

/* --- edges --- */

uint32_t edge_find(const struct aggregate *aggregate, uint64_t id)
{
	uint64_t at = row_index_start(&aggregate->edges_index, id);
	uint32_t edge;
	while ((edge = row_index_next(&aggregate->edges_index, id, &at)) != ROW_NONE)
		if (aggregate->edges[edge].edge.id == id)
			return edge;
	return 0;
}

static uint32_t edge_place(struct aggregate *aggregate)
{
	uint32_t edge = aggregate->edges_vacant;
	if (edge) {
		aggregate->edges_vacant = aggregate->edges[edge].lanes;
		return edge;
	}
	edge = aggregate->edges_used++;
	if (edge >= aggregate->edges_capacity) {
		aggregate->edges_capacity =
			(uint32_t)memory_grown(aggregate->edges_capacity, edge + 1);
		aggregate->edges = memory_resize(aggregate->edges, aggregate->edges_capacity,
						 sizeof(*aggregate->edges));
	}
	return edge;
}

uint32_t edge_make(struct aggregate *aggregate, const struct edge *edge, bool folded)
{
	uint32_t row = edge_place(aggregate);
	aggregate->edges[row] = (struct edge_row){
		.edge = *edge,
		.live = true,
		.folded = folded,
		.fresh = true,
		.is_other = folded,
	};
	row_index_add(&aggregate->edges_index, edge->id, row);
	list_add(&aggregate->fresh_edges, row);
	aggregate->edges_count++;
	aggregate->servers += folded && edge->id != aggregate->other.id;
	++*row_counter(aggregate, row, folded);
	return row;
}

void edge_remove(struct aggregate *aggregate, uint32_t edge)
{
	struct edge_row *row = &aggregate->edges[edge];
	assert(row->live && !row->lanes && !row->parts[0] && !row->parts[1]);
	--*row_counter(aggregate, edge, row->folded);
	aggregate->servers -= row->folded && row->edge.id != aggregate->other.id;
	row_index_remove(&aggregate->edges_index, row->edge.id, edge);
	sums_give(&aggregate->sums, row->pane);
	sums_give(&aggregate->sums, row->second);
	frozen_clear(&row->minute);
	frozen_clear(&row->hour);
	*row = (struct edge_row){.lanes = aggregate->edges_vacant};
	aggregate->edges_vacant = edge;
	aggregate->edges_count--;
}

void edge_touch(struct aggregate *aggregate, uint32_t edge)
{
	if (aggregate->edges[edge].pane)
		return;
	aggregate->edges[edge].pane = sums_take(&aggregate->sums);
	list_add(&aggregate->touched, edge);
}

static int compare_edges(const void *a, const void *b, void *context)
{
	const struct edge_row *edges = context;
	uint64_t left = edges[*(const uint32_t *)a].edge.id;
	uint64_t right = edges[*(const uint32_t *)b].edge.id;
	return (left > right) - (left < right);
}

static void order_places(struct aggregate *aggregate)
{
	for (uint32_t i = 0; i < aggregate->order.count; i++)
		aggregate->edges[aggregate->order.items[i]].place = i;
}

void live_sort(struct aggregate *aggregate)
{
	struct list *order = &aggregate->order, *fresh = &aggregate->fresh_edges;
	uint32_t count = 0, old = order->count;
	for (uint32_t i = 0; i < fresh->count; i++)
		if (aggregate->edges[fresh->items[i]].fresh)
			fresh->items[count++] = fresh->items[i];
	fresh->count = count;
	if (count == 0)
		return;
	qsort_r(fresh->items, count, sizeof(*fresh->items), compare_edges, aggregate->edges);
	for (uint32_t i = 0; i < count; i++) {
		aggregate->edges[fresh->items[i]].fresh = false;
		list_add(order, 0);
	}
	/* From the back: the old ones move up into the room of the new. */
	for (uint32_t to = order->count; count > 0;) {
		bool take_old =
			old > 0 && compare_edges(&order->items[old - 1], &fresh->items[count - 1],
						 aggregate->edges) > 0;
		order->items[--to] = take_old ? order->items[--old] : fresh->items[--count];
	}
	fresh->count = 0;
	order_places(aggregate);
}

void live_unsort(struct aggregate *aggregate)
{
	struct list *order = &aggregate->order;
	uint32_t stay = 0;
	for (uint32_t i = 0; i < order->count; i++)
		if (aggregate->edges[order->items[i]].live)
			order->items[stay++] = order->items[i];
	order->count = stay;
	order_places(aggregate);
}

/* --- lanes --- */

static uint64_t lane_row_hash(uint64_t edge_id, uint64_t lane_id)
{
	uint64_t hash = (edge_id ^ (edge_id >> 32)) * 0x9e3779b97f4a7c15ULL + lane_id;
	return hash ^ (hash >> 29);
}

static uint32_t lane_find(const struct aggregate *aggregate, uint64_t edge_id, uint64_t lane_id)
{
	uint64_t hash = lane_row_hash(edge_id, lane_id);
	uint64_t at = row_index_start(&aggregate->lanes_index, hash);
	uint32_t lane;
	while ((lane = row_index_next(&aggregate->lanes_index, hash, &at)) != ROW_NONE)
		if (aggregate->lanes[lane].edge.id == edge_id &&
		    aggregate->lanes[lane].lane.id == lane_id)
			return lane;
	return 0;
}

static uint32_t lane_row_place(struct aggregate *aggregate)
{
	uint32_t lane = aggregate->lanes_vacant;
	if (lane) {
		aggregate->lanes_vacant = aggregate->lanes[lane].next;
		return lane;
	}
	lane = aggregate->lanes_used++;
	if (lane >= aggregate->lanes_capacity) {
		aggregate->lanes_capacity =
			(uint32_t)memory_grown(aggregate->lanes_capacity, lane + 1);
		aggregate->lanes = memory_resize(aggregate->lanes, aggregate->lanes_capacity,
						 sizeof(*aggregate->lanes));
		aggregate->ways = memory_resize(aggregate->ways, aggregate->lanes_capacity,
						sizeof(*aggregate->ways));
	}
	return lane;
}

uint32_t lane_know(struct aggregate *aggregate, const struct edge *edge, const struct lane *lane)
{
	uint32_t row = lane_find(aggregate, edge->id, lane->id);
	if (row)
		return row;
	row = lane_row_place(aggregate);
	aggregate->lanes[row] = (struct lane_row){.edge = *edge, .lane = *lane};
	aggregate->ways[row] = (struct lane_way){0};
	row_index_add(&aggregate->lanes_index, lane_row_hash(edge->id, lane->id), row);
	return row;
}

void lane_forget(struct aggregate *aggregate, uint32_t lane)
{
	struct lane_row *row = &aggregate->lanes[lane];
	assert(!row->live && !row->users);
	row_index_remove(&aggregate->lanes_index, lane_row_hash(row->edge.id, row->lane.id), lane);
	*row = (struct lane_row){.next = aggregate->lanes_vacant};
	aggregate->ways[lane] = (struct lane_way){0};
	aggregate->lanes_vacant = lane;
}

void lane_enter(struct aggregate *aggregate, uint32_t lane, uint32_t edge, bool folded)
{
	struct lane_row *row = &aggregate->lanes[lane];
	struct edge_row *above = &aggregate->edges[edge];
	assert(!row->live);
	row->live = edge;
	row->sum = sums_take(&aggregate->sums);
	row->samples = 0;
	row->folded = folded;
	row->fresh = true;
	row->next = above->lanes;
	above->lanes = lane;
	above->count += !folded;
	above->fresh_count += !folded;
	list_add(&aggregate->fresh_lanes, lane);
	++*row_counter(aggregate, edge, folded);
}

void lane_leave(struct aggregate *aggregate, uint32_t lane)
{
	struct lane_row *row = &aggregate->lanes[lane];
	struct edge_row *above = &aggregate->edges[row->live];
	above->count -= !row->folded;
	above->fresh_count -= !row->folded && row->fresh;
	--*row_counter(aggregate, row->live, row->folded);
	sums_give(&aggregate->sums, row->sum);
	row->live = row->sum = row->pane = row->samples = row->next = 0;
	row->fresh = row->shown = false;
}

static void pane_lanes_grow(struct aggregate *aggregate)
{
	uint32_t capacity = (uint32_t)memory_grown(aggregate->pane_lanes_capacity,
						   aggregate->pane_lanes_count + 1);
	size_t size = sizeof(struct pane_lane);
	void *memory = memory_zeroed((size_t)capacity + 1, size);
	struct pane_lane *lanes =
		(struct pane_lane *)(((uintptr_t)memory + size - 1) & ~(uintptr_t)(size - 1));
	if (aggregate->pane_lanes)
		memcpy(lanes, aggregate->pane_lanes, aggregate->pane_lanes_count * size);
	free(aggregate->pane_lanes_memory);
	aggregate->pane_lanes = lanes;
	aggregate->pane_lanes_memory = memory;
	aggregate->pane_lanes_capacity = capacity;
}

uint32_t pane_lane_of(struct aggregate *aggregate, uint32_t lane)
{
	_Static_assert(sizeof(struct pane_lane) == 128, "a lane of the pane is two cache lines");
	struct lane_row *row = &aggregate->lanes[lane];
	if (row->pane)
		return row->pane;
	if (aggregate->pane_lanes_count >= aggregate->pane_lanes_capacity)
		pane_lanes_grow(aggregate);
	row->pane = aggregate->pane_lanes_count++;
	aggregate->pane_lanes[row->pane] =
		(struct pane_lane){.hot = {.key = lane}, .edge = row->live};
	return row->pane;
}

struct sum *pane_lane_wide(struct aggregate *aggregate, struct pane_lane *lane)
{
	if (!lane->wide)
		lane->wide = sums_take(&aggregate->sums);
	return &aggregate->sums.sums[lane->wide];
}

void event_into(const struct event *event, int64_t *values)
{
	values[COUNTER_OPENED] += event->opened;
	values[COUNTER_CLOSED] += event->closed;
	values[COUNTER_JOINED] += event->joined;
	values[COUNTER_RESETS] += event->resets;
	values[COUNTER_TIMEOUTS] += event->timeouts;
	values[COUNTER_CONNECT_US] += (int64_t)event->connect_us;
	values[COUNTER_CONNECT_COUNT] += event->connect_count;
	for (unsigned i = 0; i < 4; i++) {
		values[COUNTER_FAILED_REFUSED + i] += event->failed[i];
		values[COUNTER_FAILED] += event->failed[i];
	}
}

void pane_lane_into(const struct aggregate *aggregate, const struct pane_lane *lane,
		    struct sum *sum)
{
	enum { FIELD = 21, FIELD_MASK = (1 << FIELD) - 1 };
	int64_t *values = sum->values;
	struct hot hot = lane->hot;
	hot_spill(&hot, sum, COLUMNS);
	values[COUNTER_ACTIVE] += (int64_t)(lane->active[0] & FIELD_MASK);
	values[COLUMN_ACTIVE_1S] += (int64_t)(lane->active[0] >> FIELD & FIELD_MASK);
	values[COLUMN_ACTIVE_10S] += (int64_t)(lane->active[0] >> 2 * FIELD);
	values[COLUMN_ACTIVE_60S] += (int64_t)(lane->active[1] & UINT32_MAX);
	values[COLUMN_ACTIVE_1H] += (int64_t)(lane->active[1] >> 32);
	values[COUNTER_CLIENT_RETRANSMITS] += (int64_t)lane->retransmits[0];
	values[COUNTER_SERVER_RETRANSMITS] += (int64_t)lane->retransmits[1];
	values[COUNTER_RETRANSMITS] += (int64_t)lane->retransmits[2];
	values[COUNTER_AGENT_ISSUED] += (int64_t)lane->lost;
	if (lane->event)
		event_into(&aggregate->events[lane->event], values);
	if (lane->wide)
		sum_add(sum, &aggregate->sums.sums[lane->wide]);
}

/* --- parts --- */

uint32_t part_enter(struct aggregate *aggregate, uint32_t edge, uint32_t instance, enum side side,
		    bool folded)
{
	struct edge_row *above = &aggregate->edges[edge];
	uint32_t row = parts_add(&aggregate->parts, edge, instance, side);
	struct part *part = &aggregate->parts.rows[row];
	part->folded = folded & 1;
	part->fresh = 1;
	part->next = above->parts[side];
	above->parts[side] = row;
	above->count += !folded;
	above->fresh_count += !folded;
	list_add(&aggregate->fresh_parts, row);
	roster_hold(aggregate->instances, instance);
	++*row_counter(aggregate, edge, folded);
	return row;
}

void part_leave(struct aggregate *aggregate, uint32_t row)
{
	struct part *part = &aggregate->parts.rows[row];
	struct edge_row *above = &aggregate->edges[part->edge];
	above->count -= !part->folded;
	above->fresh_count -= !part->folded && part->fresh;
	--*row_counter(aggregate, part->edge, part->folded);
	if (part->folded)
		above->others[part->side] = 0;
	roster_drop(aggregate->instances, part->instance);
	sums_give(&aggregate->sums, part->wide);
	parts_remove(&aggregate->parts, row);
}

struct sum *part_wide(struct aggregate *aggregate, struct part *part)
{
	if (!part->wide)
		part->wide = sums_take(&aggregate->sums);
	return &aggregate->sums.sums[part->wide];
}

void part_into(const struct aggregate *aggregate, const struct part *part, struct sum *sum)
{
	int64_t *values = sum->values;
	struct hot hot = part->hot;
	hot_spill(&hot, sum, COLUMN_ACTIVE_10S);
	values[COUNTER_OPENED] += part->opened;
	values[COUNTER_CLOSED] += part->closed;
	values[COUNTER_JOINED] += part->joined;
	values[COUNTER_CONNECT_COUNT] += part->connect_count;
	values[COUNTER_CONNECT_US] += part->connect_us;
	values[COUNTER_RESETS] += part->resets;
	values[COUNTER_AGENT_ISSUED] += part->lost;
	values[COUNTER_CLIENT_RETRANSMITS] += part->retransmits[0];
	values[COUNTER_SERVER_RETRANSMITS] += part->retransmits[1];
	values[COUNTER_RETRANSMITS] += part->retransmits[2];
	if (part->wide)
		sum_add(sum, &aggregate->sums.sums[part->wide]);
}
