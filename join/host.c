/* Addresses, kept once each: thousands of connections share a server's. */
#include <stddef.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/name.h"
#include "join/state.h"

enum { HOST_KEY_BYTES = offsetof(struct host, users) };

static uint64_t host_hash_of(const void *context, uint32_t number)
{
	return table_hash(host_at(context, number), HOST_KEY_BYTES);
}

void hosts_init(struct join *join, uint32_t hosts_max)
{
	join->hosts = (struct pool){
		.items = memory_zeroed((size_t)hosts_max + 1, sizeof(struct host)),
		.item_size = sizeof(struct host),
		.fresh = 1,
	};
	slots_init(&join->hosts_index, host_hash_of, join);
}

void hosts_done(struct join *join)
{
	slots_done(&join->hosts_index);
	free(join->hosts.items);
}

static bool host_matches(const void *context, uint32_t number, const void *wanted)
{
	return memcmp(host_at(context, number), wanted, HOST_KEY_BYTES) == 0;
}

static uint64_t host_hash(const struct address *address, const struct tuple *tuple)
{
	const struct host wanted = {
		.address = *address, .scope = tuple->scope, .protocol = tuple->protocol};
	return table_hash(&wanted, HOST_KEY_BYTES);
}

void host_hashes(const struct tuple *tuple, uint64_t hashes[SIDES])
{
	hashes[SIDE_CLIENT] = host_hash(&tuple->client, tuple);
	hashes[SIDE_SERVER] = host_hash(&tuple->server, tuple);
}

static uint32_t host_hold(struct join *join, const struct address *address,
			  const struct tuple *tuple, uint64_t hash)
{
	const struct host wanted = {.address = *address,
				    .scope = tuple->scope,
				    .protocol = tuple->protocol,
				    .users = 1};
	uint32_t number = slots_find(&join->hosts_index, hash, host_matches, join, &wanted);
	if (number) {
		host_at(join, number)->users++;
		return number;
	}
	number = pool_take(&join->hosts);
	*host_at(join, number) = wanted;
	slots_add(&join->hosts_index, hash, number);
	return number;
}

void hosts_hold(struct join *join, const struct tuple *tuple, const uint64_t hashes[SIDES],
		uint32_t hosts[SIDES])
{
	hosts[SIDE_CLIENT] = host_hold(join, &tuple->client, tuple, hashes[SIDE_CLIENT]);
	hosts[SIDE_SERVER] = host_hold(join, &tuple->server, tuple, hashes[SIDE_SERVER]);
}

void host_drop(struct join *join, uint32_t number)
{
	struct host *host = host_at(join, number);
	if (--host->users)
		return;
	roster_drop(join->roster, host->instance);
	slots_remove(&join->hosts_index, host_hash_of(join, number), number);
	pool_give(&join->hosts, number);
}

static uint32_t instance_put(struct join *join, const struct address *address)
{
	char text[ADDRESS_TEXT_MAX];
	size_t length = address_format(address, text);
	struct instance instance = {.workload = name_id(text, length),
				    .resolution = RESOLUTION_ADDRESS,
				    .address = *address};
	instance.id = instance_id(&instance);
	return roster_put(join->roster, &instance, join->pane);
}

/* Kept with the host: a text and three hashes. */
uint32_t host_instance(struct join *join, uint32_t number)
{
	struct host *host = host_at(join, number);
	if (!host->instance) {
		host->instance = instance_put(join, &host->address);
		roster_hold(join->roster, host->instance);
	}
	return host->instance;
}

uint32_t address_instance(struct join *join, const struct tuple *tuple)
{
	const struct host wanted = {
		.address = tuple->client, .scope = tuple->scope, .protocol = tuple->protocol};
	uint32_t number = slots_find(&join->hosts_index, table_hash(&wanted, HOST_KEY_BYTES),
				     host_matches, join, &wanted);
	return number ? host_instance(join, number) : instance_put(join, &tuple->client);
}

struct tuple tuple_of_hosts(const struct join *join, const uint32_t hosts[SIDES],
			    const uint16_t ports[SIDES])
{
	const struct host *client = host_at(join, hosts[SIDE_CLIENT]);
	const struct host *server = host_at(join, hosts[SIDE_SERVER]);
	return (struct tuple){
		.client = client->address,
		.server = server->address,
		.client_port = ports[SIDE_CLIENT],
		.server_port = ports[SIDE_SERVER],
		.protocol = server->protocol,
		.scope = server->scope,
	};
}
