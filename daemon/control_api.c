#include "daemon/control_api.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "agent/batch/control.h"
#include "agent/batch/keys.h"
#include "api/http/json.h"
#include "api/http/server.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/real.h"
#include "daemon/keyring.h"
#include "daemon/outputs.h"
#include "daemon/permit.h"
#include "daemon/tail.h"
#include "daemon/topics.h"
#include "daemon/waiting.h"

enum { DETAIL_BYTES = 256 };
#define FOR_FALLBACK 3600 /* seconds */
#define FOR_MAX	     (30 * 86400)

/* What is answered when the record of this id is in the log. */
struct change {
	char id[CONTROL_ID_BYTES];
	unsigned status;
};

struct control_api {
	struct control_api_options options;
	struct tail *tail;
	bool read_all; /* what the topic had at the start */
	struct control *records[CONTROL_API_RECORDS_MAX];
	size_t count;
	struct waiting waiting;	   /* for what is a struct change */
	struct control wish, read; /* being made, being read */
	uint8_t bytes[CONTROL_BYTES_MAX];
};

/* --- what stands --- */

static struct control **place_of(struct control_api *api, const char *id)
{
	size_t at = 0;

	while (at < api->count && strcmp(api->records[at]->id, id) != 0)
		at++;
	return &api->records[at];
}

static bool known(const struct control_api *api, struct control *const *place)
{
	return place < api->records + api->count;
}

static void forget_expired(struct control_api *api)
{
	uint64_t now = real_ns();

	for (size_t i = api->count; i-- > 0;) {
		if (api->records[i]->expires_ns > now)
			continue;
		free(api->records[i]);
		api->records[i] = api->records[--api->count];
	}
}

/* Those withdrawn stay until they expire, as agents keep them: an earlier one of their id must not
 * come back. */
static void keep(struct control_api *api, const struct control *record)
{
	struct control **place = place_of(api, record->id);

	if (known(api, place) && (*place)->issued_ns >= record->issued_ns)
		return;
	if (!known(api, place)) {
		if (api->count == CONTROL_API_RECORDS_MAX)
			return; /* another instance wrote it; ours are refused before */
		*place = memory_zeroed(1, sizeof(**place));
		api->count++;
	}
	**place = *record;
}

/* --- JSON out --- */

static void put_text(struct json *json, const char *key, const char *text)
{
	if (!text[0])
		return;
	json_key(json, key);
	json_string(json, text);
}

static void put_number(struct json *json, const char *key, double value)
{
	if (value <= 0)
		return;
	json_key(json, key);
	json_double(json, value);
}

static void put_selector(struct json *json, const struct control_selector *selector)
{
	json_object_begin(json);
	if (selector->nodes_count) {
		json_key(json, "node");
		json_array_begin(json);
		for (uint32_t i = 0; i < selector->nodes_count; i++)
			json_string(json, selector->nodes[i]);
		json_array_end(json);
	}
	put_text(json, "zone", selector->zone);
	put_text(json, "region", selector->region);
	put_text(json, "role", selector->role);
	if (selector->labels_count) {
		json_key(json, "labels");
		json_object_begin(json);
		for (uint32_t i = 0; i < selector->labels_count; i++) {
			json_key(json, selector->labels[i].key);
			json_string(json, selector->labels[i].value);
		}
		json_object_end(json);
	}
	json_object_end(json);
}

static void put_settings(struct json *json, const struct control_settings *settings)
{
	json_object_begin(json);
	put_number(json, "scan_period_s", settings->scan_period_ms / 1e3);
	put_number(json, "batch_interval_s", settings->batch_interval_ms / 1e3);
	put_number(json, "cpu_budget", settings->cpu_budget);
	if (settings->features_count) {
		json_key(json, "features");
		json_object_begin(json);
		for (uint32_t i = 0; i < settings->features_count; i++) {
			json_key(json, settings->features[i].name);
			json_bool(json, settings->features[i].on);
		}
		json_object_end(json);
	}
	if (settings->scoped) {
		json_key(json, "scope_cgroups");
		json_array_begin(json);
		for (uint32_t i = 0; i < settings->scope_count; i++)
			json_string(json, settings->scope[i]);
		json_array_end(json);
	}
	json_object_end(json);
}

