/* Places come out in the order of time, tie and the caller's own, however many they are and however
 * many of them are of one time. */
#include "join/order.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/hash.h"

enum { COUNT_MAX = 5000 };

static int compare_numbers(const void *context, uint32_t a, uint32_t b)
{
	const uint32_t *numbers = context;
	return (numbers[a] > numbers[b]) - (numbers[a] < numbers[b]);
}

static int compare_all(const struct order_place *a, const struct order_place *b,
		       const uint32_t *numbers)
{
	if (a->time_ns != b->time_ns)
		return a->time_ns < b->time_ns ? -1 : 1;
	if (a->tie != b->tie)
		return a->tie < b->tie ? -1 : 1;
	return compare_numbers(numbers, a->index, b->index);
}

/* times, ties, numbers: so many different ones. */
static void check(size_t count, uint64_t times, uint64_t step_ns, uint32_t ties, uint32_t numbers)
{
	static struct order_place places[2 * COUNT_MAX];
	static uint32_t given[COUNT_MAX];
	static bool seen[COUNT_MAX];
	for (size_t i = 0; i < count; i++) {
		uint64_t drawn = hash_mix(i + 1) ^ hash_mix(count << 32 | ties);
		given[i] = (uint32_t)(hash_mix(drawn + 1) % numbers);
		seen[i] = false;
		places[i] = (struct order_place){
			.time_ns = 1700000000000000000 + drawn % times * step_ns,
			.index = (uint32_t)i,
			.tie = (uint32_t)(hash_mix(drawn + 2) % ties) * 0x9e3779b9U,
		};
	}
	const struct order_place *sorted = order_by_time(places, count, compare_numbers, given);
	for (size_t i = 0; i < count; i++) {
		assert_false(seen[sorted[i].index]);
		seen[sorted[i].index] = true;
		if (i)
			assert_true(compare_all(&sorted[i - 1], &sorted[i], given) <= 0);
	}
}

static void any_number_of_places_is_put_in_order(void **state)
{
	static const size_t counts[] = {0,  1,	2,   23,  24,	25,   63,   64,
					65, 66, 300, 999, 2047, 2048, 2049, COUNT_MAX};
	(void)state;
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		check(counts[i], 250000000, 1, 1U << 31, 1U << 31);
		check(counts[i], 250000, 1000, 7, 3);
	}
}

static void those_of_one_time_go_by_tie_and_the_callers_order(void **state)
{
	(void)state;
	for (size_t count = 20; count < 200; count += 3) {
		check(count, 1, 1, 1U << 31, 2);
		check(count, 1, 1, 3, 1U << 31);
		check(count, 1, 1, 1, 1U << 31);
		check(count, 3, 700, 4, 5);
	}
	check(COUNT_MAX, 1, 1, 40, 1U << 31);
	check(COUNT_MAX, 4096, 1, 40, 11);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_number_of_places_is_put_in_order),
		cmocka_unit_test(those_of_one_time_go_by_tie_and_the_callers_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
