/* What a catalog keeps of a cluster of 10,000 pods. */
#include "tests/kube/catalog/rig.h"

enum { PODS = 10000, DEPLOYMENTS = 500, NODES = 200, PODS_A_SLICE = 100, BYTES_A_POD_MAX = 1024 };

static void drop(void *context, const char *id, const Millrace__V1__Metadata *record)
{
	(void)context;
	(void)id;
	(void)record;
}

/* As long as a real one. */
static void uid_of(char uid[40], char kind, unsigned number)
{
	snprintf(uid, 40, "%c%07x-0123-4567-89ab-0123456789ab", kind, number);
}

static void put_set(struct catalog *catalog, unsigned deployment)
{
	char uid[40], parent_uid[40], name[64], parent[64], image[96];
	uid_of(uid, 'a', deployment);
	uid_of(parent_uid, 'b', deployment);
	snprintf(parent, sizeof(parent), "service-number-%u", deployment);
	snprintf(name, sizeof(name), "%s-5d59d67564", parent);
	snprintf(image, sizeof(image), "registry.example.com/shop/service-%u:1.27.3", deployment);
	struct kube_object set = rig_sets(uid, name, AT(0), image);
	RIG_OWNED(set, "Deployment", parent_uid, parent);
	catalog_put(catalog, &set, AT(1));
}

static void put_pod(struct catalog *catalog, unsigned number)
{
	unsigned deployment = number % DEPLOYMENTS;
	char uid[40], set_uid[40], set_name[64], name[80], image[96], node[64], id[80];
	uid_of(uid, 'c', number);
	uid_of(set_uid, 'a', deployment);
	snprintf(set_name, sizeof(set_name), "service-number-%u-5d59d67564", deployment);
	snprintf(name, sizeof(name), "%s-%05x", set_name, number);
	snprintf(image, sizeof(image), "registry.example.com/shop/service-%u:1.27.3", deployment);
	snprintf(node, sizeof(node), "ip-10-0-1-%u.eu-central-1.compute.internal", number % NODES);
	snprintf(id, sizeof(id), "containerd://%032x%032x", number, number);
	RIG_POD(pod, uid, name, number + 1, AT(1));
	RIG_OWNED(pod, "ReplicaSet", set_uid, set_name);
	struct kube_container containers[] = {pod_container, pod_container};
	containers[0].image = image;
	containers[1].name = "istio-proxy";
	containers[1].image = "docker.io/istio/proxyv2:1.22.1";
	containers[0].id = containers[1].id = id;
	struct kube_pair labels[] = {{"team", "carts", true}, {"tier", "backend", true}};
	pod.labels = labels;
	pod.labels_count = 2;
	pod.pod.node = node;
	pod.pod.containers = containers;
	pod.pod.containers_count = 2;
	catalog_put(catalog, &pod, AT(2));
}

static void put_slice(struct catalog *catalog, unsigned number)
{
	static char uids[PODS_A_SLICE][40];
	static struct kube_endpoint endpoints[PODS_A_SLICE];
	char uid[40], service[64];
	uid_of(uid, 'd', number);
	snprintf(service, sizeof(service), "service-number-%u", number);
	for (unsigned i = 0; i < PODS_A_SLICE; i++) {
		uid_of(uids[i], 'c', number * PODS_A_SLICE + i);
		endpoints[i] = (struct kube_endpoint){
			.target_kind = "Pod", .target_name = "", .target_uid = uids[i]};
	}
	struct kube_object slice = rig_object(KUBE_ENDPOINT_SLICE, uid, service, AT(1));
	slice.endpoint_slice = (struct kube_endpoint_slice){.service = service,
							    .address_type = "IPv4",
							    .endpoints = endpoints,
							    .endpoints_count = PODS_A_SLICE};
	catalog_put(catalog, &slice, AT(2));
}

static void a_pod_costs_a_kibibyte_at_most_with_all_that_goes_with_it(void **state)
{
	(void)state;
	struct catalog_options options = {.cluster = "c1", .keep_ns = RIG_KEEP_NS, .sink = drop};
	struct catalog *catalog = catalog_new(&options);
	for (unsigned i = 0; i < DEPLOYMENTS; i++)
		put_set(catalog, i);
	for (unsigned i = 0; i < PODS; i++)
		put_pod(catalog, i);
	for (unsigned i = 0; i < PODS / PODS_A_SLICE; i++)
		put_slice(catalog, i);
	catalog_advance(catalog, AT(3));
	struct catalog_stats stats = catalog_stats(catalog);
	printf("%llu pods of two containers: %llu bytes each\n",
	       (unsigned long long)stats.live[KUBE_POD], (unsigned long long)(stats.bytes / PODS));
	assert_int_equal(stats.live[KUBE_POD], PODS);
	assert_int_equal(stats.provisional, 0);
	assert_in_range(stats.bytes, 1, (uintmax_t)PODS * BYTES_A_POD_MAX);
	catalog_free(catalog);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pod_costs_a_kibibyte_at_most_with_all_that_goes_with_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
