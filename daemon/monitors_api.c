#include "daemon/monitors_api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "agent/batch/keys.h"
#include "agent/batch/seal.h"
#include "api/http/json.h"
#include "api/http/server.h"
#include "api/history/read.h"
#include "api/query/message_json.h"
#include "api/query/rehearsal.h"
#include "base/clock.h"
#include "base/memory.h"
#include "daemon/keyring.h"
#include "daemon/outputs.h"
#include "daemon/permit.h"
#include "daemon/settings.h"
#include "daemon/tail.h"
#include "daemon/topics.h"
#include "millrace/v1/monitors.pb-c.h"
#include "rules/rulebook.h"

enum {
	LOOK_MS = 500,
	REQUEST_BYTES_MAX = 256 << 10,
	TRIAL_ROWS_MAX = 300000, /* some 0.3 s of the loop that also delivers alerts */
};
#define WAIT_NS (10 * NS_PER_S)

/* Who is answered, and how. */
struct asker {
	struct response *response; /* NULL: nobody any more */
	bool grpc;
};

/* Rules of one request, all issued at one time, which no other request has. */
struct pending {
	struct asker asker; /* nobody: free */
	struct rule *rules;
	size_t count, left; /* to be read back */
	uint64_t issued_ns, until_ns;
	bool one;     /* the answer is a MonitorState */
	bool refused; /* one of them did not come to stand as it was issued */
};

