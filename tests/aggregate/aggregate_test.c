#include "aggregate/aggregate.h"

#include "aggregate/other.h"
#include "tests/aggregate/world.h"

static struct delta bytes_delta(uint64_t tx_bytes, uint32_t flags)
{
	return (struct delta){.flags = (uint16_t)flags,
			      .traffic = {.tx_bytes = tx_bytes, .tx_segments = 1}};
}

static const uint32_t windows_ms[] = {250, 1000, 10000, 60000, 3600000};
enum {
	FIRSTS = DELTA_FIRST_IN_PANE | DELTA_FIRST_IN_1S | DELTA_FIRST_IN_10S | DELTA_FIRST_IN_60S |
		 DELTA_FIRST_IN_1H
};

static void one_delta_makes_an_edge_row_in_every_window(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct link link = world_link(world.names[0], 1, 1, 2, 2, PANE_0);
	struct delta delta = bytes_delta(100, FIRSTS);
	delta.time_ns = pane_start(PANE_0) + 7;
	delta.min_rtt_us = 55;
	delta.srtt_us = 90;
	world_push(&world, &link, delta);
	world_close(&world);
	aggregate_advance(world.aggregate, UINT64_MAX);
	for (unsigned w = 0; w < 5; w++) {
		const struct rollup *rollup =
			collection_row(&world.collection, windows_ms[w], SCOPE_EDGE, false, 0);
		assert_non_null(rollup);
		assert_int_equal(rollup->window_start_ns,
				 pane_start(PANE_0) -
					 pane_start(PANE_0) % (windows_ms[w] * NS_PER_MS));
		assert_int_equal(rollup->edge.id, link.edge.id);
		assert_int_equal(rollup->counters[COUNTER_TX_BYTES], 100);
		assert_int_equal(rollup->counters[COUNTER_CLIENT_TX_BYTES], 100);
		assert_int_equal(rollup->counters[COUNTER_ACTIVE], 1);
		assert_int_equal(rollup->counters[COUNTER_SRTT_US], 90);
		assert_int_equal(rollup->min_rtt_us, 55);
		assert_int_equal(rollup->last_event_ns, delta.time_ns);
		assert_int_equal(rollup->connect_cells, 0);
		assert_int_equal(rollup->srtt_cells, windows_ms[w] >= 10000);
		if (rollup->srtt_cells)
			assert_int_equal(rollup->srtt[0].index, sketch_index(90000));
	}
	assert_string_equal(world.collection.name, "service-1");
	assert_int_equal(aggregate_stats(world.aggregate).unnamed, 0);
	world_done(&world);
}

static void lanes_and_instances_have_ten_second_rows_and_panes_of_events(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct link link = world_link(world.names[0], 1, 1, 2, 2, PANE_0);
	const uint64_t ids[SCOPES] = {0, link.lane.id, link.client.id, link.server.id};
	struct delta delta = bytes_delta(100, FIRSTS);
	delta.srtt_us = 90;
	world_push(&world, &link, delta);
	world_close(&world);
	delta.flags = DELTA_OPENED | DELTA_CLOSED;
	delta.reason = CLOSE_RESET;
	delta.connect_us = 40;
	delta.node_received = 3;
	world_push(&world, &link, delta);
	world_close_until(&world, PANE_0 + 40);
	aggregate_advance(world.aggregate, UINT64_MAX);
	for (unsigned scope = SCOPE_LANE; scope < SCOPES; scope++) {
		const struct collection *collection = &world.collection;
		const struct rollup *pane = collection_row(collection, 250, scope, false, 0);
		const struct rollup *ten = collection_row(collection, 10000, scope, false, 0);
		assert_int_equal(pane->window_start_ns, pane_start(PANE_0 + 1));
		assert_int_equal(rollup_sub(pane), ids[scope]);
		assert_int_equal(rollup_sub(ten), ids[scope]);
		assert_int_equal(pane->counters[COUNTER_OPENED], 1);
		assert_int_equal(pane->counters[COUNTER_CLOSED], 1);
		assert_int_equal(pane->counters[COUNTER_RESETS], 1);
		assert_int_equal(pane->counters[COUNTER_JOINED], 1);
		assert_int_equal(pane->counters[COUNTER_CONNECT_US], 40);
		assert_int_equal(pane->counters[COUNTER_AGENT_RECEIVED], 3);
		assert_int_equal(pane->counters[COUNTER_TX_BYTES], 0);
		assert_int_equal(pane->connect_cells, 1);
		assert_int_equal(ten->counters[COUNTER_OPENED], 1);
		assert_int_equal(ten->counters[COUNTER_RESETS], 1);
		assert_int_equal(ten->counters[COUNTER_TX_BYTES], 200);
		assert_int_equal(ten->counters[COUNTER_SRTT_COUNT], 2);
		assert_int_equal(ten->connect_cells, 1);
		assert_int_equal(ten->srtt_cells, 0);
		assert_null(collection_row(collection, 250, scope, false, 1));
		assert_null(collection_row(collection, 1000, scope, false, 0));
		assert_null(collection_row(collection, 60000, scope, false, 0));
	}
	world_done(&world);
}

