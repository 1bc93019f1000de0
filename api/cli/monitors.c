/* millrace monitors: which are in force, and changing them. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cli/listing.h"
#include "config/value.h"

#define MONITORS_PATH "/api/v1/monitors"

enum { DOCUMENT_BYTES_MAX = 256 << 10 };

static const struct sheet_column columns[] = {
	{"NAME", false}, {"FIRES WHEN", false}, {"OVER", true},	   {"PER", false},
	{"OF", false},	 {"SEVERITY", false},	{"SOURCE", false}, {"CHANGED", false},
};

enum { SCOPE_TEXT = 2048 };

/* The patterns of a filter behind the word, commas between. */
static void put_patterns(char text[SCOPE_TEXT], const cJSON *monitor, const char *name,
			 const char *word)
{
	const cJSON *pattern, *patterns = cJSON_GetObjectItemCaseSensitive(monitor, name);

	cJSON_ArrayForEach(pattern, patterns)
	{
		size_t used = strlen(text);

		snprintf(text + used, SCOPE_TEXT - used, "%s%s",
			 pattern == patterns->child ? word : ",", cJSON_GetStringValue(pattern));
	}
}

static void put_end(char text[SCOPE_TEXT], const cJSON *monitor, const char *end)
{
	size_t before = strlen(text);
	char name[32];

	put_patterns(text, monitor, end, "");
	if (strlen(text) == before)
		snprintf(text + before, SCOPE_TEXT - before, "*");
	snprintf(name, sizeof(name), "%s_namespace", end);
	put_patterns(text, monitor, name, " in ");
	snprintf(name, sizeof(name), "%s_zone", end);
	put_patterns(text, monitor, name, " zone ");
	snprintf(name, sizeof(name), "%s_version", end);
	put_patterns(text, monitor, name, " version ");
}

/* "web-* -> shop/api:8080": which edges it looks at. */
static void add_scope(struct sheet *sheet, const cJSON *monitor)
{
	char text[SCOPE_TEXT] = "";
	const char *protocol = text_of(monitor, "protocol");
	double port = number_of(monitor, "port");
	size_t used;

	put_end(text, monitor, "client");
	used = strlen(text);
	snprintf(text + used, SCOPE_TEXT - used, " -> ");
	put_end(text, monitor, "server");
	used = strlen(text);
	if (port > 0)
		snprintf(text + used, SCOPE_TEXT - used, ":%.0f", port);
	used = strlen(text);
	if (strcmp(protocol, "any") != 0)
		snprintf(text + used, SCOPE_TEXT - used, "/%s", protocol);
	sheet_add(sheet, text);
}

/* What it tells of, as a sentence goes on after "when". */
static void put_condition(char text[SCOPE_TEXT], const cJSON *monitor)
{
	const char *kind = text_of(monitor, "kind"), *metric = text_of(monitor, "metric");
	const char *learn = text_of(monitor, "learn");
	double sensitivity = number_of(monitor, "sensitivity");

	if (strcmp(kind, "burn_rate") == 0)
		snprintf(text, SCOPE_TEXT, "the error budget of %g burns",
			 number_of(monitor, "objective"));
	else if (strcmp(kind, "new_edge") == 0 && strcmp(learn, "0s") == 0)
		snprintf(text, SCOPE_TEXT, "such an edge is there");
	else if (strcmp(kind, "new_edge") == 0)
		snprintf(text, SCOPE_TEXT, "an edge is new");
	else if (strcmp(kind, "absence") == 0)
		snprintf(text, SCOPE_TEXT, "nothing passes");
	else if (strcmp(kind, "threshold") == 0)
		snprintf(text, SCOPE_TEXT, "%s %s %g", metric, text_of(monitor, "comparison"),
			 number_of(monitor, "threshold"));
	else if (flag_of(monitor, "silent"))
		snprintf(text, SCOPE_TEXT, "never: baseline of %s", metric);
	else if (sensitivity > 0)
		snprintf(text, SCOPE_TEXT, "baseline of %s departs by %g", metric, sensitivity);
	else
		snprintf(text, SCOPE_TEXT, "baseline of %s departs", metric);
}

