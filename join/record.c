/* What the join says of a half or a pair: labels and flows. */
#include <stdlib.h>

#include "base/memory.h"
#include "join/state.h"

enum { EDGES_CACHED = 2048 };

void records_init(struct join *join)
{
	join->labels = memory_zeroed(join->options.sources, sizeof(*join->labels));
	join->edges = memory_zeroed(EDGES_CACHED, sizeof(*join->edges));
}

/* ---- who is at the ends ---- */

/* At the far end of a client half that nobody met. */
static uint32_t server_instance(struct join *join, uint32_t host, uint16_t port)
{
	uint32_t told = server_find(join, host_at(join, host), port);
	return told ? told : host_instance(join, host);
}

/* The mapping that ends at a lone server half's key. Only the last one is looked at: it is all that
 * this key's owner knows whatever the number of tasks. */
static const struct tuple *client_mapped(const struct join *join,
					 const struct connection *connection)
{
	if (!connection->mapped_in || !connection->detailed)
		return NULL;
	struct tuple key = connection_key(join, connection);
	uint32_t at = alias_in(join, &key, &detail_of(join, connection)->seats[SIDE_SERVER]);
	return at ? alias_tuple(join, alias_at(join, at)->from) : NULL;
}

static uint32_t client_instance(struct join *join, const struct connection *connection)
{
	const struct tuple *mapped = client_mapped(join, connection);
	return mapped ? address_instance(join, mapped)
		      : host_instance(join, connection->hosts[SIDE_CLIENT]);
}

/* ---- labels ---- */

static bool is_on_trial(const struct join *join, const struct connection *connection, unsigned side)
{
	return !is_pair(connection) && connection->detailed &&
	       (detail_of(join, connection)->seats[side].flags & HALF_VISITING);
}

/* Who is at the other end of a half, as it is labelled. */
static uint32_t other_end(struct join *join, const struct connection *connection, unsigned side,
			  bool on_trial)
{
	unsigned other = side ^ 1;
	if (is_pair(connection))
		return connection->self[other];
	if (on_trial ? side == SIDE_SERVER : side == SIDE_CLIENT)
		return server_instance(join, connection->hosts[other], connection->ports[other]);
	return on_trial ? host_instance(join, connection->hosts[other])
			: client_instance(join, connection);
}

/* A half whose role is on trial keeps the label from home; only its number is that of here. The
 * source knows the half's own instance: it told of it. */
void label_add(struct join *join, uint32_t number)
{
	struct connection *connection = connection_at(join, connection_of(number));
	unsigned side = side_of(number);
	connection->changed = connection->changed & ~(1U << side) & 3;
	bool on_trial = is_on_trial(join, connection, side), joined = is_pair(connection);
	unsigned shown = side ^ on_trial;
	uint32_t other = other_end(join, connection, side, on_trial);
	uint64_t self_id = roster_at(join->roster, connection->self[side])->id;
	const struct instance *far = roster_at(join->roster, other);
	const struct half_ref ref = connection->refs[side];
	struct label_bucket *bucket = &join->labels[ref.source];
	struct label *label = array_add(&bucket->labels, sizeof(*label));
	*label = (struct label){
		.half = ref,
		.number = number,
		.join_task = (uint16_t)join->options.task,
		.port = connection->ports[SIDE_SERVER ^ on_trial],
		.protocol = host_at(join, connection->hosts[SIDE_SERVER])->protocol,
		.side = (uint8_t)shown,
		.counts_from = (uint8_t)(joined ? SIDE_CLIENT : shown),
		.joined = joined,
		.final =
			joined || connection->stage == STAGE_OLD || connection->stage == STAGE_DONE,
		.client = shown == SIDE_CLIENT ? self_id : far->id,
		.server = shown == SIDE_CLIENT ? far->id : self_id,
	};
	if (roster_due(join->roster, other, ref.source, join->pane))
		array_append(&bucket->instances, far, 1, sizeof(*far));
}

void labels_send(struct join *join)
{
	for (uint32_t source = 0; source < join->options.sources; source++) {
		struct label_bucket *bucket = &join->labels[source];
		if (bucket->labels.count == 0)
			continue;
		join->options.sinks.labels(join->options.sinks.context, source,
					   bucket->labels.items, bucket->labels.count,
					   bucket->instances.items, bucket->instances.count);
		bucket->labels.count = 0;
		bucket->instances.count = 0;
	}
}

/* ---- flows ---- */

