#include "anomaly/anomaly.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "anomaly/domain.h"
#include "anomaly/metric.h"
#include "anomaly/name_text.h"
#include "anomaly/subject.h"
#include "anomaly/summary.h"
#include "anomaly/watchlist.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"

enum {
	/* A pane's transitions: 1,000 a second, 2.5 MB. */
	TRANSITIONS_MAX = 256,
	/* As many are handed on together. */
	ALERTS_BUFFER = 32,
	/* A ranking is 0.1 ms for an edge, some ms for a server of thousands of rows. */
	RANKINGS_MAX = 64,
	DOMAIN_ROWS_PER_EDGE = 8,
	KEEP_PANES = 120 * PANES_PER_S,
	KEEP_LONG_PANES = 3600 * PANES_PER_S,
	/* Silence is learned as zeros this long: an edge that comes back daily keeps its usual
	   level. */
	LEARN_SILENCE_PANES = 300 * PANES_PER_S,
	HEARD_PANES = 10 * PANES_PER_S,
	/* More than any cluster's nodes on one owner; at the bound all must be heard anew. */
	NODES_MAX = 65536,
	/* After so many empty panes every window is empty. */
	GAP_PANES = 2 * SERIES_PANES_MAX,
	PREFETCH_ROWS = 4,
	PREFETCH_SUBJECTS = 6,
	WINDOW_PANES = BASELINE_WINDOW_S * PANES_PER_S,
	/* Windows in which baselines are judged: the first and the last of 1 s .. 10 s. */
	BASELINE_WINDOWS = 2,
	/* Numbers of rules: monitors' (anomaly/watchlist.h), then the kinds of baselines. */
	RULES_MAX = MONITORS_MAX + BASELINES,
};

/* Beside a rule's number: it matches no more, and only what is open of it ends. */
#define RULE_ENDS	  (1u << 31)

#define BASELINE_CLEAR_NS (10 * NS_PER_S)
/* Learning is slowed in an incident for this long: what lasts longer is the new usual. */
#define BASELINE_SLOW_NS (3600 * NS_PER_S)

static const uint32_t baseline_seconds[BASELINE_WINDOWS] = {1, BASELINE_WINDOW_S};

struct anomaly {
	struct anomaly_options options;
	struct watchlist monitors;
	struct roster edges, servers;
	struct plan *plans;
	struct map plan_of; /* by the hash of its rules */
	struct domain_log *domains;
	const struct names *names;	/* of the newest push */
	struct map nodes;		/* pane of the newest report, plus 1 */
	bool heard;			/* anomaly_heard was used */
	bool learns;			/* this pane ends ten seconds */
	bool started, pending;		/* pane is valid; rows wait for their pane's close */
	uint64_t pane;			/* the newest closed one */
	uint32_t tick;			/* panes closed: the series' time */
	uint64_t row_pane, report_pane; /* of the newest row; plus 1 */
	uint64_t now_ns;
	struct subject *latest; /* of the newest row: rows come sorted by edge */
	uint32_t *rules;	/* scratch of a match */
	uint32_t save_panes;	/* baseline_save_ns in panes, 1 at least */
	uint32_t save_turn;	/* whose turn it is in this pane */
	struct alert *waiting;	/* to be resumed when their monitors are known */
	uint32_t waiting_count;
	struct alert *alerts;			      /* not handed on yet */
	uint32_t alerts_count, transitions, rankings; /* of this pane */
	struct baseline_record *records;
	uint32_t records_count, records_capacity;
	struct histogram scratch;
	struct anomaly_stats stats;
};

/* What a rule says of a subject in this pane. */
struct verdict {
	bool fire, quiet; /* between the two an episode goes on and none begins */
	uint32_t metric, comparison;
	uint32_t panes; /* of the window that says so */
	double value, threshold, median, mad;
};

struct anomaly *anomaly_new(const struct anomaly_options *options)
{
	struct anomaly *anomaly = memory_zeroed(1, sizeof(*anomaly));
	anomaly->options = *options;
	anomaly->options.monitors = NULL;
	watchlist_set(&anomaly->monitors, options->monitors, options->monitors_count);
	anomaly->rules = memory_resize(NULL, RULES_MAX, sizeof(*anomaly->rules));
	uint64_t save_panes = options->baseline_save_ns / PANE_NS;
	anomaly->save_panes = save_panes < 1		? 1
			      : save_panes < UINT32_MAX ? (uint32_t)save_panes
							: UINT32_MAX;
	roster_init(&anomaly->edges, options->edges_max);
	roster_init(&anomaly->servers, options->edges_max);
	anomaly->domains = domain_log_new(options->edges_max * DOMAIN_ROWS_PER_EDGE);
	anomaly->alerts = memory_resize(NULL, ALERTS_BUFFER, sizeof(*anomaly->alerts));
	return anomaly;
}

void anomaly_bind(struct anomaly *anomaly, const struct anomaly_sinks *sinks)
{
	anomaly->options.sinks = *sinks;
}

static void plans_free(struct plan *plan)
{
	while (plan) {
		struct plan *next = plan->next;
		memory_free(plan);
		plan = next;
	}
}

void anomaly_free(struct anomaly *anomaly)
{
	if (!anomaly)
		return;
	roster_done(&anomaly->edges);
	roster_done(&anomaly->servers);
	domain_log_free(anomaly->domains);
	map_done(&anomaly->nodes);
	map_done(&anomaly->plan_of);
	plans_free(anomaly->plans);
	memory_free(anomaly->records);
	memory_free(anomaly->alerts);
	memory_free(anomaly->waiting);
	memory_free(anomaly->rules);
	watchlist_done(&anomaly->monitors);
	memory_free(anomaly);
}

/* --- subjects and their watches --- */

static uint32_t window_panes(const struct monitor *monitor)
{
	uint64_t panes = monitor->window_ns / PANE_NS;
	return panes < 1 ? 1 : panes > SERIES_PANES_MAX ? SERIES_PANES_MAX : (uint32_t)panes;
}

/* Also of one that is no longer in force, whose episodes end. */
static const struct monitor *rule_monitor(const struct anomaly *anomaly, uint32_t rule)
{
	return rule < MONITORS_MAX ? &anomaly->monitors.places[rule].monitor : NULL;
}

static uint32_t rule_kind(uint32_t rule)
{
	return rule - MONITORS_MAX;
}

static struct baseline_limits subject_limits(const struct anomaly *anomaly,
					     const struct subject *subject, uint32_t kind,
					     uint32_t window)
{
	return baseline_limits(&subject->baselines[kind], kind, baseline_seconds[window],
			       anomaly->options.sensitivity);
}

static bool baseline_ready(const struct anomaly *anomaly, const struct subject *subject,
			   uint32_t kind)
{
	return subject->baselines[kind].samples >= anomaly->options.warmup_samples;
}

