#include "anomaly/localize.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/memory.h"

enum { ATTRIBUTES = 4, CAUSES_MAX = 3, NOWHERE = -1 };

static const uint32_t dims[ATTRIBUTES] = {6, 20, 8, 7};

/* What happens to the leaves that have these values. */
struct cause {
	int values[ATTRIBUTES]; /* NOWHERE: any */
	double times;
};

struct world {
	uint32_t count, attributes;
	uint32_t *values;
	double *actual, *expected;
	uint64_t random;
};

static double uniform(struct world *world)
{
	world->random += 0x9e3779b97f4a7c15ULL;
	return ((double)(hash_mix(world->random) >> 11) + 0.5) * 0x1p-53;
}

static double normal(struct world *world)
{
	return sqrt(-2 * log(uniform(world))) * cos(6.283185307179586 * uniform(world));
}

static double poisson(struct world *world, double mean)
{
	double product = uniform(world), end = exp(-mean);
	uint32_t count = 0;
	for (; product > end; count++)
		product *= uniform(world);
	return count;
}

static struct world world_new(uint64_t seed)
{
	struct world world = {.attributes = ATTRIBUTES, .random = seed * 7919};
	uint32_t all = dims[0] * dims[1] * dims[2] * dims[3];
	world.values = memory_zeroed((size_t)all * ATTRIBUTES, sizeof(*world.values));
	world.actual = memory_zeroed(all, sizeof(double));
	world.expected = memory_zeroed(all, sizeof(double));
	for (uint32_t i = 0; i < all; i++) {
		uint32_t rest = i, *values = world.values + (size_t)world.count * ATTRIBUTES;
		for (uint32_t a = 0; a < ATTRIBUTES; rest /= dims[a++])
			values[a] = rest % dims[a];
		world.count += uniform(&world) < 0.9;
	}
	return world;
}

static void world_done(struct world *world)
{
	memory_free(world->values);
	memory_free(world->actual);
	memory_free(world->expected);
}

static bool hit(const struct world *world, uint32_t leaf, const struct cause *cause)
{
	for (uint32_t a = 0; a < ATTRIBUTES; a++)
		if (cause->values[a] != NOWHERE &&
		    world->values[(size_t)leaf * ATTRIBUTES + a] != (uint32_t)cause->values[a])
			return false;
	return true;
}

/* The first cause that hits a leaf is its own; else it is `usual` times what was expected. */
static double times_of(const struct world *world, uint32_t leaf, const struct cause *causes,
		       uint32_t count, double usual)
{
	for (uint32_t i = 0; i < count; i++)
		if (hit(world, leaf, &causes[i]))
			return causes[i].times;
	return usual;
}

static void fill_values(struct world *world, double noise, const struct cause *causes,
			uint32_t count, double usual)
{
	for (uint32_t i = 0; i < world->count; i++) {
		double size = 0.5 + 100 * -log(uniform(world));
		double off = 1 + noise * normal(world);
		world->expected[i] = size;
		world->actual[i] =
			size * times_of(world, i, causes, count, usual) * (off > 0 ? off : 0);
	}
}

static void fill_counts(struct world *world, double mean, const struct cause *causes,
			uint32_t count)
{
	for (uint32_t i = 0; i < world->count; i++) {
		world->expected[i] = mean * -log(uniform(world));
		world->actual[i] =
			poisson(world, world->expected[i] * times_of(world, i, causes, count, 1));
	}
}

static uint32_t run(const struct world *world, struct localize_set *sets, uint32_t top,
		    struct localize_report *report)
{
	struct localize_leaves leaves = {.count = world->count,
					 .attributes = world->attributes,
					 .values = world->values,
					 .actual = world->actual,
					 .expected = world->expected};
	return localize(&leaves, sets, top, report);
}

static bool names(const struct world *world, const struct localize_combination *combination,
		  const struct cause *cause)
{
	uint32_t mask = 0;
	for (uint32_t a = 0; a < ATTRIBUTES; a++)
		mask |= (uint32_t)(cause->values[a] != NOWHERE) << a;
	return combination->attributes == mask && hit(world, combination->leaf, cause);
}

