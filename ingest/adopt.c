/* Halves whose agent began anew on the same boot. Their sockets live on, but the new agent
 * numbers its slots afresh and tells each as one that existed. So at its first word the node's
 * pages become orphans: they leave the slots and stay where they are, with all that their halves
 * have; labels still find them. Until their time is over a definition that was seen alike, from the
 * same side, moves its half into the new slot; the join hears of the move.
 *
 *   node.index     slot / 64 ─► page ─┐ restart            ┌─► node.index, half by half: adopted
 *   node.orphans   0, 1, 2, ..   ◄────┘ page by page ──────┴─► end: nobody came, or contradicted
 *
 * An orphan's slot is one that no agent can name, so what is kept by slot goes on. Bounded: as many
 * slots as a node may have; halves of pages beyond that end. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "ingest/state.h"

enum {
	ORPHANS_FROM = DECODE_SLOTS_MAX >> PAGE_SHIFT, /* page number */
	ORPHAN_PAGES = ORPHANS_FROM,
	PLACES_MIN = 16,
	PROBES_MAX = 128, /* from its print's place on; a quarter to a half are taken */
};

static const uint32_t GONE = UINT32_MAX;

struct restart {
	uint64_t pane;
	uint64_t time_ns;
};

struct orphans {
	struct page_index index;
	struct restart *restarts; /* that made the index's pages orphans */
	uint32_t restarts_count;
	uint32_t *places; /* by print, linear probing: half + 1; 0: none; or GONE */
	uint32_t places_mask, places_used;
	uint64_t oldest_pane; /* of restarts */
};

struct page_index *slot_pages(struct node *node, uint32_t slot)
{
	return slot < DECODE_SLOTS_MAX ? &node->index : &node->orphans->index;
}

/* ---- all of a node's ---- */

void orphans_free(struct orphans *orphans)
{
	if (!orphans)
		return;
	memory_free(orphans->index.pages);
	memory_free(orphans->index.halves);
	memory_free(orphans->restarts);
	memory_free(orphans->places);
	memory_free(orphans);
}

static struct orphans *orphans_of(struct mirror *mirror, struct node *node)
{
	if (node->orphans)
		return node->orphans;
	node->orphans = memory_zeroed(1, sizeof(*node->orphans));
	node->orphans->index.first = ORPHANS_FROM;
	node->orphans->oldest_pane = UINT64_MAX;
	mirror->orphaned++;
	return node->orphans;
}

/* Whoever makes the prints of many sockets meet has some of his own forgotten. */
static void place_add(struct mirror *mirror, struct orphans *orphans, uint32_t index)
{
	uint32_t print = pages_at(&mirror->pages, index)->print;
	for (uint32_t i = 0; i < PROBES_MAX; i++) {
		uint32_t *place = &orphans->places[(print + i) & orphans->places_mask];
		if (*place)
			continue;
		*place = index + 1;
		orphans->places_used++;
		return;
	}
	mirror->stats.orphans_missed++;
}

static uint32_t page_count(const struct mirror *mirror, uint32_t page)
{
	return page ? (uint32_t)__builtin_popcountll(mirror->pages.pages[page - 1].used) : 0;
}

static uint32_t index_count(const struct mirror *mirror, const struct page_index *index)
{
	uint32_t count = 0;
	for (uint32_t at = 0; at < index->count; at++)
		count += page_count(mirror, index->pages[at]);
	return count;
}

static void page_add(struct mirror *mirror, struct orphans *orphans, uint32_t page)
{
	for (uint64_t used = mirror->pages.pages[page - 1].used; used; used &= used - 1)
		place_add(mirror, orphans,
			  (page - 1) << PAGE_SHIFT | (uint32_t)__builtin_ctzll(used));
}

/* Anew, with room for as many again: a node whose agent keeps starting does not make them all anew
 * each time. more: that are to be added. */
static void places_make(struct mirror *mirror, struct orphans *orphans, uint32_t more)
{
	uint32_t count = index_count(mirror, &orphans->index) + more, capacity = PLACES_MIN;
	while (capacity < 4 * count)
		capacity *= 2;
	memory_free(orphans->places);
	orphans->places = memory_zeroed(capacity, sizeof(*orphans->places));
	orphans->places_mask = capacity - 1;
	orphans->places_used = 0;
	for (uint32_t at = 0; at < orphans->index.count; at++)
		if (orphans->index.pages[at])
			page_add(mirror, orphans, orphans->index.pages[at]);
}

