#include "agent/batch/batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/batch/seal.h"
#include "base/clock.h"
#include "millrace/v1/events.pb-c.h"

enum { EVENTS_MAX = 512, BYTES_MAX = 64 * 1024 };

static const uint64_t start_ns = 1700000000 * NS_PER_S;

static const struct batch_sender sender = {
	.node = "node-a",
	.boot_id = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
	.epoch = 0x1122334455667788,
	.zone = "eu-1a",
	.region = "eu-1",
	.role = "db",
	.agent_version = "0.1.0",
	.dropped_ring = 3,
	.dropped_netlink = 4,
	.dropped_spool = 5,
	.scan_period_ms = 100,
};

static const uint8_t secret[16] = "0123456789abcdef";

static struct batch *batch_small(const uint8_t *key)
{
	return batch_new(&(struct batch_options){
		.events_max = EVENTS_MAX, .bytes_max = BYTES_MAX, .key = key});
}

static Millrace__V1__Batch *sealed(struct batch *batch)
{
	struct batch_bytes bytes = batch_seal(batch, &sender, 77 * NS_PER_S, start_ns + NS_PER_S);
	Millrace__V1__Batch *message = millrace__v1__batch__unpack(NULL, bytes.length, bytes.bytes);
	assert_non_null(message);
	return message;
}

static void free_message(Millrace__V1__Batch *message)
{
	millrace__v1__batch__free_unpacked(message, NULL);
}

static bool put_update(struct batch *batch, uint32_t slot, uint64_t tx_bytes, uint64_t retransmits)
{
	return batch_update(batch, &(struct batch_update){.slot = slot,
							  .moved = {.tx_bytes = tx_bytes,
								    .rx_bytes = 2 * tx_bytes,
								    .tx_segments = 1,
								    .rx_segments = 2,
								    .retransmits = retransmits},
							  .srtt_us = 100 + slot,
							  .time_ns = start_ns + slot * NS_PER_MS});
}

/* What an agent tells since it sees lookups and drops. */
static void fill_more(struct batch *batch)
{
	const struct batch_answer answers[] = {{address_v4(0x0a600001), 30},
					       {{{0x20, 0x01, 0x0d, 0xb8, [15] = 1}}, 60}};
	const struct batch_label label = {"tier", "web"};
	const char *const features[] = {"tcp", "dns"}, *const missing[] = {"no conntrack here"};
	assert_true(batch_container(batch, &(struct batch_container){.cgroup = 8,
								     .name = "db",
								     .path = "/docker/db",
								     .runtime = "docker",
								     .pod_uid = "0-1",
								     .labels = &label,
								     .labels_count = 1}));
	assert_true(batch_dns(batch, &(struct batch_dns){.slot = 900,
							 .name = "cart.shop",
							 .type = 1,
							 .latency_ns = 1500 * NS_PER_US,
							 .answers = answers,
							 .answers_count = 2,
							 .time_ns = start_ns + 9000}));
	assert_true(batch_dns(batch, &(struct batch_dns){.slot = 900,
							 .name = "gone.shop",
							 .type = 28,
							 .rcode = 3,
							 .latency_ns = 700 * NS_PER_US,
							 .time_ns = start_ns + 9000}));
	assert_true(batch_sni(batch, &(struct batch_sni){.slot = 900,
							 .name = "pay.example",
							 .time_ns = start_ns + 9000}));
	assert_true(batch_drop(batch, &(struct batch_drop){.reason = "NETFILTER_DROP",
							   .location = "nf_hook_slow",
							   .protocol = 6,
							   .source = address_v4(0x0a000001),
							   .destination = address_v4(0x0a600001),
							   .source_port = 40000,
							   .destination_port = 80,
							   .packets = 3,
							   .bytes = 180,
							   .netns = 4026531840,
							   .socket = 4,
							   .time_ns = start_ns + 9000}));
	assert_true(
		batch_listener(batch, &(struct batch_listener){.cookie = 99,
							       .address = address_v4(0x0a000002),
							       .port = 443,
							       .pid = 10,
							       .cgroup = 4242,
							       .backlog = 2,
							       .backlog_max = 128,
							       .drops = 7,
							       .time_ns = start_ns + 9000}));
	assert_true(batch_facts(batch, &(struct batch_facts){.kernel = "6.1.0",
							     .os = "Debian 12",
							     .architecture = "x86_64",
							     .cpus = 4,
							     .memory_bytes = 1ULL << 33,
							     .booted_ns = start_ns - 77 * NS_PER_S,
							     .cloud = "aws",
							     .instance_id = "i-1",
							     .instance_type = "m5.large",
							     .labels = &label,
							     .labels_count = 1}));
	assert_true(batch_state(batch, &(struct batch_state){.level = 1,
							     .degraded = "updates every second",
							     .cpu_share = 0.25,
							     .cpu_budget = 0.5,
							     .features = features,
							     .features_count = 2,
							     .missing = missing,
							     .missing_count = 1,
							     .programs = 10,
							     .programs_wanted = 11,
							     .self_tests = 5,
							     .self_tests_failed = 1}));
}

