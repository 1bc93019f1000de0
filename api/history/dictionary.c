#include "api/history/dictionary.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

/* --- places --- */

/* The key of the thing at a place: the three arrays differ only in their stride. */
struct keyed {
	const char *array; /* each element begins with its key */
	size_t stride;
};

static uint64_t key_at(struct keyed keyed, uint32_t place)
{
	uint64_t key;

	memcpy(&key, keyed.array + place * keyed.stride, sizeof(key));
	return key;
}

static size_t find_slot(const struct places *places, struct keyed keyed, uint64_t key)
{
	size_t mask = places->slots_count - 1;
	size_t slot = hash_mix(key) & mask;

	while (places->slots[slot] && key_at(keyed, places->slots[slot]) != key)
		slot = (slot + 1) & mask;
	return slot;
}

static uint32_t places_find(const struct places *places, struct keyed keyed, uint64_t key)
{
	return places->slots_count ? places->slots[find_slot(places, keyed, key)] : 0;
}

static void places_index(struct places *places, struct keyed keyed, uint32_t place)
{
	places->slots[find_slot(places, keyed, key_at(keyed, place))] = place;
}

/* At most half full. */
static void places_grow(struct places *places, struct keyed keyed)
{
	struct places old = *places;

	if ((places->live + 1) * 2 <= places->slots_count)
		return;
	places->slots_count = old.slots_count ? old.slots_count * 2 : 64;
	places->slots = memory_zeroed(places->slots_count, sizeof(*places->slots));
	for (size_t i = 0; i < old.slots_count; i++) {
		if (old.slots[i])
			places_index(places, keyed, old.slots[i]);
	}
	free(old.slots);
}

static uint32_t places_take(struct places *places)
{
	if (places->free_count)
		return places->free_places[--places->free_count];
	return places->next++;
}

static void places_give(struct places *places, uint32_t place)
{
	if (places->free_count == places->free_room) {
		places->free_room = memory_grown(places->free_room, places->free_count + 1);
		places->free_places = memory_resize(places->free_places, places->free_room,
						    sizeof(*places->free_places));
	}
	places->free_places[places->free_count++] = place;
}

/* Backward shift: what stands behind the hole and may not stand further from home moves up. */
static void places_forget(struct places *places, struct keyed keyed, uint64_t key)
{
	size_t mask = places->slots_count - 1;
	size_t hole = find_slot(places, keyed, key);

	assert(places->slots[hole]);
	for (size_t slot = (hole + 1) & mask; places->slots[slot]; slot = (slot + 1) & mask) {
		size_t home = hash_mix(key_at(keyed, places->slots[slot])) & mask;

		if (((slot - home) & mask) < ((slot - hole) & mask))
			continue;
		places->slots[hole] = places->slots[slot];
		hole = slot;
	}
	places->slots[hole] = 0;
	places->live--;
}

static void places_done(struct places *places)
{
	free(places->slots);
	free(places->free_places);
}

static void *room_for(void *array, size_t *room, uint32_t place, size_t size)
{
	size_t before = *room;

	if (place < before)
		return array;
	*room = memory_grown(before, (size_t)place + 1);
	array = memory_resize(array, *room, size);
	memset((char *)array + before * size, 0, (*room - before) * size);
	return array;
}

/* --- names --- */

static struct keyed texts_keyed(const struct dictionary *dictionary)
{
	return (struct keyed){(const char *)dictionary->texts, sizeof(*dictionary->texts)};
}

struct text *dictionary_text(const struct dictionary *dictionary, uint64_t id)
{
	uint32_t place = places_find(&dictionary->text_places, texts_keyed(dictionary), id);

	return place ? &dictionary->texts[place] : NULL;
}

static struct text *text_new(struct dictionary *dictionary, uint64_t id)
{
	uint32_t place = places_take(&dictionary->text_places);

	dictionary->texts = room_for(dictionary->texts, &dictionary->texts_room, place,
				     sizeof(*dictionary->texts));
	dictionary->texts[place] = (struct text){.id = id};
	places_grow(&dictionary->text_places, texts_keyed(dictionary));
	places_index(&dictionary->text_places, texts_keyed(dictionary), place);
	dictionary->text_places.live++;
	return &dictionary->texts[place];
}

static void text_set(struct text *text, const char *bytes, size_t length)
{
	free(text->bytes);
	text->bytes = memory_zeroed(length + 1, 1);
	memcpy(text->bytes, bytes, length);
	text->known = true;
	text->saved = false;
}

/* Gives a text its bytes if they have come; false while they have not. */
static bool text_learn(struct text *text, const struct names *names)
{
	const struct name *name = names ? names_get(names, text->id) : NULL;
	char hex[20];

	if (text->known)
		return true;
	if (name) {
		text_set(text, name->bytes, name->length);
		return true;
	}
	if (!text->bytes) {
		int length = snprintf(hex, sizeof(hex), "#%016" PRIx64, text->id);

		text_set(text, hex, (size_t)length);
		text->known = false;
	}
	return false;
}

