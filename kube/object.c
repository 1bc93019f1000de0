#include "kube/object.h"

#include <netinet/in.h>
#include <string.h>

#include "base/clock.h"
#include "base/glob.h"
#include "base/memory.h"
#include "kube/reader.h"

#define TIME_SECONDS_MAX (1ULL << 33) /* the year 2242; in ns still below 2^63 */
#define VERSION_LABEL	 "app.kubernetes.io/version"
#define SERVICE_LABEL	 "kubernetes.io/service-name"
#define COUNT(array)	 (sizeof(array) / sizeof((array)[0]))

static const char *const own_labels[] = {
	VERSION_LABEL,
	"topology.kubernetes.io/zone",
	"topology.kubernetes.io/region",
	"node.kubernetes.io/instance-type",
	SERVICE_LABEL,
};

static const char *const own_annotations[] = {
	"deployment.kubernetes.io/revision",
	"deployment.kubernetes.io/desired-replicas",
};

struct kube_reader *kube_reader_new(const struct kube_reader_options *options)
{
	struct kube_reader *reader = memory_zeroed(1, sizeof(*reader));
	reader->labels_wish = (struct kube_wish){options->labels, own_labels, options->labels_count,
						 COUNT(own_labels)};
	reader->annotations_wish =
		(struct kube_wish){options->annotations, own_annotations,
				   options->annotations_count, COUNT(own_annotations)};
	reader->text = memory_resize(NULL, KUBE_TEXT_BYTES, 1);
	return reader;
}

void kube_reader_free(struct kube_reader *reader)
{
	if (!reader)
		return;
	memory_free(reader->text);
	memory_free(reader);
}

struct kube_reader_stats kube_reader_stats(const struct kube_reader *reader)
{
	return reader->stats;
}

const char *kube_pair_find(const struct kube_pair *pairs, uint32_t count, const char *key)
{
	for (uint32_t i = 0; i < count; i++)
		if (strcmp(pairs[i].key, key) == 0)
			return pairs[i].value;
	return NULL;
}

/* ---- values ---- */

bool kube_reader_next(struct kube_reader *reader, struct kube_cursor *cursor,
		      struct kube_field *field)
{
	if (kube_field_next(cursor, field))
		return true;
	reader->broken |= cursor->broken;
	return false;
}

const char *kube_reader_text(struct kube_reader *reader, const struct kube_field *field)
{
	size_t room = KUBE_TEXT_BYTES - reader->text_length;
	char *text = reader->text + reader->text_length;
	if (field->length == 0 || room == 0) {
		reader->stats.cut += field->length > 0;
		return "";
	}
	size_t length = kube_text(field->bytes, field->length, text,
				  room <= KUBE_TEXT_MAX ? room - 1 : KUBE_TEXT_MAX);
	reader->stats.cut += length < field->length;
	reader->text_length += length + 1;
	return text;
}

uint64_t kube_reader_time(struct kube_reader *reader, const struct kube_field *message)
{
	struct kube_cursor cursor = kube_cursor_into(message);
	struct kube_field field;
	uint64_t seconds = 0, nanos = 0;
	while (kube_reader_next(reader, &cursor, &field))
		if (field.number == 1)
			seconds = field.value;
		else if (field.number == 2)
			nanos = field.value;
	if (seconds > TIME_SECONDS_MAX || nanos >= NS_PER_S)
		return 0;
	return seconds * NS_PER_S + nanos;
}

static uint16_t port_of(const struct kube_field *field)
{
	return field->value <= UINT16_MAX ? (uint16_t)field->value : 0;
}

static bool is(const struct kube_field *field, const char *word)
{
	return field->length == strlen(word) && memcmp(field->bytes, word, field->length) == 0;
}

bool kube_reader_room(struct kube_reader *reader, uint32_t count, uint32_t most)
{
	if (count < most)
		return true;
	reader->stats.dropped++;
	return false;
}

void kube_reader_address(struct kube_reader *reader, struct address *addresses, uint32_t *count,
			 uint32_t most, const struct kube_field *field)
{
	char text[ADDRESS_TEXT_MAX] = "";
	struct address address;
	if (field->length == 0 || is(field, "None"))
		return; /* a service without one */
	if (field->length < sizeof(text))
		memcpy(text, field->bytes, field->length);
	if (address_parse(text, &address) != 0) {
		reader->stats.addresses++;
		return;
	}
	for (uint32_t i = 0; i < *count; i++)
		if (address_equal(&addresses[i], &address))
			return;
	if (kube_reader_room(reader, *count, most))
		addresses[(*count)++] = address;
}

