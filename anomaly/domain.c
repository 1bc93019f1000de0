#include "anomaly/domain.h"

#include <stdlib.h>
#include <string.h>

#include "anomaly/logarithm.h"
#include "anomaly/map.h"
#include "anomaly/name_text.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"

#define DOMAIN_WINDOW_NS (DOMAIN_WINDOW_PANES * PANE_NS)

enum dimension {
	DIMENSION_INSTANCE,
	DIMENSION_VERSION,
	DIMENSION_NODE,
	DIMENSION_ZONE,
	DIMENSIONS
};

/* Who a row is of. */
struct domain_instance {
	uint64_t values[DIMENSIONS]; /* instance id, and name ids */
	uint64_t name, process;	     /* its container, else its process */
};

/* One instance's part of one pane. */
struct domain_row {
	uint64_t edge, server;
	struct domain_instance instance;
	uint32_t opened, failed, resets;
	uint16_t port;
	uint8_t protocol;
	uint8_t side; /* 0 client, 1 server */
};

/* And of ten seconds. */
struct long_row {
	uint64_t edge, server;
	uint64_t bytes, srtt_us, connect_us;
	uint32_t srtts, retransmits, segments, active;
	uint32_t connects, opened, failed;
	uint32_t instance; /* index */
	uint16_t port;
	uint8_t protocol;
	uint8_t side;
};

/* Ten seconds; each instance is in it once, in the order they came. */
struct domain_window {
	uint64_t start_ns; /* 0: none */
	struct long_row *rows;
	struct domain_instance *instances;
	struct map numbers; /* of an instance: its index, plus 1 */
	uint32_t count, capacity, instances_count, instances_capacity;
};

struct domain_pane {
	struct domain_row *rows;
	uint32_t count, capacity;
	bool unsorted;
};

struct domain_log {
	struct domain_pane panes[DOMAIN_PANES];
	uint32_t head; /* the open pane */
	uint32_t rows_max, rows;
	struct domain_pane spare;	 /* memory of a forgotten pane, for the next one */
	struct domain_window windows[2]; /* the newest, and the one before */
	uint64_t dropped;
	struct leaf *leaves; /* of one ranking */
	uint32_t leaves_capacity;
};

/* A metric's bad part in a row, and the traffic that it is a part of. */
struct measured {
	double change, traffic;
};

/* An instance in a ranking: how much of the change and of the traffic is its own. */
struct leaf {
	struct domain_instance instance;
	double change, traffic;
	double before; /* the change in the time before the window */
	double usual;  /* the traffic of the newest 10 s, where panes tell of the change */
	uint8_t side;
	bool explained;
};

/* A value of a dimension with all its leaves. */
struct candidate {
	enum dimension dimension;
	uint64_t value, name, process;
	uint64_t leaves; /* sum of hashes: equal for equal sets */
	double change, traffic;
	double score;
};

struct domain_log *domain_log_new(uint32_t rows_max)
{
	struct domain_log *log = memory_zeroed(1, sizeof(*log));
	log->rows_max = rows_max;
	return log;
}

void domain_log_free(struct domain_log *log)
{
	for (uint32_t i = 0; i < DOMAIN_PANES; i++)
		memory_free(log->panes[i].rows);
	for (uint32_t i = 0; i < 2; i++) {
		memory_free(log->windows[i].rows);
		memory_free(log->windows[i].instances);
		map_done(&log->windows[i].numbers);
	}
	memory_free(log->spare.rows);
	memory_free(log->leaves);
	memory_free(log);
}

uint64_t domain_log_dropped(const struct domain_log *log)
{
	return log->dropped;
}

