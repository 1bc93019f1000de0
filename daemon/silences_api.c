#include "daemon/silences_api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "api/http/server.h"
#include "api/query/arena.h"
#include "api/query/parameter.h"
#include "api/query/silence_schema.h"
#include "base/clock.h"
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
	ISSUED_KEPT = 64, /* more than wait at once */
	REQUEST_BYTES_MAX = 64 << 10,
	ALERTS_SHOWN_MAX = 100,	    /* of one silence */
	ALERTS_LOOKED_AT = 1000,    /* that fire: some ten milliseconds of the loop */
	SILENCES_OF_ALERT_MAX = 16, /* that are shown as silencing one alert */
};

#define SECONDS_MAX 9e9 /* in a uint64_t of nanoseconds, twice */

struct silences_api {
	struct silences_api_options options;
	uint64_t issued_ns;			    /* the last that is known */
	uint64_t issued[ISSUED_KEPT], issued_count; /* by this process: the last of its requests */
	struct waiting waiting;			    /* for what is a struct silence */
	struct arena arena;			    /* of the answer that is being made */
	struct config_error error;
};

/* --- silences as messages --- */

static char *time_text(struct arena *arena, uint64_t ns)
{
	time_t seconds = (time_t)(ns / NS_PER_S);
	unsigned ms = (unsigned)(ns % NS_PER_S / NS_PER_MS);
	char text[32];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	return ms ? arena_format(arena, "%s.%03uZ", text, ms) : arena_format(arena, "%sZ", text);
}

static Millrace__V1__SilenceState *tell(struct arena *arena, const struct silence *silence,
					uint64_t now)
{
	Millrace__V1__SilenceState *state = arena_take(arena, 1, sizeof(*state));
	Millrace__V1__Silence *message = arena_take(arena, 1, sizeof(*message));

	millrace__v1__silence_state__init(state);
	millrace__v1__silence__init(message);
	message->id = arena_text(arena, silence->id);
	message->monitor = arena_text(arena, silence->monitor);
	message->client = arena_text(arena, silence->client);
	message->server = arena_text(arena, silence->server);
	message->port = silence->port;
	if (silence->one_severity)
		message->severity = (char *)alert_severity_name(silence->severity);
	message->starts_at = time_text(arena, silence->starts_ns);
	message->ends_at = time_text(arena, silence->ends_ns);
	message->created_by = arena_text(arena, silence->created_by);
	message->comment = arena_text(arena, silence->comment);
	state->silence = message;
	state->state = (char *)silence_state_name(silence_state(silence, now));
	state->author = arena_text(arena, silence->author);
	state->changed_s = (double)silence->issued_ns / 1e9;
	return state;
}

static void add_alert(struct arena *arena, Millrace__V1__SilenceState *state, const char *key)
{
	if (!state->alerts)
		state->alerts = arena_take(arena, ALERTS_SHOWN_MAX, sizeof(*state->alerts));
	if (state->n_alerts < ALERTS_SHOWN_MAX)
		state->alerts[state->n_alerts++] = arena_text(arena, key);
}

static Millrace__V1__SilenceState *state_of(Millrace__V1__SilenceState **states, size_t count,
					    const char *id)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(states[i]->silence->id, id) == 0)
			return states[i];
	}
	return NULL;
}

/* Which incidents each of them silences, as the book has it. */
static void add_alerts(struct silences_api *api, const struct silencebook *book, uint64_t now,
		       Millrace__V1__SilenceState **states, size_t count)
{
	const struct silence *of[SILENCES_OF_ALERT_MAX];
	const struct alert *alert;
	size_t at = 0, looked = 0;

	while (looked++ < ALERTS_LOOKED_AT &&
	       (alert = api->options.firing(api->options.context, &at))) {
		size_t found = silencebook_of(book, alert, now, of, SILENCES_OF_ALERT_MAX);

		for (size_t i = 0; i < found; i++) {
			Millrace__V1__SilenceState *state = state_of(states, count, of[i]->id);

			if (state)
				add_alert(&api->arena, state, alert->key);
		}
	}
}

