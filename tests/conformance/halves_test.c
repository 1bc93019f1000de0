/* What a pipeline makes of a connection's two halves: bytes once, counters that mean what they say,
 * protocols apart, silence and clocks. A is the client's node, B the server's.
 *
 * nat_test.c and identity_test.c have the scenarios of translations and of who stands at an end,
 * failover_test.c those of an agent that dies, tests/agent/container_test.c those of cgroup paths.
 * Not to be told in events yet, so in none of them: statuses of HTTP and which side saw them; DNS
 * answers, their latency and their absence; cluster metadata that comes before or after its owner;
 * two networks with the same addresses; what 169.254.169.254 and an unknown port 53 are called. Not
 * there yet: a half told late is named by who had the address when it opened; a port proxy is no
 * end of its own. */
#include "tests/conformance/run.h"

#define A "10.0.0.1:40000"
#define B "10.0.0.2:80"

struct pair {
	struct log *log;
	uint32_t a, b;		 /* nodes */
	uint32_t client, server; /* sockets */
};

/* A's client "shop" connects to B's server "web" at 1 s. */
static struct pair pair_open(uint32_t partitions)
{
	struct pair pair = {.log = log_new(partitions)};

	pair.a = log_node(pair.log, "a", "shop");
	pair.b = log_node(pair.log, "b", "web");
	pair.client = log_connect(pair.log, SEC(1), pair.a, A, B);
	pair.server = log_accept(pair.log, SEC(1), pair.b, B, A);
	return pair;
}

static struct run *pair_run(struct pair *pair)
{
	struct run *run = run_of(pair->log);

	log_free(pair->log);
	return run;
}

/* What both ends sent while an agent was away: the other told of it. */
static void pair_send_meanwhile(struct pair *pair, uint64_t at_ns, bool client_away,
				bool server_away)
{
	if (client_away)
		log_send_untold(pair->log, pair->client, 500, 20);
	else
		log_send(pair->log, at_ns, pair->client, 500, 20);
	if (server_away)
		log_send_untold(pair->log, pair->server, 20, 500);
	else
		log_send(pair->log, at_ns, pair->server, 20, 500);
}

static void bytes_that_both_halves_report_count_once(void **state)
{
	struct pair pair = pair_open(2);
	struct run *run;

	(void)state;
	log_exchange(pair.log, SEC(2), pair.client, pair.server, 1000, 300);
	log_close_both(pair.log, SEC(3), pair.client, pair.server);
	run = pair_run(&pair);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_TX_BYTES), 1000);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_RX_BYTES), 300);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_CLIENT_TX_BYTES), 1000);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_SERVER_TX_BYTES), 1000);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_OPENED), 1);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_JOINED), 1);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_CLOSED), 1);
	assert_int_equal(run_edge(run, NULL, NULL, COUNTER_TX_BYTES), 1000);
	/* Every scope sums to the same. */
	for (enum scope scope = SCOPE_EDGE; scope < SCOPES; scope++)
		assert_int_equal(run_sum(run, scope, 10000, "shop", "web", COUNTER_TX_BYTES), 1000);
	const struct run_flow *flow = run_only_flow(run);

	assert_true(flow->flow.joined);
	assert_int_equal(flow->flow.client.total.tx_bytes, 1000);
	assert_int_equal(flow->flow.server.total.rx_bytes, 1000);
	assert_string_equal(flow->client.node, "a");
	assert_string_equal(flow->server.node, "b");
	run_free(run);
}

