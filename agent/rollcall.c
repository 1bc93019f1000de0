#include "agent/rollcall.h"

bool rollcall_due(const struct rollcall *call, uint64_t now_ns, uint64_t lost, bool wanted)
{
	uint64_t since_ns = now_ns - call->began_ns;
	if (call->waiting)
		return false;
	if (call->anyway_ns && (!call->began_ns || since_ns >= call->anyway_ns))
		return true;
	return (lost != call->mended || wanted) && since_ns >= ROLLCALL_EVERY_NS;
}

void rollcall_begin(struct rollcall *call, uint64_t began_ns, uint64_t lost, uint64_t unanswered)
{
	call->waiting = true;
	call->began_ns = began_ns;
	call->lost = lost;
	call->unanswered = unanswered;
}

bool rollcall_end(struct rollcall *call, uint64_t unanswered)
{
	call->waiting = false;
	if (unanswered != call->unanswered)
		return false;
	call->mended = call->lost;
	return true;
}
