/* What is usual on an edge: a running median and median absolute deviation of one metric's 10 s
 * windows, and how far from it a trailing window may be. Integers throughout, in millionths of the
 * metric's unit, and the record below is the whole state: saved, loaded or moved to another machine
 * it gives the same answers.
 *
 * Estimation: the first BASELINE_MEAN samples are averaged; afterwards median and MAD move towards
 * each sample, at most by 2 scales / min(samples, 64): far values count by their side, not by their
 * size (stochastic approximation of the quantile 1/2). A step in level is learned in about half an
 * hour.
 *
 * Judgement: a window fires beyond median +- sensitivity * scale, where scale is the largest of
 *   the MAD, times sqrt(10 s / window) for shorter windows (their noise is larger),
 *   a share of the median and an absolute amount (a quiet edge has MAD 0),
 *   for counts, sqrt(expected + 1): with the default sensitivity six Poisson deviations, so 7
 * failures where there are none, and by chance alone less than once in 10^8 windows; and is quiet
 * again within half of that. One window suffices, as trailing windows overlap and a second pane
 * would repeat the same evidence 250 ms later. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "anomaly/monitor.h"

enum {
	BASELINE_MEAN = 8,
	BASELINE_WINDOW_S = 10,
	/* A p95 of fewer connects is the slowest one's time: one lost SYN must not fire. */
	BASELINE_CONNECTS_MIN = 20,
};

struct baseline {
	uint32_t samples;
	uint64_t window_ns; /* end of the newest window in it */
	int64_t median, mad;
};

enum { BASELINE_FAILED, BASELINE_CONNECT_LATENCY, BASELINE_BYTES, BASELINES };

/* The metric of each. */
uint32_t baseline_metric(uint32_t kind);
uint32_t baseline_by_metric(uint32_t metric); /* BASELINES if there is none */
/* Of the values, where it differs from the metric's: failures are a rate here. */
const char *baseline_unit(uint32_t kind);

/* slow: learn at an eighth of the pace, in an incident. */
void baseline_learn(struct baseline *baseline, uint32_t kind, int64_t value, uint64_t window_ns,
		    bool slow);

/* Where a window of so many seconds (1..10) leaves the usual. low is INT64_MIN if the metric has no
 * usual least value. */
struct baseline_limits {
	int64_t high, high_clear, low, low_clear;
};
struct baseline_limits baseline_limits(const struct baseline *baseline, uint32_t kind,
				       uint32_t window_s, double sensitivity);