/* One event of each kind and more: what tests/data/batch.pb holds. */
static void fill(struct batch *batch)
{
	struct address a = address_v4(0x0a000001), b = address_v4(0x0a000002);
	struct address vip = address_v4(0x0a600001);
	struct address six = {{0x20, 0x01, 0x0d, 0xb8, [15] = 1}};
	assert_true(batch_container(batch, &(struct batch_container){.cgroup = 4242,
								     .id = "c0ffee",
								     .name = "app",
								     .image = "shop/cart:1.2",
								     .pod = "cart-0",
								     .namespace = "shop",
								     .workload = "cart",
								     .path = "/kube/cart"}));
	assert_true(batch_container(
		batch, &(struct batch_container){.cgroup = 7,
						 .unit = "ssh.service",
						 .path = "/system.slice/ssh.service"}));
	assert_true(batch_process(batch, &(struct batch_process){.pid = 10,
								 .parent = 1,
								 .started_ns = 5 * NS_PER_S,
								 .cgroup = 4242,
								 .comm = "cart",
								 .exe = "/usr/bin/cart",
								 .cmdline = "cart --serve",
								 .time_ns = start_ns + 5000}));
	assert_true(batch_nat(batch, &(struct batch_nat){.protocol = 6,
							 .original_source = a,
							 .original_destination = vip,
							 .reply_source = b,
							 .reply_destination = a,
							 .original_source_port = 40000,
							 .original_destination_port = 80,
							 .reply_source_port = 8080,
							 .reply_destination_port = 40000,
							 .time_ns = start_ns + 4000}));
	assert_true(batch_define(batch, &(struct batch_definition){.slot = 3,
								   .generation = 1,
								   .protocol = 6,
								   .role = BATCH_ROLE_CLIENT,
								   .local = a,
								   .remote = vip,
								   .local_port = 40000,
								   .remote_port = 80,
								   .pid = 10,
								   .cgroup = 4242,
								   .age_ns = 900 * NS_PER_US,
								   .connect_ns = 850 * NS_PER_US,
								   .total = {.tx_bytes = 100,
									     .rx_bytes = 5000000000,
									     .tx_segments = 2,
									     .rx_segments = 3,
									     .retransmits = 1},
								   .srtt_us = 250,
								   .min_rtt_us = 200,
								   .time_ns = start_ns + 9000}));
	assert_true(
		batch_define(batch, &(struct batch_definition){.slot = 900,
							       .generation = 2,
							       .protocol = 17,
							       .role = BATCH_ROLE_SERVER,
							       .flags = BATCH_AGAIN | BATCH_EXISTED,
							       .local = six,
							       .remote = six,
							       .local_port = 53,
							       .remote_port = 50000,
							       .time_ns = start_ns + 3000}));
	assert_true(put_update(batch, 900, 10, 0));
	assert_true(put_update(batch, 3, 20, 2));
	assert_true(put_update(batch, 17, 30, 0));
	assert_true(put_update(batch, 901, 40, 1));
	assert_true(batch_close(batch, &(struct batch_close){.slot = 17,
							     .reason = CLOSE_RESET,
							     .pid = 10,
							     .total = {.tx_bytes = 1,
								       .rx_bytes = 2,
								       .tx_segments = 3,
								       .rx_segments = 4,
								       .retransmits = 5},
							     .min_rtt_us = 6,
							     .time_ns = start_ns + 8000}));
	assert_true(batch_exit(batch, &(struct batch_exit){.pid = 10,
							   .started_ns = 5 * NS_PER_S,
							   .status = 1,
							   .signal = 9,
							   .time_ns = start_ns + 7000}));
	fill_more(batch);
}

