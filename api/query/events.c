/* Events: what changed, as the chronicle holds it. */
#include <stdio.h>
#include <string.h>

#include "api/query/answer.h"
#include "base/clock.h"
#include "base/name.h"
#include "base/utf8.h"
#include "metadata/change.h"
#include "metadata/record.h"

struct events {
	struct query *query;
	Millrace__V1__EventsResponse *message;
};

/* As far as there is room, in whole characters. */
static void copy(char to[CHANGE_NAME_BYTES], const char *from)
{
	size_t length = 0, step;

	while (from[length] && (step = utf8_length((const uint8_t *)from + length, 4)) > 0 &&
	       length + step < CHANGE_NAME_BYTES)
		length += step;
	memcpy(to, from, length);
	to[length] = '\0';
}

static struct change_event change_of(const Millrace__V1__Change *message)
{
	struct change_event change = {.time_ns = message->time_ns, .kind = message->kind};

	char workload[2 * RECORD_TEXT_MAX + 2];

	snprintf(workload, sizeof(workload), "%s%s%s", message->namespace_,
		 message->namespace_[0] && message->workload[0] ? "/" : "", message->workload);
	copy(change.workload, message->workload[0] ? workload : "");
	copy(change.node, message->node);
	copy(change.instance, message->instance);
	copy(change.before, message->before);
	copy(change.after, message->after);
	copy(change.reason, message->reason);
	return change;
}

static Millrace__V1__Event *event_message(struct arena *arena, const Millrace__V1__Metadata *record)
{
	const struct change_event change = change_of(record->change);
	Millrace__V1__Event *message = arena_take(arena, 1, sizeof(*message));
	char text[CHANGE_TEXT_BYTES];

	change_text(&change, text, sizeof(text));
	millrace__v1__event__init(message);
	message->id = record->id;
	message->time_s = (double)record->from_ns / (double)NS_PER_S;
	message->kind = (char *)change_kind_name(change.kind);
	message->cluster = record->cluster;
	message->workload = arena_text(arena, change.workload);
	message->workload_kind = record->change->workload_kind;
	message->node = record->change->node;
	message->instance = record->change->instance;
	message->before = record->change->before;
	message->after = record->change->after;
	message->reason = record->change->reason;
	message->text = arena_text(arena, text);
	return message;
}

static void on_event(void *context, const uint8_t *bytes, size_t length)
{
	struct events *events = context;
	struct arena *arena = &events->query->arena;
	ProtobufCAllocator allocator = arena_allocator(arena);
	const Millrace__V1__Metadata *record =
		millrace__v1__metadata__unpack(&allocator, length, bytes);

	if (record && record->change)
		events->message->events[events->message->n_events++] = event_message(arena, record);
}

static uint64_t ns_of(double seconds, uint64_t fallback)
{
	return seconds > 0 ? (uint64_t)(seconds * (double)NS_PER_S) : fallback;
}

const ProtobufCMessage *answer_events(struct query *query, const ProtobufCMessage *request,
				      struct refusal *refusal)
{
	const Millrace__V1__EventsRequest *asked = (const Millrace__V1__EventsRequest *)request;
	Millrace__V1__EventsResponse *message = arena_take(&query->arena, 1, sizeof(*message));
	struct events events = {query, message};
	uint64_t end_ns = ns_of(asked->end_s, UINT64_MAX);
	uint64_t window_ns = ns_of(asked->window_s, 0);
	uint64_t to_ns = end_ns < UINT64_MAX ? end_ns : query->options.now_ns();
	uint64_t from_ns = ns_of(asked->start_s, 0);
	const struct chronicle_choice choice = {
		.workload = name_id(asked->workload, strlen(asked->workload)),
		.node = name_id(asked->node, strlen(asked->node)),
		.kind = change_kind_by_name(asked->kind),
		.from_ns = !window_ns || from_ns + window_ns > to_ns ? from_ns : to_ns - window_ns,
		.until_ns = end_ns,
	};

	(void)refusal;
	millrace__v1__events_response__init(message);
	message->events = arena_take(&query->arena, asked->limit, sizeof(*message->events));
	size_t all = chronicle_read(query->chronicle, &choice, asked->limit, on_event, &events);
	message->events_left_out = (uint32_t)(all - message->n_events);
	return &message->base;
}
