#include "api/cli/table.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "base/memory.h"

void table_init(struct table *table, const struct table_column *columns, size_t count)
{
	*table = (struct table){.columns = columns, .columns_count = count};
}

void table_done(struct table *table)
{
	for (size_t i = 0; i < table->count; i++)
		free(table->cells[i]);
	free(table->cells);
}

void table_add(struct table *table, const char *text)
{
	size_t length = strlen(text);
	char *cell = memory_zeroed(length + 1, 1);

	/* Names come from the world: an escape sequence in one must not reach the terminal. */
	for (size_t i = 0; i < length; i++)
		cell[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i];
	if (table->count == table->room) {
		table->room = memory_grown(table->room, table->count + 1);
		table->cells = memory_resize(table->cells, table->room, sizeof(*table->cells));
	}
	table->cells[table->count++] = cell;
}

void table_addf(struct table *table, const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	table_add(table, text);
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

static void find_widths(const struct table *table, size_t widths[TABLE_COLUMNS_MAX])
{
	size_t columns = table->columns_count;

	for (size_t i = 0; i < columns; i++)
		widths[i] = text_width(table->columns[i].title);
	for (size_t i = 0; i < table->count; i++) {
		size_t width = text_width(table->cells[i]);

		if (width > widths[i % columns])
			widths[i % columns] = width;
	}
}

static void print_rows(const struct table *table, FILE *file, const size_t *widths)
{
	size_t columns = table->columns_count;

	for (size_t i = 0; i < table->count; i++)
		print_cell(file, table->cells[i], widths[i % columns],
			   table->columns[i % columns].right, (i + 1) % columns == 0);
}

void table_print(const struct table *table, FILE *file, bool bold)
{
	size_t widths[TABLE_COLUMNS_MAX];

	find_widths(table, widths);
	fputs(bold ? "\033[1m" : "", file);
	for (size_t i = 0; i < table->columns_count; i++)
		print_cell(file, table->columns[i].title, widths[i], table->columns[i].right,
			   i + 1 == table->columns_count);
	fputs(bold ? "\033[0m" : "", file);
	print_rows(table, file, widths);
}

void table_print_rows(const struct table *table, FILE *file)
{
	size_t widths[TABLE_COLUMNS_MAX];

	find_widths(table, widths);
	print_rows(table, file, widths);
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
