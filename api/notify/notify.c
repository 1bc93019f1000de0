#include "api/notify/notify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "api/notify/body.h"
#include "api/notify/retry.h"
#include "api/notify/text.h"
#include "api/notify/transport.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"

enum {
	BUCKETS = 4096,	       /* of tickets, a receiver */
	SETTLED_MAX = 65536,   /* finished episodes remembered a receiver: more than an outbox of a
				  week holds twice */
	IN_FLIGHT_MAX = 4,     /* requests under way a receiver */
	ERROR_CHARACTERS = 60, /* of an answer's body in an error: a word or two */
};

/* How a kind of receiver is spoken to. */
struct dialect {
	double per_second,
		burst; /* Slack: 1 message a second; PagerDuty: about 120 a minute, we send 100 */
	void (*body)(struct json *json, const struct alert *alert, const struct receiver *receiver,
		     const char *external_url);
	bool (*accepted)(const struct answer *answer);
	bool in_place; /* another message of an episode replaces the one before: PagerDuty, by dedup
			  key */
};

/* What one receiver knows of one episode. */
struct ticket {
	struct ticket *chain;	      /* of its bucket */
	struct ticket *newer, *older; /* in the queue of waiting ones, or of settled ones */
	char key[ALERT_KEY_TEXT];
	uint64_t settled;  /* highest sequence that is settled */
	uint32_t severity; /* the severity that the receiver has seen */
	bool located;	   /* and that it was told where the change is */
	bool delivered;	   /* its firing was delivered: a resolve is owed */
	bool uncertain;	   /* a firing was sent and no answer came: the receiver may have it */
	bool in_flight, waiting;
	uint32_t attempts;     /* of the pending transition */
	uint64_t since_ms;     /* uv_now when it became pending */
	uint64_t sending;      /* sequence under way */
	struct alert *pending; /* the transition to send, or under way; NULL: none */
	struct alert *next;    /* the resolve behind a pending firing that the receiver may have */
};

struct queue {
	struct ticket *oldest, *newest;
	size_t count;
};

struct channel {
	struct notify *notify;
	struct receiver receiver;
	char *name, *url, *routing_key;
	const struct dialect *dialect;
	struct ticket *buckets[BUCKETS];
	struct queue waiting, settled;
	double tokens;
	uint64_t tokens_ms, blocked_until_ms;
	uint32_t in_flight, failures;
	bool disabled;
	char last_error[ANSWER_ERROR_MAX];
	struct notify_receiver_stats stats;
};

struct notify {
	uv_loop_t *loop;
	struct notify_options options;
	char *external_url;
	struct channel *channels;
	struct transport *transport;
	uv_timer_t timer;
	bool closing;
	int parts; /* still to be closed */
	void (*closed)(void *context);
	void *closed_context;
};

struct request {
	struct channel *channel;
	struct ticket *ticket;
	struct alert alert; /* as sent */
	uint32_t attempts;  /* this one included */
};

static void channel_run(struct channel *channel);

/* --- dialects --- */

static void slack_body(struct json *json, const struct alert *alert,
		       const struct receiver *receiver, const char *external_url)
{
	(void)receiver;
	body_slack(json, alert, external_url);
}

/* Slack says 200 and the word ok; another 200 is a proxy's page. */
static bool slack_accepted(const struct answer *answer)
{
	return answer->status == 200 && strcmp(answer->body, "ok") == 0;
}

static void pagerduty_body(struct json *json, const struct alert *alert,
			   const struct receiver *receiver, const char *external_url)
{
	body_pagerduty(json, alert, receiver->routing_key, external_url);
}

static bool pagerduty_accepted(const struct answer *answer)
{
	return answer->status == 202;
}

static const struct dialect dialects[] = {
	[RECEIVER_SLACK] = {1.0, 3, slack_body, slack_accepted, false},
	[RECEIVER_PAGERDUTY] = {100.0 / 60, 10, pagerduty_body, pagerduty_accepted, true},
};

/* --- tickets --- */

