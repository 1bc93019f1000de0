/* Patterns that people write to name several things at once. Pure; any thread. */
#pragma once

#include <stdbool.h>

/* '*' is any text, '?' any one byte. Linear in the text for each '*'. */
bool glob_match(const char *pattern, const char *text);
