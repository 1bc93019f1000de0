#include "base/timestamp.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define SECONDS_MAX 9200000000LL /* 2261: nanoseconds beyond do not fit */

/* What is left to read. */
struct cursor {
	const char *at;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool take(struct cursor *cursor, const char *any)
{
	if (!*cursor->at || !strchr(any, *cursor->at))
		return false;
	cursor->at++;
	return true;
}

/* From least to most digits. */
static bool take_number(struct cursor *cursor, int least, int most, int64_t *number)
{
	int digits = 0;

	for (*number = 0; digits < most && is_digit(*cursor->at); digits++)
		*number = *number * 10 + (*cursor->at++ - '0');
	return digits >= least;
}

/* Nanoseconds of the digits behind a decimal point; those beyond the ninth are passed over. */
static bool take_fraction(struct cursor *cursor, int64_t *ns)
{
	int64_t unit = NS_PER_S / 10;

	if (!is_digit(*cursor->at))
		return false;
	for (*ns = 0; is_digit(*cursor->at); unit /= 10)
		*ns += (*cursor->at++ - '0') * unit;
	return true;
}

/* Days from 1970 to the first of a month of the Gregorian calendar; of 1 to 13. */
static int64_t days_of(int64_t year, int64_t month)
{
	static const int16_t before[] = {0,   31,  59,	90,  120, 151, 181,
					 212, 243, 273, 304, 334, 365};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	int64_t past = year - 1;

	return past * 365 + past / 4 - past / 100 + past / 400 - 719162 + before[month - 1] +
	       (month > 2 && leap);
}

static bool take_date(struct cursor *cursor, int64_t *days)
{
	int64_t first, second, third;

	if (!take_number(cursor, 1, 4, &first) || !*cursor->at)
		return false;

	char separator = *cursor->at++;

	if ((separator != '-' && separator != '/') || !take_number(cursor, 1, 2, &second) ||
	    *cursor->at++ != separator || !take_number(cursor, 1, 4, &third))
		return false;
	if (first > 31) { /* the year stands first */
		*days = third;
		third = first;
		first = second;
		second = *days;
	} else if (separator == '-') {
		return false;
	}
	if (third < 1600 || third > 2400 || first < 1 || first > 12 || second < 1)
		return false;
	*days = days_of(third, first) + second - 1;
	return *days < days_of(third, first + 1);
}

/* AM or PM behind a time of 12 hours. */
static bool take_half_day(struct cursor *cursor, int64_t *hour)
{
	const char *at = cursor->at + (*cursor->at == ' ');
	bool pm = *at == 'P' || *at == 'p';

	if (!pm && *at != 'A' && *at != 'a')
		return true;
	if ((at[1] != 'M' && at[1] != 'm') || *hour < 1 || *hour > 12)
		return false;
	*hour = *hour % 12 + (pm ? 12 : 0);
	cursor->at = at + 2;
	return true;
}

static bool take_time(struct cursor *cursor, int64_t *seconds, int64_t *ns)
{
	int64_t hour, minute, second = 0;

	*ns = 0;
	if (!take_number(cursor, 1, 2, &hour) || !take(cursor, ":") ||
	    !take_number(cursor, 2, 2, &minute))
		return false;
	if (take(cursor, ":")) {
		if (!take_number(cursor, 2, 2, &second) ||
		    (take(cursor, ".,") && !take_fraction(cursor, ns)))
			return false;
	}
	if (!take_half_day(cursor, &hour) || hour > 24 || minute > 59 || second > 60)
		return false;
	*seconds = hour * 3600 + minute * 60 + second;
	return hour < 24 || *seconds == 24 * 3600; /* midnight as the day's end */
}

static bool take_offset(struct cursor *cursor, int64_t *seconds)
{
	int64_t hours, minutes = 0;

	*seconds = 0;
	take(cursor, " ");
	if (take(cursor, "Zz") || !*cursor->at)
		return true;
	if (strcmp(cursor->at, "UTC") == 0 || strcmp(cursor->at, "GMT") == 0) {
		cursor->at += 3;
		return true;
	}

	int64_t sign = *cursor->at == '-' ? -1 : 1;

	if (!take(cursor, "+-") || !take_number(cursor, 2, 2, &hours))
		return false;
	if (*cursor->at) {
		take(cursor, ":");
		if (!take_number(cursor, 2, 2, &minutes))
			return false;
	}
	*seconds = sign * (hours * 3600 + minutes * 60);
	return hours < 24 && minutes < 60;
}

static bool put_time(int64_t seconds, int64_t ns, int64_t *time_ns)
{
	if (seconds < -SECONDS_MAX || seconds > SECONDS_MAX)
		return false;
	*time_ns = seconds * (int64_t)NS_PER_S + ns;
	return true;
}

static bool read_calendar(const char *text, int64_t *time_ns)
{
	struct cursor cursor = {text};
	int64_t days, seconds = 0, ns = 0, offset = 0;

	if (!take_date(&cursor, &days))
		return false;
	if (take(&cursor, "Tt ") && *cursor.at && !take_time(&cursor, &seconds, &ns))
		return false;
	if (!take_offset(&cursor, &offset) || *cursor.at)
		return false;
	return put_time(days * 86400 + seconds - offset, ns, time_ns);
}

/* Whole numbers are read exactly: a double has too few digits for nanoseconds of today. */
static bool read_number(const char *text, int64_t *time_ns)
{
	static const struct {
		double below;
		int64_t a_second;
	} units[] = {{1e11, 1}, {1e14, 1000}, {1e17, 1000000}, {9.2e18, 1000000000}};
	char *end;
	double value = strtod(text, &end), size = value < 0 ? -value : value;

	if (end == text || *end || strpbrk(text, "xXnN"))
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (!(size < units[i].below))
			continue;
		if (!strpbrk(text, ".eE")) {
			int64_t whole = strtoll(text, NULL, 10), a_second = units[i].a_second;

			return put_time(whole / a_second,
					whole % a_second * ((int64_t)NS_PER_S / a_second), time_ns);
		}
		value /= (double)units[i].a_second;

		int64_t seconds = (int64_t)value;

		return put_time(seconds, (int64_t)((value - (double)seconds) * 1e9), time_ns);
	}
	return false;
}

bool timestamp_read(const char *text, int64_t *time_ns)
{
	char trimmed[64];
	size_t length;

	text += strspn(text, " \t");
	length = strlen(text);
	while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == '\t'))
		length--;
	if (length == 0 || length >= sizeof(trimmed))
		return false;
	memcpy(trimmed, text, length);
	trimmed[length] = '\0';
	return read_number(trimmed, time_ns) || read_calendar(trimmed, time_ns);
}
