/* Which half of a connection counts while nothing is heard of a node: the client's, or the server's
 * while the client's node is out (join/failover.c); never both, whatever comes later. A is the
 * client's node, B the server's; A is silent from 5 s to 25 s, so B counts from 10 s to 30 s. */
#include "tests/conformance/run.h"

#define A "10.0.0.1:40000"
#define B "10.0.0.2:80"

struct pair {
	struct log *log;
	uint32_t a, b;		 /* nodes */
	uint32_t client, server; /* sockets */
};

static struct pair pair_open(void)
{
	struct pair pair = {.log = log_new(2)};

	pair.a = log_node(pair.log, "a", "shop");
	pair.b = log_node(pair.log, "b", "web");
	pair.client = log_connect(pair.log, SEC(1), pair.a, A, B);
	pair.server = log_accept(pair.log, SEC(1), pair.b, B, A);
	return pair;
}

/* A sum tells of what it is made. */
static const struct {
	uint64_t at_ns, bytes;
} exchanges[] = {
	{SEC(2), 1},	 {SEC(7), 10},	   {SEC(12), 100},
	{SEC(22), 1000}, {SEC(27), 10000}, {SEC(32), 100000},
};

static void exchange_until(const struct pair *pair, uint64_t to_ns)
{
	for (size_t i = 0; i < sizeof(exchanges) / sizeof(exchanges[0]); i++)
		if (exchanges[i].at_ns < to_ns)
			log_exchange(pair->log, exchanges[i].at_ns, pair->client, pair->server,
				     exchanges[i].bytes, 0);
}

static bool is_of(const struct log_record *record, uint32_t node, uint64_t from_ns, uint64_t to_ns)
{
	return record->node == node && record->append_ns > LOG_START_NS + from_ns &&
	       record->append_ns <= LOG_START_NS + to_ns;
}

/* Its batches of that time never come. */
static void silence(struct log *log, uint32_t node, uint64_t from_ns, uint64_t to_ns)
{
	for (size_t i = log->records_count; i-- > 0;)
		if (is_of(&log->records[i], node, from_ns, to_ns))
			log_drop(log, i);
}

/* Or when it is over, a millisecond apart. */
static void hold(struct log *log, uint32_t node, uint64_t from_ns, uint64_t to_ns)
{
	uint64_t at_ns = LOG_START_NS + to_ns;

	for (size_t i = 0; i < log->records_count; i++)
		if (is_of(&log->records[i], node, from_ns, to_ns))
			log->records[i].append_ns = at_ns += MS(1);
	for (size_t i = 0; i < log->records_count; i++)
		if (log->records[i].node == node &&
		    log->records[i].append_ns > LOG_START_NS + to_ns &&
		    log->records[i].append_ns < at_ns)
			log->records[i].append_ns = at_ns;
	log_sort(log);
}

static void expect_counted(const struct run *run, uint64_t start_s, int64_t bytes)
{
	assert_int_equal(run_edge_at(run, start_s, "shop", "web", COUNTER_TX_BYTES), bytes);
}

/* Panes and seconds say the same as the window of ten seconds, but for what is late or recovered.
 */
static void expect_sums(const struct run *run, int64_t counted, int64_t client, int64_t server)
{
	for (enum scope scope = SCOPE_EDGE; scope < SCOPES; scope++)
		assert_int_equal(run_sum(run, scope, 10000, NULL, NULL, COUNTER_TX_BYTES), counted);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_TX_BYTES), counted);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_CLIENT_TX_BYTES), client);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_SERVER_TX_BYTES), server);
	assert_int_equal(run_sum(run, SCOPE_EDGE, 250, NULL, NULL, COUNTER_TX_BYTES),
			 counted - run_edge(run, "shop", "web", COUNTER_LATE_BYTES) -
				 run_edge(run, "shop", "web", COUNTER_RECOVERED_BYTES));
}

static void the_server_counts_when_the_clients_agent_has_died(void **state)
{
	struct pair pair = pair_open();

	(void)state;
	exchange_until(&pair, SEC(40));
	log_close_both(pair.log, SEC(35), pair.client, pair.server);
	pair.log->nodes[pair.a].to_ns = SEC(5);
	struct run *run = run_of(pair.log);

	/* What passed before the next ten seconds began is in the server's columns only. */
	expect_counted(run, 0, 1);
	expect_counted(run, 10, 100);
	expect_counted(run, 20, 11000);
	expect_counted(run, 30, 100000);
	expect_sums(run, 111101, 1, 111111);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_OPENED), 1);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_CLOSED), 1);
	assert_int_equal(run_edge_at(run, 10, "shop", "web", COUNTER_ACTIVE), 1);
	run_free(run);
	log_free(pair.log);
}

