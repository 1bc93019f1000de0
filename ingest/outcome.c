/* Closing a pane, second half: labels come back from the join, each half's delta goes out under its
 * label, and what a half gave under a label that has changed is moved by amendments. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ingest/state.h"

enum { PANES_PER_10S = 10 * PANES_PER_S };

/* ---- contributions ---- */

static struct contribution *contribution_at(const struct mirror *mirror, uint32_t place)
{
	return &mirror->contributions[place - 1];
}

/* Out of the list by age; the caller takes it out of its half's. */
static void contribution_free(struct mirror *mirror, uint32_t place)
{
	struct contribution *freed = contribution_at(mirror, place);
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
	uint32_t *link = &half_at(mirror, contribution_at(mirror, place)->half)->contributions;
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
		return NONE;
	contribution_drop_oldest(mirror);
	return contribution_take(mirror);
}

/* The half's contribution to a window; windows only grow, so it is the newest or a new one. */
static struct contribution *contribution_of(struct mirror *mirror, uint32_t index,
					    uint64_t window_start_ns)
{
	struct half *half = half_at(mirror, index);
	uint32_t newest = half->contributions;
	if (newest && contribution_at(mirror, newest)->amendment.window_start_ns == window_start_ns)
		return contribution_at(mirror, newest);
	uint32_t place = contribution_take(mirror);
	if (!place)
		return NULL;
	struct contribution *taken = contribution_at(mirror, place);
	*taken = (struct contribution){
		.half = index,
		.next = half->contributions,
		.earlier = mirror->contribution_last,
		.amendment = {.window_start_ns = window_start_ns},
	};
	*(taken->earlier ? &contribution_at(mirror, taken->earlier)->later
			 : &mirror->contribution_first) = place;
	mirror->contribution_last = place;
	half->contributions = place;
	return taken;
}

static void contribute(struct mirror *mirror, uint32_t index, const struct delta *delta)
{
	uint64_t window = mirror->pane / PANES_PER_10S;
	struct contribution *contribution =
		contribution_of(mirror, index, window * PANES_PER_10S * PANE_NS);
	if (!contribution)
		return;
	struct amendment *amendment = &contribution->amendment;
	struct delta *sum = &amendment->sum;
	sum->traffic.tx_bytes += delta->traffic.tx_bytes;
	sum->traffic.rx_bytes += delta->traffic.rx_bytes;
	sum->traffic.tx_segments += delta->traffic.tx_segments;
	sum->traffic.rx_segments += delta->traffic.rx_segments;
	sum->traffic.retransmits += delta->traffic.retransmits;
	sum->flags |= delta->flags;
	sum->time_ns = delta->time_ns;
	if (delta->srtt_us)
		sum->srtt_us = delta->srtt_us;
	if (delta->min_rtt_us && (!sum->min_rtt_us || delta->min_rtt_us < sum->min_rtt_us))
		sum->min_rtt_us = delta->min_rtt_us;
	if (delta->connect_us)
		sum->connect_us = delta->connect_us;
	if (delta->flags & (DELTA_CLOSED | DELTA_FAILED))
		sum->reason = delta->reason;
	amendment->opened += !!(delta->flags & DELTA_OPENED);
	amendment->closed += !!(delta->flags & DELTA_CLOSED);
	amendment->resets += delta->flags & DELTA_CLOSED && delta->reason == CLOSE_RESET;
	if (delta->flags & DELTA_FAILED)
		amendment->failed[delta->reason]++;
}

void outcome_forget(struct mirror *mirror, struct half *half)
{
	while (half->contributions) {
		uint32_t place = half->contributions;
		half->contributions = contribution_at(mirror, place)->next;
		contribution_free(mirror, place);
	}
}

static void contributions_expire(struct mirror *mirror)
{
	while (mirror->contribution_first &&
	       contribution_at(mirror, mirror->contribution_first)->amendment.window_start_ns +
			       mirror->options.keep_ns <
		       pane_end(mirror->pane))
		contribution_drop_oldest(mirror);
}

/* ---- labels ---- */

