#include "api/query/rehearsal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "anomaly/burn.h"
#include "anomaly/map.h"
#include "anomaly/metric.h"
#include "anomaly/novelty.h"
#include "api/history/read.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"

/* One that fell silent so long ago is still one that a monitor for too little looks at. */
#define SILENT_NS (60 * NS_PER_S)
/* What lasts longer is read in minutes, and what of a burn rate is longer ago in hours. */
#define TENS_NS	   (600 * NS_PER_S)
#define MINUTES_NS (6 * 3600 * NS_PER_S)
#define DAYS_NS	   (3 * 86400 * NS_PER_S)
#define HOUR_NS	   (3600 * NS_PER_S)

enum { TICK = 1 }; /* of all rows: the window is one */

struct subject {
	struct edge edge;
	struct series series;
	struct burn burn;
	uint64_t first_ns, last_ns; /* of its rows: the first one's start, the last one's end */
	struct rehearsal_line line;
};

struct running {
	const struct monitor *monitor;
	struct history *history;
	uint64_t start_ns, end_ns;
	uint32_t panes;
	struct subject **subjects;
	size_t count, max;
	struct map of;	  /* by the edge's id */
	struct map known; /* edges from before, of MONITOR_NEW_EDGE */
};

static struct edge subject_edge(const struct monitor *monitor, const struct edge *edge)
{
	struct edge all = {.server = edge->server, .port = edge->port, .protocol = edge->protocol};

	if (!monitor->per_server)
		return *edge;
	all.id = edge_id(&all);
	return all;
}

static struct subject *subject_get(struct running *running, const struct edge *edge)
{
	struct subject *subject = map_get(&running->of, edge->id);

	if (subject)
		return subject;
	subject = memory_zeroed(1, sizeof(*subject));
	subject->edge = *edge;
	subject->first_ns = UINT64_MAX;
	series_init(&subject->series, running->panes,
		    running->monitor->metric == METRIC_CONNECT_LATENCY, true, 0);
	if (running->count == running->max) {
		running->max = memory_grown(running->max, running->count + 1);
		running->subjects =
			memory_resize(running->subjects, running->max, sizeof(*running->subjects));
	}
	running->subjects[running->count++] = subject;
	map_put(&running->of, edge->id, subject);
	return subject;
}

/* Names are lent by the history until the next is asked for. */
static const char *name_of(const struct running *running, uint64_t id, char text[ALERT_NAME_MAX])
{
	snprintf(text, ALERT_NAME_MAX, "%s", history_name(running->history, id));
	return text;
}

static bool matches(const struct running *running, const struct edge *edge)
{
	char client[ALERT_NAME_MAX];

	return monitor_matches(running->monitor, name_of(running, edge->client, client),
			       history_name(running->history, edge->server), edge->port,
			       edge->protocol);
}

static bool matches_lane(const struct running *running, const struct rollup *rollup)
{
	const struct lane *lane = &rollup->lane;
	char zone[ALERT_NAME_MAX];

	if (rollup->scope != SCOPE_LANE)
		return true;
	return monitor_matches_client(running->monitor, name_of(running, lane->client_zone, zone),
				      history_name(running->history, lane->client_version)) &&
	       monitor_matches_server(running->monitor, name_of(running, lane->server_zone, zone),
				      history_name(running->history, lane->server_version));
}

static uint64_t count_of(int64_t counter)
{
	return counter > 0 ? (uint64_t)counter : 0;
}

static void on_row(void *context, const struct rollup *rollup)
{
	struct running *running = context;
	struct edge edge = subject_edge(running->monitor, &rollup->edge);
	const int64_t *counters = rollup->counters;
	uint64_t end_ns = rollup->window_start_ns + rollup->window_ms * NS_PER_MS;
	struct subject *subject;

	if (!matches(running, &rollup->edge) || !matches_lane(running, rollup))
		return;
	subject = subject_get(running, &edge);
	if (rollup->window_start_ns < subject->first_ns)
		subject->first_ns = rollup->window_start_ns;
	if (end_ns > subject->last_ns)
		subject->last_ns = end_ns;
	if (running->monitor->kind == MONITOR_BURN_RATE)
		burn_add(&subject->burn, end_ns, count_of(counters[COUNTER_FAILED]),
			 count_of(counters_both(counters[COUNTER_OPENED],
						counters[COUNTER_FAILED])));
	else if (rollup->window_start_ns >= running->start_ns && running->panes)
		series_add(&subject->series, TICK, running->end_ns, rollup);
}

static void judge_measure(struct subject *subject, const struct running *running,
			  struct histogram *scratch)
{
	const struct monitor *monitor = running->monitor;
	struct window_sums sums = series_sums(&subject->series, TICK, running->panes);
	struct measure measure = {0};
	if (monitor->metric < METRICS)
		measure = metric_measure(monitor->metric, &subject->series, TICK, &sums, scratch);
	uint64_t connections = sums.opened + sums.failed;
	bool beyond = monitor->comparison == COMPARE_BELOW ? measure.value < monitor->threshold
							   : measure.value > monitor->threshold;