static struct ticket **bucket_of(struct channel *channel, const char *key)
{
	return &channel->buckets[hash_bytes(key, strlen(key)) % BUCKETS];
}

static struct ticket *ticket_find(struct channel *channel, const char *key)
{
	struct ticket *ticket = *bucket_of(channel, key);

	while (ticket && strcmp(ticket->key, key) != 0)
		ticket = ticket->chain;
	return ticket;
}

static void queue_add(struct queue *queue, struct ticket *ticket)
{
	ticket->newer = NULL;
	ticket->older = queue->newest;
	if (queue->newest)
		queue->newest->newer = ticket;
	else
		queue->oldest = ticket;
	queue->newest = ticket;
	queue->count++;
}

static void queue_remove(struct queue *queue, struct ticket *ticket)
{
	*(ticket->older ? &ticket->older->newer : &queue->oldest) = ticket->newer;
	*(ticket->newer ? &ticket->newer->older : &queue->newest) = ticket->older;
	queue->count--;
}

static void ticket_forget(struct channel *channel, struct ticket *ticket)
{
	struct ticket **at = bucket_of(channel, ticket->key);

	while (*at != ticket)
		at = &(*at)->chain;
	*at = ticket->chain;
	free(ticket->pending);
	free(ticket->next);
	free(ticket);
}

/* Finished tickets are remembered, oldest forgotten first. */
static void ticket_rest(struct channel *channel, struct ticket *ticket)
{
	queue_add(&channel->settled, ticket);
	if (channel->settled.count <= SETTLED_MAX)
		return;

	struct ticket *oldest = channel->settled.oldest;

	queue_remove(&channel->settled, oldest);
	ticket_forget(channel, oldest);
}

static struct ticket *ticket_get(struct channel *channel, const char *key)
{
	struct ticket *ticket = ticket_find(channel, key);
	struct ticket **bucket = bucket_of(channel, key);

	if (ticket)
		return ticket;
	ticket = memory_zeroed(1, sizeof(*ticket));
	snprintf(ticket->key, sizeof(ticket->key), "%s", key);
	ticket->chain = *bucket;
	*bucket = ticket;
	ticket_rest(channel, ticket);
	return ticket;
}

/* Makes a copy of the alert what the ticket waits to send. */
static void make_pending(struct channel *channel, struct ticket *ticket, const struct alert *alert)
{
	if (!ticket->pending)
		ticket->pending = memory_zeroed(1, sizeof(*ticket->pending));
	*ticket->pending = *alert;
	ticket->since_ms = uv_now(channel->notify->loop);
	ticket->attempts = 0;
	if (ticket->waiting)
		return;
	queue_remove(&channel->settled, ticket);
	queue_add(&channel->waiting, ticket);
	ticket->waiting = true;
}

/* The pending transition is settled: what waited behind it is pending now, or nothing is. */
static void pending_done(struct channel *channel, struct ticket *ticket)
{
	struct alert *next = ticket->next;

	ticket->next = NULL;
	if (next) {
		make_pending(channel, ticket, next);
		free(next);
		return;
	}
	free(ticket->pending);
	ticket->pending = NULL;
	queue_remove(&channel->waiting, ticket);
	ticket->waiting = false;
	ticket_rest(channel, ticket);
}

/* --- settling --- */

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* Writes down what became of a transition. */
static void settle(struct channel *channel, struct ticket *ticket, const struct alert *alert,
		   const struct answer *answer, uint32_t attempts, const char *error)
{
	struct delivery delivery = {.sequence = alert->sequence,
				    .state = alert->state,
				    .delivered_ns = answer ? answer->answered_ns : now_ns(),
				    .sent_ns = answer ? answer->sent_ns : 0,
				    .attempts = attempts,
				    .resolve_owed = ticket->delivered,
				    .severity = ticket->severity,
				    .failed = error != NULL};

	ticket->settled = alert->sequence;
	snprintf(delivery.receiver, sizeof(delivery.receiver), "%s", channel->receiver.name);
	snprintf(delivery.key, sizeof(delivery.key), "%s", ticket->key);
	snprintf(delivery.error, sizeof(delivery.error), "%s", error ? error : "");
	channel->notify->options.settled(channel->notify->options.context, &delivery);
}

