#include "join/order.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Times of one pane are spread over 28 bits: the lowest ones are left to the last step, which has
 * almost nothing to do then. */
enum { FEW = 24, LONG_RUN = 64, LOW_BITS = 12, SMALL_BITS = 8, GREAT_BITS = 11, MANY = 2048 };

struct order {
	int (*compare)(const void *context, uint32_t a, uint32_t b);
	const void *context;
};

static int place_compare(const struct order *order, const struct order_place *a,
			 const struct order_place *b)
{
	if (a->time_ns != b->time_ns)
		return a->time_ns < b->time_ns ? -1 : 1;
	if (a->tie != b->tie)
		return a->tie < b->tie ? -1 : 1;
	return order->compare(order->context, a->index, b->index);
}

static int compare_places(const void *a, const void *b, void *order)
{
	return place_compare(order, a, b);
}

static void sort_few(struct order_place *places, size_t count, const struct order *order)
{
	for (size_t i = 1; i < count; i++) {
		struct order_place place = places[i];
		size_t at = i;
		for (; at && place_compare(order, &place, &places[at - 1]) < 0; at--)
			places[at] = places[at - 1];
		places[at] = place;
	}
}

static void sort_short(struct order_place *places, size_t count, const struct order *order)
{
	if (count <= FEW)
		sort_few(places, count, order);
	else
		qsort_r(places, count, sizeof(*places), compare_places, (void *)order);
}

/* By some of the time's bits or, behind them, the tie's; stable. */
static inline __attribute__((always_inline)) void sort_by(const struct order_place *from,
							  struct order_place *to, size_t count,
							  bool by_tie, unsigned shift,
							  unsigned bits)
{
	uint32_t starts[1 << GREAT_BITS];
	uint32_t digits = 1U << bits, mask = digits - 1;
	memset(starts, 0, digits * sizeof(*starts));
	for (size_t i = 0; i < count; i++)
		starts[(by_tie ? from[i].tie : from[i].time_ns) >> shift & mask]++;
	for (uint32_t digit = 0, sum = 0; digit < digits; digit++) {
		uint32_t of_digit = starts[digit];
		starts[digit] = sum;
		sum += of_digit;
	}
	for (size_t i = 0; i < count; i++)
		to[starts[(by_tie ? from[i].tie : from[i].time_ns) >> shift & mask]++] = from[i];
}

static void sort_digit(const struct order_place *from, struct order_place *to, size_t count,
		       unsigned shift, unsigned bits)
{
	sort_by(from, to, count, false, shift, bits);
}

static void sort_tie(const struct order_place *from, struct order_place *to, size_t count,
		     unsigned shift)
{
	sort_by(from, to, count, true, shift, SMALL_BITS);
}

/* Many of almost the same time: by the ties, then the low bits of the time, and what those leave
 * equal is mostly little. scratch: as many. */
static void sort_run(struct order_place *run, struct order_place *scratch, size_t count,
		     const struct order *order)
{
	for (unsigned shift = 0; shift < 32; shift += 2 * SMALL_BITS) {
		sort_tie(run, scratch, count, shift);
		sort_tie(scratch, run, count, shift + SMALL_BITS);
	}
	sort_digit(run, scratch, count, 0, SMALL_BITS);
	sort_digit(scratch, run, count, SMALL_BITS, LOW_BITS - SMALL_BITS);
	for (size_t start = 0, end; start < count; start = end) {
		for (end = start + 1; end < count && run[end].time_ns == run[start].time_ns &&
				      run[end].tie == run[start].tie;)
			end++;
		sort_short(run + start, end - start, order);
	}
}

/* What the digits left: runs of almost the same time, mostly of one. */
static void sort_runs(struct order_place *places, struct order_place *scratch, size_t count,
		      const struct order *order)
{
	for (size_t start = 0, end; start < count; start = end) {
		uint64_t run = places[start].time_ns >> LOW_BITS;
		for (end = start + 1; end < count && places[end].time_ns >> LOW_BITS == run;)
			end++;
		if (end - start < LONG_RUN)
			sort_short(places + start, end - start, order);
		else
			sort_run(places + start, scratch + start, end - start, order);
	}
}

const struct order_place *order_by_time(struct order_place *places, size_t count,
					int (*compare)(const void *context, uint32_t a, uint32_t b),
					const void *context)
{
	struct order order = {compare, context};
	if (count <= FEW) {
		sort_few(places, count, &order);
		return places;
	}
	struct order_place *from = places, *to = places + count;
	uint64_t differing = 0;
	for (size_t i = 1; i < count; i++)
		differing |= places[i].time_ns ^ places[0].time_ns;
	unsigned bits = count < MANY ? SMALL_BITS : GREAT_BITS;
	for (unsigned shift = LOW_BITS; shift < 64 && differing >> shift; shift += bits) {
		sort_digit(from, to, count, shift, bits);
		struct order_place *sorted = to;
		to = from;
		from = sorted;
	}
	sort_runs(from, to, count, &order);
	return from;
}
