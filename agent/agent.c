#include "agent/agent.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <uv.h>

#include "agent/absence.h"
#include "agent/batch/batch.h"
#include "agent/cgroups.h"
#include "agent/claims.h"
#include "agent/clocks.h"
#include "agent/drops.h"
#include "agent/health.h"
#include "agent/inspector.h"
#include "agent/keeper.h"
#include "agent/metrics.h"
#include "agent/nat.h"
#include "agent/natwatch.h"
#include "agent/netns.h"
#include "agent/notify.h"
#include "agent/preflight.h"
#include "agent/privileges.h"
#include "agent/probe.h"
#include "agent/publisher.h"
#include "agent/recorder.h"
#include "agent/rollcall.h"
#include "agent/self.h"
#include "agent/signer.h"
#include "agent/syscalls.h"
#include "agent/tracer.h"
#include "base/clock.h"
#include "base/memory.h"

enum {
	PROBE_MS = 5000,
	FLUSH_MS = 5000,	    /* at the end; within a systemd stop and a pod's grace */
	SCAN_PERIOD_MAX_MS = 15000, /* a third of a key frame: updates are still updates */
	BATCH_EVENTS_MAX = 16384,
	BATCH_BYTES_MAX = 768 << 10,   /* below Kafka's default of 1 MiB a message */
	SCAN_NS_MAX = 5 * NS_PER_MS,   /* what a scan of some 10,000 sockets takes */
	CLOCK_NS_MAX = NS_PER_MS / 10, /* from one look at the clocks to the next */
	CLOCK_TRIES = 4,
};
/* Without a loss: whatever was told of wrongly is told of no longer than this. */
#define ROLL_CALL_ANYWAY_NS (600 * NS_PER_S)
/* Run times of BPF programs are measured so long, so often: not in step with what happens once a
 * second. */
#define SAMPLE_NS	(300 * NS_PER_MS)
#define SAMPLE_EVERY_NS (6100 * NS_PER_MS) /* the budget counts on less than a window (10 s) */
/* Then the loop has a turn, before it goes on reading the ring: scrapes, timers, conntrack. */
#define DRAIN_SLICE_NS (10 * NS_PER_MS)

struct agent {
	const struct agent_options *options;
	const struct config_sources *sources;
	uv_loop_t loop;
	uv_timer_t tick_timer, scan_timer;
	uv_idle_t more; /* while the ring was not read to its end */
	uv_poll_t ring_poll;
	uv_signal_t interrupt, terminate;
	struct health *health;
	struct probe *probe;

	struct cgroup_mounts mounts;
	struct cgroups *cgroups;
	struct containers *containers;
	struct inspector *inspector;
	struct batch *batch;
	struct recorder *recorder;
	struct security *security;
	struct publisher *publisher;
	struct signer *signer;
	struct tracer *tracer;
	struct nat *nat;
	struct natwatch *natwatch;   /* NULL: off */
	uint64_t nat_lost_before;    /* by those closed before this one */
	struct preflight *preflight; /* what is missing here, and more as it is found */
	struct notify *notify;
	uint64_t capabilities; /* at the start */
	struct self *self;
	struct drops *drops; /* NULL: off */
	uint32_t *scope;
	uint32_t scope_count;
	char *brokers; /* joined by commas; lent to the publisher */

	struct batch_sender sender;
	uint64_t boottime_ns, realtime_ns;
	uint64_t scan_cpu_ns; /* of one scan, smoothed */
	struct rollcall roll_call, process_call, cgroup_call;
	uint64_t tick_ns, ticked_ns; /* the interval; the last one, or when it was set */
	uv_work_t cgroups_work;
	struct cgroup_list *cgroups_found; /* by the walk that runs in the pool */
	uv_work_t sample_work;
	uint64_t sample_due_ns;	 /* its end, while one is taken */
	bool sampling, enabling; /* run times are measured, or will be */
	int stats_fd;
	struct claims claims;
	uv_work_t claims_work;
	bool switching; /* claims, in the pool */
	int attach_error;
	struct absence absence;
	bool absent; /* sockets whose end nobody told */
	struct metrics metrics;
};

static int complain(const char *what, int error)
{
	fprintf(stderr, "millrace-agent: %s: %s\n", what, strerror(-error));
	return error;
}

/* The pair is of one moment, or all times of a batch would be off: who is put off the processor
 * between the two looks again. */
