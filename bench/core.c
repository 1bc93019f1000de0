/* The pipeline's core over a fleet, in memory, all tasks on one thread: what an event costs, what a
 * flow takes, and whether every byte is accounted for. Instructions come from the machine's
 * counters; where those may not be read, from the same trial with fewer nodes under valgrind, if it
 * is there. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/drive/callgrind.h"
#include "bench/drive/trial.h"
#include "config/options.h"

enum { SELF_BYTES = 4096 };

struct command {
	struct trial_options trial;
	uint64_t counted_nodes;
	bool json, counted;
};

static const struct option_entry flags[] = {
	{"nodes", 'n', "N", "Nodes; 1,000 by default."},
	{"flows", 'f', "N", "Live connections; 2,020 a node by default."},
	{"edges", 'e', "N", "Edges; 148 a node by default."},
	{"seconds", 's', "N", "Seconds of log that are timed; 5 by default."},
	{"tasks", 't', "N", "Tasks; 16 by default."},
	{"rate", 'r', "N", "Events a node and second; 5,670 by default."},
	{"seed", 0, "N", "Of the fleet; 1 by default."},
	{"anomaly", 'a', NULL, "With the anomaly stage, its cost told apart."},
	{"json", 'j', NULL, "One line of JSON."},
	{"count-nodes", 0, "N",
	 "Nodes when instructions are counted under valgrind; 16 by default, 0: not at all."},
	{"counted", 0, NULL, "What valgrind runs: prints the number of events alone."},
};

static const struct option_table options = {
	.program = "bench-core",
	.version = MILLRACE_VERSION,
	.usage = "[FLAG]...",
	.summary = "Runs a fleet's log through all of the pipeline's tasks on one thread.",
	.entries = flags,
	.count = sizeof(flags) / sizeof(flags[0]),
};

static bool take_size(struct fleet_options *fleet, const char *name, const char *argument)
{
	struct {
		const char *name;
		uint32_t *value;
		uint32_t min, max;
	} sizes[] = {
		{"nodes", &fleet->nodes, 1, 50000},
		{"flows", &fleet->flows, 1, 100000000},
		{"edges", &fleet->edges, 1, 10000000},
		{"tasks", &fleet->partitions, 1, 1024},
		{"rate", &fleet->events_per_node, 10, 100000},
	};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		if (strcmp(name, sizes[i].name) != 0)
			continue;
		*sizes[i].value = (uint32_t)trial_number(&options, name, argument, sizes[i].min,
							 sizes[i].max);
		return true;
	}
	return false;
}

static void take_flag(struct command *command, const char *name, const char *argument)
{
	if (take_size(&command->trial.fleet, name, argument))
		return;
	if (strcmp(name, "seconds") == 0)
		command->trial.seconds = (uint32_t)trial_number(&options, name, argument, 1, 600);
	else if (strcmp(name, "seed") == 0)
		command->trial.fleet.seed = trial_number(&options, name, argument, 0, UINT64_MAX);
	else if (strcmp(name, "count-nodes") == 0)
		command->counted_nodes = trial_number(&options, name, argument, 0, 1000);
	else if (strcmp(name, "anomaly") == 0)
		command->trial.anomaly = true;
	else if (strcmp(name, "json") == 0)
		command->json = true;
	else
		command->counted = true;
}

static struct command read_flags(int argc, char **argv)
{
	struct command command = {.trial = {.fleet = fleet_reference(), .seconds = 5},
				  .counted_nodes = 16};
	struct fleet_options *fleet = &command.trial.fleet;
	const struct option_entry *flag;
	const char *argument;

	fleet->flows = fleet->edges = 0;
	while ((flag = options_next(&options, argc, argv, &argument)) != NULL)
		take_flag(&command, flag->name, argument);
	if (optind < argc)
		options_refuse(&options, "%s is not a flag", argv[optind]);
	trial_scale(fleet);
	return command;
}

/* Instructions an event, of as many nodes and tasks as valgrind can bear; 0: not known. */
static double count_elsewhere(const struct command *command)
{
	char self[SELF_BYTES], nodes[24], rate[16], tasks[24], seed[24], output[64];
	const struct fleet_options *fleet = &command->trial.fleet;
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	const char *arguments[16] = {self,     "--counted", "--nodes", nodes, "--tasks",   tasks,
				     "--rate", rate,	    "--seed",  seed,  "--seconds", "1"};
	uint64_t total, events;

	if (length <= 0 || command->counted_nodes == 0 || !callgrind_is_here())
		return 0;
	self[length] = 0;
	snprintf(nodes, sizeof(nodes), "%" PRIu64, command->counted_nodes);
	snprintf(tasks, sizeof(tasks), "%" PRIu64, (command->counted_nodes + 7) / 8);
	snprintf(rate, sizeof(rate), "%u", fleet->events_per_node);
	snprintf(seed, sizeof(seed), "%" PRIu64, fleet->seed);
	if (command->trial.anomaly)
		arguments[12] = "--anomaly";
	total = callgrind_count(TRIAL_TIMED, arguments, output, sizeof(output));
	events = strtoull(output, NULL, 10);
	return events ? (double)total / (double)events : 0;
}

