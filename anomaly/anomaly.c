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
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"

enum {
	/* A pane's transitions: 2,000 a second, far beyond what receivers take; 1.5 MB of buffer.
	 */
	TRANSITIONS_MAX = 512,
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
	/* After so many empty panes every window is empty: a longer gap need not be walked. */
	GAP_PANES = 2 * SERIES_PANES_MAX,
	PREFETCH_ROWS = 4,
	PREFETCH_SUBJECTS = 4,
	WINDOW_PANES = BASELINE_WINDOW_S * PANES_PER_S,
};

#define BASELINE_CLEAR_NS (10 * NS_PER_S)
/* Learning is slowed in an incident for this long: what lasts longer is the new usual. */
#define BASELINE_SLOW_NS (3600 * NS_PER_S)

static const uint32_t baseline_seconds[BASELINE_WINDOWS] = {1, BASELINE_WINDOW_S};

struct anomaly {
	struct anomaly_options options;
	struct monitor *monitors;
	bool per_server; /* some monitor sums over clients */
	struct roster edges, servers;
	struct domain_log *domains;
	const struct names *names;	/* of the newest push */
	struct map nodes;		/* pane of the newest report, plus 1 */
	bool heard;			/* anomaly_heard was used */
	bool started, pending;		/* pane is valid; rows wait for their pane's close */
	uint64_t pane;			/* the newest closed one */
	uint64_t row_pane, report_pane; /* of the newest row; plus 1 */
	uint64_t now_ns;
	struct subject *latest; /* of the newest row: rows come sorted by edge */
	struct alert *alerts;
	uint32_t alerts_count, rankings;
	struct baseline_record *records;
	uint32_t records_count, records_capacity;
	struct sketch scratch;
	struct anomaly_stats stats;
};

/* What a rule says of a subject in this pane. */
struct verdict {
	bool fire, quiet; /* between the two an episode goes on and none begins */
	uint32_t metric, comparison;
	uint16_t window;
	double value, threshold, median, mad;
};

struct anomaly *anomaly_new(const struct anomaly_options *options)
{
	struct anomaly *anomaly = memory_zeroed(1, sizeof(*anomaly));
	anomaly->options = *options;
	anomaly->monitors = memory_resize(NULL, options->monitors_count, sizeof(struct monitor));
	for (size_t i = 0; i < options->monitors_count; i++) {
		anomaly->monitors[i] = options->monitors[i];
		anomaly->per_server |= options->monitors[i].per_server;
	}
	anomaly->options.monitors = anomaly->monitors;
	roster_init(&anomaly->edges, options->edges_max);
	roster_init(&anomaly->servers, options->edges_max);
	anomaly->domains = domain_log_new(options->edges_max * DOMAIN_ROWS_PER_EDGE);
	anomaly->alerts = memory_resize(NULL, TRANSITIONS_MAX, sizeof(*anomaly->alerts));
	return anomaly;
}

void anomaly_free(struct anomaly *anomaly)
{
	if (!anomaly)
		return;
	roster_done(&anomaly->edges);
	roster_done(&anomaly->servers);
	domain_log_free(anomaly->domains);
	map_done(&anomaly->nodes);
	sketch_done(&anomaly->scratch);
	free(anomaly->records);
	free(anomaly->alerts);
	free(anomaly->monitors);
	free(anomaly);
}

/* --- subjects and their watches --- */

static uint32_t window_panes(const struct monitor *monitor)
{
	uint64_t panes = monitor->window_ns / PANE_NS;
	return panes < 1 ? 1 : panes > SERIES_PANES_MAX ? SERIES_PANES_MAX : (uint32_t)panes;
}

/* The index of this length in the list, to which it is added. */
static uint16_t list_window(uint32_t *panes, uint32_t *count, uint32_t length)
{
	uint32_t at = 0;
	while (at < *count && panes[at] != length)
		at++;
	panes[at] = length;
	*count += at == *count;
	return (uint16_t)at;
}

