/* The rules of delivery, against a receiver that answers from a script. Requests and retries are
 * real; where a retry waits, the receiver names the wait, or it is the first one: at most a second.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <time.h>
#include <cJSON.h>

#include "api/notify/notify.h"
#include "api/notify/repeat.h"
#include "base/clock.h"
#include "tests/api/notify/receiver.h"

#define ANSWER(status, body) "HTTP/1.1 " status "\r\nConnection: keep-alive\r\n" body
#define OK		     ANSWER("200 OK", "Content-Length: 2\r\n\r\nok")
#define TAKEN		     ANSWER("202 Accepted", "Content-Length: 2\r\n\r\n{}")
#define NOTHING		     "Content-Length: 0\r\n\r\n"

enum { SETTLED_KEPT = 4096, TIMEOUT_MS = 300 };

struct fixture {
	struct rig rig;
	struct notify *notify;
	struct delivery settled[SETTLED_KEPT];
	struct delivery latest; /* the last record, whatever it says */
	size_t settled_count, announcements, wanted, troubles;
	size_t given_up[NOTIFY_FAILURES];
	struct notify_receipt *receipts[64];
	size_t receipts_count;
	bool keeps_receipts, doubts;
	uint64_t silenced_ns; /* until then, all that is not critical */
	bool acknowledged;    /* all that was not opened again */
	char trouble[512];
	char url[64];
	bool closed;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void on_record(void *context, const struct delivery *delivery,
		      struct notify_receipt *receipt)
{
	struct fixture *fixture = context;

	fixture->latest = *delivery;
	if (delivery_settles(delivery)) {
		assert_true(fixture->settled_count < SETTLED_KEPT);
		fixture->settled[fixture->settled_count++] = *delivery;
	} else {
		fixture->announcements++;
	}
	if (!fixture->keeps_receipts)
		notify_recorded(receipt);
	else
		fixture->receipts[fixture->receipts_count++] = receipt;
}

static void on_given_up(void *context, const char *receiver, const struct alert *alert,
			const struct notify_place *place, enum notify_failure failure,
			const char *sentence)
{
	struct fixture *fixture = context;

	(void)alert;
	(void)place;
	assert_string_equal(receiver, "team");
	assert_true(sentence[0]);
	fixture->given_up[failure]++;
}

static void on_trouble(void *context, const char *receiver, const char *sentence)
{
	struct fixture *fixture = context;

	assert_string_equal(receiver, "team");
	assert_null(strstr(sentence, "/services/"));
	snprintf(fixture->trouble, sizeof(fixture->trouble), "%s", sentence);
	fixture->troubles++;
}

static bool doubts(void *context)
{
	return ((struct fixture *)context)->doubts;
}

static uint64_t silenced(void *context, const struct alert *alert)
{
	return alert->severity == ALERT_CRITICAL ? 0 : ((struct fixture *)context)->silenced_ns;
}

static bool acknowledged(void *context, const struct alert *alert)
{
	return ((struct fixture *)context)->acknowledged && !alert->reopened_ns;
}

static void on_closed(void *context)
{
	((struct fixture *)context)->closed = true;
}

static bool has_closed(void *context)
{
	return ((struct fixture *)context)->closed;
}

static bool enough_settled(void *context)
{
	struct fixture *fixture = context;

	return fixture->settled_count >= fixture->wanted;
}

static bool enough_received(void *context)
{
	struct fixture *fixture = context;

	return fixture->rig.count >= fixture->wanted;
}

static void start(struct fixture *fixture, uint32_t kind, const struct notify_options *changes)
{
	struct receiver receiver = {.name = "team",
				    .kind = kind,
				    .url = fixture->url,
				    .routing_key = "0123456789abcdef0123456789abcdef",
				    .severity_min = ALERT_INFO,
				    .token = kind == RECEIVER_SLACK_BOT ? "xoxb-1" : NULL,
				    .channel = "#ops"};
	struct notify_options options = {.receivers = &receiver,
					 .receivers_count = 1,
					 .external_url = "https://millrace.example/",
					 .allow_http = true,
					 .allow_private = true,
					 .timeout_ns = TIMEOUT_MS * NS_PER_MS,
					 .life_ns = 3600 * NS_PER_S,
					 .pending_max = 1000,
					 .breaker_failures = 5,
					 .announce_wait_ms = 250,
					 .retry = {1000, 300000},
					 .now_ns = now_ns,
					 .context = fixture,
					 .doubts = doubts,
					 .silenced = silenced,
					 .acknowledged = acknowledged,
					 .record = on_record,
					 .given_up = on_given_up,
					 .trouble = on_trouble};
	const char *error = NULL;

	if (changes && changes->life_ns)
		options.life_ns = changes->life_ns;
	if (changes && changes->pending_max)
		options.pending_max = changes->pending_max;
	if (changes && changes->retry.max_ms)
		options.retry = changes->retry;
	if (changes && changes->breaker_failures)
		options.breaker_failures = changes->breaker_failures;
	if (changes && changes->receivers)
		receiver.severity_min = changes->receivers->severity_min;
	if (changes && changes->receivers)
		receiver.self_alerts = changes->receivers->self_alerts;
	if (changes && changes->receivers)
		receiver.route = changes->receivers->route;
	if (changes && changes->receivers)
		receiver.resolve_after_ns = changes->receivers->resolve_after_ns;
	fixture->notify = notify_new(&fixture->rig.loop, &options, &error);
	assert_null(error);
	assert_non_null(fixture->notify);
}

static void stop(struct fixture *fixture)
{
	if (!fixture->notify)
		return;
	fixture->closed = false;
	notify_close(fixture->notify, on_closed, fixture);
	assert_true(rig_until(&fixture->rig, has_closed, fixture));
	notify_free(fixture->notify);
	fixture->notify = NULL;
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	rig_init(&fixture->rig);
	snprintf(fixture->url, sizeof(fixture->url), "http://127.0.0.1:%d/services/T/B/X",
		 fixture->rig.port);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	stop(fixture);
	rig_done(&fixture->rig);
	free(fixture);
	return 0;
}

static struct alert episode(unsigned number)
{
	struct alert alert = {.sequence = 1,
			      .state = ALERT_FIRING,
			      .severity = ALERT_WARNING,
			      .monitor = "errors",
			      .subject = {"shop", "cart", 8080, 6},
			      .metric = "error_ratio",
			      .unit = "ratio",
			      .value = 0.25,
			      .threshold = 0.05,
			      .completeness = 1,
			      .started_ns = 1767323045678000000,
			      .pane_end_ns = now_ns(),
			      .summary = "shop to cart: 25 % fail"};

	snprintf(alert.key, sizeof(alert.key), "KEY%049u", number);
	return alert;
}

static void push(struct fixture *fixture, unsigned number, uint64_t sequence, uint32_t state,
		 uint32_t severity)
{
	struct alert alert = episode(number);

	alert.sequence = sequence;
	alert.state = state;
	alert.severity = severity;
	notify_push(fixture->notify, &alert, &(struct notify_place){0, (int64_t)number});
}

static void fire(struct fixture *fixture, unsigned number)
{
	push(fixture, number, 1, ALERT_FIRING, ALERT_WARNING);
}

static void resolve(struct fixture *fixture, unsigned number)
{
	push(fixture, number, 2, ALERT_RESOLVED, ALERT_WARNING);
}

static void until_settled(struct fixture *fixture, size_t count)
{
	fixture->wanted = count;
	assert_true(rig_until(&fixture->rig, enough_settled, fixture));
	assert_int_equal(fixture->settled_count, count);
}

static void until_received(struct fixture *fixture, size_t count)
{
	fixture->wanted = count;
	assert_true(rig_until(&fixture->rig, enough_received, fixture));
}

static struct notify_receiver_stats stats(const struct fixture *fixture)
{
	struct notify_receiver_stats stats;

	assert_int_equal(notify_stats(fixture->notify, &stats, 1), 1);
	return stats;
}

/* Whether the n-th request ends the episode rather than begins it. */
static bool ends(const struct fixture *fixture, size_t number)
{
	cJSON *body = cJSON_Parse(fixture->rig.received[number].body);
	cJSON *action = cJSON_GetObjectItem(body, "event_action");
	cJSON *text = cJSON_GetObjectItem(body, "text");
	bool end = action ? strcmp(action->valuestring, "resolve") == 0
			  : strncmp(text->valuestring, "Resolved", 8) == 0;

	cJSON_Delete(body);
	return end;
}

#define SCRIPT(...)                                        \
	static const struct line script[] = {__VA_ARGS__}; \
	rig_script(&fixture->rig, script, sizeof(script) / sizeof(script[0]))

static void slack_gets_a_firing_and_then_its_end(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL);
	fire(fixture, 1);
	resolve(fixture, 1); /* while the firing is under way */
	until_settled(fixture, 2);
	assert_int_equal(fixture->rig.count, 2);
	assert_false(ends(fixture, 0));
	assert_true(ends(fixture, 1));
	assert_false(fixture->settled[0].failed);
	assert_true(fixture->settled[0].resolve_owed);
	assert_int_equal(fixture->settled[0].attempts, 1);
	assert_true(fixture->settled[0].sent_ns <= fixture->settled[0].delivered_ns);
	assert_int_equal(fixture->settled[1].sequence, 2);
	assert_int_equal(fixture->settled[1].state, ALERT_RESOLVED);
	assert_false(fixture->settled[1].resolve_owed);
	assert_int_equal(stats(fixture).sent, 2);
	assert_int_equal(stats(fixture).pending, 0);
}

static void pagerduty_gets_a_trigger_and_its_resolve_under_one_key(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = TAKEN});

	start(fixture, RECEIVER_PAGERDUTY, NULL);
	fire(fixture, 1);
	until_settled(fixture, 1);
	resolve(fixture, 1);
	until_settled(fixture, 2);
	for (size_t i = 0; i < 2; i++) {
		cJSON *body = cJSON_Parse(fixture->rig.received[i].body);

		assert_string_equal(cJSON_GetObjectItem(body, "dedup_key")->valuestring,
				    fixture->settled[i].key);
		assert_string_equal(cJSON_GetObjectItem(body, "routing_key")->valuestring,
				    "0123456789abcdef0123456789abcdef");
		cJSON_Delete(body);
	}
	assert_false(ends(fixture, 0));
	assert_true(ends(fixture, 1));
}

static void a_bad_request_is_given_up_and_the_receiver_goes_on(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = ANSWER("400 Bad", "Content-Length: 17\r\n\r\ninvalid\x01\xff_payload")},
	       {.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL);
	fire(fixture, 1);
	until_settled(fixture, 1);
	assert_true(fixture->settled[0].failed);
	assert_false(fixture->settled[0].resolve_owed);
	/* Foreign bytes reach no record and no log as they are. */
	assert_string_equal(fixture->settled[0].error,
			    "the receiver answered 400: invalid\xef\xbf\xbd_payload");
	assert_string_equal(fixture->trouble, fixture->settled[0].error);
	fire(fixture, 2);
	resolve(fixture, 1); /* of what the receiver never took */
	until_settled(fixture, 3);
	assert_int_equal(fixture->rig.count, 2);
	assert_false(stats(fixture).disabled);
	assert_int_equal(stats(fixture).failed[NOTIFY_REFUSED], 1);
	assert_int_equal(fixture->given_up[NOTIFY_REFUSED], 1);
}

