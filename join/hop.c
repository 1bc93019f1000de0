#include "base/hash.h"
#include "join/state.h"

/* A guessed role is tried the other way round for so many panes: long enough for a hop there, for
 * the other end to come and for both ends' trials to follow each other, all before a closed half is
 * told (2 s). */
enum { VISIT_PANES = 3, VISIT_GREATER_AFTER = 1, VISIT_LESSER_AFTER = 4 };

static uint32_t owner_of(const struct join *join, const struct tuple *key)
{
	return hash_owner(tuple_hash(key), join->options.tasks);
}

bool owns_key(const struct join *join, const struct tuple *key)
{
	return join->options.tasks == 1 || owner_of(join, key) == join->options.task;
}

/* The descriptor goes along: what other tasks know is not known here. */
static void instance_send(struct join *join, struct hop_bucket *bucket, uint32_t self)
{
	const struct instance *told = bucket->instances.items, *instance;
	size_t count = bucket->instances.count;
	instance = roster_at(join->roster, self);
	if (self && (count == 0 || told[count - 1].id != instance->id))
		array_append(&bucket->instances, instance, 1, sizeof(*instance));
}

void open_send(struct join *join, const struct half_open *open, uint32_t self)
{
	struct hop_bucket *bucket = &join->hops[owner_of(join, &open->key)];
	array_append(&bucket->opens, open, 1, sizeof(*open));
	instance_send(join, bucket, self);
	instance_send(join, bucket, roster_number(join->roster, open->sought));
}

static struct half_open half_open_of(const struct join *join, uint32_t number)
{
	const struct connection *connection = connection_at(join, connection_of(number));
	unsigned side = side_of(number);
	const struct seat *seat = &detail_of(join, connection)->seats[side];
	bool told = connection->told >> side & 1;
	return (struct half_open){
		.ref = connection->refs[side],
		.side = (uint8_t)side,
		.hops = seat->hops,
		.flags = (uint16_t)((seat->flags & ~(SEAT_EXHAUSTED | SEAT_WAITED)) |
				    (told ? HALF_TOLD : 0)),
		.key = connection_key(join, connection),
		.seen = half_seen(join, number),
		.opened_ns = seat->opened_ns,
		.connect_us = seat->connect_us,
		.pid = side == SIDE_CLIENT ? connection->client_pid : connection->server_pid,
		.self = roster_at(join->roster, connection->self[side])->id,
		.sought = is_pair(connection)
				  ? 0
				  : roster_at(join->roster, connection->self[side ^ 1])->id,
	};
}

static void close_send(struct join *join, const struct half_open *open, uint32_t number)
{
	if (!number)
		return;
	const struct closing *closing = closing_at(join, number);
	const struct half_close close = {
		.ref = open->ref,
		.reason = closing->reason,
		.pid = closing->pid,
		.time_ns = closing->time_ns,
		.total = closing->total,
		.min_rtt_us = closing->min_rtt_us,
		.lost = closing->lost,
	};
	array_append(&join->hops[owner_of(join, &open->key)].closes, &close, 1, sizeof(close));
}

/* Sends the half away as `open`, with its close if that has come. The task that it goes to
 * labels it in this same pane (there are rounds enough for HOPS_MAX), and that label says where it
 * is. */
static void half_leave(struct join *join, uint32_t number, const struct half_open *open)
{
	struct connection *connection = connection_at(join, connection_of(number));
	bool had_peer = is_pair(connection);
	open_send(join, open, connection->self[side_of(number)]);
	close_send(join, open, detail_of(join, connection)->seats[side_of(number)].closing);
	connection->changed = connection->changed & ~(1U << side_of(number)) & 3;
	half_free(join, number);
	if (had_peer)
		half_left(join, number ^ 1);
}

