#include "metadata/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/name.h"
#include "metadata/change.h"
#include "millrace/v1/metadata.pb-c.h"

typedef Millrace__V1__Metadata Metadata;

/* A record and all that it may point to, good until a test spoils it. */
struct world {
	struct names *names;
	Metadata record;
	Millrace__V1__Pod pod;
	Millrace__V1__ClusterNode node;
	Millrace__V1__Service service;
	Millrace__V1__Range range;
	Millrace__V1__Change change;
	Millrace__V1__PodContainer container;
	Millrace__V1__Label label;
	Millrace__V1__ServicePort port;
	ProtobufCBinaryData addresses[FACT_ADDRESSES_MAX + 1];
	void *many[RECORD_PORTS_MAX + 1];
	struct fact fact;
	struct address got[FACT_ADDRESSES_MAX];
	uint64_t watch;
};

static uint8_t v4[FACT_ADDRESSES_MAX + 1][4];
static uint8_t v6[16] = {0xfd, 0x10, [15] = 7};
static char long_text[RECORD_TEXT_MAX + 2];

static struct world *world_new(void)
{
	struct world *world = calloc(1, sizeof(*world));
	world->names = names_new(1024, 0);
	millrace__v1__metadata__init(&world->record);
	millrace__v1__pod__init(&world->pod);
	millrace__v1__cluster_node__init(&world->node);
	millrace__v1__service__init(&world->service);
	millrace__v1__range__init(&world->range);
	millrace__v1__change__init(&world->change);
	millrace__v1__pod_container__init(&world->container);
	millrace__v1__label__init(&world->label);
	millrace__v1__service_port__init(&world->port);
	for (int i = 0; i <= FACT_ADDRESSES_MAX; i++) {
		memcpy(v4[i], (uint8_t[]){10, 1, 2, (uint8_t)i}, 4);
		world->addresses[i] = (ProtobufCBinaryData){4, v4[i]};
	}
	memset(long_text, 'x', RECORD_TEXT_MAX + 1);
	world->record.version = 1;
	world->record.cluster = (char *)"prod";
	world->record.from_ns = 100;
	world->record.observed_ns = 150;
	return world;
}

static void world_free(struct world *world)
{
	names_free(world->names);
	free(world);
}

static struct world *pod_world(void)
{
	struct world *world = world_new();
	world->record.id = (char *)"prod/pod/6f1c-9/2";
	world->record.pod = &world->pod;
	world->pod.uid = (char *)"6f1c-9";
	world->pod.namespace_ = (char *)"shop";
	world->pod.name = (char *)"cart-7d9f-x2";
	world->pod.node = (char *)"worker-3";
	world->pod.workload = (char *)"cart";
	world->pod.version = (char *)"v4";
	world->pod.address = world->addresses;
	world->pod.n_address = 1;
	return world;
}

static struct world *range_world(uint32_t prefix)
{
	struct world *world = world_new();
	world->record.id = (char *)"prod/range/office/0";
	world->record.range = &world->range;
	world->range.address = (ProtobufCBinaryData){4, v4[64]};
	memcpy(v4[64], (uint8_t[]){10, 1, 64, 0}, 4);
	world->range.prefix = prefix;
	world->range.name = (char *)"office";
	world->range.zone = (char *)"a";
	return world;
}

static enum record_reason read_world(struct world *world)
{
	size_t length = millrace__v1__metadata__get_packed_size(&world->record);
	uint8_t *bytes = malloc(length + 1);
	millrace__v1__metadata__pack(&world->record, bytes);
	enum record_reason reason = record_read(bytes, length, world->names, 9, &world->fact,
						world->got, &world->watch);
	free(bytes);
	return reason;
}

static void expect(struct world *world, enum record_reason wanted)
{
	assert_string_equal(record_reason_name(read_world(world)), record_reason_name(wanted));
}

static void expect_name(const struct world *world, uint64_t id, const char *text)
{
	const struct name *name = names_get(world->names, id);
	assert_string_equal(name ? name->bytes : "", text);
}

