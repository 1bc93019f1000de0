#include "anomaly/monitor.h"

#include <math.h>
#include <string.h>

#include "anomaly/baseline.h"
#include "anomaly/burn.h"
#include "base/clock.h"
#include "base/patterns.h"
#include "base/utf8.h"

enum {
	WINDOW_S_MAX = 60,
	PARTS_WINDOW_S = 10, /* rows of zones and versions come once in so long */
	CLEAR_S_MAX = 3600,
	MINIMUM_MAX = 1000000000,
	FOR_S_MIN = 10,
	FOR_S_MAX = 86400,
	LEARN_S_MAX = 30 * 86400,
	BURN_NAME_MAX = 60, /* its alerts' have /1h and the like behind */
};

#define OBJECTIVE_MIN	0.5
#define OBJECTIVE_MAX	0.99999
#define SENSITIVITY_MIN 3
#define SENSITIVITY_MAX 100

#define FILTER(member)                                                                           \
	{                                                                                        \
#member, offsetof(struct monitor, member), sizeof(((struct monitor *)0)->member) \
	}

const struct monitor_filter monitor_filters[MONITOR_FILTERS] = {
	FILTER(client),		  FILTER(server),	  FILTER(client_namespace),
	FILTER(server_namespace), FILTER(client_zone),	  FILTER(server_zone),
	FILTER(client_version),	  FILTER(server_version),
};

const char *const monitor_kind_names[MONITOR_KINDS + 1] = {
	[MONITOR_THRESHOLD] = "threshold", [MONITOR_BURN_RATE] = "burn_rate",
	[MONITOR_BASELINE] = "baseline",   [MONITOR_NEW_EDGE] = "new_edge",
	[MONITOR_ABSENCE] = "absence",
};

/* --- what it is about --- */

static bool matches_namespace(const char *patterns, const char *name)
{
	char namespace[ALERT_NAME_MAX];
	const char *slash = strchr(name, '/');
	size_t length = slash ? (size_t)(slash - name) : 0;

	if (!patterns[0])
		return true;
	if (length >= sizeof(namespace))
		return false;
	memcpy(namespace, name, length);
	namespace[length] = '\0';
	return patterns_match(patterns, namespace);
}

bool monitor_matches(const struct monitor *monitor, const char *client, const char *server,
		     uint16_t port, uint8_t protocol)
{
	if (monitor->port != 0 && monitor->port != port)
		return false;
	if (monitor->protocol != 0 && monitor->protocol != protocol)
		return false;
	return patterns_match(monitor->server, server) && patterns_match(monitor->client, client) &&
	       matches_namespace(monitor->server_namespace, server) &&
	       matches_namespace(monitor->client_namespace, client);
}

bool monitor_has_parts(const struct monitor *monitor)
{
	return monitor->client_zone[0] || monitor->server_zone[0] || monitor->client_version[0] ||
	       monitor->server_version[0];
}

bool monitor_matches_client(const struct monitor *monitor, const char *zone, const char *version)
{
	return patterns_match(monitor->client_zone, zone) &&
	       patterns_match(monitor->client_version, version);
}

bool monitor_matches_server(const struct monitor *monitor, const char *zone, const char *version)
{
	return patterns_match(monitor->server_zone, zone) &&
	       patterns_match(monitor->server_version, version);
}

bool monitor_chooses_clients(const struct monitor *monitor)
{
	return monitor->client[0] || monitor->client_namespace[0];
}

/* --- what it goes by --- */

uint64_t monitor_back_ns(const struct monitor *monitor)
{
	switch (monitor->kind) {
	case MONITOR_BURN_RATE:
		return burn_kept_ns();
	case MONITOR_NEW_EDGE:
		return monitor->learn_ns;
	case MONITOR_ABSENCE:
		return 2 * monitor->absent_ns + MONITOR_SILENT_S * NS_PER_S;
	case MONITOR_THRESHOLD:
		return monitor->window_ns +
		       (monitor->comparison == COMPARE_BELOW ? MONITOR_SILENT_S * NS_PER_S : 0);
	default:
		return 0;
	}
}

uint64_t monitor_blind_ns(const struct monitor *monitor)
{
	switch (monitor->kind) {
	case MONITOR_BURN_RATE:
		return burn_window_ns(0);
	case MONITOR_NEW_EDGE:
		return monitor->learn_ns;
	case MONITOR_ABSENCE:
		return 2 * monitor->absent_ns;
	default:
		return 0;
	}
}

