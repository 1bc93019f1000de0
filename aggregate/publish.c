/* Emptying: at a pane's end its lanes flow into their edges and 10 s sums, and what was touched
 * goes out as rollups, a chunk at a time. */
#include <stdlib.h>
#include <string.h>

#include "aggregate/other.h"
#include "aggregate/state.h"

static const unsigned active_column[WINDOWS] = {
	[WINDOW_PANE] = COUNTER_ACTIVE,	  [WINDOW_1S] = COLUMN_ACTIVE_1S,
	[WINDOW_10S] = COLUMN_ACTIVE_10S, [WINDOW_60S] = COLUMN_ACTIVE_60S,
	[WINDOW_1H] = COLUMN_ACTIVE_1H,
};

/* --- chunks --- */

static void chunk_emit(struct aggregate *aggregate)
{
	struct chunk *chunk = &aggregate->chunk;
	const struct aggregate_sinks *sinks = &aggregate->options.sinks;
	if (chunk->count == 0)
		return;
	sinks->rollups(sinks->context, chunk->rows, chunk->count, aggregate->names);
	aggregate->stats.emitted += chunk->count;
	chunk->count = chunk->cells_count = 0;
}

/* The next row, all zeros but for the window; two full sketches have room. */
static struct rollup *chunk_row(struct aggregate *aggregate, enum window window, uint64_t start_ns)
{
	struct chunk *chunk = &aggregate->chunk;
	if (chunk->count == CHUNK_ROWS || chunk->cells_count + 2 * SKETCH_INDEXES > CHUNK_CELLS)
		chunk_emit(aggregate);
	struct rollup *rollup = &chunk->rows[chunk->count++];
	*rollup = (struct rollup){
		.window_start_ns = start_ns,
		.window_ms = (uint32_t)(window_ns[window] / NS_PER_MS),
	};
	return rollup;
}

static struct sketch_cell *chunk_cells(struct aggregate *aggregate)
{
	return &aggregate->chunk.cells[aggregate->chunk.cells_count];
}

static void rollup_fill(struct rollup *rollup, const struct sum *sum, enum window window)
{
	memcpy(rollup->counters, sum->values, sizeof(rollup->counters));
	rollup->counters[COUNTER_ACTIVE] = sum->values[active_column[window]];
	rollup->min_rtt_us = sum->min_rtt_us;
	rollup->last_event_ns = sum->last_event_ns;
}

struct instance publish_instance(const struct aggregate *aggregate, const struct edge *edge,
				 uint32_t number, enum scope scope)
{
	if (number)
		return *instance_at(aggregate, number);
	return other_instance(scope == SCOPE_CLIENT ? edge->client : edge->server);
}

/* --- names --- */

static uint64_t missing(const struct aggregate *aggregate, const uint64_t *ids, size_t count)
{
	uint64_t missing = 0;
	for (size_t i = 0; i < count; i++)
		missing += names_get(aggregate->names, ids[i]) == NULL;
	return missing;
}

static void check_names(struct aggregate *aggregate, const struct rollup *rollup)
{
	const struct lane *lane = &rollup->lane;
	const struct instance *instance = &rollup->instance;
	const uint64_t edges[] = {rollup->edge.client, rollup->edge.server};
	const uint64_t lanes[] = {lane->client_zone, lane->server_zone, lane->client_version,
				  lane->server_version};
	const uint64_t instances[] = {instance->workload, instance->version,   instance->zone,
				      instance->node,	  instance->container, instance->process};
	if (rollup->scope == SCOPE_EDGE)
		aggregate->stats.unnamed += missing(aggregate, edges, 2);
	else if (rollup->scope == SCOPE_LANE)
		aggregate->stats.unnamed += missing(aggregate, lanes, 4);
	else
		aggregate->stats.unnamed += missing(aggregate, instances, 6);
}

/* --- sketches --- */

enum { FEW = 24 }; /* codes that are sorted by insertion */

