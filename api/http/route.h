/* The route table: method and path to handler, gRPC path to handler. Filled before listening, read
 * ever after; at most ROUTES_MAX entries, few enough to be scanned. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "api/http/buffer.h"
#include "api/http/server.h"

#define ROUTES_MAX 128 /* about 30 are used */

struct route {
	const char *method; /* "GRPC" for a gRPC method, which no HTTP method equals */
	const char *path;
	size_t prefix; /* length before the '*', 0 for an exact path */
	handler handler;
	void *context;
	bool each_message; /* gRPC: called for every message, as bidirectional streams need */
};

struct routes {
	struct route entries[ROUTES_MAX];
	size_t count;
};

int routes_add(struct routes *routes, const struct route *route);

/* The longest match, or NULL; HEAD falls back to GET. */
const struct route *routes_find(const struct routes *routes, const char *method, const char *path);
const struct route *routes_find_grpc(const struct routes *routes, const char *path);

/* Appends the methods that the path would take as an Allow header has them; false if there are
 * none. */
bool routes_allow(const struct routes *routes, const char *path, struct buffer *allow);