/* --- which may be in force --- */

static bool is_text(const char *text)
{
	const uint8_t *at = (const uint8_t *)text, *end = at + strlen(text);

	for (size_t step; at < end; at += step) {
		if ((step = utf8_length(at, (size_t)(end - at))) == 0)
			return false;
	}
	return true;
}

/* Those of alerts that Millrace makes by itself. */
static bool is_reserved(const char *name)
{
	static const char *const beginnings[] = {"millrace/", "baseline/", "burn-rate/"};

	for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++)
		if (strncmp(name, beginnings[i], strlen(beginnings[i])) == 0)
			return true;
	return false;
}

static bool within(uint64_t value, uint64_t min, uint64_t max)
{
	return value >= min && value <= max;
}

/* In words that API and configuration have it in. */
static const char *check_filters(const struct monitor *monitor)
{
	if (monitor->protocol != 0 && monitor->protocol != 6 && monitor->protocol != 17)
		return "protocol: any, tcp or udp";
	for (size_t i = 0; i < MONITOR_FILTERS; i++) {
		const struct monitor_filter *filter = &monitor_filters[i];

		if (!is_text((const char *)monitor + filter->offset))
			return "client, server, their namespaces, zones and versions: UTF-8";
	}
	return NULL;
}

static const char *check_bounds(const struct monitor *monitor)
{
	if (!monitor->name[0] || !is_text(monitor->name))
		return "name: 1 to 63 bytes of UTF-8";
	if (is_reserved(monitor->name))
		return "name: millrace/, baseline/ and burn-rate/ begin those of Millrace's own";
	if (monitor->kind >= MONITOR_KINDS)
		return "kind: there is none of this name";
	if (monitor->metric > METRICS)
		return "metric: there is none of this name";
	if (!isfinite(monitor->threshold) || !isfinite(monitor->clear) ||
	    !isfinite(monitor->objective) || !isfinite(monitor->sensitivity))
		return "threshold, clear, objective, sensitivity: finite numbers";
	if (!within(monitor->window_ns, PANE_NS, WINDOW_S_MAX * NS_PER_S) ||
	    monitor->window_ns % PANE_NS)
		return "window: whole steps of 250ms, at most 60s";
	if (!within(monitor->clear_ns, PANE_NS, CLEAR_S_MAX * NS_PER_S))
		return "clear_after: 250ms to 1h";
	if (monitor->minimum > MINIMUM_MAX)
		return "minimum: at most 1000000000 connections";
	if (monitor->severity > MONITOR_SEVERITY_OWN || monitor->comparison > COMPARE_BELOW)
		return "severity, comparison: there is none of this number";
	return check_filters(monitor);
}

/* What is said to one kind, and no other has it. */
static const char *check_kind(const struct monitor *monitor)
{
	uint32_t kind = monitor->kind;

	if (kind != MONITOR_THRESHOLD &&
	    (monitor->comparison || monitor->threshold != 0 || monitor->clear != 0 ||
	     monitor->minimum || monitor->window_ns != MONITOR_WINDOW_NS))
		return "comparison, threshold, clear, window, minimum: only with kind: threshold";
	if (kind != MONITOR_THRESHOLD && kind != MONITOR_BASELINE && monitor->metric != METRICS)
		return "metric: only with kind: threshold or baseline";
	if (kind != MONITOR_BURN_RATE && monitor->objective != 0)
		return "objective: only with kind: burn_rate";
	if (kind != MONITOR_BASELINE && (monitor->sensitivity != 0 || monitor->silent))
		return "sensitivity, silent: only with kind: baseline";
	if (kind != MONITOR_BASELINE && monitor->severity == MONITOR_SEVERITY_OWN)
		return "severity: info, warning, error or critical";
	if (kind != MONITOR_ABSENCE && monitor->absent_ns)
		return "absent_for: only with kind: absence";
	if (kind != MONITOR_NEW_EDGE && monitor->learn_ns)
		return "learn: only with kind: new_edge";
	return NULL;
}

static bool is_share(double value)
{
	return value >= 0 && value <= 1;
}

