/* The wall clock, for those who touch the world: what comes after the log never reads it
 * (tests/checks/banned.py). It may step; to measure how long something takes there is uv_hrtime().
 * Any thread. */
#pragma once

#include <stdint.h>
#include <time.h>

#include "base/clock.h"

/* Since 1970. */
static inline uint64_t real_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}