struct monitors_api {
	struct monitors_api_options options;
	struct rulebook *book;
	struct tail *tail;
	bool read_all; /* what the topic had at the start */
	uv_timer_t timer;
	uint64_t issued_ns; /* the last */
	struct pending pending[MONITORS_API_PENDING_MAX];
	struct rule read;
	struct config_error error;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* --- answers --- */

static struct asker asker_of(const struct request *request, struct response *response)
{
	return (struct asker){response, request->grpc};
}

static void refuse(struct asker asker, unsigned status, const char *detail)
{
	static const struct {
		unsigned status;
		enum grpc_status grpc;
	} statuses[] = {
		{400, GRPC_INVALID_ARGUMENT},	 {404, GRPC_NOT_FOUND},
		{409, GRPC_FAILED_PRECONDITION}, {503, GRPC_UNAVAILABLE},
		{504, GRPC_DEADLINE_EXCEEDED},
	};
	size_t at = 0;

	if (!asker.grpc) {
		response_problem(asker.response, status, detail);
		return;
	}
	while (statuses[at].status != status)
		at++;
	response_finish(asker.response, statuses[at].grpc, detail);
}

static void answer(struct asker asker, const ProtobufCMessage *message)
{
	struct json json;
	size_t size;

	if (asker.grpc) {
		uint8_t *bytes;

		size = protobuf_c_message_get_packed_size(message);
		bytes = memory_resize(NULL, size, 1);
		protobuf_c_message_pack(message, bytes);
		response_message(asker.response, bytes, size);
		response_finish(asker.response, GRPC_OK, NULL);
		free(bytes);
		return;
	}
	json_init(&json);
	message_json(&json, message);
	const char *text = json_text(&json, &size);

	response_header(asker.response, "cache-control", "no-store");
	response_send(asker.response, 200, "application/json", text, size);
	json_done(&json);
}

/* --- monitors as messages --- */

enum { DURATION_BYTES = 32 };

struct told {
	Millrace__V1__MonitorState state;
	Millrace__V1__Monitor monitor;
	char window[DURATION_BYTES], clear_after[DURATION_BYTES];
};

/* As the configuration has it. */
static void put_duration(char text[DURATION_BYTES], uint64_t ns)
{
	if (ns % NS_PER_S == 0)
		snprintf(text, DURATION_BYTES, "%llus", (unsigned long long)(ns / NS_PER_S));
	else
		snprintf(text, DURATION_BYTES, "%lluns", (unsigned long long)ns);
	if (ns % NS_PER_S && ns % NS_PER_MS == 0)
		snprintf(text, DURATION_BYTES, "%llums", (unsigned long long)(ns / NS_PER_MS));
}

/* rule: NULL for one of the configuration. Both are lent for the life of what is told. */
static void tell(struct told *told, const struct monitor *monitor, const struct rule *rule)
{
	millrace__v1__monitor_state__init(&told->state);
	millrace__v1__monitor__init(&told->monitor);
	put_duration(told->window, monitor->window_ns);
	put_duration(told->clear_after, monitor->clear_ns);
	told->monitor.name = (char *)monitor->name;
	told->monitor.metric = (char *)metric_name(monitor->metric);
	told->monitor.comparison =
		(char *)(monitor->comparison == COMPARE_BELOW ? "below" : "above");
	told->monitor.threshold = monitor->threshold;
	told->monitor.clear = monitor->clear;
	told->monitor.window = told->window;
	told->monitor.clear_after = told->clear_after;
	told->monitor.minimum = monitor->minimum;
	told->monitor.severity = (char *)alert_severity_name(monitor->severity);
	told->monitor.per = (char *)(monitor->per_server ? "server" : "edge");
	told->monitor.client = (char *)monitor->client;
	told->monitor.server = (char *)monitor->server;
	told->monitor.port = monitor->port;
	told->state.monitor = &told->monitor;
	told->state.source = (char *)(rule ? "api" : "configuration");
	told->state.author = (char *)(rule ? rule->author : "");
	told->state.changed_s = rule ? (double)rule->issued_ns / 1e9 : 0;
}

struct list {
	Millrace__V1__ListMonitorsResponse message;
	struct told *told;
	size_t max;
};

static void list_init(struct list *list, size_t max)
{
	millrace__v1__list_monitors_response__init(&list->message);
	list->told = memory_zeroed(max, sizeof(*list->told));
	list->message.monitors = memory_zeroed(max, sizeof(*list->message.monitors));
	list->max = max;
}

static void list_add(struct list *list, const struct monitor *monitor, const struct rule *rule)
{
	struct told *told = &list->told[list->message.n_monitors];

	tell(told, monitor, rule);
	list->message.monitors[list->message.n_monitors++] = &told->state;
}

static void list_done(struct list *list)
{
	free(list->told);
	free(list->message.monitors);
}

/* --- what a monitor would say now --- */

struct told_trial {
	Millrace__V1__MonitorTrial message;
	Millrace__V1__MonitorValue values[REHEARSAL_LINES_MAX], *values_at[REHEARSAL_LINES_MAX];
	char names[REHEARSAL_LINES_MAX][2][ALERT_NAME_MAX];
	struct rehearsal trial;
};

static void tell_value(struct monitors_api *api, struct told_trial *told, size_t number)
{
	const struct rehearsal_line *line = &told->trial.lines[number];
	Millrace__V1__MonitorValue *value = &told->values[number];
	struct history *history = api->options.history;

	millrace__v1__monitor_value__init(value);
	snprintf(told->names[number][0], ALERT_NAME_MAX, "%s",
		 history_name(history, line->edge.client));
	snprintf(told->names[number][1], ALERT_NAME_MAX, "%s",
		 history_name(history, line->edge.server));
	value->client = told->names[number][0];
	value->server = told->names[number][1];
	value->port = line->edge.port;
	value->protocol = (char *)(line->edge.protocol == 6    ? "tcp"
				   : line->edge.protocol == 17 ? "udp"
							       : "");
	value->known = line->known;
	value->value = line->value;
	value->fires = line->fires;
	value->connections = line->connections;
	told->values_at[number] = value;
}

/* To free; NULL: the asker was told why there is none. */
static struct told_trial *try_monitor(struct monitors_api *api, struct asker asker,
				      const struct monitor *monitor)
{
	struct told_trial *told = memory_zeroed(1, sizeof(*told));

	if (rehearsal_run(api->options.history, monitor, TRIAL_ROWS_MAX, &told->trial) < 0) {
		refuse(asker, 503,
		       "the monitor is good; the history cannot be read, or has too many rows for "
		       "it: give client, server or port, or a shorter window");
		free(told);
		return NULL;
	}
	millrace__v1__monitor_trial__init(&told->message);
	told->message.start_s = (double)told->trial.start_ns / 1e9;
	told->message.end_s = (double)told->trial.end_ns / 1e9;
	told->message.matched = (uint32_t)told->trial.matched;
	told->message.firing = (uint32_t)told->trial.firing;
	told->message.n_values = told->trial.count;
	told->message.values = told->values_at;
	for (size_t i = 0; i < told->trial.count; i++)
		tell_value(api, told, i);
	return told;
}

static void answer_rules(struct asker asker, const struct rule *rules, size_t count, bool one)
{
	struct list list;

	list_init(&list, count);
	for (size_t i = 0; i < count; i++)
		list_add(&list, &rules[i].monitor, &rules[i]);
	answer(asker, one ? &list.told[0].state.base : &list.message.base);
	list_done(&list);
}

/* --- what stands --- */

static const struct monitor *find_own(const struct monitors_api *api, const char *name)
{
	size_t count;
	const struct monitor *monitors = rulebook_monitors(api->book, &count);

	for (size_t i = 0; i < rulebook_own(api->book); i++) {
		if (strcmp(monitors[i].name, name) == 0)
			return &monitors[i];
	}
	return NULL;
}

static const struct rule *find_rule(const struct monitors_api *api, const char *name)
{
	char id[RULE_ID_BYTES];
	const struct rule *rule;

	rule_monitor_id(name, id);
	rule = rulebook_find(api->book, id);
	return rule && !rule->withdrawn ? rule : NULL;
}

static void answer_list(struct monitors_api *api, struct asker asker)
{
	size_t count;
	const struct monitor *monitors = rulebook_monitors(api->book, &count);
	struct list list;

	list_init(&list, count);
	for (size_t i = 0; i < rulebook_own(api->book); i++)
		list_add(&list, &monitors[i], NULL);
	for (size_t i = rulebook_own(api->book); i < count; i++)
		list_add(&list, &monitors[i], find_rule(api, monitors[i].name));
	answer(asker, &list.message.base);
	list_done(&list);
}

/* rule: NULL of the configuration's. */
static void answer_tried(struct monitors_api *api, struct asker asker,
			 const struct monitor *monitor, const struct rule *rule, bool as_list)
{
	struct told_trial *told = try_monitor(api, asker, monitor);
	struct list list;

	if (!told)
		return;
	list_init(&list, 1);
	list_add(&list, monitor, rule);
	list.told[0].state.trial = &told->message;
	answer(asker, as_list ? &list.message.base : &list.told[0].state.base);
	list_done(&list);
	free(told);
}

static void answer_one(struct monitors_api *api, struct asker asker, const char *name, bool test,
		       bool as_list)
{
	const struct monitor *own = find_own(api, name);
	const struct rule *rule = find_rule(api, name);
	struct list list;

	if (!own && !rule) {
		refuse(asker, 404, "no monitor of this name is in force");
		return;
	}
	if (test) {
		answer_tried(api, asker, own ? own : &rule->monitor, own ? NULL : rule, as_list);
		return;
	}
	list_init(&list, 1);
	list_add(&list, own ? own : &rule->monitor, own ? NULL : rule);
	answer(asker, as_list ? &list.message.base : &list.told[0].state.base);
	list_done(&list);
}

static bool knows(struct monitors_api *api, struct asker asker)
{
	if (!api->read_all)
		refuse(asker, 503, TOPIC_RULES " has not been read yet; try again in a second");
	return api->read_all;
}

/* --- into the topic, and the answer when it is there --- */

static void end_pending(struct pending *pending)
{
	if (pending->asker.response)
		response_on_gone(pending->asker.response, NULL, NULL);
	free(pending->rules);
	*pending = (struct pending){0};
}

static void on_gone(struct response *response, void *context)
{
	struct pending *pending = context;

	(void)response;
	pending->asker.response = NULL;
	end_pending(pending);
}

static struct pending *free_pending(struct monitors_api *api)
{
	for (size_t i = 0; i < MONITORS_API_PENDING_MAX; i++) {
		if (!api->pending[i].asker.response)
			return &api->pending[i];
	}
	return NULL;
}

/* Signed as the deployment's keys are now. */
static void write_rule(struct monitors_api *api, const struct rule *rule)
{
	const struct keys *keys = keyring_keys(api->options.keyring);
	uint8_t key[SEAL_KEY_BYTES], bytes[RULE_BYTES_MAX];
	bool keyed = keys_count(keys) && keys_pipeline_key(keys, 0, key) == 0;
	size_t length = rule_write(rule, keyed ? key : NULL, bytes);

	explicit_bzero(key, sizeof(key));
	outputs_offer(api->options.outputs, TOPIC_RULES, rule->id, strlen(rule->id),
		      (struct encoded){.bytes = bytes, .length = length});
}

/* Takes the rules over. */
static void write_rules(struct monitors_api *api, struct asker asker, struct rule *rules,
			size_t count, bool one)
{
	struct pending *pending = free_pending(api);

	if (!pending) {
		free(rules);
		refuse(asker, 503, "too many changes wait for Kafka");
		return;
	}
	*pending = (struct pending){.asker = asker,
				    .rules = rules,
				    .count = count,
				    .left = count,
				    .issued_ns = rules[0].issued_ns,
				    .until_ns = now_ns() + WAIT_NS,
				    .one = one};
	response_on_gone(asker.response, on_gone, pending);
	for (size_t i = 0; i < count; i++)
		write_rule(api, &rules[i]);
}

/* Later than all that is known, whatever the clock does: of one id the last stands. */
static uint64_t issue(struct monitors_api *api)
{
	uint64_t now = now_ns();

	api->issued_ns = api->issued_ns >= now ? api->issued_ns + 1 : now;
	return api->issued_ns;
}

/* What found no room must not come to stand by itself when there is some. */
static void take_back(struct monitors_api *api, struct rule *rule)
{
	rule->withdrawn = true;
	rule->issued_ns = issue(api);
	write_rule(api, rule);
}

/* What was read was shown to the rulebook. */
static void answer_pending(struct monitors_api *api, struct rule *read)
{
	const struct rule *stands = rulebook_find(api->book, read->id);
	bool refused = !stands || stands->issued_ns != read->issued_ns;
	bool homeless = refused && (!stands || stands->withdrawn) && !read->withdrawn;
	uint64_t issued_ns = read->issued_ns;

	for (size_t i = 0; i < MONITORS_API_PENDING_MAX; i++) {
		struct pending *pending = &api->pending[i];

		if (!pending->asker.response || pending->issued_ns != issued_ns)
			continue;
		pending->refused |= refused;
		if (homeless && !read->withdrawn)
			take_back(api, read);
		if (--pending->left)
			continue;
		if (pending->refused)
			refuse(pending->asker, 409,
			       "others changed monitors at the same time: not all of this is in "
			       "force; see GET /api/v1/monitors");
		else
			answer_rules(pending->asker, pending->rules, pending->count, pending->one);
		end_pending(pending);
	}
}

static void on_record(void *context, const struct tail_record *record)
{
	struct monitors_api *api = context;
	char why[RULE_WHY_BYTES];

	/* What is no good the relay tells of. */
	if (!record->value || !rule_accept(record->value, record->length,
					   keyring_keys(api->options.keyring), &api->read, why))
		return;
	rulebook_take(api->book, &api->read, now_ns());
	if (api->read.issued_ns > api->issued_ns)
		api->issued_ns = api->read.issued_ns;
	answer_pending(api, &api->read);
}

static void on_timer(uv_timer_t *timer)
{
	struct monitors_api *api = timer->data;
	uint64_t now = now_ns();

	for (size_t i = 0; i < MONITORS_API_PENDING_MAX; i++) {
		struct pending *pending = &api->pending[i];
		struct asker asker = pending->asker;

		if (!asker.response || pending->until_ns > now)
			continue;
		end_pending(pending);
		refuse(asker, 504,
		       "Kafka did not take the change within 10 s; it may come yet: see "
		       "GET /api/v1/monitors");
	}
}

/* --- documents --- */

struct document {
	struct config_list monitors; /* of struct settings_monitor */
};

static const struct config_entry document_entries[] = {
	{.name = "monitors",
	 .type = CONFIG_LIST,
	 CONFIG_FIELD(struct document, monitors),
	 .table = &settings_monitor_table,
	 .min = "1",
	 .max = "64",
	 .required = true,
	 .help = "Monitors."},
};

static const struct config_table document_table = {
	.program = "millraced",
	.entries = document_entries,
	.count = 1,
	.size = sizeof(struct document),
};

/* The rule of one that was read; NULL, or what is wrong with it. */
static const char *make_rule(struct monitors_api *api, const struct settings_monitor *from,
			     struct rule *rule)
{
	static char why[CONFIG_ERROR_BYTES];

