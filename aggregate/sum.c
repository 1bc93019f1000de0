#include "aggregate/sum.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void sum_add(struct sum *sum, const struct sum *other)
{
	uint64_t over = 0;
	if (!other->touched)
		return;
	for (unsigned column = 0; column < COLUMNS; column++) {
		uint64_t a = (uint64_t)sum->values[column], b = (uint64_t)other->values[column];
		over |= ~(a ^ b) & (a ^ (a + b));
	}
	if (__builtin_expect(over >> 63, 0)) {
		for (unsigned column = 0; column < COLUMNS; column++)
			column_add(sum, column, other->values[column]);
	} else {
		for (unsigned column = 0; column < COLUMNS; column++)
			sum->values[column] += other->values[column];
	}
	sum->saturated |= other->saturated;
	sum_add_times(sum, other->last_event_ns, other->min_rtt_us);
}

void sums_init(struct sums *sums)
{
	*sums = (struct sums){.used = 1};
}

void sums_done(struct sums *sums)
{
	free(sums->sums);
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
