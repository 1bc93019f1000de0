/* Time series of one metric, grouped. A step is read from the longest windows that it is made of
 * and that are kept so far back; what is told less often than asked has a longer step, told in the
 * answer: parts of edges (lanes and instances) and quantiles of round trips are told every 10 s. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/history/read.h"
#include "api/query/alert_message.h"
#include "api/query/answer.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"

/* --- metrics --- */

static bool connect_p50(const struct group *group, double *value)
{
	return group_connect_quantile(group, 0.5, value);
}

static bool connect_p95(const struct group *group, double *value)
{
	return group_connect_quantile(group, 0.95, value);
}

static bool connect_p99(const struct group *group, double *value)
{
	return group_connect_quantile(group, 0.99, value);
}

static bool srtt_p50(const struct group *group, double *value)
{
	return group_srtt_quantile(group, 0.5, value);
}

static bool srtt_p95(const struct group *group, double *value)
{
	return group_srtt_quantile(group, 0.95, value);
}

static bool min_rtt(const struct group *group, double *value)
{
	*value = group->min_rtt_us / 1e6;
	return group->min_rtt_us > 0;
}

static const struct measure derived[] = {
	{"failure_ratio", "ratio", COUNTERS, false, group_failure_ratio},
	{"joined_ratio", "ratio", COUNTERS, false, group_joined_ratio},
	{"retransmit_ratio", "ratio", COUNTERS, false, group_retransmit_ratio},
	{"completeness", "ratio", COUNTERS, false, group_completeness},
	{"connect_avg", "seconds", COUNTERS, false, group_connect_avg},
	{"connect_p50", "seconds", COUNTERS, true, connect_p50},
	{"connect_p95", "seconds", COUNTERS, true, connect_p95},
	{"connect_p99", "seconds", COUNTERS, true, connect_p99},
	{"srtt_avg", "seconds", COUNTERS, false, group_srtt_avg},
	{"srtt_p50", "seconds", COUNTERS, true, srtt_p50},
	{"srtt_p95", "seconds", COUNTERS, true, srtt_p95},
	{"min_rtt", "seconds", COUNTERS, false, min_rtt},
};

enum { DERIVED = sizeof(derived) / sizeof(derived[0]) };

bool measure_find(const char *name, struct measure *measure)
{
	enum counter counter = counter_by_name(name);

	for (int i = 0; i < DERIVED; i++) {
		if (strcmp(derived[i].name, name) == 0) {
			*measure = derived[i];
			return true;
		}
	}
	if (counter == COUNTERS)
		return false;
	*measure = (struct measure){counter_info(counter)->name, counter_info(counter)->unit,
				    counter, false, NULL};
	return true;
}

void measure_names(char *text, size_t size)
{
	size_t length = 0;

	for (unsigned i = 0; i < DERIVED + COUNTERS && length < size; i++)
		length += (size_t)snprintf(text + length, size - length, "%s%s", i ? ", " : "",
					   i < DERIVED ? derived[i].name
						       : counter_info(i - DERIVED)->name);
}

/* --- grouping --- */

struct grouping {
	const char *name;
	uint32_t scope;
	uint64_t (*key)(const struct rollup *rollup);
};

static uint64_t edge_key(const struct rollup *rollup)
{
	return rollup->edge.id;
}

static uint64_t client_key(const struct rollup *rollup)
{
	return rollup->edge.client;
}

static uint64_t server_key(const struct rollup *rollup)
{
	return rollup->edge.server;
}

static uint64_t lane_key(const struct rollup *rollup)
{
	return hash_mix(rollup->edge.id) ^ rollup->lane.id;
}

static uint64_t instance_key(const struct rollup *rollup)
{
	return rollup->instance.id;
}

static const struct grouping groupings[] = {
	{"edge", SCOPE_EDGE, edge_key},
	{"client", SCOPE_EDGE, client_key},
	{"server", SCOPE_EDGE, server_key},
	{"lane", SCOPE_LANE, lane_key},
	{"client_instance", SCOPE_CLIENT, instance_key},
	{"server_instance", SCOPE_SERVER, instance_key},
};

