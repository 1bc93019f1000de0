/* What an external end is called: by the name for which its client's process was given the address,
 * by that of another process of the node, by a range, and else by what kind of address it is. */
#include <unistd.h>

#include "daemon/networks.h"
#include "tests/conformance/tell.h"
#include "tests/daemon/mmdb.h"

enum { OTHER_PID = 4242, ASKERS = 3 };

/* A node with the processes "shop" (LOG_PID) and "cron", which have sockets to a resolver. */
struct asker {
	struct log *log;
	uint32_t node;
	uint32_t sockets[2]; /* shop's, cron's */
};

/* Of this boot. */
static void asker_open(struct asker *asker, uint64_t at_ns)
{
	const uint32_t pids[] = {LOG_PID, OTHER_PID};

	log_process(asker->log, at_ns, asker->node, OTHER_PID, "cron", 0);
	for (size_t i = 0; i < 2; i++) {
		struct endpoint there = place("10.0.0.53:53"), here = place("10.0.0.1:5000");

		asker->sockets[i] = log_define(
			asker->log, at_ns + MS(500), asker->node,
			&(struct batch_definition){.role = BATCH_ROLE_CLIENT,
						   .protocol = PROTOCOL_UDP,
						   .local = here.address,
						   .remote = there.address,
						   .local_port = (uint16_t)(here.port + i),
						   .remote_port = there.port,
						   .pid = pids[i]});
	}
}

static struct asker asker_on(struct log *log, const char *name)
{
	struct asker asker = {.log = log, .node = log_node(log, name, "shop")};

	asker_open(&asker, 0);
	return asker;
}

/* A process is answered at this time. */
static void told(const struct asker *asker, uint64_t at_ns, uint32_t pid, const char *name,
		 const char *address, uint32_t ttl_s)
{
	static struct batch_answer answers[64];
	static unsigned next;
	struct batch_answer *answer = &answers[next++ % 64];
	uint32_t socket = asker->sockets[pid == OTHER_PID];

	*answer = (struct batch_answer){.ttl_s = ttl_s};
	assert_int_equal(address_parse(address, &answer->address), 0);
	log_event(asker->log, LOG_LOOKUP, asker->node, at_ns)->lookup =
		(struct batch_dns){.slot = asker->log->sockets[socket].definition.slot,
				   .name = name,
				   .type = 1,
				   .latency_ns = MS(1),
				   .answers = answer,
				   .answers_count = 1};
}

static void dials(const struct asker *asker, uint64_t at_ns, uint32_t pid, const char *to)
{
	static uint16_t port = 40000;
	char from[32];

	snprintf(from, sizeof(from), strchr(to, '[') ? "[fd00::1]:%u" : "10.0.0.1:%u", port++);
	uint32_t client =
		log_open_as(asker->log, at_ns, asker->node, BATCH_ROLE_CLIENT, from, to, pid);

	log_send(asker->log, at_ns + MS(100), client, 1000, 0);
	log_close(asker->log, at_ns + MS(200), client, CLOSE_NORMAL);
}

/* A connection to this address, by shop, whose handshake asks for the name so much later. */
static uint32_t greets(const struct asker *asker, uint64_t at_ns, const char *to, uint64_t later_ns,
		       const char *name)
{
	static uint16_t port = 20000;
	char from[32];

	snprintf(from, sizeof(from), "10.0.0.1:%u", port++);
	uint32_t client = log_connect(asker->log, at_ns, asker->node, from, to);

	log_event(asker->log, LOG_NAME, asker->node, at_ns + later_ns)->name = (struct batch_sni){
		.slot = asker->log->sockets[client].definition.slot, .name = name};
	return client;
}

static void each_process_has_its_own_name_for_an_address(void **state)
{
	struct log *log = log_new(2);
	struct asker a = asker_on(log, "a");

	(void)state;
	told(&a, SEC(2), LOG_PID, "pay.example", "93.184.216.34", 300);
	told(&a, SEC(3), OTHER_PID, "mail.example", "93.184.216.34", 300);
	dials(&a, SEC(4), LOG_PID, "93.184.216.34:443");
	dials(&a, SEC(4), OTHER_PID, "93.184.216.34:25");
	struct run *run = run_of(log);

	expect_server(flow_to(run, "93.184.216.34:443"), "pay.example", RESOLUTION_DNS);
	expect_server(flow_to(run, "93.184.216.34:25"), "mail.example", RESOLUTION_DNS);
	assert_int_equal(run_edge(run, "shop", "pay.example", COUNTER_TX_BYTES), 1000);
	assert_int_equal(run_edge(run, "cron", "mail.example", COUNTER_TX_BYTES), 1000);
	run_free(run);
	log_free(log);
}

