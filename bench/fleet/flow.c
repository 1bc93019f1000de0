/* A connection's life. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "bench/fleet/state.h"

enum {
	HANDSHAKE_US = 40,
	OFFSET_US_MAX = 95000, /* of the client's event in its tick: the server's is in it too */
	HISTORY_US_MAX = 3600 * 1000000U, /* that a kept flow lived before the agents came */
	FAILED_PERMILLE = 1,
	RESET_PERMILLE = 10,
	TIMEOUT_US = 3000000,
	SLOW_TIMES = 40,
	RETRANSMIT_256THS = 2,
	WRAP_BYTES = 200000, /* left to a counter that will pass its limit */
	WRAP_SEGMENTS = 100,
	DOUBLE_96THS = 4, /* of the inner connections through NAT; NODEPORT and VIP are the rest */
	NODEPORT_96THS = 7,
};

static uint32_t index_of(const struct fleet *fleet, const struct flow *flow)
{
	return (uint32_t)(flow - fleet->flows);
}

static bool has_half(const struct flow *flow, enum end end)
{
	return flow->nodes[end] != NOBODY;
}

/* One way takes half a round trip; both ends' events are in the same tick. */
static int64_t server_time(const struct fleet *fleet, const struct flow *flow, int64_t time_us)
{
	int64_t end_us = fleet_tick_us(fleet) + TICK_US - 1;

	time_us += flow->srtt_us / 2;
	return time_us < end_us ? time_us : end_us;
}

static int64_t half_time(const struct fleet *fleet, const struct flow *flow, enum end end,
			 int64_t time_us)
{
	return end ? server_time(fleet, flow, time_us) : time_us;
}

static int64_t offset_us(uint64_t roll)
{
	return (int64_t)((roll & 0xffff) * OFFSET_US_MAX >> 16);
}

/* --- what moved --- */

/* Kept flows have a past that is not ours. */
static struct traffic history(const struct fleet *fleet, const struct flow *flow)
{
	uint64_t roll;

	if (!flow->kept)
		return (struct traffic){0};
	roll = hash_mix(fleet->options.seed * 31 + index_of(fleet, flow));
	if (roll % 1000 < fleet->options.wrapped)
		return (struct traffic){.tx_bytes = 0 - (uint64_t)WRAP_BYTES,
					.rx_bytes = 0 - (uint64_t)WRAP_BYTES,
					.tx_segments = UINT32_MAX - WRAP_SEGMENTS,
					.rx_segments = UINT32_MAX - WRAP_SEGMENTS};
	return (struct traffic){.tx_bytes = roll >> 40,
				.rx_bytes = roll >> 36,
				.tx_segments = roll >> 50,
				.rx_segments = roll >> 46};
}

struct truth_counts fleet_flow_moved(const struct fleet *fleet, const struct flow *flow)
{
	struct traffic past = history(fleet, flow);

	return (struct truth_counts){.tx_bytes = flow->tx_bytes - past.tx_bytes,
				     .rx_bytes = flow->rx_bytes - past.rx_bytes};
}

static uint16_t segments(uint32_t bytes)
{
	return (uint16_t)((bytes + SEGMENT_BYTES - 1) / SEGMENT_BYTES);
}

/* --- faults --- */

static bool any_or(int32_t wanted, uint32_t is)
{
	return wanted == FLEET_ANY || (uint32_t)wanted == is;
}

static bool zone_fits(const struct fleet *fleet, int32_t wanted, const struct pod *pod)
{
	return wanted == FLEET_ANY ||
	       (pod->node != NOBODY && any_or(wanted, fleet->nodes[pod->node].zone));
}

static bool fault_concerns(const struct fleet *fleet, const struct fleet_fault *fault,
			   const struct flow *flow)
{
	const struct fleet_edge *edge = &fleet->edges[flow->edge];
	const struct pod *client = &fleet->pods[flow->pods[CLIENT]],
			 *server = &fleet->pods[flow->pods[SERVER]];

	return any_or(fault->client, edge->client) && any_or(fault->server, edge->server) &&
	       any_or(fault->server_pod, flow->pods[SERVER]) &&
	       any_or(fault->version, server->version) &&
	       zone_fits(fleet, fault->client_zone, client) &&
	       zone_fits(fleet, fault->server_zone, server);
}