static void put_record(struct json *json, const struct control *record)
{
	json_object_begin(json);
	json_key(json, "id");
	json_string(json, record->id);
	json_key(json, "issued_s");
	json_double(json, (double)record->issued_ns / 1e9);
	json_key(json, "expires_s");
	json_double(json, (double)record->expires_ns / 1e9);
	put_text(json, "author", record->author);
	json_key(json, "selector");
	put_selector(json, &record->selector);
	json_key(json, "settings");
	put_settings(json, &record->settings);
	json_object_end(json);
}

static void send_json(struct response *response, unsigned status, struct json *json)
{
	size_t size;
	const char *text = json_text(json, &size);

	response_header(response, "cache-control", "no-store");
	response_send(response, status, "application/json", text, size);
	json_done(json);
}

/* --- JSON in --- */

static bool refuse(char detail[DETAIL_BYTES], const char *name, const char *what)
{
	snprintf(detail, DETAIL_BYTES, "%.64s: %s", name, what);
	return false;
}

static bool take_text(const cJSON *value, char *out, size_t size)
{
	if (!cJSON_IsString(value) || strlen(value->valuestring) >= size)
		return false;
	snprintf(out, size, "%s", value->valuestring);
	return true;
}

static bool take_texts(const cJSON *list, char (*out)[CONTROL_TEXT_BYTES], uint32_t max,
		       uint32_t *count)
{
	const cJSON *item;

	*count = 0;
	if (!cJSON_IsArray(list))
		return false;
	cJSON_ArrayForEach(item, list)
	{
		if (*count == max || !take_text(item, out[*count], CONTROL_TEXT_BYTES))
			return false;
		(*count)++;
	}
	return true;
}

static bool take_labels(const cJSON *object, struct control_selector *selector)
{
	const cJSON *item;

	if (!cJSON_IsObject(object))
		return false;
	cJSON_ArrayForEach(item, object)
	{
		struct control_label *label = &selector->labels[selector->labels_count];

		if (selector->labels_count == CONTROL_LABELS_MAX ||
		    strlen(item->string) >= sizeof(label->key) ||
		    !take_text(item, label->value, sizeof(label->value)))
			return false;
		snprintf(label->key, sizeof(label->key), "%s", item->string);
		selector->labels_count++;
	}
	return true;
}

static bool take_features(const cJSON *object, struct control_settings *settings)
{
	const cJSON *item;

	if (!cJSON_IsObject(object))
		return false;
	cJSON_ArrayForEach(item, object)
	{
		struct control_feature *feature = &settings->features[settings->features_count];

		if (settings->features_count == CONTROL_FEATURES_MAX || !cJSON_IsBool(item) ||
		    strlen(item->string) >= sizeof(feature->name))
			return false;
		snprintf(feature->name, sizeof(feature->name), "%s", item->string);
		feature->on = cJSON_IsTrue(item);
		settings->features_count++;
	}
	return true;
}

/* Seconds to whole milliseconds. */
static bool take_ms(const cJSON *value, uint32_t *ms)
{
	if (!cJSON_IsNumber(value) || !(value->valuedouble > 0 && value->valuedouble < 1e6))
		return false;
	*ms = (uint32_t)(value->valuedouble * 1e3 + 0.5);
	return true;
}

static bool take_share(const cJSON *value, double *share)
{
	*share = cJSON_IsNumber(value) ? value->valuedouble : 0;
	return *share > 0 && *share <= 1;
}

static bool take_selector(const cJSON *object, struct control_selector *to, char *detail)
{
	const cJSON *item;

	if (!cJSON_IsObject(object))
		return refuse(detail, "selector", "an object is wanted");
	cJSON_ArrayForEach(item, object)
	{
		const char *name = item->string;
		bool good;

		if (strcmp(name, "node") == 0)
			good = take_texts(item, to->nodes, CONTROL_NODES_MAX, &to->nodes_count);
		else if (strcmp(name, "zone") == 0)
			good = take_text(item, to->zone, sizeof(to->zone));
		else if (strcmp(name, "region") == 0)
			good = take_text(item, to->region, sizeof(to->region));
		else if (strcmp(name, "role") == 0)
			good = take_text(item, to->role, sizeof(to->role));
		else if (strcmp(name, "labels") == 0)
			good = take_labels(item, to);
		else
			return refuse(detail, name,
				      "a selector has node, zone, region, role, labels");
		if (!good)
			return refuse(detail, name,
				      "node: at most 16 globs; labels: an object of at most 8 "
				      "texts; else a text; of 255 bytes each");
	}
	return true;
}

