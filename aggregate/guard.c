/* The cardinality guard: rows_max rows live at once. What cannot have a row counts in
 *
 *   1. its edge's own part named `_other` (lane `_other`, or instance `_other`), if its edge lives;
 *   2. else the edge `_other` -> its server, which takes all ports and protocols;
 *   3. else the edge `_other` -> `_other`, whose four rows always have room.
 *
 * Rows of their own get rows_max less four less an eighth; of the eighth, one half is for rows of 1
 * and the other for edges of 2, four rows each. One edge gets an eighth of rows_max at most (one
 * with a million clients must not push the others out). Each scope's contributions are placed
 * alone, so totals stay exact in every scope.
 *
 * Who gets a row does not depend on the order of contributions: in a pane that began with room
 * every newcomer gets a row, and at the pane's end (or when memory for half as many more is used
 * up) the newcomers with the smallest (edge id, scope, part id) keep theirs; the others' sums move
 * to where they fold. So it goes with rows of 1 and then with edges of 2. Ids are hashes, so that
 * is a fair draw, and the smallest k of a set are the smallest k of what is left of it after any k
 * larger ones were taken out. In a pane that began full nobody gets one. guard_demote() makes those
 * stay that matter. Samples of round-trip times stay with the edge in which they were seen. */
#include <stdlib.h>
#include <string.h>

#include "aggregate/other.h"
#include "aggregate/state.h"

enum {
	GLOBAL_ROWS = SCOPES, /* of `_other` -> `_other` */
	SHARE = 8,	      /* eighths: enough room to fold into, little enough to lose */
};

static uint32_t guard_share(const struct aggregate *aggregate)
{
	return aggregate->options.rows_max / SHARE;
}

static uint32_t guard_room(const struct aggregate *aggregate)
{
	return aggregate->options.rows_max - GLOBAL_ROWS - guard_share(aggregate);
}

/* --- placing --- */

static bool edge_is_global(const struct aggregate *aggregate, uint32_t edge)
{
	return aggregate->edges[edge].edge.id == aggregate->other.id;
}

static uint32_t guard_global(struct aggregate *aggregate)
{
	uint32_t edge = edge_find(aggregate, aggregate->other.id);
	return edge ? edge : edge_make(aggregate, &aggregate->other, true);
}

/* Where an edge without a row counts. */
static uint32_t fold_edge(struct aggregate *aggregate, const struct edge *edge)
{
	struct edge others = other_edge_of(edge);
	if (others.id == edge->id || edge->id == aggregate->other.id)
		return guard_global(aggregate);
	uint32_t row = edge_find(aggregate, others.id);
	if (!row && aggregate->edges_count >= EDGES_MAX - 2)
		return guard_global(aggregate);
	return row ? row : edge_make(aggregate, &others, true);
}

static uint32_t fold_lane(struct aggregate *aggregate, uint32_t edge)
{
	struct edge above = aggregate->edges[edge].edge;
	struct lane other = other_lane();
	uint32_t lane = lane_know(aggregate, &above, &other);
	if (!aggregate->lanes[lane].live)
		lane_enter(aggregate, lane, edge, true);
	return lane;
}

static uint32_t fold_part(struct aggregate *aggregate, uint32_t edge, enum side side)
{
	uint32_t part = aggregate->edges[edge].others[side];
	if (part)
		return part;
	part = part_enter(aggregate, edge, 0, side, true);
	aggregate->edges[edge].others[side] = part;
	return part;
}

static void guard_folds(struct aggregate *aggregate)
{
	aggregate->stats.folded++;
	aggregate->pressed = true;
}

static bool edge_is_closed(const struct aggregate *aggregate, uint32_t edge)
{
	const struct edge_row *row = &aggregate->edges[edge];
	return aggregate->full || row->is_other ||
	       row->count - row->fresh_count >= guard_share(aggregate);
}

static void guard_crowd(struct aggregate *aggregate, uint32_t edge)
{
	if (aggregate->edges[edge].count > guard_share(aggregate))
		aggregate->crowded = true;
}

