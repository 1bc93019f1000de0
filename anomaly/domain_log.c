#include "anomaly/domain_log.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

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
	return rollup->scope == SCOPE_LANE     ? DOMAIN_LANE
	       : rollup->scope == SCOPE_SERVER ? DOMAIN_SERVER
					       : DOMAIN_CLIENT;
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

/* What came before the newest is kept for longer if its turn is, or none is kept yet; the memory of
 * the one that leaves serves the next. */
static struct domain_window *window_of(struct domain_log *log, uint64_t start_ns)
{
	_Static_assert(DOMAIN_WINDOWS == 4, "the newest two and two that are kept");
	struct domain_window *windows = log->windows;
	if (windows[0].start_ns >= start_ns)
		return windows[0].start_ns == start_ns ? &windows[0] : NULL;
	bool keep = windows[1].start_ns &&
		    (windows[1].start_ns / DOMAIN_WINDOW_NS % DOMAIN_KEEP_EVERY == 0 ||
		     windows[2].start_ns == 0);
	struct domain_window next = windows[keep ? DOMAIN_WINDOWS - 1 : 1];
	if (keep) {
		windows[3] = windows[2];
		windows[2] = windows[1];
	}
	windows[1] = windows[0];
	map_done(&next.numbers);
	next.start_ns = start_ns;
	next.count = next.instances_count = 0;
	windows[0] = next;
	return &windows[0];
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
	return rollup->scope == SCOPE_SERVER ? counters_both(counters[COUNTER_SERVER_TX_BYTES],
							     counters[COUNTER_SERVER_RX_BYTES])
					     : counters_both(counters[COUNTER_CLIENT_TX_BYTES],
							     counters[COUNTER_CLIENT_RX_BYTES]);
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
		own = counters_both(own, counters[COUNTER_SERVER_RETRANSMITS]);
	window->rows[window->count++] = (struct domain_long_row){
		.edge = rollup->edge.id,
		.server = rollup->edge.server,
		.bytes = count64(counters[COUNTER_TX_BYTES]) + count64(counters[COUNTER_RX_BYTES]),
		.srtt_us = count64(counters[COUNTER_SRTT_US]),
		.srtts = count32(counters[COUNTER_SRTT_COUNT]),
		.retransmits = count32(own ? own : counters[COUNTER_RETRANSMITS]),
		.segments = count32(counters_both(counters[COUNTER_TX_SEGMENTS],
						  counters[COUNTER_RX_SEGMENTS])),
		.active = count32(counters[COUNTER_ACTIVE]),
		.connect_us = count64(counters[COUNTER_CONNECT_US]),
		.connects = count32(counters[COUNTER_CONNECT_COUNT]),
		.opened = count32(counters[COUNTER_OPENED]),
		.failed = count32(counters[COUNTER_FAILED]),
		.resets = count32(counters[COUNTER_RESETS]),
		.lookups = count32(counters[COUNTER_DNS_QUERIES]),
		.lookups_failed = count32(rollup_dns_failed(counters)),
		.instance = window_instance(window, rollup),
		.port = rollup->edge.port,
		.protocol = rollup->edge.protocol,
		.side = side_of(rollup),
		.told = told_bytes(rollup) > 0,
	};
}

/* --- what is asked for --- */

uint32_t domain_pane_find(const struct domain_pane *pane, uint64_t edge)
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

bool domain_query_asks(const struct domain_query *query, uint64_t edge, uint64_t server,
		       uint16_t port, uint8_t protocol)
{
	if (!query->per_server)
		return edge == query->edge.id;
	return server == query->edge.server && port == query->edge.port &&
	       protocol == query->edge.protocol;
}

const struct domain_window *domain_log_usual(const struct domain_log *log, uint64_t started_ns)
{
	/* As long ago as two are kept, and one that waits for its turn. */
	const uint64_t old_ns = (2 * DOMAIN_KEEP_EVERY + 2) * DOMAIN_WINDOW_NS;
	const struct domain_window *newest = &log->windows[0], *usual = NULL;
	for (uint32_t i = 1; i < DOMAIN_WINDOWS; i++) {
		const struct domain_window *window = &log->windows[i];
		if (window->start_ns == 0 || window->start_ns + old_ns < newest->start_ns)
			break;
		if (window->start_ns < started_ns)
			usual = window;
		if (window->start_ns + 2 * DOMAIN_WINDOW_NS <= started_ns)
			break;
	}
	return usual;
}
