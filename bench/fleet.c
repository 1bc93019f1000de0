/* A fleet's log: made, written to a file, and sent to Kafka in its own time. What is sent was made
 * before, in memory or in a file, so that making does not set the pace; its clocks are moved to the
 * present. A log that is sent again is told by agents that began anew, with all their sockets. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/batch/seal.h"
#include "base/hash.h"
#include "base/memory.h"
#include "bench/drive/cost.h"
#include "bench/drive/trial.h"
#include "bench/fleet/fleet.h"
#include "bench/fleet/hazard.h"
#include "bench/fleet/stamp.h"
#include "bench/world/topic.h"
#include "config/options.h"

enum { FLUSH_MS = 30000, NODE_BYTES = 256, TICKS_A_SECOND = 10 };

struct command {
	struct fleet_options fleet;
	struct hazard_options hazards;
	const char *file, *truth, *replay, *brokers, *topic;
	uint64_t seconds, rate, loops, memory_max;
};

static const struct option_entry flags[] = {
	{"nodes", 'n', "N", "Nodes; 1,000 by default."},
	{"flows", 'f', "N", "Live connections; 2,020 a node by default."},
	{"edges", 'e', "N", "Edges; 148 a node by default."},
	{"partitions", 'p', "N", "Of the topic; 16 by default."},
	{"rate", 'r', "N", "Events a second in all; 5,670 a node by default."},
	{"seconds", 's', "N", "Of log; 30 by default."},
	{"seed", 0, "N", "Of all that is random; 1 by default."},
	{"key", 'k', "TEXT", "The deployment's key: batches are signed."},
	{"file", 'o', "PATH", "Write the log there."},
	{"truth", 0, "PATH", "Write there, as JSON lines, what the fleet did."},
	{"replay", 0, "PATH", "Send this log instead of making one."},
	{"brokers", 'b', "HOST:PORT", "Send the log to Kafka, in its own time."},
	{"topic", 't', "NAME", "Topic; millrace.events by default."},
	{"loops", 'l', "N", "Send it so many times; 1 by default."},
	{"memory-max", 0, "MB", "Of a log that is made to be sent; 4,000 by default."},
	{"fault", 0, "SPEC",
	 "refuse, slow or drop, and where: slow,server=7,version=1,client-zone=0,server-zone=1,"
	 "client=3,pod=12,from=10,to=20 (seconds). May be given again."},
	{"late", 0, "N", "Thousandths of the batches that are held back."},
	{"late-ticks", 0, "N", "For at most so many 100 ms; 4 by default."},
	{"duplicate", 0, "N", "Thousandths of the batches that come twice."},
	{"lost", 0, "N", "Thousandths of the batches that are lost."},
	{"skew-ms", 0, "N", "Agents' clocks are wrong by up to so much."},
	{"jumps", 0, "N", "Of each agent's clock an hour, by an hour."},
	{"restarts", 0, "N", "Of each agent an hour."},
	{"late-names", 0, "N", "Thousandths of the pods whose names come 3 s late."},
	{"reused", 0, "N", "Thousandths of the openings that take a tuple just over; PIDs too."},
	{"wrapped", 0, "N", "Thousandths of the old sockets whose counters pass their limit."},
};

static const struct option_table options = {
	.program = "bench-fleet",
	.version = MILLRACE_VERSION,
	.usage = "[FLAG]...",
	.summary =
		"Makes what the agents of a large fleet tell, with the truth of it, and sends it.",
	.entries = flags,
	.count = sizeof(flags) / sizeof(flags[0]),
};

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	(void)number;
	stopped = 1;
}

/* --- flags --- */

static enum fleet_fault_kind fault_kind(const char *word)
{
	static const char *const kinds[] = {"refuse", "slow", "drop"};

	for (int i = 0; i < 3; i++)
		if (strcmp(word, kinds[i]) == 0)
			return (enum fleet_fault_kind)i;
	options_refuse(&options, "--fault: %s is not refuse, slow or drop", word);
}

static void take_dimension(struct fleet_fault *fault, const char *name, const char *value)
{
	struct {
		const char *name;
		int32_t *value;
	} dimensions[] = {
		{"client", &fault->client},	      {"server", &fault->server},
		{"pod", &fault->server_pod},	      {"version", &fault->version},
		{"client-zone", &fault->client_zone}, {"server-zone", &fault->server_zone},
	};
	uint64_t number = trial_number(&options, "fault", value ? value : "", 0, 1000000);

	if (strcmp(name, "from") == 0)
		fault->from_ns = number * NS_PER_S;
	else if (strcmp(name, "to") == 0)
		fault->to_ns = number * NS_PER_S;
	else
		for (size_t i = 0;; i++) {
			if (i == sizeof(dimensions) / sizeof(dimensions[0]))
				options_refuse(&options, "--fault: there is no %s", name);
			if (strcmp(name, dimensions[i].name) != 0)
				continue;
			*dimensions[i].value = (int32_t)number;
			return;
		}
}

