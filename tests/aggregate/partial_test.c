#include "aggregate/partial.h"

#include "aggregate/bucket.h"
#include "aggregate/other.h"
#include "tests/aggregate/world.h"

struct sender {
	struct names *names;
	struct roster *roster;
	struct partial *partial;
};

static struct sender sender_new(uint32_t owners, uint32_t lanes_max)
{
	struct sender sender = {.names = names_new(10000, owners),
				.roster = roster_new(10000, owners)};
	sender.partial = partial_new(&(struct partial_options){.owners = owners,
							       .lanes_max = lanes_max,
							       .names = sender.names,
							       .roster = sender.roster});
	return sender;
}

static void sender_free(struct sender *sender)
{
	partial_free(sender->partial);
	roster_free(sender->roster);
	names_free(sender->names);
}

static uint32_t sender_push(struct sender *sender, const struct link *link, uint64_t pane)
{
	struct delta delta = {.place = link_place(link, sender->roster, sender->partial, pane),
			      .traffic = {.tx_bytes = 10},
			      .time_ns = pane_start(pane)};
	partial_push(sender->partial, &delta, 1);
	return delta.place.lane;
}

static int64_t bucket_bytes(const struct partial_bucket *bucket)
{
	int64_t sum = 0;
	assert_true(bucket_is_whole(bucket));
	for (uint32_t i = 0; i < bucket->record_count; i++)
		sum += bucket_records(bucket)[i].columns[0];
	return sum;
}

static void records_go_to_the_owner_of_the_server(void **state)
{
	(void)state;
	struct sender sender = sender_new(5, 1000);
	int64_t expected[5] = {0};
	for (uint32_t i = 0; i < 20; i++) {
		struct link link = world_link(sender.names, i, 0, 100 + i, 0, PANE_0);
		sender_push(&sender, &link, PANE_0);
		expected[hash_owner(link.edge.server, 5)] += 10;
	}
	for (uint32_t owner = 0; owner < 5; owner++) {
		struct partial_bucket *bucket = partial_take(sender.partial, owner, PANE_0);
		assert_int_equal(bucket_bytes(bucket), expected[owner]);
		assert_int_equal(bucket->lane_count, expected[owner] / 10);
		for (uint32_t i = 0; i < bucket->lane_count; i++)
			assert_int_equal(hash_owner(bucket_lanes(bucket)[i].edge.server, 5), owner);
		assert_true(expected[owner] > 0);
		partial_bucket_free(bucket);
	}
	for (uint32_t owner = 0; owner < 5; owner++) {
		struct partial_bucket *bucket = partial_take(sender.partial, owner, PANE_0 + 1);
		assert_int_equal(bucket->record_count, 0);
		partial_bucket_free(bucket);
	}
	sender_free(&sender);
}

static void a_lane_has_one_number_as_long_as_it_has_users(void **state)
{
	(void)state;
	struct sender sender = sender_new(1, 1000);
	struct link link = world_link(sender.names, 1, 1, 2, 2, PANE_0);
	struct link same_lane = world_link(sender.names, 1, 7, 2, 8, PANE_0);
	struct link other_lane = world_link(sender.names, 1, 2, 2, 2, PANE_0);
	uint32_t lane = sender_push(&sender, &link, PANE_0);
	assert_int_equal(link.lane.id, same_lane.lane.id);
	assert_int_equal(sender_push(&sender, &same_lane, PANE_0), lane);
	uint32_t other = sender_push(&sender, &other_lane, PANE_0);
	assert_int_not_equal(other, lane);
	assert_int_not_equal(other, 0);

	/* Dropped and held again within the pane, it stays. */
	partial_lane_drop(sender.partial, lane);
	partial_lane_drop(sender.partial, lane);
	assert_int_equal(sender_push(&sender, &link, PANE_0), lane);
	partial_bucket_free(partial_take(sender.partial, 0, PANE_0));
	assert_int_equal(sender_push(&sender, &link, PANE_0), lane);

	/* Left, its number goes to another, which is told before it is used. */
	partial_lane_drop(sender.partial, lane);
	partial_lane_drop(sender.partial, lane);
	partial_bucket_free(partial_take(sender.partial, 0, PANE_0 + 1));
	struct link newer = world_link(sender.names, 3, 1, 4, 1, PANE_0);
	assert_int_equal(sender_push(&sender, &newer, PANE_0), lane);
	struct partial_bucket *bucket = partial_take(sender.partial, 0, PANE_0 + 2);
	assert_int_equal(bucket->lane_count, 1);
	assert_int_equal(bucket_lanes(bucket)[0].edge.id, newer.edge.id);
	assert_int_equal(bucket_lanes(bucket)[0].number, bucket_records(bucket)[0].lane);
	partial_bucket_free(bucket);
	sender_free(&sender);
}

