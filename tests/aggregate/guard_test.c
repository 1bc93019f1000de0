#include "aggregate/aggregate.h"

#include <time.h>

#include "aggregate/other.h"
#include "tests/aggregate/world.h"

enum {
	ROWS_MAX = 64
}; /* rows of their own: 64 - 4 - 8 = 52; rows that stand for others: 8, and 4 */

/* One connection of a client service's replica to a server service. */
static void touch(struct world *world, uint32_t source, uint32_t client, uint32_t replica,
		  uint32_t server)
{
	struct link link =
		world_link(world->names[source], client, replica, server, 0, world->pane);
	/* Reset, so that panes tell of its lane and instances too. */
	struct delta delta = {.flags = DELTA_FIRST_IN_PANE | DELTA_FIRST_IN_10S | DELTA_OPENED |
				       DELTA_CLOSED,
			      .reason = CLOSE_RESET,
			      .traffic = {.tx_bytes = 1},
			      .connect_us = 3,
			      .srtt_us = 5};
	world_push_from(world, source, &link, delta);
}

static uint64_t edge_between(struct world *world, uint32_t client, uint32_t server)
{
	return world_link(world->names[0], client, 0, server, 0, world->pane).edge.id;
}

static bool shows(const struct world *world, uint32_t window_ms, enum scope scope, uint64_t edge_id)
{
	const struct collection *collection = &world->collection;
	for (size_t i = 0; i < collection->count; i++)
		if (collection->rollups[i].window_ms == window_ms &&
		    collection->rollups[i].scope == scope &&
		    collection->rollups[i].edge.id == edge_id)
			return true;
	return false;
}

static void assert_totals(struct world *world, int64_t connections)
{
	static const uint32_t windows[] = {250, 10000};
	for (unsigned w = 0; w < 2; w++)
		for (unsigned scope = 0; scope < SCOPES; scope++) {
			assert_int_equal(collection_sum(&world->collection, windows[w], scope,
							COUNTER_OPENED),
					 connections);
			uint64_t samples = 0;
			for (size_t i = 0; i < world->collection.count; i++) {
				const struct rollup *rollup = &world->collection.rollups[i];
				if (rollup->window_ms == windows[w] && rollup->scope == scope)
					samples += sketch_total(rollup->connect,
								rollup->connect_cells);
			}
			assert_int_equal(samples, connections);
		}
}

static void one_edge_cannot_take_more_than_its_share(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, WORLD_LANES_MAX, ROWS_MAX);
	for (uint32_t replica = 0; replica < 40; replica++)
		touch(&world, 0, 1, replica, 2);
	touch(&world, 0, 7, 0, 2); /* others have their room */
	world_close_until(&world, PANE_0 + 40);
	assert_totals(&world, 41);
	uint64_t edge = edge_between(&world, 1, 2);
	uint32_t rows = 0, others = 0;
	for (size_t i = 0; i < world.collection.count; i++) {
		const struct rollup *rollup = &world.collection.rollups[i];
		if (rollup->window_ms != 10000 || rollup->edge.id != edge ||
		    rollup->scope == SCOPE_EDGE)
			continue;
		bool other = rollup->scope == SCOPE_LANE ? rollup->lane.id == other_lane().id
							 : rollup->instance.container == other_id();
		others += other;
		rows += !other;
	}
	assert_int_equal(rows, ROWS_MAX / 8);
	assert_in_range(others, 1, 3);
	assert_true(shows(&world, 10000, SCOPE_CLIENT, edge_between(&world, 7, 2)));
	world_done(&world);
}

/* Processor time of a pane in which so many replicas of a client are new to one edge. */
static double crowd_s(uint32_t replicas)
{
	struct world world;
	struct timespec before, after;
	world_init(&world, 1, WORLD_LANES_MAX, 24576); /* an edge's share: 3,072 */
	for (uint32_t replica = 0; replica < replicas; replica++)
		touch(&world, 0, 1, replica, 2);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
	world_close(&world);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
	world_done(&world);
	return (double)(after.tv_sec - before.tv_sec) + (after.tv_nsec - before.tv_nsec) / 1e9;
}

static void who_leaves_an_edge_costs_the_same_in_whatever_crowd(void **state)
{
	(void)state;
	assert_true(crowd_s(32000) < 25 * crowd_s(4000));
}

static void past_the_bound_rows_fold_into_the_server_then_into_the_last_edge(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, WORLD_LANES_MAX, ROWS_MAX);
	for (uint32_t client = 1; client <= 26; client++)
		touch(&world, 0, client, 0, 1000);
	for (uint32_t server = 2000; server < 2040; server++)
		touch(&world, 0, 1, 0, server);
	world_close_until(&world, PANE_0 + 40);
	assert_totals(&world, 66);
	struct link any = world_link(world.names[0], 1, 0, 1000, 0, PANE_0);
	assert_true(shows(&world, 10000, SCOPE_EDGE, other_edge().id));
	assert_true(aggregate_stats(world.aggregate).rows <= ROWS_MAX);
	uint32_t servers = 0;
	for (size_t i = 0; i < world.collection.count; i++) {
		const struct rollup *rollup = &world.collection.rollups[i];
		servers += rollup->scope == SCOPE_EDGE && rollup->edge.client == other_id() &&
			   rollup->edge.server != other_id() && rollup->window_ms == 10000;
	}
	assert_true(servers > 0);
	assert_int_not_equal(other_edge_of(&any.edge).id, other_edge().id);
	world_done(&world);
}

