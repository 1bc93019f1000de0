/* The parameters of a query string: percent-decoded once, keys may repeat, order kept. Bounded by
 * PARAMETERS_MAX pairs; the request line bounds the bytes. One thread at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define PARAMETERS_MAX 64 /* our widest query has about 15 */

struct parameters {
	char *text; /* the decoded pairs, each string with its NUL */
	struct {
		const char *key, *value;
	} pairs[PARAMETERS_MAX];
	size_t count;
};

/* False, and empty, when an escape is malformed or NUL, or there are too many pairs. */
bool parameters_init(struct parameters *parameters, const char *raw);
void parameters_done(struct parameters *parameters);

/* Decodes in place the `size` bytes at text, which gets a NUL and so needs room for it; a space
 * for each '+' if asked. Returns the new length, or -1 for a malformed or NUL escape. */
long percent_decode(char *text, size_t size, bool plus_is_space);
