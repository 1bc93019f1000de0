#include "metadata/record.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/name.h"
#include "base/utf8.h"
#include "metadata/change.h"
#include "millrace/v1/metadata.pb-c.h"

enum { SCHEMA_VERSION = 1, V4_BYTES = 4, V4_PREFIX = 96 };

const char *record_reason_name(enum record_reason reason)
{
	static const char *const names[RECORD_REASONS] = {
		[RECORD_GOOD] = "good",		  [RECORD_OVERSIZED] = "oversized",
		[RECORD_MALFORMED] = "malformed", [RECORD_VERSION] = "version",
		[RECORD_KIND] = "kind",		  [RECORD_ID] = "id",
		[RECORD_INTERVAL] = "interval",	  [RECORD_TEXT] = "text",
		[RECORD_COUNT] = "count",	  [RECORD_ADDRESS] = "address",
		[RECORD_PREFIX] = "prefix",
	};
	return (unsigned)reason < RECORD_REASONS ? names[reason] : "unknown";
}

/* ---- unpacking ---- */

struct budget {
	size_t left;
	bool exceeded;
};

static void *budget_take(void *data, size_t size)
{
	struct budget *budget = data;
	if (size > budget->left) {
		budget->exceeded = true;
		return NULL;
	}
	budget->left -= size;
	return memory_resize(NULL, 1, size);
}

static void budget_give(void *data, void *memory)
{
	(void)data;
	memory_free(memory);
}

/* ---- what it is ---- */

static enum fact_kind kind_of(const Millrace__V1__Metadata *message, const char **word)
{
	const struct {
		const void *told;
		const char *word;
		enum fact_kind kind;
	} kinds[] = {
		{message->pod, "pod", FACT_POD},
		{message->node, "node", FACT_NODE},
		{message->service, "service", FACT_SERVICE},
		{message->range, "range", FACT_RANGE},
		{message->change, "change", FACT_CHANGE},
		{message->watch, "watch", FACT_NONE},
	};
	enum fact_kind kind = FACT_NONE;
	*word = NULL;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!kinds[i].told)
			continue;
		if (*word) {
			*word = NULL;
			return FACT_NONE;
		}
		*word = kinds[i].word;
		kind = kinds[i].kind;
	}
	return kind;
}

/* Goes on behind "text/", or NULL. */
static const char *behind(const char *at, const char *text)
{
	size_t length = strlen(text);
	return strncmp(at, text, length) == 0 && at[length] == '/' ? at + length + 1 : NULL;
}

static bool id_is_right(const Millrace__V1__Metadata *message, const char *word)
{
	if (strlen(message->id) > RECORD_ID_MAX)
		return false;
	const char *at = behind(message->id, message->cluster);
	const char *uid = at ? behind(at, word) : NULL;
	const char *number = uid ? strrchr(uid, '/') : NULL;
	return number && number > uid && number[1] &&
	       strspn(number + 1, "0123456789") == strlen(number + 1);
}

static bool interval_is_right(const Millrace__V1__Metadata *message)
{
	return message->from_ns <= INT64_MAX && message->until_ns <= INT64_MAX &&
	       message->observed_ns <= INT64_MAX &&
	       (message->until_ns == 0 || message->until_ns >= message->from_ns);
}

/* ---- texts ---- */

static bool text_is_right(const char *text)
{
	size_t length = strnlen(text, RECORD_TEXT_MAX + 1);
	if (length > RECORD_TEXT_MAX)
		return false;
	const uint8_t *at = (const uint8_t *)text, *end = at + length;
	for (size_t step; at < end; at += step)
		if ((step = utf8_length(at, (size_t)(end - at))) == 0)
			return false;
	return true;
}

static bool texts_are_right(const char *const *texts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!text_is_right(texts[i]))
			return false;
	return true;
}

#define TEXTS_ARE_RIGHT(...)                                \
	texts_are_right((const char *const[]){__VA_ARGS__}, \
			sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

static bool labels_are_right(Millrace__V1__Label *const *labels, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!TEXTS_ARE_RIGHT(labels[i]->key, labels[i]->value))
			return false;
	return true;
}

