#include "anomaly/anomaly.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "anomaly/domain.h"
#include "anomaly/metric.h"
#include "anomaly/name_text.h"
#include "anomaly/novelty.h"
#include "anomaly/seen.h"
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
	DOMAIN_ROWS_PER_EDGE = 12,
	KEEP_PANES = 120 * PANES_PER_S,
	KEEP_LONG_PANES = MONITOR_SILENT_S * PANES_PER_S,
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
	/* Silence is told after two panes at least, and by a subject that was seen for ten minutes.
	 */
	SILENCE_PANES_MIN = 2,
	SILENCE_AGE_PANES = 600 * PANES_PER_S,
	/* Of a server with one edge, its edge says all. */
	SERVER_EDGES_MIN = 2,
	/* A signal's states that flapping goes by. */
	HISTORY_STATES = 21,
	/* A state is saved when its windows have grown by a share, and each hour. */
	SAVE_WINDOWS_MIN = 6,
	SAVE_SHARE = 8,
	SAVE_WINDOWS_MAX = 360,
	/* Of a subject at most: three burn rates of each monitor, and what is built in. */
	RULES_MAX = MONITORS_MAX * BURN_RATES + SIGNALS + BURN_RATES,
	/* An absence is told for so long, then who is absent is forgotten. */
	ABSENT_PANES = 86400 * PANES_PER_S,
};

/* A rule: its number (monitors', as of anomaly/watchlist.h, then signals, then burn rates), and of
 * a monitor with several rates which of them. Beside it, of a baseline, the place plus 1 of the
 * monitor that tunes it; and that it matches no more, and only what is open of it ends. */
#define RULE_NUMBER	 0xfffu
#define RULE_RATE_SHIFT	 12
#define RULE_ITSELF	 0xffffu
#define RULE_TUNED_SHIFT 16
#define RULE_TUNED	 0x3ffu
#define RULE_ENDS	 (1u << 31)

/* What an absence measures, in seconds. */
#define ABSENCE_METRIC	  "silence"

#define BASELINE_CLEAR_NS (10 * NS_PER_S)
/* Learning is slowed in an incident for this long: what lasts longer is the new usual. */
#define BASELINE_SLOW_NS (3600 * NS_PER_S)
/* What is live was saved within half a day: in each hour it learns five minutes at least. */
#define LOAD_NS (86400 * NS_PER_S)
/* Shares of the sensitivity: what counts as evidence, at most, and what all families' together must
 * reach. */
#define EVIDENCE_MIN 0.45f
#define EVIDENCE_MAX 0.8f
#define EVIDENCE_SUM 1.1f
/* What is out of its level is told when it lasts: one stray value of any size is seen for as long
 * as the window that it lies in, so twice that. Of what is looked at once in ten seconds, the
 * second look. */
#define HOLD_WINDOWS 2
#define CALM_HOLD_NS (10 * NS_PER_S)
/* More traffic, and nothing else out of the usual, is no fault: told when it goes on for a minute
 * after the window of ten seconds has left what came before, and then evidence suffices, as each
 * ten seconds of the minute say so; likewise less traffic that is no surprise by itself. Of a
 * server's sum five minutes: there it may be a client's job that comes now and then, of which the
 * client's own edge would know. */
#define VOLUME_HOLD_NS	      (70 * NS_PER_S)
#define VOLUME_OF_ALL_HOLD_NS (310 * NS_PER_S)
/* Silence counts in times of the sensitivity, as the rate that it is held against is not known so
 * well; and it must be so many times the longest one before. Of N silences one in N is so long as
 * the longest, and one in N^3 three times as long. */
#define SILENCE_SURE 1.5
#define SILENCE_GAPS 3.0
/* How much of a signal's states change, newer ones weighing more: damped from, until. */
#define FLAP_HIGH 0.25
#define FLAP_LOW  0.1
/* Openings after whose like a silence would be a chance of 10^-decades: M = decades ln 10. */
#define LN_10 2.302585092994046

/* The windows in which baselines are judged, shortest first; and of how many panes they are. */
enum { WINDOW_SHORT, WINDOW_LONG, WINDOWS };
static const uint32_t windows_panes[WINDOWS] = {PANES_PER_S, WINDOW_PANES};
/* sqrt(10 s / 1 s): how much further a short window's value is from the expected by chance. */
static const double windows_shorter[WINDOWS] = {3.1622776601683795, 1};

/* What a signal of the subject at hand shows in this pane. */
struct seen {
	struct baseline_look look;
	struct baseline_counts counts;
	double shown; /* value to tell: what is judged may be a milder one */
	float brief;  /* decades of the short window, of a level */
	uint32_t window;
	bool known; /* there is a value */
	bool silent;
};

struct anomaly {
	struct anomaly_options options;
	struct watchlist monitors;
	struct monitor *wanted; /* all that should be in force while some have no place; or NULL */
	size_t wanted_count;
	struct roster edges, servers;
	struct roster parts; /* of edges and servers, each for one monitor */
	struct seen_edges *left;
	uint64_t begun_ns; /* of the first pane */
	struct plan *plans;
	struct map plan_of; /* by the hash of its rules */
	struct domain_log *domains;
	const struct names *names;	/* of the newest push */
	struct map nodes;		/* pane of the newest report, plus 1 */
	bool heard;			/* anomaly_heard was used */
	struct baseline_clock clock;	/* of the ten seconds that end with this pane */
	uint32_t learn_turn;		/* whose turn it is to learn in this pane */
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
	struct seen seen[SIGNALS];	  /* of the subject at hand */
	struct window_sums sums[WINDOWS]; /* and its trailing sums */
	struct anomaly_stats stats;
};

/* What a rule says of a subject in this pane. */
struct verdict {
	uint32_t kind;	  /* enum monitor_kind */
	bool fire, quiet; /* between the two an episode goes on and none begins */
	bool unasked;	  /* nobody asks any more: quiet, whatever is the case */
	uint32_t metric, comparison;
	uint64_t window_ms;
	uint32_t panes;		 /* of the window that says so, as far as panes go back */
	struct window_sums sums; /* of that window */
	double value, threshold, expected, usual_low, usual_high, score;
	uint64_t hold_ns; /* it must last for so long, */
	bool brief;	  /* or, if short windows say so by themselves, for so many of them */
};

struct anomaly *anomaly_new(const struct anomaly_options *options)
{
	struct anomaly *anomaly = memory_zeroed(1, sizeof(*anomaly));
	anomaly->options = *options;
	anomaly->options.monitors = NULL;
	watchlist_set(&anomaly->monitors, options->monitors, options->monitors_count);
	anomaly->rules = memory_resize(NULL, RULES_MAX, sizeof(*anomaly->rules));
	baseline_clock_init(&anomaly->clock);
	uint64_t save_panes = options->baseline_save_ns / PANE_NS;
	anomaly->save_panes = save_panes < 1		? 1
			      : save_panes < UINT32_MAX ? (uint32_t)save_panes
							: UINT32_MAX;
	roster_init(&anomaly->edges, options->edges_max);
	roster_init(&anomaly->servers, options->edges_max);
	roster_init(&anomaly->parts, options->edges_max);
	anomaly->left = seen_edges_new(options->edges_max);
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
	roster_done(&anomaly->parts);
	seen_edges_free(anomaly->left);
	domain_log_free(anomaly->domains);
	map_done(&anomaly->nodes);
	map_done(&anomaly->plan_of);
	plans_free(anomaly->plans);
	memory_free(anomaly->records);
	memory_free(anomaly->alerts);
	memory_free(anomaly->waiting);
	memory_free(anomaly->wanted);
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
	uint32_t number = rule & RULE_NUMBER;
	return number < MONITORS_MAX ? &anomaly->monitors.places[number].monitor : NULL;
}

/* The signal that a rule watches; from SIGNALS on a burn rate. */
static uint32_t rule_signal(uint32_t rule)
{
	return (rule & RULE_NUMBER) - MONITORS_MAX;
}

/* Of a monitor that has several. */
static uint32_t rule_rate(uint32_t rule)
{
	return (rule & RULE_ITSELF) >> RULE_RATE_SHIFT;
}

/* Whether baselines judge it and learn of it. */
static bool subject_has_baseline(const struct subject *subject)
{
	return subject->baseline && (!subject->per_server || subject->links >= SERVER_EDGES_MIN ||
				     subject->nameless || subject->episodes);
}

static uint64_t subject_key(const struct subject *subject, uint32_t signal)
{
	return hash_mix(subject->id + signal);
}

static uint64_t whole_above(double value)
{
	return value <= 0 ? 0 : value < 1e18 ? (uint64_t)value + 1 : UINT64_MAX;
}

static uint64_t whole_below(double value)
{
	return value <= 0 ? 0 : value < 1e18 ? (uint64_t)value : UINT64_MAX;
}

static uint32_t whole32(uint64_t value)
{
	return value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
}

/* The highest index whose value is not above so many ns. */
static uint32_t latency_index(double limit_ns)
{
	return metric_connect_index(limit_ns / 1e9);
}

/* So long a silence is no chance: M openings were to be expected in it, and it never was a third as
 * long. */
static uint32_t silence_panes(const struct anomaly *anomaly, const struct subject *subject)
{
	struct window_sums none = {0};
	double value = 0;
	baseline_level_value(SIGNAL_OPENED, &none, 0, &value);
	struct baseline_look look =
		baseline_look_level(&anomaly->clock, subject->baseline, SIGNAL_OPENED,
				    subject_key(subject, SIGNAL_OPENED), value, 1, UINT32_MAX);
	double a_pane = look.expected / PANES_PER_S;
	double decades =
		SILENCE_SURE * anomaly->options.sensitivity / subject->plan->scales[SIGNAL_OPENED];
	double panes = a_pane > 1e-3 ? decades * LN_10 / a_pane : UINT32_MAX;
	double gap = SILENCE_GAPS * subject->gap_panes;
	panes = panes > gap ? panes : gap;
	return panes < SILENCE_PANES_MIN ? SILENCE_PANES_MIN
	       : panes < UINT32_MAX	 ? (uint32_t)panes + 1
					 : UINT32_MAX;
}

