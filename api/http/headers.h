/* A list of header fields in one text: names in lower case, values as they came. Bounded by
 * HEADERS_MAX fields; the caller bounds the bytes. One thread at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/http/buffer.h"

#define HEADERS_MAX 100 /* as Apache's LimitRequestFields */

struct headers {
	struct buffer text; /* name NUL value NUL ... */
	uint32_t names[HEADERS_MAX];
	uint32_t values[HEADERS_MAX];
	size_t count;
};

void headers_done(struct headers *headers);
/* False when the list is full. */
bool headers_add(struct headers *headers, const void *name, size_t name_size, const void *value,
		 size_t value_size);
/* Pointers hold until the next add. */
const char *headers_name(const struct headers *headers, size_t index);
const char *headers_value(const struct headers *headers, size_t index);
const char *headers_get(const struct headers *headers, const char *name);
size_t headers_count(const struct headers *headers, const char *name);
/* Whether a comma-separated list of tokens, over all fields of the name, holds the token. */
bool headers_have_token(const struct headers *headers, const char *name, const char *token);
