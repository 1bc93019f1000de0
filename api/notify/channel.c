#include "api/notify/channel.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "api/notify/repeat.h"
#include "api/notify/text.h"
#include "api/notify/webhook.h"
#include "base/clock.h"
#include "base/memory.h"

enum {
	CLOSED_MAX = 65536,    /* finished episodes remembered: more than an outbox of a week holds
				  twice */
	OPEN_MAX = 262144,     /* episodes that fire remembered: four times what 16 tasks have at
				  once; those of monitors that are gone stay */
	IN_FLIGHT_MAX = 4,     /* requests under way or answered and not recorded: what a crash may
				  repeat */
	ERROR_CHARACTERS = 60, /* of an answer's body in an error: a word or two */
};

/* A record under way. */
struct notify_receipt {
	struct notify_receipt *next, **previous;
	struct channel *channel;
	struct ticket *ticket;
	bool announces;
	uint64_t made_ms;
};

struct request {
	struct channel *channel;
	struct ticket *ticket;
	struct alert alert; /* as sent */
	uint32_t attempts;  /* this one included */
	bool first;	    /* of its episode the receiver has not heard before */
	bool repeat;	    /* the receiver may have had it before */
	/* The message that there is was to be changed; what the change is, is to be said in a
	 * reply, which the whole channel sees; that is what is under way. */
	bool changes, replies, loud, replying;
};

static void channel_run(struct channel *channel);

static uint64_t now_of(const struct channel *channel)
{
	return uv_now(channel->loop);
}

static void place(struct channel *channel, struct ticket *ticket)
{
	ticket_place(&channel->tickets, ticket, channel->dialect->ends_first, now_of(channel));
}

/* --- records --- */

static void receipt_free(struct notify_receipt *receipt)
{
	*receipt->previous = receipt->next;
	if (receipt->next)
		receipt->next->previous = receipt->previous;
	free(receipt);
}

static void record(struct channel *channel, struct ticket *ticket, struct delivery *delivery,
		   bool announces)
{
	struct notify_receipt *receipt = memory_zeroed(1, sizeof(*receipt));

	receipt->channel = channel;
	receipt->ticket = ticket;
	receipt->announces = announces;
	receipt->made_ms = now_of(channel);
	receipt->next = channel->receipts;
	receipt->previous = &channel->receipts;
	if (receipt->next)
		receipt->next->previous = &receipt->next;
	channel->receipts = receipt;
	ticket->unrecorded++;
	ticket->announced = delivery->uncertain;
	snprintf(delivery->handle, sizeof(delivery->handle), "%s",
		 ticket->handle ? ticket->handle : "");
	delivery->local = ticket->partition == NOTIFY_LOCAL;
	snprintf(delivery->receiver, sizeof(delivery->receiver), "%s", channel->receiver.name);
	snprintf(delivery->key, sizeof(delivery->key), "%s", ticket->key);
	/* It may be told at once, in the midst of whoever settles: that one goes on by itself. */
	channel->recording = true;
	channel->options->record(channel->options->context, delivery, receipt);
	channel->recording = false;
}

/* Writes down what became of a transition. */
static void settle(struct channel *channel, struct ticket *ticket, const struct alert *alert,
		   const struct answer *answer, uint32_t attempts, const char *error)
{
	struct delivery delivery = {.sequence = alert->sequence,
				    .state = alert->state,
				    .delivered_ns = answer ? answer->answered_ns
							   : channel->options->now_ns(),
				    .sent_ns = answer ? answer->sent_ns : 0,
				    .attempts = attempts,
				    .resolve_owed = ticket->delivered,
				    .uncertain = ticket->uncertain,
				    .severity = ticket->severity,
				    .failed = error != NULL};

	if (!ticket->delivered)
		repeat_forget(channel, ticket);
	ticket->settled = alert->sequence;
	ticket->settled_ns = delivery.delivered_ns;
	snprintf(delivery.error, sizeof(delivery.error), "%s", error ? error : "");
	record(channel, ticket, &delivery, false);
}

/* Writes down whether a firing may have been sent that is not settled. */
static void announce(struct channel *channel, struct ticket *ticket, bool may_be_sent)
{
	struct delivery delivery = {.sequence = ticket->settled,
				    .delivered_ns = channel->options->now_ns(),
				    .resolve_owed = ticket->delivered,
				    .uncertain = may_be_sent,
				    .severity = ticket->severity};

	record(channel, ticket, &delivery, may_be_sent);
}

/* --- what is pending --- */

static void make_pending(struct channel *channel, struct ticket *ticket, const struct alert *alert)
{
	if (!ticket->pending)
		ticket->pending = memory_zeroed(1, sizeof(*ticket->pending));
	*ticket->pending = *alert;
	ticket->attempts = 0;
	ticket->silenced = ticket->doubtful = false;
	place(channel, ticket);
}