static bool exactly(const struct world *world, const struct localize_set *set,
		    const struct cause *causes, uint32_t count)
{
	uint32_t found = 0;
	for (uint32_t i = 0; i < set->count; i++)
		for (uint32_t k = 0; k < count; k++)
			found += names(world, &set->combinations[i], &causes[k]);
	return set->count == count && found == count;
}

static const struct cause zone_down = {{2, NOWHERE, NOWHERE, NOWHERE}, 0.1};
static const struct cause pair_half = {{NOWHERE, 3, 5, NOWHERE}, 0.5};

static void the_first_set_holds_all_causes_whatever_their_ratios(void **state)
{
	struct cause causes[2] = {zone_down, pair_half};
	struct localize_set sets[5];
	struct localize_report report;
	struct world world = world_new(1);
	(void)state;
	fill_values(&world, 0.1, causes, 2, 1);
	uint32_t count = run(&world, sets, 5, &report);
	assert_int_equal(report.method, LOCALIZE_RATIOS);
	assert_int_equal(report.layers, ATTRIBUTES);
	assert_int_equal(count, 5);
	assert_true(exactly(&world, &sets[0], causes, 2));
	assert_true(sets[0].explained > 0.5 && sets[0].explained < 1);
	for (uint32_t i = 1; i < count; i++)
		assert_true(sets[i].score <= sets[i - 1].score && sets[i].score > 0);
	world_done(&world);
}

static void changes_that_cancel_out_are_both_named(void **state)
{
	struct cause causes[2] = {{{1, NOWHERE, NOWHERE, NOWHERE}, 0.5},
				  {{3, NOWHERE, NOWHERE, NOWHERE}, 1.5}};
	struct localize_set set;
	struct localize_report report;
	struct world world = world_new(2);
	(void)state;
	fill_values(&world, 0.05, causes, 2, 1);
	assert_int_equal(run(&world, &set, 1, &report), 1);
	assert_true(exactly(&world, &set, causes, 2));
	world_done(&world);
}

static void survivors_that_take_over_the_load_are_not_blamed(void **state)
{
	struct localize_set set;
	struct localize_report report;
	struct cause dead = {{2, NOWHERE, NOWHERE, NOWHERE}, 0};
	struct world world = world_new(3);
	(void)state;
	fill_values(&world, 0.05, &dead, 1, 1.2);
	assert_int_equal(run(&world, &set, 1, &report), 1);
	assert_true(exactly(&world, &set, &dead, 1));
	assert_true(fabs(report.factor - 1.2) < 0.02);
	world_done(&world);
}

static void a_change_of_all_leaves_is_everything(void **state)
{
	struct localize_set sets[5];
	struct localize_report report;
	struct world world = world_new(4);
	(void)state;
	fill_values(&world, 0.05, NULL, 0, 0.5);
	assert_int_equal(run(&world, sets, 5, &report), 1);
	assert_int_equal(sets[0].count, 1);
	assert_int_equal(sets[0].combinations[0].attributes, 0);
	assert_true(sets[0].explained > 0.8);
	struct cause all = {{NOWHERE, NOWHERE, NOWHERE, NOWHERE}, 2};
	fill_counts(&world, 1, &all, 1);
	assert_true(run(&world, sets, 5, &report) > 0);
	assert_int_equal(report.method, LOCALIZE_COUNTS);
	assert_int_equal(sets[0].combinations[0].attributes, 0);
	world_done(&world);
}

static void many_zeros_and_small_counts_tell_by_their_sums(void **state)
{
	struct cause rise = {{NOWHERE, 7, NOWHERE, 4}, 6};
	struct localize_set set;
	struct localize_report report;
	struct world world = world_new(5);
	(void)state;
	fill_counts(&world, 0.3, &rise, 1);
	assert_int_equal(run(&world, &set, 1, &report), 1);
	assert_int_equal(report.method, LOCALIZE_COUNTS);
	assert_true(exactly(&world, &set, &rise, 1));
	world_done(&world);
}

