#include "daemon/culprit.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ingest/mirror.h"

enum { TASKS = 4 };

struct fixture {
	char folder[64];
	int told;
};

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/millrace-culprit-XXXXXX");
	assert_non_null(mkdtemp(fixture->folder));
	*state = fixture;
	return 0;
}

static void path_of(const struct fixture *fixture, const char *name, char path[128])
{
	snprintf(path, 128, "%s/%s", fixture->folder, name);
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;
	char path[128];

	path_of(fixture, "marks", path);
	unlink(path);
	path_of(fixture, "passed-over", path);
	unlink(path);
	rmdir(fixture->folder);
	free(fixture);
	return 0;
}

static void on_told(void *context, const char *sentence)
{
	struct fixture *fixture = context;

	assert_non_null(strstr(sentence, "partition"));
	fixture->told++;
}

static struct culprits *open_of(struct fixture *fixture, uint32_t tasks)
{
	char why[128];
	struct culprits *culprits =
		culprits_open(&(struct culprits_options){.folder = fixture->folder,
							 .tasks = tasks,
							 .context = fixture,
							 .told = on_told},
			      why, sizeof(why));

	assert_non_null(culprits);
	return culprits;
}

static struct mirror_record record_of(int64_t offset, uint64_t append_ns)
{
	return (struct mirror_record){.offset = offset, .append_ns = append_ns};
}

/* A life that is killed while it reads the record. Whether it would read it. */
static bool die_at(struct fixture *fixture, uint32_t task, int64_t offset, uint64_t append_ns)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		struct culprits *culprits = open_of(fixture, TASKS);
		struct mirror_record before = record_of(offset - 1, append_ns);
		struct mirror_record record = record_of(offset, append_ns);

		culprits_enter(culprits, task, &before);
		culprits_leave(culprits, task);
		if (culprits_enter(culprits, task, &record))
			_exit(0);
		kill(getpid(), SIGKILL);
	}
	waitpid(child, &status, 0);
	return WIFSIGNALED(status);
}

static void after_three_lives_the_record_is_passed_over_for_good(void **state)
{
	struct fixture *fixture = *state;
	struct mirror_record record = record_of(7, 1000), next = record_of(8, 1000);

	for (int life = 0; life < CULPRIT_CRASHES; life++)
		assert_true(die_at(fixture, 2, 7, 1000));
	assert_false(die_at(fixture, 2, 7, 1000));
	for (int life = 0; life < 2; life++) {
		struct culprits *culprits = open_of(fixture, TASKS);

		assert_int_equal(culprits_count(culprits), 1);
		assert_true(culprits_enter(culprits, 2, &record));
		assert_false(culprits_enter(culprits, 2, &next));
		culprits_leave(culprits, 2);
		assert_false(culprits_enter(culprits, 1, &record));
		culprits_leave(culprits, 1);
		culprits_close(culprits);
	}
	assert_int_equal(fixture->told, 0); /* an end of its own will leaves no mark */
}

static void another_logs_record_at_the_same_offset_is_read(void **state)
{
	struct fixture *fixture = *state;
	struct mirror_record other = record_of(7, 2000);

	for (int life = 0; life < CULPRIT_CRASHES; life++)
		assert_true(die_at(fixture, 0, 7, 1000));

	struct culprits *culprits = open_of(fixture, TASKS);

	assert_int_equal(fixture->told, 1);
	assert_false(culprits_enter(culprits, 0, &other));
	culprits_leave(culprits, 0);
	culprits_close(culprits);
}

static void lives_that_end_at_different_records_accuse_none(void **state)
{
	struct fixture *fixture = *state;

	for (int life = 0; life < 4 * CULPRIT_CRASHES; life++)
		assert_true(die_at(fixture, 0, 7 + life % 2, 1000));

	struct culprits *culprits = open_of(fixture, TASKS);

	assert_int_equal(culprits_count(culprits), 0);
	culprits_close(culprits);
}

static void a_list_that_was_cut_short_loses_only_its_last_line(void **state)
{
	struct fixture *fixture = *state;
	struct mirror_record first = record_of(7, 1000), second = record_of(9, 1234);
	char path[128];

	for (int life = 0; life < CULPRIT_CRASHES; life++)
		assert_true(die_at(fixture, 0, 7, 1000));
	for (int life = 0; life < CULPRIT_CRASHES; life++)
		assert_true(die_at(fixture, 3, 9, 1234));
	culprits_close(open_of(fixture, TASKS));
	path_of(fixture, "passed-over", path);

	FILE *file = fopen(path, "r+");

	fseek(file, 0, SEEK_END);
	assert_int_equal(ftruncate(fileno(file), ftell(file) - 3), 0);
	fclose(file);

	struct culprits *culprits = open_of(fixture, TASKS);

	assert_true(culprits_enter(culprits, 0, &first));
	assert_false(culprits_enter(culprits, 3, &second));
	culprits_leave(culprits, 3);
	culprits_close(culprits);
	/* It has had its three lives, and what is added is not joined to the broken line. */
	assert_true(die_at(fixture, 3, 9, 1234));
	assert_false(die_at(fixture, 3, 9, 1234));
	assert_false(die_at(fixture, 3, 9, 1234));
}

static void marks_of_another_number_of_tasks_are_begun_anew(void **state)
{
	struct fixture *fixture = *state;

	assert_true(die_at(fixture, 3, 7, 1000));

	struct culprits *culprits = open_of(fixture, 2 * TASKS);
	struct mirror_record record = record_of(7, 1000);

	assert_int_equal(fixture->told, 0);
	assert_false(culprits_enter(culprits, 2 * TASKS - 1, &record));
	culprits_close(culprits);
}

static void a_folder_that_is_not_there_is_told(void **state)
{
	struct culprits_options options = {
		.folder = "/nowhere", .tasks = TASKS, .context = NULL, .told = NULL};
	char why[128];

	(void)state;
	assert_null(culprits_open(&options, why, sizeof(why)));
	assert_string_equal(why, "No such file or directory");
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(after_three_lives_the_record_is_passed_over_for_good),
		T(another_logs_record_at_the_same_offset_is_read),
		T(lives_that_end_at_different_records_accuse_none),
		T(a_list_that_was_cut_short_loses_only_its_last_line),
		T(marks_of_another_number_of_tasks_are_begun_anew),
		cmocka_unit_test(a_folder_that_is_not_there_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