static void reply_state(struct silences_api *api, struct response *response,
			const struct silence *silence)
{
	uint64_t now = real_ns();
	Millrace__V1__SilenceState *state = tell(&api->arena, silence, now);

	add_alerts(api, silences_book(api->options.silences), now, &state, 1);
	reply_message(response, &state->base);
	arena_clear(&api->arena);
}

static int by_state(const void *one, const void *other)
{
	const struct silence *a = *(const struct silence *const *)one,
			     *b = *(const struct silence *const *)other;

	if (a->ends_ns != b->ends_ns)
		return a->ends_ns < b->ends_ns ? -1 : 1;
	return strcmp(a->id, b->id);
}

/* Those of one state, the first to end first. */
static size_t gather(const struct silencebook *book, enum silence_state state, uint64_t now,
		     const struct silence **found)
{
	size_t count = 0;

	for (size_t i = 0; i < silencebook_count(book); i++) {
		if (silence_state(silencebook_at(book, i), now) == state)
			found[count++] = silencebook_at(book, i);
	}
	if (count)
		qsort(found, count, sizeof(*found), by_state);
	return count;
}

static void reply_list(struct silences_api *api, struct response *response, const char *wanted)
{
	const struct silencebook *book = silences_book(api->options.silences);
	size_t known = silencebook_count(book), count = 0;
	const struct silence **found = arena_take(&api->arena, known, sizeof(*found));
	Millrace__V1__ListSilencesResponse message = MILLRACE__V1__LIST_SILENCES_RESPONSE__INIT;
	uint64_t now = real_ns();

	for (uint32_t state = SILENCE_ACTIVE; state <= SILENCE_EXPIRED; state++) {
		if (!*wanted || strcmp(wanted, silence_state_name(state)) == 0)
			count += gather(book, state, now, found + count);
	}
	message.n_silences = count;
	message.silences = arena_take(&api->arena, count, sizeof(*message.silences));
	for (size_t i = 0; i < count; i++)
		message.silences[i] = tell(&api->arena, found[i], now);
	add_alerts(api, book, now, message.silences, count);
	reply_message(response, &message.base);
	arena_clear(&api->arena);
}

/* As it would be told if it stood; one that is yet to begin as if it had. */
static void reply_dry_run(struct silences_api *api, struct response *response,
			  const struct silence *wish)
{
	const struct silencebook *book = silences_book(api->options.silences);
	struct silencebook *trial = silencebook_new(api->options.silences_max + 1, 0);
	uint64_t now = real_ns();
	Millrace__V1__SilenceState *state = tell(&api->arena, wish, now);
	struct silence begun = *wish;

	begun.issued_ns = UINT64_MAX;
	begun.starts_ns = begun.starts_ns < now ? begun.starts_ns : now;
	for (size_t i = 0; i < silencebook_count(book); i++) {
		if (silence_state(silencebook_at(book, i), now) == SILENCE_ACTIVE)
			silencebook_take(trial, silencebook_at(book, i), now);
	}
	silencebook_take(trial, &begun, now);
	add_alerts(api, trial, now, &state, 1);
	silencebook_free(trial);
	reply_message(response, &state->base);
	arena_clear(&api->arena);
}

/* --- into the topic, and the answer when it is there --- */

/* Later than all that is known, whatever the clock does: of one id the last stands. */
static uint64_t issue(struct silences_api *api)
{
	uint64_t now = real_ns();

	api->issued_ns = api->issued_ns >= now ? api->issued_ns + 1 : now;
	return api->issued_ns;
}

static void write_wish(struct silences_api *api, struct response *response,
		       const struct silence *wish)
{
	struct silence *what = memory_zeroed(1, sizeof(*what));

	*what = *wish;
	if (!waiting_add(&api->waiting, response, wish->issued_ns, what))
		return;
	api->issued[api->issued_count++ % ISSUED_KEPT] = wish->issued_ns;
	silences_write(api->options.silences, wish);
}

