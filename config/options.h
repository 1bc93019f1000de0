/* A table over getopt_long: the flags of a program, and its --help and --version printed from it.
 * --help and
 * --version need no entry. A wrong flag ends the process with 2 and names the nearest right one, as
 * a program does before it has begun anything. At most OPTIONS_MAX entries. Main thread, at start.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { OPTIONS_MAX = 64, OPTIONS_USAGE_STATUS = 2 };

struct option_entry {
	const char *name;     /* "config" for --config */
	char letter;	      /* 'c' for -c; 0: none */
	const char *argument; /* "PATH", as --help shows it; NULL: the flag takes none */
	const char *help;
};

struct option_table {
	const char *program; /* "millraced" */
	const char *version; /* "0.1.0" */
	const char *usage;   /* behind the program's name: "[FLAG]... [FILE]" */
	const char *summary; /* what the program does, a sentence */
	const struct option_entry *entries;
	size_t count;
	bool (*shown)(const struct option_entry *entry); /* in --help; NULL: all are */
	void (*print_more)(
		FILE *file); /* at the end of --help: the configuration's table; may be NULL */
};

/* The next flag in argv, NULL when there are no more; *argument is its argument or NULL. Then
 * optind is the first operand's index, as after getopt_long; flags may stand behind operands, up to
 * a "--". */
const struct option_entry *options_next(const struct option_table *table, int argc, char **argv,
					const char **argument);

void options_print_help(FILE *file, const struct option_table *table);

/* Says "program: what", points at --help, and ends the process with 2. For what options_next cannot
 * know: an operand too many, two flags that exclude each other. */
_Noreturn void options_refuse(const struct option_table *table, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
