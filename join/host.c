/* Addresses, kept once each: thousands of connections share a server's. */
#include <stdlib.h>

#include "base/memory.h"
#include "base/name.h"
#include "join/state.h"
#include "metadata/census.h"

enum { ENDS_PUT = 4096 };

static inline uint64_t host_hash(const struct join *join, const struct address *address,
				 uint32_t scope, uint8_t protocol)
{
	uint64_t words[3];
	memcpy(words, address, sizeof(*address));
	words[2] = (uint64_t)scope << 8 | protocol;
	return table_hash(join, words, sizeof(words));
}

static uint64_t host_hash_of(const void *context, uint32_t number)
{
	const struct host *host = host_at(context, number);
	return host_hash(context, &host->address, host->scope, host->protocol);
}

static void host_fetch(const void *context, uint32_t number)
{
	__builtin_prefetch(host_at(context, number));
}

void hosts_init(struct join *join, uint32_t hosts_max)
{
	join->hosts = (struct pool){
		.items = memory_zeroed((size_t)hosts_max + 1, sizeof(struct host)),
		.item_size = sizeof(struct host),
		.fresh = 1,
	};
	join->ends_put = memory_zeroed(ENDS_PUT, sizeof(*join->ends_put));
	slots_init(&join->hosts_index, host_hash_of, host_fetch, join);
}

void hosts_bind(struct join *join)
{
	slots_bind(&join->hosts_index, host_hash_of, host_fetch, join);
}

void hosts_done(struct join *join)
{
	slots_done(&join->hosts_index);
	memory_free(join->hosts.items);
	memory_free(join->ends_put);
}

static bool host_matches(const void *context, uint32_t number, const void *wanted)
{
	uint64_t a[3], b[3];
	memcpy(a, host_at(context, number), sizeof(a));
	memcpy(b, wanted, sizeof(b));
	return ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2])) == 0;
}

void host_hashes(const struct join *join, const struct tuple *tuple, uint64_t hashes[SIDES])
{
	hashes[SIDE_CLIENT] = host_hash(join, &tuple->client, tuple->scope, tuple->protocol);
	hashes[SIDE_SERVER] = host_hash(join, &tuple->server, tuple->scope, tuple->protocol);
}

static __attribute__((noinline)) uint32_t host_add(struct join *join, const struct host *wanted,
						   uint64_t hash)
{
	uint32_t number = pool_take(&join->hosts);
	*host_at(join, number) = *wanted;
	slots_add(&join->hosts_index, hash, number);
	return number;
}

