/* Any bytes as an object of each kind: its texts are bounded, printable and where they say. The
 * first byte chooses the kind. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "kube/object.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void check_text(const char *text)
{
	size_t length = strlen(text);
	assert(length <= KUBE_TEXT_MAX);
	for (size_t at = 0; at < length;) {
		size_t character = utf8_length((const uint8_t *)text + at, length - at);
		assert(character && (uint8_t)text[at] >= ' ');
		at += character;
	}
}

static void check_pairs(const struct kube_pair *pairs, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		check_text(pairs[i].key);
		check_text(pairs[i].value);
	}
}

static void check_pod(const struct kube_pod *pod)
{
	check_text(pod->node);
	check_text(pod->phase);
	assert(pod->addresses_count <= KUBE_ADDRESSES_FEW);
	assert(pod->conditions_count <= KUBE_CONDITIONS_MAX);
	assert(pod->containers_count <= KUBE_CONTAINERS_MAX);
	for (uint32_t i = 0; i < pod->conditions_count; i++)
		check_text(pod->conditions[i].type);
	for (uint32_t i = 0; i < pod->containers_count; i++) {
		const struct kube_container *container = &pod->containers[i];
		check_text(container->name);
		check_text(container->image);
		check_text(container->status_image);
		check_text(container->image_id);
		check_text(container->id);
		check_text(container->termination.id);
		check_text(container->termination.reason);
		assert(!(container->ended && container->ended_before));
	}
}

static void check_slice(const struct kube_endpoint_slice *slice)
{
	assert(slice->endpoints_count <= KUBE_ENDPOINTS_MAX);
	check_text(slice->service);
	for (uint32_t i = 0; i < slice->endpoints_count; i++) {
		assert(slice->endpoints[i].addresses_count <= KUBE_ADDRESSES_FEW);
		check_text(slice->endpoints[i].target_uid);
	}
}

static void check_object(const struct kube_object *object)
{
	check_text(object->name);
	check_text(object->namespace);
	check_text(object->resource_version);
	assert(object->uid[0] && strlen(object->uid) <= KUBE_UID_MAX);
	check_pairs(object->labels, object->labels_count);
	check_pairs(object->annotations, object->annotations_count);
	assert(object->owners_count <= KUBE_OWNERS_MAX);
	for (uint32_t i = 0; i < object->owners_count; i++)
		check_text(object->owners[i].uid);
	if (object->kind == KUBE_POD)
		check_pod(&object->pod);
	else if (object->kind == KUBE_ENDPOINT_SLICE)
		check_slice(&object->endpoint_slice);
	else if (object->kind == KUBE_NODE)
		check_text(object->node.provider_id);
	else if (object->kind == KUBE_SERVICE)
		assert(object->service.ports_count <= KUBE_PORTS_MAX);
	else if (object->kind == KUBE_REPLICA_SET || object->kind == KUBE_JOB)
		check_text(object->replicas.template_image);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static const char *const all[] = {"*"};
	static struct kube_reader *reader; /* 2 MiB: made once */
	if (!reader)
		reader = kube_reader_new(&(struct kube_reader_options){all, all, 1, 1});
	if (length == 0)
		return 0;
	size_t size = length - 1;
	uint8_t *message = malloc(size + !size); /* a byte beyond shows */
	memcpy(message, bytes + 1, size);
	const struct kube_object *object =
		kube_reader_object(reader, bytes[0] % KUBE_KINDS, message, size);
	if (object)
		check_object(object);
	free(message);
	return 0;
}