static int compare_words(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int compare_rows(const void *a, const void *b)
{
	const struct domain_row *left = a, *right = b;
	int order = compare_words(left->edge, right->edge);
	if (order == 0)
		order = (int)left->side - (int)right->side;
	return order ? order
		     : compare_words(left->instance.values[DIMENSION_INSTANCE],
				     right->instance.values[DIMENSION_INSTANCE]);
}

static void pane_empty(struct domain_log *log, struct domain_pane *pane)
{
	struct domain_pane old = *pane;
	log->rows -= old.count;
	*pane = (struct domain_pane){0};
	if (old.capacity > log->spare.capacity) {
		memory_free(log->spare.rows);
		log->spare = (struct domain_pane){.rows = old.rows, .capacity = old.capacity};
	} else {
		memory_free(old.rows);
	}
}

/* Makes room by forgetting the oldest panes: their memory goes, or each pane would keep its peak.
 */
static bool make_room(struct domain_log *log)
{
	for (uint32_t i = 1; log->rows >= log->rows_max && i < DOMAIN_PANES; i++)
		pane_empty(log, &log->panes[(log->head + i) % DOMAIN_PANES]);
	return log->rows < log->rows_max;
}

static uint32_t count32(int64_t counter)
{
	return counter <= 0 ? 0 : counter < UINT32_MAX ? (uint32_t)counter : UINT32_MAX;
}

static uint64_t count64(int64_t counter)
{
	return counter > 0 ? (uint64_t)counter : 0;
}

static struct domain_instance instance_of(const struct instance *instance)
{
	return (struct domain_instance){
		.values = {[DIMENSION_INSTANCE] = instance->id,
			   [DIMENSION_VERSION] = instance->version,
			   [DIMENSION_NODE] = instance->node,
			   [DIMENSION_ZONE] = instance->zone},
		.name = instance->container ? instance->container : instance->process,
		.process = instance->process,
	};
}

static struct domain_row row_of(const struct rollup *rollup)
{
	const int64_t *counters = rollup->counters;
	return (struct domain_row){
		.edge = rollup->edge.id,
		.server = rollup->edge.server,
		.instance = instance_of(&rollup->instance),
		.opened = count32(counters[COUNTER_OPENED]),
		.failed = count32(counters[COUNTER_FAILED]),
		.resets = count32(counters[COUNTER_RESETS]),
		.port = rollup->edge.port,
		.protocol = rollup->edge.protocol,
		.side = rollup->scope == SCOPE_SERVER,
	};
}

void domain_log_add(struct domain_log *log, const struct rollup *rollup)
{
	if (!make_room(log)) {
		log->dropped++;
		return;
	}
	struct domain_pane *pane = &log->panes[log->head];
	if (pane->count == pane->capacity) {
		pane->capacity = (uint32_t)memory_grown(pane->capacity, pane->count + 1);
		pane->rows = memory_resize(pane->rows, pane->capacity, sizeof(*pane->rows));
	}
	struct domain_row *row = &pane->rows[pane->count];
	*row = row_of(rollup);
	pane->unsorted |= pane->count > 0 && compare_rows(row - 1, row) > 0;
	pane->count++;
	log->rows++;
}

void domain_log_close(struct domain_log *log)
{
	struct domain_pane *pane = &log->panes[log->head];
	if (pane->unsorted)
		qsort(pane->rows, pane->count, sizeof(*pane->rows), compare_rows);
	log->head = (log->head + 1) % DOMAIN_PANES;
	pane_empty(log, &log->panes[log->head]);
	log->panes[log->head] = log->spare;
	log->spare = (struct domain_pane){0};
}

/* --- ten seconds --- */

/* The newest becomes the one before, and its memory serves the next. */
static struct domain_window *window_of(struct domain_log *log, uint64_t start_ns)
{
	struct domain_window *newest = &log->windows[0];
	if (newest->start_ns >= start_ns)
		return newest->start_ns == start_ns ? newest : NULL;
	struct domain_window next = log->windows[1];
	log->windows[1] = *newest;
	map_done(&next.numbers);
	next.start_ns = start_ns;
	next.count = next.instances_count = 0;
	*newest = next;
	return newest;
}

static uint32_t window_instance(struct domain_window *window, const struct instance *instance)
{
	uint32_t number = (uint32_t)(uintptr_t)map_get(&window->numbers, instance->id);
	if (number)
		return number - 1;
	if (window->instances_count == window->instances_capacity) {
		window->instances_capacity = (uint32_t)memory_grown(window->instances_capacity,
								    window->instances_count + 1);
		window->instances = memory_resize(window->instances, window->instances_capacity,
						  sizeof(*window->instances));
	}
	window->instances[window->instances_count++] = instance_of(instance);
	map_put(&window->numbers, instance->id, (void *)(uintptr_t)window->instances_count);
	return window->instances_count - 1;
}

void domain_log_add_long(struct domain_log *log, const struct rollup *rollup)
{
	struct domain_window *window = window_of(log, rollup->window_start_ns);
	if (!window || window->count == log->rows_max) {
		log->dropped++;
		return;
	}
	if (window->count == window->capacity) {
		window->capacity = (uint32_t)memory_grown(window->capacity, window->count + 1);
		window->rows = memory_resize(window->rows, window->capacity, sizeof(*window->rows));
	}
	const int64_t *counters = rollup->counters;
	bool server = rollup->scope == SCOPE_SERVER;
	int64_t own = counters[server ? COUNTER_SERVER_RETRANSMITS : COUNTER_CLIENT_RETRANSMITS];
	window->rows[window->count++] = (struct long_row){
		.edge = rollup->edge.id,
		.server = rollup->edge.server,
		.bytes = count64(counters[COUNTER_TX_BYTES]) + count64(counters[COUNTER_RX_BYTES]),
		.srtt_us = count64(counters[COUNTER_SRTT_US]),
		.srtts = count32(counters[COUNTER_SRTT_COUNT]),
		.retransmits = count32(own ? own : counters[COUNTER_RETRANSMITS]),
		.segments = count32(counters[COUNTER_TX_SEGMENTS] + counters[COUNTER_RX_SEGMENTS]),
		.active = count32(counters[COUNTER_ACTIVE]),
		.connect_us = count64(counters[COUNTER_CONNECT_US]),
		.connects = count32(counters[COUNTER_CONNECT_COUNT]),
		.opened = count32(counters[COUNTER_OPENED]),
		.failed = count32(counters[COUNTER_FAILED]),
		.instance = window_instance(window, &rollup->instance),
		.port = rollup->edge.port,
		.protocol = rollup->edge.protocol,
		.side = server,
	};
}

static bool metric_is_long(uint32_t metric)
{
	return metric != METRIC_CONNECTIONS_FAILED && metric != METRIC_FAILURE_RATIO &&
	       metric != METRIC_CONNECTIONS_RESET;
}

bool domain_ready(const struct domain_log *log, const struct domain_query *query)
{
	const struct domain_window *newest = &log->windows[0];
	return !metric_is_long(query->metric) ||
	       (newest->start_ns && newest->start_ns + DOMAIN_WINDOW_NS >= query->started_ns);
}

/* --- a ranking --- */

/* The metric's bad part in a pane's row, and what it is compared with. */
static struct measured row_measure(const struct domain_row *row, uint32_t metric)
{
	if (metric == METRIC_CONNECTIONS_RESET)
		return (struct measured){.change = row->resets, .traffic = row->resets};
	return (struct measured){.change = row->failed,
				 .traffic = (double)row->failed + row->opened};
}

/* The same of 10 s. Where panes tell the bad part, only the traffic. */
static struct measured long_measure(const struct long_row *row, uint32_t metric)
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
	default:
		return (struct measured){(double)row->bytes, (double)row->bytes};
	}
}