static uint32_t cells_of_few(uint16_t *codes, size_t count, struct sketch_cell *cells)
{
	uint32_t filled = 0;
	for (size_t i = 1; i < count; i++) {
		uint16_t code = codes[i];
		size_t to = i;
		for (; to > 0 && codes[to - 1] > code; to--)
			codes[to] = codes[to - 1];
		codes[to] = code;
	}
	for (size_t i = 0; i < count; i++) {
		if (filled && cells[filled - 1].index == codes[i])
			cells[filled - 1].count++;
		else
			cells[filled++] = (struct sketch_cell){.index = codes[i], .count = 1};
	}
	return filled;
}

/* Sorts codes into cells by counting; returns how many. */
static uint32_t cells_of(struct aggregate *aggregate, uint16_t *codes, size_t count,
			 struct sketch_cell *cells)
{
	if (count <= FEW)
		return cells_of_few(codes, count, cells);
	uint32_t *counts = aggregate->counts, filled = 0;
	uint16_t low = UINT16_MAX, high = 0;
	for (size_t i = 0; i < count; i++) {
		low = codes[i] < low ? codes[i] : low;
		high = codes[i] > high ? codes[i] : high;
		counts[codes[i]]++;
	}
	for (uint32_t index = low; index <= high; index++) {
		if (!counts[index])
			continue;
		cells[filled++] =
			(struct sketch_cell){.index = (uint16_t)index, .count = counts[index]};
		counts[index] = 0;
	}
	return filled;
}

static void codes_reserve(struct aggregate *aggregate, size_t count)
{
	if (count <= aggregate->codes_capacity)
		return;
	aggregate->codes_capacity = memory_grown(aggregate->codes_capacity, count);
	aggregate->codes = memory_resize(aggregate->codes, aggregate->codes_capacity,
					 sizeof(*aggregate->codes));
}

/* The connect times of a row: of a short window its newest `count` that were in time, else all. */
static void fill_connect(struct aggregate *aggregate, struct rollup *rollup, uint32_t list,
			 enum window window)
{
	bool all = window == WINDOW_10S;
	size_t found = 0, wanted = (size_t)rollup->counters[COUNTER_CONNECT_COUNT];
	if (!list || (!all && !wanted))
		return;
	for (; list && (all || found < wanted); list = aggregate->samples[list].next) {
		const struct sample *sample = &aggregate->samples[list];
		if (sample->late && !all)
			continue;
		codes_reserve(aggregate, found + 1);
		aggregate->codes[found++] = sample->code;
	}
	rollup->connect = chunk_cells(aggregate);
	rollup->connect_cells = cells_of(aggregate, aggregate->codes, found, rollup->connect);
	aggregate->chunk.cells_count += rollup->connect_cells;
}

/* --- what goes out, in order --- */

static void walk_add(struct aggregate *aggregate, uint32_t edge)
{
	uint32_t place = aggregate->edges[edge].place;
	aggregate->walk[place / 64] |= 1ULL << (place & 63);
}

static void walk_begin(struct aggregate *aggregate)
{
	uint32_t words = aggregate->order.count / 64 + 1;
	if (words > aggregate->walk_capacity) {
		aggregate->walk_capacity = (uint32_t)memory_grown(aggregate->walk_capacity, words);
		aggregate->walk = memory_resize(aggregate->walk, aggregate->walk_capacity,
						sizeof(*aggregate->walk));
	}
	memset(aggregate->walk, 0, words * sizeof(*aggregate->walk));
}

static void walk_add_all(struct aggregate *aggregate, const struct list *edges)
{
	for (uint32_t i = 0; i < edges->count; i++)
		if (aggregate->edges[edges->items[i]].live)
			walk_add(aggregate, edges->items[i]);
}

/* Edges that were added and those that the last window showed, in the order of output. */
static void walk_edges(struct aggregate *aggregate, enum window window)
{
	struct list *shown = &aggregate->shown[window], *walk = &aggregate->scratch;
	walk_add_all(aggregate, shown);
	shown->count = walk->count = 0;
	for (uint32_t word = 0; word <= aggregate->order.count / 64; word++)
		for (uint64_t bits = aggregate->walk[word]; bits; bits &= bits - 1)
			list_add(walk, aggregate->order
					       .items[word * 64 + (uint32_t)__builtin_ctzll(bits)]);
}

