/* The contexts of the cgroup hooks: the kernel's stable interface (uapi/linux/bpf.h), so members
 * keep their places and need no relocation. Only what is read has its name. */
#pragma once

#include "agent/bpf/kernel.h"

enum { IPPROTO_HOPOPTS = 0, IPPROTO_UDP = 17, IPPROTO_ROUTING = 43, IPPROTO_DSTOPTS = 60 };
enum { BPF_NOEXIST = 1 };

struct bpf_sock {
	__u32 bound_dev_if;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 mark;
	__u32 priority;
	__u32 src_ip4; /* addresses in network order */
	__u32 src_ip6[4];
	__u32 src_port; /* host order */
	__be16 dst_port;
	__u16 : 16;
	__u32 dst_ip4;
	__u32 dst_ip6[4];
	__u32 state;
};

struct __sk_buff {
	__u32 len;
	__u32 before_data[18];
	__u32 data;
	__u32 data_end;
	__u32 before_flow_keys[15];
	__u64 flow_keys;
	__u64 tstamp;
	__u32 wire_len;
	__u32 gso_segs;
	struct bpf_sock *sk __attribute__((aligned(8)));
	__u32 gso_size;
};

struct bpf_tcp_sock {
	__u32 before_data_segs_in[15];
	__u32 data_segs_in;
	__u32 segs_out;
	__u32 data_segs_out;
};

struct bpf_sock_addr {
	__u32 user_family;
	__u32 user_ip4; /* network order, all of them */
	__u32 user_ip6[4];
	__u32 user_port;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 msg_src_ip4;
	__u32 msg_src_ip6[4];
	struct bpf_sock *sk __attribute__((aligned(8)));
};

_Static_assert(__builtin_offsetof(struct __sk_buff, data) == 76 &&
		       __builtin_offsetof(struct __sk_buff, sk) == 168,
	       "as in uapi/linux/bpf.h");
_Static_assert(__builtin_offsetof(struct bpf_sock_addr, sk) == 64, "as in uapi/linux/bpf.h");

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	void *value;
};

#pragma clang attribute pop
