/* The notifier among the others: reads the outbox (millrace.alerts) from where it left off, hands
 * its transitions to api/notify, keeps what became of them in millrace.alerts.delivery and commits
 * the outbox's position behind what is settled and kept. So a kill at any moment loses nothing, and
 * repeats at most the messages whose record Kafka did not have yet.
 *
 *   millrace.alerts ─► push ─► receivers
 *        ▲ commit        │ record
 *        └─ settled ◄─ millrace.alerts.delivery
 *
 * What is given up goes to millrace.deadletter. Alerts about Millrace itself come from
 * daemon/selfwatch.h and are kept in its journal instead. On the service loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "api/notify/heartbeat.h"
#include "api/notify/notify.h"
#include "daemon/histogram.h"
#include "daemon/outputs.h"
#include "daemon/selfwatch.h"
#include "daemon/settings.h"
#include "daemon/tail.h"

struct notifier;
struct query;
struct silences;

enum { NOTIFIER_RECEIVERS_MAX = 64 };

struct notifier_options {
	uv_loop_t *loop;
	const struct settings *settings;
	const char *brokers; /* lent for the notifier's life, as all of these */
	struct security *security;
	struct outputs *outputs;
	struct query *query; /* hears of alerts and of deliveries */
	const struct silences *silences;
	void *context;
	void (*kafka_trouble)(void *context, const char *sentence);
	void (*receiver_trouble)(void *context, const char *receiver, const char *sentence);
};

struct notifier_stats {
	struct notify_receiver_stats receivers[NOTIFIER_RECEIVERS_MAX];
	size_t receivers_count;
	struct heartbeat_stats heartbeat;
	struct selfwatch_stats self;
	const struct histogram *event_to_webhook;
	uint64_t read;	      /* transitions of the outbox */
	uint64_t undecodable; /* records of it that are no transition */
	uint64_t unheld;      /* records that Kafka refused for good */
	uint64_t unrouted;    /* incidents that began and that no receiver was for */
	uint64_t behind; /* records of the outbox from the committed position to the newest read */
};

/* NULL when the configuration cannot be used: the reason is logged. */
struct notifier *notifier_new(const struct notifier_options *options);
/* Records of millrace.alerts.delivery and millrace.alerts of earlier lives, as the state is read.
 */
void notifier_delivery(struct notifier *notifier, const uint8_t *value, size_t length);
void notifier_alert(struct notifier *notifier, const struct alert *alert,
		    const struct notify_place *place);
/* The deliveries were read to their end. */
void notifier_begin(struct notifier *notifier);
/* The outbox is read. */
void notifier_start(struct notifier *notifier);
/* As notify_pause and so on: another process may go on in this one's place. */
void notifier_pause(struct notifier *notifier);
void notifier_resume(struct notifier *notifier);
bool notifier_sends(const struct notifier *notifier);
bool notifier_records(const struct notifier *notifier);
/* What is silenced may be another than before. */
void notifier_review(struct notifier *notifier);
/* Once a second. clock_ns: the slowest log clock. */
void notifier_turn(struct notifier *notifier, bool running, uint64_t clock_ns);
/* Kafka's producer has room again. */
void notifier_room(struct notifier *notifier);
struct notifier_stats notifier_stats(const struct notifier *notifier);
/* For the API: see query_options. */
struct receiver_view;
size_t notifier_views(const struct notifier *notifier, struct receiver_view *views, size_t max);
/* As notify_try and notify_routes, by the number among the views. */
void notifier_try(struct notifier *notifier, size_t receiver, const struct alert *alert,
		  notify_tried told, void *context);
bool notifier_routes(const struct notifier *notifier, size_t receiver, const struct alert *alert);
/* Closes handles; when they are, and outputs are settled or closed, notifier_free. */
void notifier_close(struct notifier *notifier);
bool notifier_closed(const struct notifier *notifier);
void notifier_free(struct notifier *notifier);
