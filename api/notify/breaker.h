/* A circuit breaker: closed it lets all through; failures in a row open it; open it lets nothing
 * through until its wait is over; then, half open, one probe at a time decides. Pure: time, dice
 * and limits are arguments. */
#pragma once

#include <stdint.h>

#include "api/notify/retry.h"

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN, BREAKER_STATES };

struct breaker {
	uint32_t failures;     /* in a row */
	uint32_t failures_max; /* so many open it */
	uint64_t until_ms;     /* open until then */
};

const char *breaker_state_name(enum breaker_state state); /* closed, open, half_open */
enum breaker_state breaker_state(const struct breaker *breaker, uint64_t now_ms);
void breaker_success(struct breaker *breaker);
/* What fails while it is open was under way before: it changes nothing. */
void breaker_failure(struct breaker *breaker, uint64_t now_ms, const struct retry_limits *limits,
		     uint64_t dice);
