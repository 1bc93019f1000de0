/* Which half of a pair counts. The client's, as a rule. But while the client's node is out, and the
 * server's is not, the server's half counts: else the totals of a node whose agent died would stop.
 *
 * A node is out from the start of the ten seconds after the pane in which it became mute, until the
 * start of the ten seconds that begin RETURN_PANES or more after the one in which it was heard
 * again; if it is heard before it was out, it never was. Sides change at these starts alone, of all
 * pairs at once, so each ten seconds of a pair belong to one half. What it has to be for that: a
 * half that had ended before its node, or its peer's, was out takes no part.
 *
 * Most sockets outlive their agent (ingest/adopt.c). Of one that did not, the former half has
 * vanished, and what the new agent tells stands alone: while the other end counts for the former,
 * the new one does not.
 *
 * Of each node the last SPANS_MAX times out are kept, until no half can ask for them any more.
 * Bounded by the nodes of the ingest tasks. */
#include <stdlib.h>

#include "base/memory.h"
#include "join/state.h"

enum {
	/* The first difference after a time without an agent may reach back into it; scans are a
	 * second apart. */
	RETURN_PANES = 2 * PANES_PER_S,
	SPANS_MAX = 4,
	NEVER = UINT32_MAX,
};

/* Of ten seconds: [from, until). */
struct span {
	uint32_t from, until;
};

struct outage {
	uint64_t node;
	struct span spans[SPANS_MAX]; /* newest first; until 0: none */
	uint32_t forget;	      /* when nobody asks any more */
	uint32_t pad;
};

void failovers_done(struct join *join)
{
	memory_free(join->hearings.items);
	memory_free(join->outages.items);
	memory_free(join->outages_merged.items);
}

/* ---- what ingest heard ---- */

static uint32_t ten_now(const struct join *join)
{
	return ten_of_pane(join->pane);
}

/* The ten seconds in which labels of this pane act on what is to come. */
static uint32_t ten_next(const struct join *join)
{
	return ten_of_pane(join->pane + 1);
}

static uint32_t keep_tens(const struct join *join)
{
	return ten_of(join->options.keep_ns) + 2;
}

static void outage_mute(const struct join *join, struct outage *outage)
{
	struct span *spans = outage->spans;
	uint32_t next = ten_now(join) + 1;
	outage->forget = NEVER;
	if (spans[0].until < next) {
		memmove(&spans[1], &spans[0], sizeof(outage->spans) - sizeof(*spans));
		spans[0].from = next;
	}
	spans[0].until = NEVER;
}

static void outage_heard(const struct join *join, struct outage *outage)
{
	struct span *spans = outage->spans;
	if (spans[0].until != NEVER)
		return;
	if (spans[0].from <= ten_now(join)) {
		spans[0].until = ten_of_pane(join->pane + RETURN_PANES) + 1;
	} else {
		memmove(&spans[0], &spans[1], sizeof(outage->spans) - sizeof(*spans));
		spans[SPANS_MAX - 1] = (struct span){0};
	}
	outage->forget = spans[0].until ? spans[0].until + keep_tens(join) : 0;
}

static void outage_hear(const struct join *join, struct outage *outage,
			const struct hearing *hearing)
{
	if (hearing->what == NODE_MUTE)
		outage_mute(join, outage);
	else if (hearing->what == NODE_HEARD)
		outage_heard(join, outage);
	else if (outage->forget == NEVER)
		outage->forget = ten_now(join) + keep_tens(join);
}

/* By node; of one node in the order in which they were told, as a node has one source. */
static int compare_hearings(const void *a, const void *b)
{
	const struct hearing *one = a, *other = b;
	if (one->node != other->node)
		return one->node < other->node ? -1 : 1;
	return one->pad < other->pad ? -1 : one->pad > other->pad;
}

static void hearings_collect(struct join *join)
{
	const struct half_bucket *buckets = join->buckets.items;
	for (size_t i = 0; i < join->buckets.count; i++)
		array_append(&join->hearings, buckets[i].hearings, buckets[i].hearings_count,
			     sizeof(struct hearing));
}

static void hearings_sort(struct join *join)
{
	struct hearing *hearings = join->hearings.items;
	for (size_t i = 0; i < join->hearings.count; i++)
		hearings[i].pad = (uint32_t)i;
	if (join->hearings.count)
		qsort(hearings, join->hearings.count, sizeof(*hearings), compare_hearings);
}

