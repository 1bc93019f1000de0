/* Sockets: definitions, updates and closes of a run, applied to the node's halves and to the deltas
 * in the making. During a pane a half's counters lag: what was accounted is the half's own and what
 * the pane's deltas hold, modulo the counters' width; they meet when the node is done (settle). */
#include <string.h>

#include "base/clock.h"
#include "ingest/state.h"

/* ---- deltas in the making ---- */

static void parts_room(struct mirror *mirror, size_t more)
{
	queue_room(&mirror->deltas, mirror->deltas.count + more, sizeof(struct delta));
	queue_room(&mirror->parts, mirror->parts.count + more, sizeof(struct part));
	queue_room(&mirror->unplaced, mirror->unplaced.count + more, sizeof(uint32_t));
}

/* There is room. In line: most updates begin a delta, as most halves are updated less than once a
 * pane. */
static inline __attribute__((always_inline)) uint32_t part_begin(struct mirror *mirror,
								 uint32_t slot, uint32_t index,
								 struct half *half,
								 enum part_kind kind)
{
	static const uint16_t flags[PART_KINDS] = {
		[PART_RECOVERED] = DELTA_RECOVERED,
		[PART_LATE] = DELTA_LATE,
	};
	size_t at = mirror->parts.count++;
	struct delta *delta = &((struct delta *)mirror->deltas.items)[at];
	struct part *part = &((struct part *)mirror->parts.items)[at];
	uint16_t first = half->probe ? flags[kind] | DELTA_PROBE : flags[kind];
	mirror->deltas.count++;
	mirror->scratch.parts[kind][slot] = (uint32_t)at + 1;
	*delta = mirror->blank;
	part->half = index;
	part->slot = slot;
	part->node = mirror->node;
	part->kind = (uint8_t)kind;
	part->placed = half->final;
	if (half->final) {
		delta->place = half_place(half);
		first |= half_touch(mirror, half, kind != PART_NORMAL);
		if (first & DELTA_FIRST_IN_60S)
			name_peer(mirror, half->peer);
	} else {
		((uint32_t *)mirror->unplaced.items)[mirror->unplaced.count++] = (uint32_t)at;
	}
	delta->flags = first;
	return (uint32_t)at + 1;
}

static uint32_t part_new(struct mirror *mirror, uint32_t slot, uint32_t index, struct half *half,
			 enum part_kind kind)
{
	if (mirror->parts.count == mirror->parts.capacity ||
	    mirror->deltas.count == mirror->deltas.capacity ||
	    mirror->unplaced.count == mirror->unplaced.capacity)
		parts_room(mirror, 1);
	return part_begin(mirror, slot, index, half, kind);
}

static struct delta *delta_at(const struct mirror *mirror, uint32_t place)
{
	return &((struct delta *)mirror->deltas.items)[place - 1];
}

static struct delta *part_of(struct mirror *mirror, uint32_t slot, uint32_t index,
			     struct half *half, enum part_kind kind)
{
	uint32_t place = mirror->scratch.parts[kind][slot];
	return delta_at(mirror, place ? place : part_new(mirror, slot, index, half, kind));
}

static void traffic_add(struct traffic *sum, const struct traffic *moved)
{
	sum->tx_bytes += moved->tx_bytes;
	sum->rx_bytes += moved->rx_bytes;
	sum->tx_segments += moved->tx_segments;
	sum->rx_segments += moved->rx_segments;
	sum->retransmits += moved->retransmits;
}

/* What the pane's deltas hold of the half. */
static struct traffic pane_traffic(const struct mirror *mirror, uint32_t slot)
{
	struct traffic sum = {0};
	for (int kind = 0; kind < PART_KINDS; kind++)
		if (mirror->scratch.parts[kind][slot])
			traffic_add(&sum,
				    &delta_at(mirror, mirror->scratch.parts[kind][slot])->traffic);
	return sum;
}