static bool has_fault(const struct fleet *fleet, enum fleet_fault_kind kind,
		      const struct flow *flow)
{
	uint64_t now_ns = fleet->tick * FLEET_TICK_NS;

	for (uint32_t i = 0; i < fleet->options.faults_count; i++) {
		const struct fleet_fault *fault = &fleet->options.faults[i];

		if (fault->kind == kind && fault->from_ns <= now_ns && now_ns < fault->to_ns &&
		    fault_concerns(fleet, fault, flow))
			return true;
	}
	return false;
}

static uint32_t rtt_now(const struct fleet *fleet, const struct flow *flow)
{
	return has_fault(fleet, FLEET_SLOW, flow) ? flow->srtt_us * SLOW_TIMES : flow->srtt_us;
}

/* --- ends, ports, NAT --- */

/* Density falls as rank^-0.6: of N edges, N u^2.5. */
static uint32_t pick_edge(struct fleet *fleet)
{
	double u = (double)(dice_roll(&fleet->dice) >> 11) * 0x1p-53;

	return (uint32_t)(fleet->options.edges * (u * u * sqrt(u)));
}

static uint32_t pick_pod(struct fleet *fleet, uint32_t index, bool kept)
{
	const struct workload *workload = &fleet->workloads[index];
	uint32_t first = dice_below(&fleet->dice, workload->pods_count), pod = NOBODY;

	for (uint32_t i = 0; i < workload->pods_count; i++) {
		uint32_t at = (first + i) % workload->pods_count;

		pod = fleet->workload_pods[workload->pods_first + at];
		if (!fleet->pods[pod].leaving && !(kept && fleet->pods[pod].elastic))
			return pod;
	}
	assert(!"a workload's first pod stays");
	return pod;
}

static enum nat_kind pick_outer_nat(struct fleet *fleet, const struct flow *flow)
{
	if (fleet->translated == 0 || dice_below(&fleet->dice, 2))
		return NAT_NONE;
	return has_half(flow, SERVER) ? NAT_NODEPORT : NAT_EGRESS;
}

static enum nat_kind pick_nat(struct fleet *fleet, const struct flow *flow)
{
	uint32_t kind;

	if (!has_half(flow, CLIENT) || !has_half(flow, SERVER))
		return pick_outer_nat(fleet, flow);
	if (dice_below(&fleet->dice, 1000000) >= fleet->translated)
		return NAT_NONE;
	kind = dice_below(&fleet->dice, 96);
	if (fleet->edges[flow->edge].client == fleet->edges[flow->edge].server)
		return NAT_HAIRPIN;
	return kind < DOUBLE_96THS		      ? NAT_DOUBLE
	       : kind < DOUBLE_96THS + NODEPORT_96THS ? NAT_NODEPORT
						      : NAT_VIP;
}

static uint16_t take_port(struct fleet *fleet, uint32_t home, bool kept)
{
	struct home *of = &fleet->homes[home];
	uint32_t port;

	if (kept) {
		port = KEPT_PORT_FIRST + of->kept_ports;
		of->kept_ports = (uint16_t)((of->kept_ports + 1) % KEPT_PORT_COUNT);
		fleet->stats.ports_again += of->kept_ports == 0;
	} else {
		port = SHORT_PORT_FIRST + of->short_ports;
		of->short_ports = (uint16_t)((of->short_ports + 1) % SHORT_PORT_COUNT);
	}
	return (uint16_t)port;
}

static void set_pod(const struct fleet *fleet, struct flow *flow, enum end end, uint32_t pod)
{
	flow->pods[end] = pod;
	flow->nodes[end] = fleet->pods[pod].node;
}

static void pick_ends(struct fleet *fleet, struct flow *flow)
{
	const struct fleet_edge *edge = &fleet->edges[flow->edge];

	flow->udp = edge->flags & EDGE_UDP;
	set_pod(fleet, flow, CLIENT, pick_pod(fleet, edge->client, flow->kept));
	set_pod(fleet, flow, SERVER, pick_pod(fleet, edge->server, flow->kept));
	flow->nat = pick_nat(fleet, flow);
	flow->client_port = take_port(fleet, fleet->pods[flow->pods[CLIENT]].home, flow->kept);
	flow->gateway_port = 0;
	if (flow->nat == NAT_NONE || flow->nat == NAT_VIP)
		return;
	flow->gateway = dice_below(&fleet->dice, fleet->options.nodes);
	if (flow->nat == NAT_HAIRPIN) {
		set_pod(fleet, flow, SERVER, flow->pods[CLIENT]);
		flow->gateway = flow->nodes[CLIENT];
	}
	flow->gateway_port = take_port(fleet, fleet->nodes[flow->gateway].home, flow->kept);
}

