/*
 * One connection as a pure machine: bytes in, bytes out, time from the site; no socket.
 *
 * The first bytes decide between HTTP/1.1 and HTTP/2. Input is held to the header bound, output is
 * made only as fast as it is fetched. Handlers' callbacks run from feed, fetch and tick, never
 * inside a protocol's send path. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/http/buffer.h"
#include "api/http/http1.h"

struct http2;
struct site;
struct stream;

enum session_protocol { SESSION_SNIFFING, SESSION_HTTP1, SESSION_HTTP2 };

struct session {
	struct site *site;
	enum session_protocol protocol;
	struct http1 http1;
	struct http2 *http2;
	struct buffer input; /* not parsed yet */
	struct stream *streams;
	size_t stream_count;
	uint64_t head_since_ms; /* a head is awaited since; 0 when none is */
	uint64_t idle_since_ms; /* no stream since */
	bool secure;
	bool draining;
	bool finishing; /* input is ignored; over when all output is fetched */
	bool broken;	/* over at once */
	char peer[46];
	void (*wake)(void *context); /* there may be output: call session_fetch soon */
	void *wake_context;
};

void session_init(struct session *session, struct site *site, const char *peer, bool secure);
void session_done(struct session *session);
/* ALPN chose h2: nothing else is accepted. */
void session_expect_http2(struct session *session);

void session_feed(struct session *session, const uint8_t *bytes, size_t size);
/* False: leave the bytes in the socket for now. */
bool session_hungry(const struct session *session);
/* The peer has closed its side: unanswered requests are abandoned. */
void session_eof(struct session *session);
/* Appends about `max` bytes of output. */
void session_fetch(struct session *session, struct buffer *out, size_t max);
/* Enforces all timeouts; at least every 100 ms or so. */
void session_tick(struct session *session);
/* No new requests; over when those under way are answered. */
void session_drain(struct session *session);
/* True when the connection is to be closed once what was fetched has been sent. */
bool session_over(const struct session *session);
void session_wake(struct session *session);