static void a_half_alone_is_counted_against_its_peers_address(void **state)
{
	for (int client = 0; client < 2; client++) {
		struct log *log = log_new(2);
		uint32_t node = log_node(log, "n", client ? "shop" : "web");
		uint32_t socket = client ? log_connect(log, SEC(1), node, A, B)
					 : log_accept(log, SEC(1), node, B, A);

		(void)state;
		log_send(log, SEC(2), socket, 1000, 300);
		log_close(log, SEC(3), socket, CLOSE_NORMAL);
		struct run *run = run_of(log);
		const struct run_flow *flow = run_only_flow(run);

		assert_false(flow->flow.joined);
		assert_string_equal(flow->edge_client, client ? "shop" : "10.0.0.1");
		assert_string_equal(flow->edge_server, client ? "10.0.0.2" : "web");
		assert_int_equal(run_edge(run, NULL, NULL, COUNTER_TX_BYTES), client ? 1000 : 300);
		assert_int_equal(
			run_edge(run, flow->edge_client, flow->edge_server, COUNTER_TX_BYTES),
			client ? 1000 : 300);
		run_free(run);
		log_free(log);
	}
}

static void a_half_alone_finds_the_server_that_is_known_at_its_peers_address(void **state)
{
	struct pair pair = pair_open(2);
	uint32_t other = log_connect(pair.log, SEC(4), pair.a, "10.0.0.1:40001", B);

	(void)state;
	log_send(pair.log, SEC(5), other, 500, 0);
	log_close(pair.log, SEC(6), other, CLOSE_NORMAL);
	log_close_both(pair.log, SEC(7), pair.client, pair.server);
	struct run *run = pair_run(&pair);

	assert_int_equal(run_count_flows(run, "shop", "web"), 2);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_TX_BYTES), 500);
	run_free(run);
}

static void round_trip_times_of_both_ends_are_averaged_and_stay_readable(void **state)
{
	struct pair pair = pair_open(2);

	(void)state;
	log_rtt(pair.log, SEC(2), pair.client, 1000);
	log_rtt(pair.log, SEC(2), pair.server, 2000);
	log_close_both(pair.log, SEC(3), pair.client, pair.server);
	struct run *run = pair_run(&pair);

	assert_int_equal(run_edge(run, "shop", "web", COUNTER_SRTT_COUNT), 2);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_SRTT_US) /
				 run_edge(run, "shop", "web", COUNTER_SRTT_COUNT),
			 1500);
	assert_int_equal(run_only_flow(run)->flow.client.min_rtt_us, 90);
	assert_int_equal(run_only_flow(run)->flow.server.min_rtt_us, 90);
	run_free(run);
}

static void halves_told_in_different_windows_count_once_at_their_own_time(void **state)
{
	struct pair pair = pair_open(2);

	(void)state;
	log_send(pair.log, SEC(10) - MS(10), pair.client, 1000, 0);
	log_send(pair.log, SEC(10) + MS(10), pair.server, 0, 1000);
	log_close_both(pair.log, SEC(12), pair.client, pair.server);
	struct run *run = pair_run(&pair);

	assert_int_equal(run_edge_at(run, 0, "shop", "web", COUNTER_TX_BYTES), 1000);
	assert_int_equal(run_edge_at(run, 10, "shop", "web", COUNTER_TX_BYTES), 0);
	assert_int_equal(run_edge_at(run, 0, "shop", "web", COUNTER_CLIENT_TX_BYTES), 1000);
	assert_int_equal(run_edge_at(run, 10, "shop", "web", COUNTER_SERVER_TX_BYTES), 1000);
	run_free(run);
}

static void the_same_loopback_tuple_on_two_nodes_is_two_connections(void **state)
{
	struct log *log = log_new(2);

	(void)state;
	for (int i = 0; i < 2; i++) {
		uint32_t node = log_node(log, i ? "b" : "a", i ? "web" : "shop");
		uint32_t client = log_connect(log, SEC(1), node, "127.0.0.1:50000", "127.0.0.1:80");
		uint32_t server = log_accept(log, SEC(1), node, "127.0.0.1:80", "127.0.0.1:50000");

		log_exchange(log, SEC(2), client, server, i ? 10 : 1000, 0);
		log_close_both(log, SEC(3), client, server);
	}
	struct run *run = run_of(log);

	assert_int_equal(run_count_flows(run, "shop", "shop"), 1);
	assert_int_equal(run_count_flows(run, "web", "web"), 1);
	assert_int_equal(run_edge(run, "shop", "shop", COUNTER_TX_BYTES), 1000);
	assert_int_equal(run_edge(run, "web", "web", COUNTER_TX_BYTES), 10);
	assert_int_equal(run_edge(run, NULL, NULL, COUNTER_TX_BYTES), 1010);
	run_free(run);
	log_free(log);
}

