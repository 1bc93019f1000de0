#include "anomaly/domain_leaf.h"

#include <stdlib.h>

#include "base/memory.h"

/* A metric's bad part in a row, and the traffic that it is a part of. */
struct measured {
	double change, traffic;
};

/* The metric's bad part in a pane's row, and what it is compared with. */
static struct measured row_measure(const struct domain_row *row, uint32_t metric)
{
	if (metric == METRIC_CONNECTIONS_RESET)
		return (struct measured){.change = row->resets, .traffic = row->resets};
	return (struct measured){.change = row->failed,
				 .traffic = (double)row->failed + row->opened};
}

/* The same of 10 s. Where panes tell the bad part, only the traffic. */
static struct measured long_measure(const struct domain_long_row *row, uint32_t metric)
{
	switch (metric) {
	case METRIC_CONNECTIONS_FAILED:
	case METRIC_FAILURE_RATIO:
		return (struct measured){.traffic = (double)row->failed + row->opened};
	case METRIC_CONNECTIONS_RESET:
		return (struct measured){.traffic = row->active};
	case METRIC_CONNECT_LATENCY:
		return (struct measured){(double)row->connect_us, row->connects};
	case METRIC_CONNECTIONS_OPENED:
		return (struct measured){row->opened, row->opened};
	case METRIC_RETRANSMIT_RATIO:
		return (struct measured){row->retransmits, row->segments};
	case METRIC_RTT:
		return (struct measured){(double)row->srtt_us, row->srtts};
	case METRIC_DNS_FAILURE_RATIO:
		return (struct measured){row->lookups_failed, row->lookups};
	case METRIC_DNS_LATENCY:
	case METRIC_CLIENTS_NEW: /* rows of parts do not tell */
		return (struct measured){0};
	default:
		return (struct measured){(double)row->bytes, (double)row->bytes};
	}
}

static struct domain_leaf *leaf_append(struct domain_log *log, uint32_t count)
{
	if (count == log->leaves_capacity) {
		log->leaves_capacity = (uint32_t)memory_grown(log->leaves_capacity, count + 1);
		log->leaves =
			memory_resize(log->leaves, log->leaves_capacity, sizeof(*log->leaves));
	}
	return &log->leaves[count];
}

static uint32_t gather_pane(struct domain_log *log, const struct domain_pane *pane,
			    const struct domain_query *query, uint32_t count)
{
	uint32_t at = query->per_server ? 0 : domain_pane_find(pane, query->edge.id);
	for (; at < pane->count; at++) {
		const struct domain_row *row = &pane->rows[at];
		if (!domain_query_asks(query, row->edge, row->server, row->port, row->protocol)) {
			if (query->per_server)
				continue;
			break;
		}
		struct measured measured = row_measure(row, query->metric);
		*leaf_append(log, count++) = (struct domain_leaf){.instance = row->instance,
								  .side = row->side,
								  .change = measured.change,
								  .traffic = measured.traffic};
	}
	return count;
}

enum told { TOLD_NOW, TOLD_BEFORE, TOLD_EARLIER, TOLD_USUAL };

/* Such rankings are rare, and rows may come in any order: all are looked at. */
static uint32_t gather_window(struct domain_log *log, const struct domain_window *window,
			      const struct domain_query *query, enum told told, uint32_t count)
{
	for (uint32_t i = 0; i < window->count; i++) {
		const struct domain_long_row *row = &window->rows[i];
		if (!domain_query_asks(query, row->edge, row->server, row->port, row->protocol))
			continue;
		struct measured measured = long_measure(row, query->metric);
		struct domain_leaf *leaf = leaf_append(log, count++);
		*leaf = (struct domain_leaf){.instance = window->instances[row->instance],
					     .side = row->side};
		if (told == TOLD_BEFORE) {
			leaf->before = measured.change;
			leaf->count = measured.traffic;
			leaf->was_active = row->active;
		} else if (told == TOLD_EARLIER) {
			leaf->earlier = measured.change;
		} else if (told == TOLD_USUAL) {
			leaf->usual = measured.traffic;
			leaf->active = row->active;
		} else {
			leaf->change = measured.change;
			leaf->traffic = measured.traffic;
			leaf->active = row->active;
		}
	}
	return count;
}

static uint32_t gather_panes(struct domain_log *log, const struct domain_query *query,
			     const struct domain_window *usual)
{
	uint32_t count = 0;
	uint32_t panes = query->window_panes < DOMAIN_WINDOW_PANES ? query->window_panes
								   : DOMAIN_WINDOW_PANES;
	/* The open pane is empty: the newest closed one is one back. */
	for (uint32_t back = 1; back <= panes; back++) {
		uint32_t at = (log->head + DOMAIN_PANES - back) % DOMAIN_PANES;
		count = gather_pane(log, &log->panes[at], query, count);
	}
	count = gather_window(log, &log->windows[0], query, TOLD_USUAL, count);
	return usual ? gather_window(log, usual, query, TOLD_BEFORE, count) : count;
}

static uint32_t gather_windows(struct domain_log *log, const struct domain_query *query,
			       const struct domain_window *usual)
{
	uint32_t count = gather_window(log, &log->windows[0], query, TOLD_NOW, 0);
	if (!usual)
		return count;
	count = gather_window(log, usual, query, TOLD_BEFORE, count);
	return usual + 1 < log->windows + DOMAIN_WINDOWS
		       ? gather_window(log, usual + 1, query, TOLD_EARLIER, count)
		       : count;
}

