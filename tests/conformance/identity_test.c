/* Who stands at an end: metadata that comes late, addresses that change hands, agents and pipelines
 * that start again. */
#include "tests/conformance/run.h"

static const struct batch_container cart = {.cgroup = 77,
					    .id = "3f4e5d6c7b8a",
					    .name = "server",
					    .image = "registry.local/cart:1.4.2",
					    .pod = "cart-5d9f-x2x",
					    .namespace = "prod",
					    .workload = "cart"};

static void metadata_that_comes_later_names_what_follows_and_loses_no_count(void **state)
{
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "node");

	(void)state;
	log_process(log, SEC(1), b, 500, "server", 77);
	uint32_t client = log_connect(log, SEC(2), a, "10.0.0.1:40000", "10.0.0.2:80");
	uint32_t server = log_open_as(log, SEC(2), b, BATCH_ROLE_SERVER, "10.0.0.2:80",
				      "10.0.0.1:40000", 500);

	log_exchange(log, SEC(3), client, server, 1000, 0);
	log_container(log, SEC(5), b, &cart);
	log_exchange(log, SEC(6), client, server, 500, 0);
	log_exchange(log, SEC(12), client, server, 250, 0);
	log_close_both(log, SEC(13), client, server);
	struct run *run = run_of(log);
	const struct run_flow *flow = run_only_flow(run);

	assert_string_equal(flow->edge_server, "prod/cart");
	assert_string_equal(flow->server.version, "1.4.2");
	assert_string_equal(flow->server.container, "cart-5d9f-x2x");
	assert_string_equal(flow->server.node, "b");
	assert_true(run_edge(run, "shop", "prod/cart", COUNTER_TX_BYTES) >= 750);
	assert_int_equal(run_edge_at(run, 10, "shop", "prod/cart", COUNTER_TX_BYTES), 250);
	assert_int_equal(run_edge(run, NULL, NULL, COUNTER_TX_BYTES), 1750);
	assert_int_equal(run_edge(run, NULL, NULL, COUNTER_OPENED), 1);
	run_free(run);
	log_free(log);
}

static void a_reused_pod_address_belongs_to_whoever_has_it_then(void **state)
{
	struct log *log = log_new(4);
	uint32_t a = log_node(log, "a", "shop"), nodes[4];
	static const char *const names[] = {"n0", "n1", "n2", "n3"};
	static const char *const workloads[] = {"red", "green", "blue", "white"};

	(void)state;
	for (int i = 0; i < 4; i++)
		nodes[i] = log_node(log, names[i], workloads[i]);
	/* The address is taken over 100 ms after it was left. */
	for (uint64_t i = 0; i < 40; i++) {
		uint64_t at = SEC(2) + MS(300 * i);
		char from[32];

		snprintf(from, sizeof(from), "10.0.0.1:%u", (unsigned)(40000 + i));
		uint32_t client = log_connect(log, at, a, from, "10.244.1.5:80");
		uint32_t server = log_accept(log, at, nodes[i % 4], "10.244.1.5:80", from);

		log_exchange(log, at + MS(100), client, server, 1000 + i, 0);
		log_close_both(log, at + MS(200), client, server);
	}
	struct run *run = run_of(log);

	for (int i = 0; i < 4; i++)
		assert_int_equal(run_count_flows(run, "shop", workloads[i]), 10);
	for (size_t i = 0; i < run->flows_count; i++) {
		const struct run_flow *flow = &run->flows[i];

		if (flow->replaced)
			continue;
		assert_true(flow->flow.joined);
		assert_string_equal(flow->edge_server,
				    workloads[(flow->flow.canonical.client_port - 40000) % 4]);
		assert_int_equal(flow->flow.client.total.tx_bytes,
				 1000 + flow->flow.canonical.client_port - 40000);
	}
	assert_int_equal(run_edge(run, NULL, NULL, COUNTER_OPENED), 40);
	run_free(run);
	log_free(log);
}

