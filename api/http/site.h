/* What is served, apart from sockets: options, routes, health, counters and the time. One site is
 * shared by all sessions of a server; the server advances now_ms. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "api/http/grpc_health.h"
#include "api/http/route.h"
#include "api/http/server.h"

struct site {
	struct server_options options; /* defaults filled in */
	struct routes routes;
	struct grpc_health health;
	struct server_stats stats;
	uint64_t now_ms;
	uint64_t request_ids; /* the next X-Request-Id, from a random start */
	char date[32];	      /* the Date header; empty until the server knows the time */
};

/* Fills in the defaults and registers health and reflection. */
void site_init(struct site *site, const struct server_options *options, uint64_t request_ids);
void site_done(struct site *site);
