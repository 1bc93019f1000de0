#include "kube/catalog/catalog.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "kube/catalog/state.h"

static const uint32_t defaults_max[KUBE_KINDS] = {
	[KUBE_NAMESPACE] = CATALOG_NAMESPACES_MAX,
	[KUBE_NODE] = CATALOG_NODES_MAX,
	[KUBE_REPLICA_SET] = CATALOG_OWNERS_MAX,
	[KUBE_JOB] = CATALOG_OWNERS_MAX,
	[KUBE_POD] = CATALOG_PODS_MAX,
	[KUBE_SERVICE] = CATALOG_SERVICES_MAX,
	[KUBE_ENDPOINT_SLICE] = CATALOG_SLICES_MAX,
};

enum { TEXTS_AN_OBJECT = 8 }; /* of its own, on the average; most are shared */

static void init_stores(struct catalog *catalog)
{
	const uint32_t *max = catalog->options.objects_max;
	store_init(&catalog->namespaces, sizeof(struct namespace), max[KUBE_NAMESPACE]);
	store_init(&catalog->nodes, sizeof(struct node), max[KUBE_NODE]);
	store_init(&catalog->owners[0], sizeof(struct owner), max[KUBE_REPLICA_SET]);
	store_init(&catalog->owners[1], sizeof(struct owner), max[KUBE_JOB]);
	store_init(&catalog->pods, sizeof(struct pod), max[KUBE_POD]);
	store_init(&catalog->services, sizeof(struct service), max[KUBE_SERVICE]);
	store_init(&catalog->slices, sizeof(struct slice), max[KUBE_ENDPOINT_SLICE]);
	store_init(&catalog->backends, sizeof(struct backend),
		   max[KUBE_SERVICE] + max[KUBE_ENDPOINT_SLICE]);
	/* each has at most one user of its own here, and a pod two while it changes over */
	store_init(&catalog->workloads, sizeof(struct workload),
		   max[KUBE_POD] + max[KUBE_REPLICA_SET] + max[KUBE_JOB] + max[KUBE_SERVICE] + 1);
	uint32_t objects = 0;
	for (int kind = 0; kind < KUBE_KINDS; kind++)
		objects += max[kind];
	texts_init(&catalog->texts, objects * TEXTS_AN_OBJECT);
}

struct catalog *catalog_new(const struct catalog_options *options)
{
	struct catalog *catalog = memory_zeroed(1, sizeof(*catalog));
	catalog->options = *options;
	snprintf(catalog->cluster, sizeof(catalog->cluster), "%s", options->cluster);
	for (int kind = 0; kind < KUBE_KINDS; kind++)
		if (!catalog->options.objects_max[kind])
			catalog->options.objects_max[kind] = defaults_max[kind];
	if (!catalog->options.gone_max)
		catalog->options.gone_max = CATALOG_GONE_MAX;
	init_stores(catalog);
	catalog->teller = teller_new();
	return catalog;
}

static void free_lists(struct catalog *catalog)
{
	for (struct pod *pod = NULL; (pod = store_next(&catalog->pods, pod));)
		pods_clear(catalog, pod);
	for (struct service *service = NULL; (service = store_next(&catalog->services, service));)
		services_clear(catalog, service);
	for (struct node *node = NULL; (node = store_next(&catalog->nodes, node));) {
		memory_free(node->addresses.list);
		labels_clear(catalog, &node->labels);
	}
	for (struct namespace *namespace = NULL;
	     (namespace = store_next(&catalog->namespaces, namespace));)
		labels_clear(catalog, &namespace->labels);
	for (struct slice *slice = NULL; (slice = store_next(&catalog->slices, slice));)
		memory_free(slice->targets);
}

void catalog_free(struct catalog *catalog)
{
	if (!catalog)
		return;
	free_lists(catalog);
	struct store *stores[] = {&catalog->namespaces, &catalog->nodes,  &catalog->owners[0],
				  &catalog->owners[1],	&catalog->pods,	  &catalog->services,
				  &catalog->backends,	&catalog->slices, &catalog->workloads};
	for (size_t i = 0; i < sizeof(stores) / sizeof(*stores); i++)
		store_done(stores[i]);
	texts_done(&catalog->texts);
	memory_free(catalog->gone.list);
	teller_free(catalog->teller);
	memory_free(catalog);
}

void catalog_learn(struct catalog *catalog, const Millrace__V1__Metadata *record)
{
	bool ours = record->version == 1 && strcmp(record->cluster, catalog->cluster) == 0;
	bool others =
		record->range || record->watch || (record->change && record->change->pipeline);
	if (!ours || others) {
		catalog->stats.unreadable += !others;
		return;
	}
	if (record->pod)
		pods_learn(catalog, record);
	else if (record->node)
		nodes_learn(catalog, record);
	else if (record->service)
		services_learn(catalog, record);
	else if (record->change)
		learn_change(catalog, record);
	else
		catalog->stats.unreadable++;
	if (record->observed_ns > catalog->since_ns)
		catalog->since_ns = record->observed_ns;
}

