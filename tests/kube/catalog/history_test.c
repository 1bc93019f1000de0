/* A cluster lives through random days, and a watcher sees it as watchers do: at once, twice, late
 * after a cut with a new list, or after another took over. What it told must be the history, within
 * what can be known: the cluster's whole seconds, and what happened while nobody looked. */
#include <time.h>

#include "tests/kube/catalog/rig.h"

enum {
	PODS_MAX = 600,
	MOVES_MAX = 16,
	ADDRESSES = 50,
	DEPLOYMENTS = 5,
	STEPS = 2500,
};

/* An address that a pod had. */
struct stay {
	uint64_t from_ns, until_ns; /* until_ns 0: it has it still */
	uint32_t host;
	uint64_t learnt_ns; /* when its end was seen, or could have been */
	bool seen;
};

struct body {
	char uid[24], name[48], set_name[32];
	uint64_t scheduled_ns, made_ns, finished_ns;
	uint32_t deployment, set;
	struct stay stays[MOVES_MAX];
	size_t stays_count;
	bool finished, deleted, known; /* known: to the watcher */
};

struct cluster {
	uint64_t now_ns, random;
	struct body bodies[PODS_MAX];
	size_t bodies_count;
	uint32_t revisions[DEPLOYMENTS]; /* replica sets so far */
	bool taken[ADDRESSES + 1];
	bool cut;
	struct rig *rig;
};

static uint64_t roll(struct cluster *cluster, uint64_t sides)
{
	cluster->random = cluster->random * 6364136223846793005ULL + 1442695040888963407ULL;
	return (cluster->random >> 33) % sides;
}

static uint64_t second_of(uint64_t time_ns)
{
	return time_ns / NS_PER_S * NS_PER_S;
}

/* ---- what the watcher is told */

static void tell_body(struct cluster *cluster, struct body *body, bool deleted)
{
	struct stay *stay = body->stays_count ? &body->stays[body->stays_count - 1] : NULL;
	RIG_POD(pod, body->uid, body->name, stay ? stay->host : 0, second_of(body->scheduled_ns));
	struct kube_condition conditions[] = {
		{"PodScheduled", "True", "", second_of(body->scheduled_ns)},
		{"PodReadyToStartContainers", "True", "", second_of(body->made_ns)}};
	pod.pod.conditions = conditions;
	pod.pod.conditions_count = 2;
	char set_uid[32];
	snprintf(set_uid, sizeof(set_uid), "set-%u-%u", body->deployment, body->set);
	RIG_OWNED(pod, "ReplicaSet", set_uid, body->set_name);
	if (body->finished) {
		pod.pod.phase = "Succeeded";
		pod_container.ended = true;
		pod_container.termination.finished_ns = second_of(body->finished_ns);
	}
	if (deleted)
		catalog_remove(cluster->rig->catalog, KUBE_POD, body->uid, &pod, cluster->now_ns);
	else
		catalog_put(cluster->rig->catalog, &pod, cluster->now_ns);
	body->known = !deleted;
	for (size_t i = 0; i < body->stays_count; i++)
		if (body->stays[i].until_ns && !body->stays[i].learnt_ns)
			body->stays[i].learnt_ns = cluster->now_ns;
	if (stay && !deleted)
		stay->seen = true;
}

static void tell_set(struct cluster *cluster, uint32_t deployment, uint32_t revision)
{
	char uid[32], name[32], parent[32], parent_uid[32], number[16];
	snprintf(uid, sizeof(uid), "set-%u-%u", deployment, revision);
	snprintf(name, sizeof(name), "app-%u-%u", deployment, revision);
	snprintf(parent, sizeof(parent), "app-%u", deployment);
	snprintf(parent_uid, sizeof(parent_uid), "dep-%u", deployment);
	snprintf(number, sizeof(number), "%u", revision);
	struct kube_object set = rig_sets(uid, name, AT(0), "shop:v1");
	struct kube_pair annotation = {"deployment.kubernetes.io/revision", number, false};
	set.annotations = &annotation;
	set.annotations_count = 1;
	RIG_OWNED(set, "Deployment", parent_uid, parent);
	catalog_put(cluster->rig->catalog, &set, cluster->now_ns);
}

static void tell_all_sets(struct cluster *cluster)
{
	for (uint32_t deployment = 0; deployment < DEPLOYMENTS; deployment++)
		for (uint32_t revision = 1; revision <= cluster->revisions[deployment]; revision++)
			tell_set(cluster, deployment, revision);
}

