/* millrace silences: of which incidents nobody is told for a while. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cli/listing.h"

#define SILENCES_PATH "/api/v1/silences"

static const struct sheet_column columns[] = {
	{"ID", false},	 {"STATE", false}, {"OF", false},	  {"STARTS", false},
	{"ENDS", false}, {"ALERTS", true}, {"CREATED BY", false}, {"COMMENT", false},
};

/* "web-* -> shop/api:8080, monitor errors, severity warning": what it matches. */
static void add_scope(struct sheet *sheet, const cJSON *silence)
{
	const char *client = text_of(silence, "client"), *server = text_of(silence, "server");
	const char *monitor = text_of(silence, "monitor"), *severity = text_of(silence, "severity");
	double port = number_of(silence, "port");
	char at[16] = "";

	if (port > 0)
		snprintf(at, sizeof(at), ":%.0f", port);
	sheet_addf(sheet, "%s -> %s%s%s%s%s%s", *client ? client : "*", *server ? server : "*", at,
		   *monitor ? ", monitor " : "", monitor, *severity ? ", severity " : "", severity);
}

static void add_silence(struct sheet *sheet, const cJSON *state)
{
	const cJSON *silence = cJSON_GetObjectItemCaseSensitive(state, "silence");
	const char *by = text_of(silence, "created_by"), *comment = text_of(silence, "comment");

	sheet_add(sheet, text_of(silence, "id"));
	sheet_add(sheet, text_of(state, "state"));
	add_scope(sheet, silence);
	sheet_add(sheet, text_of(silence, "starts_at"));
	sheet_add(sheet, text_of(silence, "ends_at"));
	sheet_addf(sheet, "%d", cJSON_GetArraySize(list_of(state, "alerts")));
	sheet_add(sheet, *by ? by : text_of(state, "author"));
	sheet_add(sheet, *comment ? comment : "-");
}

static const struct listing listing = {
	"silences",
	columns,
	sizeof(columns) / sizeof(columns[0]),
	add_silence,
	"No silences: people are told of every alert. silences add --server GLOB --for 2h begins "
	"one.",
	NULL,
};

static int print_one(const struct cli *cli, const cJSON *state, const char *body)
{
	struct sheet sheet;

	if (cli->format != FORMAT_TABLE) {
		puts(body);
		return STATUS_DONE;
	}
	sheet_init(&sheet, columns, sizeof(columns) / sizeof(columns[0]));
	add_silence(&sheet, state);
	sheet_print(&sheet, stdout, cli->colour);
	sheet_done(&sheet);
	return STATUS_DONE;
}

/* Sends a change and prints the silence as the topic has it then. */
static int change(const struct cli *cli, const char *method, const char *path, const char *body)
{
	return change_and_print(cli, method, path, body, print_one);
}

static int path_of(const struct cli *cli, struct path *path)
{
	char *id;

	if (cli->operands_count != 2)
		return complain(STATUS_USAGE, "silences %s ID: one that silences list shows",
				cli->operands[0]);
	id = curl_easy_escape(NULL, cli->operands[1], 0);
	path_begin(path, SILENCES_PATH);
	snprintf(path->text, sizeof(path->text), SILENCES_PATH "/%s", id ? id : "");
	curl_free(id);
	return STATUS_DONE;
}

static int show(const struct cli *cli)
{
	struct path path;
	int status = path_of(cli, &path);

	return status == STATUS_DONE ? ask_and_print(cli, path.text, print_one) : status;
}

static int expire(const struct cli *cli)
{
	struct path path;
	int status = path_of(cli, &path);

	return status == STATUS_DONE ? change(cli, "DELETE", path.text, NULL) : status;
}

/* --- add --- */

static void put(cJSON *body, const char *name, const char *text)
{
	if (text)
		cJSON_AddStringToObject(body, name, text);
}

static int add(const struct cli *cli)
{
	struct path path;
	char *text;
	cJSON *body;
	int status;

	if (cli->operands_count != 1 || !cli->life == !cli->ends_at)
		return complain(STATUS_USAGE,
				"silences add takes --for DURATION or --ends-at TIME, and of what: "
				"--server, --client, --monitor, --port, --severity");
	if (cli->matched && strstr(cli->matched, "://"))
		return complain(STATUS_USAGE,
				"--server %s is no glob on workloads; millraced's address is -s, "
				"or MILLRACE_SERVER's value",
				cli->matched);
	body = cJSON_CreateObject();
	put(body, "id", cli->id);
	put(body, "monitor", cli->monitor);
	put(body, "client", cli->client);
	put(body, "server", cli->matched);
	put(body, "port", cli->port);
	put(body, "severity", cli->severity);
	put(body, "starts_at", cli->starts_at);
	put(body, "ends_at", cli->ends_at);
	put(body, "duration", cli->life);
	put(body, "created_by", user_of(cli));
	put(body, "comment", cli->comment);
	text = cJSON_PrintUnformatted(body);
	path_begin(&path, SILENCES_PATH);
	path_add(&path, "dry_run", cli->dry_run ? "1" : NULL);
	status = change(cli, "POST", path.text, text);
	cJSON_free(text);
	cJSON_Delete(body);
	return status;
}

static bool any_of_add(const struct cli *cli)
{
	return cli->id || cli->monitor || cli->client || cli->matched || cli->port ||
	       cli->severity || cli->starts_at || cli->ends_at || cli->life || cli->created_by ||
	       cli->comment || cli->dry_run;
}

int command_silences(const struct cli *cli)
{
	const char *verb = cli->operands_count ? cli->operands[0] : "list";
	bool lists = strcmp(verb, "list") == 0;
	struct path path;

	if (cli->state && !lists)
		return complain(STATUS_USAGE, "--state belongs to silences list");
	if (strcmp(verb, "add") == 0)
		return add(cli);
	if (any_of_add(cli))
		return complain(STATUS_USAGE,
				"these flags belong to silences add; -s is millraced's address");
	if (strcmp(verb, "get") == 0)
		return show(cli);
	if (strcmp(verb, "expire") == 0)
		return expire(cli);
	if (!lists || cli->operands_count > 1)
		return complain(STATUS_USAGE,
				"silences takes list, get ID, add or expire ID, not \"%s\"",
				lists ? cli->operands[1] : verb);
	path_begin(&path, SILENCES_PATH);
	path_add(&path, "state", cli->state);
	return list(cli, &path, &listing);
}
