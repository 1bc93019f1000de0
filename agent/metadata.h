/* Asks the cloud's metadata service what the node is: AWS (IMDSv2: a session token first), GCP,
 * Azure. The questions are asked one after another on a thread of the loop's pool and given up
 * after METADATA_WITHIN_MS altogether, so the loop never waits. No proxy, no redirect, no name
 * look-up: the services have one link-local address. Bounded by CLOUD_ANSWER_MAX_BYTES an answer.
 * The loop's thread. */
#pragma once

#include <uv.h>

#include "agent/cloud.h"

enum { METADATA_WITHIN_MS = 1000, METADATA_WHY_BYTES = 256 };

struct metadata_options {
	uv_loop_t *loop;
	enum cloud cloud;
	const char *endpoint;	  /* http://host:port, lent for its life; NULL: the cloud's own */
	struct cloud_facts known; /* what was found already; answers add to it */
	/* Once. found: something was answered; else why says what to do. */
	void (*done)(void *context, bool found, const struct cloud_facts *facts, const char *why);
	void *context;
};

struct metadata;
int metadata_ask(struct metadata **out, const struct metadata_options *options); /* 0 or -errno */
/* No callback comes any more; the loop must run until the thread is back. Frees itself then. */
void metadata_close(struct metadata *metadata);
