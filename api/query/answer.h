/* The eight answers. Each fills its response of query.proto, in the arena, from a checked request;
 * NULL with *refusal set when it cannot. REST and gRPC both come here, so they say the same.
 * Bounds: limits in each request, and READ_ROWS_MAX rows of the history an answer, since the loop
 * that answers also delivers alerts. One thread. */
#pragma once

#include <stdint.h>

#include "api/query/agents.h"
#include "api/query/arena.h"
#include "api/query/book.h"
#include "api/query/chronicle.h"
#include "api/query/groups.h"
#include "api/query/parameter.h"
#include "api/query/query.h"
#include "millrace/v1/query.pb-c.h"

enum {
	/* About 0.3 s on one core, measured: a hundred edges' 6 h of 10 s windows, or 60 s of
	 * 12,000 edges to the second. */
	READ_ROWS_MAX = 300000,
	SERIES_POINTS_MAX = 11000, /* a series: 3 h of 1 s, 30 h of 10 s */
};

struct method;

/* The context of a route. */
struct method_route {
	struct query *query;
	const struct method *method;
};

enum { QUERY_ROUTES = 8 };

struct query {
	struct query_options options;
	struct method_route routes[QUERY_ROUTES];
	struct book *book;
	struct chronicle *chronicle;
	struct agents *agents;
	struct arena arena;
};

typedef const ProtobufCMessage *(*answer)(struct query *query, const ProtobufCMessage *request,
					  struct refusal *refusal);

const ProtobufCMessage *answer_map(struct query *query, const ProtobufCMessage *request,
				   struct refusal *refusal);
const ProtobufCMessage *answer_series(struct query *query, const ProtobufCMessage *request,
				      struct refusal *refusal);
const ProtobufCMessage *answer_alerts(struct query *query, const ProtobufCMessage *request,
				      struct refusal *refusal);
const ProtobufCMessage *answer_search(struct query *query, const ProtobufCMessage *request,
				      struct refusal *refusal);
const ProtobufCMessage *answer_agents(struct query *query, const ProtobufCMessage *request,
				      struct refusal *refusal);
const ProtobufCMessage *answer_agent(struct query *query, const ProtobufCMessage *request,
				     struct refusal *refusal);

const ProtobufCMessage *answer_receivers(struct query *query, const ProtobufCMessage *request,
					 struct refusal *refusal);

const ProtobufCMessage *answer_events(struct query *query, const ProtobufCMessage *request,
				      struct refusal *refusal);

/* What series can be asked for. */
struct measure {
	const char *name, *unit;
	uint32_t counter; /* COUNTERS: derived by `value` */
	bool sketches;
	bool (*value)(const struct group *group, double *value); /* false: no value in this step */
};
bool measure_find(const char *name, struct measure *measure);
void measure_names(char *text, size_t size); /* all, comma between */

/* Words of several answers. */
char *answer_name(struct query *query, uint64_t id);
Millrace__V1__Edge *edge_message(struct query *query, const struct edge *edge);
Millrace__V1__Instance *instance_message(struct query *query, const struct instance *instance);
bool refuse_rows(struct query *query, int64_t rows,
		 struct refusal *refusal); /* of history_read; true: refused */
