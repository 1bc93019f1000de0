/* What TLS handshakes asked for: the name of a far end without an agent that no DNS answer names.
 * It comes after its connection, mostly in the same pane, and then goes along with the opening; in
 * a later pane the half is told again, with it, by its label's number, and what was labelled
 * without it is amended; until a half has its label the name is held. Bounds: NAMES_HELD_MAX,
 * NAME_HELD_PANES; what finds no room, or no label in time, is counted. */
#include "ingest/state.h"

enum {
	NAMES_HELD_MAX = 16384,
	NAME_HELD_PANES = 40, /* 10 s: an exchange that is behind */
};

static struct opening *opening_of(const struct mirror *mirror, uint32_t slot)
{
	return (struct opening *)mirror->openings.items + (mirror->scratch.openings[slot] - 1);
}

/* Of a handshake that was tried again the first name counts. */
static void name_along(const struct mirror *mirror, uint32_t slot, uint32_t instance)
{
	struct opening *opening = opening_of(mirror, slot);
	if (!opening->asked)
		opening->asked = instance;
}

static void name_hold(struct mirror *mirror, uint32_t index, const struct half *half,
		      uint32_t instance)
{
	if (mirror->names_held.count == NAMES_HELD_MAX) {
		mirror->stats.names_dropped++;
		return;
	}
	roster_hold(mirror->roster, instance);
	*(struct held_name *)queue_add(&mirror->names_held, sizeof(struct held_name)) =
		(struct held_name){
			.half = index,
			.instance = instance,
			.node = mirror->node,
			.generation = half->generation,
			.until_pane = mirror->pane + NAME_HELD_PANES,
		};
}

static void apply_name(struct apply *apply, const struct name_row *row)
{
	struct mirror *mirror = apply->mirror;
	uint32_t index;
	struct half *half = socket_of(apply, row->slot, &index);
	if (!half || (row->defined && row->generation != half->slot_generation)) {
		apply->refused++;
		return;
	}
	if (!row->name || half->side != SIDE_CLIENT || (half->final && half->rules & RULE_JOINED))
		return;
	uint32_t instance = name_instance(mirror, row->name, RESOLUTION_SNI);
	socket_again(mirror, apply->node, index, half);
	if (half->opening)
		name_along(mirror, row->slot, instance);
	else
		name_hold(mirror, index, half, instance);
}

void apply_names(struct apply *apply, const struct name_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		apply_name(apply, &rows[i]);
}

/* Whether it still waits. Who is open is of the node that told its name. */
static bool name_waits(struct mirror *mirror, const struct held_name *held)
{
	struct half *half = pages_at(&mirror->pages, held->half);
	if (!half->live || half->generation != held->generation) {
		mirror->stats.names_dropped++;
		return false;
	}
	if (!half->labelled && mirror->pane < held->until_pane)
		return true;
	if (!half->labelled) {
		mirror->stats.names_dropped++;
		return false;
	}
	struct node *node = mirror->nodes[held->node];
	mirror->node = held->node;
	socket_again(mirror, node, held->half, half);
	name_along(mirror, half_slot(&mirror->pages, held->half), held->instance);
	send_node(mirror, node);
	return false;
}

void names_send_held(struct mirror *mirror)
{
	struct held_name *held = mirror->names_held.items;
	size_t kept = 0;
	for (size_t i = 0; i < mirror->names_held.count; i++) {
		if (name_waits(mirror, &held[i]))
			held[kept++] = held[i];
		else
			roster_drop(mirror->roster, held[i].instance);
	}
	mirror->names_held.count = kept;
}