static struct rollup *publish_edge(struct aggregate *aggregate, uint32_t edge,
				   const struct sum *sum, enum window window, uint64_t start_ns)
{
	struct edge_row *row = &aggregate->edges[edge];
	struct rollup *rollup = chunk_row(aggregate, window, start_ns);
	rollup->scope = SCOPE_EDGE;
	rollup->edge = row->edge;
	rollup_fill(rollup, sum, window);
	if (!row->shown)
		check_names(aggregate, rollup);
	row->shown = true;
	return rollup;
}

/* Notes that the window showed the edge with something in it, or not. */
static void note_shown(struct aggregate *aggregate, uint32_t edge, enum window window, bool touched)
{
	struct edge_row *row = &aggregate->edges[edge];
	row->published &= (uint8_t) ~(1 << window);
	if (!touched)
		return;
	row->published |= (uint8_t)(1 << window);
	if (window < WINDOW_10S)
		list_add(&aggregate->shown[window], edge);
}

/* --- parts of an edge, sorted --- */

struct ranked {
	uint64_t id;
	uint32_t row;
	uint32_t scope;
};

static int compare_ranked(const void *a, const void *b)
{
	const struct ranked *left = a, *right = b;
	if (left->scope != right->scope)
		return left->scope < right->scope ? -1 : 1;
	return (left->id > right->id) - (left->id < right->id);
}

struct ranking {
	struct ranked *items;
	uint32_t count;
	uint32_t capacity;
};

static void ranking_add(struct ranking *ranking, uint64_t id, uint32_t row, uint32_t scope)
{
	if (ranking->count == ranking->capacity) {
		ranking->capacity = (uint32_t)memory_grown(ranking->capacity, ranking->count + 1);
		ranking->items =
			memory_resize(ranking->items, ranking->capacity, sizeof(*ranking->items));
	}
	ranking->items[ranking->count++] = (struct ranked){id, row, scope};
}

static void ranking_sort(struct ranking *ranking)
{
	struct ranked *items = ranking->items;
	if (ranking->count > FEW) {
		qsort(items, ranking->count, sizeof(*items), compare_ranked);
		return;
	}
	for (uint32_t i = 1; i < ranking->count; i++) {
		struct ranked item = items[i];
		uint32_t to = i;
		for (; to > 0 && compare_ranked(&items[to - 1], &item) > 0; to--)
			items[to] = items[to - 1];
		items[to] = item;
	}
}

static uint64_t part_id(const struct aggregate *aggregate, const struct part *part)
{
	enum scope scope = part->side == SIDE_CLIENT ? SCOPE_CLIENT : SCOPE_SERVER;
	if (part->instance)
		return instance_at(aggregate, part->instance)->id;
	return publish_instance(aggregate, &aggregate->edges[part->edge].edge, 0, scope).id;
}

/* A row about a lane or part, to be filled in. */
static struct rollup *begin_lane(struct aggregate *aggregate, uint32_t lane, enum window window,
				 uint64_t start_ns)
{
	const struct lane_row *row = &aggregate->lanes[lane];
	struct rollup *rollup = chunk_row(aggregate, window, start_ns);
	rollup->scope = SCOPE_LANE;
	rollup->edge = aggregate->edges[row->live].edge;
	rollup->lane = row->lane;
	return rollup;
}

static struct rollup *begin_part(struct aggregate *aggregate, uint32_t number, enum window window,
				 uint64_t start_ns)
{
	const struct part *part = &aggregate->parts.rows[number];
	struct rollup *rollup = chunk_row(aggregate, window, start_ns);
	enum scope scope = part->side == SIDE_CLIENT ? SCOPE_CLIENT : SCOPE_SERVER;
	rollup->scope = (uint8_t)scope;
	rollup->edge = aggregate->edges[part->edge].edge;
	rollup->instance = publish_instance(aggregate, &rollup->edge, part->instance, scope);
	return rollup;
}

static void end_lane(struct aggregate *aggregate, uint32_t lane, struct rollup *rollup,
		     enum window window)
{
	struct lane_row *row = &aggregate->lanes[lane];
	fill_connect(aggregate, rollup, row->samples, window);
	if (!row->shown)
		check_names(aggregate, rollup);
	row->shown = true;
}

static void end_part(struct aggregate *aggregate, uint32_t number, struct rollup *rollup,
		     enum window window)
{
	struct part *part = &aggregate->parts.rows[number];
	fill_connect(aggregate, rollup, part->samples, window);
	if (!part->shown)
		check_names(aggregate, rollup);
	part->shown = 1;
}

