#include "kube/catalog/catalog.h"

#include "tests/kube/catalog/rig.h"

/* A list of one kind with these objects. */
static void list(struct rig *rig, enum kube_kind kind, const struct kube_object *const *objects,
		 uint64_t now_ns)
{
	for (; objects && *objects; objects++)
		catalog_put(rig->catalog, *objects, now_ns);
	catalog_synced(rig->catalog, kind, now_ns);
}

static void removed(struct rig *rig, const struct kube_object *object, uint64_t now_ns)
{
	catalog_remove(rig->catalog, object->kind, object->uid, object, now_ns);
}

#define LIST(rig, kind, now_ns, ...) \
	list(rig, kind, (const struct kube_object *const[]){__VA_ARGS__, NULL}, now_ns)

/* All kinds, with nothing in them. */
static struct rig *rig_synced(void)
{
	struct rig *rig = rig_new();
	for (int kind = 0; kind < KUBE_KINDS; kind++)
		list(rig, (enum kube_kind)kind, NULL, AT(0));
	return rig;
}

/* ---- intervals */

static void a_pod_holds_from_its_scheduling_until_it_is_deleted(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	RIG_POD(pod, "u1", "cart-1", 1, AT(10));
	struct kube_condition scheduled = {"PodScheduled", "True", "", AT(12)};
	pod.pod.conditions = &scheduled;
	pod.pod.conditions_count = 1;
	catalog_put(rig->catalog, &pod, AT(13));
	const Millrace__V1__Metadata *told = rig_told(rig, "pod", "u1", 0);
	assert_int_equal(told->from_ns, AT(12));
	assert_int_equal(told->until_ns, 0);
	assert_int_equal(told->observed_ns, AT(13));
	assert_string_equal(told->cluster, "c1");
	assert_string_equal(told->pod->node, "node-1");
	assert_int_equal(told->pod->n_address, 1);
	assert_memory_equal(told->pod->address[0].data, "\x0a\0\0\1", 4);

	removed(rig, &pod, AT(40));
	assert_int_equal(rig_told(rig, "pod", "u1", 0)->until_ns, AT(40));
	assert_int_equal(catalog_stats(rig->catalog).live[KUBE_POD], 0);
	rig_free(rig);
}

static void a_pod_without_a_node_is_told_when_it_has_one(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	RIG_POD(pod, "u1", "cart-1", 0, AT(10));
	pod.pod.node = "";
	catalog_put(rig->catalog, &pod, AT(11));
	assert_int_equal(rig->told, 0);
	pod.pod.node = "node-1";
	catalog_put(rig->catalog, &pod, AT(12));
	assert_int_equal(rig_told(rig, "pod", "u1", 0)->from_ns, AT(10));
	rig_free(rig);
}

static void the_first_address_changes_no_number_and_another_does(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	RIG_POD(pod, "u1", "cart-1", 0, AT(10));
	catalog_put(rig->catalog, &pod, AT(11));
	assert_int_equal(rig_told(rig, "pod", "u1", 0)->pod->n_address, 0);
	pod.pod.addresses_count = 1;
	pod_address = address_v4(0x0a000001);
	catalog_put(rig->catalog, &pod, AT(12));
	assert_int_equal(rig_told(rig, "pod", "u1", 0)->pod->n_address, 1);
	assert_int_equal(rig_told(rig, "pod", "u1", 0)->from_ns, AT(10));

	pod_address = address_v4(0x0a000002);
	catalog_put(rig->catalog, &pod, AT(30));
	assert_int_equal(rig_told(rig, "pod", "u1", 0)->until_ns, AT(30));
	assert_memory_equal(rig_told(rig, "pod", "u1", 0)->pod->address[0].data, "\x0a\0\0\1", 4);
	assert_int_equal(rig_told(rig, "pod", "u1", 1)->from_ns, AT(30));
	assert_int_equal(rig_told(rig, "pod", "u1", 1)->until_ns, 0);
	assert_memory_equal(rig_told(rig, "pod", "u1", 1)->pod->address[0].data, "\x0a\0\0\2", 4);
	rig_free(rig);
}

static void a_pods_new_network_tells_when_its_address_changed(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	RIG_POD(pod, "u1", "cart-1", 1, AT(10));
	struct kube_condition made = {"PodReadyToStartContainers", "True", "", AT(11)};
	pod.pod.conditions = &made;
	pod.pod.conditions_count = 1;
	catalog_put(rig->catalog, &pod, AT(12));
	made.since_ns = AT(20);
	pod_address = address_v4(0x0a000002);
	catalog_put(rig->catalog, &pod, AT(25)); /* told late */
	assert_int_equal(rig_told(rig, "pod", "u1", 0)->until_ns, AT(20));
	assert_int_equal(rig_told(rig, "pod", "u1", 1)->from_ns, AT(20));

	pod_address = address_v4(0x0a000003); /* the condition did not move: it says nothing */
	catalog_put(rig->catalog, &pod, AT(40));
	assert_int_equal(rig_told(rig, "pod", "u1", 1)->until_ns, AT(40));
	rig_free(rig);
}