static bool places_have_room(const struct orphans *orphans, uint32_t more)
{
	return orphans->places && 2 * (orphans->places_used + more) <= orphans->places_mask + 1;
}

/* After pages went. */
static void orphans_settle(struct mirror *mirror, struct node *node)
{
	struct orphans *orphans = node->orphans;
	if (!index_count(mirror, &orphans->index)) {
		orphans_free(orphans);
		node->orphans = NULL;
		mirror->orphaned--;
		return;
	}
	places_make(mirror, orphans, 0);
	orphans->oldest_pane = UINT64_MAX;
	for (uint32_t at = 0; at < orphans->index.count; at++)
		if (orphans->index.pages[at] && orphans->restarts[at].pane < orphans->oldest_pane)
			orphans->oldest_pane = orphans->restarts[at].pane;
}

/* ---- slots ---- */

/* What the pane has of the half so far goes along. */
static void slot_move(struct mirror *mirror, uint32_t index, uint32_t from, uint32_t to)
{
	struct scratch *scratch = &mirror->scratch;
	for (int kind = 0; kind < PART_KINDS; kind++) {
		uint32_t made = scratch->parts[kind][from];
		if (!made)
			continue;
		uint32_t *place = &scratch->parts[kind][to];
		*(uint32_t **)queue_add(&mirror->made, sizeof(place)) = place;
		*place = made;
		scratch->parts[kind][from] = 0;
		if (!(made & WAITING))
			continue;
		struct part *part = &((struct part *)mirror->parts.items)[(made & ~WAITING) - 1];
		part->half = index;
		part->slot = to;
	}
	lookups_move(mirror, from, to, index);
	scratch->openings[to] = scratch->openings[from];
	scratch->openings[from] = 0;
}

/* ---- a restart ---- */

/* What it moves until its next absolute counters is not told in differences. */
static void half_orphan(const struct apply *apply, uint32_t index, struct half *half)
{
	const struct node *node = apply->node;
	uint64_t since_ns = node->gap_ns < node->accounted_ns ? node->gap_ns : node->accounted_ns;
	half->gapped = 1;
	turn_gap(apply->mirror, index, half, since_ns);
}

static void page_orphan(struct apply *apply, uint32_t from, uint32_t to)
{
	struct mirror *mirror = apply->mirror;
	struct page_index *index = &apply->node->index;
	struct orphans *orphans = apply->node->orphans;
	uint32_t number = index->pages[from] - 1;
	struct page *page = &mirror->pages.pages[number];
	page_index_reach(&orphans->index, to);
	if (orphans->restarts_count < orphans->index.count) {
		orphans->restarts_count = orphans->index.count;
		orphans->restarts = memory_resize(orphans->restarts, orphans->restarts_count,
						  sizeof(*orphans->restarts));
	}
	orphans->restarts[to] = (struct restart){mirror->pane, apply->run->batch_ns};
	orphans->index.pages[to] = number + 1;
	orphans->index.halves[to] = page->halves;
	index->pages[from] = 0;
	index->halves[from] = NULL;
	page->number = ORPHANS_FROM + to;
	for (uint64_t used = page->used; used; used &= used - 1) {
		uint32_t i = (uint32_t)__builtin_ctzll(used);
		half_orphan(apply, number << PAGE_SHIFT | i, &page->halves[i]);
		slot_move(mirror, number << PAGE_SHIFT | i, from << PAGE_SHIFT | i,
			  page->number << PAGE_SHIFT | i);
	}
	page_add(mirror, orphans, number + 1);
}

void orphans_make(struct apply *apply)
{
	struct mirror *mirror = apply->mirror;
	struct node *node = apply->node;
	uint32_t count = index_count(mirror, &node->index), to = 0;
	if (!count)
		return;
	struct orphans *orphans = orphans_of(mirror, node);
	if (!places_have_room(orphans, count))
		places_make(mirror, orphans, count);
	if (orphans->oldest_pane > mirror->pane)
		orphans->oldest_pane = mirror->pane;
	for (uint32_t from = 0; from < node->index.count; from++) {
		if (!node->index.pages[from])
			continue;
		while (to < orphans->index.count && orphans->index.pages[to])
			to++;
		if (to < ORPHAN_PAGES)
			page_orphan(apply, from, to);
		else
			page_end(apply, &node->index, from, apply->run->batch_ns);
	}
}

/* ---- their end ---- */

