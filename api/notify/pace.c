#include "api/notify/pace.h"

void pace_init(struct pace *pace, double per_second, double burst, uint64_t now_ms)
{
	*pace = (struct pace){
		.per_second = per_second, .burst = burst, .tokens = burst, .at_ms = now_ms};
}

uint64_t pace_take(struct pace *pace, uint64_t now_ms)
{
	if (now_ms > pace->at_ms) {
		pace->tokens += (double)(now_ms - pace->at_ms) / 1000 * pace->per_second;
		if (pace->tokens > pace->burst)
			pace->tokens = pace->burst;
		pace->at_ms = now_ms;
	}
	if (pace->tokens < 1)
		return (uint64_t)((1 - pace->tokens) / pace->per_second * 1000) + 1;
	pace->tokens -= 1;
	return 0;
}
