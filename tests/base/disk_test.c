#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stamp_changes_with_any_of_its_files),
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
