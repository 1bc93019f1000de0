/* A distribution of unsigned integers (nanoseconds, mostly) as counts in log-linear buckets: 64
 * buckets an octave, values below 128 exact, so a quantile's value is off by at most 1/128. Merging
 * adds counts and loses nothing; the order of merges does not matter. Sparse: cells sorted by
 * index, at most SKETCH_INDEXES of them. A cell's count stops at UINT32_MAX and tells what did not
 * fit. One thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { SKETCH_INDEXES = 59 * 64 }; /* of UINT64_MAX, plus one */

struct sketch_cell {
	uint16_t index;
	uint32_t count; /* never 0 */
};

/* Grows as needed; {0} is an empty one. */
struct sketch {
	struct sketch_cell *cells;
	uint32_t count, capacity; /* of cells */
};

static inline uint32_t sketch_index(uint64_t value)
{
	if (value < 64)
		return (uint32_t)value;
	uint32_t exponent = 63 - (uint32_t)__builtin_clzll(value);
	return (exponent - 5) * 64 + ((uint32_t)(value >> (exponent - 6)) & 63);
}

/* The middle of the bucket. */
uint64_t sketch_value(uint32_t index);

/* The value of rank ceil(q * total), q in 0..1; 0 of an empty distribution. */
uint64_t sketch_quantile(const struct sketch_cell *cells, size_t count, double q);

/* Sum of the counts. */
uint64_t sketch_total(const struct sketch_cell *cells, size_t count);

/* Both return how many counts did not fit their cells. cells must not be sketch's own. */
uint64_t sketch_add(struct sketch *sketch, uint64_t value, uint32_t count);
uint64_t sketch_merge(struct sketch *sketch, const struct sketch_cell *cells, size_t count);

void sketch_clear(struct sketch *sketch); /* empties, keeps the memory */
void sketch_done(struct sketch *sketch);
