/* CSV, a row at a time (RFC 4180): a header row of names, then rows with as many fields. Fields may
 * be quoted, and then hold commas, line ends and doubled quotes; lines end with LF or CRLF, the
 * last one's end may be missing; a byte order mark is passed over, and so is a line with nothing on
 * it. Anything else is refused with the file, the line and what to do, never guessed at.
 *
 * Bounds: CSV_ROW_BYTES_MAX a row, CSV_COLUMNS_MAX columns. Memory: the longest row so far. Rows
 * come as they arrive, so a pipe that stays open can be read. Main thread only. */
#pragma once

#include <stddef.h>
#include <stdio.h>

enum { CSV_ROW_BYTES_MAX = 1 << 20, CSV_COLUMNS_MAX = 4096 };

struct csv;

/* file is lent; name is what errors call it, copied. */
struct csv *csv_new(FILE *file, const char *name);
void csv_free(struct csv *csv);

/* Once, before the rows. 0, or -errno: see csv_error. */
int csv_read_header(struct csv *csv);
/* 1: a row; 0: the end; -errno: see csv_error. After an error nothing more is read. */
int csv_next(struct csv *csv);
/* "data.csv, line 7: ...", of the last call that failed. */
const char *csv_error(const struct csv *csv);

size_t csv_columns(const struct csv *csv);
const char *csv_name(const struct csv *csv, size_t column);
/* The column of that name, or -ENOENT, or -ENOTUNIQ if several have it; csv_error says which there
 * are. */
int csv_find(struct csv *csv, const char *name);

/* Of the present row, without its quotes; valid until the next one is read. No field holds a NUL.
 */
const char *csv_field(const struct csv *csv, size_t column);
/* Where the present row begins; the first line of a file is 1. */
size_t csv_line(const struct csv *csv);

/* A field, quoted if it must be. */
void csv_write(FILE *file, const char *text);
