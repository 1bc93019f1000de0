/* Closing a pane, first half: its events are applied in the order in which they came, which is the
 * order of each batch's groups, and what the join must know goes out sorted by (time, node, slot).
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "ingest/state.h"

static struct node *event_node(const struct mirror *mirror, const struct event *event)
{
	return mirror->nodes[event->node];
}

static void count_event(struct mirror *mirror, const struct event *event)
{
	if (!event->numbered)
		return;
	if (event->late)
		mirror->stats.late++;
	else
		mirror->stats.aggregated++;
}

static void refuse_event(struct mirror *mirror, const struct event *event)
{
	mirror->stats.refused += event->numbered;
}

/* ---- deltas in the making ---- */

static struct delta *half_delta(struct mirror *mirror, uint32_t index, enum part_kind kind)
{
	static const uint32_t flags[PART_KINDS] = {
		[PART_RECOVERED] = DELTA_RECOVERED,
		[PART_LATE] = DELTA_LATE,
	};
	struct half *half = half_at(mirror, index);
	if (!half->parts[kind]) {
		struct part *part = queue_add(&mirror->parts, sizeof(*part));
		*part = (struct part){.half = index, .kind = (uint8_t)kind};
		part->delta.flags = flags[kind] | (half->flags & HALF_PROBE ? DELTA_PROBE : 0);
		half->parts[kind] = (uint32_t)mirror->parts.count;
	}
	return &((struct part *)mirror->parts.items)[half->parts[kind] - 1].delta;
}

static void traffic_add(struct traffic *sum, const struct traffic *moved)
{
	sum->tx_bytes += moved->tx_bytes;
	sum->rx_bytes += moved->rx_bytes;
	sum->tx_segments += moved->tx_segments;
	sum->rx_segments += moved->rx_segments;
	sum->retransmits += moved->retransmits;
}

static uint64_t forward(uint64_t now, uint64_t before)
{
	return now > before ? now - before : 0;
}

/* What the absolute counters say beyond what was accounted; never negative. */
static struct traffic half_moved(struct half *half, const struct traffic *total)
{
	struct traffic moved = {
		forward(total->tx_bytes, half->accounted.tx_bytes),
		forward(total->rx_bytes, half->accounted.rx_bytes),
		forward(total->tx_segments, half->accounted.tx_segments),
		forward(total->rx_segments, half->accounted.rx_segments),
		forward(total->retransmits, half->accounted.retransmits),
	};
	half->accounted = *total;
	return moved;
}

static enum part_kind part_kind(const struct event *event, bool recovered)
{
	return event->late ? PART_LATE : recovered ? PART_RECOVERED : PART_NORMAL;
}

static uint32_t min_rtt(uint32_t a, uint32_t b)
{
	return a == 0 || (b && b < a) ? b : a;
}

/* ---- metadata ---- */

/* Whoever needed this id and did not find it, or used what it said before, is announced again if
 * that changes who owns it. */
static void metadata_changed(struct node *node, uint64_t id, bool used)
{
	if (used || node_wanted(node, id))
		node->recheck = true;
}

/* A new entry in a table that may hold so many over all nodes; NULL if there is no room. */
static void *table_admit(struct table *table, const void *key, uint64_t *live, uint32_t max)
{
	void *entry = table_find(table, key);
	if (entry)
		return entry;
	if (*live == max)
		return NULL;
	++*live;
	return table_put(table, key);
}

static void apply_container(struct mirror *mirror, const struct container_event *event)
{
	struct node *node = event_node(mirror, &event->event);
	struct container_entry *entry =
		table_admit(&node->containers, &event->cgroup, &mirror->stats.containers,
			    mirror->options.containers_max);
	if (!entry) {
		refuse_event(mirror, &event->event);
		return;
	}
	if (entry->workload != event->workload || entry->container != event->container ||
	    entry->name != event->name || entry->unit != event->unit ||
	    entry->version != event->version)
		metadata_changed(node, event->cgroup, entry->used);
	entry->workload = event->workload;
	entry->container = event->container;
	entry->name = event->name;
	entry->unit = event->unit;
	entry->version = event->version;
	entry->seen_ns = event->event.time_ns;
	count_event(mirror, &event->event);
}

