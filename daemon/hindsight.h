/* The incidents of a replay, beside those that were told at the time: what a monitor would have
 * said, and how much of that people heard of anyway. Transitions in, JSON out; the same in gives
 * the same bytes.
 *
 * An incident counts if it was open within the range; one that was told overlaps it if both were
 * open at some moment and one of its episodes is at the same server. Bounds: incidents_max of the
 * replay (11 KB each) and told_max keys that were told before to_ns; more are counted. Pure; one
 * thread. */
#pragma once

#include <stdint.h>

#include "anomaly/alert.h"

struct hindsight;
struct json;

struct hindsight_options {
	uint64_t from_ns, to_ns; /* asked for */
	uint32_t incidents_max, told_max;
};

struct hindsight *hindsight_new(const struct hindsight_options *options);
void hindsight_free(struct hindsight *hindsight);

/* A transition of the replay: pane by pane, of each incident in order. */
void hindsight_found(struct hindsight *hindsight, const struct alert *alert);
/* One of millrace.alerts, in any order of incidents, each as often as one likes. */
void hindsight_told(struct hindsight *hindsight, const struct alert *alert);

/* No transition at or before end_ns is missing, and what is later does not count: the range ends
 * there, or at to_ns. from_ns: where it begins, at or behind the one that was asked for. */
void hindsight_finish(struct hindsight *hindsight, uint64_t from_ns, uint64_t end_ns);
/* Two members of an object that was begun: `incidents` and `summary`. */
void hindsight_json(const struct hindsight *hindsight, struct json *json);
