/* When agents are told to send less: the log is read so far behind that what is in it may be taken
 * by its retention before it is read. Told once the lag was more than half of the retention for
 * SHED_LOOKS looks, again while it lasts, and taken back when it was less than a quarter of it for
 * as many. The decision only; it goes into the log as a control record, so that what it changes is
 * in the log, too. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

/* Whoever dies while agents send less leaves them so for this long at most. */
#define SHED_LIFE_NS  (600 * NS_PER_S)
#define SHED_RENEW_NS (300 * NS_PER_S)

enum { SHED_LOOKS = 3 };

enum shed_step { SHED_NOTHING, SHED_BEGIN, SHED_RENEW, SHED_END };

struct shed {
	uint32_t level; /* 0: agents send all; 1: less */
	uint32_t looks; /* in a row that speak for the other */
	uint64_t told_ns;
};

/* Each second. retention_ns: 0: not known, or without end. */
enum shed_step shed_look(struct shed *shed, uint64_t lag_ns, uint64_t retention_ns,
			 uint64_t now_ns);
