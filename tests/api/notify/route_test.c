/* Which incidents a receiver is for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "anomaly/alert.h"
#include "api/notify/route.h"

#define PATTERNS(...)                                                                     \
	{                                                                                 \
		(const char *const[]){__VA_ARGS__},                                       \
			sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *) \
	}

/* Named by web -> shop/cart; the payments are in it too. */
static struct alert incident(void)
{
	return (struct alert){.monitor = "baseline/failure_ratio",
			      .subject = {"shop/web", "shop/cart", 8080, 6},
			      .members_count = 2,
			      .members = {{.monitor = "baseline/failure_ratio",
					   .subject = {"shop/web", "shop/cart", 8080, 6}},
					  {.monitor = "payments slow",
					   .subject = {"shop/cart", "payments/api", 443, 6}}}};
}

static void without_patterns_all_is_taken(void **state)
{
	const struct route route = {.cause_only = true};
	const struct alert nameless = {.key = "K"};
	const struct alert alert = incident();

	(void)state;
	assert_true(route_takes(&route, &alert));
	assert_true(route_takes(&route, &nameless));
}

static void each_field_is_looked_at(void **state)
{
	static const struct {
		enum route_field field;
		const char *pattern;
		bool takes;
	} cases[] = {
		{ROUTE_MONITOR, "baseline/*", true}, {ROUTE_MONITOR, "burn-rate/*", false},
		{ROUTE_CLIENT, "shop/we?", true},    {ROUTE_CLIENT, "shop/we", false},
		{ROUTE_SERVER, "shop/cart", true},   {ROUTE_SERVER, "shop/web", false},
		{ROUTE_NAMESPACE, "shop", true},     {ROUTE_NAMESPACE, "sho", false},
		{ROUTE_NAMESPACE, "", false},
	};
	struct alert alert = incident();

	(void)state;
	alert.members_count = 1;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct route route = {.cause_only = i % 2};

		route.fields[cases[i].field] = (struct route_patterns){&cases[i].pattern, 1};
		assert_int_equal(route_takes(&route, &alert), cases[i].takes);
	}
	snprintf(alert.subject.server, sizeof(alert.subject.server), "10.0.0.1");
	alert.members_count = 0;
	assert_false(route_takes(&(struct route){.fields = {[ROUTE_NAMESPACE] = PATTERNS("?*")}},
				 &alert));
}

static void of_several_patterns_one_is_enough_and_none_may_exclude(void **state)
{
	const struct alert alert = incident();
	const struct route either = {.fields = {[ROUTE_SERVER] = PATTERNS("other/*", "shop/*")}};
	const struct route but = {.fields = {[ROUTE_SERVER] = PATTERNS("!shop/c*", "shop/*")},
				  .cause_only = true};
	const struct route all_but = {.fields = {[ROUTE_SERVER] = PATTERNS("!other/*", "!x")}};
	const struct route not_it = {.fields = {[ROUTE_SERVER] = PATTERNS("!shop/cart")},
				     .cause_only = true};

	(void)state;
	assert_true(route_takes(&either, &alert));
	assert_false(route_takes(&but, &alert));
	assert_true(route_takes(&all_but, &alert));
	assert_false(route_takes(&not_it, &alert));
}

static void an_incident_is_for_whom_one_of_its_episodes_is(void **state)
{
	const struct alert alert = incident();
	struct route route = {.fields = {[ROUTE_MONITOR] = PATTERNS("payments *"),
					 [ROUTE_SERVER] = PATTERNS("payments/*")}};

	(void)state;
	assert_true(route_takes(&route, &alert));
	route.cause_only = true;
	assert_false(route_takes(&route, &alert));
	/* All of it by one episode. */
	route = (struct route){.fields = {[ROUTE_MONITOR] = PATTERNS("payments *"),
					  [ROUTE_SERVER] = PATTERNS("shop/*")}};
	assert_false(route_takes(&route, &alert));
}

static void a_pattern_that_matches_nothing_is_refused(void **state)
{
	char longest[ROUTE_PATTERN_BYTES_MAX + 2];

	(void)state;
	memset(longest, 'a', sizeof(longest));
	longest[ROUTE_PATTERN_BYTES_MAX + 1] = '\0';
	assert_non_null(route_check(longest));
	longest[ROUTE_PATTERN_BYTES_MAX] = '\0';
	assert_null(route_check(longest));
	assert_non_null(route_check(""));
	assert_non_null(route_check("!"));
	assert_null(route_check("!a"));
	assert_null(route_check("*"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_patterns_all_is_taken),
		cmocka_unit_test(each_field_is_looked_at),
		cmocka_unit_test(of_several_patterns_one_is_enough_and_none_may_exclude),
		cmocka_unit_test(an_incident_is_for_whom_one_of_its_episodes_is),
		cmocka_unit_test(a_pattern_that_matches_nothing_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
