#include "anomaly/metric.h"

#include <string.h>

#include "base/clock.h"

enum { CONNECT_INDEX_MAX = SKETCH_INDEXES - 1 };

static double seconds_of(const struct window_sums *sums)
{
	return (double)sums->panes / PANES_PER_S;
}

static struct measure known(double value)
{
	return (struct measure){.known = true, .value = value};
}

static struct measure ratio(double part, double whole)
{
	return whole > 0 ? known(part / whole) : (struct measure){0};
}

static struct measure read_failed(const struct window_sums *sums)
{
	return known((double)sums->failed);
}

static struct measure read_failure_ratio(const struct window_sums *sums)
{
	return ratio((double)sums->failed, (double)(sums->opened + sums->failed));
}

static struct measure read_opened(const struct window_sums *sums)
{
	return known((double)sums->opened / seconds_of(sums));
}

static struct measure read_resets(const struct window_sums *sums)
{
	return known((double)sums->resets);
}

static struct measure read_bytes(const struct window_sums *sums)
{
	return known((double)sums->bytes / seconds_of(sums));
}

static struct measure read_retransmit_ratio(const struct window_sums *sums)
{
	return ratio((double)sums->retransmits, (double)sums->segments);
}

static struct measure read_rtt(const struct window_sums *sums)
{
	return ratio((double)sums->srtt_us / 1e6, (double)sums->srtt_count);
}

static struct measure read_dns_failures(const struct window_sums *sums)
{
	return ratio((double)sums->dns_failed, (double)sums->dns_queries);
}

static struct measure read_dns_latency(const struct window_sums *sums)
{
	return ratio((double)sums->dns_us / 1e6, (double)sums->dns_count);
}

static struct measure read_clients_new(const struct window_sums *sums)
{
	return known((double)sums->clients_new);
}

const char *const metric_names[METRICS + 1] = {
	[METRIC_CONNECTIONS_FAILED] = "connections_failed",
	[METRIC_FAILURE_RATIO] = "failure_ratio",
	[METRIC_CONNECTIONS_OPENED] = "connections_opened",
	[METRIC_CONNECTIONS_RESET] = "connections_reset",
	[METRIC_BYTES] = "bytes",
	[METRIC_RETRANSMIT_RATIO] = "retransmit_ratio",
	[METRIC_CONNECT_LATENCY] = "connect_latency",
	[METRIC_RTT] = "rtt",
	[METRIC_DNS_FAILURE_RATIO] = "dns_failure_ratio",
	[METRIC_DNS_LATENCY] = "dns_latency",
	[METRIC_CLIENTS_NEW] = "clients_new",
};

/* read is NULL where the sums do not suffice: the p95 of the connect sketches. */
static const struct {
	const char *unit;
	struct measure (*read)(const struct window_sums *sums);
} metrics[METRICS] = {
	[METRIC_CONNECTIONS_FAILED] = {"connections", read_failed},
	[METRIC_FAILURE_RATIO] = {"ratio", read_failure_ratio},
	[METRIC_CONNECTIONS_OPENED] = {"connections/s", read_opened},
	[METRIC_CONNECTIONS_RESET] = {"connections", read_resets},
	[METRIC_BYTES] = {"bytes/s", read_bytes},
	[METRIC_RETRANSMIT_RATIO] = {"ratio", read_retransmit_ratio},
	[METRIC_CONNECT_LATENCY] = {"seconds", NULL},
	[METRIC_RTT] = {"seconds", read_rtt},
	[METRIC_DNS_FAILURE_RATIO] = {"ratio", read_dns_failures},
	[METRIC_DNS_LATENCY] = {"seconds", read_dns_latency},
	[METRIC_CLIENTS_NEW] = {"clients", read_clients_new},
};

const char *metric_name(uint32_t metric)
{
	return metric < METRICS ? metric_names[metric] : "unknown";
}

const char *metric_unit(uint32_t metric)
{
	return metric < METRICS ? metrics[metric].unit : "";
}

uint32_t metric_by_name(const char *name)
{
	uint32_t metric = 0;
	while (metric < METRICS && strcmp(metric_names[metric], name) != 0)
		metric++;
	return metric;
}

uint32_t metric_connect_index(double limit)
{
	uint32_t index = 0;
	if (limit * 1e9 >= (double)sketch_value(CONNECT_INDEX_MAX))
		return CONNECT_INDEX_MAX;
	if (limit > 0)
		index = sketch_index((uint64_t)(limit * 1e9));
	/* The middle of the limit's own bucket is on either side of it. */
	while (index < CONNECT_INDEX_MAX && (double)sketch_value(index + 1) / 1e9 <= limit)
		index++;
	while (index > 0 && (double)sketch_value(index) / 1e9 > limit)
		index--;
	return index;
}

struct measure metric_measure(uint32_t metric, const struct series *series, uint32_t tick,
			      const struct window_sums *sums, struct histogram *scratch)
{
	if (metrics[metric].read)
		return metrics[metric].read(sums);
	if (sums->connects == 0)
		return (struct measure){0};
	return known((double)series_connect_quantile(series, tick, sums->panes, 0.95, scratch) /
		     1e9);
}
