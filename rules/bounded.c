#include "rules/bounded.h"

#include <assert.h>
#include <string.h>

#include "agent/batch/seal.h"
#include "base/memory.h"
#include "base/utf8.h"

static void *take(void *context, size_t size)
{
	size_t *left = context;

	if (size > *left)
		return NULL;
	*left -= size;
	return memory_resize(NULL, 1, size);
}

static void give(void *context, void *memory)
{
	(void)context;
	memory_free(memory);
}

ProtobufCAllocator bounded_allocator(size_t *left)
{
	return (ProtobufCAllocator){take, give, left};
}

bool bounded_text(char *out, size_t size, const char *text)
{
	size_t length = strlen(text);

	if (length >= size)
		return false;
	memcpy(out, text, length + 1);
	return true;
}

bool bounded_is_utf8(const char *text)
{
	const uint8_t *at = (const uint8_t *)text, *end = at + strlen(text);

	for (size_t step; at < end; at += step) {
		if ((step = utf8_length(at, (size_t)(end - at))) == 0)
			return false;
	}
	return true;
}

size_t bounded_write(const ProtobufCMessage *message, const uint8_t *key, uint8_t *bytes,
		     size_t max)
{
	size_t length = protobuf_c_message_get_packed_size(message);

	assert(length + SEAL_TRAILER_BYTES <= max);
	(void)max;
	protobuf_c_message_pack(message, bytes);
	if (!key)
		return length;
	seal_sign(key, bytes, length);
	return length + SEAL_TRAILER_BYTES;
}