static void a_refusal_for_good_disables_the_receiver(void **state)
{
	struct fixture *fixture = *state;
	static const struct line refusals[] = {
		{.answer = ANSWER("403 No", "Content-Length: 17\r\n\r\naction_prohibited")},
		{.answer = ANSWER("404 No", "Content-Length: 17\r\n\r\nchannel_not_found")},
		{.answer = ANSWER("410 No", "Content-Length: 19\r\n\r\nchannel_is_archived")},
	};

	for (size_t i = 0; i < 3; i++) {
		fixture->settled_count = 0;
		rig_script(&fixture->rig, &refusals[i], 1);
		start(fixture, RECEIVER_SLACK, NULL);
		fire(fixture, 1);
		until_settled(fixture, 1);
		assert_true(fixture->settled[0].failed);
		assert_true(stats(fixture).disabled);
		fire(fixture, 2);
		until_settled(fixture, 2);
		assert_true(fixture->settled[1].failed);
		assert_int_equal(fixture->rig.count, i + 1);
		stop(fixture);
	}
}

static void retry_after_in_seconds_is_obeyed(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = ANSWER("429 Slow", "Retry-After: 1\r\n" NOTHING)}, {.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL);
	fire(fixture, 1);
	until_settled(fixture, 1);
	assert_int_equal(fixture->rig.count, 2);
	assert_true(fixture->rig.received[1].at_ms - fixture->rig.received[0].at_ms >= 990);
	assert_int_equal(fixture->settled[0].attempts, 2);
	assert_int_equal(stats(fixture).retried, 1);
}

static void whoever_asks_for_years_is_not_asked_at_once(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = ANSWER("429 Slow", "Retry-After: 1000000000\r\n" NOTHING)});

	start(fixture, RECEIVER_SLACK, NULL);
	fire(fixture, 1);
	until_received(fixture, 1);
	rig_run_for(&fixture->rig, 20);
	fire(fixture, 2);
	rig_run_for(&fixture->rig, 1500);
	assert_int_equal(fixture->rig.count, 1);
	assert_int_equal(stats(fixture).pending, 2);
	assert_non_null(strstr(fixture->trouble, "3600.0 s"));
	assert_in_range(stats(fixture).resumes_in_ms, 3590000, 3600000);
}

/* The first wait is 0.1 to 1 s. */
static void tried_again(struct fixture *fixture, uint32_t kind, struct line first)
{
	struct line script[] = {first, {.answer = kind == RECEIVER_SLACK ? OK : TAKEN}};
	size_t before = fixture->rig.count;
	struct line *played = calloc(before + 2, sizeof(*played));

	memcpy(played + before, script, sizeof(script));
	rig_script(&fixture->rig, played, before + 2);
	fixture->settled_count = 0;
	start(fixture, kind, NULL);
	fire(fixture, 1);
	until_settled(fixture, 1);
	assert_false(fixture->settled[0].failed);
	assert_int_equal(fixture->settled[0].attempts, 2);
	assert_int_equal(fixture->rig.count, before + 2);
	assert_true(fixture->rig.received[before + 1].at_ms - fixture->rig.received[before].at_ms >=
		    95);
	assert_int_equal(stats(fixture).retried, 1);
	assert_int_equal(fixture->given_up[NOTIFY_REFUSED], 0);
	stop(fixture);
	free(played);
}

static void what_may_pass_is_tried_again(void **state)
{
	static const struct line passing[] = {
		{.answer = ANSWER("500 Off", "Content-Length: 12\r\n\r\nrollup_error")},
		{.answer = ANSWER("503 Off", "Retry-After: soon\r\n" NOTHING)},
		{.answer = ANSWER("429 Slow", "Retry-After: -5\r\n" NOTHING)},
		{.answer = ANSWER("429 Slow",
				  "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n" NOTHING)},
		{.answer = ANSWER("408 Late", NOTHING)},
		{.answer = ANSWER("500 Off", "Content-Length: 10485760\r\n\r\n"),
		 .filler = 10485760},
		{.answer = NULL},
		{.reset = true},
		{.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", .hang_up = true},
		/* A page of a proxy, a refusal inside 200, and more than ok. */
		{.answer = ANSWER("200 OK", "Content-Length: 6\r\n\r\n<html>")},
		{.answer = ANSWER("200 OK", "Content-Length: 12\r\n\r\n{\"ok\":false}")},
		{.answer = ANSWER("200 OK", "Content-Length: 4\r\n\r\nokay")},
	};

	for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++)
		tried_again(*state, RECEIVER_SLACK, passing[i]);
	tried_again(*state, RECEIVER_PAGERDUTY,
		    (struct line){.answer = ANSWER("429 Slow", NOTHING)});
	tried_again(*state, RECEIVER_PAGERDUTY, (struct line){.answer = OK});
}

static void a_redirect_is_a_refusal(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = ANSWER("302 There", "Location: /other\r\n" NOTHING)});

	start(fixture, RECEIVER_SLACK, NULL);
	fire(fixture, 1);
	until_settled(fixture, 1);
	assert_true(fixture->settled[0].failed);
	assert_int_equal(fixture->rig.count, 1);
}

static void a_resolve_of_what_was_certainly_not_taken_is_never_sent(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = ANSWER("503 Off", NOTHING)}, {.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL);
	fire(fixture, 1);
	until_received(fixture, 1);
	resolve(fixture, 1);
	until_settled(fixture, 1);
	rig_run_for(&fixture->rig, 1200);
	assert_int_equal(fixture->rig.count, 1);
	assert_int_equal(fixture->settled[0].sequence, 2);
	assert_false(fixture->settled[0].resolve_owed);
	resolve(fixture, 2); /* nor of an episode that it never heard of */
	until_settled(fixture, 2);
	assert_int_equal(fixture->rig.count, 1);
}

/* The answer was lost: the receiver may hold an incident that only a resolve ends. */
static void a_firing_without_an_answer_is_sent_again_and_then_ended(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.hang_up = true}, {.answer = ANSWER("503 Off", NOTHING)}, {.answer = TAKEN});

	start(fixture, RECEIVER_PAGERDUTY, NULL);
	fire(fixture, 1);
	until_received(fixture, 1);
	resolve(fixture, 1);
	until_settled(fixture, 2);
	assert_int_equal(fixture->rig.count, 4);
	for (size_t i = 0; i < 3; i++)
		assert_false(ends(fixture, i));
	assert_true(ends(fixture, 3));
	assert_true(fixture->settled[0].resolve_owed);
	assert_false(fixture->settled[1].resolve_owed);
	assert_int_equal(fixture->settled[1].state, ALERT_RESOLVED);
}

static void a_firing_that_a_kept_connection_swallowed_is_ended_too(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = TAKEN}, {.hang_up = true}, {.answer = ANSWER("500 Off", NOTHING)},
	       {.answer = TAKEN});

	start(fixture, RECEIVER_PAGERDUTY, NULL);
	fire(fixture, 1);
	until_settled(fixture, 1);
	fire(fixture, 2);
	until_received(fixture, 2);
	resolve(fixture, 2);
	until_settled(fixture, 3);
	assert_int_equal(fixture->rig.count, 5);
	assert_false(ends(fixture, 3));
	assert_true(ends(fixture, 4));
}

static void a_resolve_that_comes_between_the_tries_waits_too(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = NULL}, {.answer = TAKEN});

	start(fixture, RECEIVER_PAGERDUTY, NULL);
	fire(fixture, 1);
	until_received(fixture, 1);
	rig_run_for(&fixture->rig, TIMEOUT_MS + 20);
	resolve(fixture, 1);
	until_settled(fixture, 2);
	assert_int_equal(fixture->rig.count, 3);
	assert_false(ends(fixture, 1));
	assert_true(ends(fixture, 2));
}

static void reopen(struct fixture *fixture, unsigned number)
{
	struct alert alert = episode(number);

	alert.sequence = 3;
	alert.reopened_ns = alert.pane_end_ns;
	notify_push(fixture->notify, &alert, &(struct notify_place){0, (int64_t)number});
}

/* Else its channel says resolved while it fires. */
static void what_fires_again_after_an_end_without_an_answer_is_told(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = OK}, {.hang_up = true}, {.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL);
	fire(fixture, 1);
	until_settled(fixture, 1);
	resolve(fixture, 1);
	until_received(fixture, 2);
	assert_true(ends(fixture, 1));
	reopen(fixture, 1);
	until_settled(fixture, 2);
	assert_int_equal(fixture->settled[1].sequence, 3);
	assert_int_equal(fixture->rig.count, 3);
	assert_false(ends(fixture, 2));
	push(fixture, 1, 4, ALERT_FIRING, ALERT_WARNING); /* nothing new */
	until_settled(fixture, 3);
	assert_int_equal(fixture->rig.count, 3);
}

/* Its end may have been sent, and the process killed before a record said so. */
static void what_fires_again_after_a_crash_is_told(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL);
	fire(fixture, 1);
	until_settled(fixture, 1);
	stop(fixture);

	start(fixture, RECEIVER_SLACK, NULL);
	notify_settled(fixture->notify, &fixture->settled[0]);
	notify_pause(fixture->notify); /* while the outbox is read, what still fires first */
	reopen(fixture, 1);
	resolve(fixture, 1);
	notify_resume(fixture->notify);
	until_settled(fixture, 2);
	assert_int_equal(fixture->settled[1].sequence, 3);
	assert_int_equal(fixture->rig.count, 2);
	assert_false(ends(fixture, 1));
}

static void an_unanswered_firing_that_is_refused_then_needs_no_end(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.hang_up = true},
	       {.answer = ANSWER("400 Bad", "Content-Length: 15\r\n\r\ninvalid_payload")});

	start(fixture, RECEIVER_SLACK, NULL);
	fire(fixture, 1);
	until_received(fixture, 1);
	resolve(fixture, 1);
	until_settled(fixture, 2);
	assert_int_equal(fixture->rig.count, 2);
	assert_true(fixture->settled[0].failed && fixture->settled[1].failed);
}

static void of_an_episode_only_the_newest_waits(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = ANSWER("503 Off", "Retry-After: 1\r\n" NOTHING)}, {.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL);
	fire(fixture, 9);
	until_received(fixture, 1);
	rig_run_for(&fixture->rig, 20);
	fire(fixture, 1);
	push(fixture, 1, 2, ALERT_FIRING, ALERT_ERROR);
	push(fixture, 1, 3, ALERT_FIRING, ALERT_CRITICAL);
	assert_int_equal(stats(fixture).superseded, 2);
	until_settled(fixture, 2);
	assert_int_equal(fixture->rig.count, 3);
	assert_int_equal(fixture->settled[1].sequence, 3);
	assert_int_equal(fixture->settled[1].severity, ALERT_CRITICAL);
	assert_int_equal(fixture->settled[1].attempts, 1);
}

static void a_newer_transition_outlives_the_refusal_of_an_older(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = ANSWER("400 Bad", NOTHING)}, {.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL);
	fire(fixture, 1);
	push(fixture, 1, 2, ALERT_FIRING, ALERT_CRITICAL);
	until_settled(fixture, 2);
	assert_true(fixture->settled[0].failed);
	assert_int_equal(fixture->settled[0].sequence, 1);
	assert_false(fixture->settled[1].failed);
	assert_int_equal(fixture->settled[1].sequence, 2);
}

