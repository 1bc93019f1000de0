/* millrace agents and millrace agents show: who reports, how it does and what its node is. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cli/listing.h"

#define AGENTS_PATH "/api/v1/agents"
/* What a node's id is made of; no escape is needed. */
#define NODE_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-"

/* --- words of both --- */

/* Never numbered. What a full spool dropped was: it is lost. */
static double dropped_of(const cJSON *agent)
{
	return number_of(agent, "dropped_ring") + number_of(agent, "dropped_netlink");
}

/* Agents take hundredths of a percent. */
static const char *cpu_text(char text[FIGURE_MAX], double share)
{
	if (share > 0)
		snprintf(text, FIGURE_MAX, "%.2f %%", share * 100);
	else
		snprintf(text, FIGURE_MAX, "-");
	return text;
}

static const char *lag_text(char text[FIGURE_MAX], double seconds)
{
	if (seconds < 1)
		snprintf(text, FIGURE_MAX, "%.0f ms", seconds * 1e3);
	else if (seconds < 100)
		snprintf(text, FIGURE_MAX, "%.1f s", seconds);
	else
		snprintf(text, FIGURE_MAX, "%.0f min", seconds / 60);
	return text;
}

static const char *or_dash(const char *text)
{
	return *text ? text : "-";
}

/* What it is told, and whether it does so. */
static void control_text(const cJSON *agent, char *text, size_t size)
{
	const char *id = text_of(agent, "control_id"), *wanted = text_of(agent, "control_wanted");

	if (*text_of(agent, "control_error"))
		snprintf(text, size, "%s refused", or_dash(wanted));
	else if (!flag_of(agent, "control_pending"))
		snprintf(text, size, "%s", or_dash(id));
	else if (*wanted)
		snprintf(text, size, "%s pending", wanted);
	else
		snprintf(text, size, "%s to be left", id);
}

static void add_cpu(struct sheet *sheet, double share)
{
	char text[FIGURE_MAX];

	sheet_add(sheet, cpu_text(text, share));
}

static void add_control(struct sheet *sheet, const cJSON *agent)
{
	char text[256];

	control_text(agent, text, sizeof(text));
	sheet_add(sheet, text);
}

static void add_why(struct sheet *sheet, const cJSON *agent)
{
	const char *reason = text_of(agent, "reason"), *error = text_of(agent, "control_error");

	sheet_add(sheet, or_dash(*reason ? reason : error));
}

/* --- the list --- */

static const struct sheet_column narrow[] = {
	{"NODE", false},   {"ZONE", false},    {"STATE", false}, {"VERSION", false},
	{"KERNEL", false}, {"CPU", true},      {"BUDGET", true}, {"LAG", true},
	{"LOST", true},	   {"CONTROL", false}, {"WHY", false},
};

static void add_narrow(struct sheet *sheet, const cJSON *agent)
{
	char figure[FIGURE_MAX];

	sheet_add(sheet, text_of(agent, "node"));
	sheet_add(sheet, or_dash(text_of(agent, "zone")));
	sheet_add(sheet, text_of(agent, "state"));
	sheet_add(sheet, or_dash(text_of(agent, "version")));
	sheet_add(sheet, or_dash(text_of(agent, "kernel")));
	add_cpu(sheet, number_of(agent, "cpu_share"));
	add_cpu(sheet, number_of(agent, "cpu_budget"));
	sheet_add(sheet, lag_text(figure, number_of(agent, "lag_s")));
	sheet_addf(sheet, "%.0f", number_of(agent, "lost") + dropped_of(agent));
	add_control(sheet, agent);
	add_why(sheet, agent);
}

static const struct sheet_column wide[] = {
	{"NODE", false},   {"ZONE", false},	{"REGION", false},   {"ROLE", false},
	{"STATE", false},  {"VERSION", false},	{"KERNEL", false},   {"OS", false},
	{"CPUS", true},	   {"MEMORY", true},	{"INSTANCE", false}, {"TYPE", false},
	{"CPU", true},	   {"BUDGET", true},	{"LAG", true},	     {"LAST SEEN", false},
	{"SOCKETS", true}, {"LISTENERS", true}, {"EVENTS", true},    {"LOST", true},
	{"DROPPED", true}, {"CLOCK", true},	{"CONTROL", false},  {"WHY", false},
};

