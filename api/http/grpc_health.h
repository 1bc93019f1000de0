/* grpc.health.v1.Health: Check and Watch over a small table of services; "" is the whole server.
 * At most HEALTH_SERVICES_MAX services and HEALTH_WATCHES_MAX watchers: one more gets
 * RESOURCE_EXHAUSTED. One thread. Source: grpc/doc/health-checking.md. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct site;
struct health_watch;

enum {
	HEALTH_SERVICES_MAX = 32,
	HEALTH_WATCHES_MAX = 256, /* a watcher a gRPC channel, some per client process */
	HEALTH_NAME_MAX = 128,
};

struct grpc_health {
	struct {
		char name[HEALTH_NAME_MAX + 1];
		bool serving;
	} services[HEALTH_SERVICES_MAX];
	size_t count;
	struct health_watch *watches;
	size_t watch_count;
};

void grpc_health_init(struct grpc_health *health, struct site *site);
void grpc_health_done(struct grpc_health *health);
/* Adds or changes a service and tells its watchers. False when it is new and the table is full. */
bool grpc_health_set(struct grpc_health *health, const char *name, bool serving);
/* The server is closing: every service, for good. Ends the watches after telling them. */
void grpc_health_stop(struct grpc_health *health);
