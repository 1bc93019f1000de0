#include <stdlib.h>

#include "base/memory.h"
#include "join/state.h"

static struct pool pool_of(uint32_t item_size, uint32_t items_max)
{
	return (struct pool){.items = memory_zeroed((size_t)items_max + 1, item_size),
			     .item_size = item_size,
			     .fresh = 1};
}

void *array_add_slow(struct array *array, size_t item_size)
{
	array->capacity = memory_grown(array->capacity, array->count + 1);
	array->items = memory_resize(array->items, array->capacity, item_size);
	return (char *)array->items + array->count++ * item_size;
}

void array_reserve(struct array *array, size_t count, size_t item_size)
{
	if (count <= array->capacity)
		return;
	array->capacity = memory_grown(array->capacity, count);
	array->items = memory_resize(array->items, array->capacity, item_size);
}

void array_append(struct array *array, const void *items, size_t count, size_t item_size)
{
	if (count == 0)
		return;
	array_reserve(array, array->count + count, item_size);
	memcpy((char *)array->items + array->count * item_size, items, count * item_size);
	array->count += count;
}

static uint64_t connection_hash_of(const void *context, uint32_t at)
{
	struct tuple key = connection_key(context, connection_at(context, at));
	return key_hash(context, &key);
}

/* Its hosts are shared, and mostly in the cache. */
static void connection_fetch(const void *context, uint32_t at)
{
	__builtin_prefetch(&connection_at(context, at)->hosts);
}

void connections_init(struct join *join)
{
	uint32_t halves_max = join->options.halves_max;
	join->connections = pool_of(sizeof(struct connection), halves_max);
	join->details = pool_of(sizeof(struct detail), halves_max);
	join->closings = pool_of(sizeof(struct closing), halves_max);
	join->views = pool_of(sizeof(struct view), halves_max);
	slots_init(&join->index, connection_hash_of, connection_fetch, join);
	hosts_init(join, 2 * SIDES * halves_max);
}

void connections_bind(struct join *join)
{
	slots_bind(&join->index, connection_hash_of, connection_fetch, join);
	hosts_bind(join);
}

void connections_done(struct join *join)
{
	memory_free(join->connections.items);
	memory_free(join->details.items);
	memory_free(join->closings.items);
	memory_free(join->views.items);
	slots_done(&join->index);
	hosts_done(join);
}

/* ---- a key's connections ---- */

static bool connection_matches(const void *context, uint32_t at, const void *wanted)
{
	const struct join *join = context;
	const struct connection *connection = connection_at(join, at);
	const struct tuple *key = wanted;
	if (connection->ports[SIDE_CLIENT] != key->client_port ||
	    connection->ports[SIDE_SERVER] != key->server_port)
		return false;
	const struct host *client = host_at(join, connection->hosts[SIDE_CLIENT]);
	const struct host *server = host_at(join, connection->hosts[SIDE_SERVER]);
	return address_equal(&client->address, &key->client) &&
	       address_equal(&server->address, &key->server) && server->scope == key->scope &&
	       server->protocol == key->protocol;
}

uint32_t connection_find(const struct join *join, const struct tuple *key, uint64_t hash)
{
	return slots_find(&join->index, hash, connection_matches, join, key);
}

uint32_t connection_next(const struct join *join, uint32_t at)
{
	const struct connection *connection = connection_at(join, at);
	return connection->detailed ? detail_of(join, connection)->next : 0;
}

/* The newcomer leads; only what has a detail can be followed. */
static inline void chain_add(struct join *join, uint32_t at, uint64_t hash, uint32_t head)
{
	if (!head) {
		slots_add(&join->index, hash, at);
		return;
	}
	slots_replace(&join->index, hash, head, at);
	detail_of(join, connection_at(join, at))->next = head;
	connection_at(join, at)->crowded = 1;
	connection_at(join, head)->crowded = 1;
}

