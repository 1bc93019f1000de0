/* The notifier: alert transitions in, webhook requests out. Each receiver has its own queue, pace,
 * retries and circuit breaker, so that one that is away disturbs no other. What was settled
 * (delivered, or given up) comes back through a sink and is kept by the caller in
 * millrace.alerts.delivery; given to notify_settled() at the start it keeps a restart from sending
 * anything twice.
 *
 * Rules: the first attempt is made at once; retries wait 1 s to 5 min with full jitter, or what
 * Retry-After says; of one episode only the newest transition waits, and a resolve goes out only
 * after its firing was delivered. A firing that got no answer may have arrived: it is sent again
 * until it is answered, and then its resolve. Given up after life_ns, or at once when the receiver
 * says that it will never take it. Bounded: pending_max transitions a receiver; past it the oldest
 * is given up and counted.
 *
 * One libuv loop, on its thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "anomaly/alert.h"
#include "api/notify/delivery.h"

enum receiver_kind { RECEIVER_SLACK, RECEIVER_PAGERDUTY };

struct receiver {
	const char *name;
	uint32_t kind;		 /* enum receiver_kind */
	const char *url;	 /* Slack: the incoming webhook; PagerDuty: the events endpoint */
	const char *routing_key; /* PagerDuty: 32 characters */
	uint32_t severity_min;	 /* enum alert_severity: lesser alerts are not sent */
};

struct notify_options {
	const struct receiver *receivers; /* copied */
	size_t receivers_count;
	const char *external_url; /* of this Millrace, for links; NULL: none */
	bool allow_http;	  /* plain http receivers */
	bool allow_private;	  /* receivers on loopback and private addresses */
	uint64_t timeout_ns;	  /* of one request: 10 s */
	uint64_t life_ns;	  /* 24 h */
	uint32_t pending_max;	  /* 10,000 */
	void *context;
	void (*settled)(void *context, const struct delivery *delivery);
	/* For the log: one sentence about a receiver; secrets are not in it. */
	void (*trouble)(void *context, const char *receiver, const char *sentence);
};

struct notify_receiver_stats {
	const char *name;
	uint64_t sent, failed, retried, superseded, dropped, pending;
	bool disabled;		/* it refused for good: 403, 404, 410 */
	const char *last_error; /* empty if none */
};

struct notify;

/* NULL with *error set to a sentence when a receiver cannot be used as configured. */
struct notify *notify_new(uv_loop_t *loop, const struct notify_options *options,
			  const char **error);
/* A delivery of an earlier life. Before the first notify_push. */
void notify_settled(struct notify *notify, const struct delivery *delivery);
void notify_push(struct notify *notify, const struct alert *alert);
size_t notify_stats(const struct notify *notify, struct notify_receiver_stats *stats, size_t max);
/* Stops requests under way and calls closed when all handles are gone; then notify_free. */
void notify_close(struct notify *notify, void (*closed)(void *context), void *context);
void notify_free(struct notify *notify);