static void tell_all_bodies(struct cluster *cluster)
{
	for (size_t i = 0; i < cluster->bodies_count; i++) {
		struct body *body = &cluster->bodies[i];
		if (!body->deleted)
			tell_body(cluster, body, false);
		else if (body->known)
			catalog_remove(cluster->rig->catalog, KUBE_POD, body->uid, NULL,
				       cluster->now_ns);
		body->known = !body->deleted;
	}
	catalog_synced(cluster->rig->catalog, KUBE_POD, cluster->now_ns);
}

/* The watch is up again: everything is listed, in either order. */
static void list_all(struct cluster *cluster)
{
	struct catalog *catalog = cluster->rig->catalog;
	bool pods_first = roll(cluster, 2);
	if (pods_first)
		tell_all_bodies(cluster);
	tell_all_sets(cluster);
	catalog_synced(catalog, KUBE_REPLICA_SET, cluster->now_ns);
	if (!pods_first)
		tell_all_bodies(cluster);
	for (size_t i = 0; i < cluster->bodies_count; i++) {
		struct body *body = &cluster->bodies[i];
		for (size_t k = 0; body->deleted && k < body->stays_count; k++)
			if (!body->stays[k].learnt_ns)
				body->stays[k].learnt_ns = cluster->now_ns;
	}
	catalog_advance(catalog, cluster->now_ns);
	cluster->cut = false;
}

/* ---- what happens */

static void happened(struct cluster *cluster, struct body *body)
{
	if (cluster->cut)
		return;
	for (uint64_t times = 1 + !roll(cluster, 5); times; times--)
		tell_body(cluster, body, body->deleted);
}

static uint32_t free_host(struct cluster *cluster)
{
	for (int tries = 0; tries < 200; tries++) {
		uint32_t host = 1 + (uint32_t)roll(cluster, ADDRESSES);
		if (!cluster->taken[host])
			return host;
	}
	return 0;
}

static void leave(struct cluster *cluster, struct body *body)
{
	if (!body->stays_count || body->stays[body->stays_count - 1].until_ns)
		return;
	struct stay *stay = &body->stays[body->stays_count - 1];
	stay->until_ns = cluster->now_ns;
	cluster->taken[stay->host] = false;
}

static void create(struct cluster *cluster)
{
	if (cluster->bodies_count == PODS_MAX)
		return;
	struct body *body = &cluster->bodies[cluster->bodies_count];
	*body = (struct body){.scheduled_ns = cluster->now_ns, .made_ns = cluster->now_ns};
	body->deployment = (uint32_t)roll(cluster, DEPLOYMENTS);
	if (!cluster->revisions[body->deployment])
		return;
	body->set = cluster->revisions[body->deployment];
	snprintf(body->uid, sizeof(body->uid), "pod-%zu", cluster->bodies_count);
	snprintf(body->set_name, sizeof(body->set_name), "app-%u-%u", body->deployment, body->set);
	snprintf(body->name, sizeof(body->name), "app-%u-%u-%zu", body->deployment, body->set,
		 cluster->bodies_count);
	cluster->bodies_count++;
	happened(cluster, body);
}

static void move(struct cluster *cluster, struct body *body)
{
	uint32_t host = free_host(cluster);
	if (!host || body->stays_count == MOVES_MAX)
		return;
	leave(cluster, body);
	body->stays[body->stays_count++] = (struct stay){.from_ns = cluster->now_ns, .host = host};
	body->made_ns = cluster->now_ns;
	cluster->taken[host] = true;
	happened(cluster, body);
}

static void finish(struct cluster *cluster, struct body *body)
{
	leave(cluster, body);
	body->finished = true;
	body->finished_ns = cluster->now_ns;
	cluster->now_ns += roll(cluster, 2000) * NS_PER_MS; /* told a little later */
	happened(cluster, body);
}

static void deletion(struct cluster *cluster, struct body *body)
{
	if (!body->finished)
		leave(cluster, body);
	body->deleted = true;
	happened(cluster, body);
}

static void roll_out(struct cluster *cluster)
{
	uint32_t deployment = (uint32_t)roll(cluster, DEPLOYMENTS);
	if (cluster->revisions[deployment] == 63)
		return;
	cluster->revisions[deployment]++;
	if (!cluster->cut && roll(cluster, 2))
		tell_set(cluster, deployment, cluster->revisions[deployment]);
}