static void apply_process(struct mirror *mirror, const struct process_event *event)
{
	struct node *node = event_node(mirror, &event->event);
	struct process_entry *entry =
		table_admit(&node->processes, &event->pid, &mirror->stats.processes,
			    mirror->options.processes_max);
	if (!entry) {
		refuse_event(mirror, &event->event);
		return;
	}
	bool reused = entry->started_ns != event->started_ns;
	if (entry->workload != event->workload || entry->cgroup != event->cgroup)
		metadata_changed(node, event->pid, entry->used && !reused);
	if (reused)
		entry->used = false;
	entry->started_ns = event->started_ns;
	entry->cgroup = event->cgroup;
	entry->name = event->name;
	entry->workload = event->workload;
	entry->seen_ns = event->event.time_ns;
	count_event(mirror, &event->event);
}

/* The entry stays for OBJECT_KEEP_S after its last announcement: a socket may outlive its process.
 */
static void apply_exit(struct mirror *mirror, const struct exit_event *event)
{
	count_event(mirror, &event->event);
}

/* ---- NAT ---- */

/* The key that a client half's own view becomes past this node. */
static struct tuple half_mapped(const struct node *node, const struct half *half, uint8_t *hops)
{
	struct tuple key = half->seen;
	for (*hops = 0; *hops < HOPS_MAX; ++*hops) {
		const struct nat_entry *nat = table_find(&node->nats, &key);
		if (!nat || tuple_equal(&nat->to, &half->seen))
			break;
		if (nat->ended_ns && half->opened_ns > nat->ended_ns + NAT_AFTERLIFE_S * NS_PER_S)
			break;
		/* A mapping is made by a connection's first packet: one that was there long before
		 * belonged to an earlier connection with the same ports, and ours comes in another
		 * batch. The join waits for it. */
		if (nat->began_ns + NAT_SLACK_NS < half->opened_ns)
			break;
		key = nat->to;
	}
	return key;
}

static void half_unindex(struct node *node, uint32_t index, struct half *half)
{
	if (!(half->state & HALF_INDEXED))
		return;
	half->state &= (uint8_t)~HALF_INDEXED;
	struct client_entry *client = table_find(&node->clients, &half->key);
	if (client && client->half == index)
		table_remove(&node->clients, client);
}

/* The key by which the join knows a half stays: from there the join follows the aliases by itself.
 */
static void half_rekey(struct node *node, uint32_t index, struct half *half)
{
	uint8_t hops = 0;
	if (half->state & HALF_ANNOUNCED)
		return;
	half_unindex(node, index, half);
	half->key = half->side == SIDE_CLIENT ? half_mapped(node, half, &hops) : half->seen;
	if (half->side != SIDE_CLIENT)
		return;
	struct client_entry *client = table_put(&node->clients, &half->key);
	client->half = index;
	half->state |= HALF_INDEXED;
}

static void half_announce(struct mirror *mirror, uint32_t index)
{
	struct half *half = half_at(mirror, index);
	if (half->state & HALF_OPENING)
		return;
	half->state |= HALF_OPENING;
	*(uint32_t *)queue_add(&mirror->openings, sizeof(uint32_t)) = index;
}

/* A mapping told by a later batch of the same pane still finds its client half before the join
 * hears of it. */
static void nat_concerns(const struct mirror *mirror, struct node *node, const struct tuple *from)
{
	const struct client_entry *client = table_find(&node->clients, from);
	if (client)
		half_rekey(node, client->half, half_at(mirror, client->half));
}

