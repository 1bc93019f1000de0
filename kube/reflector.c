#include "kube/reflector.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/real.h"
#include "kube/body.h"
#include "kube/known.h"

enum {
	OBJECT_BYTES_MAX = 16 << 20, /* etcd takes 1.5 MiB, unless it is told otherwise */
	TARGET_BYTES = 3 * KUBE_CONTINUE_MAX + 512,
	PAGES_MAX = 2000, /* a million objects */
	LIST_IDLE_MS = 30000,
	WATCH_MIN_S = 300, /* the server ends a watch after so long, up to twice */
	STEADY_MS = 5000,  /* a watch that lived for that long was none that failed */
	SILENT_MAX = 2,	   /* watches in a row that brought nothing, before a new list */
	REFUSED_MAX = 5,   /* so of those that the server refused */
};

static const struct {
	const char *name, *path;
} resources[KUBE_KINDS] = {
	[KUBE_NAMESPACE] = {"namespaces", "/api/v1/namespaces"},
	[KUBE_NODE] = {"nodes", "/api/v1/nodes"},
	[KUBE_REPLICA_SET] = {"replicasets", "/apis/apps/v1/replicasets"},
	[KUBE_JOB] = {"jobs", "/apis/batch/v1/jobs"},
	[KUBE_POD] = {"pods", "/api/v1/pods"},
	[KUBE_SERVICE] = {"services", "/api/v1/services"},
	[KUBE_ENDPOINT_SLICE] = {"endpointslices", "/apis/discovery.k8s.io/v1/endpointslices"},
};

struct kube_reflector {
	struct kube_reflector_options options;
	uv_timer_t timer;
	struct kube_call *call; /* NULL: none under way */
	struct kube_body body;
	struct kube_known *known;
	bool watching;	   /* what the call, or the next one, is */
	bool fresh;	   /* the last call hung: not over its connection */
	bool expired;	   /* of this watch: the server has forgotten the version */
	bool back;	   /* of this watch: the server knows less than it did */
	bool garbage;	   /* of this call: what came is none of its kind */
	uint32_t silent;   /* watches in a row that brought nothing */
	uint32_t refused;  /* so of those that were refused, for the version as it seems */
	uint32_t failures; /* in a row */
	uint32_t round, pages;
	uint64_t began_ms, came;	    /* of this call: when, events that it brought */
	char version[KUBE_VERSION_MAX + 1]; /* to watch from */
	char next[KUBE_CONTINUE_MAX + 1];   /* the list's next page */
	char said[KUBE_MESSAGE_MAX + 1];    /* by an ERROR event */
	struct kube_status_of_kind status;
	void (*closed)(void *context);
	void *closed_context;
};

const char *kube_kind_name(enum kube_kind kind)
{
	return resources[kind].name;
}

static void set_error(struct kube_reflector *reflector, const char *error)
{
	char sentence[KUBE_SENTENCE_BYTES] = "";
	if (*error)
		snprintf(sentence, sizeof(sentence), "%s %s: %s",
			 reflector->watching ? "watching" : "listing",
			 kube_kind_name(reflector->options.kind), error);
	if (strcmp(sentence, reflector->status.error) == 0)
		return;
	memcpy(reflector->status.error, sentence, sizeof(sentence));
	reflector->status.since_ns = real_ns();
}

/* ---- objects ---- */

static void tell_deleted(void *context, const char *uid)
{
	struct kube_reflector *reflector = context;
	const struct kube_sink *sink = &reflector->options.watch->sink;
	reflector->status.deleted++;
	sink->deleted(sink->context, reflector->options.kind, uid, NULL);
}

static void put_object(struct kube_reflector *reflector, const struct kube_object *object)
{
	const struct kube_sink *sink = &reflector->options.watch->sink;
	enum kube_news news = kube_known_put(reflector->known, object->uid,
					     object->resource_version, reflector->round);
	reflector->status.refused += news == KUBE_NEWS_FULL;
	if (news == KUBE_NEWS_SAME || news == KUBE_NEWS_FULL)
		return;
	reflector->status.told++;
	sink->changed(sink->context, object);
}

