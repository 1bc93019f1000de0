#include "api/cli/csv.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"

static struct csv *csv_of(const char *text, size_t length)
{
	FILE *file = tmpfile();
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, length, file), length);
	rewind(file);
	return csv_new(file, "data.csv");
}

/* The file stays open behind the reader, as its caller's; tests leave it to the process. */
static struct csv *csv_with_header(const char *text)
{
	struct csv *csv = csv_of(text, strlen(text));
	assert_int_equal(csv_read_header(csv), 0);
	return csv;
}

static void expect_row(struct csv *csv, const char *first, const char *second)
{
	assert_int_equal(csv_next(csv), 1);
	assert_string_equal(csv_field(csv, 0), first);
	assert_string_equal(csv_field(csv, 1), second);
}

static void fields_may_hold_commas_quotes_and_line_ends(void **state)
{
	(void)state;
	struct csv *csv = csv_with_header("a,\"b, c\"\n1,\"x, \"\"y\"\"\r\nz\"\n\"\",\n");
	assert_int_equal(csv_columns(csv), 2);
	assert_string_equal(csv_name(csv, 1), "b, c");
	expect_row(csv, "1", "x, \"y\"\r\nz");
	assert_int_equal(csv_line(csv), 2);
	expect_row(csv, "", "");
	assert_int_equal(csv_line(csv), 4);
	assert_int_equal(csv_next(csv), 0);
	assert_int_equal(csv_next(csv), 0);
	csv_free(csv);
}

static void lines_end_with_lf_or_crlf_and_the_last_may_not(void **state)
{
	(void)state;
	struct csv *csv = csv_with_header("\xef\xbb\xbf"
					  "a,b\r\n1,2\n\r\n\n3,4\r\n5,\"6\"");
	assert_string_equal(csv_name(csv, 0), "a");
	expect_row(csv, "1", "2");
	expect_row(csv, "3", "4");
	assert_int_equal(csv_line(csv), 5);
	expect_row(csv, "5", "6");
	assert_int_equal(csv_next(csv), 0);
	csv_free(csv);
}

