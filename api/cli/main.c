/* millrace: the API, and the engine over files, on the command line. */
#include <curl/curl.h>
#include <getopt.h>
#include <locale.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/cli/cli.h"
#include "config/options.h"

#define DEFAULT_SERVER "http://127.0.0.1:7470"

static const struct option_entry flags[] = {
	{"server", 's', "URL",
	 "Address of millraced; " DEFAULT_SERVER ", or MILLRACE_SERVER's value. Of silences: "
	 "--server is a glob on server workloads (*, ?), -s the address."},
	{"ca", 0, "FILE",
	 "PEM file of the authorities that may vouch for an https server; the system's."},
	{"output", 'o', "FORMAT",
	 "table, wide (with all columns), json or jsonl (an item a line)."},
	{"hops", 0, "N", "map: how far round the workload, 1 to 8."},
	{"window", 'w', "DURATION", "map, top, events: the trailing window, such as 60s or 5m."},
	{"zone", 0, "ZONE", "map, top: only edges that touch it; agents: only its nodes."},
	{"limit", 'n', "N", "map, top, alerts, events, agents: rows at most."},
	{"by", 0, "WHAT", "top: bytes, connections, failures or latency."},
	{"watch", 0, "DURATION", "top: time between two tables; 2s."},
	{"once", '1', NULL, "top: one table; so too when stdout is no terminal."},
	{"state", 0, "STATE",
	 "alerts: firing or resolved; agents: live, degraded, behind or silent; silences: active, "
	 "pending or expired."},
	{"file", 'f', "FILE",
	 "monitors apply, test, backtest: a monitor, or a list of them, as in millraced.yaml; - is "
	 "stdin."},
	{"dry-run", 0, NULL, "monitors apply, silences add: only says what would be in force."},
	{"send", 0, NULL,
	 "monitors test: sends a test notification, to the RECEIVER behind NAME or to all that are "
	 "for it."},
	{"client", 0, "GLOB", "silences add: client workloads that match (*, ?)."},
	{"port", 0, "PORT", "silences add: of servers."},
	{"monitor", 0, "GLOB",
	 "silences add: monitors that match, such as 'baseline/*' or burn-rate/1h."},
	{"severity", 0, "SEVERITY", "silences add: info, warning, error or critical."},
	{"starts-at", 0, "TIME", "silences add: RFC 3339 or seconds since 1970; now."},
	{"ends-at", 0, "TIME", "silences add: likewise; this or --for."},
	{"created-by", 0, "NAME", "silences add, alerts ack: who; who runs this."},
	{"comment", 0, "TEXT", "silences add, alerts ack: why, or what is done about it."},
	{"kind", 0, "KIND",
	 "events: deployed, scaled, restarted, oom_killed, node_ready, edge_appeared, ..."},
	{"node", 0, "GLOB",
	 "agents: nodes whose id matches (*, ?); for set it may be given again; events: one."},
	{"loss", 0, NULL, "agents: what became of their events, of all or of one NODE."},
	{"label", 0, "KEY=VALUE", "agents set: only nodes with this label; may be given again."},
	{"region", 0, "REGION", "agents: only its nodes; so --zone and --role."},
	{"role", 0, "ROLE", "agents: only nodes with this role."},
	{"scan-period", 0, "DURATION", "agents set: how often counters of open sockets are read."},
	{"batch-interval", 0, "DURATION", "agents set: how long events are gathered."},
	{"feature", 0, "NAME=on|off",
	 "agents set: udp, dns, sni, drops, nat, processes, cmdlines or owners."},
	{"scope", 0, "PREFIX",
	 "agents set: only cgroups whose path begins with it; may be given again."},
	{"budget", 0, "PERCENT", "agents set: of the node's CPUs, for the agent and its programs."},
	{"for", 0, "DURATION",
	 "agents set: how long it holds; 1h. silences add: how long it lasts."},
	{"from", 0, "TIME",
	 "backtest: where it begins; 2026-01-31T23:00:00Z, seconds since 1970, now-12h; UTC."},
	{"to", 0, "TIME", "backtest: where it ends, likewise; now."},
	{"config", 'c', "FILE",
	 "backtest: configuration of the millraced that reads the log; as its own --config."},
	{"set", 0, "NAME=VALUE", "backtest: sets an entry of that; may be given again."},
	{"csv", 0, "FILE",
	 "backtest, localize: the file; - is stdin. Its first row names the columns."},
	{"time-column", 0, "NAME",
	 "backtest: of times; seconds, ms, us or ns since 1970, or ISO 8601; UTC."},
	{"value-column", 0, "NAME", "backtest: of values."},
	{"sensitivity", 0, "DECADES", "backtest: surprise from which a value is a detection; 5.4."},
	{"actual", 0, "COLUMN", "localize: what is."},
	{"expected", 0, "COLUMN", "localize: what was expected."},
	{"attributes", 0, "A,B,C", "localize: columns that may explain it; all others."},
	{"top", 0, "N", "localize: explanations at most, 1 to 50; 5."},
	{"id", 0, "ID",
	 "agents set, silences add: takes the place of the record, or silence, with this id."},
};