static size_t read_whole(FILE *file, char *text, size_t size)
{
	assert_non_null(file);
	size_t length = fread(text, 1, size - 1, file);
	text[length] = 0;
	return length;
}

static void a_batch_is_the_stored_record_and_protoc_reads_it(void **state)
{
	(void)state;
	static char stored[8192], expected[32768], decoded[32768];
	uint8_t key[SEAL_KEY_BYTES];
	assert_int_equal(seal_node_key(secret, sizeof(secret), sender.node, key), 0);
	struct batch *batch = batch_small(key);
	fill(batch);
	struct batch_bytes bytes = batch_seal(batch, &sender, 77 * NS_PER_S, start_ns + NS_PER_S);

	FILE *file = fopen("tests/data/batch.pb", "rb");
	assert_int_equal(read_whole(file, stored, sizeof(stored)), bytes.length);
	fclose(file);
	assert_memory_equal(stored, bytes.bytes, bytes.length);
	assert_true(seal_check(key, bytes.bytes, bytes.length));

	file = fopen("tests/data/batch.txtpb", "r");
	read_whole(file, expected, sizeof(expected));
	fclose(file);
	FILE *protoc = popen("protoc --proto_path=proto --decode=millrace.v1.Batch "
			     "millrace/v1/events.proto <tests/data/batch.pb",
			     "r");
	read_whole(protoc, decoded, sizeof(decoded));
	assert_int_equal(pclose(protoc), 0);
	assert_string_equal(decoded, expected);
	batch_free(batch);
}

static void updates_are_ascending_by_slot(void **state)
{
	(void)state;
	struct batch *batch = batch_small(NULL);
	static const uint32_t slots[] = {70000, 3, 16777300, 259, 0, 258, 4294967295, 2};
	static const uint32_t ascending[] = {0, 2, 3, 258, 259, 70000, 16777300, 4294967295};
	for (size_t i = 0; i < 8; i++)
		assert_true(
			batch_update(batch, &(struct batch_update){.slot = slots[i],
								   .moved = {.tx_bytes = slots[i]},
								   .time_ns = start_ns}));
	Millrace__V1__Batch *message = sealed(batch);
	assert_int_equal(message->updates->n_slot, 8);
	uint32_t slot = 0;
	for (size_t i = 0; i < 8; i++) {
		slot += (uint32_t)message->updates->slot[i];
		assert_int_equal(slot, ascending[i]);
		assert_int_equal(message->updates->tx_bytes[i], slot);
	}
	free_message(message);
	batch_free(batch);
}

static void a_second_update_of_a_slot_is_added_to_the_first(void **state)
{
	(void)state;
	struct batch *batch = batch_small(NULL);
	assert_true(put_update(batch, 5, 10, 1));
	assert_true(put_update(batch, 5, 30, 2));
	assert_int_equal(batch_events(batch), 1);
	Millrace__V1__Batch *message = sealed(batch);
	assert_int_equal(message->events, 1);
	assert_int_equal(message->updates->n_slot, 1);
	assert_int_equal(message->updates->tx_bytes[0], 40);
	assert_int_equal(message->updates->rx_bytes[0], 80);
	assert_int_equal(message->updates->retransmits[0], 3);
	free_message(message);
	/* and not to one of the batch before */
	assert_true(put_update(batch, 5, 7, 0));
	message = sealed(batch);
	assert_int_equal(message->updates->tx_bytes[0], 7);
	free_message(message);
	batch_free(batch);
}

