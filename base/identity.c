#include "base/identity.h"

#include "base/hash.h"

static uint64_t identity_hash(const uint64_t *members, size_t count)
{
	uint64_t hash = hash_bytes(members, count * sizeof(*members));
	return hash ? hash : 1;
}

uint64_t instance_id(const struct instance *instance)
{
	const uint64_t members[] = {instance->workload, instance->version,   instance->zone,
				    instance->node,	instance->container, instance->process};
	return identity_hash(members, sizeof(members) / sizeof(members[0]));
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
	static const char *const names[] = {
		[RESOLUTION_UNKNOWN] = "unknown",     [RESOLUTION_WORKLOAD] = "workload",
		[RESOLUTION_CONTAINER] = "container", [RESOLUTION_UNIT] = "unit",
		[RESOLUTION_PROCESS] = "process",     [RESOLUTION_NODE] = "node",
		[RESOLUTION_ADDRESS] = "address",     [RESOLUTION_POD] = "pod",
		[RESOLUTION_SERVICE] = "service",     [RESOLUTION_HOST] = "host",
		[RESOLUTION_RANGE] = "range",	      [RESOLUTION_AMBIGUOUS] = "ambiguous",
	};
	if (resolution >= sizeof(names) / sizeof(names[0]))
		return names[RESOLUTION_UNKNOWN];
	return names[resolution];
}

uint32_t resolution_better(uint32_t one, uint32_t other)
{
	static const uint8_t ranks[] = {
		[RESOLUTION_WORKLOAD] = 1,   [RESOLUTION_CONTAINER] = 2, [RESOLUTION_UNIT] = 3,
		[RESOLUTION_PROCESS] = 4,    [RESOLUTION_NODE] = 5,	 [RESOLUTION_POD] = 6,
		[RESOLUTION_SERVICE] = 7,    [RESOLUTION_HOST] = 8,	 [RESOLUTION_RANGE] = 9,
		[RESOLUTION_AMBIGUOUS] = 10, /* that there was somebody */
		[RESOLUTION_ADDRESS] = 11,
	};
	uint8_t one_rank = one < sizeof(ranks) ? ranks[one] : 0;
	uint8_t other_rank = other < sizeof(ranks) ? ranks[other] : 0;
	if (!one_rank || !other_rank)
		return one_rank ? one : other;
	return one_rank < other_rank ? one : other;
}
