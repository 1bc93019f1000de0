/* Several patterns for one name, as people list them: alternatives, and behind a '!' what is not
 * meant. It matches what no excluded pattern does and some other does; where all are exclusions,
 * whatever they leave; without any, everything. Plain text that is compared as bytes, a pattern a
 * line, so none holds a newline. Bound: the array that it lies in. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Behind those that are there; the array was zeros at first. False: it is empty, a '!' alone, has a
 * newline, or finds no room. */
bool patterns_add(char *patterns, size_t size, const char *pattern);
bool patterns_match(const char *patterns, const char *text);
size_t patterns_count(const char *patterns);
/* Each as a text of its own: bytes takes as many as patterns has with its NUL, texts as many as
 * there are. Returns how many. */
size_t patterns_split(const char *patterns, char *bytes, char **texts);
/* The next one and its length, from patterns itself on; NULL: there is none. */
const char *patterns_next(const char *at, size_t *length);