static void take_fault(struct fleet_options *fleet, const char *argument)
{
	char *copy = strdup(argument), *rest = copy, *word = strsep(&rest, ",");
	struct fleet_fault *fault = &fleet->faults[fleet->faults_count];

	if (fleet->faults_count++ == FLEET_FAULTS_MAX)
		options_refuse(&options, "--fault: at most %d", FLEET_FAULTS_MAX);
	*fault = (struct fleet_fault){.kind = fault_kind(word),
				      .client = FLEET_ANY,
				      .server = FLEET_ANY,
				      .server_pod = FLEET_ANY,
				      .version = FLEET_ANY,
				      .client_zone = FLEET_ANY,
				      .server_zone = FLEET_ANY};
	while ((word = strsep(&rest, ",")) != NULL) {
		char *value = word, *name = strsep(&value, "=");

		take_dimension(fault, name, value);
	}
	free(copy);
}

static bool take_text(struct command *command, const char *name, const char *argument)
{
	struct {
		const char *name, **value;
	} texts[] = {
		{"file", &command->file},     {"truth", &command->truth},
		{"replay", &command->replay}, {"brokers", &command->brokers},
		{"topic", &command->topic},   {"key", &command->fleet.secret},
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (strcmp(name, texts[i].name) != 0)
			continue;
		*texts[i].value = argument;
		return true;
	}
	return false;
}

static void take_number(struct command *command, const char *name, const char *argument)
{
	struct fleet_options *fleet = &command->fleet;
	struct hazard_options *hazards = &command->hazards;
	uint64_t pids = 0, skew_ms = 0;
	struct {
		const char *name;
		uint32_t *narrow;
		uint64_t *wide;
		uint64_t min, max;
	} numbers[] = {
		{"nodes", &fleet->nodes, NULL, 1, 50000},
		{"flows", &fleet->flows, NULL, 1, 100000000},
		{"edges", &fleet->edges, NULL, 1, 10000000},
		{"partitions", &fleet->partitions, NULL, 1, 1024},
		{"rate", NULL, &command->rate, 100, 1000000000},
		{"seconds", NULL, &command->seconds, 1, 86400},
		{"seed", NULL, &fleet->seed, 0, UINT64_MAX},
		{"loops", NULL, &command->loops, 1, 1000000},
		{"memory-max", NULL, &command->memory_max, 1, 1000000},
		{"late", &hazards->late, NULL, 0, 1000},
		{"late-ticks", &hazards->late_ticks, NULL, 1, HAZARD_TICKS_MAX},
		{"duplicate", &hazards->duplicate, NULL, 0, 1000},
		{"lost", &hazards->lost, NULL, 0, 1000},
		{"skew-ms", NULL, &skew_ms, 0, 3600000},
		{"jumps", &hazards->jumps_per_hour, NULL, 0, 36000},
		{"restarts", &fleet->restarts_per_hour, NULL, 0, 3600},
		{"late-names", &fleet->late_metadata, NULL, 0, 1000},
		{"reused", NULL, &pids, 0, 1000},
		{"wrapped", &fleet->wrapped, NULL, 0, 1000},
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		uint64_t value;

		if (strcmp(name, numbers[i].name) != 0)
			continue;
		value = trial_number(&options, name, argument, numbers[i].min, numbers[i].max);
		if (numbers[i].narrow)
			*numbers[i].narrow = (uint32_t)value;
		else
			*numbers[i].wide = value;
	}
	if (skew_ms)
		hazards->skew_ns = skew_ms * NS_PER_MS;
	if (pids) {
		fleet->reused_tuples = (uint32_t)pids;
		fleet->reused_pids = true;
	}
}

static void check_flags(struct command *command)
{
	struct fleet_options *fleet = &command->fleet;

	trial_scale(fleet);
	for (uint32_t i = 0; i < fleet->faults_count; i++)
		if (fleet->faults[i].to_ns == 0)
			fleet->faults[i].to_ns = command->seconds * NS_PER_S;
	if (command->rate)
		fleet->events_per_node = (uint32_t)(command->rate / fleet->nodes);
	if (fleet->secret && strlen(fleet->secret) < 16)
		options_refuse(&options, "--key: 16 bytes at least");
	if (!command->file && !command->brokers)
		options_refuse(&options, "nothing to do: --file, --brokers or both");
	command->hazards.secret = fleet->secret;
	command->hazards.seed = fleet->seed;
}

static struct command read_flags(int argc, char **argv)
{
	struct command command = {.fleet = fleet_reference(),
				  .topic = "millrace.events",
				  .hazards = {.late_ticks = 4, .jump_ns = 3600 * NS_PER_S},
				  .seconds = 30,
				  .loops = 1,
				  .memory_max = 4000};
	const struct option_entry *flag;
	const char *argument;

