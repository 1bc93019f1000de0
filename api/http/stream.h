/* One request and its response, whichever protocol carried it. The protocol fills the header list
 * and the body; the stream holds them to the site's bounds, finds the handler and calls it.
 * Lives in its session's list; freed by the session. One thread. */
#pragma once

#include "api/http/grpc.h"
#include "api/http/headers.h"
#include "api/http/parameters.h"
#include "api/http/response.h"
#include "api/http/route.h"

#define REQUEST_ID_MAX 64

struct session;

struct stream {
	struct request request;
	struct response response;
	struct session *session;
	struct stream *next, **link;
	int32_t id;		/* HTTP/2's, else 0 */
	struct headers headers; /* pseudo-headers included, with their colon */
	struct parameters parameters;
	char *target; /* path, NUL, query */
	char request_id[REQUEST_ID_MAX + 1];
	struct buffer body;
	size_t body_counted; /* of body, in the site's body_bytes */
	uint64_t body_total; /* received so far, framing included */
	uint64_t body_since_ms;
	uint64_t progress_ms; /* when the last byte went out, or first waited */
	struct grpc_call call;
	bool head_complete;
	bool body_complete; /* the request has ended */
	bool answered;	    /* a handler or a refusal has taken it */
	/* HTTP/2's own */
	uint32_t header_bytes;
	bool header_overflow;
	bool submitted, deferred;
	bool outpaced; /* all of the answer is sent, the request has not ended yet */
	uint64_t outpaced_ms;
	uint64_t outpaced_total; /* body_total then */
};

struct stream *stream_new(struct session *session, int32_t id);
void stream_free(struct stream *stream);

/* The headers are all there. May answer at once (a refusal). */
void stream_head(struct stream *stream);
/* More of the request body; what exceeds a bound answers with 413 and drops the rest. */
void stream_body(struct stream *stream, const uint8_t *bytes, size_t size);
/* The request has ended: calls the handler unless it has been answered. */
void stream_end(struct stream *stream);
/* Answers with an error before or instead of the handler. */
void stream_refuse(struct stream *stream, unsigned status, const char *detail);
/* Runs the handler with the body as it is, and holds it to its duty. */
void stream_call(struct stream *stream, const struct route *route);
/* Deadlines, slow bodies, stalled readers. False: the stream must be reset. */
bool stream_tick(struct stream *stream);
void stream_body_done(struct stream *stream);

/* Adds `size` to the bodies in memory; false when bodies_max does not allow it. */
bool stream_account(struct stream *stream, size_t size);
struct stream *stream_of(struct response *response);
