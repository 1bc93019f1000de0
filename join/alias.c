#include <stdlib.h>

#include "base/memory.h"
#include "join/state.h"

/* Found by what they map from and by what they map to, as far as those keys are this task's: chains
 * of each, the newest first. */
static uint64_t hash_of_from(const void *context, uint32_t number)
{
	return key_hash(&alias_at(context, number)->from);
}

static uint64_t hash_of_to(const void *context, uint32_t number)
{
	return key_hash(&alias_at(context, number)->to);
}

static bool from_matches(const void *context, uint32_t number, const void *wanted)
{
	return tuple_same(&alias_at(context, number)->from, wanted);
}

static bool to_matches(const void *context, uint32_t number, const void *wanted)
{
	return tuple_same(&alias_at(context, number)->to, wanted);
}

void aliases_init(struct join *join)
{
	join->aliases = (struct pool){
		.items = memory_zeroed((size_t)join->options.aliases_max + 1, sizeof(struct alias)),
		.item_size = sizeof(struct alias),
		.fresh = 1,
	};
	slots_init(&join->aliases_out, hash_of_from, join);
	slots_init(&join->aliases_in, hash_of_to, join);
}

void aliases_done(struct join *join)
{
	free(join->aliases.items);
	free(join->alias_order.items);
	slots_done(&join->aliases_out);
	slots_done(&join->aliases_in);
}

/* The newest that maps from here (to here). */
static uint32_t chain_out(const struct join *join, const struct tuple *key, uint64_t hash)
{
	return slots_find(&join->aliases_out, hash, from_matches, join, key);
}

