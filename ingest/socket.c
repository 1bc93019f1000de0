/* Sockets: definitions, updates and closes of a run, applied to the node's halves and to the deltas
 * in the making. */
#include <string.h>

#include "base/clock.h"
#include "ingest/state.h"

/* ---- deltas in the making ---- */

static void parts_room(struct mirror *mirror, size_t more)
{
	queue_room(&mirror->deltas, mirror->deltas.count + more, sizeof(struct delta));
	queue_room(&mirror->made, mirror->made.count + more, sizeof(uint32_t *));
}

static inline struct delta *delta_at(const struct mirror *mirror, uint32_t place)
{
	const struct queue *queue = place & WAITING ? &mirror->waiting : &mirror->deltas;
	return &((struct delta *)queue->items)[(place & ~WAITING) - 1];
}

/* Its half's label is not final. */
static __attribute__((noinline)) struct delta *part_wait(struct mirror *mirror, uint32_t slot,
							 uint32_t index, enum part_kind kind)
{
	struct delta *delta = queue_add(&mirror->waiting, sizeof(*delta));
	*(struct part *)queue_add(&mirror->parts, sizeof(struct part)) = (struct part){
		.half = index,
		.slot = slot,
		.node = mirror->node,
		.kind = (uint8_t)kind,
	};
	mirror->scratch.parts[kind][slot] = WAITING | (uint32_t)mirror->waiting.count;
	delta->place = (struct place){0};
	return delta;
}

/* All but what it moved, and when; there is room. Sets field by field: nothing is written twice. */
static inline __attribute__((always_inline)) struct delta *part_begin(struct mirror *mirror,
								      uint32_t slot, uint32_t index,
								      struct half *half,
								      enum part_kind kind)
{
	static const uint16_t flags[PART_KINDS] = {
		[PART_RECOVERED] = DELTA_RECOVERED,
		[PART_LATE] = DELTA_LATE,
		[PART_TURNED] = DELTA_LATE,
	};
	uint16_t first = flags[kind];
	uint32_t *place = &mirror->scratch.parts[kind][slot];
	struct delta *delta;
	((uint32_t **)mirror->made.items)[mirror->made.count++] = place;
	if (half->final) {
		delta = &((struct delta *)mirror->deltas.items)[mirror->deltas.count++];
		*place = (uint32_t)mirror->deltas.count;
		delta->place = half_place(half);
		if (kind == PART_TURNED)
			delta->place.counts_from ^= 1;
		else
			first |= half_touch(mirror, half, kind != PART_NORMAL);
		if (half->distant && first & DELTA_FIRST_IN_60S)
			name_peer(mirror, half->peer);
	} else {
		delta = part_wait(mirror, slot, index, kind);
	}
	delta->node_received = mirror->node_received;
	delta->node_lost = mirror->node_lost;
	delta->pad = 0;
	delta->reason = 0;
	delta->traffic.retransmits = 0;
	delta->min_rtt_us = 0;
	delta->connect_us = 0;
	if (half->probe)
		first |= DELTA_PROBE;
	delta->flags = first;
	return delta;
}

static struct delta *part_of(struct mirror *mirror, uint32_t slot, uint32_t index,
			     struct half *half, enum part_kind kind)
{
	uint32_t place = mirror->scratch.parts[kind][slot];
	if (place)
		return delta_at(mirror, place);
	if (mirror->deltas.count == mirror->deltas.capacity ||
	    mirror->made.count == mirror->made.capacity)
		parts_room(mirror, 1);
	struct delta *delta = part_begin(mirror, slot, index, half, kind);
	delta->traffic = (struct traffic){0};
	delta->srtt_us = 0;
	delta->time_ns = 0;
	return delta;
}

static void traffic_add(struct traffic *sum, const struct traffic *moved)
{
	sum->tx_bytes += moved->tx_bytes;
	sum->rx_bytes += moved->rx_bytes;
	sum->tx_segments += moved->tx_segments;
	sum->rx_segments += moved->rx_segments;
	sum->retransmits += moved->retransmits;
}

/* ---- absolute counters ---- */

/* From before to now, modulo the counter's width; more than half of that is backwards. */
static uint64_t forward(uint64_t now, uint64_t before, uint64_t mask, bool *backwards)
{
	uint64_t moved = (now - before) & mask;
	if (moved <= mask / 2)
		return moved;
	*backwards = true;
	return 0;
}

static const struct traffic no_traffic;

