/* A heap at fixed addresses: blocks that do not overlap, zeros that are zeros, ranges that hold all
 * of it, and a copy that another process goes on with. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/heap.h"

enum { NUMBER = 3, BLOCKS = 600, STEPS = 8000, SEEDS = 4 };

struct block {
	uint8_t *memory;
	size_t bytes;
	uint64_t pattern;
};

/* What the heap should hold, outside of it. */
struct shadow {
	struct heap *heap;
	struct block blocks[BLOCKS];
	size_t live;
	uint64_t seed;
};

static uint64_t drawn(struct shadow *shadow)
{
	shadow->seed += 0x9e3779b97f4a7c15ULL;
	return hash_mix(shadow->seed);
}

/* Small ones most often, some of a few chunks, few of a megabyte and more. */
static size_t size_drawn(struct shadow *shadow)
{
	uint64_t kind = drawn(shadow) % 100, value = drawn(shadow);

	if (kind < 70)
		return 1 + value % 600;
	if (kind < 90)
		return 1 + value % 70000;
	return 1 + value % (kind < 97 ? 700000 : 3000000);
}

static uint8_t byte_of(const struct block *block, size_t at)
{
	return (uint8_t)(block->pattern >> at % 8 * 8) ^ (uint8_t)(at >> 8);
}

/* The edges, and a sample of what is between: a block that overlaps another spoils one of them. */
static size_t step_of(const struct block *block)
{
	return block->bytes < 4096 ? 1 : 509;
}

static void fill(struct shadow *shadow, struct block *block)
{
	block->pattern = drawn(shadow);
	for (size_t at = 0; at < block->bytes; at += step_of(block))
		block->memory[at] = byte_of(block, at);
	block->memory[block->bytes - 1] = byte_of(block, block->bytes - 1);
}

static bool intact_up_to(const struct block *block, const uint8_t *memory, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += step_of(block))
		if (memory[at] != byte_of(block, at))
			return false;
	return bytes < block->bytes || memory[bytes - 1] == byte_of(block, bytes - 1);
}

static bool intact(const struct block *block)
{
	return intact_up_to(block, block->memory, block->bytes);
}

static bool all_zero(const uint8_t *memory, size_t bytes)
{
	return memory[0] == 0 && memcmp(memory, memory + 1, bytes - 1) == 0;
}

static bool take(struct shadow *shadow)
{
	struct block *block = &shadow->blocks[shadow->live];
	bool zeroed = drawn(shadow) % 2;

	block->bytes = size_drawn(shadow);
	block->memory = heap_take(shadow->heap, block->bytes, zeroed);
	if (!block->memory || (uintptr_t)block->memory % 16 ||
	    heap_of(block->memory) != shadow->heap)
		return false;
	if (block->bytes > 32768 && (uintptr_t)block->memory % HEAP_CHUNK)
		return false;
	if (zeroed && !all_zero(block->memory, block->bytes))
		return false;
	shadow->live++;
	fill(shadow, block);
	return true;
}

static bool resize(struct shadow *shadow, size_t which)
{
	struct block *block = &shadow->blocks[which];
	size_t bytes = drawn(shadow) % 4 ? size_drawn(shadow) : block->bytes * 2;
	uint8_t *memory = heap_resize(shadow->heap, block->memory, bytes);

	if (!memory || (uintptr_t)memory % 16 ||
	    !intact_up_to(block, memory, bytes < block->bytes ? bytes : block->bytes))
		return false;
	block->memory = memory;
	block->bytes = bytes;
	fill(shadow, block);
	return true;
}

static bool give(struct shadow *shadow, size_t which)
{
	struct block *block = &shadow->blocks[which];
	bool was = intact(block);

	heap_give(shadow->heap, block->memory);
	*block = shadow->blocks[--shadow->live];
	return was;
}

/* More is taken than given for a while, then the other way round, so that runs merge. */
static bool work(struct shadow *shadow, size_t steps)
{
	for (size_t i = 0; i < steps; i++) {
		bool grow = i / 1500 % 2 == 0;
		uint64_t kind = drawn(shadow) % 10;
		size_t which = shadow->live ? drawn(shadow) % shadow->live : 0;
		bool ok;

		if (shadow->live == 0 || (shadow->live < BLOCKS && kind < (grow ? 6 : 3)))
			ok = take(shadow);
		else if (kind < 7)
			ok = resize(shadow, which);
		else
			ok = give(shadow, which);
		if (!ok) {
			fprintf(stderr, "step %zu\n", i);
			return false;
		}
	}
	return true;
}

