/* millraced: the pipeline and the API. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/timestamp.h"
#include "config/config.h"
#include "config/options.h"
#include "daemon/backtest.h"
#include "daemon/service.h"
#include "daemon/settings.h"

#define DEFAULT_CONFIG "/etc/millrace/millraced.yaml"

enum { SETTINGS_MAX = 64 };

static const struct option_entry flags[] = {
	{"config", 'c', "PATH", "Configuration file; " DEFAULT_CONFIG " is read when it exists."},
	{"embedded", 0, NULL, "Run a broker inside, in memory, for trials."},
	{"set", 's', "NAME=VALUE", "Set one entry of the configuration; may be repeated."},
	{"backtest", 0, "MONITOR",
	 "Print as JSON what a monitor in force would have said of a time that is past, and exit: "
	 "what millrace backtest shows."},
	{"backtest-file", 'f', "FILE", "The same of the monitors in a file; - is stdin."},
	{"from", 0, "TIME", "Where that time begins: ISO 8601, or a number since 1970; UTC."},
	{"to", 0, "TIME", "Where it ends."},
	{"check-config", 0, NULL, "Check the configuration, print what is in force, and exit."},
	{"print-defaults", 0, NULL,
	 "Print a commented configuration file with all defaults, and exit."},
	{"print-reference", 0, NULL,
	 "Print the reference of the configuration as Markdown, and exit."},
};

static void print_reference(FILE *file)
{
	config_print_help(file, &settings_table);
}

static const struct option_table options = {
	.program = "millraced",
	.version = MILLRACE_VERSION,
	.usage = "[FLAG]...",
	.summary = "Reads agents' events from Kafka, joins and aggregates them, watches for "
		   "departures from normal and "
		   "serves the API.",
	.entries = flags,
	.count = sizeof(flags) / sizeof(flags[0]),
	.print_more = print_reference,
};

struct command {
	const char *config;
	bool embedded, check;
	const char *monitor, *file, *from, *to; /* of a backtest */
	struct config_setting settings[SETTINGS_MAX];
	size_t settings_count;
};

static void add_setting(struct command *command, const char *value)
{
	if (command->settings_count == SETTINGS_MAX)
		options_refuse(&options, "--set may be given %d times", SETTINGS_MAX);
	command->settings[command->settings_count++] =
		(struct config_setting){.name = NULL, .value = value, .origin = "--set"};
}

static void read_flags(int argc, char **argv, struct command *command)
{
	const struct option_entry *flag;
	const char *argument;

	while ((flag = options_next(&options, argc, argv, &argument)) != NULL) {
		if (strcmp(flag->name, "config") == 0)
			command->config = argument;
		else if (strcmp(flag->name, "embedded") == 0)
			command->embedded = true;
		else if (strcmp(flag->name, "set") == 0)
			add_setting(command, argument);
		else if (strcmp(flag->name, "check-config") == 0)
			command->check = true;
		else if (strcmp(flag->name, "backtest") == 0)
			command->monitor = argument;
		else if (strcmp(flag->name, "backtest-file") == 0)
			command->file = argument;
		else if (strcmp(flag->name, "from") == 0)
			command->from = argument;
		else if (strcmp(flag->name, "to") == 0)
			command->to = argument;
		else if (strcmp(flag->name, "print-defaults") == 0) {
			config_print_defaults(stdout, &settings_table);
			exit(0);
		} else {
			config_print_markdown(stdout, &settings_table);
			exit(0);
		}
	}
	if (optind < argc)
		options_refuse(&options, "%s is not a flag", argv[optind]);
	if (!command->config && access(DEFAULT_CONFIG, F_OK) == 0)
		command->config = DEFAULT_CONFIG;
}

static bool is_backtest(const struct command *command)
{
	return command->monitor || command->file;
}

/* No log is older; what is read before it must not lie before 1970. */
#define TIME_MIN_NS (946684800 * (int64_t)NS_PER_S)

static uint64_t read_time(const char *flag, const char *text)
{
	int64_t time_ns;

	if (!text)
		options_refuse(&options, "a backtest needs --%s", flag);
	if (!timestamp_read(text, &time_ns) || time_ns < TIME_MIN_NS)
		options_refuse(&options,
			       "--%s %s is no time; accepted: 2026-01-31T23:00:00Z, or a number "
			       "of seconds, ms, us or ns since 1970",
			       flag, text);
	return (uint64_t)time_ns;
}

static void check_backtest(const struct command *command, struct backtest_options *backtest)
{
	if (!is_backtest(command)) {
		if (command->from || command->to)
			options_refuse(&options, "--from and --to belong to a backtest");
		return;
	}
	if (command->monitor && command->file)
		options_refuse(&options, "--backtest takes one in force, --backtest-file those of "
					 "a file; give one of them");
	if (command->embedded)
		options_refuse(&options, "the log of an embedded broker ends with it: there is "
					 "nothing to look back at");
	backtest->monitor = command->monitor;
	backtest->file = command->file;
	backtest->from_ns = read_time("from", command->from);
	backtest->to_ns = read_time("to", command->to);
	if (backtest->from_ns >= backtest->to_ns)
		options_refuse(&options, "--from is not before --to");
}

int main(int argc, char **argv)
{
	struct command command = {0};
	struct settings settings;
	static struct config_error error;
	struct backtest_options backtest = {.settings = &settings};
	char problem[512];
	int status;

	read_flags(argc, argv, &command);
	check_backtest(&command, &backtest);
	struct config_sources sources = {.path = command.config,
					 .settings = command.settings,
					 .settings_count = command.settings_count};
	if (config_load(&settings_table, &sources, &settings, &error) < 0) {
		fprintf(stderr, "%s\n", error.text);
		return 2;
	}
	if (settings_check(&settings, problem, sizeof(problem)) < 0) {
		fprintf(stderr, "%s%s%s\n", command.config ? command.config : "",
			command.config ? ": " : "", problem);
		config_free(&settings_table, &settings);
		return 2;
	}
	if (command.check) {
		config_print_effective(stdout, &settings_table, &settings);
		config_free(&settings_table, &settings);
		return 0;
	}
	if (is_backtest(&command)) {
		backtest.sources = &sources;
		status = backtest_run(&backtest);
		config_free(&settings_table, &settings);
		return status;
	}
	status = service_run(&(struct service_options){
		.settings = &settings, .sources = &sources, .embedded = command.embedded});
	config_free(&settings_table, &settings);
	return status;
}
