/* A record comes: whose it is, whether it is new, what is missing before it, how its node's clock
 * runs. What it says goes to the panes as runs (gather.c). */
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "ingest/state.h"

struct intake {
	struct mirror *mirror;
	struct node *node;
	const Millrace__V1__Batch *batch;
};

/* ---- the node ---- */

/* Silence ends what the node had, without a batch that tells: in the oldest pane, before whatever
 * may come late. */
static void put_silence(struct mirror *mirror, struct node *node)
{
	uint64_t pane = mirror_open_pane(mirror);
	struct run *run = panes_room(&mirror->panes, pane, sizeof(*run));
	if (!run)
		return; /* its next batch tells of the new incarnation */
	*run = (struct run){
		.batch_ns = mirror->clock_ns,
		.node = node->place,
		.incarnation = node->incarnation,
		.epoch = node->standing.epochs,
		.flags = RUN_SILENT,
	};
	panes_keep(&mirror->panes, pane, sizeof(*run), 0);
	node->pending++;
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
	mirror->nodes[index] = node_new(name, id, index, mirror->options.seed);
	departed_return(mirror, mirror->nodes[index]);
	mirror->ranks_stale = true;
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
	uint64_t zone = put_text(mirror, batch->zone), region = put_text(mirror, batch->region);
	uint64_t role = put_text(mirror, batch->role);
	uint64_t agent_version = put_text(mirror, batch->agent_version);
	node->news |= node->zone != zone || node->region != region || node->role != role ||
		      node->agent_version != agent_version;
	node->zone = zone;
	node->region = region;
	node->role = role;
	node->agent_version = agent_version;
	node->scan_period_ms = batch->scan_period_ms;
	memcpy(node->role_text, batch->role, strlen(batch->role) + 1);
}

/* The log was read when the agent began: what is missing before its first batches never came. An
 * agent that was there before the log was read has higher numbers, as it seals a batch each
 * BATCH_GAP_S at least; so has one that comes back after its node was forgotten. */
static bool began_here(const struct mirror *mirror, const Millrace__V1__Batch *batch)
{
	return batch->sequence < BEGINNING_BATCHES &&
	       (mirror->whole ||
		batch->sent_realtime_ns >
			mirror->began_ns + (batch->sequence + 1) * BATCH_GAP_S * NS_PER_S);
}

/* A new start of the agent. What the former had ends with its boot, or waits to be told anew
 * (adopt.c). */
static void node_epoch(struct intake *intake)
{
	struct node *node = intake->node;
	const Millrace__V1__Batch *batch = intake->batch;
	bool known = node->standing.last_append_ns != 0;
	bool same_boot = memcmp(node->standing.boot_id, batch->boot_id.data,
				sizeof(node->standing.boot_id)) == 0;
	if (known && node->standing.numbering.epoch == batch->epoch && same_boot)
		return;
	if (!same_boot)
		node_clock_forget(node);
	node_begin(node, batch->epoch, batch->sequence, batch->first_event,
		   known || began_here(intake->mirror, batch));
	if (!node->standing
		     .whole) /* what it dropped before the log was read is not ours to count */
		node->standing.dropped = (struct dropped){
			.ring = batch->dropped_ring,
			.netlink = batch->dropped_netlink,
			.spool = batch->dropped_spool,
		};
	memcpy(node->standing.boot_id, batch->boot_id.data, sizeof(node->standing.boot_id));
	about_forget(intake->mirror, node);
	node->incarnation += known;
	node->rebooted = known && !same_boot;
}

static uint64_t newly_dropped(uint64_t told, uint64_t *before)
{
	uint64_t more = told > *before ? told - *before : 0;
	*before += more;
	return more;
}

static void node_dropped(struct intake *intake)
{
	struct node *node = intake->node;
	struct mirror_stats *stats = &intake->mirror->stats;
	const Millrace__V1__Batch *batch = intake->batch;
	struct ledger *ledger = &node->standing.ledger;
	count_events(&stats->dropped_ring, &ledger->dropped_ring,
		     newly_dropped(batch->dropped_ring, &node->standing.dropped.ring));
	count_events(&stats->dropped_netlink, &ledger->dropped_netlink,
		     newly_dropped(batch->dropped_netlink, &node->standing.dropped.netlink));
	count_events(&stats->dropped_spool, &ledger->dropped_spool,
		     newly_dropped(batch->dropped_spool, &node->standing.dropped.spool));
}

static void number(struct intake *intake, struct numbered *numbered)
{
	struct ledger *ledger = &intake->node->standing.ledger;
	struct mirror_stats *stats = &intake->mirror->stats;
	const Millrace__V1__Batch *batch = intake->batch;
	uint64_t issued;
	int64_t lost = numbered_count(numbered, batch->first_event, batch->events, &issued);
	count_events(&stats->issued, &ledger->issued, issued);
	count_events(&stats->lost, &ledger->lost, (uint64_t)lost);
}

