/* UDP by peer, name lookups over UDP and TCP, and how TLS connections begin, in all network
 * namespaces. The hooks of the root cgroup see each datagram once, as the socket sends or receives
 * it: what is forwarded is not seen, and a datagram that the kernel cuts later (GSO) counts as what
 * it becomes.
 *
 *   users    sk_storage of each UDP socket: who owns it, and where its last sendmsg() went
 *   peers    (socket, peer, ports) -> counters. The scan tells what moved and ends what is silent;
 *            to walk a map costs as much as it has buckets, so most nodes have all in a small one
 *   more_peers beyond these
 *   released sockets of several peers that ended: the next scan ends their peers
 *
 * Egress runs after destination NAT, so the peer is taken from what the application asked for: the
 * connected socket's, else what sendmsg() left. Ingress is translated back already. A program here
 * always returns 1: 0 would drop the datagram. */
#include "agent/bpf/ring.h"
#include "agent/bpf/hook.h"

#define SILENCE_NS (30 * 1000000000ULL)
#define SILENCE_ASKED_NS                                                             \
	(5 * 1000000000ULL)	 /* one datagram each way: a question and its answer \
				  */
#define PEERS_DEFAULT	  131072 /* the option limits.udp_peers */
#define EXTENSIONS_MAX	  4 /* IPv6 extension headers before UDP; datagrams with more are not seen */
#define EPHEMERAL_PORT	  32768 /* Linux' first, as long as nobody changed it */
#define TCP_HEADER_BYTES  20
#define UDP_HEADER_BYTES  8
#define DNS_HEADER_BYTES  12
#define TLS_HEADER_BYTES  6 /* a record's, and its first message's type */
#define TLS_HANDSHAKE	  0x16
#define TLS_CLIENT_HELLO  1
#define HELLO_SEGMENTS	  4 /* of its first data; one packet's may be cut later */
#define IPV6_HEADER_BYTES 40

enum user_flag { USER_SCOPED = 1, USER_OUT_OF_SCOPE = 2, USER_EXISTED = 4 };

struct peer_key {
	__u64 cookie;
	__u8 address[16];
	__u16 port, local_port;
	__u32 pad;
};

/* Charged to the socket (net.core.optmem_max): keep it small. */
struct user {
	__u64 cgroup;
	__u64 asking; /* seal() of the task in sendmsg(), which goes to: */
	__u8 dialled[16];
	__u16 dialled_port;
	__u8 source; /* enum mr_owner_source */
	__u8 flags;
	__u32 pid;
	__u64 last;	      /* the peer told last */
	struct peer_key only; /* the first peer */
	__u32 peers;	      /* had so far */
	__u32 pad;
};

enum peer_told {
	PEER_NEW,    /* who put it into a map tells it */
	PEER_MISSED, /* the ring was full then: told by the next scan */
	PEER_TOLD,
};

struct peer {
	__u64 id;
	__u64 opened_ns, last_ns;
	__u64 tx_bytes, rx_bytes;
	__u32 tx_datagrams, rx_datagrams;
	__u32 told_tx, told_rx; /* datagrams, as told last */
	__u64 cgroup;
	__u32 pid;
	/* Bytes, since they are written by several at once. */
	__u8 role, told; /* enum peer_told */
	__u8 open_flags; /* enum mr_socket_flag */
	__u8 claimed;	 /* its owner is known, not a guess */
	__u8 local[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct user);
} users SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MR_PEERS_FEW);
	__type(key, struct peer_key);
	__type(value, struct peer);
} peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PEERS_DEFAULT - MR_PEERS_FEW);
	__type(key, struct peer_key);
	__type(value, struct peer);
} more_peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MR_RELEASED_MAX);
	__type(key, __u64); /* socket cookie */
	__type(value, __u32);
} released SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MR_COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

volatile struct mr_switches switches = {}; /* set by the agent around a scan */