/* A latency in microseconds as a sketch index: the highest that does not come to more. */
static uint32_t latency_index(int64_t limit_us)
{
	return metric_connect_index(((double)limit_us + 0.999) / 1e6);
}

/* Where the baselines of bytes (10 s sums) and latency begin to matter. Those of failures need no
 * bound: most panes have none. */
static void subject_bound(struct anomaly *anomaly, struct subject *subject)
{
	const int64_t unit = 1000000 / BASELINE_WINDOW_S;
	subject->bytes_low = 0;
	subject->bytes_high = UINT64_MAX;
	subject->connect_index = subject->plan->connect_index;
	if (subject->per_server || !anomaly->options.baselines)
		return;
	if (baseline_ready(anomaly, subject, BASELINE_BYTES)) {
		struct baseline_limits limits =
			subject_limits(anomaly, subject, BASELINE_BYTES, BASELINE_WINDOWS - 1);
		subject->bytes_high = (uint64_t)(limits.high / unit);
		subject->bytes_low =
			limits.low > 0 ? (uint64_t)((limits.low + unit - 1) / unit) : 0;
	}
	for (uint32_t i = 0; i < BASELINE_WINDOWS; i++) {
		if (!baseline_ready(anomaly, subject, BASELINE_CONNECT_LATENCY))
			break;
		struct baseline_limits limits =
			subject_limits(anomaly, subject, BASELINE_CONNECT_LATENCY, i);
		uint32_t index = latency_index(limits.high_clear);
		if (index < subject->connect_index)
			subject->connect_index = index;
	}
}

/* What a monitor reads decides what is kept, and what bound spares it. */
static void plan_monitor(struct plan *plan, const struct monitor *monitor)
{
	uint16_t bit = (uint16_t)(1u << monitor->metric);
	plan->metrics |= bit;
	plan->below |= monitor->comparison == COMPARE_BELOW;
	switch (monitor->metric) {
	case METRIC_CONNECT_LATENCY: {
		uint32_t index = metric_connect_index(monitor->threshold);
		plan->connects = true;
		plan->connect_index = index < plan->connect_index ? index : plan->connect_index;
		break;
	}
	case METRIC_CONNECTIONS_OPENED:
	case METRIC_BYTES:
		plan->always |= bit;
		break;
	case METRIC_RTT:
		plan->always |= bit;
		plan->transport = true;
		break;
	case METRIC_CONNECTIONS_RESET:
	case METRIC_RETRANSMIT_RATIO:
		plan->transport = true;
		break;
	}
	/* Nothing at all would be too much. */
	if (monitor->threshold < 0)
		plan->always |= bit;
}

static struct plan *plan_new(const struct anomaly *anomaly, const uint32_t *rules, uint32_t count)
{
	struct plan *plan = memory_zeroed(1, sizeof(*plan) + count * sizeof(plan->watches[0]));
	plan->connect_index = SKETCH_INDEXES;
	plan->watches_count = count;
	for (uint32_t i = 0; i < count; i++) {
		struct watch *watch = &plan->watches[i];
		uint32_t rule = rules[i] & ~RULE_ENDS;
		const struct monitor *monitor = rule_monitor(anomaly, rule);
		watch->rule = rule;
		watch->ends = (rules[i] & RULE_ENDS) != 0;
		if (monitor) {
			watch->metric = monitor->metric;
			watch->panes = window_panes(monitor);
			plan_monitor(plan, monitor);
		} else {
			watch->metric = baseline_metric(rule_kind(rule));
			watch->panes = baseline_seconds[0] * PANES_PER_S;
			plan->metrics |= (uint16_t)(1u << watch->metric);
			plan->connects = true;
			plan->panes_max = plan->panes_max > WINDOW_PANES ? plan->panes_max
									 : (uint32_t)WINDOW_PANES;
		}
		if (watch->panes > plan->panes_max)
			plan->panes_max = watch->panes;
	}
	return plan;
}

/* The plan of these rules: made once. */
static const struct plan *plan_get(struct anomaly *anomaly, const uint32_t *rules, uint32_t count)
{
	uint64_t key = hash_bytes(rules, count * sizeof(*rules)) | 1;
	struct plan *plan = map_get(&anomaly->plan_of, key);
	if (plan)
		return plan;
	plan = plan_new(anomaly, rules, count);
	plan->next = anomaly->plans;
	anomaly->plans = plan;
	map_put(&anomaly->plan_of, key, plan);
	return plan;
}

/* All rules that match, into the scratch. */
static uint32_t rules_match(struct anomaly *anomaly, const struct subject *subject,
			    const char *client, const char *server)
{
	uint32_t *rules = anomaly->rules, count = 0;
	for (uint32_t i = 0; i < anomaly->monitors.ordered; i++) {
		const struct monitor *monitor = watchlist_at(&anomaly->monitors, i);
		if (monitor->per_server == subject->per_server && monitor->metric < METRICS &&
		    monitor_matches(monitor, client, server, subject->edge.port))
			rules[count++] = anomaly->monitors.order[i];
	}
	if (anomaly->options.baselines && !subject->per_server)
		for (uint32_t kind = 0; kind < BASELINES; kind++)
			rules[count++] = MONITORS_MAX + kind;
	return count;
}

/* And the windows that they read. */
static void subject_match(struct anomaly *anomaly, struct subject *subject, const char *client,
			  const char *server)
{
	uint32_t count = rules_match(anomaly, subject, client, server);
	subject->plan = plan_get(anomaly, anomaly->rules, count);
	series_init(&subject->series, subject->plan->panes_max, subject->plan->connects,
		    subject->plan->transport, anomaly->tick);
	subject_bound(anomaly, subject);
}

static struct subject *subject_add(struct anomaly *anomaly, struct roster *roster,
				   const struct edge *edge)
{
	struct subject *subject = roster_add(roster, edge->id, edge);
	if (!subject)
		return NULL;
	subject->series.last = anomaly->tick;
	subject->save_turn =
		anomaly->save_panes > 1 ? (uint32_t)(hash_mix(edge->id) % anomaly->save_panes) : 0;
	return subject;
}

/* The bytes of a name, "" of the unknown one, NULL if they are not here (yet). */
static const char *name_bytes(const struct names *names, uint64_t id)
{
	if (id == 0)
		return "";
	const struct name *name = names ? names_get(names, id) : NULL;
	return name ? name->bytes : NULL;
}

