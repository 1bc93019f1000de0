/* Adding a bucket: what is told first, then the records, in groups. A group is walked once for each
 * load that needs the one before, so that memory comes while other records are worked on: what the
 * numbers mean, where the lane counts, where the instances' rows are, and the additions. */
#include <assert.h>
#include <string.h>

#include "aggregate/state.h"
#include "aggregate/tally.h"

enum {
	GROUP = 32,
	/* Fields of 21 bits are emptied before they run over. */
	ACTIVE_MAX = (1 << 21) - 1,
};

/* --- learning --- */

static void source_reserve(uint32_t **array, uint32_t *count, uint32_t number)
{
	if (number < *count)
		return;
	uint32_t more = (uint32_t)memory_grown(*count, (size_t)number + 1);
	*array = memory_resize(*array, more, sizeof(**array));
	memset(*array + *count, 0, (more - *count) * sizeof(**array));
	*count = more;
}

/* The best resolution that anybody tells, so that the order of telling does not show. */
static void edge_resolve(struct edge *edge, const struct edge *told)
{
	edge->client_resolution =
		(uint8_t)resolution_better(edge->client_resolution, told->client_resolution);
	edge->server_resolution =
		(uint8_t)resolution_better(edge->server_resolution, told->server_resolution);
}

static void learn_lane(struct aggregate *aggregate, struct source *source,
		       const struct bucket_lane *told)
{
	uint32_t lane = lane_know(aggregate, &told->edge, &told->lane);
	source_reserve(&source->lanes, &source->lanes_count, told->number);
	aggregate->lanes[lane].users++;
	aggregate->lanes[source->lanes[told->number]].users--;
	source->lanes[told->number] = lane;
	edge_resolve(&aggregate->lanes[lane].edge, &told->edge);
	uint32_t part = aggregate->lanes[lane].part;
	if (part)
		edge_resolve(&aggregate->edges[aggregate->parts.rows[part].hot.edge].edge,
			     &told->edge);
}

static void merge_learn(struct aggregate *aggregate, struct source *source,
			const struct partial_bucket *bucket)
{
	uint64_t pane = pane_of(aggregate->start_ns);
	const struct bucket_lane *lanes = bucket_lanes(bucket);
	for (uint32_t i = 0; i < bucket->lane_count; i++)
		learn_lane(aggregate, source, &lanes[i]);
	const struct bucket_instance *instances = bucket_instances(bucket);
	for (uint32_t i = 0; i < bucket->instance_count; i++) {
		uint32_t number = instances[i].number;
		source_reserve(&source->instances, &source->instances_count, number);
		source->instances[number] =
			roster_put(aggregate->instances, &instances[i].instance, pane);
	}
	const uint8_t *lengths = bucket_name_lengths(bucket);
	const char *bytes = (const char *)lengths + bucket->name_count;
	for (uint32_t i = 0; i < bucket->name_count; i++) {
		names_put(aggregate->names, bytes, lengths[i], pane);
		bytes += lengths[i];
	}
}

/* --- where a record counts --- */

/* 0 where the source never told the lane, or had none to tell. */
static uint32_t source_lane(struct aggregate *aggregate, const struct source *source,
			    uint32_t number)
{
	uint32_t lane = number < source->lanes_count ? source->lanes[number] : 0;
	if (!lane) {
		aggregate->stats.undescribed += number != 0;
		aggregate->stats.folded += number == 0;
		return LANE_OTHER;
	}
	return lane;
}

static inline uint32_t source_instance(const struct source *source, uint32_t number)
{
	return number < source->instances_count ? source->instances[number] : 0;
}

/* A way to a row of the lane's own is good until that leaves; another, for the pane. */
static __attribute__((noinline)) void lane_find_way(struct aggregate *aggregate, uint32_t lane)
{
	uint32_t part = guard_lane(aggregate, lane);
	struct edge edge = aggregate->lanes[lane].edge;
	struct lane_way *way = &aggregate->ways[lane];
	way->part = part;
	way->edge = guard_edge(aggregate, &edge);
	if (aggregate->lanes[lane].part != part)
		list_add(&aggregate->ways_set, lane);
}