/* Where a datagram or segment is, and whose. */
struct packet {
	struct peer_key key;
	__u8 local[16];
	__u32 protocol;
	__u32 offset; /* of the payload */
	__u32 length; /* of the payload */
	__u32 datagrams;
	__u16 source_port, destination_port;
	__u8 source[16], destination[16];
};

/* What the count was before. */
static __always_inline __u64 count_add(__u32 place, __s64 by)
{
	__u64 *number = bpf_map_lookup_elem(&counts, &place);
	return number ? __sync_fetch_and_add(number, by) : 0;
}

static __always_inline __u64 next_id(void)
{
	return MR_PEER | (count_add(MR_COUNT_SERIAL, 1) + 1);
}

static __always_inline struct peer *more_peers_get(const struct peer_key *key)
{
	__u32 place = MR_COUNT_MORE_PEERS;
	__u64 *number = bpf_map_lookup_elem(&counts, &place);
	return number && *number ? bpf_map_lookup_elem(&more_peers, key) : 0;
}

/* Unless there is one, or no room. */
static __always_inline void peers_put(const struct peer_key *key, const struct peer *peer)
{
	if (bpf_map_update_elem(&peers, key, peer, BPF_NOEXIST) != -E2BIG || !settings.more_peers)
		return;
	if (!bpf_map_update_elem(&more_peers, key, peer, BPF_NOEXIST))
		count_add(MR_COUNT_MORE_PEERS, 1);
}

static __always_inline struct peer *peers_get(const struct peer_key *key)
{
	struct peer *peer = bpf_map_lookup_elem(&peers, key);
	return peer ? peer : more_peers_get(key);
}

/* ---- owners */

/* By the current process. A kernel thread is nobody, and any guess is better. */
static __always_inline void own(struct user *user, __u8 source)
{
	struct task_struct *process = current_process();
	if (!process && user->pid)
		return;
	user->source = source;
	if (!process)
		return;
	user->pid = process->tgid;
	user->cgroup = task_cgroup(process);
}

/* Who uses a socket is a better owner than who made it: sockets are inherited and handed over. */
static __always_inline void claim(struct user *user)
{
	if (user->source >= MR_OWNER_IO)
		return;
	__u32 before = user->pid;
	own(user, MR_OWNER_IO);
	if (user->pid != before && user->last)
		tell_owner(user->last, user->pid,
			   user->cgroup); /* others learn of it with their next datagram */
}

SEC("cgroup/sock_create")
int on_create(struct bpf_sock *ctx)
{
	if (ctx->protocol != IPPROTO_UDP || (ctx->family != AF_INET && ctx->family != AF_INET6))
		return 1;
	struct user *user = bpf_sk_storage_get(&users, ctx, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!user) {
		count_lost(MR_LOST_STATE);
		return 1;
	}
	own(user, MR_OWNER_FILE);
	return 1;
}

/* Threads may send over one socket at once: what is left is believed if the same task left all of
 * it, else the packet says where it goes. */
static __always_inline __u64 seal(const __u8 *address, __u16 port)
{
	__u64 halves[2];
	__builtin_memcpy(halves, address, 16);
	return bpf_get_current_task() ^ halves[0] ^ halves[1] * 31 ^ (__u64)port << 48;
}

/* Sealed is what this task dials, not what the storage has: another may write there meanwhile. */
static __always_inline void dial(struct user *user, const __u8 *address, __u16 port)
{
	__builtin_memcpy(user->dialled, address, 16);
	user->dialled_port = port;
	user->asking = seal(address, port);
}

static __always_inline struct user *asking(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	if (!sk || ctx->protocol != IPPROTO_UDP)
		return 0;
	struct user *user = bpf_sk_storage_get(&users, sk, 0, 0);
	if (!user)
		return 0; /* made by its first datagram */
	claim(user);
	return user;
}

SEC("cgroup/sendmsg4")
int on_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct user *user = asking(ctx);
	if (!user)
		return 1;
	__u8 address[16];
	map_v4(address, ctx->user_ip4);
	dial(user, address, __builtin_bswap16(ctx->user_port));
	return 1;
}