static struct leaf *leaf_append(struct domain_log *log, uint32_t count)
{
	if (count == log->leaves_capacity) {
		log->leaves_capacity = (uint32_t)memory_grown(log->leaves_capacity, count + 1);
		log->leaves =
			memory_resize(log->leaves, log->leaves_capacity, sizeof(*log->leaves));
	}
	return &log->leaves[count];
}

/* The first row of the edge, or where it would be. */
static uint32_t pane_find(const struct domain_pane *pane, uint64_t edge)
{
	uint32_t low = 0, high = pane->count;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (pane->rows[middle].edge < edge)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool row_asked(const struct domain_query *query, uint64_t edge, uint64_t server,
		      uint16_t port, uint8_t protocol)
{
	if (!query->per_server)
		return edge == query->edge.id;
	return server == query->edge.server && port == query->edge.port &&
	       protocol == query->edge.protocol;
}

static uint32_t gather_pane(struct domain_log *log, const struct domain_pane *pane,
			    const struct domain_query *query, uint32_t count)
{
	uint32_t at = query->per_server ? 0 : pane_find(pane, query->edge.id);
	for (; at < pane->count; at++) {
		const struct domain_row *row = &pane->rows[at];
		if (!row_asked(query, row->edge, row->server, row->port, row->protocol)) {
			if (query->per_server)
				continue;
			break;
		}
		struct measured measured = row_measure(row, query->metric);
		*leaf_append(log, count++) = (struct leaf){.instance = row->instance,
							   .side = row->side,
							   .change = measured.change,
							   .traffic = measured.traffic};
	}
	return count;
}

enum told { TOLD_NOW, TOLD_BEFORE, TOLD_USUAL };

/* Such rankings are rare, and rows may come in any order: all are looked at. */
static uint32_t gather_window(struct domain_log *log, const struct domain_window *window,
			      const struct domain_query *query, enum told told, uint32_t count)
{
	for (uint32_t i = 0; i < window->count; i++) {
		const struct long_row *row = &window->rows[i];
		if (!row_asked(query, row->edge, row->server, row->port, row->protocol))
			continue;
		struct measured measured = long_measure(row, query->metric);
		struct leaf *leaf = leaf_append(log, count++);
		*leaf = (struct leaf){.instance = window->instances[row->instance],
				      .side = row->side};
		if (told == TOLD_BEFORE) {
			leaf->before = measured.change;
		} else if (told == TOLD_USUAL) {
			leaf->usual = measured.traffic;
		} else {
			leaf->change = measured.change;
			leaf->traffic = measured.traffic;
		}
	}
	return count;
}

static int compare_leaves(const void *a, const void *b)
{
	const struct leaf *left = a, *right = b;
	if (left->side != right->side)
		return (int)left->side - (int)right->side;
	return compare_words(left->instance.values[DIMENSION_INSTANCE],
			     right->instance.values[DIMENSION_INSTANCE]);
}

/* One leaf an instance and side, sorted. Sums of counts below 2^53: their order does not matter. */
static uint32_t merge_leaves(struct leaf *leaves, uint32_t count)
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
		struct leaf *leaf = &leaves[kept - 1];
		leaf->change += leaves[i].change;
		leaf->traffic += leaves[i].traffic;
		leaf->before += leaves[i].before;
		leaf->usual += leaves[i].usual;
	}
	return kept;
}

