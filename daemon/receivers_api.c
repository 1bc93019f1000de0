#include "daemon/receivers_api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <cjson/cJSON.h>

#include "api/history/read.h"
#include "api/http/server.h"
#include "api/notify/pace.h"
#include "api/query/monitor_schema.h"
#include "api/query/query.h"
#include "api/query/rehearsal.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/real.h"
#include "daemon/monitors_api.h"
#include "daemon/notifier.h"
#include "daemon/permit.h"
#include "daemon/reply.h"
#include "daemon/topics.h"
#include "millrace/v1/monitors.pb-c.h"

enum { REQUEST_BYTES_MAX = 4096, ROWS_MAX = 300000 /* as of monitors that are tried */ };

struct receivers_api {
	struct receivers_api_options options;
	struct pace pace;
};

struct test;

/* What becomes of it at one receiver. */
struct outcome {
	struct test *test;
	char name[ALERT_MONITOR_MAX];
	const char *type; /* a constant */
	bool routed;
	struct notify_trial trial;
};

struct test {
	struct response *response; /* NULL: its client is gone */
	bool closing;
	size_t count, left; /* to be known, and one while it begins */
	struct outcome outcomes[NOTIFIER_RECEIVERS_MAX];
};

/* --- the alert --- */

static bool baseline_of(const char *name, struct monitor *monitor)
{
	static const char prefix[] = "baseline/";
	uint32_t metric;

	if (strncmp(name, prefix, sizeof(prefix) - 1) != 0)
		return false;
	metric = metric_by_name(name + sizeof(prefix) - 1);
	if (metric == METRICS)
		return false;
	*monitor = (struct monitor){.metric = metric,
				    .comparison = COMPARE_ABOVE,
				    .window_ns = 10 * NS_PER_S,
				    .severity = ALERT_ERROR,
				    .per_server = metric == METRIC_CLIENTS_NEW};
	snprintf(monitor->name, sizeof(monitor->name), "%s", name);
	return true;
}

/* An edge that it looks at, best one that it would tell of; else what it is written for. */
static void choose_subject(const struct receivers_api *api, const struct monitor *monitor,
			   struct alert *alert)
{
	struct history *history = api->options.history;
	struct rehearsal *tried = memory_zeroed(1, sizeof(*tried));
	struct alert_subject *subject = &alert->subject;

	if (rehearsal_run(history, monitor, ROWS_MAX, tried) == 0 && tried->count) {
		const struct rehearsal_line *line = &tried->lines[0];

		alert->value = line->known ? line->value : monitor->threshold;
		subject->port = line->edge.port;
		subject->protocol = line->edge.protocol;
		snprintf(subject->client, sizeof(subject->client), "%s",
			 line->edge.client ? history_name(history, line->edge.client) : "");
		snprintf(subject->server, sizeof(subject->server), "%s",
			 history_name(history, line->edge.server));
	} else {
		alert->value = monitor->threshold;
		subject->port = monitor->port;
		snprintf(subject->client, sizeof(subject->client), "%s",
			 monitor->per_server  ? ""
			 : monitor->client[0] ? monitor->client
					      : "client");
		snprintf(subject->server, sizeof(subject->server), "%s",
			 monitor->server[0] ? monitor->server : "server");
	}
	free(tried);
}

static struct alert make_alert(const struct receivers_api *api, const struct monitor *monitor)
{
	uint64_t now = real_ns();
	struct alert alert = {.sequence = 1,
			      .state = ALERT_FIRING,
			      .severity = monitor->severity,
			      .threshold = monitor->threshold,
			      .window_ms = (uint32_t)(monitor->window_ns / NS_PER_MS),
			      .started_ns = now,
			      .pane_end_ns = now,
			      .last_event_ns = now,
			      .completeness = 1,
			      .episodes = 1};

	choose_subject(api, monitor, &alert);
	/* A key that no incident has. */
	snprintf(alert.monitor, sizeof(alert.monitor), "millrace/test");
	alert_key(&alert);
	snprintf(alert.monitor, sizeof(alert.monitor), "%s", monitor->name);
	snprintf(alert.metric, sizeof(alert.metric), "%s", metric_name(monitor->metric));
	snprintf(alert.unit, sizeof(alert.unit), "%s", metric_unit(monitor->metric));
	snprintf(alert.summary, sizeof(alert.summary),
		 "TEST, nothing is wrong: so %s would be told, %s of %.150s", monitor->name,
		 metric_name(monitor->metric), alert.subject.server);
	return alert;
}

