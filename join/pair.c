/* Pairing is a stable matching: a half takes the candidate whose opening is nearest, away from
 * another if need be, who then seeks again. Nearness is a total order (ties by refs) and the same
 * from both sides, so the result is the same in whatever order the halves came. Of two that would
 * both move, those with the nearer one move first: each of those that come in one pane looks
 * through its key a few times then, also where the openings were chosen so that one pair after the
 * other has to part. A pair settles when it is told or one_sided_ns old. */
#include "join/state.h"

static bool seats_touch(const struct join *join, const struct seat *a, const struct seat *b,
			uint64_t slack_ns)
{
	return lives_touch(a->opened_ns, seat_closed_ns(join, a), b->opened_ns,
			   seat_closed_ns(join, b), slack_ns);
}

static uint64_t opening_distance(const struct seat *a, const struct seat *b)
{
	return a->opened_ns > b->opened_ns ? a->opened_ns - b->opened_ns
					   : b->opened_ns - a->opened_ns;
}

bool pair_certain(const struct join *join, const struct detail *detail)
{
	const struct seat *client = &detail->seats[SIDE_CLIENT],
			  *server = &detail->seats[SIDE_SERVER];
	return seats_touch(join, client, server, 0) &&
	       opening_distance(client, server) <= PAIR_SLACK_NS;
}

static int compare_refs(const struct half_ref *a, const struct half_ref *b)
{
	if (a->source != b->source)
		return a->source < b->source ? -1 : 1;
	if (a->index != b->index)
		return a->index < b->index ? -1 : 1;
	return (a->generation > b->generation) - (a->generation < b->generation);
}

static const struct seat *seat_of(const struct join *join, uint32_t number)
{
	return &detail_of(join, connection_at(join, connection_of(number)))->seats[side_of(number)];
}

static const struct half_ref *ref_of(const struct join *join, uint32_t number)
{
	return &connection_at(join, connection_of(number))->refs[side_of(number)];
}

/* Whether the half is nearer to a than to b, two halves of the other side. */
static bool nearer(const struct join *join, uint32_t number, uint32_t a, uint32_t b)
{
	const struct seat *half = seat_of(join, number);
	uint64_t to_a = opening_distance(half, seat_of(join, a)),
		 to_b = opening_distance(half, seat_of(join, b));
	if (to_a != to_b)
		return to_a < to_b;
	/* Pairs are ordered by (distance, client ref, server ref); with one end in common the other
	 * decides. */
	return compare_refs(ref_of(join, a), ref_of(join, b)) < 0;
}

static bool half_may_pair(const struct join *join, uint32_t number)
{
	const struct connection *connection = connection_at(join, connection_of(number));
	return half_is_here(connection, side_of(number)) && !connection->settled &&
	       !connection->failed;
}

static bool half_is_told(const struct join *join, uint32_t number)
{
	return connection_at(join, connection_of(number))->told >> side_of(number) & 1;
}

static bool would_pair(const struct join *join, uint32_t number, uint32_t candidate)
{
	if (!half_may_pair(join, candidate))
		return false;
	if (half_is_told(join, number) && half_is_told(join, candidate))
		return false; /* both were told as flows of their own: one of those would be left
				 over */
	if (!seats_touch(join, seat_of(join, number), seat_of(join, candidate), PAIR_SLACK_NS))
		return false;
	return !is_pair(connection_at(join, connection_of(candidate))) ||
	       nearer(join, candidate, number, candidate ^ 1);
}

static void seek_again(struct join *join, uint32_t number)
{
	*(uint32_t *)array_add(&join->seekers, sizeof(uint32_t)) = number;
}

void half_left(struct join *join, uint32_t number)
{
	half_change(join, number);
	seek_again(join, number);
}

/* The half's peer gets a connection of its own. Returns the half's number then. */
static uint32_t half_part(struct join *join, uint32_t number)
{
	uint32_t moved = connection_split(join, connection_of(number));
	bool moves = side_of(number) == SIDE_SERVER;
	seek_again(join, moves ? number ^ 1 : moved);
	return moves ? moved : number;
}

/* One of the two sits down with the other; who sat there before seeks again. */
static void half_take(struct join *join, uint32_t number, uint32_t candidate)
{
	bool had_peer = is_pair(connection_at(join, connection_of(number)));
	bool was_taken = is_pair(connection_at(join, connection_of(candidate)));
	if (had_peer && !was_taken) {
		half_reseat(join, number, connection_of(candidate));
		peers_meet(join, connection_of(candidate));
		half_left(join, number ^ 1);
		return;
	}
	if (had_peer)
		number = half_part(join, number);
	seek_again(join, half_reseat(join, candidate, connection_of(number)));
	peers_meet(join, connection_of(number));
	if (was_taken)
		half_left(join, candidate ^ 1);
}

/* Whom the half would take now: its present peer, or 0, if nobody is nearer. */
static uint32_t half_best(const struct join *join, uint32_t number)
{
	uint32_t at = connection_of(number);
	uint32_t best = is_pair(connection_at(join, at)) ? number ^ 1 : 0;
	struct tuple key = connection_key(join, connection_at(join, at));
	for (uint32_t other = connection_find(join, &key, key_hash(join, &key)); other;
	     other = connection_next(join, other)) {
		uint32_t candidate = number_of(other, side_of(number) ^ 1);
		if (other == at || !would_pair(join, number, candidate))
			continue;
		if (!best || nearer(join, number, candidate, best))
			best = candidate;
	}
	return best;
}

/* Takes whom it is the best for, too. Who has a nearer one goes first: else many would sit down
 * with one who soon leaves them again. */
static void half_seek(struct join *join, uint32_t number)
{
	if (!half_may_pair(join, number))
		return;
	uint32_t present = is_pair(connection_at(join, connection_of(number))) ? number ^ 1 : 0;
	uint32_t best = half_best(join, number);
	if (best == present)
		return;
	if (half_best(join, best) == number) {
		half_take(join, number, best);
		return;
	}
	seek_again(join, number);
	seek_again(join, best);
}

void connection_seek(struct join *join, uint32_t at)
{
	struct connection *connection = connection_at(join, at);
	if (connection->settled || connection->failed)
		return;
	connection->seeks = 0;
	const struct detail *detail = detail_of(join, connection);
	if (is_pair(connection) && !seats_touch(join, &detail->seats[SIDE_CLIENT],
						&detail->seats[SIDE_SERVER], PAIR_SLACK_NS))
		connection_split(join, at); /* a close showed that they never met */
	if (!connection->crowded)
		return;
	for (unsigned side = 0; side < SIDES; side++)
		if (half_is_here(connection, side))
			seek_again(join, number_of(at, side));
}

void pairs_seek(struct join *join)
{
	/* Who is left by a peer comes again. The last comes first, so that who waits for another's
	 * turn has its own right behind it. */
	while (join->seekers.count)
		half_seek(join, ((uint32_t *)join->seekers.items)[--join->seekers.count]);
}