static void a_finished_pod_ends_when_its_last_container_did(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	RIG_POD(pod, "u1", "job-1", 1, AT(10));
	catalog_put(rig->catalog, &pod, AT(11));
	pod.pod.phase = "Succeeded";
	pod_container.id = "containerd://"
			   "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
	pod_container.ended = true;
	pod_container.termination.finished_ns = AT(20); /* in this second */
	catalog_put(rig->catalog, &pod, AT(25));
	const Millrace__V1__Metadata *told = rig_told(rig, "pod", "u1", 0);
	assert_int_equal(told->until_ns, AT(21));
	assert_string_equal(told->pod->containers[0]->id,
			    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");

	size_t before = rig->told;
	pod.pod.addresses_count = 0; /* what becomes of it afterwards says nothing new */
	catalog_put(rig->catalog, &pod, AT(26));
	removed(rig, &pod, AT(1000));
	assert_int_equal(rig->told, before);
	rig_free(rig);
}

static void a_failed_pod_whose_containers_tell_no_end_ends_when_that_is_seen(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	RIG_POD(pod, "u1", "cart-1", 1, AT(10));
	catalog_put(rig->catalog, &pod, AT(11));
	pod.pod.phase = "Failed";
	pod.pod.addresses_count = 0;
	catalog_put(rig->catalog, &pod, AT(25));
	assert_int_equal(rig_told(rig, "pod", "u1", 0)->until_ns, AT(25));
	assert_int_equal(rig_told(rig, "pod", "u1", 0)->pod->n_address, 1);
	rig_free(rig);
}

static void a_pod_that_ended_long_ago_is_not_told(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	RIG_POD(pod, "u1", "job-1", 1, AT(10));
	pod.pod.phase = "Succeeded";
	pod_container.ended = true;
	pod_container.termination.finished_ns = AT(20);
	LIST(rig, KUBE_POD, AT(21) + RIG_KEEP_NS, &pod);
	assert_int_equal(rig->told, 0);
	rig_free(rig);
}

static void who_uses_the_nodes_network_has_no_address_of_its_own(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	RIG_POD(pod, "u1", "proxy-1", 1, AT(10));
	pod.pod.host_network = true;
	catalog_put(rig->catalog, &pod, AT(11));
	assert_true(rig_told(rig, "pod", "u1", 0)->pod->host_network);
	assert_int_equal(rig_told(rig, "pod", "u1", 0)->pod->n_address, 0);
	rig_free(rig);
}

static void what_says_nothing_new_is_not_told(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	RIG_POD(pod, "u1", "cart-1", 1, AT(10));
	catalog_put(rig->catalog, &pod, AT(11));
	pod.resource_version = "2";
	pod_container.ready = true;
	catalog_put(rig->catalog, &pod, AT(12));
	LIST(rig, KUBE_POD, AT(13), &pod);
	assert_int_equal(rig->told, 1);
	rig_free(rig);
}

static void who_went_unseen_ended_when_that_was_noticed(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	RIG_POD(pod, "u1", "cart-1", 1, AT(10));
	LIST(rig, KUBE_POD, AT(11), &pod);
	catalog_remove(rig->catalog, KUBE_POD, "u1", NULL, AT(60));
	assert_int_equal(rig_told(rig, "pod", "u1", 0)->until_ns, AT(60));
	catalog_remove(rig->catalog, KUBE_POD, "u1", NULL, AT(61)); /* and nobody knows it now */
	struct kube_object space = rig_object(KUBE_NAMESPACE, "ns1", "shop", AT(1));
	catalog_put(rig->catalog, &space, AT(62));
	catalog_remove(rig->catalog, KUBE_NAMESPACE, "ns1", NULL, AT(63));
	assert_int_equal(catalog_stats(rig->catalog).live[KUBE_NAMESPACE], 0);
	assert_int_equal(rig->told, 2);
	rig_free(rig);
}

static void a_cluster_whose_clock_is_wrong_is_set_right(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	catalog_skew(rig->catalog, 100 * (int64_t)NS_PER_S); /* it is ahead */
	RIG_POD(ahead, "u1", "cart-1", 1, AT(110));
	catalog_put(rig->catalog, &ahead, AT(12));
	assert_int_equal(rig_told(rig, "pod", "u1", 0)->from_ns, AT(10));
	catalog_skew(rig->catalog, -100 * (int64_t)NS_PER_S);
	RIG_POD(behind, "u2", "cart-2", 2, AT(10));
	catalog_put(rig->catalog, &behind, AT(112));
	assert_int_equal(rig_told(rig, "pod", "u2", 0)->from_ns, AT(110));
	RIG_POD(future, "u3", "cart-3", 3, AT(999)); /* never later than it was seen */
	catalog_put(rig->catalog, &future, AT(112));
	assert_int_equal(rig_told(rig, "pod", "u3", 0)->from_ns, AT(112));
	catalog_skew(rig->catalog, INT64_MAX);
	RIG_POD(old, "u4", "cart-4", 4, AT(1));
	catalog_put(rig->catalog, &old, AT(112));
	rig_free(rig);
}

static void the_record_of_what_ended_is_taken_back_after_its_time(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	RIG_POD(pod, "u1", "cart-1", 1, AT(10));
	catalog_put(rig->catalog, &pod, AT(11));
	removed(rig, &pod, AT(12));
	assert_int_equal(catalog_stats(rig->catalog).gone, 1);
	catalog_advance(rig->catalog, AT(12) + RIG_KEEP_NS - 1);
	assert_true(rig_has(rig, "pod", "u1", 0));
	catalog_advance(rig->catalog, AT(12) + RIG_KEEP_NS);
	assert_false(rig_has(rig, "pod", "u1", 0));
	assert_int_equal(catalog_stats(rig->catalog).gone, 0);
	rig_free(rig);
}

static void who_was_only_thought_gone_is_not_taken_back(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	RIG_POD(pod, "u1", "cart-1", 1, AT(10));
	catalog_put(rig->catalog, &pod, AT(11));
	catalog_remove(rig->catalog, KUBE_POD, "u1", NULL, AT(12)); /* so said an old list */
	catalog_put(rig->catalog, &pod, AT(13));
	assert_int_equal(rig_told(rig, "pod", "u1", 0)->until_ns, 0);
	catalog_advance(rig->catalog, AT(12) + RIG_KEEP_NS);
	assert_int_equal(rig_told(rig, "pod", "u1", 0)->until_ns, 0);
	assert_int_equal(catalog_stats(rig->catalog).gone, 0);
	rig_free(rig);
}

/* ---- workloads */

static const char *workload_of(const struct rig *rig, const char *uid)
{
	static char text[1100];
	const Millrace__V1__Pod *pod = rig_told(rig, "pod", uid, 0)->pod;
	snprintf(text, sizeof(text), "%s/%s", pod->workload_kind, pod->workload);
	return text;
}

static void a_pods_workload_is_its_top_owner(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	struct kube_object set = rig_sets("rs1", "cart-6d4b", AT(1), "shop:v1");
	RIG_OWNED(set, "Deployment", "d1", "cart");
	catalog_put(rig->catalog, &set, AT(2));
	struct kube_object job = rig_object(KUBE_JOB, "j1", "backup-29", AT(1));
	job.replicas = (struct kube_replicas){1, 1, "", "backup:2"};
	RIG_OWNED(job, "CronJob", "cj1", "backup");
	catalog_put(rig->catalog, &job, AT(2));

	RIG_POD(deployed, "u1", "cart-6d4b-x", 1, AT(3));
	RIG_OWNED(deployed, "ReplicaSet", "rs1", "cart-6d4b");
	RIG_POD(nightly, "u2", "backup-29-x", 2, AT(3));
	RIG_OWNED(nightly, "Job", "j1", "backup-29");
	RIG_POD(stateful, "u3", "db-0", 3, AT(3));
	RIG_OWNED(stateful, "StatefulSet", "s1", "db");
	RIG_POD(bare, "u4", "shell", 4, AT(3));
	RIG_POD(mirror, "u5", "proxy-node-1", 5, AT(3));
	RIG_OWNED(mirror, "Node", "n1", "node-1");
	LIST(rig, KUBE_POD, AT(4), &deployed, &nightly, &stateful, &bare, &mirror);
	assert_string_equal(workload_of(rig, "u1"), "Deployment/cart");
	assert_string_equal(workload_of(rig, "u2"), "CronJob/backup");
	assert_string_equal(workload_of(rig, "u3"), "StatefulSet/db");
	assert_string_equal(workload_of(rig, "u4"), "Pod/shell");
	assert_string_equal(workload_of(rig, "u5"), "Pod/proxy-node-1");
	assert_int_equal(catalog_stats(rig->catalog).provisional, 0);
	rig_free(rig);
}

static void an_owner_that_comes_late_corrects_its_pods(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	RIG_POD(pod, "u1", "cart-6d4b-x", 1, AT(3));
	RIG_OWNED(pod, "ReplicaSet", "rs1", "cart-6d4b");
	catalog_put(rig->catalog, &pod, AT(4));
	assert_string_equal(workload_of(rig, "u1"), "ReplicaSet/cart-6d4b");
	assert_int_equal(catalog_stats(rig->catalog).provisional, 1);
	struct kube_object set = rig_sets("rs1", "cart-6d4b", AT(1), "shop:v1");
	RIG_OWNED(set, "Deployment", "d1", "cart");
	catalog_put(rig->catalog, &set, AT(5));
	catalog_advance(rig->catalog, AT(6));
	assert_string_equal(workload_of(rig, "u1"), "Deployment/cart");
	assert_int_equal(rig_told(rig, "pod", "u1", 0)->observed_ns, AT(6));
	assert_int_equal(catalog_stats(rig->catalog).provisional, 0);

	/* and takes no name along when it goes first */
	removed(rig, &set, AT(7));
	pod_container.restarts = 1;
	catalog_put(rig->catalog, &pod, AT(8));
	catalog_advance(rig->catalog, AT(9));
	assert_string_equal(workload_of(rig, "u1"), "Deployment/cart");
	rig_free(rig);
}

static void an_owner_that_is_adopted_moves_its_pods(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	struct kube_object set = rig_sets("rs1", "cart-6d4b", AT(1), "shop:v1");
	catalog_put(rig->catalog, &set, AT(2));
	RIG_POD(pod, "u1", "cart-6d4b-x", 1, AT(3));
	RIG_OWNED(pod, "ReplicaSet", "rs1", "cart-6d4b");
	catalog_put(rig->catalog, &pod, AT(4));
	assert_string_equal(workload_of(rig, "u1"), "ReplicaSet/cart-6d4b");
	RIG_OWNED(set, "Deployment", "d1", "cart");
	catalog_put(rig->catalog, &set, AT(5));
	catalog_advance(rig->catalog, AT(6));
	assert_string_equal(workload_of(rig, "u1"), "Deployment/cart");
	rig_free(rig);
}

static void owners_that_go_in_a_circle_are_left_and_counted(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	struct kube_object a = rig_sets("rs1", "a", AT(1), ""), b = rig_sets("rs2", "b", AT(1), "");
	RIG_OWNED(a, "ReplicaSet", "rs2", "b");
	RIG_OWNED(b, "ReplicaSet", "rs1", "a");
	RIG_POD(pod, "u1", "x", 1, AT(3));
	RIG_OWNED(pod, "ReplicaSet", "rs1", "a");
	catalog_put(rig->catalog, &a, AT(2));
	catalog_put(rig->catalog, &b, AT(2));
	catalog_put(rig->catalog, &pod, AT(4));
	assert_string_equal(workload_of(rig, "u1"), "ReplicaSet/a");
	assert_int_equal(catalog_stats(rig->catalog).loops, 1);
	rig_free(rig);
}

static void owners_are_followed_four_deep_and_no_deeper(void **state)
{
	(void)state;
	static const char *const uids[] = {"r0", "r1", "r2", "r3", "r4", "r5"};
	struct rig *rig = rig_synced();
	struct kube_owner above[5];
	for (int i = 0; i < 5; i++) {
		struct kube_object set = rig_sets(uids[i], uids[i], AT(1), "");
		above[i] = (struct kube_owner){i == 3 ? "Deployment" : "ReplicaSet", uids[i + 1],
					       uids[i + 1], true};
		set.owners = &above[i];
		set.owners_count = 1;
		catalog_put(rig->catalog, &set, AT(2));
	}
	RIG_POD(pod, "u1", "x", 1, AT(3));
	RIG_OWNED(pod, "ReplicaSet", "r0", "r0");
	catalog_put(rig->catalog, &pod, AT(4)); /* r0, r1, r2, r3: then a deployment */
	assert_string_equal(workload_of(rig, "u1"), "Deployment/r4");
	assert_int_equal(catalog_stats(rig->catalog).loops, 0);

	struct kube_object set = rig_sets("r3", "r3", AT(1), "");
	RIG_OWNED(set, "ReplicaSet", "r4x", "r4x");
	catalog_put(rig->catalog, &set, AT(5));
	struct kube_object deeper = rig_sets("r4x", "r4x", AT(1), "");
	RIG_OWNED(deeper, "Deployment", "d", "d");
	catalog_put(rig->catalog, &deeper, AT(5));
	catalog_advance(rig->catalog, AT(6));
	assert_string_equal(workload_of(rig, "u1"), "ReplicaSet/r0");
	assert_true(catalog_stats(rig->catalog).loops > 0);
	rig_free(rig);
}

static void a_version_is_the_label_and_else_the_first_containers_tag(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	RIG_POD(pod, "u1", "cart-1", 1, AT(3));
	struct kube_container containers[] = {pod_container, pod_container};
	containers[0].sort = KUBE_CONTAINER_INIT;
	containers[0].name = "init";
	containers[0].image = "tools:9";
	pod.pod.containers = containers;
	pod.pod.containers_count = 2;
	catalog_put(rig->catalog, &pod, AT(4));
	assert_string_equal(rig_told(rig, "pod", "u1", 0)->pod->version, "v1");
	assert_string_equal(rig_told(rig, "pod", "u1", 0)->pod->containers[0]->version, "9");
	struct kube_pair label = {"app.kubernetes.io/version", "2.0", false};
	pod.labels = &label;
	pod.labels_count = 1;
	catalog_put(rig->catalog, &pod, AT(5));
	assert_string_equal(rig_told(rig, "pod", "u1", 0)->pod->version, "2.0");
	assert_int_equal(rig_told(rig, "pod", "u1", 0)->pod->n_labels, 0); /* nobody asked for it */
	rig_free(rig);
}

static void labels_that_were_asked_for_are_the_pods_and_else_its_namespaces(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	struct kube_pair of_pod[] = {{"team", "carts", true}, {"app", "x", false}};
	struct kube_pair of_space[] = {{"team", "all", true}, {"tier", "gold", true}};
	struct kube_pair note = {"oncall", "carts@example.com", true};
	struct kube_object space = rig_object(KUBE_NAMESPACE, "ns1", "shop", AT(1));
	catalog_put(rig->catalog, &space, AT(2));
	RIG_POD(pod, "u1", "cart-1", 1, AT(3));
	pod.labels = of_pod;
	pod.labels_count = 2;
	pod.annotations = &note;
	pod.annotations_count = 1;
	catalog_put(rig->catalog, &pod, AT(4));
	assert_int_equal(rig_told(rig, "pod", "u1", 0)->pod->n_labels, 2);
	space.labels = of_space;
	space.labels_count = 2;
	catalog_put(rig->catalog, &space, AT(5));
	const Millrace__V1__Pod *told = rig_told(rig, "pod", "u1", 0)->pod;
	assert_int_equal(told->n_labels, 3);
	assert_string_equal(told->labels[0]->value, "carts");
	assert_string_equal(told->labels[1]->key, "oncall");
	assert_string_equal(told->labels[2]->value, "gold");
	rig_free(rig);
}

/* ---- nodes */

static struct kube_object a_node(struct address *address, struct kube_condition *ready)
{
	static const struct kube_pair labels[] = {
		{"topology.kubernetes.io/zone", "eu-1a", false},
		{"topology.kubernetes.io/region", "eu-1", false},
		{"node.kubernetes.io/instance-type", "m5.large", false},
	};
	*address = address_v4(0xc0a80001);
	*ready = (struct kube_condition){"Ready", "True", "KubeletReady", AT(10)};
	struct kube_object node = rig_object(KUBE_NODE, "n1", "node-1", AT(5));
	node.labels = labels;
	node.labels_count = 3;
	node.node = (struct kube_node){.provider_id = "aws:///eu-1a/i-1",
				       .addresses = address,
				       .addresses_count = 1,
				       .conditions = ready,
				       .conditions_count = 1};
	return node;
}

static void a_node_tells_where_it_stands_and_what_becomes_of_it(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	struct address address;
	struct kube_condition ready;
	struct kube_object node = a_node(&address, &ready);
	const Millrace__V1__Change *change;
	catalog_put(rig->catalog, &node, AT(11));
	const Millrace__V1__ClusterNode *told = rig_told(rig, "node", "n1", 0)->node;
	assert_string_equal(told->zone, "eu-1a");
	assert_string_equal(told->region, "eu-1");
	assert_string_equal(told->instance_type, "m5.large");
	assert_string_equal(told->provider_id, "aws:///eu-1a/i-1");
	assert_int_equal(
		rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_NODE_ADDED, &change), 1);
	assert_int_equal(change->time_ns, AT(5));
	assert_int_equal(
		rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_NODE_READY, &change), 0);

	ready = (struct kube_condition){"Ready", "Unknown", "NodeStatusUnknown", AT(30)};
	catalog_put(rig->catalog, &node, AT(31));
	assert_int_equal(
		rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_NODE_READY, &change), 1);
	assert_int_equal(change->time_ns, AT(30));
	assert_string_equal(change->before, "True");
	assert_string_equal(change->after, "Unknown");
	assert_string_equal(change->reason, "NodeStatusUnknown");

	node.node.unschedulable = true;
	catalog_put(rig->catalog, &node, AT(32));
	assert_int_equal(
		rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_NODE_CORDONED, &change), 1);
	assert_string_equal(change->after, "true");

	removed(rig, &node, AT(33));
	assert_int_equal(rig_told(rig, "node", "n1", 0)->until_ns, AT(33));
	assert_int_equal(
		rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_NODE_REMOVED, &change), 1);
	assert_string_equal(change->node, "node-1");
	rig_free(rig);
}