SEC("cgroup/sendmsg6")
int on_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct user *user = asking(ctx);
	if (!user)
		return 1;
	__u32 address[4] = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]};
	dial(user, (const __u8 *)address, __builtin_bswap16(ctx->user_port));
	return 1;
}

static __always_inline int on_io(struct sock *sk, int length)
{
	if (length < 0 || sk->sk_protocol != IPPROTO_UDP)
		return 0;
	struct user *user = bpf_sk_storage_get(&users, sk, 0, 0);
	if (user)
		claim(user);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(on_datagram_sent, struct sock *sk, int length)
{
	return on_io(sk, length);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(on_datagram_received, struct sock *sk, int length)
{
	return on_io(sk, length);
}

/* ---- peers */

static __always_inline void fill_counters(const struct peer *peer, struct mr_counters *counters)
{
	__builtin_memset(counters, 0, sizeof(*counters));
	counters->tx_bytes = peer->tx_bytes;
	counters->rx_bytes = peer->rx_bytes;
	counters->tx_segments = peer->tx_datagrams;
	counters->rx_segments = peer->rx_datagrams;
}

/* What exchanged datagrams before the agent came is told with counters of zero and an update: its
 * past is not known, but what was seen of it counts. */
static __always_inline void tell_open(const struct peer_key *key, struct peer *peer)
{
	struct mr_open *open = bpf_ringbuf_reserve(&ring, sizeof(*open), 0);
	if (!open) {
		if (peer->told != PEER_MISSED) /* each scan tries again: one loss all the same */
			count_lost(MR_OPEN);
		peer->told = PEER_MISSED;
		return;
	}
	__builtin_memset(open, 0, sizeof(*open));
	open->head.kind = MR_OPEN;
	open->head.flags = peer->open_flags;
	open->head.pid = peer->pid;
	open->head.time_ns = bpf_ktime_get_boot_ns();
	open->cookie = peer->id;
	open->cgroup = peer->cgroup;
	open->opened_ns = peer->opened_ns;
	open->socket = key->cookie;
	__builtin_memcpy(open->local, peer->local, 16);
	__builtin_memcpy(open->remote, key->address, 16);
	open->local_port = key->local_port;
	open->remote_port = key->port;
	open->role = peer->role;
	open->protocol = IPPROTO_UDP;
	if (!(peer->open_flags & MR_EXISTED)) {
		fill_counters(peer, &open->counters);
		peer->told_tx = open->counters.tx_segments;
		peer->told_rx = open->counters.rx_segments;
	}
	ring_submit(open);
	peer->told = PEER_TOLD;
}

static __always_inline _Bool tell_moved(struct peer *peer, __u16 kind)
{
	struct mr_moved *moved = ring_reserve(kind, sizeof(*moved));
	if (!moved)
		return 0;
	moved->head.kind = kind;
	moved->head.flags = 0;
	moved->head.pid = peer->pid;
	moved->head.time_ns = bpf_ktime_get_boot_ns();
	moved->cookie = peer->id;
	fill_counters(peer, &moved->counters);
	moved->counters.reason = kind == MR_CLOSE; /* CLOSE_NORMAL */
	peer->told_tx = moved->counters.tx_segments;
	peer->told_rx = moved->counters.rx_segments;
	ring_submit(moved);
	return 1;
}

static __always_inline void end_peer(struct peer_key *key, struct peer *peer, _Bool more)
{
	if (peer->told == PEER_MISSED)
		tell_open(key, peer);
	if (peer->told != PEER_NEW)
		tell_moved(peer, MR_CLOSE);
	if (!more)
		bpf_map_delete_elem(&peers, key);
	else if (!bpf_map_delete_elem(&more_peers, key))
		count_add(MR_COUNT_MORE_PEERS, -1);
}

/* A socket of one peer ends with it; of several, the next scan finds them. If even that has no
 * room, their silence ends them. */
SEC("cgroup/sock_release")
int on_release(struct bpf_sock *ctx)
{
	if (ctx->protocol != IPPROTO_UDP)
		return 1;
	struct user *user = bpf_sk_storage_get(&users, ctx, 0, 0);
	if (!user || !user->peers)
		return 1;
	struct peer_key key = user->only;
	if (user->peers > 1) {
		__u32 one = 1;
		bpf_map_update_elem(&released, &key.cookie, &one, BPF_ANY);
		count_add(MR_COUNT_RELEASED, 1);
		return 1;
	}
	struct peer *peer = bpf_map_lookup_elem(&peers, &key);
	_Bool more = !peer;
	if (more)
		peer = more_peers_get(&key);
	if (!peer)
		return 1;
	if (user->source < MR_OWNER_CLOSE) {
		own(user, MR_OWNER_CLOSE);
		peer->pid = user->pid;
	}
	end_peer(&key, peer, more);
	return 1;
}

static __always_inline __u8 guess_role(const struct peer_key *key, _Bool sent)
{
	if (key->local_port >= EPHEMERAL_PORT && key->port < EPHEMERAL_PORT)
		return MR_ROLE_CLIENT;
	if (key->local_port < EPHEMERAL_PORT && key->port >= EPHEMERAL_PORT)
		return MR_ROLE_SERVER;
	return sent ? MR_ROLE_CLIENT : MR_ROLE_SERVER;
}

static __always_inline void count(struct peer *peer, const struct packet *packet, _Bool sent)
{
	if (sent) {
		__sync_fetch_and_add(&peer->tx_bytes, packet->length);
		__sync_fetch_and_add(&peer->tx_datagrams, packet->datagrams);
	} else {
		__sync_fetch_and_add(&peer->rx_bytes, packet->length);
		__sync_fetch_and_add(&peer->rx_datagrams, packet->datagrams);
	}
	peer->last_ns = bpf_ktime_get_boot_ns();
}

/* The peer with this datagram counted, told of if it is new; NULL if there is no room. */
static __always_inline struct peer *count_packet(struct user *user, struct packet *packet,
						 _Bool sent)
{
	struct peer *peer = peers_get(&packet->key);
	if (peer) {
		count(peer, packet, sent);
		if (user->source >= MR_OWNER_IO && !peer->claimed)
			peer->claimed = 1;
		if (peer->pid != user->pid && user->source == MR_OWNER_IO) {
			peer->pid = user->pid;
			peer->cgroup = user->cgroup;
			tell_owner(peer->id, user->pid, user->cgroup);
		}
		return peer;
	}
	struct peer fresh = {};
	fresh.id = next_id();
	fresh.opened_ns = fresh.last_ns = bpf_ktime_get_boot_ns();
	fresh.pid = user->pid;
	fresh.cgroup = user->cgroup;
	fresh.role = sent ? MR_ROLE_CLIENT : MR_ROLE_SERVER;
	if (user->flags & USER_EXISTED) {
		fresh.role = guess_role(&packet->key, sent);
		fresh.open_flags = MR_EXISTED | MR_ROLE_GUESSED;
	}
	__builtin_memcpy(fresh.local, packet->local, 16);
	peers_put(&packet->key, &fresh);
	peer = peers_get(&packet->key);
	if (!peer) {
		count_lost(MR_LOST_DATAGRAM);
		return 0;
	}
	count(peer, packet, sent);
	/* Another processor was first, and tells. If it was in the other map, what is in this one
	 * is found by nobody: it ends untold, without a datagram. */
	if (peer->id != fresh.id)
		return peer;
	if (!user->peers)
		user->only = packet->key;
	__sync_fetch_and_add(&user->peers, 1);
	user->last = peer->id;
	tell_open(&packet->key, peer);
	return peer;
}

/* ---- packets */

static __always_inline _Bool read_ports(struct __sk_buff *skb, __u32 offset, struct packet *packet)
{
	__be16 ports[2];
	if (bpf_skb_load_bytes(skb, offset, ports, 4))
		return 0;
	packet->source_port = __builtin_bswap16(ports[0]);
	packet->destination_port = __builtin_bswap16(ports[1]);
	return 1;
}

static __always_inline _Bool read_transport(struct __sk_buff *skb, __u32 offset,
					    struct packet *packet)
{
	if (!read_ports(skb, offset, packet))
		return 0;
	__u32 header = UDP_HEADER_BYTES;
	if (packet->protocol == IPPROTO_TCP) {
		__u8 words;
		if (bpf_skb_load_bytes(skb, offset + 12, &words, 1))
			return 0;
		header = (words >> 4) * 4;
	}
	packet->offset = offset + header;
	if (skb->len < packet->offset)
		return 0;
	packet->length = skb->len - packet->offset;
	packet->datagrams = skb->gso_segs ? skb->gso_segs : 1;
	return 1;
}

static __always_inline _Bool read_v4(struct __sk_buff *skb, struct packet *packet)
{
	__u8 header[20];
	if (bpf_skb_load_bytes(skb, 0, header, sizeof(header)))
		return 0;
	packet->protocol = header[9];
	if (packet->protocol != IPPROTO_UDP && packet->protocol != IPPROTO_TCP)
		return 0;
	__be32 source, destination;
	__builtin_memcpy(&source, header + 12, 4);
	__builtin_memcpy(&destination, header + 16, 4);
	map_v4(packet->source, source);
	map_v4(packet->destination, destination);
	return read_transport(skb, (header[0] & 15) * 4, packet);
}

static __always_inline _Bool read_v6(struct __sk_buff *skb, struct packet *packet)
{
	__u8 header[IPV6_HEADER_BYTES];
	if (bpf_skb_load_bytes(skb, 0, header, sizeof(header)))
		return 0;
	__u32 offset = IPV6_HEADER_BYTES;
	__u8 next = header[6];
#pragma unroll
	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS)
			break;
		__u8 extension[2];
		if (bpf_skb_load_bytes(skb, offset, extension, 2))
			return 0;
		next = extension[0];
		offset += (extension[1] + 1) * 8;
	}
	packet->protocol = next;
	if (packet->protocol != IPPROTO_UDP && packet->protocol != IPPROTO_TCP)
		return 0;
	__builtin_memcpy(packet->source, header + 8, 16);
	__builtin_memcpy(packet->destination, header + 24, 16);
	return read_transport(skb, offset, packet);
}