static void push_in(struct world *world, const struct link *link, uint64_t pane, uint16_t flags,
		    uint8_t reason)
{
	struct delta delta = bytes_delta(1, flags);
	delta.reason = reason;
	world_close_until(world, pane);
	world_push(world, link, delta);
}

static unsigned panes_of_parts(const struct world *world, uint64_t edge_id)
{
	const struct collection *collection = &world->collection;
	unsigned count = 0;
	for (size_t i = 0; i < collection->count; i++)
		count += collection->rollups[i].window_ms == 250 &&
			 collection->rollups[i].scope != SCOPE_EDGE &&
			 collection->rollups[i].edge.id == edge_id;
	return count;
}

static void panes_tell_of_parts_while_their_edge_is_under_suspicion(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct link sick = world_link(world.names[0], 1, 1, 2, 2, PANE_0);
	struct link twin = world_link(world.names[0], 1, 4, 2, 5, PANE_0);
	struct link well = world_link(world.names[0], 3, 1, 2, 2, PANE_0);
	assert_int_equal(sick.edge.id, twin.edge.id);
	push_in(&world, &sick, PANE_0, DELTA_OPENED, 0);
	push_in(&world, &well, PANE_0, DELTA_OPENED, 0);
	push_in(&world, &sick, PANE_0 + 5, DELTA_FAILED, CLOSE_REFUSED);
	push_in(&world, &twin, PANE_0 + 5, DELTA_OPENED, 0);
	push_in(&world, &well, PANE_0 + 5, DELTA_OPENED, 0);
	push_in(&world, &twin, PANE_0 + 45, DELTA_CLOSED, CLOSE_NORMAL);
	push_in(&world, &twin, PANE_0 + 46, DELTA_OPENED, 0);
	push_in(&world, &well, PANE_0 + 60, DELTA_CLOSED, CLOSE_TIMEOUT);
	world_close_until(&world, PANE_0 + 80);
	assert_int_equal(panes_of_parts(&world, sick.edge.id), 3 + 3 + 3);
	assert_int_equal(panes_of_parts(&world, well.edge.id), 3);
	const struct rollup *row = collection_row(&world.collection, 250, SCOPE_CLIENT, false, 0);
	assert_int_equal(row->window_start_ns, pane_start(PANE_0 + 5));
	world_done(&world);
}

static void a_failed_attempt_is_no_active_connection(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct link link = world_link(world.names[0], 1, 1, 2, 2, PANE_0);
	push_in(&world, &link, PANE_0, FIRSTS | DELTA_FAILED, CLOSE_REFUSED);
	world_close_until(&world, PANE_0 + 40);
	for (unsigned scope = 0; scope < SCOPES; scope++) {
		const struct rollup *row =
			collection_row(&world.collection, 10000, scope, false, 0);
		assert_int_equal(row->counters[COUNTER_FAILED], 1);
		assert_int_equal(row->counters[COUNTER_ACTIVE], 0);
	}
	assert_int_equal(collection_sum(&world.collection, 250, SCOPE_EDGE, COUNTER_ACTIVE), 0);
	world_done(&world);
}