	command.fleet.flows = command.fleet.edges = 0;
	command.fleet.late_metadata_ns = 3 * NS_PER_S;
	while ((flag = options_next(&options, argc, argv, &argument)) != NULL) {
		if (strcmp(flag->name, "fault") == 0)
			take_fault(&command.fleet, argument);
		else if (!take_text(&command, flag->name, argument))
			take_number(&command, flag->name, argument);
	}
	if (optind < argc)
		options_refuse(&options, "%s is not a flag", argv[optind]);
	check_flags(&command);
	return command;
}

/* --- making --- */

struct maker {
	struct hazard *hazard;
	struct fleet_log *log;	     /* to be sent, or NULL */
	struct fleet_writer *writer; /* or NULL */
};

static void on_made(void *context, const struct fleet_batch *batch)
{
	struct maker *maker = context;

	hazard_push(maker->hazard, batch);
}

static void on_passed(void *context, const struct fleet_batch *batch)
{
	struct maker *maker = context;

	if (maker->log)
		fleet_log_add(maker->log, batch);
	if (maker->writer)
		fleet_writer_add(maker->writer, batch);
}

static void print_made(const struct fleet *fleet, const struct hazard *hazard, struct cost cost)
{
	struct fleet_stats stats = fleet_stats(fleet);
	struct hazard_stats hazards = hazard_stats(hazard);
	struct truth_counts totals = fleet_totals(fleet);
	double events = (double)stats.events;

	printf("{\"bench\":\"fleet\",\"events\":%" PRIu64 ",\"batches\":%" PRIu64
	       ",\"bytes\":%" PRIu64 ",\"wire_bytes_per_event\":%.2f,\"made_per_core_s\":%.0f"
	       ",\"live\":%u,\"live_pairs\":%u,\"opened\":%" PRIu64 ",\"failed\":%" PRIu64
	       ",\"tx_bytes\":%" PRIu64 ",\"rx_bytes\":%" PRIu64 ",\"late\":%" PRIu64
	       ",\"duplicates\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"lost_events\":%" PRIu64
	       ",\"jumps\":%" PRIu64 ",\"restarts\":%" PRIu64 "}\n",
	       stats.events, stats.batches, stats.bytes, (double)stats.bytes / events,
	       events / (double)cost.ns * 1e9, stats.live, stats.live_pairs, totals.opened,
	       totals.failed, totals.tx_bytes, totals.rx_bytes, hazards.late, hazards.duplicates,
	       hazards.lost, hazards.lost_events, hazards.jumps, stats.restarts);
}

static int write_truth(const struct fleet *fleet, const char *path)
{
	FILE *file = fopen(path, "we");

	if (!file)
		return -errno;
	fleet_truth(fleet, file);
	return fclose(file) == 0 ? 0 : -EIO;
}

/* Returns 0 or -errno. */
static int make(struct command *command, struct maker *maker)
{
	struct fleet *fleet;
	struct cost before = cost_now();
	int rc = 0;

	command->hazards.batch = on_passed;
	command->hazards.context = maker;
	command->fleet.batch = on_made;
	command->fleet.context = maker;
	maker->hazard = hazard_new(&command->hazards);
	fleet = fleet_new(&command->fleet);
	for (uint64_t i = 0; i < command->seconds * TICKS_A_SECOND && !stopped; i++) {
		fleet_run(fleet, 1);
		hazard_tick(maker->hazard);
		if (maker->log && fleet_log_size(maker->log) > command->memory_max << 20) {
			fprintf(stderr, "bench-fleet: the log passes --memory-max; make it with "
					"--file, then send it with --replay\n");
			exit(1);
		}
	}
	for (int i = 0; i <= HAZARD_TICKS_MAX; i++)
		hazard_tick(maker->hazard); /* lets go what is still held */
	print_made(fleet, maker->hazard, cost_since(before));
	if (command->truth)
		rc = write_truth(fleet, command->truth);
	fleet_free(fleet);
	hazard_free(maker->hazard);
	return rc;
}

/* --- sending --- */

struct sender {
	struct topic *topic;
	const char *secret;
	uint8_t *bytes;
	size_t bytes_max;
	uint64_t events, behind_ns; /* at most */
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void wait_until(struct sender *sender, uint64_t time_ns)
{
	uint64_t now = now_ns();
	struct timespec until = {.tv_sec = (time_t)(time_ns / NS_PER_S),
				 .tv_nsec = (long)(time_ns % NS_PER_S)};

	if (now < time_ns)
		clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL);
	else if (now - time_ns > sender->behind_ns)
		sender->behind_ns = now - time_ns;
}

