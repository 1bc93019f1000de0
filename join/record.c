/* What the join says of a half or a pair: labels and flows. */
#include <stddef.h>
#include <stdlib.h>

#include "base/memory.h"
#include "join/state.h"

enum { EDGES_CACHED_BITS = 16 };

void records_init(struct join *join)
{
	join->labels = memory_zeroed(join->options.sources, sizeof(*join->labels));
	join->edges = memory_zeroed(1U << EDGES_CACHED_BITS, sizeof(*join->edges));
}

/* ---- who is at the ends ---- */

/* When the flow of a lone half began. */
static uint64_t began_ns(const struct join *join, const struct connection *connection,
			 unsigned side)
{
	return connection->detailed ? detail_of(join, connection)->seats[side].opened_ns
				    : connection->opened_ns;
}

/* At the far end of a client half that nobody met. An agent tells more than the census, but of
 * whoever served there last: another pod's telling is another time's. */
static uint32_t server_instance(struct join *join, uint32_t number, uint16_t port, uint64_t time_ns,
				uint32_t sought)
{
	struct host *host = host_at(join, number);
	uint32_t told = server_find(join, host, port);
	if (!told)
		return host_instance(join, number, time_ns, sought);
	host->asked = 1;
	uint32_t named = census_instance(join, &host->address, host->scope, time_ns);
	const struct instance *pod = roster_at(join->roster, named);
	bool other = named && pod->resolution == RESOLUTION_POD &&
		     pod->container != roster_at(join->roster, told)->container;
	return other ? named : told;
}

/* Only the last one is looked at: it is all that this key's owner knows whatever the number of
 * tasks. */
const struct tuple *client_mapped(const struct join *join, const struct connection *connection)
{
	if (!connection->mapped_in || !connection->detailed)
		return NULL;
	struct tuple key = connection_key(join, connection);
	uint32_t at =
		alias_of(join, &key, &detail_of(join, connection)->seats[SIDE_SERVER], WAY_IN);
	return at ? &alias_at(join, at)->keys[WAY_OUT] : NULL;
}

static uint32_t client_instance(struct join *join, const struct connection *connection,
				uint64_t time_ns)
{
	const struct tuple *mapped = client_mapped(join, connection);
	return mapped ? address_instance(join, mapped, time_ns)
		      : host_instance(join, connection->hosts[SIDE_CLIENT], time_ns, 0);
}

/* ---- labels ---- */

static bool is_on_trial(const struct join *join, const struct connection *connection, unsigned side)
{
	return connection->detailed &&
	       (detail_of(join, connection)->seats[side].flags & HALF_VISITING);
}

/* Who is at the other end of a lone half, as it is labelled. */
static __attribute__((noinline)) uint32_t
other_end(struct join *join, const struct connection *connection, unsigned side, bool on_trial)
{
	unsigned other = side ^ 1;
	uint64_t time_ns = began_ns(join, connection, side);
	if (on_trial ? side == SIDE_SERVER : side == SIDE_CLIENT)
		return server_instance(join, connection->hosts[other], connection->ports[other],
				       time_ns, connection->self[other]);
	return on_trial ? host_instance(join, connection->hosts[other], time_ns, 0)
			: client_instance(join, connection, time_ns);
}

/* A half whose role is on trial keeps the label from home; only its number is that of here. The
 * source knows the half's own instance: it told of it. */
