/* Metadata in the log of events, up to where every join task is told of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/batch/wire.h"
#include "base/clock.h"
#include "base/memory.h"
#include "ingest/mirror.h"
#include "metadata/census.h"
#include "millrace/v1/metadata.pb-c.h"

enum { TASKS = 3, RECORD_MAX = 1 << 20, WAITING_MAX = 65536, A_BATCH = 4096 };

static const uint64_t start_ns = 1700000000 * NS_PER_S;
static const uint64_t lateness_ns = 500 * NS_PER_MS;

struct got {
	struct fact facts[8]; /* the first, of the first task */
	struct address addresses[8];
	size_t buckets, facts_count, addresses_count;
	size_t told; /* facts of the pane, to the first task */
};

static void on_halves(void *context, uint32_t task, const struct half_bucket *bucket)
{
	struct got *got = context;
	got->buckets++;
	got->told = task == 0 ? bucket->facts_count : got->told;
	assert_int_equal(bucket->facts_count, got->told);
	for (size_t i = 0; i < bucket->facts_count && task == 0 && got->facts_count + i < 8; i++)
		got->facts[got->facts_count + i] = bucket->facts[i];
	for (size_t i = 0;
	     i < bucket->fact_addresses_count && task == 0 && got->addresses_count + i < 8; i++)
		got->addresses[got->addresses_count + i] = bucket->fact_addresses[i];
	got->facts_count += task == 0 ? bucket->facts_count : 0;
	got->addresses_count += task == 0 ? bucket->fact_addresses_count : 0;
}

static void on_letter(void *context, const struct mirror_record *record, enum mirror_reason reason,
		      const char *detail, const char *node)
{
	(void)context;
	(void)record;
	(void)reason;
	(void)node;
	fail_msg("a dead letter: %s", detail);
}

static struct mirror *mirror_of(struct got *got)
{
	*got = (struct got){0};
	return mirror_new(&(struct mirror_options){
		.join_tasks = TASKS,
		.destinations = TASKS,
		.lateness_ns = lateness_ns,
		.keep_ns = 120 * NS_PER_S,
		.nodes_max = 4,
		.halves_max = 64,
		.nats_max = 16,
		.processes_max = 16,
		.containers_max = 16,
		.amendments_max = 16,
		.names_max = 128,
		.instances_max = 64,
		.record_bytes_max = RECORD_MAX,
		.sinks = {.context = got, .halves = on_halves, .deadletter = on_letter},
	});
}

/* A pod as a packed record; its address has these last two bytes. */
static size_t pack_pod(uint8_t bytes[256], uint32_t number)
{
	char id[64], uid[32];
	uint8_t address[4] = {10, 1, (uint8_t)(number >> 8), (uint8_t)number};
	ProtobufCBinaryData addresses[] = {{sizeof(address), address}};
	Millrace__V1__Metadata metadata = MILLRACE__V1__METADATA__INIT;
	Millrace__V1__Pod pod = MILLRACE__V1__POD__INIT;
	snprintf(uid, sizeof(uid), "u%u", number);
	snprintf(id, sizeof(id), "/pod/%s/0", uid);
	metadata.id = id;
	metadata.version = 1;
	metadata.pod = &pod;
	pod.uid = uid;
	pod.namespace_ = (char *)"shop";
	pod.name = (char *)"cart";
	pod.address = addresses;
	pod.n_address = 1;
	return millrace__v1__metadata__pack(&metadata, bytes);
}

struct writing {
	uint8_t bytes[RECORD_MAX];
	uint8_t *at;
};

static struct writing writing;

static void begin(void)
{
	writing.at = wire_uint(writing.bytes, 2, 1);
	writing.at = wire_uint(writing.at, 3, MILLRACE__V1__BATCH_KIND__BATCH_KIND_METADATA);
}

static void put(const void *bytes, size_t length)
{
	writing.at = wire_bytes(writing.at, 36, bytes, length);
}