static bool take_settings(const cJSON *object, struct control_settings *to, char *detail)
{
	const cJSON *item;

	if (!cJSON_IsObject(object) || !object->child)
		return refuse(detail, "settings", "an object with at least one setting is wanted");
	cJSON_ArrayForEach(item, object)
	{
		const char *name = item->string;
		bool good;

		if (strcmp(name, "scan_period_s") == 0)
			good = take_ms(item, &to->scan_period_ms);
		else if (strcmp(name, "batch_interval_s") == 0)
			good = take_ms(item, &to->batch_interval_ms);
		else if (strcmp(name, "cpu_budget") == 0)
			good = take_share(item, &to->cpu_budget);
		else if (strcmp(name, "features") == 0)
			good = take_features(item, to);
		else if (strcmp(name, "scope_cgroups") == 0)
			good = to->scoped =
				take_texts(item, to->scope, CONTROL_SCOPE_MAX, &to->scope_count);
		else
			return refuse(detail, name,
				      "settings are scan_period_s, batch_interval_s, cpu_budget, "
				      "features, scope_cgroups");
		if (!good)
			return refuse(detail, name,
				      "periods in seconds; cpu_budget more than 0, at most 1; "
				      "features an object of true and false; scope_cgroups a list "
				      "of at most 16 texts");
	}
	return true;
}

static bool take_life(const cJSON *value, uint64_t *life_ns, char *detail)
{
	double seconds = cJSON_IsNumber(value) ? value->valuedouble : -1;

	if (!(seconds >= 1 && seconds <= FOR_MAX))
		return refuse(detail, "for_s", "1 to 2592000 seconds are wanted");
	*life_ns = (uint64_t)(seconds * 1e9);
	return true;
}

/* Into api->wish, whose issued_ns is its time. */
static bool take_wish(struct control_api *api, const cJSON *body, char *detail)
{
	struct control *wish = &api->wish;
	uint64_t life_ns = FOR_FALLBACK * NS_PER_S;
	const cJSON *item;
	bool set = false;

	if (!cJSON_IsObject(body))
		return refuse(detail, "body", "a JSON object is wanted");
	cJSON_ArrayForEach(item, body)
	{
		const char *name = item->string;
		bool good;

		if (strcmp(name, "selector") == 0)
			good = take_selector(item, &wish->selector, detail);
		else if (strcmp(name, "settings") == 0)
			good = set = take_settings(item, &wish->settings, detail);
		else if (strcmp(name, "for_s") == 0)
			good = take_life(item, &life_ns, detail);
		else if (strcmp(name, "id") == 0)
			good = take_text(item, wish->id, sizeof(wish->id)) ||
			       refuse(detail, name, "at most 64 bytes");
		else
			good = refuse(detail, name, "a record has id, selector, settings, for_s");
		if (!good)
			return false;
	}
	if (!set)
		return refuse(detail, "settings", "an object with at least one setting is wanted");
	wish->expires_ns = wish->issued_ns + life_ns;
	return true;
}

static void make_id(char id[CONTROL_ID_BYTES])
{
	uint8_t random[6];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		abort(); /* never for so few bytes */
	snprintf(id, CONTROL_ID_BYTES, "c-%02x%02x%02x%02x%02x%02x", random[0], random[1],
		 random[2], random[3], random[4], random[5]);
}

/* --- into the log, and the answer when it is there --- */

/* Into api->bytes, signed as the deployment's keys are now. Its length, or 0: it is too long. */
static size_t signed_record(struct control_api *api, const struct control *wish)
{
	const struct keys *keys = keyring_keys(api->options.keyring);
	uint8_t key[SEAL_KEY_BYTES];
	size_t length = control_write(wish, keys_signer(keys, key) ? key : NULL, api->bytes);

	explicit_bzero(key, sizeof(key));
	return length;
}

static void write_wish(struct control_api *api, struct response *response, unsigned status)
{
	const struct control *wish = &api->wish;
	size_t length = signed_record(api, wish);
	struct change *change;

	if (!length) {
		response_problem(response, 400, "the record is longer than 16 KiB");
		return;
	}
	change = memory_zeroed(1, sizeof(*change));
	memcpy(change->id, wish->id, sizeof(change->id));
	change->status = status;
	if (waiting_add(&api->waiting, response, wish->issued_ns, change))
		outputs_offer(api->options.outputs, TOPIC_CONTROL, wish->id, strlen(wish->id),
			      (struct encoded){.bytes = api->bytes, .length = length});
}

