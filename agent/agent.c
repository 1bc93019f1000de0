#include "agent/agent.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <uv.h>

#include "agent/batch/batch.h"
#include "agent/batch/seal.h"
#include "agent/cgroups.h"
#include "agent/health.h"
#include "agent/metrics.h"
#include "agent/nat.h"
#include "agent/natwatch.h"
#include "agent/netns.h"
#include "agent/probe.h"
#include "agent/publisher.h"
#include "agent/recorder.h"
#include "agent/tracer.h"
#include "base/clock.h"
#include "base/memory.h"

enum {
	PROBE_MS = 5000,
	FLUSH_MS = 5000,	    /* at the end; within a systemd stop and a pod's grace */
	SCAN_PERIOD_MAX_MS = 15000, /* a third of a key frame: updates are still updates */
	BATCH_EVENTS_MAX = 16384,
	BATCH_BYTES_MAX = 768 << 10, /* below Kafka's default of 1 MiB a message */
	SCAN_NS_MAX = 5 * NS_PER_MS, /* what a scan of some 10,000 sockets takes */
};
/* A roll call tells of every socket, so not at each loss of a storm. */
#define ROLL_CALL_EVERY_NS (30 * NS_PER_S)

struct agent {
	const struct agent_options *options;
	uv_loop_t loop;
	uv_timer_t tick_timer, scan_timer;
	uv_poll_t ring_poll, kafka_poll;
	uv_signal_t interrupt, terminate;
	struct health *health;
	struct probe *probe;

	struct cgroup_mounts mounts;
	struct cgroups *cgroups;
	struct batch *batch;
	struct recorder *recorder;
	struct publisher *publisher;
	struct tracer *tracer;
	struct nat *nat;
	struct natwatch *natwatch; /* NULL: off */
	uint32_t *scope;
	uint32_t scope_count;
	char *brokers;		 /* joined by commas; lent to the publisher */
	const char **properties; /* lent to the publisher */

