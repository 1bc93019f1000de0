#include "api/cli/csv.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/nearest.h"

enum { ERROR_BYTES = 1024, NAMED_MAX = 40 };

/* A row's fields lie one behind the other, each with a NUL behind it. */
struct fields {
	char *text;
	size_t length, room;
	uint32_t starts[CSV_COLUMNS_MAX];
	size_t count;
};

struct csv {
	FILE *file;
	char *name;
	unsigned char ahead[3]; /* the file's first bytes */
	size_t ahead_next, ahead_count;
	struct fields header, row;
	size_t line;	 /* being read */
	size_t row_line; /* where the present row begins */
	int failed;
	char error[ERROR_BYTES];
};

struct csv *csv_new(FILE *file, const char *name)
{
	struct csv *csv = memory_zeroed(1, sizeof(*csv));
	size_t size = strlen(name) + 1;

	csv->file = file;
	csv->name = memory_zeroed(size, 1);
	memcpy(csv->name, name, size);
	csv->line = 1;
	return csv;
}

void csv_free(struct csv *csv)
{
	if (!csv)
		return;
	memory_free(csv->header.text);
	memory_free(csv->row.text);
	memory_free(csv->name);
	memory_free(csv);
}

__attribute__((format(printf, 3, 4))) static int fail(struct csv *csv, int error,
						      const char *format, ...)
{
	size_t length = (size_t)snprintf(csv->error, sizeof(csv->error),
					 "%.256s, line %zu: ", csv->name, csv->line);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(csv->error + length, sizeof(csv->error) - length, format, arguments);
	va_end(arguments);
	csv->failed = error;
	return error;
}

static int next_byte(struct csv *csv)
{
	if (csv->ahead_next < csv->ahead_count)
		return csv->ahead[csv->ahead_next++];
	return getc_unlocked(csv->file);
}

static void put(struct fields *fields, char byte)
{
	if (fields->length == fields->room) {
		fields->room = memory_grown(fields->room, fields->length + 1);
		fields->text = memory_resize(fields->text, fields->room, 1);
	}
	fields->text[fields->length++] = byte;
}

static int begin_field(struct csv *csv, struct fields *fields)
{
	if (fields->count == CSV_COLUMNS_MAX)
		return fail(csv, -EMSGSIZE,
			    "more than %d columns; leave out some that are not needed",
			    CSV_COLUMNS_MAX);
	fields->starts[fields->count++] = (uint32_t)fields->length;
	return 0;
}

/* A byte of a field. */
static int add(struct csv *csv, struct fields *fields, int byte)
{
	if (byte == 0)
		return fail(csv, -EBADMSG,
			    "a NUL byte: this is not text in UTF-8; save it as that");
	if (fields->length == CSV_ROW_BYTES_MAX)
		return fail(csv, -EMSGSIZE,
			    "the row that begins in line %zu has more than %d bytes; is a closing "
			    "quote missing?",
			    csv->row_line, CSV_ROW_BYTES_MAX);
	put(fields, (char)byte);
	return 0;
}

/* The end of a line, as a byte: '\n' for CRLF too. */
static int line_end(struct csv *csv, int byte)
{
	if (byte == '\r') {
		byte = next_byte(csv);
		if (byte != '\n')
			return fail(csv, -EBADMSG,
				    "a carriage return without a line feed; end lines with LF or "
				    "CRLF, or quote the field");
	}
	csv->line++;
	return byte;
}

/* Behind an opening quote, through the closing one. Returns the byte behind that: a comma, '\n' or
 * EOF; or -errno (below EOF). */
static int read_quoted(struct csv *csv, struct fields *fields)
{
	for (;;) {
		int error, byte = next_byte(csv);

		if (byte == EOF)
			return fail(csv, -EBADMSG,
				    "the file ends within quotes that open in the row of line %zu; "
				    "close them",
				    csv->row_line);
		if (byte == '"') {
			byte = next_byte(csv);
			if (byte == ',' || byte == EOF)
				return byte;
			if (byte == '\r' || byte == '\n')
				return line_end(csv, byte);
			if (byte != '"')
				return fail(csv, -EBADMSG,
					    "text behind a closing quote; write a quote within a "
					    "quoted field as \"\"");
		} else if (byte == '\n') {
			csv->line++;
		}
		error = add(csv, fields, byte);
		if (error)
			return error;
	}
}

/* As read_quoted, for a field that begins with this byte and no quote. */
static int read_plain(struct csv *csv, struct fields *fields, int byte)
{
	for (;; byte = next_byte(csv)) {
		int error;

		if (byte == ',' || byte == EOF)
			return byte;
		if (byte == '\r' || byte == '\n')
			return line_end(csv, byte);
		if (byte == '"')
			return fail(
				csv, -EBADMSG,
				"a quote within a field that does not begin with one; quote the "
				"whole field and double the quote");
		error = add(csv, fields, byte);
		if (error)
			return error;
	}
}

