/* millrace alerts. */
#include <stdio.h>

#include "api/cli/listing.h"

static const struct sheet_column alert_columns[] = {
	{"STATE", false},   {"SEVERITY", false}, {"STARTED", false},	 {"MONITOR", false},
	{"SUMMARY", false}, {"SUSPECT", false},	 {"DIAGNOSIS", false},	 {"COMPLETE", true},
	{"SENT TO", false}, {"AFTER", true},	 {"SILENCED BY", false},
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

static void add_alert(struct sheet *sheet, const cJSON *episode)
{
	const cJSON *alert = cJSON_GetObjectItemCaseSensitive(episode, "alert");
	const cJSON *suspect = cJSON_GetArrayItem(list_of(alert, "suspects"), 0);
	const cJSON *diagnosis = cJSON_GetObjectItemCaseSensitive(alert, "diagnosis");
	char figure[FIGURE_MAX];

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

	path_begin(&path, "/api/v1/alerts");
	path_add(&path, "state", cli->state);
	path_add(&path, "workload", cli->operands_count ? cli->operands[0] : NULL);
	path_add(&path, "limit", cli->limit);
	return list(cli, &path, &listing);
}
