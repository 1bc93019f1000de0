#include "daemon/selfwatch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"

enum {
	DELIVERIES_MAX = 64, /* of an episode: as many receivers as there can be */
	/* Kept episodes: those that fire, at most two and one a receiver, and the last that ended,
	 * for receivers that are away. */
	ENDED_MAX = 16,
	EPISODES_MAX = ENDED_MAX + 2 + DELIVERIES_MAX,
	HOST_BYTES = 128,
};

#define QUIET_NS    (10 * NS_PER_S) /* a cause that is away for this long is over */
#define LAG_HOLD_NS (5 * NS_PER_S)  /* of a lag that may pass by itself */

/* One episode of an alert about Millrace itself, as the journal has it. */
struct story {
	struct alert firing, resolved; /* resolved.sequence 0: it fires */
	struct delivery *deliveries;
	size_t deliveries_count;
};

/* What can go wrong. */
struct cause {
	const char *monitor;
	char server[ALERT_NAME_MAX]; /* whom it is about */
	/* By the steady clock. */
	uint64_t since_ns;   /* it holds since then; 0: it does not */
	uint64_t failing_ns; /* of a receiver: all tries fail since then; 0: they do not */
	uint64_t away_ns;    /* it does not hold since then; 0: it does */
	uint64_t failed;     /* of a receiver: given up, when last looked at */
	uint64_t failed_ns;  /* and when that last rose; 0: never */
	struct story *story; /* that fires; NULL: none */
};

struct selfwatch {
	struct selfwatch_options options;
	struct journal *journal;
	struct story *stories[EPISODES_MAX];
	size_t stories_count;
	struct cause blind, lag, *receivers;
	size_t receivers_count;
	uint64_t clock_ns, moved_ns; /* the slowest log clock, and when it last moved */
	bool blind_before;	     /* as it began, and the clock has not moved since */
	bool sees;
	uint64_t fired;
};

enum record_kind { RECORD_ALERT = 'A', RECORD_DELIVERY = 'D' };

/* --- the journal --- */

static size_t framed(uint8_t **bytes, enum record_kind kind, struct encoded value)
{
	*bytes = memory_zeroed(1, value.length + 1);
	(*bytes)[0] = (uint8_t)kind;
	memcpy(*bytes + 1, value.bytes, value.length);
	return value.length + 1;
}

static struct encoded encoded_alert(struct selfwatch *watch, const struct alert *alert)
{
	return encode_alert(watch->options.encoder, &(struct output_number){0}, alert);
}

static void append(struct selfwatch *watch, enum record_kind kind, struct encoded value)
{
	uint8_t *bytes;
	size_t length;
	int rc;

	if (!watch->journal)
		return;
	length = framed(&bytes, kind, value);
	rc = journal_append(watch->journal, bytes, length);
	free(bytes);
	if (rc) {
		char sentence[256];

		snprintf(sentence, sizeof(sentence),
			 "notify.journal %s: %s; after a crash now an alert about Millrace itself "
			 "may be repeated or forgotten",
			 watch->options.journal, strerror(-rc));
		watch->options.trouble(watch->options.context, sentence);
	}
}

static void keep_record(struct journal *journal, enum record_kind kind, struct encoded value)
{
	uint8_t *bytes;
	size_t length = framed(&bytes, kind, value);

	journal_keep(journal, bytes, length);
	free(bytes);
}

/* All that still counts, into a new file. */
static void on_keep(void *context, struct journal *journal)
{
	struct selfwatch *watch = context;

	for (size_t i = 0; i < watch->stories_count; i++) {
		const struct story *story = watch->stories[i];

		keep_record(journal, RECORD_ALERT, encoded_alert(watch, &story->firing));
		if (story->resolved.sequence)
			keep_record(journal, RECORD_ALERT, encoded_alert(watch, &story->resolved));
		for (size_t n = 0; n < story->deliveries_count; n++)
			keep_record(journal, RECORD_DELIVERY,
				    encode_delivery(watch->options.encoder, &story->deliveries[n]));
	}
}

/* --- stories --- */

static struct story *story_of(const struct selfwatch *watch, const char *key)
{
	for (size_t i = 0; i < watch->stories_count; i++) {
		if (strcmp(watch->stories[i]->firing.key, key) == 0)
			return watch->stories[i];
	}
	return NULL;
}

static void story_free(struct story *story)
{
	free(story->deliveries);
	free(story);
}

static struct cause *cause_of_story(struct selfwatch *watch, const struct story *story);

