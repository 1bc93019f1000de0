#include "api/query/query.h"

#include <stdlib.h>
#include <string.h>

#include "api/http/json.h"
#include "api/http/server.h"
#include "api/query/answer.h"
#include "api/query/method.h"
#include "api/query/message_json.h"
#include "base/memory.h"

struct query *query_new(const struct query_options *options)
{
	struct query *query = memory_zeroed(1, sizeof(*query));

	query->options = *options;
	if (!query->options.read_rows_max)
		query->options.read_rows_max = READ_ROWS_MAX;
	query->book = book_new(options->episodes_max);
	query->chronicle = chronicle_new(options->changes_max);
	query->agents = agents_new(options->tasks);
	return query;
}

void query_free(struct query *query)
{
	if (!query)
		return;
	agents_free(query->agents);
	chronicle_free(query->chronicle);
	book_free(query->book);
	arena_done(&query->arena);
	free(query);
}

void query_ledger(struct query *query, uint32_t task, const struct ledger *ledger)
{
	agents_ledger(query->agents, task, ledger);
}

void query_agents(struct query *query, uint32_t task, uint64_t clock_ns,
		  const struct agent_view *agents, size_t count)
{
	if (task < query->options.tasks)
		agents_take(query->agents, task, clock_ns, agents, count);
}

void query_alert(struct query *query, const struct alert *alert)
{
	book_alert(query->book, alert);
}

void query_delivery(struct query *query, const struct delivery *delivery)
{
	book_delivery(query->book, delivery);
}

const struct alert *query_firing(const struct query *query, size_t *at)
{
	while (*at < book_count(query->book)) {
		const struct episode *episode = book_at(query->book, (*at)++);

		if (episode_firing(episode))
			return episode->alert;
	}
	return NULL;
}

const struct alert *query_alert_of(const struct query *query, const char *key, bool *several)
{
	const struct alert *found = NULL;
	size_t length = strlen(key);

	*several = false;
	for (size_t i = 0; i < book_count(query->book); i++) {
		const struct alert *alert = book_at(query->book, i)->alert;

		if (!alert || strncmp(alert->key, key, length) != 0)
			continue;
		if (alert->key[length] == '\0') {
			*several = false;
			return alert;
		}
		*several |= found != NULL;
		found = alert;
	}
	return *several ? NULL : found;
}

struct chronicle_stats query_chronicle_stats(const struct query *query)
{
	return chronicle_stats(query->chronicle);
}

void query_change(struct query *query, uint64_t key, const uint8_t *bytes, size_t length)
{
	if (bytes)
		chronicle_put(query->chronicle, key, bytes, length);
	else
		chronicle_drop(query->chronicle, key);
}

/* --- one request, by either way --- */

static unsigned status_of(const struct refusal *refusal)
{
	switch (refusal->kind) {
	case REFUSED_UNKNOWN:
		return 404;
	case REFUSED_BROKEN:
		return 503;
	default:
		return 400;
	}
}

static void serve_rest(struct query *query, const struct method *method, struct request *request,
		       struct response *response)
{
	ProtobufCMessage *message = arena_take(&query->arena, 1, method->request->sizeof_message);
	struct refusal refusal = {0};
	const ProtobufCMessage *answered = NULL;
	struct json json;
	size_t size;

	method->request->message_init(message);
	if (parameters_parse(&method->parameters, request, &query->arena, message, &refusal) &&
	    parameters_check(&method->parameters, message, &refusal))
		answered = method->answer(query, message, &refusal);
	if (!answered) {
		response_problem(response, status_of(&refusal), refusal.detail);
		return;
	}
	json_init(&json);
	message_json(&json, answered);

	const char *text = json_text(&json, &size);

	response_header(response, "cache-control", "no-store");
	response_send(response, 200, "application/json", text, size);
	json_done(&json);
}

static enum grpc_status grpc_status_of(const struct refusal *refusal)
{
	switch (refusal->kind) {
	case REFUSED_TOO_MUCH:
		return GRPC_OUT_OF_RANGE;
	case REFUSED_UNKNOWN:
		return GRPC_NOT_FOUND;
	case REFUSED_BROKEN:
		return GRPC_UNAVAILABLE;
	default:
		return GRPC_INVALID_ARGUMENT;
	}
}

static void send_packed(struct query *query, struct response *response,
			const ProtobufCMessage *message)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *bytes = arena_take(&query->arena, size, 1);

	protobuf_c_message_pack(message, bytes);
	response_message(response, bytes, size);
	response_finish(response, GRPC_OK, NULL);
}

static void serve_grpc(struct query *query, const struct method *method, struct request *request,
		       struct response *response)
{
	ProtobufCAllocator allocator = arena_allocator(&query->arena);
	struct refusal refusal = {0};
	const ProtobufCMessage *answered = NULL;
	ProtobufCMessage *message = NULL;

	if (request->body_size <= METHOD_REQUEST_MAX)
		message = protobuf_c_message_unpack(method->request, &allocator, request->body_size,
						    request->body);
	if (!message) {
		response_finish(response, GRPC_INVALID_ARGUMENT,
				"the request is no message of query.proto, or is too large");
		return;
	}
	if (parameters_check(&method->parameters, message, &refusal))
		answered = method->answer(query, message, &refusal);
	if (answered)
		send_packed(query, response, answered);
	else
		response_finish(response, grpc_status_of(&refusal), refusal.detail);
}

/* A route's context names its method and the query; the table is static, so each query has its own
 * row of contexts. */
static void on_request(struct request *request, struct response *response, void *context)
{
	const struct method_route *route = context;

	if (request->grpc)
		serve_grpc(route->query, route->method, request, response);
	else
		serve_rest(route->query, route->method, request, response);
	arena_clear(&route->query->arena);
}

static void on_openapi(struct request *request, struct response *response, void *context)
{
	struct json json;
	size_t size;

	(void)request;
	(void)context;
	json_init(&json);
	methods_openapi(&json);

	const char *text = json_text(&json, &size);

	response_send(response, 200, "application/json", text, size);
	json_done(&json);
}

void query_routes(struct query *query, struct server *server)
{
	for (size_t i = 0; i < METHODS; i++) {
		struct method_route *route = &query->routes[i];

		*route = (struct method_route){query, &methods[i]};
		server_route(server, "GET", methods[i].route ? methods[i].route : methods[i].path,
			     on_request, route);
		server_grpc(server, methods[i].rpc, on_request, route);
	}
	server_route(server, "GET", "/openapi.json", on_openapi, NULL);
}
