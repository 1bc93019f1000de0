#include "daemon/run.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "daemon/encode.h"
#include "daemon/entropy.h"
#include "daemon/firing.h"
#include "daemon/log.h"
#include "daemon/monitors_api.h"
#include "daemon/source.h"
#include "daemon/tail.h"
#include "daemon/topics.h"

enum {
	CONNECT_TIMEOUT_MS = 2000,
	CLOSE_TIMEOUT_MS =
		1500, /* of the consumer: a stop takes under 5 s also when Kafka is away */
	BACKOFF_MIN_MS = 100,
	BACKOFF_MAX_MS = 2000,
	CUTS_A_PERIOD = 5, /* of snapshots: as often tasks stand, in log time, in case one is due */
	WATCH_TIMEOUT_MS = 1000, /* of each question, short enough for a stop */
	WATCH_S = 10,	/* between two looks whether the topic of events is still the same */
	SETTLE_MS = 20, /* between two looks whether all outputs are acknowledged */
};

struct run {
	struct run_options options;
	enum run_state state;
	char waits_for[256];	 /* the last reason why it does not run */
	char connect_error[256]; /* written by the connecting thread until it is done */
	int connect_result;
	_Atomic bool cancelled; /* for the thread that works */
	bool settled;		/* it must end so */
	bool lingers;		/* a thread of the closed consumer */
	bool working;		/* a thread of the pool is busy for it */
	uv_work_t work, watch;
	uv_timer_t *retry; /* a handle is begun but once */
	uint64_t backoff_ms;

	bool watching;	     /* the topic of events, on a thread of the pool */
	uint64_t watched_ns; /* uv_hrtime, last */
	enum consumer_topic topic_found, topic;
	char topic_what[256], topic_said[256]; /* the watch's, and what it said last */

	bool owned[IMAGE_TASKS_MAX]; /* options.owned, for the consumer */
	struct resume resume;	     /* where it began */
	bool resumed;
	struct lineup_pane from;
	bool has_from;
	uint64_t epoch;
	struct consumer *consumer;
	struct source *source;
	struct exits *exits;
	struct pipeline *pipeline;
	struct tail *state_tail;
	struct firing *firing; /* of earlier lives, until the pipeline starts */
	struct log_limit kafka_log;
};

uint32_t run_workers(const struct settings *settings, uint32_t tasks)
{
	uint64_t workers = settings->workers ? settings->workers : uv_available_parallelism();

	return (uint32_t)(workers < tasks ? workers : tasks);
}

static void on_loss(void *context, const char *sentence)
{
	(void)context;
	log_line(LOG_LEVEL_ERROR, "%s", sentence);
}

static void on_kafka_trouble(void *context, const char *sentence)
{
	const struct run *run = context;

	run->options.kafka_trouble(run->options.context, sentence);
}

static void fail(struct run *run, bool again, uint64_t epoch_min)
{
	run->options.failed(run->options.context, again, epoch_min);
}

/* --- what the tasks are like --- */

struct task_options run_task_options(const struct settings *settings, const struct keyring *keyring,
				     const struct networks *networks,
				     const struct monitor *monitors, size_t count)
{
	return (struct task_options){
		.tasks = (uint32_t)settings->tasks,
		.seed = entropy_word(),
		.mirror = {.lateness_ns = settings->lateness_ns,
			   .keep_ns = settings->keep_ns,
			   .nodes_max = (uint32_t)settings->nodes_max,
			   .halves_max = (uint32_t)settings->halves_max,
			   .nats_max = (uint32_t)settings->nats_max,
			   .processes_max = (uint32_t)settings->processes_max,
			   .containers_max = (uint32_t)settings->containers_max,
			   .listeners_max = (uint32_t)settings->listeners_max,
			   .answers_max = (uint32_t)settings->answers_max,
			   .amendments_max = (uint32_t)settings->amendments_max,
			   .names_max = (uint32_t)settings->names_max,
			   .instances_max = (uint32_t)settings->instances_max,
			   .events_max = (uint32_t)settings->events_max,
			   .record_bytes_max = 1 << 20,
			   .keys = keyring_keys(keyring)},
		.join = {.halves_max = (uint32_t)settings->halves_max,
			 .aliases_max = (uint32_t)settings->nats_max,
			 .instances_max = (uint32_t)settings->instances_max,
			 .one_sided_ns = settings->one_sided_ns,
			 .keep_ns = settings->keep_ns},
		.lanes_max = (uint32_t)settings->lanes_max,
		.facts_max = (uint32_t)settings->facts_max,
		.networks = networks,
		.rules_max = MONITORS_API_MAX,
		.reopen_ns = settings->reopen_ns,
		.aggregate = {.rows_max = (uint32_t)settings->rows_max,
			      .names_max = (uint32_t)settings->names_max},
		.anomaly = {.monitors = monitors,
			    .monitors_count = count,
			    .baselines = settings->baselines,
			    .sensitivity = settings->baselines_sensitivity,
			    .warmup_samples = (uint32_t)settings->baselines_warmup,
			    .objective = settings->baselines_objective,
			    .update_ns = 10 * NS_PER_S,
			    .baseline_save_ns = 60 * NS_PER_S,
			    .edges_max = (uint32_t)settings->edges_max,
			    .episodes_max = (uint32_t)settings->episodes_max},
	};
}