	subject->line =
		(struct rehearsal_line){.edge = subject->edge,
					.known = measure.known && connections >= monitor->minimum,
					.value = measure.value,
					.connections = connections};
	subject->line.fires = subject->line.known && beyond && monitor->kind == MONITOR_THRESHOLD;
}

/* The fastest rate that fires, else the first. */
static void judge_burn(struct subject *subject, const struct running *running)
{
	const struct monitor *monitor = running->monitor;
	struct burn_look told = {0};

	/* To the present, whoever was silent lately. */
	burn_add(&subject->burn, running->end_ns, 0, 0);
	for (uint32_t rate = BURN_RATES; rate-- > 0;) {
		struct burn_look look =
			burn_look(&subject->burn, rate, monitor->objective, running->end_ns);

		if (look.fire || rate == 0)
			told = look.fire || !told.fire ? look : told;
	}
	subject->line = (struct rehearsal_line){.edge = subject->edge,
						.known = told.known,
						.value = told.ratio,
						.fires = told.fire,
						.connections = told.all};
}

static void judge_new(struct subject *subject, const struct running *running)
{
	const struct monitor *monitor = running->monitor;
	struct window_sums sums = series_sums(&subject->series, TICK, running->panes);
	bool old = map_get(&running->known, subject->edge.id) || !running->known.count;
	bool watched = novelty_is_watched(&subject->edge);

	subject->line = (struct rehearsal_line){.edge = subject->edge,
						.known = watched,
						.value = (double)sums.opened,
						.fires = watched && !(monitor->learn_ns && old),
						.connections = sums.opened + sums.failed};
}

static void judge_absence(struct subject *subject, const struct running *running)
{
	uint64_t absent_ns = running->monitor->absent_ns;
	uint64_t silent_ns =
		running->end_ns > subject->last_ns ? running->end_ns - subject->last_ns : 0;

	subject->line =
		(struct rehearsal_line){.edge = subject->edge,
					.known = true,
					.value = (double)silent_ns / 1e9,
					.fires = silent_ns >= absent_ns &&
						 subject->last_ns - subject->first_ns >= absent_ns};
}

static void subject_judge(struct subject *subject, const struct running *running,
			  struct histogram *scratch)
{
	switch (running->monitor->kind) {
	case MONITOR_BURN_RATE:
		judge_burn(subject, running);
		break;
	case MONITOR_NEW_EDGE:
		judge_new(subject, running);
		break;
	case MONITOR_ABSENCE:
		judge_absence(subject, running);
		break;
	default:
		judge_measure(subject, running, scratch);
	}
}

/* Those that it would fire for, then those that it measures, the furthest in its direction first.
 */
static int compare(const struct rehearsal_line *a, const struct rehearsal_line *b, bool below)
{
	if (a->fires != b->fires)
		return a->fires ? -1 : 1;
	if (a->known != b->known)
		return a->known ? -1 : 1;
	if (a->value < b->value || a->value > b->value)
		return (a->value > b->value) != below ? -1 : 1;
	return a->edge.id < b->edge.id ? -1 : a->edge.id > b->edge.id;
}

static int compare_above(const void *a, const void *b)
{
	return compare(&(*(struct subject *const *)a)->line, &(*(struct subject *const *)b)->line,
		       false);
}

static int compare_below(const void *a, const void *b)
{
	return compare(&(*(struct subject *const *)a)->line, &(*(struct subject *const *)b)->line,
		       true);
}

static void judge_all(struct running *running, struct rehearsal *rehearsal)
{
	struct histogram *scratch = memory_zeroed(1, sizeof(*scratch));

	for (size_t i = 0; i < running->count; i++) {
		subject_judge(running->subjects[i], running, scratch);
		rehearsal->firing += running->subjects[i]->line.fires;
	}
	if (running->count)
		qsort(running->subjects, running->count, sizeof(struct subject *),
		      running->monitor->comparison == COMPARE_BELOW ? compare_below
								    : compare_above);
	rehearsal->matched = running->count;
	rehearsal->count =
		running->count < REHEARSAL_LINES_MAX ? running->count : REHEARSAL_LINES_MAX;
	for (size_t i = 0; i < rehearsal->count; i++)
		rehearsal->lines[i] = running->subjects[i]->line;
	free(scratch);
}

static void running_done(struct running *running)
{
	for (size_t i = 0; i < running->count; i++) {
		series_done(&running->subjects[i]->series);
		free(running->subjects[i]);
	}
	free(running->subjects);
	map_done(&running->of);
	map_done(&running->known);
}

static uint64_t round_up(uint64_t value, uint64_t unit)
{
	return (value + unit - 1) / unit * unit;
}