static inline struct lane_way lane_way(struct aggregate *aggregate, uint32_t lane)
{
	if (__builtin_expect(!aggregate->ways[lane].part, 0))
		lane_find_way(aggregate, lane);
	return aggregate->ways[lane];
}

/* --- adding --- */

/* Where a delta counts. */
struct rows {
	uint32_t edge;
	struct part *parts[SCOPES]; /* none of SCOPE_EDGE */
};

static void sample_add(struct aggregate *aggregate, const struct rows *rows, uint64_t connect_us,
		       bool late)
{
	if (aggregate->samples_count >= aggregate->samples_capacity) {
		aggregate->samples_capacity = (uint32_t)memory_grown(aggregate->samples_capacity,
								     aggregate->samples_count + 1);
		aggregate->samples = memory_resize(aggregate->samples, aggregate->samples_capacity,
						   sizeof(*aggregate->samples));
	}
	uint32_t number = aggregate->samples_count++;
	struct sample *sample = &aggregate->samples[number];
	sample->code = (uint16_t)sketch_index(connect_us * NS_PER_US);
	sample->late = late;
	sample->next[SCOPE_EDGE] = aggregate->edges[rows->edge].samples;
	aggregate->edges[rows->edge].samples = number;
	for (unsigned scope = SCOPE_LANE; scope < SCOPES; scope++) {
		sample->next[scope] = rows->parts[scope]->samples;
		rows->parts[scope]->samples = number;
	}
}

static __attribute__((noinline)) void srtt_grow(struct aggregate *aggregate)
{
	aggregate->srtt_capacity =
		(uint32_t)memory_grown(aggregate->srtt_capacity, aggregate->srtt_count + 1);
	aggregate->srtt =
		memory_resize(aggregate->srtt, aggregate->srtt_capacity, sizeof(*aggregate->srtt));
}

static inline void srtt_add(struct aggregate *aggregate, uint32_t edge, uint64_t srtt_us)
{
	if (aggregate->srtt_count == aggregate->srtt_capacity)
		srtt_grow(aggregate);
	aggregate->srtt[aggregate->srtt_count++] = edge << 12 | sketch_index(srtt_us * NS_PER_US);
}

static void event_add(struct aggregate *aggregate, const struct event *event)
{
	if (aggregate->events_count == aggregate->events_capacity) {
		aggregate->events_capacity = (uint32_t)memory_grown(aggregate->events_capacity,
								    aggregate->events_count + 1);
		aggregate->events = memory_resize(aggregate->events, aggregate->events_capacity,
						  sizeof(*aggregate->events));
	}
	aggregate->events[aggregate->events_count++] = *event;
}

/* Edges in which something broke are under suspicion for a while. */
static void note_trouble(struct aggregate *aggregate, uint32_t edge, uint32_t bits)
{
	uint32_t reason = bits >> RECORD_REASON_SHIFT;
	bool broke = bits & DELTA_CLOSED && (reason == CLOSE_RESET || reason == CLOSE_TIMEOUT);
	if (broke || bits & DELTA_FAILED)
		aggregate->edges[edge].trouble = aggregate->trouble = pane_of(aggregate->start_ns);
}

/* Columns of what seldom happens: compact rows have none of them. */
static void sum_trouble(struct sum *sum, uint32_t bits)
{
	uint32_t reason = bits >> RECORD_REASON_SHIFT;
	if (bits & DELTA_FAILED) {
		column_add(sum, COUNTER_FAILED, 1);
		column_add(sum, failure_counter(reason), 1);
	}
	column_add(sum, COUNTER_TIMEOUTS, bits & DELTA_CLOSED && reason == CLOSE_TIMEOUT);
	sum->touched = true;
}

static __attribute__((noinline)) void merge_trouble(struct aggregate *aggregate,
						    const struct rows *rows, uint32_t bits)
{
	sum_trouble(line_wide(aggregate, edge_touch(aggregate, rows->edge)), bits);
	for (unsigned scope = SCOPE_LANE; scope < SCOPES; scope++)
		sum_trouble(part_wide(aggregate, rows->parts[scope]), bits);
}

