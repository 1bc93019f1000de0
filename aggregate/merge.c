/* Adding a bucket: what is told first, then the records, in groups. A group is walked three times,
 * so that memory comes while other records are worked on: what lane and instances the numbers mean,
 * where the instances' rows are, and the additions. */
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
	if (told->client_resolution < edge->client_resolution)
		edge->client_resolution = told->client_resolution;
	if (told->server_resolution < edge->server_resolution)
		edge->server_resolution = told->server_resolution;
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
	if (aggregate->lanes[lane].live)
		edge_resolve(&aggregate->edges[aggregate->lanes[lane].live].edge, &told->edge);
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

/* The first delta of a lane in the pane. */
static __attribute__((noinline)) void lane_find_way(struct aggregate *aggregate, uint32_t lane)
{
	uint32_t counts_in = guard_lane(aggregate, lane);
	struct edge edge = aggregate->lanes[lane].edge;
	struct lane_way *way = &aggregate->ways[lane];
	way->pane = pane_lane_of(aggregate, counts_in);
	way->edge = guard_edge(aggregate, &edge);
	list_add(&aggregate->ways_set, lane);
}

static inline const struct lane_way *lane_way(struct aggregate *aggregate, uint32_t lane)
{
	if (!aggregate->ways[lane].pane)
		lane_find_way(aggregate, lane);
	return &aggregate->ways[lane];
}

/* --- adding --- */