static struct subject *server_subject(struct anomaly *anomaly, const struct edge *edge,
				      const char *server)
{
	struct edge all = {.server = edge->server, .port = edge->port, .protocol = edge->protocol};
	all.id = edge_id(&all);
	struct subject *subject = roster_get(&anomaly->servers, all.id);
	/* It may have been forgotten. */
	if (subject && !subject->plan && server)
		subject_match(anomaly, subject, "", server);
	if (subject || !server)
		return subject;
	bool wanted = false;
	for (uint32_t i = 0; i < anomaly->monitors.ordered && !wanted; i++) {
		const struct monitor *monitor = watchlist_at(&anomaly->monitors, i);
		wanted = monitor->per_server && monitor_matches(monitor, "", server, edge->port);
	}
	subject = wanted ? subject_add(anomaly, &anomaly->servers, &all) : NULL;
	if (!subject)
		return NULL;
	subject->per_server = true;
	subject_match(anomaly, subject, "", server);
	return subject;
}

/* Names may come later than rows: until they are here nothing can be matched. */
static void edge_name(struct anomaly *anomaly, struct subject *subject)
{
	const char *client = name_bytes(anomaly->names, subject->edge.client);
	const char *server = name_bytes(anomaly->names, subject->edge.server);
	if (!client || !server)
		return;
	subject_match(anomaly, subject, client, server);
	if (anomaly->monitors.per_server)
		subject->server = server_subject(anomaly, &subject->edge, server);
	if (subject->server)
		subject->server->links++;
}

/* NULL when there is no room for it. */
static struct subject *edge_subject(struct anomaly *anomaly, const struct edge *edge)
{
	if (anomaly->latest && anomaly->latest->id == edge->id)
		return anomaly->latest;
	struct subject *subject = roster_get(&anomaly->edges, edge->id);
	if (!subject)
		subject = subject_add(anomaly, &anomaly->edges, edge);
	if (subject && !subject->plan)
		edge_name(anomaly, subject);
	anomaly->latest = subject;
	return subject;
}

/* --- rows in --- */

static void subject_row(struct anomaly *anomaly, struct subject *subject,
			const struct rollup *rollup)
{
	if (subject->first_pane == 0 && subject->plan)
		subject->first_pane = anomaly->pane + 1;
	series_add(&subject->series, anomaly->tick + 1, pane_end(anomaly->pane + 1), rollup);
}

static void push_edge(struct anomaly *anomaly, const struct rollup *rollup)
{
	struct subject *subject = edge_subject(anomaly, &rollup->edge), *server = NULL;
	if (subject) {
		subject_row(anomaly, subject, rollup);
		server = subject->server;
	} else {
		anomaly->stats.unwatched++;
		if (anomaly->monitors.per_server)
			server = server_subject(anomaly, &rollup->edge,
						name_bytes(anomaly->names, rollup->edge.server));
	}
	if (server)
		subject_row(anomaly, server, rollup);
}

static void hear(struct anomaly *anomaly, uint64_t node)
{
	if (node == 0)
		return;
	if (anomaly->nodes.count >= NODES_MAX && !map_get(&anomaly->nodes, node))
		map_done(&anomaly->nodes);
	map_put(&anomaly->nodes, node, (void *)(uintptr_t)(anomaly->pane + 2));
}

static void push_instance(struct anomaly *anomaly, const struct rollup *rollup)
{
	uint64_t node = rollup->instance.node;
	if (rollup->window_ms == 250)
		domain_log_add(anomaly->domains, rollup);
	else
		domain_log_add_long(anomaly->domains, rollup);
	hear(anomaly, node);
	struct subject *subject = anomaly->latest;
	if (!subject || subject->id != rollup->edge.id)
		subject = roster_get(&anomaly->edges, rollup->edge.id);
	if (!subject || node == 0)
		return;
	subject_heard(subject, node);
	if (subject->server)
		subject_heard(subject->server, node);
}

static struct sample sample_of(bool known, uint64_t value)
{
	return (struct sample){.known = known,
			       .value = value < INT64_MAX ? (int64_t)value : INT64_MAX};
}

static uint64_t natural(int64_t counter)
{
	return counter > 0 ? (uint64_t)counter : 0;
}

/* Per second, in millionths: of ten seconds' worth. */
static uint64_t per_second(uint64_t count)
{
	uint64_t rate;
	return __builtin_mul_overflow(count, 1000000 / BASELINE_WINDOW_S, &rate) ? UINT64_MAX
										 : rate;
}

static void push_sample(struct anomaly *anomaly, const struct rollup *rollup)
{
	struct subject *subject = roster_get(&anomaly->edges, rollup->edge.id);
	if (!subject)
		return;
	const int64_t *counters = rollup->counters;
	uint64_t bytes = natural(counters[COUNTER_TX_BYTES]) + natural(counters[COUNTER_RX_BYTES]);
	uint64_t connects = sketch_total(rollup->connect, rollup->connect_cells);
	uint64_t p95_ns = sketch_quantile(rollup->connect, rollup->connect_cells, 0.95);
	subject->sampled = true;
	subject->samples[BASELINE_FAILED] =
		sample_of(true, per_second(natural(counters[COUNTER_FAILED])));
	subject->samples[BASELINE_BYTES] = sample_of(true, per_second(bytes));
	subject->samples[BASELINE_CONNECT_LATENCY] =
		sample_of(connects >= BASELINE_CONNECTS_MIN, p95_ns / NS_PER_US);
}

static void close_until(struct anomaly *anomaly, uint64_t pane);

static void push_row(struct anomaly *anomaly, const struct rollup *rollup)
{
	uint64_t end_ns = rollup->window_start_ns + rollup->window_ms * NS_PER_MS;
	uint64_t pane = pane_of(end_ns) - 1;
	if (!anomaly->started) {
		anomaly->started = true;
		anomaly->pane = pane - 1;
	}
	if (pane > anomaly->pane + 1)
		close_until(anomaly, pane - 1);
	anomaly->pending = true;
	if (pane > anomaly->row_pane)
		anomaly->row_pane = pane;
	if (rollup->window_ms != 250 && rollup->window_ms != 10000)
		return;
	if (rollup->scope == SCOPE_CLIENT || rollup->scope == SCOPE_SERVER)
		push_instance(anomaly, rollup);
	if (rollup->window_ms == 250)
		anomaly->report_pane = anomaly->pane + 2;
	if (rollup->scope != SCOPE_EDGE)
		return;
	if (rollup->window_ms == 250)
		push_edge(anomaly, rollup);
	else
		push_sample(anomaly, rollup);
}

/* Rows and subjects come from far: without this a pane waits for memory two thirds of its time. Of
 * the subjects it is known which come next if all have rows. */
static void prefetch_row(const struct anomaly *anomaly, const struct rollup *far)
{
	const struct roster *edges = &anomaly->edges;
	const char *from = (const char *)far;
	for (size_t at = 0; at < sizeof(*far); at += 64)
		__builtin_prefetch(from + at);
	if (edges->cursor + 2 * PREFETCH_SUBJECTS >= edges->walked)
		return;
	subject_prefetch(edges->sorted[edges->cursor + 2 * PREFETCH_SUBJECTS].subject);
	series_prefetch(&edges->sorted[edges->cursor + PREFETCH_SUBJECTS].subject->series);
}

