/* The running agent: one loop that drains the kernel's ring, scans sockets, seals batches and
 * publishes them. What waits for others (NAT dumps, runtimes' files, cloud metadata) runs in the
 * loop's thread pool, and the keeper (agent/keeper.h) has a thread of its own; all else is one
 * thread. */
#pragma once

#include "agent/options.h"

struct preflight;

/* sources: the keys are read from them again when they change. preflight: what was found missing;
 * more may be added. Until SIGTERM or SIGINT, then seals, flushes (5 s at most) and returns 0;
 * -errno, told on stderr, if it cannot begin. */
int agent_run(const struct agent_options *options, const struct config_sources *sources,
	      struct preflight *preflight);
