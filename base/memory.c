#include "base/memory.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/heap.h"

static _Thread_local struct heap *used;

static _Noreturn void memory_exhausted(size_t count, size_t size)
{
	fprintf(stderr, "millrace: out of memory: %zu elements of %zu bytes\n", count, size);
	abort();
}

static size_t product(size_t count, size_t size)
{
	size_t bytes;
	if (__builtin_mul_overflow(count, size, &bytes))
		memory_exhausted(count, size);
	return bytes ? bytes : 1;
}

void *memory_zeroed(size_t count, size_t size)
{
	size_t bytes = product(count, size);
	void *memory = used ? heap_take(used, bytes, true) : calloc(1, bytes);
	if (!memory)
		memory_exhausted(count, size);
	return memory;
}

static void *resized(void *memory, size_t bytes)
{
	struct heap *heap = memory ? heap_of(memory) : used;
	if (!heap)
		return realloc(memory, bytes);
	return memory ? heap_resize(heap, memory, bytes) : heap_take(heap, bytes, false);
}

void *memory_resize(void *memory, size_t count, size_t size)
{
	void *after = resized(memory, product(count, size));
	if (!after)
		memory_exhausted(count, size);
	return after;
}

void memory_free(void *memory)
{
	struct heap *heap = heap_of(memory);
	if (heap)
		heap_give(heap, memory);
	else
		free(memory);
}

size_t memory_grown(size_t capacity, size_t needed)
{
	size_t grown = capacity < 16 ? 16 : capacity;
	while (grown < needed)
		grown = grown > SIZE_MAX / 2 ? needed : grown * 2;
	return grown;
}

struct heap *memory_use(struct heap *heap)
{
	struct heap *former = used;
	used = heap;
	return former;
}