struct kube_field kube_reader_only(struct kube_reader *reader, const struct kube_field *message,
				   uint32_t number)
{
	struct kube_cursor cursor = kube_cursor_into(message);
	struct kube_field field, found = {.bytes = message->bytes};
	while (kube_reader_next(reader, &cursor, &field))
		if (field.number == number)
			found = field;
	return found;
}

/* Of a list its first element. */
static struct kube_field first(struct kube_reader *reader, const struct kube_field *message,
			       uint32_t number)
{
	struct kube_cursor cursor = kube_cursor_into(message);
	struct kube_field field, found = {.bytes = message->bytes};
	while (kube_reader_next(reader, &cursor, &field))
		if (field.number == number && !found.number)
			found = field;
	return found;
}

void kube_reader_condition(struct kube_reader *reader, const struct kube_field *message,
			   uint32_t *count)
{
	struct kube_cursor cursor = kube_cursor_into(message);
	struct kube_condition condition = {"", "", "", 0};
	struct kube_field field;
	if (!kube_reader_room(reader, *count, KUBE_CONDITIONS_MAX))
		return;
	while (kube_reader_next(reader, &cursor, &field))
		if (field.number == 1)
			condition.type = kube_reader_text(reader, &field);
		else if (field.number == 2)
			condition.status = kube_reader_text(reader, &field);
		else if (field.number == 4)
			condition.since_ns = kube_reader_time(reader, &field);
		else if (field.number == 5)
			condition.reason = kube_reader_text(reader, &field);
	reader->conditions[(*count)++] = condition;
}

/* ---- metadata ---- */

static bool one_of(const char *const *patterns, size_t count, const char *text)
{
	for (size_t i = 0; i < count; i++)
		if (glob_match(patterns[i], text))
			return true;
	return false;
}

static void read_pair(struct kube_reader *reader, const struct kube_field *message,
		      struct kube_pair *pair)
{
	struct kube_field key = kube_reader_only(reader, message, 1),
			  value = kube_reader_only(reader, message, 2);
	pair->key = kube_reader_text(reader, &key);
	pair->value = kube_reader_text(reader, &value);
}

/* What is not kept leaves no text behind, nor a word in the counters. */
static void keep(struct kube_reader *reader, const struct kube_field *message,
		 const struct kube_wish *wish, struct kube_kept *kept)
{
	size_t before = reader->text_length;
	uint64_t cut = reader->stats.cut;
	struct kube_pair pair;
	read_pair(reader, message, &pair);
	bool own = one_of(wish->own, wish->own_count, pair.key);
	pair.asked = one_of(wish->asked, wish->asked_count, pair.key);
	if (pair.asked && kube_reader_room(reader, kept->asked, KUBE_LABELS_MAX)) {
		kept->asked++;
		kept->pairs[kept->count++] = pair;
	} else if (own && kube_reader_room(reader, kept->count - kept->asked, KUBE_OWN_MAX)) {
		pair.asked = false;
		kept->pairs[kept->count++] = pair;
	} else if (!pair.asked && !own) {
		reader->text_length = before;
		reader->stats.cut = cut;
	}
}

static void read_owner(struct kube_reader *reader, const struct kube_field *message)
{
	struct kube_cursor cursor = kube_cursor_into(message);
	struct kube_owner owner = {"", "", "", false};
	struct kube_field field;
	if (!kube_reader_room(reader, reader->object.owners_count, KUBE_OWNERS_MAX))
		return;
	while (kube_reader_next(reader, &cursor, &field))
		if (field.number == 1)
			owner.kind = kube_reader_text(reader, &field);
		else if (field.number == 3)
			owner.name = kube_reader_text(reader, &field);
		else if (field.number == 4)
			owner.uid = kube_reader_text(reader, &field);
		else if (field.number == 6)
			owner.controller = field.value != 0;
	reader->owners[reader->object.owners_count++] = owner;
}

