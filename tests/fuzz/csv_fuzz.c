/* Any bytes as a CSV file: each row has the header's fields, or the reader says why and stops. What
 * was read is the same when written and read again. */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cli/csv.h"

static void write_row(FILE *file, const struct csv *csv,
		      const char *(*of)(const struct csv *, size_t))
{
	for (size_t i = 0; i < csv_columns(csv); i++) {
		if (i)
			putc(',', file);
		csv_write(file, of(csv, i));
	}
	putc('\n', file);
}

/* Rows of the file written anew to *text. */
static size_t rows_of(const char *bytes, size_t length, char **text, size_t *size)
{
	FILE *file = fmemopen((void *)bytes, length, "r"), *out = open_memstream(text, size);
	struct csv *csv = csv_new(file, "fuzz");
	size_t rows = 0;

	assert(file && out);
	if (csv_read_header(csv) == 0) {
		int status;

		write_row(out, csv, csv_name);
		for (; (status = csv_next(csv)) == 1; rows++)
			write_row(out, csv, csv_field);
		assert(status == 0 || csv_error(csv)[0]);
		assert(csv_next(csv) == status);
		assert(csv_find(csv, csv_name(csv, 0)) <= 0);
	} else {
		assert(csv_error(csv)[0]);
	}
	csv_free(csv);
	fclose(file);
	fclose(out);
	return rows;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	char *once = NULL, *again = NULL;
	size_t once_size = 0, again_size = 0, rows;

	if (length == 0)
		return 0;
	rows = rows_of((const char *)bytes, length, &once, &once_size);
	if (once_size > 0) {
		size_t same = rows_of(once, once_size, &again, &again_size);

		/* A row of one empty field reads as a line with nothing on it, and a byte order
		 * mark behind such a line as one at the beginning. */
		assert(same == rows || strstr(once, "\n\n") || once[0] == '\n' ||
		       strncmp(once, "\xef\xbb\xbf", 3) == 0);
	}
	free(once);
	free(again);
	return 0;
}