static struct traffic accounted(const struct half *half, const struct traffic *pane)
{
	struct traffic sum = half_counters(half);
	traffic_add(&sum, pane);
	return (struct traffic){
		sum.tx_bytes & HALF_BYTES_MASK,		 sum.rx_bytes & HALF_BYTES_MASK,
		sum.tx_segments & HALF_SEGMENTS_MASK,	 sum.rx_segments & HALF_SEGMENTS_MASK,
		sum.retransmits & HALF_RETRANSMITS_MASK,
	};
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

/* Heals what was lost since the last absolute counters. */
static void absolute(struct apply *apply, uint32_t slot, uint32_t index, struct half *half,
		     const struct traffic *total, uint64_t time_ns)
{
	static const struct traffic none;
	struct mirror *mirror = apply->mirror;
	struct traffic pane = pane_traffic(mirror, slot), before = accounted(half, &pane);
	bool backwards = false, recovered = half->gapped;
	struct traffic moved = {
		forward(total->tx_bytes, before.tx_bytes, HALF_BYTES_MASK, &backwards),
		forward(total->rx_bytes, before.rx_bytes, HALF_BYTES_MASK, &backwards),
		forward(total->tx_segments, before.tx_segments, HALF_SEGMENTS_MASK, &backwards),
		forward(total->rx_segments, before.rx_segments, HALF_SEGMENTS_MASK, &backwards),
		forward(total->retransmits, before.retransmits, HALF_RETRANSMITS_MASK, &backwards),
	};
	half->gapped = 0;
	mirror->stats.backwards += backwards;
	if (memcmp(&moved, &none, sizeof(moved)) != 0) {
		struct delta *delta = part_of(mirror, slot, index, half,
					      apply->kind == PART_LATE ? PART_LATE
					      : recovered	       ? PART_RECOVERED
								       : PART_NORMAL);
		traffic_add(&delta->traffic, &moved);
		delta->time_ns = time_ns;
	} else if (!backwards) {
		return;
	}
	traffic_add(&pane, &moved);
	half_set(half, total);
	half_account(half, &(struct traffic){-pane.tx_bytes, -pane.rx_bytes, -pane.tx_segments,
					     -pane.rx_segments, -pane.retransmits});
}

/* ---- whose slot ---- */

/* Updates and closes name a slot only. Batches are not applied as a whole: what a former batch says
 * of a later pane comes after what the next batch says of an earlier one, and a batch may come
 * late. So what is older than the definition of the half in the slot, or than the end of the last
 * one, is of the slot's former owner. The sequence is kept in 15 bits; batches are at most
 * WINDOW_BATCHES apart, and key frames and sweeps let it follow at that distance. */
_Static_assert(4 * WINDOW_BATCHES <= HALF_SEQUENCE_MASK + 1, "sequences must not come round");

static bool socket_former(const struct half *half, const struct run *run)
{
	uint32_t behind = (half->sequence - (uint32_t)run->sequence) & HALF_SEQUENCE_MASK;
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
	return half->live && !socket_former(half, apply->run) ? half : NULL;
}

/* ---- openings ---- */

static struct opening *opening_new(struct mirror *mirror, struct node *node, uint32_t index,
				   struct half *half, uint64_t time_ns)
{
	struct opening *opening = queue_add(&mirror->openings, sizeof(*opening));
	*opening = (struct opening){
		.open = {.ref = {index, (uint16_t)mirror->options.source, half->generation},
			 .side = half->side,
			 .flags = (uint16_t)((half->guessed ? HALF_ROLE_GUESSED : 0) |
					     (half->existed ? HALF_EXISTED : 0) |
					     (half->probe ? HALF_PROBE : 0)),
			 .time_ns = time_ns},
		.owner = half->owner,
	};
	node->owners[half->owner].users++;
	half->opening = 1;
	mirror->scratch.openings[half_slot(&mirror->pages, index)] =
		(uint32_t)mirror->openings.count;
	return opening;
}

/* The whole definition, to its key's owner. */
static void announce(struct apply *apply, uint32_t index, struct half *half,
		     const struct definition_row *row, uint64_t opened_ns)
{
	struct half_open *open = &opening_new(apply->mirror, apply->node, index, half,
					      run_time(apply->run, row->time_us))
					  ->open;
	open->seen = row->seen;
	open->opened_ns = opened_ns;
	open->connect_us = row->connect_us;
}

/* Its label's number says enough to who has it. */
void socket_again(struct mirror *mirror, struct node *node, uint32_t index, struct half *half,
		  uint64_t time_ns)
{
	if (half->opening || !half->labelled)
		return;
	struct opening *opening = opening_new(mirror, node, index, half, time_ns);
	opening->open.number = half->number;
	opening->open.flags |= HALF_AGAIN;
	opening->task = half->join_task;
	opening->keyed = true;
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

static uint16_t folded(uint32_t generation)
{
	return (uint16_t)(generation ^ generation >> 16);
}

static void half_min_rtt(struct half *half, uint32_t min_rtt_us)
{
	const uint32_t most = (1U << 24) - 1; /* 16.8 s */
	uint32_t least = min_rtt(half->min_rtt_us, min_rtt_us);
	half->min_rtt_us = (least < most ? least : most) & most;
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
			 const struct definition_row *row, uint64_t opened_ns)
{
	bool again = row->flags & HALF_AGAIN;
	if (row->flags & HALF_EXISTED || (again && opened_ns < apply->node->first_ns)) {
		half->existed = 1;
		half_set(half, &row->total);
		return;
	}
	enum part_kind kind = apply->kind == PART_LATE ? PART_LATE
			      : again		       ? PART_RECOVERED
						       : PART_NORMAL;
	struct delta *delta = part_of(apply->mirror, row->slot, index, half, kind);
	traffic_add(&delta->traffic, &row->total);
	delta->flags |= DELTA_OPENED;
	delta->connect_us = row->connect_us;
}

static void begin(struct apply *apply, const struct definition_row *row, uint64_t time_ns)
{
	struct mirror *mirror = apply->mirror;
	struct node *node = apply->node;
	uint64_t opened_ns = time_ns > row->age_ns ? time_ns - row->age_ns : 0;
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
	half->sequence = (uint32_t)apply->run->sequence & HALF_SEQUENCE_MASK;
	half->touched = touch_never(&mirror->marks) & TOUCH_MASK;
	half->slot_generation = folded(row->generation);
	half->side = row->side == SIDE_SERVER;
	half->guessed = !!(row->flags & HALF_ROLE_GUESSED);
	half->probe = !!(row->flags & HALF_PROBE);
	half->lost = node->applied_lost & 0xffffff;
	half->owner = owner_take(mirror, node, row->pid, row->cgroup);
	begin_counts(apply, index, half, row, opened_ns);
	measure(mirror, half, row, time_ns);
	announce(apply, index, half, row, opened_ns);
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
	half->side = row->side == SIDE_SERVER;
	bool changed = change_owner(mirror, node, half, row->slot, row->pid, row->cgroup);
	if (half->side == SIDE_SERVER && !half->guessed)
		server_seen(mirror, node, half->owner, &row->seen);
	if (half->opening || (half->final && half->rules & RULE_JOINED && !changed))
		return;
	if (half->labelled) {
		socket_again(mirror, node, index, half, time_ns);
		return;
	}
	announce(apply, index, half, row, time_ns > row->age_ns ? time_ns - row->age_ns : 0);
	((struct opening *)mirror->openings.items)[mirror->openings.count - 1].open.flags |=
		HALF_AGAIN;
}

void apply_definitions(struct apply *apply, const struct definition_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct definition_row *row = &rows[i];
		uint64_t time_ns = run_time(apply->run, row->time_us);
		uint32_t index = pages_find(&apply->node->index, row->slot);
		struct half *half =
			index == NO_PLACE ? NULL : pages_at(&apply->mirror->pages, index);
		if (half && socket_former(half, apply->run)) {
			apply->refused++;
			continue;
		}
		if (half && half->live && half->slot_generation == folded(row->generation)) {
			again(apply, index, half, row, time_ns);
			continue;
		}
		/* Its slot went to another socket without a close: that one was lost. */
		if (half && half->live)
			socket_end(apply, row->slot, CLOSE_VANISHED, time_ns);
		begin(apply, row, time_ns);
	}
}

/* ---- updates ---- */

/* A half is a miss of about 100 ns the first time in a pane, an update about 10. */
enum { PREFETCH_AHEAD = 16 };

/* always_inline: gcc 12 takes a function that only prefetches for one without effect and drops the
 * call. */
static inline __attribute__((always_inline)) void
half_prefetch(const struct apply *apply, const uint32_t *parts, uint32_t slot)
{
	uint32_t index = parts[slot] ? NO_PLACE : pages_find(&apply->node->index, slot);
	if (index == NO_PLACE)
		return;
	const char *half = (const char *)pages_at(&apply->mirror->pages, index);
	__builtin_prefetch(half, 1);
	__builtin_prefetch(half + sizeof(struct half) - 1, 1);
}

/* Which delta each update adds to; what is refused adds to `nobody`, which is not kept. */
static void update_places(struct apply *apply, const int32_t *slots, size_t count, uint32_t nobody,
			  uint32_t *places)
{
	struct mirror *mirror = apply->mirror;
	const uint32_t *parts = mirror->scratch.parts[apply->kind];
	uint32_t slot = 0, slot_ahead = 0;
	for (size_t i = 0; i < count && i < PREFETCH_AHEAD; i++)
		half_prefetch(apply, parts, slot_ahead += (uint32_t)slots[i]);
	for (size_t i = 0; i < count; i++) {
		slot += (uint32_t)slots[i];
		if (i + PREFETCH_AHEAD < count)
			half_prefetch(apply, parts,
				      slot_ahead += (uint32_t)slots[i + PREFETCH_AHEAD]);
		places[i] = parts[slot];
		if (places[i])
			continue;
		uint32_t index;
		struct half *half = socket_find(apply, slot, &index);
		places[i] = half ? part_begin(mirror, slot, index, half, apply->kind) : nobody;
		apply->refused += !half;
	}
}

/* The mass: nothing here but what each update needs, and little enough for the registers: columns
 * lie in step. */
static inline __attribute__((always_inline)) void
update_add(struct delta *deltas, const uint32_t *places, const struct update_columns *columns,
	   size_t count, uint64_t base_ns, bool wide)
{
	const uint32_t *words = columns->time_us;
	const size_t stride = (size_t)(columns->srtt_us - words);
	const uint64_t *tx_wide = columns->tx_bytes, *rx_wide = columns->rx_bytes;
	for (size_t i = 0; i < count; i++, words++) {
		const uint32_t *bytes = words + 4 * stride;
		struct delta *delta = &deltas[places[i] - 1];
		uint32_t srtt_us = words[stride];
		delta->time_ns = base_ns + words[0] * 1000ULL;
		delta->srtt_us = srtt_us ? srtt_us : delta->srtt_us;
		delta->traffic.tx_segments += words[2 * stride];
		delta->traffic.rx_segments += (bytes - stride)[0];
		delta->traffic.tx_bytes += wide ? tx_wide[i] : bytes[0];
		delta->traffic.rx_bytes += wide ? rx_wide[i] : bytes[stride];
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
	parts_room(mirror, count + 1);
	uint32_t *places = queue_room(&mirror->picks, count, sizeof(uint32_t));
	uint32_t nobody = (uint32_t)(mirror->deltas.count + count + 1);
	struct delta *deltas = mirror->deltas.items;
	update_places(apply, columns.slot, count, nobody, places);
	deltas[nobody - 1] = mirror->blank;
	if (wide)
		update_add(deltas, places, &columns, count, apply->run->base_ns, true);
	else
		update_add(deltas, places, &columns, count, apply->run->base_ns, false);
	return columns.end;
}

/* After their updates, which made the deltas, or were refused. */
void apply_retransmits(struct apply *apply, const struct retransmit_row *rows, size_t count)
{
	struct mirror *mirror = apply->mirror;
	for (size_t i = 0; i < count; i++) {
		uint32_t place = mirror->scratch.parts[apply->kind][rows[i].slot];
		if (place)
			delta_at(mirror, place)->traffic.retransmits += rows[i].retransmits;
	}
}

/* ---- closes ---- */

static void send_close(struct mirror *mirror, const struct half *half, uint32_t opening,
		       const struct half_close *close, uint32_t linger)
{
	if (half->labelled || opening) {
		struct closing *closing = queue_add(&mirror->closings, sizeof(*closing));
		*closing = (struct closing){.close = *close};
		closing->close.number = half->labelled ? half->number : 0;
		closing->task = half->join_task;
		closing->opening = half->labelled ? 0 : opening;
		return;
	}
	struct held_close *held = queue_add(&mirror->held_closes, sizeof(*held));
	*held = (struct held_close){.close = *close, .state = HELD_WAITS, .linger = linger};
	mirror->lingers.items[linger].close = (uint32_t)mirror->held_closes.count;
}

/* Its slot is free at once; what the label still decides lingers. */
static uint32_t linger(struct mirror *mirror, uint32_t slot, uint32_t index,
		       const struct half *half, uint64_t time_ns)
{
	uint32_t place = lingers_add(&mirror->lingers, index, half->generation);
	struct linger *linger = &mirror->lingers.items[place];
	linger->closed_ns = time_ns;
	linger->labelled = half->labelled;
	linger->touched = half->touched;
	linger->place = half_place(half);
	contributions_move(mirror, index, place);
	for (int kind = 0; kind < PART_KINDS; kind++) {
		uint32_t part = mirror->scratch.parts[kind][slot];
		if (!part)
			continue;
		((struct part *)mirror->parts.items)[part - 1].half = LINGERING | place;
		linger->parts++;
	}
	return place;
}

static void forget_slot(struct mirror *mirror, uint32_t slot)
{
	for (int kind = 0; kind < PART_KINDS; kind++)
		mirror->scratch.parts[kind][slot] = 0;
	mirror->scratch.openings[slot] = 0;
}

/* close: what it says but for the half's own. Returns the half's delta. */
static struct delta *end(struct apply *apply, uint32_t slot, uint32_t index, struct half *half,
			 struct half_close *close)
{
	struct mirror *mirror = apply->mirror;
	struct node *node = apply->node;
	struct delta *delta = part_of(mirror, slot, index, half, apply->kind);
	uint32_t opening = half->opening ? mirror->scratch.openings[slot] : 0;
	delta->reason = (uint8_t)close->reason;
	delta->time_ns = close->time_ns;
	delta->min_rtt_us = min_rtt(delta->min_rtt_us, half->min_rtt_us);
	delta->flags |= close_reason_is_failure(close->reason) ? DELTA_FAILED : DELTA_CLOSED;
	close->ref = (struct half_ref){index, (uint16_t)mirror->options.source, half->generation};
	close->pid = node->owners[half->owner].pid;
	close->min_rtt_us = half->min_rtt_us;
	close->lost = ((uint32_t)node->applied_lost - half->lost) & 0xffffff;
	uint32_t lingering = 0;
	if (half->final) {
		struct place place = half_place(half);
		outcome_release(mirror, &place);
		mirror->stats.halves--;
	} else {
		lingering = linger(mirror, slot, index, half, close->time_ns);
	}
	send_close(mirror, half, opening, close, lingering);
	node->sockets--;
	owner_drop(mirror, node, half->owner);
	forget_slot(mirror, slot);
	half->sequence = (uint32_t)apply->run->sequence & HALF_SEQUENCE_MASK;
	pages_give(&mirror->pages, &node->index, index);
	return delta;
}

/* A close that the mirror adds knows no counters but what was accounted. */
void socket_end(struct apply *apply, uint32_t slot, uint32_t reason, uint64_t time_ns)
{
	struct mirror *mirror = apply->mirror;
	uint32_t index = pages_find(&apply->node->index, slot);
	struct half *half = pages_at(&mirror->pages, index);
	struct traffic pane = pane_traffic(mirror, slot);
	struct half_close close = {
		.reason = reason, .time_ns = time_ns, .total = accounted(half, &pane)};
	end(apply, slot, index, half, &close);
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
	if (!half->live && !socket_former(half, apply->run))
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
		socket_again(mirror, node, index, half, time_ns);
	half_min_rtt(half, row->min_rtt_us);
	absolute(apply, row->slot, index, half, &row->total, time_ns);
	bool failed = close_reason_is_failure(row->reason);
	if (failed)
		connect_us = fail(mirror, row->slot, half, row->connect_us);
	struct half_close close = {.reason = row->reason, .time_ns = time_ns, .total = row->total};
	struct delta *delta = end(apply, row->slot, index, half, &close);
	if (failed)
		delta->connect_us = connect_us;
}

void apply_closes(struct apply *apply, const struct close_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		apply_close(apply, &rows[i]);
}
