#include "api/http/http1.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/http/parser.h"
#include "api/http/session.h"
#include "api/http/site.h"
#include "api/http/stream.h"

enum {
	LINE_MAX_BYTES = 8192,
	CHUNK_SENT_MAX = 16384, /* bytes a chunk of ours, as a TLS record */
};

void http1_refuse(struct session *session, unsigned status, const char *detail)
{
	struct stream *stream = session->streams;
	session->http1.keep_alive = false;
	session->http1.state = HTTP1_WAIT;
	session->head_since_ms = 0;
	buffer_clear(&session->input);
	if (!stream)
		stream = stream_new(session, 0);
	stream->head_complete = true;
	stream->body_complete = true;
	stream_refuse(stream, status, detail);
	session_wake(session);
}

static void refuse_malformed(struct session *session, const char *detail)
{
	session->site->stats.malformed++;
	http1_refuse(session, 400, detail);
}

/* One more byte of the head, in its place in the line; NULL when it may stand there. */
static const char *fault_at(const struct http1 *http1, const uint8_t *head, size_t at)
{
	uint8_t byte = head[at];
	uint8_t before = at ? head[at - 1] : 0;
	if (before == '\r' && byte != '\n')
		return "bare CR";
	if (byte == '\n' && before != '\r')
		return "bare LF";
	if ((byte < 0x20 && byte != '\r' && byte != '\n' && byte != '\t') || byte == 0x7f)
		return "control character";
	if (at == http1->line_start && at && (byte == ' ' || byte == '\t'))
		return "folded header";
	if (at - http1->line_start >= LINE_MAX_BYTES)
		return "line too long";
	return NULL;
}

/* Length of the whole head, or 0 while it is not there (or was refused). */
static size_t scan_head(struct session *session)
{
	struct http1 *http1 = &session->http1;
	const uint8_t *head = buffer_bytes(&session->input);
	size_t size = buffer_size(&session->input);
	size_t max = session->site->options.header_bytes_max;
	for (; http1->scanned < size && http1->scanned < max; http1->scanned++) {
		size_t at = http1->scanned;
		const char *fault = fault_at(http1, head, at);
		if (fault) {
			refuse_malformed(session, fault);
			return 0;
		}
		if (head[at] != '\n')
			continue;
		if (at == http1->line_start + 1)
			return at + 1;
		http1->line_start = at + 1;
	}
	if (http1->scanned >= max) {
		session->site->stats.header_overflows++;
		http1_refuse(session, 431, NULL);
	}
	return 0;
}

static bool is_token(const char *name)
{
	for (; *name; name++)
		if (!isalnum((unsigned char)*name) && !strchr("!#$%&'*+-.^_`|~", *name))
			return false;
	return true;
}

static bool parse_length(const char *text, uint64_t *length)
{
	size_t digits = strspn(text, "0123456789");
	if (!digits || digits > 18 || text[digits])
		return false;
	*length = strtoull(text, NULL, 10);
	return true;
}

/* What is wrong with the framing fields, or NULL; sets the state for the body. */
static const char *framing_fault(struct http1 *http1, const struct headers *headers)
{
	const char *length = headers_get(headers, "content-length");
	const char *coding = headers_get(headers, "transfer-encoding");
	http1->state = HTTP1_LENGTH;
	http1->remaining = 0;
	for (size_t i = 0; i + 2 < headers->count; i++)
		if (!is_token(headers_name(headers, i)))
			return "malformed header name";
	if (headers_count(headers, "host") != 1 && http1->minor >= 1)
		return "exactly one Host header is needed";
	if (headers_count(headers, "content-length") > 1 || (length && coding))
		return "ambiguous body length";
	if (length && !parse_length(length, &http1->remaining))
		return "malformed Content-Length";
	if (!coding)
		return NULL;
	if (headers_count(headers, "transfer-encoding") > 1 || strcasecmp(coding, "chunked") ||
	    !http1->minor)
		return "only chunked is understood as Transfer-Encoding";
	http1->state = HTTP1_CHUNKED;
	http1->chunk = (struct chunk){0};
	return NULL;
}