/* The pending transition is settled: what waited behind it is pending now, or nothing is. */
static void pending_done(struct channel *channel, struct ticket *ticket)
{
	struct alert *next = ticket->next;

	ticket->due_ms = 0;
	ticket->failures = 0;
	ticket->silenced = ticket->doubtful = false;
	free(ticket->pending);
	ticket->pending = next;
	ticket->next = NULL;
	ticket->attempts = 0;
	place(channel, ticket);
}

/* An end that the receiver will not hear of is owed no more. */
static void forget_end(struct ticket *ticket, const struct alert *alert)
{
	if (alert->state == ALERT_RESOLVED)
		ticket->delivered = ticket->uncertain = false;
}

/* The pending transition will not be sent. */
static void give_up(struct channel *channel, struct ticket *ticket, enum notify_failure failure,
		    const char *error)
{
	const struct notify_place at = {ticket->partition, ticket->held_from};

	channel->stats.failed[failure]++;
	channel->options->given_up(channel->options->context, channel->receiver.name,
				   ticket->pending, &at, failure, error);
	forget_end(ticket, ticket->pending);
	settle(channel, ticket, ticket->pending, NULL, ticket->attempts, error);
	pending_done(channel, ticket);
}

/* Whether the receiver holds, or may hold, a firing that is to be ended. */
static bool end_owed(const struct ticket *ticket)
{
	return ticket->delivered || ticket->uncertain;
}

/* A rise of severity, or that it fires again after an end which the receiver may have got though no
 * answer is known. */
static bool is_loud(const struct ticket *ticket, const struct alert *alert)
{
	return alert->state == ALERT_FIRING &&
	       (alert->severity > ticket->severity || alert->reopened_ns > ticket->told_ns);
}

/* What people need to hear: a first firing, what is loud, where the change is once that is known,
 * the end of what they heard of. */
static bool matters(const struct ticket *ticket, const struct alert *alert)
{
	if (alert->state == ALERT_RESOLVED)
		return end_owed(ticket);
	return !ticket->delivered || is_loud(ticket, alert) ||
	       (alert->suspects_count && !ticket->located);
}

static bool is_acknowledged(const struct channel *channel, const struct alert *alert)
{
	const struct notify_options *options = channel->options;

	return options->acknowledged && options->acknowledged(options->context, alert);
}

/* What updates in place may be told every change. While somebody has acknowledged it only what is
 * loud, unless nobody is notified by a change. */
static bool worth_sending(const struct channel *channel, const struct ticket *ticket,
			  const struct alert *alert)
{
	if (alert->state == ALERT_RESOLVED || !ticket->delivered || is_loud(ticket, alert))
		return matters(ticket, alert);
	if (!matters(ticket, alert) && !channel->dialect->in_place)
		return false;
	return channel->dialect->quiet || !is_acknowledged(channel, alert);
}

static uint64_t silenced_until(const struct channel *channel, const struct ticket *ticket)
{
	const struct notify_options *options = channel->options;

	return options->silenced ? options->silenced(options->context, ticket->pending) : 0;
}

static bool expired(const struct channel *channel, const struct ticket *ticket)
{
	const struct alert *alert = ticket->pending;
	uint64_t now = channel->options->now_ns(), life = channel->options->life_ns;

	if ((alert->state == ALERT_RESOLVED && end_owed(ticket)) ||
	    alert->pane_end_ns + life >= now)
		return false;
	return silenced_until(channel, ticket) + life < now;
}

/* What says that the incident fires waits while it is silenced; but the receiver may have it
 * already: then it is sent until it is answered, so that its end can follow. */
static bool is_silenced(const struct channel *channel, const struct ticket *ticket)
{
	return ticket->pending->state == ALERT_FIRING && !ticket->uncertain &&
	       silenced_until(channel, ticket) > channel->options->now_ns();
}

static void hold_silenced(struct channel *channel, struct ticket *ticket)
{
	channel->stats.silenced++;
	ticket->silenced = true;
	ticket->due_ms = 0;
	place(channel, ticket);
	if (ticket->announced)
		announce(channel, ticket, false);
}

/* Settles what a ticket need not or cannot send, or holds it back. True when it did. */
static bool settle_without_sending(struct channel *channel, struct ticket *ticket)
{
	if (!worth_sending(channel, ticket, ticket->pending)) {
		channel->stats.superseded++;
		settle(channel, ticket, ticket->pending, NULL, 0, "nothing new for the receiver");
		pending_done(channel, ticket);
	} else if (is_silenced(channel, ticket)) {
		hold_silenced(channel, ticket);
	} else if (channel->disabled) {
		give_up(channel, ticket, NOTIFY_GONE,
			"the receiver refused for good; correct its configuration and restart");
	} else if (expired(channel, ticket)) {
		give_up(channel, ticket, NOTIFY_EXPIRED, "not delivered within notify.life");
	} else {
		return false;
	}
	return true;
}