static void who_did_not_ask_is_lent_the_name_of_its_node_and_of_no_other(void **state)
{
	struct log *log = log_new(2);
	struct asker a = asker_on(log, "a"), b = asker_on(log, "b");

	(void)state;
	told(&a, SEC(2), OTHER_PID, "pay.example", "93.184.216.34", 300);
	dials(&a, SEC(3), LOG_PID, "93.184.216.34:443");
	dials(&b, SEC(3), LOG_PID, "93.184.216.34:444");
	struct run *run = run_of(log);

	expect_server(flow_to(run, "93.184.216.34:443"), "pay.example", RESOLUTION_NODE_DNS);
	expect_server(flow_to(run, "93.184.216.34:444"), "public", RESOLUTION_PUBLIC);
	assert_int_equal(run_edge(run, "shop", "pay.example", COUNTER_TX_BYTES), 1000);
	assert_int_equal(run_edge(run, "shop", "public", COUNTER_TX_BYTES), 1000);
	run_free(run);
	log_free(log);
}

static void an_answer_holds_for_its_time_and_not_before(void **state)
{
	struct log *log = log_new(2);
	struct asker a = asker_on(log, "a");

	(void)state;
	dials(&a, SEC(2), LOG_PID, "93.184.216.1:1");
	told(&a, SEC(2) + MS(50), LOG_PID, "late.example", "93.184.216.1", 300);
	told(&a, SEC(4), LOG_PID, "short.example", "93.184.216.2", 5); /* as good as a minute */
	dials(&a, SEC(63), LOG_PID, "93.184.216.2:1");
	dials(&a, SEC(65), LOG_PID, "93.184.216.2:2");
	told(&a, SEC(70), LOG_PID, "plain.example", "93.184.216.3", 90);
	dials(&a, SEC(159), LOG_PID, "93.184.216.3:1");
	dials(&a, SEC(161), LOG_PID, "93.184.216.3:2");
	struct run *run = run_of(log);

	expect_server(flow_to(run, "93.184.216.1:1"), "public", RESOLUTION_PUBLIC);
	expect_server(flow_to(run, "93.184.216.2:1"), "short.example", RESOLUTION_DNS);
	expect_server(flow_to(run, "93.184.216.2:2"), "public", RESOLUTION_PUBLIC);
	expect_server(flow_to(run, "93.184.216.3:1"), "plain.example", RESOLUTION_DNS);
	expect_server(flow_to(run, "93.184.216.3:2"), "public", RESOLUTION_PUBLIC);
	run_free(run);
	log_free(log);
}

static void of_two_names_of_one_address_the_one_asked_last_before_counts(void **state)
{
	struct log *log = log_new(2);
	struct asker a = asker_on(log, "a");

	(void)state;
	told(&a, SEC(2), LOG_PID, "one.example", "93.184.216.34", 300);
	dials(&a, SEC(3), LOG_PID, "93.184.216.34:1");
	told(&a, SEC(3) + MS(20), LOG_PID, "two.example", "93.184.216.34", 60);
	dials(&a, SEC(3) + MS(40), LOG_PID, "93.184.216.34:2");
	told(&a, SEC(3) + MS(60), LOG_PID, "one.example", "93.184.216.34", 300);
	dials(&a, SEC(3) + MS(80), LOG_PID, "93.184.216.34:3");
	struct run *run = run_of(log);

	expect_server(flow_to(run, "93.184.216.34:1"), "one.example", RESOLUTION_DNS);
	expect_server(flow_to(run, "93.184.216.34:2"), "two.example", RESOLUTION_DNS);
	expect_server(flow_to(run, "93.184.216.34:3"), "one.example", RESOLUTION_DNS);
	run_free(run);
	log_free(log);
}

static void a_connection_keeps_the_name_with_which_it_began(void **state)
{
	struct log *log = log_new(2);
	struct asker a = asker_on(log, "a");

	(void)state;
	told(&a, SEC(2), LOG_PID, "old.example", "93.184.216.34", 60);
	uint32_t client = log_connect(log, SEC(3), a.node, "10.0.0.1:39999", "93.184.216.34:443");

	told(&a, SEC(30), LOG_PID, "new.example", "93.184.216.34", 60);
	for (uint32_t i = 0; i < 30; i++) {
		log_send(log, SEC(10 * (i + 1)), client, 100, 0);
		log_again(log, SEC(10 * (i + 1)) + MS(950), client);
	}
	log_close(log, SEC(310), client, CLOSE_NORMAL);
	struct run *run = run_of(log);

	expect_server(flow_to(run, "93.184.216.34:443"), "old.example", RESOLUTION_DNS);
	assert_int_equal(run_edge(run, "shop", "old.example", COUNTER_TX_BYTES), 3000);
	assert_int_equal(run_edge(run, "shop", NULL, COUNTER_TX_BYTES), 3000);
	run_free(run);
	log_free(log);
}

