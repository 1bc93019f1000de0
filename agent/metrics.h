/* The agent's own figures as Prometheus text (exposition format 0.0.4). Plain data in, text out. */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "agent/bpf/event.h"
#include "agent/nat.h"
#include "agent/natwatch.h"
#include "agent/publisher.h"
#include "agent/recorder.h"
#include "agent/tracer.h"

struct metrics {
	uint64_t records, batch_bytes;
	uint64_t lost[MR_LOST_COUNTERS];
	uint64_t ring_bytes, ring_peak_bytes;
	uint64_t scans, scans_failed, scan_period_ms;
	struct nat_stats nat;
	struct natwatch_stats natwatch;
	double cpu_seconds;
	struct recorder_stats recorder;
	struct publisher_stats publisher;
	struct tracer_cost cost;
};

void metrics_write(const struct metrics *metrics, const char *node, FILE *file);
