/* Who rows are about, said once: edges and parts (a lane or an instance) by small numbers, which
 * are half of a stored row's key, and the names in them. All of it is in memory, so that reading
 * rows touches nothing else; the file has a copy for the next start.
 *
 * An entry knows the first and the last window that named it. It leaves when its last window is
 * older than every stored row, and its number is used again. Bound: entries_max of each kind; past
 * it a row about somebody new is refused and counted. A name that has not come yet is the id in hex
 * until it comes. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/identity.h"
#include "base/name.h"

struct text {
	uint64_t id; /* of the name; 0: a free place */
	uint32_t references;
	bool known; /* the bytes are the name, not its id in hex */
	bool saved;
	char *bytes;
};

enum part_kind { PART_LANE = 1, PART_INSTANCE = 2 };

struct part {
	uint8_t kind; /* enum part_kind */
	union {
		struct lane lane;
		struct instance instance;
	};
};

struct entry {
	uint64_t key; /* 0: a free place */
	uint64_t first_ns, last_ns;
	bool saved;
	bool unnamed; /* a name of it is not known */
	union {
		struct edge edge;
		struct part part;
	};
};

/* Open addressing from a 64-bit key to a place in an array; a place's number is its index, from 1.
 */
struct places {
	uint32_t *slots;
	size_t slots_count;
	uint32_t *free_places;
	size_t free_count, free_room;
	uint32_t next; /* places ever used, and 1 */
	uint32_t live;
};

struct dictionary {
	struct places edge_places, part_places, text_places;
	struct entry *edges, *parts;
	struct text *texts;
	size_t edges_room, parts_room, texts_room;
	uint32_t entries_max;
};

void dictionary_init(struct dictionary *dictionary, uint32_t entries_max);
void dictionary_done(struct dictionary *dictionary);

/* The number of the entry, made if need be; 0 when entries_max are there. */
uint32_t dictionary_edge(struct dictionary *dictionary, const struct edge *edge,
			 const struct names *names);
uint32_t dictionary_part(struct dictionary *dictionary, const struct part *part,
			 const struct names *names);
void dictionary_remove_edge(struct dictionary *dictionary, uint32_t number);
void dictionary_remove_part(struct dictionary *dictionary, uint32_t number);

/* What the file has, at start. False: the number is taken, or out of bounds. */
bool dictionary_load_text(struct dictionary *dictionary, uint64_t id, const char *bytes,
			  size_t length);
bool dictionary_load_edge(struct dictionary *dictionary, uint32_t number,
			  const struct entry *entry);
bool dictionary_load_part(struct dictionary *dictionary, uint32_t number,
			  const struct entry *entry);
/* After loading: the places between become free, names that nobody has leave. */
void dictionary_loaded(struct dictionary *dictionary);

struct text *dictionary_text(const struct dictionary *dictionary, uint64_t id); /* or NULL */
/* The ids of an entry's names, 0 where there is none. Returns how many there are. */
enum { ENTRY_NAMES_MAX = 6 };
unsigned edge_names(const struct edge *edge, uint64_t ids[ENTRY_NAMES_MAX]);
unsigned part_names(const struct part *part, uint64_t ids[ENTRY_NAMES_MAX]);
