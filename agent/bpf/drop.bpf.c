/* Packets that the kernel drops, with its reason, and ICMP errors that come in: summed here, by
 * reason, place and tuple, and read once a second (agent/bpf/drop.h). A flood costs no record: a
 * drop is a sum in a map of fixed size, and when that is full a sum by its reason.
 *
 * Headers are read where the packet's offsets say they are; a packet without an IP header is no
 * packet of ours. In receive queues sk_buff.dev is overlaid with other things, so the socket, if
 * the kernel names it, comes first, and what dev leads to must look like a namespace. */
#include "agent/bpf/ring.h"

#include "agent/bpf/drop.h"
#include "agent/bpf/packet.h"

struct rows {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096); /* the agent sets it before the load */
	__type(key, struct mr_drop_key);
	__type(value, struct mr_drop_sum);
};
struct rows drops_even SEC(".maps"), drops_odd SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MR_DROP_FOLDED);
	__type(key, __u32);
	__type(value, struct mr_drop_folded);
} drop_folded SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mr_drop_counts);
} drop_counts SEC(".maps");

struct location {
	char name[MR_DROP_LOCATION_BYTES];
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MR_DROP_LOCATIONS_MAX);
	__type(key, __u64);
	__type(value, struct location);
} drop_locations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct location);
} drop_scratch SEC(".maps");

volatile struct mr_drop_switches drop_switches = {};

static const char symbol_format[] SEC(".rodata.format") = "%ps";

/* The first namespace's inode is the lowest of all (PROC_DYNAMIC_FIRST, or just below it). */
enum { NETNS_INODE_MIN = 0xe0000000U };

static __always_inline __u32 netns_of(struct net *net)
{
	__u32 inode = net ? BPF_CORE_READ(net, ns.inum) : 0;
	return inode >= NETNS_INODE_MIN ? inode : 0;
}

static __always_inline __u32 packet_netns(struct sk_buff *skb, struct sock *sk)
{
	if (sk)
		return netns_of(BPF_CORE_READ(sk, __sk_common.skc_net.net));
	struct net_device *dev = skb->dev;
	/* a kernel's address is in the upper half; udp_dev_scratch is not */
	__u32 netns = (long)dev < 0 ? netns_of(BPF_CORE_READ(dev, nd_net.net)) : 0;
	if (netns)
		return netns;
	sk = skb->sk;
	return sk ? netns_of(BPF_CORE_READ(sk, __sk_common.skc_net.net)) : 0;
}

static __always_inline void put_v4(__u8 *address, const __u8 *v4)
{
	__be32 whole;
	__builtin_memcpy(&whole, v4, 4);
	map_v4(address, whole);
}

/* Ports of what is at `at`, if they are in the packet's first piece. */
static __always_inline void read_ports(struct sk_buff *skb, __u32 at, struct mr_drop_key *key)
{
	__be16 ports[2];
	if (key->protocol != IPPROTO_TCP && key->protocol != IPPROTO_UDP &&
	    key->protocol != IPPROTO_UDPLITE)
		return;
	if (at + sizeof(ports) > skb->tail ||
	    bpf_probe_read_kernel(ports, sizeof(ports), skb->head + at))
		return;
	key->source_port = __builtin_bswap16(ports[0]);
	key->destination_port = __builtin_bswap16(ports[1]);
}

static __always_inline _Bool read_v4(struct sk_buff *skb, __u32 at, struct mr_drop_key *key)
{
	__u8 ip[20];
	if (at + sizeof(ip) > skb->tail || bpf_probe_read_kernel(ip, sizeof(ip), skb->head + at))
		return 0;
	__u32 length = (ip[0] & 15) * 4;
	if (ip[0] >> 4 != 4 || length < sizeof(ip))
		return 0;
	key->protocol = ip[9];
	put_v4(key->source, ip + 12);
	put_v4(key->destination, ip + 16);
	if (!(ip[6] & 0x1f) && !ip[7]) /* only the first fragment has ports */
		read_ports(skb, at + length, key);
	return 1;
}

