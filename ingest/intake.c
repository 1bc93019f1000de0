/* A record into the panes: deduplicated, counted, its times corrected, slots turned into halves. */
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "ingest/state.h"

struct intake {
	struct mirror *mirror;
	struct node *node;
	const Millrace__V1__Batch *batch;
	uint64_t append_ns;
};

/* The node's time in the log's terms. What lies ahead of its own append time is the node's error
 * (H-13); what lies ahead of the clock, which goes on at most 10 s a record, waits there. */
static uint64_t correct(struct intake *intake, uint64_t time_us, bool *future)
{
	struct mirror *mirror = intake->mirror;
	int64_t time_ns = (int64_t)(time_us * NS_PER_US);
	if (__builtin_add_overflow(time_ns, intake->node->offset_ns, &time_ns))
		time_ns = INT64_MAX;
	if (time_ns < 0)
		time_ns = 0;
	uint64_t corrected = (uint64_t)time_ns;
	*future = corrected > intake->append_ns + CLOCK_STEP_S * NS_PER_S;
	if (*future)
		corrected = intake->append_ns;
	if (corrected > mirror->clock_ns + CLOCK_STEP_S * NS_PER_S)
		corrected = mirror->clock_ns;
	return corrected;
}

static uint64_t event_pane(struct mirror *mirror, struct event *event)
{
	uint64_t pane = pane_of(event->time_ns), open = mirror_open_pane(mirror);
	event->late = pane < open;
	return event->late ? open : pane;
}

static bool store(struct intake *intake, struct event *event, size_t size)
{
	struct mirror *mirror = intake->mirror;
	event->node = intake->node->index;
	event->incarnation = intake->node->incarnation;
	if (!panes_put(&mirror->panes, event_pane(mirror, event), event, size)) {
		mirror->stats.refused += event->numbered;
		return false;
	}
	intake->node->pending++;
	return true;
}

/* An event that the agent numbered, at its own time. */
static bool store_at(struct intake *intake, struct event *event, size_t size, uint64_t time_us)
{
	bool future;
	event->numbered = true;
	event->time_ns = correct(intake, time_us, &future);
	intake->mirror->stats.future += future;
	return store(intake, event, size);
}

static void refuse(struct intake *intake)
{
	intake->mirror->stats.refused++;
}

/* ---- slots ---- */

static uint32_t slot_half(const struct node *node, uint32_t slot)
{
	return slot < node->slots_count ? node->slots[slot] : NONE;
}

/* Slots are small and dense; a node that claims a far one makes all nodes' arrays grow together at
 * most to eight places a half. */
static bool slots_reach(struct mirror *mirror, struct node *node, uint32_t slot)
{
	if (slot < node->slots_count)
		return true;
	size_t count = memory_grown(node->slots_count, (size_t)slot + 1);
	uint64_t total = mirror->slots_count - node->slots_count + count;
	if (total > 8 * (uint64_t)mirror->options.halves_max + 1024)
		return false;
	node->slots = memory_resize(node->slots, count, sizeof(*node->slots));
	memset(node->slots + node->slots_count, 0,
	       (count - node->slots_count) * sizeof(*node->slots));
	mirror->slots_count = total;
	node->slots_count = (uint32_t)count;
	return true;
}

static void socket_event(struct event *event, enum event_kind kind, const struct mirror *mirror,
			 uint32_t half)
{
	event->kind = (uint8_t)kind;
	event->half = half - 1;
	event->generation = half_at(mirror, half - 1)->generation;
}

/* Its slot went to another socket without a close: that one was lost. */
static void store_vanished(struct intake *intake, uint32_t half, uint64_t time_ns)
{
	struct close_event event = {.reason = CLOSE_VANISHED};
	socket_event(&event.event, EVENT_CLOSE, intake->mirror, half);
	event.event.time_ns = time_ns;
	store(intake, &event.event, sizeof(event));
}

/* ---- definitions ---- */

static struct address batch_address(const Millrace__V1__Batch *batch, uint32_t index)
{
	struct address address;
	memcpy(address.bytes, batch->addresses.data + 16 * (size_t)index, 16);
	return address;
}

/* Ports from the ephemeral range upwards belong to clients (Linux: 32768..60999). */
static enum side guess_side(uint32_t local_port, uint32_t remote_port)
{
	enum { EPHEMERAL_PORT = 32768 };
	return local_port < remote_port && local_port < EPHEMERAL_PORT ? SIDE_SERVER : SIDE_CLIENT;
}

