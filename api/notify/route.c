#include "api/notify/route.h"

#include <stdint.h>
#include <string.h>

#include "anomaly/alert.h"
#include "base/glob.h"

const char *route_check(const char *pattern)
{
	if (!pattern[0] || strcmp(pattern, "!") == 0)
		return "an empty pattern matches nothing; * matches all";
	return strlen(pattern) > ROUTE_PATTERN_BYTES_MAX
		       ? "a pattern may have 255 bytes, as no name is longer"
		       : NULL;
}

static bool matches(const struct route_patterns *patterns, const char *text)
{
	bool wanted = false, wants = false;

	for (size_t i = 0; i < patterns->count; i++) {
		const char *pattern = patterns->items[i];
		bool excludes = pattern[0] == '!';

		wants |= !excludes;
		if (!glob_match(pattern + excludes, text))
			continue;
		if (excludes)
			return false;
		wanted = true;
	}
	return wanted || !wants;
}

static bool takes(const struct route *route, const char *monitor,
		  const struct alert_subject *subject)
{
	const char *slash = strchr(subject->server, '/');
	char namespace[ALERT_NAME_MAX] = "";

	if (slash)
		memcpy(namespace, subject->server, (size_t)(slash - subject->server));
	return matches(&route->fields[ROUTE_MONITOR], monitor) &&
	       matches(&route->fields[ROUTE_CLIENT], subject->client) &&
	       matches(&route->fields[ROUTE_SERVER], subject->server) &&
	       matches(&route->fields[ROUTE_NAMESPACE], namespace);
}

bool route_takes(const struct route *route, const struct alert *alert)
{
	bool taken = takes(route, alert->monitor, &alert->subject);

	for (uint32_t i = 0; i < alert->members_count && !taken && !route->cause_only; i++)
		taken = takes(route, alert->members[i].monitor, &alert->members[i].subject);
	return taken;
}
