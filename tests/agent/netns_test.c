#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/netns.h"

static void our_own_namespace_is_listed_once_and_found_by_its_inode(void **state)
{
	struct netns_list *list = calloc(1, sizeof(*list));
	uint32_t own;
	(void)state;
	assert_int_equal(netns_own(&own), 0);
	for (int again = 0; again < 2; again++) { /* a list can be read into twice */
		assert_int_equal(netns_list_read(list), 0);
		assert_int_equal(list->own, own);
		size_t times = 0;
		for (size_t i = 0; i < list->count; i++)
			times += list->items[i].inode == own;
		assert_int_equal(times, 1);
	}
	for (size_t i = 0; i < list->count; i++) {
		const struct netns *netns = &list->items[i];
		assert_ptr_equal(netns_by_inode(list, netns->inode), netns);
		if (netns->nsid >= 0)
			assert_ptr_equal(netns_by_nsid(list, netns->nsid), netns);
	}
	assert_null(netns_by_inode(list, 1));
	assert_null(netns_by_nsid(list, 0x7fffffff));
	assert_null(netns_by_nsid(list, -1));
	free(list);
}

static void a_namespace_is_parsed_by_inode_or_pid(void **state)
{
	(void)state;
	char text[16];
	uint32_t own, parsed = 0;
	assert_int_equal(netns_own(&own), 0);
	snprintf(text, sizeof(text), "%u", own);
	assert_int_equal(netns_parse(text, &parsed), 0);
	assert_int_equal(parsed, own);
	snprintf(text, sizeof(text), "%d", getpid());
	parsed = 0;
	assert_int_equal(netns_parse(text, &parsed), 0);
	assert_int_equal(parsed, own);
	assert_int_equal(netns_parse("../self", &parsed), -EINVAL);
}

/* The child makes it and ends, so nothing but the file holds it. */
static uint32_t make_namespace(const char *path)
{
	close(open(path, O_CREAT | O_CLOEXEC, 0600));
	pid_t child = fork();
	if (child == 0)
		_exit(unshare(CLONE_NEWNET) ||
		      mount("/proc/self/ns/net", path, NULL, MS_BIND, NULL));
	int status;
	struct stat found;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(stat(path, &found), 0);
	return (uint32_t)found.st_ino;
}

static void a_namespace_that_only_a_runtimes_file_holds_is_listed(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNS))
		skip(); /* needs root */
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	assert_int_equal(mount("none", "/run", "tmpfs", 0, NULL), 0);
	mkdir("/run/docker", 0700);
	for (const char *const *folder = netns_folders; *folder; folder++)
		assert_int_equal(mkdir(*folder, 0700), 0);
	uint32_t ingress = make_namespace("/run/docker/netns/ingress_sbox");
	uint32_t named = make_namespace("/run/netns/named");
	close(open("/run/docker/netns/1f2e3d4c5b6a", O_CREAT | O_CLOEXEC, 0600)); /* left behind */
	struct stat left;
	assert_int_equal(stat("/run/docker/netns/1f2e3d4c5b6a", &left), 0);
	struct netns_list *list = calloc(1, sizeof(*list));
	assert_int_equal(netns_list_read(list), 0);
	const struct netns *found = netns_by_inode(list, ingress);
	assert_non_null(found);
	assert_string_equal(found->path, "/run/docker/netns/ingress_sbox");
	assert_true(found->nsid >= 0);
	assert_non_null(netns_by_inode(list, named));
	assert_null(netns_by_inode(list, (uint32_t)left.st_ino));
	free(list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(our_own_namespace_is_listed_once_and_found_by_its_inode),
		cmocka_unit_test(a_namespace_is_parsed_by_inode_or_pid),
		cmocka_unit_test(a_namespace_that_only_a_runtimes_file_holds_is_listed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