/* Whoever asked for it may be gone: it comes all the same. */
static bool is_ours(const struct silences_api *api, uint64_t issued_ns)
{
	for (size_t i = 0; i < ISSUED_KEPT; i++) {
		if (api->issued[i] == issued_ns)
			return true;
	}
	return false;
}

/* What found no room must not come to stand by itself when there is some. */
static void take_back(struct silences_api *api, const struct silence *silence)
{
	struct silence ended = *silence;

	ended.issued_ns = issue(api);
	ended.ends_ns = real_ns();
	if (ended.starts_ns > ended.ends_ns)
		ended.starts_ns = ended.ends_ns;
	silences_write(api->options.silences, &ended);
}

static struct waiter *waiter_of(struct silences_api *api, const struct silence *silence)
{
	struct waiter *waiter = NULL;

	while ((waiter = waiting_next(&api->waiting, waiter))) {
		const struct silence *what = waiter->what;

		if (waiter->issued_ns == silence->issued_ns && strcmp(what->id, silence->id) == 0)
			break;
	}
	return waiter;
}

void silences_api_taken(struct silences_api *api, const struct silence *silence, bool stands)
{
	const struct silencebook *book = silences_book(api->options.silences);
	struct waiter *waiter = waiter_of(api, silence);
	struct response *response;

	if (silence->issued_ns > api->issued_ns)
		api->issued_ns = silence->issued_ns;
	if (!stands && silencebook_is_homeless(book, silence) && is_ours(api, silence->issued_ns))
		take_back(api, silence);
	if (!waiter)
		return;
	response = waiter->response;
	free(waiting_end(waiter));
	if (stands)
		reply_state(api, response, silence);
	else
		response_refuse(response, 409,
				"others added silences or changed this one at the same time: it "
				"does not stand; see GET /api/v1/silences");
}

/* --- documents --- */

struct wish {
	char *id, *monitor, *client, *server, *severity, *starts_at, *ends_at, *created_by,
		*comment;
	uint64_t port, duration_ns;
};

#define WISH(member) CONFIG_FIELD(struct wish, member)

static const struct config_entry wish_entries[] = {
	{.name = "id", .type = CONFIG_STRING, WISH(id), .max = "64", .help = "Names it."},
	{.name = "monitor", .type = CONFIG_STRING, WISH(monitor), .max = "255", .help = "Glob."},
	{.name = "client", .type = CONFIG_STRING, WISH(client), .max = "255", .help = "Glob."},
	{.name = "server", .type = CONFIG_STRING, WISH(server), .max = "255", .help = "Glob."},
	{.name = "port",
	 .type = CONFIG_UINT,
	 WISH(port),
	 .fallback = "0",
	 .max = "65535",
	 .help = "Server port."},
	{.name = "severity", .type = CONFIG_STRING, WISH(severity), .help = "Of the episode."},
	{.name = "starts_at", .type = CONFIG_STRING, WISH(starts_at), .help = "Time."},
	{.name = "ends_at", .type = CONFIG_STRING, WISH(ends_at), .help = "Time."},
	{.name = "duration",
	 .type = CONFIG_DURATION,
	 WISH(duration_ns),
	 .fallback = "0s",
	 .max = "366d",
	 .help = "Instead of ends_at."},
	{.name = "created_by",
	 .type = CONFIG_STRING,
	 WISH(created_by),
	 .max = "255",
	 .help = "Who."},
	{.name = "comment", .type = CONFIG_STRING, WISH(comment), .max = "1024", .help = "Why."},
};

static const struct config_table wish_table = {
	.program = "millraced",
	.entries = wish_entries,
	.count = sizeof(wish_entries) / sizeof(wish_entries[0]),
	.size = sizeof(struct wish),
};

static bool is_given(const char *text)
{
	return text && *text;
}

static void put(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from ? from : "");
}

static bool wrong(struct silences_api *api, const char *name, const char *given, const char *wanted)
{
	snprintf(api->error.text, sizeof(api->error.text), "%s is \"%.64s\"; accepted: %s", name,
		 given, wanted);
	return false;
}

