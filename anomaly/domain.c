#include "anomaly/domain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "anomaly/logarithm.h"
#include "anomaly/map.h"
#include "anomaly/name_text.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"

#define DOMAIN_WINDOW_NS (DOMAIN_WINDOW_PANES * PANE_NS)

/* Distinct zones of one ranking's lanes; what passes to and from others is of no pair. */
enum { ZONES_MAX = 64 };

enum dimension {
	DIMENSION_INSTANCE,
	DIMENSION_VERSION,
	DIMENSION_NODE,
	DIMENSION_ZONE,
	DIMENSIONS
};

/* Of a row: rows of scope LANE have both. */
enum side { SIDE_CLIENT, SIDE_SERVER, SIDE_LANE, SIDES };

/* Who a row is of; of a lane its id and, as `name` and `process`, the zones of its client and its
 * server. */
struct domain_instance {
	uint64_t values[DIMENSIONS]; /* instance id, and name ids */
	uint64_t name, process;	     /* its container, else its process */
};

/* One instance's part of one pane. */
struct domain_row {
	uint64_t edge, server;
	struct domain_instance instance;
	uint32_t opened, failed, resets;
	uint32_t refused, unreachable; /* of those that failed */
	uint16_t port;
	uint8_t protocol;
	uint8_t side; /* enum side */
};

/* And of ten seconds. */
struct long_row {
	uint64_t edge, server;
	uint64_t bytes, srtt_us, connect_us;
	uint32_t srtts, retransmits, segments, active;
	uint32_t connects, opened, failed, resets;
	uint32_t lookups, lookups_failed;
	uint32_t instance; /* index */
	uint16_t port;
	uint8_t protocol;
	uint8_t side;
	bool told; /* by an agent at that side */
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
	struct domain_pane spare; /* memory of a forgotten pane, for the next one */
	struct domain_window windows[DOMAIN_WINDOWS]; /* newest first */
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
	double before;	/* the change in the usual time, */
	double count;	/* of so much traffic; */
	double earlier; /* and in the time before that */
	double usual;	/* the traffic of the newest 10 s, where panes tell of the change */
	double active, was_active; /* connections in the newest 10 s, and in the usual time */
	uint8_t side;
	bool explained;
};