static void nothing_is_named_where_all_is_chance(void **state)
{
	struct localize_set set;
	struct localize_report report;
	(void)state;
	for (uint64_t seed = 10; seed < 50; seed++) {
		struct world world = world_new(seed);
		fill_values(&world, seed % 2 ? 0.02 : 0.3, NULL, 0, 1);
		if (run(&world, &set, 1, &report) != 0)
			fail_msg("seed %u: named", (unsigned)seed);
		world_done(&world);
	}
}

static void leaves_in_which_nothing_is_say_nothing(void **state)
{
	struct localize_set set;
	struct localize_report report;
	struct world world = world_new(6);
	(void)state;
	assert_int_equal(run(&world, &set, 1, &report), 0);
	world.count = 0;
	assert_int_equal(run(&world, &set, 1, &report), 0);
	world_done(&world);
}

/* What was not expected at all. */
static void new_leaves_are_a_cause(void **state)
{
	struct cause fresh = {{NOWHERE, 11, NOWHERE, NOWHERE}, 1};
	struct localize_set set;
	struct localize_report report;
	struct world world = world_new(7);
	(void)state;
	fill_values(&world, 0.1, NULL, 0, 1);
	for (uint32_t i = 0; i < world.count; i++)
		if (hit(&world, i, &fresh))
			world.expected[i] = 0;
	assert_int_equal(run(&world, &set, 1, &report), 1);
	assert_true(exactly(&world, &set, &fresh, 1));
	world_done(&world);
}

/* Attribute 3 becomes a finer name of attribute 0, and attribute 2 is the same for all. */
static void of_combinations_with_the_same_leaves_the_simplest_stands_for_all(void **state)
{
	struct localize_set sets[3];
	struct localize_report report;
	struct world world = world_new(8);
	(void)state;
	fill_values(&world, 0.05, &zone_down, 1, 1);
	for (uint32_t i = 0; i < world.count; i++) {
		uint32_t *values = world.values + (size_t)i * ATTRIBUTES;
		values[2] = 0;
		values[3] = values[0] == 2 ? 0 : 10 + values[0] * 10 + values[3];
	}
	assert_true(run(&world, sets, 3, &report) > 0);
	assert_true(exactly(&world, &sets[0], &zone_down, 1));
	world_done(&world);
}

static void the_order_of_leaves_changes_nothing(void **state)
{
	struct cause causes[2] = {zone_down, pair_half};
	struct localize_set there, back;
	struct localize_report report;
	struct world world = world_new(9);
	(void)state;
	fill_values(&world, 0.2, causes, 2, 1);
	assert_int_equal(run(&world, &there, 1, &report), 1);
	for (uint32_t i = 0, k = world.count - 1; i < k; i++, k--) {
		uint32_t values[ATTRIBUTES];
		double actual = world.actual[i], expected = world.expected[i];
		memcpy(values, world.values + (size_t)i * ATTRIBUTES, sizeof(values));
		memcpy(world.values + (size_t)i * ATTRIBUTES, world.values + (size_t)k * ATTRIBUTES,
		       sizeof(values));
		memcpy(world.values + (size_t)k * ATTRIBUTES, values, sizeof(values));
		world.actual[i] = world.actual[k];
		world.expected[i] = world.expected[k];
		world.actual[k] = actual;
		world.expected[k] = expected;
	}
	assert_int_equal(run(&world, &back, 1, &report), 1);
	assert_true(exactly(&world, &back, causes, 2));
	/* The order of a sum may change its last bits, and so which of two is the middle one. */
	assert_true(fabs(there.score - back.score) < 1e-3 * there.score);
	world_done(&world);
}

