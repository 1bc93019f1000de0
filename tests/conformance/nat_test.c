/* Translations: whichever comes first, whoever tells, both ends meet under their own names and each
 * byte counts once; a mapping belongs to the connections of its time. */
#include "tests/conformance/run.h"

struct ends {
	struct log *log;
	uint32_t a, b, third;
};

static struct ends ends_new(void)
{
	struct ends ends = {.log = log_new(4)};

	ends.a = log_node(ends.log, "a", "shop");
	ends.b = log_node(ends.log, "b", "web");
	ends.third = log_node(ends.log, "third", "-");
	return ends;
}

/* 1000 bytes at once and 500 later, then both close. */
static void converse(struct log *log, uint64_t at_ns, uint32_t client, uint32_t server)
{
	log_exchange(log, at_ns + MS(20), client, server, 1000, 70);
	log_exchange(log, at_ns + SEC(4), client, server, 500, 30);
	log_close_both(log, at_ns + SEC(5), client, server);
}

/* All that was sent lies on shop -> web, and nothing anywhere else. */
static struct run *run_one_edge(struct log *log)
{
	struct run *run = run_of(log);

	for (enum scope scope = SCOPE_EDGE; scope < SCOPES; scope++) {
		assert_int_equal(run_sum(run, scope, 10000, "shop", "web", COUNTER_TX_BYTES), 1500);
		assert_int_equal(run_sum(run, scope, 10000, "shop", "web", COUNTER_RX_BYTES), 100);
		assert_int_equal(run_sum(run, scope, 10000, "shop", "web", COUNTER_OPENED), 1);
		assert_int_equal(run_sum(run, scope, 10000, NULL, NULL, COUNTER_TX_BYTES), 1500);
		assert_int_equal(run_sum(run, scope, 10000, NULL, NULL, COUNTER_OPENED), 1);
	}
	assert_true(run_only_flow(run)->flow.joined);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_JOINED), 1);
	log_free(log);
	return run;
}

static void expect_place(const struct address *address, uint16_t port, const char *expected)
{
	assert_string_equal(place_text(address, port), expected);
}

static void a_service_address_is_translated_whether_told_before_the_socket_or_after(void **state)
{
	static const int delays_ms[] = {-50, 0, 60, 300, 1200};

	(void)state;
	for (size_t i = 0; i < sizeof(delays_ms) / sizeof(delays_ms[0]); i++) {
		struct ends ends = ends_new();
		uint32_t client =
			log_connect(ends.log, SEC(2), ends.a, "10.0.0.1:40000", "10.96.0.1:80");
		uint32_t server =
			log_accept(ends.log, SEC(2), ends.b, "10.0.0.2:8080", "10.0.0.1:40000");

		log_nat(ends.log, SEC(2) + (uint64_t)(delays_ms[i] * 1000000LL), ends.a,
			"10.0.0.1:40000", "10.96.0.1:80", "10.0.0.2:8080", "10.0.0.1:40000");
		converse(ends.log, SEC(2), client, server);
		struct run *run = run_one_edge(ends.log);
		const struct flow *flow = &run_only_flow(run)->flow;

		expect_place(&flow->canonical.server, flow->canonical.server_port, "10.0.0.2:8080");
		expect_place(&flow->dialled, flow->dialled_port, "10.96.0.1:80");
		run_free(run);
	}
}

static void a_masqueraded_client_is_known_by_its_own_address(void **state)
{
	struct ends ends = ends_new();

	(void)state;
	log_nat(ends.log, SEC(2) - MS(1), ends.a, "10.244.1.5:40000", "10.0.0.2:80", "10.0.0.2:80",
		"10.0.0.1:61000");
	uint32_t client = log_connect(ends.log, SEC(2), ends.a, "10.244.1.5:40000", "10.0.0.2:80");
	uint32_t server = log_accept(ends.log, SEC(2), ends.b, "10.0.0.2:80", "10.0.0.1:61000");

	converse(ends.log, SEC(2), client, server);
	struct run *run = run_one_edge(ends.log);
	const struct flow *flow = &run_only_flow(run)->flow;

	expect_place(&flow->canonical.client, flow->canonical.client_port, "10.244.1.5:40000");
	expect_place(&flow->wire.client, flow->wire.client_port, "10.0.0.1:61000");
	run_free(run);
}