static void read_metadata(struct kube_reader *reader, const struct kube_field *message)
{
	struct kube_cursor cursor = kube_cursor_into(message);
	struct kube_object *object = &reader->object;
	struct kube_field field;
	while (kube_reader_next(reader, &cursor, &field)) {
		switch (field.number) {
		case 1:
			object->name = kube_reader_text(reader, &field);
			break;
		case 3:
			object->namespace = kube_reader_text(reader, &field);
			break;
		case 5:
			object->uid = kube_reader_text(reader, &field);
			break;
		case 6:
			object->resource_version = kube_reader_text(reader, &field);
			break;
		case 8:
			object->created_ns = kube_reader_time(reader, &field);
			break;
		case 9:
			object->deleted_ns = kube_reader_time(reader, &field);
			break;
		case 11:
			keep(reader, &field, &reader->labels_wish, &reader->labels);
			break;
		case 12:
			keep(reader, &field, &reader->annotations_wish, &reader->annotations);
			break;
		case 13:
			read_owner(reader, &field);
			break;
		}
	}
}

/* ---- nodes ---- */

static void read_node_spec(struct kube_reader *reader, const struct kube_field *message)
{
	struct kube_cursor cursor = kube_cursor_into(message);
	struct kube_field field;
	while (kube_reader_next(reader, &cursor, &field))
		if (field.number == 3)
			reader->object.node.provider_id = kube_reader_text(reader, &field);
		else if (field.number == 4)
			reader->object.node.unschedulable = field.value != 0;
}

static void read_node_address(struct kube_reader *reader, const struct kube_field *message)
{
	struct kube_cursor cursor = kube_cursor_into(message);
	struct kube_field field, address = {.bytes = message->bytes};
	bool wanted = false;
	while (kube_reader_next(reader, &cursor, &field))
		if (field.number == 1)
			wanted = is(&field, "InternalIP") || is(&field, "ExternalIP");
		else if (field.number == 2)
			address = field;
	if (wanted) /* others are names */
		kube_reader_address(reader, reader->addresses, &reader->object.node.addresses_count,
				    KUBE_ADDRESSES_FEW, &address);
}

static void read_node_status(struct kube_reader *reader, const struct kube_field *message)
{
	struct kube_cursor cursor = kube_cursor_into(message);
	struct kube_field field;
	while (kube_reader_next(reader, &cursor, &field))
		if (field.number == 4)
			kube_reader_condition(reader, &field,
					      &reader->object.node.conditions_count);
		else if (field.number == 5)
			read_node_address(reader, &field);
}

/* ---- services ---- */

static uint8_t protocol_of(const struct kube_field *field)
{
	return is(field, "TCP")	   ? IPPROTO_TCP
	       : is(field, "UDP")  ? IPPROTO_UDP
	       : is(field, "SCTP") ? IPPROTO_SCTP
				   : 0;
}

static void read_port(struct kube_reader *reader, const struct kube_field *message)
{
	struct kube_cursor cursor = kube_cursor_into(message);
	struct kube_service *service = &reader->object.service;
	struct kube_port port = {.name = "", .protocol = IPPROTO_TCP};
	struct kube_field field;
	if (!kube_reader_room(reader, service->ports_count, KUBE_PORTS_MAX))
		return;
	while (kube_reader_next(reader, &cursor, &field))
		if (field.number == 1)
			port.name = kube_reader_text(reader, &field);
		else if (field.number == 2)
			port.protocol = protocol_of(&field);
		else if (field.number == 3)
			port.port = port_of(&field);
		else if (field.number == 5)
			port.node_port = port_of(&field);
	reader->ports[service->ports_count++] = port;
}

static void read_service_address(struct kube_reader *reader, const struct kube_field *field)
{
	kube_reader_address(reader, reader->addresses, &reader->object.service.addresses_count,
			    KUBE_ADDRESSES_MAX, field);
}

static void read_service_spec(struct kube_reader *reader, const struct kube_field *message)
{
	struct kube_cursor cursor = kube_cursor_into(message);
	struct kube_field field;
	while (kube_reader_next(reader, &cursor, &field)) {
		switch (field.number) {
		case 1:
			read_port(reader, &field);
			break;
		case 3:	 /* clusterIP */
		case 5:	 /* externalIPs */
		case 18: /* clusterIPs */
			read_service_address(reader, &field);
			break;
		case 4:
			reader->object.service.type = kube_reader_text(reader, &field);
			break;
		}
	}
}

