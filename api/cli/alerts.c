/* millrace alerts: what fires, and that somebody attends to it. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cli/listing.h"

enum { KEY_SHOWN = 12 }; /* of 52 characters: enough for alerts ack */

static const struct sheet_column alert_columns[] = {
	{"KEY", false},		 {"STATE", false},   {"SEVERITY", false}, {"STARTED", false},
	{"MONITOR", false},	 {"SUMMARY", false}, {"SUSPECT", false},  {"DIAGNOSIS", false},
	{"COMPLETE", true},	 {"SENT TO", false}, {"AFTER", true},	  {"SILENCED BY", false},
	{"ACKNOWLEDGED", false},
};

static void add_receivers(struct sheet *sheet, const cJSON *deliveries)
{
	const cJSON *delivery;
	char text[256] = "";
	size_t length = 0;

	cJSON_ArrayForEach(delivery, deliveries)
	{
		if (length >= sizeof(text))
			break;
		length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%s%s",
					   length ? ", " : "", text_of(delivery, "receiver"),
					   flag_of(delivery, "failed") ? " (failed)" : "");
	}
	sheet_add(sheet, length ? text : "-");
}

static void add_silences(struct sheet *sheet, const cJSON *ids)
{
	const cJSON *id;
	char text[256] = "";
	size_t length = 0;

	cJSON_ArrayForEach(id, ids)
	{
		if (length < sizeof(text) && cJSON_IsString(id))
			length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%s",
						   length ? ", " : "", id->valuestring);
	}
	sheet_add(sheet, length ? text : "-");
}

/* By whom, and what they say. */
static void add_acknowledgement(struct sheet *sheet, const cJSON *acknowledgement)
{
	const char *by = text_of(acknowledgement, "created_by");
	const char *comment = text_of(acknowledgement, "comment");

	if (!cJSON_IsObject(acknowledgement))
		sheet_add(sheet, "-");
	else
		sheet_addf(sheet, "%s%s%s", *by ? by : text_of(acknowledgement, "author"),
			   *comment ? ": " : "", comment);
}

static void add_alert(struct sheet *sheet, const cJSON *episode)
{
	const cJSON *alert = cJSON_GetObjectItemCaseSensitive(episode, "alert");
	const cJSON *suspect = cJSON_GetArrayItem(list_of(alert, "suspects"), 0);
	const cJSON *diagnosis = cJSON_GetObjectItemCaseSensitive(alert, "diagnosis");
	char figure[FIGURE_MAX];

	sheet_addf(sheet, "%.*s", KEY_SHOWN, text_of(alert, "key"));
	sheet_add(sheet, text_of(alert, "state"));
	sheet_add(sheet, text_of(alert, "severity"));
	add_time(sheet, number_of(alert, "started_ns") / 1e9);
	sheet_add(sheet, text_of(alert, "monitor"));
	sheet_add(sheet, text_of(alert, "summary"));
	if (suspect)
		sheet_addf(sheet, "%s %s", text_of(suspect, "kind"), text_of(suspect, "name"));
	else
		sheet_add(sheet, "-");
	sheet_add(sheet, diagnosis ? text_of(diagnosis, "kind") : "-");
	sheet_add(sheet, figure_complete(figure, number_of(alert, "completeness")));
	add_receivers(sheet, list_of(episode, "deliveries"));
	sheet_add(sheet, figure_seconds(figure, number_of(episode, "event_to_webhook_s")));
	add_silences(sheet, list_of(episode, "silenced_by"));
	add_acknowledgement(sheet, cJSON_GetObjectItemCaseSensitive(episode, "acknowledgement"));
}

static void print_acknowledged(const struct cli *cli, const cJSON *document, const char *body)
{
	char at[FIGURE_MAX];

	if (cli->format != FORMAT_TABLE) {
		puts(body);
		return;
	}
	printf("%s is acknowledged since %s: its updates notify nobody unless it becomes "
	       "severer.\n",
	       text_of(document, "key"),
	       time_text(at, number_of(document, "acknowledged_ns") / 1e9));
}

static int acknowledge(const struct cli *cli)
{
	cJSON *wish, *document;
	char *key, *text, *body;
	struct path path;
	int status;

	if (cli->operands_count != 2 || cli->state || cli->limit)
		return complain(STATUS_USAGE, "alerts ack KEY: one that alerts shows");
	key = curl_easy_escape(NULL, cli->operands[1], 0);
	path_begin(&path, "");
	snprintf(path.text, sizeof(path.text), "/api/v1/alerts/%s/ack", key ? key : "");
	curl_free(key);
	wish = cJSON_CreateObject();
	if (user_of(cli))
		cJSON_AddStringToObject(wish, "created_by", user_of(cli));
	if (cli->comment)
		cJSON_AddStringToObject(wish, "comment", cli->comment);
	text = cJSON_PrintUnformatted(wish);
	status = ask_change(cli, "POST", path.text, text, &document, &body);
	cJSON_free(text);
	cJSON_Delete(wish);
	if (status != STATUS_DONE)
		return status;
	print_acknowledged(cli, document, body);
	free(body);
	cJSON_Delete(document);
	return STATUS_DONE;
}

int command_alerts(const struct cli *cli)
{
	static const struct listing listing = {
		"alerts",
		alert_columns,
		sizeof(alert_columns) / sizeof(alert_columns[0]),
		add_alert,
		"No alerts. Nothing departs from normal, no monitor is configured (monitors in "
		"millraced.yaml),\nor baselines still learn: they need 10 minutes of an edge.",
		"alerts_left_out"};
	struct path path;

	if (cli->operands_count && strcmp(cli->operands[0], "ack") == 0)
		return acknowledge(cli);
	if (cli->operands_count > 1)
		return complain(STATUS_USAGE, "alerts takes one WORKLOAD, or ack KEY; not \"%s\"",
				cli->operands[1]);
	if (cli->created_by || cli->comment)
		return complain(STATUS_USAGE, "--created-by and --comment belong to alerts ack");
	path_begin(&path, "/api/v1/alerts");
	path_add(&path, "state", cli->state);
	path_add(&path, "workload", cli->operands_count ? cli->operands[0] : NULL);
	path_add(&path, "limit", cli->limit);
	return list(cli, &path, &listing);
}
