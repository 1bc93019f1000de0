#include "daemon/notifier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/query/query.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/real.h"
#include "daemon/encode.h"
#include "daemon/firing.h"
#include "daemon/log.h"
#include "daemon/silences.h"
#include "daemon/topics.h"

enum {
	RECENT_ALERTS =
		1024, /* firing alerts whose delivery is awaited, for the latency histogram */
	KEY_BYTES = ALERT_MONITOR_MAX + ALERT_KEY_TEXT + 2,
	GROUP_BYTES = 256,
	/* A record takes Kafka some 10 ms. Longer than this it is away, not slow. */
	ANNOUNCE_WAIT_MS = 5000,
	READING_WAIT_MS = 10000, /* to find the outbox, and for each next record of it */
	/* For the silences: where their topic is away, alerts must not be. */
	SILENCES_WAIT_MS = 10000,
	/* By then the group has answered a sign of life, or said that it does not know this one. */
	DOUBT_MS = 3000,
};

#define COMMIT_NS NS_PER_S

struct recent {
	char key[ALERT_KEY_TEXT];
	uint64_t last_event_ns;
};

/* A record for millrace.alerts.delivery on its way. */
struct kept {
	struct output_report report; /* first: it is how it is told of */
	struct kept *next;
	struct notifier *notifier;
	struct notify_receipt *receipt;
	char key[KEY_BYTES];
	size_t key_length, length;
	uint8_t value[];
};

/* How far a partition of the outbox was read. */
struct reach {
	int64_t next;	   /* offset after the newest read; -1: none was */
	int64_t committed; /* -1: not by this process */
};

struct notifier {
	struct notifier_options options;
	struct notify *notify;
	struct encoder *encoder;
	struct selfwatch *watch;
	struct heartbeat *heartbeat;
	struct tail *outbox;
	char group[GROUP_BYTES];
	struct reach *reaches; /* by partition */
	size_t partitions;
	struct kept *waiting, **waiting_end; /* for room in the producer's queue */
	struct firing *firing;		     /* until the outbox begins to be read */
	struct recent recent[RECENT_ALERTS];
	size_t recent_next;
	struct histogram event_to_webhook;
	uint64_t read, undecodable, unheld, unrouted;
	/* Until then, or as long as more comes, the outbox is read before anything of it is sent;
	 * 0: it was read. */
	uint64_t reading_until_ns;
	uint64_t hushed_until_ns; /* 0: the silences were read, or there was no more waiting */
	bool started;
	bool handed_over; /* another process may go on in this one's place */
	bool replaced;	  /* and does, since before this one knew */
	/* When it last looked at the time, and until when it does not know whether it is replaced.
	 */
	uint64_t awake_ns, doubt_until_ns;
	bool closing, closed;
};

/* --- a stand-still --- */

/* That goes on while the machine sleeps. */
static uint64_t boot_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* Among several instances one that stood still may have been replaced: its timers run before it
 * hears of that, and a firing whose end the other has sent opens again what is closed, for ever.
 * Looked at in each turn, and before anything is sent or written down. */
static bool in_doubt(struct notifier *notifier)
{
	const struct settings *settings = notifier->options.settings;
	uint64_t now = boot_ns(), stood_ns = now - notifier->awake_ns;

	notifier->awake_ns = now;
	/* One that is closing has no turns any more. */
	if (settings->carrier == CARRIER_KAFKA && !notifier->closing &&
	    stood_ns > settings->session_ns / 2) {
		notifier->doubt_until_ns = now + DOUBT_MS * NS_PER_MS;
		if (notifier->started)
			log_line(LOG_LEVEL_WARNING,
				 "it stood still for %.1f s: nothing is sent before it is clear "
				 "who notifies now",
				 (double)stood_ns / NS_PER_S);
	}
	return now < notifier->doubt_until_ns;
}

static bool doubts(void *context)
{
	return in_doubt(context);
}

static void on_kafka_trouble(void *context, const char *sentence)
{
	const struct notifier *notifier = context;

	notifier->options.kafka_trouble(notifier->options.context, sentence);
}

static void on_receiver_trouble(void *context, const char *receiver, const char *sentence)
{
	const struct notifier *notifier = context;

	notifier->options.receiver_trouble(notifier->options.context, receiver, sentence);
}