static void a_hosts_connection_to_its_own_address_is_one_edge(void **state)
{
	struct log *log = log_new(2);
	uint32_t node = log_node(log, "a", "shop");

	(void)state;
	log_process(log, 0, node, 200, "web", 0);
	uint32_t client = log_connect(log, SEC(1), node, A, "10.0.0.1:80");
	uint32_t server = log_open_as(log, SEC(1), node, BATCH_ROLE_SERVER, "10.0.0.1:80", A, 200);

	log_exchange(log, SEC(2), client, server, 1000, 0);
	log_close_both(log, SEC(3), client, server);
	struct run *run = run_of(log);

	assert_true(run_only_flow(run)->flow.joined);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_TX_BYTES), 1000);
	assert_int_equal(run_edge(run, NULL, NULL, COUNTER_TX_BYTES), 1000);
	run_free(run);
	log_free(log);
}

static void tcp_and_udp_on_one_tuple_are_two_flows(void **state)
{
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "web");
	int joined = 0;

	(void)state;
	for (int udp = 0; udp < 2; udp++) {
		struct endpoint from = place(A), to = place(B);
		struct batch_definition client = {.protocol = udp ? PROTOCOL_UDP : PROTOCOL_TCP,
						  .role = BATCH_ROLE_CLIENT,
						  .local = from.address,
						  .remote = to.address,
						  .local_port = from.port,
						  .remote_port = to.port};
		struct batch_definition server = {.protocol = client.protocol,
						  .role = BATCH_ROLE_SERVER,
						  .local = to.address,
						  .remote = from.address,
						  .local_port = to.port,
						  .remote_port = from.port};
		uint32_t one = log_define(log, SEC(1), a, &client);
		uint32_t other = log_define(log, SEC(1), b, &server);

		log_exchange(log, SEC(2), one, other, udp ? 10 : 1000, 0);
		log_close_both(log, SEC(3), one, other);
	}
	struct run *run = run_of(log);

	assert_int_equal(run_count_flows(run, "shop", "web"), 2);
	for (size_t i = 0; i < run->flows_count; i++) {
		const struct flow *flow = &run->flows[i].flow;

		joined += flow->joined && !run->flows[i].replaced;
		assert_int_equal(flow->client.total.tx_bytes,
				 flow->canonical.protocol == PROTOCOL_UDP ? 10 : 1000);
		assert_int_equal(flow->edge.protocol, flow->canonical.protocol);
	}
	assert_int_equal(joined, 2);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_TX_BYTES), 1010);
	run_free(run);
	log_free(log);
}

static void an_attempt_that_nobody_answered_fails_once_and_is_not_active(void **state)
{
	struct pair pair = pair_open(2);
	uint32_t attempt = log_connect(pair.log, SEC(2), pair.a, "10.0.0.1:40001", B);

	(void)state;
	log_close(pair.log, SEC(2) + MS(10), attempt, CLOSE_CONNECT_TIMEOUT);
	log_exchange(pair.log, SEC(2), pair.client, pair.server, 1000, 0);
	struct run *run = pair_run(&pair);

	assert_int_equal(run_edge(run, "shop", "web", COUNTER_FAILED), 1);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_FAILED_TIMEOUT), 1);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_OPENED), 1);
	assert_int_equal(run_edge_at(run, 0, "shop", "web", COUNTER_ACTIVE), 1);
	assert_int_equal(run_only_flow(run)->flow.established, false);
	run_free(run);
}