static void apply_nat(struct mirror *mirror, const struct nat_event *event)
{
	struct node *node = event_node(mirror, &event->event);
	if (tuple_equal(&event->from, &event->to)) {
		count_event(mirror, &event->event); /* tracked, but not translated */
		return;
	}
	struct nat_entry *entry =
		event->ended ? table_find(&node->nats, &event->from)
			     : table_admit(&node->nats, &event->from, &mirror->stats.nats,
					   mirror->options.nats_max);
	if (!entry && !event->ended) {
		refuse_event(mirror, &event->event);
		return;
	}
	if (entry) {
		if (!event->ended &&
		    (!entry->began_ns || entry->ended_ns || !tuple_equal(&entry->to, &event->to)))
			entry->began_ns = event->event.time_ns;
		entry->to = event->to;
		entry->ended_ns = event->ended ? event->event.time_ns : 0;
		entry->seen_ns = event->event.time_ns;
	}
	*(struct nat_alias *)queue_add(&mirror->aliases, sizeof(struct nat_alias)) =
		(struct nat_alias){
			.from = event->from,
			.to = event->to,
			.time_ns = event->event.time_ns,
			.node = node->name_id,
			.op = event->ended ? NAT_DELETE : NAT_ADD,
		};
	if (!event->ended)
		nat_concerns(mirror, node, &event->from);
	count_event(mirror, &event->event);
}

/* ---- sockets ---- */

static struct half *event_half(const struct mirror *mirror, const struct event *event)
{
	struct half *half = half_at(mirror, event->half);
	return half->generation == event->generation ? half : NULL;
}

/* The first we hear of a socket: does its past count? A connection that began under our eyes counts
 * from zero. If what told of its beginning was lost, all of it is recovered. What was there before
 * us is not ours. */
static void half_begin(struct mirror *mirror, uint32_t index, const struct definition_event *event)
{
	struct half *half = half_at(mirror, index);
	const struct node *node = event_node(mirror, &event->event);
	bool again = event->flags & HALF_AGAIN;
	half->state |= HALF_APPLIED;
	half->flags = event->flags & (uint16_t)~HALF_AGAIN;
	half->opened_ns = event->opened_ns;
	half->time_ns = event->event.time_ns;
	half->lost = node->lost_applied;
	half->gaps = event->gaps;
	if (event->flags & HALF_EXISTED || (again && event->opened_ns < node->first_ns)) {
		half->flags |= HALF_EXISTED;
		half->accounted = event->total;
		return;
	}
	struct delta *delta = half_delta(mirror, index, part_kind(&event->event, again));
	struct traffic moved = half_moved(half, &event->total);
	traffic_add(&delta->traffic, &moved);
	delta->flags |= DELTA_OPENED;
	delta->connect_us = event->connect_us;
}

/* A key frame: heals what was lost since the last absolute. */
static void half_absolute(struct mirror *mirror, uint32_t index, const struct event *event,
			  const struct traffic *total, uint32_t gaps)
{
	static const struct traffic none;
	struct half *half = half_at(mirror, index);
	struct traffic moved = half_moved(half, total);
	bool recovered = half->gaps != gaps;
	half->gaps = gaps;
	if (memcmp(&moved, &none, sizeof(moved)) == 0)
		return;
	struct delta *delta = half_delta(mirror, index, part_kind(event, recovered));
	traffic_add(&delta->traffic, &moved);
	delta->time_ns = event->time_ns;
}

static void half_measured(struct mirror *mirror, uint32_t index,
			  const struct definition_event *event)
{
	struct half *half = half_at(mirror, index);
	half->min_rtt_us = min_rtt(half->min_rtt_us, event->min_rtt_us);
	for (int kind = 0; kind < PART_KINDS; kind++) {
		if (!half->parts[kind])
			continue;
		struct delta *delta = half_delta(mirror, index, kind);
		delta->time_ns = event->event.time_ns;
		if (event->srtt_us)
			delta->srtt_us = event->srtt_us;
		delta->min_rtt_us = min_rtt(delta->min_rtt_us, event->min_rtt_us);
	}
}

