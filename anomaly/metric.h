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

/* What the window of these sums, up to the pane `tick`, says. scratch as for
 * series_connect_quantile. */
struct measure metric_measure(uint32_t metric, const struct series *series, uint32_t tick,
			      const struct window_sums *sums, struct histogram *scratch);
/* Of METRIC_CONNECT_LATENCY: the highest sketch index whose value is not above the limit. */
uint32_t metric_connect_index(double limit);
