#include "anomaly/monitor.h"

#include "base/glob.h"

bool monitor_matches(const struct monitor *monitor, const char *client, const char *server,
		     uint16_t port)
{
	if (monitor->port != 0 && monitor->port != port)
		return false;
	if (monitor->server[0] && !glob_match(monitor->server, server))
		return false;
	return monitor->per_server || !monitor->client[0] || glob_match(monitor->client, client);
}
