#include "anomaly/series.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "anomaly/metric.h"
#include "base/clock.h"
#include "base/hash.h"

enum { PANES = 600 };

struct truth {
	int64_t failed[PANES], bytes[PANES];
	uint64_t connect_ns[PANES]; /* 0: none */
};

/* Ticks wrap at 16 bits in the marks; pane 0 ends at PANE_NS. */
static void push(struct series *series, const struct truth *truth, int pane, uint32_t tick)
{
	struct sketch_cell cell = {.index = (uint16_t)sketch_index(truth->connect_ns[pane]),
				   .count = pane % 50 ? 1 : 70000};
	struct rollup rollup = {.connect = &cell, .connect_cells = truth->connect_ns[pane] != 0};
	rollup.counters[COUNTER_FAILED] = truth->failed[pane];
	rollup.counters[COUNTER_TX_BYTES] = truth->bytes[pane];
	rollup.counters[COUNTER_RESETS] = truth->failed[pane];
	rollup.last_event_ns = pane_end((uint64_t)pane) - 7;
	if (truth->failed[pane] || truth->bytes[pane] || truth->connect_ns[pane])
		series_add(series, tick, pane_end((uint64_t)pane), &rollup);
}

/* Everything that a window says, computed again from its panes. */
static void check(const struct series *series, const struct truth *truth, int pane, uint32_t tick,
		  uint32_t panes, uint64_t seed)
{
	static struct histogram scratch;
	uint64_t failed = 0, bytes = 0, connects = 0, slowest = 0, last = 0;
	int first = pane - (int)panes + 1;
	for (int i = first < 0 ? 0 : first; i <= pane; i++) {
		failed += (uint64_t)truth->failed[i];
		bytes += (uint64_t)truth->bytes[i];
		if (truth->connect_ns[i])
			connects += i % 50 ? 1 : 70000;
		if (truth->connect_ns[i] > slowest)
			slowest = truth->connect_ns[i];
		if (truth->failed[i] || truth->bytes[i] || truth->connect_ns[i])
			last = pane_end((uint64_t)i) - 7;
	}
	struct window_sums sums = series_sums(series, tick, panes);
	uint64_t found = series_connect_quantile(series, tick, panes, 1, &scratch);
	uint64_t middle = connects ? sketch_value(sketch_index(slowest)) : 0;
	uint32_t index = sketch_index(slowest);
	bool bounded = !connects || (series_connect_bound(series) >= index &&
				     series_connects_may_exceed(series, tick, panes, 1, index - 1));
	if (sums.failed != failed || sums.bytes != bytes || sums.connects != connects ||
	    sums.resets != failed || found != middle || !bounded ||
	    series_last_event(series, tick, panes, pane_end((uint64_t)pane)) != last)
		fail_msg("seed %lu pane %d window %u", (unsigned long)seed, pane, panes);
	/* A bound may say too much, never too little. */
	uint64_t p95 = series_connect_quantile(series, tick, panes, 0.95, &scratch);
	if (connects && !series_connects_may_exceed(series, tick, panes, 0.95, 2000) &&
	    p95 > sketch_value(2000))
		fail_msg("seed %lu pane %d window %u: a bound is wrong", (unsigned long)seed, pane,
			 panes);
}

static void windows_are_the_sums_of_their_panes(void **state)
{
	(void)state;
	static const uint32_t windows[] = {1, 4, 7, 40, SERIES_PANES_MAX};
	static struct truth truth;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct series series;
		uint32_t count = 1 + seed % 5, tick = (uint32_t)(UINT16_MAX - 200 * (seed % 4));
		series_init(&series, windows[count - 1], true, true, tick);
		for (int pane = 0; pane < PANES; pane++) {
			uint64_t word = hash_mix(seed << 32 | (uint64_t)pane);
			/* Long silences too: the ring rests and must wake up clean. */
			bool silent = hash_mix(seed << 40 | (uint64_t)pane / 60) % 3 == 0;
			truth.failed[pane] = silent ? 0 : (int64_t)(word % 3);
			truth.bytes[pane] = silent ? 0 : (int64_t)(word >> 8 & 1023);
			truth.connect_ns[pane] = silent || word >> 62 ? 0 : 1 + (word >> 30);
			push(&series, &truth, pane, ++tick);
			for (uint32_t i = 0; i < count; i++)
				check(&series, &truth, pane, tick, windows[i], seed);
			if (series_idle(&series, tick))
				series_rest(&series);
		}
		series_done(&series);
	}
}

