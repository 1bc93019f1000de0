#include "daemon/backtest.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "api/http/json.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/real.h"
#include "config/value.h"
#include "daemon/encode.h"
#include "daemon/hindsight.h"
#include "daemon/keyring.h"
#include "daemon/monitor_text.h"
#include "daemon/monitors_api.h"
#include "daemon/networks.h"
#include "daemon/run.h"
#include "daemon/settings.h"
#include "daemon/stretch.h"
#include "daemon/tail.h"
#include "daemon/topics.h"
#include "kafka/security.h"
#include "rules/rulebook.h"

enum {
	DONE = 0,
	FAILED = 1,
	USAGE = 2,
	UNREACHABLE = 3,
	FILE_BYTES_MAX = 256 << 10, /* as of a request to the API */
	SILENT_MS = 30000,	    /* Kafka gives nothing for so long: it is away */
	LOOK_MS = 50,		    /* between two looks whether all is read */
	INCIDENTS_MAX = 4096,
	TOLD_MAX = 65536, /* a week of one each ten seconds */
	TIME_TEXT = 32,
	LOWEST_PRIORITY = 19,
};

/* What any monitor must know of clients. */
#define CLIENT_NS (120 * NS_PER_S)

/* Behind the range as much is read as it takes to tell of its last pane. */
#define BEHIND_NS (2 * NS_PER_S)

struct backtest {
	const struct backtest_options *options;
	const struct settings *settings;
	char *brokers;
	struct keyring *keyring;
	struct networks *networks;
	struct security *security;
	struct monitor *monitors;
	size_t count;
	struct rulebook *rules;	     /* of the topic, where a name is looked for */
	struct hindsight *hindsight; /* of task 0's worker while the pipeline runs */
	uint64_t lead_ns, begin_ns, watch_ns, from_ns;
	struct stretch *stretch;
	struct pipeline *pipeline;

	uv_loop_t loop;
	uv_timer_t timer;
	struct tail *tail;
	bool told_all;
	uv_mutex_t trouble_lock;
	char trouble[512]; /* Kafka's last */
};

/* --- what is said --- */

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
	va_list arguments;

	fputs("millraced: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
}

static const char *time_text(uint64_t ns, char text[TIME_TEXT])
{
	time_t seconds = (time_t)(ns / NS_PER_S);
	struct tm tm;
	size_t length;

	gmtime_r(&seconds, &tm);
	length = strftime(text, TIME_TEXT, "%Y-%m-%dT%H:%M:%S", &tm);
	if (ns % NS_PER_S)
		length += (size_t)snprintf(text + length, TIME_TEXT - length, ".%03u",
					   (unsigned)(ns % NS_PER_S / NS_PER_MS));
	snprintf(text + length, TIME_TEXT - length, "Z");
	return text;
}

static void on_trouble(void *context, const char *sentence)
{
	struct backtest *backtest = context;

	uv_mutex_lock(&backtest->trouble_lock);
	snprintf(backtest->trouble, sizeof(backtest->trouble), "%s", sentence);
	uv_mutex_unlock(&backtest->trouble_lock);
}

static int unreachable(struct backtest *backtest, const char *what)
{
	char trouble[sizeof(backtest->trouble)];

	uv_mutex_lock(&backtest->trouble_lock);
	memcpy(trouble, backtest->trouble, sizeof(trouble));
	uv_mutex_unlock(&backtest->trouble_lock);
	say("%s%s%s", what, trouble[0] ? ": " : "", trouble);
	return UNREACHABLE;
}

/* --- the monitors --- */

static int read_file(struct backtest *backtest)
{
	static struct config_error error;
	const char *file = backtest->options->file;
	bool is_stdin = strcmp(file, "-") == 0;
	size_t length;
	char *text;
	int rc = config_read_file(is_stdin ? "/dev/stdin" : file, FILE_BYTES_MAX, &text, &length);

	if (rc < 0) {
		say("%s cannot be read: %s", file, strerror(-rc));
		return FAILED;
	}
	backtest->monitors = monitor_text_read(is_stdin ? "stdin" : file, text, length,
					       &backtest->count, &error);
	free(text);
	if (backtest->monitors)
		return DONE;
	fprintf(stderr, "%s\n", error.text);
	return USAGE;
}

static bool find_monitor(struct backtest *backtest, const struct monitor *monitors, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(monitors[i].name, backtest->options->monitor) != 0)
			continue;
		backtest->monitors = memory_zeroed(1, sizeof(*backtest->monitors));
		backtest->monitors[0] = monitors[i];
		backtest->count = 1;
		return true;
	}
	return false;
}

