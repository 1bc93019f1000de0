/* Names as bytes, within messages and parcels for the exchange:
 *
 *	struct wire_name ... | texts, each with its NUL
 *
 * Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/name.h"

struct wire_name {
	uint64_t id;
	uint32_t length; /* its text is one longer: a NUL */
	uint32_t pad;
};

/* The place behind the bytes. */
static inline uint8_t *wire_append(uint8_t *at, const void *bytes, size_t length)
{
	if (length)
		memcpy(at, bytes, length);
	return at + length;
}

/* Of the texts alone. */
size_t wire_names_texts(const struct name *names, size_t count);
/* The place behind names and texts. */
uint8_t *wire_names_append(uint8_t *at, const struct name *names, size_t count);
/* Names whose structs stand at bytes, anywhere; the texts are lent. False: these are not just their
 * texts. */
bool wire_names_read(struct name *names, size_t count, const uint8_t *bytes, const char *texts,
		     size_t texts_bytes);
