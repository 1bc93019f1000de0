/* Finds the descriptions that are wanted: asks Docker over its socket where that is there, and
 * reads the runtimes' files in libuv's thread pool where not, one container at a time. Of a
 * container with ECS's labels it then asks the endpoint of its task for the service, 1 s at most;
 * meanwhile, and without an answer, it goes by the family that its labels tell. An endpoint that
 * failed rests for 10 s, so that it holds up nobody. The agent never waits for any of this.
 *
 * One thread; of the files only the reading is in another. */
#pragma once

#include <stdint.h>
#include <uv.h>

#include "agent/bundles.h"
#include "agent/containers.h"
#include "agent/docker.h"

struct inspector_options {
	uv_loop_t *loop;
	struct containers *containers; /* lent for its life, as all below */
	const char *docker_socket;     /* NULL or "": none; so of the next */
	const char *ecs_endpoint;      /* "169.254.170.2:80" */
	struct bundle_roots roots;
	/* A description came or changed. */
	void (*described)(void *context, const char *id);
	void *context;
};

struct inspector_stats {
	struct docker_stats docker;
	uint64_t files_read; /* jobs in the thread pool */
	uint64_t ecs_asked, ecs_errors;
};

struct inspector;
struct inspector *inspector_open(const struct inspector_options *options);
void inspector_close(struct inspector *inspector);
/* Looks whether somebody is due; call it when containers were wanted, and each tick. */
void inspector_tick(struct inspector *inspector, uint64_t now_ns);
struct inspector_stats inspector_stats(const struct inspector *inspector);