static void apply_definition(struct mirror *mirror, const struct definition_event *event)
{
	struct node *node = event_node(mirror, &event->event);
	uint32_t index = event->event.half;
	struct half *half = event_half(mirror, &event->event);
	bool stale = event->event.incarnation < node->applied_incarnation;
	if (!half || half->state & HALF_CLOSED || stale) {
		refuse_event(mirror, &event->event);
		if (half && !(half->state & HALF_APPLIED))
			half_give(mirror, index); /* of a start that is over */
		return;
	}
	half->seen = event->seen;
	half->side = event->side;
	half->cgroup = event->cgroup;
	if (event->pid)
		half->pid = event->pid;
	if (event->connect_us)
		half->connect_us = event->connect_us;
	if (half->state & HALF_APPLIED) {
		half_absolute(mirror, index, &event->event, &event->total, event->gaps);
	} else {
		half_begin(mirror, index, event);
		node->sockets++;
	}
	half_measured(mirror, index, event);
	half_rekey(node, index, half);
	half_announce(mirror, index);
	count_event(mirror, &event->event);
}

static void apply_update(struct mirror *mirror, const struct update_event *event)
{
	struct half *half = event_half(mirror, &event->event);
	if (!half || (half->state & (HALF_APPLIED | HALF_CLOSED)) != HALF_APPLIED) {
		refuse_event(mirror, &event->event);
		return;
	}
	struct traffic moved = {event->tx_bytes, event->rx_bytes, event->tx_segments,
				event->rx_segments, event->retransmits};
	struct delta *delta =
		half_delta(mirror, event->event.half, part_kind(&event->event, false));
	traffic_add(&delta->traffic, &moved);
	traffic_add(&half->accounted, &moved);
	if (event->srtt_us)
		delta->srtt_us = event->srtt_us;
	delta->time_ns = event->event.time_ns;
	count_event(mirror, &event->event);
}

static void half_end(struct mirror *mirror, uint32_t index, const struct event *event,
		     uint32_t reason)
{
	struct half *half = half_at(mirror, index);
	struct node *node = mirror->nodes[half->node];
	half->state |= HALF_CLOSED;
	half->closed_ns = event->time_ns;
	half_unindex(node, index, half);
	node->sockets--;
	half_linger(mirror, index);
	struct closing *closing = queue_add(&mirror->closings, sizeof(*closing));
	*closing = (struct closing){
		.half = index,
		.close = {.reason = reason,
			  .time_ns = event->time_ns,
			  .total = half->accounted,
			  .min_rtt_us = half->min_rtt_us,
			  .lost = (uint32_t)(node->lost_applied - half->lost)},
	};
	struct delta *delta = half_delta(mirror, index, part_kind(event, false));
	delta->reason = reason;
	delta->time_ns = event->time_ns;
	delta->min_rtt_us = min_rtt(delta->min_rtt_us, half->min_rtt_us);
	delta->flags |= close_reason_is_failure(reason) ? DELTA_FAILED : DELTA_CLOSED;
}

/* Its definition told of the attempt; it never opened. */
static void half_failed(struct mirror *mirror, uint32_t index, const struct close_event *event)
{
	struct half *half = half_at(mirror, index);
	half->flags |= HALF_FAILED;
	for (int kind = 0; kind < PART_KINDS; kind++)
		if (half->parts[kind])
			half_delta(mirror, index, kind)->flags &= ~(uint32_t)DELTA_OPENED;
	half_delta(mirror, index, part_kind(&event->event, false))->connect_us =
		event->connect_us ? event->connect_us : half->connect_us;
}

static void apply_close(struct mirror *mirror, const struct close_event *event)
{
	uint32_t index = event->event.half;
	struct half *half = event_half(mirror, &event->event);
	if (!half || (half->state & (HALF_APPLIED | HALF_CLOSED)) != HALF_APPLIED) {
		refuse_event(mirror, &event->event);
		if (half && !half->state)
			half_give(mirror, index); /* it ended before it began: broken times */
		return;
	}
	if (event->pid && event->pid != half->pid) {
		half->pid = event->pid;
		half_announce(mirror, index);
	}
	half->min_rtt_us = min_rtt(half->min_rtt_us, event->min_rtt_us);
	/* A close that the mirror adds knows no counters. */
	if (event->event.numbered)
		half_absolute(mirror, index, &event->event, &event->total, event->gaps);
	half_end(mirror, index, &event->event, event->reason);
	if (close_reason_is_failure(event->reason))
		half_failed(mirror, index, event);
	count_event(mirror, &event->event);
}

