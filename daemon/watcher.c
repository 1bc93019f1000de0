#include "daemon/watcher.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"
#include "daemon/outputs.h"
#include "daemon/tail.h"
#include "daemon/topics.h"
#include "metadata/record.h"

enum {
	TURN_MS = 1000,
	/* After a start that failed, or records that Kafka did not take. */
	AGAIN_TURNS = 5,
	KINDS_ALL = (1 << KUBE_KINDS) - 1,
};

struct watcher {
	struct watcher_options options;
	bool leads, closed;
	struct tail *tail; /* while it learns */
	struct kube_config config;
	struct kube_watch *watch; /* while it watches */
	bool ending;		  /* of the watch: its handles are not gone yet */
	struct catalog *catalog;  /* while it does either */
	uv_timer_t timer;
	uint32_t again_turns; /* until it begins; 0: it does not wait */
	bool again;	      /* this one is to end and another to begin */
	uint8_t *bytes;	      /* scratch */
	size_t bytes_max;
	char told[KUBE_KINDS][KUBE_SENTENCE_BYTES]; /* errors as they were logged last */
	struct watcher_stats stats;
};

/* A record on its way. */
struct parcel {
	struct output_report report; /* first: it is how the record is told of */
	struct watcher *watcher;
};

static uint64_t real_ns(void)
{
	struct timespec real;

	clock_gettime(CLOCK_REALTIME, &real);
	return (uint64_t)real.tv_sec * NS_PER_S + (uint64_t)real.tv_nsec;
}

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

static void begin_again(struct watcher *watcher)
{
	watcher->again = true;
}

static void on_written(struct output_report *report, int rc)
{
	struct parcel *parcel = (struct parcel *)report;

	if (rc) {
		parcel->watcher->stats.failed++;
		begin_again(parcel->watcher);
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
}

/* --- what the topic holds --- */

static void on_record(void *context, const struct tail_record *record)
{
	struct address addresses[FACT_ADDRESSES_MAX];
	struct watcher *watcher = context;
	Millrace__V1__Metadata *message;
	struct fact fact;

	/* What readers would refuse is nobody's to go on with. */
	if (!record->value ||
	    record_read(record->value, record->length, NULL, 0, &fact, addresses) != RECORD_GOOD)
		return;
	message = millrace__v1__metadata__unpack(NULL, record->length, record->value);
	if (!message)
		return;
	catalog_learn(watcher->catalog, message);
	millrace__v1__metadata__free_unpacked(message, NULL);
}

static void on_caught_up(void *context)
{
	struct watcher *watcher = context;

	tail_close(watcher->tail);
	watcher->tail = NULL;
	watch(watcher);
}

static void on_tail_trouble(void *context, const char *sentence)
{
	const struct watcher *watcher = context;

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
	catalog_free(watcher->catalog);
	watcher->catalog = NULL;
	kube_config_free(&watcher->config);
	watcher->config = (struct kube_config){0};
}

static void begin(struct watcher *watcher)
{
	char why[KUBE_WHY_BYTES];

	watcher->again = false;
	watcher->again_turns = 0;
	if (load_config(watcher, why) == 0 && learn(watcher, why)) {
		watcher->stats.error[0] = '\0';
		return;
	}
	if (strcmp(why, watcher->stats.error) != 0)
		trouble(watcher, "Kubernetes is not watched: %s", why);
	snprintf(watcher->stats.error, sizeof(watcher->stats.error), "%s", why);
	forget(watcher);
	watcher->again_turns = AGAIN_TURNS;
}

static void on_watch_closed(void *context)
{
	struct watcher *watcher = context;

	watcher->ending = false;
	forget(watcher);
	if (watcher->leads)
		watcher->again_turns = AGAIN_TURNS;
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
		else
			trouble(watcher, "Kubernetes, %s: up to date again", kube_kind_name(kind));
		memcpy(watcher->told[kind], status.error, sizeof(watcher->told[kind]));
	}
}

static void on_turn(uv_timer_t *timer)
{
	struct watcher *watcher = timer->data;

	if (watcher->again_turns && --watcher->again_turns == 0)
		begin(watcher);
	if (!watcher->watch)
		return;
	follow_clock(watcher);
	catalog_advance(watcher->catalog, real_ns());
	tell_errors(watcher);
	if (watcher->again)
		end(watcher);
}

struct watcher *watcher_new(const struct watcher_options *options)
{
	struct watcher *watcher = memory_zeroed(1, sizeof(*watcher));

	watcher->options = *options;
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
	memory_free(watcher->bytes);
	memory_free(watcher);
}
