/* What records of the topics that anybody may write to are read with: memory of a bounded size, and
 * texts that are within their bounds or malformed, never cut; and what they are written with. Pure;
 * any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <protobuf-c/protobuf-c.h>

/* At most left bytes, which it counts down; what asks for more is refused as malformed. */
ProtobufCAllocator bounded_allocator(size_t *left);
/* With its NUL; false: it does not fit. */
bool bounded_text(char *out, size_t size, const char *text);
bool bounded_is_utf8(const char *text);
/* Into max bytes, which it fits into, signed if key is given. Its length. */
size_t bounded_write(const ProtobufCMessage *message, const uint8_t *key, uint8_t *bytes,
		     size_t max);