static void a_pod_is_its_workload_at_its_addresses(void **state)
{
	(void)state;
	struct world *world = pod_world();
	world->addresses[1] = (ProtobufCBinaryData){16, v6};
	world->addresses[2] = world->addresses[0]; /* told twice */
	world->pod.n_address = 3;
	world->record.until_ns = 900;
	expect(world, RECORD_GOOD);
	const struct fact *fact = &world->fact;
	assert_int_equal(fact->kind, FACT_POD);
	assert_int_equal(fact->object, hash_bytes("6f1c-9", 6));
	assert_int_equal(fact->id, hash_bytes(world->record.id, strlen(world->record.id)));
	assert_int_equal(fact->from_ns, 100);
	assert_int_equal(fact->until_ns, 900);
	assert_int_equal(fact->observed_ns, 150);
	expect_name(world, fact->workload, "shop/cart");
	expect_name(world, fact->instance, "cart-7d9f-x2");
	expect_name(world, fact->version, "v4");
	expect_name(world, fact->node, "worker-3");
	assert_int_equal(fact->zone, 0);
	assert_int_equal(fact->addresses_count, 2);
	assert_int_equal(fact->prefix, 128);
	const struct address first = address_v4(0x0a010200), second = address_v6(v6);
	assert_memory_equal(&world->got[0], &first, sizeof(first));
	assert_memory_equal(&world->got[1], &second, sizeof(second));
	world_free(world);
}

static void a_pod_without_an_owner_is_its_own_workload(void **state)
{
	(void)state;
	struct world *world = pod_world();
	world->pod.workload = (char *)"";
	expect(world, RECORD_GOOD);
	expect_name(world, world->fact.workload, "shop/cart-7d9f-x2");
	assert_int_equal(world->fact.until_ns, UINT64_MAX);
	world_free(world);
}

static void a_node_is_known_by_its_name(void **state)
{
	(void)state;
	struct world *world = world_new();
	world->record.id = (char *)"prod/node/77/0";
	world->record.node = &world->node;
	world->node.uid = (char *)"77";
	world->node.name = (char *)"worker-3";
	world->node.zone = (char *)"eu-1a";
	world->node.address = world->addresses;
	world->node.n_address = 2;
	expect(world, RECORD_GOOD);
	assert_int_equal(world->fact.kind, FACT_NODE);
	assert_int_equal(world->fact.object, name_id("worker-3", 8));
	expect_name(world, world->fact.workload, "worker-3");
	expect_name(world, world->fact.zone, "eu-1a");
	world_free(world);
}

static struct world *service_world(void)
{
	struct world *world = world_new();
	world->record.cluster = (char *)"";
	world->record.id = (char *)"/service/88/12";
	world->record.service = &world->service;
	world->service.uid = (char *)"88";
	world->service.namespace_ = (char *)"shop";
	world->service.name = (char *)"cart-svc";
	world->service.address = world->addresses;
	world->service.n_address = RECORD_SERVICE_ADDRESSES_MAX;
	return world;
}

static void a_service_is_what_its_endpoints_are_or_itself(void **state)
{
	(void)state;
	struct world *world = service_world();
	expect(world, RECORD_GOOD);
	expect_name(world, world->fact.workload, "shop/cart-svc");
	assert_int_equal(world->fact.addresses_count, RECORD_SERVICE_ADDRESSES_MAX);
	world->service.workload = (char *)"cart";
	expect(world, RECORD_GOOD);
	expect_name(world, world->fact.workload, "shop/cart");
	world_free(world);
}

static void a_range_has_bits_up_to_its_prefix_and_none_beyond(void **state)
{
	(void)state;
	for (uint32_t prefix = 0; prefix <= 33; prefix++) {
		struct world *world = range_world(prefix);
		bool good = prefix >= 18 && prefix <= 32; /* 10.1.64.0 */
		expect(world, good ? RECORD_GOOD : RECORD_PREFIX);
		if (good)
			assert_int_equal(world->fact.prefix, 96 + prefix);
		world_free(world);
	}
	struct world *world = range_world(16);
	world->range.address = (ProtobufCBinaryData){16, v6};
	expect(world, RECORD_PREFIX);
	world->range.prefix = 128;
	expect(world, RECORD_GOOD);
	world->range.prefix = 129;
	expect(world, RECORD_PREFIX);
	world_free(world);
}

static void a_change_says_what_happened_and_nothing_of_who_is_where(void **state)
{
	(void)state;
	struct world *world = world_new();
	world->record.id = (char *)"prod/change/5/0";
	world->record.change = &world->change;
	expect(world, RECORD_KIND);
	world->change.kind = MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_DEPLOYED;
	world->record.until_ns = 0; /* it has one time */
	expect(world, RECORD_INTERVAL);
	world->record.until_ns = world->record.from_ns;
	world->change.namespace_ = (char *)"shop";
	world->change.workload = (char *)"cart";
	world->change.before = (char *)"v3";
	world->change.after = (char *)"v4";
	world->change.reason = (char *)"because";
	expect(world, RECORD_GOOD);
	assert_int_equal(world->fact.kind, FACT_CHANGE);
	assert_int_equal(world->fact.change, CHANGE_DEPLOYED);
	assert_int_equal(world->fact.addresses_count, 0);
	expect_name(world, world->fact.workload, "shop/cart");
	expect_name(world, world->fact.before, "v3");
	expect_name(world, world->fact.after, "v4");
	expect_name(world, world->fact.object, "because");
	world->change.kind = (Millrace__V1__ChangeKind)CHANGE_KINDS;
	expect(world, RECORD_KIND);
	world->change.kind = MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_EDGE_VANISHED;
	world->change.node = (char *)"\xff";
	expect(world, RECORD_TEXT);
	world_free(world);
}