/* At the bound the oldest that ended leaves; if all fire, as those of receivers that are no more
 * may, the oldest. */
static void make_room(struct selfwatch *watch)
{
	struct cause *cause;
	size_t ended = 0, at = 0;

	for (size_t i = watch->stories_count; i-- > 0;) {
		if (watch->stories[i]->resolved.sequence) {
			ended++;
			at = i;
		}
	}
	if (ended < ENDED_MAX && watch->stories_count < EPISODES_MAX)
		return;
	cause = cause_of_story(watch, watch->stories[at]);
	if (cause && cause->story == watch->stories[at])
		cause->story = NULL;
	story_free(watch->stories[at]);
	watch->stories_count--;
	memmove(&watch->stories[at], &watch->stories[at + 1],
		(watch->stories_count - at) * sizeof(watch->stories[0]));
}

static struct story *story_add(struct selfwatch *watch, const struct alert *firing)
{
	struct story *story = memory_zeroed(1, sizeof(*story));

	make_room(watch);
	story->firing = *firing;
	watch->stories[watch->stories_count++] = story;
	return story;
}

static void story_alert(struct selfwatch *watch, const struct alert *alert)
{
	struct story *story = story_of(watch, alert->key);

	if (alert->state == ALERT_FIRING && !story)
		story_add(watch, alert);
	else if (alert->state == ALERT_RESOLVED && story)
		story->resolved = *alert;
}

static void story_delivery(struct selfwatch *watch, const struct delivery *delivery)
{
	struct story *story = story_of(watch, delivery->key);
	size_t at = 0;

	if (!story)
		return;
	while (at < story->deliveries_count &&
	       strcmp(story->deliveries[at].receiver, delivery->receiver) != 0)
		at++;
	if (at == DELIVERIES_MAX)
		return;
	if (at == story->deliveries_count)
		story->deliveries = memory_resize(story->deliveries, ++story->deliveries_count,
						  sizeof(*story->deliveries));
	story->deliveries[at] = *delivery;
}

static void on_record(void *context, const uint8_t *bytes, size_t length)
{
	struct selfwatch *watch = context;
	struct delivery delivery;
	struct alert alert;

	if (length > 1 && bytes[0] == RECORD_ALERT &&
	    decode_alert(bytes + 1, length - 1, &alert) == 0)
		story_alert(watch, &alert);
	else if (length > 1 && bytes[0] == RECORD_DELIVERY &&
		 decode_delivery(bytes + 1, length - 1, &delivery) == 0) {
		delivery.local = true;
		story_delivery(watch, &delivery);
	}
}

/* --- causes --- */

static struct cause *cause_of_story(struct selfwatch *watch, const struct story *story)
{
	const char *monitor = story->firing.monitor;

	if (strcmp(monitor, watch->blind.monitor) == 0)
		return &watch->blind;
	if (strcmp(monitor, watch->lag.monitor) == 0)
		return &watch->lag;
	for (size_t i = 0; i < watch->receivers_count; i++) {
		struct cause *cause = &watch->receivers[i];

		if (strcmp(monitor, cause->monitor) == 0 &&
		    strcmp(story->firing.subject.server, cause->server) == 0)
			return cause;
	}
	return NULL;
}

static void tell(struct selfwatch *watch, const struct alert *alert)
{
	append(watch, RECORD_ALERT, encoded_alert(watch, alert));
	watch->options.push(watch->options.context, alert);
}

/* What an alert says beside what all have. */
struct telling {
	const char *metric, *unit;
	double value, threshold;
	enum alert_severity severity;
	char summary[ALERT_TEXT_MAX];
};

static void fire(struct selfwatch *watch, struct cause *cause, const struct selfwatch_view *view,
		 const struct telling *telling)
{
	struct alert alert = {.sequence = 1,
			      .state = ALERT_FIRING,
			      .severity = telling->severity,
			      .value = telling->value,
			      .threshold = telling->threshold,
			      .completeness = 1,
			      .started_ns = view->now_ns,
			      .pane_end_ns = view->now_ns,
			      .last_event_ns = view->now_ns};

	snprintf(alert.monitor, sizeof(alert.monitor), "%s", cause->monitor);
	snprintf(alert.subject.server, sizeof(alert.subject.server), "%s", cause->server);
	snprintf(alert.metric, sizeof(alert.metric), "%s", telling->metric);
	snprintf(alert.unit, sizeof(alert.unit), "%s", telling->unit);
	snprintf(alert.summary, sizeof(alert.summary), "%s", telling->summary);
	alert_key(&alert);
	cause->story = story_add(watch, &alert);
	watch->fired++;
	tell(watch, &alert);
}