static void push_located(struct fixture *fixture, uint64_t sequence)
{
	struct alert alert = episode(1);

	alert.sequence = sequence;
	alert.suspects_count = 1;
	snprintf(alert.suspects[0].name, sizeof(alert.suspects[0].name), "v2");
	notify_push(fixture->notify, &alert, &(struct notify_place){0, 1});
}

static void slack_is_told_once_where_the_change_is(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL);
	fire(fixture, 1);
	until_settled(fixture, 1);
	push_located(fixture, 2);
	until_settled(fixture, 2);
	push_located(fixture, 3);
	until_settled(fixture, 3);
	assert_int_equal(fixture->rig.count, 2);
}

static void pagerduty_is_told_every_change_in_place(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = TAKEN});

	start(fixture, RECEIVER_PAGERDUTY, NULL);
	fire(fixture, 1);
	until_settled(fixture, 1);
	push_located(fixture, 2);
	until_settled(fixture, 2);
	push_located(fixture, 3);
	until_settled(fixture, 3);
	assert_int_equal(fixture->rig.count, 3);
}

static void only_a_rise_of_severity_is_told_again(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL);
	fire(fixture, 1);
	until_settled(fixture, 1);
	push(fixture, 1, 2, ALERT_FIRING, ALERT_WARNING);
	until_settled(fixture, 2);
	assert_true(fixture->settled[1].resolve_owed);
	push(fixture, 1, 3, ALERT_FIRING, ALERT_ERROR);
	until_settled(fixture, 3);
	assert_int_equal(fixture->rig.count, 2);
}

static void nothing_is_sent_twice(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL);
	fire(fixture, 1);
	fire(fixture, 1); /* under way */
	until_settled(fixture, 1);
	fire(fixture, 1); /* delivered */
	resolve(fixture, 1);
	until_settled(fixture, 2);
	resolve(fixture, 1);
	fire(fixture, 1);
	rig_run_for(&fixture->rig, 50);
	assert_int_equal(fixture->rig.count, 2);
	assert_int_equal(fixture->settled_count, 2);
}

/* A compacted topic keeps the latest record of an episode: it must say all. */
static void a_second_life_knows_from_the_latest_record_alone(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = OK}, {.answer = ANSWER("400 Bad", NOTHING)}, {.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL);
	fire(fixture, 1);
	until_settled(fixture, 1);
	push(fixture, 1, 2, ALERT_FIRING, ALERT_CRITICAL); /* refused */
	until_settled(fixture, 2);
	assert_true(fixture->settled[1].failed);
	stop(fixture);

	start(fixture, RECEIVER_SLACK, NULL);
	notify_settled(fixture->notify, &fixture->settled[1]);
	fire(fixture, 1);
	push(fixture, 1, 2, ALERT_FIRING, ALERT_CRITICAL);
	rig_run_for(&fixture->rig, 50);
	assert_int_equal(fixture->rig.count, 2);
	push(fixture, 1, 3, ALERT_FIRING, ALERT_WARNING); /* as it has seen it */
	until_settled(fixture, 3);
	assert_int_equal(fixture->rig.count, 2);
	push(fixture, 1, 4, ALERT_RESOLVED, ALERT_WARNING);
	until_settled(fixture, 4);
	assert_int_equal(fixture->rig.count, 3);
	assert_true(ends(fixture, 2));
	stop(fixture);

	start(fixture, RECEIVER_SLACK, NULL);
	notify_settled(fixture->notify, &fixture->settled[3]);
	notify_settled(fixture->notify, &fixture->settled[0]); /* older: changes nothing */
	for (uint64_t sequence = 1; sequence <= 4; sequence++)
		push(fixture, 1, sequence, sequence == 4 ? ALERT_RESOLVED : ALERT_FIRING,
		     ALERT_CRITICAL);
	rig_run_for(&fixture->rig, 50);
	assert_int_equal(fixture->rig.count, 3);
}

static void slack_gets_a_burst_of_three_and_then_one_a_second(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL);
	for (unsigned i = 0; i < 5; i++)
		fire(fixture, i);
	until_settled(fixture, 5);
	const struct received *received = fixture->rig.received;
	assert_true(received[2].at_ms - received[0].at_ms < 500);
	assert_true(received[3].at_ms - received[0].at_ms >= 980);
	assert_true(received[4].at_ms - received[0].at_ms >= 1960);
}

static void past_its_bound_the_oldest_is_given_up(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = ANSWER("503 Off", "Retry-After: 100\r\n" NOTHING)});

	start(fixture, RECEIVER_SLACK, &(struct notify_options){.pending_max = 10});
	fire(fixture, 0);
	until_received(fixture, 1);
	rig_run_for(&fixture->rig, 20);
	for (unsigned i = 1; i <= 15; i++)
		fire(fixture, i);
	assert_int_equal(fixture->settled_count, 6);
	assert_string_equal(fixture->settled[0].key, episode(0).key);
	assert_string_equal(fixture->settled[5].key, episode(5).key);
	assert_true(fixture->settled[5].failed);
	assert_int_equal(stats(fixture).pending, 10);
	assert_int_equal(stats(fixture).failed[NOTIFY_CROWDED], 6);
}

static void what_is_not_delivered_within_its_life_is_given_up(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = ANSWER("503 Off", "Retry-After: 1\r\n" NOTHING)});

	start(fixture, RECEIVER_SLACK, &(struct notify_options){.life_ns = 500 * NS_PER_MS});
	fire(fixture, 1);
	until_settled(fixture, 1);
	assert_true(fixture->settled[0].failed);
	assert_int_equal(fixture->rig.count, 1);
	assert_int_equal(stats(fixture).failed[NOTIFY_EXPIRED], 1);
}

static void lesser_alerts_are_not_sent_but_ends_are(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = OK});

	start(fixture, RECEIVER_SLACK,
	      &(struct notify_options){.receivers =
					       &(struct receiver){.severity_min = ALERT_ERROR}});
	push(fixture, 1, 1, ALERT_FIRING, ALERT_WARNING);
	push(fixture, 2, 1, ALERT_FIRING, ALERT_CRITICAL);
	until_settled(fixture, 1);
	push(fixture, 1, 2, ALERT_RESOLVED, ALERT_INFO);
	push(fixture, 2, 2, ALERT_RESOLVED, ALERT_INFO);
	until_settled(fixture, 2);
	assert_int_equal(fixture->rig.count, 2);
	assert_true(ends(fixture, 1));
}

/* Four under way fail together: the next try still comes within a second. */
static void push_of(struct fixture *fixture, uint64_t sequence, uint32_t state, const char *server,
		    bool wanted)
{
	struct alert alert = episode(1);

	alert.sequence = sequence;
	alert.state = state;
	snprintf(alert.subject.server, sizeof(alert.subject.server), "%s", server);
	assert_int_equal(notify_push(fixture->notify, &alert, &(struct notify_place){0, 1}),
			 wanted);
}

static void whom_an_incident_comes_to_concern_hears_of_it_then_and_until_its_end(void **state)
{
	static const char *const pattern = "payments";
	struct receiver of_payments = {.severity_min = ALERT_INFO};
	struct fixture *fixture = *state;
	SCRIPT({.answer = TAKEN});

	of_payments.route.fields[ROUTE_SERVER] = (struct route_patterns){&pattern, 1};
	start(fixture, RECEIVER_PAGERDUTY, &(struct notify_options){.receivers = &of_payments});
	push_of(fixture, 1, ALERT_FIRING, "cart", false);
	push_of(fixture, 2, ALERT_FIRING, "payments", true); /* its cause is another now */
	until_settled(fixture, 1);
	push_of(fixture, 3, ALERT_FIRING, "cart", true);
	until_settled(fixture, 2);
	push_of(fixture, 4, ALERT_RESOLVED, "cart", true);
	until_settled(fixture, 3);
	assert_int_equal(fixture->rig.count, 3);
	assert_false(ends(fixture, 0));
	assert_true(ends(fixture, 2));
	push_of(fixture, 5, ALERT_FIRING, "cart", false); /* over, and again another's */
	assert_int_equal(stats(fixture).pending, 0);
}

static void a_second_life_goes_on_with_whom_it_told(void **state)
{
	static const char *const pattern = "payments";
	struct receiver of_payments = {.severity_min = ALERT_INFO};
	struct fixture *fixture = *state;
	struct delivery told;
	SCRIPT({.answer = TAKEN});

	of_payments.route.fields[ROUTE_SERVER] = (struct route_patterns){&pattern, 1};
	start(fixture, RECEIVER_PAGERDUTY, &(struct notify_options){.receivers = &of_payments});
	push_of(fixture, 1, ALERT_FIRING, "payments", true);
	until_settled(fixture, 1);
	told = fixture->latest;
	stop(fixture);
	start(fixture, RECEIVER_PAGERDUTY, &(struct notify_options){.receivers = &of_payments});
	notify_settled(fixture->notify, &told);
	notify_begin(fixture->notify);
	push_of(fixture, 2, ALERT_RESOLVED, "cart", true);
	until_settled(fixture, 2);
	assert_true(ends(fixture, 1));
}

/* --- tests of receivers --- */

struct tried {
	size_t count, lost;
	struct notify_trial last;
};

static void on_tried(void *context, const struct notify_trial *trial)
{
	struct tried *tried = context;

	tried->count++;
	tried->lost += !trial;
	if (trial)
		tried->last = *trial;
}

static bool was_tried(void *context)
{
	return ((struct tried *)context)->count > 0;
}

static struct tried try_once(struct fixture *fixture)
{
	const struct alert alert = episode(7);
	struct tried tried = {0};

	notify_try(fixture->notify, 0, &alert, on_tried, &tried);
	assert_true(rig_until(&fixture->rig, was_tried, &tried));
	assert_int_equal(tried.count, 1);
	return tried;
}

static void a_test_of_what_stays_open_is_ended_too(void **state)
{
	struct fixture *fixture = *state;
	struct tried tried;
	SCRIPT({.answer = TAKEN});

	start(fixture, RECEIVER_PAGERDUTY, NULL);
	tried = try_once(fixture);
	assert_true(tried.last.sent && tried.last.taken);
	assert_int_equal(tried.last.status, 202);
	assert_string_equal(tried.last.error, "");
	assert_int_equal(fixture->rig.count, 2);
	assert_false(ends(fixture, 0));
	assert_true(ends(fixture, 1));
	assert_non_null(strstr(fixture->rig.received[0].body, "A test of this receiver"));
	/* No record, and nothing that waits. */
	assert_int_equal(fixture->settled_count + fixture->announcements, 0);
	assert_int_equal(stats(fixture).tested, 1);
	assert_int_equal(stats(fixture).sent, 0);
}

