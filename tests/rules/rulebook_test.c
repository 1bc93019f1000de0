#include "rules/rulebook.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"

enum { ROOM = 4 };
#define T0 (1000000 * NS_PER_S)

static struct rule rule_of(const char *name, uint64_t issued_ns, double threshold)
{
	struct rule rule = {.issued_ns = issued_ns, .monitor = {.threshold = threshold}};
	snprintf(rule.monitor.name, sizeof(rule.monitor.name), "%s", name);
	rule_monitor_id(name, rule.id);
	return rule;
}

static bool tell(struct rulebook *book, const char *name, uint64_t issued_ns, bool withdrawn)
{
	struct rule rule = rule_of(name, issued_ns, 1);
	rule.withdrawn = withdrawn;
	return rulebook_take(book, &rule, issued_ns);
}

static bool in_force(const struct rulebook *book, const char *name)
{
	size_t count;
	const struct monitor *monitors = rulebook_monitors(book, &count);
	for (size_t i = 0; i < count; i++)
		if (strcmp(monitors[i].name, name) == 0)
			return true;
	return false;
}

static void of_one_id_the_last_issued_stands(void **state)
{
	(void)state;
	struct rulebook *book = rulebook_new(NULL, 0, ROOM);
	struct rule newer = rule_of("a", T0 + 2, 5), older = rule_of("a", T0 + 1, 7);
	assert_true(rulebook_take(book, &newer, T0));
	assert_false(rulebook_take(book, &older, T0));
	assert_false(rulebook_take(book, &newer, T0));
	assert_true(rulebook_find(book, "monitor/a")->monitor.threshold == 5);
	assert_true(tell(book, "a", T0 + 3, true));
	assert_false(in_force(book, "a"));
	assert_false(rulebook_take(book, &newer, T0)); /* it does not come back */
	assert_true(tell(book, "a", T0 + 4, false));
	assert_true(in_force(book, "a"));
	rulebook_free(book);
}

static void the_configurations_come_first_and_their_names_are_theirs(void **state)
{
	(void)state;
	struct monitor own = rule_of("own", 1, 3).monitor;
	struct rulebook *book = rulebook_new(&own, 1, ROOM);
	size_t count;
	tell(book, "a", T0, false);
	tell(book, "own", T0, false);
	const struct monitor *monitors = rulebook_monitors(book, &count);
	assert_int_equal(count, 2);
	assert_string_equal(monitors[0].name, "own");
	assert_true(monitors[0].threshold == 3);
	assert_string_equal(monitors[1].name, "a");
	rulebook_free(book);
}

static void past_the_bound_a_rule_is_refused_and_counted_and_a_withdrawal_is_not(void **state)
{
	(void)state;
	struct rulebook *book = rulebook_new(NULL, 0, ROOM);
	char name[8];
	for (int i = 0; i < ROOM; i++) {
		snprintf(name, sizeof(name), "m%d", i);
		assert_true(tell(book, name, T0 + (uint64_t)i, false));
	}
	assert_true(rulebook_full(book));
	assert_false(tell(book, "more", T0 + 10, false));
	assert_int_equal(rulebook_refused(book), 1);
	assert_true(tell(book, "m1", T0 + 11, false)); /* in its own place */
	for (uint64_t i = 0; i < 5 * ROOM; i++) {
		snprintf(name, sizeof(name), "gone%d", (int)i);
		tell(book, name, T0 + 20 + i, true);
	}
	assert_null(rulebook_find(book, "monitor/gone15")); /* ROOM of them are remembered */
	assert_non_null(rulebook_find(book, "monitor/gone16"));
	assert_non_null(rulebook_find(book, "monitor/gone19"));
	assert_true(tell(book, "m0", T0 + 60, true));
	assert_true(tell(book, "more", T0 + 61, false));
	rulebook_free(book);
}

static void a_rule_that_stands_is_ended_by_a_withdrawal_of_any_age(void **state)
{
	(void)state;
	struct rulebook *book = rulebook_new(NULL, 0, ROOM);
	struct rule withdrawal = rule_of("a", T0 + 1, 1);
	withdrawal.withdrawn = true;
	tell(book, "a", T0, false);
	assert_true(rulebook_take(book, &withdrawal, T0 + 100 * RULEBOOK_FORGET_NS));
	assert_false(in_force(book, "a"));
	assert_false(rulebook_take(book, &withdrawal, T0 + 100 * RULEBOOK_FORGET_NS));
	rulebook_free(book);
}

static void a_withdrawal_is_remembered_for_its_time(void **state)
{
	(void)state;
	struct rulebook *book = rulebook_new(NULL, 0, ROOM);
	struct rule stale = rule_of("a", T0, 1);
	tell(book, "a", T0 + 1, true);
	assert_false(rulebook_take(book, &stale, T0 + RULEBOOK_FORGET_NS));
	tell(book, "b", T0 + 2 + RULEBOOK_FORGET_NS, false);
	assert_null(rulebook_find(book, "monitor/a"));
	rulebook_free(book);
}

/* Whatever order they come in, and however often: what stands is the same, in the same order. */
static void the_order_of_telling_changes_nothing(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 50; seed++) {
		struct rulebook *one = rulebook_new(NULL, 0, 64), *two = rulebook_new(NULL, 0, 64);
		struct rule rules[40];
		for (uint64_t i = 0; i < 40; i++) {
			uint64_t word = hash_mix(seed << 20 | i);
			char name[8];
			snprintf(name, sizeof(name), "m%d", (int)(word % 9));
			rules[i] = rule_of(name, T0 + i, (double)i);
			rules[i].withdrawn = word >> 32 & 1;
			rulebook_take(one, &rules[i], T0);
		}
		for (uint64_t i = 0; i < 400; i++)
			rulebook_take(two, &rules[hash_mix(seed << 40 | i) % 40], T0);
		for (int i = 39; i >= 0; i--)
			rulebook_take(two, &rules[i], T0);
		size_t count, other;
		const struct monitor *left = rulebook_monitors(one, &count);
		const struct monitor *right = rulebook_monitors(two, &other);
		if (count != other || memcmp(left, right, count * sizeof(*left)) != 0)
			fail_msg("seed %lu", (unsigned long)seed);
		rulebook_free(one);
		rulebook_free(two);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_one_id_the_last_issued_stands),
		cmocka_unit_test(the_configurations_come_first_and_their_names_are_theirs),
		cmocka_unit_test(
			past_the_bound_a_rule_is_refused_and_counted_and_a_withdrawal_is_not),
		cmocka_unit_test(a_rule_that_stands_is_ended_by_a_withdrawal_of_any_age),
		cmocka_unit_test(a_withdrawal_is_remembered_for_its_time),
		cmocka_unit_test(the_order_of_telling_changes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
