/* POST /api/v1/alerts/KEY/ack, and gRPC millrace.v1.Silences/Acknowledge: that somebody attends to
 * an incident that fires. As with silences it is written to millrace.silences (daemon/silences.h)
 * and answered when it was read back from there.
 *
 * Who may write: daemon/permit.h. Bounded: as many as are kept, and those that wait for the topic
 * (daemon/waiting.h). The service loop's thread. */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "millrace/v1/alerts.pb-c.h"

struct alert;
struct acknowledgement;
struct acknowledge_api;
struct server;
struct silences;

/* All lent for its life. */
struct acknowledge_api_options {
	uv_loop_t *loop;
	struct silences *silences;
	const char *token; /* NULL: loopback only */
	/* As query_alert_of. */
	const struct alert *(*find)(void *context, const char *key, bool *several);
	void *context;
};

/* As the API tells it; its texts are lent by the acknowledgement. */
void acknowledge_tell(const struct acknowledgement *one, Millrace__V1__Acknowledgement *message);

struct acknowledge_api *acknowledge_api_new(const struct acknowledge_api_options *options);
void acknowledge_api_routes(struct acknowledge_api *api, struct server *server);
/* What came out of the topic, and whether it stands. */
void acknowledge_api_taken(struct acknowledge_api *api, const struct acknowledgement *one,
			   bool stands);
/* After the server's close was begun, which ends what waits. The loop must run until its handles
 * are gone; free it then. */
void acknowledge_api_close(struct acknowledge_api *api);
void acknowledge_api_free(struct acknowledge_api *api);
