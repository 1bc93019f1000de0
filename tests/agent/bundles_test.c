/* Runtimes' files as they lie on a disk. */
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

#include "agent/bundles.h"

#define ID "3f4e5d6c7b8a99887766554433221100ffeeddccbbaa99887766554433221100"

static char root[64];

static void put(const char *path, const char *text)
{
	char full[512];
	snprintf(full, sizeof(full), "%s/%s", root, path);
	for (char *at = full + strlen(root) + 1; (at = strchr(at, '/')); at++) {
		*at = 0;
		mkdir(full, 0755);
		*at = '/';
	}
	FILE *file = fopen(full, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static int set_up(void **state)
{
	(void)state;
	snprintf(root, sizeof(root), "/tmp/millrace-bundles-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[128];
	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command);
}

static struct bundle_roots roots(void)
{
	static char docker[96], containerd[96], storage[96], run[96], users[96];
	snprintf(docker, sizeof(docker), "%s/docker", root);
	snprintf(containerd, sizeof(containerd), "%s/containerd", root);
	snprintf(storage, sizeof(storage), "%s/storage", root);
	snprintf(run, sizeof(run), "%s/run", root);
	snprintf(users, sizeof(users), "%s/passwd", root);
	return (struct bundle_roots){.docker = docker,
				     .containerd = containerd,
				     .storage = storage,
				     .storage_run = run,
				     .users = users};
}

static bool read_path(const char *cgroup, struct description *found)
{
	struct bundle_roots from = roots();
	struct container_path path;
	assert_true(container_parse(cgroup, &path));
	return bundle_read(&from, &path, found);
}

static void dockers_containerds_and_crios_files_are_found(void **state)
{
	struct description found;
	(void)state;
	assert_false(read_path("/docker/" ID, &found));
	put("docker/containers/" ID "/config.v2.json",
	    "{\"ID\":\"" ID "\",\"Name\":\"/web\",\"Config\":{\"Image\":\"w:1\"}}");
	assert_true(read_path("/docker/" ID, &found));
	assert_string_equal(description_get(&found, DESCRIPTION_NAME), "web");
	put("containerd/io.containerd.runtime.v2.task/k8s.io/" ID "/config.json",
	    "{\"annotations\":{\"io.kubernetes.cri.container-name\":\"main\"}}");
	assert_true(read_path("/x/cri-containerd-" ID ".scope", &found));
	assert_string_equal(description_get(&found, DESCRIPTION_NAME), "main");
	put("run/overlay-containers/" ID "/userdata/config.json",
	    "{\"annotations\":{\"io.kubernetes.container.name\":\"side\"}}");
	put("storage/overlay-containers/containers.json",
	    "[{\"id\":\"" ID "\",\"names\":[\"k8s_side\"],\"metadata\":"
	    "\"{\\\"image-name\\\":\\\"r/side:4\\\"}\"}]");
	assert_true(read_path("/x/crio-" ID ".scope", &found));
	assert_string_equal(description_get(&found, DESCRIPTION_NAME), "side");
	assert_string_equal(description_get(&found, DESCRIPTION_IMAGE), "r/side:4");
}

static void rootless_podmans_files_are_in_its_users_home(void **state)
{
	static const char cgroup[] = "/user.slice/user-12345.slice/user@12345.service/user.slice/"
				     "libpod-" ID ".scope/container";
	struct description found;
	char users[256];
	(void)state;
	snprintf(users, sizeof(users), "root:x:0:0::/root:/bin/sh\nu:x:12345:1::%s/home:/bin/sh\n",
		 root);
	put("passwd", users);
	put("home/.local/share/containers/storage/overlay-containers/containers.json",
	    "[{\"id\":\"" ID "\",\"names\":[\"mine\"]}]");
	assert_true(read_path(cgroup, &found));
	assert_string_equal(description_get(&found, DESCRIPTION_NAME), "mine");
}

static void what_is_no_regular_file_is_not_read(void **state)
{
	char from[512], to[512];
	struct description found;
	(void)state;
	put("docker/containers/" ID "/x", "{\"ID\":\"" ID "\",\"Config\":{}}");
	snprintf(to, sizeof(to), "%s/docker/containers/%s/config.v2.json", root, ID);
	snprintf(from, sizeof(from), "%s/docker/containers/%s/x", root, ID);
	assert_int_equal(symlink(from, to), 0);
	assert_false(read_path("/docker/" ID, &found));
	unlink(to);
	assert_int_equal(mkfifo(to, 0644), 0); /* nobody writes: reading it would wait for ever */
	assert_false(read_path("/docker/" ID, &found));
	unlink(to);
	rename(from, to);
	assert_true(read_path("/docker/" ID, &found));
	assert_int_equal(truncate(to, (4 << 20) + 1), 0);
	assert_false(read_path("/docker/" ID, &found));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(dockers_containerds_and_crios_files_are_found,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(rootless_podmans_files_are_in_its_users_home,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_no_regular_file_is_not_read, set_up,
						tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
