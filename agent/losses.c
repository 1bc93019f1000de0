#include "agent/losses.h"

static const char *const kinds[LOSSES] = {
	[0] = "other",
	[MR_OPEN] = "open",
	[MR_FAIL] = "fail",
	[MR_UPDATE] = "update",
	[MR_CLOSE] = "close",
	[MR_OWNER] = "owner",
	[MR_FORK] = "fork",
	[MR_TASK] = "task",
	[MR_EXEC] = "exec",
	[MR_EXIT] = "exit",
	[MR_MOVE] = "move",
	[MR_CGROUP] = "cgroup",
	[MR_CGROUP_END] = "cgroup_end",
	[MR_DNS] = "dns",
	[MR_HELLO] = "sni",
	[MR_LISTEN] = "listen",
	[MR_LOST_STATE] = "state",
	[MR_LOST_DATAGRAM] = "datagram",
	[LOSS_SOCKETS] = "socket",
	[LOSS_PROCESSES] = "process",
	[LOSS_LISTENERS] = "listener",
	[LOSS_LOOKUPS] = "lookup",
	[LOSS_DROPS] = "drop",
	[LOSS_NETLINK] = "nat",
	[LOSS_SPOOL] = "any",
};

const char *loss_kind(int loss)
{
	return kinds[loss];
}

const char *loss_place(int loss)
{
	if (loss < LOSS_SOCKETS)
		return "ring";
	if (loss < LOSS_DROPS)
		return "table";
	return loss == LOSS_DROPS ? "kernel" : loss == LOSS_NETLINK ? "netlink" : "spool";
}

uint64_t losses_ring(const struct losses *losses)
{
	uint64_t sum = 0;
	for (int loss = 0; loss < LOSS_NETLINK; loss++)
		sum += losses->events[loss];
	return sum;
}
