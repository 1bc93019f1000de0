/* How much memory this process has, as the kernel says. */
#pragma once

#include <stdint.h>

uint64_t heap_resident(void);
uint64_t heap_of_tasks(void); /* in the heaps of tasks (base/heap.h) alone */
/* Gives what jemalloc holds free back to the kernel, so that the resident set is what is in use. */
void heap_purge(void);