/* Few edges carry most flows: their ids are kept, each at one place. */
static uint64_t edge_id_cached(struct join *join, const struct edge *edge)
{
	const uint64_t words[] = {edge->client, edge->server,
				  (uint64_t)edge->port << 8 | edge->protocol};
	struct edge_cache *cached = &join->edges[table_hash(words, sizeof(words)) % EDGES_CACHED];
	if (cached->client != words[0] || cached->server != words[1] ||
	    cached->port_protocol != words[2] || !cached->id)
		*cached = (struct edge_cache){words[0], words[1], words[2], edge_id(edge)};
	return cached->id;
}

static void flow_edge(struct join *join, struct flow *flow)
{
	struct edge *edge = &flow->edge;
	edge->client = flow->client.instance.workload;
	edge->server = flow->server.instance.workload;
	edge->port = flow->wire.server_port;
	edge->protocol = flow->wire.protocol;
	edge->client_resolution = (uint8_t)flow->client.instance.resolution;
	edge->server_resolution = (uint8_t)flow->server.instance.resolution;
	edge->id = edge_id_cached(join, edge);
}

/* The same for a flow's one-sided and its amended record, and in each replay: it comes from one
 * half's own sight, not from its place in a task. */
static uint64_t flow_id(const struct join *join, uint32_t number, const struct tuple *key)
{
	const struct connection *connection = connection_at(join, connection_of(number));
	const struct seat *seat = &detail_of(join, connection)->seats[side_of(number)];
	struct {
		struct tuple seen;
		uint32_t side;
		uint64_t opened_ns, node;
	} sight = {
		.seen = seat->view ? half_seen(join, number) : *key,
		.side = side_of(number),
		.opened_ns = seat->opened_ns,
		.node = roster_at(join->roster, connection->self[side_of(number)])->node,
	};
	uint64_t id = table_hash(&sight, sizeof(sight));
	return id ? id : 1;
}

static void flow_end_fill(const struct join *join, struct flow_end *end,
			  const struct connection *connection, unsigned side)
{
	end->seen = true;
	end->pid = side == SIDE_CLIENT ? connection->client_pid : connection->server_pid;
	uint32_t number = detail_of(join, connection)->seats[side].closing;
	if (!number)
		return;
	const struct closing *closing = closing_at(join, number);
	end->closed = true;
	end->reason = closing->reason;
	end->total = closing->total;
	end->min_rtt_us = closing->min_rtt_us;
	end->lost = closing->lost;
	if (closing->pid)
		end->pid = closing->pid;
}

/* The client's own sight of the connection: whom it dialled, and from which address. */
static void flow_addresses(const struct join *join, struct flow *flow, uint32_t at)
{
	const struct connection *connection = connection_at(join, at);
	const struct tuple *seen = &flow->wire;
	struct tuple own;
	if (half_is_here(connection, SIDE_CLIENT)) {
		const struct seat *client = &detail_of(join, connection)->seats[SIDE_CLIENT];
		flow->hops = client->hops;
		own = client->view ? half_seen(join, number_of(at, SIDE_CLIENT)) : flow->wire;
		seen = &own;
	} else {
		const struct tuple *mapped = client_mapped(join, connection);
		flow->hops = mapped != NULL;
		seen = mapped ? mapped : seen;
	}
	flow->dialled = seen->server;
	flow->dialled_port = seen->server_port;
	flow->canonical = flow->wire;
	flow->canonical.client = seen->client;
	flow->canonical.client_port = seen->client_port;
}

static void flow_ends(struct join *join, struct flow *flow, const struct connection *connection)
{
	bool has_client = half_is_here(connection, SIDE_CLIENT);
	bool has_server = half_is_here(connection, SIDE_SERVER);
	uint32_t client =
		has_client ? connection->self[SIDE_CLIENT] : client_instance(join, connection);
	flow->client.instance = *roster_at(join->roster, client);
	uint32_t server = has_server ? connection->self[SIDE_SERVER]
				     : server_instance(join, connection->hosts[SIDE_SERVER],
						       connection->ports[SIDE_SERVER]);
	flow->server.instance = *roster_at(join->roster, server);
	if (has_client)
		flow_end_fill(join, &flow->client, connection, SIDE_CLIENT);
	if (has_server)
		flow_end_fill(join, &flow->server, connection, SIDE_SERVER);
}