static void definition_side(const Millrace__V1__Definitions *d, size_t i,
			    struct definition_event *event)
{
	uint32_t flags = d->flags[i];
	bool guessed = flags & MILLRACE__V1__DEFINITION_FLAG__DEFINITION_FLAG_ROLE_GUESSED;
	if (d->role[i] == MILLRACE__V1__ROLE__ROLE_CLIENT)
		event->side = SIDE_CLIENT;
	else if (d->role[i] == MILLRACE__V1__ROLE__ROLE_SERVER)
		event->side = SIDE_SERVER;
	else
		event->side = guess_side(d->local_port[i], d->remote_port[i]);
	guessed |= d->role[i] == MILLRACE__V1__ROLE__ROLE_UNKNOWN;
	event->flags |= guessed ? HALF_ROLE_GUESSED : 0;
	event->flags |=
		flags & MILLRACE__V1__DEFINITION_FLAG__DEFINITION_FLAG_AGAIN ? HALF_AGAIN : 0;
	event->flags |=
		flags & MILLRACE__V1__DEFINITION_FLAG__DEFINITION_FLAG_EXISTED ? HALF_EXISTED : 0;
	event->flags |=
		flags & MILLRACE__V1__DEFINITION_FLAG__DEFINITION_FLAG_SELF_PROBE ? HALF_PROBE : 0;
}

static struct tuple definition_tuple(const struct intake *intake, size_t i, enum side side)
{
	const Millrace__V1__Definitions *d = intake->batch->definitions;
	struct address local = batch_address(intake->batch, d->local[i]);
	struct address remote = batch_address(intake->batch, d->remote[i]);
	bool client = side == SIDE_CLIENT;
	struct tuple tuple = {
		.client = client ? local : remote,
		.server = client ? remote : local,
		.client_port = (uint16_t)(client ? d->local_port[i] : d->remote_port[i]),
		.server_port = (uint16_t)(client ? d->remote_port[i] : d->local_port[i]),
		.protocol = (uint8_t)d->protocol[i],
	};
	/* Each node has its own loopback network. */
	if (address_is_loopback(&local) && address_is_loopback(&remote))
		tuple.scope = (uint32_t)intake->node->name_id | 1;
	return tuple;
}

static void definition_fill(const struct intake *intake, size_t i, struct definition_event *event)
{
	const Millrace__V1__Definitions *d = intake->batch->definitions;
	uint64_t age_ns = d->age_us[i] * NS_PER_US;
	definition_side(d, i, event);
	event->seen = definition_tuple(intake, i, event->side);
	event->pid = d->pid[i];
	event->cgroup = d->cgroup[i];
	event->gaps = intake->node->gaps;
	event->connect_us = d->connect_us[i];
	event->srtt_us = d->srtt_us[i];
	event->min_rtt_us = d->min_rtt_us[i];
	event->total = (struct traffic){d->tx_bytes[i], d->rx_bytes[i], d->tx_segments[i],
					d->rx_segments[i], d->retransmits[i]};
	event->opened_ns = age_ns; /* until the event's own time is known */
}

/* The half of a slot and generation: the one that is there, or a new one; NONE if there is no room.
 */
static uint32_t definition_half(struct intake *intake, size_t i, uint64_t time_ns, bool *fresh)
{
	const Millrace__V1__Definitions *d = intake->batch->definitions;
	struct mirror *mirror = intake->mirror;
	struct node *node = intake->node;
	uint32_t half = slot_half(node, d->slot[i]);
	*fresh = half == NONE || half_at(mirror, half - 1)->slot_generation != d->generation[i];
	if (!*fresh)
		return half;
	if (!slots_reach(mirror, node, d->slot[i]))
		return NONE;
	if (half)
		store_vanished(intake, half, time_ns);
	half = half_take(mirror, node);
	node->slots[d->slot[i]] = half;
	if (!half)
		return NONE;
	half_at(mirror, half - 1)->slot = d->slot[i];
	half_at(mirror, half - 1)->slot_generation = d->generation[i];
	return half;
}

static void intake_definition(struct intake *intake, size_t i, uint64_t time_us)
{
	struct mirror *mirror = intake->mirror;
	struct definition_event event = {.event = {.numbered = true}};
	bool future;
	event.event.time_ns = correct(intake, time_us, &future);
	mirror->stats.future += future;
	uint32_t half = definition_half(intake, i, event.event.time_ns, &event.fresh);
	if (!half) {
		refuse(intake);
		return;
	}
	socket_event(&event.event, EVENT_DEFINITION, mirror, half);
	definition_fill(intake, i, &event);
	event.opened_ns =
		event.event.time_ns > event.opened_ns ? event.event.time_ns - event.opened_ns : 0;
	if (!store(intake, &event.event, sizeof(event)) && event.fresh) {
		intake->node->slots[half_at(mirror, half - 1)->slot] = NONE;
		half_give(mirror, half - 1);
	}
}