/* What the half moved since the counters it had. */
static struct traffic moved_to(const struct half *half, const struct traffic *total,
			       bool *backwards)
{
	const struct traffic before = half_counters(half);
	return (struct traffic){
		forward(total->tx_bytes, before.tx_bytes, HALF_BYTES_MASK, backwards),
		forward(total->rx_bytes, before.rx_bytes, HALF_BYTES_MASK, backwards),
		forward(total->tx_segments, before.tx_segments, HALF_SEGMENTS_MASK, backwards),
		forward(total->rx_segments, before.rx_segments, HALF_SEGMENTS_MASK, backwards),
		forward(total->retransmits, before.retransmits, HALF_RETRANSMITS_MASK, backwards),
	};
}

bool socket_goes_on(const struct half *half, const struct traffic *total)
{
	bool backwards = false;
	moved_to(half, total, &backwards);
	return !backwards;
}

static enum part_kind absolute_kind(const struct apply *apply, uint32_t index,
				    const struct half *half, bool recovered, uint64_t time_ns)
{
	bool late = apply->kind == PART_LATE;
	if (recovered && half->astride)
		return turn_healed(half, late ? PART_LATE : PART_RECOVERED);
	if (late)
		return turn_late(apply->mirror, index, half, time_ns);
	return recovered ? PART_RECOVERED : PART_NORMAL;
}

/* Heals what was lost since the last absolute counters. */
static void absolute(struct apply *apply, uint32_t slot, uint32_t index, struct half *half,
		     const struct traffic *total, uint64_t time_ns)
{
	struct mirror *mirror = apply->mirror;
	bool backwards = false;
	enum part_kind kind = absolute_kind(apply, index, half, half->gapped, time_ns);
	half->gapped = half->astride = 0;
	if (half_has(half, total))
		return;
	struct traffic moved = moved_to(half, total, &backwards);
	mirror->stats.backwards += backwards;
	half_set(half, total);
	if (memcmp(&moved, &no_traffic, sizeof(moved)) == 0)
		return;
	struct delta *delta = part_of(mirror, slot, index, half, kind);
	traffic_add(&delta->traffic, &moved);
	delta->time_ns = time_ns;
}

/* ---- whose slot ---- */

/* Updates and closes name a slot only. Batches are not applied as a whole: what a former batch says
 * of a later pane comes after what the next batch says of an earlier one, and a batch may come
 * late. So what is older than the definition of the half in the slot, or than the end of the last
 * one, is of the slot's former owner. The sequence is kept in 15 bits; batches are at most
 * WINDOW_BATCHES apart, and key frames and sweeps let it follow at that distance. */
_Static_assert(4 * WINDOW_BATCHES <= HALF_SEQUENCE_MASK + 1, "sequences must not come round");

static inline bool socket_former(const struct half *half, uint32_t sequence)
{
	uint32_t behind = (half->sequence - sequence) & HALF_SEQUENCE_MASK;
	return behind && behind <= WINDOW_BATCHES;
}

static void sequence_follow(struct half *half, uint64_t sequence)
{
	uint32_t ahead = ((uint32_t)sequence - half->sequence) & HALF_SEQUENCE_MASK;
	if (ahead > WINDOW_BATCHES && ahead <= HALF_SEQUENCE_MASK - WINDOW_BATCHES)
		half->sequence = (uint32_t)(sequence - WINDOW_BATCHES) & HALF_SEQUENCE_MASK;
}

void socket_follow(struct mirror *mirror, struct node *node)
{
	for (uint32_t at = 0; at < node->index.count; at++) {
		uint32_t page = node->index.pages[at];
		for (uint32_t i = 0; page && i < PAGE_HALVES; i++)
			sequence_follow(&mirror->pages.pages[page - 1].halves[i],
					node->applied_sequence);
	}
}

/* The open half that the run means, or NULL. */
static inline __attribute__((always_inline)) struct half *
socket_find(const struct apply *apply, uint32_t slot, uint32_t *index)
{
	*index = pages_find(&apply->node->index, slot);
	if (*index == NO_PLACE)
		return NULL;
	struct half *half = pages_at(&apply->mirror->pages, *index);
	return half->live && !socket_former(half, (uint32_t)apply->run->sequence) ? half : NULL;
}

struct half *socket_of(const struct apply *apply, uint32_t slot, uint32_t *index)
{
	return socket_find(apply, slot, index);
}

/* ---- openings ---- */

/* All but what it was seen as, of which this is the hash; key, pid and self come when the node is
 * done. */
