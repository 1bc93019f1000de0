#include "aggregate/guard.h"

#include "aggregate/other.h"
#include "tests/aggregate/world.h"

enum { ROWS_MAX = 64 }; /* regular rows up to 64 - 4 - 8 = 52, folds up to 60 */

static struct row_identity identity_of(uint64_t client, uint64_t server, uint64_t part)
{
	struct row_identity identity = {.edge = {.client = client, .server = server, .port = 80}};
	identity.edge.id = edge_id(&identity.edge);
	identity.instance.workload = client;
	identity.instance.container = part;
	identity.instance.id = instance_id(&identity.instance);
	return identity;
}

static struct live *place(struct guard *guard, uint64_t client, uint64_t server, uint64_t part)
{
	struct row_identity identity = identity_of(client, server, part);
	struct live *live = guard_place(guard, SCOPE_CLIENT, &identity);
	live->kept = guard->rows[live->parent].kept = true;
	return live;
}

static void a_row_is_found_again(void **state)
{
	(void)state;
	struct guard guard;
	guard_init(&guard, ROWS_MAX);
	struct live *live = place(&guard, 1, 2, 3);
	assert_ptr_equal(place(&guard, 1, 2, 3), live);
	assert_int_equal(guard.count, 2);
	assert_int_equal(guard.rows[live->parent].scope, SCOPE_EDGE);
	assert_int_equal(guard.rows[live->parent].parts, 1);
	assert_false(live->folded);
	guard_done(&guard);
}

static void one_edge_cannot_take_more_than_its_share(void **state)
{
	(void)state;
	struct guard guard;
	guard_init(&guard, ROWS_MAX);
	for (uint64_t part = 1; part <= ROWS_MAX / 8; part++)
		assert_false(place(&guard, 1, 2, part)->folded);
	struct live *folded = place(&guard, 1, 2, 99);
	assert_true(folded->folded);
	assert_int_equal(folded->edge.client, 1);
	assert_int_equal(folded->instance.workload, 1);
	assert_int_equal(folded->instance.container, other_id());
	assert_ptr_equal(place(&guard, 1, 2, 100), folded);
	assert_false(place(&guard, 7, 2, 1)->folded); /* others have their room */
	guard_done(&guard);
}

static void past_the_bound_rows_fold_into_the_server_then_into_the_last_edge(void **state)
{
	(void)state;
	struct guard guard;
	guard_init(&guard, ROWS_MAX);
	for (uint64_t client = 1; client <= 26; client++)
		assert_false(place(&guard, client, 1000, 1)->folded);
	assert_int_equal(guard.count, 52);

	struct live *servers = place(&guard, 27, 1000, 1);
	assert_true(servers->folded);
	assert_int_equal(servers->edge.client, other_id());
	assert_int_equal(servers->edge.server, 1000);
	assert_int_equal(servers->edge.port, 0);
	assert_ptr_equal(place(&guard, 28, 1000, 5), servers);

	for (uint64_t server = 2001; server <= 2003; server++)
		assert_int_equal(place(&guard, 1, server, 1)->edge.server, server);
	assert_int_equal(guard.count, 60);
	struct live *all = place(&guard, 1, 2004, 1);
	assert_int_equal(all->edge.id, other_edge().id);
	assert_ptr_equal(place(&guard, 1, 2005, 1), all);

	/* Every scope has its last row, and a stranger who says he is `_other` takes no other. */
	for (unsigned scope = SCOPE_LANE; scope < SCOPES; scope++) {
		struct row_identity identity = identity_of(1, 3000 + scope, 1);
		guard_place(&guard, (uint8_t)scope, &identity);
		identity.edge = other_edge();
		guard_place(&guard, (uint8_t)scope, &identity);
	}
	assert_int_equal(guard.count, ROWS_MAX);
	guard_done(&guard);
}

static void the_smallest_edges_make_room(void **state)
{
	(void)state;
	struct guard guard;
	guard_init(&guard, ROWS_MAX);
	for (uint64_t client = 1; client <= 26; client++) {
		struct live *live = place(&guard, client, 1000, 1);
		guard.rows[live->parent].weight = 100 - client;
	}
	assert_int_equal(guard_demote(&guard), 0); /* nothing was folded: all stay */
	place(&guard, 27, 1000, 1);
	assert_int_equal(guard_demote(&guard), 10);
	for (uint64_t client = 1; client <= 26; client++) {
		struct row_identity identity = identity_of(client, 1000, 1);
		bool live = guard_find(&guard, SCOPE_EDGE, identity.edge.id, 0) != NULL;
		bool part = guard_find(&guard, SCOPE_CLIENT, identity.edge.id,
				       identity.instance.id) != NULL;
		assert_true(live == (client <= 21));
		assert_true(part == live);
	}
	assert_false(place(&guard, 50, 1000, 1)->folded);
	guard_done(&guard);
}

static void what_was_not_touched_leaves_and_its_edge_with_its_last_part(void **state)
{
	(void)state;
	struct guard guard;
	guard_init(&guard, ROWS_MAX);
	place(&guard, 1, 2, 1);
	place(&guard, 1, 2, 2);
	place(&guard, 3, 2, 1);
	assert_int_equal(guard_expire(&guard), 0);
	place(&guard, 1, 2, 2);
	assert_int_equal(guard_expire(&guard), 3); /* a part of 1 -> 2, and 3 -> 2 whole */
	assert_int_equal(guard.edges, 1);
	assert_int_equal(guard_expire(&guard), 2);
	assert_int_equal(guard.count, 0);
	assert_int_equal(guard.index.count, 0);
	guard_done(&guard);
}

static void order_stays_sorted_while_rows_come_and_go(void **state)
{
	(void)state;
	struct guard guard;
	guard_init(&guard, 1000);
	for (uint64_t round = 0; round < 200; round++) {
		for (uint64_t i = 0; i < 10; i++)
			place(&guard, hash_mix(round * 10 + i) % 40, 7, hash_mix(i + round) % 6);
		guard_sort(&guard);
		for (uint32_t i = 1; i < guard.count; i++) {
			const struct live *a = &guard.rows[guard.order[i - 1]];
			const struct live *b = &guard.rows[guard.order[i]];
			assert_true(a->edge.id < b->edge.id ||
				    (a->edge.id == b->edge.id &&
				     (a->scope < b->scope ||
				      (a->scope == b->scope && live_sub_id(a) < live_sub_id(b)))));
		}
		if (round % 3 == 0)
			guard_expire(&guard);
	}
	assert_true(guard.count > 0);
	guard_done(&guard);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_row_is_found_again),
		cmocka_unit_test(one_edge_cannot_take_more_than_its_share),
		cmocka_unit_test(past_the_bound_rows_fold_into_the_server_then_into_the_last_edge),
		cmocka_unit_test(the_smallest_edges_make_room),
		cmocka_unit_test(what_was_not_touched_leaves_and_its_edge_with_its_last_part),
		cmocka_unit_test(order_stays_sorted_while_rows_come_and_go),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