void anomaly_push(struct anomaly *anomaly, const struct rollup *rollups, size_t count,
		  const struct names *names)
{
	anomaly->names = names;
	for (size_t i = 0; i < count; i++) {
		if (i + PREFETCH_ROWS < count)
			prefetch_row(anomaly, &rollups[i + PREFETCH_ROWS]);
		if (!rollups[i].amendment)
			push_row(anomaly, &rollups[i]);
	}
}

void anomaly_heard(struct anomaly *anomaly, const uint64_t *nodes, size_t count)
{
	anomaly->heard = true;
	for (size_t i = 0; i < count; i++)
		hear(anomaly, nodes[i]);
}

/* --- judging --- */

/* Somebody who would have told of traffic has spoken since the subject fell silent: see anomaly.h.
 */
static bool silence_is_zero(const struct anomaly *anomaly, const struct subject *subject)
{
	uint32_t silent = series_silent(&subject->series, anomaly->tick);
	uint64_t last_row = anomaly->pane >= silent ? anomaly->pane - silent : 0;
	uint64_t report = anomaly->heard ? 0 : anomaly->report_pane;
	if (silent == 0)
		return true;
	for (uint32_t i = 0; i < SUBJECT_NODES; i++) {
		uint64_t node = subject->nodes[i];
		uint64_t heard = node ? (uintptr_t)map_get(&anomaly->nodes, node) : 0;
		report = heard > report ? heard : report;
	}
	return report > last_row + 1 && report + HEARD_PANES > anomaly->pane + 1;
}

static bool filled(const struct anomaly *anomaly, const struct subject *subject, uint32_t panes)
{
	return subject->first_pane && anomaly->pane + 1 - subject->first_pane >= panes;
}

static struct verdict judge_monitor(struct anomaly *anomaly, const struct subject *subject,
				    const struct watch *watch, bool open)
{
	const struct monitor *monitor = rule_monitor(anomaly, watch->rule);
	const struct series *series = &subject->series;
	struct verdict verdict = {.quiet = true,
				  .metric = monitor->metric,
				  .comparison = monitor->comparison,
				  .panes = watch->panes,
				  .threshold = monitor->threshold};
	bool below = monitor->comparison == COMPARE_BELOW;
	if (watch->ends)
		return verdict;
	if (monitor->metric == METRIC_CONNECT_LATENCY && !below && !open &&
	    !series_connects_may_exceed(series, anomaly->tick, watch->panes, 0.95,
					metric_connect_index(monitor->threshold)))
		return verdict;
	struct window_sums sums = series_sums(series, anomaly->tick, watch->panes);
	struct measure measure =
		metric_measure(monitor->metric, series, anomaly->tick, &sums, &anomaly->scratch);
	verdict.value = measure.value;
	if (!measure.known || sums.opened + sums.failed < monitor->minimum)
		return verdict;
	if (!below) {
		verdict.fire = measure.value > monitor->threshold;
		verdict.quiet = measure.value <= monitor->clear;
		return verdict;
	}
	verdict.quiet = measure.value >= monitor->clear;
	verdict.fire = measure.value < monitor->threshold &&
		       filled(anomaly, subject, watch->panes) && silence_is_zero(anomaly, subject);
	return verdict;
}

/* The trailing window's value as baselines count it. limit: up to there a latency may be given as
 * 0. */
static int64_t baseline_value(struct anomaly *anomaly, const struct subject *subject, uint32_t kind,
			      const struct window_sums *sums, int64_t limit)
{
	uint64_t seconds = sums->panes / PANES_PER_S;
	if (kind == BASELINE_FAILED)
		return (int64_t)(sums->failed * 1000000 / seconds);
	if (kind == BASELINE_BYTES)
		return sample_of(true, per_second(sums->bytes)).value;
	if (!series_connects_may_exceed(&subject->series, anomaly->tick, sums->panes, 0.95,
					latency_index(limit)))
		return 0;
	return (int64_t)(series_connect_quantile(&subject->series, anomaly->tick, sums->panes, 0.95,
						 &anomaly->scratch) /
			 NS_PER_US);
}

/* Bytes are judged over 10 s only: most edges' seconds differ by more than any limit. */
static uint32_t baseline_first_window(uint32_t kind)
{
	return kind == BASELINE_BYTES ? BASELINE_WINDOWS - 1 : 0;
}

static struct verdict judge_baseline(struct anomaly *anomaly, const struct subject *subject,
				     uint32_t kind, bool open)
{
	const struct baseline *baseline = &subject->baselines[kind];
	struct verdict verdict = {.quiet = true,
				  .metric = baseline_metric(kind),
				  .comparison = COMPARE_ABOVE,
				  .panes = baseline_seconds[0] * PANES_PER_S,
				  .median = (double)baseline->median / 1e6,
				  .mad = (double)baseline->mad / 1e6};
	if (!baseline_ready(anomaly, subject, kind))
		return verdict;
	for (uint32_t i = baseline_first_window(kind); i < BASELINE_WINDOWS && !verdict.fire; i++) {
		uint32_t panes = baseline_seconds[i] * PANES_PER_S;
		struct window_sums sums = series_sums(&subject->series, anomaly->tick, panes);
		bool enough =
			kind != BASELINE_CONNECT_LATENCY || sums.connects >= BASELINE_CONNECTS_MIN;
		if (!enough && !open)
			continue;
		struct baseline_limits limits = subject_limits(anomaly, subject, kind, i);
		int64_t value =
			baseline_value(anomaly, subject, kind, &sums, open ? 0 : limits.high_clear);
		bool low = value < limits.low_clear;
		/* What is not known is not low; an episode that is open already is held. */
		bool sure = value < limits.low && filled(anomaly, subject, panes) &&
			    silence_is_zero(anomaly, subject);
		verdict.fire = enough && (value > limits.high || sure);
		verdict.quiet &= !enough || (value <= limits.high_clear && !low);
		verdict.panes = panes;
		verdict.comparison = low ? COMPARE_BELOW : COMPARE_ABOVE;
		verdict.value = (double)value / 1e6;
		verdict.threshold = (double)(low ? limits.low : limits.high) / 1e6;
	}
	return verdict;
}

/* --- episodes --- */

static void rule_name(const struct anomaly *anomaly, uint32_t rule, char text[ALERT_MONITOR_MAX])
{
	const struct monitor *monitor = rule_monitor(anomaly, rule);
	if (monitor)
		snprintf(text, ALERT_MONITOR_MAX, "%s", monitor->name);
	else
		snprintf(text, ALERT_MONITOR_MAX, "baseline/%s",
			 metric_name(baseline_metric(rule_kind(rule))));
}

static const char *rule_unit(const struct anomaly *anomaly, uint32_t rule)
{
	const struct monitor *monitor = rule_monitor(anomaly, rule);
	return monitor ? metric_unit(monitor->metric) : baseline_unit(rule_kind(rule));
}

