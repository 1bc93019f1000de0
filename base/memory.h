/* Memory that is there or the process ends: running out is not an error that stages handle (the log
 * holds what we had). Sizes are products so that an overflow is caught here.
 *
 * It comes from the heap that the thread uses at the moment, or else from the C library. Whoever
 * keeps its state in a heap uses it while it works, and not while it calls or makes what goes to
 * others. Resizing and freeing find out by themselves where memory came from; where no heap is
 * used, free() does as well. Any thread. */
#pragma once

#include <stddef.h>

struct heap;

/* Zeroed; count or size 0 gives a pointer that may only be freed. */
void *memory_zeroed(size_t count, size_t size);

/* Room for count elements, the first ones kept, new ones not set. memory may be NULL. */
void *memory_resize(void *memory, size_t count, size_t size);

/* memory may be NULL. */
void memory_free(void *memory);

/* The next capacity of an array that must hold `needed`: doubled from the present one, 16 at least.
 */
size_t memory_grown(size_t capacity, size_t needed);

/* What this thread asks from now on: heap, or the C library if NULL. Returns what it was. */
struct heap *memory_use(struct heap *heap);
