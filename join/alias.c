#include <stdlib.h>

#include "base/memory.h"
#include "join/state.h"

/* Mappings are in chains of the same key, either way, the newest first. */
static uint64_t hash_of_from(const void *context, uint32_t number)
{
	return key_hash(context, &alias_at(context, number)->keys[WAY_OUT]);
}

static uint64_t hash_of_to(const void *context, uint32_t number)
{
	return key_hash(context, &alias_at(context, number)->keys[WAY_IN]);
}

static bool from_matches(const void *context, uint32_t number, const void *wanted)
{
	return tuple_same(&alias_at(context, number)->keys[WAY_OUT], wanted);
}

static bool to_matches(const void *context, uint32_t number, const void *wanted)
{
	return tuple_same(&alias_at(context, number)->keys[WAY_IN], wanted);
}

static inline __attribute__((always_inline)) void keys_prefetch(const struct join *join,
								uint32_t number)
{
	const struct alias *alias = alias_at(join, number);
	__builtin_prefetch(alias->keys);
	__builtin_prefetch(alias->keys + WAYS);
}

static void keys_fetch(const void *context, uint32_t number)
{
	keys_prefetch(context, number);
}

void aliases_init(struct join *join)
{
	join->aliases = (struct pool){
		.items = memory_zeroed((size_t)join->options.aliases_max + 1, sizeof(struct alias)),
		.item_size = sizeof(struct alias),
		.fresh = 1,
	};
	slots_init(&join->aliases_by_key[WAY_OUT], hash_of_from, keys_fetch, join);
	slots_init(&join->aliases_by_key[WAY_IN], hash_of_to, keys_fetch, join);
}

void aliases_bind(struct join *join)
{
	slots_bind(&join->aliases_by_key[WAY_OUT], hash_of_from, keys_fetch, join);
	slots_bind(&join->aliases_by_key[WAY_IN], hash_of_to, keys_fetch, join);
}

void aliases_done(struct join *join)
{
	memory_free(join->aliases.items);
	memory_free(join->alias_order.items);
	for (int way = 0; way < WAYS; way++)
		slots_done(&join->aliases_by_key[way]);
}

/* The newest that maps out of the key, or into it. */
static uint32_t chain_find(const struct join *join, const struct tuple *key, uint64_t hash,
			   enum way way)
{
	const struct slots *table = &join->aliases_by_key[way];
	return way == WAY_OUT ? slots_find(table, hash, from_matches, join, key)
			      : slots_find(table, hash, to_matches, join, key);
}

/* Of events of one time: by everything else, as the order in which tasks told them must not
 * matter. */
static int compare_events(const void *context, uint32_t left, uint32_t right)
{
	const struct nat_alias *events = context, *a = &events[left], *b = &events[right];
	if (a->op != b->op)
		return a->op < b->op ? -1 : 1;
	if (a->node != b->node)
		return a->node < b->node ? -1 : 1;
	int order = memcmp(&a->from, &b->from, sizeof(a->from));
	return order ? order : memcmp(&a->to, &b->to, sizeof(a->to));
}

/* As much of that order as fits. */
static uint32_t event_tie(const struct nat_alias *event)
{
	return (uint32_t)event->op << 31 | (uint32_t)(event->node >> 33);
}

static void age_unlink(struct join *join, struct alias *alias)
{
	struct list *list = &join->aliases_by_age;
	*(alias->older ? &alias_at(join, alias->older)->newer : &list->oldest) = alias->newer;
	*(alias->newer ? &alias_at(join, alias->newer)->older : &list->newest) = alias->older;
}

static void age_link(struct join *join, uint32_t number)
{
	struct alias *alias = alias_at(join, number);
	struct list *list = &join->aliases_by_age;
	alias->since_ns = join->now_ns;
	alias->older = list->newest;
	alias->newer = 0;
	*(list->newest ? &alias_at(join, list->newest)->newer : &list->oldest) = number;
	list->newest = number;
}

static void chain_leave(struct join *join, uint32_t number, enum way way)
{
	const struct alias *alias = alias_at(join, number);
	struct slots *table = &join->aliases_by_key[way];
	uint64_t hash = key_hash(join, &alias->keys[way]);
	uint32_t at = chain_find(join, &alias->keys[way], hash, way);
	if (at == number && alias->next[way]) {
		slots_replace(table, hash, number, alias->next[way]);
	} else if (at == number) {
		slots_remove(table, hash, number);
	} else {
		while (alias_at(join, at)->next[way] != number)
			at = alias_at(join, at)->next[way];
		alias_at(join, at)->next[way] = alias->next[way];
	}
}

static void alias_free(struct join *join, uint32_t number)
{
	for (int way = 0; way < WAYS; way++)
		if (alias_at(join, number)->owned[way])
			chain_leave(join, number, way);
	age_unlink(join, alias_at(join, number));
	pool_give(&join->aliases, number);
	join->stats.aliases--;
}