static const struct grouping *find_grouping(const char *name)
{
	for (size_t i = 0; i < sizeof(groupings) / sizeof(groupings[0]); i++) {
		if (strcmp(groupings[i].name, name) == 0)
			return &groupings[i];
	}
	return &groupings[0];
}

/* --- points --- */

static uint64_t round_down(uint64_t value, uint64_t unit)
{
	return value / unit * unit;
}

struct range {
	uint64_t start_ns, end_ns;
	uint32_t step_s, window_s;
};

struct series {
	const struct grouping *grouping;
	struct measure measure;
	struct range range;
	struct groups groups;
};

/* The step that a group was in is over: its value becomes a point. */
static void close_step(const struct series *series, struct group *group)
{
	double value;

	if (!group->rows)
		return;
	if (series->measure.value) {
		if (!series->measure.value(group, &value))
			return;
	} else {
		value = (double)group->counters[series->measure.counter];
	}
	/* Distinct connections do not add up over windows: their mean. */
	if (!series->measure.value && series->measure.counter == COUNTER_ACTIVE)
		value /= series->range.step_s / series->range.window_s;
	if (group->points_count == group->points_room) {
		group->points_room = memory_grown(group->points_room, group->points_count + 1);
		group->points =
			memory_resize(group->points, group->points_room, sizeof(*group->points));
	}
	group->points[group->points_count++] = (struct point){group->start_ns, value};
	group->total += fabs(value);
}

static void on_row(void *context, const struct rollup *rollup)
{
	struct series *series = context;
	struct group *group = groups_get(&series->groups, series->grouping->key(rollup), rollup);
	uint64_t start_ns = round_down(rollup->window_start_ns, series->range.step_s * NS_PER_S);

	if (group->start_ns != start_ns) {
		close_step(series, group);
		group_clear(group);
		group->start_ns = start_ns;
	}
	group_add(group, rollup);
}

static int largest_first(const void *one, const void *other)
{
	const struct group *a = *(const struct group *const *)one;
	const struct group *b = *(const struct group *const *)other;

	if (a->total != b->total)
		return a->total < b->total ? 1 : -1;
	return a->key < b->key ? -1 : a->key > b->key;
}

/* --- the answer --- */

static Millrace__V1__Series *series_message(struct query *query, const struct series *series,
					    const struct group *group)
{
	struct arena *arena = &query->arena;
	Millrace__V1__Series *message = arena_take(arena, 1, sizeof(*message));
	Millrace__V1__Point *points =
		arena_take(arena, group->points_count, sizeof(Millrace__V1__Point));
	bool by_client = series->grouping->key == client_key;
	bool by_server = series->grouping->key == server_key;
	bool by_edge = series->grouping->key == edge_key || series->grouping->key == lane_key;

	millrace__v1__series__init(message);
	message->metric = (char *)series->measure.name;
	message->unit = (char *)series->measure.unit;
	if (by_edge || by_client)
		message->client = answer_name(query, group->edge.client);
	if (by_edge || by_server)
		message->server = answer_name(query, group->edge.server);
	if (by_edge) {
		message->port = group->edge.port;
		message->protocol = (char *)protocol_name(arena, group->edge.protocol);
	}
	if (series->grouping->key == instance_key)
		message->instance = instance_message(query, &group->instance);
	if (series->grouping->key == lane_key) {
		message->client_zone = answer_name(query, group->lane.client_zone);
		message->server_zone = answer_name(query, group->lane.server_zone);
		message->client_version = answer_name(query, group->lane.client_version);
		message->server_version = answer_name(query, group->lane.server_version);
	}
	message->n_points = group->points_count;
	message->points = arena_take(arena, group->points_count, sizeof(*message->points));
	for (size_t i = 0; i < group->points_count; i++) {
		millrace__v1__point__init(&points[i]);
		points[i].time_s = (double)group->points[i].start_ns / 1e9;
		points[i].value = group->points[i].value;
		message->points[i] = &points[i];
	}
	return message;
}