bool half_hop(struct join *join, uint32_t number)
{
	struct connection *connection = connection_at(join, connection_of(number));
	if (!connection->mapped_out || connection->settled)
		return false;
	struct seat *seat = &detail_of(join, connection)->seats[side_of(number)];
	if (seat->flags & HALF_VISITING)
		return false;
	connection->mapped_out = 0; /* until another alias comes */
	struct half_open open = half_open_of(join, number);
	uint32_t alias = alias_of(join, &open.key, seat, WAY_OUT);
	if (!alias)
		return false;
	if (seat->hops >= HOPS_MAX) {
		join->stats.hops_exhausted += !(seat->flags & SEAT_EXHAUSTED);
		seat->flags |= SEAT_EXHAUSTED;
		return false;
	}
	open.key = alias_at(join, alias)->keys[WAY_IN];
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

void guesser_add(struct join *join, uint32_t number)
{
	*(struct guesser *)array_add(&join->guessers, sizeof(struct guesser)) = (struct guesser){
		.number = number,
		.ref = connection_at(join, connection_of(number))->refs[side_of(number)],
	};
}

static bool guesser_is_here(const struct join *join, const struct guesser *guesser)
{
	const struct connection *connection = connection_at(join, connection_of(guesser->number));
	unsigned side = side_of(guesser->number);
	return half_is_here(connection, side) && !is_pair(connection) && !connection->told &&
	       ref_equal(&connection->refs[side], &guesser->ref) && connection->detailed &&
	       (detail_of(join, connection)->seats[side].flags & HALF_ROLE_GUESSED);
}

/* Whether it is still to be watched. */
static bool guesser_visit(struct join *join, const struct guesser *guesser)
{
	if (!guesser_is_here(join, guesser))
		return false;
	struct half_open open = half_open_of(join, guesser->number);
	turn_round(&open);
	struct tuple here = reversed(&open.key);
	int order = memcmp(&here, &open.key, sizeof(here));
	if (order == 0)
		return false; /* connected to itself */
	bool visiting = open.flags & HALF_VISITING;
	int after = visiting ? VISIT_PANES : order > 0 ? VISIT_GREATER_AFTER : VISIT_LESSER_AFTER;
	const struct connection *connection = connection_at(join, connection_of(guesser->number));
	if (detail_of(join, connection)->seats[side_of(guesser->number)].panes_alone++ < after)
		return true;
	open.flags |= HALF_VISITING;
	if (visiting) /* and back home */
		open.flags &= (uint16_t)~HALF_ROLE_GUESSED;
	half_leave(join, guesser->number, &open);
	return false;
}

void guessers_visit(struct join *join, bool first_round)
{
	size_t kept = 0;
	for (size_t i = 0; i < join->guessers.count; i++) {
		struct guesser guesser = ((struct guesser *)join->guessers.items)[i];
		if (first_round ? guesser_visit(join, &guesser) : guesser_is_here(join, &guesser))
			((struct guesser *)join->guessers.items)[kept++] = guesser;
	}
	join->guessers.count = kept;
}

void hop_bucket_clear(struct hop_bucket *bucket)
{
	bucket->opens.count = 0;
	bucket->closes.count = 0;
	bucket->instances.count = 0;
}

static void bucket_send(struct join *join, uint32_t task)
{
	struct hop_bucket *bucket = &join->hops[task];
	const struct half_bucket hops = {
		.opens = bucket->opens.items,
		.opens_count = bucket->opens.count,
		.closes = bucket->closes.items,
		.closes_count = bucket->closes.count,
		.instances = bucket->instances.items,
		.instances_count = bucket->instances.count,
	};
	join->options.sinks.hops(join->options.sinks.context, task, &hops);
	hop_bucket_clear(bucket);
}

void hops_send(struct join *join)
{
	join->unfinished = false;
	for (uint32_t task = 0; task < join->options.tasks; task++) {
		struct hop_bucket *bucket = &join->hops[task];
		if (bucket->opens.count == 0) /* closes go with opens */
			continue;
		join->unfinished = true;
		if (task != join->options.task) {
			bucket_send(join, task);
			continue;
		}
		struct hop_bucket taken = join->own_hops;
		join->own_hops = *bucket;
		*bucket = taken;
	}
}