/* --- the answer --- */

static void tell(Millrace__V1__ReceiverTest *message, struct outcome *outcome)
{
	millrace__v1__receiver_test__init(message);
	message->receiver = outcome->name;
	message->type = (char *)outcome->type;
	message->routed = outcome->routed;
	message->sent = outcome->trial.sent;
	message->taken = outcome->trial.taken;
	message->status = (uint32_t)outcome->trial.status;
	message->error = outcome->trial.error;
	message->took_s = (double)outcome->trial.took_ns / 1e9;
}

static void answer(struct test *test)
{
	Millrace__V1__SendTestResponse message = MILLRACE__V1__SEND_TEST_RESPONSE__INIT;
	Millrace__V1__ReceiverTest told[NOTIFIER_RECEIVERS_MAX], *at[NOTIFIER_RECEIVERS_MAX];

	for (size_t i = 0; i < test->count; i++) {
		tell(&told[i], &test->outcomes[i]);
		at[i] = &told[i];
	}
	message.n_tests = test->count;
	message.tests = at;
	reply_message(test->response, &message.base);
}

static void one_known(struct test *test)
{
	if (--test->left)
		return;
	if (test->response)
		response_on_gone(test->response, NULL, NULL);
	if (test->response && test->closing)
		response_refuse(test->response, 503,
				"the notifier ended meanwhile; try again in a second");
	else if (test->response)
		answer(test);
	free(test);
}

static void on_told(void *context, const struct notify_trial *trial)
{
	struct outcome *outcome = context;

	if (trial)
		outcome->trial = *trial;
	else
		outcome->test->closing = true;
	one_known(outcome->test);
}

static void on_gone(struct response *response, void *context)
{
	struct test *test = context;

	(void)response;
	test->response = NULL;
}

/* --- requests --- */

/* receiver: empty for all that are for the alert. */
static void send_test(struct receivers_api *api, struct response *response,
		      const struct alert *alert, const char *receiver)
{
	struct notifier *notifier = api->options.notifier(api->options.context);
	struct receiver_view views[NOTIFIER_RECEIVERS_MAX];
	size_t count = notifier_views(notifier, views, NOTIFIER_RECEIVERS_MAX);
	struct test *test = memory_zeroed(1, sizeof(*test));

	test->response = response;
	test->left = 1;
	response_on_gone(response, on_gone, test);
	for (size_t i = 0; i < count; i++) {
		struct outcome *outcome = &test->outcomes[test->count];

		if (receiver[0] && strcmp(receiver, views[i].name) != 0)
			continue;
		test->count++;
		outcome->test = test;
		outcome->type = views[i].type;
		outcome->routed = notifier_routes(notifier, i, alert);
		snprintf(outcome->name, sizeof(outcome->name), "%s", views[i].name);
		if (outcome->routed || receiver[0]) {
			test->left++;
			notifier_try(notifier, i, alert, on_told, outcome);
		} else {
			snprintf(outcome->trial.error, sizeof(outcome->trial.error),
				 "it is not for such an alert, by its match or severity");
		}
	}
	one_known(test);
}

static bool has_receiver(const struct receivers_api *api, const char *name)
{
	struct notifier *notifier = api->options.notifier(api->options.context);
	struct receiver_view views[NOTIFIER_RECEIVERS_MAX];
	size_t count = notifier_views(notifier, views, NOTIFIER_RECEIVERS_MAX);

	for (size_t i = 0; i < count && name[0]; i++) {
		if (strcmp(views[i].name, name) == 0)
			return true;
	}
	return !name[0] && count;
}

static bool paced(struct receivers_api *api, struct response *response)
{
	uint64_t wait_ms;
	char seconds[24];

	uv_update_time(api->options.loop);
	wait_ms = pace_take(&api->pace, uv_now(api->options.loop));
	if (!wait_ms)
		return true;
	snprintf(seconds, sizeof(seconds), "%llu", (unsigned long long)(wait_ms + 999) / 1000);
	if (!response_by_grpc(response))
		response_header(response, "retry-after", seconds);
	response_refuse(response, 429, "tests are sent six times a minute at most, three at once");
	return false;
}