static void drop_object(struct kube_reflector *reflector, const struct kube_object *object)
{
	const struct kube_sink *sink = &reflector->options.watch->sink;
	if (!kube_known_drop(reflector->known, object->uid))
		return;
	reflector->status.deleted++;
	sink->deleted(sink->context, reflector->options.kind, object->uid, object);
}

/* Versions of one server are whole numbers that grow; where they are not, nothing is known. */
static bool is_before(const char *version, const char *other)
{
	size_t length = strlen(version), other_length = strlen(other);
	if (strspn(version, "0123456789") != length || strspn(other, "0123456789") != other_length)
		return false;
	return length != other_length ? length < other_length : strcmp(version, other) < 0;
}

static bool take_bookmark(struct kube_reflector *reflector, const uint8_t *bytes, size_t length)
{
	char version[KUBE_VERSION_MAX + 1];
	if (!kube_version_of(bytes, length, version))
		return true;
	reflector->back = is_before(version, reflector->version);
	if (reflector->back)
		return false; /* it was restored from a backup: what it will tell we would miss */
	memcpy(reflector->version, version, sizeof(version));
	return true;
}

static bool take_error(struct kube_reflector *reflector, const uint8_t *bytes, size_t length)
{
	struct kube_status status;
	kube_status_read(bytes, length, &status);
	reflector->expired = status.code == 410;
	snprintf(reflector->said, sizeof(reflector->said), "%s",
		 status.message[0] ? status.message : "the server ended it");
	return false;
}

static bool on_object(void *context, enum kube_event event, const uint8_t *bytes, size_t length)
{
	struct kube_reflector *reflector = context;
	char version[KUBE_VERSION_MAX + 1];
	if (event == KUBE_ERROR)
		return take_error(reflector, bytes, length);
	reflector->came++;
	reflector->status.events += event != KUBE_LISTED;
	if (event == KUBE_BOOKMARK)
		return take_bookmark(reflector, bytes, length);
	const struct kube_object *object = kube_reader_object(
		reflector->options.reader, reflector->options.kind, bytes, length);
	if (object && event == KUBE_DELETED)
		drop_object(reflector, object);
	else if (object)
		put_object(reflector, object);
	if (event != KUBE_LISTED && kube_version_of(bytes, length, version))
		memcpy(reflector->version, version, sizeof(version));
	return true;
}

/* ---- calls ---- */

static void begin_call(struct kube_reflector *reflector);

static void on_timer(uv_timer_t *timer)
{
	begin_call(timer->data);
}

static void call_in(struct kube_reflector *reflector, uint64_t delay_ms)
{
	uv_timer_start(&reflector->timer, on_timer, delay_ms, 0);
}

static uint64_t backoff_ms(struct kube_reflector *reflector, uint32_t retry_after_s)
{
	const struct kube_watch_options *watch = reflector->options.watch;
	uint64_t dice = hash_mix(uv_hrtime() ^ (uintptr_t)reflector);
	uint64_t delay = watch->retry_min_ms;
	for (uint32_t i = 1; i < reflector->failures && delay < watch->retry_max_ms; i++)
		delay *= 2;
	if (delay > watch->retry_max_ms)
		delay = watch->retry_max_ms;
	uint64_t spared = dice % (delay / 2 + 1);
	if (retry_after_s)
		return retry_after_s * 1000ULL + spared;
	return delay - spared;
}

static void fail(struct kube_reflector *reflector, const char *error, uint32_t retry_after_s)
{
	reflector->failures++;
	reflector->status.failures++;
	set_error(reflector, error);
	call_in(reflector, backoff_ms(reflector, retry_after_s));
}

/* From the beginning, but not for ever at once. */
static void begin_list(struct kube_reflector *reflector, const char *why)
{
	reflector->watching = false;
	reflector->next[0] = '\0';
	reflector->silent = reflector->refused = 0;
	if (reflector->failures++ == 0)
		call_in(reflector, 0);
	else {
		set_error(reflector, why);
		call_in(reflector, backoff_ms(reflector, 0));
	}
}

