#include <stdlib.h>

#include "base/memory.h"
#include "join/state.h"

static uint64_t alias_tuple_hash(const void *tuple)
{
	return key_hash(tuple);
}

void aliases_init(struct join *join)
{
	uint32_t tuples_max = 2 * join->options.aliases_max + 2;
	intern_init(&join->alias_tuples, sizeof(struct tuple), tuples_max, alias_tuple_hash);
	join->alias_chains = memory_zeroed((size_t)tuples_max + 1, sizeof(*join->alias_chains));
	join->aliases = (struct pool){
		.items = memory_zeroed((size_t)join->options.aliases_max + 1, sizeof(struct alias)),
		.item_size = sizeof(struct alias),
		.fresh = 1,
	};
}

void aliases_done(struct join *join)
{
	intern_done(&join->alias_tuples);
	free(join->alias_chains);
	free(join->aliases.items);
}

/* By time, and then by everything else: the order in which tasks told them must not matter. */
static int compare_events(const void *left, const void *right)
{
	const struct nat_alias *a = left, *b = right;
	if (a->time_ns != b->time_ns)
		return a->time_ns < b->time_ns ? -1 : 1;
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

static void alias_free(struct join *join, uint32_t number)
{
	struct alias *alias = alias_at(join, number);
	uint32_t *link = &join->alias_chains[alias->from].out;
	while (*link != number)
		link = &alias_at(join, *link)->next_out;
	*link = alias->next_out;
	link = &join->alias_chains[alias->to].in;
	while (*link != number)
		link = &alias_at(join, *link)->next_in;
	*link = alias->next_in;
	age_unlink(join, alias);
	intern_drop(&join->alias_tuples, alias->from);
	intern_drop(&join->alias_tuples, alias->to);
	pool_give(&join->aliases, number);
	join->stats.aliases--;
}

/* The oldest of either chain that is at its bound leaves; chains hold the newest first. */
static void chains_make_room(struct join *join, uint32_t from, uint32_t to)
{
	uint32_t count = 0, oldest = 0;
	for (uint32_t at = join->alias_chains[from].out; at;
	     at = alias_at(join, at)->next_out, count++)
		oldest = at;
	if (count >= KEY_ALIASES_MAX) {
		alias_free(join, oldest);
		join->stats.evicted_aliases++;
	}
	count = 0;
	for (uint32_t at = join->alias_chains[to].in; at; at = alias_at(join, at)->next_in, count++)
		oldest = at;
	if (count >= KEY_ALIASES_MAX) {
		alias_free(join, oldest);
		join->stats.evicted_aliases++;
	}
}

static uint32_t alias_add(struct join *join, const struct nat_alias *event)
{
	if (join->stats.aliases == join->options.aliases_max) {
		alias_free(join, join->aliases_by_age.oldest);
		join->stats.evicted_aliases++;
	}
	uint32_t from = intern_hold(&join->alias_tuples, &event->from);
	uint32_t to = intern_hold(&join->alias_tuples, &event->to);
	chains_make_room(join, from, to);
	uint32_t number = pool_take(&join->aliases);
	*alias_at(join, number) = (struct alias){
		.from = from,
		.to = to,
		.next_out = join->alias_chains[from].out,
		.next_in = join->alias_chains[to].in,
		.node = event->node,
		.begin_ns = event->time_ns,
		.latest_ns = event->op == NAT_ADD ? event->time_ns : 0,
		.end_ns = event->op == NAT_DELETE ? event->time_ns : UINT64_MAX,
	};
	join->alias_chains[from].out = number;
	join->alias_chains[to].in = number;
	age_link(join, number);
	join->stats.aliases++;
	return number;
}

static uint32_t alias_tuple_find(const struct join *join, const struct tuple *tuple, uint64_t hash)
{
	if (!slots_may_have(&join->alias_tuples.table, hash))
		return 0;
	return intern_find(&join->alias_tuples, tuple, hash);
}

unsigned alias_marks(const struct join *join, const struct tuple *key, uint64_t hash)
{
	uint32_t number = alias_tuple_find(join, key, hash);
	if (!number)
		return 0;
	const struct alias_chains *chains = &join->alias_chains[number];
	return (chains->out ? ALIAS_OUT : 0) | (chains->in ? ALIAS_IN : 0);
}

/* The stretch of this mapping that the event belongs to. */
static uint32_t alias_find(const struct join *join, const struct nat_alias *event)
{
	uint32_t from = alias_tuple_find(join, &event->from, key_hash(&event->from));
	uint32_t to = alias_tuple_find(join, &event->to, key_hash(&event->to));
	if (!from || !to)
		return 0;
	for (uint32_t at = join->alias_chains[from].out; at; at = alias_at(join, at)->next_out) {
		const struct alias *alias = alias_at(join, at);
		if (alias->to == to && alias->node == event->node &&
		    event->time_ns <= alias->end_ns)
			return at;
	}
	return 0;
}

static uint32_t connections_of(const struct join *join, uint32_t tuple)
{
	const struct tuple *key = alias_tuple(join, tuple);
	return connection_find(join, key, key_hash(key));
}

/* Client halves under `from` may go on; a lone server half under `to` learns who its client is. */
static void alias_wake(struct join *join, uint32_t from, uint32_t to)
{
	for (uint32_t at = connections_of(join, from); at; at = connection_next(join, at)) {
		struct connection *connection = connection_at(join, at);
		if (!half_is_here(connection, SIDE_CLIENT))
			continue;
		connection->mapped_out = 1;
		connection_touch(join, at);
	}
	for (uint32_t at = connections_of(join, to); at; at = connection_next(join, at)) {
		struct connection *connection = connection_at(join, at);
		connection->mapped_in = 1;
		if (half_is_here(connection, SIDE_SERVER) && !is_pair(connection))
			half_change(join, number_of(at, SIDE_SERVER));
	}
}

static void alias_take(struct join *join, const struct nat_alias *event)
{
	if (tuple_equal(&event->from, &event->to))
		return;
	uint32_t number = alias_find(join, event);
	if (!number) {
		number = alias_add(join, event);
		alias_wake(join, alias_at(join, number)->from, alias_at(join, number)->to);
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
	age_unlink(join, alias);
	age_link(join, number);
	if (earlier || later)
		alias_wake(join, alias->from, alias->to);
}

void aliases_take(struct join *join)
{
	struct nat_alias *events = join->alias_events.items;
	size_t count = join->alias_events.count;
	if (count > 1)
		qsort(events, count, sizeof(*events), compare_events);
	for (size_t i = 0; i < count; i++)
		alias_take(join, &events[i]);
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
static bool alias_better(const struct join *join, const struct alias *a, const struct alias *b,
			 uint64_t opened_ns)
{
	uint64_t a_off =
		a->begin_ns > opened_ns ? a->begin_ns - opened_ns : opened_ns - a->begin_ns;
	uint64_t b_off =
		b->begin_ns > opened_ns ? b->begin_ns - opened_ns : opened_ns - b->begin_ns;
	if (a_off != b_off)
		return a_off < b_off;
	int order = memcmp(alias_tuple(join, a->from), alias_tuple(join, b->from),
			   sizeof(struct tuple));
	if (order == 0)
		order = memcmp(alias_tuple(join, a->to), alias_tuple(join, b->to),
			       sizeof(struct tuple));
	return order ? order < 0 : a->node < b->node;
}

uint32_t alias_out(const struct join *join, const struct tuple *key, const struct seat *seat)
{
	uint32_t number = alias_tuple_find(join, key, key_hash(key)), best = 0;
	uint64_t opened_ns = seat->opened_ns, closed_ns = seat_closed_ns(join, seat);
	for (uint32_t at = number ? join->alias_chains[number].out : 0; at;
	     at = alias_at(join, at)->next_out) {
		const struct alias *alias = alias_at(join, at);
		if (alias_covers(alias, opened_ns, closed_ns) &&
		    (!best || alias_better(join, alias, alias_at(join, best), opened_ns)))
			best = at;
	}
	return best;
}

uint32_t alias_in(const struct join *join, const struct tuple *key, const struct seat *seat)
{
	uint32_t number = alias_tuple_find(join, key, key_hash(key)), best = 0;
	uint64_t opened_ns = seat->opened_ns, closed_ns = seat_closed_ns(join, seat);
	for (uint32_t at = number ? join->alias_chains[number].in : 0; at;
	     at = alias_at(join, at)->next_in) {
		const struct alias *alias = alias_at(join, at);
		if (alias_covers(alias, opened_ns, closed_ns) &&
		    (!best || alias_better(join, alias, alias_at(join, best), opened_ns)))
			best = at;
	}
	return best;
}