static void a_node_whose_address_changes_goes_on_under_the_next_number(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	struct address address;
	struct kube_condition ready;
	struct kube_object node = a_node(&address, &ready);
	catalog_put(rig->catalog, &node, AT(11));
	address = address_v4(0xc0a80002);
	catalog_put(rig->catalog, &node, AT(20));
	assert_int_equal(rig_told(rig, "node", "n1", 0)->until_ns, AT(20));
	assert_int_equal(rig_told(rig, "node", "n1", 1)->from_ns, AT(20));
	rig_free(rig);
}

/* ---- services */

#define A_SERVICE(variable)                                                                       \
	struct address variable##_address = address_v4(0x0a600001);                               \
	struct kube_port variable##_port = {"http", 6, 80, 0};                                    \
	struct kube_object variable = rig_object(KUBE_SERVICE, "s1", "cart", AT(5));              \
	variable.service = (struct kube_service)                                                  \
	{                                                                                         \
		.type = "ClusterIP", .addresses = &variable##_address, .ports = &variable##_port, \
		.addresses_count = 1, .ports_count = 1                                            \
	}

static struct kube_object a_slice(struct kube_endpoint *endpoints, uint32_t count)
{
	struct kube_object slice = rig_object(KUBE_ENDPOINT_SLICE, "e1", "cart-abc", AT(5));
	slice.endpoint_slice = (struct kube_endpoint_slice){.service = "cart",
							    .address_type = "IPv4",
							    .endpoints = endpoints,
							    .endpoints_count = count};
	return slice;
}

