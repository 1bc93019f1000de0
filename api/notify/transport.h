/* HTTP requests to receivers: libcurl's multi interface on a libuv loop. One request is one POST of
 * JSON, never redirected, never through a proxy, bounded in time and in what is read of the answer.
 * Addresses are checked when they are connected to, so a name that changes its address between
 * look-up and use gains nothing. Owned by the loop's thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct transport;

struct transport_options {
	uv_loop_t *loop;
	bool allow_http, allow_private;
	uint64_t timeout_ns;
};

enum { ANSWER_BYTES_MAX = 64 * 1024, ANSWER_ERROR_MAX = 256 };

struct answer {
	long status; /* 0: no answer, error says why */
	char error[ANSWER_ERROR_MAX];
	bool may_have_arrived; /* the whole request was sent, so the peer may have acted on it */
	char retry_after[64];  /* the header's value, or empty */
	const char *body;      /* NUL-terminated; at most ANSWER_BYTES_MAX bytes of it */
	uint64_t sent_ns;      /* real time when the request began */
	uint64_t answered_ns;  /* and when its answer was complete */
};

/* answer is NULL when the transport closes before there is one. */
typedef void (*transport_done)(void *context, const struct answer *answer);

struct transport *transport_new(const struct transport_options *options);
/* headers: more lines, a NULL at the end; NULL: none. All is copied. done is called once, later or
 * when the transport closes. */
void transport_post(struct transport *transport, const char *url, const char *const *headers,
		    const char *body, size_t length, transport_done done, void *context);
/* Ends requests under way; closed is called when all handles are gone, and the transport with them.
 */
void transport_close(struct transport *transport, void (*closed)(void *context), void *context);