/* What all runs of the batch have in common. */
static struct run run_header(const struct intake *intake)
{
	const struct node *node = intake->node;
	const Millrace__V1__Batch *batch = intake->batch;
	return (struct run){
		.sequence = batch->sequence,
		.node = node->place,
		.incarnation = node->incarnation,
		.epoch = node->standing.epochs,
		.flags = (node->rebooted ? RUN_REBOOTED : 0) |
			 (node->standing.whole ? RUN_WHOLE : 0),
		.first_event = batch->first_event,
		.dropped = batch->dropped_ring + batch->dropped_spool,
		.zone = node->zone,
		.batch_events = batch->events,
	};
}

/* There is no room for its node: nothing is known of its numbers. */
static void refuse_stranger(struct mirror *mirror, const Millrace__V1__Batch *batch)
{
	struct ledger *others = &mirror->stats.others;
	count_events(&mirror->stats.events, &others->received, batch->events);
	count_events(&mirror->stats.issued, &others->issued, batch->events);
	count_events(&mirror->stats.refused, &others->refused, batch->events);
}

/* A straggler of a former start: its slots are others' by now. */
static void refuse_straggler(struct intake *intake, struct numbering *former)
{
	struct ledger *ledger = &intake->node->standing.ledger;
	struct mirror_stats *stats = &intake->mirror->stats;
	const Millrace__V1__Batch *batch = intake->batch;
	if (!numbering_take(former, batch->sequence)) {
		count_events(&stats->duplicate, &ledger->duplicate, batch->events);
		return;
	}
	number(intake, &former->numbered);
	count_events(&stats->refused, &ledger->refused, batch->events);
}

/* A node whose events lie ahead of the log, though its clock is corrected, tells of no time at all:
 * for a while it is not read. */
static void node_ahead(const struct mirror *mirror, struct node *node, uint64_t events)
{
	if (node->ahead_since_ns + AHEAD_S * NS_PER_S <= mirror->clock_ns) {
		node->ahead_since_ns = mirror->clock_ns;
		node->ahead = 0;
	}
	node->ahead += events;
	if (node->ahead < AHEAD_MAX)
		return;
	node->quarantined_until_ns = mirror->clock_ns + QUARANTINE_S * NS_PER_S;
	node->ahead_since_ns = 0;
}

static void quarantine(struct mirror *mirror, const struct mirror_record *record, struct node *node)
{
	const Millrace__V1__Batch *batch = mirror->decoded.batch;
	node->standing.last_append_ns = mirror->clock_ns;
	count_events(&mirror->stats.quarantined, &node->standing.ledger.quarantined, batch->events);
	if (batch->events)
		deadletter(mirror, record, MIRROR_QUARANTINED,
			   "the node's events lie ahead of the log", node->name);
}

void intake_batch(struct mirror *mirror, const struct mirror_record *record)
{
	const Millrace__V1__Batch *batch = mirror->decoded.batch;
	struct intake intake = {mirror, node_find(mirror, batch->node), batch};
	struct node *node = intake.node;
	mirror->stats.heartbeats += batch->events == 0;
	if (!node) {
		refuse_stranger(mirror, batch);
		return;
	}
	count_events(&mirror->stats.events, &node->standing.ledger.received, batch->events);
	struct numbering *former = node->standing.numbering.epoch == batch->epoch
					   ? NULL
					   : node_former(node, batch->epoch);
	if (former) {
		refuse_straggler(&intake, former);
		return;
	}
	if (mirror->clock_ns < node->quarantined_until_ns) {
		quarantine(mirror, record, node);
		return;
	}
	node_epoch(&intake);
	node_clock(node, record->append_ns, batch->sent_boottime_ns, batch->sent_realtime_ns);
	node->standing.last_append_ns = mirror->clock_ns;
	node->silent = false;
	mute_told(mirror, node, batch->sent_realtime_ns);
	if (!numbering_take(&node->standing.numbering, batch->sequence)) {
		count_events(&mirror->stats.duplicate, &node->standing.ledger.duplicate,
			     batch->events);
		return;
	}
	node_describe(mirror, node, batch);
	about_take(mirror, node, batch);
	node_dropped(&intake);
	number(&intake, &node->standing.numbering.numbered);
	struct run header = run_header(&intake);
	uint64_t future = mirror->stats.future;
	gather_batch(mirror, node, batch, record->append_ns, &header);
	if (mirror->stats.future != future)
		node_ahead(mirror, node, mirror->stats.future - future);
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
		if (node)
			mute_check(mirror, node);
		if (!node || node->silent ||
		    node->standing.last_append_ns + NODE_SILENT_S * NS_PER_S > mirror->clock_ns)
			continue;
		node->silent = true;
		node->rebooted = false;
		node->incarnation++;
		put_silence(mirror, node);
	}
}
