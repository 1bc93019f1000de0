/* Watches a cluster and catalogs it, for tests: records of millrace.metadata as JSON, a line each.
 *
 *	kube-watcher KUBECONFIG TOPIC
 *
 * TOPIC: a file of records, each behind its length; what it holds is learnt first, what is told is
 * added. Ends when its input does; the last line is what it counted. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "kube/catalog/catalog.h"
#include "kube/watch.h"

enum { TICK_MS = 100 };

struct watcher {
	uv_loop_t loop;
	uv_pipe_t input;
	uv_timer_t timer;
	struct kube_config config;
	struct kube_watch *watch;
	struct catalog *catalog;
	FILE *topic;
};

static uint64_t real_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void put_line(cJSON *line)
{
	char *text = cJSON_PrintUnformatted(line);
	puts(text);
	fflush(stdout);
	cJSON_free(text);
	cJSON_Delete(line);
}

static void put_pod(cJSON *line, const Millrace__V1__Pod *pod)
{
	cJSON_AddStringToObject(line, "uid", pod->uid);
	cJSON_AddStringToObject(line, "name", pod->name);
	cJSON_AddStringToObject(line, "node", pod->node);
	cJSON_AddStringToObject(line, "workload", pod->workload);
	cJSON_AddStringToObject(line, "workload_kind", pod->workload_kind);
	cJSON_AddStringToObject(line, "version", pod->version);
	char text[16] = "";
	if (pod->n_address && pod->address[0].len == 4) {
		const uint8_t *b = pod->address[0].data;
		snprintf(text, sizeof(text), "%u.%u.%u.%u", b[0], b[1], b[2], b[3]);
	}
	cJSON_AddStringToObject(line, "address", text);
}

static void keep(struct watcher *watcher, const Millrace__V1__Metadata *record)
{
	uint32_t length = (uint32_t)millrace__v1__metadata__get_packed_size(record);
	uint8_t *bytes = malloc(length);
	millrace__v1__metadata__pack(record, bytes);
	fwrite(&length, sizeof(length), 1, watcher->topic);
	fwrite(bytes, length, 1, watcher->topic);
	fflush(watcher->topic);
	free(bytes);
}

static void on_record(void *context, const char *id, const Millrace__V1__Metadata *record)
{
	cJSON *line = cJSON_CreateObject();
	cJSON_AddStringToObject(line, "id", id);
	if (record) {
		keep(context, record);
		cJSON_AddNumberToObject(line, "from_s", (double)record->from_ns / 1e9);
		cJSON_AddNumberToObject(line, "until_s", (double)record->until_ns / 1e9);
		cJSON_AddNumberToObject(line, "observed_s", (double)record->observed_ns / 1e9);
	}
	if (record && record->pod)
		put_pod(cJSON_AddObjectToObject(line, "pod"), record->pod);
	if (record && record->service)
		cJSON_AddStringToObject(line, "service_of", record->service->workload);
	if (record && record->change) {
		cJSON *change = cJSON_AddObjectToObject(line, "change");
		cJSON_AddNumberToObject(change, "kind", record->change->kind);
		cJSON_AddStringToObject(change, "workload", record->change->workload);
		cJSON_AddStringToObject(change, "before", record->change->before);
		cJSON_AddStringToObject(change, "after", record->change->after);
	}
	put_line(line);
}

static void learn(struct watcher *watcher)
{
	uint32_t length;
	rewind(watcher->topic);
	while (fread(&length, sizeof(length), 1, watcher->topic) == 1) {
		uint8_t *bytes = malloc(length);
		if (fread(bytes, length, 1, watcher->topic) != 1)
			abort();
		Millrace__V1__Metadata *record =
			millrace__v1__metadata__unpack(NULL, length, bytes);
		catalog_learn(watcher->catalog, record);
		millrace__v1__metadata__free_unpacked(record, NULL);
		free(bytes);
	}
}

static void on_changed(void *context, const struct kube_object *object)
{
	catalog_put(((struct watcher *)context)->catalog, object, real_ns());
}

static void on_deleted(void *context, enum kube_kind kind, const char *uid,
		       const struct kube_object *object)
{
	catalog_remove(((struct watcher *)context)->catalog, kind, uid, object, real_ns());
}

static void on_synced(void *context, enum kube_kind kind)
{
	struct watcher *watcher = context;
	catalog_synced(watcher->catalog, kind, real_ns());
	cJSON *line = cJSON_CreateObject();
	cJSON_AddStringToObject(line, "synced", kube_kind_name(kind));
	put_line(line);
}

/* The skew nearest to none that the server's answers leave possible. */
static void on_tick(uv_timer_t *timer)
{
	struct watcher *watcher = timer->data;
	struct kube_skew skew = kube_watch_skew(watcher->watch);
	int64_t ahead_ns = skew.least_ns > 0 ? skew.least_ns : skew.most_ns < 0 ? skew.most_ns : 0;
	catalog_skew(watcher->catalog, skew.known ? ahead_ns : 0);
	catalog_advance(watcher->catalog, real_ns());
}

