/* What a piece of work costs its thread: CPU time, and instructions where the machine's counters
 * may be read (perf_event_open), else 0. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct cost {
	uint64_t ns, instructions;
};

struct cost cost_now(void);
struct cost cost_since(struct cost before);
void cost_add(struct cost *sum, struct cost cost);
bool cost_counts_instructions(void);
