/* A batch's dictionary: byte strings, each kept once, known by the order in which they came.
 * Entries lie one after another in one block; a small open-addressing table finds them by hash. The
 * newest can be taken back, so a put that turns out not to fit leaves no trace. Bounded by
 * entries_max and bytes_max; nothing allocates after dictionary_init. One thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct dictionary {
	uint8_t *bytes;
	uint32_t *ends;	  /* entry i is bytes[ends[i - 1]..ends[i]) */
	uint32_t *places; /* entry i's place in the table */
	uint32_t *table;  /* entry + 1; 0 is empty */
	uint32_t table_mask;
	uint32_t count, entries_max, bytes_max;
};

enum { DICTIONARY_FULL = UINT32_MAX };

void batch_dictionary_init(struct dictionary *dictionary, uint32_t entries_max, uint32_t bytes_max);
void batch_dictionary_done(struct dictionary *dictionary);

/* The entry's index, or DICTIONARY_FULL. */
uint32_t batch_dictionary_put(struct dictionary *dictionary, const void *bytes, size_t length);

/* Takes back all but the first count entries. */
void batch_dictionary_cut(struct dictionary *dictionary, uint32_t count);

static inline uint32_t batch_dictionary_start(const struct dictionary *dictionary, uint32_t entry)
{
	return entry ? dictionary->ends[entry - 1] : 0;
}

static inline uint32_t batch_dictionary_bytes(const struct dictionary *dictionary)
{
	return batch_dictionary_start(dictionary, dictionary->count);
}
