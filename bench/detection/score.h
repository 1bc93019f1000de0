/* Incidents against faults, and figures of many towns. Verbose, each that is of no fault is printed
 * with what went on at its place when it began, and each fault that was missed with the episodes
 * that it made and the incidents that were open there. Plain data with a table of incidents; one
 * thread, but figures may lie in memory that processes share. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "anomaly/alert.h"
#include "anomaly/monitor.h"
#include "bench/detection/fault.h"
#include "bench/detection/traffic.h"

enum {
	/* An incident that begins later after a fault did not find it; one that begins so long
	   after its end is of its end. */
	SCORE_FOUND_S = 120,
	SCORE_AFTER_S = 60,
	/* As an incident is told then, it is judged whether it names the place. */
	SCORE_SETTLE_S = 60,
	SCORE_TIMES_MAX = 128, /* of a kind and strength */
};

struct figures_fault {
	uint32_t faults, found, named, named_at_once, incidents;
	uint32_t said, said_rightly; /* of the faults found: what is likely wrong */
	uint32_t times_count;
	float times_s[SCORE_TIMES_MAX];
};

struct figures {
	struct figures_fault faults[FAULT_KINDS][STRENGTHS];
	uint32_t opened, of_faults; /* incidents beside faults, and those that were of one */
	uint32_t false_week;	    /* of weeks without faults */
	uint32_t budgets; /* of neither: error budgets that were used up, and nothing besides */
	uint32_t false_metrics[METRICS + 1]; /* of both, by what was measured */
	double series_days, hours;
	uint64_t stage_ns, stage_rows; /* of those panes that were measured */
	uint64_t heap_bytes, series;   /* in weeks, at their ends */
};

struct score;

struct score *score_new(const struct traffic *traffic, struct figures *figures, bool verbose);
void score_free(struct score *score);
/* Transitions of incidents in the pane at hand. */
void score_push(struct score *score, const struct alert *alerts, size_t count, uint64_t pane);
/* Of the owners, in the pane at hand: for what is printed alone. */
void score_episodes(struct score *score, const struct alert *alerts, size_t count, uint64_t pane);
/* When what came of a fault is over; what began before it counts as false. fault NULL: of none. */
void score_fault(struct score *score, const struct fault *fault);
/* What began since: of no fault. */
void score_week(struct score *score);
void figures_add(struct figures *sum, const struct figures *more);
void figures_print(struct figures *figures, bool json, double seconds);