	if (settings_check_monitor(from, why, sizeof(why)) < 0)
		return why;
	rule->monitor = settings_monitor(from);
	rule_monitor_id(rule->monitor.name, rule->id);
	if (find_own(api, rule->monitor.name)) {
		snprintf(why, sizeof(why),
			 "%s is a monitor of millraced's configuration; change it there, or "
			 "choose another name",
			 rule->monitor.name);
		return why;
	}
	return NULL;
}

/* One of the names twice would be written once. */
static const char *twice(const struct rule *rules, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		for (size_t n = 0; n < i; n++) {
			if (strcmp(rules[i].id, rules[n].id) == 0)
				return "monitors: a name is given twice";
		}
	}
	return NULL;
}

static size_t rules_of_list(struct monitors_api *api, const struct config_list *list,
			    struct rule **rules, const char **why)
{
	const struct settings_monitor *monitors = list->items;

	*rules = memory_zeroed(list->count, sizeof(**rules));
	*why = NULL;
	for (size_t i = 0; i < list->count && !*why; i++)
		*why = make_rule(api, &monitors[i], &(*rules)[i]);
	if (!*why)
		*why = twice(*rules, list->count);
	if (!*why)
		return list->count;
	free(*rules);
	return 0;
}

/* A monitor, or a list of them under `monitors`. Returns how many, in *rules, to free; or 0 and
 * why, with the line where there is one. */
