/* The table of what can be measured over a window, and how. A metric without an observation has no
 * value: a ratio of nothing, the latency of no connection. A count or a rate always has one. Pure.
 */
#pragma once

#include <stdbool.h>

#include "anomaly/monitor.h"
#include "anomaly/series.h"

struct measure {
	bool known;
	double value;
};

/* scratch as for series_connect_quantile. */
struct measure metric_measure(uint32_t metric, const struct series *series,
			      const struct window *window, struct sketch *scratch);
/* False if the window's value cannot be above the limit, told without the full computation. */
bool metric_may_exceed(uint32_t metric, const struct window *window, double limit);
/* 0 in a window without traffic, not unknown. */
bool metric_counts(uint32_t metric);
