#include "api/query/alert_message.h"

#include "anomaly/alert.h"
#include "anomaly/cause.h"
#include "anomaly/diagnosis.h"
#include "api/notify/delivery.h"
#include "api/query/arena.h"
#include "api/query/message_json.h"

const char *protocol_name(struct arena *arena, uint8_t protocol)
{
	if (protocol == 6)
		return "tcp";
	if (protocol == 17)
		return "udp";
	return protocol ? arena_format(arena, "ip-%u", protocol) : "";
}

static Millrace__V1__Suspect *suspect_message(struct arena *arena, const struct suspect *suspect)
{
	Millrace__V1__Suspect *message = arena_take(arena, 1, sizeof(*message));

	millrace__v1__suspect__init(message);
	message->kind = (char *)suspect_kind_name(suspect->kind);
	message->name = arena_text(arena, suspect->name);
	message->share = suspect->share;
	message->excess = suspect->excess;
	return message;
}

static Millrace__V1__AlertMember *member_message(struct arena *arena,
						 const struct alert_member *member)
{
	Millrace__V1__AlertMember *message = arena_take(arena, 1, sizeof(*message));

	millrace__v1__alert_member__init(message);
	message->monitor = arena_text(arena, member->monitor);
	message->client = arena_text(arena, member->subject.client);
	message->server = arena_text(arena, member->subject.server);
	message->port = member->subject.port;
	message->protocol = (char *)protocol_name(arena, member->subject.protocol);
	message->metric = arena_text(arena, member->metric);
	message->severity = (Millrace__V1__Severity)member->severity;
	message->started_ns = member->started_ns;
	return message;
}

static Millrace__V1__LikelyCause *cause_message(struct arena *arena, const struct alert *alert)
{
	const struct change_event *cause = &alert->cause;
	Millrace__V1__LikelyCause *message = arena_take(arena, 1, sizeof(*message));
	char text[CHANGE_TEXT_BYTES + 32];

	millrace__v1__likely_cause__init(message);
	cause_text(cause, alert->started_ns, text, sizeof(text));
	message->kind = (char *)change_kind_name(cause->kind);
	message->time_ns = cause->time_ns;
	message->workload = arena_text(arena, cause->workload);
	message->node = arena_text(arena, cause->node);
	message->instance = arena_text(arena, cause->instance);
	message->before = arena_text(arena, cause->before);
	message->after = arena_text(arena, cause->after);
	message->reason = arena_text(arena, cause->reason);
	message->text = arena_text(arena, text);
	return message;
}

static Millrace__V1__Diagnosis *diagnosis_message(struct arena *arena,
						  const struct diagnosis *diagnosis)
{
	Millrace__V1__Diagnosis *message = arena_take(arena, 1, sizeof(*message));
	char words[DIAGNOSIS_TEXT_MAX];

	millrace__v1__diagnosis__init(message);
	diagnosis_text(diagnosis, words);
	message->kind = (char *)diagnosis_name(diagnosis->kind);
	message->part = diagnosis->part;
	message->whole = diagnosis->whole;
	message->usual = diagnosis->usual;
	message->crossing = diagnosis->crossing;
	message->text = arena_text(arena, words);
	return message;
}

Millrace__V1__Alert *alert_message(struct arena *arena, const struct alert *alert)
{
	Millrace__V1__Alert *message = arena_take(arena, 1, sizeof(*message));

	millrace__v1__alert__init(message);
	message->version = ALERT_VERSION;
	message->key = arena_text(arena, alert->key);
	message->sequence = alert->sequence;
	message->state = (Millrace__V1__AlertState)alert->state;
	message->severity = (Millrace__V1__Severity)alert->severity;
	message->monitor = arena_text(arena, alert->monitor);
	message->client = arena_text(arena, alert->subject.client);
	message->server = arena_text(arena, alert->subject.server);
	message->port = alert->subject.port;
	message->protocol = (char *)protocol_name(arena, alert->subject.protocol);
	message->metric = arena_text(arena, alert->metric);
	message->unit = arena_text(arena, alert->unit);
	message->value = alert->value;
	message->threshold = alert->threshold;
	message->expected = alert->expected;
	message->usual_low = alert->usual_low;
	message->usual_high = alert->usual_high;
	message->score = alert->score;
	message->window_ms = alert->window_ms;
	message->started_ns = alert->started_ns;
	message->ended_ns = alert->ended_ns;
	message->reopened_ns = alert->reopened_ns;
	message->pane_end_ns = alert->pane_end_ns;
	message->last_event_ns = alert->last_event_ns;
	message->completeness = alert->completeness;
	message->summary = arena_text(arena, alert->summary);
	message->suspects = arena_take(arena, alert->suspects_count, sizeof(*message->suspects));
	for (uint32_t i = 0; i < alert->suspects_count && i < ALERT_SUSPECTS_MAX; i++)
		message->suspects[message->n_suspects++] =
			suspect_message(arena, &alert->suspects[i]);
	message->episodes = alert->episodes;
	message->members = arena_take(arena, alert->members_count, sizeof(*message->members));
	for (uint32_t i = 0; i < alert->members_count && i < ALERT_MEMBERS_MAX; i++)
		message->members[message->n_members++] = member_message(arena, &alert->members[i]);
	if (alert->cause.kind)
		message->likely_cause = cause_message(arena, alert);
	if (alert->diagnosis.kind)
		message->diagnosis = diagnosis_message(arena, &alert->diagnosis);
	return message;
}

Millrace__V1__Delivery *delivery_message(struct arena *arena, const struct delivery *delivery)
{
	Millrace__V1__Delivery *message = arena_take(arena, 1, sizeof(*message));

	millrace__v1__delivery__init(message);
	message->receiver = arena_text(arena, delivery->receiver);
	message->key = arena_text(arena, delivery->key);
	message->sequence = delivery->sequence;
	message->state = (Millrace__V1__AlertState)delivery->state;
	message->delivered_ns = delivery->delivered_ns;
	message->sent_ns = delivery->sent_ns;
	message->attempts = delivery->attempts;
	message->failed = delivery->failed;
	message->error = arena_text(arena, delivery->error);
	message->handle = arena_text(arena, delivery->handle);
	message->resolve_owed = delivery->resolve_owed;
	message->uncertain = delivery->uncertain;
	message->severity = (Millrace__V1__Severity)delivery->severity;
	return message;
}

void alert_json(struct json *json, const struct alert *alert)
{
	struct arena arena = {0};

	message_json(json, &alert_message(&arena, alert)->base);
	arena_done(&arena);
}