static uint64_t put_bytes(struct names *names, const char *bytes, size_t length, uint64_t pane)
{
	return names ? names_put(names, bytes, length, pane) : name_id(bytes, length);
}

static uint64_t put(struct names *names, const char *text, uint64_t pane)
{
	return put_bytes(names, text, strlen(text), pane);
}

/* "namespace/name"; a word too many is cut with the whole. */
static uint64_t put_qualified(struct names *names, const char *namespace, const char *name,
			      uint64_t pane)
{
	char joined[2 * NAME_MAX_BYTES + 1];
	if (!name[0] || !namespace[0])
		return put(names, name, pane);
	size_t first = strnlen(namespace, NAME_MAX_BYTES), second = strnlen(name, NAME_MAX_BYTES);
	memcpy(joined, namespace, first);
	joined[first] = '/';
	memcpy(joined + first + 1, name, second);
	return put_bytes(names, joined, first + 1 + second, pane);
}

/* ---- addresses ---- */

static bool address_read(const ProtobufCBinaryData *bytes, struct address *address)
{
	static const struct address mapped = {{[10] = 0xff, [11] = 0xff}};
	if (bytes->len != V4_BYTES && bytes->len != sizeof(address->bytes))
		return false;
	*address = mapped;
	memcpy(address->bytes + sizeof(address->bytes) - bytes->len, bytes->data, bytes->len);
	return true;
}

static bool is_among(const struct address *addresses, size_t count, const struct address *address)
{
	for (size_t i = 0; i < count; i++)
		if (address_equal(&addresses[i], address))
			return true;
	return false;
}

static bool addresses_read(const ProtobufCBinaryData *all, size_t count, struct fact *fact,
			   struct address *addresses)
{
	fact->prefix = 128;
	for (size_t i = 0; i < count; i++) {
		struct address *next = &addresses[fact->addresses_count];
		if (!address_read(&all[i], next))
			return false;
		fact->addresses_count += !is_among(addresses, fact->addresses_count, next);
	}
	return true;
}

/* So that an end is found by the container that its agent sees it in, whatever its address. */
static void containers_read(const Millrace__V1__Pod *pod, struct fact *fact,
			    struct address *addresses)
{
	for (size_t i = 0; i < pod->n_containers; i++) {
		const char *id = pod->containers[i]->id;
		const struct address place = fact_container(hash_bytes(id, strlen(id)));
		if (!id[0] || is_among(addresses, fact->addresses_count, &place))
			continue;
		addresses[fact->addresses_count++] = place;
	}
}

/* ---- what it says ---- */

struct reading {
	struct names *names;
	uint64_t pane;
	struct fact *fact;
	struct address *addresses;
	uint64_t *watch; /* or NULL */
};

_Static_assert((int)RECORD_POD_ADDRESSES_MAX + RECORD_CONTAINERS_MAX <= (int)FACT_ADDRESSES_MAX &&
		       (int)RECORD_SERVICE_ADDRESSES_MAX <= (int)FACT_ADDRESSES_MAX,
	       "all addresses of a record fit");

static enum record_reason read_pod(const struct reading *reading, const Millrace__V1__Pod *pod)
{
	struct fact *fact = reading->fact;
	if (pod->n_address > RECORD_POD_ADDRESSES_MAX || pod->n_labels > RECORD_LABELS_MAX ||
	    pod->n_containers > RECORD_CONTAINERS_MAX)
		return RECORD_COUNT;
	if (!pod->uid[0] || !pod->name[0] ||
	    !TEXTS_ARE_RIGHT(pod->uid, pod->namespace_, pod->name, pod->node, pod->workload,
			     pod->workload_kind, pod->version) ||
	    !labels_are_right(pod->labels, pod->n_labels))
		return RECORD_TEXT;
	for (size_t i = 0; i < pod->n_containers; i++) {
		const Millrace__V1__PodContainer *container = pod->containers[i];
		if (!TEXTS_ARE_RIGHT(container->name, container->id, container->image,
				     container->version))
			return RECORD_TEXT;
	}
	if (!addresses_read(pod->address, pod->n_address, fact, reading->addresses))
		return RECORD_ADDRESS;
	containers_read(pod, fact, reading->addresses);
	const char *workload = pod->workload[0] ? pod->workload : pod->name;
	fact->object = hash_bytes(pod->uid, strlen(pod->uid));
	fact->workload = put_qualified(reading->names, pod->namespace_, workload, reading->pane);
	fact->version = put(reading->names, pod->version, reading->pane);
	fact->node = put(reading->names, pod->node, reading->pane);
	fact->instance = put(reading->names, pod->name, reading->pane);
	return RECORD_GOOD;
}

