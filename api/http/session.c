#include "api/http/session.h"

#include <stdio.h>
#include <string.h>

#include "api/http/http2.h"
#include "api/http/site.h"
#include "api/http/stream.h"

/* What pipelines behind an unanswered HTTP/1 request before the socket is left alone. */
enum { INPUT_WAITING_MAX = 64 << 10 };

static const char preface[] = "PRI * HTTP/2.0"; /* of 24 bytes; nghttp2 checks them all */

void session_init(struct session *session, struct site *site, const char *peer, bool secure)
{
	memset(session, 0, sizeof(*session));
	session->site = site;
	session->secure = secure;
	session->head_since_ms = session->idle_since_ms = site->now_ms;
	snprintf(session->peer, sizeof(session->peer), "%s", peer);
}

void session_done(struct session *session)
{
	session->broken = true;
	session->wake = NULL;
	while (session->streams)
		stream_free(session->streams);
	http2_free(session->http2);
	session->http2 = NULL;
	buffer_done(&session->input);
}

void session_wake(struct session *session)
{
	if (session->wake)
		session->wake(session->wake_context);
}

void session_expect_http2(struct session *session)
{
	session->protocol = SESSION_HTTP2;
	session->head_since_ms = 0;
	session->http2 = http2_new(session);
	session_wake(session);
}

static void feed_http2(struct session *session, const uint8_t *bytes, size_t size)
{
	if (!http2_feed(session->http2, bytes, size))
		session->broken = true;
}

static void sniff(struct session *session)
{
	size_t size = buffer_size(&session->input);
	size_t compared = size < sizeof(preface) - 1 ? size : sizeof(preface) - 1;
	if (memcmp(buffer_bytes(&session->input), preface, compared)) {
		session->protocol = SESSION_HTTP1;
		http1_advance(session);
	} else if (compared == sizeof(preface) - 1) {
		session_expect_http2(session);
		feed_http2(session, buffer_bytes(&session->input), size);
		buffer_done(&session->input);
	}
}

void session_feed(struct session *session, const uint8_t *bytes, size_t size)
{
	if (session->finishing || session->broken)
		return;
	if (session->protocol == SESSION_HTTP2) {
		feed_http2(session, bytes, size);
		return;
	}
	buffer_append(&session->input, bytes, size);
	if (session->protocol == SESSION_SNIFFING)
		sniff(session);
	else
		http1_advance(session);
	session_wake(session);
}

bool session_hungry(const struct session *session)
{
	return session->protocol != SESSION_HTTP1 ||
	       buffer_size(&session->input) < INPUT_WAITING_MAX;
}

void session_eof(struct session *session)
{
	session->finishing = true;
	bool unanswered = false;
	for (struct stream *stream = session->streams; stream; stream = stream->next) {
		response_abandon(&stream->response);
		unanswered |= !stream->response.ended;
	}
	/* A HTTP/1 client may close its side and still read the answer that is on its way. */
	if (unanswered || session->protocol == SESSION_HTTP2 || !session->streams)
		session->broken = true;
	session_wake(session);
}

/* A callback may add to its own stream only, and none leaves the list here. */
static void settle(struct session *session)
{
	for (struct stream *stream = session->streams; stream; stream = stream->next)
		response_settle(&stream->response);
}

void session_fetch(struct session *session, struct buffer *out, size_t max)
{
	if (session->broken)
		return;
	settle(session);
	if (session->protocol == SESSION_HTTP1)
		http1_fetch(session, out, max);
	else if (session->protocol == SESSION_HTTP2)
		http2_fetch(session->http2, out, max);
	settle(session);
}

static void tick_head(struct session *session)
{
	struct site *site = session->site;
	if (!session->head_since_ms ||
	    site->now_ms - session->head_since_ms <= site->options.header_timeout_ms)
		return;
	site->stats.header_timeouts++;
	if (session->protocol == SESSION_HTTP1 && buffer_size(&session->input))
		http1_refuse(session, 408, NULL);
	else
		session->broken = true;
	session->head_since_ms = 0;
}

static void tick_idle(struct session *session)
{
	struct site *site = session->site;
	if (session->streams || session->draining || session->head_since_ms ||
	    site->now_ms - session->idle_since_ms <= site->options.idle_timeout_ms)
		return;
	site->stats.idle_timeouts++;
	session_drain(session);
}

static void tick_streams(struct session *session)
{
	for (struct stream *stream = session->streams; stream; stream = stream->next) {
		if (stream_tick(stream))
			continue;
		if (session->protocol == SESSION_HTTP2)
			http2_reset(session->http2, stream);
		else
			session->broken = true;
		response_abandon(&stream->response);
		stream->progress_ms = session->site->now_ms;
		session_wake(session);
	}
}

void session_tick(struct session *session)
{
	tick_head(session);
	tick_idle(session);
	tick_streams(session);
	if (session->draining)
		session_drain(session);
}

void session_drain(struct session *session)
{
	session->draining = true;
	if (session->protocol == SESSION_HTTP2)
		http2_shutdown(session->http2);
	else if (!session->streams)
		session->finishing = true;
	session_wake(session);
}

bool session_over(const struct session *session)
{
	if (session->broken)
		return true;
	if (session->protocol == SESSION_HTTP2)
		return http2_over(session->http2);
	return session->finishing && !session->streams;
}