/* Each second, on the task's thread. */
static void on_task_stats(void *context, uint32_t task, const struct task_stats *stats,
			  struct mirror *mirror)
{
	struct run *run = context;

	keyring_take(run->options.keyring, task, mirror);
	exits_stats(run->exits, task, stats, mirror);
}

/* --- snapshots --- */

/* On a worker's thread, while all tasks stand. */
static void on_cut(void *context, uint64_t pane, const int64_t *next)
{
	static struct image image; /* the pipeline is one, and so is its cut */
	struct run *run = context;

	if (!snapshots_due(run->options.snapshots, pane))
		return;
	if (run->resume.goes_on && pane <= run->resume.pane)
		return; /* it stands where it began */
	/* What is known from before is no part of the state. */
	for (uint32_t i = 0; i < run->options.tasks; i++) {
		if (task_set_has(&run->options.owned, i) && pane <= run->resume.known[i] + 1)
			return;
	}
	image.header = (struct image_header){.tasks = run->options.tasks,
					     .shape = run->options.shape,
					     .epoch = run->epoch,
					     .pane = pane,
					     .owned = run->options.owned};
	image_build(image.header.build);
	for (uint32_t i = 0; i < run->options.tasks; i++) {
		image.tasks[i].next = next[i];
		exits_numbers(run->exits, i, &image.tasks[i]);
	}
	snapshots_cut(run->options.snapshots, &image, run->resume.heaps);
}

/* --- the pipeline --- */

/* Without a snapshot each start is an epoch of its own, above all that the outputs know. False: the
 * instances agreed on one that is not. */
static bool choose_epoch(struct run *run)
{
	const struct resume *resume = &run->resume;

	if (resume->goes_on)
		run->epoch = resume->epoch;
	else if (run->has_from)
		run->epoch = run->from.epoch;
	else
		run->epoch = run->options.started_ns / NS_PER_MS;
	if (resume->goes_on || run->epoch > resume->newest_epoch)
		return true;
	if (run->has_from)
		return false;
	run->epoch = resume->newest_epoch + 1; /* this clock was set back */
	return true;
}

static struct pipeline_options pipeline_template(struct run *run)
{
	const struct run_options *options = &run->options;
	struct resume *resume = &run->resume;
	struct pipeline_options pipeline = {
		.workers = run_workers(options->settings, task_set_count(&options->owned)),
		.owned = options->owned,
		.elsewhere = options->elsewhere,
		.source = source_callbacks(run->source),
		.heaps = resume->has_heaps ? resume->heaps : NULL,
		.resume = resume->goes_on ? resume->next : NULL,
		.known = resume->known,
		.culprits = options->culprits,
		.watchdog = options->watchdog,
		.stats = on_task_stats,
		.stats_context = run};

	if (resume->has_heaps && options->snapshots) {
		pipeline.cut = on_cut;
		pipeline.cut_context = run;
	}
	return pipeline;
}

/* Alone it stands often, and a snapshot is taken when one is due; among others it must be the same
 * pane everywhere, so one is taken at each. */
static uint32_t hold_panes(const struct run *run)
{
	uint64_t panes = run->options.settings->snapshots_period_ns / PANE_NS;

	return 1 + (uint32_t)(run->has_from ? panes - 1 : panes / CUTS_A_PERIOD);
}

static void on_difference(const char *sentence)
{
	log_line(LOG_LEVEL_ERROR, "%s", sentence);
}

/* The pipeline stands before its state is read, so that what is read goes where it belongs at once:
 * a topic not yet compacted holds a baseline many times. */
