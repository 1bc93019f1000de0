/* Nodes: where they stand, and whether they take pods. */
#include <string.h>

#include "kube/catalog/state.h"

static void tell_of_node(struct catalog *catalog, const struct node *node, struct change change,
			 uint64_t now_ns)
{
	change.node = text_of(catalog, node->name);
	tell_change(catalog, &change, now_ns);
}

static struct node *add(struct catalog *catalog, const char *uid, uint64_t from_ns)
{
	struct node *node = store_add(&catalog->nodes, store_key(uid));
	if (node)
		life_begin(&node->life, uid, from_ns);
	else
		catalog->stats.refused[KUBE_NODE]++;
	return node;
}

static const char *label_of(const struct kube_object *object, const char *key)
{
	const char *value = kube_pair_find(object->labels, object->labels_count, key);
	return value ? value : "";
}

static void take_ready(struct catalog *catalog, struct node *node, const struct kube_node *seen,
		       uint64_t now_ns)
{
	for (uint32_t i = 0; i < seen->conditions_count; i++) {
		const struct kube_condition *condition = &seen->conditions[i];
		if (strcmp(condition->type, "Ready") != 0)
			continue;
		const char *before = text_of(catalog, node->ready);
		if (before[0] && strcmp(before, condition->status) != 0)
			tell_of_node(
				catalog, node,
				(struct change){
					.kind = MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_NODE_READY,
					.time_ns = time_began(catalog, condition->since_ns, now_ns),
					.before = before,
					.after = condition->status,
					.reason = condition->reason,
				},
				now_ns);
		texts_set(&catalog->texts, &node->ready, condition->status);
	}
}

static void take_cordoned(struct catalog *catalog, struct node *node, const struct kube_node *seen,
			  uint64_t now_ns)
{
	if (node->known && node->cordoned != seen->unschedulable)
		tell_of_node(catalog, node,
			     (struct change){
				     .kind = MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_NODE_CORDONED,
				     .time_ns = now_ns,
				     .before = node->cordoned ? "true" : "false",
				     .after = seen->unschedulable ? "true" : "false",
			     },
			     now_ns);
	node->cordoned = seen->unschedulable;
	node->known = true;
}

static void take_addresses(struct catalog *catalog, struct node *node, const struct kube_node *seen,
			   uint64_t now_ns)
{
	if (!addresses_within(&node->addresses, seen->addresses, seen->addresses_count)) {
		life_end(&node->life, now_ns);
		tell_node(catalog, node, now_ns);
		life_next(&node->life, node->life.until_ns);
	}
	addresses_set(catalog, &node->addresses, seen->addresses, seen->addresses_count);
}

void nodes_put(struct catalog *catalog, const struct kube_object *object, uint64_t now_ns)
{
	struct node *node = store_find(&catalog->nodes, store_key(object->uid));
	bool added = !node;
	if (added)
		node = add(catalog, object->uid, time_began(catalog, object->created_ns, now_ns));
	if (!node)
		return;
	node->life.learned = false;
	if (node->life.until_ns) {
		life_next(&node->life, node->life.until_ns);
		addresses_set(catalog, &node->addresses, NULL, 0);
	}
	texts_set(&catalog->texts, &node->name, object->name);
	texts_set(&catalog->texts, &node->zone, label_of(object, "topology.kubernetes.io/zone"));
	texts_set(&catalog->texts, &node->region,
		  label_of(object, "topology.kubernetes.io/region"));
	texts_set(&catalog->texts, &node->instance_type,
		  label_of(object, "node.kubernetes.io/instance-type"));
	texts_set(&catalog->texts, &node->provider_id, object->node.provider_id);
	take_addresses(catalog, node, &object->node, now_ns);
	labels_set(catalog, &node->labels, object);
	if (added && is_news(catalog, KUBE_NODE, node->life.from_ns))
		tell_of_node(catalog, node,
			     (struct change){
				     .kind = MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_NODE_ADDED,
				     .time_ns = node->life.from_ns,
			     },
			     now_ns);
	take_ready(catalog, node, &object->node, now_ns);
	take_cordoned(catalog, node, &object->node, now_ns);
	tell_node(catalog, node, now_ns);
}

void nodes_drop(struct catalog *catalog, struct node *node, uint64_t now_ns)
{
	if (!node->life.until_ns) {
		life_end(&node->life, now_ns);
		tell_node(catalog, node, now_ns);
		tell_of_node(catalog, node,
			     (struct change){
				     .kind = MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_NODE_REMOVED,
				     .time_ns = now_ns,
			     },
			     now_ns);
	}
	const uint32_t held[] = {node->name,	      node->zone,	 node->region,
				 node->instance_type, node->provider_id, node->ready};
	for (size_t i = 0; i < sizeof(held) / sizeof(*held); i++)
		texts_drop(&catalog->texts, held[i]);
	addresses_set(catalog, &node->addresses, NULL, 0);
	labels_clear(catalog, &node->labels);
	store_remove(&catalog->nodes, node);
}

void nodes_learn(struct catalog *catalog, const Millrace__V1__Metadata *record)
{
	const Millrace__V1__ClusterNode *told = record->node;
	struct node *node = store_find(&catalog->nodes, store_key(told->uid));
	uint32_t number;
	if (!learn_number(catalog, TOLD_NODE, told->uid, record, &number))
		return;
	if (!node)
		node = add(catalog, told->uid, record->from_ns);
	if (!node || !learn_life(catalog, &node->life, number, record))
		return;
	texts_set(&catalog->texts, &node->name, told->name);
	texts_set(&catalog->texts, &node->zone, told->zone);
	texts_set(&catalog->texts, &node->region, told->region);
	texts_set(&catalog->texts, &node->instance_type, told->instance_type);
	texts_set(&catalog->texts, &node->provider_id, told->provider_id);
	learn_addresses(catalog, &node->addresses, told->address, told->n_address);
	learn_labels(catalog, &node->labels, told->labels, told->n_labels);
}
