#include "base/patterns.h"

#include <string.h>

#include "base/glob.h"

bool patterns_add(char *patterns, size_t size, const char *pattern)
{
	size_t length = strlen(pattern), used = strlen(patterns), from = used ? used + 1 : 0;
	if (!pattern[strspn(pattern, "!")] || strchr(pattern, '\n') || from + length >= size)
		return false;
	if (used)
		patterns[used] = '\n';
	memcpy(patterns + from, pattern, length);
	return true;
}

const char *patterns_next(const char *at, size_t *length)
{
	if (!*at)
		return NULL;
	at += *at == '\n';
	*length = strcspn(at, "\n");
	return at;
}

size_t patterns_count(const char *patterns)
{
	size_t count = 0, length;
	for (const char *at = patterns; (at = patterns_next(at, &length)); at += length)
		count++;
	return count;
}

size_t patterns_split(const char *patterns, char *bytes, char **texts)
{
	size_t count = 0, length;
	for (const char *at = patterns; (at = patterns_next(at, &length)); at += length) {
		char *text = bytes + (at - patterns);
		memcpy(text, at, length);
		text[length] = '\0';
		texts[count++] = text;
	}
	return count;
}

bool patterns_match(const char *patterns, const char *text)
{
	bool some = false, wanted = false;
	size_t length;
	for (const char *at = patterns; (at = patterns_next(at, &length)); at += length) {
		bool excludes = *at == '!';
		if (excludes && glob_match_part(at + 1, length - 1, text))
			return false;
		some |= !excludes;
		wanted |= !excludes && glob_match_part(at, length, text);
	}
	return wanted || !some;
}
