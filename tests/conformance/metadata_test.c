/* Who stands at an end as the cluster tells it: pods by their address and time, services, nodes and
 * ranges for ends without an agent, the top owner for those with one; told before the flow or late.
 */
#include "tests/conformance/tell.h"

static void an_end_without_an_agent_is_the_pod_that_held_its_address(void **state)
{
	struct log *log = log_new(4);
	uint32_t a = log_node(log, "a", "shop");

	(void)state;
	tell_node(log, "worker-9", "10.0.0.9", "eu-1b");
	tell_pod(log, 0, "cart", "u1", "10.244.1.5", 0, 0);
	short_flow(log, SEC(2), a, "10.0.0.1:40000", "10.244.1.5:80", 1000);
	struct run *run = run_of(log);
	const struct run_flow *flow = run_only_flow(run);

	expect_server(flow, "prod/cart", RESOLUTION_POD);
	assert_string_equal(flow->server.version, "v4");
	assert_string_equal(flow->server.container, "cart-u1");
	assert_string_equal(flow->server.node, "worker-9");
	assert_string_equal(flow->server.zone, "eu-1b");
	assert_int_equal(run_edge(run, "shop", "prod/cart", COUNTER_TX_BYTES), 1000);
	assert_int_equal(run_edge(run, NULL, NULL, COUNTER_TX_BYTES), 1000);
	run_free(run);
	log_free(log);
}

static void services_nodes_and_ranges_name_addresses_where_no_pod_does(void **state)
{
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop");

	(void)state;
	tell_node(log, "worker-9", "10.0.0.9", "eu-1b");
	tell_service(log, "cart", "10.96.0.7");
	tell_range(log, "office", "192.168.0.0", 16);
	tell_range(log, "printers", "192.168.7.0", 24);
	short_flow(log, SEC(2), a, "10.0.0.1:40000", "10.96.0.7:80", 1);
	short_flow(log, SEC(2), a, "10.0.0.1:40001", "10.0.0.9:9100", 2);
	short_flow(log, SEC(2), a, "10.0.0.1:40002", "192.168.1.1:22", 4);
	short_flow(log, SEC(2), a, "10.0.0.1:40003", "192.168.7.1:22", 8);
	short_flow(log, SEC(2), a, "10.0.0.1:40004", "192.169.0.1:22", 16);
	struct run *run = run_of(log);

	expect_server(flow_to(run, "10.96.0.7:80"), "prod/cart", RESOLUTION_SERVICE);
	expect_server(flow_to(run, "10.0.0.9:9100"), "worker-9", RESOLUTION_HOST);
	assert_string_equal(flow_to(run, "10.0.0.9:9100")->server.zone, "eu-1b");
	expect_server(flow_to(run, "192.168.1.1:22"), "office", RESOLUTION_RANGE);
	expect_server(flow_to(run, "192.168.7.1:22"), "printers", RESOLUTION_RANGE);
	expect_server(flow_to(run, "192.169.0.1:22"), "public", RESOLUTION_PUBLIC);
	assert_int_equal(run_edge(run, "shop", NULL, COUNTER_TX_BYTES), 31);
	assert_int_equal(run_edge(run, "shop", "printers", COUNTER_TX_BYTES), 8);
	run_free(run);
	log_free(log);
}

static void a_gap_or_an_overlap_is_said_and_nobody_is_guessed(void **state)
{
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop");

	(void)state;
	tell_pod(log, 0, "red", "u1", "10.244.1.5", 0, SEC(4));
	tell_pod(log, 0, "green", "u2", "10.244.1.5", SEC(8), SEC(16));
	tell_pod(log, 0, "blue", "u3", "10.244.1.5", SEC(12), 0);
	short_flow(log, SEC(2), a, "10.0.0.1:40000", "10.244.1.5:80", 1);
	short_flow(log, SEC(6), a, "10.0.0.1:40001", "10.244.1.5:81", 2);
	short_flow(log, SEC(10), a, "10.0.0.1:40002", "10.244.1.5:82", 4);
	short_flow(log, SEC(14), a, "10.0.0.1:40003", "10.244.1.5:83", 8);
	short_flow(log, SEC(18), a, "10.0.0.1:40004", "10.244.1.5:84", 16);
	struct run *run = run_of(log);

	expect_server(flow_to(run, "10.244.1.5:80"), "prod/red", RESOLUTION_POD);
	expect_server(flow_to(run, "10.244.1.5:81"), "10.244.1.5", RESOLUTION_AMBIGUOUS);
	expect_server(flow_to(run, "10.244.1.5:82"), "prod/green", RESOLUTION_POD);
	expect_server(flow_to(run, "10.244.1.5:83"), "10.244.1.5", RESOLUTION_AMBIGUOUS);
	expect_server(flow_to(run, "10.244.1.5:84"), "prod/blue", RESOLUTION_POD);
	assert_int_equal(run_edge(run, "shop", "10.244.1.5", COUNTER_TX_BYTES), 10);
	run_free(run);
	log_free(log);
}