static void start_request(struct session *session, struct stream *stream)
{
	struct http1 *http1 = &session->http1;
	const struct headers *headers = &stream->headers;
	const char *expect = headers_get(headers, "expect");
	const char *fault = framing_fault(http1, headers);
	http1->keep_alive = http1->minor >= 1 && !session->draining &&
			    !headers_have_token(headers, "connection", "close");
	if (fault) {
		refuse_malformed(session, fault);
		return;
	}
	stream_head(stream);
	if (http1->remaining > session->site->options.body_max) {
		session->site->stats.body_overflows++;
		http1_refuse(session, 413, NULL);
	} else if (stream->answered || !strcmp(stream->request.method, "CONNECT")) {
		http1_refuse(session, 400, NULL);
	} else if (grpc_is_type(headers_get(headers, "content-type"))) {
		http1_refuse(session, 415, "gRPC needs HTTP/2");
	} else {
		http1->expects = expect && !strcasecmp(expect, "100-continue") &&
				 (http1->remaining || http1->state == HTTP1_CHUNKED);
	}
	session_wake(session);
}

static bool advance_head(struct session *session)
{
	struct http1 *http1 = &session->http1;
	/* One empty line before a request is forgiven (RFC 9112, 2.2), and costs its time. */
	if (http1->scanned == 0 && *buffer_bytes(&session->input) == '\r') {
		if (buffer_size(&session->input) < 2)
			return false;
		if (buffer_bytes(&session->input)[1] == '\n') {
			buffer_consume(&session->input, 2);
			return true;
		}
	}
	size_t size = scan_head(session);
	if (!size)
		return false;
	struct stream *stream = stream_new(session, 0);
	enum parser_result result =
		parser_head(buffer_bytes(&session->input), size, &stream->headers, &http1->minor);
	buffer_consume(&session->input, size);
	http1->scanned = 0;
	http1->line_start = 0;
	http1->head_sent = false;
	http1->expects = false;
	session->head_since_ms = 0;
	if (result == PARSER_GOOD)
		start_request(session, stream);
	else if (result == PARSER_MALFORMED)
		refuse_malformed(session, NULL);
	else
		http1_refuse(session, 431, "too many headers");
	return true;
}

/* The body is complete: a refusal on the way has ended the keeping alive already. */
static void body_end(struct session *session)
{
	session->http1.state = HTTP1_WAIT;
	session->http1.expects = false;
	stream_end(session->streams);
}

/* A refused body is not read to its end: what follows it cannot be found. */
static void body_refused(struct session *session)
{
	session->http1.keep_alive = false;
	session->http1.state = HTTP1_WAIT;
	session->streams->body_complete = true;
	buffer_clear(&session->input);
}

static bool advance_length(struct session *session)
{
	struct http1 *http1 = &session->http1;
	size_t size = buffer_size(&session->input);
	if (size > http1->remaining)
		size = (size_t)http1->remaining;
	stream_body(session->streams, buffer_bytes(&session->input), size);
	if (session->streams->answered) {
		body_refused(session);
		return false;
	}
	buffer_consume(&session->input, size);
	http1->remaining -= size;
	if (http1->remaining)
		return false;
	body_end(session);
	return true;
}

static bool advance_chunked(struct session *session)
{
	struct http1 *http1 = &session->http1;
	while (buffer_size(&session->input) && http1->chunk.state != CHUNK_END) {
		const uint8_t *body;
		size_t body_size, used;
		if (!chunk_next(&http1->chunk, buffer_bytes(&session->input),
				buffer_size(&session->input), &used, &body, &body_size)) {
			refuse_malformed(session, "malformed chunk");
			return false;
		}
		stream_body(session->streams, body, body_size);
		if (session->streams->answered) {
			body_refused(session);
			return false;
		}
		buffer_consume(&session->input, used);
	}
	if (http1->chunk.state != CHUNK_END)
		return false;
	body_end(session);
	return true;
}

