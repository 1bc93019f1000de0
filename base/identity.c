#include "base/identity.h"

#include "base/hash.h"

static uint64_t identity_hash(const uint64_t *members, size_t count)
{
	uint64_t hash = hash_bytes(members, count * sizeof(*members));
	return hash ? hash : 1;
}

uint64_t instance_id(const struct instance *instance)
{
	const uint64_t members[] = {instance->workload,	 instance->version,   instance->zone,
				    instance->node,	 instance->container, instance->process,
				    instance->resolution};
	/* What another process asked for, or a handshake alone names, is less sure, and kept apart.
	 */
	bool guess = instance->resolution == RESOLUTION_NODE_DNS ||
		     instance->resolution == RESOLUTION_SNI;
	size_t others = guess ? 0 : 1;
	return identity_hash(members, sizeof(members) / sizeof(members[0]) - others);
}

uint64_t edge_id(const struct edge *edge)
{
	const uint64_t members[] = {edge->client, edge->server,
				    (uint64_t)edge->port << 8 | edge->protocol};
	return identity_hash(members, sizeof(members) / sizeof(members[0]));
}

uint64_t lane_id(const struct lane *lane)
{
	const uint64_t members[] = {lane->client_zone, lane->server_zone, lane->client_version,
				    lane->server_version};
	return identity_hash(members, sizeof(members) / sizeof(members[0]));
}

const char *resolution_name(uint32_t resolution)
{
	static const char *const names[RESOLUTIONS] = {
		[RESOLUTION_UNKNOWN] = "unknown",
		[RESOLUTION_WORKLOAD] = "workload",
		[RESOLUTION_CONTAINER] = "container",
		[RESOLUTION_UNIT] = "unit",
		[RESOLUTION_PROCESS] = "process",
		[RESOLUTION_NODE] = "node",
		[RESOLUTION_ADDRESS] = "address",
		[RESOLUTION_POD] = "pod",
		[RESOLUTION_SERVICE] = "service",
		[RESOLUTION_HOST] = "host",
		[RESOLUTION_RANGE] = "range",
		[RESOLUTION_AMBIGUOUS] = "ambiguous",
		[RESOLUTION_DNS] = "dns",
		[RESOLUTION_NODE_DNS] = "node_dns",
		[RESOLUTION_NETWORK] = "network",
		[RESOLUTION_PUBLIC] = "public",
		[RESOLUTION_LINK_LOCAL] = "link-local",
		[RESOLUTION_LOOPBACK] = "loopback",
		[RESOLUTION_MULTICAST] = "multicast",
		[RESOLUTION_SNI] = "sni",
	};
	return names[resolution < RESOLUTIONS ? resolution : RESOLUTION_UNKNOWN];
}

enum resolution resolution_of_address(const struct address *address)
{
	static const uint8_t resolutions[] = {
		[ADDRESS_PRIVATE] = RESOLUTION_ADDRESS,
		[ADDRESS_PUBLIC] = RESOLUTION_PUBLIC,
		[ADDRESS_LINK_LOCAL] = RESOLUTION_LINK_LOCAL,
		[ADDRESS_LOOPBACK] = RESOLUTION_LOOPBACK,
		[ADDRESS_MULTICAST] = RESOLUTION_MULTICAST,
	};
	return resolutions[address_class(address)];
}

uint32_t resolution_better(uint32_t one, uint32_t other)
{
	static const uint8_t ranks[RESOLUTIONS] = {
		[RESOLUTION_WORKLOAD] = 1,
		[RESOLUTION_CONTAINER] = 2,
		[RESOLUTION_UNIT] = 3,
		[RESOLUTION_PROCESS] = 4,
		[RESOLUTION_NODE] = 5,
		[RESOLUTION_POD] = 6,
		[RESOLUTION_SERVICE] = 7,
		[RESOLUTION_HOST] = 8,
		[RESOLUTION_DNS] = 9,
		[RESOLUTION_NODE_DNS] = 10,
		[RESOLUTION_SNI] = 11,
		[RESOLUTION_RANGE] = 12,
		[RESOLUTION_NETWORK] = 13,
		[RESOLUTION_AMBIGUOUS] = 14, /* that there was somebody */
		[RESOLUTION_ADDRESS] = 15,
		[RESOLUTION_PUBLIC] = 16,
		[RESOLUTION_LINK_LOCAL] = 17,
		[RESOLUTION_LOOPBACK] = 18,
		[RESOLUTION_MULTICAST] = 19,
	};
	uint8_t one_rank = one < RESOLUTIONS ? ranks[one] : 0;
	uint8_t other_rank = other < RESOLUTIONS ? ranks[other] : 0;
	if (!one_rank || !other_rank)
		return one_rank ? one : other;
	return one_rank < other_rank ? one : other;
}