static enum record_reason read_node(const struct reading *reading,
				    const Millrace__V1__ClusterNode *node)
{
	struct fact *fact = reading->fact;
	if (node->n_address > RECORD_POD_ADDRESSES_MAX || node->n_labels > RECORD_LABELS_MAX)
		return RECORD_COUNT;
	if (!node->name[0] ||
	    !TEXTS_ARE_RIGHT(node->uid, node->name, node->zone, node->region, node->instance_type,
			     node->provider_id) ||
	    !labels_are_right(node->labels, node->n_labels))
		return RECORD_TEXT;
	if (!addresses_read(node->address, node->n_address, fact, reading->addresses))
		return RECORD_ADDRESS;
	fact->workload = fact->object = fact->node = put(reading->names, node->name, reading->pane);
	fact->zone = put(reading->names, node->zone, reading->pane);
	return RECORD_GOOD;
}

static enum record_reason read_service(const struct reading *reading,
				       const Millrace__V1__Service *service)
{
	struct fact *fact = reading->fact;
	if (service->n_address > RECORD_SERVICE_ADDRESSES_MAX ||
	    service->n_ports > RECORD_PORTS_MAX)
		return RECORD_COUNT;
	if (!service->uid[0] || !service->name[0] ||
	    !TEXTS_ARE_RIGHT(service->uid, service->namespace_, service->name, service->workload,
			     service->workload_kind))
		return RECORD_TEXT;
	for (size_t i = 0; i < service->n_ports; i++)
		if (!text_is_right(service->ports[i]->name))
			return RECORD_TEXT;
	if (!addresses_read(service->address, service->n_address, fact, reading->addresses))
		return RECORD_ADDRESS;
	const char *workload = service->workload[0] ? service->workload : service->name;
	fact->object = hash_bytes(service->uid, strlen(service->uid));
	fact->workload =
		put_qualified(reading->names, service->namespace_, workload, reading->pane);
	return RECORD_GOOD;
}

/* Whether nothing is set beyond the prefix. */
static bool is_prefix(const struct address *address, unsigned prefix)
{
	for (unsigned bit = prefix; bit < 8 * sizeof(address->bytes); bit++)
		if (address->bytes[bit / 8] >> (7 - bit % 8) & 1)
			return false;
	return true;
}

static enum record_reason read_range(const struct reading *reading,
				     const Millrace__V1__Range *range)
{
	struct fact *fact = reading->fact;
	if (range->n_labels > RECORD_LABELS_MAX)
		return RECORD_COUNT;
	if (!TEXTS_ARE_RIGHT(range->name, range->kind, range->zone, range->region) ||
	    !labels_are_right(range->labels, range->n_labels))
		return RECORD_TEXT;
	if (!address_read(&range->address, &reading->addresses[0]))
		return RECORD_ADDRESS;
	if (range->prefix > 8 * range->address.len)
		return RECORD_PREFIX;
	fact->prefix = (uint8_t)(range->prefix + (range->address.len == V4_BYTES ? V4_PREFIX : 0));
	if (!is_prefix(&reading->addresses[0], fact->prefix))
		return RECORD_PREFIX;
	fact->addresses_count = 1;
	fact->object = fact->id;
	fact->workload = put(reading->names, range->name, reading->pane);
	fact->zone = put(reading->names, range->zone, reading->pane);
	return RECORD_GOOD;
}

