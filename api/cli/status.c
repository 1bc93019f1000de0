/* millrace status: is it ready, and a few figures. Exit 1 when it is not ready. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cli/ask.h"
#include "api/cli/document.h"
#include "api/cli/sheet.h"

struct figure {
	const char *metric, *title, *unit;
	double value;
	bool known;
};

enum { FIGURES = 9 };

static const struct figure figures[FIGURES] = {
	{.metric = "millrace_lag_seconds", .title = "lag", .unit = "s"},
	{.metric = "millrace_agents", .title = "agents", .unit = ""},
	{.metric = "millrace_edges", .title = "edges", .unit = ""},
	{.metric = "millrace_sockets", .title = "connection ends", .unit = ""},
	{.metric = "millrace_events_received_total", .title = "events received", .unit = ""},
	{.metric = "millrace_events_lost_total", .title = "events lost", .unit = ""},
	{.metric = "millrace_events_late_total", .title = "events late", .unit = ""},
	{.metric = "millrace_episodes", .title = "alerts firing", .unit = ""},
	{.metric = "millrace_history_rows", .title = "history rows", .unit = ""},
};

/* "name value" lines of Prometheus' text format; those with labels are passed over. */
static void read_metrics(const char *text, struct figure found[FIGURES])
{
	for (const char *line = text; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';

		size_t length = strcspn(line, " {\n");

		for (int i = 0; i < FIGURES && line[length] == ' '; i++) {
			if (strlen(found[i].metric) != length ||
			    strncmp(found[i].metric, line, length) != 0)
				continue;
			found[i].value = strtod(line + length, NULL);
			found[i].known = true;
		}
	}
}

static void print_json(const cJSON *ready, const cJSON *receivers,
		       const struct figure found[FIGURES])
{
	cJSON *document = cJSON_Duplicate(ready, true);

	cJSON_AddItemToObject(document, "receivers",
			      cJSON_Duplicate(list_of(receivers, "receivers"), true));
	cJSON *metrics = cJSON_AddObjectToObject(document, "metrics");

	for (int i = 0; i < FIGURES; i++) {
		if (found[i].known)
			cJSON_AddNumberToObject(metrics, found[i].metric, found[i].value);
	}

	char *text = cJSON_PrintUnformatted(document);

	puts(text ? text : "null");
	cJSON_free(text);
	cJSON_Delete(document);
}

/* "ok", or what is wrong; and what waits, and the last error. */
static void add_receiver(struct sheet *sheet, const cJSON *receiver)
{
	const char *error = text_of(receiver, "last_error");
	double waiting = number_of(receiver, "waiting");

	sheet_addf(sheet, "receiver %s", text_of(receiver, "name"));
	if (waiting > 0)
		sheet_addf(sheet, "%s, %.0f waiting%s%s", text_of(receiver, "state"), waiting,
			   *error ? ": " : "", error);
	else
		sheet_addf(sheet, "%s%s%s", text_of(receiver, "state"), *error ? ": " : "", error);
}

static void print_table(const struct cli *cli, const cJSON *ready, const cJSON *receivers,
			const struct figure found[FIGURES])
{
	static const struct sheet_column columns[] = {{"WHAT", false}, {"VALUE", true}};
	const cJSON *reason, *receiver;
	struct sheet sheet;

	sheet_init(&sheet, columns, 2);
	sheet_add(&sheet, "ready");
	sheet_add(&sheet, flag_of(ready, "ready") ? "yes" : "no");
	sheet_add(&sheet, "state");
	sheet_add(&sheet, text_of(ready, "state"));
	for (int i = 0; i < FIGURES; i++) {
		if (!found[i].known)
			continue;
		sheet_add(&sheet, found[i].title);
		sheet_addf(&sheet, "%.12g%s%s", found[i].value, *found[i].unit ? " " : "",
			   found[i].unit);
	}
	cJSON_ArrayForEach(receiver, list_of(receivers, "receivers"))
		add_receiver(&sheet, receiver);
	sheet_print(&sheet, stdout, cli->colour);
	sheet_done(&sheet);
	cJSON_ArrayForEach(reason, list_of(ready, "reasons")) fprintf(
		stderr, "Not ready: %s\n", cJSON_IsString(reason) ? reason->valuestring : "");
}

static int read_ready(const struct cli *cli, cJSON **ready)
{
	struct reply reply;
	int status = ask(cli, "/readyz?verbose", &reply);

	if (status != STATUS_DONE)
		return status;
	*ready = reply.code == 200 || reply.code == 503 ? cJSON_Parse(reply.body) : NULL;
	if (!cJSON_IsObject(*ready))
		status = complain(STATUS_FAILED,
				  "%s answers %ld to /readyz; is it millraced? Check --server",
				  cli->server, reply.code);
	free(reply.body);
	return status;
}

int command_status(const struct cli *cli)
{
	struct figure found[FIGURES];
	struct reply metrics, told;
	cJSON *ready = NULL, *receivers = NULL;
	int status = read_ready(cli, &ready);

	memcpy(found, figures, sizeof(found));
	if (status == STATUS_DONE)
		status = ask(cli, "/api/v1/receivers", &told);
	if (status == STATUS_DONE) {
		receivers = told.code == 200 ? cJSON_Parse(told.body) : NULL;
		free(told.body);
		status = ask(cli, "/metrics", &metrics);
	}
	if (status == STATUS_DONE) {
		if (metrics.code == 200)
			read_metrics(metrics.body, found);
		free(metrics.body);
		if (cli->format == FORMAT_TABLE)
			print_table(cli, ready, receivers, found);
		else
			print_json(ready, receivers, found);
		if (!flag_of(ready, "ready"))
			status = STATUS_FAILED;
	}
	cJSON_Delete(receivers);
	cJSON_Delete(ready);
	return status;
}