/* Takes the news of the outage's node; returns how many these are. */
static size_t hear_all(const struct join *join, struct outage *outage,
		       const struct hearing *hearings, size_t count)
{
	size_t heard = 0;
	for (; heard < count && hearings[heard].node == outage->node; heard++)
		outage_hear(join, outage, &hearings[heard]);
	return heard;
}

static void outage_keep(struct join *join, const struct outage *outage)
{
	if (outage->forget > ten_now(join))
		*(struct outage *)array_add(&join->outages_merged, sizeof(*outage)) = *outage;
}

/* Both are in the order of their nodes. */
void failovers_take(struct join *join)
{
	hearings_collect(join);
	if (join->hearings.count == 0 && join->outages.count == 0)
		return;
	hearings_sort(join);
	const struct hearing *hearings = join->hearings.items;
	const struct outage *outages = join->outages.items;
	size_t heard = 0, known = 0;
	join->outages_merged.count = 0;
	while (heard < join->hearings.count || known < join->outages.count) {
		bool is_known = known < join->outages.count &&
				(heard == join->hearings.count ||
				 outages[known].node <= hearings[heard].node);
		struct outage outage =
			is_known ? outages[known++] : (struct outage){.node = hearings[heard].node};
		heard += hear_all(join, &outage, hearings + heard, join->hearings.count - heard);
		outage_keep(join, &outage);
	}
	struct array merged = join->outages_merged;
	join->outages_merged = join->outages;
	join->outages = merged;
	join->hearings.count = 0;
}

/* ---- who counts ---- */

static const struct outage *outage_of(const struct join *join, const struct connection *connection,
				      unsigned side)
{
	const struct outage *outages = join->outages.items;
	uint64_t node = roster_at(join->roster, connection->self[side])->node;
	size_t first = 0, end = join->outages.count;
	while (first < end) {
		size_t middle = first + (end - first) / 2;
		if (outages[middle].node == node)
			return &outages[middle];
		if (outages[middle].node < node)
			first = middle + 1;
		else
			end = middle;
	}
	return NULL;
}

/* The time out that holds these ten seconds, or NULL. */
static const struct span *span_of(const struct outage *outage, uint32_t ten)
{
	for (int i = 0; outage && i < SPANS_MAX; i++)
		if (outage->spans[i].from <= ten && ten < outage->spans[i].until)
			return &outage->spans[i];
	return NULL;
}

/* Whether none of the halves had ended before. */
static bool lived_until(const struct join *join, const struct connection *connection, uint32_t ten)
{
	if (!connection->detailed)
		return true;
	const struct seat *seats = detail_of(join, connection)->seats;
	return ten_of(seat_closed_ns(join, &seats[SIDE_CLIENT])) >= ten &&
	       ten_of(seat_closed_ns(join, &seats[SIDE_SERVER])) >= ten;
}

/* A pair and when its nodes were out; NULL: never. */
struct watch {
	const struct join *join;
	const struct connection *connection;
	const struct outage *outages[SIDES];
};

static struct watch watch_of(const struct join *join, const struct connection *connection)
{
	return (struct watch){join,
			      connection,
			      {outage_of(join, connection, SIDE_CLIENT),
			       outage_of(join, connection, SIDE_SERVER)}};
}

static enum side watch_side(const struct watch *watch, uint32_t ten)
{
	const struct span *span = span_of(watch->outages[SIDE_CLIENT], ten);
	if (!span || span_of(watch->outages[SIDE_SERVER], ten) ||
	    !lived_until(watch->join, watch->connection, span->from))
		return SIDE_CLIENT;
	return SIDE_SERVER;
}

static uint32_t later_turn(const struct watch *watch, uint32_t start, uint32_t ten, uint32_t last)
{
	if (start > ten || start <= last)
		return last;
	return watch_side(watch, start) != watch_side(watch, start - 1) ? start : last;
}

/* The last of these ten seconds, up to `ten`, in which the side changed; 0: none is known. */
static uint32_t watch_turned(const struct watch *watch, uint32_t ten)
{
	uint32_t last = 0;
	for (unsigned side = 0; side < SIDES; side++) {
		const struct outage *outage = watch->outages[side];
		for (int i = 0; outage && i < SPANS_MAX; i++) {
			last = later_turn(watch, outage->spans[i].from, ten, last);
			last = later_turn(watch, outage->spans[i].until, ten, last);
		}
	}
	return last;
}

