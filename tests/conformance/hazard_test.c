/* Time, order, repetition and loss: what the world does to a log must not show in what comes out,
 * or must show as what it is. MILLRACE_SEEDS says how many disorders are tried (200). */
#include "tests/conformance/run.h"

enum { NODES = 4, CONNECTIONS = 40, SHIFT_MAX_MS = 390 };

static uint64_t environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

/* --- a small world --- */

struct world {
	struct log *log;
	uint32_t nodes[NODES];
	uint64_t tx_bytes;
};

static uint32_t world_address(char text[32], uint32_t node, uint32_t port)
{
	snprintf(text, 32, "10.0.0.%u:%u", node + 1, port);
	return port;
}

/* One connection between two nodes, every third through a service address that any node translates.
 * Times stay 30 ms away from the ends of panes. */
static void world_connection(struct world *world, uint32_t i, uint64_t seconds)
{
	struct log *log = world->log;
	uint32_t a = i % NODES, b = (i + 1 + i / NODES % (NODES - 1)) % NODES;
	uint64_t opened = SEC(1) + MS(250) * (log_random(log) % (4 * (seconds - 1))) + MS(30);
	uint64_t closed = opened + MS(250) * (1 + log_random(log) % (4 * seconds)) + MS(40);
	uint64_t tx = 1 + log_random(log) % 100000, rx = log_random(log) % 1000;
	char from[32], to[32], service[32];

	world_address(from, a, 40000 + i);
	world_address(to, b, 8080);
	snprintf(service, sizeof(service), "10.96.0.%u:80", b + 1);
	if (i % 3 == 0)
		log_nat(log, opened - MS(1), world->nodes[i % 2 ? a : (a + 2) % NODES], from,
			service, to, from);
	uint32_t client = log_connect(log, opened, world->nodes[a], from, i % 3 ? to : service);
	uint32_t server = log_accept(log, opened, world->nodes[b], to, from);

	log_exchange(log, opened + MS(100), client, server, tx, rx);
	log_exchange(log, closed - MS(20), client, server, 7, 7);
	log_close_both(log, closed, client, server);
	world->tx_bytes += tx + 7;
}

static struct world world_new(uint64_t seconds)
{
	static const char *const names[] = {"n0", "n1", "n2", "n3"};
	static const char *const comms[] = {"shop", "cart", "pay", "mail"};
	struct world world = {.log = log_new(2)};

	world.log->flush_ns = SEC(14);
	for (uint32_t i = 0; i < NODES; i++)
		world.nodes[i] = log_node(world.log, names[i], comms[i]);
	for (uint32_t i = 0; i < CONNECTIONS; i++)
		world_connection(&world, i, seconds);
	log_seal(world.log);
	return world;
}

/* So that there are alerts in what is compared. */
static const struct monitor busy = {.name = "busy",
				    .metric = METRIC_CONNECTIONS_OPENED,
				    .threshold = 2,
				    .clear = 2,
				    .window_ns = SEC(1),
				    .clear_ns = SEC(1),
				    .minimum = 1};

static struct run *run_watched(const struct log *log, uint64_t order)
{
	struct run *run = run_with(
		log, &(struct run_options){.order = order, .monitors = &busy, .monitors_count = 1});

	assert_true(run->alerts_count > 0);
	return run;
}

static void expect_whole_world(const struct world *world, const struct run *run)
{
	assert_int_equal(run_count_flows(run, NULL, NULL), CONNECTIONS);
	assert_int_equal(run_edge(run, NULL, NULL, COUNTER_OPENED), CONNECTIONS);
	assert_int_equal(run_edge(run, NULL, NULL, COUNTER_CLOSED), CONNECTIONS);
	assert_int_equal(run_edge(run, NULL, NULL, COUNTER_TX_BYTES), world->tx_bytes);
	for (size_t i = 0; i < run->flows_count; i++)
		assert_true(run->flows[i].replaced || run->flows[i].flow.joined);
}

/* Windows are told once; later changes are amendments. */
static void expect_each_row_once(const struct run *run)
{
	for (size_t i = 0; i < run->rows_count; i++) {
		const struct rollup *row = &run->rows[i].row;

		for (size_t n = i + 1; n < run->rows_count && !row->amendment; n++) {
			const struct rollup *other = &run->rows[n].row;

			assert_false(!other->amendment && row->scope == other->scope &&
				     row->window_ms == other->window_ms &&
				     row->window_start_ns == other->window_start_ns &&
				     row->edge.id == other->edge.id &&
				     row->lane.id == other->lane.id &&
				     row->instance.id == other->instance.id);
		}
	}
}