static bool label_moves(const struct label *before, const struct label *after)
{
	return before->edge.id != after->edge.id || before->lane.id != after->lane.id ||
	       before->client.id != after->client.id || before->server.id != after->server.id ||
	       before->counts_from != after->counts_from || before->joined != after->joined;
}

/* An end without an agent goes by its address. */
static void name_addresses(struct mirror *mirror, const struct label *label)
{
	char text[ADDRESS_TEXT_MAX];
	size_t length;
	if (label->client.resolution == RESOLUTION_ADDRESS) {
		length = address_format(&label->client_address, text);
		names_put(mirror->names, text, length, mirror->pane);
	}
	if (label->server.resolution == RESOLUTION_ADDRESS) {
		length = address_format(&label->server_address, text);
		names_put(mirror->names, text, length, mirror->pane);
	}
}

static void keep_label(struct mirror *mirror, const struct label *label)
{
	uint32_t index = label->half.index;
	struct half *half = half_at(mirror, index);
	struct label *kept = &mirror->labels[index];
	if (half->state & HALF_LABELLED && label_moves(kept, label) && !half->change) {
		struct change *change = queue_add(&mirror->changes, sizeof(*change));
		*change = (struct change){.half = index, .before = *kept};
		half->change = (uint32_t)mirror->changes.count;
	}
	half->state = (uint8_t)((half->state & ~HALF_FINAL) | HALF_LABELLED);
	half->state |= label->final ? HALF_FINAL : 0;
	*kept = *label;
	name_addresses(mirror, label);
	if (label->final && half->state & HALF_CLOSED)
		*(uint32_t *)queue_add(&mirror->leaving, sizeof(uint32_t)) = index;
}

void mirror_labels(struct mirror *mirror, const struct label *labels, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct half_ref *ref = &labels[i].half;
		if (ref->source == mirror->options.source && ref->index < mirror->halves_used &&
		    half_at(mirror, ref->index)->generation == ref->generation &&
		    half_at(mirror, ref->index)->state & HALF_APPLIED)
			keep_label(mirror, &labels[i]);
	}
}

/* ---- amendments ---- */

static int compare_changes(const void *a, const void *b, void *context)
{
	const struct mirror *mirror = context;
	const struct change *first = a, *second = b;
	const struct half *x = half_at(mirror, first->half), *y = half_at(mirror, second->half);
	if (x->node != y->node)
		return strcmp(mirror->nodes[x->node]->name, mirror->nodes[y->node]->name);
	if (x->slot != y->slot)
		return x->slot < y->slot ? -1 : 1;
	return x->slot_generation < y->slot_generation ? -1 : 1;
}

static void amend_half(struct mirror *mirror, const struct change *change)
{
	struct half *half = half_at(mirror, change->half);
	const struct label *after = &mirror->labels[change->half];
	half->change = NONE;
	if (!label_moves(&change->before, after))
		return; /* back to what it was within the pane */
	for (uint32_t place = half->contributions; place;
	     place = contribution_at(mirror, place)->next) {
		struct amendment *amendment = queue_add(&mirror->amendments, sizeof(*amendment));
		*amendment = contribution_at(mirror, place)->amendment;
		amendment->before = &change->before;
		amendment->after = after;
	}
}

/* Before this pane's deltas are added: those go out under the new label at once. */
static void collect_amendments(struct mirror *mirror)
{
	struct change *changes = mirror->changes.items;
	mirror->amendments.count = 0;
	if (mirror->changes.count)
		qsort_r(changes, mirror->changes.count, sizeof(*changes), compare_changes, mirror);
	for (size_t i = 0; i < mirror->changes.count; i++) {
		amend_half(mirror, &changes[i]);
		if (mirror->labels[changes[i].half].final)
			outcome_forget(mirror, half_at(mirror, changes[i].half));
	}
}

/* ---- deltas ---- */

/* First touches of the half: in the pane, its second, its ten seconds. What is late counts from ten
 * seconds on. */