static void that_a_cluster_is_watched_says_nothing_of_who_is_where(void **state)
{
	(void)state;
	struct world *world = world_new();
	Millrace__V1__Watch watch = MILLRACE__V1__WATCH__INIT;
	world->record.id = (char *)"prod" RECORD_WATCH_SUFFIX;
	world->record.watch = &watch;
	expect(world, RECORD_GOOD);
	assert_int_equal(world->fact.kind, FACT_NONE);
	assert_int_equal(world->watch, 0);
	world_free(world);
}

static uint64_t watch_read(struct world *world)
{
	expect(world, RECORD_GOOD);
	uint64_t watch = world->watch;
	world_free(world);
	return watch;
}

static void what_holds_in_a_cluster_leads_to_what_says_that_it_is_watched(void **state)
{
	(void)state;
	struct world *pod = pod_world(), *node = world_new(), *change = world_new();
	node->record.id = (char *)"prod/node/77/0";
	node->record.node = &node->node;
	node->node.name = (char *)"worker-3";
	change->record.id = (char *)"prod/change/5/0";
	change->record.change = &change->change;
	change->record.until_ns = change->record.from_ns;
	change->change.kind = MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_DEPLOYED;
	uint64_t prod = hash_bytes("prod/watch/watch/0", 18);
	assert_int_equal(watch_read(pod), prod);
	assert_int_equal(watch_read(node), prod);
	assert_int_equal(watch_read(service_world()), hash_bytes("/watch/watch/0", 14));
	assert_int_equal(watch_read(range_world(24)), 0);
	assert_int_equal(watch_read(change), 0);
}

static void containers_of_a_pod_stand_among_its_addresses_once_each(void **state)
{
	(void)state;
	struct world *world = pod_world();
	Millrace__V1__PodContainer first = MILLRACE__V1__POD_CONTAINER__INIT;
	Millrace__V1__PodContainer waits = MILLRACE__V1__POD_CONTAINER__INIT;
	Millrace__V1__PodContainer *containers[] = {&first, &waits, &first};
	const struct address wanted = fact_container(hash_bytes("abc", 3));
	world->pod.n_address = 1;
	world->pod.containers = containers;
	world->pod.n_containers = 3;
	first.id = (char *)"abc";
	expect(world, RECORD_GOOD);
	assert_int_equal(world->fact.addresses_count, 2);
	assert_true(address_equal(&world->got[1], &wanted));
	assert_int_equal(fact_container_id(&world->got[1]), hash_bytes("abc", 3));
	assert_int_equal(fact_container_id(&world->got[0]), 0);
	world_free(world);
}

static void each_bound_is_met_and_not_passed(void **state)
{
	(void)state;
	struct world *world = pod_world();
	world->pod.n_address = RECORD_POD_ADDRESSES_MAX;
	expect(world, RECORD_GOOD);
	world->pod.n_address++;
	expect(world, RECORD_COUNT);
	world->pod.n_address = 1;
	for (int i = 0; i <= RECORD_CONTAINERS_MAX; i++)
		world->many[i] = &world->container;
	world->pod.containers = (Millrace__V1__PodContainer **)world->many;
	world->pod.n_containers = RECORD_CONTAINERS_MAX;
	expect(world, RECORD_GOOD);
	world->pod.n_containers++;
	expect(world, RECORD_COUNT);
	world->pod.n_containers = 0;
	for (int i = 0; i <= RECORD_LABELS_MAX; i++)
		world->many[i] = &world->label;
	world->pod.labels = (Millrace__V1__Label **)world->many;
	world->pod.n_labels = RECORD_LABELS_MAX;
	expect(world, RECORD_GOOD);
	world->pod.n_labels++;
	expect(world, RECORD_COUNT);
	world->pod.n_labels = 1;
	world->label.value = long_text + 1;
	expect(world, RECORD_GOOD);
	world->label.value = long_text;
	expect(world, RECORD_TEXT);
	world_free(world);

	world = service_world();
	for (int i = 0; i <= RECORD_PORTS_MAX; i++)
		world->many[i] = &world->port;
	world->service.ports = (Millrace__V1__ServicePort **)world->many;
	world->service.n_ports = RECORD_PORTS_MAX;
	expect(world, RECORD_GOOD);
	world->service.n_ports++;
	expect(world, RECORD_COUNT);
	world->service.n_ports = 0;
	world->service.n_address++;
	expect(world, RECORD_COUNT);
	world_free(world);
}

