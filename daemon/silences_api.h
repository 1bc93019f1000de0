/* GET, POST and DELETE /api/v1/silences, and gRPC millrace.v1.Silences: of which incidents nobody
 * is told for a while. What is asked for is written to millrace.silences (daemon/silences.h), and
 * the answer comes when it was read back from there, so what was answered is what whoever notifies
 * goes by.
 *
 * Who may write: daemon/permit.h. Bounded: silences_max that are active or pending, and those that
 * wait for the topic (daemon/waiting.h). The service loop's thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct alert;
struct server;
struct silence;
struct silences;
struct silences_api;

/* All lent for its life. */
struct silences_api_options {
	uv_loop_t *loop;
	struct silences *silences;
	uint32_t silences_max;
	const char *token; /* NULL: loopback only */
	/* The alerts that fire, as query_firing. */
	const struct alert *(*firing)(void *context, size_t *at);
	void *context;
};

struct silences_api *silences_api_new(const struct silences_api_options *options);
void silences_api_routes(struct silences_api *api, struct server *server);
/* What came out of the topic, and whether it stands. */
void silences_api_taken(struct silences_api *api, const struct silence *silence, bool stands);
/* After the server's close was begun, which ends what waits. The loop must run until its handles
 * are gone; free it then. */
void silences_api_close(struct silences_api *api);
void silences_api_free(struct silences_api *api);