static void sums_stop_at_the_end_of_their_range(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct link link = world_link(world.names[0], 1, 1, 2, 2, PANE_0);
	for (unsigned i = 0; i < 3; i++) {
		world_push(&world, &link, bytes_delta(UINT64_MAX - i, FIRSTS));
		world_push(&world, &link, bytes_delta(1ULL << 62, FIRSTS));
		world_close(&world);
	}
	aggregate_advance(world.aggregate, UINT64_MAX);
	const struct collection *collection = &world.collection;
	for (size_t i = 0; i < collection->count; i++)
		if (collection->rollups[i].counters[COUNTER_ACTIVE])
			assert_int_equal(collection->rollups[i].counters[COUNTER_TX_BYTES],
					 INT64_MAX);
	assert_true(aggregate_stats(world.aggregate).saturated > 0);
	world_done(&world);
}

/* A pane's samples of an edge are its own, however the lists go on. */
static void connect_times_are_in_the_window_that_brought_them(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct link link = world_link(world.names[0], 1, 1, 2, 2, PANE_0);
	for (unsigned pane = 0; pane < 8; pane++) {
		struct delta delta = bytes_delta(1, DELTA_OPENED | DELTA_CLOSED);
		delta.reason = CLOSE_RESET;
		delta.connect_us = 1ULL << (2 * pane);
		world_push(&world, &link, delta);
		delta.flags |= DELTA_LATE;
		delta.connect_us = 1000000;
		world_push(&world, &link, delta);
		world_close(&world);
	}
	world_close_until(&world, PANE_0 + 40);
	const struct collection *collection = &world.collection;
	for (unsigned pane = 0; pane < 8; pane++) {
		const struct rollup *row = collection_row(collection, 250, SCOPE_EDGE, false, pane);
		assert_int_equal(row->connect_cells, 1);
		assert_int_equal(row->connect[0].index, sketch_index(1000ULL << (2 * pane)));
		row = collection_row(collection, 250, SCOPE_SERVER, false, pane);
		assert_int_equal(row->connect[0].index, sketch_index(1000ULL << (2 * pane)));
	}
	assert_int_equal(collection_row(collection, 1000, SCOPE_EDGE, false, 0)->connect_cells, 4);
	assert_int_equal(collection_row(collection, 10000, SCOPE_EDGE, false, 0)->connect_cells, 9);
	assert_int_equal(collection_row(collection, 10000, SCOPE_LANE, false, 0)->connect_cells, 9);
	world_done(&world);
}

/* 32-bit columns of a row run over many times. */
static void what_is_wider_than_a_column_is_counted_in_full(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct link link = world_link(world.names[0], 1, 1, 2, 2, PANE_0);
	const uint64_t sizes[] = {0x7fffffff, 0x80000000, 0xffffffff, 1ULL << 40, 0x7fffffff};
	int64_t total = 0;
	for (unsigned i = 0; i < 40; i++) {
		struct delta delta = bytes_delta(sizes[i % 5], DELTA_OPENED | DELTA_FIRST_IN_10S);
		delta.traffic.retransmits = sizes[(i + 1) % 5];
		delta.traffic.tx_segments = sizes[(i + 2) % 5];
		delta.srtt_us = 0xfffffff0;
		delta.node_received = 0xffffffff;
		delta.node_lost = 0x7fffffff;
		delta.connect_us = 1ULL << 33;
		world_push(&world, &link, delta);
		total += (int64_t)sizes[i % 5];
		if (i % 3 == 0)
			world_close(&world);
	}
	world_close_until(&world, PANE_0 + 40);
	for (unsigned scope = 0; scope < SCOPES; scope++) {
		const struct rollup *row =
			collection_row(&world.collection, 10000, scope, false, 0);
		assert_int_equal(row->counters[COUNTER_TX_BYTES], total);
		assert_int_equal(row->counters[COUNTER_CLIENT_TX_BYTES], total);
		assert_int_equal(row->counters[COUNTER_RETRANSMITS], total);
		assert_int_equal(row->counters[COUNTER_TX_SEGMENTS], total);
		assert_int_equal(row->counters[COUNTER_SRTT_US], 40 * 0xfffffff0LL);
		assert_int_equal(row->counters[COUNTER_AGENT_RECEIVED], 40 * 0xffffffffLL);
		assert_int_equal(row->counters[COUNTER_AGENT_ISSUED], 40 * 0x17ffffffeLL);
		assert_int_equal(row->counters[COUNTER_CONNECT_US], 40 * (1LL << 33));
		assert_int_equal(row->counters[COUNTER_ACTIVE], 40);
		assert_int_equal(row->counters[COUNTER_OPENED], 40);
	}
	world_done(&world);
}