/* The socket was last known to live when its agent was. */
void orphans_end(struct apply *apply, uint64_t until_pane)
{
	struct orphans *orphans = apply->node->orphans;
	if (!orphans)
		return;
	for (uint32_t at = 0; at < orphans->index.count; at++)
		if (orphans->index.pages[at] && orphans->restarts[at].pane <= until_pane)
			page_end(apply, &orphans->index, at, orphans->restarts[at].time_ns);
	orphans_settle(apply->mirror, apply->node);
}

/* A run of the pane that is about to be closed ends those whose time is over. */
void orphans_due(struct mirror *mirror, uint64_t pane)
{
	for (uint32_t i = 0; mirror->orphaned && i < mirror->nodes_count; i++) {
		struct node *node = mirror->nodes[i];
		if (!node || !node->orphans ||
		    node->orphans->oldest_pane + ORPHAN_PANES_KEPT > pane)
			continue;
		struct run *run = panes_room(&mirror->panes, pane, sizeof(*run));
		if (!run)
			return; /* the next pane tries again */
		*run = (struct run){
			.node = node->place,
			.incarnation = node->applied_incarnation,
			.epoch = node->applied_epoch,
			.flags = RUN_ORPHANS,
		};
		panes_keep(&mirror->panes, pane, sizeof(*run), 0);
		node->pending++;
	}
}

/* ---- adoption ---- */

/* Only their network namespace, which nobody tells, may part two sockets that were seen alike:
 * then their owner must. Returns its place; NULL if it is none's, or unclear whose. */
static uint32_t *orphan_find(struct apply *apply, const struct definition_row *row)
{
	const struct node *node = apply->node;
	const struct orphans *orphans = node->orphans;
	const uint32_t print = seen_print(&row->seen);
	uint32_t *own = NULL, *other = NULL, owns = 0, others = 0;
	for (uint32_t i = 0; i < PROBES_MAX; i++) {
		uint32_t *place = &orphans->places[(print + i) & orphans->places_mask];
		if (!*place)
			break;
		if (*place == GONE)
			continue;
		const struct half *half = pages_at(&apply->mirror->pages, *place - 1);
		const struct owner *owner = &node->owners[half->owner];
		if (half->print != print || half->side != (row->side == SIDE_SERVER))
			continue;
		if ((row->pid == 0 || row->pid == owner->pid) && row->cgroup == owner->cgroup) {
			own = place;
			owns++;
		} else {
			other = place;
			others++;
		}
	}
	return owns == 1 ? own : owns == 0 && others == 1 ? other : NULL;
}

static void orphan_end(struct apply *apply, uint32_t index)
{
	const struct orphans *orphans = apply->node->orphans;
	uint32_t page = apply->mirror->pages.pages[index >> PAGE_SHIFT].number;
	socket_end(apply, index, CLOSE_VANISHED, orphans->restarts[page - ORPHANS_FROM].time_ns);
}

/* Into the definition's slot; returns false when there is no page for it. */
static bool orphan_move(struct apply *apply, uint32_t from, const struct definition_row *row,
			uint64_t time_ns, uint32_t *to)
{
	struct mirror *mirror = apply->mirror;
	struct node *node = apply->node;
	uint32_t sequence = (uint32_t)apply->run->sequence;
	struct half *taken =
		pages_take(&mirror->pages, &node->index, row->slot, sequence - WINDOW_BATCHES, to);
	if (!taken)
		return false;
	const struct half *half = pages_at(&mirror->pages, from);
	const struct half_ref former = {from, (uint16_t)mirror->options.source, half->generation};
	uint16_t generation = taken->generation;
	*taken = *half;
	taken->generation = generation;
	taken->sequence = sequence & HALF_SEQUENCE_MASK;
	contributions_move(mirror, from, *to);
	turns_move(mirror, from, *to);
	slot_move(mirror, *to, half_slot(&mirror->pages, from), row->slot);
	pages_give(&mirror->pages, &node->orphans->index, from);
	socket_moved(apply, *to, taken, &former, row, time_ns);
	mirror->stats.adopted++;
	return true;
}

uint32_t orphan_adopt(struct apply *apply, const struct definition_row *row, uint64_t time_ns)
{
	uint32_t *place = orphan_find(apply, row), index = NO_PLACE;
	if (!place)
		return NO_PLACE;
	uint32_t from = *place - 1;
	bool same = row->flags & HALF_EXISTED &&
		    socket_goes_on(pages_at(&apply->mirror->pages, from), &row->total);
	if (!same)
		orphan_end(apply, from);
	else if (!orphan_move(apply, from, row, time_ns, &index))
		return NO_PLACE;
	*place = GONE;
	return index;
}