static void read_clock(struct agent *agent)
{
	int tries = CLOCK_TRIES;
	do {
		agent->boottime_ns = clock_ns(CLOCK_BOOTTIME);
		agent->realtime_ns = clock_ns(CLOCK_REALTIME);
	} while (clock_ns(CLOCK_BOOTTIME) - agent->boottime_ns > CLOCK_NS_MAX && --tries);
	recorder_clock(agent->recorder, agent->boottime_ns, agent->realtime_ns);
}

/* What never reached a batch. Read before each seal: the header tells it. */
static void count_losses(struct agent *agent)
{
	uint64_t *lost = agent->metrics.losses.events;
	tracer_lost(agent->tracer, lost);
	struct recorder_stats stats = recorder_stats(agent->recorder);
	lost[LOSS_SOCKETS] = stats.sockets_refused;
	lost[LOSS_PROCESSES] = stats.processes_refused;
	lost[LOSS_LISTENERS] = stats.listeners_refused;
	lost[LOSS_LOOKUPS] = stats.lookups.evicted;
	if (agent->drops)
		agent->metrics.drops = drops_stats(agent->drops);
	lost[LOSS_DROPS] = agent->metrics.drops.missed;
	if (agent->natwatch)
		agent->metrics.natwatch = natwatch_stats(agent->natwatch);
	lost[LOSS_NETLINK] = agent->nat_lost_before + agent->metrics.natwatch.lost;
	lost[LOSS_SPOOL] = publisher_stats(agent->publisher).spool.dropped_events;
	agent->sender.dropped_ring = losses_ring(&agent->metrics.losses);
	agent->sender.dropped_netlink = lost[LOSS_NETLINK];
	agent->sender.dropped_spool = lost[LOSS_SPOOL];
}

/* Of sockets and of listeners to a roll call. */
static uint64_t lost_answers(const struct agent *agent)
{
	return agent->metrics.losses.events[MR_UPDATE] + agent->metrics.losses.events[MR_LISTEN];
}

/* Whether all answers to it were read just now. */
static bool is_answered(struct agent *agent, const struct rollcall *call)
{
	if (!call->waiting || !tracer_passed(agent->tracer, call->mark))
		return false;
	count_losses(agent);
	return true;
}

static void end_calls(struct agent *agent)
{
	struct rollcall *sockets = &agent->roll_call, *processes = &agent->process_call;
	if (is_answered(agent, sockets) && rollcall_end(sockets, lost_answers(agent)))
		recorder_roll_called(agent->recorder, sockets->began_ns);
	if (is_answered(agent, processes) &&
	    rollcall_end(processes, agent->metrics.losses.events[MR_TASK]))
		recorder_process_called(agent->recorder, processes->began_ns);
}

static void on_more(uv_idle_t *idle);

/* Whether the ring was read to its end; else the next turns of the loop go on. */
static bool drain(struct agent *agent)
{
	read_clock(agent);
	uint64_t waiting = tracer_ring_bytes(agent->tracer);
	if (waiting > agent->metrics.ring_peak_bytes)
		agent->metrics.ring_peak_bytes = waiting;
	bool whole = tracer_drain(agent->tracer, DRAIN_SLICE_NS);
	agent->metrics.records = tracer_records(agent->tracer);
	end_calls(agent);
	if (whole)
		uv_idle_stop(&agent->more);
	else if (!uv_is_closing((uv_handle_t *)&agent->more))
		uv_idle_start(&agent->more, on_more);
	return whole;
}

static void on_more(uv_idle_t *idle)
{
	drain(idle->data);
}

/* What is in the ring now; more may come all the time. */
static void drain_all(struct agent *agent)
{
	uint64_t mark = tracer_mark(agent->tracer);
	while (!drain(agent) && !tracer_passed(agent->tracer, mark))
		;
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
			     .zone = entry->zone,
			     .mark = entry->mark,
			     .netns = entry->netns,
			     .time_ns = agent->realtime_ns,
		     });
}

static void on_described(void *context, const char *id)
{
	struct agent *agent = context;
	read_clock(agent);
	recorder_described(agent->recorder, id);
}

static void on_dropped_packets(void *context, const struct batch_drop *drop, uint64_t cookie)
{
	struct agent *agent = context;
	recorder_drop(agent->recorder, drop, cookie);
}

static void on_ring(uv_poll_t *poll, int status, int events)
{
	(void)status, (void)events;
	drain(poll->data);
}