/* What a transition says of this pane. */
static void alert_measure(struct anomaly *anomaly, const struct subject *subject,
			  const struct verdict *verdict, struct alert *alert)
{
	struct window_sums sums = series_sums(&subject->series, anomaly->tick, verdict->panes);
	alert->value = verdict->value;
	alert->threshold = verdict->threshold;
	alert->baseline_median = verdict->median;
	alert->baseline_mad = verdict->mad;
	alert->window_ms = verdict->panes * (uint32_t)(PANE_NS / NS_PER_MS);
	alert->pane_end_ns = anomaly->now_ns;
	alert->last_event_ns =
		series_last_event(&subject->series, anomaly->tick, verdict->panes, anomaly->now_ns);
	alert->completeness =
		sums.issued > sums.received ? (double)sums.received / (double)sums.issued : 1;
}

/* False if this pane has had its share of rankings, or what to rank has not come yet. */
static bool rank(struct anomaly *anomaly, const struct subject *subject,
		 const struct verdict *verdict, struct alert *alert)
{
	if (anomaly->rankings == RANKINGS_MAX)
		return false;
	struct domain_query query = {
		.edge = subject->edge,
		.per_server = subject->per_server,
		.metric = verdict->metric,
		.comparison = verdict->comparison,
		.window_panes = verdict->panes,
		.started_ns = alert->started_ns,
	};
	if (!domain_ready(anomaly->domains, &query))
		return false;
	anomaly->rankings++;
	alert->suspects_count =
		domain_rank(anomaly->domains, &query, anomaly->names, alert->suspects);
	return true;
}

static void hand_on(struct anomaly *anomaly)
{
	const struct anomaly_sinks *sinks = &anomaly->options.sinks;
	if (anomaly->alerts_count && sinks->alerts)
		sinks->alerts(sinks->context, anomaly->alerts, anomaly->alerts_count);
	anomaly->alerts_count = 0;
}

static void put(struct anomaly *anomaly, const struct alert *alert)
{
	anomaly->transitions++;
	anomaly->alerts[anomaly->alerts_count++] = *alert;
	if (anomaly->alerts_count == ALERTS_BUFFER)
		hand_on(anomaly);
}

static bool emit(struct anomaly *anomaly, const struct subject *subject,
		 const struct verdict *verdict, struct alert *alert)
{
	if (anomaly->transitions == TRANSITIONS_MAX)
		return false;
	alert->sequence++;
	struct window_sums sums = series_sums(&subject->series, anomaly->tick, verdict->panes);
	summary_write(alert, verdict->metric, verdict->comparison, &sums);
	put(anomaly, alert);
	return true;
}

/* One more open, or one less. */
static void episodes_count(struct anomaly *anomaly, struct subject *subject, uint32_t rule,
			   int more)
{
	subject->episodes += (uint32_t)more;
	anomaly->stats.episodes += (uint64_t)more;
	if (rule < MONITORS_MAX)
		anomaly->monitors.places[rule].episodes += (uint32_t)more;
}

static void episode_begin(struct anomaly *anomaly, struct subject *subject,
			  const struct watch *watch, struct watch_state *state,
			  const struct verdict *verdict)
{
	if (anomaly->stats.episodes >= anomaly->options.episodes_max) {
		anomaly->stats.suppressed += !state->suppressed;
		state->suppressed = true;
		return;
	}
	if (anomaly->transitions == TRANSITIONS_MAX)
		return;
	const struct monitor *monitor = rule_monitor(anomaly, watch->rule);
	struct episode *episode = memory_zeroed(1, sizeof(*episode));
	struct alert *alert = &episode->alert;
	alert->state = ALERT_FIRING;
	alert->severity = monitor ? monitor->severity : ALERT_WARNING;
	rule_name(anomaly, watch->rule, alert->monitor);
	name_text(anomaly->names, subject->edge.client, alert->subject.client);
	name_text(anomaly->names, subject->edge.server, alert->subject.server);
	alert->subject.port = subject->edge.port;
	alert->subject.protocol = subject->edge.protocol;
	alert->started_ns = anomaly->now_ns;
	snprintf(alert->metric, sizeof(alert->metric), "%s", metric_name(verdict->metric));
	snprintf(alert->unit, sizeof(alert->unit), "%s", rule_unit(anomaly, watch->rule));
	alert_key(alert);
	alert_measure(anomaly, subject, verdict, alert);
	/* Without its turn in the ranking, the next pane may try. */
	bool ranked = rank(anomaly, subject, verdict, alert);
	episode->update_ns = ranked ? anomaly->now_ns + anomaly->options.update_ns : 0;
	emit(anomaly, subject, verdict, alert);
	state->episode = episode;
	episodes_count(anomaly, subject, watch->rule, 1);
	anomaly->stats.fired++;
}

/* False if the pane is full: the next one tries again. */
static bool episode_end(struct anomaly *anomaly, struct subject *subject, const struct watch *watch,
			struct watch_state *state, const struct verdict *verdict)
{
	struct alert alert = state->episode->alert;
	alert.state = ALERT_RESOLVED;
	alert.ended_ns = anomaly->now_ns;
	alert_measure(anomaly, subject, verdict, &alert);
	if (!emit(anomaly, subject, verdict, &alert))
		return false;
	memory_free(state->episode);
	state->episode = NULL;
	episodes_count(anomaly, subject, watch->rule, -1);
	anomaly->stats.resolved++;
	return true;
}

/* While the condition holds: a new first suspect is news, none any more is not. */
static void episode_update(struct anomaly *anomaly, struct subject *subject,
			   struct episode *episode, const struct verdict *verdict)
{
	if (!verdict->fire || anomaly->now_ns < episode->update_ns)
		return;
	struct alert alert = episode->alert;
	if (!rank(anomaly, subject, verdict, &alert))
		return;
	episode->update_ns = anomaly->now_ns + anomaly->options.update_ns;
	if (alert.suspects_count == 0 || alert_same_suspect(&alert, &episode->alert))
		return;
	alert_measure(anomaly, subject, verdict, &alert);
	if (!emit(anomaly, subject, verdict, &alert))
		return;
	episode->alert = alert;
	anomaly->stats.updated++;
}

static void episode_step(struct anomaly *anomaly, struct subject *subject,
			 const struct watch *watch, struct watch_state *state,
			 const struct verdict *verdict)
{
	struct episode *episode = state->episode;
	const struct monitor *monitor = rule_monitor(anomaly, watch->rule);
	uint64_t clear_ns = watch->ends ? 0 : monitor ? monitor->clear_ns : BASELINE_CLEAR_NS;
	if (!verdict->quiet) {
		episode->quiet_since_ns = 0;
		episode_update(anomaly, subject, episode, verdict);
		return;
	}
	if (episode->quiet_since_ns == 0)
		episode->quiet_since_ns = anomaly->now_ns;
	if (anomaly->now_ns - episode->quiet_since_ns >= clear_ns)
		episode_end(anomaly, subject, watch, state, verdict);
}