static void a_thousand_pods_on_fifty_addresses_are_never_mixed(void **state)
{
	struct log *log = log_new(4);
	uint32_t a = log_node(log, "a", "shop"), nodes[20];
	uint32_t wrong = 0;
	char from[32], to[32], name[32];

	(void)state;
	for (uint32_t i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "node-%u", i);
		nodes[i] = log_node(log, name, "-");
	}
	/* Pod n lives on address n % 50 of node (n / 50) for 100 ms. */
	for (uint32_t n = 0; n < 1000; n++) {
		uint64_t at = SEC(2) + MS(100) * (n / 50) + MS(n % 50);
		uint32_t node = nodes[n / 50];
		static char comms[1000][16];

		snprintf(comms[n], sizeof(comms[n]), "pod-%u", n);
		snprintf(from, sizeof(from), "10.0.0.1:%u", 20000 + n);
		snprintf(to, sizeof(to), "10.244.0.%u:80", n % 50);
		log_process(log, at, node, 1000 + n, comms[n], 0);
		uint32_t client = log_connect(log, at + MS(10), a, from, to);
		uint32_t server =
			log_open_as(log, at + MS(10), node, BATCH_ROLE_SERVER, to, from, 1000 + n);

		log_exchange(log, at + MS(40), client, server, 1 + n, 0);
		log_close_both(log, at + MS(80), client, server);
	}
	struct run *run = run_of(log);

	assert_int_equal(run_count_flows(run, NULL, NULL), 1000);
	for (size_t i = 0; i < run->flows_count; i++) {
		const struct run_flow *flow = &run->flows[i];

		snprintf(name, sizeof(name), "pod-%u", flow->flow.canonical.client_port - 20000u);
		wrong += !flow->replaced &&
			 (!flow->flow.joined || strcmp(flow->edge_server, name) != 0);
	}
	assert_int_equal(wrong, 0);
	run_free(run);
	log_free(log);
}

static void an_address_without_an_agent_has_the_owner_of_its_time(void **state)
{
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "old"),
		 c = log_node(log, "c", "new");
	uint32_t client, server;

	(void)state;
	client = log_connect(log, SEC(2), a, "10.0.0.1:40000", "10.244.1.5:80");
	server = log_accept(log, SEC(2), b, "10.244.1.5:80", "10.0.0.1:40000");
	log_close_both(log, SEC(3), client, server);
	client = log_connect(log, SEC(20), a, "10.0.0.1:40001", "10.244.1.5:80");
	server = log_accept(log, SEC(20), c, "10.244.1.5:80", "10.0.0.1:40001");
	log_close_both(log, SEC(21), client, server);
	/* Their servers' halves never came; the first was told late, too. */
	client = log_connect(log, SEC(5), a, "10.0.0.1:40002", "10.244.1.5:80");
	log_send(log, SEC(6), client, 10, 0);
	log_close(log, SEC(7), client, CLOSE_NORMAL);
	client = log_connect(log, SEC(25), a, "10.0.0.1:40003", "10.244.1.5:80");
	log_send(log, SEC(26), client, 1000, 0);
	log_close(log, SEC(27), client, CLOSE_NORMAL);
	struct run *run = run_of(log);

	assert_int_equal(run_edge(run, "shop", "old", COUNTER_TX_BYTES), 10);
	assert_int_equal(run_edge(run, "shop", "new", COUNTER_TX_BYTES), 1000);
	assert_int_equal(run_count_flows(run, "shop", "old"), 2);
	assert_int_equal(run_count_flows(run, "shop", "new"), 2);
	run_free(run);
	log_free(log);
}

static void what_a_workload_is_known_as_beats_its_port_and_its_command(void **state)
{
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "kubelet"), b = log_node(log, "b", "x");

	(void)state;
	/* Nothing better is known of the kubelet; the name server on port 53 is a pod. */
	log_container(log, 0, b,
		      &(struct batch_container){.cgroup = 53,
						.id = "53",
						.name = "coredns",
						.image = "coredns:1.11",
						.pod = "coredns-1",
						.namespace = "kube-system",
						.workload = "coredns"});
	log_process(log, 0, b, 500, "coredns", 53);
	uint32_t client = log_connect(log, SEC(2), a, "10.0.0.1:40000", "10.0.0.2:53");
	uint32_t server = log_open_as(log, SEC(2), b, BATCH_ROLE_SERVER, "10.0.0.2:53",
				      "10.0.0.1:40000", 500);

	log_exchange(log, SEC(3), client, server, 1000, 0);
	log_close_both(log, SEC(4), client, server);
	struct run *run = run_of(log);
	const struct run_flow *flow = run_only_flow(run);

	assert_string_equal(flow->edge_client, "kubelet");
	assert_int_equal(flow->flow.edge.client_resolution, RESOLUTION_PROCESS);
	assert_string_equal(flow->edge_server, "kube-system/coredns");
	assert_int_equal(flow->flow.edge.server_resolution, RESOLUTION_WORKLOAD);
	run_free(run);
	log_free(log);
}

