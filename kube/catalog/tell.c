/* Records out: what is kept of an object becomes a message, and goes on if it says something new;
 * and the ids whose records are to be taken back later. */
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "kube/catalog/state.h"

/* Room for the parts of one message. */
struct teller {
	char id[CATALOG_ID_MAX + 1];
	ProtobufCBinaryData addresses[KUBE_ADDRESSES_MAX];
	Millrace__V1__Label labels[KUBE_LABELS_MAX], *labels_list[KUBE_LABELS_MAX];
	Millrace__V1__PodContainer containers[KUBE_CONTAINERS_MAX],
		*containers_list[KUBE_CONTAINERS_MAX];
	char container_ids[KUBE_CONTAINERS_MAX][65];
	Millrace__V1__ServicePort ports[KUBE_PORTS_MAX], *ports_list[KUBE_PORTS_MAX];
	uint8_t *packed;
	size_t packed_capacity;
};

struct teller *teller_new(void)
{
	struct teller *teller = memory_zeroed(1, sizeof(*teller));
	for (int i = 0; i < KUBE_LABELS_MAX; i++)
		teller->labels_list[i] = &teller->labels[i];
	for (int i = 0; i < KUBE_CONTAINERS_MAX; i++)
		teller->containers_list[i] = &teller->containers[i];
	for (int i = 0; i < KUBE_PORTS_MAX; i++)
		teller->ports_list[i] = &teller->ports[i];
	return teller;
}

void teller_free(struct teller *teller)
{
	memory_free(teller->packed);
	memory_free(teller);
}

/* The fields of the schema are not const, and nobody writes to them. */
static char *lent(const struct catalog *catalog, uint32_t text)
{
	return (char *)(uintptr_t)text_of(catalog, text);
}

static void make_id(const struct catalog *catalog, char id[CATALOG_ID_MAX + 1], enum told_kind kind,
		    const char *uid, uint32_t number)
{
	static const char *const kinds[] = {[TOLD_POD] = "pod",
					    [TOLD_NODE] = "node",
					    [TOLD_SERVICE] = "service",
					    [TOLD_CHANGE] = "change"};
	snprintf(id, CATALOG_ID_MAX + 1, "%s/%s/%s/%u", catalog->cluster, kinds[kind], uid, number);
}

uint64_t tell_digest(struct catalog *catalog, const Millrace__V1__Metadata *record)
{
	struct teller *teller = catalog->teller;
	Millrace__V1__Metadata timeless = *record;
	timeless.observed_ns = 0;
	size_t length = millrace__v1__metadata__get_packed_size(&timeless);
	if (length > teller->packed_capacity) {
		teller->packed_capacity = memory_grown(teller->packed_capacity, length);
		teller->packed = memory_resize(teller->packed, teller->packed_capacity, 1);
	}
	millrace__v1__metadata__pack(&timeless, teller->packed);
	uint64_t hash = hash_bytes(teller->packed, length);
	return hash ? hash : 1;
}

/* What readers would refuse as too large loses its labels, then its last containers. */
static void cut(struct catalog *catalog, Millrace__V1__Metadata *record)
{
	Millrace__V1__Pod *pod = record->pod;
	if (!pod || millrace__v1__metadata__get_packed_size(record) <= CATALOG_RECORD_MAX)
		return;
	catalog->stats.cut++;
	pod->n_labels = 0;
	while (pod->n_containers &&
	       millrace__v1__metadata__get_packed_size(record) > CATALOG_RECORD_MAX)
		pod->n_containers--;
}

static void tell(struct catalog *catalog, enum told_kind kind, struct life *life,
		 Millrace__V1__Metadata *record, uint64_t now_ns)
{
	struct teller *teller = catalog->teller;
	make_id(catalog, teller->id, kind, life->uid, life->number);
	record->id = teller->id;
	record->version = 1;
	record->cluster = catalog->cluster;
	record->from_ns = life->from_ns;
	record->until_ns = life->until_ns;
	/* Whoever told before may have had a clock that was ahead. */
	record->observed_ns = now_ns > life->observed_ns ? now_ns : life->observed_ns + 1;
	cut(catalog, record);
	uint64_t said = tell_digest(catalog, record);
	if (said == life->told)
		return;
	life->told = said;
	life->observed_ns = record->observed_ns;
	if (life->until_ns)
		gone_put(catalog, kind, life->uid, life->number, now_ns);
	catalog->stats.records++;
	catalog->options.sink(catalog->options.context, teller->id, record);
}

static size_t fill_addresses(struct teller *teller, const struct addresses *addresses)
{
	for (uint32_t i = 0; i < addresses->count; i++) {
		struct address *address = &addresses->list[i];
		bool short_one = address_is_v4(address);
		teller->addresses[i] = (ProtobufCBinaryData){
			.len = short_one ? 4 : 16,
			.data = address->bytes + (short_one ? 12 : 0),
		};
	}
	return addresses->count;
}

