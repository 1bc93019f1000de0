/* The agent's own figures as Prometheus text (exposition format 0.0.4). Plain data in, text out. */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "agent/bpf/event.h"
#include "agent/drops.h"
#include "agent/inspector.h"
#include "agent/losses.h"
#include "agent/nat.h"
#include "agent/natwatch.h"
#include "agent/publisher.h"
#include "agent/recorder.h"
#include "agent/self.h"
#include "agent/signer.h"
#include "agent/tracer.h"
#include "kafka/security.h"

struct metrics {
	uint64_t records, batch_bytes;
	uint64_t late_peak_ns;
	struct losses losses;
	uint64_t ring_bytes, ring_peak_bytes;
	uint64_t scans, scans_failed, scan_period_ms;
	struct nat_stats nat;
	struct natwatch_stats natwatch;
	struct drops_stats drops;
	double cpu_seconds;
	struct recorder_stats recorder;
	struct cgroups_stats cgroups;
	struct containers_stats containers;
	struct inspector_stats inspector;
	struct publisher_stats publisher;
	struct security_stats security;
	struct signer_stats signer;
	struct tracer_cost cost;
	struct self_stats self;
};

void metrics_write(const struct metrics *metrics, const char *node, FILE *file);
