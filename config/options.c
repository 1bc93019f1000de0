#include "config/options.h"

#include "config/nearest.h"

#include <assert.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Beside the table's: what getopt_long returns for an entry is its index above any letter's value.
 */
enum { INDEX_BASE = 256, HELP = INDEX_BASE + OPTIONS_MAX, VERSION };

static void print_flag(FILE *file, char letter, const char *name, const char *argument,
		       const char *help)
{
	char flag[64];

	snprintf(flag, sizeof(flag), "--%s%s%s", name, argument ? " " : "",
		 argument ? argument : "");
	if (letter)
		fprintf(file, "  -%c, %-26s %s\n", letter, flag, help);
	else
		fprintf(file, "      %-26s %s\n", flag, help);
}

void options_print_help(FILE *file, const struct option_table *table)
{
	fprintf(file, "Usage: %s %s\n%s\n\nFlags:\n", table->program, table->usage, table->summary);
	for (size_t at = 0; at < table->count; at++) {
		const struct option_entry *entry = &table->entries[at];

		if (table->shown && !table->shown(entry))
			continue;
		print_flag(file, entry->letter, entry->name, entry->argument, entry->help);
	}
	print_flag(file, 0, "help", NULL, "Print this and exit.");
	print_flag(file, 0, "version", NULL, "Print the version and exit.");
	if (table->print_more)
		table->print_more(file);
}

_Noreturn void options_refuse(const struct option_table *table, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s: ", table->program);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\nTry '%s --help'.\n", table->program);
	exit(OPTIONS_USAGE_STATUS);
}

struct forms {
	struct option longs[OPTIONS_MAX + 3];
	char shorts[2 * OPTIONS_MAX + 2];
};

static void forms_init(struct forms *forms, const struct option_table *table)
{
	char *letter = forms->shorts;
	size_t at;

	assert(table->count <= OPTIONS_MAX);
	memset(forms, 0, sizeof(*forms));
	*letter++ = ':'; /* a missing argument is told from an unknown flag */
	for (at = 0; at < table->count; at++) {
		const struct option_entry *entry = &table->entries[at];

		forms->longs[at] = (struct option){.name = entry->name,
						   .has_arg = entry->argument ? required_argument
									      : no_argument,
						   .val = INDEX_BASE + (int)at};
		if (entry->letter)
			*letter++ = entry->letter;
		if (entry->letter && entry->argument)
			*letter++ = ':';
	}
	forms->longs[at++] = (struct option){.name = "help", .val = HELP};
	forms->longs[at] = (struct option){.name = "version", .val = VERSION};
}

static _Noreturn void print_and_exit(const struct option_table *table, int form)
{
	if (form == HELP)
		options_print_help(stdout, table);
	else
		printf("%s %s\n", table->program, table->version);
	/* A full disk behind the pipe is not a success. */
	exit(fflush(stdout) == 0 && !ferror(stdout) ? EXIT_SUCCESS : EXIT_FAILURE);
}

static _Noreturn void refuse_long(const struct option_table *table, const struct forms *forms,
				  const char *flag)
{
	const char *names[OPTIONS_MAX + 2], *nearest;
	int length = (int)strcspn(flag, "=");
	char name[64];
	size_t count = 0;

	for (; forms->longs[count].name; count++)
		names[count] = forms->longs[count].name;
	snprintf(name, sizeof(name), "%.*s", length, flag);
	nearest = nearest_of(names, count, name);
	if (optopt >= INDEX_BASE)
		options_refuse(table, "--%s takes no argument", name);
	if (nearest)
		options_refuse(table, "unknown flag --%s; did you mean --%s?", name, nearest);
	options_refuse(table, "unknown flag --%s", name);
}

static const struct option_entry *entry_of(const struct option_table *table, int form)
{
	if (form >= INDEX_BASE)
		return &table->entries[form - INDEX_BASE];
	for (size_t at = 0; at < table->count; at++)
		if (table->entries[at].letter == form)
			return &table->entries[at];
	return NULL;
}

const struct option_entry *options_next(const struct option_table *table, int argc, char **argv,
					const char **argument)
{
	struct forms forms;
	int form;

	forms_init(&forms, table);
	opterr = 0;
	form = getopt_long(argc, argv, forms.shorts, forms.longs, NULL);
	*argument = NULL;
	if (form == -1)
		return NULL;
	if (form == HELP || form == VERSION)
		print_and_exit(table, form);
	if (form == ':')
		options_refuse(table, "%s wants %s", argv[optind - 1],
			       entry_of(table, optopt)->argument);
	if (form == '?' && optopt && optopt < INDEX_BASE)
		options_refuse(table, "unknown flag -%c", optopt);
	if (form == '?')
		refuse_long(table, &forms, argv[optind - 1] + 2);
	*argument = optarg;
	return entry_of(table, form);
}
