#include "anomaly/monitor.h"

#include <stddef.h>

/* Iterative, with one point of return: a pattern of many stars stays linear times the name. */
static bool glob_matches(const char *pattern, const char *name)
{
	const char *star = NULL, *resume = NULL;
	while (*name) {
		if (*pattern == '*') {
			star = pattern++;
			resume = name;
		} else if (*pattern == '?' || *pattern == *name) {
			pattern++;
			name++;
		} else if (star) {
			pattern = star + 1;
			name = ++resume;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

bool monitor_matches(const struct monitor *monitor, const char *client, const char *server,
		     uint16_t port)
{
	if (monitor->port != 0 && monitor->port != port)
		return false;
	if (monitor->server[0] && !glob_matches(monitor->server, server))
		return false;
	return monitor->per_server || !monitor->client[0] || glob_matches(monitor->client, client);
}
