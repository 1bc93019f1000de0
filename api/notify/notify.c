#include "api/notify/notify.h"

#include <stdlib.h>
#include <string.h>

#include "api/notify/channel.h"
#include "api/notify/repeat.h"
#include "api/notify/transport.h"
#include "base/memory.h"

struct notify {
	uv_loop_t *loop;
	struct notify_options options;
	char *external_url;
	struct channel *channels;
	struct transport *transport;
	size_t parts; /* still to be closed */
	void (*closed)(void *context);
	void *closed_context;
};

const char *receiver_kind_name(uint32_t kind)
{
	static const char *const names[RECEIVER_KINDS] = {"slack", "pagerduty", "webhook",
							  "alertmanager", "slack"};

	return kind < RECEIVER_KINDS ? names[kind] : "";
}

const char *notify_failure_name(enum notify_failure failure)
{
	static const char *const names[] = {"refused", "gone", "expired", "crowded"};

	return failure < NOTIFY_FAILURES ? names[failure] : "";
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
	notify->external_url = options->external_url ? strdup(options->external_url) : NULL;
	if (options->external_url && !notify->external_url)
		abort(); /* out of memory */
	notify->transport =
		transport_new(&(struct transport_options){.loop = loop,
							  .allow_http = options->allow_http,
							  .allow_private = options->allow_private,
							  .timeout_ns = options->timeout_ns});
	notify->channels = memory_zeroed(options->receivers_count, sizeof(*notify->channels));
	for (size_t i = 0; i < options->receivers_count; i++)
		channel_init(&notify->channels[i], &options->receivers[i], loop, notify->transport,
			     &notify->options, notify->external_url);
	return notify;
}

void notify_settled(struct notify *notify, const struct delivery *delivery)
{
	for (size_t i = 0; i < notify->options.receivers_count; i++) {
		if (strcmp(notify->channels[i].receiver.name, delivery->receiver) == 0)
			channel_settled(&notify->channels[i], delivery);
	}
}

void notify_begin(struct notify *notify)
{
	for (size_t i = 0; i < notify->options.receivers_count; i++)
		tickets_sort(&notify->channels[i].tickets);
}

bool notify_push(struct notify *notify, const struct alert *alert, const struct notify_place *place)
{
	bool wanted = false;

	/* What comes in one turn of the loop counts from now. */
	uv_update_time(notify->loop);
	for (size_t i = 0; i < notify->options.receivers_count; i++)
		wanted |= channel_push(&notify->channels[i], alert, place);
	return wanted;
}

void notify_remind(struct notify *notify, const struct alert *alert)
{
	uv_update_time(notify->loop);
	for (size_t i = 0; i < notify->options.receivers_count; i++)
		channel_remind(&notify->channels[i], alert);
}

void notify_turn(struct notify *notify)
{
	uv_update_time(notify->loop);
	for (size_t i = 0; i < notify->options.receivers_count; i++)
		repeat_turn(&notify->channels[i]);
}

void notify_try(struct notify *notify, size_t receiver, const struct alert *alert,
		notify_tried told, void *context)
{
	uv_update_time(notify->loop);
	channel_try(&notify->channels[receiver], alert, told, context);
}

bool notify_routes(const struct notify *notify, size_t receiver, const struct alert *alert)
{
	return channel_routes(&notify->channels[receiver], alert);
}

void notify_hold(const struct notify *notify, int64_t *positions, size_t partitions)
{
	for (size_t i = 0; i < notify->options.receivers_count; i++)
		tickets_hold(&notify->channels[i].tickets, positions, partitions);
}

void notify_pause(struct notify *notify)
{
	for (size_t i = 0; i < notify->options.receivers_count; i++)
		channel_pause(&notify->channels[i]);
}

void notify_resume(struct notify *notify)
{
	uv_update_time(notify->loop);
	for (size_t i = 0; i < notify->options.receivers_count; i++)
		channel_resume(&notify->channels[i]);
}

void notify_review(struct notify *notify)
{
	uv_update_time(notify->loop);
	for (size_t i = 0; i < notify->options.receivers_count; i++)
		channel_review(&notify->channels[i]);
}

bool notify_sends(const struct notify *notify)
{
	bool sends = false;

	for (size_t i = 0; i < notify->options.receivers_count; i++)
		sends |= notify->channels[i].in_flight > 0 || notify->channels[i].repeating > 0;
	return sends;
}

bool notify_records(const struct notify *notify)
{
	bool records = false;

	for (size_t i = 0; i < notify->options.receivers_count; i++)
		records |= notify->channels[i].receipts != NULL;
	return records;
}

size_t notify_stats(const struct notify *notify, struct notify_receiver_stats *stats, size_t max)
{
	size_t count =
		notify->options.receivers_count < max ? notify->options.receivers_count : max;

	for (size_t i = 0; i < count; i++)
		stats[i] = channel_stats(&notify->channels[i]);
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

static void on_channel_closed(uv_handle_t *timer)
{
	/* The handle's data is its channel, whose options are the notifier's. */
	const struct channel *channel = timer->data;

	part_closed((struct notify *)(void *)((char *)(uintptr_t)channel->options -
					      offsetof(struct notify, options)));
}

void notify_close(struct notify *notify, void (*closed)(void *context), void *context)
{
	notify->closed = closed;
	notify->closed_context = context;
	notify->parts = 1 + notify->options.receivers_count;
	for (size_t i = 0; i < notify->options.receivers_count; i++)
		channel_close(&notify->channels[i], on_channel_closed);
	transport_close(notify->transport, on_transport_closed, notify);
}

void notify_free(struct notify *notify)
{
	for (size_t i = 0; i < notify->options.receivers_count; i++)
		channel_done(&notify->channels[i]);
	free(notify->channels);
	free(notify->external_url);
	free(notify);
}
