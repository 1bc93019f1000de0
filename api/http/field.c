#include "api/http/field.h"

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

static bool read_varint(struct fields *fields, uint64_t *value)
{
	*value = 0;
	for (unsigned shift = 0; shift < 64 && fields->at < fields->end; shift += 7) {
		uint8_t byte = *fields->at++;
		*value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return true;
	}
	return false;
}

static bool read_bytes(struct fields *fields, struct field *field, uint64_t size)
{
	if (size > (uint64_t)(fields->end - fields->at))
		return false;
	field->bytes = fields->at;
	field->size = (size_t)size;
	fields->at += size;
	return true;
}

static bool read_value(struct fields *fields, struct field *field, unsigned type)
{
	uint64_t size;
	struct field skipped;
	switch (type) {
	case WIRE_VARINT:
		return read_varint(fields, &field->value);
	case WIRE_BYTES:
		return read_varint(fields, &size) && read_bytes(fields, field, size);
	case WIRE_FIXED64:
		return read_bytes(fields, &skipped, 8);
	case WIRE_FIXED32:
		return read_bytes(fields, &skipped, 4);
	default:
		return false;
	}
}

bool fields_next(struct fields *fields, struct field *field)
{
	uint64_t key;
	*field = (struct field){0};
	if (fields->at == fields->end || fields->malformed)
		return false;
	fields->malformed = !read_varint(fields, &key) || key >> 3 == 0 || key >> 3 > 536870911 ||
			    !read_value(fields, field, key & 7);
	field->number = (uint32_t)(key >> 3);
	return !fields->malformed;
}

static void put_raw(struct buffer *out, uint64_t value)
{
	uint8_t bytes[10];
	size_t size = 0;
	do {
		bytes[size++] = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
		value >>= 7;
	} while (value);
	buffer_append(out, bytes, size);
}

void field_put_varint(struct buffer *out, uint32_t number, uint64_t value)
{
	put_raw(out, (uint64_t)number << 3 | WIRE_VARINT);
	put_raw(out, value);
}

void field_put_bytes(struct buffer *out, uint32_t number, const void *bytes, size_t size)
{
	put_raw(out, (uint64_t)number << 3 | WIRE_BYTES);
	put_raw(out, size);
	buffer_append(out, bytes, size);
}
