#include "aggregate/guard.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "aggregate/other.h"
#include "base/memory.h"

enum {
	GLOBAL_ROWS = SCOPES, /* of `_other` -> `_other` */
	SHARE = 8,	      /* eighths: enough room to fold into, little enough to lose */
};

void guard_init(struct guard *guard, uint32_t rows_max)
{
	assert(rows_max >= GUARD_ROWS_MIN);
	*guard = (struct guard){.rows_max = rows_max};
	guard->rows = memory_zeroed(rows_max, sizeof(*guard->rows));
	guard->vacant = memory_zeroed(rows_max, sizeof(*guard->vacant));
	guard->order = memory_zeroed(rows_max, sizeof(*guard->order));
	guard->other = other_edge();
	row_index_init(&guard->index, 0);
}

static void live_done(struct live *live)
{
	for (unsigned window = 0; window < WINDOWS; window++)
		sum_done(&live->sums[window]);
}

void guard_done(struct guard *guard)
{
	for (uint32_t i = 0; i < guard->count; i++)
		live_done(&guard->rows[guard->order[i]]);
	free(guard->rows);
	free(guard->vacant);
	free(guard->order);
	row_index_done(&guard->index);
}

static uint64_t live_hash(uint8_t scope, uint64_t edge_id, uint64_t sub_id)
{
	struct row_key key = {.edge_id = edge_id, .sub_id = sub_id, .scope = scope};
	return row_key_hash(&key);
}

struct live *guard_find(const struct guard *guard, uint8_t scope, uint64_t edge_id, uint64_t sub_id)
{
	uint64_t hash = live_hash(scope, edge_id, sub_id);
	uint64_t at = row_index_start(&guard->index, hash);
	uint32_t row;
	while ((row = row_index_next(&guard->index, hash, &at)) != ROW_NONE) {
		struct live *live = &guard->rows[row];
		if (live->edge.id == edge_id && live->scope == scope && live_sub_id(live) == sub_id)
			return live;
	}
	return NULL;
}

static struct live *guard_create(struct guard *guard, uint8_t scope,
				 const struct row_identity *identity, struct live *parent,
				 bool folded)
{
	assert(guard->count < guard->rows_max);
	uint32_t row = guard->vacant_count ? guard->vacant[--guard->vacant_count] : guard->used++;
	struct live *live = &guard->rows[row];
	memset(live, 0, sizeof(*live));
	live->edge = identity->edge;
	live->scope = scope;
	live->folded = folded;
	if (scope == SCOPE_LANE)
		live->lane = identity->lane;
	else if (scope != SCOPE_EDGE)
		live->instance = identity->instance;
	live->parent = parent ? (uint32_t)(parent - guard->rows) : row;
	if (parent)
		parent->parts++;
	else
		guard->edges++;
	guard->order[guard->count++] = row;
	row_index_add(&guard->index, live_hash(scope, live->edge.id, live_sub_id(live)), row);
	return live;
}

static uint64_t identity_sub_id(uint8_t scope, const struct row_identity *identity)
{
	return scope == SCOPE_LANE ? identity->lane.id : identity->instance.id;
}

/* The row, made with its edge's where that keeps within rows_max; NULL if not. */
static struct live *guard_reach(struct guard *guard, uint8_t scope,
				const struct row_identity *identity, uint32_t rows_max, bool folded)
{
	uint64_t edge = identity->edge.id;
	struct live *live = guard_find(guard, scope, edge, identity_sub_id(scope, identity));
	if (live)
		return live;
	struct live *parent = guard_find(guard, SCOPE_EDGE, edge, 0);
	if (guard->count + 1 + !parent > rows_max)
		return NULL;
	if (!parent)
		parent = guard_create(guard, SCOPE_EDGE, identity, NULL, folded);
	return guard_create(guard, scope, identity, parent, folded);
}

static struct row_identity identity_other(uint8_t scope, struct edge edge)
{
	struct row_identity other = {.edge = edge};
	if (scope == SCOPE_LANE)
		other.lane = other_lane();
	else
		other.instance = other_instance(scope == SCOPE_CLIENT ? edge.client : edge.server);
	return other;
}

/* Whatever its lane or instance: only these four rows are sure of their room. */
static struct live *guard_other(struct guard *guard, uint8_t scope)
{
	struct row_identity all = identity_other(scope, guard->other);
	return guard_reach(guard, scope, &all, guard->rows_max, true);
}

static struct live *guard_fold(struct guard *guard, uint8_t scope, const struct edge *edge,
			       bool edge_is_live)
{
	uint32_t rows_max = guard->rows_max - GLOBAL_ROWS;
	struct live *live = NULL;
	guard->folded_since++;
	if (edge_is_live) {
		struct row_identity own = identity_other(scope, *edge);
		live = guard_reach(guard, scope, &own, rows_max, true);
	}
	if (!live) {
		struct row_identity servers = identity_other(scope, other_edge_of(edge));
		live = guard_reach(guard, scope, &servers, rows_max, true);
	}
	return live ? live : guard_other(guard, scope);
}

