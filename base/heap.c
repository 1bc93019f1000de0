#include "base/heap.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define MAGIC	   0x7061656864657461ULL
#define PAGE_BYTES 4096U

enum {
	SMALL_MAX = 32768,
	CLASSES = 40, /* 16 to 64 in steps of 16, then four a doubling */
	BINS = 21,    /* free runs by the bits of their length */
	CHUNKS_MAX = (int)(HEAP_BYTES_MAX / HEAP_CHUNK),
	PURGE_CHUNKS = 16, /* free runs from 1 MiB on are given back to the kernel */
	GROW_BYTES = 16 << 20,
	NO_CHUNK = 0, /* the first chunk is the head's, so never anybody's */
};

enum kind {
	KIND_NONE, /* beyond the top, or within a run */
	KIND_FREE,
	KIND_RUN,
	KIND_SMALL,
	KIND_HEAD,
};

/* What a chunk is; of a run its first chunk says it, of a free one its last says the length too. */
struct chunk {
	uint32_t length;     /* of its run */
	uint32_t next, prev; /* of a free run: in its bin */
	uint8_t kind;
	uint8_t class;
	bool zero; /* of a free run */
};

_Static_assert(sizeof(struct chunk) == 16, "the chunk table is 16 MiB of addresses a heap");

struct heap {
	uint64_t magic;
	uint32_t number;
	uint32_t top; /* chunks in use so far; beyond it none was ever touched */
	uint64_t mapped;
	uint64_t used;
	void *root;
	void *free[CLASSES];	 /* small blocks, each points to the next */
	uint8_t *fresh[CLASSES]; /* of the newest chunk: not yet cut */
	uint8_t *fresh_end[CLASSES];
	uint32_t bins[BINS];
	struct chunk chunks[CHUNKS_MAX];
};

enum { HEAD_CHUNKS = (sizeof(struct heap) + HEAP_CHUNK - 1) / HEAP_CHUNK };

_Static_assert(sizeof(struct heap) + PAGE_BYTES <= HEAP_HEAD_MAX,
	       "the first range is a part of it");

static uint8_t *address(struct heap *heap, uint32_t chunk)
{
	return (uint8_t *)heap + (uint64_t)chunk * HEAP_CHUNK;
}

static uint32_t chunk_of(const struct heap *heap, const void *memory)
{
	return (uint32_t)((uint64_t)((const uint8_t *)memory - (const uint8_t *)heap) / HEAP_CHUNK);
}

/* --- the range --- */

static uint64_t rounded(uint64_t value, uint64_t to)
{
	return (value + to - 1) / to * to;
}

static bool map_up_to(struct heap *heap, uint64_t mapped, uint64_t bytes)
{
	uint64_t wanted = rounded(bytes, GROW_BYTES);

	if (wanted > HEAP_BYTES_MAX)
		wanted = HEAP_BYTES_MAX;
	if (bytes > wanted)
		return false;
	if (mprotect((uint8_t *)heap + mapped, wanted - mapped, PROT_READ | PROT_WRITE))
		return false;
	heap->mapped = wanted;
	return true;
}

struct heap *heap_new(uint32_t number)
{
	void *wanted = (void *)(uintptr_t)(HEAP_BASE + number * HEAP_BYTES_MAX);
	struct heap *heap;

