/* Which known name someone may have meant. */
#pragma once

#include <stddef.h>

enum { NEAREST_MAX_BYTES = 128 }; /* a longer name is near to nothing */

/* The name with the fewest letters to change, add or drop, if those are at most a third of the
 * written one's, but always one; the first of equals. NULL: none. */
const char *nearest_of(const char *const *names, size_t count, const char *written);