static void an_attempt_at_an_unknown_server_is_not_lost(void **state)
{
	struct log *log = log_new(2);
	uint32_t node = log_node(log, "a", "shop");
	uint32_t attempt = log_connect(log, SEC(2), node, A, "192.0.2.1:443");

	(void)state;
	log_close(log, SEC(2) + MS(10), attempt, CLOSE_CONNECT_TIMEOUT);
	struct run *run = run_of(log);

	assert_string_equal(run_only_flow(run)->edge_server, "192.0.2.1");
	assert_int_equal(run_edge(run, "shop", "192.0.2.1", COUNTER_FAILED_TIMEOUT), 1);
	assert_int_equal(run_edge(run, "shop", "192.0.2.1", COUNTER_OPENED), 0);
	run_free(run);
	log_free(log);
}

static void a_reset_counts_once_and_leaves_active_alone(void **state)
{
	struct pair pair = pair_open(2);

	(void)state;
	log_exchange(pair.log, SEC(2), pair.client, pair.server, 1000, 0);
	log_close(pair.log, SEC(3), pair.client, CLOSE_RESET);
	log_close(pair.log, SEC(3), pair.server, CLOSE_RESET);
	struct run *run = pair_run(&pair);

	assert_int_equal(run_edge(run, "shop", "web", COUNTER_RESETS), 1);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_CLOSED), 1);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_FAILED), 0);
	assert_int_equal(run_edge_at(run, 0, "shop", "web", COUNTER_ACTIVE), 1);
	run_free(run);
}

static void a_counter_that_runs_backwards_moves_nothing(void **state)
{
	struct pair pair = pair_open(2);
	struct log_socket *client = &pair.log->sockets[pair.client];

	(void)state;
	log_exchange(pair.log, SEC(2), pair.client, pair.server, 1000, 200);
	client->total = (struct traffic){.tx_bytes = 10};
	log_again(pair.log, SEC(3), pair.client);
	log_close_both(pair.log, SEC(4), pair.client, pair.server);
	struct run *run = pair_run(&pair);

	for (size_t i = 0; i < run->rows_count; i++)
		for (int n = 0; n < COUNTERS; n++)
			assert_true(run->rows[i].row.amendment ||
				    run->rows[i].row.counters[n] >= 0);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_TX_BYTES), 1000);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_RX_BYTES), 200);
	run_free(run);
}

static void expect_moved_across(uint64_t before)
{
	struct log *log = log_new(2);
	uint32_t node = log_node(log, "a", "shop");
	struct endpoint from = place("10.0.0.1:40000"), to = place("10.0.0.2:80");
	uint32_t socket = log_define(log, SEC(1), node,
				     &(struct batch_definition){.role = BATCH_ROLE_CLIENT,
								.flags = BATCH_EXISTED,
								.local = from.address,
								.remote = to.address,
								.local_port = from.port,
								.remote_port = to.port,
								.age_ns = SEC(1000),
								.total = {.tx_bytes = before,
									  .rx_bytes = before,
									  .tx_segments = before,
									  .rx_segments = before}});

	/* By a difference, by a key frame, by the close. */
	log_send(log, SEC(2), socket, 300, 30);
	log_send_untold(log, socket, 300, 30);
	log_again(log, SEC(4), socket);
	log_send_untold(log, socket, 400, 40);
	log_close(log, SEC(6), socket, CLOSE_NORMAL);
	struct run *run = run_of(log);

	assert_int_equal(run_edge(run, "shop", NULL, COUNTER_TX_BYTES), 1000);
	assert_int_equal(run_edge(run, "shop", NULL, COUNTER_RX_BYTES), 100);
	for (size_t i = 0; i < run->rows_count; i++)
		for (int n = 0; n < COUNTERS; n++)
			assert_in_range(run->rows[i].row.counters[n], 0, 1 << 20);
	assert_int_equal(run->alerts_count, 0);
	run_free(run);
	log_free(log);
}

