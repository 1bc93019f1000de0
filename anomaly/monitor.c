#include "anomaly/monitor.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/glob.h"
#include "base/utf8.h"

enum { WINDOW_S_MAX = 60, CLEAR_S_MAX = 3600, MINIMUM_MAX = 1000000000 };

bool monitor_matches(const struct monitor *monitor, const char *client, const char *server,
		     uint16_t port)
{
	if (monitor->port != 0 && monitor->port != port)
		return false;
	if (monitor->server[0] && !glob_match(monitor->server, server))
		return false;
	return !monitor->client[0] || glob_match(monitor->client, client);
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

static const char *check_bounds(const struct monitor *monitor)
{
	if (!monitor->name[0] || !is_text(monitor->name))
		return "name: 1 to 63 bytes of UTF-8";
	if (is_reserved(monitor->name))
		return "name: millrace/, baseline/ and burn-rate/ begin those of Millrace's own";
	if (monitor->metric >= METRICS)
		return "metric: there is none of this name";
	if (!isfinite(monitor->threshold) || !isfinite(monitor->clear))
		return "threshold, clear: finite numbers";
	if (!within(monitor->window_ns, PANE_NS, WINDOW_S_MAX * NS_PER_S) ||
	    monitor->window_ns % PANE_NS)
		return "window: whole steps of 250ms, at most 60s";
	if (!within(monitor->clear_ns, PANE_NS, CLEAR_S_MAX * NS_PER_S))
		return "clear_after: 250ms to 1h";
	if (monitor->minimum > MINIMUM_MAX)
		return "minimum: at most 1000000000 connections";
	if (monitor->severity > ALERT_CRITICAL || monitor->comparison > COMPARE_BELOW)
		return "severity, comparison: there is none of this number";
	if (!is_text(monitor->client) || !is_text(monitor->server))
		return "client, server: UTF-8";
	return NULL;
}

static bool is_share(double value)
{
	return value >= 0 && value <= 1;
}

/* What could not be right whatever the traffic is. */
static const char *check_sense(const struct monitor *monitor)
{
	bool ratio = strcmp(metric_unit(monitor->metric), "ratio") == 0;
	bool below = monitor->comparison == COMPARE_BELOW;

	if (ratio && (!is_share(monitor->threshold) || !is_share(monitor->clear)))
		return "threshold, clear: of a ratio they are 0 to 1";
	if (below ? monitor->clear < monitor->threshold : monitor->clear > monitor->threshold)
		return "clear: on the threshold's quiet side: not higher with above, not lower "
		       "with below";
	if (monitor->metric == METRIC_CLIENTS_NEW && !monitor->per_server)
		return "per: clients_new is of a server: it needs per: server";
	if (monitor->per_server && monitor->client[0])
		return "client: not with per: server, which is over all clients";
	return NULL;
}

const char *monitor_check(const struct monitor *monitor)
{
	const char *why = check_bounds(monitor);

	return why ? why : check_sense(monitor);
}