struct counts {
	double an_event, anomaly; /* 0: not known */
	const char *by;
};

static struct counts count(const struct command *command, const struct trial *trial)
{
	double events = (double)trial->events;
	struct counts counts = {.by = "perf_event"};

	if (cost_counts_instructions()) {
		counts.an_event = (double)trial->cost.instructions / events;
		counts.anomaly = (double)trial->anomaly.instructions / events;
		return counts;
	}
	counts.an_event = count_elsewhere(command);
	counts.by = counts.an_event > 0 ? "callgrind" : "none";
	return counts;
}

struct figure {
	const char *name;
	double value;
	int digits;
};

enum { FIGURES_MAX = 32 };

static size_t figures_of(const struct command *command, const struct trial *trial,
			 struct figure figures[FIGURES_MAX])
{
	const struct fleet_options *fleet = &command->trial.fleet;
	double events = (double)trial->events, ns = (double)trial->cost.ns;
	double seconds = command->trial.seconds;
	const struct figure all[] = {
		{"nodes", fleet->nodes, 0},
		{"flows", trial->live, 0},
		{"edges", fleet->edges, 0},
		{"tasks", fleet->partitions, 0},
		{"seconds", seconds, 0},
		{"events", events, 0},
		{"events_per_core_s", events / ns * 1e9, 0},
		{"ns_per_event", ns / events, 1},
		{"anomaly_ns_per_event", (double)trial->anomaly.ns / events, 1},
		{"joined_share", trial->joined_share, 5},
		{"bytes_truth", (double)trial->bytes_truth, 0},
		{"bytes_rows", (double)trial->bytes_rows, 0},
		{"bytes_per_flow", (double)trial->state / trial->live, 0},
		{"state_bytes", (double)trial->state, 0},
		{"rss_bytes", (double)trial->resident, 0},
		{"log_bytes", (double)trial->log_bytes, 0},
		{"rows_per_s", (double)trial->rows / seconds, 0},
		{"wire_bytes_per_event", (double)trial->wire_bytes / events, 2},
		{"events_per_batch", events / (double)trial->records, 0},
		{"lost", (double)trial->stats.lost, 0},
		{"late", (double)trial->stats.late, 0},
		{"refused", (double)trial->stats.refused, 0},
		{"folded", (double)trial->stats.folded, 0},
		{"deadletters", (double)trial->stats.deadletters, 0},
	};

	_Static_assert(sizeof(all) / sizeof(all[0]) <= FIGURES_MAX, "figures have room");
	memcpy(figures, all, sizeof(all));
	return sizeof(all) / sizeof(all[0]);
}

static void print_json(const struct command *command, const struct trial *trial,
		       const struct counts *counts)
{
	struct figure figures[FIGURES_MAX];
	size_t count = figures_of(command, trial, figures);

	printf("{\"bench\":\"core\",\"anomaly\":%s,\"bytes_exact\":%s,\"bytes_per_flow_by\":"
	       "\"resident state of the tasks: flows, edges, instances\"",
	       command->trial.anomaly ? "true" : "false",
	       trial->bytes_rows == trial->bytes_truth ? "true" : "false");
	for (size_t i = 0; i < count; i++)
		printf(",\"%s\":%.*f", figures[i].name, figures[i].digits, figures[i].value);
	printf(",\"instructions_by\":\"%s\",\"instructions_per_event\":", counts->by);
	if (counts->an_event > 0)
		printf("%.0f", counts->an_event);
	else
		printf("null");
	if (strcmp(counts->by, "callgrind") == 0)
		printf(",\"instructions_nodes\":%" PRIu64, command->counted_nodes);
	if (counts->anomaly > 0)
		printf(",\"anomaly_instructions_per_event\":%.0f", counts->anomaly);
	printf("}\n");
}

static void print_table(const struct command *command, const struct trial *trial,
			const struct counts *counts)
{
	struct figure figures[FIGURES_MAX];
	size_t count = figures_of(command, trial, figures);

	for (size_t i = 0; i < count; i++)
		printf("%-24s %18.*f\n", figures[i].name, figures[i].digits, figures[i].value);
	printf("%-24s %18.0f  (%s)\n", "instructions_per_event", counts->an_event, counts->by);
	printf("%-24s %18s\n", "bytes_exact",
	       trial->bytes_rows == trial->bytes_truth ? "yes" : "no");
}

int main(int argc, char **argv)
{
	struct command command = read_flags(argc, argv);
	struct trial trial = trial_run(&command.trial);
	struct counts counts;

	if (command.counted) {
		printf("%" PRIu64 "\n", trial.events);
		return 0;
	}
	counts = count(&command, &trial);
	if (command.json)
		print_json(&command, &trial, &counts);
	else
		print_table(&command, &trial, &counts);
	return trial.bytes_rows == trial.bytes_truth ? 0 : 1;
}