static __attribute__((noinline)) void merge_spill(struct aggregate *aggregate,
						  const struct rows *rows)
{
	struct edge_line *pane = &aggregate->lines[rows->edge].pane;
	hot_spill(&pane->hot, &pane->life, line_wide(aggregate, pane), COLUMNS);
	for (unsigned scope = SCOPE_LANE; scope < SCOPES; scope++) {
		struct part *part = rows->parts[scope];
		hot_spill(&part->hot, &part->life, part_wide(aggregate, part), COLUMN_ACTIVE_10S);
	}
}

static inline void merge_life(struct aggregate *aggregate, const struct rows *rows,
			      const struct life *life)
{
	columns4 over = life_add(&aggregate->lines[rows->edge].pane.life, life);
	for (unsigned scope = SCOPE_LANE; scope < SCOPES; scope++)
		over |= life_add(&rows->parts[scope]->life, life);
	if (__builtin_expect(columns_over(over), 0))
		merge_spill(aggregate, rows);
}

static inline struct life life_of(uint32_t bits, uint64_t connect_us)
{
	uint32_t opened = bits / DELTA_OPENED & 1, closed = bits / DELTA_CLOSED & 1;
	bool reset = bits >> RECORD_REASON_SHIFT == CLOSE_RESET;
	return (struct life){
		.ends = {opened, closed, opened & bits / RECORD_JOINED, connect_us != 0},
		.rest = {(uint32_t)connect_us, closed & reset, 0, 0},
	};
}

static void merge_event(struct aggregate *aggregate, const struct source *source,
			const struct record *record, const struct rows *rows, uint64_t connect_us,
			uint32_t received, uint32_t lost)
{
	uint32_t lane = source_lane(aggregate, source, record->lane);
	struct event event = {
		.lane = lane,
		.client = source_instance(source, record->client),
		.server = source_instance(source, record->server),
		.bits = record->bits,
		.connect_us = connect_us,
		.received = received,
		.lost = lost,
		.edge = rows->edge,
	};
	for (unsigned i = 0; i < 3; i++)
		event.parts[i] = (uint32_t)(rows->parts[SCOPE_LANE + i] - aggregate->parts.rows);
	event_add(aggregate, &event);
}

/* The connection's life, and what stands behind the record. */
static inline __attribute__((always_inline)) void merge_rest(struct aggregate *aggregate,
							     const struct source *source,
							     const struct record *record,
							     const struct rows *rows)
{
	static const struct record_more none;
	const struct record_more *more =
		record->bits & RECORD_MORE ? (const struct record_more *)(record + 1) : &none;
	uint32_t bits = record->bits, reason = bits >> RECORD_REASON_SHIFT;
	struct life life = life_of(bits, more->connect_us);
	life.rest[2] = bits & RECORD_COUNTS ? more->retransmits : 0;
	life.rest[3] = record->lost;
	life.retransmits = (uint64_t)more->retransmits << (bits & RECORD_SERVER ? 32 : 0);
	merge_life(aggregate, rows, &life);
	note_trouble(aggregate, rows->edge, bits);
	if (bits & DELTA_FAILED || (bits & DELTA_CLOSED && reason == CLOSE_TIMEOUT))
		merge_trouble(aggregate, rows, bits);
	if (more->connect_us)
		sample_add(aggregate, rows, more->connect_us, false);
	if (bits & RECORD_EVENTS || more->connect_us)
		merge_event(aggregate, source, record, rows, more->connect_us, record->received,
			    record->lost);
}

/* --- records that are wide, lookups, or count in long windows only --- */

