/* A sheet of text: columns as wide as their widest cell, in terminal columns, not bytes (UTF-8).
 * Numbers stand to the right. Cells are copied; what could steer a terminal is replaced. Bounded by
 * the answers' limits. Main thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { SHEET_COLUMNS_MAX = 24 };

struct sheet_column {
	const char *title;
	bool right;
};

struct sheet {
	const struct sheet_column *columns;
	size_t columns_count;
	char **cells;
	size_t count, room;
};

void sheet_init(struct sheet *sheet, const struct sheet_column *columns, size_t count);
void sheet_done(struct sheet *sheet);
/* The next cell, row by row. */
void sheet_add(struct sheet *sheet, const char *text);
void sheet_addf(struct sheet *sheet, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* bold: a heading for a terminal. */
void sheet_print(const struct sheet *sheet, FILE *file, bool bold);
void sheet_print_rows(const struct sheet *sheet, FILE *file); /* without heading */

/* Figures for people. */
enum { FIGURE_MAX = 32 };
const char *figure_bytes(char text[FIGURE_MAX], double bytes, const char *per); /* "1.5 KiB" per */
const char *figure_seconds(char text[FIGURE_MAX], double seconds);		/* "1.2 ms" */
const char *figure_share(char text[FIGURE_MAX], double share);			/* "12.5 %" */
/* "99.95 %"; what is not whole is never "100 %". */
const char *figure_complete(char text[FIGURE_MAX], double share);
const char *figure_rate(char text[FIGURE_MAX], double rate); /* "12.5" */
size_t text_width(const char *text);			     /* in terminal columns */
