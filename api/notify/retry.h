/* When to try a receiver again. Pure: the time and the dice are arguments. */
#pragma once

#include <stdint.h>

/* Milliseconds that a Retry-After header asks for (RFC 9110, 10.2.3: whole seconds or an HTTP
 * date), at most an hour: whoever asks for more is asked again then. 0 when it asks for nothing
 * that can be read, or for a moment that is past. */
uint64_t retry_after_ms(const char *text, uint64_t now_s);

struct retry_limits {
	uint64_t min_ms, max_ms; /* 1 s and 5 min */
};

/* min, doubled with each failure in a row up to max, with full jitter from the dice, but never at
 * once: a receiver that just failed is given a tenth of it. failures: in a row, before this one. */
uint64_t retry_backoff_ms(const struct retry_limits *limits, uint32_t failures, uint64_t dice);
