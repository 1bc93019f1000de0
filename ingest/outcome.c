/* Closing a pane, second half: labels come back from the join, the deltas that waited for them are
 * placed and all go out, and what has ended for good leaves. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ingest/state.h"

enum {
	LABELS_GROUP = 16,
	PARTS_AHEAD = 8, /* whose halves are asked for before they are needed */
};

/* ---- places ---- */

bool place_moves(const struct place *before, const struct place *after)
{
	return before->lane != after->lane || before->client != after->client ||
	       before->server != after->server || before->side != after->side ||
	       before->counts_from != after->counts_from || before->joined != after->joined;
}

/* An end without an agent goes by its address. Names live as long as they are used. */
static void name_address(struct mirror *mirror, const struct instance *instance)
{
	char text[ADDRESS_TEXT_MAX];
	if (!resolution_is_address(instance->resolution))
		return;
	if (instance->workload && names_get(mirror->names, instance->workload)) {
		names_touch(mirror->names, instance->workload, mirror->pane);
		return;
	}
	size_t length = address_format(&instance->address, text);
	names_put(mirror->names, text, length, mirror->pane);
}

void name_peer(struct mirror *mirror, uint32_t peer)
{
	name_address(mirror, roster_at(mirror->roster, peer));
}

/* A label of a half that is here, with the instances and the lane that it names. */
struct outcome {
	const struct label *label;
	struct half *half; /* NULL: it lingers */
	struct linger *linger;
	struct lane_wanted *lane; /* held */
};

static struct place outcome_place(const struct outcome *outcome)
{
	const struct label *label = outcome->label;
	return (struct place){
		.lane = outcome->lane->lane,
		.client = outcome->lane->client,
		.server = outcome->lane->server,
		.side = label->side,
		.counts_from = label->counts_from,
		.joined = label->joined,
	};
}

/* When the deltas are out: some may be placed there already. */
void outcome_release(struct mirror *mirror, const struct place *place)
{
	*(struct place *)queue_add(&mirror->released, sizeof(*place)) = *place;
}

static void release_all(struct mirror *mirror)
{
	const struct mirror_sinks *sinks = &mirror->options.sinks;
	const struct place *places = mirror->released.items;
	for (size_t i = 0; i < mirror->released.count; i++) {
		if (places[i].lane)
			sinks->lane_drop(sinks->context, places[i].lane);
		roster_drop(mirror->roster, places[i].client);
		roster_drop(mirror->roster, places[i].server);
	}
	mirror->released.count = 0;
}

/* ---- labels ---- */

/* Returns whether the change is the pane's first, whose `before` counts; else before is released.
 */
static bool keep_change(struct mirror *mirror, uint32_t half, bool changed,
			const struct place *before, const struct turns *turns,
			const struct place *after)
{
	if (changed || !place_moves(before, after)) {
		outcome_release(mirror, before);
		return changed;
	}
	*(struct change *)queue_add(&mirror->changes, sizeof(struct change)) =
		(struct change){half, *before, *turns};
	return true;
}

static void label_half(struct mirror *mirror, const struct outcome *outcome)
{
	const struct label *label = outcome->label;
	struct half *half = outcome->half;
	uint32_t index = label->half.index;
	struct place before = half_place(half), place = outcome_place(outcome);
	bool turns_matter = half->turned || label->counts_since; /* seldom */
	struct turns former = {0}, turns = {0};
	bool client = label->side == SIDE_CLIENT;
	if (turns_matter) {
		former = turns = turns_of(mirror, index, half);
		turns_label(&turns, label, half->labelled ? &before : NULL, &place.counts_from);
	}
	if (half->labelled)
		half->changed = keep_change(mirror, index, half->changed, &before, &former, &place);
	if (turns_matter)
		turns_set(mirror, index, half, &turns);
	half->labelled = 1;
	half->final = label->final;
	uint32_t rules = client ? 0 : RULE_SERVER_SIDE;
	rules |= place.counts_from == SIDE_SERVER ? RULE_COUNTS_FROM_SERVER : 0;
	rules |= label->joined ? RULE_JOINED : 0;
	half->rules = rules & 7;
	half->lane = place.lane;
	half->self = (client ? place.client : place.server) & INSTANCES_MAX;
	half->peer = (client ? place.server : place.client) & INSTANCES_MAX;
	half->distant = resolution_is_address(roster_at(mirror->roster, half->peer)->resolution);
	half->number = label->number;
	half->join_task = label->join_task;
	if (half->final && !half->changed)
		contributions_forget(mirror, index);
}