/* At the bound's edge: 13 edges of four rows are 52, one more is not. */
static void rows_max_is_the_bound(void **state)
{
	(void)state;
	for (uint32_t edges = 12; edges <= 14; edges++) {
		struct world world;
		world_init(&world, 1, WORLD_LANES_MAX, ROWS_MAX);
		for (uint32_t client = 1; client <= edges; client++)
			touch(&world, 0, client, 0, 1000 + client);
		world_close(&world);
		struct aggregate_stats stats = aggregate_stats(world.aggregate);
		assert_true((stats.folded > 0) == (edges > 13));
		if (edges <= 13)
			assert_int_equal(stats.rows, 4 * edges);
		world_done(&world);
	}
}

static void rows_that_live_are_not_pushed_out_by_newcomers(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, WORLD_LANES_MAX, ROWS_MAX);
	for (uint32_t client = 1; client <= 13; client++)
		touch(&world, 0, client, 0, 1000);
	world_close(&world);
	for (uint32_t client = 1; client <= 300; client++)
		touch(&world, 0, client, 0, 1000);
	world_close_until(&world, PANE_0 + 40);
	assert_totals(&world, 313);
	for (uint32_t client = 1; client <= 13; client++)
		assert_true(shows(&world, 10000, SCOPE_SERVER, edge_between(&world, client, 1000)));
	world_done(&world);
}

/* Thirty times as many keys as rows, in one pane and twice over, by one source or by eight, in
 * another order: the same rows. */
static void who_is_folded_does_not_depend_on_order_or_sources(void **state)
{
	(void)state;
	struct world worlds[2];
	world_init(&worlds[0], 1, WORLD_LANES_MAX, ROWS_MAX);
	world_init(&worlds[1], 8, WORLD_LANES_MAX, ROWS_MAX);
	for (unsigned w = 0; w < 2; w++) {
		struct world *world = &worlds[w];
		for (unsigned pane = 0; pane < 2; pane++) {
			for (uint32_t i = 0; i < 1000; i++) {
				uint32_t key = w == 0 ? i : (i * 377 + 11) % 1000;
				touch(world, key * 7 % world->sources, key % 250, key / 250,
				      3000 + key % 3);
			}
			world_close(world);
		}
		world_close_until(world, PANE_0 + 80);
		assert_totals(world, 2000);
		assert_true(aggregate_stats(world->aggregate).folded > 0);
	}
	assert_int_equal(worlds[0].collection.count, worlds[1].collection.count);
	for (size_t i = 0; i < worlds[0].collection.count; i++) {
		struct rollup left = worlds[0].collection.rollups[i];
		struct rollup right = worlds[1].collection.rollups[i];
		left.connect = right.connect = left.srtt = right.srtt = NULL;
		assert_memory_equal(&left, &right, sizeof(left));
	}
	world_done(&worlds[0]);
	world_done(&worlds[1]);
}

static void the_smallest_edges_make_room_and_their_hour_stays_exact(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, WORLD_LANES_MAX, ROWS_MAX);
	int64_t connections = 0;
	for (uint32_t client = 1; client <= 13; client++)
		for (uint32_t i = 0; i < client; i++, connections++)
			touch(&world, 0, client, 0, 1000);
	world_close(&world);
	touch(&world, 0, 99, 0, 1000);
	connections++;
	world_close_until(&world, PANE_0 + 40);
	assert_true(aggregate_stats(world.aggregate).demoted >= 8);
	collection_clear(&world.collection);

	/* The largest of before are there at once; so is a newcomer. */
	touch(&world, 0, 13, 0, 1000);
	touch(&world, 0, 98, 0, 1000);
	connections += 2;
	world_close(&world);
	assert_true(shows(&world, 250, SCOPE_EDGE, edge_between(&world, 13, 1000)));
	assert_true(shows(&world, 250, SCOPE_EDGE, edge_between(&world, 98, 1000)));
	assert_int_equal(aggregate_stats(world.aggregate).unnamed, 0);
	aggregate_advance(world.aggregate, UINT64_MAX);
	assert_int_equal(collection_sum(&world.collection, 60000, SCOPE_EDGE, COUNTER_OPENED),
			 connections);
	assert_int_equal(collection_sum(&world.collection, 3600000, SCOPE_EDGE, COUNTER_OPENED),
			 connections);
	world_done(&world);
}

static void rows_left_alone_leave_and_their_places_are_used_again(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, WORLD_LANES_MAX, 4096);
	for (uint32_t round = 0; round < 12; round++) {
		for (uint32_t i = 0; i < 20; i++)
			touch(&world, 0, round * 20 + i, round, 5000 + i);
		world_close_until(&world, world.pane + 40);
		assert_true(aggregate_stats(world.aggregate).rows <= (round + 1) * 20 + 2 * 60);
	}
	assert_totals(&world, 240);
	assert_int_equal(aggregate_stats(world.aggregate).folded, 0);
	aggregate_advance(world.aggregate, UINT64_MAX);
	assert_int_equal(aggregate_stats(world.aggregate).rows, 0);
	world_done(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_edge_cannot_take_more_than_its_share),
		cmocka_unit_test(who_leaves_an_edge_costs_the_same_in_whatever_crowd),
		cmocka_unit_test(past_the_bound_rows_fold_into_the_server_then_into_the_last_edge),
		cmocka_unit_test(rows_max_is_the_bound),
		cmocka_unit_test(rows_that_live_are_not_pushed_out_by_newcomers),
		cmocka_unit_test(who_is_folded_does_not_depend_on_order_or_sources),
		cmocka_unit_test(the_smallest_edges_make_room_and_their_hour_stays_exact),
		cmocka_unit_test(rows_left_alone_leave_and_their_places_are_used_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