static bool all_intact(const struct shadow *shadow)
{
	for (size_t i = 0; i < shadow->live; i++)
		if (!intact(&shadow->blocks[i]))
			return false;
	return true;
}

/* Whether the ranges that would be saved hold every block whole. */
static bool ranges_hold(const struct shadow *shadow)
{
	static bool held[BLOCKS];
	uint64_t offset = 0, last = 0;
	size_t length, found = 0;

	memset(held, 0, sizeof(held));
	while ((length = heap_range(shadow->heap, &offset)) != 0) {
		const uint8_t *begin = (const uint8_t *)shadow->heap + offset;

		if (offset < last || (offset && !heap_holds(shadow->heap, offset, length)))
			return false;
		for (size_t i = 0; i < shadow->live; i++) {
			const struct block *block = &shadow->blocks[i];

			if (!held[i] && block->memory >= begin &&
			    block->memory + block->bytes <= begin + length)
				found += held[i] = true;
		}
		last = offset += length;
	}
	return found == shadow->live;
}

static void blocks_keep_what_was_written_to_them(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		static struct shadow shadow;

		shadow = (struct shadow){.heap = heap_new(NUMBER), .seed = seed};
		assert_non_null(shadow.heap);
		if (!work(&shadow, STEPS) || !all_intact(&shadow) || !ranges_hold(&shadow))
			fail_msg("seed %d", (int)seed);
		while (shadow.live)
			assert_true(give(&shadow, shadow.live - 1));
		assert_int_equal(heap_bytes(shadow.heap), 0);
		heap_free(shadow.heap);
	}
}

static void the_same_calls_give_the_same_addresses(void **state)
{
	static struct shadow first, second;

	(void)state;
	first = (struct shadow){.heap = heap_new(NUMBER), .seed = 9};
	assert_true(work(&first, 5000));
	heap_free(first.heap);
	second = (struct shadow){.heap = heap_new(NUMBER), .seed = 9};
	assert_true(work(&second, 5000));
	assert_int_equal(first.live, second.live);
	for (size_t i = 0; i < first.live; i++)
		assert_ptr_equal(first.blocks[i].memory, second.blocks[i].memory);
	heap_free(second.heap);
}

static void memory_that_was_used_before_comes_back_as_zeros(void **state)
{
	/* Of one chunk, of a run that is kept, and of one that is given back to the kernel. */
	static const size_t sizes[] = {24, 30000, 200000, 5000000};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct heap *heap = heap_new(NUMBER);
		uint8_t *block = heap_take(heap, sizes[i], false), *again;

		heap_take(heap, sizes[i], false); /* or it would be the top's again */
		memset(block, 0xa5, sizes[i]);
		heap_give(heap, block);
		again = heap_take(heap, sizes[i], true);
		assert_ptr_equal(again, block);
		assert_true(all_zero(again, sizes[i]));
		heap_free(heap);
	}
}

static void a_run_of_clean_and_used_memory_is_not_taken_for_zeros(void **state)
{
	struct heap *heap = heap_new(NUMBER);
	uint8_t *large = heap_take(heap, 4 << 20, false), *small = heap_take(heap, 100000, false);
	uint8_t *fence = heap_take(heap, 100000, false), *both;

	(void)state;
	memset(small, 0xa5, 100000);
	heap_give(heap, large); /* purged: zeros */
	heap_give(heap, small); /* merged with it: not */
	both = heap_take(heap, (4 << 20) + 100000, true);
	assert_ptr_equal(both, large);
	assert_true(all_zero(both, (4 << 20) + 100000));
	heap_give(heap, both);
	heap_give(heap, fence);
	heap_free(heap);
}

static void what_is_given_back_is_used_again(void **state)
{
	struct heap *heap = heap_new(NUMBER);
	uint8_t *first = NULL;

	(void)state;
	for (int i = 0; i < 2000; i++) {
		uint8_t *block = heap_take(heap, 1 << 20, false);

		assert_non_null(block);
		first = first ? first : block;
		assert_ptr_equal(block, first);
		block[0] = 1;
		heap_give(heap, block);
	}
	heap_free(heap);
}

