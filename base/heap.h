/* A heap whose every byte lies in one range of addresses, the same in every process: what is in it
 * may be written to a file as it is and read back later, pointers and all. Pipeline tasks keep
 *their state in one each, so a snapshot is a copy of memory and costs the stages nothing.
 *
 *	range | head, chunk table | chunk | chunk | chunk ... top | nothing mapped ...
 *HEAP_BYTES_MAX
 *
 * Chunks are of 64 KiB. Small blocks (up to 32 KiB) are cut from chunks of their size class; a
 *larger one is a run of chunks. Free runs are merged with their neighbours, large ones are given
 *back to the kernel. Order of calls decides addresses, nothing else. Blocks are aligned to 16
 *bytes, runs to 64 KiB. One thread at a time a heap. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAP_BASE      0x200000000000ULL /* free in every process: see heap_new */
#define HEAP_BYTES_MAX (1ULL << 36)	 /* of one heap; also how far apart they begin */
#define HEAP_HEAD_MAX  (17UL << 20)	 /* bytes of the first range, at most */

enum { HEAP_NUMBERS = 256, HEAP_CHUNK = 65536 };

struct heap;

/* The heap with this number (below HEAP_NUMBERS), empty. NULL with errno: the addresses are taken
 * (the number is in use), or the system has no such addresses. */
struct heap *heap_new(uint32_t number);
void heap_free(struct heap *heap);

/* NULL: none left (errno ENOMEM), of the range or of memory. zeroed: whether it must be. */
void *heap_take(struct heap *heap, size_t bytes, bool zeroed);
void *heap_resize(struct heap *heap, void *memory, size_t bytes);
void heap_give(struct heap *heap, void *memory);

/* One address that is kept with the heap: where what is in it begins. */
void heap_set_root(struct heap *heap, void *root);
void *heap_root(const struct heap *heap);
size_t heap_bytes(const struct heap *heap); /* of blocks in use, as rounded */

/* The heap that a block is in, or NULL: any address may be asked for. */
static inline struct heap *heap_of(const void *memory)
{
	uint64_t at = (uint64_t)(uintptr_t)memory - HEAP_BASE;
	if (at >= HEAP_NUMBERS * HEAP_BYTES_MAX)
		return NULL;
	return (struct heap *)(uintptr_t)(HEAP_BASE + at / HEAP_BYTES_MAX * HEAP_BYTES_MAX);
}

/* --- for who saves it --- */

/* The next range in use at or after *offset (from the heap's begin): its length, and *offset set to
 * its begin; 0 after the last. Whole chunks but for the first range, which is the head. */
size_t heap_range(const struct heap *heap, uint64_t *offset);

/* For who reads it back, into one just made: the first range (offset 0) is read over its head, then
 * heap_adopt checks that and makes room, then each other range that heap_holds is read to its
 * offset. 0, -EINVAL: no head of this heap, -ENOMEM. */
int heap_adopt(struct heap *heap, uint32_t number);
bool heap_holds(const struct heap *heap, uint64_t offset, size_t length);
