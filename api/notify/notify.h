/* The notifier: alert transitions in, webhook requests out. Each receiver has its own queue, pace,
 * retries and circuit breaker, so that one that is away disturbs no other. What became of each
 * transition goes out as a record, which the caller keeps (millrace.alerts.delivery); given to
 * notify_settled() at the next start, the records keep it from sending anything twice.
 *
 * Rules: the first attempt is made at once; a retry waits 1 s to 5 min with full jitter, or what
 * Retry-After says; of one episode only the newest transition waits, and a resolve goes out only
 * after its firing was delivered, and then always. Before the first firing of an episode is sent
 * there is a record that it may be, so that after a crash in between nobody believes that it was
 * not: a firing that got no answer, or whose answer died with the process, is sent again until it
 * is answered, and then its resolve. Given up after life_ns, or at once when the receiver says that
 * it will never take it; an end that is owed has no such limit. What is silenced waits, and is sent
 * when it is silenced no more and still fires; life_ns counts from then. Bounded: pending_max
 * transitions a receiver, those that are silenced included and first to leave; past it the oldest
 * is given up and counted.
 *
 * One libuv loop, on its thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "anomaly/alert.h"
#include "api/notify/breaker.h"
#include "api/notify/delivery.h"
#include "api/notify/retry.h"
#include "api/notify/route.h"

enum receiver_kind {
	RECEIVER_SLACK,
	RECEIVER_PAGERDUTY,
	RECEIVER_WEBHOOK,
	RECEIVER_ALERTMANAGER,
	RECEIVER_SLACK_BOT,
	RECEIVER_KINDS,
};

/* slack (also of the bot), pagerduty, webhook, alertmanager */
const char *receiver_kind_name(uint32_t kind);

/* Why a transition was given up. */
enum notify_failure {
	NOTIFY_REFUSED, /* the receiver will not take this one */
	NOTIFY_GONE,	/* it takes nothing any more: 403, 404, 410 */
	NOTIFY_EXPIRED, /* not delivered within life_ns */
	NOTIFY_CROWDED, /* more than pending_max wait */
	NOTIFY_FAILURES,
};

const char *notify_failure_name(enum notify_failure failure); /* refused, gone, ... */

struct receiver {
	const char *name;
	uint32_t kind;		     /* enum receiver_kind */
	const char *url;	     /* Slack: the incoming webhook; PagerDuty: the events endpoint;
					Alertmanager: its address; Slack's bot: of the Web API */
	const char *token, *channel; /* of Slack's bot */
	const char *title, *text;    /* api/notify/template.h; lent; NULL: as its kind has it */
	const char *secret;	     /* webhook: signs; api/notify/webhook.h */
	const char *former_secret;   /* signs too while the secret is changed; NULL: none */
	const char *routing_key;     /* PagerDuty: 32 characters */
	uint32_t severity_min;	     /* enum alert_severity: lesser alerts are not sent */
	struct route route;	     /* nor what it does not take; patterns are lent for its life */
	bool self_alerts; /* alerts about Millrace itself are sent, whatever their severity */
	uint32_t per_minute, burst; /* messages; 0: as its kind allows */
	uint64_t resolve_after_ns;  /* Alertmanager: what was not told again for so long is over */
};

/* Where in the outbox a transition stands. */
struct notify_place {
	int32_t partition;
	int64_t offset;
};

enum { NOTIFY_LOCAL = -1 }; /* the partition of alerts about Millrace itself: of no outbox */

struct notify_receipt;

struct notify_options {
	const struct receiver *receivers; /* copied */
	size_t receivers_count;
	const char *external_url; /* of this Millrace, for links; NULL: none */
	bool allow_http;	  /* plain http receivers */
	bool allow_private;	  /* receivers on loopback and private addresses */
	uint64_t timeout_ns;	  /* of one request: 10 s */
	uint64_t life_ns;	  /* 24 h */
	uint32_t pending_max;	  /* 10,000 */
	/* An alert waits no longer for the record before it. Where records are not kept in that
	 * time it does not wait at all, and a crash then may leave an incident that nobody ends. */
	uint32_t announce_wait_ms;
	uint32_t breaker_failures; /* in a row, that open a receiver's breaker: 5 */
	struct retry_limits retry;
	uint64_t (*now_ns)(void); /* real time */
	void *context;
	/* Whether another process may go on in this one's place, which is not known yet: nothing of
	 * the outbox is begun then, as in a pause; notify_resume goes on. NULL: never. */
	bool (*doubts)(void *context);
	/* Until when (real time) nobody is to be told of the firing incident, or was last; 0:
	 * never. notify_review says that it may be another. NULL: never. */
	uint64_t (*silenced)(void *context, const struct alert *alert);
	/* Whether somebody has acknowledged the firing incident since it fired, or fired again:
	 * then receivers whom an update would notify are told of a rise of severity and of its end
	 * alone. NULL: nobody has. */
	bool (*acknowledged)(void *context, const struct alert *alert);
	/* Keep it, and call notify_recorded when it is durable: at once or later, exactly once. */
	void (*record)(void *context, const struct delivery *delivery,
		       struct notify_receipt *receipt);
	/* A transition that the receiver will not hear of. The sentence may hold foreign words,
	 * made safe. */
	void (*given_up)(void *context, const char *receiver, const struct alert *alert,
			 const struct notify_place *place, enum notify_failure failure,
			 const char *sentence);
	/* For the log: one sentence about a receiver; secrets are not in it. */
	void (*trouble)(void *context, const char *receiver, const char *sentence);
};