static void names_are_of_both_families(void **state)
{
	struct log *log = log_new(2);
	struct asker a = asker_on(log, "a");

	(void)state;
	told(&a, SEC(2), LOG_PID, "six.example", "2606:2800:220:1::1", 300);
	dials(&a, SEC(3), LOG_PID, "[2606:2800:220:1::1]:443");
	dials(&a, SEC(3), LOG_PID, "[2606:2800:220:1::2]:443");
	struct run *run = run_of(log);

	expect_server(flow_to(run, "[2606:2800:220:1::1]:443"), "six.example", RESOLUTION_DNS);
	expect_server(flow_to(run, "[2606:2800:220:1::2]:443"), "public", RESOLUTION_PUBLIC);
	run_free(run);
	log_free(log);
}

static void what_knows_the_end_itself_comes_before_the_name(void **state)
{
	struct log *log = log_new(4);
	struct asker a = asker_on(log, "a");
	uint32_t b = log_node(log, "b", "cart");

	(void)state;
	tell_pod(log, 0, "basket", "u1", "10.244.1.5", 0, 0);
	tell_service(log, "orders", "10.96.0.7");
	tell_range(log, "partner", "93.184.216.0", 24);
	told(&a, SEC(2), LOG_PID, "cart.example", "10.0.0.2", 300);
	told(&a, SEC(2), LOG_PID, "basket.example", "10.244.1.5", 300);
	told(&a, SEC(2), LOG_PID, "orders.example", "10.96.0.7", 300);
	told(&a, SEC(2), LOG_PID, "pay.example", "93.184.216.34", 300);
	uint32_t client = log_connect(log, SEC(3), a.node, "10.0.0.1:39999", "10.0.0.2:80");
	uint32_t server = log_accept(log, SEC(3), b, "10.0.0.2:80", "10.0.0.1:39999");

	log_close_both(log, SEC(4), client, server);
	dials(&a, SEC(3), LOG_PID, "10.244.1.5:80");
	dials(&a, SEC(3), LOG_PID, "10.96.0.7:80");
	dials(&a, SEC(3), LOG_PID, "93.184.216.34:443");
	dials(&a, SEC(3), LOG_PID, "93.184.216.35:443");
	struct run *run = run_of(log);

	expect_server(flow_to(run, "10.0.0.2:80"), "cart", RESOLUTION_PROCESS);
	expect_server(flow_to(run, "10.244.1.5:80"), "prod/basket", RESOLUTION_POD);
	expect_server(flow_to(run, "10.96.0.7:80"), "prod/orders", RESOLUTION_SERVICE);
	expect_server(flow_to(run, "93.184.216.34:443"), "pay.example", RESOLUTION_DNS);
	expect_server(flow_to(run, "93.184.216.35:443"), "partner", RESOLUTION_RANGE);
	run_free(run);
	log_free(log);
}

/* The gateway's node tells the mapping, so the half hops to the owner of another key. */
static void a_name_goes_along_through_nat(void **state)
{
	struct log *log = log_new(8);
	struct asker a = asker_on(log, "a");
	uint32_t gateway = log_node(log, "gateway", "router");

	(void)state;
	told(&a, SEC(2), LOG_PID, "pay.example", "93.184.216.34", 300);
	for (uint32_t i = 0; i < 20; i++) {
		char from[32], to[32], masked[32];

		snprintf(from, sizeof(from), "10.0.0.1:%u", 30000 + i);
		snprintf(to, sizeof(to), "93.184.216.34:%u", 1000 + i);
		snprintf(masked, sizeof(masked), "203.0.113.1:%u", 60000 + i);
		log_nat(log, SEC(3), gateway, from, to, to, masked);
		uint32_t client = log_connect(log, SEC(3), a.node, from, to);

		log_close(log, SEC(4), client, CLOSE_NORMAL);
	}
	struct run *run = run_of(log);

	assert_int_equal(run->flows_count, 20);
	for (uint32_t i = 0; i < 20; i++) {
		char to[32];

		snprintf(to, sizeof(to), "93.184.216.34:%u", 1000 + i);
		expect_server(flow_to(run, to), "pay.example", RESOLUTION_DNS);
		assert_int_equal(flow_to(run, to)->flow.hops, 1);
	}
	run_free(run);
	log_free(log);
}