static bool metric_is_volume(uint32_t metric)
{
	return metric == METRIC_BYTES || metric == METRIC_CONNECTIONS_OPENED;
}

/* For volumes the change is against the time before; what is not a count is brought to the scale
 * of one: latencies to connects, volumes to VOLUME_UNITS, an amount of evidence that ranks but does
 * not drown the penalty. */
static void scale_changes(struct leaf *leaves, uint32_t count, const struct domain_query *query,
			  bool follows)
{
	enum { VOLUME_UNITS = 100 };
	double change = 0, traffic = 0;
	for (uint32_t i = 0; i < count; i++) {
		struct leaf *leaf = &leaves[i];
		if (metric_is_volume(query->metric)) {
			double rise = leaf->change - leaf->before;
			leaf->traffic = leaf->change > leaf->before ? leaf->change : leaf->before;
			leaf->change = query->comparison == COMPARE_BELOW ? -rise : rise;
			if (leaf->change < 0 || !follows)
				leaf->change = 0;
		}
		/* Panes tell of the time since something broke alone. */
		if (leaf->traffic < leaf->usual)
			leaf->traffic = leaf->usual;
		change += leaf->change;
		traffic += leaf->traffic;
	}
	if (change <= 0 || query->metric <= METRIC_FAILURE_RATIO ||
	    query->metric == METRIC_CONNECTIONS_RESET || query->metric == METRIC_RETRANSMIT_RATIO)
		return;
	double units = metric_is_volume(query->metric) ? VOLUME_UNITS : traffic;
	for (uint32_t i = 0; i < count; i++)
		leaves[i].change *= units / change;
}

/* One side's totals of what is not yet explained. */
struct totals {
	double change, traffic;
};

static struct totals totals_of(const struct leaf *leaves, uint32_t count)
{
	struct totals totals = {0};
	for (uint32_t i = 0; i < count; i++) {
		if (leaves[i].explained)
			continue;
		totals.change += leaves[i].change;
		totals.traffic += leaves[i].traffic;
	}
	return totals;
}

/* The Poisson scan statistic: how much better K bad of T are explained by a rate of their own than
 * by the side's, less the price of naming one of `values` values of one of so many kinds. */
static double candidate_score(const struct candidate *candidate, const struct totals *totals,
			      uint32_t values)
{
	enum { EXCESS_PER_CENT_MIN = 125 };
	double expected = totals->change * candidate->traffic / totals->traffic;
	if (candidate->change * 100 < expected * EXCESS_PER_CENT_MIN || candidate->change <= 0)
		return 0;
	/* No traffic and yet some change cannot be: but never divide by it. */
	if (expected < 1e-3)
		expected = 1e-3;
	double gain = candidate->change * logarithm(candidate->change / expected) -
		      (candidate->change - expected);
	return gain - logarithm(values) - logarithm(SUSPECT_KINDS);
}