static void a_host_port_reaches_its_container(void **state)
{
	struct ends ends = ends_new();
	uint32_t client = log_connect(ends.log, SEC(2), ends.a, "10.0.0.1:40000", "10.0.0.2:8080");
	uint32_t server = log_accept(ends.log, SEC(2), ends.b, "172.17.0.2:80", "10.0.0.1:40000");

	(void)state;
	log_nat(ends.log, SEC(2), ends.b, "10.0.0.1:40000", "10.0.0.2:8080", "172.17.0.2:80",
		"10.0.0.1:40000");
	converse(ends.log, SEC(2), client, server);
	struct run *run = run_one_edge(ends.log);
	const struct flow *flow = &run_only_flow(run)->flow;

	expect_place(&flow->canonical.server, flow->canonical.server_port, "172.17.0.2:80");
	expect_place(&flow->dialled, flow->dialled_port, "10.0.0.2:8080");
	run_free(run);
}

static void source_and_destination_translated_on_one_host_is_one_edge(void **state)
{
	struct ends ends = ends_new();

	(void)state;
	log_process(ends.log, 0, ends.a, 200, "web", 0);
	log_nat(ends.log, SEC(2) - MS(1), ends.a, "10.244.1.5:40000", "10.96.0.1:80",
		"10.244.1.6:8080", "10.244.1.1:61000");
	uint32_t client = log_connect(ends.log, SEC(2), ends.a, "10.244.1.5:40000", "10.96.0.1:80");
	uint32_t server = log_open_as(ends.log, SEC(2), ends.a, BATCH_ROLE_SERVER,
				      "10.244.1.6:8080", "10.244.1.1:61000", 200);

	converse(ends.log, SEC(2), client, server);
	run_free(run_one_edge(ends.log));
}

static void a_mapping_told_after_its_listener_knew_the_connection_still_joins(void **state)
{
	struct ends ends = ends_new();
	/* The server's half is two seconds older than anything else that is told. */
	uint32_t server = log_accept(ends.log, SEC(2), ends.b, "172.17.0.2:80", "10.0.0.1:40000");
	uint32_t client = log_connect(ends.log, SEC(2), ends.a, "10.0.0.1:40000", "10.0.0.2:8080");

	(void)state;
	log_tell_later(ends.log, SEC(1));
	log_nat(ends.log, SEC(2) - MS(1), ends.b, "10.0.0.1:40000", "10.0.0.2:8080",
		"172.17.0.2:80", "10.0.0.1:40000");
	log_tell_later(ends.log, SEC(1) + MS(500));
	log_exchange(ends.log, SEC(4), client, server, 1500, 100);
	log_close_both(ends.log, SEC(5), client, server);
	run_free(run_one_edge(ends.log));
}

static void an_ipv6_service_address_is_translated(void **state)
{
	struct ends ends = ends_new();
	uint32_t client =
		log_connect(ends.log, SEC(2), ends.a, "[fd00::1]:40000", "[fd00:96::1]:80");
	uint32_t server = log_accept(ends.log, SEC(2), ends.b, "[fd00::2]:8080", "[fd00::1]:40000");

	(void)state;
	log_nat(ends.log, SEC(2), ends.a, "[fd00::1]:40000", "[fd00:96::1]:80", "[fd00::2]:8080",
		"[fd00::1]:40000");
	converse(ends.log, SEC(2), client, server);
	struct run *run = run_one_edge(ends.log);
	const struct flow *flow = &run_only_flow(run)->flow;

	expect_place(&flow->dialled, flow->dialled_port, "[fd00:96::1]:80");
	expect_place(&flow->canonical.server, flow->canonical.server_port, "[fd00::2]:8080");
	run_free(run);
}

