#include "base/name.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/tellings.h"

enum { WHEEL = 1024 };

_Static_assert(WHEEL > (int)NAMES_KEEP_PANES, "a name's turn is within one round of the wheel");

/*
 * places --> entry --> bytes        open addressing by id: a hash, but one that anybody can make
 *             ^ told                by entry
 *             ^ wheel               by the pane in which the entry may have been idle too long
 *
 * Using a name only sets the pane in its entry: its turn on the wheel is looked at when it comes,
 * and put off then, once in NAMES_KEEP_PANES. Panes are kept modulo 2^32.
 */
struct entry {
	struct name name; /* of a free entry: no bytes */
	uint32_t used_pane;
	uint32_t next; /* of the same turn, or the next free entry */
};

_Static_assert(sizeof(struct entry) == 32, "two entries are one cache line");

struct place {
	uint32_t entry; /* 0: free */
	uint32_t hash;	/* its home, and mostly who it is */
};

struct names {
	struct entry *entries; /* from 1; they never move, as names are lent */
	struct tellings told;  /* by entry, to destinations */
	uint32_t used, free;
	struct place *places; /* at most half full */
	uint32_t mask;
	uint32_t names_max;
	uint64_t secret;
	uint64_t advanced_pane;
	uint32_t wheel[WHEEL];
	struct names_stats stats;
};

static size_t name_cut(const char *bytes, size_t length)
{
	if (length <= NAME_MAX_BYTES)
		return length;
	/* A UTF-8 character has at most 3 continuation bytes (10xxxxxx); more are no UTF-8: cut
	 * anywhere. */
	for (size_t cut = NAME_MAX_BYTES; cut >= NAME_MAX_BYTES - 3; cut--)
		if ((bytes[cut] & 0xc0) != 0x80)
			return cut;
	return NAME_MAX_BYTES;
}

uint64_t name_id(const char *bytes, size_t length)
{
	if (length == 0)
		return 0;
	uint64_t id = hash_bytes(bytes, name_cut(bytes, length));
	return id ? id : 1;
}

struct names *names_new(uint32_t names_max, uint32_t destinations)
{
	struct names *names = memory_zeroed(1, sizeof(*names));
	names->entries = memory_zeroed((size_t)names_max + 1, sizeof(*names->entries));
	names->used = 1;
	names->mask = 15;
	names->places = memory_zeroed(names->mask + 1, sizeof(*names->places));
	names->names_max = names_max;
	names->told = tellings_of(destinations);
	names_seed(names, 0);
	return names;
}

void names_seed(struct names *names, uint64_t seed)
{
	names->secret = hash_secret(seed, 0);
}

void names_free(struct names *names)
{
	if (!names)
		return;
	for (uint32_t number = 1; number < names->used; number++)
		memory_free((char *)names->entries[number].name.bytes);
	memory_free(names->entries);
	tellings_done(&names->told);
	memory_free(names->places);
	memory_free(names);
}

/* ---- by id ---- */

static inline uint32_t names_hash(const struct names *names, uint64_t id)
{
	return (uint32_t)hash_fold(id, names->secret);
}

/* The place that holds id, or the free one where it belongs. */
static struct place *names_place(const struct names *names, uint64_t id)
{
	uint32_t hash = names_hash(names, id), at = hash & names->mask;
	for (;; at = (at + 1) & names->mask) {
		struct place *place = &names->places[at];
		if (!place->entry ||
		    (place->hash == hash && names->entries[place->entry].name.id == id))
			return place;
	}
}

static void place_set(struct names *names, uint64_t id, uint32_t number)
{
	*names_place(names, id) = (struct place){number, names_hash(names, id)};
}

static struct entry *names_entry(const struct names *names, uint64_t id)
{
	uint32_t number = names_place(names, id)->entry;
	return number ? &names->entries[number] : NULL;
}

static void places_grow(struct names *names)
{
	memory_free(names->places);
	names->mask = names->mask * 2 + 1;
	names->places = memory_zeroed((size_t)names->mask + 1, sizeof(*names->places));
	for (uint32_t number = 1; number < names->used; number++) {
		const struct name *name = &names->entries[number].name;
		if (name->bytes)
			place_set(names, name->id, number);
	}
}

static void place_clear(struct names *names, struct place *cleared)
{
	uint32_t mask = names->mask, hole = (uint32_t)(cleared - names->places);
	for (uint32_t at = (hole + 1) & mask; names->places[at].entry; at = (at + 1) & mask) {
		uint32_t home = names->places[at].hash & mask;
		if (((at - home) & mask) < ((at - hole) & mask))
			continue; /* the hole lies before its home */
		names->places[hole] = names->places[at];
		hole = at;
	}
	names->places[hole] = (struct place){0};
}