static void counters_pass_the_end_of_32_bits(void **state)
{
	(void)state;
	expect_moved_across(UINT32_MAX - 350);
	expect_moved_across(UINT32_MAX - 650);
}

static void counters_pass_the_end_of_64_bits(void **state)
{
	(void)state;
	expect_moved_across(UINT64_MAX - 350);
	expect_moved_across(UINT64_MAX - 650);
}

static void a_socket_that_reports_often_is_active_once(void **state)
{
	struct pair pair = pair_open(2);

	(void)state;
	for (uint64_t i = 0; i < 3; i++)
		log_exchange(pair.log, SEC(2) + MS(300 * i), pair.client, pair.server, 10, 0);
	struct run *run = pair_run(&pair);

	assert_int_equal(run_edge_at(run, 0, "shop", "web", COUNTER_ACTIVE), 1);
	for (size_t i = 0; i < run->rows_count; i++)
		assert_true(run->rows[i].row.counters[COUNTER_ACTIVE] <= 1);
	run_free(run);
}

static void a_socket_older_than_its_agent_is_not_new_and_brings_no_past(void **state)
{
	struct log *log = log_new(2);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "web");
	struct endpoint from = place(A), to = place(B);
	struct batch_definition client = {.role = BATCH_ROLE_CLIENT,
					  .flags = BATCH_EXISTED | BATCH_ROLE_GUESSED,
					  .local = from.address,
					  .remote = to.address,
					  .local_port = from.port,
					  .remote_port = to.port,
					  .age_ns = SEC(1000),
					  .total = {.tx_bytes = 1 << 20}};
	struct batch_definition server = {.role = BATCH_ROLE_SERVER,
					  .flags = BATCH_EXISTED | BATCH_ROLE_GUESSED,
					  .local = to.address,
					  .remote = from.address,
					  .local_port = to.port,
					  .remote_port = from.port,
					  .age_ns = SEC(1000),
					  .total = {.rx_bytes = 1 << 20}};

	(void)state;
	uint32_t one = log_define(log, SEC(1), a, &client);
	uint32_t other = log_define(log, SEC(1), b, &server);

	log_exchange(log, SEC(2), one, other, 1000, 0);
	log_close_both(log, SEC(3), one, other);
	struct run *run = run_of(log);

	assert_true(run_only_flow(run)->flow.joined);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_OPENED), 0);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_CLOSED), 1);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_TX_BYTES), 1000);
	run_free(run);
	log_free(log);
}

static void a_udp_server_with_1000_clients_is_bounded_and_its_sum_is_exact(void **state)
{
	struct log *log = log_new(2);
	uint32_t node = log_node(log, "dns", "resolver");
	struct endpoint here = place("10.0.0.53:53");

	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		struct batch_definition server = {.protocol = PROTOCOL_UDP,
						  .role = BATCH_ROLE_SERVER,
						  .local = here.address,
						  .local_port = here.port,
						  .remote = address_v4(0x0a630000 + i),
						  .remote_port = 5353};
		uint32_t socket = log_define(log, SEC(1) + MS(i), node, &server);

		log_send(log, SEC(2) + MS(i), socket, 100, 40);
		log_close(log, SEC(3) + MS(i), socket, CLOSE_NORMAL);
	}
	log_seal(log);
	struct run *run = run_with(log, &(struct run_options){.rows_max = 256});
	size_t rows = 0;

	assert_int_equal(run_count_flows(run, NULL, "resolver"), 1000);
	assert_int_equal(run_edge(run, NULL, NULL, COUNTER_TX_BYTES), 40 * 1000);
	assert_int_equal(run_edge(run, NULL, NULL, COUNTER_RX_BYTES), 100 * 1000);
	assert_int_equal(run_edge(run, NULL, NULL, COUNTER_OPENED), 1000);
	assert_true(run_edge(run, "_other", NULL, COUNTER_TX_BYTES) > 0);
	for (size_t i = 0; i < run->rows_count; i++)
		rows += run->rows[i].row.window_ms == 10000 && !run->rows[i].row.amendment &&
			run->rows[i].row.window_start_ns == LOG_START_NS;
	assert_true(rows <= 2 * 256);
	run_free(run);
	log_free(log);
}