uint32_t guard_edge(struct aggregate *aggregate, const struct edge *edge)
{
	uint32_t row = edge_find(aggregate, edge->id);
	if (row)
		return row;
	if (edge->id == aggregate->other.id)
		return guard_global(aggregate);
	if (!aggregate->full && aggregate->edges_count < EDGES_MAX / 2)
		return edge_make(aggregate, edge, false);
	return fold_edge(aggregate, edge);
}

uint32_t guard_lane(struct aggregate *aggregate, uint32_t lane)
{
	if (aggregate->lanes[lane].live)
		return lane;
	struct edge above = aggregate->lanes[lane].edge;
	uint32_t edge = guard_edge(aggregate, &above);
	bool own = aggregate->edges[edge].edge.id == above.id;
	if (own && !edge_is_closed(aggregate, edge)) {
		lane_enter(aggregate, lane, edge, false);
		guard_crowd(aggregate, edge);
		return lane;
	}
	guard_folds(aggregate);
	return fold_lane(aggregate, edge);
}

uint32_t guard_part(struct aggregate *aggregate, uint32_t edge, uint32_t instance, enum side side)
{
	uint64_t key = part_key(edge, instance, side);
	uint32_t home = parts_home(&aggregate->parts, key);
	uint32_t part = instance ? parts_find(&aggregate->parts, key, home) : 0;
	if (part)
		return part;
	if (instance && !edge_is_closed(aggregate, edge)) {
		part = part_enter(aggregate, edge, instance, side, false);
		guard_crowd(aggregate, edge);
		return part;
	}
	guard_folds(aggregate);
	return fold_part(aggregate, edge, side);
}

void guard_begin(struct aggregate *aggregate)
{
	for (uint32_t i = 0; i < aggregate->fresh_lanes.count; i++) {
		struct lane_row *lane = &aggregate->lanes[aggregate->fresh_lanes.items[i]];
		lane->fresh = false;
		aggregate->edges[lane->live].fresh_count = 0;
	}
	for (uint32_t i = 0; i < aggregate->fresh_parts.count; i++) {
		struct part *part = &aggregate->parts.rows[aggregate->fresh_parts.items[i]];
		part->fresh = 0;
		aggregate->edges[part->edge].fresh_count = 0;
	}
	aggregate->fresh_lanes.count = aggregate->fresh_parts.count = 0;
	aggregate->full = aggregate->regular >= guard_room(aggregate);
}

/* --- moving what has no row of its own after all --- */

static uint32_t samples_joined(struct aggregate *aggregate, uint32_t first, uint32_t second)
{
	if (!first)
		return second;
	uint32_t last = first;
	while (aggregate->samples[last].next)
		last = aggregate->samples[last].next;
	aggregate->samples[last].next = second;
	return first;
}

static void event_add(struct event *event, const struct event *other)
{
	event->opened += other->opened;
	event->closed += other->closed;
	event->joined += other->joined;
	event->connect_count += other->connect_count;
	for (unsigned i = 0; i < 4; i++)
		event->failed[i] += other->failed[i];
	event->resets += other->resets;
	event->timeouts += other->timeouts;
	event->connect_us += other->connect_us;
	event->received += other->received;
	event->issued += other->issued;
}

static struct event event_taken(struct aggregate *aggregate, uint32_t slot, enum scope scope,
				uint32_t row)
{
	struct event none = {0};
	if (!slot || slot >= aggregate->events_count)
		return none;
	struct event *event = &aggregate->events[slot];
	if (event->row != row || event->scope != scope)
		return none;
	none = *event;
	event->row = 0;
	return none;
}

/* A lane's connect times from the list of one edge to that of another. */
static void move_samples(struct aggregate *aggregate, uint32_t list, uint32_t from, uint32_t to)
{
	struct sample *samples = aggregate->samples;
	for (; list; list = samples[list].next) {
		uint32_t *at = &aggregate->edges[from].samples;
		while (*at && (samples[*at].code != samples[list].code ||
			       samples[*at].late != samples[list].late))
			at = &samples[*at].next;
		uint32_t moved = *at;
		if (!moved) /* the edge's went before */
			return;
		*at = samples[moved].next;
		samples[moved].next = aggregate->edges[to].samples;
		aggregate->edges[to].samples = moved;
	}
}

