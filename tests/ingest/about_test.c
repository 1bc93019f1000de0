/* What mirror_nodes tells of a node: its facts, its agent's state, who listens there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/batch/batch.h"
#include "base/clock.h"
#include "ingest/mirror.h"
#include "millrace/v1/events.pb-c.h"
#include "tests/support/ledger.h"

static const uint64_t start_ns = 1700000000 * NS_PER_S;

static struct mirror *mirror;
static uint64_t now_ns, pane;

static void no_halves(void *context, uint32_t task, const struct half_bucket *bucket)
{
	(void)context, (void)task, (void)bucket;
}

static struct mirror_options small_options(void)
{
	return (struct mirror_options){
		.join_tasks = 1,
		.lateness_ns = 500 * NS_PER_MS,
		.keep_ns = 120 * NS_PER_S,
		.nodes_max = 4,
		.halves_max = 16,
		.nats_max = 16,
		.processes_max = 16,
		.containers_max = 16,
		.amendments_max = 16,
		.names_max = 1024,
		.instances_max = 16,
		.destinations = 1,
		.record_bytes_max = 1048576,
		.sinks = {.halves = no_halves},
	};
}

static void begin(struct mirror_options options)
{
	mirror = mirror_new(&options);
	now_ns = start_ns;
	pane = 0;
}

static int start(void **state)
{
	(void)state;
	begin(small_options());
	return 0;
}

/* Nothing of a node that left stays counted. */
static int stop(void **state)
{
	(void)state;
	assert_ledger(mirror);
	mirror_free(mirror);
	return 0;
}

/* ---- an agent ---- */

struct agent {
	struct batch *batch;
	struct batch_sender sender;
};

static struct agent agent_new(const char *node, uint8_t boot, uint64_t epoch)
{
	return (struct agent){
		.batch = batch_new(
			&(struct batch_options){.events_max = 65536, .bytes_max = 786432}),
		.sender = {.node = node,
			   .boot_id = {boot},
			   .epoch = epoch,
			   .zone = "eu-1a",
			   .region = "eu-1",
			   .role = "worker",
			   .agent_version = "9.9"},
	};
}

static void push(const uint8_t *bytes, size_t length)
{
	struct mirror_record record = {bytes, length, now_ns, 0};
	mirror_push(mirror, &record, 1);
	if (!pane)
		pane = mirror_first_pane(mirror);
	for (; mirror_ready(mirror, pane); pane++) {
		mirror_halves(mirror, pane);
		mirror_deltas(mirror, pane);
		names_advance(mirror_names(mirror), pane);
	}
}

static struct batch_bytes seal(struct agent *agent)
{
	return batch_seal(agent->batch, &agent->sender, now_ns - start_ns, now_ns);
}

static void agent_send(struct agent *agent)
{
	struct batch_bytes sealed = seal(agent);
	push(sealed.bytes, sealed.length);
}

static void pass(struct agent *agent, uint64_t ms)
{
	for (uint64_t until_ns = now_ns + ms * NS_PER_MS; now_ns < until_ns;) {
		now_ns += 250 * NS_PER_MS;
		agent_send(agent);
	}
}

static void tell_state(struct agent *agent, uint64_t failed, const char *control)
{
	assert_true(batch_state(agent->batch, &(struct batch_state){.self_tests = 100,
								    .self_tests_failed = failed,
								    .control_id = control}));
}

static void tell_kernel(struct agent *agent, const char *kernel)
{
	assert_true(batch_facts(agent->batch, &(struct batch_facts){.kernel = kernel}));
}

static struct batch_listener listener(uint64_t cookie, uint16_t port)
{
	return (struct batch_listener){
		.cookie = cookie,
		.address = address_v4(0x0a000001),
		.port = port,
		.netns = 4026531840U,
		.pid = 10,
		.backlog_max = 128,
		.time_ns = now_ns,
	};
}

static void listen_at(struct agent *agent, struct batch_listener listener)
{
	assert_true(batch_listener(agent->batch, &listener));
}

/* ---- what is told ---- */

static struct seen {
	bool known, news;
	char node[256], zone[64];
	Millrace__V1__NodeFacts *facts;
	Millrace__V1__AgentState *state;
	struct mirror_listener listeners[8];
	char programs[8][64], workloads[8][64];
	size_t count;
	uint32_t all;
	uint64_t self_test_failed_ns, told_ns;
} seen;

static void see_about(const struct mirror_about *about)
{
	if (about->facts_length)
		seen.facts =
			millrace__v1__node_facts__unpack(NULL, about->facts_length, about->facts);
	if (about->state_length)
		seen.state =
			millrace__v1__agent_state__unpack(NULL, about->state_length, about->state);
	seen.count = about->listeners_count;
	seen.all = about->listeners_all;
	for (size_t i = 0; i < about->listeners_count && i < 8; i++) {
		seen.listeners[i] = about->listeners[i];
		snprintf(seen.programs[i], 64, "%s", about->listeners[i].program);
		snprintf(seen.workloads[i], 64, "%s", about->listeners[i].workload);
	}
}

