#include "daemon/service.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "api/history/history.h"
#include "api/http/json.h"
#include "api/http/server.h"
#include "api/query/parameter.h"
#include "api/query/query.h"
#include "base/clock.h"
#include "base/disk.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/real.h"
#include "daemon/acknowledge_api.h"
#include "daemon/control_api.h"
#include "agent/batch/control.h"
#include "agent/batch/keys.h"
#include "daemon/embedded.h"
#include "daemon/entropy.h"
#include "daemon/herald.h"
#include "daemon/instances.h"
#include "daemon/keyring.h"
#include "daemon/log.h"
#include "daemon/metrics.h"
#include "daemon/networks.h"
#include "daemon/monitors_api.h"
#include "daemon/notifier.h"
#include "daemon/receivers_api.h"
#include "daemon/relay.h"
#include "daemon/silences.h"
#include "daemon/silences_api.h"
#include "daemon/watcher.h"
#include "daemon/parcel.h"
#include "daemon/run.h"
#include "daemon/shed.h"
#include "daemon/topics.h"
#include "daemon/watchdog.h"
#include "kafka/security.h"

enum {
	TURN_MS = 1000,
	CLOSE_TIMEOUT_MS =
		1500, /* for the outputs: a stop takes under 5 s also when Kafka is away */
	SETTLE_TIMEOUT_MS = 1000, /* for what others look for when this one is gone */
	SETTLE_MS = 20,		  /* between two looks whether nothing is under way */
	STOP_SECONDS = 15,	  /* after which the process ends whatever is under way, and
				     notify.timeout */
	SILENT_MS = 3000,	  /* no tick comes back from Kafka for this long: not ready */
	EPISODES_MAX = 10000,
	SILENCES_SHOWN_MAX = 16,    /* of one alert */
	DESCRIPTORS_SPARE = 4,	    /* a snapshot takes three, a caller one */
	ROWS_A_TURN = 4000,	    /* of the history: 11 ms */
	RETIRED_MAX = 8,	    /* notifiers */
	KEPT_SHARED = LINEUP_PANES, /* snapshots, at most: as many as an answer names */
};

static const char *const state_names[] = {
	[RUN_RESUMING] = "looking for a snapshot",
	[RUN_READING] = "reading state",
	[RUN_CONNECTING] = "connecting",
	[RUN_RUNNING] = "running",
	[RUN_STOPPING] = "stopping",
};

struct service {
	const struct settings *settings;
	uv_loop_t loop;
	uv_signal_t terminate, interrupt;
	uv_timer_t turn;
	uv_timer_t settling; /* until nothing is under way that others would do again */
	uint64_t settle_until_ns;
	uv_poll_t outputs_readable;
	struct mailbox mailbox;
	struct letter *mail; /* taken out of it, not read yet */
	bool stopping;

	char *brokers;
	uint32_t tasks;
	uint64_t started_ns;
	struct embedded *embedded;
	struct server *server;
	uint64_t tls_stamp; /* of the files that it speaks TLS with */
	struct history *history;
	struct query *query;
	struct notifier *notifier;
	struct outputs *outputs;
	struct encoder *encoder;
	struct control_api *control_api;
	struct monitors_api *monitors_api;
	struct receivers_api *receivers_api;
	struct silences *silences;
	struct silences_api *silences_api;
	struct acknowledge_api *acknowledge_api;
	struct relay *relay;
	struct range *ranges;	   /* the relay's */
	struct networks *networks; /* NULL: none are configured */
	struct herald *herald;
	struct watcher *watcher;
	struct security *security;
	struct keyring *keyring;
	uv_timer_t keys_timer;
	uv_signal_t hangup;
	char keys_told[CONFIG_ERROR_BYTES]; /* the last failure */
	struct run *run;
	struct task_set owned;	     /* of the run */
	struct instances *instances; /* NULL: this process is alone */
	struct tail *shown;	     /* outbox and deliveries, for the API; among others */
	struct notifier *retired[RETIRED_MAX]; /* closed, and not yet to be freed */
	size_t retired_count;
	bool notifying;		      /* the notifier was begun */
	bool lingers;		      /* a thread of some run's client */
	uint64_t differing, left_out; /* of runs that are over */
	struct snapshots *snapshots;
	struct culprits *culprits;
	struct shed shed;
	uint64_t descriptors_exhausted; /* seconds */
	struct watchdog *watchdog;
	uint64_t shape;
	struct names *names;

	struct task_stats *stats;

	struct histogram event_to_rollup;
	struct log_limit kafka_log, receiver_log, history_log, snapshot_log, descriptor_log;
	int status;
};

static void on_kafka_trouble(void *context, const char *sentence)
{
	struct service *service = context;

	log_limited(&service->kafka_log, LOG_LEVEL_WARNING, "kafka: %s", sentence);
}

/* From a thread of the client's, which must send nothing more: the next start makes again what it
 * has not sent, as after a kill. */
static void on_refused(void *context, const char *sentence)
{
	(void)context;
	log_line(LOG_LEVEL_ERROR,
		 "%s; without it what follows would have a hole, so millraced ends here, and the "
		 "next start makes it again",
		 sentence);
	_exit(1);
}

static void on_history_trouble(void *context, const char *sentence)
{
	struct service *service = context;

	log_limited(&service->history_log, LOG_LEVEL_WARNING, "history: %s", sentence);
}

static void on_receiver_trouble(void *context, const char *receiver, const char *sentence)
{
	struct service *service = context;

	log_limited(&service->receiver_log, LOG_LEVEL_WARNING, "receiver %s: %s", receiver,
		    sentence);
}

/* --- what comes from tasks --- */

static void take_rollups(struct service *service, const struct parcel *parcel)
{
	uint64_t pane = pane_of(real_ns());
	uint64_t newest = 0;

	for (size_t i = 0; i < parcel->names_count; i++)
		names_learn(service->names, &parcel->names[i], pane);
	history_append(service->history, parcel->rollups, parcel->rollups_count, service->names);
	herald_rows(service->herald, parcel->rollups, parcel->rollups_count);
	for (size_t i = 0; i < parcel->rollups_count; i++) {
		const struct rollup *rollup = &parcel->rollups[i];

		if (rollup->window_ms <= 10000 && rollup->scope == SCOPE_EDGE &&
		    !rollup->amendment && rollup->last_event_ns > newest)
			newest = rollup->last_event_ns;
	}
	if (newest && newest < real_ns())
		histogram_observe(&service->event_to_rollup, (double)(real_ns() - newest) / 1e9);
}

static void take_stats(struct service *service, const struct parcel *parcel, bool is_ours)
{
	if (is_ours)
		service->stats[parcel->task] = parcel->stats;
	const struct ledger ledger = mirror_ledger(&parcel->stats.mirror);

	query_ledger(service->query, parcel->task, &ledger);
	query_agents(service->query, parcel->task, parcel->stats.clock_ns, parcel->agents,
		     parcel->agents_count);
	for (size_t i = 0; i < parcel->changes_count; i++)
		herald_change(service->herald, &parcel->changes[i]);
}

