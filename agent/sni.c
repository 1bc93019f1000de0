#include "agent/sni.h"

#include <stdbool.h>

enum {
	RECORD_HANDSHAKE = 22,
	RECORD_HEADER_BYTES = 5,
	RECORD_MAX = 1 << 14,
	VERSION_MAJOR = 3,
	CLIENT_HELLO = 1,
	HELLO_FIXED_BYTES = 34, /* version, random */
	SESSION_MAX = 32,
	EXTENSION_SERVER_NAME = 0,
	TYPE_HOST_NAME = 0,
};

enum step { STEP_OK, STEP_CUT, STEP_BAD }; /* CUT: more bytes are needed than are at hand */

/* A handshake's bytes, which records lie around. */
struct reader {
	const uint8_t *bytes;
	size_t length, at;
	size_t record; /* bytes left of the record */
	size_t hello;  /* and of what is read: first the hello, then its extensions, then one */
};

static uint32_t u16(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 8 | bytes[1];
}

/* A handshake goes on in records of its own kind only, none of them empty. */
static enum step next_record(struct reader *reader)
{
	const uint8_t *header = reader->bytes + reader->at;
	if (reader->length - reader->at < RECORD_HEADER_BYTES)
		return STEP_CUT;
	reader->record = u16(header + 3);
	if (header[0] != RECORD_HANDSHAKE || header[1] != VERSION_MAJOR || !reader->record ||
	    reader->record > RECORD_MAX)
		return STEP_BAD;
	reader->at += RECORD_HEADER_BYTES;
	return STEP_OK;
}

/* to: NULL, or where they go. */
static enum step take(struct reader *reader, size_t count, uint8_t *to)
{
	if (count > reader->hello)
		return STEP_BAD;
	reader->hello -= count;
	while (count) {
		if (!reader->record) {
			enum step step = next_record(reader);
			if (step != STEP_OK)
				return step;
		}
		size_t left = reader->length - reader->at;
		size_t some = count < reader->record ? count : reader->record;
		if (some > left)
			return STEP_CUT;
		for (size_t i = 0; to && i < some; i++)
			*to++ = reader->bytes[reader->at + i];
		reader->at += some;
		reader->record -= some;
		count -= some;
	}
	return STEP_OK;
}

static enum step take_number(struct reader *reader, size_t bytes, size_t *number)
{
	uint8_t text[3];
	enum step step = take(reader, bytes, text);
	*number = 0;
	for (size_t i = 0; step == STEP_OK && i < bytes; i++)
		*number = *number << 8 | text[i];
	return step;
}

/* A vector: its length in so many bytes, then what it says. */
static enum step skip_vector(struct reader *reader, size_t bytes, size_t max)
{
	size_t length;
	enum step step = take_number(reader, bytes, &length);
	if (step == STEP_OK && length > max)
		return STEP_BAD;
	return step == STEP_OK ? take(reader, length, NULL) : step;
}

static enum step begin(struct reader *reader)
{
	size_t type, length;
	reader->hello = 4;
	enum step step = take_number(reader, 1, &type);
	if (step == STEP_OK && type != CLIENT_HELLO)
		return STEP_BAD;
	if (step == STEP_OK)
		step = take_number(reader, 3, &length);
	if (step != STEP_OK)
		return step;
	reader->hello = length;
	return take(reader, HELLO_FIXED_BYTES, NULL);
}

static enum sni_verdict verdict_of(enum step step)
{
	return step == STEP_CUT ? SNI_CUT : SNI_MALFORMED;
}

static bool is_host(uint8_t byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' ||
	       byte == '_' || byte == '.';
}

static enum sni_verdict read_name(struct reader *reader, size_t length, char name[SNI_TEXT_BYTES])
{
	uint8_t text[SNI_TEXT_BYTES];
	if (length > SNI_TEXT_BYTES)
		return length > reader->hello ? SNI_MALFORMED : SNI_OTHER;
	enum step step = take(reader, length, text);
	if (step != STEP_OK)
		return verdict_of(step);
	if (length && text[length - 1] == '.')
		length--;
	if (!length || length == SNI_TEXT_BYTES)
		return SNI_OTHER;
	for (size_t i = 0; i < length; i++) {
		if (text[i] >= 'A' && text[i] <= 'Z')
			text[i] += 'a' - 'A';
		if (!is_host(text[i]))
			return SNI_OTHER;
		name[i] = (char)text[i];
	}
	name[length] = 0;
	return SNI_NAME;
}

/* The names of one extension: of hosts there is one, and other kinds were never defined. */
static enum sni_verdict read_names(struct reader *reader, char name[SNI_TEXT_BYTES])
{
	size_t list, type, length;
	enum step step = take_number(reader, 2, &list);
	if (step == STEP_OK && list != reader->hello)
		return SNI_MALFORMED;
	while (step == STEP_OK && reader->hello) {
		step = take_number(reader, 1, &type);
		if (step == STEP_OK)
			step = take_number(reader, 2, &length);
		if (step != STEP_OK)
			break;
		if (type == TYPE_HOST_NAME)
			return read_name(reader, length, name);
		step = take(reader, length, NULL);
	}
	return step == STEP_OK ? SNI_MALFORMED : verdict_of(step);
}

static enum sni_verdict find_names(struct reader *reader, char name[SNI_TEXT_BYTES])
{
	while (reader->hello) {
		size_t type, length;
		enum step step = take_number(reader, 2, &type);
		if (step == STEP_OK)
			step = take_number(reader, 2, &length);
		if (step == STEP_OK && length > reader->hello)
			step = STEP_BAD;
		if (step == STEP_OK && type == EXTENSION_SERVER_NAME) {
			reader->hello = length;
			return read_names(reader, name);
		}
		if (step == STEP_OK)
			step = take(reader, length, NULL);
		if (step != STEP_OK)
			return verdict_of(step);
	}
	return SNI_NONE;
}

enum sni_verdict sni_parse(const uint8_t *bytes, size_t length, char name[SNI_TEXT_BYTES])
{
	struct reader reader = {.bytes = bytes, .length = length};
	size_t extensions;
	enum step step = begin(&reader);
	if (step == STEP_OK)
		step = skip_vector(&reader, 1, SESSION_MAX);
	if (step == STEP_OK)
		step = skip_vector(&reader, 2, UINT16_MAX); /* ciphers */
	if (step == STEP_OK)
		step = skip_vector(&reader, 1, UINT8_MAX); /* compression */
	if (step == STEP_OK && !reader.hello)
		return SNI_NONE; /* TLS 1.2 needs no extensions */
	if (step == STEP_OK)
		step = take_number(&reader, 2, &extensions);
	if (step == STEP_OK && extensions != reader.hello)
		step = STEP_BAD;
	return step == STEP_OK ? find_names(&reader, name) : verdict_of(step);
}
