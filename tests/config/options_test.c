#include "config/options.h"

#include <getopt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const struct option_entry entries[] = {
	{.name = "config", .letter = 'c', .argument = "PATH", .help = "The file."},
	{.name = "check-config", .help = "Only check."},
	{.name = "set", .argument = "NAME=VALUE", .help = "One setting."},
	{.name = "verbose", .letter = 'v', .help = "Say more."},
	{.name = "wary", .help = "Not for everybody."},
};

static bool shown(const struct option_entry *entry)
{
	return strcmp(entry->name, "wary") != 0;
}

static void print_more(FILE *file)
{
	fputs("\nMore.\n", file);
}

static const struct option_table table = {.program = "mill",
					  .version = "1.2.3",
					  .usage = "[FLAG]...",
					  .summary = "Mills.",
					  .entries = entries,
					  .count = 5,
					  .shown = shown,
					  .print_more = print_more};

/* Every flag as "name=argument;", in argv's order, then the operands. */
static void read_all(int argc, char **argv, FILE *file)
{
	const struct option_entry *entry;
	const char *argument;

	optind = 0;
	while ((entry = options_next(&table, argc, argv, &argument)))
		fprintf(file, "%s=%s;", entry->name, argument ? argument : "");
	for (; optind < argc; optind++)
		fprintf(file, "%s;", argv[optind]);
}

/* Runs in a child, since a refusal ends the process. line's words are cut at blanks. */
static int run(const char *line, char output[1024])
{
	char words[256], program[] = "mill", *argv[16] = {program}, *rest = words;
	int argc = 1, status, ends[2];
	size_t length = 0;
	ssize_t got;
	pid_t child;

	snprintf(words, sizeof(words), "%s", line);
	while ((argv[argc] = strsep(&rest, " ")))
		argc += *argv[argc] != '\0';
	assert_int_equal(pipe(ends), 0);
	child = fork();
	if (child == 0) {
		dup2(ends[1], STDOUT_FILENO);
		dup2(ends[1], STDERR_FILENO);
		char *flags;
		size_t flags_length;
		FILE *file = open_memstream(&flags, &flags_length);

		read_all(argc, argv, file); /* told only if none is refused */
		fclose(file);
		_exit(write(STDOUT_FILENO, flags, flags_length) != (ssize_t)flags_length);
	}
	close(ends[1]);
	while ((got = read(ends[0], output + length, 1023 - length)) > 0)
		length += (size_t)got;
	output[length] = '\0';
	close(ends[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void flags_come_in_the_order_written(void **state)
{
	char output[1024];

	(void)state;
	assert_int_equal(
		run("-c a --set x=y one --config=b -v --set z= --check-config -- -c", output), 0);
	assert_string_equal(output,
			    "config=a;set=x=y;config=b;verbose=;set=z=;check-config=;one;-c;");
	assert_int_equal(run("", output), 0);
	assert_string_equal(output, "");
}

static void a_wrong_flag_ends_with_2_and_names_the_nearest(void **state)
{
	static const char *const cases[][2] = {
		{"--confg a",
		 "mill: unknown flag --confg; did you mean --config?\nTry 'mill --help'.\n"},
		{"--confg=a",
		 "mill: unknown flag --confg; did you mean --config?\nTry 'mill --help'.\n"},
		{"--entirely", "mill: unknown flag --entirely\nTry 'mill --help'.\n"},
		{"-v --hlp",
		 "mill: unknown flag --hlp; did you mean --help?\nTry 'mill --help'.\n"},
		{"-x", "mill: unknown flag -x\nTry 'mill --help'.\n"},
		{"-vx", "mill: unknown flag -x\nTry 'mill --help'.\n"},
		{"--set", "mill: --set wants NAME=VALUE\nTry 'mill --help'.\n"},
		{"-c", "mill: -c wants PATH\nTry 'mill --help'.\n"},
		{"--verbose=3", "mill: --verbose takes no argument\nTry 'mill --help'.\n"},
		{"--help=3", "mill: --help takes no argument\nTry 'mill --help'.\n"},
	};
	char output[1024];

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(*cases); at++) {
		assert_int_equal(run(cases[at][0], output), OPTIONS_USAGE_STATUS);
		assert_string_equal(output, cases[at][1]);
	}
}

static void help_and_version_are_printed_and_end_with_0(void **state)
{
	char output[1024];

	(void)state;
	assert_int_equal(run("--version --confg", output), 0);
	assert_string_equal(output, "mill 1.2.3\n");
	assert_int_equal(run("--help", output), 0);
	assert_string_equal(output, "Usage: mill [FLAG]...\nMills.\n\nFlags:\n"
				    "  -c, --config PATH              The file.\n"
				    "      --check-config             Only check.\n"
				    "      --set NAME=VALUE           One setting.\n"
				    "  -v, --verbose                  Say more.\n"
				    "      --help                     Print this and exit.\n"
				    "      --version                  Print the version and exit.\n"
				    "\nMore.\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flags_come_in_the_order_written),
		cmocka_unit_test(a_wrong_flag_ends_with_2_and_names_the_nearest),
		cmocka_unit_test(help_and_version_are_printed_and_end_with_0),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
