#include "api/cli/sheet.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "base/memory.h"

void sheet_init(struct sheet *sheet, const struct sheet_column *columns, size_t count)
{
	*sheet = (struct sheet){.columns = columns, .columns_count = count};
}

void sheet_done(struct sheet *sheet)
{
	for (size_t i = 0; i < sheet->count; i++)
		free(sheet->cells[i]);
	free(sheet->cells);
}

void sheet_add(struct sheet *sheet, const char *text)
{
	size_t length = strlen(text);
	char *cell = memory_zeroed(length + 1, 1);

	/* Names come from the world: an escape sequence in one must not reach the terminal. */
	for (size_t i = 0; i < length; i++)
		cell[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i];
	if (sheet->count == sheet->room) {
		sheet->room = memory_grown(sheet->room, sheet->count + 1);
		sheet->cells = memory_resize(sheet->cells, sheet->room, sizeof(*sheet->cells));
	}
	sheet->cells[sheet->count++] = cell;
}

void sheet_addf(struct sheet *sheet, const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	sheet_add(sheet, text);
}

/* The locale decides what a character is; without UTF-8 each byte is a column. */
size_t text_width(const char *text)
{
	mbstate_t state = {0};
	size_t width = 0, left = strlen(text);

	while (left) {
		wchar_t character;
		size_t size = mbrtowc(&character, text, left, &state);

		if (size == 0 || size > left) { /* not a character: a byte, a column */
			state = (mbstate_t){0};
			size = 1;
			width++;
		} else {
			int columns = wcwidth(character);

			width += columns > 0 ? (size_t)columns : 0;
		}
		text += size;
		left -= size;
	}
	return width;
}

static void print_cell(FILE *file, const char *text, size_t width, bool right, bool last)
{
	int gap = (int)(width - text_width(text));

	fprintf(file, "%*s%s%*s%s", right ? gap : 0, "", text, right || last ? 0 : gap, "",
		last ? "\n" : "  ");
}

static void find_widths(const struct sheet *sheet, size_t widths[SHEET_COLUMNS_MAX])
{
	size_t columns = sheet->columns_count;

	for (size_t i = 0; i < columns; i++)
		widths[i] = text_width(sheet->columns[i].title);
	for (size_t i = 0; i < sheet->count; i++) {
		size_t width = text_width(sheet->cells[i]);

		if (width > widths[i % columns])
			widths[i % columns] = width;
	}
}

static void print_rows(const struct sheet *sheet, FILE *file, const size_t *widths)
{
	size_t columns = sheet->columns_count;

	for (size_t i = 0; i < sheet->count; i++)
		print_cell(file, sheet->cells[i], widths[i % columns],
			   sheet->columns[i % columns].right, (i + 1) % columns == 0);
}

void sheet_print(const struct sheet *sheet, FILE *file, bool bold)
{
	size_t widths[SHEET_COLUMNS_MAX];

	find_widths(sheet, widths);
	fputs(bold ? "\033[1m" : "", file);
	for (size_t i = 0; i < sheet->columns_count; i++)
		print_cell(file, sheet->columns[i].title, widths[i], sheet->columns[i].right,
			   i + 1 == sheet->columns_count);
	fputs(bold ? "\033[0m" : "", file);
	print_rows(sheet, file, widths);
}

void sheet_print_rows(const struct sheet *sheet, FILE *file)
{
	size_t widths[SHEET_COLUMNS_MAX];

	find_widths(sheet, widths);
	print_rows(sheet, file, widths);
}

const char *figure_bytes(char text[FIGURE_MAX], double bytes, const char *per)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	unsigned unit = 0;

	/* 1023.95 would be printed as 1024.0. */
	while (bytes >= 1023.95 && unit < 4) {
		bytes /= 1024;
		unit++;
	}
	snprintf(text, FIGURE_MAX, unit ? "%.1f %s%s" : "%.0f %s%s", bytes, units[unit], per);
	return text;
}

const char *figure_seconds(char text[FIGURE_MAX], double seconds)
{
	if (seconds <= 0)
		snprintf(text, FIGURE_MAX, "-");
	else if (seconds < 1e-3)
		snprintf(text, FIGURE_MAX, "%.0f us", seconds * 1e6);
	else if (seconds < 1)
		snprintf(text, FIGURE_MAX, "%.1f ms", seconds * 1e3);
	else
		snprintf(text, FIGURE_MAX, "%.2f s", seconds);
	return text;
}

const char *figure_share(char text[FIGURE_MAX], double share)
{
	snprintf(text, FIGURE_MAX, "%.1f %%", share * 100);
	return text;
}

const char *figure_complete(char text[FIGURE_MAX], double share)
{
	if (share < 1 && share > 0.9999)
		snprintf(text, FIGURE_MAX, ">99.99 %%");
	else
		snprintf(text, FIGURE_MAX, share < 1 ? "%.2f %%" : "%.0f %%", share * 100);
	return text;
}

const char *figure_rate(char text[FIGURE_MAX], double rate)
{
	snprintf(text, FIGURE_MAX, rate >= 100 || rate == 0 ? "%.0f" : "%.2f", rate);
	return text;
}
