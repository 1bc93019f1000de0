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

static struct monitor of_kind(uint32_t kind)
{
	struct monitor monitor = {.name = "good",
				  .kind = kind,
				  .metric = METRICS,
				  .window_ns = MONITOR_WINDOW_NS,
				  .clear_ns = MONITOR_CLEAR_NS};
	switch (kind) {
	case MONITOR_THRESHOLD:
		return good();
	case MONITOR_BURN_RATE:
		monitor.per_server = true;
		monitor.objective = 0.999;
		break;
	case MONITOR_BASELINE:
		monitor.silent = true;
		monitor.severity = MONITOR_SEVERITY_OWN;
		break;
	case MONITOR_NEW_EDGE:
		monitor.learn_ns = MONITOR_LEARN_NS;
		break;
	case MONITOR_ABSENCE:
		monitor.absent_ns = MONITOR_ABSENT_NS;
		break;
	}
	return monitor;
}

#define SPOILT(kind, member, value, words)               \
	do {                                             \
		struct monitor monitor_ = of_kind(kind); \
		monitor_.member = (value);               \
		expect_bad(&monitor_, words);            \
	} while (0)
#define STILL(kind, member, value)                       \
	do {                                             \
		struct monitor monitor_ = of_kind(kind); \
		monitor_.member = (value);               \
		assert_null(monitor_check(&monitor_));   \
	} while (0)

static void each_kind_has_its_own_words(void **state)
{
	(void)state;
	for (uint32_t kind = 0; kind < MONITOR_KINDS; kind++) {
		struct monitor monitor = of_kind(kind);
		assert_null(monitor_check(&monitor));
		if (kind != MONITOR_THRESHOLD) {
			SPOILT(kind, threshold, 1, "comparison");
			SPOILT(kind, clear, 1, "comparison");
			SPOILT(kind, comparison, COMPARE_BELOW, "comparison");
			SPOILT(kind, minimum, 1, "comparison");
			SPOILT(kind, window_ns, 10 * NS_PER_S, "comparison");
		}
		if (kind != MONITOR_THRESHOLD && kind != MONITOR_BASELINE)
			SPOILT(kind, metric, METRIC_RTT, "metric");
		if (kind != MONITOR_BURN_RATE)
			SPOILT(kind, objective, 0.9, "objective");
		if (kind != MONITOR_BASELINE) {
			SPOILT(kind, sensitivity, 9, "sensitivity");
			SPOILT(kind, silent, true, "sensitivity");
			SPOILT(kind, severity, MONITOR_SEVERITY_OWN, "severity");
		}
		if (kind != MONITOR_NEW_EDGE)
			SPOILT(kind, learn_ns, 1, "learn");
		if (kind != MONITOR_ABSENCE)
			SPOILT(kind, absent_ns, NS_PER_S, "absent_for");
		SPOILT(kind, metric, METRICS + 1, "metric");
		SPOILT(kind, protocol, 1, "protocol");
	}
	SPOILT(MONITOR_THRESHOLD, kind, MONITOR_KINDS, "kind");
}

static void what_a_kind_has_is_within_its_bounds(void **state)
{
	(void)state;
	SPOILT(MONITOR_THRESHOLD, metric, METRICS, "metric");
	SPOILT(MONITOR_THRESHOLD, threshold, -1, "threshold: required");
	SPOILT(MONITOR_BURN_RATE, objective, 0, "objective: required");
	SPOILT(MONITOR_BURN_RATE, objective, 0.49, "objective");
	STILL(MONITOR_BURN_RATE, objective, 0.5);
	STILL(MONITOR_BURN_RATE, objective, 0.99999);
	SPOILT(MONITOR_BURN_RATE, objective, 0.999999, "objective");
	SPOILT(MONITOR_BURN_RATE, per_server, false, "per");
	SPOILT(MONITOR_BASELINE, metric, METRIC_CONNECTIONS_FAILED, "metric");
	STILL(MONITOR_BASELINE, metric, METRIC_CLIENTS_NEW);
	SPOILT(MONITOR_BASELINE, silent, false, "sensitivity, severity, silent");
	SPOILT(MONITOR_BASELINE, sensitivity, 2.9, "sensitivity");
	STILL(MONITOR_BASELINE, sensitivity, 3);
	STILL(MONITOR_BASELINE, sensitivity, 100);
	SPOILT(MONITOR_BASELINE, sensitivity, 101, "sensitivity");
	SPOILT(MONITOR_BASELINE, per_server, true, "per");
	SPOILT(MONITOR_BASELINE, clear_ns, NS_PER_S, "clear_after");
	SPOILT(MONITOR_BASELINE, server_zone[0], 'a', "zones");
	SPOILT(MONITOR_NEW_EDGE, per_server, true, "per");
	SPOILT(MONITOR_NEW_EDGE, client_version[0], 'a', "zones");
	STILL(MONITOR_NEW_EDGE, learn_ns, 0);
	STILL(MONITOR_NEW_EDGE, learn_ns, 30 * 86400 * NS_PER_S);
	SPOILT(MONITOR_NEW_EDGE, learn_ns, 30 * 86400 * NS_PER_S + 1, "learn");
	STILL(MONITOR_ABSENCE, absent_ns, 10 * NS_PER_S);
	STILL(MONITOR_ABSENCE, absent_ns, 86400 * NS_PER_S);
	SPOILT(MONITOR_ABSENCE, absent_ns, 10 * NS_PER_S - PANE_NS, "absent_for");
	SPOILT(MONITOR_ABSENCE, absent_ns, 86400 * NS_PER_S + PANE_NS, "absent_for");
	SPOILT(MONITOR_ABSENCE, absent_ns, 10 * NS_PER_S + 1, "absent_for");
	struct monitor monitor = of_kind(MONITOR_BURN_RATE);
	memset(monitor.name, 'n', 60);
	assert_null(monitor_check(&monitor));
	monitor.name[60] = 'n';
	expect_bad(&monitor, "name");
	monitor = of_kind(MONITOR_BASELINE);
	monitor.metric = METRIC_CLIENTS_NEW;
	monitor.client[0] = 'a';
	expect_bad(&monitor, "client");
}

