/* DNS lookups. Each is a delta of its own, under the label of the half that it passed through: its
 * latency is a sample, which a sum would lose. Nothing is touched by it, as its datagrams are
 * counted by the half's updates. Of a half without a final label the lookups of a slot are a list
 * of parts, so that they go along when the half ends. A slot is one socket's within a batch: what a
 * lookup says of a slot that its batch defines later, by the times they have, is not of the socket
 * that has the slot until then. */
#include "base/clock.h"
#include "ingest/state.h"

static struct part *part_at(const struct mirror *mirror, uint32_t part)
{
	return &((struct part *)mirror->parts.items)[part];
}

/* The part is the newest of its slot. */
static void link_part(struct mirror *mirror, uint32_t number)
{
	struct part *part = part_at(mirror, number);
	uint32_t *newest = &mirror->scratch.lookups[part->slot];
	if (!*newest)
		*(uint32_t **)queue_add(&mirror->made, sizeof(newest)) = newest;
	part->before = *newest;
	*newest = number + 1;
}

void lookup_resume(struct mirror *mirror, uint32_t part)
{
	link_part(mirror, part);
}

void lookups_linger(struct mirror *mirror, uint32_t slot, uint32_t linger)
{
	for (uint32_t at = mirror->scratch.lookups[slot]; at;) {
		struct part *part = part_at(mirror, at - 1);
		at = part->before;
		part->half = LINGERING | linger;
		mirror->lingers.items[linger].parts++;
	}
}

void lookups_move(struct mirror *mirror, uint32_t from, uint32_t to, uint32_t index)
{
	uint32_t at = mirror->scratch.lookups[from];
	mirror->scratch.lookups[from] = 0;
	while (at) {
		struct part *part = part_at(mirror, at - 1);
		uint32_t number = at - 1;
		at = part->before;
		part->half = index;
		part->slot = to;
		link_part(mirror, number);
	}
}

static struct delta *wait(struct mirror *mirror, uint32_t slot, uint32_t index, enum part_kind kind)
{
	struct delta *delta = queue_add(&mirror->waiting, sizeof(*delta));
	*(struct part *)queue_add(&mirror->parts, sizeof(struct part)) = (struct part){
		.half = index,
		.slot = slot,
		.node = mirror->node,
		.kind = (uint8_t)kind,
		.lookup = true,
	};
	link_part(mirror, (uint32_t)mirror->parts.count - 1);
	return delta;
}

static void apply_lookup(struct apply *apply, const struct lookup_row *row,
			 const struct answer_row *answers)
{
	struct mirror *mirror = apply->mirror;
	uint64_t time_ns = run_time(apply->run, row->time_us);
	enum part_kind kind = apply->kind;
	uint32_t index;
	struct half *half = socket_of(apply, row->slot, &index);
	if (!half || (row->defined && row->generation != half->slot_generation)) {
		apply->refused++;
		return;
	}
	if (row->answers && half->side == SIDE_CLIENT)
		answers_take(apply, apply->node->owners[half->owner].pid, row, answers);
	if (kind == PART_LATE)
		kind = turn_late(mirror, index, half, time_ns);
	struct place place = half_place(half);
	if (kind == PART_TURNED)
		place.counts_from ^= 1;
	struct delta *delta = half->final ? queue_add(&mirror->deltas, sizeof(*delta))
					  : wait(mirror, row->slot, index, kind);
	*delta = (struct delta){
		.place = half->final ? place : (struct place){0},
		.flags = (uint16_t)(DELTA_LOOKUP | (kind == PART_NORMAL ? 0 : DELTA_LATE) |
				    (half->probe ? DELTA_PROBE : 0)),
		.reason = (uint16_t)row->result,
		.connect_us = row->result == LOOKUP_TIMEOUT ? 0 : row->latency_us,
		.time_ns = time_ns,
		.node_received = mirror->node_received,
		.node_lost = mirror->node_lost,
	};
}

void apply_lookups(struct apply *apply, const struct lookup_row *rows, size_t count,
		   const struct answer_row *answers)
{
	for (size_t i = 0; i < count; answers += rows[i++].answers)
		apply_lookup(apply, &rows[i], answers);
}