static void make_pipeline(struct run *run)
{
	const struct run_options *options = &run->options;
	const struct settings *settings = options->settings;
	const struct resume *resume = &run->resume;
	size_t count;
	struct monitor *monitors = settings_monitors(settings, &count);
	struct pipeline_options pipeline;

	if (resume->goes_on)
		consumer_begin_at(run->consumer, resume->next,
				  (int64_t)(resume->pane * PANE_NS / NS_PER_MS));
	else if (resume->follows)
		consumer_begin_when(run->consumer, resume->begin_ns);
	run->exits = exits_new(&(struct exits_options){.differs = on_difference,
						       .outputs = options->outputs,
						       .service = options->service,
						       .tasks = options->tasks,
						       .names_max = (uint32_t)settings->names_max,
						       .epoch = run->epoch,
						       .numbers = resume->numbers,
						       .finest_ns = settings_finest_ns(settings),
						       .history_rows = settings->history_rate});
	run->source = source_new(run->consumer, options->outputs, run->exits, options->tasks,
				 options->keyring);
	pipeline = pipeline_template(run);
	pipeline.task =
		run_task_options(settings, options->keyring, options->networks, monitors, count);
	pipeline.task.sinks = exits_sinks(run->exits);
	if (pipeline.cut)
		pipeline.task.hold_panes = hold_panes(run);
	run->pipeline = pipeline_new(&pipeline);
	free(monitors);
}

void run_deliver(struct run *run, struct message *messages)
{
	pipeline_deliver(run->pipeline, messages);
}

/* --- state that outlives processes --- */

static void load_baseline(struct run *run, const struct baseline_record *record)
{
	uint32_t owner = hash_owner(record->edge.server, run->options.tasks);

	if (task_set_has(&run->options.owned, owner))
		task_load(pipeline_task(run->pipeline, owner), record, 1);
}

static void take_alert(struct run *run, const struct tail_record *record)
{
	const struct notify_place place = {record->partition, record->offset};
	struct alert alert;

	if (decode_alert(record->value, record->length, &alert))
		return;
	if (run->firing)
		firing_take(run->firing, &alert, &place);
	run->options.alert(run->options.context, &alert, &place);
}

static void on_state_record(void *context, const struct tail_record *record)
{
	struct run *run = context;
	struct baseline_record baseline;

	if (!record->value)
		return;
	if (strcmp(record->topic, TOPIC_ALERTS) == 0) {
		take_alert(run, record);
	} else if (strcmp(record->topic, TOPIC_BASELINES) != 0) {
		run->options.delivery(run->options.context, record->value, record->length);
	} else if (decode_baseline(record->value, record->length, &baseline) == 0) {
		load_baseline(run, &baseline);
	}
}

/* An episode whose monitor or name is gone is not resumed, and so ends with its incident. */
static void resume_episodes(struct run *run, const struct alert *alert)
{
	for (uint32_t i = 0; i < alert->members_count; i++) {
		struct alert episode = alert_member(alert, i);
		const char *server = episode.subject.server;
		uint32_t owner = hash_owner(name_id(server, strlen(server)), run->options.tasks);

		if (task_set_has(&run->options.owned, owner))
			task_resume(pipeline_task(run->pipeline, owner), &episode, 1);
	}
}

/* Incidents that still fire go on under their keys in this life, so that each gets its resolve. */
static void resume_firing(struct run *run)
{
	const struct firing_alert *fires;

	for (size_t at = 0; !run->resume.goes_on && (fires = firing_next(run->firing, &at));) {
		const struct alert *alert = &fires->alert;

		resume_episodes(run, alert);
		if (task_set_has(&run->options.owned, INCIDENTS_TASK) &&
		    !task_resume_incident(pipeline_task(run->pipeline, INCIDENTS_TASK), alert))
			log_line(LOG_LEVEL_WARNING,
				 "alert %s of monitor %s fired in an earlier life and cannot go "
				 "on: it names no episodes, or there is no room for them "
				 "(limits.episodes); resolve it at its receivers",
				 alert->key, alert->monitor);
	}
	firing_free(run->firing);
	run->firing = NULL;
}

static void start_connecting(struct run *run);

static void on_state_read(void *context)
{
	struct run *run = context;

	run->state = RUN_CONNECTING;
	run->options.state_read(run->options.context);
	tail_close(run->state_tail);
	run->state_tail = NULL;
	run->backoff_ms = BACKOFF_MIN_MS;
	start_connecting(run);
}