static void show_parcel(struct service *service, struct parcel *parcel, bool is_ours)
{
	if (parcel->kind == PARCEL_ROLLUPS)
		take_rollups(service, parcel);
	else
		take_stats(service, parcel, is_ours);
	parcel_free(parcel);
}

static size_t take_parcel(struct service *service, struct parcel *parcel)
{
	size_t rows = parcel->kind == PARCEL_ROLLUPS ? parcel->rollups_count : 0;

	if (service->instances)
		instances_tell(service->instances, parcel);
	show_parcel(service, parcel, true);
	if (service->run)
		run_taken(service->run, rows);
	return rows;
}

/* Of a task of another instance. */
static void on_parcel(void *context, struct parcel *parcel)
{
	show_parcel(context, parcel, false);
}

/* Some of what came; the rest keeps its place. */
static void take_mail(struct service *service, size_t rows_max)
{
	struct letter **end = &service->mail;
	size_t rows = 0;

	while (*end)
		end = &(*end)->next;
	*end = mailbox_take(&service->mailbox);
	while (service->mail && rows < rows_max) {
		struct parcel *parcel = (struct parcel *)service->mail;

		service->mail = service->mail->next;
		rows += take_parcel(service, parcel);
	}
}

/* Alerts and requests have their turn between: at the end of ten seconds all tasks' rows come at
 * once. */
static void on_mail(void *context)
{
	struct service *service = context;

	take_mail(service, ROWS_A_TURN);
	if (service->mail)
		uv_async_send(&service->mailbox.wake);
}

/* --- snapshots --- */

static uint32_t on_mark(void *context)
{
	struct service *service = context;

	return outputs_mark(service->outputs);
}

static bool is_acknowledged(void *context, uint32_t mark)
{
	const struct service *service = context;

	return outputs_acknowledged(service->outputs, mark);
}

static void on_counted(void *context, const struct image_header *header)
{
	struct service *service = context;

	if (service->instances)
		instances_counted(service->instances, header);
}

static void on_needed(void *context, uint64_t pane)
{
	struct service *service = context;

	if (service->snapshots)
		snapshots_need(service->snapshots, pane);
}

static void on_snapshot_trouble(void *context, const char *sentence)
{
	struct service *service = context;

	log_limited(&service->snapshot_log, LOG_LEVEL_ERROR, "%s", sentence);
}

/* Of what decides what the tasks' state looks like, and means. */
static uint64_t shape_of(const struct settings *settings, const struct networks *networks)
{
	const uint64_t numbers[] = {
		settings->tasks,
		settings->lateness_ns,
		settings->keep_ns,
		settings->one_sided_ns,
		settings->nodes_max,
		settings->halves_max,
		settings->nats_max,
		settings->processes_max,
		settings->containers_max,
		settings->facts_max,
		settings->listeners_max,
		settings->answers_max,
		settings->amendments_max,
		settings->names_max,
		settings->instances_max,
		settings->events_max,
		settings->lanes_max,
		settings->rows_max,
		settings->edges_max,
		settings->episodes_max,
		settings->baselines,
		settings->baselines_warmup,
		settings->reopen_ns,
		settings_finest_ns(settings),
		(uint64_t)(settings->baselines_sensitivity * 1e6),
		(uint64_t)(settings->baselines_objective * 1e6),
	};
	size_t count;
	struct monitor *monitors = settings_monitors(settings, &count);
	uint64_t shape = hash_bytes(numbers, sizeof(numbers));

	for (size_t i = 0; i < count; i++)
		shape = hash_mix(shape ^ hash_bytes(&monitors[i], sizeof(monitors[i])));
	free(monitors);
	return networks ? hash_mix(shape ^ networks_digest(networks)) : shape;
}

static int start_notifier(struct service *service);

/* --- who notifies --- */

/* One instance reads the outbox and notifies: the one that owns task 0. */
static bool leads(const struct service *service)
{
	return !service->instances || instances_leads(service->instances);
}

static void on_owned(void *context)
{
	struct service *service = context;

	if (service->notifying && leads(service))
		notifier_resume(service->notifier);
	else if (service->notifying)
		notifier_pause(service->notifier);
	if (!leads(service)) {
		relay_lead(service->relay, false);
		silences_lead(service->silences, false);
		herald_lead(service->herald, false);
		watcher_lead(service->watcher, false);
	}
}

/* Who reads back what was delivered next must find all of it. */
static bool is_settled(const struct service *service)
{
	return !service->run && !notifier_sends(service->notifier) &&
	       !notifier_records(service->notifier);
}

static void on_release(uv_timer_t *timer)
{
	struct service *service = timer->data;

	if (!is_settled(service))
		return;
	uv_timer_stop(timer);
	instances_release(service->instances);
}

static void on_revoked(void *context)
{
	struct service *service = context;

	uv_timer_start(&service->settling, on_release, 0, SETTLE_MS);
}

/* Another instance has it now, which reads back what this one has done. */
static void retire_notifier(void *context)
{
	struct service *service = context;

	if (!service->notifying || service->retired_count == RETIRED_MAX)
		return;
	notifier_close(service->notifier);
	service->retired[service->retired_count++] = service->notifier;
	service->notifying = false;
	if (start_notifier(service) < 0) /* the settings were good before */
		abort();
}

/* Those of which nobody holds a report any more. */
static void free_retired(struct service *service)
{
	size_t left = 0;

	for (size_t i = 0; i < service->retired_count; i++) {
		if (notifier_closed(service->retired[i]) && !notifier_records(service->retired[i]))
			notifier_free(service->retired[i]);
		else
			service->retired[left++] = service->retired[i];
	}
	service->retired_count = left;
}

static void on_alert(void *context, const struct alert *alert, const struct notify_place *place)
{
	struct service *service = context;

	if (leads(service) && !service->notifying)
		notifier_alert(service->notifier, alert, place);
}

static void on_delivery(void *context, const uint8_t *value, size_t length)
{
	struct service *service = context;

	if (leads(service) && !service->notifying)
		notifier_delivery(service->notifier, value, length);
}

static void on_state_read(void *context)
{
	struct service *service = context;

	if (leads(service) && !service->notifying)
		notifier_begin(service->notifier);
}

/* --- what people are shown --- */

static void on_shown(void *context, const struct tail_record *record)
{
	struct service *service = context;
	struct delivery delivery;
	struct alert alert;

	if (!record->value)
		return;
	if (strcmp(record->topic, TOPIC_ALERTS) == 0) {
		if (decode_alert(record->value, record->length, &alert) == 0)
			query_alert(service->query, &alert);
	} else if (decode_delivery(record->value, record->length, &delivery) == 0 &&
		   delivery_settles(&delivery)) {
		query_delivery(service->query, &delivery);
	}
}

