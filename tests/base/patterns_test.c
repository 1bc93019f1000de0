#include "base/patterns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void alternatives_and_exclusions_are_matched(void **state)
{
	(void)state;
	static const struct {
		const char *patterns, *text;
		bool match;
	} cases[] = {
		{"", "", true},
		{"", "shop/web", true},
		{"shop/web", "shop/web", true},
		{"shop/web", "shop/we", false},
		{"shop/web", "shop/webs", false},
		{"shop/*\nbank/*", "shop/web", true},
		{"shop/*\nbank/*", "bank/web", true},
		{"shop/*\nbank/*", "bang/web", false},
		{"!shop/*", "shop/web", false},
		{"!shop/*", "bank/web", true},
		{"!shop/*", "", true},
		{"!shop/*\n!bank/*", "bank/web", false},
		{"shop/*\n!shop/test-*", "shop/web", true},
		{"shop/*\n!shop/test-*", "shop/test-web", false},
		{"!shop/test-*\nshop/*", "shop/test-web", false},
		{"shop/*\n!shop/test-*", "bank/web", false},
		{"!?*", "", true},
		{"!?*", "a", false},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_true(patterns_match(cases[i].patterns, cases[i].text) == cases[i].match);
}

static void what_is_added_is_read_in_its_order(void **state)
{
	(void)state;
	char patterns[16] = "";
	size_t length;
	assert_int_equal(patterns_count(patterns), 0);
	assert_null(patterns_next(patterns, &length));
	assert_true(patterns_add(patterns, sizeof(patterns), "ab"));
	assert_true(patterns_add(patterns, sizeof(patterns), "!c"));
	assert_int_equal(patterns_count(patterns), 2);
	const char *at = patterns_next(patterns, &length);
	assert_int_equal(length, 2);
	assert_memory_equal(at, "ab", 2);
	at = patterns_next(at + length, &length);
	assert_int_equal(length, 2);
	assert_memory_equal(at, "!c", 2);
	assert_null(patterns_next(at + length, &length));
}

static void what_is_no_pattern_or_finds_no_room_changes_nothing(void **state)
{
	(void)state;
	char patterns[8] = "";
	assert_false(patterns_add(patterns, sizeof(patterns), ""));
	assert_false(patterns_add(patterns, sizeof(patterns), "!"));
	assert_false(patterns_add(patterns, sizeof(patterns), "a\nb"));
	assert_false(patterns_add(patterns, sizeof(patterns), "12345678"));
	assert_string_equal(patterns, "");
	assert_true(patterns_add(patterns, sizeof(patterns), "1234567"));
	assert_false(patterns_add(patterns, sizeof(patterns), "a"));
	assert_string_equal(patterns, "1234567");
	memset(patterns, 0, sizeof(patterns));
	assert_true(patterns_add(patterns, sizeof(patterns), "123"));
	assert_false(patterns_add(patterns, sizeof(patterns), "4567"));
	assert_true(patterns_add(patterns, sizeof(patterns), "456"));
	assert_string_equal(patterns, "123\n456");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(alternatives_and_exclusions_are_matched),
		cmocka_unit_test(what_is_added_is_read_in_its_order),
		cmocka_unit_test(what_is_no_pattern_or_finds_no_room_changes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