static void text_remove(struct dictionary *dictionary, struct text *text)
{
	places_forget(&dictionary->text_places, texts_keyed(dictionary), text->id);
	places_give(&dictionary->text_places, (uint32_t)(text - dictionary->texts));
	free(text->bytes);
	*text = (struct text){0};
}

unsigned edge_names(const struct edge *edge, uint64_t ids[ENTRY_NAMES_MAX])
{
	ids[0] = edge->client;
	ids[1] = edge->server;
	return 2;
}

unsigned part_names(const struct part *part, uint64_t ids[ENTRY_NAMES_MAX])
{
	const struct lane *lane = &part->lane;
	const struct instance *instance = &part->instance;

	if (part->kind == PART_LANE) {
		ids[0] = lane->client_zone;
		ids[1] = lane->server_zone;
		ids[2] = lane->client_version;
		ids[3] = lane->server_version;
		return 4;
	}
	ids[0] = instance->workload;
	ids[1] = instance->version;
	ids[2] = instance->zone;
	ids[3] = instance->node;
	ids[4] = instance->container;
	ids[5] = instance->process;
	return 6;
}

static void refer(struct dictionary *dictionary, const uint64_t *ids, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct text *text = ids[i] ? dictionary_text(dictionary, ids[i]) : NULL;

		if (ids[i] && !text)
			text = text_new(dictionary, ids[i]);
		if (text)
			text->references++;
	}
}

static bool learn(struct dictionary *dictionary, const uint64_t *ids, unsigned count,
		  const struct names *names)
{
	bool all = true;

	for (unsigned i = 0; i < count; i++) {
		if (ids[i])
			all &= text_learn(dictionary_text(dictionary, ids[i]), names);
	}
	return all;
}

static void unrefer(struct dictionary *dictionary, const uint64_t *ids, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct text *text = ids[i] ? dictionary_text(dictionary, ids[i]) : NULL;

		if (text && !--text->references)
			text_remove(dictionary, text);
	}
}

/* --- entries --- */

static struct keyed entries_keyed(const struct entry *entries)
{
	return (struct keyed){(const char *)entries, sizeof(*entries)};
}

/* Lanes and instances share one table; their ids are hashes of different things. */
static uint64_t part_key(const struct part *part)
{
	uint64_t key = part->kind == PART_LANE ? part->lane.id : ~part->instance.id;

	return key ? key : 1;
}

static void entry_place(struct places *places, struct entry *entries, uint32_t place)
{
	places_grow(places, entries_keyed(entries));
	places_index(places, entries_keyed(entries), place);
	places->live++;
}

static void entry_learn(struct dictionary *dictionary, struct entry *entry, const uint64_t *ids,
			unsigned count, const struct names *names)
{
	if (!entry->unnamed || !learn(dictionary, ids, count, names))
		return;
	entry->unnamed = false;
	entry->saved = false; /* together with what its names are now */
}

uint32_t dictionary_edge(struct dictionary *dictionary, const struct edge *edge,
			 const struct names *names)
{
	struct places *places = &dictionary->edge_places;
	uint32_t place = places_find(places, entries_keyed(dictionary->edges), edge->id);
	uint64_t ids[ENTRY_NAMES_MAX];
	unsigned count = edge_names(edge, ids);

	if (!place) {
		if (places->live >= dictionary->entries_max)
			return 0;
		place = places_take(places);
		dictionary->edges = room_for(dictionary->edges, &dictionary->edges_room, place,
					     sizeof(*dictionary->edges));
		dictionary->edges[place] =
			(struct entry){.key = edge->id, .edge = *edge, .unnamed = true};
		entry_place(places, dictionary->edges, place);
		refer(dictionary, ids, count);
	}
	entry_learn(dictionary, &dictionary->edges[place], ids, count, names);
	return place;
}

uint32_t dictionary_part(struct dictionary *dictionary, const struct part *part,
			 const struct names *names)
{
	struct places *places = &dictionary->part_places;
	uint64_t key = part_key(part);
	uint32_t place = places_find(places, entries_keyed(dictionary->parts), key);
	uint64_t ids[ENTRY_NAMES_MAX];
	unsigned count = part_names(part, ids);

	if (!place) {
		if (places->live >= dictionary->entries_max)
			return 0;
		place = places_take(places);
		dictionary->parts = room_for(dictionary->parts, &dictionary->parts_room, place,
					     sizeof(*dictionary->parts));
		dictionary->parts[place] =
			(struct entry){.key = key, .part = *part, .unnamed = true};
		entry_place(places, dictionary->parts, place);
		refer(dictionary, ids, count);
	}
	entry_learn(dictionary, &dictionary->parts[place], ids, count, names);
	return place;
}