static void add_watch(struct subject *subject, uint32_t rule, uint16_t window)
{
	subject->watches = memory_resize(subject->watches, subject->watches_count + 1,
					 sizeof(*subject->watches));
	subject->watches[subject->watches_count++] = (struct watch){.rule = rule, .window = window};
}

static void subject_limits(struct anomaly *anomaly, struct subject *subject, uint32_t kind)
{
	for (uint32_t i = 0; i < BASELINE_WINDOWS; i++)
		subject->limits[kind][i] =
			baseline_limits(&subject->baselines[kind], kind, baseline_seconds[i],
					anomaly->options.sensitivity);
}

/* Makes the watches of all rules that match, and the windows that they read. */
static void subject_match(struct anomaly *anomaly, struct subject *subject, const char *client,
			  const char *server)
{
	uint32_t panes[SERIES_PANES_MAX], count = 0;
	bool connects = false;
	for (uint32_t i = 0; i < anomaly->options.monitors_count; i++) {
		const struct monitor *monitor = &anomaly->monitors[i];
		if (monitor->per_server != subject->per_server || monitor->metric >= METRICS ||
		    !monitor_matches(monitor, client, server, subject->edge.port))
			continue;
		add_watch(subject, i, list_window(panes, &count, window_panes(monitor)));
		connects |= monitor->metric == METRIC_CONNECT_LATENCY;
		subject->below |= monitor->comparison == COMPARE_BELOW;
	}
	subject->matched = true;
	if (anomaly->options.baselines && !subject->per_server) {
		for (uint32_t i = 0; i < BASELINE_WINDOWS; i++)
			subject->baseline_windows[i] =
				list_window(panes, &count, baseline_seconds[i] * PANES_PER_S);
		for (uint32_t kind = 0; kind < BASELINES; kind++) {
			add_watch(subject, (uint32_t)anomaly->options.monitors_count + kind,
				  subject->baseline_windows[0]);
			subject_limits(anomaly, subject, kind);
		}
		connects = true;
	}
	series_init(&subject->series, panes, count, connects);
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
	if (subject || !server)
		return subject;
	bool wanted = false;
	for (uint32_t i = 0; i < anomaly->options.monitors_count && !wanted; i++)
		wanted = anomaly->monitors[i].per_server &&
			 monitor_matches(&anomaly->monitors[i], "", server, edge->port);
	subject = wanted ? roster_add(&anomaly->servers, all.id, &all) : NULL;
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
	if (anomaly->per_server)
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
		subject = roster_add(&anomaly->edges, edge->id, edge);
	if (subject && !subject->matched)
		edge_name(anomaly, subject);
	anomaly->latest = subject;
	return subject;
}

/* --- rows in --- */

static void subject_add(struct anomaly *anomaly, struct subject *subject,
			const struct rollup *rollup)
{
	if (subject->first_pane == 0 && subject->matched)
		subject->first_pane = anomaly->pane + 1;
	series_add(&subject->series, rollup);
}

static void push_edge(struct anomaly *anomaly, const struct rollup *rollup)
{
	struct subject *subject = edge_subject(anomaly, &rollup->edge), *server = NULL;
	if (subject) {
		subject_add(anomaly, subject, rollup);
		server = subject->server;
	} else {
		anomaly->stats.unwatched++;
		if (anomaly->per_server)
			server = server_subject(anomaly, &rollup->edge,
						name_bytes(anomaly->names, rollup->edge.server));
	}
	if (server)
		subject_add(anomaly, server, rollup);
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
	domain_log_add(anomaly->domains, rollup);
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
	if (rollup->window_ms == 10000 && rollup->scope == SCOPE_EDGE)
		push_sample(anomaly, rollup);
	if (rollup->window_ms != 250)
		return;
	anomaly->report_pane = anomaly->pane + 2;
	if (rollup->scope == SCOPE_EDGE)
		push_edge(anomaly, rollup);
	else if (rollup->scope == SCOPE_CLIENT || rollup->scope == SCOPE_SERVER)
		push_instance(anomaly, rollup);
}