	struct batch_sender sender;
	uint64_t boottime_ns, realtime_ns;
	uint64_t scan_cpu_ns; /* of one scan, smoothed */
	uint64_t roll_lost;   /* losses that a roll call has mended */
	uint64_t roll_called_ns;
	struct metrics metrics;
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static int complain(const char *what, int error)
{
	fprintf(stderr, "millrace-agent: %s: %s\n", what, strerror(-error));
	return error;
}

static void read_clock(struct agent *agent)
{
	agent->boottime_ns = clock_ns(CLOCK_BOOTTIME);
	agent->realtime_ns = clock_ns(CLOCK_REALTIME);
	recorder_clock(agent->recorder, agent->boottime_ns, agent->realtime_ns);
}

/* What never reached a batch. Read before each seal: the header tells it. */
static void count_losses(struct agent *agent)
{
	uint64_t sum = 0;
	tracer_lost(agent->tracer, agent->metrics.lost);
	for (int i = 0; i < MR_LOST_COUNTERS; i++)
		sum += agent->metrics.lost[i];
	struct recorder_stats stats = recorder_stats(agent->recorder);
	agent->sender.dropped_ring = sum + stats.sockets_refused + stats.processes_refused;
	if (agent->natwatch)
		agent->metrics.natwatch = natwatch_stats(agent->natwatch);
	agent->sender.dropped_netlink = agent->metrics.natwatch.overruns;
	agent->sender.dropped_spool = publisher_stats(agent->publisher).spool.dropped_events;
}

static void drain(struct agent *agent)
{
	read_clock(agent);
	uint64_t waiting = tracer_ring_bytes(agent->tracer);
	if (waiting > agent->metrics.ring_peak_bytes)
		agent->metrics.ring_peak_bytes = waiting;
	int records = tracer_drain(agent->tracer);
	if (records > 0)
		agent->metrics.records += (uint64_t)records;
}

static void on_record(void *context, const struct mr_head *record)
{
	struct agent *agent = context;
	recorder_push(agent->recorder, record);
}

static void on_sealed(void *context, const struct batch_bytes *bytes)
{
	struct agent *agent = context;
	publisher_put(agent->publisher, bytes->bytes, bytes->length, bytes->events);
	agent->metrics.batch_bytes += bytes->length;
}

static void on_nat(void *context, const struct conntrack_entry *entry)
{
	struct agent *agent = context;
	read_clock(agent);
	recorder_nat(agent->recorder,
		     &(struct batch_nat){
			     .protocol = entry->protocol,
			     .ended = entry->ended,
			     .original_source = entry->original.source,
			     .original_destination = entry->original.destination,
			     .original_source_port = entry->original.source_port,
			     .original_destination_port = entry->original.destination_port,
			     .reply_source = entry->reply.source,
			     .reply_destination = entry->reply.destination,
			     .reply_source_port = entry->reply.source_port,
			     .reply_destination_port = entry->reply.destination_port,
			     .time_ns = agent->realtime_ns,
		     });
}

static void on_ring(uv_poll_t *poll, int status, int events)
{
	(void)status, (void)events;
	drain(poll->data);
}

/* The ring needs no timer of its own: what came since the last tick goes into this one's batch, and
 * a ring that fills before wakes on_ring. */
static void on_tick(uv_timer_t *timer)
{
	struct agent *agent = timer->data;
	drain(agent);
	count_losses(agent);
	recorder_tick(agent->recorder);
	if (agent->nat)
		nat_again(agent->nat, recorder_cycle_ticks(agent->recorder));
	publisher_poll(agent->publisher, agent->boottime_ns);
}

static void on_kafka(uv_poll_t *poll, int status, int events)
{
	struct agent *agent = poll->data;
	(void)status, (void)events;
	publisher_poll(agent->publisher, clock_ns(CLOCK_BOOTTIME));
}

/* The period at which scans take their share of a core, at least what is configured. */
static uint64_t scan_period_ms(const struct agent *agent)
{
	uint64_t period = agent->options->scan_period_ns / NS_PER_MS;
	double for_share =
		(double)agent->scan_cpu_ns / NS_PER_MS / (agent->options->scan_cpu_percent / 100);
	if (for_share > SCAN_PERIOD_MAX_MS)
		return SCAN_PERIOD_MAX_MS;
	return for_share > (double)period ? (uint64_t)for_share : period;
}

/* Lost openings and ends leave slots and sockets that do not agree: after a loss every socket
 * answers once, and slots that no socket answers for are gone. */
static void scan(struct agent *agent)
{
	uint64_t cpu_ns = 0;
	drain(agent);
	count_losses(agent);
	uint64_t lost = agent->metrics.lost[MR_OPEN] + agent->metrics.lost[MR_CLOSE] +
			agent->metrics.lost[MR_FAIL];
	bool roll_call = lost != agent->roll_lost &&
			 agent->boottime_ns - agent->roll_called_ns >= ROLL_CALL_EVERY_NS;
	uint64_t started_ns = agent->boottime_ns, unanswered = agent->metrics.lost[MR_UPDATE];
	if (roll_call)
		recorder_roll_call(agent->recorder);
	int error = tracer_scan(agent->tracer, roll_call, &cpu_ns);
	agent->scan_cpu_ns = (agent->scan_cpu_ns * 3 + cpu_ns) / 4;
	agent->metrics.scans++;
	if (error) {
		agent->metrics.scans_failed++;
		return;
	}
	if (!roll_call)
		return;
	agent->roll_called_ns = started_ns;
	drain(agent);
	count_losses(agent);
	if (agent->metrics.lost[MR_UPDATE] != unanswered)
		return; /* not all answers found room: again later */
	recorder_roll_called(agent->recorder, started_ns);
	agent->roll_lost = lost;
}

static void on_scan(uv_timer_t *timer)
{
	struct agent *agent = timer->data;
	scan(agent);
	uint64_t period = scan_period_ms(agent);
	agent->sender.scan_period_ms = (uint32_t)period;
	uv_timer_start(timer, on_scan, period, 0);
}

static void fill_metrics(struct agent *agent)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	struct metrics *metrics = &agent->metrics;
	count_losses(agent);
	metrics->cpu_seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
			       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
	metrics->recorder = recorder_stats(agent->recorder);
	metrics->publisher = publisher_stats(agent->publisher);
	metrics->cost = tracer_cost(agent->tracer);
	metrics->ring_bytes = tracer_ring_bytes(agent->tracer);
	metrics->scan_period_ms = agent->sender.scan_period_ms;
	if (agent->nat)
		metrics->nat = nat_stats(agent->nat);
}

