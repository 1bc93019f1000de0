/* TCP sockets of all network namespaces, by tracepoints and iterators alone. Each socket carries a
 * state in sk_storage: made at connect(), or cloned from the listener into each child, and freed
 * with the socket. Every rule here was measured on live kernels; ARCHITECTURE.md tells the traps.
 *
 * Who writes a state: the programs on inet_sock_set_state, one at a time, for the kernel changes a
 * socket's state under its lock; beside them, without that lock, the scan and whoever sends or
 * receives. So flags change atomically, and what the scan reads counts only while the socket has
 * not ended. */
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
	STATE_RESET_RECEIVED = 4,
	STATE_RESET_SENT = 8,
	STATE_EXISTED = 16,
	STATE_GUESSED = 32, /* role from listeners */
	STATE_MISSED = 64,  /* its opening is still to be told, for the ring was full: counted */
	STATE_ENDED = 128,  /* its end is told: nothing more is, until it begins anew */
	STATE_ENDING = 256, /* it ended, and who will close it is the owner: told then */
};

/* So long a connection that ended waits for its process to close it, before a scan tells the end
 * with the owner that is known. */
#define ENDING_NS (300 * 1000000ULL)

/* Charged to the socket (net.core.optmem_max): keep it small. */
struct socket_state {
	__u64 cookie; /* of the socket that this state was made for: a clone still has its
			 listener's */
	__u64 cgroup;
	__u64 opened_ns; /* of STATE_ENDING when it ended */
	union {		 /* as told last */
		struct {
			__u32 tx_segments, rx_segments, retransmits;
		};
		struct {
			__u32 backlog, backlog_max, drops;
		} listening;
	};
	__u32 connect_us;
	__u32 pid;
	__u32 flags;
	__u16 error; /* saved before connect() and SO_ERROR clear it; of STATE_ENDING the reason */
	__u8 source; /* enum mr_owner_source */
	__u8 role;
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

volatile struct mr_switches switches = {}; /* set by the agent before a scan or a listing */

static __always_inline struct socket_state *state_get(struct sock *sk)
{
	return bpf_sk_storage_get(&sockets, sk, 0, 0);
}

/* A child has its listener's state until it is established: that is not its own. */
static __always_inline _Bool is_own(const struct socket_state *state, const struct sock *sk)
{
	return state->cookie == (__u64)sk->__sk_common.skc_cookie.counter;
}

/* What was set before. */
static __always_inline __u32 state_set(struct socket_state *state, __u32 flags)
{
	return __sync_fetch_and_or(&state->flags, flags);
}

static __always_inline __u32 state_unset(struct socket_state *state, __u32 flags)
{
	return __sync_fetch_and_and(&state->flags, ~flags);
}

static __always_inline void state_begin(struct sock *sk, struct socket_state *state, __u64 now_ns)
{
	__builtin_memset(state, 0, sizeof(*state));
	state->cookie = bpf_get_socket_cookie(sk);
	state->opened_ns = now_ns;
}

/* Zeros, or what the socket was before. */
static __always_inline struct socket_state *state_room(struct sock *sk)
{
	struct socket_state *state =
		bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state)
		count_lost(MR_LOST_STATE);
	return state;
}

static __always_inline struct socket_state *state_make(struct sock *sk, __u64 now_ns)
{
	struct socket_state *state = state_room(sk);
	if (state)
		state_begin(sk, state, now_ns);
	return state;
}

