#include "aggregate/lanes.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/name.h"

enum { SLOTS_MIN = 64, HOLD_GROUP = 16 };

/* What the roster's number stood for when a lane was last held with it: numbers come back. */
struct lane_known {
	uint64_t id;
	uint32_t resolution;
	uint32_t class;
};

struct lane_class {
	uint64_t workload, version, zone; /* workload and users 0: vacant */
	uint32_t resolution;
	uint32_t users; /* numbers and lanes */
	uint32_t next;	/* vacant */
};

void lanes_init(struct lanes *lanes, const struct roster *roster, uint32_t owners,
		uint32_t lanes_max)
{
	*lanes = (struct lanes){
		.roster = roster,
		.owners_count = owners,
		.lanes_max = lanes_max,
		.classes_used = 1,
	};
	while (1U << lanes->owner_bits < owners)
		lanes->owner_bits++;
	while (64U << lanes->told_shift < owners)
		lanes->told_shift++;
	assert(lanes_max < UINT32_MAX >> lanes->owner_bits);
	lanes->owners = memory_zeroed(owners, sizeof(*lanes->owners));
	for (uint32_t owner = 0; owner < owners; owner++)
		lanes->owners[owner].used = 1;
	lanes->slots_mask = SLOTS_MIN - 1;
	lanes->slots = memory_zeroed(SLOTS_MIN, sizeof(*lanes->slots));
	row_index_init(&lanes->classes_index, 0);
}

void lanes_done(struct lanes *lanes)
{
	for (uint32_t owner = 0; owner < lanes->owners_count; owner++) {
		memory_free(lanes->owners[owner].entries);
		memory_free(lanes->owners[owner].users);
		memory_free(lanes->owners[owner].due);
	}
	memory_free(lanes->owners);
	memory_free(lanes->leaving);
	memory_free(lanes->known);
	memory_free(lanes->told);
	memory_free(lanes->classes);
	memory_free(lanes->slots);
	row_index_done(&lanes->classes_index);
}

/* --- classes --- */

static uint64_t class_hash(const struct lane_class *class)
{
	uint64_t hash = (class->workload ^ class->resolution) * 0x9e3779b97f4a7c15ULL;
	hash = (hash ^ (hash >> 32) ^ class->version) * 0xff51afd7ed558ccdULL;
	return hash_mix(hash ^ class->zone);
}

static bool class_equal(const struct lane_class *a, const struct lane_class *b)
{
	return a->workload == b->workload && a->version == b->version && a->zone == b->zone &&
	       a->resolution == b->resolution;
}

static uint32_t class_add(struct lanes *lanes, const struct lane_class *class, uint64_t hash)
{
	uint32_t number = lanes->classes_vacant;
	if (number) {
		lanes->classes_vacant = lanes->classes[number].next;
	} else {
		number = lanes->classes_used++;
		if (number >= lanes->classes_capacity) {
			lanes->classes_capacity =
				(uint32_t)memory_grown(lanes->classes_capacity, number + 1);
			lanes->classes = memory_resize(lanes->classes, lanes->classes_capacity,
						       sizeof(*lanes->classes));
		}
	}
	lanes->classes[number] = *class;
	row_index_add(&lanes->classes_index, hash, number);
	return number;
}

static uint32_t class_hold(struct lanes *lanes, const struct instance *instance)
{
	const struct lane_class class = {
		.workload = instance->workload,
		.version = instance->version,
		.zone = instance->zone,
		.resolution = instance->resolution,
	};
	uint64_t hash = class_hash(&class);
	uint64_t at = row_index_start(&lanes->classes_index, hash);
	uint32_t number;
	while ((number = row_index_next(&lanes->classes_index, hash, &at)) != ROW_NONE)
		if (class_equal(&lanes->classes[number], &class))
			break;
	if (number == ROW_NONE)
		number = class_add(lanes, &class, hash);
	lanes->classes[number].users++;
	return number;
}

static void class_drop(struct lanes *lanes, uint32_t number)
{
	struct lane_class *class = &lanes->classes[number];
	if (!number || --class->users)
		return;
	row_index_remove(&lanes->classes_index, class_hash(class), number);
	class->next = lanes->classes_vacant;
	lanes->classes_vacant = number;
}

/* --- numbers of the roster --- */

static void known_grow(struct lanes *lanes, uint32_t needed)
{
	uint32_t before = lanes->known_count;
	uint32_t count = (uint32_t)memory_grown(before, needed);
	size_t words = 1ULL << lanes->told_shift;
	lanes->known = memory_resize(lanes->known, count, sizeof(*lanes->known));
	lanes->told = memory_resize(lanes->told, count * words, sizeof(*lanes->told));
	memset(lanes->known + before, 0, (count - before) * sizeof(*lanes->known));
	memset(lanes->told + before * words, 0, (count - before) * words * sizeof(*lanes->told));
	if (before == 0) /* nobody needs no telling */
		memset(lanes->told, 0xff, words * sizeof(*lanes->told));
	lanes->known_count = count;
}

