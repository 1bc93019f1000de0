#include "join/join.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/memory.h"
#include "join/state.h"

enum { AHEAD = 8 }; /* connections whose memory is fetched before their turn */

struct join *join_new(const struct join_options *options)
{
	assert(options->tasks > 0 && options->task < options->tasks && options->sources > 0);
	assert(options->halves_max > 0 && options->aliases_max > 0);
	struct join *join = memory_zeroed(1, sizeof(*join));
	join->options = *options;
	for (int i = 0; i < HASH_WORDS; i++)
		join->secrets[i] = hash_secret(options->seed, (uint64_t)i);
	join->roster = roster_new(options->instances_max, options->sources);
	roster_seed(join->roster, options->seed);
	connections_init(join);
	aliases_init(join);
	servers_init(join);
	records_init(join);
	join->hops = memory_zeroed(options->tasks, sizeof(*join->hops));
	return join;
}

static void bucket_done(struct hop_bucket *bucket)
{
	memory_free(bucket->opens.items);
	memory_free(bucket->closes.items);
	memory_free(bucket->instances.items);
}

void join_bind(struct join *join, const struct join_sinks *sinks)
{
	join->options.sinks = *sinks;
	connections_bind(join);
	aliases_bind(join);
	servers_bind(join);
}

void join_free(struct join *join)
{
	if (!join)
		return;
	struct array *arrays[] = {&join->buckets,  &join->alias_events, &join->unnumbered,
				  &join->seekers,  &join->touched,	&join->telling,
				  &join->guessers, &join->settling};
	for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++)
		memory_free(arrays[i]->items);
	for (uint32_t task = 0; task < join->options.tasks; task++)
		bucket_done(&join->hops[task]);
	bucket_done(&join->own_hops);
	memory_free(join->hops);
	memory_free(join->opened_places);
	records_done(join);
	failovers_done(join);
	renames_done(join);
	servers_done(join);
	aliases_done(join);
	connections_done(join);
	roster_free(join->roster);
	memory_free(join);
}

void join_push(struct join *join, const struct half_bucket *bucket)
{
	*(struct half_bucket *)array_add(&join->buckets, sizeof(*bucket)) = *bucket;
}

/* Their descriptors are here already. */
static void own_hops_push(struct join *join)
{
	const struct half_bucket own = {
		.opens = join->own_hops.opens.items,
		.closes = join->own_hops.closes.items,
		.opens_count = join->own_hops.opens.count,
		.closes_count = join->own_hops.closes.count,
	};
	join_push(join, &own);
}

static inline __attribute__((always_inline)) void ends_prefetch(const struct join *join,
								const struct connection *connection)
{
	for (unsigned side = 0; side < SIDES; side++) {
		__builtin_prefetch(host_at(join, connection->hosts[side]));
		roster_prefetch_number(join->roster, connection->self[side]);
	}
}

/* What their flow needs besides. */
static inline __attribute__((always_inline)) void
closings_prefetch(const struct join *join, const struct connection *connection)
{
	if (!connection->detailed)
		return; /* it has left */
	const struct detail *detail = detail_of(join, connection);
	for (unsigned side = 0; side < SIDES; side++)
		__builtin_prefetch(closing_at(join, detail->seats[side].closing));
	edge_prefetch(join, connection);
}

static void connection_label(struct join *join, uint32_t at)
{
	const struct connection *connection = connection_at(join, at);
	if (connection->changed == 3 && is_pair(connection)) {
		pair_label(join, at);
		return;
	}
	for (unsigned side = 0; side < SIDES; side++)
		if (connection->present & connection->changed & 1U << side)
			label_add(join, number_of(at, side));
}

/* Whether connection_seek has something to look at: others of the key, or how long both lived. For
 * no other news: a mapping, or another owner, reaches all halves of a key at once. */
static bool may_part(const struct join *join, const struct connection *connection)
{
	if (!connection->seeks || connection->settled || connection->failed)
		return false;
	if (connection->crowded)
		return true;
	const struct detail *detail = detail_of(join, connection);
	return is_pair(connection) &&
	       (detail->seats[SIDE_CLIENT].closing || detail->seats[SIDE_SERVER].closing);
}

static unsigned side_alone(const struct connection *connection)
{
	return half_is_here(connection, SIDE_CLIENT) ? SIDE_CLIENT : SIDE_SERVER;
}