/* One connection through the service address to a backend, from open to the end of its mapping. */
static void visit(struct ends *ends, uint64_t at_ns, uint32_t node, const char *backend,
		  uint64_t bytes)
{
	log_nat(ends->log, at_ns, ends->a, "10.0.0.1:40000", "10.96.0.1:80", backend,
		"10.0.0.1:40000");
	uint32_t client =
		log_connect(ends->log, at_ns + MS(1), ends->a, "10.0.0.1:40000", "10.96.0.1:80");
	uint32_t server = log_accept(ends->log, at_ns + MS(1), node, backend, "10.0.0.1:40000");

	log_exchange(ends->log, at_ns + MS(500), client, server, bytes, 0);
	log_close_both(ends->log, at_ns + SEC(1), client, server);
	log_nat_event(ends->log, at_ns + SEC(1), ends->a, "10.0.0.1:40000", "10.96.0.1:80", backend,
		      "10.0.0.1:40000", true);
}

static void a_reused_tuple_goes_to_its_own_backend_each_time(void **state)
{
	struct ends ends = ends_new();
	uint32_t other = log_node(ends.log, "c", "api");

	(void)state;
	for (uint64_t i = 0; i < 6; i++)
		visit(&ends, SEC(2 + 2 * i), i & 1 ? other : ends.b,
		      i & 1 ? "10.0.0.3:8080" : "10.0.0.2:8080", 1000 + i);
	struct run *run = run_of(ends.log);

	assert_int_equal(run_count_flows(run, "shop", "web"), 3);
	assert_int_equal(run_count_flows(run, "shop", "api"), 3);
	assert_int_equal(run_count_flows(run, NULL, NULL), 6);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_TX_BYTES), 1000 + 1002 + 1004);
	assert_int_equal(run_edge(run, "shop", "api", COUNTER_TX_BYTES), 1001 + 1003 + 1005);
	assert_int_equal(run_edge(run, NULL, NULL, COUNTER_JOINED), 6);
	run_free(run);
	log_free(ends.log);
}

static void a_new_mapping_does_not_move_the_connection_that_has_the_old_one(void **state)
{
	struct ends ends = ends_new();

	(void)state;
	log_nat(ends.log, SEC(2), ends.a, "10.0.0.1:40000", "10.96.0.1:80", "10.0.0.2:8080",
		"10.0.0.1:40000");
	uint32_t client = log_connect(ends.log, SEC(2), ends.a, "10.0.0.1:40000", "10.96.0.1:80");
	uint32_t server = log_accept(ends.log, SEC(2), ends.b, "10.0.0.2:8080", "10.0.0.1:40000");

	log_exchange(ends.log, SEC(3), client, server, 1000, 70);
	/* The table was flushed; what comes next from these ports would go elsewhere. */
	log_nat_event(ends.log, SEC(6), ends.a, "10.0.0.1:40000", "10.96.0.1:80", "10.0.0.2:8080",
		      "10.0.0.1:40000", true);
	log_nat(ends.log, SEC(6), ends.a, "10.0.0.1:40000", "10.96.0.1:80", "10.0.0.3:8080",
		"10.0.0.1:40000");
	log_exchange(ends.log, SEC(12), client, server, 500, 30);
	log_again(ends.log, SEC(13), client);
	log_close_both(ends.log, SEC(14), client, server);
	run_free(run_one_edge(ends.log));
}

static void the_table_of_mappings_is_bounded_and_refusals_are_counted(void **state)
{
	struct ends ends = ends_new();
	char from[32];

	(void)state;
	for (int i = 0; i < 2000; i++) {
		snprintf(from, sizeof(from), "10.0.0.1:%d", 30000 + i);
		log_nat(ends.log, SEC(2) + MS(i), ends.a, from, "10.96.0.1:80", "10.0.0.2:8080",
			from);
	}
	log_seal(ends.log);
	struct run *run = run_with(ends.log, &(struct run_options){.nats_max = 256});
	uint64_t aliases = 0, evicted = 0;

	for (uint32_t i = 0; i < run->tasks_count; i++) {
		assert_true(run->stats[i].mirror.nats <= 256);
		assert_true(run->stats[i].join.aliases <= 256);
		aliases += run->stats[i].join.aliases;
		evicted += run->stats[i].join.evicted_aliases;
	}
	assert_true(run->ingest.refused >= 2000 - 256);
	assert_true(aliases + evicted > 0);
	run_free(run);
	log_free(ends.log);
}

