/* Whether the cost of an event depends on the size of what is live: the core's trial with few and
 * many flows, and with few and many edges, under the same stream of events. A size whose memory, as
 * the smaller one's grew, would pass --memory-max is left out, and that is said. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/drive/trial.h"
#include "config/options.h"

enum { MB = 1 << 20 };

struct command {
	struct trial_options trial;
	uint64_t flows[2], edges[2];
	uint64_t memory_max;
	bool json;
};

static const struct option_entry flags[] = {
	{"nodes", 'n', "N", "Nodes; 1,000 by default."},
	{"rate", 'r', "N", "Events a node and second; 5,670 by default."},
	{"tasks", 't', "N", "Tasks; 16 by default."},
	{"seconds", 's', "N", "Seconds of log that are timed; 2 by default."},
	{"few-flows", 0, "N", "1,000,000 by default."},
	{"many-flows", 0, "N", "10,000,000 by default."},
	{"few-edges", 0, "N", "10,000 by default."},
	{"many-edges", 0, "N", "1,000,000 by default."},
	{"memory-max", 'm', "MB", "Of this process; 16,000 by default."},
	{"json", 'j', NULL, "One line of JSON."},
};

static const struct option_table options = {
	.program = "bench-scale",
	.version = MILLRACE_VERSION,
	.usage = "[FLAG]...",
	.summary = "Compares the cost of an event with few and many flows and edges.",
	.entries = flags,
	.count = sizeof(flags) / sizeof(flags[0]),
};

static void take_number(struct command *command, const char *name, const char *argument)
{
	struct {
		const char *name;
		uint32_t *narrow;
		uint64_t *wide;
		uint64_t max;
	} numbers[] = {
		{"nodes", &command->trial.fleet.nodes, NULL, 50000},
		{"rate", &command->trial.fleet.events_per_node, NULL, 100000},
		{"tasks", &command->trial.fleet.partitions, NULL, 1024},
		{"seconds", &command->trial.seconds, NULL, 600},
		{"few-flows", NULL, &command->flows[0], 100000000},
		{"many-flows", NULL, &command->flows[1], 100000000},
		{"few-edges", NULL, &command->edges[0], 10000000},
		{"many-edges", NULL, &command->edges[1], 10000000},
		{"memory-max", NULL, &command->memory_max, 1000000},
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		uint64_t value;

		if (strcmp(name, numbers[i].name) != 0)
			continue;
		value = trial_number(&options, name, argument, 1, numbers[i].max);
		if (numbers[i].narrow)
			*numbers[i].narrow = (uint32_t)value;
		else
			*numbers[i].wide = value;
	}
}

static struct command read_flags(int argc, char **argv)
{
	struct command command = {.trial = {.fleet = fleet_reference(), .seconds = 2},
				  .flows = {1000000, 10000000},
				  .edges = {10000, 1000000},
				  .memory_max = 16000};
	const struct option_entry *flag;
	const char *argument;

	while ((flag = options_next(&options, argc, argv, &argument)) != NULL) {
		if (strcmp(flag->name, "json") == 0)
			command.json = true;
		else
			take_number(&command, flag->name, argument);
	}
	if (optind < argc)
		options_refuse(&options, "%s is not a flag", argv[optind]);
	return command;
}

/* One size of one kind: flows or edges, the other as the fewer flows have it. */
struct size {
	const char *kind;
	uint64_t flows, edges;
	bool skipped;
	double needed_mb; /* expected */
	struct trial trial;
};

static double ns_an_event(const struct size *size)
{
	return size->trial.events ? (double)size->trial.cost.ns / (double)size->trial.events : 0;
}

/* Resident memory of a tenth of the size, by which the whole one is judged. */
static double expected_mb(const struct command *command, const struct size *size)
{
	struct trial_options options_of = command->trial;
	struct trial trial;
	double tenth_mb;

	options_of.fleet.flows = (uint32_t)(size->flows / 10);
	options_of.fleet.edges = (uint32_t)(size->edges / 10);
	options_of.fleet.nodes = options_of.fleet.nodes / 10 + 1;
	options_of.seconds = 1;
	trial_scale(&options_of.fleet);
	trial = trial_run(&options_of);
	tenth_mb = (double)trial.resident / MB;
	return 10 * tenth_mb;
}

