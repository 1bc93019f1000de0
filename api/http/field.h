/* Protobuf fields one by one, for the few small messages of health and reflection: no recursion, no
 * allocation while reading, bounds checked against the input. Pure. Source: protobuf.dev,
 * "Encoding". */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/http/buffer.h"

struct fields {
	const uint8_t *at, *end;
	bool malformed;
};

struct field {
	uint32_t number;
	uint64_t value;	      /* of a varint */
	const uint8_t *bytes; /* of a string, message or bytes; else NULL */
	size_t size;
};

/* False at the end and, with malformed set, where the bytes are no fields. Fixed-size fields are
 * passed over, groups are malformed. */
bool fields_next(struct fields *fields, struct field *field);

static inline struct fields field_inside(const struct field *field)
{
	return (struct fields){.at = field->bytes, .end = field->bytes + field->size};
}

void field_put_varint(struct buffer *out, uint32_t number, uint64_t value);
void field_put_bytes(struct buffer *out, uint32_t number, const void *bytes, size_t size);