/* The time that it looks back over; empty: that of its kind. */
static const char *span_of(const cJSON *monitor)
{
	const char *kind = text_of(monitor, "kind");

	return strcmp(kind, "threshold") == 0	? text_of(monitor, "window")
	       : strcmp(kind, "absence") == 0	? text_of(monitor, "absent_for")
	       : strcmp(kind, "burn_rate") == 0 ? "1h, 6h, 3d"
						: "-";
}

static void add_monitor(struct sheet *sheet, const cJSON *state)
{
	const cJSON *monitor = cJSON_GetObjectItemCaseSensitive(state, "monitor");
	char condition[SCOPE_TEXT];

	put_condition(condition, monitor);
	sheet_add(sheet, text_of(monitor, "name"));
	sheet_add(sheet, condition);
	sheet_add(sheet, span_of(monitor));
	sheet_add(sheet, text_of(monitor, "per"));
	add_scope(sheet, monitor);
	sheet_add(sheet, text_of(monitor, "severity"));
	sheet_add(sheet, text_of(state, "source"));
	add_time(sheet, number_of(state, "changed_s"));
}

static const struct listing listing = {
	"monitors",
	columns,
	sizeof(columns) / sizeof(columns[0]),
	add_monitor,
	"No monitors: only baselines watch. monitors apply -f FILE puts some in force; so does "
	"monitors: in millraced.yaml.",
	NULL,
};

/* One state, or the list of an answer. */
static int print_answer(const struct cli *cli, const cJSON *document, const char *body)
{
	const cJSON *states = list_of(document, "monitors"), *state;
	struct sheet sheet;

	if (cli->format != FORMAT_TABLE && (cli->format == FORMAT_JSON || !states)) {
		puts(body);
		return STATUS_DONE;
	}
	if (cli->format != FORMAT_TABLE) {
		print_document(cli, body, states);
		return STATUS_DONE;
	}
	sheet_init(&sheet, columns, sizeof(columns) / sizeof(columns[0]));
	if (!states)
		add_monitor(&sheet, document);
	cJSON_ArrayForEach(state, states) add_monitor(&sheet, state);
	sheet_print(&sheet, stdout, cli->colour);
	sheet_done(&sheet);
	return STATUS_DONE;
}

static int path_of(const struct cli *cli, struct path *path)
{
	char *name;

	if (cli->operands_count != 2)
		return complain(STATUS_USAGE, "monitors %s NAME: one that monitors list shows",
				cli->operands[0]);
	name = curl_easy_escape(NULL, cli->operands[1], 0);
	snprintf(path->text, sizeof(path->text), MONITORS_PATH "/%s", name ? name : "");
	curl_free(name);
	return STATUS_DONE;
}

static int show(const struct cli *cli)
{
	struct path path;
	int status = path_of(cli, &path);

	return status == STATUS_DONE ? ask_and_print(cli, path.text, print_answer) : status;
}

/* Sends a change and prints what is in force, or was, when the log has it. */
static int change(const struct cli *cli, const char *method, const char *path, const char *body)
{
	return change_and_print(cli, method, path, body, print_answer);
}

/* What --file names, to free; NULL: it has been told why not. */
static char *read_file(const struct cli *cli)
{
	const char *file = strcmp(cli->file, "-") == 0 ? "/dev/stdin" : cli->file;
	size_t length;
	char *text;
	int rc = config_read_file(file, DOCUMENT_BYTES_MAX, &text, &length);

	if (rc == 0)
		return text;
	complain(STATUS_FAILED, "%s cannot be read: %s", cli->file, strerror(-rc));
	return NULL;
}

static int apply(const struct cli *cli)
{
	struct path path;
	char *text;
	int status;

	if (!cli->file || cli->operands_count != 1)
		return complain(STATUS_USAGE, "monitors apply -f FILE: a monitor, or a list of "
					      "them under monitors:, as in millraced.yaml; - is "
					      "stdin");
	text = read_file(cli);
	if (!text)
		return STATUS_FAILED;
	path_begin(&path, MONITORS_PATH);
	path_add(&path, "dry_run", cli->dry_run ? "1" : NULL);
	status = change(cli, "POST", path.text, text);
	free(text);
	return status;
}

/* --- test --- */