static void a_service_holds_its_ports_and_addresses_from_its_creation(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	A_SERVICE(service);
	service_port.node_port = 30080;
	catalog_put(rig->catalog, &service, AT(6));
	const Millrace__V1__Metadata *told = rig_told(rig, "service", "s1", 0);
	assert_int_equal(told->from_ns, AT(5));
	assert_memory_equal(told->service->address[0].data, "\x0a\x60\0\1", 4);
	assert_int_equal(told->service->ports[0]->port, 80);
	assert_int_equal(told->service->ports[0]->node_port, 30080);
	assert_int_equal(told->service->ports[0]->protocol, 6);

	service_port.port = 81;
	catalog_put(rig->catalog, &service, AT(7));
	assert_int_equal(rig_told(rig, "service", "s1", 0)->until_ns, AT(7));
	assert_int_equal(rig_told(rig, "service", "s1", 0)->service->ports[0]->port, 80);
	assert_int_equal(rig_told(rig, "service", "s1", 1)->from_ns, AT(7));
	assert_int_equal(rig_told(rig, "service", "s1", 1)->service->ports[0]->port, 81);

	service.service.addresses_count = 0; /* now it is a name only, for a while */
	service_port.node_port = 0;
	catalog_put(rig->catalog, &service, AT(8));
	assert_int_equal(rig_told(rig, "service", "s1", 1)->until_ns, AT(8));
	service.service.addresses_count = 1;
	catalog_put(rig->catalog, &service, AT(9));
	assert_int_equal(rig_told(rig, "service", "s1", 2)->from_ns, AT(9));
	removed(rig, &service, AT(10));
	assert_int_equal(rig_told(rig, "service", "s1", 2)->until_ns, AT(10));
	rig_free(rig);
}

static void a_service_without_an_address_or_node_port_is_not_told(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	A_SERVICE(service);
	service.service.addresses_count = 0;
	catalog_put(rig->catalog, &service, AT(6));
	assert_int_equal(rig->told, 0);
	service_port.node_port = 30080;
	catalog_put(rig->catalog, &service, AT(7));
	assert_int_equal(rig->told, 1);
	rig_free(rig);
}

static void addresses_in_another_order_are_the_same_service(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	A_SERVICE(service);
	struct address addresses[] = {address_v4(1), address_v4(2)};
	service.service.addresses = addresses;
	service.service.addresses_count = 2;
	catalog_put(rig->catalog, &service, AT(6));
	addresses[0] = address_v4(2);
	addresses[1] = address_v4(1);
	catalog_put(rig->catalog, &service, AT(7));
	assert_int_equal(rig->told, 1);
	rig_free(rig);
}

static void a_services_workload_is_that_of_all_its_pods(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	A_SERVICE(service);
	struct kube_endpoint endpoints[2] = {{.target_kind = "Pod",
					      .target_namespace = "shop",
					      .target_name = "cart-0",
					      .target_uid = "u1"},
					     {.target_kind = "Pod",
					      .target_namespace = "shop",
					      .target_name = "cart-1",
					      .target_uid = "u2"}};
	struct kube_object slice = a_slice(endpoints, 2);
	RIG_POD(one, "u1", "cart-0", 1, AT(3));
	RIG_OWNED(one, "StatefulSet", "ss1", "cart");
	RIG_POD(two, "u2", "cart-1", 2, AT(3));
	RIG_OWNED(two, "StatefulSet", "ss1", "cart");
	catalog_put(rig->catalog, &slice, AT(6)); /* before its service and pods */
	catalog_put(rig->catalog, &service, AT(7));
	catalog_advance(rig->catalog, AT(8));
	assert_string_equal(rig_told(rig, "service", "s1", 0)->service->workload, "");
	catalog_put(rig->catalog, &one, AT(9));
	catalog_put(rig->catalog, &two, AT(9));
	catalog_advance(rig->catalog, AT(10));
	assert_string_equal(rig_told(rig, "service", "s1", 0)->service->workload, "cart");
	assert_string_equal(rig_told(rig, "service", "s1", 0)->service->workload_kind,
			    "StatefulSet");

	endpoints[1].target_kind = ""; /* an address that somebody wrote there */
	endpoints[1].target_uid = "";
	catalog_put(rig->catalog, &slice, AT(11));
	catalog_advance(rig->catalog, AT(12));
	assert_string_equal(rig_told(rig, "service", "s1", 0)->service->workload, "");

	slice.endpoint_slice.endpoints_count = 1;
	catalog_put(rig->catalog, &slice, AT(13));
	catalog_advance(rig->catalog, AT(14));
	assert_string_equal(rig_told(rig, "service", "s1", 0)->service->workload, "cart");
	slice.endpoint_slice.endpoints_count = 0; /* nobody is not somebody else */
	catalog_put(rig->catalog, &slice, AT(15));
	removed(rig, &slice, AT(16));
	catalog_advance(rig->catalog, AT(17));
	assert_string_equal(rig_told(rig, "service", "s1", 0)->service->workload, "cart");
	rig_free(rig);
}