static void flow_count(struct join *join, const struct flow *flow)
{
	join->stats.flows_emitted++;
	join->stats.flows_joined += flow->joined;
	join->stats.amended += flow->amended;
	join->stats.paired += flow->joined ? 2 : 0;
	join->stats.one_sided += !flow->joined && flow->established;
}

void flow_add(struct join *join, uint32_t at, const struct tuple *key)
{
	const struct connection *connection = connection_at(join, at);
	const struct detail *detail = detail_of(join, connection);
	unsigned first = half_is_here(connection, SIDE_CLIENT) ? SIDE_CLIENT : SIDE_SERVER;
	unsigned told = connection->told & 1 ? SIDE_CLIENT : connection->told ? SIDE_SERVER : first;
	unsigned closed = detail->seats[first].closing ? first : first ^ 1;
	struct flow *flow = array_add(&join->flows, sizeof(*flow));
	memset(flow, 0, sizeof(*flow));
	flow->wire = *key;
	flow->id = flow_id(join, number_of(at, told), key);
	flow->joined = is_pair(connection);
	flow->established = !connection->failed;
	flow->amended = connection->told != 0;
	flow->opened_ns = detail->seats[first].opened_ns;
	flow->closed_ns = closing_at(join, detail->seats[closed].closing)->time_ns;
	flow->connect_us = first == SIDE_CLIENT ? detail->seats[SIDE_CLIENT].connect_us : 0;
	flow_addresses(join, flow, at);
	flow_ends(join, flow, connection);
	flow_edge(join, flow);
	flow_count(join, flow);
}

/* ---- in the order of their closings ---- */

struct flow_place {
	uint64_t closed_ns;
	uint32_t index;
};

static int compare_flows(const struct flow *a, const struct flow *b)
{
	if (a->closed_ns != b->closed_ns)
		return a->closed_ns < b->closed_ns ? -1 : 1;
	return (a->id > b->id) - (a->id < b->id);
}

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS };

static void places_sort_digit(const struct flow_place *from, struct flow_place *to, size_t count,
			      unsigned shift)
{
	uint32_t starts[DIGITS] = {0};
	for (size_t i = 0; i < count; i++)
		starts[from[i].closed_ns >> shift & (DIGITS - 1)]++;
	for (uint32_t digit = 0, sum = 0; digit < DIGITS; digit++) {
		uint32_t of_digit = starts[digit];
		starts[digit] = sum;
		sum += of_digit;
	}
	for (size_t i = 0; i < count; i++)
		to[starts[from[i].closed_ns >> shift & (DIGITS - 1)]++] = from[i];
}

/* By closing, least digits first; then, among the few that closed at the same time, by id. */
static const struct flow_place *flows_order(struct join *join, size_t count)
{
	const struct flow *flows = join->flows.items;
	uint64_t differing = 0;
	array_reserve(&join->flow_order, 2 * count, sizeof(struct flow_place));
	struct flow_place *places = join->flow_order.items, *other = places + count;
	for (size_t i = 0; i < count; i++) {
		places[i] = (struct flow_place){flows[i].closed_ns, (uint32_t)i};
		differing |= flows[i].closed_ns ^ flows[0].closed_ns;
	}
	for (unsigned shift = 0; shift < 64 && differing >> shift; shift += DIGIT_BITS) {
		places_sort_digit(places, other, count, shift);
		struct flow_place *sorted = other;
		other = places;
		places = sorted;
	}
	for (size_t i = 1; i < count; i++) {
		struct flow_place place = places[i];
		size_t at = i;
		for (; at && compare_flows(&flows[place.index], &flows[places[at - 1].index]) < 0;
		     at--)
			places[at] = places[at - 1];
		places[at] = place;
	}
	return places;
}

void flows_send(struct join *join)
{
	size_t count = join->flows.count;
	if (count == 0)
		return;
	const struct flow *flows = join->flows.items;
	const struct flow_place *places = flows_order(join, count);
	array_reserve(&join->flows_sorted, count, sizeof(struct flow));
	struct flow *sorted = join->flows_sorted.items;
	for (size_t i = 0; i < count; i++)
		sorted[i] = flows[places[i].index];
	join->options.sinks.flows(join->options.sinks.context, sorted, count);
	join->flows.count = 0;
}

void records_done(struct join *join)
{
	for (uint32_t source = 0; source < join->options.sources; source++) {
		free(join->labels[source].labels.items);
		free(join->labels[source].instances.items);
	}
	free(join->labels);
	free(join->edges);
	free(join->flows.items);
	free(join->flow_order.items);
	free(join->flows_sorted.items);
}
