/* millrace map and millrace top: edges and their health. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "api/cli/ask.h"
#include "api/cli/document.h"
#include "api/cli/sheet.h"
#include "base/memory.h"

static const struct sheet_column columns[] = {
	{"EDGE", false},     {"SENT", true},	{"RECEIVED", true},    {"CONN/S", true},
	{"FAILED", true},    {"RESET/S", true}, {"CONNECT P50", true}, {"P99", true},
	{"RTT", true},	     {"JOINED", true},	{"COMPLETE", true},    {"ALERT", false},
	{"NAMED BY", false},
};

enum { COLUMNS_WIDE = sizeof(columns) / sizeof(columns[0]), COLUMNS = COLUMNS_WIDE - 1 };

static void add_edge(const struct cli *cli, struct sheet *sheet, const cJSON *row)
{
	const cJSON *edge = cJSON_GetObjectItemCaseSensitive(row, "edge");
	bool opened = number_of(row, "opened") > 0;
	char text[1024], figure[FIGURE_MAX];

	edge_text(edge, text, sizeof(text));
	sheet_add(sheet, text);
	sheet_add(sheet, figure_bytes(figure, number_of(row, "tx_bytes_per_s"), "/s"));
	sheet_add(sheet, figure_bytes(figure, number_of(row, "rx_bytes_per_s"), "/s"));
	sheet_add(sheet, figure_rate(figure, number_of(row, "connections_per_s")));
	sheet_add(sheet, figure_share(figure, number_of(row, "failure_ratio")));
	sheet_add(sheet, figure_rate(figure, number_of(row, "resets_per_s")));
	sheet_add(sheet, figure_seconds(figure, number_of(row, "connect_p50_s")));
	sheet_add(sheet, figure_seconds(figure, number_of(row, "connect_p99_s")));
	sheet_add(sheet, figure_seconds(figure, number_of(row, "srtt_avg_s")));
	sheet_add(sheet, opened ? figure_share(figure, number_of(row, "joined_ratio")) : "-");
	sheet_add(sheet, figure_complete(figure, number_of(row, "completeness")));
	sheet_add(sheet, flag_of(row, "alerting") ? "firing" : "");
	if (cli->wide)
		sheet_addf(sheet, "%s -> %s", text_of(edge, "client_resolution"),
			   text_of(edge, "server_resolution"));
}

static void print_edges(const struct cli *cli, const cJSON *const *rows, size_t count)
{
	struct sheet sheet;

	sheet_init(&sheet, columns, cli->wide ? COLUMNS_WIDE : COLUMNS);
	for (size_t i = 0; i < count; i++)
		add_edge(cli, &sheet, rows[i]);
	sheet_print(&sheet, stdout, cli->colour);
	sheet_done(&sheet);
}

static size_t collect(const cJSON *list, const cJSON ***rows)
{
	size_t count = (size_t)cJSON_GetArraySize(list), at = 0;
	const cJSON *row;

	*rows = memory_zeroed(count, sizeof(**rows));
	cJSON_ArrayForEach(row, list)(*rows)[at++] = row;
	return count;
}

static void explain_empty(const char *workload)
{
	if (workload)
		fprintf(stderr,
			"No edge of %s in this window. It may have had no traffic (try --window "
			"1h), "
			"or be named\notherwise (millrace map shows all).\n",
			workload);
	else
		fprintf(stderr,
			"No edges in this window. millraced may have begun just now, or no agent "
			"reports:\nsee millrace status and millrace agents.\n");
}

int command_map(const struct cli *cli)
{
	const char *workload = cli->operands_count ? cli->operands[0] : NULL;
	const cJSON **rows;
	cJSON *document;
	struct path path;
	char *body;
	int status;

	path_begin(&path, "/api/v1/map");
	path_add(&path, "workload", workload);
	path_add(&path, "hops", cli->hops);
	path_add(&path, "window", cli->window);
	path_add(&path, "zone", cli->zone);
	path_add(&path, "limit", cli->limit);
	status = ask_json(cli, path.text, &document, &body);
	if (status != STATUS_DONE)
		return status;

	const cJSON *list = list_of(document, "edges");
	size_t count = collect(list, &rows);

	if (cli->format != FORMAT_TABLE)
		print_document(cli, body, list);
	else if (count)
		print_edges(cli, rows, count);
	else
		explain_empty(workload);
	if (cli->format == FORMAT_TABLE && number_of(document, "edges_left_out") > 0)
		fprintf(stderr, "%.0f more edges; --limit shows them.\n",
			number_of(document, "edges_left_out"));
	free(rows);
	free(body);
	cJSON_Delete(document);
	return STATUS_DONE;
}

/* --- top --- */

enum { TOP_LIMIT = 20, TOP_LIMIT_MAX = 2000 };

struct order {
	const char *name;
	const char *first, *second; /* members added up */
};

static const struct order orders[] = {
	{"bytes", "tx_bytes_per_s", "rx_bytes_per_s"},
	{"connections", "connections_per_s", NULL},
	{"failures", "failures_per_s", NULL},
	{"latency", "connect_p99_s", NULL},
};

static const struct order *top_order;