static bool advance_step(struct session *session)
{
	switch (session->http1.state) {
	case HTTP1_HEAD:
		if (session->finishing)
			return false;
		if (buffer_size(&session->input) && !session->head_since_ms)
			session->head_since_ms = session->site->now_ms;
		return advance_head(session);
	case HTTP1_LENGTH:
		return advance_length(session);
	case HTTP1_CHUNKED:
		return advance_chunked(session);
	case HTTP1_WAIT:
		break;
	}
	return false;
}

void http1_advance(struct session *session)
{
	while (advance_step(session))
		;
}

static void write_head(struct session *session, struct response *response, struct buffer *out)
{
	struct http1 *http1 = &session->http1;
	bool has_length = response->status != 204 && response->status != 304;
	http1->chunked = response->streaming && !response->bodiless && http1->minor >= 1;
	if (response->streaming && !http1->chunked && !response->bodiless)
		http1->keep_alive = false; /* HTTP/1.0: the end of the connection ends the body */
	if (session->draining)
		http1->keep_alive = false;
	buffer_format(out, "HTTP/1.1 %u %s\r\n", response->status,
		      parser_status_text(response->status));
	for (size_t i = 0; i < response->headers.count; i++)
		buffer_format(out, "%s: %s\r\n", headers_name(&response->headers, i),
			      headers_value(&response->headers, i));
	if (http1->chunked)
		buffer_text(out, "transfer-encoding: chunked\r\n");
	else if (!response->streaming && has_length)
		buffer_format(out, "content-length: %zu\r\n", response->length);
	if (!http1->keep_alive)
		buffer_text(out, "connection: close\r\n");
	buffer_text(out, "\r\n");
	http1->head_sent = true;
}

static void write_body(struct session *session, struct response *response, struct buffer *out,
		       size_t max)
{
	while (response_pending(response) && buffer_size(out) < max) {
		size_t size = response_pending(response);
		if (size > CHUNK_SENT_MAX)
			size = CHUNK_SENT_MAX;
		if (session->http1.chunked)
			buffer_format(out, "%zx\r\n", size);
		buffer_grow(out, response_take(response, buffer_reserve(out, size), size));
		if (session->http1.chunked)
			buffer_text(out, "\r\n");
	}
}

static void response_over(struct session *session)
{
	stream_free(session->streams);
	session->http1.state = HTTP1_HEAD;
	if (!session->http1.keep_alive)
		session->finishing = true;
}

/* True when the response is through and the next request may be looked at. */
static bool fetch_response(struct session *session, struct buffer *out, size_t max)
{
	struct stream *stream = session->streams;
	struct http1 *http1 = &session->http1;
	if (!stream)
		return false;
	if (http1->expects && !stream->answered) {
		buffer_text(out, "HTTP/1.1 100 Continue\r\n\r\n");
		http1->expects = false;
	}
	if (stream->answered && http1->state != HTTP1_WAIT)
		body_refused(session); /* by the clock, not by input */
	struct response *response = &stream->response;
	if (!response->begun || http1->state != HTTP1_WAIT)
		return false;
	if (!http1->head_sent)
		write_head(session, response, out);
	write_body(session, response, out, max);
	if (response->bodiless) {
		response_over(session);
		return true;
	}
	if (response->cut) {
		session->broken = true; /* a body cut short cannot be told otherwise */
		return false;
	}
	if (!response_complete(response))
		return false;
	if (http1->chunked)
		buffer_text(out, "0\r\n\r\n");
	response_over(session);
	return true;
}

void http1_fetch(struct session *session, struct buffer *out, size_t max)
{
	while (!session->broken && buffer_size(out) < max && fetch_response(session, out, max))
		http1_advance(session);
}