/* The ends and ports of the record's last connection, which is over. */
static bool reuse_ends(struct fleet *fleet, const struct flow *flow)
{
	if (flow->kept || !flow->client_port ||
	    !dice_permille(&fleet->dice, fleet->options.reused_tuples) ||
	    fleet->pods[flow->pods[CLIENT]].leaving || fleet->pods[flow->pods[SERVER]].leaving)
		return false;
	fleet->stats.reused++;
	return true;
}

/* --- telling both ends --- */

static void define(struct fleet *fleet, struct flow *flow, enum end end, uint32_t flags,
		   int64_t time_us)
{
	uint32_t generation;

	flow->slots[end] = world_slots_take(&fleet->nodes[flow->nodes[end]].slots, &generation);
	fleet_tell_definition(fleet, flow, end, flags, half_time(fleet, flow, end, time_us));
	*(flags ? &fleet->stats.existing : &fleet->stats.opens) += 1;
}

static void tell_entries(struct fleet *fleet, const struct flow *flow, bool ended, int64_t time_us,
			 uint64_t *counter)
{
	for (enum entry entry = 0; entry < ENTRIES; entry++) {
		if (!fleet_has_entry(flow, entry))
			continue;
		fleet_tell_nat(fleet, flow, entry, ended, time_us);
		++*counter;
	}
}

static void close_half(struct fleet *fleet, struct flow *flow, enum end end, uint32_t reason,
		       int64_t time_us)
{
	fleet_tell_close(fleet, flow, end, reason, half_time(fleet, flow, end, time_us));
	world_slots_end(&fleet->nodes[flow->nodes[end]].slots, flow->slots[end]);
	fleet->stats.closes++;
}

/* --- the life --- */

static struct flow *take_flow(struct fleet *fleet)
{
	if (fleet->free_count == 0) {
		fleet->stats.refused++;
		return NULL;
	}
	return &fleet->flows[fleet->free_flows[--fleet->free_count]];
}

static bool has_both(const struct flow *flow)
{
	return has_half(flow, CLIENT) && has_half(flow, SERVER);
}

static void count_begun(struct fleet *fleet, const struct flow *flow)
{
	fleet->stats.live++;
	fleet->stats.live_pairs += has_both(flow);
	fleet->stats.pairs += has_both(flow);
}

static void count_over(struct fleet *fleet, const struct flow *flow)
{
	fleet->stats.live--;
	fleet->stats.live_pairs -= has_both(flow);
}

static void count_users(struct fleet *fleet, const struct flow *flow, uint32_t change)
{
	if (flow->kept)
		return;
	fleet->pods[flow->pods[CLIENT]].live += change;
	fleet->pods[flow->pods[SERVER]].live += change;
}

static void forget(struct fleet *fleet, struct flow *flow)
{
	count_users(fleet, flow, UINT32_MAX);
	flow->state = FLOW_FREE;
	fleet->free_flows[fleet->free_count++] = index_of(fleet, flow);
}

/* The connection is over; its NAT entries stay a while. */
static void leave(struct fleet *fleet, struct flow *flow)
{
	if (flow->nat == NAT_NONE) {
		forget(fleet, flow);
		return;
	}
	flow->state = FLOW_LINGERS;
	wheel_put(&fleet->wheel, fleet->tick + NAT_LINGER_TICKS, index_of(fleet, flow));
}

static void schedule(struct fleet *fleet, struct flow *flow)
{
	uint32_t due = flow->due / GAP_UNITS;

	wheel_put(&fleet->wheel, due < flow->end_tick ? due : flow->end_tick,
		  index_of(fleet, flow));
}

/* Rank, round trip, first update: what every flow has. */
static void set_course(struct fleet *fleet, struct flow *flow)
{
	uint64_t roll = dice_roll(&fleet->dice);

	flow->rank = (uint16_t)dice_scale(roll, fleet->ranks);
	flow->srtt_us = spread_at(&fleet->rtt_us, roll);
	flow->due =
		(fleet->tick + 1) * GAP_UNITS + dice_below(&fleet->dice, fleet->gaps[flow->rank]);
	flow->lane = fleet_lane(fleet, flow->edge, flow->pods[CLIENT], flow->pods[SERVER]);
}