/* --- what became of transitions --- */

/* The first delivery of an episode's first transition is what the two-second promise is about. */
static void observe_delivery(struct notifier *notifier, const struct delivery *delivery)
{
	if (delivery->failed || delivery->sequence != 1)
		return;
	for (size_t i = 0; i < RECENT_ALERTS; i++) {
		const struct recent *recent = &notifier->recent[i];

		if (strcmp(recent->key, delivery->key) != 0)
			continue;
		if (delivery->sent_ns > recent->last_event_ns)
			histogram_observe(&notifier->event_to_webhook,
					  (double)(delivery->sent_ns - recent->last_event_ns) /
						  1e9);
		return;
	}
}

static void on_told(struct output_report *report, int rc)
{
	struct kept *kept = (struct kept *)report;
	struct notifier *notifier = kept->notifier;

	/* What Kafka refuses for good it will refuse again: it is counted, and told by the outputs.
	 */
	if (rc)
		notifier->unheld++;
	notify_recorded(kept->receipt);
	free(kept);
}

/* False when there is no room. */
static bool hand_over(struct notifier *notifier, struct kept *kept)
{
	return outputs_try(notifier->options.outputs, TOPIC_DELIVERY, -1, kept->key,
			   kept->key_length, (struct encoded){kept->value, kept->length},
			   &kept->report);
}

static void wait_for_room(struct notifier *notifier, struct kept *kept)
{
	*notifier->waiting_end = kept;
	notifier->waiting_end = &kept->next;
}

/* In their order: the last record of a key is the one that counts, so none may come behind those of
 * who has taken over. */
void notifier_room(struct notifier *notifier)
{
	while (notifier->waiting && !in_doubt(notifier)) {
		struct kept *kept = notifier->waiting, *next = kept->next;

		kept->next = NULL;
		if (!hand_over(notifier, kept)) {
			kept->next = next;
			return;
		}
		notifier->waiting = next;
		if (!next)
			notifier->waiting_end = &notifier->waiting;
	}
}

/* Whoever took over has read that it may have been sent, and has gone on from there. */
static void drop_waiting(struct notifier *notifier)
{
	struct kept *kept = notifier->waiting;

	notifier->waiting = NULL;
	notifier->waiting_end = &notifier->waiting;
	while (kept) {
		struct kept *next = kept->next;

		notify_recorded(kept->receipt);
		free(kept);
		kept = next;
	}
}

static void on_record(void *context, const struct delivery *delivery,
		      struct notify_receipt *receipt)
{
	struct notifier *notifier = context;
	struct encoded value;
	struct kept *kept;

	if (delivery->local) {
		selfwatch_keep(notifier->watch, delivery);
		notify_recorded(receipt);
		return;
	}
	if (notifier->replaced) {
		notify_recorded(receipt);
		return;
	}
	value = encode_delivery(notifier->encoder, delivery);
	kept = memory_zeroed(1, sizeof(*kept) + value.length);
	kept->report.told = on_told;
	kept->notifier = notifier;
	kept->receipt = receipt;
	kept->key_length = (size_t)snprintf(kept->key, sizeof(kept->key), "%s|%s",
					    delivery->receiver, delivery->key);
	kept->length = value.length;
	memcpy(kept->value, value.bytes, value.length);
	if (delivery_settles(delivery)) {
		query_delivery(notifier->options.query, delivery);
		observe_delivery(notifier, delivery);
	}
	if (notifier->waiting || in_doubt(notifier) || !hand_over(notifier, kept))
		wait_for_room(notifier, kept);
}

static void on_given_up(void *context, const char *receiver, const struct alert *alert,
			const struct notify_place *place, enum notify_failure failure,
			const char *sentence)
{
	struct notifier *notifier = context;
	struct encoded value = encode_undelivered(notifier->encoder, receiver, alert, place,
						  notify_failure_name(failure), sentence);

	outputs_offer(notifier->options.outputs, TOPIC_DEADLETTER, NULL, 0, value);
}

/* --- the outbox --- */

static void remember_firing(struct notifier *notifier, const struct alert *alert)
{
	struct recent *recent = &notifier->recent[notifier->recent_next++ % RECENT_ALERTS];

	memcpy(recent->key, alert->key, sizeof(recent->key));
	recent->last_event_ns = alert->last_event_ns;
}

