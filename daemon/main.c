/* millraced: the pipeline and the API. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "config/options.h"
#include "daemon/service.h"
#include "daemon/settings.h"

#define DEFAULT_CONFIG "/etc/millrace/millraced.yaml"

enum { SETTINGS_MAX = 64 };

static const struct option_entry flags[] = {
	{"config", 'c', "PATH", "Configuration file; " DEFAULT_CONFIG " is read when it exists."},
	{"embedded", 0, NULL, "Run a broker inside, in memory, for trials."},
	{"set", 's', "NAME=VALUE", "Set one entry of the configuration; may be repeated."},
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

int main(int argc, char **argv)
{
	struct command command = {0};
	struct settings settings;
	static struct config_error error;
	char problem[512];
	int status;

	read_flags(argc, argv, &command);
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
	status = service_run(&(struct service_options){
		.settings = &settings, .sources = &sources, .embedded = command.embedded});
	config_free(&settings_table, &settings);
	return status;
}
