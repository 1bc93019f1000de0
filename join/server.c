/* Servers by their address and port, as ingest tells them to every join task: for attempts that
 * nobody answered. As many as halves_max; what was not told for SERVER_KEEP_NS is not believed any
 * more, as the address may be another's by now, and leaves. Where there is no room the newcomer
 * waits until it is told again. */
#include <stdlib.h>

#include "base/memory.h"
#include "base/name.h"
#include "join/state.h"

enum { SWEEP_PANES = 64 }; /* all are looked at once in so many panes */

#define SERVER_KEEP_NS (NAMES_KEEP_PANES * PANE_NS)

_Static_assert(sizeof(struct server_key) == 24, "a key has no hidden padding");

static uint64_t server_hash(const void *context, const void *key)
{
	return table_hash(context, key, sizeof(struct server_key));
}

void servers_init(struct join *join)
{
	uint32_t servers_max = join->options.halves_max;
	intern_init(&join->server_keys, sizeof(struct server_key), servers_max, server_hash, join);
	join->servers = memory_zeroed((size_t)servers_max + 1, sizeof(*join->servers));
}

void servers_bind(struct join *join)
{
	intern_bind(&join->server_keys, server_hash);
}

void servers_done(struct join *join)
{
	intern_done(&join->server_keys);
	memory_free(join->servers);
}

/* The newer telling wins; ties by id, so that the order of tasks does not matter. */
static bool is_newer(const struct join *join, const struct server_place *place,
		     const struct server *server)
{
	if (place->time_ns != server->time_ns)
		return place->time_ns > server->time_ns;
	return place->instance.id > roster_at(join->roster, server->instance)->id;
}

static void server_set(struct join *join, struct server *server, const struct server_place *place)
{
	uint32_t before = server->instance;
	server->time_ns = place->time_ns;
	server->instance =
		place->instance.id ? roster_put(join->roster, &place->instance, join->pane) : 0;
	roster_hold(join->roster, server->instance);
	roster_drop(join->roster, before);
}

static void server_take(struct join *join, const struct server_place *place)
{
	uint32_t number =
		intern_find(&join->server_keys, &place->key, server_hash(join, &place->key));
	if (!number) {
		if (join->server_keys.live == join->server_keys.records_max) {
			join->stats.servers_refused++;
			return;
		}
		number = intern_hold(&join->server_keys, &place->key);
		join->servers[number] = (struct server){0};
	}
	if (is_newer(join, place, &join->servers[number]))
		server_set(join, &join->servers[number], place);
}

static bool is_believed(const struct join *join, const struct server *server)
{
	return server->time_ns + SERVER_KEEP_NS > join->now_ns;
}

void servers_sweep(struct join *join)
{
	uint32_t fresh = join->server_keys.fresh;
	for (uint32_t step = 0; step <= fresh / SWEEP_PANES; step++) {
		if (++join->server_hand >= fresh)
			join->server_hand = 1;
		if (join->server_hand >= fresh)
			return;
		struct server *server = &join->servers[join->server_hand];
		if (server->time_ns == 0 || is_believed(join, server))
			continue;
		roster_drop(join->roster, server->instance);
		*server = (struct server){0};
		intern_drop(&join->server_keys, join->server_hand);
	}
}

void servers_take(struct join *join, const struct half_bucket *bucket)
{
	for (size_t i = 0; i < bucket->servers_count; i++)
		server_take(join, &bucket->servers[i]);
}

uint32_t server_find(const struct join *join, const struct host *host, uint16_t port)
{
	if (join->server_keys.live == 0)
		return 0;
	const struct server_key wanted = {.address = host->address,
					  .port = port,
					  .protocol = host->protocol,
					  .scope = host->scope};
	uint32_t number = intern_find(&join->server_keys, &wanted, server_hash(join, &wanted));
	return number && is_believed(join, &join->servers[number]) ? join->servers[number].instance
								   : 0;
}