/* --- answers --- */

static uint64_t dice(void)
{
	uint64_t random;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = uv_hrtime();
	return random;
}

static void report(struct channel *channel, const char *error)
{
	snprintf(channel->last_error, sizeof(channel->last_error), "%s", error);
	channel->options->trouble(channel->options->context, channel->receiver.name, error);
}

static void delivered(struct request *request, const struct answer *answer)
{
	struct channel *channel = request->channel;
	struct ticket *ticket = request->ticket;
	const struct alert *alert = &request->alert;

	breaker_success(&channel->breaker);
	channel->failing_since_ns = 0;
	channel->delivered_ns = answer->answered_ns;
	channel->last_error[0] = '\0';
	channel->stats.sent++;
	ticket->delivered = alert->state == ALERT_FIRING;
	ticket->uncertain = false;
	ticket->severity = alert->severity;
	ticket->told_ns = alert->pane_end_ns;
	if (channel->dialect->forgets && ticket->delivered)
		repeat_keep(channel, ticket, alert);
	ticket->located |= alert->suspects_count > 0;
	ticket->failures = 0;
	ticket->due_ms = 0;
	settle(channel, ticket, alert, answer, request->attempts, NULL);
	if (ticket->pending->sequence <= alert->sequence)
		pending_done(channel, ticket);
}

static void refused(struct request *request, const struct answer *answer, bool gone)
{
	struct channel *channel = request->channel;
	struct ticket *ticket = request->ticket;
	const struct notify_place at = {ticket->partition, ticket->held_from};
	enum notify_failure failure = gone ? NOTIFY_GONE : NOTIFY_REFUSED;
	char word[ANSWER_ERROR_MAX - 64], error[ANSWER_ERROR_MAX];

	/* What it says is foreign text, and the error goes to logs and records. */
	text_safe(word, sizeof(word), answer->body, ERROR_CHARACTERS);
	snprintf(error, sizeof(error), "the receiver answered %ld: %s", answer->status, word);
	report(channel, error);
	breaker_success(&channel->breaker); /* it is there, only not willing */
	channel->stats.failed[failure]++;
	channel->options->given_up(channel->options->context, channel->receiver.name,
				   &request->alert, &at, failure, error);
	if (request->alert.state == ALERT_FIRING)
		ticket->uncertain = false;
	forget_end(ticket, &request->alert);
	channel->disabled |= gone;
	settle(channel, ticket, &request->alert, answer, request->attempts, error);
	if (ticket->pending->sequence <= request->alert.sequence)
		pending_done(channel, ticket);
}

/* Nothing is sent for as long as the receiver asked for. Returns that. */
static uint64_t obey(struct channel *channel, const struct answer *answer)
{
	uint64_t now = now_of(channel);
	uint64_t wished =
		retry_after_ms(answer->retry_after, channel->options->now_ns() / NS_PER_S);

	if (now + wished > channel->paused_until_ms)
		channel->paused_until_ms = now + wished;
	return wished;
}

