/* The service thread: one libuv loop with the API, the history, the notifier and the way out, and
 * the start and end of everything else. Starting waits for Kafka without end, with backoff, and
 * says in /readyz what it waits for:
 *
 *   reading state   deliveries and baselines are read from their topics to the end
 *   running         the pipeline reads events; alerts are read back from their topic (the outbox)
 * and notified
 *
 * What tasks produce comes in parcels through a mailbox; what the API shows of alerts comes from
 * the outbox, so it is what other readers see. */
#pragma once

#include <stdbool.h>

#include "daemon/settings.h"

struct service_options {
	const struct settings *settings;
	const struct config_sources *sources; /* of the keys, which are read again */
	bool embedded;			      /* start the embedded broker and use it */
};

/* Runs until SIGTERM or SIGINT. Returns the process's exit status. */
int service_run(const struct service_options *options);
