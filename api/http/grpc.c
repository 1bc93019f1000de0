#include "api/http/grpc.h"

#include <string.h>

#include "api/http/route.h"
#include "api/http/session.h"
#include "api/http/site.h"
#include "api/http/stream.h"

bool grpc_is_type(const char *content_type)
{
	static const char type[] = "application/grpc";
	if (!content_type || strncmp(content_type, type, sizeof(type) - 1))
		return false;
	char next = content_type[sizeof(type) - 1];
	return next == 0 || next == '+' || next == ';';
}

int64_t grpc_timeout_ms(const char *value)
{
	static const struct {
		char unit;
		uint64_t us;
	} units[] = {{'H', 3600000000}, {'M', 60000000}, {'S', 1000000}, {'m', 1000}, {'u', 1}};
	uint64_t number = 0;
	size_t digits = strspn(value, "0123456789");
	if (digits < 1 || digits > 8 || !value[digits] || value[digits + 1])
		return -1;
	for (size_t i = 0; i < digits; i++)
		number = number * 10 + (uint64_t)(value[i] - '0');
	if (value[digits] == 'n')
		return (int64_t)((number + 999999) / 1000000);
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (units[i].unit == value[digits])
			return (int64_t)((number * units[i].us + 999) / 1000);
	return -1;
}

void grpc_refuse(struct stream *stream, enum grpc_status status, const char *message)
{
	struct response *response = &stream->response;
	stream->answered = true;
	stream_body_done(stream);
	if (response->ended || response->detached)
		return;
	/* The handler first: it may still look at its response, and makes no call after. */
	response_abandon(response);
	response->detached = false;
	response_finish(response, status, message);
}

void grpc_head(struct stream *stream)
{
	struct site *site = stream->session->site;
	const char *timeout = headers_get(&stream->headers, "grpc-timeout");
	site->stats.requests_grpc++;
	stream->call.route = routes_find_grpc(&site->routes, stream->request.path);
	if (!stream->call.route) {
		grpc_refuse(stream, GRPC_UNIMPLEMENTED, "no such method");
		return;
	}
	if (!timeout)
		return;
	int64_t timeout_ms = grpc_timeout_ms(timeout);
	if (timeout_ms < 0)
		grpc_refuse(stream, GRPC_INTERNAL, "malformed grpc-timeout");
	else
		stream->request.deadline_ms = site->now_ms + (uint64_t)timeout_ms;
}

/* The five bytes are there: decides whether the message may come. */
static void message_begin(struct stream *stream)
{
	const uint8_t *prefix = stream->call.prefix;
	struct site *site = stream->session->site;
	uint32_t size = (uint32_t)prefix[1] << 24 | (uint32_t)prefix[2] << 16 |
			(uint32_t)prefix[3] << 8 | prefix[4];
	stream->call.message_size = size;
	if (prefix[0] == 1) {
		response_header(&stream->response, "grpc-accept-encoding", "identity");
		grpc_refuse(stream, GRPC_UNIMPLEMENTED, "compressed messages are not accepted");
	} else if (prefix[0]) {
		grpc_refuse(stream, GRPC_INTERNAL, "malformed message prefix");
	} else if (size > site->options.message_max) {
		site->stats.body_overflows++;
		grpc_refuse(stream, GRPC_RESOURCE_EXHAUSTED, "message too large");
	} else if (stream->call.messages && !stream->call.route->each_message) {
		grpc_refuse(stream, GRPC_UNIMPLEMENTED, "the method takes one message");
	}
}

static void message_end(struct stream *stream)
{
	struct grpc_call *call = &stream->call;
	call->messages++;
	call->prefix_size = 0;
	if (!call->route->each_message)
		return; /* called when the client has closed its side */
	stream_call(stream, call->route);
	stream_body_done(stream);
}

void grpc_body(struct stream *stream, const uint8_t *bytes, size_t size)
{
	struct grpc_call *call = &stream->call;
	while (!stream->answered || (call->route && call->route->each_message)) {
		if (stream->response.ended || stream->response.detached)
			return;
		if (call->prefix_size < sizeof(call->prefix)) {
			if (!size)
				return;
			call->prefix[call->prefix_size++] = *bytes++;
			size--;
			if (call->prefix_size < sizeof(call->prefix))
				continue;
			message_begin(stream);
			if (stream->response.ended)
				return;
		}
		size_t want = call->message_size - buffer_size(&stream->body);
		size_t part = size < want ? size : want;
		if (!stream_account(stream, part)) {
			grpc_refuse(stream, GRPC_RESOURCE_EXHAUSTED, "too many requests in memory");
			return;
		}
		buffer_append(&stream->body, bytes, part);
		bytes += part;
		size -= part;
		if (part < want)
			return;
		message_end(stream);
	}
}

void grpc_end(struct stream *stream)
{
	struct grpc_call *call = &stream->call;
	if (stream->response.ended || stream->response.detached)
		return;
	if (call->prefix_size)
		grpc_refuse(stream, GRPC_INTERNAL, "the request ended inside a message");
	else if (call->route->each_message)
		grpc_refuse(stream, GRPC_OK, NULL);
	else if (!call->messages)
		grpc_refuse(stream, GRPC_INTERNAL, "the request has no message");
	else
		stream_call(stream, call->route);
}