static void what_the_spool_held_back_counts_once(void **state)
{
	struct pair pair = pair_open();

	(void)state;
	exchange_until(&pair, SEC(40));
	log_close_both(pair.log, SEC(35), pair.client, pair.server);
	log_seal(pair.log);
	hold(pair.log, pair.a, SEC(5), SEC(25));
	struct run *run = run_with(pair.log, NULL);

	expect_counted(run, 0, 1);
	expect_counted(run, 10, 100);
	expect_counted(run, 20, 11010); /* late: nobody counted at 7 s */
	expect_counted(run, 30, 100000);
	expect_sums(run, 111111, 111111, 111111);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_LATE_BYTES), 10);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_CLOSED), 1);
	run_free(run);
	log_free(pair.log);
}

/* One number heals all that was lost: of 7 s, when nobody counted, and of 12 s and 22 s, when the
 * server did. It cannot be divided. */
static void what_is_recovered_over_the_other_ends_time_is_not_counted_twice(void **state)
{
	struct pair pair = pair_open();

	(void)state;
	exchange_until(&pair, SEC(40));
	log_again(pair.log, SEC(34), pair.client);
	log_close_both(pair.log, SEC(35), pair.client, pair.server);
	log_seal(pair.log);
	silence(pair.log, pair.a, SEC(5), SEC(25));
	struct run *run = run_with(pair.log, NULL);

	expect_sums(run, 111101, 111111, 111111);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_RECOVERED_BYTES), 0);
	run_free(run);
	log_free(pair.log);
}

static void what_is_recovered_later_counts_as_ever(void **state)
{
	struct pair pair = pair_open();

	(void)state;
	exchange_until(&pair, SEC(40));
	log_again(pair.log, SEC(34), pair.client);
	log_exchange(pair.log, SEC(36), pair.client, pair.server, 1000000, 0);
	log_again(pair.log, SEC(38), pair.client);
	log_close_both(pair.log, SEC(39), pair.client, pair.server);
	log_seal(pair.log);
	hold(pair.log, pair.a, SEC(5), SEC(25));
	silence(pair.log, pair.a, MS(35500), MS(36500));
	struct run *run = run_with(pair.log, NULL);

	expect_sums(run, 1111111, 1111111, 1111111);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_RECOVERED_BYTES), 1000000);
	run_free(run);
	log_free(pair.log);
}

/* The former half has vanished, the new one is alone; until 30 s the server counts for both. */
static void an_agent_that_begins_anew_does_not_count_beside_the_server(void **state)
{
	struct pair pair = pair_open();
	struct endpoint from = place(A), to = place(B);

	(void)state;
	exchange_until(&pair, SEC(25));
	log_restart(pair.log, SEC(25), pair.a);
	uint32_t again = log_define(pair.log, MS(25100), pair.a,
				    &(struct batch_definition){.role = BATCH_ROLE_CLIENT,
							       .flags = BATCH_EXISTED,
							       .local = from.address,
							       .remote = to.address,
							       .local_port = from.port,
							       .remote_port = to.port});
	log_exchange(pair.log, SEC(27), again, pair.server, 10000, 0);
	log_exchange(pair.log, SEC(32), again, pair.server, 100000, 0);
	log_close_both(pair.log, SEC(35), again, pair.server);
	log_seal(pair.log);
	silence(pair.log, pair.a, SEC(5), SEC(25));
	struct run *run = run_with(pair.log, NULL);

	expect_counted(run, 0, 1);
	expect_counted(run, 10, 100);
	expect_counted(run, 20, 11000);
	expect_counted(run, 30, 100000);
	assert_int_equal(run_edge(run, NULL, NULL, COUNTER_TX_BYTES), 111101);
	assert_int_equal(run_edge(run, NULL, NULL, COUNTER_CLOSED), 1);
	run_free(run);
	log_free(pair.log);
}

/* It goes on in another slot, before the turn back or after it. What its agent did not see lies on
 * both sides of turns: the server counted it. */