static void a_test_tells_what_the_receiver_answered(void **state)
{
	struct fixture *fixture = *state;
	struct tried tried;
	SCRIPT({.answer = ANSWER("404 Gone", "Content-Length: 10\r\n\r\nno_service")},
	       {.hang_up = true}, {.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL);
	tried = try_once(fixture);
	assert_true(tried.last.sent && !tried.last.taken);
	assert_string_equal(tried.last.error, "the receiver answered 404: no_service");
	tried = try_once(fixture);
	assert_int_equal(tried.last.status, 0);
	assert_true(tried.last.error[0]);
	/* What a test finds changes nothing of the receiver. */
	assert_false(stats(fixture).disabled);
	fire(fixture, 1);
	until_settled(fixture, 1);
	assert_false(fixture->settled[0].failed);
	assert_int_equal(fixture->rig.count, 3);
}

static void a_test_keeps_the_pace_of_the_receiver(void **state)
{
	struct fixture *fixture = *state;
	struct tried tried;
	SCRIPT({.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL); /* three at once */
	for (int i = 0; i < 3; i++)
		assert_true(try_once(fixture).last.taken);
	tried = try_once(fixture);
	assert_false(tried.last.sent);
	assert_non_null(strstr(tried.last.error, "try again in "));
	assert_int_equal(fixture->rig.count, 3);
}

static void a_test_that_is_under_way_at_the_end_is_told_of(void **state)
{
	const struct alert alert = episode(7);
	struct fixture *fixture = *state;
	struct tried tried = {0};
	SCRIPT({.answer = NULL});

	start(fixture, RECEIVER_SLACK, NULL);
	notify_try(fixture->notify, 0, &alert, on_tried, &tried);
	until_received(fixture, 1);
	stop(fixture);
	assert_int_equal(tried.count, 1);
	assert_int_equal(tried.lost, 1);
}

/* --- a receiver that forgets --- */

static void start_alertmanager(struct fixture *fixture)
{
	const struct receiver wants = {.severity_min = ALERT_INFO,
				       .resolve_after_ns = 1000 * NS_PER_MS};

	start(fixture, RECEIVER_ALERTMANAGER, &(struct notify_options){.receivers = &wants});
}

/* An alert of the n-th request: whether it has ended. */
static bool is_over(const struct fixture *fixture, size_t number, size_t at)
{
	cJSON *list = cJSON_Parse(fixture->rig.received[number].body);
	const cJSON *one = cJSON_GetArrayItem(list, (int)at);
	char now[40];
	time_t seconds = time(NULL);
	struct tm utc;

	assert_non_null(one);
	gmtime_r(&seconds, &utc);
	strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%S", &utc);
	/* What fires ends a second from now, which is a later text. */
	bool over = strcmp(cJSON_GetObjectItem(one, "endsAt")->valuestring, now) < 0;

	cJSON_Delete(list);
	return over;
}

static size_t alerts_of(const struct fixture *fixture, size_t number)
{
	cJSON *list = cJSON_Parse(fixture->rig.received[number].body);
	size_t count = (size_t)cJSON_GetArraySize(list);

	cJSON_Delete(list);
	return count;
}

static bool turned_to_enough(void *context)
{
	struct fixture *fixture = context;

	notify_turn(fixture->notify);
	return fixture->rig.count >= fixture->wanted;
}

static void until_repeated(struct fixture *fixture, size_t count)
{
	fixture->wanted = count;
	assert_true(rig_until(&fixture->rig, turned_to_enough, fixture));
}

#define DONE ANSWER("200 OK", NOTHING)

static void what_fires_is_told_again_to_who_forgets_until_it_is_over(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = DONE});

	start_alertmanager(fixture);
	fire(fixture, 1);
	fire(fixture, 2);
	until_settled(fixture, 2);
	assert_string_equal(fixture->rig.received[0].path, "/services/T/B/X/api/v2/alerts");
	until_repeated(fixture, 3);
	assert_int_equal(alerts_of(fixture, 2), 2);
	assert_false(is_over(fixture, 2, 0));
	/* A fifth of the time in which it would be over. */
	assert_in_range(fixture->rig.received[2].at_ms - fixture->rig.received[1].at_ms, 150, 900);
	until_repeated(fixture, 4);
	assert_true(stats(fixture).repeated >= 4);
	resolve(fixture, 1);
	until_settled(fixture, 3);
	size_t ended = fixture->rig.count;
	until_repeated(fixture, ended + 1);
	assert_int_equal(alerts_of(fixture, ended), 1);
	resolve(fixture, 2);
	until_settled(fixture, 4);
	ended = fixture->rig.count;
	for (int i = 0; i < 50; i++) {
		notify_turn(fixture->notify);
		rig_run_for(&fixture->rig, 10);
	}
	assert_int_equal(fixture->rig.count, ended);
}

static void an_end_never_overtakes_a_repeat(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = DONE}, {.answer = DONE, .delay_ms = 200}, {.answer = DONE});

	start_alertmanager(fixture);
	fire(fixture, 1);
	until_settled(fixture, 1);
	until_repeated(fixture, 2);
	assert_true(notify_sends(fixture->notify));
	resolve(fixture, 1); /* while the repeat is under way */
	fire(fixture, 2);    /* which does not wait for it */
	until_received(fixture, 3);
	assert_non_null(strstr(fixture->rig.received[2].body, episode(2).key));
	until_settled(fixture, 3);
	assert_true(fixture->rig.received[3].at_ms >= fixture->rig.received[1].at_ms + 200);
	assert_non_null(strstr(fixture->rig.received[3].body, episode(1).key));
}

static void a_repeat_that_fails_is_tried_again_soon(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = DONE}, {.answer = ANSWER("500 No", NOTHING)}, {.answer = DONE});

	start_alertmanager(fixture);
	fire(fixture, 1);
	until_settled(fixture, 1);
	until_repeated(fixture, 2);
	rig_run_for(&fixture->rig, 20);
	assert_true(stats(fixture).failing_since_ns > 0);
	assert_non_null(strstr(fixture->trouble, "could not be told again"));
	until_repeated(fixture, 3);
	assert_in_range(fixture->rig.received[2].at_ms - fixture->rig.received[1].at_ms, 40, 190);
	rig_run_for(&fixture->rig, 20);
	assert_int_equal(stats(fixture).failing_since_ns, 0);
}

static void a_second_life_tells_again_what_it_is_reminded_of(void **state)
{
	struct fixture *fixture = *state;
	struct alert alert = episode(1);
	struct delivery told;
	SCRIPT({.answer = DONE});

	start_alertmanager(fixture);
	fire(fixture, 1);
	until_settled(fixture, 1);
	told = fixture->latest;
	stop(fixture);
	start_alertmanager(fixture);
	notify_settled(fixture->notify, &told);
	notify_begin(fixture->notify);
	notify_pause(fixture->notify);
	alert.pane_end_ns = 1; /* long ago */
	notify_remind(fixture->notify, &alert);
	for (int i = 0; i < 10; i++)
		notify_turn(fixture->notify);
	rig_run_for(&fixture->rig, 50);
	assert_int_equal(fixture->rig.count, 1); /* another may be at it */
	notify_resume(fixture->notify);
	until_repeated(fixture, 2);
	assert_non_null(strstr(fixture->rig.received[1].body, alert.key));
	assert_int_equal(fixture->settled_count, 1);
}

/* Else it would be over there while it fires: silenced is what people are told, not that. */
static void what_was_told_is_told_again_while_its_change_is_silenced(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = DONE});

	start_alertmanager(fixture);
	fire(fixture, 1);
	until_settled(fixture, 1);
	fixture->silenced_ns = now_ns() + 3600 * NS_PER_S;
	push(fixture, 1, 2, ALERT_FIRING, ALERT_ERROR);
	assert_int_equal(stats(fixture).silenced_now, 1);
	until_repeated(fixture, 3);
	assert_int_equal(stats(fixture).silenced_now, 1);
	assert_false(is_over(fixture, 2, 0));
	assert_non_null(strstr(fixture->rig.received[2].body, "\"warning\""));
	fixture->silenced_ns = 0;
	notify_review(fixture->notify);
	until_settled(fixture, 2);
	assert_non_null(strstr(fixture->rig.received[fixture->rig.count - 1].body, "\"error\""));
}

/* It is no other's, in this life and in the next. */
static void what_the_process_tells_of_itself_is_repeated_in_a_pause_too(void **state)
{
	struct fixture *fixture = *state;
	const struct receiver wants = {.severity_min = ALERT_INFO,
				       .self_alerts = true,
				       .resolve_after_ns = 1000 * NS_PER_MS};
	struct alert alert = episode(1);
	struct delivery told;
	SCRIPT({.answer = DONE});

	start(fixture, RECEIVER_ALERTMANAGER, &(struct notify_options){.receivers = &wants});
	notify_push(fixture->notify, &alert, NULL);
	until_settled(fixture, 1);
	fire(fixture, 2);
	until_settled(fixture, 2);
	told = fixture->settled[0];
	assert_true(told.local);
	notify_pause(fixture->notify);
	until_repeated(fixture, 3);
	assert_int_equal(alerts_of(fixture, 2), 1);
	assert_non_null(strstr(fixture->rig.received[2].body, alert.key));
	stop(fixture);
	start(fixture, RECEIVER_ALERTMANAGER, &(struct notify_options){.receivers = &wants});
	notify_settled(fixture->notify, &told);
	notify_push(fixture->notify, &alert, NULL);
	notify_pause(fixture->notify);
	until_repeated(fixture, 4);
	assert_non_null(strstr(fixture->rig.received[3].body, alert.key));
}

static void a_repeat_obeys_retry_after(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = DONE}, {.answer = ANSWER("429 Slow", "Retry-After: 1\r\n" NOTHING)},
	       {.answer = DONE});

	start_alertmanager(fixture);
	fire(fixture, 1);
	until_settled(fixture, 1);
	until_repeated(fixture, 3);
	assert_in_range(fixture->rig.received[2].at_ms - fixture->rig.received[1].at_ms, 950, 3000);
}

/* As of an earlier life, and still firing. */
static void had_before(struct fixture *fixture, unsigned number)
{
	const struct alert alert = episode(number);
	struct delivery delivery = {.receiver = "team",
				    .sequence = 1,
				    .delivered_ns = 1,
				    .sent_ns = 1,
				    .resolve_owed = true,
				    .severity = ALERT_WARNING};

	memcpy(delivery.key, alert.key, sizeof(delivery.key));
	notify_settled(fixture->notify, &delivery);
	notify_remind(fixture->notify, &alert);
}

static void more_than_a_request_holds_are_repeated_by_the_next_at_once(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = DONE});

	start_alertmanager(fixture);
	for (unsigned i = 0; i < REPEATED_AT_ONCE + 1; i++)
		had_before(fixture, i);
	notify_turn(fixture->notify);
	until_received(fixture, 2);
	assert_int_equal(alerts_of(fixture, 0), REPEATED_AT_ONCE);
	assert_int_equal(alerts_of(fixture, 1), 1);
	assert_int_equal(stats(fixture).repeated, REPEATED_AT_ONCE + 1);
}

static void past_their_bound_alerts_are_not_repeated_and_counted(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = DONE});

	start_alertmanager(fixture);
	for (unsigned i = 0; i < REPEATED_MAX; i++)
		had_before(fixture, i);
	assert_int_equal(stats(fixture).unrepeated, 0);
	had_before(fixture, REPEATED_MAX);
	assert_int_equal(stats(fixture).unrepeated, 1);
	resolve(fixture, 0); /* which makes room for one */
	until_settled(fixture, 1);
	had_before(fixture, REPEATED_MAX);
	assert_int_equal(stats(fixture).unrepeated, 1);
}

/* --- Slack's bot --- */

#define SAYS(json) "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n" json
#define POSTED                            \
	SAYS("Content-Length: 54\r\n\r\n" \
	     "{\"ok\":true,\"channel\":\"C0123\",\"ts\":\"1700000000.000100\"}")