static bool may_shift(const struct log_record *record)
{
	return record->node != UINT32_MAX && record->append_ns > LOG_START_NS + SEC(1);
}

/* --- order and lateness --- */

/* Records come up to SHIFT_MAX_MS late; those of one node in their order unless `within`. */
static void disorder(struct log *log, bool within)
{
	uint64_t last_ns[LOG_NODES_MAX] = {0};

	for (size_t i = 0; i < log->records_count; i++) {
		struct log_record *record = &log->records[i];

		if (!may_shift(record))
			continue;
		record->append_ns += MS(log_random(log) % (SHIFT_MAX_MS + 1));
		if (!within && record->append_ns <= last_ns[record->node])
			record->append_ns = last_ns[record->node] + 1;
		last_ns[record->node] = record->append_ns;
	}
	log_sort(log);
}

static void expect_disorder_unseen(bool within)
{
	uint64_t seeds = environment("MILLRACE_SEEDS", 200);
	struct world world = world_new(5);
	struct run *straight = run_watched(world.log, 0);

	expect_whole_world(&world, straight);
	expect_each_row_once(straight);
	log_free(world.log);
	for (uint64_t seed = 1; seed <= seeds; seed++) {
		struct world other = world_new(5);

		other.log->random = seed * 0x9e3779b97f4a7c15ULL;
		disorder(other.log, within);
		struct run *run = run_watched(other.log, seed);

		if (run->ingest.late)
			print_error("seed %llu\n", (unsigned long long)seed);
		assert_int_equal(run->ingest.late, 0);
		run_expect_same(straight, run);
		run_free(run);
		log_free(other.log);
	}
	run_free(straight);
}

static void disorder_between_nodes_within_the_lateness_is_not_seen(void **state)
{
	(void)state;
	expect_disorder_unseen(false);
}

/* An agent's producer keeps the order of its batches; whoever breaks it loses what he told before
 * its beginning, counted, and nothing counts twice. */
static void disorder_of_one_nodes_batches_doubles_nothing_and_is_accounted_for(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= environment("MILLRACE_SEEDS", 200) / 4; seed++) {
		struct world world = world_new(5);

		world.log->random = seed * 0x9e3779b97f4a7c15ULL;
		disorder(world.log, true);
		struct run *run = run_with(world.log, NULL);

		assert_int_equal(run->ingest.lost, 0);
		assert_int_equal(run->ingest.duplicate, 0);
		expect_each_row_once(run);
		if (run->ingest.refused == 0)
			expect_whole_world(&world, run);
		assert_true(run_edge(run, NULL, NULL, COUNTER_TX_BYTES) <= (int64_t)world.tx_bytes);
		assert_true(run_edge(run, NULL, NULL, COUNTER_OPENED) <= CONNECTIONS);
		run_free(run);
		log_free(world.log);
	}
}

static void what_comes_later_than_the_lateness_reopens_no_window(void **state)
{
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "web");
	uint32_t client = log_connect(log, SEC(1), a, "10.0.0.1:40000", "10.0.0.2:80");
	uint32_t server = log_accept(log, SEC(1), b, "10.0.0.2:80", "10.0.0.1:40000");

	(void)state;
	log_exchange(log, SEC(4), client, server, 1000, 0);
	log_exchange(log, SEC(9), client, server, 100, 0);
	log_exchange(log, SEC(15), client, server, 10, 0);
	log_close_both(log, SEC(17), client, server);
	log_seal(log);
	for (size_t i = 0; i < log->records_count; i++) {
		struct log_record *record = &log->records[i];

		/* The client's batch of second 9 comes 3 s late: its windows are out. */
		if (record->node == a && record->append_ns > LOG_START_NS + SEC(9) &&
		    record->append_ns < LOG_START_NS + SEC(10))
			record->append_ns += SEC(3);
	}
	log_sort(log);
	struct run *run = run_with(log, NULL);

	assert_true(run->ingest.late > 0);
	expect_each_row_once(run);
	assert_int_equal(run_sum(run, SCOPE_EDGE, 1000, "shop", "web", COUNTER_TX_BYTES), 1010);
	assert_int_equal(run_sum(run, SCOPE_EDGE, 250, "shop", "web", COUNTER_TX_BYTES), 1010);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_TX_BYTES), 1110);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_LATE_BYTES), 100);
	assert_int_equal(run_only_flow(run)->flow.client.total.tx_bytes, 1110);
	run_free(run);
	log_free(log);
}

