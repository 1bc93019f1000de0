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
#include "base/memory.h"

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

static uint32_t fold_part(struct aggregate *aggregate, uint32_t edge, enum scope scope)
{
	uint32_t part = aggregate->edges[edge].others[scope], member = 0;
	if (part)
		return part;
	if (scope == SCOPE_LANE) {
		struct edge above = aggregate->edges[edge].edge;
		struct lane other = other_lane();
		member = lane_know(aggregate, &above, &other);
	}
	part = part_enter(aggregate, edge, member, scope, true);
	aggregate->edges[edge].others[scope] = part;
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
	if (aggregate->lanes[lane].part)
		return aggregate->lanes[lane].part;
	struct edge above = aggregate->lanes[lane].edge;
	uint32_t edge = guard_edge(aggregate, &above);
	bool own = aggregate->edges[edge].edge.id == above.id;
	if (own && !edge_is_closed(aggregate, edge)) {
		uint32_t part = part_enter(aggregate, edge, lane, SCOPE_LANE, false);
		guard_crowd(aggregate, edge);
		return part;
	}
	guard_folds(aggregate);
	return fold_part(aggregate, edge, SCOPE_LANE);
}

static uint32_t part_find(const struct aggregate *aggregate, uint32_t edge, uint32_t member,
			  enum scope scope)
{
	uint64_t key = part_key(edge, member, scope);
	return member ? parts_find(&aggregate->parts, key, parts_home(&aggregate->parts, key)) : 0;
}

uint32_t guard_part(struct aggregate *aggregate, uint32_t edge, uint32_t instance, enum scope scope)
{
	uint32_t part = part_find(aggregate, edge, instance, scope);
	if (part)
		return part;
	if (instance && !edge_is_closed(aggregate, edge)) {
		part = part_enter(aggregate, edge, instance, scope, false);
		guard_crowd(aggregate, edge);
		return part;
	}
	guard_folds(aggregate);
	return fold_part(aggregate, edge, scope);
}

/* What stands for others of edges like this one, if it is there; 0 behind the last. */
static uint32_t seek_fold(const struct aggregate *aggregate, const struct edge *edge)
{
	struct edge others = other_edge_of(edge);
	uint32_t row = 0;
	if (edge->id == aggregate->other.id)
		return 0;
	if (others.id != edge->id)
		row = edge_find(aggregate, others.id);
	return row ? row : edge_find(aggregate, aggregate->other.id);
}

uint32_t guard_seek_edge(const struct aggregate *aggregate, const struct edge *edge)
{
	uint32_t row = edge_find(aggregate, edge->id);
	return row ? row : seek_fold(aggregate, edge);
}

uint32_t guard_seek_part(const struct aggregate *aggregate, uint32_t edge, uint32_t member,
			 enum scope scope)
{
	uint32_t part = part_find(aggregate, edge, member, scope);
	for (; !part && edge; edge = seek_fold(aggregate, &aggregate->edges[edge].edge))
		part = aggregate->edges[edge].others[scope];
	return part;
}

void guard_begin(struct aggregate *aggregate)
{
	for (uint32_t i = 0; i < aggregate->fresh_parts.count; i++) {
		struct part *part = &aggregate->parts.rows[aggregate->fresh_parts.items[i]];
		part->fresh = 0;
		aggregate->edges[part->hot.edge].fresh_count = 0;
	}
	aggregate->fresh_parts.count = 0;
	aggregate->moved = false;
	aggregate->full = aggregate->regular >= guard_room(aggregate);
}

/* --- moving what has no row of its own after all --- */

static uint32_t samples_joined(struct aggregate *aggregate, uint32_t first, uint32_t second,
			       enum scope scope)
{
	if (!first)
		return second;
	uint32_t last = first;
	while (aggregate->samples[last].next[scope])
		last = aggregate->samples[last].next[scope];
	aggregate->samples[last].next[scope] = second;
	return first;
}