/* --- the pane --- */

static void publish_event(struct aggregate *aggregate, const struct event *event, uint64_t start_ns)
{
	bool lane = event->scope == SCOPE_LANE;
	struct rollup *rollup =
		(lane ? begin_lane : begin_part)(aggregate, event->row, WINDOW_PANE, start_ns);
	event_into(event, rollup->counters);
	rollup->counters[COUNTER_AGENT_RECEIVED] = (int64_t)event->received;
	rollup->counters[COUNTER_AGENT_ISSUED] = (int64_t)event->issued;
	(lane ? end_lane : end_part)(aggregate, event->row, rollup, WINDOW_PANE);
}

static void publish_events(struct aggregate *aggregate, uint32_t edge, uint64_t start_ns,
			   struct ranking *ranking)
{
	ranking->count = 0;
	for (uint32_t slot = aggregate->edges[edge].events; slot;
	     slot = aggregate->events[slot].next) {
		const struct event *event = &aggregate->events[slot];
		if (!event->row)
			continue;
		uint64_t id = event->scope == SCOPE_LANE
				      ? aggregate->lanes[event->row].lane.id
				      : part_id(aggregate, &aggregate->parts.rows[event->row]);
		ranking_add(ranking, id, slot, event->scope);
	}
	aggregate->edges[edge].events = 0;
	ranking_sort(ranking);
	for (uint32_t i = 0; i < ranking->count; i++)
		publish_event(aggregate, &aggregate->events[ranking->items[i].row], start_ns);
}

/* A part's own columns of its window; what is seldom, or too large, goes to its wide sum. */
static void part_live(struct aggregate *aggregate, const struct event *event)
{
	struct part *part = &aggregate->parts.rows[event->row];
	part->opened += event->opened;
	part->closed += event->closed;
	part->joined += event->joined;
	part->connect_count += event->connect_count;
	part->resets += event->resets;
	uint64_t connect_us = part->connect_us + event->connect_us;
	bool seldom = event->timeouts | event->failed[0] | event->failed[1] | event->failed[2] |
		      event->failed[3];
	if (!seldom && connect_us <= UINT32_MAX) {
		part->connect_us = (uint32_t)connect_us;
		return;
	}
	struct sum *wide = part_wide(aggregate, part);
	wide->values[COUNTER_CONNECT_US] += (int64_t)event->connect_us;
	wide->values[COUNTER_TIMEOUTS] += event->timeouts;
	for (unsigned i = 0; i < 4; i++) {
		wide->values[COUNTER_FAILED_REFUSED + i] += event->failed[i];
		wide->values[COUNTER_FAILED] += event->failed[i];
	}
	wide->touched = true;
}

/* Lanes and events of the pane into edges, lanes' 10 s sums and parts. */
static void pane_flow(struct aggregate *aggregate)
{
	for (uint32_t i = 1; i < aggregate->pane_lanes_count; i++) {
		struct pane_lane *lane = &aggregate->pane_lanes[i];
		if (!lane->hot.key)
			continue;
		struct lane_row *row = &aggregate->lanes[lane->hot.key];
		row->pane = 0;
		if (!lane->hot.last_event_ns && !lane->wide)
			continue; /* touched by what counts in long windows only */
		edge_touch(aggregate, lane->edge);
		pane_lane_into(aggregate, lane, &aggregate->sums.sums[row->sum]);
		pane_lane_into(aggregate, lane,
			       &aggregate->sums.sums[aggregate->edges[lane->edge].pane]);
		sums_give(&aggregate->sums, lane->wide);
	}
	for (uint32_t i = 1; i < aggregate->events_count; i++) {
		const struct event *event = &aggregate->events[i];
		if (event->row && event->scope != SCOPE_LANE)
			part_live(aggregate, event);
	}
}

static void pane_clear(struct aggregate *aggregate)
{
	for (uint32_t i = 0; i < aggregate->ways_set.count; i++)
		aggregate->ways[aggregate->ways_set.items[i]].pane = 0;
	aggregate->ways_set.count = 0;
	aggregate->pane_lanes_count = 1;
	aggregate->events_count = 1;
	aggregate->pane_records = 0;
	aggregate->srtt_pane = aggregate->srtt_count;
}

