/* A parcel of another instance: the counts and all that follows them, behind the head of our build.
 * Whatever they hold, decoding ends within its bounds, and what it makes is written again as bytes
 * that make a parcel. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/wire_parcel.h"

enum { TASKS = 16, BUILD_BYTES = 40 }; /* magic, layout, six sizes, kind, task */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct parcel ours = {.kind = size ? bytes[0] & 1 : 0}, *found, *again;
	size_t length;
	uint8_t *head = parcel_encode(&ours, &length);
	size_t rest = size ? size - 1 : 0;
	uint8_t *whole = malloc(BUILD_BYTES + rest);

	memcpy(whole, head, BUILD_BYTES);
	if (rest)
		memcpy(whole + BUILD_BYTES, bytes + 1, rest);
	free(head);
	if (parcel_decode(whole, BUILD_BYTES + rest, TASKS, &found) == 0) {
		head = parcel_encode(found, &length);
		assert(length == BUILD_BYTES + rest);
		assert(parcel_decode(head, length, TASKS, &again) == 0);
		free(head);
		parcel_free(again);
		parcel_free(found);
	}
	free(whole);
	return 0;
}