struct keyed_leaf {
	uint64_t value;
	uint32_t leaf;
};

static int compare_keyed(const void *a, const void *b)
{
	const struct keyed_leaf *left = a, *right = b;
	int order = compare_words(left->value, right->value);
	return order ? order : compare_words(left->leaf, right->leaf);
}

/* One candidate for each value of the dimension that an unexplained leaf has. */
static uint32_t list_candidates(const struct leaf *leaves, uint32_t count, enum dimension dimension,
				struct keyed_leaf *keyed, struct candidate *candidates)
{
	uint32_t keys = 0, listed = 0;
	for (uint32_t i = 0; i < count; i++)
		if (!leaves[i].explained)
			keyed[keys++] =
				(struct keyed_leaf){leaves[i].instance.values[dimension], i};
	qsort(keyed, keys, sizeof(*keyed), compare_keyed);
	for (uint32_t i = 0; i < keys; i++) {
		const struct leaf *leaf = &leaves[keyed[i].leaf];
		if (listed == 0 || candidates[listed - 1].value != keyed[i].value)
			candidates[listed++] =
				(struct candidate){.dimension = dimension,
						   .value = keyed[i].value,
						   .name = leaf->instance.name,
						   .process = leaf->instance.process};
		struct candidate *candidate = &candidates[listed - 1];
		candidate->leaves += hash_mix(leaf->instance.values[DIMENSION_INSTANCE]);
		candidate->change += leaf->change;
		candidate->traffic += leaf->traffic;
	}
	return listed;
}

/* The best of all dimensions first, then the values of other dimensions with the very same leaves:
 * the most specific stands for its class. */
struct finding {
	double score;
	uint32_t count;
	struct candidate names[DIMENSIONS];
};

static bool candidate_named(const struct candidate *candidate)
{
	return candidate->dimension == DIMENSION_INSTANCE ? candidate->name != 0
							  : candidate->value != 0;
}

static struct finding find_best(const struct leaf *leaves, uint32_t count,
				const struct totals *totals, struct keyed_leaf *keyed,
				struct candidate *candidates)
{
	struct finding finding = {0};
	uint32_t listed[DIMENSIONS], from = 0;
	uint64_t best_leaves = 0;
	for (uint32_t d = 0; d < DIMENSIONS; from += listed[d++]) {
		listed[d] = list_candidates(leaves, count, d, keyed, candidates + from);
		for (uint32_t i = from; i < from + listed[d]; i++) {
			double score = candidate_score(&candidates[i], totals, listed[d]);
			if (score > finding.score && candidate_named(&candidates[i])) {
				finding.score = score;
				best_leaves = candidates[i].leaves;
			}
		}
	}
	for (uint32_t i = 0; finding.score > 0 && i < from; i++)
		if (candidates[i].leaves == best_leaves && candidate_named(&candidates[i]) &&
		    finding.count < DIMENSIONS)
			finding.names[finding.count++] = candidates[i];
	return finding;
}

static const uint8_t suspect_kinds[2][DIMENSIONS] = {
	{SUSPECT_CLIENT_INSTANCE, SUSPECT_CLIENT_VERSION, SUSPECT_CLIENT_NODE, SUSPECT_CLIENT_ZONE},
	{SUSPECT_SERVER_INSTANCE, SUSPECT_SERVER_VERSION, SUSPECT_SERVER_NODE, SUSPECT_SERVER_ZONE},
};

struct ranked {
	double score;
	struct suspect suspect;
};

static struct suspect suspect_of(const struct candidate *candidate, uint32_t side,
				 const struct totals *whole, const struct names *names)
{
	struct suspect suspect = {
		.kind = suspect_kinds[side][candidate->dimension],
		.share = candidate->change / whole->change,
	};
	double traffic = candidate->traffic / whole->traffic;
	/* New here and without usual traffic: as much as one unit of it would give. */
	suspect.excess = suspect.share / (traffic > 0 ? traffic : 1 / whole->traffic);
	uint64_t name =
		candidate->dimension == DIMENSION_INSTANCE ? candidate->name : candidate->value;
	name_text(names, name, suspect.name);
	return suspect;
}

static void explain(struct leaf *leaves, uint32_t count, const struct candidate *candidate)
{
	for (uint32_t i = 0; i < count; i++)
		leaves[i].explained |=
			leaves[i].instance.values[candidate->dimension] == candidate->value;
}

