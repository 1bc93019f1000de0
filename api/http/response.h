/* The inside of a response: what the handler has said and the protocols have not yet sent. The
 * handler's side is in server.h; the take side is for http1.c and http2.c. One thread. */
#pragma once

#include "api/http/headers.h"
#include "api/http/server.h"

struct response {
	struct headers headers; /* without :status and framing */
	unsigned status;
	bool begun;	/* the head may be sent */
	bool streaming; /* length not known at the head */
	bool ended;	/* the handler is done */
	bool detached;	/* the handler has been told that the client is gone */
	bool bodiless;	/* HEAD, 204, 304: the body is dropped, its length kept */
	bool paused;	/* a write said false: the writable callback is due */
	bool cut;	/* to be torn down at the next chance: the producer ran past pending_max */
	bool trailers;	/* gRPC: end with grpc_status and grpc_message */
	enum grpc_status grpc_status;
	char *grpc_message; /* percent-encoded, or NULL */
	size_t length;	    /* of a body given at once */
	struct buffer body;
	const uint8_t *lent; /* instead of body: a static asset */
	size_t lent_size;
	response_callback writable, gone;
	void *writable_context, *gone_context;
};

void response_done(struct response *response);
size_t response_pending(const struct response *response);
/* Moves up to `size` bytes of the body out; returns how many. */
size_t response_take(struct response *response, uint8_t *out, size_t size);
/* Nothing more will come and all has been taken. */
bool response_complete(const struct response *response);
/* Tells the handler, once, that its answer will reach nobody. */
void response_abandon(struct response *response);
/* Makes the callbacks that are due; from the top of the session only, never inside a protocol. */
void response_settle(struct response *response);