static void look_at_lateness(struct agent *agent)
{
	uint64_t now_ns = uv_hrtime(), due_ns = agent->ticked_ns + agent->tick_ns;
	if (now_ns > due_ns && now_ns - due_ns > agent->metrics.late_peak_ns)
		agent->metrics.late_peak_ns = now_ns - due_ns;
	agent->ticked_ns = now_ns;
}

static void detach_claims(uv_work_t *work)
{
	struct agent *agent = work->data;
	tracer_detach_claims(agent->tracer);
}

static void on_claims_detached(uv_work_t *work, int status)
{
	struct agent *agent = work->data;
	(void)status;
	agent->switching = false;
}

static void let_claims_go(struct agent *agent)
{
	agent->claims_work.data = agent;
	agent->switching = uv_queue_work(&agent->loop, &agent->claims_work, detach_claims,
					 on_claims_detached) == 0;
}

static void attach_claims(uv_work_t *work)
{
	struct agent *agent = work->data;
	agent->attach_error = tracer_attach_claims(agent->tracer);
}

static void on_claims_attached(uv_work_t *work, int status)
{
	struct agent *agent = work->data;
	agent->switching = false;
	if (!status && agent->attach_error)
		complain("the programs that see who sends and receives", agent->attach_error);
	claims_began(&agent->claims, uv_hrtime());
	if (tracer_take_claims(agent->tracer))
		let_claims_go(agent);
}

static void look_for_owners(struct agent *agent, uint32_t guesses)
{
	if (agent->switching || !claims_due(&agent->claims, uv_hrtime(), guesses))
		return;
	agent->claims_work.data = agent;
	agent->switching = uv_queue_work(&agent->loop, &agent->claims_work, attach_claims,
					 on_claims_attached) == 0;
}

static void rest_claims(struct agent *agent)
{
	if (agent->switching || !claims_over(&agent->claims, uv_hrtime()))
		return;
	tracer_give_claims(agent->tracer);
	let_claims_go(agent);
}

static void enable_stats(uv_work_t *work)
{
	struct agent *agent = work->data;
	agent->stats_fd = tracer_enable_stats();
}

static void on_stats_enabled(uv_work_t *work, int status)
{
	struct agent *agent = work->data;
	bool failed = status || agent->stats_fd < 0;

	agent->enabling = false;
	agent->sample_due_ns = uv_hrtime() + (failed ? SAMPLE_EVERY_NS : SAMPLE_NS);
	if (failed)
		return; /* the last sample's rate goes on */
	tracer_sample_begin(agent->tracer, agent->stats_fd);
	agent->sampling = true;
}

static void look_at_samples(struct agent *agent)
{
	if (agent->enabling || uv_hrtime() < agent->sample_due_ns ||
	    !tracer_measured(agent->tracer))
		return;
	agent->sample_due_ns = uv_hrtime() + SAMPLE_EVERY_NS - SAMPLE_NS;
	if (agent->sampling) {
		tracer_sample_end(agent->tracer);
		agent->sampling = false;
		return;
	}
	agent->sample_work.data = agent;
	agent->enabling = uv_queue_work(&agent->loop, &agent->sample_work, enable_stats,
					on_stats_enabled) == 0;
}

/* The ring needs no timer of its own: what came since the last tick goes into this one's batch, and
 * a ring that fills before wakes on_ring. */
static void on_tick(uv_timer_t *timer)
{
	struct agent *agent = timer->data;
	look_at_lateness(agent);
	drain(agent);
	rest_claims(agent);
	look_at_samples(agent);
	if (agent->drops)
		drops_tick(agent->drops, agent->boottime_ns);
	count_losses(agent);
	recorder_tick(agent->recorder);
	if (agent->nat)
		nat_again(agent->nat, recorder_cycle_ticks(agent->recorder));
	inspector_tick(agent->inspector, agent->boottime_ns);
	publisher_poll(agent->publisher, agent->boottime_ns);
	notify_alive(agent->notify, agent->boottime_ns);
}

/* The period at which scans take their share of a core, at least what is configured. */
static uint64_t scan_period_ms(const struct agent *agent)
{
	uint64_t period = self_scan_period_ns(agent->self) / NS_PER_MS;
	double for_share =
		(double)agent->scan_cpu_ns / NS_PER_MS / (agent->options->scan_cpu_percent / 100);
	if (for_share > SCAN_PERIOD_MAX_MS)
		return SCAN_PERIOD_MAX_MS;
	return for_share > (double)period ? (uint64_t)for_share : period;
}

