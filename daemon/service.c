#include "daemon/service.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "api/history/history.h"
#include "api/http/json.h"
#include "api/http/server.h"
#include "api/query/query.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "daemon/embedded.h"
#include "daemon/exit.h"
#include "daemon/log.h"
#include "daemon/metrics.h"
#include "daemon/parcel.h"
#include "daemon/pipeline.h"
#include "daemon/source.h"
#include "daemon/tail.h"
#include "daemon/topics.h"

enum {
	CONNECT_TIMEOUT_MS = 2000,
	BACKOFF_MIN_MS = 100,
	BACKOFF_MAX_MS = 2000,
	TURN_MS = 1000,
	CLOSE_TIMEOUT_MS = 1500, /* for the outputs, then for the consumer: a stop takes under 5 s
				    also when Kafka is away */
	STOP_SECONDS = 15,	 /* after which the process ends whatever is under way */
	SILENT_MS = 3000,	 /* no tick comes back from Kafka for this long: not ready */
	RECENT_ALERTS =
		1024, /* firing alerts whose delivery is awaited, for the latency histogram */
	EPISODES_MAX = 10000,
	ROWS_A_TURN = 4000, /* of the history: 11 ms */
};

enum state { STATE_READING, STATE_CONNECTING, STATE_RUNNING, STATE_STOPPING };

static const char *const state_names[] = {"reading state", "connecting", "running", "stopping"};

struct recent {
	char key[ALERT_KEY_TEXT];
	uint64_t last_event_ns;
};

struct service {
	const struct settings *settings;
	uv_loop_t loop;
	uv_signal_t terminate, interrupt;
	uv_timer_t turn, retry;
	uv_poll_t outputs_readable;
	uv_work_t connect;
	struct mailbox mailbox;
	struct letter *mail; /* taken out of it, not read yet */
	enum state state;
	char waits_for[256];	 /* the last reason why it is not ready */
	char connect_error[256]; /* written by the connecting thread until it is done */
	bool connecting;

	char *brokers;
	uint32_t tasks;
	uint64_t started_ns;
	struct embedded *embedded;
	struct server *server;
	struct history *history;
	struct query *query;
	struct notify *notify;
	struct outputs *outputs;
	struct encoder *encoder;
	struct tail *state_tail, *alert_tail;
	struct consumer *consumer;
	struct consumer_setting *consumer_settings;
	struct source *source;
	struct exits *exits;
	struct pipeline *pipeline;
	struct names *names;

	struct alert *firing; /* of an earlier life, read back before the pipeline starts */
	size_t firing_count, firing_max;
	struct task_stats *stats;
	uint64_t *agents; /* by task */
	uint64_t backoff_ms;
	int connect_result;