/* The pending transition will not be sent. */
static void give_up(struct channel *channel, struct ticket *ticket, const char *error)
{
	channel->stats.failed++;
	settle(channel, ticket, ticket->pending, NULL, ticket->attempts, error);
	pending_done(channel, ticket);
}

/* Whether the receiver needs to hear of it: a first firing, a rise of severity, where the change is
 * once that is known, the end of what it heard of. What updates in place may be told every change.
 */
static bool worth_sending(const struct channel *channel, const struct ticket *ticket,
			  const struct alert *alert)
{
	if (alert->state == ALERT_RESOLVED)
		return ticket->delivered;
	return !ticket->delivered || alert->severity > ticket->severity ||
	       channel->dialect->in_place || (alert->suspects_count && !ticket->located);
}

/* --- pace and retries --- */

static uint64_t dice(void)
{
	uint64_t random;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = uv_hrtime();
	return random;
}

static bool take_token(struct channel *channel)
{
	uint64_t now = uv_now(channel->notify->loop);

	channel->tokens += (double)(now - channel->tokens_ms) / 1000 * channel->dialect->per_second;
	if (channel->tokens > channel->dialect->burst)
		channel->tokens = channel->dialect->burst;
	channel->tokens_ms = now;
	if (channel->tokens < 1)
		return false;
	channel->tokens -= 1;
	return true;
}

/* --- sending --- */

static void on_timer(uv_timer_t *timer)
{
	struct notify *notify = timer->data;

	for (size_t i = 0; i < notify->options.receivers_count; i++)
		channel_run(&notify->channels[i]);
}

/* The loop's timer is the earliest moment at which any channel can go on. */
static void wake_in(struct notify *notify, uint64_t delay_ms)
{
	uint64_t due = uv_timer_get_due_in(&notify->timer);

	if (!notify->closing && (!uv_is_active((uv_handle_t *)&notify->timer) || due > delay_ms))
		uv_timer_start(&notify->timer, on_timer, delay_ms ? delay_ms : 1, 0);
}

static void delivered(struct request *request, const struct answer *answer)
{
	struct channel *channel = request->channel;
	struct ticket *ticket = request->ticket;
	const struct alert *alert = &request->alert;

	channel->failures = 0;
	channel->last_error[0] = '\0';
	channel->stats.sent++;
	ticket->delivered = alert->state == ALERT_FIRING;
	ticket->uncertain = false;
	ticket->severity = alert->severity;
	ticket->located |= alert->suspects_count > 0;
	settle(channel, ticket, alert, answer, request->attempts, NULL);
	if (ticket->pending->sequence <= alert->sequence)
		pending_done(channel, ticket);
}

static bool is_permanent(long status)
{
	return status >= 300 && status < 500 && status != 408 && status != 429;
}

static void report(struct channel *channel, const char *error)
{
	snprintf(channel->last_error, sizeof(channel->last_error), "%s", error);
	channel->notify->options.trouble(channel->notify->options.context, channel->receiver.name,
					 error);
}

static void refused(struct request *request, const struct answer *answer)
{
	struct channel *channel = request->channel;
	struct ticket *ticket = request->ticket;
	char word[ANSWER_ERROR_MAX - 64], error[ANSWER_ERROR_MAX];

	/* What it says is foreign text, and the error goes to logs and records. */
	text_safe(word, sizeof(word), answer->body, ERROR_CHARACTERS);
	snprintf(error, sizeof(error), "the receiver answered %ld: %s", answer->status, word);
	report(channel, error);
	channel->failures = 0; /* it is there, only not willing */
	channel->stats.failed++;
	settle(channel, ticket, &request->alert, answer, request->attempts, error);
	if (ticket->pending->sequence <= request->alert.sequence)
		pending_done(channel, ticket);
	/* The hook is gone or forbidden: nothing will ever be taken there. */
	if (answer->status == 403 || answer->status == 404 || answer->status == 410)
		channel->disabled = true;
}

