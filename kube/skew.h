/* How far a server's clock is ahead of ours, from the whole seconds that its answers are dated
 * with: each says between which two differences the true one lies, and together they say it the
 * better. Clocks drift apart by at most 1 part in 10,000; where an answer contradicts those before,
 * a clock was set, and only the new one counts. Plain values; pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct kube_skew {
	bool known;
	int64_t least_ns, most_ns; /* their clock minus ours */
	uint64_t told_ns;	   /* our clock at the last answer */
};

/* date_s: the answer's date, made between sent_ns and came_ns of our clock. */
void kube_skew_tell(struct kube_skew *skew, uint64_t date_s, uint64_t sent_ns, uint64_t came_ns);
