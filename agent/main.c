/* millrace-agent: reads its arguments and configuration, checks the host, runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/options.h"
#include "agent/preflight.h"
#include "config/options.h"

#define DEFAULT_PATH "/etc/millrace/agent.yaml"

enum { SETTINGS_MAX = 64, EXIT_USAGE = OPTIONS_USAGE_STATUS };

static const struct option_entry flags[] = {
	{"config", 'c', "PATH", "Configuration file; " DEFAULT_PATH " is read when it exists."},
	{"set", 's', "NAME=VALUE", "Set one entry of the configuration; may be repeated."},
	{"check", 0, NULL, "Say what this host lets the agent do, and exit."},
	{"check-config", 0, NULL, "Check the configuration, and exit."},
	{"print-defaults", 0, NULL,
	 "Print a commented configuration file with all defaults, and exit."},
	{"print-reference", 0, NULL,
	 "Print the reference of the configuration as Markdown, and exit."},
};

static void print_reference(FILE *file)
{
	config_print_help(file, &agent_options_table);
}

static const struct option_table options_table = {
	.program = "millrace-agent",
	.version = MILLRACE_VERSION,
	.usage = "[FLAG]...",
	.summary = "Tells connections, NAT and processes of this host to Kafka.",
	.entries = flags,
	.count = sizeof(flags) / sizeof(flags[0]),
	.print_more = print_reference,
};

struct arguments {
	const char *path;
	struct config_setting settings[SETTINGS_MAX];
	size_t settings_count;
	bool check, check_config;
};

static void add_setting(struct arguments *arguments, const char *value)
{
	if (arguments->settings_count == SETTINGS_MAX)
		options_refuse(&options_table, "--set may be given %d times", SETTINGS_MAX);
	arguments->settings[arguments->settings_count++] =
		(struct config_setting){.value = value, .origin = "--set"};
}

static void read_flags(int count, char **words, struct arguments *arguments)
{
	const struct option_entry *flag;
	const char *argument;

	while ((flag = options_next(&options_table, count, words, &argument)) != NULL) {
		if (strcmp(flag->name, "config") == 0)
			arguments->path = argument;
		else if (strcmp(flag->name, "set") == 0)
			add_setting(arguments, argument);
		else if (strcmp(flag->name, "check") == 0)
			arguments->check = true;
		else if (strcmp(flag->name, "check-config") == 0)
			arguments->check_config = true;
		else if (strcmp(flag->name, "print-defaults") == 0) {
			config_print_defaults(stdout, &agent_options_table);
			exit(EXIT_SUCCESS);
		} else {
			config_print_markdown(stdout, &agent_options_table);
			exit(EXIT_SUCCESS);
		}
	}
	if (optind < count)
		options_refuse(&options_table, "%s is not a flag", words[optind]);
}

/* The arguments are lent to what it returns. */
static struct config_sources sources_of(const struct arguments *arguments)
{
	return (struct config_sources){
		.path = arguments->path		     ? arguments->path
			: access(DEFAULT_PATH, F_OK) ? NULL
						     : DEFAULT_PATH,
		.settings = arguments->settings,
		.settings_count = arguments->settings_count,
	};
}

static bool load(const struct arguments *arguments, struct agent_options *options)
{
	struct config_sources sources = sources_of(arguments);
	struct config_error error;
	char why[CONFIG_ERROR_BYTES];
	if (config_load(&agent_options_table, &sources, options, &error)) {
		fprintf(stderr, "%s\n", error.text);
		return false;
	}
	if (agent_options_finish(options, why)) {
		fprintf(stderr, "millrace-agent: %s\n", why);
		config_free(&agent_options_table, options);
		return false;
	}
	return true;
}

/* Findings to stderr as the agent starts, to stdout when they were asked for. */
static bool look_around(FILE *file, const struct agent_options *options,
			struct preflight *preflight)
{
	preflight_run(preflight, options->docker_root ? options->docker_root : "", "");
	for (size_t i = 0; i < preflight->count; i++)
		fprintf(file, "millrace-agent: %s%s\n",
			preflight->findings[i].fatal ? "fatal: " : "",
			preflight->findings[i].sentence);
	return !preflight_fatal(preflight);
}

int main(int count, char **words)
{
	struct arguments arguments = {0};
	struct agent_options options;
	struct preflight preflight;
	int status = EXIT_SUCCESS;
	read_flags(count, words, &arguments);
	if (!load(&arguments, &options))
		return EXIT_USAGE;
	if (arguments.check_config) {
		printf("the configuration is good\n");
	} else if (arguments.check) {
		bool good = look_around(stdout, &options, &preflight);
		printf(good ? "millrace-agent can run here\n" : "millrace-agent cannot run here\n");
		status = good ? EXIT_SUCCESS : EXIT_FAILURE;
	} else {
		struct config_sources sources = sources_of(&arguments);
		if (!look_around(stderr, &options, &preflight) ||
		    agent_run(&options, &sources, &preflight))
			status = EXIT_FAILURE;
	}
	config_free(&agent_options_table, &options);
	return status;
}
