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
	preflight_run(&preflight, "/var/lib/docker", root);
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
	preflight_run(&preflight, "/var/lib/docker", root);
	assert_int_equal(preflight.count, 1);
	assert_true(
		says(&preflight, "CAP_NET_ADMIN is missing: no NAT, no UDP and no name lookups"));
	assert_false(preflight_fatal(&preflight));
	put("/proc/self/status", "CapEff:\t0000000000000000\n");
	preflight_run(&preflight, "/var/lib/docker", root);
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
	preflight_run(&preflight, "/var/lib/docker", root);
	assert_true(says(&preflight, "CONFIG_DEBUG_INFO_BTF"));
	assert_true(says(&preflight, "mount cgroup2"));
	assert_true(says(&preflight, "lockdown=integrity"));
	assert_true(preflight_fatal(&preflight));
}

static void what_is_found_later_is_told_once_and_is_data(void **state)
{
	(void)state;
	struct preflight preflight;
	const char *sentences[FINDINGS_MAX];
	char sentence[FINDING_BYTES];
	good_host();
	preflight_run(&preflight, "/var/lib/docker", root);
	assert_true(preflight_add(&preflight, "this kernel has no X: no Y"));
	assert_false(preflight_add(&preflight, "this kernel has no X: no Y"));
	assert_int_equal(preflight_sentences(&preflight, sentences), 1);
	assert_string_equal(sentences[0], "this kernel has no X: no Y");
	for (int i = 1; i < FINDINGS_MAX; i++) {
		snprintf(sentence, sizeof(sentence), "no %d", i);
		assert_true(preflight_add(&preflight, sentence));
	}
	assert_false(preflight_add(&preflight, "one too many"));
	assert_int_equal(preflight_sentences(&preflight, sentences), FINDINGS_MAX);
	assert_false(preflight_fatal(&preflight));
}

static void without_cgroup2_udp_is_not_seen(void **state)
{
	(void)state;
	struct preflight preflight;
	good_host();
	put("/proc/self/mounts", "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n");
	preflight_run(&preflight, "/var/lib/docker", root);
	assert_int_equal(preflight.count, 1);
	assert_true(
		says(&preflight, "no cgroup2 file system is mounted: UDP and DNS are not seen"));
}

static bool memlock_is_told(const char *release, const char *limit)
{
	struct preflight preflight;
	char line[128];
	put("/proc/sys/kernel/osrelease", release);
	snprintf(line, sizeof(line),
		 "Limit  Soft Limit  Hard Limit  Units\n"
		 "Max locked memory         %-20s %-20s bytes\n",
		 limit, "unlimited");
	put("/proc/self/limits", line);
	preflight_run(&preflight, "/var/lib/docker", root);
	return says(&preflight, "set LimitMEMLOCK=64M");
}

static void before_linux_5_11_locked_memory_must_hold_the_maps(void **state)
{
	(void)state;
	good_host();
	assert_true(memlock_is_told("5.10.0-9-amd64\n", "67108863"));
	assert_false(memlock_is_told("5.10.0-9-amd64\n", "67108864"));
	assert_false(memlock_is_told("5.10.0-9-amd64\n", "unlimited"));
	assert_true(memlock_is_told("5.8.0\n", "65536"));
	assert_false(memlock_is_told("5.11.0\n", "65536"));
	assert_false(memlock_is_told("6.1.0-28-amd64\n", "65536"));
}

static void in_another_pid_namespace_it_cannot_know_itself(void **state)
{
	(void)state;
	struct preflight preflight;
	char path[256];
	good_host();
	assert_true(preflight_pids_are_the_hosts(root)); /* nothing tells */
	put("/proc/self/ns/x", "");
	snprintf(path, sizeof(path), "%s/proc/self/ns/pid", root);
	assert_int_equal(symlink("pid:[4026531836]", path), 0);
	preflight_run(&preflight, "/var/lib/docker", root);
	assert_int_equal(preflight.count, 0);
	unlink(path);
	assert_int_equal(symlink("pid:[4026532201]", path), 0);
	assert_false(preflight_pids_are_the_hosts(root));
	preflight_run(&preflight, "/var/lib/docker", root);
	assert_true(says(&preflight, "not in the host's pid namespace"));
	assert_false(preflight_fatal(&preflight));
	unlink(path);
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
		cmocka_unit_test(what_is_found_later_is_told_once_and_is_data),
		cmocka_unit_test(without_cgroup2_udp_is_not_seen),
		cmocka_unit_test(before_linux_5_11_locked_memory_must_hold_the_maps),
		cmocka_unit_test(in_another_pid_namespace_it_cannot_know_itself),
	};
	return cmocka_run_group_tests(tests, make_root, remove_root);
}