/* Window lengths, short to long. */
static const uint32_t lengths[] = {1, 10, 60, 3600};

enum {
	LENGTHS = sizeof(lengths) / sizeof(lengths[0]),
	PARTS_S = 10,
	STEP_S_MAX = 86400,
	/* A range that began as long ago as windows are kept began a little before, as now goes
	 * on. */
	SLACK_S = 10,
};

/* Seconds may not be told at all: too many rows, or not wanted. */
static bool kept_since(struct query *query, uint32_t window_s, uint64_t start_ns)
{
	struct history *history = query->options.history;
	uint64_t keep_ns = history_keep_ns(history, window_s * 1000);

	if (window_s == 1 && history_newest_ns(history, 1000) < history_newest_ns(history, 10000))
		return false;
	return keep_ns && start_ns + keep_ns + SLACK_S * NS_PER_S >= query->options.now_ns();
}

/* Ten minutes in seconds, else the shortest that are kept so long and are not too many. */
static uint32_t default_step(struct query *query, uint64_t start_ns, uint64_t end_ns)
{
	uint64_t now_ns = query->options.now_ns();

	if (start_ns + (600 + SLACK_S) * NS_PER_S >= now_ns && kept_since(query, 1, start_ns))
		return 1;
	for (int i = 1; i < LENGTHS; i++) {
		if (kept_since(query, lengths[i], start_ns) &&
		    (end_ns - start_ns) / (lengths[i] * NS_PER_S) < SERIES_POINTS_MAX)
			return lengths[i];
	}
	return PARTS_S;
}

static uint32_t whole_steps(uint32_t step_s, uint32_t window_s)
{
	return (step_s + window_s - 1) / window_s * window_s;
}

/* How often that is told at most. */
static uint32_t least_window(const struct series *series)
{
	bool round_trips = series->measure.value == srtt_p50 || series->measure.value == srtt_p95;

	return series->grouping->scope != SCOPE_EDGE || round_trips ? PARTS_S : 1;
}

/* The longest windows that the step is made of; where those are no longer kept, longer ones. */
static void find_window(struct query *query, const struct series *series, struct range *range)
{
	uint32_t least_s = least_window(series);

	range->step_s = whole_steps(range->step_s, least_s);
	range->window_s = least_s;
	if (series->grouping->scope != SCOPE_EDGE)
		return;
	for (int i = 0; i < LENGTHS; i++) {
		bool kept = kept_since(query, lengths[i], range->start_ns);

		if (lengths[i] < least_s || !kept)
			continue;
		if (range->step_s % lengths[i] == 0) {
			range->window_s = lengths[i];
		} else if (!kept_since(query, range->window_s, range->start_ns)) {
			range->window_s = lengths[i];
			range->step_s = whole_steps(range->step_s, lengths[i]);
		}
	}
}

static bool check_step(double step_s, struct refusal *refusal)
{
	if (step_s >= 0 && step_s <= STEP_S_MAX && step_s == (uint32_t)step_s)
		return true;
	refuse(refusal, REFUSED_BAD, "step is \"%gs\"; accepted: whole seconds up to %ds", step_s,
	       STEP_S_MAX);
	return false;
}

static bool find_range(struct query *query, const Millrace__V1__SeriesRequest *asked,
		       struct series *series, struct refusal *refusal)
{
	struct range *range = &series->range;
	uint64_t now_ns = query->options.now_ns();
	double end_s = asked->end_s > 0 ? asked->end_s : (double)(now_ns / NS_PER_S);
	double start_s = asked->start_s > 0 ? asked->start_s : end_s - 600;

	if (start_s < 0)
		start_s = 0;
	if (start_s >= end_s) {
		refuse(refusal, REFUSED_BAD,
		       "start is %.3f and end is %.3f; accepted: a start before the end", start_s,
		       end_s);
		return false;
	}
	if (!check_step(asked->step_s, refusal))
		return false;
	range->start_ns = (uint64_t)(start_s * 1e3) * NS_PER_MS;
	range->end_ns = (uint64_t)(end_s * 1e3) * NS_PER_MS;
	range->step_s = asked->step_s != 0 ? (uint32_t)asked->step_s
					   : default_step(query, range->start_ns, range->end_ns);
	find_window(query, series, range);

