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
	MR_OPEN = 1,   /* struct mr_open: established, or there before the agent */
	MR_FAIL,       /* struct mr_open: never established */
	MR_UPDATE,     /* struct mr_moved: counters moved, or a roll call */
	MR_CLOSE,      /* struct mr_moved: an established connection ended */
	MR_OWNER,      /* struct mr_owner: a better owner than the one told before */
	MR_FORK,       /* struct mr_task */
	MR_TASK,       /* struct mr_task: there before the agent */
	MR_EXEC,       /* struct mr_exec */
	MR_EXIT,       /* struct mr_exit */
	MR_MOVE,       /* struct mr_task: to another cgroup */
	MR_CGROUP,     /* struct mr_cgroup: made, or renamed */
	MR_CGROUP_END, /* struct mr_cgroup */
	MR_DNS,	       /* struct mr_message */
	MR_LISTEN,     /* struct mr_listen: began, moved, ended, or a roll call */
	MR_HELLO,      /* struct mr_message: the beginning of a TLS connection, sent */
	MR_KINDS,
};

/* The loss counters have more places: sockets that no state could be kept for, and datagrams whose
 * peer found no room. */
enum { MR_LOST_STATE = MR_KINDS, MR_LOST_DATAGRAM, MR_LOST_COUNTERS };

enum {
	MR_RING_BYTES =
		16 << 20, /* 100 ms at 1,000,000 records/s of 120 B and a reader that sleeps */
	MR_WAKE_BYTES = 1 << 20, /* beyond this the reader is woken before its timer */
	MR_SCOPE_MAX = 1024,	 /* network namespaces in a scope */
	MR_LISTENERS_MAX =
		65536, /* (namespace, port) pairs while the sockets of the start are listed */
	MR_ARGUMENTS_BYTES = 4097, /* 4,096 and the last one's NUL */
	MR_PATH_BYTES = 512,
	MR_PATH_PARTS = 24,
	MR_COMM_BYTES = 16,
	MR_CGROUP_PATH_BYTES = 512, /* Kubernetes' are 191; nested ones over 256 */
	MR_PEERS_FEW = 4096,	    /* UDP peers in the map that each scan walks whole */
	MR_RELEASED_MAX = 16384,    /* UDP sockets of several peers that end between two scans */
	MR_DNS_BYTES = 511,	    /* of a message; what comes after is not read */
	MR_DNS_SERVICE = 53,	    /* the port */
	MR_HELLO_BYTES = 2048,	    /* of a ClientHello; those with post-quantum keys are 1,800 */
	MR_HELLO_PORTS = 8,
};

/* A UDP peer is told of like a socket. Its cookie has this bit, which no socket's has. */
#define MR_PEER (1ULL << 63)

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

/* Of head.flags. */
enum mr_socket_flag {
	MR_EXISTED = 1,	     /* MR_OPEN */
	MR_ROLE_GUESSED = 2, /* MR_OPEN */
	MR_RESET_RECEIVED = 4,
	MR_RESET_SENT = 8,
	MR_ZERO_WINDOW = 16, /* the peer's receive window is shut */
	MR_ENDED = 32,	     /* MR_LISTEN */
};

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
	union {
		MR_U64 connect_ns; /* TCP client: to established or failed; 0 if not seen */
		MR_U64 socket;	   /* UDP: the cookie of the socket that has this peer */
	};
	MR_U8 local[16], remote[16];
	MR_U16 local_port, remote_port;
	MR_U8 role;
	MR_U8 protocol; /* IP's number; 0 is TCP */
	MR_U8 pad[2];
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

struct mr_listen {
	struct mr_head head;
	MR_U64 cookie, cgroup;
	MR_U8 address[16];
	MR_U32 netns;
	MR_U16 port, pad;
	MR_U32 backlog, backlog_max;
	MR_U64 drops; /* since the socket began */
};

struct mr_task {
	struct mr_head head;
	MR_U64 started_ns, cgroup;
	MR_U32 parent, netns;
	MR_U32 uid; /* effective, in the host's user namespace */
	MR_U32 pad;
	char comm[MR_COMM_BYTES];
};

enum mr_exec_flag {
	MR_ARGUMENTS_CUT = 1,	 /* there are more than MR_ARGUMENTS_BYTES */
	MR_ARGUMENTS_UNREAD = 2, /* not all could be read: /proc may tell */
	MR_PATH_CUT = 4,	 /* the directories nearest to the root are missing */
};

/* As long as it needs to be: text is the path's parts, the file's name first and the root's
 * directory last, then the arguments; each ends in NUL. */
struct mr_exec {
	struct mr_task task;
	MR_U32 path_length, arguments_length;
	char text[];
};

struct mr_cgroup {
	struct mr_head head;
	MR_U64 id;			 /* with MR_CGROUP_V1 where it is of that tree */
	char path[MR_CGROUP_PATH_BYTES]; /* in its tree; ends in NUL */
};

struct mr_exit {
	struct mr_head head;
	MR_U64 started_ns;
	MR_U32 code; /* as wait(2) gives it */
	MR_U32 pad;
};

enum mr_message_flag { MR_SENT = 1 }; /* this socket sent the message; else it received it */

struct mr_message {
	struct mr_head head;
	MR_U64 cookie; /* of the socket or peer */
	MR_U16 length; /* of message[] here, at most MR_DNS_BYTES or MR_HELLO_BYTES */
	MR_U16 whole;  /* as sent */
	MR_U32 pad;
	MR_U8 message[];
};

/* Settings before load (.rodata) and switches while running (.bss): each is its section's only
 * variable. */
struct mr_settings {
	MR_U32 scoped; /* only the namespaces in the map `scope` are told of */
	MR_U32 udp;    /* all datagrams; else only those of name lookups, if dns */
	MR_U32 dns;
	MR_U32 more_peers; /* than MR_PEERS_FEW */
	MR_U64 hello_few;  /* bit of each of hello_ports' low 6 bits: what most packets are asked */
	MR_U16 hello_ports[MR_HELLO_PORTS]; /* whose connections begin with a ClientHello; 0: none
					     */
};

struct mr_switches {
	MR_U32 roll_call;	  /* a scan tells of sockets that did not move, too */
	MR_U32 listing_listeners; /* first pass of the listing */
	MR_U32 listed;		  /* all that was there is: who has no state was nobody's then */
	MR_U32 visited;		  /* by the scan: TCP connections whose opening was told */
	MR_U32 unclaimed;	  /* by the scan: what moved and whose owner is a guess */
};

/* What programs that run leave out, switched while running: bits of the map `without`. */
enum mr_without {
	MR_WITHOUT_CMDLINES = 1, /* arguments of executed programs */
	MR_WITHOUT_DNS = 2,	 /* payloads of port 53 */
	MR_WITHOUT_UDP = 4,	 /* datagrams but those of lookups */
	MR_WITHOUT_SNI = 8,	 /* the beginnings of TLS connections */
};

/* Places of the map `counts`. */
enum mr_count {
	MR_COUNT_SERIAL,     /* of UDP peers, so far */
	MR_COUNT_MORE_PEERS, /* in the map of that name */
	MR_COUNT_RELEASED,   /* sockets put into the map of that name, so far */
	MR_COUNTS,
};

struct mr_listener {
	MR_U32 netns;
	MR_U32 port;
};

#ifndef __bpf__
_Static_assert(sizeof(struct mr_open) == 128, "an opened socket fits two cache lines");
_Static_assert(sizeof(struct mr_moved) == 64, "an update fits one cache line");
#endif
