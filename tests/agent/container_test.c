#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/container.h"

#define ID   "3f4e5d6c7b8a99887766554433221100ffeeddccbbaa99887766554433221100"
#define UID_ "1a2b3c4d_0000_1111_2222_333344445555"
#define UID  "1a2b3c4d-0000-1111-2222-333344445555"

static void expect(const char *path, const char *id, const char *pod, const char *unit)
{
	struct container_path found;
	bool any = container_parse(path, &found);
	if (strcmp(found.id, id) || strcmp(found.pod, pod) || strcmp(found.unit, unit))
		print_error("%s: id %s pod %s unit %s\n", path, found.id, found.pod, found.unit);
	assert_string_equal(found.id, id);
	assert_string_equal(found.pod, pod);
	assert_string_equal(found.unit, unit);
	assert_int_equal(any, *id || *pod || *unit);
}

static void a_kubepods_slice_gives_its_uid_with_dashes_and_the_id_behind_it(void **state)
{
	(void)state;
	expect("kubepods-burstable-pod" UID_ ".slice", "", UID, "");
	expect("kubepods-burstable-pod" UID_ ".slice:cri-containerd:" ID, ID, UID, "");
	expect("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" UID_
	       ".slice/cri-containerd-" ID ".scope",
	       ID, UID, "");
}

static void scopes_bare_ids_pods_and_services_are_known(void **state)
{
	(void)state;
	expect("cri-containerd-" ID ".scope", ID, "", "");
	expect(ID, ID, "", "");
	expect("pod" UID, "", UID, "");
	expect("pod" UID_, "", UID, "");
	expect("pod1a2b3c4d000011112222333344445555", "", UID, "");
	expect("/system.slice/nginx.service", "", "", "nginx.service");
	expect("x.service", "", "", "x.service");
	expect("/kubepods/burstable/pod" UID "/" ID, ID, UID, "");
	expect("/docker/" ID, ID, "", "");
	expect("/system.slice/docker-" ID ".scope/init.scope", ID, "", "");
}

static void other_runtimes_are_containers_and_their_monitors_are_not(void **state)
{
	(void)state;
	expect("crio-" ID ".scope", ID, "", "");
	expect("docker-" ID ".scope", ID, "", "");
	expect("libpod-" ID ".scope", ID, "", "");
	expect("/machine.slice/libpod-" ID ".scope/container", ID, "", "");
	expect("crio-conmon-" ID ".scope", "", "", "");
	expect("libpod-conmon-" ID ".scope", "", "", "");
}

static void a_guaranteed_pod_has_both_uid_and_id(void **state)
{
	(void)state;
	expect("kubepods-pod" UID_ ".slice:cri-containerd:" ID, ID, UID, "");
	expect("kubepods-pod" UID_ ".slice", "", UID, "");
}

static void what_is_no_container_is_none(void **state)
{
	(void)state;
	expect("junk", "", "", "");
	expect("kubepods", "", "", "");
	expect("kubepods.slice", "", "", "");
	expect("1234abcd", "", "", "");
	expect("", "", "", "");
	expect("/", "", "", "");
	expect("docker-" ID "0.scope", "", "", "docker-" ID "0.scope");
}

static void ecs_tasks_have_their_containers_id(void **state)
{
	(void)state;
	expect("/ecs/0123456789abcdef0123456789abcdef/0123456789abcdef0123456789abcdef-123456789",
	       "0123456789abcdef0123456789abcdef-123456789", "", "");
	expect("/ecs/0123456789abcdef0123456789abcdef/" ID, ID, "", "");
}

static void the_service_inside_a_user_slice_is_the_innermost(void **state)
{
	(void)state;
	expect("/user.slice/user-1000.slice/user@1000.service/app.slice/web.service", "", "",
	       "web.service");
	expect("/user.slice/user-0.slice/session-3.scope", "", "", "session-3.scope");
}

static void expect_runtime(const char *path, const char *runtime)
{
	struct container_path found;
	assert_true(container_parse(path, &found));
	assert_string_equal(found.id, ID);
	assert_string_equal(found.runtime, runtime);
}

static void the_runtime_is_known_where_the_path_names_it(void **state)
{
	(void)state;
	expect_runtime("/docker/" ID, "docker");
	expect_runtime("/system.slice/docker-" ID ".scope", "docker");
	expect_runtime("/k8s.io/" ID, "containerd");
	expect_runtime("kubepods-pod" UID_ ".slice:cri-containerd:" ID, "containerd");
	expect_runtime("/kubepods/besteffort/pod" UID "/crio-" ID, "cri-o");
	expect_runtime("/libpod_parent/libpod-" ID, "podman");
	expect_runtime("/ecs/0123456789abcdef0123456789abcdef/" ID, "ecs");
	expect_runtime("/kubepods/burstable/pod" UID "/" ID, "");
}

static void of_nested_containers_the_innermost_counts_with_its_own_runtime(void **state)
{
	(void)state;
	expect_runtime("/docker/9f4e5d6c7b8a99887766554433221100ffeeddccbbaa99887766554433221100/"
		       "kubelet/kubepods/pod" UID "/cri-containerd-" ID ".scope",
		       "containerd");
	expect_runtime(
		"/docker/9f4e5d6c7b8a99887766554433221100ffeeddccbbaa99887766554433221100/" ID, "");
}

static void a_rootless_container_has_its_user(void **state)
{
	struct container_path found;
	(void)state;
	assert_true(container_parse("/user.slice/user-1000.slice/user@1000.service/user.slice/"
				    "libpod-" ID ".scope/container",
				    &found));
	assert_string_equal(found.id, ID);
	assert_string_equal(found.runtime, "podman");
	assert_string_equal(found.unit, "");
	assert_int_equal(found.user, 1000);
	assert_true(container_parse("/user.slice/user-1x.slice/a.service", &found));
	assert_int_equal(found.user, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_runtime_is_known_where_the_path_names_it),
		cmocka_unit_test(of_nested_containers_the_innermost_counts_with_its_own_runtime),
		cmocka_unit_test(a_rootless_container_has_its_user),
		cmocka_unit_test(a_kubepods_slice_gives_its_uid_with_dashes_and_the_id_behind_it),
		cmocka_unit_test(scopes_bare_ids_pods_and_services_are_known),
		cmocka_unit_test(other_runtimes_are_containers_and_their_monitors_are_not),
		cmocka_unit_test(a_guaranteed_pod_has_both_uid_and_id),
		cmocka_unit_test(what_is_no_container_is_none),
		cmocka_unit_test(ecs_tasks_have_their_containers_id),
		cmocka_unit_test(the_service_inside_a_user_slice_is_the_innermost),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