struct live *guard_place(struct guard *guard, uint8_t scope, const struct row_identity *identity)
{
	const struct edge *edge = &identity->edge;
	if (edge->id == guard->other.id)
		return guard_other(guard, scope);
	struct live *live = guard_find(guard, scope, edge->id, identity_sub_id(scope, identity));
	if (live)
		return live;
	struct live *parent = guard_find(guard, SCOPE_EDGE, edge->id, 0);
	uint32_t rows_max = guard->rows_max - GLOBAL_ROWS - guard->rows_max / SHARE;
	if (!parent || parent->parts < guard->rows_max / SHARE)
		live = guard_reach(guard, scope, identity, rows_max, false);
	return live ? live : guard_fold(guard, scope, edge, parent != NULL);
}

/* --- order --- */

static int compare_ids(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int compare_live(const struct live *a, const struct live *b)
{
	int order = compare_ids(a->edge.id, b->edge.id);
	if (order == 0)
		order = (a->scope > b->scope) - (a->scope < b->scope);
	return order ? order : compare_ids(live_sub_id(a), live_sub_id(b));
}

static int compare_rows(const void *a, const void *b, void *context)
{
	const struct live *rows = context;
	return compare_live(&rows[*(const uint32_t *)a], &rows[*(const uint32_t *)b]);
}

void guard_sort(struct guard *guard)
{
	uint32_t fresh_count = guard->count - guard->sorted;
	if (fresh_count == 0)
		return;
	uint32_t *fresh = memory_resize(NULL, fresh_count, sizeof(*fresh));
	memcpy(fresh, guard->order + guard->sorted, fresh_count * sizeof(*fresh));
	qsort_r(fresh, fresh_count, sizeof(*fresh), compare_rows, guard->rows);

	/* From the back: the old ones move up into the room of the new. */
	uint32_t to = guard->count, old = guard->sorted;
	while (fresh_count > 0) {
		bool take_old = old > 0 && compare_rows(&guard->order[old - 1],
							&fresh[fresh_count - 1], guard->rows) > 0;
		guard->order[--to] = take_old ? guard->order[--old] : fresh[--fresh_count];
	}
	guard->sorted = guard->count;
	free(fresh);
}

/* --- leaving --- */

static void guard_remove(struct guard *guard, uint32_t row)
{
	struct live *live = &guard->rows[row];
	uint64_t hash = live_hash(live->scope, live->edge.id, live_sub_id(live));
	row_index_remove(&guard->index, hash, row);
	live_done(live);
	guard->edges -= live->scope == SCOPE_EDGE;
	guard->vacant[guard->vacant_count++] = row;
}

static uint32_t guard_sweep(struct guard *guard)
{
	uint32_t stay = 0, before = guard->count;
	for (uint32_t i = 0; i < before; i++) {
		uint32_t row = guard->order[i];
		if (guard->rows[row].leaving)
			guard_remove(guard, row);
		else
			guard->order[stay++] = row;
	}
	guard->count = guard->sorted = stay;
	return before - stay;
}

uint32_t guard_expire(struct guard *guard)
{
	guard_sort(guard);
	for (uint32_t i = 0; i < guard->count; i++) {
		struct live *live = &guard->rows[guard->order[i]];
		if (live->scope == SCOPE_EDGE)
			continue;
		live->leaving = !live->kept;
		live->kept = false;
		guard->rows[live->parent].parts -= live->leaving;
	}
	for (uint32_t i = 0; i < guard->count; i++) {
		struct live *live = &guard->rows[guard->order[i]];
		if (live->scope != SCOPE_EDGE)
			continue;
		live->leaving = !live->kept && live->parts == 0;
		live->kept = false;
	}
	return guard_sweep(guard);
}

static int compare_weight(const void *a, const void *b, void *context)
{
	const struct live *rows = context;
	const struct live *left = &rows[*(const uint32_t *)a], *right = &rows[*(const uint32_t *)b];
	int order = compare_ids(left->weight, right->weight);
	return order ? order : compare_ids(left->edge.id, right->edge.id);
}

uint32_t guard_demote(struct guard *guard)
{
	uint32_t share = guard->rows_max / SHARE;
	uint32_t room = guard->rows_max - GLOBAL_ROWS - share;
	uint64_t folded = guard->folded_since;
	guard->folded_since = 0;
	if (folded == 0 || guard->count + share <= room)
		return 0;
	guard_sort(guard);
	uint32_t wanted = guard->count + share - room, count = 0;
	uint32_t *edges = memory_resize(NULL, guard->edges, sizeof(*edges));
	for (uint32_t i = 0; i < guard->count; i++) {
		const struct live *live = &guard->rows[guard->order[i]];
		if (live->scope == SCOPE_EDGE && !live->folded)
			edges[count++] = guard->order[i];
	}
	qsort_r(edges, count, sizeof(*edges), compare_weight, guard->rows);
	for (uint32_t i = 0, freed = 0; i < count && freed < wanted; i++) {
		guard->rows[edges[i]].leaving = true;
		freed += 1 + guard->rows[edges[i]].parts;
	}
	free(edges);
	for (uint32_t i = 0; i < guard->count; i++) {
		struct live *live = &guard->rows[guard->order[i]];
		live->leaving = guard->rows[live->parent].leaving;
	}
	return guard_sweep(guard);
}
