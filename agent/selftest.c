#include "agent/selftest.h"

void selftest_init(struct selftest *selftest, uint64_t now_ns)
{
	*selftest = (struct selftest){.next_ns = now_ns};
}

bool selftest_advance(struct selftest *selftest, uint64_t now_ns, uint64_t seen)
{
	if (selftest->waiting && seen != selftest->seen) {
		selftest->waiting = selftest->blind = false;
	} else if (selftest->waiting && now_ns >= selftest->until_ns) {
		selftest->waiting = false;
		selftest->blind = true;
		selftest->failed++;
	}
	if (selftest->waiting || now_ns < selftest->next_ns)
		return false;
	selftest->tests++;
	selftest->seen = seen;
	selftest->waiting = true;
	selftest->until_ns = now_ns + SELFTEST_WITHIN_NS;
	selftest->next_ns = now_ns + SELFTEST_EVERY_NS;
	return true;
}
