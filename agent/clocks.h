/* The kernel's clocks, by their names of clock_gettime(2), in nanoseconds. Any thread. */
#pragma once

#include <stdint.h>
#include <time.h>

#include "base/clock.h"

static inline uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}