static void a_reused_process_id_is_another_process(void **state)
{
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "-");
	static const char *const comms[] = {"red", "blue", "green"};
	char from[32];

	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		uint64_t at = SEC(2 + 2 * i);

		snprintf(from, sizeof(from), "10.0.0.1:%u", 40000 + i);
		log_process(log, at, b, 500, comms[i], 0);
		uint32_t client = log_connect(log, at + MS(10), a, from, "10.0.0.2:80");
		uint32_t server = log_open_as(log, at + MS(10), b, BATCH_ROLE_SERVER, "10.0.0.2:80",
					      from, 500);

		log_exchange(log, at + MS(300), client, server, 1000 + i, 0);
		log_close_both(log, at + MS(600), client, server);
		log_event(log, LOG_EXIT, b, at + MS(700))->exit =
			(struct batch_exit){.pid = 500, .started_ns = 1000 + at};
	}
	struct run *run = run_of(log);

	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(run_count_flows(run, "shop", comms[i]), 1);
		assert_int_equal(run_edge(run, "shop", comms[i], COUNTER_TX_BYTES), 1000 + i);
	}
	run_free(run);
	log_free(log);
}

static void a_reused_cgroup_id_is_another_container(void **state)
{
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "-");
	static const char *const workloads[] = {"cart", "pay", "mail"};
	char from[32];

	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		uint64_t at = SEC(2 + 2 * i);
		struct batch_container container = cart;

		container.workload = container.pod = workloads[i];
		snprintf(from, sizeof(from), "10.0.0.1:%u", 40000 + i);
		log_container(log, at, b, &container);
		log_process(log, at, b, 500 + i, "server", 77);
		uint32_t client = log_connect(log, at + MS(10), a, from, "10.0.0.2:80");
		uint32_t server = log_open_as(log, at + MS(10), b, BATCH_ROLE_SERVER, "10.0.0.2:80",
					      from, 500 + i);

		log_exchange(log, at + MS(300), client, server, 1000 + i, 0);
		log_close_both(log, at + MS(600), client, server);
	}
	struct run *run = run_of(log);

	assert_int_equal(run_edge(run, "shop", "prod/cart", COUNTER_TX_BYTES), 1000);
	assert_int_equal(run_edge(run, "shop", "prod/pay", COUNTER_TX_BYTES), 1001);
	assert_int_equal(run_edge(run, "shop", "prod/mail", COUNTER_TX_BYTES), 1002);
	run_free(run);
	log_free(log);
}

/* The other half within two minutes supersedes; the flow is told again, the bytes are not. */
static void a_half_that_comes_a_minute_later_amends_the_flow_and_moves_the_bytes(void **state)
{
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "web");
	uint32_t client = log_connect(log, SEC(2), a, "10.0.0.1:40000", "10.0.0.2:80");

	(void)state;
	log_send(log, SEC(3), client, 1000, 0);
	log_close(log, SEC(4), client, CLOSE_NORMAL);
	uint32_t server = log_accept(log, SEC(2), b, "10.0.0.2:80", "10.0.0.1:40000");

	log_tell_later(log, SEC(60));
	log_send_untold(log, server, 0, 1000);
	log_close(log, SEC(4), server, CLOSE_NORMAL);
	log_tell_later(log, SEC(60));
	struct run *run = run_of(log);
	const struct run_flow *flow = run_only_flow(run);

	assert_true(flow->flow.joined);
	assert_true(flow->flow.amended);
	assert_int_equal(run->flows_count, 2);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_CLIENT_TX_BYTES), 1000);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_TX_BYTES), 1000);
	assert_int_equal(run_edge(run, NULL, NULL, COUNTER_TX_BYTES), 1000);
	assert_int_equal(run_edge(run, NULL, NULL, COUNTER_OPENED), 1);
	run_free(run);
	log_free(log);
}

/* Both views are kept; the client's counts. */
static void halves_that_disagree_keep_both_views_and_the_clients_counts(void **state)
{
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "web");
	uint32_t client = log_connect(log, SEC(2), a, "10.0.0.1:40000", "10.0.0.2:80");
	uint32_t server = log_accept(log, SEC(2), b, "10.0.0.2:80", "10.0.0.1:40000");

	(void)state;
	log_send(log, SEC(3), client, 1000, 0);
	log_send(log, SEC(3), server, 0, 900);
	log_close_both(log, SEC(4), client, server);
	struct run *run = run_of(log);

	assert_int_equal(run_edge(run, "shop", "web", COUNTER_CLIENT_TX_BYTES), 1000);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_SERVER_TX_BYTES), 900);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_TX_BYTES), 1000);
	assert_int_equal(run_only_flow(run)->flow.client.total.tx_bytes, 1000);
	assert_int_equal(run_only_flow(run)->flow.server.total.rx_bytes, 900);
	run_free(run);
	log_free(log);
}

