/* The kernel's structures, only the members that are read here: CO-RE finds their places in the
 * running kernel's BTF at load, so the build needs no kernel headers and no BTF of its own. Names
 * and types are the kernel's (include/linux, include/net); members of another kernel version stand
 * in a flavour (struct name___version). */
#pragma once

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

/* Values of uapi/linux/bpf.h that the programs use; the file itself would bring the whole of
 * linux/types.h. */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
};
enum { BPF_ANY = 0, BPF_F_NO_PREALLOC = 1, BPF_F_CLONE = 1 << 9, BPF_SK_STORAGE_GET_F_CREATE = 1 };
enum { BPF_RB_AVAIL_DATA = 0, BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2 };

enum { AF_INET = 2, AF_INET6 = 10, IPPROTO_TCP = 6 };

enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_CLOSING,
	TCP_NEW_SYN_RECV,
};

enum {
	E2BIG = 7,
	EPIPE = 32,
	ECONNRESET = 104,
	ETIMEDOUT = 110,
	ECONNREFUSED = 111,
	EHOSTUNREACH = 113,
	ENETUNREACH = 101,
	EACCES = 13,
	EPROTO = 71,
	ENOPROTOOPT = 92,
	EOPNOTSUPP = 95,
	ENONET = 64,
	EHOSTDOWN = 112
};

enum { SOCK_DONE = 1 }; /* bit of skc_flags (enum sock_flags): the peer's FIN was taken */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};
struct net {
	struct ns_common ns;
};
typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__be32 u6_addr32[4];
	} in6_u;
};

typedef struct {
	int counter;
} atomic_t;
typedef struct {
	__s64 counter;
} atomic64_t;

struct sock_common {
	atomic64_t skc_cookie; /* 0: nobody asked for it yet */
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	short unsigned int skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	unsigned long skc_flags;
};

struct socket;
struct sock {
	struct sock_common __sk_common;
	int sk_err;
	int sk_err_soft;
	__u16 sk_protocol;
	atomic_t sk_drops;
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
	struct socket *sk_socket;
};

struct inet_sock {
	struct sock sk;
	__be16 inet_sport;
};
struct inet_connection_sock {
	struct inet_sock icsk_inet;
};
struct minmax_sample {
	__u32 t;
	__u32 v;
};
struct minmax {
	struct minmax_sample s[3];
};
struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u64 bytes_received;
	__u64 bytes_acked;
	__u64 bytes_sent;
	__u64 bytes_retrans;
	__u32 segs_in;
	__u32 segs_out;
	__u32 total_retrans;
	__u32 srtt_us;
	__u32 snd_wnd;
	__u32 snd_nxt;
	__u32 write_seq;
	struct minmax rtt_min;
};

struct socket {
	struct sock *sk;
};
struct bpf_map;

struct kernfs_node {
	__u64 id;
};
struct cgroup_root {
	int hierarchy_id; /* 0: the v2 tree */
	unsigned int subsys_mask;
};
struct cgroup {
	int level; /* directories above it */
	struct kernfs_node *kn;
	struct cgroup_root *root;
};
struct cgroup_subsys_state {
	struct cgroup *cgroup;
};
struct css_set {
	struct cgroup_subsys_state *subsys[16];
	struct cgroup *dfl_cgrp;
};
enum cgroup_subsys_id { memory_cgrp_id = 4 };

struct nsproxy {
	struct net *net_ns;
};
enum { SIGNAL_GROUP_EXIT = 4, PF_KTHREAD = 0x00200000 };
struct signal_struct {
	atomic_t live;
	int group_exit_code;
	unsigned int flags;
};
struct qstr {
	const unsigned char *name;
};
struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
};
struct vfsmount {
	struct dentry *mnt_root;
};
struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};
struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};
struct file {
	struct path f_path;
};
struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
	struct file *exe_file;
};
typedef struct {
	unsigned int val;
} kuid_t;
struct cred {
	kuid_t euid;
};
struct task_struct {
	int pid;
	int tgid;
	unsigned int flags;
	int exit_code;
	const struct cred *cred;
	__u64 start_boottime;
	char comm[16];
	struct mm_struct *mm;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct css_set *cgroups;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
};
struct linux_binprm;

struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
};
struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	struct sock *sk;
	void *value;
};
struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};
struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop
