#include "aggregate/partial.h"

#include "aggregate/bucket.h"
#include "aggregate/other.h"
#include "tests/aggregate/world.h"

static struct partial *partial_for(struct names *names, uint32_t owners, uint32_t rows_max)
{
	const struct partial_options options = {
		.owners = owners, .rows_max = rows_max, .names = names};
	return partial_new(&options);
}

static void push_one(struct partial *partial, const struct label *label)
{
	struct delta delta = {.label = label, .traffic = {.tx_bytes = 10}};
	partial_push(partial, &delta, 1);
}

static int64_t bucket_tx_bytes(const struct partial_bucket *bucket, enum scope scope)
{
	const int64_t *values = bucket->values;
	int64_t sum = 0;
	for (uint32_t i = 0; i < bucket->row_count; i++) {
		uint64_t columns = bucket->rows[i].columns;
		if (columns >> COUNTER_TX_BYTES & 1 && bucket->rows[i].scope == scope)
			sum += values[__builtin_popcountll(columns &
							   ((1ULL << COUNTER_TX_BYTES) - 1))];
		values += __builtin_popcountll(columns);
	}
	return sum;
}

static void rows_go_to_the_owner_of_the_server(void **state)
{
	(void)state;
	struct names *names = names_new(1000, 4);
	struct partial *partial = partial_for(names, 4, 1000);
	struct label labels[20];
	int64_t expected[4] = {0};
	for (uint32_t i = 0; i < 20; i++) {
		labels[i] = world_label(names, i, 0, 100 + i, 0, PANE_0);
		push_one(partial, &labels[i]);
		expected[hash_owner(labels[i].edge.server, 4)] += 10;
	}
	for (uint32_t owner = 0; owner < 4; owner++) {
		struct partial_bucket *bucket = partial_take(partial, owner, PANE_0);
		for (unsigned scope = SCOPE_LANE; scope < SCOPES; scope++)
			assert_int_equal(bucket_tx_bytes(bucket, scope), expected[owner]);
		assert_true(expected[owner] > 0);
		partial_bucket_free(bucket);
	}
	for (uint32_t owner = 0; owner < 4; owner++) {
		struct partial_bucket *bucket = partial_take(partial, owner, PANE_0 + 1);
		assert_int_equal(bucket->row_count, 0);
		partial_bucket_free(bucket);
	}
	partial_free(partial);
	names_free(names);
}

static void descriptors_and_names_travel_once_and_again_when_due(void **state)
{
	(void)state;
	struct names *names = names_new(1000, 1);
	struct partial *partial = partial_for(names, 1, 1000);
	struct label label = world_label(names, 1, 1, 2, 2, PANE_0);
	for (uint64_t pane = PANE_0; pane < PANE_0 + 500; pane++) {
		push_one(partial, &label);
		struct partial_bucket *bucket = partial_take(partial, 0, pane);
		bool due = (pane - PANE_0) % NAMES_REFRESH_PANES == 0;
		assert_int_equal(bucket->row_count, 3);
		assert_int_equal(bucket->edge_count, due);
		assert_int_equal(bucket->lane_count, due);
		assert_int_equal(bucket->instance_count, due ? 2 : 0);
		assert_true((bucket->name_count > 0) == due);
		if (due)
			assert_int_equal(bucket->edges[0].id, label.edge.id);
		partial_bucket_free(bucket);
		names_advance(names, pane);
	}
	partial_free(partial);
	names_free(names);
}

static void an_end_without_an_agent_is_named_by_its_address(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct instance server = world_instance(world.names[0], 1, 1, PANE_0);
	struct instance client = {.workload = name_id("192.0.2.7", 9),
				  .resolution = RESOLUTION_ADDRESS};
	client.id = instance_id(&client);
	struct label label = world_label_of(&client, &server);
	label.side = label.counts_from = SIDE_SERVER;
	label.client_address = address_v4(0xc0000207);
	push_one(world.partials[0], &label);
	world_close(&world);
	assert_string_equal(world.collection.name, "192.0.2.7");
	assert_int_equal(aggregate_stats(world.aggregate).unnamed, 0);
	world_done(&world);
}

/* Used on and off for ten minutes: known whenever a row comes out. Then left alone: forgotten. */
static void owners_know_what_is_used_and_forget_what_is_not(void **state)
{
	(void)state;
	static const uint64_t gaps[] = {1, 50, 239, 241, 700, 1000};
	for (size_t i = 0; i < sizeof(gaps) / sizeof(gaps[0]); i++) {
		struct world world;
		world_init(&world, 1, 1000, 1000);
		struct label label = {0};
		for (uint64_t pane = PANE_0; pane < PANE_0 + 2400; pane += gaps[i]) {
			/* As an agent does, with each use and at least every 45 s. */
			for (; world.pane < pane; world_close(&world))
				label = world_label(world.names[0], 1, 1, 2, 2, world.pane);
			label = world_label(world.names[0], 1, 1, 2, 2, pane);
			push_one(world.partials[0], &label);
			world_close(&world);
			assert_string_equal(world.collection.name, "service-1");
		}
		assert_int_equal(aggregate_stats(world.aggregate).undescribed, 0);
		assert_int_equal(aggregate_stats(world.aggregate).unnamed, 0);
		world_close_until(&world, world.pane + NAMES_KEEP_PANES + 80);
		assert_int_equal(aggregate_stats(world.aggregate).names, 1); /* `_other` */
		world_done(&world);
	}
}

static void past_its_rows_a_delta_folds_whole(void **state)
{
	(void)state;
	struct names *names = names_new(1000, 1);
	struct partial *partial = partial_for(names, 1, 7);
	struct label labels[4];
	for (uint32_t i = 0; i < 4; i++) {
		labels[i] = world_label(names, i, 0, 100, 0, PANE_0);
		push_one(partial, &labels[i]);
		push_one(partial, &labels[i]);
	}
	assert_int_equal(partial_stats(partial).folded, 4);
	struct partial_bucket *bucket = partial_take(partial, 0, PANE_0);
	assert_int_equal(bucket->row_count, 9);
	uint32_t others = 0;
	for (uint32_t i = 0; i < bucket->row_count; i++)
		others += bucket->rows[i].edge_id == other_edge().id;
	assert_int_equal(others, 3);
	for (unsigned scope = SCOPE_LANE; scope < SCOPES; scope++)
		assert_int_equal(bucket_tx_bytes(bucket, scope), 80);
	partial_bucket_free(bucket);

	push_one(partial, &labels[3]); /* a new pane has room again */
	assert_int_equal(partial_stats(partial).folded, 4);
	partial_free(partial);
	names_free(names);
}

static void samples_become_sorted_sketches(void **state)
{
	(void)state;
	struct names *names = names_new(1000, 1);
	struct partial *partial = partial_for(names, 1, 1000);
	struct label label = world_label(names, 1, 1, 2, 2, PANE_0);
	struct sketch expected = {0};
	for (uint32_t i = 0; i < 5000; i++) {
		struct delta delta = {.label = &label,
				      .srtt_us = 1 + (uint32_t)(hash_mix(i) % 100000)};
		if (i % 5 == 0) {
			delta.flags = DELTA_OPENED;
			delta.connect_us = 40;
		}
		partial_push(partial, &delta, 1);
		sketch_add(&expected, delta.srtt_us * 1000ULL, 1);
	}
	struct partial_bucket *bucket = partial_take(partial, 0, PANE_0);
	const struct sketch_cell *cells = bucket->cells;
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(bucket->rows[i].connect_cells, 1);
		assert_int_equal(cells[0].index, sketch_index(40000));
		assert_int_equal(cells[0].count, 1000);
		assert_int_equal(bucket->rows[i].srtt_cells, expected.count);
		for (uint32_t j = 0; j < expected.count; j++) {
			assert_int_equal(cells[1 + j].index, expected.cells[j].index);
			assert_int_equal(cells[1 + j].count, expected.cells[j].count);
		}
		cells += 1 + expected.count;
	}
	partial_bucket_free(bucket);
	sketch_done(&expected);
	partial_free(partial);
	names_free(names);
}

static void a_row_that_nobody_described_counts_in_other(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct label label = world_label(world.names[0], 1, 1, 2, 2, PANE_0);
	push_one(world.partials[0], &label);
	partial_bucket_free(partial_take(world.partials[0], 0, PANE_0)); /* lost on its way */
	push_one(world.partials[0], &label);
	world_close(&world);
	const struct rollup *row = collection_row(&world.collection, 250, SCOPE_EDGE, false, 0);
	assert_int_equal(row->edge.id, other_edge().id);
	assert_int_equal(row->counters[COUNTER_TX_BYTES], 10);
	assert_string_equal(world.collection.name, OTHER_NAME);
	assert_int_equal(aggregate_stats(world.aggregate).undescribed, 3);
	world_done(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_go_to_the_owner_of_the_server),
		cmocka_unit_test(descriptors_and_names_travel_once_and_again_when_due),
		cmocka_unit_test(an_end_without_an_agent_is_named_by_its_address),
		cmocka_unit_test(owners_know_what_is_used_and_forget_what_is_not),
		cmocka_unit_test(past_its_rows_a_delta_folds_whole),
		cmocka_unit_test(samples_become_sorted_sketches),
		cmocka_unit_test(a_row_that_nobody_described_counts_in_other),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