static void begin_pipeline(struct run *run)
{
	/* A snapshot holds newer baselines than the topic. */
	static const char *const topics[] = {TOPIC_DELIVERY, TOPIC_ALERTS, NULL};
	static const char *const all[] = {TOPIC_DELIVERY, TOPIC_ALERTS, TOPIC_BASELINES, NULL};
	const struct run_options *options = &run->options;
	struct tail_options tail = {.loop = options->loop,
				    .brokers = options->brokers,
				    .security = options->security,
				    .topics = run->resume.goes_on ? topics : all,
				    .context = run,
				    .record = on_state_record,
				    .caught_up = on_state_read,
				    .trouble = on_kafka_trouble};
	char error[512];

	if (!choose_epoch(run)) {
		fail(run, true, run->resume.newest_epoch + 1);
		return;
	}
	if (run->resume.goes_on)
		log_line(LOG_LEVEL_INFO, "going on from the snapshot of pane %llu, epoch %llu",
			 (unsigned long long)run->resume.pane,
			 (unsigned long long)run->resume.epoch);
	else if (run->resume.follows)
		log_line(LOG_LEVEL_INFO,
			 "no snapshot to go on from: reading the log again from %llu s before the "
			 "last outputs, which are not told again",
			 (unsigned long long)(options->settings->keep_ns / NS_PER_S));
	make_pipeline(run);
	run->state = RUN_READING;
	run->state_tail = tail_new(&tail, error, sizeof(error));
	if (run->state_tail)
		return;
	log_line(LOG_LEVEL_ERROR, "kafka: %s", error);
	fail(run, false, 0);
}

/* --- work that waits for the broker --- */

static void run_ends(struct run *run);

/* Whether the run was stopped while a thread worked for it. */
static bool is_over(struct run *run)
{
	run->working = false;
	if (run->state != RUN_STOPPING)
		return false;
	run_ends(run);
	return true;
}

static void wait_for_kafka(struct run *run, uint64_t ms, void (*then)(uv_timer_t *))
{
	memcpy(run->waits_for, run->connect_error, sizeof(run->waits_for));
	log_limited(&run->kafka_log, LOG_LEVEL_WARNING, "waiting for Kafka: %s", run->waits_for);
	uv_timer_start(run->retry, then, ms, 0);
}

static void connect_work(uv_work_t *work)
{
	struct run *run = work->data;

	run->connect_result = consumer_connect(run->consumer, CONNECT_TIMEOUT_MS,
					       run->connect_error, sizeof(run->connect_error));
	if (run->connect_result == 0)
		outputs_warm(run->options.outputs, CONNECT_TIMEOUT_MS);
}

static void start_pipeline(struct run *run)
{
	int rc;

	run->waits_for[0] = '\0';
	resume_firing(run);
	run->options.starting(run->options.context);
	rc = pipeline_start(run->pipeline);
	if (rc) {
		log_line(LOG_LEVEL_ERROR, "the worker threads could not be started: %s",
			 uv_strerror(rc));
		exit(1);
	}
	run->state = RUN_RUNNING;
	run->options.running(run->options.context);
}

static void on_connect_retry(uv_timer_t *timer)
{
	start_connecting(timer->data);
}

static void connected(uv_work_t *work, int status)
{
	struct run *run = work->data;

	(void)status;
	if (is_over(run))
		return;
	if (run->connect_result == 0) {
		start_pipeline(run);
		return;
	}
	if (run->connect_result == -EINVAL) {
		memcpy(run->waits_for, run->connect_error, sizeof(run->waits_for));
		log_line(LOG_LEVEL_ERROR, "%s", run->waits_for);
		fail(run, false, 0);
		return;
	}
	wait_for_kafka(run, run->backoff_ms, on_connect_retry);
	run->backoff_ms =
		run->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : run->backoff_ms * 2;
}

static void start_work(struct run *run, uv_work_cb work, uv_after_work_cb after)
{
	run->working = true;
	run->work.data = run;
	uv_queue_work(run->options.loop, &run->work, work, after);
}

static void start_connecting(struct run *run)
{
	start_work(run, connect_work, connected);
}

static void on_passed_over(void *context, const char *sentence)
{
	(void)context;
	log_line(LOG_LEVEL_WARNING, "%s", sentence);
}