static bool row_is_zero(const struct run_row *row)
{
	for (int i = 0; i < COUNTERS; i++)
		if (i != COUNTER_AGENT_RECEIVED && i != COUNTER_AGENT_ISSUED &&
		    row->row.counters[i])
			return false;
	return true;
}

static void an_edge_that_falls_idle_shows_one_zero_and_ends(void **state)
{
	struct pair pair = pair_open(2);
	size_t zeros = 0;
	uint64_t last_busy_ns = 0, last_ns = 0;

	(void)state;
	for (uint64_t i = 0; i < 8; i++)
		log_exchange(pair.log, SEC(2) + MS(500 * i), pair.client, pair.server, 10, 0);
	struct run *run = pair_run(&pair);

	for (size_t i = 0; i < run->rows_count; i++) {
		const struct run_row *row = &run->rows[i];

		if (row->row.window_ms != 1000 || row->row.scope != SCOPE_EDGE ||
		    strcmp(row->client, "shop"))
			continue;
		zeros += row_is_zero(row);
		last_ns = row->row.window_start_ns;
		if (!row_is_zero(row))
			last_busy_ns = last_ns;
	}
	assert_int_equal(last_busy_ns, LOG_START_NS + SEC(5));
	assert_int_equal(last_ns, LOG_START_NS + SEC(6));
	assert_int_equal(zeros, 1);
	run_free(run);
}

static void a_silent_agent_holds_nobody_back(void **state)
{
	struct pair pair = pair_open(2);
	uint32_t silent = log_node(pair.log, "silent", "batch");

	(void)state;
	pair.log->nodes[silent].to_ns = SEC(2);
	log_exchange(pair.log, SEC(20), pair.client, pair.server, 1000, 0);
	log_close_both(pair.log, SEC(21), pair.client, pair.server);
	struct run *run = pair_run(&pair);

	assert_true(run_only_flow(run)->flow.joined);
	assert_int_equal(run_edge_at(run, 20, "shop", "web", COUNTER_TX_BYTES), 1000);
	run_free(run);
}

/* Gives a partition all of its records up to a time, as far as its task wants them. */
static void feed_until(struct run *run, const struct log *log, uint32_t partition, uint64_t to_ns,
		       size_t *next)
{
	for (; *next < log->records_count && log->records[*next].append_ns < LOG_START_NS + to_ns;
	     ++*next) {
		const struct log_record *record = &log->records[*next];

		if (record->partition != partition)
			continue;
		if (!task_hungry(run->tasks[partition]))
			return;
		run_record(run, partition, record->bytes, record->length, record->append_ns);
		run_settle(run);
	}
}

static void a_pane_closes_when_the_slowest_input_has_passed_it(void **state)
{
	struct pair pair = pair_open(2);
	size_t next[2] = {0};
	uint64_t ahead, behind;

	(void)state;
	log_exchange(pair.log, SEC(2), pair.client, pair.server, 1000, 0);
	log_seal(pair.log);
	struct run *run = run_new(2, NULL);

	feed_until(run, pair.log, 0, MS(4200), &next[0]);
	feed_until(run, pair.log, 1, MS(4200), &next[1]);
	feed_until(run, pair.log, 0, MS(4400), &next[0]);
	behind = task_stats(run->tasks[0]).pane;
	assert_int_equal(behind, task_stats(run->tasks[1]).pane);
	assert_true(pane_end(behind) <= LOG_START_NS + MS(3700));
	feed_until(run, pair.log, 0, MS(6400), &next[0]);
	assert_int_equal(task_stats(run->tasks[0]).pane, behind);
	feed_until(run, pair.log, 1, MS(6400), &next[1]);
	feed_until(run, pair.log, 0, MS(6400), &next[0]);
	ahead = task_stats(run->tasks[0]).pane;
	assert_true(pane_end(ahead) > LOG_START_NS + MS(5000));
	assert_true(pane_end(ahead) <= LOG_START_NS + MS(5900));
	run_free(run);
	log_free(pair.log);
}