void catalog_skew(struct catalog *catalog, int64_t skew_ns)
{
	catalog->skew_ns = skew_ns;
}

static struct store *store_of(struct catalog *catalog, enum kube_kind kind)
{
	struct store *stores[KUBE_KINDS] = {
		[KUBE_NAMESPACE] = &catalog->namespaces,
		[KUBE_NODE] = &catalog->nodes,
		[KUBE_REPLICA_SET] = &catalog->owners[0],
		[KUBE_JOB] = &catalog->owners[1],
		[KUBE_POD] = &catalog->pods,
		[KUBE_SERVICE] = &catalog->services,
		[KUBE_ENDPOINT_SLICE] = &catalog->slices,
	};
	return stores[kind];
}

void catalog_put(struct catalog *catalog, const struct kube_object *object, uint64_t now_ns)
{
	static void (*const put[KUBE_KINDS])(struct catalog * catalog,
					     const struct kube_object *object, uint64_t now_ns) = {
		[KUBE_NAMESPACE] = namespaces_put,
		[KUBE_NODE] = nodes_put,
		[KUBE_REPLICA_SET] = owners_put,
		[KUBE_JOB] = owners_put,
		[KUBE_POD] = pods_put,
		[KUBE_SERVICE] = services_put,
		[KUBE_ENDPOINT_SLICE] = slices_put,
	};
	put[object->kind](catalog, object, now_ns);
}

static void *find(struct catalog *catalog, enum kube_kind kind, const char *uid)
{
	if (kind == KUBE_NAMESPACE)
		return namespaces_of_uid(catalog, uid);
	return store_find(store_of(catalog, kind), store_key(uid));
}

static void drop(struct catalog *catalog, enum kube_kind kind, void *record, uint64_t now_ns)
{
	switch (kind) {
	case KUBE_NAMESPACE:
		namespaces_drop(catalog, record, now_ns);
		break;
	case KUBE_NODE:
		nodes_drop(catalog, record, now_ns);
		break;
	case KUBE_REPLICA_SET:
	case KUBE_JOB:
		owners_drop(catalog, store_of(catalog, kind), record);
		break;
	case KUBE_POD:
		pods_drop(catalog, record, now_ns);
		break;
	case KUBE_SERVICE:
		services_drop(catalog, record, now_ns);
		break;
	case KUBE_ENDPOINT_SLICE:
		slices_drop(catalog, record);
		break;
	case KUBE_KINDS:
		assert(!"a kind");
	}
}

void catalog_remove(struct catalog *catalog, enum kube_kind kind, const char *uid,
		    const struct kube_object *object, uint64_t now_ns)
{
	void *record = find(catalog, kind, uid);
	if (record && object) {
		catalog_put(catalog, object, now_ns);
		record = find(catalog, kind, uid);
	}
	if (record)
		drop(catalog, kind, record, now_ns);
}

void catalog_synced(struct catalog *catalog, enum kube_kind kind, uint64_t now_ns)
{
	catalog->synced[kind] = true;
	if (kind == KUBE_POD)
		for (struct pod *pod = NULL; (pod = store_next(&catalog->pods, pod));)
			if (pod->life.learned)
				pods_drop(catalog, pod, now_ns);
	if (kind == KUBE_NODE)
		for (struct node *node = NULL; (node = store_next(&catalog->nodes, node));)
			if (node->life.learned)
				nodes_drop(catalog, node, now_ns);
	if (kind == KUBE_SERVICE)
		for (struct service *service = NULL;
		     (service = store_next(&catalog->services, service));)
			if (service->life.learned)
				services_drop(catalog, service, now_ns);
}

void catalog_advance(struct catalog *catalog, uint64_t now_ns)
{
	if (catalog->owners_changed || (catalog->owners_came && catalog->provisional))
		pods_resolve(catalog, now_ns);
	catalog->owners_changed = catalog->owners_came = false;
	services_resolve(catalog, now_ns);
	gone_advance(catalog, now_ns);
}

struct catalog_stats catalog_stats(const struct catalog *catalog)
{
	struct catalog_stats stats = catalog->stats;
	const struct store *stores[] = {
		&catalog->namespaces, &catalog->nodes,	  &catalog->owners[0],
		&catalog->owners[1],  &catalog->pods,	  &catalog->services,
		&catalog->slices,     &catalog->backends, &catalog->workloads};
	for (size_t i = 0; i < sizeof(stores) / sizeof(*stores); i++) {
		if (i < KUBE_KINDS)
			stats.live[i] = stores[i]->live;
		stats.bytes += store_bytes(stores[i]);
	}
	stats.provisional = catalog->provisional;
	stats.texts_refused = catalog->texts.refused;
	stats.gone = catalog->gone.count;
	stats.bytes += texts_bytes(&catalog->texts) + catalog->bytes;
	stats.gone_bytes = catalog->gone.capacity * sizeof(*catalog->gone.list);
	return stats;
}