/* ---- nodes ---- */

static void node_turn(struct mirror *mirror, struct node *node)
{
	if (node->pane == mirror->pane)
		return;
	node->pane = mirror->pane;
	node->pane_received = node->pane_lost = 0;
}

static void apply_node(struct mirror *mirror, const struct node_event *event)
{
	struct node *node = event_node(mirror, &event->event);
	int64_t pane_lost;
	node_turn(mirror, node);
	node->pane_received += event->received;
	/* A batch that came late takes its loss back from the pane it came to, as far as there is
	 * any. */
	pane_lost = (int64_t)node->pane_lost + event->lost;
	node->pane_lost = pane_lost < 0		   ? 0
			  : pane_lost > UINT32_MAX ? UINT32_MAX
						   : (uint32_t)pane_lost;
	if (event->lost > 0)
		node->lost_applied += (uint64_t)event->lost;
}

static void node_forget(struct mirror *mirror, struct node *node)
{
	mirror->stats.nats -= node->nats.count;
	mirror->stats.processes -= node->processes.count;
	mirror->stats.containers -= node->containers.count;
	table_clear(&node->nats);
	table_clear(&node->processes);
	table_clear(&node->containers);
	memset(node->wanted, 0, sizeof(node->wanted));
}

static void apply_reset(struct mirror *mirror, const struct reset_event *event)
{
	struct node *node = event_node(mirror, &event->event);
	node->applied_incarnation = event->event.incarnation;
	for (uint32_t next = node->halves; next; next = half_at(mirror, next - 1)->older) {
		struct half *half = half_at(mirror, next - 1);
		if (half->incarnation < event->event.incarnation &&
		    (half->state & (HALF_APPLIED | HALF_CLOSED)) == HALF_APPLIED)
			half_end(mirror, next - 1, &event->event, CLOSE_VANISHED);
	}
	if (event->rebooted || event->silent)
		node_forget(mirror, node);
}

static void apply_event(struct mirror *mirror, const struct event *event)
{
	event_node(mirror, event)->pending--;
	switch ((enum event_kind)event->kind) {
	case EVENT_NODE:
		apply_node(mirror, (const struct node_event *)event);
		break;
	case EVENT_RESET:
		apply_reset(mirror, (const struct reset_event *)event);
		break;
	case EVENT_CONTAINER:
		apply_container(mirror, (const struct container_event *)event);
		break;
	case EVENT_PROCESS:
		apply_process(mirror, (const struct process_event *)event);
		break;
	case EVENT_EXIT:
		apply_exit(mirror, (const struct exit_event *)event);
		break;
	case EVENT_NAT:
		apply_nat(mirror, (const struct nat_event *)event);
		break;
	case EVENT_DEFINITION:
		apply_definition(mirror, (const struct definition_event *)event);
		break;
	case EVENT_UPDATE:
		apply_update(mirror, (const struct update_event *)event);
		break;
	case EVENT_CLOSE:
		apply_close(mirror, (const struct close_event *)event);
		break;
	case EVENT_KINDS:
		break;
	}
}

/* ---- what is older than its announcements ---- */

static bool object_expired(const struct mirror *mirror, uint64_t seen_ns)
{
	return seen_ns + OBJECT_KEEP_S * NS_PER_S < pane_end(mirror->pane);
}

/* Entries of one table that were not announced for OBJECT_KEEP_S; seen_at: where in the entry its
 * time is. */
static void sweep_table(const struct mirror *mirror, struct table *table, size_t seen_at,
			uint64_t *live)
{
	for (uint32_t place = 0; place < table->capacity;) {
		uint8_t *entry = table_at(table, place);
		if (!entry || !object_expired(mirror, *(uint64_t *)(entry + seen_at))) {
			place++;
			continue;
		}
		table_remove(table, entry); /* may bring another here */
		--*live;
	}
}

