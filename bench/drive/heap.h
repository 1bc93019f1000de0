/* How much memory this process has: jemalloc's stats.allocated, and the kernel's resident set. */
#pragma once

#include <stdint.h>

uint64_t heap_allocated(void);
uint64_t heap_resident(void);
/* Gives what is free back to the kernel, so that the resident set is what is in use. */
void heap_purge(void);