/* Else what is refused would depend on how far another task is behind. */
static void who_is_ahead_of_the_others_stops_reading_before_it_refuses(void **state)
{
	struct pair pair = pair_open(2);
	size_t next[2] = {0};

	(void)state;
	for (unsigned i = 0; i < 60; i++)
		log_exchange(pair.log, SEC(2) + MS(100) * i, pair.client, pair.server, 10, 10);
	log_close_both(pair.log, SEC(9), pair.client, pair.server);
	log_seal(pair.log);
	/* In step some ten wait, and of one far ahead of the other more than there is room for. */
	struct run *run = run_new(2, &(struct run_options){.events_max = 30});

	feed_until(run, pair.log, 0, SEC(2), &next[0]);
	feed_until(run, pair.log, 1, SEC(2), &next[1]);
	feed_until(run, pair.log, 0, SEC(8), &next[0]);
	for (unsigned i = 0; i < 100; i++) {
		feed_until(run, pair.log, 1, SEC(2) + MS(100) * i, &next[1]);
		feed_until(run, pair.log, 0, SEC(2) + MS(100) * i, &next[0]);
	}
	for (uint32_t i = 0; i < 2; i++) {
		const struct task_stats stats = task_stats(run->tasks[i]);

		assert_int_equal(stats.mirror.refused, 0);
		assert_true(pane_end(stats.pane) > LOG_START_NS + SEC(10));
	}
	run_free(run);
	log_free(pair.log);
}

static void restarted_agents_sockets_go_on_as_the_flow_they_were(void **state)
{
	(void)state;
	for (unsigned away = 1; away <= 3; away++) {
		struct pair pair = pair_open(2);
		bool client = away & 1, server = away & 2;
		struct run *run;

		log_connect(pair.log, SEC(1), pair.a, "10.0.0.1:39999", B); /* other slots */
		log_exchange(pair.log, SEC(2), pair.client, pair.server, 1000, 300);
		if (client)
			log_restart(pair.log, SEC(3), pair.a);
		if (server)
			log_restart(pair.log, SEC(3), pair.b);
		pair_send_meanwhile(&pair, MS(3100), client, server);
		if (client)
			log_existed(pair.log, MS(3500), pair.client);
		if (server)
			log_existed(pair.log, MS(3500), pair.server);
		log_exchange(pair.log, SEC(4), pair.client, pair.server, 1, 2);
		log_close_both(pair.log, SEC(5), pair.client, pair.server);
		run = pair_run(&pair);
		const struct flow *flow = &run_only_flow(run)->flow;

		assert_true(flow->joined);
		assert_int_equal(flow->closed_ns, LOG_START_NS + SEC(5));
		assert_int_equal(flow->client.total.tx_bytes, 1501);
		assert_int_equal(flow->server.total.tx_bytes, 322);
		assert_int_equal(run_edge(run, "shop", "web", COUNTER_CLOSED), 1);
		assert_int_equal(run_edge(run, "shop", "web", COUNTER_OPENED), 2);
		assert_int_equal(run_edge(run, "shop", "web", COUNTER_JOINED), 1);
		assert_int_equal(run_edge(run, "shop", "web", COUNTER_TX_BYTES), 1501);
		assert_int_equal(run_edge(run, "shop", "web", COUNTER_RX_BYTES), 322);
		assert_int_equal(run_edge(run, "shop", "web", COUNTER_SERVER_TX_BYTES), 1501);
		assert_int_equal(run_edge(run, NULL, NULL, COUNTER_RECOVERED_BYTES),
				 client ? 520 : 0);
		assert_int_equal(run->ingest.adopted, client + server);
		run_free(run);
	}
}

