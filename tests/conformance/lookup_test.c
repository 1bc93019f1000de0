/* UDP flows and the DNS lookups that pass over them: each lookup counts once, of the client's half,
 * or of the server's where there is no other. */
#include "tests/conformance/run.h"

enum { RCODES = 6 };

static const char resolver[] = "10.0.0.9:53";

static uint32_t open_udp(struct log *log, uint64_t at_ns, uint32_t node, enum batch_role role,
			 const char *local, const char *remote)
{
	struct endpoint here = place(local), there = place(remote);

	return log_define(log, at_ns, node,
			  &(struct batch_definition){.role = (uint8_t)role,
						     .protocol = PROTOCOL_UDP,
						     .local = here.address,
						     .remote = there.address,
						     .local_port = here.port,
						     .remote_port = there.port});
}

static void look_up(struct log *log, uint64_t at_ns, uint32_t socket, uint32_t rcode,
		    uint64_t latency_us)
{
	bool timeout = latency_us == 0;

	log_event(log, LOG_LOOKUP, log->sockets[socket].node, at_ns)->lookup =
		(struct batch_dns){.slot = log->sockets[socket].definition.slot,
				   .name = "cart.shop",
				   .type = 1,
				   .rcode = rcode,
				   .flags = timeout ? BATCH_DNS_TIMEOUT : 0,
				   .latency_ns = timeout ? SEC(5) : latency_us * NS_PER_US};
}

/* One lookup with each code from 0 on, and one without an answer. */
static void look_all_up(struct log *log, uint64_t at_ns, uint32_t socket)
{
	for (uint32_t rcode = 0; rcode < RCODES; rcode++)
		look_up(log, at_ns + MS(rcode), socket, rcode, 100 + rcode);
	look_up(log, at_ns + MS(20), socket, 0, 0);
}

static void expect_all(const struct run *run, const char *client, const char *server, int64_t times)
{
	assert_int_equal(run_edge(run, client, server, COUNTER_DNS_QUERIES), 7 * times);
	assert_int_equal(run_edge(run, client, server, COUNTER_DNS_NXDOMAIN), times);
	assert_int_equal(run_edge(run, client, server, COUNTER_DNS_SERVFAIL), times);
	assert_int_equal(run_edge(run, client, server, COUNTER_DNS_REFUSED), times);
	assert_int_equal(run_edge(run, client, server, COUNTER_DNS_OTHER), 2 * times);
	assert_int_equal(run_edge(run, client, server, COUNTER_DNS_TIMEOUTS), times);
	assert_int_equal(run_edge(run, client, server, COUNTER_DNS_COUNT), 6 * times);
	assert_int_equal(run_edge(run, client, server, COUNTER_DNS_US), 615 * times);
}

static void both_ends_tell_of_a_lookup_and_it_counts_once(void **state)
{
	(void)state;
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "dns");
	uint32_t client = open_udp(log, SEC(2), a, BATCH_ROLE_CLIENT, "10.0.0.1:40000", resolver);
	uint32_t server = open_udp(log, SEC(2), b, BATCH_ROLE_SERVER, resolver, "10.0.0.1:40000");

	log_exchange(log, SEC(2) + MS(30), client, server, 300, 900);
	look_all_up(log, SEC(2) + MS(40), client);
	look_all_up(log, SEC(2) + MS(40), server);
	log_close_both(log, SEC(3), client, server);
	struct run *run = run_of(log);
	const struct run_flow *flow = run_only_flow(run);

	assert_true(flow->flow.joined);
	assert_int_equal(flow->flow.canonical.protocol, PROTOCOL_UDP);
	expect_all(run, "shop", "dns", 1);
	assert_int_equal(run_edge(run, "shop", "dns", COUNTER_TX_BYTES), 300);
	for (enum scope scope = SCOPE_LANE; scope < SCOPES; scope++)
		assert_int_equal(run_sum(run, scope, 10000, "shop", "dns", COUNTER_DNS_QUERIES), 7);
	run_check_accounts(run);
	run_free(run);
	log_free(log);
}

static void the_server_counts_lookups_of_clients_without_an_agent(void **state)
{
	(void)state;
	struct log *log = log_new(2);
	uint32_t b = log_node(log, "b", "dns");
	uint32_t server = open_udp(log, SEC(2), b, BATCH_ROLE_SERVER, resolver, "192.0.2.1:40000");

	look_all_up(log, SEC(2) + MS(40), server);
	log_close(log, SEC(3), server, CLOSE_NORMAL);
	struct run *run = run_of(log);

	expect_all(run, "192.0.2.1", "dns", 1);
	run_free(run);
	log_free(log);
}