struct notify_receiver_stats {
	const char *name;
	uint32_t kind;
	uint64_t sent, retried, superseded;
	uint64_t failed[NOTIFY_FAILURES];
	uint64_t silenced;     /* transitions that were held back */
	uint64_t silenced_now; /* held back now; not pending */
	uint64_t pending, in_flight;
	uint64_t unrecorded; /* settled, the record of it is not kept yet */
	uint64_t open;	     /* episodes whose end is owed */
	uint64_t forgotten;  /* of them, as there were too many */
	uint64_t tested;     /* tests sent */
	uint64_t repeated;   /* times that an alert was told again as the receiver forgets */
	uint64_t unrepeated; /* alerts that are not, as there were too many */
	enum breaker_state breaker;
	uint64_t breaker_opened;   /* times */
	uint64_t resumes_in_ms;	   /* 0: nothing is held back by the breaker or by Retry-After */
	bool disabled;		   /* it refused for good: 403, 404, 410 */
	uint64_t delivered_ns;	   /* real time of the last delivery; 0: none in this life */
	uint64_t failing_since_ns; /* real time since when all tries fail; 0: none did, or nothing
				      waits */
	const char *last_error;	   /* empty if none since the last delivery */
};

/* What became of a test. */
struct notify_trial {
	bool sent;	 /* else error says why not */
	bool taken;	 /* and its end, if that was sent */
	long status;	 /* the last answer's; 0: there was none */
	char error[256]; /* a sentence unless it was taken; foreign words in it are made safe */
	uint64_t took_ns;
};

/* trial: NULL when the notifier closes before it is known. */
typedef void (*notify_tried)(void *context, const struct notify_trial *trial);

struct notify;

/* NULL with *error set to a sentence when a receiver cannot be used as configured. */
struct notify *notify_new(uv_loop_t *loop, const struct notify_options *options,
			  const char **error);
/* A record of an earlier life; all of them, then notify_begin, before the first notify_push of the
 * outbox. Those of alerts about Millrace itself come from elsewhere: before their own. */
void notify_settled(struct notify *notify, const struct delivery *delivery);
void notify_begin(struct notify *notify);
/* place: NULL for an alert about Millrace itself, which only receivers of such get. Of an incident
 * hears whom its severity and route let, and who was told of it, or is to be, hears of all until
 * its end. False: no receiver is for it. */
bool notify_push(struct notify *notify, const struct alert *alert,
		 const struct notify_place *place);
/* An incident that still fires, as who reads the outbox back knows it: receivers that forget are
 * told again of what they had. */
void notify_remind(struct notify *notify, const struct alert *alert);
/* Once a second. */
void notify_turn(struct notify *notify);
/* The record that came with the receipt is durable, or will never be. */
void notify_recorded(struct notify_receipt *receipt);
/* Lowers each partition's position to the lowest offset that may still be needed after a crash. */
void notify_hold(const struct notify *notify, int64_t *positions, size_t partitions);
/* Begins nothing more of the outbox, for another may go on with it; what is under way goes on, each
 * request for timeout_ns at most, and so does what came without a place. Until it is resumed. */
void notify_pause(struct notify *notify);
void notify_resume(struct notify *notify);
/* What is silenced is another than before: what no longer is goes on. */
void notify_review(struct notify *notify);
/* Whether a request is under way; and whether a record is. */
bool notify_sends(const struct notify *notify);
bool notify_records(const struct notify *notify);
/* Sends the firing alert to a receiver, by its number among the configured, marked as a test, and
 * where such stays open its end once it was taken. Beside all that waits: nothing is tried again or
 * recorded, and the breaker is not asked, but the receiver's pace is. told is called once, now or
 * later. */
void notify_try(struct notify *notify, size_t receiver, const struct alert *alert,
		notify_tried told, void *context);
/* Whether that receiver is for it, by severity and route. */
bool notify_routes(const struct notify *notify, size_t receiver, const struct alert *alert);
size_t notify_stats(const struct notify *notify, struct notify_receiver_stats *stats, size_t max);
/* Stops requests under way and calls closed when all handles are gone; then notify_free. */
void notify_close(struct notify *notify, void (*closed)(void *context), void *context);
/* Receipts that are still out are gone with it. */
void notify_free(struct notify *notify);