static void block(struct channel *channel, const struct answer *answer)
{
	uint64_t now = uv_now(channel->notify->loop);
	uint64_t wished = retry_after_ms(answer->retry_after, now_ns() / NS_PER_S);
	uint64_t delay = wished ? wished : retry_backoff_ms(channel->failures, dice());

	/* Requests that were under way together fail together: that is one failure. */
	if (channel->failures && now < channel->blocked_until_ms) {
		if (wished && now + wished > channel->blocked_until_ms)
			channel->blocked_until_ms = now + wished;
		return;
	}
	channel->failures++;
	channel->blocked_until_ms = now + delay;
}

/* A firing without an answer may have arrived, so what it says must be ended by a resolve, and a
 * resolve must not come first: the firing is sent until it is answered, and the resolve then. */
static void keep_uncertain(struct ticket *ticket, const struct alert *firing)
{
	if (ticket->delivered || firing->state != ALERT_FIRING)
		return;
	ticket->uncertain = true;
	if (ticket->pending->state != ALERT_RESOLVED)
		return;
	ticket->next = ticket->pending;
	ticket->pending = memory_zeroed(1, sizeof(*ticket->pending));
	*ticket->pending = *firing;
}

static void try_again(struct request *request, const struct answer *answer)
{
	struct channel *channel = request->channel;
	char error[ANSWER_ERROR_MAX], seconds[32];

	block(channel, answer);
	channel->stats.retried++;
	/* Bad gateway, gateway timeout: a proxy that had no answer either. */
	if (answer->status ? answer->status == 502 || answer->status == 504
			   : answer->may_have_arrived)
		keep_uncertain(request->ticket, &request->alert);
	snprintf(seconds, sizeof(seconds), "%.1f",
		 (double)(channel->blocked_until_ms - uv_now(channel->notify->loop)) / 1000);
	if (answer->status)
		snprintf(error, sizeof(error), "the receiver answered %ld; trying again in %s s",
			 answer->status, seconds);
	else
		snprintf(error, sizeof(error), "%.180s; trying again in %s s", answer->error,
			 seconds);
	report(channel, error);
}

static void on_answer(void *context, const struct answer *answer)
{
	struct request *request = context;
	struct channel *channel = request->channel;
	struct ticket *ticket = request->ticket;

	if (!answer) {
		free(request);
		return;
	}
	channel->in_flight--;
	ticket->in_flight = false;
	if (channel->dialect->accepted(answer))
		delivered(request, answer);
	else if (is_permanent(answer->status))
		refused(request, answer);
	else
		try_again(request, answer);
	free(request);
	channel_run(channel);
}

static void send_pending(struct channel *channel, struct ticket *ticket)
{
	struct request *request = memory_zeroed(1, sizeof(*request));
	struct json json;
	const char *body;
	size_t length;

	request->channel = channel;
	request->ticket = ticket;
	request->alert = *ticket->pending;
	request->attempts = ++ticket->attempts;
	ticket->in_flight = true;
	ticket->sending = ticket->pending->sequence;
	channel->in_flight++;
	json_init(&json);
	channel->dialect->body(&json, &request->alert, &channel->receiver,
			       channel->notify->external_url);
	body = json_text(&json, &length);
	transport_post(channel->notify->transport, channel->receiver.url, body, length, on_answer,
		       request);
	json_done(&json);
}

/* Why the pending transition will not be sent, or NULL. */
static const char *reason_to_give_up(const struct channel *channel, const struct ticket *ticket)
{
	uint64_t age_ms = uv_now(channel->notify->loop) - ticket->since_ms;

	if (channel->disabled)
		return "the receiver refused for good; correct its configuration and restart";
	if (age_ms > channel->notify->options.life_ns / NS_PER_MS)
		return "not delivered within notify.life";
	return NULL;
}

