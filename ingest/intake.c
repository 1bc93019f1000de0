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
		.epoch = node->epochs,
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
	mirror->nodes[index] = node_new(name, id, index);
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
	node->zone = put_text(mirror, batch->zone);
	node->region = put_text(mirror, batch->region);
	node->role = put_text(mirror, batch->role);
	node->agent_version = put_text(mirror, batch->agent_version);
	node->scan_period_ms = batch->scan_period_ms;
	memcpy(node->role_text, batch->role, strlen(batch->role) + 1);
}

/* A new start of the agent. What the former had ends with its boot, or waits to be told anew
 * (adopt.c). */
static void node_epoch(struct intake *intake)
{
	struct node *node = intake->node;
	const Millrace__V1__Batch *batch = intake->batch;
	bool known = node->last_append_ns != 0;
	bool same_boot = memcmp(node->boot_id, batch->boot_id.data, sizeof(node->boot_id)) == 0;
	if (known && node->epoch == batch->epoch && same_boot)
		return;
	if (!same_boot)
		node_clock_forget(node);
	node_begin(node, batch->epoch, batch->sequence, batch->first_event, known);
	memcpy(node->boot_id, batch->boot_id.data, sizeof(node->boot_id));
	node->incarnation += known;
	node->rebooted = known && !same_boot;
}

static void add_dropped(uint64_t told, uint64_t *before, uint64_t *sum)
{
	if (told <= *before)
		return;
	*sum += told - *before;
	*before = told;
}

static void node_dropped(struct intake *intake)
{
	struct node *node = intake->node;
	struct mirror_stats *stats = &intake->mirror->stats;
	const Millrace__V1__Batch *batch = intake->batch;
	add_dropped(batch->dropped_ring, &node->dropped_ring, &stats->dropped_ring);
	add_dropped(batch->dropped_spool, &node->dropped_spool, &stats->dropped_spool);
	add_dropped(batch->dropped_netlink, &node->dropped_netlink, &stats->dropped_netlink);
}

static void node_came(struct intake *intake)
{
	struct node *node = intake->node;
	struct mirror_stats *stats = &intake->mirror->stats;
	const Millrace__V1__Batch *batch = intake->batch;
	uint64_t issued;
	int64_t lost = ledger_account(&node->ledger, batch->first_event, batch->events, &issued);
	stats->issued += issued;
	stats->lost += (uint64_t)lost;
	node->events += batch->events;
	node->lost += (uint64_t)lost;
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
		.epoch = node->epochs,
		.flags = node->rebooted ? RUN_REBOOTED : 0,
		.first_event = batch->first_event,
		.dropped = batch->dropped_ring + batch->dropped_spool,
		.zone = node->zone,
		.batch_events = batch->events,
	};
}

static void refuse_batch(struct mirror *mirror, const Millrace__V1__Batch *batch)
{
	mirror->stats.issued += batch->events;
	mirror->stats.refused += batch->events;
}

/* A node whose events lie ahead of the log, though its clock is corrected, tells of no time at all:
 * for a while it is not read (H-13). */
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
	node->last_append_ns = mirror->clock_ns;
	mirror->stats.quarantined += batch->events;
	if (batch->events)
		deadletter(mirror, record, MIRROR_QUARANTINED,
			   "the node's events lie ahead of the log", node->name);
}

void intake_batch(struct mirror *mirror, const struct mirror_record *record)
{
	const Millrace__V1__Batch *batch = mirror->decoded.batch;
	struct intake intake = {mirror, node_find(mirror, batch->node), batch};
	struct node *node = intake.node;
	mirror->stats.events += batch->events;
	mirror->stats.heartbeats += batch->events == 0;
	if (!node) {
		refuse_batch(mirror, batch);
		return;
	}
	if (node->epoch != batch->epoch && node_had_epoch(node, batch->epoch)) {
		/* A straggler of a former start: its slots are others' by now. */
		refuse_batch(mirror, batch);
		return;
	}
	if (mirror->clock_ns < node->quarantined_until_ns) {
		quarantine(mirror, record, node);
		return;
	}
	node_epoch(&intake);
	node_clock(node, record->append_ns, batch->sent_boottime_ns, batch->sent_realtime_ns);
	node->last_append_ns = mirror->clock_ns;
	node->silent = false;
	mute_told(mirror, node, batch->sent_realtime_ns);
	if (!node_sequence(node, batch->sequence)) {
		mirror->stats.duplicate += batch->events;
		return;
	}
	node_describe(mirror, node, batch);
	node_dropped(&intake);
	node_came(&intake);
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
		    node->last_append_ns + NODE_SILENT_S * NS_PER_S > mirror->clock_ns)
			continue;
		node->silent = true;
		node->rebooted = false;
		node->incarnation++;
		put_silence(mirror, node);
	}
}