static uint64_t reading_until(void)
{
	return uv_hrtime() + READING_WAIT_MS * NS_PER_MS;
}

static struct reach *reach_of(struct notifier *notifier, int32_t partition)
{
	size_t needed = (size_t)partition + 1;

	if (needed > notifier->partitions) {
		notifier->reaches =
			memory_resize(notifier->reaches, needed, sizeof(*notifier->reaches));
		for (size_t i = notifier->partitions; i < needed; i++)
			notifier->reaches[i] = (struct reach){-1, -1};
		notifier->partitions = needed;
	}
	return &notifier->reaches[partition];
}

static uint64_t silenced_until(void *context, const struct alert *alert)
{
	const struct notifier *notifier = context;

	return silencebook_until(silences_book(notifier->options.silences), alert, real_ns());
}

static bool acknowledged(void *context, const struct alert *alert)
{
	const struct notifier *notifier = context;

	return acknowledgements_of(silences_acknowledgements(notifier->options.silences), alert);
}

/* Since it was told, or was silenced last. */
static bool within_life(struct notifier *notifier, const struct alert *alert)
{
	uint64_t now = real_ns(), life = notifier->options.settings->notify_life_ns;

	return alert->pane_end_ns + life > now || silenced_until(notifier, alert) + life > now;
}

static void on_outbox(void *context, const struct tail_record *record)
{
	struct notifier *notifier = context;
	struct notify_place place = {record->partition, record->offset};
	struct alert alert;

	reach_of(notifier, record->partition)->next = record->offset + 1;
	if (notifier->reading_until_ns)
		notifier->reading_until_ns = reading_until();
	if (!record->value || decode_alert(record->value, record->length, &alert) < 0) {
		notifier->undecodable++;
		on_kafka_trouble(notifier, "a record of " TOPIC_ALERTS " is no alert; passed over");
		return;
	}
	notifier->read++;
	query_alert(notifier->options.query, &alert);
	/* What is silenced is not late when it is told. */
	if (alert.sequence == 1 && silenced_until(notifier, &alert) <= real_ns())
		remember_firing(notifier, &alert);
	/* Who never read the outbox has not promised anything of what is older than its promise. */
	if ((!record->fresh || within_life(notifier, &alert)) &&
	    !notify_push(notifier->notify, &alert, &place) && alert.sequence == 1)
		notifier->unrouted++;
}

static void commit(struct notifier *notifier)
{
	int64_t *positions = memory_zeroed(notifier->partitions, sizeof(*positions));

	for (size_t i = 0; i < notifier->partitions; i++)
		positions[i] = notifier->reaches[i].next;
	notify_hold(notifier->notify, positions, notifier->partitions);
	for (size_t i = 0; i < notifier->partitions; i++) {
		struct reach *reach = &notifier->reaches[i];

		if (reach->next < 0 || positions[i] == reach->committed)
			continue;
		tail_commit(notifier->outbox, (int32_t)i, positions[i]);
		reach->committed = positions[i];
	}
	free(positions);
}

/* Each start reads from behind what is settled: an earlier state of an episode must not be sent
 * when its end stands behind it, which the receiver may have had. */
static void send_or_rest(struct notifier *notifier)
{
	if (silences_read(notifier->options.silences))
		notifier->hushed_until_ns = 0;
	if (notifier->handed_over || notifier->reading_until_ns || notifier->hushed_until_ns)
		notify_pause(notifier->notify);
	else
		notify_resume(notifier->notify);
}

static void on_caught_up(void *context)
{
	struct notifier *notifier = context;

	notifier->reading_until_ns = 0;
	send_or_rest(notifier);
}

static void open_outbox(struct notifier *notifier)
{
	static const char *const topics[] = {TOPIC_ALERTS, NULL};
	const struct notifier_options *options = &notifier->options;
	struct tail_options tail = {.loop = options->loop,
				    .brokers = options->brokers,
				    .security = options->security,
				    .topics = topics,
				    .group = notifier->group,
				    .context = notifier,
				    .record = on_outbox,
				    .caught_up = on_caught_up,
				    .trouble = on_kafka_trouble};
	char error[256], sentence[320];

	notifier->outbox = tail_new(&tail, error, sizeof(error));
	if (notifier->outbox) {
		notifier->reading_until_ns = reading_until();
		send_or_rest(notifier);
		return;
	}
	snprintf(sentence, sizeof(sentence), "alerts cannot be read back, it is tried again: %s",
		 error);
	on_kafka_trouble(notifier, sentence);
}

