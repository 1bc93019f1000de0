/* How much memory this process has: jemalloc's stats.allocated, and the kernel's resident set. */
#pragma once

#include <stdint.h>

uint64_t heap_allocated(void);
uint64_t heap_resident(void);
