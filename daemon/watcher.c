#include "daemon/watcher.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/real.h"
#include "base/table.h"
#include "daemon/outputs.h"
#include "daemon/tail.h"
#include "daemon/topics.h"
#include "metadata/record.h"

enum {
	TURN_MS = 1000,
	CONFIRM_TURNS = 60, /* between two records that the cluster is watched */
	/* After a start that failed, or records that Kafka did not take; then twice as long each
	 * time, until one has lived for AGAIN_TURNS_MAX. */
	AGAIN_TURNS = 5,
	AGAIN_TURNS_MAX = 320,
	KINDS_ALL = (1 << KUBE_KINDS) - 1,
};

struct watcher {
	struct watcher_options options;
	bool leads;
	struct tail *tail; /* while it learns, and what was read so far */
	struct table held;
	struct kube_config config;
	struct kube_watch *watch; /* while it watches */
	bool ending;		  /* of the watch: its handles are not gone yet */
	struct catalog *catalog;  /* while it does either */
	uv_timer_t timer;
	uint32_t again_turns;	/* until it begins; 0: it does not wait */
	uint32_t wait_turns;	/* the next time that it must */
	uint32_t lived_turns;	/* of this watch */
	uint32_t confirm_turns; /* until it is said again that it goes on */
	uint64_t since_ns;	/* when it was begun, real time */
	bool again;		/* this one is to end and another to begin */
	uint8_t *bytes;		/* scratch */
	size_t bytes_max;
	char told[KUBE_KINDS][KUBE_SENTENCE_BYTES]; /* errors as they were logged last */
	struct watcher_stats stats;
};

/* A record that the topic holds. */
struct held {
	uint64_t key; /* hash of the topic's key */
	int64_t offset;
	uint8_t *bytes;
	size_t length;
};

/* A record on its way. */
struct parcel {
	struct output_report report; /* first: it is how the record is told of */
	struct watcher *watcher;
};