/* Whoever notifies, and whether there is a run here or not. */
static int start_shown(struct service *service)
{
	static const char *const topics[] = {TOPIC_DELIVERY, TOPIC_ALERTS, NULL};
	char error[512];

	service->shown = tail_new(&(struct tail_options){.loop = &service->loop,
							 .brokers = service->brokers,
							 .security = service->security,
							 .topics = topics,
							 .context = service,
							 .record = on_shown,
							 .trouble = on_kafka_trouble},
				  error, sizeof(error));
	if (service->shown)
		return 0;
	log_line(LOG_LEVEL_ERROR, "kafka: %s", error);
	return -EINVAL;
}

/* --- the run --- */

static void stop(struct service *service, int status);
static void end_settled(struct service *service);

static void on_starting(void *context)
{
	const struct service *service = context;

	if (service->instances)
		instances_running(service->instances);
}

static void on_anew(void *context, const struct resume_reach *reach)
{
	const struct service *service = context;

	instances_anew(service->instances, reach);
}

static void on_running(void *context)
{
	struct service *service = context;
	uint32_t owned = task_set_count(&service->owned);

	if (leads(service) && !service->notifying) {
		notifier_start(service->notifier);
		service->notifying = true;
	}
	relay_lead(service->relay, leads(service));
	silences_lead(service->silences, leads(service));
	herald_lead(service->herald, leads(service));
	watcher_lead(service->watcher, leads(service));
	log_line(LOG_LEVEL_INFO, "running: %u tasks on %u threads read %s at %s", owned,
		 run_workers(service->settings, owned), TOPIC_EVENTS, service->brokers);
}

static void on_failed(void *context, bool again, uint64_t epoch_min)
{
	struct service *service = context;

	if (again && service->instances)
		instances_failed(service->instances, epoch_min, epoch_min == 0);
	else
		stop(service, 1);
}

static void on_ended(void *context)
{
	struct service *service = context;

	if (service->stopping) {
		end_settled(service);
		return;
	}
	take_mail(service, SIZE_MAX);
	service->differing += run_differing(service->run);
	service->left_out += run_left_out(service->run);
	service->lingers |= !run_free(service->run);
	service->run = NULL;
	free_retired(service);
	instances_stopped(service->instances);
}

/* from: NULL when this process is alone. */
static int start_run(struct service *service, const struct task_set *owned,
		     const struct lineup_pane *from)
{
	struct run_options options = {.loop = &service->loop,
				      .settings = service->settings,
				      .brokers = service->brokers,
				      .security = service->security,
				      .outputs = service->outputs,
				      .keyring = service->keyring,
				      .snapshots = service->snapshots,
				      .culprits = service->culprits,
				      .watchdog = service->watchdog,
				      .networks = service->networks,
				      .service = &service->mailbox,
				      .accept_create_time = service->settings->kafka_create_time ||
							    service->embedded,
				      .tasks = service->tasks,
				      .shape = service->shape,
				      .started_ns = service->started_ns,
				      .owned = *owned,
				      .from = from,
				      .context = service,
				      .alert = on_alert,
				      .delivery = on_delivery,
				      .state_read = on_state_read,
				      .anew = on_anew,
				      .starting = on_starting,
				      .running = on_running,
				      .failed = on_failed,
				      .ended = on_ended,
				      .kafka_trouble = on_kafka_trouble};

	if (from)
		options.elsewhere = instances_elsewhere(service->instances);
	service->owned = *owned;
	memset(service->stats, 0, service->tasks * sizeof(*service->stats));
	service->run = run_new(&options);
	return service->run ? 0 : -EINVAL;
}

static bool is_running(const struct service *service)
{
	return service->run && run_state(service->run) == RUN_RUNNING;
}

/* --- among instances --- */

static void on_stop_run(void *context)
{
	struct service *service = context;

	run_stop(service->run, true);
}

static void on_begin_run(void *context, const struct task_set *owned,
			 const struct lineup_pane *from)
{
	struct service *service = context;

	if (!service->stopping)
		uv_timer_stop(&service->settling); /* there is nothing to hand over any more */
	if (start_run(service, owned, from) < 0)
		stop(service, 1);
}

static void on_agreed(void *context, const struct resume_reach *reach)
{
	struct service *service = context;

	run_agree(service->run, reach);
}

static void on_messages(void *context, struct message *messages)
{
	const struct service *service = context;

	run_deliver(service->run, messages);
}

static void on_fatal(void *context, const char *why)
{
	log_line(LOG_LEVEL_ERROR, "%s", why);
	stop(context, 1);
}

static int start_instances(struct service *service)
{
	service->instances = instances_new(&(struct instances_options){
		.loop = &service->loop,
		.settings = service->settings,
		.brokers = service->brokers,
		.security = service->security,
		.tasks = service->tasks,
		.shape = service->shape,
		.snapshots = service->snapshots ? service->settings->snapshots_folder : NULL,
		.context = service,
		.stop = on_stop_run,
		.begin = on_begin_run,
		.owned = on_owned,
		.revoked = on_revoked,
		.yielded = retire_notifier,
		.messages = on_messages,
		.agreed = on_agreed,
		.needed = on_needed,
		.parcel = on_parcel,
		.fatal = on_fatal,
		.trouble = on_kafka_trouble});
	return service->instances ? start_shown(service) : -EINVAL;
}

/* This instance's own, where a folder is shared. */
static uint64_t instance_number(const struct service *service)
{
	char name[LINEUP_NAME_BYTES];

	if (service->settings->carrier != CARRIER_KAFKA)
		return 0;
	instances_name(service->settings, name);
	return hash_bytes(name, strlen(name));
}

/* --- routes of the service itself --- */

/* Ready: the pipeline runs and its log clocks move, which they do only while Kafka takes ticks and
 * gives them back. */
static bool is_ready(const struct service *service, const char **reason)
{
	uint64_t now = real_ns();

	*reason = service->run	       ? run_trouble(service->run)
		  : service->instances ? instances_trouble(service->instances)
				       : "starting";
	if (**reason)
		return false;
	for (uint32_t i = 0; i < service->tasks; i++) {
		if (!task_set_has(&service->owned, i))
			continue;
		if (service->stats[i].clock_ns + SILENT_MS * NS_PER_MS >= now)
			continue;
		*reason = service->stats[i].clock_ns ? "a partition's log is behind: Kafka is slow "
						       "or away, or a backlog is read"
						     : "no record of a partition was read yet";
		return false;
	}
	*reason = "";
	return true;
}