static void serve(struct receivers_api *api, struct response *response,
		  const Millrace__V1__SendTestRequest *said)
{
	const struct monitor *monitor;
	struct monitor baseline;

	if (!monitors_api_knows(api->options.monitors)) {
		response_refuse(response, 503,
				TOPIC_RULES " has not been read yet; try again in a second");
		return;
	}
	monitor = monitors_api_find(api->options.monitors, said->monitor);
	if (!monitor && baseline_of(said->monitor, &baseline))
		monitor = &baseline;
	if (!monitor) {
		response_refuse(response, said->monitor[0] ? 404 : 400,
				"monitor is to be the name of one that is in force, or baseline/ "
				"and a metric, such as baseline/failure_ratio");
		return;
	}
	if (!has_receiver(api, said->receiver)) {
		response_refuse(response, 404,
				said->receiver[0]
					? "there is no receiver of this name; see GET "
					  "/api/v1/receivers"
					: "there are no receivers: give some in millraced.yaml");
		return;
	}
	if (paced(api, response)) {
		const struct alert alert = make_alert(api, monitor);

		send_test(api, response, &alert, said->receiver);
	}
}

/* {"monitor": "...", "receiver": "..."}. Points into the document. NULL, or what is wrong. */
static const char *read_request(const cJSON *document, Millrace__V1__SendTestRequest *said)
{
	const cJSON *member;

	if (!cJSON_IsObject(document))
		return "a JSON object is wanted: {\"monitor\": \"...\", \"receiver\": \"...\"}";
	cJSON_ArrayForEach(member, document)
	{
		bool monitor = strcmp(member->string, "monitor") == 0;

		if (!monitor && strcmp(member->string, "receiver") != 0)
			return "accepted are monitor and receiver";
		if (!cJSON_IsString(member))
			return "monitor and receiver are names";
		*(monitor ? &said->monitor : &said->receiver) = member->valuestring;
	}
	return NULL;
}

static void serve_document(struct receivers_api *api, const struct request *request,
			   struct response *response)
{
	Millrace__V1__SendTestRequest said = MILLRACE__V1__SEND_TEST_REQUEST__INIT;
	cJSON *document =
		request->body_size > REQUEST_BYTES_MAX
			? NULL
			: cJSON_ParseWithLength((const char *)request->body, request->body_size);
	const char *why = read_request(document, &said);

	if (why)
		response_refuse(response, 400, why);
	else
		serve(api, response, &said);
	cJSON_Delete(document);
}

static void serve_test(struct request *request, struct response *response, void *context)
{
	const char *type = request_header(request, "content-type");
	struct receivers_api *api = context;
	struct refusal refusal;

	if (!permit(api->options.token, request, response))
		return;
	if (!parameters_parse(&monitor_send_takes, request, NULL, NULL, &refusal))
		response_refuse(response, 400, refusal.detail);
	else if (!type || strncasecmp(type, "application/json", 16) != 0)
		/* A page of somebody else's could send another type unasked. */
		response_problem(response, 415, "application/json is wanted");
	else
		serve_document(api, request, response);
}

static void serve_rpc(struct request *request, struct response *response, void *context)
{
	struct receivers_api *api = context;
	Millrace__V1__SendTestRequest *said;

	if (!permit(api->options.token, request, response))
		return;
	said = request->body_size > REQUEST_BYTES_MAX
		       ? NULL
		       : millrace__v1__send_test_request__unpack(NULL, request->body_size,
								 request->body);
	if (!said) {
		response_refuse(response, 400, "no SendTestRequest");
		return;
	}
	serve(api, response, said);
	millrace__v1__send_test_request__free_unpacked(said, NULL);
}

void receivers_api_routes(struct receivers_api *api, struct server *server)
{
	server_route(server, "POST", "/api/v1/receivers/test", serve_test, api);
	server_grpc(server, "/millrace.v1.Monitors/SendTest", serve_rpc, api);
}

/* --- life --- */

struct receivers_api *receivers_api_new(const struct receivers_api_options *options)
{
	struct receivers_api *api = memory_zeroed(1, sizeof(*api));

	api->options = *options;
	pace_init(&api->pace, RECEIVERS_API_PER_MINUTE / 60.0, RECEIVERS_API_BURST,
		  uv_now(options->loop));
	return api;
}

void receivers_api_free(struct receivers_api *api)
{
	free(api);
}