static void publish_pane_edge(struct aggregate *aggregate, uint32_t edge, uint64_t start_ns)
{
	static const struct sum zeros;
	const struct edge_row *row = &aggregate->edges[edge];
	const struct sum *sum = row->pane ? &aggregate->sums.sums[row->pane] : &zeros;
	struct rollup *rollup = publish_edge(aggregate, edge, sum, WINDOW_PANE, start_ns);
	fill_connect(aggregate, rollup, row->samples, WINDOW_PANE);
	note_shown(aggregate, edge, WINDOW_PANE, row->pane != 0);
}

static void publish_panes(struct aggregate *aggregate, uint64_t start_ns)
{
	struct ranking ranking = {0};
	walk_begin(aggregate);
	walk_add_all(aggregate, &aggregate->touched);
	walk_add_all(aggregate, &aggregate->eventful);
	walk_edges(aggregate, WINDOW_PANE);
	for (uint32_t i = 0; i < aggregate->scratch.count; i++) {
		uint32_t edge = aggregate->scratch.items[i];
		struct edge_row *row = &aggregate->edges[edge];
		if (row->pane || row->published >> WINDOW_PANE & 1)
			publish_pane_edge(aggregate, edge, start_ns);
		/* Instances may have rows where their lane had none. */
		if (row->events)
			publish_events(aggregate, edge, start_ns, &ranking);
	}
	aggregate->eventful.count = 0;
	free(ranking.items);
	chunk_emit(aggregate);
}

/* The edges' panes become, or are added to, their seconds. */
static void flow_seconds(struct aggregate *aggregate)
{
	for (uint32_t i = 0; i < aggregate->touched.count; i++) {
		struct edge_row *row = &aggregate->edges[aggregate->touched.items[i]];
		if (!row->second) {
			row->second = row->pane;
			list_add(&aggregate->seconds, aggregate->touched.items[i]);
		} else {
			sum_add(&aggregate->sums.sums[row->second],
				&aggregate->sums.sums[row->pane]);
			sums_give(&aggregate->sums, row->pane);
		}
		row->pane = 0;
	}
	aggregate->touched.count = 0;
}

static void publish_seconds(struct aggregate *aggregate, uint64_t start_ns)
{
	static const struct sum zeros;
	walk_begin(aggregate);
	walk_add_all(aggregate, &aggregate->seconds);
	walk_edges(aggregate, WINDOW_1S);
	for (uint32_t i = 0; i < aggregate->scratch.count; i++) {
		uint32_t edge = aggregate->scratch.items[i];
		struct edge_row *row = &aggregate->edges[edge];
		if (!row->second && !(row->published >> WINDOW_1S & 1))
			continue;
		const struct sum *sum = row->second ? &aggregate->sums.sums[row->second] : &zeros;
		struct rollup *rollup = publish_edge(aggregate, edge, sum, WINDOW_1S, start_ns);
		fill_connect(aggregate, rollup, row->samples, WINDOW_1S);
		note_shown(aggregate, edge, WINDOW_1S, row->second != 0);
		sums_give(&aggregate->sums, row->second);
		row->second = 0;
	}
	aggregate->seconds.count = 0;
	chunk_emit(aggregate);
}

/* --- ten seconds --- */

/* Groups the window's samples by edge: those of an edge stand from starts[edge] on. */
static void sort_srtt(struct aggregate *aggregate)
{
	uint32_t edges = aggregate->edges_used, count = aggregate->srtt_count;
	uint32_t *starts = memory_zeroed((size_t)edges + 1, sizeof(*starts));
	uint16_t *codes = memory_resize(NULL, count, sizeof(*codes));
	for (uint32_t i = 0; i < count; i++)
		starts[(aggregate->srtt[i] >> 12) + 1]++;
	for (uint32_t edge = 1; edge <= edges; edge++)
		starts[edge] += starts[edge - 1];
	for (uint32_t i = 0; i < count; i++)
		codes[starts[aggregate->srtt[i] >> 12]++] = aggregate->srtt[i] & 0xfff;
	/* Each start is now its edge's end. */
	aggregate->srtt_starts = starts;
	aggregate->srtt_codes = codes;
}

