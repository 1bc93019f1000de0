/*
 * A streaming JSON writer: call by call in document order, into one growing text.
 *
 * Commas and colons are its own; strings may hold any bytes (what is not UTF-8 becomes U+FFFD, one
 * per maximal subpart as the Unicode Standard, 3.9, recommends); a double is printed with the
 * fewest digits that read back as the same value; NaN and infinities become null. Nesting is
 * bounded by JSON_DEPTH_MAX, and misuse (a value without its key, an end without its begin) is a
 * bug and asserts. One thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/http/buffer.h"

#define JSON_DEPTH_MAX 32 /* our deepest answer nests about 8 */

struct json {
	struct buffer text;
	uint32_t objects;  /* bit d: level d is an object */
	uint32_t occupied; /* bit d: level d has a member already */
	unsigned depth;
	bool keyed; /* a key was written, its value is due */
};

void json_init(struct json *json);
void json_done(struct json *json);

void json_object_begin(struct json *json);
void json_object_end(struct json *json);
void json_array_begin(struct json *json);
void json_array_end(struct json *json);

void json_key(struct json *json, const char *key);
void json_string(struct json *json, const char *text); /* NULL writes null */
/* A member that is a text, and one whose object begins. */
void json_member(struct json *json, const char *key, const char *text);
void json_member_object(struct json *json, const char *key);
void json_string_n(struct json *json, const void *bytes, size_t size);
void json_int(struct json *json, int64_t value);
void json_uint(struct json *json, uint64_t value);
void json_double(struct json *json, double value);
void json_bool(struct json *json, bool value);
void json_null(struct json *json);
/* A value that is JSON already. */
void json_raw(struct json *json, const void *bytes, size_t size);

/* The document so far: not terminated, valid until the next call. */
const char *json_text(const struct json *json, size_t *size);