	assert(number < HEAP_NUMBERS);
	/* Addresses alone: they become memory as the heap grows. */
	heap = mmap(wanted, HEAP_BYTES_MAX, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (heap == MAP_FAILED)
		return NULL;
	if (heap != wanted || !map_up_to(heap, 0, (uint64_t)HEAD_CHUNKS * HEAP_CHUNK)) {
		munmap(heap, HEAP_BYTES_MAX);
		errno = heap != wanted ? EEXIST : ENOMEM;
		return NULL;
	}
	heap->magic = MAGIC;
	heap->number = number;
	heap->top = HEAD_CHUNKS;
	heap->chunks[0] = (struct chunk){.length = HEAD_CHUNKS, .kind = KIND_HEAD};
	return heap;
}

void heap_free(struct heap *heap)
{
	munmap(heap, HEAP_BYTES_MAX);
}

/* --- runs of chunks --- */

static uint32_t bin_of(uint32_t length)
{
	return 31 - (uint32_t)__builtin_clz(length);
}

static void bin_put(struct heap *heap, uint32_t at, uint32_t length, bool zero)
{
	uint32_t *first = &heap->bins[bin_of(length)];

	heap->chunks[at + length - 1] = (struct chunk){.length = length, .kind = KIND_FREE};
	heap->chunks[at] =
		(struct chunk){.length = length, .next = *first, .kind = KIND_FREE, .zero = zero};
	if (*first != NO_CHUNK)
		heap->chunks[*first].prev = at;
	*first = at;
}

static void bin_drop(struct heap *heap, uint32_t at)
{
	struct chunk *chunk = &heap->chunks[at];

	if (chunk->prev != NO_CHUNK)
		heap->chunks[chunk->prev].next = chunk->next;
	else
		heap->bins[bin_of(chunk->length)] = chunk->next;
	if (chunk->next != NO_CHUNK)
		heap->chunks[chunk->next].prev = chunk->prev;
	heap->chunks[at + chunk->length - 1].kind = KIND_NONE;
	chunk->kind = KIND_NONE;
}

/* A free run of at least this length: the bin of the same bits may hold shorter ones. */
static uint32_t bin_find(const struct heap *heap, uint32_t length)
{
	for (uint32_t bin = bin_of(length); bin < BINS; bin++) {
		uint32_t at = heap->bins[bin];

		while (at != NO_CHUNK && heap->chunks[at].length < length)
			at = heap->chunks[at].next;
		if (at != NO_CHUNK)
			return at;
	}
	return NO_CHUNK;
}

static void run_set(struct heap *heap, uint32_t at, uint32_t length)
{
	heap->chunks[at] = (struct chunk){.length = length, .kind = KIND_RUN};
}

static uint32_t run_at_top(struct heap *heap, uint32_t length)
{
	uint32_t at = heap->top;
	uint64_t end = ((uint64_t)at + length) * HEAP_CHUNK;

	if (end > HEAP_BYTES_MAX || (end > heap->mapped && !map_up_to(heap, heap->mapped, end))) {
		errno = ENOMEM;
		return NO_CHUNK;
	}
	heap->top += length;
	run_set(heap, at, length);
	return at;
}

static uint32_t run_take(struct heap *heap, uint32_t length, bool *zero)
{
	uint32_t at = bin_find(heap, length), whole;

	*zero = true; /* nobody was there */
	if (at == NO_CHUNK)
		return run_at_top(heap, length);
	*zero = heap->chunks[at].zero;
	whole = heap->chunks[at].length;
	bin_drop(heap, at);
	if (whole > length)
		bin_put(heap, at + length, whole - length, *zero);
	run_set(heap, at, length);
	return at;
}

static void run_give(struct heap *heap, uint32_t at, uint32_t length)
{
	bool zero = length >= PURGE_CHUNKS &&
		    madvise(address(heap, at), (size_t)length * HEAP_CHUNK, MADV_DONTNEED) == 0;
	uint32_t after = at + length;

	if (after < heap->top && heap->chunks[after].kind == KIND_FREE) {
		zero &= heap->chunks[after].zero;
		length += heap->chunks[after].length;
		bin_drop(heap, after);
	}
	if (heap->chunks[at - 1].kind == KIND_FREE) {
		uint32_t before = at - heap->chunks[at - 1].length;

		zero &= heap->chunks[before].zero;
		length += heap->chunks[before].length;
		bin_drop(heap, before);
		at = before;
	}
	bin_put(heap, at, length, zero);
}

/* --- small blocks --- */

static uint32_t class_of(size_t bytes)
{
	if (bytes <= 64)
		return bytes ? (uint32_t)((bytes - 1) / 16) : 0;

	uint32_t bits = 63 - (uint32_t)__builtin_clzll(bytes - 1);

	return 4 + (bits - 6) * 4 + (uint32_t)((bytes - 1) >> (bits - 2) & 3);
}

static size_t class_bytes(uint32_t class)
{
	if (class < 4)
		return (class + 1) * 16UL;

	uint32_t bits = 6 + (class - 4) / 4;

	return (4UL + (class - 4) % 4 + 1) << (bits - 2);
}

static void *small_fresh(struct heap *heap, uint32_t class)
{
	size_t bytes = class_bytes(class);
	uint8_t *block = heap->fresh[class];

	if (!block || (size_t)(heap->fresh_end[class] - block) < bytes) {
		bool zero;
		uint32_t at = run_take(heap, 1, &zero);

		if (at == NO_CHUNK)
			return NULL;
		heap->chunks[at].kind = KIND_SMALL;
		heap->chunks[at].class = (uint8_t) class;
		block = address(heap, at);
		heap->fresh_end[class] = block + HEAP_CHUNK;
	}
	heap->fresh[class] = block + bytes;
	return block;
}

static void *small_take(struct heap *heap, uint32_t class)
{
	void **block = heap->free[class];

	if (!block)
		return small_fresh(heap, class);
	heap->free[class] = *block;
	return block;
}

/* --- blocks --- */

static uint32_t chunks_for(size_t bytes)
{
	return bytes > HEAP_BYTES_MAX ? CHUNKS_MAX
				      : (uint32_t)((bytes + HEAP_CHUNK - 1) / HEAP_CHUNK);
}

static void *large_take(struct heap *heap, size_t bytes, bool zeroed)
{
	uint32_t length = chunks_for(bytes);
	bool zero;
	uint32_t at = run_take(heap, length, &zero);

	if (at == NO_CHUNK)
		return NULL;
	if (zeroed && !zero)
		memset(address(heap, at), 0, bytes);
	heap->used += (uint64_t)length * HEAP_CHUNK;
	return address(heap, at);
}

void *heap_take(struct heap *heap, size_t bytes, bool zeroed)
{
	uint32_t class;
	void *block;

	if (bytes > SMALL_MAX)
		return large_take(heap, bytes, zeroed);
	class = class_of(bytes);
	block = small_take(heap, class);
	if (!block)
		return NULL;
	heap->used += class_bytes(class);
	if (zeroed)
		memset(block, 0, bytes);
	return block;
}

void heap_give(struct heap *heap, void *memory)
{
	uint32_t at = chunk_of(heap, memory);
	struct chunk *chunk = &heap->chunks[at];

	assert(chunk->kind == KIND_SMALL || chunk->kind == KIND_RUN);
	if (chunk->kind == KIND_SMALL) {
		heap->used -= class_bytes(chunk->class);
		*(void **)memory = heap->free[chunk->class];
		heap->free[chunk->class] = memory;
		return;
	}
	heap->used -= (uint64_t)chunk->length * HEAP_CHUNK;
	run_give(heap, at, chunk->length);
}

/* Whether the run could be made as long where it is. */
static bool run_stretch(struct heap *heap, uint32_t at, uint32_t length)
{
	uint32_t old = heap->chunks[at].length, after = at + old;

	if (length > old && after == heap->top) {
		if (run_at_top(heap, length - old) == NO_CHUNK)
			return false;
		heap->chunks[after].kind = KIND_NONE;
	} else if (length > old) {
		uint32_t whole = heap->chunks[after].length;
		bool zero = heap->chunks[after].zero;

		if (heap->chunks[after].kind != KIND_FREE || whole < length - old)
			return false;
		bin_drop(heap, after);
		if (whole > length - old)
			bin_put(heap, at + length, whole - (length - old), zero);
	}
	heap->chunks[at].length = length;
	if (length < old)
		run_give(heap, at + length, old - length);
	heap->used += (uint64_t)length * HEAP_CHUNK - (uint64_t)old * HEAP_CHUNK;
	return true;
}

void *heap_resize(struct heap *heap, void *memory, size_t bytes)
{
	uint32_t at = chunk_of(heap, memory);
	const struct chunk *chunk = &heap->chunks[at];
	size_t old;
	void *moved;

	assert(chunk->kind == KIND_SMALL || chunk->kind == KIND_RUN);
	if (chunk->kind == KIND_SMALL) {
		old = class_bytes(chunk->class);
		if (bytes <= SMALL_MAX && class_of(bytes) == chunk->class)
			return memory;
	} else {
		old = (size_t)chunk->length * HEAP_CHUNK;
		if (bytes > SMALL_MAX && run_stretch(heap, at, chunks_for(bytes)))
			return memory;
	}
	moved = heap_take(heap, bytes, false);
	if (!moved)
		return NULL;
	memcpy(moved, memory, old < bytes ? old : bytes);
	heap_give(heap, memory);
	return moved;
}

void heap_set_root(struct heap *heap, void *root)
{
	heap->root = root;
}

void *heap_root(const struct heap *heap)
{
	return heap->root;
}

size_t heap_bytes(const struct heap *heap)
{
	return heap->used;
}

/* --- for who saves it --- */

static size_t head_bytes(uint32_t top)
{
	return rounded(offsetof(struct heap, chunks) + (uint64_t)top * sizeof(struct chunk),
		       PAGE_BYTES);
}

size_t heap_range(const struct heap *heap, uint64_t *offset)
{
	uint32_t at, end;

	if (*offset == 0)
		return head_bytes(heap->top);
	at = *offset < (uint64_t)HEAD_CHUNKS * HEAP_CHUNK ? (uint32_t)HEAD_CHUNKS
							  : (uint32_t)(*offset / HEAP_CHUNK);
	while (at < heap->top && heap->chunks[at].kind == KIND_FREE)
		at += heap->chunks[at].length;
	for (end = at; end < heap->top && heap->chunks[end].kind != KIND_FREE;)
		end += heap->chunks[end].length;
	*offset = (uint64_t)at * HEAP_CHUNK;
	return (size_t)(end - at) * HEAP_CHUNK;
}

int heap_adopt(struct heap *heap, uint32_t number)
{
	uint64_t mapped = heap->mapped;

	if (heap->magic != MAGIC || heap->number != number || heap->top < HEAD_CHUNKS ||
	    heap->top > CHUNKS_MAX || mapped < (uint64_t)heap->top * HEAP_CHUNK ||
	    mapped > HEAP_BYTES_MAX)
		return -EINVAL;
	return map_up_to(heap, 0, mapped) ? 0 : -ENOMEM;
}

bool heap_holds(const struct heap *heap, uint64_t offset, size_t length)
{
	uint64_t end;

	return !__builtin_add_overflow(offset, length, &end) &&
	       offset >= (uint64_t)HEAD_CHUNKS * HEAP_CHUNK &&
	       end <= (uint64_t)heap->top * HEAP_CHUNK;
}