static void serve_health(struct request *request, struct response *response, void *context)
{
	(void)request;
	(void)context;
	response_send(response, 200, "text/plain; charset=utf-8", "ok\n", 3);
}

/* What the cluster's API server refuses holds up nothing else, so it makes nobody unready. */
static void tell_kubernetes(const struct service *service, struct json *json)
{
	static struct watcher_stats stats;

	watcher_stats(service->watcher, &stats);
	if (!stats.on)
		return;
	json_key(json, "kubernetes");
	json_object_begin(json);
	json_key(json, "watches");
	json_bool(json, stats.watches);
	json_key(json, "error");
	json_string(json, stats.error);
	for (int kind = 0; stats.watches && kind < KUBE_KINDS; kind++) {
		json_key(json, kube_kind_name((enum kube_kind)kind));
		json_object_begin(json);
		json_key(json, "synced");
		json_bool(json, stats.kinds[kind].synced);
		json_key(json, "objects");
		json_int(json, stats.kinds[kind].objects);
		json_key(json, "error");
		json_string(json, stats.kinds[kind].error);
		json_object_end(json);
	}
	json_object_end(json);
}

static void serve_ready(struct request *request, struct response *response, void *context)
{
	struct service *service = context;
	const char *reason;
	bool ready = is_ready(service, &reason), verbose;
	const char *flag = request_parameter(request, "verbose", 0);
	struct json json;
	const char *body;
	size_t size;

	if (!flag || !parse_flag(flag, &verbose) || !verbose) {
		char text[512];
		int length = snprintf(text, sizeof(text), "%s%s\n",
				      ready ? "ready" : "not ready: ", reason);

		response_send(response, ready ? 200 : 503, "text/plain; charset=utf-8", text,
			      (size_t)length);
		return;
	}
	json_init(&json);
	json_object_begin(&json);
	json_key(&json, "ready");
	json_bool(&json, ready);
	json_key(&json, "state");
	json_string(&json, service->run ? state_names[run_state(service->run)] : "starting");
	json_key(&json, "reasons");
	json_array_begin(&json);
	if (!ready)
		json_string(&json, reason);
	json_array_end(&json);
	tell_kubernetes(service, &json);
	json_object_end(&json);
	body = json_text(&json, &size);
	response_send(response, ready ? 200 : 503, "application/json", body, size);
	json_done(&json);
}

static uint64_t slowest_clock_ns(const struct service *service)
{
	uint64_t slowest = UINT64_MAX;

	for (uint32_t i = 0; i < service->tasks; i++) {
		if (task_set_has(&service->owned, i) && service->stats[i].clock_ns < slowest)
			slowest = service->stats[i].clock_ns;
	}
	return slowest;
}

static void serve_metrics(struct request *request, struct response *response, void *context)
{
	struct service *service = context;
	struct notifier_stats notifier = notifier_stats(service->notifier);
	static struct watcher_stats watcher; /* 5 KB */
	struct metrics metrics = {.tasks = service->stats,
				  .tasks_count = service->tasks,
				  .history = history_stats(service->history),
				  .server = server_stats(service->server),
				  .outputs = outputs_stats(service->outputs),
				  .security = security_stats(service->security),
				  .keyring = keyring_stats(service->keyring),
				  .notifier = &notifier,
				  .relay = relay_stats(service->relay),
				  .silences = silences_stats(service->silences),
				  .herald = herald_stats(service->herald),
				  .chronicle = query_chronicle_stats(service->query),
				  .watcher = &watcher,
				  .agents = query_agents_stats(service->query),
				  .event_to_rollup = &service->event_to_rollup,
				  .history_left_out = service->left_out,
				  .differing = service->differing,
				  .now_ns = real_ns(),
				  .started_ns = service->started_ns};
	const char *reason;
	size_t length;
	char *text;

	(void)request;
	watcher_stats(service->watcher, &watcher);
	metrics.owned = is_running(service) ? task_set_count(&service->owned) : 0;
	metrics.clock_ns = slowest_clock_ns(service);
	if (service->instances)
		metrics.instances = instances_stats(service->instances);
	if (service->snapshots)
		metrics.snapshots = snapshots_stats(service->snapshots);
	if (service->run) {
		metrics.consumer = run_consumer_stats(service->run);
		metrics.history_left_out += run_left_out(service->run);
		metrics.differing += run_differing(service->run);
	}
	metrics.shed = service->shed.level;
	metrics.descriptors_exhausted = service->descriptors_exhausted;
	if (service->watchdog)
		metrics.watchdog = watchdog_stats(service->watchdog);
	if (service->culprits)
		metrics.passed_over = culprits_count(service->culprits);
	metrics.ready = is_ready(service, &reason);
	text = metrics_text(&metrics, &length);
	response_send(response, 200, "text/plain; version=0.0.4; charset=utf-8", text, length);
	free(text);
}

/* --- life --- */

/* libuv turns callers away when no descriptor is left (it keeps one for that), and tells nobody. */
static void look_at_descriptors(struct service *service)
{
	int spare[DESCRIPTORS_SPARE], count = 0;

	while (count < DESCRIPTORS_SPARE && (spare[count] = dup(STDERR_FILENO)) >= 0)
		count++;
	for (int i = 0; i < count; i++)
		close(spare[i]);
	if (count == DESCRIPTORS_SPARE)
		return;
	service->descriptors_exhausted++;
	log_limited(&service->descriptor_log, LOG_LEVEL_ERROR,
		    "hardly any file descriptor is left: callers are turned away; raise "
		    "LimitNOFILE");
}

/* How far the slowest task is behind; 0 while one has not begun. */
static uint64_t lag_ns(const struct service *service)
{
	uint64_t now = real_ns(), slowest = slowest_clock_ns(service);

	return slowest && slowest < now ? now - slowest : 0;
}

/* What helps least with finding out who talks to whom; openings, ends and absolute counters are
 * told as ever. */
static const struct control_settings shed_settings = {
	.scan_period_ms = 4000,
	.features_count = 4,
	.features = {{.name = "drops"}, {.name = "sni"}, {.name = "dns"}, {.name = "cmdlines"}},
};

static void look_at_lag(struct service *service)
{
	uint64_t retention_ns = service->run ? run_consumer_stats(service->run).retention_ns : 0;
	uint64_t lag = is_running(service) ? lag_ns(service) : 0;
	enum shed_step step = shed_look(&service->shed, lag, retention_ns, uv_hrtime());
	bool keyed = keys_count(keyring_keys(service->keyring));

	if (step == SHED_NOTHING || !is_running(service))
		return;
	if (step == SHED_BEGIN)
		log_line(LOG_LEVEL_ERROR,
			 "the log is read %.0f s behind, more than half of its retention of %.0f "
			 "s: %s",
			 (double)lag / NS_PER_S, (double)retention_ns / NS_PER_S,
			 keyed ? "agents are told to send less (control record shed)"
			       : "agents cannot be told to send less, as no key is configured");
	else if (step == SHED_END)
		log_line(LOG_LEVEL_INFO, "the log is read %.0f s behind: all is sent again",
			 (double)lag / NS_PER_S);
	if (keyed)
		control_api_tell(service->control_api, "shed", &shed_settings, SHED_LIFE_NS,
				 step == SHED_END);
}

