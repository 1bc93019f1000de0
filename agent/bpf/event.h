/* What the BPF programs hand to the agent through the ring buffer: fixed records, each beginning
 * with a head. Times are boottime ns. Addresses are as base/address.h holds them; ports are in host
 * order. Both sides are the same machine and the same build, so the layout is the compiler's; sizes
 * are asserted because each byte is paid for 10,000 times a second. */
#pragma once

#ifndef __bpf__
#include <stdint.h>
#define MR_U8  uint8_t
#define MR_U16 uint16_t
#define MR_U32 uint32_t
#define MR_U64 uint64_t
#else
#include "agent/bpf/kernel.h"
#define MR_U8  __u8
#define MR_U16 __u16
#define MR_U32 __u32
#define MR_U64 __u64
#endif

enum mr_kind {
	MR_OPEN = 1, /* struct mr_open: established, or there before the agent */
	MR_FAIL,     /* struct mr_open: never established */
	MR_UPDATE,   /* struct mr_moved: counters moved, or a roll call */
	MR_CLOSE,    /* struct mr_moved: an established connection ended */
	MR_OWNER,    /* struct mr_owner: a better owner than the one told before */
	MR_FORK,     /* struct mr_task */
	MR_TASK,     /* struct mr_task: there before the agent */
	MR_EXEC,     /* struct mr_exec */
	MR_EXIT,     /* struct mr_exit */
	MR_KINDS,
};

/* The loss counters have one more place: sockets that no state could be kept for. */
enum { MR_LOST_STATE = MR_KINDS, MR_LOST_COUNTERS = MR_KINDS + 1 };

enum {
	MR_RING_BYTES =
		16 << 20, /* 100 ms at 1,000,000 records/s of 120 B and a reader that sleeps */
	MR_WAKE_BYTES = 1 << 20, /* beyond this the reader is woken before its timer */
	MR_SCOPE_MAX = 1024,	 /* network namespaces in a scope */
	MR_LISTENERS_MAX =
		65536, /* (namespace, port) pairs while the sockets of the start are listed */
	MR_ARGUMENTS_BYTES = 256,
	MR_PATH_BYTES = 128,
	MR_COMM_BYTES = 16,
};

/* In a hybrid hierarchy containers live in cgroup v1: an id with this bit is of the memory
 * controller's tree. */
#define MR_CGROUP_V1 (1ULL << 62)

enum mr_role { MR_ROLE_UNKNOWN, MR_ROLE_CLIENT, MR_ROLE_SERVER };

/* Who owns a socket, the better source winning over the worse. */
enum mr_owner_source {
	MR_OWNER_NONE,
	MR_OWNER_LISTENER, /* cloned with the listener's state */
	MR_OWNER_FILE,	   /* a process that has it open */
	MR_OWNER_CLOSE,	   /* who closed it */
	MR_OWNER_IO,	   /* who first sent or received */
	MR_OWNER_CONNECT,  /* who called connect() */
};

enum mr_open_flag { MR_EXISTED = 1, MR_ROLE_GUESSED = 2 };

struct mr_head {
	MR_U16 kind; /* enum mr_kind */
	MR_U16 flags;
	MR_U32 pid; /* owner, or the process that the record is about */
	MR_U64 time_ns;
};

struct mr_counters {
	MR_U64 tx_bytes, rx_bytes; /* payload */
	MR_U32 tx_segments, rx_segments, retransmits;
	MR_U32 srtt_us, min_rtt_us; /* 0: not measured */
	MR_U32 reason;		    /* MR_FAIL, MR_CLOSE: enum close_reason */
};

struct mr_open {
	struct mr_head head;
	MR_U64 cookie, cgroup;
	MR_U64 opened_ns;
	MR_U64 connect_ns; /* client: to established or failed; 0 if not seen */
	MR_U8 local[16], remote[16];
	MR_U16 local_port, remote_port;
	MR_U8 role, pad[3];
	struct mr_counters counters;
};

struct mr_moved {
	struct mr_head head;
	MR_U64 cookie;
	struct mr_counters counters;
};

struct mr_owner {
	struct mr_head head;
	MR_U64 cookie, cgroup;
};

struct mr_task {
	struct mr_head head;
	MR_U64 started_ns, cgroup;
	MR_U32 parent, netns;
	char comm[MR_COMM_BYTES];
};

struct mr_exec {
	struct mr_task task;
	MR_U32 arguments_length; /* bytes, arguments end in NUL each */
	MR_U32 pad;
	char path[MR_PATH_BYTES];
	char arguments[MR_ARGUMENTS_BYTES];
};

struct mr_exit {
	struct mr_head head;
	MR_U64 started_ns;
	MR_U32 code; /* as wait(2) gives it */
	MR_U32 pad;
};

/* Settings before load (.rodata) and switches while running (.bss): each is its section's only
 * variable. */
struct mr_settings {
	MR_U32 scoped; /* only the namespaces in the map `scope` are told of */
};

struct mr_switches {
	MR_U32 roll_call;	  /* a scan tells of sockets that did not move, too */
	MR_U32 listing_listeners; /* first pass of the listing */
};

struct mr_listener {
	MR_U32 netns;
	MR_U32 port;
};

#ifndef __bpf__
_Static_assert(sizeof(struct mr_open) == 128, "an opened socket fits two cache lines");
_Static_assert(sizeof(struct mr_moved) == 64, "an update fits one cache line");
#endif
