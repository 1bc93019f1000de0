/* millrace alerts and millrace agents. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "api/cli/ask.h"
#include "api/cli/document.h"
#include "api/cli/table.h"

static void add_time(struct table *table, double seconds)
{
	time_t time = (time_t)seconds;
	struct tm tm;
	char text[64] = "-";

	if (seconds > 0 && gmtime_r(&time, &tm))
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	table_add(table, text);
}

static const struct table_column alert_columns[] = {
	{"STATE", false},   {"SEVERITY", false}, {"STARTED", false}, {"MONITOR", false},
	{"SUMMARY", false}, {"SUSPECT", false},	 {"SENT TO", false}, {"AFTER", true},
};

static void add_receivers(struct table *table, const cJSON *deliveries)
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
	table_add(table, length ? text : "-");
}

static void add_alert(struct table *table, const cJSON *episode)
{
	const cJSON *alert = cJSON_GetObjectItemCaseSensitive(episode, "alert");
	const cJSON *suspect = cJSON_GetArrayItem(list_of(alert, "suspects"), 0);
	char figure[FIGURE_MAX];

	table_add(table, text_of(alert, "state"));
	table_add(table, text_of(alert, "severity"));
	add_time(table, number_of(alert, "started_ns") / 1e9);
	table_add(table, text_of(alert, "monitor"));
	table_add(table, text_of(alert, "summary"));
	if (suspect)
		table_addf(table, "%s %s", text_of(suspect, "kind"), text_of(suspect, "name"));
	else
		table_add(table, "-");
	add_receivers(table, list_of(episode, "deliveries"));
	table_add(table, figure_seconds(figure, number_of(episode, "event_to_webhook_s")));
}

static const struct table_column agent_columns[] = {
	{"NODE", false},      {"ZONE", false},	 {"VERSION", false},
	{"LAST SEEN", false}, {"EVENTS", true},	 {"LOST", true},
	{"DROPPED", true},    {"SOCKETS", true}, {"CLOCK", true},
};

static void add_agent(struct table *table, const cJSON *agent)
{
	double dropped = number_of(agent, "dropped_ring") + number_of(agent, "dropped_netlink") +
			 number_of(agent, "dropped_spool");

	table_add(table, text_of(agent, "node"));
	table_add(table, text_of(agent, "zone"));
	table_add(table, text_of(agent, "version"));
	add_time(table, number_of(agent, "last_seen_s"));
	table_addf(table, "%.0f", number_of(agent, "events"));
	table_addf(table, "%.0f", number_of(agent, "lost"));
	table_addf(table, "%.0f", dropped);
	table_addf(table, "%.0f", number_of(agent, "sockets"));
	table_addf(table, "%+.1f ms", number_of(agent, "clock_offset_s") * 1e3);
}

/* A list of the API's: where it is, what it is called there and how a row looks. */
struct listing {
	const char *member;
	const struct table_column *columns;
	size_t columns_count;
	void (*add)(struct table *table, const cJSON *item);
	const char *empty; /* why there may be nothing */
};

static int list(const struct cli *cli, const struct path *path, const struct listing *listing)
{
	cJSON *document;
	const cJSON *items, *item;
	struct table table;
	char *body;
	int status = ask_json(cli, path->text, &document, &body);

	if (status != STATUS_DONE)
		return status;
	items = list_of(document, listing->member);
	table_init(&table, listing->columns, listing->columns_count);
	cJSON_ArrayForEach(item, items) listing->add(&table, item);
	if (cli->format != FORMAT_TABLE)
		print_document(cli, body, items);
	else if (table.count)
		table_print(&table, stdout, cli->colour);
	else
		fprintf(stderr, "%s\n", listing->empty);
	table_done(&table);
	free(body);
	cJSON_Delete(document);
	return STATUS_DONE;
}

int command_alerts(const struct cli *cli)
{
	static const struct listing listing = {
		"alerts", alert_columns, sizeof(alert_columns) / sizeof(alert_columns[0]),
		add_alert,
		"No alerts. Nothing departs from normal, no monitor is configured (monitors in "
		"millraced.yaml),\nor baselines still learn: they need 5 minutes of an edge."};
	struct path path;

	path_begin(&path, "/api/v1/alerts");
	path_add(&path, "state", cli->state);
	path_add(&path, "workload", cli->operands_count ? cli->operands[0] : NULL);
	path_add(&path, "limit", cli->limit);
	return list(cli, &path, &listing);
}

int command_agents(const struct cli *cli)
{
	static const struct listing listing = {
		"agents", agent_columns, sizeof(agent_columns) / sizeof(agent_columns[0]),
		add_agent,
		"No agents. Start millrace-agent on a node, with the same Kafka brokers and key as "
		"millraced;\nits health is at http://127.0.0.1:7471 there."};
	struct path path;

	path_begin(&path, "/api/v1/agents");
	return list(cli, &path, &listing);
}
