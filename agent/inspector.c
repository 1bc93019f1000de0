#include "agent/inspector.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/ecs.h"
#include "agent/fetch.h"
#include "agent/hostport.h"
#include "base/clock.h"
#include "base/memory.h"

enum { ECS_TIMEOUT_MS = 1000 };
#define ECS_REST_NS (10 * NS_PER_S)

/* What the thread pool gets, apart from the inspector: it may be closed while the job runs. */
struct job {
	uv_work_t work;
	struct inspector *inspector; /* NULL: it is gone */
	struct bundle_roots roots;
	struct container_path path;
	struct description description;
	bool found;
};

struct inspector {
	struct inspector_options options;
	struct docker *docker; /* NULL: no socket is configured */
	struct job *job;       /* NULL: no file is read */
	bool asking;	       /* Docker */
	struct container_path asked;
	bool has_ecs; /* an endpoint is configured */
	struct sockaddr_storage ecs;
	struct fetch *fetch;	       /* NULL: it is not asked */
	struct description *ecs_asked; /* whose task it is asked for */
	uint64_t ecs_rests_ns;	       /* until then */
	uint64_t now_ns;
	struct inspector_stats stats;
};

static void put(struct inspector *inspector, const struct description *description)
{
	if (containers_put(inspector->options.containers, description, inspector->now_ns))
		inspector->options.described(inspector->options.context, description->id);
}

/* ---- ECS ---- */

static void put_part(struct inspector *inspector, const struct description *description)
{
	struct description *part = description_copy(description);
	part->partial = true;
	put(inspector, part);
	free(part);
}

/* service: empty for a task of none. */
static void put_whole(struct inspector *inspector, const struct description *description,
		      const char *service)
{
	struct description *whole = memory_zeroed(1, sizeof(*whole));
	memcpy(whole, description, offsetof(struct description, text) + description->text_bytes);
	description_set(whole, DESCRIPTION_SERVICE, service);
	description_set(whole, DESCRIPTION_WORKLOAD, service);
	put(inspector, whole);
	free(whole);
}

static void on_task(void *context, int error, unsigned status, const char *bytes, size_t length)
{
	struct inspector *inspector = context;
	struct description *asked = inspector->ecs_asked;
	char service[DESCRIPTION_WORD_BYTES];
	inspector->fetch = NULL;
	inspector->ecs_asked = NULL;
	if (!error && status == 200 && ecs_answer(bytes, length, asked->id, service)) {
		put_whole(inspector, asked, service);
	} else {
		inspector->stats.ecs_errors++;
		if (error)
			inspector->ecs_rests_ns = inspector->now_ns + ECS_REST_NS;
		put_part(inspector, asked);
	}
	free(asked);
	inspector_tick(inspector, inspector->now_ns);
}

static void ask_task(struct inspector *inspector, const struct description *description)
{
	char target[DESCRIPTION_TASK_BYTES + 16];
	snprintf(target, sizeof(target), "/v4/%s/task", description->task);
	inspector->ecs_asked = description_copy(description);
	inspector->stats.ecs_asked++;
	inspector->fetch = fetch_open(&(struct fetch_options){
		.loop = inspector->options.loop,
		.address = (const struct sockaddr *)&inspector->ecs,
		.target = target,
		.timeout_ms = ECS_TIMEOUT_MS,
		.bytes_max = ECS_ANSWER_MAX_BYTES,
		.done = on_task,
		.context = inspector,
	});
}

/* Who has a service keeps it: later words of Docker's do not tell it. */
static void take_ecs(struct inspector *inspector, const struct description *description)
{
	const struct description *known =
		containers_get(inspector->options.containers, description->id, inspector->now_ns);
	bool old = description->inspected && !description->task[0]; /* its agent has no version 4 */
	if (known && !known->partial)
		put_whole(inspector, description, description_get(known, DESCRIPTION_SERVICE));
	else if (old)
		put(inspector, description);
	else if (description->inspected && !inspector->fetch &&
		 inspector->now_ns >= inspector->ecs_rests_ns)
		ask_task(inspector, description);
	else
		put_part(inspector, description);
}

static void on_told(void *context, const struct description *description)
{
	struct inspector *inspector = context;
	if (inspector->has_ecs &&
	    strcmp(description_get(description, DESCRIPTION_RUNTIME), "ecs") == 0)
		take_ecs(inspector, description);
	else
		put(inspector, description);
}

static void on_connected(void *context)
{
	struct inspector *inspector = context;
	containers_again(inspector->options.containers, inspector->now_ns);
}

static void read_files(uv_work_t *work)
{
	struct job *job = work->data;
	job->found = bundle_read(&job->roots, &job->path, &job->description);
}

static void on_files(uv_work_t *work, int status)
{
	struct job *job = work->data;
	struct inspector *inspector = job->inspector;
	if (inspector) {
		inspector->job = NULL;
		if (!status && job->found)
			on_told(inspector, &job->description);
		inspector_tick(inspector, inspector->now_ns);
	}
	free(job);
}

static void start_files(struct inspector *inspector, const struct container_path *path)
{
	struct job *job = memory_zeroed(1, sizeof(*job));
	job->inspector = inspector;
	job->roots = inspector->options.roots;
	job->path = *path;
	job->work.data = job;
	inspector->job = job;
	inspector->stats.files_read++;
	uv_queue_work(inspector->options.loop, &job->work, read_files, on_files);
}

static void on_answered(void *context, bool known)
{
	struct inspector *inspector = context;
	inspector->asking = false;
	if (!known)
		start_files(inspector, &inspector->asked);
	else
		inspector_tick(inspector, inspector->now_ns);
}

/* Docker's containers, and those of which the path does not tell whose they are. */
static bool docker_may_know(const struct container_path *path)
{
	return !path->runtime[0] || strcmp(path->runtime, "docker") == 0 ||
	       strcmp(path->runtime, "ecs") == 0;
}

void inspector_tick(struct inspector *inspector, uint64_t now_ns)
{
	inspector->now_ns = now_ns;
	if (inspector->asking || inspector->job || inspector->fetch ||
	    !containers_due(inspector->options.containers, now_ns, &inspector->asked))
		return;
	if (inspector->docker && docker_connected(inspector->docker) &&
	    docker_may_know(&inspector->asked)) {
		inspector->asking = true;
		docker_inspect(inspector->docker, inspector->asked.id, on_answered);
		return;
	}
	start_files(inspector, &inspector->asked);
}

struct inspector *inspector_open(const struct inspector_options *options)
{
	struct inspector *inspector = memory_zeroed(1, sizeof(*inspector));
	inspector->options = *options;
	inspector->has_ecs = options->ecs_endpoint && options->ecs_endpoint[0] &&
			     hostport_parse(options->ecs_endpoint, &inspector->ecs) == 0;
	if (options->docker_socket && options->docker_socket[0])
		inspector->docker = docker_open(&(struct docker_options){
			.loop = options->loop,
			.socket = options->docker_socket,
			.labels = options->roots.labels,
			.told = on_told,
			.connected = on_connected,
			.context = inspector,
		});
	return inspector;
}

void inspector_close(struct inspector *inspector)
{
	if (!inspector)
		return;
	docker_close(inspector->docker);
	fetch_close(inspector->fetch);
	free(inspector->ecs_asked);
	if (inspector->job)
		inspector->job->inspector = NULL;
	free(inspector);
}

struct inspector_stats inspector_stats(const struct inspector *inspector)
{
	struct inspector_stats stats = inspector->stats;
	if (inspector->docker)
		stats.docker = docker_stats(inspector->docker);
	return stats;
}
