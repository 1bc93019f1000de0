/* A monitor: a rule over rollups. Threshold monitors come from the configuration and, by the API,
 * from the log (rules/record.h); the baseline monitors are built in and configured by sensitivity.
 * Plain data, the same for all tasks. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "anomaly/alert.h"

/* What can be measured over a trailing window of an edge (or of all edges of a server workload). */
enum metric {
	METRIC_CONNECTIONS_FAILED, /* attempts never established, count */
	METRIC_FAILURE_RATIO,	   /* failed / (opened + failed), 0..1 */
	METRIC_CONNECTIONS_OPENED, /* per second */
	METRIC_CONNECTIONS_RESET,  /* count */
	METRIC_BYTES,		   /* both ways, bytes per second */
	METRIC_RETRANSMIT_RATIO,   /* retransmitted / sent segments */
	METRIC_CONNECT_LATENCY,	   /* p95, seconds */
	METRIC_RTT,		   /* mean smoothed RTT, seconds */
	METRIC_DNS_FAILURE_RATIO,  /* lookups without a useful answer / lookups, 0..1 */
	METRIC_DNS_LATENCY,	   /* mean time to an answer, seconds */
	METRIC_CLIENTS_NEW,	   /* clients of a server not seen lately, count */
	METRICS,
};

enum { MONITORS_MAX = 512 }; /* in force at once */

enum comparison { COMPARE_ABOVE, COMPARE_BELOW };

struct monitor {
	char name[ALERT_MONITOR_MAX];
	uint32_t metric;     /* enum metric */
	uint32_t comparison; /* enum comparison */
	double threshold;
	double clear;	    /* resolves when past this the other way; = threshold by default */
	uint64_t window_ns; /* trailing: 250 ms .. 60 s, whole panes */
	uint64_t clear_ns;  /* and quiet for this long: 5 s by default */
	uint64_t minimum; /* connections (opened + failed) in the window below which it stays silent
			   */
	uint32_t severity; /* enum alert_severity */
	bool per_server;   /* over all clients of a server workload and port; else per edge */
	/* Glob patterns (* and ?) on workload names; empty matches all. With per_server the
	 * client's is empty: one sum serves all clients. */
	char client[ALERT_NAME_MAX], server[ALERT_NAME_MAX];
	uint16_t port; /* 0: any */
};

extern const char *const metric_names[];  /* by enum metric; NULL at the end */
const char *metric_name(uint32_t metric); /* connections_failed, failure_ratio, ... */
const char *metric_unit(uint32_t metric);
uint32_t metric_by_name(const char *name); /* METRICS if there is none */
/* The bounds and the sense that every monitor is held to, whoever wrote it. NULL, or what is wrong:
 * "threshold, clear: of a ratio they are 0 to 1". */
const char *monitor_check(const struct monitor *monitor);
bool monitor_matches(const struct monitor *monitor, const char *client, const char *server,
		     uint16_t port);
