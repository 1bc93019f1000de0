#include "config/nearest.h"

#include <stdint.h>
#include <string.h>

/* Levenshtein's, a row at a time. */
static size_t distance(const char *left, const char *right)
{
	size_t row[NEAREST_MAX_BYTES + 1], length = strlen(right);

	if (length > NEAREST_MAX_BYTES)
		return SIZE_MAX;
	for (size_t at = 0; at <= length; at++)
		row[at] = at;
	for (size_t line = 1; left[line - 1]; line++) {
		size_t diagonal = row[0];

		row[0] = line;
		for (size_t at = 1; at <= length; at++) {
			size_t change = diagonal + (left[line - 1] != right[at - 1]);
			size_t shift = (row[at] < row[at - 1] ? row[at] : row[at - 1]) + 1;

			diagonal = row[at];
			row[at] = change < shift ? change : shift;
		}
	}
	return row[length];
}

const char *nearest_of(const char *const *names, size_t count, const char *written)
{
	size_t length = strlen(written), least = length < 6 ? 2 : length / 3 + 1;
	const char *nearest = NULL;

	if (!length || length > NEAREST_MAX_BYTES)
		return NULL;
	for (size_t at = 0; at < count; at++) {
		size_t far = distance(written, names[at]);

		if (far < least) {
			nearest = names[at];
			least = far;
		}
	}
	return nearest;
}
