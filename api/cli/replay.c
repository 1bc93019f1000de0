/* millrace backtest MONITOR: what a monitor would have said of a time that is past. The log is
 * Kafka's, which this program does not speak; so millraced of the same host reads it, with its
 * configuration and rights (daemon/backtest.h), and hands the answer over as JSON. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/cli/listing.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/real.h"
#include "base/timestamp.h"
#include "config/value.h"

extern char **environ;

enum {
	ANSWER_BYTES_MAX = 256 << 20, /* 4,096 incidents are some 30 MB */
	WORDS_MAX = 16 + 2 * CLI_WORDS_MAX,
	TIME_BYTES = 24,
};

/* The arguments of millraced. */
struct call {
	char program[PATH_MAX];
	char from[TIME_BYTES], to[TIME_BYTES];
	const char *words[WORDS_MAX];
	size_t count;
};

/* --- times --- */

static const struct config_entry duration = {.name = "duration", .type = CONFIG_DURATION};

/* A time of the clock or of a file, now, or now-12h. */
static bool read_time(const char *text, uint64_t now_ns, uint64_t *time_ns)
{
	char why[CONFIG_WHY_BYTES];
	uint64_t ago_ns;
	int64_t ns;

	if (strcmp(text, "now") == 0) {
		*time_ns = now_ns;
		return true;
	}
	if (strncmp(text, "now-", 4) == 0) {
		if (!config_value_set(&duration, &ago_ns, text + 4, why) || ago_ns > now_ns)
			return false;
		*time_ns = now_ns - ago_ns;
		return true;
	}
	if (!timestamp_read(text, &ns) || ns < 0)
		return false;
	*time_ns = (uint64_t)ns;
	return true;
}

static int check_time(const char *flag, const char *text, uint64_t now_ns, uint64_t *time_ns)
{
	if (read_time(text, now_ns, time_ns))
		return STATUS_DONE;
	return complain(STATUS_USAGE,
			"--%s %s is no time; accepted: 2026-01-31T23:00:00Z, a number since 1970, "
			"now, now-12h",
			flag, text);
}

static int read_range(const struct cli *cli, struct call *call)
{
	uint64_t now_ns = real_ns(), from_ns, to_ns;
	int status;

	if (!cli->from)
		return complain(STATUS_USAGE, "backtest MONITOR needs --from TIME, such as "
					      "2026-01-31T23:00:00Z or now-12h");
	status = check_time("from", cli->from, now_ns, &from_ns);
	if (status == STATUS_DONE)
		status = check_time("to", cli->to ? cli->to : "now", now_ns, &to_ns);
	if (status != STATUS_DONE)
		return status;
	if (from_ns >= to_ns)
		return complain(STATUS_USAGE, "--from is not before --to%s",
				cli->to ? "" : ", which is now");
	snprintf(call->from, sizeof(call->from), "%llu", (unsigned long long)from_ns);
	snprintf(call->to, sizeof(call->to), "%llu", (unsigned long long)to_ns);
	return STATUS_DONE;
}

/* --- millraced --- */

/* The one beside this program, as both are of one build; else whichever PATH has. */
static void find_program(struct call *call)
{
	static const char name[] = "millraced";
	ssize_t length = readlink("/proc/self/exe", call->program, sizeof(call->program));

	while (length > 0 && call->program[length - 1] != '/')
		length--;
	if (length > 0 && (size_t)length + sizeof(name) <= sizeof(call->program)) {
		memcpy(call->program + length, name, sizeof(name));
		if (access(call->program, X_OK) == 0)
			return;
	}
	memcpy(call->program, name, sizeof(name));
}

static void add(struct call *call, const char *word)
{
	call->words[call->count++] = word;
}

static void add_pair(struct call *call, const char *flag, const char *value)
{
	if (!value)
		return;
	add(call, flag);
	add(call, value);
}

static void make_call(const struct cli *cli, struct call *call)
{
	find_program(call);
	add(call, call->program);
	add_pair(call, "--config", cli->config);
	for (size_t i = 0; i < cli->settings.count; i++)
		add_pair(call, "--set", cli->settings.items[i]);
	add_pair(call, "--backtest", cli->operands_count ? cli->operands[0] : NULL);
	add_pair(call, "--backtest-file", cli->file);
	add_pair(call, "--from", call->from);
	add_pair(call, "--to", call->to);
	add(call, NULL);
}