static void see_node(void *context, const struct mirror_node *node)
{
	if (strcmp(node->node, context) != 0)
		return;
	seen.known = true;
	seen.news = node->about != NULL;
	snprintf(seen.node, sizeof(seen.node), "%s", node->node);
	snprintf(seen.zone, sizeof(seen.zone), "%s", node->zone);
	seen.self_test_failed_ns = node->self_test_failed_ns;
	seen.told_ns = node->told_ns;
	if (node->about)
		see_about(node->about);
}

static void unsee(void)
{
	if (seen.facts)
		millrace__v1__node_facts__free_unpacked(seen.facts, NULL);
	if (seen.state)
		millrace__v1__agent_state__free_unpacked(seen.state, NULL);
	memset(&seen, 0, sizeof(seen));
}

static void see(const char *node)
{
	unsee();
	mirror_nodes(mirror, see_node, (void *)(uintptr_t)node);
}

static void end(struct agent *agent)
{
	unsee();
	batch_free(agent->batch);
}

/* ---- facts and state ---- */

static void facts_and_state_are_shown_as_they_were_told_and_once(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	struct batch_label labels[] = {{"rack", "r7"}, {"team", ""}};
	assert_true(batch_facts(a.batch, &(struct batch_facts){.kernel = "6.1.0",
							       .cpus = 8,
							       .memory_bytes = 1ULL << 34,
							       .cloud = "aws",
							       .labels = labels,
							       .labels_count = 2}));
	tell_state(&a, 0, "c-1");
	agent_send(&a);
	see("a");
	assert_true(seen.news);
	assert_string_equal(seen.zone, "eu-1a");
	assert_string_equal(seen.facts->kernel, "6.1.0");
	assert_int_equal(seen.facts->cpus, 8);
	assert_int_equal(seen.facts->n_labels, 2);
	assert_string_equal(seen.facts->labels[0]->value, "r7");
	assert_string_equal(seen.state->control_id, "c-1");
	assert_int_equal(seen.told_ns, now_ns);
	pass(&a, 2000);
	see("a");
	assert_true(seen.known);
	assert_false(seen.news);
	a.sender.zone = "eu-1b";
	pass(&a, 250);
	see("a");
	assert_true(seen.news);
	assert_string_equal(seen.zone, "eu-1b");
	assert_string_equal(seen.facts->kernel, "6.1.0");
	end(&a);
}

static void an_older_batch_does_not_tell_anew(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	agent_send(&a);
	tell_kernel(&a, "old");
	tell_state(&a, 3, "old");
	struct batch_bytes sealed = seal(&a);
	uint8_t *late = malloc(sealed.length);
	memcpy(late, sealed.bytes, sealed.length);
	tell_kernel(&a, "new");
	tell_state(&a, 1, "new");
	agent_send(&a);
	push(late, sealed.length);
	see("a");
	assert_string_equal(seen.facts->kernel, "new");
	assert_string_equal(seen.state->control_id, "new");
	assert_int_equal(seen.self_test_failed_ns, 0);
	free(late);
	end(&a);
}

static void a_new_start_of_the_agent_begins_with_nothing_told(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1), again = agent_new("a", 1, 2);
	tell_kernel(&a, "6.1.0");
	tell_state(&a, 0, "c-1");
	agent_send(&a);
	tell_state(&a, 1, "c-1");
	agent_send(&a);
	see("a");
	assert_int_not_equal(seen.self_test_failed_ns, 0);
	now_ns += NS_PER_S;
	agent_send(&again);
	see("a");
	assert_true(seen.news);
	assert_null(seen.facts);
	assert_null(seen.state);
	assert_int_equal(seen.self_test_failed_ns, 0);
	end(&again);
	end(&a);
}

static void a_failed_self_test_is_known_by_the_count_that_rose(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	tell_state(&a, 5, ""); /* of before: nobody knows when */
	agent_send(&a);
	see("a");
	assert_int_equal(seen.self_test_failed_ns, 0);
	pass(&a, 10000);
	tell_state(&a, 6, "");
	agent_send(&a);
	uint64_t failed_ns = now_ns;
	pass(&a, 10000);
	tell_state(&a, 6, "");
	agent_send(&a);
	see("a");
	assert_int_equal(seen.self_test_failed_ns, failed_ns);
	end(&a);
}