static void end_list(struct kube_reflector *reflector)
{
	const struct kube_sink *sink = &reflector->options.watch->sink;
	kube_known_sweep(reflector->known, reflector->round, tell_deleted, reflector);
	memcpy(reflector->version, reflector->body.resource_version, sizeof(reflector->version));
	reflector->watching = true;
	if (!reflector->status.synced)
		reflector->status.since_ns = real_ns();
	reflector->status.synced = true;
	set_error(reflector, "");
	sink->synced(sink->context, reflector->options.kind);
	call_in(reflector, 0);
}

static void end_page(struct kube_reflector *reflector, const struct kube_answer *answer)
{
	if (answer->status == 410) {
		reflector->status.expired++;
		begin_list(reflector, answer->error);
	} else if (answer->status != 200 || (!answer->whole && !reflector->garbage)) {
		reflector->next[0] = '\0';
		fail(reflector, answer->error, answer->retry_after_s);
	} else if (!kube_body_is_whole(&reflector->body)) {
		reflector->next[0] = '\0';
		fail(reflector, "the answer is none of Kubernetes", 0);
	} else if (!reflector->body.next[0]) {
		end_list(reflector);
	} else if (++reflector->pages == PAGES_MAX) {
		reflector->next[0] = '\0';
		fail(reflector, "the list does not end", 0);
	} else {
		memcpy(reflector->next, reflector->body.next, sizeof(reflector->next));
		call_in(reflector, 0);
	}
}

/* It may be the version that it does not like, as when it was restored from a backup. */
static bool is_refusal(long status)
{
	return status >= 400 && status != 401 && status != 403 && status != 429;
}

static void end_watch(struct kube_reflector *reflector, const struct kube_answer *answer)
{
	const char *error = reflector->said[0] ? reflector->said : answer->error;
	uint64_t lived_ms = uv_now(reflector->options.watch->loop) - reflector->began_ms;
	bool went = answer->status == 200 && (reflector->came || lived_ms >= STEADY_MS);
	reflector->silent = reflector->came ? 0 : reflector->silent + (answer->status == 200);
	reflector->refused = is_refusal(answer->status) ? reflector->refused + 1 : 0;
	if (went)
		reflector->failures = 0;
	if (reflector->expired || answer->status == 410) {
		reflector->status.expired++;
		begin_list(reflector, error);
	} else if (answer->status == 200 && reflector->garbage) {
		reflector->status.failures++;
		begin_list(reflector, "what came is no watch of Kubernetes");
	} else if (reflector->back) {
		begin_list(reflector, "the server knows less than it did");
	} else if (reflector->refused >= REFUSED_MAX || reflector->silent >= SILENT_MAX) {
		begin_list(reflector, error);
	} else if (went && !*error) {
		call_in(reflector, 0);
	} else {
		fail(reflector, *error ? error : "it ended at once", answer->retry_after_s);
	}
}

static void on_done(void *context, const struct kube_answer *answer)
{
	struct kube_reflector *reflector = context;
	reflector->call = NULL;
	reflector->fresh = answer->idle;
	reflector->status.stalled += answer->idle;
	reflector->status.oversized += reflector->body.oversized;
	if (reflector->watching)
		end_watch(reflector, answer);
	else
		end_page(reflector, answer);
	reflector->status.objects = kube_known_count(reflector->known);
	kube_body_done(&reflector->body);
}

static void on_head(void *context, const struct kube_head *head)
{
	struct kube_reflector *reflector = context;
	if (head->date_s)
		kube_skew_tell(reflector->options.skew, head->date_s, head->sent_ns, head->came_ns);
	if (head->status == 200 && reflector->watching)
		set_error(reflector, "");
}

static bool on_body(void *context, const uint8_t *bytes, size_t length)
{
	struct kube_reflector *reflector = context;
	if (kube_body_push(&reflector->body, bytes, length))
		return true;
	reflector->garbage = !reflector->back && !reflector->expired && !reflector->said[0];
	return false;
}