static uint32_t chain_in(const struct join *join, const struct tuple *key, uint64_t hash)
{
	return slots_find(&join->aliases_in, hash, to_matches, join, key);
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

static void chains_leave(struct join *join, uint32_t number)
{
	const struct alias *alias = alias_at(join, number);
	if (alias->out) {
		uint64_t hash = key_hash(&alias->from);
		uint32_t at = chain_out(join, &alias->from, hash);
		if (at == number && alias->next_out) {
			slots_replace(&join->aliases_out, hash, number, alias->next_out);
		} else if (at == number) {
			slots_remove(&join->aliases_out, hash, number);
		} else {
			while (alias_at(join, at)->next_out != number)
				at = alias_at(join, at)->next_out;
			alias_at(join, at)->next_out = alias->next_out;
		}
	}
	if (alias->in) {
		uint64_t hash = key_hash(&alias->to);
		uint32_t at = chain_in(join, &alias->to, hash);
		if (at == number && alias->next_in) {
			slots_replace(&join->aliases_in, hash, number, alias->next_in);
		} else if (at == number) {
			slots_remove(&join->aliases_in, hash, number);
		} else {
			while (alias_at(join, at)->next_in != number)
				at = alias_at(join, at)->next_in;
			alias_at(join, at)->next_in = alias->next_in;
		}
	}
}

static void alias_free(struct join *join, uint32_t number)
{
	chains_leave(join, number);
	age_unlink(join, alias_at(join, number));
	pool_give(&join->aliases, number);
	join->stats.aliases--;
}

/* An event with what is known of it: the hashes of the keys that are this task's. */
struct announcement {
	const struct nat_alias *event;
	uint64_t from, to;
	bool out, in; /* whether they are */
};

/* The oldest of either chain that is at its bound leaves. */
static void chains_make_room(struct join *join, const struct announcement *told)
{
	uint32_t count = 0, oldest = 0;
	for (uint32_t at = told->out ? chain_out(join, &told->event->from, told->from) : 0; at;
	     at = alias_at(join, at)->next_out, count++)
		oldest = at;
	if (count >= KEY_ALIASES_MAX) {
		alias_free(join, oldest);
		join->stats.evicted_aliases++;
	}
	count = 0;
	for (uint32_t at = told->in ? chain_in(join, &told->event->to, told->to) : 0; at;
	     at = alias_at(join, at)->next_in, count++)
		oldest = at;
	if (count >= KEY_ALIASES_MAX) {
		alias_free(join, oldest);
		join->stats.evicted_aliases++;
	}
}

static void chain_lead(struct slots *slots, uint64_t hash, uint32_t head, uint32_t number)
{
	if (head)
		slots_replace(slots, hash, head, number);
	else
		slots_add(slots, hash, number);
}

static void alias_add(struct join *join, const struct announcement *told)
{
	const struct nat_alias *event = told->event;
	if (join->stats.aliases == join->options.aliases_max) {
		alias_free(join, join->aliases_by_age.oldest);
		join->stats.evicted_aliases++;
	}
	chains_make_room(join, told);
	uint32_t number = pool_take(&join->aliases);
	struct alias *alias = alias_at(join, number);
	*alias = (struct alias){
		.from = event->from,
		.to = event->to,
		.out = told->out,
		.in = told->in,
		.node = event->node,
		.begin_ns = event->time_ns,
		.latest_ns = event->op == NAT_ADD ? event->time_ns : 0,
		.end_ns = event->op == NAT_DELETE ? event->time_ns : UINT64_MAX,
	};
	if (told->out) {
		alias->next_out = chain_out(join, &event->from, told->from);
		chain_lead(&join->aliases_out, told->from, alias->next_out, number);
	}
	if (told->in) {
		alias->next_in = chain_in(join, &event->to, told->to);
		chain_lead(&join->aliases_in, told->to, alias->next_in, number);
	}
	age_link(join, number);
	join->stats.aliases++;
}

bool alias_leads(const struct join *join, const struct tuple *key, uint64_t hash, unsigned side)
{
	return (side == SIDE_CLIENT ? chain_out(join, key, hash) : chain_in(join, key, hash)) != 0;
}

static bool is_stretch(const struct alias *alias, const struct nat_alias *event)
{
	return alias->node == event->node && event->time_ns <= alias->end_ns &&
	       tuple_same(&alias->from, &event->from) && tuple_same(&alias->to, &event->to);
}

/* The stretch of this mapping that the event belongs to. */
static uint32_t alias_find(const struct join *join, const struct announcement *told)
{
	const struct nat_alias *event = told->event;
	uint32_t at = told->out ? chain_out(join, &event->from, told->from)
				: chain_in(join, &event->to, told->to);
	while (at && !is_stretch(alias_at(join, at), event))
		at = told->out ? alias_at(join, at)->next_out : alias_at(join, at)->next_in;
	return at;
}

/* Client halves under `from` may go on; a lone server half under `to` learns who its client is. */
static void alias_wake(struct join *join, const struct announcement *told)
{
	uint32_t at = told->out ? connection_find(join, &told->event->from, told->from) : 0;
	for (; at; at = connection_next(join, at)) {
		struct connection *connection = connection_at(join, at);
		if (!half_is_here(connection, SIDE_CLIENT))
			continue;
		connection->mapped_out = 1;
		connection_touch(join, at);
	}
	at = told->in ? connection_find(join, &told->event->to, told->to) : 0;
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
	struct announcement told = {.event = event};
	told.out = owns_key(join, &event->from);
	told.in = !told.out || owns_key(join, &event->to);
	if (told.out) {
		told.from = key_hash(&event->from);
		slots_prefetch(&join->aliases_out, told.from);
		slots_prefetch(&join->index, told.from);
	}
	if (told.in) {
		told.to = key_hash(&event->to);
		slots_prefetch(&join->aliases_in, told.to);
		slots_prefetch(&join->index, told.to);
	}
	return told;
}

static const struct order_place *events_order(struct join *join, size_t count)
{
	const struct nat_alias *events = join->alias_events.items;
	array_reserve(&join->alias_order, 2 * count, sizeof(struct order_place));
	struct order_place *places = join->alias_order.items;
	for (size_t i = 0; i < count; i++)
		places[i] = (struct order_place){events[i].time_ns, (uint32_t)i};
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
			if ((told[i].out || told[i].in) &&
			    !tuple_same(&told[i].event->from, &told[i].event->to))
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
	int order = memcmp(&a->from, &b->from, sizeof(a->from));
	if (order == 0)
		order = memcmp(&a->to, &b->to, sizeof(a->to));
	return order ? order < 0 : a->node < b->node;
}

uint32_t alias_out(const struct join *join, const struct tuple *key, const struct seat *seat)
{
	uint32_t best = 0;
	uint64_t opened_ns = seat->opened_ns, closed_ns = seat_closed_ns(join, seat);
	for (uint32_t at = chain_out(join, key, key_hash(key)); at;
	     at = alias_at(join, at)->next_out) {
		const struct alias *alias = alias_at(join, at);
		if (alias_covers(alias, opened_ns, closed_ns) &&
		    (!best || alias_better(alias, alias_at(join, best), opened_ns)))
			best = at;
	}
	return best;
}

uint32_t alias_in(const struct join *join, const struct tuple *key, const struct seat *seat)
{
	uint32_t best = 0;
	uint64_t opened_ns = seat->opened_ns, closed_ns = seat_closed_ns(join, seat);
	for (uint32_t at = chain_in(join, key, key_hash(key)); at;
	     at = alias_at(join, at)->next_in) {
		const struct alias *alias = alias_at(join, at);
		if (alias_covers(alias, opened_ns, closed_ns) &&
		    (!best || alias_better(alias, alias_at(join, best), opened_ns)))
			best = at;
	}
	return best;
}
