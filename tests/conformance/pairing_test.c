/* Which halves meet when a tuple is used again and again, or when some never come. */
#include "tests/conformance/run.h"

static void expect_no_cross_join(uint32_t count, uint64_t every_ns, int64_t server_skew_ns)
{
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "web");
	uint32_t joined = 0, crossed = 0;

	log->nodes[b].skew_ns = server_skew_ns;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t at = SEC(2) + every_ns * i;
		uint32_t client = log_connect(log, at, a, "10.0.0.1:40000", "10.0.0.2:80");
		uint32_t server = log_accept(log, at, b, "10.0.0.2:80", "10.0.0.1:40000");

		log->sockets[client].definition.age_ns = 20 * NS_PER_US;
		log_send_untold(log, client, 1 + i, 0);
		log_send_untold(log, server, 0, 1 + i);
		log_close_both(log, at + every_ns / 2, client, server);
	}
	log_seal(log);
	struct run *run = run_with(log, &(struct run_options){.halves_max = 1 << 16});

	for (size_t i = 0; i < run->flows_count; i++) {
		const struct flow *flow = &run->flows[i].flow;

		joined += flow->joined;
		crossed +=
			flow->joined && flow->client.total.tx_bytes != flow->server.total.rx_bytes;
	}
	print_message("%u times every %llu us, clocks %lld us apart: %u joined, %u crossed\n",
		      count, (unsigned long long)(every_ns / NS_PER_US),
		      (long long)server_skew_ns / 1000, joined, crossed);
	assert_int_equal(crossed, 0);
	assert_int_equal(joined, count);
	assert_int_equal(run_count_flows(run, NULL, NULL), count);
	run_free(run);
	log_free(log);
}

static void a_tuple_used_again_each_millisecond_is_never_joined_across(void **state)
{
	(void)state;
	expect_no_cross_join(10000, NS_PER_MS, 0);
}

static void a_tuple_used_again_is_never_joined_across_clocks_that_differ(void **state)
{
	(void)state;
	expect_no_cross_join(200, 100 * NS_PER_MS, 20 * (int64_t)NS_PER_MS);
	expect_no_cross_join(200, 100 * NS_PER_MS, -20 * (int64_t)NS_PER_MS);
}

/* Some halves never come: what is left is one-sided, nothing is joined with another's half. */
static void missing_halves_leave_their_peers_alone(void **state)
{
	(void)state;
	for (uint64_t share = 0; share <= 100; share += 25) {
		struct log *log = log_new(2);
		uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "web");
		uint32_t both = 0, any = 0;

		log->random += share;
		for (uint32_t i = 0; i < 200; i++) {
			uint64_t at = SEC(2) + MS(50 * i);
			bool lost = log_random(log) % 100 < share;
			uint32_t client = log_connect(log, at, a, "10.0.0.1:40000", "10.0.0.2:80");

			log_send_untold(log, client, 1 + i, 0);
			log_close(log, at + MS(20), client, CLOSE_NORMAL);
			any++;
			both += !lost;
			if (lost)
				continue;
			uint32_t server = log_accept(log, at, b, "10.0.0.2:80", "10.0.0.1:40000");

			log_send_untold(log, server, 0, 1 + i);
			log_close(log, at + MS(20), server, CLOSE_NORMAL);
		}
		struct run *run = run_of(log);
		uint32_t joined = 0;

		assert_int_equal(run_count_flows(run, NULL, NULL), any);
		for (size_t i = 0; i < run->flows_count; i++) {
			const struct flow *flow = &run->flows[i].flow;

			if (run->flows[i].replaced)
				continue;
			joined += flow->joined;
			assert_true(!flow->joined ||
				    flow->client.total.tx_bytes == flow->server.total.rx_bytes);
		}
		assert_int_equal(joined, both);
		assert_int_equal(run_edge(run, NULL, NULL, COUNTER_TX_BYTES), 200 * 201 / 2);
		run_free(run);
		log_free(log);
	}
}

static void strangers_again(struct log *log, uint64_t at_ns, uint32_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		log_again(log, at_ns + MS(10 * i), first + i);
}

/* More ends stand alone than the join has room for: the oldest leave it, while their agents go on.
 * Their key frames bring them back. */
static void ends_that_left_a_full_join_come_back_as_who_they_are(void **state)
{
	enum { STRANGERS = 200 };
	struct log *log = log_new(1);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "web");
	uint32_t client = log_connect(log, SEC(2), a, "10.0.0.1:40000", "10.96.0.1:80");
	uint32_t first = client + 1, joined = 0;

	(void)state;
	log_nat(log, SEC(2), a, "10.0.0.1:40000", "10.96.0.1:80", "10.0.0.2:8080",
		"10.0.0.1:40000");
	for (uint32_t i = 0; i < STRANGERS; i++) {
		char far[32], near[32];

		snprintf(far, sizeof(far), "10.9.0.%u:%u", 1 + i, 30000 + i);
		snprintf(near, sizeof(near), "10.0.0.1:%u", 30000 + i);
		if (i % 2)
			log_connect(log, SEC(3) + MS(10 * i), a, near, far);
		else
			log_accept(log, SEC(3) + MS(10 * i), b, "10.0.0.2:80", far);
	}
	strangers_again(log, SEC(20), first, STRANGERS);
	log_again(log, SEC(30), client);
	uint32_t server =
		log_define(log, SEC(31), b,
			   &(struct batch_definition){.role = BATCH_ROLE_SERVER,
						      .local = place("10.0.0.2:8080").address,
						      .remote = place("10.0.0.1:40000").address,
						      .local_port = 8080,
						      .remote_port = 40000,
						      .flags = BATCH_AGAIN,
						      .age_ns = SEC(29)});

	log_exchange(log, SEC(40), client, server, 1000, 70);
	log_close_both(log, SEC(41), client, server);
	for (uint32_t i = 0; i < STRANGERS; i++)
		log_close(log, SEC(42), first + i, CLOSE_NORMAL);
	log_seal(log);
	struct run *run = run_with(log, &(struct run_options){.join_halves_max = 64});

	assert_true(run->stats[0].join.evicted_halves > STRANGERS);
	for (size_t i = 0; i < run->flows_count; i++) {
		const struct run_flow *seen = &run->flows[i];
		const struct flow *flow = &seen->flow;

		assert_int_not_equal(flow->canonical.client_port, 0);
		joined += flow->joined;
		if (!flow->joined)
			continue;
		assert_string_equal(seen->edge_client, "shop");
		assert_string_equal(seen->edge_server, "web");
		assert_string_equal(
			place_text(&flow->canonical.server, flow->canonical.server_port),
			"10.0.0.2:8080");
		assert_string_equal(place_text(&flow->dialled, flow->dialled_port), "10.96.0.1:80");
	}
	assert_int_equal(joined, 1);
	run_free(run);
	log_free(log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tuple_used_again_each_millisecond_is_never_joined_across),
		cmocka_unit_test(a_tuple_used_again_is_never_joined_across_clocks_that_differ),
		cmocka_unit_test(missing_halves_leave_their_peers_alone),
		cmocka_unit_test(ends_that_left_a_full_join_come_back_as_who_they_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