/* Rows and subjects come from far: without this a pane waits for memory two thirds of its time. */
static void prefetch_row(const struct anomaly *anomaly, const struct rollup *near,
			 const struct rollup *far)
{
	const char *from = (const char *)far;
	for (size_t at = 0; at < sizeof(*far); at += 64)
		__builtin_prefetch(from + at);
	if (near->scope == SCOPE_EDGE)
		map_prefetch(&anomaly->edges.map, near->edge.id);
}

void anomaly_push(struct anomaly *anomaly, const struct rollup *rollups, size_t count,
		  const struct names *names)
{
	anomaly->names = names;
	for (size_t i = 0; i < count; i++) {
		if (i + 2 * PREFETCH_ROWS < count)
			prefetch_row(anomaly, &rollups[i + PREFETCH_ROWS],
				     &rollups[i + 2 * PREFETCH_ROWS]);
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
	uint32_t silent = subject->series.silent_panes;
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
				    const struct watch *watch)
{
	const struct monitor *monitor = &anomaly->monitors[watch->rule];
	const struct window *window = &subject->series.windows[watch->window];
	struct verdict verdict = {.quiet = true,
				  .metric = monitor->metric,
				  .comparison = monitor->comparison,
				  .window = watch->window,
				  .threshold = monitor->threshold};
	bool below = monitor->comparison == COMPARE_BELOW;
	if (!below && !watch->episode &&
	    !metric_may_exceed(monitor->metric, window, monitor->threshold))
		return verdict;
	struct measure measure =
		metric_measure(monitor->metric, &subject->series, window, &anomaly->scratch);
	verdict.value = measure.value;
	if (!measure.known || window->sums.opened + window->sums.failed < monitor->minimum)
		return verdict;
	if (!below) {
		verdict.fire = measure.value > monitor->threshold;
		verdict.quiet = measure.value <= monitor->clear;
		return verdict;
	}
	verdict.quiet = measure.value >= monitor->clear;
	verdict.fire = measure.value < monitor->threshold &&
		       filled(anomaly, subject, window->panes) && silence_is_zero(anomaly, subject);
	return verdict;
}

/* The trailing window's value as baselines count it. limit: up to there a latency may be given as
 * 0. */
static int64_t baseline_value(struct anomaly *anomaly, const struct subject *subject, uint32_t kind,
			      const struct window *window, int64_t limit)
{
	const struct window_sums *sums = &window->sums;
	uint64_t seconds = window->panes / PANES_PER_S;
	if (kind == BASELINE_FAILED)
		return (int64_t)(sums->failed * 1000000 / seconds);
	if (kind == BASELINE_BYTES)
		return sample_of(true, per_second(sums->bytes)).value;
	if (sums->connects == 0 || window_connect_bound(window) / NS_PER_US <= (uint64_t)limit)
		return 0;
	return (int64_t)(series_connect_quantile(&subject->series, window, 0.95,
						 &anomaly->scratch) /
			 NS_PER_US);
}

/* Bytes are judged over 10 s only: most edges' seconds differ by more than any limit. */
static uint32_t baseline_first_window(uint32_t kind)
{
	return kind == BASELINE_BYTES ? BASELINE_WINDOWS - 1 : 0;
}

static struct verdict judge_baseline(struct anomaly *anomaly, const struct subject *subject,
				     const struct watch *watch, uint32_t kind)
{
	const struct baseline *baseline = &subject->baselines[kind];
	struct verdict verdict = {.quiet = true,
				  .metric = baseline_metric(kind),
				  .comparison = COMPARE_ABOVE,
				  .window = watch->window,
				  .median = (double)baseline->median / 1e6,
				  .mad = (double)baseline->mad / 1e6};
	if (baseline->samples < anomaly->options.warmup_samples)
		return verdict;
	for (uint32_t i = baseline_first_window(kind); i < BASELINE_WINDOWS && !verdict.fire; i++) {
		const struct baseline_limits *limits = &subject->limits[kind][i];
		const struct window *window =
			&subject->series.windows[subject->baseline_windows[i]];
		bool enough = kind != BASELINE_CONNECT_LATENCY ||
			      window->sums.connects >= BASELINE_CONNECTS_MIN;
		if (!enough && !watch->episode)
			continue;
		int64_t value = baseline_value(anomaly, subject, kind, window,
					       watch->episode ? 0 : limits->high_clear);
		bool low = value < limits->low_clear;
		/* What is not known is not low; an episode that is open already is held. */
		bool sure = filled(anomaly, subject, window->panes) &&
			    silence_is_zero(anomaly, subject);
		verdict.fire = enough && (value > limits->high || (value < limits->low && sure));
		verdict.quiet &= !enough || (value <= limits->high_clear && !low);
		verdict.window = subject->baseline_windows[i];
		verdict.comparison = low ? COMPARE_BELOW : COMPARE_ABOVE;
		verdict.value = (double)value / 1e6;
		verdict.threshold = (double)(low ? limits->low : limits->high) / 1e6;
	}
	return verdict;
}

/* --- episodes --- */

static const struct monitor *rule_monitor(const struct anomaly *anomaly, uint32_t rule)
{
	return rule < anomaly->options.monitors_count ? &anomaly->monitors[rule] : NULL;
}

static uint32_t rule_kind(const struct anomaly *anomaly, uint32_t rule)
{
	return rule - (uint32_t)anomaly->options.monitors_count;
}

static void rule_name(const struct anomaly *anomaly, uint32_t rule, char text[ALERT_MONITOR_MAX])
{
	const struct monitor *monitor = rule_monitor(anomaly, rule);
	if (monitor)
		snprintf(text, ALERT_MONITOR_MAX, "%s", monitor->name);
	else
		snprintf(text, ALERT_MONITOR_MAX, "baseline/%s",
			 metric_name(baseline_metric(rule_kind(anomaly, rule))));
}

/* What a transition says of this pane. */
static void alert_measure(struct anomaly *anomaly, const struct subject *subject,
			  const struct verdict *verdict, struct alert *alert)
{
	const struct window *window = &subject->series.windows[verdict->window];
	const struct window_sums *sums = &window->sums;
	alert->value = verdict->value;
	alert->threshold = verdict->threshold;
	alert->baseline_median = verdict->median;
	alert->baseline_mad = verdict->mad;
	alert->window_ms = window->panes * (uint32_t)(PANE_NS / NS_PER_MS);
	alert->pane_end_ns = anomaly->now_ns;
	alert->last_event_ns = series_last_event(&subject->series, window);
	alert->completeness =
		sums->issued > sums->received ? (double)sums->received / (double)sums->issued : 1;
}

/* False if this pane has had its share of rankings. */
static bool rank(struct anomaly *anomaly, const struct subject *subject,
		 const struct verdict *verdict, struct alert *alert)
{
	if (anomaly->rankings == RANKINGS_MAX)
		return false;
	anomaly->rankings++;
	struct domain_query query = {
		.edge = subject->edge,
		.per_server = subject->per_server,
		.metric = verdict->metric,
		.comparison = verdict->comparison,
		.window_panes = subject->series.windows[verdict->window].panes,
	};
	alert->suspects_count =
		domain_rank(anomaly->domains, &query, anomaly->names, alert->suspects);
	return true;
}

static bool emit(struct anomaly *anomaly, const struct subject *subject,
		 const struct verdict *verdict, struct alert *alert)
{
	if (anomaly->alerts_count == TRANSITIONS_MAX)
		return false;
	alert->sequence++;
	summary_write(alert, verdict->metric, verdict->comparison,
		      &subject->series.windows[verdict->window].sums);
	anomaly->alerts[anomaly->alerts_count++] = *alert;
	return true;
}

static void episode_begin(struct anomaly *anomaly, struct subject *subject, struct watch *watch,
			  const struct verdict *verdict)
{
	if (anomaly->stats.episodes >= anomaly->options.episodes_max) {
		anomaly->stats.suppressed += !watch->suppressed;
		watch->suppressed = true;
		return;
	}
	if (anomaly->alerts_count == TRANSITIONS_MAX)
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
	snprintf(alert->unit, sizeof(alert->unit), "%s",
		 monitor ? metric_unit(verdict->metric)
			 : baseline_unit(rule_kind(anomaly, watch->rule)));
	alert_key(alert);
	alert_measure(anomaly, subject, verdict, alert);
	/* Without its turn in the ranking, the next pane may try. */
	bool ranked = rank(anomaly, subject, verdict, alert);
	episode->update_ns = ranked ? anomaly->now_ns + anomaly->options.update_ns : 0;
	emit(anomaly, subject, verdict, alert);
	watch->episode = episode;
	subject->episodes++;
	anomaly->stats.episodes++;
	anomaly->stats.fired++;
}

/* False if the pane is full: the next one tries again. */
static bool episode_end(struct anomaly *anomaly, struct subject *subject, struct watch *watch,
			const struct verdict *verdict)
{
	struct alert alert = watch->episode->alert;
	alert.state = ALERT_RESOLVED;
	alert.ended_ns = anomaly->now_ns;
	alert_measure(anomaly, subject, verdict, &alert);
	if (!emit(anomaly, subject, verdict, &alert))
		return false;
	free(watch->episode);
	watch->episode = NULL;
	subject->episodes--;
	anomaly->stats.episodes--;
	anomaly->stats.resolved++;
	return true;
}

static bool same_suspect(const struct alert *a, const struct alert *b)
{
	if (a->suspects_count == 0 || b->suspects_count == 0)
		return a->suspects_count == b->suspects_count;
	return a->suspects[0].kind == b->suspects[0].kind &&
	       strcmp(a->suspects[0].name, b->suspects[0].name) == 0;
}

/* While the condition holds: a new first suspect is news, none any more is not. */
static void episode_update(struct anomaly *anomaly, struct subject *subject, struct watch *watch,
			   const struct verdict *verdict)
{
	struct episode *episode = watch->episode;
	if (!verdict->fire || anomaly->now_ns < episode->update_ns)
		return;
	struct alert alert = episode->alert;
	if (!rank(anomaly, subject, verdict, &alert))
		return;
	episode->update_ns = anomaly->now_ns + anomaly->options.update_ns;
	if (alert.suspects_count == 0 || same_suspect(&alert, &episode->alert))
		return;
	alert_measure(anomaly, subject, verdict, &alert);
	if (!emit(anomaly, subject, verdict, &alert))
		return;
	episode->alert = alert;
	anomaly->stats.updated++;
}

static void episode_step(struct anomaly *anomaly, struct subject *subject, struct watch *watch,
			 const struct verdict *verdict)
{
	struct episode *episode = watch->episode;
	const struct monitor *monitor = rule_monitor(anomaly, watch->rule);
	uint64_t clear_ns = monitor ? monitor->clear_ns : BASELINE_CLEAR_NS;
	if (!verdict->quiet) {
		episode->quiet_since_ns = 0;
		episode_update(anomaly, subject, watch, verdict);
		return;
	}
	if (episode->quiet_since_ns == 0)
		episode->quiet_since_ns = anomaly->now_ns;
	if (anomaly->now_ns - episode->quiet_since_ns >= clear_ns)
		episode_end(anomaly, subject, watch, verdict);
}

static struct verdict judge(struct anomaly *anomaly, const struct subject *subject,
			    const struct watch *watch)
{
	if (rule_monitor(anomaly, watch->rule))
		return judge_monitor(anomaly, subject, watch);
	return judge_baseline(anomaly, subject, watch, rule_kind(anomaly, watch->rule));
}

static void watch_step(struct anomaly *anomaly, struct subject *subject, struct watch *watch)
{
	struct verdict verdict = judge(anomaly, subject, watch);
	if (watch->episode)
		episode_step(anomaly, subject, watch, &verdict);
	else if (verdict.fire)
		episode_begin(anomaly, subject, watch, &verdict);
	if (!verdict.fire)
		watch->suppressed = false;
}

/* --- baselines --- */

static bool incident_slows(const struct anomaly *anomaly, const struct subject *subject,
			   uint32_t kind)
{
	uint32_t rule = (uint32_t)anomaly->options.monitors_count + kind;
	for (uint32_t i = 0; i < subject->watches_count; i++) {
		const struct episode *episode = subject->watches[i].episode;
		if (subject->watches[i].rule == rule && episode)
			return anomaly->now_ns - episode->alert.started_ns < BASELINE_SLOW_NS;
	}
	return false;
}

static void learn(struct anomaly *anomaly, struct subject *subject, uint32_t kind, int64_t value)
{
	baseline_learn(&subject->baselines[kind], kind, value, anomaly->now_ns,
		       incident_slows(anomaly, subject, kind));
	subject_limits(anomaly, subject, kind);
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
		return;
	}
	uint32_t silent = subject->series.silent_panes;
	if (silent < WINDOW_PANES || silent > LEARN_SILENCE_PANES ||
	    !silence_is_zero(anomaly, subject))
		return;
	learn(anomaly, subject, BASELINE_FAILED, 0);
	learn(anomaly, subject, BASELINE_BYTES, 0);
}

