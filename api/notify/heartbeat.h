/* A dead man's switch: while Millrace sees, a webhook is called once a period; a service outside
 * (one that expects a call every so often) tells people when none comes. So whatever ends Millrace,
 * its machine and its network included, is told by somebody else. One libuv loop, on its thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct heartbeat;

struct heartbeat_options {
	const char *url; /* copied; never told */
	uint64_t period_ns, timeout_ns;
	bool allow_http, allow_private;
	void *context;
	/* Asked before each call: whether Millrace sees. */
	bool (*sees)(void *context);
	void (*trouble)(void *context, const char *receiver, const char *sentence);
};

struct heartbeat_stats {
	uint64_t sent, failed;
	uint64_t withheld; /* periods in which Millrace did not see */
};

struct heartbeat *heartbeat_new(uv_loop_t *loop, const struct heartbeat_options *options);
struct heartbeat_stats heartbeat_stats(const struct heartbeat *heartbeat);
/* Frees itself when its handles are gone; the loop must run on until then. */
void heartbeat_close(struct heartbeat *heartbeat);