static void move_lane(struct aggregate *aggregate, uint32_t from, uint32_t to)
{
	struct lane_row *lane = &aggregate->lanes[from], *other = &aggregate->lanes[to];
	struct sum *sums = aggregate->sums.sums;
	if (lane->live != other->live)
		move_samples(aggregate, lane->samples, lane->live, other->live);
	sum_add(&sums[other->sum], &sums[lane->sum]);
	other->samples = samples_joined(aggregate, lane->samples, other->samples);
	if (lane->pane) {
		uint32_t place = pane_lane_of(aggregate, to);
		struct pane_lane *pane = &aggregate->pane_lanes[lane->pane];
		struct event event = event_taken(aggregate, pane->event, SCOPE_LANE, from);
		struct sum sum = {0};
		pane->event = 0;
		pane_lane_into(aggregate, pane, &sum);
		sums_give(&aggregate->sums, pane->wide);
		*pane = (struct pane_lane){0};
		pane = &aggregate->pane_lanes[place];
		sum_add(pane_lane_wide(aggregate, pane), &sum);
		if (event.row)
			event_add(event_of(aggregate, &pane->event, SCOPE_LANE, to, pane->edge),
				  &event);
	}
	lane_leave(aggregate, from);
}

static void move_part(struct aggregate *aggregate, uint32_t from, uint32_t to)
{
	struct part *part = &aggregate->parts.rows[from], *other = &aggregate->parts.rows[to];
	enum scope scope = part->side == SIDE_CLIENT ? SCOPE_CLIENT : SCOPE_SERVER;
	struct event event = event_taken(aggregate, part->event, scope, from);
	struct sum sum = {0};
	part_into(aggregate, part, &sum);
	sum_add(part_wide(aggregate, other), &sum);
	other->samples = samples_joined(aggregate, part->samples, other->samples);
	if (event.row)
		event_add(event_of(aggregate, &other->event, scope, to, other->edge), &event);
	part_leave(aggregate, from);
}

static void unlink_lane(struct aggregate *aggregate, uint32_t lane)
{
	uint32_t *at = &aggregate->edges[aggregate->lanes[lane].live].lanes;
	while (*at != lane)
		at = &aggregate->lanes[*at].next;
	*at = aggregate->lanes[lane].next;
}

static void unlink_part(struct aggregate *aggregate, uint32_t row)
{
	const struct part *part = &aggregate->parts.rows[row];
	uint32_t *at = &aggregate->edges[part->edge].parts[part->side];
	while (*at != row)
		at = &aggregate->parts.rows[*at].next;
	*at = part->next;
}

static void move_frozen(struct aggregate *aggregate, const struct frozen *from, struct frozen *to)
{
	if (!from->bytes)
		return;
	struct thawed moved = {0};
	frozen_thaw(from, &moved);
	frozen_thaw(to, &aggregate->thawed);
	aggregate->stats.saturated += thawed_add(&aggregate->thawed, &moved);
	frozen_freeze(to, &aggregate->thawed);
	thawed_done(&moved);
}

/* All of the edge but its row, which edge_remove() takes. Returns where it went. */
static uint32_t move_edge(struct aggregate *aggregate, uint32_t edge)
{
	struct edge identity = aggregate->edges[edge].edge;
	uint32_t to = fold_edge(aggregate, &identity);
	struct edge_row *row = &aggregate->edges[edge], *other = &aggregate->edges[to];
	other->samples = samples_joined(aggregate, row->samples, other->samples);
	row->samples = 0;
	for (uint32_t lane; (lane = aggregate->edges[edge].lanes) != 0;) {
		aggregate->edges[edge].lanes = aggregate->lanes[lane].next;
		move_lane(aggregate, lane, fold_lane(aggregate, to));
	}
	for (unsigned side = 0; side < 2; side++)
		for (uint32_t part; (part = aggregate->edges[edge].parts[side]) != 0;) {
			aggregate->edges[edge].parts[side] = aggregate->parts.rows[part].next;
			move_part(aggregate, part, fold_part(aggregate, to, side));
		}
	row = &aggregate->edges[edge];
	other = &aggregate->edges[to];
	move_frozen(aggregate, &row->minute, &other->minute);
	move_frozen(aggregate, &row->hour, &other->hour);
	return to;
}

