/* Snapshot files: read back as they were, and refused when a byte is missing or another. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/hash.h"
#include "daemon/image.h"

enum {
	HEAPS = 2,
	NODES = 30,
	HEADER = 8 + sizeof(struct image_header), /* magic first */
	TASKS_AT = HEADER,
	PIECES_AT = TASKS_AT + HEAPS * (int)sizeof(struct image_task) + 4,
	TRUNCATIONS = 500,
	FLIPS = 1500,
};

/* A list that begins at the heap's root: bytes that follow from the seed. */
struct node {
	struct node *next;
	uint64_t seed;
	size_t bytes;
	uint8_t pattern[];
};

static struct heap *filled(uint32_t number)
{
	struct heap *heap = heap_new(number);
	struct node *first = NULL;

	assert_non_null(heap);
	for (uint64_t i = 0; i < NODES; i++) {
		uint64_t seed = hash_mix((uint64_t)number << 32 | i);
		size_t bytes = i % 13 == 9 ? 100000 + seed % 150000 : 1 + seed % 900;
		struct node *node = heap_take(heap, sizeof(*node) + bytes, i % 3 == 0);
		void *between = heap_take(heap, 1 + seed % 40000, false);

		assert_non_null(node);
		*node = (struct node){.next = first, .seed = seed, .bytes = bytes};
		/* Long stretches of zeros, which files leave out. */
		for (size_t at = 0; at < bytes; at++)
			node->pattern[at] = at / 5000 % 30 == 0 ? (uint8_t)(seed >> at % 8 * 8) : 0;
		first = node;
		heap_give(heap, between);
	}
	heap_set_root(heap, first);
	return heap;
}

static bool same(const struct heap *heap, uint32_t number)
{
	const struct node *node = heap_root(heap);

	for (uint64_t i = NODES; i-- > 0; node = node->next) {
		uint64_t seed = hash_mix((uint64_t)number << 32 | i);

		if (heap_of(node) != heap || node->seed != seed)
			return false;
		for (size_t at = 0; at < node->bytes; at++)
			if (node->pattern[at] !=
			    (at / 5000 % 30 == 0 ? (uint8_t)(seed >> at % 8 * 8) : 0))
				return false;
	}
	return node == NULL;
}

static struct image some_image(void)
{
	struct image image = {.header = {.tasks = HEAPS,
					 .shape = 0x1234,
					 .epoch = 77,
					 .pane = 4242,
					 .owned = task_set_all(HEAPS)}};

	image_build(image.header.build);
	for (uint32_t i = 0; i < HEAPS; i++)
		image.tasks[i] = (struct image_task){.next = 100 + i, .sequences = {i, 2, 3, 4}};
	return image;
}

static void make_heaps(struct heap **heaps)
{
	for (uint32_t i = 0; i < HEAPS; i++) {
		heaps[i] = heap_new(i);
		assert_non_null(heaps[i]);
	}
}

static void free_heaps(struct heap **heaps)
{
	for (uint32_t i = 0; i < HEAPS; i++)
		heap_free(heaps[i]);
}

/* The bytes of a snapshot of HEAPS heaps. */
static uint8_t *written(size_t *length)
{
	int file = memfd_create("image", 0);
	struct image image = some_image();
	struct heap *heaps[HEAPS];
	uint8_t *bytes;

	for (uint32_t i = 0; i < HEAPS; i++)
		heaps[i] = filled(i);
	assert_int_equal(image_write(file, &image, heaps), 0);
	free_heaps(heaps);
	*length = (size_t)lseek(file, 0, SEEK_CUR);
	bytes = malloc(*length);
	assert_int_equal(pread(file, bytes, *length, 0), *length);
	close(file);
	return bytes;
}

