#include "api/http/response.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "api/http/json.h"
#include "api/http/parser.h"
#include "api/http/session.h"
#include "api/http/site.h"
#include "api/http/stream.h"

/* A producer is asked to pause at a quarter of pending_max and called again at a sixteenth. */
enum { PAUSE_DIVISOR = 4, RESUME_DIVISOR = 16 };

static const char page_policy[] = "default-src 'none'; script-src 'self'; style-src 'self' "
				  "'unsafe-inline'; img-src 'self' data:; "
				  "font-src 'self'; connect-src 'self'; worker-src 'self'; "
				  "manifest-src 'self'; base-uri 'none'; "
				  "form-action 'none'; frame-ancestors 'none'";

void response_done(struct response *response)
{
	headers_done(&response->headers);
	buffer_done(&response->body);
	free(response->grpc_message);
	response->grpc_message = NULL;
}

size_t response_pending(const struct response *response)
{
	return response->lent ? response->lent_size : buffer_size(&response->body);
}

size_t response_take(struct response *response, uint8_t *out, size_t size)
{
	size_t pending = response_pending(response);
	size_t taken = size < pending ? size : pending;
	if (!taken)
		return 0;
	if (response->lent) {
		memcpy(out, response->lent, taken);
		response->lent += taken;
		response->lent_size -= taken;
	} else {
		memcpy(out, buffer_bytes(&response->body), taken);
		buffer_consume(&response->body, taken);
	}
	stream_of(response)->progress_ms = stream_of(response)->session->site->now_ms;
	return taken;
}

bool response_complete(const struct response *response)
{
	return response->ended && !response_pending(response);
}

void response_abandon(struct response *response)
{
	if (response->detached || response->ended)
		return;
	response->detached = true;
	if (response->gone)
		response->gone(response, response->gone_context);
}

void response_settle(struct response *response)
{
	uint32_t pending_max = stream_of(response)->session->site->options.pending_max;
	if (response->cut)
		response_abandon(response);
	if (!response->paused || response->ended || response->detached ||
	    response_pending(response) > pending_max / RESUME_DIVISOR)
		return;
	response->paused = false;
	if (response->writable)
		response->writable(response, response->writable_context);
}

void response_header(struct response *response, const char *name, const char *value)
{
	assert(!response->begun);
	bool added =
		headers_add(&response->headers, name, strlen(name), value, strcspn(value, "\r\n"));
	assert(added);
}

static void default_header(struct response *response, const char *name, const char *value)
{
	if (!headers_get(&response->headers, name))
		response_header(response, name, value);
}

static void page_headers(struct response *response)
{
	default_header(response, "content-security-policy", page_policy);
	default_header(response, "referrer-policy", "no-referrer");
	default_header(response, "x-frame-options", "DENY");
}

static void begin(struct response *response, unsigned status, const char *content_type)
{
	struct stream *stream = stream_of(response);
	struct site *site = stream->session->site;
	assert(!response->begun && !response->detached && status >= 200 && status <= 599);
	response->status = status;
	response->bodiless = status == 204 || status == 304 ||
			     (stream->request.method && !strcmp(stream->request.method, "HEAD"));
	if (content_type)
		response_header(response, "content-type", content_type);
	if (!stream->request.grpc) {
		default_header(response, "cache-control", "no-store");
		default_header(response, "x-content-type-options", "nosniff");
		if (content_type && !strncmp(content_type, "text/html", 9))
			page_headers(response);
	}
	if (stream->request.id)
		response_header(response, "x-request-id", stream->request.id);
	if (*site->date)
		response_header(response, "date", site->date);
	response->begun = true;
	stream->progress_ms = site->now_ms;
	site->stats.responses[status / 100]++;
	session_wake(stream->session);
}

static void send_lent(struct response *response, unsigned status, const char *content_type,
		      const void *body, size_t size)
{
	begin(response, status, content_type);
	response->length = size;
	response->ended = true;
	if (!response->bodiless) {
		response->lent = body;
		response->lent_size = size;
	}
}