/* Whoever is new or changed goes on through its alias, or else looks for a peer. The list grows
 * while it is walked: who is parted from its peer is in it again. */
static void touched_go_on(struct join *join)
{
	for (size_t i = 0; i < join->touched.count; i++) {
		uint32_t at = ((uint32_t *)join->touched.items)[i];
		const struct connection *connection = connection_at(join, at);
		if (!connection->present)
			continue;
		if (connection->mapped_out && half_is_here(connection, SIDE_CLIENT) &&
		    half_hop(join, number_of(at, SIDE_CLIENT)) && !connection->present)
			continue;
		if (may_part(join, connection))
			connection_seek(join, at);
	}
}

/* In the order of the closings, so flows are written where they stay; of one connection that is
 * listed twice either may be first. */
static int compare_nothing(const void *context, uint32_t a, uint32_t b)
{
	(void)context, (void)a, (void)b;
	return 0;
}

static bool lone_waits(const struct join *join, const struct connection *connection)
{
	return detail_of(join, connection)->seats[side_alone(connection)].flags & HALF_WAITS;
}

/* Its flow is told in this round, and what is over leaves then. */
static void tell(struct join *join, uint32_t at)
{
	const struct detail *detail = detail_of(join, connection_at(join, at));
	*(struct order_place *)array_add(&join->telling, sizeof(struct order_place)) =
		(struct order_place){flow_closed_ns(join, detail), at, at};
}

/* Who is at the other end of a half that nobody met may be known better by now than when it was
 * labelled: its rows are to say what its flow says. */
static void lone_relabel(struct join *join, uint32_t at)
{
	const struct connection *connection = connection_at(join, at);
	unsigned side = side_alone(connection), server = SIDE_SERVER;
	bool known = side == SIDE_SERVER
			     ? connection->mapped_in
			     : server_find(join, host_at(join, connection->hosts[server]),
					   connection->ports[server]) != 0;
	if (known)
		half_change(join, number_of(at, side));
}

static void told_leave(struct join *join, uint32_t at, const struct tuple *key, uint64_t hash)
{
	struct connection *connection = connection_at(join, at);
	if (!connection->present || connection->stage == STAGE_OVER)
		return; /* twice: due as a lone half, and closed as the pair that it became */
	flow_add(join, at, key);
	if (is_pair(connection) && pair_waits(join, connection)) {
		connection->settled = 1;
		connection_move(join, at, STAGE_OVER);
		connection_touch(join, at);
	} else if (is_pair(connection)) {
		connection_label(join, at);
		pair_free(join, at, hash);
	} else if (connection->failed && !lone_waits(join, connection)) {
		half_free(join, number_of(at, side_alone(connection)));
	} else if (connection->failed) {
		connection->told = connection->present;
		connection->settled = 1; /* stays where it is */
		connection_move(join, at, STAGE_TOLD);
	} else {
		connection->told = connection->present;
		lone_relabel(join, at);
	}
}

/* In groups whose memory is fetched ahead: hosts and instances, then the place in the index. */
static void telling_done(struct join *join)
{
	enum { GROUP = 32 };
	size_t count = join->telling.count;
	array_reserve(&join->telling, 2 * count, sizeof(struct order_place));
	const struct order_place *places =
		order_by_time(join->telling.items, count, compare_nothing, NULL);
	for (size_t start = 0; start < count; start += GROUP) {
		size_t left = count - start, group = left < GROUP ? left : GROUP;
		struct tuple keys[GROUP];
		uint64_t hashes[GROUP];
		for (size_t i = 0; i < group; i++)
			ends_prefetch(join, connection_at(join, places[start + i].index));
		for (size_t i = 0; i < group; i++) {
			const struct connection *connection =
				connection_at(join, places[start + i].index);
			closings_prefetch(join, connection);
			keys[i] = connection_key(join, connection);
			hashes[i] = key_hash(join, &keys[i]);
			slots_prefetch(&join->index, hashes[i]);
		}
		for (size_t i = 0; i < group; i++)
			told_leave(join, places[start + i].index, &keys[i], hashes[i]);
	}
	join->telling.count = 0;
}

