/* TCP sockets of all network namespaces, by tracepoints and iterators alone. Each socket carries a
 * state in sk_storage: made at connect(), or cloned from the listener into each child, and freed
 * with the socket. Every rule here was measured on live kernels; ARCHITECTURE.md tells the traps.
 */
#include "agent/bpf/ring.h"

/* Reasons as enum close_reason of base/delta.h. */
enum {
	CLOSE_NORMAL = 1,
	CLOSE_RESET,
	CLOSE_TIMEOUT,
	CLOSE_REFUSED,
	CLOSE_CONNECT_TIMEOUT,
	CLOSE_UNREACHABLE,
	CLOSE_ABORTED,
};

enum state_flag {
	STATE_LISTENER = 1,
	STATE_LIVE = 2, /* established: this state is the socket's own, not a listener's clone */
	STATE_ANNOUNCED = 4, /* its opening is in the ring */
	STATE_RESET = 8,     /* a RST came */
	STATE_EXISTED = 16,
	STATE_GUESSED = 32, /* role from listeners */
	STATE_MISSED = 64,  /* the ring was full at its opening: counted */
};

/* Charged to the socket (net.core.optmem_max): keep it small. */
struct socket_state {
	__u64 cookie; /* of the socket that this state was made for: a clone still has its
			 listener's */
	__u64 cgroup;
	__u64 opened_ns;
	__u64 tx_bytes, rx_bytes; /* as told last */
	__u32 tx_segments, rx_segments;
	__u32 connect_us;
	__u32 pid;
	__u32 retransmits;
	__u16 error; /* saved before connect() and SO_ERROR clear it */
	__u8 source; /* enum mr_owner_source */
	__u8 role;
	__u32 flags;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct socket_state);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MR_LISTENERS_MAX);
	__type(key, struct mr_listener);
	__type(value, __u32);
} listeners SEC(".maps");

volatile struct mr_switches switches = {}; /* set by the agent around a scan or a listing */

static __always_inline struct socket_state *state_get(struct sock *sk)
{
	return bpf_sk_storage_get(&sockets, sk, 0, 0);
}

static __always_inline struct socket_state *state_make(struct sock *sk)
{
	struct socket_state *state =
		bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state) {
		count_lost(MR_LOST_STATE);
		return 0;
	}
	__builtin_memset(state, 0, sizeof(*state));
	state->cookie = bpf_get_socket_cookie(sk);
	state->opened_ns = bpf_ktime_get_boot_ns();
	return state;
}

static __always_inline void own(struct socket_state *state, __u8 source)
{
	state->source = source;
	state->pid = bpf_get_current_pid_tgid() >> 32;
	state->cgroup = task_cgroup(bpf_get_current_task_btf());
}

static __always_inline void read_counters(struct tcp_sock *tp, struct mr_counters *counters)
{
	__u64 sent = tp->bytes_sent, again = tp->bytes_retrans;
	/* bytes_received counts the FIN once it is taken; SOCK_DONE says whether it was. */
	__u64 fin = (tp->inet_conn.icsk_inet.sk.__sk_common.skc_flags >> SOCK_DONE) & 1;
	__u64 received = tp->bytes_received;
	counters->tx_bytes = sent > again ? sent - again : 0;
	counters->rx_bytes = received > fin ? received - fin : 0;
	counters->tx_segments = tp->segs_out;
	counters->rx_segments = tp->segs_in;
	counters->retransmits = tp->total_retrans;
	counters->srtt_us = tp->srtt_us >> 3;
	__u32 rtt = tp->rtt_min.s[0].v;
	counters->min_rtt_us = rtt == ~0U ? 0 : rtt;
	counters->reason = 0;
}

static __always_inline void remember(struct socket_state *state, const struct mr_counters *counters)
{
	state->tx_bytes = counters->tx_bytes;
	state->rx_bytes = counters->rx_bytes;
	state->tx_segments = counters->tx_segments;
	state->rx_segments = counters->rx_segments;
	state->retransmits = counters->retransmits;
}

static __always_inline void map_v4(__u8 *address, __be32 v4)
{
	__builtin_memset(address, 0, 10);
	address[10] = address[11] = 0xff;
	__builtin_memcpy(address + 12, &v4, 4);
}