static void befall(struct cluster *cluster, struct body *body)
{
	uint64_t what = roll(cluster, 10);
	if (body->deleted)
		return;
	if (what < 2 || body->finished)
		deletion(cluster, body);
	else if (what == 2)
		finish(cluster, body);
	else if (what < 6 && (!body->stays_count || what == 3))
		move(cluster, body);
	else
		happened(cluster, body);
}

static void step(struct cluster *cluster)
{
	cluster->now_ns += roll(cluster, 1500) * NS_PER_MS;
	uint64_t what = roll(cluster, 100);
	if (what < 25)
		create(cluster);
	else if (what < 28)
		roll_out(cluster);
	else if (what < 30)
		cluster->cut = true;
	else if (what < 35 && cluster->cut)
		list_all(cluster);
	else if (what == 35) {
		rig_restart(cluster->rig);
		for (size_t i = 0; i < cluster->bodies_count; i++)
			cluster->bodies[i].known = false;
		list_all(cluster);
	} else if (what < 40 && !cluster->cut)
		catalog_advance(cluster->rig->catalog, cluster->now_ns);
	else if (cluster->bodies_count)
		befall(cluster, &cluster->bodies[roll(cluster, cluster->bodies_count)]);
}

/* ---- the comparison */

static void assert_stay(const struct body *body, const struct stay *stay, uint64_t earliest_ns,
			const Millrace__V1__Metadata *told)
{
	const uint8_t address[] = {10, 0, 0, (uint8_t)stay->host};
	assert_int_equal(told->pod->n_address, 1);
	assert_memory_equal(told->pod->address[0].data, address, 4);
	assert_string_equal(told->pod->name, body->name);
	assert_true(told->from_ns <= stay->from_ns);
	assert_true(told->from_ns >= second_of(earliest_ns));
	assert_true(!told->until_ns == !stay->until_ns);
	if (!stay->until_ns)
		return;
	uint64_t latest_ns = second_of(stay->until_ns) + NS_PER_S;
	if (stay->learnt_ns > latest_ns)
		latest_ns = stay->learnt_ns;
	assert_true(told->until_ns >= second_of(stay->until_ns));
	assert_true(told->until_ns <= latest_ns);
}

/* The stay that is seen from this one on: an address that was lost and is back before anybody
 * looked was never lost, as far as can be known. Returns the last one that is part of it. */
static size_t seen_as_one(const struct body *body, size_t first, struct stay *stay)
{
	size_t last = first;
	*stay = body->stays[first];
	for (size_t i = first + 1; i < body->stays_count; i++) {
		if (!body->stays[i].seen)
			continue;
		if (body->stays[i].host != stay->host)
			break;
		stay->until_ns = body->stays[i].until_ns;
		stay->learnt_ns = body->stays[i].learnt_ns;
		last = i;
	}
	return last;
}

static void assert_body(const struct cluster *cluster, const struct body *body)
{
	uint64_t earliest_ns = body->scheduled_ns;
	unsigned number = 0;
	for (size_t i = 0; i < body->stays_count; i++) {
		if (!body->stays[i].seen)
			continue;
		struct stay stay;
		i = seen_as_one(body, i, &stay);
		const Millrace__V1__Metadata *told =
			rig_told(cluster->rig, "pod", body->uid, number++);
		assert_stay(body, &stay, earliest_ns, told);
		earliest_ns = stay.until_ns;
		char workload[32];
		snprintf(workload, sizeof(workload), "app-%u", body->deployment);
		if (!told->until_ns)
			assert_string_equal(told->pod->workload, workload);
	}
	assert_false(rig_has(cluster->rig, "pod", body->uid, number ? number : 1));
}

static void live(uint64_t seed, struct rig *rig)
{
	struct cluster *cluster = calloc(1, sizeof(*cluster));
	cluster->random = seed;
	cluster->now_ns = AT(0);
	cluster->rig = rig;
	list_all(cluster);
	for (int i = 0; i < STEPS; i++)
		step(cluster);
	list_all(cluster);
	for (size_t i = 0; i < cluster->bodies_count; i++)
		assert_body(cluster, &cluster->bodies[i]);
	free(cluster);
}

static void what_is_told_is_the_clusters_history(void **state)
{
	(void)state;
	const char *given = getenv("MILLRACE_SEED");
	uint64_t first = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
	for (uint64_t seed = first; seed < first + (given ? 1 : 40); seed++) {
		printf("seed %llu\n", (unsigned long long)seed);
		struct rig *rig = rig_new();
		live(seed, rig);
		rig_free(rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_told_is_the_clusters_history),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
