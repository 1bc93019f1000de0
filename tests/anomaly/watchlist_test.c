#include "anomaly/watchlist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct monitor monitor_of(const char *name, uint32_t metric, double threshold)
{
	struct monitor monitor = {.metric = metric, .threshold = threshold};
	snprintf(monitor.name, sizeof(monitor.name), "%s", name);
	return monitor;
}

static uint32_t number_of(const struct watchlist *list, const char *name)
{
	for (uint32_t i = 0; i < list->ordered; i++)
		if (strcmp(watchlist_at(list, i)->name, name) == 0)
			return list->order[i];
	return UINT32_MAX;
}

static void a_monitor_keeps_its_number_while_it_is_in_force(void **state)
{
	(void)state;
	struct watchlist list = {0};
	struct monitor first[] = {monitor_of("a", METRIC_RTT, 1), monitor_of("b", METRIC_RTT, 1)};
	struct monitor then[] = {monitor_of("c", METRIC_RTT, 1), monitor_of("b", METRIC_RTT, 2)};
	watchlist_set(&list, first, 2);
	uint32_t b = number_of(&list, "b");
	watchlist_set(&list, then, 2);
	assert_int_equal(number_of(&list, "b"), b);
	assert_true(list.places[b].monitor.threshold == 2);
	assert_int_equal(number_of(&list, "c"), 1 - b); /* nobody holds a's any more */
	assert_string_equal(watchlist_at(&list, 0)->name, "c");
	watchlist_done(&list);
}

static void a_number_with_open_episodes_is_not_given_away(void **state)
{
	(void)state;
	struct watchlist list = {0};
	struct monitor a = monitor_of("a", METRIC_RTT, 1), b = monitor_of("b", METRIC_RTT, 1);
	watchlist_set(&list, &a, 1);
	list.places[0].episodes = 1;
	watchlist_set(&list, &b, 1);
	assert_int_equal(number_of(&list, "b"), 1);
	assert_string_equal(list.places[0].monitor.name, "a");
	watchlist_set(&list, &a, 1); /* it is back before they ended */
	assert_int_equal(number_of(&list, "a"), 0);
	watchlist_done(&list);
}

static void what_measures_something_else_is_another_monitor(void **state)
{
	(void)state;
	struct watchlist list = {0};
	struct monitor rtt = monitor_of("a", METRIC_RTT, 1),
		       bytes = monitor_of("a", METRIC_BYTES, 1);
	watchlist_set(&list, &rtt, 1);
	list.places[0].episodes = 1;
	watchlist_set(&list, &bytes, 1);
	assert_int_equal(number_of(&list, "a"), 1);
	watchlist_done(&list);
}

static void past_the_bound_there_is_no_place(void **state)
{
	(void)state;
	struct watchlist list = {0};
	struct monitor *monitors = calloc(MONITORS_MAX + 3, sizeof(*monitors));
	for (int i = 0; i < MONITORS_MAX + 3; i++) {
		monitors[i] = monitor_of("", METRIC_RTT, 1);
		snprintf(monitors[i].name, sizeof(monitors[i].name), "m%d", i);
	}
	assert_int_equal(watchlist_set(&list, monitors, MONITORS_MAX), 0);
	assert_int_equal(watchlist_set(&list, monitors, MONITORS_MAX + 3), 3);
	assert_int_equal(list.ordered, MONITORS_MAX);
	assert_int_equal(watchlist_set(&list, monitors + 3, MONITORS_MAX), 0);
	watchlist_done(&list);
	free(monitors);
}

static void whether_servers_are_watched_is_that_of_the_present_ones(void **state)
{
	(void)state;
	struct watchlist list = {0};
	struct monitor monitor = monitor_of("a", METRIC_RTT, 1);
	monitor.per_server = true;
	watchlist_set(&list, &monitor, 1);
	assert_true(list.per_server);
	watchlist_set(&list, NULL, 0);
	assert_false(list.per_server);
	watchlist_done(&list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_monitor_keeps_its_number_while_it_is_in_force),
		cmocka_unit_test(a_number_with_open_episodes_is_not_given_away),
		cmocka_unit_test(what_measures_something_else_is_another_monitor),
		cmocka_unit_test(past_the_bound_there_is_no_place),
		cmocka_unit_test(whether_servers_are_watched_is_that_of_the_present_ones),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