static void zones_and_versions_are_looked_at_each_ten_seconds(void **state)
{
	(void)state;
	SPOILT(MONITOR_THRESHOLD, server_version[0], 'v', "window");
	struct monitor monitor = good();
	monitor.server_version[0] = 'v';
	monitor.window_ns = 20 * NS_PER_S;
	assert_null(monitor_check(&monitor));
	monitor.window_ns = 25 * NS_PER_S;
	expect_bad(&monitor, "window");
	monitor.window_ns = 10 * NS_PER_S;
	monitor.per_server = true;
	assert_null(monitor_check(&monitor));
	monitor.client_zone[0] = 'a';
	assert_null(monitor_check(&monitor));
	monitor.client_namespace[0] = 'a';
	expect_bad(&monitor, "client");
	monitor.client_namespace[0] = 0;
	monitor.metric = METRIC_CLIENTS_NEW;
	monitor.threshold = monitor.clear = 1;
	expect_bad(&monitor, "metric");
}

static void an_edge_matches_by_all_of_its_filters(void **state)
{
	(void)state;
	struct monitor monitor = good();
	assert_true(monitor_matches(&monitor, "", "", 1, 6));
	strcpy(monitor.client, "shop/*\n!shop/test");
	assert_true(monitor_matches(&monitor, "shop/web", "bank/db", 1, 6));
	assert_false(monitor_matches(&monitor, "shop/test", "bank/db", 1, 6));
	assert_false(monitor_matches(&monitor, "bank/web", "bank/db", 1, 6));
	strcpy(monitor.server_namespace, "bank");
	assert_true(monitor_matches(&monitor, "shop/web", "bank/db", 1, 6));
	assert_true(monitor_matches(&monitor, "shop/web", "bank/", 1, 6));
	assert_false(monitor_matches(&monitor, "shop/web", "bank", 1, 6));
	assert_false(monitor_matches(&monitor, "shop/web", "bank2/db", 1, 6));
	assert_false(monitor_matches(&monitor, "shop/web", "x/bank/db", 1, 6));
	monitor.protocol = 17;
	assert_false(monitor_matches(&monitor, "shop/web", "bank/db", 1, 6));
	assert_true(monitor_matches(&monitor, "shop/web", "bank/db", 1, 17));
	monitor.port = 53;
	assert_false(monitor_matches(&monitor, "shop/web", "bank/db", 1, 17));
	assert_true(monitor_matches(&monitor, "shop/web", "bank/db", 53, 17));
	strcpy(monitor.client_namespace, "!shop");
	assert_false(monitor_matches(&monitor, "shop/web", "bank/db", 53, 17));
	assert_false(monitor_has_parts(&monitor));
	strcpy(monitor.client_zone, "eu-*");
	strcpy(monitor.server_version, "!v2");
	assert_true(monitor_has_parts(&monitor));
	assert_true(monitor_matches_client(&monitor, "eu-1", "v1"));
	assert_false(monitor_matches_client(&monitor, "us-1", "v1"));
	assert_true(monitor_matches_server(&monitor, "us-1", "v1"));
	assert_false(monitor_matches_server(&monitor, "us-1", "v2"));
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

static void each_kind_knows_how_long_it_looks_back(void **state)
{
	(void)state;
	const uint64_t hour = 3600 * NS_PER_S;
	struct monitor monitor = good();
	monitor.window_ns = 10 * NS_PER_S;
	assert_int_equal(monitor_back_ns(&monitor), 10 * NS_PER_S);
	monitor.comparison = COMPARE_BELOW;
	assert_int_equal(monitor_back_ns(&monitor), hour + 10 * NS_PER_S);
	assert_int_equal(monitor_blind_ns(&monitor), 0);
	monitor = (struct monitor){.kind = MONITOR_BURN_RATE, .window_ns = NS_PER_S};
	assert_int_equal(monitor_back_ns(&monitor), 73 * hour);
	assert_int_equal(monitor_blind_ns(&monitor), hour);
	monitor = (struct monitor){.kind = MONITOR_NEW_EDGE, .learn_ns = 24 * hour};
	assert_int_equal(monitor_back_ns(&monitor), 24 * hour);
	assert_int_equal(monitor_blind_ns(&monitor), 24 * hour);
	monitor = (struct monitor){.kind = MONITOR_ABSENCE, .absent_ns = 2 * hour};
	assert_int_equal(monitor_back_ns(&monitor), 5 * hour);
	assert_int_equal(monitor_blind_ns(&monitor), 4 * hour);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_ratio_is_between_nothing_and_all),
		cmocka_unit_test(quiet_is_not_beyond_the_threshold),
		cmocka_unit_test(new_clients_are_those_of_a_server),
		cmocka_unit_test(what_is_over_all_clients_is_of_none),
		cmocka_unit_test(each_kind_has_its_own_words),
		cmocka_unit_test(what_a_kind_has_is_within_its_bounds),
		cmocka_unit_test(zones_and_versions_are_looked_at_each_ten_seconds),
		cmocka_unit_test(an_edge_matches_by_all_of_its_filters),
		cmocka_unit_test(names_of_alerts_that_are_made_here_are_taken),
		cmocka_unit_test(each_kind_knows_how_long_it_looks_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