static uint32_t first_flags(const struct mirror *mirror, struct half *half, bool late)
{
	uint32_t pane = (uint32_t)mirror->pane + 1;
	uint32_t second = (uint32_t)(mirror->pane / PANES_PER_S) + 1;
	uint32_t window = (uint32_t)(mirror->pane / PANES_PER_10S) + 1;
	uint32_t flags = half->window_10s != window ? DELTA_FIRST_IN_10S : 0;
	half->window_10s = window;
	if (late)
		return flags;
	flags |= half->window_1s != second ? DELTA_FIRST_IN_1S : 0;
	flags |= half->pane != pane ? DELTA_FIRST_IN_PANE : 0;
	half->window_1s = second;
	half->pane = pane;
	return flags;
}

static void emit_part(struct mirror *mirror, const struct part *part)
{
	struct half *half = half_at(mirror, part->half);
	struct node *node = mirror->nodes[half->node];
	const struct label *label = &mirror->labels[part->half];
	struct delta *delta = queue_add(&mirror->deltas, sizeof(*delta));
	*delta = part->delta;
	delta->label = label;
	delta->flags |= first_flags(mirror, half, part->kind == PART_LATE);
	delta->node_received = node->pane_received;
	delta->node_lost = node->pane_lost;
	half->parts[part->kind] = NONE;
	if (delta->flags & DELTA_FIRST_IN_10S)
		name_addresses(mirror, label); /* names live as long as they are used */
	if (!(half->state & HALF_FINAL))
		contribute(mirror, part->half, delta);
}

static bool half_expired(const struct mirror *mirror, const struct half *half)
{
	return half->state & HALF_CLOSED &&
	       half->closed_ns + mirror->options.keep_ns < pane_end(mirror->pane);
}

/* A half without a label keeps its deltas for the next pane, until it expires. */
static void collect_deltas(struct mirror *mirror)
{
	struct part *parts = mirror->parts.items;
	size_t kept = 0;
	mirror->deltas.count = 0;
	for (size_t i = 0; i < mirror->parts.count; i++) {
		struct half *half = half_at(mirror, parts[i].half);
		if (i + PREFETCH_AHEAD < mirror->parts.count)
			half_prefetch(mirror, parts[i + PREFETCH_AHEAD].half);
		if (half->state & HALF_LABELLED) {
			emit_part(mirror, &parts[i]);
		} else if (half_expired(mirror, half)) {
			mirror->stats.deltas_dropped++;
			half->parts[parts[i].kind] = NONE;
		} else {
			parts[kept++] = parts[i];
			half->parts[parts[i].kind] = (uint32_t)kept;
		}
	}
	mirror->parts.count = kept;
}

/* ---- who leaves ---- */

static void leave_if_final(struct mirror *mirror, uint32_t index)
{
	const struct half *half = half_at(mirror, index);
	if (half->state & HALF_CLOSED && half->state & HALF_LABELLED && mirror->labels[index].final)
		half_give(mirror, index);
}

static void let_go(struct mirror *mirror)
{
	const struct closing *closings = mirror->closings.items;
	const uint32_t *leaving = mirror->leaving.items;
	for (size_t i = 0; i < mirror->closings.count; i++)
		leave_if_final(mirror, closings[i].half);
	for (size_t i = 0; i < mirror->leaving.count; i++)
		leave_if_final(mirror, leaving[i]);
	mirror->leaving.count = 0;
	while (mirror->linger_first &&
	       half_expired(mirror, half_at(mirror, mirror->linger_first - 1)))
		half_give(mirror, mirror->linger_first - 1);
}

void mirror_deltas(struct mirror *mirror, uint64_t pane)
{
	const struct mirror_sinks *sinks = &mirror->options.sinks;
	mirror->pane = pane;
	collect_amendments(mirror);
	collect_deltas(mirror);
	if (mirror->deltas.count)
		sinks->deltas(sinks->context, mirror->deltas.items, mirror->deltas.count);
	if (mirror->amendments.count)
		sinks->amendments(sinks->context, mirror->amendments.items,
				  mirror->amendments.count);
	mirror->changes.count = 0;
	let_go(mirror);
	contributions_expire(mirror);
}
