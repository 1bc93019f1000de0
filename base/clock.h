/* Times and panes. All times are unsigned nanoseconds since 1970 unless a name says otherwise.
 * A pane is the pipeline's unit of time: pane k covers [k * PANE_NS, (k + 1) * PANE_NS). */
#pragma once

#include <stdint.h>

#define NS_PER_US 1000ULL
#define NS_PER_MS 1000000ULL
#define NS_PER_S  1000000000ULL
#define PANE_NS	  (250 * NS_PER_MS)

enum { PANES_PER_S = 4, PANES_PER_10S = 10 * PANES_PER_S };

static inline uint64_t pane_of(uint64_t time_ns)
{
	return time_ns / PANE_NS;
}

static inline uint64_t pane_end(uint64_t pane)
{
	return (pane + 1) * PANE_NS;
}

/* Ten seconds by their number, which is never 0 for times of this century. */
static inline uint32_t ten_of(uint64_t time_ns)
{
	return (uint32_t)(time_ns / (PANES_PER_10S * PANE_NS));
}

static inline uint32_t ten_of_pane(uint64_t pane)
{
	return (uint32_t)(pane / PANES_PER_10S);
}