void response_send(struct response *response, unsigned status, const char *content_type,
		   const void *body, size_t size)
{
	begin(response, status, content_type);
	response->length = size;
	response->ended = true;
	if (!response->bodiless)
		buffer_append(&response->body, body, size);
}

void response_problem(struct response *response, unsigned status, const char *detail)
{
	struct json json;
	size_t size;
	json_init(&json);
	json_object_begin(&json);
	json_key(&json, "type");
	json_string(&json, "about:blank");
	json_key(&json, "title");
	json_string(&json, parser_status_text(status));
	json_key(&json, "status");
	json_uint(&json, status);
	if (detail) {
		json_key(&json, "detail");
		json_string(&json, detail);
	}
	if (stream_of(response)->request.id) {
		json_key(&json, "instance");
		json_string(&json, stream_of(response)->request.id);
	}
	json_object_end(&json);
	const char *text = json_text(&json, &size);
	response_send(response, status, "application/problem+json", text, size);
	json_done(&json);
}

/* If-None-Match compares weakly (RFC 9110, 13.1.2). */
static bool etag_matches(const char *list, const char *etag)
{
	size_t size = strlen(etag);
	while (*list) {
		list += strspn(list, ", \t");
		if (*list == '*')
			return true;
		if (!strncmp(list, "W/", 2))
			list += 2;
		if (!strncmp(list, etag, size) && strchr(", \t", list[size]))
			return true;
		list += strcspn(list, ",");
	}
	return false;
}

void response_asset(struct response *response, const struct request *request,
		    const struct asset *asset)
{
	const struct stream *stream = stream_of(response);
	const char *known = request_header(request, "if-none-match");
	if (asset->encoding) {
		response_header(response, "vary", "accept-encoding");
		if (!headers_have_token(&stream->headers, "accept-encoding", asset->encoding) &&
		    !headers_have_token(&stream->headers, "accept-encoding", "*")) {
			response_problem(response, 406, "only a compressed form is kept");
			return;
		}
		response_header(response, "content-encoding", asset->encoding);
	}
	response_header(response, "etag", asset->etag);
	response_header(response, "cache-control",
			asset->immutable ? "public, max-age=31536000, immutable" : "no-cache");
	if (known && etag_matches(known, asset->etag))
		send_lent(response, 304, NULL, NULL, 0);
	else
		send_lent(response, 200, asset->content_type, asset->body, asset->size);
}

void response_begin(struct response *response, unsigned status, const char *content_type)
{
	response->streaming = true;
	begin(response, status, content_type);
	response->cut = response->bodiless; /* nobody reads what would follow */
}

/* Room for `size` bytes more, or the end of a producer that ignored the pause. */
static bool admit(struct response *response, size_t size)
{
	struct stream *stream = stream_of(response);
	struct site *site = stream->session->site;
	assert(response->begun && !response->ended && !response->detached);
	if (response->cut)
		return false;
	size_t pending = response_pending(response);
	if (pending && pending + size > site->options.pending_max) {
		site->stats.slow_clients++;
		response->cut = true;
		session_wake(stream->session);
		return false;
	}
	if (!pending)
		stream->progress_ms = site->now_ms;
	return true;
}

static bool written(struct response *response)
{
	session_wake(stream_of(response)->session);
	response->paused = !response_writable(response);
	return !response->paused;
}

bool response_writable(const struct response *response)
{
	const struct stream *stream = stream_of((struct response *)(uintptr_t)response);
	return !response->cut && response_pending(response) <
					 stream->session->site->options.pending_max / PAUSE_DIVISOR;
}

bool response_write(struct response *response, const void *bytes, size_t size)
{
	if (!admit(response, size))
		return false;
	buffer_append(&response->body, bytes, size);
	return written(response);
}