static void a_gateways_port_reused_by_another_client_joins_each_with_its_own(void **state)
{
	struct ends ends = ends_new();
	uint32_t other = log_node(ends.log, "c", "batch");

	(void)state;
	for (uint64_t i = 0; i < 20; i++) {
		uint64_t at = SEC(2) + MS(500 * i);
		const char *from = i & 1 ? "10.244.9.9:45000" : "10.244.1.5:40000";

		log_nat(ends.log, at, ends.third, from, "10.0.0.2:80", "10.0.0.2:80",
			"10.0.0.3:61000");
		uint32_t client = log_connect(ends.log, at + MS(1), i & 1 ? other : ends.a, from,
					      "10.0.0.2:80");
		uint32_t server =
			log_accept(ends.log, at + MS(1), ends.b, "10.0.0.2:80", "10.0.0.3:61000");

		log_exchange(ends.log, at + MS(100), client, server, 1000 + i, 0);
		log_close_both(ends.log, at + MS(200), client, server);
		log_nat_event(ends.log, at + MS(200), ends.third, from, "10.0.0.2:80",
			      "10.0.0.2:80", "10.0.0.3:61000", true);
	}
	struct run *run = run_of(ends.log);

	assert_int_equal(run_count_flows(run, "shop", "web"), 10);
	assert_int_equal(run_count_flows(run, "batch", "web"), 10);
	for (size_t i = 0; i < run->flows_count; i++) {
		const struct flow *flow = &run->flows[i].flow;

		if (run->flows[i].replaced)
			continue;
		assert_true(flow->joined);
		assert_int_equal(flow->client.total.tx_bytes, flow->server.total.rx_bytes);
	}
	run_free(run);
	log_free(ends.log);
}

static void an_expired_mapping_serves_no_later_connection(void **state)
{
	struct ends ends = ends_new();

	(void)state;
	visit(&ends, SEC(2), ends.b, "10.0.0.2:8080", 1000);
	/* Much later from the same ports, and this time conntrack's message was lost. */
	uint32_t client = log_connect(ends.log, SEC(20), ends.a, "10.0.0.1:40000", "10.96.0.1:80");

	log_send(ends.log, SEC(21), client, 7, 0);
	log_close(ends.log, SEC(22), client, CLOSE_NORMAL);
	struct run *run = run_of(ends.log);

	assert_int_equal(run_count_flows(run, "shop", "web"), 1);
	assert_int_equal(run_count_flows(run, "shop", "10.96.0.1"), 1);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_TX_BYTES), 1000);
	run_free(run);
	log_free(ends.log);
}

static void a_mapping_that_ended_before_its_socket_was_told_still_joins(void **state)
{
	(void)state;
	for (uint64_t delay_ms = 0; delay_ms <= 1200; delay_ms += 400) {
		struct ends ends = ends_new();

		log_nat(ends.log, SEC(2) - MS(1), ends.third, "10.0.0.1:40000", "10.96.0.1:80",
			"10.0.0.2:8080", "10.0.0.1:40000");
		log_nat_event(ends.log, SEC(2) + MS(3), ends.third, "10.0.0.1:40000",
			      "10.96.0.1:80", "10.0.0.2:8080", "10.0.0.1:40000", true);
		uint32_t server =
			log_accept(ends.log, SEC(2), ends.b, "10.0.0.2:8080", "10.0.0.1:40000");

		log_send_untold(ends.log, server, 100, 1500);
		log_close(ends.log, SEC(2) + MS(2), server, CLOSE_NORMAL);
		uint32_t client =
			log_connect(ends.log, SEC(2), ends.a, "10.0.0.1:40000", "10.96.0.1:80");

		log_tell_later(ends.log, MS(delay_ms));
		log_send_untold(ends.log, client, 1500, 100);
		log_close(ends.log, SEC(2) + MS(2), client, CLOSE_NORMAL);
		log_tell_later(ends.log, MS(delay_ms));
		run_free(run_one_edge(ends.log));
	}
}

