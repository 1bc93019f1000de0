/* The query API: REST under /api/v1, gRPC millrace.v1.Query and /openapi.json over one server, from
 * the history, the alert book and the agents' list. REST and gRPC give the same answers: both fill
 * the messages of query.proto. One thread: the server's loop. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "anomaly/alert.h"
#include "api/history/history.h"
#include "api/notify/delivery.h"

struct server;
struct query;

struct query_options {
	struct history *history;
	uint32_t tasks;
	uint32_t episodes_max; /* alert episodes kept for /alerts: 10,000; the oldest resolved leave
				  first */
	uint64_t (*now_ns)(void); /* real time: the default end of a window */
	uint32_t read_rows_max;	  /* of the history, an answer; 0: 300,000 */
};

/* One agent, as /api/v1/agents shows it. Strings are copied. */
struct agent_view {
	const char *node, *zone, *region, *role, *version;
	uint64_t epoch;
	uint64_t last_seen_ns;
	int64_t clock_offset_ns;
	uint64_t events, lost, dropped_ring, dropped_netlink, dropped_spool;
	uint32_t sockets, scan_period_ms;
};

struct query *query_new(const struct query_options *options);
void query_free(struct query *query);
void query_routes(struct query *query, struct server *server);

/* All agents of one task; replaces what it had. */
void query_agents(struct query *query, uint32_t task, const struct agent_view *agents,
		  size_t count);
/* A transition, in any order and repeated: the newest of an episode stands. */
void query_alert(struct query *query, const struct alert *alert);
void query_delivery(struct query *query, const struct delivery *delivery);
