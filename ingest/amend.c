/* What halves gave under labels that may change: by 10 s window, for keep_ns, in a capped pool.
 * When a label changes, each window's sum moves from the old rows to the new ones. */
#include <stdlib.h>

#include "base/clock.h"
#include "ingest/state.h"

static struct contribution *contribution_at(const struct mirror *mirror, uint32_t place)
{
	return &mirror->contributions[place - 1];
}

/* The newest of a half, open or lingering. */
static uint32_t *newest_of(struct mirror *mirror, uint32_t half)
{
	if (half & LINGERING)
		return &mirror->lingers.items[half & ~LINGERING].contributions;
	return half_contributions(&mirror->pages, half);
}

/* ---- lookups: of few contributions ---- */

static struct lookup_counts *lookups_at(const struct mirror *mirror, uint32_t place)
{
	return &((struct lookup_counts *)mirror->lookups.items)[place - 1];
}

static void lookups_give(struct mirror *mirror, uint32_t place)
{
	if (!place)
		return;
	lookups_at(mirror, place)->latency_us = mirror->lookups_vacant;
	mirror->lookups_vacant = place;
}

static uint32_t lookups_take(struct mirror *mirror)
{
	uint32_t place = mirror->lookups_vacant;
	if (place) {
		mirror->lookups_vacant = (uint32_t)lookups_at(mirror, place)->latency_us;
	} else {
		queue_add(&mirror->lookups, sizeof(struct lookup_counts));
		place = (uint32_t)mirror->lookups.count;
	}
	*lookups_at(mirror, place) = (struct lookup_counts){0};
	return place;
}

static void contribute_lookup(struct mirror *mirror, struct contribution *sum,
			      const struct delta *delta)
{
	if (!sum->lookups)
		sum->lookups = lookups_take(mirror);
	struct lookup_counts *lookups = lookups_at(mirror, sum->lookups);
	lookups->results[delta->reason]++;
	lookups->latency_us += delta->connect_us;
	sum->flags |= delta->flags & DELTA_PROBE;
}

/* Out of the list by age; the caller takes it out of its half's. */
static void contribution_free(struct mirror *mirror, uint32_t place)
{
	struct contribution *freed = contribution_at(mirror, place);
	lookups_give(mirror, freed->lookups);
	*(freed->earlier ? &contribution_at(mirror, freed->earlier)->later
			 : &mirror->contribution_first) = freed->later;
	*(freed->later ? &contribution_at(mirror, freed->later)->earlier
		       : &mirror->contribution_last) = freed->earlier;
	freed->next = mirror->contributions_free;
	mirror->contributions_free = place;
}

static void contribution_drop_oldest(struct mirror *mirror)
{
	uint32_t place = mirror->contribution_first;
	uint32_t *link = newest_of(mirror, contribution_at(mirror, place)->half);
	while (*link != place)
		link = &contribution_at(mirror, *link)->next;
	*link = contribution_at(mirror, place)->next;
	contribution_free(mirror, place);
}

static uint32_t contribution_take(struct mirror *mirror)
{
	uint32_t place = mirror->contributions_free;
	if (place) {
		mirror->contributions_free = contribution_at(mirror, place)->next;
		return place;
	}
	if (mirror->contributions_used < mirror->options.amendments_max)
		return ++mirror->contributions_used;
	mirror->stats.amendments_dropped++;
	if (!mirror->contribution_first)
		return 0;
	contribution_drop_oldest(mirror);
	return contribution_take(mirror);
}

static uint64_t window_start_ns(const struct contribution *contribution)
{
	return (uint64_t)contribution->window * PANES_PER_10S * PANE_NS;
}

/* The half's contribution to a window, or what is of another time of it; windows only grow, so it
 * is one of the two newest or a new one. */
static struct contribution *contribution_of(struct mirror *mirror, uint32_t half, uint32_t window,
					    bool turned)
{
	for (uint32_t at = *newest_of(mirror, half), tries = 2; at && tries; tries--) {
		struct contribution *known = contribution_at(mirror, at);
		if (known->window != window)
			break;
		if (known->turned == turned)
			return known;
		at = known->next;
	}
	uint32_t place = contribution_take(mirror);
	if (!place)
		return NULL;
	struct contribution *taken = contribution_at(mirror, place);
	uint32_t *head = newest_of(mirror, half);
	if (!(half & LINGERING))
		pages_at(&mirror->pages, half)->contributed = 1;
	*taken = (struct contribution){
		.half = half,
		.next = *head,
		.earlier = mirror->contribution_last,
		.window = window & INT32_MAX,
		.turned = turned,
	};
	*(taken->earlier ? &contribution_at(mirror, taken->earlier)->later
			 : &mirror->contribution_first) = place;
	mirror->contribution_last = place;
	*head = place;
	return taken;
}

static uint32_t add_clamped(uint32_t a, uint32_t b)
{
	return a + b < a ? UINT32_MAX : a + b;
}

