#include "api/notify/notify.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <curl/curl.h>

#include "api/notify/body.h"
#include "api/notify/transport.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"

enum {
	BUCKETS = 4096,	     /* of tickets, a receiver */
	SETTLED_MAX = 65536, /* finished episodes remembered a receiver: more than an outbox of a
				week holds twice */
	IN_FLIGHT_MAX = 4,   /* requests under way a receiver */
	BACKOFF_MIN_MS = 1000,
	BACKOFF_MAX_MS = 300000,
	RETRY_AFTER_MAX_MS = 3600000, /* whoever asks for more is asked again after an hour */
	FAILURES_CAP = 16,
};

/* How a kind of receiver is spoken to. */
struct dialect {
	double per_second,
		burst; /* Slack: 1 message a second; PagerDuty: about 120 a minute, we send 100 */
	void (*body)(struct json *json, const struct alert *alert, const struct receiver *receiver,
		     const char *external_url);
	bool (*accepted)(const struct answer *answer);
};

/* What one receiver knows of one episode. */
struct ticket {
	struct ticket *chain;	      /* of its bucket */
	struct ticket *newer, *older; /* in the queue of waiting ones, or of settled ones */
	char key[ALERT_KEY_TEXT];
	uint64_t settled;  /* highest sequence that is settled */
	uint32_t state;	   /* of that, and */
	uint32_t severity; /* the severity that the receiver has seen */
	bool delivered;	   /* its firing was delivered: a resolve is owed */
	bool in_flight, waiting;
	uint32_t attempts;     /* of the pending transition */
	uint64_t since_ms;     /* uv_now when it became pending */
	struct alert *pending; /* the newest transition, NULL: none */
	uint64_t sending;      /* sequence under way */
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
	return answer->status == 200 && strncmp(answer->body, "ok", 2) == 0;
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
	[RECEIVER_SLACK] = {1.0, 3, slack_body, slack_accepted},
	[RECEIVER_PAGERDUTY] = {100.0 / 60, 10, pagerduty_body, pagerduty_accepted},
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

static void make_wait(struct channel *channel, struct ticket *ticket)
{
	if (ticket->waiting)
		return;
	queue_remove(&channel->settled, ticket);
	queue_add(&channel->waiting, ticket);
	ticket->waiting = true;
	ticket->since_ms = uv_now(channel->notify->loop);
	ticket->attempts = 0;
}

static void stop_waiting(struct channel *channel, struct ticket *ticket)
{
	free(ticket->pending);
	ticket->pending = NULL;
	if (!ticket->waiting)
		return;
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

static void tell(struct channel *channel, const struct ticket *ticket, uint64_t sequence,
		 uint32_t state, const struct answer *answer, const char *error)
{
	struct delivery delivery = {.sequence = sequence,
				    .state = state,
				    .delivered_ns = answer ? answer->answered_ns : now_ns(),
				    .sent_ns = answer ? answer->sent_ns : 0,
				    .attempts = ticket->attempts,
				    .failed = error != NULL};

	snprintf(delivery.receiver, sizeof(delivery.receiver), "%s", channel->receiver.name);
	snprintf(delivery.key, sizeof(delivery.key), "%s", ticket->key);
	snprintf(delivery.error, sizeof(delivery.error), "%s", error ? error : "");
	channel->notify->options.settled(channel->notify->options.context, &delivery);
}

/* The pending transition will not be sent. */
static void give_up(struct channel *channel, struct ticket *ticket, const char *error)
{
	const struct alert *alert = ticket->pending;

	ticket->settled = alert->sequence;
	ticket->state = alert->state;
	channel->stats.failed++;
	tell(channel, ticket, alert->sequence, alert->state, NULL, error);
	stop_waiting(channel, ticket);
}

/* Whether the receiver needs to hear of it: a first firing, a rise of severity, the end of what it
 * heard of. */
static bool worth_sending(const struct ticket *ticket, const struct alert *alert)
{
	if (alert->state == ALERT_RESOLVED)
		return ticket->delivered;
	return !ticket->delivered || alert->severity > ticket->severity;
}

/* --- pace and retries --- */

static uint64_t jitter(uint64_t most)
{
	uint64_t random;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = uv_hrtime();
	return random % (most + 1);
}

/* Seconds, or an HTTP date; what cannot be read is no wish. */
static uint64_t retry_after_ms(const char *text)
{
	char *end;
	double number = strtod(text, &end);
	time_t date;

	if (text[0] && *end == '\0' && isdigit((unsigned char)text[0]))
		return number * 1000 > RETRY_AFTER_MAX_MS ? RETRY_AFTER_MAX_MS
							  : (uint64_t)(number * 1000);
	date = curl_getdate(text, NULL);
	if (date < 0 || date <= time(NULL))
		return 0;
	return (uint64_t)(date - time(NULL)) * 1000 > RETRY_AFTER_MAX_MS
		       ? RETRY_AFTER_MAX_MS
		       : (uint64_t)(date - time(NULL)) * 1000;
}

static uint64_t backoff_ms(struct channel *channel, const struct answer *answer)
{
	uint64_t wished = retry_after_ms(answer->retry_after);
	uint64_t most = (uint64_t)BACKOFF_MIN_MS
			<< (channel->failures < FAILURES_CAP ? channel->failures : FAILURES_CAP);

	if (most > BACKOFF_MAX_MS)
		most = BACKOFF_MAX_MS;
	/* Full jitter, but never at once: a receiver that just failed is given a tenth of it. */
	return wished ? wished : most / 10 + jitter(most - most / 10);
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

static void delivered(struct channel *channel, struct ticket *ticket, const struct alert *alert,
		      const struct answer *answer)
{
	channel->failures = 0;
	channel->last_error[0] = '\0';
	channel->stats.sent++;
	ticket->settled = alert->sequence;
	ticket->state = alert->state;
	ticket->delivered = alert->state == ALERT_FIRING;
	ticket->severity = alert->severity;
	tell(channel, ticket, alert->sequence, alert->state, answer, NULL);
	if (ticket->pending && ticket->pending->sequence <= alert->sequence)
		stop_waiting(channel, ticket);
}

static bool is_permanent(long status)
{
	return status >= 300 && status < 500 && status != 408 && status != 429;
}

static void refused(struct channel *channel, struct ticket *ticket, const struct answer *answer)
{
	char error[ANSWER_ERROR_MAX + 64];

	snprintf(error, sizeof(error), "the receiver answered %ld: %.200s", answer->status,
		 answer->body);
	snprintf(channel->last_error, sizeof(channel->last_error), "%.250s", error);
	channel->notify->options.trouble(channel->notify->options.context, channel->receiver.name,
					 error);
	if (ticket->pending)
		give_up(channel, ticket, error);
	/* The hook is gone or forbidden: nothing will ever be taken there. */
	if (answer->status == 403 || answer->status == 404 || answer->status == 410)
		channel->disabled = true;
}

static void try_again(struct channel *channel, const struct answer *answer)
{
	uint64_t delay = backoff_ms(channel, answer);
	char error[ANSWER_ERROR_MAX + 64];

	if (answer->status)
		snprintf(error, sizeof(error), "the receiver answered %ld; trying again in %.1f s",
			 answer->status, (double)delay / 1000);
	else
		snprintf(error, sizeof(error), "%.200s; trying again in %.1f s", answer->error,
			 (double)delay / 1000);
	snprintf(channel->last_error, sizeof(channel->last_error), "%.250s", error);
	channel->notify->options.trouble(channel->notify->options.context, channel->receiver.name,
					 error);
	channel->failures++;
	channel->stats.retried++;
	channel->blocked_until_ms = uv_now(channel->notify->loop) + delay;
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
		delivered(channel, ticket, &request->alert, answer);
	else if (is_permanent(answer->status))
		refused(channel, ticket, answer);
	else
		try_again(channel, answer);
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
	ticket->in_flight = true;
	ticket->sending = ticket->pending->sequence;
	ticket->attempts++;
	channel->in_flight++;
	json_init(&json);
	channel->dialect->body(&json, &request->alert, &channel->receiver,
			       channel->notify->external_url);
	body = json_text(&json, &length);
	transport_post(channel->notify->transport, channel->receiver.url, body, length, on_answer,
		       request);
	json_done(&json);
}

/* Decides on a waiting ticket without sending. Returns whether it is gone from the queue. */
static bool settle_without_sending(struct channel *channel, struct ticket *ticket)
{
	uint64_t age_ms = uv_now(channel->notify->loop) - ticket->since_ms;

	if (ticket->in_flight)
		return false;
	if (!worth_sending(ticket, ticket->pending)) {
		channel->stats.superseded++;
		ticket->settled = ticket->pending->sequence;
		ticket->state = ticket->pending->state;
		tell(channel, ticket, ticket->settled, ticket->state, NULL,
		     "nothing new for the receiver");
		stop_waiting(channel, ticket);
		return true;
	}
	if (channel->disabled) {
		give_up(channel, ticket,
			"the receiver refused for good; correct its configuration and restart");
		return true;
	}
	if (age_ms > channel->notify->options.life_ns / NS_PER_MS) {
		give_up(channel, ticket, "not delivered within notify.life");
		return true;
	}
	return false;
}

static void channel_run(struct channel *channel)
{
	uint64_t now = uv_now(channel->notify->loop);
	/* While it fails one request at a time finds out whether it is back. */
	uint32_t most = channel->failures ? 1 : IN_FLIGHT_MAX;
	struct ticket *next;

	for (struct ticket *ticket = channel->waiting.oldest; ticket; ticket = next) {
		next = ticket->newer;
		if (settle_without_sending(channel, ticket) || ticket->in_flight)
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

static void channel_push(struct channel *channel, const struct alert *alert)
{
	struct ticket *ticket;

	if (alert->severity < channel->receiver.severity_min)
		return;
	ticket = ticket_get(channel, alert->key);
	if (alert->sequence <= ticket->settled ||
	    (ticket->pending && alert->sequence <= ticket->pending->sequence))
		return;
	if (ticket->pending && !ticket->in_flight)
		channel->stats.superseded++;
	if (!ticket->pending)
		ticket->pending = memory_zeroed(1, sizeof(*ticket->pending));
	*ticket->pending = *alert;
	make_wait(channel, ticket);
	if (channel->waiting.count > channel->notify->options.pending_max) {
		struct ticket *oldest = channel->waiting.oldest;

		while (oldest && oldest->in_flight)
			oldest = oldest->newer;
		channel->stats.dropped++;
		if (oldest)
			give_up(channel, oldest, "more notifications wait than notify.pending");
	}
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
		ticket->state = delivery->state;
		/* An update that was not worth sending says nothing of whether the firing was
		 * delivered. */
		if (!delivery->failed)
			ticket->delivered = delivery->state == ALERT_FIRING;
		else if (delivery->state == ALERT_RESOLVED)
			ticket->delivered = false;
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