static struct waiter *waiter_of(struct control_api *api, const struct control *record)
{
	struct waiter *waiter = NULL;

	while ((waiter = waiting_next(&api->waiting, waiter))) {
		const struct change *change = waiter->what;

		if (waiter->issued_ns == record->issued_ns && strcmp(change->id, record->id) == 0)
			break;
	}
	return waiter;
}

static void answer_waiter(struct control_api *api, const struct control *record)
{
	struct waiter *waiter = waiter_of(api, record);
	struct response *response;
	struct change *change;
	struct json json;

	if (!waiter)
		return;
	response = waiter->response;
	change = waiting_end(waiter);
	json_init(&json);
	put_record(&json, record);
	send_json(response, change->status, &json);
	free(change);
}

static void on_record(void *context, const struct tail_record *record)
{
	struct control_api *api = context;
	char why[CONTROL_WHY_BYTES], sentence[DETAIL_BYTES];

	if (!record->value)
		return;
	if (control_accept(record->value, record->length, keyring_keys(api->options.keyring),
			   &api->read, why) != CONTROL_GOOD) {
		snprintf(sentence, sizeof(sentence), "a record of %s is passed over: %s",
			 record->topic, why);
		api->options.trouble(api->options.context, sentence);
		return;
	}
	forget_expired(api);
	if (api->read.expires_ns > real_ns())
		keep(api, &api->read);
	answer_waiter(api, &api->read);
}

/* --- routes --- */

/* False: it was refused. What stands, and what was issued last of an id, is not known before. */
static bool knows(const struct control_api *api, struct response *response)
{
	if (!api->read_all)
		response_problem(response, 503,
				 TOPIC_CONTROL " has not been read yet; try again in a second");
	return api->read_all;
}

/* Later than what is known of its id, whatever the clock does. */
static uint64_t issue_time(struct control_api *api, const char *id)
{
	struct control **place = place_of(api, id);
	uint64_t now = real_ns();

	return known(api, place) && (*place)->issued_ns >= now ? (*place)->issued_ns + 1 : now;
}

static void serve_set(struct request *request, struct response *response, void *context)
{
	struct control_api *api = context;
	const char *type = request_header(request, "content-type");
	char detail[DETAIL_BYTES];
	cJSON *body;
	bool good;

	if (!permit(api->options.token, request, response))
		return;
	if (!type || strncasecmp(type, "application/json", 16) != 0) {
		response_problem(response, 415, "application/json is wanted");
		return;
	}
	if (!knows(api, response))
		return;
	memset(&api->wish, 0, sizeof(api->wish));
	api->wish.issued_ns = real_ns();
	body = cJSON_ParseWithLength((const char *)request->body, request->body_size);
	good = take_wish(api, body, detail);
	cJSON_Delete(body);
	if (good && !api->wish.id[0])
		make_id(api->wish.id);
	if (!good || !control_check(&api->wish, detail)) {
		response_problem(response, 400, detail);
		return;
	}
	forget_expired(api);
	if (!known(api, place_of(api, api->wish.id)) && api->count == CONTROL_API_RECORDS_MAX) {
		response_problem(response, 409, "256 records stand already: withdraw some");
		return;
	}
	uint64_t life_ns = api->wish.expires_ns - api->wish.issued_ns;
	api->wish.issued_ns = issue_time(api, api->wish.id);
	api->wish.expires_ns = api->wish.issued_ns + life_ns;
	snprintf(api->wish.author, sizeof(api->wish.author), "%s", request->peer);
	write_wish(api, response, 201);
}

static void serve_unset(struct request *request, struct response *response, void *context)
{
	struct control_api *api = context;
	struct control **place;

	if (!permit(api->options.token, request, response) || !knows(api, response))
		return;
	forget_expired(api);
	place = place_of(api, request->rest);
	if (!known(api, place) || (*place)->withdrawn) {
		response_problem(response, 404, "no such control record stands");
		return;
	}
	api->wish = **place;
	api->wish.issued_ns = issue_time(api, request->rest);
	api->wish.withdrawn = true;
	snprintf(api->wish.author, sizeof(api->wish.author), "%s", request->peer);
	write_wish(api, response, 200);
}