static void move_part(struct aggregate *aggregate, uint32_t from, uint32_t to)
{
	struct part *part = &aggregate->parts.rows[from], *other = &aggregate->parts.rows[to];
	struct sum sum = {0};
	part_into(aggregate, part, &sum);
	sum_add(part_wide(aggregate, other), &sum);
	other->samples = samples_joined(aggregate, part->samples, other->samples, part->scope);
	part_leave(aggregate, from);
}

static int compare_places(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
	return (left > right) - (left < right);
}

static bool list_has(const struct list *list, uint32_t item)
{
	return bsearch(&item, list->items, list->count, sizeof(item), compare_places) != NULL;
}

/* All in one walk, as an edge may have many more than its share in a pane; newcomers stand first.
 * leaving: in order. */
static void unlink_parts(struct aggregate *aggregate, uint32_t edge, enum scope scope,
			 const struct list *leaving)
{
	uint32_t *at = &aggregate->edges[edge].parts[scope], left = leaving->count;
	while (left > 0) {
		uint32_t *next = &aggregate->parts.rows[*at].next;
		if (list_has(leaving, *at)) {
			*at = *next;
			left--;
		} else {
			at = next;
		}
	}
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

static void move_pane(struct aggregate *aggregate, uint32_t from, uint32_t to)
{
	struct edge_line *pane = &aggregate->lines[from].pane;
	struct sum sum = {.touched = true};
	if (!pane->hot.edge)
		return;
	pane_into(aggregate, pane, &sum);
	sum_add(line_wide(aggregate, edge_touch(aggregate, to)), &sum);
}

static void move_lines(struct aggregate *aggregate, uint32_t from, uint32_t to)
{
	struct edge_lines *lines = &aggregate->lines[from], *other = &aggregate->lines[to];
	move_pane(aggregate, from, to);
	if (lines->second.hot.edge && !other->second.hot.edge)
		list_add(&aggregate->seconds, to);
	if (lines->second.hot.edge)
		line_flow(aggregate, &lines->second, &other->second, to);
	if (lines->ten.hot.edge)
		line_flow(aggregate, &lines->ten, &other->ten, to);
}

/* All of the edge but its row, which edge_remove() takes. Returns where it went. */
static uint32_t move_edge(struct aggregate *aggregate, uint32_t edge)
{
	struct edge identity = aggregate->edges[edge].edge;
	uint32_t to = fold_edge(aggregate, &identity);
	struct edge_row *row = &aggregate->edges[edge], *other = &aggregate->edges[to];
	other->samples = samples_joined(aggregate, row->samples, other->samples, SCOPE_EDGE);
	row->samples = 0;
	if (row->trouble > other->trouble)
		other->trouble = row->trouble;
	move_lines(aggregate, edge, to);
	move_frozen(aggregate, &row->minute, &other->minute);
	move_frozen(aggregate, &row->hour, &other->hour);
	for (unsigned scope = SCOPE_LANE; scope < SCOPES; scope++)
		for (uint32_t part; (part = aggregate->edges[edge].parts[scope]) != 0;) {
			aggregate->edges[edge].parts[scope] = aggregate->parts.rows[part].next;
			move_part(aggregate, part, fold_part(aggregate, to, scope));
		}
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
	const struct list *edges = &aggregate->fresh_edges, *parts = &aggregate->fresh_parts;
	struct newcomer *all = memory_zeroed((size_t)edges->count + parts->count, sizeof(*all));
	*count = 0;
	for (uint32_t i = 0; i < edges->count; i++) {
		const struct edge_row *edge = &aggregate->edges[edges->items[i]];
		if (!edge->folded && !folded)
			all[(*count)++] = (struct newcomer){edge->edge.id, 0, edges->items[i],
							    SCOPE_EDGE, false};
	}
	for (uint32_t i = 0; i < parts->count; i++) {
		const struct part *part = &aggregate->parts.rows[parts->items[i]];
		const struct edge_row *edge = &aggregate->edges[part->hot.edge];
		if (part->folded == folded && !edge->is_other)
			all[(*count)++] = (struct newcomer){edge->edge.id, part_id(aggregate, part),
							    parts->items[i], part->scope, false};
	}
	qsort(all, *count, sizeof(*all), compare_newcomers);
	return all;
}

static uint32_t newcomer_edge(const struct aggregate *aggregate, const struct newcomer *newcomer)
{
	if (newcomer->scope == SCOPE_EDGE)
		return newcomer->row;
	return aggregate->parts.rows[newcomer->row].hot.edge;
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

/* Of one scope. Puts them in order. */
static void settle_parts(struct aggregate *aggregate, uint32_t edge, enum scope scope, uint32_t to,
			 struct list *leaving)
{
	qsort(leaving->items, leaving->count, sizeof(*leaving->items), compare_places);
	unlink_parts(aggregate, edge, scope, leaving);
	for (uint32_t i = 0; i < leaving->count; i++)
		move_part(aggregate, leaving->items[i], fold_part(aggregate, to, scope));
}

/* Edges leave their places after their samples have moved. */
static void settle_leave(struct aggregate *aggregate, const struct list *moved)
{
	settle_samples(aggregate, moved);
	for (uint32_t edge = 0; edge < moved->count; edge++)
		if (moved->items[edge])
			edge_remove(aggregate, edge);
}

/* Notes who leaves of the newcomers of one edge and scope, from `first` on. Returns where the next
 * ones begin. */
static uint32_t settle_run(struct aggregate *aggregate, const struct newcomer *all, uint32_t first,
			   uint32_t count, struct list *leaving)
{
	uint32_t end = first;
	leaving->count = 0;
	while (end < count && all[end].edge_id == all[first].edge_id &&
	       all[end].scope == all[first].scope) {
		if (all[end].leaves) {
			guard_folds(aggregate);
			list_add(leaving, all[end].row);
		}
		end++;
	}
	return end;
}

static void settle_own(struct aggregate *aggregate)
{
	struct list moved = {0}, leaving = {0};
	uint32_t count;
	struct newcomer *all = newcomers(aggregate, false, &count);
	settle_choose(aggregate, all, count);
	for (uint32_t i = 0, next; i < count; i = next) {
		next = settle_run(aggregate, all, i, count, &leaving);
		if (leaving.count == 0)
			continue;
		uint32_t edge = edge_find(aggregate, all[i].edge_id);
		if (edge < moved.count && moved.items[edge])
			continue;
		if (all[i].scope == SCOPE_EDGE)
			settle_edge(aggregate, edge, &moved);
		else
			settle_parts(aggregate, edge, all[i].scope, edge, &leaving);
	}
	settle_leave(aggregate, &moved);
	memory_free(moved.items);
	memory_free(leaving.items);
	memory_free(all);
}

/* Rows of 1: the first of the newcomers stay. */
static void settle_others(struct aggregate *aggregate)
{
	struct list leaving = {0};
	uint32_t count, room = guard_share(aggregate) / 2;
	struct newcomer *all = newcomers(aggregate, true, &count);
	uint32_t leave = aggregate->folded - room < count ? aggregate->folded - room : count;
	for (uint32_t i = count - leave; i < count; i++) {
		uint32_t edge = edge_find(aggregate, all[i].edge_id);
		struct edge above = aggregate->edges[edge].edge;
		leaving.count = 0;
		list_add(&leaving, all[i].row);
		settle_parts(aggregate, edge, all[i].scope, fold_edge(aggregate, &above), &leaving);
	}
	memory_free(leaving.items);
	memory_free(all);
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
	memory_free(moved.items);
	memory_free(all);
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
	struct list *edges = &aggregate->fresh_edges, *parts = &aggregate->fresh_parts;
	uint32_t count = 0;
	list_unique(edges);
	for (uint32_t i = 0; i < edges->count; i++)
		if (aggregate->edges[edges->items[i]].fresh)
			edges->items[count++] = edges->items[i];
	edges->count = count;
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
	aggregate->moved = true;
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
		aggregate->ways[aggregate->ways_set.items[i]].part = 0;
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