static uint64_t before(uint64_t time_ns, uint64_t by_ns)
{
	return by_ns < time_ns ? time_ns - by_ns : 0;
}

static uint32_t scope_of(const struct monitor *monitor)
{
	return monitor_has_parts(monitor) ? SCOPE_LANE : SCOPE_EDGE;
}

/* How many rows, or as history_read. */
static int64_t read_rows(struct running *running, uint32_t row_ms, uint64_t start_ns,
			 uint64_t end_ns, uint64_t rows_max)
{
	const struct monitor *monitor = running->monitor;
	const struct history_filter filter = {.window_ms = row_ms,
					      .start_ns = start_ns,
					      .end_ns = end_ns,
					      .scope = scope_of(monitor),
					      .port = monitor->port,
					      .sketches =
						      monitor->metric == METRIC_CONNECT_LATENCY};

	return history_read(running->history, &filter, rows_max, on_row, running);
}

/* Over one window: thresholds, and what baselines and new edges are about. */
static int64_t read_window(struct running *running, uint64_t rows_max)
{
	const struct monitor *monitor = running->monitor;
	uint64_t newest = history_newest_ns(running->history, 1000),
		 tens = history_newest_ns(running->history, 10000);
	bool seconds = newest >= tens && !monitor_has_parts(monitor);
	bool threshold = monitor->kind == MONITOR_THRESHOLD;
	uint32_t row_ms = seconds ? 1000 : 10000;
	uint64_t window_ns =
		round_up(threshold ? monitor->window_ns : 10 * NS_PER_S, row_ms * NS_PER_MS);
	uint64_t before_ns = monitor->comparison == COMPARE_BELOW ? SILENT_NS : 0;

	running->end_ns = seconds ? newest : tens;
	running->start_ns = before(running->end_ns, window_ns);
	running->panes = (uint32_t)(window_ns / PANE_NS);
	return read_rows(running, row_ms, before(running->start_ns, before_ns), running->end_ns,
			 rows_max);
}

/* Hours of days ago, minutes of today; of zones and versions, and in its first minute, the history
 * has tens of seconds. */
static int64_t read_burns(struct running *running, uint64_t rows_max)
{
	bool parts = monitor_has_parts(running->monitor);
	uint64_t minute_ns = history_newest_ns(running->history, 60000);
	uint32_t row_ms = parts || !minute_ns ? 10000 : 60000;
	uint64_t end_ns = history_newest_ns(running->history, row_ms);
	uint64_t hours_end_ns = before(end_ns, MINUTES_NS) / HOUR_NS * HOUR_NS;
	int64_t hours = 0, rest;

	running->end_ns = end_ns;
	running->start_ns = parts ? hours_end_ns : before(end_ns, DAYS_NS);
	if (!parts)
		hours = read_rows(running, 3600000, running->start_ns, hours_end_ns, rows_max);
	if (hours < 0)
		return hours;
	rest = read_rows(running, row_ms, hours_end_ns, end_ns, rows_max - (uint64_t)hours);
	return rest < 0 ? rest : hours + rest;
}

static void on_known(void *context, const struct edge *edge)
{
	struct running *running = context;

	map_put(&running->known, edge->id, running);
}

static int64_t read_new(struct running *running, uint64_t rows_max)
{
	const struct history_visitor visitor = {.context = running, .edge = on_known};
	int64_t rows = read_window(running, rows_max);

	if (rows >= 0)
		history_known(running->history, 0,
			      before(running->end_ns, running->monitor->learn_ns), &visitor);
	return rows;
}

static int64_t read_absence(struct running *running, uint64_t rows_max)
{
	const struct monitor *monitor = running->monitor;
	bool tens = monitor_has_parts(monitor) || monitor->absent_ns <= TENS_NS;
	uint32_t row_ms = tens ? 10000 : 60000;

	running->end_ns = history_newest_ns(running->history, row_ms);
	running->start_ns = before(running->end_ns, 3 * monitor->absent_ns);
	return read_rows(running, row_ms, running->start_ns, running->end_ns, rows_max);
}

int rehearsal_run(struct history *history, const struct monitor *monitor, uint64_t rows_max,
		  struct rehearsal *rehearsal)
{
	static int64_t (*const reads[MONITOR_KINDS])(struct running * running,
						     uint64_t rows_max) = {
		[MONITOR_THRESHOLD] = read_window, [MONITOR_BURN_RATE] = read_burns,
		[MONITOR_BASELINE] = read_window,  [MONITOR_NEW_EDGE] = read_new,
		[MONITOR_ABSENCE] = read_absence,
	};
	struct running running = {.monitor = monitor, .history = history};
	int64_t rows = reads[monitor->kind](&running, rows_max);

	*rehearsal = (struct rehearsal){.start_ns = running.start_ns, .end_ns = running.end_ns};
	if (rows >= 0)
		judge_all(&running, rehearsal);
	running_done(&running);
	return rows < 0 ? (int)rows : 0;
}
