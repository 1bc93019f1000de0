#include "config/config.h"

#include "config/value.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>

enum { COLUMNS = 80 };

static void print_indent(FILE *file, int indent)
{
	fprintf(file, "%*s", indent, "");
}

/* Words of text in lines of COLUMNS, each after the indent and the mark. */
static void print_wrapped(FILE *file, int indent, const char *mark, const char *text)
{
	int column = 0;

	while (*text) {
		int length = (int)strcspn(text, " \n");

		if (column && column + 1 + length > COLUMNS) {
			fputc('\n', file);
			column = 0;
		}
		if (!column) {
			print_indent(file, indent);
			column = indent + fprintf(file, "%s%.*s", mark, length, text);
		} else {
			column += fprintf(file, " %.*s", length, text);
		}
		text += length;
		text += strspn(text, " \n");
	}
	fputc('\n', file);
}

/* In double quotes, so that no text can be taken for another type; the bytes from 0x80 on are
 * UTF-8's and stay. */
static void print_quoted(FILE *file, const char *text)
{
	fputc('"', file);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fprintf(file, "\\%c", *text);
		else if ((unsigned char)*text < ' ' || *text == 0x7f)
			fprintf(file, "\\x%02x", (unsigned char)*text);
		else if (strncmp(text, "${", 2) == 0)
			fputs("$$", file);
		else
			fputc(*text, file);
	}
	fputc('"', file);
}

/* "whole number of rows, 1 to 16", "one of none, lz4, zstd" */
static void print_type(FILE *file, const struct config_entry *entry)
{
	const char *counted = entry->type == CONFIG_STRING    ? " bytes"
			      : entry->type >= CONFIG_STRINGS ? " items"
							      : "";

	fprintf(file, "%s%s", entry->single ? "string or " : "", config_type_name(entry->type));
	for (size_t at = 0; entry->choices && entry->choices[at]; at++)
		fprintf(file, "%s%s", at ? ", " : " ", entry->choices[at]);
	if (entry->unit)
		fprintf(file, " of %s", entry->unit);
	if (entry->min && entry->max)
		fprintf(file, ", %s to %s%s", entry->min, entry->max, counted);
	else if (entry->min)
		fprintf(file, ", at least %s%s", entry->min, counted);
	else if (entry->max)
		fprintf(file, ", at most %s%s", entry->max, counted);
	if (entry->secret)
		fprintf(file, ", secret");
	if (entry->required)
		fprintf(file, ", required");
}

static void print_variable(FILE *file, const struct config_table *table, const char *name)
{
	fputs(table->env_prefix, file);
	for (; *name; name++)
		fputc(*name == '.' ? '_' : toupper((unsigned char)*name), file);
}

static bool has_variable(const struct config_table *table, const struct config_entry *entry)
{
	return table->env_prefix && entry->type < CONFIG_MAP;
}

static bool has_file(const struct config_entry *entry)
{
	return entry->secret && entry->type == CONFIG_STRING;
}

static void print_help_entries(FILE *file, const struct config_table *table, int indent)
{
	for (size_t at = 0; at < table->count; at++) {
		const struct config_entry *entry = &table->entries[at];

		print_indent(file, indent);
		fprintf(file, "%s%s  ", entry->name, has_file(entry) ? "[_file]" : "");
		print_type(file, entry);
		if (entry->fallback)
			fprintf(file, ", default %s", *entry->fallback ? entry->fallback : "empty");
		fputc('\n', file);
		print_wrapped(file, indent + 6, "", entry->help);
		if (entry->table)
			print_help_entries(file, entry->table, indent + 6);
	}
}

void config_print_help(FILE *file, const struct config_table *table)
{
	print_help_entries(file, table, 2);
}

/* The sections of name that the entry before did not have open. Returns how far the last word is
 * indented. */