/* What reading these bytes gives. Accepted must mean as written. */
static int outcome(const uint8_t *bytes, size_t length, const char **why)
{
	static struct image image;
	int file = memfd_create("image", 0), rc;
	struct image wanted = some_image();
	struct heap *heaps[HEAPS];

	*why = NULL;
	assert_int_equal(write(file, bytes, length), length);
	assert_int_equal(lseek(file, 0, SEEK_SET), 0);
	rc = image_read_header(file, &image, why);
	if (rc == 0) {
		assert_memory_equal(&image.header, &wanted.header, sizeof(image.header));
		assert_memory_equal(image.tasks, wanted.tasks, HEAPS * sizeof(image.tasks[0]));
		make_heaps(heaps);
		rc = image_read(file, &image, &image.header.owned, heaps, why);
		for (uint32_t i = 0; i < HEAPS && rc == 0; i++)
			assert_true(same(heaps[i], i));
		free_heaps(heaps);
	}
	close(file);
	if (rc)
		assert_non_null(*why);
	return rc;
}

static void a_snapshot_is_read_back_as_it_was(void **state)
{
	const char *why;
	size_t length;
	uint8_t *bytes = written(&length);

	(void)state;
	assert_int_equal(outcome(bytes, length, &why), 0);
	assert_true(length < 1U << 20); /* zeros and what is free are not in it */
	free(bytes);
}

/* Past the kernel's cache, where this folder's file system can; in a child, as snapshots are. */
static void a_file_on_a_disk_is_the_same(void **state)
{
	char path[] = "/tmp/millrace-image-XXXXXX";
	int file = mkstemp(path), status;
	struct image image = some_image();
	struct heap *heaps[HEAPS];
	size_t length;
	uint8_t *bytes = written(&length), *second = malloc(length + 1);

	(void)state;
	unlink(path);
	for (uint32_t i = 0; i < HEAPS; i++)
		heaps[i] = filled(i);
	if (fork() == 0)
		_exit(image_write(file, &image, heaps) != 0);
	wait(&status);
	assert_int_equal(status, 0);
	free_heaps(heaps);
	assert_int_equal(fcntl(file, F_GETFL) & O_DIRECT, 0);
	assert_int_equal(pread(file, second, length + 1, 0), length);
	assert_memory_equal(second, bytes, length);
	close(file);
	free(second);
	free(bytes);
}

enum { LARGE = 64 << 20 };

/* Nothing of it is the child's own: as much memory again would be. */
static void a_child_that_writes_it_takes_no_memory_of_that_size(void **state)
{
	char path[] = "/tmp/millrace-image-XXXXXX";
	int file = mkstemp(path), status;
	struct image image = {.header = {.tasks = 1, .owned = task_set_all(1)}};
	struct heap *heap = heap_new(0);
	struct rusage usage;
	pid_t child;

	(void)state;
	unlink(path);
	memset(heap_take(heap, LARGE, false), 1, LARGE);
	child = fork();
	if (child == 0) {
		struct rusage before, after;

		getrusage(RUSAGE_SELF, &before);
		status = image_write(file, &image, &heap);
		getrusage(RUSAGE_SELF, &after);
		_exit(status != 0 || after.ru_minflt - before.ru_minflt > LARGE / 4096 / 4);
	}
	assert_int_equal(wait4(child, &status, 0, &usage), child);
	assert_int_equal(status, 0);
	heap_free(heap);
	close(file);
}

static void a_heap_that_was_read_back_is_written_the_same(void **state)
{
	int file = memfd_create("image", 0);
	struct image image = some_image();
	struct heap *heaps[HEAPS];
	const char *why = NULL;
	size_t length, again;
	uint8_t *bytes = written(&length), *second;

	(void)state;
	assert_int_equal(write(file, bytes, length), length);
	assert_int_equal(lseek(file, 0, SEEK_SET), 0);
	make_heaps(heaps);
	assert_int_equal(image_read_header(file, &image, &why), 0);
	assert_int_equal(image_read(file, &image, &image.header.owned, heaps, &why), 0);
	assert_int_equal(ftruncate(file, 0), 0);
	assert_int_equal(lseek(file, 0, SEEK_SET), 0);
	assert_int_equal(image_write(file, &image, heaps), 0);
	again = (size_t)lseek(file, 0, SEEK_CUR);
	assert_int_equal(again, length);
	second = malloc(again);
	assert_int_equal(pread(file, second, again, 0), again);
	assert_memory_equal(second, bytes, length);
	free_heaps(heaps);
	close(file);
	free(second);
	free(bytes);
}