	struct recent recent[RECENT_ALERTS];
	size_t recent_next;
	struct histogram event_to_webhook, event_to_rollup;
	struct log_limit kafka_log, receiver_log, history_log;
	int status;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void on_kafka_trouble(void *context, const char *sentence)
{
	struct service *service = context;

	log_limited(&service->kafka_log, LOG_LEVEL_WARNING, "kafka: %s", sentence);
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
	uint64_t pane = pane_of(now_ns());
	uint64_t newest = 0;

	for (size_t i = 0; i < parcel->names_count; i++)
		names_learn(service->names, &parcel->names[i], pane);
	history_append(service->history, parcel->rollups, parcel->rollups_count, service->names);
	for (size_t i = 0; i < parcel->rollups_count; i++) {
		const struct rollup *rollup = &parcel->rollups[i];

		if (rollup->window_ms <= 10000 && rollup->scope == SCOPE_EDGE &&
		    !rollup->amendment && rollup->last_event_ns > newest)
			newest = rollup->last_event_ns;
	}
	if (newest && newest < now_ns())
		histogram_observe(&service->event_to_rollup, (double)(now_ns() - newest) / 1e9);
}

static void take_stats(struct service *service, const struct parcel *parcel)
{
	service->stats[parcel->task] = parcel->stats;
	service->agents[parcel->task] = parcel->agents_count;
	query_agents(service->query, parcel->task, parcel->agents, parcel->agents_count);
}

static size_t take_parcel(struct service *service, struct parcel *parcel)
{
	size_t rows = 0;

	if (parcel->kind == PARCEL_ROLLUPS) {
		rows = parcel->rollups_count;
		take_rollups(service, parcel);
		exits_taken(service->exits, rows);
	} else {
		take_stats(service, parcel);
	}
	parcel_free(parcel);
	return rows;
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

/* --- alerts: the outbox --- */

static void remember_firing(struct service *service, const struct alert *alert)
{
	struct recent *recent = &service->recent[service->recent_next++ % RECENT_ALERTS];

	memcpy(recent->key, alert->key, sizeof(recent->key));
	recent->last_event_ns = alert->last_event_ns;
}

static void on_alert_record(void *context, const struct tail_record *record)
{
	struct service *service = context;
	struct alert alert;

	if (!record->value || decode_alert(record->value, record->length, &alert) < 0) {
		log_limited(&service->kafka_log, LOG_LEVEL_WARNING,
			    "a record of %s is no alert; passed over", record->topic);
		return;
	}
	query_alert(service->query, &alert);
	if (alert.sequence == 1)
		remember_firing(service, &alert);
	if (alert.pane_end_ns + service->settings->notify_life_ns > now_ns())
		notify_push(service->notify, &alert);
}

/* The first delivery of an episode's first transition is what the two-second promise is about. */
static void observe_delivery(struct service *service, const struct delivery *delivery)
{
	if (delivery->failed || delivery->sequence != 1)
		return;
	for (size_t i = 0; i < RECENT_ALERTS; i++) {
		struct recent *recent = &service->recent[i];

		if (strcmp(recent->key, delivery->key) != 0)
			continue;
		if (delivery->sent_ns > recent->last_event_ns)
			histogram_observe(&service->event_to_webhook,
					  (double)(delivery->sent_ns - recent->last_event_ns) /
						  1e9);
		return;
	}
}

static void on_settled(void *context, const struct delivery *delivery)
{
	struct service *service = context;
	char key[ALERT_MONITOR_MAX + ALERT_KEY_TEXT + 2];
	int length = snprintf(key, sizeof(key), "%s|%s", delivery->receiver, delivery->key);

	outputs_offer(service->outputs, TOPIC_DELIVERY, key, (size_t)length,
		      encode_delivery(service->encoder, delivery));
	query_delivery(service->query, delivery);
	observe_delivery(service, delivery);
}

/* --- start: state, consumer, pipeline --- */

static void load_baseline(struct service *service, const struct baseline_record *record)
{
	uint32_t owner = hash_owner(record->edge.server, service->tasks);

	anomaly_load(task_anomaly(pipeline_task(service->pipeline, owner)), record, 1);
}

/* Episodes that still fire go on under their keys in this life, so that each gets its resolve. */
static void keep_firing(struct service *service, const struct alert *alert)
{
	size_t at = 0;

	while (at < service->firing_count && strcmp(service->firing[at].key, alert->key) != 0)
		at++;
	if (alert->state != ALERT_FIRING) {
		if (at < service->firing_count)
			service->firing[at] = service->firing[--service->firing_count];
		return;
	}
	if (at == service->firing_count) {
		if (service->firing_count == service->firing_max) {
			service->firing_max =
				memory_grown(service->firing_max, service->firing_count + 1);
			service->firing = memory_resize(service->firing, service->firing_max,
							sizeof(*service->firing));
		}
		service->firing_count++;
	}
	service->firing[at] = *alert;
}

static void resume_firing(struct service *service)
{
	for (size_t i = 0; i < service->firing_count; i++) {
		const struct alert *alert = &service->firing[i];
		uint64_t server = name_id(alert->subject.server, strlen(alert->subject.server));
		uint32_t owner = hash_owner(server, service->tasks);

		if (!anomaly_resume(task_anomaly(pipeline_task(service->pipeline, owner)), alert,
				    1))
			log_line(LOG_LEVEL_WARNING,
				 "alert %s of monitor %s fired in an earlier life and cannot go "
				 "on: its monitor or its "
				 "workload's name is gone; resolve it at its receivers",
				 alert->key, alert->monitor);
	}
	free(service->firing);
	service->firing = NULL;
	service->firing_count = service->firing_max = 0;
}

static void on_state_record(void *context, const struct tail_record *record)
{
	struct service *service = context;
	struct baseline_record baseline;
	struct delivery delivery;
	struct alert alert;

	if (!record->value)
		return;
	if (strcmp(record->topic, TOPIC_ALERTS) == 0) {
		if (decode_alert(record->value, record->length, &alert) == 0)
			keep_firing(service, &alert);
	} else if (strcmp(record->topic, TOPIC_BASELINES) == 0) {
		if (decode_baseline(record->value, record->length, &baseline) == 0)
			load_baseline(service, &baseline);
	} else if (decode_delivery(record->value, record->length, &delivery) == 0) {
		notify_settled(service->notify, &delivery);
		query_delivery(service->query, &delivery);
	}
}

static void start_connecting(struct service *service);

static void on_retry(uv_timer_t *timer)
{
	start_connecting(timer->data);
}

static void on_state_read(void *context)
{
	struct service *service = context;

	service->state = STATE_CONNECTING;
	tail_close(service->state_tail);
	service->state_tail = NULL;
	service->backoff_ms = BACKOFF_MIN_MS;
	start_connecting(service);
}

static struct task_options task_template(const struct service *service,
					 const struct monitor *monitors, size_t count)
{
	const struct settings *settings = service->settings;

	return (struct task_options){
		.tasks = service->tasks,
		.mirror = {.lateness_ns = settings->lateness_ns,
			   .keep_ns = settings->keep_ns,
			   .nodes_max = (uint32_t)settings->nodes_max,
			   .halves_max = (uint32_t)settings->halves_max,
			   .nats_max = (uint32_t)settings->nats_max,
			   .processes_max = (uint32_t)settings->processes_max,
			   .containers_max = (uint32_t)settings->containers_max,
			   .amendments_max = (uint32_t)settings->amendments_max,
			   .names_max = (uint32_t)settings->names_max,
			   .instances_max = (uint32_t)settings->instances_max,
			   .events_max = (uint32_t)settings->events_max,
			   .record_bytes_max = 1 << 20,
			   .secret = (const uint8_t *)settings->auth_secret,
			   .secret_length =
				   settings->auth_secret ? strlen(settings->auth_secret) : 0},
		.join = {.halves_max = (uint32_t)settings->halves_max,
			 .aliases_max = (uint32_t)settings->nats_max,
			 .instances_max = (uint32_t)settings->instances_max,
			 .one_sided_ns = settings->one_sided_ns,
			 .keep_ns = settings->keep_ns},
		.lanes_max = (uint32_t)settings->lanes_max,
		.aggregate = {.rows_max = (uint32_t)settings->rows_max,
			      .names_max = (uint32_t)settings->names_max},
		.anomaly = {.monitors = monitors,
			    .monitors_count = count,
			    .baselines = settings->baselines,
			    .sensitivity = settings->baselines_sensitivity,
			    .warmup_samples = (uint32_t)settings->baselines_warmup,
			    .update_ns = 10 * NS_PER_S,
			    .baseline_save_ns = 60 * NS_PER_S,
			    .edges_max = (uint32_t)settings->edges_max,
			    .episodes_max = (uint32_t)settings->episodes_max},
		.sinks = exits_sinks(service->exits),
	};
}

static uint32_t worker_count(const struct service *service)
{
	uint64_t workers = service->settings->workers ? service->settings->workers
						      : uv_available_parallelism();

	return (uint32_t)(workers < service->tasks ? workers : service->tasks);
}

/* The pipeline stands before its state is read, so that what is read goes where it belongs at once:
 * a topic not yet compacted holds a baseline many times. */
static void make_pipeline(struct service *service)
{
	size_t count;
	struct monitor *monitors = settings_monitors(service->settings, &count);
	struct pipeline_options options;

	/* Until snapshots carry numbers over a restart, each start is an epoch of its own. */
	service->exits = exits_new(
		&(struct exits_options){.outputs = service->outputs,
					.service = &service->mailbox,
					.tasks = service->tasks,
					.names_max = (uint32_t)service->settings->names_max,
					.epoch = service->started_ns / NS_PER_MS,
					.finest_ns = service->settings->rollups_finest_ns,
					.history_rows = service->settings->history_rate});
	service->source = source_new(service->consumer, service->outputs, service->exits,
				     service->tasks, service->settings->auth_secret);
	options = (struct pipeline_options){.workers = worker_count(service),
					    .task = task_template(service, monitors, count),
					    .source = source_callbacks(service->source),
					    .stats = exits_stats,
					    .stats_context = service->exits};
	service->pipeline = pipeline_new(&options);
	free(monitors);
}

static void start_pipeline(struct service *service)
{
	int rc;

	resume_firing(service);
	rc = pipeline_start(service->pipeline);
	if (rc) {
		log_line(LOG_LEVEL_ERROR, "the worker threads could not be started: %s",
			 uv_strerror(rc));
		exit(1);
	}
}

static void start_alerts(struct service *service)
{
	static const char *const topics[] = {TOPIC_ALERTS, NULL};
	struct tail_options options = {.loop = &service->loop,
				       .brokers = service->brokers,
				       .kafka_options = &service->settings->kafka_options,
				       .topics = topics,
				       .context = service,
				       .record = on_alert_record,
				       .trouble = on_kafka_trouble};
	char error[256];

	service->alert_tail = tail_new(&options, error, sizeof(error));
	if (!service->alert_tail)
		log_line(LOG_LEVEL_ERROR, "alerts cannot be read back: %s", error);
}

static void stop(struct service *service, int status);

static void connect_work(uv_work_t *work)
{
	struct service *service = work->data;

	service->connect_result =
		consumer_connect(service->consumer, CONNECT_TIMEOUT_MS, service->connect_error,
				 sizeof(service->connect_error));
}

static void connected(uv_work_t *work, int status)
{
	struct service *service = work->data;

	(void)status;
	service->connecting = false;
	if (service->state == STATE_STOPPING)
		return;
	if (service->connect_result == 0) {
		service->waits_for[0] = '\0';
		start_pipeline(service);
		start_alerts(service);
		service->state = STATE_RUNNING;
		log_line(LOG_LEVEL_INFO, "running: %u tasks on %u threads read %s at %s",
			 service->tasks, worker_count(service), TOPIC_EVENTS, service->brokers);
		return;
	}
	memcpy(service->waits_for, service->connect_error, sizeof(service->waits_for));
	if (service->connect_result == -EINVAL) {
		log_line(LOG_LEVEL_ERROR, "%s", service->waits_for);
		stop(service, 1);
		return;
	}
	log_limited(&service->kafka_log, LOG_LEVEL_WARNING, "waiting for Kafka: %s",
		    service->waits_for);
	uv_timer_start(&service->retry, on_retry, service->backoff_ms, 0);
	service->backoff_ms =
		service->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : service->backoff_ms * 2;
}

static void start_connecting(struct service *service)
{
	service->connecting = true;
	service->connect.data = service;
	uv_queue_work(&service->loop, &service->connect, connect_work, connected);
}

/* --- routes of the service itself --- */

/* Ready: the pipeline runs and its log clocks move, which they do only while Kafka takes ticks and
 * gives them back. */
static bool is_ready(const struct service *service, const char **reason)
{
	uint64_t now = now_ns();

	*reason = service->waits_for[0] ? service->waits_for : "starting";
	if (service->state != STATE_RUNNING)
		return false;
	for (uint32_t i = 0; i < service->tasks; i++) {
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

static void serve_ready(struct request *request, struct response *response, void *context)
{
	struct service *service = context;
	const char *reason;
	bool ready = is_ready(service, &reason);
	struct json json;
	const char *body;
	size_t size;

	if (!request_parameter(request, "verbose", 0)) {
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
	json_string(&json, state_names[service->state]);
	json_key(&json, "reasons");
	json_array_begin(&json);
	if (!ready)
		json_string(&json, reason);
	json_array_end(&json);
	json_object_end(&json);
	body = json_text(&json, &size);
	response_send(response, ready ? 200 : 503, "application/json", body, size);
	json_done(&json);
}

static void serve_metrics(struct request *request, struct response *response, void *context)
{
	struct service *service = context;
	struct notify_receiver_stats receivers[64];
	struct metrics metrics = {.tasks = service->stats,
				  .tasks_count = service->tasks,
				  .history = history_stats(service->history),
				  .history_left_out = exits_left_out(service->exits),
				  .server = server_stats(service->server),
				  .outputs = outputs_stats(service->outputs),
				  .receivers = receivers,
				  .event_to_webhook = &service->event_to_webhook,
				  .event_to_rollup = &service->event_to_rollup,
				  .now_ns = now_ns(),
				  .started_ns = service->started_ns};
	const char *reason;
	size_t length;
	char *text;

	(void)request;
	metrics.receivers_count = notify_stats(service->notify, receivers, 64);
	metrics.ready = is_ready(service, &reason);
	for (uint32_t i = 0; i < service->tasks; i++)
		metrics.agents += service->agents[i];
	text = metrics_text(&metrics, &length);
	response_send(response, 200, "text/plain; version=0.0.4; charset=utf-8", text, length);
	free(text);
}

/* --- life --- */

static void on_turn(uv_timer_t *timer)
{
	struct service *service = timer->data;
	const char *reason;

	history_advance(service->history, now_ns());
	names_advance(service->names, pane_of(now_ns()));
	server_health(service->server, "", is_ready(service, &reason));
}

static void on_outputs_readable(uv_poll_t *poll, int status, int events)
{
	struct service *service = poll->data;

	(void)status;
	(void)events;
	outputs_poll(service->outputs);
}

static void on_closed(void *context)
{
	(void)context;
}

/* Everything that holds the loop is closed; uv_run returns when the last of it is gone. */
static void stop(struct service *service, int status)
{
	if (service->state == STATE_STOPPING)
		return;
	service->state = STATE_STOPPING;
	service->status = status;
	alarm(STOP_SECONDS);
	log_line(LOG_LEVEL_INFO, "stopping");
	outputs_release(service->outputs);
	pipeline_stop(service->pipeline);
	take_mail(service, SIZE_MAX);
	if (service->state_tail)
		tail_close(service->state_tail);
	if (service->alert_tail)
		tail_close(service->alert_tail);
	server_close(service->server, on_closed, NULL);
	notify_close(service->notify, on_closed, NULL);
	uv_close((uv_handle_t *)&service->terminate, NULL);
	uv_close((uv_handle_t *)&service->interrupt, NULL);
	uv_close((uv_handle_t *)&service->turn, NULL);
	uv_close((uv_handle_t *)&service->retry, NULL);
	uv_close((uv_handle_t *)&service->outputs_readable, NULL);
	mailbox_close(&service->mailbox);
}

static void on_signal(uv_signal_t *signal, int number)
{
	struct service *service = signal->data;

	(void)number;
	if (service->state == STATE_STOPPING)
		_exit(1);
	stop(service, 0);
}

static void on_alarm(int number)
{
	(void)number;
	_exit(1);
}

static char *join_brokers(const struct config_strings *brokers)
{
	size_t length = 1;
	char *joined;

	for (size_t i = 0; i < brokers->count; i++)
		length += strlen(brokers->items[i]) + 1;
	joined = memory_zeroed(1, length);
	for (size_t i = 0; i < brokers->count; i++) {
		if (i)
			strncat(joined, ",", length - strlen(joined) - 1);
		strncat(joined, brokers->items[i], length - strlen(joined) - 1);
	}
	return joined;
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

static int start_notify(struct service *service)
{
	const struct settings *settings = service->settings;
	size_t count;
	struct receiver *receivers = settings_receivers(settings, &count);
	struct notify_options options = {.receivers = receivers,
					 .receivers_count = count,
					 .external_url = settings->external_url,
					 .allow_http = settings->allow_http,
					 .allow_private = settings->allow_private,
					 .timeout_ns = settings->notify_timeout_ns,
					 .life_ns = settings->notify_life_ns,
					 .pending_max = (uint32_t)settings->notify_pending_max,
					 .context = service,
					 .settled = on_settled,
					 .trouble = on_receiver_trouble};
	const char *error;

	service->notify = notify_new(&service->loop, &options, &error);
	free(receivers);
	if (service->notify)
		return 0;
	log_line(LOG_LEVEL_ERROR, "%s", error);
	return -EINVAL;
}

static int start_kafka(struct service *service)
{
	static const char *const topics[] = {TOPIC_DELIVERY, TOPIC_BASELINES, TOPIC_ALERTS, NULL};
	const struct settings *settings = service->settings;
	const struct config_map *map = &settings->kafka_options;
	struct consumer_options consumer = {.brokers = service->brokers,
					    .topic = TOPIC_EVENTS,
					    .group = settings->kafka_group,
					    .settings_count = map->count,
					    .partitions = service->tasks,
					    .accept_create_time = settings->kafka_create_time ||
								  service->embedded,
					    .rewind_ns = settings->keep_ns,
					    .context = service,
					    .trouble = on_kafka_trouble};
	struct outputs_options outputs = {.brokers = service->brokers,
					  .kafka_options = map,
					  .trouble = on_kafka_trouble,
					  .context = service};
	struct tail_options tail = {.loop = &service->loop,
				    .brokers = service->brokers,
				    .kafka_options = map,
				    .topics = topics,
				    .context = service,
				    .record = on_state_record,
				    .caught_up = on_state_read,
				    .trouble = on_kafka_trouble};
	char error[512];

	service->consumer_settings = memory_zeroed(map->count, sizeof(*service->consumer_settings));
	for (size_t i = 0; i < map->count; i++)
		service->consumer_settings[i] =
			(struct consumer_setting){map->items[i].key, map->items[i].value};
	consumer.settings = service->consumer_settings;
	service->outputs = outputs_new(&outputs, error, sizeof(error));
	if (service->outputs)
		service->consumer = consumer_new(&consumer, error, sizeof(error));
	if (service->consumer) {
		make_pipeline(service);
		service->state_tail = tail_new(&tail, error, sizeof(error));
	}
	if (service->state_tail)
		return 0;
	log_line(LOG_LEVEL_ERROR, "kafka.properties: %s", error);
	return -EINVAL;
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
	service->query = query_new(&(struct query_options){.history = service->history,
							   .tasks = service->tasks,
							   .episodes_max = EPISODES_MAX,
							   .now_ns = now_ns});
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

static void start_handles(struct service *service)
{
	uv_timer_init(&service->loop, &service->turn);
	uv_timer_init(&service->loop, &service->retry);
	uv_poll_init(&service->loop, &service->outputs_readable,
		     outputs_descriptor(service->outputs));
	service->turn.data = service->retry.data = service->outputs_readable.data = service;
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
	pipeline_free(service->pipeline);
	source_free(service->source);
	consumer_close(service->consumer, CLOSE_TIMEOUT_MS);
	exits_free(service->exits);
	notify_free(service->notify);
	query_free(service->query);
	history_free(service->history);
	if (service->embedded)
		embedded_stop(service->embedded);
	encoder_free(service->encoder);
	names_free(service->names);
	free(service->firing);
	free(service->consumer_settings);
	free(service->stats);
	free(service->agents);
	free(service->brokers);
	uv_loop_close(&service->loop);
}

int service_run(const struct service_options *options)
{
	struct service *service = memory_zeroed(1, sizeof(*service));
	int status;

	service->settings = options->settings;
	service->tasks = (uint32_t)options->settings->tasks;
	service->started_ns = now_ns();
	service->stats = memory_zeroed(service->tasks, sizeof(*service->stats));
	service->agents = memory_zeroed(service->tasks, sizeof(*service->agents));
	service->encoder = encoder_new();
	service->names = names_new((uint32_t)options->settings->names_max, 0);
	uv_loop_init(&service->loop);
	start_signals(service);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGALRM, on_alarm);
	/* What is refused here ends the process before anything runs; the system takes back what
	 * was opened. */
	if (options->embedded && start_embedded(service) < 0)
		return 1;
	if (!service->brokers)
		service->brokers = join_brokers(&options->settings->kafka_brokers);
	snprintf(service->waits_for, sizeof(service->waits_for),
		 "Kafka at %s has not given back the kept state yet", service->brokers);
	if (start_history(service) < 0 || start_server(service) < 0 || start_notify(service) < 0 ||
	    start_kafka(service) < 0)
		return 1;
	start_handles(service);
	uv_run(&service->loop, UV_RUN_DEFAULT);
	status = service->status;
	done(service);
	free(service);
	return status;
}