static void read_service_status(struct kube_reader *reader, const struct kube_field *message)
{
	struct kube_field balancer = kube_reader_only(reader, message, 1), field, address;
	struct kube_cursor cursor = kube_cursor_into(&balancer);
	while (kube_reader_next(reader, &cursor, &field))
		if (field.number == 1) {
			address = kube_reader_only(reader, &field, 1);
			read_service_address(reader, &address);
		}
}

/* ---- endpoint slices ---- */

static void read_target(struct kube_reader *reader, const struct kube_field *message,
			struct kube_endpoint *endpoint)
{
	struct kube_cursor cursor = kube_cursor_into(message);
	struct kube_field field;
	while (kube_reader_next(reader, &cursor, &field))
		if (field.number == 1)
			endpoint->target_kind = kube_reader_text(reader, &field);
		else if (field.number == 2)
			endpoint->target_namespace = kube_reader_text(reader, &field);
		else if (field.number == 3)
			endpoint->target_name = kube_reader_text(reader, &field);
		else if (field.number == 4)
			endpoint->target_uid = kube_reader_text(reader, &field);
}

static void read_endpoint(struct kube_reader *reader, const struct kube_field *message)
{
	struct kube_cursor cursor = kube_cursor_into(message);
	struct kube_endpoint_slice *slice = &reader->object.endpoint_slice;
	struct kube_field field;
	if (!kube_reader_room(reader, slice->endpoints_count, KUBE_ENDPOINTS_MAX))
		return;
	struct kube_endpoint *endpoint = &reader->endpoints[slice->endpoints_count++];
	endpoint->target_kind = endpoint->target_namespace = "";
	endpoint->target_name = endpoint->target_uid = "";
	endpoint->addresses_count = 0;
	while (kube_reader_next(reader, &cursor, &field))
		if (field.number == 1)
			kube_reader_address(reader, endpoint->addresses, &endpoint->addresses_count,
					    KUBE_ADDRESSES_FEW, &field);
		else if (field.number == 4)
			read_target(reader, &field, endpoint);
}

/* ---- top level: what stands beside the metadata ---- */

static void read_node(struct kube_reader *reader, const struct kube_field *field)
{
	if (field->number == 2)
		read_node_spec(reader, field);
	else if (field->number == 3)
		read_node_status(reader, field);
}

static void read_service(struct kube_reader *reader, const struct kube_field *field)
{
	if (field->number == 2)
		read_service_spec(reader, field);
	else if (field->number == 3)
		read_service_status(reader, field);
}

static void read_endpoint_slice(struct kube_reader *reader, const struct kube_field *field)
{
	if (field->number == 2)
		read_endpoint(reader, field);
	else if (field->number == 4)
		reader->object.endpoint_slice.address_type = kube_reader_text(reader, field);
}

/* Only what is the first container's, and one label. */
static void read_template_pod(struct kube_reader *reader, const struct kube_field *message)
{
	struct kube_field container = first(reader, message, 2);
	struct kube_field image = kube_reader_only(reader, &container, 2);
	reader->object.replicas.template_image = kube_reader_text(reader, &image);
}

static void read_template_metadata(struct kube_reader *reader, const struct kube_field *message)
{
	struct kube_cursor cursor = kube_cursor_into(message);
	struct kube_field field, key, value;
	while (kube_reader_next(reader, &cursor, &field)) {
		if (field.number != 11)
			continue;
		key = kube_reader_only(reader, &field, 1);
		if (!is(&key, VERSION_LABEL))
			continue;
		value = kube_reader_only(reader, &field, 2);
		reader->object.replicas.template_version = kube_reader_text(reader, &value);
	}
}

static void read_template(struct kube_reader *reader, const struct kube_field *message)
{
	struct kube_cursor cursor = kube_cursor_into(message);
	struct kube_field field;
	while (kube_reader_next(reader, &cursor, &field))
		if (field.number == 1)
			read_template_metadata(reader, &field);
		else if (field.number == 2)
			read_template_pod(reader, &field);
}

