#include "agent/docker.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/fetch.h"
#include "agent/manifest.h"
#include "base/memory.h"

enum {
	LIST_BYTES = 8 << 20, /* some 4,000 containers */
	INSPECT_BYTES = 1 << 20,
	EVENT_BYTES = 64 << 10,
	TIMEOUT_MS = 2000,
	RETRY_MS = 1000,
	RETRY_MAX_MS = 30000,
	TOLD_A_STEP = 16, /* of a list: each is looked for among all cgroups */
};

/* A list, read in the thread pool; apart from the client, which may be closed while that runs. */
struct listing {
	uv_work_t work;
	struct docker *docker; /* NULL: nobody wants it any more */
	struct label_choice labels;
	char *bytes;
	size_t length;
	struct description scratch, **found;
	size_t count, capacity, told;
	bool read;
};

struct docker {
	struct docker_options options;
	uv_timer_t retry;
	uv_idle_t step;		 /* while a list is being told */
	unsigned handles;	 /* not yet closed */
	struct listing *listing; /* NULL: none */
	uint64_t retry_ms;
	struct fetch *stream, *list, *inspect; /* NULL: none under way */
	void (*answered)(void *context, bool known);
	size_t line_length;
	bool line_skipped; /* the rest of a line that is too long */
	struct docker_stats stats;
	struct description scratch;
	char line[EVENT_BYTES];
};

static void connect_stream(struct docker *docker);

static void on_retry(uv_timer_t *timer)
{
	connect_stream(timer->data);
}

static void listing_free(struct listing *listing)
{
	for (size_t i = 0; i < listing->count; i++)
		free(listing->found[i]);
	free(listing->found);
	free(listing->bytes);
	free(listing);
}

static void keep(void *context, const struct description *description)
{
	struct listing *listing = context;
	if (listing->count == listing->capacity) {
		listing->capacity = memory_grown(listing->capacity, listing->count + 1);
		listing->found =
			memory_resize(listing->found, listing->capacity, sizeof(*listing->found));
	}
	listing->found[listing->count++] = description_copy(description);
}

static void read_listing(uv_work_t *work)
{
	struct listing *listing = work->data;
	listing->read = manifest_list(listing->bytes, listing->length, &listing->labels,
				      &listing->scratch, keep, listing);
}

static void end_listing(struct docker *docker)
{
	listing_free(docker->listing);
	docker->listing = NULL;
	uv_idle_stop(&docker->step);
	docker->options.connected(docker->options.context);
}

static void on_step(uv_idle_t *step)
{
	struct docker *docker = step->data;
	struct listing *listing = docker->listing;
	for (int i = 0; i < TOLD_A_STEP && listing->told < listing->count; i++)
		docker->options.told(docker->options.context, listing->found[listing->told++]);
	if (listing->told == listing->count)
		end_listing(docker);
}

static void on_listing_read(uv_work_t *work, int status)
{
	struct listing *listing = work->data;
	struct docker *docker = listing->docker;
	if (!docker) {
		listing_free(listing);
		return;
	}
	if (status || !listing->read)
		docker->stats.errors++; /* each is asked for by its id then */
	uv_idle_start(&docker->step, on_step);
}

/* What is being read comes back to nobody; what is being told ends. */
static void drop_listing(struct docker *docker)
{
	if (!docker->listing)
		return;
	if (uv_is_active((uv_handle_t *)&docker->step))
		listing_free(docker->listing);
	else
		docker->listing->docker = NULL;
	docker->listing = NULL;
	uv_idle_stop(&docker->step);
}

static void on_list(void *context, int error, unsigned status, const char *bytes, size_t length)
{
	struct docker *docker = context;
	docker->list = NULL;
	if (error || status != 200) {
		docker->stats.errors++;
		docker->options.connected(docker->options.context);
		return;
	}
	struct listing *listing = memory_zeroed(1, sizeof(*listing));
	listing->docker = docker;
	listing->labels = docker->options.labels;
	listing->bytes = memory_resize(NULL, length + 1, 1);
	if (length)
		memcpy(listing->bytes, bytes, length);
	listing->length = length;
	listing->work.data = listing;
	docker->listing = listing;
	uv_queue_work(docker->options.loop, &listing->work, read_listing, on_listing_read);
}

/* The stream has begun, so whoever starts while the list is made is in one of both. */
static void on_stream(void *context)
{
	struct docker *docker = context;
	docker->stats.connected = true;
	docker->stats.connects++;
	docker->retry_ms = RETRY_MS;
	docker->line_length = 0;
	docker->line_skipped = false;
	docker->list = fetch_open(&(struct fetch_options){
		.loop = docker->options.loop,
		.socket = docker->options.socket,
		.target = "/containers/json",
		.timeout_ms = TIMEOUT_MS,
		.bytes_max = LIST_BYTES,
		.done = on_list,
		.context = docker,
	});
}