/* The first byte of the next line that has anything on it, or EOF, or -errno. */
static int skip_empty_lines(struct csv *csv)
{
	int byte = next_byte(csv);

	while (byte == '\n' || byte == '\r') {
		int end = line_end(csv, byte);

		if (end < EOF)
			return end;
		byte = next_byte(csv);
	}
	return byte;
}

/* 1, 0 at the end, or -errno. */
static int read_row(struct csv *csv, struct fields *fields)
{
	int byte = skip_empty_lines(csv);

	fields->length = fields->count = 0;
	csv->row_line = csv->line;
	if (byte < EOF)
		return byte;
	for (bool first = true; first || byte == ','; first = false) {
		int error;

		if (!first)
			byte = next_byte(csv);
		else if (byte == EOF)
			break;
		error = begin_field(csv, fields);
		if (error)
			return error;
		byte = byte == '"' ? read_quoted(csv, fields) : read_plain(csv, fields, byte);
		if (byte < EOF)
			return byte;
		put(fields, '\0');
	}
	if (ferror(csv->file))
		return fail(csv, -EIO, "cannot be read: %s", strerror(errno));
	return fields->count > 0;
}

/* A byte order mark; what only begins like one stays to be read. */
static void skip_mark(struct csv *csv)
{
	static const char mark[] = "\xef\xbb\xbf";

	csv->ahead_count = fread(csv->ahead, 1, sizeof(csv->ahead), csv->file);
	if (csv->ahead_count == sizeof(csv->ahead) &&
	    memcmp(csv->ahead, mark, sizeof(csv->ahead)) == 0)
		csv->ahead_next = csv->ahead_count;
}

int csv_read_header(struct csv *csv)
{
	skip_mark(csv);

	int status = read_row(csv, &csv->header);

	if (status < 0)
		return status;
	if (status == 0)
		return fail(csv, -ENODATA, "no header; the first row names the columns");
	return 0;
}

int csv_next(struct csv *csv)
{
	int status = csv->failed ? csv->failed : read_row(csv, &csv->row);

	if (status != 1)
		return status;
	if (csv->row.count != csv->header.count) {
		csv->line = csv->row_line;
		return fail(csv, -EBADMSG, "%zu fields where the header names %zu columns",
			    csv->row.count, csv->header.count);
	}
	return 1;
}

const char *csv_error(const struct csv *csv)
{
	return csv->error;
}

size_t csv_columns(const struct csv *csv)
{
	return csv->header.count;
}

const char *csv_name(const struct csv *csv, size_t column)
{
	return csv->header.text + csv->header.starts[column];
}

const char *csv_field(const struct csv *csv, size_t column)
{
	return csv->row.text + csv->row.starts[column];
}

size_t csv_line(const struct csv *csv)
{
	return csv->row_line;
}

/* "a, b, c": as many as there is room for. */
static void list_names(const struct csv *csv, char *text, size_t size)
{
	size_t length = 0, count = csv_columns(csv);

	for (size_t i = 0; i < count && length < size; i++) {
		if (i == NAMED_MAX) {
			snprintf(text + length, size - length, " and %zu more", count - i);
			return;
		}
		length += (size_t)snprintf(text + length, size - length, "%s%.64s", i ? ", " : "",
					   csv_name(csv, i));
	}
}

static int not_found(struct csv *csv, const char *name)
{
	const char *names[CSV_COLUMNS_MAX];
	char listed[ERROR_BYTES / 2];

	for (size_t i = 0; i < csv_columns(csv); i++)
		names[i] = csv_name(csv, i);
	list_names(csv, listed, sizeof(listed));

	const char *nearest = nearest_of(names, csv_columns(csv), name);

	snprintf(csv->error, sizeof(csv->error), "%.256s has no column \"%.64s\"%s%.64s%s: %s",
		 csv->name, name, nearest ? "; did you mean \"" : "; it has",
		 nearest ? nearest : "", nearest ? "\"? It has" : "", listed);
	return -ENOENT;
}

int csv_find(struct csv *csv, const char *name)
{
	int found = -1;

	for (size_t i = 0; i < csv_columns(csv); i++) {
		if (strcmp(csv_name(csv, i), name) != 0)
			continue;
		if (found >= 0) {
			snprintf(csv->error, sizeof(csv->error),
				 "%.256s has several columns \"%.64s\"; give them different names",
				 csv->name, name);
			return -ENOTUNIQ;
		}
		found = (int)i;
	}
	return found >= 0 ? found : not_found(csv, name);
}

void csv_write(FILE *file, const char *text)
{
	if (!strpbrk(text, ",\"\r\n")) {
		fputs(text, file);
		return;
	}
	putc('"', file);
	for (; *text; text++) {
		if (*text == '"')
			putc('"', file);
		putc(*text, file);
	}
	putc('"', file);
}
