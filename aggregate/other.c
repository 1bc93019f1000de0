#include "aggregate/other.h"

#include "base/name.h"

uint64_t other_id(void)
{
	return name_id(OTHER_NAME, sizeof(OTHER_NAME) - 1);
}

struct edge other_edge_of(const struct edge *edge)
{
	struct edge other = {
		.client = other_id(),
		.server = edge->server,
		.server_resolution = edge->server_resolution,
	};
	other.id = edge_id(&other);
	return other;
}

struct edge other_edge(void)
{
	struct edge other = {.client = other_id(), .server = other_id()};
	other.id = edge_id(&other);
	return other;
}

struct lane other_lane(void)
{
	uint64_t id = other_id();
	struct lane other = {
		.client_zone = id, .server_zone = id, .client_version = id, .server_version = id};
	other.id = lane_id(&other);
	return other;
}

struct instance other_instance(uint64_t workload)
{
	uint64_t id = other_id();
	struct instance other = {
		.workload = workload,
		.version = id,
		.zone = id,
		.node = id,
		.container = id,
		.process = id,
	};
	other.id = instance_id(&other);
	return other;
}