/* --- settling --- */

struct newcomer {
	uint64_t edge_id, sub_id;
	uint32_t row;
	uint8_t scope;
	bool leaves;
};

static int compare_newcomers(const void *a, const void *b)
{
	const struct newcomer *left = a, *right = b;
	if (left->edge_id != right->edge_id)
		return left->edge_id < right->edge_id ? -1 : 1;
	if (left->scope != right->scope)
		return left->scope < right->scope ? -1 : 1;
	return (left->sub_id > right->sub_id) - (left->sub_id < right->sub_id);
}

/* Rows of their own, or rows that stand for others of their edge. */
static struct newcomer *newcomers(const struct aggregate *aggregate, bool folded, uint32_t *count)
{
	const struct list *edges = &aggregate->fresh_edges, *lanes = &aggregate->fresh_lanes,
			  *parts = &aggregate->fresh_parts;
	struct newcomer *all =
		memory_zeroed((size_t)edges->count + lanes->count + parts->count, sizeof(*all));
	*count = 0;
	for (uint32_t i = 0; i < edges->count; i++) {
		const struct edge_row *edge = &aggregate->edges[edges->items[i]];
		if (!edge->folded && !folded)
			all[(*count)++] = (struct newcomer){edge->edge.id, 0, edges->items[i],
							    SCOPE_EDGE, false};
	}
	for (uint32_t i = 0; i < lanes->count; i++) {
		const struct lane_row *lane = &aggregate->lanes[lanes->items[i]];
		if (lane->folded == folded && !aggregate->edges[lane->live].is_other)
			all[(*count)++] = (struct newcomer){lane->edge.id, lane->lane.id,
							    lanes->items[i], SCOPE_LANE, false};
	}
	for (uint32_t i = 0; i < parts->count; i++) {
		const struct part *part = &aggregate->parts.rows[parts->items[i]];
		uint8_t scope = part->side == SIDE_CLIENT ? SCOPE_CLIENT : SCOPE_SERVER;
		if (part->folded == folded && !aggregate->edges[part->edge].is_other)
			all[(*count)++] =
				(struct newcomer){aggregate->edges[part->edge].edge.id,
						  instance_at(aggregate, part->instance)->id,
						  parts->items[i], scope, false};
	}
	qsort(all, *count, sizeof(*all), compare_newcomers);
	return all;
}

static uint32_t newcomer_edge(const struct aggregate *aggregate, const struct newcomer *newcomer)
{
	if (newcomer->scope == SCOPE_EDGE)
		return newcomer->row;
	return newcomer->scope == SCOPE_LANE ? aggregate->lanes[newcomer->row].live
					     : aggregate->parts.rows[newcomer->row].edge;
}

/* Who stays: in order, as long as the edge's share and the rows last. */
static void settle_choose(const struct aggregate *aggregate, struct newcomer *all, uint32_t count)
{
	uint32_t live = aggregate->regular - count, room = guard_room(aggregate), shared = 0;
	for (uint32_t i = 0; i < count; i++) {
		struct newcomer *newcomer = &all[i];
		const struct edge_row *edge = &aggregate->edges[newcomer_edge(aggregate, newcomer)];
		if (i == 0 || all[i - 1].edge_id != newcomer->edge_id)
			shared = edge->count - edge->fresh_count;
		if (newcomer->scope != SCOPE_EDGE && shared++ >= guard_share(aggregate))
			newcomer->leaves = true;
		else if (live >= room)
			newcomer->leaves = true;
		else
			live++;
	}
}

static void settle_samples(struct aggregate *aggregate, const struct list *moved)
{
	for (uint32_t i = aggregate->srtt_pane; moved->count && i < aggregate->srtt_count; i++) {
		uint32_t edge = aggregate->srtt[i] >> 12;
		if (edge < moved->count && moved->items[edge])
			aggregate->srtt[i] =
				moved->items[edge] << 12 | (aggregate->srtt[i] & 0xfff);
	}
}