/* Nodes 0 .. hops - 1 each translate 10.96.0.i:80 to 10.96.0.(i + 1):80; the last one leads to the
 * server, or back to the first. */
static struct run *run_chain(uint32_t hops, bool cycle)
{
	struct ends ends = ends_new();
	char from[32], to[32];

	for (uint32_t i = 0; i < hops; i++) {
		bool last = i == hops - 1;

		snprintf(from, sizeof(from), "10.96.0.%u:80", i);
		snprintf(to, sizeof(to), last && !cycle ? "10.0.0.2:80" : "10.96.0.%u:80",
			 last ? 0 : i + 1);
		log_nat(ends.log, SEC(2) - MS(1), ends.third, "10.0.0.1:40000", from, to,
			"10.0.0.1:40000");
	}
	uint32_t client = log_connect(ends.log, SEC(2), ends.a, "10.0.0.1:40000", "10.96.0.0:80");
	uint32_t server = log_accept(ends.log, SEC(2), ends.b, "10.0.0.2:80", "10.0.0.1:40000");

	converse(ends.log, SEC(2), client, server);
	struct run *run = run_of(ends.log);

	log_free(ends.log);
	return run;
}

static uint64_t hops_exhausted(const struct run *run)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < run->tasks_count; i++)
		sum += run->stats[i].join.hops_exhausted;
	return sum;
}

static void four_translations_in_a_row_are_followed(void **state)
{
	(void)state;
	for (uint32_t hops = 1; hops <= 4; hops++) {
		struct run *run = run_chain(hops, false);

		assert_true(run_only_flow(run)->flow.joined);
		assert_int_equal(run_only_flow(run)->flow.hops, hops);
		assert_int_equal(run_edge(run, "shop", "web", COUNTER_TX_BYTES), 1500);
		assert_int_equal(hops_exhausted(run), 0);
		run_free(run);
	}
}

static void longer_ways_and_circles_end_and_are_counted(void **state)
{
	(void)state;
	for (int cycle = 0; cycle < 2; cycle++) {
		struct run *run = run_chain(cycle ? 3 : 7, cycle);

		assert_int_equal(run_count_flows(run, NULL, NULL), 2);
		assert_true(hops_exhausted(run) > 0);
		/* Nobody knows that the two are one. */
		assert_int_equal(run_edge(run, "shop", NULL, COUNTER_TX_BYTES), 1500);
		assert_int_equal(run_edge(run, NULL, "web", COUNTER_TX_BYTES), 1500);
		assert_int_equal(run_edge(run, NULL, NULL, COUNTER_TX_BYTES), 3000);
		run_free(run);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_service_address_is_translated_whether_told_before_the_socket_or_after),
		cmocka_unit_test(a_masqueraded_client_is_known_by_its_own_address),
		cmocka_unit_test(a_host_port_reaches_its_container),
		cmocka_unit_test(source_and_destination_translated_on_one_host_is_one_edge),
		cmocka_unit_test(a_mapping_told_after_its_listener_knew_the_connection_still_joins),
		cmocka_unit_test(an_ipv6_service_address_is_translated),
		cmocka_unit_test(a_reused_tuple_goes_to_its_own_backend_each_time),
		cmocka_unit_test(a_new_mapping_does_not_move_the_connection_that_has_the_old_one),
		cmocka_unit_test(the_table_of_mappings_is_bounded_and_refusals_are_counted),
		cmocka_unit_test(a_gateways_port_reused_by_another_client_joins_each_with_its_own),
		cmocka_unit_test(an_expired_mapping_serves_no_later_connection),
		cmocka_unit_test(a_mapping_that_ended_before_its_socket_was_told_still_joins),
		cmocka_unit_test(four_translations_in_a_row_are_followed),
		cmocka_unit_test(longer_ways_and_circles_end_and_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