static bool has_label(const struct labels *labels, uint32_t key)
{
	for (uint32_t i = 0; i < labels->count; i++)
		if (labels->list[i].key == key)
			return true;
	return false;
}

/* An object's own, then those of its namespace that it does not have itself. */
static size_t fill_labels(const struct catalog *catalog, const struct labels *own,
			  const struct labels *more)
{
	struct teller *teller = catalog->teller;
	size_t count = 0;
	for (uint32_t i = 0; i < own->count; i++) {
		millrace__v1__label__init(&teller->labels[count]);
		teller->labels[count].key = lent(catalog, own->list[i].key);
		teller->labels[count++].value = lent(catalog, own->list[i].value);
	}
	for (uint32_t i = 0; more && i < more->count && count < KUBE_LABELS_MAX; i++) {
		if (has_label(own, more->list[i].key))
			continue;
		millrace__v1__label__init(&teller->labels[count]);
		teller->labels[count].key = lent(catalog, more->list[i].key);
		teller->labels[count++].value = lent(catalog, more->list[i].value);
	}
	return count;
}

static void fill_container(const struct catalog *catalog, const struct container *container,
			   uint32_t at)
{
	struct teller *teller = catalog->teller;
	Millrace__V1__PodContainer *told = &teller->containers[at];
	millrace__v1__pod_container__init(told);
	for (int i = 0; container->started && i < 32; i++)
		snprintf(teller->container_ids[at] + (ptrdiff_t)2 * i, 3, "%02x", container->id[i]);
	if (container->started)
		told->id = teller->container_ids[at];
	told->name = lent(catalog, container->name);
	told->image = lent(catalog, container->image);
	told->version = lent(catalog, container->version);
	told->restarts = container->restarts;
}

void tell_pod(struct catalog *catalog, struct pod *pod, uint64_t now_ns)
{
	struct teller *teller = catalog->teller;
	const struct workload *workload = workload_at(catalog, pod->workload);
	const struct namespace *namespace =
		namespaces_find(catalog, text_of(catalog, pod->namespace));
	Millrace__V1__Metadata record = MILLRACE__V1__METADATA__INIT;
	Millrace__V1__Pod told = MILLRACE__V1__POD__INIT;
	told.uid = pod->life.uid;
	told.namespace_ = lent(catalog, pod->namespace);
	told.name = lent(catalog, pod->name);
	told.node = lent(catalog, pod->node);
	told.n_address = fill_addresses(teller, &pod->addresses);
	told.address = teller->addresses;
	told.host_network = pod->host_network;
	told.workload = lent(catalog, workload->name);
	told.workload_kind = lent(catalog, workload->kind);
	told.version = lent(catalog, pod->version);
	for (uint32_t i = 0; i < pod->containers_count; i++)
		fill_container(catalog, &pod->containers[i], i);
	told.n_containers = pod->containers_count;
	told.containers = teller->containers_list;
	told.n_labels = fill_labels(catalog, &pod->labels, namespace ? &namespace->labels : NULL);
	told.labels = teller->labels_list;
	record.pod = &told;
	tell(catalog, TOLD_POD, &pod->life, &record, now_ns);
}

void tell_node(struct catalog *catalog, struct node *node, uint64_t now_ns)
{
	struct teller *teller = catalog->teller;
	Millrace__V1__Metadata record = MILLRACE__V1__METADATA__INIT;
	Millrace__V1__ClusterNode told = MILLRACE__V1__CLUSTER_NODE__INIT;
	told.uid = node->life.uid;
	told.name = lent(catalog, node->name);
	told.n_address = fill_addresses(teller, &node->addresses);
	told.address = teller->addresses;
	told.zone = lent(catalog, node->zone);
	told.region = lent(catalog, node->region);
	told.instance_type = lent(catalog, node->instance_type);
	told.provider_id = lent(catalog, node->provider_id);
	told.n_labels = fill_labels(catalog, &node->labels, NULL);
	told.labels = teller->labels_list;
	record.node = &told;
	tell(catalog, TOLD_NODE, &node->life, &record, now_ns);
}