/* ---- targets ---- */

/* As a query's value (RFC 3986, 2.3). */
static size_t escape(const char *text, char *out, size_t room)
{
	size_t at = 0;
	for (; *text && at + 4 < room; text++)
		if (isalnum((unsigned char)*text) || strchr("-._~", *text))
			out[at++] = *text;
		else
			at += (size_t)snprintf(out + at, room - at, "%%%02X", (uint8_t)*text);
	out[at] = '\0';
	return at;
}

static void write_target(struct kube_reflector *reflector, char target[TARGET_BYTES])
{
	const char *path = resources[reflector->options.kind].path;
	uint64_t dice = hash_mix(uv_hrtime() + (uintptr_t)reflector);
	size_t at;
	if (reflector->watching) {
		at = (size_t)snprintf(target, TARGET_BYTES,
				      "%s?watch=true&allowWatchBookmarks=true&timeoutSeconds=%u"
				      "&resourceVersion=",
				      path, WATCH_MIN_S + (unsigned)(dice % WATCH_MIN_S));
		escape(reflector->version, target + at, TARGET_BYTES - at);
	} else {
		at = (size_t)snprintf(target, TARGET_BYTES, "%s?limit=%u", path,
				      reflector->options.watch->page);
		if (reflector->next[0]) {
			at += (size_t)snprintf(target + at, TARGET_BYTES - at, "&continue=");
			escape(reflector->next, target + at, TARGET_BYTES - at);
		}
	}
}

static void begin_call(struct kube_reflector *reflector)
{
	const struct kube_watch_options *watch = reflector->options.watch;
	char target[TARGET_BYTES];
	bool first = !reflector->watching && !reflector->next[0];
	kube_body_init(&reflector->body,
		       &(struct kube_body_options){.watch = reflector->watching,
						   .object_bytes_max = OBJECT_BYTES_MAX,
						   .object = on_object,
						   .context = reflector});
	if (first)
		reflector->pages = 0;
	reflector->round += first;
	reflector->status.lists += first;
	reflector->status.watches += reflector->watching;
	reflector->expired = reflector->back = reflector->garbage = false;
	reflector->said[0] = '\0';
	reflector->came = 0;
	reflector->began_ms = uv_now(watch->loop);
	write_target(reflector, target);
	reflector->call = kube_client_get(
		reflector->options.client,
		&(struct kube_call_options){
			.target = target,
			.watch = reflector->watching,
			.idle_ms = reflector->watching || watch->stall_ms < LIST_IDLE_MS
					   ? watch->stall_ms
					   : LIST_IDLE_MS,
			.fresh = reflector->fresh,
			.head = on_head,
			.body = on_body,
			.done = on_done,
			.context = reflector,
		});
}

/* ---- */

struct kube_reflector *kube_reflector_new(const struct kube_reflector_options *options)
{
	struct kube_reflector *reflector = memory_zeroed(1, sizeof(*reflector));
	reflector->options = *options;
	reflector->known = kube_known_new(options->watch->objects_max);
	reflector->status.since_ns = real_ns();
	uv_timer_init(options->watch->loop, &reflector->timer);
	reflector->timer.data = reflector;
	begin_call(reflector);
	return reflector;
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct kube_reflector *reflector = handle->data;
	void (*closed)(void *context) = reflector->closed;
	void *closed_context = reflector->closed_context;
	kube_body_done(&reflector->body);
	kube_known_free(reflector->known);
	free(reflector);
	closed(closed_context);
}

void kube_reflector_close(struct kube_reflector *reflector, void (*closed)(void *context),
			  void *context)
{
	reflector->closed = closed;
	reflector->closed_context = context;
	if (reflector->call)
		kube_call_end(reflector->call);
	uv_close((uv_handle_t *)&reflector->timer, on_timer_closed);
}

const struct kube_status_of_kind *kube_reflector_status(struct kube_reflector *reflector)
{
	reflector->status.objects = kube_known_count(reflector->known);
	return &reflector->status;
}