static struct half_open *opening_new(struct mirror *mirror, struct node *node, uint32_t index,
				     struct half *half, uint64_t hash)
{
	struct opening *opening = queue_add(&mirror->openings, sizeof(*opening));
	struct half_open *open = &opening->open;
	open->ref = (struct half_ref){index, (uint16_t)mirror->options.source, half->generation};
	open->number = 0;
	open->side = half->side;
	open->hops = 0;
	open->flags =
		(uint16_t)((half->guessed ? HALF_ROLE_GUESSED : 0) |
			   (half->existed ? HALF_EXISTED : 0) | (half->probe ? HALF_PROBE : 0));
	open->pad = 0;
	opening->closed_ns = UINT64_MAX;
	opening->hash = hash;
	open->former = (struct half_ref){0};
	opening->owner = half->owner;
	opening->asked = 0;
	opening->keyed = opening->mapped = false;
	node->owners[half->owner].users++;
	half->opening = 1;
	mirror->scratch.openings[half_slot(&mirror->pages, index)] =
		(uint32_t)mirror->openings.count;
	return open;
}

/* The whole definition, to its key's owner. */
static struct half_open *announce(struct apply *apply, uint32_t index, struct half *half,
				  const struct definition_row *row, uint64_t hash,
				  uint64_t opened_ns)
{
	struct half_open *open = opening_new(apply->mirror, apply->node, index, half, hash);
	open->seen = row->seen;
	open->opened_ns = opened_ns;
	open->connect_us = row->connect_us;
	return open;
}

/* Its label's number is all that is known of it here. */
void socket_again(struct mirror *mirror, struct node *node, uint32_t index, struct half *half)
{
	if (half->opening || !half->labelled)
		return;
	struct half_open *open = opening_new(mirror, node, index, half, 0);
	struct opening *opening =
		(struct opening *)mirror->openings.items + (mirror->openings.count - 1);
	open->number = half->number;
	open->flags |= HALF_AGAIN;
	open->key = open->seen = (struct tuple){0};
	open->opened_ns = open->connect_us = 0;
	opening->task = half->join_task;
	opening->keyed = true;
}

static uint64_t row_opened_ns(const struct definition_row *row, uint64_t time_ns)
{
	return time_ns > row->age_ns ? time_ns - row->age_ns : 0;
}

/* By its label's number to who has it. Who does not have it any more, or never heard of it, begins
 * it anew: so it is told whole. */
static struct half_open *define_again(struct apply *apply, uint32_t index, struct half *half,
				      const struct definition_row *row, uint64_t time_ns)
{
	struct mirror *mirror = apply->mirror;
	const uint32_t *opening = &mirror->scratch.openings[row->slot];
	uint64_t opened_ns = row_opened_ns(row, time_ns);
	if (!half->opening && !half->labelled)
		announce(apply, index, half, row, tuple_hash(&row->seen), opened_ns)->flags |=
			HALF_AGAIN;
	socket_again(mirror, apply->node, index, half);
	struct half_open *open = &((struct opening *)mirror->openings.items)[*opening - 1].open;
	if (open->number) {
		open->seen = row->seen;
		open->opened_ns = opened_ns;
		open->connect_us = row->connect_us;
	}
	return open;
}

void socket_moved(struct apply *apply, uint32_t index, struct half *half,
		  const struct half_ref *former, const struct definition_row *row, uint64_t time_ns)
{
	half->slot_generation = generation_folded(row->generation);
	struct half_open *open = define_again(apply, index, half, row, time_ns);
	open->ref.index = index;
	open->ref.generation = half->generation;
	if (open->flags & HALF_MOVED)
		return;
	open->flags |= HALF_MOVED;
	open->former = *former;
}

/* Another process or cgroup has the socket; returns whether that is another instance. */
static bool change_owner(struct mirror *mirror, struct node *node, struct half *half, uint32_t slot,
			 uint32_t pid, uint64_t cgroup)
{
	const struct owner *before = &node->owners[half->owner];
	pid = pid ? pid : before->pid;
	if (pid == before->pid && cgroup == before->cgroup)
		return false;
	uint16_t taken = owner_take(mirror, node, pid, cgroup);
	const struct owner *after = &node->owners[taken];
	before = &node->owners[half->owner];
	bool changed = after->self_id != before->self_id || after->resolution != before->resolution;
	owner_drop(mirror, node, half->owner);
	half->owner = taken;
	if (half->opening) {
		struct opening *opening = (struct opening *)mirror->openings.items +
					  (mirror->scratch.openings[slot] - 1);
		node->owners[taken].users++;
		owner_drop(mirror, node, opening->owner);
		opening->owner = taken;
	}
	return changed;
}

/* ---- definitions ---- */

/* A closed half that waits for its final label makes room for a new one, the oldest first; not
 * while its last deltas are still to go. */