static struct delta record_delta(const struct record *record)
{
	unsigned side = record->bits / RECORD_SERVER & 1;
	bool counts = record->bits & RECORD_COUNTS;
	struct delta delta = {
		.place = {.side = (uint8_t)side,
			  .counts_from = (uint8_t)(counts ? side : side ^ 1),
			  .joined = record->bits & RECORD_JOINED},
		.flags = record->bits & (RECORD_SERVER - 1),
		.reason = (uint8_t)(record->bits >> RECORD_REASON_SHIFT),
		.traffic = {.tx_bytes = record->columns[side],
			    .rx_bytes = record->columns[side ^ 1],
			    .tx_segments = record->columns[2 + side],
			    .rx_segments = record->columns[2 + (side ^ 1)]},
		.time_ns = record->time_ns,
		.srtt_us = record->srtt_us,
		.min_rtt_us = record->min_rtt_us,
		.node_received = record->received,
		.node_lost = record->lost,
	};
	if (record->bits & RECORD_WIDE) {
		const struct record_wide *wide = (const struct record_wide *)(record + 1);
		delta.traffic = (struct traffic){
			.tx_bytes = wide->bytes[side],
			.rx_bytes = wide->bytes[side ^ 1],
			.tx_segments = wide->segments[side],
			.rx_segments = wide->segments[side ^ 1],
			.retransmits = wide->retransmits,
		};
		delta.connect_us = wide->connect_us;
		delta.srtt_us = wide->srtt_us;
		delta.node_received = wide->received;
		delta.node_lost = wide->lost;
	}
	if (record->bits & RECORD_MORE) {
		const struct record_more *more = (const struct record_more *)(record + 1);
		delta.traffic.retransmits = more->retransmits;
		delta.connect_us = more->connect_us;
	}
	return delta;
}

/* The client's half may tell a connect time without counting, and then its opening is not told. */
static uint64_t record_connect_us(const struct record *record, const struct delta *delta)
{
	return record->bits & (DELTA_PROBE | DELTA_LOOKUP) ? 0 : delta->connect_us;
}

static struct rows record_rows(struct aggregate *aggregate, const struct source *source,
			       const struct record *record)
{
	uint32_t lane = source_lane(aggregate, source, record->lane);
	struct lane_way way = lane_way(aggregate, lane);
	uint32_t client = guard_part(aggregate, way.edge, source_instance(source, record->client),
				     SCOPE_CLIENT);
	uint32_t server = guard_part(aggregate, way.edge, source_instance(source, record->server),
				     SCOPE_SERVER);
	struct part *parts = aggregate->parts.rows;
	return (struct rows){
		.edge = way.edge,
		.parts = {NULL, &parts[way.part], &parts[client], &parts[server]},
	};
}

static void sum_record(struct sum *sum, const struct tally *tally, const struct delta *delta)
{
	tally_into(tally, sum);
	sum_add_times(sum, delta->time_ns, delta->flags & DELTA_PROBE ? 0 : delta->min_rtt_us);
}

/* What the record says of a connection's life, wide. */
static void sum_life(struct sum *sum, uint32_t bits, uint64_t connect_us)
{
	struct life life = life_of(bits, 0);
	column_add(sum, COUNTER_OPENED, life.ends[0]);
	column_add(sum, COUNTER_CLOSED, life.ends[1]);
	column_add(sum, COUNTER_JOINED, life.ends[2]);
	column_add(sum, COUNTER_RESETS, life.rest[1]);
	column_add(sum, COUNTER_CONNECT_COUNT, connect_us != 0);
	column_add(sum, COUNTER_CONNECT_US, tally_value(connect_us));
	if (bits & (DELTA_FAILED | DELTA_CLOSED))
		sum_trouble(sum, bits);
}

/* Into windows of 10 s and longer. */
static void merge_ten(struct aggregate *aggregate, const struct rows *rows, const struct sum *sum)
{
	sum_add(edge_ten(aggregate, rows->edge), sum);
	for (unsigned scope = SCOPE_LANE; scope < SCOPES; scope++)
		sum_add(part_wide(aggregate, rows->parts[scope]), sum);
}

static void merge_wide(struct aggregate *aggregate, const struct source *source,
		       const struct rows *rows, const struct record *record,
		       const struct delta *delta)
{
	struct tally tally;
	struct sum sum = {0};
	uint64_t connect_us = record_connect_us(record, delta);
	bool late = record->bits & RECORD_LONG;
	tally_traffic(&tally, delta);
	sum_record(&sum, &tally, delta);
	sum_life(&sum, record->bits, connect_us);
	if (connect_us)
		sample_add(aggregate, rows, connect_us, late);
	if (late) {
		/* Panes and seconds do not see it. */
		sum.values[COUNTER_ACTIVE] = sum.values[COLUMN_ACTIVE_1S] = 0;
		merge_ten(aggregate, rows, &sum);
		return;
	}
	struct edge_line *pane = edge_touch(aggregate, rows->edge);
	sum_add(line_wide(aggregate, pane), &sum);
	note_trouble(aggregate, rows->edge, record->bits);
	for (unsigned scope = SCOPE_LANE; scope < SCOPES; scope++)
		sum_add(part_wide(aggregate, rows->parts[scope]), &sum);
	if (record->bits & RECORD_EVENTS || connect_us)
		merge_event(aggregate, source, record, rows, connect_us, delta->node_received,
			    delta->node_lost);
}