static void an_agent_far_behind_is_late_by_itself(void **state)
{
	struct log *log = log_new(1);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "web");
	uint32_t behind = log_node(log, "behind", "batch");
	uint32_t client = log_connect(log, SEC(1), a, "10.0.0.1:40000", "10.0.0.2:80");
	uint32_t server = log_accept(log, SEC(1), b, "10.0.0.2:80", "10.0.0.1:40000");
	uint32_t slow = log_connect(log, SEC(5), behind, "10.0.0.3:40000", "192.0.2.1:80");

	(void)state;
	log_exchange(log, SEC(22), client, server, 1000, 0);
	log_close_both(log, SEC(23), client, server);
	log_send(log, SEC(6), slow, 70, 0);
	log_close(log, SEC(7), slow, CLOSE_NORMAL);
	log_seal(log);
	for (size_t i = 0; i < log->records_count; i++)
		if (log->records[i].node == behind &&
		    log->records[i].append_ns > LOG_START_NS + SEC(2))
			log->records[i].append_ns += SEC(15);
	log_sort(log);
	struct run *run = run_with(log, NULL);

	assert_int_equal(run->ingest.late, 3);
	expect_each_row_once(run);
	assert_int_equal(run_edge_at(run, 20, "shop", "web", COUNTER_TX_BYTES), 1000);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_LATE_BYTES), 0);
	assert_int_equal(run_edge(run, "batch", NULL, COUNTER_TX_BYTES), 70);
	assert_int_equal(run_edge(run, "batch", NULL, COUNTER_LATE_BYTES), 70);
	assert_int_equal(run_edge(run, "batch", NULL, COUNTER_LATE_CONNECTIONS), 1);
	run_free(run);
	log_free(log);
}

/* --- repetition and loss --- */

static void repeated_records_are_not_seen(void **state)
{
	struct world world = world_new(5);
	struct run *straight = run_watched(world.log, 0);

	(void)state;
	log_free(world.log);
	for (uint64_t share = 10; share <= 50; share += 20) {
		struct world other = world_new(5);
		size_t count = other.log->records_count;

		other.log->random += share;
		for (size_t i = 0; i < count; i++)
			if (may_shift(&other.log->records[i]) &&
			    log_random(other.log) % 100 < share)
				log_repeat(other.log, i,
					   other.log->records[i].append_ns +
						   MS(log_random(other.log) % 4000));
		log_sort(other.log);
		struct run *run = run_watched(other.log, 0);

		assert_true(run->ingest.duplicate > 0);
		run_expect_same(straight, run);
		run_free(run);
		log_free(other.log);
	}
	run_free(straight);
}

/* Sockets that live for 25 s, told again at 16 s. */
static struct world lossy_world(void)
{
	struct world world = {.log = log_new(2)};
	struct log *log = world.log;
	char from[32], to[32];

	for (uint32_t i = 0; i < NODES; i++)
		world.nodes[i] = log_node(log, (const char *[]){"n0", "n1", "n2", "n3"}[i],
					  (const char *[]){"shop", "cart", "pay", "mail"}[i]);
	for (uint32_t i = 0; i < CONNECTIONS; i++) {
		uint32_t a = i % NODES, b = (a + 1) % NODES;

		world_address(from, a, 40000 + i);
		world_address(to, b, 8080);
		uint32_t client = log_connect(log, SEC(3) + MS(i), world.nodes[a], from, to);
		uint32_t server = log_accept(log, SEC(3) + MS(i), world.nodes[b], to, from);

		for (uint64_t s = 4; s < 24; s++) {
			log_exchange(log, SEC(s) + MS(10 * i), client, server, 1000, 10);
			world.tx_bytes += 1000;
			if (s != 16)
				continue;
			log_again(log, SEC(s) + MS(500 + i), client);
			log_again(log, SEC(s) + MS(500 + i), server);
		}
		log_close_both(log, SEC(25) + MS(i), client, server);
	}
	for (uint32_t i = 0; i < NODES; i++)
		log_process(log, SEC(16), world.nodes[i], LOG_PID, log->nodes[i].comm, 0);
	log_seal(log);
	return world;
}