#define POSTED_ANEW                       \
	SAYS("Content-Length: 54\r\n\r\n" \
	     "{\"ok\":true,\"channel\":\"C0123\",\"ts\":\"1700000009.000100\"}")
#define NO_MESSAGE                        \
	SAYS("Content-Length: 40\r\n\r\n" \
	     "{\"ok\":false,\"error\":\"message_not_found\"}")
#define NO_CHANNEL                        \
	SAYS("Content-Length: 40\r\n\r\n" \
	     "{\"ok\":false,\"error\":\"channel_not_found\"}")
#define NO_BLOCKS                         \
	SAYS("Content-Length: 37\r\n\r\n" \
	     "{\"ok\":false,\"error\":\"invalid_blocks\"}")
#define TOO_FAST                          \
	SAYS("Content-Length: 34\r\n\r\n" \
	     "{\"ok\":false,\"error\":\"ratelimited\"}")

/* The n-th request: "update C0123 1700000000.000100", "post #ops", "reply C0123 ... loud". */
static const char *asked(const struct fixture *fixture, size_t number)
{
	static char text[256];
	const struct received *received = &fixture->rig.received[number];
	cJSON *body = cJSON_Parse(received->body);
	const cJSON *time = cJSON_GetObjectItem(body, "ts"),
		    *thread = cJSON_GetObjectItem(body, "thread_ts");
	bool changes = strstr(received->path, "/chat.update");

	assert_true(changes || strstr(received->path, "/chat.postMessage"));
	assert_true(cJSON_IsString(cJSON_GetObjectItem(body, "text")));
	assert_int_equal(changes, time != NULL);
	snprintf(text, sizeof(text), "%s %s%s%s%s",
		 changes  ? "update"
		 : thread ? "reply"
			  : "post",
		 cJSON_GetObjectItem(body, "channel")->valuestring, time || thread ? " " : "",
		 time	  ? time->valuestring
		 : thread ? thread->valuestring
			  : "",
		 cJSON_IsTrue(cJSON_GetObjectItem(body, "reply_broadcast")) ? " loud" : "");
	cJSON_Delete(body);
	return text;
}

static void a_bot_changes_its_message_and_replies_to_it_where_it_matters(void **state)
{
	struct fixture *fixture = *state;
	struct alert located = episode(1);
	SCRIPT({.answer = POSTED});

	start(fixture, RECEIVER_SLACK_BOT, NULL);
	fire(fixture, 1);
	until_settled(fixture, 1);
	assert_string_equal(fixture->rig.received[0].path, "/services/T/B/X/chat.postMessage");
	assert_string_equal(asked(fixture, 0), "post #ops");
	assert_string_equal(fixture->latest.handle, "C0123 1700000000.000100");
	push(fixture, 1, 2, ALERT_FIRING, ALERT_WARNING); /* nothing that matters */
	until_settled(fixture, 2);
	assert_int_equal(fixture->rig.count, 2);
	assert_string_equal(asked(fixture, 1), "update C0123 1700000000.000100");
	push(fixture, 1, 3, ALERT_FIRING, ALERT_CRITICAL);
	until_settled(fixture, 3);
	assert_int_equal(fixture->rig.count, 4);
	assert_string_equal(asked(fixture, 2), "update C0123 1700000000.000100");
	assert_string_equal(asked(fixture, 3), "reply C0123 1700000000.000100 loud");
	located.sequence = 4;
	located.severity = ALERT_CRITICAL;
	located.suspects_count = 1;
	located.suspects[0] = (struct suspect){SUSPECT_SERVER_NODE, 0.9, 3, "node-1"};
	notify_push(fixture->notify, &located, &(struct notify_place){0, 4});
	until_settled(fixture, 4);
	assert_string_equal(asked(fixture, 5), "reply C0123 1700000000.000100");
	push(fixture, 1, 5, ALERT_RESOLVED, ALERT_CRITICAL);
	until_settled(fixture, 5);
	assert_int_equal(fixture->rig.count, 8);
	assert_string_equal(asked(fixture, 6), "update C0123 1700000000.000100");
	assert_string_equal(asked(fixture, 7), "reply C0123 1700000000.000100");
	assert_true(ends(fixture, 6) && ends(fixture, 7));
	assert_int_equal(stats(fixture).sent, 5);
}

static void a_bots_message_is_known_in_the_next_life(void **state)
{
	struct fixture *fixture = *state;
	struct delivery told;
	SCRIPT({.answer = POSTED});

	start(fixture, RECEIVER_SLACK_BOT, NULL);
	fire(fixture, 1);
	until_settled(fixture, 1);
	told = fixture->latest;
	stop(fixture);
	start(fixture, RECEIVER_SLACK_BOT, NULL);
	notify_settled(fixture->notify, &told);
	notify_begin(fixture->notify);
	resolve(fixture, 1);
	until_settled(fixture, 2);
	assert_string_equal(asked(fixture, 1), "update C0123 1700000000.000100");
	/* A hook of the same name does nothing with it. */
	stop(fixture);
	rig_script(&fixture->rig, &(struct line){.answer = OK}, 1);
	start(fixture, RECEIVER_SLACK, NULL);
	notify_settled(fixture->notify, &told);
	notify_begin(fixture->notify);
	resolve(fixture, 1);
	until_settled(fixture, 3);
	assert_int_equal(fixture->rig.count, 4);
	assert_string_equal(fixture->latest.handle, "");
}

static void a_bots_message_that_somebody_deleted_is_written_anew(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = POSTED}, {.answer = NO_MESSAGE}, {.answer = POSTED_ANEW},
	       {.answer = POSTED_ANEW}, {.answer = NO_MESSAGE});

	start(fixture, RECEIVER_SLACK_BOT, NULL);
	fire(fixture, 1);
	until_settled(fixture, 1);
	push(fixture, 1, 2, ALERT_FIRING, ALERT_CRITICAL);
	until_settled(fixture, 2);
	assert_string_equal(asked(fixture, 1), "update C0123 1700000000.000100");
	assert_string_equal(asked(fixture, 2), "post #ops");
	assert_string_equal(fixture->latest.handle, "C0123 1700000009.000100");
	/* A reply that is not taken holds nothing up. */
	push(fixture, 1, 3, ALERT_RESOLVED, ALERT_CRITICAL);
	until_settled(fixture, 3);
	assert_string_equal(asked(fixture, 4), "reply C0123 1700000009.000100");
	assert_false(fixture->settled[2].failed);
	assert_non_null(strstr(fixture->trouble, "not the reply"));
}

#define SAYS_REPEAT(number) (strstr(fixture->rig.received[number].body, "May repeat") != NULL)

/* An answer that stays away is one of which nobody knows whether the message is there. */
static void what_slack_may_show_twice_says_so(void **state)
{
	struct fixture *fixture = *state;
	const struct notify_options options = {.retry = {100, 200}};
	SCRIPT({.answer = OK}, {.answer = NULL, .hang_up = true}, {.answer = OK},
	       {.answer = ANSWER("500 No", NOTHING)}, {.answer = OK});

	start(fixture, RECEIVER_SLACK, &options);
	fire(fixture, 1);
	until_settled(fixture, 1);
	push(fixture, 1, 2, ALERT_FIRING, ALERT_CRITICAL);
	until_settled(fixture, 2);
	assert_false(SAYS_REPEAT(0) || SAYS_REPEAT(1));
	assert_true(SAYS_REPEAT(2));
	push(fixture, 1, 3, ALERT_RESOLVED, ALERT_CRITICAL); /* which is certainly not there */
	until_settled(fixture, 3);
	assert_int_equal(fixture->rig.count, 5);
	assert_false(SAYS_REPEAT(3) || SAYS_REPEAT(4));
}

/* A change of a message shows once however often it is made; a reply to it does not. */
static void of_a_bots_messages_a_reply_may_show_twice_and_says_so(void **state)
{
	struct fixture *fixture = *state;
	const struct notify_options options = {.retry = {100, 200}};
	struct alert old = episode(1);
	SCRIPT({.answer = POSTED}, {.hang_up = true}, {.answer = POSTED}, {.hang_up = true},
	       {.answer = POSTED});

	start(fixture, RECEIVER_SLACK_BOT, &options);
	fire(fixture, 1);
	until_settled(fixture, 1);
	push(fixture, 1, 2, ALERT_FIRING, ALERT_CRITICAL);
	until_settled(fixture, 2);
	assert_int_equal(fixture->rig.count, 6);
	assert_string_equal(asked(fixture, 2), "update C0123 1700000000.000100");
	assert_string_equal(asked(fixture, 3), "reply C0123 1700000000.000100 loud");
	assert_string_equal(asked(fixture, 4), "update C0123 1700000000.000100");
	assert_string_equal(asked(fixture, 5), "reply C0123 1700000000.000100 loud");
	for (size_t i = 0; i < 5; i++)
		assert_false(SAYS_REPEAT(i));
	assert_true(SAYS_REPEAT(5));
	/* What stands in the outbox as the process begins. */
	old.sequence = 3;
	old.state = ALERT_RESOLVED;
	old.pane_end_ns = 1;
	notify_push(fixture->notify, &old, &(struct notify_place){0, 1});
	until_settled(fixture, 3);
	assert_false(SAYS_REPEAT(6));
	assert_true(SAYS_REPEAT(7));
}

/* As when the channel was changed, or the workspace with its token: the messages of what fires are
 * where the bot may not write any more. */
static void a_message_where_the_bot_may_not_write_any_more_is_written_anew(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = POSTED}, {.answer = NO_CHANNEL}, {.answer = POSTED_ANEW},
	       {.answer = NO_CHANNEL}, {.answer = NO_CHANNEL});

	start(fixture, RECEIVER_SLACK_BOT, NULL);
	fire(fixture, 1);
	until_settled(fixture, 1);
	push(fixture, 1, 2, ALERT_FIRING, ALERT_CRITICAL);
	until_settled(fixture, 2);
	assert_false(stats(fixture).disabled);
	assert_string_equal(asked(fixture, 1), "update C0123 1700000000.000100");
	assert_string_equal(asked(fixture, 2), "post #ops");
	assert_string_equal(fixture->latest.handle, "C0123 1700000009.000100");
	/* Not where a new one goes either. */
	push(fixture, 1, 3, ALERT_RESOLVED, ALERT_CRITICAL);
	until_settled(fixture, 3);
	assert_string_equal(asked(fixture, 3), "update C0123 1700000009.000100");
	assert_string_equal(asked(fixture, 4), "post #ops");
	assert_true(stats(fixture).disabled);
}

static void what_slack_says_no_to_is_told_apart(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = NO_BLOCKS}, {.answer = TOO_FAST}, {.answer = OK},
	       {.answer = ANSWER("429 Slow", "Retry-After: 1\r\n" NOTHING)}, {.answer = POSTED},
	       {.answer = NO_CHANNEL});

	start(fixture, RECEIVER_SLACK_BOT, NULL);
	fire(fixture, 1);
	until_settled(fixture, 1);
	assert_int_equal(fixture->given_up[NOTIFY_REFUSED], 1);
	assert_non_null(strstr(fixture->settled[0].error, "invalid_blocks"));
	fire(fixture, 2); /* too fast, then a page that is no answer, then too fast again */
	until_settled(fixture, 2);
	assert_false(fixture->settled[1].failed);
	assert_int_equal(fixture->settled[1].attempts, 4);
	fire(fixture, 3);
	until_settled(fixture, 3);
	assert_int_equal(fixture->given_up[NOTIFY_GONE], 1);
	assert_true(stats(fixture).disabled);
	assert_string_equal(stats(fixture).last_error,
			    "the receiver answered 200: "
			    "{\"ok\":false,\"error\":\"channel_not_found\"}");
}

