#include "anomaly/series.h"

#include <assert.h>
#include <stdlib.h>

#include "base/memory.h"

void series_init(struct series *series, const uint32_t *panes, uint32_t count, bool connects)
{
	*series = (struct series){.connects = connects, .windows_count = count};
	if (count == 0)
		return;
	series->windows = memory_zeroed(count, sizeof(*series->windows));
	for (uint32_t i = 0; i < count; i++) {
		assert(panes[i] > 0 && panes[i] <= SERIES_PANES_MAX);
		series->windows[i].panes = panes[i];
		/* One more than the longest window: what leaves it must still be there. */
		if (panes[i] >= series->ring_panes)
			series->ring_panes = panes[i] + 1;
	}
	series->ring = memory_zeroed(series->ring_panes, sizeof(*series->ring));
	series->silent_panes = series->ring_panes;
}

void series_done(struct series *series)
{
	for (uint32_t i = 0; i < series->ring_panes; i++)
		sketch_done(&series->ring[i].connect);
	free(series->ring);
	free(series->windows);
	*series = (struct series){0};
}

static uint64_t natural(int64_t counter)
{
	return counter > 0 ? (uint64_t)counter : 0;
}

/* A pane's count that does not fit 32 bits stops there: 17 thousand million a second. */
static void pane_count(uint32_t *sum, int64_t counter)
{
	uint64_t total = *sum + natural(counter);
	*sum = total < UINT32_MAX ? (uint32_t)total : UINT32_MAX;
}

/* Each end's agent sees what that end sent again; where only one end has an agent, what it counted.
 */
static int64_t row_retransmits(const int64_t counters[COUNTERS])
{
	int64_t both = counters[COUNTER_CLIENT_RETRANSMITS] + counters[COUNTER_SERVER_RETRANSMITS];
	int64_t counted = counters[COUNTER_RETRANSMITS];
	return both > counted ? both : counted;
}

void series_add(struct series *series, const struct rollup *rollup)
{
	series->touched = true;
	if (series->ring_panes == 0)
		return;
	struct pane_sums *pane = &series->ring[series->head];
	const int64_t *counters = rollup->counters;
	pane->bytes += natural(counters[COUNTER_TX_BYTES]) + natural(counters[COUNTER_RX_BYTES]);
	pane->srtt_us += natural(counters[COUNTER_SRTT_US]);
	pane_count(&pane->opened, counters[COUNTER_OPENED]);
	pane_count(&pane->failed, counters[COUNTER_FAILED]);
	pane_count(&pane->resets, counters[COUNTER_RESETS]);
	pane_count(&pane->retransmits, row_retransmits(counters));
	pane_count(&pane->segments, counters[COUNTER_TX_SEGMENTS]);
	pane_count(&pane->segments, counters[COUNTER_RX_SEGMENTS]);
	pane_count(&pane->srtt_count, counters[COUNTER_SRTT_COUNT]);
	pane_count(&pane->received, counters[COUNTER_AGENT_RECEIVED]);
	pane_count(&pane->issued, counters[COUNTER_AGENT_ISSUED]);
	if (rollup->last_event_ns > pane->last_event_ns)
		pane->last_event_ns = rollup->last_event_ns;
	if (!series->connects || rollup->connect_cells == 0)
		return;
	sketch_merge(&pane->connect, rollup->connect, rollup->connect_cells);
	pane_count(&pane->connects, (int64_t)sketch_total(rollup->connect, rollup->connect_cells));
	pane->connect_high = pane->connect.cells[pane->connect.count - 1].index;
}

static void window_enter(struct window *window, const struct pane_sums *pane)
{
	struct window_sums *sums = &window->sums;
	sums->bytes += pane->bytes;
	sums->srtt_us += pane->srtt_us;
	sums->opened += pane->opened;
	sums->failed += pane->failed;
	sums->resets += pane->resets;
	sums->retransmits += pane->retransmits;
	sums->segments += pane->segments;
	sums->srtt_count += pane->srtt_count;
	sums->received += pane->received;
	sums->issued += pane->issued;
	sums->connects += pane->connects;
	if (pane->connect_high > window->connect_high)
		window->connect_high = pane->connect_high;
}

static void window_leave(struct window *window, const struct pane_sums *pane)
{
	struct window_sums *sums = &window->sums;
	sums->bytes -= pane->bytes;
	sums->srtt_us -= pane->srtt_us;
	sums->opened -= pane->opened;
	sums->failed -= pane->failed;
	sums->resets -= pane->resets;
	sums->retransmits -= pane->retransmits;
	sums->segments -= pane->segments;
	sums->srtt_count -= pane->srtt_count;
	sums->received -= pane->received;
	sums->issued -= pane->issued;
	sums->connects -= pane->connects;
}

static void window_turn(struct window *window)
{
	if (window->block_panes++ < window->panes)
		return;
	window->block_panes = 1;
	window->connect_high_before = window->connect_high;
	window->connect_high = 0;
}

static void pane_clear(struct pane_sums *pane)
{
	struct sketch connect = pane->connect;
	sketch_clear(&connect); /* keeps the memory for the next time round */
	*pane = (struct pane_sums){.connect = connect};
}

/* The pane that was open `back` panes ago; 0 is the open one. */
static struct pane_sums *series_pane(const struct series *series, uint32_t back)
{
	uint32_t at = series->head + series->ring_panes - back;
	return &series->ring[at < series->ring_panes ? at : at - series->ring_panes];
}

void series_prefetch(const struct series *series)
{
	for (uint32_t i = 0; i < series->windows_count; i++)
		__builtin_prefetch(series_pane(series, series->windows[i].panes));
	if (series->ring_panes)
		__builtin_prefetch(series_pane(series, 0));
}

void series_close(struct series *series)
{
	if (series->touched)
		series->silent_panes = 0;
	else if (series->silent_panes < UINT32_MAX)
		series->silent_panes++;
	bool rows = series->touched;
	series->touched = false;
	/* The last pane with rows leaves the longest window when silent_panes = ring_panes - 1. */
	if (series->ring_panes == 0 || (!rows && series->silent_panes >= series->ring_panes))
		return;
	for (uint32_t i = 0; i < series->windows_count; i++) {
		struct window *window = &series->windows[i];
		window_turn(window);
		window_enter(window, series_pane(series, 0));
		window_leave(window, series_pane(series, window->panes));
	}
	series->head = series->head + 1 < series->ring_panes ? series->head + 1 : 0;
	pane_clear(&series->ring[series->head]);
}

/* After a close the newest closed pane is one behind the open one. */
uint64_t series_connect_quantile(const struct series *series, const struct window *window, double q,
				 struct sketch *scratch)
{
	sketch_clear(scratch);
	for (uint32_t back = 1; back <= window->panes; back++) {
		const struct sketch *connect = &series_pane(series, back)->connect;
		sketch_merge(scratch, connect->cells, connect->count);
	}
	return sketch_quantile(scratch->cells, scratch->count, q);
}

uint64_t window_connect_bound(const struct window *window)
{
	uint16_t high = window->connect_high > window->connect_high_before
				? window->connect_high
				: window->connect_high_before;
	return sketch_value(high);
}

uint64_t series_last_event(const struct series *series, const struct window *window)
{
	uint64_t last_ns = 0;
	for (uint32_t back = 1; back <= window->panes; back++) {
		const struct pane_sums *pane = series_pane(series, back);
		if (pane->last_event_ns > last_ns)
			last_ns = pane->last_event_ns;
	}
	return last_ns;
}
