/* Closing a pane, first half: its runs are applied node by node, in the order of the nodes' names,
 * and each node's in the order of their sequence. A node's halves stay in the cache for its runs,
 * and what comes out does not depend on the order in which they came. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ingest/state.h"

/* ---- the node's losses ---- */

/* Counts the batches of a pane before their events: each delta tells how complete the pane is. */
static void account(struct mirror *mirror, struct node *node, const struct run *run,
		    int64_t *pane_lost, bool *gap)
{
	uint64_t issued;
	if (run->epoch != node->applied_epoch) {
		numbered_begin(&node->applied, run->first_event, run->flags & RUN_WHOLE);
		if (node->applied_epoch && node->accounted_ns < node->gap_ns)
			node->gap_ns = node->accounted_ns;
		node->applied_epoch = run->epoch;
		node->applied_dropped = node->applied_sequence = 0;
	}
	if (run->sequence > node->applied_sequence)
		node->applied_sequence = run->sequence;
	int64_t lost = numbered_count(&node->applied, run->first_event, run->batch_events, &issued);
	/* What was dropped before it was numbered leaves no gap in the numbers, but counters must
	 * be healed. */
	*gap = lost > 0 || run->dropped > node->applied_dropped;
	if (*gap && node->accounted_ns < node->gap_ns)
		node->gap_ns = node->accounted_ns;
	if (run->batch_ns > node->accounted_ns)
		node->accounted_ns = run->batch_ns;
	if (run->dropped > node->applied_dropped)
		node->applied_dropped = run->dropped;
	mirror->node_received += run->batch_events;
	/* A batch that came late takes its loss back from the pane it came to: never more than came
	 * there. What is lost may be anything that the agent numbers. */
	if (__builtin_add_overflow(*pane_lost, lost, pane_lost))
		*pane_lost = INT64_MAX;
	if (lost > 0)
		node->applied_lost += (uint64_t)lost;
}

/* Key frames to come heal what was lost. */
static void mark_gapped(struct mirror *mirror, const struct node *node)
{
	for (uint32_t at = 0; at < node->index.count; at++) {
		if (!node->index.pages[at])
			continue;
		uint32_t page = node->index.pages[at] - 1;
		struct half *halves = mirror->pages.pages[page].halves;
		for (uint32_t i = 0; i < PAGE_HALVES; i++) {
			halves[i].gapped = 1;
			turn_gap(mirror, page << PAGE_SHIFT | i, &halves[i], node->gap_ns);
		}
	}
}

/* ---- resets ---- */

static void node_forget(struct mirror *mirror, struct node *node)
{
	mirror->stats.nats -= node->nats.count;
	mirror->stats.processes -= node->processes.count;
	mirror->stats.containers -= node->containers.count;
	mirror->stats.listeners -= node->listeners.count;
	table_clear(&node->listeners);
	node->news = true;
	table_clear(&node->nats);
	table_clear(&node->processes);
	table_clear(&node->containers);
	memset(node->wanted, 0, sizeof(node->wanted));
}

void page_end(struct apply *apply, const struct page_index *index, uint32_t at, uint64_t time_ns)
{
	const struct pages *pages = &apply->mirror->pages;
	while (index->pages[at]) {
		uint32_t page = index->pages[at] - 1;
		uint32_t place = (uint32_t)__builtin_ctzll(pages->pages[page].used);
		socket_end(apply, page << PAGE_SHIFT | place, CLOSE_VANISHED, time_ns);
	}
}

/* Another start of the agent: its sockets wait for what it tells. Another boot, or silence: all
 * that was is gone, and sent by the names that it had. A pid or cgroup that comes again is
 * another's. */
static void reset(struct apply *apply)
{
	struct node *node = apply->node;
	const struct run *run = apply->run;
	node->applied_incarnation = run->incarnation;
	if (!(run->flags & (RUN_REBOOTED | RUN_SILENT))) {
		orphans_make(apply);
		return;
	}
	for (uint32_t at = 0; at < node->index.count; at++)
		page_end(apply, &node->index, at, run->batch_ns);
	orphans_end(apply, UINT64_MAX);
	send_node(apply->mirror, node);
	owners_unawaited(apply->mirror, node);
	node_forget(apply->mirror, node);
	node->standing.answers_since_ns = run->batch_ns;
	if (run->flags & RUN_SILENT)
		node->first_ns = 0; /* what is older than its next word was counted before */
}

/* ---- runs ---- */