static bool make_room(struct mirror *mirror)
{
	if (mirror->stats.halves < mirror->options.halves_max)
		return true;
	const struct lingers *lingers = &mirror->lingers;
	if (!lingers->first || lingers->items[lingers->first - 1].parts)
		return false;
	linger_leave(mirror, lingers->first - 1);
	return true;
}

enum { MIN_RTT_MOST = (1 << 24) - 1 }; /* 16.8 s */

static void half_min_rtt(struct half *half, uint32_t min_rtt_us)
{
	uint32_t least = min_rtt(half->min_rtt_us, min_rtt_us);
	if (least != half->min_rtt_us)
		half->min_rtt_us = (least < MIN_RTT_MOST ? least : MIN_RTT_MOST) & MIN_RTT_MOST;
}

static void measure(struct mirror *mirror, struct half *half, const struct definition_row *row,
		    uint64_t time_ns)
{
	half_min_rtt(half, row->min_rtt_us);
	for (int kind = 0; kind < PART_KINDS; kind++) {
		uint32_t place = mirror->scratch.parts[kind][row->slot];
		if (!place)
			continue;
		struct delta *delta = delta_at(mirror, place);
		delta->time_ns = time_ns;
		if (row->srtt_us)
			delta->srtt_us = row->srtt_us;
		delta->min_rtt_us = min_rtt(delta->min_rtt_us, row->min_rtt_us);
	}
}

/* The first we hear of a socket: does its past count? A connection that began under our eyes counts
 * from zero. If what told of its beginning was lost, all of it is recovered. What was there before
 * us is not ours. */
static void begin_counts(struct apply *apply, uint32_t index, struct half *half,
			 const struct definition_row *row, uint64_t opened_ns, uint64_t time_ns)
{
	bool again = row->flags & HALF_AGAIN;
	if (row->flags & HALF_EXISTED || (again && opened_ns < apply->node->first_ns)) {
		half->existed = 1;
		return;
	}
	enum part_kind kind = apply->kind == PART_LATE ? PART_LATE
			      : again		       ? PART_RECOVERED
						       : PART_NORMAL;
	struct delta *delta = part_of(apply->mirror, row->slot, index, half, kind);
	delta->traffic = row->total;
	delta->flags |= DELTA_OPENED;
	delta->connect_us = row->connect_us;
	delta->time_ns = time_ns;
	delta->srtt_us = row->srtt_us;
	delta->min_rtt_us = row->min_rtt_us;
}

/* Every field at once, but for the generation of the place. */
static void half_begin(struct apply *apply, struct half *half, const struct definition_row *row,
		       uint64_t hash)
{
	struct mirror *mirror = apply->mirror;
	struct node *node = apply->node;
	const struct traffic *total = &row->total;
	uint32_t least = row->min_rtt_us < MIN_RTT_MOST ? row->min_rtt_us : MIN_RTT_MOST;
	*half = (struct half){
		.tx_low = (uint32_t)total->tx_bytes,
		.rx_low = (uint32_t)total->rx_bytes,
		.tx_segments = (uint32_t)total->tx_segments,
		.rx_segments = (uint32_t)total->rx_segments,
		.retransmits_low = total->retransmits & 0x1ffff,
		.sequence = (uint32_t)apply->run->sequence & HALF_SEQUENCE_MASK,
		.touched = touch_never(&mirror->marks) & TOUCH_MASK,
		.tx_high = (uint32_t)(total->tx_bytes >> 32) & 0xff,
		.min_rtt_us = least & MIN_RTT_MOST,
		.rx_high = (uint32_t)(total->rx_bytes >> 32) & 0xff,
		.lost = node->applied_lost & 0xffffff,
		.retransmits_high = (uint32_t)(total->retransmits >> 17) & 0xff,
		.live = 1,
		.probe = !!(row->flags & HALF_PROBE),
		.side = row->side == SIDE_SERVER,
		.guessed = !!(row->flags & HALF_ROLE_GUESSED),
		.generation = half->generation,
		.slot_generation = generation_folded(row->generation),
		.owner = owner_take(mirror, node, row->pid, row->cgroup),
		.print = hash_print(hash),
	};
}

static void begin(struct apply *apply, const struct definition_row *row, uint64_t time_ns)
{
	struct mirror *mirror = apply->mirror;
	struct node *node = apply->node;
	uint64_t opened_ns = row_opened_ns(row, time_ns);
	uint32_t index;
	struct half *half =
		make_room(mirror)
			? pages_take(&mirror->pages, &node->index, row->slot,
				     (uint32_t)apply->run->sequence - WINDOW_BATCHES, &index)
			: NULL;
	if (!half) {
		apply->refused++;
		return;
	}
	mirror->stats.halves++;
	node->sockets++;
	uint64_t hash = tuple_hash(&row->seen);
	half_begin(apply, half, row, hash);
	begin_counts(apply, index, half, row, opened_ns, time_ns);
	announce(apply, index, half, row, hash, opened_ns);
}