static void add_node(struct sheet *sheet, const cJSON *agent)
{
	double cpus = number_of(agent, "cpus"), memory = number_of(agent, "memory_bytes");
	char figure[FIGURE_MAX];

	sheet_add(sheet, or_dash(text_of(agent, "kernel")));
	sheet_add(sheet, or_dash(text_of(agent, "os")));
	sheet_addf(sheet, cpus > 0 ? "%.0f" : "-", cpus);
	sheet_add(sheet, memory > 0 ? figure_bytes(figure, memory, "") : "-");
	sheet_add(sheet, or_dash(text_of(agent, "instance_id")));
	sheet_add(sheet, or_dash(text_of(agent, "instance_type")));
}

static void add_wide(struct sheet *sheet, const cJSON *agent)
{
	char figure[FIGURE_MAX];

	sheet_add(sheet, text_of(agent, "node"));
	sheet_add(sheet, or_dash(text_of(agent, "zone")));
	sheet_add(sheet, or_dash(text_of(agent, "region")));
	sheet_add(sheet, or_dash(text_of(agent, "role")));
	sheet_add(sheet, text_of(agent, "state"));
	sheet_add(sheet, or_dash(text_of(agent, "version")));
	add_node(sheet, agent);
	add_cpu(sheet, number_of(agent, "cpu_share"));
	add_cpu(sheet, number_of(agent, "cpu_budget"));
	sheet_add(sheet, lag_text(figure, number_of(agent, "lag_s")));
	add_time(sheet, number_of(agent, "last_seen_s"));
	sheet_addf(sheet, "%.0f", number_of(agent, "sockets"));
	sheet_addf(sheet, "%.0f", number_of(agent, "listeners"));
	sheet_addf(sheet, "%.0f", number_of(agent, "events"));
	sheet_addf(sheet, "%.0f", number_of(agent, "lost"));
	sheet_addf(sheet, "%.0f", dropped_of(agent));
	sheet_addf(sheet, "%+.1f ms", number_of(agent, "clock_offset_s") * 1e3);
	add_control(sheet, agent);
	add_why(sheet, agent);
}

int list_agents(const struct cli *cli)
{
	const struct listing listing = {
		"agents",
		cli->wide ? wide : narrow,
		cli->wide ? sizeof(wide) / sizeof(wide[0]) : sizeof(narrow) / sizeof(narrow[0]),
		cli->wide ? add_wide : add_narrow,
		"No agents. Start millrace-agent on a node, with the same Kafka brokers and key as "
		"millraced;\nits health is at http://127.0.0.1:7471 there. With --node, --zone, "
		"--region, --role or --state: none that match.",
		"agents_left_out"};
	struct path path;

	if (cli->nodes.count > 1)
		return complain(STATUS_USAGE, "agents takes --node once; * in it is any text");
	path_begin(&path, AGENTS_PATH);
	path_add(&path, "node", cli->nodes.count ? cli->nodes.items[0] : NULL);
	path_add(&path, "zone", cli->zone);
	path_add(&path, "region", cli->region);
	path_add(&path, "role", cli->role);
	path_add(&path, "state", cli->state);
	path_add(&path, "limit", cli->limit);
	return list(cli, &path, &listing);
}

/* --- one of them --- */

static const struct sheet_column pair[] = {{"", false}, {"", false}};

static void say(struct sheet *sheet, const char *title, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void say(struct sheet *sheet, const char *title, const char *format, ...)
{
	char text[1024];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	sheet_add(sheet, title);
	sheet_add(sheet, or_dash(text));
}

/* Two or three texts, a space between those that are there. */
static void say_texts(struct sheet *sheet, const char *title, const cJSON *agent,
		      const char *const names[], size_t count)
{
	char text[1024] = "";
	size_t length = 0;

	for (size_t i = 0; i < count; i++) {
		const char *word = text_of(agent, names[i]);

		if (*word && length < sizeof(text))
			length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%s",
						   length ? ", " : "", word);
	}
	say(sheet, title, "%s", text);
}