static void resume_work(uv_work_t *work)
{
	struct run *run = work->data;
	struct resume_options options = {
		.folder = run->options.snapshots ? run->options.settings->snapshots_folder : NULL,
		.warm_ns = run->options.settings->keep_ns,
		.shape = run->options.shape,
		.tasks = run->options.tasks,
		.owned = run->options.owned,
		.from = run->has_from ? &run->from : NULL,
		.cancelled = &run->cancelled,
		.brokers = run->options.brokers,
		.group = run->options.settings->kafka_group,
		.security = run->options.security,
		.timeout_ms = CONNECT_TIMEOUT_MS,
		.context = run,
		.told = on_passed_over};

	run->connect_result =
		resume_find(&options, &run->resume, run->connect_error, sizeof(run->connect_error));
	run->resumed = run->connect_result == 0;
}

static void start_resuming(struct run *run);

static void on_resume_retry(uv_timer_t *timer)
{
	start_resuming(timer->data);
}

static void ask_all(struct run *run)
{
	snprintf(run->waits_for, sizeof(run->waits_for),
		 "waiting for the other instances to say how far their tasks' outputs reach");
	run->options.anew(run->options.context, &run->resume.reach);
}

void run_agree(struct run *run, const struct resume_reach *reach)
{
	if (run->state != RUN_RESUMING || run->working)
		return;
	resume_follow(&run->resume, reach, run->options.settings->keep_ns);
	begin_pipeline(run);
}

static void resumed(uv_work_t *work, int status)
{
	struct run *run = work->data;

	(void)status;
	if (is_over(run))
		return;
	if (run->connect_result == 0 && run->has_from && !run->resume.goes_on)
		ask_all(run);
	else if (run->connect_result == 0)
		begin_pipeline(run);
	else if (run->connect_result == -ENOENT)
		fail(run, true, run->from.pane ? 0 : run->resume.newest_epoch + 1);
	else
		wait_for_kafka(run, BACKOFF_MAX_MS / 4, on_resume_retry);
}

static void start_resuming(struct run *run)
{
	start_work(run, resume_work, resumed);
}

/* --- the topic of events --- */

static void watch_work(uv_work_t *work)
{
	struct run *run = work->data;

	run->topic_found = consumer_watch(run->consumer, WATCH_TIMEOUT_MS, run->topic_what,
					  sizeof(run->topic_what));
}

static void watched(uv_work_t *work, int status)
{
	struct run *run = work->data;

	(void)status;
	run->watching = false;
	run->watched_ns = uv_hrtime();
	if (run->state == RUN_STOPPING) {
		run_ends(run);
		return;
	}
	if (run->state != RUN_RUNNING || run->topic_found == CONSUMER_TOPIC_UNKNOWN)
		return; /* that Kafka does not answer is told elsewhere */
	if (run->topic_found != run->topic) {
		bool well = run->topic_found == CONSUMER_TOPIC_WELL;

		log_line(well ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, "%s",
			 well ? "topic " TOPIC_EVENTS " is as it must be again" : run->topic_what);
	}
	run->topic = run->topic_found;
	memcpy(run->topic_said, run->topic_what, sizeof(run->topic_said));
}

void run_turn(struct run *run)
{
	struct consumer_stats stats = run_consumer_stats(run);

	if (run->state != RUN_RUNNING || run->watching)
		return;
	if (stats.stopped) {
		log_line(LOG_LEVEL_ERROR,
			 "topic " TOPIC_EVENTS
			 " lost records before they were read, and pipeline.on_data_loss is stop: "
			 "the lines before say which");
		fail(run, false, 0);
		return;
	}
	if (!stats.astray && uv_hrtime() < run->watched_ns + WATCH_S * NS_PER_S)
		return;
	run->watching = true;
	run->watch.data = run;
	uv_queue_work(run->options.loop, &run->watch, watch_work, watched);
}

const char *run_trouble(const struct run *run)
{
	if (run->state != RUN_RUNNING)
		return run->waits_for[0] ? run->waits_for : "starting";
	if (run->topic == CONSUMER_TOPIC_GONE || run->topic == CONSUMER_TOPIC_GROWN)
		return run->topic_said;
	return "";
}

/* --- its end --- */

static void on_retry_closed(uv_handle_t *handle)
{
	free(handle);
}

static void ended(struct run *run)
{
	uv_close((uv_handle_t *)run->retry, on_retry_closed);
	run->retry = NULL;
	run->options.ended(run->options.context);
}