static void put_pod(uint32_t number)
{
	uint8_t bytes[256];
	put(bytes, pack_pod(bytes, number));
}

static void push(struct mirror *mirror, uint64_t append_ns)
{
	static int64_t offset;
	const struct mirror_record record = {writing.bytes, (size_t)(writing.at - writing.bytes),
					     append_ns, offset++};
	mirror_push(mirror, &record, 1);
}

static void close_pane(struct mirror *mirror, uint64_t pane)
{
	mirror_halves(mirror, pane);
	mirror_labels(mirror, NULL, 0, NULL, 0);
	mirror_deltas(mirror, pane);
}

static void each_task_is_told_once_in_the_pane_that_is_open(void **state)
{
	(void)state;
	struct got got;
	struct mirror *mirror = mirror_of(&got);
	begin();
	push(mirror, start_ns);
	uint64_t pane = mirror_first_pane(mirror);
	begin();
	put_pod(7);
	put_pod(260);
	push(mirror, start_ns + 2 * PANE_NS); /* two panes are ready, the third is open */
	close_pane(mirror, pane);
	close_pane(mirror, pane + 1);
	assert_int_equal(got.facts_count, 0);
	close_pane(mirror, pane + 2);
	assert_int_equal(got.buckets, 3 * TASKS);
	assert_int_equal(got.facts_count, 2);
	assert_int_equal(got.addresses_count, 2);
	assert_int_equal(got.facts[0].kind, FACT_POD);
	assert_string_equal(names_get(mirror_names(mirror), got.facts[0].workload)->bytes,
			    "shop/cart");
	const struct address first = address_v4(0x0a010007), second = address_v4(0x0a010104);
	assert_true(address_equal(&got.addresses[0], &first));
	assert_true(address_equal(&got.addresses[1], &second));
	close_pane(mirror, pane + 3);
	assert_int_equal(got.facts_count, 2);
	mirror_free(mirror);
}

static void what_is_no_good_is_counted_and_its_neighbours_are_told(void **state)
{
	(void)state;
	struct got got;
	struct mirror *mirror = mirror_of(&got);
	begin();
	put_pod(1);
	put("\x0a\x05x", 3);
	put_pod(2);
	put("\x10\x02", 2);
	push(mirror, start_ns);
	close_pane(mirror, mirror_first_pane(mirror));
	const struct mirror_stats stats = mirror_stats(mirror);
	assert_int_equal(got.facts_count, 2);
	assert_int_equal(stats.metadata[RECORD_GOOD], 2);
	assert_int_equal(stats.metadata[RECORD_MALFORMED], 1);
	assert_int_equal(stats.metadata[RECORD_VERSION], 1);
	assert_int_equal(stats.events, 0);
	mirror_free(mirror);
}

static void more_than_there_is_room_for_at_once_is_counted(void **state)
{
	(void)state;
	struct got got;
	struct mirror *mirror = mirror_of(&got);
	for (uint32_t number = 0; number < WAITING_MAX; number += A_BATCH) {
		begin();
		for (uint32_t i = 0; i < A_BATCH; i++)
			put_pod(number + i);
		push(mirror, start_ns);
	}
	assert_int_equal(mirror_stats(mirror).metadata_refused, 0);
	begin();
	put_pod(1);
	push(mirror, start_ns);
	assert_int_equal(mirror_stats(mirror).metadata_refused, 1);
	close_pane(mirror, mirror_first_pane(mirror));
	assert_int_equal(got.facts_count, WAITING_MAX);
	assert_int_equal(got.addresses_count, WAITING_MAX);
	begin();
	put_pod(1);
	push(mirror, start_ns);
	assert_int_equal(mirror_stats(mirror).metadata_refused, 1);
	mirror_free(mirror);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_task_is_told_once_in_the_pane_that_is_open),
		cmocka_unit_test(what_is_no_good_is_counted_and_its_neighbours_are_told),
		cmocka_unit_test(more_than_there_is_room_for_at_once_is_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