static void what_no_host_can_be_called_names_nobody(void **state)
{
	static const char *const names[] = {"shop/cart",	"cart@web", "pay example",
					    "p\u00e4y.example", "",	    "_other",
					    "public",		"loopback", "10.0.0.5"};
	struct log *log = log_new(2);
	struct asker a = asker_on(log, "a");

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		told(&a, SEC(2), LOG_PID, names[i], "93.184.216.34", 300);
		dials(&a, SEC(3), LOG_PID, "93.184.216.34:443");
	}
	struct run *run = run_of(log);

	assert_int_equal(run_edge(run, "shop", "public", COUNTER_TX_BYTES), 9000);
	assert_int_equal(run->ingest.answers, 0);
	run_free(run);
	log_free(log);
}

static void the_oldest_answer_makes_room(void **state)
{
	struct log *log = log_new(1);
	struct asker a = asker_on(log, "a");

	(void)state;
	for (uint32_t i = 0; i < 9; i++) {
		char address[32];

		snprintf(address, sizeof(address), "93.184.216.%u", i);
		told(&a, SEC(2) + MS(i), LOG_PID, "pay.example", address, 300);
	}
	dials(&a, SEC(3), LOG_PID, "93.184.216.0:1");
	dials(&a, SEC(3), LOG_PID, "93.184.216.1:1");
	dials(&a, SEC(3), LOG_PID, "93.184.216.8:1");
	log_seal(log);
	struct run *run = run_with(log, &(struct run_options){.answers_max = 16});

	expect_server(flow_to(run, "93.184.216.0:1"), "public", RESOLUTION_PUBLIC);
	expect_server(flow_to(run, "93.184.216.1:1"), "pay.example", RESOLUTION_DNS);
	expect_server(flow_to(run, "93.184.216.8:1"), "pay.example", RESOLUTION_DNS);
	assert_int_equal(run->ingest.answers, 16);
	assert_int_equal(run->ingest.answers_evicted, 2);
	run_free(run);
	log_free(log);
}

static void of_one_address_only_the_newest_names_are_kept(void **state)
{
	static char names[20][32];
	struct log *log = log_new(1);
	struct asker a = asker_on(log, "a");

	(void)state;
	for (uint32_t i = 0; i < 20; i++) {
		snprintf(names[i], sizeof(names[i]), "host-%u.example", i);
		told(&a, SEC(2) + MS(10 * i), LOG_PID, names[i], "93.184.216.34", 300);
	}
	dials(&a, SEC(2) + MS(45), LOG_PID, "93.184.216.34:2");
	dials(&a, SEC(3), LOG_PID, "93.184.216.34:3");
	struct run *run = run_of(log);

	expect_server(flow_to(run, "93.184.216.34:3"), "host-19.example", RESOLUTION_DNS);
	expect_server(flow_to(run, "93.184.216.34:2"), "host-4.example", RESOLUTION_DNS);
	assert_int_equal(run->ingest.answers, 32);
	assert_int_equal(run->ingest.answers_evicted, 8);
	run_free(run);
	log_free(log);
}

/* What others of the node asked for pushed it out of what the node knows, and is over itself. */
static void a_process_goes_on_with_its_own_name_when_the_nodes_others_are_gone(void **state)
{
	static char names[16][32];
	struct log *log = log_new(1);
	struct asker a = asker_on(log, "a");

	(void)state;
	told(&a, SEC(2), LOG_PID, "pay.example", "93.184.216.34", 3600);
	for (uint32_t i = 0; i < 16; i++) {
		snprintf(names[i], sizeof(names[i]), "host-%u.example", i);
		told(&a, SEC(3) + MS(10 * i), OTHER_PID, names[i], "93.184.216.34", 5);
	}
	dials(&a, SEC(230), LOG_PID, "93.184.216.34:443");
	struct run *run = run_of(log);

	assert_int_equal(run->ingest.answers, 1);
	expect_server(flow_to(run, "93.184.216.34:443"), "pay.example", RESOLUTION_DNS);
	run_free(run);
	log_free(log);
}

static void answers_leave_when_nobody_can_ask_for_them(void **state)
{
	struct log *log = log_new(1);
	struct asker a = asker_on(log, "a");

	(void)state;
	told(&a, SEC(2), LOG_PID, "pay.example", "93.184.216.34", 1);
	told(&a, SEC(2), LOG_PID, "day.example", "93.184.216.35", 86400); /* as an hour */
	log_process(log, SEC(220), a.node, 77, "late", 0);
	struct run *run = run_of(log);

	assert_int_equal(run->ingest.answers, 2);
	run_free(run);
	log_free(log);
}