static void requests_that_fail_together_are_one_failure(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = NULL}, {.answer = NULL}, {.answer = NULL}, {.answer = NULL},
	       {.answer = TAKEN});

	start(fixture, RECEIVER_PAGERDUTY, NULL);
	for (unsigned i = 0; i < 4; i++)
		fire(fixture, i);
	until_settled(fixture, 4);
	assert_int_equal(fixture->rig.count, 8);
	assert_true(fixture->rig.received[4].at_ms - fixture->rig.received[0].at_ms <
		    TIMEOUT_MS + 1500);
}

static void closing_with_requests_under_way_leaves_nothing(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = NULL});

	start(fixture, RECEIVER_SLACK, NULL);
	for (unsigned i = 0; i < 6; i++)
		fire(fixture, i);
	until_received(fixture, 2);
	stop(fixture);
	assert_int_equal(fixture->settled_count, 0);
}

static void a_receiver_that_is_no_https_is_refused(void **state)
{
	struct fixture *fixture = *state;
	static const char *const urls[] = {"http://example.org/", "ftp://example.org/", "", "x"};

	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		struct receiver receiver = {.name = "team", .url = urls[i]};
		const char *error = NULL;

		assert_null(notify_new(
			&fixture->rig.loop,
			&(struct notify_options){.receivers = &receiver, .receivers_count = 1},
			&error));
		assert_non_null(error);
	}
}

/* --- what a crash leaves --- */

static void forget_process(struct fixture *fixture)
{
	stop(fixture);
	fixture->receipts_count = 0;
}

static void before_its_first_message_it_is_written_that_there_may_be_one(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = OK});

	fixture->keeps_receipts = true;
	start(fixture, RECEIVER_SLACK, NULL);
	fire(fixture, 1);
	assert_int_equal(fixture->receipts_count, 1);
	assert_true(fixture->latest.uncertain);
	assert_false(delivery_settles(&fixture->latest));
	rig_run_for(&fixture->rig, 100);
	assert_int_equal(fixture->rig.count, 0); /* not before it is kept */
	notify_recorded(fixture->receipts[0]);
	until_settled(fixture, 1);
	assert_false(fixture->latest.uncertain);
	assert_int_equal(fixture->announcements, 1);
}

static void an_alert_does_not_wait_long_for_its_bookkeeping(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = OK});

	fixture->keeps_receipts = true;
	start(fixture, RECEIVER_SLACK, NULL);
	uint64_t began = uv_now(&fixture->rig.loop);
	fire(fixture, 1);
	until_settled(fixture, 1);
	assert_in_range(fixture->rig.received[0].at_ms - began, 240, 1000);
	/* Nobody keeps records: the next does not wait. */
	began = uv_now(&fixture->rig.loop);
	fire(fixture, 2);
	until_settled(fixture, 2);
	assert_true(fixture->rig.received[1].at_ms - began < 200);
	notify_recorded(fixture->receipts[0]);
	fire(fixture, 3);
	rig_run_for(&fixture->rig, 100);
	assert_int_equal(fixture->rig.count, 2);
}

static void a_firing_of_which_a_crash_hides_the_answer_is_sent_again_and_then_ended(void **state)
{
	struct fixture *fixture = *state;
	struct delivery kept;
	SCRIPT({.answer = NULL}, {.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL);
	fire(fixture, 1);
	until_received(fixture, 1);
	kept = fixture->latest;
	assert_true(kept.uncertain);
	forget_process(fixture);

	start(fixture, RECEIVER_SLACK, NULL);
	notify_settled(fixture->notify, &kept);
	notify_begin(fixture->notify);
	fire(fixture, 1);
	resolve(fixture, 1); /* both at once, from the outbox */
	until_settled(fixture, 2);
	assert_int_equal(fixture->rig.count, 3);
	assert_false(ends(fixture, 1));
	assert_true(ends(fixture, 2));
	assert_non_null(strstr(fixture->rig.received[1].body, "May repeat an earlier message"));
	assert_null(strstr(fixture->rig.received[0].body, "May repeat an earlier message"));
}

/* Else a life that ends between the two would open again what is closed. */
static void an_end_waits_until_it_is_written_down_that_its_firing_was_delivered(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = TAKEN}, {.answer = TAKEN}, {.answer = TAKEN}, {.answer = TAKEN});

	fixture->keeps_receipts = true;
	start(fixture, RECEIVER_PAGERDUTY, NULL);
	fire(fixture, 1);
	notify_recorded(fixture->receipts[0]); /* that it may be sent */
	until_settled(fixture, 1);
	resolve(fixture, 1);
	rig_run_for(&fixture->rig, 100);
	assert_int_equal(fixture->rig.count, 1);
	notify_recorded(fixture->receipts[1]);
	until_received(fixture, 2);
	until_settled(fixture, 2);
	fire(fixture, 2); /* of which nobody keeps a record in time */
	notify_recorded(fixture->receipts[3]);
	until_settled(fixture, 3);
	uint64_t began = uv_now(&fixture->rig.loop);
	resolve(fixture, 2);
	until_settled(fixture, 4);
	assert_in_range(fixture->rig.received[3].at_ms - began, 200, 1000);
}

static void what_fired_and_ended_unsent_before_a_crash_is_not_told_after_it(void **state)
{
	struct fixture *fixture = *state;
	struct delivery kept;
	SCRIPT({.answer = ANSWER("503 Off", "Retry-After: 100\r\n" NOTHING)}, {.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL);
	fire(fixture, 1); /* refused for now, so it did not arrive, and that is written down */
	until_received(fixture, 1);
	rig_run_for(&fixture->rig, 20);
	assert_int_equal(fixture->announcements, 2);
	kept = fixture->latest;
	assert_false(kept.uncertain);
	fire(fixture, 2); /* waits */
	forget_process(fixture);

	fixture->keeps_receipts = true; /* so that the ends come before the firings are sent */
	start(fixture, RECEIVER_SLACK, NULL);
	notify_settled(fixture->notify, &kept);
	notify_begin(fixture->notify);
	for (unsigned i = 1; i <= 2; i++) {
		fire(fixture, i);
		resolve(fixture, i);
	}
	while (fixture->receipts_count)
		notify_recorded(fixture->receipts[--fixture->receipts_count]);
	rig_run_for(&fixture->rig, 300);
	assert_int_equal(fixture->rig.count, 1);
	assert_int_equal(stats(fixture).pending, 0);
}

static void a_pause_ends_what_is_under_way_and_begins_nothing(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = TAKEN, .delay_ms = 100}, {.answer = TAKEN});

	start(fixture, RECEIVER_PAGERDUTY, NULL);
	fire(fixture, 1);
	until_received(fixture, 1);
	fixture->keeps_receipts = true;
	fire(fixture, 2); /* announced, and not sent */
	assert_true(fixture->latest.uncertain);
	notify_pause(fixture->notify);
	assert_string_equal(fixture->latest.key, episode(2).key);
	assert_false(fixture->latest.uncertain);
	fire(fixture, 3);
	assert_true(notify_sends(fixture->notify));
	until_settled(fixture, 1);
	assert_false(notify_sends(fixture->notify));
	assert_true(notify_records(fixture->notify));
	for (size_t i = 0; i < fixture->receipts_count; i++)
		notify_recorded(fixture->receipts[i]);
	assert_false(notify_records(fixture->notify));
	rig_run_for(&fixture->rig, 300);
	assert_int_equal(fixture->rig.count, 1);
	fixture->keeps_receipts = false;
	notify_resume(fixture->notify);
	until_settled(fixture, 3);
	assert_int_equal(fixture->rig.count, 3);
}

static int64_t held(const struct fixture *fixture, int32_t partition)
{
	int64_t positions[] = {1000, 1000};

	notify_hold(fixture->notify, positions, 2);
	return positions[partition];
}

static void the_position_is_held_until_the_record_is_kept(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = ANSWER("503 Off", "Retry-After: 1\r\n" NOTHING)}, {.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL);
	assert_int_equal(held(fixture, 0), 1000);
	fire(fixture, 7);
	assert_int_equal(held(fixture, 0), 7);
	assert_int_equal(held(fixture, 1), 1000);
	until_received(fixture, 1);
	fire(fixture, 5);
	assert_int_equal(held(fixture, 0), 5);
	fixture->keeps_receipts = true;
	fixture->receipts_count = 0;
	until_settled(fixture, 2);
	assert_int_equal(held(fixture, 0), 5); /* settled, but nobody would know */
	assert_int_equal(stats(fixture).pending, 0);
	while (fixture->receipts_count)
		notify_recorded(fixture->receipts[--fixture->receipts_count]);
	assert_int_equal(held(fixture, 0), 1000);
	assert_int_equal(stats(fixture).open, 2);
}

/* --- one receiver, many alerts --- */

static void one_alert_that_always_fails_does_not_hold_up_the_others(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = ANSWER("500 Off", NOTHING)}, {.answer = TAKEN}, {.answer = TAKEN},
	       {.answer = TAKEN});

	start(fixture, RECEIVER_PAGERDUTY, NULL);
	fire(fixture, 1);
	until_received(fixture, 1);
	rig_run_for(&fixture->rig, 20);
	fire(fixture, 2);
	fire(fixture, 3);
	until_settled(fixture, 3);
	assert_string_equal(fixture->settled[2].key, episode(1).key);
	assert_int_equal(stats(fixture).breaker, BREAKER_CLOSED);
	assert_true(fixture->rig.received[2].at_ms - fixture->rig.received[0].at_ms < 95);
}

static void failures_in_a_row_open_the_breaker_and_one_probe_closes_it(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = ANSWER("500 Off", NOTHING)}, {.answer = ANSWER("500 Off", NOTHING)},
	       {.answer = ANSWER("500 Off", NOTHING), .delay_ms = 50},
	       {.answer = TAKEN, .delay_ms = 100}, {.answer = TAKEN});

	start(fixture, RECEIVER_PAGERDUTY,
	      &(struct notify_options){.breaker_failures = 2, .retry = {200, 400}});
	for (unsigned i = 0; i < 2; i++)
		fire(fixture, i);
	until_received(fixture, 2);
	rig_run_for(&fixture->rig, 10);
	assert_int_equal(stats(fixture).breaker, BREAKER_OPEN);
	assert_in_range(stats(fixture).resumes_in_ms, 1, 200);
	assert_true(stats(fixture).failing_since_ns > 0);
	for (unsigned i = 2; i < 6; i++)
		fire(fixture, i);
	assert_int_equal(fixture->rig.count, 2);
	until_received(fixture, 3); /* a probe, alone, that fails */
	rig_run_for(&fixture->rig, 30);
	assert_int_equal(fixture->rig.count, 3);
	until_received(fixture, 4); /* a second, alone, that does not */
	rig_run_for(&fixture->rig, 60);
	assert_int_equal(fixture->rig.count, 4);
	until_settled(fixture, 6);
	assert_int_equal(stats(fixture).breaker, BREAKER_CLOSED);
	assert_int_equal(stats(fixture).breaker_opened, 2);
	assert_int_equal(stats(fixture).failing_since_ns, 0);
	assert_true(stats(fixture).delivered_ns > 0);
}

