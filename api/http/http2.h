/*
 * HTTP/2 by nghttp2: frames to streams and responses to frames.
 *
 * Against floods: nghttp2's limits on stream resets, CONTINUATION and SETTINGS; ours on control
 * frames (100/s with a burst, one more for each frame of data sent, since acknowledging data is no
 * flood) and on the share of streams that the peer resets. Windows are 64 KiB a stream and 1 MiB a
 * connection. Nothing is sent from inside nghttp2's receive callbacks. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/http/buffer.h"

struct http2;
struct session;
struct stream;

struct http2 *http2_new(struct session *session);
void http2_free(struct http2 *http2);
/* False: the connection is beyond repair. Mere protocol errors queue a GOAWAY instead. */
bool http2_feed(struct http2 *http2, const uint8_t *bytes, size_t size);
void http2_fetch(struct http2 *http2, struct buffer *out, size_t max);
void http2_reset(struct http2 *http2, const struct stream *stream);
/* The first call announces the end, the second, at least a round trip later, sets the last stream.
 */
void http2_shutdown(struct http2 *http2);
bool http2_over(const struct http2 *http2);
