/* A message as bytes: whatever they are, reading ends, stays within them, and what it makes is a
 * message that is written as the same bytes again, but for what is made anew. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/wire_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { TASKS = 4, LAYOUT_BYTES = 8 };

/* The layout's sum, which no fuzzer guesses. */
static void make_right(uint8_t *bytes)
{
	struct message *message = message_new(MESSAGE_START, 0, 0, 0);
	uint8_t *written = malloc(wire_message_size(message));

	wire_message_write(message, written);
	memcpy(bytes, written, LAYOUT_BYTES);
	free(written);
	message_free(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1), *again;
	struct message *message;

	memcpy(copy, bytes, size);
	if (size >= LAYOUT_BYTES)
		make_right(copy);
	message = wire_message_read(copy, size, TASKS);
	if (message) {
		assert(message->source < TASKS && message->task < TASKS);
		assert(wire_message_size(message) == size);
		again = malloc(size);
		wire_message_write(message, again);
		free(again);
		message_free(message);
	}
	free(copy);
	return 0;
}
