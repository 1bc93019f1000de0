/* A monitor: what people want to be told of, from the configuration or, by the API, from the log
 * (rules/record.h).
 *
 *   threshold   a metric over a trailing window is beyond a number
 *   burn_rate   a server uses up an error budget of its own (anomaly/burn.h)
 *   baseline    is none by itself: the built-in baselines of some edges tell more, less or nothing
 *   new_edge    an edge is there that was not there before, or that must not be
 *   absence     nothing passes any more
 *
 * Plain data, the same for all tasks. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
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

enum monitor_kind {
	MONITOR_THRESHOLD,
	MONITOR_BURN_RATE,
	MONITOR_BASELINE,
	MONITOR_NEW_EDGE,
	MONITOR_ABSENCE,
	MONITOR_KINDS,
};

enum {
	/* Bytes of all patterns of a filter with a NUL: of workloads, of what is shorter. */
	MONITOR_NAMES_MAX = 512,
	MONITOR_PARTS_MAX = 128,
	/* Warning of a baseline, error where most of it fails; only of MONITOR_BASELINE. */
	MONITOR_SEVERITY_OWN = ALERT_CRITICAL + 1,
};

#define MONITOR_WINDOW_NS     1000000000ull   /* also of kinds that have none */
#define MONITOR_CLEAR_NS      5000000000ull   /* by default */
#define MONITOR_EDGE_CLEAR_NS 300000000000ull /* of MONITOR_NEW_EDGE */
#define MONITOR_LEARN_NS      3600000000000ull
#define MONITOR_ABSENT_NS     300000000000ull

enum comparison { COMPARE_ABOVE, COMPARE_BELOW };

struct monitor {
	char name[ALERT_MONITOR_MAX];
	uint32_t kind;	     /* enum monitor_kind */
	uint32_t metric;     /* enum metric; METRICS: of a baseline all, of other kinds none */
	uint32_t comparison; /* enum comparison */
	double threshold;
	double clear;	    /* resolves when past this the other way; = threshold by default */
	uint64_t window_ns; /* trailing: 250 ms .. 60 s, whole panes; of parts whole 10 s */
	uint64_t clear_ns;  /* and quiet for this long */
	uint64_t minimum; /* connections (opened + failed) in the window below which it stays silent
			   */
	double objective; /* of a burn rate: share of the connections that are to succeed */
	double sensitivity; /* of a baseline: decades; 0: those of all */
	uint64_t absent_ns; /* of an absence: so long a silence */
	uint64_t learn_ns; /* of a new edge: what was there for so long is usual; 0: nothing ever is
			    */
	uint32_t severity; /* enum alert_severity; MONITOR_SEVERITY_OWN */
	bool per_server;   /* over all clients of a server workload and port; else per edge */
	bool silent;	   /* of a baseline: it tells nothing */
	uint8_t protocol;  /* 6, 17; 0: any */
	uint16_t port;	   /* 0: any */
	/* Patterns (base/patterns.h). A namespace is what stands before a name's first '/'. With
	 * per_server none are on clients' names: one sum serves all. */
	char client[MONITOR_NAMES_MAX], server[MONITOR_NAMES_MAX];
	char client_namespace[MONITOR_PARTS_MAX], server_namespace[MONITOR_PARTS_MAX];
	/* Parts of an edge: only what passes between these is measured. */
	char client_zone[MONITOR_PARTS_MAX], server_zone[MONITOR_PARTS_MAX];
	char client_version[MONITOR_PARTS_MAX], server_version[MONITOR_PARTS_MAX];
};

/* The filters by name, for those who read or tell all of them. */
struct monitor_filter {
	const char *name;
	size_t offset, size; /* in struct monitor */
};
enum { MONITOR_FILTERS = 8 };
extern const struct monitor_filter monitor_filters[MONITOR_FILTERS];

extern const char *const monitor_kind_names[]; /* by enum monitor_kind; NULL at the end */
extern const char *const metric_names[];       /* by enum metric; NULL at the end */
const char *metric_name(uint32_t metric);      /* connections_failed, failure_ratio, ... */
const char *metric_unit(uint32_t metric);
uint32_t metric_by_name(const char *name); /* METRICS if there is none */
/* The bounds and the sense that every monitor is held to, whoever wrote it. NULL, or what is wrong:
 * "threshold, clear: of a ratio they are 0 to 1". */
const char *monitor_check(const struct monitor *monitor);
/* Whether it may be about this edge; parts apart. */
bool monitor_matches(const struct monitor *monitor, const char *client, const char *server,
		     uint16_t port, uint8_t protocol);
/* Whether it is about parts of edges, and about this one: zone and version of one end. */
bool monitor_has_parts(const struct monitor *monitor);
bool monitor_matches_client(const struct monitor *monitor, const char *zone, const char *version);
bool monitor_matches_server(const struct monitor *monitor, const char *zone, const char *version);
enum { MONITOR_SILENT_S = 3600 }; /* so long it is known who fell silent */

/* So long before a moment lies what it goes by then, and who may have fallen silent. */
uint64_t monitor_back_ns(const struct monitor *monitor);
/* For so long it can say nothing, or not yet what is right, after a start that knows nothing. */
uint64_t monitor_blind_ns(const struct monitor *monitor);
/* Whether it is not about all clients. */
bool monitor_chooses_clients(const struct monitor *monitor);