/* What its tasks wrote must stand in Kafka before another run looks there. Others write on. */
static void on_settle(uv_timer_t *timer)
{
	struct run *run = timer->data;

	if (run->settled && !outputs_settled(run->options.outputs))
		return;
	uv_timer_stop(timer);
	ended(run);
}

/* Tasks may wait for room among the outputs, which the loop makes. */
static void end_work(uv_work_t *work)
{
	struct run *run = work->data;

	if (run->pipeline)
		pipeline_stop(run->pipeline);
	run->lingers = !consumer_close(run->consumer, CLOSE_TIMEOUT_MS);
	run->consumer = NULL;
}

static void end_done(uv_work_t *work, int status)
{
	struct run *run = work->data;

	(void)status;
	run->working = false;
	if (run->settled)
		uv_timer_start(run->retry, on_settle, 0, SETTLE_MS);
	else
		ended(run);
}

/* As soon as nothing works for it any more. */
static void run_ends(struct run *run)
{
	if (run->working || run->watching)
		return;
	start_work(run, end_work, end_done);
}

void run_stop(struct run *run, bool settled)
{
	/* Who must end soon does not wait for what another reason to end would wait for. */
	run->settled = settled && (run->state != RUN_STOPPING || run->settled);
	if (run->state == RUN_STOPPING)
		return;
	run->state = RUN_STOPPING;
	atomic_store(&run->cancelled, true);
	snprintf(run->waits_for, sizeof(run->waits_for), "stopping");
	uv_timer_stop(run->retry);
	if (run->state_tail)
		tail_close(run->state_tail);
	run->state_tail = NULL;
	run_ends(run);
}

bool run_free(struct run *run)
{
	bool whole = !run->lingers;

	if (run->pipeline)
		pipeline_free(run->pipeline);
	if (run->source)
		source_free(run->source);
	if (run->exits)
		exits_free(run->exits);
	if (run->resumed)
		resume_done(&run->resume, run->options.tasks);
	firing_free(run->firing);
	free(run);
	return whole;
}

/* --- life --- */

struct run *run_new(const struct run_options *options)
{
	struct run *run = memory_zeroed(1, sizeof(*run));
	const struct settings *settings = options->settings;
	struct culprits *culprits = options->culprits;
	struct consumer_options consumer = {.brokers = options->brokers,
					    .topic = TOPIC_EVENTS,
					    .group = settings->kafka_group,
					    .security = options->security,
					    .partitions = options->tasks,
					    .owned = run->owned,
					    .accept_create_time = options->accept_create_time,
					    .rewind_ns = settings->keep_ns,
					    .anchors = culprits ? culprits_anchors(culprits) : NULL,
					    .fetched_mib = (uint32_t)settings->fetched_mib,
					    .stop_on_loss =
						    settings->on_data_loss == DATA_LOSS_STOP,
					    .context = run,
					    .trouble = on_kafka_trouble,
					    .loss = on_loss};
	char error[512];

	run->options = *options;
	run->options.from = NULL;
	run->has_from = options->from != NULL;
	if (run->has_from)
		run->from = *options->from;
	for (uint32_t i = 0; i < options->tasks; i++)
		run->owned[i] = task_set_has(&options->owned, i);
	snprintf(run->waits_for, sizeof(run->waits_for),
		 "Kafka at %s has not given back the kept state yet", options->brokers);
	run->consumer = consumer_new(&consumer, error, sizeof(error));
	if (!run->consumer) {
		log_line(LOG_LEVEL_ERROR, "kafka: %s", error);
		free(run);
		return NULL;
	}
	run->firing = firing_new();
	run->retry = memory_zeroed(1, sizeof(*run->retry));
	uv_timer_init(options->loop, run->retry);
	run->retry->data = run;
	start_resuming(run);
	return run;
}

enum run_state run_state(const struct run *run)
{
	return run->state;
}

void run_taken(struct run *run, size_t rows)
{
	if (run->exits)
		exits_taken(run->exits, rows);
}

struct consumer_stats run_consumer_stats(const struct run *run)
{
	/* Of a run that stops it is closed on another thread. */
	return run->state == RUN_STOPPING ? (struct consumer_stats){0}
					  : consumer_stats(run->consumer);
}

uint64_t run_differing(const struct run *run)
{
	return run->exits ? exits_differing(run->exits) : 0;
}

uint64_t run_left_out(const struct run *run)
{
	return run->exits ? exits_left_out(run->exits) : 0;
}
