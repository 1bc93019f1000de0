#include "base/timestamp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"

#define SECOND ((int64_t)NS_PER_S)

static void expect(const char *text, int64_t seconds, int64_t ns)
{
	int64_t time_ns;
	if (!timestamp_read(text, &time_ns))
		fail_msg("%s is not read", text);
	if (time_ns != seconds * SECOND + ns)
		fail_msg("%s: %ld", text, (long)time_ns);
}

static void numbers_are_told_apart_by_their_size(void **state)
{
	(void)state;
	expect("1472918400", 1472918400, 0);
	expect("1472918400.25", 1472918400, 250000000);
	expect("1.4729184e9", 1472918400, 0);
	expect("1472918400123", 1472918400, 123000000);
	expect("1472918400123456", 1472918400, 123456000);
	expect("1472918400123456789", 1472918400, 123456789);
	expect("0", 0, 0);
	expect(" 17 ", 17, 0);
	expect("-60", -60, 0);
}

static void calendars_are_utc_unless_an_offset_stands_there(void **state)
{
	(void)state;
	static const char *const same[] = {
		"2018-07-03T14:05:09Z",	     "2018-07-03 14:05:09",
		"2018/07/03 14:05:09",	     "2018-07-03t14:05:09z",
		"2018-07-03T16:05:09+02:00", "2018-07-03T16:05:09+0200",
		"2018-07-03 12:05:09-02",    "2018-07-03 14:05:09 UTC",
		"7/3/2018 14:05:09",	     "07/03/2018 02:05:09 PM",
		"2018-7-3 14:05:09.000",     "7/3/2018 2:05:09pm",
		"2018-07-03 14:05:09+00:00",
	};
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		expect(same[i], 1530626709, 0);
	expect("2018-07-03T14:05:09.123456789Z", 1530626709, 123456789);
	expect("2018-07-03 14:05:09,5", 1530626709, 500000000);
	expect("2018/07/03 14:05", 1530626700, 0);
	expect("7/3/2018 14:05", 1530626700, 0);
	expect("2018-07-03", 1530576000, 0);
	expect("7/3/2018 12:05 AM", 1530576300, 0);
	expect("1969-12-31 23:59:59.25", -1, 250000000);
	expect("2000-02-29", 951782400, 0);
	expect("2024-02-29", 1709164800, 0);
	expect("2018-12-31", 1546214400, 0);
	expect("2018-12-31 24:00", 1546300800, 0);
	expect("2016-12-31T23:59:60Z", 1483228800, 0);
}

static void what_is_no_time_is_refused(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"",
		" ",
		"nan",
		"inf",
		"0x10",
		"yesterday",
		"2018-13-01",
		"2018-00-01",
		"2018-01-32",
		"2018-02-29",
		"2024-02-30",
		"2100-02-29",
		"31-04/2018",
		"2018-04-31",
		"2018-12-32",
		"2018-07-03 24:00:01",
		"2018-07-03 24:59",
		"13/1/2018",
		"1-2-2018",
		"2018-07/03",
		"12:00",
		"2018-07-03 25:00",
		"2018-07-03 14:60",
		"2018-07-03 14:05:61",
		"2018-07-03x",
		"2018-07-03 14:05 +2",
		"2018-07-03T14:05:09.",
		"1e300",
		"9000-01-01",
		"9200000000123456789",
		"1472918400abc",
		"7/3/2018 14:05 PM",
	};
	int64_t time_ns;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (timestamp_read(texts[i], &time_ns))
			fail_msg("\"%s\" is read", texts[i]);
	}
}

/* Any second of six centuries, by the C library's calendar. */
static void dates_are_those_of_the_calendar(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 2000; seed++) {
		time_t seconds = (time_t)(hash_mix(seed) % 18000000000ULL) - 9000000000LL;
		struct tm tm;
		char text[64];
		gmtime_r(&seconds, &tm);
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
		expect(text, seconds, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_told_apart_by_their_size),
		cmocka_unit_test(calendars_are_utc_unless_an_offset_stands_there),
		cmocka_unit_test(what_is_no_time_is_refused),
		cmocka_unit_test(dates_are_those_of_the_calendar),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