	uint64_t step_ns = range->step_s * NS_PER_S;

	range->start_ns = round_down(range->start_ns, step_ns);
	/* A step of several windows is shown when all of them are there. */
	if (range->step_s > range->window_s && asked->end_s == 0) {
		uint64_t newest_ns =
			history_newest_ns(query->options.history, range->window_s * 1000);
		uint64_t whole_ns = round_down(newest_ns, step_ns);

		range->end_ns = whole_ns < range->end_ns ? whole_ns : range->end_ns;
	}
	if (range->end_ns < range->start_ns)
		range->end_ns = range->start_ns;
	if ((range->end_ns - range->start_ns) / step_ns <= SERIES_POINTS_MAX)
		return true;
	refuse(refusal, REFUSED_TOO_MUCH,
	       "start to end is %.0f steps of %us; accepted: at most %d steps",
	       (double)((range->end_ns - range->start_ns) / step_ns), range->step_s,
	       SERIES_POINTS_MAX);
	return false;
}

static bool find_measure(const char *name, struct measure *measure, struct refusal *refusal)
{
	char names[1024];

	if (measure_find(name, measure))
		return true;
	measure_names(names, sizeof(names));
	refuse(refusal, REFUSED_BAD, "metric is \"%.64s\"; accepted: %s", name, names);
	return false;
}

static uint64_t id_of(const char *name)
{
	return name_id(name, strlen(name));
}

static const ProtobufCMessage *series_response(struct query *query, struct series *series,
					       uint32_t limit, uint32_t step_s)
{
	struct arena *arena = &query->arena;
	Millrace__V1__SeriesResponse *message = arena_take(arena, 1, sizeof(*message));
	struct groups *groups = &series->groups;
	size_t count = 0;

	millrace__v1__series_response__init(message);
	message->step_s = step_s;
	for (size_t i = 0; i < groups->count; i++) {
		close_step(series, groups->items[i]);
		count += groups->items[i]->points_count > 0;
	}
	if (groups->count)
		qsort(groups->items, groups->count, sizeof(struct group *), largest_first);
	message->series = arena_take(arena, limit, sizeof(*message->series));
	for (size_t i = 0; i < groups->count && message->n_series < limit; i++) {
		if (groups->items[i]->points_count)
			message->series[message->n_series++] =
				series_message(query, series, groups->items[i]);
	}
	message->series_left_out = (uint32_t)(count - message->n_series);
	return &message->base;
}

const ProtobufCMessage *answer_series(struct query *query, const ProtobufCMessage *request,
				      struct refusal *refusal)
{
	const Millrace__V1__SeriesRequest *asked = (const Millrace__V1__SeriesRequest *)request;
	struct series series = {.grouping = find_grouping(asked->group_by)};
	const ProtobufCMessage *message = NULL;
	const struct range *range = &series.range;

	if (asked->port > UINT16_MAX) {
		refuse(refusal, REFUSED_BAD, "port is %u; accepted: 0 to 65535", asked->port);
		return NULL;
	}
	if (!find_measure(asked->metric, &series.measure, refusal) ||
	    !find_range(query, asked, &series, refusal))
		return NULL;

	const struct history_filter filter = {.window_ms = range->window_s * 1000,
					      .start_ns = range->start_ns,
					      .end_ns = range->end_ns,
					      .scope = series.grouping->scope,
					      .client = id_of(asked->client),
					      .server = id_of(asked->server),
					      .port = (uint16_t)asked->port,
					      .sketches = series.measure.sketches};
	int64_t rows = history_read(query->options.history, &filter, query->options.read_rows_max,
				    on_row, &series);

	if (!refuse_rows(query, rows, refusal))
		message = series_response(query, &series, asked->limit, range->step_s);
	groups_done(&series.groups);
	return message;
}