static __always_inline void copy_address(__u8 *to, __u32 family, __u32 v4, __u32 a, __u32 b,
					 __u32 c, __u32 d)
{
	if (family == AF_INET) {
		map_v4(to, v4);
		return;
	}
	__u32 words[4] = {a, b, c, d};
	__builtin_memcpy(to, words, 16);
}

static __always_inline _Bool is_any(const __u8 *address)
{
	__u64 halves[2];
	__builtin_memcpy(halves, address, 16);
	__u32 v4;
	__builtin_memcpy(&v4, address + 12, 4);
	return !halves[0] && (!halves[1] || (address[10] == 0xff && address[11] == 0xff && !v4));
}

static __always_inline _Bool same_address(const __u8 *a, const __u8 *b)
{
	__u64 x[2], y[2];
	__builtin_memcpy(x, a, 16);
	__builtin_memcpy(y, b, 16);
	return x[0] == y[0] && x[1] == y[1];
}

/* The ends as the application knows them: before NAT. Volatile, since the verifier wants each
 * member read by itself. */
static __always_inline void find_ends(const volatile struct bpf_sock *sk, struct user *user,
				      struct packet *packet, _Bool sent)
{
	struct peer_key *key = &packet->key;
	key->local_port = sk->src_port;
	copy_address(packet->local, sk->family, sk->src_ip4, sk->src_ip6[0], sk->src_ip6[1],
		     sk->src_ip6[2], sk->src_ip6[3]);
	if (is_any(packet->local))
		__builtin_memcpy(packet->local, sent ? packet->source : packet->destination, 16);
	__builtin_memcpy(key->address, sent ? packet->destination : packet->source, 16);
	key->port = sent ? packet->destination_port : packet->source_port;
	_Bool connected = sk->dst_port != 0;
	__u8 remote[16] = {};
	if (connected)
		copy_address(remote, sk->family, sk->dst_ip4, sk->dst_ip6[0], sk->dst_ip6[1],
			     sk->dst_ip6[2], sk->dst_ip6[3]);
	__u16 remote_port = __builtin_bswap16(sk->dst_port);
	_Bool as_connected =
		connected && key->port == remote_port && same_address(key->address, remote);
	if (as_connected || !sent)
		return;
	__u8 dialled[16];
	__builtin_memcpy(dialled, user->dialled, 16);
	__u16 dialled_port = user->dialled_port;
	if (user->asking && user->asking == seal(dialled, dialled_port)) {
		__builtin_memcpy(key->address, dialled, 16);
		key->port = dialled_port;
	} else if (connected) {
		__builtin_memcpy(key->address, remote, 16);
		key->port = remote_port;
	}
	user->asking = 0;
}

