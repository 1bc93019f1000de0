/* The agents' list: who reports to each task, how it does, and, for AGENT_KEEP_S of log time, who
 * did. A task tells each second which agents it has; what an agent is comes with it when that
 * changed. An agent's state is a function of what was told and of the task's log clock.
 *
 * Bound: the tasks' own, and AGENTS_GONE_MAX a task of those that it has forgotten; beyond it the
 * one that was heard longest ago leaves first, counted. One thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "api/query/query.h"

enum {
	AGENT_SILENT_S = 3, /* as long as the pipeline waits for a node, see Mute in ARCHITECTURE */
	AGENT_BLIND_S = 60, /* two self-tests */
	AGENT_KEEP_S = 3600,
	AGENTS_GONE_MAX = 4096,
};

struct agents;

struct agents *agents_new(uint32_t tasks);
void agents_free(struct agents *agents);
void agents_take(struct agents *agents, uint32_t task, uint64_t clock_ns,
		 const struct agent_view *views, size_t count);
void agents_ledger(struct agents *agents, uint32_t task, const struct ledger *ledger);