static void pods_of_two_workloads_give_a_service_none(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	A_SERVICE(service);
	struct kube_endpoint endpoints[2] = {{.target_kind = "Pod", .target_uid = "u1"},
					     {.target_kind = "Pod", .target_uid = "u2"}};
	struct kube_object slice = a_slice(endpoints, 2);
	RIG_POD(one, "u1", "cart-0", 1, AT(3));
	RIG_POD(two, "u2", "cart-1", 2, AT(3));
	LIST(rig, KUBE_POD, AT(5), &one, &two);
	catalog_put(rig->catalog, &service, AT(7));
	catalog_put(rig->catalog, &slice, AT(7));
	catalog_advance(rig->catalog, AT(8));
	assert_string_equal(rig_told(rig, "service", "s1", 0)->service->workload, "");
	rig_free(rig);
}

/* ---- changes */

static void a_new_template_is_a_deployment_and_going_back_is_one_too(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	const Millrace__V1__Change *change;
	struct kube_pair first[] = {{"deployment.kubernetes.io/revision", "1", false},
				    {"deployment.kubernetes.io/desired-replicas", "3", false}};
	struct kube_pair second[] = {{"deployment.kubernetes.io/revision", "2", false},
				     {"deployment.kubernetes.io/desired-replicas", "3", false}};
	struct kube_object v3 = rig_sets("rs3", "cart-3", AT(1), "shop/cart:v3");
	RIG_OWNED(v3, "Deployment", "d1", "cart");
	v3.annotations = first;
	v3.annotations_count = 2;
	LIST(rig, KUBE_REPLICA_SET, AT(10), &v3);
	assert_int_equal(rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_DEPLOYED, &change),
			 0); /* it was there */

	struct kube_object v4 = rig_sets("rs4", "cart-4", AT(20), "shop/cart:v4");
	RIG_OWNED(v4, "Deployment", "d1", "cart");
	v4.annotations = second;
	v4.annotations_count = 2;
	catalog_put(rig->catalog, &v4, AT(21));
	assert_int_equal(rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_DEPLOYED, &change),
			 1);
	assert_string_equal(change->before, "v3");
	assert_string_equal(change->after, "v4");
	assert_int_equal(change->time_ns, AT(20));
	assert_string_equal(change->workload, "cart");
	assert_string_equal(change->workload_kind, "Deployment");

	v3.replicas.wanted = 0; /* the old one goes down meanwhile */
	catalog_put(rig->catalog, &v3, AT(22));
	catalog_put(rig->catalog, &v4, AT(22));
	assert_int_equal(rig->told, 1);

	first[0].value = "3"; /* back */
	catalog_put(rig->catalog, &v3, AT(30));
	assert_int_equal(rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_DEPLOYED, &change),
			 2);
	assert_string_equal(change->before, "v4");
	assert_string_equal(change->after, "v3");
	assert_int_equal(change->time_ns, AT(30));

	first[1].value = "5";
	catalog_put(rig->catalog, &v3, AT(40));
	assert_int_equal(rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_SCALED, &change),
			 1);
	assert_string_equal(change->before, "3");
	assert_string_equal(change->after, "5");
	rig_free(rig);
}

static void a_workload_that_nobody_knew_is_deployed_for_the_first_time(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	const Millrace__V1__Change *change;
	struct kube_object set = rig_sets("rs1", "cart-1", AT(5), "shop/cart:v1");
	RIG_OWNED(set, "Deployment", "d1", "cart");
	catalog_put(rig->catalog, &set, AT(6));
	assert_int_equal(rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_DEPLOYED, &change),
			 1);
	assert_string_equal(change->before, "");
	assert_string_equal(change->after, "v1");
	rig_free(rig);
}

static void a_stateful_sets_newest_pod_tells_its_deployment(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	const Millrace__V1__Change *change;
	RIG_POD(old, "u1", "db-0", 1, AT(1));
	RIG_OWNED(old, "StatefulSet", "ss1", "db");
	LIST(rig, KUBE_POD, AT(5), &old);
	RIG_POD(new, "u2", "db-1", 2, AT(10));
	RIG_OWNED(new, "StatefulSet", "ss1", "db");
	new_container.image = "shop:v2";
	catalog_put(rig->catalog, &new, AT(11));
	catalog_put(rig->catalog, &old, AT(12));
	assert_int_equal(rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_DEPLOYED, &change),
			 1);
	assert_string_equal(change->before, "v1");
	assert_string_equal(change->after, "v2");
	assert_int_equal(change->time_ns, AT(10));
	rig_free(rig);
}

static void a_container_that_is_killed_for_memory_and_begins_anew_is_told_once_each(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	const Millrace__V1__Change *change;
	RIG_POD(pod, "u1", "cart-1", 1, AT(3));
	catalog_put(rig->catalog, &pod, AT(4));
	pod_container.ended = true;
	pod_container.termination = (struct kube_termination){"", "OOMKilled", 137, AT(3), AT(20)};
	catalog_put(rig->catalog, &pod, AT(21));
	assert_int_equal(
		rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_OOM_KILLED, &change), 1);
	assert_int_equal(change->time_ns, AT(20));
	assert_string_equal(change->instance, "cart-1/main");
	assert_string_equal(change->node, "node-1");

	pod_container.ended = false;
	pod_container.ended_before = true;
	pod_container.restarts = 1;
	pod_container.started_ns = AT(25);
	catalog_put(rig->catalog, &pod, AT(26));
	catalog_put(rig->catalog, &pod, AT(27));
	assert_int_equal(
		rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_OOM_KILLED, &change), 1);
	assert_int_equal(
		rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_RESTARTED, &change), 1);
	assert_int_equal(change->time_ns, AT(25));
	assert_string_equal(change->before, "0");
	assert_string_equal(change->after, "1");
	assert_string_equal(change->reason, "OOMKilled");

	/* a container that is asked into the pod changes nothing of that */
	struct kube_container containers[] = {pod_container, pod_container};
	containers[1].sort = KUBE_CONTAINER_EPHEMERAL;
	containers[1].name = "debug";
	containers[1].restarts = 0;
	containers[1].ended_before = false;
	pod.pod.containers = containers;
	pod.pod.containers_count = 2;
	catalog_put(rig->catalog, &pod, AT(30));
	assert_int_equal(catalog_stats(rig->catalog).changes, 2);
	rig_free(rig);
}