static void an_id_names_cluster_kind_uid_and_number(void **state)
{
	(void)state;
	static const char *const wrong[] = {
		"",
		"prod",
		"prod/pod",
		"prod/pod/6f1c",
		"prod/pod//",
		"prod/pod/6f1c/",
		"prod/pod//1",
		"prod/pod/6f1c/x1",
		"dev/pod/6/1",
		"prod/node/6f/1",
		"prod//6f/1",
		"/pod/6f1c/1",
	};
	struct world *world = pod_world();
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		world->record.id = (char *)wrong[i];
		expect(world, RECORD_ID);
	}
	char id[RECORD_ID_MAX + 2] = "prod/pod/";
	memset(id + 9, 'u', sizeof(id) - 9);
	memcpy(id + RECORD_ID_MAX - 2, "/1", 3);
	world->record.id = id;
	expect(world, RECORD_GOOD);
	memcpy(id + RECORD_ID_MAX - 2, "u/1", 4);
	expect(world, RECORD_ID);
	world_free(world);
}

static void what_is_no_record_is_refused_by_its_reason(void **state)
{
	(void)state;
	struct world *world = pod_world();
	world->record.version = 2;
	expect(world, RECORD_VERSION);
	world->record.version = 1;
	world->record.node = &world->node;
	expect(world, RECORD_KIND);
	world->record.node = NULL;
	world->record.pod = NULL;
	expect(world, RECORD_KIND);
	world->record.pod = &world->pod;
	world->record.until_ns = 99;
	expect(world, RECORD_INTERVAL);
	world->record.until_ns = 100;
	expect(world, RECORD_GOOD);
	world->record.until_ns = (uint64_t)INT64_MAX + 1;
	expect(world, RECORD_INTERVAL);
	world->record.until_ns = 0;
	world->addresses[0].len = 3;
	expect(world, RECORD_ADDRESS);
	world->addresses[0].len = 4;
	world->pod.namespace_ = (char *)"shop\xff";
	expect(world, RECORD_TEXT);
	world->pod.namespace_ = (char *)"";
	world->pod.name = (char *)"";
	expect(world, RECORD_TEXT);
	world_free(world);
}

static void bytes_that_are_no_metadata_are_malformed_or_oversized(void **state)
{
	(void)state;
	struct names *names = names_new(16, 0);
	struct fact fact;
	struct address addresses[FACT_ADDRESSES_MAX];
	uint8_t *bytes = calloc(FACT_BYTES_MAX + 1, 1);
	assert_int_equal(record_read(bytes, FACT_BYTES_MAX + 1, names, 1, &fact, addresses, NULL),
			 RECORD_OVERSIZED);
	assert_int_equal(
		record_read((const uint8_t *)"\x0a\x05x", 3, names, 1, &fact, addresses, NULL),
		RECORD_MALFORMED);
	/* a pod of containers of no bytes: each takes a hundred in memory */
	size_t inner = FACT_BYTES_MAX - 4 - (FACT_BYTES_MAX % 2);
	for (size_t i = 4; i < 4 + inner; i += 2)
		bytes[i] = 0x52;
	bytes[0] = 0x3a;
	bytes[1] = (uint8_t)(inner | 0x80);
	bytes[2] = (uint8_t)(inner >> 7 | 0x80);
	bytes[3] = (uint8_t)(inner >> 14);
	assert_int_equal(record_read(bytes, 4 + inner, names, 1, &fact, addresses, NULL),
			 RECORD_OVERSIZED);
	free(bytes);
	names_free(names);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pod_is_its_workload_at_its_addresses),
		cmocka_unit_test(a_pod_without_an_owner_is_its_own_workload),
		cmocka_unit_test(a_node_is_known_by_its_name),
		cmocka_unit_test(a_service_is_what_its_endpoints_are_or_itself),
		cmocka_unit_test(a_range_has_bits_up_to_its_prefix_and_none_beyond),
		cmocka_unit_test(a_change_says_what_happened_and_nothing_of_who_is_where),
		cmocka_unit_test(that_a_cluster_is_watched_says_nothing_of_who_is_where),
		cmocka_unit_test(what_holds_in_a_cluster_leads_to_what_says_that_it_is_watched),
		cmocka_unit_test(containers_of_a_pod_stand_among_its_addresses_once_each),
		cmocka_unit_test(each_bound_is_met_and_not_passed),
		cmocka_unit_test(an_id_names_cluster_kind_uid_and_number),
		cmocka_unit_test(what_is_no_record_is_refused_by_its_reason),
		cmocka_unit_test(bytes_that_are_no_metadata_are_malformed_or_oversized),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
