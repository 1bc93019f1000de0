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
		[RESOLUTION_ADDRESS] = "address",
	};
	if (resolution >= sizeof(names) / sizeof(names[0]))
		return names[RESOLUTION_UNKNOWN];
	return names[resolution];
}