static void known_learn(struct lanes *lanes, uint32_t number, const struct instance *instance)
{
	struct lane_known *known = &lanes->known[number];
	class_drop(lanes, known->class);
	known->id = instance->id;
	known->resolution = instance->resolution;
	known->class = class_hold(lanes, instance);
	if (number)
		memset(&lanes->told[(size_t)number << lanes->told_shift], 0,
		       sizeof(*lanes->told) << lanes->told_shift);
}

static uint32_t known_class(struct lanes *lanes, uint32_t number)
{
	if (number >= lanes->known_count)
		known_grow(lanes, number + 1);
	const struct instance *instance = roster_at(lanes->roster, number);
	const struct lane_known *known = &lanes->known[number];
	if (known->id != instance->id || known->resolution != instance->resolution || !known->class)
		known_learn(lanes, number, instance);
	return lanes->known[number].class;
}

/* Always in line: the compiler leaves out the call of a function that only asks for memory. */
static inline __attribute__((always_inline)) void known_prefetch(const struct lanes *lanes,
								 uint32_t number)
{
	if (number < lanes->known_count)
		__builtin_prefetch(&lanes->known[number]);
}

/* --- lanes --- */

static uint32_t slot_home(const struct lanes *lanes, const struct lane_key *key)
{
	uint64_t classes = (uint64_t)key->client_class << 32 | key->server_class;
	return (uint32_t)hash_mix(classes * 0x9e3779b97f4a7c15ULL ^ key->service) &
	       lanes->slots_mask;
}

static struct lane_slot *slot_of(const struct lanes *lanes, const struct lane_key *wanted)
{
	for (uint32_t at = slot_home(lanes, wanted);; at = (at + 1) & lanes->slots_mask) {
		struct lane_slot *slot = &lanes->slots[at];
		bool same = slot->key.client_class == wanted->client_class &&
			    slot->key.server_class == wanted->server_class &&
			    slot->key.service == wanted->service;
		if (same || !slot->number)
			return slot;
	}
}

static void slots_grow(struct lanes *lanes)
{
	struct lane_slot *slots = lanes->slots;
	uint32_t count = lanes->slots_mask + 1;
	lanes->slots_mask = 2 * count - 1;
	lanes->slots = memory_zeroed(2 * (size_t)count, sizeof(*lanes->slots));
	for (uint32_t at = 0; at < count; at++)
		if (slots[at].number)
			*slot_of(lanes, &slots[at].key) = slots[at];
	memory_free(slots);
}

/* What stood behind it moves up, so that no search ends too early. */
static void slot_clear(struct lanes *lanes, struct lane_slot *slot)
{
	uint32_t hole = (uint32_t)(slot - lanes->slots);
	for (uint32_t at = (hole + 1) & lanes->slots_mask; lanes->slots[at].number;
	     at = (at + 1) & lanes->slots_mask) {
		uint32_t home = slot_home(lanes, &lanes->slots[at].key);
		if (((at - home) & lanes->slots_mask) < ((at - hole) & lanes->slots_mask))
			continue; /* the hole lies before its home */
		lanes->slots[hole] = lanes->slots[at];
		hole = at;
	}
	lanes->slots[hole] = (struct lane_slot){0};
}

bool lane_describe(const struct lanes *lanes, uint32_t number, struct edge *edge, struct lane *lane)
{
	const struct lane_key *key = &lane_at(lanes, number)->key;
	if (!key->client_class)
		return false;
	const struct lane_class *client = &lanes->classes[key->client_class];
	const struct lane_class *server = &lanes->classes[key->server_class];
	*edge = (struct edge){.client = client->workload,
			      .server = server->workload,
			      .port = (uint16_t)(key->service >> 8),
			      .protocol = (uint8_t)key->service,
			      .client_resolution = (uint8_t)client->resolution,
			      .server_resolution = (uint8_t)server->resolution};
	*lane = (struct lane){.client_zone = client->zone,
			      .server_zone = server->zone,
			      .client_version = client->version,
			      .server_version = server->version};
	edge->id = edge_id(edge);
	lane->id = lane_id(lane);
	return true;
}

static uint32_t owner_place(struct lane_owner *owner)
{
	uint32_t place = owner->vacant;
	if (place) {
		owner->vacant = owner->entries[place].next;
		return place;
	}
	place = owner->used++;
	if (place >= owner->capacity) {
		owner->capacity = (uint32_t)memory_grown(owner->capacity, place + 1);
		owner->entries =
			memory_resize(owner->entries, owner->capacity, sizeof(*owner->entries));
		owner->users = memory_resize(owner->users, owner->capacity, sizeof(*owner->users));
	}
	return place;
}

static void owner_due(struct lane_owner *owner, uint32_t number)
{
	if (owner->due_count == owner->due_capacity) {
		owner->due_capacity =
			(uint32_t)memory_grown(owner->due_capacity, owner->due_count + 1);
		owner->due = memory_resize(owner->due, owner->due_capacity, sizeof(*owner->due));
	}
	owner->due[owner->due_count++] = number;
}