static void times_are_the_base_plus_running_sums(void **state)
{
	(void)state;
	struct batch *batch = batch_small(NULL);
	static const uint64_t offsets_us[] = {500, 100, 900, 0, 700};
	for (uint32_t i = 0; i < 5; i++)
		assert_true(batch_exit(
			batch, &(struct batch_exit){
				       .pid = i, .time_ns = start_ns + offsets_us[i] * NS_PER_US}));
	Millrace__V1__Batch *message = sealed(batch);
	uint64_t time_us = message->base_time_us;
	assert_int_equal(time_us, start_ns / NS_PER_US);
	for (uint32_t i = 0; i < 5; i++) {
		time_us += (uint64_t)message->exits->dt_us[i];
		assert_int_equal(time_us, start_ns / NS_PER_US + offsets_us[i]);
	}
	free_message(message);
	batch_free(batch);
}

static void an_empty_batch_is_a_heartbeat_and_numbers_go_on(void **state)
{
	(void)state;
	struct batch *batch = batch_small(NULL);
	for (uint32_t i = 0; i < 3; i++)
		assert_true(put_update(batch, i, 1, 0));
	free_message(sealed(batch));
	Millrace__V1__Batch *message = sealed(batch);
	assert_int_equal(message->sequence, 1);
	assert_int_equal(message->first_event, 3);
	assert_int_equal(message->events, 0);
	assert_int_equal(message->base_time_us, (start_ns + NS_PER_S) / NS_PER_US);
	assert_null(message->updates);
	assert_int_equal(message->n_strings, 0);
	free_message(message);
	batch_free(batch);
}

static void columns_of_zeros_are_left_out(void **state)
{
	(void)state;
	struct batch *batch = batch_small(NULL);
	for (uint32_t i = 0; i < 3; i++)
		assert_true(batch_close(batch, &(struct batch_close){.slot = 0,
								     .total.rx_bytes = i == 2,
								     .time_ns = start_ns}));
	Millrace__V1__Batch *message = sealed(batch);
	assert_int_equal(message->closes->n_slot, 3); /* tells how many there are */
	assert_int_equal(message->closes->n_rx_bytes, 3);
	assert_int_equal(message->closes->n_tx_bytes, 0);
	assert_int_equal(message->closes->n_dt_us, 0);
	free_message(message);
	batch_free(batch);
}

static void pids_and_starts_are_differences(void **state)
{
	(void)state;
	struct batch *batch = batch_small(NULL);
	static const uint32_t pids[] = {1000, 4000000000, 7};
	static const uint64_t starts_ns[] = {77 * NS_PER_S - 5, 3, UINT64_MAX};
	for (size_t i = 0; i < 3; i++)
		assert_true(batch_exit(batch, &(struct batch_exit){.pid = pids[i],
								   .started_ns = starts_ns[i],
								   .time_ns = start_ns}));
	Millrace__V1__Batch *message = sealed(batch);
	uint32_t pid = 0;
	uint64_t started_ns = message->sent_boottime_ns;
	assert_int_equal(message->exits->started_change_ns[0], -5);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(pid += (uint32_t)message->exits->pid_change[i], pids[i]);
		started_ns += (uint64_t)message->exits->started_change_ns[i];
		assert_true(started_ns == starts_ns[i]);
	}
	free_message(message);
	batch_free(batch);
}

