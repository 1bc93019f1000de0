#include "base/glob.h"

#include <stddef.h>
#include <string.h>

bool glob_match(const char *pattern, const char *text)
{
	const char *star = NULL, *from = NULL; /* the last '*', and where what it takes ends */
	while (*text) {
		if (*pattern == '*') {
			star = pattern++;
			from = text;
		} else if (*pattern == '?' || *pattern == *text) {
			pattern++;
			text++;
		} else if (star) {
			pattern = star + 1;
			text = ++from;
		} else {
			return false;
		}
	}
	return pattern[strspn(pattern, "*")] == 0;
}
