#include "aggregate/aggregate.h"

#include "tests/aggregate/world.h"

static struct delta bytes_delta(const struct label *label, uint64_t tx_bytes, uint32_t flags)
{
	return (struct delta){.label = label,
			      .flags = flags,
			      .traffic = {.tx_bytes = tx_bytes, .tx_segments = 1}};
}

static void one_delta_makes_a_row_in_every_scope_and_window(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct label label = world_label(world.names[0], 1, 1, 2, 2, PANE_0);
	struct delta delta = bytes_delta(
		&label, 100, DELTA_FIRST_IN_PANE | DELTA_FIRST_IN_1S | DELTA_FIRST_IN_10S);
	delta.time_ns = pane_start(PANE_0) + 7;
	delta.min_rtt_us = 55;
	delta.srtt_us = 90;
	world_push(&world, &delta);
	world_close_until(&world, PANE_0 + 40);

	static const uint32_t windows[] = {250, 1000, 10000};
	for (unsigned w = 0; w < 3; w++) {
		for (unsigned scope = 0; scope < SCOPES; scope++) {
			const struct rollup *rollup =
				collection_row(&world.collection, windows[w], scope, false, 0);
			assert_non_null(rollup);
			assert_int_equal(rollup->window_start_ns, pane_start(PANE_0));
			assert_int_equal(rollup->edge.id, label.edge.id);
			assert_int_equal(rollup->counters[COUNTER_TX_BYTES], 100);
			assert_int_equal(rollup->counters[COUNTER_CLIENT_TX_BYTES], 100);
			assert_int_equal(rollup->counters[COUNTER_ACTIVE], 1);
			assert_int_equal(rollup->min_rtt_us, 55);
			assert_int_equal(rollup->last_event_ns, delta.time_ns);
			assert_int_equal(rollup->connect_cells, 0);
			assert_int_equal(rollup->srtt_cells, 1);
			assert_int_equal(rollup->srtt[0].count, 1);
			assert_int_equal(rollup->srtt[0].index, sketch_index(90000));
		}
		assert_int_equal(collection_row(&world.collection, windows[w], SCOPE_LANE, false, 0)
					 ->lane.id,
				 label.lane.id);
		assert_int_equal(
			collection_row(&world.collection, windows[w], SCOPE_CLIENT, false, 0)
				->instance.id,
			label.client.id);
		assert_int_equal(
			collection_row(&world.collection, windows[w], SCOPE_SERVER, false, 0)
				->instance.id,
			label.server.id);
	}
	assert_string_equal(world.collection.name, "service-1");
	assert_int_equal(aggregate_stats(world.aggregate).unnamed, 0);
	world_done(&world);
}

static void distinct_connections_are_counted_once_a_window(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct label label = world_label(world.names[0], 1, 1, 2, 2, PANE_0);
	for (unsigned pane = 0; pane < 40; pane++) {
		uint32_t flags = DELTA_FIRST_IN_PANE;
		flags |= pane % 4 == 0 ? DELTA_FIRST_IN_1S : 0;
		flags |= pane == 0 ? DELTA_FIRST_IN_10S : 0;
		struct delta delta = bytes_delta(&label, 1, flags);
		world_push(&world, &delta);
		world_close(&world);
	}
	const struct collection *collection = &world.collection;
	assert_int_equal(collection_sum(collection, 250, SCOPE_EDGE, COUNTER_ACTIVE), 40);
	assert_int_equal(collection_sum(collection, 1000, SCOPE_EDGE, COUNTER_ACTIVE), 10);
	assert_int_equal(collection_sum(collection, 10000, SCOPE_EDGE, COUNTER_ACTIVE), 1);
	assert_int_equal(collection_sum(collection, 10000, SCOPE_SERVER, COUNTER_ACTIVE), 1);
	world_done(&world);
}

static void late_and_recovered_bytes_are_in_ten_seconds_only(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct label label = world_label(world.names[0], 1, 1, 2, 2, PANE_0);
	struct delta now = bytes_delta(&label, 5, DELTA_FIRST_IN_PANE);
	struct delta late = bytes_delta(&label, 70,
					DELTA_LATE | DELTA_OPENED | DELTA_FIRST_IN_PANE |
						DELTA_FIRST_IN_1S | DELTA_FIRST_IN_10S);
	struct delta healed = bytes_delta(&label, 900, DELTA_RECOVERED);
	late.srtt_us = 33;
	world_push(&world, &now);
	world_push(&world, &late);
	world_push(&world, &healed);
	world_close_until(&world, PANE_0 + 40);
	const struct collection *collection = &world.collection;
	static const uint32_t shorter[] = {250, 1000};
	for (unsigned w = 0; w < 2; w++) {
		assert_int_equal(
			collection_sum(collection, shorter[w], SCOPE_EDGE, COUNTER_TX_BYTES), 5);
		assert_int_equal(collection_sum(collection, shorter[w], SCOPE_EDGE, COUNTER_OPENED),
				 0);
		assert_int_equal(
			collection_sum(collection, shorter[w], SCOPE_EDGE, COUNTER_LATE_BYTES), 0);
		assert_int_equal(collection_sum(collection, shorter[w], SCOPE_EDGE, COUNTER_ACTIVE),
				 w == 0);
	}
	const struct rollup *row = collection_row(collection, 10000, SCOPE_LANE, false, 0);
	assert_int_equal(row->counters[COUNTER_TX_BYTES], 975);
	assert_int_equal(row->counters[COUNTER_LATE_BYTES], 70);
	assert_int_equal(row->counters[COUNTER_LATE_CONNECTIONS], 1);
	assert_int_equal(row->counters[COUNTER_RECOVERED_BYTES], 900);
	assert_int_equal(row->counters[COUNTER_OPENED], 1);
	assert_int_equal(row->counters[COUNTER_ACTIVE], 1);
	assert_int_equal(row->srtt_cells, 1);
	world_done(&world);
}