static void apply_groups(struct apply *apply)
{
	const struct run *run = apply->run;
	const uint32_t *counts = run->counts;
	const struct container_row *containers = (const struct container_row *)(run + 1);
	const struct process_row *processes =
		(const struct process_row *)(containers + counts[RUN_CONTAINERS]);
	const struct nat_row *nats = (const struct nat_row *)(processes + counts[RUN_PROCESSES]);
	const struct definition_row *definitions =
		(const struct definition_row *)(nats + counts[RUN_NATS]);
	apply_containers(apply, containers, counts[RUN_CONTAINERS]);
	apply_processes(apply, processes, counts[RUN_PROCESSES]);
	apply_nats(apply, nats, counts[RUN_NATS], false);
	apply_definitions(apply, definitions, counts[RUN_DEFINITIONS]);
	const struct retransmit_row *retransmits =
		apply_updates(apply, (void *)(definitions + counts[RUN_DEFINITIONS]));
	const struct lookup_row *lookups =
		(const struct lookup_row *)(retransmits + counts[RUN_RETRANSMITS]);
	const struct answer_row *answers =
		(const struct answer_row *)(lookups + counts[RUN_LOOKUPS]);
	const struct name_row *names = (const struct name_row *)(answers + counts[RUN_ANSWERS]);
	const struct close_row *closes = (const struct close_row *)(names + counts[RUN_NAMES]);
	apply_retransmits(apply, retransmits, counts[RUN_RETRANSMITS]);
	apply_lookups(apply, lookups, counts[RUN_LOOKUPS], answers);
	apply_names(apply, names, counts[RUN_NAMES]);
	apply_closes(apply, closes, counts[RUN_CLOSES]);
	const struct nat_row *nat_ends = (const struct nat_row *)(closes + counts[RUN_CLOSES]);
	apply_nats(apply, nat_ends, counts[RUN_NAT_ENDS], true);
	const struct exit_row *exits = (const struct exit_row *)(nat_ends + counts[RUN_NAT_ENDS]);
	apply_exits(apply, exits, counts[RUN_EXITS]);
	apply_listeners(apply, (const struct listener_row *)(exits + counts[RUN_EXITS]),
			counts[RUN_LISTENERS]);
}

static void apply_run(struct apply *apply)
{
	struct mirror *mirror = apply->mirror;
	struct node *node = apply->node;
	const struct run *run = apply->run;
	struct mirror_stats *stats = &mirror->stats;
	struct ledger *ledger = &node->standing.ledger;
	uint64_t events = run_events(run);
	ledger->pending -= events;
	apply->kind = run->flags & RUN_LATE ? PART_LATE : PART_NORMAL;
	if (run->flags & RUN_ORPHANS) {
		orphans_end(apply, mirror->pane - ORPHAN_PANES_KEPT);
		return;
	}
	if (run->incarnation > node->applied_incarnation)
		reset(apply);
	if (run->incarnation < node->applied_incarnation) {
		/* What is left of an incarnation that is over. */
		count_events(&stats->refused, &ledger->refused, events);
		return;
	}
	if (run->flags & RUN_SILENT)
		return;
	if (!node->first_ns)
		node->first_ns = run->batch_ns;
	if (run->flags & RUN_FIRST && run->zone != node->applied_zone) {
		node->applied_zone = run->zone;
		node->recheck = true;
	}
	apply->refused = 0;
	apply_groups(apply);
	count_events(&stats->refused, &ledger->refused, apply->refused);
	if (run->flags & RUN_LATE)
		count_events(&stats->late, &ledger->late, events - apply->refused);
	else
		count_events(&stats->aggregated, &ledger->aggregated, events - apply->refused);
}

/* ---- deltas in the making ---- */

/* What is held from panes before goes on growing. */
static void resume_held(struct mirror *mirror, struct node *node)
{
	struct part *parts = mirror->parts.items;
	struct delta *waiting = mirror->waiting.items;
	for (uint32_t next = node->held; next; next = parts[next - 1].next) {
		const struct part *part = &parts[next - 1];
		struct delta *delta = &waiting[next - 1];
		delta->node_received = mirror->node_received;
		delta->node_lost = mirror->node_lost;
		if (part->half & LINGERING)
			continue;
		if (part->lookup) {
			lookup_resume(mirror, next - 1);
			continue;
		}
		uint32_t *place = &mirror->scratch.parts[part->kind][part->slot];
		*(uint32_t **)queue_add(&mirror->made, sizeof(place)) = place;
		*place = WAITING | next;
	}
}

/* The node is done: its deltas that have their places go out. The next node's slots are others. */
static void deltas_out(struct mirror *mirror)
{
	const struct mirror_sinks *sinks = &mirror->options.sinks;
	uint32_t *const *made = mirror->made.items;
	for (size_t i = 0; i < mirror->made.count; i++)
		*made[i] = 0;
	mirror->made.count = 0;
	if (mirror->deltas.count)
		sinks->deltas(sinks->context, mirror->deltas.items, mirror->deltas.count);
	mirror->deltas.count = 0;
}

/* ---- nodes ---- */

static void account_runs(struct mirror *mirror, struct node *node, struct pane *pane,
			 uint32_t first, uint32_t end)
{
	int64_t lost = 0;
	mirror->node_received = 0;
	node->gap_ns = UINT64_MAX;
	for (uint32_t i = first; i < end; i++) {
		struct run *run = pane->runs[i].run;
		bool gap = false;
		if (run->flags & RUN_FIRST)
			account(mirror, node, run, &lost, &gap);
		run->flags |= gap ? RUN_GAP : 0;
	}
	/* What was told to be lost and came late is not issued once more. */
	if (lost < 0)
		mirror->node_received -= (uint32_t)-lost;
	mirror->node_lost = lost < 0 ? 0 : lost > UINT32_MAX ? UINT32_MAX : (uint32_t)lost;
	node_arrived(node, mirror->pane, mirror->node_received, mirror->node_lost);
}