static void draw_causes(struct world *world, struct cause causes[CAUSES_MAX], uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t layers = 1 + (uint32_t)(uniform(world) * 3);
		causes[i] =
			(struct cause){{NOWHERE, NOWHERE, NOWHERE, NOWHERE}, 0.6 * uniform(world)};
		/* All have attribute 1 and a value of their own of it, so none hides another. */
		causes[i].values[1] = (int)(3 * i + 1);
		for (uint32_t a = 2; a < 1 + layers; a++)
			causes[i].values[a] = (int)(uniform(world) * dims[a]);
	}
}

static void random_causes_are_found_at_any_noise(void **state)
{
	enum { RUNS = 60 };
	uint32_t right = 0;
	(void)state;
	for (uint64_t seed = 100; seed < 100 + RUNS; seed++) {
		struct world world = world_new(seed);
		struct cause causes[CAUSES_MAX];
		struct localize_set set;
		struct localize_report report;
		uint32_t count = 1 + (uint32_t)(uniform(&world) * CAUSES_MAX);
		draw_causes(&world, causes, count);
		fill_values(&world, 0.2 * uniform(&world), causes, count, 1);
		if (run(&world, &set, 1, &report) && exactly(&world, &set, causes, count))
			right++;
		else
			print_message("seed %u: not exact\n", (unsigned)seed);
		world_done(&world);
	}
	assert_true(right >= RUNS * 95 / 100);
}

/* Every leaf has a value of its own, half of them another besides. */
static void it_takes_as_many_leaves_values_and_attributes_as_it_says(void **state)
{
	uint32_t count = LOCALIZE_LEAVES_MAX;
	struct world world = {.count = count, .attributes = 2, .random = 3};
	struct localize_set set;
	struct localize_report report;
	(void)state;
	world.values = memory_zeroed((size_t)count * 2, sizeof(*world.values));
	world.actual = memory_zeroed(count, sizeof(double));
	world.expected = memory_zeroed(count, sizeof(double));
	for (uint32_t i = 0; i < count; i++) {
		world.values[(size_t)i * 2] = i;
		world.values[(size_t)i * 2 + 1] = i % 8;
		world.expected[i] = 100.5;
		world.actual[i] = i % 8 == 3 ? 10.5 : 90.5 + 20 * uniform(&world);
	}
	assert_int_equal(run(&world, &set, 1, &report), 1);
	assert_int_equal(set.count, 1);
	assert_int_equal(set.combinations[0].attributes, 2);
	assert_int_equal(set.combinations[0].leaf % 8, 3);
	/* The same leaves as 16 attributes of a million values each. */
	world.count = count / 8;
	world.attributes = LOCALIZE_ATTRIBUTES_MAX;
	for (uint32_t i = 0; i < world.count; i++)
		for (uint32_t a = 0; a < LOCALIZE_ATTRIBUTES_MAX; a++)
			world.values[(size_t)i * LOCALIZE_ATTRIBUTES_MAX + a] = (i >> a) % 8;
	assert_int_equal(run(&world, &set, 1, &report), 1);
	assert_int_equal(report.layers, 2);
	assert_int_equal(set.count, 1);
	assert_int_equal(set.combinations[0].attributes, 1);
	world_done(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_set_holds_all_causes_whatever_their_ratios),
		cmocka_unit_test(changes_that_cancel_out_are_both_named),
		cmocka_unit_test(survivors_that_take_over_the_load_are_not_blamed),
		cmocka_unit_test(a_change_of_all_leaves_is_everything),
		cmocka_unit_test(many_zeros_and_small_counts_tell_by_their_sums),
		cmocka_unit_test(nothing_is_named_where_all_is_chance),
		cmocka_unit_test(leaves_in_which_nothing_is_say_nothing),
		cmocka_unit_test(new_leaves_are_a_cause),
		cmocka_unit_test(of_combinations_with_the_same_leaves_the_simplest_stands_for_all),
		cmocka_unit_test(the_order_of_leaves_changes_nothing),
		cmocka_unit_test(random_causes_are_found_at_any_noise),
		cmocka_unit_test(it_takes_as_many_leaves_values_and_attributes_as_it_says),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