/* What still fires is offered to each receiver again: one that was added since the outbox was read
 * hears of it, too. Then the outbox is read, whose transitions are newer. */
static void offer_firing(struct notifier *notifier)
{
	const struct firing_alert *fires;

	for (size_t at = 0; (fires = firing_next(notifier->firing, &at));) {
		if (within_life(notifier, &fires->alert))
			notify_push(notifier->notify, &fires->alert, &fires->place);
		else
			notify_remind(notifier->notify, &fires->alert);
	}
	firing_free(notifier->firing);
	notifier->firing = NULL;
	open_outbox(notifier);
}

/* Whether an old one is still to be told depends on the silences. */
static void begin_when_known(struct notifier *notifier)
{
	if (notifier->started && notifier->firing && !notifier->hushed_until_ns)
		offer_firing(notifier);
}

void notifier_start(struct notifier *notifier)
{
	notifier->started = true;
	notifier->reading_until_ns = reading_until();
	notifier->hushed_until_ns = uv_hrtime() + SILENCES_WAIT_MS * NS_PER_MS;
	send_or_rest(notifier);
	begin_when_known(notifier);
}

/* --- silences --- */

void notifier_review(struct notifier *notifier)
{
	if (notifier->closing)
		return;
	send_or_rest(notifier);
	begin_when_known(notifier);
	notify_review(notifier->notify);
}

static void stop_waiting_for_silences(struct notifier *notifier)
{
	notifier->hushed_until_ns = 0;
	log_line(LOG_LEVEL_WARNING, TOPIC_SILENCES " could not be read in time: alerts are sent as "
						   "if none were silenced");
	send_or_rest(notifier);
	begin_when_known(notifier);
}

/* --- a change of hands --- */

void notifier_pause(struct notifier *notifier)
{
	notifier->handed_over = true;
	send_or_rest(notifier);
	notifier->replaced |= in_doubt(notifier);
	if (notifier->replaced)
		drop_waiting(notifier);
}

void notifier_resume(struct notifier *notifier)
{
	notifier->handed_over = notifier->replaced = false;
	send_or_rest(notifier);
}

bool notifier_sends(const struct notifier *notifier)
{
	return notify_sends(notifier->notify);
}

bool notifier_records(const struct notifier *notifier)
{
	return notify_records(notifier->notify);
}

/* --- the state of earlier lives --- */

void notifier_delivery(struct notifier *notifier, const uint8_t *value, size_t length)
{
	struct delivery delivery;

	if (decode_delivery(value, length, &delivery) < 0)
		return;
	notify_settled(notifier->notify, &delivery);
	if (delivery_settles(&delivery))
		query_delivery(notifier->options.query, &delivery);
}

void notifier_alert(struct notifier *notifier, const struct alert *alert,
		    const struct notify_place *place)
{
	query_alert(notifier->options.query, alert);
	if (notifier->firing)
		firing_take(notifier->firing, alert, place);
}

void notifier_begin(struct notifier *notifier)
{
	notify_begin(notifier->notify);
}

/* --- life --- */

static void on_self_settled(void *context, const struct delivery *delivery)
{
	struct notifier *notifier = context;

	notify_settled(notifier->notify, delivery);
}

static void on_self_alert(void *context, const struct alert *alert)
{
	struct notifier *notifier = context;

	log_line(alert->state == ALERT_FIRING ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "%s",
		 alert->summary);
	query_alert(notifier->options.query, alert);
	notify_push(notifier->notify, alert, NULL);
}

static void on_self_trouble(void *context, const char *sentence)
{
	(void)context;
	log_line(LOG_LEVEL_ERROR, "%s", sentence);
}

static bool sees(void *context)
{
	const struct notifier *notifier = context;

	/* Among several instances the one that notifies is it that is heard to be alive. */
	return notifier->outbox && !notifier->handed_over && selfwatch_sees(notifier->watch);
}

