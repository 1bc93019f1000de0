#include "api/http/stream.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/http/session.h"
#include "api/http/site.h"
#include "base/memory.h"

enum { BODY_BYTES_PER_S = 1024 }; /* a body slower than this, after the grace, is an attack */

struct stream *stream_of(struct response *response)
{
	return (struct stream *)((char *)response - offsetof(struct stream, response));
}

static const struct stream *stream_of_request(const struct request *request)
{
	return (const struct stream *)((const char *)request - offsetof(struct stream, request));
}

struct stream *stream_new(struct session *session, int32_t id)
{
	struct stream *stream = memory_zeroed(1, sizeof(*stream));
	stream->session = session;
	stream->id = id;
	stream->progress_ms = session->site->now_ms;
	stream->body_since_ms = session->site->now_ms;
	stream->request.peer = session->peer;
	stream->request.secure = session->secure;
	stream->request.rest = "";
	stream->next = session->streams;
	stream->link = &session->streams;
	if (stream->next)
		stream->next->link = &stream->next;
	session->streams = stream;
	session->stream_count++;
	session->site->stats.streams_open++;
	return stream;
}

void stream_free(struct stream *stream)
{
	struct session *session = stream->session;
	if (!stream->response.ended && !stream->response.bodiless)
		session->site->stats.clients_gone++;
	response_abandon(&stream->response);
	stream_body_done(stream);
	*stream->link = stream->next;
	if (stream->next)
		stream->next->link = stream->link;
	session->stream_count--;
	session->site->stats.streams_open--;
	if (!session->stream_count)
		session->idle_since_ms = session->site->now_ms;
	response_done(&stream->response);
	headers_done(&stream->headers);
	parameters_done(&stream->parameters);
	buffer_done(&stream->body);
	free(stream->target);
	free(stream);
}

bool stream_account(struct stream *stream, size_t size)
{
	struct site *site = stream->session->site;
	if (site->stats.body_bytes + size > site->options.bodies_max) {
		site->stats.body_overflows++;
		return false;
	}
	site->stats.body_bytes += size;
	stream->body_counted += size;
	return true;
}

void stream_body_done(struct stream *stream)
{
	stream->session->site->stats.body_bytes -= stream->body_counted;
	stream->body_counted = 0;
	buffer_done(&stream->body);
}

void stream_refuse(struct stream *stream, unsigned status, const char *detail)
{
	stream->answered = true;
	stream_body_done(stream);
	if (!stream->response.begun)
		response_problem(&stream->response, status, detail);
}

static bool is_request_id(const char *id)
{
	size_t size = strlen(id);
	for (size_t i = 0; i < size; i++)
		if (!isalnum((unsigned char)id[i]) && !strchr("-_.", id[i]))
			return false;
	return size && size <= REQUEST_ID_MAX;
}

static void set_request_id(struct stream *stream)
{
	const char *given = headers_get(&stream->headers, "x-request-id");
	if (given && is_request_id(given))
		snprintf(stream->request_id, sizeof(stream->request_id), "%s", given);
	else
		snprintf(stream->request_id, sizeof(stream->request_id), "%016" PRIx64,
			 stream->session->site->request_ids++);
	stream->request.id = stream->request_id;
}

/* The target as origin-form: absolute-form loses its scheme and authority (RFC 9112, 3.2.2). */
static const char *origin_form(const char *target)
{
	if (!strncmp(target, "http://", 7) || !strncmp(target, "https://", 8)) {
		target = strstr(target, "://") + 3;
		target += strcspn(target, "/?");
	}
	return target;
}

/* A path with "." or ".." segments has no business here: prefix routes must not be climbed out of.
 */
static bool path_climbs(const char *path)
{
	for (const char *at = path; (at = strstr(at, "/.")); at++) {
		const char *dots = at + 1;
		size_t count = strspn(dots, ".");
		if (count <= 2 && (dots[count] == '/' || !dots[count]))
			return true;
	}
	return false;
}

static bool split_target(struct stream *stream)
{
	const char *target = headers_get(&stream->headers, ":path");
	target = target ? origin_form(target) : "";
	size_t path_size = strcspn(target, "?");
	if (strchr(target, '#') || (*target != '/' && strcmp(target, "*")))
		return false;
	stream->target = memory_zeroed(strlen(target) + 2, 1);
	memcpy(stream->target, target, path_size);
	char *query = stream->target + path_size + 1;
	if (target[path_size])
		memcpy(query, target + path_size + 1, strlen(target + path_size + 1));
	if (percent_decode(stream->target, path_size, false) < 0)
		return false;
	stream->request.path = stream->target;
	stream->request.query = query;
	return !path_climbs(stream->target) && parameters_init(&stream->parameters, query);
}

void stream_head(struct stream *stream)
{
	struct request *request = &stream->request;
	struct site *site = stream->session->site;
	const char *type = headers_get(&stream->headers, "content-type");
	bool http2 = stream->session->protocol == SESSION_HTTP2;
	stream->head_complete = true;
	request->method = headers_get(&stream->headers, ":method");
	request->path = request->query = "";
	set_request_id(stream);
	if (http2)
		site->stats.requests_http2++;
	else
		site->stats.requests_http1++;
	if (stream->header_overflow) {
		site->stats.header_overflows++;
		stream_refuse(stream, 431, NULL);
	} else if (!request->method || !split_target(stream)) {
		site->stats.malformed++;
		stream_refuse(stream, 400, "malformed request target");
	} else if (!http2) {
		return;
	} else if (grpc_is_type(type) && !strcmp(request->method, "POST")) {
		request->grpc = true;
		grpc_head(stream);
	} else if (grpc_is_type(type)) {
		response_header(&stream->response, "allow", "POST");
		stream_refuse(stream, 405, "gRPC calls are POST");
	} else if (routes_find_grpc(&site->routes, request->path)) {
		stream_refuse(stream, 415, "this path takes application/grpc");
	}
}