static void lost_records_are_counted_and_healed_by_the_next_absolute(void **state)
{
	(void)state;
	for (uint64_t share = 5; share <= 30; share += 5) {
		struct world world = lossy_world();
		uint64_t lost = 0, incomplete = 0;

		world.log->random += share;
		for (size_t i = world.log->records_count; i-- > 0;) {
			const struct log_record *record = &world.log->records[i];

			if (record->node == UINT32_MAX ||
			    record->append_ns < LOG_START_NS + SEC(2) ||
			    record->append_ns > LOG_START_NS + SEC(14) ||
			    log_random(world.log) % 100 >= share)
				continue;
			lost += record->events;
			log_drop(world.log, i);
		}
		struct run *run = run_with(world.log, NULL);

		assert_true(lost > 0);
		assert_int_equal(run->ingest.lost, lost);
		assert_int_equal(run_edge(run, NULL, NULL, COUNTER_TX_BYTES), world.tx_bytes);
		assert_int_equal(run_edge(run, NULL, NULL, COUNTER_OPENED), CONNECTIONS);
		assert_true(run_edge(run, NULL, NULL, COUNTER_RECOVERED_BYTES) > 0);
		for (size_t i = 0; i < run->rows_count; i++) {
			const struct rollup *row = &run->rows[i].row;

			for (int n = 0; n < COUNTERS; n++)
				assert_true(row->amendment || row->counters[n] >= 0);
			incomplete += row->scope == SCOPE_EDGE && row->window_ms == 10000 &&
				      rollup_completeness(row) < 1;
		}
		assert_true(incomplete > 0);
		run_free(run);
		log_free(world.log);
	}
}

/* --- clocks --- */

static uint64_t window_ends(const struct rollup *row)
{
	return row->window_start_ns + MS(row->window_ms);
}

static void expect_same_seconds(const struct run *one, const struct run *other)
{
	for (uint64_t s = 0; s < 12; s++) {
		int64_t sums[2] = {0};

		for (int which = 0; which < 2; which++) {
			const struct run *run = which ? other : one;

			for (size_t i = 0; i < run->rows_count; i++)
				if (run->rows[i].row.scope == SCOPE_EDGE &&
				    run->rows[i].row.window_ms == 1000 &&
				    run->rows[i].row.window_start_ns == LOG_START_NS + SEC(s))
					sums[which] += run->rows[i].row.counters[COUNTER_TX_BYTES];
		}
		assert_int_equal(sums[0], sums[1]);
	}
}

static struct run *run_skewed(const int64_t skews_ms[NODES], uint64_t jitter_ms)
{
	struct world world = world_new(5);

	for (uint32_t i = 0; i < NODES; i++)
		world.log->nodes[i].skew_ns = skews_ms[i] * 1000000;
	log_seal(world.log);
	for (size_t i = 0; i < world.log->records_count; i++)
		if (jitter_ms && may_shift(&world.log->records[i]))
			world.log->records[i].append_ns += MS(log_random(world.log) % jitter_ms);
	log_sort(world.log);
	struct run *run = run_with(world.log, NULL);

	expect_whole_world(&world, run);
	log_free(world.log);
	return run;
}

static void wrong_clocks_are_corrected_to_the_right_windows(void **state)
{
	static const int64_t skews_ms[][NODES] = {{5000, 0, 0, 0},
						  {-5000, 0, 0, 0},
						  {5000, -5000, 300, -300},
						  {60, -60, 100, -100},
						  {3600000, -3600000, 86400000, -86400000}};
	struct run *right = run_skewed((int64_t[NODES]){0}, 0);

	(void)state;
	for (size_t i = 0; i < sizeof(skews_ms) / sizeof(skews_ms[0]); i++) {
		for (uint64_t jitter_ms = 0; jitter_ms <= 100; jitter_ms += 100) {
			struct run *run = run_skewed(skews_ms[i], jitter_ms);

			assert_int_equal(run->ingest.late, 0);
			expect_same_seconds(right, run);
			run_free(run);
		}
	}
	run_free(right);
}