/* ---- the groups ---- */

static void intake_containers(struct intake *intake)
{
	const Millrace__V1__Containers *containers = intake->batch->containers;
	for (size_t i = 0; containers && i < containers->n_cgroup; i++) {
		struct container_event event = {.event = {.kind = EVENT_CONTAINER}};
		owner_container(intake->mirror, intake->batch, i, &event);
		store_at(intake, &event.event, sizeof(event), intake->batch->base_time_us);
	}
}

static void intake_processes(struct intake *intake)
{
	const Millrace__V1__Processes *processes = intake->batch->processes;
	uint64_t time_us = intake->batch->base_time_us;
	for (size_t i = 0; processes && i < processes->n_pid; i++) {
		struct process_event event = {.event = {.kind = EVENT_PROCESS}};
		time_us += (uint64_t)processes->dt_us[i];
		owner_process(intake->mirror, intake->node, intake->batch, i, &event);
		store_at(intake, &event.event, sizeof(event), time_us);
	}
}

static void intake_nat(struct intake *intake, Millrace__V1__NatOp op)
{
	const Millrace__V1__Batch *batch = intake->batch;
	const Millrace__V1__NatEntries *nat = batch->nat;
	uint64_t time_us = batch->base_time_us;
	for (size_t i = 0; nat && i < nat->n_protocol; i++) {
		time_us += (uint64_t)nat->dt_us[i];
		if (nat->op[i] != op)
			continue;
		struct nat_event event = {
			.event = {.kind = EVENT_NAT},
			.ended = op == MILLRACE__V1__NAT_OP__NAT_OP_DELETE,
			.from = {.client = batch_address(batch, nat->original_source[i]),
				 .server = batch_address(batch, nat->original_destination[i]),
				 .client_port = (uint16_t)nat->original_source_port[i],
				 .server_port = (uint16_t)nat->original_destination_port[i],
				 .protocol = (uint8_t)nat->protocol[i]},
			.to = {.client = batch_address(batch, nat->reply_destination[i]),
			       .server = batch_address(batch, nat->reply_source[i]),
			       .client_port = (uint16_t)nat->reply_destination_port[i],
			       .server_port = (uint16_t)nat->reply_source_port[i],
			       .protocol = (uint8_t)nat->protocol[i]},
		};
		store_at(intake, &event.event, sizeof(event), time_us);
	}
}

static void intake_definitions(struct intake *intake)
{
	const Millrace__V1__Definitions *d = intake->batch->definitions;
	uint64_t time_us = intake->batch->base_time_us;
	for (size_t i = 0; d && i < d->n_slot; i++) {
		time_us += (uint64_t)d->dt_us[i];
		intake_definition(intake, i, time_us);
	}
}

static void slot_prefetch(const struct intake *intake, uint32_t slot)
{
	uint32_t half = slot_half(intake->node, slot);
	if (half)
		__builtin_prefetch(half_at(intake->mirror, half - 1));
}

static void intake_updates(struct intake *intake)
{
	const Millrace__V1__Updates *updates = intake->batch->updates;
	uint64_t time_us = intake->batch->base_time_us, sparse = 0;
	uint32_t slot = 0, slot_ahead = 0, sparse_index = 0;
	size_t ahead = 0;
	if (updates && updates->n_retransmits_index)
		sparse_index = updates->retransmits_index[0];
	for (size_t i = 0; updates && i < updates->n_slot; i++) {
		struct update_event event = {
			.srtt_us = updates->srtt_us[i],
			.tx_segments = updates->tx_segments[i],
			.rx_segments = updates->rx_segments[i],
			.tx_bytes = updates->tx_bytes[i],
			.rx_bytes = updates->rx_bytes[i],
		};
		for (; ahead < updates->n_slot && ahead < i + PREFETCH_AHEAD; ahead++)
			slot_prefetch(intake, slot_ahead += (uint32_t)updates->slot[ahead]);
		slot += (uint32_t)updates->slot[i];
		time_us += (uint64_t)updates->dt_us[i];
		if (sparse < updates->n_retransmits && i == sparse_index) {
			event.retransmits = updates->retransmits[sparse++];
			if (sparse < updates->n_retransmits)
				sparse_index += updates->retransmits_index[sparse];
		}
		uint32_t half = slot_half(intake->node, slot);
		if (!half) {
			refuse(intake);
			continue;
		}
		socket_event(&event.event, EVENT_UPDATE, intake->mirror, half);
		store_at(intake, &event.event, sizeof(event), time_us);
	}
}

