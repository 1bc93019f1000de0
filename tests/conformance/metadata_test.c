/* Who stands at an end as the cluster tells it: pods by their address and time, services, nodes and
 * ranges for ends without an agent, the top owner for those with one; told before the flow or late.
 */
#include "metadata/change.h"
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

static void what_is_told_late_of_a_pod_names_what_was_too(void **state)
{
	static const uint64_t told_s[] = {5, 15, 23, 30};

	(void)state;
	for (size_t i = 0; i < sizeof(told_s) / sizeof(told_s[0]); i++) {
		struct run *run = run_own_end(SEC(told_s[i]));
		const struct run_flow *flow = run_only_flow(run);
		bool over = told_s[i] > 24; /* its record is out */

		expect_server(flow, over ? "prod/server" : "prod/cart",
			      over ? RESOLUTION_CONTAINER : RESOLUTION_WORKLOAD);
		assert_int_equal(run_edge(run, "shop", "prod/cart", COUNTER_TX_BYTES), 2000);
		assert_int_equal(run_edge(run, "shop", "prod/cart", COUNTER_OPENED), 1);
		assert_int_equal(run_edge(run, "shop", "prod/cart", COUNTER_CLOSED), 1);
		assert_int_equal(run_edge(run, "shop", NULL, COUNTER_TX_BYTES), 2000);
		run_free(run);
	}
}

/* A pod on its node's network, whose manifest lies there: its agent knows it under another uid. */
static const struct batch_container manifest = {.cgroup = 77,
						.id = "3f4e5d6c7b8a",
						.name = "server",
						.image = "registry.local/cart:1.4.2",
						.pod_uid = "0a1b2c3d"};

/* A connection in a container on worker-9, from this second to that one. */
static void serve_in(struct log *log, uint32_t shop, uint32_t worker, uint16_t port, uint32_t pid,
		     uint64_t from_s, uint64_t until_s)
{
	char here[32], there[32];

	snprintf(here, sizeof(here), "10.0.0.1:%u", 40000U + port);
	snprintf(there, sizeof(there), "10.0.0.9:%u", port);
	uint32_t client = log_connect(log, SEC(from_s), shop, here, there);
	uint32_t server =
		log_open_as(log, SEC(from_s), worker, BATCH_ROLE_SERVER, there, here, pid);

	for (uint64_t s = from_s; s < until_s; s++)
		log_exchange(log, SEC(s) + MS(500), client, server, 100, 0);
	log_close_both(log, SEC(until_s), client, server);
}

static void a_pod_on_its_nodes_network_is_known_by_its_container(void **state)
{
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "worker-9", "node");

	(void)state;
	tell_node(log, "worker-9", "10.0.0.9", "eu-1b");
	tell_pod_with(log, 0, "cart", "u7", NULL, manifest.id, 0, 0);
	log_process(log, SEC(1), b, 500, "server", 77);
	log_container(log, SEC(1), b, &manifest);
	serve_in(log, a, b, 80, 500, 2, 12);
	struct run *run = run_of(log);
	const struct run_flow *flow = run_only_flow(run);

	expect_server(flow, "prod/cart", RESOLUTION_WORKLOAD);
	assert_string_equal(flow->server.version, "v4");
	assert_string_equal(flow->server.container, "cart-u7");
	assert_int_equal(run_edge(run, "shop", "prod/cart", COUNTER_TX_BYTES), 1000);
	run_free(run);
	log_free(log);
}

static void a_container_that_is_told_late_or_began_anew_names_what_follows(void **state)
{
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "worker-9", "node");
	struct batch_container again = manifest;

	(void)state;
	again.id = "9f8e7d6c5b4a";
	again.cgroup = 78;
	tell_pod_with(log, SEC(6), "cart", "u7", NULL, manifest.id, 0, 0);
	tell_pod_with(log, SEC(26), "cart", "u7", NULL, again.id, 0, 0);
	log_process(log, SEC(1), b, 500, "server", 77);
	log_container(log, SEC(1), b, &manifest);
	serve_in(log, a, b, 80, 500, 2, 18);
	log_process(log, SEC(21), b, 501, "server", 78);
	log_container(log, SEC(21), b, &again);
	serve_in(log, a, b, 81, 501, 22, 38);
	struct run *run = run_of(log);

	assert_int_equal(run_count_flows(run, "shop", "prod/cart"), 2);
	assert_int_equal(run_edge_at(run, 10, "shop", "prod/cart", COUNTER_TX_BYTES), 800);
	assert_int_equal(run_edge_at(run, 30, "shop", "prod/cart", COUNTER_TX_BYTES), 800);
	assert_int_equal(run_edge(run, "shop", NULL, COUNTER_TX_BYTES), 3200);
	run_free(run);
	log_free(log);
}

static void a_containers_id_that_comes_again_is_whose_it_is_then(void **state)
{
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "worker-9", "node");

	(void)state;
	tell_pod_with(log, 0, "cart", "u7", NULL, manifest.id, 0, SEC(5));
	tell_pod_with(log, 0, "pay", "u8", NULL, manifest.id, SEC(8), 0);
	log_process(log, SEC(1), b, 500, "server", 77);
	log_container(log, SEC(1), b, &manifest);
	serve_in(log, a, b, 80, 500, 2, 4);
	log_process(log, SEC(9), b, 501, "server", 77);
	serve_in(log, a, b, 81, 501, 10, 12);
	struct run *run = run_of(log);

	assert_int_equal(run_count_flows(run, "shop", "prod/cart"), 1);
	assert_int_equal(run_count_flows(run, "shop", "prod/pay"), 1);
	run_free(run);
	log_free(log);
}