static void begin_existing(struct fleet *fleet)
{
	struct flow *flow = take_flow(fleet);
	struct traffic past;
	int64_t time_us;

	if (!flow)
		return;
	*flow = (struct flow){.kept = true, .state = FLOW_LIVE, .end_tick = NOBODY};
	flow->edge = fleet->existing_told < fleet->options.edges ? fleet->existing_told
								 : pick_edge(fleet);
	past = history(fleet, flow);
	flow->tx_bytes = past.tx_bytes;
	flow->rx_bytes = past.rx_bytes;
	flow->tx_segments = (uint32_t)past.tx_segments;
	flow->rx_segments = (uint32_t)past.rx_segments;
	pick_ends(fleet, flow);
	set_course(fleet, flow);
	flow->opened_us = -1 - (int64_t)dice_below(&fleet->dice, HISTORY_US_MAX);
	time_us = fleet_tick_us(fleet) + offset_us(dice_roll(&fleet->dice));
	tell_entries(fleet, flow, false, time_us, &fleet->stats.existing);
	for (enum end end = 0; end < ENDS; end++)
		if (has_half(flow, end))
			define(fleet, flow, end, BATCH_EXISTED, time_us);
	fleet->lanes.items[flow->lane].counts.existed++;
	count_begun(fleet, flow);
	schedule(fleet, flow);
}

void fleet_flow_existing(struct fleet *fleet)
{
	uint64_t ticks = fleet->options.settle_ns / FLEET_TICK_NS;
	uint64_t due = ticks == 0 ? fleet->kept_count
				  : (uint64_t)fleet->kept_count * (fleet->tick + 1) / ticks;

	if (due > fleet->kept_count)
		due = fleet->kept_count;
	for (; fleet->existing_told < due; fleet->existing_told++)
		begin_existing(fleet);
}

static uint32_t pick_failure(struct fleet *fleet, const struct flow *flow)
{
	if (has_fault(fleet, FLEET_DROP, flow))
		return CLOSE_CONNECT_TIMEOUT;
	if (has_fault(fleet, FLEET_REFUSE, flow) || dice_permille(&fleet->dice, FAILED_PERMILLE))
		return CLOSE_REFUSED;
	return CLOSE_UNKNOWN;
}

/* Only the client has a socket, and only its agent tells. */
static void fail(struct fleet *fleet, struct flow *flow, uint32_t reason, int64_t time_us)
{
	if (reason == CLOSE_CONNECT_TIMEOUT)
		flow->connect_us = TIMEOUT_US;
	flow->opened_us = time_us - flow->connect_us;
	define(fleet, flow, CLIENT, 0, time_us);
	close_half(fleet, flow, CLIENT, reason, time_us);
	fleet->lanes.items[flow->lane].counts.failed++;
	if (flow->nat == NAT_NONE)
		flow->client_port = 0; /* free in the tick that opened it: not to be taken again */
	leave(fleet, flow);
}

static void establish(struct fleet *fleet, struct flow *flow, int64_t time_us)
{
	uint32_t life_ms = spread_at(&fleet->life_ms, dice_roll(&fleet->dice));

	flow->end_tick = fleet->tick + 1 + life_ms * TICKS_PER_S / 1000;
	for (enum end end = 0; end < ENDS; end++)
		if (has_half(flow, end))
			define(fleet, flow, end, 0, time_us);
	fleet->lanes.items[flow->lane].counts.opened++;
	count_begun(fleet, flow);
	schedule(fleet, flow);
}

void fleet_flow_open(struct fleet *fleet)
{
	struct flow *flow = take_flow(fleet);
	uint32_t reason = CLOSE_UNKNOWN;
	int64_t time_us = fleet_tick_us(fleet) + offset_us(dice_roll(&fleet->dice));

	if (!flow)
		return;
	if (!reuse_ends(fleet, flow)) {
		*flow = (struct flow){.edge = pick_edge(fleet)};
		pick_ends(fleet, flow);
	}
	flow->tx_bytes = flow->rx_bytes = 0;
	flow->tx_segments = flow->rx_segments = flow->retransmits = 0;
	flow->state = FLOW_LIVE;
	set_course(fleet, flow);
	flow->connect_us = flow->udp ? 0 : rtt_now(fleet, flow) + HANDSHAKE_US;
	flow->opened_us = time_us - flow->connect_us;
	count_users(fleet, flow, 1);
	tell_entries(fleet, flow, false, time_us, &fleet->stats.nats);
	if (has_half(flow, CLIENT))
		reason = pick_failure(fleet, flow);
	if (reason)
		fail(fleet, flow, reason, time_us);
	else
		establish(fleet, flow, time_us);
}

