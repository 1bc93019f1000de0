/* millrace agents --loss [NODE]: the loss ledger, a line a node, others' and all. */
#include <stdio.h>
#include <stdlib.h>

#include "api/cli/listing.h"

/* From left to right the way of an event: RING and NETLINK were never numbered. */
static const struct sheet_column columns[] = {
	{"NODE", false},     {"STATE", false},	    {"RING", true},    {"NETLINK", true},
	{"ISSUED", true},    {"SPOOL", true},	    {"TRANSIT", true}, {"RECEIVED", true},
	{"DUPLICATE", true}, {"QUARANTINED", true}, {"REFUSED", true}, {"LATE", true},
	{"PENDING", true},   {"AGGREGATED", true},  {"1 MIN", true},   {"1 H", true},
	{"BALANCE", true},
};

static void add_count(struct sheet *sheet, const cJSON *ledger, const char *name)
{
	sheet_addf(sheet, "%.0f", number_of(ledger, name));
}

static void add_completeness(struct sheet *sheet, const cJSON *ledger, const char *name)
{
	char figure[FIGURE_MAX];

	sheet_add(sheet, figure_complete(figure, number_of(ledger, name)));
}

static void add_ledger(struct sheet *sheet, const char *node, const char *state,
		       const cJSON *ledger)
{
	double lost = number_of(ledger, "lost"), spool = number_of(ledger, "lost_spool");
	bool measured = *state; /* what no agent stands for has no sequence */

	sheet_add(sheet, node);
	sheet_add(sheet, measured ? state : "-");
	add_count(sheet, ledger, "dropped_ring");
	add_count(sheet, ledger, "dropped_netlink");
	add_count(sheet, ledger, "issued");
	sheet_addf(sheet, "%.0f", spool < lost ? spool : lost);
	sheet_addf(sheet, "%.0f", spool < lost ? lost - spool : 0);
	add_count(sheet, ledger, "received");
	add_count(sheet, ledger, "duplicate");
	add_count(sheet, ledger, "quarantined");
	add_count(sheet, ledger, "refused");
	add_count(sheet, ledger, "late");
	add_count(sheet, ledger, "pending");
	add_count(sheet, ledger, "aggregated");
	if (measured) {
		add_completeness(sheet, ledger, "completeness_1m");
		add_completeness(sheet, ledger, "completeness_1h");
	} else {
		sheet_add(sheet, "-");
		sheet_add(sheet, "-");
	}
	add_count(sheet, ledger, "unexplained");
}

static const cJSON *ledger_of(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

static void print_ledgers(const struct cli *cli, const cJSON *document, bool all)
{
	const cJSON *agent, *others = ledger_of(document, "others");
	struct sheet sheet;

	sheet_init(&sheet, columns, sizeof(columns) / sizeof(columns[0]));
	cJSON_ArrayForEach(agent, list_of(document, "agents"))
	{
		add_ledger(&sheet, text_of(agent, "node"), text_of(agent, "state"),
			   ledger_of(agent, "ledger"));
	}
	if (all && (number_of(others, "received") > 0 || number_of(others, "issued") > 0))
		add_ledger(&sheet, "(others)", "", others);
	if (all)
		add_ledger(&sheet, "(all)", "all", ledger_of(document, "total"));
	sheet_print(&sheet, stdout, cli->colour);
	sheet_done(&sheet);
}

static const struct sheet_column place_columns[] = {
	{"PLACE", false}, {"KIND", false}, {"EVENTS", true}};

/* Of one agent, since it began. */
static void print_places(const struct cli *cli, const cJSON *losses)
{
	const cJSON *loss;
	struct sheet sheet;

	sheet_init(&sheet, place_columns, sizeof(place_columns) / sizeof(place_columns[0]));
	cJSON_ArrayForEach(loss, losses)
	{
		sheet_add(&sheet, text_of(loss, "place"));
		sheet_add(&sheet, text_of(loss, "kind"));
		add_count(&sheet, loss, "events");
	}
	if (sheet.count) {
		putchar('\n');
		sheet_print(&sheet, stdout, cli->colour);
	}
	sheet_done(&sheet);
}

/* How many events each of the two sums (base/ledger.h) has too few of, or with a minus too many. */
static void warn_of(const char *node, const cJSON *ledger)
{
	double unexplained = number_of(ledger, "unexplained");
	double taken = number_of(ledger, "duplicate") + number_of(ledger, "quarantined");
	double received = number_of(ledger, "received");
	double issued = received + number_of(ledger, "lost") - taken - number_of(ledger, "issued");
	double ended = received - taken - number_of(ledger, "refused") - number_of(ledger, "late") -
		       number_of(ledger, "pending") - number_of(ledger, "aggregated");

	if (unexplained > 0)
		fprintf(stderr,
			"%s: %.0f events are unexplained (not issued %.0f, received and gone "
			"%.0f): the ledger does not balance, which is a bug of millraced.\n",
			node, unexplained, issued, ended);
}

/* Of each ledger that fails, and of all, in which two of them may hide each other. */
static void warn(const cJSON *document)
{
	const cJSON *agent;

	cJSON_ArrayForEach(agent, list_of(document, "agents"))
		warn_of(text_of(agent, "node"), ledger_of(agent, "ledger"));
	warn_of("(others)", ledger_of(document, "others"));
	warn_of("(all)", ledger_of(document, "total"));
	if (number_of(document, "agents_left_out") > 0)
		fprintf(stderr, "%.0f more agents; --limit shows them.\n",
			number_of(document, "agents_left_out"));
}

int show_losses(const struct cli *cli, const char *node)
{
	const cJSON *agents;
	cJSON *document;
	struct path path;
	char *body;
	int status;

	path_begin(&path, "/api/v1/agents");
	path_add(&path, "view", "loss");
	path_add(&path, "node", node);
	path_add(&path, "zone", cli->zone);
	path_add(&path, "region", cli->region);
	path_add(&path, "role", cli->role);
	path_add(&path, "state", cli->state);
	path_add(&path, "limit", cli->limit);
	status = ask_json(cli, path.text, &document, &body);
	if (status != STATUS_DONE)
		return status;
	agents = list_of(document, "agents");
	if (cli->format != FORMAT_TABLE) {
		print_document(cli, body, agents);
	} else if (node && !cJSON_GetArraySize(agents)) {
		status = complain(STATUS_FAILED, "no agent of a node \"%s\" reports", node);
	} else {
		print_ledgers(cli, document, !node);
		if (node && cJSON_GetArraySize(agents) == 1)
			print_places(cli,
				     list_of(ledger_of(cJSON_GetArrayItem(agents, 0), "ledger"),
					     "losses"));
		warn(document);
	}
	free(body);
	cJSON_Delete(document);
	return status;
}
