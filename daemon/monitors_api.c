#include "daemon/monitors_api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/batch/keys.h"
#include "agent/batch/seal.h"
#include "api/http/server.h"
#include "api/history/read.h"
#include "api/query/monitor_schema.h"
#include "api/query/rehearsal.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/patterns.h"
#include "base/real.h"
#include "daemon/keyring.h"
#include "daemon/monitor_text.h"
#include "daemon/outputs.h"
#include "daemon/permit.h"
#include "daemon/reply.h"
#include "daemon/settings.h"
#include "daemon/topics.h"
#include "daemon/waiting.h"
#include "millrace/v1/monitors.pb-c.h"
#include "rules/rulebook.h"

enum {
	ISSUED_KEPT = 1024, /* more than are taken within ten minutes */
	REQUEST_BYTES_MAX = 256 << 10,
	TRIAL_ROWS_MAX = 300000, /* some 0.3 s of the loop that also delivers alerts */
};

/* What one request wants, all issued at one time, which no other request has. */
struct change {
	size_t count, left; /* to be read back */
	bool one;	    /* the answer is a MonitorState */
	bool refused;	    /* one of them did not come to stand as it was issued */
	struct rule rules[];
};

struct monitors_api {
	struct monitors_api_options options;
	struct rulebook *book;
	bool read_all;				    /* what the topic had at the start */
	uint64_t issued_ns;			    /* the last */
	uint64_t issued[ISSUED_KEPT], issued_count; /* by this process: the last of its requests */
	struct waiting waiting;			    /* for what is a struct change */
	struct config_error error;
};

/* --- monitors as messages --- */

enum { DURATION_BYTES = 32 };