/* Of a ReplicaSet (replicas, template 3) or a Job (parallelism, template 6). */
static void read_replicas_spec(struct kube_reader *reader, const struct kube_field *message,
			       uint32_t template)
{
	struct kube_cursor cursor = kube_cursor_into(message);
	struct kube_field field;
	while (kube_reader_next(reader, &cursor, &field))
		if (field.number == 1)
			reader->object.replicas.wanted = kube_field_int(&field);
		else if (field.number == template)
			read_template(reader, &field);
}

static void read_replica_set(struct kube_reader *reader, const struct kube_field *field)
{
	struct kube_field replicas;
	if (field->number == 2) {
		read_replicas_spec(reader, field, 3);
	} else if (field->number == 3) {
		replicas = kube_reader_only(reader, field, 1);
		reader->object.replicas.present = kube_field_int(&replicas);
	}
}

static void read_job(struct kube_reader *reader, const struct kube_field *field)
{
	struct kube_field active;
	if (field->number == 2) {
		read_replicas_spec(reader, field, 6);
	} else if (field->number == 3) {
		active = kube_reader_only(reader, field, 4);
		reader->object.replicas.present = kube_field_int(&active);
	}
}

static void read_namespace(struct kube_reader *reader, const struct kube_field *field)
{
	(void)reader;
	(void)field;
}

static void (*const readers[KUBE_KINDS])(struct kube_reader *, const struct kube_field *) = {
	[KUBE_NAMESPACE] = read_namespace,
	[KUBE_NODE] = read_node,
	[KUBE_REPLICA_SET] = read_replica_set,
	[KUBE_JOB] = read_job,
	[KUBE_POD] = kube_reader_pod,
	[KUBE_SERVICE] = read_service,
	[KUBE_ENDPOINT_SLICE] = read_endpoint_slice,
};

static void object_clear(struct kube_reader *reader, enum kube_kind kind)
{
	reader->text_length = 0;
	reader->broken = false;
	reader->labels.count = reader->labels.asked = 0;
	reader->annotations.count = reader->annotations.asked = 0;
	reader->object = (struct kube_object){
		.kind = kind,
		.uid = "",
		.namespace = "",
		.name = "",
		.resource_version = "",
		.labels = reader->labels.pairs,
		.annotations = reader->annotations.pairs,
		.owners = reader->owners,
	};
	struct kube_object *object = &reader->object;
	if (kind == KUBE_POD)
		object->pod = (struct kube_pod){.node = "",
						.phase = "",
						.addresses = reader->addresses,
						.conditions = reader->conditions,
						.containers = reader->containers};
	else if (kind == KUBE_NODE)
		object->node = (struct kube_node){.provider_id = "",
						  .addresses = reader->addresses,
						  .conditions = reader->conditions};
	else if (kind == KUBE_SERVICE)
		object->service = (struct kube_service){
			.type = "", .addresses = reader->addresses, .ports = reader->ports};
	else if (kind == KUBE_ENDPOINT_SLICE)
		object->endpoint_slice = (struct kube_endpoint_slice){
			.service = "", .address_type = "", .endpoints = reader->endpoints};
	else if (kind == KUBE_REPLICA_SET || kind == KUBE_JOB)
		object->replicas =
			(struct kube_replicas){.template_version = "", .template_image = ""};
}

static bool object_is_whole(const struct kube_reader *reader)
{
	const struct kube_object *object = &reader->object;
	return !reader->broken && object->name[0] && object->uid[0] &&
	       strlen(object->uid) <= KUBE_UID_MAX;
}

const struct kube_object *kube_reader_object(struct kube_reader *reader, enum kube_kind kind,
					     const uint8_t *bytes, size_t length)
{
	struct kube_cursor cursor = kube_cursor_of(bytes, length);
	struct kube_object *object = &reader->object;
	struct kube_field field;
	object_clear(reader, kind);
	while (kube_reader_next(reader, &cursor, &field))
		if (field.number == 1)
			read_metadata(reader, &field);
		else
			readers[kind](reader, &field);
	object->labels_count = reader->labels.count;
	object->annotations_count = reader->annotations.count;
	if (!object_is_whole(reader)) {
		reader->stats.malformed++;
		return NULL;
	}
	if (kind == KUBE_ENDPOINT_SLICE) {
		const char *service =
			kube_pair_find(object->labels, object->labels_count, SERVICE_LABEL);
		object->endpoint_slice.service = service ? service : "";
	}
	reader->stats.objects++;
	return object;
}
