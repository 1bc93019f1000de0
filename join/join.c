#include "join/join.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "join/state.h"

enum { PREFETCH = 32 }; /* openings whose buckets are fetched ahead: hides the index's cache miss */

struct join *join_new(const struct join_options *options)
{
	assert(options->tasks > 0 && options->task < options->tasks);
	assert(options->halves_max > 0 && options->aliases_max > 0);
	struct join *join = memory_zeroed(1, sizeof(*join));
	join->options = *options;
	size_t halves = (size_t)options->halves_max + 1, aliases = (size_t)options->aliases_max + 1;
	/* Two tuples a half and two an alias; a newcomer's are held before the evicted one's are
	 * dropped. */
	uint32_t tuples_max = 2 * options->halves_max + 2 * options->aliases_max + 8;
	intern_init(&join->tuples, sizeof(struct tuple), tuples_max);
	servers_init(join);
	intern_init(&join->instances, sizeof(struct instance), options->halves_max + 1);
	join->chains = memory_zeroed((size_t)tuples_max + 1, sizeof(*join->chains));
	join->halves = memory_zeroed(halves, sizeof(*join->halves));
	join->closings = memory_zeroed(halves, sizeof(*join->closings));
	join->aliases = memory_zeroed(aliases, sizeof(*join->aliases));
	join->hops = memory_zeroed(options->tasks, sizeof(*join->hops));
	join->halves_fresh = join->closings_fresh = join->aliases_fresh = 1;
	return join;
}

static void bucket_done(struct hop_bucket *bucket)
{
	free(bucket->opens.items);
	free(bucket->closes.items);
}

void join_free(struct join *join)
{
	if (!join)
		return;
	struct array *arrays[] = {&join->opens,	  &join->closes,  &join->alias_events,
				  &join->seekers, &join->touched, &join->guessers,
				  &join->labels,  &join->flows};
	for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++)
		free(arrays[i]->items);
	for (uint32_t task = 0; task < join->options.tasks; task++)
		bucket_done(&join->hops[task]);
	bucket_done(&join->own_hops);
	free(join->hops);
	free(join->aliases);
	free(join->closings);
	free(join->halves);
	free(join->chains);
	servers_done(join);
	intern_done(&join->instances);
	intern_done(&join->tuples);
	free(join);
}

static void store(struct array *array, const void *items, size_t count, size_t size)
{
	for (size_t i = 0; i < count; i++)
		memcpy(array_add(array, size), (const char *)items + i * size, size);
}

void join_push(struct join *join, const struct half_bucket *bucket)
{
	store(&join->opens, bucket->opens, bucket->opens_count, sizeof(struct half_open));
	store(&join->closes, bucket->closes, bucket->closes_count, sizeof(struct half_close));
	store(&join->alias_events, bucket->aliases, bucket->aliases_count,
	      sizeof(struct nat_alias));
	store(&join->server_events, bucket->servers, bucket->servers_count,
	      sizeof(struct server_place));
}

static void open_new(struct join *join, const struct half_open *open)
{
	uint32_t number = half_add(join, open);
	const struct half *half = &join->halves[number];
	join->stats.opened += !(open->flags & (HALF_HOPPED | HALF_VISITING));
	half_change(join, number);
	if (half->flags & HALF_ROLE_GUESSED)
		guesser_add(join, number);
}

static void open_take(struct join *join, const struct half_open *open)
{
	uint32_t number = half_find(join, tuple_find(join, &open->key), &open->ref);
	if (!number) {
		open_new(join, open);
	} else if (half_is_live(&join->halves[number])) {
		half_identify(join, number, open);
	} else if (!half_returns(join, number, open)) {
		half_forward(join, number, open);
	} else {
		struct half_open home = *open;
		home.flags &= (uint16_t)~HALF_VISITING;
		half_free(join, number);
		open_new(join, &home);
	}
}

static void opens_take(struct join *join)
{
	const struct half_open *opens = join->opens.items;
	for (size_t i = 0; i < join->opens.count; i++) {
		if (i % PREFETCH == 0)
			for (size_t j = i; j < i + PREFETCH && j < join->opens.count; j++)
				slots_prefetch(&join->tuples.table, tuple_hash(&opens[j].key));
		open_take(join, &opens[i]);
	}
	join->opens.count = 0;
}

static void close_take(struct join *join, const struct half_close *close)
{
	uint32_t number = half_find(join, tuple_find(join, &close->key), &close->ref);
	const struct half *half = &join->halves[number];
	if (!number || half->closing)
		join->stats.closes_unknown++;
	else if (half->place == PLACE_FORWARD)
		half_forward_close(join, number, close);
	else
		half_close(join, number, close);
}

static void closes_take(struct join *join)
{
	const struct half_close *closes = join->closes.items;
	for (size_t i = 0; i < join->closes.count; i++)
		close_take(join, &closes[i]);
	join->closes.count = 0;
}

/* Whoever is new or changed goes on through its alias, or else looks for a peer. */
static void touched_go_on(struct join *join)
{
	for (size_t i = 0; i < join->touched.count; i++) {
		uint32_t number = ((uint32_t *)join->touched.items)[i];
		if (!half_is_live(&join->halves[number]) || half_hop(join, number))
			continue;
		*(uint32_t *)array_add(&join->seekers, sizeof(uint32_t)) = number;
	}
}