static void an_edge_that_falls_silent_ends_with_one_zero_row_a_window(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct label label = world_label(world.names[0], 1, 1, 2, 2, PANE_0);
	struct delta delta = bytes_delta(&label, 9, 0);
	world_push(&world, &delta);
	world_close_until(&world, PANE_0 + 40);
	assert_int_equal(aggregate_stats(world.aggregate).rows, 4);
	world_close_until(&world, PANE_0 + 200);
	static const uint32_t windows[] = {250, 1000, 10000};
	for (unsigned w = 0; w < 3; w++) {
		const struct rollup *last =
			collection_row(&world.collection, windows[w], SCOPE_EDGE, false, 1);
		assert_non_null(last);
		assert_int_equal(last->window_start_ns,
				 pane_start(PANE_0) + windows[w] * NS_PER_MS);
		assert_int_equal(last->edge.id, label.edge.id);
		for (unsigned counter = 0; counter < COUNTERS; counter++)
			assert_int_equal(last->counters[counter], 0);
		assert_null(collection_row(&world.collection, windows[w], SCOPE_EDGE, false, 2));
		assert_null(collection_row(&world.collection, windows[w], SCOPE_LANE, false, 1));
	}
	assert_int_equal(aggregate_stats(world.aggregate).rows, 0);
	assert_int_equal(aggregate_stats(world.aggregate).edges, 0);
	assert_int_equal(aggregate_stats(world.aggregate).expired, 4);
	world_done(&world);
}

static void an_amendment_moves_what_was_counted_from_edge_to_edge(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct label before = world_label(world.names[0], 1, 1, 2, 2, PANE_0);
	struct label after = world_label(world.names[0], 1, 1, 3, 2, PANE_0);
	before.joined = false;
	struct delta delta = bytes_delta(&before, 100, DELTA_OPENED | DELTA_FIRST_IN_10S);
	world_push(&world, &delta);
	world_close_until(&world, PANE_0 + 40);

	struct amendment amendment = {.window_start_ns = pane_start(PANE_0),
				      .before = &before,
				      .after = &after,
				      .sum = delta,
				      .opened = 1};
	size_t count = world.collection.count;
	partial_amend(world.partials[0], &amendment, 1);
	world_close(&world);
	size_t amended = 0;
	for (size_t i = count; i < world.collection.count; i++) {
		const struct rollup *rollup = &world.collection.rollups[i];
		if (!rollup->amendment)
			continue;
		int64_t sign = rollup->edge.id == after.edge.id ? 1 : -1;
		assert_int_equal(rollup->window_start_ns, pane_start(PANE_0));
		assert_int_equal(rollup->window_ms, 10000);
		assert_int_equal(rollup->counters[COUNTER_TX_BYTES], sign * 100);
		assert_int_equal(rollup->counters[COUNTER_OPENED], sign);
		assert_int_equal(rollup->counters[COUNTER_ACTIVE], sign);
		assert_int_equal(rollup->counters[COUNTER_JOINED], sign == 1);
		amended++;
	}
	assert_int_equal(amended, 2 * SCOPES);
	assert_int_equal(aggregate_stats(world.aggregate).amended, amended);
	for (unsigned scope = 0; scope < SCOPES; scope++) {
		const struct collection *collection = &world.collection;
		assert_int_equal(collection_sum(collection, 10000, scope, COUNTER_TX_BYTES), 100);
		assert_int_equal(collection_sum(collection, 10000, scope, COUNTER_ACTIVE), 1);
		assert_int_equal(collection_sum(collection, 10000, scope, COUNTER_JOINED), 1);
	}
	world_done(&world);
}

static void an_amendment_of_the_open_window_goes_out_with_it(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct label before = world_label(world.names[0], 1, 1, 2, 2, PANE_0);
	struct label after = world_label(world.names[0], 1, 1, 3, 2, PANE_0);
	struct delta delta = bytes_delta(&before, 100, 0);
	world_push(&world, &delta);
	world_close(&world);
	struct amendment amendment = {.window_start_ns = pane_start(PANE_0),
				      .before = &before,
				      .after = &after,
				      .sum = delta};
	partial_amend(world.partials[0], &amendment, 1);
	world_close_until(&world, PANE_0 + 40);
	for (size_t i = 0; i < world.collection.count; i++) {
		const struct rollup *rollup = &world.collection.rollups[i];
		assert_false(rollup->amendment);
		if (rollup->window_ms == 10000)
			assert_int_equal(rollup->counters[COUNTER_TX_BYTES],
					 rollup->edge.id == after.edge.id ? 100 : 0);
		else
			assert_int_not_equal(rollup->edge.id, after.edge.id);
	}
	world_done(&world);
}