/* An event with what is known of it. */
struct announcement {
	const struct nat_alias *event;
	const struct tuple *keys[WAYS];
	uint64_t hashes[WAYS]; /* of the keys that are this task's, */
	bool owned[WAYS];      /* which these are */
};

static uint32_t told_chain(const struct join *join, const struct announcement *told, enum way way)
{
	return told->owned[way] ? chain_find(join, told->keys[way], told->hashes[way], way) : 0;
}

/* The oldest of a chain that is at its bound leaves. */
static void chain_make_place(struct join *join, const struct announcement *told, enum way way)
{
	uint32_t count = 0, oldest = 0;
	for (uint32_t at = told_chain(join, told, way); at; at = alias_at(join, at)->next[way]) {
		oldest = at;
		count++;
	}
	if (count < KEY_ALIASES_MAX)
		return;
	alias_free(join, oldest);
	join->stats.evicted_aliases++;
}

static void chain_lead(struct join *join, uint32_t number, const struct announcement *told,
		       enum way way)
{
	uint32_t head = told_chain(join, told, way);
	if (head)
		slots_replace(&join->aliases_by_key[way], told->hashes[way], head, number);
	else
		slots_add(&join->aliases_by_key[way], told->hashes[way], number);
	alias_at(join, number)->next[way] = head;
}

static void alias_add(struct join *join, const struct announcement *told)
{
	const struct nat_alias *event = told->event;
	if (join->stats.aliases == join->options.aliases_max) {
		alias_free(join, join->aliases_by_age.oldest);
		join->stats.evicted_aliases++;
	}
	for (int way = 0; way < WAYS; way++)
		chain_make_place(join, told, way);
	uint32_t number = pool_take(&join->aliases);
	*alias_at(join, number) = (struct alias){
		.keys = {event->from, event->to},
		.owned = {told->owned[WAY_OUT], told->owned[WAY_IN]},
		.node = event->node,
		.begin_ns = event->time_ns,
		.latest_ns = event->op == NAT_ADD ? event->time_ns : 0,
		.end_ns = event->op == NAT_DELETE ? event->time_ns : UINT64_MAX,
	};
	for (int way = 0; way < WAYS; way++)
		if (told->owned[way])
			chain_lead(join, number, told, way);
	age_link(join, number);
	join->stats.aliases++;
}

bool alias_leads(const struct join *join, const struct tuple *key, uint64_t hash, enum way way)
{
	return chain_find(join, key, hash, way) != 0;
}

static bool is_stretch(const struct alias *alias, const struct nat_alias *event)
{
	return alias->node == event->node && event->time_ns <= alias->end_ns &&
	       tuple_same(&alias->keys[WAY_OUT], &event->from) &&
	       tuple_same(&alias->keys[WAY_IN], &event->to);
}

/* The stretch of this mapping that the event belongs to. */
static uint32_t alias_find(const struct join *join, const struct announcement *told)
{
	enum way way = told->owned[WAY_OUT] ? WAY_OUT : WAY_IN;
	uint32_t at = told_chain(join, told, way);
	while (at && !is_stretch(alias_at(join, at), told->event))
		at = alias_at(join, at)->next[way];
	return at;
}

static uint32_t told_connection(const struct join *join, const struct announcement *told,
				enum way way)
{
	return told->owned[way] ? connection_find(join, told->keys[way], told->hashes[way]) : 0;
}

/* Client halves under `from` may go on; a lone server half under `to` learns who its client is. */
static void alias_wake(struct join *join, const struct announcement *told)
{
	uint32_t at = told_connection(join, told, WAY_OUT);
	for (; at; at = connection_next(join, at)) {
		struct connection *connection = connection_at(join, at);
		if (!half_is_here(connection, SIDE_CLIENT))
			continue;
		connection->mapped_out = 1;
		connection_touch(join, at);
	}
	at = told_connection(join, told, WAY_IN);
	for (; at; at = connection_next(join, at)) {
		struct connection *connection = connection_at(join, at);
		connection->mapped_in = 1;
		if (half_is_here(connection, SIDE_SERVER) && !is_pair(connection))
			half_change(join, number_of(at, SIDE_SERVER));
	}
}

static void alias_take(struct join *join, const struct announcement *told)
{
	const struct nat_alias *event = told->event;
	uint32_t number = alias_find(join, told);
	if (!number) {
		alias_add(join, told);
		alias_wake(join, told);
		return;
	}
	struct alias *alias = alias_at(join, number);
	bool earlier = event->time_ns < alias->begin_ns;
	bool later = event->op == NAT_ADD && event->time_ns > alias->latest_ns;
	if (earlier)
		alias->begin_ns = event->time_ns;
	if (later)
		alias->latest_ns = event->time_ns;
	if (event->op == NAT_DELETE && alias->end_ns == UINT64_MAX)
		alias->end_ns = event->time_ns;
	if (alias->since_ns != join->now_ns) {
		age_unlink(join, alias);
		age_link(join, number);
	}
	if (earlier || later)
		alias_wake(join, told);
}