/* Whether the same processes run is not known of a node that was forgotten meanwhile. */
static void what_was_answered_before_a_silence_is_not_known_after_it(void **state)
{
	struct log *log = log_new(2);
	struct asker a = asker_on(log, "a");

	(void)state;
	told(&a, SEC(2), LOG_PID, "pay.example", "93.184.216.34", 3600);
	dials(&a, SEC(4), LOG_PID, "93.184.216.34:442");
	dials(&a, SEC(200), LOG_PID, "93.184.216.34:443");
	log_seal(log);
	for (size_t i = log->records_count; i-- > 0;) {
		uint64_t at_ns = log->records[i].append_ns - LOG_START_NS;

		if (log->records[i].node == a.node && at_ns > SEC(10) && at_ns < SEC(190))
			log_drop(log, i);
	}
	struct run *run = run_with(log, NULL);

	expect_server(flow_to(run, "93.184.216.34:442"), "pay.example", RESOLUTION_DNS);
	expect_server(flow_to(run, "93.184.216.34:443"), "public", RESOLUTION_PUBLIC);
	run_free(run);
	log_free(log);
}

static void another_boot_knows_no_names_of_the_former(void **state)
{
	struct log *log = log_new(2);
	struct asker a = asker_on(log, "a");

	(void)state;
	told(&a, SEC(2), LOG_PID, "pay.example", "93.184.216.34", 300);
	log_reboot(log, SEC(4), a.node);
	log_process(log, SEC(4) + MS(1), a.node, LOG_PID, "shop", 0);
	dials(&a, SEC(6), LOG_PID, "93.184.216.34:443");
	struct run *run = run_of(log);

	expect_server(flow_to(run, "93.184.216.34:443"), "public", RESOLUTION_PUBLIC);
	run_free(run);
	log_free(log);
}

static void another_boot_that_asks_again_knows_the_name_anew(void **state)
{
	struct log *log = log_new(2);
	struct asker a = asker_on(log, "a");

	(void)state;
	told(&a, SEC(2), LOG_PID, "pay.example", "93.184.216.34", 300);
	log_reboot(log, SEC(4), a.node);
	log_process(log, SEC(4) + MS(1), a.node, LOG_PID, "shop", 0);
	asker_open(&a, SEC(4) + MS(1));
	told(&a, SEC(6), LOG_PID, "pay.example", "93.184.216.34", 300);
	dials(&a, SEC(7), LOG_PID, "93.184.216.34:443");
	dials(&a, SEC(7), OTHER_PID, "93.184.216.34:444");
	struct run *run = run_of(log);

	expect_server(flow_to(run, "93.184.216.34:443"), "pay.example", RESOLUTION_DNS);
	expect_server(flow_to(run, "93.184.216.34:444"), "pay.example", RESOLUTION_NODE_DNS);
	run_free(run);
	log_free(log);
}

static void a_handshake_names_whom_nothing_else_names(void **state)
{
	struct log *log = log_new(4);
	struct asker a = asker_on(log, "a");
	uint32_t b = log_node(log, "b", "cart");

	(void)state;
	tell_service(log, "orders", "10.96.0.7");
	tell_range(log, "partner", "93.184.216.0", 24);
	told(&a, SEC(2), LOG_PID, "own.example", "93.184.216.1", 300);
	told(&a, SEC(2), OTHER_PID, "others.example", "93.184.216.2", 300);
	static const struct {
		const char *to, *name;
		enum resolution resolution;
	} ends[] = {
		{"93.184.216.1:443", "own.example", RESOLUTION_DNS},
		{"93.184.216.2:443", "others.example", RESOLUTION_NODE_DNS},
		{"93.184.216.3:443", "asked.example", RESOLUTION_SNI},
		{"8.8.8.8:443", "asked.example", RESOLUTION_SNI},
		{"10.9.9.9:443", "asked.example", RESOLUTION_SNI},
		{"10.96.0.7:443", "prod/orders", RESOLUTION_SERVICE},
		{"10.0.0.2:443", "cart", RESOLUTION_PROCESS},
	};
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		uint32_t client = greets(&a, SEC(3), ends[i].to, MS(1), "asked.example");

		log_send(log, SEC(3) + MS(100), client, 1000, 0);
		if (ends[i].resolution == RESOLUTION_PROCESS) {
			const struct batch_definition *seen = &log->sockets[client].definition;
			char from[32];

			snprintf(from, sizeof(from), "10.0.0.1:%u", seen->local_port);
			log_close_both(log, SEC(4), client,
				       log_accept(log, SEC(3), b, ends[i].to, from));
			continue;
		}
		log_close(log, SEC(4), client, CLOSE_NORMAL);
	}
	struct run *run = run_of(log);

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		expect_server(flow_to(run, ends[i].to), ends[i].name, ends[i].resolution);
	assert_int_equal(run_edge(run, "shop", "asked.example", COUNTER_TX_BYTES), 3000);
	run_free(run);
	log_free(log);
}