/* ---- words of all */

static uint64_t ours(const struct catalog *catalog, uint64_t time_ns, uint64_t now_ns)
{
	if (catalog->skew_ns > 0 && time_ns <= (uint64_t)catalog->skew_ns)
		return 1;
	time_ns -= (uint64_t)catalog->skew_ns;
	return time_ns < now_ns ? time_ns : now_ns;
}

uint64_t time_began(const struct catalog *catalog, uint64_t time_ns, uint64_t now_ns)
{
	return time_ns ? ours(catalog, time_ns, now_ns) : now_ns;
}

uint64_t time_ended(const struct catalog *catalog, uint64_t time_ns, uint64_t now_ns)
{
	return time_ns ? ours(catalog, time_ns + NS_PER_S, now_ns) : now_ns;
}

bool is_news(const struct catalog *catalog, enum kube_kind kind, uint64_t time_ns)
{
	return catalog->synced[kind] ||
	       (catalog->since_ns && time_ns + NS_PER_S > catalog->since_ns);
}

void *list_resize(struct catalog *catalog, void *list, uint32_t before, uint32_t count, size_t size)
{
	if (before == count)
		return list;
	catalog->bytes += count * size;
	catalog->bytes -= before * size;
	if (count)
		return memory_resize(list, count, size);
	memory_free(list);
	return NULL;
}

void addresses_set(struct catalog *catalog, struct addresses *addresses, const struct address *list,
		   uint32_t count)
{
	addresses->list = list_resize(catalog, addresses->list, addresses->count, count,
				      sizeof(*addresses->list));
	addresses->count = count;
	if (count)
		memcpy(addresses->list, list, count * sizeof(*list));
}

static bool address_in(const struct address *address, const struct address *list, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (address_equal(address, &list[i]))
			return true;
	return false;
}

bool addresses_within(const struct addresses *few, const struct address *list, uint32_t count)
{
	for (uint32_t i = 0; i < few->count; i++)
		if (!address_in(&few->list[i], list, count))
			return false;
	return true;
}

/* Those that were asked for, labels before annotations. */
static uint32_t asked(const struct kube_object *object,
		      const struct kube_pair *pairs[KUBE_LABELS_MAX])
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < object->labels_count && count < KUBE_LABELS_MAX; i++)
		if (object->labels[i].asked)
			pairs[count++] = &object->labels[i];
	for (uint32_t i = 0; i < object->annotations_count && count < KUBE_LABELS_MAX; i++)
		if (object->annotations[i].asked)
			pairs[count++] = &object->annotations[i];
	return count;
}

bool labels_differ(const struct catalog *catalog, const struct labels *labels,
		   const struct kube_object *object)
{
	const struct kube_pair *pairs[KUBE_LABELS_MAX];
	uint32_t count = asked(object, pairs);
	if (count != labels->count)
		return true;
	for (uint32_t i = 0; i < count; i++)
		if (strcmp(text_of(catalog, labels->list[i].key), pairs[i]->key) != 0 ||
		    strcmp(text_of(catalog, labels->list[i].value), pairs[i]->value) != 0)
			return true;
	return false;
}

void labels_set(struct catalog *catalog, struct labels *labels, const struct kube_object *object)
{
	if (!labels_differ(catalog, labels, object))
		return;
	const struct kube_pair *pairs[KUBE_LABELS_MAX];
	uint32_t count = asked(object, pairs);
	labels_clear(catalog, labels);
	labels->list = list_resize(catalog, NULL, 0, count, sizeof(*labels->list));
	labels->count = count;
	for (uint32_t i = 0; i < count; i++)
		labels->list[i] = (struct label){
			.key = texts_hold(&catalog->texts, pairs[i]->key),
			.value = texts_hold(&catalog->texts, pairs[i]->value),
		};
}

void labels_clear(struct catalog *catalog, struct labels *labels)
{
	for (uint32_t i = 0; i < labels->count; i++) {
		texts_drop(&catalog->texts, labels->list[i].key);
		texts_drop(&catalog->texts, labels->list[i].value);
	}
	list_resize(catalog, labels->list, labels->count, 0, sizeof(*labels->list));
	*labels = (struct labels){0};
}

void life_begin(struct life *life, const char *uid, uint64_t from_ns)
{
	*life = (struct life){.from_ns = from_ns};
	snprintf(life->uid, sizeof(life->uid), "%s", uid);
}

void life_end(struct life *life, uint64_t until_ns)
{
	life->until_ns = until_ns > life->from_ns ? until_ns : life->from_ns;
}

void life_next(struct life *life, uint64_t from_ns)
{
	life->number++;
	life->from_ns = from_ns;
	life->until_ns = 0;
	life->told = 0;
}