/* A mapping is kept for the keys that this task owns, one of them at least: else it would not have
 * been told. */
static struct announcement announcement_of(const struct join *join, const struct nat_alias *event)
{
	struct announcement told = {.event = event, .keys = {&event->from, &event->to}};
	told.owned[WAY_OUT] = owns_key(join, &event->from);
	told.owned[WAY_IN] = !told.owned[WAY_OUT] || owns_key(join, &event->to);
	for (int way = 0; way < WAYS; way++) {
		if (!told.owned[way])
			continue;
		told.hashes[way] = key_hash(join, told.keys[way]);
		slots_prefetch(&join->aliases_by_key[way], told.hashes[way]);
		slots_prefetch(&join->index, told.hashes[way]);
	}
	return told;
}

/* What its look-ups will compare with. */
static inline __attribute__((always_inline)) void told_prefetch(const struct join *join,
								const struct announcement *told)
{
	for (int way = 0; way < WAYS; way++) {
		if (!told->owned[way])
			continue;
		keys_prefetch(join, slots_guess(&join->aliases_by_key[way], told->hashes[way]));
		__builtin_prefetch(
			&connection_at(join, slots_guess(&join->index, told->hashes[way]))->hosts);
	}
}

static const struct order_place *events_order(struct join *join, size_t count)
{
	const struct nat_alias *events = join->alias_events.items;
	array_reserve(&join->alias_order, 2 * count, sizeof(struct order_place));
	struct order_place *places = join->alias_order.items;
	for (size_t i = 0; i < count; i++)
		places[i] =
			(struct order_place){events[i].time_ns, (uint32_t)i, event_tie(&events[i])};
	return order_by_time(places, count, compare_events, events);
}

void aliases_take(struct join *join)
{
	enum { GROUP = 16 };
	const struct nat_alias *events = join->alias_events.items;
	size_t count = join->alias_events.count;
	if (count == 0)
		return;
	const struct order_place *places = events_order(join, count);
	for (size_t start = 0; start < count; start += GROUP) {
		struct announcement told[GROUP];
		size_t group = count - start < GROUP ? count - start : GROUP;
		for (size_t i = 0; i < group; i++)
			told[i] = announcement_of(join, &events[places[start + i].index]);
		for (size_t i = 0; i < group; i++)
			told_prefetch(join, &told[i]);
		for (size_t i = 0; i < group; i++)
			if (!tuple_same(&told[i].event->from, &told[i].event->to))
				alias_take(join, &told[i]);
	}
	join->alias_events.count = 0;
}

void aliases_expire(struct join *join)
{
	for (uint32_t at; (at = join->aliases_by_age.oldest) != 0;) {
		const struct alias *alias = alias_at(join, at);
		if (join->now_ns - alias->since_ns < join->options.keep_ns)
			return;
		alias_free(join, at);
	}
}

/* A mapping is made by a connection's first packet and told then, and again while it stands. One
 * that was last told of before the opening was an earlier connection's; ours is still to come. */
static bool alias_covers(const struct alias *alias, uint64_t opened_ns, uint64_t closed_ns)
{
	bool begins_in_time = closed_ns > UINT64_MAX - PAIR_SLACK_NS ||
			      alias->begin_ns <= closed_ns + PAIR_SLACK_NS;
	bool ends_in_time = alias->end_ns > UINT64_MAX - PAIR_SLACK_NS ||
			    opened_ns <= alias->end_ns + PAIR_SLACK_NS;
	bool told_since =
		opened_ns < PAIR_SLACK_NS || alias->latest_ns >= opened_ns - PAIR_SLACK_NS;
	return begins_in_time && ends_in_time && told_since;
}

/* A port may be reused through the same NAT: of the mappings that touch the life, the one that
 * began nearest to the opening; ties by bytes. */
static bool alias_better(const struct alias *a, const struct alias *b, uint64_t opened_ns)
{
	uint64_t a_off =
		a->begin_ns > opened_ns ? a->begin_ns - opened_ns : opened_ns - a->begin_ns;
	uint64_t b_off =
		b->begin_ns > opened_ns ? b->begin_ns - opened_ns : opened_ns - b->begin_ns;
	if (a_off != b_off)
		return a_off < b_off;
	int order = memcmp(a->keys, b->keys, sizeof(a->keys));
	return order ? order < 0 : a->node < b->node;
}

uint32_t alias_of(const struct join *join, const struct tuple *key, const struct seat *seat,
		  enum way way)
{
	uint32_t best = 0;
	uint64_t opened_ns = seat->opened_ns, closed_ns = seat_closed_ns(join, seat);
	for (uint32_t at = chain_find(join, key, key_hash(join, key), way); at;
	     at = alias_at(join, at)->next[way]) {
		const struct alias *alias = alias_at(join, at);
		if (alias_covers(alias, opened_ns, closed_ns) &&
		    (!best || alias_better(alias, alias_at(join, best), opened_ns)))
			best = at;
	}
	return best;
}