/* Each edge has its pane in every baseline_save_ns, by its hash: no pane has them all. */
static void subject_save(struct anomaly *anomaly, struct subject *subject)
{
	uint64_t every = anomaly->options.baseline_save_ns / PANE_NS;
	if (!subject->dirty || (every > 1 && (anomaly->pane + hash_mix(subject->id)) % every))
		return;
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
			subject = roster_add(&anomaly->edges, record->edge.id, &record->edge);
		if (!subject)
			continue;
		uint32_t kind = baseline_by_metric(record->metric);
		subject->baselines[kind] = (struct baseline){.samples = record->samples,
							     .window_ns = record->window_ns,
							     .median = record->median,
							     .mad = record->mad};
		if (subject->matched)
			subject_limits(anomaly, subject, kind);
	}
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
	bool per_server = false;
	for (uint32_t i = 0; i < anomaly->options.monitors_count; i++)
		per_server |= anomaly->monitors[i].per_server &&
			      strcmp(anomaly->monitors[i].name, alert->monitor) == 0;
	if (per_server)
		return server_subject(anomaly, &edge, words->server);
	edge.id = edge_id(&edge);
	struct subject *subject = roster_get(&anomaly->edges, edge.id);
	if (!subject)
		subject = roster_add(&anomaly->edges, edge.id, &edge);
	if (!subject || subject->matched)
		return subject;
	subject_match(anomaly, subject, words->client, words->server);
	if (anomaly->per_server)
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
	for (uint32_t i = 0; subject && i < subject->watches_count; i++) {
		struct watch *watch = &subject->watches[i];
		char name[ALERT_MONITOR_MAX];
		rule_name(anomaly, watch->rule, name);
		if (watch->episode || strcmp(name, alert->monitor) != 0)
			continue;
		watch->episode = memory_zeroed(1, sizeof(*watch->episode));
		watch->episode->alert = *alert;
		watch->episode->update_ns = alert->pane_end_ns + anomaly->options.update_ns;
		subject->episodes++;
		anomaly->stats.episodes++;
		return true;
	}
	return false;
}

