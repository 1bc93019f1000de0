#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/disk.h"

static char folder[] = "/tmp/millrace-disk-XXXXXX", first[64], second[64];

static void put(const char *path, const char *text)
{
	int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(descriptor >= 0);
	assert_int_equal(disk_write(descriptor, text, strlen(text)), 0);
	close(descriptor);
}

static void a_stamp_changes_with_any_of_its_files(void **state)
{
	const char *const paths[] = {first, NULL, second};
	uint64_t none = disk_stamp(paths, 3), one, both;

	(void)state;
	put(first, "a");
	one = disk_stamp(paths, 3);
	assert_true(one != none);
	assert_true(disk_stamp(paths, 3) == one);
	put(second, "a");
	both = disk_stamp(paths, 3);
	assert_true(both != one);
	put(second, "ab");
	assert_true(disk_stamp(paths, 3) != both);
	assert_int_equal(rename(second, first), 0); /* as renewals come */
	assert_true(disk_stamp(paths, 3) != one);
	assert_int_equal(unlink(first), 0);
	assert_true(disk_stamp(paths, 3) == none);
}

/* Pieces that no disk takes past the cache: odd in length and place. With whole pages before them,
 * so that writing begins past it where the file system can. */
static void parts_are_written_one_behind_the_other_whatever_the_disk_takes(void **state)
{
	static _Alignas(4096) char pages[2][4096];
	char odd[] = "odd", read_back[2 * sizeof(pages)];
	struct iovec parts[] = {{pages[0], 4096}, {NULL, 0}, {pages[1], 4096}};
	struct iovec rest[] = {{odd + 1, 2}, {pages[1], 100}};
	int file = open(first, O_RDWR | O_CREAT | O_TRUNC, 0600);

	(void)state;
	memset(pages[0], 'a', sizeof(pages[0]));
	memset(pages[1], 'b', sizeof(pages[1]));
	disk_direct(file, true);
	assert_int_equal(disk_write_parts(file, parts, 3), 0);
	assert_int_equal(disk_write_parts(file, rest, 2), 0);
	assert_int_equal(fcntl(file, F_GETFL) & O_DIRECT, 0);
	assert_int_equal(pread(file, read_back, sizeof(read_back), 0), 2 * 4096 + 102);
	assert_memory_equal(read_back, pages, sizeof(pages));
	assert_memory_equal(read_back + sizeof(pages), "dd", 2);
	assert_memory_equal(read_back + sizeof(pages) + 2, pages[1], 100);
	close(file);
	assert_int_equal(disk_write_parts(file, (struct iovec[]){{odd, 1}}, 1), -EBADF);
	assert_false(disk_direct(file, true));
	unlink(first);
}

/* What a pipe takes at once is less than both. */
static void what_is_taken_in_part_goes_on_where_it_ended(void **state)
{
	enum { EACH = 300000 };
	char *a = malloc(EACH), *b = malloc(EACH), *all = malloc(2 * EACH);
	struct iovec parts[] = {{a, EACH}, {b, EACH}};
	size_t got = 0;
	int ends[2];

	(void)state;
	memset(a, 'a', EACH);
	memset(b, 'b', EACH);
	assert_int_equal(pipe(ends), 0);
	if (fork() == 0)
		_exit(disk_write_parts(ends[1], parts, 2) != 0);
	close(ends[1]);
	for (ssize_t piece; (piece = read(ends[0], all + got, 2 * EACH - got)) > 0;)
		got += (size_t)piece;
	assert_int_equal(got, 2 * EACH);
	assert_memory_equal(all, a, EACH);
	assert_memory_equal(all + EACH, b, EACH);
	close(ends[0]);
	free(a);
	free(b);
	free(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stamp_changes_with_any_of_its_files),
		cmocka_unit_test(parts_are_written_one_behind_the_other_whatever_the_disk_takes),
		cmocka_unit_test(what_is_taken_in_part_goes_on_where_it_ended),
	};
	int failed;

	if (!mkdtemp(folder))
		return 1;
	snprintf(first, sizeof(first), "%s/first", folder);
	snprintf(second, sizeof(second), "%s/second", folder);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(folder);
	return failed;
}
