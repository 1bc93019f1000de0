/* What a value costs the detector, and its state: one JSON line. bench-detector [--json] [series]
 * [windows]. Many series, one value each a window of 10 s, judged window by window as the pipeline
 * does; each has a daily season that is open, noise and a spike now and then. The small tier's
 * figures stand beside. The best of three runs of each; instructions need perf_event_open (null
 * where it is not permitted). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "anomaly/detector.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "bench/drive/cost.h"

enum { RUNS = 3, WARM_WINDOWS = 4 * 24 * 6, WARM_S = 600, TIMED_S = 10, VALUES = 1 << 12 };

#define BEGIN_NS (1700000000LL * (int64_t)NS_PER_S)

struct bench {
	uint32_t series, windows;
	struct detector_plan plan;
	struct detector *full;
	struct detector_small *small;
	float noise[VALUES];
	int64_t time_ns;
	uint64_t fired;
};

static double value_of(const struct bench *bench, uint32_t series, int64_t window)
{
	float noise = bench->noise[hash_mix((uint64_t)series << 32 ^ (uint64_t)window) % VALUES];
	int64_t hour = bench->time_ns / (3600 * (int64_t)NS_PER_S) % 24;
	return (1000 + series % 100) *
	       (1 + 0.5 * (double)(hour < 12 ? hour : 24 - hour) / 12 + 0.1 * (double)noise);
}

static void make_noise(struct bench *bench)
{
	for (uint32_t i = 0; i < VALUES; i++) {
		float sum = 0;
		for (uint64_t j = 0; j < 8; j++)
			sum += (float)(hash_mix(i * 8 + j) % 1024) / 1024 - 0.5f;
		bench->noise[i] = i % 500 == 0 ? 20 : sum;
	}
}

static void full_window(struct bench *bench, const double *values)
{
	struct detector_window window = detector_window_at(&bench->plan, bench->time_ns);
	for (uint32_t i = 0; i < bench->series; i++) {
		float surprise =
			detector_step(&bench->plan, &bench->full[i], i, &window, values[i]);
		bench->fired += detector_alert(&bench->plan, &bench->full[i], surprise).fired;
	}
}

static void small_window(struct bench *bench, const double *values)
{
	struct detector_window window = detector_window_at(&bench->plan, bench->time_ns);
	for (uint32_t i = 0; i < bench->series; i++) {
		float surprise =
			detector_small_step(&bench->plan, &bench->small[i], i, &window, values[i]);
		bench->fired +=
			detector_small_alert(&bench->plan, &bench->small[i], surprise).fired;
	}
}

static struct cost run(struct bench *bench, uint32_t windows, int64_t step_s, double *values,
		       void (*judge)(struct bench *bench, const double *values))
{
	struct cost cost = {0};
	for (uint32_t window = 0; window < windows; window++) {
		bench->time_ns += step_s * (int64_t)NS_PER_S;
		for (uint32_t i = 0; i < bench->series; i++)
			values[i] = value_of(bench, i, bench->time_ns);
		struct cost before = cost_now();
		judge(bench, values);
		cost_add(&cost, cost_since(before));
	}
	return cost;
}

/* Four days at ten minutes, so that the season is open; then windows of ten seconds. */
static struct cost measure(struct bench *bench, double *values,
			   void (*judge)(struct bench *bench, const double *values))
{
	struct cost best = {.ns = UINT64_MAX};
	bench->time_ns = BEGIN_NS;
	run(bench, WARM_WINDOWS, WARM_S, values, judge);
	for (int i = 0; i < RUNS; i++) {
		struct cost cost = run(bench, bench->windows, TIMED_S, values, judge);
		if (cost.ns < best.ns)
			best = cost;
	}
	return best;
}

static void print_cost(const char *prefix, struct cost cost, double points)
{
	printf(",\"%sns_per_point\":%.1f,\"%sinstructions_per_point\":", prefix,
	       (double)cost.ns / points, prefix);
	if (cost_counts_instructions())
		printf("%.0f", (double)cost.instructions / points);
	else
		printf("null");
}

int main(int argc, char **argv)
{
	static struct bench bench;
	if (argc > 1 && strcmp(argv[1], "--json") == 0) {
		argc--;
		argv++;
	}
	bench.series = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 20000;
	bench.windows = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 20;
	if (bench.series == 0 || bench.windows == 0) {
		fprintf(stderr, "usage: bench-detector [--json] [series] [windows]\n");
		return 2;
	}
	make_noise(&bench);
	bench.full = memory_zeroed(bench.series, sizeof(*bench.full));
	bench.small = memory_zeroed(bench.series, sizeof(*bench.small));
	double *values = memory_zeroed(bench.series, sizeof(*values));
	detector_plan_init(&bench.plan, &detector_defaults, &detector_alert_defaults,
			   TIMED_S * NS_PER_S);
	struct cost full = measure(&bench, values, full_window);
	struct cost small = measure(&bench, values, small_window);
	double points = (double)bench.series * bench.windows;
	printf("{\"bench\":\"detector\",\"series\":%u,\"bytes_per_series\":%zu", bench.series,
	       sizeof(*bench.full));
	print_cost("", full, points);
	printf(",\"small_bytes_per_series\":%zu", sizeof(*bench.small));
	print_cost("small_", small, points);
	printf(",\"detections\":%" PRIu64 "}\n", bench.fired);
	memory_free(values);
	memory_free(bench.small);
	memory_free(bench.full);
	return 0;
}