static void sweep_node(struct mirror *mirror, struct node *node)
{
	sweep_table(mirror, &node->nats, offsetof(struct nat_entry, seen_ns), &mirror->stats.nats);
	sweep_table(mirror, &node->processes, offsetof(struct process_entry, seen_ns),
		    &mirror->stats.processes);
	sweep_table(mirror, &node->containers, offsetof(struct container_entry, seen_ns),
		    &mirror->stats.containers);
	if (node->silent && !node->halves && !node->pending &&
	    node->applied_incarnation == node->incarnation)
		node_leave(mirror, node);
}

/* Late metadata may say better who owns a half: it is then announced again. */
static void node_recheck(struct mirror *mirror, struct node *node)
{
	node->recheck = false;
	memset(node->wanted, 0, sizeof(node->wanted));
	for (uint32_t next = node->halves; next; next = half_at(mirror, next - 1)->older) {
		struct half *half = half_at(mirror, next - 1);
		if ((half->state & (HALF_APPLIED | HALF_CLOSED)) != HALF_APPLIED)
			continue;
		struct instance self = owner_of(node, half);
		if (self.id != half->self_id || self.resolution != half->self_resolution)
			half_announce(mirror, next - 1);
	}
}

static void tend_nodes(struct mirror *mirror)
{
	for (uint32_t i = 0; i < mirror->nodes_count; i++) {
		struct node *node = mirror->nodes[i];
		if (!node)
			continue;
		node_turn(mirror, node);
		if (node->recheck)
			node_recheck(mirror, node);
		if ((mirror->pane + i) % SWEEP_PANES == 0)
			sweep_node(mirror, node);
	}
}

/* ---- out, in order ---- */

static int compare_places(const struct mirror *mirror, uint32_t a, uint32_t b)
{
	const struct half *first = half_at(mirror, a), *second = half_at(mirror, b);
	if (first->node != second->node)
		return strcmp(mirror->nodes[first->node]->name, mirror->nodes[second->node]->name);
	if (first->slot != second->slot)
		return first->slot < second->slot ? -1 : 1;
	return first->slot_generation < second->slot_generation
		       ? -1
		       : first->slot_generation > second->slot_generation;
}

static int compare_openings(const void *a, const void *b, void *context)
{
	const uint32_t first = *(const uint32_t *)a, second = *(const uint32_t *)b;
	const struct mirror *mirror = context;
	uint64_t first_ns = half_at(mirror, first)->time_ns;
	uint64_t second_ns = half_at(mirror, second)->time_ns;
	if (first_ns != second_ns)
		return first_ns < second_ns ? -1 : 1;
	return compare_places(mirror, first, second);
}

static int compare_closings(const void *a, const void *b, void *context)
{
	const struct closing *first = a, *second = b;
	if (first->close.time_ns != second->close.time_ns)
		return first->close.time_ns < second->close.time_ns ? -1 : 1;
	return compare_places(context, first->half, second->half);
}

static int compare_aliases(const void *a, const void *b)
{
	const struct nat_alias *first = a, *second = b;
	if (first->time_ns != second->time_ns)
		return first->time_ns < second->time_ns ? -1 : 1;
	if (first->node != second->node)
		return first->node < second->node ? -1 : 1;
	int from = memcmp(&first->from, &second->from, sizeof(first->from));
	if (from)
		return from;
	int to = memcmp(&first->to, &second->to, sizeof(first->to));
	return to ? to : first->op - second->op;
}