/* What was told in this round decides. */
static bool pair_still_waits(const struct join *join, const struct connection *connection)
{
	struct seat *seats = detail_of(join, connection)->seats;
	unsigned flags = seats[SIDE_CLIENT].flags | seats[SIDE_SERVER].flags;
	for (unsigned side = 0; side < SIDES && flags & SEAT_WAITED; side++)
		seats[side].flags &= (uint16_t)~SEAT_WAITED;
	return flags & HALF_WAITS;
}

static void pair_stage(struct join *join, uint32_t at)
{
	const struct connection *connection = connection_at(join, at);
	if (!connection->detailed)
		return; /* settled, none closed */
	bool waits = pair_still_waits(join, connection);
	if (connection->stage == STAGE_OVER) {
		if (!waits)
			pair_over(join, at);
		return;
	}
	const struct detail *detail = detail_of(join, connection);
	bool client_closed = detail->seats[SIDE_CLIENT].closing,
	     server_closed = detail->seats[SIDE_SERVER].closing;
	if (client_closed && server_closed && (connection->settled || pair_certain(join, detail))) {
		if (connection->stage == STAGE_UNSETTLED ||
		    connection->stage == STAGE_HALF_CLOSED || connection->stage == STAGE_WAITING)
			connection_move(join, at, STAGE_NONE);
		tell(join, at);
		return;
	}
	enum stage stage = !connection->settled		    ? STAGE_UNSETTLED
			   : client_closed || server_closed ? STAGE_HALF_CLOSED
			   : waits			    ? STAGE_WAITING
							    : STAGE_PAIRED;
	if (connection->stage != stage)
		connection_move(join, at, stage);
}

static void lone_stage(struct join *join, uint32_t at)
{
	const struct connection *connection = connection_at(join, at);
	unsigned side = side_alone(connection);
	bool closed = detail_of(join, connection)->seats[side].closing, told = connection->told;
	if (closed && told && connection->settled) {
		/* Its flow was emitted with its peer, or it is an attempt that failed. */
		if (!connection->failed || !lone_waits(join, connection))
			half_free(join, number_of(at, side));
		return;
	}
	if (closed && connection->failed) {
		tell(join, at);
		return;
	}
	enum stage stage = closed ? (told ? STAGE_TOLD : STAGE_FRESH)
			   : told ? STAGE_DONE
				  : STAGE_ALONE;
	if (connection->stage != stage && !(stage == STAGE_ALONE && connection->stage == STAGE_OLD))
		connection_move(join, at, stage);
}

static void touched_stage(struct join *join)
{
	for (size_t i = 0; i < join->touched.count; i++) {
		uint32_t at = ((uint32_t *)join->touched.items)[i];
		struct connection *connection = connection_at(join, at);
		if (!connection->present || !connection->touched)
			continue;
		connection->touched = 0; /* a number given again in this round is listed twice */
		if (is_pair(connection))
			pair_stage(join, at);
		else
			lone_stage(join, at);
	}
}

/* The oldest of the stage if it has waited so long, or 0. */
static uint32_t due(const struct join *join, enum stage stage, uint64_t wait_ns)
{
	uint32_t oldest = join->stages[stage].oldest;
	if (!oldest || join->now_ns == UINT64_MAX)
		return oldest; /* a drain */
	const struct detail *detail = detail_of(join, connection_at(join, oldest));
	uint32_t panes = (uint32_t)join->pane - detail->since_pane;
	return panes * PANE_NS >= wait_ns ? oldest : 0;
}

/* A list tells who is next only when it is there: those that come after the oldest are fetched
 * ahead in the order in which they joined it. */
static void settling_fetch(struct join *join, uint32_t at)
{
	const struct settling *settling = join->settling.items;
	uint32_t pane = detail_of(join, connection_at(join, at))->since_pane;
	size_t *next = &join->settling_next, count = join->settling.count;
	while (*next < count && (settling[*next].at != at || settling[*next].pane != pane))
		++*next;
	if (*next + 2 * AHEAD < count)
		connection_prefetch(join, settling[*next + 2 * AHEAD].at);
	if (*next + AHEAD < count)
		detail_prefetch(join, settling[*next + AHEAD].at);
}

/* Less than half of it is over, or all. */
static void settling_cut(struct join *join)
{
	uint32_t oldest = join->stages[STAGE_UNSETTLED].oldest;
	/* Those before it closed before they were due. */
	if (oldest)
		settling_fetch(join, oldest);
	size_t left = oldest ? join->settling.count - join->settling_next : 0;
	if (left > join->settling_next || !join->settling.count)
		return;
	struct settling *settling = join->settling.items;
	memmove(settling, settling + join->settling_next, left * sizeof(*settling));
	join->settling.count = left;
	join->settling_next = 0;
}

