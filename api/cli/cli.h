/* The command line client: what its commands share. A command asks the API once, and prints a table
 * for people or JSON for programs: data on stdout, everything else on stderr. Main thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct cJSON;

enum status { STATUS_DONE = 0, STATUS_FAILED = 1, STATUS_USAGE = 2, STATUS_UNREACHABLE = 3 };

enum { CLI_WORDS_MAX = 16 };

enum format { FORMAT_TABLE, FORMAT_JSON, FORMAT_JSONL };

struct cli {
	const char *server; /* http://127.0.0.1:7470 */
	const char *ca;	    /* a file; NULL: the system's authorities */
	enum format format;
	bool wide; /* a table with all columns */
	bool colour;
	/* Of single commands; NULL: not given. */
	const char *hops, *window, *limit, *state, *by, *watch, *zone, *kind;
	bool once, loss;
	/* millrace agents set: what may be given several times, and the rest. */
	struct words {
		const char *items[CLI_WORDS_MAX];
		size_t count;
	} nodes, labels, features, scope;
	const char *region, *role, *scan_period, *batch_interval, *budget, *life, *id;
	const char *file;
	bool dry_run, send;
	const char *csv;       /* a file */
	const char *from, *to; /* of a backtest of the log, as is what millraced is given */
	const char *config;
	struct words settings;
	/* millrace silences add: what it matches, when, who and why. */
	const char *monitor, *client, *matched, *port, *severity; /* matched: --server */
	const char *starts_at, *ends_at, *created_by, *comment;
	const char *time_column, *value_column, *sensitivity;
	const char *actual, *expected, *attributes, *top;
	char **operands;
	int operands_count;
};

/* --created-by, or whoever runs this; NULL: not known. */
const char *user_of(const struct cli *cli);

/* Prints "millrace: ..." and returns the status. */
int complain(enum status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

int command_map(const struct cli *cli);
int command_top(const struct cli *cli);
int command_alerts(const struct cli *cli);
int command_events(const struct cli *cli);
int command_monitors(const struct cli *cli);
int command_silences(const struct cli *cli); /* and add, expire */
int command_agents(const struct cli *cli);   /* and show, set, unset, control */
int list_agents(const struct cli *cli);
int show_agent(const struct cli *cli, const char *node);
int show_losses(const struct cli *cli, const char *node); /* NULL: of all that are chosen */
int command_backtest(const struct cli *cli);
int replay_log(const struct cli *cli); /* backtest without --csv */
int command_localize(const struct cli *cli);
int command_status(const struct cli *cli);