/* The flow is over: both of its halves are told and leave. */
static void pair_end(struct join *join, uint32_t number)
{
	uint32_t peer = join->halves[number].peer;
	flow_add(join, number);
	if (join->halves[peer].changed)
		label_add(join, peer);
	half_free(join, number);
	half_free(join, peer);
}

static void pair_place(struct join *join, uint32_t number)
{
	struct half *half = &join->halves[number], *peer = &join->halves[half->peer];
	bool both_closed = half->closing && peer->closing;
	if (both_closed && (half->settled || halves_certain(join, half, peer))) {
		pair_end(join, number);
		return;
	}
	struct half *ends[] = {half, peer};
	for (int i = 0; i < 2; i++) {
		enum place place = !ends[i]->settled  ? PLACE_UNSETTLED
				   : ends[i]->closing ? PLACE_HALF_CLOSED
						      : PLACE_PAIRED;
		if (ends[i]->place != place)
			half_move(join, (uint32_t)(ends[i] - join->halves), place);
	}
}

static void lone_place(struct join *join, uint32_t number)
{
	struct half *half = &join->halves[number];
	bool told = half->flags & HALF_TOLD;
	if (half->closing && told && half->settled) {
		half_free(join, number); /* its flow was emitted with its peer */
		return;
	}
	if (half->closing && (half->flags & HALF_FAILED)) {
		flow_add(join, number);
		half_free(join, number);
		return;
	}
	enum place place = half->closing ? (told ? PLACE_TOLD : PLACE_FRESH)
			   : told	 ? PLACE_DONE
					 : PLACE_ALONE;
	if (half->place != place && !(place == PLACE_ALONE && half->place == PLACE_OLD))
		half_move(join, number, place);
}

static void touched_place(struct join *join)
{
	for (size_t i = 0; i < join->touched.count; i++) {
		uint32_t number = ((uint32_t *)join->touched.items)[i];
		const struct half *half = &join->halves[number];
		if (!half_is_live(half))
			continue;
		if (half->peer)
			pair_place(join, number);
		else
			lone_place(join, number);
	}
}

static uint32_t due(const struct join *join, enum place place, uint64_t wait_ns)
{
	uint32_t oldest = join->places[place].oldest;
	if (join->now_ns == UINT64_MAX)
		return oldest; /* a drain */
	return oldest && join->now_ns - join->halves[oldest].since_ns >= wait_ns ? oldest : 0;
}

static void settle_due(struct join *join)
{
	for (uint32_t at; (at = due(join, PLACE_UNSETTLED, join->options.one_sided_ns)) != 0;) {
		struct half *half = &join->halves[at];
		half->settled = true;
		join->halves[half->peer].settled = true;
		pair_place(join, at);
	}
}

static void tell_due(struct join *join)
{
	for (uint32_t at; (at = due(join, PLACE_FRESH, join->options.one_sided_ns)) != 0;) {
		flow_add(join, at);
		join->halves[at].flags |= HALF_TOLD;
		half_move(join, at, PLACE_TOLD);
	}
	for (uint32_t at; (at = due(join, PLACE_TOLD, join->options.keep_ns)) != 0;)
		half_free(join, at);
}

/* The other end's agent must have died: the flow is told with what there is. */
static void give_up_due(struct join *join)
{
	for (uint32_t at; (at = due(join, PLACE_HALF_CLOSED, join->options.keep_ns)) != 0;) {
		uint32_t peer = join->halves[at].peer;
		flow_add(join, at);
		half_free(join, at);
		join->halves[peer].flags |= HALF_TOLD;
		half_move(join, peer, PLACE_DONE);
	}
	for (uint32_t at; (at = due(join, PLACE_ALONE, join->options.keep_ns)) != 0;) {
		half_move(join, at, PLACE_OLD);
		half_change(join, at);
	}
}

static void touched_label(struct join *join)
{
	for (size_t i = 0; i < join->touched.count; i++) {
		uint32_t number = ((uint32_t *)join->touched.items)[i];
		if (half_is_live(&join->halves[number]) && join->halves[number].changed)
			label_add(join, number);
	}
	join->touched.count = 0;
}

void join_advance(struct join *join, uint64_t now_ns)
{
	bool first_round = now_ns != join->now_ns;
	join->now_ns = now_ns;
	store(&join->opens, join->own_hops.opens.items, join->own_hops.opens.count,
	      sizeof(struct half_open));
	store(&join->closes, join->own_hops.closes.items, join->own_hops.closes.count,
	      sizeof(struct half_close));
	aliases_take(join);
	servers_take(join);
	opens_take(join);
	closes_take(join);
	touched_go_on(join);
	pairs_seek(join);
	if (first_round)
		guessers_visit(join);
	touched_place(join);
	settle_due(join);
	tell_due(join);
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

struct join_stats join_stats(const struct join *join)
{
	struct join_stats stats = join->stats;
	stats.flows = stats.halves - join->forwards - join->pairs;
	return stats;
}