/* The first of all, the ends, and a seeded sample of what is between. */
static size_t place_drawn(uint64_t i, size_t length)
{
	return i < (uint64_t)PIECES_AT + 100 ? i
	       : i % 4 == 0		     ? length - 1 - hash_mix(i) % 64
					     : hash_mix(i) % length;
}

static void a_file_that_ends_too_early_is_refused(void **state)
{
	const char *why;
	size_t length;
	uint8_t *bytes = written(&length);

	(void)state;
	for (uint64_t i = 0; i < TRUNCATIONS; i++) {
		size_t cut = place_drawn(i, length);

		if (outcome(bytes, cut, &why) != -EBADMSG)
			fail_msg("cut to %zu of %zu", cut, length);
	}
	free(bytes);
}

static void a_file_with_another_bit_is_refused(void **state)
{
	const char *why;
	size_t length;
	uint8_t *bytes = written(&length);

	(void)state;
	for (uint64_t i = 0; i < FLIPS; i++) {
		size_t at = place_drawn(i, length);
		uint8_t bit = (uint8_t)(1 << hash_mix(i + 7) % 8);

		bytes[at] ^= bit;
		if (outcome(bytes, length, &why) != -EBADMSG)
			fail_msg("bit %x of byte %zu", bit, at);
		bytes[at] ^= bit;
	}
	free(bytes);
}

struct piece_head {
	uint32_t number, length;
	uint64_t offset;
	uint32_t crc, head;
};

static void seal_head(struct piece_head *head)
{
	head->head = crc32c(0, head, offsetof(struct piece_head, head));
}

static void a_piece_that_says_another_place_is_refused(void **state)
{
	const char *why;
	size_t length, at = PIECES_AT;
	uint8_t *bytes = written(&length);
	struct piece_head head;
	unsigned pieces = 0;

	(void)state;
	for (;; at += sizeof(head) + head.length, pieces++) {
		memcpy(&head, bytes + at, sizeof(head));
		if (head.number == UINT32_MAX)
			break;
		/* A chunk or a page off, in another heap: each a place that there is. */
		for (int i = 0; i < 4; i++) {
			struct piece_head other = head;

			other.offset ^= i == 0 ? 65536 : i == 1 ? 4096 : 0;
			other.number ^= i == 2;
			other.length -= i == 3 && other.length > 4096 ? 4096 : 0;
			if (memcmp(&other, &head, sizeof(head)) == 0)
				continue;
			memcpy(bytes + at, &other, sizeof(other));
			assert_int_equal(outcome(bytes, length, &why), -EBADMSG);
			assert_string_equal(why, "a piece's head is damaged");
			seal_head(&other);
			memcpy(bytes + at, &other, sizeof(other));
			assert_int_equal(outcome(bytes, length, &why), -EBADMSG);
		}
		memcpy(bytes + at, &head, sizeof(head));
	}
	assert_true(pieces > 10);
	assert_int_equal(head.length, pieces);
	free(bytes);
}

static void a_file_without_one_of_its_pieces_is_refused(void **state)
{
	const char *why;
	size_t length, at = PIECES_AT;
	uint8_t *bytes = written(&length), *less = malloc(length);
	struct piece_head head;

	(void)state;
	for (;; at += sizeof(head) + head.length) {
		size_t gone;

		memcpy(&head, bytes + at, sizeof(head));
		if (head.number == UINT32_MAX)
			break;
		gone = sizeof(head) + head.length;
		memcpy(less, bytes, at);
		memcpy(less + at, bytes + at + gone, length - at - gone);
		assert_int_equal(outcome(less, length - gone, &why), -EBADMSG);
	}
	free(less);
	free(bytes);
}

