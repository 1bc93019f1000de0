/* /metrics in Prometheus' text format: all counters that the stages keep, summed over tasks where
 * one would not ask for a task. Base units, HELP and TYPE for each. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/history/history.h"
#include "api/http/server.h"
#include "api/query/query.h"
#include "daemon/histogram.h"
#include "daemon/herald.h"
#include "daemon/instances.h"
#include "daemon/outputs.h"
#include "daemon/keyring.h"
#include "daemon/snapshot.h"
#include "daemon/notifier.h"
#include "daemon/relay.h"
#include "daemon/silences.h"
#include "daemon/watcher.h"
#include "daemon/task.h"
#include "daemon/watchdog.h"
#include "ingest/kafka.h"
#include "kafka/security.h"

struct metrics {
	const struct task_stats *tasks;
	uint32_t tasks_count, owned;
	uint64_t clock_ns; /* of the slowest of those that are owned; 0: it has none */
	struct instances_stats instances; /* all 0 of a process that is alone */
	struct history_stats history;
	uint64_t history_left_out;
	uint64_t differing;
	struct server_stats server;
	struct outputs_stats outputs;
	struct security_stats security;
	struct keyring_stats keyring;
	struct snapshots_stats snapshots;
	struct consumer_stats consumer;
	struct watchdog_stats watchdog;
	uint32_t shed;
	uint64_t descriptors_exhausted; /* seconds */
	size_t passed_over;		/* records that ended the process */
	const struct notifier_stats *notifier;
	struct relay_stats relay;
	struct silences_stats silences;
	struct herald_stats herald;
	struct chronicle_stats chronicle;
	const struct watcher_stats *watcher;
	const struct histogram *event_to_rollup;
	struct agents_stats agents;
	bool ready;
	uint64_t now_ns;
	uint64_t started_ns;
};

/* The text; the caller frees it. */
char *metrics_text(const struct metrics *metrics, size_t *length);
