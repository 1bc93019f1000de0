#include "api/query/method.h"

#include <string.h>

#include "api/http/json.h"
#include "api/query/control_schema.h"
#include "api/query/message_json.h"
#include "api/query/monitor_schema.h"
#include "api/query/openapi.h"
#include "api/query/silence_schema.h"

static const char *const states[] = {"firing", "resolved", NULL};
static const char *const agent_states[] = {"live", "degraded", "behind", "silent", NULL};
static const char *const agent_views[] = {"loss", NULL};
static const char *const groupings[] = {
	"edge", "client", "server", "lane", "client_instance", "server_instance", NULL,
};

static const struct parameter map_parameters[] = {
	{"workload", "workload", PARAMETER_TEXT,
	 .help = "Centre of the selection; empty: the whole map."},
	{"hops", "hops", PARAMETER_COUNT, 1, 8, 1, .help = "How far round the selection."},
	{"window", "window_s", PARAMETER_DURATION, 1, 2592000, 60,
	 .help = "The trailing window that figures are about."},
	{"limit", "limit", PARAMETER_COUNT, 1, 2000, 200,
	 .help = "Edges at most; those that alert or fail are kept first, then the busiest."},
	{"zone", "zone", PARAMETER_TEXT, .help = "Only edges that touch this zone."},
	{"at", "at_s", PARAMETER_TIME, .help = "End of the window; not given: now."},
};

static const struct parameter series_parameters[] = {
	{"metric", "metric", PARAMETER_TEXT,
	 .help = "A counter's name (tx_bytes, opened, failed, ...) or failure_ratio, connect_p95, "
		 "srtt_avg, completeness, ...; a wrong one is answered with the list of all."},
	{"client", "client", PARAMETER_TEXT, .help = "Client workload; empty: all."},
	{"server", "server", PARAMETER_TEXT, .help = "Server workload; empty: all."},
	{"port", "port", PARAMETER_COUNT, 0, 65535, 0, .help = "Server port; 0: all."},
	{"start", "start_s", PARAMETER_TIME, .help = "Not given: 10 minutes before the end."},
	{"end", "end_s", PARAMETER_TIME, .help = "Not given: now."},
	{"step", "step_s", PARAMETER_DURATION, 1, 86400, 0,
	 .help = "Whole seconds; not given: 1s within the last 10 minutes, else 10s, 60s or 1h. "
		 "What is told less often has a longer step, told in the answer."},
	{"group_by", "group_by", PARAMETER_CHOICE, .choices = groupings,
	 .help = "One series for each of these; edge by default."},
	{"limit", "limit", PARAMETER_COUNT, 1, 1000, 100,
	 .help = "Series at most; the largest are kept."},
};

static const struct parameter alerts_parameters[] = {
	{"state", "state", PARAMETER_CHOICE, .choices = states, .help = "Empty: all."},
	{"workload", "workload", PARAMETER_TEXT, .help = "Only alerts that name it."},
	{"key", "key", PARAMETER_TEXT,
	 .help = "Only the alert with this key, as the links in notifications say."},
	{"limit", "limit", PARAMETER_COUNT, 1, 1000, 100,
	 .help = "Alerts at most; the newest are kept."},
};

static const char *const change_kinds[] = {
	"deployed",	 "scaled",	  "restarted",	  "oom_killed",
	"node_ready",	 "node_added",	  "node_removed", "node_cordoned",
	"edge_appeared", "edge_vanished", NULL,
};

static const struct parameter events_parameters[] = {
	{"workload", "workload", PARAMETER_TEXT,
	 .help = "Only what happened to it, or to an edge of which it is an end."},
	{"node", "node", PARAMETER_TEXT, .help = "Only what happened to this node, or on it."},
	{"kind", "kind", PARAMETER_CHOICE, .choices = change_kinds, .help = "Empty: all."},
	{"start", "start_s", PARAMETER_TIME, .help = "Not given: as long as events are kept."},
	{"end", "end_s", PARAMETER_TIME, .help = "Not given: now."},
	{"window", "window_s", PARAMETER_DURATION, 1, 2592000, 0,
	 .help = "Only of so long before the end; not given: all."},
	{"limit", "limit", PARAMETER_COUNT, 1, 10000, 100,
	 .help = "Events at most; the newest are kept."},
};