/* Whoever notifies of what is watched: each process tells of itself. A spare watches nothing, and
 * is as far as anybody. */
static void watch_oneself(struct service *service)
{
	bool spare = service->instances && instances_spare(service->instances);
	uint64_t clock_ns = task_set_count(&service->owned) ? slowest_clock_ns(service) : 0;

	notifier_turn(service->notifier, spare || is_running(service),
		      spare ? real_ns() : clock_ns);
}

static void on_turn(uv_timer_t *timer)
{
	struct service *service = timer->data;
	const char *reason;

	if (service->run)
		run_turn(service->run);
	control_api_start(service->control_api);
	look_at_lag(service);
	look_at_descriptors(service);
	history_advance(service->history, real_ns());
	names_advance(service->names, pane_of(real_ns()));
	herald_turn(service->herald);
	watch_oneself(service);
	server_health(service->server, "", is_ready(service, &reason));
}

static void on_outputs_readable(uv_poll_t *poll, int status, int events)
{
	struct service *service = poll->data;

	(void)status;
	(void)events;
	outputs_poll(service->outputs);
	notifier_room(service->notifier);
	for (size_t i = 0; i < service->retired_count; i++)
		notifier_room(service->retired[i]);
}

static void on_closed(void *context)
{
	(void)context;
}

static void on_alarm(int number)
{
	(void)number;
	_exit(1);
}

/* What remains when the run has ended; uv_run returns when the last of it is gone. */
static void close_rest(struct service *service)
{
	take_mail(service, SIZE_MAX);
	notifier_close(service->notifier);
	if (service->instances)
		instances_close(service->instances);
	if (service->shown)
		tail_close(service->shown);
	if (service->snapshots)
		snapshots_close(service->snapshots);
	server_close(service->server, on_closed, NULL);
	control_api_close(service->control_api);
	monitors_api_close(service->monitors_api);
	silences_api_close(service->silences_api);
	acknowledge_api_close(service->acknowledge_api);
	silences_close(service->silences);
	relay_close(service->relay);
	watcher_close(service->watcher);
	uv_close((uv_handle_t *)&service->terminate, NULL);
	uv_close((uv_handle_t *)&service->interrupt, NULL);
	uv_close((uv_handle_t *)&service->turn, NULL);
	uv_close((uv_handle_t *)&service->settling, NULL);
	uv_close((uv_handle_t *)&service->keys_timer, NULL);
	uv_close((uv_handle_t *)&service->hangup, NULL);
	uv_close((uv_handle_t *)&service->outputs_readable, NULL);
	mailbox_close(&service->mailbox);
}

/* Another instance looks for what this one wrote as soon as this one has left the group, and so
 * does the next start. Requests under way end in notify.timeout. */
static void on_settling(uv_timer_t *timer)
{
	struct service *service = timer->data;
	bool left = notifier_records(service->notifier) ||
		    (service->instances && !outputs_settled(service->outputs));

	if (notifier_sends(service->notifier)) {
		service->settle_until_ns = uv_hrtime() + SETTLE_TIMEOUT_MS * NS_PER_MS;
		return;
	}
	if (left && uv_hrtime() < service->settle_until_ns)
		return;
	uv_timer_stop(timer);
	close_rest(service);
}

static void end_settled(struct service *service)
{
	service->settle_until_ns = uv_hrtime() + SETTLE_TIMEOUT_MS * NS_PER_MS;
	uv_timer_start(&service->settling, on_settling, 0, SETTLE_MS);
}

static void stop(struct service *service, int status)
{
	if (service->stopping)
		return;
	service->stopping = true;
	service->status = status;
	alarm(STOP_SECONDS + (unsigned)(service->settings->notify_timeout_ns / NS_PER_S));
	/* From here on a signal ends the process, whatever waits. */
	uv_signal_stop(&service->terminate);
	uv_signal_stop(&service->interrupt);
	signal(SIGTERM, on_alarm);
	signal(SIGINT, on_alarm);
	log_line(LOG_LEVEL_INFO, "stopping");
	outputs_release(service->outputs);
	notifier_pause(service->notifier);
	if (service->instances)
		instances_leave(service->instances);
	if (service->run)
		run_stop(service->run, false);
	else
		end_settled(service);
}

static void on_signal(uv_signal_t *signal, int number)
{
	(void)number;
	stop(signal->data, 0);
}

/* host:port or [v6]:port, cut in place. */
static int split_address(char *text, const char **host, uint16_t *port)
{
	char *colon = strrchr(text, ':');
	char *end;
	unsigned long number;

	if (!colon)
		return -EINVAL;
	number = strtoul(colon + 1, &end, 10);
	if (end == colon + 1 || *end || number > 65535)
		return -EINVAL;
	*colon = '\0';
	if (text[0] == '[' && colon > text + 1 && colon[-1] == ']') {
		colon[-1] = '\0';
		text++;
	}
	*host = text;
	*port = (uint16_t)number;
	return 0;
}

static int start_embedded(struct service *service)
{
	struct embedded_options options = {.partitions = service->tasks};
	char *address = strdup(service->settings->embedded_listen);
	int rc = address ? split_address(address, &options.host, &options.port) : -ENOMEM;

	if (service->settings->kafka.tls || service->settings->kafka.mechanism) {
		log_line(LOG_LEVEL_ERROR, "the embedded broker speaks neither TLS nor SASL: take "
					  "kafka.tls and kafka.sasl.* away");
		free(address);
		return -EINVAL;
	}

	if (rc == 0)
		service->embedded = embedded_start(&options, &rc);
	free(address);
	if (!service->embedded) {
		log_line(LOG_LEVEL_ERROR,
			 "the embedded broker cannot listen at %s: %s; set embedded.listen",
			 service->settings->embedded_listen, uv_strerror(rc));
		return rc ? rc : -EINVAL;
	}
	service->brokers = strdup(embedded_bootstrap(service->embedded));
	log_line(LOG_LEVEL_INFO, "embedded broker at %s: records are kept in memory only",
		 service->settings->embedded_listen);
	return 0;
}

static uint64_t tls_stamp(const struct settings *settings)
{
	const char *const paths[] = {settings->tls_certificate, settings->tls_key};

	return disk_stamp(paths, sizeof(paths) / sizeof(paths[0]));
}

/* When one of its files changed, or when it is asked for. A certificate whose key is yet to come is
 * refused, and taken when that changes. */
