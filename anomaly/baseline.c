#include "anomaly/baseline.h"

/* Values stop here (10^12 units): sums and products below stay far from overflow. */
#define BASELINE_VALUE_MAX 1000000000000000000LL

/* Floors as reasoned: 250/1000 of the median at sensitivity 6 fires at 2.5 times the usual;
 * 125/1000 downward at a quarter of it. floor: in millionths. */
static const struct {
	uint32_t metric;
	const char *unit;
	uint32_t rise_per_mille, drop_per_mille; /* drop 0: a low value is never unusual */
	int64_t floor;
	bool counts;
} kinds[BASELINES] = {
	[BASELINE_FAILED] = {METRIC_CONNECTIONS_FAILED, "connections/s", 250, 0, 100000, true},
	/* 1 ms: what scheduling and interrupts alone do to a connect in one zone. */
	[BASELINE_CONNECT_LATENCY] = {METRIC_CONNECT_LATENCY, "seconds", 250, 0, 1000, false},
	/* 10 kB/s: below that a single response makes the difference. */
	[BASELINE_BYTES] = {METRIC_BYTES, "bytes/s", 250, 125, 10000 * 1000000LL, false},
};

uint32_t baseline_metric(uint32_t kind)
{
	return kinds[kind].metric;
}

uint32_t baseline_by_metric(uint32_t metric)
{
	uint32_t kind = 0;
	while (kind < BASELINES && kinds[kind].metric != metric)
		kind++;
	return kind;
}

const char *baseline_unit(uint32_t kind)
{
	return kinds[kind].unit;
}

static int64_t larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t within(int64_t value, int64_t bound)
{
	return value > bound ? bound : value < -bound ? -bound : value;
}

/* Mean of the first samples; then at most bound a sample. */
static void approach(int64_t *estimate, int64_t value, uint32_t samples, int64_t bound)
{
	int64_t distance = value - *estimate;
	*estimate += samples < BASELINE_MEAN ? distance / (int64_t)(samples + 1)
					     : within(distance, bound);
}

void baseline_learn(struct baseline *baseline, uint32_t kind, int64_t value, uint64_t window_ns,
		    bool slow)
{
	value = value < 0 ? 0 : value > BASELINE_VALUE_MAX ? BASELINE_VALUE_MAX : value;
	int64_t distance = value - baseline->median;
	int64_t deviation = baseline->samples == 0 ? 0 : distance < 0 ? -distance : distance;
	int64_t scale = larger(baseline->mad, baseline->median / 32);
	scale = larger(scale, kinds[kind].floor / 8);
	int64_t divisor = baseline->samples < 64 ? baseline->samples + 1 : 64;
	int64_t bound = larger(2 * scale / (slow ? 8 * divisor : divisor), 1);
	approach(&baseline->median, value, baseline->samples, bound);
	approach(&baseline->mad, deviation, baseline->samples, bound);
	if (baseline->samples < UINT32_MAX)
		baseline->samples++;
	baseline->window_ns = window_ns;
}

/* floor(sqrt(x)), by Newton's method from above. */
static uint64_t square_root(uint64_t x)
{
	if (x < 2)
		return x;
	uint64_t root = 1ULL << ((64 - (unsigned)__builtin_clzll(x)) / 2 + 1);
	for (;;) {
		uint64_t next = (root + x / root) / 2;
		if (next >= root)
			return root;
		root = next;
	}
}

/* The Poisson deviation of a count with this mean rate, plus one, as a rate; both in millionths. */
static int64_t count_scale(int64_t rate, uint32_t window_s)
{
	uint64_t expected = (uint64_t)rate / 1000 * window_s; /* thousandths of a connection */
	uint64_t deviation = square_root((expected + 1000) * 1000);
	return (int64_t)(deviation * 1000 / window_s);
}

static int64_t scaled(int64_t scale, double sensitivity)
{
	double amount = (double)scale * sensitivity;
	return amount < 4e18 ? (int64_t)amount : (int64_t)4e18;
}

struct baseline_limits baseline_limits(const struct baseline *baseline, uint32_t kind,
				       uint32_t window_s, double sensitivity)
{
	/* Thousandths, so that 10 s / 1 s gives 3.162. */
	int64_t widening = (int64_t)square_root(1000000ULL * BASELINE_WINDOW_S / window_s);
	int64_t noise = larger(baseline->mad / 1000 * widening, baseline->mad);
	if (kinds[kind].counts)
		noise = larger(noise, count_scale(baseline->median, window_s));
	noise = larger(noise, kinds[kind].floor);

	struct baseline_limits limits = {.low = INT64_MIN, .low_clear = INT64_MIN};
	int64_t rise = scaled(larger(noise, baseline->median / 1000 * kinds[kind].rise_per_mille),
			      sensitivity);
	limits.high = baseline->median + rise;
	limits.high_clear = baseline->median + rise / 2;
	if (kinds[kind].drop_per_mille == 0)
		return limits;
	int64_t drop = scaled(larger(noise, baseline->median / 1000 * kinds[kind].drop_per_mille),
			      sensitivity);
	limits.low = baseline->median - drop;
	limits.low_clear = baseline->median - drop / 2;
	return limits;
}