static __always_inline _Bool read_v6(struct sk_buff *skb, __u32 at, struct mr_drop_key *key)
{
	__u8 ip[40], extension[8];
	if (at + sizeof(ip) > skb->tail || bpf_probe_read_kernel(ip, sizeof(ip), skb->head + at))
		return 0;
	if (ip[0] >> 4 != 6)
		return 0;
	__builtin_memcpy(key->source, ip + 8, 16);
	__builtin_memcpy(key->destination, ip + 24, 16);
	__u8 next = ip[6];
	_Bool later = 0; /* a fragment but the first */
	at += sizeof(ip);
	for (int i = 0; i < 4; i++) {
		if (next != NEXTHDR_HOP && next != NEXTHDR_ROUTING && next != NEXTHDR_DEST &&
		    next != NEXTHDR_FRAGMENT)
			break;
		if (at + sizeof(extension) > skb->tail ||
		    bpf_probe_read_kernel(extension, sizeof(extension), skb->head + at))
			break;
		if (next == NEXTHDR_FRAGMENT)
			later = extension[2] || extension[3] & 0xf8;
		at += next == NEXTHDR_FRAGMENT ? 8 : (extension[1] + 1) * 8;
		next = extension[0];
	}
	key->protocol = next;
	if (!later)
		read_ports(skb, at, key);
	return 1;
}

static __always_inline struct mr_drop_counts *counts_here(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&drop_counts, &zero);
}

/* Another program on this CPU may do the same in between: hence atomic even though it is the CPU's
 * own. */
static __always_inline void fold(const struct mr_drop_key *key, __u64 bytes)
{
	__u32 reason = key->reason < MR_DROP_FOLDED ? key->reason : MR_DROP_REASON_OTHER;
	if (!key->icmp && reason >= MR_DROP_REASON_OTHER)
		reason = MR_DROP_REASON_OTHER;
	struct mr_drop_folded *folded = bpf_map_lookup_elem(&drop_folded, &reason);
	struct mr_drop_counts *counts = counts_here();
	if (!folded || !counts)
		return;
	__sync_fetch_and_add(&folded->packets, 1);
	__sync_fetch_and_add(&folded->bytes, bytes);
	__sync_fetch_and_add(&counts->folded, 1);
}

/* The function around it; %ps needs no right to read kernel addresses. Once a place. */
static __always_inline void name_location(__u64 location)
{
	__u32 zero = 0;
	if (!location || bpf_map_lookup_elem(&drop_locations, &location))
		return;
	struct location *scratch = bpf_map_lookup_elem(&drop_scratch, &zero);
	__u64 inside = location - 1; /* it is where a call returns to, so maybe behind the end */
	if (!scratch)
		return;
	bpf_snprintf(scratch->name, sizeof(scratch->name), symbol_format, &inside, sizeof(inside));
	bpf_map_update_elem(&drop_locations, &location, scratch, BPF_ANY);
}

static __always_inline void add(struct mr_drop_sum *sum, __u64 bytes)
{
	__sync_fetch_and_add(&sum->packets, 1);
	__sync_fetch_and_add(&sum->bytes, bytes);
	sum->time_ns = bpf_ktime_get_boot_ns();
}

static __always_inline void *rows_of(__u32 generation)
{
	return generation & 1 ? (void *)&drops_odd : (void *)&drops_even;
}

/* A full map is not tried again in its generation: a flood of new tuples costs a lookup each. */
static __always_inline void count_packet(const struct mr_drop_key *key, __u64 bytes,
					 struct sock *sk)
{
	__u32 generation = drop_switches.generation;
	void *rows = rows_of(generation);
	struct mr_drop_sum *sum = bpf_map_lookup_elem(rows, key);
	if (sum) {
		add(sum, bytes);
		return;
	}
	if (drop_switches.full == generation) {
		fold(key, bytes);
		return;
	}
	struct mr_drop_sum first = {
		.cookie = sk ? BPF_CORE_READ(sk, __sk_common.skc_cookie.counter) : 0,
	};
	long error = bpf_map_update_elem(rows, key, &first, BPF_NOEXIST);
	sum = bpf_map_lookup_elem(rows, key); /* another CPU may have made it */
	if (!sum) {
		if (error)
			drop_switches.full = generation;
		fold(key, bytes);
		return;
	}
	add(sum, bytes);
	name_location(key->location);
}

