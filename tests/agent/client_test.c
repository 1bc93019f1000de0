#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/client.h"

static unsigned long slack_of(const char *thread)
{
	char path[64];
	unsigned long slack_ns = 0;
	snprintf(path, sizeof(path), "/proc/%s/timerslack_ns", thread);
	FILE *file = fopen(path, "re");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu", &slack_ns), 1);
	fclose(file);
	return slack_ns;
}

static void its_threads_may_be_late_and_who_made_it_is_not(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip(); /* nobody else may look at another thread's */
	char why[256] = "", self[16];
	int before = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0), others = 0;
	rd_kafka_t *client = client_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), why, sizeof(why));
	assert_non_null(client);
	assert_int_equal(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0), before);
	snprintf(self, sizeof(self), "%d", (int)getpid());
	DIR *threads = opendir("/proc/self/task");
	assert_non_null(threads);
	for (struct dirent *entry; (entry = readdir(threads));) {
		if (entry->d_name[0] == '.' || strcmp(entry->d_name, self) == 0)
			continue;
		assert_true(slack_of(entry->d_name) >= 10 * 1000000);
		others++;
	}
	closedir(threads);
	assert_true(others > 0);
	rd_kafka_destroy(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(its_threads_may_be_late_and_who_made_it_is_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