static size_t read_document(struct monitors_api *api, const char *text, size_t length,
			    struct rule **rules, const char **why)
{
	struct settings_monitor monitor;
	struct document document;
	size_t count = 0;
	bool list = config_begins_with(text, length, "monitors");

	*why = api->error.text;
	if (list &&
	    config_read(&document_table, "line", text, length, &document, &api->error) == 0) {
		count = rules_of_list(api, &document.monitors, rules, why);
		config_free(&document_table, &document);
	} else if (!list && config_read(&settings_monitor_table, "line", text, length, &monitor,
					&api->error) == 0) {
		const struct config_list one = {&monitor, 1};

		count = rules_of_list(api, &one, rules, why);
		config_free(&settings_monitor_table, &monitor);
	}
	return count;
}

/* --- requests --- */

static size_t newcomers(const struct monitors_api *api, const struct rule *rules, size_t count)
{
	size_t found = 0;

	for (size_t i = 0; i < count; i++)
		found += !rules[i].withdrawn && find_rule(api, rules[i].monitor.name) == NULL;
	return found;
}

/* Of the rulebook, and of requests that wait for it. */
static size_t standing(const struct monitors_api *api)
{
	size_t count = rulebook_standing(api->book);

	for (size_t i = 0; i < MONITORS_API_PENDING_MAX; i++)
		count += newcomers(api, api->pending[i].rules, api->pending[i].count);
	return count;
}

