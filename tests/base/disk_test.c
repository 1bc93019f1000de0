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

/* Begun past the kernel's cache, where the file system can, with whole pages; then what no disk
 * takes so, odd in length and place. */
static void what_the_disk_does_not_take_by_itself_is_written_all_the_same(void **state)
{
	static _Alignas(4096) char pages[2][4096];
	char read_back[2 * sizeof(pages)];
	int file = open(first, O_RDWR | O_CREAT | O_TRUNC, 0600);

	(void)state;
	memset(pages[0], 'a', sizeof(pages[0]));
	memset(pages[1], 'b', sizeof(pages[1]));
	disk_direct(file, true);
	assert_int_equal(disk_write(file, pages, sizeof(pages)), 0);
	assert_int_equal(disk_write(file, pages[0] + 1, 3), 0);
	assert_int_equal(disk_write(file, pages[1], 100), 0);
	disk_direct(file, false);
	assert_int_equal(fcntl(file, F_GETFL) & O_DIRECT, 0);
	assert_int_equal(pread(file, read_back, sizeof(read_back), 0), sizeof(pages) + 103);
	assert_memory_equal(read_back, pages, sizeof(pages));
	assert_memory_equal(read_back + sizeof(pages), "aaabb", 5);
	close(file);
	assert_int_equal(disk_write(file, "a", 1), -EBADF);
	assert_false(disk_direct(file, true));
	unlink(first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stamp_changes_with_any_of_its_files),
		cmocka_unit_test(what_the_disk_does_not_take_by_itself_is_written_all_the_same),
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
