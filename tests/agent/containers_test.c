#include <errno.h>
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

#include "agent/bpf/event.h"
#include "agent/cgroups.h"
#include "agent/containers.h"
#include "base/clock.h"

static struct container_path path_of(unsigned number)
{
	struct container_path path = {0};
	snprintf(path.id, sizeof(path.id), "%064x", number);
	return path;
}

static void describe(struct containers *containers, unsigned number, const char *name, bool is_news)
{
	struct description description;
	struct container_path path = path_of(number);
	description_init(&description, path.id);
	description_set(&description, DESCRIPTION_NAME, name);
	assert_int_equal(containers_put(containers, &description, 1), is_news);
}

static void who_is_wanted_is_asked_for_with_growing_waits_and_given_up(void **state)
{
	(void)state;
	struct containers *containers = containers_new(4);
	struct container_path path = path_of(1), due;
	uint64_t now_ns = NS_PER_S, last_ns = 0, last_wait_ns = 0;
	unsigned asked = 0;
	containers_want(containers, &path, now_ns);
	containers_want(containers, &path, now_ns);
	for (; now_ns < 400 * NS_PER_S; now_ns += 50 * NS_PER_MS) {
		if (!containers_due(containers, now_ns, &due))
			continue;
		assert_string_equal(due.id, path.id);
		if (asked++ > 1)
			assert_true(now_ns - last_ns > 2 * last_wait_ns);
		last_wait_ns = asked > 1 ? now_ns - last_ns : 0;
		last_ns = now_ns;
	}
	assert_int_equal(asked, CONTAINERS_TRIES);
	assert_int_equal(containers_stats(containers).given_up, 1);
	assert_int_equal(containers_stats(containers).wanted, 0);
	containers_again(containers, now_ns);
	assert_true(containers_due(containers, now_ns, &due));
	describe(containers, 1, "late", true);
	assert_int_equal(containers_stats(containers).wanted, 0);
	assert_false(containers_due(containers, now_ns + 1000 * NS_PER_S, &due));
	containers_free(containers);
}

static void who_is_described_in_part_stays_wanted_until_all_is_told(void **state)
{
	(void)state;
	struct containers *containers = containers_new(4);
	struct container_path path = path_of(1), due;
	struct description part;
	description_init(&part, path.id);
	description_set(&part, DESCRIPTION_NAME, "web");
	part.partial = true;
	assert_true(containers_put(containers, &part, 1));
	assert_int_equal(containers_stats(containers).wanted, 1);
	assert_true(containers_due(containers, 1, &due));
	assert_string_equal(due.id, path.id);
	assert_false(containers_put(containers, &part, 2)); /* no news */
	assert_int_equal(containers_stats(containers).wanted, 1);
	part.partial = false;
	assert_false(containers_put(containers, &part, 3));
	assert_int_equal(containers_stats(containers).wanted, 0);
	assert_false(containers_due(containers, 1000 * NS_PER_S, &due));
	part.partial = true;
	assert_false(containers_put(containers, &part, 4));
	for (uint64_t s = 1; s < 2000; s++)
		containers_due(containers, s * NS_PER_S, &due);
	assert_int_equal(containers_stats(containers).given_up, 1);
	assert_int_equal(containers_stats(containers).wanted, 0);
	containers_again(containers, 2000 * NS_PER_S);
	assert_int_equal(containers_stats(containers).wanted, 1);
	containers_free(containers);
}

static void ends_for_want_of_memory_are_counted_whatever_else_is_said(void **state)
{
	(void)state;
	struct containers *containers = containers_new(4);
	struct container_path path = path_of(1);
	struct description event;
	describe(containers, 1, "web", true);
	description_init(&event, path.id);
	description_set(&event, DESCRIPTION_NAME, "web");
	event.oom_kills = 1;
	for (uint32_t i = 1; i <= 3; i++) {
		assert_true(containers_put(containers, &event, 1));
		assert_int_equal(containers_get(containers, path.id, 1)->oom_kills, i);
	}
	describe(containers, 1, "web", false);
	describe(containers, 1, "renamed", true);
	assert_int_equal(containers_get(containers, path.id, 1)->oom_kills, 3);
	containers_free(containers);
}

static void a_description_is_news_once(void **state)
{
	(void)state;
	struct containers *containers = containers_new(4);
	struct container_path path = path_of(1);
	describe(containers, 1, "web", true);
	describe(containers, 1, "web", false);
	describe(containers, 1, "renamed", true);
	assert_string_equal(
		description_get(containers_get(containers, path.id, 1), DESCRIPTION_NAME),
		"renamed");
	containers_free(containers);
}