static void apply_node(struct mirror *mirror, struct node *node, struct pane *pane, uint32_t first,
		       uint32_t end)
{
	mirror->node = (uint16_t)node->place;
	account_runs(mirror, node, pane, first, end);
	resume_held(mirror, node);
	for (uint32_t i = first; i < end; i++) {
		struct apply apply = {.mirror = mirror, .node = node, .run = pane->runs[i].run};
		if (apply.run->flags & RUN_GAP)
			mark_gapped(mirror, node);
		apply_run(&apply);
	}
	node->pending -= end - first;
	send_node(mirror, node);
	deltas_out(mirror);
}

static void rank_nodes(struct mirror *mirror)
{
	struct node **sorted = queue_room(&mirror->counts, mirror->nodes_count, sizeof(*sorted));
	size_t count = nodes_by_name(mirror, sorted);
	for (size_t i = 0; i < count; i++)
		sorted[i]->rank = (uint32_t)i;
	mirror->ranks_stale = false;
}

static int compare_runs(const void *a, const void *b)
{
	const struct run_place *first = a, *second = b;
	if (first->rank != second->rank)
		return first->rank < second->rank ? -1 : 1;
	if (first->incarnation != second->incarnation)
		return first->incarnation < second->incarnation ? -1 : 1;
	if (first->sequence != second->sequence)
		return first->sequence < second->sequence ? -1 : 1;
	return first->order < second->order ? -1 : first->order > second->order;
}

static void apply_pane(struct mirror *mirror, struct pane *pane)
{
	if (mirror->ranks_stale)
		rank_nodes(mirror);
	for (uint32_t i = 0; i < pane->runs_count; i++)
		pane->runs[i].rank = mirror->nodes[pane->runs[i].node]->rank;
	qsort(pane->runs, pane->runs_count, sizeof(*pane->runs), compare_runs);
	for (uint32_t first = 0, end; first < pane->runs_count; first = end) {
		for (end = first; end < pane->runs_count; end++)
			if (pane->runs[end].node != pane->runs[first].node)
				break;
		apply_node(mirror, mirror->nodes[pane->runs[first].node], pane, first, end);
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
	for (uint32_t i = 0; i < table->count;) {
		uint8_t *entry = table_at(table, i);
		if (!object_expired(mirror, *(uint64_t *)(entry + seen_at))) {
			i++;
			continue;
		}
		table_remove(table, entry); /* brings another here */
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
	uint32_t listeners = node->listeners.count;
	sweep_table(mirror, &node->listeners, offsetof(struct listener_entry, seen_ns),
		    &mirror->stats.listeners);
	node->news |= node->listeners.count != listeners;
	socket_follow(mirror, node);
	if (node->silent && !node->sockets && !node->held && !node->pending &&
	    node->applied_incarnation == node->incarnation)
		node_leave(mirror, node);
}

/* Nodes that told nothing in this pane: of theirs the cluster may have told. */
static void recheck_nodes(struct mirror *mirror)
{
	bool any = false;
	for (uint32_t i = 0; i < mirror->nodes_count && !any; i++)
		any = mirror->nodes[i] && owners_due(mirror, mirror->nodes[i]);
	if (!any)
		return;
	struct node **sorted = queue_room(&mirror->counts, mirror->nodes_count, sizeof(*sorted));
	size_t count = nodes_by_name(mirror, sorted);
	for (size_t i = 0; i < count; i++)
		if (owners_due(mirror, sorted[i]))
			send_node(mirror, sorted[i]);
}

/* By its name, not by its place, which depends on who came first. */
static void sweep(struct mirror *mirror)
{
	for (uint32_t i = 0; i < mirror->nodes_count; i++) {
		struct node *node = mirror->nodes[i];
		if (node && (mirror->pane + node->name_id) % SWEEP_PANES == 0)
			sweep_node(mirror, node);
	}
}

void mirror_halves(struct mirror *mirror, uint64_t number)
{
	orphans_due(mirror, number);
	struct pane *pane = panes_get(&mirror->panes, number);
	mirror->pane = number;
	mirror->marks = touch_marks(number);
	mirror->servers.count = 0;
	send_held(mirror);
	names_send_held(mirror);
	mutes_take(mirror);
	metadata_tell(mirror);
	rules_tell(mirror);
	metadata_changes(mirror);
	if (pane) {
		apply_pane(mirror, pane);
		panes_clear(&mirror->panes, pane);
	}
	recheck_nodes(mirror);
	sweep(mirror);
	servers_forget(mirror);
	answers_sweep(mirror);
	send_all(mirror);
}
