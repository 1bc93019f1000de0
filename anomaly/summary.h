/* The sentence of an alert, for people: what happened, where, how much against what, and the first
 * suspect. Made from the alert's other members and the window's sums. Pure. */
#pragma once

#include "anomaly/alert.h"
#include "anomaly/monitor.h"
#include "anomaly/series.h"

/* metric: enum metric. comparison: which side of alert->threshold is bad. */
void summary_write(struct alert *alert, uint32_t metric, uint32_t comparison,
		   const struct window_sums *sums);
