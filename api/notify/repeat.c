#include "api/notify/repeat.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/notify/alertmanager.h"
#include "base/clock.h"

enum { SOON = 4 /* after a failure it is tried so many times within a period */ };

static uint64_t period_ms(const struct channel *channel)
{
	return channel->receiver.resolve_after_ns / REPEATS / NS_PER_MS;
}

void repeat_forget(struct channel *channel, struct ticket *ticket)
{
	channel->tickets.items -= ticket->item != NULL;
	free(ticket->item);
	ticket->item = NULL;
}

void repeat_keep(struct channel *channel, struct ticket *ticket, const struct alert *alert)
{
	const struct notice notice = {.alert = alert,
				      .receiver = &channel->receiver,
				      .external_url = channel->external_url};

	repeat_forget(channel, ticket);
	if (channel->tickets.items >= REPEATED_MAX) {
		channel->stats.unrepeated++;
		return;
	}
	ticket->item = item_new(&notice);
	ticket->item_ms = uv_now(channel->loop);
	channel->tickets.items++;
}

bool repeat_holds(const struct channel *channel, const struct ticket *ticket)
{
	return channel->repeating && ticket->batch == channel->batch;
}

/* One that has something to send is told of by that, unless it is silenced: what the receiver has
 * fires all the same. */
static bool is_due(const struct channel *channel, const struct ticket *ticket)
{
	return ticket->item && ticket->delivered && (!ticket->pending || ticket->silenced) &&
	       uv_now(channel->loop) >= ticket->item_ms + period_ms(channel) &&
	       !channel_pauses(channel, ticket);
}

static size_t fill(struct channel *channel, struct json *json)
{
	static const enum ticket_home homes[] = {HOME_OPEN, HOME_UNRECORDED, HOME_SILENCED};
	uint64_t ends_ns = channel->options->now_ns() + channel->receiver.resolve_after_ns;
	size_t count = 0;

	for (size_t i = 0; i < sizeof(homes) / sizeof(homes[0]); i++) {
		struct ticket *ticket = channel->tickets.queues[homes[i]].oldest;

		for (; ticket && count < REPEATED_AT_ONCE; ticket = ticket->newer) {
			if (!is_due(channel, ticket))
				continue;
			item_put(json, ticket->item, ends_ns);
			ticket->item_ms = uv_now(channel->loop);
			ticket->batch = channel->batch;
			count++;
		}
	}
	return count;
}

/* Those of the batch are due again soon. */
static void put_back(struct channel *channel)
{
	uint64_t period = period_ms(channel), now = uv_now(channel->loop);

	for (int home = 0; home < HOMES; home++) {
		for (struct ticket *ticket = channel->tickets.queues[home].oldest; ticket;
		     ticket = ticket->newer) {
			if (ticket->item && ticket->batch == channel->batch)
				ticket->item_ms = now > period ? now - period : 0;
		}
	}
	channel->repeat_ms = now + period / SOON;
}

static void on_answer(void *context, const struct answer *answer)
{
	struct channel *channel = context;

	channel->repeating = 0;
	if (!answer)
		return;
	if (channel->dialect->judge(answer) == VERDICT_TAKEN) {
		channel->unrepeated = false;
		channel_answered(channel, answer);
		repeat_turn(channel);
		return;
	}
	channel->unrepeated = true;
	put_back(channel);
	channel_failed(channel, answer, "what still fires could not be told again");
}

void repeat_turn(struct channel *channel)
{
	struct json json;
	const char *body;
	size_t length, count;

	if (!channel->dialect->forgets || channel->repeating || channel_rests(channel) ||
	    uv_now(channel->loop) < channel->repeat_ms)
		return;
	channel->batch++;
	json_init(&json);
	json_array_begin(&json);
	count = fill(channel, &json);
	json_array_end(&json);
	if (count) {
		channel->repeating = count;
		channel->stats.repeated += count;
		body = json_text(&json, &length);
		channel_post(channel, NULL, body, length, on_answer, channel);
	}
	json_done(&json);
}