void label_add(struct join *join, uint32_t number)
{
	struct connection *connection = connection_at(join, connection_of(number));
	unsigned side = side_of(number);
	connection->changed = connection->changed & ~(1U << side) & 3;
	bool joined = is_pair(connection);
	bool on_trial = !joined && is_on_trial(join, connection, side);
	unsigned shown = side ^ on_trial;
	uint32_t other =
		joined ? connection->self[side ^ 1] : other_end(join, connection, side, on_trial);
	uint64_t self_id = roster_at(join->roster, connection->self[side])->id;
	const struct instance *far = roster_at(join->roster, other);
	const struct counting counting = joined	    ? pair_counting(join, connection)
					 : on_trial ? (struct counting){(uint8_t)shown, 0}
						    : alone_counting(join, connection, side);
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
		.counts_from = counting.side,
		.joined = joined,
		.final = joined ? !pair_waits(join, connection)
				: connection->stage == STAGE_OLD || connection->stage == STAGE_DONE,
		.counts_since = counting.since,
		.client = shown == SIDE_CLIENT ? self_id : far->id,
		.server = shown == SIDE_CLIENT ? far->id : self_id,
	};
	if (roster_due(join->roster, other, ref.source, join->pane))
		array_append(&bucket->instances, far, 1, sizeof(*far));
}

static inline void peer_label(struct join *join, const struct connection *connection, uint32_t at,
			      unsigned side, const struct instance *const ends[SIDES],
			      uint8_t protocol, bool final, struct counting counting)
{
	const struct half_ref ref = connection->refs[side];
	uint32_t other = connection->self[side ^ 1];
	struct label_bucket *bucket = &join->labels[ref.source];
	*(struct label *)array_add(&bucket->labels, sizeof(struct label)) = (struct label){
		.half = ref,
		.number = number_of(at, side),
		.join_task = (uint16_t)join->options.task,
		.port = connection->ports[SIDE_SERVER],
		.protocol = protocol,
		.side = (uint8_t)side,
		.counts_from = counting.side,
		.joined = true,
		.final = final,
		.counts_since = counting.since,
		.client = ends[SIDE_CLIENT]->id,
		.server = ends[SIDE_SERVER]->id,
	};
	if (roster_due(join->roster, other, ref.source, join->pane))
		array_append(&bucket->instances, ends[side ^ 1], 1, sizeof(struct instance));
}

