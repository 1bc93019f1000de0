/* GETs to an API server over one connection, where it offers HTTP/2, else over one each: libcurl on
 * a libuv loop. The body of an answer with status 200 is handed on as it comes; of any other the
 * beginning is kept, to say what was wrong. The token is read for each request. No redirects, no
 * proxy: the token goes to the server that is configured.
 *
 * Bounds: a call that brings no byte for its idle_ms is cut, and so is a connection whose peer
 * acknowledges nothing for 15 s; of an answer that is a refusal 4 KiB are kept. Owned by the loop's
 * thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "kube/config.h"

enum { KUBE_ERROR_BYTES = 512 };

struct kube_client;
struct kube_call;

struct kube_answer {
	long status;		      /* of HTTP; 0: there was none, or it was cut */
	bool whole;		      /* it ended as answers do */
	bool idle;		      /* nothing came for idle_ms */
	char error[KUBE_ERROR_BYTES]; /* a sentence, unless all is well */
	uint32_t retry_after_s;	      /* as the server asks */
};

/* The beginning of an answer. The server's clock was at `date_s` seconds at some moment between the
 * other two; 0: it does not say. */
struct kube_head {
	long status;
	uint64_t date_s, sent_ns, came_ns;
};

struct kube_call_options {
	const char *target; /* path and query; lent for the call */
	bool watch;
	uint64_t idle_ms;
	bool fresh; /* not over a connection that is there: the last one hung */
	void (*head)(void *context, const struct kube_head *head);
	/* Part of the body of status 200. False: no more is wanted; then done follows. */
	bool (*body)(void *context, const uint8_t *bytes, size_t length);
	/* Once, later. Not after kube_call_end. */
	void (*done)(void *context, const struct kube_answer *answer);
	void *context;
};

/* config is lent until the client is closed. */
struct kube_client *kube_client_new(uv_loop_t *loop, const struct kube_config *config);
struct kube_call *kube_client_get(struct kube_client *client,
				  const struct kube_call_options *options);
/* Not from within its own callbacks. */
void kube_call_end(struct kube_call *call);
/* Once all calls are done or ended; closed is called when the loop has let go. */
void kube_client_close(struct kube_client *client, void (*closed)(void *context), void *context);
