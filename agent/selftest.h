/* Whether the agent still sees: every 30 s it opens a connection of its own over loopback, whose
 * opening must come out of the ring buffer within 5 s. Pure: time and the number of own openings
 * seen are arguments; whoever connects is told when. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SELFTEST_EVERY_NS  (30 * (uint64_t)1000000000)
#define SELFTEST_WITHIN_NS (5 * (uint64_t)1000000000)

struct selftest {
	uint64_t next_ns, until_ns;
	uint64_t seen; /* own openings before the test */
	bool waiting, blind;
	uint64_t tests, failed;
};

void selftest_init(struct selftest *selftest, uint64_t now_ns);
/* seen: own openings that came out of the ring so far. True: connect now. */
bool selftest_advance(struct selftest *selftest, uint64_t now_ns, uint64_t seen);