void control_api_tell(struct control_api *api, const char *id,
		      const struct control_settings *settings, uint64_t life_ns, bool withdrawn)
{
	struct control *wish = &api->wish;
	size_t length;

	memset(wish, 0, sizeof(*wish));
	snprintf(wish->id, sizeof(wish->id), "%s", id);
	snprintf(wish->author, sizeof(wish->author), "millraced");
	wish->issued_ns = issue_time(api, id);
	wish->expires_ns = wish->issued_ns + life_ns;
	wish->withdrawn = withdrawn;
	wish->settings = *settings;
	length = signed_record(api, wish);
	outputs_offer(api->options.outputs, TOPIC_CONTROL, wish->id, strlen(wish->id),
		      (struct encoded){.bytes = api->bytes, .length = length});
}

static int by_issue(const void *a, const void *b)
{
	const struct control *left = *(struct control *const *)a,
			     *right = *(struct control *const *)b;

	return left->issued_ns < right->issued_ns ? 1 : left->issued_ns > right->issued_ns ? -1 : 0;
}

/* The one issued last first, as it comes first with agents. */
static void serve_list(struct request *request, struct response *response, void *context)
{
	struct control_api *api = context;
	struct json json;

	(void)request;
	if (!knows(api, response))
		return;
	forget_expired(api);
	qsort(api->records, api->count, sizeof(api->records[0]), by_issue);
	json_init(&json);
	json_object_begin(&json);
	json_key(&json, "controls");
	json_array_begin(&json);
	for (size_t i = 0; i < api->count; i++) {
		if (!api->records[i]->withdrawn)
			put_record(&json, api->records[i]);
	}
	json_array_end(&json);
	json_object_end(&json);
	send_json(response, 200, &json);
}

void control_api_routes(struct control_api *api, struct server *server)
{
	server_route(server, "POST", "/api/v1/agents/control", serve_set, api);
	server_route(server, "GET", "/api/v1/agents/control", serve_list, api);
	server_route(server, "DELETE", "/api/v1/agents/control/*", serve_unset, api);
}

/* --- what agents should do --- */

static bool later(const struct control *a, const struct control *b)
{
	return a->issued_ns != b->issued_ns ? a->issued_ns > b->issued_ns
					    : strcmp(a->id, b->id) > 0;
}

/* As agents find it (agent/controls.c). */
const char *control_api_wanted(struct control_api *api, const Millrace__V1__Agent *agent)
{
	struct batch_label labels[BATCH_LABELS_MAX];
	struct control_target target = {.node = agent->node,
					.zone = agent->zone,
					.region = agent->region,
					.role = agent->role,
					.labels = labels};
	const struct control *found = NULL;
	uint64_t now = real_ns();

	if (!api->read_all)
		return NULL;
	for (; target.labels_count < agent->n_labels && target.labels_count < BATCH_LABELS_MAX;
	     target.labels_count++)
		labels[target.labels_count] =
			(struct batch_label){agent->labels[target.labels_count]->key,
					     agent->labels[target.labels_count]->value};
	for (size_t i = 0; i < api->count; i++) {
		const struct control *record = api->records[i];

		if (!record->withdrawn && record->expires_ns > now &&
		    (!found || later(record, found)) && control_selects(&record->selector, &target))
			found = record;
	}
	return found ? found->id : "";
}

/* --- life --- */

static void on_read_all(void *context)
{
	struct control_api *api = context;

	api->read_all = true;
}

static void on_trouble(void *context, const char *sentence)
{
	const struct control_api *api = context;

	api->options.trouble(api->options.context, sentence);
}

struct control_api *control_api_new(const struct control_api_options *options)
{
	struct control_api *api = memory_zeroed(1, sizeof(*api));

	api->options = *options;
	waiting_init(&api->waiting, options->loop,
		     "Kafka did not take the record within 10 s; it may come yet: see "
		     "GET /api/v1/agents/control");
	return api;
}

void control_api_start(struct control_api *api)
{
	static const char *const topics[] = {TOPIC_CONTROL, NULL};
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

void control_api_close(struct control_api *api)
{
	if (api->tail)
		tail_close(api->tail);
	waiting_close(&api->waiting);
}

void control_api_free(struct control_api *api)
{
	if (!api)
		return;
	waiting_done(&api->waiting);
	for (size_t i = 0; i < api->count; i++)
		free(api->records[i]);
	free(api);
}