struct told {
	Millrace__V1__MonitorState state;
	Millrace__V1__Monitor monitor;
	char window[DURATION_BYTES], clear_after[DURATION_BYTES];
	char absent_for[DURATION_BYTES], learn[DURATION_BYTES];
	char *patterns[MONITOR_FILTERS], **texts[MONITOR_FILTERS]; /* to free */
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

static void tell_filter(struct told *told, const struct monitor *monitor, size_t filter)
{
	const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field_by_name(
		&millrace__v1__monitor__descriptor, monitor_filters[filter].name);
	const char *patterns = (const char *)monitor + monitor_filters[filter].offset;
	char *message = (char *)&told->monitor;
	size_t count = patterns_count(patterns);

	if (!count)
		return;
	told->patterns[filter] = memory_resize(NULL, strlen(patterns) + 1, 1);
	told->texts[filter] = memory_resize(NULL, count, sizeof(*told->texts[filter]));
	patterns_split(patterns, told->patterns[filter], told->texts[filter]);
	*(size_t *)(message + field->quantifier_offset) = count;
	*(char ***)(message + field->offset) = told->texts[filter];
}

/* rule: NULL for one of the configuration. Both are lent for the life of what is told. */
static void tell(struct told *told, const struct monitor *monitor, const struct rule *rule)
{
	millrace__v1__monitor_state__init(&told->state);
	millrace__v1__monitor__init(&told->monitor);
	put_duration(told->window, monitor->window_ns);
	put_duration(told->clear_after, monitor->clear_ns);
	told->monitor.name = (char *)monitor->name;
	told->monitor.kind = (char *)monitor_kind_names[monitor->kind];
	told->monitor.metric = (char *)settings_metric_name(monitor->metric);
	told->monitor.comparison =
		(char *)(monitor->comparison == COMPARE_BELOW ? "below" : "above");
	told->monitor.threshold = monitor->threshold;
	told->monitor.clear = monitor->clear;
	told->monitor.window = told->window;
	told->monitor.clear_after = told->clear_after;
	told->monitor.minimum = monitor->minimum;
	told->monitor.objective = monitor->objective;
	told->monitor.sensitivity = monitor->sensitivity;
	told->monitor.silent = monitor->silent;
	put_duration(told->absent_for, monitor->absent_ns);
	put_duration(told->learn, monitor->learn_ns);
	told->monitor.absent_for = told->absent_for;
	told->monitor.learn = told->learn;
	told->monitor.severity = (char *)settings_severity_name(monitor->severity);
	told->monitor.per = (char *)(monitor->per_server ? "server" : "edge");
	for (size_t i = 0; i < MONITOR_FILTERS; i++)
		tell_filter(told, monitor, i);
	told->monitor.protocol = (char *)settings_protocol_name(monitor->protocol);
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
	for (size_t i = 0; i < list->message.n_monitors; i++) {
		for (size_t filter = 0; filter < MONITOR_FILTERS; filter++) {
			free(list->told[i].patterns[filter]);
			free(list->told[i].texts[filter]);
		}
	}
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

/* To free; NULL: it was refused. */
static struct told_trial *try_monitor(struct monitors_api *api, struct response *response,
				      const struct monitor *monitor)
{
	struct told_trial *told = memory_zeroed(1, sizeof(*told));

	if (rehearsal_run(api->options.history, monitor, TRIAL_ROWS_MAX, &told->trial) < 0) {
		response_refuse(
			response, 503,
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

static void answer_rules(struct response *response, const struct rule *rules, size_t count,
			 bool one)
{
	struct list list;

	list_init(&list, count);
	for (size_t i = 0; i < count; i++)
		list_add(&list, &rules[i].monitor, &rules[i]);
	reply_message(response, one ? &list.told[0].state.base : &list.message.base);
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

const struct monitor *monitors_api_find(const struct monitors_api *api, const char *name)
{
	const struct monitor *own = find_own(api, name);
	const struct rule *rule = own ? NULL : find_rule(api, name);

	return own ? own : rule ? &rule->monitor : NULL;
}

bool monitors_api_knows(const struct monitors_api *api)
{
	return api->read_all;
}

static void answer_list(struct monitors_api *api, struct response *response)
{
	size_t count;
	const struct monitor *monitors = rulebook_monitors(api->book, &count);
	struct list list;

	list_init(&list, count);
	for (size_t i = 0; i < rulebook_own(api->book); i++)
		list_add(&list, &monitors[i], NULL);
	for (size_t i = rulebook_own(api->book); i < count; i++)
		list_add(&list, &monitors[i], find_rule(api, monitors[i].name));
	reply_message(response, &list.message.base);
	list_done(&list);
}

/* rule: NULL of the configuration's. */
static void answer_tried(struct monitors_api *api, struct response *response,
			 const struct monitor *monitor, const struct rule *rule, bool as_list)
{
	struct told_trial *told = try_monitor(api, response, monitor);
	struct list list;

	if (!told)
		return;
	list_init(&list, 1);
	list_add(&list, monitor, rule);
	list.told[0].state.trial = &told->message;
	reply_message(response, as_list ? &list.message.base : &list.told[0].state.base);
	list_done(&list);
	free(told);
}

static void answer_one(struct monitors_api *api, struct response *response, const char *name,
		       bool test, bool as_list)
{
	const struct monitor *own = find_own(api, name);
	const struct rule *rule = find_rule(api, name);
	struct list list;

	if (!own && !rule) {
		response_refuse(response, 404, "no monitor of this name is in force");
		return;
	}
	if (test) {
		answer_tried(api, response, own ? own : &rule->monitor, own ? NULL : rule, as_list);
		return;
	}
	list_init(&list, 1);
	list_add(&list, own ? own : &rule->monitor, own ? NULL : rule);
	reply_message(response, as_list ? &list.message.base : &list.told[0].state.base);
	list_done(&list);
}

static bool knows(struct monitors_api *api, struct response *response)
{
	if (!api->read_all)
		response_refuse(response, 503,
				TOPIC_RULES " has not been read yet; try again in a second");
	return api->read_all;
}

/* --- into the topic, and the answer when it is there --- */

static struct change *change_new(size_t count)
{
	struct change *change =
		memory_zeroed(1, sizeof(*change) + count * sizeof(change->rules[0]));

	change->count = change->left = count;
	return change;
}

/* Signed as the deployment's keys are now. */
static void write_rule(struct monitors_api *api, const struct rule *rule)
{
	const struct keys *keys = keyring_keys(api->options.keyring);
	uint8_t key[SEAL_KEY_BYTES], bytes[RULE_BYTES_MAX];
	size_t length = rule_write(rule, keys_signer(keys, key) ? key : NULL, bytes);

	explicit_bzero(key, sizeof(key));
	outputs_offer(api->options.outputs, TOPIC_RULES, rule->id, strlen(rule->id),
		      (struct encoded){.bytes = bytes, .length = length});
}

/* Takes the change over. */
static void write_change(struct monitors_api *api, struct response *response, struct change *change)
{
	if (!waiting_add(&api->waiting, response, change->rules[0].issued_ns, change))
		return;
	api->issued[api->issued_count++ % ISSUED_KEPT] = change->rules[0].issued_ns;
	for (size_t i = 0; i < change->count; i++)
		write_rule(api, &change->rules[i]);
}

/* Later than all that is known, whatever the clock does: of one id the last stands. */
static uint64_t issue(struct monitors_api *api)
{
	uint64_t now = real_ns();

	api->issued_ns = api->issued_ns >= now ? api->issued_ns + 1 : now;
	return api->issued_ns;
}

/* What found no room must not come to stand by itself when there is some. */
static void take_back(struct monitors_api *api, const struct rule *rule)
{
	struct rule withdrawal = *rule;

	withdrawal.withdrawn = true;
	withdrawal.issued_ns = issue(api);
	write_rule(api, &withdrawal);
}

/* Whoever asked for it may be gone: the rule comes all the same. */
static bool is_ours(const struct monitors_api *api, uint64_t issued_ns)
{
	bool ours = false;

	for (size_t i = 0; i < ISSUED_KEPT && !ours; i++)
		ours = api->issued[i] == issued_ns;
	return ours;
}

static struct waiter *waiter_of(struct monitors_api *api, uint64_t issued_ns)
{
	struct waiter *waiter = waiting_next(&api->waiting, NULL);

	while (waiter && waiter->issued_ns != issued_ns)
		waiter = waiting_next(&api->waiting, waiter);
	return waiter;
}

static void answer_change(struct response *response, const struct change *change)
{
	if (change->refused)
		response_refuse(response, 409,
				"others changed monitors at the same time: not all of this is in "
				"force; see GET /api/v1/monitors");
	else
		answer_rules(response, change->rules, change->count, change->one);
}

/* What was read was shown to the rulebook. */
static void answer_waiter(struct monitors_api *api, const struct rule *read)
{
	struct waiter *waiter = waiter_of(api, read->issued_ns);
	const struct rule *stands = rulebook_find(api->book, read->id);
	bool refused = !stands || stands->issued_ns != read->issued_ns;
	bool homeless = refused && (!stands || stands->withdrawn) && !read->withdrawn;
	struct response *response;
	struct change *change;

	if (homeless && is_ours(api, read->issued_ns))
		take_back(api, read);
	if (!waiter)
		return;
	response = waiter->response;
	change = waiter->what;
	change->refused |= refused;
	if (--change->left)
		return;
	waiting_end(waiter);
	answer_change(response, change);
	free(change);
}

void monitors_api_take(struct monitors_api *api, const struct rule *rule)
{
	rulebook_take(api->book, rule, real_ns());
	if (rule->issued_ns > api->issued_ns)
		api->issued_ns = rule->issued_ns;
	answer_waiter(api, rule);
}

void monitors_api_read_all(struct monitors_api *api)
{
	api->read_all = true;
}

/* --- documents --- */

static bool make_rules(const struct monitor *monitors, struct change *change, const char **why)
{
	static char problem[RULE_WHY_BYTES];

	for (size_t i = 0; i < change->count; i++) {
		struct rule *rule = &change->rules[i];

		rule->monitor = monitors[i];
		rule_monitor_id(rule->monitor.name, rule->id);
		rule->issued_ns = 1; /* until it is issued */
		if (!rule_check(rule, problem)) {
			*why = problem;
			return false;
		}
	}
	return true;
}

/* To free; or NULL and why, with the line where there is one. */
static struct change *read_document(struct monitors_api *api, const char *text, size_t length,
				    const char **why)
{
	size_t count;
	struct monitor *monitors = monitor_text_read("line", text, length, &count, &api->error);
	struct change *change;

	*why = api->error.text;
	if (!monitors)
		return NULL;
	change = change_new(count);
	if (!make_rules(monitors, change, why)) {
		free(change);
		change = NULL;
	}
	free(monitors);
	return change;
}

/* --- requests --- */

static size_t newcomers(const struct monitors_api *api, const struct change *change)
{
	size_t found = 0;

	for (size_t i = 0; i < change->count; i++) {
		const struct rule *rule = &change->rules[i];

		found += !rule->withdrawn && find_rule(api, rule->monitor.name) == NULL;
	}
	return found;
}

/* Of the rulebook, and of requests that wait for it. */
static size_t standing(struct monitors_api *api)
{
	size_t count = rulebook_standing(api->book);
	struct waiter *waiter = NULL;

	while ((waiter = waiting_next(&api->waiting, waiter)))
		count += newcomers(api, waiter->what);
	return count;
}

/* Why it cannot come to stand beside what does; NULL: it can. */
static const char *conflict(struct monitors_api *api, const struct change *change)
{
	for (size_t i = 0; i < change->count; i++) {
		const char *name = change->rules[i].monitor.name;

		if (!find_own(api, name))
			continue;
		snprintf(api->error.text, sizeof(api->error.text),
			 "%s is a monitor of millraced's configuration; change it there, or choose "
			 "another name",
			 name);
		return api->error.text;
	}
	return standing(api) + newcomers(api, change) > MONITORS_API_MAX
		       ? "256 monitors stand already: delete some"
		       : NULL;
}

static void answer_dry_run(struct monitors_api *api, struct response *response,
			   const struct change *change)
{
	const struct rule *rules = change->rules;

	if (change->count == 1)
		answer_tried(api, response, &rules[0].monitor, &rules[0], !change->one);
	else
		answer_rules(response, rules, change->count, false);
}

/* name: which one it must be, and the answer is that one; NULL: any, and as many. */
static void apply(struct monitors_api *api, struct response *response, const char *peer,
		  const char *text, size_t length, const char *name, bool dry_run)
{
	const char *why;
	struct change *change = read_document(api, text, length, &why);
	uint64_t issued_ns;

	if (!change) {
		response_refuse(response, 400, why);
		return;
	}
	bool other = name && (change->count > 1 || strcmp(change->rules[0].monitor.name, name));

	why = other ? "the path names another monitor than the document" : conflict(api, change);
	if (why) {
		free(change);
		response_refuse(response, other ? 400 : 409, why);
		return;
	}
	change->one = name != NULL;
	issued_ns = dry_run ? 0 : issue(api);
	for (size_t i = 0; i < change->count; i++) {
		struct rule *rule = &change->rules[i];

		rule->issued_ns = issued_ns;
		snprintf(rule->author, sizeof(rule->author), "%s", peer);
	}
	if (!dry_run) {
		write_change(api, response, change);
		return;
	}
	answer_dry_run(api, response, change);
	free(change);
}

static void withdraw(struct monitors_api *api, struct response *response, const char *peer,
		     const char *name)
{
	const struct rule *known = find_rule(api, name);
	struct change *change;
	struct rule *rule;

	if (!known && find_own(api, name)) {
		response_refuse(response, 409,
				"it is a monitor of millraced's configuration; take it out there");
		return;
	}
	if (!known) {
		response_refuse(response, 404, "no monitor of this name is in force");
		return;
	}
	change = change_new(1);
	change->one = true;
	rule = &change->rules[0];
	*rule = *known;
	rule->withdrawn = true;
	rule->issued_ns = issue(api);
	snprintf(rule->author, sizeof(rule->author), "%s", peer);
	write_change(api, response, change);
}

static void serve_list(struct request *request, struct response *response, void *context)
{
	struct monitors_api *api = context;

	if (reply_takes(&monitor_list_takes, request, response, NULL, NULL) && knows(api, response))
		answer_list(api, response);
}

static void serve_get(struct request *request, struct response *response, void *context)
{
	Millrace__V1__ListMonitorsRequest said = MILLRACE__V1__LIST_MONITORS_REQUEST__INIT;
	struct monitors_api *api = context;

	if (reply_takes(&monitor_get_takes, request, response, NULL, &said.base) &&
	    knows(api, response))
		answer_one(api, response, request->rest, said.test, false);
}

static void serve_document(struct monitors_api *api, const struct parameters_table *table,
			   const char *name, struct request *request, struct response *response)
{
	Millrace__V1__ApplyMonitorsRequest said = MILLRACE__V1__APPLY_MONITORS_REQUEST__INIT;

	if (permit(api->options.token, request, response) &&
	    reply_takes(table, request, response, NULL, &said.base) &&
	    reply_is_document(request, response) && knows(api, response))
		apply(api, response, request->peer, (const char *)request->body, request->body_size,
		      name, said.dry_run);
}

static void serve_apply(struct request *request, struct response *response, void *context)
{
	serve_document(context, &monitor_apply_takes, NULL, request, response);
}

static void serve_put(struct request *request, struct response *response, void *context)
{
	serve_document(context, &monitor_put_takes, request->rest, request, response);
}

static void serve_delete(struct request *request, struct response *response, void *context)
{
	struct monitors_api *api = context;

	if (permit(api->options.token, request, response) &&
	    reply_takes(&monitor_delete_takes, request, response, NULL, NULL) &&
	    knows(api, response))
		withdraw(api, response, request->peer, request->rest);
}

/* --- the same over gRPC --- */

static void serve_rpc_list(struct request *request, struct response *response, void *context)
{
	struct monitors_api *api = context;
	Millrace__V1__ListMonitorsRequest *message;

	message = request->body_size > REQUEST_BYTES_MAX
			  ? NULL
			  : millrace__v1__list_monitors_request__unpack(NULL, request->body_size,
									request->body);
	if (!message)
		response_refuse(response, 400, "no ListMonitorsRequest");
	else if (knows(api, response) && message->name[0])
		answer_one(api, response, message->name, message->test, true);
	else if (api->read_all)
		answer_list(api, response);
	if (message)
		millrace__v1__list_monitors_request__free_unpacked(message, NULL);
}

static void serve_rpc_apply(struct request *request, struct response *response, void *context)
{
	struct monitors_api *api = context;
	Millrace__V1__ApplyMonitorsRequest *message;

	if (!permit(api->options.token, request, response) || !knows(api, response))
		return;
	message = request->body_size > REQUEST_BYTES_MAX
			  ? NULL
			  : millrace__v1__apply_monitors_request__unpack(NULL, request->body_size,
									 request->body);
	if (!message) {
		response_refuse(response, 400, "no ApplyMonitorsRequest");
		return;
	}
	apply(api, response, request->peer, message->document, strlen(message->document), NULL,
	      message->dry_run);
	millrace__v1__apply_monitors_request__free_unpacked(message, NULL);
}

static void serve_rpc_delete(struct request *request, struct response *response, void *context)
{
	struct monitors_api *api = context;
	Millrace__V1__DeleteMonitorRequest *message;

	if (!permit(api->options.token, request, response) || !knows(api, response))
		return;
	message = request->body_size > REQUEST_BYTES_MAX
			  ? NULL
			  : millrace__v1__delete_monitor_request__unpack(NULL, request->body_size,
									 request->body);
	if (!message) {
		response_refuse(response, 400, "no DeleteMonitorRequest");
		return;
	}
	withdraw(api, response, request->peer, message->name);
	millrace__v1__delete_monitor_request__free_unpacked(message, NULL);
}

void monitors_api_routes(struct monitors_api *api, struct server *server)
{
	server_route(server, "GET", "/api/v1/monitors", serve_list, api);
	server_route(server, "POST", "/api/v1/monitors", serve_apply, api);
	server_route(server, "GET", "/api/v1/monitors/*", serve_get, api);
	server_route(server, "PUT", "/api/v1/monitors/*", serve_put, api);
	server_route(server, "DELETE", "/api/v1/monitors/*", serve_delete, api);
	server_grpc(server, "/millrace.v1.Monitors/List", serve_rpc_list, api);
	server_grpc(server, "/millrace.v1.Monitors/Apply", serve_rpc_apply, api);
	server_grpc(server, "/millrace.v1.Monitors/Delete", serve_rpc_delete, api);
}

/* --- life --- */

struct monitors_api *monitors_api_new(const struct monitors_api_options *options)
{
	struct monitors_api *api = memory_zeroed(1, sizeof(*api));

	api->options = *options;
	api->book = rulebook_new(options->own, options->own_count, MONITORS_API_MAX);
	waiting_init(&api->waiting, options->loop,
		     "Kafka did not take the change within 10 s; it may come yet: see "
		     "GET /api/v1/monitors");
	return api;
}

void monitors_api_close(struct monitors_api *api)
{
	waiting_close(&api->waiting);
}

void monitors_api_free(struct monitors_api *api)
{
	if (!api)
		return;
	waiting_done(&api->waiting);
	rulebook_free(api->book);
	free(api);
}