/* 2.0 ms begins a scan, a definition comes at 2.5, 8.0 is of another scan. */
static void updates_of_one_scan_have_one_time(void **state)
{
	(void)state;
	static const uint64_t put_us[] = {2000, 2100, 2300, 2600, 2700, 8000, 7900};
	static const uint64_t told_us[] = {2000, 2000, 2000, 2500, 2500, 8000, 7900};
	struct batch *batch = batch_new(&(struct batch_options){
		.events_max = EVENTS_MAX, .bytes_max = BYTES_MAX, .scan_ns = 5 * NS_PER_MS});
	for (uint32_t i = 0; i < 7; i++) {
		if (i == 3)
			assert_true(batch_define(
				batch, &(struct batch_definition){
					       .slot = 3, .time_ns = start_ns + 2500 * NS_PER_US}));
		assert_true(batch_update(
			batch, &(struct batch_update){
				       .slot = i, .time_ns = start_ns + put_us[i] * NS_PER_US}));
	}
	Millrace__V1__Batch *message = sealed(batch);
	uint64_t time_us = message->base_time_us;
	for (uint32_t i = 0; i < 7; i++) {
		time_us += (uint64_t)message->updates->dt_us[i];
		assert_int_equal(time_us, start_ns / NS_PER_US + told_us[i]);
	}
	free_message(message);
	batch_free(batch);
}

static void the_dictionaries_hold_each_value_once(void **state)
{
	(void)state;
	struct batch *batch = batch_small(NULL);
	for (uint32_t i = 0; i < 50; i++) {
		assert_true(batch_define(batch,
					 &(struct batch_definition){.slot = i,
								    .local = address_v4(1),
								    .remote = address_v4(2 + i % 3),
								    .time_ns = start_ns}));
		assert_true(
			batch_process(batch, &(struct batch_process){.pid = i,
								     .comm = i % 2 ? "odd" : "even",
								     .time_ns = start_ns}));
	}
	Millrace__V1__Batch *message = sealed(batch);
	assert_int_equal(message->addresses.len, 0);
	assert_int_equal(message->addresses_v4.len, 4 * 4);
	assert_int_equal(message->n_strings, 3);
	assert_string_equal(message->strings[0], "");
	for (uint32_t i = 0; i < 50; i++) {
		assert_string_equal(message->strings[message->processes->comm[i]],
				    i % 2 ? "odd" : "even");
	}
	assert_int_equal(message->processes->n_exe, 0);
	free_message(message);
	batch_free(batch);
}

static void strings_are_utf8_and_bounded(void **state)
{
	(void)state;
	struct batch *batch = batch_small(NULL);
	char endless[5000];
	memset(endless, 'x', sizeof(endless) - 1);
	endless[sizeof(endless) - 1] = 0;
	assert_true(
		batch_process(batch, &(struct batch_process){.comm = "a\xff\xc3\xa9\xed\xa0\x80z",
							     .exe = "",
							     .cmdline = endless,
							     .time_ns = start_ns}));
	/* a character that the bound would cut in two stays out as a whole */
	assert_true(
		batch_process(batch, &(struct batch_process){.comm = "12345678901234\xe2\x82\xac",
							     .time_ns = start_ns}));
	Millrace__V1__Batch *message = sealed(batch);
	assert_string_equal(message->strings[message->processes->comm[0]], "a?\xc3\xa9???z");
	assert_int_equal(strlen(message->strings[message->processes->cmdline[0]]),
			 BATCH_CMDLINE_MAX);
	assert_string_equal(message->strings[message->processes->comm[1]], "12345678901234");
	free_message(message);
	batch_free(batch);
}

static void a_put_past_the_count_is_refused(void **state)
{
	(void)state;
	struct batch *batch = batch_small(NULL);
	for (uint32_t i = 0; i < EVENTS_MAX; i++)
		assert_true(put_update(batch, i, 1, 0));
	assert_false(put_update(batch, EVENTS_MAX, 1, 0));
	assert_true(put_update(batch, 0, 1, 0)); /* no new event */
	assert_int_equal(batch_events(batch), EVENTS_MAX);
	Millrace__V1__Batch *message = sealed(batch);
	assert_int_equal(message->updates->n_slot, EVENTS_MAX);
	free_message(message);
	assert_true(put_update(batch, EVENTS_MAX, 1, 0));
	batch_free(batch);
}

