#include "anomaly/series.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "anomaly/metric.h"
#include "base/hash.h"

enum { PANES = 600 };

struct truth {
	int64_t failed[PANES], bytes[PANES];
	uint64_t connect_ns[PANES]; /* 0: none */
};

static void push(struct series *series, const struct truth *truth, int pane)
{
	struct sketch_cell cell = {.index = (uint16_t)sketch_index(truth->connect_ns[pane]),
				   .count = 1};
	struct rollup rollup = {.connect = &cell, .connect_cells = truth->connect_ns[pane] != 0};
	rollup.counters[COUNTER_FAILED] = truth->failed[pane];
	rollup.counters[COUNTER_TX_BYTES] = truth->bytes[pane];
	rollup.last_event_ns = (uint64_t)pane + 1;
	if (truth->failed[pane] || truth->bytes[pane] || truth->connect_ns[pane])
		series_add(series, &rollup);
}

/* Everything that a window says, computed again from its panes. */
static void check(const struct series *series, const struct truth *truth, int pane, uint64_t seed)
{
	struct sketch scratch = {0};
	for (uint32_t w = 0; w < series->windows_count; w++) {
		const struct window *window = &series->windows[w];
		uint64_t failed = 0, bytes = 0, connects = 0, slowest = 0, last = 0;
		int first = pane - (int)window->panes + 1;
		for (int i = first < 0 ? 0 : first; i <= pane; i++) {
			failed += (uint64_t)truth->failed[i];
			bytes += (uint64_t)truth->bytes[i];
			connects += truth->connect_ns[i] != 0;
			if (truth->connect_ns[i] > slowest)
				slowest = truth->connect_ns[i];
			if (truth->failed[i] || truth->bytes[i] || truth->connect_ns[i])
				last = (uint64_t)i + 1;
		}
		uint64_t found =
			connects ? series_connect_quantile(series, window, 1, &scratch) : 0;
		uint64_t middle = connects ? sketch_value(sketch_index(slowest)) : 0;
		if (window->sums.failed != failed || window->sums.bytes != bytes ||
		    window->sums.connects != connects || found != middle ||
		    (connects && window_connect_bound(window) < middle) ||
		    series_last_event(series, window) != last)
			fail_msg("seed %lu pane %d window %u", (unsigned long)seed, pane,
				 window->panes);
	}
	sketch_done(&scratch);
}

static void windows_are_the_sums_of_their_panes(void **state)
{
	(void)state;
	static const uint32_t windows[] = {1, 4, 7, 40, SERIES_PANES_MAX};
	static struct truth truth;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct series series;
		series_init(&series, windows, 1 + seed % 5, true);
		for (int pane = 0; pane < PANES; pane++) {
			uint64_t word = hash_mix(seed << 32 | (uint64_t)pane);
			/* Long silences too: the ring rests and must wake up clean. */
			bool silent = hash_mix(seed << 40 | (uint64_t)pane / 60) % 3 == 0;
			truth.failed[pane] = silent ? 0 : (int64_t)(word % 3);
			truth.bytes[pane] = silent ? 0 : (int64_t)(word >> 8 & 1023);
			truth.connect_ns[pane] = silent || word >> 62 ? 0 : 1 + (word >> 30);
			push(&series, &truth, pane);
			series_close(&series);
			check(&series, &truth, pane, seed);
		}
		series_done(&series);
	}
}

static void retransmits_are_those_of_both_ends_or_what_one_counted(void **state)
{
	(void)state;
	static const uint32_t windows[] = {4};
	struct series series;
	struct rollup rollup = {0};
	series_init(&series, windows, 1, false);
	rollup.counters[COUNTER_CLIENT_RETRANSMITS] = 3;
	rollup.counters[COUNTER_SERVER_RETRANSMITS] = 4;
	rollup.counters[COUNTER_RETRANSMITS] = 3;
	rollup.counters[COUNTER_TX_SEGMENTS] = 60;
	rollup.counters[COUNTER_RX_SEGMENTS] = 10;
	series_add(&series, &rollup);
	series_close(&series);
	struct measure measure =
		metric_measure(METRIC_RETRANSMIT_RATIO, &series, &series.windows[0], NULL);
	assert_true(measure.known);
	assert_true(measure.value == 0.1);
	series_done(&series);
}

static void ratios_of_nothing_are_unknown_and_counts_are_zero(void **state)
{
	(void)state;
	static const uint32_t windows[] = {4};
	struct series series;
	struct sketch scratch = {0};
	series_init(&series, windows, 1, true);
	for (uint32_t metric = 0; metric < METRICS; metric++) {
		struct measure measure =
			metric_measure(metric, &series, &series.windows[0], &scratch);
		bool gauge = metric == METRIC_FAILURE_RATIO || metric == METRIC_RETRANSMIT_RATIO ||
			     metric == METRIC_CONNECT_LATENCY || metric == METRIC_RTT;
		assert_int_equal(measure.known, !gauge);
		assert_true(measure.value == 0);
		assert_int_equal(metric_by_name(metric_name(metric)), metric);
	}
	assert_int_equal(metric_by_name("nonsense"), METRICS);
	sketch_done(&scratch);
	series_done(&series);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(windows_are_the_sums_of_their_panes),
		cmocka_unit_test(retransmits_are_those_of_both_ends_or_what_one_counted),
		cmocka_unit_test(ratios_of_nothing_are_unknown_and_counts_are_zero),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
