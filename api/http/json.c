#include "api/http/json.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void json_init(struct json *json)
{
	*json = (struct json){0};
}

void json_done(struct json *json)
{
	buffer_done(&json->text);
}

static uint32_t level(const struct json *json)
{
	return UINT32_C(1) << (json->depth - 1);
}

static void member_begin(struct json *json)
{
	if (json->occupied & level(json))
		buffer_append(&json->text, ",", 1);
	json->occupied |= level(json);
}

static void value_begin(struct json *json)
{
	if (json->keyed) {
		json->keyed = false;
		return;
	}
	if (!json->depth) {
		assert(!buffer_size(&json->text)); /* one document, one value */
		return;
	}
	assert(!(json->objects & level(json)));
	member_begin(json);
}

static void container_begin(struct json *json, bool object)
{
	value_begin(json);
	assert(json->depth < JSON_DEPTH_MAX);
	json->depth++;
	json->occupied &= ~level(json);
	json->objects = object ? json->objects | level(json) : json->objects & ~level(json);
	buffer_append(&json->text, object ? "{" : "[", 1);
}

static void container_end(struct json *json, bool object)
{
	assert(json->depth && !json->keyed);
	assert(!!(json->objects & level(json)) == object);
	json->depth--;
	buffer_append(&json->text, object ? "}" : "]", 1);
}

void json_object_begin(struct json *json)
{
	container_begin(json, true);
}

void json_object_end(struct json *json)
{
	container_end(json, true);
}

void json_array_begin(struct json *json)
{
	container_begin(json, false);
}

void json_array_end(struct json *json)
{
	container_end(json, false);
}

/*
 * Length of the well-formed sequence at `at`, or minus the length of the maximal subpart that is
 * not one. The ranges of the second byte (Unicode, table 3-7) shut out overlongs and surrogates.
 */
static int utf8_sequence(const uint8_t *at, const uint8_t *end)
{
	uint8_t first = at[0], low = 0x80, high = 0xbf;
	int length;
	if (first >= 0xc2 && first <= 0xdf) {
		length = 2;
	} else if ((first & 0xf0) == 0xe0) {
		length = 3;
		low = first == 0xe0 ? 0xa0 : low;
		high = first == 0xed ? 0x9f : high;
	} else if (first >= 0xf0 && first <= 0xf4) {
		length = 4;
		low = first == 0xf0 ? 0x90 : low;
		high = first == 0xf4 ? 0x8f : high;
	} else {
		return -1;
	}
	for (int i = 1; i < length; i++) {
		if (at + i == end || at[i] < low || at[i] > high)
			return -i;
		low = 0x80;
		high = 0xbf;
	}
	return length;
}

static void escape_ascii(struct buffer *text, uint8_t byte)
{
	static const char shorts[] = "\bb\ff\nn\rr\tt\"\"\\\\";
	for (size_t i = 0; i + 1 < sizeof(shorts); i += 2) {
		if ((uint8_t)shorts[i] == byte) {
			buffer_append(text, (char[]){'\\', shorts[i + 1]}, 2);
			return;
		}
	}
	buffer_format(text, "\\u%04x", byte);
}

static bool is_plain(uint8_t byte)
{
	return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

static void write_string(struct json *json, const uint8_t *at, size_t size)
{
	const uint8_t *end = at + size;
	buffer_append(&json->text, "\"", 1);
	while (at < end) {
		const uint8_t *run = at;
		while (at < end && is_plain(*at))
			at++;
		buffer_append(&json->text, run, (size_t)(at - run));
		if (at == end)
			break;
		if (*at < 0x80) {
			escape_ascii(&json->text, *at++);
			continue;
		}
		int length = utf8_sequence(at, end);
		if (length > 0)
			buffer_append(&json->text, at, (size_t)length);
		else
			buffer_append(&json->text, "\xef\xbf\xbd", 3);
		at += abs(length);
	}
	buffer_append(&json->text, "\"", 1);
}

void json_key(struct json *json, const char *key)
{
	assert(json->depth && (json->objects & level(json)) && !json->keyed);
	member_begin(json);
	write_string(json, (const uint8_t *)key, strlen(key));
	buffer_append(&json->text, ":", 1);
	json->keyed = true;
}

void json_member(struct json *json, const char *key, const char *text)
{
	json_key(json, key);
	json_string(json, text);
}

void json_member_object(struct json *json, const char *key)
{
	json_key(json, key);
	json_object_begin(json);
}

void json_string_n(struct json *json, const void *bytes, size_t size)
{
	value_begin(json);
	write_string(json, bytes, size);
}

void json_string(struct json *json, const char *text)
{
	if (text)
		json_string_n(json, text, strlen(text));
	else
		json_null(json);
}

void json_int(struct json *json, int64_t value)
{
	value_begin(json);
	buffer_format(&json->text, "%" PRId64, value);
}

void json_uint(struct json *json, uint64_t value)
{
	value_begin(json);
	buffer_format(&json->text, "%" PRIu64, value);
}

/*
 * %g drops trailing zeros, so where 15 digits suffice they are the fewest; 17 always suffice.
 * Subnormals carry less precision and may need as few as one. The process keeps the "C" locale.
 */
void json_double(struct json *json, double value)
{
	if (!isfinite(value)) {
		json_null(json);
		return;
	}
	char text[32];
	int digits = fpclassify(value) == FP_SUBNORMAL ? 1 : 15;
	for (; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	value_begin(json);
	buffer_text(&json->text, text);
}

void json_bool(struct json *json, bool value)
{
	json_raw(json, value ? "true" : "false", value ? 4 : 5);
}

void json_null(struct json *json)
{
	json_raw(json, "null", 4);
}

void json_raw(struct json *json, const void *bytes, size_t size)
{
	value_begin(json);
	buffer_append(&json->text, bytes, size);
}

const char *json_text(const struct json *json, size_t *size)
{
	*size = buffer_size(&json->text);
	return (const char *)buffer_bytes(&json->text);
}
