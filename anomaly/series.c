#include "anomaly/series.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"

enum {
	MARKS_FIRST = 4,
	WORDS_FIRST = 8,
	/* A row's count of one pane stops here, 67 million a second, so that the longest window of
	 * such rows does not wrap. */
	COUNT_MAX = UINT32_MAX / SERIES_PANES_MAX,
};

void series_init(struct series *series, uint32_t panes_max, bool connects, bool transport,
		 uint32_t tick)
{
	assert(panes_max <= SERIES_PANES_MAX);
	/* As if its last row had just left the longest window. */
	*series = (struct series){.panes_max = (uint16_t)panes_max,
				  .keeps_connects = connects,
				  .keeps_transport = transport,
				  .last = panes_max ? tick - panes_max - 1 : tick};
}

void series_rest(struct series *series)
{
	memory_free(series->marks);
	memory_free(series->words);
	series->marks = NULL;
	series->words = NULL;
	series->first = series->count = series->capacity = 0;
	series->words_capacity = 0;
	series->connect_high = series->connect_high_before = 0;
}

void series_done(struct series *series)
{
	series_rest(series);
}

/* --- marks --- */

static struct mark *mark_at(const struct series *series, uint32_t number)
{
	uint32_t at = series->first + number;
	return &series->marks[at < series->capacity ? at : at - series->capacity];
}

static struct transport *transport_of(const struct series *series, const struct mark *mark)
{
	struct transport *all = (struct transport *)(series->marks + series->capacity);
	return &all[mark - series->marks];
}

static bool mark_within(const struct mark *mark, uint32_t tick, uint32_t panes)
{
	return (uint16_t)(tick - mark->tick) < panes;
}

/* had_transport: whether the present ones have transport columns behind them. */
static void marks_move(struct series *series, uint32_t capacity, bool had_transport)
{
	size_t size =
		sizeof(struct mark) + (series->keeps_transport ? sizeof(struct transport) : 0);
	struct mark *marks = memory_resize(NULL, capacity, size);
	struct transport *transports = (struct transport *)(marks + capacity);
	for (uint32_t i = 0; i < series->count; i++) {
		const struct mark *mark = mark_at(series, i);
		marks[i] = *mark;
		if (series->keeps_transport)
			transports[i] =
				had_transport ? *transport_of(series, mark) : series->transport;
	}
	memory_free(series->marks);
	series->marks = marks;
	series->first = 0;
	series->capacity = (uint16_t)capacity;
}

static void marks_grow(struct series *series)
{
	uint32_t capacity = series->capacity ? 2u * series->capacity : MARKS_FIRST;
	marks_move(series, capacity < series->panes_max ? capacity : series->panes_max,
		   series->keeps_transport);
}

void series_widen(struct series *series, uint32_t panes_max, bool connects, bool transport,
		  uint32_t tick)
{
	bool adds_transport = transport && !series->keeps_transport;
	assert(panes_max <= SERIES_PANES_MAX);
	if (series->panes_max == 0) {
		series_init(series, panes_max, connects, transport, tick);
		return;
	}
	series->keeps_connects |= connects;
	series->keeps_transport |= transport;
	if (adds_transport && series->capacity)
		marks_move(series, series->capacity, false);
	if (panes_max <= series->panes_max)
		return;
	series->panes_max = (uint16_t)panes_max;
	if (series->connect_high < series->connect_high_before)
		series->connect_high = series->connect_high_before;
	series->block_tick = (uint16_t)tick;
}

static void marks_expire(struct series *series, uint32_t tick)
{
	while (series->count && !mark_within(mark_at(series, 0), tick, series->panes_max)) {
		series->first = series->first + 1u < series->capacity ? series->first + 1 : 0;
		series->count--;
	}
}

static struct mark *mark_begin(struct series *series, uint32_t tick)
{
	/* Low bits of ticks tell ages apart only among marks that are not too old. */
	if (series_idle(series, tick))
		series->count = 0;
	marks_expire(series, tick);
	if (series->count == series->capacity)
		marks_grow(series);
	struct mark *mark = mark_at(series, series->count++);
	*mark = (struct mark){
		.before = series->totals, .event_age_ns = UINT32_MAX, .tick = (uint16_t)tick};
	if (series->keeps_transport)
		*transport_of(series, mark) = series->transport;
	return mark;
}

/* --- a row --- */

static uint64_t natural(int64_t counter)
{
	return counter > 0 ? (uint64_t)counter : 0;
}

static uint32_t count32(int64_t counter)
{
	return counter <= 0 ? 0 : counter < COUNT_MAX ? (uint32_t)counter : COUNT_MAX;
}

static uint64_t count64(int64_t counter)
{
	return counter <= 0 ? 0 : (uint64_t)counter;
}

/* Each end's agent sees what that end sent again; where only one end has an agent, what it counted.
 */