static bool take_severity(struct silences_api *api, const char *name, struct silence *to)
{
	if (!is_given(name))
		return true;
	to->one_severity = true;
	while (to->severity <= ALERT_CRITICAL &&
	       strcmp(alert_severity_name(to->severity), name) != 0)
		to->severity++;
	return to->severity <= ALERT_CRITICAL ||
	       wrong(api, "severity", name, "info, warning, error, critical");
}

static bool take_time(struct silences_api *api, const char *name, const char *text, uint64_t *ns)
{
	double seconds;

	if (!parse_time(text, &seconds) || seconds <= 0 || seconds > SECONDS_MAX)
		return wrong(api, name, text,
			     "a time such as 2026-01-31T12:00:00Z, or seconds since 1970");
	/* Whole milliseconds, as they are told: what was told and is given back is the same. */
	*ns = (uint64_t)(seconds * 1e3 + 0.5) * NS_PER_MS;
	return true;
}

static bool take_times(struct silences_api *api, const struct wish *wish, uint64_t now,
		       struct silence *to)
{
	const struct silence *known =
		silencebook_find(silences_book(api->options.silences), to->id);
	bool stands = known && silence_state(known, now) != SILENCE_EXPIRED;

	to->starts_ns = stands ? known->starts_ns : now;
	if (is_given(wish->starts_at) &&
	    !take_time(api, "starts_at", wish->starts_at, &to->starts_ns))
		return false;
	if (is_given(wish->ends_at) == (wish->duration_ns > 0)) {
		put(api->error.text, sizeof(api->error.text),
		    "ends_at, duration: one of them is wanted, and not both");
		return false;
	}
	to->ends_ns = to->starts_ns + wish->duration_ns;
	if (is_given(wish->ends_at) && !take_time(api, "ends_at", wish->ends_at, &to->ends_ns))
		return false;
	if (to->ends_ns > now)
		return true;
	put(api->error.text, sizeof(api->error.text), "ends_at, duration: its end is past already");
	return false;
}

static void make_id(char id[SILENCE_ID_BYTES])
{
	uint8_t random[6];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		abort(); /* never for so few bytes */
	snprintf(id, SILENCE_ID_BYTES, "s-%02x%02x%02x%02x%02x%02x", random[0], random[1],
		 random[2], random[3], random[4], random[5]);
}

static bool take_wish(struct silences_api *api, const struct wish *wish, struct silence *to)
{
	char why[SILENCE_WHY_BYTES];

	memset(to, 0, sizeof(*to));
	put(to->id, sizeof(to->id), wish->id);
	if (!to->id[0])
		make_id(to->id);
	put(to->monitor, sizeof(to->monitor), wish->monitor);
	put(to->client, sizeof(to->client), wish->client);
	put(to->server, sizeof(to->server), wish->server);
	put(to->created_by, sizeof(to->created_by), wish->created_by);
	put(to->comment, sizeof(to->comment), wish->comment);
	to->port = (uint16_t)wish->port;
	to->issued_ns = 1; /* until it is issued */
	if (!take_severity(api, wish->severity, to) || !take_times(api, wish, real_ns(), to))
		return false;
	if (silence_check(to, why))
		return true;
	put(api->error.text, sizeof(api->error.text), why);
	return false;
}

/* False: api->error says why not. */
static bool read_document(struct silences_api *api, const char *text, size_t length,
			  struct silence *silence)
{
	struct wish wish;
	bool good;

	if (config_read(&wish_table, "line", text, length, &wish, &api->error) < 0)
		return false;
	good = take_wish(api, &wish, silence);
	config_free(&wish_table, &wish);
	return good;
}

/* --- requests --- */

static bool knows(struct silences_api *api, struct response *response)
{
	bool known = silences_read(api->options.silences);

	if (!known)
		response_refuse(response, 503,
				TOPIC_SILENCES " has not been read yet; try again in a second");
	return known;
}