static void resolve(struct selfwatch *watch, struct story *story, uint64_t now_ns)
{
	story->resolved = story->firing;
	story->resolved.sequence = 2;
	story->resolved.state = ALERT_RESOLVED;
	story->resolved.ended_ns = story->resolved.pane_end_ns = now_ns;
	snprintf(story->resolved.summary, sizeof(story->resolved.summary), "over: %.400s",
		 story->firing.summary);
	tell(watch, &story->resolved);
}

/* Fires when the cause has held for so long, resolves when it is away for QUIET_NS. */
static void judge(struct selfwatch *watch, struct cause *cause, bool holds, uint64_t after_ns,
		  const struct selfwatch_view *view, const struct telling *telling)
{
	uint64_t now = view->steady_ns;

	if (holds) {
		cause->away_ns = 0;
		if (!cause->since_ns)
			cause->since_ns = now;
		if (!cause->story && now - cause->since_ns >= after_ns)
			fire(watch, cause, view, telling);
		return;
	}
	cause->since_ns = 0;
	if (!cause->away_ns)
		cause->away_ns = now;
	if (cause->story && now - cause->away_ns >= QUIET_NS) {
		resolve(watch, cause->story, view->now_ns);
		cause->story = NULL;
	}
}

static double seconds(uint64_t ns)
{
	return (double)ns / (double)NS_PER_S;
}

static void look_at_clocks(struct selfwatch *watch, const struct selfwatch_view *view)
{
	const struct selfwatch_options *options = &watch->options;
	uint64_t now = view->steady_ns, still, behind;
	struct telling telling = {.metric = "silence", .unit = "seconds"};
	bool moved = view->running && view->clock_ns > watch->clock_ns, blind;

	watch->blind_before &= !moved;
	if (!watch->moved_ns || moved)
		watch->moved_ns = now;
	if (view->clock_ns > watch->clock_ns)
		watch->clock_ns = view->clock_ns;
	still = now - watch->moved_ns;
	blind = watch->blind_before || still >= options->blind_after_ns;
	watch->sees = view->running && view->clock_ns && !blind;

	telling.value = seconds(still);
	telling.threshold = seconds(options->blind_after_ns);
	telling.severity = ALERT_CRITICAL;
	snprintf(telling.summary, sizeof(telling.summary),
		 "Millrace is blind: nothing was read from Kafka for %.0f s, so nothing is watched",
		 telling.value);
	judge(watch, &watch->blind, blind, 0, view, &telling);

	behind =
		view->clock_ns && view->now_ns > view->clock_ns ? view->now_ns - view->clock_ns : 0;
	telling.metric = "lag";
	telling.value = seconds(behind);
	telling.threshold = seconds(options->lag_max_ns);
	telling.severity = ALERT_ERROR;
	snprintf(telling.summary, sizeof(telling.summary),
		 "Millrace is %.0f s behind: alerts come late until it has caught up",
		 telling.value);
	judge(watch, &watch->lag, view->running && !blind && behind > options->lag_max_ns,
	      LAG_HOLD_NS, view, &telling);
}

static uint64_t given_up(const struct notify_receiver_stats *stats)
{
	uint64_t count = 0;

	for (int i = 0; i < NOTIFY_FAILURES; i++)
		count += stats->failed[i];
	return count;
}

static void look_at_receiver(struct selfwatch *watch, struct cause *cause,
			     const struct notify_receiver_stats *stats,
			     const struct selfwatch_view *view)
{
	uint64_t after = watch->options.failing_after_ns, failed = given_up(stats);
	uint64_t now = view->steady_ns;
	bool failing;
	struct telling telling = {
		.metric = "notifications", .unit = "count", .severity = ALERT_ERROR};

	if (!stats->failing_since_ns)
		cause->failing_ns = 0;
	else if (!cause->failing_ns)
		cause->failing_ns = now;
	failing = cause->failing_ns && now - cause->failing_ns >= after;
	if (failed > cause->failed)
		cause->failed_ns = now;
	cause->failed = failed;
	telling.value = (double)stats->pending;
	if (stats->disabled)
		snprintf(telling.summary, sizeof(telling.summary),
			 "receiver %s refuses all notifications for good (%.120s): nothing more is "
			 "sent to it until millraced is started with a working configuration",
			 stats->name, stats->last_error);
	else if (failing)
		snprintf(telling.summary, sizeof(telling.summary),
			 "receiver %s fails since %.0f min: %" PRIu64
			 " notifications wait; the last error: %.120s",
			 stats->name, seconds(now - cause->failing_ns) / 60, stats->pending,
			 stats->last_error);
	else
		snprintf(telling.summary, sizeof(telling.summary),
			 "notifications for receiver %s were given up, %" PRIu64
			 " in all: see millrace.deadletter",
			 stats->name, failed);
	judge(watch, cause,
	      stats->disabled || failing || (cause->failed_ns && now - cause->failed_ns < after), 0,
	      view, &telling);
}

