#include "base/glob.h"

#include <string.h>

bool glob_match_part(const char *pattern, size_t length, const char *text)
{
	const char *end = pattern + length;
	const char *star = NULL, *from = NULL; /* the last '*', and where what it takes ends */
	while (*text) {
		if (pattern < end && *pattern == '*') {
			star = pattern++;
			from = text;
		} else if (pattern < end && (*pattern == '?' || *pattern == *text)) {
			pattern++;
			text++;
		} else if (star) {
			pattern = star + 1;
			text = ++from;
		} else {
			return false;
		}
	}
	while (pattern < end && *pattern == '*')
		pattern++;
	return pattern == end;
}

bool glob_match(const char *pattern, const char *text)
{
	return glob_match_part(pattern, strlen(pattern), text);
}
