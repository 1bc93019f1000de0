/* Foreign bytes (command lines, cgroup names, labels) made fit for a protobuf string. Pure; any
 * thread. */
#pragma once

#include <stddef.h>

/* Copies at most size - 1 bytes, NUL-terminated: NUL bytes inside become spaces, control characters
 * and what is no UTF-8 (RFC 3629) become '?', trailing spaces go, and a character is never cut in
 * two. Returns the length. */
size_t text_clean(char *to, size_t size, const char *bytes, size_t length);
