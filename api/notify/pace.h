/* How fast a receiver is spoken to: a token bucket. Pure: the time is an argument. */
#pragma once

#include <stdint.h>

struct pace {
	double per_second, burst;
	double tokens;
	uint64_t at_ms;
};

void pace_init(struct pace *pace, double per_second, double burst, uint64_t now_ms);
/* 0: taken. Else in how many milliseconds there will be one. */
uint64_t pace_take(struct pace *pace, uint64_t now_ms);
