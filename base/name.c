#include "base/name.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

/*
 * slots: open addressing by id (already a hash), linear probing, at most half full, backward shift
 * on removal. Entries are in a list by their last use, oldest first, so expiry looks only at what
 * it removes.
 */
struct entry {
	struct name name;
	uint64_t used_pane;
	struct entry *older, *newer;
	uint32_t sent_pane[]; /* one a destination, low 32 bits of the pane; 0: never; the bytes lie
				 behind */
};

struct names {
	struct entry **slots;
	uint64_t slots_mask;
	struct entry *oldest, *newest;
	uint32_t names_max;
	uint32_t destinations;
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
	uint64_t slots_count = 16;
	while (slots_count < 2 * (uint64_t)names_max)
		slots_count *= 2;
	names->slots = memory_zeroed(slots_count, sizeof(*names->slots));
	names->slots_mask = slots_count - 1;
	names->names_max = names_max;
	names->destinations = destinations;
	return names;
}

void names_free(struct names *names)
{
	if (!names)
		return;
	for (struct entry *entry = names->oldest; entry;) {
		struct entry *newer = entry->newer;
		free(entry);
		entry = newer;
	}
	free(names->slots);
	free(names);
}

/* The slot that holds id, or the empty one where it belongs. */
static uint64_t names_slot(const struct names *names, uint64_t id)
{
	uint64_t slot = id & names->slots_mask;
	while (names->slots[slot] && names->slots[slot]->name.id != id)
		slot = (slot + 1) & names->slots_mask;
	return slot;
}

static void names_vacate(struct names *names, uint64_t hole)
{
	uint64_t mask = names->slots_mask;
	for (uint64_t slot = (hole + 1) & mask; names->slots[slot]; slot = (slot + 1) & mask) {
		uint64_t home = names->slots[slot]->name.id & mask;
		if (((slot - home) & mask) < ((slot - hole) & mask))
			continue; /* the hole lies before its home */
		names->slots[hole] = names->slots[slot];
		hole = slot;
	}
	names->slots[hole] = NULL;
}

static void names_unlink(struct names *names, struct entry *entry)
{
	*(entry->older ? &entry->older->newer : &names->oldest) = entry->newer;
	*(entry->newer ? &entry->newer->older : &names->newest) = entry->older;
}

static void names_link_newest(struct names *names, struct entry *entry)
{
	entry->older = names->newest;
	entry->newer = NULL;
	*(names->newest ? &names->newest->newer : &names->oldest) = entry;
	names->newest = entry;
}

static void names_use(struct names *names, struct entry *entry, uint64_t pane)
{
	if (pane <= entry->used_pane)
		return;
	entry->used_pane = pane;
	names_unlink(names, entry);
	names_link_newest(names, entry);
}

static struct entry *names_keep(struct names *names, uint64_t id, const char *bytes, size_t length)
{
	size_t sent_size = names->destinations * sizeof(uint32_t);
	struct entry *entry = memory_zeroed(1, sizeof(*entry) + sent_size + length + 1);
	char *copy = (char *)entry->sent_pane + sent_size;
	memcpy(copy, bytes, length);
	entry->name = (struct name){.id = id, .bytes = copy, .length = (uint32_t)length};
	names_link_newest(names, entry);
	names->stats.live++;
	names->stats.bytes += length;
	return entry;
}

uint64_t names_put(struct names *names, const char *bytes, size_t length, uint64_t pane)
{
	uint64_t id = name_id(bytes, length);
	if (id == 0)
		return 0;
	uint64_t slot = names_slot(names, id);
	if (!names->slots[slot]) {
		if (names->stats.live == names->names_max) {
			names->stats.refused++;
			return id;
		}
		names->slots[slot] = names_keep(names, id, bytes, name_cut(bytes, length));
	}
	names_use(names, names->slots[slot], pane);
	return id;
}

const struct name *names_get(const struct names *names, uint64_t id)
{
	static const struct name empty = {.id = 0, .bytes = "", .length = 0};
	if (id == 0)
		return &empty;
	const struct entry *entry = names->slots[names_slot(names, id)];
	return entry ? &entry->name : NULL;
}

const struct name *names_due(struct names *names, uint64_t id, uint32_t destination, uint64_t pane)
{
	if (id == 0)
		return NULL;
	struct entry *entry = names->slots[names_slot(names, id)];
	if (!entry)
		return NULL;
	names_use(names, entry, pane);
	uint32_t *sent_pane = &entry->sent_pane[destination];
	if (*sent_pane && (int32_t)((uint32_t)pane - *sent_pane) < NAMES_REFRESH_PANES)
		return NULL;
	*sent_pane = (uint32_t)pane ? (uint32_t)pane : 1;
	return &entry->name;
}

void names_touch(struct names *names, uint64_t id, uint64_t pane)
{
	struct entry *entry = id ? names->slots[names_slot(names, id)] : NULL;
	if (entry)
		names_use(names, entry, pane);
}

void names_advance(struct names *names, uint64_t pane)
{
	while (names->oldest && names->oldest->used_pane + NAMES_KEEP_PANES <= pane) {
		struct entry *entry = names->oldest;
		names_vacate(names, names_slot(names, entry->name.id));
		names_unlink(names, entry);
		names->stats.live--;
		names->stats.bytes -= entry->name.length;
		names->stats.expired++;
		free(entry);
	}
}

struct names_stats names_stats(const struct names *names)
{
	return names->stats;
}
