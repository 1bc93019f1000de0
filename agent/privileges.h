/* What the agent may do, and how it gives that away once its programs are attached.
 *
 * While it starts it has what it was given. Then every thread but the keeper (agent/keeper.h) has
 * no capability at all: reading the ring, running iterators, writing maps and hearing conntrack
 * need none, as their file descriptors were opened before. Two exceptions: one who is not root
 * keeps CAP_DAC_READ_SEARCH, as root owns the container runtimes' files; and before Linux 5.19
 * bpf() on one's own maps needs CAP_BPF where unprivileged BPF is disabled.
 *
 * Capabilities are a thread's own and its children's, so what starts threads is called through
 * privileges_call: by a thread that has nothing to pass on. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
	CAPABILITY_DAC_READ_SEARCH = 2,
	CAPABILITY_SETPCAP = 8,
	CAPABILITY_NET_BROADCAST = 11,
	CAPABILITY_NET_ADMIN = 12,
	CAPABILITY_SYS_PTRACE = 19,
	CAPABILITY_SYS_ADMIN = 21,
	CAPABILITY_PERFMON = 38,
	CAPABILITY_BPF = 39,
};
#define CAPABILITY(name) (UINT64_C(1) << CAPABILITY_##name)

/* What the keeper needs: to enter a network namespace and ask its conntrack, to read
 * /proc/PID/ns/net and /proc/PID/exe of others, to attach programs again. */
#define PRIVILEGES_KEPT                                                              \
	(CAPABILITY(NET_ADMIN) | CAPABILITY(NET_BROADCAST) | CAPABILITY(SYS_ADMIN) | \
	 CAPABILITY(SYS_PTRACE) | (privileges_running() & CAPABILITY(DAC_READ_SEARCH)))

/* The calling thread's permitted capabilities; 0 too if the kernel does not tell. */
uint64_t privileges_now(void);
/* What the running agent's threads keep. */
uint64_t privileges_running(void);
/* The calling thread keeps of its capabilities only these, permitted and effective; nothing is
 * inheritable, ambient or, as far as CAP_SETPCAP allows, in the bounding set; no program that it
 * executes gains any. 0 or -errno. */
int privileges_reduce(uint64_t capabilities);
/* In a thread with the running agent's capabilities; waits. The call's result, or -errno of the
 * thread's start. */
int privileges_call(int (*call)(void *argument), void *argument);
