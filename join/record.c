/* What the join says of a half or a pair: labels and flows. */
#include "join/state.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/name.h"

/* A connection as far as it is known here. */
struct ends {
	const struct half *client, *server; /* either may be NULL */
	struct address client_address, server_address, dialled;
	uint16_t client_port, dialled_port;
	uint8_t hops;
	struct instance client_instance, server_instance;
};

static struct instance address_instance(const struct address *address)
{
	char text[ADDRESS_TEXT_MAX];
	size_t length = address_format(address, text);
	struct instance instance = {.workload = name_id(text, length),
				    .resolution = RESOLUTION_ADDRESS};
	instance.id = instance_id(&instance);
	return instance;
}

/* Who the client is: itself; else, of a lone server half, the sender in the mapping that ends here.
 * Only the last mapping is looked at: it is all that this key's owner knows whatever the number of
 * tasks. */
static void client_find(const struct join *join, struct ends *ends, const struct tuple *key)
{
	ends->client_address = key->client;
	ends->client_port = key->client_port;
	ends->dialled = key->server;
	ends->dialled_port = key->server_port;
	const struct tuple *seen = NULL;
	if (ends->client) {
		seen = tuple_at(join, ends->client->seen);
		ends->hops = ends->client->hops;
	} else {
		uint32_t at = alias_in(join, ends->server->key, ends->server->opened_ns,
				       half_closed_ns(join, ends->server));
		if (at)
			seen = tuple_at(join, join->aliases[at].from);
		ends->hops = at != 0;
	}
	if (!seen)
		return;
	ends->client_address = seen->client;
	ends->client_port = seen->client_port;
	ends->dialled = seen->server;
	ends->dialled_port = seen->server_port;
}

static struct ends ends_of(const struct join *join, uint32_t number)
{
	const struct half *half = &join->halves[number];
	const struct half *peer = half->peer ? &join->halves[half->peer] : NULL;
	const struct tuple *key = tuple_at(join, half->key);
	bool is_client = half->side == SIDE_CLIENT;
	struct ends ends = {
		.client = is_client ? half : peer,
		.server = is_client ? peer : half,
		.server_address = key->server,
	};
	client_find(join, &ends, key);
	ends.client_instance = ends.client ? *instance_at(join, ends.client->self)
					   : address_instance(&ends.client_address);
	const struct instance *told = ends.server ? NULL : server_find(join, key);
	ends.server_instance = ends.server ? *instance_at(join, ends.server->self)
			       : told	   ? *told
					   : address_instance(&ends.server_address);
	return ends;
}

static struct edge edge_of(const struct ends *ends, const struct tuple *key)
{
	struct edge edge = {
		.client = ends->client_instance.workload,
		.server = ends->server_instance.workload,
		.port = key->server_port,
		.protocol = key->protocol,
		.client_resolution = (uint8_t)ends->client_instance.resolution,
		.server_resolution = (uint8_t)ends->server_instance.resolution,
	};
	edge.id = edge_id(&edge);
	return edge;
}

void label_add(struct join *join, uint32_t number)
{
	struct half *half = &join->halves[number];
	half->changed = false;
	if ((half->flags & HALF_VISITING) && !half->peer)
		return; /* its role is on trial: the label from home stands */
	struct ends ends = ends_of(join, number);
	struct label label = {
		.half = half->ref,
		.side = half->side,
		.counts_from = ends.client ? SIDE_CLIENT : SIDE_SERVER,
		.joined = half->peer != 0,
		.final = half->peer || half->place == PLACE_OLD || half->place == PLACE_DONE,
		.edge = edge_of(&ends, tuple_at(join, half->key)),
		.lane = {.client_zone = ends.client_instance.zone,
			 .server_zone = ends.server_instance.zone,
			 .client_version = ends.client_instance.version,
			 .server_version = ends.server_instance.version},
		.client = ends.client_instance,
		.server = ends.server_instance,
		.client_address = ends.client_address,
		.server_address = ends.server_address,
	};
	label.lane.id = lane_id(&label.lane);
	*(struct label *)array_add(&join->labels, sizeof(label)) = label;
}