static int print_sections(FILE *file, const char *before, const char *name, int indent,
			  const char *mark)
{
	size_t shared = 0;

	for (size_t at = 0; before[at] && before[at] == name[at]; at++)
		if (name[at] == '.')
			shared = at + 1;
	for (const char *dot = strchr(name, '.'); dot; dot = strchr(name, '.')) {
		size_t length = (size_t)(dot - name) + 1;

		if (length > shared) {
			print_indent(file, indent);
			fprintf(file, "%s%.*s:\n", mark, (int)length - 1, name);
		}
		shared = shared > length ? shared - length : 0;
		name += length;
		indent += 2;
	}
	return indent;
}

static const char *last_word(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot ? dot + 1 : name;
}

static void print_default_value(FILE *file, const struct config_entry *entry)
{
	const char *item = entry->fallback;

	if (entry->type == CONFIG_STRING) {
		print_quoted(file, item);
	} else if (entry->type != CONFIG_STRINGS) {
		fputs(item, file);
	} else {
		fputc('[', file);
		while (*item) {
			size_t length = strcspn(item, ",");
			char text[CONFIG_TEXT_BYTES * 4];

			snprintf(text, sizeof(text), "%.*s", (int)length, item);
			print_quoted(file, text);
			item += length;
			item += strspn(item, ", ");
			fputs(*item ? ", " : "", file);
		}
		fputc(']', file);
	}
}

/* What to write where there is no default. */
static void print_example(FILE *file, const struct config_entry *entry)
{
	static const char *const examples[] = {
		[CONFIG_BOOL] = "false", [CONFIG_UINT] = "0",	  [CONFIG_DURATION] = "0",
		[CONFIG_SIZE] = "0",	 [CONFIG_DOUBLE] = "0",	  [CONFIG_STRING] = "\"\"",
		[CONFIG_ENUM] = "",	 [CONFIG_STRINGS] = "[]", [CONFIG_MAP] = "{}",
		[CONFIG_LIST] = ""};

	fputs(entry->choices ? entry->choices[0] : examples[entry->type], file);
}

/* mark is "# " within what is a comment as a whole: an entry without a default, or a list's items.
 */
static void print_default_entries(FILE *file, const struct config_table *table, int indent,
				  const char *mark, const char *env_prefix)
{
	const struct config_table named = {.env_prefix = env_prefix};
	const char *before = "";

	for (size_t at = 0; at < table->count; at++) {
		const struct config_entry *entry = &table->entries[at];
		bool comment = *mark || !entry->fallback;
		int inner;

		if (!*mark && at)
			fputc('\n', file);
		inner = print_sections(file, before, entry->name, indent, mark);
		before = entry->name;
		print_wrapped(file, inner, "# ", entry->help);
		print_indent(file, inner);
		fputs("# ", file);
		print_type(file, entry);
		if (has_variable(&named, entry)) {
			fputs("; ", file);
			print_variable(file, &named, entry->name);
		}
		if (has_file(entry))
			fprintf(file, "; or %s_file: a path", last_word(entry->name));
		fputc('\n', file);
		print_indent(file, inner);
		fprintf(file, "%s%s:", comment ? "# " : "", last_word(entry->name));
		if (!entry->table)
			fputc(' ', file);
		if (entry->fallback)
			print_default_value(file, entry);
		else
			print_example(file, entry);
		fputc('\n', file);
		if (entry->table) {
			print_indent(file, inner);
			fputs("#   - # each item has:\n", file);
			print_default_entries(file, entry->table, inner + 4, "# ", NULL);
		}
	}
}

void config_print_defaults(FILE *file, const struct config_table *table)
{
	fprintf(file,
		"# The configuration of %s. What stands here is the default; what has none is a "
		"comment.\n\n",
		table->program);
	print_default_entries(file, table, 0, "", table->env_prefix);
}

static void print_cell(FILE *file, const char *text)
{
	for (; *text; text++)
		fprintf(file, *text == '|' ? "\\%c" : "%c", *text == '\n' ? ' ' : *text);
}

