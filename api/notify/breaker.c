#include "api/notify/breaker.h"

const char *breaker_state_name(enum breaker_state state)
{
	static const char *const names[] = {"closed", "open", "half_open"};

	return state < BREAKER_STATES ? names[state] : "";
}

enum breaker_state breaker_state(const struct breaker *breaker, uint64_t now_ms)
{
	if (breaker->failures < breaker->failures_max)
		return BREAKER_CLOSED;
	return now_ms < breaker->until_ms ? BREAKER_OPEN : BREAKER_HALF_OPEN;
}

void breaker_success(struct breaker *breaker)
{
	breaker->failures = 0;
	breaker->until_ms = 0;
}

void breaker_failure(struct breaker *breaker, uint64_t now_ms, const struct retry_limits *limits,
		     uint64_t dice)
{
	if (breaker_state(breaker, now_ms) == BREAKER_OPEN)
		return;
	if (breaker->failures < UINT32_MAX)
		breaker->failures++;
	if (breaker->failures >= breaker->failures_max)
		breaker->until_ms =
			now_ms +
			retry_backoff_ms(limits, breaker->failures - breaker->failures_max, dice);
}
