/* Patterns that people write to name several things at once. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* '*' is any text, '?' any one byte. Linear in the text for each '*'. */
bool glob_match(const char *pattern, const char *text);
/* The same of a pattern of so many bytes. */
bool glob_match_part(const char *pattern, size_t length, const char *text);