/* What it kept before is there, and longer windows are whole when they have been kept for so long.
 */
static void a_series_that_is_read_for_longer_keeps_what_it_had(void **state)
{
	(void)state;
	static const uint32_t windows[] = {1, 4, 7, 40, SERIES_PANES_MAX};
	static struct truth truth;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct series series;
		uint32_t count = 1 + seed % 4, tick = (uint32_t)(UINT16_MAX - 200 * (seed % 4));
		series_init(&series, windows[count - 1], true, true, tick);
		for (int pane = 0; pane < PANES; pane++) {
			uint64_t word = hash_mix(seed << 32 | (uint64_t)pane);
			bool silent = hash_mix(seed << 40 | (uint64_t)pane / 60) % 3 == 0;
			truth.failed[pane] = silent ? 0 : (int64_t)(word % 3);
			truth.bytes[pane] = silent ? 0 : (int64_t)(word >> 8 & 1023);
			truth.connect_ns[pane] = silent || word >> 62 ? 0 : 1 + (word >> 30);
			if (pane == 200 || pane == 300) {
				count += pane == 200;
				series_widen(&series, windows[count - 1], true, true, tick);
			}
			push(&series, &truth, pane, ++tick);
			for (uint32_t i = 0; i < count; i++)
				if (pane < 200 || i + 1 < count || pane >= 200 + (int)windows[i])
					check(&series, &truth, pane, tick, windows[i], seed);
			if (series_idle(&series, tick))
				series_rest(&series);
		}
		series_done(&series);
	}
}

static void columns_that_were_not_kept_are_there_from_then_on(void **state)
{
	(void)state;
	struct series series;
	struct sketch_cell cell = {.index = 900, .count = 2};
	struct rollup rollup = {.connect = &cell, .connect_cells = 1};
	rollup.counters[COUNTER_RESETS] = 1;
	rollup.counters[COUNTER_FAILED] = 1;
	series_init(&series, 8, false, false, 0);
	for (uint32_t pane = 1; pane <= 6; pane++)
		series_add(&series, pane, pane * PANE_NS, &rollup);
	series_widen(&series, 8, true, true, 6);
	struct window_sums before = series_sums(&series, 6, 8);
	assert_int_equal(before.failed, 6);
	assert_int_equal(before.resets, 0);
	assert_int_equal(before.connects, 0);
	for (uint32_t pane = 7; pane <= 10; pane++)
		series_add(&series, pane, pane * PANE_NS, &rollup);
	struct window_sums after = series_sums(&series, 10, 8);
	assert_int_equal(after.failed, 8);
	assert_int_equal(after.resets, 4);
	assert_int_equal(after.connects, 8);
	assert_int_equal(series_sums(&series, 10, 2).resets, 2);
	series_done(&series);
}

static void what_nobody_read_begins_when_somebody_does(void **state)
{
	(void)state;
	struct series series;
	struct rollup rollup = {0};
	rollup.counters[COUNTER_FAILED] = 1;
	series_init(&series, 0, false, false, 0);
	series_add(&series, 1, PANE_NS, &rollup);
	series_widen(&series, 4, false, false, 1);
	assert_int_equal(series_sums(&series, 1, 4).failed, 0);
	series_add(&series, 2, 2 * PANE_NS, &rollup);
	assert_int_equal(series_sums(&series, 2, 4).failed, 1);
	series_done(&series);
}

/* It rested, and is then read for longer than it has been silent. */
static void a_series_that_rests_may_be_read_for_longer(void **state)
{
	(void)state;
	static struct histogram scratch;
	struct series series;
	struct rollup rollup = {.last_event_ns = PANE_NS};
	rollup.counters[COUNTER_FAILED] = 3;
	series_init(&series, 4, true, true, 0);
	series_add(&series, 1, PANE_NS, &rollup);
	series_rest(&series);
	series_widen(&series, 40, true, true, 8);
	assert_false(series_idle(&series, 8));
	struct window_sums sums = series_sums(&series, 8, 40);
	assert_int_equal(sums.failed, 0);
	assert_false(series_connects_may_exceed(&series, 8, 40, 0.5, 0));
	assert_int_equal(series_connect_quantile(&series, 8, 40, 0.5, &scratch), 0);
	assert_int_equal(series_last_event(&series, 8, 40, 8 * PANE_NS), 0);
	series_add(&series, 9, 9 * PANE_NS, &rollup);
	sums = series_sums(&series, 9, 40);
	assert_int_equal(sums.failed, 3);
	series_done(&series);
}