static const struct parameter search_parameters[] = {
	{"q", "q", PARAMETER_TEXT, .help = "Part of a name; empty: everything."},
	{"limit", "limit", PARAMETER_COUNT, 1, 1000, 20, .help = "Hits at most."},
};

static const struct parameter agents_parameters[] = {
	{"node", "node", PARAMETER_TEXT,
	 .help = "Only nodes whose id matches: * is any text, ? any one character."},
	{"zone", "zone", PARAMETER_TEXT, .help = "Only nodes of this zone."},
	{"region", "region", PARAMETER_TEXT, .help = "Only nodes of this region."},
	{"role", "role", PARAMETER_TEXT, .help = "Only nodes of this role."},
	{"state", "state", PARAMETER_CHOICE, .choices = agent_states, .help = "Empty: all."},
	{"limit", "limit", PARAMETER_COUNT, 1, 10000, 1000, .help = "Agents at most."},
	{"after", "after", PARAMETER_TEXT,
	 .help = "Only nodes whose id comes after this one: the last of the page before."},
	{"view", "view", PARAMETER_CHOICE, .choices = agent_views,
	 .help = "loss: with the ledger of each agent, of all and of what no agent stands for."},
};

static const struct parameter agent_parameters[] = {
	{"node", "node", PARAMETER_TEXT, .help = "The node's id.", .in_path = true},
};

#define TABLE(entries)                                        \
	{                                                     \
		entries, sizeof(entries) / sizeof(entries[0]) \
	}

const struct method methods[METHODS] = {
	{"/api/v1/map", "/millrace.v1.Query/Map",
	 "The service map: edges round a selection, with their health over a trailing window.",
	 NULL, &millrace__v1__map_request__descriptor, &millrace__v1__map_response__descriptor,
	 TABLE(map_parameters), answer_map},
	{"/api/v1/series", "/millrace.v1.Query/Series", "Time series of one metric.", NULL,
	 &millrace__v1__series_request__descriptor, &millrace__v1__series_response__descriptor,
	 TABLE(series_parameters), answer_series},
	{"/api/v1/alerts", "/millrace.v1.Query/Alerts", "Alerts, newest first.", NULL,
	 &millrace__v1__alerts_request__descriptor, &millrace__v1__alerts_response__descriptor,
	 TABLE(alerts_parameters), answer_alerts},
	{"/api/v1/search", "/millrace.v1.Query/Search",
	 "Workloads, nodes, zones, versions, instances and edges by a part of their name.", NULL,
	 &millrace__v1__search_request__descriptor, &millrace__v1__search_response__descriptor,
	 TABLE(search_parameters), answer_search},
	{"/api/v1/agents", "/millrace.v1.Query/Agents",
	 "The agents that report: what their nodes are, how they do, what each lost.", NULL,
	 &millrace__v1__agents_request__descriptor, &millrace__v1__agents_response__descriptor,
	 TABLE(agents_parameters), answer_agents},
	{"/api/v1/agents/{node}", "/millrace.v1.Query/Agent",
	 "One of them, and who listens on its node.", "/api/v1/agents/*",
	 &millrace__v1__agent_request__descriptor, &millrace__v1__agent_response__descriptor,
	 TABLE(agent_parameters), answer_agent},
	{"/api/v1/receivers",
	 "/millrace.v1.Query/Receivers",
	 "The receivers of alerts: what waits for each, and how it does.",
	 NULL,
	 &millrace__v1__receivers_request__descriptor,
	 &millrace__v1__receivers_response__descriptor,
	 {NULL, 0},
	 answer_receivers},
	{"/api/v1/events", "/millrace.v1.Query/Events",
	 "What changed: deployments, scaling, restarts, nodes, edges. Newest first.", NULL,
	 &millrace__v1__events_request__descriptor, &millrace__v1__events_response__descriptor,
	 TABLE(events_parameters), answer_events},
};

/* --- /openapi.json --- */