/* name: which one it must be; NULL: any, and as many. */
static void apply(struct monitors_api *api, struct asker asker, const char *peer, const char *text,
		  size_t length, const char *name, bool dry_run)
{
	struct rule *rules;
	const char *why;
	size_t count = read_document(api, text, length, &rules, &why);
	uint64_t issued_ns;

	if (!count) {
		refuse(asker, 400, why);
		return;
	}
	bool other = name && (count > 1 || strcmp(rules[0].monitor.name, name) != 0);

	if (other || standing(api) + newcomers(api, rules, count) > MONITORS_API_MAX) {
		free(rules);
		refuse(asker, other ? 400 : 409,
		       other ? "the path names another monitor than the document"
			     : "256 monitors stand already: delete some");
		return;
	}
	issued_ns = dry_run ? 0 : issue(api);
	for (size_t i = 0; i < count; i++) {
		rules[i].issued_ns = issued_ns;
		snprintf(rules[i].author, sizeof(rules[i].author), "%s", peer);
	}
	if (!dry_run) {
		write_rules(api, asker, rules, count, name != NULL);
		return;
	}
	if (count == 1)
		answer_tried(api, asker, &rules[0].monitor, &rules[0], true);
	else
		answer_rules(asker, rules, count, false);
	free(rules);
}