void selfwatch_look(struct selfwatch *watch, const struct selfwatch_view *view)
{
	look_at_clocks(watch, view);
	for (size_t i = 0; i < watch->receivers_count && i < view->receivers_count; i++)
		look_at_receiver(watch, &watch->receivers[i], &view->receivers[i], view);
}

void selfwatch_keep(struct selfwatch *watch, const struct delivery *delivery)
{
	story_delivery(watch, delivery);
	append(watch, RECORD_DELIVERY, encode_delivery(watch->options.encoder, delivery));
}

bool selfwatch_sees(const struct selfwatch *watch)
{
	return watch->sees;
}

struct selfwatch_stats selfwatch_stats(const struct selfwatch *watch)
{
	return (struct selfwatch_stats){
		.journal =
			watch->journal ? journal_stats(watch->journal) : (struct journal_stats){0},
		.journal_open = watch->journal != NULL,
		.blind = watch->blind.story != NULL,
		.lagging = watch->lag.story != NULL,
		.fired = watch->fired,
	};
}

/* --- life --- */

static void open_journal(struct selfwatch *watch, int *rc)
{
	const struct selfwatch_options *options = &watch->options;

	*rc = 0;
	if (!options->journal || !options->journal[0])
		return;
	watch->journal = journal_open(&(struct journal_options){.path = options->journal,
								.bytes_max = options->journal_bytes,
								.context = watch,
								.record = on_record,
								.keep = on_keep},
				      rc);
}

struct selfwatch *selfwatch_new(const struct selfwatch_options *options)
{
	struct selfwatch *watch = memory_zeroed(1, sizeof(*watch));
	char host[HOST_BYTES] = "";
	int rc;

	watch->options = *options;
	watch->blind.monitor = "millrace/blind";
	watch->lag.monitor = "millrace/lag";
	if (gethostname(host, sizeof(host) - 1))
		host[0] = '\0';
	snprintf(watch->blind.server, sizeof(watch->blind.server), "millraced%s%s",
		 host[0] ? "@" : "", host);
	memcpy(watch->lag.server, watch->blind.server, sizeof(watch->lag.server));
	watch->receivers_count = options->receivers_count;
	watch->receivers = memory_zeroed(options->receivers_count, sizeof(*watch->receivers));
	for (size_t i = 0; i < options->receivers_count; i++) {
		watch->receivers[i].monitor = "millrace/receiver";
		snprintf(watch->receivers[i].server, sizeof(watch->receivers[i].server), "%s",
			 options->receivers[i].name);
	}
	open_journal(watch, &rc);
	if (rc) {
		char sentence[256];

		snprintf(sentence, sizeof(sentence), "notify.journal %s: %s", options->journal,
			 strerror(-rc));
		options->trouble(options->context, sentence);
		selfwatch_free(watch);
		return NULL;
	}
	return watch;
}

/* It fires until it is seen to be over. */
static void go_on(struct selfwatch *watch, struct cause *cause, struct story *story)
{
	cause->story = story;
	watch->blind_before |= cause == &watch->blind;
}

void selfwatch_begin(struct selfwatch *watch)
{
	const struct selfwatch_options *options = &watch->options;

	for (size_t i = 0; i < watch->stories_count; i++) {
		for (size_t n = 0; n < watch->stories[i]->deliveries_count; n++)
			options->settled(options->context, &watch->stories[i]->deliveries[n]);
	}
	for (size_t i = 0; i < watch->stories_count; i++) {
		struct story *story = watch->stories[i];
		struct cause *cause = cause_of_story(watch, story);

		options->push(options->context, &story->firing);
		if (story->resolved.sequence)
			options->push(options->context, &story->resolved);
		else if (cause && !cause->story)
			go_on(watch, cause, story);
		else
			resolve(watch, story, story->firing.pane_end_ns);
	}
}

void selfwatch_free(struct selfwatch *watch)
{
	journal_close(watch->journal);
	for (size_t i = 0; i < watch->stories_count; i++)
		story_free(watch->stories[i]);
	free(watch->receivers);
	free(watch);
}
