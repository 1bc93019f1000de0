/* What a pane brought: first the closes of halves that are known, then the openings, each with its
 * own close if that came in the same pane. So a half that sits down with another knows how long
 * both lived. A close without a number is found by its half's ref, in a table of this pane's. In
 * groups whose memory is fetched ahead: index, then connection, then detail. */
#include <stdlib.h>

#include "base/memory.h"
#include "join/state.h"

enum { GROUP = 32 };

static bool half_matches(const struct join *join, uint32_t number, const struct half_ref *ref)
{
	uint32_t at = connection_of(number);
	if (at == 0 || at >= join->connections.fresh)
		return false;
	const struct connection *connection = connection_at(join, at);
	return half_is_here(connection, side_of(number)) &&
	       ref_equal(&connection->refs[side_of(number)], ref);
}

static bool half_is_closed(const struct join *join, uint32_t number)
{
	const struct connection *connection = connection_at(join, connection_of(number));
	return connection->detailed &&
	       detail_of(join, connection)->seats[side_of(number)].closing != 0;
}

static void close_take(struct join *join, uint32_t number, const struct half_close *close)
{
	if (!half_matches(join, number, &close->ref) || half_is_closed(join, number))
		join->stats.closes_unknown++;
	else
		half_close(join, number, close);
}

/* ---- closes without a number ---- */

static uint32_t *opened_place(const struct join *join, const struct half_ref *ref)
{
	uint64_t word;
	memcpy(&word, ref, sizeof(word));
	return &join->opened_places[table_hash(join, &word, sizeof(word)) & join->opened_mask];
}

static uint32_t *opened_next(const struct join *join, uint32_t *place)
{
	return place == &join->opened_places[join->opened_mask] ? join->opened_places : place + 1;
}

static void opened_clear(struct join *join, size_t count)
{
	uint32_t capacity = 16;
	while (capacity < 2 * count)
		capacity *= 2;
	if (capacity > join->opened_capacity) {
		join->opened_capacity = capacity;
		join->opened_places =
			memory_resize(join->opened_places, capacity, sizeof(*join->opened_places));
	}
	join->opened_mask = capacity - 1;
	memset(join->opened_places, 0, capacity * sizeof(*join->opened_places));
}

static void opened_add(struct join *join, const struct half_close *close)
{
	uint32_t *place = opened_place(join, &close->ref);
	while (*place)
		place = opened_next(join, place);
	*(const struct half_close **)array_add(&join->unnumbered, sizeof(close)) = close;
	*place = (uint32_t)join->unnumbered.count;
}

/* The close of a half that is just opening, or NULL. A close is given once. */
static const struct half_close *opened_take(struct join *join, const struct half_ref *ref)
{
	const struct half_close **closes = join->unnumbered.items;
	for (uint32_t *place = opened_place(join, ref); *place; place = opened_next(join, place)) {
		const struct half_close *close = closes[*place - 1];
		if (!close || !ref_equal(&close->ref, ref))
			continue;
		closes[*place - 1] = NULL;
		join->opened_count--;
		return close;
	}
	return NULL;
}

static size_t closes_without_number(const struct half_close *closes, size_t count)
{
	size_t without = 0;
	for (size_t i = 0; i < count; i++)
		without += closes[i].number == 0;
	return without;
}

static void closes_take(struct join *join, const struct half_close *closes, size_t count)
{
	for (size_t start = 0; start < count; start += GROUP) {
		size_t end = start + GROUP < count ? start + GROUP : count;
		for (size_t i = start; i < end; i++)
			if (connection_of(closes[i].number) < join->connections.fresh)
				connection_prefetch(join, connection_of(closes[i].number));
		for (size_t i = start; i < end; i++)
			if (connection_of(closes[i].number) < join->connections.fresh)
				detail_prefetch(join, connection_of(closes[i].number));
		for (size_t i = start; i < end; i++) {
			if (closes[i].number)
				close_take(join, closes[i].number, &closes[i]);
			else
				opened_add(join, &closes[i]);
		}
	}
}

/* ---- openings ---- */

static uint32_t half_of_key(const struct join *join, const struct half_open *open, uint32_t head)
{
	for (uint32_t at = head; at; at = connection_next(join, at)) {
		const struct connection *connection = connection_at(join, at);
		if (half_is_here(connection, open->side) &&
		    ref_equal(&connection->refs[open->side], half_known(open)))
			return number_of(at, open->side);
	}
	return 0;
}

static uint32_t open_new(struct join *join, const struct half_open *open, struct arrival *arrival,
			 uint32_t head, uint64_t closed_ns)
{
	join->stats.opened += !(open->flags & (HALF_HOPPED | HALF_VISITING));
	uint32_t number = half_add(join, open, arrival, head, closed_ns);
	if (open->flags & HALF_ROLE_GUESSED)
		guesser_add(join, number);
	return number;
}