/* The verifier lets nobody add to a socket of these hooks, so its head is read whole. */
static __always_inline __u32 netns_of(struct bpf_sock *sk)
{
	__u8 head[64];
	__u32 offset = bpf_core_field_offset(struct sock_common, skc_net);
	struct net *net;
	if (offset > sizeof(head) - sizeof(net) || bpf_probe_read_kernel(head, sizeof(head), sk))
		return 0;
	__builtin_memcpy(&net, head + offset, sizeof(net));
	return BPF_CORE_READ(net, ns.inum);
}

static __always_inline _Bool user_in_scope(struct user *user, struct bpf_sock *sk)
{
	if (!settings.scoped)
		return 1;
	if (!(user->flags & USER_SCOPED)) {
		user->flags |= USER_SCOPED;
		if (!in_scope(netns_of(sk)))
			user->flags |= USER_OUT_OF_SCOPE;
	}
	return !(user->flags & USER_OUT_OF_SCOPE);
}

/* `room` is a constant: few sizes, since the ring wants to know them, and most messages are
 * short. */
static __always_inline void copy_message(struct __sk_buff *skb, __u32 kind, __u64 cookie,
					 __u32 offset, __u32 whole, const __u32 room, _Bool sent)
{
	__u32 length = whole < room ? whole : room;
	struct mr_message *copy = ring_reserve(kind, sizeof(*copy) + room);
	if (!copy)
		return;
	copy->head.kind = kind;
	copy->head.flags = sent ? MR_SENT : 0;
	copy->head.pid = 0;
	copy->head.time_ns = bpf_ktime_get_boot_ns();
	copy->cookie = cookie;
	copy->length = length;
	copy->whole = whole < 0xffff ? whole : 0xffff;
	copy->pad = 0;
	asm volatile("" : "+r"(length));
	if (length == 0 || length > room ||
	    bpf_skb_load_bytes(skb, offset, copy->message, length)) {
		bpf_ringbuf_discard(copy, BPF_RB_NO_WAKEUP);
		return;
	}
	ring_submit(copy);
}