static void what_had_happened_before_the_first_list_is_no_change(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct address address;
	struct kube_condition ready;
	struct kube_object node = a_node(&address, &ready);
	LIST(rig, KUBE_NODE, AT(50), &node);
	RIG_POD(pod, "u1", "cart-1", 1, AT(3));
	pod_container.restarts = 7;
	pod_container.ended_before = true;
	pod_container.termination = (struct kube_termination){"", "OOMKilled", 137, AT(3), AT(20)};
	LIST(rig, KUBE_POD, AT(50), &pod);
	assert_int_equal(catalog_stats(rig->catalog).changes, 0);
	rig_free(rig);
}

/* ---- a watcher that takes over */

static void who_takes_over_ends_what_is_gone_and_tells_nothing_twice(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	struct kube_object set = rig_sets("rs1", "cart-1", AT(1), "shop:v1");
	RIG_OWNED(set, "Deployment", "d1", "cart");
	RIG_POD(stays, "u1", "cart-1-a", 1, AT(10));
	RIG_OWNED(stays, "ReplicaSet", "rs1", "cart-1");
	RIG_POD(goes, "u2", "cart-1-b", 2, AT(10));
	RIG_OWNED(goes, "ReplicaSet", "rs1", "cart-1");
	A_SERVICE(service);
	struct address address;
	struct kube_condition ready;
	struct kube_object node = a_node(&address, &ready);
	catalog_put(rig->catalog, &node, AT(11));
	catalog_put(rig->catalog, &set, AT(11));
	catalog_put(rig->catalog, &stays, AT(11));
	catalog_put(rig->catalog, &goes, AT(11));
	catalog_put(rig->catalog, &service, AT(11));
	stays_address = address_v4(0x0a000009); /* so its number is 1 */
	catalog_put(rig->catalog, &stays, AT(12));
	rig_restart(rig);
	assert_int_equal(catalog_stats(rig->catalog).unreadable, 0);

	size_t before = rig->told;
	LIST(rig, KUBE_NODE, AT(50), &node);
	LIST(rig, KUBE_REPLICA_SET, AT(50), &set);
	LIST(rig, KUBE_POD, AT(50), &stays);
	LIST(rig, KUBE_SERVICE, AT(50), &service);
	catalog_advance(rig->catalog, AT(50));
	assert_int_equal(rig->told, before + 1);
	assert_int_equal(rig_told(rig, "pod", "u2", 0)->until_ns, AT(50));
	assert_string_equal(rig_told(rig, "pod", "u2", 0)->pod->workload, "cart");
	assert_int_equal(rig_told(rig, "pod", "u2", 0)->pod->n_containers, 1);

	stays_address = address_v4(0x0a00000a);
	catalog_put(rig->catalog, &stays, AT(60));
	assert_int_equal(rig_told(rig, "pod", "u1", 1)->until_ns, AT(60));
	assert_int_equal(rig_told(rig, "pod", "u1", 2)->from_ns, AT(60));
	rig_free(rig);
}

static void who_takes_over_tells_what_changed_meanwhile(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	const Millrace__V1__Change *change;
	struct kube_object set = rig_sets("rs1", "cart-1", AT(1), "shop:v1");
	RIG_OWNED(set, "Deployment", "d1", "cart");
	RIG_POD(pod, "u1", "cart-1-a", 1, AT(10));
	RIG_OWNED(pod, "ReplicaSet", "rs1", "cart-1");
	LIST(rig, KUBE_REPLICA_SET, AT(11), &set);
	LIST(rig, KUBE_POD, AT(11), &pod);
	rig_restart(rig);
	struct kube_object newer = rig_sets("rs2", "cart-2", AT(30), "shop:v2");
	RIG_OWNED(newer, "Deployment", "d1", "cart");
	pod_container.restarts = 1;
	pod_container.ended_before = true;
	pod_container.termination = (struct kube_termination){"", "OOMKilled", 137, AT(3), AT(20)};
	LIST(rig, KUBE_REPLICA_SET, AT(50), &newer, &set);
	LIST(rig, KUBE_POD, AT(50), &pod);
	size_t deployed =
		rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_DEPLOYED, &change);
	assert_string_equal(change->before, "v1");
	assert_string_equal(change->after, "v2");
	assert_int_equal(change->time_ns, AT(30));
	assert_int_equal(
		rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_OOM_KILLED, &change), 1);
	assert_int_equal(
		rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_RESTARTED, &change), 1);
	rig_restart(rig); /* and nobody tells it again */
	LIST(rig, KUBE_REPLICA_SET, AT(60), &newer, &set);
	LIST(rig, KUBE_POD, AT(60), &pod);
	assert_int_equal(rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_DEPLOYED, &change),
			 deployed);
	assert_int_equal(catalog_stats(rig->catalog).changes, 0);
	rig_free(rig);
}

static void a_change_in_the_very_second_of_the_last_record_is_not_missed(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	const Millrace__V1__Change *change;
	struct kube_object set = rig_sets("rs1", "cart-1", AT(1), "shop:v1");
	RIG_OWNED(set, "Deployment", "d1", "cart");
	RIG_POD(pod, "u1", "cart-1-a", 1, AT(10));
	RIG_OWNED(pod, "ReplicaSet", "rs1", "cart-1");
	LIST(rig, KUBE_REPLICA_SET, AT(11), &set);
	LIST(rig, KUBE_POD, AT(11) + NS_PER_S / 2, &pod);
	struct kube_object newer = rig_sets("rs2", "cart-2", AT(11), "shop:v2"); /* at 11.7 */
	RIG_OWNED(newer, "Deployment", "d1", "cart");
	for (int times = 0; times < 2; times++) { /* nor is it two */
		rig_restart(rig);
		LIST(rig, KUBE_REPLICA_SET, AT(12), &set, &newer);
		LIST(rig, KUBE_POD, AT(12), &pod);
		assert_int_equal(
			rig_changes(rig, MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_DEPLOYED, &change),
			1);
		assert_string_equal(change->after, "v2");
	}
	rig_free(rig);
}

static void a_pod_that_was_told_as_ended_and_lives_goes_on_from_there(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	RIG_POD(pod, "u1", "cart-1", 1, AT(10));
	catalog_put(rig->catalog, &pod, AT(11));
	removed(rig, &pod, AT(20)); /* killed between an end and a beginning */
	rig_restart(rig);
	LIST(rig, KUBE_POD, AT(30), &pod);
	assert_int_equal(rig_told(rig, "pod", "u1", 0)->until_ns, AT(20));
	assert_int_equal(rig_told(rig, "pod", "u1", 1)->from_ns, AT(20));
	rig_free(rig);
}

static void who_takes_over_takes_back_what_the_former_ended(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	RIG_POD(pod, "u1", "cart-1", 1, AT(10));
	struct kube_object set = rig_sets("rs1", "cart-1", AT(5), "shop/cart:v1");
	catalog_put(rig->catalog, &set, AT(11)); /* a change */
	catalog_put(rig->catalog, &pod, AT(11));
	removed(rig, &pod, AT(12));
	rig_restart(rig);
	assert_int_equal(catalog_stats(rig->catalog).gone, 2);
	catalog_advance(rig->catalog, AT(12) + RIG_KEEP_NS);
	assert_int_equal(rig->taken_back, 2);
	rig_free(rig);
}

/* The schema's fields are not const. */
static char *text(const char *constant)
{
	return (char *)(uintptr_t)constant;
}