/* Without users yet. */
static uint32_t lane_add(struct lanes *lanes, const struct lane_key *key)
{
	const struct lane_class *server = &lanes->classes[key->server_class];
	uint32_t owner_number = hash_owner(server->workload, lanes->owners_count);
	struct lane_owner *owner = &lanes->owners[owner_number];
	uint32_t place = owner_place(owner);
	uint32_t number = place << lanes->owner_bits | owner_number;
	owner->entries[place] = (struct lane_entry){.key = *key};
	owner->users[place] = 0;
	lanes->classes[key->client_class].users++;
	lanes->classes[key->server_class].users++;
	lanes->count++;
	owner_due(owner, number);
	return number;
}

static __attribute__((noinline)) uint32_t lane_new(struct lanes *lanes, const struct lane_key *key)
{
	if (lanes->count == lanes->lanes_max)
		return 0;
	if (2 * (lanes->count + 1) > lanes->slots_mask)
		slots_grow(lanes);
	uint32_t number = lane_add(lanes, key);
	*slot_of(lanes, key) = (struct lane_slot){.key = *key, .number = number};
	return number;
}

/* Step by step for all of a group, so that they wait for memory together. */
static void group_hold(struct lanes *lanes, struct lane_wanted *wanted, size_t count)
{
	struct lane_key keys[HOLD_GROUP];
	for (size_t i = 0; i < count; i++) {
		known_prefetch(lanes, wanted[i].client);
		known_prefetch(lanes, wanted[i].server);
	}
	for (size_t i = 0; i < count; i++) {
		keys[i] = (struct lane_key){
			.client_class = known_class(lanes, wanted[i].client),
			.server_class = known_class(lanes, wanted[i].server),
			.service = (uint32_t)wanted[i].port << 8 | wanted[i].protocol,
		};
		__builtin_prefetch(&lanes->slots[slot_home(lanes, &keys[i])]);
	}
	for (size_t i = 0; i < count; i++) {
		wanted[i].lane = slot_of(lanes, &keys[i])->number;
		if (__builtin_expect(!wanted[i].lane, 0))
			wanted[i].lane = lane_new(lanes, &keys[i]);
		if (wanted[i].lane)
			__builtin_prefetch(lane_users(lanes, wanted[i].lane), 1);
	}
	for (size_t i = 0; i < count; i++)
		if (wanted[i].lane)
			++*lane_users(lanes, wanted[i].lane);
}

void lanes_hold(struct lanes *lanes, struct lane_wanted *wanted, size_t count)
{
	for (size_t start = 0; start < count; start += HOLD_GROUP)
		group_hold(lanes, wanted + start,
			   count - start < HOLD_GROUP ? count - start : HOLD_GROUP);
}

void lanes_drop(struct lanes *lanes, uint32_t number)
{
	if (!number)
		return;
	uint32_t *users = lane_users(lanes, number);
	assert(*users);
	if (--*users)
		return;
	if (lanes->leaving_count == lanes->leaving_capacity) {
		lanes->leaving_capacity =
			(uint32_t)memory_grown(lanes->leaving_capacity, lanes->leaving_count + 1);
		lanes->leaving = memory_resize(lanes->leaving, lanes->leaving_capacity,
					       sizeof(*lanes->leaving));
	}
	lanes->leaving[lanes->leaving_count++] = number;
}

/* It may have users again, or have left already when it was dropped twice in a pane. */
static void lane_leave(struct lanes *lanes, uint32_t number)
{
	struct lane_entry *entry = lane_at(lanes, number);
	struct lane_owner *owner = &lanes->owners[lane_owner_of(lanes, number)];
	if (*lane_users(lanes, number) || !entry->key.client_class)
		return;
	slot_clear(lanes, slot_of(lanes, &entry->key));
	class_drop(lanes, entry->key.client_class);
	class_drop(lanes, entry->key.server_class);
	*entry = (struct lane_entry){.next = owner->vacant};
	owner->vacant = lane_place(lanes, number);
	lanes->count--;
}

/* A number's turn comes once in NAMES_REFRESH_PANES, so that not all are told in one pane. */
static void lanes_refresh(struct lanes *lanes, uint64_t pane)
{
	uint32_t first = (uint32_t)(pane % NAMES_REFRESH_PANES);
	size_t words = 1ULL << lanes->told_shift;
	for (uint32_t number = first ? first : NAMES_REFRESH_PANES; number < lanes->known_count;
	     number += NAMES_REFRESH_PANES)
		memset(&lanes->told[number * words], 0, words * sizeof(*lanes->told));
	for (uint32_t i = 0; i < lanes->owners_count; i++) {
		struct lane_owner *owner = &lanes->owners[i];
		for (uint32_t place = first; place < owner->used; place += NAMES_REFRESH_PANES)
			if (place && owner->users[place])
				owner_due(owner, place << lanes->owner_bits | i);
	}
}

void lanes_settle(struct lanes *lanes, uint64_t pane)
{
	for (uint32_t i = 0; i < lanes->leaving_count; i++)
		lane_leave(lanes, lanes->leaving[i]);
	lanes->leaving_count = 0;
	lanes_refresh(lanes, pane);
}