/* Settles what a waiting ticket need not or cannot send. */
static void settle_without_sending(struct channel *channel, struct ticket *ticket)
{
	while (ticket->waiting && !ticket->in_flight) {
		const char *reason = reason_to_give_up(channel, ticket);

		if (!worth_sending(channel, ticket, ticket->pending)) {
			channel->stats.superseded++;
			settle(channel, ticket, ticket->pending, NULL, 0,
			       "nothing new for the receiver");
			pending_done(channel, ticket);
		} else if (reason) {
			give_up(channel, ticket, reason);
		} else {
			return;
		}
	}
}

static void channel_run(struct channel *channel)
{
	uint64_t now = uv_now(channel->notify->loop);
	/* While it fails one request at a time finds out whether it is back. */
	uint32_t most = channel->failures ? 1 : IN_FLIGHT_MAX;
	struct ticket *next;

	for (struct ticket *ticket = channel->waiting.oldest; ticket; ticket = next) {
		next = ticket->newer;
		settle_without_sending(channel, ticket);
		if (!ticket->waiting || ticket->in_flight)
			continue;
		if (channel->in_flight >= most)
			return;
		if (now < channel->blocked_until_ms) {
			wake_in(channel->notify, channel->blocked_until_ms - now);
			return;
		}
		if (!take_token(channel)) {
			double missing = (1 - channel->tokens) / channel->dialect->per_second;

			wake_in(channel->notify, (uint64_t)(missing * 1000) + 1);
			return;
		}
		send_pending(channel, ticket);
	}
}

/* --- in --- */

static bool is_news(const struct ticket *ticket, const struct alert *alert)
{
	return alert->sequence > ticket->settled &&
	       (!ticket->pending || alert->sequence > ticket->pending->sequence) &&
	       (!ticket->next || alert->sequence > ticket->next->sequence);
}

static void ticket_take(struct channel *channel, struct ticket *ticket, const struct alert *alert)
{
	free(ticket->next);
	ticket->next = NULL;
	if (ticket->pending && ticket->uncertain && alert->state == ALERT_RESOLVED) {
		ticket->next = memory_zeroed(1, sizeof(*ticket->next));
		*ticket->next = *alert;
		return;
	}
	if (ticket->pending && !(ticket->in_flight && ticket->pending->sequence == ticket->sending))
		channel->stats.superseded++;
	make_pending(channel, ticket, alert);
}

/* At the bound the oldest is given up; those under way are not. */
static void hold_bound(struct channel *channel)
{
	struct ticket *oldest = channel->waiting.oldest;

	if (channel->waiting.count <= channel->notify->options.pending_max)
		return;
	while (oldest && oldest->in_flight)
		oldest = oldest->newer;
	if (!oldest)
		return;
	channel->stats.dropped++;
	give_up(channel, oldest, "more notifications wait than notify.pending");
}

static void channel_push(struct channel *channel, const struct alert *alert)
{
	struct ticket *ticket = ticket_find(channel, alert->key);
	/* The end of what it heard of is told whatever its severity is by now. */
	bool ends = ticket && alert->state == ALERT_RESOLVED;

	if (alert->severity < channel->receiver.severity_min && !ends)
		return;
	ticket = ticket_get(channel, alert->key);
	if (!is_news(ticket, alert))
		return;
	ticket_take(channel, ticket, alert);
	hold_bound(channel);
	channel_run(channel);
}

void notify_push(struct notify *notify, const struct alert *alert)
{
	/* What comes in one turn of the loop counts from now. */
	uv_update_time(notify->loop);
	for (size_t i = 0; i < notify->options.receivers_count; i++)
		channel_push(&notify->channels[i], alert);
}

