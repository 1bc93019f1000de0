#include "kube/skew.h"

#include "base/clock.h"

enum { DRIFT_PARTS = 10000 };

#define DATE_MAX_S (1ULL << 33) /* the year 2242 */

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

void kube_skew_tell(struct kube_skew *skew, uint64_t date_s, uint64_t sent_ns, uint64_t came_ns)
{
	if (date_s >= DATE_MAX_S || came_ns < sent_ns)
		return; /* our own clock was set meanwhile */
	int64_t least = (int64_t)(date_s * NS_PER_S) - (int64_t)came_ns;
	int64_t most = (int64_t)((date_s + 1) * NS_PER_S) - (int64_t)sent_ns;
	uint64_t passed = came_ns > skew->told_ns ? came_ns - skew->told_ns : 0;
	int64_t drift = (int64_t)(passed / DRIFT_PARTS);
	int64_t both_least = later(least, skew->least_ns - drift);
	int64_t both_most = -later(-most, -(skew->most_ns + drift));
	if (skew->known && both_least <= both_most) {
		least = both_least;
		most = both_most;
	}
	*skew = (struct kube_skew){true, least, most, came_ns};
}