struct command {
	const char *name, *operand, *help;
	const char *flags; /* of its own, a space between */
	int (*run)(const struct cli *cli);
};

static const struct command commands[] = {
	{"map", "[WORKLOAD]", "Who talks to whom, and how well: all, or round a workload.",
	 "hops window zone limit", command_map},
	{"top", "", "The edges that have most, again and again.", "by limit window zone watch once",
	 command_top},
	{"alerts", "[WORKLOAD]",
	 "What departs from normal, newest first; ack KEY: somebody attends to it.",
	 "state limit created-by comment", command_alerts},
	{"monitors", "[VERB]",
	 "What people are told of: list, get NAME, apply -f FILE, delete NAME, test NAME.",
	 "file dry-run send", command_monitors},
	{"silences", "[VERB]",
	 "Of which alerts nobody is told for a while: list, get ID, add, expire ID.",
	 "state client port monitor severity starts-at ends-at for created-by comment id dry-run",
	 command_silences},
	{"events", "[WORKLOAD]", "What changed, newest first: deployments, restarts, nodes, edges.",
	 "window kind node limit", command_events},
	{"agents", "[VERB]",
	 "The agents that report; show NODE: one; control, set, unset ID: what they are told.",
	 "loss state limit node label zone region role scan-period batch-interval feature scope "
	 "budget "
	 "for id",
	 command_agents},
	{"backtest", "[MONITOR]",
	 "What a monitor would have said of a time that is past; or detections in a CSV file.",
	 "from to file config set csv time-column value-column sensitivity", command_backtest},
	{"localize", "",
	 "Which combinations of attributes explain a difference in a CSV file, best first.",
	 "csv actual expected attributes top", command_localize},
	{"status", "", "Whether millraced is ready, and its main figures.", "", command_status},
	{"version", "", "This program's version.", "", NULL},
	{"help", "[COMMAND]", "This text, or a command's.", "", NULL},
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static bool of_all(const char *flag)
{
	return strcmp(flag, "server") == 0 || strcmp(flag, "ca") == 0 ||
	       strcmp(flag, "output") == 0;
}

static bool takes(const struct command *command, const char *flag)
{
	size_t length = strlen(flag);

	for (const char *at = command->flags; *at; at += strspn(at, " ")) {
		size_t word = strcspn(at, " ");

		if (word == length && strncmp(at, flag, length) == 0)
			return true;
		at += word;
	}
	return false;
}

/* Whose help is asked for; NULL: the program's, with the flags that all commands have. */
static const struct command *asked;

static bool shown(const struct option_entry *entry)
{
	return of_all(entry->name) || (asked && takes(asked, entry->name));
}

static void print_commands(FILE *file)
{
	fputs("\nCommands:\n", file);
	for (int i = 0; i < COMMANDS; i++)
		fprintf(file, "  %-9s%-12s %s\n", commands[i].name, commands[i].operand,
			commands[i].help);
	fputs("\n'millrace COMMAND --help' prints the flags of one.\n", file);
}

static void print_more(FILE *file)
{
	if (!asked)
		print_commands(file);
	fputs("\nEnvironment:\n"
	      "  MILLRACE_SERVER  The address, where --server is not given.\n"
	      "  MILLRACE_TOKEN   control.token of millraced, for what changes monitors, "
	      "silences and agents.\n"
	      "  NO_COLOR         If it is not empty, tables have no colours.\n"
	      "\nExit status: 0 done, 1 failed or not ready, 2 usage, 3 millraced (of a "
	      "backtest: Kafka) not reachable.\n",
	      file);
}

static struct option_table options = {
	.program = "millrace",
	.version = MILLRACE_VERSION,
	.usage = "COMMAND [FLAG]...",
	.summary = "Asks millraced: the service map, alerts, monitors, silences, events, agents.",
	.entries = flags,
	.count = sizeof(flags) / sizeof(flags[0]),
	.shown = shown,
	.print_more = print_more,
};

static void help_about(const struct command *command)
{
	static char usage[64];

	snprintf(usage, sizeof(usage), "%s %s%s[FLAG]...", command->name, command->operand,
		 *command->operand ? " " : "");
	asked = command;
	options.usage = usage;
	options.summary = command->help;
}

int complain(enum status status, const char *format, ...)
{
	va_list arguments;

	fputs("millrace: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	return status;
}

const char *user_of(const struct cli *cli)
{
	const struct passwd *user = cli->created_by ? NULL : getpwuid(getuid());

	return user ? user->pw_name : cli->created_by;
}

static void read_format(struct cli *cli, const char *name)
{
	static const struct {
		const char *name;
		enum format format;
		bool wide;
	} formats[] = {
		{"table", FORMAT_TABLE, false},
		{"wide", FORMAT_TABLE, true},
		{"json", FORMAT_JSON, false},
		{"jsonl", FORMAT_JSONL, false},
	};

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		if (strcmp(formats[i].name, name) != 0)
			continue;
		cli->format = formats[i].format;
		cli->wide = formats[i].wide;
		return;
	}
	options_refuse(&options, "--output %s; accepted: table, wide, json, jsonl", name);
}

/* Where a flag's argument goes. */
static const char **place_of(struct cli *cli, const char *flag)
{
	const struct {
		const char *name;
		const char **place;
	} places[] = {
		{"server", &cli->server},
		{"ca", &cli->ca},
		{"hops", &cli->hops},
		{"window", &cli->window},
		{"zone", &cli->zone},
		{"limit", &cli->limit},
		{"by", &cli->by},
		{"watch", &cli->watch},
		{"state", &cli->state},
		{"kind", &cli->kind},
		{"region", &cli->region},
		{"role", &cli->role},
		{"budget", &cli->budget},
		{"for", &cli->life},
		{"id", &cli->id},
		{"file", &cli->file},
		{"from", &cli->from},
		{"to", &cli->to},
		{"config", &cli->config},
		{"csv", &cli->csv},
		{"time-column", &cli->time_column},
		{"value-column", &cli->value_column},
		{"sensitivity", &cli->sensitivity},
		{"actual", &cli->actual},
		{"expected", &cli->expected},
		{"attributes", &cli->attributes},
		{"top", &cli->top},
		{"scan-period", &cli->scan_period},
		{"batch-interval", &cli->batch_interval},
		{"monitor", &cli->monitor},
		{"client", &cli->client},
		{"port", &cli->port},
		{"severity", &cli->severity},
		{"starts-at", &cli->starts_at},
		{"ends-at", &cli->ends_at},
		{"created-by", &cli->created_by},
		{"comment", &cli->comment},
	};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (strcmp(places[i].name, flag) == 0)
			return places[i].place;
	}
	return NULL;
}