void notifier_turn(struct notifier *notifier, bool running, uint64_t clock_ns)
{
	struct notify_receiver_stats receivers[NOTIFIER_RECEIVERS_MAX];
	struct selfwatch_view view = {.now_ns = real_ns(),
				      .steady_ns = uv_hrtime(),
				      .running = running,
				      .clock_ns = clock_ns,
				      .receivers = receivers};

	if (notifier->closing)
		return;
	view.receivers_count = notify_stats(notifier->notify, receivers, NOTIFIER_RECEIVERS_MAX);
	selfwatch_look(notifier->watch, &view);
	notifier_room(notifier);
	notify_turn(notifier->notify);
	if (notifier->started && !notifier->firing && !notifier->outbox)
		open_outbox(notifier);
	if (notifier->reading_until_ns && uv_hrtime() >= notifier->reading_until_ns)
		on_caught_up(notifier);
	if (notifier->hushed_until_ns && uv_hrtime() >= notifier->hushed_until_ns)
		stop_waiting_for_silences(notifier);
	if (in_doubt(notifier))
		return;
	if (notifier->doubt_until_ns) {
		notifier->doubt_until_ns = 0;
		send_or_rest(notifier);
	}
	if (notifier->outbox && !notifier->handed_over)
		commit(notifier);
}

struct notifier_stats notifier_stats(const struct notifier *notifier)
{
	struct notifier_stats stats = {.heartbeat = heartbeat_stats(notifier->heartbeat),
				       .self = selfwatch_stats(notifier->watch),
				       .event_to_webhook = &notifier->event_to_webhook,
				       .read = notifier->read,
				       .undecodable = notifier->undecodable,
				       .unheld = notifier->unheld,
				       .unrouted = notifier->unrouted};

	stats.receivers_count =
		notify_stats(notifier->notify, stats.receivers, NOTIFIER_RECEIVERS_MAX);
	for (size_t i = 0; i < notifier->partitions; i++) {
		const struct reach *reach = &notifier->reaches[i];

		if (reach->committed >= 0 && reach->next > reach->committed)
			stats.behind += (uint64_t)(reach->next - reach->committed);
	}
	return stats;
}

static const char *state_of(const struct notify_receiver_stats *stats)
{
	if (stats->disabled)
		return "disabled";
	if (stats->breaker != BREAKER_CLOSED)
		return breaker_state_name(stats->breaker);
	return stats->failing_since_ns ? "failing" : "ok";
}

size_t notifier_views(const struct notifier *notifier, struct receiver_view *views, size_t max)
{
	struct notify_receiver_stats stats[NOTIFIER_RECEIVERS_MAX];
	size_t count = notify_stats(notifier->notify, stats, NOTIFIER_RECEIVERS_MAX);

	count = count < max ? count : max;
	for (size_t i = 0; i < count; i++) {
		views[i] = (struct receiver_view){.name = stats[i].name,
						  .type = receiver_kind_name(stats[i].kind),
						  .state = state_of(&stats[i]),
						  .waiting = stats[i].pending,
						  .delivered = stats[i].sent,
						  .retried = stats[i].retried,
						  .open = stats[i].open,
						  .delivered_ns = stats[i].delivered_ns,
						  .failing_since_ns = stats[i].failing_since_ns,
						  .resumes_in_ms = stats[i].resumes_in_ms,
						  .last_error = stats[i].last_error};
		for (int reason = 0; reason < NOTIFY_FAILURES; reason++)
			views[i].failed += stats[i].failed[reason];
	}
	return count;
}

void notifier_try(struct notifier *notifier, size_t receiver, const struct alert *alert,
		  notify_tried told, void *context)
{
	notify_try(notifier->notify, receiver, alert, told, context);
}

bool notifier_routes(const struct notifier *notifier, size_t receiver, const struct alert *alert)
{
	return notify_routes(notifier->notify, receiver, alert);
}

