/* The simulated shop in real time: publishes what agents on its nodes would, and prints the truth
 * of it as one line of JSON at the end. The moment of the fault's first event also goes to the
 * error output when it comes. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/world/shop.h"
#include "bench/world/topic.h"
#include "config/options.h"

enum {
	FLUSH_MS = 10000,
	RATE_MAX = 100000,
	SECONDS_MAX = 7 * 86400,
	DRAIN_TICKS_MAX = 100, /* NAT entries linger for 2 s after the last end */
};

struct command {
	const char *brokers, *topic;
	uint64_t seconds, rate, seed, fault_after, fault_seconds;
	enum shop_fault fault;
};

static const struct option_entry flags[] = {
	{"brokers", 'b', "HOST:PORT", "Kafka brokers; 127.0.0.1:7472 by default."},
	{"topic", 0, "NAME", "Topic; millrace.events by default."},
	{"seconds", 's', "N", "How long connections come; 60 by default."},
	{"rate", 'r', "N", "Connections a second in all; 200 by default."},
	{"seed", 0, "N", "Of all that is random; 1 by default."},
	{"fault", 0, "NAME", "cart-refused, redis-slow, checkout-reset; none by default."},
	{"fault-after", 0, "N", "Seconds to the fault; 15 by default."},
	{"fault-seconds", 0, "N", "How long it lasts; 0, to the end, by default."},
};

static const struct option_table options = {
	.program = "bench-shop",
	.version = MILLRACE_VERSION,
	.usage = "[FLAG]...",
	.summary = "Publishes what agents on the nodes of a simulated shop would, and prints the "
		   "truth of it.",
	.entries = flags,
	.count = sizeof(flags) / sizeof(flags[0]),
};

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	(void)number;
	stopped = 1;
}

static uint64_t number(const char *name, const char *text, uint64_t max)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || value > max)
		options_refuse(&options, "--%s: %s is no number from 0 to %" PRIu64, name, text,
			       max);
	return value;
}

static struct command read_flags(int argc, char **argv)
{
	struct command command = {.brokers = "127.0.0.1:7472",
				  .topic = "millrace.events",
				  .seconds = 60,
				  .rate = 200,
				  .seed = 1,
				  .fault_after = 15};
	const struct option_entry *flag;
	const char *argument;

	while ((flag = options_next(&options, argc, argv, &argument)) != NULL) {
		if (strcmp(flag->name, "brokers") == 0)
			command.brokers = argument;
		else if (strcmp(flag->name, "topic") == 0)
			command.topic = argument;
		else if (strcmp(flag->name, "seconds") == 0)
			command.seconds = number(flag->name, argument, SECONDS_MAX);
		else if (strcmp(flag->name, "rate") == 0)
			command.rate = number(flag->name, argument, RATE_MAX);
		else if (strcmp(flag->name, "seed") == 0)
			command.seed = number(flag->name, argument, UINT64_MAX);
		else if (strcmp(flag->name, "fault-after") == 0)
			command.fault_after = number(flag->name, argument, SECONDS_MAX);
		else if (strcmp(flag->name, "fault-seconds") == 0)
			command.fault_seconds = number(flag->name, argument, SECONDS_MAX);
		else
			command.fault = shop_fault_by_name(argument);
		if (command.fault == SHOP_FAULTS)
			options_refuse(&options, "--fault: there is no fault %s", argument);
	}
	if (optind < argc)
		options_refuse(&options, "%s is not a flag", argv[optind]);
	return command;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void wait_until(uint64_t time_ns)
{
	struct timespec until = {.tv_sec = (time_t)(time_ns / NS_PER_S),
				 .tv_nsec = (long)(time_ns % NS_PER_S)};

	clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL);
}

static enum shop_fault fault_at(const struct command *command, uint64_t elapsed_ns)
{
	uint64_t begin_ns = command->fault_after * NS_PER_S;
	uint64_t end_ns = begin_ns + command->fault_seconds * NS_PER_S;

	if (elapsed_ns < begin_ns || (command->fault_seconds && elapsed_ns >= end_ns))
		return SHOP_HEALTHY;
	return command->fault;
}

