/* millrace-agent: reads its arguments and configuration, checks the host, runs. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/options.h"
#include "agent/preflight.h"

#define DEFAULT_PATH "/etc/millrace/agent.yaml"

enum { SETTINGS_MAX = 64, EXIT_USAGE = 2 };

struct arguments {
	const char *path;
	struct config_setting settings[SETTINGS_MAX];
	size_t settings_count;
	bool check, check_config;
};

static void print_help(void)
{
	printf("millrace-agent: connections, NAT and processes of this host, to Kafka.\n\n"
	       "  --config FILE       configuration (default " DEFAULT_PATH
	       ", which may be absent)\n"
	       "  --set NAME=VALUE    one setting, over file and environment; repeatable\n"
	       "  --check             say what this host lets the agent do, and end\n"
	       "  --check-config      read the configuration, and end\n"
	       "  --print-defaults    a commented configuration\n"
	       "  --print-reference   the reference of the configuration as Markdown\n"
	       "  --version, --help\n\n");
	config_print_help(stdout, &agent_options_table);
}

/* Whether the program goes on; else *status is its exit status. */
static bool parse(int count, char **words, struct arguments *arguments, int *status)
{
	static const struct option flags[] = {
		{"config", required_argument, NULL, 'c'},
		{"set", required_argument, NULL, 's'},
		{"check", no_argument, NULL, 'k'},
		{"check-config", no_argument, NULL, 'C'},
		{"print-defaults", no_argument, NULL, 'd'},
		{"print-reference", no_argument, NULL, 'r'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	*status = EXIT_SUCCESS;
	for (int flag; (flag = getopt_long(count, words, "", flags, NULL)) != -1;) {
		switch (flag) {
		case 'c':
			arguments->path = optarg;
			break;
		case 's':
			if (arguments->settings_count == SETTINGS_MAX) {
				fprintf(stderr, "millrace-agent: more than %d --set\n",
					SETTINGS_MAX);
				*status = EXIT_USAGE;
				return false;
			}
			arguments->settings[arguments->settings_count++] =
				(struct config_setting){.value = optarg, .origin = "--set"};
			break;
		case 'k':
			arguments->check = true;
			break;
		case 'C':
			arguments->check_config = true;
			break;
		case 'd':
			config_print_defaults(stdout, &agent_options_table);
			return false;
		case 'r':
			config_print_markdown(stdout, &agent_options_table);
			return false;
		case 'v':
			printf("millrace-agent %s\n", MILLRACE_VERSION);
			return false;
		case 'h':
			print_help();
			return false;
		default:
			*status = EXIT_USAGE;
			return false;
		}
	}
	if (optind == count)
		return true;
	fprintf(stderr, "millrace-agent: what is %s? See --help\n", words[optind]);
	*status = EXIT_USAGE;
	return false;
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
	int status;
	if (!parse(count, words, &arguments, &status))
		return status;
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