static int64_t row_retransmits(const int64_t counters[COUNTERS])
{
	int64_t both = counters_both(counters[COUNTER_CLIENT_RETRANSMITS],
				     counters[COUNTER_SERVER_RETRANSMITS]);
	int64_t counted = counters[COUNTER_RETRANSMITS];
	return both > counted ? both : counted;
}

void transport_add(struct transport *transport, const int64_t counters[COUNTERS])
{
	transport->srtt_us += natural(counters[COUNTER_SRTT_US]);
	transport->srtt_count += count32(counters[COUNTER_SRTT_COUNT]);
	transport->resets += count32(counters[COUNTER_RESETS]);
	transport->retransmits += count32(row_retransmits(counters));
	transport->segments += count32(counters[COUNTER_TX_SEGMENTS]);
	transport->segments += count32(counters[COUNTER_RX_SEGMENTS]);
	if (counters[COUNTER_DNS_QUERIES] == 0)
		return;
	transport->dns_us += natural(counters[COUNTER_DNS_US]);
	transport->dns_queries += count32(counters[COUNTER_DNS_QUERIES]);
	transport->dns_failed += count32(rollup_dns_failed(counters));
	transport->dns_count += count32(counters[COUNTER_DNS_COUNT]);
}

void series_add_client(struct series *series)
{
	series->transport.clients_new++;
}

static void words_reserve(struct series *series, uint32_t more)
{
	uint32_t from = mark_at(series, 0)->before.words;
	uint32_t live = series->totals.words - from;
	if (live + more <= series->words_capacity)
		return;
	uint32_t capacity = series->words_capacity ? series->words_capacity : WORDS_FIRST;
	while (capacity < live + more)
		capacity *= 2;
	uint32_t *words = memory_resize(NULL, capacity, sizeof(*words));
	for (uint32_t at = from; at != series->totals.words; at++)
		words[at & (capacity - 1)] = series->words[at & (series->words_capacity - 1)];
	memory_free(series->words);
	series->words = words;
	series->words_capacity = capacity;
}

static void put_word(struct series *series, uint32_t word)
{
	series->words[series->totals.words++ & (series->words_capacity - 1)] = word;
}

static void block_turn(struct series *series, uint32_t tick)
{
	uint32_t age = (uint16_t)(tick - series->block_tick);
	if (age < series->panes_max)
		return;
	series->connect_high_before = age < 2u * series->panes_max ? series->connect_high : 0;
	series->connect_high = 0;
	series->block_tick = (uint16_t)tick;
}

static void add_connects(struct series *series, struct mark *mark, uint32_t tick,
			 const struct rollup *rollup)
{
	uint16_t high = rollup->connect[rollup->connect_cells - 1].index;
	words_reserve(series, 2 * rollup->connect_cells);
	for (uint32_t i = 0; i < rollup->connect_cells; i++) {
		const struct sketch_cell *cell = &rollup->connect[i];
		bool wide = cell->count > UINT16_MAX;
		put_word(series, (uint32_t)cell->index << 16 | (wide ? 0 : cell->count));
		if (wide)
			put_word(series, cell->count);
		series->totals.connects += count32(cell->count);
	}
	block_turn(series, tick);
	if (high > mark->connect_high)
		mark->connect_high = high;
	if (high > series->connect_high)
		series->connect_high = high;
}

static uint32_t event_age(uint64_t end_ns, uint64_t event_ns)
{
	if (event_ns >= end_ns)
		return 0;
	return end_ns - event_ns < UINT32_MAX ? (uint32_t)(end_ns - event_ns) : UINT32_MAX - 1;
}

void series_add(struct series *series, uint32_t tick, uint64_t end_ns, const struct rollup *rollup)
{
	const int64_t *counters = rollup->counters;
	struct totals *totals = &series->totals;
	if (series->panes_max == 0) {
		series->last = tick;
		return;
	}
	struct mark *mark = series->last == tick && series->count
				    ? mark_at(series, series->count - 1u)
				    : mark_begin(series, tick);
	series->last = tick;
	totals->bytes += natural(counters[COUNTER_TX_BYTES]) + natural(counters[COUNTER_RX_BYTES]);
	totals->failed += count32(counters[COUNTER_FAILED]);
	totals->opened += count32(counters[COUNTER_OPENED]);
	totals->received += count64(counters[COUNTER_AGENT_RECEIVED]);
	totals->issued += count64(counters[COUNTER_AGENT_ISSUED]);
	if (rollup->last_event_ns) {
		uint32_t age = event_age(end_ns, rollup->last_event_ns);
		mark->event_age_ns = age < mark->event_age_ns ? age : mark->event_age_ns;
	}
	if (series->keeps_transport)
		transport_add(&series->transport, counters);
	if (series->keeps_connects && rollup->connect_cells)
		add_connects(series, mark, tick, rollup);
}

/* --- windows --- */

/* The number of the window's first mark; count if it has none, or no marks any more: a series that
 * rested may be read for longer than it has been silent. At most one mark a pane: if all its panes
 * have rows it is found at once. */