static __attribute__((noinline)) void crowd_remove(struct join *join, uint32_t at, uint64_t hash)
{
	struct tuple key = connection_key(join, connection_at(join, at));
	uint32_t before = connection_find(join, &key, hash), next = connection_next(join, at);
	if (before == at && next) {
		slots_replace(&join->index, hash, at, next);
	} else if (before == at) {
		slots_remove(&join->index, hash, at);
	} else {
		while (connection_next(join, before) != at)
			before = connection_next(join, before);
		detail_of(join, connection_at(join, before))->next = next;
	}
}

static inline void chain_remove(struct join *join, uint32_t at, uint64_t hash)
{
	if (connection_at(join, at)->crowded)
		crowd_remove(join, at, hash);
	else
		slots_remove(&join->index, hash, at);
}

/* ---- lists by age ---- */

static struct detail *detail_at(const struct join *join, uint32_t at)
{
	return detail_of(join, connection_at(join, at));
}

static bool stage_has_list(unsigned stage)
{
	return stage != STAGE_NONE && stage != STAGE_PAIRED;
}

static void list_unlink(struct join *join, const struct detail *detail, unsigned stage)
{
	struct list *list = &join->stages[stage];
	*(detail->older ? &detail_at(join, detail->older)->newer : &list->oldest) = detail->newer;
	*(detail->newer ? &detail_at(join, detail->newer)->older : &list->newest) = detail->older;
}

static void list_link(struct join *join, struct detail *detail, uint32_t at, unsigned stage)
{
	struct list *list = &join->stages[stage];
	detail->older = list->newest;
	detail->newer = 0;
	*(list->newest ? &detail_at(join, list->newest)->newer : &list->oldest) = at;
	list->newest = at;
}

/* A settled pair needs nothing of its detail but what fits beside. */
static void detail_drop(struct join *join, struct connection *connection)
{
	uint32_t number = connection->more;
	const struct detail *detail = detail_of(join, connection);
	const struct seat *client = &detail->seats[SIDE_CLIENT],
			  *server = &detail->seats[SIDE_SERVER];
	if (detail->next || connection->told || server->view || client->closing || server->closing)
		return;
	connection->opened_ns = client->opened_ns;
	connection->detailed = 0;
	connection->viewed = client->view != 0;
	connection->more = client->view ? client->view : client->connect_us;
	if (client->view) {
		view_at(join, client->view)->connect_us = client->connect_us;
		view_at(join, client->view)->hops = client->hops;
	}
	pool_give(&join->details, number);
}

static struct detail *detail_want(struct join *join, struct connection *connection)
{
	if (connection->detailed)
		return detail_of(join, connection);
	uint32_t number = pool_take(&join->details), more = connection->more;
	connection->detailed = 1;
	connection->more = number;
	struct detail *detail = detail_of(join, connection);
	*detail = (struct detail){.seats = {{.opened_ns = connection->opened_ns},
					    {.opened_ns = connection->opened_ns}}};
	struct seat *client = &detail->seats[SIDE_CLIENT];
	if (connection->viewed) {
		client->view = more;
		client->connect_us = view_at(join, more)->connect_us;
		client->hops = (uint8_t)view_at(join, more)->hops;
	} else {
		client->connect_us = more;
	}
	return detail;
}

void connection_move(struct join *join, uint32_t at, enum stage stage)
{
	struct connection *connection = connection_at(join, at);
	struct detail *detail = detail_of(join, connection);
	if (stage_has_list(connection->stage))
		list_unlink(join, detail, connection->stage);
	connection->stage = stage;
	detail->since_pane = (uint32_t)join->pane;
	if (stage == STAGE_UNSETTLED)
		*(struct settling *)array_add(&join->settling, sizeof(struct settling)) =
			(struct settling){at, detail->since_pane};
	if (stage_has_list(stage))
		list_link(join, detail, at, stage);
	else
		detail_drop(join, connection);
}

/* ---- coming and going ---- */

