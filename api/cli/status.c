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

enum { FIGURES = 8 };

static const struct figure figures[FIGURES] = {
	{.metric = "millrace_lag_seconds", .title = "lag", .unit = "s"},
	{.metric = "millrace_agents", .title = "agents", .unit = ""},
	{.metric = "millrace_edges", .title = "edges", .unit = ""},
	{.metric = "millrace_sockets", .title = "connection ends", .unit = ""},
	{.metric = "millrace_events_received_total", .title = "events received", .unit = ""},
	{.metric = "millrace_events_lost_total", .title = "events lost", .unit = ""},
	{.metric = "millrace_events_late_total", .title = "events late", .unit = ""},
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

/* What is asked of millraced; NULL is what it did not tell. */
struct state {
	cJSON *ready, *receivers, *firing;
	struct figure found[FIGURES];
};

/* As many as millrace alerts --state firing would list. Any instance knows all alerts; its metrics
 * are of its own episodes, of which one alert may have many. */
static double alerts_firing(const struct state *state)
{
	return (double)cJSON_GetArraySize(list_of(state->firing, "alerts")) +
	       number_of(state->firing, "alerts_left_out");
}

static void print_json(const struct state *state)
{
	cJSON *document = cJSON_Duplicate(state->ready, true);

	if (state->firing)
		cJSON_AddNumberToObject(document, "alerts_firing", alerts_firing(state));
	cJSON_AddItemToObject(document, "receivers",
			      cJSON_Duplicate(list_of(state->receivers, "receivers"), true));
	cJSON *metrics = cJSON_AddObjectToObject(document, "metrics");

	for (int i = 0; i < FIGURES; i++) {
		if (state->found[i].known)
			cJSON_AddNumberToObject(metrics, state->found[i].metric,
						state->found[i].value);
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

static void print_table(const struct cli *cli, const struct state *state)
{
	static const struct sheet_column columns[] = {{"WHAT", false}, {"VALUE", true}};
	const cJSON *reason, *receiver;
	struct sheet sheet;

	sheet_init(&sheet, columns, 2);
	sheet_add(&sheet, "ready");
	sheet_add(&sheet, flag_of(state->ready, "ready") ? "yes" : "no");
	sheet_add(&sheet, "state");
	sheet_add(&sheet, text_of(state->ready, "state"));
	if (state->firing) {
		sheet_add(&sheet, "alerts firing");
		sheet_addf(&sheet, "%.0f", alerts_firing(state));
	}
	for (int i = 0; i < FIGURES; i++) {
		const struct figure *figure = &state->found[i];

		if (!figure->known)
			continue;
		sheet_add(&sheet, figure->title);
		sheet_addf(&sheet, "%.12g%s%s", figure->value, *figure->unit ? " " : "",
			   figure->unit);
	}
	cJSON_ArrayForEach(receiver, list_of(state->receivers, "receivers"))
		add_receiver(&sheet, receiver);
	sheet_print(&sheet, stdout, cli->colour);
	sheet_done(&sheet);
	cJSON_ArrayForEach(reason, list_of(state->ready, "reasons")) fprintf(
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

/* What is not answered with 200 stays NULL; only who does not answer at all is told. */
static int read_document(const struct cli *cli, const char *path, cJSON **document)
{
	struct reply reply;
	int status = ask(cli, path, &reply);

	if (status != STATUS_DONE)
		return status;
	*document = reply.code == 200 ? cJSON_Parse(reply.body) : NULL;
	free(reply.body);
	return STATUS_DONE;
}

static int read_figures(const struct cli *cli, struct figure found[FIGURES])
{
	struct reply metrics;
	int status = ask(cli, "/metrics", &metrics);

	if (status != STATUS_DONE)
		return status;
	if (metrics.code == 200)
		read_metrics(metrics.body, found);
	free(metrics.body);
	return STATUS_DONE;
}

int command_status(const struct cli *cli)
{
	struct state state = {0};
	int status = read_ready(cli, &state.ready);

	memcpy(state.found, figures, sizeof(figures));
	if (status == STATUS_DONE)
		status = read_document(cli, "/api/v1/receivers", &state.receivers);
	if (status == STATUS_DONE)
		status = read_document(cli, "/api/v1/alerts?state=firing&limit=1", &state.firing);
	if (status == STATUS_DONE)
		status = read_figures(cli, state.found);
	if (status == STATUS_DONE) {
		if (cli->format == FORMAT_TABLE)
			print_table(cli, &state);
		else
			print_json(&state);
		if (!flag_of(state.ready, "ready"))
			status = STATUS_FAILED;
	}
	cJSON_Delete(state.firing);
	cJSON_Delete(state.receivers);
	cJSON_Delete(state.ready);
	return status;
}
