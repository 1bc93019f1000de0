#include "agent/batch/dictionary.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

void batch_dictionary_init(struct dictionary *dictionary, uint32_t entries_max, uint32_t bytes_max)
{
	uint32_t table_size = 16;
	while (table_size < 2 * (uint64_t)entries_max)
		table_size *= 2;
	*dictionary = (struct dictionary){
		.bytes = memory_zeroed(bytes_max, 1),
		.ends = memory_zeroed(entries_max, sizeof(*dictionary->ends)),
		.places = memory_zeroed(entries_max, sizeof(*dictionary->places)),
		.table = memory_zeroed(table_size, sizeof(*dictionary->table)),
		.table_mask = table_size - 1,
		.entries_max = entries_max,
		.bytes_max = bytes_max,
	};
}

void batch_dictionary_done(struct dictionary *dictionary)
{
	free(dictionary->bytes);
	free(dictionary->ends);
	free(dictionary->places);
	free(dictionary->table);
}

uint32_t batch_dictionary_put(struct dictionary *dictionary, const void *bytes, size_t length)
{
	uint32_t place = (uint32_t)hash_bytes(bytes, length) & dictionary->table_mask;
	for (; dictionary->table[place]; place = (place + 1) & dictionary->table_mask) {
		uint32_t entry = dictionary->table[place] - 1;
		uint32_t start = batch_dictionary_start(dictionary, entry);
		if (dictionary->ends[entry] - start == length &&
		    memcmp(dictionary->bytes + start, bytes, length) == 0)
			return entry;
	}
	uint32_t start = batch_dictionary_bytes(dictionary);
	if (dictionary->count == dictionary->entries_max || length > dictionary->bytes_max - start)
		return DICTIONARY_FULL;
	uint32_t entry = dictionary->count++;
	memcpy(dictionary->bytes + start, bytes, length);
	dictionary->ends[entry] = start + (uint32_t)length;
	dictionary->places[entry] = place;
	dictionary->table[place] = entry + 1;
	return entry;
}

void batch_dictionary_cut(struct dictionary *dictionary, uint32_t count)
{
	/* Newest first, so that no probe sequence is broken under an entry that stays. */
	while (dictionary->count > count)
		dictionary->table[dictionary->places[--dictionary->count]] = 0;
}