static int answer(void *context, const char *path, FILE *body)
{
	struct agent *agent = context;
	if (strcmp(path, "/metrics") == 0) {
		fill_metrics(agent);
		metrics_write(&agent->metrics, agent->options->node, body);
		agent->metrics.ring_peak_bytes = 0;
		return 200;
	}
	if (strcmp(path, "/healthz") == 0) {
		fprintf(body, "ok\n");
		return 200;
	}
	if (strcmp(path, "/readyz") != 0) {
		fprintf(body, "not here: /metrics, /healthz, /readyz\n");
		return 404;
	}
	bool connected = publisher_stats(agent->publisher).connected;
	fprintf(body, connected ? "ok\n"
				: "no batch was delivered to Kafka yet, or the broker is away\n");
	return connected ? 200 : 503;
}

/* Set-up, in the order of need. Each returns 0 or -errno after having told why. */

static int resolve_scope(struct agent *agent)
{
	const struct config_strings *names = &agent->options->scope_netns;
	agent->scope = memory_zeroed(names->count, sizeof(*agent->scope));
	for (size_t i = 0; i < names->count; i++) {
		int error = netns_parse(names->items[i], &agent->scope[i]);
		if (error) {
			fprintf(stderr,
				"millrace-agent: scope.netns: no network namespace %s: %s\n",
				names->items[i], strerror(-error));
			return error;
		}
		agent->scope_count++;
	}
	return 0;
}

static int read_identity(struct agent *agent)
{
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
	if (!file)
		return complain("/proc/sys/kernel/random/boot_id", -errno);
	unsigned byte;
	int n = 0;
	while (n < 16 && fscanf(file, "%2x", &byte) == 1) {
		agent->sender.boot_id[n++] = (uint8_t)byte;
		int separator = getc(file);
		if (separator != '-')
			ungetc(separator, file);
	}
	fclose(file);
	if (n != 16)
		return complain("/proc/sys/kernel/random/boot_id", -EINVAL);
	if (getrandom(&agent->sender.epoch, sizeof(agent->sender.epoch), 0) !=
	    sizeof(agent->sender.epoch))
		return complain("getrandom", -errno);
	agent->sender.node = agent->options->node;
	agent->sender.zone = agent->options->zone;
	agent->sender.region = agent->options->region;
	agent->sender.role = agent->options->role;
	agent->sender.agent_version = MILLRACE_VERSION;
	agent->sender.scan_period_ms = (uint32_t)(agent->options->scan_period_ns / NS_PER_MS);
	return 0;
}

static int open_publisher(struct agent *agent)
{
	const struct agent_options *options = agent->options;
	size_t length = 0;
	FILE *joined = open_memstream(&agent->brokers, &length);
	for (size_t i = 0; joined && i < options->brokers.count; i++)
		fprintf(joined, "%s%s", i ? "," : "", options->brokers.items[i]);
	if (!joined || fclose(joined))
		return complain("kafka.brokers", -ENOMEM);
	const char **properties = agent->properties =
		memory_zeroed(options->kafka_properties.count * 2, sizeof(*properties));
	for (size_t i = 0; i < options->kafka_properties.count; i++) {
		properties[2 * i] = options->kafka_properties.items[i].key;
		properties[2 * i + 1] = options->kafka_properties.items[i].value;
	}
	char why[PUBLISHER_WHY_BYTES];
	int error = publisher_new(&agent->publisher,
				  &(struct publisher_options){
					  .brokers = agent->brokers,
					  .topic = options->topic,
					  .key = options->node,
					  .spool_bytes_max = options->spool_bytes,
					  .properties = properties,
					  .properties_count = options->kafka_properties.count,
				  },
				  why);
	if (error)
		fprintf(stderr, "millrace-agent: %s\n", why);
	return error;
}