size_t anomaly_resume(struct anomaly *anomaly, const struct alert *alerts, size_t count)
{
	size_t resumed = 0;
	for (size_t i = 0; i < count; i++)
		resumed += resume(anomaly, &alerts[i]);
	return resumed;
}

/* --- the pane --- */

static bool keep_long(const struct anomaly *anomaly, const struct subject *subject)
{
	bool ready = false;
	for (uint32_t kind = 0; kind < BASELINES; kind++)
		ready |= subject->baselines[kind].samples >= anomaly->options.warmup_samples &&
			 subject->baselines[kind].samples > 0;
	return ready || subject->below || subject->episodes;
}

/* An episode of what is gone for an hour ends with it. */
static void subject_expire(struct anomaly *anomaly, struct subject *subject)
{
	uint32_t silent = subject->series.silent_panes;
	if (silent < KEEP_PANES || subject->links ||
	    (silent < KEEP_LONG_PANES && keep_long(anomaly, subject)))
		return;
	for (uint32_t i = 0; i < subject->watches_count; i++) {
		struct watch *watch = &subject->watches[i];
		struct verdict verdict = judge(anomaly, subject, watch);
		if (watch->episode && !episode_end(anomaly, subject, watch, &verdict))
			return;
	}
	subject->gone = true;
}