/* Lost openings and ends leave slots and sockets that do not agree: after a loss, or when a scan
 * finds too few, every socket answers once, and slots that no socket answers for are gone. The
 * first scan is such a roll call: a socket may have ended while it was listed. */
static void scan(struct agent *agent)
{
	struct rollcall *call = &agent->roll_call;
	bool whole = drain(agent);
	count_losses(agent);
	uint64_t lost =
		agent->metrics.losses.events[MR_OPEN] + agent->metrics.losses.events[MR_CLOSE] +
		agent->metrics.losses.events[MR_FAIL] + agent->metrics.losses.events[MR_LISTEN];
	/* What is in the ring before is no answer. */
	bool roll_call = whole && rollcall_due(call, agent->boottime_ns, lost, agent->absent);
	uint64_t began_ns = agent->boottime_ns, unanswered = lost_answers(agent);
	struct recorder_stats before = recorder_stats(agent->recorder);
	if (roll_call)
		recorder_roll_call(agent->recorder);
	struct tracer_scanned scanned;
	int error = tracer_scan(agent->tracer, roll_call, &scanned);
	agent->scan_cpu_ns = (agent->scan_cpu_ns * 3 + scanned.cpu_ns) / 4;
	agent->metrics.scans++;
	if (error) {
		agent->metrics.scans_failed++;
		return;
	}
	look_for_owners(agent, scanned.guesses);
	if (roll_call) {
		rollcall_begin(call, began_ns, lost, unanswered);
		call->mark = tracer_mark(agent->tracer);
	}
	if (drain(agent) && whole)
		agent->absent =
			absence_push(&agent->absence, before.connections, scanned.connections,
				     recorder_stats(agent->recorder).closed - before.closed);
}

/* Likewise of processes: a lost start is listed, and who is not listed is gone. */
static void list_processes(struct agent *agent)
{
	const uint64_t *counts = agent->metrics.losses.events;
	uint64_t lost = counts[MR_FORK] + counts[MR_EXEC] + counts[MR_EXIT] + counts[MR_TASK] +
			counts[MR_MOVE];
	struct rollcall *call = &agent->process_call;
	if (!agent->options->processes || !rollcall_due(call, agent->boottime_ns, lost, false) ||
	    !drain(agent))
		return;
	uint64_t began_ns = agent->boottime_ns, unanswered = counts[MR_TASK];
	recorder_process_call(agent->recorder);
	if (tracer_list_processes(agent->tracer))
		return;
	rollcall_begin(call, began_ns, lost, unanswered);
	call->mark = tracer_mark(agent->tracer);
	drain(agent);
}

static void walk_cgroups(uv_work_t *work)
{
	struct agent *agent = work->data;
	agent->cgroups_found = cgroup_list_read(agent->mounts.v2[0] ? agent->mounts.v2 : NULL,
						agent->mounts.v1[0] ? agent->mounts.v1 : NULL,
						(uint32_t)agent->options->cgroups_max);
}

static void on_walked(uv_work_t *work, int status)
{
	struct agent *agent = work->data;
	rollcall_end(&agent->cgroup_call, 0);
	if (status)
		return;
	read_clock(agent);
	cgroups_take(agent->cgroups, agent->cgroups_found, agent->cgroup_call.began_ns,
		     agent->boottime_ns);
	cgroup_list_free(agent->cgroups_found);
}

static void list_cgroups(struct agent *agent)
{
	const uint64_t *counts = agent->metrics.losses.events;
	uint64_t lost = counts[MR_CGROUP] + counts[MR_CGROUP_END];
	if (!rollcall_due(&agent->cgroup_call, agent->boottime_ns, lost, false))
		return;
	agent->cgroups_work.data = agent;
	if (uv_queue_work(&agent->loop, &agent->cgroups_work, walk_cgroups, on_walked) == 0)
		rollcall_begin(&agent->cgroup_call, agent->boottime_ns, lost, 0);
}

static void on_scan(uv_timer_t *timer)
{
	struct agent *agent = timer->data;
	scan(agent);
	list_processes(agent);
	list_cgroups(agent);
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
	metrics->cgroups = cgroups_stats(agent->cgroups);
	metrics->containers = containers_stats(agent->containers);
	metrics->inspector = inspector_stats(agent->inspector);
	metrics->publisher = publisher_stats(agent->publisher);
	metrics->security = security_stats(agent->security);
	metrics->signer = signer_stats(agent->signer);
	metrics->cost = tracer_cost(agent->tracer);
	metrics->ring_bytes = tracer_ring_bytes(agent->tracer);
	metrics->scan_period_ms = agent->sender.scan_period_ms;
	metrics->self = self_stats(agent->self);
	if (agent->nat)
		metrics->nat = nat_stats(agent->nat);
}

