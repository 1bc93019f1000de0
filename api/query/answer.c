#include "api/query/answer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/history/read.h"
#include "api/query/alert_message.h"

enum { SILENCES_SHOWN_MAX = 16 };

char *answer_name(struct query *query, uint64_t id)
{
	return arena_text(&query->arena, history_name(query->options.history, id));
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

static int by_receiver(const void *one, const void *other)
{
	const Millrace__V1__Delivery *const *a = one, *const *b = other;

	return strcmp((*a)->receiver, (*b)->receiver);
}

static void add_silences(struct query *query, const struct episode *episode,
			 Millrace__V1__AlertEpisode *message)
{
	const char *ids[SILENCES_SHOWN_MAX];
	size_t count = 0;

	if (query->options.silences && episode_firing(episode))
		count = query->options.silences(query->options.context, episode->alert, ids,
						SILENCES_SHOWN_MAX);
	message->n_silenced_by = count;
	message->silenced_by = arena_take(&query->arena, count, sizeof(*message->silenced_by));
	for (size_t i = 0; i < count; i++)
		message->silenced_by[i] = arena_text(&query->arena, ids[i]);
}

static void add_acknowledgement(struct query *query, const struct episode *episode,
				Millrace__V1__AlertEpisode *message)
{
	struct arena *arena = &query->arena;
	Millrace__V1__Acknowledgement told = MILLRACE__V1__ACKNOWLEDGEMENT__INIT, *copy;

	if (!query->options.acknowledged ||
	    !query->options.acknowledged(query->options.context, episode->alert, &told))
		return;
	copy = arena_take(arena, 1, sizeof(*copy));
	*copy = told;
	copy->key = arena_text(arena, told.key);
	copy->created_by = arena_text(arena, told.created_by);
	copy->author = arena_text(arena, told.author);
	copy->comment = arena_text(arena, told.comment);
	message->acknowledgement = copy;
}

static Millrace__V1__AlertEpisode *episode_message(struct query *query,
						   const struct episode *episode)
{
	struct arena *arena = &query->arena;
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
	add_silences(query, episode, message);
	add_acknowledgement(query, episode, message);
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
		message->alerts[i] = episode_message(query, found[i]);
	return &message->base;
}
