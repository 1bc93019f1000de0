/* The running agent: one loop that drains the kernel's ring, scans sockets, seals batches and
 * publishes them. NAT dumps run in the loop's thread pool, since a thread must enter each
 * namespace; all else is one thread. */
#pragma once

#include <stdio.h>

#include "agent/options.h"

/* Until SIGTERM or SIGINT, then seals, flushes (5 s at most) and returns 0; -errno, told on stderr,
 * if it cannot begin. */
int agent_run(const struct agent_options *options);
