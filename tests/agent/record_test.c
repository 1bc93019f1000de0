#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/record.h"
#include "base/memory.h"

static void a_record_is_as_long_as_its_kind(void **state)
{
	(void)state;
	struct mr_open open = {.head = {.kind = MR_OPEN}, .cookie = 1};
	assert_true(record_whole(&open.head, sizeof(open)));
	assert_false(record_whole(&open.head, sizeof(open) - 1));
	open.cookie = 0;
	assert_false(record_whole(&open.head, sizeof(open)));
	open.cookie = 1;
	open.head.kind = 0;
	assert_false(record_whole(&open.head, sizeof(open)));
	open.head.kind = MR_KINDS;
	assert_false(record_whole(&open.head, sizeof(open)));
	assert_false(record_whole(&open.head, 3));
}

static void an_execs_own_lengths_must_hold(void **state)
{
	(void)state;
	size_t size = sizeof(struct mr_exec) + 2 * MR_ARGUMENTS_BYTES;
	struct mr_exec *exec = memory_zeroed(1, size);
	exec->task.head.kind = MR_EXEC;
	assert_true(record_whole(&exec->task.head, sizeof(*exec)));
	exec->arguments_length = 1;
	assert_false(record_whole(&exec->task.head, sizeof(*exec)));
	assert_true(record_whole(&exec->task.head, sizeof(*exec) + 1));
	exec->arguments_length = MR_ARGUMENTS_BYTES;
	assert_true(record_whole(&exec->task.head, size));
	exec->arguments_length++;
	assert_false(record_whole(&exec->task.head, size));
	exec->arguments_length = 0;
	exec->path_length = MR_PATH_BYTES + 1;
	assert_false(record_whole(&exec->task.head, size));
	exec->path_length = UINT32_MAX;
	exec->arguments_length = 1;
	assert_false(record_whole(&exec->task.head, size));
	free(exec);
}

static void a_messages_own_length_must_hold(void **state)
{
	(void)state;
	static const uint16_t kinds[] = {MR_DNS, MR_HELLO};
	struct mr_message *message = memory_zeroed(1, sizeof(*message) + 100);
	for (size_t i = 0; i < 2; i++) {
		message->head.kind = kinds[i];
		message->length = 100;
		assert_true(record_whole(&message->head, sizeof(*message) + 100));
		assert_false(record_whole(&message->head, sizeof(*message) + 99));
		message->length = UINT16_MAX;
		assert_false(record_whole(&message->head, sizeof(*message) + 100));
	}
	free(message);
}

static void a_cgroups_path_must_end(void **state)
{
	(void)state;
	struct mr_cgroup cgroup = {.head = {.kind = MR_CGROUP}};
	assert_true(record_whole(&cgroup.head, sizeof(cgroup)));
	memset(cgroup.path, 'x', sizeof(cgroup.path));
	assert_false(record_whole(&cgroup.head, sizeof(cgroup)));
}

static void expect_path(const char *parts, size_t length, uint16_t flags, const char *path)
{
	struct mr_exec *exec = memory_zeroed(1, sizeof(*exec) + length);
	char found[MR_PATH_BYTES];
	exec->task.head.flags = flags;
	exec->path_length = (uint32_t)length;
	memcpy(exec->text, parts, length);
	size_t n = record_path(exec, found);
	assert_int_equal(n, strlen(path));
	assert_memory_equal(found, path, n);
	free(exec);
}

static void a_path_is_put_together_from_its_parts(void **state)
{
	(void)state;
	expect_path("sh\0bin\0usr", 11, 0, "/usr/bin/sh");
	expect_path("sh", 3, 0, "/sh");
	expect_path("sh\0bin", 7, MR_PATH_CUT, "bin/sh");
	expect_path("", 0, 0, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_is_as_long_as_its_kind),
		cmocka_unit_test(an_execs_own_lengths_must_hold),
		cmocka_unit_test(a_messages_own_length_must_hold),
		cmocka_unit_test(a_cgroups_path_must_end),
		cmocka_unit_test(a_path_is_put_together_from_its_parts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