/* An edge that was active once is told of when its minute and hour end. */
static void minutes_and_hours_are_sums_of_what_they_hold(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct link link = world_link(world.names[0], 1, 1, 2, 2, PANE_0);
	uint64_t hour = (PANE_0 + 14399) / 14400 * 14400;
	aggregate_advance(world.aggregate, pane_start(hour));
	world.pane = hour;
	for (unsigned i = 0; i < 5; i++) {
		uint16_t flags = DELTA_FIRST_IN_PANE | DELTA_FIRST_IN_1S | DELTA_FIRST_IN_10S;
		flags |= i % 2 == 0 ? DELTA_FIRST_IN_60S : 0;
		flags |= i == 0 ? DELTA_FIRST_IN_1H : 0;
		struct delta delta = bytes_delta(1 << i, flags | DELTA_OPENED);
		delta.srtt_us = 100 + i;
		delta.connect_us = 7;
		world_push(&world, &link, delta);
		world_close_until(&world, world.pane + 120);
	}
	world_close_until(&world, hour + 14400);
	const struct collection *collection = &world.collection;
	static const int64_t minutes[] = {1 + 2, 4 + 8, 16};
	for (unsigned i = 0; i < 3; i++) {
		const struct rollup *row = collection_row(collection, 60000, SCOPE_EDGE, false, i);
		assert_int_equal(row->window_start_ns, pane_start(hour + 240 * i));
		assert_int_equal(row->counters[COUNTER_TX_BYTES], minutes[i]);
		assert_int_equal(row->counters[COUNTER_ACTIVE], 1);
		assert_int_equal(row->connect[0].count, i < 2 ? 2 : 1);
	}
	assert_null(collection_row(collection, 60000, SCOPE_EDGE, false, 3));
	const struct rollup *row = collection_row(collection, 3600000, SCOPE_EDGE, false, 0);
	assert_int_equal(row->window_start_ns, pane_start(hour));
	assert_int_equal(row->counters[COUNTER_TX_BYTES], 31);
	assert_int_equal(row->counters[COUNTER_ACTIVE], 1);
	assert_int_equal(sketch_total(row->srtt, row->srtt_cells), 5);
	assert_int_equal(row->connect[0].count, 5);
	assert_int_equal(aggregate_stats(world.aggregate).unnamed, 0);
	assert_int_equal(aggregate_stats(world.aggregate).rows, 0);
	world_done(&world);
}