static void a_heap_that_is_full_says_so_and_stays_usable(void **state)
{
	struct heap *heap = heap_new(NUMBER);
	uint8_t *small = heap_take(heap, 100, true);

	(void)state;
	errno = 0;
	assert_null(heap_take(heap, HEAP_BYTES_MAX, false));
	assert_int_equal(errno, ENOMEM);
	assert_null(heap_take(heap, SIZE_MAX, false));
	assert_null(heap_take(heap, (size_t)1 << 63, true));
	errno = 0;
	assert_null(heap_resize(heap, small, HEAP_BYTES_MAX * 2));
	assert_int_equal(errno, ENOMEM);
	small[99] = 7;
	assert_non_null(heap_take(heap, 1 << 20, true));
	heap_give(heap, small);
	heap_free(heap);
}

/* As where a limit holds the process: the kernel refuses the pages. */
static void a_process_without_memory_gets_null(void **state)
{
	pid_t child = fork();
	int status;

	(void)state;
	if (child == 0) {
		struct heap *heap = heap_new(NUMBER);
		struct rlimit limit = {0, 0};
		size_t taken = 0;

		/* Pages that can be written count as data; those that are mapped already may stay.
		 */
		if (!heap || setrlimit(RLIMIT_DATA, &limit))
			_exit(2);
		errno = 0;
		while (heap_take(heap, 1 << 20, false) && taken < 100)
			taken++;
		_exit(taken < 100 && errno == ENOMEM && heap_take(heap, 16, true) ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void two_heaps_have_their_own_addresses(void **state)
{
	struct heap *one = heap_new(0), *last = heap_new(HEAP_NUMBERS - 1);
	int outside;

	(void)state;
	assert_non_null(one);
	assert_non_null(last);
	errno = 0;
	assert_null(heap_new(0));
	assert_int_equal(errno, EEXIST);
	assert_ptr_equal(heap_of(heap_take(one, 1, false)), one);
	assert_ptr_equal(heap_of(heap_take(last, 1 << 20, false)), last);
	assert_null(heap_of(&outside));
	assert_null(heap_of(NULL));
	assert_null(heap_of((const void *)(uintptr_t)(HEAP_BASE - 1)));
	assert_null(heap_of((const void *)(uintptr_t)(HEAP_BASE + HEAP_NUMBERS * HEAP_BYTES_MAX)));
	heap_free(one);
	one = heap_new(0);
	assert_non_null(one);
	heap_free(one);
	heap_free(last);
}

/* --- another process goes on with it --- */

struct range {
	uint64_t offset;
	size_t length;
};

static int save(const struct heap *heap)
{
	int file = memfd_create("heap", 0);
	struct range range = {0};

	assert_true(file >= 0);
	while ((range.length = heap_range(heap, &range.offset)) != 0) {
		assert_int_equal(write(file, &range, sizeof(range)), sizeof(range));
		assert_int_equal(write(file, (const uint8_t *)heap + range.offset, range.length),
				 range.length);
		range.offset += range.length;
	}
	assert_int_equal(lseek(file, 0, SEEK_SET), 0);
	return file;
}

static struct heap *restore(int file)
{
	struct heap *heap = heap_new(NUMBER);
	struct range range;

	while (heap && read(file, &range, sizeof(range)) == sizeof(range)) {
		if (range.offset && !heap_holds(heap, range.offset, range.length))
			return NULL;
		if (read(file, (uint8_t *)heap + range.offset, range.length) !=
		    (ssize_t)range.length)
			return NULL;
		if (range.offset == 0 && heap_adopt(heap, NUMBER))
			return NULL;
	}
	return heap;
}

static void another_process_finds_the_same_and_goes_on_as_the_first_would(void **state)
{
	static struct shadow shadow;
	struct block(*end)[BLOCKS] =
		mmap(NULL, sizeof(*end), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int file, status;
	size_t used;
	pid_t child;

	(void)state;
	shadow = (struct shadow){.heap = heap_new(NUMBER), .seed = 77};
	assert_true(work(&shadow, STEPS));
	heap_set_root(shadow.heap, shadow.blocks[0].memory);
	file = save(shadow.heap);
	used = heap_bytes(shadow.heap);
	child = fork();
	if (child == 0) {
		heap_free(shadow.heap);
		if (restore(file) != shadow.heap || !all_intact(&shadow))
			_exit(1);
		if (heap_root(shadow.heap) != shadow.blocks[0].memory ||
		    heap_bytes(shadow.heap) != used || !ranges_hold(&shadow))
			_exit(2);
		if (!work(&shadow, STEPS) || !all_intact(&shadow))
			_exit(3);
		memcpy(*end, shadow.blocks, sizeof(*end));
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	/* What the first does from here on is the same, address for address. */
	assert_true(work(&shadow, STEPS));
	for (size_t i = 0; i < shadow.live; i++)
		assert_ptr_equal(shadow.blocks[i].memory, (*end)[i].memory);
	munmap(end, sizeof(*end));
	close(file);
	heap_free(shadow.heap);
}

static void a_head_that_is_none_of_this_heap_is_refused(void **state)
{
	struct heap *heap = heap_new(NUMBER);
	uint64_t words[4];

	(void)state;
	assert_int_equal(heap_adopt(heap, NUMBER), 0);
	assert_int_equal(heap_adopt(heap, NUMBER + 1), -EINVAL);
	memcpy(words, heap, sizeof(words)); /* magic, number and top, bytes mapped */
	for (size_t bit = 0; bit < 64; bit++) {
		uint64_t damaged = words[0] ^ 1ULL << bit;

		memcpy(heap, &damaged, sizeof(damaged));
		assert_int_equal(heap_adopt(heap, NUMBER), -EINVAL);
	}
	memcpy(heap, words, sizeof(words));
	for (uint64_t top = 0; top < UINT32_MAX; top = top * 2 + 1) {
		uint64_t damaged[] = {words[0], NUMBER | top << 32, words[2]};
		bool possible = top << 16 <= words[2] && top > HEAP_HEAD_MAX >> 16;

		memcpy(heap, damaged, sizeof(damaged));
		if (!possible)
			assert_int_equal(heap_adopt(heap, NUMBER), -EINVAL);
	}
	for (uint64_t mapped = HEAP_BYTES_MAX + 1; mapped; mapped *= 2) {
		uint64_t damaged[] = {words[0], words[1], mapped};

		memcpy(heap, damaged, sizeof(damaged));
		assert_int_equal(heap_adopt(heap, NUMBER), -EINVAL);
		mapped &= ~1ULL;
	}
	memcpy(heap, words, sizeof(words));
	assert_int_equal(heap_adopt(heap, NUMBER), 0);
	heap_free(heap);
}

static void only_what_is_below_the_top_is_held(void **state)
{
	struct heap *heap = heap_new(NUMBER);
	uint8_t *block = heap_take(heap, 3 * HEAP_CHUNK, false);
	uint64_t offset = (uint64_t)(block - (uint8_t *)heap);

	(void)state;
	assert_true(heap_holds(heap, offset, 3 * HEAP_CHUNK));
	assert_false(heap_holds(heap, offset, 3 * HEAP_CHUNK + 1));
	assert_false(heap_holds(heap, offset - 1, 1)); /* the head's */
	assert_false(heap_holds(heap, 0, 1));
	assert_false(heap_holds(heap, UINT64_MAX - 10, 100));
	assert_false(heap_holds(heap, offset, SIZE_MAX));
	heap_free(heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_keep_what_was_written_to_them),
		cmocka_unit_test(the_same_calls_give_the_same_addresses),
		cmocka_unit_test(memory_that_was_used_before_comes_back_as_zeros),
		cmocka_unit_test(a_run_of_clean_and_used_memory_is_not_taken_for_zeros),
		cmocka_unit_test(what_is_given_back_is_used_again),
		cmocka_unit_test(a_heap_that_is_full_says_so_and_stays_usable),
		cmocka_unit_test(a_process_without_memory_gets_null),
		cmocka_unit_test(two_heaps_have_their_own_addresses),
		cmocka_unit_test(another_process_finds_the_same_and_goes_on_as_the_first_would),
		cmocka_unit_test(a_head_that_is_none_of_this_heap_is_refused),
		cmocka_unit_test(only_what_is_below_the_top_is_held),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
