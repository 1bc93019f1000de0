#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

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

static void lines_grow(struct aggregate *aggregate, uint32_t before)
{
	enum { LINE = 64 };
	size_t size = sizeof(struct edge_lines);
	void *memory = memory_zeroed((size_t)aggregate->edges_capacity + 1, size);
	struct edge_lines *lines =
		(struct edge_lines *)(((uintptr_t)memory + LINE - 1) & ~(uintptr_t)(LINE - 1));
	if (before)
		memcpy(lines, aggregate->lines, before * size);
	memory_free(aggregate->lines_memory);
	aggregate->lines = lines;
	aggregate->lines_memory = memory;
}

static uint32_t edge_place(struct aggregate *aggregate)
{
	uint32_t edge = aggregate->edges_vacant;
	if (edge) {
		aggregate->edges_vacant = aggregate->edges[edge].next;
		return edge;
	}
	edge = aggregate->edges_used++;
	uint32_t before = aggregate->edges_capacity;
	if (edge >= before) {
		aggregate->edges_capacity = (uint32_t)memory_grown(before, edge + 1);
		aggregate->edges = memory_resize(aggregate->edges, aggregate->edges_capacity,
						 sizeof(*aggregate->edges));
		aggregate->places = memory_resize(aggregate->places, aggregate->edges_capacity,
						  sizeof(*aggregate->places));
		lines_grow(aggregate, before);
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
	aggregate->places[row] = NOWHERE;
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
	struct edge_lines *lines = &aggregate->lines[edge];
	assert(!lines->pane.hot.edge && !lines->second.hot.edge && !lines->ten.hot.edge);
	frozen_clear(&row->minute);
	frozen_clear(&row->hour);
	*row = (struct edge_row){.next = aggregate->edges_vacant};
	aggregate->places[edge] = NOWHERE;
	aggregate->edges_vacant = edge;
	aggregate->edges_count--;
}

/* --- an edge's short windows --- */

struct edge_line *edge_touch(struct aggregate *aggregate, uint32_t edge)
{
	struct edge_line *pane = &aggregate->lines[edge].pane;
	if (!pane->hot.edge) {
		pane->hot.edge = edge;
		list_add(&aggregate->touched, edge);
	}
	return pane;
}

struct sum *edge_ten(struct aggregate *aggregate, uint32_t edge)
{
	struct edge_line *ten = &aggregate->lines[edge].ten;
	ten->hot.edge = edge;
	return line_wide(aggregate, ten);
}

struct sum *line_wide(struct aggregate *aggregate, struct edge_line *line)
{
	if (!line->life.wide)
		line->life.wide = sums_take(&aggregate->sums);
	return &aggregate->sums.sums[line->life.wide];
}

static void wide_into(struct aggregate *aggregate, uint32_t *wide, struct sum *sum)
{
	if (!*wide)
		return;
	sum_add(sum, &aggregate->sums.sums[*wide]);
	sums_give(&aggregate->sums, *wide);
	*wide = 0;
}

/* The fields of a pane, as those of longer lines. */
static void pane_widen(struct edge_line *pane)
{
	uint64_t near = pane->active[0] >> PANE_FIELD;
	pane->active[0] = (near & ((1U << PANE_FIELD) - 1)) | near >> PANE_FIELD << 32;
}

void pane_into(struct aggregate *aggregate, struct edge_line *pane, struct sum *sum)
{
	uint32_t active = pane_active(pane);
	pane_widen(pane);
	line_into(aggregate, pane, sum);
	column_add(sum, COUNTER_ACTIVE, active);
}

void line_into(struct aggregate *aggregate, struct edge_line *line, struct sum *sum)
{
	hot_store(&line->hot, &line->life, sum->values, COUNTER_ACTIVE);
	if (line->hot.last_event_ns)
		sum_add_times(sum, line->hot.last_event_ns, hot_min_rtt_us(&line->hot));
	sum->values[COUNTER_ACTIVE] = 0;
	sum->values[COLUMN_ACTIVE_1S] = (int64_t)(line->active[0] & UINT32_MAX);
	sum->values[COLUMN_ACTIVE_10S] = (int64_t)(line->active[0] >> 32);
	sum->values[COLUMN_ACTIVE_60S] = (int64_t)(line->active[1] & UINT32_MAX);
	sum->values[COLUMN_ACTIVE_1H] = (int64_t)(line->active[1] >> 32);
	wide_into(aggregate, &line->life.wide, sum);
	*line = (struct edge_line){0};
}

/* Fields of `active` do not run over: a pane's are 21 bits, and a window has 40 panes at most. */
VECTOR_CLONES void line_flow(struct aggregate *aggregate, struct edge_line *line,
			     struct edge_line *to, uint32_t edge)
{
	const struct addend addend = {
		.side = line->hot.side,
		.counted = line->hot.counted,
		.other = line->hot.other,
		.time_ns = line->hot.last_event_ns,
		.nearest = line->hot.nearest,
	};
	columns4 over = hot_add(&to->hot, &addend) | life_add(&to->life, &line->life);
	to->hot.edge = edge;
	to->active[0] += line->active[0];
	to->active[1] += line->active[1];
	if (columns_over(over))
		hot_spill(&to->hot, &to->life, line_wide(aggregate, to), COLUMNS);
	if (line->life.wide)
		wide_into(aggregate, &line->life.wide, line_wide(aggregate, to));
	*line = (struct edge_line){0};
}

void pane_flow(struct aggregate *aggregate, struct edge_line *pane, struct edge_line *to,
	       uint32_t edge)
{
	pane_widen(pane);
	line_flow(aggregate, pane, to, edge);
}

/* --- the order of output --- */

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
		aggregate->places[aggregate->order.items[i]] = i;
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