static void intake_closes(struct intake *intake)
{
	const Millrace__V1__Closes *closes = intake->batch->closes;
	uint64_t time_us = intake->batch->base_time_us;
	for (size_t i = 0; closes && i < closes->n_slot; i++) {
		struct close_event event = {
			.reason = closes->reason[i],
			.pid = closes->pid[i],
			.gaps = intake->node->gaps,
			.min_rtt_us = closes->min_rtt_us[i],
			.connect_us = closes->connect_us[i],
			.total = {closes->tx_bytes[i], closes->rx_bytes[i], closes->tx_segments[i],
				  closes->rx_segments[i], closes->retransmits[i]},
		};
		time_us += (uint64_t)closes->dt_us[i];
		uint32_t half = slot_half(intake->node, closes->slot[i]);
		if (!half) {
			refuse(intake);
			continue;
		}
		socket_event(&event.event, EVENT_CLOSE, intake->mirror, half);
		/* A close that finds no room leaves the half to its slot's next owner. */
		if (store_at(intake, &event.event, sizeof(event), time_us))
			intake->node->slots[closes->slot[i]] = NONE;
	}
}

static void intake_exits(struct intake *intake)
{
	const Millrace__V1__Exits *exits = intake->batch->exits;
	uint64_t time_us = intake->batch->base_time_us;
	for (size_t i = 0; exits && i < exits->n_pid; i++) {
		struct exit_event event = {
			.event = {.kind = EVENT_EXIT},
			.pid = exits->pid[i],
			.started_ns = exits->started_ns[i],
		};
		time_us += (uint64_t)exits->dt_us[i];
		store_at(intake, &event.event, sizeof(event), time_us);
	}
}

/* ---- the node ---- */

static void node_reset(struct intake *intake, uint64_t time_ns, bool rebooted, bool silent)
{
	struct node *node = intake->node;
	struct reset_event event = {
		.event = {.kind = EVENT_RESET, .time_ns = time_ns},
		.rebooted = rebooted,
		.silent = silent,
	};
	node->incarnation++;
	if (node->slots_count)
		memset(node->slots, 0, node->slots_count * sizeof(*node->slots));
	store(intake, &event.event, sizeof(event));
}

static struct node *node_find(struct mirror *mirror, const char *name)
{
	struct {
		uint64_t id;
		uint32_t index;
	} * entry;
	uint64_t id = names_put(mirror->names, name, strlen(name), mirror_open_pane(mirror));
	entry = table_find(&mirror->node_ids, &id);
	if (entry)
		return mirror->nodes[entry->index];
	uint32_t index = 0;
	while (index < mirror->nodes_count && mirror->nodes[index])
		index++;
	if (index == mirror->options.nodes_max)
		return NULL;
	if (index == mirror->nodes_count)
		mirror->nodes_count++;
	entry = table_put(&mirror->node_ids, &id);
	entry->index = index;
	mirror->nodes[index] = node_new(name, id, index);
	mirror->stats.nodes++;
	return mirror->nodes[index];
}

static uint64_t put_text(struct mirror *mirror, const char *text)
{
	return names_put(mirror->names, text, strlen(text), mirror_open_pane(mirror));
}

static void node_describe(struct mirror *mirror, struct node *node,
			  const Millrace__V1__Batch *batch)
{
	node->zone = put_text(mirror, batch->zone);
	node->region = put_text(mirror, batch->region);
	node->role = put_text(mirror, batch->role);
	node->agent_version = put_text(mirror, batch->agent_version);
	node->scan_period_ms = batch->scan_period_ms;
	memcpy(node->role_text, batch->role, strlen(batch->role) + 1);
}

/* A new start of the agent ends what the former had. */
static void node_epoch(struct intake *intake, uint64_t time_ns)
{
	struct node *node = intake->node;
	const Millrace__V1__Batch *batch = intake->batch;
	bool known = node->last_append_ns != 0;
	bool same_boot = memcmp(node->boot_id, batch->boot_id.data, sizeof(node->boot_id)) == 0;
	if (known && node->epoch == batch->epoch && same_boot)
		return;
	node_begin(node, batch->epoch, batch->sequence, batch->first_event, known);
	memcpy(node->boot_id, batch->boot_id.data, sizeof(node->boot_id));
	if (known)
		node_reset(intake, time_ns, !same_boot, false);
	else
		node->first_ns = time_ns;
}