static void settle_due(struct join *join)
{
	for (uint32_t at; (at = due(join, STAGE_UNSETTLED, join->options.one_sided_ns)) != 0;) {
		settling_fetch(join, at);
		connection_at(join, at)->settled = 1;
		pair_stage(join, at);
	}
	settling_cut(join);
}

static void tell_due(struct join *join)
{
	for (uint32_t at; (at = due(join, STAGE_FRESH, join->options.one_sided_ns)) != 0;) {
		tell(join, at);
		connection_move(join, at, STAGE_TOLD);
	}
}

/* Who tells of their owners is not heard any more. */
static void waits_due(struct join *join)
{
	for (uint32_t at; (at = due(join, STAGE_OVER, join->options.keep_ns)) != 0;)
		pair_over(join, at);
	for (uint32_t at; (at = due(join, STAGE_WAITING, join->options.keep_ns)) != 0;) {
		pair_wait_no_longer(join, connection_at(join, at));
		connection_touch(join, at);
		pair_stage(join, at);
	}
}

static void told_due(struct join *join)
{
	for (uint32_t at; (at = due(join, STAGE_TOLD, join->options.keep_ns)) != 0;)
		half_free(join, number_of(at, side_alone(connection_at(join, at))));
}

/* The other end's agent must have died: the flow is told with what there is. */
static void give_up_due(struct join *join)
{
	for (uint32_t at; (at = due(join, STAGE_HALF_CLOSED, join->options.keep_ns)) != 0;)
		connection_give_up(join, at);
	for (uint32_t at; (at = due(join, STAGE_ALONE, join->options.keep_ns)) != 0;) {
		connection_move(join, at, STAGE_OLD);
		connection_at(join, at)->changed = connection_at(join, at)->present;
		connection_touch(join, at);
	}
}

static void touched_label(struct join *join)
{
	const uint32_t *touched = join->touched.items;
	for (size_t i = 0; i < join->touched.count; i++) {
		size_t ahead = i + AHEAD < join->touched.count ? i + AHEAD : i;
		if (connection_at(join, touched[ahead])->changed)
			ends_prefetch(join, connection_at(join, touched[ahead]));
		struct connection *connection = connection_at(join, touched[i]);
		connection->touched = 0;
		if (connection->changed)
			connection_label(join, touched[i]);
	}
	join->touched.count = 0;
	join->newcomers_hand = 0;
}

void join_advance(struct join *join, uint64_t now_ns)
{
	bool first_round = now_ns != join->now_ns;
	join->now_ns = now_ns;
	join->pane = pane_of(now_ns - 1);
	own_hops_push(join);
	if (first_round)
		failovers_take(join);
	pane_take(join);
	hop_bucket_clear(&join->own_hops);
	touched_go_on(join);
	pairs_seek(join);
	guessers_visit(join, first_round);
	if (first_round) {
		servers_sweep(join);
		failovers_turn(join);
		renames_take(join);
	}
	touched_stage(join);
	settle_due(join);
	tell_due(join);
	telling_done(join);
	waits_due(join);
	told_due(join);
	give_up_due(join);
	touched_label(join);
	aliases_expire(join);
	labels_send(join);
	flows_send(join);
	hops_send(join);
}

bool join_unfinished(const struct join *join)
{
	return join->unfinished;
}

static size_t pool_bytes(const struct pool *pool)
{
	return (size_t)pool->fresh * pool->item_size;
}

struct roster *join_roster(struct join *join)
{
	return join->roster;
}

struct join_stats join_stats(const struct join *join)
{
	struct join_stats stats = join->stats;
	stats.instances_refused = roster_stats(join->roster).refused;
	stats.bytes = pool_bytes(&join->connections) + pool_bytes(&join->details) +
		      pool_bytes(&join->views) + pool_bytes(&join->closings) +
		      pool_bytes(&join->hosts) + pool_bytes(&join->aliases) +
		      slots_bytes(&join->index) + slots_bytes(&join->hosts_index) +
		      slots_bytes(&join->aliases_by_key[WAY_OUT]) +
		      slots_bytes(&join->aliases_by_key[WAY_IN]);
	return stats;
}