/* Where the signals that are looked at in each pane begin to matter. Failures need no bound: most
 * panes have none. */
static void subject_bound(struct anomaly *anomaly, struct subject *subject)
{
	subject->bytes_low = subject->opened_low = 0;
	subject->bytes_high = UINT64_MAX;
	subject->opened_high = subject->silence_panes = UINT32_MAX;
	subject->connect_index = subject->plan->connect_index;
	if (!subject_has_baseline(subject) ||
	    subject->baseline->windows < anomaly->options.warmup_samples)
		return;
	const struct baseline *baseline = subject->baseline;
	struct baseline_guard guard = baseline_guard(&anomaly->clock, baseline, SIGNAL_BYTES);
	subject->bytes_high = whole_below(guard.high);
	subject->bytes_low = whole_above(guard.low);
	guard = baseline_guard(&anomaly->clock, baseline, SIGNAL_OPENED);
	subject->opened_high = whole32(whole_below(guard.high));
	subject->opened_low = whole32(whole_above(guard.low));
	guard = baseline_guard(&anomaly->clock, baseline, SIGNAL_CONNECT_LATENCY);
	uint32_t index = latency_index(guard.high);
	if (index < subject->connect_index)
		subject->connect_index = index;
	subject->silence_panes = silence_panes(anomaly, subject);
}

/* What a threshold reads decides what is kept, and what bound spares it. */
static void plan_threshold(struct plan *plan, const struct monitor *monitor)
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
	case METRIC_DNS_FAILURE_RATIO:
	case METRIC_DNS_LATENCY:
	case METRIC_CLIENTS_NEW:
		plan->always |= bit;
		plan->transport = true;
		break;
	case METRIC_CONNECTIONS_RESET:
	case METRIC_RETRANSMIT_RATIO:
		plan->transport = true;
		break;
	}
}

/* What a monitor measures. */
static uint32_t monitor_metric(const struct monitor *monitor)
{
	return monitor->kind == MONITOR_THRESHOLD   ? monitor->metric
	       : monitor->kind == MONITOR_BURN_RATE ? METRIC_FAILURE_RATIO
						    : METRIC_CONNECTIONS_OPENED;
}

static void plan_monitor(struct plan *plan, const struct monitor *monitor, struct watch *watch)
{
	uint16_t bit = (uint16_t)(1u << monitor_metric(monitor));
	uint64_t keep = monitor->absent_ns / PANE_NS + ABSENT_PANES;
	watch->metric = monitor_metric(monitor);
	watch->panes = PANES_PER_S;
	switch (monitor->kind) {
	case MONITOR_THRESHOLD:
		watch->panes = window_panes(monitor);
		plan_threshold(plan, monitor);
		break;
	case MONITOR_BURN_RATE:
		watch->panes = WINDOW_PANES;
		plan->metrics |= bit;
		plan->burns = true;
		break;
	case MONITOR_NEW_EDGE:
		plan->metrics |= bit;
		plan->always |= bit;
		plan->edges = true;
		break;
	case MONITOR_ABSENCE:
		plan->metrics |= bit;
		plan->below = true;
		plan->keep_panes = keep > plan->keep_panes ? (uint32_t)keep : plan->keep_panes;
		break;
	}
}

static void plan_built_in(const struct anomaly *anomaly, struct plan *plan, uint32_t tuned,
			  struct watch *watch)
{
	uint32_t signal = rule_signal(watch->rule);
	const struct monitor *monitor = tuned ? &anomaly->monitors.places[tuned - 1].monitor : NULL;
	watch->metric = signal < SIGNALS ? signal_metric(signal) : METRIC_FAILURE_RATIO;
	watch->panes = WINDOW_PANES;
	plan->metrics |= (uint16_t)(1u << watch->metric);
	plan->connects = true;
	plan->burns |= signal >= SIGNALS;
	if (signal >= SIGNALS || watch->ends)
		return;
	watch->severity = monitor ? monitor->severity : MONITOR_SEVERITY_OWN;
	if (monitor && monitor->sensitivity > 0)
		watch->sensitivity = monitor->sensitivity;
	plan->signals |= 1u << signal;
	plan->scales[signal] = (float)(anomaly->options.sensitivity / watch->sensitivity);
}