/* Whether both began since: then nothing of theirs was before. */
static bool began_since(const struct join *join, const struct connection *connection, uint32_t ten)
{
	if (!connection->detailed)
		return ten_of(connection->opened_ns) >= ten;
	const struct seat *seats = detail_of(join, connection)->seats;
	return ten_of(seats[SIDE_CLIENT].opened_ns) >= ten &&
	       ten_of(seats[SIDE_SERVER].opened_ns) >= ten;
}

static struct counting counting_of(const struct join *join, const struct connection *connection)
{
	const struct watch watch = watch_of(join, connection);
	uint32_t ten = ten_next(join), since = watch_turned(&watch, ten);
	if (since && began_since(join, connection, since))
		since = 0;
	return (struct counting){watch_side(&watch, ten), since};
}

struct counting pair_counting(const struct join *join, const struct connection *connection)
{
	if (join->outages.count == 0)
		return (struct counting){SIDE_CLIENT, 0};
	return counting_of(join, connection);
}

/* ---- who began anew ---- */

static bool client_vanished(const struct join *join, const struct connection *connection)
{
	uint32_t closing =
		connection->detailed ? detail_of(join, connection)->seats[SIDE_CLIENT].closing : 0;
	return closing && closing_at(join, closing)->reason == CLOSE_VANISHED;
}

/* The pair of the client half that the lone one goes on from, or NULL. */
static const struct connection *former_of(const struct join *join,
					  const struct connection *connection)
{
	struct tuple key = connection_key(join, connection);
	uint64_t node = roster_at(join->roster, connection->self[SIDE_CLIENT])->node;
	for (uint32_t at = connection_find(join, &key, key_hash(join, &key)); at;
	     at = connection_next(join, at)) {
		const struct connection *other = connection_at(join, at);
		if (is_pair(other) && other->stage != STAGE_OVER && client_vanished(join, other) &&
		    roster_at(join->roster, other->self[SIDE_CLIENT])->node == node)
			return other;
	}
	return NULL;
}

/* Whose other end counts for the lone client half from these ten seconds on, or NULL. */
static const struct connection *stands_for(const struct join *join,
					   const struct connection *connection, uint32_t ten)
{
	if (!half_is_here(connection, SIDE_CLIENT) || !connection->crowded || connection->failed ||
	    !span_of(outage_of(join, connection, SIDE_CLIENT), ten))
		return NULL;
	const struct connection *former = former_of(join, connection);
	if (!former)
		return NULL;
	const struct watch watch = watch_of(join, former);
	return watch_side(&watch, ten) == SIDE_SERVER ? former : NULL;
}

struct counting alone_counting(const struct join *join, struct connection *connection,
			       unsigned side)
{
	uint32_t ten = ten_next(join);
	const struct connection *former =
		join->outages.count ? stands_for(join, connection, ten) : NULL;
	bool stood_for = connection->stood_for;
	connection->stood_for = former != NULL;
	if (former)
		return counting_of(join, former);
	return (struct counting){(uint8_t)side, stood_for ? ten : 0};
}

/* ---- the start of ten seconds ---- */

static bool any_turns(const struct join *join, uint32_t ten)
{
	const struct outage *outages = join->outages.items;
	for (size_t i = 0; i < join->outages.count; i++)
		if (outages[i].spans[0].from == ten || outages[i].spans[0].until == ten)
			return true;
	return false;
}

/* Whether another half counts then. */
static bool turns(const struct join *join, const struct connection *connection, uint32_t ten)
{
	if (!is_pair(connection))
		return (stands_for(join, connection, ten) != NULL) != connection->stood_for;
	const struct watch watch = watch_of(join, connection);
	return watch_side(&watch, ten) != watch_side(&watch, ten - 1);
}

void failovers_turn(struct join *join)
{
	uint32_t ten = ten_next(join);
	if (ten == ten_now(join) || !any_turns(join, ten))
		return;
	for (uint32_t at = 1; at < join->connections.fresh; at++) {
		struct connection *connection = connection_at(join, at);
		if (!turns(join, connection, ten))
			continue;
		connection->changed = connection->present;
		connection_touch(join, at);
	}
}
