/* Emptying: at a pane's end what was touched goes out as rollups, a chunk at a time, and flows on
 * into the next longer windows of its edges. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "aggregate/other.h"
#include "aggregate/state.h"
#include "aggregate/tally.h"
#include "base/memory.h"

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

/* The next row of an edge. All of it is the caller's to fill but its window, edge and scope, and
 * what it has not: a scope's rows leave what is other scopes' alone, so a place is only wiped when
 * the scope changes. Two full sketches have room. */
static struct rollup *chunk_row(struct aggregate *aggregate, enum window window, uint64_t start_ns,
				enum scope scope, const struct edge *edge)
{
	struct chunk *chunk = &aggregate->chunk;
	if (chunk->count == CHUNK_ROWS || chunk->cells_count + 2 * SKETCH_INDEXES > CHUNK_CELLS)
		chunk_emit(aggregate);
	struct rollup *rollup = &chunk->rows[chunk->count++];
	if (rollup->scope != scope || rollup->amendment) {
		rollup->lane = (struct lane){0};
		rollup->instance = (struct instance){0};
	}
	rollup->window_start_ns = start_ns;
	rollup->window_ms = (uint32_t)(window_ns[window] / NS_PER_MS);
	rollup->scope = (uint8_t)scope;
	rollup->amendment = false;
	rollup->edge = *edge;
	rollup->connect = rollup->srtt = NULL;
	rollup->connect_cells = rollup->srtt_cells = 0;
	return rollup;
}

static struct sketch_cell *chunk_cells(struct aggregate *aggregate)
{
	return &aggregate->chunk.cells[aggregate->chunk.cells_count];
}

static void rollup_fill(struct aggregate *aggregate, struct rollup *rollup, const struct sum *sum,
			enum window window)
{
	aggregate->stats.saturated += sum->saturated;
	memcpy(rollup->counters, sum->values, sizeof(rollup->counters));
	rollup->counters[COUNTER_ACTIVE] = sum->values[active_column[window]];
	rollup->min_rtt_us = sum->min_rtt_us;
	rollup->last_event_ns = sum->last_event_ns;
}

/* What does not fit a compact row, or is rare, on top of what does. */
static __attribute__((noinline)) void fill_wide(struct aggregate *aggregate, uint32_t wide,
						struct rollup *rollup, enum window window)
{
	struct sum sum = {.last_event_ns = rollup->last_event_ns, .min_rtt_us = rollup->min_rtt_us};
	memcpy(sum.values, rollup->counters, sizeof(rollup->counters));
	sum.values[active_column[window]] = rollup->counters[COUNTER_ACTIVE];
	sum_add(&sum, &aggregate->sums.sums[wide]);
	rollup_fill(aggregate, rollup, &sum, window);
}