static void view_free(struct join *join, uint32_t number)
{
	host_drop(join, view_at(join, number)->hosts[SIDE_CLIENT]);
	host_drop(join, view_at(join, number)->hosts[SIDE_SERVER]);
	pool_give(&join->views, number);
}

static __attribute__((noinline)) uint32_t view_add(struct join *join, const struct half_open *open)
{
	const struct tuple *seen = &open->seen;
	uint64_t hashes[SIDES];
	host_hashes(join, seen, hashes);
	uint32_t number = pool_take(&join->views);
	struct view *view = view_at(join, number);
	*view = (struct view){.ports = {seen->client_port, seen->server_port}};
	hosts_hold(join, seen, hashes, view->hosts);
	return number;
}

static inline uint32_t connection_add(struct join *join, const struct tuple *key, uint64_t hash,
				      const uint32_t hosts[SIDES], uint32_t head)
{
	uint32_t at = pool_take(&join->connections), detail = pool_take(&join->details);
	*connection_at(join, at) = (struct connection){
		.hosts = {hosts[SIDE_CLIENT], hosts[SIDE_SERVER]},
		.ports = {key->client_port, key->server_port},
		.more = detail,
		.detailed = 1,
	};
	*(struct detail *)pool_at(&join->details, detail) = (struct detail){0};
	chain_add(join, at, hash, head);
	join->stats.flows++;
	return at;
}

static void connection_free(struct join *join, uint32_t at, uint64_t hash)
{
	struct connection *connection = connection_at(join, at);
	chain_remove(join, at, hash);
	if (connection->detailed) {
		if (stage_has_list(connection->stage))
			list_unlink(join, detail_of(join, connection), connection->stage);
		pool_give(&join->details, connection->more);
	}
	host_drop(join, connection->hosts[SIDE_CLIENT]);
	host_drop(join, connection->hosts[SIDE_SERVER]);
	roster_drop(join->roster, connection->self[SIDE_CLIENT]);
	roster_drop(join->roster, connection->self[SIDE_SERVER]);
	connection->stage = STAGE_NONE;
	connection->touched = 0;
	pool_give(&join->connections, at);
	join->stats.flows--;
}

/* Whose half this is, or whom the other half's process sought here. */
static inline void self_drop(struct join *join, struct connection *connection, unsigned side)
{
	roster_drop(join->roster, connection->self[side]);
	connection->self[side] = 0;
}

/* Bits of the side that has left. */
static void seat_empty(struct connection *connection, unsigned side)
{
	unsigned others = side == SIDE_CLIENT ? 2 : 1;
	connection->present = connection->present & others & 3;
	connection->changed = connection->changed & others & 3;
	connection->told = connection->told & others & 3;
}

void half_free(struct join *join, uint32_t number)
{
	uint32_t at = connection_of(number);
	unsigned side = side_of(number);
	struct connection *connection = connection_at(join, at);
	if (connection->changed >> side & 1)
		label_add(join, number);
	self_drop(join, connection, side);
	if (connection->detailed) {
		struct seat *seat = &detail_of(join, connection)->seats[side];
		if (seat->view)
			view_free(join, seat->view);
		if (seat->closing)
			pool_give(&join->closings, seat->closing);
		*seat = (struct seat){0};
	} else if (connection->viewed && side == SIDE_CLIENT) {
		view_free(join, connection->more);
		connection->viewed = 0;
	}
	seat_empty(connection, side);
	join->stats.halves--;
	if (!connection->present)
		connection_free(join, at, connection_hash_of(join, at));
}

void pair_free(struct join *join, uint32_t at, uint64_t hash)
{
	struct connection *connection = connection_at(join, at);
	const struct detail *detail = detail_of(join, connection);
	for (unsigned side = 0; side < SIDES; side++) {
		if (detail->seats[side].view)
			view_free(join, detail->seats[side].view);
		pool_give(&join->closings, detail->seats[side].closing);
	}
	connection->present = connection->changed = connection->told = 0;
	join->stats.halves -= SIDES;
	connection_free(join, at, hash);
}