static int open_recorder(struct agent *agent)
{
	const struct agent_options *options = agent->options;
	uint8_t key[SEAL_KEY_BYTES];
	if (options->key) {
		int error = seal_node_key((const uint8_t *)options->key, strlen(options->key),
					  options->node, key);
		if (error)
			return complain("key", error);
	}
	agent->batch = batch_new(&(struct batch_options){
		.events_max = BATCH_EVENTS_MAX,
		.bytes_max = BATCH_BYTES_MAX,
		.key = options->key ? key : NULL,
		.scan_ns = SCAN_NS_MAX,
	});
	cgroup_mounts_read("/proc/self/mounts", &agent->mounts);
	agent->cgroups = cgroups_new(&(struct cgroups_options){
		.v2_mount = agent->mounts.v2[0] ? agent->mounts.v2 : NULL,
		.v1_mount = agent->mounts.v1[0] ? agent->mounts.v1 : NULL,
		.docker_root = options->docker_root,
		.cgroups_max = (uint32_t)options->cgroups_max,
		.prefixes = (const char *const *)options->scope_cgroups.items,
		.prefixes_count = (uint32_t)options->scope_cgroups.count,
	});
	agent->recorder = recorder_new(&(struct recorder_options){
		.batch = agent->batch,
		.cgroups = agent->cgroups,
		.sockets_max = (uint32_t)options->sockets_max,
		.processes_max = (uint32_t)options->processes_max,
		.tick_ns = options->batch_interval_ns,
		.key_frame_ns = options->key_frame_ns,
		.sender = &agent->sender,
		.sealed = on_sealed,
		.context = agent,
	});
	return 0;
}

static int open_tracer(struct agent *agent)
{
	char why[TRACER_WHY_BYTES];
	int error = tracer_open(&agent->tracer,
				&(struct tracer_options){
					.scoped = agent->scope_count > 0,
					.netns = agent->scope,
					.netns_count = agent->scope_count,
					.processes = agent->options->processes,
					.run_stats = agent->options->run_stats,
					.record = on_record,
					.context = agent,
				},
				why);
	if (error) {
		fprintf(stderr, "millrace-agent: %s\n", why);
		return error;
	}
	if (tracer_missing(agent->tracer)[0])
		fprintf(stderr, "millrace-agent: %s\n", tracer_missing(agent->tracer));
	return 0;
}

static void close_handle(uv_handle_t *handle)
{
	if (handle->type != UV_UNKNOWN_HANDLE && !uv_is_closing(handle))
		uv_close(handle, NULL);
}

static void stop(struct agent *agent)
{
	health_close(agent->health);
	probe_close(agent->probe);
	natwatch_close(agent->natwatch);
	agent->natwatch = NULL;
	close_handle((uv_handle_t *)&agent->tick_timer);
	close_handle((uv_handle_t *)&agent->scan_timer);
	close_handle((uv_handle_t *)&agent->ring_poll);
	close_handle((uv_handle_t *)&agent->kafka_poll);
	close_handle((uv_handle_t *)&agent->interrupt);
	close_handle((uv_handle_t *)&agent->terminate);
}

static void on_signal(uv_signal_t *signal, int number)
{
	(void)number;
	stop(signal->data);
}

static int open_health(struct agent *agent)
{
	if (!agent->options->listen || !agent->options->listen[0])
		return 0;
	int error = health_open(&agent->health, &(struct health_options){
							.loop = &agent->loop,
							.listen = agent->options->listen,
							.answer = answer,
							.context = agent,
						});
	if (error)
		fprintf(stderr, "millrace-agent: cannot listen on %s: %s: set `listen`\n",
			agent->options->listen, strerror(-error));
	return error;
}

static void open_probe(struct agent *agent)
{
	/* its connections would be outside of a scope */
	if (!agent->options->self_probe || agent->scope_count)
		return;
	int error = probe_open(&agent->probe, &agent->loop, PROBE_MS);
	if (error)
		complain("the self-probe cannot listen on 127.0.0.1", error);
	else
		recorder_probe_port(agent->recorder, probe_port(agent->probe));
}