static void print_markdown_rows(FILE *file, const struct config_table *table, const char *prefix,
				const char *env_prefix)
{
	const struct config_table named = {.env_prefix = env_prefix};

	for (size_t at = 0; at < table->count; at++) {
		const struct config_entry *entry = &table->entries[at];
		char inner[2 * CONFIG_NAME_MAX_BYTES];

		fprintf(file, "| `%s%s`", prefix, entry->name);
		if (has_file(entry))
			fprintf(file, ", `%s%s_file`", prefix, entry->name);
		fputs(" | ", file);
		print_type(file, entry);
		fputs(" | ", file);
		if (entry->fallback) {
			fputc('`', file);
			print_cell(file, *entry->fallback ? entry->fallback : "\"\"");
			fputc('`', file);
		}
		fputs(" | ", file);
		if (has_variable(&named, entry)) {
			fputc('`', file);
			print_variable(file, &named, entry->name);
			fputc('`', file);
		}
		fputs(" | ", file);
		print_cell(file, entry->help);
		fputs(" |\n", file);
		snprintf(inner, sizeof(inner), "%s%s[].", prefix, entry->name);
		if (entry->table)
			print_markdown_rows(file, entry->table, inner, NULL);
	}
}

void config_print_markdown(FILE *file, const struct config_table *table)
{
	fputs("| Name | Type | Default | Environment | Meaning |\n|---|---|---|---|---|\n", file);
	print_markdown_rows(file, table, "", table->env_prefix);
}

static void print_effective_entries(FILE *file, const struct config_table *table,
				    const void *config, int indent, bool item);

static void print_string(FILE *file, const struct config_entry *entry, const char *text)
{
	if (entry->secret)
		fputs("<secret>", file);
	else
		print_quoted(file, text);
}

static void print_strings(FILE *file, const struct config_entry *entry,
			  const struct config_strings *strings)
{
	fputs(" [", file);
	for (size_t at = 0; at < strings->count; at++) {
		fputs(at ? ", " : "", file);
		print_string(file, entry, strings->items[at]);
	}
	fputs("]\n", file);
}

static void print_map(FILE *file, const struct config_entry *entry, const struct config_map *map,
		      int indent)
{
	fputs(map->count ? "\n" : " {}\n", file);
	for (size_t at = 0; at < map->count; at++) {
		print_indent(file, indent + 2);
		print_quoted(file, map->items[at].key);
		fputs(": ", file);
		print_string(file, entry, map->items[at].value);
		fputc('\n', file);
	}
}

static void print_list(FILE *file, const struct config_entry *entry, const struct config_list *list,
		       int indent)
{
	fputs(list->count ? "\n" : " []\n", file);
	for (size_t at = 0; at < list->count; at++)
		print_effective_entries(file, entry->table,
					(char *)list->items + at * entry->table->size, indent + 4,
					true);
}

static void print_effective_value(FILE *file, const struct config_entry *entry, const void *field,
				  int indent)
{
	char text[CONFIG_TEXT_BYTES];

	switch (entry->type) {
	case CONFIG_STRING:
		fputc(' ', file);
		print_string(file, entry, *(char *const *)field);
		fputc('\n', file);
		break;
	case CONFIG_STRINGS:
		print_strings(file, entry, field);
		break;
	case CONFIG_MAP:
		print_map(file, entry, field, indent);
		break;
	case CONFIG_LIST:
		print_list(file, entry, field, indent);
		break;
	default:
		config_value_text(entry, field, text);
		fprintf(file, " %s\n", text);
		break;
	}
}

/* A string that is not there is left out: in YAML it has no other form. */
static void print_effective_entries(FILE *file, const struct config_table *table,
				    const void *config, int indent, bool item)
{
	const char *before = "";

	if (item) {
		print_indent(file, indent - 2);
		fputs("-\n", file);
	}
	for (size_t at = 0; at < table->count; at++) {
		const struct config_entry *entry = &table->entries[at];
		const void *field = (const char *)config + entry->offset;
		int inner;

		if (entry->type == CONFIG_STRING && !*(char *const *)field)
			continue;
		inner = print_sections(file, before, entry->name, indent, "");
		before = entry->name;
		print_indent(file, inner);
		fprintf(file, "%s:", last_word(entry->name));
		print_effective_value(file, entry, field, inner);
	}
}

void config_print_effective(FILE *file, const struct config_table *table, const void *config)
{
	print_effective_entries(file, table, config, 0, false);
}