bool response_event(struct response *response, const char *name, const char *id, const void *data,
		    size_t size)
{
	const char *at = data, *end = at + size;
	/* Each line costs 7 bytes of framing; the fields' own framing is 16. */
	if (!admit(response, size + 16))
		return false;
	if (id)
		buffer_format(&response->body, "id: %.*s\n", (int)strcspn(id, "\r\n"), id);
	if (name)
		buffer_format(&response->body, "event: %.*s\n", (int)strcspn(name, "\r\n"), name);
	do {
		const char *stop = at;
		while (stop < end && *stop != '\n' && *stop != '\r')
			stop++;
		buffer_text(&response->body, "data: ");
		buffer_append(&response->body, at, (size_t)(stop - at));
		buffer_text(&response->body, "\n");
		at = stop + 1;
	} while (at < end);
	buffer_text(&response->body, "\n");
	return written(response);
}

void response_on_writable(struct response *response, response_callback callback, void *context)
{
	response->writable = callback;
	response->writable_context = context;
}

void response_on_gone(struct response *response, response_callback callback, void *context)
{
	response->gone = callback;
	response->gone_context = context;
}

void response_end(struct response *response)
{
	assert(response->begun && !response->ended && !response->detached);
	response->ended = true;
	session_wake(stream_of(response)->session);
}

bool response_message(struct response *response, const void *bytes, size_t size)
{
	uint8_t prefix[5] = {0, (uint8_t)(size >> 24), (uint8_t)(size >> 16), (uint8_t)(size >> 8),
			     (uint8_t)size};
	assert(stream_of(response)->request.grpc && size <= UINT32_MAX);
	if (!response->begun) {
		response->streaming = true;
		response->trailers = true;
		begin(response, 200, "application/grpc");
	}
	if (!admit(response, size + sizeof(prefix)))
		return false;
	buffer_append(&response->body, prefix, sizeof(prefix));
	buffer_append(&response->body, bytes, size);
	return written(response);
}

/* grpc-message carries anything outside printable ASCII, and '%', as %XX. */
static char *encode_message(const char *message)
{
	struct buffer text = {0};
	for (const uint8_t *at = (const uint8_t *)message; *at; at++) {
		if (*at < 0x20 || *at > 0x7e || *at == '%')
			buffer_format(&text, "%%%02X", *at);
		else
			buffer_append(&text, at, 1);
	}
	buffer_append(&text, "", 1);
	return (char *)text.bytes;
}

void response_finish(struct response *response, enum grpc_status status, const char *message)
{
	struct stream *stream = stream_of(response);
	assert(stream->request.grpc && !response->ended && !response->detached);
	response->grpc_status = status;
	if (message)
		response->grpc_message = encode_message(message);
	response->trailers = true;
	if (!response->begun)
		begin(response, 200, "application/grpc");
	response->ended = true;
	if (status != GRPC_OK)
		stream->session->site->stats.grpc_errors++;
	session_wake(stream->session);
}

bool response_by_grpc(const struct response *response)
{
	return stream_of((struct response *)(uintptr_t)response)->request.grpc;
}

void response_refuse(struct response *response, unsigned status, const char *detail)
{
	static const struct {
		unsigned status;
		enum grpc_status grpc;
	} statuses[] = {
		{400, GRPC_INVALID_ARGUMENT},	 {401, GRPC_UNAUTHENTICATED},
		{403, GRPC_PERMISSION_DENIED},	 {404, GRPC_NOT_FOUND},
		{409, GRPC_FAILED_PRECONDITION}, {429, GRPC_RESOURCE_EXHAUSTED},
		{503, GRPC_UNAVAILABLE},	 {504, GRPC_DEADLINE_EXCEEDED},
	};
	size_t at = 0;
	if (!response_by_grpc(response)) {
		response_problem(response, status, detail);
		return;
	}
	while (statuses[at].status != status) {
		at++;
		assert(at < sizeof(statuses) / sizeof(statuses[0]));
	}
	response_finish(response, statuses[at].grpc, detail);
}