static __always_inline void tell_message(struct __sk_buff *skb, __u64 cookie, __u32 offset,
					 __u32 whole, _Bool sent)
{
	if (whole < DNS_HEADER_BYTES)
		return;
	if (whole <= 88)
		copy_message(skb, MR_DNS, cookie, offset, whole, 88, sent);
	else if (whole <= 216)
		copy_message(skb, MR_DNS, cookie, offset, whole, 216, sent);
	else
		copy_message(skb, MR_DNS, cookie, offset, whole, MR_DNS_BYTES, sent);
}

static __always_inline void on_udp(struct __sk_buff *skb, struct bpf_sock *sk,
				   struct packet *packet, _Bool sent)
{
	struct user *user = bpf_sk_storage_get(&users, sk, 0, 0);
	if (!user) { /* nobody made it since we look */
		user = bpf_sk_storage_get(&users, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (!user) {
			count_lost(MR_LOST_STATE);
			return;
		}
		user->flags = USER_EXISTED;
	}
	if (!user_in_scope(user, sk))
		return;
	packet->key.cookie = bpf_get_socket_cookie(skb);
	find_ends(sk, user, packet, sent);
	_Bool lookup = settings.dns && (packet->key.port == MR_DNS_SERVICE ||
					packet->key.local_port == MR_DNS_SERVICE);
	if (!lookup && (!settings.udp || left_out(MR_WITHOUT_UDP)))
		return;
	struct peer *peer = count_packet(user, packet, sent);
	if (peer && lookup && !left_out(MR_WITHOUT_DNS))
		tell_message(skb, peer->id, packet->offset, packet->length, sent);
}

/* A message at the start of a segment; one that begins within a segment is not looked for. */
static __always_inline void on_tcp(struct __sk_buff *skb, struct bpf_sock *sk,
				   const struct packet *packet, _Bool sent)
{
	if (sk->src_port != MR_DNS_SERVICE && __builtin_bswap16(sk->dst_port) != MR_DNS_SERVICE)
		return;
	__be16 prefix;
	if (packet->length < 2 + DNS_HEADER_BYTES ||
	    bpf_skb_load_bytes(skb, packet->offset, &prefix, 2))
		return;
	if (left_out(MR_WITHOUT_DNS))
		return;
	__u32 whole = __builtin_bswap16(prefix), here = packet->length - 2;
	tell_message(skb, bpf_get_socket_cookie(skb), packet->offset + 2,
		     whole < here ? whole : here, sent);
}

static __always_inline _Bool is_lookups(const struct bpf_sock *sk)
{
	return settings.dns && (sk->src_port == MR_DNS_SERVICE ||
				sk->dst_port == __builtin_bswap16(MR_DNS_SERVICE));
}

/* The settings are constants of the loaded program: to most packets this is a shift and a mask. */
static __always_inline _Bool dials_tls(const struct bpf_sock *sk)
{
	__u16 port = __builtin_bswap16(sk->dst_port);
	if (!(settings.hello_few >> (port & 63) & 1))
		return 0;
#pragma unroll
	for (int i = 0; i < MR_HELLO_PORTS; i++)
		if (settings.hello_ports[i] && settings.hello_ports[i] == port)
			return 1;
	return 0;
}

/* The first data that a connection sends; whether it begins a TLS handshake with the client's
 * name. */
static __always_inline _Bool on_hello(struct __sk_buff *skb, struct bpf_sock *sk,
				      const struct packet *packet)
{
	__u8 begin[TLS_HEADER_BYTES];
	if (packet->length < sizeof(begin) ||
	    bpf_skb_load_bytes(skb, packet->offset, begin, sizeof(begin)) ||
	    begin[0] != TLS_HANDSHAKE || begin[1] != 3 || begin[5] != TLS_CLIENT_HELLO)
		return 0;
	if (left_out(MR_WITHOUT_SNI) || (settings.scoped && !in_scope(netns_of(sk))))
		return 1;
	__u64 cookie = bpf_get_socket_cookie(skb);
	if (packet->length <= 600)
		copy_message(skb, MR_HELLO, cookie, packet->offset, packet->length, 600, 1);
	else
		copy_message(skb, MR_HELLO, cookie, packet->offset, packet->length, MR_HELLO_BYTES,
			     1);
	return 1;
}

/* The peer has not answered yet: later packets of a connection end here, and what a proxy passes on
 * is not its own. */
static __always_inline _Bool may_be_hello(struct bpf_sock *sk)
{
	struct bpf_tcp_sock *tcp = bpf_tcp_sock(sk);
	return tcp && !tcp->data_segs_in && tcp->data_segs_out <= HELLO_SEGMENTS;
}

static __always_inline int on_packet(struct __sk_buff *skb, _Bool sent)
{
	struct bpf_sock *sk = skb->sk;
	if (!sk)
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return 1;
	_Bool tcp = sk->protocol == IPPROTO_TCP;
	_Bool hello = sent && tcp && dials_tls(sk) && may_be_hello(sk);
	_Bool udp = sk->protocol == IPPROTO_UDP && (settings.udp || settings.dns);
	if (tcp ? !hello && !is_lookups(sk) : !udp)
		return 1;
	struct packet packet = {};
	__u8 version;
	if (bpf_skb_load_bytes(skb, 0, &version, 1))
		return 1;
	if (version >> 4 == 4 ? !read_v4(skb, &packet) : !read_v6(skb, &packet))
		return 1;
	if (packet.protocol != sk->protocol)
		return 1;
	if (hello && on_hello(skb, sk, &packet))
		return 1;
	if (tcp)
		on_tcp(skb, sk, &packet, sent);
	else
		on_udp(skb, sk, &packet, sent);
	return 1;
}

SEC("cgroup_skb/egress")
int on_egress(struct __sk_buff *skb)
{
	return on_packet(skb, 1);
}

SEC("cgroup_skb/ingress")
int on_ingress(struct __sk_buff *skb)
{
	return on_packet(skb, 0);
}

/* ---- scans */

/* A datagram that comes between the reading and the deletion of a peer that was silent for 30 s is
 * not counted: some 100 ns, and the next one opens the peer again. */
static __always_inline int scan_peer(struct bpf_iter__bpf_map_elem *ctx, _Bool more)
{
	struct peer_key *at = ctx->key;
	struct peer *peer = ctx->value;
	if (!at || !peer)
		return 0;
	struct peer_key key = *at;
	__u64 silent_ns = bpf_ktime_get_boot_ns() - peer->last_ns;
	__u64 allowed_ns =
		peer->tx_datagrams == 1 && peer->rx_datagrams == 1 ? SILENCE_ASKED_NS : SILENCE_NS;
	if ((__s64)silent_ns > (__s64)allowed_ns || bpf_map_lookup_elem(&released, &key.cookie)) {
		end_peer(&key, peer, more);
		return 0;
	}
	if (peer->told != PEER_TOLD) {
		if (peer->told == PEER_MISSED)
			tell_open(&key, peer);
		return 0;
	}
	if (switches.roll_call || peer->tx_datagrams != peer->told_tx ||
	    peer->rx_datagrams != peer->told_rx) {
		switches.unclaimed += !peer->claimed;
		tell_moved(peer, MR_UPDATE);
	}
	return 0;
}

SEC("iter/bpf_map_elem")
int scan_peers(struct bpf_iter__bpf_map_elem *ctx)
{
	return scan_peer(ctx, 0);
}

SEC("iter/bpf_map_elem")
int scan_more_peers(struct bpf_iter__bpf_map_elem *ctx)
{
	return scan_peer(ctx, 1);
}

/* UDP sockets that were there before the programs, with the process that has them open. */
SEC("iter/task_file")
int list_users(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	if (!task || !file || task->pid != task->tgid)
		return 0;
	struct socket *socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	struct sock *sk = socket->sk;
	if (!sk || sk->sk_protocol != IPPROTO_UDP)
		return 0;
	__u16 family = sk->__sk_common.skc_family;
	if (family != AF_INET && family != AF_INET6)
		return 0;
	struct user *user = bpf_sk_storage_get(&users, sk, 0, 0);
	if (user && user->source)
		return 0;
	if (!user) {
		user = bpf_sk_storage_get(&users, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (!user) {
			count_lost(MR_LOST_STATE);
			return 0;
		}
	}
	user->flags |= USER_EXISTED;
	user->source = MR_OWNER_FILE;
	user->pid = task->tgid;
	user->cgroup = task_cgroup(task);
	return 0;
}