static void subject_step(struct anomaly *anomaly, struct subject *subject)
{
	series_close(&subject->series);
	/* What is silent for longer than its windows has nothing that could fire but silence
	 * itself. */
	bool quiet = series_idle(&subject->series) && !subject->episodes && !subject->below;
	for (uint32_t i = 0; !quiet && i < subject->watches_count; i++)
		watch_step(anomaly, subject, &subject->watches[i]);
	if (anomaly->options.baselines && !subject->per_server && subject->matched) {
		if ((anomaly->pane + 1) % WINDOW_PANES == 0 || subject->sampled)
			subject_learn(anomaly, subject);
		subject_save(anomaly, subject);
	}
	subject_expire(anomaly, subject);
}

static void subject_prefetch(const struct subject *subject)
{
	const char *from = (const char *)subject;
	for (size_t at = 0; at < sizeof(*subject); at += 64)
		__builtin_prefetch(from + at);
}

static void roster_step(struct anomaly *anomaly, struct roster *roster)
{
	bool gone = false;
	roster_sort(roster);
	for (uint32_t i = 0; i < roster->count; i++) {
		if (i + 2 * PREFETCH_SUBJECTS < roster->count) {
			subject_prefetch(roster->sorted[i + 2 * PREFETCH_SUBJECTS]);
			series_prefetch(&roster->sorted[i + PREFETCH_SUBJECTS]->series);
		}
		subject_step(anomaly, roster->sorted[i]);
		gone |= roster->sorted[i]->gone;
	}
	if (gone)
		roster_sweep(roster);
}

static void close_pane(struct anomaly *anomaly)
{
	const struct anomaly_sinks *sinks = &anomaly->options.sinks;
	anomaly->now_ns = pane_end(++anomaly->pane);
	anomaly->latest = NULL;
	anomaly->pending = false;
	anomaly->rankings = 0;
	domain_log_close(anomaly->domains);
	roster_step(anomaly, &anomaly->edges);
	roster_step(anomaly, &anomaly->servers);
	if (anomaly->alerts_count && sinks->alerts)
		sinks->alerts(sinks->context, anomaly->alerts, anomaly->alerts_count);
	if (anomaly->records_count && sinks->baselines)
		sinks->baselines(sinks->context, anomaly->records, anomaly->records_count,
				 anomaly->names);
	anomaly->alerts_count = anomaly->records_count = 0;
}

static void close_until(struct anomaly *anomaly, uint64_t pane)
{
	/* Rows that wait are of the next pane: they go before the gap is cut short. */
	if (anomaly->pending && anomaly->pane < pane)
		close_pane(anomaly);
	if (anomaly->pane + GAP_PANES < pane)
		anomaly->pane = pane - GAP_PANES;
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