static struct words *words_of(struct cli *cli, const char *flag)
{
	return strcmp(flag, "node") == 0      ? &cli->nodes
	       : strcmp(flag, "label") == 0   ? &cli->labels
	       : strcmp(flag, "feature") == 0 ? &cli->features
	       : strcmp(flag, "scope") == 0   ? &cli->scope
	       : strcmp(flag, "set") == 0     ? &cli->settings
					      : NULL;
}

static void add_word(struct words *words, const char *flag, const char *word)
{
	if (words->count == CLI_WORDS_MAX)
		options_refuse(&options, "--%s may be given %d times", flag, CLI_WORDS_MAX);
	words->items[words->count++] = word;
}

/* Flags given, to be checked against the command's own when it is known. */
struct given {
	const char *names[OPTIONS_MAX];
	size_t count;
};

/* Whether the flag that was read just now is a letter. */
static bool by_letter(char **argv, const char *argument)
{
	const char *word = argv[optind - 1] == argument ? argv[optind - 2] : argv[optind - 1];

	return word[0] == '-' && word[1] != '-';
}

static void read_flags(struct cli *cli, struct given *given, int argc, char **argv)
{
	const struct option_entry *entry;
	const char *argument;

	while ((entry = options_next(&options, argc, argv, &argument))) {
		if (strcmp(entry->name, "output") == 0)
			read_format(cli, argument);
		else if (strcmp(entry->name, "once") == 0)
			cli->once = true;
		else if (strcmp(entry->name, "loss") == 0)
			cli->loss = true;
		else if (strcmp(entry->name, "dry-run") == 0)
			cli->dry_run = true;
		else if (strcmp(entry->name, "send") == 0)
			cli->send = true;
		else if (strcmp(entry->name, "server") == 0 && !by_letter(argv, argument))
			cli->matched = argument; /* or the address: see settle_server */
		else if (words_of(cli, entry->name))
			add_word(words_of(cli, entry->name), entry->name, argument);
		else
			*place_of(cli, entry->name) = argument;
		if (!of_all(entry->name) && given->count < OPTIONS_MAX)
			given->names[given->count++] = entry->name;
	}
}

