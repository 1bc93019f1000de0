#include "base/sketch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/hash.h"

static void every_bucket_holds_its_own_middle_and_is_close(void **state)
{
	(void)state;
	for (uint32_t index = 0; index < SKETCH_INDEXES; index++)
		assert_int_equal(sketch_index(sketch_value(index)), index);
	assert_int_equal(sketch_index(UINT64_MAX), SKETCH_INDEXES - 1);
	for (uint64_t seed = 1; seed < 200000; seed++) {
		uint64_t value = hash_mix(seed) >> (seed % 64);
		uint64_t middle = sketch_value(sketch_index(value));
		uint64_t error = middle > value ? middle - value : value - middle;
		assert_true(error <= value / 128);
	}
}

static void indexes_rise_with_values(void **state)
{
	(void)state;
	uint32_t last = 0;
	for (uint64_t value = 0; value < 100000; value++) {
		assert_in_range(sketch_index(value), last, last + 1);
		last = sketch_index(value);
	}
	for (uint64_t value = 0; value < 128; value++)
		assert_int_equal(sketch_value(sketch_index(value)), value);
}

static int compare_values(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
	return (left > right) - (left < right);
}

static void quantiles_are_within_the_stated_error(void **state)
{
	(void)state;
	enum { VALUES = 4096 };
	static uint64_t values[VALUES];
	struct sketch sketch = {0};
	for (uint64_t i = 0; i < VALUES; i++) {
		values[i] = hash_mix(i + 1) >> (20 + i % 30);
		assert_int_equal(sketch_add(&sketch, values[i], 1), 0);
	}
	qsort(values, VALUES, sizeof(values[0]), compare_values);
	for (int part = 0; part <= 128; part++) { /* 128ths are exact in binary */
		uint64_t rank = (uint64_t)part * VALUES / 128;
		uint64_t exact = values[rank ? rank - 1 : 0];
		uint64_t got = sketch_quantile(sketch.cells, sketch.count, part / 128.0);
		uint64_t error = got > exact ? got - exact : exact - got;
		assert_true(error <= exact / 128);
	}
	assert_int_equal(sketch_total(sketch.cells, sketch.count), VALUES);
	assert_int_equal(sketch_quantile(NULL, 0, 0.5), 0);
	sketch_done(&sketch);
}

static void assert_same(const struct sketch *a, const struct sketch *b)
{
	assert_int_equal(a->count, b->count);
	for (uint32_t i = 0; i < a->count; i++) {
		assert_int_equal(a->cells[i].index, b->cells[i].index);
		assert_int_equal(a->cells[i].count, b->cells[i].count);
		assert_true(i == 0 || a->cells[i - 1].index < a->cells[i].index);
	}
}

static void merging_parts_in_any_order_gives_the_whole(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 200; seed++) {
		struct sketch whole = {0}, parts[4] = {{0}}, up = {0}, down = {0};
		for (uint64_t i = 0; i < seed % 97; i++) {
			uint64_t word = hash_mix(seed << 20 | i), value = word >> (word % 60);
			uint32_t count = (uint32_t)(word >> 40 & 7);
			sketch_add(&whole, value, count);
			sketch_add(&parts[word >> 50 & 3], value, count);
		}
		for (int i = 0; i < 4; i++) {
			assert_int_equal(sketch_merge(&up, parts[i].cells, parts[i].count), 0);
			assert_int_equal(
				sketch_merge(&down, parts[3 - i].cells, parts[3 - i].count), 0);
		}
		assert_same(&whole, &up);
		assert_same(&whole, &down);
		for (int i = 0; i < 4; i++)
			sketch_done(&parts[i]);
		sketch_done(&whole);
		sketch_done(&up);
		sketch_done(&down);
	}
}

static void a_full_cell_tells_what_did_not_fit(void **state)
{
	(void)state;
	struct sketch sketch = {0};
	const struct sketch_cell cell = {.index = 7, .count = UINT32_MAX - 1};
	assert_int_equal(sketch_add(&sketch, 7, 3), 0);
	assert_int_equal(sketch_merge(&sketch, &cell, 1), 2);
	assert_int_equal(sketch.cells[0].count, UINT32_MAX);
	assert_int_equal(sketch_add(&sketch, 7, 5), 5);
	sketch_clear(&sketch);
	assert_int_equal(sketch.count, 0);
	assert_int_equal(sketch_add(&sketch, 7, 0), 0);
	assert_int_equal(sketch.count, 0);
	sketch_done(&sketch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_bucket_holds_its_own_middle_and_is_close),
		cmocka_unit_test(indexes_rise_with_values),
		cmocka_unit_test(quantiles_are_within_the_stated_error),
		cmocka_unit_test(merging_parts_in_any_order_gives_the_whole),
		cmocka_unit_test(a_full_cell_tells_what_did_not_fit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
