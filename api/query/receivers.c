/* The receivers of alerts: how each does. The figures are the notifier's. */
#include <string.h>

#include "api/query/answer.h"
#include "base/clock.h"

static double seconds_of(uint64_t ns)
{
	return (double)ns / (double)NS_PER_S;
}

static Millrace__V1__Receiver *receiver_message(struct arena *arena,
						const struct receiver_view *view)
{
	Millrace__V1__Receiver *message = arena_take(arena, 1, sizeof(*message));

	millrace__v1__receiver__init(message);
	message->name = arena_text(arena, view->name);
	message->type = arena_text(arena, view->type);
	message->state = arena_text(arena, view->state);
	message->waiting = view->waiting;
	message->delivered = view->delivered;
	message->failed = view->failed;
	message->retried = view->retried;
	message->open = view->open;
	message->last_delivery_s = seconds_of(view->delivered_ns);
	message->failing_since_s = seconds_of(view->failing_since_ns);
	message->resumes_in_s = (double)view->resumes_in_ms / 1000;
	message->last_error = arena_text(arena, view->last_error);
	return message;
}

const ProtobufCMessage *answer_receivers(struct query *query, const ProtobufCMessage *request,
					 struct refusal *refusal)
{
	struct arena *arena = &query->arena;
	Millrace__V1__ReceiversResponse *message = arena_take(arena, 1, sizeof(*message));
	struct receiver_view *views = arena_take(arena, QUERY_RECEIVERS_MAX, sizeof(*views));
	size_t count = 0;

	(void)request;
	(void)refusal;
	millrace__v1__receivers_response__init(message);
	if (query->options.receivers)
		count = query->options.receivers(query->options.context, views,
						 QUERY_RECEIVERS_MAX);
	message->n_receivers = count;
	message->receivers = arena_take(arena, count, sizeof(*message->receivers));
	for (size_t i = 0; i < count; i++)
		message->receivers[i] = receiver_message(arena, &views[i]);
	return &message->base;
}
