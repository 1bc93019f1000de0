#include "aggregate/sum.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

typedef uint64_t loose2 __attribute__((vector_size(16), aligned(8), may_alias));

/* Where something ended, or began, below zero: again from what it was, column by column. */
static __attribute__((noinline)) void sum_add_slowly(struct sum *sum, const struct sum *other)
{
	for (unsigned column = 0; column < COLUMNS; column++) {
		uint64_t more = (uint64_t)other->values[column];
		sum->values[column] = (int64_t)((uint64_t)sum->values[column] - more);
		column_add(sum, column, other->values[column]);
	}
}

/* Two columns at a time. Neither ran over if the sum and one of its two parts are positive. */
void sum_add(struct sum *sum, const struct sum *other)
{
	_Static_assert(SUM_COLUMNS % 2 == 0, "pairs");
	loose2 *to = (loose2 *)sum->values, signs = {0};
	const loose2 *from = (const loose2 *)other->values;
	if (!other->touched)
		return;
	for (unsigned pair = 0; pair < SUM_COLUMNS / 2; pair++) {
		loose2 before = to[pair], after = before + from[pair];
		signs |= before | after;
		to[pair] = after;
	}
	if (__builtin_expect((signs[0] | signs[1]) >> 63, 0))
		sum_add_slowly(sum, other);
	sum->saturated |= other->saturated;
	sum_add_times(sum, other->last_event_ns, other->min_rtt_us);
}

void sums_init(struct sums *sums)
{
	*sums = (struct sums){.used = 1};
}

void sums_done(struct sums *sums)
{
	memory_free(sums->sums);
}

uint32_t sums_take(struct sums *sums)
{
	uint32_t place = sums->vacant;
	if (place) {
		sums->vacant = (uint32_t)sums->sums[place].values[0];
	} else {
		if (sums->used >= sums->capacity) {
			sums->capacity = (uint32_t)memory_grown(sums->capacity, sums->used + 1);
			sums->sums = memory_resize(sums->sums, sums->capacity, sizeof(*sums->sums));
		}
		place = sums->used++;
	}
	memset(&sums->sums[place], 0, sizeof(*sums->sums));
	return place;
}

void sums_give(struct sums *sums, uint32_t place)
{
	if (!place)
		return;
	sums->sums[place].values[0] = sums->vacant;
	sums->vacant = place;
}
