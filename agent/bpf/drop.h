/* What drop.bpf.c and the agent share: the rows that dropped packets and ICMP errors are summed in.
 *
 * Rows live in one of two hash maps, by the generation's lowest bit; the agent raises the
 * generation once a second and empties the map that nobody fills any more. A packet that finds no
 * room for its row is counted in drop_folded by its reason alone, so sums by reason are whole
 * whatever comes. Layout as in event.h: both sides are one build on one machine. */
#pragma once

#include "agent/bpf/event.h"

enum {
	MR_DROP_REASONS = 512,		/* Linux 6.18 has 128 */
	MR_DROP_REASON_OTHER = 511,	/* a subsystem's own, or beyond: in drop_folded only */
	MR_DROP_ICMP = MR_DROP_REASONS, /* ICMP errors follow: see MR_DROP_ICMP_REASON */
	MR_DROP_FOLDED = 2 * MR_DROP_REASONS,
	MR_DROP_LOCATIONS_MAX = 1024, /* places in the kernel; some 40 are seen in practice */
	MR_DROP_LOCATION_BYTES = 64,
};

/* ICMP errors have types below 16 in both families, and codes below 16. */
#define MR_DROP_ICMP_REASON(v6, type, code) \
	(MR_DROP_ICMP + ((v6) ? 256 : 0) + ((type)&15) * 16 + ((code)&15))

/* Of the packet that was dropped, or that the ICMP error quotes. Unknown fields are 0. */
struct mr_drop_key {
	MR_U64 location; /* in the kernel's code; 0 for ICMP */
	MR_U32 reason;	 /* the kernel's number, or MR_DROP_ICMP_REASON */
	MR_U32 netns;
	MR_U8 source[16], destination[16];
	MR_U16 source_port, destination_port;
	MR_U8 protocol;
	MR_U8 icmp; /* 1: an ICMP error */
	MR_U16 pad;
};

struct mr_drop_sum {
	MR_U64 packets, bytes; /* bytes with IP headers; 0 for ICMP */
	MR_U64 time_ns;	       /* of the last packet */
	MR_U64 cookie;	       /* of its socket here; 0: none known */
};

struct mr_drop_folded {
	MR_U64 packets, bytes;
};

/* The object's .bss. */
struct mr_drop_switches {
	MR_U32 generation;
	MR_U32 full;			      /* the generation whose map is full */
	MR_U32 ignored[MR_DROP_REASONS / 32]; /* a bit a reason that is no loss */
	MR_U32 purge; /* the reason that is none for a packet without payload; 0: not known */
};

/* The one element of drop_counts, each CPU's own. */
struct mr_drop_counts {
	MR_U64 not_ip; /* freed buffers that held no IP packet: netlink, AF_UNIX, ARP */
	MR_U64 folded; /* packets counted by their reason alone */
};