static enum record_reason read_change(const struct reading *reading,
				      const Millrace__V1__Change *change)
{
	struct fact *fact = reading->fact;
	uint32_t kind = change->kind;
	if (kind == CHANGE_NONE || kind >= CHANGE_KINDS)
		return RECORD_KIND;
	if (fact->until_ns != fact->from_ns)
		return RECORD_INTERVAL;
	if (!TEXTS_ARE_RIGHT(change->namespace_, change->workload, change->workload_kind,
			     change->node, change->instance, change->before, change->after,
			     change->reason))
		return RECORD_TEXT;
	fact->change = (uint8_t)kind;
	fact->workload =
		put_qualified(reading->names, change->namespace_, change->workload, reading->pane);
	fact->node = put(reading->names, change->node, reading->pane);
	fact->instance = put(reading->names, change->instance, reading->pane);
	fact->before = put(reading->names, change->before, reading->pane);
	fact->after = put(reading->names, change->after, reading->pane);
	fact->object = put(reading->names, change->reason, reading->pane);
	return RECORD_GOOD;
}

/* What only its cluster's watcher knows to hold still. The cluster's name is part of an id. */
static uint64_t watch_of(const Millrace__V1__Metadata *message, enum fact_kind kind)
{
	char id[RECORD_ID_MAX + sizeof(RECORD_WATCH_SUFFIX)];
	if (kind != FACT_POD && kind != FACT_NODE && kind != FACT_SERVICE)
		return 0;
	int length = snprintf(id, sizeof(id), "%s" RECORD_WATCH_SUFFIX, message->cluster);
	return hash_bytes(id, (size_t)length);
}

static enum record_reason read_message(const struct reading *reading,
				       const Millrace__V1__Metadata *message)
{
	const char *word;
	enum fact_kind kind = kind_of(message, &word);
	if (message->version != SCHEMA_VERSION)
		return RECORD_VERSION;
	if (!word)
		return RECORD_KIND;
	if (!TEXTS_ARE_RIGHT(message->id, message->cluster))
		return RECORD_TEXT;
	if (!id_is_right(message, word))
		return RECORD_ID;
	if (!interval_is_right(message))
		return RECORD_INTERVAL;
	*reading->fact = (struct fact){
		.id = hash_bytes(message->id, strlen(message->id)),
		.from_ns = message->from_ns,
		.until_ns = message->until_ns ? message->until_ns : UINT64_MAX,
		.observed_ns = message->observed_ns,
		.kind = (uint8_t)kind,
	};
	if (reading->watch)
		*reading->watch = watch_of(message, kind);
	switch (kind) {
	case FACT_POD:
		return read_pod(reading, message->pod);
	case FACT_NODE:
		return read_node(reading, message->node);
	case FACT_SERVICE:
		return read_service(reading, message->service);
	case FACT_RANGE:
		return read_range(reading, message->range);
	case FACT_CHANGE:
		return read_change(reading, message->change);
	case FACT_NONE:
		break;
	}
	return RECORD_GOOD;
}

enum record_reason record_read(const uint8_t *bytes, size_t length, struct names *names,
			       uint64_t pane, struct fact *fact,
			       struct address addresses[FACT_ADDRESSES_MAX], uint64_t *watch)
{
	struct budget budget = {.left = FACT_MEMORY_MAX};
	ProtobufCAllocator allocator = {budget_take, budget_give, &budget};
	const struct reading reading = {names, pane, fact, addresses, watch};
	if (length > FACT_BYTES_MAX)
		return RECORD_OVERSIZED;
	/* What is unpacked points into the process, so no byte of it may stay in a task's state. */
	struct heap *heap = memory_use(NULL);
	Millrace__V1__Metadata *message = millrace__v1__metadata__unpack(&allocator, length, bytes);
	memory_use(heap);
	if (!message)
		return budget.exceeded ? RECORD_OVERSIZED : RECORD_MALFORMED;
	enum record_reason reason = read_message(&reading, message);
	millrace__v1__metadata__free_unpacked(message, &allocator);
	return reason;
}
