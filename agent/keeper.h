/* The one thread that keeps capabilities when the rest of the agent has given its own away
 * (capabilities belong to threads). It does one short job at a time for whoever calls: entering a
 * network namespace, reading what belongs to another user's process, attaching a program again.
 * Everything else that the agent does needs none: what was opened before stays open.
 *
 * Bound: one job at a time, its caller waits, others wait in turn. Without a keeper the caller does
 * the job itself, with what capabilities it has. Any thread. */
#pragma once

#include <stdint.h>

/* capabilities: bits, of which it takes those that the caller has. 0 or -errno. */
int keeper_open(uint64_t capabilities);
/* Never from within a job. */
void keeper_run(void (*job)(void *argument), void *argument);
/* No job may be under way. */
void keeper_close(void);