/* In panes of their own, so that it was labelled without it: what it moved until then moves. */
static void a_handshake_that_comes_late_names_what_was_before_it(void **state)
{
	struct log *log = log_new(4);
	struct asker a = asker_on(log, "a");

	(void)state;
	for (uint32_t i = 0; i < 20; i++) {
		char to[32];

		snprintf(to, sizeof(to), "93.184.216.%u:443", i);
		uint32_t client = greets(&a, SEC(3), to, MS(200) * i, "late.example");

		log_send(log, SEC(3) + MS(10), client, 1000, 0);
		for (uint32_t frame = 0; frame < 3; frame++)
			log_again(log, SEC(45) * (frame + 1), client);
		log_send(log, SEC(150), client, 10, 0);
		log_close(log, SEC(160), client, CLOSE_NORMAL);
	}
	struct run *run = run_of(log);

	for (uint32_t i = 0; i < 20; i++) {
		char to[32];

		snprintf(to, sizeof(to), "93.184.216.%u:443", i);
		expect_server(flow_to(run, to), "late.example", RESOLUTION_SNI);
	}
	assert_int_equal(run_edge(run, "shop", "late.example", COUNTER_TX_BYTES), 20200);
	assert_int_equal(run_edge(run, "shop", "late.example", COUNTER_OPENED), 20);
	assert_int_equal(run->ingest.names_dropped, 0);
	run_free(run);
	log_free(log);
}

static void the_first_handshake_of_a_connection_counts(void **state)
{
	struct log *log = log_new(1);
	struct asker a = asker_on(log, "a");
	uint32_t clients[2];

	(void)state;
	clients[0] = greets(&a, SEC(3), "93.184.216.1:443", MS(1), "first.example");
	clients[1] = greets(&a, SEC(3), "93.184.216.2:443", MS(1), "first.example");
	for (size_t i = 0; i < 2; i++) { /* in the same pane, and in a later one */
		log_event(log, LOG_NAME, a.node, SEC(3) + MS(2) + SEC(i))->name =
			(struct batch_sni){.slot = log->sockets[clients[i]].definition.slot,
					   .name = "again.example"};
		log_close(log, SEC(5), clients[i], CLOSE_NORMAL);
	}
	struct run *run = run_of(log);

	expect_server(flow_to(run, "93.184.216.1:443"), "first.example", RESOLUTION_SNI);
	expect_server(flow_to(run, "93.184.216.2:443"), "first.example", RESOLUTION_SNI);
	run_free(run);
	log_free(log);
}

static void a_handshake_of_a_server_or_of_nobody_names_nobody(void **state)
{
	static const char *const words[] = {"", "public", "10.0.0.5", "a/b", "_x"};
	struct log *log = log_new(1);
	struct asker a = asker_on(log, "a");

	(void)state;
	uint32_t server = log_accept(log, SEC(3), a.node, "10.0.0.1:443", "93.184.216.9:5000");

	log_event(log, LOG_NAME, a.node, SEC(3) + MS(1))->name = (struct batch_sni){
		.slot = log->sockets[server].definition.slot, .name = "me.example"};
	log_close(log, SEC(5), server, CLOSE_NORMAL);
	log_event(log, LOG_NAME, a.node, SEC(4))->name =
		(struct batch_sni){.slot = 4000, .name = "nobody.example"};
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		uint32_t client = greets(&a, SEC(3), "93.184.216.1:443", MS(1), words[i]);

		log_send(log, SEC(3) + MS(100), client, 1000, 0);
		log_close(log, SEC(5), client, CLOSE_NORMAL);
	}
	struct run *run = run_of(log);

	assert_int_equal(run_edge(run, "shop", "public", COUNTER_TX_BYTES), 5000);
	assert_int_equal(run->ingest.refused, 1);
	run_free(run);
	log_free(log);
}