static struct half_open open_of(struct mirror *mirror, uint32_t index)
{
	struct half *half = half_at(mirror, index);
	struct node *node = mirror->nodes[half->node];
	struct half_open open = {
		.ref = {mirror->options.source, index, half->generation},
		.side = half->side,
		.flags = half->flags,
		.key = half->key,
		.seen = half->seen,
		.opened_ns = half->opened_ns,
		.time_ns = half->time_ns,
		.connect_us = half->connect_us,
		.pid = half->pid,
		.self = owner_of(node, half),
	};
	if (half->state & HALF_ANNOUNCED)
		open.flags |= HALF_AGAIN;
	half_unindex(node, index, half); /* its key stays from now on */
	half->state = (uint8_t)((half->state | HALF_ANNOUNCED) & ~HALF_OPENING);
	half->self_id = open.self.id;
	half->self_resolution = open.self.resolution;
	return open;
}

static uint32_t tuple_owner(const struct mirror *mirror, const struct tuple *tuple)
{
	return hash_owner(tuple_hash(tuple), mirror->options.join_tasks);
}

/* What one pane has for all join tasks, sorted; owners tells whose each is. An alias has two. */
struct outgoing {
	const struct half_open *opens;
	const struct half_close *closes;
	const struct nat_alias *aliases;
	size_t opens_count, closes_count, aliases_count;
	const uint32_t *open_owners, *close_owners, *alias_owners;
};

static void send_task(struct mirror *mirror, uint32_t task, const struct outgoing *outgoing)
{
	struct half_open *opens =
		queue_room(&mirror->task_opens, outgoing->opens_count, sizeof(struct half_open));
	struct half_close *closes =
		queue_room(&mirror->task_closes, outgoing->closes_count, sizeof(struct half_close));
	struct nat_alias *aliases = queue_room(&mirror->task_aliases, outgoing->aliases_count,
					       sizeof(struct nat_alias));
	struct half_bucket bucket = {.opens = opens,
				     .closes = closes,
				     .aliases = aliases,
				     .servers = mirror->servers.items,
				     .servers_count = mirror->servers.count};
	for (size_t i = 0; i < outgoing->opens_count; i++)
		if (outgoing->open_owners[i] == task)
			opens[bucket.opens_count++] = outgoing->opens[i];
	for (size_t i = 0; i < outgoing->closes_count; i++)
		if (outgoing->close_owners[i] == task)
			closes[bucket.closes_count++] = outgoing->closes[i];
	for (size_t i = 0; i < outgoing->aliases_count; i++)
		if (outgoing->alias_owners[2 * i] == task ||
		    outgoing->alias_owners[2 * i + 1] == task)
			aliases[bucket.aliases_count++] = outgoing->aliases[i];
	mirror->options.sinks.halves(mirror->options.sinks.context, task, &bucket);
}

/* Servers that all join tasks should know of: new ones, moved ones, and each again after a while.
 */
static void tell_server(struct mirror *mirror, const struct half_open *open)
{
	const struct tuple *seen = &open->seen;
	struct server_key key = {.address = seen->server,
				 .port = seen->server_port,
				 .protocol = seen->protocol,
				 .scope = seen->scope};
	if (open->side != SIDE_SERVER || address_is_loopback(&key.address) ||
	    open->flags & (HALF_ROLE_GUESSED | HALF_FAILED))
		return;
	/* Full: all are forgotten and so told anew, a burst instead of a gap. */
	if (mirror->servers_told.count >= mirror->options.halves_max)
		table_clear(&mirror->servers_told);
	struct told_server *told = table_put(&mirror->servers_told, &key);
	if (told->instance == open->self.id && told->pane + NAMES_REFRESH_PANES > mirror->pane)
		return;
	told->instance = open->self.id;
	told->pane = mirror->pane;
	*(struct server_place *)queue_add(&mirror->servers, sizeof(struct server_place)) =
		(struct server_place){
			.key = key, .time_ns = pane_end(mirror->pane), .instance = open->self};
}

static void forget_servers(struct mirror *mirror)
{
	if (mirror->pane % NAMES_REFRESH_PANES)
		return;
	for (uint32_t place = 0; place < mirror->servers_told.capacity;) {
		struct told_server *told = table_at(&mirror->servers_told, place);
		if (told && told->pane + NAMES_KEEP_PANES < mirror->pane)
			table_remove(&mirror->servers_told, told);
		else
			place++;
	}
}