static bool stands(const struct silencebook *book, const char *id, uint64_t now)
{
	const struct silence *known = silencebook_find(book, id);

	return known && silence_state(known, now) != SILENCE_EXPIRED;
}

/* With those that wait. */
static bool has_room(struct silences_api *api, const char *id)
{
	const struct silencebook *book = silences_book(api->options.silences);
	uint64_t now = real_ns();
	size_t count = silencebook_standing(book, now);
	struct waiter *waiter = NULL;

	while ((waiter = waiting_next(&api->waiting, waiter))) {
		const struct silence *what = waiter->what;

		count += what->ends_ns > now && !stands(book, what->id, now);
	}
	return stands(book, id, now) || count < api->options.silences_max;
}

static void add(struct silences_api *api, struct response *response, const char *peer,
		const char *text, size_t length, bool dry_run)
{
	struct silence wish;

	if (!read_document(api, text, length, &wish)) {
		response_refuse(response, 400, api->error.text);
		return;
	}
	put(wish.author, sizeof(wish.author), peer);
	if (!has_room(api, wish.id)) {
		snprintf(api->error.text, sizeof(api->error.text),
			 "%u silences are active or pending already (silences.max): expire some",
			 api->options.silences_max);
		response_refuse(response, 409, api->error.text);
		return;
	}
	wish.issued_ns = dry_run ? 0 : issue(api);
	if (dry_run)
		reply_dry_run(api, response, &wish);
	else
		write_wish(api, response, &wish);
}

static const struct silence *find(struct silences_api *api, struct response *response,
				  const char *id)
{
	const struct silence *known = silencebook_find(silences_book(api->options.silences), id);

	if (!known)
		response_refuse(response, 404, "there is no silence of this id");
	return known;
}

static void expire(struct silences_api *api, struct response *response, const char *peer,
		   const char *id)
{
	const struct silence *known = find(api, response, id);
	uint64_t now = real_ns();
	struct silence wish;

	if (!known)
		return;
	if (silence_state(known, now) == SILENCE_EXPIRED) {
		response_refuse(response, 409, "it has expired already");
		return;
	}
	wish = *known;
	wish.issued_ns = issue(api);
	wish.ends_ns = now;
	wish.starts_ns = wish.starts_ns < now ? wish.starts_ns : now;
	put(wish.author, sizeof(wish.author), peer);
	write_wish(api, response, &wish);
}

static void serve_list(struct request *request, struct response *response, void *context)
{
	Millrace__V1__ListSilencesRequest said = MILLRACE__V1__LIST_SILENCES_REQUEST__INIT;
	struct silences_api *api = context;

	if (reply_takes(&silence_list_takes, request, response, &api->arena, &said.base) &&
	    knows(api, response))
		reply_list(api, response, said.state);
	arena_clear(&api->arena);
}

static void serve_get(struct request *request, struct response *response, void *context)
{
	struct silences_api *api = context;
	const struct silence *known;

	if (reply_takes(&silence_get_takes, request, response, NULL, NULL) &&
	    knows(api, response) && (known = find(api, response, request->rest)))
		reply_state(api, response, known);
}

static void serve_add(struct request *request, struct response *response, void *context)
{
	Millrace__V1__AddSilenceRequest said = MILLRACE__V1__ADD_SILENCE_REQUEST__INIT;
	struct silences_api *api = context;

	if (permit(api->options.token, request, response) &&
	    reply_takes(&silence_add_takes, request, response, NULL, &said.base) &&
	    reply_is_document(request, response) && knows(api, response))
		add(api, response, request->peer, (const char *)request->body, request->body_size,
		    said.dry_run);
}

static void serve_expire(struct request *request, struct response *response, void *context)
{
	struct silences_api *api = context;

	if (permit(api->options.token, request, response) &&
	    reply_takes(&silence_expire_takes, request, response, NULL, NULL) &&
	    knows(api, response))
		expire(api, response, request->peer, request->rest);
}

/* --- the same over gRPC --- */