static void say_list(struct sheet *sheet, const char *title, const cJSON *items)
{
	char text[1024] = "";
	size_t length = 0;
	const cJSON *item;

	cJSON_ArrayForEach(item, items)
	{
		const char *word = cJSON_IsString(item) ? item->valuestring : text_of(item, "key");
		const char *value = text_of(item, "value");

		if (length < sizeof(text))
			length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%s%s%s",
						   length ? ", " : "", word,
						   cJSON_IsString(item) ? "" : "=", value);
	}
	say(sheet, title, "%s", text);
}

static void say_sentences(struct sheet *sheet, const char *title, const cJSON *items)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, items)
	{
		say(sheet, title, "%s", cJSON_IsString(item) ? item->valuestring : "");
		title = "";
	}
}

static void say_who(struct sheet *sheet, const cJSON *agent)
{
	static const char *const places[] = {"zone", "region"};
	static const char *const hosts[] = {"os", "kernel", "architecture"};
	static const char *const clouds[] = {"cloud", "instance_type", "instance_id"};
	const char *reason = text_of(agent, "reason");
	char figure[FIGURE_MAX];

	say(sheet, "Node", "%s", text_of(agent, "node"));
	say(sheet, "State", "%s%s%s", text_of(agent, "state"), *reason ? ": " : "", reason);
	say_texts(sheet, "Zone", agent, places, 2);
	say(sheet, "Role", "%s", text_of(agent, "role"));
	say_list(sheet, "Labels", list_of(agent, "labels"));
	say_texts(sheet, "System", agent, hosts, 3);
	if (number_of(agent, "cpus") > 0)
		say(sheet, "Size", "%.0f CPUs, %s", number_of(agent, "cpus"),
		    figure_bytes(figure, number_of(agent, "memory_bytes"), ""));
	say_texts(sheet, "Cloud", agent, clouds, 3);
	say(sheet, "Booted", "%s", time_text(figure, number_of(agent, "booted_s")));
	say(sheet, "Boot id", "%s", text_of(agent, "boot_id"));
}

static void say_control(struct sheet *sheet, const cJSON *agent)
{
	const char *error = text_of(agent, "control_error");
	char text[256];

	control_text(agent, text, sizeof(text));
	say(sheet, "Control", "%s%s%s", text, *error ? ": " : "", error);
}

/* Of agents that tell of themselves. */
static void say_state(struct sheet *sheet, const cJSON *agent)
{
	const char *degraded = text_of(agent, "degraded");
	bool said = !*degraded || strcmp(text_of(agent, "reason"), degraded) == 0;
	double budget = number_of(agent, "cpu_budget");
	char figure[FIGURE_MAX], other[FIGURE_MAX];

	say(sheet, "CPU", "%s of the node, %s%s", cpu_text(figure, number_of(agent, "cpu_share")),
	    budget > 0 ? "budget " : "no budget", budget > 0 ? cpu_text(other, budget) : "");
	say(sheet, "Level", "%.0f%s%s", number_of(agent, "level"), said ? "" : ": ",
	    said ? "" : degraded);
	say_list(sheet, "Features", list_of(agent, "features"));
	say_sentences(sheet, "Missing", list_of(agent, "missing"));
	say(sheet, "Programs", "%.0f of %.0f attached", number_of(agent, "programs"),
	    number_of(agent, "programs_wanted"));
	say(sheet, "Self-tests", "%.0f, %.0f failed%s", number_of(agent, "self_tests"),
	    number_of(agent, "self_tests_failed"),
	    flag_of(agent, "self_test_failing") ? ", one just now" : "");
	say_control(sheet, agent);
}