/* Without conntrack the rest is as good. */
static void open_natwatch(struct agent *agent)
{
	if (!agent->options->conntrack)
		return;
	agent->nat = nat_new(&(struct nat_options){
		.entries_max = (uint32_t)agent->options->nat_max,
		.told = on_nat,
		.context = agent,
	});
	int error =
		natwatch_open(&agent->natwatch, &(struct natwatch_options){
							.loop = &agent->loop,
							.sweep_ns = agent->options->key_frame_ns,
							.scope = agent->scope,
							.scope_count = agent->scope_count,
							.nat = agent->nat,
						});
	if (error)
		complain("NAT off: cannot subscribe to conntrack (CAP_NET_ADMIN, "
			 "nf_conntrack_netlink)",
			 error);
}

static void start_handles(struct agent *agent)
{
	uint64_t tick_ms = agent->options->batch_interval_ns / NS_PER_MS;
	uv_timer_init(&agent->loop, &agent->tick_timer);
	uv_timer_init(&agent->loop, &agent->scan_timer);
	uv_poll_init(&agent->loop, &agent->ring_poll, tracer_fd(agent->tracer));
	uv_poll_init(&agent->loop, &agent->kafka_poll, publisher_fd(agent->publisher));
	uv_signal_init(&agent->loop, &agent->interrupt);
	uv_signal_init(&agent->loop, &agent->terminate);
	agent->tick_timer.data = agent->scan_timer.data = agent;
	agent->ring_poll.data = agent->kafka_poll.data = agent;
	agent->interrupt.data = agent->terminate.data = agent;
	uv_timer_start(&agent->tick_timer, on_tick, tick_ms, tick_ms);
	uv_timer_start(&agent->scan_timer, on_scan, agent->options->scan_period_ns / NS_PER_MS, 0);
	uv_poll_start(&agent->ring_poll, UV_READABLE, on_ring);
	uv_poll_start(&agent->kafka_poll, UV_READABLE, on_kafka);
	uv_signal_start(&agent->interrupt, on_signal, SIGINT);
	uv_signal_start(&agent->terminate, on_signal, SIGTERM);
}

/* What was there before us, then the last batches at the end. */
static int run(struct agent *agent)
{
	int error = tracer_list(agent->tracer);
	if (error)
		return complain("cannot list the sockets and processes that are there", error);
	start_handles(agent);
	drain(agent);
	fprintf(stderr, "millrace-agent: node %s, %u sockets and %u processes, events to %s\n",
		agent->options->node, recorder_stats(agent->recorder).sockets,
		recorder_stats(agent->recorder).processes, agent->options->topic);
	uv_run(&agent->loop, UV_RUN_DEFAULT);
	drain(agent);
	count_losses(agent);
	recorder_seal(agent->recorder);
	if (!publisher_flush(agent->publisher, FLUSH_MS))
		fprintf(stderr, "millrace-agent: the last batches were not delivered: no broker\n");
	return 0;
}

static int set_up(struct agent *agent)
{
	int error = resolve_scope(agent);
	if (!error)
		error = read_identity(agent);
	if (!error)
		error = open_publisher(agent);
	if (!error)
		error = open_recorder(agent);
	if (!error)
		error = open_tracer(agent);
	if (!error)
		error = open_health(agent);
	if (error)
		return error;
	open_probe(agent);
	read_clock(agent);
	open_natwatch(agent);
	return 0;
}

static void tear_down(struct agent *agent)
{
	if (uv_loop_alive(&agent->loop))
		stop(agent);
	uv_run(&agent->loop, UV_RUN_DEFAULT);
	uv_loop_close(&agent->loop);
	tracer_free(agent->tracer);
	nat_free(agent->nat);
	recorder_free(agent->recorder);
	batch_free(agent->batch);
	cgroups_free(agent->cgroups);
	publisher_free(agent->publisher);
	free(agent->brokers);
	free(agent->properties);
	free(agent->scope);
	free(agent);
}

int agent_run(const struct agent_options *options)
{
	signal(SIGPIPE, SIG_IGN);
	struct agent *agent = memory_zeroed(1, sizeof(*agent));
	agent->options = options;
	uv_loop_init(&agent->loop);
	int error = set_up(agent);
	if (!error)
		error = run(agent);
	tear_down(agent);
	return error;
}