static struct notify *make_notify(struct notifier *notifier, const struct receiver *receivers,
				  size_t count, const char **error)
{
	const struct settings *settings = notifier->options.settings;
	const char *link = settings->external_url;
	struct notify_options options = {.receivers = receivers,
					 .receivers_count = count,
					 .external_url = link && link[0] ? link : NULL,
					 .allow_http = settings->allow_http,
					 .allow_private = settings->allow_private,
					 .timeout_ns = settings->notify_timeout_ns,
					 .life_ns = settings->notify_life_ns,
					 .pending_max = (uint32_t)settings->notify_pending_max,
					 .announce_wait_ms = ANNOUNCE_WAIT_MS,
					 .breaker_failures =
						 (uint32_t)settings->notify_breaker_failures,
					 .retry = {settings->notify_retry_min_ns / NS_PER_MS,
						   settings->notify_retry_max_ns / NS_PER_MS},
					 .now_ns = real_ns,
					 .context = notifier,
					 .doubts = doubts,
					 .silenced = silenced_until,
					 .acknowledged = acknowledged,
					 .record = on_record,
					 .given_up = on_given_up,
					 .trouble = on_receiver_trouble};

	return notify_new(notifier->options.loop, &options, error);
}

static struct selfwatch *make_watch(struct notifier *notifier, const struct receiver *receivers,
				    size_t count)
{
	const struct settings *settings = notifier->options.settings;

	return selfwatch_new(
		&(struct selfwatch_options){.journal = settings->notify_journal,
					    .journal_bytes = settings->notify_journal_bytes,
					    .blind_after_ns = settings->notify_blind_after_ns,
					    .lag_max_ns = settings->notify_lag_max_ns,
					    .failing_after_ns = settings->notify_failing_after_ns,
					    .receivers = receivers,
					    .receivers_count = count,
					    .encoder = notifier->encoder,
					    .context = notifier,
					    .settled = on_self_settled,
					    .push = on_self_alert,
					    .trouble = on_self_trouble});
}

static struct heartbeat *make_heartbeat(struct notifier *notifier)
{
	const struct settings *settings = notifier->options.settings;

	if (!settings->notify_heartbeat_url || !settings->notify_heartbeat_url[0])
		return NULL;
	return heartbeat_new(
		notifier->options.loop,
		&(struct heartbeat_options){.url = settings->notify_heartbeat_url,
					    .period_ns = settings->notify_heartbeat_period_ns,
					    .timeout_ns = settings->notify_timeout_ns,
					    .allow_http = settings->allow_http,
					    .allow_private = settings->allow_private,
					    .context = notifier,
					    .sees = sees,
					    .trouble = on_receiver_trouble});
}

struct notifier *notifier_new(const struct notifier_options *options)
{
	struct notifier *notifier = memory_zeroed(1, sizeof(*notifier));
	size_t count;
	struct receiver *receivers = settings_receivers(options->settings, &count);
	const char *error = NULL;

	notifier->options = *options;
	notifier->awake_ns = boot_ns();
	notifier->waiting_end = &notifier->waiting;
	notifier->encoder = encoder_new();
	notifier->firing = firing_new();
	snprintf(notifier->group, sizeof(notifier->group), "%s-notifier",
		 options->settings->kafka_group);
	notifier->notify = make_notify(notifier, receivers, count, &error);
	if (notifier->notify)
		notifier->watch = make_watch(notifier, receivers, count);
	free(receivers);
	if (error)
		log_line(LOG_LEVEL_ERROR, "%s", error);
	/* What was opened the system takes back: a configuration that is refused ends the process.
	 */
	if (!notifier->watch)
		return NULL;
	notifier->heartbeat = make_heartbeat(notifier);
	/* These wait for no Kafka. */
	selfwatch_begin(notifier->watch);
	return notifier;
}

static void on_closed(void *context)
{
	struct notifier *notifier = context;

	notifier->closed = true;
}

bool notifier_closed(const struct notifier *notifier)
{
	return notifier->closed;
}

void notifier_close(struct notifier *notifier)
{
	notifier->closing = true;
	if (notifier->outbox) {
		commit(notifier);
		tail_close(notifier->outbox);
		notifier->outbox = NULL;
	}
	heartbeat_close(notifier->heartbeat);
	notifier->heartbeat = NULL;
	notify_close(notifier->notify, on_closed, notifier);
}

void notifier_free(struct notifier *notifier)
{
	while (notifier->waiting) {
		struct kept *next = notifier->waiting->next;

		free(notifier->waiting);
		notifier->waiting = next;
	}
	notify_free(notifier->notify);
	selfwatch_free(notifier->watch);
	encoder_free(notifier->encoder);
	firing_free(notifier->firing);
	free(notifier->reaches);
	free(notifier);
}