static void distinct_connections_are_counted_once_a_window(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct link link = world_link(world.names[0], 1, 1, 2, 2, PANE_0);
	for (unsigned pane = 0; pane < 40; pane++) {
		uint32_t flags = DELTA_FIRST_IN_PANE;
		flags |= pane % 4 == 0 ? DELTA_FIRST_IN_1S : 0;
		flags |= pane == 0 ? DELTA_FIRST_IN_10S : 0;
		struct delta delta = bytes_delta(1, flags);
		world_push(&world, &link, delta);
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
	struct link link = world_link(world.names[0], 1, 1, 2, 2, PANE_0);
	struct delta now = bytes_delta(5, DELTA_FIRST_IN_PANE);
	struct delta late = bytes_delta(70, DELTA_LATE | DELTA_OPENED | DELTA_FIRST_IN_PANE |
						    DELTA_FIRST_IN_1S | DELTA_FIRST_IN_10S);
	struct delta healed = bytes_delta(900, DELTA_RECOVERED);
	late.srtt_us = 33;
	world_push(&world, &link, now);
	world_push(&world, &link, late);
	world_push(&world, &link, healed);
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
	assert_int_equal(row->counters[COUNTER_SRTT_COUNT], 1);
	world_done(&world);
}

static void an_edge_that_falls_silent_ends_with_one_zero_row_a_window(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct link link = world_link(world.names[0], 1, 1, 2, 2, PANE_0);
	struct delta delta = bytes_delta(9, 0);
	world_push(&world, &link, delta);
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
		assert_int_equal(last->edge.id, link.edge.id);
		for (unsigned counter = 0; counter < COUNTERS; counter++)
			assert_int_equal(last->counters[counter], 0);
		assert_null(collection_row(&world.collection, windows[w], SCOPE_EDGE, false, 2));
		assert_null(collection_row(&world.collection, windows[w], SCOPE_LANE, false, 1));
	}
	assert_int_equal(aggregate_stats(world.aggregate).rows, 1); /* its hour is not out */
	assert_int_equal(aggregate_stats(world.aggregate).expired, 3);
	aggregate_advance(world.aggregate, UINT64_MAX);
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
	struct link before = world_link(world.names[0], 1, 1, 2, 2, PANE_0);
	struct link after = world_link(world.names[0], 1, 1, 3, 2, PANE_0);
	before.joined = false;
	struct delta delta = bytes_delta(100, DELTA_OPENED | DELTA_FIRST_IN_10S);
	world_push(&world, &before, delta);
	world_close_until(&world, PANE_0 + 40);

	struct amendment amendment = {
		.window_start_ns = pane_start(PANE_0), .sum = delta, .opened = 1};
	size_t count = world.collection.count;
	world_amend(&world, 0, &before, &after, amendment);
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

/* Wherever in the hour it comes: counted once in every window length. */
static void an_amendment_reaches_every_longer_window_once(void **state)
{
	(void)state;
	static const uint64_t panes[] = {10, 60, 300, 14500};
	for (unsigned i = 0; i < 4; i++) {
		struct world world;
		world_init(&world, 1, 1000, 1000);
		struct link before = world_link(world.names[0], 1, 1, 2, 2, PANE_0);
		struct link after = world_link(world.names[0], 1, 1, 3, 2, PANE_0);
		uint64_t hour = (PANE_0 + 14399) / 14400 * 14400;
		aggregate_advance(world.aggregate, pane_start(hour));
		world.pane = hour;
		struct delta delta = bytes_delta(100, DELTA_OPENED | FIRSTS);
		world_push(&world, &before, delta);
		world_close_until(&world, hour + panes[i]);
		/* As an agent does at least every 45 s. */
		world_link(world.names[0], 1, 1, 2, 2, world.pane);
		world_link(world.names[0], 1, 1, 3, 2, world.pane);
		struct amendment amendment = {
			.window_start_ns = pane_start(hour), .sum = delta, .opened = 1};
		world_amend(&world, 0, &before, &after, amendment);
		world_close(&world);
		aggregate_advance(world.aggregate, UINT64_MAX);
		unsigned closed = 0;
		for (unsigned w = 2; w < 5; w++) {
			int64_t sums[2] = {0}, active[2] = {0};
			for (size_t n = 0; n < world.collection.count; n++) {
				const struct rollup *rollup = &world.collection.rollups[n];
				if (rollup->window_ms != windows_ms[w] ||
				    rollup->scope != SCOPE_EDGE)
					continue;
				bool moved = rollup->edge.id == after.edge.id;
				sums[moved] += rollup->counters[COUNTER_TX_BYTES];
				active[moved] += rollup->counters[COUNTER_ACTIVE];
				closed += rollup->amendment;
			}
			assert_int_equal(sums[0], 0);
			assert_int_equal(sums[1], 100);
			assert_int_equal(active[0], 0);
			assert_int_equal(active[1], 1);
		}
		assert_int_equal(closed, 2 * i);
		world_done(&world);
	}
}

static void an_amendment_of_the_open_window_goes_out_with_it(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct link before = world_link(world.names[0], 1, 1, 2, 2, PANE_0);
	struct link after = world_link(world.names[0], 1, 1, 3, 2, PANE_0);
	struct delta delta = bytes_delta(100, 0);
	world_push(&world, &before, delta);
	world_close(&world);
	struct amendment amendment = {.window_start_ns = pane_start(PANE_0), .sum = delta};
	world_amend(&world, 0, &before, &after, amendment);
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
	struct link link = world_link(world.names[0], 1, 1, 2, 2, PANE_0);
	struct delta delta = bytes_delta(100, 0);
	struct amendment amendment = {.window_start_ns = pane_start(PANE_0) - 10 * NS_PER_S,
				      .sum = delta};
	world_amend(&world, 0, &link, &link, amendment);
	world_close(&world);
	assert_int_equal(world.collection.count, 0);
	world_done(&world);
}

static void a_probe_shows_its_time_and_nothing_else(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct link link = world_link(world.names[0], 1, 1, 1, 1, PANE_0);
	struct delta delta = bytes_delta(100, DELTA_PROBE | DELTA_OPENED);
	delta.time_ns = 12345;
	delta.min_rtt_us = 3;
	world_push(&world, &link, delta);
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
		struct link link =
			world_link(world.names[0], i % 7, i % 5, 8 + i % 11, i % 3, world.pane);
		struct delta delta = bytes_delta(1, 0);
		world_push(&world, &link, delta);
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
	struct link link = world_link(world.names[0], 1, 1, 2, 2, PANE_0);
	struct delta delta = bytes_delta(100, 0);
	world_push(&world, &link, delta);
	world_close(&world);
	aggregate_advance(world.aggregate, UINT64_MAX);
	assert_int_equal(collection_sum(&world.collection, 10000, SCOPE_EDGE, COUNTER_TX_BYTES),
			 100);

	/* A year later: the old edge has ended, and nothing took a year's steps. */
	aggregate_advance(world.aggregate, pane_end(PANE_0 + 4 * 86400 * 365ULL));
	assert_int_equal(aggregate_stats(world.aggregate).rows, 0);
	assert_int_equal(aggregate_stats(world.aggregate).emitted, world.collection.count);
	/* A row and its end in a pane and a second, four and an end in 10 s, a minute, an hour. */
	assert_int_equal(world.collection.count, 2 + 2 + 5 + 1 + 1);
	world_done(&world);
}

static void completeness_is_received_over_issued(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1000, 1000);
	struct link link = world_link(world.names[0], 1, 1, 2, 2, PANE_0);
	struct delta delta = bytes_delta(1, 0);
	delta.node_received = 60;
	delta.node_lost = 20;
	world_push(&world, &link, delta);
	delta.node_received = 15;
	delta.node_lost = 5;
	world_push(&world, &link, delta);
	world_close(&world);
	const struct rollup *row = collection_row(&world.collection, 250, SCOPE_EDGE, false, 0);
	assert_true(rollup_completeness(row) == 0.75);
	world_done(&world);
}