/* One of the configuration is known now, one of millrace.rules when that is read. */
static int find_own(struct backtest *backtest)
{
	size_t count;
	struct monitor *own = settings_monitors(backtest->settings, &count);

	if (!find_monitor(backtest, own, count))
		backtest->rules = rulebook_new(own, count, MONITORS_API_MAX);
	free(own);
	return DONE;
}

static int find_rule(struct backtest *backtest)
{
	size_t count;
	const struct monitor *monitors;

	if (!backtest->rules)
		return DONE;
	monitors = rulebook_monitors(backtest->rules, &count);
	if (find_monitor(backtest, monitors, count))
		return DONE;
	say("no monitor of the name %s is in force; millrace monitors lists them, and -f FILE "
	    "takes one that is not",
	    backtest->options->monitor);
	return FAILED;
}

static uint64_t longer(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* What they tune are the built-in baselines. */
static int leave_baselines(struct backtest *backtest)
{
	size_t kept = 0;

	for (size_t i = 0; i < backtest->count; i++) {
		if (backtest->monitors[i].kind != MONITOR_BASELINE)
			backtest->monitors[kept++] = backtest->monitors[i];
		else
			say("%s is left out: kind: baseline tunes the built-in baselines, and a "
			    "backtest has none",
			    backtest->monitors[i].name);
	}
	if (backtest->count && !kept)
		return USAGE;
	backtest->count = kept;
	return DONE;
}

/* How long monitors watch before the range begins. */
static uint64_t lead_of(const struct backtest *backtest)
{
	uint64_t back_ns = 0, clear_ns = 0;

	for (size_t i = 0; i < backtest->count; i++) {
		back_ns = longer(back_ns, monitor_back_ns(&backtest->monitors[i]));
		clear_ns = longer(clear_ns, backtest->monitors[i].clear_ns);
	}
	return longer(CLIENT_NS, backtest->settings->reopen_ns) + back_ns + clear_ns;
}

/* From a start that knows nothing until all of them can speak. */
static uint64_t blind_of(const struct backtest *backtest)
{
	uint64_t blind_ns = 0;

	for (size_t i = 0; i < backtest->count; i++)
		blind_ns = longer(blind_ns, monitor_blind_ns(&backtest->monitors[i]));
	return blind_ns;
}

/* --- what was told, and the rules --- */

static void on_record(void *context, const struct tail_record *record)
{
	struct backtest *backtest = context;
	struct alert alert;
	struct rule rule;

	uv_timer_again(&backtest->timer);
	if (!record->value)
		return;
	if (strcmp(record->topic, TOPIC_ALERTS) == 0) {
		if (decode_alert(record->value, record->length, &alert) == 0)
			hindsight_told(backtest->hindsight, &alert);
	} else if (rule_accept(record->value, record->length, keyring_keys(backtest->keyring),
			       &rule, NULL)) {
		rulebook_take(backtest->rules, &rule, real_ns());
	}
}

static void end_tail(struct backtest *backtest)
{
	tail_close(backtest->tail);
	uv_close((uv_handle_t *)&backtest->timer, NULL);
}

static void on_told_all(void *context)
{
	struct backtest *backtest = context;

	backtest->told_all = true;
	end_tail(backtest);
}

static void on_silence(uv_timer_t *timer)
{
	end_tail(timer->data);
}

static int read_topics(struct backtest *backtest)
{
	static const char *const alerts[] = {TOPIC_ALERTS, NULL};
	static const char *const both[] = {TOPIC_RULES, TOPIC_ALERTS, NULL};
	const struct tail_options options = {.loop = &backtest->loop,
					     .brokers = backtest->brokers,
					     .security = backtest->security,
					     .topics = backtest->rules ? both : alerts,
					     .context = backtest,
					     .record = on_record,
					     .caught_up = on_told_all,
					     .trouble = on_trouble};
	char error[512];

	backtest->tail = tail_new(&options, error, sizeof(error));
	if (!backtest->tail) {
		say("kafka: %s", error);
		return FAILED;
	}
	uv_timer_init(&backtest->loop, &backtest->timer);
	backtest->timer.data = backtest;
	uv_timer_start(&backtest->timer, on_silence, SILENT_MS, SILENT_MS);
	uv_run(&backtest->loop, UV_RUN_DEFAULT);
	if (backtest->told_all)
		return find_rule(backtest);
	return unreachable(backtest, "Kafka does not give " TOPIC_ALERTS);
}

/* --- the log --- */

static int open_log(struct backtest *backtest)
{
	const struct settings *settings = backtest->settings;
	const struct stretch_options options = {.brokers = backtest->brokers,
						.security = backtest->security,
						.group = settings->kafka_group,
						.keys = keyring_keys(backtest->keyring),
						.partitions = (uint32_t)settings->tasks,
						.lateness_ns = settings->lateness_ns,
						.accept_create_time = settings->kafka_create_time,
						.fetched_mib = (uint32_t)settings->fetched_mib,
						.begin_ns = backtest->begin_ns,
						.stop_ns = backtest->options->to_ns +
							   settings->lateness_ns + BEHIND_NS,
						.timeout_ms = SILENT_MS,
						.context = backtest,
						.trouble = on_trouble};
	char error[512], begin[TIME_TEXT];
	int rc;

	backtest->stretch = stretch_open(&options, &rc, error, sizeof(error));
	if (backtest->stretch)
		return DONE;
	if (rc == -EAGAIN)
		return unreachable(backtest, error);
	say("%s%s%s", error, rc == -ENODATA ? " since " : "",
	    rc == -ENODATA ? time_text(backtest->begin_ns, begin) : "");
	return FAILED;
}

/* Of a log whose beginning retention took, the tasks must learn what there is first; one that was
 * made later has all from its first record on. */
static int settle_range(struct backtest *backtest)
{
	const struct backtest_options *options = backtest->options;
	struct stretch_found found = stretch_found(backtest->stretch);
	char from[TIME_TEXT], first[TIME_TEXT];

	backtest->watch_ns = options->from_ns - backtest->lead_ns;
	backtest->from_ns = longer(options->from_ns, found.first_ns);
	if (found.cut) {
		backtest->watch_ns =
			longer(backtest->watch_ns, found.first_ns + backtest->settings->keep_ns);
		backtest->from_ns =
			longer(options->from_ns, backtest->watch_ns + blind_of(backtest));
	}
	if (backtest->from_ns >= options->to_ns) {
		say(TOPIC_EVENTS " begins at %s, so of a time before %s nothing can be said",
		    time_text(found.first_ns, first), time_text(backtest->from_ns, from));
		return FAILED;
	}
	if (backtest->from_ns > options->from_ns)
		say(TOPIC_EVENTS " begins at %s: what follows is of %s on, not of --from",
		    time_text(found.first_ns, first), time_text(backtest->from_ns, from));
	else if (found.cut)
		say(TOPIC_EVENTS " begins at %s: what began before --from may be missing",
		    time_text(found.first_ns, first));
	else
		say("reading " TOPIC_EVENTS " from %s on, so that at --from all is known and "
		    "windows are full",
		    time_text(longer(backtest->begin_ns, found.first_ns), first));
	return DONE;
}

/* --- the pipeline --- */

static void on_flows(void *context, uint32_t task, const struct flow *flows, size_t count,
		     const struct names *names)
{
	(void)context, (void)task, (void)flows, (void)count, (void)names;
}

static void on_rollups(void *context, uint32_t task, const struct rollup *rollups, size_t count,
		       const struct names *names)
{
	(void)context, (void)task, (void)rollups, (void)count, (void)names;
}

/* All are of task 0. */
static void on_alerts(void *context, uint32_t task, const struct alert *alerts, size_t count)
{
	struct backtest *backtest = context;

	(void)task;
	for (size_t i = 0; i < count; i++)
		hindsight_found(backtest->hindsight, &alerts[i]);
}

static void on_baselines(void *context, uint32_t task, const struct baseline_record *records,
			 size_t count, const struct names *names)
{
	(void)context, (void)task, (void)records, (void)count, (void)names;
}

/* The tasks count them. */
static void on_deadletter(void *context, uint32_t task, const struct mirror_record *record,
			  enum mirror_reason reason, const char *detail, const char *node)
{
	(void)context, (void)task, (void)record, (void)reason, (void)detail, (void)node;
}

/* The tasks of millraced, but for what watches: neither baselines nor burn rates nor what the log
 * says of monitors. */
static struct pipeline *make_pipeline(struct backtest *backtest)
{
	const struct settings *settings = backtest->settings;
	const uint32_t tasks = (uint32_t)settings->tasks;
	uint64_t *known = memory_zeroed(tasks, sizeof(*known));
	struct pipeline_options options = {
		.workers = run_workers(settings, tasks),
		.task = run_task_options(settings, backtest->keyring, backtest->networks,
					 backtest->monitors, backtest->count),
		.owned = task_set_all(tasks),
		.source = stretch_source(backtest->stretch),
		.known = known};
	struct pipeline *pipeline;

	options.task.rules_max = 0;
	options.task.anomaly.baselines = false;
	options.task.anomaly.objective = 0;
	options.task.sinks = (struct task_sinks){.context = backtest,
						 .flows = on_flows,
						 .rollups = on_rollups,
						 .alerts = on_alerts,
						 .baselines = on_baselines,
						 .deadletter = on_deadletter};
	for (uint32_t i = 0; i < tasks; i++)
		known[i] = pane_of(backtest->watch_ns) - 1;
	pipeline = pipeline_new(&options);
	free(known);
	return pipeline;
}

/* For people alone. */
static void show_progress(const struct backtest *backtest)
{
	uint64_t read_ns = stretch_read_ns(backtest->stretch);
	uint64_t whole_ns = backtest->options->to_ns - backtest->begin_ns;
	char text[TIME_TEXT];

	if (!isatty(STDERR_FILENO) || read_ns < backtest->begin_ns)
		return;
	fprintf(stderr, "\r%s, %3" PRIu64 " %%  ", time_text(read_ns - read_ns % NS_PER_S, text),
		(read_ns - backtest->begin_ns) * 100 / whole_ns);
}

static void end_progress(void)
{
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}

/* Whoever read the answer has left. */
static bool is_alone(void)
{
	struct pollfd out = {.fd = STDOUT_FILENO};

	return poll(&out, 1, 0) > 0 && (out.revents & POLLERR);
}

static int wait_for_end(struct backtest *backtest)
{
	uint64_t steps = 0, idle_ms = 0, looks = 0;

	while (!stretch_over(backtest->stretch)) {
		uint64_t now = stretch_steps(backtest->stretch);

		idle_ms = now == steps ? idle_ms + LOOK_MS : 0;
		steps = now;
		if (idle_ms >= SILENT_MS || is_alone())
			break;
		if (looks++ % (1000 / LOOK_MS) == 0)
			show_progress(backtest);
		uv_sleep(LOOK_MS);
	}
	end_progress();
	if (stretch_stats(backtest->stretch).astray) {
		say("retention took records of " TOPIC_EVENTS " before they were read; ask for a "
		    "later --from");
		return FAILED;
	}
	if (idle_ms >= SILENT_MS)
		return unreachable(backtest, "Kafka gives nothing more of " TOPIC_EVENTS);
	if (stretch_over(backtest->stretch))
		return DONE;
	say("nobody reads the answer any more");
	return FAILED;
}

static int run_pipeline(struct backtest *backtest)
{
	int rc, status;

	backtest->pipeline = make_pipeline(backtest);
	rc = pipeline_start(backtest->pipeline);
	if (rc) {
		say("the worker threads could not be started: %s", uv_strerror(rc));
		return FAILED;
	}
	status = wait_for_end(backtest);
	pipeline_stop(backtest->pipeline);
	return status;
}

/* --- what comes of it --- */

struct sums {
	uint64_t deadletters[MIRROR_REASONS];
	uint64_t unwatched, suppressed;
};

static struct sums sum_up(const struct backtest *backtest)
{
	struct sums sums = {0};

	for (uint32_t i = 0; i < backtest->settings->tasks; i++) {
		struct task_stats stats = task_stats(pipeline_task(backtest->pipeline, i));

		for (int reason = 0; reason < MIRROR_REASONS; reason++)
			sums.deadletters[reason] += stats.mirror.deadletters[reason];
		sums.unwatched += stats.anomaly.unwatched;
		sums.suppressed += stats.anomaly.suppressed + stats.incidents.unlisted;
	}
	return sums;
}

/* False: none was read, so nothing is known. */
static bool tell_sums(const struct backtest *backtest, const struct sums *sums)
{
	const uint64_t records = stretch_records(backtest->stretch);
	uint64_t refused = 0;

	for (int reason = 0; reason < MIRROR_REASONS; reason++) {
		if (!sums->deadletters[reason])
			continue;
		refused += sums->deadletters[reason];
		say("%" PRIu64 " of %" PRIu64 " records were not read: %s%s",
		    sums->deadletters[reason], records,
		    mirror_reason_name((enum mirror_reason)reason),
		    reason == MIRROR_UNAUTHENTICATED
			    ? "; the keys of this configuration are not those of the log"
			    : "");
	}
	if (sums->unwatched || sums->suppressed)
		say("%" PRIu64 " edges were watched through their servers alone and %" PRIu64
		    " episodes left out: limits.edges, limits.episodes",
		    sums->unwatched, sums->suppressed);
	if (stretch_stats(backtest->stretch).wrong_time)
		say("records of " TOPIC_EVENTS " carry their producers' time: set "
		    "message.timestamp.type=LogAppendTime, or kafka.accept_create_time");
	return refused < records;
}

static void put_number(struct json *json, const char *name, uint64_t value)
{
	json_key(json, name);
	json_uint(json, value);
}

static int print(struct backtest *backtest)
{
	const uint64_t end_ns = stretch_end_ns(backtest->stretch);
	const uint64_t to_ns =
		end_ns < backtest->options->to_ns ? end_ns : backtest->options->to_ns;
	const struct sums sums = sum_up(backtest);
	char end[TIME_TEXT];
	struct json json;
	const char *text;
	size_t size;

	if (!tell_sums(backtest, &sums))
		return FAILED;
	if (to_ns <= backtest->from_ns) {
		say(TOPIC_EVENTS " ends at %s: of a later time nothing can be said",
		    time_text(end_ns, end));
		return FAILED;
	}
	if (to_ns < backtest->options->to_ns)
		say(TOPIC_EVENTS " ends at %s: what follows is up to then, not up to --to",
		    time_text(end_ns, end));
	hindsight_finish(backtest->hindsight, backtest->from_ns, to_ns);
	json_init(&json);
	json_object_begin(&json);
	put_number(&json, "from_ns", backtest->from_ns);
	put_number(&json, "to_ns", to_ns);
	put_number(&json, "read_from_ns", backtest->begin_ns);
	put_number(&json, "records", stretch_records(backtest->stretch));
	hindsight_json(backtest->hindsight, &json);
	json_object_end(&json);
	text = json_text(&json, &size);
	fwrite(text, 1, size, stdout);
	fputc('\n', stdout);
	json_done(&json);
	if (fflush(stdout) == 0 && !ferror(stdout))
		return DONE;
	say("stdout cannot be written");
	return FAILED;
}

/* --- life --- */

static int begin(struct backtest *backtest)
{
	const struct settings *settings = backtest->settings;
	char why[CONFIG_ERROR_BYTES];

	backtest->keyring =
		keyring_new(settings, backtest->options->sources, (uint32_t)settings->tasks, why);
	if (!backtest->keyring) {
		say("%s", why);
		return FAILED;
	}
	if (settings->asn_database || settings->country_database) {
		backtest->networks = networks_open(settings->asn_database,
						   settings->country_database, why, sizeof(why));
		if (!backtest->networks) {
			say("networks: %s", why);
			return FAILED;
		}
	}
	backtest->brokers = settings_brokers(settings);
	backtest->security = security_new(&settings->kafka, on_trouble, backtest);
	backtest->hindsight =
		hindsight_new(&(struct hindsight_options){.from_ns = backtest->options->from_ns,
							  .to_ns = backtest->options->to_ns,
							  .incidents_max = INCIDENTS_MAX,
							  .told_max = TOLD_MAX});
	return backtest->options->file ? read_file(backtest) : find_own(backtest);
}

static int replay(struct backtest *backtest)
{
	int status = read_topics(backtest);

	if (status == DONE)
		status = leave_baselines(backtest);
	if (status != DONE)
		return status;
	backtest->lead_ns = lead_of(backtest);
	backtest->begin_ns =
		backtest->options->from_ns - backtest->lead_ns - backtest->settings->keep_ns;
	status = open_log(backtest);
	if (status == DONE)
		status = settle_range(backtest);
	if (status == DONE)
		status = run_pipeline(backtest);
	return status == DONE ? print(backtest) : status;
}

static void done(struct backtest *backtest)
{
	if (backtest->pipeline)
		pipeline_free(backtest->pipeline);
	bool ended = !backtest->stretch || stretch_close(backtest->stretch);

	if (backtest->hindsight)
		hindsight_free(backtest->hindsight);
	rulebook_free(backtest->rules);
	free(backtest->monitors);
	if (backtest->security && ended)
		security_free(backtest->security);
	networks_free(backtest->networks);
	if (backtest->keyring)
		keyring_free(backtest->keyring);
	free(backtest->brokers);
	uv_loop_close(&backtest->loop);
	uv_mutex_destroy(&backtest->trouble_lock);
}

int backtest_run(const struct backtest_options *options)
{
	struct backtest backtest = {.options = options, .settings = options->settings};
	int status;

	/* What watches now goes before what looks back. */
	setpriority(PRIO_PROCESS, 0, LOWEST_PRIORITY);
	signal(SIGPIPE, SIG_IGN);
	uv_mutex_init(&backtest.trouble_lock);
	uv_loop_init(&backtest.loop);
	status = begin(&backtest);
	if (status == DONE)
		status = replay(&backtest);
	done(&backtest);
	return status;
}