/* A value of a dimension with all its leaves. */
struct candidate {
	enum dimension dimension;
	uint64_t value, name, process;
	uint64_t leaves; /* sum of hashes: equal for equal sets */
	double change, traffic, active;
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
	for (uint32_t i = 0; i < DOMAIN_WINDOWS; i++) {
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

static uint8_t side_of(const struct rollup *rollup)
{
	return rollup->scope == SCOPE_LANE     ? SIDE_LANE
	       : rollup->scope == SCOPE_SERVER ? SIDE_SERVER
					       : SIDE_CLIENT;
}

static struct domain_instance place_of(const struct rollup *rollup)
{
	const struct lane *lane = &rollup->lane;
	if (rollup->scope != SCOPE_LANE)
		return instance_of(&rollup->instance);
	return (struct domain_instance){.values = {[DIMENSION_INSTANCE] = lane->id},
					.name = lane->client_zone,
					.process = lane->server_zone};
}

static struct domain_row row_of(const struct rollup *rollup)
{
	const int64_t *counters = rollup->counters;
	return (struct domain_row){
		.edge = rollup->edge.id,
		.server = rollup->edge.server,
		.instance = place_of(rollup),
		.opened = count32(counters[COUNTER_OPENED]),
		.failed = count32(counters[COUNTER_FAILED]),
		.resets = count32(counters[COUNTER_RESETS]),
		.refused = count32(counters[COUNTER_FAILED_REFUSED]),
		.unreachable = count32(counters[COUNTER_FAILED_UNREACHABLE]),
		.port = rollup->edge.port,
		.protocol = rollup->edge.protocol,
		.side = side_of(rollup),
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

/* All become older by one, and the oldest one's memory serves the next. */
static struct domain_window *window_of(struct domain_log *log, uint64_t start_ns)
{
	struct domain_window *newest = &log->windows[0];
	if (newest->start_ns >= start_ns)
		return newest->start_ns == start_ns ? newest : NULL;
	struct domain_window next = log->windows[DOMAIN_WINDOWS - 1];
	memmove(&log->windows[1], newest, (DOMAIN_WINDOWS - 1) * sizeof(*newest));
	map_done(&next.numbers);
	next.start_ns = start_ns;
	next.count = next.instances_count = 0;
	*newest = next;
	return newest;
}

static uint32_t window_instance(struct domain_window *window, const struct rollup *rollup)
{
	uint64_t id = rollup->scope == SCOPE_LANE ? rollup->lane.id : rollup->instance.id;
	uint32_t number = (uint32_t)(uintptr_t)map_get(&window->numbers, id);
	if (number)
		return number - 1;
	if (window->instances_count == window->instances_capacity) {
		window->instances_capacity = (uint32_t)memory_grown(window->instances_capacity,
								    window->instances_count + 1);
		window->instances = memory_resize(window->instances, window->instances_capacity,
						  sizeof(*window->instances));
	}
	window->instances[window->instances_count++] = place_of(rollup);
	map_put(&window->numbers, id, (void *)(uintptr_t)window->instances_count);
	return window->instances_count - 1;
}

/* By agents at the row's own side. */
static int64_t told_bytes(const struct rollup *rollup)
{
	const int64_t *counters = rollup->counters;
	return rollup->scope == SCOPE_SERVER
		       ? counters[COUNTER_SERVER_TX_BYTES] + counters[COUNTER_SERVER_RX_BYTES]
		       : counters[COUNTER_CLIENT_TX_BYTES] + counters[COUNTER_CLIENT_RX_BYTES];
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
	if (rollup->scope == SCOPE_LANE)
		own += counters[COUNTER_SERVER_RETRANSMITS];
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
		.resets = count32(counters[COUNTER_RESETS]),
		.lookups = count32(counters[COUNTER_DNS_QUERIES]),
		.lookups_failed =
			count32(counters[COUNTER_DNS_SERVFAIL] + counters[COUNTER_DNS_REFUSED] +
				counters[COUNTER_DNS_OTHER] + counters[COUNTER_DNS_TIMEOUTS]),
		.instance = window_instance(window, rollup),
		.port = rollup->edge.port,
		.protocol = rollup->edge.protocol,
		.side = side_of(rollup),
		.told = told_bytes(rollup) > 0,
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
	case METRIC_DNS_FAILURE_RATIO:
		return (struct measured){row->lookups_failed, row->lookups};
	case METRIC_DNS_LATENCY:
	case METRIC_CLIENTS_NEW: /* rows of parts do not tell */
		return (struct measured){0};
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

enum told { TOLD_NOW, TOLD_BEFORE, TOLD_EARLIER, TOLD_USUAL };

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
		leaf->count += leaves[i].count;
		leaf->earlier += leaves[i].earlier;
		leaf->usual += leaves[i].usual;
		leaf->active += leaves[i].active;
		leaf->was_active += leaves[i].was_active;
	}
	return kept;
}

static double larger(double a, double b)
{
	return a > b ? a : b;
}

static bool metric_is_volume(uint32_t metric)
{
	return metric == METRIC_BYTES || metric == METRIC_CONNECTIONS_OPENED;
}

/* How many bytes count as one by chance: volumes scatter by their own past, which tells from one
 * ten seconds to the next (variance over mean, of a Poisson count 1). Two windows of few instances
 * may be alike by luck, so it is VOLUME_UNITS in all at most. */
static double volume_unit(const struct leaf *leaves, uint32_t count, double change)
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
static void scale_volumes(struct leaf *leaves, uint32_t count, const struct domain_query *query,
			  bool follows)
{
	double change = 0;
	for (uint32_t i = 0; i < count; i++) {
		struct leaf *leaf = &leaves[i];
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
 * usual: a count of slow ones. */
static void scale_latencies(struct leaf *leaves, uint32_t count, const struct domain_query *query)
{
	double before = 0, connects = 0;
	for (uint32_t i = 0; i < count; i++) {
		before += leaves[i].before;
		connects += leaves[i].count;
	}
	double usual_us = connects > 0 ? before / connects : 0;
	double slow_us = query->value * 1e6 - usual_us;
	for (uint32_t i = 0; i < count; i++) {
		struct leaf *leaf = &leaves[i];
		double more = leaf->change - usual_us * leaf->traffic;
		double slow = more > 0 && slow_us > 0 ? more / slow_us : 0;
		leaf->change = slow < leaf->traffic ? slow : leaf->traffic;
	}
}

/* Everything is brought to the scale of counts. */
static void scale_changes(struct leaf *leaves, uint32_t count, const struct domain_query *query,
			  bool follows)
{
	if (metric_is_volume(query->metric))
		scale_volumes(leaves, count, query, follows);
	else if (query->metric == METRIC_CONNECT_LATENCY || query->metric == METRIC_RTT)
		scale_latencies(leaves, count, query);
	/* Panes tell of the time since something broke alone, when most may be gone. */
	for (uint32_t i = 0; i < count; i++) {
		struct leaf *leaf = &leaves[i];
		leaf->traffic = larger(leaf->traffic, leaf->usual);
		if (!metric_is_long(query->metric))
			leaf->traffic = larger(leaf->traffic, leaf->count);
		leaf->active = larger(leaf->active, leaf->was_active);
	}
}

/* One side's totals of what is not yet explained. */
struct totals {
	double change, traffic, active;
};

static struct totals totals_of(const struct leaf *leaves, uint32_t count)
{
	struct totals totals = {0};
	for (uint32_t i = 0; i < count; i++) {
		if (leaves[i].explained)
			continue;
		totals.change += leaves[i].change;
		totals.traffic += leaves[i].traffic;
		totals.active += leaves[i].active;
	}
	return totals;
}

/* The Poisson scan statistic: how much better K bad of T are explained by a rate of their own than
 * by the side's, less the price of naming one of `values` values of one of so many kinds. */
static double candidate_score(const struct candidate *candidate, const struct totals *totals,
			      uint32_t values)
{
	enum { EXCESS_PER_CENT_MIN = 125 };
	double share = candidate->traffic / totals->traffic;
	/* Few attempts tell little of who makes them: so do the connections that they made. */
	if (totals->active > 0 && candidate->active / totals->active > share)
		share = candidate->active / totals->active;
	double expected = totals->change * share;
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
		candidate->active += leaf->active;
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

/* --- of lanes: between zones --- */

static bool lane_crosses(const struct domain_instance *lane)
{
	return lane->name && lane->process && lane->name != lane->process;
}

/* What passes between two zones, either way; zone b 0: between a and all others. */
struct border {
	uint64_t a, b;
};

static bool border_has(const struct border *border, const struct domain_instance *lane)
{
	bool at_a = lane->name == border->a || lane->process == border->a;
	bool at_b = border->b == 0 || lane->name == border->b || lane->process == border->b;
	return lane_crosses(lane) && at_a && at_b;
}

static struct candidate border_sum(const struct border *border, const struct leaf *leaves,
				   uint32_t count)
{
	struct candidate candidate = {.name = border->a, .process = border->b};
	for (uint32_t i = 0; i < count; i++) {
		if (!border_has(border, &leaves[i].instance))
			continue;
		candidate.change += leaves[i].change;
		candidate.traffic += leaves[i].traffic;
		candidate.active += leaves[i].active;
	}
	return candidate;
}

static const uint8_t suspect_kinds[2][DIMENSIONS] = {
	{SUSPECT_CLIENT_INSTANCE, SUSPECT_CLIENT_VERSION, SUSPECT_CLIENT_NODE, SUSPECT_CLIENT_ZONE},
	{SUSPECT_SERVER_INSTANCE, SUSPECT_SERVER_VERSION, SUSPECT_SERVER_NODE, SUSPECT_SERVER_ZONE},
};

struct ranked {
	double score;
	struct suspect suspect;
};

static struct suspect suspect_of(const struct candidate *candidate, uint32_t kind,
				 const struct totals *whole)
{
	struct suspect suspect = {.kind = kind, .share = candidate->change / whole->change};
	double traffic = candidate->traffic / whole->traffic;
	/* New here and without usual traffic: as much as one unit of it would give. */
	suspect.excess = suspect.share / (traffic > 0 ? traffic : 1 / whole->traffic);
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
		for (uint32_t i = 0; i < finding.count && found < ALERT_SUSPECTS_MAX; i++) {
			const struct candidate *candidate = &finding.names[i];
			uint32_t kind = suspect_kinds[side][candidate->dimension];
			ranked[found].score = finding.score;
			ranked[found].suspect = suspect_of(candidate, kind, &whole);
			name_text(names,
				  candidate->dimension == DIMENSION_INSTANCE ? candidate->name
									     : candidate->value,
				  ranked[found++].suspect.name);
		}
		explain(leaves, count, &finding.names[0]);
		left = totals_of(leaves, count);
	}
	memory_free(candidates);
	memory_free(keyed);
	return found;
}

static void border_name(const struct border *border, const struct names *names,
			char text[ALERT_NAME_MAX])
{
	char zones[2][ALERT_NAME_MAX];
	name_text(names, border->a, text);
	if (border->b == 0)
		return;
	memcpy(zones[0], text, sizeof(zones[0]));
	name_text(names, border->b, zones[1]);
	bool turned = strcmp(zones[0], zones[1]) > 0;
	/* Names of zones are short; what does not fit is not named at all. */
	int length = snprintf(text, ALERT_NAME_MAX, "%s - %s", zones[turned], zones[!turned]);
	if (length >= ALERT_NAME_MAX)
		memcpy(text, zones[0], sizeof(zones[0]));
}

static uint32_t list_zones(const struct leaf *leaves, uint32_t count, uint64_t zones[ZONES_MAX])
{
	uint32_t listed = 0;
	for (uint32_t i = 0; i < 2 * count; i++) {
		const struct domain_instance *lane = &leaves[i / 2].instance;
		uint64_t zone = i % 2 ? lane->process : lane->name;
		uint32_t at = 0;
		while (at < listed && zones[at] != zone)
			at++;
		if (at == listed && zone && listed < ZONES_MAX)
			zones[listed++] = zone;
	}
	return listed;
}

/* The one border that stands out. */
static uint32_t rank_lanes(const struct leaf *leaves, uint32_t count, const struct names *names,
			   struct ranked *ranked)
{
	uint64_t zones[ZONES_MAX];
	struct totals whole = totals_of(leaves, count);
	struct border best = {0};
	struct candidate sum = {0};
	uint32_t zones_count = list_zones(leaves, count, zones);
	uint32_t pairs = zones_count * (zones_count - 1) / 2;
	ranked->score = 0;
	if (whole.change <= 0 || whole.traffic <= 0 || zones_count < 2)
		return 0;
	/* Of each zone its pairs, then itself: with two zones the pair is all there is to say. */
	for (uint32_t i = 0; i < zones_count; i++)
		for (uint32_t k = i + 1; k <= zones_count; k++) {
			struct border border = {zones[i], k < zones_count ? zones[k] : 0};
			struct candidate candidate = border_sum(&border, leaves, count);
			double score =
				candidate_score(&candidate, &whole, border.b ? pairs : zones_count);
			if (score <= ranked->score)
				continue;
			ranked->score = score;
			best = border;
			sum = candidate;
		}
	if (ranked->score <= 0)
		return 0;
	ranked->suspect = suspect_of(&sum, SUSPECT_ZONE, &whole);
	ranked->suspect.kind = best.b ? SUSPECT_PATH : SUSPECT_ZONE;
	border_name(&best, names, ranked->suspect.name);
	return 1;
}

/* All sides' findings, best score first; the earlier side's on a tie. Each side's are in order. */
static uint32_t merge_sides(struct ranked sides[SIDES][ALERT_SUSPECTS_MAX],
			    const uint32_t counts[SIDES],
			    struct suspect suspects[ALERT_SUSPECTS_MAX])
{
	uint32_t at[SIDES] = {0}, count = 0;
	for (; count < ALERT_SUSPECTS_MAX; count++) {
		uint32_t best = SIDES;
		for (uint32_t side = 0; side < SIDES; side++)
			if (at[side] < counts[side] &&
			    (best == SIDES ||
			     sides[side][at[side]].score > sides[best][at[best]].score))
				best = side;
		if (best == SIDES)
			break;
		suspects[count] = sides[best][at[best]++].suspect;
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

/* Which ten seconds say what is usual: the newest that ended before anything was wrong, as far as
 * is known, or else the oldest that began before. NULL: none of the last minute did. */
static const struct domain_window *usual_window(const struct domain_log *log, uint64_t started_ns)
{
	const struct domain_window *newest = &log->windows[0], *usual = NULL;
	for (uint32_t i = 1; i < DOMAIN_WINDOWS; i++) {
		const struct domain_window *window = &log->windows[i];
		if (window->start_ns == 0 ||
		    window->start_ns + DOMAIN_WINDOWS * DOMAIN_WINDOW_NS <= newest->start_ns)
			break;
		if (window->start_ns < started_ns)
			usual = window;
		if (window->start_ns + 2 * DOMAIN_WINDOW_NS <= started_ns)
			break;
	}
	return usual;
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

uint32_t domain_rank(struct domain_log *log, const struct domain_query *query,
		     const struct names *names, struct suspect suspects[ALERT_SUSPECTS_MAX])
{
	const struct domain_window *usual =
		metric_is_volume(query->metric) ? usual_window(log, query->started_ns) : NULL;
	struct ranked sides[SIDES][ALERT_SUSPECTS_MAX];
	uint32_t counts[SIDES] = {0}, first = 0, end = 0;
	/* What is usual is out of sight: what was said of it then was better. */
	if (!usual && log->windows[0].start_ns > query->started_ns)
		return 0;
	uint32_t leaves = metric_is_long(query->metric) ? gather_windows(log, query, usual)
							: gather_panes(log, query, usual);
	leaves = merge_leaves(log->leaves, leaves);
	for (uint32_t side = 0; side < SIDES; side++, first = end) {
		while (end < leaves && log->leaves[end].side == side)
			end++;
		uint32_t size = end - first < DOMAIN_LEAVES_MAX ? end - first : DOMAIN_LEAVES_MAX;
		if (size == 0)
			continue;
		struct leaf *of_side = log->leaves + first;
		scale_changes(of_side, size, query, usual != NULL);
		counts[side] = side == SIDE_LANE
				       ? rank_lanes(of_side, size, names, sides[side])
				       : rank_side(of_side, size, side, names, sides[side]);
	}
	return merge_sides(sides, counts, suspects);
}

/* --- both ends --- */

static void add_long(struct end_sums *sums, const struct long_row *row)
{
	sums->attempts += (double)row->opened + row->failed;
	sums->failed += row->failed;
	sums->connect_us += (double)row->connect_us;
	sums->connects += row->connects;
	sums->srtt_us += (double)row->srtt_us;
	sums->srtts += row->srtts;
	sums->retransmits += row->retransmits;
	sums->segments += row->segments;
	sums->bytes += (double)row->bytes;
	sums->resets += row->resets;
	sums->lookups += row->lookups;
	sums->lookups_failed += row->lookups_failed;
}

/* Each end tells of the whole edge, but for what it sent again itself. */
static struct end_sums either_end(const struct end_sums sums[SIDES])
{
	struct end_sums either = sums[sums[SIDE_CLIENT].segments > 0 ? SIDE_CLIENT : SIDE_SERVER];
	either.retransmits = sums[SIDE_CLIENT].retransmits + sums[SIDE_SERVER].retransmits;
	return either;
}

/* Two zones, either way, or one. */
struct pair {
	uint64_t low, high;
	double retransmits, segments;
};

/* Of the zones between which most is lost, what is sent again and all: the whole edge hides a path
 * that few of its connections take. */
static void worst_pair(const struct domain_window *window, const struct domain_query *query,
		       struct end_sums *sums)
{
	struct pair pairs[ZONES_MAX];
	uint32_t count = 0;
	for (uint32_t i = 0; window && i < window->count; i++) {
		const struct long_row *row = &window->rows[i];
		const struct domain_instance *lane = &window->instances[row->instance];
		if (row->side != SIDE_LANE ||
		    !row_asked(query, row->edge, row->server, row->port, row->protocol))
			continue;
		bool turned = lane->name > lane->process;
		struct pair pair = {turned ? lane->process : lane->name,
				    turned ? lane->name : lane->process, 0, 0};
		uint32_t at = 0;
		while (at < count && (pairs[at].low != pair.low || pairs[at].high != pair.high))
			at++;
		if (at == ZONES_MAX)
			continue;
		if (at == count)
			pairs[count++] = pair;
		pairs[at].retransmits += row->retransmits;
		pairs[at].segments += row->segments;
	}
	for (uint32_t i = 0; i < count; i++)
		if (pairs[i].retransmits >= sums->retransmits / 2 &&
		    pairs[i].retransmits * sums->segments > sums->retransmits * pairs[i].segments) {
			sums->retransmits = pairs[i].retransmits;
			sums->segments = pairs[i].segments;
		}
}

static struct end_sums window_ends(const struct domain_window *window,
				   const struct domain_query *query)
{
	struct end_sums sums[SIDES] = {0};
	for (uint32_t i = 0; window && i < window->count; i++) {
		const struct long_row *row = &window->rows[i];
		if (row_asked(query, row->edge, row->server, row->port, row->protocol))
			add_long(&sums[row->side], row);
	}
	struct end_sums either = either_end(sums);
	worst_pair(window, query, &either);
	return either;
}

static void add_attempts(struct ends *ends, const struct domain_row *row)
{
	struct end_sums *sums = &ends->panes;
	if (row->side == SIDE_CLIENT) {
		sums->attempts += (double)row->opened + row->failed;
		sums->failed += row->failed;
		sums->refused += row->refused;
		sums->unreachable += row->unreachable;
	}
	if (row->side != SIDE_LANE)
		return;
	double bad = (double)row->failed + row->resets, all = (double)row->opened + row->failed;
	bool crosses = lane_crosses(&row->instance);
	ends->bad += bad;
	ends->all += all;
	ends->bad_crossing += crosses ? bad : 0;
	ends->crossing += crosses ? all : 0;
}

/* Where nothing fails: segments that were sent again. */
static void window_crossing(const struct domain_window *window, const struct domain_query *query,
			    struct ends *ends)
{
	for (uint32_t i = 0; i < window->count; i++) {
		const struct long_row *row = &window->rows[i];
		if (row->side != SIDE_LANE ||
		    !row_asked(query, row->edge, row->server, row->port, row->protocol))
			continue;
		bool crosses = lane_crosses(&window->instances[row->instance]);
		ends->bad += row->retransmits;
		ends->all += row->segments;
		ends->bad_crossing += crosses ? row->retransmits : 0;
		ends->crossing += crosses ? row->segments : 0;
	}
}

static bool server_tells(const struct domain_window *window, const struct domain_query *query)
{
	for (uint32_t i = 0; i < window->count; i++) {
		const struct long_row *row = &window->rows[i];
		if (row->side == SIDE_SERVER && row->told && row->server == query->edge.server)
			return true;
	}
	return false;
}

struct ends domain_ends(const struct domain_log *log, const struct domain_query *query)
{
	/* What fails, failed a moment before the episode began. */
	const uint64_t before_ns = 2 * NS_PER_S;
	const struct domain_window *newest = &log->windows[0];
	struct ends ends = {0};
	for (uint32_t i = 0; i < DOMAIN_PANES; i++) {
		const struct domain_pane *pane = &log->panes[i];
		uint32_t at = query->per_server ? 0 : pane_find(pane, query->edge.id);
		for (; at < pane->count; at++) {
			const struct domain_row *row = &pane->rows[at];
			if (row_asked(query, row->edge, row->server, row->port, row->protocol))
				add_attempts(&ends, row);
			else if (!query->per_server)
				break;
		}
	}
	ends.settled = newest->start_ns && newest->start_ns + before_ns >= query->started_ns;
	ends.server_tells = server_tells(newest, query);
	ends.now = window_ends(newest, query);
	ends.before = window_ends(usual_window(log, query->started_ns), query);
	if (ends.bad <= 0)
		window_crossing(newest, query, &ends);
	return ends;
}
