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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tuple_used_again_each_millisecond_is_never_joined_across),
		cmocka_unit_test(a_tuple_used_again_is_never_joined_across_clocks_that_differ),
		cmocka_unit_test(missing_halves_leave_their_peers_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