void notify_settled(struct notify *notify, const struct delivery *delivery)
{
	for (size_t i = 0; i < notify->options.receivers_count; i++) {
		struct channel *channel = &notify->channels[i];
		struct ticket *ticket;

		if (strcmp(channel->receiver.name, delivery->receiver) != 0)
			continue;
		ticket = ticket_get(channel, delivery->key);
		if (delivery->sequence < ticket->settled)
			return;
		ticket->settled = delivery->sequence;
		ticket->delivered = delivery->resolve_owed;
		ticket->severity = delivery->severity;
		ticket->located = delivery->sequence > 1;
	}
}

/* --- life --- */

static char *copied(const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	if (text && !copy)
		abort(); /* out of memory */
	return copy;
}

static const char *check_receiver(const struct receiver *receiver, bool allow_http)
{
	if (strncmp(receiver->url, "https://", 8) == 0)
		return NULL;
	if (strncmp(receiver->url, "http://", 7) == 0)
		return allow_http
			       ? NULL
			       : "a receiver's URL is http:; use https: or set notify.allow_http";
	return "a receiver's URL must begin with https:";
}

struct notify *notify_new(uv_loop_t *loop, const struct notify_options *options, const char **error)
{
	struct notify *notify;

	for (size_t i = 0; i < options->receivers_count; i++) {
		*error = check_receiver(&options->receivers[i], options->allow_http);
		if (*error)
			return NULL;
	}
	notify = memory_zeroed(1, sizeof(*notify));
	notify->loop = loop;
	notify->options = *options;
	notify->options.receivers = NULL;
	notify->external_url = copied(options->external_url);
	notify->channels = memory_zeroed(options->receivers_count, sizeof(*notify->channels));
	for (size_t i = 0; i < options->receivers_count; i++) {
		struct channel *channel = &notify->channels[i];
		const struct receiver *from = &options->receivers[i];

		channel->notify = notify;
		channel->name = copied(from->name);
		channel->url = copied(from->url);
		channel->routing_key = copied(from->routing_key);
		channel->receiver = (struct receiver){channel->name, from->kind, channel->url,
						      channel->routing_key, from->severity_min};
		channel->dialect = &dialects[from->kind];
		channel->tokens = channel->dialect->burst;
		channel->tokens_ms = uv_now(loop);
	}
	uv_timer_init(loop, &notify->timer);
	notify->timer.data = notify;
	notify->transport =
		transport_new(&(struct transport_options){.loop = loop,
							  .allow_http = options->allow_http,
							  .allow_private = options->allow_private,
							  .timeout_ns = options->timeout_ns});
	return notify;
}

size_t notify_stats(const struct notify *notify, struct notify_receiver_stats *stats, size_t max)
{
	size_t count =
		notify->options.receivers_count < max ? notify->options.receivers_count : max;

	for (size_t i = 0; i < count; i++) {
		const struct channel *channel = &notify->channels[i];

		stats[i] = channel->stats;
		stats[i].name = channel->receiver.name;
		stats[i].pending = channel->waiting.count;
		stats[i].disabled = channel->disabled;
		stats[i].last_error = channel->last_error;
	}
	return count;
}

static void part_closed(struct notify *notify)
{
	if (--notify->parts == 0)
		notify->closed(notify->closed_context);
}

static void on_transport_closed(void *context)
{
	part_closed(context);
}

static void on_timer_closed(uv_handle_t *handle)
{
	part_closed(handle->data);
}

void notify_close(struct notify *notify, void (*closed)(void *context), void *context)
{
	notify->closing = true;
	notify->closed = closed;
	notify->closed_context = context;
	notify->parts = 2;
	transport_close(notify->transport, on_transport_closed, notify);
	uv_close((uv_handle_t *)&notify->timer, on_timer_closed);
}

static void channel_free(struct channel *channel)
{
	for (int i = 0; i < BUCKETS; i++) {
		while (channel->buckets[i])
			ticket_forget(channel, channel->buckets[i]);
	}
	free(channel->name);
	free(channel->url);
	free(channel->routing_key);
}

void notify_free(struct notify *notify)
{
	for (size_t i = 0; i < notify->options.receivers_count; i++)
		channel_free(&notify->channels[i]);
	free(notify->channels);
	free(notify->external_url);
	free(notify);
}