static void open_take(struct join *join, const struct half_open *open, struct arrival *arrival)
{
	if (open->number && half_matches(join, open->number, half_known(open))) {
		half_identify(join, open->number, open, arrival->self);
		return;
	}
	if (open->number && !open->seen.protocol) { /* another owner: of a half that left */
		join->stats.news_unknown++;
		return;
	}
	if (open->number && !owns_key(join, &open->key)) { /* it left this table; it starts anew */
		struct half_open anew = *open;
		anew.number = 0;
		open_send(join, &anew, arrival->self);
		return;
	}
	const struct half_close *close =
		join->opened_count ? opened_take(join, half_known(open)) : NULL;
	uint32_t head = connection_find(join, &open->key, arrival->key);
	uint32_t number = half_of_key(join, open, head);
	if (number)
		half_identify(join, number, open, arrival->self);
	else
		number = open_new(join, open, arrival, head, close ? close->time_ns : UINT64_MAX);
	if (!close)
		return;
	struct half_close here = *close;
	here.ref = open->ref;
	close_take(join, number, &here);
}

static void hosts_prefetch(const struct join *join, const struct tuple *key,
			   struct arrival *arrival)
{
	host_hashes(join, key, arrival->hosts);
	arrival->hosts_known = true;
	slots_prefetch(&join->hosts_index, arrival->hosts[SIDE_CLIENT]);
	slots_prefetch(&join->hosts_index, arrival->hosts[SIDE_SERVER]);
}

/* Index and mappings of all; of a key that seems new the hosts' index, else the connection. */
static void opens_prefetch(const struct join *join, const struct half_open *opens, size_t count,
			   struct arrival arrivals[GROUP])
{
	uint32_t guesses[GROUP];
	for (size_t i = 0; i < count; i++)
		roster_prefetch(join->roster, opens[i].self);
	for (size_t i = 0; i < count; i++) {
		arrivals[i].key = key_hash(join, &opens[i].key);
		arrivals[i].hosts_known = false;
		arrivals[i].self = roster_number(join->roster, opens[i].self);
		slots_prefetch(&join->index, arrivals[i].key);
		slots_prefetch(&join->aliases_by_key[way_of(opens[i].side)], arrivals[i].key);
	}
	for (size_t i = 0; i < count; i++) {
		guesses[i] = slots_guess(&join->index, arrivals[i].key);
		if (guesses[i])
			connection_prefetch(join, guesses[i]);
		else
			hosts_prefetch(join, &opens[i].key, &arrivals[i]);
	}
	for (size_t i = 0; i < count; i++) {
		if (guesses[i])
			detail_prefetch(join, guesses[i]);
		else
			for (unsigned side = 0; side < SIDES; side++)
				__builtin_prefetch(
					host_at(join, slots_guess(&join->hosts_index,
								  arrivals[i].hosts[side])));
	}
}

static void opens_take(struct join *join, const struct half_open *opens, size_t count)
{
	struct arrival arrivals[GROUP];
	for (size_t start = 0; start < count; start += GROUP) {
		size_t group = count - start < GROUP ? count - start : GROUP;
		opens_prefetch(join, opens + start, group, arrivals);
		for (size_t i = 0; i < group; i++)
			open_take(join, &opens[start + i], &arrivals[i]);
	}
}

static void instances_take(struct join *join, const struct instance *instances, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (instances[i].id)
			roster_put(join->roster, &instances[i], join->pane);
}

/* Each kind of all buckets before the next kind. */
void pane_take(struct join *join)
{
	const struct half_bucket *first = join->buckets.items, *end = first + join->buckets.count,
				 *bucket;
	for (bucket = first; bucket < end; bucket++)
		instances_take(join, bucket->instances, bucket->instances_count);
	for (bucket = first; bucket < end; bucket++)
		array_append(&join->alias_events, bucket->aliases, bucket->aliases_count,
			     sizeof(struct nat_alias));
	aliases_take(join);
	for (bucket = first; bucket < end; bucket++)
		servers_take(join, bucket);
	for (bucket = first; bucket < end; bucket++)
		join->opened_count += closes_without_number(bucket->closes, bucket->closes_count);
	if (join->opened_count)
		opened_clear(join, join->opened_count);
	for (bucket = first; bucket < end; bucket++)
		closes_take(join, bucket->closes, bucket->closes_count);
	for (bucket = first; bucket < end; bucket++)
		opens_take(join, bucket->opens, bucket->opens_count);
	join->stats.closes_unknown += join->opened_count;
	join->opened_count = 0;
	join->unnumbered.count = 0;
	join->buckets.count = 0;
}
