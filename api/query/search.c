/* Search: a part of a name among all that the history knows. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/history/read.h"
#include "api/query/answer.h"
#include "base/memory.h"

enum kind { KIND_WORKLOAD, KIND_NODE, KIND_ZONE, KIND_VERSION, KIND_INSTANCE, KIND_EDGE };

static const char *const kinds[] = {"workload", "node", "zone", "version", "instance", "edge"};

struct hit {
	enum kind kind;
	bool prefix;
	const char *name; /* lent by the history, or in the arena */
	uint64_t id;	  /* of the name, the instance or the edge: hits are told once */
	struct instance instance;
	struct edge edge;
};

struct search {
	struct query *query;
	const char *q;
	size_t q_length;
	struct hit *hits;
	size_t count, room;
};

/* Case is folded for ASCII alone: names are mostly identifiers. */
static const char *find(const struct search *search, const char *name)
{
	return search->q_length ? strcasestr(name, search->q) : name;
}

static void add(struct search *search, struct hit hit)
{
	const char *at = find(search, hit.name);

	if (!at || !*hit.name)
		return;
	hit.prefix = at == hit.name || at[-1] == '/'; /* of the name proper, too */
	if (search->count == search->room) {
		search->room = memory_grown(search->room, search->count + 1);
		search->hits = memory_resize(search->hits, search->room, sizeof(*search->hits));
	}
	search->hits[search->count++] = hit;
}

static void add_name(struct search *search, enum kind kind, uint64_t id)
{
	if (id)
		add(search, (struct hit){.kind = kind,
					 .id = id,
					 .name = history_name(search->query->options.history, id)});
}

static void on_edge(void *context, const struct edge *edge)
{
	struct search *search = context;
	struct history *history = search->query->options.history;
	const char *client = history_name(history, edge->client);
	const char *server = history_name(history, edge->server);

	add_name(search, KIND_WORKLOAD, edge->client);
	add_name(search, KIND_WORKLOAD, edge->server);
	/* The whole name is made only where one of its parts can match, or the arrow is asked for.
	 */
	if (!find(search, client) && !find(search, server) && !strpbrk(search->q, ":>- "))
		return;
	add(search, (struct hit){.kind = KIND_EDGE,
				 .id = edge->id,
				 .edge = *edge,
				 .name = arena_format(&search->query->arena, "%s -> %s:%u", client,
						      server, edge->port)});
}

static void on_lane(void *context, const struct lane *lane)
{
	add_name(context, KIND_ZONE, lane->client_zone);
	add_name(context, KIND_ZONE, lane->server_zone);
	add_name(context, KIND_VERSION, lane->client_version);
	add_name(context, KIND_VERSION, lane->server_version);
}

static void on_instance(void *context, const struct instance *instance)
{
	struct search *search = context;
	uint64_t name = instance->container ? instance->container : instance->process;

	add_name(search, KIND_NODE, instance->node);
	add_name(search, KIND_ZONE, instance->zone);
	add_name(search, KIND_VERSION, instance->version);
	add(search, (struct hit){.kind = KIND_INSTANCE,
				 .id = instance->id,
				 .instance = *instance,
				 .name = history_name(search->query->options.history, name)});
}

static int by_identity(const void *one, const void *other)
{
	const struct hit *a = one, *b = other;

	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	return a->id < b->id ? -1 : a->id > b->id;
}

static int by_rank(const void *one, const void *other)
{
	const struct hit *a = one, *b = other;

	if (a->prefix != b->prefix)
		return a->prefix ? -1 : 1;
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;

	int order = strcmp(a->name, b->name);

	return order ? order : a->id < b->id ? -1 : a->id > b->id;
}

static void once_each(struct search *search)
{
	size_t kept = 0;

	if (search->count)
		qsort(search->hits, search->count, sizeof(*search->hits), by_identity);
	for (size_t i = 0; i < search->count; i++) {
		if (!kept || by_identity(&search->hits[kept - 1], &search->hits[i]) != 0)
			search->hits[kept++] = search->hits[i];
	}
	search->count = kept;
	if (kept)
		qsort(search->hits, kept, sizeof(*search->hits), by_rank);
}

static Millrace__V1__SearchHit *hit_message(struct query *query, const struct hit *hit)
{
	Millrace__V1__SearchHit *message = arena_take(&query->arena, 1, sizeof(*message));

	millrace__v1__search_hit__init(message);
	message->kind = (char *)kinds[hit->kind];
	message->name = arena_text(&query->arena, hit->name);
	if (hit->kind == KIND_INSTANCE) {
		message->workload = answer_name(query, hit->instance.workload);
		message->node = answer_name(query, hit->instance.node);
	}
	if (hit->kind == KIND_EDGE)
		message->edge = edge_message(query, &hit->edge);
	return message;
}

const ProtobufCMessage *answer_search(struct query *query, const ProtobufCMessage *request,
				      struct refusal *refusal)
{
	const Millrace__V1__SearchRequest *asked = (const Millrace__V1__SearchRequest *)request;
	struct search search = {.query = query, .q = asked->q, .q_length = strlen(asked->q)};
	const struct history_visitor visitor = {&search, on_edge, on_lane, on_instance};
	Millrace__V1__SearchResponse *message = arena_take(&query->arena, 1, sizeof(*message));

	(void)refusal;
	millrace__v1__search_response__init(message);
	history_known(query->options.history, 0, UINT64_MAX, &visitor);
	once_each(&search);
	message->n_hits = search.count < asked->limit ? search.count : asked->limit;
	message->hits_left_out = (uint32_t)(search.count - message->n_hits);
	message->hits = arena_take(&query->arena, message->n_hits, sizeof(*message->hits));
	for (size_t i = 0; i < message->n_hits; i++)
		message->hits[i] = hit_message(query, &search.hits[i]);
	free(search.hits);
	return &message->base;
}