static void fill_srtt(struct aggregate *aggregate, struct rollup *rollup, uint32_t edge)
{
	uint32_t from = edge ? aggregate->srtt_starts[edge - 1] : 0;
	rollup->srtt = chunk_cells(aggregate);
	rollup->srtt_cells = cells_of(aggregate, aggregate->srtt_codes + from,
				      aggregate->srtt_starts[edge] - from, rollup->srtt);
	aggregate->chunk.cells_count += rollup->srtt_cells;
}

static void publish_lanes(struct aggregate *aggregate, uint32_t edge, uint64_t start_ns,
			  struct ranking *ranking)
{
	ranking->count = 0;
	for (uint32_t lane = aggregate->edges[edge].lanes; lane; lane = aggregate->lanes[lane].next)
		if (aggregate->sums.sums[aggregate->lanes[lane].sum].touched)
			ranking_add(ranking, aggregate->lanes[lane].lane.id, lane, SCOPE_LANE);
	ranking_sort(ranking);
	for (uint32_t i = 0; i < ranking->count; i++) {
		uint32_t lane = ranking->items[i].row;
		struct rollup *rollup = begin_lane(aggregate, lane, WINDOW_10S, start_ns);
		rollup_fill(rollup, &aggregate->sums.sums[aggregate->lanes[lane].sum], WINDOW_10S);
		end_lane(aggregate, lane, rollup, WINDOW_10S);
	}
}

static void publish_parts(struct aggregate *aggregate, uint32_t edge, enum side side,
			  uint64_t start_ns, struct ranking *ranking)
{
	const struct part *parts = aggregate->parts.rows;
	ranking->count = 0;
	for (uint32_t part = aggregate->edges[edge].parts[side]; part; part = parts[part].next) {
		__builtin_prefetch(&parts[parts[part].next].next);
		if (part_is_touched(&parts[part]))
			ranking_add(ranking, part_id(aggregate, &parts[part]), part, 0);
	}
	ranking_sort(ranking);
	for (uint32_t i = 0; i < ranking->count; i++) {
		struct sum sum = {.touched = true};
		uint32_t part = ranking->items[i].row;
		struct rollup *rollup = begin_part(aggregate, part, WINDOW_10S, start_ns);
		part_into(aggregate, &parts[part], &sum);
		rollup_fill(rollup, &sum, WINDOW_10S);
		end_part(aggregate, part, rollup, WINDOW_10S);
	}
}

/* Empties the rows of the window that went out; those that it did not touch leave. */
static void sweep_lanes(struct aggregate *aggregate, uint32_t edge)
{
	uint32_t *at = &aggregate->edges[edge].lanes;
	while (*at) {
		uint32_t lane = *at;
		struct lane_row *row = &aggregate->lanes[lane];
		struct sum *sum = &aggregate->sums.sums[row->sum];
		row->samples = 0;
		if (sum->touched) {
			memset(sum, 0, sizeof(*sum));
			at = &row->next;
			continue;
		}
		*at = row->next;
		lane_leave(aggregate, lane);
		aggregate->stats.expired++;
	}
}

static void part_clear(struct aggregate *aggregate, struct part *part)
{
	hot_clear(&part->hot);
	part->opened = part->closed = part->joined = part->connect_count = 0;
	part->connect_us = part->lost = part->resets = part->samples = 0;
	memset(part->retransmits, 0, sizeof(part->retransmits));
	sums_give(&aggregate->sums, part->wide);
	part->wide = 0;
}

static void sweep_parts(struct aggregate *aggregate, uint32_t edge, enum side side)
{
	uint32_t *at = &aggregate->edges[edge].parts[side];
	while (*at) {
		uint32_t number = *at;
		struct part *part = &aggregate->parts.rows[number];
		if (part_is_touched(part)) {
			part_clear(aggregate, part);
			at = &part->next;
			continue;
		}
		*at = part->next;
		part_leave(aggregate, number);
		aggregate->stats.expired++;
	}
}