static void pagerduty_hears_of_ends_first(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = TAKEN}, {.answer = ANSWER("429 Slow", "Retry-After: 1\r\n" NOTHING)},
	       {.answer = TAKEN});

	start(fixture, RECEIVER_PAGERDUTY, NULL);
	fire(fixture, 1);
	until_settled(fixture, 1);
	fire(fixture, 2);
	until_received(fixture, 2);
	rig_run_for(&fixture->rig, 20);
	for (unsigned i = 3; i < 9; i++)
		fire(fixture, i);
	resolve(fixture, 1);
	until_settled(fixture, 2);
	assert_true(ends(fixture, 2));
}

static void an_end_that_is_owed_outlives_the_life_of_a_firing(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = OK}, {.answer = ANSWER("503 Off", "Retry-After: 1\r\n" NOTHING)},
	       {.answer = OK});

	start(fixture, RECEIVER_SLACK, &(struct notify_options){.life_ns = 500 * NS_PER_MS});
	fire(fixture, 1);
	until_settled(fixture, 1);
	resolve(fixture, 1);
	until_received(fixture, 2);
	rig_run_for(&fixture->rig, 20);
	fire(fixture, 2);
	until_settled(fixture, 3);
	assert_int_equal(fixture->given_up[NOTIFY_EXPIRED], 1); /* of the other */
	assert_true(ends(fixture, fixture->rig.count - 1));
	assert_int_equal(stats(fixture).open, 0);
}

static void alerts_about_itself_go_to_those_who_want_them(void **state)
{
	struct fixture *fixture = *state;
	struct receiver wants = {.severity_min = ALERT_CRITICAL, .self_alerts = true};
	struct alert alert = episode(1);
	SCRIPT({.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL);
	notify_push(fixture->notify, &alert, NULL);
	assert_int_equal(stats(fixture).pending, 0);
	stop(fixture);
	start(fixture, RECEIVER_SLACK, &(struct notify_options){.receivers = &wants});
	notify_push(fixture->notify, &alert, NULL);
	until_settled(fixture, 1);
	assert_true(fixture->settled[0].local);
	assert_int_equal(held(fixture, 0), 1000);
}

static void a_pause_lets_go_what_the_process_tells_of_itself(void **state)
{
	struct fixture *fixture = *state;
	struct receiver wants = {.severity_min = ALERT_WARNING, .self_alerts = true};
	struct alert alert = episode(9);
	SCRIPT({.answer = TAKEN}, {.answer = TAKEN});

	start(fixture, RECEIVER_PAGERDUTY, &(struct notify_options){.receivers = &wants});
	notify_pause(fixture->notify);
	fire(fixture, 1);
	notify_push(fixture->notify, &alert, NULL);
	until_settled(fixture, 1);
	assert_string_equal(fixture->settled[0].key, alert.key);
	rig_run_for(&fixture->rig, 100);
	assert_int_equal(fixture->rig.count, 1);
	notify_resume(fixture->notify);
	until_settled(fixture, 2);
	assert_string_equal(fixture->settled[1].key, episode(1).key);
}

/* A process that stood still, and may have been replaced. */
static void in_doubt_nothing_of_the_outbox_is_begun(void **state)
{
	struct fixture *fixture = *state;
	struct receiver wants = {.severity_min = ALERT_WARNING, .self_alerts = true};
	struct alert own = episode(9);
	SCRIPT({.answer = ANSWER("503 Off", "Retry-After: 1\r\n" NOTHING)}, {.answer = TAKEN},
	       {.answer = TAKEN}, {.answer = TAKEN});

	start(fixture, RECEIVER_PAGERDUTY, &(struct notify_options){.receivers = &wants});
	fire(fixture, 1);
	until_received(fixture, 1);
	rig_run_for(&fixture->rig, 20);
	fixture->keeps_receipts = true;
	fire(fixture, 2); /* waits for the receiver, as does the first */
	fixture->doubts = true;
	rig_run_for(&fixture->rig, 1500);
	assert_int_equal(fixture->rig.count, 1);
	fixture->keeps_receipts = false;
	notify_push(fixture->notify, &own, NULL);
	until_settled(fixture, 1);
	assert_string_equal(fixture->settled[0].key, own.key);
	fixture->doubts = false;
	notify_resume(fixture->notify);
	until_settled(fixture, 3);
	assert_int_equal(fixture->rig.count, 4);
}

static void what_was_announced_in_doubt_waits_too(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = TAKEN});

	start(fixture, RECEIVER_PAGERDUTY, NULL);
	fixture->keeps_receipts = true;
	fire(fixture, 1);
	assert_true(fixture->latest.uncertain);
	fixture->doubts = true;
	notify_recorded(fixture->receipts[0]);
	rig_run_for(&fixture->rig, 400);
	assert_int_equal(fixture->rig.count, 0);
	assert_int_equal(stats(fixture).in_flight, 0);
	fixture->keeps_receipts = fixture->doubts = false;
	notify_resume(fixture->notify);
	until_settled(fixture, 1);
	assert_int_equal(fixture->announcements, 1);
}

/* --- silences --- */

static void silence(struct fixture *fixture)
{
	fixture->silenced_ns = now_ns() + 3600 * NS_PER_S;
	notify_review(fixture->notify);
}

static void end_silence(struct fixture *fixture)
{
	fixture->silenced_ns = now_ns();
	notify_review(fixture->notify);
}

static void what_is_silenced_is_sent_when_it_is_no_more_and_still_fires(void **state)
{
	struct fixture *fixture = *state;
	int64_t position = 100;
	SCRIPT({.answer = TAKEN});

	start(fixture, RECEIVER_PAGERDUTY, NULL);
	silence(fixture);
	fire(fixture, 1);
	push(fixture, 1, 2, ALERT_FIRING, ALERT_ERROR);
	rig_run_for(&fixture->rig, 100);
	assert_int_equal(fixture->rig.count, 0);
	assert_int_equal(fixture->announcements, 0);
	assert_int_equal(stats(fixture).silenced, 2);
	assert_int_equal(stats(fixture).silenced_now, 1);
	assert_int_equal(stats(fixture).pending, 0);
	notify_hold(fixture->notify, &position, 1); /* the next start is told that it fires */
	assert_int_equal(position, 100);
	notify_review(fixture->notify); /* another silence began or ended */
	rig_run_for(&fixture->rig, 50);
	assert_int_equal(fixture->rig.count, 0);
	assert_int_equal(stats(fixture).silenced, 2);
	end_silence(fixture);
	until_settled(fixture, 1);
	assert_int_equal(fixture->rig.count, 1);
	assert_int_equal(fixture->settled[0].sequence, 2);
	assert_false(fixture->settled[0].failed);
	assert_int_equal(stats(fixture).silenced_now, 0);
	push(fixture, 1, 3, ALERT_RESOLVED, ALERT_ERROR);
	until_settled(fixture, 2);
	assert_true(ends(fixture, 1));
}

static void slack_hears_of_what_was_silenced_that_it_fires(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL);
	silence(fixture);
	fire(fixture, 1);
	push(fixture, 1, 2, ALERT_FIRING, ALERT_ERROR);
	end_silence(fixture);
	until_settled(fixture, 1);
	push(fixture, 1, 3, ALERT_FIRING, ALERT_CRITICAL);
	until_settled(fixture, 2);
	assert_non_null(strstr(fixture->rig.received[0].body, "Firing errors"));
	assert_null(strstr(fixture->rig.received[0].body, "Update errors"));
	assert_non_null(strstr(fixture->rig.received[1].body, "Update errors"));
}

static void what_ends_while_it_is_silenced_is_not_told(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL);
	silence(fixture);
	fire(fixture, 1);
	resolve(fixture, 1);
	until_settled(fixture, 1);
	assert_false(fixture->settled[0].resolve_owed);
	end_silence(fixture);
	rig_run_for(&fixture->rig, 100);
	assert_int_equal(fixture->rig.count, 0);
	assert_int_equal(stats(fixture).silenced_now, 0);
}

static void what_was_told_before_it_was_silenced_gets_its_end(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = TAKEN});

	start(fixture, RECEIVER_PAGERDUTY, NULL);
	fire(fixture, 1);
	until_settled(fixture, 1);
	silence(fixture);
	push(fixture, 1, 2, ALERT_FIRING, ALERT_ERROR);
	rig_run_for(&fixture->rig, 50);
	assert_int_equal(fixture->rig.count, 1);
	push(fixture, 1, 3, ALERT_RESOLVED, ALERT_ERROR);
	until_settled(fixture, 2);
	assert_int_equal(fixture->rig.count, 2);
	assert_true(ends(fixture, 1));
}

static void a_firing_that_may_have_arrived_is_sent_though_it_is_silenced(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = NULL}, {.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL);
	fire(fixture, 1);
	until_received(fixture, 1);
	silence(fixture);
	resolve(fixture, 1);
	until_settled(fixture, 2);
	assert_int_equal(fixture->rig.count, 3);
	assert_false(ends(fixture, 1));
	assert_true(ends(fixture, 2));
}

static void what_waits_to_be_sent_again_is_silenced_too(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = ANSWER("503 Off", "Retry-After: 1\r\n" NOTHING)}, {.answer = OK});

	start(fixture, RECEIVER_SLACK, NULL);
	fire(fixture, 1);
	until_received(fixture, 1);
	rig_run_for(&fixture->rig, 50);
	silence(fixture);
	rig_run_for(&fixture->rig, 1500);
	assert_int_equal(fixture->rig.count, 1);
	assert_int_equal(stats(fixture).silenced_now, 1);
	end_silence(fixture);
	until_settled(fixture, 1);
	assert_int_equal(fixture->rig.count, 2);
}

static void what_was_announced_is_withdrawn_when_it_is_silenced(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = OK});

	fixture->keeps_receipts = true;
	start(fixture, RECEIVER_SLACK, NULL);
	fire(fixture, 1);
	assert_true(fixture->latest.uncertain);
	silence(fixture);
	fixture->keeps_receipts = false;
	notify_recorded(fixture->receipts[0]);
	rig_run_for(&fixture->rig, 50);
	assert_int_equal(fixture->rig.count, 0);
	assert_false(fixture->latest.uncertain);
	assert_int_equal(stats(fixture).in_flight, 0);
	end_silence(fixture);
	until_settled(fixture, 1);
	assert_int_equal(fixture->rig.count, 1);
}

static void the_life_of_what_was_silenced_counts_from_the_end_of_that(void **state)
{
	struct fixture *fixture = *state;
	struct alert old = episode(2);
	SCRIPT({.answer = OK});

	start(fixture, RECEIVER_SLACK, &(struct notify_options){.life_ns = 500 * NS_PER_MS});
	silence(fixture);
	fire(fixture, 1);
	rig_run_for(&fixture->rig, 700);
	end_silence(fixture);
	until_settled(fixture, 1);
	assert_false(fixture->settled[0].failed);
	assert_int_equal(fixture->rig.count, 1);
	fixture->silenced_ns = now_ns() - NS_PER_S; /* which ended longer ago */
	old.pane_end_ns = now_ns() - NS_PER_S;
	notify_push(fixture->notify, &old, &(struct notify_place){0, 2});
	until_settled(fixture, 2);
	assert_true(fixture->settled[1].failed);
	assert_int_equal(stats(fixture).failed[NOTIFY_EXPIRED], 1);
}

