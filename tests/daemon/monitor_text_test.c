#include "daemon/monitor_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct config_error error;
static size_t count;

static struct monitor *read_text(const char *text)
{
	return monitor_text_read("file.yaml", text, strlen(text), &count, &error);
}

static void refuses(const char *text, const char *word)
{
	struct monitor *monitors = read_text(text);

	assert_null(monitors);
	if (!strstr(error.text, word))
		fail_msg("\"%s\" does not say \"%s\"", error.text, word);
}

static void one_is_one_and_a_list_is_all_of_it(void **state)
{
	struct monitor *monitors = read_text("name: a\nmetric: rtt\nthreshold: 0.5\n");

	(void)state;
	assert_non_null(monitors);
	assert_int_equal(count, 1);
	assert_string_equal(monitors[0].name, "a");
	assert_true(monitors[0].metric == METRIC_RTT && monitors[0].threshold == 0.5);
	free(monitors);
	monitors = read_text("monitors:\n  - {name: b, metric: bytes, threshold: 1}\n"
			     "  - {name: a, metric: bytes, threshold: 2}\n");
	assert_non_null(monitors);
	assert_int_equal(count, 2);
	assert_string_equal(monitors[0].name, "b");
	assert_string_equal(monitors[1].name, "a");
	free(monitors);
}

static void what_is_wrong_is_said_with_its_place(void **state)
{
	(void)state;
	refuses("name: a\nmetric: rtt\nthreshold: much\n", "file.yaml:3");
	refuses("name: a\nmetric: failure_ratio\nthreshold: 2\n", "monitors: a: ");
	refuses("monitors: []\n", "monitors");
	refuses("monitors:\n  - {name: a, metric: rtt, threshold: 1}\n"
		"  - {name: a, metric: bytes, threshold: 1}\n",
		"twice");
	refuses("", "required");
}

static void as_many_as_may_be_are_taken_and_no_more(void **state)
{
	static char text[8192];
	size_t length = (size_t)snprintf(text, sizeof(text), "monitors:\n");
	struct monitor *monitors;

	(void)state;
	for (int i = 0; i < MONITOR_TEXT_MAX; i++)
		length += (size_t)snprintf(text + length, sizeof(text) - length,
					   "  - {name: m%d, metric: rtt, threshold: 1}\n", i);
	monitors = read_text(text);
	assert_non_null(monitors);
	assert_int_equal(count, MONITOR_TEXT_MAX);
	free(monitors);
	snprintf(text + length, sizeof(text) - length,
		 "  - {name: more, metric: rtt, threshold: 1}\n");
	refuses(text, "64");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_is_one_and_a_list_is_all_of_it),
		cmocka_unit_test(what_is_wrong_is_said_with_its_place),
		cmocka_unit_test(as_many_as_may_be_are_taken_and_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
