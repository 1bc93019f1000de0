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

static void pane_edges_grow(struct aggregate *aggregate, uint32_t before)
{
	size_t size = sizeof(struct pane_edge);
	void *memory = memory_zeroed((size_t)aggregate->edges_capacity + 1, size);
	struct pane_edge *panes =
		(struct pane_edge *)(((uintptr_t)memory + size - 1) & ~(uintptr_t)(size - 1));
	if (before)
		memcpy(panes, aggregate->pane_edges, before * size);
	free(aggregate->pane_edges_memory);
	aggregate->pane_edges = panes;
	aggregate->pane_edges_memory = memory;
}

static uint32_t edge_place(struct aggregate *aggregate)
{
	uint32_t edge = aggregate->edges_vacant;
	if (edge) {
		aggregate->edges_vacant = aggregate->edges[edge].place;
		return edge;
	}
	edge = aggregate->edges_used++;
	uint32_t before = aggregate->edges_capacity;
	if (edge >= before) {
		aggregate->edges_capacity = (uint32_t)memory_grown(before, edge + 1);
		aggregate->edges = memory_resize(aggregate->edges, aggregate->edges_capacity,
						 sizeof(*aggregate->edges));
		pane_edges_grow(aggregate, before);
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
	assert(row->live && !row->parts[SCOPE_LANE] && !row->parts[SCOPE_CLIENT] &&
	       !row->parts[SCOPE_SERVER]);
	--*row_counter(aggregate, edge, row->folded);
	aggregate->servers -= row->folded && row->edge.id != aggregate->other.id;
	row_index_remove(&aggregate->edges_index, row->edge.id, edge);
	assert(!aggregate->pane_edges[edge].hot.edge);
	sums_give(&aggregate->sums, row->second);
	sums_give(&aggregate->sums, row->ten);
	frozen_clear(&row->minute);
	frozen_clear(&row->hour);
	*row = (struct edge_row){.place = aggregate->edges_vacant};
	aggregate->edges_vacant = edge;
	aggregate->edges_count--;
}

struct pane_edge *pane_edge_touch(struct aggregate *aggregate, uint32_t edge)
{
	struct pane_edge *pane = &aggregate->pane_edges[edge];
	if (!pane->hot.edge) {
		pane->hot.edge = edge;
		list_add(&aggregate->touched, edge);
	}
	return pane;
}

struct sum *pane_edge_wide(struct aggregate *aggregate, struct pane_edge *pane)
{
	if (!pane->life.wide)
		pane->life.wide = sums_take(&aggregate->sums);
	return &aggregate->sums.sums[pane->life.wide];
}

static void wide_into(struct aggregate *aggregate, uint32_t *wide, struct sum *sum)
{
	if (!*wide)
		return;
	sum_add(sum, &aggregate->sums.sums[*wide]);
	sums_give(&aggregate->sums, *wide);
	*wide = 0;
}

void pane_edge_into(struct aggregate *aggregate, struct pane_edge *pane, struct sum *sum)
{
	enum { FIELD = 21, FIELD_MASK = (1 << FIELD) - 1 };
	hot_store(&pane->hot, &pane->life, sum->values, COUNTER_ACTIVE);
	if (pane->hot.last_event_ns)
		sum_add_times(sum, pane->hot.last_event_ns, hot_min_rtt_us(&pane->hot));
	sum->values[COUNTER_ACTIVE] = (int64_t)(pane->active[0] & FIELD_MASK);
	sum->values[COLUMN_ACTIVE_1S] = (int64_t)(pane->active[0] >> FIELD & FIELD_MASK);
	sum->values[COLUMN_ACTIVE_10S] = (int64_t)(pane->active[0] >> 2 * FIELD);
	sum->values[COLUMN_ACTIVE_60S] = (int64_t)(pane->active[1] & UINT32_MAX);
	sum->values[COLUMN_ACTIVE_1H] = (int64_t)(pane->active[1] >> 32);
	wide_into(aggregate, &pane->life.wide, sum);
	*pane = (struct pane_edge){0};
}

struct sum *edge_ten(struct aggregate *aggregate, uint32_t edge)
{
	struct edge_row *row = &aggregate->edges[edge];
	if (!row->ten)
		row->ten = sums_take(&aggregate->sums);
	return &aggregate->sums.sums[row->ten];
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
	assert(!row->part && !row->users);
	row_index_remove(&aggregate->lanes_index, lane_row_hash(row->edge.id, row->lane.id), lane);
	*row = (struct lane_row){.next = aggregate->lanes_vacant};
	aggregate->ways[lane] = (struct lane_way){0};
	aggregate->lanes_vacant = lane;
}

/* --- parts --- */

uint32_t part_enter(struct aggregate *aggregate, uint32_t edge, uint32_t member, enum scope scope,
		    bool folded)
{
	struct edge_row *above = &aggregate->edges[edge];
	uint32_t row = parts_add(&aggregate->parts, edge, member, scope);
	struct part *part = &aggregate->parts.rows[row];
	part->folded = folded & 1;
	part->fresh = 1;
	part->next = above->parts[scope];
	above->parts[scope] = row;
	above->count += !folded;
	above->fresh_count += !folded;
	list_add(&aggregate->fresh_parts, row);
	if (scope == SCOPE_LANE)
		aggregate->lanes[member].part = row;
	else
		roster_hold(aggregate->instances, member);
	++*row_counter(aggregate, edge, folded);
	return row;
}

void part_leave(struct aggregate *aggregate, uint32_t row)
{
	struct part *part = &aggregate->parts.rows[row];
	struct edge_row *above = &aggregate->edges[part->hot.edge];
	above->count -= !part->folded;
	above->fresh_count -= !part->folded && part->fresh;
	--*row_counter(aggregate, part->hot.edge, part->folded);
	if (part->folded)
		above->others[part->scope] = 0;
	if (part->scope == SCOPE_LANE) {
		aggregate->lanes[part->member].part = 0;
		aggregate->ways[part->member].part = 0;
	} else {
		roster_drop(aggregate->instances, part->member);
	}
	sums_give(&aggregate->sums, part->life.wide);
	parts_remove(&aggregate->parts, row);
}

struct sum *part_wide(struct aggregate *aggregate, struct part *part)
{
	if (!part->life.wide)
		part->life.wide = sums_take(&aggregate->sums);
	return &aggregate->sums.sums[part->life.wide];
}

void part_into(struct aggregate *aggregate, struct part *part, struct sum *sum)
{
	hot_store(&part->hot, &part->life, sum->values, COLUMN_ACTIVE_10S);
	if (part->hot.last_event_ns)
		sum_add_times(sum, part->hot.last_event_ns, hot_min_rtt_us(&part->hot));
	wide_into(aggregate, &part->life.wide, sum);
	part->hot = (struct hot){.edge = part->hot.edge};
	part->life = (struct life){0};
}

uint64_t part_id(const struct aggregate *aggregate, const struct part *part)
{
	const struct edge *edge = &aggregate->edges[part->hot.edge].edge;
	if (part->scope == SCOPE_LANE)
		return aggregate->lanes[part->member].lane.id;
	if (part->member)
		return instance_at(aggregate, part->member)->id;
	return publish_instance(aggregate, edge, 0, part->scope).id;
}
