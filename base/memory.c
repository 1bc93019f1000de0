#include "base/memory.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static _Noreturn void memory_exhausted(size_t count, size_t size)
{
	fprintf(stderr, "millrace: out of memory: %zu elements of %zu bytes\n", count, size);
	abort();
}

void *memory_zeroed(size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size ? size : 1);
	if (!memory)
		memory_exhausted(count, size);
	return memory;
}

void *memory_resize(void *memory, size_t count, size_t size)
{
	size_t bytes;
	if (__builtin_mul_overflow(count, size, &bytes))
		memory_exhausted(count, size);
	void *resized = realloc(memory, bytes ? bytes : 1);
	if (!resized)
		memory_exhausted(count, size);
	return resized;
}

size_t memory_grown(size_t capacity, size_t needed)
{
	size_t grown = capacity < 16 ? 16 : capacity;
	while (grown < needed)
		grown = grown > SIZE_MAX / 2 ? needed : grown * 2;
	return grown;
}