static double rank(const cJSON *row)
{
	return number_of(row, top_order->first) +
	       (top_order->second ? number_of(row, top_order->second) : 0);
}

static int largest_first(const void *one, const void *other)
{
	double a = rank(*(const cJSON *const *)one), b = rank(*(const cJSON *const *)other);

	return a < b ? 1 : a > b ? -1 : 0;
}

static const struct order *find_order(const char *name)
{
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		if (strcmp(orders[i].name, name) == 0)
			return &orders[i];
	}
	return NULL;
}

static void print_lines(const struct cli *cli, const cJSON *const *rows, size_t count)
{
	char *text;

	if (cli->format == FORMAT_JSON)
		putchar('[');
	for (size_t i = 0; i < count; i++) {
		text = cJSON_PrintUnformatted(rows[i]);
		printf("%s%s%s", cli->format == FORMAT_JSON && i ? "," : "", text ? text : "null",
		       cli->format == FORMAT_JSONL ? "\n" : "");
		cJSON_free(text);
	}
	if (cli->format == FORMAT_JSON)
		puts("]");
}

/* The table says that it shows the first few only; past what the server gives even these may be
 * others. */
static void tell_left_out(const struct cli *cli, size_t more, double unranked)
{
	if (cli->format == FORMAT_TABLE && more)
		fprintf(stderr, "%zu more edges; --limit shows them.\n", more);
	if (unranked > 0)
		fprintf(stderr,
			"%.0f edges are left out before they are ranked: %d are, those that alert "
			"or fail first, then those with most bytes.\n",
			unranked, TOP_LIMIT_MAX);
}

/* The server ranks in its own way, so all that it gives is asked for and ranked here. */
static int top_once(const struct cli *cli, size_t limit, bool screen)
{
	const cJSON **rows;
	cJSON *document;
	struct path path;
	int status;

	path_begin(&path, "/api/v1/map?limit=2000");
	path.asked = true;
	path_add(&path, "window", cli->window ? cli->window : "10s");
	path_add(&path, "zone", cli->zone);
	status = ask_json(cli, path.text, &document, NULL);
	if (status != STATUS_DONE)
		return status;

	size_t count = collect(list_of(document, "edges"), &rows);

	size_t ranked = count;

	if (count)
		qsort(rows, count, sizeof(*rows), largest_first);
	if (count > limit)
		count = limit;
	if (screen)
		fputs("\033[H\033[J", stdout); /* home, and clear what follows */
	if (cli->format != FORMAT_TABLE)
		print_lines(cli, rows, count);
	else if (count)
		print_edges(cli, rows, count);
	else
		explain_empty(NULL);
	fflush(stdout);
	tell_left_out(cli, ranked - count, number_of(document, "edges_left_out"));
	free(rows);
	cJSON_Delete(document);
	return STATUS_DONE;
}

static volatile sig_atomic_t stopped;

static void on_interrupt(int number)
{
	(void)number;
	stopped = 1;
}

/* "2s", "500ms", "1m" or seconds; 0 if it is none, or shorter than 100 ms. */
static double seconds_of(const char *text)
{
	char *end = NULL;
	double seconds = *text >= '0' && *text <= '9' ? strtod(text, &end) : 0;

	if (seconds <= 0)
		return 0;
	if (strcmp(end, "ms") == 0)
		seconds /= 1000;
	else if (strcmp(end, "m") == 0)
		seconds *= 60;
	else if (*end && strcmp(end, "s") != 0)
		return 0;
	return seconds >= 0.1 && seconds <= 3600 ? seconds : 0;
}

static void wait_for(double seconds)
{
	struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};

	nanosleep(&time, NULL); /* an interrupt ends it, as it should */
}

static int top_watch(const struct cli *cli, size_t limit, double seconds)
{
	struct sigaction action = {.sa_handler = on_interrupt};
	int status = STATUS_DONE;

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	while (!stopped && status == STATUS_DONE) {
		status = top_once(cli, limit, cli->format == FORMAT_TABLE);
		if (status == STATUS_DONE && !stopped)
			wait_for(seconds);
	}
	return status;
}

int command_top(const struct cli *cli)
{
	char *end = NULL;
	long limit = cli->limit ? strtol(cli->limit, &end, 10) : TOP_LIMIT;
	double seconds = seconds_of(cli->watch ? cli->watch : "2s");

	top_order = find_order(cli->by ? cli->by : "bytes");
	if (!top_order)
		return complain(STATUS_USAGE,
				"--by %s; accepted: bytes, connections, failures, latency",
				cli->by);
	if (limit < 1 || limit > TOP_LIMIT_MAX || (end && *end))
		return complain(STATUS_USAGE, "--limit %s; accepted: a whole number from 1 to %d",
				cli->limit, TOP_LIMIT_MAX);
	if (seconds <= 0)
		return complain(STATUS_USAGE,
				"--watch %s; accepted: a duration from 100ms to 60m, such as 2s",
				cli->watch);
	if (cli->once || !isatty(STDOUT_FILENO))
		return top_once(cli, (size_t)limit, false);
	return top_watch(cli, (size_t)limit, seconds);
}