static void run_size(const struct command *command, struct size *size)
{
	struct trial_options options_of = command->trial;

	size->needed_mb = expected_mb(command, size);
	size->skipped = size->needed_mb > (double)command->memory_max;
	if (size->skipped)
		return;
	options_of.fleet.flows = (uint32_t)size->flows;
	options_of.fleet.edges = (uint32_t)size->edges;
	trial_scale(&options_of.fleet);
	size->trial = trial_run(&options_of);
}

static void print_json_size(const struct size *size)
{
	printf("{\"kind\":\"%s\",\"flows\":%" PRIu64 ",\"edges\":%" PRIu64
	       ",\"expected_rss_mb\":%.0f,\"skipped\":%s",
	       size->kind, size->flows, size->edges, size->needed_mb,
	       size->skipped ? "true" : "false");
	if (!size->skipped) {
		printf(",\"events\":%" PRIu64 ",\"ns_per_event\":%.1f,\"rss_mb\":%.0f"
		       ",\"bytes_per_flow\":%.0f,\"joined_share\":%.5f,\"bytes_exact\":%s"
		       ",\"instructions_per_event\":",
		       size->trial.events, ns_an_event(size), (double)size->trial.resident / MB,
		       (double)size->trial.state / size->trial.live, size->trial.joined_share,
		       size->trial.bytes_rows == size->trial.bytes_truth ? "true" : "false");
		if (cost_counts_instructions())
			printf("%.0f",
			       (double)size->trial.cost.instructions / (double)size->trial.events);
		else
			printf("null");
	}
	printf("}");
}

static void print_ratio(const char *name, const struct size *few, const struct size *many)
{
	printf(",\"%s\":", name);
	if (few->skipped || many->skipped)
		printf("null");
	else
		printf("%.3f", ns_an_event(many) / ns_an_event(few));
}

static void print_json(const struct size sizes[4])
{
	printf("{\"bench\":\"scale\",\"sizes\":[");
	for (int i = 0; i < 4; i++) {
		printf("%s", i ? "," : "");
		print_json_size(&sizes[i]);
	}
	printf("]");
	print_ratio("ns_ratio_flows", &sizes[0], &sizes[1]);
	print_ratio("ns_ratio_edges", &sizes[2], &sizes[3]);
	printf("}\n");
}

static void print_table(const struct size sizes[4])
{
	printf("%-6s %10s %10s %12s %10s %10s\n", "kind", "flows", "edges", "ns an event", "RSS MB",
	       "B a flow");
	for (int i = 0; i < 4; i++) {
		const struct size *size = &sizes[i];

		printf("%-6s %10" PRIu64 " %10" PRIu64 " ", size->kind, size->flows, size->edges);
		if (size->skipped)
			printf("left out: would take %.0f MB\n", size->needed_mb);
		else
			printf("%12.1f %10.0f %10.0f\n", ns_an_event(size),
			       (double)size->trial.resident / MB,
			       (double)size->trial.state / size->trial.live);
	}
}

int main(int argc, char **argv)
{
	struct command command = read_flags(argc, argv);
	uint64_t edges = fleet_reference().edges;
	struct size sizes[4] = {
		{.kind = "flows", .flows = command.flows[0], .edges = edges},
		{.kind = "flows", .flows = command.flows[1], .edges = edges},
		{.kind = "edges", .flows = command.flows[0], .edges = command.edges[0]},
		{.kind = "edges", .flows = command.flows[0], .edges = command.edges[1]},
	};

	for (int i = 0; i < 4; i++)
		run_size(&command, &sizes[i]);
	if (command.json)
		print_json(sizes);
	else
		print_table(sizes);
	return 0;
}
