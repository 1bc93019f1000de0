#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/proc.h"

static void expect(const char *text, bool v1, const char *path)
{
	char found[32];
	bool any = proc_cgroup_path(text, strlen(text), v1, found, sizeof(found));
	assert_int_equal(any, path != NULL);
	if (path)
		assert_string_equal(found, path);
}

static void each_tree_has_its_line(void **state)
{
	static const char hybrid[] =
		"9:name=systemd:/a\n4:cpu,memory:/docker/x:y\n3:memory_x:/no\n0::/b\n";
	(void)state;
	expect(hybrid, true, "/docker/x:y");
	expect(hybrid, false, "/b");
	expect("0::/only", false, "/only");
	expect("0::/only\n", true, NULL);
	expect("10::/named\n", false, NULL);
	expect("", false, NULL);
	expect("memory\n::\n:", true, NULL);
}

static void a_path_that_does_not_fit_is_none(void **state)
{
	(void)state;
	expect("0::/3456789012345678901234567890123\n", false, NULL);
	expect("0::/345678901234567890123456789012\n", false, "/345678901234567890123456789012");
}

static void a_replaced_program_is_still_that_program(void **state)
{
	(void)state;
	assert_int_equal(proc_exe_length("/bin/a (deleted)", 16), 6);
	assert_int_equal(proc_exe_length("/bin/a", 6), 6);
	assert_int_equal(proc_exe_length(" (deleted)", 10), 10);
	assert_int_equal(proc_exe_length("", 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_tree_has_its_line),
		cmocka_unit_test(a_path_that_does_not_fit_is_none),
		cmocka_unit_test(a_replaced_program_is_still_that_program),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