static void hold_back(struct channel *channel, struct ticket *ticket, const struct answer *answer)
{
	const struct notify_options *options = channel->options;
	uint64_t now = now_of(channel), wished = obey(channel, answer);
	enum breaker_state before = breaker_state(&channel->breaker, now);

	breaker_failure(&channel->breaker, now, &options->retry, dice());
	if (before != BREAKER_OPEN && breaker_state(&channel->breaker, now) == BREAKER_OPEN)
		channel->stats.breaker_opened++;
	if (!channel->failing_since_ns)
		channel->failing_since_ns = options->now_ns();
	/* What the receiver asked for is waited for by the channel. */
	ticket->due_ms =
		wished ? now : now + retry_backoff_ms(&options->retry, ticket->failures, dice());
	ticket->failures++;
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

/* A message that is changed twice shows once; another one, or a reply, shows twice. */
static void keep_doubt(const struct request *request)
{
	struct ticket *ticket = request->ticket;

	if (ticket->pending->sequence == request->alert.sequence)
		ticket->doubtful |= !request->changes || request->replying;
}

/* In how many milliseconds something may be sent; 0: now. */
static uint64_t held_back_ms(const struct channel *channel)
{
	uint64_t now = now_of(channel), until = channel->paused_until_ms;

	if (breaker_state(&channel->breaker, now) == BREAKER_OPEN &&
	    channel->breaker.until_ms > until)
		until = channel->breaker.until_ms;
	return until > now ? until - now : 0;
}

static uint64_t next_try_ms(const struct channel *channel, const struct ticket *ticket)
{
	uint64_t now = now_of(channel), channels = held_back_ms(channel);
	uint64_t its_own = ticket->due_ms > now ? ticket->due_ms - now : 0;

	return channels > its_own ? channels : its_own;
}

bool channel_rests(const struct channel *channel)
{
	return channel->closing || channel->disabled || held_back_ms(channel) > 0;
}

void channel_answered(struct channel *channel, const struct answer *answer)
{
	breaker_success(&channel->breaker);
	channel->failing_since_ns = 0;
	channel->delivered_ns = answer->answered_ns;
	channel->last_error[0] = '\0';
	channel_run(channel);
}

void channel_failed(struct channel *channel, const struct answer *answer, const char *what)
{
	char words[ANSWER_ERROR_MAX / 2], error[ANSWER_ERROR_MAX];

	obey(channel, answer);
	if (!channel->failing_since_ns)
		channel->failing_since_ns = channel->options->now_ns();
	text_safe(words, sizeof(words), answer->status ? answer->body : answer->error,
		  ERROR_CHARACTERS);
	if (answer->status)
		snprintf(error, sizeof(error), "%s: the receiver answered %ld: %s", what,
			 answer->status, words);
	else
		snprintf(error, sizeof(error), "%s: %s", what, words);
	report(channel, error);
	channel_run(channel);
}

static void try_again(struct request *request, const struct answer *answer)
{
	struct channel *channel = request->channel;
	struct ticket *ticket = request->ticket;
	char error[ANSWER_ERROR_MAX], seconds[32], words[ANSWER_ERROR_MAX / 2] = "";

	hold_back(channel, ticket, answer);
	channel->stats.retried++;
	/* Bad gateway, gateway timeout: a proxy that had no answer either. */
	if (answer->status ? answer->status == 502 || answer->status == 504
			   : answer->may_have_arrived) {
		keep_uncertain(ticket, &request->alert);
		keep_doubt(request);
	} else if (ticket->announced && !ticket->uncertain)
		announce(channel, ticket, false);
	snprintf(seconds, sizeof(seconds), "%.1f", (double)next_try_ms(channel, ticket) / 1000);
	if (answer->status == 200) /* what it says tells why that is no success */
		text_safe(words, sizeof(words), answer->body, ERROR_CHARACTERS);
	if (answer->status)
		snprintf(error, sizeof(error),
			 "the receiver answered %ld%s%s; trying again in %s s", answer->status,
			 words[0] ? ": " : "", words, seconds);
	else
		snprintf(error, sizeof(error), "%.180s; trying again in %s s", answer->error,
			 seconds);
	report(channel, error);
}

static void set_handle(struct ticket *ticket, const char *handle)
{
	free(ticket->handle);
	ticket->handle = handle ? strdup(handle) : NULL;
	if (handle && !ticket->handle)
		abort(); /* out of memory */
}

/* What the service knows its message by, of the answer to a new one. */
static void keep_handle(struct request *request, const struct answer *answer)
{
	const struct dialect *dialect = request->channel->dialect;
	char handle[DELIVERY_HANDLE_MAX];

	if (dialect->handle && !request->changes)
		set_handle(request->ticket, dialect->handle(answer, handle) ? handle : NULL);
}

static enum verdict verdict_of(struct request *request, const struct answer *answer)
{
	struct channel *channel = request->channel;
	enum verdict verdict = channel->dialect->judge(answer);

	/* The message itself is as it should be. */
	if (request->replying && (verdict == VERDICT_REFUSED || verdict == VERDICT_ANEW)) {
		report(channel, "the receiver took a change, and not the reply that tells of it");
		return VERDICT_TAKEN;
	}
	/* A message that cannot be changed may be in a channel that is left, or of another bot:
	 * only what a new one is answered tells of the channel that is written to now. */
	if (request->changes && !request->replying && verdict == VERDICT_GONE)
		return VERDICT_ANEW;
	return verdict == VERDICT_ANEW && !request->changes ? VERDICT_REFUSED : verdict;
}

static void send_request(struct request *request);

static void on_answer(void *context, const struct answer *answer)
{
	struct request *request = context;
	struct channel *channel = request->channel;
	struct ticket *ticket = request->ticket;
	enum verdict verdict = answer ? verdict_of(request, answer) : VERDICT_LATER;

	if (!answer) {
		free(request);
		return;
	}
	if (verdict == VERDICT_TAKEN && request->replies && !request->replying) {
		request->replying = true;
		send_request(request);
		return;
	}
	channel->in_flight--;
	ticket->in_flight = false;
	if (verdict == VERDICT_TAKEN) {
		keep_handle(request, answer);
		delivered(request, answer);
	} else if (verdict == VERDICT_ANEW) {
		set_handle(ticket, NULL); /* it is sent as a new one, at once */
	} else if (verdict == VERDICT_LATER) {
		try_again(request, answer);
	} else {
		refused(request, answer, verdict == VERDICT_GONE);
	}
	free(request);
	place(channel, ticket);
	channel_run(channel);
}

/* --- sending --- */

/* Whether the receiver may have had this message: its answer was lost, or it was in the outbox when
 * this process began. */
static bool may_repeat(const struct channel *channel, const struct ticket *ticket)
{
	return ticket->uncertain || ticket->doubtful ||
	       ticket->pending->pane_end_ns < channel->began_ns;
}

/* One slash between them, however the address ends. */
static char *joined(const char *url, const char *path)
{
	size_t length = strlen(url);
	char *whole;

	while (length && url[length - 1] == '/')
		length--;
	whole = memory_resize(NULL, length + strlen(path) + 1, 1);
	memcpy(whole, url, length);
	memcpy(whole + length, path, strlen(path) + 1);
	return whole;
}

void channel_post(struct channel *channel, const struct notice *notice, const char *body,
		  size_t length, transport_done done, void *context)
{
	const struct dialect *dialect = channel->dialect;
	char *url = notice && dialect->method
			    ? joined(channel->receiver.url, dialect->method(notice))
			    : NULL;
	const struct receiver *receiver = &channel->receiver;
	const char *lines[WEBHOOK_HEADERS + 1] = {NULL};
	struct webhook_headers headers;

	if (notice && receiver->secret) {
		webhook_sign(&headers, receiver->secret, receiver->former_secret, notice->alert,
			     channel->options->now_ns(), body, length);
		for (int i = 0; i < WEBHOOK_HEADERS; i++)
			lines[i] = headers.lines[i];
	}
	if (channel->token)
		lines[0] = channel->token;
	transport_post(channel->transport, url ? url : receiver->url, lines, body, length, done,
		       context);
	free(url);
}

static void send_request(struct request *request)
{
	struct channel *channel = request->channel;
	const struct notice notice = {.alert = &request->alert,
				      .receiver = &channel->receiver,
				      .external_url = channel->external_url,
				      .first = request->first,
				      .repeat = request->repeat &&
						(!request->changes || request->replying),
				      .now_ns = channel->options->now_ns(),
				      .item = request->ticket->item,
				      .handle = request->ticket->handle,
				      .reply = request->replying,
				      .loud = request->loud};
	struct json json;
	const char *body;
	size_t length;

	json_init(&json);
	channel->dialect->body(&json, &notice);
	body = json_text(&json, &length);
	channel_post(channel, &notice, body, length, on_answer, request);
	json_done(&json);
}

static void send_pending(struct channel *channel, struct ticket *ticket)
{
	struct request *request = memory_zeroed(1, sizeof(*request));

	request->channel = channel;
	request->ticket = ticket;
	request->alert = *ticket->pending;
	request->attempts = ++ticket->attempts;
	request->first = !end_owed(ticket);
	request->repeat = may_repeat(channel, ticket);
	request->changes = ticket->handle != NULL;
	request->loud = is_loud(ticket, ticket->pending);
	request->replies = request->changes && matters(ticket, ticket->pending);
	ticket->in_flight = true;
	ticket->sending = ticket->pending->sequence;
	place(channel, ticket);
	send_request(request);
}

static void wake_in(struct channel *channel, uint64_t delay_ms);

/* How many of the IN_FLIGHT_MAX places are taken, and when the oldest record was made that takes
 * one. Where records are not kept in time they take none. */
static uint32_t places_taken(const struct channel *channel, uint64_t *oldest_ms)
{
	uint32_t taken = channel->in_flight;

	*oldest_ms = UINT64_MAX;
	for (const struct notify_receipt *receipt = channel->receipts; receipt && !channel->unheard;
	     receipt = receipt->next) {
		if (receipt->announces)
			continue; /* its ticket has a place */
		taken++;
		if (receipt->made_ms < *oldest_ms)
			*oldest_ms = receipt->made_ms;
	}
	return taken;
}

/* Whether one more may be sent. If not, an answer or a record that comes goes on, or the timer,
 * when records stay away. */
static bool has_place(struct channel *channel)
{
	uint64_t now = now_of(channel), oldest, wait = channel->options->announce_wait_ms;
	bool probing = breaker_state(&channel->breaker, now) != BREAKER_CLOSED;
	uint32_t most = probing ? 1 : IN_FLIGHT_MAX;

	if (channel->in_flight >= most)
		return false;
	if (places_taken(channel, &oldest) < most)
		return true;
	if (now >= oldest + wait) {
		channel->unheard = true;
		return true;
	}
	wake_in(channel, oldest + wait - now);
	return false;
}

/* Whoever was chosen holds a place among those under way. */
static void begin_sending(struct channel *channel, struct ticket *ticket)
{
	channel->in_flight++;
	if (ticket->pending->state != ALERT_FIRING || ticket->delivered || ticket->announced) {
		send_pending(channel, ticket);
		return;
	}
	ticket->announcing = true;
	ticket->due_ms =
		now_of(channel) + (channel->unheard ? 0 : channel->options->announce_wait_ms);
	place(channel, ticket);
	wake_in(channel, ticket->due_ms - now_of(channel));
	announce(channel, ticket, true);
}

/* What this process tells of itself no other goes on with. */
bool channel_pauses(const struct channel *channel, const struct ticket *ticket)
{
	const struct notify_options *options = channel->options;

	return ticket->partition != NOTIFY_LOCAL &&
	       (channel->paused || (options->doubts && options->doubts(options->context)));
}

/* The firing is announced, or has waited long enough. A newer transition may have taken its place:
 * an end of what was never sent. */
static void announced(struct channel *channel, struct ticket *ticket)
{
	ticket->announcing = false;
	ticket->due_ms = 0;
	channel->in_flight--;
	if (channel_pauses(channel, ticket)) {
		place(channel, ticket);
		return;
	}
	if (settle_without_sending(channel, ticket))
		return;
	channel->in_flight++;
	send_pending(channel, ticket);
}

void notify_recorded(struct notify_receipt *receipt)
{
	struct channel *channel = receipt->channel;
	struct ticket *ticket = receipt->ticket;
	bool announces = receipt->announces;

	receipt_free(receipt);
	if (channel->closing)
		return;
	assert(ticket->unrecorded);
	ticket->unrecorded--;
	channel->unheard = false;
	if (ticket->waits && !ticket->unrecorded) {
		ticket->waits = false;
		ticket->due_ms = 0;
	}
	if (announces && ticket->announcing)
		announced(channel, ticket);
	else
		place(channel, ticket);
	if (!channel->recording)
		channel_run(channel);
}

static void on_timer(uv_timer_t *timer)
{
	channel_run(timer->data);
}

static void wake_in(struct channel *channel, uint64_t delay_ms)
{
	uint64_t due = uv_timer_get_due_in(&channel->timer);

	if (!channel->closing && (!uv_is_active((uv_handle_t *)&channel->timer) || due > delay_ms))
		uv_timer_start(&channel->timer, on_timer, delay_ms ? delay_ms : 1, 0);
}

/* Those whose time has come go on; the timer is set for the next. */
static void wake_due(struct channel *channel)
{
	uint64_t now = now_of(channel);
	struct ticket *next;

	for (struct ticket *ticket = channel->tickets.queues[HOME_FLYING].oldest; ticket;
	     ticket = next) {
		next = ticket->newer;
		if (ticket->announcing && ticket->due_ms <= now) {
			channel->unheard = true;
			announced(channel, ticket);
		} else if (ticket->announcing)
			wake_in(channel, ticket->due_ms - now);
	}
	for (struct ticket *ticket = channel->tickets.queues[HOME_RESTING].oldest; ticket;
	     ticket = next) {
		next = ticket->newer;
		if (ticket->due_ms > now)
			wake_in(channel, ticket->due_ms - now);
		else
			place(channel, ticket);
	}
}

/* When the newest record of the ticket that is under way was made. */
static uint64_t recorded_ms(const struct channel *channel, const struct ticket *ticket)
{
	const struct notify_receipt *receipt = channel->receipts; /* newest first */

	while (receipt->ticket != ticket)
		receipt = receipt->next;
	return receipt->made_ms;
}

/* An end that is sent while nothing tells yet that its firing was delivered: killed then, the next
 * life would send the firing again, which opens what is closed. So it waits for the record, but
 * where records are not kept in time not for long. */
static bool must_wait(struct channel *channel, struct ticket *ticket)
{
	uint64_t now = now_of(channel), until;

	if (!ticket->unrecorded || channel->unheard || ticket->pending->state != ALERT_RESOLVED)
		return false;
	until = recorded_ms(channel, ticket) + channel->options->announce_wait_ms;
	if (now >= until) {
		channel->unheard = true;
		return false;
	}
	ticket->waits = true;
	ticket->due_ms = until;
	place(channel, ticket);
	wake_in(channel, until - now);
	return true;
}

/* The next that may be sent; NULL: none. */
static struct ticket *next_ready(const struct channel *channel)
{
	static const enum ticket_home homes[] = {HOME_FIRST, HOME_READY};

	for (size_t i = 0; i < sizeof(homes) / sizeof(homes[0]); i++) {
		struct ticket *ticket = channel->tickets.queues[homes[i]].oldest;

		while (ticket && (channel_pauses(channel, ticket) || repeat_holds(channel, ticket)))
			ticket = ticket->newer;
		if (ticket)
			return ticket;
	}
	return NULL;
}

static void channel_run(struct channel *channel)
{
	struct ticket *ticket;

	if (channel->closing)
		return;
	wake_due(channel);
	while ((ticket = next_ready(channel)) != NULL) {
		uint64_t wait;

		if (settle_without_sending(channel, ticket) || must_wait(channel, ticket))
			continue;
		if (!has_place(channel))
			return;
		wait = held_back_ms(channel);
		if (!wait)
			wait = pace_take(&channel->pace, now_of(channel));
		if (wait) {
			wake_in(channel, wait);
			return;
		}
		begin_sending(channel, ticket);
	}
}

/* --- in --- */

static bool is_news(const struct ticket *ticket, const struct alert *alert)
{
	return alert->sequence > ticket->settled &&
	       (!ticket->pending || alert->sequence > ticket->pending->sequence) &&
	       (!ticket->next || alert->sequence > ticket->next->sequence);
}

/* The position is held from the first transition after which the ticket was idle, or silenced. */
static void hold_from(struct ticket *ticket, const struct notify_place *at)
{
	if ((ticket->pending && !ticket->silenced) || ticket->unrecorded)
		return;
	ticket->partition = at ? at->partition : NOTIFY_LOCAL;
	ticket->held_from = at ? at->offset : 0;
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

/* The oldest that is not under way: rather one that is silenced; one whose end is owed only if
 * there is no other. */
static struct ticket *least_wanted(const struct channel *channel)
{
	static const enum ticket_home homes[] = {HOME_READY, HOME_RESTING, HOME_FIRST};

	if (channel->tickets.queues[HOME_SILENCED].oldest)
		return channel->tickets.queues[HOME_SILENCED].oldest;
	for (size_t i = 0; i < sizeof(homes) / sizeof(homes[0]); i++) {
		struct ticket *ticket = channel->tickets.queues[homes[i]].oldest;

		while (ticket && end_owed(ticket))
			ticket = ticket->newer;
		if (ticket)
			return ticket;
	}
	for (size_t i = 0; i < sizeof(homes) / sizeof(homes[0]); i++) {
		if (channel->tickets.queues[homes[i]].oldest)
			return channel->tickets.queues[homes[i]].oldest;
	}
	return NULL;
}

static void hold_bound(struct channel *channel)
{
	size_t count =
		tickets_pending(&channel->tickets) + channel->tickets.queues[HOME_SILENCED].count;
	struct ticket *ticket;

	if (count <= channel->options->pending_max)
		return;
	ticket = least_wanted(channel);
	if (ticket)
		give_up(channel, ticket, NOTIFY_CROWDED,
			"more notifications wait than notify.pending");
}

bool channel_routes(const struct channel *channel, const struct alert *alert)
{
	return alert->severity >= channel->receiver.severity_min &&
	       route_takes(&channel->receiver.route, alert);
}

/* What it was told of, or is to be, it hears of until the end, whatever that has become by now. */
static bool wants(const struct channel *channel, const struct ticket *ticket,
		  const struct alert *alert, bool local)
{
	if (local)
		return channel->receiver.self_alerts;
	if (ticket && (alert->state == ALERT_RESOLVED || ticket->pending || end_owed(ticket)))
		return true;
	return channel_routes(channel, alert);
}

bool channel_push(struct channel *channel, const struct alert *alert, const struct notify_place *at)
{
	struct ticket *ticket = tickets_find(&channel->tickets, alert->key);

	if (!wants(channel, ticket, alert, !at))
		return false;
	ticket = tickets_get(&channel->tickets, alert->key);
	if (!is_news(ticket, alert)) {
		channel_remind(channel, alert);
		return true;
	}
	hold_from(ticket, at);
	ticket_take(channel, ticket, alert);
	hold_bound(channel);
	channel_run(channel);
	return true;
}

void channel_remind(struct channel *channel, const struct alert *alert)
{
	struct ticket *ticket = tickets_find(&channel->tickets, alert->key);

	if (ticket && channel->dialect->forgets && ticket->delivered && !ticket->item &&
	    alert->state == ALERT_FIRING && alert->sequence == ticket->settled) {
		repeat_keep(channel, ticket, alert);
		ticket->item_ms = 0; /* it may have been long */
	}
}

void channel_settled(struct channel *channel, const struct delivery *delivery)
{
	struct ticket *ticket = tickets_get(&channel->tickets, delivery->key);

	if (delivery->sequence < ticket->settled)
		return;
	ticket->settled = delivery->sequence;
	ticket->settled_ns = delivery->delivered_ns;
	ticket->delivered = delivery->resolve_owed;
	ticket->uncertain = ticket->announced = delivery->uncertain;
	ticket->severity = delivery->severity;
	if (delivery->local)
		ticket->partition = NOTIFY_LOCAL;
	/* One of its name may have been of another kind. */
	if (channel->dialect->handle)
		set_handle(ticket, delivery->handle[0] ? delivery->handle : NULL);
	ticket->told_ns = delivery->delivered_ns;
	ticket->located = delivery->sequence > 1;
	place(channel, ticket);
}

/* --- a pause --- */

/* Whoever goes on in its place must not take it for sent. */
static void withdraw(struct channel *channel, struct ticket *ticket)
{
	ticket->announcing = false;
	ticket->due_ms = 0;
	channel->in_flight--;
	place(channel, ticket);
	announce(channel, ticket, false);
}

void channel_pause(struct channel *channel)
{
	struct ticket *next;

	channel->paused = true;
	for (struct ticket *ticket = channel->tickets.queues[HOME_FLYING].oldest; ticket;
	     ticket = next) {
		next = ticket->newer;
		if (ticket->announcing && channel_pauses(channel, ticket))
			withdraw(channel, ticket);
	}
}

void channel_resume(struct channel *channel)
{
	channel->paused = false;
	channel_run(channel);
}

/* --- silences --- */

void channel_review(struct channel *channel)
{
	struct ticket *next;

	for (struct ticket *ticket = channel->tickets.queues[HOME_SILENCED].oldest; ticket;
	     ticket = next) {
		next = ticket->newer;
		if (is_silenced(channel, ticket))
			continue;
		ticket->silenced = false;
		place(channel, ticket);
	}
	channel_run(channel);
}

/* --- life --- */

static char *copied(const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	if (text && !copy)
		abort(); /* out of memory */
	return copy;
}

/* The header's line. */
static char *authorization(const char *token)
{
	static const char name[] = "Authorization: Bearer ";
	size_t size = sizeof(name) + (token ? strlen(token) : 0);
	char *line = token ? memory_resize(NULL, size, 1) : NULL;

	if (line)
		snprintf(line, size, "%s%s", name, token);
	return line;
}

void channel_init(struct channel *channel, const struct receiver *from, uv_loop_t *loop,
		  struct transport *transport, const struct notify_options *options,
		  const char *external_url)
{
	const struct dialect *dialect = dialect_of(from->kind);

	channel->options = options;
	channel->loop = loop;
	channel->transport = transport;
	channel->external_url = external_url;
	channel->receiver = *from;
	channel->receiver.name = channel->name = copied(from->name);
	channel->receiver.url = channel->url =
		dialect->path ? joined(from->url, dialect->path) : copied(from->url);
	channel->receiver.channel = channel->slack_channel = copied(from->channel);
	channel->token = authorization(from->token);
	channel->receiver.routing_key = channel->routing_key = copied(from->routing_key);
	channel->dialect = dialect;
	channel->began_ns = options->now_ns();
	channel->tickets.closed_max = CLOSED_MAX;
	channel->tickets.open_max = OPEN_MAX;
	channel->breaker.failures_max = options->breaker_failures;
	pace_init(&channel->pace, (from->per_minute ? from->per_minute : dialect->per_minute) / 60,
		  from->burst ? from->burst : dialect->burst, now_of(channel));
	uv_timer_init(loop, &channel->timer);
	channel->timer.data = channel;
}

struct notify_receiver_stats channel_stats(const struct channel *channel)
{
	const struct queue *queues = channel->tickets.queues;
	struct notify_receiver_stats stats = channel->stats;

	stats.breaker = breaker_state(&channel->breaker, now_of(channel));
	stats.name = channel->receiver.name;
	stats.kind = channel->receiver.kind;
	stats.pending = tickets_pending(&channel->tickets);
	stats.silenced_now = queues[HOME_SILENCED].count;
	stats.in_flight = channel->in_flight;
	stats.unrecorded = queues[HOME_UNRECORDED].count;
	stats.open = queues[HOME_OPEN].count;
	stats.forgotten = channel->tickets.forgotten;
	stats.resumes_in_ms = held_back_ms(channel);
	stats.disabled = channel->disabled;
	stats.delivered_ns = channel->delivered_ns;
	stats.failing_since_ns =
		stats.pending || channel->unrepeated ? channel->failing_since_ns : 0;
	stats.last_error = channel->last_error;
	return stats;
}

void channel_close(struct channel *channel, uv_close_cb closed)
{
	channel->closing = true;
	uv_close((uv_handle_t *)&channel->timer, closed);
}

void channel_done(struct channel *channel)
{
	while (channel->receipts)
		receipt_free(channel->receipts);
	tickets_done(&channel->tickets);
	free(channel->name);
	free(channel->url);
	free(channel->routing_key);
	free(channel->token);
	free(channel->slack_channel);
}