static void label_linger(struct mirror *mirror, const struct outcome *outcome)
{
	const struct label *label = outcome->label;
	struct linger *linger = outcome->linger;
	uint32_t at = (uint32_t)(linger - mirror->lingers.items);
	struct place place = outcome_place(outcome);
	struct turns former = linger->turns;
	turns_label(&linger->turns, label, linger->labelled ? &linger->place : NULL,
		    &place.counts_from);
	if (linger->labelled)
		linger->changed = keep_change(mirror, LINGERING | at, linger->changed,
					      &linger->place, &former, &place);
	linger->labelled = true;
	linger->final = label->final;
	linger->place = place;
	linger->number = label->number;
	linger->join_task = label->join_task;
	if (linger->close) {
		struct held_close *held =
			&((struct held_close *)mirror->held_closes.items)[linger->close - 1];
		held->close.number = label->number;
		held->task = label->join_task;
		held->state = HELD_READY;
		linger->close = 0;
	}
	if (linger->final)
		*(uint32_t *)queue_add(&mirror->leaving, sizeof(uint32_t)) = at;
}

static bool label_is_ours(const struct mirror *mirror, const struct label *label)
{
	return label->half.source == mirror->options.source && !(label->half.index & LINGERING);
}

/* Each label needs a half and two instances, all in places of their own: a few are asked for
 * before the first is used. In line: a call that only asks for memory is left out by the compiler.
 */
static inline __attribute__((always_inline)) void
prefetch_labels(const struct mirror *mirror, const struct label *labels, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct half_ref *ref = &labels[i].half;
		if (label_is_ours(mirror, &labels[i]) &&
		    ref->index >> PAGE_SHIFT < mirror->pages.count)
			half_prefetch(pages_at(&mirror->pages, ref->index));
		roster_prefetch(mirror->roster, labels[i].client);
		roster_prefetch(mirror->roster, labels[i].server);
	}
	for (size_t i = 0; i < count; i++) {
		roster_prefetch_entry(mirror->roster, labels[i].client);
		roster_prefetch_entry(mirror->roster, labels[i].server);
	}
}

/* Returns whether its half is here. */
static bool find_half(const struct mirror *mirror, const struct label *label,
		      struct outcome *outcome)
{
	const struct half_ref *ref = &label->half;
	if (!label_is_ours(mirror, label))
		return false;
	*outcome = (struct outcome){.label = label};
	if (ref->index >> PAGE_SHIFT < mirror->pages.count) {
		struct half *half = pages_at(&mirror->pages, ref->index);
		if (half->live && half->generation == ref->generation) {
			outcome->half = half;
			return true;
		}
	}
	outcome->linger = lingers_find(&mirror->lingers, ref->index, ref->generation);
	return outcome->linger != NULL;
}

static struct lane_wanted hold_instances(struct mirror *mirror, const struct label *label)
{
	struct lane_wanted wanted = {
		.client = roster_number(mirror->roster, label->client),
		.server = roster_number(mirror->roster, label->server),
		.port = label->port,
		.protocol = label->protocol,
	};
	roster_hold(mirror->roster, wanted.client);
	roster_hold(mirror->roster, wanted.server);
	return wanted;
}