static void an_attempt_that_nobody_answered_names_the_pod_of_its_time(void **state)
{
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "old");

	(void)state;
	/* who served there was the pod before, and its node's agent told so */
	tell_pod(log, 0, "red", "u1", "10.244.1.5", 0, SEC(5));
	tell_pod(log, 0, "green", "u2", "10.244.1.5", SEC(6), 0);
	uint32_t client = log_connect(log, SEC(2), a, "10.0.0.1:40000", "10.244.1.5:80");
	uint32_t server = log_accept(log, SEC(2), b, "10.244.1.5:80", "10.0.0.1:40000");

	log_close_both(log, SEC(3), client, server);
	short_flow(log, SEC(8), a, "10.0.0.1:40001", "10.244.1.5:80", 1);
	struct run *run = run_of(log);

	assert_int_equal(run_count_flows(run, "shop", "old"), 1);
	assert_int_equal(run_count_flows(run, "shop", "prod/green"), 1);
	run_free(run);
	log_free(log);
}

static const struct batch_container cart = {.cgroup = 77,
					    .id = "3f4e5d6c7b8a",
					    .name = "server",
					    .image = "registry.local/cart:1.4.2",
					    .pod = "cart-u7",
					    .pod_uid = "u7",
					    .namespace = "prod"};

/* A server on its own agent's node, in a pod; its cluster tells of it told_ns after the start. */
static struct run *run_own_end(uint64_t told_ns)
{
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "worker-9", "node");

	tell_node(log, "worker-9", "10.0.0.9", "eu-1b");
	tell_pod(log, told_ns, "cart", "u7", "10.244.1.5", 0, 0);
	log_process(log, SEC(1), b, 500, "server", 77);
	log_container(log, SEC(1), b, &cart);
	uint32_t client = log_connect(log, SEC(2), a, "10.0.0.1:40000", "10.244.1.5:80");
	uint32_t server = log_open_as(log, SEC(2), b, BATCH_ROLE_SERVER, "10.244.1.5:80",
				      "10.0.0.1:40000", 500);

	for (uint64_t i = 0; i < 20; i++)
		log_exchange(log, SEC(3 + i), client, server, 100, 0);
	log_close_both(log, SEC(24), client, server);
	struct run *run = run_of(log);

	log_free(log);
	return run;
}

static void a_socket_of_a_pod_belongs_to_its_top_owner_as_the_cluster_says(void **state)
{
	struct run *run = run_own_end(0);
	const struct run_flow *flow = run_only_flow(run);

	(void)state;
	assert_true(flow->flow.joined);
	expect_server(flow, "prod/cart", RESOLUTION_WORKLOAD);
	assert_string_equal(flow->server.version, "v4");
	assert_string_equal(flow->server.container, "cart-u7");
	assert_string_equal(flow->server.zone, "eu-1b");
	assert_string_equal(flow->server.process, "server");
	assert_int_equal(run_edge(run, "shop", "prod/cart", COUNTER_TX_BYTES), 2000);
	run_free(run);
}

static void what_is_told_later_of_a_pod_names_what_follows(void **state)
{
	struct run *run = run_own_end(SEC(8));
	const struct run_flow *flow = run_only_flow(run);

	(void)state;
	expect_server(flow, "prod/cart", RESOLUTION_WORKLOAD);
	assert_int_equal(run_edge_at(run, 20, "shop", "prod/cart", COUNTER_TX_BYTES), 300);
	assert_int_equal(run_edge(run, "shop", NULL, COUNTER_TX_BYTES), 2000);
	run_free(run);
}

/* Pods without agents come and go on few addresses, clients of an agent talk to them, and each
 * record comes so much later than what it tells. */
enum { LATE_PODS = 30, LATE_ADDRESSES = 6 };

