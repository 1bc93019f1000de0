/* Records of metadata that the pipeline put into this partition: told to every task, as hearings
 * are, in the pane that is open when they come. What all tasks were told stands in the census, and
 * owners that it says more of are looked at again. */
#include <string.h>

#include "base/clock.h"
#include "ingest/state.h"
#include "metadata/census.h"

enum { FACTS_WAITING_MAX = 65536 };

struct waiting_fact {
	uint64_t pane;
	struct fact fact;
};

struct pod_node {
	uint64_t pod;	 /* hash of its uid, or of a container's id */
	uint64_t cgroup; /* that container's own, as told last; 0: not known */
	uint32_t node;
	uint32_t pad;
};

/* ---- as it comes ---- */

static void take_record(struct mirror *mirror, const ProtobufCBinaryData *record)
{
	struct address addresses[FACT_ADDRESSES_MAX];
	struct waiting_fact waiting = {.pane = mirror_open_pane(mirror)};
	enum record_reason reason = record_read(record->data, record->len, mirror->names,
						waiting.pane, &waiting.fact, addresses, NULL);
	mirror->stats.metadata[reason]++;
	if (reason != RECORD_GOOD || waiting.fact.kind == FACT_NONE)
		return;
	if (mirror->facts_waiting.count == FACTS_WAITING_MAX) {
		mirror->stats.metadata_refused++;
		return;
	}
	*(struct waiting_fact *)queue_add(&mirror->facts_waiting, sizeof(waiting)) = waiting;
	for (uint32_t i = 0; i < waiting.fact.addresses_count; i++)
		*(struct address *)queue_add(&mirror->addresses_waiting, sizeof(*addresses)) =
			addresses[i];
}

void metadata_take(struct mirror *mirror, const Millrace__V1__Batch *batch)
{
	for (size_t i = 0; i < batch->n_metadata; i++)
		take_record(mirror, &batch->metadata[i]);
}

static void queue_cut(struct queue *queue, size_t first, size_t size)
{
	if (!first)
		return;
	queue->count -= first;
	memmove(queue->items, (uint8_t *)queue->items + first * size, queue->count * size);
}

void metadata_tell(struct mirror *mirror)
{
	const struct waiting_fact *waiting = mirror->facts_waiting.items;
	size_t taken = 0, addresses = 0;
	mirror->facts.count = mirror->fact_addresses.count = 0;
	for (; taken < mirror->facts_waiting.count && waiting[taken].pane <= mirror->pane;
	     taken++) {
		*(struct fact *)queue_add(&mirror->facts, sizeof(struct fact)) =
			waiting[taken].fact;
		addresses += waiting[taken].fact.addresses_count;
	}
	if (!taken)
		return;
	queue_room(&mirror->fact_addresses, addresses, sizeof(struct address));
	mirror->fact_addresses.count = addresses;
	if (addresses)
		memcpy(mirror->fact_addresses.items, mirror->addresses_waiting.items,
		       addresses * sizeof(struct address));
	queue_cut(&mirror->facts_waiting, taken, sizeof(*waiting));
	queue_cut(&mirror->addresses_waiting, addresses, sizeof(struct address));
}

/* ---- whom it says more of ---- */

void pods_init(struct table *pods)
{
	table_init(pods, sizeof(uint64_t), sizeof(struct pod_node));
}

/* Full: all are forgotten, and known again when their containers are told again. */
void pod_seen(struct mirror *mirror, const struct node *node, uint64_t pod, uint64_t cgroup)
{
	if (mirror->pods.count >= 2 * mirror->options.containers_max)
		table_clear(&mirror->pods);
	struct pod_node *seen = table_put(&mirror->pods, &pod);
	if (cgroup || seen->node != node->place)
		seen->cgroup = cgroup;
	seen->node = node->place;
}

uint64_t pod_cgroup(const struct mirror *mirror, const struct node *node, uint64_t id)
{
	const struct pod_node *seen = table_find(&mirror->pods, &id);
	return seen && seen->node == node->place ? seen->cgroup : 0;
}

static void node_again(struct mirror *mirror, uint32_t place)
{
	if (mirror->nodes[place])
		mirror->nodes[place]->recheck = true;
}

/* From the first record of a cluster on owners wait for theirs. */
static void cluster_seen(struct mirror *mirror)
{
	bool before = mirror->clustered;
	mirror->clustered = census_has_cluster(mirror->options.census);
	for (uint32_t i = 0; i < mirror->nodes_count && mirror->clustered && !before; i++)
		node_again(mirror, i);
}

void metadata_changes(struct mirror *mirror)
{
	size_t count = 0;
	if (!mirror->options.census)
		return;
	cluster_seen(mirror);
	const struct census_change *changes = census_changes(mirror->options.census, &count);
	for (size_t i = 0; i < count; i++) {
		bool by_object = changes[i].prefix == UINT8_MAX;
		uint64_t key =
			by_object ? changes[i].object : fact_container_id(&changes[i].address);
		const struct pod_node *pod;
		const struct {
			uint64_t id;
			uint32_t index;
		} * node;
		if (changes[i].kind == FACT_POD && key && (pod = table_find(&mirror->pods, &key)))
			node_again(mirror, pod->node);
		if (!by_object)
			continue;
		if (changes[i].kind == FACT_NODE &&
		    (node = table_find(&mirror->node_ids, &changes[i].object)))
			node_again(mirror, node->index);
	}
}
