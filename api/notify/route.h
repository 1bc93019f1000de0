/* Which incidents a receiver is for: patterns over their episodes. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct alert;

enum route_field {
	ROUTE_MONITOR,
	ROUTE_CLIENT,
	ROUTE_SERVER,
	ROUTE_NAMESPACE, /* of the server: what stands before the / of its name */
	ROUTE_FIELDS,
};

enum { ROUTE_PATTERNS_MAX = 64, ROUTE_PATTERN_BYTES_MAX = 255 };

/* Each a glob (* and ?); what begins with ! excludes. Of several one is to match, and none that
 * excludes; of those that exclude alone none. None at all match everything. Lent. */
struct route_patterns {
	const char *const *items;
	size_t count;
};

/* All fields must match, of one episode. */
struct route {
	struct route_patterns fields[ROUTE_FIELDS];
	bool cause_only; /* the episode that names the incident; else any that it tells of */
};

/* NULL, or why no pattern: a few words. */
const char *route_check(const char *pattern);
bool route_takes(const struct route *route, const struct alert *alert);