void tell_service(struct catalog *catalog, struct service *service, uint64_t now_ns)
{
	struct teller *teller = catalog->teller;
	const struct workload *workload = workload_at(catalog, service->workload);
	Millrace__V1__Metadata record = MILLRACE__V1__METADATA__INIT;
	Millrace__V1__Service told = MILLRACE__V1__SERVICE__INIT;
	told.uid = service->life.uid;
	told.namespace_ = lent(catalog, service->namespace);
	told.name = lent(catalog, service->name);
	told.n_address = fill_addresses(teller, &service->addresses);
	told.address = teller->addresses;
	for (uint32_t i = 0; i < service->ports_count; i++) {
		const struct port *port = &service->ports[i];
		millrace__v1__service_port__init(&teller->ports[i]);
		teller->ports[i].name = lent(catalog, port->name);
		teller->ports[i].protocol = port->protocol;
		teller->ports[i].port = port->port;
		teller->ports[i].node_port = port->node_port;
	}
	told.n_ports = service->ports_count;
	told.ports = teller->ports_list;
	told.workload = lent(catalog, workload ? workload->name : 0);
	told.workload_kind = lent(catalog, workload ? workload->kind : 0);
	record.service = &told;
	tell(catalog, TOLD_SERVICE, &service->life, &record, now_ns);
}

static char *lent_text(const char *text)
{
	return text ? (char *)(uintptr_t)text : (char *)(uintptr_t) "";
}

/* Its id is made of what it says, so that who tells it again after a restart replaces it. */
void tell_change(struct catalog *catalog, const struct change *change, uint64_t now_ns)
{
	Millrace__V1__Metadata record = MILLRACE__V1__METADATA__INIT;
	Millrace__V1__Change told = MILLRACE__V1__CHANGE__INIT;
	told.kind = change->kind;
	told.time_ns = change->time_ns;
	told.namespace_ = lent_text(change->namespace);
	told.workload = lent_text(change->workload);
	told.workload_kind = lent_text(change->workload_kind);
	told.node = lent_text(change->node);
	told.instance = lent_text(change->instance);
	told.before = lent_text(change->before);
	told.after = lent_text(change->after);
	told.reason = lent_text(change->reason);
	record.change = &told;
	record.id = record.cluster = catalog->cluster;
	struct life life = {.from_ns = change->time_ns, .until_ns = change->time_ns};
	snprintf(life.uid, sizeof(life.uid), "%016llx",
		 (unsigned long long)tell_digest(catalog, &record));
	catalog->stats.changes++;
	tell(catalog, TOLD_CHANGE, &life, &record, now_ns);
}

/* ---- what ended */

static void gone_grow(struct gone_queue *queue)
{
	size_t capacity = memory_grown(queue->capacity, queue->count + 1);
	struct gone *list = memory_resize(NULL, capacity, sizeof(*list));
	for (size_t i = 0; i < queue->count; i++)
		list[i] = queue->list[(queue->first + i) % queue->capacity];
	memory_free(queue->list);
	*queue = (struct gone_queue){.list = list, .count = queue->count, .capacity = capacity};
}

/* A list that is older than what was known before may take an object away and bring it again. */
static bool lives_again(const struct catalog *catalog, const struct gone *gone)
{
	uint64_t key = store_key(gone->uid);
	const struct pod *pod = store_find(&catalog->pods, key);
	const struct node *node = store_find(&catalog->nodes, key);
	const struct service *service = store_find(&catalog->services, key);
	const struct life *life = gone->kind == TOLD_POD && pod		  ? &pod->life
				  : gone->kind == TOLD_NODE && node	  ? &node->life
				  : gone->kind == TOLD_SERVICE && service ? &service->life
									  : NULL;
	return life && life->number == gone->number && !life->until_ns;
}

static void take_back(struct catalog *catalog)
{
	struct gone_queue *queue = &catalog->gone;
	const struct gone *gone = &queue->list[queue->first];
	char id[CATALOG_ID_MAX + 1]; /* that of the record being told stands in the teller */
	make_id(catalog, id, (enum told_kind)gone->kind, gone->uid, gone->number);
	queue->first = (queue->first + 1) % queue->capacity;
	queue->count--;
	if (!lives_again(catalog, gone))
		catalog->options.sink(catalog->options.context, id, NULL);
}

void gone_put(struct catalog *catalog, enum told_kind kind, const char *uid, uint32_t number,
	      uint64_t ended_ns)
{
	struct gone_queue *queue = &catalog->gone;
	if (queue->count == catalog->options.gone_max) {
		take_back(catalog);
		catalog->stats.early++;
	}
	if (queue->count == queue->capacity)
		gone_grow(queue);
	struct gone *gone = &queue->list[(queue->first + queue->count++) % queue->capacity];
	*gone = (struct gone){.due_ns = ended_ns + catalog->options.keep_ns,
			      .number = number,
			      .kind = (uint8_t)kind};
	memcpy(gone->uid, uid, strlen(uid) + 1);
}

void gone_advance(struct catalog *catalog, uint64_t now_ns)
{
	struct gone_queue *queue = &catalog->gone;
	/* After a long absence there may be hundreds of thousands. */
	for (uint32_t i = 0; i < CATALOG_TAKEN_BACK_MAX && queue->count &&
			     queue->list[queue->first].due_ns <= now_ns;
	     i++)
		take_back(catalog);
}
