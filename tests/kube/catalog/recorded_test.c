/* What a real API server said of a small shop (tests/conformance/kube/record.py), from the bytes of
 * its answers to the records that come of it. */
#include "kube/body.h"
#include "tests/kube/catalog/rig.h"

/* Long after the recording. */
#define NOW_NS (4102444800 * NS_PER_S)

struct player {
	struct rig *rig;
	struct kube_reader *reader;
	enum kube_kind kind;
	size_t objects, bookmarks;
};

static const char *const kinds[KUBE_KINDS] = {
	[KUBE_NAMESPACE] = "namespaces",
	[KUBE_NODE] = "nodes",
	[KUBE_REPLICA_SET] = "replicasets",
	[KUBE_JOB] = "jobs",
	[KUBE_POD] = "pods",
	[KUBE_SERVICE] = "services",
	[KUBE_ENDPOINT_SLICE] = "endpointslices",
};

static bool on_object(void *context, enum kube_event event, const uint8_t *bytes, size_t length)
{
	struct player *player = context;
	assert_int_not_equal(event, KUBE_ERROR);
	if (event == KUBE_BOOKMARK) {
		player->bookmarks++;
		return true;
	}
	const struct kube_object *object =
		kube_reader_object(player->reader, player->kind, bytes, length);
	assert_non_null(object);
	player->objects++;
	if (event == KUBE_DELETED)
		catalog_remove(player->rig->catalog, player->kind, object->uid, object, NOW_NS);
	else
		catalog_put(player->rig->catalog, object, NOW_NS);
	return true;
}

/* In pieces of `piece` bytes, as a connection may bring them. */
static void play(struct player *player, enum kube_kind kind, bool watch, size_t piece)
{
	char path[96];
	uint8_t bytes[64];
	player->kind = kind;
	snprintf(path, sizeof(path), "tests/data/kube/%s.%s.bin", kinds[kind],
		 watch ? "watch" : "list");
	FILE *file = fopen(path, "rb");
	assert_non_null(file);
	struct kube_body body;
	kube_body_init(&body, &(struct kube_body_options){.watch = watch,
							  .object_bytes_max = 1 << 20,
							  .object = on_object,
							  .context = player});
	for (size_t length; (length = fread(bytes, 1, piece, file));)
		assert_true(kube_body_push(&body, bytes, length));
	assert_true(kube_body_is_whole(&body));
	kube_body_done(&body);
	fclose(file);
	if (!watch)
		catalog_synced(player->rig->catalog, kind, NOW_NS);
}

static struct player player_new(void)
{
	static const char *const labels[] = {"team", "tier"};
	struct player player = {.rig = rig_new()};
	player.reader =
		kube_reader_new(&(struct kube_reader_options){.labels = labels, .labels_count = 2});
	return player;
}

static void play_all(struct player *player, bool watch, size_t piece)
{
	for (enum kube_kind kind = 0; kind < KUBE_KINDS; kind++)
		play(player, kind, watch, piece);
	catalog_advance(player->rig->catalog, NOW_NS);
}

static void player_free(struct player *player)
{
	struct kube_reader_stats stats = kube_reader_stats(player->reader);
	assert_int_equal(stats.malformed + stats.cut + stats.dropped + stats.addresses, 0);
	kube_reader_free(player->reader);
	rig_free(player->rig);
}

/* The latest record of the pod, service or node of that name. */
static const Millrace__V1__Metadata *named(const struct rig *rig, const char *name)
{
	const Millrace__V1__Metadata *found = NULL;
	for (size_t i = 0; i < rig->count; i++) {
		const Millrace__V1__Metadata *message = rig->records[i].message;
		const char *has = message->pod	     ? message->pod->name
				  : message->service ? message->service->name
				  : message->node    ? message->node->name
						     : "";
		if (strcmp(has, name) == 0)
			found = message;
	}
	assert_non_null(found);
	return found;
}

static void assert_address(ProtobufCBinaryData address, const char *expected)
{
	assert_int_equal(address.len, 4);
	assert_memory_equal(address.data, expected, 4);
}

static void a_list_tells_who_stands_where(void **state)
{
	(void)state;
	struct player player = player_new();
	play_all(&player, false, 64);
	const Millrace__V1__Pod *cart = named(player.rig, "cart-1-a")->pod;
	assert_string_equal(cart->workload, "cart");
	assert_string_equal(cart->workload_kind, "Deployment");
	assert_string_equal(cart->version, "v1");
	assert_string_equal(cart->node, "node-1");
	assert_address(cart->address[0], "\x0a\0\0\1");
	assert_int_equal(cart->n_labels, 1);
	assert_string_equal(cart->labels[0]->value, "carts");
	assert_string_equal(named(player.rig, "backup-1-a")->pod->workload, "backup");
	assert_string_equal(named(player.rig, "backup-1-a")->pod->workload_kind, "CronJob");
	const Millrace__V1__ClusterNode *node = named(player.rig, "node-1")->node;
	assert_string_equal(node->zone, "eu-1a");
	assert_address(node->address[0], "\xc0\xa8\0\1");
	const Millrace__V1__Service *service = named(player.rig, "cart")->service;
	assert_address(service->address[0], "\x0a\x60\0\x50");
	assert_int_equal(service->ports[0]->node_port, 30080);
	assert_string_equal(service->workload, "cart");
	assert_int_equal(catalog_stats(player.rig->catalog).changes, 0);
	player_free(&player);
}

static void a_watch_tells_what_became_of_them(void **state)
{
	(void)state;
	const Millrace__V1__Change *change;
	struct player player = player_new();
	play_all(&player, false, 7);
	play_all(&player, true, 7);
	const struct rig *rig = player.rig;
	assert_int_equal(named(rig, "cart-1-a")->until_ns, NOW_NS); /* deleted */
	const Millrace__V1__Metadata *backup = named(rig, "backup-1-a");
	assert_in_range(backup->until_ns - backup->from_ns, NS_PER_S, 60 * NS_PER_S); /* finished */
	assert_string_equal(backup->pod->workload, "backup"); /* though its job is gone */
	const Millrace__V1__Metadata *cart = named(rig, "cart-2-a");
	assert_int_equal(cart->until_ns, 0);
	assert_string_equal(cart->pod->version, "v2");
	assert_address(cart->pod->address[0], "\x0a\0\0\3");
	assert_int_equal(cart->pod->n_labels, 2);
	assert_string_equal(cart->pod->labels[1]->value, "gold"); /* its namespace's */
	const Millrace__V1__Metadata *service = named(rig, "cart");
	assert_int_equal(service->service->ports[0]->port, 81);
	assert_string_equal(service->service->workload, "cart");
	assert_int_equal(rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_DEPLOYED, &change),
			 1);
	assert_string_equal(change->before, "v1");
	assert_string_equal(change->after, "v2");
	assert_int_equal(
		rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_OOM_KILLED, &change), 1);
	assert_string_equal(change->instance, "cart-1-a/main");
	assert_int_equal(
		rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_RESTARTED, &change), 1);
	assert_int_equal(
		rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_NODE_CORDONED, &change), 1);
	assert_int_equal(catalog_stats(rig->catalog).changes, 4);
	player_free(&player);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_list_tells_who_stands_where),
		cmocka_unit_test(a_watch_tells_what_became_of_them),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