static double edge_completeness(const struct world *world, uint32_t window_ms, uint64_t edge,
				uint64_t start_pane)
{
	for (size_t i = 0; i < world->collection.count; i++) {
		const struct rollup *row = &world->collection.rollups[i];
		if (row->scope == SCOPE_EDGE && row->window_ms == window_ms &&
		    row->edge.id == edge && row->window_start_ns == pane_start(start_pane))
			return rollup_completeness(row);
	}
	fail_msg("no row of %u ms", window_ms);
	return 0;
}

/* Both ends' agents tell of an edge, and of one a half is missing in one pane. What found no lane
 * says it in `_other`. */
static void each_window_is_as_complete_as_what_its_agents_told(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, 1, 1, 1000);
	uint64_t hour = (PANE_0 + 14399) / 14400 * 14400;
	aggregate_advance(world.aggregate, pane_start(hour));
	world.pane = hour;
	struct link client = world_link(world.names[0], 1, 1, 2, 2, hour), server = client;
	struct link folded = world_link(world.names[0], 3, 1, 4, 2, hour);
	server.side = SIDE_SERVER;
	for (int pane = 0; pane < 44; pane++) {
		struct delta delta = bytes_delta(1, FIRSTS);
		delta.node_received = 100;
		world_push(&world, &client, delta);
		delta.node_received = pane == 1 ? 50 : 100;
		delta.node_lost = pane == 1 ? 50 : 0;
		world_push(&world, &server, delta);
		world_push(&world, &folded, delta);
		world_close(&world);
	}
	world_close_until(&world, hour + 14400);
	const uint64_t edge = client.edge.id, other = other_edge().id;
	assert_true(edge_completeness(&world, 250, edge, hour) == 1);
	assert_true(edge_completeness(&world, 250, edge, hour + 1) == 150.0 / 200);
	assert_true(edge_completeness(&world, 250, edge, hour + 2) == 1);
	assert_true(edge_completeness(&world, 1000, edge, hour) == 750.0 / 800);
	assert_true(edge_completeness(&world, 1000, edge, hour + 4) == 1);
	assert_true(edge_completeness(&world, 10000, edge, hour) == 7950.0 / 8000);
	assert_true(edge_completeness(&world, 10000, edge, hour + 40) == 1);
	assert_true(edge_completeness(&world, 60000, edge, hour) == 8750.0 / 8800);
	assert_true(edge_completeness(&world, 3600000, edge, hour) == 8750.0 / 8800);
	assert_true(edge_completeness(&world, 1000, other, hour) == 350.0 / 400);
	assert_true(edge_completeness(&world, 3600000, other, hour) == 4350.0 / 4400);
	world_done(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_delta_makes_an_edge_row_in_every_window),
		cmocka_unit_test(lanes_and_instances_have_ten_second_rows_and_panes_of_events),
		cmocka_unit_test(panes_tell_of_parts_while_their_edge_is_under_suspicion),
		cmocka_unit_test(a_failed_attempt_is_no_active_connection),
		cmocka_unit_test(sums_stop_at_the_end_of_their_range),
		cmocka_unit_test(connect_times_are_in_the_window_that_brought_them),
		cmocka_unit_test(what_is_wider_than_a_column_is_counted_in_full),
		cmocka_unit_test(minutes_and_hours_are_sums_of_what_they_hold),
		cmocka_unit_test(distinct_connections_are_counted_once_a_window),
		cmocka_unit_test(late_and_recovered_bytes_are_in_ten_seconds_only),
		cmocka_unit_test(an_edge_that_falls_silent_ends_with_one_zero_row_a_window),
		cmocka_unit_test(an_amendment_moves_what_was_counted_from_edge_to_edge),
		cmocka_unit_test(an_amendment_reaches_every_longer_window_once),
		cmocka_unit_test(an_amendment_of_the_open_window_goes_out_with_it),
		cmocka_unit_test(an_amendment_that_changes_nothing_is_silent),
		cmocka_unit_test(a_probe_shows_its_time_and_nothing_else),
		cmocka_unit_test(rows_come_out_in_the_order_of_their_keys),
		cmocka_unit_test(panes_passed_over_close_one_by_one_and_a_drain_ends_the_window),
		cmocka_unit_test(completeness_is_received_over_issued),
		cmocka_unit_test(each_window_is_as_complete_as_what_its_agents_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