static inline uint32_t host_hold(struct join *join, const struct address *address,
				 const struct tuple *tuple, uint64_t hash)
{
	const struct host wanted = {
		.address = *address, .scope = tuple->scope, .protocol = tuple->protocol};
	uint32_t number = slots_find(&join->hosts_index, hash, host_matches, join, &wanted);
	if (!number)
		number = host_add(join, &wanted, hash);
	host_at(join, number)->users++;
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

_Static_assert(offsetof(struct host, users) == 3 * sizeof(uint64_t), "three words are its key");

static __attribute__((noinline)) uint32_t
instance_make(struct join *join, const struct address *address, enum resolution resolution)
{
	char text[ADDRESS_TEXT_MAX];
	size_t length = address_format(address, text);
	struct instance instance = {
		.workload = name_id(text, length), .resolution = resolution, .address = *address};
	instance.id = instance_id(&instance);
	return roster_put(join->roster, &instance, join->pane);
}

/* A text and three hashes, unless it was made lately. */
static uint32_t instance_put(struct join *join, const struct address *address,
			     enum resolution resolution)
{
	uint32_t *lately = &join->ends_put[host_hash(join, address, 0, 0) % ENDS_PUT];
	const struct instance known = *roster_at(join->roster, *lately);
	if (known.resolution == resolution && address_equal(&known.address, address))
		return roster_put(join->roster, &known, join->pane);
	*lately = instance_make(join, address, resolution);
	return *lately;
}

static uint32_t fact_instance(struct join *join, const struct fact *fact)
{
	static const uint32_t resolutions[] = {
		[FACT_POD] = RESOLUTION_POD,
		[FACT_NODE] = RESOLUTION_HOST,
		[FACT_SERVICE] = RESOLUTION_SERVICE,
		[FACT_RANGE] = RESOLUTION_RANGE,
	};
	const struct fact *node = fact->zone ? NULL : census_node(join->options.census, fact->node);
	struct instance instance = {
		.workload = fact->workload,
		.version = fact->version,
		.zone = node ? node->zone : fact->zone,
		.node = fact->node,
		.container = fact->instance,
		.resolution = resolutions[fact->kind],
	};
	instance.id = instance_id(&instance);
	return roster_put(join->roster, &instance, join->pane);
}

/* Addresses of networks of their own are nobody's in the cluster. In a range without a name each
 * goes by itself. */
uint32_t census_instance(struct join *join, const struct address *address, uint32_t scope,
			 uint64_t time_ns)
{
	const struct fact *fact;
	if (!join->options.census || scope)
		return 0;
	switch (census_address(join->options.census, address, time_ns, &fact)) {
	case CENSUS_ONE:
		if (fact->workload)
			return fact_instance(join, fact);
		return fact->kind == FACT_RANGE ? instance_put(join, address, RESOLUTION_ADDRESS)
						: 0;
	case CENSUS_AMBIGUOUS:
		return instance_put(join, address, RESOLUTION_AMBIGUOUS);
	case CENSUS_NONE:
		break;
	}
	return 0;
}

/* Of nobody known: a private address is somebody's, and is called by itself; the others by what
 * they are. */
static uint32_t stranger(struct join *join, const struct address *address)
{
	enum resolution resolution = resolution_of_address(address);
	if (resolution == RESOLUTION_ADDRESS)
		return instance_put(join, address, RESOLUTION_ADDRESS);
	const char *name = resolution_name(resolution);
	struct instance instance = {.workload = name_id(name, strlen(name)),
				    .resolution = resolution};
	if (resolution == RESOLUTION_PUBLIC && join->options.sinks.network)
		join->options.sinks.network(join->options.sinks.context, address, &instance);
	instance.id = instance_id(&instance);
	return roster_put(join->roster, &instance, join->pane);
}

/* What is only an address is kept with the host. A range says less than a name that was asked for.
 */
uint32_t host_instance(struct join *join, uint32_t number, uint64_t time_ns, uint32_t sought)
{
	struct host *host = host_at(join, number);
	host->asked = 1;
	uint32_t named = census_instance(join, &host->address, host->scope, time_ns);
	uint32_t resolution = named ? roster_at(join->roster, named)->resolution : 0;
	if (sought &&
	    (!named || resolution == RESOLUTION_RANGE || resolution == RESOLUTION_ADDRESS))
		return sought;
	if (named)
		return named;
	if (!host->instance) {
		host->instance = stranger(join, &host->address) & HOST_INSTANCE_MAX;
		roster_hold(join->roster, host->instance);
	}
	return host->instance;
}

uint32_t host_find(const struct join *join, const struct host *wanted)
{
	uint64_t hash = host_hash(join, &wanted->address, wanted->scope, wanted->protocol);
	return slots_find(&join->hosts_index, hash, host_matches, join, wanted);
}

uint32_t address_instance(struct join *join, const struct tuple *tuple, uint64_t time_ns)
{
	const struct host wanted = {
		.address = tuple->client, .scope = tuple->scope, .protocol = tuple->protocol};
	join->mapped_asked = true;
	uint32_t number = host_find(join, &wanted);
	if (number)
		return host_instance(join, number, time_ns, 0);
	uint32_t named = census_instance(join, &tuple->client, tuple->scope, time_ns);
	return named ? named : stranger(join, &tuple->client);
}