static void reload_certificate(struct service *service, bool asked)
{
	const struct settings *settings = service->settings;
	uint64_t stamp = tls_stamp(settings); /* before the files are read */

	if (!settings->tls_certificate || (!asked && stamp == service->tls_stamp))
		return;
	service->tls_stamp = stamp;
	if (server_reload_certificate(service->server))
		log_line(LOG_LEVEL_ERROR,
			 "the API's certificate stays as it was: tls.certificate %s or tls.key %s "
			 "cannot be read, or they do not fit each other",
			 settings->tls_certificate, settings->tls_key);
	else
		log_line(LOG_LEVEL_INFO, "the API's certificate was read again");
}

static int start_server(struct service *service)
{
	const struct settings *settings = service->settings;
	extern const uint8_t mr_descriptors[], mr_descriptors_end[];
	struct server_options options = {.certificate_file = settings->tls_certificate,
					 .key_file = settings->tls_key,
					 .descriptor_set = mr_descriptors,
					 .descriptor_set_size =
						 (size_t)(mr_descriptors_end - mr_descriptors)};
	char *address = strdup(settings->listen);
	int rc = address ? split_address(address, &options.host, &options.port) : -ENOMEM;

	service->tls_stamp = tls_stamp(settings);
	if (rc == 0)
		rc = server_new(&service->loop, &options, &service->server);
	if (rc == 0) {
		server_route(service->server, "GET", "/healthz", serve_health, service);
		server_route(service->server, "GET", "/readyz", serve_ready, service);
		server_route(service->server, "GET", "/metrics", serve_metrics, service);
		query_routes(service->query, service->server);
		rc = server_listen(service->server);
	}
	free(address);
	if (rc)
		log_line(LOG_LEVEL_ERROR, "the API cannot listen at %s: %s; set listen%s",
			 settings->listen, uv_strerror(rc),
			 settings->tls_certificate ? " or check tls.certificate and tls.key" : "");
	else
		log_line(LOG_LEVEL_INFO, "API, gRPC and metrics at %s", settings->listen);
	return rc;
}

static int start_notifier(struct service *service)
{
	service->notifier =
		notifier_new(&(struct notifier_options){.loop = &service->loop,
							.settings = service->settings,
							.brokers = service->brokers,
							.security = service->security,
							.outputs = service->outputs,
							.query = service->query,
							.silences = service->silences,
							.context = service,
							.kafka_trouble = on_kafka_trouble,
							.receiver_trouble = on_receiver_trouble});
	return service->notifier ? 0 : -EINVAL;
}

static void on_passed_over(void *context, const char *sentence)
{
	(void)context;
	log_line(LOG_LEVEL_WARNING, "%s", sentence);
}

static int start_snapshots(struct service *service)
{
	const struct settings *settings = service->settings;
	struct snapshots_options options = {.loop = &service->loop,
					    .folder = settings->snapshots_folder,
					    .period_ns = settings->snapshots_period_ns,
					    .share = settings->snapshots_share,
					    .every_cut = settings->carrier == CARRIER_KAFKA,
					    .instance = instance_number(service),
					    .kept = settings->carrier == CARRIER_KAFKA ? KEPT_SHARED
										       : 0,
					    .context = service,
					    .mark = on_mark,
					    .acknowledged = is_acknowledged,
					    .counted = on_counted,
					    .trouble = on_snapshot_trouble};
	char why[256];

	struct culprits_options culprits = {.folder = settings->snapshots_folder,
					    .instance = instance_number(service),
					    .tasks = service->tasks,
					    .context = service,
					    .told = on_passed_over};

	service->snapshots = snapshots_new(&options, why, sizeof(why));
	if (service->snapshots)
		service->culprits = culprits_open(&culprits, why, sizeof(why));
	if (service->culprits)
		return 0;
	log_line(LOG_LEVEL_ERROR, "snapshots.folder %s %s", settings->snapshots_folder, why);
	return -EINVAL;
}

/* --- silences --- */

static void on_silences_changed(void *context)
{
	const struct service *service = context;

	notifier_review(service->notifier);
}

static void on_silence(void *context, const struct silence *silence, bool stands)
{
	const struct service *service = context;

	silences_api_taken(service->silences_api, silence, stands);
}

static void on_acknowledgement(void *context, const struct acknowledgement *one, bool stands)
{
	const struct service *service = context;

	acknowledge_api_taken(service->acknowledge_api, one, stands);
}

static const struct alert *alert_of(void *context, const char *key, bool *several)
{
	const struct service *service = context;

	return query_alert_of(service->query, key, several);
}

static const struct alert *firing_of(void *context, size_t *at)
{
	const struct service *service = context;

	return query_firing(service->query, at);
}

static void make_silences(struct service *service)
{
	const struct settings *settings = service->settings;

	service->silences = silences_new(&(struct silences_options){
		.loop = &service->loop,
		.brokers = service->brokers,
		.security = service->security,
		.outputs = service->outputs,
		.keyring = service->keyring,
		.silences_max = (uint32_t)settings->silences_max,
		.acknowledgements_max = (uint32_t)settings->acknowledgements_max,
		.keep_ns = settings->silences_keep_ns,
		.changed = on_silences_changed,
		.taken = on_silence,
		.acknowledged = on_acknowledgement,
		.trouble = on_kafka_trouble,
		.context = service});
	service->silences_api = silences_api_new(
		&(struct silences_api_options){.loop = &service->loop,
					       .silences = service->silences,
					       .silences_max = (uint32_t)settings->silences_max,
					       .token = settings->control_token,
					       .firing = firing_of,
					       .context = service});
	silences_api_routes(service->silences_api, service->server);
	service->acknowledge_api = acknowledge_api_new(
		&(struct acknowledge_api_options){.loop = &service->loop,
						  .silences = service->silences,
						  .token = settings->control_token,
						  .find = alert_of,
						  .context = service});
	acknowledge_api_routes(service->acknowledge_api, service->server);
}

static int start_kafka(struct service *service)
{
	struct outputs_options outputs = {.brokers = service->brokers,
					  .security = service->security,
					  .trouble = on_kafka_trouble,
					  .refused = on_refused,
					  .context = service};
	char error[512];

	service->outputs = outputs_new(&outputs, error, sizeof(error));
	if (service->outputs)
		make_silences(service); /* the notifier asks them */
	if (service->outputs && start_notifier(service) < 0)
		return -EINVAL;
	if (service->outputs)
		return 0;
	log_line(LOG_LEVEL_ERROR, "kafka: %s", error);
	return -EINVAL;
}

static void start_control(struct service *service)
{
	const struct settings *settings = service->settings;

	service->control_api =
		control_api_new(&(struct control_api_options){.loop = &service->loop,
							      .brokers = service->brokers,
							      .security = service->security,
							      .outputs = service->outputs,
							      .keyring = service->keyring,
							      .token = settings->control_token,
							      .trouble = on_kafka_trouble,
							      .context = service});
	control_api_routes(service->control_api, service->server);
	control_api_start(service->control_api);
}