static void retransmits_are_those_of_both_ends_or_what_one_counted(void **state)
{
	(void)state;
	struct series series;
	struct rollup rollup = {0};
	series_init(&series, 4, false, true, 0);
	rollup.counters[COUNTER_CLIENT_RETRANSMITS] = 3;
	rollup.counters[COUNTER_SERVER_RETRANSMITS] = 4;
	rollup.counters[COUNTER_RETRANSMITS] = 3;
	rollup.counters[COUNTER_TX_SEGMENTS] = 60;
	rollup.counters[COUNTER_RX_SEGMENTS] = 10;
	series_add(&series, 1, PANE_NS, &rollup);
	struct window_sums sums = series_sums(&series, 1, 4);
	struct measure measure = metric_measure(METRIC_RETRANSMIT_RATIO, &series, 1, &sums, NULL);
	assert_true(measure.known);
	assert_true(measure.value == 0.1);
	series_done(&series);
}

/* 50,000 connections of a node that tells of each of them in each pane. */
static void a_busy_minute_is_as_complete_as_a_quiet_one(void **state)
{
	(void)state;
	const int64_t received = 50000LL * 50000;
	struct series series;
	struct rollup rollup = {0};
	series_init(&series, SERIES_PANES_MAX, false, false, 0);
	for (uint32_t pane = 1; pane <= 2 * SERIES_PANES_MAX; pane++) {
		rollup.counters[COUNTER_AGENT_RECEIVED] = received;
		rollup.counters[COUNTER_AGENT_ISSUED] = received + (pane % 4 ? 0 : received);
		series_add(&series, pane, pane * PANE_NS, &rollup);
	}
	struct window_sums sums = series_sums(&series, 2 * SERIES_PANES_MAX, SERIES_PANES_MAX);
	assert_int_equal(sums.received, SERIES_PANES_MAX * (uint64_t)received);
	assert_int_equal(sums.issued, SERIES_PANES_MAX * (uint64_t)received * 5 / 4);
	series_done(&series);
}

static void ratios_of_nothing_are_unknown_and_counts_are_zero(void **state)
{
	(void)state;
	struct series series;
	static struct histogram scratch;
	series_init(&series, 4, true, true, 0);
	struct window_sums sums = series_sums(&series, 0, 4);
	for (uint32_t metric = 0; metric < METRICS; metric++) {
		struct measure measure = metric_measure(metric, &series, 0, &sums, &scratch);
		bool gauge = metric == METRIC_FAILURE_RATIO || metric == METRIC_RETRANSMIT_RATIO ||
			     metric == METRIC_CONNECT_LATENCY || metric == METRIC_RTT ||
			     metric == METRIC_DNS_FAILURE_RATIO || metric == METRIC_DNS_LATENCY;
		assert_int_equal(measure.known, !gauge);
		assert_true(measure.value == 0);
		assert_int_equal(metric_by_name(metric_name(metric)), metric);
	}
	assert_int_equal(metric_by_name("nonsense"), METRICS);
	series_done(&series);
}

static void a_latency_limit_is_the_last_bucket_that_keeps_it(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 5000; seed++) {
		double limit = (double)(hash_mix(seed) >> (20 + seed % 40)) / 1e9;
		uint32_t index = metric_connect_index(limit);
		assert_true((double)sketch_value(index) / 1e9 <= limit);
		assert_true((double)sketch_value(index + 1) / 1e9 > limit);
	}
	assert_int_equal(metric_connect_index(1e300), SKETCH_INDEXES - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(windows_are_the_sums_of_their_panes),
		cmocka_unit_test(a_series_that_is_read_for_longer_keeps_what_it_had),
		cmocka_unit_test(columns_that_were_not_kept_are_there_from_then_on),
		cmocka_unit_test(what_nobody_read_begins_when_somebody_does),
		cmocka_unit_test(a_series_that_rests_may_be_read_for_longer),
		cmocka_unit_test(retransmits_are_those_of_both_ends_or_what_one_counted),
		cmocka_unit_test(a_busy_minute_is_as_complete_as_a_quiet_one),
		cmocka_unit_test(ratios_of_nothing_are_unknown_and_counts_are_zero),
		cmocka_unit_test(a_latency_limit_is_the_last_bucket_that_keeps_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