static void a_put_past_the_bytes_is_refused_and_changes_nothing(void **state)
{
	(void)state;
	struct batch *batch = batch_small(NULL);
	char path[1000];
	uint32_t put = 0;
	for (;; put++) {
		memset(path, 'a' + (int)put % 26, sizeof(path));
		path[sizeof(path) - 1] = 0;
		memcpy(path,
		       &(char[8]){'0' + (char)(put / 10), '0' + (char)(put % 10), '-', 'p', 'a',
				  't', 'h', '-'},
		       8);
		if (!batch_container(batch, &(struct batch_container){
						    .cgroup = put, .path = path, .name = "same"}))
			break;
	}
	assert_in_range(put, 58, 64);
	assert_int_equal(batch_events(batch), put);
	struct batch_bytes bytes = batch_seal(batch, &sender, 1, start_ns);
	assert_in_range(bytes.length, BYTES_MAX - 4096, BYTES_MAX);
	Millrace__V1__Batch *message = millrace__v1__batch__unpack(NULL, bytes.length, bytes.bytes);
	assert_non_null(message);
	assert_int_equal(message->containers->n_cgroup, put);
	assert_int_equal(message->n_strings,
			 put + 2); /* "", "same": the refused path is not here */
	free_message(message);
	batch_free(batch);
}

static uint64_t random_next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Any value of any size: what is put comes back, and the bound on bytes holds. */
static void random_definitions_come_back_as_put(void **state)
{
	(void)state;
	static struct batch_definition put[EVENTS_MAX];
	for (uint64_t run = 1; run <= 50; run++) {
		uint64_t seed = run * 0x9e3779b97f4a7c15;
		struct batch *batch = batch_small(NULL);
		uint32_t count = 0;
		for (; count < EVENTS_MAX; count++) {
			struct batch_definition *d = &put[count];
			*d = (struct batch_definition){
				.slot = (uint32_t)random_next(&seed) >> random_next(&seed) % 32,
				.generation = (uint32_t)random_next(&seed),
				.protocol = 6,
				.flags = (uint32_t)random_next(&seed) & 15,
				.role = (uint8_t)(random_next(&seed) % 3),
				.local = address_v4((uint32_t)random_next(&seed) % 64),
				.remote = address_v4((uint32_t)random_next(&seed) % 64),
				.local_port = (uint16_t)random_next(&seed),
				.remote_port = (uint16_t)random_next(&seed),
				.pid = (uint32_t)random_next(&seed) >> random_next(&seed) % 32,
				.cgroup = random_next(&seed) >> random_next(&seed) % 64,
				.total.tx_bytes = random_next(&seed) >> random_next(&seed) % 64,
				.time_ns = random_next(&seed) >> random_next(&seed) % 64};
			if (!batch_define(batch, d))
				break;
		}
		struct batch_bytes bytes = batch_seal(batch, &sender, 1, start_ns);
		if (bytes.length > BYTES_MAX || bytes.events != count)
			fail_msg("seed %llu: %zu bytes", (unsigned long long)run, bytes.length);
		Millrace__V1__Batch *message =
			millrace__v1__batch__unpack(NULL, bytes.length, bytes.bytes);
		assert_non_null(message);
		const Millrace__V1__Definitions *d = message->definitions;
		uint64_t time_us = message->base_time_us;
		for (uint32_t i = 0; i < count; i++) {
			time_us += (uint64_t)d->dt_us[i];
			if (d->slot[i] != put[i].slot || d->generation[i] != put[i].generation ||
			    d->cgroup[i] != put[i].cgroup || d->pid[i] != put[i].pid ||
			    d->tx_bytes[i] != put[i].total.tx_bytes ||
			    d->local_port[i] != put[i].local_port ||
			    memcmp(message->addresses_v4.data + 4 * d->remote[i],
				   put[i].remote.bytes + 12, 4) ||
			    time_us != put[i].time_ns / NS_PER_US)
				fail_msg("seed %llu: event %u", (unsigned long long)run, i);
		}
		free_message(message);
		batch_free(batch);
	}
}

