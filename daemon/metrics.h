/* /metrics in Prometheus' text format: all counters that the stages keep, summed over tasks where
 * one would not ask for a task. Base units, HELP and TYPE for each. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/history/history.h"
#include "api/http/server.h"
#include "api/notify/notify.h"
#include "daemon/histogram.h"
#include "daemon/outputs.h"
#include "daemon/task.h"

struct metrics {
	const struct task_stats *tasks;
	uint32_t tasks_count;
	struct history_stats history;
	uint64_t history_left_out;
	struct server_stats server;
	struct outputs_stats outputs;
	const struct notify_receiver_stats *receivers;
	size_t receivers_count;
	const struct histogram *event_to_webhook, *event_to_rollup;
	uint64_t agents;
	bool ready;
	uint64_t now_ns;
	uint64_t started_ns;
};

/* The text; the caller frees it. */
char *metrics_text(const struct metrics *metrics, size_t *length);