static void records_that_are_not_ours_teach_nothing(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	Millrace__V1__Metadata record = MILLRACE__V1__METADATA__INIT;
	Millrace__V1__Pod pod = MILLRACE__V1__POD__INIT;
	pod.uid = text("u1");
	record.pod = &pod;
	record.version = 1;
	record.cluster = text("c1");
	static const char *const ids[] = {"",
					  "c1/pod/u1",
					  "c1/pod/u1/",
					  "c1/pod/u2/0",
					  "c1/pod/u1/x",
					  "c1/pod/u1/-1",
					  "c1/pod/u1/99999999999",
					  "c1/node/u1/0"};
	for (size_t i = 0; i < sizeof(ids) / sizeof(*ids); i++) {
		record.id = text(ids[i]);
		catalog_learn(rig->catalog, &record);
		assert_int_equal(catalog_stats(rig->catalog).unreadable, i + 1);
	}
	record.id = text("c1/pod/u1/0");
	record.version = 2;
	catalog_learn(rig->catalog, &record);
	record.version = 1;
	record.cluster = text("c2");
	catalog_learn(rig->catalog, &record);
	assert_int_equal(catalog_stats(rig->catalog).unreadable, 10);
	assert_int_equal(catalog_stats(rig->catalog).live[KUBE_POD], 0);
	record.cluster = text("c1");
	catalog_learn(rig->catalog, &record);
	assert_int_equal(catalog_stats(rig->catalog).live[KUBE_POD], 1);
	rig_free(rig);
}

static void a_service_made_anew_is_itself_whichever_was_learned_first(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	A_SERVICE(former);
	struct kube_object latter = former;
	latter.uid = "s2";
	catalog_put(rig->catalog, &former, AT(6));
	removed(rig, &former, AT(7));
	catalog_put(rig->catalog, &latter, AT(8));
	struct rig *other = rig_new();
	catalog_learn(other->catalog, rig_told(rig, "service", "s2", 0));
	catalog_learn(other->catalog, rig_told(rig, "service", "s1", 0));
	catalog_put(other->catalog, &latter, AT(9));
	for (enum kube_kind kind = 0; kind < KUBE_KINDS; kind++)
		catalog_synced(other->catalog, kind, AT(9));
	former_port.port = 81;
	catalog_put(other->catalog, &latter, AT(10));
	assert_int_equal(rig_told(other, "service", "s2", 0)->until_ns, AT(10));
	assert_int_equal(rig_told(other, "service", "s2", 1)->from_ns, AT(10));
	removed(other, &latter, AT(11));
	assert_int_equal(rig_told(other, "service", "s2", 1)->until_ns, AT(11));
	rig_free(other);
	rig_free(rig);
}

static void a_record_is_observed_later_than_the_one_before_whatever_the_clock_says(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	A_SERVICE(service);
	catalog_put(rig->catalog, &service, AT(20));
	struct rig *other = rig_new();
	catalog_learn(other->catalog, rig_told(rig, "service", "s1", 0));
	catalog_put(other->catalog, &service, AT(18));
	removed(other, &service, AT(19));
	assert_int_equal(rig_told(other, "service", "s1", 0)->until_ns, AT(19));
	assert_true(rig_told(other, "service", "s1", 0)->observed_ns > AT(20));
	rig_free(other);
	rig_free(rig);
}

/* ---- bounds */

static void what_has_no_room_is_counted_and_not_told(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct catalog_options options = rig_options(rig);
	for (int kind = 0; kind < KUBE_KINDS; kind++)
		options.objects_max[kind] = 1;
	catalog_free(rig->catalog);
	rig->catalog = catalog_new(&options);
	RIG_POD(one, "u1", "cart-1", 1, AT(10));
	RIG_POD(two, "u2", "cart-2", 2, AT(10));
	A_SERVICE(service);
	struct kube_object other = service;
	other.uid = "s2";
	other.name = "other";
	struct kube_object slice = a_slice(NULL, 0), other_slice = slice;
	other_slice.uid = "e2";
	struct kube_object set = rig_sets("rs1", "a", AT(1), ""), other_set = set;
	other_set.uid = "rs2";
	struct address address;
	struct kube_condition ready;
	struct kube_object node = a_node(&address, &ready), other_node = node;
	other_node.uid = "n2";
	struct kube_object space = rig_object(KUBE_NAMESPACE, "ns1", "shop", AT(1)),
			   other_space = rig_object(KUBE_NAMESPACE, "ns2", "bank", AT(1));
	const struct kube_object *all[][2] = {{&one, &two},	      {&service, &other},
					      {&slice, &other_slice}, {&set, &other_set},
					      {&node, &other_node},   {&space, &other_space}};
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		enum kube_kind kind = all[i][0]->kind;
		catalog_put(rig->catalog, all[i][0], AT(11));
		assert_int_equal(catalog_stats(rig->catalog).refused[kind], 0);
		catalog_put(rig->catalog, all[i][1], AT(11));
		assert_int_equal(catalog_stats(rig->catalog).refused[kind], 1);
		removed(rig, all[i][0], AT(12));
		catalog_put(rig->catalog, all[i][1], AT(13));
		assert_int_equal(catalog_stats(rig->catalog).refused[kind], 1);
	}
	rig_free(rig);
}

static void ids_that_find_no_room_are_taken_back_early(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct catalog_options options = rig_options(rig);
	options.gone_max = 1;
	catalog_free(rig->catalog);
	rig->catalog = catalog_new(&options);
	RIG_POD(one, "u1", "cart-1", 1, AT(10));
	RIG_POD(two, "u2", "cart-2", 2, AT(10));
	LIST(rig, KUBE_POD, AT(11), &one, &two);
	removed(rig, &one, AT(12));
	assert_int_equal(catalog_stats(rig->catalog).early, 0);
	removed(rig, &two, AT(13));
	assert_int_equal(catalog_stats(rig->catalog).early, 1);
	assert_false(rig_has(rig, "pod", "u1", 0));
	assert_int_equal(rig_told(rig, "pod", "u2", 0)->until_ns, AT(13));
	rig_free(rig);
}

static void texts_that_find_no_room_are_told_as_empty(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct catalog_options options = rig_options(rig);
	for (int kind = 0; kind < KUBE_KINDS; kind++)
		options.objects_max[kind] = 1; /* 56 texts */
	catalog_free(rig->catalog);
	rig->catalog = catalog_new(&options);
	static char names[KUBE_CONTAINERS_MAX][8];
	struct kube_container containers[KUBE_CONTAINERS_MAX] = {0};
	RIG_POD(pod, "u1", "cart-1", 1, AT(10));
	for (int i = 0; i < KUBE_CONTAINERS_MAX; i++) {
		snprintf(names[i], sizeof(names[i]), "c%d", i);
		containers[i] = pod_container;
		containers[i].name = names[i];
	}
	pod.pod.containers = containers;
	pod.pod.containers_count = KUBE_CONTAINERS_MAX;
	catalog_put(rig->catalog, &pod, AT(11));
	const Millrace__V1__Pod *told = rig_told(rig, "pod", "u1", 0)->pod;
	assert_string_equal(told->containers[0]->name, "c0");
	assert_string_equal(told->containers[KUBE_CONTAINERS_MAX - 1]->name, "");
	assert_true(catalog_stats(rig->catalog).texts_refused > 0);
	rig_free(rig);
}

