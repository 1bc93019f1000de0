/* Times as people and programs write them in files, always UTC unless an offset stands there:
 * a number of seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by its
 * size; YYYY-MM-DD or YYYY/MM/DD, alone or with [T or space] HH:MM[:SS[.fraction]][Z or +HH:MM];
 * M/D/YYYY, the month first, likewise. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* False if the text is no such time, or one before 1678 or after 2261. */
bool timestamp_read(const char *text, int64_t *time_ns);