static int answer(void *context, const char *path, FILE *body)
{
	struct agent *agent = context;
	if (strcmp(path, "/metrics") == 0) {
		fill_metrics(agent);
		metrics_write(&agent->metrics, agent->options->node, body);
		agent->metrics.ring_peak_bytes = agent->metrics.late_peak_ns = 0;
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
	bool sees = self_sees(agent->self, body);
	bool connected = publisher_stats(agent->publisher).connected;
	if (!connected)
		fprintf(body, "no batch was delivered to Kafka yet, or the broker is away\n");
	else if (sees)
		fprintf(body, "ok\n");
	return connected && sees ? 200 : 503;
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

/* A call that starts threads, which are not to have our capabilities. */
static int call_reduced(const struct agent *agent, int (*call)(void *), void *argument)
{
	return agent->options->drop_capabilities ? privileges_call(call, argument) : call(argument);
}

struct publisher_call {
	struct publisher **out;
	struct publisher_options options;
	char *why;
};

static int make_publisher(void *argument)
{
	struct publisher_call *call = argument;
	return publisher_new(call->out, &call->options, call->why);
}

static void on_trouble(void *context, const char *sentence)
{
	(void)context;
	fprintf(stderr, "millrace-agent: kafka: %s\n", sentence);
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
	agent->security = security_new(&options->kafka, on_trouble, agent);
	char why[PUBLISHER_WHY_BYTES];
	struct publisher_call call = {
		.out = &agent->publisher,
		.options =
			{
				.brokers = agent->brokers,
				.topic = options->topic,
				.key = options->node,
				.spool_bytes_max = options->spool_bytes,
				.security = agent->security,
			},
		.why = why,
	};
	snprintf(why, sizeof(why), "kafka: cannot start its thread");
	int error = call_reduced(agent, make_publisher, &call);
	if (error)
		fprintf(stderr, "millrace-agent: %s\n", why);
	return error;
}

static int open_recorder(struct agent *agent)
{
	const struct agent_options *options = agent->options;
	int error = signer_new(&agent->signer, &(struct signer_options){
						       .loop = &agent->loop,
						       .options = options,
						       .sources = agent->sources,
					       });
	if (error)
		return error;
	agent->batch = batch_new(&(struct batch_options){
		.events_max = BATCH_EVENTS_MAX,
		.bytes_max = BATCH_BYTES_MAX,
		.key = signer_key(agent->signer),
		.scan_ns = SCAN_NS_MAX,
	});
	signer_follow(agent->signer, agent->batch, &agent->sender);
	cgroup_mounts_read("/proc/self/mounts", &agent->mounts);
	agent->containers = containers_new((uint32_t)options->cgroups_max);
	agent->cgroups = cgroups_new(&(struct cgroups_options){
		.v2_mount = agent->mounts.v2[0] ? agent->mounts.v2 : NULL,
		.v1_mount = agent->mounts.v1[0] ? agent->mounts.v1 : NULL,
		.containers = agent->containers,
		.cgroups_max = (uint32_t)options->cgroups_max,
		.prefixes = (const char *const *)options->scope_cgroups.items,
		.prefixes_count = (uint32_t)options->scope_cgroups.count,
	});
	agent->recorder = recorder_new(&(struct recorder_options){
		.batch = agent->batch,
		.cgroups = agent->cgroups,
		.containers = agent->containers,
		.sockets_max = (uint32_t)options->sockets_max,
		.processes_max = (uint32_t)options->processes_max,
		.process_text_bytes = options->process_text_bytes,
		.lookups_max = options->dns ? (uint32_t)options->lookups_max : 0,
		.lookup_timeout_ns = options->dns_timeout_ns,
		.tick_ns = options->batch_interval_ns,
		.key_frame_ns = options->key_frame_ns,
		.sender = &agent->sender,
		.sealed = on_sealed,
		.context = agent,
	});
	return 0;
}

/* Said once, here, and kept as data. */
static void miss(struct agent *agent, const char *sentence)
{
	if (preflight_add(agent->preflight, sentence))
		fprintf(stderr, "millrace-agent: %s\n", sentence);
}

static void miss_lines(struct agent *agent, const char *lines)
{
	char sentence[FINDING_BYTES];
	while (*lines) {
		size_t length = strcspn(lines, "\n");
		snprintf(sentence, sizeof(sentence), "%.*s", (int)length, lines);
		miss(agent, sentence);
		lines += length + (lines[length] != 0);
	}
}

static int open_tracer(struct agent *agent)
{
	const uint16_t *sni_ports = agent->options->sni ? agent->options->sni_ports : NULL;
	char why[TRACER_WHY_BYTES];
	int error = tracer_open(&agent->tracer,
				&(struct tracer_options){
					.scoped = agent->scope_count > 0,
					.netns = agent->scope,
					.netns_count = agent->scope_count,
					.cgroup2 = agent->mounts.v2[0] ? agent->mounts.v2 : NULL,
					.processes = agent->options->processes,
					.drops = agent->options->drops,
					.drop_rows_max = (uint32_t)agent->options->drops_max,
					.udp = agent->options->udp,
					.dns = agent->options->dns,
					.sni_ports = sni_ports,
					.udp_peers_max = (uint32_t)agent->options->udp_peers_max,
					.run_stats = agent->options->run_stats,
					.record = on_record,
					.context = agent,
				},
				why);
	if (error) {
		fprintf(stderr, "millrace-agent: %s\n", why);
		return error;
	}
	miss_lines(agent, tracer_missing(agent->tracer));
	return 0;
}

static int open_drops(struct agent *agent)
{
	if (!tracer_drops(agent->tracer))
		return 0;
	int error =
		drops_new(&agent->drops, &(struct drops_options){
						 .object = tracer_drops(agent->tracer),
						 .reasons = tracer_reasons(agent->tracer),
						 .rows_max = (uint32_t)agent->options->drops_max,
						 .told = on_dropped_packets,
						 .context = agent,
					 });
	return error ? complain("cannot read the maps of dropped packets", error) : 0;
}

static void close_handle(uv_handle_t *handle)
{
	if (handle->type != UV_UNKNOWN_HANDLE && !uv_is_closing(handle))
		uv_close(handle, NULL);
}

static void stop(struct agent *agent)
{
	health_close(agent->health);
	self_close(agent->self);
	probe_close(agent->probe);
	signer_stop(agent->signer);
	natwatch_close(agent->natwatch);
	agent->natwatch = NULL;
	inspector_close(agent->inspector);
	agent->inspector = NULL;
	close_handle((uv_handle_t *)&agent->tick_timer);
	close_handle((uv_handle_t *)&agent->scan_timer);
	close_handle((uv_handle_t *)&agent->more);
	close_handle((uv_handle_t *)&agent->ring_poll);
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

static void open_inspector(struct agent *agent)
{
	const struct agent_options *options = agent->options;
	agent->inspector = inspector_open(&(struct inspector_options){
		.loop = &agent->loop,
		.containers = agent->containers,
		.docker_socket = options->docker_socket,
		.ecs_endpoint = options->ecs_endpoint,
		.roots =
			{
				.docker = options->docker_root,
				.containerd = options->containerd_root,
				.storage = options->storage_root,
				.storage_run = options->storage_run,
				.users = "/etc/passwd",
				.labels =
					{
						(const char *const *)
							options->container_labels.items,
						options->container_labels.count,
					},
			},
		.described = on_described,
		.context = agent,
	});
}

static void open_probe(struct agent *agent)
{
	/* its connections would be outside of a scope, or not be known as ours */
	if (agent->scope_count || !preflight_pids_are_the_hosts(""))
		return;
	int error =
		probe_open(&agent->probe, &agent->loop, agent->options->self_probe ? PROBE_MS : 0);
	if (error)
		complain("the self-probe cannot listen on 127.0.0.1", error);
	else
		recorder_probe_port(agent->recorder, probe_port(agent->probe));
}

/* Without conntrack the rest is as good. */
static int open_natwatch(struct agent *agent)
{
	if (!(agent->capabilities & CAPABILITY(NET_ADMIN)))
		return -EPERM; /* pre-flight told of the missing capability */
	agent->nat = nat_new(&(struct nat_options){
		.entries_max = (uint32_t)agent->options->nat_max,
		.told = on_nat,
		.context = agent,
	});
	int error =
		natwatch_open(&agent->natwatch,
			      &(struct natwatch_options){
				      .loop = &agent->loop,
				      .sweep_ns = agent->options->key_frame_ns,
				      .buffer_bytes = (uint32_t)agent->options->nat_buffer_bytes,
				      .scope = agent->scope,
				      .scope_count = agent->scope_count,
				      .nat = agent->nat,
			      });
	if (!error)
		return 0;
	nat_free(agent->nat);
	agent->nat = NULL;
	miss(agent, "NAT off: conntrack cannot be subscribed to: the module nf_conntrack_netlink "
		    "is needed");
	return error;
}

static int on_nat_switched(void *context, bool on)
{
	struct agent *agent = context;
	if (on)
		return open_natwatch(agent);
	count_losses(agent);
	agent->nat_lost_before += agent->metrics.natwatch.lost;
	agent->metrics.natwatch = (struct natwatch_stats){0};
	agent->metrics.nat = (struct nat_stats){0};
	natwatch_close(agent->natwatch);
	nat_free(agent->nat);
	agent->natwatch = NULL;
	agent->nat = NULL;
	return 0;
}

static void on_batch_interval(void *context, uint64_t interval_ns)
{
	struct agent *agent = context;
	agent->tick_ns = interval_ns;
	agent->ticked_ns = uv_hrtime();
	uv_timer_start(&agent->tick_timer, on_tick, interval_ns / NS_PER_MS,
		       interval_ns / NS_PER_MS);
}

/* Its clients' threads are as reduced as the agent will be. */
static int open_self(void *argument)
{
	struct agent *agent = argument;
	agent->self = self_open(&(struct self_options){
		.loop = &agent->loop,
		.agent = agent->options,
		.tracer = agent->tracer,
		.recorder = agent->recorder,
		.cgroups = agent->cgroups,
		.sender = &agent->sender,
		.probe = agent->probe,
		.preflight = agent->preflight,
		.nat = agent->natwatch,
		.containers = agent->mounts.v2[0] || agent->mounts.v1[0],
		.brokers = agent->brokers,
		.security = agent->security,
		.signer = agent->signer,
		.losses = &agent->metrics.losses,
		.nat_switched = on_nat_switched,
		.batch_interval = on_batch_interval,
		.context = agent,
	});
	return 0;
}

static void do_nothing(uv_work_t *work)
{
	(void)work;
}

static void on_nothing(uv_work_t *work, int status)
{
	(void)work, (void)status;
}

/* libuv starts its pool's threads with the first job. */
static int start_pool(void *unused)
{
	(void)unused;
	uv_loop_t loop;
	uv_work_t work;
	int error = uv_loop_init(&loop);
	if (error)
		return error;
	error = uv_queue_work(&loop, &work, do_nothing, on_nothing);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	return error;
}

/* Before the first thread. */
static int begin_privileges(struct agent *agent)
{
	agent->capabilities = privileges_now();
	if (syscalls_begin((enum syscalls_mode)agent->options->seccomp))
		miss(agent,
		     "this kernel has no seccomp (CONFIG_SECCOMP_FILTER): the agent's system "
		     "calls are not limited");
	if (!agent->options->drop_capabilities)
		return 0;
	int error = keeper_open(PRIVILEGES_KEPT);
	if (!error)
		error = call_reduced(agent, start_pool, NULL);
	return error ? complain("cannot start the threads that have no capabilities", error) : 0;
}

/* All is open and attached: from here on the agent cannot do more than its work takes. */
static int end_privileges(struct agent *agent)
{
	int error = agent->options->drop_capabilities ? privileges_reduce(privileges_running()) : 0;
	if (error)
		return complain("cannot drop the capabilities", error);
	error = syscalls_limit((enum syscalls_mode)agent->options->seccomp);
	return error ? complain("cannot limit the system calls (set security.seccomp to off)",
				error)
		     : 0;
}

static void start_handles(struct agent *agent)
{
	uv_timer_init(&agent->loop, &agent->tick_timer);
	uv_timer_init(&agent->loop, &agent->scan_timer);
	uv_idle_init(&agent->loop, &agent->more);
	uv_poll_init(&agent->loop, &agent->ring_poll, tracer_fd(agent->tracer));
	uv_signal_init(&agent->loop, &agent->interrupt);
	uv_signal_init(&agent->loop, &agent->terminate);
	agent->tick_timer.data = agent->scan_timer.data = agent->more.data = agent;
	agent->ring_poll.data = agent;
	agent->interrupt.data = agent->terminate.data = agent;
	on_batch_interval(agent, agent->options->batch_interval_ns);
	uv_timer_start(&agent->scan_timer, on_scan, agent->options->scan_period_ns / NS_PER_MS, 0);
	uv_poll_start(&agent->ring_poll, UV_READABLE, on_ring);
	uv_signal_start(&agent->interrupt, on_signal, SIGINT);
	uv_signal_start(&agent->terminate, on_signal, SIGTERM);
}

/* Nobody after us can tell: batches that the spool dropped since the last header, those that end
 * with us, and which events no batch ever held. */
static void tell_losses(const struct agent *agent)
{
	for (int loss = 0; loss < LOSS_SPOOL; loss++)
		if (agent->metrics.losses.events[loss])
			fprintf(stderr,
				"millrace-agent: %" PRIu64 " events of kind \"%s\" were lost "
				"(%s)\n",
				agent->metrics.losses.events[loss], loss_kind(loss),
				loss_place(loss));
	struct spool_stats spool = publisher_stats(agent->publisher).spool;
	if (spool.waiting + spool.sent)
		fprintf(stderr,
			"millrace-agent: the last %u batches with %" PRIu64
			" events were not delivered: no broker\n",
			spool.waiting + spool.sent, spool.events);
	if (spool.dropped_batches)
		fprintf(stderr,
			"millrace-agent: %" PRIu64 " batches with %" PRIu64
			" events were dropped from the spool\n",
			spool.dropped_batches, spool.dropped_events);
}

/* What was there before us, then the last batches at the end. */
static int run(struct agent *agent)
{
	int error = tracer_list(agent->tracer);
	if (error)
		return complain("cannot list the sockets and processes that are there", error);
	start_handles(agent);
	claims_init(&agent->claims, uv_hrtime());
	agent->sampling = tracer_measured(agent->tracer);
	agent->sample_due_ns = uv_hrtime() + SAMPLE_NS;
	drain_all(agent);
	fprintf(stderr, "millrace-agent: node %s, %u sockets and %u processes, events to %s\n",
		agent->options->node, recorder_stats(agent->recorder).sockets,
		recorder_stats(agent->recorder).processes, agent->options->topic);
	error = end_privileges(agent);
	if (error)
		return error;
	notify_ready(agent->notify);
	uv_run(&agent->loop, UV_RUN_DEFAULT);
	notify_stopping(agent->notify);
	drain_all(agent);
	if (agent->drops)
		drops_finish(agent->drops, agent->boottime_ns);
	count_losses(agent);
	self_tell(agent->self);
	recorder_seal(agent->recorder);
	publisher_flush(agent->publisher, FLUSH_MS);
	tell_losses(agent);
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
		error = open_drops(agent);
	if (!error)
		error = open_health(agent);
	if (error)
		return error;
	open_probe(agent);
	open_inspector(agent);
	read_clock(agent);
	cgroups_walk(agent->cgroups, agent->boottime_ns);
	if (agent->options->conntrack)
		open_natwatch(agent);
	return call_reduced(agent, open_self, agent);
}

static void tear_down(struct agent *agent)
{
	if (uv_loop_alive(&agent->loop))
		stop(agent);
	signer_stop(agent->signer);
	uv_run(&agent->loop, UV_RUN_DEFAULT);
	uv_loop_close(&agent->loop);
	drops_free(agent->drops);
	tracer_free(agent->tracer);
	nat_free(agent->nat);
	recorder_free(agent->recorder);
	self_free(agent->self);
	batch_free(agent->batch);
	signer_free(agent->signer);
	cgroups_free(agent->cgroups);
	containers_free(agent->containers);
	publisher_free(agent->publisher);
	security_free(agent->security);
	keeper_close();
	notify_free(agent->notify);
	free(agent->brokers);
	free(agent->scope);
	free(agent);
}

int agent_run(const struct agent_options *options, const struct config_sources *sources,
	      struct preflight *preflight)
{
	signal(SIGPIPE, SIG_IGN);
	struct agent *agent = memory_zeroed(1, sizeof(*agent));
	agent->options = options;
	agent->sources = sources;
	agent->preflight = preflight;
	agent->notify = notify_new();
	agent->roll_call.anyway_ns = ROLL_CALL_ANYWAY_NS;
	int error = begin_privileges(agent);
	uv_loop_init(&agent->loop);
	if (!error)
		error = set_up(agent);
	if (!error)
		error = run(agent);
	tear_down(agent);
	return error;
}
