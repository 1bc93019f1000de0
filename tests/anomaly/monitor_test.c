#include "anomaly/monitor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

static struct monitor good(void)
{
	return (struct monitor){.name = "good",
				.metric = METRIC_FAILURE_RATIO,
				.threshold = 0.5,
				.clear = 0.5,
				.window_ns = NS_PER_S,
				.clear_ns = NS_PER_S};
}

static void expect_bad(const struct monitor *monitor, const char *words)
{
	const char *why = monitor_check(monitor);
	assert_non_null(why);
	if (strncmp(why, words, strlen(words)) != 0)
		fail_msg("\"%s\" instead of \"%s\"", why, words);
}

static void a_ratio_is_between_nothing_and_all(void **state)
{
	(void)state;
	for (uint32_t metric = 0; metric < METRICS; metric++) {
		struct monitor monitor = good();
		monitor.metric = metric;
		monitor.per_server = metric == METRIC_CLIENTS_NEW;
		monitor.threshold = monitor.clear = 1;
		assert_null(monitor_check(&monitor));
		monitor.threshold = 5; /* per cent, perhaps */
		if (strstr(metric_name(metric), "ratio"))
			expect_bad(&monitor, "threshold");
		else
			assert_null(monitor_check(&monitor));
		monitor.threshold = 1;
		monitor.clear = -0.5;
		if (strstr(metric_name(metric), "ratio"))
			expect_bad(&monitor, "threshold, clear");
		else
			assert_null(monitor_check(&monitor));
	}
}

static void quiet_is_not_beyond_the_threshold(void **state)
{
	(void)state;
	struct monitor monitor = good();
	monitor.clear = 0.4;
	assert_null(monitor_check(&monitor));
	monitor.clear = 0.6;
	expect_bad(&monitor, "clear");
	monitor.comparison = COMPARE_BELOW;
	assert_null(monitor_check(&monitor));
	monitor.clear = 0.4;
	expect_bad(&monitor, "clear");
}

static void new_clients_are_those_of_a_server(void **state)
{
	(void)state;
	struct monitor monitor = good();
	monitor.metric = METRIC_CLIENTS_NEW;
	expect_bad(&monitor, "per");
	monitor.per_server = true;
	assert_null(monitor_check(&monitor));
}

static void what_is_over_all_clients_is_of_none(void **state)
{
	(void)state;
	struct monitor monitor = good();
	snprintf(monitor.client, sizeof(monitor.client), "web");
	assert_null(monitor_check(&monitor));
	monitor.per_server = true;
	expect_bad(&monitor, "client");
}

static void names_of_alerts_that_are_made_here_are_taken(void **state)
{
	(void)state;
	static const char *const taken[] = {"millrace/lag", "baseline/rtt", "burn-rate/1h"};
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		struct monitor monitor = good();
		snprintf(monitor.name, sizeof(monitor.name), "%s", taken[i]);
		expect_bad(&monitor, "name");
		monitor.name[0] = 'x';
		assert_null(monitor_check(&monitor));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_ratio_is_between_nothing_and_all),
		cmocka_unit_test(quiet_is_not_beyond_the_threshold),
		cmocka_unit_test(new_clients_are_those_of_a_server),
		cmocka_unit_test(what_is_over_all_clients_is_of_none),
		cmocka_unit_test(names_of_alerts_that_are_made_here_are_taken),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