/* What could not be right whatever the traffic is. */
static const char *check_threshold(const struct monitor *monitor)
{
	bool ratio = strcmp(metric_unit(monitor->metric), "ratio") == 0;
	bool below = monitor->comparison == COMPARE_BELOW;

	if (monitor->metric >= METRICS)
		return "metric: one is required by kind: threshold";
	if (monitor->threshold < 0)
		return "threshold: required by kind: threshold; 0 or more";
	if (ratio && (!is_share(monitor->threshold) || !is_share(monitor->clear)))
		return "threshold, clear: of a ratio they are 0 to 1";
	if (below ? monitor->clear < monitor->threshold : monitor->clear > monitor->threshold)
		return "clear: on the threshold's quiet side: not higher with above, not lower "
		       "with below";
	if (monitor->metric == METRIC_CLIENTS_NEW && !monitor->per_server)
		return "per: clients_new is of a server: it needs per: server";
	if (monitor_has_parts(monitor) && monitor->metric == METRIC_CLIENTS_NEW)
		return "metric: clients_new is not known of zones and versions";
	if (monitor_has_parts(monitor) && monitor->window_ns % (PARTS_WINDOW_S * NS_PER_S))
		return "window: with zones or versions whole steps of 10s, at most 60s";
	return NULL;
}

static const char *check_burn_rate(const struct monitor *monitor)
{
	if (strlen(monitor->name) > BURN_NAME_MAX)
		return "name: with kind: burn_rate at most 60 bytes";
	if (monitor->objective < OBJECTIVE_MIN || monitor->objective > OBJECTIVE_MAX)
		return "objective: required by kind: burn_rate; 0.5 to 0.99999";
	return monitor->per_server ? NULL : "per: burn rates are of a server";
}

static const char *check_baseline(const struct monitor *monitor)
{
	if (monitor->metric < METRICS && signal_by_metric(monitor->metric) == SIGNALS)
		return "metric: it has no baseline; see failure_ratio";
	if (monitor->metric == METRIC_CLIENTS_NEW && monitor_chooses_clients(monitor))
		return "client, client_namespace: clients_new is of a server, over all clients";
	if (monitor->sensitivity != 0 &&
	    (monitor->sensitivity < SENSITIVITY_MIN || monitor->sensitivity > SENSITIVITY_MAX))
		return "sensitivity: 3 to 100 decades; 0: as baselines.sensitivity";
	if (!monitor->silent && monitor->sensitivity == 0 &&
	    monitor->severity == MONITOR_SEVERITY_OWN)
		return "sensitivity, severity, silent: one of them is required by kind: baseline";
	if (monitor->per_server)
		return "per: not with kind: baseline, which is of edges and of their servers";
	if (monitor->clear_ns != MONITOR_CLEAR_NS)
		return "clear_after: not with kind: baseline";
	return monitor_has_parts(monitor)
		       ? "zones, versions: not with kind: baseline, which is of whole edges"
		       : NULL;
}

static const char *check_new_edge(const struct monitor *monitor)
{
	if (monitor->learn_ns > LEARN_S_MAX * NS_PER_S)
		return "learn: at most 30d";
	if (monitor->per_server)
		return "per: not with kind: new_edge, which is of edges";
	return monitor_has_parts(monitor)
		       ? "zones, versions: not with kind: new_edge, which is of whole edges"
		       : NULL;
}

static const char *check_absence(const struct monitor *monitor)
{
	bool fits = within(monitor->absent_ns, FOR_S_MIN * NS_PER_S, FOR_S_MAX * NS_PER_S);

	return fits && monitor->absent_ns % PANE_NS == 0
		       ? NULL
		       : "absent_for: 10s to 24h, whole steps of 250ms";
}

const char *monitor_check(const struct monitor *monitor)
{
	static const char *(*const checks[MONITOR_KINDS])(const struct monitor *monitor) = {
		[MONITOR_THRESHOLD] = check_threshold, [MONITOR_BURN_RATE] = check_burn_rate,
		[MONITOR_BASELINE] = check_baseline,   [MONITOR_NEW_EDGE] = check_new_edge,
		[MONITOR_ABSENCE] = check_absence,
	};
	const char *why = check_bounds(monitor);

	why = why ? why : check_kind(monitor);
	why = why ? why : checks[monitor->kind](monitor);
	if (!why && monitor->per_server && monitor_chooses_clients(monitor))
		why = "client, client_namespace: not where it is over all clients of a server";
	return why;
}
