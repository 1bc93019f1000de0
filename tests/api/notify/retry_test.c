#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "api/notify/retry.h"

enum { NOW_S = 784111777 }; /* Sun, 06 Nov 1994 08:49:37 GMT */

static void seconds_are_taken_as_they_are(void **state)
{
	(void)state;
	assert_int_equal(retry_after_ms("1", NOW_S), 1000);
	assert_int_equal(retry_after_ms("\t 120 \t", NOW_S), 120000);
	assert_int_equal(retry_after_ms("0", NOW_S), 0);
}

static void more_than_an_hour_is_an_hour(void **state)
{
	(void)state;
	assert_int_equal(retry_after_ms("3600", NOW_S), 3600000);
	assert_int_equal(retry_after_ms("3601", NOW_S), 3600000);
	assert_int_equal(retry_after_ms("1000000000", NOW_S), 3600000);
	assert_int_equal(retry_after_ms("99999999999999999999999999999999", NOW_S), 3600000);
	assert_int_equal(retry_after_ms("Fri, 06 Nov 2094 08:49:37 GMT", NOW_S), 3600000);
}

static void a_date_is_the_time_until_it(void **state)
{
	(void)state;
	assert_int_equal(retry_after_ms("Sun, 06 Nov 1994 08:50:07 GMT", NOW_S), 30000);
	assert_int_equal(retry_after_ms("Sun, 06 Nov 1994 08:49:37 GMT", NOW_S), 0);
	assert_int_equal(retry_after_ms("Sun, 06 Nov 1994 08:49:07 GMT", NOW_S), 0);
}

static void what_cannot_be_read_asks_for_nothing(void **state)
{
	static const char *const texts[] = {"",	    " ",   "-5",  "soon", "1.5",  "1e3",
					    "0x10", "nan", "inf", "5 s",  "+7 x", "\xff\xfe"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(retry_after_ms(texts[i], NOW_S), 0);
}

static void the_wait_doubles_up_to_five_minutes_and_is_never_none(void **state)
{
	static const struct retry_limits limits = {1000, 300000};

	(void)state;
	for (uint32_t failures = 0; failures < 100; failures++) {
		uint64_t most = failures < 9 ? 1000ull << failures : 300000;

		if (most > 300000)
			most = 300000;
		assert_int_equal(retry_backoff_ms(&limits, failures, 0), most / 10);
		assert_int_equal(retry_backoff_ms(&limits, failures, most - most / 10), most);
		assert_in_range(retry_backoff_ms(&limits, failures, UINT64_MAX), most / 10, most);
	}
	assert_in_range(retry_backoff_ms(&limits, UINT32_MAX, 12345), 30000, 300000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(seconds_are_taken_as_they_are),
		cmocka_unit_test(more_than_an_hour_is_an_hour),
		cmocka_unit_test(a_date_is_the_time_until_it),
		cmocka_unit_test(what_cannot_be_read_asks_for_nothing),
		cmocka_unit_test(the_wait_doubles_up_to_five_minutes_and_is_never_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