/* At most LABELS_GROUP, whose halves, instances and lanes are fetched together. */
static void keep_labels(struct mirror *mirror, const struct label *labels, size_t count)
{
	const struct mirror_sinks *sinks = &mirror->options.sinks;
	struct outcome outcomes[LABELS_GROUP];
	struct lane_wanted lanes[LABELS_GROUP];
	size_t found = 0;
	prefetch_labels(mirror, labels, count);
	for (size_t i = 0; i < count; i++) {
		if (!find_half(mirror, &labels[i], &outcomes[found]))
			continue;
		lanes[found] = hold_instances(mirror, &labels[i]);
		outcomes[found].lane = &lanes[found];
		found++;
	}
	sinks->lanes_hold(sinks->context, lanes, found);
	for (size_t i = 0; i < found; i++) {
		if (outcomes[i].half)
			label_half(mirror, &outcomes[i]);
		else
			label_linger(mirror, &outcomes[i]);
	}
}

void mirror_labels(struct mirror *mirror, const struct label *labels, size_t count,
		   const struct instance *instances, size_t instances_count)
{
	for (size_t i = 0; i < instances_count; i++) {
		roster_put(mirror->roster, &instances[i], mirror->pane);
		name_address(mirror, &instances[i]);
	}
	for (size_t i = 0; i < count; i += LABELS_GROUP)
		keep_labels(mirror, &labels[i],
			    count - i < LABELS_GROUP ? count - i : LABELS_GROUP);
}

/* ---- deltas ---- */

static bool linger_expired(const struct mirror *mirror, const struct linger *linger)
{
	return linger->closed_ns + mirror->options.keep_ns < pane_end(mirror->pane);
}

/* The place is of now, the pane's ten seconds may be those before a turn. Returns whether the part
 * touches: not what is of another time. That is moved when the label changes only if both halves
 * stay what they are to each other. */
static bool place_turn(const struct mirror *mirror, const struct part *part, struct delta *delta,
		       const struct turns *turns)
{
	delta->place.counts_from =
		turns_side(turns, delta->place.counts_from, ten_of_pane(mirror->pane));
	if (part->kind != PART_TURNED)
		return true;
	delta->place.counts_from ^= 1;
	return false;
}

/* Returns false if there is no label yet. */
static bool place_open(struct mirror *mirror, const struct part *part, struct delta *delta)
{
	struct half *half = pages_at(&mirror->pages, part->half);
	if (!half->labelled)
		return false;
	const struct turns turns = turns_of(mirror, part->half, half);
	delta->place = half_place(half);
	if (!place_turn(mirror, part, delta, &turns)) {
		if (!half->final && delta->place.joined)
			contribute(mirror, part->half, delta, true);
		return true;
	}
	if (!part->lookup)
		delta->flags |= half_touch(mirror, half, part->kind != PART_NORMAL);
	if (delta->flags & DELTA_FIRST_IN_60S && half->distant)
		name_peer(mirror, half->peer);
	if (!half->final)
		contribute(mirror, part->half, delta, false);
	return true;
}

static bool place_lingering(struct mirror *mirror, const struct part *part, struct delta *delta)
{
	struct linger *linger = &mirror->lingers.items[part->half & ~LINGERING];
	if (!linger->labelled)
		return false;
	delta->place = linger->place;
	if (!place_turn(mirror, part, delta, &linger->turns)) {
		if (!linger->final && delta->place.joined)
			contribute(mirror, part->half, delta, true);
		linger->parts--;
		return true;
	}
	if (!part->lookup)
		delta->flags |=
			touch_flags(&linger->touched, &mirror->marks, part->kind != PART_NORMAL);
	if (!linger->final)
		contribute(mirror, part->half, delta, false);
	linger->parts--;
	return true;
}

/* Nobody will ever say whose it is. */
static bool drop_expired(struct mirror *mirror, const struct part *part)
{
	if (!(part->half & LINGERING))
		return false;
	struct linger *linger = &mirror->lingers.items[part->half & ~LINGERING];
	if (!linger_expired(mirror, linger))
		return false;
	linger->parts--;
	mirror->stats.deltas_dropped++;
	return true;
}

