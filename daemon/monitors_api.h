/* GET, POST, PUT and DELETE /api/v1/monitors, and gRPC millrace.v1.Monitors: the monitors that are
 * in force, those of the configuration, which stay as they are, and those that people put there.
 * One of these is a rule (rules/record.h): it is signed, written to millrace.rules, and read back
 * from there by the relay (daemon/relay.h); the answer comes when the topic has it, so what was
 * answered is what the relay puts into the log of events. What a monitor is written in is the
 * configuration's own language, read by its own table, so the two cannot disagree.
 *
 * Who may write: daemon/permit.h. Bounded: MONITORS_API_MAX rules that stand,
 * MONITOR_TEXT_MAX in one request, and those that wait for the topic (daemon/waiting.h). The
 * service loop's thread. */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "anomaly/monitor.h"

struct history;
struct keyring;
struct outputs;
struct rule;
struct server;
struct monitors_api;

enum {
	MONITORS_API_MAX = MONITORS_MAX / 2, /* as many as the configuration may have */
};

/* All lent for its life, but for the configuration's monitors, which are copied. */
struct monitors_api_options {
	uv_loop_t *loop;
	struct outputs *outputs;
	struct history *history;       /* what a monitor is tried on */
	const struct keyring *keyring; /* the first of its keys signs; none: rules are not signed */
	const char *token;	       /* NULL: loopback only */
	const struct monitor *own;
	size_t own_count;
};

struct monitors_api *monitors_api_new(const struct monitors_api_options *options);
void monitors_api_routes(struct monitors_api *api, struct server *server);
/* What the topic has, as it comes: a rule that may be believed, and that all were told that it had
 * when it was first looked at. Until then requests get 503. */
void monitors_api_take(struct monitors_api *api, const struct rule *rule);
void monitors_api_read_all(struct monitors_api *api);
/* The one of that name which is in force, until the topic has another; NULL: none is. */
const struct monitor *monitors_api_find(const struct monitors_api *api, const char *name);
/* Whether what the topic had was read. */
bool monitors_api_knows(const struct monitors_api *api);
/* After the server's close was begun, which ends what waits. The loop must run until its handles
 * are gone; free it then. */
void monitors_api_close(struct monitors_api *api);
void monitors_api_free(struct monitors_api *api);