/* Takes the best, removes its leaves, and again while something is gained. */
static uint32_t rank_side(struct leaf *leaves, uint32_t count, uint32_t side,
			  const struct names *names, struct ranked ranked[ALERT_SUSPECTS_MAX])
{
	uint32_t found = 0;
	struct totals whole = totals_of(leaves, count), left = whole;
	if (whole.change <= 0 || whole.traffic <= 0)
		return 0;
	struct keyed_leaf *keyed = memory_resize(NULL, count, sizeof(*keyed));
	struct candidate *candidates =
		memory_resize(NULL, (size_t)count * DIMENSIONS, sizeof(*candidates));
	while (found < ALERT_SUSPECTS_MAX && left.change > 0 && left.traffic > 0) {
		struct finding finding = find_best(leaves, count, &left, keyed, candidates);
		if (finding.count == 0)
			break;
		for (uint32_t i = 0; i < finding.count && found < ALERT_SUSPECTS_MAX; i++)
			ranked[found++] = (struct ranked){
				.score = finding.score,
				.suspect = suspect_of(&finding.names[i], side, &whole, names)};
		explain(leaves, count, &finding.names[0]);
		left = totals_of(leaves, count);
	}
	memory_free(candidates);
	memory_free(keyed);
	return found;
}

/* Both sides' findings, best score first; the client's on a tie. Each side's are in order. */
static uint32_t merge_sides(struct ranked sides[2][ALERT_SUSPECTS_MAX], const uint32_t counts[2],
			    struct suspect suspects[ALERT_SUSPECTS_MAX])
{
	uint32_t at[2] = {0}, count = 0;
	while (count < ALERT_SUSPECTS_MAX && (at[0] < counts[0] || at[1] < counts[1])) {
		uint32_t side =
			at[0] == counts[0] ||
			(at[1] < counts[1] && sides[1][at[1]].score > sides[0][at[0]].score);
		suspects[count++] = sides[side][at[side]++].suspect;
	}
	return count;
}

static uint32_t gather_panes(struct domain_log *log, const struct domain_query *query)
{
	uint32_t count = 0;
	uint32_t panes = query->window_panes < DOMAIN_WINDOW_PANES ? query->window_panes
								   : DOMAIN_WINDOW_PANES;
	/* The open pane is empty: the newest closed one is one back. */
	for (uint32_t back = 1; back <= panes; back++) {
		uint32_t at = (log->head + DOMAIN_PANES - back) % DOMAIN_PANES;
		count = gather_pane(log, &log->panes[at], query, count);
	}
	return gather_window(log, &log->windows[0], query, TOLD_USUAL, count);
}

/* The window before the newest says what a volume was. */
static bool domain_follows(const struct domain_log *log, const struct domain_query *query)
{
	const struct domain_window *newest = &log->windows[0], *older = &log->windows[1];
	return metric_is_volume(query->metric) && older->start_ns &&
	       older->start_ns + DOMAIN_WINDOW_NS == newest->start_ns;
}

static uint32_t gather_windows(struct domain_log *log, const struct domain_query *query)
{
	uint32_t count = gather_window(log, &log->windows[0], query, TOLD_NOW, 0);
	if (!domain_follows(log, query))
		return count;
	return gather_window(log, &log->windows[1], query, TOLD_BEFORE, count);
}

uint32_t domain_rank(struct domain_log *log, const struct domain_query *query,
		     const struct names *names, struct suspect suspects[ALERT_SUSPECTS_MAX])
{
	struct ranked sides[2][ALERT_SUSPECTS_MAX];
	uint32_t counts[2] = {0}, clients = 0;
	uint32_t leaves = metric_is_long(query->metric) ? gather_windows(log, query)
							: gather_panes(log, query);
	bool follows = domain_follows(log, query);
	leaves = merge_leaves(log->leaves, leaves);
	while (clients < leaves && log->leaves[clients].side == 0)
		clients++;
	uint32_t sizes[2] = {clients, leaves - clients};
	for (uint32_t side = 0; side < 2; side++) {
		uint32_t size = sizes[side] < DOMAIN_LEAVES_MAX ? sizes[side] : DOMAIN_LEAVES_MAX;
		if (size == 0)
			continue;
		struct leaf *first = log->leaves + (side ? clients : 0);
		scale_changes(first, size, query, follows);
		counts[side] = rank_side(first, size, side, names, sides[side]);
	}
	return merge_sides(sides, counts, suspects);
}