/* --- amendments --- */

static int64_t *amendment_values(const struct record_amendment *amendment, int64_t *values)
{
	const int64_t *value = amendment->values;
	memset(values, 0, COLUMNS * sizeof(*values));
	for (uint64_t columns = amendment->columns; columns; columns &= columns - 1)
		values[__builtin_ctzll(columns)] = *value++;
	/* Panes and seconds are closed. */
	values[COUNTER_ACTIVE] = values[COLUMN_ACTIVE_1S] = 0;
	return values;
}

static void amend_frozen(struct aggregate *aggregate, struct frozen *frozen, const struct sum *sum)
{
	frozen_thaw(frozen, &aggregate->thawed);
	sum_add(&aggregate->thawed.sum, sum);
	frozen_freeze(frozen, &aggregate->thawed);
}

/* A closed window's row is not looked for: there are only differences to tell. */
static void amend_closed(struct aggregate *aggregate, enum window window, uint64_t start_ns,
			 enum scope scope, const struct lane_row *lane, uint32_t instance,
			 const struct sum *sum)
{
	static const unsigned active[WINDOWS] = {
		[WINDOW_10S] = COLUMN_ACTIVE_10S,
		[WINDOW_60S] = COLUMN_ACTIVE_60S,
		[WINDOW_1H] = COLUMN_ACTIVE_1H,
	};
	struct rollup *rollup = publish_stage(aggregate);
	rollup->window_start_ns = window_start(start_ns, window);
	rollup->window_ms = (uint32_t)(window_ns[window] / NS_PER_MS);
	rollup->scope = (uint8_t)scope;
	rollup->edge = lane->edge;
	if (scope == SCOPE_LANE)
		rollup->lane = lane->lane;
	if (scope == SCOPE_CLIENT || scope == SCOPE_SERVER)
		rollup->instance = publish_instance(aggregate, &lane->edge, instance, scope);
	memcpy(rollup->counters, sum->values, sizeof(rollup->counters));
	rollup->counters[COUNTER_ACTIVE] = sum->values[active[window]];
}

/* The windows above a closed one: the first that is open takes it, and passes it on. */
static void amend_above(struct aggregate *aggregate, uint64_t start_ns, const struct lane_row *lane,
			const struct sum *sum)
{
	bool hour = start_ns >= window_start(aggregate->start_ns, WINDOW_1H);
	if (start_ns < window_start(aggregate->start_ns, WINDOW_60S)) {
		amend_closed(aggregate, WINDOW_60S, start_ns, SCOPE_EDGE, lane, 0, sum);
		if (!hour) {
			amend_closed(aggregate, WINDOW_1H, start_ns, SCOPE_EDGE, lane, 0, sum);
			return;
		}
	} else {
		hour = false;
	}
	uint32_t row = guard_edge(aggregate, &lane->edge);
	struct edge_row *edge = &aggregate->edges[row];
	amend_frozen(aggregate, hour ? &edge->hour : &edge->minute, sum);
}

static void merge_amendment(struct aggregate *aggregate, const struct source *source,
			    const struct record *record)
{
	const struct record_amendment *amendment = (const struct record_amendment *)(record + 1);
	uint64_t start_ns = amendment->window_start_ns;
	struct sum sum = {.touched = true};
	amendment_values(amendment, sum.values);
	if (start_ns >= window_start(aggregate->start_ns, WINDOW_10S)) {
		struct rows rows = record_rows(aggregate, source, record);
		merge_ten(aggregate, &rows, &sum);
		return;
	}
	struct lane_row lane = aggregate->lanes[source_lane(aggregate, source, record->lane)];
	const uint32_t instances[SCOPES] = {0, 0, source_instance(source, record->client),
					    source_instance(source, record->server)};
	for (unsigned scope = SCOPE_EDGE; scope < SCOPES; scope++)
		amend_closed(aggregate, WINDOW_10S, start_ns, scope, &lane, instances[scope], &sum);
	amend_above(aggregate, start_ns, &lane, &sum);
}