static void what_finds_no_room_is_counted_and_what_was_told_stays(void **state)
{
	(void)state;
	struct agent agents[4];
	struct batch_label labels[32];
	char key[256], value[256];
	memset(key, 'k', 255);
	memset(value, 'v', 255);
	key[255] = value[255] = 0;
	for (int i = 0; i < 32; i++)
		labels[i] = (struct batch_label){key, value};
	for (int i = 0; i < 4; i++) {
		char name[2] = {(char)('a' + i), 0};
		agents[i] = agent_new(strdup(name), 1, 1);
		tell_kernel(&agents[i], "small");
		agent_send(&agents[i]);
	}
	/* 4 nodes of 4 KiB; 32 such labels take 16.6 KiB. */
	batch_facts(agents[0].batch,
		    &(struct batch_facts){.kernel = "large", .labels = labels, .labels_count = 32});
	agent_send(&agents[0]);
	see("a");
	assert_string_equal(seen.facts->kernel, "small");
	assert_int_equal(mirror_stats(mirror).about_refused, 1);
	batch_facts(agents[0].batch,
		    &(struct batch_facts){.kernel = "large", .labels = labels, .labels_count = 30});
	agent_send(&agents[0]);
	see("a");
	assert_string_equal(seen.facts->kernel, "large");
	assert_int_equal(mirror_stats(mirror).about_refused, 1);
	batch_facts(agents[1].batch,
		    &(struct batch_facts){.kernel = "large", .labels = labels, .labels_count = 3});
	agent_send(&agents[1]);
	see("b");
	assert_string_equal(seen.facts->kernel, "small");
	assert_int_equal(mirror_stats(mirror).about_refused, 2);
	tell_kernel(&agents[0], "small"); /* gives its room back */
	agent_send(&agents[0]);
	batch_facts(agents[1].batch,
		    &(struct batch_facts){.kernel = "large", .labels = labels, .labels_count = 3});
	agent_send(&agents[1]);
	see("b");
	assert_string_equal(seen.facts->kernel, "large");
	assert_int_equal(mirror_stats(mirror).about_refused, 2);
	for (int i = 0; i < 4; i++) {
		free((char *)(uintptr_t)agents[i].sender.node);
		end(&agents[i]);
	}
}

static void a_silent_node_takes_nothing_with_it_when_it_is_forgotten(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1), b = agent_new("b", 1, 1);
	tell_kernel(&a, "6.1.0");
	listen_at(&a, listener(1, 80));
	agent_send(&a);
	pass(&b, 115000);
	see("a");
	assert_true(seen.known);
	pass(&b, 20000);
	see("a");
	assert_false(seen.known);
	assert_int_equal(mirror_stats(mirror).listeners, 0);
	agent_send(&a); /* it comes back as one that is new */
	see("a");
	assert_true(seen.news);
	assert_null(seen.facts);
	end(&b);
	end(&a);
}

/* ---- listeners ---- */

static void listeners_are_shown_with_whose_they_are(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	struct batch_listener web = listener(1, 8080), ssh = listener(2, 22);
	web.cgroup = 7;
	web.backlog = 3;
	ssh.pid = 0;
	ssh.drops = 4;
	assert_true(batch_container(
		a.batch,
		&(struct batch_container){.cgroup = 7, .name = "web-1", .workload = "shop/web"}));
	assert_true(batch_process(a.batch, &(struct batch_process){.pid = 10,
								   .cgroup = 7,
								   .exe = "/usr/bin/server",
								   .time_ns = now_ns}));
	listen_at(&a, web);
	listen_at(&a, ssh);
	agent_send(&a);
	pass(&a, 1000);
	see("a");
	assert_int_equal(seen.count, 2);
	assert_int_equal(seen.all, 2);
	assert_int_equal(seen.listeners[0].port, 22); /* it dropped more */
	assert_int_equal(seen.listeners[0].drops, 4);
	assert_string_equal(seen.programs[0], "");
	assert_int_equal(seen.listeners[1].port, 8080);
	assert_int_equal(seen.listeners[1].backlog, 3);
	assert_int_equal(seen.listeners[1].backlog_max, 128);
	assert_int_equal(seen.listeners[1].pid, 10);
	assert_string_equal(seen.programs[1], "server");
	assert_string_equal(seen.workloads[1], "shop/web");
	struct address wanted = address_v4(0x0a000001);
	assert_true(address_equal(&seen.listeners[1].address, &wanted));
	end(&a);
}

static void a_key_frame_of_a_listener_is_no_news_but_a_change_is(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	listen_at(&a, listener(1, 80));
	agent_send(&a);
	pass(&a, 1000);
	see("a");
	assert_true(seen.news);
	listen_at(&a, listener(1, 80));
	pass(&a, 1000);
	see("a");
	assert_false(seen.news);
	struct batch_listener full = listener(1, 80);
	full.backlog = 128;
	listen_at(&a, full);
	pass(&a, 1000);
	see("a");
	assert_true(seen.news);
	assert_int_equal(seen.listeners[0].backlog, 128);
	end(&a);
}

