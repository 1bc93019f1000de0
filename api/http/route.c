#include "api/http/route.h"

#include <errno.h>
#include <string.h>

int routes_add(struct routes *routes, const struct route *route)
{
	if (routes->count == ROUTES_MAX)
		return -ENOSPC;
	size_t length = strlen(route->path);
	struct route *entry = &routes->entries[routes->count++];
	*entry = *route;
	entry->prefix = length > 1 && route->path[length - 1] == '*' ? length - 1 : 0;
	return 0;
}

static bool route_takes(const struct route *route, const char *path)
{
	if (!strcmp(route->method, "GRPC"))
		return false;
	if (route->prefix)
		return !strncmp(route->path, path, route->prefix);
	return !strcmp(route->path, path);
}

/* An exact path beats every prefix; among prefixes the longest wins. */
static size_t route_rank(const struct route *route)
{
	return route->prefix ? route->prefix : SIZE_MAX;
}

static const struct route *find_method(const struct routes *routes, const char *method,
				       const char *path)
{
	const struct route *best = NULL;
	for (size_t i = 0; i < routes->count; i++) {
		const struct route *route = &routes->entries[i];
		if (strcmp(route->method, method) || !route_takes(route, path))
			continue;
		if (!best || route_rank(route) > route_rank(best))
			best = route;
	}
	return best;
}

const struct route *routes_find(const struct routes *routes, const char *method, const char *path)
{
	const struct route *route = find_method(routes, method, path);
	if (!route && !strcmp(method, "HEAD"))
		route = find_method(routes, "GET", path);
	return route;
}

const struct route *routes_find_grpc(const struct routes *routes, const char *path)
{
	for (size_t i = 0; i < routes->count; i++) {
		const struct route *route = &routes->entries[i];
		if (!strcmp(route->method, "GRPC") && !strcmp(route->path, path))
			return route;
	}
	return NULL;
}

bool routes_allow(const struct routes *routes, const char *path, struct buffer *allow)
{
	static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};
	bool any = false;
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		if (!routes_find(routes, methods[i], path))
			continue;
		buffer_text(allow, any ? ", " : "");
		buffer_text(allow, methods[i]);
		any = true;
	}
	if (any)
		buffer_text(allow, ", OPTIONS");
	return any;
}
