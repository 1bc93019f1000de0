#include "join/state.h"

#include <string.h>

#include "base/hash.h"

/* A guessed role is tried the other way round for so many panes: long enough for a hop there, for
 * the other end to come and for both ends' trials to follow each other, all before a closed half is
 * told (2 s). */
enum { VISIT_PANES = 3, VISIT_GREATER_AFTER = 1, VISIT_LESSER_AFTER = 4 };

static uint32_t owner_of(const struct join *join, const struct tuple *key)
{
	return hash_owner(tuple_hash(key), join->options.tasks);
}

static void send_open(struct join *join, const struct half_open *open)
{
	struct hop_bucket *bucket = &join->hops[owner_of(join, &open->key)];
	*(struct half_open *)array_add(&bucket->opens, sizeof(*open)) = *open;
}

static void send_close(struct join *join, const struct half_close *close)
{
	struct hop_bucket *bucket = &join->hops[owner_of(join, &close->key)];
	*(struct half_close *)array_add(&bucket->closes, sizeof(*close)) = *close;
}

static struct half_open half_open_of(const struct join *join, const struct half *half)
{
	return (struct half_open){
		.ref = half->ref,
		.side = half->side,
		.hops = half->hops,
		.flags = half->flags,
		.key = *tuple_at(join, half->key),
		.seen = *tuple_at(join, half->seen),
		.opened_ns = half->opened_ns,
		.time_ns = half->opened_ns,
		.connect_us = half->connect_us,
		.pid = half->pid,
		.self = *instance_at(join, half->self),
	};
}

static void send_closing(struct join *join, const struct half *half, const struct tuple *key)
{
	const struct closing *closing = &join->closings[half->closing];
	const struct half_close close = {
		.ref = half->ref,
		.reason = closing->reason,
		.key = *key,
		.time_ns = closing->time_ns,
		.total = closing->total,
		.min_rtt_us = closing->min_rtt_us,
		.lost = closing->lost,
	};
	send_close(join, &close);
}

/* Sends the half away as `open`; what is left here sends on what still comes for it. */
static void half_leave(struct join *join, uint32_t number, const struct half_open *open)
{
	struct half *half = &join->halves[number];
	bool changed = half->changed;
	half_part(join, number);
	if (changed)
		label_add(join, number);
	half->changed = false;
	send_open(join, open);
	if (half->closing) {
		send_closing(join, half, &open->key);
		half_free(join, number);
		return;
	}
	uint32_t seen = half->seen;
	half->seen = tuple_hold(join, &open->key);
	tuple_drop(join, seen);
	half_move(join, number, PLACE_FORWARD);
}

bool half_hop(struct join *join, uint32_t number)
{
	struct half *half = &join->halves[number];
	if (half->side != SIDE_CLIENT || half->settled || (half->flags & HALF_VISITING))
		return false;
	uint32_t at = alias_out(join, half->key, half->opened_ns, half_closed_ns(join, half));
	if (!at)
		return false;
	if (half->hops >= HOPS_MAX) {
		join->stats.hops_exhausted += !half->exhausted;
		half->exhausted = true;
		return false;
	}
	struct half_open open = half_open_of(join, half);
	open.key = *tuple_at(join, join->aliases[at].to);
	open.hops++;
	open.flags |= HALF_HOPPED;
	join->stats.hops++;
	half_leave(join, number, &open);
	return true;
}

static struct tuple reversed(const struct tuple *tuple)
{
	struct tuple reverse = *tuple;
	reverse.client = tuple->server;
	reverse.server = tuple->client;
	reverse.client_port = tuple->server_port;
	reverse.server_port = tuple->client_port;
	return reverse;
}

static void turn_round(struct half_open *open)
{
	open->key = reversed(&open->key);
	open->seen = reversed(&open->seen);
	open->side ^= 1;
}

void half_forward(struct join *join, uint32_t number, const struct half_open *open)
{
	const struct half *half = &join->halves[number];
	struct half_open onward = *open;
	if (half->flags & HALF_VISITING) {
		turn_round(&onward);
		onward.flags |= HALF_VISITING;
	} else {
		onward.key = *tuple_at(join, half->seen);
		onward.hops++;
		onward.flags |= HALF_HOPPED;
	}
	send_open(join, &onward);
}

void half_forward_close(struct join *join, uint32_t number, const struct half_close *close)
{
	struct half_close onward = *close;
	onward.key = *tuple_at(join, join->halves[number].seen);
	send_close(join, &onward);
	half_free(join, number);
}

bool half_returns(const struct join *join, uint32_t number, const struct half_open *open)
{
	const struct half *half = &join->halves[number];
	bool visit_over = (half->flags & HALF_VISITING) && !(open->flags & HALF_AGAIN);
	return visit_over || open->hops >= HOPS_MAX;
}

void guesser_add(struct join *join, uint32_t number)
{
	*(struct guesser *)array_add(&join->guessers, sizeof(struct guesser)) =
		(struct guesser){.number = number, .ref = join->halves[number].ref};
}

/* Whether it is still to be watched. */
static bool guesser_visit(struct join *join, const struct guesser *guesser)
{
	struct half *half = &join->halves[guesser->number];
	if (!half_is_live(half) || memcmp(&half->ref, &guesser->ref, sizeof(half->ref)) != 0 ||
	    !(half->flags & HALF_ROLE_GUESSED) || half->peer || (half->flags & HALF_TOLD))
		return false;
	struct half_open open = half_open_of(join, half);
	turn_round(&open);
	int order = memcmp(tuple_at(join, half->key), &open.key, sizeof(open.key));
	if (order == 0)
		return false; /* connected to itself */
	bool visiting = half->flags & HALF_VISITING;
	int after = visiting ? VISIT_PANES : order > 0 ? VISIT_GREATER_AFTER : VISIT_LESSER_AFTER;
	if (half->panes_alone++ < after)
		return true;
	if (visiting) {
		open.flags &= (uint16_t)~HALF_ROLE_GUESSED;
		send_open(join, &open);
		if (half->closing)
			send_closing(join, half, &open.key);
		half_free(join, guesser->number);
		return false;
	}
	open.flags |= HALF_VISITING;
	half->flags |= HALF_VISITING;
	half_leave(join, guesser->number, &open);
	return false;
}

void guessers_visit(struct join *join)
{
	struct guesser *guessers = join->guessers.items;
	size_t kept = 0;
	for (size_t i = 0; i < join->guessers.count; i++)
		if (guesser_visit(join, &guessers[i]))
			guessers[kept++] = guessers[i];
	join->guessers.count = kept;
}

static void bucket_clear(struct hop_bucket *bucket)
{
	bucket->opens.count = 0;
	bucket->closes.count = 0;
}

void hops_send(struct join *join)
{
	join->unfinished = false;
	for (uint32_t task = 0; task < join->options.tasks; task++) {
		struct hop_bucket *bucket = &join->hops[task];
		join->unfinished |= bucket->opens.count > 0 || bucket->closes.count > 0;
		if (task == join->options.task) {
			struct hop_bucket taken = join->own_hops;
			join->own_hops = *bucket;
			*bucket = taken;
			bucket_clear(bucket);
			continue;
		}
		if (bucket->opens.count == 0 && bucket->closes.count == 0)
			continue;
		const struct half_bucket hops = {
			.opens = bucket->opens.items,
			.opens_count = bucket->opens.count,
			.closes = bucket->closes.items,
			.closes_count = bucket->closes.count,
		};
		join->options.sinks.hops(join->options.sinks.context, task, &hops);
		bucket_clear(bucket);
	}
}
