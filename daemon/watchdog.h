/* Watches over the workers' loops. A turn of a loop that takes longer than WATCHDOG_STALL_NS is
 * counted. A loop that is in a turn and does not get on (no record read, no stage run, nothing
 * waited for that may take long) for the time given hangs: the process ends by abort(), so that
 * whoever supervises it starts it anew, from its snapshot.
 *
 * The time is told in looks of the watchdog's own thread, so that a process that was stopped, or
 * that gets little of the processor, is not taken for one that hangs; by a clock that nobody sets.
 * Each thread has a place of its own; what a thread tells costs a store, and two looks at the clock
 * a turn. */
#pragma once

#include <stdint.h>

#include "base/clock.h"

struct watchdog;

#define WATCHDOG_STALL_NS (100 * NS_PER_MS)
#define WATCHDOG_LOOK_NS  (100 * NS_PER_MS)

struct watchdog_stats {
	uint64_t turns;	  /* that took longer than WATCHDOG_STALL_NS */
	double longest_s; /* turn so far */
};

/* hang_ns: 0: nothing is ended. NULL if its thread cannot be started. */
struct watchdog *watchdog_new(uint32_t threads, uint64_t hang_ns);
void watchdog_free(struct watchdog *watchdog);
struct watchdog_stats watchdog_stats(const struct watchdog *watchdog);

/* The calling thread takes this place, 0..threads - 1. What follows does nothing on a thread
 * without a place. */
void watchdog_join(struct watchdog *watchdog, uint32_t thread);
void watchdog_begin(void); /* of a turn */
void watchdog_end(void);
void watchdog_beat(void); /* it gets on, or waits for what may take long */
