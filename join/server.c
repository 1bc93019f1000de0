/* Servers by their address and port, as ingest tells them to every join task: for attempts that
 * nobody answered. A table of sets; in a full set the one told longest ago leaves. What was not
 * told for SERVER_KEEP_NS is not believed any more: the address may be another's by now. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/name.h"
#include "join/state.h"

enum { SERVER_WAYS = 4 };

#define SERVER_KEEP_NS (NAMES_KEEP_PANES * PANE_NS)

static struct server_place *set_of(const struct join *join, const struct server_key *key)
{
	uint64_t hash = hash_bytes(key, sizeof(*key));
	return &join->servers[(hash & (join->server_sets - 1)) * SERVER_WAYS];
}

void servers_init(struct join *join)
{
	join->server_sets = 16;
	while (join->server_sets * SERVER_WAYS < join->options.halves_max)
		join->server_sets *= 2;
	join->servers =
		memory_zeroed((size_t)join->server_sets * SERVER_WAYS, sizeof(*join->servers));
}

void servers_done(struct join *join)
{
	free(join->servers);
	free(join->server_events.items);
}

/* The newer telling wins; ties by id, so that the order of tasks does not matter. */
static bool is_newer(const struct server_place *a, const struct server_place *b)
{
	if (a->time_ns != b->time_ns)
		return a->time_ns > b->time_ns;
	return a->instance.id > b->instance.id;
}

static void server_take(struct join *join, const struct server_place *place)
{
	struct server_place *set = set_of(join, &place->key), *oldest = set;
	for (int way = 0; way < SERVER_WAYS; way++) {
		if (memcmp(&set[way].key, &place->key, sizeof(place->key)) == 0) {
			if (is_newer(place, &set[way]))
				set[way] = *place;
			return;
		}
		if (is_newer(oldest, &set[way]))
			oldest = &set[way];
	}
	*oldest = *place;
}

void servers_take(struct join *join)
{
	const struct server_place *places = join->server_events.items;
	for (size_t i = 0; i < join->server_events.count; i++)
		server_take(join, &places[i]);
	join->server_events.count = 0;
}

const struct instance *server_find(const struct join *join, const struct tuple *key)
{
	const struct server_key wanted = {.address = key->server,
					  .port = key->server_port,
					  .protocol = key->protocol,
					  .scope = key->scope};
	const struct server_place *set = set_of(join, &wanted);
	for (int way = 0; way < SERVER_WAYS; way++)
		if (set[way].time_ns && memcmp(&set[way].key, &wanted, sizeof(wanted)) == 0)
			return set[way].time_ns + SERVER_KEEP_NS > join->now_ns ? &set[way].instance
										: NULL;
	return NULL;
}
