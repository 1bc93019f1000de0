#include "aggregate/descriptor.h"

#include "tests/aggregate/world.h"

static void kinds_do_not_mix_and_the_last_telling_holds(void **state)
{
	(void)state;
	struct descriptors *descriptors = descriptors_new(10);
	descriptors_put_edge(descriptors, &(struct edge){.id = 5, .port = 1}, 1);
	descriptors_put_edge(descriptors, &(struct edge){.id = 5, .port = 2}, 2);
	assert_int_equal(descriptors_edge(descriptors, 5)->port, 2);
	assert_null(descriptors_lane(descriptors, 5));
	assert_null(descriptors_instance(descriptors, 5));
	assert_int_equal(descriptors_count(descriptors), 1);
	descriptors_free(descriptors);
}

static void what_is_not_told_again_is_forgotten(void **state)
{
	(void)state;
	struct descriptors *descriptors = descriptors_new(10);
	descriptors_put_lane(descriptors, &(struct lane){.id = 1}, 100);
	descriptors_put_lane(descriptors, &(struct lane){.id = 2}, 100);
	descriptors_put_lane(descriptors, &(struct lane){.id = 1}, 101);
	descriptors_advance(descriptors, 100 + NAMES_KEEP_PANES - 1);
	assert_int_equal(descriptors_count(descriptors), 2);
	descriptors_advance(descriptors, 100 + NAMES_KEEP_PANES);
	assert_null(descriptors_lane(descriptors, 2));
	assert_non_null(descriptors_lane(descriptors, 1));
	descriptors_free(descriptors);
}

static void when_full_the_oldest_leaves(void **state)
{
	(void)state;
	struct descriptors *descriptors = descriptors_new(100);
	for (uint64_t i = 1; i <= 1000; i++)
		descriptors_put_instance(descriptors, &(struct instance){.id = hash_mix(i)}, i);
	assert_int_equal(descriptors_count(descriptors), 100);
	for (uint64_t i = 1; i <= 1000; i++)
		assert_true((descriptors_instance(descriptors, hash_mix(i)) != NULL) == (i > 900));
	descriptors_free(descriptors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kinds_do_not_mix_and_the_last_telling_holds),
		cmocka_unit_test(what_is_not_told_again_is_forgotten),
		cmocka_unit_test(when_full_the_oldest_leaves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