static void a_full_table_forgets_who_was_used_longest_ago_and_counts_it(void **state)
{
	(void)state;
	struct containers *containers = containers_new(3);
	for (unsigned i = 1; i <= 3; i++)
		describe(containers, i, "n", true);
	for (unsigned i = 1; i <= 3; i++) {
		struct container_path path = path_of(i);
		assert_non_null(containers_get(containers, path.id, i == 2 ? 5 : 10));
	}
	struct container_path wanted = path_of(4), gone = path_of(2);
	containers_want(containers, &wanted, 20);
	assert_null(containers_get(containers, gone.id, 20));
	assert_int_equal(containers_stats(containers).evicted, 1);
	assert_int_equal(containers_stats(containers).live, 3);
	containers_free(containers);
}

static void cgroups_are_known_from_the_kernels_word_and_forgotten_when_gone_and_unused(void **state)
{
	(void)state;
	struct containers *containers = containers_new(8);
	struct cgroups *cgroups =
		cgroups_new(&(struct cgroups_options){.cgroups_max = 3, .containers = containers});
	char path[128];
	for (unsigned i = 1; i <= 3; i++) {
		snprintf(path, sizeof(path), "/docker/%064x", i);
		cgroups_made(cgroups, 100 + i, path, i);
	}
	assert_int_equal(containers_stats(containers).wanted, 3);
	struct cgroup_place *place = cgroups_get(cgroups, 102, 0, 10);
	assert_string_equal(place->container.runtime, "docker");
	cgroups_made(cgroups, 102, "/other", 11);
	assert_string_equal(place->path, "/other");
	assert_string_equal(place->container.id, "");
	/* the one that is gone makes room, though another was used longer ago */
	cgroups_ended(cgroups, 103, "", 11);
	cgroups_made(cgroups, 104, "/new", 12);
	assert_null(cgroups_get(cgroups, 103, 0, 12));
	assert_non_null(cgroups_get(cgroups, 101, 0, 12));
	assert_int_equal(cgroups_stats(cgroups).evicted, 1);
	assert_int_equal(cgroups_stats(cgroups).unknown, 1);
	assert_false(cgroups_forget(cgroups, place, 1000, 5)); /* it is there */
	cgroups_ended(cgroups, 102, "", 12);
	cgroups_touch(cgroups, 102, 998);
	assert_false(cgroups_forget(cgroups, place, 1000, 5));
	assert_true(cgroups_forget(cgroups, place, 1003, 5));
	assert_int_equal(cgroups_stats(cgroups).live, 2);
	cgroups_free(cgroups);
	containers_free(containers);
}

/* A walk may run beside the kernel's word: what that told already stays as it is. */
static void a_walk_finds_what_the_kernel_did_not_tell_of(void **state)
{
	(void)state;
	char root[] = "/tmp/millrace-cgroups-XXXXXX", path[128];
	uint64_t ids[3];
	static const char *const names[] = {"/a", "/a/b", "/c"};
	assert_non_null(mkdtemp(root));
	for (int i = 0; i < 3; i++) {
		struct stat stat_buffer;
		snprintf(path, sizeof(path), "%s%s", root, names[i]);
		assert_return_code(mkdir(path, 0700), errno);
		assert_return_code(stat(path, &stat_buffer), errno);
		ids[i] = stat_buffer.st_ino;
	}
	struct containers *containers = containers_new(8);
	struct cgroups *cgroups = cgroups_new(&(struct cgroups_options){
		.cgroups_max = 3, .containers = containers, .v2_mount = root});
	struct cgroup_list *list = cgroup_list_read(root, NULL, 3);
	cgroups_made(cgroups, ids[1], "/renamed", 1);
	cgroups_ended(cgroups, ids[2], "/c", 1); /* read just before */
	cgroups_take(cgroups, list, 1, 2);
	cgroup_list_free(list);
	assert_string_equal(cgroups_get(cgroups, ids[0], 0, 3)->path, "/a");
	assert_string_equal(cgroups_get(cgroups, ids[1], 0, 3)->path, "/renamed");
	assert_string_equal(cgroups_get(cgroups, ids[2], 0, 3)->path, "/c");
	assert_false(cgroups_get(cgroups, ids[0], 0, 3)->ended);
	assert_true(cgroups_get(cgroups, ids[2], 0, 3)->ended);
	cgroups_walk(cgroups, 4); /* full: nobody goes for what is known */
	assert_int_equal(cgroups_stats(cgroups).evicted, 0);
	assert_int_equal(cgroups_stats(cgroups).walks, 2);
	cgroups_free(cgroups);
	containers_free(containers);
	for (int i = 3; i-- > 0;) {
		snprintf(path, sizeof(path), "%s%s", root, names[i]);
		rmdir(path);
	}
	rmdir(root);
}