static struct log *late_log(uint64_t seed, uint64_t delay_ns)
{
	struct log *log = log_new(4);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "web");
	char uid[32], workload[32], address[32], from[32], to[64];

	log->random += seed;
	log->flush_ns = SEC(160);
	for (uint64_t i = 0; i < LATE_PODS; i++) {
		uint64_t from_ns = SEC(1) + i * MS(700);
		uint64_t until_ns = from_ns + LATE_ADDRESSES * MS(700) - log_random(log) % MS(200);
		uint64_t late_ns = delay_ns ? log_random(log) % delay_ns : (log_random(log), 0);

		snprintf(uid, sizeof(uid), "u%u", (unsigned)i);
		snprintf(workload, sizeof(workload), "w%u", (unsigned)(i % 7));
		snprintf(address, sizeof(address), "10.244.1.%u", (unsigned)(i % LATE_ADDRESSES));
		tell_pod(log, delay_ns ? from_ns + late_ns : 0, workload, uid, address, from_ns,
			 until_ns);
		snprintf(to, sizeof(to), "%s:80", address);
		for (uint64_t k = 0; k < 3; k++) {
			uint64_t at = from_ns + MS(100) + log_random(log) % MS(3400);

			snprintf(from, sizeof(from), "10.0.0.%u:%u", (unsigned)(1 + k % 2),
				 (unsigned)(20000 + 3 * i + k));
			short_flow(log, at, k % 2 ? b : a, from, to, 1000 + i);
		}
	}
	log->end_ns = SEC(60);
	log_seal(log);
	return log;
}

/* Sums of the 10 s windows with their amendments, by edge. */
static void expect_same_sums(const struct run *one, const struct run *other)
{
	static const enum counter counters[] = {COUNTER_TX_BYTES, COUNTER_OPENED, COUNTER_CLOSED};

	for (size_t i = 0; i < one->rows_count; i++) {
		const struct run_row *row = &one->rows[i];
		uint64_t start_s = (row->row.window_start_ns - LOG_START_NS) / NS_PER_S;

		if (row->row.scope != SCOPE_EDGE || row->row.window_ms != 10000)
			continue;
		for (size_t k = 0; k < sizeof(counters) / sizeof(counters[0]); k++)
			assert_int_equal(
				run_edge_at(one, start_s, row->client, row->server, counters[k]),
				run_edge_at(other, start_s, row->client, row->server, counters[k]));
	}
}

static void metadata_up_to_thirty_seconds_late_gives_the_same_ten_seconds(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 6; seed++) {
		struct log *log = late_log(seed, 0), *late = late_log(seed, SEC(30));
		struct run *run = run_with(log, NULL), *late_run = run_with(late, NULL);
		uint64_t wrong = 0;

		expect_same_sums(run, late_run);
		expect_same_sums(late_run, run);
		for (size_t i = 0; i < run->flows_count; i++) {
			const struct flow *flow = &run->flows[i].flow;
			char wanted[32];

			snprintf(wanted, sizeof(wanted), "prod/w%u",
				 (flow->canonical.client_port - 20000U) / 3 % 7);
			wrong += strcmp(run->flows[i].edge_server, wanted) != 0;
		}
		assert_int_equal(run->flows_count, 3 * LATE_PODS);
		assert_true(wrong <= 2); /* within 20 ms of a change of hands */
		run_free(run);
		run_free(late_run);
		log_free(log);
		log_free(late);
	}
}

static void the_order_in_which_tasks_run_does_not_show(void **state)
{
	struct log *log = late_log(3, SEC(30));
	struct run *run = run_with(log, NULL);

	(void)state;
	for (uint64_t order = 1; order <= 4; order++) {
		struct run *other = run_with(log, &(struct run_options){.order = order});

		run_expect_same(run, other);
		run_free(other);
	}
	run_free(run);
	log_free(log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_end_without_an_agent_is_the_pod_that_held_its_address),
		cmocka_unit_test(services_nodes_and_ranges_name_addresses_where_no_pod_does),
		cmocka_unit_test(a_gap_or_an_overlap_is_said_and_nobody_is_guessed),
		cmocka_unit_test(an_attempt_that_nobody_answered_names_the_pod_of_its_time),
		cmocka_unit_test(a_socket_of_a_pod_belongs_to_its_top_owner_as_the_cluster_says),
		cmocka_unit_test(what_is_told_later_of_a_pod_names_what_follows),
		cmocka_unit_test(metadata_up_to_thirty_seconds_late_gives_the_same_ten_seconds),
		cmocka_unit_test(the_order_in_which_tasks_run_does_not_show),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
