/* POST, GET and DELETE /api/v1/agents/control: what agents are told to do differently for a while.
 * A record is signed, written to millrace.control, and read back from there: the answer comes when
 * the log has it, so what was answered is what agents see. The records that stand are those of the
 * topic, whoever wrote them.
 *
 * Who may write: daemon/permit.h.
 *
 * Bounded: CONTROL_API_RECORDS_MAX that stand, and those that wait for the log (daemon/waiting.h).
 * The service loop's thread. */
#pragma once

#include <stdint.h>
#include <uv.h>

#include "config/config.h"
#include "millrace/v1/query.pb-c.h"

struct keyring;
struct outputs;
struct security;
struct server;
struct control_api;
struct control_settings;

enum { CONTROL_API_RECORDS_MAX = 256 };

/* All lent for its life. */
struct control_api_options {
	uv_loop_t *loop;
	const char *brokers;
	struct security *security;
	struct outputs *outputs;
	const struct keyring
		*keyring;  /* the first of its keys signs; none: records are not signed */
	const char *token; /* NULL: loopback only */
	void (*trouble)(void *context, const char *sentence);
	void *context;
};

struct control_api *control_api_new(const struct control_api_options *options);
void control_api_routes(struct control_api *api, struct server *server);
/* Begins to read the topic, which need not be there yet, or again where there was no room for it;
 * until it was read, requests get 503. */
void control_api_start(struct control_api *api);
/* After the server's close was begun, which ends what waits. The loop must run until its handles
 * are gone; free it then. */
void control_api_close(struct control_api *api);
void control_api_free(struct control_api *api);

/* For the pipeline's own needs, to all agents: a record of this id with these settings for so long,
 * or withdrawn, signed and written at once. */
void control_api_tell(struct control_api *api, const char *id,
		      const struct control_settings *settings, uint64_t life_ns, bool withdrawn);

/* The id of the record that this agent should apply, "" for none; lent until a record comes. NULL:
 * the topic was not read to its end yet. */
const char *control_api_wanted(struct control_api *api, const Millrace__V1__Agent *agent);