__attribute__((format(printf, 2, 3))) static void trouble(const struct watcher *watcher,
							  const char *format, ...)
{
	char sentence[KUBE_SENTENCE_BYTES + 256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(sentence, sizeof(sentence), format, arguments);
	va_end(arguments);
	watcher->options.trouble(watcher->options.context, sentence);
}

/* --- records out --- */

static void on_written(struct output_report *report, int rc)
{
	struct parcel *parcel = (struct parcel *)report;

	if (rc) {
		struct watcher *watcher = parcel->watcher;

		watcher->stats.failed++;
		watcher->again = true;
		snprintf(watcher->stats.error, sizeof(watcher->stats.error),
			 "Kafka does not take records of " TOPIC_METADATA
			 ": see millraced's log, and docs/security.md for the right to write it");
	}
	free(parcel);
}

static struct encoded packed(struct watcher *watcher, const Millrace__V1__Metadata *record)
{
	size_t length = millrace__v1__metadata__get_packed_size(record);

	if (length > watcher->bytes_max) {
		watcher->bytes_max = memory_grown(watcher->bytes_max, length);
		watcher->bytes = memory_resize(watcher->bytes, watcher->bytes_max, 1);
	}
	millrace__v1__metadata__pack(record, watcher->bytes);
	return (struct encoded){watcher->bytes, length};
}

/* Without a value the topic forgets the key. */
static void on_catalog(void *context, const char *id, const Millrace__V1__Metadata *record)
{
	struct watcher *watcher = context;
	struct parcel *parcel = memory_zeroed(1, sizeof(*parcel));
	struct encoded value = record ? packed(watcher, record) : (struct encoded){NULL, 0};

	parcel->watcher = watcher;
	parcel->report.told = on_written;
	watcher->stats.written++;
	if (!outputs_try(watcher->options.outputs, TOPIC_METADATA, -1, id, strlen(id), value,
			 &parcel->report))
		on_written(&parcel->report, -EAGAIN);
}

/* --- the cluster --- */

/* The skew nearest to none that the server's answers leave possible. */
static void follow_clock(struct watcher *watcher)
{
	struct kube_skew skew = kube_watch_skew(watcher->watch);

	watcher->stats.skew_ns = !skew.known	     ? 0
				 : skew.least_ns > 0 ? skew.least_ns
				 : skew.most_ns < 0  ? skew.most_ns
						     : 0;
	catalog_skew(watcher->catalog, watcher->stats.skew_ns);
}

static void on_changed(void *context, const struct kube_object *object)
{
	struct watcher *watcher = context;

	follow_clock(watcher);
	catalog_put(watcher->catalog, object, real_ns());
}

static void on_deleted(void *context, enum kube_kind kind, const char *uid,
		       const struct kube_object *object)
{
	struct watcher *watcher = context;

	catalog_remove(watcher->catalog, kind, uid, object, real_ns());
}

static void on_synced(void *context, enum kube_kind kind)
{
	struct watcher *watcher = context;

	catalog_synced(watcher->catalog, kind, real_ns());
}

static void watch(struct watcher *watcher)
{
	const struct watcher_options *options = &watcher->options;

	watcher->watch = kube_watch_new(
		&(struct kube_watch_options){.loop = options->loop,
					     .config = &watcher->config,
					     .kinds = KINDS_ALL,
					     .objects_max = options->objects_max,
					     .page = KUBE_PAGE,
					     .stall_ms = KUBE_STALL_MS,
					     .retry_min_ms = KUBE_RETRY_MIN_MS,
					     .retry_max_ms = KUBE_RETRY_MAX_MS,
					     .wishes = options->wishes,
					     .sink = {on_changed, on_deleted, on_synced, watcher}});
	watcher->stats.begun++;
	watcher->stats.error[0] = '\0';
	watcher->lived_turns = 0;
	watcher->confirm_turns = 0;
	watcher->since_ns = real_ns();
	/* What failed before stands in the topic or is missing there, which it has just read. */
	watcher->again = false;
}

/* --- what the topic holds --- */

static void held_drop(struct watcher *watcher, uint64_t key)
{
	struct held *held = table_find(&watcher->held, &key);

	if (!held)
		return;
	free(held->bytes);
	table_remove(&watcher->held, held);
}

static void held_clear(struct watcher *watcher)
{
	for (uint32_t i = 0; i < watcher->held.count; i++)
		free(((struct held *)table_at(&watcher->held, i))->bytes);
	table_clear(&watcher->held);
}

/* What was compacted away or soon will be has no part in it. */
static void on_record(void *context, const struct tail_record *record)
{
	struct address addresses[FACT_ADDRESSES_MAX];
	struct watcher *watcher = context;
	uint64_t key = hash_bytes(record->key, record->key_length);
	struct fact fact;

	held_drop(watcher, key);
	if (!record->value)
		return;
	/* What readers would refuse is nobody's to go on with. */
	if (record_read(record->value, record->length, NULL, 0, &fact, addresses, NULL) !=
	    RECORD_GOOD)
		return;
	struct held *held = table_put(&watcher->held, &key);

	held->offset = record->offset;
	held->bytes = memory_resize(NULL, record->length, 1);
	held->length = record->length;
	memcpy(held->bytes, record->value, record->length);
}

static int compare_held(const void *a, const void *b)
{
	const struct held *left = *(const struct held *const *)a;
	const struct held *right = *(const struct held *const *)b;

	return left->offset < right->offset ? -1 : left->offset > right->offset;
}

static void learn_held(struct watcher *watcher)
{
	uint32_t count = watcher->held.count;
	const struct held **sorted = memory_resize(NULL, count, sizeof(struct held *));

	for (uint32_t i = 0; i < count; i++)
		sorted[i] = table_at(&watcher->held, i);
	qsort(sorted, count, sizeof(struct held *), compare_held);
	for (uint32_t i = 0; i < count; i++) {
		Millrace__V1__Metadata *message =
			millrace__v1__metadata__unpack(NULL, sorted[i]->length, sorted[i]->bytes);

		if (message)
			catalog_learn(watcher->catalog, message);
		if (message)
			millrace__v1__metadata__free_unpacked(message, NULL);
	}
	memory_free(sorted);
	held_clear(watcher);
}

static void on_caught_up(void *context)
{
	struct watcher *watcher = context;
	uint64_t strangers;

	tail_close(watcher->tail);
	watcher->tail = NULL;
	learn_held(watcher);
	strangers = catalog_stats(watcher->catalog).unreadable;
	if (strangers)
		trouble(watcher,
			"Kubernetes: %llu records of " TOPIC_METADATA
			" are not of cluster \"%s\": nobody ends them; see docs/kubernetes.md",
			(unsigned long long)strangers, watcher->options.cluster);
	watch(watcher);
}

static void on_tail_trouble(void *context, const char *sentence)
{
	struct watcher *watcher = context;

	if (strcmp(watcher->stats.error, sentence) == 0)
		return;
	snprintf(watcher->stats.error, sizeof(watcher->stats.error), "%s", sentence);
	watcher->options.trouble(watcher->options.context, sentence);
}

/* --- beginning and ending --- */

static int load_config(struct watcher *watcher, char why[KUBE_WHY_BYTES])
{
	const struct watcher_options *options = &watcher->options;

	if (options->source == WATCHER_IN_CLUSTER)
		return kube_config_in_cluster(NULL, &watcher->config, why);
	return kube_config_load(options->kubeconfig, options->context_name, &watcher->config, why);
}

static bool learn(struct watcher *watcher, char why[KUBE_WHY_BYTES])
{
	static const char *const topics[] = {TOPIC_METADATA, NULL};
	const struct watcher_options *options = &watcher->options;
	struct catalog_options catalog = {.cluster = options->cluster,
					  .keep_ns = options->keep_ns,
					  .sink = on_catalog,
					  .context = watcher};

	for (int kind = 0; kind < KUBE_KINDS; kind++)
		catalog.objects_max[kind] = options->objects_max;
	watcher->catalog = catalog_new(&catalog);
	watcher->tail = tail_new(&(struct tail_options){.loop = options->loop,
							.brokers = options->brokers,
							.security = options->security,
							.topics = topics,
							.context = watcher,
							.record = on_record,
							.caught_up = on_caught_up,
							.trouble = on_tail_trouble},
				 why, KUBE_WHY_BYTES);
	return watcher->tail != NULL;
}

static void forget(struct watcher *watcher)
{
	held_clear(watcher);
	catalog_free(watcher->catalog);
	watcher->catalog = NULL;
	kube_config_free(&watcher->config);
	watcher->config = (struct kube_config){0};
	memset(watcher->told, 0, sizeof(watcher->told));
	watcher->stats.skew_ns = 0;
}

/* Twice as long each time. */
static void wait_to_begin(struct watcher *watcher)
{
	uint32_t turns = watcher->wait_turns ? watcher->wait_turns : AGAIN_TURNS;

	watcher->again_turns = turns;
	watcher->wait_turns = 2 * turns < AGAIN_TURNS_MAX ? 2 * turns : AGAIN_TURNS_MAX;
}

static void begin(struct watcher *watcher)
{
	char why[KUBE_WHY_BYTES];

	watcher->again_turns = 0;
	if (load_config(watcher, why) == 0 && learn(watcher, why))
		return;
	if (strcmp(why, watcher->stats.error) != 0)
		trouble(watcher, "Kubernetes is not watched: %s", why);
	snprintf(watcher->stats.error, sizeof(watcher->stats.error), "%s", why);
	forget(watcher);
	wait_to_begin(watcher);
}

static void on_watch_closed(void *context)
{
	struct watcher *watcher = context;

	watcher->ending = false;
	forget(watcher);
	if (watcher->leads)
		wait_to_begin(watcher);
}

static void end(struct watcher *watcher)
{
	watcher->again_turns = 0;
	if (watcher->watch) {
		struct kube_watch *watch = watcher->watch;

		watcher->watch = NULL;
		watcher->ending = true;
		kube_watch_close(watch, on_watch_closed, watcher);
		return;
	}
	if (!watcher->tail)
		return;
	tail_close(watcher->tail);
	watcher->tail = NULL;
	forget(watcher);
}

void watcher_lead(struct watcher *watcher, bool leads)
{
	if (watcher->options.source == WATCHER_OFF || leads == watcher->leads)
		return;
	watcher->leads = leads;
	watcher->stats.error[0] = '\0';
	watcher->wait_turns = 0;
	if (!leads)
		end(watcher);
	else if (!watcher->ending)
		begin(watcher);
}

/* --- turns --- */

/* Each sentence once, until it is another. */
static void tell_errors(struct watcher *watcher)
{
	for (int kind = 0; kind < KUBE_KINDS; kind++) {
		struct kube_status_of_kind status;

		kube_watch_status(watcher->watch, kind, &status);
		if (strcmp(status.error, watcher->told[kind]) == 0)
			continue;
		if (status.error[0])
			trouble(watcher, "Kubernetes, %s: %s", kube_kind_name(kind), status.error);
		else if (status.synced)
			trouble(watcher, "Kubernetes, %s: up to date again", kube_kind_name(kind));
		memcpy(watcher->told[kind], status.error, sizeof(watcher->told[kind]));
	}
}

/* What the pods are is known now, whatever else the API server refuses. */
static void confirm(struct watcher *watcher)
{
	Millrace__V1__Metadata record = MILLRACE__V1__METADATA__INIT;
	Millrace__V1__Watch told = MILLRACE__V1__WATCH__INIT;
	struct kube_status_of_kind status;
	char id[CATALOG_ID_MAX + 1];

	kube_watch_status(watcher->watch, KUBE_POD, &status);
	if (!status.synced || status.error[0])
		return;
	snprintf(id, sizeof(id), "%s" RECORD_WATCH_SUFFIX, watcher->options.cluster);
	record.id = id;
	record.version = 1;
	record.cluster = (char *)(uintptr_t)watcher->options.cluster;
	record.from_ns = told.since_ns = watcher->since_ns;
	record.observed_ns = real_ns();
	record.watch = &told;
	on_catalog(watcher, id, &record);
	watcher->confirm_turns = CONFIRM_TURNS;
}

static void on_turn(uv_timer_t *timer)
{
	struct watcher *watcher = timer->data;

	if (watcher->again_turns && --watcher->again_turns == 0)
		begin(watcher);
	if (!watcher->watch)
		return;
	if (++watcher->lived_turns == AGAIN_TURNS_MAX)
		watcher->wait_turns = 0;
	follow_clock(watcher);
	catalog_advance(watcher->catalog, real_ns());
	tell_errors(watcher);
	if (watcher->confirm_turns)
		watcher->confirm_turns--;
	else
		confirm(watcher);
	if (watcher->again)
		end(watcher);
}

struct watcher *watcher_new(const struct watcher_options *options)
{
	struct watcher *watcher = memory_zeroed(1, sizeof(*watcher));

	watcher->options = *options;
	table_init(&watcher->held, sizeof(uint64_t), sizeof(struct held));
	watcher->stats.on = options->source != WATCHER_OFF;
	uv_timer_init(options->loop, &watcher->timer);
	watcher->timer.data = watcher;
	uv_timer_start(&watcher->timer, on_turn, TURN_MS, TURN_MS);
	return watcher;
}

void watcher_stats(const struct watcher *watcher, struct watcher_stats *stats)
{
	*stats = watcher->stats;
	stats->watches = watcher->watch != NULL;
	if (watcher->catalog)
		stats->catalog = catalog_stats(watcher->catalog);
	for (int kind = 0; watcher->watch && kind < KUBE_KINDS; kind++)
		kube_watch_status(watcher->watch, kind, &stats->kinds[kind]);
}

void watcher_close(struct watcher *watcher)
{
	watcher_lead(watcher, false);
	uv_close((uv_handle_t *)&watcher->timer, NULL);
}

void watcher_free(struct watcher *watcher)
{
	if (!watcher)
		return;
	held_clear(watcher);
	table_done(&watcher->held);
	memory_free(watcher->bytes);
	memory_free(watcher);
}