/* What has no label is kept aside for the next pane; the others close up. */
static void place_deltas(struct mirror *mirror)
{
	const struct part *parts = mirror->parts.items;
	struct delta *deltas = mirror->waiting.items;
	size_t placed = 0;
	mirror->kept_deltas.count = mirror->kept_parts.count = 0;
	for (size_t i = 0; i < mirror->waiting.count; i++) {
		const struct part *part = &parts[i];
		if (i + PARTS_AHEAD < mirror->waiting.count &&
		    !(part[PARTS_AHEAD].half & LINGERING))
			half_prefetch(pages_at(&mirror->pages, part[PARTS_AHEAD].half));
		if (part->half & LINGERING ? place_lingering(mirror, part, &deltas[i])
					   : place_open(mirror, part, &deltas[i])) {
			if (placed != i)
				deltas[placed] = deltas[i];
			placed++;
			continue;
		}
		if (drop_expired(mirror, part))
			continue;
		*(struct delta *)queue_add(&mirror->kept_deltas, sizeof(*deltas)) = deltas[i];
		*(struct part *)queue_add(&mirror->kept_parts, sizeof(*part)) = *part;
	}
	mirror->waiting.count = placed;
}

/* Deltas without labels begin the next pane's. */
static void keep_unplaced(struct mirror *mirror)
{
	const struct part *kept = mirror->kept_parts.items;
	size_t count = mirror->kept_parts.count;
	mirror->waiting.count = mirror->parts.count = 0;
	for (uint32_t i = 0; i < mirror->nodes_count && mirror->nodes_held; i++)
		if (mirror->nodes[i])
			mirror->nodes[i]->held = 0;
	mirror->nodes_held = count != 0;
	for (size_t i = 0; i < count; i++) {
		struct node *node = mirror->nodes[kept[i].node];
		struct part *part = queue_add(&mirror->parts, sizeof(*part));
		*(struct delta *)queue_add(&mirror->waiting, sizeof(struct delta)) =
			((struct delta *)mirror->kept_deltas.items)[i];
		*part = kept[i];
		if (part->half & LINGERING)
			continue;
		part->next = node->held;
		node->held = (uint32_t)i + 1;
	}
}

/* ---- who leaves ---- */

void linger_leave(struct mirror *mirror, uint32_t at)
{
	struct linger *linger = &mirror->lingers.items[at];
	contributions_forget(mirror, LINGERING | at);
	if (linger->waits)
		owner_unawaited(mirror, linger);
	if (linger->labelled)
		outcome_release(mirror, &linger->place);
	if (linger->close)
		((struct held_close *)mirror->held_closes.items)[linger->close - 1].state =
			HELD_GONE;
	lingers_give(&mirror->lingers, at);
	mirror->stats.halves--;
}

static void let_go(struct mirror *mirror)
{
	const uint32_t *leaving = mirror->leaving.items;
	for (size_t i = 0; i < mirror->leaving.count; i++) {
		const struct linger *linger = &mirror->lingers.items[leaving[i]];
		if (linger->live && linger->final)
			linger_leave(mirror, leaving[i]);
	}
	mirror->leaving.count = 0;
	while (mirror->lingers.first &&
	       linger_expired(mirror, &mirror->lingers.items[mirror->lingers.first - 1]))
		linger_leave(mirror, mirror->lingers.first - 1);
}

void mirror_deltas(struct mirror *mirror, uint64_t pane)
{
	const struct mirror_sinks *sinks = &mirror->options.sinks;
	mirror->pane = pane;
	collect_amendments(mirror);
	place_deltas(mirror);
	if (mirror->waiting.count)
		sinks->deltas(sinks->context, mirror->waiting.items, mirror->waiting.count);
	if (mirror->amendments.count)
		sinks->amendments(sinks->context, mirror->amendments.items,
				  mirror->amendments.count);
	keep_unplaced(mirror);
	let_go(mirror);
	contributions_expire(mirror);
	release_all(mirror);
}