static void a_tuple_that_begins_again_after_silence_is_another_flow(void **state)
{
	(void)state;
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "dns");

	for (uint32_t i = 0; i < 5; i++) {
		uint64_t at = SEC(2) + MS(700) * i;
		uint32_t client =
			open_udp(log, at, a, BATCH_ROLE_CLIENT, "10.0.0.1:40000", resolver);
		uint32_t server =
			open_udp(log, at, b, BATCH_ROLE_SERVER, resolver, "10.0.0.1:40000");

		log_exchange(log, at + MS(200), client, server, 100, 10);
		look_up(log, at + MS(210), client, 3, 50);
		look_up(log, at + MS(210), server, 3, 40);
		log_close_both(log, at + MS(500), client, server);
	}
	struct run *run = run_of(log);
	uint32_t joined = 0;

	for (size_t i = 0; i < run->flows_count; i++)
		joined += run->flows[i].flow.joined && !run->flows[i].replaced &&
			  run->flows[i].flow.client.total.tx_bytes == 100;
	assert_int_equal(joined, 5);
	assert_int_equal(run_edge(run, "shop", "dns", COUNTER_OPENED), 5);
	assert_int_equal(run_edge(run, "shop", "dns", COUNTER_DNS_NXDOMAIN), 5);
	assert_int_equal(run_edge(run, "shop", "dns", COUNTER_DNS_US), 250);
	run_free(run);
	log_free(log);
}

/* The client's name comes when the ten seconds of its lookups are over. */
static void lookups_go_along_when_a_label_changes(void **state)
{
	(void)state;
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "dns");
	uint32_t client, server;

	client = log_define(log, SEC(2), a,
			    &(struct batch_definition){.role = BATCH_ROLE_CLIENT,
						       .protocol = PROTOCOL_UDP,
						       .pid = 777,
						       .local = address_v4(0x0a000001),
						       .remote = address_v4(0x0a000009),
						       .local_port = 40000,
						       .remote_port = 53});
	look_all_up(log, SEC(3), client);
	log_process(log, SEC(14), a, 777, "late", 0);
	server = open_udp(log, SEC(15), b, BATCH_ROLE_SERVER, resolver, "10.0.0.1:40000");
	look_all_up(log, SEC(16), client);
	log_close_both(log, SEC(18), client, server);
	struct run *run = run_of(log);

	expect_all(run, "late", "dns", 2);
	expect_all(run, NULL, NULL, 2);
	assert_int_equal(run_edge_at(run, 0, "late", "dns", COUNTER_DNS_QUERIES), 7);
	run_free(run);
	log_free(log);
}

/* What has no row of its own counts in another. */
static void folded_lookups_are_in_the_totals(void **state)
{
	enum { CLIENTS = 300 };
	(void)state;
	struct log *log = log_new(1);
	uint32_t b = log_node(log, "b", "dns");
	char from[32];

	for (uint32_t i = 0; i < CLIENTS; i++) {
		snprintf(from, sizeof(from), "192.0.2.%u:%u", i % 250, 40000 + i);
		uint32_t server =
			open_udp(log, SEC(2) + MS(i), b, BATCH_ROLE_SERVER, resolver, from);
		look_all_up(log, SEC(4), server);
		log_close(log, SEC(5), server, CLOSE_NORMAL);
	}
	log_seal(log);
	struct run *run = run_with(log, &(struct run_options){.rows_max = 64});

	expect_all(run, NULL, NULL, CLIENTS);
	for (enum scope scope = SCOPE_LANE; scope < SCOPES; scope++)
		assert_int_equal(run_sum(run, scope, 10000, NULL, NULL, COUNTER_DNS_QUERIES),
				 7 * CLIENTS);
	run_free(run);
	log_free(log);
}

static void a_lookup_over_a_slot_that_nobody_defined_is_refused(void **state)
{
	(void)state;
	struct log *log = log_new(1);
	uint32_t a = log_node(log, "a", "shop");
	uint32_t client = open_udp(log, SEC(2), a, BATCH_ROLE_CLIENT, "10.0.0.1:40000", resolver);

	log_event(log, LOG_LOOKUP, a, SEC(3))->lookup =
		(struct batch_dns){.slot = 50, .name = "x", .type = 1, .latency_ns = MS(1)};
	log_close(log, SEC(4), client, CLOSE_NORMAL);
	struct run *run = run_of(log);

	assert_int_equal(run->ingest.refused, 1);
	run_check_accounts(run);
	run_free(run);
	log_free(log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ends_tell_of_a_lookup_and_it_counts_once),
		cmocka_unit_test(the_server_counts_lookups_of_clients_without_an_agent),
		cmocka_unit_test(a_tuple_that_begins_again_after_silence_is_another_flow),
		cmocka_unit_test(lookups_go_along_when_a_label_changes),
		cmocka_unit_test(folded_lookups_are_in_the_totals),
		cmocka_unit_test(a_lookup_over_a_slot_that_nobody_defined_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
