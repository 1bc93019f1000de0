/* gRPC over a stream: 5-byte framing, the method table, status and trailers, deadlines.
 * A message is bounded by message_max, and only one is in memory at a time. Source: gRPC's
 * doc/PROTOCOL-HTTP2.md. One thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "api/http/server.h"

struct stream;
struct route;

struct grpc_call {
	const struct route *route;
	uint8_t prefix[5]; /* of the message being read: flag and big-endian length */
	unsigned prefix_size;
	uint32_t message_size;
	uint64_t messages; /* received whole */
};

/* Whether a content-type selects gRPC. */
bool grpc_is_type(const char *content_type);
/* The value of a grpc-timeout header, rounded up, or -1 when malformed. */
int64_t grpc_timeout_ms(const char *value);

void grpc_head(struct stream *stream);
void grpc_body(struct stream *stream, const uint8_t *bytes, size_t size);
void grpc_end(struct stream *stream);
/* Ends the call with a status of ours, telling the handler, if it has begun, that it is over. */
void grpc_refuse(struct stream *stream, enum grpc_status status, const char *message);
