/* The agent keeps its own cost within a share of the node: after each window it looks at the CPU
 * time that it and its BPF programs took, and goes one step down when that was more than the budget
 * for OVER windows in a row: run times are measured in samples, and what one of them says counts
 * until the next, in two windows at most. It goes a step up again after ROOM windows in a row below
 * half of the budget. A step up that turns out to cost too much (a step down within RETRY windows)
 * doubles the wait for the next, up to WAIT_MAX windows, so that a load at the edge does not swing.
 * Steps are numbers: what each leaves out is agent/features.h's.
 *
 * Pure: time and CPU time are arguments. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define BUDGET_WINDOW_NS (10 * (uint64_t)1000000000)
enum {
	BUDGET_OVER_WINDOWS = 3,
	BUDGET_ROOM_WINDOWS = 3,
	BUDGET_RETRY_WINDOWS = 5,     /* more than a step down takes */
	BUDGET_WAIT_WINDOWS_MAX = 60, /* ten minutes */
};

struct budget {
	double share;	/* of the node's CPUs together, 0..1; 0: no bound */
	uint32_t steps; /* there are */
	uint32_t cpus;
	uint32_t level; /* steps taken down */
	double used;	/* share of the last whole window */
	uint64_t began_ns, cpu_ns;
	uint32_t row;	   /* windows in a row above the budget */
	uint32_t room;	   /* windows in a row with room */
	uint32_t wait;	   /* windows with room that a step up wants */
	uint32_t since_up; /* windows since the last step up */
	uint64_t down, up; /* steps ever taken */
	uint64_t over;	   /* windows above the budget, at the last step too */
};

/* share: 0 takes all steps back at once. steps: a level above is taken back. */
void budget_init(struct budget *budget, double share, uint32_t steps, uint32_t cpus,
		 uint64_t now_ns, uint64_t cpu_ns);
void budget_set(struct budget *budget, double share, uint32_t steps);

/* cpu_ns: of the agent and its programs since their start. Whether a window ended; the level may
 * have moved by one. */
bool budget_advance(struct budget *budget, uint64_t now_ns, uint64_t cpu_ns);