/* Notes by edge where it went. */
static void settle_edge(struct aggregate *aggregate, uint32_t edge, struct list *moved)
{
	while (moved->count <= edge)
		list_add(moved, 0);
	moved->items[edge] = move_edge(aggregate, edge);
}

static void settle_part(struct aggregate *aggregate, const struct newcomer *newcomer, uint32_t edge)
{
	if (newcomer->scope == SCOPE_LANE) {
		unlink_lane(aggregate, newcomer->row);
		move_lane(aggregate, newcomer->row, fold_lane(aggregate, edge));
	} else {
		enum side side = newcomer->scope == SCOPE_CLIENT ? SIDE_CLIENT : SIDE_SERVER;
		unlink_part(aggregate, newcomer->row);
		move_part(aggregate, newcomer->row, fold_part(aggregate, edge, side));
	}
}

/* Edges leave their places after their samples have moved. */
static void settle_leave(struct aggregate *aggregate, const struct list *moved)
{
	settle_samples(aggregate, moved);
	for (uint32_t edge = 0; edge < moved->count; edge++)
		if (moved->items[edge])
			edge_remove(aggregate, edge);
}

static void settle_own(struct aggregate *aggregate)
{
	struct list moved = {0};
	uint32_t count;
	struct newcomer *all = newcomers(aggregate, false, &count);
	settle_choose(aggregate, all, count);
	for (uint32_t i = 0; i < count; i++) {
		if (!all[i].leaves)
			continue;
		uint32_t edge = edge_find(aggregate, all[i].edge_id);
		guard_folds(aggregate);
		if (edge < moved.count && moved.items[edge])
			continue;
		if (all[i].scope == SCOPE_EDGE)
			settle_edge(aggregate, edge, &moved);
		else
			settle_part(aggregate, &all[i], edge);
	}
	settle_leave(aggregate, &moved);
	free(moved.items);
	free(all);
}

/* Rows of 1: the first of the newcomers stay. */
static void settle_others(struct aggregate *aggregate)
{
	uint32_t count, room = guard_share(aggregate) / 2;
	struct newcomer *all = newcomers(aggregate, true, &count);
	uint32_t leave = aggregate->folded - room < count ? aggregate->folded - room : count;
	for (uint32_t i = count - leave; i < count; i++) {
		uint32_t edge = edge_find(aggregate, all[i].edge_id);
		struct edge above = aggregate->edges[edge].edge;
		settle_part(aggregate, &all[i], fold_edge(aggregate, &above));
	}
	free(all);
}

static uint32_t servers_room(const struct aggregate *aggregate)
{
	return guard_share(aggregate) / 2 / SCOPES;
}

/* Edges of 2: the same. */
static void settle_servers(struct aggregate *aggregate)
{
	struct list moved = {0}, *fresh = &aggregate->fresh_edges;
	struct newcomer *all = memory_zeroed(fresh->count, sizeof(*all));
	uint32_t count = 0;
	for (uint32_t i = 0; i < fresh->count; i++) {
		const struct edge_row *edge = &aggregate->edges[fresh->items[i]];
		if (edge->live && edge->fresh && edge->folded &&
		    !edge_is_global(aggregate, fresh->items[i]))
			all[count++] = (struct newcomer){edge->edge.id, 0, fresh->items[i],
							 SCOPE_EDGE, false};
	}
	qsort(all, count, sizeof(*all), compare_newcomers);
	uint32_t room = servers_room(aggregate);
	uint32_t leave = aggregate->servers - room < count ? aggregate->servers - room : count;
	for (uint32_t i = count - leave; i < count; i++)
		settle_edge(aggregate, all[i].row, &moved);
	settle_leave(aggregate, &moved);
	free(moved.items);
	free(all);
}

static int compare_places(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
	return (left > right) - (left < right);
}