static void serve_rpc_list(struct request *request, struct response *response, void *context)
{
	struct silences_api *api = context;
	Millrace__V1__ListSilencesRequest *said;
	const struct silence *known;

	said = request->body_size > REQUEST_BYTES_MAX
		       ? NULL
		       : millrace__v1__list_silences_request__unpack(NULL, request->body_size,
								     request->body);
	if (!said || (said->state[0] && strcmp(said->state, "active") != 0 &&
		      strcmp(said->state, "pending") != 0 && strcmp(said->state, "expired") != 0)) {
		response_refuse(response, 400,
				said ? "state: active, pending, expired, or none"
				     : "no ListSilencesRequest");
	} else if (knows(api, response) && !said->id[0]) {
		reply_list(api, response, said->state);
	} else if (silences_read(api->options.silences) &&
		   (known = find(api, response, said->id))) {
		Millrace__V1__ListSilencesResponse list =
			MILLRACE__V1__LIST_SILENCES_RESPONSE__INIT;
		Millrace__V1__SilenceState *state = tell(&api->arena, known, real_ns());

		list.n_silences = 1;
		list.silences = &state;
		add_alerts(api, silences_book(api->options.silences), real_ns(), &state, 1);
		reply_message(response, &list.base);
		arena_clear(&api->arena);
	}
	if (said)
		millrace__v1__list_silences_request__free_unpacked(said, NULL);
}

static void serve_rpc_add(struct request *request, struct response *response, void *context)
{
	struct silences_api *api = context;
	Millrace__V1__AddSilenceRequest *said;

	if (!permit(api->options.token, request, response) || !knows(api, response))
		return;
	said = request->body_size > REQUEST_BYTES_MAX
		       ? NULL
		       : millrace__v1__add_silence_request__unpack(NULL, request->body_size,
								   request->body);
	if (!said) {
		response_refuse(response, 400, "no AddSilenceRequest");
		return;
	}
	add(api, response, request->peer, said->document, strlen(said->document), said->dry_run);
	millrace__v1__add_silence_request__free_unpacked(said, NULL);
}

static void serve_rpc_expire(struct request *request, struct response *response, void *context)
{
	struct silences_api *api = context;
	Millrace__V1__ExpireSilenceRequest *said;

	if (!permit(api->options.token, request, response) || !knows(api, response))
		return;
	said = request->body_size > REQUEST_BYTES_MAX
		       ? NULL
		       : millrace__v1__expire_silence_request__unpack(NULL, request->body_size,
								      request->body);
	if (!said) {
		response_refuse(response, 400, "no ExpireSilenceRequest");
		return;
	}
	expire(api, response, request->peer, said->id);
	millrace__v1__expire_silence_request__free_unpacked(said, NULL);
}

void silences_api_routes(struct silences_api *api, struct server *server)
{
	server_route(server, "GET", "/api/v1/silences", serve_list, api);
	server_route(server, "POST", "/api/v1/silences", serve_add, api);
	server_route(server, "GET", "/api/v1/silences/*", serve_get, api);
	server_route(server, "DELETE", "/api/v1/silences/*", serve_expire, api);
	server_grpc(server, "/millrace.v1.Silences/List", serve_rpc_list, api);
	server_grpc(server, "/millrace.v1.Silences/Add", serve_rpc_add, api);
	server_grpc(server, "/millrace.v1.Silences/Expire", serve_rpc_expire, api);
}

/* --- life --- */

struct silences_api *silences_api_new(const struct silences_api_options *options)
{
	struct silences_api *api = memory_zeroed(1, sizeof(*api));

	api->options = *options;
	waiting_init(&api->waiting, options->loop,
		     "Kafka did not take the silence within 10 s; it may come yet: see "
		     "GET /api/v1/silences");
	return api;
}

void silences_api_close(struct silences_api *api)
{
	waiting_close(&api->waiting);
}

void silences_api_free(struct silences_api *api)
{
	if (!api)
		return;
	waiting_done(&api->waiting);
	arena_done(&api->arena);
	free(api);
}