static void add_dropped(uint64_t told, uint64_t *before, uint64_t *sum, uint32_t *gaps)
{
	if (told <= *before)
		return;
	*sum += told - *before;
	*before = told;
	++*gaps;
}

/* What was dropped before it was numbered leaves no gap in the numbers, but counters must be
 * healed. */
static void node_dropped(struct intake *intake)
{
	struct node *node = intake->node;
	struct mirror_stats *stats = &intake->mirror->stats;
	const Millrace__V1__Batch *batch = intake->batch;
	uint32_t nat_gaps = 0;
	add_dropped(batch->dropped_ring, &node->dropped_ring, &stats->dropped_ring, &node->gaps);
	add_dropped(batch->dropped_spool, &node->dropped_spool, &stats->dropped_spool, &node->gaps);
	add_dropped(batch->dropped_netlink, &node->dropped_netlink, &stats->dropped_netlink,
		    &nat_gaps);
}

static void node_came(struct intake *intake, uint64_t time_ns)
{
	struct node *node = intake->node;
	struct mirror_stats *stats = &intake->mirror->stats;
	const Millrace__V1__Batch *batch = intake->batch;
	uint64_t issued;
	int64_t lost = node_account(node, batch->first_event, batch->events, &issued);
	stats->issued += issued;
	stats->lost += (uint64_t)lost;
	node->events += batch->events;
	node->lost += (uint64_t)lost;
	struct node_event event = {
		.event = {.kind = EVENT_NODE, .time_ns = time_ns},
		.received = batch->events,
		.lost = lost,
	};
	store(intake, &event.event, sizeof(event));
}

static void intake_groups(struct intake *intake)
{
	intake_containers(intake);
	intake_processes(intake);
	intake_nat(intake, MILLRACE__V1__NAT_OP__NAT_OP_ADD);
	intake_definitions(intake);
	intake_updates(intake);
	intake_closes(intake);
	intake_nat(intake, MILLRACE__V1__NAT_OP__NAT_OP_DELETE);
	intake_exits(intake);
}

void intake_batch(struct mirror *mirror, const struct mirror_record *record)
{
	const Millrace__V1__Batch *batch = mirror->decoded.batch;
	struct intake intake = {mirror, node_find(mirror, batch->node), batch, record->append_ns};
	struct node *node = intake.node;
	bool future;
	mirror->stats.events += batch->events;
	mirror->stats.heartbeats += batch->events == 0;
	if (!node) {
		mirror->stats.issued += batch->events;
		mirror->stats.refused += batch->events;
		return;
	}
	if (node->epoch != batch->epoch && node_had_epoch(node, batch->epoch)) {
		/* A straggler of a former start; its objects are gone. */
		mirror->stats.issued += batch->events;
		mirror->stats.refused += batch->events;
		return;
	}
	node_clock(node, record->append_ns, batch->sent_realtime_ns);
	uint64_t time_ns = correct(&intake, batch->base_time_us, &future);
	node_epoch(&intake, time_ns);
	if (node->silent)
		node->first_ns = time_ns; /* what is older was counted before the silence */
	node->last_append_ns = mirror->clock_ns;
	node->silent = false;
	if (!node_sequence(node, batch->sequence)) {
		mirror->stats.duplicate += batch->events;
		return;
	}
	node_describe(mirror, node, batch);
	node_dropped(&intake);
	node_came(&intake, time_ns);
	intake_groups(&intake);
}

/* Once a second of log time: who was not heard of for NODE_SILENT_S is gone (its agent, or its way
 * to Kafka). */
void intake_silence(struct mirror *mirror)
{
	uint64_t second = mirror->clock_ns / NS_PER_S;
	if (second == mirror->silence_checked_s)
		return;
	mirror->silence_checked_s = second;
	for (uint32_t i = 0; i < mirror->nodes_count; i++) {
		struct node *node = mirror->nodes[i];
		if (!node || node->silent ||
		    node->last_append_ns + NODE_SILENT_S * NS_PER_S > mirror->clock_ns)
			continue;
		struct intake intake = {mirror, node, NULL, mirror->clock_ns};
		node->silent = true;
		node_reset(&intake, mirror->clock_ns, false, true);
	}
}