/* ---- by use ---- */

static bool is_idle(const struct entry *entry, uint64_t pane)
{
	return (int32_t)((uint32_t)pane - entry->used_pane) >= NAMES_KEEP_PANES;
}

/* A use before the wheel's pane has its turn in the next one, one far ahead of it has an early
 * turn. */
static void wheel_put(struct names *names, uint32_t number)
{
	struct entry *entry = &names->entries[number];
	uint32_t advanced = (uint32_t)names->advanced_pane;
	int32_t ahead = (int32_t)(entry->used_pane + NAMES_KEEP_PANES - advanced);
	ahead = ahead < 1 ? 1 : ahead > WHEEL ? WHEEL : ahead;
	uint32_t *turn = &names->wheel[(advanced + (uint32_t)ahead) % WHEEL];
	entry->next = *turn;
	*turn = number;
}

static void names_use(struct entry *entry, uint64_t pane)
{
	if ((int32_t)((uint32_t)pane - entry->used_pane) > 0)
		entry->used_pane = (uint32_t)pane;
}

static uint32_t entry_take(struct names *names)
{
	uint32_t number = names->free;
	if (!number)
		return names->used++;
	names->free = names->entries[number].next;
	return number;
}

static void names_keep(struct names *names, const struct name *name, uint64_t pane)
{
	if (2 * (names->stats.live + 1) > names->mask)
		places_grow(names);
	uint32_t number = entry_take(names);
	char *copy = memory_resize(NULL, (size_t)name->length + 1, 1);
	memcpy(copy, name->bytes, name->length);
	copy[name->length] = '\0';
	names->entries[number] = (struct entry){
		.name = {.id = name->id, .bytes = copy, .length = name->length},
		.used_pane = (uint32_t)pane,
	};
	place_set(names, name->id, number);
	tellings_clear(&names->told, number);
	wheel_put(names, number);
	names->stats.live++;
	names->stats.bytes += name->length;
}

static void names_forget(struct names *names, uint32_t number)
{
	struct entry *entry = &names->entries[number];
	place_clear(names, names_place(names, entry->name.id));
	names->stats.live--;
	names->stats.bytes -= entry->name.length;
	names->stats.expired++;
	memory_free((char *)entry->name.bytes);
	*entry = (struct entry){.next = names->free};
	names->free = number;
}

void names_learn(struct names *names, const struct name *name, uint64_t pane)
{
	struct entry *entry = names_entry(names, name->id);
	if (entry)
		names_use(entry, pane);
	else if (names->stats.live == names->names_max)
		names->stats.refused++;
	else
		names_keep(names, name, pane);
}

uint64_t names_put(struct names *names, const char *bytes, size_t length, uint64_t pane)
{
	const struct name name = {.id = name_id(bytes, length),
				  .bytes = bytes,
				  .length = (uint32_t)name_cut(bytes, length)};
	if (name.id)
		names_learn(names, &name, pane);
	return name.id;
}

const struct name *names_get(const struct names *names, uint64_t id)
{
	static const struct name empty = {.id = 0, .bytes = "", .length = 0};
	if (id == 0)
		return &empty;
	const struct entry *entry = names_entry(names, id);
	return entry ? &entry->name : NULL;
}

const struct name *names_due(struct names *names, uint64_t id, uint32_t destination, uint64_t pane)
{
	struct entry *entry = id ? names_entry(names, id) : NULL;
	if (!entry)
		return NULL;
	names_use(entry, pane);
	uint32_t number = (uint32_t)(entry - names->entries);
	if (!tellings_mark(&names->told, number, destination, pane))
		return NULL;
	return &entry->name;
}

void names_touch(struct names *names, uint64_t id, uint64_t pane)
{
	struct entry *entry = id ? names_entry(names, id) : NULL;
	if (entry)
		names_use(entry, pane);
}

static void turn_take(struct names *names, uint32_t *turn, uint64_t pane)
{
	uint32_t number = *turn;
	*turn = 0;
	while (number) {
		uint32_t next = names->entries[number].next;
		if (is_idle(&names->entries[number], pane))
			names_forget(names, number);
		else
			wheel_put(names, number);
		number = next;
	}
}

void names_advance(struct names *names, uint64_t pane)
{
	uint64_t before = names->advanced_pane;
	if (pane <= before)
		return;
	names->advanced_pane = pane;
	for (uint64_t at = before + 1; at <= pane && at <= before + WHEEL; at++)
		turn_take(names, &names->wheel[at % WHEEL], pane);
}

struct names_stats names_stats(const struct names *names)
{
	return names->stats;
}
