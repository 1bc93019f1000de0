/* Any bytes as a page or a watch, in one piece and in two: what is made of them is the same, and
 * each object lies within them. The first two bytes choose the sort and where it is cut. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "kube/body.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { OBJECT_MAX = 256 };

static bool on_object(void *context, enum kube_event event, const uint8_t *bytes, size_t length)
{
	uint64_t *digest = context;
	char version[KUBE_VERSION_MAX + 1];
	struct kube_status status;
	assert(length <= OBJECT_MAX);
	*digest = hash_mix(*digest ^ hash_bytes(bytes, length) ^ (uint64_t)event);
	if (event == KUBE_ERROR && kube_status_read(bytes, length, &status))
		assert(strlen(status.message) <= KUBE_MESSAGE_MAX);
	if (kube_version_of(bytes, length, version))
		assert(version[0]);
	return true;
}

static bool read_body(const uint8_t *bytes, size_t length, size_t cut, bool watch, uint64_t *digest)
{
	struct kube_body body;
	uint8_t *second = malloc(length - cut + 1);
	memcpy(second, bytes + cut, length - cut);
	*digest = 0;
	kube_body_init(&body, &(struct kube_body_options){.watch = watch,
							  .object_bytes_max = OBJECT_MAX,
							  .object = on_object,
							  .context = digest});
	bool good =
		kube_body_push(&body, bytes, cut) && kube_body_push(&body, second, length - cut);
	bool whole = kube_body_is_whole(&body);
	assert(body.gathered_capacity <= 2 * OBJECT_MAX);
	*digest = hash_mix(*digest ^ body.events ^ (good ? body.oversized << 32 : 0) ^
			   hash_bytes(body.next, strlen(body.next)));
	kube_body_done(&body);
	free(second);
	return good && whole;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	uint64_t once, twice;
	struct kube_status status;
	if (length < 2)
		return 0;
	bool watch = bytes[0] & 1;
	size_t cut = bytes[1], left = length - 2;
	bytes += 2;
	if (cut > left)
		cut = left;
	bool whole = read_body(bytes, left, 0, watch, &once);
	assert(read_body(bytes, left, cut, watch, &twice) == whole);
	assert(once == twice);
	kube_status_of_body(bytes, left, &status);
	assert(strlen(status.message) <= KUBE_MESSAGE_MAX);
	return 0;
}