void pair_label(struct join *join, uint32_t at)
{
	struct connection *connection = connection_at(join, at);
	uint8_t protocol = host_at(join, connection->hosts[SIDE_SERVER])->protocol;
	const struct instance *const ends[SIDES] = {
		roster_at(join->roster, connection->self[SIDE_CLIENT]),
		roster_at(join->roster, connection->self[SIDE_SERVER]),
	};
	connection->changed = 0;
	const struct counting counting = pair_counting(join, connection);
	bool final = !pair_waits(join, connection);
	peer_label(join, connection, at, SIDE_CLIENT, ends, protocol, final, counting);
	peer_label(join, connection, at, SIDE_SERVER, ends, protocol, final, counting);
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

/* Few edges carry most flows: their ids are kept, each at one place. Workloads are hashes. */
static inline struct edge_cache *edge_place(const struct join *join, uint64_t client,
					    uint64_t server, uint64_t port)
{
	uint64_t mixed = (client ^ port) * 0x9e3779b97f4a7c15ULL + server * 0xbf58476d1ce4e5b9ULL;
	return &join->edges[mixed >> (64 - EDGES_CACHED_BITS)];
}

static inline uint64_t edge_port(uint16_t port, uint8_t protocol)
{
	return (uint64_t)port << 8 | protocol;
}

void edge_prefetch(const struct join *join, const struct connection *connection)
{
	const struct host *server = host_at(join, connection->hosts[SIDE_SERVER]);
	__builtin_prefetch(
		edge_place(join, roster_at(join->roster, connection->self[SIDE_CLIENT])->workload,
			   roster_at(join->roster, connection->self[SIDE_SERVER])->workload,
			   edge_port(connection->ports[SIDE_SERVER], server->protocol)),
		1);
}

static uint64_t edge_id_cached(struct join *join, const struct edge *edge)
{
	uint64_t port = edge_port(edge->port, edge->protocol);
	struct edge_cache *cached = edge_place(join, edge->client, edge->server, port);
	if (cached->client != edge->client || cached->server != edge->server ||
	    cached->port_protocol != port || !cached->id)
		*cached = (struct edge_cache){edge->client, edge->server, port, edge_id(edge)};
	return cached->id;
}

static void flow_edge(struct join *join, struct flow *flow)
{
	const struct instance *client = &flow->client.instance, *server = &flow->server.instance;
	struct edge edge = {
		.client = client->workload,
		.server = server->workload,
		.port = flow->wire.server_port,
		.protocol = flow->wire.protocol,
		.client_resolution = (uint8_t)client->resolution,
		.server_resolution = (uint8_t)server->resolution,
	};
	edge.id = edge_id_cached(join, &edge);
	flow->edge = edge;
}

/* Ids are made so for ever: each word by a factor of its own, as that needs no waiting. */
static inline __attribute__((always_inline)) uint64_t sight_hash(const void *words, size_t size)
{
	static const uint64_t factors[HASH_WORDS] = {0x9e3779b97f4a7c15ULL, 0xbf58476d1ce4e5b9ULL,
						     0x94d049bb133111ebULL, 0xff51afd7ed558ccdULL,
						     0xc4ceb9fe1a85ec53ULL, 0xd6e8feb86659fd93ULL};
	uint64_t hash = 0;
#pragma GCC unroll 6
	for (size_t at = 0; at < size; at += 8) {
		uint64_t word = word_at(words, at, size);
		hash += (word ^ word >> 32) * factors[at / 8];
	}
	hash ^= hash >> 32;
	hash *= 0xd6e8feb86659fd93ULL;
	return hash ^ hash >> 32;
}

/* The same for a flow's one-sided and its amended record, and in each replay: it comes from one
 * half's own sight, not from its place in a task. */
static uint64_t flow_id(const struct join *join, uint32_t number, const struct tuple *key)
{
	const struct connection *connection = connection_at(join, connection_of(number));
	const struct seat *seat = &detail_of(join, connection)->seats[side_of(number)];
	const struct tuple seen = seat->view ? half_seen(join, number) : *key;
	const uint64_t sight[] = {
		sight_hash(&seen, sizeof(seen)) ^ side_of(number),
		seat->opened_ns,
		roster_at(join->roster, connection->self[side_of(number)])->node,
	};
	uint64_t id = sight_hash(sight, sizeof(sight));
	return id ? id : 1;
}

/* Records are not zeroed before: every byte is written here, or by the next two. */
static void end_unseen(struct flow_end *end, const struct instance *instance)
{
	memset(end, 0, sizeof(*end));
	end->instance = *instance;
}

static inline void end_seen(const struct join *join, struct flow_end *end,
			    const struct connection *connection, unsigned side)
{
	uint32_t number = detail_of(join, connection)->seats[side].closing;
	uint32_t pid = side == SIDE_CLIENT ? connection->client_pid : connection->server_pid;
	const struct instance *self = roster_at(join->roster, connection->self[side]);
	if (!number) {
		end_unseen(end, self);
		end->seen = true;
		end->pid = pid;
		return;
	}
	const struct closing *closing = closing_at(join, number);
	memset(end, 0, offsetof(struct flow_end, instance));
	end->seen = end->closed = true;
	end->reason = closing->reason;
	end->pid = closing->pid ? closing->pid : pid;
	end->instance = *self;
	end->total = closing->total;
	end->min_rtt_us = closing->min_rtt_us;
	end->lost = closing->lost;
}

static void flow_ends(struct join *join, struct flow *flow, const struct connection *connection)
{
	if (half_is_here(connection, SIDE_CLIENT)) {
		end_seen(join, &flow->client, connection, SIDE_CLIENT);
	} else {
		uint32_t client =
			client_instance(join, connection, began_ns(join, connection, SIDE_SERVER));
		end_unseen(&flow->client, roster_at(join->roster, client));
	}
	if (half_is_here(connection, SIDE_SERVER)) {
		end_seen(join, &flow->server, connection, SIDE_SERVER);
	} else {
		uint32_t server = server_instance(
			join, connection->hosts[SIDE_SERVER], connection->ports[SIDE_SERVER],
			began_ns(join, connection, SIDE_CLIENT), connection->self[SIDE_SERVER]);
		end_unseen(&flow->server, roster_at(join->roster, server));
	}
}

/* The client's own sight of the connection: whom it dialled, and from which address. */
static void flow_addresses(const struct join *join, struct flow *flow, uint32_t at,
			   const struct tuple *key)
{
	const struct connection *connection = connection_at(join, at);
	const struct tuple *seen = key;
	struct tuple own;
	flow->hops = 0;
	if (half_is_here(connection, SIDE_CLIENT)) {
		const struct seat *client = &detail_of(join, connection)->seats[SIDE_CLIENT];
		flow->hops = client->hops;
		if (client->view) {
			own = half_seen(join, number_of(at, SIDE_CLIENT));
			seen = &own;
		}
	} else {
		const struct tuple *mapped = client_mapped(join, connection);
		flow->hops = mapped != NULL;
		seen = mapped ? mapped : seen;
	}
	flow->wire = flow->canonical = *key;
	flow->dialled = seen->server;
	flow->dialled_port = seen->server_port;
	flow->canonical.client = seen->client;
	flow->canonical.client_port = seen->client_port;
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
	struct flow *flow = array_add(&join->flows, sizeof(*flow));
	memset(&flow->dialled_port, 0,
	       offsetof(struct flow, opened_ns) - offsetof(struct flow, dialled_port));
	flow->id = flow_id(join, number_of(at, told), key);
	flow_addresses(join, flow, at, key);
	flow->joined = is_pair(connection);
	flow->established = !connection->failed;
	flow->amended = connection->told != 0;
	flow->opened_ns = detail->seats[first].opened_ns;
	flow->closed_ns = flow_closed_ns(join, detail);
	flow->connect_us = first == SIDE_CLIENT ? detail->seats[SIDE_CLIENT].connect_us : 0;
	flow_ends(join, flow, connection);
	flow_edge(join, flow);
	flow_count(join, flow);
}

/* ---- in the order of their closings ---- */

static int compare_ids(const void *context, uint32_t a, uint32_t b)
{
	const struct flow *flows = context;
	return (flows[a].id > flows[b].id) - (flows[a].id < flows[b].id);
}

static bool in_order(const struct flow *flows, size_t count)
{
	for (size_t i = 1; i < count; i++)
		if (flows[i].closed_ns < flows[i - 1].closed_ns ||
		    (flows[i].closed_ns == flows[i - 1].closed_ns && flows[i].id < flows[i - 1].id))
			return false;
	return true;
}

static const struct flow *flows_sorted(struct join *join)
{
	const struct flow *flows = join->flows.items;
	size_t count = join->flows.count;
	array_reserve(&join->flow_order, 2 * count, sizeof(struct order_place));
	struct order_place *places = join->flow_order.items;
	for (size_t i = 0; i < count; i++)
		places[i] = (struct order_place){flows[i].closed_ns, (uint32_t)i,
						 (uint32_t)(flows[i].id >> 32)};
	const struct order_place *sorted = order_by_time(places, count, compare_ids, flows);
	array_reserve(&join->flows_sorted, count, sizeof(struct flow));
	struct flow *ordered = join->flows_sorted.items;
	for (size_t i = 0; i < count; i++)
		ordered[i] = flows[sorted[i].index];
	return ordered;
}

/* They were added in order (told_leave), unless closings were at the same time or somebody had to
 * make room. */
void flows_send(struct join *join)
{
	size_t count = join->flows.count;
	if (count == 0)
		return;
	const struct flow *flows = join->flows.items;
	if (!in_order(flows, count))
		flows = flows_sorted(join);
	join->options.sinks.flows(join->options.sinks.context, flows, count);
	join->flows.count = 0;
}

void records_done(struct join *join)
{
	for (uint32_t source = 0; source < join->options.sources; source++) {
		memory_free(join->labels[source].labels.items);
		memory_free(join->labels[source].instances.items);
	}
	memory_free(join->labels);
	memory_free(join->edges);
	memory_free(join->flows.items);
	memory_free(join->flow_order.items);
	memory_free(join->flows_sorted.items);
}