static VECTOR_CLONES void fill_compact(struct aggregate *aggregate, const struct hot *hot,
				       const struct life *life, uint32_t active,
				       struct rollup *rollup, enum window window)
{
	hot_store(hot, life, rollup->counters, COUNTER_ACTIVE);
	rollup->counters[COUNTER_ACTIVE] = active;
	rollup->last_event_ns = hot->last_event_ns;
	rollup->min_rtt_us = hot_min_rtt_us(hot);
	if (life->wide)
		fill_wide(aggregate, life->wide, rollup, window);
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

static inline void cells_count(struct aggregate *aggregate, uint16_t code)
{
	struct tallied *tallied = &aggregate->tallied;
	tallied->counts[code]++;
	tallied->bits[code / 64] |= 1ULL << (code & 63);
	tallied->octaves |= 1ULL << (code / 64);
}

/* What was counted becomes the next cells of the chunk, by index. */
static uint32_t cells_take(struct aggregate *aggregate, struct sketch_cell **cells)
{
	struct tallied *tallied = &aggregate->tallied;
	struct sketch_cell *cell = *cells = chunk_cells(aggregate);
	for (; tallied->octaves; tallied->octaves &= tallied->octaves - 1) {
		unsigned octave = (unsigned)__builtin_ctzll(tallied->octaves);
		for (uint64_t bits = tallied->bits[octave]; bits; bits &= bits - 1) {
			unsigned index = octave * 64 + (unsigned)__builtin_ctzll(bits);
			*cell++ = (struct sketch_cell){.index = (uint16_t)index,
						       .count = tallied->counts[index]};
			tallied->counts[index] = 0;
		}
		tallied->bits[octave] = 0;
	}
	uint32_t count = (uint32_t)(cell - *cells);
	aggregate->chunk.cells_count += count;
	return count;
}

/* The connect times of a row: of a short window its newest `count` that were in time, else all. */
static void fill_connect(struct aggregate *aggregate, struct rollup *rollup, uint32_t list,
			 enum window window)
{
	bool all = window == WINDOW_10S;
	uint64_t wanted = (uint64_t)rollup->counters[COUNTER_CONNECT_COUNT];
	if (!list || (!all && !wanted))
		return;
	for (; list && (all || wanted); list = aggregate->samples[list].next[rollup->scope]) {
		const struct sample *sample = &aggregate->samples[list];
		if (sample->late && !all)
			continue;
		cells_count(aggregate, sample->code);
		wanted--;
	}
	rollup->connect_cells = cells_take(aggregate, &rollup->connect);
}

/* --- what goes out, in order --- */

static void walk_add(struct aggregate *aggregate, uint32_t edge)
{
	uint32_t place = aggregate->places[edge];
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
		if (aggregate->places[edges->items[i]] != NOWHERE)
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

/* What is needed soon of the edge at this place of the walk. */
static inline void fetch_edge(const struct aggregate *aggregate, uint32_t at)
{
	if (at >= aggregate->scratch.count)
		return;
	uint32_t edge = aggregate->scratch.items[at];
	const char *row = (const char *)&aggregate->edges[edge];
	const struct edge_lines *lines = &aggregate->lines[edge];
	__builtin_prefetch(row, 1);
	__builtin_prefetch(row + 64, 1);
	__builtin_prefetch(&lines->pane, 1);
	__builtin_prefetch(&lines->pane.life, 1);
	__builtin_prefetch(&lines->second, 1);
	__builtin_prefetch(&lines->second.life, 1);
}

/* A row about an edge, to be filled in. */
static struct rollup *publish_edge(struct aggregate *aggregate, uint32_t edge, enum window window,
				   uint64_t start_ns)
{
	struct edge_row *row = &aggregate->edges[edge];
	struct rollup *rollup = chunk_row(aggregate, window, start_ns, SCOPE_EDGE, &row->edge);
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
	uint32_t pad;
};

static int compare_ranked(const void *a, const void *b)
{
	const struct ranked *left = a, *right = b;
	return (left->id > right->id) - (left->id < right->id);
}

enum {
	FEW = 24,      /* sorted by insertion */
	FEW_EDGES = 4, /* whose lists are fetched together */
	AHEAD = 8,     /* edges whose memory is asked for before they are published */
};

struct ranking {
	struct ranked *items;
	uint32_t count;
	uint32_t capacity;
};

static void ranking_add(struct ranking *ranking, uint64_t id, uint32_t row)
{
	if (ranking->count == ranking->capacity) {
		ranking->capacity = (uint32_t)memory_grown(ranking->capacity, ranking->count + 1);
		ranking->items =
			memory_resize(ranking->items, ranking->capacity, sizeof(*ranking->items));
	}
	ranking->items[ranking->count++] = (struct ranked){.id = id, .row = row};
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
		for (; to > 0 && items[to - 1].id > item.id; to--)
			items[to] = items[to - 1];
		items[to] = item;
	}
}

/* Who a row is about. */
static inline void fetch_member(const struct aggregate *aggregate, enum scope scope,
				uint32_t number)
{
	const char *member = scope == SCOPE_LANE ? (const char *)&aggregate->lanes[number].lane
						 : (const char *)instance_at(aggregate, number);
	__builtin_prefetch(member);
	__builtin_prefetch(member + 64);
}

/* A row about a lane or instance, to be filled in. */
static struct rollup *begin_part(struct aggregate *aggregate, const struct edge *edge,
				 const struct part *part, enum window window, uint64_t start_ns)
{
	struct rollup *rollup = chunk_row(aggregate, window, start_ns, part->scope, edge);
	if (part->scope == SCOPE_LANE)
		rollup->lane = aggregate->lanes[part->member].lane;
	else if (part->member)
		rollup->instance = *instance_at(aggregate, part->member);
	else
		rollup->instance = publish_instance(aggregate, edge, 0, part->scope);
	return rollup;
}

static void end_part(struct aggregate *aggregate, struct part *part, struct rollup *rollup,
		     enum window window)
{
	fill_connect(aggregate, rollup, part->samples, window);
	if (!part->shown)
		check_names(aggregate, rollup);
	part->shown = 1;
}

/* --- the pane --- */

static int compare_told(const void *a, const void *b)
{
	const struct told *left = a, *right = b;
	if (left->scope != right->scope)
		return left->scope < right->scope ? -1 : 1;
	return (left->id > right->id) - (left->id < right->id);
}

static void telling_reserve(struct telling *telling, uint32_t places)
{
	uint32_t before = telling->first_capacity;
	if (places <= before)
		return;
	telling->first_capacity = (uint32_t)memory_grown(before, places);
	telling->first =
		memory_resize(telling->first, telling->first_capacity, sizeof(*telling->first));
	memset(telling->first + before, 0,
	       (telling->first_capacity - before) * sizeof(*telling->first));
}

static uint32_t telling_item(struct telling *telling)
{
	if (telling->count >= telling->capacity) {
		telling->capacity = (uint32_t)memory_grown(telling->capacity, telling->count + 1);
		telling->items =
			memory_resize(telling->items, telling->capacity, sizeof(*telling->items));
	}
	return telling->count++;
}

static void telling_add(struct aggregate *aggregate, uint32_t event, uint32_t edge, uint32_t row)
{
	struct telling *telling = &aggregate->telling;
	struct part *part = &aggregate->parts.rows[row];
	uint32_t *next = &aggregate->events[event].next[part->scope - SCOPE_LANE];
	if (part->told) {
		*next = telling->items[part->told].events;
		telling->items[part->told].events = event + 1;
		return;
	}
	uint32_t number = telling_item(telling), *first = &telling->first[aggregate->places[edge]];
	telling->items[number] = (struct told){
		.id = part_id(aggregate, part),
		.row = row,
		.scope = part->scope,
		.member = part->member,
		.events = event + 1,
		.next = *first,
	};
	*next = 0;
	*first = number;
	part->told = number & TOLD_MAX;
}

static bool edge_is_suspect(const struct aggregate *aggregate, uint32_t edge)
{
	uint64_t trouble = aggregate->edges[edge].trouble;
	return trouble && trouble + SUSPICION_PANES >= pane_of(aggregate->start_ns);
}

static void tell_event(struct aggregate *aggregate, uint32_t number)
{
	const struct event *event = &aggregate->events[number];
	if (!edge_is_suspect(aggregate, event->edge))
		return;
	for (unsigned i = 0; i < 3; i++)
		telling_add(aggregate, number, event->edge, event->parts[i]);
}

/* Some rows have moved, maybe to an edge that had nothing in the pane. */
static void tell_moved(struct aggregate *aggregate, uint32_t number)
{
	const struct event *event = &aggregate->events[number];
	uint32_t edge = guard_seek_edge(aggregate, &aggregate->lanes[event->lane].edge);
	if (!edge || !edge_is_suspect(aggregate, edge))
		return;
	const uint32_t members[SCOPES] = {0, event->lane, event->client, event->server};
	for (unsigned scope = SCOPE_LANE; scope < SCOPES; scope++) {
		uint32_t row = guard_seek_part(aggregate, edge, members[scope], scope);
		if (!row)
			continue;
		telling_add(aggregate, number, aggregate->parts.rows[row].hot.edge, row);
		walk_add(aggregate, aggregate->parts.rows[row].hot.edge);
	}
}

static void telling_begin(struct aggregate *aggregate)
{
	struct telling *telling = &aggregate->telling;
	uint64_t pane = pane_of(aggregate->start_ns);
	telling->count = 1;
	if (!aggregate->trouble || aggregate->trouble + SUSPICION_PANES < pane)
		return;
	telling_reserve(telling, aggregate->order.count);
	for (uint32_t i = 0; i < aggregate->events_count; i++)
		if (aggregate->moved)
			tell_moved(aggregate, i);
		else
			tell_event(aggregate, i);
}

/* Rows of which one edge tells, in order; returns how many. */
static uint32_t telling_sort(struct telling *telling, uint32_t first)
{
	uint32_t count = 0;
	for (uint32_t at = first; at; at = telling->items[at].next)
		count++;
	if (count > telling->sorted_capacity) {
		telling->sorted_capacity = (uint32_t)memory_grown(telling->sorted_capacity, count);
		telling->sorted = memory_resize(telling->sorted, telling->sorted_capacity,
						sizeof(*telling->sorted));
	}
	count = 0;
	for (uint32_t at = first; at; at = telling->items[at].next) {
		const struct told *item = &telling->items[at];
		uint32_t to = count++;
		if (count <= FEW)
			for (; to > 0 && compare_told(&telling->sorted[to - 1], item) > 0; to--)
				telling->sorted[to] = telling->sorted[to - 1];
		telling->sorted[to] = *item;
	}
	if (count > FEW)
		qsort(telling->sorted, count, sizeof(*telling->sorted), compare_told);
	return count;
}

static void event_into(const struct event *event, int64_t *values)
{
	uint32_t bits = event->bits, reason = bits >> RECORD_REASON_SHIFT;
	uint64_t issued = (uint64_t)event->received + event->lost;
	bool opened = bits & DELTA_OPENED, closed = bits & DELTA_CLOSED;
	values[COUNTER_OPENED] += opened;
	values[COUNTER_JOINED] += opened && bits & RECORD_JOINED;
	values[COUNTER_CLOSED] += closed;
	values[COUNTER_RESETS] += closed && reason == CLOSE_RESET;
	values[COUNTER_TIMEOUTS] += closed && reason == CLOSE_TIMEOUT;
	values[COUNTER_CONNECT_COUNT] += event->connect_us != 0;
	value_add(&values[COUNTER_CONNECT_US], tally_value(event->connect_us));
	value_add(&values[COUNTER_AGENT_RECEIVED], event->received);
	value_add(&values[COUNTER_AGENT_ISSUED], (int64_t)issued);
	if (bits & DELTA_FAILED) {
		values[COUNTER_FAILED]++;
		values[failure_counter(reason)]++;
	}
}

/* Rows of what the edge is suspected for. */
static void publish_told(struct aggregate *aggregate, uint32_t edge, uint64_t start_ns)
{
	struct telling *telling = &aggregate->telling;
	uint32_t *first = &telling->first[aggregate->places[edge]];
	const struct edge *identity = &aggregate->edges[edge].edge;
	uint32_t count = telling_sort(telling, *first);
	*first = 0;
	for (uint32_t i = 0; i < count; i++)
		fetch_member(aggregate, telling->sorted[i].scope, telling->sorted[i].member);
	for (uint32_t i = 0; i < count; i++) {
		const struct told *told = &telling->sorted[i];
		struct part *part = &aggregate->parts.rows[told->row];
		struct rollup *rollup =
			begin_part(aggregate, identity, part, WINDOW_PANE, start_ns);
		memset(rollup->counters, 0, sizeof(rollup->counters));
		rollup->min_rtt_us = 0;
		rollup->last_event_ns = 0;
		for (uint32_t at = told->events; at;) {
			const struct event *event = &aggregate->events[at - 1];
			event_into(event, rollup->counters);
			at = event->next[told->scope - SCOPE_LANE];
		}
		part->told = 0;
		end_part(aggregate, part, rollup, WINDOW_PANE);
	}
}

static void pane_clear(struct aggregate *aggregate)
{
	for (uint32_t i = 0; i < aggregate->ways_set.count; i++)
		aggregate->ways[aggregate->ways_set.items[i]].part = 0;
	aggregate->ways_set.count = aggregate->touched.count = 0;
	aggregate->events_count = 0;
	aggregate->pane_records = 0;
	aggregate->srtt_pane = aggregate->srtt_count;
}

static void publish_pane_edge(struct aggregate *aggregate, uint32_t edge, uint64_t start_ns)
{
	struct edge_lines *lines = &aggregate->lines[edge];
	bool touched = lines->pane.hot.edge;
	struct rollup *rollup = publish_edge(aggregate, edge, WINDOW_PANE, start_ns);
	fill_compact(aggregate, &lines->pane.hot, &lines->pane.life, pane_active(&lines->pane),
		     rollup, WINDOW_PANE);
	fill_connect(aggregate, rollup, aggregate->edges[edge].samples, WINDOW_PANE);
	note_shown(aggregate, edge, WINDOW_PANE, touched);
	if (!touched)
		return;
	if (!lines->second.hot.edge)
		list_add(&aggregate->seconds, edge);
	pane_flow(aggregate, &lines->pane, &lines->second, edge);
}

static void publish_panes(struct aggregate *aggregate, uint64_t start_ns)
{
	walk_begin(aggregate);
	telling_begin(aggregate);
	walk_add_all(aggregate, &aggregate->touched);
	walk_edges(aggregate, WINDOW_PANE);
	bool tells = aggregate->telling.count > 1;
	for (uint32_t i = 0; i < aggregate->scratch.count; i++) {
		uint32_t edge = aggregate->scratch.items[i];
		fetch_edge(aggregate, i + AHEAD);
		if (aggregate->lines[edge].pane.hot.edge ||
		    aggregate->edges[edge].published >> WINDOW_PANE & 1)
			publish_pane_edge(aggregate, edge, start_ns);
		if (tells && aggregate->telling.first[aggregate->places[edge]])
			publish_told(aggregate, edge, start_ns);
	}
	chunk_emit(aggregate);
}

static void publish_second(struct aggregate *aggregate, uint32_t edge, uint64_t start_ns)
{
	struct edge_line *second = &aggregate->lines[edge].second;
	bool touched = second->hot.edge;
	if (!touched && !(aggregate->edges[edge].published >> WINDOW_1S & 1))
		return;
	struct rollup *rollup = publish_edge(aggregate, edge, WINDOW_1S, start_ns);
	fill_compact(aggregate, &second->hot, &second->life, (uint32_t)second->active[0], rollup,
		     WINDOW_1S);
	fill_connect(aggregate, rollup, aggregate->edges[edge].samples, WINDOW_1S);
	note_shown(aggregate, edge, WINDOW_1S, touched);
	if (touched)
		line_flow(aggregate, second, &aggregate->lines[edge].ten, edge);
}

static void publish_seconds(struct aggregate *aggregate, uint64_t start_ns)
{
	walk_begin(aggregate);
	walk_add_all(aggregate, &aggregate->seconds);
	walk_edges(aggregate, WINDOW_1S);
	for (uint32_t i = 0; i < aggregate->scratch.count; i++) {
		fetch_edge(aggregate, i + AHEAD);
		publish_second(aggregate, aggregate->scratch.items[i], start_ns);
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
	for (uint32_t at = from; at < aggregate->srtt_starts[edge]; at++)
		cells_count(aggregate, aggregate->srtt_codes[at]);
	rollup->srtt_cells = cells_take(aggregate, &rollup->srtt);
}

/* All columns of the row; the part begins anew. */
static void fill_part(struct aggregate *aggregate, struct part *part, struct rollup *rollup)
{
	fill_compact(aggregate, &part->hot, &part->life, part->hot.other[3], rollup, WINDOW_10S);
	sums_give(&aggregate->sums, part->life.wide);
	part->hot = (struct hot){.edge = part->hot.edge};
	part->life = (struct life){0};
}

/* Rows that the window touched go out and begin anew, the others leave; the list is in order
 * then, so that few have to be moved the next time. */
static void publish_parts(struct aggregate *aggregate, uint32_t edge, enum scope scope,
			  uint64_t start_ns, struct ranking *ranking)
{
	struct part *parts = aggregate->parts.rows;
	const struct edge *identity = &aggregate->edges[edge].edge;
	ranking->count = 0;
	for (uint32_t next, row = aggregate->edges[edge].parts[scope]; row; row = next) {
		next = parts[row].next;
		if (part_is_touched(&parts[row])) {
			ranking_add(ranking, part_id(aggregate, &parts[row]), row);
			continue;
		}
		part_leave(aggregate, row);
		aggregate->stats.expired++;
	}
	ranking_sort(ranking);
	uint32_t *at = &aggregate->edges[edge].parts[scope];
	for (uint32_t i = 0; i < ranking->count; i++) {
		uint32_t row = ranking->items[i].row;
		struct part *part = &parts[row];
		struct rollup *rollup = begin_part(aggregate, identity, part, WINDOW_10S, start_ns);
		fill_part(aggregate, part, rollup);
		end_part(aggregate, part, rollup, WINDOW_10S);
		part->samples = 0;
		*at = row;
		at = &part->next;
	}
	*at = 0;
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
	struct edge_row *row = &aggregate->edges[edge];
	struct edge_line *ten = &aggregate->lines[edge].ten;
	struct sum sum = {.touched = ten->hot.edge};
	if (sum.touched)
		line_into(aggregate, ten, &sum);
	int64_t weight = sum.values[COLUMN_ACTIVE_10S];
	value_add(&weight, sum.values[COUNTER_FAILED]);
	row->weight = weight > 0 ? (uint64_t)weight : 0; /* amended below 0 */
	if (sum.touched || row->published >> WINDOW_10S & 1) {
		struct rollup *rollup = publish_edge(aggregate, edge, WINDOW_10S, start_ns);
		rollup_fill(aggregate, rollup, &sum, WINDOW_10S);
		fill_connect(aggregate, rollup, row->samples, WINDOW_10S);
		fill_srtt(aggregate, rollup, edge);
		if (sum.touched)
			flow_minute(aggregate, edge, &sum, rollup);
	}
	note_shown(aggregate, edge, WINDOW_10S, sum.touched);
	for (unsigned scope = SCOPE_LANE; scope < SCOPES; scope++)
		publish_parts(aggregate, edge, scope, start_ns, ranking);
	row->samples = 0;
}

static inline void fetch_part(const struct part *part)
{
	__builtin_prefetch(&part->hot, 1);
	__builtin_prefetch(&part->life, 1);
}

/* The rows of edges from this place on. A list is a chain of loads, so those of a few edges are
 * walked side by side. */
static void fetch_rows(const struct aggregate *aggregate, uint32_t first)
{
	const struct list *order = &aggregate->order;
	const struct part *parts = aggregate->parts.rows;
	uint32_t rows[FEW_EDGES * SCOPES], count = 0;
	for (uint32_t i = first; i < first + FEW_EDGES && i < order->count; i++) {
		const struct edge_row *edge = &aggregate->edges[order->items[i]];
		__builtin_prefetch(&aggregate->lines[order->items[i]].ten, 1);
		__builtin_prefetch(&aggregate->lines[order->items[i]].ten.life, 1);
		for (unsigned scope = SCOPE_LANE; scope < SCOPES; scope++)
			if (edge->parts[scope])
				rows[count++] = edge->parts[scope];
	}
	for (uint32_t i = 0; i < count; i++)
		fetch_part(&parts[rows[i]]);
	while (count)
		for (uint32_t i = 0; i < count;) {
			const struct part *part = &parts[rows[i]];
			fetch_member(aggregate, part->scope, part->member);
			fetch_part(&parts[part->next]);
			rows[i] = part->next;
			if (rows[i])
				i++;
			else
				rows[i] = rows[--count];
		}
}

/* The edges whose rows are fetched next. */
static void fetch_order(const struct aggregate *aggregate, uint32_t first)
{
	const struct list *order = &aggregate->order;
	for (uint32_t i = first; i < first + FEW_EDGES && i < order->count; i++) {
		const char *edge = (const char *)&aggregate->edges[order->items[i]];
		__builtin_prefetch(edge, 1);
		__builtin_prefetch(edge + 64, 1);
		__builtin_prefetch(edge + 128, 1);
	}
}

static void publish_tens(struct aggregate *aggregate, uint64_t start_ns)
{
	struct ranking ranking = {0};
	sort_srtt(aggregate);
	for (uint32_t i = 0; i < aggregate->order.count; i++) {
		if (i % FEW_EDGES == 0) {
			fetch_rows(aggregate, i);
			fetch_order(aggregate, i + FEW_EDGES);
		}
		publish_ten(aggregate, aggregate->order.items[i], start_ns, &ranking);
	}
	chunk_emit(aggregate);
	memory_free(ranking.items);
	memory_free(aggregate->srtt_starts);
	memory_free(aggregate->srtt_codes);
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
		struct rollup *rollup = publish_edge(aggregate, edge, window, start_ns);
		rollup_fill(aggregate, rollup, &thawed->sum, window);
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
		bool stays = row->parts[SCOPE_LANE] || row->parts[SCOPE_CLIENT] ||
			     row->parts[SCOPE_SERVER] || row->minute.bytes || row->hour.bytes ||
			     row->published >> WINDOW_10S & 1;
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
	publish_panes(aggregate, start_ns);
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
				value_add(&rollup->counters[counter],
					  amendments[same].counters[counter]);
		if (!rollup_is_zero(rollup)) {
			*chunk_row(aggregate, WINDOW_10S, 0, rollup->scope, &rollup->edge) =
				*rollup;
			aggregate->stats.amended++;
		}
		i = same;
	}
	chunk_emit(aggregate);
	aggregate->amendments_count = 0;
}