static void a_reboot_ends_each_open_flow_once(void **state)
{
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "web");
	uint32_t clients[5], servers[5];
	char from[32];

	(void)state;
	for (uint32_t i = 0; i < 5; i++) {
		snprintf(from, sizeof(from), "10.0.0.1:%u", 40000 + i);
		clients[i] = log_connect(log, SEC(1), a, from, "10.0.0.2:80");
		servers[i] = log_accept(log, SEC(1), b, "10.0.0.2:80", from);
		log_exchange(log, SEC(2), clients[i], servers[i], 1000, 0);
	}
	log_reboot(log, SEC(4), a);
	for (uint32_t i = 0; i < 5; i++)
		log_close(log, SEC(6), servers[i], CLOSE_RESET);
	/* The new boot uses the old slots and one of the old ports for new sockets. */
	log_process(log, SEC(5), a, LOG_PID, "shop", 0);
	log->nodes[a].slots = 0;
	uint32_t client = log_connect(log, SEC(8), a, "10.0.0.1:40000", "10.0.0.2:80");
	uint32_t server = log_accept(log, SEC(8), b, "10.0.0.2:80", "10.0.0.1:40000");

	log_exchange(log, SEC(9), client, server, 7, 0);
	log_close_both(log, SEC(10), client, server);
	struct run *run = run_of(log);
	uint32_t joined = 0;

	assert_int_equal(run_count_flows(run, "shop", "web"), 6);
	for (size_t i = 0; i < run->flows_count; i++)
		joined += run->flows[i].flow.joined && !run->flows[i].replaced;
	assert_int_equal(joined, 6);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_TX_BYTES), 5007);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_OPENED), 6);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_CLOSED), 6);
	run_free(run);
	log_free(log);
}

/* A pipeline without a snapshot knows all that lives from the next key frames, and counts from
 * there on. */
static void a_pipeline_that_starts_again_learns_its_state_from_the_agents(void **state)
{
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "web");
	uint32_t client = log_connect(log, SEC(1), a, "10.0.0.1:40000", "10.96.0.1:80");
	uint32_t server = log_accept(log, SEC(1), b, "10.0.0.2:8080", "10.0.0.1:40000");

	(void)state;
	log_nat(log, SEC(1), a, "10.0.0.1:40000", "10.96.0.1:80", "10.0.0.2:8080",
		"10.0.0.1:40000");
	log_exchange(log, SEC(2), client, server, 100000, 0);
	/* The key frames of 45 s. */
	log_process(log, SEC(40), a, LOG_PID, "shop", 0);
	log_process(log, SEC(41), b, LOG_PID, "web", 0);
	log_nat(log, SEC(42), a, "10.0.0.1:40000", "10.96.0.1:80", "10.0.0.2:8080",
		"10.0.0.1:40000");
	log_again(log, SEC(43), client);
	log_again(log, SEC(44), server);
	log_exchange(log, SEC(50), client, server, 1000, 0);
	log_close_both(log, SEC(52), client, server);
	log_seal(log);
	/* The new one reads from 20 s on. */
	size_t kept = 0;

	for (size_t i = 0; i < log->records_count; i++) {
		if (log->records[i].append_ns < LOG_START_NS + SEC(20))
			free(log->records[i].bytes);
		else
			log->records[kept++] = log->records[i];
	}
	log->records_count = kept;
	struct run *run = run_with(log, NULL);
	const struct run_flow *flow = run_only_flow(run);

	assert_true(flow->flow.joined);
	assert_string_equal(flow->edge_client, "shop");
	assert_string_equal(flow->edge_server, "web");
	assert_int_equal(flow->flow.client.total.tx_bytes, 101000);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_TX_BYTES), 1000);
	assert_int_equal(run_edge(run, NULL, NULL, COUNTER_OPENED), 0);
	run_free(run);
	log_free(log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(metadata_that_comes_later_names_what_follows_and_loses_no_count),
		cmocka_unit_test(a_reused_pod_address_belongs_to_whoever_has_it_then),
		cmocka_unit_test(a_thousand_pods_on_fifty_addresses_are_never_mixed),
		cmocka_unit_test(an_address_without_an_agent_has_the_owner_of_its_time),
		cmocka_unit_test(what_a_workload_is_known_as_beats_its_port_and_its_command),
		cmocka_unit_test(a_reused_process_id_is_another_process),
		cmocka_unit_test(a_reused_cgroup_id_is_another_container),
		cmocka_unit_test(
			a_half_that_comes_a_minute_later_amends_the_flow_and_moves_the_bytes),
		cmocka_unit_test(halves_that_disagree_keep_both_views_and_the_clients_counts),
		cmocka_unit_test(a_reboot_ends_each_open_flow_once),
		cmocka_unit_test(a_pipeline_that_starts_again_learns_its_state_from_the_agents),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
