/* Pre-flight over made-up hosts: folders with the few files that it reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/preflight.h"

static char root[] = "/tmp/millrace-preflight-XXXXXX";

static void put(const char *path, const char *text)
{
	char whole[256];
	snprintf(whole, sizeof(whole), "%s%s", root, path);
	for (char *slash = whole + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
		*slash = 0;
		mkdir(whole, 0755);
	}
	FILE *file = fopen(whole, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static bool says(const struct preflight *preflight, const char *part)
{
	for (size_t i = 0; i < preflight->count; i++)
		if (strstr(preflight->findings[i].sentence, part))
			return true;
	return false;
}

static void good_host(void)
{
	put("/proc/self/status", "Name:\tx\nCapEff:\t000001ffffffffff\n");
	put("/proc/self/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
	put("/sys/kernel/btf/vmlinux", "");
	put("/sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
}

static void a_good_host_has_no_findings(void **state)
{
	(void)state;
	struct preflight preflight;
	good_host();
	preflight_run(&preflight, root);
	assert_int_equal(preflight.count, 0);
	assert_false(preflight_fatal(&preflight));
}

static void a_missing_capability_says_what_goes_without_it(void **state)
{
	(void)state;
	struct preflight preflight;
	good_host();
	put("/proc/self/status",
	    "CapEff:\t000000ffffffefff\n"); /* no NET_ADMIN, no CHECKPOINT_RESTORE */
	preflight_run(&preflight, root);
	assert_int_equal(preflight.count, 1);
	assert_true(says(&preflight, "CAP_NET_ADMIN is missing: no NAT is seen"));
	assert_false(preflight_fatal(&preflight));
	put("/proc/self/status", "CapEff:\t0000000000000000\n");
	preflight_run(&preflight, root);
	assert_true(says(&preflight, "CAP_BPF is missing"));
	assert_true(preflight_fatal(&preflight));
}

static void no_btf_no_cgroups_and_lockdown_are_told(void **state)
{
	(void)state;
	struct preflight preflight;
	char path[256];
	good_host();
	put("/proc/self/mounts", "proc /proc proc rw 0 0\n");
	put("/sys/kernel/security/lockdown", "none integrity [confidentiality]\n");
	snprintf(path, sizeof(path), "%s/sys/kernel/btf/vmlinux", root);
	assert_int_equal(unlink(path), 0);
	preflight_run(&preflight, root);
	assert_true(says(&preflight, "CONFIG_DEBUG_INFO_BTF"));
	assert_true(says(&preflight, "mount cgroup2"));
	assert_true(says(&preflight, "lockdown=integrity"));
	assert_true(preflight_fatal(&preflight));
}

static int make_root(void **state)
{
	(void)state;
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
	(void)state;
	char command[300];
	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_host_has_no_findings),
		cmocka_unit_test(a_missing_capability_says_what_goes_without_it),
		cmocka_unit_test(no_btf_no_cgroups_and_lockdown_are_told),
	};
	return cmocka_run_group_tests(tests, make_root, remove_root);
}
