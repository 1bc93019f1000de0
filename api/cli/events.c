/* millrace events: what changed. */
#include "api/cli/listing.h"

static const struct sheet_column event_columns[] = {
	{"TIME", false}, {"KIND", false}, {"WHAT", false}, {"NODE", false}, {"REASON", false},
};

static void add_event(struct sheet *sheet, const cJSON *event)
{
	add_time(sheet, number_of(event, "time_s"));
	sheet_add(sheet, text_of(event, "kind"));
	sheet_add(sheet, text_of(event, "text"));
	sheet_add(sheet, text_of(event, "node"));
	sheet_add(sheet, text_of(event, "reason"));
}

int command_events(const struct cli *cli)
{
	static const struct listing listing = {
		"events",
		event_columns,
		sizeof(event_columns) / sizeof(event_columns[0]),
		add_event,
		"No events. Nothing changed that metadata.keep still holds. Deployments, scaling "
		"and "
		"nodes are told\nby Kubernetes (kubernetes in millraced.yaml); what the pipeline "
		"sees "
		"itself it tells once it has\nlearnt what is usual (events.learn).",
		"events_left_out"};
	struct path path;

	if (cli->nodes.count > 1)
		return complain(STATUS_USAGE, "events takes one --node");
	path_begin(&path, "/api/v1/events");
	path_add(&path, "workload", cli->operands_count ? cli->operands[0] : NULL);
	path_add(&path, "node", cli->nodes.count ? cli->nodes.items[0] : NULL);
	path_add(&path, "kind", cli->kind);
	path_add(&path, "window", cli->window);
	path_add(&path, "limit", cli->limit);
	return list(cli, &path, &listing);
}
