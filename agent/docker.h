/* Docker's API: who runs now, who begins, is renamed or short of memory from now on (its event
 * stream), and one container on request. When the daemon goes or is not there, it is tried again
 * after 1 s, and twice as long each time up to 30 s; who runs is asked again then. All in the libuv
 * loop; nothing waits for it. The list is read in the loop's thread pool and told in steps.
 *
 * Bounds: 8 MiB for the list, 1 MiB for a container, 64 KiB for an event, 2 s for an answer; what
 * passes them is left out and counted. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agent/description.h"

struct docker_options {
	uv_loop_t *loop;
	const char *socket; /* lent for its life, as the labels */
	struct label_choice labels;
	void (*told)(void *context, const struct description *description);
	void (*connected)(void *context);
	void *context;
};

struct docker_stats {
	bool connected;
	uint64_t connects, events, errors; /* errors: of a daemon that was there */
};

struct docker;
struct docker *docker_open(const struct docker_options *options);
void docker_close(struct docker *docker);
bool docker_connected(const struct docker *docker);
/* One at a time: answered() is called once, after told() if Docker knows it. */
void docker_inspect(struct docker *docker, const char *id,
		    void (*answered)(void *context, bool known));
struct docker_stats docker_stats(const struct docker *docker);