static void withdraw(struct monitors_api *api, struct asker asker, const char *peer,
		     const char *name)
{
	const struct rule *known = find_rule(api, name);
	struct rule *rule;

	if (!known && find_own(api, name)) {
		refuse(asker, 409,
		       "it is a monitor of millraced's configuration; take it out there");
		return;
	}
	if (!known) {
		refuse(asker, 404, "no monitor of this name is in force");
		return;
	}
	rule = memory_zeroed(1, sizeof(*rule));
	*rule = *known;
	rule->withdrawn = true;
	rule->issued_ns = issue(api);
	snprintf(rule->author, sizeof(rule->author), "%s", peer);
	write_rules(api, asker, rule, 1, true);
}

static bool is_document(const struct request *request, struct response *response)
{
	const char *type = request_header(request, "content-type");

	if (type && (strncasecmp(type, "application/json", 16) == 0 ||
		     strncasecmp(type, "application/yaml", 16) == 0))
		return true;
	response_problem(response, 415, "application/yaml or application/json is wanted");
	return false;
}

static void serve_list(struct request *request, struct response *response, void *context)
{
	struct monitors_api *api = context;
	struct asker asker = asker_of(request, response);

	if (knows(api, asker))
		answer_list(api, asker);
}

static void serve_get(struct request *request, struct response *response, void *context)
{
	struct monitors_api *api = context;
	struct asker asker = asker_of(request, response);

	if (knows(api, asker))
		answer_one(api, asker, request->rest, request_parameter(request, "test", 0) != NULL,
			   false);
}

static void serve_apply(struct request *request, struct response *response, void *context)
{
	struct monitors_api *api = context;
	struct asker asker = asker_of(request, response);

	if (permit(api->options.token, request, response) && is_document(request, response) &&
	    knows(api, asker))
		apply(api, asker, request->peer, (const char *)request->body, request->body_size,
		      request->rest[0] ? request->rest : NULL,
		      request_parameter(request, "dry_run", 0) != NULL);
}

static void serve_delete(struct request *request, struct response *response, void *context)
{
	struct monitors_api *api = context;
	struct asker asker = asker_of(request, response);

	if (permit(api->options.token, request, response) && knows(api, asker))
		withdraw(api, asker, request->peer, request->rest);
}

/* --- the same over gRPC --- */

static void serve_rpc_list(struct request *request, struct response *response, void *context)
{
	struct monitors_api *api = context;
	struct asker asker = asker_of(request, response);
	Millrace__V1__ListMonitorsRequest *message;

	message = request->body_size > REQUEST_BYTES_MAX
			  ? NULL
			  : millrace__v1__list_monitors_request__unpack(NULL, request->body_size,
									request->body);
	if (!message)
		refuse(asker, 400, "no ListMonitorsRequest");
	else if (knows(api, asker) && message->name[0])
		answer_one(api, asker, message->name, message->test, true);
	else if (api->read_all)
		answer_list(api, asker);
	if (message)
		millrace__v1__list_monitors_request__free_unpacked(message, NULL);
}