static void put_stats(const struct watcher *watcher)
{
	struct catalog_stats stats = catalog_stats(watcher->catalog);
	cJSON *line = cJSON_CreateObject(), *errors;
	cJSON_AddNumberToObject(line, "pods", (double)stats.live[KUBE_POD]);
	cJSON_AddNumberToObject(line, "bytes", (double)stats.bytes);
	cJSON_AddNumberToObject(line, "records", (double)stats.records);
	cJSON_AddNumberToObject(line, "provisional", (double)stats.provisional);
	cJSON_AddNumberToObject(line, "unreadable", (double)stats.unreadable);
	errors = cJSON_AddObjectToObject(line, "errors");
	for (enum kube_kind kind = 0; kind < KUBE_KINDS; kind++) {
		struct kube_status_of_kind status;
		kube_watch_status(watcher->watch, kind, &status);
		cJSON_AddStringToObject(errors, kube_kind_name(kind), status.error);
	}
	put_line(line);
}

static void on_closed(void *context)
{
	struct watcher *watcher = context;
	uv_close((uv_handle_t *)&watcher->timer, NULL);
}

static void give_room(uv_handle_t *handle, size_t wanted, uv_buf_t *buffer)
{
	static char room[256];
	(void)handle, (void)wanted;
	*buffer = uv_buf_init(room, sizeof(room));
}

static void on_input(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
	struct watcher *watcher = stream->data;
	(void)buffer;
	put_stats(watcher);
	if (length >= 0)
		return;
	kube_watch_close(watcher->watch, on_closed, watcher);
	uv_timer_stop(&watcher->timer);
	uv_close((uv_handle_t *)stream, NULL);
}

static void begin(struct watcher *watcher)
{
	struct catalog_options catalog = {.cluster = "",
					  .keep_ns = 3600 * NS_PER_S,
					  .objects_max = {[KUBE_POD] = 50000},
					  .sink = on_record,
					  .context = watcher};
	struct kube_watch_options watch = {
		.loop = &watcher->loop,
		.config = &watcher->config,
		.kinds = (1U << KUBE_KINDS) - 1,
		.objects_max = 100000,
		.page = KUBE_PAGE,
		.stall_ms = KUBE_STALL_MS,
		.retry_min_ms = KUBE_RETRY_MIN_MS,
		.retry_max_ms = KUBE_RETRY_MAX_MS,
		.sink = {on_changed, on_deleted, on_synced, watcher},
	};
	watcher->catalog = catalog_new(&catalog);
	learn(watcher);
	uv_loop_init(&watcher->loop);
	uv_pipe_init(&watcher->loop, &watcher->input, 0);
	uv_pipe_open(&watcher->input, 0);
	uv_timer_init(&watcher->loop, &watcher->timer);
	watcher->input.data = watcher->timer.data = watcher;
	uv_read_start((uv_stream_t *)&watcher->input, give_room, on_input);
	watcher->watch = kube_watch_new(&watch);
	uv_timer_start(&watcher->timer, on_tick, TICK_MS, TICK_MS);
}

int main(int argc, char **argv)
{
	static struct watcher watcher;
	char why[KUBE_WHY_BYTES];
	if (argc != 3 || kube_config_load(argv[1], NULL, &watcher.config, why))
		return 2;
	watcher.topic = fopen(argv[2], "a+");
	if (!watcher.topic)
		return 2;
	begin(&watcher);
	uv_run(&watcher.loop, UV_RUN_DEFAULT);
	catalog_free(watcher.catalog);
	kube_config_free(&watcher.config);
	fclose(watcher.topic);
	return uv_loop_close(&watcher.loop) != 0;
}