static void a_socket_that_ended_without_its_agent_ends_when_that_was_last_there(void **state)
{
	struct pair pair = pair_open(2);

	(void)state;
	pair.log->flush_ns = SEC(200);
	log_exchange(pair.log, SEC(2), pair.client, pair.server, 1000, 300);
	log_restart(pair.log, SEC(3), pair.a);
	log_close(pair.log, MS(3200), pair.server, CLOSE_NORMAL);
	/* The same ports again, under the next agent's eyes. */
	uint32_t client = log_connect(pair.log, SEC(4), pair.a, A, B);
	uint32_t server = log_accept(pair.log, SEC(4), pair.b, B, A);

	log_exchange(pair.log, SEC(5), client, server, 70, 7);
	log_close_both(pair.log, SEC(6), client, server);
	struct run *run = pair_run(&pair);

	assert_int_equal(run_count_flows(run, NULL, NULL), 2);
	for (size_t i = 0; i < run->flows_count; i++) {
		const struct flow *flow = &run->flows[i].flow;
		bool first = flow->opened_ns < LOG_START_NS + SEC(2);

		assert_true(flow->joined);
		assert_int_equal(flow->client.reason, first ? CLOSE_VANISHED : CLOSE_NORMAL);
		assert_int_equal(flow->client.total.tx_bytes, first ? 1000 : 70);
		assert_int_equal(flow->server.total.rx_bytes, first ? 1000 : 70);
	}
	assert_int_equal(run->ingest.adopted, 0);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_CLOSED), 2);
	run_free(run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_that_both_halves_report_count_once),
		cmocka_unit_test(a_half_alone_is_counted_against_its_peers_address),
		cmocka_unit_test(a_half_alone_finds_the_server_that_is_known_at_its_peers_address),
		cmocka_unit_test(round_trip_times_of_both_ends_are_averaged_and_stay_readable),
		cmocka_unit_test(halves_told_in_different_windows_count_once_at_their_own_time),
		cmocka_unit_test(the_same_loopback_tuple_on_two_nodes_is_two_connections),
		cmocka_unit_test(a_hosts_connection_to_its_own_address_is_one_edge),
		cmocka_unit_test(tcp_and_udp_on_one_tuple_are_two_flows),
		cmocka_unit_test(an_attempt_that_nobody_answered_fails_once_and_is_not_active),
		cmocka_unit_test(an_attempt_at_an_unknown_server_is_not_lost),
		cmocka_unit_test(a_reset_counts_once_and_leaves_active_alone),
		cmocka_unit_test(a_counter_that_runs_backwards_moves_nothing),
		cmocka_unit_test(counters_pass_the_end_of_32_bits),
		cmocka_unit_test(counters_pass_the_end_of_64_bits),
		cmocka_unit_test(a_socket_that_reports_often_is_active_once),
		cmocka_unit_test(a_socket_older_than_its_agent_is_not_new_and_brings_no_past),
		cmocka_unit_test(a_udp_server_with_1000_clients_is_bounded_and_its_sum_is_exact),
		cmocka_unit_test(an_edge_that_falls_idle_shows_one_zero_and_ends),
		cmocka_unit_test(a_silent_agent_holds_nobody_back),
		cmocka_unit_test(a_pane_closes_when_the_slowest_input_has_passed_it),
		cmocka_unit_test(who_is_ahead_of_the_others_stops_reading_before_it_refuses),
		cmocka_unit_test(restarted_agents_sockets_go_on_as_the_flow_they_were),
		cmocka_unit_test(
			a_socket_that_ended_without_its_agent_ends_when_that_was_last_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