static void elements_follow_their_events_in_order(void **state)
{
	(void)state;
	struct batch *batch = batch_small(NULL);
	struct batch_label labels[40];
	for (uint32_t i = 0; i < 40; i++)
		labels[i] = (struct batch_label){"k", i % 2 ? "odd" : "even"};
	for (uint32_t count = 0; count <= 40; count += 20)
		assert_true(
			batch_container(batch, &(struct batch_container){.cgroup = count,
									 .runtime = "docker",
									 .labels = labels,
									 .labels_count = count}));
	struct batch_answer answers[] = {{address_v4(0x0a000001), 30},
					 {{{0x20, 0x01, [15] = 7}}, 60},
					 {address_v4(0x0a000003), 0}};
	for (uint32_t count = 0; count <= 3; count++)
		assert_true(batch_dns(batch, &(struct batch_dns){.slot = 5 + count,
								 .name = "shop.test",
								 .type = 28,
								 .rcode = 3,
								 .flags = BATCH_DNS_TRUNCATED,
								 .latency_ns = 1234 * NS_PER_US,
								 .answers = answers,
								 .answers_count = count,
								 .time_ns = start_ns}));
	Millrace__V1__Batch *message = sealed(batch);
	const Millrace__V1__Containers *c = message->containers;
	assert_int_equal(message->events, 7);
	assert_int_equal(c->n_labels_key, 20 + BATCH_LABELS_MAX);
	assert_int_equal(c->n_labels_value, 20 + BATCH_LABELS_MAX);
	assert_int_equal(c->labels[0], 0);
	assert_int_equal(c->labels[2], BATCH_LABELS_MAX);
	assert_string_equal(message->strings[c->labels_value[21]], "odd");
	assert_string_equal(message->strings[c->runtime[1]], "docker");
	const Millrace__V1__Dns *d = message->dns;
	assert_int_equal(d->n_answers, 4);
	assert_int_equal(d->n_answers_address, 6);
	assert_int_equal(d->slot[3], 8);
	assert_int_equal(d->latency_us[3], 1234);
	assert_int_equal(d->answers_ttl_s[4], 60);
	/* behind the dictionary of IPv4, of which there are two */
	assert_int_equal(d->answers_address[4], 2);
	assert_string_equal(message->strings[d->name[0]], "shop.test");
	free_message(message);
	batch_free(batch);
}

static void drops_and_listeners_come_back_as_put(void **state)
{
	(void)state;
	struct batch *batch = batch_small(NULL);
	assert_true(batch_drop(batch, &(struct batch_drop){.reason = "NETFILTER_DROP",
							   .location = "nf_hook_slow",
							   .protocol = 6,
							   .source = address_v4(1),
							   .destination = address_v4(2),
							   .source_port = 1000,
							   .destination_port = 80,
							   .packets = 3,
							   .bytes = 180,
							   .netns = 4026531840,
							   .socket = 8,
							   .time_ns = start_ns}));
	assert_true(batch_listener(batch, &(struct batch_listener){.cookie = 99,
								   .flags = BATCH_LISTENER_AGAIN,
								   .address = address_v4(0),
								   .port = 443,
								   .pid = 12,
								   .backlog = 2,
								   .backlog_max = 128,
								   .drops = 7,
								   .time_ns = start_ns}));
	Millrace__V1__Batch *message = sealed(batch);
	const Millrace__V1__Drops *d = message->drops;
	assert_int_equal(d->packets[0], 3);
	assert_int_equal(d->socket[0], 8);
	assert_int_equal(d->destination_port[0], 80);
	assert_string_equal(message->strings[d->location[0]], "nf_hook_slow");
	assert_null(d->kind);
	assert_int_equal(message->listeners->backlog_max[0], 128);
	assert_int_equal(message->listeners->drops[0], 7);
	free_message(message);
	batch_free(batch);
}