/* What a pod may look like that wants to do harm, once the reader has cut it to size. */
static void the_longest_names_make_a_record_that_readers_take(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	static char longest[KUBE_TEXT_MAX + 1];
	memset(longest, 'x', KUBE_TEXT_MAX);
	struct kube_pair pairs[KUBE_LABELS_MAX];
	struct kube_container containers[KUBE_CONTAINERS_MAX];
	RIG_POD(pod, "0123456789abcdef0123456789abcdef0123", longest, 1, AT(10));
	RIG_OWNED(pod, longest, "o1", longest);
	for (int i = 0; i < KUBE_LABELS_MAX; i++)
		pairs[i] = (struct kube_pair){longest + i, longest, true};
	for (int i = 0; i < KUBE_CONTAINERS_MAX; i++) {
		containers[i] = pod_container;
		containers[i].name = longest + i;
		containers[i].image = containers[i].id = longest;
		containers[i].restarts = UINT32_MAX;
	}
	pod.namespace = pod.pod.node = longest;
	pod.labels = pod.annotations = pairs;
	pod.labels_count = pod.annotations_count = KUBE_LABELS_MAX;
	pod.pod.containers = containers;
	pod.pod.containers_count = KUBE_CONTAINERS_MAX;
	catalog_put(rig->catalog, &pod, AT(11));
	const Millrace__V1__Pod *told =
		rig_told(rig, "pod", "0123456789abcdef0123456789abcdef0123", 0)->pod;
	assert_int_equal(told->n_labels, 0);
	assert_in_range(told->n_containers, 40, KUBE_CONTAINERS_MAX - 1);
	assert_int_equal(catalog_stats(rig->catalog).cut, 1);
	assert_true(millrace__v1__metadata__get_packed_size(
			    rig_told(rig, "pod", "0123456789abcdef0123456789abcdef0123", 0)) <=
		    CATALOG_RECORD_MAX);
	assert_string_equal(told->containers[0]->id, ""); /* that is no container's id */
	rig_free(rig);
}

/* What is left when all is gone is what was there before anything came. */
static void nothing_is_kept_of_what_is_gone(void **state)
{
	(void)state;
	struct rig *rig = rig_synced();
	A_SERVICE(service);
	struct kube_endpoint endpoint = {.target_kind = "Pod", .target_uid = "u1"};
	struct kube_object slice = a_slice(&endpoint, 1);
	struct kube_object set = rig_sets("rs1", "cart-1", AT(1), "shop:v1");
	RIG_OWNED(set, "Deployment", "d1", "cart");
	struct address address;
	struct kube_condition ready;
	struct kube_object node = a_node(&address, &ready);
	struct kube_pair label = {"team", "carts", true};
	struct kube_object space = rig_object(KUBE_NAMESPACE, "ns1", "shop", AT(1));
	space.labels = &label;
	space.labels_count = 1;
	RIG_POD(pod, "u1", "cart-1-a", 1, AT(10));
	RIG_OWNED(pod, "ReplicaSet", "rs1", "cart-1");
	pod.labels = &label;
	pod.labels_count = 1;
	const struct kube_object *all[] = {&slice, &service, &pod, &set, &node, &space};
	uint64_t kept[2];
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < 6; i++)
			catalog_put(rig->catalog, all[i], AT(20));
		catalog_advance(rig->catalog, AT(21));
		for (size_t i = 0; i < 6; i++)
			removed(rig, all[round ? i : 5 - i], AT(22));
		catalog_advance(rig->catalog, AT(23));
		kept[round] = catalog_stats(rig->catalog).bytes;
		for (int kind = 0; kind < KUBE_KINDS; kind++)
			assert_int_equal(catalog_stats(rig->catalog).live[kind], 0);
	}
	assert_int_equal(kept[0], kept[1]);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pod_holds_from_its_scheduling_until_it_is_deleted),
		cmocka_unit_test(a_pod_without_a_node_is_told_when_it_has_one),
		cmocka_unit_test(the_first_address_changes_no_number_and_another_does),
		cmocka_unit_test(a_pods_new_network_tells_when_its_address_changed),
		cmocka_unit_test(a_finished_pod_ends_when_its_last_container_did),
		cmocka_unit_test(a_failed_pod_whose_containers_tell_no_end_ends_when_that_is_seen),
		cmocka_unit_test(a_pod_that_ended_long_ago_is_not_told),
		cmocka_unit_test(who_uses_the_nodes_network_has_no_address_of_its_own),
		cmocka_unit_test(what_says_nothing_new_is_not_told),
		cmocka_unit_test(who_went_unseen_ended_when_that_was_noticed),
		cmocka_unit_test(a_cluster_whose_clock_is_wrong_is_set_right),
		cmocka_unit_test(the_record_of_what_ended_is_taken_back_after_its_time),
		cmocka_unit_test(who_was_only_thought_gone_is_not_taken_back),
		cmocka_unit_test(a_pods_workload_is_its_top_owner),
		cmocka_unit_test(an_owner_that_comes_late_corrects_its_pods),
		cmocka_unit_test(an_owner_that_is_adopted_moves_its_pods),
		cmocka_unit_test(owners_that_go_in_a_circle_are_left_and_counted),
		cmocka_unit_test(owners_are_followed_four_deep_and_no_deeper),
		cmocka_unit_test(a_version_is_the_label_and_else_the_first_containers_tag),
		cmocka_unit_test(labels_that_were_asked_for_are_the_pods_and_else_its_namespaces),
		cmocka_unit_test(a_node_tells_where_it_stands_and_what_becomes_of_it),
		cmocka_unit_test(a_node_whose_address_changes_goes_on_under_the_next_number),
		cmocka_unit_test(a_service_holds_its_ports_and_addresses_from_its_creation),
		cmocka_unit_test(a_service_without_an_address_or_node_port_is_not_told),
		cmocka_unit_test(addresses_in_another_order_are_the_same_service),
		cmocka_unit_test(a_services_workload_is_that_of_all_its_pods),
		cmocka_unit_test(pods_of_two_workloads_give_a_service_none),
		cmocka_unit_test(a_new_template_is_a_deployment_and_going_back_is_one_too),
		cmocka_unit_test(a_workload_that_nobody_knew_is_deployed_for_the_first_time),
		cmocka_unit_test(a_stateful_sets_newest_pod_tells_its_deployment),
		cmocka_unit_test(
			a_container_that_is_killed_for_memory_and_begins_anew_is_told_once_each),
		cmocka_unit_test(what_had_happened_before_the_first_list_is_no_change),
		cmocka_unit_test(who_takes_over_ends_what_is_gone_and_tells_nothing_twice),
		cmocka_unit_test(who_takes_over_tells_what_changed_meanwhile),
		cmocka_unit_test(a_change_in_the_very_second_of_the_last_record_is_not_missed),
		cmocka_unit_test(a_pod_that_was_told_as_ended_and_lives_goes_on_from_there),
		cmocka_unit_test(who_takes_over_takes_back_what_the_former_ended),
		cmocka_unit_test(records_that_are_not_ours_teach_nothing),
		cmocka_unit_test(a_service_made_anew_is_itself_whichever_was_learned_first),
		cmocka_unit_test(
			a_record_is_observed_later_than_the_one_before_whatever_the_clock_says),
		cmocka_unit_test(what_has_no_room_is_counted_and_not_told),
		cmocka_unit_test(ids_that_find_no_room_are_taken_back_early),
		cmocka_unit_test(texts_that_find_no_room_are_told_as_empty),
		cmocka_unit_test(the_longest_names_make_a_record_that_readers_take),
		cmocka_unit_test(nothing_is_kept_of_what_is_gone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
