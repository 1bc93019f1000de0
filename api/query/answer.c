#include "api/query/answer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "anomaly/cause.h"
#include "anomaly/diagnosis.h"
#include "api/history/read.h"
#include "api/query/alert_json.h"
#include "api/query/message_json.h"

char *answer_name(struct query *query, uint64_t id)
{
	return arena_text(&query->arena, history_name(query->options.history, id));
}

const char *protocol_name(struct arena *arena, uint8_t protocol)
{
	if (protocol == 6)
		return "tcp";
	if (protocol == 17)
		return "udp";
	return protocol ? arena_format(arena, "ip-%u", protocol) : "";
}

Millrace__V1__Edge *edge_message(struct query *query, const struct edge *edge)
{
	struct arena *arena = &query->arena;
	Millrace__V1__Edge *message = arena_take(arena, 1, sizeof(*message));

	millrace__v1__edge__init(message);
	message->id = arena_format(arena, "%016" PRIx64, edge->id);
	message->client = answer_name(query, edge->client);
	message->server = answer_name(query, edge->server);
	message->port = edge->port;
	message->protocol = (char *)protocol_name(arena, edge->protocol);
	message->client_resolution = (char *)resolution_name(edge->client_resolution);
	message->server_resolution = (char *)resolution_name(edge->server_resolution);
	return message;
}

Millrace__V1__Instance *instance_message(struct query *query, const struct instance *instance)
{
	Millrace__V1__Instance *message = arena_take(&query->arena, 1, sizeof(*message));

	millrace__v1__instance__init(message);
	message->workload = answer_name(query, instance->workload);
	message->version = answer_name(query, instance->version);
	message->zone = answer_name(query, instance->zone);
	message->node = answer_name(query, instance->node);
	message->container = answer_name(query, instance->container);
	message->process = answer_name(query, instance->process);
	message->resolution = (char *)resolution_name(instance->resolution);
	return message;
}

bool refuse_rows(struct query *query, int64_t rows, struct refusal *refusal)
{
	if (rows == HISTORY_TOO_MANY)
		refuse(refusal, REFUSED_TOO_MUCH,
		       "this takes more than %u rows of the history; accepted: a shorter time, a "
		       "coarser step, or one client, server or port",
		       query->options.read_rows_max);
	if (rows == HISTORY_BROKEN)
		refuse(refusal, REFUSED_BROKEN,
		       "the history cannot be read; see millraced's log and history.path");
	return rows < 0;
}

/* --- alerts --- */

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

static Millrace__V1__Alert *alert_message(struct arena *arena, const struct alert *alert)
{
	Millrace__V1__Alert *message = arena_take(arena, 1, sizeof(*message));

	millrace__v1__alert__init(message);
	message->version = 1;
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

void alert_json(struct json *json, const struct alert *alert)
{
	struct arena arena = {0};

	message_json(json, &alert_message(&arena, alert)->base);
	arena_done(&arena);
}

static Millrace__V1__Delivery *delivery_message(struct arena *arena,
						const struct delivery *delivery)
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
	message->resolve_owed = delivery->resolve_owed;
	message->uncertain = delivery->uncertain;
	message->severity = (Millrace__V1__Severity)delivery->severity;
	return message;
}

static int by_receiver(const void *one, const void *other)
{
	const Millrace__V1__Delivery *const *a = one, *const *b = other;

	return strcmp((*a)->receiver, (*b)->receiver);
}

static Millrace__V1__AlertEpisode *episode_message(struct arena *arena,
						   const struct episode *episode)
{
	Millrace__V1__AlertEpisode *message = arena_take(arena, 1, sizeof(*message));

	millrace__v1__alert_episode__init(message);
	message->alert = alert_message(arena, episode->alert);
	message->n_deliveries = episode->deliveries_count;
	message->deliveries =
		arena_take(arena, episode->deliveries_count, sizeof(*message->deliveries));
	for (uint32_t i = 0; i < episode->deliveries_count; i++)
		message->deliveries[i] = delivery_message(arena, &episode->deliveries[i]);
	qsort(message->deliveries, message->n_deliveries, sizeof(*message->deliveries),
	      by_receiver);
	message->event_to_webhook_s = episode_to_webhook_s(episode);
	return message;
}

static int newest_first(const void *one, const void *other)
{
	const struct alert *a = (*(const struct episode *const *)one)->alert;
	const struct alert *b = (*(const struct episode *const *)other)->alert;

	if (a->started_ns != b->started_ns)
		return a->started_ns < b->started_ns ? 1 : -1;
	return strcmp(a->key, b->key);
}

static bool wanted(const Millrace__V1__AlertsRequest *request, const struct episode *episode)
{
	const struct alert *alert = episode->alert;

	return alert && (!*request->key || strcmp(request->key, alert->key) == 0) &&
	       (!*request->state || strcmp(request->state, alert_state_name(alert->state)) == 0) &&
	       (!*request->workload || strcmp(request->workload, alert->subject.client) == 0 ||
		strcmp(request->workload, alert->subject.server) == 0);
}

const ProtobufCMessage *answer_alerts(struct query *query, const ProtobufCMessage *request,
				      struct refusal *refusal)
{
	const Millrace__V1__AlertsRequest *asked = (const Millrace__V1__AlertsRequest *)request;
	struct arena *arena = &query->arena;
	Millrace__V1__AlertsResponse *message = arena_take(arena, 1, sizeof(*message));
	const struct episode **found =
		arena_take(arena, book_count(query->book), sizeof(struct episode *));
	size_t count = 0;

	(void)refusal;
	millrace__v1__alerts_response__init(message);
	for (size_t i = 0; i < book_count(query->book); i++) {
		if (wanted(asked, book_at(query->book, i)))
			found[count++] = book_at(query->book, i);
	}
	qsort(found, count, sizeof(struct episode *), newest_first);
	message->n_alerts = count < asked->limit ? count : asked->limit;
	message->alerts_left_out = (uint32_t)(count - message->n_alerts);
	message->alerts = arena_take(arena, message->n_alerts, sizeof(*message->alerts));
	for (size_t i = 0; i < message->n_alerts; i++)
		message->alerts[i] = episode_message(arena, found[i]);
	return &message->base;
}