void dictionary_remove_edge(struct dictionary *dictionary, uint32_t number)
{
	struct entry *entry = &dictionary->edges[number];
	uint64_t ids[ENTRY_NAMES_MAX];

	unrefer(dictionary, ids, edge_names(&entry->edge, ids));
	places_forget(&dictionary->edge_places, entries_keyed(dictionary->edges), entry->key);
	places_give(&dictionary->edge_places, number);
	*entry = (struct entry){0};
}

void dictionary_remove_part(struct dictionary *dictionary, uint32_t number)
{
	struct entry *entry = &dictionary->parts[number];
	uint64_t ids[ENTRY_NAMES_MAX];

	unrefer(dictionary, ids, part_names(&entry->part, ids));
	places_forget(&dictionary->part_places, entries_keyed(dictionary->parts), entry->key);
	places_give(&dictionary->part_places, number);
	*entry = (struct entry){0};
}

/* --- loading --- */

bool dictionary_load_text(struct dictionary *dictionary, uint64_t id, const char *bytes,
			  size_t length)
{
	if (!id || length > NAME_MAX_BYTES || dictionary_text(dictionary, id))
		return false;

	struct text *text = text_new(dictionary, id);

	text_set(text, bytes, length);
	text->saved = true;
	return true;
}

static bool loadable(const struct dictionary *dictionary, const struct places *places,
		     const struct entry *entries, uint32_t number, uint64_t key)
{
	/* Numbers are reused, so none was ever beyond twice the bound, even after it was lowered.
	 */
	return number && number <= 2 * (uint64_t)dictionary->entries_max && key &&
	       !places_find(places, entries_keyed(entries), key);
}

bool dictionary_load_edge(struct dictionary *dictionary, uint32_t number, const struct entry *entry)
{
	struct places *places = &dictionary->edge_places;
	uint64_t ids[ENTRY_NAMES_MAX];
	unsigned count = edge_names(&entry->edge, ids);

	if (!loadable(dictionary, places, dictionary->edges, number, entry->edge.id))
		return false;
	dictionary->edges = room_for(dictionary->edges, &dictionary->edges_room, number,
				     sizeof(*dictionary->edges));
	dictionary->edges[number] = *entry;
	dictionary->edges[number].key = entry->edge.id;
	entry_place(places, dictionary->edges, number);
	if (number >= places->next)
		places->next = number + 1;
	refer(dictionary, ids, count);
	dictionary->edges[number].unnamed = !learn(dictionary, ids, count, NULL);
	return true;
}

bool dictionary_load_part(struct dictionary *dictionary, uint32_t number, const struct entry *entry)
{
	struct places *places = &dictionary->part_places;
	uint64_t key = part_key(&entry->part);
	uint64_t ids[ENTRY_NAMES_MAX];
	unsigned count = part_names(&entry->part, ids);

	if (!loadable(dictionary, places, dictionary->parts, number, key))
		return false;
	dictionary->parts = room_for(dictionary->parts, &dictionary->parts_room, number,
				     sizeof(*dictionary->parts));
	dictionary->parts[number] = *entry;
	dictionary->parts[number].key = key;
	entry_place(places, dictionary->parts, number);
	if (number >= places->next)
		places->next = number + 1;
	refer(dictionary, ids, count);
	dictionary->parts[number].unnamed = !learn(dictionary, ids, count, NULL);
	return true;
}

static void free_gaps(struct places *places, const struct entry *entries)
{
	for (uint32_t place = places->next; place-- > 1;) {
		if (!entries[place].key)
			places_give(places, place);
	}
}

void dictionary_loaded(struct dictionary *dictionary)
{
	free_gaps(&dictionary->edge_places, dictionary->edges);
	free_gaps(&dictionary->part_places, dictionary->parts);
	for (uint32_t i = 1; i < dictionary->text_places.next; i++) {
		if (dictionary->texts[i].id && !dictionary->texts[i].references)
			text_remove(dictionary, &dictionary->texts[i]);
	}
}

void dictionary_init(struct dictionary *dictionary, uint32_t entries_max)
{
	*dictionary = (struct dictionary){.entries_max = entries_max};
	dictionary->edge_places.next = 1;
	dictionary->part_places.next = 1;
	dictionary->text_places.next = 1;
}

void dictionary_done(struct dictionary *dictionary)
{
	for (uint32_t i = 1; i < dictionary->text_places.next; i++)
		free(dictionary->texts[i].bytes);
	places_done(&dictionary->edge_places);
	places_done(&dictionary->part_places);
	places_done(&dictionary->text_places);
	free(dictionary->edges);
	free(dictionary->parts);
	free(dictionary->texts);
}
