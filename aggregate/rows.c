#include "aggregate/rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/sketch.h"

_Static_assert(SKETCH_INDEXES <= 1 << 12, "a sample holds a sketch index in 12 bits");

void rows_init(struct rows *rows)
{
	*rows = (struct rows){0};
	row_index_init(&rows->index, 0);
}

void rows_done(struct rows *rows)
{
	free(rows->rows);
	free(rows->identities);
	free(rows->samples);
	free(rows->spare);
	row_index_done(&rows->index);
}

void rows_clear(struct rows *rows)
{
	rows->count = 0;
	rows->samples_count = 0;
	row_index_clear(&rows->index);
}

static bool row_key_equal(const struct row_key *a, const struct row_key *b)
{
	return a->edge_id == b->edge_id && a->sub_id == b->sub_id && a->scope == b->scope &&
	       a->kind == b->kind && a->window_start_ns == b->window_start_ns;
}

uint32_t rows_find(const struct rows *rows, const struct row_key *key, uint64_t hash)
{
	uint64_t at = row_index_start(&rows->index, hash);
	uint32_t row;
	while ((row = row_index_next(&rows->index, hash, &at)) != ROW_NONE)
		if (row_key_equal(&rows->rows[row].key, key))
			return row;
	return ROW_NONE;
}

uint32_t rows_create(struct rows *rows, const struct row_key *key, uint64_t hash,
		     const struct row_identity *identity)
{
	if (rows->count == rows->capacity) {
		size_t capacity = memory_grown(rows->capacity, rows->count + 1);
		rows->rows = memory_resize(rows->rows, capacity, sizeof(*rows->rows));
		rows->identities =
			memory_resize(rows->identities, capacity, sizeof(*rows->identities));
		rows->capacity = (uint32_t)capacity;
	}
	uint32_t row = rows->count++;
	memset(&rows->rows[row], 0, sizeof(rows->rows[row]));
	rows->rows[row].key = *key;
	rows->identities[row] = *identity;
	row_index_add(&rows->index, hash, row);
	return row;
}

void row_tally(struct row *row, const struct tally *tally)
{
	for (uint32_t i = 0; i < tally->count; i++)
		row->columns[tally->columns[i]] += tally->values[i];
}

void rows_sample(struct rows *rows, uint32_t row, enum distribution distribution, uint64_t value_ns)
{
	if (rows->samples_count == rows->samples_capacity) {
		size_t capacity = memory_grown(rows->samples_capacity, rows->samples_count + 1);
		rows->samples = memory_resize(rows->samples, capacity, sizeof(*rows->samples));
		rows->spare = memory_resize(rows->spare, capacity, sizeof(*rows->spare));
		rows->samples_capacity = capacity;
	}
	rows->samples[rows->samples_count++] =
		(uint64_t)row << 13 | (uint64_t)distribution << 12 | sketch_index(value_ns);
}

/* Least significant digit first, a byte a pass: linear in the samples. */
void rows_sort_samples(struct rows *rows)
{
	uint64_t largest = (uint64_t)rows->count << 13;
	for (unsigned shift = 0; largest >> shift; shift += 8) {
		size_t starts[257] = {0};
		for (size_t i = 0; i < rows->samples_count; i++)
			starts[(rows->samples[i] >> shift & 0xff) + 1]++;
		for (unsigned digit = 0; digit < 256; digit++)
			starts[digit + 1] += starts[digit];
		for (size_t i = 0; i < rows->samples_count; i++)
			rows->spare[starts[rows->samples[i] >> shift & 0xff]++] = rows->samples[i];
		uint64_t *sorted = rows->spare;
		rows->spare = rows->samples;
		rows->samples = sorted;
	}
}