/* By the current process. A kernel thread is nobody, and any guess is better. */
static __always_inline void own(struct socket_state *state, __u8 source)
{
	struct task_struct *process = current_process();
	if (!process && state->pid)
		return;
	state->source = source;
	if (!process)
		return;
	state->pid = process->tgid;
	state->cgroup = task_cgroup(process);
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
	state->tx_segments = counters->tx_segments;
	state->rx_segments = counters->rx_segments;
	state->retransmits = counters->retransmits;
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

static __always_inline __u16 told_flags(const struct tcp_sock *tp, const struct socket_state *state)
{
	return (state->flags & STATE_EXISTED ? MR_EXISTED : 0) |
	       (state->flags & STATE_GUESSED ? MR_ROLE_GUESSED : 0) |
	       (state->flags & STATE_RESET_RECEIVED ? MR_RESET_RECEIVED : 0) |
	       (state->flags & STATE_RESET_SENT ? MR_RESET_SENT : 0) |
	       (state->flags & STATE_LIVE && tp->snd_wnd == 0 ? MR_ZERO_WINDOW : 0);
}

/* What finds no room is counted the first time alone, however often scans try again. */
static __always_inline void tell_open(struct tcp_sock *tp, struct socket_state *state, __u16 kind,
				      __u32 reason, __u64 now_ns, _Bool again)
{
	struct mr_open *open = bpf_ringbuf_reserve(&ring, sizeof(*open), 0);
	if (!open) {
		if (kind == MR_OPEN)
			state_set(state, STATE_MISSED);
		if (!again)
			count_lost(kind);
		return;
	}
	open->head.kind = kind;
	open->head.flags = told_flags(tp, state);
	open->head.pid = state->pid;
	open->head.time_ns = now_ns;
	open->cookie = state->cookie;
	open->cgroup = state->cgroup;
	open->opened_ns = state->opened_ns;
	open->connect_ns = state->connect_us * 1000ULL;
	open->role = state->role;
	open->protocol = IPPROTO_TCP;
	open->pad[0] = open->pad[1] = 0;
	read_ends(tp, open);
	read_counters(tp, &open->counters);
	open->counters.reason = reason;
	remember(state, &open->counters);
	ring_submit(open);
}

static __always_inline void tell_moved(struct tcp_sock *tp, struct socket_state *state, __u16 kind,
				       __u32 reason, __u64 now_ns)
{
	struct mr_moved *moved = ring_reserve(kind, sizeof(*moved));
	if (!moved)
		return;
	moved->head.kind = kind;
	moved->head.flags = told_flags(tp, state);
	moved->head.pid = state->pid;
	moved->head.time_ns = now_ns;
	moved->cookie = state->cookie;
	read_counters(tp, &moved->counters);
	moved->counters.reason = reason;
	/* The memory of a socket that ended is another's at once. */
	if (kind == MR_UPDATE && state->flags & STATE_ENDED) {
		bpf_ringbuf_discard(moved, BPF_RB_NO_WAKEUP);
		return;
	}
	remember(state, &moved->counters);
	ring_submit(moved);
}

static __always_inline void tell_listening(struct tcp_sock *tp, struct socket_state *state,
					   __u16 flags)
{
	struct sock *sk = &tp->inet_conn.icsk_inet.sk;
	struct mr_listen *listen = ring_reserve(MR_LISTEN, sizeof(*listen));
	if (!listen)
		return;
	listen->head.kind = MR_LISTEN;
	listen->head.flags = flags;
	listen->head.pid = state->pid;
	listen->head.time_ns = bpf_ktime_get_boot_ns();
	listen->cookie = state->cookie;
	listen->cgroup = state->cgroup;
	if (sk->__sk_common.skc_family == AF_INET6)
		bpf_core_read(listen->address, 16, &sk->__sk_common.skc_v6_rcv_saddr);
	else
		map_v4(listen->address, sk->__sk_common.skc_rcv_saddr);
	listen->netns = sk->__sk_common.skc_net.net->ns.inum;
	listen->port = __builtin_bswap16(tp->inet_conn.icsk_inet.inet_sport);
	listen->pad = 0;
	state->listening.backlog = listen->backlog = sk->sk_ack_backlog;
	state->listening.backlog_max = listen->backlog_max = sk->sk_max_ack_backlog;
	listen->drops = state->listening.drops = sk->sk_drops.counter;
	ring_submit(listen);
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

/* A state of its own for a socket that has none or its listener's, whose owner is a first guess. */
static __always_inline struct socket_state *state_take(struct sock *sk, struct socket_state *state,
						       __u64 now_ns)
{
	if (!state)
		return state_make(sk, now_ns);
	_Bool was_own = is_own(state, sk); /* of what it was before */
	__u64 cgroup = was_own ? 0 : state->cgroup;
	__u32 pid = was_own ? 0 : state->pid;
	state_begin(sk, state, now_ns);
	state->pid = pid;
	state->cgroup = cgroup;
	state->source = pid ? MR_OWNER_LISTENER : MR_OWNER_NONE;
	return state;
}

static __always_inline void established(struct sock *sk, struct tcp_sock *tp, int before)
{
	struct socket_state *state = state_get(sk);
	/* a child has its listener's, and both are of one namespace */
	if (!state && !in_scope(sk->__sk_common.skc_net.net->ns.inum))
		return;
	_Bool own_state = state && is_own(state, sk) && !(state->flags & STATE_ENDED);
	__u64 now_ns = bpf_ktime_get_boot_ns();
	if (own_state && state->flags & STATE_LIVE)
		return;
	if (own_state && state->role == MR_ROLE_CLIENT) {
		state->connect_us = (now_ns - state->opened_ns) / 1000;
		if (!state->connect_us)
			state->connect_us = 1;
	} else {
		state = state_take(sk, state, now_ns);
		if (!state)
			return;
		/* connect() may have come before the programs */
		state->role = before == TCP_SYN_SENT ? MR_ROLE_CLIENT : MR_ROLE_SERVER;
	}
	tell_open(tp, state, MR_OPEN, 0, now_ns, 0);
	state_set(state, STATE_LIVE); /* from here on the scan sees it */
}

/* A connection whose opening reached no program (on_set_state tells why): told late, and how long
 * connect() took is not known. NULL: somebody else tells it, or there is no room. */
static __always_inline struct socket_state *begin_late(struct sock *sk, struct tcp_sock *tp,
						       struct socket_state *state)
{
	__u64 now_ns = bpf_ktime_get_boot_ns();
	if (!is_own(state, sk)) {
		state = state_take(sk, state, now_ns);
		if (!state)
			return 0;
		state->role = MR_ROLE_SERVER;
	}
	if (state_set(state, STATE_LIVE) & STATE_LIVE)
		return 0;
	tell_open(tp, state, MR_OPEN, 0, now_ns, 0);
	return state;
}

/* Whether a RST goes out with this change, which the kernel sends only after it: close() with
 * unread data or without lingering, disconnect. A FIN, a RST or an error has other changes. */
static __always_inline _Bool is_aborted(const struct sock *sk, const struct socket_state *state,
					int before)
{
	return (before == TCP_ESTABLISHED || before == TCP_CLOSE_WAIT) && !sk->sk_err &&
	       !(state->flags & STATE_RESET_RECEIVED);
}

static __always_inline __u32 end_reason(const struct sock *sk, struct socket_state *state,
					int before)
{
	__u32 error = sk->sk_err ? sk->sk_err : state->error;
	if (error == ECONNRESET || (error == EPIPE && before == TCP_CLOSE_WAIT))
		state_set(state, STATE_RESET_RECEIVED); /* as tcp_reset() says it */
	if (is_aborted(sk, state, before))
		state_set(state, STATE_RESET_SENT);
	if (state->flags & STATE_RESET_RECEIVED)
		return CLOSE_RESET;
	/* when retransmissions are exhausted the kernel tells the last ICMP error, if any */
	return sk->sk_err && failure_reason(sk->sk_err) != CLOSE_ABORTED ? CLOSE_TIMEOUT
									 : CLOSE_NORMAL;
}

static __always_inline void tell_end(struct tcp_sock *tp, struct socket_state *state, __u32 reason,
				     __u64 ended_ns)
{
	if (state_set(state, STATE_ENDED) & STATE_ENDED)
		return;
	if (state_unset(state, STATE_MISSED) & STATE_MISSED)
		tell_open(tp, state, MR_OPEN, 0, ended_ns, 1);
	tell_moved(tp, state, MR_CLOSE, reason, ended_ns);
}

/* A reset or a timeout ends a connection whose owner is a guess, while a process still has it open:
 * not one that waits to be accepted. */
static __always_inline _Bool is_to_be_closed(const struct sock *sk,
					     const struct socket_state *state)
{
	return state->source < MR_OWNER_CLOSE && !(state->flags & (STATE_MISSED | STATE_ENDING)) &&
	       sk->sk_socket;
}

static __always_inline void end(struct sock *sk, struct tcp_sock *tp, struct socket_state *state,
				int before)
{
	__u32 reason = end_reason(sk, state, before);
	__u64 now_ns = bpf_ktime_get_boot_ns();
	if (is_aborted(sk, state, before)) { /* by close(), so this is the process */
		if (state->source < MR_OWNER_CLOSE)
			own(state, MR_OWNER_CLOSE);
	} else if (is_to_be_closed(sk, state)) {
		/* it may be disconnected before it is closed, and have no counters then */
		tell_moved(tp, state, MR_UPDATE, 0, now_ns);
		state->error = reason;
		state->opened_ns = now_ns;
		state_set(state, STATE_ENDING);
		return;
	}
	tell_end(tp, state, reason, now_ns);
}

static __always_inline void tell_failure(struct sock *sk, struct tcp_sock *tp,
					 struct socket_state *state)
{
	__u64 now_ns = bpf_ktime_get_boot_ns();
	__u32 error = sk->sk_err ? sk->sk_err : state->error;
	if (!error)
		error = sk->sk_err_soft;
	state->connect_us = (now_ns - state->opened_ns) / 1000;
	tell_open(tp, state, MR_FAIL, failure_reason(error), now_ns, 0);
}

/* A handshake that got no further, by the state before the end; where that was not seen (0), by
 * what was acknowledged: a client's SYN counts there. A child is only made when its handshake is
 * over. */
static __always_inline _Bool is_failure(const struct tcp_sock *tp, _Bool own_state, int before)
{
	if (before)
		return before == TCP_SYN_SENT || before == TCP_SYN_RECV;
	return own_state && !tp->bytes_acked;
}

/* The end of a socket that has a state; `before` is 0 where its change to CLOSE was not seen. The
 * state goes with the socket: to delete it costs as much as to make it. */
static __always_inline void ended(struct sock *sk, struct tcp_sock *tp, struct socket_state *state,
				  int before)
{
	_Bool own_state = is_own(state, sk);
	if (own_state && state->flags & STATE_LISTENER) {
		tell_listening(tp, state, MR_ENDED);
	} else if (own_state && state->flags & STATE_LIVE) {
		end(sk, tp, state, before);
		return;
	} else if (is_failure(tp, own_state, before)) {
		if (own_state && state->role == MR_ROLE_CLIENT)
			tell_failure(sk, tp, state);
	} else {
		state = begin_late(sk, tp, state);
		if (state)
			end(sk, tp, state, before);
		return;
	}
	state_set(state, STATE_ENDED);
}

/* A better owner than the one told. Only a change of process is worth a record. */
static __always_inline void claim(struct socket_state *state, __u8 source)
{
	if ((state->flags & (STATE_LIVE | STATE_ENDED)) != STATE_LIVE || state->source >= source)
		return;
	__u32 before = state->pid;
	own(state, source);
	if (state->pid == before)
		return;
	tell_owner(state->cookie, state->pid, state->cgroup);
}

/* What was open until now: a close(), or another use of the socket. Whoever left it open for longer
 * did so too long after the end for that to be told with its time. */
static __always_inline void closed(struct tcp_sock *tp, struct socket_state *state)
{
	__u64 now_ns = bpf_ktime_get_boot_ns();
	if (state->source < MR_OWNER_CLOSE)
		own(state, MR_OWNER_CLOSE);
	tell_end(tp, state, state->error,
		 now_ns - state->opened_ns > ENDING_NS ? now_ns : state->opened_ns);
}

/* A socket is used again: the end of what it was before, if that was not told. */
static __always_inline void finish(struct sock *sk, struct socket_state *state)
{
	if ((state->flags & (STATE_LIVE | STATE_ENDED)) != STATE_LIVE || !is_own(state, sk))
		return;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return;
	if (!(state->flags & STATE_ENDING))
		end(sk, tp, state, 0);
	if (state->flags & STATE_ENDING)
		closed(tp, state);
}

/* connect() and listen(): the current process is the owner; of the kernel's own sockets, nobody. */
static __always_inline struct socket_state *begin(struct sock *sk)
{
	struct socket_state *state = state_room(sk);
	if (!state)
		return 0;
	finish(sk, state);
	state_begin(sk, state, bpf_ktime_get_boot_ns());
	own(state, MR_OWNER_CONNECT);
	return state;
}

/* The kernel does not run a program on a processor that runs it already: when a packet's interrupt
 * comes while connect() or close() is in this program, the changes that the packet makes do not
 * reach it (seen: 266 of 1,200,000 changes on two busy processors). An opening so missed is told by
 * the next scan or with the end, an end by on_destroy: only one of the two can be interrupted. */
#define TELLING(state) (1U << (state))

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_set_state, struct sock *sk, int before, int after)
{
	const __u32 telling = TELLING(TCP_ESTABLISHED) | TELLING(TCP_SYN_SENT) |
			      TELLING(TCP_LISTEN) | TELLING(TCP_CLOSE) | TELLING(TCP_FIN_WAIT1) |
			      TELLING(TCP_LAST_ACK);
	if (!(telling >> (after & 31) & 1) || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	struct socket_state *state;
	if (after == TCP_FIN_WAIT1 || after == TCP_LAST_ACK) {
		/* both are made by close() or shutdown(): the current process is the owner */
		state = state_get(sk);
		if (state)
			claim(state, MR_OWNER_CLOSE);
		return 0;
	}
	if (after == TCP_SYN_SENT) {
		if (!in_scope(sk->__sk_common.skc_net.net->ns.inum))
			return 0;
		state = begin(sk);
		if (state)
			state->role = MR_ROLE_CLIENT;
		return 0;
	}
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	if (after == TCP_CLOSE) {
		state = state_get(sk);
		if (state && !(state->flags & (STATE_ENDED | STATE_ENDING)))
			ended(sk, tp, state, before);
	} else if (after == TCP_ESTABLISHED) {
		established(sk, tp, before);
	} else if (in_scope(sk->__sk_common.skc_net.net->ns.inum)) {
		state = begin(sk);
		if (state) {
			tell_listening(tp, state, 0);
			state_set(state, STATE_LISTENER);
		}
	}
	return 0;
}

/* Whatever end the above did not see, and those that waited for this: the socket is gone after it,
 * and its counters with it. */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(on_destroy, struct sock *sk)
{
	struct socket_state *state = state_get(sk);
	if (!state || state->flags & STATE_ENDED)
		return 0;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	if (state->flags & STATE_ENDING)
		closed(tp, state);
	else
		ended(sk, tp, state, 0);
	return 0;
}

/* connect() and SO_ERROR clear sk_err before the socket reaches CLOSE. */
SEC("tp_btf/inet_sk_error_report")
int BPF_PROG(on_error, struct sock *sk)
{
	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	struct socket_state *state = state_get(sk);
	if (state && sk->sk_err && !(state->flags & STATE_ENDING))
		state->error = sk->sk_err;
	return 0;
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(on_reset, struct sock *sk)
{
	struct socket_state *state = state_get(sk);
	if (state)
		state_set(state, STATE_RESET_RECEIVED);
	return 0;
}

/* sk may be NULL, a request or in TIME_WAIT, which have no state (bpf_sk_storage_get() looks), or a
 * listener that answers for no connection. A RST that ends a connection may go out after its end:
 * is_aborted(). */
SEC("tp_btf/tcp_send_reset")
int BPF_PROG(on_send_reset, struct sock *sk)
{
	if (!sk)
		return 0;
	struct socket_state *state = state_get(sk);
	if (state && !(state->flags & STATE_LISTENER))
		state_set(state, STATE_RESET_SENT);
	return 0;
}

/* A connection from before the programs, whose owner is known by now. */
static __always_inline void tell_existing(struct tcp_sock *tp, struct socket_state *state,
					  struct mr_listener *key, __u64 now_ns)
{
	state->flags = STATE_EXISTED | STATE_GUESSED;
	state->role = bpf_map_lookup_elem(&listeners, key) ? MR_ROLE_SERVER : MR_ROLE_CLIENT;
	tell_open(tp, state, MR_OPEN, 0, now_ns, 0);
	state_set(state, STATE_LIVE);
}

/* A connection from before the programs that no process had open when they were listed: it waited
 * to be accepted, or was in a message between two processes. */
static __always_inline void adopt(struct sock *sk)
{
	int tcp_state = sk->__sk_common.skc_state;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!tp || (tcp_state != TCP_ESTABLISHED && tcp_state != TCP_CLOSE_WAIT) ||
	    !in_scope(sk->__sk_common.skc_net.net->ns.inum))
		return;
	__u64 now_ns = bpf_ktime_get_boot_ns();
	struct socket_state *state = state_make(sk, now_ns);
	if (!state)
		return;
	struct mr_listener key = {sk->__sk_common.skc_net.net->ns.inum,
				  __builtin_bswap16(tp->inet_conn.icsk_inet.inet_sport)};
	own(state, MR_OWNER_IO);
	tell_existing(tp, state, &key, now_ns);
	if (sk->__sk_common.skc_state == TCP_CLOSE) /* meanwhile */
		tell_end(tp, state, end_reason(sk, state, TCP_CLOSE), bpf_ktime_get_boot_ns());
}

static __always_inline int on_io(struct sock *sk, int length)
{
	if (length <= 0 || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	struct socket_state *state = state_get(sk);
	if (state)
		claim(state, MR_OWNER_IO);
	else if (switches.listed) /* until then no listener is known, nor who is a server */
		adopt(sk);
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

static __always_inline void scan_listener(struct sock *sk, struct tcp_sock *tp,
					  struct socket_state *state)
{
	if (sk->__sk_common.skc_state != TCP_LISTEN)
		return;
	if (switches.roll_call || sk->sk_ack_backlog != state->listening.backlog ||
	    sk->sk_max_ack_backlog != state->listening.backlog_max ||
	    (__u32)sk->sk_drops.counter != state->listening.drops)
		tell_listening(tp, state, 0);
}

/* The opening found no room in the ring. Its end may be told meanwhile: then after it, again. */
static __always_inline void scan_missed(struct tcp_sock *tp, struct socket_state *state)
{
	if (!(state_unset(state, STATE_MISSED) & STATE_MISSED))
		return;
	tell_open(tp, state, MR_OPEN, 0, bpf_ktime_get_boot_ns(), 1);
	if (state->flags & STATE_ENDED)
		tell_moved(tp, state, MR_CLOSE, CLOSE_NORMAL, bpf_ktime_get_boot_ns());
}

/* Data waits, and the peer's window is shut: told at each scan, whether a probe went or not. */
static __always_inline _Bool is_stalled(const struct tcp_sock *tp)
{
	return tp->snd_wnd == 0 && tp->write_seq != tp->snd_nxt;
}

static __always_inline _Bool is_open(int tcp_state)
{
	return tcp_state == TCP_ESTABLISHED || tcp_state == TCP_CLOSE_WAIT ||
	       tcp_state == TCP_FIN_WAIT1 || tcp_state == TCP_FIN_WAIT2 ||
	       tcp_state == TCP_LAST_ACK || tcp_state == TCP_CLOSING;
}

/* The kernel calls the programs before it makes a change: an open socket without an opening is one
 * whose opening they missed, or one from before them that is being listed at this moment. Its state
 * is looked up anew: what the iterator holds may be another's, of a socket that is just ending. */
static __always_inline void scan_unopened(struct sock *sk, struct tcp_sock *tp)
{
	if (!is_open(sk->__sk_common.skc_state))
		return;
	struct socket_state *state = state_get(sk);
	if (!state)
		return;
	if (is_own(state, sk) && (state->role != MR_ROLE_CLIENT || state->flags & STATE_EXISTED))
		return;
	begin_late(sk, tp, state);
}

/* Waits to be closed, or was listed while it ended. */
static __always_inline void scan_closed(struct sock *sk, struct tcp_sock *tp,
					struct socket_state *state)
{
	__u64 now_ns = bpf_ktime_get_boot_ns();
	if (!(state->flags & STATE_ENDING))
		tell_end(tp, state, end_reason(sk, state, TCP_CLOSE), now_ns);
	else if (switches.roll_call || now_ns - state->opened_ns > ENDING_NS)
		tell_end(tp, state, state->error, now_ns);
	else
		switches.visited++;
}

/* The periodic scan: every tracked socket of all namespaces, 0.5 us each when it did not move. */
SEC("iter/bpf_sk_storage_map")
int scan(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock *sk = ctx->sk;
	struct socket_state *state = ctx->value;
	if (!sk || !state)
		return 0;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!tp || state->flags & STATE_ENDED)
		return 0;
	if (!is_own(state, sk) || !(state->flags & (STATE_LIVE | STATE_LISTENER))) {
		scan_unopened(sk, tp);
		return 0;
	}
	if (state->flags & STATE_LISTENER) {
		scan_listener(sk, tp, state);
		return 0;
	}
	if (sk->__sk_common.skc_state == TCP_CLOSE) {
		scan_closed(sk, tp, state);
		return 0;
	}
	if (state->flags & STATE_MISSED) {
		scan_missed(tp, state);
		return 0;
	}
	switches.visited++;
	if (switches.roll_call || tp->segs_in != state->rx_segments ||
	    tp->segs_out != state->tx_segments || tp->total_retrans != state->retransmits ||
	    is_stalled(tp)) {
		switches.unclaimed += state->source < MR_OWNER_CLOSE;
		tell_moved(tp, state, MR_UPDATE, 0, bpf_ktime_get_boot_ns());
	}
	return 0;
}

static __always_inline void own_by_file(struct socket_state *state, struct task_struct *task)
{
	state->source = MR_OWNER_FILE;
	state->pid = task->tgid;
	state->cgroup = task_cgroup(task);
}

static __always_inline void list_listener(struct sock *sk, struct tcp_sock *tp,
					  struct task_struct *task, struct mr_listener *key)
{
	__u32 one = 1;
	bpf_map_update_elem(&listeners, key, &one, BPF_ANY);
	if (state_get(sk))
		return;
	struct socket_state *state = state_make(sk, bpf_ktime_get_boot_ns());
	if (!state)
		return;
	own_by_file(state, task);
	tell_listening(tp, state, 0);
	state_set(state, STATE_LISTENER);
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
			list_listener(sk, tp, task, &key);
		return 0;
	}
	if (tcp_state == TCP_LISTEN || tcp_state == TCP_CLOSE || tcp_state == TCP_SYN_SENT)
		return 0;
	struct socket_state *state = state_get(sk);
	if (state && state->flags & STATE_LIVE)
		return 0;
	__u64 now_ns = bpf_ktime_get_boot_ns();
	state = state_make(sk, now_ns);
	if (!state)
		return 0;
	own_by_file(state, task);
	tell_existing(tp, state, &key, now_ns);
	return 0;
}