static void an_amendment_that_changes_nothing_is_silent(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct label label = world_label(world.names[0], 1, 1, 2, 2, PANE_0);
	struct delta delta = bytes_delta(&label, 100, 0);
	struct amendment amendment = {.window_start_ns = pane_start(PANE_0) - 10 * NS_PER_S,
				      .before = &label,
				      .after = &label,
				      .sum = delta};
	partial_amend(world.partials[0], &amendment, 1);
	world_close(&world);
	assert_int_equal(world.collection.count, 0);
	world_done(&world);
}

static void a_probe_shows_its_time_and_nothing_else(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct label label = world_label(world.names[0], 1, 1, 1, 1, PANE_0);
	struct delta delta = bytes_delta(&label, 100, DELTA_PROBE | DELTA_OPENED);
	delta.time_ns = 12345;
	delta.min_rtt_us = 3;
	world_push(&world, &delta);
	world_close_until(&world, PANE_0 + 4);
	const struct rollup *row = collection_row(&world.collection, 1000, SCOPE_EDGE, false, 0);
	assert_int_equal(row->last_event_ns, 12345);
	assert_int_equal(row->min_rtt_us, 0);
	for (unsigned counter = 0; counter < COUNTERS; counter++)
		assert_int_equal(row->counters[counter], 0);
	world_done(&world);
}

static void rows_come_out_in_the_order_of_their_keys(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 10000, 10000);
	for (uint32_t i = 0; i < 400; i++) {
		struct label label =
			world_label(world.names[0], i % 7, i % 5, 8 + i % 11, i % 3, world.pane);
		struct delta delta = bytes_delta(&label, 1, 0);
		world_push(&world, &delta);
		if (i % 10 == 0)
			world_close(&world);
	}
	world_close(&world);
	for (size_t i = 1; i < world.collection.count; i++) {
		const struct rollup *a = &world.collection.rollups[i - 1], *b = a + 1;
		if (a->window_ms != b->window_ms || a->window_start_ns != b->window_start_ns)
			continue;
		bool rising = a->edge.id < b->edge.id ||
			      (a->edge.id == b->edge.id &&
			       (a->scope < b->scope ||
				(a->scope == b->scope && rollup_sub(a) < rollup_sub(b))));
		assert_true(rising);
	}
	world_done(&world);
}

static void panes_passed_over_close_one_by_one_and_a_drain_ends_the_window(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct label label = world_label(world.names[0], 1, 1, 2, 2, PANE_0);
	struct delta delta = bytes_delta(&label, 100, 0);
	world_push(&world, &delta);
	world_close(&world);
	aggregate_advance(world.aggregate, UINT64_MAX);
	assert_int_equal(collection_sum(&world.collection, 10000, SCOPE_EDGE, COUNTER_TX_BYTES),
			 100);

	/* A year later: the old edge has ended, and nothing took a year's steps. */
	aggregate_advance(world.aggregate, pane_end(PANE_0 + 4 * 86400 * 365ULL));
	assert_int_equal(aggregate_stats(world.aggregate).rows, 0);
	assert_int_equal(aggregate_stats(world.aggregate).emitted, world.collection.count);
	assert_int_equal(world.collection.count, 3 * (SCOPES + 1));
	world_done(&world);
}

static void completeness_is_received_over_issued(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct label label = world_label(world.names[0], 1, 1, 2, 2, PANE_0);
	struct delta delta = bytes_delta(&label, 1, 0);
	delta.node_received = 60;
	delta.node_lost = 20;
	world_push(&world, &delta);
	delta.node_received = 15;
	delta.node_lost = 5;
	world_push(&world, &delta);
	world_close(&world);
	const struct rollup *row = collection_row(&world.collection, 250, SCOPE_EDGE, false, 0);
	assert_true(rollup_completeness(row) == 0.75);
	world_done(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_delta_makes_a_row_in_every_scope_and_window),
		cmocka_unit_test(distinct_connections_are_counted_once_a_window),
		cmocka_unit_test(late_and_recovered_bytes_are_in_ten_seconds_only),
		cmocka_unit_test(an_edge_that_falls_silent_ends_with_one_zero_row_a_window),
		cmocka_unit_test(an_amendment_moves_what_was_counted_from_edge_to_edge),
		cmocka_unit_test(an_amendment_of_the_open_window_goes_out_with_it),
		cmocka_unit_test(an_amendment_that_changes_nothing_is_silent),
		cmocka_unit_test(a_probe_shows_its_time_and_nothing_else),
		cmocka_unit_test(rows_come_out_in_the_order_of_their_keys),
		cmocka_unit_test(panes_passed_over_close_one_by_one_and_a_drain_ends_the_window),
		cmocka_unit_test(completeness_is_received_over_issued),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
