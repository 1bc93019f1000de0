#include "anomaly/seen.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void what_left_is_known_with_its_first_time(void **state)
{
	(void)state;
	struct seen_edges *seen = seen_edges_new(4);
	uint64_t first_ns = 7;
	assert_false(seen_edges_first(seen, 1, &first_ns));
	assert_int_equal(first_ns, 7);
	seen_edges_put(seen, 1, 100, 200);
	seen_edges_put(seen, 2, 0, 300);
	assert_true(seen_edges_first(seen, 1, &first_ns));
	assert_int_equal(first_ns, 100);
	assert_true(seen_edges_first(seen, 2, &first_ns));
	assert_int_equal(first_ns, 0);
	seen_edges_free(seen);
}

static void of_more_than_have_room_the_first_that_left_goes(void **state)
{
	(void)state;
	struct seen_edges *seen = seen_edges_new(4);
	uint64_t first_ns;
	for (uint64_t id = 1; id <= 4; id++)
		seen_edges_put(seen, id, id, 100 + id);
	seen_edges_put(seen, 1, 1, 200); /* it was back, and left again */
	assert_int_equal(seen_edges_evicted(seen), 0);
	seen_edges_put(seen, 5, 5, 201);
	assert_int_equal(seen_edges_evicted(seen), 1);
	assert_false(seen_edges_first(seen, 2, &first_ns));
	for (uint64_t id = 1; id <= 5; id++)
		assert_true(seen_edges_first(seen, id, &first_ns) == (id != 2));
	seen_edges_free(seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_left_is_known_with_its_first_time),
		cmocka_unit_test(of_more_than_have_room_the_first_that_left_goes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