/* A key frame. That of a half which is joined for good and whose owner is the same costs one look
 * at the counters. */
static void again(struct apply *apply, uint32_t index, struct half *half,
		  const struct definition_row *row, uint64_t time_ns)
{
	struct mirror *mirror = apply->mirror;
	struct node *node = apply->node;
	absolute(apply, row->slot, index, half, &row->total, time_ns);
	measure(mirror, half, row, time_ns);
	if (half->side != (row->side == SIDE_SERVER))
		half->print = seen_print(&row->seen);
	half->side = row->side == SIDE_SERVER;
	bool changed = change_owner(mirror, node, half, row->slot, row->pid, row->cgroup);
	if (half->side == SIDE_SERVER && !half->guessed)
		server_seen(mirror, node, half->owner, &row->seen);
	if (half->opening || (half->final && half->rules & RULE_JOINED && !changed))
		return;
	define_again(apply, index, half, row, time_ns);
}

enum { ROWS_GROUP = 16 }; /* whose halves are asked for together */

static inline __attribute__((always_inline)) void row_prefetch(const struct apply *apply,
							       uint32_t slot)
{
	const struct half *half = pages_half(&apply->node->index, slot);
	if (half)
		half_prefetch(half);
}

void apply_definitions(struct apply *apply, const struct definition_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		for (size_t j = i; i % ROWS_GROUP == 0 && j < i + ROWS_GROUP && j < count; j++)
			row_prefetch(apply, rows[j].slot);
		const struct definition_row *row = &rows[i];
		uint64_t time_ns = run_time(apply->run, row->time_us);
		uint32_t index = pages_find(&apply->node->index, row->slot);
		struct half *half =
			index == NO_PLACE ? NULL : pages_at(&apply->mirror->pages, index);
		if (half && socket_former(half, (uint32_t)apply->run->sequence)) {
			apply->refused++;
			continue;
		}
		if (half && half->live &&
		    half->slot_generation == generation_folded(row->generation)) {
			again(apply, index, half, row, time_ns);
			continue;
		}
		/* Its slot went to another socket without a close: that one was lost. */
		if (half && half->live)
			socket_end(apply, index, CLOSE_VANISHED, time_ns);
		index = apply->node->orphans ? orphan_adopt(apply, row, time_ns) : NO_PLACE;
		if (index != NO_PLACE)
			again(apply, index, pages_at(&apply->mirror->pages, index), row, time_ns);
		else
			begin(apply, row, time_ns);
	}
}

/* ---- updates ---- */

/* Where each update goes. A half is a miss of about 100 ns the first time in a pane, an update
 * about 10: all are asked for before the first is needed. */
static void updates_find(struct mirror *mirror, const struct page_index *index, uint32_t *parts,
			 const int32_t *slots, size_t count, struct found *found)
{
	struct half *const *pages = index->halves;
	uint32_t slot = 0, pages_count = index->count;
	for (size_t i = 0; i < count; i++) {
		slot += (uint32_t)slots[i];
		struct half *half = &mirror->nobody;
		if (slot >> PAGE_SHIFT < pages_count && pages[slot >> PAGE_SHIFT])
			half = &pages[slot >> PAGE_SHIFT][slot & (PAGE_HALVES - 1)];
		half_prefetch_update(half);
		found[i] = (struct found){half, &parts[slot]};
	}
}

/* What is late goes to its time's part. */
static void updates_turn(const struct apply *apply, const struct update_columns *columns,
			 size_t count)
{
	struct mirror *mirror = apply->mirror;
	struct found *found = mirror->found.items;
	for (size_t i = 0; i < count; i++) {
		if (!found[i].half->turned)
			continue;
		uint32_t slot = (uint32_t)(found[i].part - mirror->scratch.parts[PART_LATE]);
		found[i].part = &mirror->scratch.parts[turn_late(
			mirror, pages_find(&apply->node->index, slot), found[i].half,
			run_time(apply->run, columns->time_us[i]))][slot];
	}
}

static bool is_turned(const struct mirror *mirror, const struct found *found)
{
	const uint32_t *turned = mirror->scratch.parts[PART_TURNED];
	return found->part >= turned && found->part < turned + DECODE_SLOTS_MAX;
}