/* What the 10 s row of an edge showed flows on into its minute. */
static void flow_minute(struct aggregate *aggregate, uint32_t edge, const struct sum *sum,
			const struct rollup *rollup)
{
	struct frozen *minute = &aggregate->edges[edge].minute;
	struct thawed *thawed = &aggregate->thawed;
	frozen_thaw(minute, thawed);
	sum_add(&thawed->sum, sum);
	aggregate->stats.saturated +=
		sketch_merge(&thawed->connect, rollup->connect, rollup->connect_cells) +
		sketch_merge(&thawed->srtt, rollup->srtt, rollup->srtt_cells);
	frozen_freeze(minute, thawed);
}

static void publish_ten(struct aggregate *aggregate, uint32_t edge, uint64_t start_ns,
			struct ranking *ranking)
{
	struct sum sum = {0};
	for (uint32_t lane = aggregate->edges[edge].lanes; lane; lane = aggregate->lanes[lane].next)
		sum_add(&sum, &aggregate->sums.sums[aggregate->lanes[lane].sum]);
	struct edge_row *row = &aggregate->edges[edge];
	int64_t weight = sum.values[COLUMN_ACTIVE_10S] + sum.values[COUNTER_FAILED];
	row->weight = weight > 0 ? (uint64_t)weight : 0; /* amended below 0 */
	if (sum.touched || row->published >> WINDOW_10S & 1) {
		struct rollup *rollup = publish_edge(aggregate, edge, &sum, WINDOW_10S, start_ns);
		fill_connect(aggregate, rollup, row->samples, WINDOW_10S);
		fill_srtt(aggregate, rollup, edge);
		if (sum.touched)
			flow_minute(aggregate, edge, &sum, rollup);
	}
	note_shown(aggregate, edge, WINDOW_10S, sum.touched);
	publish_lanes(aggregate, edge, start_ns, ranking);
	publish_parts(aggregate, edge, SIDE_CLIENT, start_ns, ranking);
	publish_parts(aggregate, edge, SIDE_SERVER, start_ns, ranking);
	sweep_lanes(aggregate, edge);
	sweep_parts(aggregate, edge, SIDE_CLIENT);
	sweep_parts(aggregate, edge, SIDE_SERVER);
	row->samples = 0;
}

static void publish_tens(struct aggregate *aggregate, uint64_t start_ns)
{
	struct ranking ranking = {0};
	sort_srtt(aggregate);
	for (uint32_t i = 0; i < aggregate->order.count; i++)
		publish_ten(aggregate, aggregate->order.items[i], start_ns, &ranking);
	chunk_emit(aggregate);
	free(ranking.items);
	free(aggregate->srtt_starts);
	free(aggregate->srtt_codes);
	aggregate->srtt_starts = NULL;
	aggregate->srtt_codes = NULL;
	aggregate->srtt_count = 0;
	aggregate->samples_count = 1;
}

/* --- minutes and hours --- */

static void fill_sketch(struct aggregate *aggregate, const struct sketch *sketch,
			struct sketch_cell **cells, uint32_t *count)
{
	*cells = chunk_cells(aggregate);
	*count = sketch->count;
	if (sketch->count)
		memcpy(*cells, sketch->cells, sketch->count * sizeof(*sketch->cells));
	aggregate->chunk.cells_count += sketch->count;
}

static void publish_long(struct aggregate *aggregate, enum window window, uint64_t start_ns)
{
	struct thawed *thawed = &aggregate->ten;
	uint64_t pane = pane_of(aggregate->start_ns);
	for (uint32_t i = 0; i < aggregate->order.count; i++) {
		uint32_t edge = aggregate->order.items[i];
		struct edge_row *row = &aggregate->edges[edge];
		struct frozen *frozen = window == WINDOW_60S ? &row->minute : &row->hour;
		/* Used as long as their edge has rows to come. */
		names_due(aggregate->names, row->edge.client, 0, pane);
		names_due(aggregate->names, row->edge.server, 0, pane);
		if (!frozen->bytes)
			continue;
		frozen_thaw(frozen, thawed);
		struct rollup *rollup =
			publish_edge(aggregate, edge, &thawed->sum, window, start_ns);
		fill_sketch(aggregate, &thawed->connect, &rollup->connect, &rollup->connect_cells);
		fill_sketch(aggregate, &thawed->srtt, &rollup->srtt, &rollup->srtt_cells);
		if (window == WINDOW_60S) {
			frozen_thaw(&row->hour, &aggregate->thawed);
			aggregate->stats.saturated += thawed_add(&aggregate->thawed, thawed);
			frozen_freeze(&row->hour, &aggregate->thawed);
		}
		frozen_clear(frozen);
	}
	chunk_emit(aggregate);
}