static void serve_rpc_apply(struct request *request, struct response *response, void *context)
{
	struct monitors_api *api = context;
	struct asker asker = asker_of(request, response);
	Millrace__V1__ApplyMonitorsRequest *message;

	if (!permit(api->options.token, request, response) || !knows(api, asker))
		return;
	message = request->body_size > REQUEST_BYTES_MAX
			  ? NULL
			  : millrace__v1__apply_monitors_request__unpack(NULL, request->body_size,
									 request->body);
	if (!message) {
		refuse(asker, 400, "no ApplyMonitorsRequest");
		return;
	}
	apply(api, asker, request->peer, message->document, strlen(message->document), NULL,
	      message->dry_run);
	millrace__v1__apply_monitors_request__free_unpacked(message, NULL);
}

static void serve_rpc_delete(struct request *request, struct response *response, void *context)
{
	struct monitors_api *api = context;
	struct asker asker = asker_of(request, response);
	Millrace__V1__DeleteMonitorRequest *message;

	if (!permit(api->options.token, request, response) || !knows(api, asker))
		return;
	message = request->body_size > REQUEST_BYTES_MAX
			  ? NULL
			  : millrace__v1__delete_monitor_request__unpack(NULL, request->body_size,
									 request->body);
	if (!message) {
		refuse(asker, 400, "no DeleteMonitorRequest");
		return;
	}
	withdraw(api, asker, request->peer, message->name);
	millrace__v1__delete_monitor_request__free_unpacked(message, NULL);
}

void monitors_api_routes(struct monitors_api *api, struct server *server)
{
	server_route(server, "GET", "/api/v1/monitors", serve_list, api);
	server_route(server, "POST", "/api/v1/monitors", serve_apply, api);
	server_route(server, "GET", "/api/v1/monitors/*", serve_get, api);
	server_route(server, "PUT", "/api/v1/monitors/*", serve_apply, api);
	server_route(server, "DELETE", "/api/v1/monitors/*", serve_delete, api);
	server_grpc(server, "/millrace.v1.Monitors/List", serve_rpc_list, api);
	server_grpc(server, "/millrace.v1.Monitors/Apply", serve_rpc_apply, api);
	server_grpc(server, "/millrace.v1.Monitors/Delete", serve_rpc_delete, api);
}

/* --- life --- */

static void on_read_all(void *context)
{
	struct monitors_api *api = context;

	api->read_all = true;
}

static void on_trouble(void *context, const char *sentence)
{
	const struct monitors_api *api = context;

	api->options.trouble(api->options.context, sentence);
}

struct monitors_api *monitors_api_new(const struct monitors_api_options *options)
{
	struct monitors_api *api = memory_zeroed(1, sizeof(*api));

	api->options = *options;
	api->book = rulebook_new(options->own, options->own_count, MONITORS_API_MAX);
	uv_timer_init(options->loop, &api->timer);
	api->timer.data = api;
	uv_timer_start(&api->timer, on_timer, LOOK_MS, LOOK_MS);
	return api;
}

void monitors_api_start(struct monitors_api *api)
{
	static const char *const topics[] = {TOPIC_RULES, NULL};
	char error[256];

	if (api->tail)
		return;
	api->tail = tail_new(&(struct tail_options){.loop = api->options.loop,
						    .brokers = api->options.brokers,
						    .security = api->options.security,
						    .topics = topics,
						    .context = api,
						    .record = on_record,
						    .caught_up = on_read_all,
						    .trouble = on_trouble},
			     error, sizeof(error));
	if (!api->tail)
		api->options.trouble(api->options.context, error);
}

void monitors_api_close(struct monitors_api *api)
{
	if (api->tail)
		tail_close(api->tail);
	uv_close((uv_handle_t *)&api->timer, NULL);
}

void monitors_api_free(struct monitors_api *api)
{
	if (!api)
		return;
	for (size_t i = 0; i < MONITORS_API_PENDING_MAX; i++)
		free(api->pending[i].rules);
	rulebook_free(api->book);
	free(api);
}