/* Who is missing in the list of a whole tree has ended, unless the list is older. */
static void a_walk_tells_who_ended_unheard(void **state)
{
	(void)state;
	struct cgroup_mounts mounts;
	struct stat found;
	char stays[300], goes[300];
	assert_int_equal(cgroup_mounts_read("/proc/self/mounts", &mounts), 0);
	if (!mounts.v2[0] || stat(mounts.v2, &found) || found.st_ino != 1)
		skip(); /* a part of the tree */
	snprintf(stays, sizeof(stays), "%s/millrace-stays-%d", mounts.v2, getpid());
	snprintf(goes, sizeof(goes), "%s/millrace-goes-%d", mounts.v2, getpid());
	if (mkdir(stays, 0700) || mkdir(goes, 0700))
		skip();
	stat(stays, &found);
	uint64_t staying = found.st_ino;
	stat(goes, &found);
	uint64_t going = found.st_ino, later = UINT64_MAX >> 3, of_v1 = 5 | MR_CGROUP_V1;
	struct containers *containers = containers_new(8);
	struct cgroups *cgroups = cgroups_new(&(struct cgroups_options){
		.cgroups_max = 4096, .containers = containers, .v2_mount = mounts.v2});
	cgroups_walk(cgroups, 1);
	cgroups_made(cgroups, of_v1, "/v1", 1); /* whose tree is not read */
	assert_non_null(cgroups_get(cgroups, 1, 0, 1));
	struct cgroup_list *list = cgroup_list_read(mounts.v2, NULL, 1); /* more are there */
	cgroups_take(cgroups, list, 2, 2);
	cgroup_list_free(list);
	assert_int_equal(cgroups_stats(cgroups).vanished, 0);
	rmdir(goes);
	list = cgroup_list_read(mounts.v2, NULL, 4096);
	cgroups_made(cgroups, later, "/later", 3);
	cgroups_take(cgroups, list, 2, 4);
	assert_true(cgroups_get(cgroups, going, 0, 4)->ended);
	assert_false(cgroups_get(cgroups, staying, 0, 4)->ended);
	assert_false(cgroups_get(cgroups, later, 0, 4)->ended);
	assert_true(cgroups_stats(cgroups).vanished >= 1);
	cgroups_take(cgroups, list, 5, 6);
	assert_true(cgroups_get(cgroups, later, 0, 6)->ended);
	assert_false(cgroups_get(cgroups, of_v1, 0, 6)->ended);
	assert_false(cgroups_get(cgroups, 1, 0, 6)->ended); /* the root */
	cgroup_list_free(list);
	cgroups_free(cgroups);
	containers_free(containers);
	rmdir(stays);
}

/* Who is missing may be elsewhere in the tree. */
static void a_walk_of_a_part_ends_nobody(void **state)
{
	(void)state;
	char root[] = "/tmp/millrace-cgroups-XXXXXX";
	assert_non_null(mkdtemp(root));
	struct cgroup_list *const lists[] = {
		cgroup_list_read(root, root, 8),
		cgroup_list_read(NULL, NULL, 8),
	};
	struct containers *containers = containers_new(8);
	struct cgroups *cgroups =
		cgroups_new(&(struct cgroups_options){.cgroups_max = 8, .containers = containers});
	cgroups_made(cgroups, 7, "/a", 1);
	cgroups_made(cgroups, 7 | MR_CGROUP_V1, "/b", 1);
	for (int i = 0; i < 2; i++) {
		cgroups_take(cgroups, lists[i], 2, 3);
		cgroup_list_free(lists[i]);
	}
	assert_int_equal(cgroups_stats(cgroups).vanished, 0);
	assert_int_equal(cgroups_stats(cgroups).walks, 2);
	cgroups_free(cgroups);
	containers_free(containers);
	rmdir(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_is_wanted_is_asked_for_with_growing_waits_and_given_up),
		cmocka_unit_test(who_is_described_in_part_stays_wanted_until_all_is_told),
		cmocka_unit_test(ends_for_want_of_memory_are_counted_whatever_else_is_said),
		cmocka_unit_test(a_description_is_news_once),
		cmocka_unit_test(a_full_table_forgets_who_was_used_longest_ago_and_counts_it),
		cmocka_unit_test(a_walk_finds_what_the_kernel_did_not_tell_of),
		cmocka_unit_test(a_walk_tells_who_ended_unheard),
		cmocka_unit_test(a_walk_of_a_part_ends_nobody),
		cmocka_unit_test(
			cgroups_are_known_from_the_kernels_word_and_forgotten_when_gone_and_unused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