static __attribute__((noinline)) void
merge_seldom(struct aggregate *aggregate, const struct source *source, const struct record *record)
{
	if (record->bits & RECORD_AMEND) {
		merge_amendment(aggregate, source, record);
		return;
	}
	struct rows rows = record_rows(aggregate, source, record);
	struct delta delta = record_delta(record);
	if (delta_srtt_us(&delta))
		srtt_add(aggregate, rows.edge, delta.srtt_us);
	merge_wide(aggregate, source, &rows, record, &delta);
}

/* --- groups --- */

struct staged {
	const struct record *record;
	uint32_t lane, instances[2]; /* client's, server's */
	uint32_t homes[2];
	uint64_t keys[2];
	struct rows rows; /* these stay where they are until the group is done */
};

static inline void fetch_numbers(const struct source *source, const struct record *record)
{
	__builtin_prefetch(&source->lanes[record->lane]);
	__builtin_prefetch(&source->instances[record->client]);
	__builtin_prefetch(&source->instances[record->server]);
}

static inline void stage_numbers(struct aggregate *aggregate, const struct source *source,
				 struct staged *staged)
{
	const struct record *record = staged->record;
	uint32_t lane = record->lane < source->lanes_count ? source->lanes[record->lane] : 0;
	if (__builtin_expect(!lane, 0))
		lane = source_lane(aggregate, source, record->lane);
	staged->lane = lane;
	staged->instances[0] = source_instance(source, record->client);
	staged->instances[1] = source_instance(source, record->server);
	__builtin_prefetch(&aggregate->ways[lane]);
}

static inline void stage_keys(struct aggregate *aggregate, struct staged *staged)
{
	struct lane_way way = lane_way(aggregate, staged->lane);
	uint64_t client = part_key(way.edge, staged->instances[0], SCOPE_CLIENT);
	uint64_t server = part_key(way.edge, staged->instances[1], SCOPE_SERVER);
	staged->keys[0] = client;
	staged->keys[1] = server;
	staged->homes[0] = parts_home(&aggregate->parts, client);
	staged->homes[1] = parts_home(&aggregate->parts, server);
	staged->rows.edge = way.edge;
	staged->rows.parts[SCOPE_LANE] = &aggregate->parts.rows[way.part];
	__builtin_prefetch(&aggregate->parts.slots[staged->homes[0]]);
	__builtin_prefetch(&aggregate->parts.slots[staged->homes[1]]);
	__builtin_prefetch(staged->rows.parts[SCOPE_LANE], 1);
	__builtin_prefetch(&aggregate->lines[way.edge].pane, 1);
	__builtin_prefetch(&aggregate->lines[way.edge].pane.active, 1);
}

static inline struct part *stage_part(struct aggregate *aggregate, uint64_t key, uint32_t home,
				      enum scope scope)
{
	uint32_t number = parts_find(&aggregate->parts, key, home);
	if (__builtin_expect(!number, 0))
		number = guard_part(aggregate, (uint32_t)(key >> 32), (uint32_t)key >> 2, scope);
	struct part *part = &aggregate->parts.rows[number];
	__builtin_prefetch(part, 1);
	return part;
}

static inline void stage_rows(struct aggregate *aggregate, struct staged *staged)
{
	struct part **parts = staged->rows.parts;
	for (unsigned side = 0; side < 2; side++)
		parts[SCOPE_CLIENT + side] = stage_part(aggregate, staged->keys[side],
							staged->homes[side], SCOPE_CLIENT + side);
	if (staged->record->bits & (RECORD_EVENTS | RECORD_MORE))
		for (unsigned scope = SCOPE_LANE; scope < SCOPES; scope++)
			__builtin_prefetch(&parts[scope]->life, 1);
}