/* Whole by its sums, but not a heap's: what a program with other constants might have written. */
static void a_head_with_the_right_sum_and_wrong_sizes_is_refused(void **state)
{
	static const struct {
		int at;
		uint32_t value;
	} wrong[] = {{0, 1}, {8, 1}, {12, 0}, {12, 256}, {12, UINT32_MAX}, {20, 1000}};
	const char *why;
	size_t length;
	uint8_t *bytes = written(&length);
	struct piece_head head;

	(void)state;
	memcpy(&head, bytes + PIECES_AT, sizeof(head));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		uint8_t *content = bytes + PIECES_AT + sizeof(head);
		uint32_t before;

		memcpy(&before, content + wrong[i].at, sizeof(before));
		memcpy(content + wrong[i].at, &wrong[i].value, sizeof(before));
		head.crc = crc32c(crc32c(0, &head, offsetof(struct piece_head, crc)), content,
				  head.length);
		seal_head(&head);
		memcpy(bytes + PIECES_AT, &head, sizeof(head));
		assert_int_equal(outcome(bytes, length, &why), -EBADMSG);
		assert_string_equal(why, "a heap's head is damaged");
		memcpy(content + wrong[i].at, &before, sizeof(before));
	}
	free(bytes);
}

static void a_header_tells_what_is_wrong_with_it(void **state)
{
	const char *why;
	size_t length;
	uint8_t *bytes = written(&length);

	(void)state;
	bytes[0] ^= 1;
	assert_int_equal(outcome(bytes, length, &why), -EBADMSG);
	assert_string_equal(why, "it is no snapshot");
	bytes[0] ^= 1;
	for (size_t at = 8; at < PIECES_AT; at++) {
		bytes[at] ^= 0x40;
		assert_int_equal(outcome(bytes, length, &why), -EBADMSG);
		assert_true(strcmp(why, "its header is damaged") == 0 ||
			    strcmp(why, "it ends too early") == 0);
		bytes[at] ^= 0x40;
	}
	assert_int_equal(outcome(bytes, 0, &why), -EBADMSG);
	assert_string_equal(why, "it ends too early");
	free(bytes);
}

/* --- some of the tasks --- */

enum { TASKS = 5 }; /* of a pipeline that several share */

/* Reads those wanted of a file; 0 must mean as they were. */
static int read_some(const uint8_t *bytes, size_t length, const struct task_set *wanted,
		     const char **why)
{
	static struct image image;
	int file = memfd_create("image", 0), rc;
	struct heap *heaps[TASKS] = {NULL};

	assert_int_equal(write(file, bytes, length), length);
	assert_int_equal(lseek(file, 0, SEEK_SET), 0);
	rc = image_read_header(file, &image, why);
	for (uint32_t i = 0; i < TASKS; i++) {
		if (task_set_has(wanted, i))
			assert_non_null(heaps[i] = heap_new(i));
	}
	if (rc == 0)
		rc = image_read(file, &image, wanted, heaps, why);
	for (uint32_t i = 0; i < TASKS; i++) {
		if (!heaps[i])
			continue;
		if (rc == 0)
			assert_true(same(heaps[i], i));
		heap_free(heaps[i]);
	}
	close(file);
	return rc;
}

static struct task_set set_of(unsigned bits)
{
	return (struct task_set){{bits}};
}

/* Of tasks 1, 2 and 4; nobody looks at the heaps of the others. */
static uint8_t *written_by_one_of_several(size_t *length)
{
	int file = memfd_create("image", 0);
	struct image image = {
		.header = {.tasks = TASKS, .epoch = 77, .pane = 4242, .owned = set_of(0x16)}};
	struct heap *heaps[TASKS] = {NULL, filled(1), filled(2), (struct heap *)1, filled(4)};
	uint8_t *bytes;

	image_build(image.header.build);
	assert_int_equal(image_write(file, &image, heaps), 0);
	heap_free(heaps[1]);
	heap_free(heaps[2]);
	heap_free(heaps[4]);
	*length = (size_t)lseek(file, 0, SEEK_CUR);
	bytes = malloc(*length);
	assert_int_equal(pread(file, bytes, *length, 0), *length);
	close(file);
	return bytes;
}

static void any_of_its_tasks_are_read_without_the_others(void **state)
{
	const char *why;
	size_t length;
	uint8_t *bytes = written_by_one_of_several(&length);

	(void)state;
	for (unsigned bits = 0; bits < 1 << TASKS; bits++) {
		struct task_set wanted = set_of(bits & 0x16);

		assert_int_equal(read_some(bytes, length, &wanted, &why), 0);
	}
	free(bytes);
}