static void sample_add(struct aggregate *aggregate, uint32_t *list, uint16_t code, bool late)
{
	if (aggregate->samples_count >= aggregate->samples_capacity) {
		aggregate->samples_capacity = (uint32_t)memory_grown(aggregate->samples_capacity,
								     aggregate->samples_count + 1);
		aggregate->samples = memory_resize(aggregate->samples, aggregate->samples_capacity,
						   sizeof(*aggregate->samples));
	}
	aggregate->samples[aggregate->samples_count] =
		(struct sample){.next = *list, .code = code, .late = late};
	*list = aggregate->samples_count++;
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

struct event *event_of(struct aggregate *aggregate, uint32_t *slot, enum scope scope, uint32_t row,
		       uint32_t edge)
{
	if (*slot && *slot < aggregate->events_count) {
		struct event *event = &aggregate->events[*slot];
		if (event->row == row && event->scope == scope)
			return event;
	}
	if (aggregate->events_count >= aggregate->events_capacity) {
		aggregate->events_capacity = (uint32_t)memory_grown(aggregate->events_capacity,
								    aggregate->events_count + 1);
		aggregate->events = memory_resize(aggregate->events, aggregate->events_capacity,
						  sizeof(*aggregate->events));
	}
	if (!aggregate->edges[edge].events)
		list_add(&aggregate->eventful, edge);
	*slot = aggregate->events_count++;
	struct event *event = &aggregate->events[*slot];
	*event = (struct event){.row = row, .scope = scope, .next = aggregate->edges[edge].events};
	aggregate->edges[edge].events = *slot;
	return event;
}

/* What one record says of a connection's life, before it is added to three rows. */
struct life {
	uint32_t opened, closed, joined, resets, timeouts;
	uint32_t failed; /* 1 + which of the reasons; 0: none */
	uint64_t connect_us;
	uint32_t received, issued;
	uint16_t code; /* of the connect time */
};

static struct life life_of(uint32_t bits, uint64_t connect_us, uint32_t received, uint32_t lost)
{
	uint32_t reason = bits >> RECORD_REASON_SHIFT;
	bool opened = bits & DELTA_OPENED, closed = bits & DELTA_CLOSED;
	struct life life = {
		.opened = opened,
		.closed = closed,
		.joined = opened && bits & RECORD_JOINED,
		.resets = closed && reason == CLOSE_RESET,
		.timeouts = closed && reason == CLOSE_TIMEOUT,
		.connect_us = connect_us,
		.received = received,
		.issued = received + lost,
		.code = (uint16_t)sketch_index(connect_us * NS_PER_US),
	};
	if (bits & DELTA_FAILED)
		life.failed = 1 + failure_counter(reason) - COUNTER_FAILED_REFUSED;
	return life;
}

static inline void event_live(struct event *event, const struct life *life)
{
	event->opened += life->opened;
	event->closed += life->closed;
	event->joined += life->joined;
	event->resets += life->resets;
	event->timeouts += life->timeouts;
	event->received += life->received;
	event->issued += life->issued;
	if (life->failed)
		event->failed[life->failed - 1]++;
	if (life->connect_us) {
		event->connect_us += life->connect_us;
		event->connect_count++;
	}
}

static void samples_add(struct aggregate *aggregate, struct pane_lane *lane, struct part *client,
			struct part *server, uint16_t code, bool late)
{
	sample_add(aggregate, &aggregate->edges[lane->edge].samples, code, late);
	sample_add(aggregate, &aggregate->lanes[lane->hot.key].samples, code, late);
	sample_add(aggregate, &client->samples, code, late);
	sample_add(aggregate, &server->samples, code, late);
}

static void merge_life(struct aggregate *aggregate, struct pane_lane *lane, uint32_t client,
		       uint32_t server, const struct life *life)
{
	struct part *rows = aggregate->parts.rows;
	event_live(event_of(aggregate, &lane->event, SCOPE_LANE, lane->hot.key, lane->edge), life);
	event_live(
		event_of(aggregate, &rows[client].event, SCOPE_CLIENT, client, rows[client].edge),
		life);
	event_live(
		event_of(aggregate, &rows[server].event, SCOPE_SERVER, server, rows[server].edge),
		life);
	if (life->connect_us)
		samples_add(aggregate, lane, &rows[client], &rows[server], life->code, false);
}

/* Narrow as they are, hours of them would not fit; a window's do unless a node lies. */
static void part_lose(struct aggregate *aggregate, struct part *part, const struct record *record,
		      uint32_t retransmits)
{
	uint32_t *mine = &part->retransmits[record->bits / RECORD_SERVER & 1];
	*mine += retransmits;
	part->retransmits[2] += record->bits & RECORD_COUNTS ? retransmits : 0;
	part->lost += record->lost;
	if (!((*mine | part->retransmits[2] | part->lost) >> 31))
		return;
	struct sum *wide = part_wide(aggregate, part);
	wide->values[COUNTER_CLIENT_RETRANSMITS] += part->retransmits[0];
	wide->values[COUNTER_SERVER_RETRANSMITS] += part->retransmits[1];
	wide->values[COUNTER_RETRANSMITS] += part->retransmits[2];
	wide->values[COUNTER_AGENT_ISSUED] += part->lost;
	wide->touched = true;
	part->retransmits[0] = part->retransmits[1] = part->retransmits[2] = part->lost = 0;
}

/* What stands behind the record, and the connection's life. */
static __attribute__((noinline)) void merge_rest(struct aggregate *aggregate,
						 const struct record *record,
						 struct pane_lane *lane, uint32_t client,
						 uint32_t server)
{
	static const struct record_more none;
	const struct record_more *more =
		record->bits & RECORD_MORE ? (const struct record_more *)(record + 1) : &none;
	if (more->retransmits || record->lost) {
		uint32_t retransmits = more->retransmits;
		lane->retransmits[record->bits / RECORD_SERVER & 1] += retransmits;
		lane->retransmits[2] += record->bits & RECORD_COUNTS ? retransmits : 0;
		lane->lost += record->lost;
		part_lose(aggregate, &aggregate->parts.rows[client], record, retransmits);
		part_lose(aggregate, &aggregate->parts.rows[server], record, retransmits);
	}
	if (!(record->bits & RECORD_EVENTS) && !more->connect_us)
		return;
	struct life life = life_of(record->bits, more->connect_us, record->received, record->lost);
	merge_life(aggregate, lane, client, server, &life);
}

static __attribute__((noinline)) void merge_spill(struct aggregate *aggregate,
						  struct pane_lane *lane, struct part *client,
						  struct part *server)
{
	hot_spill(&lane->hot, pane_lane_wide(aggregate, lane), COLUMNS);
	hot_spill(&client->hot, part_wide(aggregate, client), COLUMN_ACTIVE_10S);
	hot_spill(&server->hot, part_wide(aggregate, server), COLUMN_ACTIVE_10S);
}

/* --- records that are wide or count in long windows only --- */

static struct delta record_delta(const struct record *record)
{
	unsigned side = record->bits / RECORD_SERVER & 1;
	bool counts = record->bits & RECORD_COUNTS;
	struct delta delta = {
		.place = {.side = (uint8_t)side,
			  .counts_from = (uint8_t)(counts ? side : side ^ 1),
			  .joined = record->bits & RECORD_JOINED},
		.flags = record->bits & 0x7ff,
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
	return record->bits & DELTA_PROBE ? 0 : delta->connect_us;
}

struct rows {
	struct pane_lane *lane;
	uint32_t client, server;
};

static struct rows record_rows(struct aggregate *aggregate, const struct source *source,
			       const struct record *record)
{
	uint32_t lane = source_lane(aggregate, source, record->lane);
	struct lane_way way = *lane_way(aggregate, lane);
	struct rows rows;
	rows.client = guard_part(aggregate, way.edge, source_instance(source, record->client),
				 SIDE_CLIENT);
	rows.server = guard_part(aggregate, way.edge, source_instance(source, record->server),
				 SIDE_SERVER);
	rows.lane = &aggregate->pane_lanes[way.pane];
	return rows;
}

static void sum_record(struct sum *sum, const struct tally *tally, const struct delta *delta)
{
	tally_into(tally, sum);
	sum_add_times(sum, delta->time_ns, delta->flags & DELTA_PROBE ? 0 : delta->min_rtt_us);
}

static void merge_long(struct aggregate *aggregate, const struct rows *rows,
		       const struct record *record, const struct delta *delta)
{
	struct tally tally;
	uint64_t connect_us = record_connect_us(record, delta);
	tally_traffic(&tally, delta);
	struct part *client = &aggregate->parts.rows[rows->client];
	struct part *server = &aggregate->parts.rows[rows->server];
	struct sum life = {0};
	struct life what = life_of(record->bits, connect_us, 0, 0);
	life.values[COUNTER_OPENED] = what.opened;
	life.values[COUNTER_CLOSED] = what.closed;
	life.values[COUNTER_JOINED] = what.joined;
	life.values[COUNTER_RESETS] = what.resets;
	life.values[COUNTER_TIMEOUTS] = what.timeouts;
	life.values[COUNTER_CONNECT_US] = (int64_t)connect_us;
	life.values[COUNTER_CONNECT_COUNT] = connect_us != 0;
	life.values[COUNTER_FAILED] = what.failed != 0;
	if (what.failed)
		life.values[COUNTER_FAILED_REFUSED + what.failed - 1] = 1;
	sum_record(&life, &tally, delta);
	/* Panes and seconds do not see it. */
	life.values[COUNTER_ACTIVE] = life.values[COLUMN_ACTIVE_1S] = 0;
	sum_add(part_wide(aggregate, client), &life);
	sum_add(part_wide(aggregate, server), &life);
	sum_add(&aggregate->sums.sums[aggregate->lanes[rows->lane->hot.key].sum], &life);
	if (connect_us)
		samples_add(aggregate, rows->lane, client, server, what.code, true);
}

static void merge_wide(struct aggregate *aggregate, const struct rows *rows,
		       const struct record *record, const struct delta *delta)
{
	struct tally tally;
	tally_traffic(&tally, delta);
	sum_record(part_wide(aggregate, &aggregate->parts.rows[rows->client]), &tally, delta);
	sum_record(part_wide(aggregate, &aggregate->parts.rows[rows->server]), &tally, delta);
	sum_record(pane_lane_wide(aggregate, rows->lane), &tally, delta);
	uint64_t connect_us = record_connect_us(record, delta);
	if (!(record->bits & RECORD_EVENTS) && !connect_us)
		return;
	struct life life = life_of(record->bits, connect_us, 0, 0);
	merge_life(aggregate, rows->lane, rows->client, rows->server, &life);
	uint64_t issued = (uint64_t)delta->node_received + delta->node_lost;
	const uint32_t slots[] = {rows->lane->event, aggregate->parts.rows[rows->client].event,
				  aggregate->parts.rows[rows->server].event};
	for (unsigned i = 0; i < 3; i++) {
		aggregate->events[slots[i]].received += delta->node_received;
		aggregate->events[slots[i]].issued += issued;
	}
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
		uint32_t lane = rows.lane->hot.key;
		sum_add(&aggregate->sums.sums[aggregate->lanes[lane].sum], &sum);
		sum_add(part_wide(aggregate, &aggregate->parts.rows[rows.client]), &sum);
		sum_add(part_wide(aggregate, &aggregate->parts.rows[rows.server]), &sum);
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
		srtt_add(aggregate, rows.lane->edge, delta.srtt_us);
	if (record->bits & RECORD_LONG)
		merge_long(aggregate, &rows, record, &delta);
	else
		merge_wide(aggregate, &rows, record, &delta);
}

/* --- groups --- */

struct staged {
	const struct record *record;
	uint64_t keys[2];
	uint32_t homes[2];
	uint32_t pane;
	struct pane_lane *lane; /* these stay where they are until the group is done */
	struct part *parts[2];
};

static inline void stage_record(struct aggregate *aggregate, const struct source *source,
				const struct record *record, struct staged *staged)
{
	uint32_t lane = record->lane < source->lanes_count ? source->lanes[record->lane] : 0;
	if (__builtin_expect(!lane || !aggregate->ways[lane].pane, 0)) {
		lane = source_lane(aggregate, source, record->lane);
		lane_way(aggregate, lane);
	}
	struct lane_way way = aggregate->ways[lane];
	uint64_t client = part_key(way.edge, source_instance(source, record->client), SIDE_CLIENT);
	uint64_t server = part_key(way.edge, source_instance(source, record->server), SIDE_SERVER);
	uint32_t client_home = parts_home(&aggregate->parts, client);
	uint32_t server_home = parts_home(&aggregate->parts, server);
	__builtin_prefetch(&aggregate->parts.slots[client_home]);
	__builtin_prefetch(&aggregate->parts.slots[server_home]);
	__builtin_prefetch(&aggregate->pane_lanes[way.pane], 1);
	staged->record = record;
	staged->keys[0] = client;
	staged->keys[1] = server;
	staged->homes[0] = client_home;
	staged->homes[1] = server_home;
	staged->pane = way.pane;
}

static inline struct part *stage_part(struct aggregate *aggregate, uint64_t key, uint32_t home,
				      uint32_t bits)
{
	uint32_t number = parts_find(&aggregate->parts, key, home);
	if (__builtin_expect(!number, 0))
		number = guard_part(aggregate, (uint32_t)(key >> 32), (uint32_t)key >> 1, key & 1);
	struct part *part = &aggregate->parts.rows[number];
	__builtin_prefetch(part, 1);
	if (bits & (RECORD_EVENTS | RECORD_MORE))
		__builtin_prefetch(&part->opened, 1);
	return part;
}

static inline void stage_rows(struct aggregate *aggregate, struct staged *staged)
{
	uint32_t bits = staged->record->bits;
	staged->lane = &aggregate->pane_lanes[staged->pane];
	for (unsigned side = 0; side < 2; side++)
		staged->parts[side] =
			stage_part(aggregate, staged->keys[side], staged->homes[side], bits);
}

static inline void merge_staged(struct aggregate *aggregate, const struct staged *staged)
{
	const struct record *record = staged->record;
	uint32_t bits = record->bits, srtt_us = record->srtt_us;
	struct pane_lane *lane = staged->lane;
	struct part *client = staged->parts[0], *server = staged->parts[1];
	struct addend addend = addend_of(record);
	columns4 over = hot_add(&lane->hot, &addend);
	over |= hot_add(&client->hot, &addend);
	over |= hot_add(&server->hot, &addend);

	/* FIRST_IN_PANE, _1S and _10S are neighbours, and so are _60S and _1H: a product puts each
	 * into a field of its own. */
	uint64_t near = bits / DELTA_FIRST_IN_PANE & 7, far = bits / DELTA_FIRST_IN_60S & 3;
	lane->active[0] += near * (1 | 1ULL << 20 | 1ULL << 40) & (1 | 1ULL << 21 | 1ULL << 42);
	lane->active[1] += (far | far << 31) & (1 | 1ULL << 32);
	if (srtt_us)
		srtt_add(aggregate, lane->edge, srtt_us);
	if (__builtin_expect(columns_over(over), 0))
		merge_spill(aggregate, lane, client, server);
	if (bits & (RECORD_EVENTS | RECORD_MORE) || record->lost)
		merge_rest(aggregate, record, lane, (uint32_t)(client - aggregate->parts.rows),
			   (uint32_t)(server - aggregate->parts.rows));
}

/* Before a field of `active` could run over. */
static void merge_empty_fields(struct aggregate *aggregate)
{
	for (uint32_t i = 1; i < aggregate->pane_lanes_count; i++) {
		struct pane_lane *lane = &aggregate->pane_lanes[i];
		struct pane_lane fields = {.active = {lane->active[0], lane->active[1]}};
		struct sum sum = {0};
		if (!lane->hot.key)
			continue;
		pane_lane_into(aggregate, &fields, &sum);
		sum.touched = true;
		sum_add(pane_lane_wide(aggregate, lane), &sum);
		lane->active[0] = lane->active[1] = 0;
	}
	aggregate->pane_records = 0;
}

/* Up to GROUP records; returns where the next begins. */
static const char *merge_group(struct aggregate *aggregate, const struct source *source,
			       const char *at, const char *end, uint32_t count)
{
	struct staged staged[GROUP];
	uint32_t narrow = 0;
	guard_reserve(aggregate, 2 * GROUP);
	aggregate->pane_records += count;
	if (aggregate->pane_records > ACTIVE_MAX)
		merge_empty_fields(aggregate);
	for (uint32_t i = 0; i < count; i++) {
		const struct record *record = (const struct record *)at;
		at += sizeof(*record) + record_tail(record);
		assert(at <= end);
		if (record->bits & (RECORD_AMEND | RECORD_WIDE | RECORD_LONG))
			merge_seldom(aggregate, source, record);
		else
			stage_record(aggregate, source, record, &staged[narrow++]);
	}
	for (uint32_t i = 0; i < narrow; i++)
		stage_rows(aggregate, &staged[i]);
	for (uint32_t i = 0; i < narrow; i++)
		merge_staged(aggregate, &staged[i]);
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