static int compare_leaves(const void *a, const void *b)
{
	const struct domain_leaf *left = a, *right = b;
	if (left->side != right->side)
		return (int)left->side - (int)right->side;
	return compare_words(left->instance.values[DIMENSION_INSTANCE],
			     right->instance.values[DIMENSION_INSTANCE]);
}

/* One leaf an instance and side, sorted. Sums of counts below 2^53: their order does not matter. */
static uint32_t merge_leaves(struct domain_leaf *leaves, uint32_t count)
{
	uint32_t kept = 0;
	if (count == 0)
		return 0;
	qsort(leaves, count, sizeof(*leaves), compare_leaves);
	for (uint32_t i = 0; i < count; i++) {
		if (kept == 0 || compare_leaves(&leaves[kept - 1], &leaves[i]) != 0) {
			leaves[kept++] = leaves[i];
			continue;
		}
		struct domain_leaf *leaf = &leaves[kept - 1];
		leaf->change += leaves[i].change;
		leaf->traffic += leaves[i].traffic;
		leaf->before += leaves[i].before;
		leaf->count += leaves[i].count;
		leaf->earlier += leaves[i].earlier;
		leaf->usual += leaves[i].usual;
		leaf->active += leaves[i].active;
		leaf->was_active += leaves[i].was_active;
	}
	return kept;
}

uint32_t domain_leaf_gather(struct domain_log *log, const struct domain_query *query,
			    const struct domain_window *usual)
{
	uint32_t count = metric_is_long(query->metric) ? gather_windows(log, query, usual)
						       : gather_panes(log, query, usual);
	return merge_leaves(log->leaves, count);
}

/* --- to the scale of counts --- */

static double larger(double a, double b)
{
	return a > b ? a : b;
}

/* How many bytes count as one by chance: volumes scatter by their own past, which tells from one
 * ten seconds to the next (variance over mean, of a Poisson count 1). Two windows of few instances
 * may be alike by luck, so it is VOLUME_UNITS in all at most. */
static double volume_unit(const struct domain_leaf *leaves, uint32_t count, double change)
{
	enum { VOLUME_UNITS = 100 };
	double before = 0, earlier = 0, scatter = 0, least = change / VOLUME_UNITS;
	for (uint32_t i = 0; i < count; i++) {
		before += leaves[i].before;
		earlier += leaves[i].earlier;
	}
	if (before <= 0 || earlier <= 0 || count < 2)
		return least;
	for (uint32_t i = 0; i < count; i++) {
		double expected = leaves[i].earlier * before / earlier;
		double off = leaves[i].before - expected, sum = leaves[i].before + expected;
		scatter += sum > 0 ? off * off / sum : 0;
	}
	scatter /= count - 1;
	return scatter > least ? scatter : least;
}

/* For volumes the change is against the usual time. */
static void scale_volumes(struct domain_leaf *leaves, uint32_t count,
			  const struct domain_query *query, bool follows)
{
	double change = 0;
	for (uint32_t i = 0; i < count; i++) {
		struct domain_leaf *leaf = &leaves[i];
		double rise = leaf->change - leaf->before;
		leaf->traffic = leaf->change > leaf->before ? leaf->change : leaf->before;
		leaf->change = query->comparison == COMPARE_BELOW ? -rise : rise;
		if (leaf->change < 0 || !follows)
			leaf->change = 0;
		change += leaf->change;
	}
	double unit = volume_unit(leaves, count, change);
	for (uint32_t i = 0; unit > 0 && i < count; i++)
		leaves[i].change /= unit;
}

/* Latencies as if each slow one took as long as the metric's value says, and all others as long as
 * usual: a count of slow ones. Who is asked of knows best what is usual, unless those ten seconds
 * were quicker: its quantile is more than their mean. */
static void scale_latencies(struct domain_leaf *leaves, uint32_t count,
			    const struct domain_query *query)
{
	double before = 0, connects = 0, expected_us = query->expected * 1e6;
	for (uint32_t i = 0; i < count; i++) {
		before += leaves[i].before;
		connects += leaves[i].count;
	}
	double usual_us = connects > 0 ? before / connects : 0;
	if (expected_us > 0 && (connects <= 0 || usual_us > expected_us))
		usual_us = expected_us;
	double slow_us = query->value * 1e6 - usual_us;
	for (uint32_t i = 0; i < count; i++) {
		struct domain_leaf *leaf = &leaves[i];
		double more = leaf->change - usual_us * leaf->traffic;
		double slow = more > 0 && slow_us > 0 ? more / slow_us : 0;
		leaf->change = slow < leaf->traffic ? slow : leaf->traffic;
	}
}

void domain_leaf_scale(struct domain_leaf *leaves, uint32_t count, const struct domain_query *query,
		       bool follows)
{
	if (metric_is_volume(query->metric))
		scale_volumes(leaves, count, query, follows);
	else if (query->metric == METRIC_CONNECT_LATENCY || query->metric == METRIC_RTT)
		scale_latencies(leaves, count, query);
	/* Panes tell of the time since something broke alone, when most may be gone. */
	for (uint32_t i = 0; i < count; i++) {
		struct domain_leaf *leaf = &leaves[i];
		leaf->traffic = larger(leaf->traffic, leaf->usual);
		if (!metric_is_long(query->metric))
			leaf->traffic = larger(leaf->traffic, leaf->count);
		leaf->active = larger(leaf->active, leaf->was_active);
	}
}