static void start_monitors(struct service *service)
{
	const struct settings *settings = service->settings;
	size_t count;
	struct monitor *monitors = settings_monitors(settings, &count);

	service->monitors_api =
		monitors_api_new(&(struct monitors_api_options){.loop = &service->loop,
								.outputs = service->outputs,
								.history = service->history,
								.keyring = service->keyring,
								.token = settings->control_token,
								.own = monitors,
								.own_count = count});
	free(monitors);
	monitors_api_routes(service->monitors_api, service->server);
}

static struct notifier *notifier_of(void *context)
{
	const struct service *service = context;

	return service->notifier;
}

static void start_receivers(struct service *service)
{
	service->receivers_api = receivers_api_new(
		&(struct receivers_api_options){.loop = &service->loop,
						.history = service->history,
						.monitors = service->monitors_api,
						.token = service->settings->control_token,
						.context = service,
						.notifier = notifier_of});
	receivers_api_routes(service->receivers_api, service->server);
}

static void on_change(void *context, uint64_t key, const uint8_t *bytes, size_t length)
{
	struct service *service = context;

	query_change(service->query, key, bytes, length);
	if (bytes)
		herald_read(service->herald, bytes, length);
}

static void on_rule(void *context, const struct rule *rule)
{
	const struct service *service = context;

	monitors_api_take(service->monitors_api, rule);
}

static void on_rules_read(void *context)
{
	const struct service *service = context;

	monitors_api_read_all(service->monitors_api);
}

static void start_herald(struct service *service)
{
	const struct settings *settings = service->settings;

	service->herald = herald_new(
		&(struct herald_options){.outputs = service->outputs,
					 .cluster = settings->kubernetes_cluster,
					 .learn_ns = settings->events_learn_ns,
					 .gone_ns = settings->events_gone_ns,
					 /* It sees the edges of all tasks. */
					 .edges_max = settings->edges_max * service->tasks,
					 .history = service->history});
}

static void start_relay(struct service *service)
{
	size_t ranges_count;

	service->ranges = settings_ranges(service->settings, &ranges_count);
	service->relay = relay_new(
		&(struct relay_options){.loop = &service->loop,
					.brokers = service->brokers,
					.security = service->security,
					.outputs = service->outputs,
					.keyring = service->keyring,
					.tasks = service->tasks,
					.records_max = (uint32_t)service->settings->facts_max,
					.ranges = service->ranges,
					.ranges_count = ranges_count,
					.rules_max = MONITORS_API_MAX,
					.changes_max = (uint32_t)service->settings->changes_max,
					.keep_ns = service->settings->metadata_keep_ns,
					.changed = on_change,
					.ruled = on_rule,
					.rules_read = on_rules_read,
					.trouble = on_kafka_trouble,
					.context = service});
	relay_start(service->relay);
}

static void on_watcher_trouble(void *context, const char *sentence)
{
	(void)context;
	log_line(LOG_LEVEL_WARNING, "%s", sentence);
}

static void start_watcher(struct service *service)
{
	const struct settings *settings = service->settings;

	service->watcher = watcher_new(&(struct watcher_options){
		.loop = &service->loop,
		.brokers = service->brokers,
		.security = service->security,
		.outputs = service->outputs,
		.source = settings->kubernetes,
		.kubeconfig = settings->kubeconfig,
		.context_name = settings->kubernetes_context,
		.cluster = settings->kubernetes_cluster,
		.keep_ns = settings->metadata_keep_ns,
		.objects_max = (uint32_t)settings->kubernetes_objects_max,
		.wishes = {.labels = (const char *const *)settings->kubernetes_labels.items,
			   .annotations =
				   (const char *const *)settings->kubernetes_annotations.items,
			   .labels_count = settings->kubernetes_labels.count,
			   .annotations_count = settings->kubernetes_annotations.count},
		.trouble = on_watcher_trouble});
}

static const char *control_of(void *context, const Millrace__V1__Agent *agent)
{
	struct service *service = context;

	return service->control_api ? control_api_wanted(service->control_api, agent) : NULL;
}

static size_t receivers_of(void *context, struct receiver_view *views, size_t max)
{
	const struct service *service = context;

	return notifier_views(service->notifier, views, max);
}

static size_t silences_of(void *context, const struct alert *alert, const char **ids, size_t max)
{
	const struct service *service = context;
	const struct silence *found[SILENCES_SHOWN_MAX];
	size_t count = silencebook_of(silences_book(service->silences), alert, real_ns(), found,
				      max < SILENCES_SHOWN_MAX ? max : SILENCES_SHOWN_MAX);

	for (size_t i = 0; i < count; i++)
		ids[i] = found[i]->id;
	return count;
}

static bool acknowledgement_of(void *context, const struct alert *alert,
			       Millrace__V1__Acknowledgement *message)
{
	const struct service *service = context;
	const struct acknowledgement *one =
		acknowledgements_of(silences_acknowledgements(service->silences), alert);

	if (one)
		acknowledge_tell(one, message);
	return one != NULL;
}

static int start_history(struct service *service)
{
	const struct settings *settings = service->settings;
	struct history_options options = {.path = settings->history_path,
					  .keep_1s_ns = settings->history_1s_ns,
					  .keep_10s_ns = settings->history_10s_ns,
					  .keep_60s_ns = settings->history_60s_ns,
					  .keep_1h_ns = settings->history_1h_ns,
					  .rows_max = settings->history_rows_max,
					  .context = service,
					  .trouble = on_history_trouble};
	const char *error;

	service->history = history_new(&options, &error);
	if (!service->history) {
		log_line(LOG_LEVEL_ERROR, "history.path %s: %s", settings->history_path, error);
		return -EINVAL;
	}
	service->query =
		query_new(&(struct query_options){.history = service->history,
						  .tasks = service->tasks,
						  .episodes_max = EPISODES_MAX,
						  .changes_max = (uint32_t)settings->changes_max,
						  .now_ns = real_ns,
						  .control = control_of,
						  .receivers = receivers_of,
						  .silences = silences_of,
						  .acknowledged = acknowledgement_of,
						  .context = service});
	return 0;
}

/* Before anything that takes time: a stop that is asked for meanwhile is done when the loop runs.
 */
static void start_signals(struct service *service)
{
	uv_signal_init(&service->loop, &service->terminate);
	uv_signal_init(&service->loop, &service->interrupt);
	service->terminate.data = service->interrupt.data = service;
	uv_signal_start(&service->terminate, on_signal, SIGTERM);
	uv_signal_start(&service->interrupt, on_signal, SIGINT);
}