static const struct sheet_column value_columns[] = {
	{"CLIENT", false}, {"SERVER", false},	  {"PORT", true},
	{"VALUE", true},   {"CONNECTIONS", true}, {"WOULD", false},
};

static void add_value(struct sheet *sheet, const cJSON *value, bool baseline)
{
	const char *client = text_of(value, "client");

	sheet_add(sheet, *client ? client : "all");
	sheet_add(sheet, text_of(value, "server"));
	sheet_addf(sheet, "%.0f", number_of(value, "port"));
	sheet_addf(sheet, "%.4g", number_of(value, "value"));
	sheet_addf(sheet, "%.0f", number_of(value, "connections"));
	sheet_add(sheet, baseline		   ? "-"
			 : flag_of(value, "fires") ? "fire"
			 : flag_of(value, "known") ? "be quiet"
						   : "be silent: too little to measure");
}

static void print_trial(const struct cli *cli, const cJSON *state)
{
	const cJSON *monitor = cJSON_GetObjectItemCaseSensitive(state, "monitor");
	const cJSON *trial = cJSON_GetObjectItemCaseSensitive(state, "trial"), *value;
	char start[FIGURE_MAX], end[FIGURE_MAX];
	bool baseline = strcmp(text_of(monitor, "kind"), "baseline") == 0;
	const char *subjects = strcmp(text_of(monitor, "per"), "server") == 0 ? "servers" : "edges";
	char condition[SCOPE_TEXT];
	struct sheet sheet;

	put_condition(condition, monitor);
	time_text(start, number_of(trial, "start_s"));
	time_text(end, number_of(trial, "end_s"));
	if (strcmp(text_of(monitor, "kind"), "threshold") == 0)
		printf("%s is valid: fires when %s is %s %g over %s.\n", text_of(monitor, "name"),
		       text_of(monitor, "metric"), text_of(monitor, "comparison"),
		       number_of(monitor, "threshold"), text_of(monitor, "window"));
	else
		printf("%s is valid: fires when %s.\n", text_of(monitor, "name"), condition);
	if (baseline)
		printf("From %s to %s it is about %.0f edges; what baselines say of them the "
		       "history does not know.\n",
		       start, end, number_of(trial, "matched"));
	else
		printf("From %s to %s it would have fired for %.0f of %.0f %s.\n", start, end,
		       number_of(trial, "firing"), number_of(trial, "matched"), subjects);
	sheet_init(&sheet, value_columns, sizeof(value_columns) / sizeof(value_columns[0]));
	cJSON_ArrayForEach(value, list_of(trial, "values")) add_value(&sheet, value, baseline);
	if (sheet.count)
		sheet_print(&sheet, stdout, cli->colour);
	sheet_done(&sheet);
}

/* Of a file's monitor the answer is a list of one. */
static int print_tried(const struct cli *cli, const cJSON *document, const char *body)
{
	const cJSON *states = list_of(document, "monitors");
	const cJSON *state = states ? cJSON_GetArrayItem(states, 0) : document;

	if (cli->format != FORMAT_TABLE)
		puts(body);
	else if (cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(state, "trial")))
		print_trial(cli, state);
	else
		return complain(STATUS_USAGE,
				"the monitors of %s are valid; monitors test takes "
				"one at a time",
				cli->file);
	return STATUS_DONE;
}

static int try_file(const struct cli *cli, cJSON **document, char **body)
{
	char *text = read_file(cli);
	int status;

	if (!text)
		return STATUS_FAILED;
	status = ask_change(cli, "POST", MONITORS_PATH "?dry_run=1", text, document, body);
	free(text);
	return status;
}

static int try_name(const struct cli *cli, cJSON **document, char **body)
{
	struct path path;
	int status = path_of(cli, &path);

	path.asked = false;
	path_add(&path, "test", "1");
	return status == STATUS_DONE ? ask_json(cli, path.text, document, body) : status;
}

/* --- a test notification --- */

static const struct sheet_column test_columns[] = {
	{"RECEIVER", false},
	{"TYPE", false},
	{"TOOK", true},
	{"RESULT", false},
};

