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
	query->agents = memory_zeroed(options->tasks, sizeof(*query->agents));
	return query;
}

static void agents_clear(struct agents *agents)
{
	for (size_t i = 0; i < agents->count; i++) {
		struct agent_view *agent = &agents->items[i];

		free((char *)agent->node);
		free((char *)agent->zone);
		free((char *)agent->region);
		free((char *)agent->role);
		free((char *)agent->version);
	}
	free(agents->items);
	*agents = (struct agents){0};
}

void query_free(struct query *query)
{
	if (!query)
		return;
	for (uint32_t task = 0; task < query->options.tasks; task++)
		agents_clear(&query->agents[task]);
	free(query->agents);
	book_free(query->book);
	arena_done(&query->arena);
	free(query);
}

static char *text_copy(const char *text)
{
	size_t length = text ? strlen(text) : 0;
	char *copy = memory_zeroed(length + 1, 1);

	if (length)
		memcpy(copy, text, length);
	return copy;
}

void query_agents(struct query *query, uint32_t task, const struct agent_view *agents, size_t count)
{
	struct agents *kept;

	if (task >= query->options.tasks)
		return;
	kept = &query->agents[task];
	agents_clear(kept);
	kept->items = memory_zeroed(count, sizeof(*kept->items));
	kept->count = count;
	for (size_t i = 0; i < count; i++) {
		struct agent_view *agent = &kept->items[i];

		*agent = agents[i];
		agent->node = text_copy(agents[i].node);
		agent->zone = text_copy(agents[i].zone);
		agent->region = text_copy(agents[i].region);
		agent->role = text_copy(agents[i].role);
		agent->version = text_copy(agents[i].version);
	}
}

void query_alert(struct query *query, const struct alert *alert)
{
	book_alert(query->book, alert);
}

void query_delivery(struct query *query, const struct delivery *delivery)
{
	book_delivery(query->book, delivery);
}

/* --- one request, by either way --- */

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
		response_problem(response, refusal.kind == REFUSED_BROKEN ? 503 : 400,
				 refusal.detail);
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
		server_route(server, "GET", methods[i].path, on_request, route);
		server_grpc(server, methods[i].rpc, on_request, route);
	}
	server_route(server, "GET", "/openapi.json", on_openapi, NULL);
}