static struct verdict judge(struct anomaly *anomaly, const struct subject *subject,
			    const struct watch *watch, bool open)
{
	if (rule_monitor(anomaly, watch->rule))
		return judge_monitor(anomaly, subject, watch, open);
	return judge_baseline(anomaly, subject, rule_kind(watch->rule), open);
}

/* States are kept only while there is something to remember. */
static struct watch_state *watch_states(struct subject *subject)
{
	if (!subject->states)
		subject->states =
			memory_zeroed(subject->plan->watches_count, sizeof(*subject->states));
	return subject->states;
}

static void states_drop(struct subject *subject)
{
	uint32_t used = subject->episodes;
	for (uint32_t i = 0; i < subject->plan->watches_count; i++)
		used += subject->states[i].suppressed;
	if (used)
		return;
	memory_free(subject->states);
	subject->states = NULL;
}

static void watch_step(struct anomaly *anomaly, struct subject *subject, uint32_t number)
{
	const struct watch *watch = &subject->plan->watches[number];
	struct watch_state *state = subject->states ? &subject->states[number] : NULL;
	bool open = state && state->episode;
	struct verdict verdict = judge(anomaly, subject, watch, open);
	if (open)
		episode_step(anomaly, subject, watch, state, &verdict);
	else if (verdict.fire)
		episode_begin(anomaly, subject, watch, &watch_states(subject)[number], &verdict);
	if (!verdict.fire && state)
		state->suppressed = false;
}

/* The metrics, a bit each, whose windows could be beyond some limit: all others are quiet. */
static uint32_t subject_suspicion(const struct anomaly *anomaly, const struct subject *subject)
{
	const struct plan *plan = subject->plan;
	const struct series *series = &subject->series;
	const struct totals *before = series_before(series, anomaly->tick, plan->panes_max);
	uint32_t metrics = plan->always;
	if (series->totals.failed != before->failed)
		metrics |= 1u << METRIC_CONNECTIONS_FAILED | 1u << METRIC_FAILURE_RATIO;
	if (series_connect_bound(series) > subject->connect_index)
		metrics |= 1u << METRIC_CONNECT_LATENCY;
	if (plan->panes_max > WINDOW_PANES)
		before = series_before(series, anomaly->tick, WINDOW_PANES);
	uint64_t bytes = series->totals.bytes - before->bytes;
	if (bytes > subject->bytes_high || bytes < subject->bytes_low)
		metrics |= 1u << METRIC_BYTES;
	if (!plan->transport)
		return metrics;
	const struct transport *transport =
		series_transport_before(series, anomaly->tick, plan->panes_max);
	if (series->transport.resets != transport->resets)
		metrics |= 1u << METRIC_CONNECTIONS_RESET;
	if (series->transport.retransmits != transport->retransmits)
		metrics |= 1u << METRIC_RETRANSMIT_RATIO;
	return metrics;
}

static void subject_judge(struct anomaly *anomaly, struct subject *subject)
{
	const struct plan *plan = subject->plan;
	uint32_t metrics = plan->metrics;
	if (!plan->below && !subject->states)
		metrics &= subject_suspicion(anomaly, subject);
	if (!metrics)
		return;
	for (uint32_t i = 0; i < plan->watches_count; i++)
		if (metrics >> plan->watches[i].metric & 1)
			watch_step(anomaly, subject, i);
	if (subject->states)
		states_drop(subject);
}

/* --- baselines --- */

static bool incident_slows(const struct anomaly *anomaly, const struct subject *subject,
			   uint32_t kind)
{
	uint32_t rule = MONITORS_MAX + kind;
	for (uint32_t i = 0; subject->states && i < subject->plan->watches_count; i++) {
		const struct episode *episode = subject->states[i].episode;
		if (subject->plan->watches[i].rule == rule && episode)
			return anomaly->now_ns - episode->alert.started_ns < BASELINE_SLOW_NS;
	}
	return false;
}

static void learn(struct anomaly *anomaly, struct subject *subject, uint32_t kind, int64_t value)
{
	baseline_learn(&subject->baselines[kind], kind, value, anomaly->now_ns,
		       incident_slows(anomaly, subject, kind));
	subject->dirty |= (uint8_t)(1u << kind);
}

/* At the end of each ten seconds; a silent edge's rates are 0 where that is known. */
static void subject_learn(struct anomaly *anomaly, struct subject *subject)
{
	if (subject->sampled) {
		for (uint32_t kind = 0; kind < BASELINES; kind++)
			if (subject->samples[kind].known)
				learn(anomaly, subject, kind, subject->samples[kind].value);
		subject->sampled = false;
		subject_bound(anomaly, subject);
		return;
	}
	uint32_t silent = series_silent(&subject->series, anomaly->tick);
	if (silent < WINDOW_PANES || silent > LEARN_SILENCE_PANES ||
	    !silence_is_zero(anomaly, subject))
		return;
	learn(anomaly, subject, BASELINE_FAILED, 0);
	learn(anomaly, subject, BASELINE_BYTES, 0);
	subject_bound(anomaly, subject);
}

/* Each edge has its pane in every baseline_save_ns, by its hash: no pane has them all. */
static void subject_save(struct anomaly *anomaly, struct subject *subject)
{
	for (uint32_t kind = 0; kind < BASELINES; kind++) {
		const struct baseline *baseline = &subject->baselines[kind];
		if (!(subject->dirty >> kind & 1))
			continue;
		if (anomaly->records_count == anomaly->records_capacity) {
			anomaly->records_capacity = (uint32_t)memory_grown(
				anomaly->records_capacity, anomaly->records_count + 1);
			anomaly->records =
				memory_resize(anomaly->records, anomaly->records_capacity,
					      sizeof(*anomaly->records));
		}
		anomaly->records[anomaly->records_count++] = (struct baseline_record){
			.edge = subject->edge,
			.metric = baseline_metric(kind),
			.samples = baseline->samples,
			.window_ns = baseline->window_ns,
			.median = baseline->median,
			.mad = baseline->mad,
		};
	}
	subject->dirty = 0;
}

/* A topic's record may hold anything: a value that no learning gives would overflow the limits. */
static bool record_sound(const struct baseline_record *record)
{
	const int64_t most = 1000000000000000000; /* 10^12 units */
	return record->edge.id && baseline_by_metric(record->metric) < BASELINES &&
	       record->median >= 0 && record->median <= most && record->mad >= 0 &&
	       record->mad <= most;
}