static void print_tests(const struct cli *cli, const cJSON *tests)
{
	const cJSON *one;
	struct sheet sheet;

	sheet_init(&sheet, test_columns, sizeof(test_columns) / sizeof(test_columns[0]));
	cJSON_ArrayForEach(one, tests)
	{
		sheet_add(&sheet, text_of(one, "receiver"));
		sheet_add(&sheet, text_of(one, "type"));
		sheet_addf(&sheet, "%.2f s", number_of(one, "took_s"));
		if (flag_of(one, "taken"))
			sheet_addf(&sheet, "taken%s",
				   flag_of(one, "routed") ? ""
							  : ", though it is not for such an alert");
		else
			sheet_addf(&sheet, "%s: %s", flag_of(one, "sent") ? "failed" : "not sent",
				   text_of(one, "error"));
	}
	sheet_print(&sheet, stdout, cli->colour);
	sheet_done(&sheet);
}

/* Done when all that were sent were taken, and one was. */
static int status_of_tests(const cJSON *tests)
{
	size_t sent = 0, taken = 0;
	const cJSON *one;

	cJSON_ArrayForEach(one, tests)
	{
		sent += flag_of(one, "sent");
		taken += flag_of(one, "taken");
	}
	return taken && taken == sent ? STATUS_DONE : STATUS_FAILED;
}

static int send_test(const struct cli *cli)
{
	cJSON *said, *document;
	char *text, *body;
	int status;

	if (cli->file || cli->operands_count < 2)
		return complain(STATUS_USAGE,
				"monitors test NAME --send [RECEIVER]: of a monitor in force, or "
				"of baseline/ and a metric");
	said = cJSON_CreateObject();
	cJSON_AddStringToObject(said, "monitor", cli->operands[1]);
	if (cli->operands_count > 2)
		cJSON_AddStringToObject(said, "receiver", cli->operands[2]);
	text = cJSON_PrintUnformatted(said);
	cJSON_Delete(said);
	status = ask_change(cli, "POST", "/api/v1/receivers/test", text, &document, &body);
	cJSON_free(text);
	if (status != STATUS_DONE)
		return status;
	if (cli->format == FORMAT_TABLE)
		print_tests(cli, list_of(document, "tests"));
	else
		print_document(cli, body, list_of(document, "tests"));
	status = status_of_tests(list_of(document, "tests"));
	free(body);
	cJSON_Delete(document);
	return status;
}

static int test(const struct cli *cli)
{
	cJSON *document;
	char *body;
	int status;

	if (cli->send)
		return send_test(cli);
	if ((cli->operands_count == 1) != (cli->file != NULL))
		return complain(STATUS_USAGE, "monitors test NAME, or test -f FILE");
	status = cli->file ? try_file(cli, &document, &body) : try_name(cli, &document, &body);
	if (status != STATUS_DONE)
		return status;
	status = print_tried(cli, document, body);
	free(body);
	cJSON_Delete(document);
	return status;
}

static int delete (const struct cli *cli)
{
	struct path path;
	int status = path_of(cli, &path);

	return status == STATUS_DONE ? change(cli, "DELETE", path.text, NULL) : status;
}

int command_monitors(const struct cli *cli)
{
	const char *verb = cli->operands_count ? cli->operands[0] : "list";
	bool applies = strcmp(verb, "apply") == 0, tests = strcmp(verb, "test") == 0;
	bool lists = strcmp(verb, "list") == 0;
	struct path path;

	if ((cli->file && !applies && !tests) || (cli->dry_run && !applies) ||
	    (cli->send && !tests))
		return complain(STATUS_USAGE, "--dry-run belongs to monitors apply, --send to "
					      "test, --file to apply and test");
	if (applies)
		return apply(cli);
	if (tests)
		return test(cli);
	if (strcmp(verb, "get") == 0)
		return show(cli);
	if (strcmp(verb, "delete") == 0)
		return delete (cli);
	if (!lists || cli->operands_count > 1)
		return complain(STATUS_USAGE,
				"monitors takes list, get NAME, apply -f FILE, delete NAME or test "
				"NAME, not \"%s\"",
				lists ? cli->operands[1] : verb);
	path_begin(&path, MONITORS_PATH);
	return list(cli, &path, &listing);
}