/* What is not in line: of halves without a final label, probes, and what comes late. */
static __attribute__((noinline)) struct delta *update_begin(struct apply *apply,
							    const struct found *found)
{
	struct mirror *mirror = apply->mirror;
	enum part_kind kind = is_turned(mirror, found) ? PART_TURNED : apply->kind;
	uint32_t slot = (uint32_t)(found->part - mirror->scratch.parts[kind]);
	return part_begin(mirror, slot, pages_find(&apply->node->index, slot), found->half, kind);
}

/* In line: of a half that has its final label. */
static inline __attribute__((always_inline)) void
update_place(struct mirror *mirror, struct half *half, struct delta *delta)
{
	uint32_t touched = half->touched;
	uint16_t first = touch_flags(&touched, &mirror->marks, false);
	half->touched = touched & TOUCH_MASK;
	if (__builtin_expect(half->distant && first & DELTA_FIRST_IN_60S, 0))
		name_peer(mirror, half->peer);
	delta->place = half_place(half);
	delta->flags = first;
	delta->reason = 0;
	delta->traffic.retransmits = 0;
	delta->min_rtt_us = 0;
	delta->connect_us = 0;
	delta->node_received = mirror->node_received;
	delta->node_lost = mirror->node_lost;
	delta->pad = 0;
}

/* The mass: nothing here but what each update needs. Most begin a delta, as most halves are updated
 * less than once a pane, and of these nearly all have a final label. What is refused moves nothing.
 */
static inline __attribute__((always_inline)) void update_all(struct apply *apply,
							     const struct update_columns *columns,
							     size_t count, enum part_kind kind,
							     bool wide)
{
	struct mirror *mirror = apply->mirror;
	const struct found *found = mirror->found.items, *end = found + count;
	const uint32_t *low = columns->time_us, *high = columns->rx_segments;
	const size_t stride = (size_t)(columns->srtt_us - low);
	const uint64_t *tx_wide = columns->tx_bytes, *rx_wide = columns->rx_bytes;
	const uint64_t base_ns = apply->run->base_ns;
	const uint32_t sequence = (uint32_t)apply->run->sequence;
	struct delta *const deltas = mirror->deltas.items;
	uint32_t **const made = mirror->made.items;
	for (; found < end; found++, low++, high++, tx_wide += wide, rx_wide += wide) {
		struct half *half = found->half;
		if (__builtin_expect(!half->live || socket_former(half, sequence), 0)) {
			apply->refused++;
			continue;
		}
		uint32_t place = *found->part, srtt_us = low[stride];
		uint32_t tx_segments = low[2 * stride], rx_segments = high[0];
		uint64_t tx_bytes = wide ? *tx_wide : high[stride];
		uint64_t rx_bytes = wide ? *rx_wide : high[2 * stride];
		half_account(half,
			     &(struct traffic){tx_bytes, rx_bytes, tx_segments, rx_segments, 0});
		if (place) {
			struct delta *delta = delta_at(mirror, place);
			delta->traffic.tx_bytes += tx_bytes;
			delta->traffic.rx_bytes += rx_bytes;
			delta->traffic.tx_segments += tx_segments;
			delta->traffic.rx_segments += rx_segments;
			delta->srtt_us = srtt_us ? srtt_us : delta->srtt_us;
			delta->time_ns = base_ns + low[0] * 1000ULL;
			continue;
		}
		struct delta *delta;
		if (kind == PART_NORMAL && half->final && !half->probe) {
			delta = &deltas[mirror->deltas.count++];
			made[mirror->made.count++] = found->part;
			*found->part = (uint32_t)mirror->deltas.count;
			update_place(mirror, half, delta);
		} else {
			delta = update_begin(apply, found);
		}
		delta->traffic.tx_bytes = tx_bytes;
		delta->traffic.rx_bytes = rx_bytes;
		delta->traffic.tx_segments = tx_segments;
		delta->traffic.rx_segments = rx_segments;
		delta->srtt_us = srtt_us;
		delta->time_ns = base_ns + low[0] * 1000ULL;
	}
}

void *apply_updates(struct apply *apply, void *at)
{
	struct mirror *mirror = apply->mirror;
	size_t count = apply->run->counts[RUN_UPDATES];
	bool wide = apply->run->flags & RUN_WIDE;
	struct update_columns columns = update_columns(at, count, wide);
	if (!count)
		return at;
	parts_room(mirror, count);
	struct found *found = queue_room(&mirror->found, count, sizeof(*found));
	updates_find(mirror, &apply->node->index, mirror->scratch.parts[apply->kind], columns.slot,
		     count, found);
	if (apply->kind == PART_LATE)
		updates_turn(apply, &columns, count);
	if (wide || apply->kind != PART_NORMAL)
		update_all(apply, &columns, count, apply->kind, wide);
	else
		update_all(apply, &columns, count, PART_NORMAL, false);
	return columns.end;
}