void anomaly_load(struct anomaly *anomaly, const struct baseline_record *records, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct baseline_record *record = &records[i];
		if (!record_sound(record))
			continue;
		struct subject *subject = roster_get(&anomaly->edges, record->edge.id);
		if (!subject)
			subject = subject_add(anomaly, &anomaly->edges, &record->edge);
		if (!subject)
			continue;
		uint32_t kind = baseline_by_metric(record->metric);
		subject->baselines[kind] = (struct baseline){.samples = record->samples,
							     .window_ns = record->window_ns,
							     .median = record->median,
							     .mad = record->mad};
		if (subject->plan)
			subject_bound(anomaly, subject);
	}
}

static const struct monitor *monitor_named(const struct anomaly *anomaly, const char *name)
{
	for (uint32_t i = 0; i < anomaly->monitors.ordered; i++) {
		const struct monitor *monitor = watchlist_at(&anomaly->monitors, i);
		if (strcmp(monitor->name, name) == 0)
			return monitor;
	}
	return NULL;
}

static struct subject *alert_subject_of(struct anomaly *anomaly, const struct alert *alert)
{
	const struct alert_subject *words = &alert->subject;
	struct edge edge = {
		.client = name_id(words->client, strlen(words->client)),
		.server = name_id(words->server, strlen(words->server)),
		.port = words->port,
		.protocol = words->protocol,
	};
	const struct monitor *monitor = monitor_named(anomaly, alert->monitor);
	if (monitor && monitor->per_server)
		return server_subject(anomaly, &edge, words->server);
	edge.id = edge_id(&edge);
	struct subject *subject = roster_get(&anomaly->edges, edge.id);
	if (!subject)
		subject = subject_add(anomaly, &anomaly->edges, &edge);
	if (!subject || subject->plan)
		return subject;
	subject_match(anomaly, subject, words->client, words->server);
	if (anomaly->monitors.per_server)
		subject->server = server_subject(anomaly, &edge, words->server);
	if (subject->server)
		subject->server->links++;
	return subject;
}

static bool resume(struct anomaly *anomaly, const struct alert *alert)
{
	/* '#': an id stood for a name that was not known, and no edge can be found by it. */
	if (alert->state != ALERT_FIRING || alert->subject.client[0] == '#' ||
	    alert->subject.server[0] == '#' ||
	    anomaly->stats.episodes >= anomaly->options.episodes_max)
		return false;
	struct subject *subject = alert_subject_of(anomaly, alert);
	for (uint32_t i = 0; subject && i < subject->plan->watches_count; i++) {
		char name[ALERT_MONITOR_MAX];
		rule_name(anomaly, subject->plan->watches[i].rule, name);
		if (strcmp(name, alert->monitor) != 0 ||
		    (subject->states && subject->states[i].episode))
			continue;
		struct watch_state *state = &watch_states(subject)[i];
		state->episode = memory_zeroed(1, sizeof(*state->episode));
		state->episode->alert = *alert;
		snprintf(state->episode->alert.unit, sizeof(state->episode->alert.unit), "%s",
			 rule_unit(anomaly, subject->plan->watches[i].rule));
		state->episode->update_ns = alert->pane_end_ns + anomaly->options.update_ns;
		put(anomaly, &state->episode->alert);
		episodes_count(anomaly, subject, subject->plan->watches[i].rule, 1);
		return true;
	}
	return false;
}

/* Its monitor is none that is known now: it may come with the log, up to the first pane. */
static bool resume_later(struct anomaly *anomaly, const struct alert *alert)
{
	if (alert->state != ALERT_FIRING || strncmp(alert->monitor, "baseline/", 9) == 0 ||
	    monitor_named(anomaly, alert->monitor) ||
	    anomaly->waiting_count >= anomaly->options.episodes_max)
		return false;
	anomaly->waiting = memory_resize(anomaly->waiting, anomaly->waiting_count + 1,
					 sizeof(*anomaly->waiting));
	anomaly->waiting[anomaly->waiting_count++] = *alert;
	return true;
}

size_t anomaly_resume(struct anomaly *anomaly, const struct alert *alerts, size_t count)
{
	size_t resumed = 0;
	for (size_t i = 0; i < count; i++)
		resumed += resume(anomaly, &alerts[i]) || resume_later(anomaly, &alerts[i]);
	hand_on(anomaly);
	return resumed;
}

/* Before the first pane is judged. */
static void resume_waiting(struct anomaly *anomaly)
{
	for (uint32_t i = 0; i < anomaly->waiting_count; i++)
		resume(anomaly, &anomaly->waiting[i]);
	memory_free(anomaly->waiting);
	anomaly->waiting = NULL;
	anomaly->waiting_count = 0;
}

/* --- other monitors --- */

/* Its names, as they are known or as an open episode tells them. */
static bool subject_names(const struct anomaly *anomaly, const struct subject *subject,
			  const char **client, const char **server)
{
	const struct alert_subject *words = NULL;
	for (uint32_t i = 0; subject->states && i < subject->plan->watches_count && !words; i++)
		if (subject->states[i].episode)
			words = &subject->states[i].episode->alert.subject;
	*client = words ? words->client : name_bytes(anomaly->names, subject->edge.client);
	*server = words ? words->server : name_bytes(anomaly->names, subject->edge.server);
	return *client && *server;
}

/* And those that no longer match and have an episode open: it ends as of a monitor that is gone. */
static uint32_t rules_kept(struct anomaly *anomaly, const struct subject *subject, uint32_t count)
{
	uint32_t matched = count;
	for (uint32_t i = 0; subject->states && i < subject->plan->watches_count; i++) {
		uint32_t rule = subject->plan->watches[i].rule, at = 0;
		while (at < matched && anomaly->rules[at] != rule)
			at++;
		if (at == matched && subject->states[i].episode)
			anomaly->rules[count++] = rule | RULE_ENDS;
	}
	return count;
}

static const struct watch_state *state_of(const struct subject *subject, const struct plan *plan,
					  uint32_t rule)
{
	for (uint32_t i = 0; i < plan->watches_count; i++)
		if (plan->watches[i].rule == rule)
			return &subject->states[i];
	return NULL;
}

/* What the watches remember goes along to their new places. */
static void states_move(struct subject *subject, const struct plan *plan)
{
	struct watch_state *states;
	if (!subject->states)
		return;
	states = memory_zeroed(plan->watches_count, sizeof(*states));
	for (uint32_t i = 0; i < plan->watches_count; i++) {
		const struct watch_state *state =
			state_of(subject, subject->plan, plan->watches[i].rule);
		if (state)
			states[i] = *state;
	}
	memory_free(subject->states);
	subject->states = states;
}

/* It is matched when a row comes and its names are known again; until then nobody reads it. */
static void subject_forget(struct subject *subject)
{
	uint32_t last = subject->series.last;
	memory_free(subject->states);
	subject->states = NULL;
	subject->plan = NULL;
	series_done(&subject->series);
	series_init(&subject->series, 0, false, false, last);
	if (subject->server)
		subject->server->links--;
	subject->server = NULL;
}