/* Its standard output is the pipe's end, all else is ours. 0 or errno. */
static int start(const struct call *call, int output, pid_t *child)
{
	posix_spawn_file_actions_t actions;
	int rc;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
	rc = posix_spawnp(child, call->program, &actions, NULL,
			  (char *const *)(uintptr_t)call->words, environ);
	posix_spawn_file_actions_destroy(&actions);
	return rc;
}

/* To free; NULL: it is longer than any answer. */
static char *read_answer(int input)
{
	size_t length = 0, room = 1 << 16;
	char *text = memory_resize(NULL, room, 1);
	ssize_t got;

	while ((got = read(input, text + length, room - length - 1)) > 0 ||
	       (got < 0 && errno == EINTR)) {
		length += got > 0 ? (size_t)got : 0;
		if (length > ANSWER_BYTES_MAX) {
			free(text);
			return NULL;
		}
		if (length + 1 == room) {
			room *= 2;
			text = memory_resize(text, room, 1);
		}
	}
	while (length && text[length - 1] == '\n')
		length--;
	text[length] = '\0';
	return text;
}

static int wait_for(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		return complain(STATUS_FAILED, "millraced was ended by signal %d",
				WTERMSIG(status));
	return WEXITSTATUS(status) == STATUS_DONE || WEXITSTATUS(status) == STATUS_USAGE ||
			       WEXITSTATUS(status) == STATUS_UNREACHABLE
		       ? WEXITSTATUS(status)
		       : STATUS_FAILED;
}

/* *answer is to be freed; what went wrong was told, by it or here. */
static int ask_millraced(const struct call *call, char **answer)
{
	int pipe[2], rc, status;
	pid_t child;

	*answer = NULL;
	if (pipe2(pipe, O_CLOEXEC))
		return complain(STATUS_FAILED, "no pipe: %s", strerror(errno));
	rc = start(call, pipe[1], &child);
	close(pipe[1]);
	if (rc) {
		close(pipe[0]);
		return complain(STATUS_FAILED,
				"%s cannot be run: %s; the log is Kafka's, so a backtest of a "
				"monitor runs where millraced and its configuration are",
				call->program, strerror(rc));
	}
	*answer = read_answer(pipe[0]);
	close(pipe[0]);
	status = wait_for(child);
	if (status == STATUS_DONE && !*answer)
		return complain(STATUS_FAILED, "the answer is longer than %d MiB",
				ANSWER_BYTES_MAX >> 20);
	return status;
}

/* --- what is shown --- */

static const struct sheet_column columns[] = {
	{"STARTED", false}, {"ENDED", false}, {"LASTED", true}, {"SEVERITY", false},
	{"MONITOR", false}, {"EDGE", false},  {"VALUE", true},	{"UNIT", false},
	{"SUSPECT", false}, {"TOLD", false},
};

/* "2h05m", "4m10s", "12.50s". */
static const char *lasted_text(char text[FIGURE_MAX], double seconds)
{
	unsigned long long whole = (unsigned long long)seconds;

	if (whole >= 3600)
		snprintf(text, FIGURE_MAX, "%lluh%02llum", whole / 3600, whole / 60 % 60);
	else if (whole >= 60)
		snprintf(text, FIGURE_MAX, "%llum%02llus", whole / 60, whole % 60);
	else
		snprintf(text, FIGURE_MAX, "%.2fs", seconds);
	return text;
}

static void add_told(struct sheet *sheet, const cJSON *list)
{
	const cJSON *told;
	char text[256] = "";
	size_t length = 0;

	cJSON_ArrayForEach(told, list)
	{
		if (length >= sizeof(text))
			break;
		length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%s",
					   length ? ", " : "", text_of(told, "monitor"));
	}
	sheet_add(sheet, length ? text : "-");
}