static struct plan *plan_new(const struct anomaly *anomaly, const uint32_t *rules, uint32_t count)
{
	struct plan *plan = memory_zeroed(1, sizeof(*plan) + count * sizeof(plan->watches[0]));
	plan->connect_index = SKETCH_INDEXES;
	plan->watches_count = count;
	for (uint32_t i = 0; i < SIGNALS; i++)
		plan->scales[i] = 1;
	for (uint32_t i = 0; i < count; i++) {
		struct watch *watch = &plan->watches[i];
		const struct monitor *monitor = rule_monitor(anomaly, rules[i]);
		watch->rule = rules[i] & RULE_ITSELF;
		watch->ends = (rules[i] & RULE_ENDS) != 0;
		watch->sensitivity = anomaly->options.sensitivity;
		if (monitor)
			plan_monitor(plan, monitor, watch);
		else
			plan_built_in(anomaly, plan, rules[i] >> RULE_TUNED_SHIFT & RULE_TUNED,
				      watch);
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

/* Whether it has a baseline. Of an edge whose client has no name would be told in the words of its
 * server's sum: that has it. */
static bool wants_baseline(const struct anomaly *anomaly, const struct subject *subject)
{
	return anomaly->options.baselines && (subject->per_server || subject->edge.client != 0);
}

/* An edge has no objective of its own. */
static bool wants_burn(const struct anomaly *anomaly, const struct subject *subject)
{
	return anomaly->options.baselines && subject->per_server && anomaly->options.objective > 0;
}

static uint64_t part_of(const struct monitor *monitor)
{
	return hash_bytes(monitor->name, strlen(monitor->name)) | 1;
}

/* Whether a monitor that is about such edges is about this subject. */
static bool monitor_takes(const struct monitor *monitor, const struct subject *subject)
{
	uint64_t part = monitor_has_parts(monitor) ? part_of(monitor) : 0;
	if (part != subject->part_of)
		return false;
	switch (monitor->kind) {
	case MONITOR_BASELINE:
		return !subject->per_server || !monitor_chooses_clients(monitor);
	case MONITOR_NEW_EDGE:
		return !subject->per_server;
	default:
		return monitor->per_server == subject->per_server;
	}
}

/* What monitors make of the built-in rules of one subject. */
struct tuning {
	uint32_t tuned[SIGNALS]; /* place plus 1 of the first that tunes it */
	uint32_t silent;	 /* a bit for each signal */
	bool burns;		 /* it has an objective of its own */
};

static void tune(struct tuning *tuning, const struct monitor *monitor, uint32_t place)
{
	for (uint32_t signal = 0; signal < SIGNALS; signal++) {
		if (monitor->metric < METRICS && monitor->metric != signal_metric(signal))
			continue;
		if (monitor->silent)
			tuning->silent |= 1u << signal;
		else if (tuning->tuned[signal] == 0)
			tuning->tuned[signal] = place + 1;
	}
}

static uint32_t match_monitors(struct anomaly *anomaly, const struct subject *subject,
			       const char *client, const char *server, struct tuning *tuning)
{
	uint32_t *rules = anomaly->rules, count = 0;
	for (uint32_t i = 0; i < anomaly->monitors.ordered; i++) {
		const struct monitor *monitor = watchlist_at(&anomaly->monitors, i);
		uint32_t place = anomaly->monitors.order[i];
		if (!monitor_takes(monitor, subject) ||
		    !monitor_matches(monitor, client, server, subject->edge.port,
				     subject->edge.protocol))
			continue;
		if (monitor->kind == MONITOR_BASELINE) {
			tune(tuning, monitor, place);
			continue;
		}
		bool burns = monitor->kind == MONITOR_BURN_RATE;
		tuning->burns |= burns;
		for (uint32_t rate = 0; rate < (burns ? BURN_RATES : 1); rate++)
			rules[count++] = place | rate << RULE_RATE_SHIFT;
	}
	return count;
}

/* All rules that match, into the scratch. */
static uint32_t rules_match(struct anomaly *anomaly, const struct subject *subject,
			    const char *client, const char *server)
{
	struct tuning tuning = {0};
	uint32_t *rules = anomaly->rules;
	uint32_t count = match_monitors(anomaly, subject, client, server, &tuning);
	if (subject->part_of)
		return count;
	for (uint32_t signal = 0; wants_baseline(anomaly, subject) && signal < SIGNALS; signal++) {
		/* An edge has one client. */
		bool asked = subject->per_server || signal != SIGNAL_CLIENTS;
		if (asked && !(tuning.silent >> signal & 1))
			rules[count++] = (MONITORS_MAX + signal) | tuning.tuned[signal]
									   << RULE_TUNED_SHIFT;
	}
	/* Its own objective takes the place of that of all. */
	bool burns = wants_burn(anomaly, subject) && !tuning.burns;
	for (uint32_t rate = 0; burns && rate < BURN_RATES; rate++)
		rules[count++] = MONITORS_MAX + SIGNALS + rate;
	return count;
}

/* What its plan needs beside the sums. */
static void subject_equip(struct anomaly *anomaly, struct subject *subject, const char *client,
			  const char *server)
{
	const struct plan *plan = subject->plan;
	bool baseline = wants_baseline(anomaly, subject) && !subject->part_of;
	if (!subject->baseline && baseline)
		subject->baseline = memory_zeroed(1, sizeof(*subject->baseline));
	if (!subject->burn && plan->burns)
		subject->burn = memory_zeroed(1, sizeof(*subject->burn));
	if (subject->words || !plan->keep_panes)
		return;
	size_t one = strlen(client) + 1, other = strlen(server) + 1;
	subject->words = memory_resize(NULL, one + other, 1);
	memcpy(subject->words, client, one);
	memcpy(subject->words + one, server, other);
}

/* And what they read. */
static void subject_match(struct anomaly *anomaly, struct subject *subject, const char *client,
			  const char *server)
{
	uint32_t count = rules_match(anomaly, subject, client, server);
	subject->plan = plan_get(anomaly, anomaly->rules, count);
	subject_equip(anomaly, subject, client, server);
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
	subject->learn_turn = (uint16_t)(hash_mix(edge->id + 1) % WINDOW_PANES);
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

/* Whether something sums over clients. */
static bool sums_servers(const struct anomaly *anomaly)
{
	return anomaly->options.baselines || anomaly->monitors.per_server;
}

static struct subject *server_subject(struct anomaly *anomaly, const struct edge *edge,
				      const char *server)
{
	struct edge all = {.server = edge->server, .port = edge->port, .protocol = edge->protocol};
	all.id = edge_id(&all);
	struct subject *subject = roster_get(&anomaly->servers, all.id);
	if ((subject && subject->plan) || !server)
		return subject;
	bool wanted = anomaly->options.baselines;
	for (uint32_t i = 0; i < anomaly->monitors.ordered && !wanted; i++) {
		const struct monitor *monitor = watchlist_at(&anomaly->monitors, i);
		wanted = monitor->per_server && !monitor_has_parts(monitor) &&
			 monitor_matches(monitor, "", server, edge->port, edge->protocol);
	}
	if (wanted && !subject)
		subject = subject_add(anomaly, &anomaly->servers, &all);
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
	bool fresh = !subject->baseline;
	if (!client || !server)
		return;
	subject_match(anomaly, subject, client, server);
	if (sums_servers(anomaly))
		subject->server = server_subject(anomaly, &subject->edge, server);
	if (!subject->server)
		return;
	subject->server->links++;
	subject->server->nameless |= subject->edge.client == 0;
	/* What was loaded is not new. */
	if (fresh && subject->server->baseline)
		subject->server->baseline->calm.clients_new++;
	if (fresh)
		series_add_client(&subject->server->series);
}

/* NULL when there is no room for it. */
static struct subject *edge_subject(struct anomaly *anomaly, const struct edge *edge)
{
	if (anomaly->latest && anomaly->latest->id == edge->id)
		return anomaly->latest;
	struct subject *subject = roster_get(&anomaly->edges, edge->id);
	if (!subject && (subject = subject_add(anomaly, &anomaly->edges, edge)) &&
	    !seen_edges_first(anomaly->left, edge->id, &subject->seen_ns))
		subject->seen_ns = pane_end(anomaly->pane + 1);
	if (subject && !subject->plan)
		edge_name(anomaly, subject);
	anomaly->latest = subject;
	return subject;
}

/* --- rows in --- */

static void subject_row(struct anomaly *anomaly, struct subject *subject,
			const struct rollup *rollup)
{
	uint32_t silent = series_silent(&subject->series, anomaly->tick);
	/* What was longer than could be chance has been told: it is learned step by step. */
	if (subject->first_pane && silent > subject->gap_panes)
		subject->gap_panes =
			silent < subject->silence_panes ? silent : subject->silence_panes;
	if (subject->first_pane == 0 && subject->plan)
		subject->first_pane = anomaly->pane + 1;
	if (subject->there_pane == 0)
		subject->there_pane = anomaly->pane + 1;
	if (subject->baseline)
		transport_add(&subject->baseline->calm, rollup->counters);
	series_add(&subject->series, anomaly->tick + 1, pane_end(anomaly->pane + 1), rollup);
}

/* When there is room for it again it is not new. */
static void remember_unwatched(struct anomaly *anomaly, const struct edge *edge)
{
	uint64_t now_ns = pane_end(anomaly->pane + 1), first_ns = now_ns;
	seen_edges_first(anomaly->left, edge->id, &first_ns);
	seen_edges_put(anomaly->left, edge->id, first_ns, now_ns);
}

static void push_edge(struct anomaly *anomaly, const struct rollup *rollup)
{
	struct subject *subject = edge_subject(anomaly, &rollup->edge), *server = NULL;
	if (subject) {
		/* What is known of it from before says less of who they are. */
		if (subject->plan && subject->plan->edges)
			subject->edge = rollup->edge;
		subject_row(anomaly, subject, rollup);
		server = subject->server;
	} else {
		anomaly->stats.unwatched++;
		if (anomaly->monitors.edges)
			remember_unwatched(anomaly, &rollup->edge);
		if (sums_servers(anomaly))
			server = server_subject(anomaly, &rollup->edge,
						name_bytes(anomaly->names, rollup->edge.server));
	}
	if (server)
		subject_row(anomaly, server, rollup);
}

/* --- parts of edges: rows of ten seconds --- */

static uint64_t part_id(const struct edge *edge, const struct monitor *monitor)
{
	return hash_mix(edge->id ^ part_of(monitor)) | 1;
}

static struct edge part_edge(const struct edge *edge, const struct monitor *monitor)
{
	struct edge all = {.server = edge->server, .port = edge->port, .protocol = edge->protocol};
	if (!monitor->per_server)
		return *edge;
	all.id = edge_id(&all);
	return all;
}

/* NULL: there is no room for it. */
static struct subject *part_subject(struct anomaly *anomaly, const struct edge *edge,
				    const struct monitor *monitor, const char *client,
				    const char *server)
{
	struct edge of = part_edge(edge, monitor);
	uint64_t id = part_id(&of, monitor);
	struct subject *part = roster_get(&anomaly->parts, id);
	if (!part && !(part = roster_add(&anomaly->parts, id, &of)))
		return NULL;
	if (part->plan)
		return part;
	part->series.last = anomaly->tick;
	part->learn_turn = (uint16_t)(hash_mix(id + 1) % WINDOW_PANES);
	part->per_server = monitor->per_server;
	part->part_of = part_of(monitor);
	subject_match(anomaly, part, client, server);
	return part;
}

/* Whether this end is one that the monitor is about: all names that it asks for are known, and
 * match. */
static bool part_matches_end(const struct anomaly *anomaly, const struct monitor *monitor,
			     bool server, uint64_t zone, uint64_t version)
{
	const char *zone_text = name_bytes(anomaly->names, zone);
	const char *version_text = name_bytes(anomaly->names, version);
	if (!zone_text || !version_text)
		return false;
	return server ? monitor_matches_server(monitor, zone_text, version_text)
		      : monitor_matches_client(monitor, zone_text, version_text);
}

static bool part_matches(const struct anomaly *anomaly, const struct monitor *monitor,
			 const struct rollup *rollup)
{
	const struct lane *lane = &rollup->lane;
	const struct instance *instance = &rollup->instance;
	if (rollup->scope != SCOPE_LANE)
		return part_matches_end(anomaly, monitor, rollup->scope == SCOPE_SERVER,
					instance->zone, instance->version);
	return part_matches_end(anomaly, monitor, false, lane->client_zone, lane->client_version) &&
	       part_matches_end(anomaly, monitor, true, lane->server_zone, lane->server_version);
}

/* A lane is measured; an instance tells which nodes would tell of traffic. */
static void push_part_of(struct anomaly *anomaly, const struct monitor *monitor,
			 const struct rollup *rollup, const char *client, const char *server)
{
	struct subject *part;
	if (rollup->scope == SCOPE_LANE) {
		part = part_subject(anomaly, &rollup->edge, monitor, client, server);
		anomaly->stats.parts_unwatched += !part;
		if (part)
			subject_row(anomaly, part, rollup);
		return;
	}
	struct edge of = part_edge(&rollup->edge, monitor);
	part = roster_get(&anomaly->parts, part_id(&of, monitor));
	if (part && rollup->instance.node)
		subject_heard(part, rollup->instance.node);
}

static void push_parts(struct anomaly *anomaly, const struct rollup *rollup)
{
	const char *client = name_bytes(anomaly->names, rollup->edge.client);
	const char *server = name_bytes(anomaly->names, rollup->edge.server);
	if (!client || !server)
		return;
	for (uint32_t i = 0; i < anomaly->monitors.ordered; i++) {
		const struct monitor *monitor = watchlist_at(&anomaly->monitors, i);
		if (monitor_has_parts(monitor) &&
		    monitor_matches(monitor, client, server, rollup->edge.port,
				    rollup->edge.protocol) &&
		    part_matches(anomaly, monitor, rollup))
			push_part_of(anomaly, monitor, rollup, client, server);
	}
}

static void hear(struct anomaly *anomaly, uint64_t node)
{
	if (node == 0)
		return;
	if (anomaly->nodes.count >= NODES_MAX && !map_get(&anomaly->nodes, node))
		map_done(&anomaly->nodes);
	map_put(&anomaly->nodes, node, (void *)(uintptr_t)(anomaly->pane + 2));
}

static void push_part(struct anomaly *anomaly, const struct rollup *rollup)
{
	uint64_t node = rollup->instance.node; /* a lane has none */
	if (rollup->window_ms == 250)
		domain_log_add(anomaly->domains, rollup);
	else
		domain_log_add_long(anomaly->domains, rollup);
	hear(anomaly, node);
	if (anomaly->monitors.parts && rollup->window_ms != 250)
		push_parts(anomaly, rollup);
	struct subject *subject = anomaly->latest;
	if (!subject || subject->id != rollup->edge.id)
		subject = roster_get(&anomaly->edges, rollup->edge.id);
	if (!subject || node == 0)
		return;
	subject_heard(subject, node);
	if (subject->server)
		subject_heard(subject->server, node);
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
	if (rollup->scope != SCOPE_EDGE)
		push_part(anomaly, rollup);
	if (rollup->window_ms == 250)
		anomaly->report_pane = anomaly->pane + 2;
	if (rollup->scope == SCOPE_EDGE && rollup->window_ms == 250)
		push_edge(anomaly, rollup);
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

static struct verdict judge_threshold(struct anomaly *anomaly, const struct subject *subject,
				      const struct watch *watch, bool open)
{
	const struct monitor *monitor = rule_monitor(anomaly, watch->rule);
	const struct series *series = &subject->series;
	struct verdict verdict = {.quiet = true,
				  .metric = monitor->metric,
				  .comparison = monitor->comparison,
				  .panes = watch->panes,
				  .threshold = monitor->threshold};
	verdict.window_ms = watch->panes * (PANE_NS / NS_PER_MS);
	bool below = monitor->comparison == COMPARE_BELOW;
	if (monitor->metric == METRIC_CONNECT_LATENCY && !below && !open &&
	    !series_connects_may_exceed(series, anomaly->tick, watch->panes, 0.95,
					metric_connect_index(monitor->threshold)))
		return verdict; /* its sums are not read: nothing fires */
	verdict.sums = series_sums(series, anomaly->tick, watch->panes);
	struct measure measure = metric_measure(monitor->metric, series, anomaly->tick,
						&verdict.sums, &anomaly->scratch);
	verdict.value = measure.value;
	if (!measure.known || verdict.sums.opened + verdict.sums.failed < monitor->minimum)
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

/* In use, and not for long enough to be usual. */
static struct verdict judge_new_edge(const struct anomaly *anomaly, const struct subject *subject,
				     const struct watch *watch, const struct episode *episode)
{
	const struct monitor *monitor = rule_monitor(anomaly, watch->rule);
	struct verdict verdict = {.kind = MONITOR_NEW_EDGE,
				  .metric = watch->metric,
				  .comparison = COMPARE_ABOVE,
				  .panes = watch->panes,
				  .window_ms = watch->panes * (PANE_NS / NS_PER_MS)};
	uint64_t learn_ns = monitor->learn_ns;
	uint64_t since_ns = episode ? episode->alert.started_ns : subject->seen_ns;
	bool usual = learn_ns && (since_ns + learn_ns <= anomaly->now_ns ||
				  (!episode && since_ns < anomaly->begun_ns + learn_ns));
	verdict.sums = series_sums(&subject->series, anomaly->tick, watch->panes);
	verdict.value = (double)verdict.sums.opened;
	verdict.fire = !usual && novelty_is_watched(&subject->edge) &&
		       series_silent(&subject->series, anomaly->tick) == 0;
	verdict.quiet = !verdict.fire;
	return verdict;
}

/* Silent for so long, after it was there for as long. */
static struct verdict judge_absence(const struct anomaly *anomaly, const struct subject *subject,
				    const struct watch *watch, const struct episode *episode)
{
	const struct monitor *monitor = rule_monitor(anomaly, watch->rule);
	uint32_t silent = series_silent(&subject->series, anomaly->tick);
	uint32_t panes = (uint32_t)(monitor->absent_ns / PANE_NS);
	struct verdict verdict = {.kind = MONITOR_ABSENCE,
				  .metric = watch->metric,
				  .comparison = COMPARE_ABOVE,
				  .panes = watch->panes,
				  .window_ms = monitor->absent_ns / NS_PER_MS,
				  .value = (double)silent / PANES_PER_S,
				  .threshold = (double)monitor->absent_ns / 1e9};
	verdict.quiet = silent < panes;
	bool was_there = subject->there_pane &&
			 anomaly->pane + 1 - subject->there_pane >= (uint64_t)silent + panes;
	verdict.fire =
		!verdict.quiet && (episode || (was_there && silence_is_zero(anomaly, subject)));
	return verdict;
}

/* Of a rule that matches no more: nothing is measured, and what was told last is told as its end.
 */
static struct verdict judge_ended(const struct watch *watch, const struct episode *episode)
{
	const struct alert *alert = &episode->alert;
	return (struct verdict){.quiet = true,
				.unasked = true,
				.metric = watch->metric,
				.panes = watch->panes,
				.window_ms = alert->window_ms,
				.value = alert->value,
				.threshold = alert->threshold,
				.expected = alert->expected,
				.usual_low = alert->usual_low,
				.usual_high = alert->usual_high};
}

/* --- baselines' judgement --- */

static bool learns(const struct anomaly *anomaly, const struct subject *subject)
{
	return subject->learn_turn == anomaly->learn_turn;
}

static uint32_t warm_windows(const struct anomaly *anomaly)
{
	return anomaly->options.warmup_samples;
}

/* Low, and known to be. */
static bool drop_is_sure(const struct anomaly *anomaly, const struct subject *subject)
{
	return filled(anomaly, subject, WINDOW_PANES) && silence_is_zero(anomaly, subject);
}

/* Connect times of a window. */
struct connects {
	double p95_ns;
	double judged_ns; /* that time, or the BASELINE_FEWth slowest if that is less */
};

/* 0 if they are surely not beyond the index and need not be told. */
static struct connects connects_of(struct anomaly *anomaly, const struct subject *subject,
				   uint32_t window, bool exact)
{
	const struct series *series = &subject->series;
	uint32_t panes = windows_panes[window], tick = anomaly->tick;
	double count = (double)anomaly->sums[window].connects;
	struct connects connects = {0, 0};
	if (count < BASELINE_FEW ||
	    (!exact &&
	     !series_connects_may_exceed(series, tick, panes, 0.95, subject->connect_index)))
		return connects;
	double few = (count - BASELINE_FEW + 0.5) / count;
	connects.p95_ns =
		(double)series_connect_quantile(series, tick, panes, 0.95, &anomaly->scratch);
	connects.judged_ns = few >= 0.95 ? connects.p95_ns
					 : (double)series_connect_quantile(series, tick, panes, few,
									   &anomaly->scratch);
	return connects;
}

static void see_level(struct anomaly *anomaly, const struct subject *subject, uint32_t signal,
		      uint32_t window, bool exact)
{
	struct seen *seen = &anomaly->seen[signal];
	const struct window_sums *sums = &anomaly->sums[window];
	struct connects connects = {0, 0};
	double value;
	if (signal == SIGNAL_CONNECT_LATENCY)
		connects = connects_of(anomaly, subject, window, exact);
	if (!baseline_level_value(signal, sums, connects.judged_ns, &value))
		return;
	struct baseline_look look = baseline_look_level(
		&anomaly->clock, subject->baseline, signal, subject_key(subject, signal), value,
		windows_shorter[window], warm_windows(anomaly));
	if (look.decades > 0 && look.value < look.expected && !drop_is_sure(anomaly, subject))
		look.decades = 0;
	if (signal == SIGNAL_RETRANSMITS && sums->retransmits < BASELINE_FEW)
		look.decades = 0;
	double shown = signal == SIGNAL_CONNECT_LATENCY ? connects.p95_ns / 1e9 : look.value;
	if (window == WINDOW_SHORT)
		seen->brief = look.decades;
	if (seen->known && look.decades <= seen->look.decades)
		return;
	seen->look = look;
	seen->shown = shown;
	seen->window = window;
	seen->known = true;
}

static void see_share(struct anomaly *anomaly, const struct subject *subject, uint32_t signal,
		      uint32_t window)
{
	struct seen *seen = &anomaly->seen[signal];
	struct baseline_counts counts = baseline_counts(signal, &anomaly->sums[window]);
	if (counts.all <= 0)
		return;
	struct baseline_look look =
		baseline_look_share(subject->baseline, signal, counts, warm_windows(anomaly));
	if (!seen->known || look.decades > seen->look.decades)
		*seen = (struct seen){.look = look,
				      .counts = counts,
				      .shown = look.value,
				      .window = window,
				      .known = true};
}

/* The subject opened nothing, and was silent, for longer than chance would have it. */
static void see_silence(struct anomaly *anomaly, const struct subject *subject)
{
	struct seen *seen = &anomaly->seen[SIGNAL_OPENED];
	uint32_t silent = series_silent(&subject->series, anomaly->tick);
	if (silent < subject->silence_panes || !filled(anomaly, subject, SILENCE_AGE_PANES) ||
	    !silence_is_zero(anomaly, subject))
		return;
	double missed = seen->look.expected * silent / PANES_PER_S;
	float decades = (float)(missed / LN_10);
	seen->look.value = seen->shown = 0;
	seen->known = seen->silent = true;
	if (decades > seen->look.decades)
		seen->look.decades = decades;
}

/* What did not surprise will not, until something is learned: the limits move out to it. */
static void bound_seen(const struct anomaly *anomaly, struct subject *subject, uint32_t signal,
		       float evidence_min)
{
	const struct seen *seen = &anomaly->seen[signal];
	const struct window_sums *sums = &anomaly->sums[WINDOW_LONG];
	if (!seen->known || seen->look.decades >= evidence_min)
		return;
	uint32_t opened = whole32(sums->opened);
	if (signal == SIGNAL_BYTES && sums->bytes > subject->bytes_high)
		subject->bytes_high = sums->bytes;
	else if (signal == SIGNAL_BYTES && sums->bytes < subject->bytes_low &&
		 drop_is_sure(anomaly, subject))
		subject->bytes_low = sums->bytes;
	else if (signal == SIGNAL_OPENED && opened > subject->opened_high)
		subject->opened_high = opened;
	else if (signal == SIGNAL_OPENED && opened < subject->opened_low &&
		 drop_is_sure(anomaly, subject))
		subject->opened_low = opened;
}

/* Looks at the signals whose metrics may be beyond a limit. */
static void subject_see(struct anomaly *anomaly, struct subject *subject, uint32_t metrics)
{
	float evidence_min = EVIDENCE_MIN * (float)anomaly->options.sensitivity;
	bool now = learns(anomaly, subject);
	for (uint32_t i = 0; i < WINDOWS; i++)
		anomaly->sums[i] = series_sums(&subject->series, anomaly->tick, windows_panes[i]);
	if (now)
		transport_sums(&subject->baseline->calm, &(struct transport){0},
			       &anomaly->sums[WINDOW_LONG]);
	for (uint32_t signal = 0; signal < SIGNALS; signal++) {
		anomaly->seen[signal] = (struct seen){.window = WINDOW_LONG};
		if (!(metrics >> signal_metric(signal) & 1) || (signal_is_calm(signal) && !now) ||
		    !(subject->plan->signals >> signal & 1))
			continue;
		bool both = signal == SIGNAL_CONNECT_LATENCY || signal == SIGNAL_FAILED;
		for (uint32_t i = both ? WINDOW_SHORT : WINDOW_LONG; i < WINDOWS; i++) {
			if (signal < SIGNAL_LEVELS)
				see_level(anomaly, subject, signal, i, subject->episodes > 0);
			else
				see_share(anomaly, subject, signal, i);
		}
		if (signal == SIGNAL_OPENED)
			see_silence(anomaly, subject);
		anomaly->seen[signal].look.decades *= subject->plan->scales[signal];
		anomaly->seen[signal].brief *= subject->plan->scales[signal];
		bound_seen(anomaly, subject, signal, evidence_min);
	}
}

static bool is_rise(const struct baseline_look *look)
{
	return look->value > look->expected;
}

static bool is_volume(uint32_t signal)
{
	return signal < SIGNAL_LEVELS && signal_family(signal) == FAMILY_VOLUME;
}

/* What the families of signals say together; those that are not looked at in this pane say what
 * they said last. */
static float subject_evidence(const struct anomaly *anomaly, struct subject *subject)
{
	float sensitivity = (float)anomaly->options.sensitivity;
	float families[SIGNAL_FAMILIES] = {0}, calm[SIGNAL_FAMILIES] = {0}, sum = 0;
	for (uint32_t signal = 0; signal < SIGNALS; signal++) {
		const struct baseline_look *look = &anomaly->seen[signal].look;
		float decades = look->decades;
		float *most = signal_is_calm(signal) ? calm : families;
		/* More of one client makes a server's sum more like that client. */
		bool mixes = subject->per_server && is_volume(signal) && is_rise(look);
		if (mixes || decades < EVIDENCE_MIN * sensitivity)
			continue;
		decades =
			decades < EVIDENCE_MAX * sensitivity ? decades : EVIDENCE_MAX * sensitivity;
		if (decades > most[signal_family(signal)])
			most[signal_family(signal)] = decades;
	}
	if (learns(anomaly, subject))
		memcpy(subject->baseline->held, calm, sizeof(calm));
	for (uint32_t i = 0; i < SIGNAL_FAMILIES; i++) {
		float held = subject->baseline->held[i];
		sum += families[i] > held ? families[i] : held;
	}
	return sum;
}

static double limit_of(const struct anomaly *anomaly, const struct subject *subject,
		       uint32_t signal, float decades)
{
	const struct seen *seen = &anomaly->seen[signal];
	if (signal >= SIGNAL_LEVELS)
		return baseline_limit_share(subject->baseline, signal, seen->counts, &seen->look,
					    decades);
	return baseline_limit_level(&anomaly->clock, subject->baseline, signal,
				    subject_key(subject, signal), &seen->look,
				    windows_shorter[seen->window], decades);
}

/* Of an open episode: half of the way back from where it fired, to what was expected then. After an
 * hour, or if that is not known any more, what counts is what is usual by now. */
static bool episode_quiet(const struct anomaly *anomaly, const struct episode *episode,
			  const struct seen *seen)
{
	const struct alert *alert = &episode->alert;
	float evidence_min = EVIDENCE_MIN * (float)anomaly->options.sensitivity;
	bool old = anomaly->now_ns - alert->started_ns >= BASELINE_SLOW_NS;
	double clear = (alert->threshold + alert->expected) / 2;
	if (!seen->known)
		return true;
	if ((old || alert->threshold == alert->expected) && seen->look.decades < evidence_min)
		return true;
	if (alert->threshold == alert->expected)
		return false;
	return alert->threshold > alert->expected ? seen->look.value <= clear
						  : seen->look.value >= clear;
}

static bool families_agree(const struct anomaly *anomaly, float evidence)
{
	return evidence >= EVIDENCE_SUM * (float)anomaly->options.sensitivity;
}

static float decades_needed(const struct anomaly *anomaly, uint32_t signal, float evidence)
{
	float sensitivity = (float)anomaly->options.sensitivity;
	return families_agree(anomaly, evidence) || is_volume(signal) ? EVIDENCE_MIN * sensitivity
								      : sensitivity;
}

/* For how long it must depart to be told. */
static uint64_t hold_ns(const struct anomaly *anomaly, const struct subject *subject,
			uint32_t signal, float evidence)
{
	const struct seen *seen = &anomaly->seen[signal];
	if (signal >= SIGNAL_LEVELS || seen->silent)
		return 0;
	if (signal_is_calm(signal))
		return CALM_HOLD_NS;
	bool sure = seen->look.decades >= (float)anomaly->options.sensitivity;
	if (is_volume(signal) && !families_agree(anomaly, evidence) &&
	    (is_rise(&seen->look) || !sure))
		return subject->per_server && !subject->nameless ? VOLUME_OF_ALL_HOLD_NS
								 : VOLUME_HOLD_NS;
	return HOLD_WINDOWS * WINDOW_PANES * PANE_NS;
}

/* After subject_see. */
static struct verdict judge_baseline(struct anomaly *anomaly, const struct subject *subject,
				     uint32_t signal, const struct episode *episode, float evidence)
{
	const struct seen *seen = &anomaly->seen[signal];
	const struct baseline_look *look = &seen->look;
	float needed = decades_needed(anomaly, signal, evidence);
	struct verdict verdict = {.quiet = true,
				  .metric = signal_metric(signal),
				  .comparison = look->value < look->expected ? COMPARE_BELOW
									     : COMPARE_ABOVE,
				  .panes = windows_panes[seen->window],
				  .sums = anomaly->sums[seen->window],
				  .value = seen->shown,
				  .score = look->decades / subject->plan->scales[signal],
				  .expected = look->expected,
				  .usual_low = look->least,
				  .usual_high = look->most};
	verdict.window_ms = verdict.panes * (PANE_NS / NS_PER_MS);
	if (episode) {
		const struct alert *alert = &episode->alert;
		verdict.quiet = episode_quiet(anomaly, episode, seen);
		verdict.fire = !verdict.quiet;
		verdict.threshold = alert->threshold;
		verdict.expected = alert->expected;
		verdict.usual_low = alert->usual_low;
		verdict.usual_high = alert->usual_high;
		verdict.comparison =
			alert->threshold < alert->expected ? COMPARE_BELOW : COMPARE_ABOVE;
		return verdict;
	}
	verdict.fire = seen->known && look->decades >= needed;
	if (!verdict.fire)
		return verdict;
	verdict.quiet = false;
	verdict.hold_ns = hold_ns(anomaly, subject, signal, evidence);
	verdict.brief = seen->brief >= needed;
	return verdict;
}

/* Where it would have begun: a search, so of what is told alone. */
static double begin_limit(const struct anomaly *anomaly, const struct subject *subject,
			  uint32_t rule, const struct verdict *verdict, float evidence)
{
	uint32_t signal = rule_signal(rule);
	if (rule_monitor(anomaly, rule) || signal >= SIGNALS)
		return verdict->threshold;
	return limit_of(anomaly, subject, signal,
			decades_needed(anomaly, signal, evidence) / subject->plan->scales[signal]);
}

static struct verdict judge_burn(const struct anomaly *anomaly, const struct subject *subject,
				 uint32_t rate, double objective, bool open)
{
	struct burn_look look = burn_look(subject->burn, rate, objective, anomaly->now_ns);
	struct verdict verdict = {.fire = look.fire,
				  .quiet = look.quiet && !(open && look.lasting),
				  .metric = METRIC_FAILURE_RATIO,
				  .comparison = COMPARE_ABOVE,
				  .panes = WINDOW_PANES,
				  .window_ms = look.window_ns / NS_PER_MS,
				  .value = look.ratio,
				  .threshold = look.limit};
	verdict.sums = series_sums(&subject->series, anomaly->tick, WINDOW_PANES);
	verdict.sums.failed = look.failed;
	verdict.sums.opened = look.all - look.failed;
	return verdict;
}

/* --- episodes --- */

static void rule_name(const struct anomaly *anomaly, uint32_t rule, char text[ALERT_MONITOR_MAX])
{
	const struct monitor *monitor = rule_monitor(anomaly, rule);
	uint32_t signal = rule_signal(rule);
	if (monitor && monitor->kind == MONITOR_BURN_RATE)
		snprintf(text, ALERT_MONITOR_MAX, "%.60s/%s", monitor->name,
			 burn_name(rule_rate(rule)));
	else if (monitor)
		snprintf(text, ALERT_MONITOR_MAX, "%s", monitor->name);
	else if (signal < SIGNALS)
		snprintf(text, ALERT_MONITOR_MAX, "baseline/%s",
			 metric_name(signal_metric(signal)));
	else
		snprintf(text, ALERT_MONITOR_MAX, "burn-rate/%s", burn_name(signal - SIGNALS));
}

/* What a transition says of this pane. */
static void alert_measure(struct anomaly *anomaly, const struct subject *subject,
			  const struct verdict *verdict, struct alert *alert)
{
	const struct window_sums *sums = &verdict->sums;
	alert->value = verdict->value;
	alert->threshold = verdict->threshold;
	alert->expected = verdict->expected;
	alert->usual_low = verdict->usual_low;
	alert->usual_high = verdict->usual_high;
	alert->score = verdict->score;
	alert->window_ms = (uint32_t)verdict->window_ms;
	alert->pane_end_ns = anomaly->now_ns;
	alert->last_event_ns =
		series_last_event(&subject->series, anomaly->tick, verdict->panes, anomaly->now_ns);
	alert->completeness =
		sums->issued > sums->received ? (double)sums->received / (double)sums->issued : 1;
}

/* Suspects and diagnosis. False if this pane has had its share of rankings, or what to rank has not
 * come yet. */
static bool rank(struct anomaly *anomaly, const struct subject *subject,
		 const struct verdict *verdict, uint64_t onset_ns, struct alert *alert)
{
	/* A new client is the suspect, and who is silent tells nothing. */
	if (verdict->metric == METRIC_CLIENTS_NEW || verdict->kind != MONITOR_THRESHOLD) {
		alert->suspects_count = 0;
		return true;
	}
	if (anomaly->rankings == RANKINGS_MAX)
		return false;
	uint64_t panes = verdict->panes + (anomaly->now_ns - onset_ns) / PANE_NS;
	struct domain_query query = {
		.edge = subject->edge,
		.per_server = subject->per_server,
		.metric = verdict->metric,
		.comparison = verdict->comparison,
		.window_panes = panes < DOMAIN_WINDOW_PANES ? (uint32_t)panes : DOMAIN_WINDOW_PANES,
		.started_ns = onset_ns,
		.value = verdict->value,
		.expected = alert->expected,
	};
	if (!domain_ready(anomaly->domains, &query))
		return false;
	anomaly->rankings++;
	/* What was likely once is not less so when the usual is out of sight. */
	uint32_t count = domain_rank(anomaly->domains, &query, anomaly->names, alert->suspects);
	if (count)
		alert->suspects_count = count;
	struct ends ends = domain_ends(anomaly->domains, &query);
	struct diagnosis diagnosis = diagnosis_of(&ends, query.metric);
	if (diagnosis.kind)
		alert->diagnosis = diagnosis;
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

static bool emit(struct anomaly *anomaly, const struct verdict *verdict, struct alert *alert)
{
	if (anomaly->transitions == TRANSITIONS_MAX)
		return false;
	alert->sequence++;
	if (verdict->unasked)
		summary_write_unasked(alert);
	else if (verdict->kind == MONITOR_THRESHOLD)
		summary_write(alert, verdict->metric, verdict->comparison, &verdict->sums);
	else
		summary_write_edge(alert, verdict->kind);
	put(anomaly, alert);
	return true;
}

/* One more open, or one less. */
static void episodes_count(struct anomaly *anomaly, struct subject *subject, uint32_t rule,
			   int more)
{
	subject->episodes += (uint32_t)more;
	anomaly->stats.episodes += (uint64_t)more;
	if (rule_monitor(anomaly, rule))
		anomaly->monitors.places[rule & RULE_NUMBER].episodes += (uint32_t)more;
}

/* A departure is a warning, unless most of it fails; a burn rate that leaves days is one too. */
static uint32_t rule_severity(const struct anomaly *anomaly, const struct watch *watch,
			      const struct verdict *verdict)
{
	const struct monitor *monitor = rule_monitor(anomaly, watch->rule);
	uint32_t signal = rule_signal(watch->rule);
	if (monitor && monitor->kind == MONITOR_BURN_RATE && !burn_pages(rule_rate(watch->rule)))
		return monitor->severity < ALERT_WARNING ? monitor->severity : ALERT_WARNING;
	if (monitor)
		return monitor->severity;
	if (signal >= SIGNALS)
		return burn_pages(signal - SIGNALS) ? ALERT_ERROR : ALERT_WARNING;
	if (watch->severity != MONITOR_SEVERITY_OWN)
		return watch->severity;
	return signal == SIGNAL_FAILED && verdict->value >= 0.5 ? ALERT_ERROR : ALERT_WARNING;
}

/* What is measured, and in what, as an alert has it. */
static void put_metric(struct alert *alert, uint32_t metric, bool absence)
{
	snprintf(alert->metric, sizeof(alert->metric), "%s",
		 absence ? ABSENCE_METRIC : metric_name(metric));
	snprintf(alert->unit, sizeof(alert->unit), "%s", absence ? "seconds" : metric_unit(metric));
}

static void put_names(const struct anomaly *anomaly, const struct subject *subject,
		      struct alert_subject *words)
{
	if (!subject->words) {
		name_text(anomaly->names, subject->edge.client, words->client);
		name_text(anomaly->names, subject->edge.server, words->server);
		return;
	}
	snprintf(words->client, sizeof(words->client), "%s", subject->words);
	snprintf(words->server, sizeof(words->server), "%s",
		 subject->words + strlen(subject->words) + 1);
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
	struct episode *episode = memory_zeroed(1, sizeof(*episode));
	struct alert *alert = &episode->alert;
	alert->state = ALERT_FIRING;
	alert->severity = rule_severity(anomaly, watch, verdict);
	rule_name(anomaly, watch->rule, alert->monitor);
	put_names(anomaly, subject, &alert->subject);
	alert->subject.port = subject->edge.port;
	alert->subject.protocol = subject->edge.protocol;
	alert->started_ns = anomaly->now_ns;
	put_metric(alert, verdict->metric, verdict->kind == MONITOR_ABSENCE);
	alert_key(alert);
	alert_measure(anomaly, subject, verdict, alert);
	/* Without its turn in the ranking, the next pane may try. */
	episode->onset_ns = state->since_ns ? state->since_ns : anomaly->now_ns;
	bool ranked = rank(anomaly, subject, verdict, episode->onset_ns, alert);
	episode->update_ns = ranked ? anomaly->now_ns + anomaly->options.update_ns : 0;
	emit(anomaly, verdict, alert);
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
	if (!emit(anomaly, verdict, &alert))
		return false;
	memory_free(state->episode);
	state->episode = NULL;
	episodes_count(anomaly, subject, watch->rule, -1);
	anomaly->stats.resolved++;
	return true;
}

/* While the condition holds: a new first suspect or diagnosis is news, none any more is not. */
static void episode_update(struct anomaly *anomaly, struct subject *subject,
			   struct episode *episode, const struct verdict *verdict)
{
	if (!verdict->fire || anomaly->now_ns < episode->update_ns)
		return;
	struct alert alert = episode->alert;
	if (!rank(anomaly, subject, verdict, episode->onset_ns, &alert))
		return;
	episode->update_ns = anomaly->now_ns + anomaly->options.update_ns;
	if (alert_same_suspect(&alert, &episode->alert) &&
	    alert_same_diagnosis(&alert, &episode->alert))
		return;
	alert_measure(anomaly, subject, verdict, &alert);
	if (!emit(anomaly, verdict, &alert))
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
	bool flaps = state->flapping && !watch->ends;
	if (anomaly->now_ns - episode->quiet_since_ns >= clear_ns && !flaps)
		episode_end(anomaly, subject, watch, state, verdict);
}

static struct verdict judge_monitor(struct anomaly *anomaly, const struct subject *subject,
				    const struct watch *watch, const struct episode *episode)
{
	const struct monitor *monitor = rule_monitor(anomaly, watch->rule);
	switch (monitor->kind) {
	case MONITOR_BURN_RATE:
		return judge_burn(anomaly, subject, rule_rate(watch->rule), monitor->objective,
				  episode != NULL);
	case MONITOR_NEW_EDGE:
		return judge_new_edge(anomaly, subject, watch, episode);
	case MONITOR_ABSENCE:
		return judge_absence(anomaly, subject, watch, episode);
	default:
		return judge_threshold(anomaly, subject, watch, episode != NULL);
	}
}

static struct verdict judge(struct anomaly *anomaly, const struct subject *subject,
			    const struct watch *watch, const struct episode *episode,
			    float evidence)
{
	uint32_t signal = rule_signal(watch->rule);
	if (watch->ends && episode)
		return judge_ended(watch, episode);
	if (rule_monitor(anomaly, watch->rule))
		return judge_monitor(anomaly, subject, watch, episode);
	if (signal < SIGNALS)
		return judge_baseline(anomaly, subject, signal, episode, evidence);
	return judge_burn(anomaly, subject, signal - SIGNALS, anomaly->options.objective,
			  episode != NULL);
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
		used += subject->states[i].suppressed || subject->states[i].history ||
			subject->states[i].since_ns || subject->states[i].hot;
	if (used)
		return;
	memory_free(subject->states);
	subject->states = NULL;
}

/* Whether what fires has lasted. */
static bool departure_is_sure(const struct anomaly *anomaly, struct watch_state *state,
			      const struct verdict *verdict)
{
	const uint32_t brief_panes = HOLD_WINDOWS * windows_panes[WINDOW_SHORT];
	if (state->since_ns == 0)
		state->since_ns = anomaly->now_ns;
	if (!verdict->brief)
		state->brief = 0;
	else if (state->brief < brief_panes)
		state->brief++;
	return anomaly->now_ns - state->since_ns >= verdict->hold_ns || state->brief == brief_panes;
}

static void watch_step(struct anomaly *anomaly, struct subject *subject, uint32_t number,
		       float evidence)
{
	const struct watch *watch = &subject->plan->watches[number];
	struct watch_state *state = subject->states ? &subject->states[number] : NULL;
	const struct episode *episode = state ? state->episode : NULL;
	if (watch->ends && !episode)
		return;
	struct verdict verdict = judge(anomaly, subject, watch, episode, evidence);
	if (episode) {
		episode_step(anomaly, subject, watch, state, &verdict);
	} else if (verdict.fire) {
		state = &watch_states(subject)[number];
		if (departure_is_sure(anomaly, state, &verdict)) {
			verdict.threshold =
				begin_limit(anomaly, subject, watch->rule, &verdict, evidence);
			episode_begin(anomaly, subject, watch, state, &verdict);
		}
	}
	if (!state)
		return;
	state->hot |= !verdict.quiet && !rule_monitor(anomaly, watch->rule);
	if (!verdict.fire || state->episode) {
		state->since_ns = 0;
		state->brief = 0;
	}
	state->suppressed &= verdict.fire;
}

/* What of the last states changed, 0 to 1; the newest change weighs half as much again as the
 * oldest. */
static double flap_share(uint32_t history)
{
	double sum = 0;
	for (uint32_t i = 0; i + 1 < HISTORY_STATES; i++)
		if ((history >> i & 1) != (history >> (i + 1) & 1))
			sum += 1.2 - 0.4 * i / (HISTORY_STATES - 2);
	return sum / (HISTORY_STATES - 1);
}

/* Of baselines, each ten seconds. */
static void subject_remember(struct anomaly *anomaly, struct subject *subject)
{
	for (uint32_t i = 0; i < subject->plan->watches_count; i++) {
		struct watch_state *state = &subject->states[i];
		if (rule_monitor(anomaly, subject->plan->watches[i].rule))
			continue;
		state->history = (state->history << 1 | state->hot) & ((1u << HISTORY_STATES) - 1);
		state->hot = false;
		double share = flap_share(state->history);
		state->flapping = share >= FLAP_HIGH || (state->flapping && share > FLAP_LOW);
	}
	states_drop(subject);
}

/* The metrics, a bit each, that are looked at once in ten seconds and have something to show. */
static uint32_t subject_calm(const struct subject *subject)
{
	const struct transport *calm = &subject->baseline->calm;
	uint32_t metrics = 0;
	if (calm->srtt_count)
		metrics |= 1u << METRIC_RTT;
	if (calm->retransmits)
		metrics |= 1u << METRIC_RETRANSMIT_RATIO;
	if (calm->resets)
		metrics |= 1u << METRIC_CONNECTIONS_RESET;
	if (calm->dns_queries)
		metrics |= 1u << METRIC_DNS_FAILURE_RATIO | 1u << METRIC_DNS_LATENCY;
	if (calm->clients_new)
		metrics |= 1u << METRIC_CLIENTS_NEW;
	return metrics;
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
	uint32_t opened = series->totals.opened - before->opened;
	if (opened > subject->opened_high || opened < subject->opened_low ||
	    series_silent(series, anomaly->tick) >= subject->silence_panes)
		metrics |= 1u << METRIC_CONNECTIONS_OPENED;
	if (subject->baseline && learns(anomaly, subject))
		metrics |= subject_calm(subject);
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

/* Baselines' watches of what is calm, and burn rates, once in ten seconds. */
static bool watch_is_due(const struct anomaly *anomaly, const struct subject *subject,
			 const struct watch *watch, bool baseline)
{
	const struct monitor *monitor = rule_monitor(anomaly, watch->rule);
	uint32_t signal = rule_signal(watch->rule);
	if (watch->ends || (monitor && monitor->kind != MONITOR_BURN_RATE))
		return true;
	if (monitor || signal >= SIGNALS)
		return learns(anomaly, subject);
	return baseline && (!signal_is_calm(signal) || learns(anomaly, subject));
}

static void subject_judge(struct anomaly *anomaly, struct subject *subject)
{
	const struct plan *plan = subject->plan;
	uint32_t metrics = plan->metrics;
	if (!plan->below && !subject->states)
		metrics &= subject_suspicion(anomaly, subject);
	if (!metrics)
		return;
	float evidence = 0;
	bool baseline = subject_has_baseline(subject);
	if (baseline) {
		subject_see(anomaly, subject, metrics);
		evidence = subject_evidence(anomaly, subject);
	}
	for (uint32_t i = 0; i < plan->watches_count; i++)
		if (metrics >> plan->watches[i].metric & 1 &&
		    watch_is_due(anomaly, subject, &plan->watches[i], baseline))
			watch_step(anomaly, subject, i, evidence);
	if (subject->states)
		states_drop(subject);
}

/* --- baselines --- */

static bool incident_slows(const struct anomaly *anomaly, const struct subject *subject,
			   uint32_t signal)
{
	uint32_t rule = MONITORS_MAX + signal;
	for (uint32_t i = 0; subject->states && i < subject->plan->watches_count; i++) {
		const struct episode *episode = subject->states[i].episode;
		if (subject->plan->watches[i].rule == rule && episode)
			return anomaly->now_ns - episode->alert.started_ns < BASELINE_SLOW_NS;
	}
	return false;
}

static void learn_level(struct anomaly *anomaly, struct subject *subject, uint32_t signal,
			double value)
{
	bool room = anomaly->stats.detectors < anomaly->options.edges_max;
	const struct level *level = subject->baseline->levels[signal];
	bool held = level && level->held;
	anomaly->stats.detectors += baseline_learn_level(&anomaly->clock, subject->baseline, signal,
							 subject_key(subject, signal), value, room);
	anomaly->stats.held += !held && level && level->held;
}

static void learn_all(struct anomaly *anomaly, struct subject *subject,
		      const struct window_sums *sums)
{
	struct baseline *baseline = subject->baseline;
	double p95_ns = 0, value;
	if (sums->connects)
		p95_ns = (double)series_connect_quantile(&subject->series, anomaly->tick,
							 WINDOW_PANES, 0.95, &anomaly->scratch);
	for (uint32_t signal = 0; signal < SIGNAL_LEVELS; signal++)
		if (baseline_level_value(signal, sums, p95_ns, &value))
			learn_level(anomaly, subject, signal, value);
	for (uint32_t signal = SIGNAL_LEVELS; signal < SIGNALS; signal++) {
		struct baseline_counts counts = baseline_counts(signal, sums);
		if (counts.all > 0)
			baseline_learn_share(baseline, signal, counts,
					     incident_slows(anomaly, subject, signal));
	}
	baseline->windows++;
}

/* At the end of each ten seconds of its own. A silent subject's counts are 0 where that is known,
 * and its gauges are as they were. */
static void subject_learn(struct anomaly *anomaly, struct subject *subject)
{
	struct baseline *baseline = subject->baseline;
	uint32_t silent = series_silent(&subject->series, anomaly->tick);
	if (silent < WINDOW_PANES) {
		if (filled(anomaly, subject, WINDOW_PANES)) {
			struct window_sums sums =
				series_sums(&subject->series, anomaly->tick, WINDOW_PANES);
			transport_sums(&baseline->calm, &(struct transport){0}, &sums);
			learn_all(anomaly, subject, &sums);
		}
		/* What was seldom silent so long forgets that it was. */
		if (baseline->windows % SAVE_WINDOWS_MAX == 0)
			subject->gap_panes -= subject->gap_panes / 16;
	} else if (silent <= LEARN_SILENCE_PANES && baseline->windows &&
		   silence_is_zero(anomaly, subject)) {
		learn_level(anomaly, subject, SIGNAL_OPENED, 0);
		learn_level(anomaly, subject, SIGNAL_BYTES, 0);
		baseline->windows++;
	} else {
		return;
	}
	baseline->calm = (struct transport){0};
	subject_bound(anomaly, subject);
}

/* Also nothing, once there was something, or where something was open at the start: what it looks
 * at ends now. */
static void subject_burn(struct anomaly *anomaly, struct subject *subject)
{
	struct window_sums sums = series_sums(&subject->series, anomaly->tick, WINDOW_PANES);
	if (subject->burn->since_ns || subject->states || sums.opened + sums.failed)
		burn_add(subject->burn, anomaly->now_ns, sums.failed, sums.opened + sums.failed);
}

static bool save_is_due(const struct baseline *baseline)
{
	uint32_t since = baseline->windows - baseline->saved, share = baseline->saved / SAVE_SHARE;
	return since >= SAVE_WINDOWS_MAX || (since >= SAVE_WINDOWS_MIN && since >= share);
}

/* Each subject has its pane in every baseline_save_ns, by its hash: no pane has them all. */
static void subject_save(struct anomaly *anomaly, struct subject *subject)
{
	for (uint32_t signal = 0; signal < SIGNALS; signal++) {
		struct baseline_record record = {.edge = subject->edge,
						 .metric = signal_metric(signal),
						 .samples = subject->baseline->windows,
						 .window_ns = anomaly->now_ns};
		record.state_size = baseline_save(subject->baseline, signal, record.state);
		if (record.state_size == 0)
			continue;
		if (anomaly->records_count == anomaly->records_capacity) {
			anomaly->records_capacity = (uint32_t)memory_grown(
				anomaly->records_capacity, anomaly->records_count + 1);
			anomaly->records =
				memory_resize(anomaly->records, anomaly->records_capacity,
					      sizeof(*anomaly->records));
		}
		anomaly->records[anomaly->records_count++] = record;
	}
	subject->baseline->saved = subject->baseline->windows;
}

static void load_record(struct anomaly *anomaly, const struct baseline_record *record)
{
	uint32_t signal = signal_by_metric(record->metric);
	struct roster *roster = record->edge.client ? &anomaly->edges : &anomaly->servers;
	struct baseline loaded = {0};
	if (!record->edge.id || signal == SIGNALS || record->state_size > sizeof(record->state))
		return;
	struct subject *subject = roster_get(roster, record->edge.id);
	const struct level *level = subject && subject->baseline && signal < SIGNAL_LEVELS
					    ? subject->baseline->levels[signal]
					    : NULL;
	bool had = level && level->full;
	bool room = had || anomaly->stats.detectors < anomaly->options.edges_max;
	/* What is not believed makes no subject. */
	struct baseline *to = subject && subject->baseline ? subject->baseline : &loaded;
	if (!baseline_load(to, signal, record->state, record->state_size, room))
		return;
	if (!subject)
		subject = subject_add(anomaly, roster, &record->edge);
	if (subject && !subject->baseline) {
		subject->baseline = memory_zeroed(1, sizeof(*subject->baseline));
		*subject->baseline = loaded;
		subject->per_server = roster == &anomaly->servers;
	} else if (!subject) {
		baseline_clear(&loaded);
		return;
	}
	if (signal < SIGNAL_LEVELS && subject->baseline->levels[signal]->full)
		anomaly->stats.detectors += !had;
	if (record->samples > subject->baseline->windows)
		subject->baseline->windows = subject->baseline->saved = record->samples;
	if (subject->plan)
		subject_bound(anomaly, subject);
}

void anomaly_load(struct anomaly *anomaly, const struct baseline_record *records, size_t count,
		  uint64_t known_ns)
{
	if (!anomaly->options.baselines)
		return;
	for (size_t i = 0; i < count; i++)
		if (records[i].window_ns + LOAD_NS >= known_ns)
			load_record(anomaly, &records[i]);
}

static bool rule_is_built_in(const char *name)
{
	return strncmp(name, "baseline/", 9) == 0 || strncmp(name, "burn-rate/", 10) == 0;
}

/* Whether alerts of this name are the monitor's: a burn rate's have one of its windows behind. */
static bool monitor_tells(const struct monitor *monitor, const char *name)
{
	size_t length = strlen(monitor->name);
	if (monitor->kind != MONITOR_BURN_RATE)
		return strcmp(monitor->name, name) == 0;
	if (strncmp(monitor->name, name, length) != 0 || name[length] != '/')
		return false;
	for (uint32_t rate = 0; rate < BURN_RATES; rate++)
		if (strcmp(burn_name(rate), name + length + 1) == 0)
			return true;
	return false;
}

/* The one in force that tells alerts of this name. */
static const struct monitor *monitor_named(const struct anomaly *anomaly, const char *name)
{
	for (uint32_t i = 0; i < anomaly->monitors.ordered; i++) {
		const struct monitor *monitor = watchlist_at(&anomaly->monitors, i);
		if (monitor->kind != MONITOR_BASELINE && monitor_tells(monitor, name))
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
	bool per_server = monitor ? monitor->per_server
				  : !words->client[0] && rule_is_built_in(alert->monitor);
	edge.id = edge_id(&edge);
	if (monitor && monitor_has_parts(monitor))
		return part_subject(anomaly, &edge, monitor, words->client, words->server);
	if (per_server)
		return server_subject(anomaly, &edge, words->server);
	struct subject *subject = roster_get(&anomaly->edges, edge.id);
	if (!subject)
		subject = subject_add(anomaly, &anomaly->edges, &edge);
	if (!subject || subject->plan)
		return subject;
	subject_match(anomaly, subject, words->client, words->server);
	if (sums_servers(anomaly))
		subject->server = server_subject(anomaly, &edge, words->server);
	if (subject->server)
		subject->server->links++;
	return subject;
}

/* Who was absent is, for all that is known: no row of it has come. */
static void resume_silence(const struct anomaly *anomaly, struct subject *subject, uint32_t rule)
{
	const struct monitor *monitor = rule_monitor(anomaly, rule);
	uint32_t silent = series_silent(&subject->series, anomaly->tick);
	if (!monitor || monitor->kind != MONITOR_ABSENCE)
		return;
	uint32_t panes = (uint32_t)(monitor->absent_ns / PANE_NS);
	if (!subject->first_pane && silent > 0 && silent < panes)
		subject->series.last = anomaly->tick - panes;
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
		state->episode->onset_ns = alert->started_ns;
		put_metric(&state->episode->alert, subject->plan->watches[i].metric,
			   strcmp(alert->metric, ABSENCE_METRIC) == 0);
		state->episode->update_ns = alert->pane_end_ns + anomaly->options.update_ns;
		put(anomaly, &state->episode->alert);
		episodes_count(anomaly, subject, subject->plan->watches[i].rule, 1);
		resume_silence(anomaly, subject, subject->plan->watches[i].rule);
		return true;
	}
	return false;
}

/* Its monitor is none that is known now: it may come with the log, up to the first pane. */
static bool resume_later(struct anomaly *anomaly, const struct alert *alert)
{
	if (alert->state != ALERT_FIRING || rule_is_built_in(alert->monitor) ||
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

/* Whether its monitor is in force, as it was. */
static bool is_watched(const struct anomaly *anomaly, const struct alert *alert)
{
	const struct monitor *monitor = monitor_named(anomaly, alert->monitor);
	if (monitor && monitor->kind == MONITOR_ABSENCE)
		return strcmp(alert->metric, ABSENCE_METRIC) == 0;
	return monitor && strcmp(metric_name(monitor_metric(monitor)), alert->metric) == 0;
}

/* Those whose monitor has come. The last ones before the first pane is judged. */
static void resume_waiting(struct anomaly *anomaly, bool last)
{
	uint32_t left = 0;
	for (uint32_t i = 0; i < anomaly->waiting_count; i++) {
		bool resumed = (last || is_watched(anomaly, &anomaly->waiting[i])) &&
			       resume(anomaly, &anomaly->waiting[i]);
		if (!resumed && !last)
			anomaly->waiting[left++] = anomaly->waiting[i];
	}
	anomaly->waiting_count = left;
	if (left)
		return;
	memory_free(anomaly->waiting);
	anomaly->waiting = NULL;
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
	if (subject->words && (!*client || !*server)) {
		*client = subject->words;
		*server = subject->words + strlen(subject->words) + 1;
	}
	return *client && *server;
}

/* And those that no longer match and have an episode open: it ends as of a monitor that is gone. */
static uint32_t rules_kept(struct anomaly *anomaly, const struct subject *subject, uint32_t count)
{
	uint32_t matched = count;
	for (uint32_t i = 0; subject->states && i < subject->plan->watches_count; i++) {
		uint32_t rule = subject->plan->watches[i].rule, at = 0;
		while (at < matched && (anomaly->rules[at] & RULE_ITSELF) != rule)
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
	subject_equip(anomaly, subject, client, server);
	subject_bound(anomaly, subject);
	if (subject->per_server || subject->part_of || !sums_servers(anomaly))
		return;
	/* One that nobody could name is matched here too. */
	struct subject *sum = server_subject(anomaly, &subject->edge, server);
	if (sum && !subject->server) {
		subject->server = sum;
		sum->links++;
	}
}

/* Those that have no place get one as soon as there is one. */
static void keep_wanted(struct anomaly *anomaly, const struct monitor *monitors, size_t count)
{
	struct monitor *former = anomaly->wanted;
	anomaly->wanted = NULL;
	if (anomaly->stats.monitors_refused) {
		anomaly->wanted = memory_resize(NULL, count, sizeof(*anomaly->wanted));
		memcpy(anomaly->wanted, monitors, count * sizeof(*anomaly->wanted));
		anomaly->wanted_count = count;
	}
	memory_free(former); /* monitors may be these */
}

void anomaly_watch(struct anomaly *anomaly, const struct monitor *monitors, size_t count)
{
	struct plan *plans = anomaly->plans;
	uint32_t servers;
	anomaly->stats.monitors_refused = watchlist_set(&anomaly->monitors, monitors, count);
	keep_wanted(anomaly, monitors, count);
	anomaly->plans = NULL;
	map_done(&anomaly->plan_of);
	roster_sort(&anomaly->servers);
	roster_sort(&anomaly->edges);
	servers = anomaly->servers.count;
	for (uint32_t i = 0; i < servers; i++)
		subject_rematch(anomaly, anomaly->servers.sorted[i].subject);
	for (uint32_t i = 0; i < anomaly->edges.count; i++)
		subject_rematch(anomaly, anomaly->edges.sorted[i].subject);
	roster_sort(&anomaly->parts);
	for (uint32_t i = 0; i < anomaly->parts.count; i++)
		subject_rematch(anomaly, anomaly->parts.sorted[i].subject);
	plans_free(plans);
	if (!anomaly->waiting)
		return;
	resume_waiting(anomaly, false);
	hand_on(anomaly);
}

/* --- the pane --- */

/* How long it may be silent. */
static uint32_t keep_panes(const struct anomaly *anomaly, const struct subject *subject)
{
	bool ready = subject->baseline && subject->baseline->windows &&
		     subject->baseline->windows >= anomaly->options.warmup_samples;
	bool longer = ready || (subject->plan && subject->plan->below) || subject->episodes;
	uint32_t panes = longer ? KEEP_LONG_PANES : KEEP_PANES;
	return subject->plan && subject->plan->keep_panes > panes ? subject->plan->keep_panes
								  : panes;
}

/* An episode of what is gone for an hour ends with it. */
static void subject_expire(struct anomaly *anomaly, struct subject *subject)
{
	uint32_t silent = series_silent(&subject->series, anomaly->tick);
	if (subject->links || silent < keep_panes(anomaly, subject))
		return;
	if (subject->states && subject->baseline)
		subject_see(anomaly, subject, subject->plan->metrics);
	for (uint32_t i = 0; subject->states && i < subject->plan->watches_count; i++) {
		struct watch_state *state = &subject->states[i];
		if (!state->episode)
			continue;
		const struct watch *watch = &subject->plan->watches[i];
		struct verdict verdict = judge(anomaly, subject, watch, state->episode, 0);
		if (!episode_end(anomaly, subject, watch, state, &verdict))
			return;
	}
	anomaly->stats.detectors -= baseline_detectors(subject->baseline);
	if (!subject->per_server && !subject->part_of)
		seen_edges_put(anomaly->left, subject->id, subject->seen_ns, anomaly->now_ns);
	subject->gone = true;
}

/* What follows on the judgement of a pane. */
static void subject_baseline(struct anomaly *anomaly, struct subject *subject)
{
	if (learns(anomaly, subject)) {
		if (subject->states)
			subject_remember(anomaly, subject);
		if (subject_has_baseline(subject))
			subject_learn(anomaly, subject);
		else
			subject->baseline->calm = (struct transport){0};
	}
	if (subject->save_turn == anomaly->save_turn && save_is_due(subject->baseline))
		subject_save(anomaly, subject);
}

static void subject_step(struct anomaly *anomaly, struct subject *subject)
{
	const struct plan *plan = subject->plan;
	bool idle = series_idle(&subject->series, anomaly->tick);
	if (subject->baseline && learns(anomaly, subject))
		memset(subject->baseline->held, 0, sizeof(subject->baseline->held));
	/* What is silent for longer than its windows has nothing that could fire but silence
	 * itself. */
	if (plan && (!idle || subject->states || plan->below ||
		     series_silent(&subject->series, anomaly->tick) >= subject->silence_panes)) {
		if (subject->burn && learns(anomaly, subject))
			subject_burn(anomaly, subject);
		subject_judge(anomaly, subject);
	}
	if (plan && subject->baseline)
		subject_baseline(anomaly, subject);
	if (idle && subject->series.capacity)
		series_rest(&subject->series);
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
	if (anomaly->begun_ns == 0)
		anomaly->begun_ns = anomaly->now_ns;
	anomaly->tick++;
	anomaly->learn_turn = (uint32_t)(anomaly->pane % WINDOW_PANES);
	baseline_clock_set(&anomaly->clock, anomaly->now_ns);
	anomaly->save_turn =
		(uint32_t)((anomaly->save_panes - anomaly->pane % anomaly->save_panes) %
			   anomaly->save_panes);
	anomaly->latest = NULL;
	anomaly->pending = false;
	anomaly->rankings = anomaly->transitions = 0;
	if (anomaly->waiting)
		resume_waiting(anomaly, true);
	domain_log_close(anomaly->domains);
	roster_step(anomaly, &anomaly->edges);
	roster_step(anomaly, &anomaly->servers);
	roster_step(anomaly, &anomaly->parts);
	hand_on(anomaly);
	if (anomaly->wanted && watchlist_has_place(&anomaly->monitors))
		anomaly_watch(anomaly, anomaly->wanted, anomaly->wanted_count);
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
	stats.seen_evicted = seen_edges_evicted(anomaly->left);
	stats.suspects_dropped = domain_log_dropped(anomaly->domains);
	return stats;
}
