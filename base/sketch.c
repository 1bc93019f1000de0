#include "base/sketch.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

uint64_t sketch_value(uint32_t index)
{
	if (index < 128)
		return index;
	uint32_t shift = index / 64 - 1;
	uint64_t low = (uint64_t)(64 + index % 64) << shift;
	return low + ((1ULL << shift) >> 1);
}

uint64_t sketch_total(const struct sketch_cell *cells, size_t count)
{
	uint64_t total = 0;
	for (size_t i = 0; i < count; i++)
		total += cells[i].count;
	return total;
}

uint64_t sketch_quantile(const struct sketch_cell *cells, size_t count, double q)
{
	if (count == 0)
		return 0;
	/* At most 3,776 cells of 2^32: a total is below 2^53, so the product has one right value.
	 */
	double rank = q * (double)sketch_total(cells, count);
	uint64_t wanted = rank > 0 ? (uint64_t)rank : 0;
	wanted += (double)wanted < rank || wanted == 0;
	uint64_t passed = 0;
	for (size_t i = 0; i < count; i++) {
		passed += cells[i].count;
		if (passed >= wanted)
			return sketch_value(cells[i].index);
	}
	return sketch_value(cells[count - 1].index);
}

static void sketch_reserve(struct sketch *sketch, size_t needed)
{
	if (needed <= sketch->capacity)
		return;
	/* Most rows see few values: doubling from 4 keeps a row's sketch near its size. */
	size_t capacity = sketch->capacity ? sketch->capacity : 4;
	while (capacity < needed)
		capacity *= 2;
	sketch->cells = memory_resize(sketch->cells, capacity, sizeof(*sketch->cells));
	sketch->capacity = (uint32_t)capacity;
}

/* Adds, and returns what did not fit. */
static uint64_t cell_add(struct sketch_cell *cell, uint32_t count)
{
	uint64_t sum = (uint64_t)cell->count + count;
	if (sum <= UINT32_MAX) {
		cell->count = (uint32_t)sum;
		return 0;
	}
	cell->count = UINT32_MAX;
	return sum - UINT32_MAX;
}

uint64_t sketch_add(struct sketch *sketch, uint64_t value, uint32_t count)
{
	if (count == 0)
		return 0;
	uint16_t index = (uint16_t)sketch_index(value);
	uint32_t low = 0, high = sketch->count;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (sketch->cells[middle].index < index)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < sketch->count && sketch->cells[low].index == index)
		return cell_add(&sketch->cells[low], count);
	sketch_reserve(sketch, sketch->count + 1);
	memmove(sketch->cells + low + 1, sketch->cells + low,
		(sketch->count - low) * sizeof(*sketch->cells));
	sketch->cells[low] = (struct sketch_cell){.index = index, .count = count};
	sketch->count++;
	return 0;
}

/* How many of cells have an index that the sketch lacks. */
static uint32_t sketch_missing(const struct sketch *sketch, const struct sketch_cell *cells,
			       size_t count)
{
	uint32_t missing = 0;
	for (size_t i = 0, j = 0; i < count; i++) {
		while (j < sketch->count && sketch->cells[j].index < cells[i].index)
			j++;
		missing += j == sketch->count || sketch->cells[j].index != cells[i].index;
	}
	return missing;
}

uint64_t sketch_merge(struct sketch *sketch, const struct sketch_cell *cells, size_t count)
{
	if (count == 0)
		return 0;
	uint32_t missing = sketch_missing(sketch, cells, count);
	sketch_reserve(sketch, sketch->count + missing);

	/* From the back, into the room behind: each cell moves once and none is overwritten unread.
	 */
	uint64_t lost = 0;
	size_t from = sketch->count, other = count, to = sketch->count + missing;
	sketch->count += missing;
	while (other > 0) {
		const struct sketch_cell *theirs = &cells[other - 1];
		if (from > 0 && sketch->cells[from - 1].index > theirs->index) {
			sketch->cells[--to] = sketch->cells[--from];
		} else if (from > 0 && sketch->cells[from - 1].index == theirs->index) {
			sketch->cells[--to] = sketch->cells[--from];
			lost += cell_add(&sketch->cells[to], theirs->count);
			other--;
		} else {
			sketch->cells[--to] = *theirs;
			other--;
		}
	}
	return lost;
}

void sketch_clear(struct sketch *sketch)
{
	sketch->count = 0;
}

void sketch_done(struct sketch *sketch)
{
	memory_free(sketch->cells);
	*sketch = (struct sketch){0};
}
