#include "api/query/rehearsal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "anomaly/map.h"
#include "anomaly/metric.h"
#include "api/history/read.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"

/* One that fell silent so long ago is still one that a monitor for too little looks at. */
#define SILENT_NS (60 * NS_PER_S)

enum { TICK = 1 }; /* of all rows: the window is one */

struct subject {
	struct edge edge;
	struct series series;
	struct rehearsal_line line;
};

struct running {
	const struct monitor *monitor;
	struct history *history;
	uint64_t start_ns, end_ns;
	uint32_t panes;
	struct subject **subjects;
	size_t count, max;
	struct map of; /* by the edge's id */
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
static bool matches(const struct running *running, const struct edge *edge)
{
	char client[ALERT_NAME_MAX];

	snprintf(client, sizeof(client), "%s", history_name(running->history, edge->client));
	return monitor_matches(running->monitor, client,
			       history_name(running->history, edge->server), edge->port);
}

static void on_row(void *context, const struct rollup *rollup)
{
	struct running *running = context;
	struct edge edge = subject_edge(running->monitor, &rollup->edge);
	struct subject *subject;

	if (!matches(running, &rollup->edge))
		return;
	subject = subject_get(running, &edge);
	if (rollup->window_start_ns >= running->start_ns)
		series_add(&subject->series, TICK, running->end_ns, rollup);
}

static void subject_judge(struct subject *subject, const struct running *running,
			  struct histogram *scratch)
{
	const struct monitor *monitor = running->monitor;
	struct window_sums sums = series_sums(&subject->series, TICK, running->panes);
	struct measure measure =
		metric_measure(monitor->metric, &subject->series, TICK, &sums, scratch);
	uint64_t connections = sums.opened + sums.failed;
	bool beyond = monitor->comparison == COMPARE_BELOW ? measure.value < monitor->threshold
							   : measure.value > monitor->threshold;

	subject->line =
		(struct rehearsal_line){.edge = subject->edge,
					.known = measure.known && connections >= monitor->minimum,
					.value = measure.value,
					.connections = connections};
	subject->line.fires = subject->line.known && beyond;
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
}

static uint64_t round_up(uint64_t value, uint64_t unit)
{
	return (value + unit - 1) / unit * unit;
}

int rehearsal_run(struct history *history, const struct monitor *monitor, uint64_t rows_max,
		  struct rehearsal *rehearsal)
{
	uint64_t newest = history_newest_ns(history, 1000),
		 tens = history_newest_ns(history, 10000);
	uint32_t row_ms = newest >= tens ? 1000 : 10000;
	uint64_t end_ns = row_ms == 1000 ? newest : tens;
	uint64_t window_ns = round_up(monitor->window_ns, row_ms * NS_PER_MS);
	struct running running = {.monitor = monitor,
				  .history = history,
				  .start_ns = end_ns - (window_ns < end_ns ? window_ns : end_ns),
				  .end_ns = end_ns,
				  .panes = (uint32_t)(window_ns / PANE_NS)};
	uint64_t before_ns = monitor->comparison == COMPARE_BELOW ? SILENT_NS : 0;
	const struct history_filter filter = {
		.window_ms = row_ms,
		.start_ns = running.start_ns - (before_ns < running.start_ns ? before_ns : 0),
		.end_ns = end_ns,
		.scope = SCOPE_EDGE,
		.port = monitor->port,
		.sketches = monitor->metric == METRIC_CONNECT_LATENCY};
	int64_t rows = history_read(history, &filter, rows_max, on_row, &running);

	*rehearsal = (struct rehearsal){.start_ns = running.start_ns, .end_ns = end_ns};
	if (rows >= 0)
		judge_all(&running, rehearsal);
	running_done(&running);
	return rows < 0 ? (int)rows : 0;
}
