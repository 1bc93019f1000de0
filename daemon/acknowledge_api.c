#include "daemon/acknowledge_api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/http/server.h"
#include "api/query/silence_schema.h"
#include "base/memory.h"
#include "base/real.h"
#include "config/config.h"
#include "daemon/permit.h"
#include "daemon/reply.h"
#include "daemon/silences.h"
#include "daemon/topics.h"
#include "daemon/waiting.h"
#include "millrace/v1/silences.pb-c.h"

enum {
	REQUEST_BYTES_MAX = 64 << 10,
	KEY_CHARACTERS_MIN = 4, /* of a key that is told by its beginning */
};

struct acknowledge_api {
	struct acknowledge_api_options options;
	uint64_t issued_ns;	/* the last that is known */
	struct waiting waiting; /* for what is a struct acknowledgement */
	struct config_error error;
};

void acknowledge_tell(const struct acknowledgement *one, Millrace__V1__Acknowledgement *message)
{
	millrace__v1__acknowledgement__init(message);
	message->key = (char *)one->key;
	message->created_by = (char *)one->created_by;
	message->author = (char *)one->author;
	message->comment = (char *)one->comment;
	message->acknowledged_ns = one->issued_ns;
}

/* --- into the topic, and the answer when it is there --- */

static uint64_t issue(struct acknowledge_api *api)
{
	uint64_t now = real_ns();

	api->issued_ns = api->issued_ns >= now ? api->issued_ns + 1 : now;
	return api->issued_ns;
}

static struct waiter *waiter_of(struct acknowledge_api *api, const struct acknowledgement *one)
{
	struct waiter *waiter = NULL;

	while ((waiter = waiting_next(&api->waiting, waiter))) {
		const struct acknowledgement *what = waiter->what;

		if (waiter->issued_ns == one->issued_ns && strcmp(what->key, one->key) == 0)
			break;
	}
	return waiter;
}

void acknowledge_api_taken(struct acknowledge_api *api, const struct acknowledgement *one,
			   bool stands)
{
	struct waiter *waiter = waiter_of(api, one);
	Millrace__V1__Acknowledgement message;
	struct response *response;

	if (one->issued_ns > api->issued_ns)
		api->issued_ns = one->issued_ns;
	if (!waiter)
		return;
	response = waiter->response;
	free(waiting_end(waiter));
	acknowledge_tell(one, &message);
	if (stands)
		reply_message(response, &message.base);
	else
		response_refuse(response, 409,
				"somebody else acknowledged it at the same time: see "
				"GET /api/v1/alerts");
}

/* --- what is asked for --- */

struct wish {
	char *created_by, *comment;
};

static const struct config_entry wish_entries[] = {
	{.name = "created_by",
	 .type = CONFIG_STRING,
	 CONFIG_FIELD(struct wish, created_by),
	 .max = "255",
	 .help = "Who."},
	{.name = "comment",
	 .type = CONFIG_STRING,
	 CONFIG_FIELD(struct wish, comment),
	 .max = "1024",
	 .help = "What is done about it."},
};

static const struct config_table wish_table = {
	.program = "millraced",
	.entries = wish_entries,
	.count = sizeof(wish_entries) / sizeof(wish_entries[0]),
	.size = sizeof(struct wish),
};

static bool knows(struct acknowledge_api *api, struct response *response)
{
	bool known = silences_read(api->options.silences);

	if (!known)
		response_refuse(response, 503,
				TOPIC_SILENCES " has not been read yet; try again in a second");
	return known;
}

/* The alert that fires; NULL: it was refused. */
static const struct alert *find(struct acknowledge_api *api, struct response *response,
				const char *key)
{
	const struct alert *alert = NULL;
	bool several = false;

	if (strlen(key) >= KEY_CHARACTERS_MIN)
		alert = api->options.find(api->options.context, key, &several);
	if (strlen(key) < KEY_CHARACTERS_MIN)
		response_refuse(response, 404,
				"at least four characters of an alert's key are wanted");
	else if (several)
		response_refuse(response, 400,
				"more than one alert's key begins so: give more of it");
	else if (!alert)
		response_refuse(response, 404, "no alert has this key, or one that begins so");
	else if (alert->state == ALERT_RESOLVED)
		response_refuse(response, 409, "it has resolved: there is nothing to acknowledge");
	return alert && alert->state == ALERT_FIRING ? alert : NULL;
}

