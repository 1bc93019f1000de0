/* POST /api/v1/receivers/test, and gRPC millrace.v1.Monitors/SendTest: somebody has a test
 * notification of a monitor sent through receivers and is told what they answered. It is of an edge
 * that the monitor looks at now if there is one, so that who would hear of it is by the receivers'
 * own patterns.
 *
 * Who may: daemon/permit.h. Bounded: RECEIVERS_API_PER_MINUTE requests, RECEIVERS_API_BURST at
 * once, and each receiver's own pace. The service loop's thread. */
#pragma once

#include <uv.h>

struct history;
struct monitors_api;
struct notifier;
struct server;
struct receivers_api;

enum { RECEIVERS_API_PER_MINUTE = 6, RECEIVERS_API_BURST = 3 };

/* All lent for its life. */
struct receivers_api_options {
	uv_loop_t *loop;
	struct history *history;
	const struct monitors_api *monitors;
	const char *token; /* NULL: loopback only */
	void *context;
	struct notifier *(*notifier)(void *context); /* as it is now */
};

struct receivers_api *receivers_api_new(const struct receivers_api_options *options);
void receivers_api_routes(struct receivers_api *api, struct server *server);
/* After the notifier was closed, which ends the tests that are under way. */
void receivers_api_free(struct receivers_api *api);