static void take_line(struct docker *docker)
{
	if (docker->line_skipped) {
		docker->stats.errors++;
	} else if (docker->line_length) {
		docker->stats.events++;
		if (manifest_event(docker->line, docker->line_length, &docker->options.labels,
				   &docker->scratch))
			docker->options.told(docker->options.context, &docker->scratch);
	}
	docker->line_length = 0;
	docker->line_skipped = false;
}

static void on_part(void *context, const char *bytes, size_t length)
{
	struct docker *docker = context;
	while (length) {
		const char *newline = memchr(bytes, '\n', length);
		size_t n = newline ? (size_t)(newline - bytes) : length;
		if (n > sizeof(docker->line) - docker->line_length)
			docker->line_skipped = true;
		if (!docker->line_skipped) {
			memcpy(docker->line + docker->line_length, bytes, n);
			docker->line_length += n;
		}
		if (newline)
			take_line(docker);
		n += newline != NULL;
		bytes += n;
		length -= n;
	}
}

static void on_stream_end(void *context, int error, unsigned status, const char *bytes,
			  size_t length)
{
	struct docker *docker = context;
	(void)bytes, (void)length;
	docker->stream = NULL;
	if (docker->stats.connected || (error && error != -ENOENT && error != -ECONNREFUSED) ||
	    (!error && status != 200))
		docker->stats.errors++;
	docker->stats.connected = false;
	fetch_close(docker->list);
	docker->list = NULL;
	drop_listing(docker);
	uv_timer_start(&docker->retry, on_retry, docker->retry_ms, 0);
	docker->retry_ms =
		docker->retry_ms * 2 < RETRY_MAX_MS ? docker->retry_ms * 2 : RETRY_MAX_MS;
}

static void connect_stream(struct docker *docker)
{
	docker->stream = fetch_open(&(struct fetch_options){
		.loop = docker->options.loop,
		.socket = docker->options.socket,
		/* filters={"type":["container"],"event":["create","start","rename","oom"]} */
		.target = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A"
			  "%5B%22create%22%2C%22start%22%2C%22rename%22%2C%22oom%22%5D%7D",
		.timeout_ms = TIMEOUT_MS,
		.began = on_stream,
		.part = on_part,
		.done = on_stream_end,
		.context = docker,
	});
}

struct docker *docker_open(const struct docker_options *options)
{
	struct docker *docker = memory_zeroed(1, sizeof(*docker));
	docker->options = *options;
	docker->retry_ms = RETRY_MS;
	docker->handles = 2;
	uv_timer_init(options->loop, &docker->retry);
	uv_idle_init(options->loop, &docker->step);
	docker->retry.data = docker->step.data = docker;
	connect_stream(docker);
	return docker;
}

static void on_closed(uv_handle_t *handle)
{
	struct docker *docker = handle->data;
	if (--docker->handles == 0)
		free(docker);
}

void docker_close(struct docker *docker)
{
	if (!docker)
		return;
	fetch_close(docker->stream);
	fetch_close(docker->list);
	fetch_close(docker->inspect);
	drop_listing(docker);
	uv_close((uv_handle_t *)&docker->retry, on_closed);
	uv_close((uv_handle_t *)&docker->step, on_closed);
}

bool docker_connected(const struct docker *docker)
{
	return docker->stats.connected;
}

static void on_inspect(void *context, int error, unsigned status, const char *bytes, size_t length)
{
	struct docker *docker = context;
	docker->inspect = NULL;
	bool known = !error && status == 200 &&
		     manifest_inspect(bytes, length, &docker->options.labels, &docker->scratch);
	if (known)
		docker->options.told(docker->options.context, &docker->scratch);
	else if (error || status != 404)
		docker->stats.errors++;
	docker->answered(docker->options.context, known);
}

void docker_inspect(struct docker *docker, const char *id,
		    void (*answered)(void *context, bool known))
{
	char target[CONTAINER_ID_BYTES + 32];
	assert(!docker->inspect);
	snprintf(target, sizeof(target), "/containers/%s/json", id);
	docker->answered = answered;
	docker->inspect = fetch_open(&(struct fetch_options){
		.loop = docker->options.loop,
		.socket = docker->options.socket,
		.target = target,
		.timeout_ms = TIMEOUT_MS,
		.bytes_max = INSPECT_BYTES,
		.done = on_inspect,
		.context = docker,
	});
}

struct docker_stats docker_stats(const struct docker *docker)
{
	return docker->stats;
}
