/*
 * HTTP/1.0 and 1.1: one request at a time, in order; what a client pipelines waits in the input.
 *
 *   HEAD --whole head--> LENGTH or CHUNKED --body--> WAIT --response fetched--> HEAD
 *
 * Strict where leniency lets a proxy and us disagree on where a request ends: a bare CR or
 * LF, NUL, folded field, space before a colon, doubled or combined framing, or a malformed chunk
 * gets a 400 and the connection's end. Lines are held to 8 KiB, heads to header_bytes_max. One
 * thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/http/buffer.h"
#include "api/http/chunk.h"

struct session;

enum http1_state { HTTP1_HEAD, HTTP1_LENGTH, HTTP1_CHUNKED, HTTP1_WAIT };

struct http1 {
	enum http1_state state;
	uint64_t remaining; /* of a body with a length */
	struct chunk chunk;
	size_t scanned;	   /* of the input's head, found clean so far */
	size_t line_start; /* in the input */
	unsigned minor;
	bool keep_alive;
	bool expects; /* owes the client a 100 Continue */
	bool head_sent;
	bool chunked; /* the response's framing */
};

/* Consumes what the state allows of the session's input. */
void http1_advance(struct session *session);
void http1_fetch(struct session *session, struct buffer *out, size_t max);
/* Answers with an error and ends the connection after it. */
void http1_refuse(struct session *session, unsigned status, const char *detail);