static void send_batch(struct sender *sender, const struct fleet_batch *batch, struct stamp stamp)
{
	char node[NODE_BYTES];
	uint8_t key[SEAL_KEY_BYTES];
	struct batch_bytes bytes = {.length = batch->length, .events = batch->events};

	snprintf(node, sizeof(node), "%.*s", (int)batch->node_length, batch->node);
	if (sender->secret &&
	    seal_node_key((const uint8_t *)sender->secret, strlen(sender->secret), node, key) == 0)
		stamp.key = key;
	if (batch->length > sender->bytes_max) {
		sender->bytes_max = memory_grown(sender->bytes_max, batch->length);
		sender->bytes = memory_resize(sender->bytes, sender->bytes_max, 1);
	}
	memcpy(sender->bytes, batch->bytes, batch->length);
	stamp_batch(sender->bytes, batch->length, &stamp);
	bytes.bytes = sender->bytes;
	topic_send(sender->topic, node, &bytes);
	sender->events += batch->events;
}

/* Returns when the last record was due. gone_ns: since the first time began. */
static uint64_t send_once(struct sender *sender, const struct fleet_log *log, uint64_t begin_ns,
			  uint64_t gone_ns, uint64_t loop)
{
	struct fleet_cursor cursor = {0};
	struct fleet_batch batch;
	uint64_t first_ns = 0, due_ns = begin_ns;

	while (fleet_log_next(log, &cursor, &batch) && !stopped) {
		struct stamp stamp = {.epoch = loop ? hash_mix(loop) : 0,
				      .boottime_ns = (int64_t)gone_ns};

		if (first_ns == 0)
			first_ns = batch.append_ns;
		due_ns = begin_ns + (batch.append_ns - first_ns);
		stamp.realtime_ns = ((int64_t)begin_ns - (int64_t)first_ns) / (int64_t)NS_PER_US *
				    (int64_t)NS_PER_US;
		wait_until(sender, due_ns);
		send_batch(sender, &batch, stamp);
	}
	return due_ns;
}

static int send_log(const struct command *command, const struct fleet_log *log)
{
	char why[512] = "";
	struct sender sender = {
		.secret = command->fleet.secret,
		.topic = topic_open(command->brokers, command->topic, why, sizeof(why))};
	struct topic_stats stats;
	uint64_t start_ns = now_ns(), end_ns = start_ns;

	if (!sender.topic) {
		fprintf(stderr, "bench-fleet: %s\n", why);
		return 1;
	}
	for (uint64_t loop = 0; loop < command->loops && !stopped; loop++)
		end_ns = send_once(&sender, log, end_ns, end_ns - start_ns, loop);
	topic_flush(sender.topic, FLUSH_MS);
	stats = topic_stats(sender.topic);
	printf("{\"bench\":\"fleet-sent\",\"events\":%" PRIu64 ",\"seconds\":%.1f,\"sent\":%" PRIu64
	       ",\"delivered\":%" PRIu64 ",\"dropped\":%" PRIu64 ",\"failed\":%" PRIu64
	       ",\"behind_ms_max\":%.0f}\n",
	       sender.events, (double)(now_ns() - start_ns) / 1e9, stats.sent, stats.delivered,
	       stats.dropped, stats.failed, (double)sender.behind_ns / 1e6);
	topic_close(sender.topic);
	free(sender.bytes);
	return stats.delivered == stats.sent ? 0 : 1;
}

static int fail(const char *path, int error)
{
	fprintf(stderr, "bench-fleet: %s: %s\n", path, strerror(-error));
	return 1;
}

/* Makes the log into memory or into the file, or both. 0, or 1 when it has told why not. */
static int make_log(struct command *command, struct fleet_log *log)
{
	struct maker maker = {.log = log};
	int rc;

	if (command->file) {
		maker.writer = fleet_writer_open(command->file, command->fleet.partitions);
		if (!maker.writer)
			return fail(command->file, -errno);
	}
	rc = make(command, &maker);
	if (rc)
		fail(command->truth, rc);
	if (maker.writer && fleet_writer_close(maker.writer) != 0)
		rc = -fail(command->file, -EIO);
	return rc ? 1 : 0;
}

static struct fleet_log *open_log(const char *path)
{
	char why[512] = "";
	struct fleet_log *log = fleet_log_open(path, why, sizeof(why));

	if (!log)
		fprintf(stderr, "bench-fleet: %s\n", why);
	return log;
}

int main(int argc, char **argv)
{
	struct command command = read_flags(argc, argv);
	struct fleet_log *log = NULL;
	int status = 0;

	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	if (command.replay)
		log = open_log(command.replay);
	else if (command.brokers)
		log = fleet_log_new(command.fleet.partitions);
	if (command.replay && !log)
		return 1;
	if (!command.replay)
		status = make_log(&command, log);
	if (command.brokers && status == 0)
		status = send_log(&command, log);
	fleet_log_free(log);
	return status;
}