static void move(struct fleet *fleet, const struct flow *flow, enum end end, struct moved moved,
		 int64_t time_us)
{
	moved.slot = flow->slots[end];
	moved.offset_us = (uint32_t)(half_time(fleet, flow, end, time_us) - fleet_tick_us(fleet));
	fleet_queue(&fleet->nodes[flow->nodes[end]], QUEUE_MOVES, &moved);
	fleet->stats.updates++;
}

static struct moved turned(struct moved moved)
{
	return (struct moved){.tx_bytes = moved.rx_bytes,
			      .rx_bytes = moved.tx_bytes,
			      .tx_segments = moved.rx_segments,
			      .rx_segments = moved.tx_segments,
			      .srtt_us = moved.srtt_us};
}

static void update(struct fleet *fleet, struct flow *flow)
{
	uint64_t roll = dice_roll(&fleet->dice);
	int64_t time_us = fleet_tick_us(fleet) + offset_us(roll >> 40);
	uint32_t rtt_us = rtt_now(fleet, flow);
	struct moved moved = {
		.tx_bytes = spread_at(&fleet->request_bytes, roll),
		.rx_bytes = spread_at(&fleet->answer_bytes, roll >> SPREAD_BITS),
		.retransmits = !flow->udp && roll >> 56 < RETRANSMIT_256THS,
		.srtt_us = flow->udp ? 0 : rtt_us + rtt_us * (uint32_t)(roll & 0x1f) / 128,
	};

	moved.tx_segments = segments(moved.tx_bytes);
	moved.rx_segments = segments(moved.rx_bytes);
	flow->tx_bytes += moved.tx_bytes;
	flow->rx_bytes += moved.rx_bytes;
	flow->tx_segments += moved.tx_segments;
	flow->rx_segments += moved.rx_segments;
	flow->retransmits += moved.retransmits;
	if (has_half(flow, CLIENT))
		move(fleet, flow, CLIENT, moved, time_us);
	if (has_half(flow, SERVER))
		move(fleet, flow, SERVER, turned(moved), time_us);
	flow->due += fleet->gaps[flow->rank];
	schedule(fleet, flow);
}

static void finish(struct fleet *fleet, struct flow *flow)
{
	int64_t time_us = fleet_tick_us(fleet) + offset_us(dice_roll(&fleet->dice));
	uint32_t reason = !flow->udp && dice_permille(&fleet->dice, RESET_PERMILLE) ? CLOSE_RESET
										    : CLOSE_NORMAL;
	struct truth_counts *counts = &fleet->lanes.items[flow->lane].counts;

	for (enum end end = 0; end < ENDS; end++)
		if (has_half(flow, end))
			close_half(fleet, flow, end, reason, time_us);
	counts->closed++;
	counts->tx_bytes += flow->tx_bytes;
	counts->rx_bytes += flow->rx_bytes;
	count_over(fleet, flow);
	leave(fleet, flow);
}

void fleet_flow_due(struct fleet *fleet, uint32_t index)
{
	struct flow *flow = &fleet->flows[index];

	if (flow->state == FLOW_LINGERS) {
		tell_entries(fleet, flow, true, fleet_tick_us(fleet), &fleet->stats.nat_ends);
		forget(fleet, flow);
	} else if (fleet->tick >= flow->end_tick) {
		finish(fleet, flow);
	} else {
		update(fleet, flow);
	}
}

/* --- told again --- */

void fleet_flow_again(struct fleet *fleet, const struct flow *flow)
{
	int64_t time_us = fleet_tick_us(fleet);

	if (flow->state != FLOW_LIVE)
		return;
	tell_entries(fleet, flow, false, time_us, &fleet->stats.key_frames);
	for (enum end end = 0; end < ENDS; end++) {
		if (!has_half(flow, end))
			continue;
		fleet_tell_definition(fleet, flow, end,
				      flow->kept ? BATCH_AGAIN | BATCH_EXISTED : BATCH_AGAIN,
				      time_us);
		fleet->stats.key_frames++;
	}
}

void fleet_flow_retold(struct fleet *fleet, struct flow *flow, uint32_t node)
{
	int64_t time_us = fleet_tick_us(fleet);

	if (flow->state == FLOW_FREE)
		return;
	for (enum entry entry = 0; entry < ENTRIES; entry++) {
		if (!fleet_has_entry(flow, entry) || fleet_entry_node(flow, entry) != node)
			continue;
		fleet_tell_nat(fleet, flow, entry, false, time_us);
		fleet->stats.existing++;
	}
	for (enum end end = 0; end < ENDS && flow->state == FLOW_LIVE; end++)
		if (flow->nodes[end] == node)
			define(fleet, flow, end, BATCH_EXISTED, time_us);
}