static void what_is_malformed_is_refused_with_its_line(void **state)
{
	(void)state;
	static const struct {
		const char *text, *error;
	} cases[] = {
		{"a,b\n1,2\n3\n", "data.csv, line 3: 1 fields where the header names 2 columns"},
		{"a,b\n\"1\n\n\",2,3\n4,5\n",
		 "data.csv, line 2: 3 fields where the header names 2 columns"},
		{"a,b\n1,2\"\n", "data.csv, line 2: a quote within a field"},
		{"a,b\n1,\"2\" \n", "data.csv, line 2: text behind a closing quote"},
		{"a,b\n1,\"2\n3\n", "data.csv, line 4: the file ends within quotes that open in "
				    "the row of line 2"},
		{"a,b\n1\r,2\n", "data.csv, line 2: a carriage return without a line feed"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct csv *csv = csv_with_header(cases[i].text);
		int status;
		while ((status = csv_next(csv)) == 1)
			;
		assert_int_equal(status, -EBADMSG);
		if (strncmp(csv_error(csv), cases[i].error, strlen(cases[i].error)) != 0)
			fail_msg("%s", csv_error(csv));
		assert_int_equal(csv_next(csv), -EBADMSG);
		csv_free(csv);
	}
}

static void a_nul_and_a_file_without_a_header_are_refused(void **state)
{
	(void)state;
	struct csv *csv = csv_of("a\0b\n", 4);
	assert_int_equal(csv_read_header(csv), -EBADMSG);
	assert_non_null(strstr(csv_error(csv), "not text in UTF-8"));
	csv_free(csv);
	csv = csv_of("\n\n", 2);
	assert_int_equal(csv_read_header(csv), -ENODATA);
	csv_free(csv);
}

static void a_name_that_begins_like_a_byte_order_mark_is_whole(void **state)
{
	(void)state;
	struct csv *csv = csv_with_header("\xef\xbc\xa1,b\n1,2\n");
	assert_string_equal(csv_name(csv, 0), "\xef\xbc\xa1");
	expect_row(csv, "1", "2");
	csv_free(csv);
	csv = csv_with_header("x");
	assert_string_equal(csv_name(csv, 0), "x");
	assert_int_equal(csv_next(csv), 0);
	csv_free(csv);
}

static void a_column_is_found_by_its_name_or_the_names_are_told(void **state)
{
	(void)state;
	struct csv *csv = csv_with_header("time,value,x,x\n");
	assert_int_equal(csv_find(csv, "value"), 1);
	assert_int_equal(csv_find(csv, "valu"), -ENOENT);
	assert_string_equal(csv_error(csv), "data.csv has no column \"valu\"; did you mean "
					    "\"value\"? It has: time, value, x, x");
	assert_int_equal(csv_find(csv, "elsewhere"), -ENOENT);
	assert_string_equal(csv_error(csv),
			    "data.csv has no column \"elsewhere\"; it has: time, value, x, x");
	assert_int_equal(csv_find(csv, "x"), -ENOTUNIQ);
	csv_free(csv);
}

static struct csv *csv_of_size(size_t row_bytes, size_t columns)
{
	char *text = malloc(row_bytes + 2 * columns + 2);
	size_t length = 0;
	assert_non_null(text);
	for (size_t i = 0; i < columns; i++)
		text[length++] = i ? ',' : 'c';
	memset(text + length, 'x', row_bytes - 1);
	length += row_bytes - 1;
	text[length++] = '\n';
	struct csv *csv = csv_of(text, length);
	free(text);
	return csv;
}

static void the_bounds_hold_to_the_byte_and_column(void **state)
{
	(void)state;
	struct csv *csv = csv_of_size(CSV_ROW_BYTES_MAX, 1);
	assert_int_equal(csv_read_header(csv), 0);
	csv_free(csv);
	csv = csv_of_size(CSV_ROW_BYTES_MAX + 1, 1);
	assert_int_equal(csv_read_header(csv), -EMSGSIZE);
	csv_free(csv);
	csv = csv_of_size(1, CSV_COLUMNS_MAX);
	assert_int_equal(csv_read_header(csv), 0);
	assert_int_equal(csv_columns(csv), CSV_COLUMNS_MAX);
	csv_free(csv);
	csv = csv_of_size(1, CSV_COLUMNS_MAX + 1);
	assert_int_equal(csv_read_header(csv), -EMSGSIZE);
	csv_free(csv);
}

/* Any texts, written and read again, are the same. */
static void what_is_written_is_read_again(void **state)
{
	(void)state;
	static const char letters[] = "a,\"\n\r ;\xc3";
	for (uint64_t seed = 1; seed <= 200; seed++) {
		char texts[20][8] = {{0}};
		FILE *file = tmpfile();
		assert_non_null(file);
		fputs("p,q\n", file);
		for (size_t i = 0; i < 20; i++) {
			size_t length = hash_mix(seed * 100 + i) % sizeof(texts[i]);
			for (size_t j = 0; j < length; j++)
				texts[i][j] = letters[hash_mix(seed << 20 | i << 8 | j) %
						      (sizeof(letters) - 1)];
			csv_write(file, texts[i]);
			putc(i % 2 ? '\n' : ',', file);
		}
		rewind(file);
		struct csv *csv = csv_new(file, "data.csv");
		assert_int_equal(csv_read_header(csv), 0);
		for (size_t i = 0; i < 20; i += 2) {
			if (csv_next(csv) != 1 || strcmp(csv_field(csv, 0), texts[i]) != 0 ||
			    strcmp(csv_field(csv, 1), texts[i + 1]) != 0)
				fail_msg("seed %lu row %zu: %s", (unsigned long)seed, i / 2,
					 csv_error(csv));
		}
		assert_int_equal(csv_next(csv), 0);
		csv_free(csv);
		fclose(file);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_may_hold_commas_quotes_and_line_ends),
		cmocka_unit_test(lines_end_with_lf_or_crlf_and_the_last_may_not),
		cmocka_unit_test(what_is_malformed_is_refused_with_its_line),
		cmocka_unit_test(a_nul_and_a_file_without_a_header_are_refused),
		cmocka_unit_test(a_name_that_begins_like_a_byte_order_mark_is_whole),
		cmocka_unit_test(a_column_is_found_by_its_name_or_the_names_are_told),
		cmocka_unit_test(the_bounds_hold_to_the_byte_and_column),
		cmocka_unit_test(what_is_written_is_read_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
