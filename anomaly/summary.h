/* The sentence of an alert, for people: what happened, where, how much against what; and of an
 * incident also how long it lasted, its first suspect, how many edges it touches and what was
 * changed before it. Pure. */
#pragma once

#include "anomaly/alert.h"
#include "anomaly/monitor.h"
#include "anomaly/series.h"

/* Of an episode, from the alert's other members and the window's sums. metric: enum metric.
 * comparison: which side of alert->threshold is bad. */
void summary_write(struct alert *alert, uint32_t metric, uint32_t comparison,
		   const struct window_sums *sums);
/* Of one of MONITOR_NEW_EDGE or MONITOR_ABSENCE, whose value and threshold are seconds. */
void summary_write_edge(struct alert *alert, uint32_t kind);
/* Of an episode that ends because no monitor in force asks for it: what was told of it last. */
void summary_write_unasked(struct alert *alert);
/* Of an incident: round the sentence of its cause, which stands in the alert. */
void summary_tell(struct alert *alert, uint32_t edges);
