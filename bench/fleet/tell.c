/* What one end of a flow looks like to the agent beside it. */
#include <assert.h>

#include "base/memory.h"
#include "base/tuple.h"
#include "bench/fleet/state.h"

enum { VIP_V4 = 0x0a400001 };

static struct address address_in(const uint8_t prefix[12], uint32_t v4, bool ipv6)
{
	struct address address = address_v4(v4);

	if (ipv6)
		memcpy(address.bytes, prefix, 12);
	return address;
}

/* Everybody has an address of either family. */
struct address fleet_address(const struct fleet *fleet, uint32_t home, bool ipv6)
{
	static const uint8_t inner[12] = {0xfd, 0x6d, 0x72};
	static const uint8_t outer[12] = {0x20, 0x01, 0x0d, 0xb8}; /* RFC 3849 */

	return address_in(fleet->homes[home].outside ? outer : inner, fleet->homes[home].v4, ipv6);
}

static struct address service_address(uint32_t workload, bool ipv6)
{
	static const uint8_t services[12] = {0xfd, 0x6d, 0x72, 1};

	return address_in(services, VIP_V4 + workload, ipv6);
}

/* A flow with its addresses. */
struct view {
	struct address client, server, gateway, dialled;
	uint16_t server_port, dialled_port;
	uint8_t protocol;
};

static struct view view_of(const struct fleet *fleet, const struct flow *flow)
{
	const struct fleet_edge *edge = &fleet->edges[flow->edge];
	bool ipv6 = edge->flags & EDGE_IPV6;
	struct view view = {
		.client = fleet_address(fleet, fleet->pods[flow->pods[CLIENT]].home, ipv6),
		.server = fleet_address(fleet, fleet->pods[flow->pods[SERVER]].home, ipv6),
		.server_port = edge->port,
		.dialled_port = edge->port,
		.protocol = flow->udp ? PROTOCOL_UDP : PROTOCOL_TCP,
	};

	if (flow->gateway_port)
		view.gateway = fleet_address(fleet, fleet->nodes[flow->gateway].home, ipv6);
	view.dialled = view.server;
	if (flow->nat == NAT_VIP || flow->nat == NAT_DOUBLE || flow->nat == NAT_HAIRPIN) {
		view.dialled = service_address(edge->server, ipv6);
	} else if (flow->nat == NAT_NODEPORT) {
		view.dialled = view.gateway;
		view.dialled_port = (uint16_t)(NODE_PORT + edge->server % NODE_PORT_COUNT);
	}
	return view;
}

/* --- NAT --- */

bool fleet_has_entry(const struct flow *flow, enum entry entry)
{
	static const bool has[][ENTRIES] = {
		[NAT_NONE] = {false, false},	[NAT_VIP] = {true, false},
		[NAT_DOUBLE] = {true, true},	[NAT_HAIRPIN] = {true, false},
		[NAT_NODEPORT] = {false, true}, [NAT_EGRESS] = {false, true},
	};

	return has[flow->nat][entry];
}

uint32_t fleet_entry_node(const struct flow *flow, enum entry entry)
{
	return entry == ENTRY_CLIENT ? flow->nodes[CLIENT] : flow->gateway;
}

void fleet_tell_nat(struct fleet *fleet, const struct flow *flow, enum entry entry, bool ended,
		    int64_t time_us)
{
	struct view view = view_of(fleet, flow);
	struct node *node = &fleet->nodes[fleet_entry_node(flow, entry)];
	bool hides = entry == ENTRY_GATEWAY || flow->nat == NAT_HAIRPIN;
	bool second = flow->nat == NAT_DOUBLE && entry == ENTRY_GATEWAY;
	struct batch_nat nat = {
		.protocol = view.protocol,
		.ended = ended,
		.original_source = view.client,
		.original_source_port = flow->client_port,
		.original_destination = second ? view.server : view.dialled,
		.original_destination_port = second ? view.server_port : view.dialled_port,
		.reply_source = view.server,
		.reply_source_port = view.server_port,
		.reply_destination = hides ? view.gateway : view.client,
		.reply_destination_port = hides ? flow->gateway_port : flow->client_port,
		.time_ns = fleet_time_ns(fleet, time_us),
	};

	fleet_queue(node, QUEUE_NATS, &nat);
}

/* --- sockets --- */

static struct traffic total_of(const struct flow *flow, enum end end)
{
	return (struct traffic){
		.tx_bytes = end ? flow->rx_bytes : flow->tx_bytes,
		.rx_bytes = end ? flow->tx_bytes : flow->rx_bytes,
		.tx_segments = end ? flow->rx_segments : flow->tx_segments,
		.rx_segments = end ? flow->tx_segments : flow->rx_segments,
		.retransmits = end ? 0 : flow->retransmits,
	};
}

void fleet_tell_definition(struct fleet *fleet, const struct flow *flow, enum end end,
			   uint32_t flags, int64_t time_us)
{
	struct view view = view_of(fleet, flow);
	struct node *node = &fleet->nodes[flow->nodes[end]];
	const struct pod *pod = &fleet->pods[flow->pods[end]];
	uint32_t slot = flow->slots[end];
	int64_t age_us = time_us - flow->opened_us - (end ? flow->srtt_us / 2 : 0);
	bool hidden = flow->gateway_port != 0 && flow->nat != NAT_EGRESS;
	struct batch_definition definition = {
		.slot = slot,
		.generation = node->slots.generations[slot],
		.protocol = view.protocol,
		.role = end ? BATCH_ROLE_SERVER : BATCH_ROLE_CLIENT,
		.flags = flags,
		.local = end ? view.server : view.client,
		.local_port = end ? view.server_port : flow->client_port,
		.remote = !end	   ? view.dialled
			  : hidden ? view.gateway
				   : view.client,
		.remote_port = !end	? view.dialled_port
			       : hidden ? flow->gateway_port
					: flow->client_port,
		.pid = pod->pid,
		.cgroup = fleet_cgroup(fleet, pod),
		.age_ns = age_us > 0 ? (uint64_t)age_us * NS_PER_US : 0,
		.connect_ns = end || flags ? 0 : flow->connect_us * NS_PER_US,
		.total = total_of(flow, end),
		.srtt_us = flow->udp ? 0 : flow->srtt_us,
		.min_rtt_us = flow->udp ? 0 : flow->srtt_us,
		.time_ns = fleet_time_ns(fleet, time_us),
	};

	fleet_queue(node, QUEUE_DEFINITIONS, &definition);
}

void fleet_tell_close(struct fleet *fleet, const struct flow *flow, enum end end, uint32_t reason,
		      int64_t time_us)
{
	struct node *node = &fleet->nodes[flow->nodes[end]];
	bool failed = close_reason_is_failure(reason);
	struct batch_close close = {
		.slot = flow->slots[end],
		.reason = reason,
		.pid = fleet->pods[flow->pods[end]].pid,
		.total = total_of(flow, end),
		.min_rtt_us = !flow->udp && !failed ? flow->srtt_us : 0,
		.connect_ns = failed ? flow->connect_us * NS_PER_US : 0,
		.time_ns = fleet_time_ns(fleet, time_us),
	};

	fleet_queue(node, QUEUE_CLOSES, &close);
}