/* The same for a flow's one-sided and its amended record, and in each replay: it comes from one
 * half's own sight, not from its place in a task. */
static uint64_t flow_id(const struct join *join, const struct half *half)
{
	const uint64_t parts[] = {tuple_hash(tuple_at(join, half->seen)), half->opened_ns,
				  instance_at(join, half->self)->node, half->side};
	uint64_t id = hash_bytes(parts, sizeof(parts));
	return id ? id : 1;
}

static struct flow_end flow_end_of(const struct join *join, const struct half *half,
				   const struct instance *instance)
{
	struct flow_end end = {.seen = half != NULL, .instance = *instance};
	if (!half)
		return end;
	end.pid = half->pid;
	if (!half->closing)
		return end;
	const struct closing *closing = &join->closings[half->closing];
	end.closed = true;
	end.reason = closing->reason;
	end.total = closing->total;
	end.min_rtt_us = closing->min_rtt_us;
	end.lost = closing->lost;
	return end;
}

void flow_add(struct join *join, uint32_t number)
{
	const struct half *half = &join->halves[number];
	const struct tuple *key = tuple_at(join, half->key);
	struct ends ends = ends_of(join, number);
	const struct half *client = ends.client, *server = ends.server;
	const struct half *told = client && (client->flags & HALF_TOLD)	  ? client
				  : server && (server->flags & HALF_TOLD) ? server
									  : NULL;
	const struct half *first = client ? client : server;
	const struct half *closed = first->closing ? first : half;
	struct flow flow = {
		.id = flow_id(join, told ? told : first),
		.canonical = *key,
		.wire = *key,
		.dialled = ends.dialled,
		.dialled_port = ends.dialled_port,
		.joined = client && server,
		.established = !(half->flags & HALF_FAILED),
		.amended = told != NULL,
		.hops = ends.hops,
		.opened_ns = first->opened_ns,
		.closed_ns = join->closings[closed->closing].time_ns,
		.connect_us = client ? client->connect_us : 0,
		.edge = edge_of(&ends, key),
		.client = flow_end_of(join, client, &ends.client_instance),
		.server = flow_end_of(join, server, &ends.server_instance),
	};
	flow.canonical.client = ends.client_address;
	flow.canonical.client_port = ends.client_port;
	*(struct flow *)array_add(&join->flows, sizeof(flow)) = flow;
	join->stats.flows_emitted++;
	join->stats.flows_joined += flow.joined;
	join->stats.amended += flow.amended;
	join->stats.paired += flow.joined ? 2 : 0;
	join->stats.one_sided += !flow.joined && flow.established;
}

static int compare_labels(const void *left, const void *right)
{
	const struct half_ref *a = &((const struct label *)left)->half;
	const struct half_ref *b = &((const struct label *)right)->half;
	if (a->source != b->source)
		return a->source < b->source ? -1 : 1;
	if (a->index != b->index)
		return a->index < b->index ? -1 : 1;
	return (a->generation > b->generation) - (a->generation < b->generation);
}

void labels_send(struct join *join)
{
	struct label *labels = join->labels.items;
	size_t count = join->labels.count;
	if (count > 1)
		qsort(labels, count, sizeof(*labels), compare_labels);
	for (size_t start = 0, end; start < count; start = end) {
		for (end = start;
		     end < count && labels[end].half.source == labels[start].half.source;)
			end++;
		join->options.sinks.labels(join->options.sinks.context, labels[start].half.source,
					   labels + start, end - start);
	}
	join->labels.count = 0;
}

static int compare_flows(const void *left, const void *right)
{
	const struct flow *a = left, *b = right;
	if (a->closed_ns != b->closed_ns)
		return a->closed_ns < b->closed_ns ? -1 : 1;
	return (a->id > b->id) - (a->id < b->id);
}

void flows_send(struct join *join)
{
	size_t count = join->flows.count;
	if (count == 0)
		return;
	if (count > 1)
		qsort(join->flows.items, count, sizeof(struct flow), compare_flows);
	join->options.sinks.flows(join->options.sinks.context, join->flows.items, count);
	join->flows.count = 0;
}
