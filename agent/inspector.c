#include "agent/inspector.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

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
	uint64_t now_ns;
	struct inspector_stats stats;
};

static void on_told(void *context, const struct description *description)
{
	struct inspector *inspector = context;
	if (containers_put(inspector->options.containers, description, inspector->now_ns))
		inspector->options.described(inspector->options.context, description->id);
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
	if (inspector->asking || inspector->job ||
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