static void add_incident(struct sheet *sheet, const cJSON *incident)
{
	const cJSON *alert = cJSON_GetObjectItemCaseSensitive(incident, "alert");
	const cJSON *suspect = cJSON_GetArrayItem(list_of(alert, "suspects"), 0);
	const char *client = text_of(alert, "client");
	char text[FIGURE_MAX];

	sheet_addf(sheet, "%s%s", flag_of(incident, "began_before") ? "<" : "",
		   time_text(text, number_of(alert, "started_ns") / 1e9));
	add_time(sheet, number_of(alert, "ended_ns") / 1e9);
	sheet_add(sheet, lasted_text(text, number_of(incident, "lasted_s")));
	sheet_add(sheet, text_of(alert, "severity"));
	sheet_add(sheet, text_of(alert, "monitor"));
	sheet_addf(sheet, "%s -> %s:%.0f", *client ? client : "all", text_of(alert, "server"),
		   number_of(alert, "port"));
	sheet_addf(sheet, "%.4g", number_of(incident, "value"));
	sheet_add(sheet, text_of(alert, "unit"));
	if (suspect)
		sheet_addf(sheet, "%s %s", text_of(suspect, "kind"), text_of(suspect, "name"));
	else
		sheet_add(sheet, "-");
	add_told(sheet, list_of(incident, "told"));
}

static void print_summary(const cJSON *document)
{
	const cJSON *summary = cJSON_GetObjectItemCaseSensitive(document, "summary");
	char from[FIGURE_MAX], to[FIGURE_MAX], all[FIGURE_MAX], longest[FIGURE_MAX];
	double count = number_of(summary, "incidents"), left = number_of(summary, "left_out");

	printf("%.0f incident%s from %s to %s", count, count == 1 ? "" : "s",
	       time_text(from, number_of(document, "from_ns") / 1e9),
	       time_text(to, number_of(document, "to_ns") / 1e9));
	if (count > 0)
		printf(", %s in all, %s the longest",
		       lasted_text(all, number_of(summary, "seconds")),
		       lasted_text(longest, number_of(summary, "longest_s")));
	if (number_of(summary, "firing") > 0)
		printf(", %.0f still firing at the end", number_of(summary, "firing"));
	printf("; %.0f of them overlap%s incidents that were told at the same servers, of %.0f "
	       "told in all.\n",
	       number_of(summary, "overlapping"), number_of(summary, "overlapping") == 1 ? "s" : "",
	       number_of(summary, "told"));
	if (left > 0)
		fprintf(stderr,
			"millrace: %.0f more incidents found no room; ask for a shorter "
			"time\n",
			left);
	if (number_of(summary, "told_left_out") > 0)
		fputs("millrace: more was told before --to than there is room for; overlaps may be "
		      "missing\n",
		      stderr);
}

static int print_answer(const struct cli *cli, const char *answer)
{
	cJSON *document = cJSON_Parse(answer);
	const cJSON *incidents = list_of(document, "incidents"), *incident;
	struct sheet sheet;

	if (!incidents) {
		cJSON_Delete(document);
		return complain(STATUS_FAILED, "millraced gave no answer of its kind; are both "
					       "programs of one version?");
	}
	if (cli->format != FORMAT_TABLE) {
		print_document(cli, answer, incidents);
		cJSON_Delete(document);
		return STATUS_DONE;
	}
	sheet_init(&sheet, columns, sizeof(columns) / sizeof(columns[0]));
	cJSON_ArrayForEach(incident, incidents) add_incident(&sheet, incident);
	if (sheet.count) {
		sheet_print(&sheet, stdout, cli->colour);
		putchar('\n');
	}
	print_summary(document);
	sheet_done(&sheet);
	cJSON_Delete(document);
	return STATUS_DONE;
}

int replay_log(const struct cli *cli)
{
	struct call call = {.count = 0};
	char *answer;
	int status;

	if ((cli->operands_count == 1) == (cli->file != NULL))
		return complain(
			STATUS_USAGE,
			"backtest takes MONITOR, a monitor in force, or -f FILE of one that "
			"is not, with --from TIME; or --csv FILE");
	if (cli->time_column || cli->value_column || cli->sensitivity)
		return complain(STATUS_USAGE, "--time-column, --value-column and --sensitivity "
					      "belong to backtest --csv");
	status = read_range(cli, &call);
	if (status != STATUS_DONE)
		return status;
	make_call(cli, &call);
	status = ask_millraced(&call, &answer);
	if (status == STATUS_DONE)
		status = print_answer(cli, answer);
	free(answer);
	return status;
}