void contribute(struct mirror *mirror, uint32_t half, const struct delta *delta, bool turned)
{
	struct contribution *sum =
		contribution_of(mirror, half, (uint32_t)(mirror->pane / PANES_PER_10S), turned);
	if (!sum)
		return;
	sum->node_received = add_clamped(sum->node_received, delta->node_received);
	sum->node_lost = add_clamped(sum->node_lost, delta->node_lost);
	if (delta->flags & DELTA_LOOKUP) {
		contribute_lookup(mirror, sum, delta);
		return;
	}
	sum->traffic.tx_bytes += delta->traffic.tx_bytes;
	sum->traffic.rx_bytes += delta->traffic.rx_bytes;
	sum->traffic.tx_segments += delta->traffic.tx_segments;
	sum->traffic.rx_segments += delta->traffic.rx_segments;
	sum->traffic.retransmits += delta->traffic.retransmits;
	sum->flags |= delta->flags;
	sum->time_ns = delta->time_ns;
	sum->min_rtt_us = min_rtt(sum->min_rtt_us, delta->min_rtt_us);
	if (delta->connect_us)
		sum->connect_us = delta->connect_us;
	if (delta->flags & (DELTA_CLOSED | DELTA_FAILED))
		sum->reason = delta->reason;
}

/* The half's list, if it has one: most have none. */
static uint32_t *list_of(struct mirror *mirror, uint32_t half)
{
	if (!(half & LINGERING) && !pages_at(&mirror->pages, half)->contributed)
		return NULL;
	return newest_of(mirror, half);
}

void contributions_forget(struct mirror *mirror, uint32_t half)
{
	uint32_t *list = list_of(mirror, half);
	while (list && *list) {
		uint32_t place = *list;
		*list = contribution_at(mirror, place)->next;
		contribution_free(mirror, place);
	}
}

void contributions_move(struct mirror *mirror, uint32_t half, uint32_t to)
{
	uint32_t *list = list_of(mirror, half);
	if (!list || !*list)
		return;
	*newest_of(mirror, to) = *list;
	for (uint32_t place = *list; place; place = contribution_at(mirror, place)->next)
		contribution_at(mirror, place)->half = to;
	*list = 0;
}

void contributions_expire(struct mirror *mirror)
{
	while (mirror->contribution_first &&
	       window_start_ns(contribution_at(mirror, mirror->contribution_first)) +
			       mirror->options.keep_ns <
		       pane_end(mirror->pane))
		contribution_drop_oldest(mirror);
}

/* ---- amendments ---- */

static struct amendment amendment_of(const struct mirror *mirror,
				     const struct contribution *contribution,
				     const struct place *before, const struct place *after)
{
	bool closed = contribution->flags & DELTA_CLOSED;
	struct amendment amendment = {
		.window_start_ns = window_start_ns(contribution),
		.before = *before,
		.after = *after,
		.sum = {.flags = contribution->flags,
			.reason = contribution->reason,
			.traffic = contribution->traffic,
			.connect_us = contribution->connect_us,
			.time_ns = contribution->time_ns,
			.min_rtt_us = contribution->min_rtt_us,
			.node_received = contribution->node_received,
			.node_lost = contribution->node_lost},
		.opened = !!(contribution->flags & DELTA_OPENED),
		.closed = closed,
		.resets = closed && contribution->reason == CLOSE_RESET,
	};
	if (contribution->flags & DELTA_FAILED)
		amendment.failed[contribution->reason]++;
	if (contribution->lookups)
		amendment.lookups = *lookups_at(mirror, contribution->lookups);
	return amendment;
}

static struct place place_then(const struct place *now, const struct turns *turns,
			       const struct contribution *sum)
{
	struct place then = *now;
	then.counts_from = turns_side(turns, now->counts_from, sum->window);
	then.counts_from ^= sum->turned;
	return then;
}

static void amend(struct mirror *mirror, const struct change *change, const struct place *after,
		  const struct turns *turns)
{
	uint32_t *list = list_of(mirror, change->half);
	for (uint32_t at = list ? *list : 0; at; at = contribution_at(mirror, at)->next) {
		const struct contribution *sum = contribution_at(mirror, at);
		struct place from = place_then(&change->before, &change->turns, sum);
		struct place to = place_then(after, turns, sum);
		if (!place_moves(&from, &to))
			continue; /* back to what it was, or turned later */
		struct amendment *amendment = queue_add(&mirror->amendments, sizeof(*amendment));
		*amendment = amendment_of(mirror, sum, &from, &to);
	}
}

/* Before this pane's deltas are added: those go out under the new label at once. In the order in
 * which the labels came, which is that of the join tasks. */
void collect_amendments(struct mirror *mirror)
{
	const struct change *changes = mirror->changes.items;
	mirror->amendments.count = 0;
	for (size_t i = 0; i < mirror->changes.count; i++) {
		struct place after;
		struct turns turns;
		bool final;
		if (changes[i].half & LINGERING) {
			struct linger *linger =
				&mirror->lingers.items[changes[i].half & ~LINGERING];
			after = linger->place;
			turns = linger->turns;
			final = linger->final;
			linger->changed = false;
		} else {
			struct half *half = pages_at(&mirror->pages, changes[i].half);
			after = half_place(half);
			turns = turns_of(mirror, changes[i].half, half);
			final = half->final;
			half->changed = 0;
		}
		amend(mirror, &changes[i], &after, &turns);
		if (final)
			contributions_forget(mirror, changes[i].half);
		outcome_release(mirror, &changes[i].before);
	}
	mirror->changes.count = 0;
}
