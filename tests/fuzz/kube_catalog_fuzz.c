/* Objects as an API server may send them, and records as a topic may hold them, in any order: what
 * comes out is within the schema's bounds, and nothing is kept of what is gone. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/clock.h"
#include "kube/catalog/catalog.h"

enum { OBJECTS_MAX = 8 };

static void check(void *context, const char *id, const Millrace__V1__Metadata *record)
{
	(void)context;
	assert(strlen(id) <= CATALOG_ID_MAX);
	if (!record)
		return;
	assert(record->observed_ns && (!record->until_ns || record->until_ns >= record->from_ns));
	assert(millrace__v1__metadata__get_packed_size(record) <= CATALOG_RECORD_MAX);
}

static void learn(struct catalog *catalog, const uint8_t *bytes, size_t length)
{
	Millrace__V1__Metadata *record = millrace__v1__metadata__unpack(NULL, length, bytes);
	if (!record)
		return;
	catalog_learn(catalog, record);
	millrace__v1__metadata__free_unpacked(record, NULL);
}

/* Steps: what to do and of which kind (one byte), the length of the message (two), the message. */
static void act(struct catalog *catalog, struct kube_reader *reader, const uint8_t *bytes,
		size_t left)
{
	uint64_t now_ns = 1700000000 * NS_PER_S;
	for (; left >= 3; now_ns += NS_PER_S) {
		enum kube_kind kind = bytes[0] % KUBE_KINDS;
		unsigned what = bytes[0] / KUBE_KINDS % 5;
		size_t length = (size_t)bytes[1] << 8 | bytes[2];
		bytes += 3, left -= 3;
		if (length > left)
			length = left;
		const struct kube_object *object =
			what < 2 ? kube_reader_object(reader, kind, bytes, length) : NULL;
		if (object && what == 0)
			catalog_put(catalog, object, now_ns);
		else if (object)
			catalog_remove(catalog, kind, object->uid, object, now_ns);
		else if (what == 2)
			learn(catalog, bytes, length);
		else if (what == 3)
			catalog_synced(catalog, kind, now_ns);
		else if (what == 4)
			catalog_advance(catalog, now_ns);
		bytes += length, left -= length;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct catalog_options options = {
		.cluster = "", .keep_ns = 2 * NS_PER_S, .gone_max = 4, .sink = check};
	static const char *const all[] = {"*"};
	for (int kind = 0; kind < KUBE_KINDS; kind++)
		options.objects_max[kind] = OBJECTS_MAX;
	struct catalog *catalog = catalog_new(&options);
	struct kube_reader *reader = kube_reader_new(&(struct kube_reader_options){
		.labels = all, .annotations = all, .labels_count = 1, .annotations_count = 1});
	act(catalog, reader, bytes, length);
	kube_reader_free(reader);
	catalog_free(catalog);
	return 0;
}