static uint64_t run(const struct command *command, struct shop *shop, uint64_t start_ns)
{
	uint64_t end_ns = start_ns + command->seconds * NS_PER_S, time_ns = start_ns;
	bool told = false;

	while (time_ns < end_ns && !stopped) {
		shop_set_fault(shop, fault_at(command, time_ns - start_ns));
		time_ns += WORLD_TICK_NS;
		wait_until(time_ns);
		shop_run(shop, time_ns);
		if (!told && shop_fault_ns(shop)) {
			fprintf(stderr, "bench-shop: fault %s, first event at %" PRIu64 " ns\n",
				shop_fault_name(command->fault), shop_fault_ns(shop));
			told = true;
		}
	}
	world_end_all(shop_world(shop));
	for (int i = 0; i < DRAIN_TICKS_MAX && world_stats(shop_world(shop)).live > 0; i++) {
		time_ns += WORLD_TICK_NS;
		wait_until(time_ns);
		world_advance(shop_world(shop), time_ns);
	}
	return time_ns;
}

static void print_totals(const struct world_totals *totals)
{
	uint64_t failed = totals->attempts - totals->established;

	printf("\"connections\":%" PRIu64 ",\"established\":%" PRIu64 ",\"failed\":%" PRIu64
	       ",\"reset\":%" PRIu64 ",\"translated\":%" PRIu64 ",\"tx_bytes\":%" PRIu64
	       ",\"rx_bytes\":%" PRIu64,
	       totals->attempts, totals->established, failed, totals->ended_by[CLOSE_RESET],
	       totals->translated, totals->tx_bytes, totals->rx_bytes);
}

static struct world_totals sum_of_edges(const struct world *world)
{
	struct world_totals sum = {0};

	for (uint32_t i = 0; i < shop_edges(); i++) {
		struct world_totals edge = world_totals(world, i);

		sum.attempts += edge.attempts;
		sum.established += edge.established;
		sum.ended += edge.ended;
		sum.translated += edge.translated;
		sum.tx_bytes += edge.tx_bytes;
		sum.rx_bytes += edge.rx_bytes;
		for (int reason = 0; reason < CLOSE_REASONS; reason++)
			sum.ended_by[reason] += edge.ended_by[reason];
	}
	return sum;
}

static void print_truth(const struct command *command, struct shop *shop, struct topic *topic,
			uint64_t start_ns, uint64_t end_ns)
{
	const struct world *world = shop_world(shop);
	struct world_stats stats = world_stats(world);
	struct topic_stats sent = topic_stats(topic);
	struct world_totals sum = sum_of_edges(world);

	printf("{\"bench\":\"shop\",\"seed\":%" PRIu64 ",\"started_ns\":%" PRIu64
	       ",\"ended_ns\":%" PRIu64 ",\"fault\":\"%s\",\"fault_first_event_ns\":%" PRIu64
	       ",\"fault_connections\":%" PRIu64 ",",
	       command->seed, start_ns, end_ns, shop_fault_name(command->fault),
	       shop_fault_ns(shop), shop_fault_connections(shop));
	print_totals(&sum);
	printf(",\"batches\":%" PRIu64 ",\"events\":%" PRIu64 ",\"bytes\":%" PRIu64
	       ",\"batches_lost\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"edges\":[",
	       stats.batches, stats.events, stats.bytes, sent.sent - sent.delivered,
	       stats.refused_full + stats.refused_ports);
	for (uint32_t i = 0; i < shop_edges(); i++) {
		struct shop_edge edge = shop_edge(i);
		struct world_totals totals = world_totals(world, i);

		printf("%s{\"client\":\"shop/%s\",\"server\":\"shop/%s\",\"port\":%u,",
		       i ? "," : "", edge.client, edge.server, edge.port);
		print_totals(&totals);
		printf("}");
	}
	printf("]}\n");
}

static void publish(void *context, const char *node, const struct batch_bytes *bytes)
{
	topic_send(context, node, bytes);
}

int main(int argc, char **argv)
{
	struct command command = read_flags(argc, argv);
	uint64_t start_ns, end_ns;
	char why[512] = "";
	struct topic *topic = topic_open(command.brokers, command.topic, why, sizeof(why));
	struct shop *shop;
	bool whole;

	if (!topic) {
		fprintf(stderr, "bench-shop: %s\n", why);
		return 1;
	}
	start_ns = now_ns();
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	shop = shop_new(&(struct shop_options){.seed = command.seed,
					       .start_ns = start_ns,
					       .rate = (uint32_t)command.rate,
					       .batch = publish,
					       .context = topic});
	end_ns = run(&command, shop, start_ns);
	topic_flush(topic, FLUSH_MS);
	print_truth(&command, shop, topic, start_ns, end_ns);
	whole = topic_stats(topic).delivered == topic_stats(topic).sent;
	shop_free(shop);
	topic_close(topic);
	return whole ? 0 : 1;
}