/* The gateway's node tells the mapping: before the name, with it, and long before. */
static void a_late_name_finds_who_hopped(void **state)
{
	struct log *log = log_new(8);
	struct asker a = asker_on(log, "a");
	uint32_t gateway = log_node(log, "gateway", "router");

	(void)state;
	for (uint32_t i = 0; i < 20; i++) {
		char from[32], to[32], masked[32];

		snprintf(to, sizeof(to), "93.184.216.34:%u", 1000 + i);
		snprintf(masked, sizeof(masked), "203.0.113.1:%u", 60000 + i);
		uint32_t client = greets(&a, SEC(3), to, MS(300) * i, "hopped.example");

		snprintf(from, sizeof(from), "10.0.0.1:%u",
			 log->sockets[client].definition.local_port);
		log_nat(log, SEC(3) + MS(5), gateway, from, to, to, masked);
		log_close(log, SEC(12), client, CLOSE_NORMAL);
	}
	struct run *run = run_of(log);

	for (uint32_t i = 0; i < 20; i++) {
		char to[32];

		snprintf(to, sizeof(to), "93.184.216.34:%u", 1000 + i);
		expect_server(flow_to(run, to), "hopped.example", RESOLUTION_SNI);
		assert_int_equal(flow_to(run, to)->flow.hops, 1);
	}
	run_free(run);
	log_free(log);
}

static void kinds_of_addresses_name_what_nobody_knows(void **state)
{
	static const struct {
		const char *to, *name;
		enum resolution resolution;
	} ends[] = {
		{"10.9.9.9:1", "10.9.9.9", RESOLUTION_ADDRESS},
		{"100.64.0.9:1", "100.64.0.9", RESOLUTION_ADDRESS},
		{"[fd12::9]:1", "fd12::9", RESOLUTION_ADDRESS},
		{"8.8.8.8:1", "public", RESOLUTION_PUBLIC},
		{"[2606:4700::1]:1", "public", RESOLUTION_PUBLIC},
		{"169.254.169.254:1", "link-local", RESOLUTION_LINK_LOCAL},
		{"[fe80::9]:1", "link-local", RESOLUTION_LINK_LOCAL},
		{"127.0.0.9:1", "loopback", RESOLUTION_LOOPBACK},
		{"239.1.2.3:1", "multicast", RESOLUTION_MULTICAST},
		{"[ff02::9]:1", "multicast", RESOLUTION_MULTICAST},
	};
	struct log *log = log_new(2);
	struct asker a = asker_on(log, "a");

	(void)state;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		dials(&a, SEC(3), LOG_PID, ends[i].to);
	struct run *run = run_of(log);

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		expect_server(flow_to(run, ends[i].to), ends[i].name, ends[i].resolution);
		assert_true(run_edge(run, "shop", ends[i].name, COUNTER_TX_BYTES) >= 1000);
	}
	assert_int_equal(run_edge(run, "shop", "public", COUNTER_TX_BYTES), 2000);
	run_free(run);
	log_free(log);
}

/* Written where it lies, and gone when it is open. */
static struct networks *networks_written(void)
{
	char asn[] = "/tmp/millrace-asn-XXXXXX", country[] = "/tmp/millrace-country-XXXXXX";
	struct mmdb *mmdb = memory_zeroed(1, sizeof(*mmdb));
	char error[512] = "";

	close(mkstemp(asn));
	close(mkstemp(country));
	mmdb_init(mmdb);
	mmdb_put_asn(mmdb, "93.184.0.0", 96 + 16, 64496, "Example Networks");
	mmdb_write(mmdb, asn, "GeoLite2-ASN");
	mmdb_init(mmdb);
	mmdb_put_country(mmdb, "93.184.0.0", 96 + 16, "DE");
	mmdb_put_country(mmdb, "9.0.0.0", 96 + 8, "FR");
	mmdb_write(mmdb, country, "GeoLite2-Country");
	memory_free(mmdb);
	struct networks *networks = networks_open(asn, country, error, sizeof(error));

	unlink(asn);
	unlink(country);
	if (!networks)
		fail_msg("%s", error);
	return networks;
}

