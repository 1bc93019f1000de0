#include "join/state.h"

#include <assert.h>

#include "base/hash.h"
#include "base/memory.h"

void *array_add(struct array *array, size_t item_size)
{
	if (array->count == array->capacity) {
		array->capacity = memory_grown(array->capacity, array->count + 1);
		if (array->capacity == array->count)
			array->capacity *= 2;
		array->items = memory_resize(array->items, array->capacity, item_size);
	}
	return (char *)array->items + array->count++ * item_size;
}

uint32_t tuple_find(const struct join *join, const struct tuple *tuple)
{
	return intern_find(&join->tuples, tuple, tuple_hash(tuple));
}

uint32_t tuple_hold(struct join *join, const struct tuple *tuple)
{
	return intern_hold(&join->tuples, tuple, tuple_hash(tuple));
}

void tuple_drop(struct join *join, uint32_t number)
{
	intern_drop(&join->tuples, number, tuple_hash(tuple_at(join, number)));
}

static uint32_t instance_hold(struct join *join, const struct instance *instance)
{
	return intern_hold(&join->instances, instance, hash_bytes(instance, sizeof(*instance)));
}

static void instance_drop(struct join *join, uint32_t number)
{
	const struct instance *instance = instance_at(join, number);
	intern_drop(&join->instances, number, hash_bytes(instance, sizeof(*instance)));
}

uint32_t half_find(const struct join *join, uint32_t key, const struct half_ref *ref)
{
	if (!key)
		return 0;
	uint32_t number = join->chains[key].halves;
	for (; number; number = join->halves[number].next_of_key) {
		const struct half_ref *theirs = &join->halves[number].ref;
		if (theirs->index == ref->index && theirs->source == ref->source &&
		    theirs->generation == ref->generation)
			return number;
	}
	return 0;
}

static void list_unlink(struct join *join, struct half *half)
{
	struct list *list = &join->places[half->place];
	*(half->older ? &join->halves[half->older].newer : &list->oldest) = half->newer;
	*(half->newer ? &join->halves[half->newer].older : &list->newest) = half->older;
}

static void list_link(struct join *join, uint32_t number)
{
	struct half *half = &join->halves[number];
	struct list *list = &join->places[half->place];
	half->older = list->newest;
	half->newer = 0;
	*(list->newest ? &join->halves[list->newest].newer : &list->oldest) = number;
	list->newest = number;
}

void half_move(struct join *join, uint32_t number, enum place place)
{
	struct half *half = &join->halves[number];
	list_unlink(join, half);
	join->forwards -= half->place == PLACE_FORWARD;
	join->forwards += place == PLACE_FORWARD;
	half->place = (uint8_t)place;
	half->since_ns = join->now_ns;
	list_link(join, number);
}

static void chain_remove(struct join *join, uint32_t number)
{
	struct key_chains *chains = &join->chains[join->halves[number].key];
	uint32_t *link = &chains->halves;
	while (*link != number)
		link = &join->halves[*link].next_of_key;
	*link = join->halves[number].next_of_key;
	chains->halves_count--;
}

static void closing_free(struct join *join, struct half *half)
{
	if (!half->closing)
		return;
	join->closings[half->closing].next_free = join->closings_free;
	join->closings_free = half->closing;
	half->closing = 0;
}

void half_free(struct join *join, uint32_t number)
{
	struct half *half = &join->halves[number];
	if (half->changed)
		label_add(join, number);
	if (half->peer) {
		join->halves[half->peer].peer = 0;
		join->pairs--;
	}
	join->forwards -= half->place == PLACE_FORWARD;
	list_unlink(join, half);
	chain_remove(join, number);
	closing_free(join, half);
	tuple_drop(join, half->key);
	tuple_drop(join, half->seen);
	instance_drop(join, half->self);
	*half = (struct half){.place = PLACE_FREE, .next_of_key = join->halves_free};
	join->halves_free = number;
	join->stats.halves--;
}

/* A closed half that nobody was told of becomes its flow before it goes. */
static void half_evict(struct join *join, uint32_t number)
{
	const struct half *half = &join->halves[number];
	uint32_t peer = half->peer;
	bool tells = half->place == PLACE_FRESH || (peer && half->closing);
	if (tells)
		flow_add(join, number);
	if (peer) {
		join->halves[peer].settled = tells; /* told with this one; else it may pair again */
		join->halves[peer].flags |= tells ? HALF_TOLD : 0;
	}
	half_free(join, number);
	if (peer)
		half_touch(join, peer);
	join->stats.evicted_halves++;
}

static void halves_make_room(struct join *join)
{
	if (join->stats.halves < join->options.halves_max)
		return;
	for (int place = PLACE_TOLD; place < PLACES; place++) {
		if (join->places[place].oldest) {
			half_evict(join, join->places[place].oldest);
			return;
		}
	}
}

static void chain_make_room(struct join *join, uint32_t key)
{
	if (join->chains[key].halves_count < KEY_HALVES_MAX)
		return;
	uint32_t oldest = 0;
	for (uint32_t at = join->chains[key].halves; at; at = join->halves[at].next_of_key)
		if (!oldest || join->halves[at].place <= join->halves[oldest].place)
			oldest = at;
	half_evict(join, oldest);
}

uint32_t half_add(struct join *join, const struct half_open *open)
{
	halves_make_room(join);
	uint32_t key = tuple_hold(join, &open->key);
	chain_make_room(join, key);

	uint32_t number = join->halves_free;
	if (number)
		join->halves_free = join->halves[number].next_of_key;
	else
		number = join->halves_fresh++;
	struct half *half = &join->halves[number];
	*half = (struct half){
		.ref = open->ref,
		.key = key,
		.seen = tuple_hold(join, &open->seen),
		.self = instance_hold(join, &open->self),
		.next_of_key = join->chains[key].halves,
		.pid = open->pid,
		.connect_us =
			open->connect_us > UINT32_MAX ? UINT32_MAX : (uint32_t)open->connect_us,
		.flags = open->flags & (uint16_t)~HALF_AGAIN,
		.side = open->side,
		.hops = open->hops,
		.place = PLACE_ALONE,
		.opened_ns = open->opened_ns,
		.since_ns = join->now_ns,
	};
	join->chains[key].halves = number;
	join->chains[key].halves_count++;
	list_link(join, number);
	join->stats.halves++;
	return number;
}

void half_identify(struct join *join, uint32_t number, const struct half_open *open)
{
	struct half *half = &join->halves[number];
	uint32_t self = instance_hold(join, &open->self), before = half->self;
	half->self = self;
	half->pid = open->pid;
	instance_drop(join, before);
	if (self == before)
		return;
	half_change(join, number);
	if (half->peer)
		half_change(join, half->peer);
}

void half_close(struct join *join, uint32_t number, const struct half_close *close)
{
	struct half *half = &join->halves[number];
	assert(!half->closing);
	uint32_t closing = join->closings_free;
	if (closing)
		join->closings_free = join->closings[closing].next_free;
	else
		closing = join->closings_fresh++;
	join->closings[closing] = (struct closing){
		.time_ns = close->time_ns,
		.total = close->total,
		.reason = close->reason,
		.min_rtt_us = close->min_rtt_us,
		.lost = close->lost,
	};
	half->closing = closing;
	half_touch(join, number);
}

void half_touch(struct join *join, uint32_t number)
{
	*(uint32_t *)array_add(&join->touched, sizeof(uint32_t)) = number;
}

void half_change(struct join *join, uint32_t number)
{
	join->halves[number].changed = true;
	half_touch(join, number);
}