/* Each lane held keeps its number, whatever leaves around it; no two have the same. */
static void lanes_come_and_go_and_those_in_use_keep_their_numbers(void **state)
{
	enum { LANES = 300, PANES = 60 };
	(void)state;
	struct sender sender = sender_new(3, 1000);
	uint32_t held[LANES] = {0}, users[LANES] = {0};
	uint64_t random = 7;
	for (uint64_t pane = PANE_0; pane < PANE_0 + PANES; pane++) {
		for (uint32_t i = 0; i < LANES; i++) {
			struct link link = world_link(sender.names, i, 0, 1000 + i % 17, 0, pane);
			random = hash_mix(random + i);
			if (random % 3 == 0 && users[i]) {
				partial_lane_drop(sender.partial, held[i]);
				users[i]--;
			} else if (random % 3 == 1) {
				uint32_t lane = sender_push(&sender, &link, pane);
				assert_true(lane && (!users[i] || lane == held[i]));
				held[i] = lane;
				users[i]++;
			}
		}
		for (uint32_t i = 0; i < LANES; i++)
			for (uint32_t j = 0; j < i; j++)
				assert_true(!users[i] || !users[j] || held[i] != held[j]);
		for (uint32_t owner = 0; owner < 3; owner++)
			partial_bucket_free(partial_take(sender.partial, owner, pane));
	}
	sender_free(&sender);
}

static void a_bucket_that_was_read_is_written_again(void **state)
{
	(void)state;
	struct sender sender = sender_new(1, 1000);
	struct link link = world_link(sender.names, 1, 1, 2, 2, PANE_0);
	/* How large a bucket will be is guessed from the one before. */
	sender_push(&sender, &link, PANE_0 - 1);
	partial_bucket_free(partial_take(sender.partial, 0, PANE_0 - 1));
	sender_push(&sender, &link, PANE_0);
	struct partial_bucket *bucket = partial_take(sender.partial, 0, PANE_0);
	partial_reuse(sender.partial, bucket);
	for (uint32_t i = 0; i < 3; i++)
		sender_push(&sender, &link, PANE_0 + 1);
	assert_ptr_equal(partial_take(sender.partial, 0, PANE_0 + 1), bucket);
	assert_int_equal(bucket->pane, PANE_0 + 1);
	assert_int_equal(bucket_bytes(bucket), 30);

	/* One an owner is kept. */
	partial_reuse(sender.partial, bucket);
	bucket = partial_take(sender.partial, 0, PANE_0 + 2);
	struct partial_bucket *more = partial_take(sender.partial, 0, PANE_0 + 3);
	assert_int_equal(bucket_bytes(more), 0);
	partial_reuse(sender.partial, bucket);
	partial_reuse(sender.partial, more);
	sender_free(&sender);
}

static void descriptors_and_names_travel_first_and_again_when_due(void **state)
{
	(void)state;
	struct sender sender = sender_new(1, 1000);
	struct link link = world_link(sender.names, 1, 1, 2, 2, PANE_0);
	uint32_t lanes = 0, instances = 0, names = 0;
	uint64_t told_pane = PANE_0;
	for (uint64_t pane = PANE_0; pane < PANE_0 + 960; pane++) {
		world_link(sender.names, 1, 1, 2, 2, pane);
		sender_push(&sender, &link, pane);
		struct partial_bucket *bucket = partial_take(sender.partial, 0, pane);
		assert_true(bucket_is_whole(bucket));
		assert_int_equal(bucket->record_count, 1);
		if (pane == PANE_0) {
			assert_int_equal(bucket->lane_count, 1);
			assert_int_equal(bucket->instance_count, 2);
			assert_true(bucket->name_count > 0);
		}
		told_pane = bucket->instance_count ? pane : told_pane;
		assert_true(pane - told_pane < 2 * NAMES_REFRESH_PANES);
		lanes += bucket->lane_count;
		instances += bucket->instance_count;
		names += bucket->name_count;
		partial_bucket_free(bucket);
		names_advance(sender.names, pane);
		roster_advance(sender.roster, sender.names, pane);
	}
	assert_in_range(lanes, 4, 5);
	assert_in_range(instances, 8, 10);
	assert_in_range(names, 4 * 12, 5 * 12);
	sender_free(&sender);
}

/* The number of an instance that left is another's; its lane and name must not be the old ones. */
static void a_number_of_the_roster_that_comes_back_is_told_anew(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct link first = world_link(world.names[0], 1, 1, 2, 2, PANE_0);
	world_push(&world, &first, (struct delta){.traffic = {.tx_bytes = 10}});
	uint32_t number = roster_number(world.rosters[0], first.client.id);
	world_close_until(&world, PANE_0 + 2 * NAMES_KEEP_PANES);
	assert_int_equal(roster_number(world.rosters[0], first.client.id), 0);
	struct link second = world_link(world.names[0], 5, 4, 6, 5, world.pane);
	struct place place = world_place(&world, 0, &second);
	assert_true(place.client == number || place.server == number);
	world_push(&world, &second, (struct delta){.traffic = {.tx_bytes = 30}});
	size_t before = world.collection.count;
	world_close_until(&world, world.pane + 40);
	for (size_t i = before; i < world.collection.count; i++) {
		const struct rollup *rollup = &world.collection.rollups[i];
		if (rollup->edge.id == first.edge.id)
			continue;
		assert_int_equal(rollup->edge.id, second.edge.id);
		if (rollup->scope == SCOPE_CLIENT)
			assert_int_equal(rollup->instance.id, second.client.id);
		if (rollup->scope == SCOPE_SERVER)
			assert_int_equal(rollup->instance.id, second.server.id);
		if (rollup->scope == SCOPE_LANE)
			assert_int_equal(rollup->lane.id, second.lane.id);
	}
	assert_true(world.collection.count > before);
	assert_int_equal(aggregate_stats(world.aggregate).unnamed, 0);
	world_done(&world);
}

