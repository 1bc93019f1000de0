/* What a former watcher told, from the topic: whoever wrote it may have been of another build. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kube/catalog/state.h"

/* cluster/kind/uid/number, as the record's own fields have them. */
static bool read_number(const struct catalog *catalog, const char *id, const char *kind,
			const char *uid, uint32_t *number)
{
	char start[CATALOG_ID_MAX + 1];
	int length = snprintf(start, sizeof(start), "%s/%s/%s/", catalog->cluster, kind, uid);
	if (length >= (int)sizeof(start) || strncmp(id, start, (size_t)length) != 0)
		return false;
	char *end;
	unsigned long value = strtoul(id + length, &end, 10);
	*number = (uint32_t)value;
	return id[length] >= '0' && id[length] <= '9' && !*end && value < UINT32_MAX;
}

bool learn_number(struct catalog *catalog, enum told_kind kind, const char *uid,
		  const Millrace__V1__Metadata *record, uint32_t *number)
{
	static const char *const kinds[] = {"pod", "node", "service", "change"};
	size_t length = strlen(uid);
	if (!length || length > KUBE_UID_MAX ||
	    !read_number(catalog, record->id, kinds[kind], uid, number)) {
		catalog->stats.unreadable++;
		return false;
	}
	if (record->until_ns)
		gone_put(catalog, kind, uid, *number, record->observed_ns);
	return true;
}

bool learn_life(struct catalog *catalog, struct life *life, uint32_t number,
		const Millrace__V1__Metadata *record)
{
	if (number < life->number)
		return false;
	life->number = number;
	life->from_ns = record->from_ns;
	life->until_ns = record->until_ns;
	life->told = tell_digest(catalog, record);
	life->observed_ns = record->observed_ns;
	life->learned = true;
	return true;
}

void learn_change(struct catalog *catalog, const Millrace__V1__Metadata *record)
{
	char uid[17]; /* it stands in the id alone */
	uint32_t number;
	const char *last = strrchr(record->id, '/');
	size_t length = last ? (size_t)(last - record->id) : 0;
	snprintf(uid, sizeof(uid), "%s", length >= 16 ? last - 16 : "");
	learn_number(catalog, TOLD_CHANGE, uid, record, &number);
}

void learn_addresses(struct catalog *catalog, struct addresses *addresses,
		     const ProtobufCBinaryData *list, size_t count)
{
	struct address read[KUBE_ADDRESSES_MAX];
	uint32_t good = 0;
	for (size_t i = 0; i < count && good < KUBE_ADDRESSES_MAX; i++) {
		const uint8_t *b = list[i].data;
		if (list[i].len == 4)
			read[good++] = address_v4((uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 |
						  (uint32_t)b[2] << 8 | b[3]);
		else if (list[i].len == 16)
			read[good++] = address_v6(b);
	}
	addresses_set(catalog, addresses, read, good);
}

void learn_labels(struct catalog *catalog, struct labels *labels, Millrace__V1__Label **list,
		  size_t count)
{
	struct kube_pair pairs[KUBE_LABELS_MAX];
	struct kube_object object = {.labels = pairs};
	for (size_t i = 0; i < count && i < KUBE_LABELS_MAX; i++)
		pairs[object.labels_count++] = (struct kube_pair){
			.key = list[i]->key, .value = list[i]->value, .asked = true};
	labels_set(catalog, labels, &object);
}
