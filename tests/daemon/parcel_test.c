/* What the service is handed of a node is what its agent told, and of rows no more than a parcel
 * takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "agent/batch/batch.h"
#include "base/clock.h"
#include "base/memory.h"
#include "daemon/parcel.h"

static const uint64_t start_ns = 1700000000 * NS_PER_S;

static void no_halves(void *context, uint32_t task, const struct half_bucket *bucket)
{
	(void)context, (void)task, (void)bucket;
}

static struct mirror *mirror_of(void)
{
	return mirror_new(&(struct mirror_options){.join_tasks = 1,
						   .lateness_ns = 500 * NS_PER_MS,
						   .keep_ns = 120 * NS_PER_S,
						   .nodes_max = 4,
						   .halves_max = 64,
						   .nats_max = 64,
						   .processes_max = 64,
						   .containers_max = 64,
						   .amendments_max = 64,
						   .names_max = 64,
						   .instances_max = 64,
						   .record_bytes_max = 1 << 20,
						   .destinations = 1,
						   .sinks = {.halves = no_halves}});
}

static void push(struct mirror *mirror, struct batch *batch, const struct batch_sender *sender,
		 uint64_t now_ns)
{
	struct batch_bytes sealed = batch_seal(batch, sender, now_ns - start_ns, now_ns);
	uint64_t before = mirror_clock(mirror);

	mirror_push(mirror, &(struct mirror_record){sealed.bytes, sealed.length, now_ns, 0}, 1);
	for (uint64_t pane = before ? pane_of(before - 500 * NS_PER_MS) : UINT64_MAX;
	     pane != UINT64_MAX && mirror_ready(mirror, pane); pane++) {
		mirror_halves(mirror, pane);
		mirror_deltas(mirror, pane);
	}
}

static void tell(struct batch *batch)
{
	static const char *const features[] = {"tcp", "dns"};
	static const char *const missing[] = {"no CAP_SYS_ADMIN"};
	static const struct batch_label labels[] = {{"rack", "r7"}};

	assert_true(batch_facts(batch, &(struct batch_facts){.kernel = "6.1.0",
							     .os = "Debian 12",
							     .architecture = "x86_64",
							     .cpus = 8,
							     .memory_bytes = 1ULL << 34,
							     .booted_ns = start_ns - NS_PER_S,
							     .cloud = "aws",
							     .instance_id = "i-1",
							     .instance_type = "m5.large",
							     .labels = labels,
							     .labels_count = 1}));
	assert_true(batch_state(batch, &(struct batch_state){.level = 2,
							     .degraded = "less",
							     .cpu_share = 0.25,
							     .cpu_budget = 0.5,
							     .features = features,
							     .features_count = 2,
							     .missing = missing,
							     .missing_count = 1,
							     .control_id = "c-1",
							     .control_error = "why",
							     .programs = 13,
							     .programs_wanted = 14,
							     .self_tests = 9,
							     .self_tests_failed = 3}));
	assert_true(
		batch_listener(batch, &(struct batch_listener){.cookie = 1,
							       .address = address_v4(0x0a000001),
							       .port = 8080,
							       .netns = 5,
							       .pid = 10,
							       .backlog = 1,
							       .backlog_max = 2,
							       .drops = 3,
							       .time_ns = start_ns}));
	assert_true(batch_process(
		batch,
		&(struct batch_process){.pid = 10, .exe = "/usr/bin/server", .time_ns = start_ns}));
}

static void check_agent(const Millrace__V1__Agent *agent)
{
	assert_string_equal(agent->node, "a");
	assert_string_equal(agent->zone, "eu-1a");
	assert_string_equal(agent->region, "eu-1");
	assert_string_equal(agent->role, "worker");
	assert_string_equal(agent->version, "9.9");
	assert_string_equal(agent->boot_id, "01ff0000000000000000000000000000");
	assert_string_equal(agent->kernel, "6.1.0");
	assert_string_equal(agent->os, "Debian 12");
	assert_string_equal(agent->architecture, "x86_64");
	assert_int_equal(agent->cpus, 8);
	assert_int_equal(agent->memory_bytes, 1ULL << 34);
	assert_float_equal(agent->booted_s, 1699999999, 1e-3);
	assert_string_equal(agent->cloud, "aws");
	assert_string_equal(agent->instance_id, "i-1");
	assert_string_equal(agent->instance_type, "m5.large");
	assert_int_equal(agent->n_labels, 1);
	assert_string_equal(agent->labels[0]->key, "rack");
	assert_string_equal(agent->labels[0]->value, "r7");
	assert_int_equal(agent->level, 2);
	assert_string_equal(agent->degraded, "less");
	assert_float_equal(agent->cpu_share, 0.25, 0);
	assert_float_equal(agent->cpu_budget, 0.5, 0);
	assert_int_equal(agent->n_features, 2);
	assert_string_equal(agent->features[1], "dns");
	assert_int_equal(agent->n_missing, 1);
	assert_string_equal(agent->missing[0], "no CAP_SYS_ADMIN");
	assert_string_equal(agent->control_id, "c-1");
	assert_string_equal(agent->control_error, "why");
	assert_int_equal(agent->programs, 13);
	assert_int_equal(agent->programs_wanted, 14);
	assert_int_equal(agent->self_tests, 9);
	assert_int_equal(agent->self_tests_failed, 3);
	assert_int_equal(agent->listeners, 1);
}

static void check_listener(const Millrace__V1__Listener *listener)
{
	assert_string_equal(listener->address, "10.0.0.1");
	assert_int_equal(listener->port, 8080);
	assert_string_equal(listener->program, "server");
	assert_string_equal(listener->workload, "server@worker");
	assert_int_equal(listener->pid, 10);
	assert_int_equal(listener->backlog, 1);
	assert_int_equal(listener->backlog_max, 2);
	assert_int_equal(listener->drops, 3);
	assert_int_equal(listener->netns, 5);
}

static void all_that_a_node_tells_reaches_the_service_once(void **state)
{
	struct mirror *mirror = mirror_of();
	struct batch *batch =
		batch_new(&(struct batch_options){.events_max = 64, .bytes_max = 65536});
	struct batch_sender sender = {.node = "a",
				      .boot_id = {0x01, 0xff},
				      .epoch = 77,
				      .zone = "eu-1a",
				      .region = "eu-1",
				      .role = "worker",
				      .agent_version = "9.9",
				      .scan_period_ms = 2000};
	struct parcels *parcels = parcels_new(3, 64);
	struct task_stats stats = {.clock_ns = 1};
	struct parcel *parcel;
	Millrace__V1__AgentResponse *about;

	(void)state;
	tell(batch);
	push(mirror, batch, &sender, start_ns);
	push(mirror, batch, &sender, start_ns + 2 * NS_PER_S);
	parcel = parcels_stats(parcels, &stats, mirror);
	assert_int_equal(parcel->task, 3);
	assert_int_equal(parcel->agents_count, 1);
	assert_string_equal(parcel->agents[0].node, "a");
	assert_int_equal(parcel->agents[0].epoch, 77);
	assert_int_equal(parcel->agents[0].ledger.received, 2);
	assert_int_equal(parcel->agents[0].scan_period_ms, 2000);
	assert_int_equal(parcel->agents[0].last_seen_ns, start_ns + 2 * NS_PER_S);
	assert_int_equal(parcel->agents[0].told_ns, start_ns + 2 * NS_PER_S);
	about = millrace__v1__agent_response__unpack(NULL, parcel->agents[0].about_length,
						     parcel->agents[0].about);
	assert_non_null(about);
	check_agent(about->agent);
	assert_int_equal(about->n_listeners, 1);
	assert_int_equal(about->listeners_left_out, 0);
	check_listener(about->listeners[0]);
	millrace__v1__agent_response__free_unpacked(about, NULL);
	parcel_free(parcel);

	parcel = parcels_stats(parcels, &stats, mirror);
	assert_int_equal(parcel->agents_count, 1);
	assert_null(parcel->agents[0].about);
	parcel_free(parcel);
	parcels_free(parcels);
	batch_free(batch);
	mirror_free(mirror);
}

static void rows_are_shared_out_by_their_number_and_their_cells(void **state)
{
	struct rollup *rows = memory_zeroed(ROWS_A_PARCEL + 1, sizeof(*rows));

	(void)state;
	assert_int_equal(0, parcels_fit(rows, 0));
	assert_int_equal(1, parcels_fit(rows, 1));
	assert_int_equal(ROWS_A_PARCEL, parcels_fit(rows, ROWS_A_PARCEL + 1));
	rows[2].connect_cells = rows[3].srtt_cells = CELLS_A_PARCEL / 2;
	assert_int_equal(ROWS_A_PARCEL, parcels_fit(rows, ROWS_A_PARCEL));
	rows[4].srtt_cells = 1;
	assert_int_equal(4, parcels_fit(rows, ROWS_A_PARCEL));
	free(rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_that_a_node_tells_reaches_the_service_once),
		cmocka_unit_test(rows_are_shared_out_by_their_number_and_their_cells),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