/* After their updates, which made the deltas, or were refused. */
void apply_retransmits(struct apply *apply, const struct retransmit_row *rows, size_t count)
{
	struct mirror *mirror = apply->mirror;
	for (size_t i = 0; i < count; i++) {
		uint32_t index = pages_find(&apply->node->index, rows[i].slot);
		enum part_kind kind = apply->kind;
		if (kind == PART_LATE && index != NO_PLACE)
			kind = turn_late(mirror, index, pages_at(&mirror->pages, index),
					 run_time(apply->run, rows[i].time_us));
		uint32_t place = mirror->scratch.parts[kind][rows[i].slot];
		if (!place)
			continue;
		const struct traffic moved = {.retransmits = rows[i].retransmits};
		delta_at(mirror, place)->traffic.retransmits += rows[i].retransmits;
		half_account(pages_half(&apply->node->index, rows[i].slot), &moved);
	}
}

/* ---- closes ---- */

/* Where its close is to be written: to who has the half, or aside until that is known. */
static struct half_close *close_new(struct mirror *mirror, const struct half *half,
				    uint32_t opening, uint32_t linger)
{
	if (half->labelled) {
		struct outbox *outbox = &mirror->outboxes[half->join_task];
		struct half_close *close = queue_add(&outbox->closes, sizeof(*close));
		close->number = half->number;
		return close;
	}
	if (opening) {
		struct closing *closing = queue_add(&mirror->closings, sizeof(*closing));
		closing->close.number = 0;
		closing->opening = opening;
		return &closing->close;
	}
	struct held_close *held = queue_add(&mirror->held_closes, sizeof(*held));
	held->close.number = 0;
	held->task = 0;
	held->state = HELD_WAITS;
	held->linger = linger;
	mirror->lingers.items[linger].close = (uint32_t)mirror->held_closes.count;
	return &held->close;
}

/* Its slot is free at once; what the label still decides lingers. */
static uint32_t linger(struct mirror *mirror, uint32_t slot, uint32_t index,
		       const struct half *half, uint64_t time_ns)
{
	uint32_t place = lingers_add(&mirror->lingers, index, half->generation);
	struct linger *linger = &mirror->lingers.items[place];
	linger->closed_ns = time_ns;
	linger->labelled = half->labelled;
	linger->number = half->number;
	linger->join_task = half->join_task;
	linger->touched = half->touched;
	linger->place = half_place(half);
	linger->turns = turns_of(mirror, index, half);
	contributions_move(mirror, index, LINGERING | place);
	for (int kind = 0; kind < PART_KINDS; kind++) {
		uint32_t made = mirror->scratch.parts[kind][slot];
		if (!made)
			continue;
		struct part *parts = mirror->parts.items;
		parts[(made & ~WAITING) - 1].half = LINGERING | place;
		linger->parts++;
	}
	lookups_linger(mirror, slot, place);
	return place;
}

static void forget_slot(struct mirror *mirror, uint32_t slot)
{
	for (int kind = 0; kind < PART_KINDS; kind++)
		mirror->scratch.parts[kind][slot] = 0;
	mirror->scratch.openings[slot] = 0;
	mirror->scratch.lookups[slot] = 0;
}

static struct delta *end_delta(struct apply *apply, uint32_t slot, uint32_t index,
			       struct half *half, uint32_t reason, uint64_t time_ns)
{
	enum part_kind kind = apply->kind;
	if (kind == PART_LATE)
		kind = turn_late(apply->mirror, index, half, time_ns);
	struct delta *delta = part_of(apply->mirror, slot, index, half, kind);
	delta->reason = (uint16_t)reason;
	delta->time_ns = time_ns;
	delta->min_rtt_us = min_rtt(delta->min_rtt_us, half->min_rtt_us);
	delta->flags |= close_reason_is_failure(reason) ? DELTA_FAILED : DELTA_CLOSED;
	return delta;
}

/* As the join knows the half before it reads the pane's openings. */
static struct half_ref close_ref(const struct mirror *mirror, uint32_t opening, uint32_t index,
				 const struct half *half)
{
	if (opening)
		return *half_known(&((struct opening *)mirror->openings.items)[opening - 1].open);
	return (struct half_ref){index, (uint16_t)mirror->options.source, half->generation};
}