static void connection_clear(struct join *join, uint32_t at)
{
	unsigned present = connection_at(join, at)->present;
	for (unsigned side = 0; side < SIDES; side++)
		if (present >> side & 1)
			half_free(join, number_of(at, side));
}

void pair_wait_no_longer(struct join *join, struct connection *connection)
{
	struct detail *detail = detail_of(join, connection);
	for (unsigned side = 0; side < SIDES; side++)
		detail->seats[side].flags &= (uint16_t)~HALF_WAITS;
	connection->changed = connection->present;
}

void pair_over(struct join *join, uint32_t at)
{
	pair_wait_no_longer(join, connection_at(join, at));
	pair_label(join, at);
	pair_free(join, at, connection_hash_of(join, at));
}

/* A pair that waits, or did until this round, has its final label before a half of it goes: else
 * what both gave meanwhile would count. */
static void pair_end_wait(struct join *join, uint32_t at)
{
	struct connection *connection = connection_at(join, at);
	if (!is_pair(connection) || !connection->detailed)
		return;
	const struct seat *seats = detail_of(join, connection)->seats;
	unsigned flags = seats[SIDE_CLIENT].flags | seats[SIDE_SERVER].flags;
	if (!(flags & (HALF_WAITS | SEAT_WAITED)))
		return;
	pair_wait_no_longer(join, connection);
	pair_label(join, at);
}

void connection_give_up(struct join *join, uint32_t at)
{
	struct connection *connection = connection_at(join, at);
	pair_end_wait(join, at);
	const struct detail *detail = detail_of(join, connection);
	unsigned closed = detail->seats[SIDE_CLIENT].closing ? SIDE_CLIENT : SIDE_SERVER;
	struct tuple key = connection_key(join, connection);
	flow_add(join, at, &key);
	half_free(join, number_of(at, closed));
	connection->told = connection->present;
	connection->settled = 1; /* told with the other one; what comes is not its peer */
	connection_move(join, at, STAGE_DONE);
	connection_touch(join, at);
}

/* What closed and was not told yet becomes its flow before it goes. */
static void connection_evict(struct join *join, uint32_t at)
{
	const struct connection *connection = connection_at(join, at);
	uint64_t before = join->stats.halves;
	unsigned closed = 0;
	for (unsigned side = 0; connection->detailed && side < SIDES; side++)
		closed += detail_of(join, connection)->seats[side].closing != 0;
	if (connection->stage == STAGE_OVER) {
		pair_over(join, at);
	} else if (is_pair(connection) && closed == 1) {
		connection_give_up(join, at);
	} else {
		struct tuple key = connection_key(join, connection);
		pair_end_wait(join, at);
		if (closed && (is_pair(connection) || !connection->told))
			flow_add(join, at, &key);
		connection_clear(join, at);
	}
	join->stats.evicted_halves += before - join->stats.halves;
}

static uint32_t newcomer(struct join *join)
{
	while (join->newcomers_hand < join->touched.count) {
		uint32_t at = ((uint32_t *)join->touched.items)[join->newcomers_hand++];
		if (connection_at(join, at)->present &&
		    connection_at(join, at)->stage == STAGE_NONE)
			return at;
	}
	return 0;
}

static uint32_t settled_pair(struct join *join)
{
	for (uint32_t step = 0; step < join->connections.fresh; step++) {
		if (++join->hand >= join->connections.fresh)
			join->hand = 1;
		if (connection_at(join, join->hand)->stage == STAGE_PAIRED)
			return join->hand;
	}
	assert(!"halves are in a list, newcomers or settled");
	return 0;
}

/* Whoever is in no list came in this round or is a settled pair. */
static __attribute__((noinline, cold)) void halves_make_room(struct join *join)
{
	for (int stage = STAGE_OVER; stage < STAGE_PAIRED; stage++) {
		if (join->stages[stage].oldest) {
			connection_evict(join, join->stages[stage].oldest);
			return;
		}
	}
	uint32_t at = newcomer(join);
	connection_evict(join, at ? at : settled_pair(join));
}

