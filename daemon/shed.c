#include "daemon/shed.h"

static bool speaks_for_change(const struct shed *shed, uint64_t lag_ns, uint64_t retention_ns)
{
	if (shed->level)
		return !retention_ns || lag_ns < retention_ns / 4;
	return retention_ns && lag_ns > retention_ns / 2;
}

enum shed_step shed_look(struct shed *shed, uint64_t lag_ns, uint64_t retention_ns, uint64_t now_ns)
{
	shed->looks = speaks_for_change(shed, lag_ns, retention_ns) ? shed->looks + 1 : 0;
	if (shed->looks >= SHED_LOOKS) {
		shed->looks = 0;
		shed->level = !shed->level;
		shed->told_ns = now_ns;
		return shed->level ? SHED_BEGIN : SHED_END;
	}
	if (!shed->level || now_ns < shed->told_ns + SHED_RENEW_NS)
		return SHED_NOTHING;
	shed->told_ns = now_ns;
	return SHED_RENEW;
}
