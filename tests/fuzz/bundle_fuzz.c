/* A record of the exchange behind the head of a bundle: whatever it is, reading ends and stays
 * within it, and the messages of one that is whole are all of it. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { TASKS = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	const struct bundle_head head = {
		.magic = BUNDLE_MAGIC, .messages = size ? bytes[0] % 8 : 0, .run = 1};
	size_t rest = size ? size - 1 : 0, length = sizeof(head) + rest, read = sizeof(head);
	uint8_t *whole = malloc(length);
	struct bundle_reader reader;
	struct bundle_place place;
	const uint8_t *message;

	memcpy(whole, &head, sizeof(head));
	if (rest)
		memcpy(whole + sizeof(head), bytes + 1, rest);
	assert(bundle_open(&reader, whole, length));
	if (bundle_whole(&reader, TASKS)) {
		while ((message = bundle_next(&reader, &place)) != NULL) {
			assert(place.source < TASKS && place.task < TASKS);
			read += sizeof(place) + place.length;
			assert(message + place.length == whole + read);
		}
		assert(read == length);
	}
	free(whole);
	return 0;
}