static __attribute__((noinline, cold)) void chain_make_room(struct join *join, uint32_t head)
{
	uint32_t oldest = 0, halves = 0;
	for (uint32_t at = head; at; at = connection_next(join, at)) {
		const struct connection *connection = connection_at(join, at);
		halves += is_pair(connection) ? 2 : 1;
		if (!oldest || connection->stage <= connection_at(join, oldest)->stage)
			oldest = at;
	}
	if (halves >= KEY_HALVES_MAX)
		connection_evict(join, oldest);
}

/* Where nobody else has this key, the newcomer sits down with the one who waits there; pairs_seek
 * would say the same. */
static inline bool may_sit(const struct join *join, const struct connection *connection,
			   const struct half_open *open, uint64_t closed_ns, bool mapped)
{
	if (connection->crowded || connection->settled || connection->failed ||
	    connection->mapped_out || half_is_here(connection, open->side) ||
	    (open->flags & HALF_FAILED) || (connection->told && (open->flags & HALF_TOLD)) ||
	    (open->side == SIDE_CLIENT && mapped))
		return false;
	const struct seat *other = &detail_of(join, connection)->seats[open->side ^ 1];
	return lives_touch(open->opened_ns, closed_ns, other->opened_ns,
			   seat_closed_ns(join, other), PAIR_SLACK_NS);
}

static inline uint32_t self_hold(struct join *join, uint32_t self)
{
	join->stats.instances_unknown += self == 0;
	roster_hold(join->roster, self);
	return self;
}

static inline void pid_set(struct connection *connection, unsigned side, uint32_t pid)
{
	if (pid >> PID_BITS)
		pid = 0;
	if (side == SIDE_CLIENT)
		connection->client_pid = pid & PID_MASK;
	else
		connection->server_pid = pid & PID_MASK;
}

/* A role back from its trial was not contradicted: the visit is over. */
static uint16_t seat_flags(uint16_t flags)
{
	unsigned gone = HALF_AGAIN | HALF_TOLD | HALF_MOVED;
	if (!(flags & HALF_ROLE_GUESSED))
		gone |= HALF_VISITING;
	return (uint16_t)(flags & ~gone);
}

static inline void seat_take(struct join *join, uint32_t at, const struct half_open *open,
			     uint32_t self)
{
	struct connection *connection = connection_at(join, at);
	unsigned side = open->side;
	connection->refs[side] = open->ref;
	roster_drop(join->roster, connection->self[side]);
	connection->self[side] = self_hold(join, self);
	connection->present |= 1U << side;
	connection->changed |= 1U << side;
	connection->seeks = 1;
	if (open->flags & (HALF_TOLD | HALF_FAILED)) {
		connection->told |= (open->flags & HALF_TOLD ? 1U : 0U) << side;
		connection->failed |= (open->flags & HALF_FAILED) != 0;
	}
	pid_set(connection, side, open->pid);
	detail_of(join, connection)->seats[side] = (struct seat){
		.opened_ns = open->opened_ns,
		.view = open->hops || !tuple_same(&open->seen, &open->key) ? view_add(join, open)
									   : 0,
		.connect_us =
			open->connect_us > UINT32_MAX ? UINT32_MAX : (uint32_t)open->connect_us,
		.flags = seat_flags(open->flags),
		.hops = open->hops,
	};
	join->stats.halves++;
}

/* Until somebody is met there. */
static void sought_take(struct join *join, uint32_t at, const struct half_open *open)
{
	struct connection *connection = connection_at(join, at);
	uint32_t sought = roster_number(join->roster, open->sought);
	if (half_is_here(connection, open->side ^ 1))
		return;
	roster_hold(join->roster, sought);
	connection->self[open->side ^ 1] = sought;
}