static void sweep_edges(struct aggregate *aggregate)
{
	uint32_t before = aggregate->edges_count;
	for (uint32_t i = 0; i < aggregate->order.count; i++) {
		uint32_t edge = aggregate->order.items[i];
		const struct edge_row *row = &aggregate->edges[edge];
		bool stays = row->lanes || row->parts[0] || row->parts[1] || row->minute.bytes ||
			     row->hour.bytes || row->published >> WINDOW_10S & 1;
		if (!stays)
			edge_remove(aggregate, edge);
	}
	aggregate->stats.expired += before - aggregate->edges_count;
	if (before != aggregate->edges_count)
		live_unsort(aggregate);
}

/* --- all --- */

void publish_pane(struct aggregate *aggregate)
{
	uint64_t start_ns = aggregate->start_ns, end_ns = start_ns + PANE_NS;
	guard_settle(aggregate);
	live_sort(aggregate);
	pane_flow(aggregate);
	publish_panes(aggregate, start_ns);
	flow_seconds(aggregate);
	pane_clear(aggregate);
	if (end_ns % window_ns[WINDOW_1S] == 0)
		publish_seconds(aggregate, end_ns - window_ns[WINDOW_1S]);
	if (end_ns % window_ns[WINDOW_10S] != 0)
		return;
	publish_tens(aggregate, end_ns - window_ns[WINDOW_10S]);
	if (end_ns % window_ns[WINDOW_60S] == 0)
		publish_long(aggregate, WINDOW_60S, end_ns - window_ns[WINDOW_60S]);
	if (end_ns % window_ns[WINDOW_1H] == 0)
		publish_long(aggregate, WINDOW_1H, end_ns - window_ns[WINDOW_1H]);
	sweep_edges(aggregate);
	guard_demote(aggregate);
}

struct rollup *publish_stage(struct aggregate *aggregate)
{
	if (aggregate->amendments_count == aggregate->amendments_capacity) {
		aggregate->amendments_capacity = memory_grown(aggregate->amendments_capacity,
							      aggregate->amendments_count + 1);
		aggregate->amendments =
			memory_resize(aggregate->amendments, aggregate->amendments_capacity,
				      sizeof(*aggregate->amendments));
	}
	struct rollup *rollup = &aggregate->amendments[aggregate->amendments_count++];
	*rollup = (struct rollup){.amendment = true};
	return rollup;
}

static uint64_t rollup_sub_id(const struct rollup *rollup)
{
	return rollup->scope == SCOPE_LANE ? rollup->lane.id : rollup->instance.id;
}

static int compare_amendments(const void *a, const void *b)
{
	const struct rollup *left = a, *right = b;
	const uint64_t ids[5][2] = {
		{left->window_ms, right->window_ms},
		{left->window_start_ns, right->window_start_ns},
		{left->edge.id, right->edge.id},
		{left->scope, right->scope},
		{rollup_sub_id(left), rollup_sub_id(right)},
	};
	for (unsigned i = 0; i < 5; i++)
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
void publish_amendments(struct aggregate *aggregate)
{
	struct rollup *amendments = aggregate->amendments;
	size_t count = aggregate->amendments_count;
	if (count == 0)
		return;
	qsort(amendments, count, sizeof(*amendments), compare_amendments);
	for (size_t i = 0; i < count;) {
		struct rollup *rollup = &amendments[i];
		size_t same = i + 1;
		for (; same < count && compare_amendments(rollup, &amendments[same]) == 0; same++)
			for (unsigned counter = 0; counter < COUNTERS; counter++)
				rollup->counters[counter] += amendments[same].counters[counter];
		if (!rollup_is_zero(rollup)) {
			*chunk_row(aggregate, WINDOW_10S, 0) = *rollup;
			aggregate->stats.amended++;
		}
		i = same;
	}
	chunk_emit(aggregate);
	aggregate->amendments_count = 0;
}