static void past_the_bound_what_is_silenced_leaves_first(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = TAKEN});

	start(fixture, RECEIVER_PAGERDUTY, &(struct notify_options){.pending_max = 10});
	silence(fixture);
	for (unsigned i = 0; i < 10; i++)
		fire(fixture, i);
	assert_int_equal(stats(fixture).silenced_now, 10);
	assert_int_equal(fixture->settled_count, 0);
	push(fixture, 10, 1, ALERT_FIRING, ALERT_CRITICAL);
	until_settled(fixture, 2);
	assert_string_equal(fixture->settled[0].key, episode(0).key);
	assert_true(fixture->settled[0].failed);
	assert_int_equal(stats(fixture).failed[NOTIFY_CROWDED], 1);
	assert_string_equal(fixture->settled[1].key, episode(10).key);
	assert_false(fixture->settled[1].failed);
	assert_int_equal(stats(fixture).silenced_now, 9);
}

/* --- acknowledgements --- */

static void of_what_is_acknowledged_a_webhook_hears_when_it_is_severer_and_ends(void **state)
{
	struct fixture *fixture = *state;
	struct alert again = episode(1);
	SCRIPT({.answer = TAKEN});

	fixture->acknowledged = true;
	start(fixture, RECEIVER_WEBHOOK, NULL);
	fire(fixture, 1); /* acknowledged before it heard of it: it is told all the same */
	until_settled(fixture, 1);
	push(fixture, 1, 2, ALERT_FIRING, ALERT_WARNING);
	until_settled(fixture, 2);
	assert_int_equal(fixture->rig.count, 1);
	push(fixture, 1, 3, ALERT_FIRING, ALERT_ERROR);
	until_settled(fixture, 3);
	assert_int_equal(fixture->rig.count, 2);
	push(fixture, 1, 4, ALERT_FIRING, ALERT_ERROR);
	until_settled(fixture, 4);
	assert_int_equal(fixture->rig.count, 2);
	push(fixture, 1, 5, ALERT_RESOLVED, ALERT_ERROR);
	until_settled(fixture, 5);
	assert_int_equal(fixture->rig.count, 3);
	/* Opened again it is acknowledged no more. */
	again.reopened_ns = again.pane_end_ns;
	for (again.sequence = 6; again.sequence <= 7; again.sequence++) {
		notify_push(fixture->notify, &again, &(struct notify_place){0, 1});
		until_settled(fixture, again.sequence);
	}
	assert_int_equal(fixture->rig.count, 5);
}

static void of_what_is_acknowledged_slack_does_not_hear_where_it_is(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = OK});

	fixture->acknowledged = true;
	start(fixture, RECEIVER_SLACK, NULL);
	fire(fixture, 1);
	until_settled(fixture, 1);
	push_located(fixture, 2);
	until_settled(fixture, 2);
	assert_int_equal(fixture->rig.count, 1);
	push(fixture, 1, 3, ALERT_RESOLVED, ALERT_WARNING);
	until_settled(fixture, 3);
	assert_int_equal(fixture->rig.count, 2);
}

static void of_what_is_acknowledged_pagerduty_is_brought_up_to_date(void **state)
{
	struct fixture *fixture = *state;
	SCRIPT({.answer = TAKEN});

	fixture->acknowledged = true;
	start(fixture, RECEIVER_PAGERDUTY, NULL);
	fire(fixture, 1);
	until_settled(fixture, 1);
	push_located(fixture, 2);
	until_settled(fixture, 2);
	assert_int_equal(fixture->rig.count, 2);
}

static void many_episodes_each_end_right_whatever_the_receiver_does(void **state)
{
	struct fixture *fixture = *state;
	enum { EPISODES = 12 };
	static const struct line script[] = {
		{.answer = TAKEN, .delay_ms = 5},
		{.hang_up = true},
		{.answer = TAKEN},
		{.answer = ANSWER("429 Slow", "Retry-After: 1\r\n" NOTHING)},
		{.answer = TAKEN, .delay_ms = 30},
		{.reset = true},
		{.answer = ANSWER("504 Late", NOTHING)},
		{.answer = TAKEN},
	};
	bool begun[EPISODES] = {false}, open[EPISODES] = {false};

	rig_script(&fixture->rig, script, sizeof(script) / sizeof(script[0]));
	start(fixture, RECEIVER_PAGERDUTY, NULL);
	for (unsigned i = 0; i < EPISODES; i++) {
		fire(fixture, i);
		rig_run_for(&fixture->rig, 10);
		resolve(fixture, i);
	}
	while (stats(fixture).pending)
		rig_run_for(&fixture->rig, 20);
	/* As PagerDuty sees it: what was taken, or may have been, is closed in the end, and no
	 * resolve comes before a trigger. */
	for (size_t i = 0; i < fixture->rig.count; i++) {
		cJSON *body = cJSON_Parse(fixture->rig.received[i].body);
		const char *key = cJSON_GetObjectItem(body, "dedup_key")->valuestring;
		unsigned number = (unsigned)strtoul(key + 3, NULL, 10);

		assert_true(number < EPISODES);
		open[number] = !ends(fixture, i);
		begun[number] = begun[number] || open[number];
		assert_true(begun[number]);
		cJSON_Delete(body);
	}
	for (unsigned i = 0; i < EPISODES; i++) {
		bool told = false;

		for (size_t at = 0; at < fixture->settled_count; at++)
			told = told || (strcmp(fixture->settled[at].key, episode(i).key) == 0 &&
					!fixture->settled[at].failed &&
					fixture->settled[at].state == ALERT_FIRING);
		assert_true(!told || !open[i]);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(slack_gets_a_firing_and_then_its_end),
		TEST(pagerduty_gets_a_trigger_and_its_resolve_under_one_key),
		TEST(a_bad_request_is_given_up_and_the_receiver_goes_on),
		TEST(a_refusal_for_good_disables_the_receiver),
		TEST(retry_after_in_seconds_is_obeyed),
		TEST(whoever_asks_for_years_is_not_asked_at_once),
		TEST(what_may_pass_is_tried_again),
		TEST(a_redirect_is_a_refusal),
		TEST(a_resolve_of_what_was_certainly_not_taken_is_never_sent),
		TEST(a_firing_without_an_answer_is_sent_again_and_then_ended),
		TEST(a_firing_that_a_kept_connection_swallowed_is_ended_too),
		TEST(a_resolve_that_comes_between_the_tries_waits_too),
		TEST(what_fires_again_after_an_end_without_an_answer_is_told),
		TEST(what_fires_again_after_a_crash_is_told),
		TEST(an_unanswered_firing_that_is_refused_then_needs_no_end),
		TEST(of_an_episode_only_the_newest_waits),
		TEST(a_newer_transition_outlives_the_refusal_of_an_older),
		TEST(only_a_rise_of_severity_is_told_again),
		TEST(slack_is_told_once_where_the_change_is),
		TEST(pagerduty_is_told_every_change_in_place),
		TEST(nothing_is_sent_twice),
		TEST(a_second_life_knows_from_the_latest_record_alone),
		TEST(slack_gets_a_burst_of_three_and_then_one_a_second),
		TEST(past_its_bound_the_oldest_is_given_up),
		TEST(what_is_not_delivered_within_its_life_is_given_up),
		TEST(lesser_alerts_are_not_sent_but_ends_are),
		TEST(whom_an_incident_comes_to_concern_hears_of_it_then_and_until_its_end),
		TEST(a_second_life_goes_on_with_whom_it_told),
		TEST(a_test_of_what_stays_open_is_ended_too),
		TEST(a_test_tells_what_the_receiver_answered),
		TEST(a_test_keeps_the_pace_of_the_receiver),
		TEST(a_test_that_is_under_way_at_the_end_is_told_of),
		TEST(what_fires_is_told_again_to_who_forgets_until_it_is_over),
		TEST(an_end_never_overtakes_a_repeat),
		TEST(a_repeat_that_fails_is_tried_again_soon),
		TEST(a_second_life_tells_again_what_it_is_reminded_of),
		TEST(what_was_told_is_told_again_while_its_change_is_silenced),
		TEST(what_the_process_tells_of_itself_is_repeated_in_a_pause_too),
		TEST(a_repeat_obeys_retry_after),
		TEST(more_than_a_request_holds_are_repeated_by_the_next_at_once),
		TEST(past_their_bound_alerts_are_not_repeated_and_counted),
		TEST(a_bot_changes_its_message_and_replies_to_it_where_it_matters),
		TEST(a_bots_message_is_known_in_the_next_life),
		TEST(a_bots_message_that_somebody_deleted_is_written_anew),
		TEST(what_slack_may_show_twice_says_so),
		TEST(of_a_bots_messages_a_reply_may_show_twice_and_says_so),
		TEST(a_message_where_the_bot_may_not_write_any_more_is_written_anew),
		TEST(what_slack_says_no_to_is_told_apart),
		TEST(requests_that_fail_together_are_one_failure),
		TEST(closing_with_requests_under_way_leaves_nothing),
		TEST(a_receiver_that_is_no_https_is_refused),
		TEST(before_its_first_message_it_is_written_that_there_may_be_one),
		TEST(an_alert_does_not_wait_long_for_its_bookkeeping),
		TEST(a_firing_of_which_a_crash_hides_the_answer_is_sent_again_and_then_ended),
		TEST(an_end_waits_until_it_is_written_down_that_its_firing_was_delivered),
		TEST(what_fired_and_ended_unsent_before_a_crash_is_not_told_after_it),
		TEST(a_pause_ends_what_is_under_way_and_begins_nothing),
		TEST(a_pause_lets_go_what_the_process_tells_of_itself),
		TEST(in_doubt_nothing_of_the_outbox_is_begun),
		TEST(what_was_announced_in_doubt_waits_too),
		TEST(the_position_is_held_until_the_record_is_kept),
		TEST(one_alert_that_always_fails_does_not_hold_up_the_others),
		TEST(failures_in_a_row_open_the_breaker_and_one_probe_closes_it),
		TEST(pagerduty_hears_of_ends_first),
		TEST(an_end_that_is_owed_outlives_the_life_of_a_firing),
		TEST(alerts_about_itself_go_to_those_who_want_them),
		TEST(what_is_silenced_is_sent_when_it_is_no_more_and_still_fires),
		TEST(slack_hears_of_what_was_silenced_that_it_fires),
		TEST(what_ends_while_it_is_silenced_is_not_told),
		TEST(what_was_told_before_it_was_silenced_gets_its_end),
		TEST(a_firing_that_may_have_arrived_is_sent_though_it_is_silenced),
		TEST(what_waits_to_be_sent_again_is_silenced_too),
		TEST(what_was_announced_is_withdrawn_when_it_is_silenced),
		TEST(the_life_of_what_was_silenced_counts_from_the_end_of_that),
		TEST(past_the_bound_what_is_silenced_leaves_first),
		TEST(of_what_is_acknowledged_a_webhook_hears_when_it_is_severer_and_ends),
		TEST(of_what_is_acknowledged_slack_does_not_hear_where_it_is),
		TEST(of_what_is_acknowledged_pagerduty_is_brought_up_to_date),
		TEST(many_episodes_each_end_right_whatever_the_receiver_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
