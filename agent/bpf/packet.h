/* The kernel's packet, as kernel.h has its sockets: only the members that are read. */
#pragma once

#include "agent/bpf/kernel.h"

enum { BPF_NOEXIST = 1 };
enum { ETH_P_IP = 0x0800, ETH_P_IPV6 = 0x86dd, RTN_LOCAL = 2 };
enum { IPPROTO_ICMP = 1, IPPROTO_UDP = 17, IPPROTO_ICMPV6 = 58, IPPROTO_UDPLITE = 136 };
enum {
	NEXTHDR_HOP = 0,
	NEXTHDR_ROUTING = 43,
	NEXTHDR_FRAGMENT = 44,
	NEXTHDR_DEST = 60,
	RTF_LOCAL = (int)0x80000000,
	SKB_DST_NOREF = 1,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct net_device {
	possible_net_t nd_net;
};
struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned long _skb_refdst;
	unsigned int len;
	__be16 protocol;
	__u16 transport_header;
	__u16 network_header;
	unsigned int tail; /* from head: where pointers have 64 bits */
	unsigned char *head, *data;
};
struct dst_entry;
struct rtable {
	__u16 rt_type;
};
struct rt6_info {
	__u32 rt6i_flags;
};

#pragma clang attribute pop