/* Returns the half's delta. */
static struct delta *end(struct apply *apply, uint32_t slot, uint32_t index, struct half *half,
			 uint32_t reason, uint64_t time_ns, const struct traffic *total)
{
	struct mirror *mirror = apply->mirror;
	struct node *node = apply->node;
	struct delta *delta = end_delta(apply, slot, index, half, reason, time_ns);
	uint32_t opening = half->opening ? mirror->scratch.openings[slot] : 0;
	uint32_t lingering = 0;
	if (half->final) {
		struct place place = half_place(half);
		outcome_release(mirror, &place);
		mirror->stats.halves--;
	} else {
		lingering = linger(mirror, slot, index, half, time_ns);
		if (node->owners[half->owner].waits)
			owner_awaited(mirror, node, half->owner, lingering);
	}
	if (opening)
		((struct opening *)mirror->openings.items)[opening - 1].closed_ns = time_ns;
	struct half_close *close = close_new(mirror, half, opening, lingering);
	close->ref = close_ref(mirror, opening, index, half);
	close->reason = reason;
	close->pid = node->owners[half->owner].pid;
	close->pad = 0;
	close->time_ns = time_ns;
	close->total = *total;
	close->min_rtt_us = half->min_rtt_us;
	close->lost = ((uint32_t)node->applied_lost - half->lost) & 0xffffff;
	node->sockets--;
	owner_drop(mirror, node, half->owner);
	forget_slot(mirror, slot);
	half->sequence = (uint32_t)apply->run->sequence & HALF_SEQUENCE_MASK;
	pages_give(&mirror->pages, slot_pages(node, slot), index);
	return delta;
}

/* A close that the mirror adds knows no counters but what was accounted. */
void socket_end(struct apply *apply, uint32_t index, uint32_t reason, uint64_t time_ns)
{
	struct half *half = pages_at(&apply->mirror->pages, index);
	const struct traffic total = half_counters(half);
	end(apply, half_slot(&apply->mirror->pages, index), index, half, reason, time_ns, &total);
}

/* Its definition told of the attempt; it never opened. Returns how long it took. */
static uint64_t fail(struct mirror *mirror, uint32_t slot, const struct half *half,
		     uint64_t connect_us)
{
	for (int kind = 0; kind < PART_KINDS; kind++)
		if (mirror->scratch.parts[kind][slot])
			delta_at(mirror, mirror->scratch.parts[kind][slot])->flags &=
				(uint16_t)~DELTA_OPENED;
	if (!half->opening)
		return connect_us;
	struct half_open *open =
		&((struct opening *)mirror->openings.items)[mirror->scratch.openings[slot] - 1]
			 .open;
	open->flags |= HALF_FAILED;
	open->connect_us = connect_us ? connect_us : open->connect_us;
	return open->connect_us;
}

/* If its definition is yet to come, by the times that they have, it must not begin. */
static void close_unknown(struct apply *apply, uint32_t slot)
{
	uint32_t index = pages_find(&apply->node->index, slot);
	if (index == NO_PLACE)
		return;
	struct half *half = pages_at(&apply->mirror->pages, index);
	if (!half->live && !socket_former(half, (uint32_t)apply->run->sequence))
		half->sequence = (uint32_t)apply->run->sequence & HALF_SEQUENCE_MASK;
}

static void apply_close(struct apply *apply, const struct close_row *row)
{
	struct mirror *mirror = apply->mirror;
	struct node *node = apply->node;
	uint64_t time_ns = run_time(apply->run, row->time_us), connect_us = 0;
	uint32_t index;
	struct half *half = socket_find(apply, row->slot, &index);
	if (!half) {
		close_unknown(apply, row->slot);
		apply->refused++;
		return;
	}
	uint16_t before = half->owner;
	if (row->pid)
		change_owner(mirror, node, half, row->slot, row->pid,
			     node->owners[half->owner].cgroup);
	if (half->owner != before) /* whose name this pane may still tell */
		socket_again(mirror, node, index, half);
	half_min_rtt(half, row->min_rtt_us);
	absolute(apply, row->slot, index, half, &row->total, time_ns);
	bool failed = close_reason_is_failure(row->reason);
	if (failed)
		connect_us = fail(mirror, row->slot, half, row->connect_us);
	struct delta *delta = end(apply, row->slot, index, half, row->reason, time_ns, &row->total);
	if (failed)
		delta->connect_us = connect_us;
}

void apply_closes(struct apply *apply, const struct close_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		for (size_t j = i; i % ROWS_GROUP == 0 && j < i + ROWS_GROUP && j < count; j++)
			row_prefetch(apply, rows[j].slot);
		apply_close(apply, &rows[i]);
	}
}