static void subject_rematch(struct anomaly *anomaly, struct subject *subject)
{
	const char *client, *server;
	if (!subject->plan)
		return;
	if (!subject_names(anomaly, subject, &client, &server)) {
		subject_forget(subject);
		return;
	}
	uint32_t count =
		rules_kept(anomaly, subject, rules_match(anomaly, subject, client, server));
	const struct plan *plan = plan_get(anomaly, anomaly->rules, count);
	bool longer = plan->panes_max > subject->series.panes_max;
	states_move(subject, plan);
	subject->plan = plan;
	series_widen(&subject->series, plan->panes_max, plan->connects, plan->transport,
		     anomaly->tick);
	/* Of longer ago than it kept nothing is known, so no silence either. */
	if (longer)
		subject->first_pane = 0;
	subject_bound(anomaly, subject);
	if (!subject->per_server && anomaly->monitors.per_server &&
	    (!subject->server || !subject->server->plan)) {
		bool linked = subject->server != NULL;
		subject->server = server_subject(anomaly, &subject->edge, server);
		if (subject->server && !linked)
			subject->server->links++;
	}
}

void anomaly_watch(struct anomaly *anomaly, const struct monitor *monitors, size_t count)
{
	struct plan *plans = anomaly->plans;
	uint32_t servers;
	anomaly->stats.monitors_refused = watchlist_set(&anomaly->monitors, monitors, count);
	anomaly->plans = NULL;
	map_done(&anomaly->plan_of);
	roster_sort(&anomaly->servers);
	roster_sort(&anomaly->edges);
	servers = anomaly->servers.count;
	for (uint32_t i = 0; i < servers; i++)
		subject_rematch(anomaly, anomaly->servers.sorted[i].subject);
	for (uint32_t i = 0; i < anomaly->edges.count; i++)
		subject_rematch(anomaly, anomaly->edges.sorted[i].subject);
	plans_free(plans);
}

/* --- the pane --- */

static bool keep_long(const struct anomaly *anomaly, const struct subject *subject)
{
	bool ready = false;
	for (uint32_t kind = 0; kind < BASELINES; kind++)
		ready |= subject->baselines[kind].samples >= anomaly->options.warmup_samples &&
			 subject->baselines[kind].samples > 0;
	return ready || (subject->plan && subject->plan->below) || subject->episodes;
}

/* An episode of what is gone for an hour ends with it. */
static void subject_expire(struct anomaly *anomaly, struct subject *subject)
{
	uint32_t silent = series_silent(&subject->series, anomaly->tick);
	if (subject->links || (silent < KEEP_LONG_PANES && keep_long(anomaly, subject)))
		return;
	for (uint32_t i = 0; subject->states && i < subject->plan->watches_count; i++) {
		struct watch_state *state = &subject->states[i];
		if (!state->episode)
			continue;
		const struct watch *watch = &subject->plan->watches[i];
		struct verdict verdict = judge(anomaly, subject, watch, true);
		if (!episode_end(anomaly, subject, watch, state, &verdict))
			return;
	}
	subject->gone = true;
}

static void subject_step(struct anomaly *anomaly, struct subject *subject)
{
	const struct plan *plan = subject->plan;
	bool idle = series_idle(&subject->series, anomaly->tick);
	/* What is silent for longer than its windows has nothing that could fire but silence
	 * itself. */
	if (plan && (!idle || subject->episodes || plan->below))
		subject_judge(anomaly, subject);
	if (idle && subject->series.capacity)
		series_rest(&subject->series);
	if (anomaly->options.baselines && !subject->per_server && plan) {
		if (anomaly->learns || subject->sampled)
			subject_learn(anomaly, subject);
		if (subject->dirty && subject->save_turn == anomaly->save_turn)
			subject_save(anomaly, subject);
	}
	if (series_silent(&subject->series, anomaly->tick) >= KEEP_PANES)
		subject_expire(anomaly, subject);
}

static void roster_step(struct anomaly *anomaly, struct roster *roster)
{
	bool gone = false;
	roster_sort(roster);
	for (uint32_t i = 0; i < roster->count; i++) {
		if (i + 2 * PREFETCH_SUBJECTS < roster->count) {
			subject_prefetch(roster->sorted[i + 2 * PREFETCH_SUBJECTS].subject);
			series_prefetch(&roster->sorted[i + PREFETCH_SUBJECTS].subject->series);
		}
		struct subject *subject = roster->sorted[i].subject;
		subject_step(anomaly, subject);
		gone |= subject->gone;
	}
	if (gone)
		roster_sweep(roster);
}

static void close_pane(struct anomaly *anomaly)
{
	const struct anomaly_sinks *sinks = &anomaly->options.sinks;
	anomaly->now_ns = pane_end(++anomaly->pane);
	anomaly->tick++;
	anomaly->learns = (anomaly->pane + 1) % WINDOW_PANES == 0;
	anomaly->save_turn =
		(uint32_t)((anomaly->save_panes - anomaly->pane % anomaly->save_panes) %
			   anomaly->save_panes);
	anomaly->latest = NULL;
	anomaly->pending = false;
	anomaly->rankings = anomaly->transitions = 0;
	if (anomaly->waiting)
		resume_waiting(anomaly);
	domain_log_close(anomaly->domains);
	roster_step(anomaly, &anomaly->edges);
	roster_step(anomaly, &anomaly->servers);
	hand_on(anomaly);
	if (anomaly->records_count && sinks->baselines)
		sinks->baselines(sinks->context, anomaly->records, anomaly->records_count,
				 anomaly->names);
	anomaly->records_count = 0;
}

static void close_until(struct anomaly *anomaly, uint64_t pane)
{
	/* What is left of a gap when every window is empty need not be walked. */
	uint64_t walked = anomaly->pane + GAP_PANES;
	while (anomaly->pane < pane && anomaly->pane < walked)
		close_pane(anomaly);
	if (anomaly->pane < pane)
		anomaly->pane = pane - 1;
	while (anomaly->pane < pane)
		close_pane(anomaly);
}

void anomaly_advance(struct anomaly *anomaly, uint64_t now_ns)
{
	if (now_ns == UINT64_MAX) {
		/* All there is are the rows that wait; open episodes are state and stay. */
		if (anomaly->pending)
			close_until(anomaly, anomaly->row_pane);
		return;
	}
	if (now_ns < PANE_NS)
		return;
	uint64_t pane = now_ns / PANE_NS - 1;
	if (!anomaly->started) {
		anomaly->started = true;
		anomaly->pane = pane - 1;
	}
	close_until(anomaly, pane);
}

struct anomaly_stats anomaly_stats(const struct anomaly *anomaly)
{
	struct anomaly_stats stats = anomaly->stats;
	stats.edges = anomaly->edges.count;
	return stats;
}
