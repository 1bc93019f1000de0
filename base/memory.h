/* Memory that is there or the process ends: running out is not an error that stages handle (the log
 * holds what we had). Sizes are products so that an overflow is caught here. Any thread; release
 * with free(). */
#pragma once

#include <stddef.h>

/* Zeroed; count or size 0 gives a pointer that may only be freed. */
void *memory_zeroed(size_t count, size_t size);

/* Room for count elements, the first ones kept, new ones not set. memory may be NULL. */
void *memory_resize(void *memory, size_t count, size_t size);

/* The next capacity of an array that must hold `needed`: doubled from the present one, 16 at least.
 */
size_t memory_grown(size_t capacity, size_t needed);
