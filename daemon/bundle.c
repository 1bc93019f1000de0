#include "daemon/bundle.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"
#include "daemon/wire_message.h"

/* --- writing --- */

static struct bundle_head head_of(const struct bundle *bundle)
{
	struct bundle_head head;

	memcpy(&head, bundle->bytes, sizeof(head));
	return head;
}

/* The bytes go to another thread and library, so they are in no task's heap. */
static void reserve(struct bundle *bundle, size_t size)
{
	struct heap *heap;

	if (size <= bundle->size)
		return;
	heap = memory_use(NULL);
	bundle->size = memory_grown(bundle->size ? bundle->size : bundle->size_next, size);
	bundle->bytes = memory_resize(bundle->bytes, bundle->size, 1);
	memory_use(heap);
}

static void begin(struct bundle *bundle, int64_t run)
{
	const struct bundle_head head = {.magic = BUNDLE_MAGIC, .run = run};

	reserve(bundle, sizeof(head));
	memcpy(bundle->bytes, &head, sizeof(head));
	bundle->length = sizeof(head);
}

bool bundle_put(struct bundle *bundle, int64_t run, uint64_t number, const struct message *message)
{
	const struct bundle_place place = {.source = message->source,
					   .task = message->task,
					   .number = number,
					   .length = wire_message_size(message)};
	size_t length = sizeof(place) + place.length;
	struct bundle_head head;

	if (!bundle->length)
		begin(bundle, run);
	else if (bundle->length + length > BUNDLE_BYTES_MAX)
		return false;
	reserve(bundle, bundle->length + length);
	head = head_of(bundle);
	assert(head.run == run);
	head.messages++;
	memcpy(bundle->bytes, &head, sizeof(head));
	memcpy(bundle->bytes + bundle->length, &place, sizeof(place));
	wire_message_write(message, bundle->bytes + bundle->length + sizeof(place));
	bundle->length += length;
	return true;
}

uint32_t bundle_messages(const struct bundle *bundle)
{
	return bundle->length ? head_of(bundle).messages : 0;
}

uint8_t *bundle_take(struct bundle *bundle, size_t *length)
{
	uint8_t *bytes = bundle->length ? bundle->bytes : NULL;

	*length = bundle->length;
	if (bytes)
		*bundle = (struct bundle){.size_next = bundle->length};
	return bytes;
}

void bundle_clear(struct bundle *bundle)
{
	memory_free(bundle->bytes);
	*bundle = (struct bundle){0};
}

/* --- reading --- */

bool bundle_open(struct bundle_reader *reader, const uint8_t *bytes, size_t length)
{
	struct bundle_head head;

	if (length < sizeof(head))
		return false;
	memcpy(&head, bytes, sizeof(head));
	*reader = (struct bundle_reader){.run = head.run,
					 .messages = head.messages,
					 .at = bytes + sizeof(head),
					 .left = length - sizeof(head)};
	return head.magic == BUNDLE_MAGIC && head.run >= 0;
}

/* The next message's place, which is passed over with it. */
static bool pass(struct bundle_reader *reader, struct bundle_place *place)
{
	if (reader->left < sizeof(*place))
		return false;
	memcpy(place, reader->at, sizeof(*place));
	if (place->length > reader->left - sizeof(*place))
		return false;
	reader->at += sizeof(*place) + place->length;
	reader->left -= sizeof(*place) + place->length;
	return true;
}

bool bundle_whole(const struct bundle_reader *reader, uint32_t tasks)
{
	struct bundle_reader rest = *reader;
	struct bundle_place place;
	uint32_t messages = 0;

	for (; rest.left && messages < rest.messages; messages++) {
		if (!pass(&rest, &place) || place.source >= tasks || place.task >= tasks)
			return false;
	}
	return messages && messages == rest.messages && rest.left == 0;
}

const uint8_t *bundle_next(struct bundle_reader *reader, struct bundle_place *place)
{
	return pass(reader, place) ? reader->at - place->length : NULL;
}