static const struct command *known_command(const char *name)
{
	for (int i = 0; i < COMMANDS; i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

/* --help ends the process as soon as it is met, so whose it is must be known before. */
static void find_asked(int argc, char **argv)
{
	for (int i = 1; i < argc && !asked; i++) {
		const struct command *command = known_command(argv[i]);

		if (command && command->run)
			help_about(command);
	}
}

static const struct command *find_command(const char *name)
{
	const struct command *command = known_command(name);

	if (command)
		return command;
	options_refuse(
		&options,
		"there is no command %s; accepted: map, top, alerts, monitors, silences, events, "
		"agents, backtest, localize, status, version, help",
		name);
}

/* --server is millraced's address, but with silences, whose servers it chooses. */
static void settle_server(const struct command *command, struct cli *cli)
{
	if (command->run == command_silences || !cli->matched)
		return;
	cli->server = cli->matched;
	cli->matched = NULL;
}

static void check(const struct command *command, const struct cli *cli, const struct given *given)
{
	for (size_t i = 0; i < given->count; i++) {
		if (!takes(command, given->names[i]))
			options_refuse(&options, "%s has no --%s", command->name, given->names[i]);
	}
	/* An operand too many of alerts it refuses itself: it has a verb. */
	bool verbs = command->run == command_alerts || command->run == command_agents ||
		     command->run == command_monitors || command->run == command_silences;
	int most = cli->send ? 3 : verbs ? 2 : *command->operand ? 1 : 0;

	if (cli->operands_count > most)
		options_refuse(&options, "%s takes no \"%s\"", command->name, cli->operands[most]);
}

int main(int argc, char **argv)
{
	const char *server = getenv("MILLRACE_SERVER");
	const char *no_colour = getenv("NO_COLOR");
	struct cli cli = {.server = server && *server ? server : DEFAULT_SERVER};
	struct given given = {0};

	setlocale(LC_CTYPE, "");
	find_asked(argc, argv);
	read_flags(&cli, &given, argc, argv);
	cli.colour = isatty(STDOUT_FILENO) && !(no_colour && *no_colour);
	if (optind >= argc)
		options_refuse(
			&options,
			"which command? map, top, alerts, monitors, silences, events, agents, "
			"backtest, localize, status, version, help");

	const struct command *command = find_command(argv[optind]);

	cli.operands = argv + optind + 1;
	cli.operands_count = argc - optind - 1;
	settle_server(command, &cli);
	check(command, &cli, &given);
	if (strcmp(command->name, "help") == 0) {
		if (cli.operands_count)
			find_command(cli.operands[0]);
		options_print_help(stdout, &options);
		return STATUS_DONE;
	}
	if (strcmp(command->name, "version") == 0) {
		puts("millrace " MILLRACE_VERSION);
		return STATUS_DONE;
	}
	curl_global_init(CURL_GLOBAL_DEFAULT);

	int status = command->run(&cli);

	curl_global_cleanup();
	if (fflush(stdout) != 0 || ferror(stdout))
		return complain(STATUS_FAILED, "stdout cannot be written");
	return status;
}