static __always_inline void read_ends(struct tcp_sock *tp, struct mr_open *open)
{
	struct sock *sk = &tp->inet_conn.icsk_inet.sk;
	if (sk->__sk_common.skc_family == AF_INET6) {
		bpf_core_read(open->local, 16, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_core_read(open->remote, 16, &sk->__sk_common.skc_v6_daddr);
	} else {
		map_v4(open->local, sk->__sk_common.skc_rcv_saddr);
		map_v4(open->remote, sk->__sk_common.skc_daddr);
	}
	/* not skc_num: it is 0 at CLOSE */
	open->local_port = __builtin_bswap16(tp->inet_conn.icsk_inet.inet_sport);
	open->remote_port = __builtin_bswap16(sk->__sk_common.skc_dport);
}

static __always_inline void tell_open(struct tcp_sock *tp, struct socket_state *state, __u16 kind,
				      __u32 reason)
{
	struct mr_open *open = bpf_ringbuf_reserve(&ring, sizeof(*open), 0);
	if (!open) {
		if (!(state->flags &
		      STATE_MISSED)) /* each scan tries again: one loss all the same */
			count_lost(kind);
		state->flags |= STATE_MISSED;
		return;
	}
	open->head.kind = kind;
	open->head.flags = (state->flags & STATE_EXISTED ? MR_EXISTED : 0) |
			   (state->flags & STATE_GUESSED ? MR_ROLE_GUESSED : 0);
	open->head.pid = state->pid;
	open->head.time_ns = bpf_ktime_get_boot_ns();
	open->cookie = state->cookie;
	open->cgroup = state->cgroup;
	open->opened_ns = state->opened_ns;
	open->connect_ns = state->connect_us * 1000ULL;
	open->role = state->role;
	open->pad[0] = open->pad[1] = open->pad[2] = 0;
	read_ends(tp, open);
	read_counters(tp, &open->counters);
	open->counters.reason = reason;
	remember(state, &open->counters);
	ring_submit(open);
	state->flags |= STATE_ANNOUNCED;
}

static __always_inline void tell_moved(struct tcp_sock *tp, struct socket_state *state, __u16 kind,
				       __u32 reason)
{
	struct mr_moved *moved = ring_reserve(kind, sizeof(*moved));
	if (!moved)
		return;
	moved->head.kind = kind;
	moved->head.flags = 0;
	moved->head.pid = state->pid;
	moved->head.time_ns = bpf_ktime_get_boot_ns();
	moved->cookie = state->cookie;
	read_counters(tp, &moved->counters);
	moved->counters.reason = reason;
	remember(state, &moved->counters);
	ring_submit(moved);
}

static __always_inline __u32 failure_reason(__u32 error)
{
	switch (error) {
	case ECONNREFUSED:
		return CLOSE_REFUSED;
	case ETIMEDOUT:
		return CLOSE_CONNECT_TIMEOUT;
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EACCES:
	case EPROTO:
	case ENOPROTOOPT:
	case EOPNOTSUPP:
	case ENONET:
	case EHOSTDOWN:
		return CLOSE_UNREACHABLE; /* what ICMP codes become (icmp_err_convert) */
	case ECONNRESET:
		return CLOSE_REFUSED;
	default:
		return CLOSE_ABORTED;
	}
}

static __always_inline void established(struct sock *sk, struct tcp_sock *tp, int before)
{
	struct socket_state *state = state_get(sk);
	if (before == TCP_SYN_SENT || (state && state->role == MR_ROLE_CLIENT &&
				       state->cookie == bpf_get_socket_cookie(sk))) {
		if (!state)
			return; /* connect() came before the programs: the listing finds it */
		state->connect_us = (bpf_ktime_get_boot_ns() - state->opened_ns) / 1000;
		if (!state->connect_us)
			state->connect_us = 1;
	} else {
		__u64 cgroup = 0;
		__u32 pid = 0;
		if (state) { /* the listener's clone: its owner is a first guess */
			cgroup = state->cgroup;
			pid = state->pid;
		}
		state = state_make(sk);
		if (!state)
			return;
		state->role = MR_ROLE_SERVER;
		state->pid = pid;
		state->cgroup = cgroup;
		state->source = pid ? MR_OWNER_LISTENER : MR_OWNER_NONE;
	}
	state->flags |= STATE_LIVE;
	tell_open(tp, state, MR_OPEN, 0);
}

static __always_inline void ended(struct sock *sk, struct tcp_sock *tp, int before)
{
	struct socket_state *state = state_get(sk);
	if (!state)
		return;
	__u32 error = sk->sk_err ? sk->sk_err : state->error;
	if (state->flags & STATE_LIVE) {
		__u32 reason = state->flags & STATE_RESET ? CLOSE_RESET
			       : error == ETIMEDOUT	  ? CLOSE_TIMEOUT
							  : CLOSE_NORMAL;
		if (!(state->flags & STATE_ANNOUNCED))
			tell_open(tp, state, MR_OPEN, 0); /* the ring was full then */
		tell_moved(tp, state, MR_CLOSE, reason);
	} else if (state->role == MR_ROLE_CLIENT &&
		   (before == TCP_SYN_SENT || before == TCP_SYN_RECV)) {
		if (!error)
			error = sk->sk_err_soft;
		state->connect_us = (bpf_ktime_get_boot_ns() - state->opened_ns) / 1000;
		tell_open(tp, state, MR_FAIL, failure_reason(error));
	}
	bpf_sk_storage_delete(&sockets, sk);
}

/* A better owner than the one told. Only a change of process is worth a record. */
static __always_inline void claim(struct socket_state *state, __u8 source)
{
	if (!(state->flags & STATE_LIVE) || state->source >= source)
		return;
	__u32 before = state->pid;
	own(state, source);
	if (state->pid == before || !(state->flags & STATE_ANNOUNCED))
		return;
	struct mr_owner *owner = ring_reserve(MR_OWNER, sizeof(*owner));
	if (!owner)
		return;
	owner->head.kind = MR_OWNER;
	owner->head.flags = 0;
	owner->head.pid = state->pid;
	owner->head.time_ns = bpf_ktime_get_boot_ns();
	owner->cookie = state->cookie;
	owner->cgroup = state->cgroup;
	ring_submit(owner);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_set_state, struct sock *sk, int before, int after)
{
	if (sk->sk_protocol != IPPROTO_TCP || !in_scope(sk->__sk_common.skc_net.net->ns.inum))
		return 0;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	struct socket_state *state;
	switch (after) {
	case TCP_SYN_SENT:
		state = state_make(sk);
		if (state) {
			state->role = MR_ROLE_CLIENT;
			own(state, MR_OWNER_CONNECT);
		}
		break;
	case TCP_LISTEN:
		state = state_make(sk);
		if (state) {
			state->flags = STATE_LISTENER;
			own(state, MR_OWNER_CONNECT);
		}
		break;
	case TCP_ESTABLISHED:
		established(sk, tp, before);
		break;
	case TCP_FIN_WAIT1:
	case TCP_LAST_ACK: /* both are made by close() or shutdown(): the current process is the
			      owner */
		state = state_get(sk);
		if (state)
			claim(state, MR_OWNER_CLOSE);
		break;
	case TCP_CLOSE:
		ended(sk, tp, before);
		break;
	}
	return 0;
}

/* connect() and SO_ERROR clear sk_err before the socket reaches CLOSE. */
SEC("tp_btf/inet_sk_error_report")
int BPF_PROG(on_error, struct sock *sk)
{
	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	struct socket_state *state = state_get(sk);
	if (state && sk->sk_err)
		state->error = sk->sk_err;
	return 0;
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(on_reset, struct sock *sk)
{
	struct socket_state *state = state_get(sk);
	if (state)
		state->flags |= STATE_RESET;
	return 0;
}

static __always_inline int on_io(struct sock *sk, int length)
{
	if (length <= 0 || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	struct socket_state *state = state_get(sk);
	if (state)
		claim(state, MR_OWNER_IO);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(on_send, struct sock *sk, int length)
{
	return on_io(sk, length);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(on_receive, struct sock *sk, int length)
{
	return on_io(sk, length);
}

/* The periodic scan: every tracked socket of all namespaces, 0.5 us each when it did not move. */
SEC("iter/bpf_sk_storage_map")
int scan(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock *sk = ctx->sk;
	struct socket_state *state = ctx->value;
	if (!sk || !state || !(state->flags & STATE_LIVE))
		return 0;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!tp || sk->__sk_common.skc_state == TCP_CLOSE)
		return 0;
	if (!(state->flags & STATE_ANNOUNCED)) { /* the ring was full when it opened */
		tell_open(tp, state, MR_OPEN, 0);
		return 0;
	}
	if (switches.roll_call || tp->segs_in != state->rx_segments ||
	    tp->segs_out != state->tx_segments || tp->total_retrans != state->retransmits)
		tell_moved(tp, state, MR_UPDATE, 0);
	return 0;
}

static __always_inline void list_listener(struct sock *sk, struct task_struct *task,
					  struct mr_listener *key)
{
	__u32 one = 1;
	bpf_map_update_elem(&listeners, key, &one, BPF_ANY);
	if (state_get(sk))
		return;
	struct socket_state *state = state_make(sk);
	if (!state)
		return;
	state->flags = STATE_LISTENER;
	state->source = MR_OWNER_FILE;
	state->pid = task->tgid;
	state->cgroup = task_cgroup(task);
}

/* Sockets that were there before the programs, by the processes that have them open. First pass:
 * listeners, so that in the second a socket on a listener's port is known to be a server's. */
SEC("iter/task_file")
int list(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	if (!task || !file || task->pid != task->tgid)
		return 0;
	struct socket *socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	struct sock *sk = socket->sk;
	if (!sk || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	__u32 netns = sk->__sk_common.skc_net.net->ns.inum;
	int tcp_state = sk->__sk_common.skc_state;
	struct mr_listener key = {netns, __builtin_bswap16(tp->inet_conn.icsk_inet.inet_sport)};
	if (!in_scope(netns))
		return 0;
	if (switches.listing_listeners) {
		if (tcp_state == TCP_LISTEN)
			list_listener(sk, task, &key);
		return 0;
	}
	if (tcp_state == TCP_LISTEN || tcp_state == TCP_CLOSE || tcp_state == TCP_SYN_SENT)
		return 0;
	struct socket_state *state = state_get(sk);
	if (state && state->flags & STATE_LIVE)
		return 0;
	state = state_make(sk);
	if (!state)
		return 0;
	state->flags = STATE_LIVE | STATE_EXISTED | STATE_GUESSED;
	state->role = bpf_map_lookup_elem(&listeners, &key) ? MR_ROLE_SERVER : MR_ROLE_CLIENT;
	state->source = MR_OWNER_FILE;
	state->pid = task->tgid;
	state->cgroup = task_cgroup(task);
	tell_open(tp, state, MR_OPEN, 0);
	return 0;
}