static uint32_t window_first(const struct series *series, uint32_t tick, uint32_t panes)
{
	uint32_t high = series->count, low = high > panes ? high - panes : 0;
	if (!high || series_silent(series, tick) >= panes)
		return high;
	if (mark_within(mark_at(series, low), tick, panes))
		return low;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (mark_within(mark_at(series, middle), tick, panes))
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

const struct totals *series_before(const struct series *series, uint32_t tick, uint32_t panes)
{
	uint32_t first = window_first(series, tick, panes);
	return first < series->count ? &mark_at(series, first)->before : &series->totals;
}

const struct transport *series_transport_before(const struct series *series, uint32_t tick,
						uint32_t panes)
{
	uint32_t first = window_first(series, tick, panes);
	return series->keeps_transport && first < series->count
		       ? transport_of(series, mark_at(series, first))
		       : &series->transport;
}

void transport_sums(const struct transport *now, const struct transport *before,
		    struct window_sums *sums)
{
	sums->srtt_us = now->srtt_us - before->srtt_us;
	sums->srtt_count = now->srtt_count - before->srtt_count;
	sums->resets = now->resets - before->resets;
	sums->retransmits = now->retransmits - before->retransmits;
	sums->segments = now->segments - before->segments;
	sums->dns_us = now->dns_us - before->dns_us;
	sums->dns_queries = now->dns_queries - before->dns_queries;
	sums->dns_failed = now->dns_failed - before->dns_failed;
	sums->dns_count = now->dns_count - before->dns_count;
	sums->clients_new = now->clients_new - before->clients_new;
}

struct window_sums series_sums(const struct series *series, uint32_t tick, uint32_t panes)
{
	const struct totals *now = &series->totals, *before = series_before(series, tick, panes);
	struct window_sums sums = {
		.panes = panes,
		.bytes = now->bytes - before->bytes,
		.failed = now->failed - before->failed,
		.opened = now->opened - before->opened,
		.connects = now->connects - before->connects,
		.received = now->received - before->received,
		.issued = now->issued - before->issued,
	};
	if (series->keeps_transport)
		transport_sums(&series->transport, series_transport_before(series, tick, panes),
			       &sums);
	return sums;
}

/* The rank of quantile q among so many: as sketch_quantile's. */
static uint64_t rank_of(double q, uint64_t total)
{
	double rank = q * (double)total;
	uint64_t wanted = rank > 0 ? (uint64_t)rank : 0;
	return wanted + ((double)wanted < rank || wanted == 0);
}

/* Those of panes whose slowest is not beyond the index are surely not beyond it. */
bool series_connects_may_exceed(const struct series *series, uint32_t tick, uint32_t panes,
				double q, uint32_t index)
{
	uint64_t total = 0, slow = 0;
	uint32_t after = series->totals.connects, first = window_first(series, tick, panes);
	if (series_connect_bound(series) <= index)
		return false;
	for (uint32_t i = series->count; i > first; i--) {
		const struct mark *mark = mark_at(series, i - 1);
		uint32_t connects = after - mark->before.connects;
		after = mark->before.connects;
		total += connects;
		slow += mark->connect_high > index ? connects : 0;
	}
	return total && total - slow < rank_of(q, total);
}

uint64_t series_connect_quantile(const struct series *series, uint32_t tick, uint32_t panes,
				 double q, struct histogram *scratch)
{
	uint32_t mask = series->words_capacity - 1, low = SKETCH_INDEXES, high = 0;
	uint64_t total = 0, passed = 0, value = 0;
	for (uint32_t at = series_before(series, tick, panes)->words; at != series->totals.words;
	     at++) {
		uint32_t word = series->words[at & mask], index = word >> 16;
		uint32_t count = word & UINT16_MAX;
		if (count == 0)
			count = series->words[++at & mask];
		scratch->counts[index] += count;
		total += count;
		low = index < low ? index : low;
		high = index > high ? index : high;
	}
	if (total == 0)
		return 0;
	uint64_t wanted = rank_of(q, total);
	for (uint32_t index = low; index <= high; index++) {
		bool before = passed < wanted;
		passed += scratch->counts[index];
		if (before && passed >= wanted)
			value = sketch_value(index);
	}
	memset(&scratch->counts[low], 0, (high - low + 1) * sizeof(scratch->counts[0]));
	return value;
}

uint64_t series_last_event(const struct series *series, uint32_t tick, uint32_t panes,
			   uint64_t now_ns)
{
	uint64_t last_ns = 0;
	for (uint32_t i = window_first(series, tick, panes); i < series->count; i++) {
		const struct mark *mark = mark_at(series, i);
		uint64_t end_ns = now_ns - (uint16_t)(tick - mark->tick) * PANE_NS;
		if (mark->event_age_ns != UINT32_MAX && end_ns - mark->event_age_ns > last_ns)
			last_ns = end_ns - mark->event_age_ns;
	}
	return last_ns;
}
