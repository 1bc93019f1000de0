#include "api/notify/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/clock.h"

/* One character of UTF-8: its length, and its code point in *point; length 1 and U+FFFD when it is
 * not valid. */
static size_t decode(const unsigned char *in, uint32_t *point)
{
	size_t length = in[0] < 0x80			? 1
			: in[0] >= 0xf0 && in[0] < 0xf5 ? 4
			: in[0] >= 0xe0 && in[0] < 0xf0 ? 3
			: in[0] >= 0xc2 && in[0] < 0xe0 ? 2
							: 0;
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t value = length == 1 ? in[0] : length ? in[0] & (0x7f >> length) : 0;

	for (size_t i = 1; i < length; i++) {
		if ((in[i] & 0xc0) != 0x80) {
			length = 0;
			break;
		}
		value = value << 6 | (in[i] & 0x3f);
	}
	if (length && length > 1 &&
	    (value < smallest[length] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)))
		length = 0;
	*point = length ? value : 0xfffd;
	return length ? length : 1;
}

static bool unwanted(uint32_t point)
{
	return point < 0x20 || (point >= 0x7f && point < 0xa0) ||
	       (point >= 0x202a && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069) ||
	       point == 0x200e || point == 0x200f || point == 0x2028 || point == 0x2029 ||
	       point == 0xfeff;
}

/* What stands for the character: itself (NULL), an entity, or nothing. */
static const char *substitute(uint32_t point, bool slack)
{
	if (unwanted(point))
		return point == '\n' || point == '\t' ? " " : "";
	if (point == 0xfffd)
		return "\xef\xbf\xbd";
	if (!slack)
		return NULL;
	return point == '&' ? "&amp;" : point == '<' ? "&lt;" : point == '>' ? "&gt;" : NULL;
}

static size_t clean(char *out, size_t size, const char *text, size_t characters, bool slack)
{
	static const char ellipsis[] = "\xe2\x80\xa6";
	const unsigned char *in = (const unsigned char *)text;
	size_t length = 0, written = 0, cut = 0; /* cut: where the ellipsis would stand */

	while (*in) {
		uint32_t point;
		size_t bytes = decode(in, &point);
		const char *instead = substitute(point, slack);
		size_t needed = instead ? strlen(instead) : bytes;

		if (needed && (written == characters || length + needed >= size)) {
			memcpy(out + cut, ellipsis, sizeof(ellipsis));
			return cut + sizeof(ellipsis) - 1;
		}
		memcpy(out + length, instead ? instead : (const char *)in, needed);
		length += needed;
		written += needed > 0;
		in += bytes;
		if (written < characters && length + sizeof(ellipsis) <= size)
			cut = length;
	}
	out[length] = '\0';
	return length;
}

/* Takes the sign from @here, @channel and @everyone until none is left: what was cut out of a name
 * may have brought a sign and a word together. */
static size_t unmention(char *text, size_t length)
{
	static const char *const words[] = {"here", "channel", "everyone"};
	char *at = text;

	while ((at = strchr(at, '@'))) {
		bool mention = false;

		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			mention = mention || strncasecmp(at + 1, words[i], strlen(words[i])) == 0;
		if (!mention) {
			at++;
			continue;
		}
		memmove(at, at + 1, length - (size_t)(at - text)); /* its NUL too */
		length--;
		if (at > text)
			at--; /* another sign may stand before the word now */
	}
	return length;
}

size_t text_safe(char *out, size_t size, const char *in, size_t characters)
{
	return clean(out, size, in, characters, false);
}

size_t text_slack(char *out, size_t size, const char *in, size_t characters)
{
	return unmention(out, clean(out, size, in, characters, true));
}

static size_t seconds(char *out, size_t size, double value)
{
	if (fabs(value) >= 1)
		return (size_t)snprintf(out, size, "%.3g s", value);
	if (fabs(value) >= 1e-3)
		return (size_t)snprintf(out, size, "%.3g ms", value * 1e3);
	return (size_t)snprintf(out, size, "%.3g us", value * 1e6);
}

static size_t scaled(char *out, size_t size, double value, const char *unit)
{
	static const char *const prefixes[] = {"", "k", "M", "G", "T"};
	int i = 0;

	while (fabs(value) >= 1000 && i < 4) {
		value /= 1000;
		i++;
	}
	return (size_t)snprintf(out, size, "%.3g %s%s", value, prefixes[i], unit);
}

size_t text_value(char *out, size_t size, double value, const char *unit)
{
	if (strcmp(unit, "ratio") == 0)
		return (size_t)snprintf(out, size, "%.3g %%", value * 100);
	if (strcmp(unit, "seconds") == 0)
		return seconds(out, size, value);
	if (strncmp(unit, "bytes", 5) == 0)
		return scaled(out, size, value,
			      strstr(unit, "per") || strchr(unit, '/') ? "B/s" : "B");
	return (size_t)snprintf(out, size, "%.6g", value);
}

size_t text_time(char *out, size_t size, uint64_t time_ns)
{
	time_t at = (time_t)(time_ns / NS_PER_S);
	struct tm utc;
	size_t length;

	gmtime_r(&at, &utc);
	length = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &utc);
	return length + (size_t)snprintf(out + length, size - length, ".%03uZ",
					 (unsigned)(time_ns % NS_PER_S / NS_PER_MS));
}