static inline __attribute__((always_inline)) void
merge_staged(struct aggregate *aggregate, const struct source *source, const struct staged *staged)
{
	const struct record *record = staged->record;
	const struct rows *rows = &staged->rows;
	struct edge_line *pane = &aggregate->lines[rows->edge].pane;
	uint32_t bits = record->bits, srtt_us = record->srtt_us;
	struct addend addend = addend_of(record);
	columns4 over = hot_add(&pane->hot, &addend);
	over |= hot_add(&rows->parts[SCOPE_LANE]->hot, &addend);
	over |= hot_add(&rows->parts[SCOPE_CLIENT]->hot, &addend);
	over |= hot_add(&rows->parts[SCOPE_SERVER]->hot, &addend);
	if (__builtin_expect(!pane->hot.edge, 0))
		edge_touch(aggregate, rows->edge);

	/* FIRST_IN_PANE, _1S and _10S are neighbours, and so are _60S and _1H: a product puts each
	 * into a field of its own. */
	if (bits & RECORD_ACTIVE) {
		uint64_t near = bits / DELTA_FIRST_IN_PANE & 7, far = bits / DELTA_FIRST_IN_60S & 3;
		pane->active[0] +=
			near * (1 | 1ULL << 20 | 1ULL << 40) & (1 | 1ULL << 21 | 1ULL << 42);
		pane->active[1] += (far | far << 31) & (1 | 1ULL << 32);
	}
	if (srtt_us)
		srtt_add(aggregate, rows->edge, srtt_us);
	if (__builtin_expect(columns_over(over), 0))
		merge_spill(aggregate, rows);
	if (bits & (RECORD_EVENTS | RECORD_MORE) || record->lost)
		merge_rest(aggregate, source, record, rows);
}

/* Before a field of `active` could run over. */
static void merge_empty_fields(struct aggregate *aggregate)
{
	for (uint32_t i = 0; i < aggregate->touched.count; i++) {
		uint32_t edge = aggregate->touched.items[i];
		struct edge_line *pane = &aggregate->lines[edge].pane;
		struct sum sum = {.touched = true};
		if (!pane->hot.edge)
			continue;
		pane_into(aggregate, pane, &sum);
		pane->hot.edge = edge;
		sum_add(line_wide(aggregate, pane), &sum);
	}
	aggregate->pane_records = 0;
}

/* Up to GROUP records; returns where the next begins. */
static VECTOR_CLONES const char *merge_group(struct aggregate *aggregate,
					     const struct source *source, const char *at,
					     const char *end, uint32_t count)
{
	struct staged staged[GROUP];
	uint32_t narrow = 0;
	guard_reserve(aggregate, 6 * GROUP);
	if (aggregate->pane_records + count > ACTIVE_MAX)
		merge_empty_fields(aggregate);
	aggregate->pane_records += count;
	for (uint32_t i = 0; i < count; i++) {
		const struct record *record = (const struct record *)at;
		at += sizeof(*record) + record_tail(record);
		assert(at <= end);
		if (record->bits & (RECORD_AMEND | RECORD_WIDE | RECORD_LONG | DELTA_LOOKUP))
			merge_seldom(aggregate, source, record);
		else
			staged[narrow++].record = record;
		fetch_numbers(source, record);
	}
	for (uint32_t i = 0; i < narrow; i++)
		stage_numbers(aggregate, source, &staged[i]);
	for (uint32_t i = 0; i < narrow; i++)
		stage_keys(aggregate, &staged[i]);
	for (uint32_t i = 0; i < narrow; i++)
		stage_rows(aggregate, &staged[i]);
	for (uint32_t i = 0; i < narrow; i++)
		merge_staged(aggregate, source, &staged[i]);
	return at;
}

void aggregate_push(struct aggregate *aggregate, uint32_t source,
		    const struct partial_bucket *bucket)
{
	assert(source < aggregate->options.sources && bucket_is_whole(bucket));
	if (aggregate->start_ns == 0)
		aggregate->start_ns = bucket->pane * PANE_NS;
	struct source *from = &aggregate->sources[source];
	merge_learn(aggregate, from, bucket);
	const char *at = (const char *)bucket_records(bucket);
	const char *end = at + bucket->records_size;
	for (uint32_t i = 0; i < bucket->record_count; i += GROUP) {
		uint32_t left = bucket->record_count - i;
		at = merge_group(aggregate, from, at, end, left < GROUP ? left : GROUP);
	}
	assert(at == end);
	aggregate->stats.merged += bucket->record_count;
}
