#include "anomaly/metric.h"

#include <string.h>

#include "base/clock.h"

static double seconds_of(const struct window *window)
{
	return (double)window->panes / PANES_PER_S;
}

static struct measure known(double value)
{
	return (struct measure){.known = true, .value = value};
}

static struct measure ratio(double part, double whole)
{
	return whole > 0 ? known(part / whole) : (struct measure){0};
}

static struct measure read_failed(const struct window *window)
{
	return known((double)window->sums.failed);
}

static struct measure read_failure_ratio(const struct window *window)
{
	const struct window_sums *sums = &window->sums;
	return ratio((double)sums->failed, (double)(sums->opened + sums->failed));
}

static struct measure read_opened(const struct window *window)
{
	return known((double)window->sums.opened / seconds_of(window));
}

static struct measure read_resets(const struct window *window)
{
	return known((double)window->sums.resets);
}

static struct measure read_bytes(const struct window *window)
{
	return known((double)window->sums.bytes / seconds_of(window));
}

static struct measure read_retransmit_ratio(const struct window *window)
{
	return ratio((double)window->sums.retransmits, (double)window->sums.segments);
}

static struct measure read_rtt(const struct window *window)
{
	return ratio((double)window->sums.srtt_us / 1e6, (double)window->sums.srtt_count);
}

/* read is NULL where the sums do not suffice: the p95 of the connect sketches. */
static const struct {
	const char *name, *unit;
	bool counts;
	struct measure (*read)(const struct window *window);
} metrics[METRICS] = {
	[METRIC_CONNECTIONS_FAILED] = {"connections_failed", "connections", true, read_failed},
	[METRIC_FAILURE_RATIO] = {"failure_ratio", "ratio", false, read_failure_ratio},
	[METRIC_CONNECTIONS_OPENED] = {"connections_opened", "connections/s", true, read_opened},
	[METRIC_CONNECTIONS_RESET] = {"connections_reset", "connections", true, read_resets},
	[METRIC_BYTES] = {"bytes", "bytes/s", true, read_bytes},
	[METRIC_RETRANSMIT_RATIO] = {"retransmit_ratio", "ratio", false, read_retransmit_ratio},
	[METRIC_CONNECT_LATENCY] = {"connect_latency", "seconds", false, NULL},
	[METRIC_RTT] = {"rtt", "seconds", false, read_rtt},
};

const char *metric_name(uint32_t metric)
{
	return metric < METRICS ? metrics[metric].name : "unknown";
}

const char *metric_unit(uint32_t metric)
{
	return metric < METRICS ? metrics[metric].unit : "";
}

uint32_t metric_by_name(const char *name)
{
	uint32_t metric = 0;
	while (metric < METRICS && strcmp(metrics[metric].name, name) != 0)
		metric++;
	return metric;
}

bool metric_counts(uint32_t metric)
{
	return metrics[metric].counts;
}

bool metric_may_exceed(uint32_t metric, const struct window *window, double limit)
{
	if (metric != METRIC_CONNECT_LATENCY)
		return true;
	return window->sums.connects && (double)window_connect_bound(window) / 1e9 > limit;
}

struct measure metric_measure(uint32_t metric, const struct series *series,
			      const struct window *window, struct sketch *scratch)
{
	if (metrics[metric].read)
		return metrics[metric].read(window);
	if (window->sums.connects == 0)
		return (struct measure){0};
	return known((double)series_connect_quantile(series, window, 0.95, scratch) / 1e9);
}