static void say_how(struct sheet *sheet, const cJSON *agent)
{
	double clock_ms = number_of(agent, "clock_offset_s") * 1e3;
	char figure[FIGURE_MAX], other[FIGURE_MAX];

	say(sheet, "Agent", "%s", text_of(agent, "version"));
	say(sheet, "Last seen", "%s, %s behind", time_text(other, number_of(agent, "last_seen_s")),
	    lag_text(figure, number_of(agent, "lag_s")));
	if (clock_ms != 0)
		say(sheet, "Clock", "%+.1f ms, corrected", clock_ms);
	else
		say(sheet, "Clock", "in step with the log");
	if (cJSON_GetArraySize(list_of(agent, "features")))
		say_state(sheet, agent);
	say(sheet, "Sockets", "%.0f, counters read every %s", number_of(agent, "sockets"),
	    figure_seconds(figure, number_of(agent, "scan_period_s")));
	say(sheet, "Events", "%.0f came, %.0f are missing", number_of(agent, "events"),
	    number_of(agent, "lost"));
	say(sheet, "Dropped",
	    "%.0f in the ring, %.0f of netlink; of the missing, %.0f in the spool",
	    number_of(agent, "dropped_ring"), number_of(agent, "dropped_netlink"),
	    number_of(agent, "dropped_spool"));
}

static const struct sheet_column listener_columns[] = {
	{"ADDRESS", false}, {"PORT", true},    {"PROGRAM", false},
	{"PID", true},	    {"BACKLOG", true}, {"MAX", true},
	{"DROPS", true},    {"NETNS", true},   {"WORKLOAD", false},
};

static void print_listeners(const struct cli *cli, const cJSON *listeners)
{
	const cJSON *listener;
	struct sheet sheet;

	sheet_init(&sheet, listener_columns,
		   sizeof(listener_columns) / sizeof(listener_columns[0]));
	cJSON_ArrayForEach(listener, listeners)
	{
		sheet_add(&sheet, text_of(listener, "address"));
		sheet_addf(&sheet, "%.0f", number_of(listener, "port"));
		sheet_add(&sheet, or_dash(text_of(listener, "program")));
		sheet_addf(&sheet, "%.0f", number_of(listener, "pid"));
		sheet_addf(&sheet, "%.0f", number_of(listener, "backlog"));
		sheet_addf(&sheet, "%.0f", number_of(listener, "backlog_max"));
		sheet_addf(&sheet, "%.0f", number_of(listener, "drops"));
		sheet_addf(&sheet, "%.0f", number_of(listener, "netns"));
		sheet_add(&sheet, or_dash(text_of(listener, "workload")));
	}
	if (sheet.count) {
		putchar('\n');
		sheet_print(&sheet, stdout, cli->colour);
	}
	sheet_done(&sheet);
}

static void print_agent(const struct cli *cli, const cJSON *document)
{
	const cJSON *agent = cJSON_GetObjectItemCaseSensitive(document, "agent");
	struct sheet sheet;

	sheet_init(&sheet, pair, 2);
	say_who(&sheet, agent);
	say_how(&sheet, agent);
	sheet_print_rows(&sheet, stdout);
	sheet_done(&sheet);
	print_listeners(cli, list_of(document, "listeners"));
	if (number_of(document, "listeners_left_out") > 0)
		fprintf(stderr, "%.0f more listeners, none of which dropped more.\n",
			number_of(document, "listeners_left_out"));
}

int show_agent(const struct cli *cli, const char *node)
{
	char path[sizeof(AGENTS_PATH) + 256];
	cJSON *document;
	char *body;
	int status;

	if (!*node || strspn(node, NODE_LETTERS) != strlen(node) || strlen(node) > 253)
		return complain(STATUS_USAGE, "agents show NODE: a node that agents shows");
	snprintf(path, sizeof(path), AGENTS_PATH "/%s", node);
	status = ask_json(cli, path, &document, &body);
	if (status != STATUS_DONE)
		return status;
	if (cli->format == FORMAT_TABLE)
		print_agent(cli, document);
	else
		puts(body); /* one item: a line */
	free(body);
	cJSON_Delete(document);
	return STATUS_DONE;
}