/* What is passed over is not looked at; but no damage there makes what is read another. */
static void damage_among_others_is_harmless_or_refused(void **state)
{
	struct task_set wanted = set_of(0x04);
	const char *why;
	size_t length;
	uint8_t *bytes = written_by_one_of_several(&length);
	unsigned harmless = 0;

	(void)state;
	for (uint64_t i = 0; i < FLIPS; i++) {
		size_t at = hash_mix(i) % length;
		uint8_t bit = (uint8_t)(1 << hash_mix(i + 7) % 8);
		int rc;

		bytes[at] ^= bit;
		rc = read_some(bytes, length, &wanted, &why);
		assert_true(rc == 0 || rc == -EBADMSG);
		harmless += rc == 0;
		bytes[at] ^= bit;
	}
	assert_in_range(harmless, FLIPS / 3, FLIPS - FLIPS / 10);
	free(bytes);
}

static void a_header_without_tasks_or_with_too_many_is_damaged(void **state)
{
	static const unsigned wrong[] = {0, 0x20, 0x36};
	static struct image image;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		int file = memfd_create("image", 0);
		struct heap *heaps[TASKS + 1] = {NULL, filled(1), filled(2), NULL, filled(4), NULL};
		const char *why;

		image = (struct image){.header = {.tasks = TASKS, .owned = set_of(wrong[i])}};
		assert_int_equal(image_write(file, &image, heaps), 0);
		assert_int_equal(lseek(file, 0, SEEK_SET), 0);
		assert_int_equal(image_read_header(file, &image, &why), -EBADMSG);
		assert_string_equal(why, "its header is damaged");
		for (uint32_t task = 1; task < TASKS; task++)
			if (heaps[task])
				heap_free(heaps[task]);
		close(file);
	}
}

static void a_program_has_a_build_of_its_own(void **state)
{
	uint8_t build[IMAGE_BUILD_BYTES], again[IMAGE_BUILD_BYTES], none[IMAGE_BUILD_BYTES] = {0};

	(void)state;
	image_build(build);
	image_build(again);
	assert_memory_equal(build, again, sizeof(build));
	assert_memory_not_equal(build, none, sizeof(build));
}

static void a_disk_that_is_full_is_an_error(void **state)
{
	char path[] = "/tmp/millrace-image-XXXXXX";
	int file = mkstemp(path);
	struct rlimit before, limit;
	struct image image = some_image();
	struct heap *heaps[HEAPS];

	(void)state;
	unlink(path);
	for (uint32_t i = 0; i < HEAPS; i++)
		heaps[i] = filled(i);
	getrlimit(RLIMIT_FSIZE, &before);
	limit = (struct rlimit){100000, before.rlim_max};
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	assert_int_equal(image_write(file, &image, heaps), -EFBIG);
	setrlimit(RLIMIT_FSIZE, &before);
	assert_int_equal(image_write(open("/dev/full", O_WRONLY), &image, heaps), -ENOSPC);
	assert_int_equal(image_write(-1, &image, heaps), -EBADF);
	free_heaps(heaps);
	close(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_snapshot_is_read_back_as_it_was),
		cmocka_unit_test(a_file_on_a_disk_is_the_same),
		cmocka_unit_test(a_child_that_writes_it_takes_no_memory_of_that_size),
		cmocka_unit_test(a_heap_that_was_read_back_is_written_the_same),
		cmocka_unit_test(a_file_that_ends_too_early_is_refused),
		cmocka_unit_test(a_file_with_another_bit_is_refused),
		cmocka_unit_test(a_piece_that_says_another_place_is_refused),
		cmocka_unit_test(a_file_without_one_of_its_pieces_is_refused),
		cmocka_unit_test(a_head_with_the_right_sum_and_wrong_sizes_is_refused),
		cmocka_unit_test(a_header_tells_what_is_wrong_with_it),
		cmocka_unit_test(any_of_its_tasks_are_read_without_the_others),
		cmocka_unit_test(damage_among_others_is_harmless_or_refused),
		cmocka_unit_test(a_header_without_tasks_or_with_too_many_is_damaged),
		cmocka_unit_test(a_program_has_a_build_of_its_own),
		cmocka_unit_test(a_disk_that_is_full_is_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