/* A's clock jumps while a connection is open. */
static void expect_jump_harmless(int64_t jump_ns)
{
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "web");
	uint32_t client = log_connect(log, SEC(1), a, "10.0.0.1:40000", "10.0.0.2:80");
	uint32_t server = log_accept(log, SEC(1), b, "10.0.0.2:80", "10.0.0.1:40000");

	log_exchange(log, SEC(2), client, server, 1000, 0);
	log_step(log, SEC(5), a, jump_ns);
	log_exchange(log, SEC(12) + MS(130), client, server, 500, 0);
	log_close_both(log, SEC(15) + MS(130), client, server);
	log_seal(log);
	struct run *run = run_with(log, NULL);
	const struct flow *flow = &run_only_flow(run)->flow;
	int64_t wrong_ns = (int64_t)(flow->closed_ns - flow->opened_ns) -
			   (int64_t)(SEC(14) + MS(130) + 200 * NS_PER_US);

	assert_true(flow->joined);
	assert_int_equal(run_edge_at(run, 0, "shop", "web", COUNTER_TX_BYTES), 1000);
	assert_int_equal(run_edge_at(run, 10, "shop", "web", COUNTER_TX_BYTES), 500);
	assert_int_equal(run->ingest.late, 0);
	assert_true(wrong_ns < 20000000 && wrong_ns > -20000000);
	for (size_t i = 0; i < run->rows_count; i++) {
		assert_true(window_ends(&run->rows[i].row) >= LOG_START_NS);
		assert_true(run->rows[i].row.window_start_ns < LOG_START_NS + SEC(60));
	}
	run_free(run);
	log_free(log);
}

static void a_clock_that_jumps_ahead_moves_no_window(void **state)
{
	(void)state;
	expect_jump_harmless((int64_t)SEC(3600));
	expect_jump_harmless((int64_t)SEC(2));
}

static void a_clock_that_jumps_back_moves_no_window(void **state)
{
	(void)state;
	expect_jump_harmless(-(int64_t)SEC(2));
	expect_jump_harmless(-(int64_t)SEC(3600));
}

static void impossible_times_are_clamped_and_counted(void **state)
{
	static const int64_t offsets_s[] = {3600, 86400LL * 36500, -3600, -1700000000LL};

	(void)state;
	for (size_t i = 0; i < sizeof(offsets_s) / sizeof(offsets_s[0]); i++) {
		struct log *log = log_new(2);
		uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "web");
		uint32_t client = log_connect(log, SEC(2), a, "10.0.0.1:40000", "10.0.0.2:80");

		log->events[log->events_count - 1].at_ns += (uint64_t)offsets_s[i] * NS_PER_S;
		log_send(log, SEC(3), client, 1000, 0);
		log->events[log->events_count - 1].at_ns += (uint64_t)offsets_s[i] * NS_PER_S;
		/* The honest one's connection beside it. */
		uint32_t other = log_accept(log, SEC(2), b, "10.0.0.2:81", "10.0.0.9:40000");

		log_send(log, SEC(3), other, 0, 77);
		log_close(log, SEC(4), other, CLOSE_NORMAL);
		struct run *run = run_of(log);

		assert_int_equal(run->ingest.future > 0, offsets_s[i] > 0);
		assert_int_equal(run->ingest.late > 0, offsets_s[i] < 0);
		assert_int_equal(run_edge(run, NULL, NULL, COUNTER_TX_BYTES), 1077);
		assert_int_equal(run_edge(run, NULL, "web", COUNTER_TX_BYTES), 77);
		for (size_t n = 0; n < run->rows_count; n++) {
			assert_true(window_ends(&run->rows[n].row) >= LOG_START_NS);
			assert_true(run->rows[n].row.window_start_ns < LOG_START_NS + SEC(60));
		}
		run_free(run);
		log_free(log);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(disorder_between_nodes_within_the_lateness_is_not_seen),
		cmocka_unit_test(
			disorder_of_one_nodes_batches_doubles_nothing_and_is_accounted_for),
		cmocka_unit_test(what_comes_later_than_the_lateness_reopens_no_window),
		cmocka_unit_test(an_agent_far_behind_is_late_by_itself),
		cmocka_unit_test(repeated_records_are_not_seen),
		cmocka_unit_test(lost_records_are_counted_and_healed_by_the_next_absolute),
		cmocka_unit_test(wrong_clocks_are_corrected_to_the_right_windows),
		cmocka_unit_test(a_clock_that_jumps_ahead_moves_no_window),
		cmocka_unit_test(a_clock_that_jumps_back_moves_no_window),
		cmocka_unit_test(impossible_times_are_clamped_and_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