/* A name that a handshake asked for, of a half that was told before without one; on trial with its
 * role turned round it takes the name home. */
static __attribute__((noinline)) void sought_late(struct join *join, uint32_t number,
						  const struct half_open *open)
{
	struct connection *connection = connection_at(join, connection_of(number));
	unsigned far = side_of(number) ^ 1;
	uint32_t sought = roster_number(join->roster, open->sought);
	if (half_is_here(connection, far) || connection->self[far] ||
	    roster_at(join->roster, sought)->resolution != RESOLUTION_SNI)
		return;
	roster_hold(join->roster, sought);
	connection->self[far] = sought;
	connection->changed |= connection->present;
	connection_touch(join, connection_of(number));
}

uint32_t half_add(struct join *join, const struct half_open *open, struct arrival *arrival,
		  uint32_t head, uint64_t closed_ns)
{
	uint64_t hash = arrival->key;
	if (join->stats.halves >= join->options.halves_max) {
		halves_make_room(join);
		head = connection_find(join, &open->key, hash);
	}
	if (head && connection_at(join, head)->crowded) {
		chain_make_room(join, head);
		head = connection_find(join, &open->key, hash);
	}
	bool mapped = alias_marks(join, &open->key, hash, open->side);
	bool sits = head && may_sit(join, connection_at(join, head), open, closed_ns, mapped);
	uint32_t at = head;
	if (!sits) {
		uint32_t hosts[SIDES];
		if (!arrival->hosts_known)
			host_hashes(join, &open->key, arrival->hosts);
		hosts_hold(join, &open->key, arrival->hosts, hosts);
		at = connection_add(join, &open->key, hash, hosts, head);
	}
	seat_take(join, at, open, arrival->self);
	if (open->sought)
		sought_take(join, at, open);
	struct connection *connection = connection_at(join, at);
	if (open->side == SIDE_CLIENT)
		connection->mapped_out |= mapped;
	else
		connection->mapped_in |= mapped;
	connection_touch(join, at);
	if (sits)
		peers_meet(join, at);
	return number_of(at, open->side);
}

void half_close(struct join *join, uint32_t number, const struct half_close *close)
{
	struct connection *connection = connection_at(join, connection_of(number));
	struct seat *seat = &detail_want(join, connection)->seats[side_of(number)];
	seat->closing = pool_take(&join->closings);
	*closing_at(join, seat->closing) = (struct closing){
		.time_ns = close->time_ns,
		.total = close->total,
		.reason = close->reason,
		.min_rtt_us = close->min_rtt_us,
		.lost = close->lost,
		.pid = close->pid,
	};
	connection->seeks = 1;
	connection_touch(join, connection_of(number));
}

/* Its place at its source is another; a guessed role's trial goes on under the new one. */
static void half_moved(struct join *join, uint32_t number, const struct half_ref *ref)
{
	struct connection *connection = connection_at(join, connection_of(number));
	unsigned side = side_of(number);
	connection->refs[side] = *ref;
	if (connection->detailed &&
	    detail_of(join, connection)->seats[side].flags & HALF_ROLE_GUESSED)
		guesser_add(join, number);
}

/* A label that is final, which those have that met in an earlier round and of which none waited, is
 * not taken back. */
static bool pair_is_final(const struct join *join, const struct connection *connection)
{
	const struct seat *seats = detail_of(join, connection)->seats;
	unsigned flags = seats[SIDE_CLIENT].flags | seats[SIDE_SERVER].flags;
	return is_pair(connection) && connection->stage >= STAGE_HALF_CLOSED &&
	       !(flags & (HALF_WAITS | SEAT_WAITED));
}