void stream_body(struct stream *stream, const uint8_t *bytes, size_t size)
{
	struct site *site = stream->session->site;
	stream->body_total += size;
	if (stream->request.grpc) {
		grpc_body(stream, bytes, size);
		return;
	}
	if (stream->answered)
		return;
	if (buffer_size(&stream->body) + size > site->options.body_max) {
		site->stats.body_overflows++;
		stream_refuse(stream, 413, NULL);
	} else if (!stream_account(stream, size)) {
		stream_refuse(stream, 503, "too many requests in memory");
	} else {
		buffer_append(&stream->body, bytes, size);
	}
}

void stream_call(struct stream *stream, const struct route *route)
{
	struct request *request = &stream->request;
	struct response *response = &stream->response;
	stream->answered = true;
	request->body = buffer_bytes(&stream->body);
	request->body_size = buffer_size(&stream->body);
	if (route->prefix)
		request->rest = request->path + route->prefix;
	route->handler(request, response, route->context);
	assert(response->ended || response->gone || route->each_message);
}

/* Nobody takes this method here, or nobody takes this path at all. */
static void refuse_route(struct stream *stream)
{
	struct buffer allow = {0};
	if (!routes_allow(&stream->session->site->routes, stream->request.path, &allow)) {
		stream_refuse(stream, 404, NULL);
	} else {
		buffer_append(&allow, "", 1);
		response_header(&stream->response, "allow", (const char *)buffer_bytes(&allow));
		if (!strcmp(stream->request.method, "OPTIONS"))
			response_send(&stream->response, 204, NULL, NULL, 0);
		else
			stream_refuse(stream, 405, NULL);
	}
	buffer_done(&allow);
}

void stream_end(struct stream *stream)
{
	if (stream->body_complete)
		return;
	stream->body_complete = true;
	if (stream->request.grpc) {
		grpc_end(stream);
		return;
	}
	if (stream->answered)
		return;
	const struct route *route = routes_find(&stream->session->site->routes,
						stream->request.method, stream->request.path);
	if (route)
		stream_call(stream, route);
	else
		refuse_route(stream);
}

static bool body_is_slow(const struct stream *stream)
{
	const struct site *site = stream->session->site;
	uint64_t elapsed_ms = site->now_ms - stream->body_since_ms;
	bool conversation = stream->call.route && stream->call.route->each_message;
	if (stream->body_complete || stream->answered || conversation ||
	    elapsed_ms <= site->options.body_grace_ms)
		return false;
	uint64_t due = (elapsed_ms - site->options.body_grace_ms) * BODY_BYTES_PER_S / 1000;
	return stream->body_total < due;
}

static void tick_deadline(struct stream *stream)
{
	struct site *site = stream->session->site;
	struct response *response = &stream->response;
	if (!stream->request.deadline_ms || site->now_ms < stream->request.deadline_ms ||
	    response->ended || response->detached)
		return;
	site->stats.deadlines_exceeded++;
	grpc_refuse(stream, GRPC_DEADLINE_EXCEEDED, "deadline exceeded");
}

static void tick_body(struct stream *stream)
{
	if (!body_is_slow(stream))
		return;
	stream->session->site->stats.body_timeouts++;
	if (stream->request.grpc)
		grpc_refuse(stream, GRPC_ABORTED, "the message comes too slowly");
	else
		stream_refuse(stream, 408, "the body comes too slowly");
}

bool stream_tick(struct stream *stream)
{
	struct site *site = stream->session->site;
	if (!stream->head_complete)
		return true; /* the session's header timer watches it */
	tick_deadline(stream);
	tick_body(stream);
	if (stream->outpaced && site->now_ms - stream->outpaced_ms > site->options.body_grace_ms) {
		site->stats.body_timeouts++;
		return false;
	}
	if (response_pending(&stream->response) &&
	    site->now_ms - stream->progress_ms > site->options.stall_timeout_ms) {
		site->stats.stall_timeouts++;
		return false;
	}
	return true;
}

const char *request_header(const struct request *request, const char *name)
{
	const struct headers *headers = &stream_of_request(request)->headers;
	const char *value = headers_get(headers, name);
	if (!value && !strcmp(name, "host"))
		value = headers_get(headers, ":authority");
	return value;
}

const char *request_parameter(const struct request *request, const char *key, size_t index)
{
	const struct parameters *parameters = &stream_of_request(request)->parameters;
	for (size_t i = 0; i < parameters->count; i++)
		if (!strcmp(parameters->pairs[i].key, key) && !index--)
			return parameters->pairs[i].value;
	return NULL;
}

bool request_parameter_at(const struct request *request, size_t index, const char **key,
			  const char **value)
{
	const struct parameters *parameters = &stream_of_request(request)->parameters;
	if (index >= parameters->count)
		return false;
	*key = parameters->pairs[index].key;
	*value = parameters->pairs[index].value;
	return true;
}