static __always_inline _Bool is_ignored(__u32 reason)
{
	if (reason >= MR_DROP_REASONS)
		return 0;
	__u32 word = reason / 32;
	asm volatile("" : "+r"(word)); /* else the verifier loses sight of the bound */
	word &= MR_DROP_REASONS / 32 - 1;
	return drop_switches.ignored[word] >> reason % 32 & 1;
}

static __always_inline int on_drop(struct sk_buff *skb, void *location, __u32 reason,
				   struct sock *sk)
{
	if (is_ignored(reason) || (reason == drop_switches.purge && !skb->len))
		return 0;
	struct mr_drop_key key = {.location = (__u64)location, .reason = reason};
	__u32 at = skb->network_header;
	__u16 family = __builtin_bswap16(skb->protocol);
	_Bool known = (family == ETH_P_IP && read_v4(skb, at, &key)) ||
		      (family == ETH_P_IPV6 && read_v6(skb, at, &key));
	if (!known) {
		struct mr_drop_counts *counts = counts_here();
		if (counts)
			__sync_fetch_and_add(&counts->not_ip, 1);
		return 0;
	}
	key.netns = packet_netns(skb, sk);
	if (!in_scope(key.netns))
		return 0;
	__s64 before = skb->data - skb->head - (__s64)at; /* of the IP header, pulled off */
	__s64 bytes = (__s64)skb->len + before;
	count_packet(&key, bytes > 0 ? bytes : 0, sk ? sk : skb->sk);
	return 0;
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(on_kfree_socket, struct sk_buff *skb, void *location, __u32 reason, struct sock *sk)
{
	return on_drop(skb, location, reason, sk);
}

/* Before Linux 6.11 */
SEC("tp_btf/kfree_skb")
int BPF_PROG(on_kfree, struct sk_buff *skb, void *location, __u32 reason)
{
	return on_drop(skb, location, reason, 0);
}

static __always_inline _Bool is_local(unsigned long reference, _Bool v6)
{
	void *route = (void *)(reference & ~(unsigned long)SKB_DST_NOREF);
	if (v6)
		return BPF_CORE_READ((struct rt6_info *)route, rt6i_flags) & RTF_LOCAL;
	return BPF_CORE_READ((struct rtable *)route, rt_type) == RTN_LOCAL;
}

static __always_inline _Bool is_error(_Bool v6, __u8 type)
{
	/* unreachable, source quench, time exceeded, parameter problem; v6: the first four */
	return v6 ? type >= 1 && type <= 4 : type == 3 || type == 4 || type == 11 || type == 12;
}

/* icmp_rcv and icmpv6_rcv consume the errors that they handled. Nearly all other packets that are
 * consumed have no route any more or still their socket, so what is looked at is rare. */
SEC("tp_btf/consume_skb")
int BPF_PROG(on_consume, struct sk_buff *skb)
{
	unsigned long route = skb->_skb_refdst;
	if (!route || skb->sk)
		return 0;
	__u16 family = __builtin_bswap16(skb->protocol);
	_Bool v6 = family == ETH_P_IPV6;
	if (!v6 && family != ETH_P_IP)
		return 0;
	__u32 ip = skb->network_header, icmp = skb->transport_header;
	__u8 protocol, message[2];
	if (icmp <= ip || icmp + 8 > skb->tail ||
	    bpf_probe_read_kernel(&protocol, 1, skb->head + ip + (v6 ? 6 : 9)) ||
	    (v6 ? protocol != IPPROTO_ICMPV6 && icmp == ip + 40 : protocol != IPPROTO_ICMP) ||
	    bpf_probe_read_kernel(message, sizeof(message), skb->head + icmp))
		return 0;
	if (!is_error(v6, message[0]) || !is_local(route, v6))
		return 0;
	struct mr_drop_key key = {.icmp = 1,
				  .reason = MR_DROP_ICMP_REASON(v6, message[0], message[1])};
	if (!(v6 ? read_v6(skb, icmp + 8, &key) : read_v4(skb, icmp + 8, &key)))
		return 0;
	key.netns = packet_netns(skb, 0);
	if (in_scope(key.netns))
		count_packet(&key, 0, 0);
	return 0;
}