static void facts_and_state_are_no_events_and_the_later_put_counts(void **state)
{
	(void)state;
	struct batch *batch = batch_small(NULL);
	const struct batch_label label = {"rack", "r1"};
	const char *const missing[] = {"this kernel has no X", ""};
	const struct batch_loss losses[] = {{"ring", "close", 3}, {"spool", "any", 1ULL << 40}};
	assert_true(batch_facts(batch, &(struct batch_facts){.kernel = "first"}));
	assert_true(batch_facts(batch, &(struct batch_facts){.kernel = "6.1",
							     .cpus = 8,
							     .memory_bytes = 1ULL << 34,
							     .labels = &label,
							     .labels_count = 1}));
	assert_true(batch_state(batch, &(struct batch_state){.level = 2,
							     .cpu_share = 0.25,
							     .missing = missing,
							     .missing_count = 2,
							     .programs = 11,
							     .losses = losses,
							     .losses_count = 2}));
	assert_int_equal(batch_events(batch), 0);
	Millrace__V1__Batch *message = sealed(batch);
	assert_string_equal(message->node_facts->kernel, "6.1");
	assert_int_equal(message->node_facts->n_labels, 1);
	assert_string_equal(message->node_facts->labels[0]->value, "r1");
	assert_true(message->agent_state->cpu_share == 0.25);
	assert_int_equal(message->agent_state->n_missing, 2);
	assert_int_equal(message->agent_state->programs, 11);
	assert_int_equal(message->agent_state->n_losses, 2);
	assert_string_equal(message->agent_state->losses[0]->place, "ring");
	assert_string_equal(message->agent_state->losses[0]->kind, "close");
	assert_int_equal(message->agent_state->losses[0]->events, 3);
	assert_int_equal(message->agent_state->losses[1]->events, 1ULL << 40);
	free_message(message);
	message = sealed(batch);
	assert_null(message->node_facts);
	assert_null(message->agent_state);
	free_message(message);
	batch_free(batch);
}

static void flags_of_updates_and_closes_are_told(void **state)
{
	(void)state;
	struct batch *batch = batch_small(NULL);
	for (uint32_t slot = 0; slot < 6; slot++)
		assert_true(batch_update(batch, &(struct batch_update){.slot = slot,
								       .moved.tx_bytes = 1,
								       .zero_window = slot > 3,
								       .time_ns = start_ns}));
	assert_true(batch_close(
		batch,
		&(struct batch_close){.slot = 9, .flags = BATCH_RESET_SENT, .time_ns = start_ns}));
	Millrace__V1__Batch *message = sealed(batch);
	assert_int_equal(message->updates->n_zero_window_index, 2);
	assert_int_equal(message->updates->zero_window_index[0], 4);
	assert_int_equal(message->updates->zero_window_index[1], 1);
	assert_int_equal(message->closes->flags[0], BATCH_RESET_SENT);
	free_message(message);
	batch_free(batch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_batch_is_the_stored_record_and_protoc_reads_it),
		cmocka_unit_test(updates_are_ascending_by_slot),
		cmocka_unit_test(a_second_update_of_a_slot_is_added_to_the_first),
		cmocka_unit_test(times_are_the_base_plus_running_sums),
		cmocka_unit_test(an_empty_batch_is_a_heartbeat_and_numbers_go_on),
		cmocka_unit_test(columns_of_zeros_are_left_out),
		cmocka_unit_test(pids_and_starts_are_differences),
		cmocka_unit_test(updates_of_one_scan_have_one_time),
		cmocka_unit_test(the_dictionaries_hold_each_value_once),
		cmocka_unit_test(strings_are_utf8_and_bounded),
		cmocka_unit_test(a_put_past_the_count_is_refused),
		cmocka_unit_test(a_put_past_the_bytes_is_refused_and_changes_nothing),
		cmocka_unit_test(random_definitions_come_back_as_put),
		cmocka_unit_test(elements_follow_their_events_in_order),
		cmocka_unit_test(drops_and_listeners_come_back_as_put),
		cmocka_unit_test(facts_and_state_are_no_events_and_the_later_put_counts),
		cmocka_unit_test(flags_of_updates_and_closes_are_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
