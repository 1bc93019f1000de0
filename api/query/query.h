/* The query API: REST under /api/v1, gRPC millrace.v1.Query and /openapi.json over one server, from
 * the history, the alert book, the chronicle and the agents' list. REST and gRPC give the same
 * answers: both fill the messages of query.proto. One thread: the server's loop. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "anomaly/alert.h"
#include "api/history/history.h"
#include "api/notify/delivery.h"
#include "api/query/chronicle.h"
#include "base/ledger.h"
#include "millrace/v1/query.pb-c.h"

struct server;
struct query;

/* One receiver of alerts as the notifier sees it now. */
struct receiver_view {
	const char *name, *type;
	const char *state; /* ok, failing, open, half_open, disabled */
	uint64_t waiting, delivered, failed, retried, open;
	uint64_t delivered_ns, failing_since_ns; /* real time; 0: none */
	uint64_t resumes_in_ms;
	const char *last_error; /* empty: none */
};

enum { QUERY_RECEIVERS_MAX = 64 };

struct query_options {
	struct history *history;
	uint32_t tasks;
	uint32_t episodes_max; /* alert episodes kept for /alerts: 10,000; the oldest resolved leave
				  first */
	uint32_t changes_max;  /* kept for /events; the oldest leave first */
	uint64_t (*now_ns)(void); /* real time: the default end of a window */
	uint32_t read_rows_max;	  /* of the history, an answer; 0: 300,000 */
	/* The id of the control record that an agent should apply, "" for none, lent until the next
	 * call; NULL: not known. May be NULL. */
	const char *(*control)(void *context, const Millrace__V1__Agent *agent);
	/* The receivers of alerts, in the order of the configuration; lent for the call. Returns
	 * how many. May be NULL. */
	size_t (*receivers)(void *context, struct receiver_view *views, size_t max);
	/* The ids of what silences a firing alert now, lent for the call. Returns how many, at most
	 * max. May be NULL. */
	size_t (*silences)(void *context, const struct alert *alert, const char **ids, size_t max);
	/* Who attends to it, its texts lent for the call; false: nobody. May be NULL. */
	bool (*acknowledged)(void *context, const struct alert *alert,
			     Millrace__V1__Acknowledgement *message);
	void *context;
};

/* One agent as its task sees it now. Copied. */
struct agent_view {
	const char *node;
	/* A packed AgentResponse of query.proto: who and what it is and who listens there. NULL: as
	 * it was told before. */
	const uint8_t *about;
	size_t about_length;
	uint64_t epoch;
	uint64_t last_seen_ns;	      /* log time of its last batch */
	uint64_t told_ns;	      /* the newest time that it told of */
	uint64_t self_test_failed_ns; /* log time when a failure was last told; 0: none was */
	int64_t clock_offset_ns;
	struct ledger ledger;
	struct arrival minute, hour;
	uint32_t sockets, scan_period_ms;
};

struct query *query_new(const struct query_options *options);
void query_free(struct query *query);
void query_routes(struct query *query, struct server *server);

/* All agents that one task has, by name, and its log clock; see api/query/agents.h. */
void query_agents(struct query *query, uint32_t task, uint64_t clock_ns,
		  const struct agent_view *agents, size_t count);

/* What became of all events of one task, of the same moment as its agents. Copied. */
void query_ledger(struct query *query, uint32_t task, const struct ledger *ledger);

enum agent_state { AGENT_LIVE, AGENT_DEGRADED, AGENT_BEHIND, AGENT_SILENT, AGENT_STATES };
const char *agent_state_name(enum agent_state state);

struct agents_stats {
	uint64_t states[AGENT_STATES];
	uint64_t self_test_failing, control_pending, control_refused; /* of all */
	uint64_t evicted; /* silent ones that left the list early */
};
struct agents_stats query_agents_stats(const struct query *query);

/* A transition, in any order and repeated: the newest of an alert stands. */
void query_alert(struct query *query, const struct alert *alert);
void query_delivery(struct query *query, const struct delivery *delivery);
/* Those that fire, in no order, lent until the next is told. NULL after the last: *at begins with 0
 * and is the function's. */
const struct alert *query_firing(const struct query *query, size_t *at);
/* The alert whose key begins so, lent likewise. NULL: there is none, or more than one. */
const struct alert *query_alert_of(const struct query *query, const char *key, bool *several);

struct chronicle_stats query_chronicle_stats(const struct query *query);
/* Something that happened, by the hash of its record's id: the record of millrace.metadata, lent;
 * without bytes: it is forgotten. */
void query_change(struct query *query, uint64_t key, const uint8_t *bytes, size_t length);