static void half_wait(struct join *join, uint32_t number, bool waits)
{
	struct connection *connection = connection_at(join, connection_of(number));
	if (!connection->detailed)
		return;
	struct seat *seat = &detail_of(join, connection)->seats[side_of(number)];
	bool waited = seat->flags & HALF_WAITS;
	if (waits == waited || (waits && pair_is_final(join, connection)))
		return;
	seat->flags ^= HALF_WAITS;
	if (is_pair(connection)) {
		seat->flags |= waited ? SEAT_WAITED : 0;
		connection->changed = connection->present;
	}
	connection_touch(join, connection_of(number));
}

void half_identify(struct join *join, uint32_t number, const struct half_open *open, uint32_t self)
{
	uint32_t at = connection_of(number);
	unsigned side = side_of(number);
	struct connection *connection = connection_at(join, at);
	uint32_t before = connection->self[side];
	connection->self[side] = self_hold(join, self);
	pid_set(connection, side, open->pid);
	roster_drop(join->roster, before);
	if (open->flags & HALF_MOVED)
		half_moved(join, number, &open->ref);
	if (open->sought)
		sought_late(join, number, open);
	half_wait(join, number, open->flags & HALF_WAITS);
	if (self == before)
		return;
	connection->changed |= connection->present;
	connection_touch(join, at);
}

struct tuple half_seen(const struct join *join, uint32_t number)
{
	const struct connection *connection = connection_at(join, connection_of(number));
	uint32_t view = connection->detailed
				? detail_of(join, connection)->seats[side_of(number)].view
			: connection->viewed && side_of(number) == SIDE_CLIENT ? connection->more
									       : 0;
	if (!view)
		return connection_key(join, connection);
	return tuple_of_hosts(join, view_at(join, view)->hosts, view_at(join, view)->ports);
}

/* ---- pairing ---- */

void peers_meet(struct join *join, uint32_t at)
{
	struct connection *connection = connection_at(join, at);
	struct detail *detail = detail_of(join, connection);
	for (unsigned side = 0; side < SIDES; side++) /* a peer confirms a guessed role */
		detail->seats[side].flags &= (uint16_t) ~(HALF_ROLE_GUESSED | HALF_VISITING);
	connection->changed = connection->present;
	connection_touch(join, at);
}

uint32_t half_reseat(struct join *join, uint32_t number, uint32_t at)
{
	unsigned side = side_of(number);
	struct connection *from = connection_at(join, connection_of(number)),
			  *to = connection_at(join, at);
	struct seat *seat = &detail_of(join, from)->seats[side];
	to->refs[side] = from->refs[side];
	roster_drop(join->roster, to->self[side]);
	to->self[side] = from->self[side];
	from->self[side] = 0;
	to->present |= 1U << side;
	to->told |= from->told & 1U << side;
	pid_set(to, side, side == SIDE_CLIENT ? from->client_pid : from->server_pid);
	to->mapped_in |= from->mapped_in;
	if (side == SIDE_CLIENT) {
		to->mapped_out |= from->mapped_out;
		from->mapped_out = 0;
	}
	detail_of(join, to)->seats[side] = *seat;
	if (seat->flags & HALF_ROLE_GUESSED)
		guesser_add(join, number_of(at, side));
	*seat = (struct seat){0};
	seat_empty(from, side);
	half_change(join, number_of(at, side));
	if (!from->present)
		connection_free(join, connection_of(number),
				connection_hash_of(join, connection_of(number)));
	return number_of(at, side);
}

uint32_t connection_split(struct join *join, uint32_t at)
{
	struct tuple key = connection_key(join, connection_at(join, at));
	uint64_t hash = key_hash(join, &key);
	uint32_t hosts[SIDES];
	memcpy(hosts, connection_at(join, at)->hosts, sizeof(hosts));
	for (unsigned side = 0; side < SIDES; side++)
		host_at(join, hosts[side])->users++;
	uint32_t head = connection_find(join, &key, hash);
	uint32_t alone = connection_add(join, &key, hash, hosts, head);
	connection_at(join, alone)->seeks = 1;
	half_change(join, number_of(at, SIDE_CLIENT));
	return half_reseat(join, number_of(at, SIDE_SERVER), alone);
}