static void method_path(struct json *json, const struct method *method)
{
	const struct openapi_verb get = {
		"get",
		strrchr(method->rpc, '/') + 1,
		method->summary,
		&method->parameters,
		.replies = {{"200", "The answer.", .schema = method->response->short_name},
			    OPENAPI_REFUSAL("400", "A parameter is wrong: detail says which, what "
						   "was given and what is "
						   "accepted."),
			    OPENAPI_REFUSAL("503", "The history cannot be read."),
			    OPENAPI_REFUSAL(method->route ? "404" : NULL,
					    "There is no such thing.")},
	};

	openapi_path(json, method->path, &get, 1);
}

static const struct parameter ready_parameters[] = {
	{"verbose", .type = PARAMETER_FLAG, .help = "Answer as JSON: ready, state and reasons."},
};
static const struct parameters_table ready_takes = {ready_parameters, 1};

/* What the daemon serves beside. */
static const struct {
	const char *path;
	struct openapi_verb get;
} plains[] = {
	{"/healthz",
	 {"get", "healthz", "Whether the process is alive.",
	  .replies = {{"200", "The answer.", .type = "text/plain"}}}},
	{"/readyz",
	 {"get", "readyz", "Whether the pipeline runs, and if not, why.", &ready_takes,
	  .replies = {{"200", "The answer.", .type = "text/plain"},
		      {"503", "Not ready.", .type = "text/plain"}}}},
	{"/metrics",
	 {"get", "metrics", "Metrics in Prometheus' text format.",
	  .replies = {{"200", "The answer.", .type = "text/plain"}}}},
	{"/openapi.json",
	 {"get", "openapi.json", "This document.",
	  .replies = {{"200", "The answer.", .type = "application/json"}}}},
};

enum { SCHEMAS_MAX = 64 };

struct schemas {
	const ProtobufCMessageDescriptor *items[SCHEMAS_MAX];
	size_t count;
};

/* A message and what it is made of, each once; the schema is small and has no cycles. */
static void collect(struct schemas *schemas, const ProtobufCMessageDescriptor *descriptor)
{
	for (size_t i = 0; i < schemas->count; i++) {
		if (schemas->items[i] == descriptor)
			return;
	}
	if (schemas->count == SCHEMAS_MAX)
		return;
	schemas->items[schemas->count++] = descriptor;
	for (unsigned i = 0; i < descriptor->n_fields; i++) {
		if (descriptor->fields[i].type == PROTOBUF_C_TYPE_MESSAGE)
			collect(schemas, descriptor->fields[i].descriptor);
	}
}

static void problem_schema(struct json *json)
{
	static const char *const texts[] = {"type", "title", "detail", "instance"};

	json_member_object(json, "Problem");
	json_member(json, "type", "object");
	json_member(json, "description", "RFC 9457.");
	json_member_object(json, "properties");
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		json_member_object(json, texts[i]);
		json_member(json, "type", "string");
		json_object_end(json);
	}
	json_member_object(json, "status");
	json_member(json, "type", "integer");
	json_object_end(json);
	json_object_end(json);
	json_object_end(json);
}

static void components(struct json *json)
{
	struct schemas schemas = {0};

	for (size_t i = 0; i < METHODS; i++)
		collect(&schemas, methods[i].response);
	json_member_object(json, "components");
	json_member_object(json, "schemas");
	for (size_t i = 0; i < schemas.count; i++) {
		json_key(json, schemas.items[i]->short_name);
		message_schema(json, schemas.items[i]);
	}
	control_schemas(json);
	monitor_schemas(json);
	silence_schemas(json);
	problem_schema(json);
	json_object_end(json);
	json_object_end(json);
}

void methods_openapi(struct json *json)
{
	json_object_begin(json);
	json_member(json, "openapi", "3.1.0");
	json_member_object(json, "info");
	json_member(json, "title", "Millrace");
	json_member(json, "version", MILLRACE_VERSION);
	json_member(
		json, "description",
		"Durations are seconds, sizes bytes, times seconds since 1970 unless a name says "
		"otherwise. gRPC service millrace.v1.Query gives the same answers.");
	json_object_end(json);
	json_member_object(json, "paths");
	for (size_t i = 0; i < METHODS; i++)
		method_path(json, &methods[i]);
	control_paths(json);
	monitor_paths(json);
	silence_paths(json);
	for (size_t i = 0; i < sizeof(plains) / sizeof(plains[0]); i++)
		openapi_path(json, plains[i].path, &plains[i].get, 1);
	json_object_end(json);
	components(json);
	json_object_end(json);
}