static void put(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from ? from : "");
}

static void acknowledge(struct acknowledge_api *api, struct response *response, const char *peer,
			const char *key, const char *created_by, const char *comment)
{
	const struct alert *alert = find(api, response, key);
	char why[SILENCE_WHY_BYTES];
	struct acknowledgement *one;

	if (!alert)
		return;
	one = memory_zeroed(1, sizeof(*one));
	memcpy(one->key, alert->key, sizeof(one->key));
	one->reopened_ns = alert->reopened_ns;
	one->issued_ns = issue(api);
	put(one->author, sizeof(one->author), peer);
	put(one->created_by, sizeof(one->created_by), created_by);
	put(one->comment, sizeof(one->comment), comment);
	if (!acknowledgement_check(one, why)) {
		free(one);
		response_refuse(response, 400, why);
		return;
	}
	if (waiting_add(&api->waiting, response, one->issued_ns, one))
		silences_acknowledge(api->options.silences, one);
}

/* "KEY/ack" to its KEY; false: it is something else. */
static bool take_key(const char *rest, char key[ALERT_KEY_TEXT])
{
	const char *slash = strchr(rest, '/');

	if (!slash || strcmp(slash, "/ack") != 0 || slash - rest >= ALERT_KEY_TEXT)
		return false;
	memcpy(key, rest, (size_t)(slash - rest));
	key[slash - rest] = '\0';
	return true;
}

static void serve(struct request *request, struct response *response, void *context)
{
	struct acknowledge_api *api = context;
	char key[ALERT_KEY_TEXT];
	struct wish wish = {0};

	if (!permit(api->options.token, request, response) ||
	    !reply_takes(&acknowledge_takes, request, response, NULL, NULL))
		return;
	if (!take_key(request->rest, key)) {
		response_problem(response, 404,
				 "no alert has this key: POST /api/v1/alerts/KEY/ack is served");
		return;
	}
	if (request->body_size && !reply_is_document(request, response))
		return;
	if (!knows(api, response))
		return;
	if (request->body_size && config_read(&wish_table, "line", (const char *)request->body,
					      request->body_size, &wish, &api->error) < 0) {
		response_problem(response, 400, api->error.text);
		return;
	}
	acknowledge(api, response, request->peer, key, wish.created_by, wish.comment);
	config_free(&wish_table, &wish);
}

static bool is_within_bounds(const Millrace__V1__AcknowledgeRequest *said)
{
	return strlen(said->created_by) < SILENCE_AUTHOR_BYTES &&
	       strlen(said->comment) < SILENCE_COMMENT_BYTES;
}

static void serve_rpc(struct request *request, struct response *response, void *context)
{
	struct acknowledge_api *api = context;
	Millrace__V1__AcknowledgeRequest *said;

	if (!permit(api->options.token, request, response) || !knows(api, response))
		return;
	said = request->body_size > REQUEST_BYTES_MAX
		       ? NULL
		       : millrace__v1__acknowledge_request__unpack(NULL, request->body_size,
								   request->body);
	if (!said) {
		response_refuse(response, 400, "no AcknowledgeRequest");
		return;
	}
	if (is_within_bounds(said))
		acknowledge(api, response, request->peer, said->key, said->created_by,
			    said->comment);
	else
		response_refuse(response, 400,
				"created_by: at most 255 bytes; comment: at most 1,024");
	millrace__v1__acknowledge_request__free_unpacked(said, NULL);
}

void acknowledge_api_routes(struct acknowledge_api *api, struct server *server)
{
	server_route(server, "POST", "/api/v1/alerts/*", serve, api);
	server_grpc(server, "/millrace.v1.Silences/Acknowledge", serve_rpc, api);
}

/* --- life --- */

struct acknowledge_api *acknowledge_api_new(const struct acknowledge_api_options *options)
{
	struct acknowledge_api *api = memory_zeroed(1, sizeof(*api));

	api->options = *options;
	waiting_init(&api->waiting, options->loop,
		     "Kafka did not take the acknowledgement within 10 s; it may come yet: see "
		     "GET /api/v1/alerts");
	return api;
}

void acknowledge_api_close(struct acknowledge_api *api)
{
	waiting_close(&api->waiting);
}

void acknowledge_api_free(struct acknowledge_api *api)
{
	if (!api)
		return;
	waiting_done(&api->waiting);
	free(api);
}