static void a_pod_that_is_gone_is_not_asked_for_its_container_any_more(void **state)
{
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "worker-9", "node");

	(void)state;
	tell_pod_with(log, 0, "cart", "u7", NULL, manifest.id, 0, SEC(5));
	log_process(log, SEC(1), b, 500, "server", 77);
	log_container(log, SEC(1), b, &manifest);
	serve_in(log, a, b, 80, 500, 2, 4);
	log_process(log, SEC(9), b, 501, "server", 77);
	serve_in(log, a, b, 81, 501, 10, 12);
	struct run *run = run_of(log);

	assert_int_equal(run_count_flows(run, "shop", "prod/cart"), 1);
	assert_int_equal(run_count_flows(run, "shop", "server"), 1); /* as its agent names it */
	run_free(run);
	log_free(log);
}

struct befell {
	struct change_event changes[8];
	size_t count;
};

static void on_befell(void *context, const struct change_event *change)
{
	struct befell *befell = context;

	assert_true(befell->count < 8);
	befell->changes[befell->count++] = *change;
}

static void a_container_that_is_started_again_or_short_of_memory_is_remembered(void **state)
{
	static const char id[] = "3f4e5d6c7b8a3f4e5d6c7b8a3f4e5d6c7b8a3f4e5d6c7b8a3f4e5d6c7b8a3f4e";
	struct log *log = log_new(1);
	uint32_t a = log_node(log, "a", "shop");
	struct batch_container container = {.cgroup = 77,
					    .id = id,
					    .name = "web",
					    .namespace = "shop",
					    .workload = "front",
					    .path = "/docker/"
						    "3f4e5d6c7b8a3f4e5d6c7b8a3f4e5d6c7b8a3f4e5d6c7"
						    "b8a3f4e5d6c7b8a3f4e"};
	struct batch_container within = container;
	struct befell befell = {0};

	(void)state;
	within.cgroup = 79;
	within.path = "/docker/3f4e5d6c7b8a3f4e5d6c7b8a3f4e5d6c7b8a3f4e5d6c7b8a3f4e5d6c7b8a3f4e/x";
	log_container(log, SEC(1), a, &container);
	log_container(log, SEC(2), a, &within);
	container.oom_kills = 1;
	log_container(log, SEC(3), a, &container);
	log_container(log, SEC(4), a, &container);
	container.cgroup = 78;
	log_container(log, SEC(5), a, &container);
	log_container(log, SEC(6), a, &container);
	struct run *run = run_of(log);

	assert_int_equal(mirror_happenings(task_mirror(run->tasks[0]), 0, on_befell, &befell), 2);
	assert_int_equal(befell.count, 2);
	assert_int_equal(befell.changes[0].kind, CHANGE_OOM_KILLED);
	assert_int_equal(befell.changes[1].kind, CHANGE_RESTARTED);
	assert_string_equal(befell.changes[1].workload, "shop/front");
	assert_string_equal(befell.changes[1].instance, "web");
	assert_string_equal(befell.changes[1].node, "a");
	assert_int_equal(mirror_happenings(task_mirror(run->tasks[0]), 2, on_befell, &befell), 2);
	assert_int_equal(befell.count, 2);
	run_free(run);
	log_free(log);
}

static void on_one_more(void *context, const struct change_event *change)
{
	size_t *count = context;

	(void)change;
	++*count;
}

/* Nobody asks while the log is read; then 256 are remembered. */
static void what_befalls_containers_faster_than_it_is_told_is_counted(void **state)
{
	static const char id[] = "3f4e5d6c7b8a3f4e5d6c7b8a3f4e5d6c7b8a3f4e5d6c7b8a3f4e5d6c7b8a3f4e";
	struct log *log = log_new(1);
	uint32_t a = log_node(log, "a", "shop");
	struct batch_container container = {.cgroup = 77,
					    .id = id,
					    .name = "web",
					    .path = "/docker/"
						    "3f4e5d6c7b8a3f4e5d6c7b8a3f4e5d6c7b8a3f4e5d6c7"
						    "b8a3f4e5d6c7b8a3f4e"};
	size_t told = 0;

	(void)state;
	for (uint32_t kills = 0; kills <= 300; kills++) {
		container.oom_kills = kills;
		log_container(log, SEC(1) + kills * MS(100), a, &container);
	}
	struct run *run = run_of(log);
	struct mirror *mirror = task_mirror(run->tasks[0]);

	assert_int_equal(mirror_stats(mirror).happenings_lost, 300 - 256);
	assert_int_equal(mirror_happenings(mirror, 0, on_one_more, &told), 300);
	assert_int_equal(told, 256);
	run_free(run);
	log_free(log);
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
		cmocka_unit_test(what_is_told_late_of_a_pod_names_what_was_too),
		cmocka_unit_test(a_pod_on_its_nodes_network_is_known_by_its_container),
		cmocka_unit_test(a_container_that_is_told_late_or_began_anew_names_what_follows),
		cmocka_unit_test(a_containers_id_that_comes_again_is_whose_it_is_then),
		cmocka_unit_test(a_pod_that_is_gone_is_not_asked_for_its_container_any_more),
		cmocka_unit_test(
			a_container_that_is_started_again_or_short_of_memory_is_remembered),
		cmocka_unit_test(what_befalls_containers_faster_than_it_is_told_is_counted),
		cmocka_unit_test(metadata_up_to_thirty_seconds_late_gives_the_same_ten_seconds),
		cmocka_unit_test(the_order_in_which_tasks_run_does_not_show),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