static void a_socket_that_outlives_its_agent_keeps_its_turns(void **state)
{
	static const uint64_t told_ns[] = {MS(25100), SEC(31)};

	(void)state;
	for (size_t i = 0; i < sizeof(told_ns) / sizeof(told_ns[0]); i++) {
		struct pair pair = pair_open();

		exchange_until(&pair, SEC(25));
		log_restart(pair.log, SEC(25), pair.a);
		log_connect(pair.log, MS(25050), pair.a, "10.0.0.1:39999", B); /* in its slot */
		if (told_ns[i] < SEC(27)) {
			log_existed(pair.log, told_ns[i], pair.client);
			log_send(pair.log, SEC(27), pair.client, 10000, 0);
		} else {
			log_send_untold(pair.log, pair.client, 10000, 0);
			log_existed(pair.log, told_ns[i], pair.client);
		}
		log_send(pair.log, SEC(27), pair.server, 0, 10000);
		log_exchange(pair.log, SEC(32), pair.client, pair.server, 100000, 0);
		log_close_both(pair.log, SEC(35), pair.client, pair.server);
		log_seal(pair.log);
		silence(pair.log, pair.a, SEC(5), SEC(25));
		struct run *run = run_with(pair.log, NULL);

		assert_int_equal(run->ingest.adopted, 1);
		expect_counted(run, 0, 1);
		expect_counted(run, 10, 100);
		expect_counted(run, 20, 11000);
		expect_counted(run, 30, 100000);
		expect_sums(run, 111101, 111111, 111111);
		assert_int_equal(run_edge(run, "shop", "web", COUNTER_CLOSED), 1);
		run_free(run);
		log_free(pair.log);
	}
}

static void the_client_counts_on_when_the_servers_agent_has_died(void **state)
{
	struct pair pair = pair_open();

	(void)state;
	exchange_until(&pair, SEC(40));
	log_close_both(pair.log, SEC(35), pair.client, pair.server);
	pair.log->nodes[pair.b].to_ns = SEC(5);
	struct run *run = run_of(pair.log);

	expect_sums(run, 111111, 111111, 1);
	run_free(run);
	log_free(pair.log);
}

static void a_node_that_is_heard_again_before_the_next_ten_seconds_never_was_out(void **state)
{
	struct pair pair = pair_open();

	(void)state;
	exchange_until(&pair, SEC(40));
	log_close_both(pair.log, SEC(35), pair.client, pair.server);
	log_seal(pair.log);
	hold(pair.log, pair.a, SEC(4), MS(8500));
	struct run *run = run_with(pair.log, NULL);

	expect_sums(run, 111111, 111111, 111111);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_LATE_BYTES), 10);
	expect_counted(run, 0, 11);
	run_free(run);
	log_free(pair.log);
}

/* The server counts from 10 s on, and is cut off itself from 15 s on: nobody counts then, until its
 * spool comes. */
static void when_both_are_out_the_clients_half_counts_what_comes_late(void **state)
{
	struct pair pair = pair_open();

	(void)state;
	exchange_until(&pair, SEC(60));
	log_exchange(pair.log, SEC(52), pair.client, pair.server, 1000000, 0);
	log_close_both(pair.log, SEC(55), pair.client, pair.server);
	log_seal(pair.log);
	hold(pair.log, pair.a, SEC(5), SEC(41));
	hold(pair.log, pair.b, SEC(15), SEC(41));
	struct run *run = run_with(pair.log, NULL);

	/* Of the client what was not the server's at 12 s, of the server nothing. */
	expect_sums(run, 1111111, 1111111, 1111111);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_LATE_BYTES), 111010);
	expect_counted(run, 10, 100);
	expect_counted(run, 50, 1000000);
	run_free(run);
	log_free(pair.log);
}

/* The server's batch of 28 s comes when its turn is over: it is of its turn. */
static void what_the_server_tells_late_of_its_turn_counts(void **state)
{
	struct pair pair = pair_open();

	(void)state;
	exchange_until(&pair, SEC(40));
	log_exchange(pair.log, MS(29000), pair.client, pair.server, 1000000, 0);
	log_close_both(pair.log, SEC(35), pair.client, pair.server);
	log_seal(pair.log);
	hold(pair.log, pair.a, SEC(5), SEC(25));
	hold(pair.log, pair.b, MS(28900), MS(31000));
	struct run *run = run_with(pair.log, NULL);

	expect_counted(run, 20, 11010);
	expect_sums(run, 1111111, 1111111, 1111111);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_LATE_BYTES), 1000010);
	run_free(run);
	log_free(pair.log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_server_counts_when_the_clients_agent_has_died),
		cmocka_unit_test(what_the_spool_held_back_counts_once),
		cmocka_unit_test(what_is_recovered_over_the_other_ends_time_is_not_counted_twice),
		cmocka_unit_test(what_is_recovered_later_counts_as_ever),
		cmocka_unit_test(an_agent_that_begins_anew_does_not_count_beside_the_server),
		cmocka_unit_test(a_socket_that_outlives_its_agent_keeps_its_turns),
		cmocka_unit_test(the_client_counts_on_when_the_servers_agent_has_died),
		cmocka_unit_test(
			a_node_that_is_heard_again_before_the_next_ten_seconds_never_was_out),
		cmocka_unit_test(when_both_are_out_the_clients_half_counts_what_comes_late),
		cmocka_unit_test(what_the_server_tells_late_of_its_turn_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