static void a_public_address_that_nothing_else_names_is_its_networks(void **state)
{
	struct networks *networks = networks_written();
	struct log *log = log_new(4);
	struct asker a = asker_on(log, "a");

	(void)state;
	tell_range(log, "partner", "93.184.7.0", 24);
	tell_range(log, "", "93.184.9.0", 24);
	dials(&a, SEC(3), LOG_PID, "93.184.9.1:443");
	told(&a, SEC(2), LOG_PID, "pay.example", "93.184.216.34", 300);
	dials(&a, SEC(3), LOG_PID, "93.184.216.34:443");
	dials(&a, SEC(3), LOG_PID, "93.184.7.1:443");
	dials(&a, SEC(3), LOG_PID, "93.184.8.1:443");
	dials(&a, SEC(3), LOG_PID, "93.184.8.2:443");
	dials(&a, SEC(3), LOG_PID, "9.1.1.1:443");
	dials(&a, SEC(3), LOG_PID, "8.8.8.8:443");
	dials(&a, SEC(3), LOG_PID, "10.9.9.9:443");
	log_seal(log);
	struct run *run = run_with(log, &(struct run_options){.networks = networks});

	expect_server(flow_to(run, "93.184.216.34:443"), "pay.example", RESOLUTION_DNS);
	expect_server(flow_to(run, "93.184.9.1:443"), "93.184.9.1", RESOLUTION_ADDRESS);
	expect_server(flow_to(run, "93.184.7.1:443"), "partner", RESOLUTION_RANGE);
	expect_server(flow_to(run, "93.184.8.1:443"), "AS64496 Example Networks",
		      RESOLUTION_NETWORK);
	assert_string_equal(flow_to(run, "93.184.8.1:443")->server.zone, "DE");
	expect_server(flow_to(run, "9.1.1.1:443"), "public", RESOLUTION_PUBLIC);
	assert_string_equal(flow_to(run, "9.1.1.1:443")->server.zone, "FR");
	expect_server(flow_to(run, "8.8.8.8:443"), "public", RESOLUTION_PUBLIC);
	assert_string_equal(flow_to(run, "8.8.8.8:443")->server.zone, "");
	expect_server(flow_to(run, "10.9.9.9:443"), "10.9.9.9", RESOLUTION_ADDRESS);
	assert_int_equal(run_edge(run, "shop", "AS64496 Example Networks", COUNTER_TX_BYTES), 2000);
	run_free(run);
	log_free(log);
	networks_free(networks);
}

static void the_order_in_which_tasks_run_does_not_show(void **state)
{
	struct log *log = log_new(4);
	struct asker askers[ASKERS];

	(void)state;
	for (uint32_t i = 0; i < ASKERS; i++)
		askers[i] = asker_on(log, (const char *const[]){"a", "b", "c"}[i]);
	for (uint32_t i = 0; i < 200; i++) {
		static const char *const names[] = {"a.example", "b.example", "c.example"};
		const struct asker *asker = &askers[log_random(log) % ASKERS];
		uint32_t pid = log_random(log) % 2 ? LOG_PID : OTHER_PID;
		char address[32], to[40];

		snprintf(address, sizeof(address), "93.184.216.%u",
			 (unsigned)(log_random(log) % 8));
		snprintf(to, sizeof(to), "%s:443", address);
		if (log_random(log) % 2)
			told(asker, SEC(2) + MS(40) * i, pid, names[log_random(log) % 3], address,
			     60);
		dials(asker, SEC(2) + MS(40) * i + MS(20), pid, to);
	}
	struct run *run = run_with(log, NULL);

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
		cmocka_unit_test(each_process_has_its_own_name_for_an_address),
		cmocka_unit_test(who_did_not_ask_is_lent_the_name_of_its_node_and_of_no_other),
		cmocka_unit_test(an_answer_holds_for_its_time_and_not_before),
		cmocka_unit_test(of_two_names_of_one_address_the_one_asked_last_before_counts),
		cmocka_unit_test(a_connection_keeps_the_name_with_which_it_began),
		cmocka_unit_test(names_are_of_both_families),
		cmocka_unit_test(what_knows_the_end_itself_comes_before_the_name),
		cmocka_unit_test(a_name_goes_along_through_nat),
		cmocka_unit_test(what_no_host_can_be_called_names_nobody),
		cmocka_unit_test(the_oldest_answer_makes_room),
		cmocka_unit_test(of_one_address_only_the_newest_names_are_kept),
		cmocka_unit_test(
			a_process_goes_on_with_its_own_name_when_the_nodes_others_are_gone),
		cmocka_unit_test(answers_leave_when_nobody_can_ask_for_them),
		cmocka_unit_test(what_was_answered_before_a_silence_is_not_known_after_it),
		cmocka_unit_test(another_boot_knows_no_names_of_the_former),
		cmocka_unit_test(another_boot_that_asks_again_knows_the_name_anew),
		cmocka_unit_test(a_handshake_names_whom_nothing_else_names),
		cmocka_unit_test(a_handshake_that_comes_late_names_what_was_before_it),
		cmocka_unit_test(the_first_handshake_of_a_connection_counts),
		cmocka_unit_test(a_handshake_of_a_server_or_of_nobody_names_nobody),
		cmocka_unit_test(a_late_name_finds_who_hopped),
		cmocka_unit_test(kinds_of_addresses_name_what_nobody_knows),
		cmocka_unit_test(a_public_address_that_nothing_else_names_is_its_networks),
		cmocka_unit_test(the_order_in_which_tasks_run_does_not_show),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