static void reload_keys(struct service *service)
{
	char why[CONFIG_ERROR_BYTES];
	int rc = keyring_reload(service->keyring, why);

	if (rc >= 0)
		service->keys_told[0] = '\0';
	if (rc > 0)
		log_line(LOG_LEVEL_INFO, "the keys or the revoked nodes have changed: %llu keys",
			 (unsigned long long)keyring_stats(service->keyring).keys);
	if (rc >= 0 || strcmp(service->keys_told, why) == 0)
		return;
	snprintf(service->keys_told, sizeof(service->keys_told), "%s", why);
	log_line(LOG_LEVEL_ERROR, "the keys stay as they were: %s", why);
}

static void on_keys_timer(uv_timer_t *timer)
{
	reload_keys(timer->data);
	reload_certificate(timer->data, false);
}

static void on_hangup(uv_signal_t *hangup, int number)
{
	(void)number;
	reload_keys(hangup->data);
	reload_certificate(hangup->data, true);
}

/* They keep no loop alive. */
static void start_reloads(struct service *service)
{
	uv_timer_init(&service->loop, &service->keys_timer);
	uv_signal_init(&service->loop, &service->hangup);
	service->keys_timer.data = service->hangup.data = service;
	uv_timer_start(&service->keys_timer, on_keys_timer, SIGNING_RELOAD_MS, SIGNING_RELOAD_MS);
	uv_signal_start(&service->hangup, on_hangup, SIGHUP);
	uv_unref((uv_handle_t *)&service->keys_timer);
	uv_unref((uv_handle_t *)&service->hangup);
}

static void start_handles(struct service *service)
{
	uv_timer_init(&service->loop, &service->turn);
	uv_poll_init(&service->loop, &service->outputs_readable,
		     outputs_descriptor(service->outputs));
	uv_timer_init(&service->loop, &service->settling);
	service->turn.data = service->outputs_readable.data = service->settling.data = service;
	uv_timer_start(&service->turn, on_turn, TURN_MS, TURN_MS);
	uv_poll_start(&service->outputs_readable, UV_READABLE, on_outputs_readable);
	mailbox_init(&service->mailbox, &service->loop, on_mail, service);
}

static void done(struct service *service)
{
	uint64_t left = outputs_close(service->outputs, CLOSE_TIMEOUT_MS);

	if (left)
		log_line(LOG_LEVEL_WARNING, "%llu records could not be handed to Kafka in time",
			 (unsigned long long)left);
	bool ended = (!service->run || run_free(service->run)) && !service->lingers;

	if (service->instances)
		ended &= instances_free(service->instances);
	for (size_t i = 0; i < service->retired_count; i++)
		notifier_free(service->retired[i]);

	snapshots_free(service->snapshots);
	culprits_close(service->culprits);
	watchdog_free(service->watchdog);
	notifier_free(service->notifier);
	control_api_free(service->control_api);
	receivers_api_free(service->receivers_api);
	monitors_api_free(service->monitors_api);
	silences_api_free(service->silences_api);
	acknowledge_api_free(service->acknowledge_api);
	silences_free(service->silences);
	relay_free(service->relay);
	free(service->ranges);
	herald_free(service->herald);
	watcher_free(service->watcher);
	query_free(service->query);
	history_free(service->history);
	networks_free(service->networks);
	if (service->embedded)
		embedded_stop(service->embedded);
	keyring_free(service->keyring);
	encoder_free(service->encoder);
	names_free(service->names);
	if (ended) /* else the client's threads may still use it */
		security_free(service->security);
	free(service->stats);
	free(service->brokers);
	uv_loop_close(&service->loop);
}

static int start_networks(struct service *service)
{
	const struct settings *settings = service->settings;
	char why[CONFIG_ERROR_BYTES];

	if (!settings->asn_database && !settings->country_database)
		return 0;
	service->networks =
		networks_open(settings->asn_database, settings->country_database, why, sizeof(why));
	if (service->networks)
		return 0;
	log_line(LOG_LEVEL_ERROR, "networks: %s", why);
	return -1;
}

int service_run(const struct service_options *options)
{
	struct service *service = memory_zeroed(1, sizeof(*service));
	char why[CONFIG_ERROR_BYTES];
	int status;

	service->settings = options->settings;
	service->tasks = (uint32_t)options->settings->tasks;
	service->started_ns = real_ns();
	if (start_networks(service) < 0)
		return 1;
	service->shape = shape_of(options->settings, service->networks);
	service->stats = memory_zeroed(service->tasks, sizeof(*service->stats));
	service->encoder = encoder_new();
	service->names = names_new((uint32_t)options->settings->names_max, 0);
	names_seed(service->names, entropy_word());
	uv_loop_init(&service->loop);
	start_signals(service);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file at its limit is a write that fails */
	signal(SIGALRM, on_alarm);
	/* What is refused here ends the process before anything runs; the system takes back what
	 * was opened. */
	if (options->embedded && options->settings->carrier == CARRIER_KAFKA) {
		log_line(LOG_LEVEL_ERROR, "the embedded broker is for one process alone: with "
					  "--embedded exchange.carrier must be memory");
		return 1;
	}
	if (options->embedded && start_embedded(service) < 0)
		return 1;
	if (!service->brokers)
		service->brokers = settings_brokers(options->settings);
	service->keyring = keyring_new(options->settings, options->sources, service->tasks, why);
	if (!service->keyring) {
		log_line(LOG_LEVEL_ERROR, "%s", why);
		return 1;
	}
	service->security = security_new(&options->settings->kafka, on_kafka_trouble, service);
	if (start_history(service) < 0 || start_server(service) < 0)
		return 1;
	if (options->settings->snapshots_folder[0] && options->embedded)
		log_line(LOG_LEVEL_WARNING, "snapshots.folder is of no use with --embedded, whose "
					    "broker forgets");
	else if (options->settings->snapshots_folder[0] && start_snapshots(service) < 0)
		return 1;
	if (start_kafka(service) < 0)
		return 1;
	service->watchdog = watchdog_new(run_workers(options->settings, service->tasks),
					 options->settings->hang_ns);
	if (!service->watchdog) {
		log_line(LOG_LEVEL_ERROR, "the watchdog's thread could not be started");
		return 1;
	}
	start_control(service);
	start_monitors(service);
	start_receivers(service);
	start_herald(service);
	start_relay(service);
	silences_start(service->silences);
	start_watcher(service);
	start_handles(service);
	if (options->settings->carrier == CARRIER_KAFKA) {
		if (start_instances(service) < 0)
			return 1;
	} else {
		const struct task_set all = task_set_all(service->tasks);

		if (start_run(service, &all, NULL) < 0)
			return 1;
	}
	start_reloads(service);
	uv_run(&service->loop, UV_RUN_DEFAULT);
	status = service->status;
	done(service);
	free(service);
	return status;
}
