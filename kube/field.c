#include "kube/field.h"

#include <string.h>

#include "base/utf8.h"

enum { VARINT = 0, FIXED64 = 1, LENGTH = 2, FIXED32 = 5 };

int kube_varint(const uint8_t *bytes, size_t length, uint64_t *value)
{
	*value = 0;
	for (int i = 0; i < KUBE_VARINT_MAX; i++) {
		if ((size_t)i == length)
			return 0;
		*value |= (uint64_t)(bytes[i] & 0x7f) << (7 * i);
		if (bytes[i] < 0x80)
			return i + 1;
	}
	return -1;
}

static bool take_varint(struct kube_cursor *cursor, uint64_t *value)
{
	int taken = kube_varint(cursor->at, (size_t)(cursor->end - cursor->at), value);
	if (taken <= 0)
		return false;
	cursor->at += taken;
	return true;
}

static bool take_bytes(struct kube_cursor *cursor, uint64_t length)
{
	if (length > (uint64_t)(cursor->end - cursor->at))
		return false;
	cursor->at += length;
	return true;
}

static bool take_value(struct kube_cursor *cursor, struct kube_field *field)
{
	uint64_t length;
	switch (field->type) {
	case VARINT:
		return take_varint(cursor, &field->value);
	case FIXED64:
		return take_bytes(cursor, 8);
	case FIXED32:
		return take_bytes(cursor, 4);
	case LENGTH:
		if (!take_varint(cursor, &length))
			return false;
		field->bytes = cursor->at;
		field->length = length;
		return take_bytes(cursor, length);
	}
	return false; /* groups are of a time before Kubernetes */
}

bool kube_field_next(struct kube_cursor *cursor, struct kube_field *field)
{
	uint64_t tag;
	if (cursor->broken || cursor->at == cursor->end)
		return false;
	*field = (struct kube_field){.bytes = cursor->at};
	if (take_varint(cursor, &tag) && tag >> 3 && tag <= UINT32_MAX) {
		field->number = (uint32_t)(tag >> 3);
		field->type = tag & 7;
		if (take_value(cursor, field))
			return true;
	}
	cursor->broken = true;
	return false;
}

/* How many bytes of a character to keep; 0: it is none, or one that moves cursors. */
static size_t printable(const uint8_t *bytes, size_t left)
{
	size_t length = utf8_length(bytes, left);
	if (length == 1)
		return bytes[0] >= 0x20 && bytes[0] != 0x7f;
	return length == 2 && bytes[0] == 0xc2 && bytes[1] < 0xa0 ? 0 : length;
}

size_t kube_text(const uint8_t *bytes, size_t length, char *text, size_t max)
{
	size_t at = 0;
	while (at < length) {
		size_t kept = printable(bytes + at, length - at), taken = kept ? kept : 1;
		if (at + taken > max)
			break;
		if (kept)
			memcpy(text + at, bytes + at, kept);
		else
			text[at] = '?';
		at += taken;
	}
	text[at] = '\0';
	return at;
}