/* Once each; an element that left and came back in the same place is there twice. */
static void list_unique(struct list *list)
{
	uint32_t count = 0;
	if (list->count)
		qsort(list->items, list->count, sizeof(*list->items), compare_places);
	for (uint32_t i = 0; i < list->count; i++)
		if (count == 0 || list->items[count - 1] != list->items[i])
			list->items[count++] = list->items[i];
	list->count = count;
}

static void settle_lists(struct aggregate *aggregate)
{
	struct list *edges = &aggregate->fresh_edges, *lanes = &aggregate->fresh_lanes,
		    *parts = &aggregate->fresh_parts;
	uint32_t count = 0;
	list_unique(edges);
	for (uint32_t i = 0; i < edges->count; i++)
		if (aggregate->edges[edges->items[i]].fresh)
			edges->items[count++] = edges->items[i];
	edges->count = count;
	list_unique(lanes);
	count = 0;
	for (uint32_t i = 0; i < lanes->count; i++)
		if (aggregate->lanes[lanes->items[i]].fresh)
			lanes->items[count++] = lanes->items[i];
	lanes->count = count;
	list_unique(parts);
	count = 0;
	for (uint32_t i = 0; i < parts->count; i++)
		if (aggregate->parts.rows[parts->items[i]].fresh)
			parts->items[count++] = parts->items[i];
	parts->count = count;
}

/* Each step makes rows that the next may have to move. */
void guard_settle(struct aggregate *aggregate)
{
	uint32_t share = guard_share(aggregate);
	bool own = aggregate->regular > guard_room(aggregate) || aggregate->crowded;
	if (!own && aggregate->folded <= share / 2 && aggregate->servers <= servers_room(aggregate))
		return;
	if (own)
		settle_own(aggregate);
	aggregate->crowded = false;
	settle_lists(aggregate);
	if (aggregate->folded > share / 2)
		settle_others(aggregate);
	settle_lists(aggregate);
	if (aggregate->servers > servers_room(aggregate))
		settle_servers(aggregate);
	settle_lists(aggregate);
	/* Lanes may have gone: their ways are looked up anew. */
	for (uint32_t i = 0; i < aggregate->ways_set.count; i++)
		aggregate->ways[aggregate->ways_set.items[i]].pane = 0;
	aggregate->ways_set.count = 0;
}

void guard_reserve(struct aggregate *aggregate, uint32_t more)
{
	if (aggregate->parts.count + more > aggregate->parts.parts_max)
		guard_settle(aggregate);
}

/* --- demoting --- */

static int compare_weight(const void *a, const void *b, void *context)
{
	const struct edge_row *edges = context;
	const struct edge_row *left = &edges[*(const uint32_t *)a],
			      *right = &edges[*(const uint32_t *)b];
	if (left->weight != right->weight)
		return left->weight < right->weight ? -1 : 1;
	return (left->edge.id > right->edge.id) - (left->edge.id < right->edge.id);
}

void guard_demote(struct aggregate *aggregate)
{
	uint32_t wanted = aggregate->regular + guard_share(aggregate), freed = 0;
	bool pressed = aggregate->pressed;
	aggregate->pressed = false;
	if (!pressed || wanted <= guard_room(aggregate))
		return;
	wanted -= guard_room(aggregate);
	struct list *smallest = &aggregate->scratch;
	smallest->count = 0;
	for (uint32_t i = 0; i < aggregate->order.count; i++)
		if (!aggregate->edges[aggregate->order.items[i]].folded)
			list_add(smallest, aggregate->order.items[i]);
	if (smallest->count)
		qsort_r(smallest->items, smallest->count, sizeof(*smallest->items), compare_weight,
			aggregate->edges);
	uint32_t leave = 0;
	for (; leave < smallest->count && freed < wanted; leave++) {
		uint32_t before = aggregate->regular;
		move_edge(aggregate, smallest->items[leave]);
		freed += before - aggregate->regular + 1;
	}
	/* Not before all have moved: their places must not be given to the edges that they make. */
	for (uint32_t i = 0; i < leave; i++)
		edge_remove(aggregate, smallest->items[i]);
	aggregate->stats.demoted += freed;
	guard_settle(aggregate);
	live_unsort(aggregate);
	live_sort(aggregate);
}
