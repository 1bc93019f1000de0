/* One receiver: its tickets, its pace, its breaker, and the rules of what is sent when. Belongs to
 * the notifier (notify.h), whose loop and transport it uses. */
#pragma once

#include "api/notify/dialect.h"
#include "api/notify/notify.h"
#include "api/notify/pace.h"
#include "api/notify/ticket.h"
#include "api/notify/transport.h"

struct channel {
	const struct notify_options *options;
	uv_loop_t *loop;
	struct transport *transport;
	const char *external_url;
	struct receiver receiver;
	char *name, *url, *routing_key, *token, *slack_channel;
	const struct dialect *dialect;
	struct tickets tickets;
	struct pace pace;
	struct breaker breaker;
	uint64_t paused_until_ms; /* the receiver asked for it */
	uint32_t in_flight;
	/* Of repeat.h: alerts in the request under way and their batch, before when none is begun,
	 * whether the last failed. */
	size_t repeating;
	uint64_t batch, repeat_ms;
	bool unrepeated;
	bool recording;
	bool unheard; /* a record was not kept in time, and none was since */
	bool disabled, paused, closing;
	uint64_t began_ns, failing_since_ns, delivered_ns; /* real time */
	char last_error[ANSWER_ERROR_MAX];
	struct notify_receipt *receipts; /* records under way */
	struct notify_receiver_stats stats;
	uv_timer_t timer; /* the earliest moment at which it can go on */
};

void channel_init(struct channel *channel, const struct receiver *receiver, uv_loop_t *loop,
		  struct transport *transport, const struct notify_options *options,
		  const char *external_url);
void channel_settled(struct channel *channel, const struct delivery *delivery);
/* Whether the receiver is for it, by severity and route. */
bool channel_routes(const struct channel *channel, const struct alert *alert);
/* False: it is not for this receiver. */
bool channel_push(struct channel *channel, const struct alert *alert,
		  const struct notify_place *place);
/* See notify_remind. */
void channel_remind(struct channel *channel, const struct alert *alert);
/* For requests that are of no ticket: whether none may be begun now, and what became of one. */
bool channel_rests(const struct channel *channel);
/* Whether nothing of the ticket is begun now, as another process may go on with it. */
bool channel_pauses(const struct channel *channel, const struct ticket *ticket);
void channel_answered(struct channel *channel, const struct answer *answer);
void channel_failed(struct channel *channel, const struct answer *answer, const char *what);
/* Begins nothing; what was announced and not sent is withdrawn. */
void channel_pause(struct channel *channel);
void channel_resume(struct channel *channel);
void channel_review(struct channel *channel);
struct notify_receiver_stats channel_stats(const struct channel *channel);
/* Begins a request with the body, signed or with the token if its receiver wants that. notice: NULL
 * where there are several. */
void channel_post(struct channel *channel, const struct notice *notice, const char *body,
		  size_t length, transport_done done, void *context);
/* Sends the alert as a test: api/notify/trial.c. */
void channel_try(struct channel *channel, const struct alert *alert, notify_tried told,
		 void *context);
void channel_close(struct channel *channel, uv_close_cb closed);
void channel_done(struct channel *channel);