static void an_end_without_an_agent_is_named_by_its_address(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct instance server = world_instance(world.names[0], 1, 1, PANE_0);
	struct instance client = {.workload = name_id("192.0.2.7", 9),
				  .resolution = RESOLUTION_ADDRESS,
				  .address = address_v4(0xc0000207)};
	client.id = instance_id(&client);
	struct link link = world_link_of(&client, &server);
	link.side = link.counts_from = SIDE_SERVER;
	world_push(&world, &link, (struct delta){.traffic = {.tx_bytes = 10}});
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
		for (uint64_t pane = PANE_0; pane < PANE_0 + 2400; pane += gaps[i]) {
			/* As an agent does, with each use and at least every 45 s. */
			for (; world.pane < pane; world_close(&world))
				world_link(world.names[0], 1, 1, 2, 2, world.pane);
			struct link link = world_link(world.names[0], 1, 1, 2, 2, pane);
			world_push(&world, &link, (struct delta){.traffic = {.tx_bytes = 10}});
			world_close(&world);
			assert_string_equal(world.collection.name, "service-1");
		}
		assert_int_equal(aggregate_stats(world.aggregate).undescribed, 0);
		assert_int_equal(aggregate_stats(world.aggregate).unnamed, 0);
		world_close_until(&world, world.pane + 14400 + NAMES_KEEP_PANES + 80);
		assert_int_equal(aggregate_stats(world.aggregate).names, 1); /* `_other` */
		world_done(&world);
	}
}

static void past_its_lanes_a_delta_folds(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 2, 1000);
	for (uint32_t i = 0; i < 4; i++) {
		struct link link = world_link(world.names[0], i, 0, 100, 0, PANE_0);
		world_push(&world, &link, (struct delta){.traffic = {.tx_bytes = 1ULL << i}});
	}
	assert_int_equal(partial_stats(world.partials[0]).folded, 2);
	world_close_until(&world, PANE_0 + 40);
	for (unsigned scope = 0; scope < SCOPES; scope++)
		assert_int_equal(collection_sum(&world.collection, 10000, scope, COUNTER_TX_BYTES),
				 15);
	int64_t others = 0;
	for (size_t i = 0; i < world.collection.count; i++)
		if (world.collection.rollups[i].edge.id == other_edge().id &&
		    world.collection.rollups[i].window_ms == 250)
			others += world.collection.rollups[i].counters[COUNTER_TX_BYTES];
	assert_int_equal(others, 4 + 8);

	/* They have left: there is room again. */
	struct link link = world_link(world.names[0], 9, 0, 100, 0, world.pane);
	world_push(&world, &link, (struct delta){.traffic = {.tx_bytes = 1}});
	assert_int_equal(partial_stats(world.partials[0]).folded, 2);
	world_done(&world);
}

static void a_lane_that_nobody_described_counts_in_other(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct link link = world_link(world.names[0], 1, 1, 2, 2, PANE_0);
	struct delta delta = {.traffic = {.tx_bytes = 10}};
	world_push(&world, &link, delta);
	partial_bucket_free(partial_take(world.partials[0], 0, PANE_0)); /* lost on its way */
	world_push(&world, &link, delta);
	world_close(&world);
	const struct rollup *row = collection_row(&world.collection, 250, SCOPE_EDGE, false, 0);
	assert_int_equal(row->edge.id, other_edge().id);
	assert_int_equal(row->counters[COUNTER_TX_BYTES], 10);
	assert_string_equal(world.collection.name, OTHER_NAME);
	assert_int_equal(aggregate_stats(world.aggregate).undescribed, 1);
	world_done(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_go_to_the_owner_of_the_server),
		cmocka_unit_test(a_lane_has_one_number_as_long_as_it_has_users),
		cmocka_unit_test(lanes_come_and_go_and_those_in_use_keep_their_numbers),
		cmocka_unit_test(a_bucket_that_was_read_is_written_again),
		cmocka_unit_test(descriptors_and_names_travel_first_and_again_when_due),
		cmocka_unit_test(a_number_of_the_roster_that_comes_back_is_told_anew),
		cmocka_unit_test(an_end_without_an_agent_is_named_by_its_address),
		cmocka_unit_test(owners_know_what_is_used_and_forget_what_is_not),
		cmocka_unit_test(past_its_lanes_a_delta_folds),
		cmocka_unit_test(a_lane_that_nobody_described_counts_in_other),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