static void collect_opens(struct mirror *mirror, struct outgoing *outgoing, uint32_t *owners)
{
	size_t count = mirror->openings.count;
	uint32_t *openings = mirror->openings.items;
	struct half_open *opens =
		queue_room(&mirror->sorted_opens, count, sizeof(struct half_open));
	if (count)
		qsort_r(openings, count, sizeof(*openings), compare_openings, mirror);
	for (size_t i = 0; i < count; i++) {
		opens[i] = open_of(mirror, openings[i]);
		owners[i] = tuple_owner(mirror, &opens[i].key);
		tell_server(mirror, &opens[i]);
	}
	outgoing->opens = opens;
	outgoing->opens_count = count;
	outgoing->open_owners = owners;
}

static void collect_closes(struct mirror *mirror, struct outgoing *outgoing, uint32_t *owners)
{
	size_t count = mirror->closings.count;
	struct closing *closings = mirror->closings.items;
	struct half_close *closes =
		queue_room(&mirror->sorted_closes, count, sizeof(struct half_close));
	if (count)
		qsort_r(closings, count, sizeof(*closings), compare_closings, mirror);
	for (size_t i = 0; i < count; i++) {
		const struct half *half = half_at(mirror, closings[i].half);
		closes[i] = closings[i].close;
		closes[i].ref = (struct half_ref){mirror->options.source, closings[i].half,
						  half->generation};
		closes[i].key = half->key;
		owners[i] = tuple_owner(mirror, &half->key);
	}
	outgoing->closes = closes;
	outgoing->closes_count = count;
	outgoing->close_owners = owners;
}

static void collect_aliases(struct mirror *mirror, struct outgoing *outgoing, uint32_t *owners)
{
	size_t count = mirror->aliases.count;
	struct nat_alias *aliases = mirror->aliases.items;
	if (count)
		qsort(aliases, count, sizeof(*aliases), compare_aliases);
	for (size_t i = 0; i < count; i++) {
		owners[2 * i] = tuple_owner(mirror, &aliases[i].from);
		owners[2 * i + 1] = tuple_owner(mirror, &aliases[i].to);
	}
	outgoing->aliases = aliases;
	outgoing->aliases_count = count;
	outgoing->alias_owners = owners;
}

static void send_all(struct mirror *mirror)
{
	struct outgoing outgoing = {0};
	size_t opens = mirror->openings.count, closes = mirror->closings.count;
	uint32_t *owners = queue_room(&mirror->owners, opens + closes + 2 * mirror->aliases.count,
				      sizeof(*owners));
	collect_opens(mirror, &outgoing, owners);
	collect_closes(mirror, &outgoing, owners + opens);
	collect_aliases(mirror, &outgoing, owners + opens + closes);
	for (uint32_t task = 0; task < mirror->options.join_tasks; task++)
		send_task(mirror, task, &outgoing);
}

static void prefetch_next(const struct mirror *mirror, const struct pane *pane, size_t *offset)
{
	const struct event *event = pane_next(pane, offset);
	if (event && event->kind >= EVENT_DEFINITION)
		half_prefetch(mirror, event->half);
}

void mirror_halves(struct mirror *mirror, uint64_t number)
{
	struct pane *pane = panes_get(&mirror->panes, number);
	const struct event *event;
	size_t offset = 0, ahead = 0;
	mirror->pane = number;
	mirror->openings.count = mirror->closings.count = mirror->aliases.count = 0;
	mirror->servers.count = 0;
	for (int i = 0; pane && i < PREFETCH_AHEAD; i++)
		prefetch_next(mirror, pane, &ahead);
	while (pane && (event = pane_next(pane, &offset))) {
		prefetch_next(mirror, pane, &ahead);
		apply_event(mirror, event);
	}
	if (pane)
		panes_clear(&mirror->panes, pane);
	tend_nodes(mirror);
	forget_servers(mirror);
	send_all(mirror);
}