static void a_listener_goes_when_it_ends_or_is_not_told_again(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	listen_at(&a, listener(1, 80));
	listen_at(&a, listener(2, 81));
	agent_send(&a);
	struct batch_listener ended = listener(1, 80);
	now_ns += NS_PER_S;
	ended.flags = BATCH_LISTENER_ENDED;
	ended.time_ns = now_ns;
	listen_at(&a, ended);
	pass(&a, 1000);
	see("a");
	assert_int_equal(seen.count, 1);
	assert_int_equal(seen.listeners[0].port, 81);
	pass(&a, 110000);
	see("a");
	assert_false(seen.news);
	pass(&a, 25000);
	see("a");
	assert_true(seen.news);
	assert_int_equal(seen.all, 0);
	assert_int_equal(mirror_stats(mirror).listeners, 0);
	end(&a);
}

static void a_late_word_of_a_listener_does_not_undo_a_later_one(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	agent_send(&a);
	struct batch_listener before = listener(1, 80);
	before.backlog = 100;
	listen_at(&a, before);
	struct batch_bytes sealed = seal(&a);
	uint8_t *late = malloc(sealed.length);
	memcpy(late, sealed.bytes, sealed.length);
	now_ns += NS_PER_S;
	listen_at(&a, listener(1, 80));
	pass(&a, 2000);
	push(late, sealed.length);
	pass(&a, 2000);
	see("a");
	assert_int_equal(seen.listeners[0].backlog, 0);
	assert_int_equal(mirror_stats(mirror).late, 1);
	free(late);
	end(&a);
}

static void a_reboot_ends_all_listeners(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1), rebooted = agent_new("a", 2, 2);
	listen_at(&a, listener(1, 80));
	agent_send(&a);
	pass(&a, 1000);
	listen_at(&rebooted, listener(1, 22));
	agent_send(&rebooted);
	pass(&rebooted, 1000);
	see("a");
	assert_int_equal(seen.all, 1);
	assert_int_equal(seen.listeners[0].port, 22);
	end(&rebooted);
	end(&a);
}

static void a_full_table_of_listeners_refuses_and_counts(void **state)
{
	(void)state;
	struct mirror_options options = small_options();
	mirror_free(mirror);
	options.listeners_max = 2;
	begin(options);
	struct agent a = agent_new("a", 1, 1);
	for (uint16_t i = 1; i <= 3; i++)
		listen_at(&a, listener(i, i));
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(mirror_stats(mirror).listeners, 2);
	assert_int_equal(mirror_stats(mirror).refused, 1);
	listen_at(&a, listener(1, 1)); /* it is there */
	pass(&a, 1000);
	assert_int_equal(mirror_stats(mirror).refused, 1);
	end(&a);
}

static void of_very_many_listeners_those_that_drop_are_shown(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	for (uint16_t i = 1; i <= MIRROR_LISTENERS_SHOWN; i++)
		listen_at(&a, listener(i, i));
	agent_send(&a);
	pass(&a, 1000);
	see("a");
	assert_int_equal(seen.count, MIRROR_LISTENERS_SHOWN);
	assert_int_equal(seen.all, MIRROR_LISTENERS_SHOWN);
	struct batch_listener dropping = listener(60000, 60000);
	dropping.drops = 1;
	listen_at(&a, dropping);
	pass(&a, 1000);
	see("a");
	assert_int_equal(seen.count, MIRROR_LISTENERS_SHOWN);
	assert_int_equal(seen.all, MIRROR_LISTENERS_SHOWN + 1);
	assert_int_equal(seen.listeners[0].port, 60000);
	assert_int_equal(seen.listeners[1].port, 1);
	end(&a);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(facts_and_state_are_shown_as_they_were_told_and_once),
		TEST(an_older_batch_does_not_tell_anew),
		TEST(a_new_start_of_the_agent_begins_with_nothing_told),
		TEST(a_failed_self_test_is_known_by_the_count_that_rose),
		TEST(what_finds_no_room_is_counted_and_what_was_told_stays),
		TEST(a_silent_node_takes_nothing_with_it_when_it_is_forgotten),
		TEST(listeners_are_shown_with_whose_they_are),
		TEST(a_key_frame_of_a_listener_is_no_news_but_a_change_is),
		TEST(a_listener_goes_when_it_ends_or_is_not_told_again),
		TEST(a_late_word_of_a_listener_does_not_undo_a_later_one),
		TEST(a_reboot_ends_all_listeners),
		TEST(a_full_table_of_listeners_refuses_and_counts),
		TEST(of_very_many_listeners_those_that_drop_are_shown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
