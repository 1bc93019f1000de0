#include "anomaly/lattice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/memory.h"

/* pod, node, zone: a pod is on one node, a node in one zone; and a path. */
static const uint32_t shop[][4] = {
	{0, 0, 0, 0}, {0, 0, 0, 1}, {1, 0, 0, 0}, {1, 0, 0, 1},
	{2, 1, 0, 0}, {2, 1, 0, 1}, {3, 2, 1, 0}, {3, 2, 1, 1},
};

enum { POD, NODE, ZONE, PATH, LEAVES = 8 };

/* The element of these attributes to which the leaf belongs. */
static uint32_t element_of(const struct lattice *lattice, uint32_t mask, uint32_t leaf)
{
	for (uint32_t i = 0; i < lattice->elements; i++) {
		uint32_t count;
		const uint32_t *leaves = lattice_leaves(lattice, i, &count);
		for (uint32_t k = 0; lattice_cuboid(lattice, i)->mask == mask && k < count; k++)
			if (leaves[k] == leaf)
				return i;
	}
	return UINT32_MAX;
}

static void what_another_attribute_decides_is_left_out(void **state)
{
	struct lattice *lattice = lattice_new(&shop[0][0], LEAVES, 4);
	uint32_t count;
	(void)state;
	assert_int_equal(lattice->layers, 4);
	/* The whole, 4 pods, 3 nodes, 2 zones, 2 paths, and each of those with the paths. */
	assert_int_equal(lattice->elements, 1 + 4 + 3 + 2 + 2 + 8 + 6 + 4);
	assert_int_equal(element_of(lattice, 1U << POD | 1U << NODE, 0), UINT32_MAX);
	lattice_leaves(lattice, 0, &count);
	assert_int_equal(count, LEAVES);
	lattice_free(lattice);
}

static void one_with_fewer_attributes_and_the_same_leaves_stands_for_both(void **state)
{
	uint32_t values[6][2] = {{0, 0}, {0, 1}, {1, 0}, {1, 1}, {1, 2}, {2, 3}};
	struct lattice *lattice = lattice_new(&values[0][0], 6, 2);
	(void)state;
	assert_true(lattice_redundant(lattice, element_of(lattice, 3, 5)));
	assert_true(lattice_redundant(lattice, element_of(lattice, 3, 4)));
	assert_false(lattice_redundant(lattice, element_of(lattice, 3, 0)));
	assert_false(lattice_redundant(lattice, element_of(lattice, 1, 5)));
	lattice_free(lattice);
}

static void elements_are_apart_within_or_cross(void **state)
{
	struct lattice *lattice = lattice_new(&shop[0][0], LEAVES, 4);
	uint32_t pod = element_of(lattice, 1U << POD, 0);
	uint32_t path = element_of(lattice, 1U << PATH, 0);
	uint32_t both = element_of(lattice, 1U << POD | 1U << PATH, 0);
	(void)state;
	assert_int_equal(lattice_relation(lattice, pod, element_of(lattice, 1U << POD, 2)),
			 RELATION_APART);
	assert_int_equal(lattice_relation(lattice, both, pod), RELATION_WITHIN);
	assert_int_equal(lattice_relation(lattice, pod, both), RELATION_CROSSING);
	assert_int_equal(lattice_relation(lattice, pod, path), RELATION_CROSSING);
	assert_int_equal(lattice_relation(lattice, pod, 0), RELATION_WITHIN);
	lattice_free(lattice);
}

static void every_leaf_is_once_in_each_cuboid(void **state)
{
	enum { MANY = 3000, ATTRIBUTES = 5 };
	uint32_t *values = memory_zeroed((size_t)MANY * ATTRIBUTES, sizeof(*values));
	(void)state;
	for (uint32_t i = 0; i < MANY * ATTRIBUTES; i++)
		values[i] = (uint32_t)hash_mix(i + 1) % (2U << 3 * (i % ATTRIBUTES));
	struct lattice *lattice = lattice_new(values, MANY, ATTRIBUTES);
	uint32_t *seen = memory_zeroed(lattice->cuboids_count, sizeof(*seen));
	for (uint32_t e = 0; e < lattice->elements; e++) {
		const struct cuboid *cuboid = lattice_cuboid(lattice, e);
		uint32_t count;
		const uint32_t *leaves = lattice_leaves(lattice, e, &count);
		seen[cuboid - lattice->cuboids] += count;
		for (uint32_t k = 1; k < count; k++)
			for (uint32_t a = 0; a < ATTRIBUTES; a++)
				if (cuboid->mask >> a & 1)
					assert_int_equal(values[leaves[k] * ATTRIBUTES + a],
							 values[leaves[0] * ATTRIBUTES + a]);
	}
	for (uint32_t c = 0; c < lattice->cuboids_count; c++)
		assert_int_equal(seen[c], lattice->cuboids[c].alias ? 0 : MANY);
	memory_free(seen);
	memory_free(values);
	lattice_free(lattice);
}

static uint32_t layers_of(uint32_t leaves, uint32_t attributes)
{
	uint32_t *values = memory_zeroed((size_t)leaves * attributes, sizeof(*values));
	struct lattice *lattice = lattice_new(values, leaves, attributes);
	uint32_t layers = lattice->layers;
	lattice_free(lattice);
	memory_free(values);
	return layers;
}

static void layers_are_as_many_as_the_bounds_allow(void **state)
{
	(void)state;
	assert_int_equal(layers_of(10, 6), 6); /* 63 cuboids */
	assert_int_equal(layers_of(10, 7), 3);
	assert_int_equal(layers_of(10, LATTICE_ATTRIBUTES_MAX), 3); /* 696 */
	assert_int_equal(layers_of(LATTICE_CELLS / 696, LATTICE_ATTRIBUTES_MAX), 3);
	assert_int_equal(layers_of(LATTICE_CELLS / 696 + 1, LATTICE_ATTRIBUTES_MAX), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_another_attribute_decides_is_left_out),
		cmocka_unit_test(one_with_fewer_attributes_and_the_same_leaves_stands_for_both),
		cmocka_unit_test(elements_are_apart_within_or_cross),
		cmocka_unit_test(every_leaf_is_once_in_each_cuboid),
		cmocka_unit_test(layers_are_as_many_as_the_bounds_allow),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
