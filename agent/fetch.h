/* One GET in the libuv loop, HTTP/1.1, over a Unix socket or TCP: the answer whole, or part by part
 * as it comes. Bounds: the time until it is whole (of an answer in parts, until its head), and its
 * bytes. What comes is foreign; a malformed answer is an error. One thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct fetch;

struct fetch_options {
	uv_loop_t *loop;
	const char *socket;		/* lent for the call, as the next two; NULL: over TCP */
	const struct sockaddr *address; /* to whom, then */
	const char *target;
	uint64_t timeout_ms;
	size_t bytes_max; /* of a whole answer; 0: it comes in parts */
	/* The answer in parts: its head with status 200, then its bytes. */
	void (*began)(void *context);
	void (*part)(void *context, const char *bytes, size_t length);
	/* The end, once, not after fetch_close: 0 with the HTTP status and the whole answer (bytes
	 * is NULL for one in parts), or -errno; -EMSGSIZE if it passes bytes_max. The fetch is gone
	 * then. */
	void (*done)(void *context, int error, unsigned status, const char *bytes, size_t length);
	void *context;
};

struct fetch *fetch_open(const struct fetch_options *options);
void fetch_close(struct fetch *fetch);
